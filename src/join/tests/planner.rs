//! The planner against counted work: estimates, and the strategies that follow from them.

use std::sync::Arc;

use super::memory::Memory;
use crate::join::{Join, JoinStats, Measure, Strategy, Tables};
use crate::merge;
use crate::model::{Event, ProfileKey, Timestamp};
use crate::ops::Update;

const DAY: i64 = 86_400;

/// On each day the first `active` users have one event each, and one in `rarely` of them is rare. `users` have
/// profiles.
fn world(days: i64, active: usize, rarely: usize, users: usize) -> Arc<dyn Tables> {
    let mut memory = Memory::new();
    let id = |n: usize| format!("user-{n:05}");
    for day in 0..days {
        for n in 0..active {
            let time = Timestamp::from_seconds((20_000 + day) * DAY + n as i64);
            let name = if n % rarely == 0 { "rare" } else { "usual" };
            // Active users are spread over all users.
            memory.event(&Event::new(name, id(n * users / active), time).id("1"));
        }
    }
    for n in 0..users {
        let row = merge::full(None, &[&merge::operand(&Update::new().set("plan", "pro"))]);
        memory.row(&ProfileKey::user(id(n)).unwrap(), row);
    }
    Arc::new(memory)
}

fn stats(join: &Join) -> JoinStats {
    let mut rows = join.rows().unwrap();
    rows.by_ref().for_each(|row| drop(row.unwrap()));
    rows.stats()
}

/// What the work of a join costs, in microseconds, as counted when it was done.
fn cost(stats: JoinStats) -> f64 {
    stats.lookups as f64 * 3.0 + stats.rows_read as f64 * 0.5 + stats.seeks as f64 * 6.0 + stats.rows as f64 * 0.1
}

#[test]
fn the_chosen_strategy_is_one_of_the_cheap_ones() {
    let mut chosen = Vec::new();
    for (days, active, rarely, users, names) in [
        (1, 100, 10, 5_000, &["rare", "usual"][..]),
        (1, 3_000, 10, 3_000, &["rare", "usual"]),
        (20, 1_000, 10, 1_000, &["rare", "usual"]),
        (20, 1_000, 500, 1_000, &["rare"]),
        (20, 20, 2, 4_000, &["rare", "usual"]),
        (1, 2_000, 100, 2_000, &["rare"]),
    ] {
        let join = Join::new(world(days, active, rarely, users)).select(["user.plan"]).event_names(names);
        let plan = join.explain().unwrap();
        let strategies = [Strategy::Lookup, Strategy::Merge, Strategy::Hash];
        let costs = strategies.map(|strategy| cost(stats(&join.clone().strategy(strategy))));
        let cheapest = costs.into_iter().fold(f64::INFINITY, f64::min);
        let of_chosen = cost(stats(&join));
        assert!(of_chosen <= 2.0 * cheapest, "{of_chosen} of {costs:?}\n{plan}");
        chosen.push(plan.tables[0].strategy);
    }
    assert!(chosen.contains(&Strategy::Lookup) && chosen.contains(&Strategy::Hash), "{chosen:?}");
}

#[test]
fn the_sample_is_of_the_whole_range() {
    // 8,000 events of one day. Those of the second half of the ids are rare.
    let mut memory = Memory::new();
    for n in 0..8_000 {
        let name = if n < 4_000 { "usual" } else { "rare" };
        let time = Timestamp::from_seconds(20_000 * DAY + n);
        memory.event(&Event::new(name, format!("user-{:04}", n / 2), time).id(n.to_string()));
    }
    let join = Join::new(Arc::new(memory)).select(["user.plan"]);
    let estimates = join.clone().event_names(["rare"]).explain().unwrap().estimates;
    assert_eq!((estimates.events, estimates.days, estimates.sample), (8_000, 1, 512));
    assert!((0.4..=0.6).contains(&estimates.selectivity), "{estimates:?}");
    // Two events of each user follow one another.
    assert!((0.2..=0.3).contains(&estimates.probes_per_event), "{estimates:?}");
    // Of what the sample does not have, there may be some.
    let estimates = join.event_names(["other"]).explain().unwrap().estimates;
    assert_eq!(estimates.selectivity, 1.0 / 512.0);
}

#[test]
fn a_sample_of_busy_users_does_not_make_lookups_free() {
    let mut memory = Memory::new();
    for n in 0..16_000 {
        let time = Timestamp::from_seconds(20_000 * DAY + n);
        memory.event(&Event::new("visit", format!("user-{}", n / 4_000), time).id(n.to_string()));
    }
    let plan = Join::new(Arc::new(memory)).select(["user.plan"]).explain().unwrap();
    assert!(plan.estimates.probes_per_event < 0.02, "{plan}");
    // 16,000 / 8 probes of 3 us.
    assert!(plan.tables[0].reason.starts_with("lookup 6.0 ms, "), "{plan}");
}

#[test]
fn partitions_get_smaller_towards_the_end() {
    let tables = world(1, 3_000, 10, 3_000);
    let partitions = |threads| {
        let join = Join::new(Arc::clone(&tables)).select(["user.plan"]).strategy(Strategy::Hash);
        stats(&join.memory_bytes(64 << 10).threads(threads)).partitions
    };
    // 64 KB of rows of 120 bytes, for a partition of each thread and one that is being read.
    assert_eq!(partitions(1), 3_000_u64.div_ceil((64 << 10) / 120 / 2));
    let equal = 3_000_u64.div_ceil((64 << 10) / 120 / 3);
    assert!((equal + 4..equal * 2).contains(&partitions(2)), "{} beside {equal}", partitions(2));
    let by_plan = Join::new(tables).group_by(["user.plan"]).measure(Measure::Uniques);
    assert_eq!(by_plan.answer().unwrap().buckets()[0].measures, [3_000.into()]);
}
