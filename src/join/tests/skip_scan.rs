//! Runtime filter and skip scan: events of users that no predicate keeps are skipped, and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;

use super::memory::Memory;
use crate::join::{Join, JoinStats, Strategy as Way, Tables};
use crate::merge;
use crate::model::{Event, ProfileKey, Timestamp};
use crate::ops::Update;

const DAY: i64 = 86_400;

fn event(id: &str, day: i64, n: u32) -> Event {
    Event::new("visit", id, Timestamp::from_seconds((20_000 + day) * DAY + i64::from(n))).id(n.to_string()).set("n", n)
}

fn row(memory: &mut Memory, id: &str, plan: &str) {
    let update = Update::new().set("plan", plan);
    memory.row(&ProfileKey::user(id).unwrap(), merge::full(None, &[&merge::operand(&update)]));
}

/// Twenty days on which each of a thousand users does five things. One in a hundred is a pro; every fourth has no
/// profile.
fn world() -> Arc<dyn Tables> {
    let mut memory = Memory::new();
    for n in 0..1_000 {
        let id = format!("user-{n:04}");
        if n % 4 != 3 {
            row(&mut memory, &id, if n % 100 == 50 { "pro" } else { "free" });
        }
        for day in 0..20 {
            (0..5).for_each(|number| memory.event(&event(&id, day, number)));
        }
    }
    Arc::new(memory)
}

fn run(join: Join) -> (usize, JoinStats) {
    let mut rows = join.strategy(Way::Hash).rows().unwrap();
    let count = rows.by_ref().map(Result::unwrap).count();
    (count, rows.stats())
}

