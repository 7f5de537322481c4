//! Which directories open in which modes, and what an open must not change.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::tempdir;

use super::super::engine::{Engine, Mode};
use super::super::options::EngineSettings;
use super::{CREATE, TEXT, WRITE, contents, create, files, get, merge, open, put, small, try_open};
use crate::error::{Error, ErrorKind};

fn refused(path: &Path, mode: Mode) -> Error {
    try_open(path, mode).err().unwrap()
}

#[test]
fn a_store_opens_again_with_its_families() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("deep").join("store");
    let engine = open(&path, CREATE);
    engine.create_family("users").unwrap();
    engine.create_family("users").unwrap();
    engine.create_family("group:company").unwrap();
    assert!(engine.create_family("default").unwrap_err().is_invalid());
    assert!(engine.create_family("a\0b").unwrap_err().is_invalid());
    put(&engine, "ann", "1");
    drop(engine);
    let engine = open(&path, WRITE);
    assert_eq!(engine.families(), ["group:company", "users"]);
    assert!(engine.has_family("users") && !engine.has_family("meta") && !engine.has_family("default"));
    assert_eq!(get(&engine, "ann").unwrap(), "1");
    engine.drop_family("users").unwrap();
    engine.drop_family("users").unwrap();
    assert_eq!(get(&engine, "ann"), None);
    drop(engine);
    assert_eq!(open(&path, WRITE).families(), ["group:company"]);
}

#[test]
fn pending_operands_fold_in_every_mode() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let scratch = Mode::Secondary { scratch: dir.path().join("scratch") };
    let engine = create(&path);
    engine.create_family("meta").unwrap();
    put(&engine, "ann", "1");
    merge(&engine, "ann", "2");
    merge(&engine, "bob", "x");
    drop(engine);

    let engine = open(&path, WRITE);
    assert_eq!(get(&engine, "ann").unwrap(), "12");
    engine.flush().unwrap();
    merge(&engine, "ann", "3");
    let mut batch = engine.batch();
    batch.merge("meta", b"k", b"v").unwrap();
    batch.commit(true).unwrap();

    let reader = open(&path, Mode::ReadOnly);
    assert_eq!(get(&reader, "ann").unwrap(), "123");
    assert_eq!(get(&reader, "bob").unwrap(), "x");
    assert_eq!(reader.read_many("users", &["bob", "ann"], |_, value| value.unwrap().len()).unwrap(), [1, 3]);
    assert_eq!(reader.read("meta", b"k", super::text).unwrap().unwrap(), "v");

    let secondary = open(&path, scratch);
    assert_eq!(get(&secondary, "ann").unwrap(), "123");
    merge(&engine, "ann", "4");
    assert_eq!(get(&secondary, "ann").unwrap(), "123");
    let secondary = secondary.caught_up().unwrap();
    assert_eq!(get(&secondary, "ann").unwrap(), "1234");
    assert_eq!(secondary.read_many("users", &["bob", "ann"], |_, value| value.unwrap().len()).unwrap(), [1, 4]);
    engine.compact("users").unwrap();
    merge(&engine, "ann", "5");
    let secondary = secondary.caught_up().unwrap();
    assert_eq!(get(&secondary, "ann").unwrap(), "12345");
    assert_eq!(get(&reader, "ann").unwrap(), "123");
    assert!(reader.caught_up().err().unwrap().is_invalid());
}

#[test]
fn what_the_writer_flushes_is_not_folded_twice_by_a_secondary() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    merge(&engine, "ann", "1");
    let mut secondary = open(&path, Mode::Secondary { scratch: dir.path().join("scratch") });
    for round in 0..3 {
        // What the secondary replayed from the WAL is in an SST file now, and the next WAL has nothing for the family.
        engine.flush().unwrap();
        secondary = secondary.caught_up().unwrap().into();
        assert_eq!(get(&secondary, "ann"), get(&engine, "ann"));
        merge(&engine, "ann", format!("{round}"));
        secondary = secondary.caught_up().unwrap().into();
        assert_eq!(get(&secondary, "ann"), get(&engine, "ann"));
    }
    engine.create_family("late").unwrap();
    assert!(secondary.caught_up().unwrap().has_family("late"));
}

