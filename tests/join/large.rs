//! A million events, of which one user has half, on one day: the first row comes early, and memory stays small.
//!
//! What a process needs at most is one number for all of its life, so each question is asked by a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use profiledb::join::{Join, Strategy};
use profiledb::{Batch, Builder, Event, Kind, Timestamp, Update};

use super::{DAY, day, temp_store};

const ROLE: &str = "PROFILEDB_TEST_ROLE";
const STORE: &str = "PROFILEDB_TEST_STORE";

const EVENTS: u64 = 1_000_000;
const USERS: u64 = 100_000;
const DAYS: u64 = 30;
const BATCH: usize = 1_000;

const CACHE: usize = 8 << 20;
/// How much a join may take, besides the cache of blocks.
const MEMORY_MAX: u64 = 64 << 20;

const WAYS: [&str; 8] = [
    "rows 1",
    "rows 2",
    "ordered 2",
    "by plan 1",
    "by plan 2",
    "merge 1",
    "lookup of the heavy day 1",
    "rows with groups 1",
];

fn builder() -> Builder {
    super::builder().block_cache_bytes(CACHE)
}

fn user(number: u64) -> String {
    format!("user-{number:06}")
}

fn fill(path: &Path) {
    let db = builder().open(path).unwrap();
    let company = db.groups("company").unwrap();
    (0..50).for_each(|n| company.update(&n.to_string(), Update::new().set("tier", n % 3)).unwrap());
    let mut batch = Batch::new();
    let write = |batch: &mut Batch, force: bool| {
        if batch.len() >= BATCH || force {
            db.write(std::mem::take(batch)).unwrap();
        }
    };
    for n in 0..USERS {
        let update = Update::new().set("plan", ["free", "pro", "team"][(n % 3) as usize]).set("name", user(n));
        batch.update(&Kind::User, user(n), update).unwrap();
        write(&mut batch, false);
    }
    for n in 0..EVENTS {
        // The heavy user is in the middle of its day, with 500 users on either side.
        let (id, at, millis) = match n % 2 {
            0 => (USERS / 2, DAYS / 2, (n / 2) * 172),
            _ => ((n / 2) * 7_919 % USERS, (n / 2) / (EVENTS / 2).div_ceil(DAYS), n % DAY as u64),
        };
        let time = Timestamp::from_millis(day(at as i64).millis() + millis as i64);
        let event = Event::new("visit", user(id), time).id(format!("{n:x}-")).set("amount", n as i64 % 100);
        batch.append(event.set("company", [(n % 50) as i64]));
        write(&mut batch, false);
    }
    write(&mut batch, true);
    db.flush().unwrap();
    db.close().unwrap();
}

/// A figure of this process in bytes: `VmRSS` is what it has, and `VmHWM` the most that it ever had.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Drains rows, and says how many, and how many events were read when the first one came.
fn drain(join: Join) -> (u64, u64) {
    let mut rows = join.rows().unwrap();
    let first = rows.next().unwrap().unwrap();
    let read = rows.stats().events_read;
    drop(first);
    let mut count = 1;
    for row in rows {
        row.unwrap();
        count += 1;
    }
    (count, read)
}

fn ask(way: &str, path: &Path) {
    let db = builder().open(path).unwrap();
    let (way, threads) = way.rsplit_once(' ').unwrap();
    let join = || db.snapshot().join().threads(threads.parse().unwrap());
    let before = memory("VmRSS");
    let start = Instant::now();
    let plan = ["user.plan"];
    let (events, read) = match way {
        "rows" => drain(join().select(plan)),
        "ordered" => drain(join().select(plan).ordered()),
        "merge" => drain(join().select(plan).strategy(Strategy::Merge)),
        "rows with groups" => drain(join().select(["user.plan", "group:company.tier"])),
        "lookup of the heavy day" => {
            let heavy = (DAYS / 2) as i64;
            drain(join().select(plan).strategy(Strategy::Lookup).between(day(heavy)..day(heavy + 1)))
        }
        "by plan" => {
            let answer = join().group_by(plan).answer().unwrap();
            let counts = answer.buckets().iter().map(|row| row.measures[0].as_i64().unwrap() as u64);
            assert_eq!(answer.total(), 3);
            (counts.sum(), 0)
        }
        other => panic!("unknown way {other}"),
    };
    println!("\njoined {events} {read} {} {}", memory("VmHWM") - before, start.elapsed().as_millis());
}

/// Not a test of its own: what a child process runs.
#[test]
#[ignore = "runs in a child process"]
fn a_child() {
    let (Ok(role), Some(store)) = (std::env::var(ROLE), std::env::var_os(STORE)) else { return };
    match role.as_str() {
        "fill" => fill(Path::new(&store)),
        way => ask(way, Path::new(&store)),
    }
}

/// Runs this binary again, in a role, and gives what it says.
fn child(role: &str, store: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact", "large::a_child"])
        .envs([(ROLE, role.as_ref()), (STORE, store.as_os_str())])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{role}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_row_comes_early_and_memory_stays_small() {
    let temp = temp_store();
    child("fill", &temp.store());
    for way in WAYS {
        let text = child(way, &temp.store());
        let line = text.lines().find_map(|line| line.strip_prefix("joined ")).unwrap();
        let figures: Vec<u64> = line.split(' ').map(|figure| figure.parse().unwrap()).collect();
        let [events, read, memory, millis] = figures[..] else { panic!("{line}") };
        println!("{way}: {events} events, {read} read before the first row, {} KB, {millis} ms", memory >> 10);
        match way {
            "lookup of the heavy day 1" => assert!(events > EVENTS / 2, "{events}"),
            _ => assert_eq!(events, EVENTS),
        }
        // With more threads they read ahead, up to what the channels between them hold.
        assert!(!way.ends_with('1') || read < EVENTS / 100, "{way}: {read} events before the first row");
        assert!(memory < MEMORY_MAX + CACHE as u64, "{way}: {memory} bytes");
    }
}
