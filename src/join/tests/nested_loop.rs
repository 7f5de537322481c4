//! Every strategy against a nested loop over decoded events and profiles, on random data without a store.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::memory::{Memory, encode};
use crate::codec;
use crate::error::Result;
use crate::expr::{Expr, Place, Reference, Scope};
use crate::join::{Field, GroupBy, Join, JoinStats, JoinTable, Measure, Rows, Strategy as Way, Tables};
use crate::merge;
use crate::model::{Event, Kind, Number, Profile, ProfileKey, Timestamp, Value};
use crate::ops::Update;

const DAY: i64 = 86_400_000;

/// The events and profiles of a world, decoded.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) events: BTreeMap<Vec<u8>, Event>,
    pub(super) profiles: BTreeMap<(Kind, String), Profile>,
    memory: Memory,
}

impl World {
    fn event(&mut self, event: Event) {
        self.memory.event(&event);
        let seen = self.events.values().filter(|known| known.distinct_id() == event.distinct_id());
        let first = seen.map(Event::time).chain([event.time()]).min().unwrap();
        if !event.distinct_id().is_empty() {
            let table = JoinTable::FirstEvents(Kind::User);
            self.memory.put(table, event.distinct_id().as_bytes(), codec::encode_stamp(first));
        }
        self.events.insert(encode(&event).0, event);
    }

    fn profile(&mut self, kind: Kind, id: &str, update: &Update) {
        let key = ProfileKey::new(kind.clone(), id).unwrap();
        let row = merge::full(None, &[&merge::operand(update)]);
        match merge::profile(&row).unwrap() {
            Some(profile) => drop(self.profiles.insert((kind, id.to_owned()), profile)),
            None => drop(self.profiles.remove(&(kind, id.to_owned()))),
        }
        self.memory.row(&key, row);
    }

    pub(super) fn tables(&self) -> Arc<Memory> {
        Arc::new(self.memory.clone())
    }
}

/// The ids that a value lists, as the contract says.
fn listed(value: Option<&Value>) -> Vec<String> {
    let scalar = |value: &Value| match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    let all: Vec<String> = match value {
        Some(Value::List(elements)) => elements.iter().filter_map(scalar).take(300).collect(),
        Some(value) => scalar(value).into_iter().collect(),
        None => Vec::new(),
    };
    let mut distinct = Vec::new();
    all.into_iter().for_each(|id| {
        if !distinct.contains(&id) {
            distinct.push(id);
        }
    });
    distinct
}

fn day_of(event: &Event) -> String {
    event.time().to_string().chars().take(10).collect()
}

/// The Monday of its week.
fn week_of(event: &Event) -> String {
    let day: jiff::civil::Date = day_of(event).parse().unwrap();
    day.checked_sub(jiff::Span::new().days(i64::from(day.weekday().to_monday_zero_offset()))).unwrap().to_string()
}

/// A row by the nested loop.
struct Naive<'w> {
    event: &'w Event,
    user: Option<&'w Profile>,
    world: &'w World,
}

