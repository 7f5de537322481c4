//! Scans of profiles: every combination of range, filter, projection, limit and direction, against a plain filter over
//! a sorted vector.

#![cfg(feature = "rocksdb")]

mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use profiledb::{Batch, Db, Durability, Event, Profile, ProfileScan, Timestamp, Update, Value};
use support::{Random, TempStore};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn builder() -> profiledb::Builder {
    Db::builder().durability(Durability::Buffered).clock(|| NOW).block_cache_bytes(8 << 20)
}

/// A profile as the oracle knows it.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    /// The value of `n`, and whether there is a `text`.
    profile: Option<(i64, bool)>,
    first_event: Option<i64>,
}

impl Known {
    /// The properties of its profile that are selected, as JSON, and its id.
    fn shown(&self, select: Option<&[&str]>) -> (String, Option<String>) {
        let selected = |name: &str| select.is_none_or(|names| names.contains(&name));
        let json = self.profile.map(|(n, text)| {
            let first = self.first_event.map(|time| Timestamp::from_seconds(time).to_string());
            let properties = [
                ("$last_seen", Some(serde_json::json!(NOW.to_string()))),
                ("$mp_first_event_time", first.map(Into::into)),
                ("n", Some(serde_json::json!(n))),
                ("text", text.then(|| serde_json::json!("t".repeat(200)))),
            ];
            let object: serde_json::Map<String, serde_json::Value> = properties
                .into_iter()
                .filter(|(name, _)| selected(name))
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect();
            serde_json::to_string(&object).unwrap()
        });
        (self.id.clone(), json)
    }
}

fn shown(row: (String, Option<Profile>)) -> (String, Option<String>) {
    (row.0, row.1.map(|profile| serde_json::to_string(&profile).unwrap()))
}

fn fill(db: &Db, random: &mut Random) -> Vec<Known> {
    let mut all = Vec::new();
    let mut batch = Batch::new();
    let letters = ["a", "b", "ab", "\u{ff}", "z\u{10ffff}", "m"];
    for id in letters.iter().flat_map(|a| letters.iter().map(move |b| format!("{a}{b}"))) {
        let known = Known {
            profile: (random.below(4) > 0).then(|| (random.below(10) as i64, random.below(2) == 0)),
            first_event: (random.below(2) == 0).then(|| NOW.seconds() - random.below(900) as i64),
            id,
        };
        if let Some((n, text)) = known.profile {
            let update = Update::new().set("n", n);
            let update = if text { update.set("text", "t".repeat(200)) } else { update };
            batch.update(&db.users(), known.id.clone(), update).unwrap();
        } else if random.below(3) == 0 {
            // The row of an absent profile.
            batch.update(&db.users(), known.id.clone(), Update::new().unset("n")).unwrap();
        }
        if let Some(time) = known.first_event {
            batch.append(Event::new("e", known.id.clone(), Timestamp::from_seconds(time)));
        }
        all.push(known);
    }
    db.write(batch).unwrap();
    all.retain(|known| known.profile.is_some() || known.first_event.is_some());
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.dedup_by(|a, b| a.id == b.id);
    all
}

