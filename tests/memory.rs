//! What `memory_bytes` promises, measured: how much more than before is allocated at most while a query runs.

#![cfg(feature = "rocksdb")]

use std::alloc::System;
use std::sync::Mutex;

use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};
use profiledb::join::{Answer, Field, Join, Measure, Row, Strategy};
use profiledb::{Batch, Db, Durability, Event, Limits, Result, Timestamp, Update, Value};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

const MB: usize = 1 << 20;

/// What a query may take besides its budget, for each thread and the caller: blocks of events and what is joined onto
/// them by key. docs/JOIN.md states it.
const PER_THREAD: usize = 16 * MB;

/// Of the largest value, some copies are made on the way.
const COPIES: usize = 8;

/// Tests take turns, because all allocations count.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a query, and checks that the memory of the process grows by no more than it may.
#[track_caller]
fn within<T>(budget: usize, threads: usize, largest: usize, what: &str, query: impl FnOnce() -> T) -> T {
    ALLOCATOR.reset_peak_memory();
    let done = query();
    let (peak, most) = (ALLOCATOR.get_peak_memory(), budget + (threads + 1) * PER_THREAD + COPIES * largest);
    println!("{what}: {:.1} MB of {:.1} MB", peak as f64 / MB as f64, most as f64 / MB as f64);
    assert!(peak <= most, "{what}: {peak} bytes, at most {most}");
    done
}

fn store(dir: &std::path::Path) -> Db {
    let builder = Db::builder().durability(Durability::Buffered).limits(Limits::unbounded()).block_cache_bytes(8 * MB);
    builder.memtable_bytes(8 * MB).seal_after(0).open(dir.join("store")).unwrap()
}

fn visit(n: usize) -> Event {
    Event::new("visit", format!("user-{n:07}"), Timestamp::from_seconds(1_700_000_000))
}

fn text(n: usize, len: usize) -> String {
    format!("{n:09}{}", "x".repeat(len.saturating_sub(9)))
}

/// A join of events that are made as they are read.
fn of(db: &Db, count: usize, event: impl Fn(usize) -> Event + Send + 'static) -> Join {
    db.snapshot().join().events_from((0..count).map(move |n| Ok(event(n))))
}

#[test]
fn build_sides_and_blocks_stay_within_their_memory() {
    const USERS: usize = 3_000;
    const LEN: usize = 60_000;
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let db = store(dir.path());
    for first in (0..USERS).step_by(100) {
        let mut batch = Batch::new();
        for n in first..first + 100 {
            let update = Update::new().set("big", text(n, LEN)).set("n", n as u64).set("club", format!("c{}", n % 40));
            batch.update(&db.users(), format!("user-{n:07}"), update).unwrap();
            batch.append(visit(n));
        }
        for n in first..(first + 100).min(40) {
            batch.update(&db.groups("club").unwrap(), format!("c{n}"), Update::new().set("big", text(n, LEN))).unwrap();
        }
        db.write(batch).unwrap();
    }
    db.compact().unwrap();
    for strategy in [Strategy::Hash, Strategy::Merge, Strategy::Lookup] {
        for (threads, budget) in [(1, 4 * MB), (2, 32 * MB)] {
            for fields in [&["user.big"][..], &["user.big", "user.n"], &["user.n", "user:club.big"]] {
                let join = db.snapshot().join().memory_bytes(budget).threads(threads).strategy(strategy);
                let what = format!("{strategy} threads={threads} {fields:?}");
                let count = |(rows, bytes): &mut (usize, usize), row: &Row| {
                    (*rows, *bytes) =
                        (*rows + 1, *bytes + (0..2).filter_map(|at| row.text(at)).map(str::len).sum::<usize>());
                    Ok(())
                };
                let join = join.select(fields.iter().copied());
                let sums = within(budget, threads, LEN, &what, || join.fold(|| (0, 0), count).unwrap());
                let sums = sums.iter().fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
                let texts = if fields[0] == "user.big" { USERS * LEN } else { 0 };
                assert_eq!(sums, (USERS, texts), "{what}");
                let rows =
                    within(budget, threads, LEN, &what, || join.ordered().rows().unwrap().map(Result::unwrap).count());
                assert_eq!(rows, USERS, "{what}");
            }
        }
    }
}

