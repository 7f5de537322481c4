//! What ends a join early: cancellation, deadlines, and bounds of buckets and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::memory::{Hooked, Memory};
use crate::error::{Error, Result};
use crate::join::{CancelToken, Field, Join, Measure, Strategy, Tables};
use crate::merge;
use crate::model::{Event, ProfileKey, Timestamp, Value};
use crate::ops::Update;

fn event(n: usize, id: &str) -> Event {
    Event::new("visit", id, Timestamp::from_seconds(1_700_000_000 + n as i64)).id(n.to_string())
}

fn user(n: usize) -> String {
    format!("user-{n:05}")
}

/// One event of each of some users, all of whom have profiles.
fn world(users: usize) -> Arc<Memory> {
    let mut memory = Memory::new();
    for n in 0..users {
        memory.event(&event(n, &user(n)));
        let row = merge::full(None, &[&merge::operand(&Update::new().set("plan", "pro"))]);
        memory.row(&ProfileKey::user(user(n)).unwrap(), row);
    }
    Arc::new(memory)
}

fn list<V: Into<Value>>(len: usize, element: impl Fn(usize) -> V) -> Value {
    Value::List((0..len).map(|n| element(n).into()).collect())
}

fn is_cancelled<T>(result: Result<T>, message: &str) {
    let error = result.err().expect("it was to be cancelled");
    assert!(error.is_cancelled() && error.message().contains(message), "{error}");
}

