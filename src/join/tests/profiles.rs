//! Queries of profiles alone, against a nested loop over decoded profiles.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::memory::Memory;
use super::nested_loop::{World, exploded, shown_segment, worlds};
use crate::error::Result;
use crate::expr::{Expr, Reference, Scope};
use crate::join::{Breakdown, CancelToken, Field, GroupBy, JoinTable, Measure, ProfileAggregate};
use crate::merge;
use crate::model::{Event, Kind, Number, Profile, ProfileKey, Timestamp, Value};
use crate::ops::Update;

/// A profile, by the nested loop.
struct Naive<'w> {
    id: &'w str,
    profile: &'w Profile,
    first_event: Option<Timestamp>,
}

impl Naive<'_> {
    fn get(&self, name: &str) -> Option<Value> {
        match name {
            "$distinct_id" => Some(self.id.into()),
            "$last_seen" => self.profile.last_seen().map(|time| time.to_string().into()),
            "$mp_first_event_time" => self.first_event.map(|time| time.to_string().into()),
            name => self.profile.get(name).cloned(),
        }
    }
}

impl Scope for Naive<'_> {
    fn value(&self, _: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
        Ok(self.get(&reference.name).map(Cow::Owned))
    }
}

fn naive<'w>(world: &'w World, kind: &Kind, filter: Option<&Expr>) -> Result<Vec<Naive<'w>>> {
    let mut kept = Vec::new();
    for ((of, id), profile) in &world.profiles {
        // The inner loop: no index, no order.
        let own = world.events.values().filter(|event| *of == Kind::User && event.distinct_id() == id);
        let row = Naive { id, profile, first_event: own.map(Event::time).min() };
        if of == kind && filter.map_or(Ok(true), |expr| expr.is_true(&row))? {
            kept.push(row);
        }
    }
    Ok(kept)
}

/// The widths are sums of powers of two, so that doubles are exact.
fn interval(value: &Value, width: f64) -> Value {
    let number = value.as_number().map(|number| (number.as_f64() / width).floor() * width);
    number.map_or(Value::Null, |floor| Value::try_from(floor).unwrap())
}

fn naive_buckets(rows: &[Naive<'_>], by: &[&str], width: Option<f64>) -> BTreeMap<String, Value> {
    let mut buckets: BTreeMap<String, Vec<&Naive<'_>>> = BTreeMap::new();
    for row in rows {
        let mut keys: Vec<Vec<Option<Value>>> = vec![Vec::new()];
        for name in by {
            let values = exploded(row.get(name).as_ref());
            let values = match width.filter(|_| *name == "plan") {
                None => values,
                Some(width) => {
                    exploded(Some(&Value::List(values.iter().map(|value| interval(value, width)).collect())))
                }
            };
            let longer = |key: &Vec<_>| {
                let key = key.clone();
                values.iter().map(move |value| [key.clone(), vec![Some(value.clone())]].concat()).collect::<Vec<_>>()
            };
            keys = keys.iter().flat_map(longer).collect();
        }
        keys.iter().for_each(|key| buckets.entry(shown_segment(key)).or_default().push(row));
    }
    if by.is_empty() {
        buckets.entry(String::new()).or_default();
    }
    let measures = |rows: Vec<&Naive<'_>>| {
        let mut numbers: Vec<f64> =
            rows.iter().filter_map(|row| Some(row.get("plan")?.as_number()?.as_f64())).collect();
        numbers.sort_by(f64::total_cmp);
        let sum: f64 = numbers.iter().sum();
        let mean = (!numbers.is_empty()).then(|| Value::try_from(sum / numbers.len() as f64).unwrap());
        let last_id = rows.iter().map(|row| row.id).max();
        let first = rows.iter().filter_map(|row| row.get("$mp_first_event_time")).min();
        Value::List(vec![
            (rows.len() as u64).into(),
            Value::try_from(sum).unwrap(),
            mean.unwrap_or_default(),
            numbers
                .get((numbers.len() * 9).div_ceil(10).max(1) - 1)
                .map_or(Value::Null, |n| Value::try_from(*n).unwrap()),
            last_id.map_or(Value::Null, Value::from),
            first.unwrap_or_default(),
        ])
    };
    buckets.into_iter().map(|(key, rows)| (key, measures(rows).without_floats())).collect()
}

fn field(kind: &Kind, name: &str) -> Field {
    kind.group_key().map_or_else(|| Field::user(name), |key| Field::group(key, name).unwrap())
}

