//! The record of how far logs were synced covers what was acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::tempdir;

use super::super::engine::{Engine, Mode};
use super::super::manifest::Manifest;
use super::super::synced::{self, SyncedRecord};
use super::super::{file_names, framing};
use super::{WRITE, contents, create, files, get, open, put, try_open};

/// Whether the record has the length that each log has.
fn covers(path: &Path) -> bool {
    let SyncedRecord::Lengths(recorded) = synced::read(path).unwrap() else { return false };
    files(path, ".log").iter().all(|log| {
        let number: u64 = log.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        recorded.logs.get(&number).copied().unwrap_or(0) == fs::metadata(log).unwrap().len()
    })
}

fn commit(engine: &Engine, value: &str) {
    let mut batch = engine.batch();
    batch.put("users", b"ann", value.as_bytes()).unwrap();
    batch.commit(true).unwrap();
}

/// A MANIFEST that is cut at an edit that was durable is noticed only if its length was recorded after that edit.
#[test]
fn every_verb_that_changes_the_manifest_records_its_length() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    let is_recorded = || {
        let SyncedRecord::Lengths(recorded) = synced::read(&path).unwrap() else { return false };
        let (number, manifest) = file_names::current(&path).unwrap();
        recorded.manifest == (number, fs::metadata(manifest).unwrap().len())
    };
    assert!(is_recorded(), "open and create_family");
    engine.create_family("events").unwrap();
    assert!(is_recorded(), "create_family");
    engine.drop_family("events").unwrap();
    assert!(is_recorded(), "drop_family");
    commit(&engine, "1");
    engine.flush().unwrap();
    assert!(is_recorded(), "flush");
    engine.compact("users").unwrap();
    assert!(is_recorded(), "compact");
}

#[test]
fn a_commit_stays_recorded_while_others_sync() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    let stop = AtomicBool::new(false);
    let covered = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                engine.sync().unwrap();
            }
        });
        let covered = (0..400).all(|n| {
            if n % 100 == 50 {
                engine.flush().unwrap();
            }
            commit(&engine, "1");
            // A sync that began before the commit ends.
            (0..n % 7 * 50).for_each(|_| std::thread::yield_now());
            covers(&path)
        });
        stop.store(true, Ordering::Relaxed);
        covered
    });
    assert!(covered);
}

/// A store whose second commit failed, as a process leaves it that is killed: when the disk was full, RocksDB flushes
/// one family after the other once there is room, so the commit is in the log, but not in what is flushed. Here `users`
/// was flushed, with the first commit alone, and `meta` was not.
fn with_failed_commit(image: &Path) {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    engine.create_family("meta").unwrap();
    let both = |value: &str| {
        let mut batch = engine.batch();
        batch.put("users", b"ann", value.as_bytes()).unwrap();
        batch.put("meta", b"ann", value.as_bytes()).unwrap();
        batch.commit(false).unwrap();
    };
    both("1");
    let sequence = engine.latest_sequence();
    both("2");
    fs::create_dir(image).unwrap();
    for (name, bytes) in contents(&path) {
        fs::write(image.join(name), bytes).unwrap();
    }
    drop(engine);
    let (_, manifest) = file_names::current(image).unwrap();
    let log: u64 = the_log(image).file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let users = family_id(&manifest, "users");
    // The tag of the family is 200 as a varint.
    let edit = [0xc8, 1, users, 2, log + 1, 4, sequence].map(|byte| u8::try_from(byte).unwrap());
    assert!(edit.iter().skip(1).all(|byte| *byte < 0x80), "varints of one byte");
    let mut bytes = fs::read(&manifest).unwrap();
    bytes.extend(framing::framed(bytes.len() as u64, &edit));
    fs::write(&manifest, bytes).unwrap();
}

/// Opens the image for writing, and checks that the commit that failed is gone, for good.
fn is_not_there_in_part(image: &Path) {
    let engine = open(image, WRITE);
    let meta = engine.read("meta", b"ann", |value| value.map(<[u8]>::to_vec)).unwrap();
    assert_eq!(meta.as_deref(), Some(&b"1"[..]));
    assert_eq!(files(image, ".torn").len(), 1);
    commit(&engine, "3");
    drop(engine);
    open(image, Mode::ReadOnly);
}