#[test]
fn a_reader_of_a_store_without_its_manifest_fails() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    merge(&engine, "ann", "1");
    drop(engine);
    fs::remove_file(
        files(dir.path(), "").into_iter().find(|path| path.to_str().unwrap().contains("MANIFEST")).unwrap(),
    )
    .unwrap();
    let error = refused(dir.path(), Mode::ReadOnly);
    assert!(error.is_corrupt() || error.kind() == ErrorKind::Io, "{error:?}");
}

#[test]
fn readers_refuse_writes_and_change_no_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    merge(&engine, "ann", "1");
    drop(engine);
    let listing = || fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let (before, logged) = (listing(), fs::read(path.join("LOG")).unwrap());
    let reader = open(&path, Mode::ReadOnly);
    let mut batch = reader.batch();
    batch.put("users", b"ann", b"2").unwrap();
    assert!(batch.commit(false).unwrap_err().is_read_only());
    assert!(reader.create_family("meta").unwrap_err().is_read_only());
    assert!(reader.drop_family("users").unwrap_err().is_read_only());
    assert!(reader.flush().unwrap_err().is_read_only());
    assert!(reader.compact("users").unwrap_err().is_read_only());
    assert!(reader.sync().unwrap_err().is_read_only());
    assert_eq!(get(&reader, "ann").unwrap(), "1");
    reader.close().unwrap();
    drop(reader);
    assert_eq!(listing(), before);
    assert_eq!(fs::read(path.join("LOG")).unwrap(), logged);
}

#[test]
fn a_second_writer_fails_with_in_use() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    let error = refused(dir.path(), WRITE);
    assert!(error.is_in_use());
    assert!(error.message().starts_with("this process has the store open already path="), "{error}");
    drop(engine);
    open(dir.path(), WRITE);
}

/// Every spelling of a path is the same directory, and RocksDB compares spellings.
#[test]
fn a_second_writer_fails_whatever_the_directory_is_called() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    put(&engine, "ann", "1");
    let mut spellings = vec![dir.path().join(".").join("store"), dir.path().join("store/../store/")];
    #[cfg(unix)]
    {
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        spellings.extend([link.clone(), link.join("."), link.join("../store")]);
    }
    for spelling in &spellings {
        assert!(refused(spelling, WRITE).is_in_use(), "{spelling:?}");
        assert!(refused(spelling, CREATE).is_in_use(), "{spelling:?}");
        assert_eq!(get(&open(spelling, Mode::ReadOnly), "ann").unwrap(), "1", "readers need no lock");
    }
    drop(engine);
    for spelling in &spellings {
        put(&open(spelling, WRITE), "ann", "2");
    }
}

/// The lock is on an inode, so a file of the same name and content is another lock.
#[cfg(unix)]
#[test]
fn a_format_file_that_was_replaced_while_it_was_locked_is_locked_again() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    let (file, copy) = (dir.path().join("PROFILEDB"), dir.path().join("copy"));
    fs::copy(&file, &copy).unwrap();
    fs::rename(&copy, &file).unwrap();
    // RocksDB's own lock is left, which excludes by the spelling of the path.
    assert!(refused(dir.path(), WRITE).is_in_use());
    drop(engine);
    open(dir.path(), WRITE);
}

const CHILD_STORE: &str = "PROFILEDB_TEST_CHILD_STORE";

/// Not a test: runs in the child process of the next test.
#[test]
#[ignore = "runs in a child process"]
fn a_child_that_opens_a_store() {
    let Some(path) = std::env::var_os(CHILD_STORE) else { return };
    let engine = create(Path::new(&path));
    merge(&engine, "ann", "1");
    println!("open");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Runs the function above, and returns when it has the store open, or cannot open it.
fn child_with(path: &Path) -> (std::process::Child, bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact", "rocks::tests::open::a_child_that_opens_a_store"])
        .env(CHILD_STORE, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_open = lines.any(|line| line.unwrap().ends_with("open"));
    (child, is_open)
}

/// A lock of `fcntl` is released when the process closes any descriptor of the file.
#[test]
fn reading_any_file_of_an_open_store_lets_no_other_process_in() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    put(&engine, "ann", "1");
    for file in files(dir.path(), "") {
        fs::read(file).unwrap();
    }
    drop(open(dir.path(), Mode::ReadOnly));
    let (mut child, is_open) = child_with(dir.path());
    assert!(!is_open, "another process opened it as well");
    child.wait().unwrap();
    put(&engine, "bob", "2");
    drop(engine);
    assert_eq!(get(&open(dir.path(), WRITE), "bob").unwrap(), "2");
}

#[test]
fn one_of_the_processes_that_create_a_store_at_once_has_it() {
    for _ in 0..5 {
        let dir = tempdir().unwrap();
        let path = dir.path().join("deep").join("store");
        let children: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..4).map(|_| scope.spawn(|| child_with(&path))).collect();
            started.into_iter().map(|child| child.join().unwrap()).collect()
        });
        let open = children.iter().filter(|(_, is_open)| *is_open).count();
        for (mut child, _) in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(open, 1);
        assert_eq!(get(&super::open(&path, WRITE), "ann").unwrap(), "1");
    }
}