#[test]
fn events_that_cannot_pass_are_hardly_read() {
    let tables = world();
    let join = |filter: &str| Join::new(Arc::clone(&tables)).filter(filter);
    for (memory, threads) in [(32 << 20, 1), (32 << 20, 3), (64 << 10, 1), (64 << 10, 2)] {
        let sized = |join: Join| join.memory_bytes(memory).threads(threads);
        let (rows, stats) = run(sized(join(r#"user["plan"] == "pro""#)));
        assert_eq!(rows, 10 * 20 * 5);
        // Of 100,000: those rows, a few before each seek and one after it, and what tasks begin and end with.
        assert!(stats.events_read < 10_000, "memory={memory} threads={threads} {stats:?}");
        assert!(stats.seeks >= 20 * 10, "{stats:?}");
        // A conjunct after it may fail on an event, but is not evaluated where this one is false.
        let (rows, stats) = run(sized(join(r#"user["plan"] == "pro" and not properties["n"] == 3"#)));
        assert!(rows == 10 * 20 * 4 && stats.events_read < 10_000, "{stats:?}");
    }
    // Where the next user that is kept is near, a seek would take longer than reading on.
    let (_, stats) = run(join(r#"user["plan"] == "pro""#).between(..Timestamp::from_seconds(20_001 * DAY)));
    assert!(stats.seeks >= 10, "{stats:?}");
    let dense = (0..1_000).map(|n| event(&format!("user-{n:04}"), 0, 0)).fold(Memory::new(), |mut memory, event| {
        row(&mut memory, event.distinct_id(), if event.distinct_id().ends_with('0') { "pro" } else { "free" });
        memory.event(&event);
        memory
    });
    let (rows, stats) = run(Join::new(Arc::new(dense)).filter(r#"user["plan"] == "pro""#));
    assert_eq!((rows, stats.seeks), (100, 0), "{stats:?}");
    // No user is kept, so there is nothing to read.
    let (rows, stats) = run(join(r#"user["plan"] == "gold""#));
    assert!(rows == 0 && stats.events_read < 2_000, "{stats:?}");

    // All have to be read: users without a profile may be kept, many users are, or an event may be an error.
    for (filter, expected) in [
        (r#"not defined(user["plan"])"#, 250 * 100),
        (r#"user["plan"] != "free""#, 260 * 100),
        (r#"user["plan"] == "free""#, 740 * 100),
        (r#"user["plan"] == "pro" or properties["n"] == 3"#, 990 * 20 + 10 * 100),
    ] {
        let (rows, stats) = run(join(filter));
        assert_eq!(rows, expected, "{filter}");
        assert!(stats.events_read >= 100_000, "{filter} {stats:?}");
    }
    let error = join(r#"not properties["n"] and user["plan"] == "gold""#).rows().err();
    assert!(error.is_some_and(|error| error.is_invalid()), "the first event has a number in there");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_skip_scan_skips_no_event_that_passes(
        // Ids with common prefixes, and with bytes that are escaped in keys.
        profiles in prop::collection::btree_map(
            "[ab\u{0}\u{1}]{1,9}|prefix-of-all[ab]{0,3}", select(vec!["pro", "free"]), 0..40,
        ),
        pros in 0..4_usize,
        happened in prop::collection::vec((any::<prop::sample::Index>(), 0..4_i64, 0..40_u32), 0..200),
        strangers in prop::collection::vec(("[ab\u{0}\u{1}c]{1,9}", 0..4_i64), 0..100),
        (threads, memory) in (1..4_usize, select(vec![4_usize << 10, 32 << 20])),
        (inner, ordered, first) in any::<(bool, bool, bool)>(),
        seek_threshold in 0..4_u32,
    ) {
        let mut memory_of_all = Memory::new();
        // Few of many, or many.
        let plan = |at: usize, plan: &'static str| match pros {
            0 => plan,
            pros if at % (pros * 4) == 1 => "pro",
            _ => "free",
        };
        let plans: BTreeMap<&str, &str> =
            profiles.iter().enumerate().map(|(at, (id, known))| (id.as_str(), plan(at, known))).collect();
        plans.iter().for_each(|(id, plan)| row(&mut memory_of_all, id, plan));
        let ids: Vec<&str> = plans.keys().copied().collect();
        let known = happened.iter().filter(|_| !ids.is_empty());
        let known = known.map(|(at, day, n)| (ids[at.index(ids.len())], *day, *n));
        let mut events = BTreeMap::new();
        for (id, day, n) in known.chain(strangers.iter().map(|(id, day)| (id.as_str(), *day, 0))) {
            events.insert((day, id, n), ());
            memory_of_all.event(&event(id, day, n));
        }
        let expected: Vec<_> = events
            .keys()
            .filter(|(_, id, n)| plans.get(id) == Some(&"pro") && (!first || *n > 5))
            .map(|(day, id, n)| (*day, (*id).to_owned(), *n))
            .collect();

        let join = Join::new(Arc::new(memory_of_all)).strategy(Way::Hash).threads(threads);
        let join = join.memory_bytes(memory).seek_threshold(seek_threshold);
        let filters = [r#"user["plan"] == "pro""#, r#"properties["n"] > 5 and user["plan"] == "pro""#];
        let filter = filters[usize::from(first)];
        let join = if inner { join.inner().on_users() } else { join }.filter(filter).select(["event.n"]);
        let rows = if ordered { join.ordered() } else { join }.rows().unwrap();
        let mut found: Vec<_> = rows
            .map(|row| {
                let row = row.unwrap();
                let n = row.get(0).and_then(|n| n.as_number()?.as_u64()).unwrap() as u32;
                (row.time().day_and_millis().0 as i64 - 20_000, row.distinct_id().to_owned(), n)
            })
            .collect();
        found.sort();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn an_aggregation_skips_as_well() {
    let join = Join::new(world()).filter(r#"user["plan"] == "pro""#).strategy(Way::Hash).threads(2);
    let answer = join.group_by(["user.plan"]).answer().unwrap();
    assert_eq!((answer.total(), answer.get(&[Some("pro".into())])), (1, Some(&[1_000.into()][..])));
}
