//! Random worlds: updates that are pending, flushed and compacted, deletes, groups, events with lists of them. At two
//! moments of each, every strategy must give what a loop over decoded events and profiles gives.

use std::collections::{BTreeMap, BTreeSet};

use profiledb::join::{Field, Join, Measure, Plan, Strategy};
use profiledb::{Db, Event, Profile, Snapshot, Timestamp, Update, Value};

use super::{DAY, Random, builder, day, event, temp_store};

const WORLDS: u64 = 24;
const ROUNDS: usize = 8;
const DAYS: usize = 6;

const FIELDS: [&str; 11] = [
    "event.n",
    "event.$day",
    "event.company",
    "user.plan",
    "user.tags",
    "user.logins",
    "user.$last_seen",
    "user.$mp_first_event_time",
    "group:company.tier",
    "group:company.$mp_first_event_time",
    "user:company.tier",
];

/// Most are of one shape; some stand in keys otherwise than they are, sort by bytes, or are nobody's.
fn id(random: &mut Random) -> String {
    match random.below(12) {
        0 => random.pick(&["", "u", "u\u{1}", "u\u{1}a", "U01", "\u{e9}", "zz"]).into(),
        _ => format!("u{:02}", random.below(48)),
    }
}

fn company(random: &mut Random) -> Value {
    let group = |random: &mut Random| -> Value {
        match random.below(9) {
            0 => 3.into(),
            1 => true.into(),
            2 => "".into(),
            3 => 1e300.try_into().unwrap(),
            4 => vec!["a"].into(),
            _ => random.pick(&["a", "b", "c", "ghost"]).into(),
        }
    };
    match random.below(3) {
        0 => group(random),
        _ => (0..random.below(4)).map(|_| group(random)).collect::<Vec<_>>().into(),
    }
}

fn user_update(random: &mut Random) -> Update {
    (0..=random.below(3)).fold(Update::new(), |update, _| match random.below(12) {
        0..=2 => update.set("plan", random.pick(&["free", "pro", "team", ""])),
        3 => update.set("plan", Value::Null),
        4 => update.unset(random.pick(&["plan", "tags", "company"])),
        5 => update.add("logins", random.below(3) as i64),
        6 => update.append("tags", random.pick(&["x", "y", "z"])),
        7 => update.union("tags", random.pick(&[["x", "y"], ["y", "z"]])),
        8 => update.remove("tags", random.pick(&["x", "y"])),
        9 => update.union("company", [random.pick(&["a", "b", "c", "3"])]),
        10 => update.remove("company", random.pick(&["a", "b"])),
        _ => update.set("company", company(random)),
    })
}