#[test]
fn buckets_values_and_distinct_users_stay_within_their_memory() {
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let db = store(dir.path());
    // A million distinct texts do not fit; two hundred thousand do, and their answer with them or, of the top, without.
    let texts =
        |count| of(&db, count, |n| visit(n).set("text", text(n * 7_919 % 1_000_003, 30))).group_by(["event.text"]);
    let error = within(64 * MB, 1, 0, "a million texts", || texts(1_000_000).memory_bytes(64 * MB).answer());
    assert!(error.unwrap_err().is_limit_exceeded());
    let answer = within(128 * MB, 1, 0, "texts", || texts(200_000).memory_bytes(128 * MB).answer().unwrap());
    assert_eq!(answer.total(), 200_000);
    drop(answer);
    let answer = within(64 * MB, 1, 0, "top texts", || texts(200_000).memory_bytes(64 * MB).top(10).answer().unwrap());
    assert_eq!((answer.total(), answer.buckets().len()), (200_000, 10));
    assert!(texts(200_000).memory_bytes(64 * MB).answer().unwrap_err().is_limit_exceeded(), "the answer counts");

    let median = |max| {
        of(&db, 400_000, |n| visit(n).set("n", (n * 7_919 % 400_009) as u64))
            .measure(Measure::Percentile(Field::event("n"), 50))
            .memory_bytes(max)
            .answer()
    };
    assert!(within(16 * MB, 1, 0, "median", || median(16 * MB)).unwrap_err().is_limit_exceeded());
    let answer = within(96 * MB, 1, 0, "median", || median(96 * MB)).unwrap();
    let median = answer.buckets()[0].measures[0].as_i64().unwrap();
    assert!((199_990..=200_010).contains(&median), "{median}");

    let uniques = |count| of(&db, count, visit).measure(Measure::Uniques);
    assert!(within(16 * MB, 1, 0, "uniques", || uniques(400_000).memory_bytes(16 * MB).answer()).is_err());
    let answer = within(64 * MB, 1, 0, "uniques", || uniques(400_000).memory_bytes(64 * MB).answer()).unwrap();
    assert_eq!(answer.buckets()[0].measures, [400_000.into()]);
}

/// Buckets that are not among the top ones are dropped on the way. What they held can be reserved again.
#[test]
fn buckets_that_are_dropped_hold_no_memory() {
    const BUCKETS: usize = 3_000;
    const LEN: usize = 20_000;
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let db = store(dir.path());
    let event = |n| visit(n).set("n", n as u64).set("text", text(n, LEN));
    let of_all = || {
        of(&db, BUCKETS, event).group_by(["event.n"]).measure(Measure::Max(Field::event("text"))).memory_bytes(90 * MB)
    };
    // 57 MB are aggregated. An answer of all has as much again; of the top, a third of them are held at once.
    let error = within(90 * MB, 1, LEN, "all buckets", || of_all().answer());
    assert!(error.unwrap_err().is_limit_exceeded());
    for top in [1, 100] {
        let what = format!("top {top}");
        let answer = within(90 * MB, 1, LEN, &what, || of_all().top(top).answer()).unwrap();
        assert_eq!((answer.total(), answer.buckets().len()), (BUCKETS, top));
        assert_eq!(answer.buckets()[0].measures, [text(BUCKETS - 1, LEN).as_str().into()]);
    }
}

#[test]
fn large_values_stay_within_their_memory() {
    const LARGE: usize = 4 * MB;
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let db = store(dir.path());
    let large = |n: usize| visit(n).set("n", (n % 20) as u64).set("text", text(n, LARGE));
    let max = || of(&db, 40, large).group_by(["event.n"]).measure(Measure::Max(Field::event("text")));
    let error = within(32 * MB, 1, LARGE, "max of large texts", || max().memory_bytes(32 * MB).answer());
    assert!(error.unwrap_err().is_limit_exceeded(), "20 times 4 MB");
    let answer = within(256 * MB, 1, LARGE, "max of large texts", || max().memory_bytes(256 * MB).answer()).unwrap();
    assert_eq!(answer.total(), 20);
    drop(answer);
    let by = || of(&db, 40, large).group_by(["event.text"]).memory_bytes(32 * MB).answer();
    assert!(within(32 * MB, 1, LARGE, "by large texts", by).unwrap_err().is_limit_exceeded());
    let rows = || {
        of(&db, 40, large)
            .select(["event.text"])
            .rows()
            .unwrap()
            .map(|row| row.unwrap().text(0).unwrap().len())
            .sum::<usize>()
    };
    assert_eq!(within(0, 1, LARGE, "rows of large texts", rows), 40 * LARGE);

    // Lists whose combinations are 900 million, and one whose elements are repeated.
    let list = |prefix: &'static str, len: usize, of: usize| {
        Value::List((0..len).map(|n| format!("{prefix}{}", n % of).into()).collect())
    };
    let lists = move |n: usize| visit(n).set("a", list("a", 30_000, 30_000)).set("b", list("b", 30_000, 30_000));
    let both = || of(&db, 1, lists).group_by(["event.a", "event.b"]).answer();
    assert!(within(0, 1, MB, "two lists", both).unwrap_err().is_limit_exceeded());
    let both =
        || of(&db, 1, lists).group_by(["event.a", "event.b"]).buckets_max(1_000_000_000).memory_bytes(64 * MB).answer();
    assert!(within(64 * MB, 1, MB, "two lists", both).unwrap_err().is_limit_exceeded());
    let repeated = move |n: usize| visit(n).set("a", list("a", 300_000, 150_000));
    let answer = within(64 * MB, 1, 4 * MB, "one list", || {
        of(&db, 2, repeated).group_by(["event.a"]).memory_bytes(128 * MB).answer()
    });
    assert_eq!(answer.unwrap().total(), 150_000);
}