#[test]
fn a_commit_that_failed_is_not_there_in_part() {
    let dir = tempdir().unwrap();
    let image = dir.path().join("image");
    with_failed_commit(&image);
    let refused = try_open(&image, Mode::ReadOnly).err().unwrap();
    assert!(refused.is_corrupt() && refused.message().starts_with("a commit failed"), "{refused}");
    is_not_there_in_part(&image);
}

/// Power loss damages what was not synced: the commit that failed is removed with what follows it.
#[test]
fn a_commit_that_failed_is_not_there_in_part_where_damage_follows_it() {
    let dir = tempdir().unwrap();
    let image = dir.path().join("image");
    with_failed_commit(&image);
    let log = the_log(&image);
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend([0xff; 64]);
    fs::write(&log, bytes).unwrap();
    for mode in [Mode::ReadOnly, WRITE] {
        let refused = try_open(&image, mode).err().unwrap();
        assert!(refused.is_corrupt(), "in the same boot, no crash leaves it: {refused}");
    }
    let SyncedRecord::Lengths(mut recorded) = synced::read(&image).unwrap() else { panic!("no record") };
    let mut slot = Vec::new();
    recorded.boot = "another".to_owned();
    recorded.encode(&mut slot).unwrap();
    fs::write(image.join(synced::FILE), slot).unwrap();
    is_not_there_in_part(&image);
}

fn the_log(image: &Path) -> PathBuf {
    files(image, ".log").pop().unwrap()
}

fn family_id(manifest: &Path, name: &str) -> u64 {
    let mut found = Manifest::default();
    let bytes = fs::read(manifest).unwrap();
    framing::walk(bytes.as_slice(), bytes.len() as u64, &mut found).unwrap();
    *found.families.iter().find(|(_, family)| family.name == name).unwrap().0
}

/// Unsynced commits do not record the length of the MANIFEST. If it is cut at the length that was recorded before
/// them, it needs logs that were deleted.
#[test]
fn a_manifest_without_the_edit_that_made_a_synced_log_obsolete_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    commit(&engine, "synced");
    let SyncedRecord::Lengths(recorded) = synced::read(&path).unwrap() else { panic!("no record") };
    let synced_log = the_log(&path);
    let mut begun = 0;
    while synced_log.exists() {
        begun += 1;
        assert!(begun < 1_000, "RocksDB does not delete the log");
        // As large as a memtable.
        put(&engine, &format!("{begun}"), &"x".repeat(1 << 20));
        std::thread::yield_now();
    }
    put(&engine, "last", &"x".repeat(2 << 20));
    put(&engine, "last", "y");
    let image = dir.path().join("image");
    fs::create_dir(&image).unwrap();
    for (name, bytes) in contents(&path) {
        fs::write(image.join(name), bytes).unwrap();
    }
    drop(engine);
    assert_eq!(get(&open(&image, Mode::ReadOnly), "last").as_deref(), Some("y"));
    let (number, manifest) = file_names::current(&image).unwrap();
    assert_eq!(recorded.manifest.0, number);
    fs::OpenOptions::new().write(true).open(&manifest).unwrap().set_len(recorded.manifest.1).unwrap();
    let refused = try_open(&image, Mode::ReadOnly).err().unwrap();
    assert!(
        refused.is_corrupt() && refused.message().contains(synced_log.file_name().unwrap().to_str().unwrap()),
        "{refused}"
    );
}

/// The record has room for some fifty logs, and must not lose those that are needed to obsolete ones.
#[test]
fn obsolete_logs_leave_the_record() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    for number in 0..60 {
        put(&engine, &format!("{number}"), &"x".repeat(1 << 20));
    }
    let SyncedRecord::Lengths(recorded) = synced::read(&path).unwrap() else { panic!("no record") };
    assert!(recorded.logs.len() <= 24, "{:?}", recorded.logs);
}
