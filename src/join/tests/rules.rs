//! What is joined with what, case by case.

use std::sync::Arc;

use super::memory::Memory;
use crate::error::{ErrorKind, Result};
use crate::expr::Expr;
use crate::join::{Breakdown, Field, GroupBy, Join, JoinTable, Measure, Strategy};
use crate::merge;
use crate::model::{Event, ProfileKey, Timestamp, Value};
use crate::ops::Update;

fn event(id: &str) -> Event {
    Event::new("visit", id, Timestamp::from_seconds(1_700_000_000)).id("1")
}

fn row(memory: &mut Memory, key: Result<ProfileKey>, update: Update) {
    memory.row(&key.unwrap(), merge::full(None, &[&merge::operand(&update)]));
}

fn user(memory: &mut Memory, id: &str, update: Update) {
    row(memory, ProfileKey::user(id), update);
}

fn company(memory: &mut Memory, id: &str, update: Update) {
    row(memory, ProfileKey::group("company", id), update);
}

fn counts(memory: &Memory, by: &str) -> Vec<(Option<Value>, u64)> {
    let answer = Join::new(Arc::new(memory.clone())).group_by([by]).answer().unwrap();
    answer
        .buckets()
        .iter()
        .map(|row| (row.by[0].clone(), row.measures[0].as_number().unwrap().as_u64().unwrap()))
        .collect()
}