/// Filters, and the same in Rust.
type Predicate = (&'static str, fn(&Known) -> bool);
const FILTERS: [Predicate; 6] = [
    (r#"properties["n"] > 4"#, |known| known.profile.is_some_and(|(n, _)| n > 4)),
    (r#"defined(user["text"]) and properties["n"] < 8"#, |known| known.profile.is_some_and(|(n, text)| text && n < 8)),
    (r#"not defined(properties["n"])"#, |known| known.profile.is_none()),
    (r#"defined(properties["$mp_first_event_time"])"#, |known| known.first_event.is_some()),
    (r#""a" in properties["$distinct_id"]"#, |known| known.id.contains('a')),
    (r#"defined(properties["$last_seen"])"#, |known| known.profile.is_some()),
];
const NAMES: [&str; 5] = ["$last_seen", "$mp_first_event_time", "n", "nothing", "text"];

/// A random scan, and what the oracle says that it returns.
fn scan(db: &Db, all: &[Known], random: &mut Random, known: bool) -> (ProfileScan, VecDeque<(String, Option<String>)>) {
    let mut scan = db.users().scan();
    let mut rows: Vec<&Known> = all.iter().filter(|row| known || row.profile.is_some()).collect();
    if random.below(3) == 0 {
        let prefix = random.pick(&["", "a", "ab", "z\u{10ffff}", "x"]);
        scan = scan.prefix(prefix);
        rows.retain(|row| row.id.starts_with(prefix));
    }
    if random.below(2) == 0 {
        let (from, to) = (all[random.below(all.len())].id.as_str(), all[random.below(all.len())].id.as_str());
        (scan, _) = match random.below(3) {
            0 => (scan.range(from..to), rows.retain(|row| (from..to).contains(&row.id.as_str()))),
            1 => (scan.range(from..=to), rows.retain(|row| (from..=to).contains(&row.id.as_str()))),
            _ => (scan.range(from..), rows.retain(|row| row.id.as_str() >= from)),
        };
    }
    if random.below(2) == 0 {
        let (text, keeps) = random.pick(&FILTERS);
        scan = scan.filter(text);
        rows.retain(|row| keeps(row));
    }
    let select: Option<Vec<&str>> =
        (random.below(2) == 0).then(|| NAMES.into_iter().filter(|_| random.below(2) == 0).collect());
    if let Some(select) = &select {
        scan = scan.select(select.iter().copied());
    }
    if random.below(2) == 0 {
        scan = scan.reverse();
        rows.reverse();
    }
    (scan, rows.into_iter().map(|row| row.shown(select.as_deref())).collect())
}

/// Reads from random ends, at most `limit` items, and compares each with the oracle.
fn compare<T>(
    mut rows: impl DoubleEndedIterator<Item = profiledb::Result<T>>,
    mut expected: VecDeque<(String, Option<String>)>,
    limit: Option<usize>,
    random: &mut Random,
    row: impl Fn(T) -> (String, Option<Profile>),
) {
    for _ in 0..limit.unwrap_or(usize::MAX) {
        let back = random.below(3) == 0;
        let (found, expect) =
            if back { (rows.next_back(), expected.pop_back()) } else { (rows.next(), expected.pop_front()) };
        assert_eq!(found.map(|found| shown(row(found.unwrap()))), expect);
        if expect.is_none() {
            break;
        }
    }
    assert!(rows.next().is_none() && rows.next_back().is_none() && rows.next().is_none());
}

#[test]
fn a_scan_returns_what_a_filter_over_sorted_profiles_returns() {
    let mut random = Random(7);
    for round in 0..6 {
        let temp = TempStore::new(builder);
        let db = temp.open();
        let all = fill(&db, &mut random);
        if round % 2 == 1 {
            db.compact().unwrap();
        }
        for _ in 0..400 {
            let limit = (random.below(3) == 0).then(|| random.below(5));
            let limited = |scan: ProfileScan| limit.into_iter().fold(scan, ProfileScan::limit);
            let (profiles, expected) = scan(&db, &all, &mut random, false);
            compare(limited(profiles).iter(), expected, limit, &mut random, |(id, profile)| (id, Some(profile)));
            let (ids, expected) = scan(&db, &all, &mut random, true);
            compare(limited(ids).known(), expected, limit, &mut random, |known| known);
        }
    }
}

#[test]
fn a_scan_that_was_built_is_a_snapshot() {
    let temp = TempStore::new(builder);
    let users = temp.open().users();
    users.update("a", Update::new().set("n", 1)).unwrap();
    let scan = users.scan();
    users.update("b", Update::new().set("n", 2)).unwrap();
    assert_eq!(((&scan).into_iter().count(), scan.iter().count(), (&users).into_iter().count()), (1, 1, 2));
}

#[test]
fn a_filter_never_fails_in_silence() {
    let temp = TempStore::new(builder);
    let users = temp.open().users();
    for (id, value) in [("a", Value::from(true)), ("b", "text".into()), ("c", Value::Null), ("d", false.into())] {
        users.update(id, Update::new().set("x", value)).unwrap();
    }
    users.update("e", Update::new().set("y", 1)).unwrap();
    // A filter that is not boolean keeps a profile only where it is true, as in a join.
    let ids = |filter| users.scan().filter(filter).iter().map(|row| row.unwrap().0).collect::<Vec<_>>();
    assert_eq!(ids(r#"properties["x"]"#), ["a"]);
    // An operator fails on some profiles: an error item each, with the id. Undefined is false.
    let filter = r#"properties["x"] and true"#;
    let rows: Vec<_> = users.scan().filter(filter).iter().collect();
    assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
    let error = rows[1].as_ref().unwrap_err();
    assert!(error.is_invalid() && error.message().contains("and"), "{error}");
    assert!(error.message().ends_with(r#"table=users id="b""#), "{error}");
    // Errors count for the limit, from the other end as well.
    assert_eq!(users.scan().filter(filter).limit(2).iter().rev().filter(Result::is_err).count(), 2);
    for filter in ["properties[", r#"event["$time"] > 1"#] {
        let scan = users.scan().filter(filter).filter("true").limit(9);
        assert!(scan.iter().next().unwrap().unwrap_err().is_invalid(), "{filter}");
        assert_eq!((scan.iter().count(), scan.known().count()), (1, 1), "the error and nothing else");
    }
}

/// Ends readers when the writer ends, or fails.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every batch sets `n` and appends an event that is earlier than all before. A reader that sees a row of a batch has
/// to see the first event of that batch, or an earlier one.
#[test]
fn a_profile_never_has_a_first_event_that_is_later_than_its_row() {
    const WRITES: i64 = 3_000;
    let temp = TempStore::new(builder);
    let db = temp.open();
    let ids = ["a", "b", "c"];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for id in ids {
            let (users, stop) = (db.users(), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Some(profile) = users.get(id).unwrap() else { continue };
                    let Some(Value::Number(n)) = profile.get("n") else { panic!("{profile:?}") };
                    let (n, first) = (n.as_i64().unwrap(), profile.first_event_time().unwrap());
                    assert!(first <= Timestamp::from_seconds(NOW.seconds() - n), "n={n} first={first}");
                }
            });
        }
        for n in 0..WRITES {
            let mut batch = Batch::new();
            for id in ids {
                batch.update(&db.users(), id, Update::new().set("n", n)).unwrap();
                batch.append(Event::new("e", id, Timestamp::from_seconds(NOW.seconds() - n)));
            }
            db.write(batch).unwrap();
        }
    });
    for id in ids {
        let first = db.users().get(id).unwrap().unwrap().first_event_time();
        let earliest = Timestamp::from_seconds(NOW.seconds() - WRITES + 1);
        assert_eq!((first, db.users().first_event_time(id).unwrap()), (Some(earliest), first));
        assert_eq!(db.snapshot().users().first_event_time(id).unwrap(), first);
    }
}
