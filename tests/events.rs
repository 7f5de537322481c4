//! The event log: appended with profiles, read under one snapshot, erased; against a model.

#![cfg(feature = "rocksdb")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use profiledb::{Batch, Builder, Db, Durability, ErrorKind, Event, Events, Kind, Limits, Timestamp, Update, View};
use support::{Random, TempStore};

const DAY: i64 = 86_400_000;

fn builder() -> Builder {
    Db::builder().durability(Durability::Buffered).clock(|| at("2025-01-01T00:00:00")).block_cache_bytes(8 << 20)
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn millis(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn event(name: &str, id: &str, time: &str) -> Event {
    Event::new(name, id, at(time)).id(format!("{name} {time}"))
}

fn all(events: Events) -> Vec<Event> {
    events.collect::<Result<_, _>>().unwrap()
}

fn names(events: Events) -> Vec<String> {
    events.map(|event| event.unwrap().name().to_owned()).collect()
}

fn company() -> Kind {
    Kind::group("company").unwrap()
}

// ---------------------------------------------------------------------------------------------------------------------
// Identity of an event

/// Case 88: the last write wins.
#[test]
fn an_event_that_is_sent_again_replaces_itself() {
    let temp = TempStore::new(builder);
    let sent = |amount| event("purchase", "alice", "2024-01-02T10:00:00").set("amount", amount);
    let mut db = temp.open();
    for (round, amount) in [1, 2, 3, 4].into_iter().enumerate() {
        db.events().append(sent(amount)).unwrap();
        match round {
            0 => db.flush().unwrap(),
            1 => db.compact().unwrap(),
            2 => {
                drop(db);
                db = temp.open();
            }
            _ => {}
        }
        assert_eq!(all(db.events().iter()), [sent(amount)]);
    }
    let mut batch = Batch::new();
    batch.append(sent(5));
    batch.append(sent(6));
    assert_eq!((batch.len(), batch.is_empty()), (2, false));
    db.write(batch).unwrap();
    assert_eq!(all(db.events().iter()), [sent(6)]);
    // Another name, user, time or `$insert_id` is another event.
    for other in [
        Event::new("refund", "alice", sent(0).time()).id("purchase 2024-01-02T10:00:00"),
        Event::new("purchase", "alicia", sent(0).time()).id("purchase 2024-01-02T10:00:00"),
        Event::new("purchase", "alice", millis(sent(0).time().millis() + 1)).id("purchase 2024-01-02T10:00:00"),
        sent(0).id("another"),
    ] {
        db.events().append(other).unwrap();
    }
    assert_eq!(db.events().iter().count(), 5);
}

#[test]
fn an_event_without_an_insert_id_has_an_identity_of_its_own() {
    let temp = TempStore::new(builder);
    for _ in 0..3 {
        let db = temp.open();
        let handles: Vec<_> = (0..4)
            .map(|_| {
                let log = db.events();
                std::thread::spawn(move || {
                    for _ in 0..25 {
                        log.append(Event::new("click", "alice", at("2024-01-02"))).unwrap();
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    }
    let events = all(temp.open().events().iter());
    let ids: BTreeSet<_> = events.iter().map(|event| event.insert_id().unwrap().to_owned()).collect();
    assert_eq!((events.len(), ids.len()), (300, 300));
}

/// Case 89.
#[test]
fn an_event_that_fails_validation_is_not_stored() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    for (bad, field) in [
        (event("e", "anon", "2024-01-02"), "distinct_id"),
        (event("e", "NULL", "2024-01-02"), "distinct_id"),
        (event("", "u", "2024-01-02"), "event"),
        (event("e", "u", "2025-01-01T01:00:01"), "time"),
        (event("e", "u", "1970-12-31"), "time"),
        (event("e", "u", "2024-01-02").set("x", f64::NAN), "x"),
    ] {
        for error in [
            db.events().append(bad.clone()).unwrap_err(),
            db.events().submit(bad.clone()).map(|_| ()).unwrap_err(),
            db.events().append_with(bad.clone(), Durability::Synced).unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)));
        }
    }
    assert_eq!((db.events().iter().count(), db.users().known().count()), (0, 0));
    db.events().submit(event("e", "u", "2025-01-01T01:00:00")).unwrap().wait().unwrap();
    assert_eq!(db.events().iter().count(), 1);
}

#[test]
fn a_batch_of_events_and_updates_is_all_or_nothing() {
    let temp = TempStore::new(builder);
    let mut limits = Limits::mixpanel();
    limits.properties_max = 2;
    let db = builder().limits(limits).open(temp.store()).unwrap();
    db.groups("company").unwrap().create().unwrap();
    let batch = |update: Update, id: &str| {
        let mut batch = Batch::new();
        batch.append(event("first", "alice", "2024-01-02").set("company", "acme"));
        batch.update(&db.users(), "alice", update).unwrap();
        batch.append(event("second", id, "2024-01-03"));
        batch
    };
    let nothing = || {
        assert_eq!((db.events().iter().count(), db.users().known().count()), (0, 0));
        assert_eq!(db.groups("company").unwrap().known().count(), 0);
    };
    let error = db.write(batch(Update::new().set("a", 1).set("b", 1).set("c", 1), "bob")).unwrap_err();
    assert!(error.is_limit_exceeded(), "{error}");
    nothing();
    assert!(db.write(batch(Update::new().set("a", 1), "anon")).unwrap_err().is_invalid());
    assert!(db.write(batch(Update::new().set("$token", 1), "bob")).unwrap_err().is_invalid());
    nothing();
    db.write(batch(Update::new().set("a", 1), "bob")).unwrap();
    assert_eq!(names(db.events().iter()), ["first", "second"]);
    let alice = db.users().get("alice").unwrap().unwrap();
    assert_eq!((alice.get("a"), alice.first_event_time()), (Some(&1.into()), Some(at("2024-01-02"))));
    assert_eq!(db.groups("company").unwrap().first_event_time("acme").unwrap(), Some(at("2024-01-02")));
    // A request that fails does not fail the others of its commit group.
    let mut commits = Vec::new();
    for n in 0..20 {
        let update = (0..n % 4).fold(Update::new(), |update, p| update.set(format!("p{p}"), 1));
        let mut batch = Batch::new();
        batch.append(event(&format!("{n:02}"), &format!("user-{n}"), "2024-01-04"));
        batch.update(&db.users(), format!("user-{n}"), update).unwrap();
        commits.push((n, db.submit(batch).unwrap()));
    }
    for (n, commit) in commits {
        let stored = commit.wait().is_ok();
        assert_eq!(stored, n % 4 < 3);
        assert_eq!(db.events().of_user(&format!("user-{n}")).count(), usize::from(stored));
        assert_eq!(db.users().first_event_time(&format!("user-{n}")).unwrap().is_some(), stored);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The time of the first event

/// Cases 57 and 70, in the store's own words: tests/contract.rs has them on the wire.
#[test]
fn the_first_event_is_the_earliest_in_any_order() {
    let days = [5, 3, 9, 2, 7, 1, 1, 8];
    for (rotation, maintain) in (0..days.len()).flat_map(|rotation| [(rotation, false), (rotation, true)]) {
        let temp = TempStore::new(builder);
        let db = temp.open();
        db.users().update("alice", Update::new().set("a", 1)).unwrap();
        let before = db.users().get("alice").unwrap().unwrap();
        assert_eq!(before.first_event_time(), None);
        let mut least = i64::MAX;
        for at in 0..days.len() {
            let day = days[(at + rotation) % days.len()];
            db.events().append(Event::new("e", "alice", millis(1_700_000_000_123 + day * DAY))).unwrap();
            least = least.min(day);
            match at {
                2 if maintain => db.flush().unwrap(),
                4 if maintain => db.compact().unwrap(),
                _ => {}
            }
            let alice = db.users().get("alice").unwrap().unwrap();
            assert_eq!(alice.first_event_time(), Some(millis(1_700_000_000_123 + least * DAY)));
            assert_eq!((alice.last_seen(), alice.properties()), (before.last_seen(), before.properties()));
        }
    }
}

#[test]
fn the_first_event_time_is_in_every_way_of_reading() {
    let temp = TempStore::new(builder);
    let mut db = temp.open();
    for (id, event_day) in [("ann", Some(3)), ("bob", None), ("cid", Some(5)), ("dan", None)] {
        db.users().update(id, Update::new().set("$z", 1).at(Timestamp::from_seconds(0))).unwrap();
        if let Some(day) = event_day {
            db.events().append(Event::new("e", id, millis(day * DAY + 31_536_000_000))).unwrap();
        }
    }
    for id in ["aaa", "bub", "zoe"] {
        db.events().append(Event::new("e", id, millis(400 * DAY))).unwrap();
    }
    db.events().append(Event::new("e", "", millis(400 * DAY))).unwrap();
    let time = |id: &str| match id {
        "ann" => Some(at("1971-01-04")),
        "cid" => Some(at("1971-01-06")),
        _ => None,
    };
    for _ in 0..2 {
        for view in [View::clone(&db.users()), db.snapshot().users()] {
            for rows in [view.iter(), view.range("ann".."e"), view.range("a"..="dan")] {
                let rows: Vec<_> = rows.map(|row| row.unwrap()).map(|(id, row)| (row.first_event_time(), id)).collect();
                let expected = ["ann", "bob", "cid", "dan"].map(|id| (time(id), id.to_owned()));
                assert_eq!(rows, expected);
            }
            let rows: Vec<_> = view.prefix("c").map(|row| row.unwrap().1.first_event_time()).collect();
            assert_eq!(rows, [time("cid")]);
            let rows = view.get_many(&["cid", "zoe", "bob", "ann", "cid"]).unwrap();
            let rows: Vec<_> = rows.iter().map(|row| row.as_ref().map(|row| row.first_event_time())).collect();
            assert_eq!(rows, [Some(time("cid")), None, Some(None), Some(time("ann")), Some(time("cid"))]);
            let property = |id| view.get_property(id, "$mp_first_event_time").unwrap();
            assert_eq!(property("ann"), Some("1971-01-04T00:00:00".into()));
            assert_eq!((property("bob"), property("zoe")), (None, None), "no event, or no profile");
            assert_eq!(view.get_property("bob", "$last_seen").unwrap(), Some("1970-01-01T00:00:00".into()));
            assert_eq!(view.get_property("zoe", "$last_seen").unwrap(), None);
            assert_eq!(view.first_event_time("zoe").unwrap(), Some(at("1971-02-05")));
            let known: Vec<_> = view.known().map(|row| row.unwrap()).collect();
            let ids: Vec<_> = known.iter().map(|(id, profile)| (id.as_str(), profile.is_some())).collect();
            let expected = [
                ("aaa", false),
                ("ann", true),
                ("bob", true),
                ("bub", false),
                ("cid", true),
                ("dan", true),
                ("zoe", false),
            ];
            assert_eq!(ids, expected);
            assert!(known.iter().all(|(id, row)| row.as_ref().is_none_or(|row| row.first_event_time() == time(id))));
        }
        let ann = serde_json::to_string(&db.users().get("ann").unwrap()).unwrap();
        let text = r#"{"$last_seen":"1970-01-01T00:00:00","$mp_first_event_time":"1971-01-04T00:00:00","$z":1}"#;
        assert_eq!(ann, text);
        db.compact().unwrap();
        drop(db);
        db = temp.open();
    }
}

#[test]
fn the_first_event_time_outlives_the_profile() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let users = db.users();
    db.events().append(event("e", "alice", "2024-01-02")).unwrap();
    users.update("alice", Update::new().set("a", 1)).unwrap();
    users.delete("alice").unwrap();
    assert_eq!(users.get("alice").unwrap(), None);
    assert_eq!(users.known().map(|known| known.unwrap()).collect::<Vec<_>>(), [("alice".to_owned(), None)]);
    users.update("alice", Update::new().set("b", 1)).unwrap();
    let alice = users.get("alice").unwrap().unwrap();
    assert_eq!((alice.get("a"), alice.first_event_time()), (None, Some(at("2024-01-02"))));
    // It also outlives the events: it is of the first event ever stored.
    db.events().delete_before(at("2024-02-01")).unwrap();
    assert_eq!(users.get("alice").unwrap(), Some(alice));
    // A value imported from an export is ignored.
    db.delete_user("alice").unwrap();
    users.update("alice", Update::new().set("a", 1)).unwrap();
    assert_eq!(users.get("alice").unwrap().unwrap().first_event_time(), None);
    // Nor does a cached time of the deleted user apply.
    db.events().append(event("e", "alice", "2024-03-04")).unwrap();
    assert_eq!(users.first_event_time("alice").unwrap(), Some(at("2024-03-04")));
}

#[test]
fn groups_count_events_since_their_table() {
    let temp = TempStore::new(builder);
    let db = builder().limits(Limits::unbounded()).open(temp.store()).unwrap();
    let companies = db.groups("company").unwrap();
    let known = || companies.known().map(|known| known.unwrap().0).collect::<Vec<_>>();
    db.events().append(event("before", "u", "2024-01-01").set("company", "acme")).unwrap();
    companies.create().unwrap();
    companies.create().unwrap();
    assert_eq!((db.kinds(), known()), (vec![company()], Vec::<String>::new()));
    let mut many = vec!["acme".to_owned(), String::new(), "acme".to_owned()];
    many.extend((0..400).map(|n| format!("many-{n:03}")));
    db.events().append(event("list", "u", "2024-02-01").set("company", many)).unwrap();
    db.events().append(event("number", "u", "2024-02-02").set("company", 3)).unwrap();
    db.events().append(event("text", "u", "2024-02-03").set("company", "3")).unwrap();
    db.events().append(event("null", "u", "2024-02-04").set("company", profiledb::Value::Null)).unwrap();
    db.events().append(event("other", "u", "2024-02-05").set("team", "acme")).unwrap();
    assert_eq!(companies.first_event_time("acme").unwrap(), Some(at("2024-02-01")));
    assert_eq!(companies.first_event_time("3").unwrap(), Some(at("2024-02-02")));
    assert_eq!(companies.first_event_time("many-297").unwrap(), Some(at("2024-02-01")));
    assert_eq!(companies.first_event_time("many-298").unwrap(), None, "300 groups of one event count");
    assert_eq!(known().len(), 300);
    companies.update("acme", Update::new().set("tier", "gold")).unwrap();
    assert_eq!(companies.get("acme").unwrap().unwrap().first_event_time(), Some(at("2024-02-01")));

    for _ in 0..2 {
        assert_eq!(db.backfill_first_event_times(&company()).unwrap(), 4);
        assert_eq!(companies.first_event_time("acme").unwrap(), Some(at("2024-01-01")));
        assert_eq!(known().len(), 300);
        assert_eq!(db.backfill_first_event_times(&Kind::User).unwrap(), 6);
        assert_eq!(db.users().first_event_time("u").unwrap(), Some(at("2024-01-01")));
    }
    assert_eq!(db.backfill_first_event_times(&Kind::group("team").unwrap()).unwrap(), 1);
    let team = db.groups("team").unwrap();
    assert_eq!(team.first_event_time("acme").unwrap(), Some(at("2024-02-05")));
    // Deleting a user does not change the first-event times of groups.
    assert_eq!(db.delete_user("u").unwrap(), 6);
    assert_eq!(companies.first_event_time("acme").unwrap(), Some(at("2024-01-01")));
    assert_eq!(db.users().first_event_time("u").unwrap(), None);
}

/// Redundant first-event times are not written: one per user and commit, and none that is known to be stored.
#[test]
fn redundant_first_event_times_are_not_written() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let batch = |days: std::ops::Range<i64>| {
        let mut batch = Batch::new();
        days.for_each(|day| batch.append(Event::new("e", "alice", millis(day * DAY))));
        batch
    };
    let keys = || db.stats().writes.keys;
    db.write(batch(1_000..1_100)).unwrap();
    assert_eq!(keys(), 101);
    db.write(batch(1_050..1_150)).unwrap();
    assert_eq!(keys(), 201);
    db.write(batch(999..1_000)).unwrap();
    assert_eq!((keys(), db.stats().writes.events), (203, 201));
    assert_eq!(db.users().first_event_time("alice").unwrap(), Some(millis(999 * DAY)));
}

// ---------------------------------------------------------------------------------------------------------------------
// Reading

#[test]
fn a_snapshot_does_not_change() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    db.events().append(event("a", "alice", "2024-01-02")).unwrap();
    db.users().update("alice", Update::new().set("n", 1)).unwrap();
    let before = db.snapshot();
    let (view, walk) = (db.events().view(), db.events().iter());
    db.events().append(event("b", "alice", "2024-01-01")).unwrap();
    db.events().append(event("c", "bob", "2024-01-03")).unwrap();
    assert_eq!((names(before.events().iter()), names(view.iter())), (vec!["a".into()], vec!["a".to_owned()]));
    assert_eq!(before.users().get("alice").unwrap().unwrap().first_event_time(), Some(at("2024-01-02")));
    db.events().delete_before(at("2024-02-01")).unwrap();
    db.compact().unwrap();
    assert_eq!(before.events().days().unwrap(), [(at("2024-01-02"), 1)]);
    assert_eq!((names(walk), names(view.of_user("alice"))), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert_eq!((names(view.of_user("bob")), db.events().iter().count()), (Vec::new(), 0));
    assert_eq!(before.users().known().count(), 1);
}

#[test]
fn readers_see_events_and_refuse_to_write() {
    let temp = TempStore::new(builder);
    let scratch = tempfile::tempdir().unwrap();
    let first = event("first", "alice", "2024-01-02");
    let db = temp.open();
    db.events().append(first.clone()).unwrap();
    db.users().update("alice", Update::new().set("a", 1)).unwrap();
    let reader = builder().open_read_only(temp.store()).unwrap();
    let secondary = builder().open_secondary(temp.store(), scratch.path()).unwrap();
    for reader in [&reader, &secondary] {
        assert_eq!(
            (all(reader.events().iter()), all(reader.events().of_user("alice"))),
            (vec![first.clone()], vec![first.clone()])
        );
        assert_eq!(reader.users().get("alice").unwrap().unwrap().first_event_time(), Some(at("2024-01-02")));
        let refusals = [
            reader.events().append(event("no", "u", "2024-01-02")).unwrap_err(),
            reader.events().delete_before(at("2024-01-02")).unwrap_err(),
            reader.delete_user("nobody").unwrap_err(),
            reader.backfill_first_event_times(&Kind::User).unwrap_err(),
            reader.groups("company").unwrap().create().unwrap_err(),
        ];
        assert!(refusals.iter().all(|error| error.kind() == ErrorKind::ReadOnly), "{refusals:?}");
    }
    for n in 0..3 {
        db.events().append(event("later", "bob", &format!("2024-01-0{}", 5 - n))).unwrap();
        db.flush().unwrap();
        secondary.catch_up().unwrap();
        assert_eq!(secondary.events().iter().count(), 2 + n);
        assert_eq!(secondary.users().first_event_time("bob").unwrap(), Some(at(&format!("2024-01-0{}", 5 - n))));
    }
    assert_eq!(all(reader.events().iter()), [first]);
}

#[test]
fn reports_include_the_event_log() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    db.users().update("alice", Update::new().set("a", 1)).unwrap();
    let lines = |db: &Db| {
        let report = db.check().unwrap();
        assert!(report.is_sound(), "{report:?}");
        let stats: Vec<_> = db.stats().tables.into_iter().map(|table| table.table).collect();
        let checked: Vec<_> = report.tables.iter().map(|table| table.table.clone()).collect();
        assert_eq!(checked, stats);
        report.tables.into_iter().map(|table| (table.table, table.profiles, table.events)).collect::<Vec<_>>()
    };
    assert_eq!(lines(&db), [("users".to_owned(), 1, 0)]);
    for (n, id) in ["alice", "bob", "bob"].into_iter().enumerate() {
        db.events().append(event(&n.to_string(), id, "2024-01-02")).unwrap();
    }
    assert_eq!(lines(&db), [("users".to_owned(), 1, 2), ("events".to_owned(), 0, 3)]);
}

// ---------------------------------------------------------------------------------------------------------------------
// Against a model

fn any_time(random: &mut Random) -> Timestamp {
    let day = random.pick(&[-700_000, -2, -1, 0, 1, 2, 3, 19_000, 19_001, 2_900_000]);
    millis(day * DAY + random.pick(&[0, 1, 1_000, 40_000_000, DAY - 1]))
}

/// Ids that are prefixes of each other, with bytes that are escaped.
const IDS: [&str; 11] = ["", "a", "a\0", "a\0\0", "a\u{1}", "a\u{1}\u{1}", "a\u{2}", "ab", "b", "\0", "é"];

/// By day, user, time, name and `$insert_id`.
type Place = (i64, String, i64, String, String);

#[derive(Default)]
struct Model {
    events: BTreeMap<Place, Event>,
    first: BTreeMap<(Kind, String), Timestamp>,
}

fn place(event: &Event) -> Place {
    let time = event.time().millis();
    let insert_id = event.insert_id().unwrap().to_owned();
    (time.div_euclid(DAY), event.distinct_id().to_owned(), time, event.name().to_owned(), insert_id)
}

impl Model {
    fn append(&mut self, event: Event) {
        let mut note = |kind, id: &str| {
            let first = self.first.entry((kind, id.to_owned())).or_insert(event.time());
            *first = event.time().min(*first);
        };
        if !event.distinct_id().is_empty() {
            note(Kind::User, event.distinct_id());
        }
        if let Some(id) = event.get("company").and_then(profiledb::Value::as_str) {
            note(company(), id);
        }
        self.events.insert(place(&event), event);
    }

    fn check(&self, db: &Db, random: &mut Random) {
        let seen = |events: Events| {
            let events = all(events);
            let order = |event: &Event| (place(event).0, place(event).1, event.time());
            assert!(events.is_sorted_by_key(order), "the order of the log");
            let count = events.len();
            let seen: BTreeMap<Place, Event> = events.into_iter().map(|event| (place(&event), event)).collect();
            assert_eq!(seen.len(), count, "a duplicate event");
            seen
        };
        let those = |keep: &dyn Fn(&Event) -> bool| {
            let kept = self.events.iter().filter(|(_, event)| keep(event));
            kept.map(|(place, event)| (place.clone(), event.clone())).collect::<BTreeMap<_, _>>()
        };
        let log = db.events();
        assert_eq!(seen(log.iter()), self.events);
        for _ in 0..4 {
            let (a, b) = (any_time(random), any_time(random));
            assert_eq!(seen(log.range(a..b)), those(&|event| a <= event.time() && event.time() < b));
            assert_eq!(seen(log.range(a..=b)), those(&|event| a <= event.time() && event.time() <= b));
            assert_eq!(seen(log.range(a..)), those(&|event| a <= event.time()));
            assert_eq!(seen(log.range(..=a)), those(&|event| event.time() <= a));
        }
        assert_eq!(seen(log.range(..)), self.events);
        for id in IDS.into_iter().chain(["nobody"]) {
            let events = all(log.of_user(id));
            assert!(events.is_sorted_by_key(Event::time), "the order of time");
            let events: BTreeMap<_, _> = events.into_iter().map(|event| (place(&event), event)).collect();
            assert_eq!(events, those(&|event| event.distinct_id() == id), "{id:?}");
        }
        let mut days: BTreeMap<i64, u64> = BTreeMap::new();
        self.events.keys().for_each(|place| *days.entry(place.0).or_default() += 1);
        let days: Vec<_> = days.into_iter().map(|(day, count)| (millis(day * DAY), count)).collect();
        assert_eq!(log.days().unwrap(), days);
        for kind in [Kind::User, company()] {
            let known: Vec<_> = db.table(&kind).known().map(|known| known.unwrap().0).collect();
            let first: Vec<_> = self.first.iter().filter(|((of, _), _)| *of == kind).collect();
            assert_eq!(known, first.iter().map(|((_, id), _)| id.clone()).collect::<Vec<_>>());
            for ((_, id), time) in first {
                assert_eq!(db.table(&kind).first_event_time(id).unwrap(), Some(*time), "{kind} {id:?}");
            }
        }
    }
}

fn history(seed: u64) {
    let temp = TempStore::new(builder);
    let open = || builder().limits(Limits::unbounded()).memtable_bytes(64 << 10).open(temp.store()).unwrap();
    let mut db = open();
    db.groups("company").unwrap().create().unwrap();
    let (mut model, mut random) = (Model::default(), Random(seed));
    for _ in 0..60 {
        match random.below(12) {
            0 => db.flush().unwrap(),
            1 => db.compact().unwrap(),
            2 => {
                drop(db);
                db = open();
            }
            3 => {
                let time = any_time(&mut random);
                db.events().delete_before(time).unwrap();
                model.events.retain(|_, event| event.time() >= time);
            }
            4 => {
                let id = random.pick(&IDS[1..]);
                let before = model.events.len();
                model.events.retain(|_, event| event.distinct_id() != id);
                model.first.remove(&(Kind::User, id.to_owned()));
                let gone = (before - model.events.len()) as u64;
                assert_eq!(db.delete_user(id).unwrap(), gone);
                assert_eq!(db.delete_user(id).unwrap(), 0, "it can be repeated");
            }
            _ => {
                let mut batch = Batch::new();
                for _ in 0..random.below(30) {
                    let event = Event::new(random.pick(&["x", "y"]), random.pick(&IDS), any_time(&mut random));
                    let event = event.id(random.pick(&["1", "2"])).set("n", random.below(1_000) as i64);
                    let event = if random.below(2) == 0 { event.set("company", random.pick(&IDS[1..])) } else { event };
                    model.append(event.clone());
                    if random.below(3) == 0 {
                        db.events().append(event).unwrap();
                    } else {
                        // Events appended on their own are committed before.
                        batch.append(event);
                        db.write(std::mem::take(&mut batch)).unwrap();
                    }
                }
            }
        }
        if random.below(6) == 0 {
            model.check(&db, &mut random);
        }
    }
    model.check(&db, &mut random);
    assert!(db.check().unwrap().is_sound());
}

#[test]
fn random_histories_equal_a_model() {
    (1..=12_u64).for_each(|seed| history(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
}

#[test]
fn an_erasure_in_several_batches_is_complete() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let mut batch = Batch::new();
    for n in 0..10_000 {
        batch.append(Event::new("e", if n % 2 == 0 { "a" } else { "b" }, millis(1_700_000_000_000 + n)));
    }
    db.write(batch).unwrap();
    db.events().delete_before(millis(1_700_000_001_000)).unwrap();
    assert_eq!((db.events().of_user("a").count(), db.events().of_user("b").count()), (4_500, 4_500));
    assert_eq!(db.delete_user("a").unwrap(), 4_500);
    db.events().delete_before(millis(1_700_000_009_999)).unwrap();
    assert_eq!(all(db.events().iter()).len(), 1);
    assert!(db.delete_user("").unwrap_err().is_invalid());
}
