//! Aggregation by columns gives the answers of the same events as rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::memory::{Hooked, Memory};
use crate::error::Error;
use crate::join::{Answer, Field, GroupBy, Join, Measure, Strategy as Way, Tables};
use crate::merge;
use crate::model::{Event, Kind, ProfileKey, Timestamp, Value};
use crate::ops::Update;

const DAY: i64 = 86_400_000;

fn float(float: f64) -> Value {
    Value::try_from(float).unwrap()
}

fn amounts() -> impl Strategy<Value = Value> {
    const ODD: [f64; 7] = [0.1, -0.0, 1e-300, 1e300, 5e-324, 123_456_789.123_456, 9_007_199_254_740_993.0];
    prop_oneof![
        8 => (0..2_000_i64).prop_map(|cents| float(cents as f64 / 100.0)),
        4 => (-5..5_i64).prop_map(Value::from),
        1 => select(ODD.to_vec()).prop_map(float),
        1 => select(vec![i64::MAX, i64::MIN, 1 << 60]).prop_map(Value::from),
        1 => select(vec!["text", ""]).prop_map(Value::from),
        1 => prop::collection::vec(0..3_i64, 0..3).prop_map(Value::from),
    ]
}

/// With a text among them they are not stored as numbers.
fn alike(has_texts: bool) -> impl Strategy<Value = Value> {
    let mut values = vec![float(1.0), Value::from(1), float(0.0), Value::from(0), float(-2.5)];
    values.extend(has_texts.then(|| Value::from("text")));
    select(values)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // Most logs have plain amounts, which are stored as numbers.
    let amounts = prop_oneof![
        2 => prop::collection::vec(amounts(), 1..60),
        1 => prop::collection::vec((0..100_000_i64).prop_map(|cents| float(cents as f64 / 100.0)), 1..60),
        1 => prop::collection::vec((-9..1_000_i64).prop_map(Value::from), 1..60),
        // Integers and floats that are equal.
        1 => prop::collection::vec(alike(false), 60),
        1 => prop::collection::vec(alike(true), 60),
        // Every event has one.
        2 => prop::collection::vec((0..100_000_i64).prop_map(|cents| float(cents as f64 / 100.0)), 60),
        1 => prop::collection::vec((-9..30_i64).prop_map(Value::from), 60),
    ];
    let event = (0..12_u32, 0..3_i64, 0..DAY, select(vec!["buy", "visit", "v"]), prop::option::of("[a-c]{0,1}"));
    let without = prop_oneof![Just(0), 0..8_u32];
    (prop::collection::vec(event, 60), amounts, without).prop_map(|(events, amounts, without)| {
        let event = |(at, (id, day, millis, name, area)): (usize, (u32, i64, i64, &str, Option<String>))| {
            let id = if id == 0 { String::new() } else { format!("u{id}") };
            let event = Event::new(name, id, Timestamp::from_millis(day * DAY + millis)).id(at.to_string());
            let event = area.into_iter().fold(event, |event, area| event.set("area", area));
            let amount = amounts.get(at).filter(|_| at as u32 % 8 >= without);
            amount.into_iter().fold(event, |event, amount| event.set("amount", amount.clone()))
        };
        events.into_iter().enumerate().map(event).collect()
    })
}

fn profiles() -> impl Strategy<Value = Vec<(u32, Update)>> {
    let update =
        (prop::option::of("[a-b]{1}"), prop::option::of(0..3_i64), any::<bool>()).prop_map(|(plan, age, listed)| {
            let update = Update::new().create();
            let update = plan.into_iter().fold(update, |update, plan| match listed {
                true => update.set("plan", vec![Value::from(plan), Value::from("c")]),
                false => update.set("plan", plan),
            });
            age.into_iter().fold(update, |update, age| update.set("age", age))
        });
    prop::collection::vec((1..14_u32, update), 0..14)
}

const FIELDS: [&str; 9] = [
    "event.area",
    "event.$event_name",
    "event.$day",
    "event.$month",
    "event.$hour",
    "event.amount",
    "user.plan",
    "user.age",
    "user.$last_seen",
];

