//! How much is read and when, and what happens when reading fails or is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::memory::{Memory, MemoryCursor, encode};
use crate::error::{Error, ErrorKind, Result};
use crate::join::Measure;
use crate::join::{
    Days, Each, Estimates, EventRows, EventScan, EventTable, Join, JoinStats, JoinTable, ProfileTables, Row, RowCursor,
    RowScan, ScanSpec, Strategy, Tables, estimate,
};
use crate::merge;
use crate::model::{Event, Kind, ProfileKey, Timestamp};
use crate::ops::Update;

const DAY: i64 = 86_400;

fn time(day: i64, second: i64) -> Timestamp {
    Timestamp::from_seconds((20_000 + day) * DAY + second)
}

fn user(n: usize) -> String {
    format!("user-{n:05}")
}

fn row(plan: &str) -> Vec<u8> {
    merge::full(None, &[&merge::operand(&Update::new().set("plan", plan))])
}

/// Some days of some users, each of whom does something every day.
fn world(days: i64, users: usize) -> Memory {
    let mut memory = Memory::new();
    for day in 0..days {
        for n in 0..users {
            memory.event(&Event::new("visit", user(n), time(day, n as i64)).id("1"));
        }
    }
    for n in 0..users {
        memory.row(&ProfileKey::user(user(n)).unwrap(), row(if n % 2 == 0 { "pro" } else { "free" }));
    }
    memory
}

/// Tables that count what is read of the log, and fail or panic on the way when they are told to.
struct Watched {
    memory: Memory,
    read: Arc<AtomicU64>,
    alive: Arc<AtomicUsize>,
    after: u64,
    then: fn() -> Result<()>,
}

impl Watched {
    fn new(memory: Memory, after: u64, then: fn() -> Result<()>) -> Self {
        Self { memory, read: Arc::default(), alive: Arc::default(), after, then }
    }
}

struct Counted {
    rows: MemoryCursor,
    read: Arc<AtomicU64>,
    alive: Arc<AtomicUsize>,
    after: u64,
    then: fn() -> Result<()>,
}

impl RowCursor for Counted {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.read.fetch_add(1, Ordering::SeqCst) >= self.after {
            (self.then)()?;
        }
        self.rows.next()
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.rows.seek(key)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl EventRows for Watched {
    type Cursor = Counted;

    fn cursor(&self, from: &[u8], to: Option<&[u8]>) -> Result<Counted> {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let (read, alive) = (Arc::clone(&self.read), Arc::clone(&self.alive));
        Ok(Counted { rows: self.memory.cursor(from, to)?, read, alive, after: self.after, then: self.then })
    }

    fn estimate_rows(&self, from: &[u8], to: Option<&[u8]>) -> u64 {
        EventRows::estimate_rows(&self.memory, from, to)
    }
}

impl EventTable for Watched {
    fn scan(&self, spec: ScanSpec) -> Result<Box<dyn EventScan>> {
        let (from, to) = spec.keys();
        Ok(Box::new(RowScan::new(self.cursor(&from, to.as_deref())?, spec)))
    }