/// Appends events, seals them, and takes what is kept between joins.
fn sealed(db: &Db, count: usize, event: impl Fn(usize) -> Event) {
    for first in (0..count).step_by(1_000) {
        let mut batch = Batch::new();
        (first..count.min(first + 1_000)).for_each(|n| batch.append(event(n)));
        db.write(batch).unwrap();
    }
    assert_eq!(db.events().seal().unwrap().events, count as u64);
    db.snapshot().join().select(["user.plan"]).group_by(["user.plan"]).answer().unwrap();
}

#[test]
fn sealed_events_of_many_properties_stay_within_their_memory() {
    const PROPERTIES: usize = 2_000;
    const EVENTS: usize = 6_000;
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let db = store(dir.path());
    db.users().update("user-0000007", Update::new().set("plan", "pro")).unwrap();
    // Some 80 MB as rows, in one block.
    sealed(&db, EVENTS, |n| {
        (0..PROPERTIES).fold(visit(n % 100), |event, at| event.set(format!("p{at:04}"), (n * 31 + at) as u64 % 5_000))
    });
    for (threads, budget) in [(1, 4 * MB), (2, 16 * MB)] {
        let join = || db.snapshot().join().threads(threads).memory_bytes(budget);
        let by_plan = || join().group_by(["user.plan"]).measure(Measure::Sum(Field::event("p1999"))).answer().unwrap();
        let answer = within(budget, threads, 0, "sum of one of many properties by plan", by_plan);
        let sum = |of: &dyn Fn(usize) -> bool| (0..EVENTS).filter(|n| of(*n)).map(|n| (n * 31 + 1_999) % 5_000).sum();
        let (all, pro): (usize, usize) = (sum(&|_| true), sum(&|n| n % 100 == 7));
        let mut sums: Vec<usize> =
            answer.buckets().iter().map(|bucket| bucket.measures[0].as_i64().unwrap() as usize).collect();
        sums.sort_unstable();
        assert_eq!(sums, [pro, all - pro]);
        let by_number = || join().group_by(["event.p0003"]).answer().unwrap();
        assert_eq!(within(budget, threads, 0, "by one of many properties", by_number).total(), 5_000);
        let rows = || {
            join().select(["event.p0003", "user.plan"]).fold(
                || 0,
                |rows, _| {
                    *rows += 1;
                    Ok(())
                },
            )
        };
        let rows = within(budget, threads, 0, "rows of one of many properties", rows).unwrap();
        assert_eq!(rows.into_iter().sum::<usize>(), EVENTS);
    }
}

/// `PROFILEDB_DISTINCT_VALUES` asks for more events, each with values of its own, and for as much more memory, up to
/// the most that a group-by may have: then that may be too little.
#[test]
fn distinct_values_of_sealed_events_stay_within_their_memory() {
    const EVENTS: usize = 600_000;
    let _turn = TURN.lock();
    let count = std::env::var("PROFILEDB_DISTINCT_VALUES").map_or(EVENTS, |count| count.parse().unwrap());
    let budget = |megabytes: usize| (megabytes * MB / EVENTS * count).min(u32::MAX as usize);
    let is_answered = |answer: Result<Answer>, buckets: usize| match answer {
        Ok(answer) => assert_eq!((answer.total(), answer.buckets().len()), (count, buckets)),
        Err(error) => assert!(count > EVENTS && error.is_limit_exceeded(), "{error}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let db = store(dir.path());
    db.users().update("user-0000007", Update::new().set("plan", "pro")).unwrap();
    // A prime, so that no text comes twice.
    sealed(&db, count, |n| visit(n % 1_000).set("text", text(n * 7_919 % 100_000_007, 30)).set("n", n as u64));
    let texts = |threads, max| {
        let by_text = db.snapshot().join().threads(threads).group_by(["event.text"]);
        by_text.memory_bytes(max).buckets_max(count.max(2_000_000))
    };
    for threads in [1, 2] {
        let (few, some, much) = (budget(64), budget(384), budget(512));
        let error = within(few, threads, 0, "distinct texts", || texts(threads, few).answer());
        assert!(error.unwrap_err().is_limit_exceeded());
        is_answered(within(much, threads, 0, "distinct texts", || texts(threads, much).answer()), count);
        let top = || texts(threads, some).top(10).answer();
        is_answered(within(some, threads, 0, "top of distinct texts", top), 10);
        let few = budget(32);
        let numbers = || {
            let by = db.snapshot().join().threads(threads).group_by(["event.n", "user.plan"]).memory_bytes(few);
            by.buckets_max(count.max(2_000_000)).answer()
        };
        let error = within(few, threads, 0, "distinct numbers and plans", numbers);
        assert!(error.unwrap_err().is_limit_exceeded());
    }
}