const FILTERS: [&str; 24] = [
    r#"properties["amount"] > 5"#,
    r#"properties["area"] == "a""#,
    r#"not defined(properties["area"])"#,
    r#"event["$event_name"] != "buy""#,
    r#"user["plan"] == "a""#,
    r#"user["age"] > 0 and properties["amount"] > 1"#,
    r#"not defined(user["age"]) and event["$event_name"] == "buy""#,
    r#"properties["area"] in ["a", "b"] and user["plan"] != "b""#,
    // Numbers that are compared as they are stored.
    r#"properties["amount"] == -0.0"#,
    r#"properties["amount"] >= 9007199254740993 or properties["amount"] < 0"#,
    r#"not (properties["amount"] in [1, 2.5, 7, 999.99] or properties["amount"] < -1)"#,
    r#"500 >= properties["amount"] and properties["amount"] != 3"#,
    r#"properties["amount"] > "text" or not defined(properties["amount"])"#,
    // Numbers that are not.
    r#"properties["amount"] % 2 == 0"#,
    r#"properties["amount"] * 2 > properties["amount"] + 7"#,
    // Of the event and the user.
    r#"properties["amount"] > user["age"] * 10"#,
    r#"properties["amount"] >= user["age"] and properties["amount"] < user["age"] + 5"#,
    r#"not (user["age"] < properties["amount"]) and user["plan"] == "a""#,
    r#"properties["amount"] * 2 > user["age"]"#,
    r#"properties["amount"] > user["age"] or user["plan"] == properties["amount"]"#,
    r#"properties["area"] == user["plan"]"#,
    r#"properties["area"] in user["plan"] or not defined(user["age"])"#,
    r#"event["$event_name"] != user["plan"] and defined(user["age"])"#,
    r#"properties["amount"] > user["age"] or properties["area"] == user["plan"]"#,
];

/// An operand of `not` has to be a truth value.
const FAILING: [&str; 9] = [
    r#"properties["amount"] > 15 and not properties["area"]"#,
    r#"user["age"] > 0 and not user["plan"]"#,
    r#"not properties["area"] and user["plan"] == "a""#,
    r#"properties["amount"] > user["age"] and not properties["area"]"#,
    r#"not (properties["amount"] > user["age"] and user["plan"])"#,
    r#"not user["plan"] or properties["amount"] > 1"#,
    r#"not (properties["amount"] > 1 and user["plan"]) and user["age"] > 1"#,
    r#"properties["amount"] > 500 or not properties["amount"]"#,
    r#"properties["amount"] > user["age"] and (properties["area"] == user["plan"] or not user["plan"])"#,
];

#[derive(Clone, Debug)]
struct Question {
    by: Vec<&'static str>,
    measures: Vec<Measure>,
    filter: Option<&'static str>,
    names: bool,
    times: Option<(i64, i64)>,
    inner: bool,
    zone: &'static str,
}

fn questions(filters: Vec<&'static str>) -> impl Strategy<Value = Question> {
    let amount = || Field::event("amount");
    let measures = vec![
        Measure::Count,
        Measure::Uniques,
        Measure::Sum(amount()),
        Measure::Avg(amount()),
        Measure::Sum(Field::event("absent")),
        Measure::Min(amount()),
        Measure::Max(amount()),
        Measure::Percentile(amount(), 50),
        Measure::Percentile(amount(), 90),
        Measure::Percentile(amount(), 0),
    ];
    let texts = vec![
        Measure::Min(Field::event("area")),
        Measure::Max(Field::event("area")),
        Measure::Max(Field::event("absent")),
        Measure::Percentile(Field::event("area"), 50),
        Measure::Min(Field::event("$event_name")),
        Measure::Max(Field::event("$time")),
        Measure::Min(Field::event("$time")),
        Measure::Min(Field::event("$day")),
        Measure::Max(Field::event("$hour")),
    ];
    let by = (0..=2_usize).prop_flat_map(|most| subsequence(FIELDS.to_vec(), most).prop_shuffle());
    // Often few, because one that is not computed by columns leaves all to the rows.
    let few = (subsequence(measures.clone(), 0..=3), subsequence(texts, 0..=1));
    let few = few.prop_map(|(measures, texts)| [measures, texts].concat());
    let measures = prop_oneof![2 => few.prop_shuffle(), 1 => subsequence(measures, 1..=10).prop_shuffle()];
    let times = prop::option::weighted(0.4, (0..3 * DAY, 0..3 * DAY));
    let filter = prop::option::weighted(0.7, select(filters));
    let zone = select(vec!["UTC", "Asia/Kathmandu"]);
    (by, measures, filter, prop::bool::weighted(0.3), times, prop::bool::weighted(0.3), zone).prop_map(
        |(by, measures, filter, names, times, inner, zone)| Question {
            by,
            measures,
            filter,
            names,
            times,
            inner,
            zone,
        },
    )
}

