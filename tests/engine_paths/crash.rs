//! Kills of the process: every acknowledged write is there when the store is opened again.
//!
//! The page cache survives a kill, so this shows nothing about syncs: `power_loss` does.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use profiledb::{Batch, Db, Durability, ProfileKey, Update};

use super::support::Random;
use super::{builder, temp_store, users};

const ROLE: &str = "PROFILEDB_TEST_ROLE";
const STORE: &str = "PROFILEDB_TEST_STORE";
const ARGUMENT: &str = "PROFILEDB_TEST_ARGUMENT";

/// A command that runs this binary again, in a role.
pub(super) fn command(role: &str, store: &Path, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--nocapture", "--exact", "crash::a_child"])
        .envs([(ROLE, role), (ARGUMENT, argument)])
        .env(STORE, store)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Runs this binary again, in a role, with a pipe from its output.
pub(super) fn child(role: &str, store: &Path, argument: &str) -> Child {
    command(role, store, argument).stdout(Stdio::piped()).spawn().unwrap()
}

/// Not a test: the entry point of child processes.
#[test]
#[ignore = "runs in a child process"]
fn a_child() {
    let (Ok(role), Some(store)) = (std::env::var(ROLE), std::env::var_os(STORE)) else { return };
    let argument = std::env::var(ARGUMENT).unwrap();
    match role.as_str() {
        "abort" => super::write_and_abort(Path::new(&store), argument.parse().unwrap()),
        "synced" => write_numbers(Path::new(&store), Durability::Synced, &argument),
        "limited" => write_within_limits(Path::new(&store)),
        "many files" => use_many_files(Path::new(&store)),
        "buffered" => write_numbers(Path::new(&store), Durability::Buffered, &argument),
        #[cfg(target_os = "linux")]
        "power-synced" => super::power_loss::write_steps(Path::new(&store), Durability::Synced),
        #[cfg(target_os = "linux")]
        "power-buffered" => super::power_loss::write_steps(Path::new(&store), Durability::Buffered),
        #[cfg(target_os = "linux")]
        "failing" => super::power_loss::write_on_a_failing_disk(Path::new(&store)),
        #[cfg(target_os = "linux")]
        "syncs" => super::power_loss::syncs::run_verbs(Path::new(&store)),
        _ => panic!("unknown role {role}"),
    }
}

/// Writes numbered batches until it is killed, and prints the number of each that was acknowledged.
fn write_numbers(store: &Path, durability: Durability, first: &str) {
    // Small memtables and short chains: kills hit flushes, compactions and rows that are being folded.
    let db = builder().memtable_bytes(64 << 10).fold_after(3).durability(durability).open(store).unwrap();
    println!();
    let maintenance = db.clone();
    std::thread::spawn(move || {
        loop {
            maintenance.flush().unwrap();
            maintenance.compact().unwrap();
        }
    });
    for number in first.parse::<i64>().unwrap().. {
        db.write(batch(number)).unwrap();
        println!("done {number}");
        std::io::stdout().flush().unwrap();
    }
}

/// A batch over two tables.
fn batch(number: i64) -> Batch {
    let mut batch = Batch::new();
    let counter = ProfileKey::user("counter").unwrap();
    batch.change(counter.clone(), Update::new().add("count", 1).append("last ten", number));
    batch.change(counter, Update::new().remove("last ten", number - 10));
    batch.change(ProfileKey::group("number", number.to_string()).unwrap(), Update::new().set("n", number));
    batch
}

/// The number of batches in the store. None may be partial.
fn count(db: &Db) -> i64 {
    let numbers = db.groups("number").unwrap();
    let Some(counter) = db.users().get("counter").unwrap() else {
        assert_eq!(numbers.iter().count(), 0);
        return 0;
    };
    let count = counter.get("count").and_then(profiledb::Value::as_i64).unwrap();
    let last: Vec<i64> = ((count - 9).max(1)..=count).collect();
    assert_eq!(counter.get("last ten"), Some(&last.into()));
    let ids: Vec<String> = (1..=count + 2).map(|number| number.to_string()).collect();
    for (number, profile) in (1..).zip(numbers.get_many(&ids).unwrap()) {
        let seen = profile.and_then(|profile| profile.get("n")?.as_i64());
        assert_eq!(seen, (number <= count).then_some(number), "of {count}");
    }
    assert_eq!(numbers.iter().count() as i64, count);
    count
}

/// The next number that the child acknowledged, while it lives.
fn acknowledged(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<i64> {
    lines.find_map(|line| line.unwrap().strip_prefix("done ")?.parse().ok())
}

fn kill_repeatedly(role: &str, rounds: usize) {
    let temp = temp_store();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut written = 0;
    for _ in 0..rounds {
        let mut child = child(role, &temp.store(), &(written + 1).to_string());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = acknowledged(&mut lines).expect("the child writes");
        let enough = last + random.below(150) as i64;
        while last < enough {
            last = acknowledged(&mut lines).expect("the child writes until it is killed");
        }
        std::thread::sleep(std::time::Duration::from_micros(random.below(3_000) as u64));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.code().is_none(), "the child ended by itself: {ended}");
        // Acknowledged before it was killed, but not read yet.
        while let Some(number) = acknowledged(&mut lines) {
            last = number;
        }
        let db = temp.open();
        let found = count(&db);
        assert!(found == last || found == last + 1, "acknowledged {last}, found {found}");
        written = found;
    }
    let db = temp.open();
    assert_eq!(count(&db), written);
    db.compact().unwrap();
    assert_eq!((count(&db), users(&db).pending_operands), (written, 0));
}

#[test]
fn acknowledged_batches_survive_kills_of_the_process() {
    for role in ["synced", "buffered"] {
        kill_repeatedly(role, std::env::var("PROFILEDB_KILLS").map_or(10, |kills| kills.parse().unwrap()) / 2);
    }
}

/// A command that runs this binary again, in a role, under a limit of `ulimit`.
#[cfg(target_os = "linux")]
fn limited(role: &str, store: &Path, (flag, limit): (&str, u32)) -> Command {
    let child = command(role, store, "");
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit {flag} {limit}; exec \"$0\" \"$@\"")).arg(child.get_program());
    limited.args(child.get_args()).stdin(Stdio::null()).stderr(Stdio::null());
    limited.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited
}