#[test]
fn a_cancelled_join_ends_in_every_way_of_reading() {
    for (strategy, threads, memory) in [
        (Strategy::Lookup, 1, 32 << 20),
        (Strategy::Merge, 2, 32 << 20),
        (Strategy::Hash, 3, 32 << 20),
        (Strategy::Hash, 2, 64 << 10),
    ] {
        let token = CancelToken::new();
        let join = || Join::new(world(9_000)).select(["user.plan"]).strategy(strategy).memory_bytes(memory);
        let join = || join().threads(threads).cancel(&token);
        // Half way, from within.
        let seen = AtomicU64::new(0);
        let step = |(): &mut (), _: &_| {
            if seen.fetch_add(1, Ordering::SeqCst) == 100 {
                token.cancel();
            }
            Ok(())
        };
        is_cancelled(join().fold(|| (), step), "the join was cancelled");
        assert!(seen.load(Ordering::SeqCst) < 9_000, "{seen:?}");
        // Before it begins.
        is_cancelled(join().rows(), "cancelled");
        is_cancelled(join().explain(), "cancelled");
        is_cancelled(join().measure(Measure::Count).answer(), "cancelled");
        // Rows that are under way.
        let other = CancelToken::new();
        let mut rows = join().cancel(&other).rows().unwrap();
        assert!(rows.next().unwrap().is_ok());
        other.cancel();
        let last = rows.last().unwrap();
        is_cancelled(last, "cancelled");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a deadline is a point in time of the clock that the join reads")]
fn a_deadline_ends_a_join_where_nothing_passes_and_where_events_never_end() {
    let endless = || {
        let token = CancelToken::new();
        let events = (0..).map(|n| Ok(event(n / 1_000, "ann")));
        (Join::new(world(10)).events_from(events).cancel(&token), token)
    };
    let (join, token) = endless();
    let soon = join.filter(r#"properties["x"] == 1"#).deadline(Duration::from_millis(5));
    is_cancelled(soon.measure(Measure::Count).answer(), "the deadline of the join has passed");
    assert!(!token.is_cancelled());
    let (join, _) = endless();
    is_cancelled(join.deadline(Instant::now()).rows(), "deadline");
    let (join, _) = endless();
    let until = Instant::now() + Duration::from_millis(5);
    is_cancelled(join.deadline(until).fold(|| (), |(), _| Ok(())), "deadline");
    assert!(Instant::now() >= until);

    // A duration counts from when the query runs, each time.
    let join = Join::new(world(10)).deadline(Duration::from_secs(3_600));
    assert_eq!((join.rows().unwrap().count(), join.rows().unwrap().count()), (10, 10));
    assert_eq!(Join::new(world(10)).deadline(Duration::MAX).rows().unwrap().count(), 10);
}

#[test]
fn reading_of_build_sides_stops_too() {
    let world = world(70_000);
    // Read as a whole, and in partitions of 32,768 rows.
    for ordered in [true, false] {
        let (token, read) = (CancelToken::new(), Arc::new(AtomicU64::new(0)));
        let (cancelled, counted) = (token.clone(), Arc::clone(&read));
        let tables = Hooked::new(Arc::clone(&world), move || {
            if counted.fetch_add(1, Ordering::SeqCst) == 10 {
                cancelled.cancel();
            }
            Ok(())
        });
        let join = Join::new(Arc::new(tables)).select(["user.plan"]).strategy(Strategy::Hash).cancel(&token);
        let join = if ordered { join.ordered() } else { join };
        is_cancelled(join.rows().and_then(Iterator::collect::<Result<Vec<_>>>), "cancelled");
        assert!(read.load(Ordering::SeqCst) < 5_000, "{read:?}");
    }
}

fn is_limited<T>(result: Result<T>, setting: &str) {
    let error = result.err().expect("it was to be refused");
    assert!(error.is_limit_exceeded() && error.message().ends_with(setting), "{error}");
    let (method, _) = setting.split_once('=').unwrap();
    assert!(error.message().contains(&format!("GroupBy::{method}")), "{error}");
}

/// There are more buckets than an answer holds at once: the top ones may be among the first, the last, or in between.
#[test]
fn the_top_buckets_are_found_among_many() {
    let mut memory = Memory::new();
    let most = [(500, 5), (2_999, 4), (1_500, 3), (0, 2)];
    for n in 0..3_000 {
        let events = most.iter().find(|(at, _)| *at == n).map_or(1, |(_, events)| *events);
        for at in 0..events {
            memory.event(&event(n * 10 + at, &user(n)).set("n", n as u64));
        }
    }
    let memory = Arc::new(memory);
    for threads in [1, 3] {
        let by_number = Join::new(Arc::clone(&memory) as Arc<_>).threads(threads).group_by(["event.n"]);
        for top in [1, 3, 4, 1_100] {
            let answer = by_number.clone().top(top).answer().unwrap();
            let expected = most.map(|(n, events)| (Some(Value::from(n as u64)), Value::from(events as u64)));
            let seen = answer.buckets().iter().map(|bucket| (bucket.by[0].clone(), bucket.measures[0].clone()));
            assert!(seen.zip(expected).all(|(seen, expected)| seen == expected), "{top}: {:?}", answer.buckets());
            assert_eq!((answer.buckets().len(), answer.total()), (top, 3_000));
        }
    }
}

#[test]
fn buckets_are_bounded() {
    for threads in [1, 3] {
        let by_user = Join::new(world(2_000)).threads(threads).group_by(["event.distinct_id"]);
        assert_eq!(by_user.clone().buckets_max(2_000).answer().unwrap().total(), 2_000);
        is_limited(by_user.clone().buckets_max(1_999).answer(), "buckets_max=1999");
        // Those that would be cut off count.
        is_limited(by_user.clone().buckets_max(1_999).top(1).answer(), "buckets_max=1999");
        is_limited(by_user.clone().memory_bytes(32 << 10).answer(), "memory_bytes=32768");
        assert_eq!(by_user.memory_bytes(1 << 20).answer().unwrap().total(), 2_000);
    }
    for (group_by, setting) in [
        (Join::new(world(1)).measure(Measure::Count).buckets_max(0), "buckets_max=0"),
        (Join::new(world(1)).measure(Measure::Count).memory_bytes(4_095), "memory_bytes=4095"),
    ] {
        let error = group_by.explain().unwrap_err();
        assert!(error.is_invalid() && error.message().ends_with(setting), "{error}");
    }
}

/// Two lists of 30,000 elements have 900 million combinations.
#[test]
fn combinations_of_one_event_are_bounded() {
    let list = |prefix: &str| list(30_000, |n| format!("{prefix}{n}"));
    let mut memory = Memory::new();
    memory.event(&event(0, "ann").set("a", list("a")).set("b", list("b")));
    let update = Update::new().set("a", list("a")).set("b", list("b"));
    memory.row(&ProfileKey::user("ann").unwrap(), merge::full(None, &[&merge::operand(&update)]));
    let tables = Arc::new(memory);
    let join = || Join::new(tables.clone());
    is_limited(join().group_by(["event.a", "event.b"]).answer(), "buckets_max=2000000");
    is_limited(join().group_by(["user.a", "user.b"]).answer(), "buckets_max=2000000");
    is_limited(join().group_by(["user.a", "event.b"]).answer(), "buckets_max=2000000");
    assert_eq!(join().group_by(["event.a"]).answer().unwrap().total(), 30_000);
}

#[test]
fn every_combination_of_values_is_a_bucket() {
    let list = |prefix: &str, len: usize| list(len, |n| format!("{prefix}{n}"));
    let mut memory = Memory::new();
    memory.event(&event(0, "ann").set("a", list("a", 3)).set("b", list("b", 4)).set("c", 1));
    let update = Update::new().set("d", list("d", 2)).set("e", list("e", 5));
    memory.row(&ProfileKey::user("ann").unwrap(), merge::full(None, &[&merge::operand(&update)]));
    let fields = ["event.a", "user.d", "event.b", "event.c", "user.e"];
    let answer = Join::new(Arc::new(memory)).group_by(fields).buckets_max(3 * 4 * 2 * 5).answer().unwrap();
    assert_eq!(answer.total(), 3 * 4 * 2 * 5);
    assert!(answer.buckets().windows(2).all(|pair| pair[0].by < pair[1].by), "each once");
}

/// Long lists of many users that have the same combinations: few buckets, but a list of them for each user.
#[test]
fn what_is_remembered_of_codes_counts_as_memory() {
    let list = |len: usize, n: usize| list(len, |at| ((at + n) % len) as i64);
    let mut memory = Memory::new();
    for n in 0..200 {
        memory.event(&event(n, &user(n)));
        let update = Update::new().set("a", list(201, n)).set("b", list(50, 0));
        memory.row(&ProfileKey::user(user(n)).unwrap(), merge::full(None, &[&merge::operand(&update)]));
    }
    let by = Join::new(Arc::new(memory)).strategy(Strategy::Hash).group_by(["user.a", "user.b"]);
    // 10,050 combinations of 4 bytes and more, 200 times.
    is_limited(by.clone().memory_bytes(4 << 20).answer(), "memory_bytes=4194304");
    assert_eq!(by.answer().unwrap().total(), 201 * 50);
}

/// Users of one partition are in no other, so what counts is the largest partition, not all users.
#[test]
fn distinct_users_are_forgotten_with_their_partition() {
    let join = Join::new(world(6_000)).on_users().memory_bytes(64 << 10);
    for threads in [1, 2] {
        let uniques = |strategy| {
            let join = join.clone().threads(threads).strategy(strategy);
            join.measure(Measure::Uniques).memory_bytes(128 << 10).answer()
        };
        assert_eq!(uniques(Strategy::Hash).unwrap().buckets()[0].measures, [6_000.into()]);
        is_limited(uniques(Strategy::Lookup), "memory_bytes=131072");
    }
    let of_field = join.measure(Measure::Min(Field::user("plan"))).memory_bytes(128 << 10);
    assert_eq!(of_field.answer().unwrap().buckets()[0].measures, ["pro".into()]);
}

#[test]
fn errors_are_of_their_kind() {
    let events = [Ok(event(0, "ann")), Err(Error::corrupt("the caller's own"))];
    let answer = Join::new(world(1)).events_from(events).measure(Measure::Count).answer();
    assert!(answer.unwrap_err().is_corrupt());
}

/// What is joined onto a block by key is bounded, so blocks are cut where profiles are large: no event is lost, none
/// comes twice, and the order is that of the log.
#[test]
fn large_profiles_are_joined_in_smaller_blocks() {
    const USERS: usize = 90;
    let text = |n: usize| format!("{n:03}{}", "x".repeat(if n.is_multiple_of(3) { 400_000 } else { 9 }));
    let mut memory = Memory::new();
    for n in 0..USERS {
        for at in 0..3 {
            memory.event(
                &event(n * 3 + at, &user(n)).set("n", n as u64).set("team", list(4, |at| format!("t{}", n + at))),
            );
        }
        let update = Update::new().set("big", text(n)).set("club", list(3, |at| format!("t{}", n + 2 * at)));
        memory.row(&ProfileKey::user(user(n)).unwrap(), merge::full(None, &[&merge::operand(&update)]));
    }
    for n in 0..USERS + 8 {
        for key in ["team", "club"] {
            let row = merge::full(None, &[&merge::operand(&Update::new().set("big", text(n)))]);
            memory.row(&ProfileKey::group(key, format!("t{n}")).unwrap(), row);
        }
    }
    let tables = Arc::new(memory);
    for strategy in [Strategy::Lookup, Strategy::Merge] {
        for threads in [1, 2] {
            let join = Join::new(tables.clone()).strategy(strategy).threads(threads).memory_bytes(1 << 20).ordered();
            let mut rows = join.select(["user.big", "group:team.big", "user:club.big", "event.n"]).rows().unwrap();
            let mut seen = Vec::new();
            for row in rows.by_ref() {
                let row = row.unwrap();
                let n = row.get(3).and_then(|n| n.as_number().and_then(crate::Number::as_i64)).unwrap();
                let n = usize::try_from(n).unwrap();
                assert_eq!(row.text(0), Some(text(n).as_str()));
                assert_eq!(row.get(1), Some(list(4, |at| text(n + at))));
                assert_eq!(row.get(2), Some(list(3, |at| text(n + 2 * at))));
                seen.push((n, row.time()));
            }
            assert_eq!((seen.len(), seen.is_sorted_by(|a, b| a < b)), (USERS * 3, true));
            // It would be four of up to 1,024 events.
            assert!(rows.stats().blocks > 8, "{:?}", rows.stats());
        }
        let by = Join::new(tables.clone()).strategy(strategy).group_by(["user.big", "user:club.big"]);
        let answer = by.measure(Measure::Uniques).measure(Measure::Count).answer().unwrap();
        assert_eq!(answer.total(), USERS * 3);
        assert!(answer.buckets().iter().all(|bucket| bucket.measures == [1.into(), 3.into()]));
    }
}

/// Otherwise a store could not be opened again as soon as it is closed.
#[test]
fn an_answer_leaves_no_thread_that_holds_anything_of_the_store() {
    let mut memory = Memory::new();
    memory.event(&Event::new("visit", "a", Timestamp::from_seconds(0)));
    let tables: Arc<dyn Tables> = Arc::new(memory);
    for _ in 0..1_000 {
        let answer = Join::new(Arc::clone(&tables)).threads(8).group_by(["event.$name"]).answer().unwrap();
        assert_eq!((answer.buckets()[0].measures.as_slice(), Arc::strong_count(&tables)), (&[1.into()][..], 1));
    }
}