impl Naive<'_> {
    fn groups(&self, key: &str, of_user: bool) -> Vec<Option<&Profile>> {
        let ids = if of_user { self.user.and_then(|user| user.get(key)) } else { self.event.get(key) };
        let find = |id: String| self.world.profiles.get(&(Kind::Group(key.into()), id));
        listed(ids).into_iter().map(find).collect()
    }

    fn of(profile: Option<&Profile>, name: &str) -> Option<Value> {
        let profile = profile?;
        match name {
            "$last_seen" => profile.last_seen().map(|time| time.to_string().into()),
            name => profile.get(name).cloned(),
        }
    }

    /// One value, or one for each group.
    fn values(&self, field: &Field) -> (bool, Vec<Option<Value>>) {
        let one = |value: Option<Value>| (false, vec![value]);
        match field {
            Field::User(name) if name == "$mp_first_event_time" => {
                let own = |event: &&Event| event.distinct_id() == self.event.distinct_id();
                let first = self.world.events.values().filter(own).map(Event::time).min();
                one(first.filter(|_| !self.event.distinct_id().is_empty()).map(|time| time.to_string().into()))
            }
            Field::Event(name) => one(match name.as_str() {
                "$event_name" | "event" => Some(self.event.name().into()),
                "$distinct_id" | "distinct_id" => Some(self.event.distinct_id().into()),
                "$insert_id" => self.event.insert_id().map(Into::into),
                "$time" | "time" => Some(self.event.time().to_string().into()),
                "$day" => Some(day_of(self.event).into()),
                "$hour" => Some(format!("{:.13}:00:00", self.event.time().to_string()).into()),
                "$week" => Some(week_of(self.event).into()),
                "$month" => Some(format!("{:.7}", day_of(self.event)).into()),
                name => self.event.get(name).cloned(),
            }),
            Field::User(name) => one(Self::of(self.user, name)),
            Field::Group { key, name } => {
                (true, self.groups(key, false).into_iter().map(|group| Self::of(group, name)).collect())
            }
            Field::UserGroup { key, name } => {
                (true, self.groups(key, true).into_iter().map(|group| Self::of(group, name)).collect())
            }
        }
    }

    fn shown(&self, fields: &[Field]) -> String {
        let mut text = format!("{} {} {}", self.event.name(), self.event.distinct_id(), self.event.time().millis());
        for field in fields {
            let (list, values) = self.values(field);
            let values: Vec<Value> = values.into_iter().map(Option::unwrap_or_default).collect();
            let value = if list { Value::List(values) } else { values.into_iter().next().unwrap() };
            text.push_str(&format!(" | {field}={}", if value.is_null() { Value::Null } else { value }));
        }
        text
    }

    fn has_all(&self, query: &Query) -> bool {
        let mut places: BTreeSet<(u8, String)> = BTreeSet::new();
        for field in query.fields.iter().chain(&query.filter_fields()) {
            match field {
                Field::Event(_) => {}
                // That a user had events does not mean that there is a profile.
                Field::User(name) if name == "$mp_first_event_time" => {}
                Field::User(_) => drop(places.insert((0, String::new()))),
                Field::Group { key, .. } => drop(places.insert((1, key.clone()))),
                Field::UserGroup { key, .. } => {
                    places.insert((0, String::new()));
                    places.insert((2, key.clone()));
                }
            }
        }
        places.iter().all(|(way, key)| match way {
            0 => self.user.is_some(),
            1 => self.groups(key, false).iter().any(Option::is_some),
            _ => self.groups(key, true).iter().any(Option::is_some),
        })
    }
}

impl Scope for Naive<'_> {
    fn value(&self, _: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
        let field = match reference.place {
            Place::User => Field::user(&reference.name),
            Place::Event | Place::Properties => Field::event(&reference.name),
        };
        Ok(self.values(&field).1.remove(0).map(Cow::Owned))
    }
}

#[derive(Clone, Debug)]
struct Query {
    fields: Vec<Field>,
    filter: Option<Expr>,
    names: Vec<&'static str>,
    users: Option<Vec<String>>,
    from: Option<i64>,
    to: Option<i64>,
    inner: bool,
}

impl Query {
    fn filter_fields(&self) -> Vec<Field> {
        let field = |reference: &Reference| match reference.place {
            Place::User => Field::user(&reference.name),
            Place::Event | Place::Properties => Field::event(&reference.name),
        };
        self.filter.iter().flat_map(|expr| expr.references().iter().map(field)).collect()
    }

    fn join(&self, tables: Arc<dyn Tables>) -> Join {
        let mut join = Join::new(tables).select(&self.fields);
        if !self.names.is_empty() {
            join = join.event_names(&self.names);
        }
        join = match (self.from, self.to) {
            (None, None) => join,
            (Some(from), None) => join.between(Timestamp::from_millis(from)..),
            (None, Some(to)) => join.between(..Timestamp::from_millis(to)),
            (Some(from), Some(to)) => join.between(Timestamp::from_millis(from)..Timestamp::from_millis(to)),
        };
        if let Some(filter) = &self.filter {
            join = join.filter(filter.clone());
        }
        if let Some(users) = &self.users {
            join = join.users(users);
        }
        if self.inner { join.inner() } else { join }
    }