#[test]
fn null_and_absence_are_not_set_and_the_empty_string_is() {
    let mut memory = Memory::new();
    for (id, update) in [
        ("null", Update::new().set("plan", Value::Null)),
        ("absent", Update::new().set("x", 1)),
        ("empty", Update::new().set("plan", "")),
        ("empty list", Update::new().set("plan", Vec::<String>::new())),
        ("pro", Update::new().set("plan", "pro")),
    ] {
        memory.event(&event(id));
        user(&mut memory, id, update);
    }
    memory.event(&event("nobody"));
    assert_eq!(counts(&memory, "user.plan"), [(None, 4), (Some("".into()), 1), (Some("pro".into()), 1)]);
    let answer = Join::new(Arc::new(memory)).group_by(["user.plan"]).answer().unwrap();
    let rows = [r#"{"user.plan":null,"count":4}"#, r#"{"user.plan":"","count":1}"#, r#"{"user.plan":"pro","count":1}"#];
    let json = format!(r#"{{"total":3,"buckets":[{}]}}"#, rows.join(","));
    assert_eq!(serde_json::to_string(&answer).unwrap(), json);
}

#[test]
fn ids_are_case_sensitive_and_not_trimmed() {
    let mut memory = Memory::new();
    ["Ann", "ann", " ann"].iter().for_each(|id| memory.event(&event(id)));
    user(&mut memory, "ann", Update::new().set("plan", "pro"));
    assert_eq!(counts(&memory, "user.plan"), [(None, 2), (Some("pro".into()), 1)]);
}

#[test]
fn elements_of_a_list_count_once_each() {
    let mut memory = Memory::new();
    memory.event(&event("ann"));
    user(&mut memory, "ann", Update::new().set("roles", vec!["x", "y", "x"]));
    assert_eq!(counts(&memory, "user.roles"), [(Some("x".into()), 1), (Some("y".into()), 1)]);
    // A filter on the list keeps the event; which elements are shown is another question.
    let roles = || Breakdown::new(Field::user("roles"));
    let by = |breakdown: Breakdown| {
        let join = Join::new(Arc::new(memory.clone())).filter(r#"any(r, user["roles"], r == "x")"#);
        join.group_by([breakdown]).answer().unwrap().total()
    };
    assert_eq!(by(roles()), 2);
    assert_eq!(by(roles().keep(|role| *role == Value::from("x"))), 1);
    assert_eq!(by(roles().keep(|role| *role == Value::from("none"))), 0);
}

#[test]
fn three_hundred_groups_join_and_no_more() {
    let mut memory = Memory::new();
    let ids: Vec<String> = (0..301).map(|n| format!("g{n:03}")).collect();
    memory.event(&event("ann").set("company", ids.clone()));
    ids.iter().for_each(|id| company(&mut memory, id, Update::new().set("name", id.as_str())));
    let names = counts(&memory, "group:company.name");
    assert_eq!(names.len(), 300);
    assert_eq!(names.last(), Some(&(Some("g299".into()), 1)));
    let row = Join::new(Arc::new(memory)).on_groups("company").rows().unwrap().next().unwrap().unwrap();
    assert_eq!(row.groups("company").len(), 300);
}

#[test]
fn the_event_and_the_user_lead_to_groups_in_two_ways() {
    let mut memory = Memory::new();
    memory.event(&event("ann"));
    memory.event(&event("bob").set("company", ["a", "b", "ghost"]));
    user(&mut memory, "ann", Update::new().set("company", ["a"]));
    user(&mut memory, "bob", Update::new().set("company", "b"));
    company(&mut memory, "a", Update::new().set("tier", "gold").set("size", 5));
    company(&mut memory, "b", Update::new().set("tier", "silver").set("size", 9));
    let gold = || Some(Value::from("gold"));
    let silver = || Some(Value::from("silver"));
    // Ann's event is of no group, though she is; one of Bob's groups has no profile.
    assert_eq!(counts(&memory, "group:company.tier"), [(None, 2), (gold(), 1), (silver(), 1)]);
    assert_eq!(counts(&memory, "user:company.tier"), [(gold(), 1), (silver(), 1)]);
    // Properties of one group stay together.
    let by = Join::new(Arc::new(memory.clone())).group_by(["group:company.tier", "group:company.size"]);
    let answer = by.answer().unwrap();
    let pairs: Vec<_> = answer.buckets().iter().map(|row| row.by.clone()).collect();
    assert_eq!(pairs, [vec![None, None], vec![gold(), Some(5.into())], vec![silver(), Some(9.into())]]);

    let rows = Join::new(Arc::new(memory)).select(["group:company.tier", "user:company.tier"]).ordered();
    let rows: Vec<_> = rows.rows().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows[0].get(0), Some(Value::List(Vec::new())));
    assert_eq!(rows[0].get(1), Some(vec!["gold"].into()));
    let groups = rows[1].groups("company");
    assert_eq!(
        groups.iter().map(|group| (group.id(), group.exists())).collect::<Vec<_>>(),
        [("a", true), ("b", true), ("ghost", false)]
    );
    assert_eq!((groups[1].get("tier"), groups[2].get("tier")), (silver(), None));
    assert_eq!(rows[1].user_groups("company").len(), 1);
    let json = concat!(
        r#"{"event":"visit","time":"2023-11-14T22:13:20","distinct_id":"bob","#,
        r#""group:company.tier":["gold","silver",null],"user:company.tier":["silver"]}"#
    );
    assert_eq!(serde_json::to_string(&rows[1]).unwrap(), json);
}

#[test]
fn an_inner_join_drops_what_has_no_profile() {
    let mut memory = Memory::new();
    ["ann", "bob", ""].iter().for_each(|id| memory.event(&event(id).set("company", "a")));
    memory.event(&event("cat"));
    user(&mut memory, "ann", Update::new().set("plan", "pro"));
    user(&mut memory, "cat", Update::new().set("plan", "pro"));
    user(&mut memory, "bob", Update::new().unset("x"));
    company(&mut memory, "a", Update::new().set("tier", "gold"));
    let ids = |join: Join| -> Vec<String> {
        join.ordered().rows().unwrap().map(|row| row.unwrap().distinct_id().to_owned()).collect()
    };
    let join = || Join::new(Arc::new(memory.clone()));
    assert_eq!(ids(join().on_users()), ["", "ann", "bob", "cat"]);
    assert_eq!(ids(join().on_users().inner()), ["ann", "cat"]);
    assert_eq!(ids(join().on_users().on_groups("company").inner()), ["ann"]);
    assert_eq!(ids(join().inner()), ["", "ann", "bob", "cat"]);
    let row = join().on_users().ordered().rows().unwrap().nth(2).unwrap().unwrap();
    assert_eq!(row.has_user(), Some(false));
}

#[test]
fn measures_are_exact_and_of_one_thing() {
    let mut memory = Memory::new();
    for n in 0..10 {
        memory.event(&event("ann").set("amount", 0.1).id(n.to_string()));
    }
    memory.event(&event("ann").set("amount", "12").id("text"));
    let sum = |field| Join::new(Arc::new(memory.clone())).measure(Measure::Sum(field)).answer();
    assert_eq!(sum(Field::event("amount")).unwrap().buckets()[0].measures[0].to_string(), "1.0");
    let error = sum(Field::group("company", "size").unwrap()).unwrap_err();
    assert!(error.is_invalid() && error.message().contains("group:company.size"), "{error}");
    let none = Join::new(Arc::new(Memory::new())).measure(Measure::Count).answer().unwrap();
    assert_eq!((none.total(), none.get(&[])), (1, Some(&[0.into()][..])));
}

#[test]
fn a_mean_is_divided_exactly_and_rounded_once() {
    let mean = |amounts: &[Value]| {
        let mut memory = Memory::new();
        for (n, amount) in amounts.iter().enumerate() {
            memory.event(&event("ann").set("amount", amount.clone()).id(n.to_string()));
        }
        let mean = Join::new(Arc::new(memory)).measure(Measure::Avg(Field::event("amount"))).answer().unwrap();
        mean.buckets()[0].measures[0].clone()
    };
    let number = |double: f64| Value::try_from(double).unwrap();
    // The sum is no double.
    assert_eq!(mean(&[number(1.7e308), number(1.7e308)]), number(1.7e308));
    // The sum is 2^53 + 1, which rounds to 2^53, a third of which rounds to the double below.
    assert_eq!(mean(&[(1_i64 << 53).into(), 1.into(), 0.into()]), number(3_002_399_751_580_331.0));
    assert_eq!(mean(&[1.into(), 2.into(), "3".into()]), number(1.5));
    assert_eq!(mean(&["3".into()]), Value::Null);
}

#[test]
fn no_names_are_no_events() {
    let mut memory = Memory::new();
    memory.event(&event("ann"));
    let tables = Arc::new(memory);
    let none: [&str; 0] = [];
    for (names, expected) in [(&none[..], 0), (&["visit"][..], 1), (&["visit", "buy"], 1), (&["buy"], 0)] {
        let join = Join::new(tables.clone()).event_names(names);
        assert_eq!(join.rows().unwrap().count(), expected, "{names:?}");
        let answer = join.clone().measure(Measure::Count).answer().unwrap();
        assert_eq!(answer.buckets()[0].measures, [(expected as u64).into()]);
        let counts = join.threads(3).fold(
            || 0,
            |count, _| {
                *count += 1;
                Ok(())
            },
        );
        assert_eq!(counts.unwrap().iter().sum::<usize>(), expected);
    }
    let join = Join::new(tables.clone()).event_names(none);
    assert_eq!(join.explain().unwrap().estimates.events, 0);
    // Whatever else is wrong is still an error.
    assert_eq!(join.select(["group:company.tier"]).rows().unwrap_err().kind(), ErrorKind::NotFound);
    let own = Join::new(tables).events_from([Ok(event("bob"))]).event_names(none);
    assert_eq!(own.rows().unwrap().count(), 0);
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let join = || Join::new(Arc::new(world_of_fifty()));
    for (join, setting) in [
        (join().threads(0), "threads=0"),
        (join().threads(257), "threads=257"),
        (join().memory_bytes((4 << 10) - 1), "memory_bytes=4095"),
        (join().memory_bytes((1 << 30) + 1), "memory_bytes=1073741825"),
    ] {
        for error in [join.rows().err(), join.explain().err(), join.measure(Measure::Count).answer().err()] {
            let error = error.unwrap();
            assert!(error.is_invalid() && error.message().ends_with(setting), "{error}");
        }
    }
    assert_eq!(join().threads(256).memory_bytes(4 << 10).rows().unwrap().count(), 50);
    assert_eq!(join().threads(1).memory_bytes(1 << 30).rows().unwrap().count(), 50);
}

#[test]
fn a_query_is_run_as_often_as_it_is_asked() {
    let join = Join::new(Arc::new(world_of_fifty())).select(["user.plan"]);
    let by_plan = join.clone().group_by(["user.plan"]);
    assert_eq!((join.rows().unwrap().count(), join.rows().unwrap().count()), (50, 50));
    assert_eq!(by_plan.answer().unwrap(), by_plan.answer().unwrap());
    assert_eq!(by_plan.explain().unwrap(), join.explain().unwrap());
    // The caller's own events are there once, for the query and all its clones.
    let own = Join::new(Arc::new(world_of_fifty())).events_from([Ok(event("bob"))]);
    own.explain().unwrap();
    assert_eq!(own.clone().rows().unwrap().count(), 1);
    let error = own.measure(Measure::Count).answer().unwrap_err();
    assert!(error.is_invalid() && error.message().contains("read already"), "{error}");
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let join = || Join::new(Arc::new(Memory::new()));
    let error = join().select(["group:company.tier"]).rows().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("group_key=\"company\""), "{error}");
    assert!(join().select(["plan"]).rows().unwrap_err().is_invalid());
    assert!(join().filter("1 +").rows().unwrap_err().is_invalid());
    assert!(join().group_by(["plan"]).answer().unwrap_err().is_invalid());
    let error = "properties[\"a\"] and and".parse::<Expr>().unwrap_err();
    assert!(error.message().contains("column="), "{error}");
    // An expression that asks what makes no sense fails when it meets it.
    let mut memory = Memory::new();
    memory.event(&event("ann").set("amount", "12"));
    let error = Join::new(Arc::new(memory)).filter(r#"properties["amount"] or true"#).rows().unwrap_err();
    assert!(error.is_invalid() && error.message().contains("time=2023-11-14T22:13:20 distinct_id=\"ann\""), "{error}");
}

#[test]
fn what_a_group_key_or_an_id_is_called_does_not_matter() {
    let mut memory = Memory::new();
    memory.event(&event("ann").set("event", ["a"]).set("$day", "b"));
    for (key, id) in [("event", "a"), ("$day", "b")] {
        row(&mut memory, ProfileKey::group(key, id), Update::new().set("tier", "gold"));
        assert_eq!(counts(&memory, &format!("group:{key}.tier")), [(Some("gold".into()), 1)]);
    }
    assert_eq!(counts(&memory, "user.$distinct_id"), [(Some("ann".into()), 1)]);
}

#[test]
fn to_explain_reads_no_table() {
    let mut memory = world_of_fifty();
    memory.put(JoinTable::Profiles(crate::model::Kind::User), b"u1", b"damaged".to_vec());
    let join = || Join::new(Arc::new(memory.clone())).strategy(Strategy::Hash).ordered().select(["user.plan"]);
    assert!(join().rows().is_err());
    assert_eq!(join().explain().unwrap().tables[0].strategy, Strategy::Hash);
    assert_eq!(join().group_by(["user:company.tier"]).explain().unwrap_err().kind(), ErrorKind::NotFound);
}

fn world_of_fifty() -> Memory {
    let mut memory = Memory::new();
    (0..50).for_each(|n| memory.event(&event(&format!("u{n}"))));
    (0..50).for_each(|n| user(&mut memory, &format!("u{n}"), Update::new().set("plan", "pro")));
    memory
}

#[test]
fn a_plan_says_why() {
    let plan = Join::new(Arc::new(world_of_fifty())).select(["user.plan"]).explain().unwrap();
    assert_eq!((plan.estimates.events, plan.estimates.days, plan.estimates.sample), (50, 1, 50));
    let text = plan.to_string();
    assert!(text.contains("join      users (about 50 rows): "), "{text}");
    assert!(text.contains("lookup 150 us"), "{text}");
}

#[test]
fn percentiles_are_numbers_of_the_field() {
    let mut memory = Memory::new();
    let values: [Value; 6] =
        [3.into(), Value::try_from(1.0).unwrap(), 1.into(), "9".into(), Value::try_from(2.5).unwrap(), Value::Null];
    for (n, value) in values.into_iter().enumerate() {
        memory.event(&event("ann").id(n.to_string()).set("x", value));
    }
    let tables = Arc::new(memory);
    let percentile = |percent| Measure::Percentile(Field::event("x"), percent);
    let measures = [0, 25, 50, 51, 75, 76, 100].map(percentile);
    let by = measures.into_iter().fold(Join::new(tables.clone()).group_by([] as [Field; 0]), GroupBy::measure);
    let answer = by.measure(Measure::Percentile(Field::event("y"), 50)).answer().unwrap();
    let text = serde_json::to_string(&answer.buckets()[0].measures).unwrap();
    assert_eq!(text, "[1,1,1,2.5,2.5,3,3,null]");
    assert_eq!(answer.measures()[2], "p50(event.x)");
    let error = Join::new(tables).measure(percentile(101)).answer().unwrap_err();
    assert!(error.is_invalid() && error.message().ends_with("percent=101"), "{error}");
}

#[test]
fn numbers_are_grouped_into_intervals() {
    let mut memory = Memory::new();
    for (n, amount) in [5.into(), 10.into(), Value::try_from(19.5).unwrap(), (-1).into(), "x".into(), Value::Null]
        .into_iter()
        .enumerate()
    {
        memory.event(&event("ann").id(n.to_string()).set("amount", amount));
    }
    memory.event(&event("ann").id("list").set("amount", Value::List(vec![1.into(), 2.into(), 11.into()])));
    memory.event(&event("ann").id("none"));
    let number = |number: i32| Some(Value::from(number));
    let answer = Join::new(Arc::new(memory)).group_by(["bucket(event.amount, 10)"]).answer().unwrap();
    assert_eq!(answer.by(), ["bucket(event.amount, 10)"]);
    for (by, count) in [(None, 3), (number(10), 3), (number(0), 2), (number(-10), 1)] {
        assert_eq!(answer.get(std::slice::from_ref(&by)), Some(&[count.into()][..]), "{by:?}");
    }
    assert_eq!(answer.total(), 4);
    for (text, printed) in
        [("bucket( user.\"a,b\" , 2.50 )", "bucket(user.a,b, 2.5)"), ("bucket(user.x),3)", "bucket(user.x), 3)")]
    {
        let breakdown: Breakdown = text.parse().unwrap();
        assert_eq!(breakdown.to_string(), printed);
        assert_eq!(printed.parse::<Breakdown>().unwrap().field(), breakdown.field());
    }
    for wrong in [
        "bucket(user.x)",
        "bucket(user.x, )",
        "bucket(user.x, ten)",
        "bucket(user.x, -1)",
        "bucket(user.x, 0)",
        "bucket(x, 1)",
        "bucket(user.x, 1",
    ] {
        assert!(wrong.parse::<Breakdown>().unwrap_err().is_invalid(), "{wrong}");
    }
}

/// A day of 25 hours: 100 quarters of an hour, in one bucket of the day and 25 of the hour.
#[test]
fn days_and_hours_are_those_of_a_time_zone() {
    let mut memory = Memory::new();
    let first = Timestamp::parse("2024-11-03T00:00:00-04:00").unwrap();
    for quarter in 0..101 {
        let time = Timestamp::from_millis(first.millis() + quarter * 900_000);
        memory.event(&Event::new("visit", "ann", time).id(quarter.to_string()));
    }
    let join = || Join::new(Arc::new(memory.clone())).time_zone("America/New_York");
    let days = join().group_by(["event.$day"]).answer().unwrap();
    assert_eq!(days.get(&[Some("2024-11-03".into())]), Some(&[100.into()][..]));
    assert_eq!(days.total(), 2);
    let hours = join().group_by(["event.$hour"]).answer().unwrap();
    for hour in ["2024-11-03T01:00:00-04:00", "2024-11-03T01:00:00-05:00", "2024-11-03T23:00:00-05:00"] {
        assert_eq!(hours.get(&[Some(hour.into())]), Some(&[4.into()][..]), "{hour}");
    }
    assert_eq!(hours.total(), 26);
    // Expressions and rows see the same days.
    let filter =
        join().filter(r#"event["$day"] == "2024-11-04""#).select(["event.$month", "event.$week", "event.$time"]);
    let rows: Vec<_> = filter.rows().unwrap().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get(0), Some("2024-11".into()));
    assert_eq!(rows[0].get(1), Some("2024-11-04".into()));
    assert_eq!(rows[0].get(2), Some("2024-11-04T05:00:00".into()));
    let error = join().time_zone("Nowhere").measure(Measure::Count).answer().unwrap_err();
    assert!(error.is_invalid() && error.message().contains("Nowhere"), "{error}");
}