impl Question {
    fn group_by(&self, tables: &Arc<Memory>, threads: usize, by_rows: bool) -> GroupBy {
        let join = Join::new(Arc::clone(tables) as _).threads(threads).time_zone(self.zone);
        let join = self.filter.into_iter().fold(join, Join::filter);
        let join = if self.names { join.event_names(["buy", "v"]) } else { join };
        let join = match self.times {
            Some((one, other)) => {
                join.between(Timestamp::from_millis(one.min(other))..Timestamp::from_millis(one.max(other)))
            }
            None => join,
        };
        let join = if self.inner { join.inner() } else { join };
        let join = if by_rows { join.strategy(Way::Lookup) } else { join };
        self.measures.iter().cloned().fold(join.group_by(self.by.clone()), GroupBy::measure)
    }
}

/// Buckets in one order: those that are equal in the first measure have none.
fn shown(answer: &Answer) -> Vec<String> {
    let mut buckets: Vec<String> = answer.buckets().iter().map(|bucket| format!("{bucket:?}")).collect();
    buckets.sort();
    buckets
}

fn tables(events: &[Event], profiles: &[(u32, Update)], (share, resent, block): (u32, u32, usize)) -> Arc<Memory> {
    let mut memory = Memory::new();
    events.iter().for_each(|event| memory.event(event));
    for (id, update) in profiles {
        let key = ProfileKey::new(Kind::User, format!("u{id}")).unwrap();
        memory.row(&key, merge::full(None, &[&merge::operand(update)]));
    }
    let lot = |event: &Event| event.insert_id().and_then(|id| id.parse::<u32>().ok()).unwrap_or_default();
    let older = |event: &Event| (lot(event) % 7 < resent).then(|| event.clone().set("amount", 7).set("area", "older"));
    memory.seal(block, |event| lot(event) % 10 < share, older);
    Arc::new(memory)
}