    fn naive<'w>(&self, world: &'w World) -> Result<Vec<Naive<'w>>> {
        let mut rows = Vec::new();
        for event in world.events.values() {
            let millis = event.time().millis();
            let mut user = None;
            // The inner loop: no index, no order.
            for ((kind, id), profile) in &world.profiles {
                if *kind == Kind::User && id == event.distinct_id() {
                    user = Some(profile);
                }
            }
            let row = Naive { event, user, world };
            let is_asked = self.from.is_none_or(|from| from <= millis)
                && self.to.is_none_or(|to| millis < to)
                && (self.names.is_empty() || self.names.contains(&event.name()))
                && self.users.as_ref().is_none_or(|users| users.iter().any(|id| id == event.distinct_id()));
            let is_joined = is_asked && (!self.inner || row.has_all(self));
            if is_joined && self.filter.as_ref().map_or(Ok(true), |expr| expr.is_true(&row))? {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

fn rows_of(rows: Rows, how: &How, world: &World) -> (Vec<String>, JoinStats) {
    let mut rows = rows;
    let mut all = Vec::new();
    for row in rows.by_ref() {
        let row = row.unwrap();
        match row.event() {
            Ok(event) => {
                assert!(how.with_events);
                let parts = (event.name(), event.distinct_id(), event.time());
                assert_eq!((row.name(), row.distinct_id(), row.time()), parts);
                assert_eq!(world.events.get(&encode(&event).0), Some(&event));
            }
            Err(error) => assert!(!how.with_events && error.is_invalid(), "{error}"),
        }
        let mut text = format!("{} {} {}", row.name(), row.distinct_id(), row.time().millis());
        for (at, (field, value)) in row.iter().enumerate() {
            assert_eq!(row.get(at), value);
            let as_text = value.as_ref().and_then(Value::as_str);
            assert!(row.text(at).is_none_or(|text| as_text == Some(text)));
            text.push_str(&format!(" | {field}={}", value.unwrap_or_default()));
        }
        all.push(text);
    }
    (all, rows.stats())
}

// ---------------------------------------------------------------------------------------------------------------------
// Random worlds and queries

fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..150_u32).prop_map(|n| format!("u{n:03}")),
        1 => select(vec!["", "u", "u0", "\0", "\u{1}", "u\0", "u\u{1}a", "U001", "\u{e9}", "zz"])
            .prop_map(String::from),
    ]
}

fn group_values() -> impl Strategy<Value = Value> {
    let id = || select(vec!["acme", "bolt", "core", "ghost", "3", ""]);
    prop_oneof![
        id().prop_map(Value::from),
        Just(Value::from(3)),
        Just(Value::from(true)),
        Just(Value::Null),
        prop::collection::vec(id(), 0..4).prop_map(Value::from),
        Just(Value::from(vec![Value::from(3), Value::from("3"), Value::Null, Value::from("acme")])),
    ]
}

fn some_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(vec!["pro", "free", "", "team"]).prop_map(Value::from),
        (0..4_i32).prop_map(Value::from),
        select(vec![0.5, 1.0, 2.0]).prop_map(|number| Value::try_from(number).unwrap()),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        prop::collection::vec(select(vec!["x", "y", "x"]), 0..3).prop_map(Value::from),
        Just(Value::from(vec![Value::from(1), Value::try_from(1.0).unwrap(), Value::Null, Value::from("x")])),
    ]
}

fn maybe<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.7, value)
}

fn events() -> impl Strategy<Value = Event> {
    let time = (select(vec![-400, 0, 1, 2, 5, 6, 40, 41]), prop_oneof![0..20_i64, Just(DAY - 1), 0..DAY]);
    let properties = (maybe(some_value()), maybe(group_values()), maybe(0..100_i32));
    (select(vec!["buy", "visit", "v"]), ids(), time, properties, 0..3_u32).prop_map(
        |(name, id, (day, millis), (flag, company, amount), insert_id)| {
            let event = Event::new(name, id, Timestamp::from_millis(day * DAY + millis)).id(insert_id.to_string());
            let event = flag.into_iter().fold(event, |event, value| event.set("flag", value));
            let event = company.into_iter().fold(event, |event, value| event.set("company", value));
            amount.into_iter().fold(event, |event, value| event.set("amount", value))
        },
    )
}

fn updates() -> impl Strategy<Value = Update> {
    let values = (maybe(some_value()), maybe(some_value()), maybe(group_values()));
    (values, 0..10_u32, any::<bool>()).prop_map(|((plan, roles, company), shape, timed)| {
        if shape == 0 {
            // The row of an absent profile.
            return Update::new().unset("plan");
        }
        let update = Update::new().create().set("a", 1).set("z", "z".repeat(30));
        let update = plan.into_iter().fold(update, |update, value| update.set("plan", value));
        let update = roles.into_iter().fold(update, |update, value| update.set("roles", value));
        let update = company.into_iter().fold(update, |update, value| update.set("company", value));
        if timed { update.at(Timestamp::from_seconds(7)) } else { update }
    })
}