    fn estimate(&self, spec: &ScanSpec) -> Result<(Estimates, Days)> {
        estimate(self, spec)
    }
}

impl ProfileTables for Watched {
    fn rows(&self, table: &JoinTable, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn RowCursor>> {
        self.memory.rows(table, from, to)
    }

    fn lookup(&self, table: &JoinTable, ids: &[&[u8]], each: &mut Each<'_>) -> Result<()> {
        self.memory.lookup(table, ids, each)
    }

    fn has(&self, table: &JoinTable) -> bool {
        self.memory.has(table)
    }

    fn estimate_rows(&self, table: &JoinTable) -> u64 {
        ProfileTables::estimate_rows(&self.memory, table)
    }
}

fn run(join: Join) -> JoinStats {
    let mut rows = join.select(["user.plan"]).rows().unwrap();
    let plans: Vec<_> = rows.by_ref().map(|row| row.unwrap().get(0)).collect();
    assert_eq!(plans.iter().filter(|plan| **plan == Some("pro".into())).count() * 2, plans.len());
    rows.stats()
}

#[test]
fn every_strategy_leaves_its_marks() {
    let days = 9;
    let tables: Arc<dyn Tables> = Arc::new(world(days, 3_000));
    let events = 27_000;
    let join = |way, threads| Join::new(Arc::clone(&tables)).strategy(way).threads(threads);

    let lookup = run(join(Strategy::Lookup, 1));
    // Every user once a day, and no user twice in one block; the last block of a day goes on into the next.
    assert_eq!((lookup.lookups, lookup.rows_read, lookup.partitions, lookup.passes), (events, 0, 0, 0));
    assert!(lookup.blocks > 13, "{lookup:?}");

    let merge = run(join(Strategy::Merge, 1));
    assert_eq!((merge.lookups, merge.partitions, merge.passes), (0, 0, days as u64));
    assert!(merge.rows_read >= events, "{merge:?}");

    let hash = run(join(Strategy::Hash, 1));
    assert_eq!((hash.lookups, hash.partitions, hash.seeks, hash.rows_read), (0, 0, 0, 3_000));

    let parts = run(join(Strategy::Hash, 1).memory_bytes(64 << 10));
    assert_eq!((parts.lookups, parts.rows_read), (0, 3_000));
    assert!(parts.partitions > 5 && parts.seeks > parts.partitions * days as u64, "{parts:?}");

    for threads in [2, 3] {
        for (way, memory) in [(Strategy::Lookup, 32 << 20), (Strategy::Merge, 32 << 20), (Strategy::Hash, 64 << 10)] {
            let stats = run(join(way, threads).memory_bytes(memory));
            assert!(stats.tasks > 3 && stats.rows == events, "{way} {stats:?}");
        }
        assert!(run(join(Strategy::Merge, threads).ordered()).tasks > 3);
    }

    // Few of many users: the cursor over the table jumps.
    let mut sparse = world(1, 3_000);
    sparse = {
        let mut memory = Memory::new();
        (0..3_000).step_by(500).for_each(|n| memory.event(&Event::new("visit", user(n), time(0, 0)).id("1")));
        (1..3_000).step_by(500).for_each(|n| memory.event(&Event::new("visit", user(n), time(0, 0)).id("1")));
        (0..3_000)
            .for_each(|n| memory.put(JoinTable::Profiles(Kind::User), user(n).as_bytes(), row(["pro", "free"][n % 2])));
        drop(sparse);
        memory
    };
    let sparse = run(Join::new(Arc::new(sparse)).strategy(Strategy::Merge));
    assert!(sparse.seeks >= 5 && sparse.rows_read < 200, "{sparse:?}");
}

/// Rows that are larger than the planner assumes make partitions of fewer rows, not of more memory.
#[test]
fn partitions_are_bounded_in_bytes() {
    let mut memory = world(2, 2_000);
    for n in 0..2_000 {
        memory.row(&ProfileKey::user(user(n)).unwrap(), row(&format!("{n:01000}")));
    }
    let join = Join::new(Arc::new(memory)).strategy(Strategy::Hash).memory_bytes(128 << 10).select(["user.plan"]);
    let mut rows = join.rows().unwrap();
    assert_eq!(rows.by_ref().map(Result::unwrap).filter(|row| row.text(0).is_some()).count(), 4_000);
    // 2 MB of values, of which 31 rows are estimated to fill the 64 KB of a partition.
    assert!(rows.stats().partitions > 50, "{:?}", rows.stats());
}

#[test]
fn the_first_row_comes_before_a_hundredth_was_read() {
    for threads in [1, 2] {
        for (way, ordered) in [
            (None, false),
            (Some(Strategy::Hash), false),
            (Some(Strategy::Merge), true),
            (Some(Strategy::Lookup), true),
        ] {
            let tables = Watched::new(world(50, 4_000), u64::MAX, || Ok(()));
            let read = Arc::clone(&tables.read);
            let mut join = Join::new(Arc::new(tables)).select(["user.plan"]).threads(threads);
            join = if ordered { join.ordered() } else { join };
            join = way.into_iter().fold(join, Join::strategy);
            let mut rows = join.rows().unwrap();
            rows.next().unwrap().unwrap();
            // Other workers may be as far ahead as there is room for blocks; that is all.
            let first = read.load(Ordering::SeqCst);
            assert!(first < if threads > 1 { 8_000 } else { 2_000 }, "{way:?} ordered={ordered} read={first}");
        }
    }
}

#[test]
fn rows_of_workers_that_end_late_are_not_lost() {
    let tables: Arc<dyn Tables> = Arc::new(world(24, 700));
    for round in 0..30 {
        let rows = Join::new(Arc::clone(&tables)).select(["user.plan"]).threads(4).strategy(Strategy::Hash).rows();
        assert_eq!(rows.unwrap().filter(Result::is_ok).count(), 24 * 700, "round={round}");
    }
}

#[test]
fn a_consumer_that_stops_stops_the_workers() {
    for (way, ordered) in [(Strategy::Lookup, true), (Strategy::Lookup, false), (Strategy::Hash, false)] {
        let tables = Watched::new(world(60, 2_000), u64::MAX, || Ok(()));
        let (read, alive) = (Arc::clone(&tables.read), Arc::clone(&tables.alive));
        let mut join =
            Join::new(Arc::new(tables)).select(["user.plan"]).threads(3).strategy(way).memory_bytes(64 << 10);
        join = if ordered { join.ordered() } else { join };
        let mut rows = join.rows().unwrap();
        assert!(rows.by_ref().take(10).all(|row| row.is_ok()));
        drop(rows);
        // The workers are gone with the iterator, and with them everything they read from.
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{way} ordered={ordered}");
        assert!(read.load(Ordering::SeqCst) < 100_000, "{way} ordered={ordered} {read:?}");
    }
}

#[test]
fn a_failure_reaches_the_consumer_and_is_the_last_item() {
    let fail = || Err(Error::new(ErrorKind::Io, "the disk is gone"));
    for threads in [1, 2, 3] {
        for (way, ordered) in [(Strategy::Lookup, true), (Strategy::Merge, false), (Strategy::Hash, false)] {
            let join = |then| {
                let tables = Watched::new(world(30, 500), 9_000, then);
                let join = Join::new(Arc::new(tables)).select(["user.plan"]).threads(threads).strategy(way);
                let join = join.memory_bytes(32 << 10);
                if ordered { join.ordered() } else { join }
            };
            let rows: Vec<_> = join(fail).rows().unwrap().collect();
            let (last, before) = rows.split_last().unwrap();
            assert_eq!(last.as_ref().unwrap_err().message(), "the disk is gone");
            assert!(before.iter().all(Result::is_ok) && before.len() < 9_000);
            let mut visited = 0;
            let error = join(fail)
                .rows()
                .unwrap()
                .visit(|_| {
                    visited += 1;
                    Ok(())
                })
                .unwrap_err();
            assert!(error.message() == "the disk is gone" && visited < 9_000);
            let stop = || Err(Error::new(ErrorKind::Closed, "enough"));
            let error = join(|| Ok(())).rows().unwrap().visit(|_| stop()).unwrap_err();
            assert_eq!(error.message(), "enough");
            if ordered {
                let refused = join(fail).fold(|| (), |(), _| Ok(())).unwrap_err();
                assert!(refused.is_invalid() && refused.message().contains("order"), "{refused}");
            } else {
                let error = join(fail).fold(|| (), |(), _| Ok(())).unwrap_err();
                assert_eq!(error.message(), "the disk is gone");
            }
            let error = join(fail).group_by(["user.plan"]).answer().unwrap_err();
            assert_eq!(error.message(), "the disk is gone");
        }
    }
}

#[test]
fn a_fold_that_fails_on_one_thread_ends_on_all() {
    let tables = Watched::new(world(60, 2_000), u64::MAX, || Ok(()));
    let (read, alive) = (Arc::clone(&tables.read), Arc::clone(&tables.alive));
    let join = Join::new(Arc::new(tables)).select(["user.plan"]).threads(3).strategy(Strategy::Lookup);
    let first = AtomicBool::new(true);
    let error = join
        .fold(|| (), |(), _| if first.swap(false, Ordering::SeqCst) { Err(Error::corrupt("enough")) } else { Ok(()) })
        .unwrap_err();
    assert_eq!(error.message(), "enough");
    assert!(read.load(Ordering::SeqCst) < 100_000, "{read:?}");
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn every_thread_of_a_fold_has_a_state_and_kept_rows_stay_what_they_are() {
    let tables: Arc<dyn Tables> = Arc::new(world(24, 700));
    let join = Join::new(tables).select(["user.plan"]).threads(3).strategy(Strategy::Lookup);
    let keep = |kept: &mut Vec<_>, row: &Row| {
        kept.push((row.clone(), format!("{row:?}")));
        Ok(())
    };
    let states = join.fold(Vec::new, keep).unwrap();
    assert_eq!(states.len(), 3);
    assert_eq!(states.iter().map(Vec::len).sum::<usize>(), 24 * 700);
    assert!(states.iter().flatten().all(|(row, shown)| format!("{row:?}") == *shown));
}

#[test]
fn a_worker_that_panics_is_a_failure_and_no_end() {
    let panic = || panic!("a defect in somebody's source");
    for ordered in [false, true] {
        let join = || {
            let join = Join::new(Arc::new(Watched::new(world(30, 500), 9_000, panic))).threads(2);
            if ordered { join.ordered() } else { join }
        };
        // On the thread of the consumer it is a panic, elsewhere an error; nowhere is it an end.
        let rows = std::panic::catch_unwind(|| join().rows().unwrap().collect::<Vec<_>>());
        assert!(rows.is_ok() || !ordered);
        if let Ok(rows) = rows {
            let (last, before) = rows.split_last().unwrap();
            assert!(last.as_ref().unwrap_err().message().contains("panicked"), "ordered={ordered}");
            assert!(before.iter().all(Result::is_ok));
        }
        assert!(join().measure(Measure::Count).answer().unwrap_err().message().contains("panicked"));
        if !ordered {
            assert!(join().fold(|| (), |(), _| Ok(())).unwrap_err().message().contains("panicked"));
        }
    }
}

/// One worker panics, wherever it is: also before the first block of its task, which the consumer waits for, while the
/// other worker waits for the consumer.
#[test]
fn a_panic_at_the_beginning_of_a_task_ends_an_ordered_join() {
    static ARMED: AtomicBool = AtomicBool::new(false);
    let panic_once =
        || if ARMED.swap(false, Ordering::SeqCst) { panic!("a defect in somebody's source") } else { Ok(()) };
    let mut panicked = 0;
    for after in (1_000..36_000).step_by(500) {
        let join = Join::new(Arc::new(Watched::new(world(6, 6_000), after, panic_once))).threads(2).ordered();
        let rows = join.rows().unwrap();
        ARMED.store(true, Ordering::SeqCst);
        let rows: Vec<_> = rows.collect();
        let failures = rows.iter().filter(|row| row.is_err()).count();
        assert_eq!(failures, usize::from(!ARMED.swap(false, Ordering::SeqCst)), "after={after}");
        panicked += failures;
    }
    assert!(panicked > 30, "{panicked} of 70");
}

#[test]
fn damage_stops_the_join_and_says_where() {
    let mut memory = world(3, 100);
    let (key, _) = encode(&Event::new("visit", user(42), time(1, 42)).id("1"));
    let damaged_row = {
        let mut memory = memory.clone();
        memory.put(JoinTable::Profiles(Kind::User), user(7).as_bytes(), b"\xa1?".to_vec());
        memory
    };
    memory.event_row((key, b"\xe1\x05x".to_vec()));
    for way in [Strategy::Lookup, Strategy::Merge, Strategy::Hash] {
        let join = Join::new(Arc::new(memory.clone())).strategy(way);
        let rows = join.select(["user.plan"]).rows().and_then(Iterator::collect::<Result<Vec<_>>>);
        let error = rows.unwrap_err();
        assert!(error.is_corrupt() && error.message().contains("user-00042"), "{error}");
        assert!(error.message().contains("2024-10-05T00:00:42"), "{error}");

        let read = || {
            let join = Join::new(Arc::new(damaged_row.clone())).strategy(way).select(["user.plan"]);
            Ok::<_, Error>(join.rows()?.collect::<Result<Vec<_>>>()?.len())
        };
        let error = read().unwrap_err();
        assert!(error.is_corrupt() && error.message().contains("table=users id=\"user-00007\""), "{way} {error}");
    }
}

/// A name that is not text, an id that is not text and one with an unknown escape are errors in every way of reading,
/// whether or not the query looks at them.
#[test]
fn names_and_ids_that_cannot_be_read_are_errors_in_every_way_of_reading() {
    let (good, value) = encode(&Event::new("visit", "bob", time(0, 5)).id("1"));
    let key_of = |id: &[u8]| [&good[..4], id, &good[7..]].concat();
    let bad_name = b"\xe1\x02\xff\xfe\x011".to_vec();
    let bad = [
        (good.clone(), bad_name, "text that is not UTF-8"),
        (key_of(b"b\xff"), value.clone(), "an id that is not UTF-8"),
        (key_of(b"b\x01\x07"), value.clone(), "an id with an unknown escape"),
    ];
    for (key, value, what) in bad {
        let (before, after) = (encode(&Event::new("a", "a", time(0, 0))), encode(&Event::new("z", "z", time(0, 9))));
        let mut memory = world(0, 1);
        // Enough that the sample of the planner does not have the one that cannot be read.
        let many = (0..2_000).map(|n| encode(&Event::new("visit", format!("a{n:04}"), time(0, 4))));
        many.chain([before, (key, value), after]).for_each(|row| memory.event_row(row));
        for (way, threads) in [(Strategy::Lookup, 1), (Strategy::Merge, 1), (Strategy::Hash, 2)] {
            for select in [&[][..], &["user.plan"], &["event.x"]] {
                let join = || {
                    let join = Join::new(Arc::new(memory.clone())).strategy(way).threads(threads);
                    join.select(select.iter().copied())
                };
                let error = |error: Option<Error>| {
                    let error = error.unwrap();
                    assert!(error.is_corrupt() && error.message().contains(what), "{what}: {error}");
                };
                error(join().rows().unwrap().find_map(Result::err));
                error(join().rows().unwrap().visit(|_| Ok(())).err());
                error(join().fold(|| (), |(), _| Ok(())).err());
                error(join().measure(Measure::Count).answer().err());
            }
        }
        // An event that the query does not cover does not matter to it.
        let of_user = Join::new(Arc::new(memory.clone())).users(["z"]);
        assert_eq!(of_user.rows().unwrap().map(Result::unwrap).count(), 1);
        let join = Join::new(Arc::new(memory)).event_names(["a", "z"]);
        assert_eq!(join.between(time(0, 6)..).rows().unwrap().filter(Result::is_ok).count(), 1);
    }
}

#[test]
fn events_that_do_not_ascend_are_refused() {
    let event = |n, day, second| Event::new("visit", user(n), time(day, second)).id("1");
    let run = |events: Vec<Event>| {
        let join = Join::new(Arc::new(world(1, 5))).events_from(events.into_iter().map(Ok).collect::<Vec<_>>());
        join.rows().unwrap().collect::<Result<Vec<_>>>()
    };
    for wrong in [
        vec![event(2, 0, 0), event(1, 0, 0)],
        vec![event(1, 0, 6), event(1, 0, 5)],
        vec![event(1, 1, 5), event(2, 0, 5)],
    ] {
        let error = run(wrong).unwrap_err();
        assert!(error.is_invalid() && error.message().contains("do not ascend"), "{error}");
    }
    // Ids start anew each day, and one time may have several events.
    assert_eq!(run(vec![event(2, 0, 5), event(2, 0, 5), event(1, 1, 0)]).unwrap().len(), 3);
}

#[test]
fn an_error_among_the_events_of_a_caller_ends_the_join() {
    let event = |second| Ok(Event::new("visit", user(1), time(0, second)).id("1"));
    let events = vec![event(0), Err(Error::new(ErrorKind::Io, "the file is gone")), event(1)];
    let rows: Vec<_> = Join::new(Arc::new(world(1, 5))).events_from(events).rows().unwrap().collect();
    assert_eq!(rows.last().unwrap().as_ref().unwrap_err().message(), "the file is gone");
}