/// Runs in a child that may open few files or allocate little memory.
fn write_within_limits(store: &Path) {
    println!();
    let run = || {
        let db = builder().memtable_bytes(64 << 10).fold_after(3).durability(Durability::Synced).open(store)?;
        for number in 1..=300 {
            db.write(batch(number))?;
            println!("done {number}");
            if number % 20 == 0 {
                db.flush()?;
            }
        }
        db.close()
    };
    match run() {
        Ok(()) => println!("ended"),
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            println!("failed {error}: {}", source.unwrap_or_default());
        }
    }
}

/// Running out of descriptors is an error that says so; running out of memory may end the process. Neither loses
/// anything.
#[test]
#[cfg(target_os = "linux")]
fn few_descriptors_and_little_memory_lose_nothing() {
    let limits = [("-n", [12, 16, 20, 24, 32, 48].as_slice()), ("-v", &[150_000, 200_000, 260_000, 400_000])];
    for (flag, limit) in limits.iter().flat_map(|(flag, all)| all.iter().map(move |limit| (*flag, *limit))) {
        let temp = temp_store();
        let output = limited("limited", &temp.store(), (flag, limit)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().filter_map(|line| line.strip_prefix("done ")?.parse::<i64>().ok()).next_back();
        let failure = said.lines().find(|line| line.starts_with("failed "));
        if flag == "-n" {
            let is_clear = failure.is_none_or(|failure| failure.contains("Too many open files"));
            assert!(output.status.success() && is_clear, "{limit} descriptors: {} {failure:?}", output.status);
        }
        let found = count(&temp.open());
        let last = last.unwrap_or(0);
        assert!(found == last || found == last + 1, "{flag} {limit}: acknowledged {last}, found {found}");
    }
}

/// The group keys of a store with as many table files.
fn many_keys() -> Vec<String> {
    (0..100).map(|key| format!("key {key}")).collect()
}

/// Runs in a child that may open fewer files than the store has.
fn use_many_files(store: &Path) {
    println!();
    let run = || {
        let db = builder().open(store)?;
        for key in many_keys() {
            assert!(db.groups(&key)?.get("id")?.is_some());
            db.groups(&key)?.update("id", Update::new().add("n", 1))?;
        }
        db.compact()?;
        assert_eq!(db.groups(&many_keys()[7])?.iter().count(), 1);
        db.close()?;
        let db = builder().open_read_only(store)?;
        assert!(db.check()?.is_sound());
        db.close()
    };
    println!("{}", run().map_or_else(|error| format!("failed {error}"), |()| "ended".to_owned()));
}

/// A store grows beyond what its process may open.
#[test]
#[cfg(target_os = "linux")]
fn a_store_of_more_files_than_the_process_may_open_is_read_and_written() {
    let temp = temp_store();
    let db = temp.open();
    for key in many_keys() {
        db.groups(&key).unwrap().update("id", Update::new().set("n", 1)).unwrap();
    }
    db.close().unwrap();
    let tables = std::fs::read_dir(temp.store()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(tables.filter(|name| name.to_string_lossy().ends_with(".sst")).count() >= 100);
    let output = limited("many files", &temp.store(), ("-n", 80)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\nended\n"), "{} {said}", output.status);
    assert_eq!(temp.open().groups("key 7").unwrap().get("id").unwrap().unwrap().get("n"), Some(&2.into()));
}