pub(super) fn worlds() -> impl Strategy<Value = World> {
    let users = prop::collection::vec((ids(), updates()), 0..160);
    let groups = prop::collection::vec((select(vec!["acme", "bolt", "core", "3", "true"]), updates()), 0..6);
    // Which share of the events is kept in columns, of eighths, how many have been sent again, and the size of blocks.
    let sealed = prop::option::of((1..=8_u64, 0..3_u64, select(vec![1, 7, 64, 65_536])));
    (prop::collection::vec(events(), 0..200), users, groups, sealed).prop_map(|(events, users, groups, sealed)| {
        let mut world = World::default();
        events.into_iter().for_each(|event| world.event(event));
        for (id, update) in users.into_iter().filter(|(id, _)| !id.is_empty()) {
            world.profile(Kind::User, &id, &update);
        }
        let company = || Kind::Group("company".into());
        world.profile(company(), "nobody", &Update::new().unset("x"));
        groups.into_iter().for_each(|(id, update)| world.profile(company(), id, &update));
        if let Some((share, resent, block_events)) = sealed {
            let lot = |event: &Event| xxhash_rust::xxh3::xxh3_64(&encode(event).0);
            let older = |event: &Event| {
                (lot(event) / 8 % 8 < resent).then(|| event.clone().set("amount", 1_000).set("flag", "older"))
            };
            world.memory.seal(block_events, |event| lot(event) % 8 < share, older);
        }
        world
    })
}

const FIELDS: [&str; 17] = [
    "event.flag",
    "event.amount",
    "event.$event_name",
    "event.$insert_id",
    "event.$time",
    "event.$hour",
    "event.$day",
    "event.$week",
    "event.$month",
    "event.distinct_id",
    "user.plan",
    "user.roles",
    "user.$last_seen",
    "user.$mp_first_event_time",
    "group:company.plan",
    "group:company.roles",
    "user:company.plan",
];

const FILTERS: [&str; 8] = [
    r#"properties["amount"] > 50"#,
    r#"user["plan"] == "pro""#,
    r#"defined(user["plan"])"#,
    r#"properties["amount"] > 20 and user["plan"] != "pro""#,
    r#"properties["flag"] == user["plan"]"#,
    r#"event["$event_name"] == "buy" or defined(user["roles"])"#,
    r#"not defined(user["$last_seen"])"#,
    r#""x" in user["roles"]"#,
];

/// `not`, `and` and `or` take booleans only, and not everything here is one.
const FAILING: [&str; 7] = [
    r#"user["plan"] == "pro" and not properties["flag"]"#,
    r#"not properties["flag"] and user["plan"] == "pro""#,
    r#"user["plan"] and properties["amount"] > 50"#,
    r#"properties["amount"] > 50 and not user["plan"]"#,
    r#"properties["amount"] > 50 and not properties["flag"] and user["plan"] == "pro""#,
    r#"defined(user["plan"]) and (properties["flag"] or user["plan"] == "x") and properties["amount"] > 20"#,
    r#"user["plan"] != "pro" and not user["roles"] and any(x, properties["flag"], x)"#,
];

fn fields(most: usize) -> impl Strategy<Value = Vec<Field>> {
    subsequence(FIELDS.to_vec(), 0..=most)
        .prop_shuffle()
        .prop_map(|texts| texts.into_iter().map(|text| text.parse().unwrap()).collect())
}

fn queries() -> impl Strategy<Value = Query> {
    let bound = || prop::option::weighted(0.3, (-1..45_i64, 0..3_i64).prop_map(|(day, hours)| day * DAY + hours));
    let names = prop_oneof![3 => Just(vec![]), 1 => Just(vec!["buy"]), 1 => Just(vec!["buy", "v"])];
    let filter = prop::option::weighted(0.5, select(FILTERS.to_vec()).prop_map(|text| text.parse::<Expr>().unwrap()));
    let users = prop::option::weighted(0.3, prop::collection::vec(ids(), 0..30));
    (fields(6), filter, names, users, bound(), bound(), any::<bool>()).prop_map(
        |(fields, filter, names, users, from, to, inner)| Query { fields, filter, names, users, from, to, inner },
    )
}

/// How a join is executed, which must not change its result.
#[derive(Clone, Copy, Debug)]
struct How {
    way: Option<Way>,
    threads: usize,
    memory: usize,
    ordered: bool,
    own_source: bool,
    with_events: bool,
    seek_threshold: u32,
}