#[test]
fn a_killed_process_releases_the_store_and_loses_nothing() {
    let dir = tempdir().unwrap();
    let (mut child, is_open) = child_with(dir.path());
    assert!(is_open);
    let error = refused(dir.path(), WRITE);
    assert!(error.is_in_use() && error.message().starts_with("another process has the store open"), "{error}");
    #[cfg(target_os = "linux")]
    assert!(error.message().contains(&format!("pid={} ", child.id())), "{error}");
    assert_eq!(get(&open(dir.path(), Mode::ReadOnly), "ann").unwrap(), "1");
    child.kill().unwrap();
    let ended = child.wait().unwrap();
    assert!(ended.code().is_none(), "the child ended by itself: {ended}");
    assert_eq!(get(&open(dir.path(), WRITE), "ann").unwrap(), "1");
}

#[test]
fn a_closed_store_refuses_writes_and_loses_nothing() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    merge(&engine, "ann", "1");
    engine.close().unwrap();
    engine.close().unwrap();
    let mut batch = engine.batch();
    batch.put("users", b"ann", b"2").unwrap();
    assert_eq!(batch.commit(false).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(engine.flush().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(get(&engine, "ann").unwrap(), "1");
    drop(engine);
    assert_eq!(get(&open(dir.path(), WRITE), "ann").unwrap(), "1");
}

#[test]
fn a_missing_store_is_not_found_and_not_created() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    for mode in [WRITE, Mode::ReadOnly, Mode::Secondary { scratch: dir.path().join("scratch") }] {
        assert!(refused(&path, mode.clone()).is_not_found());
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        assert!(refused(&path, mode).is_not_found());
        fs::remove_dir(&path).unwrap();
    }
}

#[test]
fn a_foreign_directory_is_refused_and_unchanged() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "chapter one").unwrap();
    let before = contents(dir.path());
    for mode in [CREATE, WRITE, Mode::ReadOnly] {
        let error = refused(dir.path(), mode);
        assert!(error.is_invalid());
        assert!(error.message().starts_with("not a profiledb store path="), "{error}");
    }
    assert_eq!(contents(dir.path()), before);
    let file = dir.path().join("thesis.txt");
    assert!(refused(&file, CREATE).is_invalid());
    // A database of another program is foreign as well.
    let other = tempdir().unwrap();
    fs::write(other.path().join("CURRENT"), "MANIFEST-000005\n").unwrap();
    assert!(refused(other.path(), CREATE).is_invalid());
    assert_eq!(contents(other.path()).len(), 1);
}

#[test]
fn unknown_versions_and_garbage_are_refused_and_unchanged() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    merge(&engine, "ann", "1");
    drop(engine);
    let file = dir.path().join("PROFILEDB");
    let good = fs::read_to_string(&file).unwrap();
    // With a record of what was synced, which the first version of the format does not have.
    assert_eq!(good, "profiledb\nformat 2\noperators 1\n");
    let bad = [
        ("profiledb\nformat 4\nshape round\n", "format=4 supported=3"),
        ("profiledb\nformat 1\noperators 7\n", "operators=7 supported=1"),
        ("profiledb\nformat 0\noperators 1\n", "unreadable"),
        ("profiledb\nformat 1\n", "unreadable"),
        ("profiledb\nformat 1\noperators 1\nmore\n", "unreadable"),
        ("profiledb\nformat one\noperators 1\n", "unreadable"),
        ("", "unreadable"),
        ("\0\0\0\0", "unreadable"),
    ];
    for (text, why) in bad {
        fs::write(&file, text).unwrap();
        let before = contents(dir.path());
        for mode in [CREATE, WRITE, Mode::ReadOnly] {
            let error = refused(dir.path(), mode);
            assert!(error.is_corrupt() && error.message().contains(why), "{text:?}: {error}");
        }
        assert_eq!(contents(dir.path()), before);
    }
    fs::write(&file, b"profiledb\xff\n").unwrap();
    assert!(refused(dir.path(), WRITE).is_corrupt());
    fs::write(&file, good).unwrap();
    assert_eq!(get(&open(dir.path(), WRITE), "ann").unwrap(), "1");
}