fn tiers() -> impl Strategy<Value = (u32, u32, usize)> {
    (select(vec![5, 10, 10]), select(vec![0, 0, 2]), select(vec![3, 20, 65_536]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn columns_give_the_answers_of_rows(
        events in events(),
        profiles in profiles(),
        tiers in tiers(),
        question in questions(FILTERS.to_vec()),
        threads in 1..3_usize,
    ) {
        let tables = tables(&events, &profiles, tiers);
        let [columns, rows] = [false, true].map(|by_rows| question.group_by(&tables, threads, by_rows));
        prop_assert!(columns.explain().unwrap().sealed.is_some() || question.times.is_some());
        prop_assert!(rows.explain().unwrap().sealed.is_none());
        prop_assert_eq!(shown(&columns.answer().unwrap()), shown(&rows.answer().unwrap()));
    }

    #[test]
    fn columns_fail_where_rows_fail(
        events in events(), profiles in profiles(), tiers in tiers(), question in questions(FAILING.to_vec()),
    ) {
        let tables = tables(&events, &profiles, tiers);
        let [columns, rows] = [false, true].map(|by_rows| question.group_by(&tables, 1, by_rows).answer());
        match (columns, rows) {
            (Ok(columns), Ok(rows)) => prop_assert_eq!(shown(&columns), shown(&rows)),
            // Which event of several is met first depends on the order of reading.
            (Err(columns), Err(rows)) => {
                prop_assert_eq!(columns.kind(), rows.kind());
                prop_assert!(columns.message().contains("distinct_id="), "{}", columns);
            }
            (columns, rows) => prop_assert!(false, "{:?} {:?}", columns, rows),
        }
    }
}

/// Few of many users pass, each with events in several blocks.
#[test]
fn few_users_are_counted_as_by_rows() {
    let event = |at: u32| {
        let (user, day) = (at % 300, i64::from(at / 300));
        let event = Event::new("buy", format!("u{user}"), Timestamp::from_millis(day * DAY + i64::from(at)));
        event.id(at.to_string()).set("area", if at % 7 < 3 { "a" } else { "b" }).set("amount", i64::from(at % 11))
    };
    let events: Vec<Event> = (0..1_200).map(event).collect();
    let profile = |user: u32| {
        let plan = if user % 97 == 5 { "rare" } else { "free" };
        (user, Update::new().create().set("plan", plan).set("age", i64::from(user % 5)))
    };
    let profiles: Vec<(u32, Update)> = (0..300).map(profile).collect();
    let tables = tables(&events, &profiles, (10, 0, 200));
    for filter in [r#"user["plan"] == "rare""#, r#"user["plan"] == "rare" and properties["amount"] > user["age"]"#] {
        for by in [vec![], vec!["user.age"], vec!["event.area", "user.age"]] {
            let mut measures = vec![Measure::Count, Measure::Sum(Field::event("amount"))];
            if by.first() != Some(&"event.area") {
                measures = vec![Measure::Uniques];
            }
            let zone = "UTC";
            let question =
                Question { by, measures, filter: Some(filter), names: false, times: None, inner: true, zone };
            let [columns, rows] = [false, true].map(|by_rows| question.group_by(&tables, 2, by_rows));
            assert!(columns.explain().unwrap().sealed.is_some());
            let answer = columns.answer().unwrap();
            assert_eq!(shown(&answer), shown(&rows.answer().unwrap()), "{question:?}");
            assert!(!answer.buckets().is_empty());
        }
    }
}

/// Events of 300 users, who have profiles: four days of sealed blocks, with plain amounts.
fn plain_world() -> Memory {
    let event = |at: u32| {
        let (user, day) = (at * 7 % 300, i64::from(at / 300));
        let event = Event::new("buy", format!("u{user}"), Timestamp::from_millis(day * DAY + i64::from(at)));
        let event = event.id(at.to_string()).set("area", ["a", "b", "c"][at as usize % 3]);
        event.set("amount", float(f64::from(at * 31 % 997) / 100.0)).set("items", i64::from(at % 11))
    };
    let mut memory = Memory::new();
    (0..1_200).for_each(|at| memory.event(&event(at)));
    for user in 0..300 {
        let update = Update::new().create().set("plan", if user % 3 == 0 { "pro" } else { "free" });
        memory.row(&ProfileKey::user(format!("u{user}")).unwrap(), merge::full(None, &[&merge::operand(&update)]));
    }
    memory.seal(200, |_| true, |_| None);
    memory
}

/// Neither is taken for the end of what it reads.
#[test]
fn a_failure_of_a_thread_that_helps_reading_codes_fails_the_join() {
    type Failure = fn() -> Error;

    let failures: [(Failure, &str); 2] = [
        (|| Error::corrupt("a row cannot be read"), "a row cannot be read"),
        (|| panic!("as it shall"), "a thread of the join panicked"),
    ];
    for (fail, message) in failures {
        let has_failed = AtomicBool::new(false);
        let tables = Hooked::new(Arc::new(plain_world()), move || {
            if std::thread::current().name() == Some("profiledb-join") {
                has_failed.store(true, Ordering::SeqCst);
                return Err(fail());
            }
            // The calling thread waits, so that one that helps reads as well.
            while !has_failed.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(())
        });
        let join = Join::new(Arc::new(tables)).threads(2);
        let error = join.group_by(["user.plan"]).answer().expect_err("it fails");
        assert!(error.message().contains(message), "{error}");
    }
}

#[test]
fn only_the_rows_of_few_requested_users_are_read() {
    let tables = Arc::new(plain_world());
    let join = || Join::new(Arc::clone(&tables) as _).select(["user.plan"]);
    let read = |join: Join| {
        let mut rows = join.rows().unwrap();
        let plans: Vec<String> = rows.by_ref().map(|row| format!("{:?}", row.unwrap().get(0))).collect();
        (plans, rows.stats().rows_read, rows.stats().lookups)
    };
    let (all, rows_read, _) = read(join());
    assert_eq!((all.len(), rows_read), (1_200, 300));
    let (few, rows_read, lookups) = read(join().users(["u0", "u4", "nobody"]));
    let text = |plan: &str| format!("{:?}", Some(Value::from(plan)));
    let [pro, free] = ["pro", "free"].map(|plan| few.iter().filter(|seen| **seen == text(plan)).count());
    assert_eq!((pro, free, rows_read, lookups), (4, 4, 0, 2));
}

/// The rows of requested users count against the memory of a join as those of all users do.
#[test]
fn large_values_of_requested_users_are_joined_row_by_row() {
    let event = |at: u32| Event::new("buy", format!("u{at}"), Timestamp::from_millis(i64::from(at))).id(at.to_string());
    let events: Vec<Event> = (0..100).map(event).collect();
    let text = |at: u32| format!("{at:05}").repeat(100);
    let profiles: Vec<(u32, Update)> = (0..100).map(|at| (at, Update::new().set("text", text(at)))).collect();
    let tables = tables(&events, &profiles, (10, 0, 20));
    let ids: Vec<String> = (0..100).map(|at| format!("u{at}")).collect();
    for (memory, by_columns) in [(1 << 20, true), (8 << 10, false)] {
        let join = Join::new(Arc::clone(&tables) as _).users(&ids).select(["user.text"]).memory_bytes(memory);
        let mut rows = join.rows().unwrap();
        assert_eq!(rows.plan().sealed.is_some(), by_columns);
        let mut read: Vec<String> = rows.by_ref().map(|row| row.unwrap().text(0).unwrap().to_owned()).collect();
        read.sort();
        assert_eq!(read, (0..100).map(text).collect::<Vec<_>>());
    }
}

/// Rows cannot be made where times cannot be read.
#[test]
fn measures_of_fields_and_users_of_cells_need_no_rows() {
    let (intact, mut damaged) = (plain_world(), plain_world());
    damaged.damage_times();
    let [intact, damaged] = [intact, damaged].map(Arc::new);
    let (amount, items) = (|| Field::event("amount"), || Field::event("items"));
    let measures = [
        Measure::Min(amount()),
        Measure::Max(items()),
        Measure::Max(Field::event("area")),
        Measure::Min(Field::event("$event_name")),
        Measure::Max(Field::event("$day")),
        Measure::Percentile(amount(), 50),
        Measure::Percentile(items(), 90),
        Measure::Uniques,
    ];
    let fields = [
        &["event.area"][..],
        &["event.items", "user.plan"],
        &["user.plan", "event.$day"],
        &["event.$event_name", "event.area"],
        &["user.plan"],
        &[],
    ];
    let filters = [None, Some(r#"properties["amount"] > 2.5 and user["plan"] == "pro""#)];
    for (by, filter) in fields.iter().flat_map(|by| filters.iter().map(move |filter| (by, filter))) {
        for measures in measures.iter().map(std::slice::from_ref).chain([&measures[..]]) {
            let question = Question {
                by: by.to_vec(),
                measures: measures.to_vec(),
                filter: *filter,
                names: false,
                times: None,
                inner: false,
                zone: "UTC",
            };
            let answer = |tables, by_rows| question.group_by(tables, 2, by_rows).answer();
            let by_columns = answer(&damaged, false).unwrap();
            assert_eq!(shown(&by_columns), shown(&answer(&intact, true).unwrap()), "{question:?}");
            assert!(!by_columns.buckets().is_empty());
        }
    }
    // What is not computed by columns fails here.
    let by_id = Join::new(damaged as _).group_by(["event.$distinct_id"]).measure(Measure::Min(amount()));
    assert!(by_id.answer().unwrap_err().is_corrupt());
}

/// What columns hold is bounded as what rows hold is, and is not much more.
#[test]
fn columns_take_the_memory_of_rows() {
    let tables = Arc::new(plain_world());
    for (by, measure) in [
        (&[][..], Measure::Percentile(Field::event("amount"), 50)),
        (&["event.area"], Measure::Percentile(Field::event("amount"), 50)),
        (&["event.area"], Measure::Uniques),
        (&["event.amount", "user.plan"], Measure::Uniques),
        (&["event.amount", "event.area"], Measure::Max(Field::event("items"))),
    ] {
        let needed = [false, true].map(|by_rows| {
            let join = Join::new(Arc::clone(&tables) as _).on_users();
            let join = if by_rows { join.strategy(Way::Lookup) } else { join };
            let by = join.group_by(by.to_vec()).measure(measure.clone());
            let bounds = (12..22).map(|power| 1_usize << power);
            let mut refused = Vec::new();
            let needed = bounds.into_iter().find(|bytes| match by.clone().memory_bytes(*bytes).answer() {
                Ok(_) => true,
                Err(error) => {
                    assert!(error.is_limit_exceeded() && error.message().contains("memory_bytes="), "{error}");
                    refused.push(*bytes);
                    false
                }
            });
            assert!(!refused.is_empty(), "{measure} fits into the least bound");
            needed.unwrap()
        });
        assert!(needed[0] <= needed[1] * 2, "{measure} by {by:?}: {needed:?}");
    }
}

#[test]
fn a_plan_says_how_blocks_are_aggregated() {
    let event = |at: u32| {
        let time = Timestamp::from_millis(i64::from(at) * DAY / 10);
        Event::new("buy", format!("u{}", at % 7), time).id(at.to_string()).set("amount", i64::from(at))
    };
    let events: Vec<Event> = (0..100).map(event).collect();
    let tables = tables(&events, &[(1, Update::new().set("plan", "free"))], (10, 0, 20));
    let join = || Join::new(Arc::clone(&tables) as Arc<dyn Tables>);
    let aggregation = |query: GroupBy| query.explain().unwrap().sealed.map(|sealed| sealed.aggregation.unwrap());
    let by_plan = |join: Join| join.group_by(["user.plan"]);

    for query in [
        by_plan(join()),
        by_plan(join()).measure(Measure::Uniques).measure(Measure::Sum(Field::event("amount"))),
        join().filter(r#"user["plan"] == "free" and properties["amount"] > 3"#).group_by(["event.$name", "event.area"]),
    ] {
        assert_eq!(aggregation(query).as_deref(), Some("by column"));
    }
    for (query, reason) in [
        (by_plan(join().users(["u1"])), "requested by id"),
        (by_plan(join().filter(r#"properties["a"] == properties["b"]"#)), "two fields of the event"),
        (join().group_by(["event.$time"]), "grouped by a field of the event"),
        (by_plan(join()).measure(Measure::Sum(Field::user("age"))), "a measure"),
    ] {
        let aggregation = aggregation(query).unwrap();
        assert!(aggregation.starts_with("row by row: ") && aggregation.contains(reason), "{aggregation}");
    }
    // No blocks are read, or nothing is aggregated.
    assert_eq!(aggregation(by_plan(join().strategy(Way::Lookup))), None);
    assert_eq!(join().select(["user.plan"]).explain().unwrap().sealed.unwrap().aggregation, None);
    let plan = by_plan(join()).explain().unwrap().to_string();
    assert!(plan.lines().any(|line| line == "aggregate by column"), "{plan}");
}