fn step(db: &Db, random: &mut Random) {
    let time = Timestamp::from_seconds(1_700_000_000 + random.below(1 << 20) as i64);
    match random.below(100) {
        0..=37 => {
            let id = id(random);
            if !id.is_empty() {
                // A list operator on what is no list is no error, and neither is any other mismatch.
                db.users().update(&id, user_update(random).at(time)).unwrap();
            }
        }
        38..=41 => {
            let id = format!("u{:02}", random.below(48));
            db.users().delete(&id).unwrap();
        }
        42..=49 => {
            let groups = db.groups("company").unwrap();
            let id = random.pick(&["a", "b", "c", "3", "true"]);
            match random.below(5) {
                0 => groups.delete(id).unwrap(),
                1 => groups.update(id, Update::new().union("tier", [random.pick(&["gold", "lead"])])).unwrap(),
                _ => groups.update(id, Update::new().set("tier", random.pick(&["gold", "silver"]))).unwrap(),
            }
        }
        50..=97 => {
            let at = random.below(DAYS) as i64;
            let millis = random.below(DAY as usize) as i64;
            let event = event(&id(random), at, millis).set("n", random.below(10) as i64);
            let event = if random.below(2) == 0 { event.set("company", company(random)) } else { event };
            db.events().append(event).unwrap();
        }
        98 => db.flush().unwrap(),
        _ if random.below(3) == 0 => db.compact().unwrap(),
        _ if random.below(8) == 0 => drop(db.delete_user(&format!("u{:02}", random.below(48))).unwrap()),
        _ => {}
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The nested loop

/// The ids that a value lists, by the letter of the contract.
fn listed(value: Option<&Value>) -> Vec<String> {
    let elements = match value {
        Some(Value::List(elements)) => elements.clone(),
        Some(value) => vec![value.clone()],
        None => Vec::new(),
    };
    let mut ids = Vec::new();
    for element in elements.into_iter().take(300) {
        let id = match element {
            Value::String(text) => text,
            Value::Number(number) if number.as_f64().abs() < 9e18 => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => continue,
        };
        if !id.is_empty() && !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// One event with its profiles, decoded.
struct Naive {
    event: Event,
    user: Option<Profile>,
    first: Option<Timestamp>,
    groups: Vec<(Option<Profile>, Option<Timestamp>)>,
    user_groups: Vec<Option<Profile>>,
}

fn nested_loop(snapshot: &Snapshot) -> Vec<Naive> {
    let users = snapshot.users();
    let groups = snapshot.groups("company").unwrap();
    let row = |event: Event| {
        let of = |id: &str| users.get(id).ok().flatten();
        let user = if event.distinct_id().is_empty() { None } else { of(event.distinct_id()) };
        let first = match event.distinct_id() {
            "" => None,
            id => users.first_event_time(id).unwrap(),
        };
        let in_event = listed(event.get("company")).into_iter();
        let in_user = listed(user.as_ref().and_then(|user| user.get("company"))).into_iter();
        Naive {
            groups: in_event.map(|id| (groups.get(&id).unwrap(), groups.first_event_time(&id).unwrap())).collect(),
            user_groups: in_user.map(|id| groups.get(&id).unwrap()).collect(),
            event,
            user,
            first,
        }
    };
    snapshot.events().iter().map(|event| row(event.unwrap())).collect()
}

fn of(profile: Option<&Profile>, name: &str) -> Value {
    let value = match name {
        "$last_seen" => profile.and_then(Profile::last_seen).map(|time| time.to_string().into()),
        name => profile.and_then(|profile| profile.get(name)).cloned(),
    };
    value.unwrap_or(Value::Null)
}

fn text_of(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| time.to_string().into())
}

impl Naive {
    /// One value, or one for each group.
    fn values(&self, field: &str) -> (bool, Vec<Value>) {
        let one = |value: Value| (false, vec![value]);
        match field {
            "event.$day" => one(self.event.time().to_string()[..10].into()),
            "user.$mp_first_event_time" => one(text_of(self.first)),
            "group:company.$mp_first_event_time" => (true, self.groups.iter().map(|(_, at)| text_of(*at)).collect()),
            "group:company.tier" => (true, self.groups.iter().map(|(group, _)| of(group.as_ref(), "tier")).collect()),
            "user:company.tier" => (true, self.user_groups.iter().map(|group| of(group.as_ref(), "tier")).collect()),
            field => match field.split_once('.').unwrap() {
                ("event", name) => one(self.event.get(name).cloned().unwrap_or(Value::Null)),
                (_, name) => one(of(self.user.as_ref(), name)),
            },
        }
    }

    fn shown(&self, fields: &[&str]) -> String {
        let values = fields.iter().map(|field| match self.values(field) {
            (true, values) => Value::List(values),
            (false, values) => values[0].clone(),
        });
        shown(&self.event, values)
    }

    /// The segments of one field: elements of lists, each once.
    fn segments(&self, field: &str) -> BTreeSet<Option<Value>> {
        let (_, values) = self.values(field);
        let mut segments = BTreeSet::new();
        for value in if values.is_empty() { vec![Value::Null] } else { values } {
            match value {
                Value::List(elements) if !elements.is_empty() => segments.extend(elements.into_iter().map(Some)),
                Value::List(_) => drop(segments.insert(None)),
                value => drop(segments.insert(Some(value))),
            }
        }
        segments.into_iter().map(|value| value.filter(|value| !value.is_null())).collect()
    }
}

fn shown(event: &Event, values: impl Iterator<Item = Value>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    let (user, insert_id) = (event.distinct_id(), event.insert_id());
    format!("{} {user:?} {insert_id:?} | {}", event.time().millis(), values.join(" | "))
}

// ---------------------------------------------------------------------------------------------------------------------
// The questions

#[derive(Clone, Debug)]
struct Query {
    fields: Vec<&'static str>,
    /// The filters, as text and by hand.
    user_is_pro: bool,
    n_above: Option<i64>,
    days: Option<(i64, i64)>,
    inner: bool,
    by: &'static str,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
struct Way {
    strategy: Option<Strategy>,
    memory: usize,
    threads: usize,
    ordered: bool,
}

impl Query {
    fn random(random: &mut Random) -> Self {
        let from = random.below(DAYS) as i64;
        Self {
            fields: (0..1 + random.below(4)).map(|_| random.pick(&FIELDS)).collect(),
            user_is_pro: random.below(5) == 0,
            n_above: (random.below(4) == 0).then(|| random.below(9) as i64),
            days: (random.below(3) == 0).then(|| (from, from + 1 + random.below(3) as i64)),
            inner: random.below(5) == 0,
            by: random.pick(&FIELDS),
            way: Way {
                strategy: random.pick(&[None, Some(Strategy::Lookup), Some(Strategy::Merge), Some(Strategy::Hash)]),
                memory: random.pick(&[4 << 10, 8 << 10, 32 << 20]),
                threads: 1 + random.below(3),
                ordered: random.below(2) == 0,
            },
        }
    }

    fn join(&self, snapshot: &Snapshot) -> Join {
        let mut join = snapshot.join().threads(self.way.threads).memory_bytes(self.way.memory);
        if let Some((from, to)) = self.days {
            join = join.between(day(from)..day(to));
        }
        if self.user_is_pro {
            join = join.filter(r#"user["plan"] == "pro""#);
        }
        if let Some(n) = self.n_above {
            join = join.filter(format!(r#"properties["n"] > {n}"#).as_str());
        }
        if self.inner {
            join = join.on_users().inner();
        }
        if self.way.ordered {
            join = join.ordered();
        }
        match self.way.strategy {
            Some(strategy) => join.strategy(strategy),
            None => join,
        }
    }

    /// Whether the nested loop keeps a row, for this many of the fields.
    fn keeps(&self, row: &Naive, fields: &[&str]) -> bool {
        let uses = |start: &str| fields.iter().any(|field| field.starts_with(start));
        let time = row.event.time();
        // Times of first events are no profiles.
        let is_whole = row.user.is_some()
            && (!uses("group:company.tier") || row.groups.iter().any(|(group, _)| group.is_some()))
            && (!uses("user:company.tier") || row.user_groups.iter().any(Option::is_some));
        self.days.is_none_or(|(from, to)| time >= day(from) && time < day(to))
            && (!self.user_is_pro || of(row.user.as_ref(), "plan") == "pro".into())
            && self.n_above.is_none_or(|n| row.event.get("n").and_then(Value::as_i64).is_some_and(|own| own > n))
            && (!self.inner || is_whole)
    }

    /// Compares rows, and says how many there were and how they were joined.
    fn check_rows(&self, snapshot: &Snapshot, naive: &[Naive]) -> (usize, Plan, u64) {
        let kept = naive.iter().filter(|row| self.keeps(row, &self.fields));
        let mut expected: Vec<String> = kept.map(|row| row.shown(&self.fields)).collect();
        let mut rows = self.join(snapshot).select(self.fields.iter().copied()).with_events().rows().unwrap();
        let plan = rows.plan().clone();
        let mut got = Vec::new();
        for row in rows.by_ref() {
            let row = row.unwrap();
            let values = (0..self.fields.len()).map(|at| row.get(at).unwrap_or(Value::Null));
            got.push(shown(&row.event().unwrap(), values));
        }
        if !self.way.ordered {
            expected.sort_unstable();
            got.sort_unstable();
        }
        let differ = expected.iter().zip(&got).find(|(expected, got)| expected != got);
        assert!(expected == got, "{} and {} rows, {differ:#?}\n{self:#?}\n{plan}", expected.len(), got.len());
        (got.len(), plan, rows.stats().partitions)
    }

    fn check_aggregate(&self, snapshot: &Snapshot, naive: &[Naive]) {
        let mut expected: BTreeMap<Option<Value>, (i64, BTreeSet<&str>, i64)> = BTreeMap::new();
        for row in naive.iter().filter(|row| self.keeps(row, &[self.by])) {
            for segment in row.segments(self.by) {
                let (count, users, sum) = expected.entry(segment).or_default();
                *count += 1;
                if !row.event.distinct_id().is_empty() {
                    users.insert(row.event.distinct_id());
                }
                *sum += row.event.get("n").unwrap().as_i64().unwrap();
            }
        }
        let sum = Measure::Sum("event.n".parse::<Field>().unwrap());
        let by = self.join(snapshot).group_by([self.by]);
        let answer = by.measure(Measure::Count).measure(Measure::Uniques).measure(sum).answer().unwrap();
        let expected: BTreeMap<Option<Value>, Vec<Value>> = expected
            .into_iter()
            .map(|(by, (count, users, sum))| (by, vec![count.into(), (users.len() as i64).into(), sum.into()]))
            .collect();
        let got: BTreeMap<_, _> =
            answer.buckets().iter().map(|row| (row.by[0].clone(), row.measures.clone())).collect();
        assert_eq!(got.len(), answer.buckets().len(), "a bucket twice\n{answer:?}");
        assert_eq!(got, expected, "{self:#?}");
    }
}

/// What happened along the way. All of it must, or the test shows less than it seems to.
#[derive(Debug, Default)]
struct Marks {
    rows: usize,
    in_parts: usize,
    pending: u64,
    strategies: BTreeMap<String, usize>,
}

fn check(snapshot: &Snapshot, queries: usize, random: &mut Random, marks: &mut Marks) {
    let naive = nested_loop(snapshot);
    for _ in 0..queries {
        let query = Query::random(random);
        let (rows, plan, parts) = query.check_rows(snapshot, &naive);
        query.check_aggregate(snapshot, &naive);
        marks.rows += rows;
        marks.in_parts += usize::from(parts > 1);
        for table in &plan.tables {
            *marks.strategies.entry(format!("{} {}", table.table, table.strategy)).or_default() += 1;
        }
    }
}

#[test]
fn every_way_is_the_nested_loop_at_both_moments() {
    let mut marks = Marks::default();
    for world in 1..=WORLDS {
        let mut random = Random(world.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let temp = temp_store();
        let db = builder().fold_after(4).memtable_bytes(64 << 10).open(temp.store()).unwrap();
        // Before the first event, so that its groups are known.
        db.groups("company").unwrap().create().unwrap();
        let mut held: Option<Snapshot> = None;
        for _ in 0..ROUNDS {
            (0..60).for_each(|_| step(&db, &mut random));
            let now = db.snapshot();
            check(&now, 6, &mut random, &mut marks);
            held.iter().for_each(|before| check(before, 6, &mut random, &mut marks));
            held = Some(now);
        }
        marks.pending += db.check().unwrap().tables.iter().map(|table| table.pending_operands).sum::<u64>();
    }
    println!("{marks:#?}");
    assert!(marks.rows > 10_000 && marks.in_parts > 20 && marks.pending > 100, "{marks:#?}");
    for table in ["users", "first events of users", "group:company", "group:company of the user"] {
        for way in [Strategy::Lookup, Strategy::Merge, Strategy::Hash] {
            let often = marks.strategies.get(&format!("{table} {way}")).is_some_and(|count| *count > 20);
            assert!(often || (way == Strategy::Merge && table.starts_with("group")), "{table} {way} {marks:#?}");
        }
    }
}