#[test]
fn orphaned_data_files_are_never_opened_as_a_new_store() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    merge(&engine, "ann", "1");
    engine.flush().unwrap();
    drop(engine);
    let current = fs::read(dir.path().join("CURRENT")).unwrap();
    // The exception for an interrupted creation requires that this number is gone after the first open.
    assert!(!dir.path().join("MANIFEST-000001").exists());
    fs::remove_file(dir.path().join("CURRENT")).unwrap();
    let before = contents(dir.path());
    for mode in [CREATE, WRITE, Mode::ReadOnly] {
        assert!(refused(dir.path(), mode).is_corrupt());
    }
    assert_eq!(contents(dir.path()), before);
    fs::write(dir.path().join("CURRENT"), current).unwrap();
    assert_eq!(get(&open(dir.path(), WRITE), "ann").unwrap(), "1");
}

#[test]
fn an_interrupted_creation_is_repeated() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("PROFILEDB.tmp-1-0"), "prof").unwrap();
    open(dir.path(), CREATE);
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("PROFILEDB"), "profiledb\nformat 1\noperators 1\n").unwrap();
    fs::write(dir.path().join("MANIFEST-000001"), "torn").unwrap();
    assert!(refused(dir.path(), WRITE).is_not_found());
    let engine = create(dir.path());
    put(&engine, "ann", "1");
    drop(engine);
    assert_eq!(get(&open(dir.path(), WRITE), "ann").unwrap(), "1");
}

#[test]
fn a_directory_that_cannot_be_written_is_an_io_error_with_its_path() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refused(&file.join("store"), CREATE);
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.message().contains("/store"), "{error}");
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let dir = tempdir().unwrap();
    for settings in [
        EngineSettings { block_cache_bytes: 0, ..small() },
        EngineSettings { block_cache_bytes: usize::MAX, ..small() },
        EngineSettings { memtable_bytes: 1, ..small() },
        EngineSettings { background_jobs: 0, ..small() },
        EngineSettings { open_files_max: Some(19), ..small() },
    ] {
        assert!(Engine::open_with(dir.path(), CREATE, &settings, TEXT).err().unwrap().is_invalid());
    }
    assert!(contents(dir.path()).is_empty());
    EngineSettings::default().check().unwrap();
}

#[test]
fn a_wal_with_a_torn_tail_opens() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    merge(&engine, "ann", "1");
    merge(&engine, "ann", "2".repeat(1000));
    drop(engine);
    let log = files(dir.path(), ".log").pop().unwrap();
    let file = OpenOptions::new().write(true).open(&log).unwrap();
    file.set_len(fs::metadata(&log).unwrap().len() - 500).unwrap();
    assert_eq!(get(&open(dir.path(), WRITE), "ann").unwrap(), "1");
}

#[test]
fn damage_in_the_middle_of_the_wal_is_refused_and_nothing_is_lost() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    put(&engine, "base", "kept");
    engine.flush().unwrap();
    for _ in 0..10 {
        merge(&engine, "ann", "x".repeat(1000));
    }
    drop(engine);
    let log = files(dir.path(), ".log").pop().unwrap();
    let flip = || {
        let mut file = OpenOptions::new().read(true).write(true).open(&log).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(4000)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(4000)).unwrap();
        file.write_all(&[byte[0] ^ 1]).unwrap();
    };
    flip();
    let data = || contents(dir.path()).into_iter().filter(|(name, _)| name.ends_with(".sst") || name.ends_with(".log"));
    let before: Vec<_> = data().collect();
    let error = refused(dir.path(), WRITE);
    assert!(error.is_corrupt(), "{error:?}");
    assert_eq!(data().collect::<Vec<_>>(), before);
    flip();
    let engine = open(dir.path(), WRITE);
    assert_eq!(get(&engine, "base").unwrap(), "kept");
    assert_eq!(get(&engine, "ann").unwrap().len(), 10_000);
}