fn hows() -> impl Strategy<Value = How> {
    let way = select(vec![None, Some(Way::Lookup), Some(Way::Merge), Some(Way::Hash)]);
    let memory = select(vec![4 << 10, 32 << 20]);
    (way, 1..4_usize, memory, any::<[bool; 2]>(), prop::bool::weighted(0.2), 0..3_u32).prop_map(
        |(way, threads, memory, [ordered, with_events], own_source, seek_threshold)| How {
            way,
            threads,
            memory,
            ordered,
            own_source,
            with_events,
            seek_threshold,
        },
    )
}

impl How {
    fn apply(&self, join: Join, world: &World) -> Join {
        let mut join = join.threads(self.threads).memory_bytes(self.memory).seek_threshold(self.seek_threshold);
        if let Some(way) = self.way {
            join = join.strategy(way);
        }
        if self.own_source {
            join = join.events_from(world.events.values().cloned().map(Ok).collect::<Vec<_>>());
        }
        join = if self.with_events { join.with_events() } else { join };
        if self.ordered { join.ordered() } else { join }
    }
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_way_gives_the_rows_of_a_nested_loop(world in worlds(), query in queries(), how in hows()) {
        let expected: Vec<String> = query.naive(&world).unwrap().iter().map(|row| row.shown(&query.fields)).collect();
        let rows = how.apply(query.join(world.tables()), &world).rows().unwrap();
        let (rows, stats) = rows_of(rows, &how, &world);
        prop_assert_eq!(stats.rows, rows.len() as u64);
        // Visited instead of iterated, from the third on.
        let mut shown = Vec::new();
        let mut visited = how.apply(query.join(world.tables()), &world).rows().unwrap();
        shown.extend(visited.by_ref().take(2).map(|row| format!("{:?}", row.unwrap())));
        visited.visit(|row| { shown.push(format!("{row:?}")); Ok(()) }).unwrap();
        let iterated = how.apply(query.join(world.tables()), &world).rows().unwrap();
        let iterated: Vec<String> = iterated.map(|row| format!("{:?}", row.unwrap())).collect();
        let iterated = sorted(iterated);
        prop_assert_eq!(sorted(shown), iterated.clone());
        // And on the threads that produced them.
        let anyhow = How { ordered: false, ..how };
        let join = anyhow.apply(query.join(world.tables()), &world);
        let each = |shown: &mut Vec<String>, row: &_| { shown.push(format!("{row:?}")); Ok(()) };
        prop_assert_eq!(sorted(join.fold(Vec::new, each).unwrap().concat()), iterated);
        if how.ordered || how.own_source {
            prop_assert_eq!(rows, expected);
        } else {
            prop_assert_eq!(sorted(rows), sorted(expected));
        }
    }

    /// An operand that `and` does not reach is no error, in whatever order the join evaluates the conjuncts.
    #[test]
    fn every_way_fails_where_a_nested_loop_fails(
        world in worlds(), query in queries(), filter in select(FAILING.to_vec()), how in hows(),
    ) {
        let query = Query { filter: Some(filter.parse().unwrap()), ..query };
        let expected = query.naive(&world).map(|rows| rows.len()).map_err(|error| error.kind());
        let rows = how.apply(query.join(world.tables()), &world).rows();
        let rows = rows.and_then(Iterator::collect::<Result<Vec<_>>>).map(|rows| rows.len());
        prop_assert_eq!(rows.map_err(|error| error.kind()), expected);
        let answer = how.apply(query.join(world.tables()), &world).measure(Measure::Count).answer();
        prop_assert_eq!(answer.is_err(), expected.is_err());
    }