const FILTERS: [&str; 7] = [
    r#"user["plan"] == "pro""#,
    r#"defined(properties["plan"]) and user["plan"] != "pro""#,
    r#"user["$distinct_id"] == "acme" or "x" in user["roles"]"#,
    r#"not defined(user["$last_seen"])"#,
    r#"defined(user["$mp_first_event_time"])"#,
    // These fail on some profiles.
    r#"not user["plan"]"#,
    r#"defined(user["roles"]) and (user["plan"] or user["roles"] == "x")"#,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_scan_gives_the_buckets_of_a_nested_loop(
        world in worlds(),
        of_groups in any::<bool>(),
        filter in prop::option::weighted(0.6, select(FILTERS.to_vec()).prop_map(|text| text.parse::<Expr>().unwrap())),
        by in subsequence(vec!["plan", "roles", "company", "$last_seen", "$mp_first_event_time", "$distinct_id"], 0..4)
            .prop_shuffle(),
        width in prop::option::of(select(vec![0.25, 1.0, 1.5, 2.0])),
    ) {
        let kind = if of_groups { Kind::Group("company".into()) } else { Kind::User };
        let measures = [
            Measure::Count,
            Measure::Sum(field(&kind, "plan")),
            Measure::Avg(field(&kind, "plan")),
            Measure::Percentile(field(&kind, "plan"), 90),
            Measure::Max(field(&kind, kind.id_field())),
            Measure::Min(field(&kind, "$mp_first_event_time")),
        ];
        let query = ProfileAggregate::new(world.tables(), kind.clone());
        let query = filter.iter().fold(query, |query, expr| query.filter(expr.clone()));
        let query = query.group_by(by.iter().map(|name| match width {
            Some(width) if *name == "plan" => {
                Breakdown::new(field(&kind, name)).intervals(Number::try_from(width).unwrap()).unwrap()
            }
            _ => Breakdown::new(field(&kind, name)),
        }));
        let answer = measures.into_iter().fold(query, GroupBy::measure).answer();
        let rows = match naive(&world, &kind, filter.as_ref()) {
            Ok(rows) => rows,
            Err(error) => {
                prop_assert_eq!(answer.unwrap_err().kind(), error.kind());
                return Ok(());
            }
        };
        let expected = naive_buckets(&rows, &by, width);
        let answer = answer.unwrap();
        let found: BTreeMap<String, Value> = answer
            .buckets()
            .iter()
            .map(|bucket| (shown_segment(&bucket.by), Value::List(bucket.measures.clone()).without_floats()))
            .collect();
        prop_assert_eq!(found.len(), answer.total());
        prop_assert_eq!(found, expected);
    }
}

fn table(kind: &Kind, ids: impl IntoIterator<Item = String>) -> Memory {
    let mut memory = Memory::new();
    for id in ids {
        let row = merge::full(None, &[&merge::operand(&Update::new().set("name", id.as_str()))]);
        memory.row(&ProfileKey::new(kind.clone(), id).unwrap(), row);
    }
    memory
}

#[test]
fn what_is_not_about_profiles_is_refused() {
    let memory = Arc::new(table(&Kind::Group("k".into()), ["a".to_owned()]));
    let of = |kind: &Kind| ProfileAggregate::new(memory.clone(), kind.clone());
    let (users, groups) = (of(&Kind::User), of(&Kind::Group("k".into())));
    for wrong in ["event.x", "group:k.x", "user:k.x"] {
        let error = users.clone().group_by([wrong]).answer().unwrap_err();
        assert!(
            error.is_invalid() && error.message().contains("user.NAME") && error.message().contains(wrong),
            "{error}"
        );
    }
    for wrong in ["event.x", "user.x", "group:other.x", "user:k.x"] {
        let error = groups.clone().measure(Measure::Sum(wrong.parse().unwrap())).answer().unwrap_err();
        assert!(error.is_invalid() && error.message().contains("group:k.NAME"), "{error}");
    }
    let error = users.clone().filter(r#"event["$day"] == "x""#).measure(Measure::Count).answer().unwrap_err();
    assert!(error.message().contains("no event to refer to"), "{error}");
    let error = of(&Kind::Group("other".into())).measure(Measure::Count).answer().unwrap_err();
    assert!(error.is_not_found() && error.message().contains("other"), "{error}");
    assert_eq!(
        groups.group_by(["group:k.$group_id"]).answer().unwrap().get(&[Some("a".into())]),
        Some(&[1.into()][..])
    );
    assert_eq!(users.measure(Measure::Count).answer().unwrap().buckets()[0].measures, [0.into()]);
}

#[test]
fn buckets_are_bounded_and_a_query_can_be_cancelled() {
    let memory = Arc::new(table(&Kind::User, (0..5_000).map(|n| format!("user-{n}"))));
    let query = || ProfileAggregate::new(memory.clone(), Kind::User);
    let by_name = || query().group_by(["user.name"]);
    assert_eq!(by_name().answer().unwrap().total(), 5_000);
    assert!(by_name().buckets_max(4_999).answer().unwrap_err().is_limit_exceeded());
    assert!(by_name().memory_bytes(100_000).answer().unwrap_err().is_limit_exceeded());
    // Of a table of any size, only what is grouped is kept.
    assert_eq!(
        query().measure(Measure::Count).memory_bytes(4 << 10).answer().unwrap().buckets()[0].measures,
        [5_000.into()]
    );
    let token = CancelToken::new();
    token.cancel();
    assert!(query().cancel(&token).measure(Measure::Count).answer().unwrap_err().is_cancelled());
}

/// A row that cannot be read ends the query, with its table and its id.
#[test]
fn a_row_that_cannot_be_read_is_an_error() {
    let kind = Kind::Group("k".into());
    for (id, row) in
        [(&b"bad"[..], b"\xff\xff".to_vec()), (b"\xfe", merge::full(None, &[&merge::operand(&Update::new().create())]))]
    {
        let mut memory = table(&kind, ["a".to_owned(), "z".to_owned()]);
        memory.put(JoinTable::Profiles(kind.clone()), id, row);
        let error = ProfileAggregate::new(Arc::new(memory), kind.clone()).measure(Measure::Count).answer().unwrap_err();
        let id = format!("id={:?}", String::from_utf8_lossy(id));
        assert!(
            error.is_corrupt() && error.message().contains("table=group:k") && error.message().contains(&id),
            "{error}"
        );
    }
}