    #[test]
    fn every_way_gives_the_segments_of_a_nested_loop(
        world in worlds(), query in queries(), how in hows(), by in fields(3),
    ) {
        let measures = [
            Measure::Count,
            Measure::Uniques,
            Measure::Sum(Field::event("amount")),
            Measure::Min(Field::user("plan")),
            Measure::Max(Field::event("$day")),
            Measure::Avg(Field::event("amount")),
            Measure::Percentile(Field::event("amount"), 50),
            Measure::Percentile(Field::event("amount"), 90),
        ];
        // What is selected, grouped by or measured is joined, and then an inner join asks for it.
        let query = Query { fields: by.iter().cloned().chain([Field::user("plan")]).collect(), ..query };
        let expected = naive_segments(&query.naive(&world).unwrap(), &by);
        let join = how.apply(Query { fields: Vec::new(), ..query }.join(world.tables()), &world);
        let answer = measures.into_iter().fold(join.group_by(by.clone()), GroupBy::measure).answer().unwrap();
        let found: BTreeMap<String, String> = answer
            .buckets()
            .iter()
            .map(|row| (shown_segment(&row.by), Value::List(row.measures.clone()).to_string()))
            .collect();
        prop_assert_eq!(found.len(), answer.total());
        prop_assert_eq!(found, expected);
        let firsts: Vec<&Value> = answer.buckets().iter().map(|row| &row.measures[0]).collect();
        prop_assert!(firsts.is_sorted_by(|a, b| a >= b));
    }
}

pub(super) fn shown_segment(values: &[Option<Value>]) -> String {
    values
        .iter()
        .map(|value| value.clone().unwrap_or_default().without_floats().to_string())
        .collect::<Vec<_>>()
        .join("/")
}

/// Distinct elements of a value, as they are segments.
pub(super) fn exploded(value: Option<&Value>) -> Vec<Value> {
    let elements = match value {
        Some(Value::List(elements)) if !elements.is_empty() => elements.clone(),
        Some(Value::List(_)) | None => vec![Value::Null],
        Some(value) => vec![value.clone()],
    };
    let mut distinct: Vec<Value> = Vec::new();
    elements.into_iter().for_each(|value| {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    });
    distinct
}

fn naive_segments(rows: &[Naive<'_>], by: &[Field]) -> BTreeMap<String, String> {
    let mut events: BTreeMap<String, Vec<&Naive<'_>>> = BTreeMap::new();
    for row in rows {
        // A group is one choice for all fields of its table.
        let mut keys: BTreeSet<String> = BTreeSet::new();
        let company = |of_user| {
            let groups = row.groups("company", of_user);
            if groups.is_empty() { vec![None] } else { groups }
        };
        for own in company(false) {
            for users in company(true) {
                let mut partial: Vec<Vec<Option<Value>>> = vec![Vec::new()];
                for field in by {
                    let value = match field {
                        Field::Group { name, .. } => Naive::of(own, name),
                        Field::UserGroup { name, .. } => Naive::of(users, name),
                        field => row.values(field).1.remove(0),
                    };
                    let values = exploded(value.as_ref());
                    partial = partial
                        .into_iter()
                        .flat_map(|key| {
                            values.iter().map(move |value| [key.clone(), vec![Some(value.clone())]].concat())
                        })
                        .collect();
                }
                keys.extend(partial.iter().map(|key| shown_segment(key)));
            }
        }
        keys.into_iter().for_each(|key| events.entry(key).or_default().push(row));
    }
    if by.is_empty() {
        events.entry(String::new()).or_default();
    }
    events.into_iter().map(|(key, rows)| (key, Value::List(naive_measures(&rows)).to_string())).collect()
}

fn naive_measures(rows: &[&Naive<'_>]) -> Vec<Value> {
    let users: BTreeSet<&str> = rows.iter().map(|row| row.event.distinct_id()).filter(|id| !id.is_empty()).collect();
    let amounts: Vec<i64> = rows.iter().filter_map(|row| row.event.get("amount")?.as_i64()).collect();
    let plans = rows.iter().filter_map(|row| row.user?.get("plan"));
    let float = |plan: &Value| plan.as_number().is_some_and(Number::is_float);
    let plan =
        plans.filter(|plan| !matches!(plan, Value::Null | Value::List(_))).min_by_key(|plan| (*plan, float(plan)));
    let day = rows.iter().map(|row| day_of(row.event)).max();
    let sum: i64 = amounts.iter().sum();
    let mut sorted = amounts.clone();
    sorted.sort_unstable();
    let percentile = |percent: usize| {
        let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(at).map_or(Value::Null, |amount| (*amount).into())
    };
    let mean = (!amounts.is_empty()).then(|| Value::try_from(sum as f64 / amounts.len() as f64).unwrap());
    vec![
        (rows.len() as u64).into(),
        (users.len() as u64).into(),
        sum.into(),
        plan.cloned().unwrap_or_default(),
        day.map_or(Value::Null, Value::from),
        mean.unwrap_or_default(),
        percentile(50),
        percentile(90),
    ]
}
