//! The importer: one outcome for each record, and what was reported as stored is stored.

#![cfg(feature = "rocksdb")]

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, channel};

use profiledb::ingest::{EventRecord, Outcome, Record, Rules, parse_events};
use profiledb::{Change, Db, Durability, Event, Import, Imported, Limits, Profile, ProfileKey, Timestamp, Update};
use support::{Random, TempStore};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn builder() -> profiledb::Builder {
    let mut limits = Limits::mixpanel();
    limits.properties_max = 3;
    Db::builder().durability(Durability::Buffered).clock(|| NOW).limits(limits).block_cache_bytes(8 << 20)
}

fn outcomes(import: Import<'_>) -> Vec<Outcome<Imported>> {
    import.map(Result::unwrap).collect()
}

/// A line, or `-` for a record that was rejected, in the order of the outcomes.
fn summary(outcomes: &[Outcome<Imported>]) -> Vec<String> {
    let line = |outcome: &Outcome<Imported>| match outcome {
        Ok(stored) => format!("{:?} {} {}", stored.line, stored.index, stored.id),
        Err(reject) => format!("{:?} {} -", reject.line, reject.index),
    };
    outcomes.iter().map(line).collect()
}

/// A reader that waits for each part of its input.
struct Live(Receiver<&'static str>);

impl Read for Live {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Ok(part) = self.0.recv() else { return Ok(0) };
        into[..part.len()].copy_from_slice(part.as_bytes());
        Ok(part.len())
    }
}

#[test]
fn every_record_has_one_outcome_and_profiles_are_the_fold_of_what_is_stored() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let mut random = Random(7);
    let (mut lines, mut expected) = (Vec::new(), BTreeMap::new());
    for line in 1..=5_000_u64 {
        let id = format!("u{}", random.below(50));
        let text = match random.below(12) {
            0 => format!(r#"{{"$distinct_id":"{id}","$add":[{line}]}}"#),
            1 => format!(r#"{{"$distinct_id":"{id}","$delete":null}}"#),
            2 => format!(r#"{{"$distinct_id":"{id}","$set":{{"a":"x","b":{line}}}}}"#),
            _ => format!(r#"{{"$distinct_id":"{id}","$add":{{"n":{line}}},"$time":{line}}}"#),
        };
        if let Ok(record) = Record::from_slice(text.as_bytes(), &db.rules()) {
            let profile: &mut Option<Profile> = expected.entry(id).or_default();
            *profile = match record.change {
                Change::Delete => None,
                Change::Update(update) if update.time().is_none() => Profile::update(profile.take(), &update.at(NOW)),
                Change::Update(update) => Profile::update(profile.take(), &update),
            };
        }
        lines.push(text);
    }
    let input = lines.join("\n");
    let found = outcomes(db.importer(db.rules()).in_flight_bytes(10_000).updates(io::Cursor::new(input)));
    assert_eq!(found.len(), lines.len());
    for (index, (outcome, line)) in found.iter().zip(&lines).enumerate() {
        let position = match outcome {
            Ok(stored) => (stored.line, stored.index),
            Err(reject) => (reject.line, reject.index),
        };
        assert_eq!(position, (Some(index as u64 + 1), index as u64));
        assert_eq!(outcome.is_ok(), !line.contains("$add\":["), "{line}");
    }
    for (id, profile) in expected {
        assert_eq!(db.users().get(&id).unwrap(), profile, "{id}");
    }
}

#[test]
fn what_the_store_rejects_is_rejected_alone() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let input = "{\"$distinct_id\":\"a\",\"$set\":{\"p1\":1,\"p2\":1,\"p3\":1}}\n\
                 {\"$distinct_id\":\"a\",\"$set\":{\"p4\":1}}\n\
                 {\"$distinct_id\":\"a\",\"$set\":{\"p1\":2}}\n";
    let found = outcomes(db.importer(db.rules()).updates(input.as_bytes()));
    assert_eq!(summary(&found), ["Some(1) 0 a", "Some(2) 1 -", "Some(3) 2 a"]);
    let reject = found[1].as_ref().unwrap_err();
    assert_eq!((reject.kind, reject.id.as_deref()), (profiledb::ErrorKind::LimitExceeded, Some("a")));
    assert_eq!(reject.record.as_deref(), input.lines().nth(1).map(str::as_bytes));
    assert_eq!(db.users().get_property("a", "p1").unwrap(), Some(2.into()));

    // The text of a record is its own, also after one that was rejected before it came to the store.
    let input = "7\n{\"$distinct_id\":\"b\",\"$set\":{\"p1\":1,\"p2\":1,\"p3\":1}}\n\
                 {\"$distinct_id\":\"b\",\"$set\":{\"p4\":1}}\n";
    let found = outcomes(db.importer(db.rules()).updates(input.as_bytes()));
    assert_eq!(summary(&found), ["Some(1) 0 -", "Some(2) 1 b", "Some(3) 2 -"]);
    for (at, line) in input.lines().enumerate().filter(|(at, _)| *at != 1) {
        assert_eq!(found[at].as_ref().unwrap_err().record.as_deref(), Some(line.as_bytes()));
    }

    // These rules have no clock, so only the store finds the second event to be in the future.
    let rules = Rules::new().limits(Limits::unbounded());
    let event = |id: &str, ahead: i64| {
        let seconds = NOW.seconds() + ahead;
        format!(r#"{{"event":"e","properties":{{"time":{seconds},"distinct_id":"{id}","$insert_id":"i-{id}"}}}}"#)
    };
    let input = [event("a", 0), event("b", 3_601), "7".into(), event("c", 3_600)].join("\n");
    let found = outcomes(db.importer(rules).events(io::Cursor::new(input)));
    assert_eq!(summary(&found), ["Some(1) 0 a", "Some(2) 1 -", "Some(3) 2 -", "Some(4) 3 c"]);
    let records: Vec<_> = found.iter().filter_map(|outcome| outcome.as_ref().err()?.record.as_deref()).collect();
    assert_eq!(records, [event("b", 3_601).as_bytes(), b"7"]);
    let reject = found[1].as_ref().unwrap_err();
    assert_eq!(
        (reject.id.as_deref(), reject.insert_id.as_deref(), reject.field.as_deref()),
        (Some("b"), Some("i-b"), Some("time"))
    );
    assert_eq!(db.events().iter().count(), 2);
}

#[test]
fn live_input_is_stored_while_the_reader_waits_for_more() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let (to, from) = channel();
    let mut import = db.importer(db.rules()).durability(Durability::Synced).events(io::BufReader::new(Live(from)));
    let one = r#"{"event":"e","properties":{"time":1,"distinct_id":"a"}}"#;
    let two = concat!(
        r#"{"event":"e","properties":{"time":1700000000,"distinct_id":"a"}} "#,
        r#"{"event":"e","properties":{"time":1700000001,"distinct_id":"b"}}"#,
    );
    to.send(one).unwrap();
    assert!(import.next().unwrap().unwrap().is_err());
    to.send(two).unwrap();
    for id in ["a", "b"] {
        assert_eq!(import.next().unwrap().unwrap().unwrap().id, id);
        assert_eq!(db.events().of_user(id).count(), 1);
    }
    drop(to);
    assert!(import.next().is_none() && import.next().is_none());
}

#[test]
fn a_reader_that_fails_or_panics_ends_the_import() {
    struct Failing(bool);
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0, "this reader panics");
            Err(io::Error::other("the cable is cut"))
        }
    }
    let temp = TempStore::new(builder);
    let db = temp.open();
    for panics in [false, true] {
        let good = br#"{"$distinct_id":"a","$add":{"n":1}} "#;
        let mut import = db.importer(db.rules()).updates(good.chain(Failing(panics)));
        assert_eq!(import.next().unwrap().unwrap().unwrap().id, "a");
        let error = import.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), profiledb::ErrorKind::Io, "{error}");
        assert!(import.next().is_none());
    }
    assert_eq!(db.users().get_property("a", "n").unwrap(), Some(2.into()));
}

fn update_of(id: usize) -> profiledb::Result<Outcome<Record>> {
    Ok(Ok(Record::new(ProfileKey::user(format!("u{id}"))?, Update::new().add("n", 1))))
}

#[test]
fn a_store_that_fails_names_the_record_and_what_was_reported_is_stored() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let mut closing = Some(db.clone());
    let records = (0..100).map(|id| {
        if id == 60
            && let Some(db) = closing.take()
        {
            db.close().unwrap();
        }
        update_of(id)
    });
    let importer = db.importer(db.rules());
    // One by one, as an iterator without a length.
    let mut records = records.into_iter();
    let found: Vec<_> = importer.records(std::iter::from_fn(|| records.next())).collect();
    let (stored, failed): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    let ids: Vec<String> = stored.into_iter().map(|outcome| outcome.unwrap().unwrap().id).collect();
    assert_eq!(ids, (0..60).map(|id| format!("u{id}")).collect::<Vec<_>>());
    let [error] = &failed[..] else { panic!("{failed:?}") };
    let error = error.as_ref().unwrap_err();
    assert_eq!(error.kind(), profiledb::ErrorKind::Closed);
    assert_eq!(error.message(), r#"the record is not stored index=60 id="u60""#);
    drop((db, importer));
    let db = temp.open();
    let rows: Vec<_> = db.users().iter().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 60);
}

#[test]
fn what_is_in_flight_is_bounded_in_bytes() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    for (bytes, in_flight_max) in [(0, 1), (2_000, 10)] {
        let read = Cell::new(0);
        let mut ids = 0..1_000;
        let records = std::iter::from_fn(|| {
            read.set(read.get() + 1);
            ids.next().map(update_of)
        });
        let importer = db.importer(db.rules()).durability(Durability::Synced).in_flight_bytes(bytes);
        for (returned, outcome) in importer.records(records).enumerate() {
            outcome.unwrap().unwrap();
            assert!(read.get() - returned <= in_flight_max, "{} - {returned}", read.get());
        }
    }
}

#[test]
fn an_import_that_is_stopped_returns_what_is_in_flight() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let mut import = db.importer(db.rules()).records((0..).map(update_of));
    assert_eq!(import.next().unwrap().unwrap().unwrap().id, "u0");
    import.stop();
    let rest = import.count();
    assert_eq!(db.users().iter().count(), 1 + rest);
}

#[test]
fn events_of_a_request_body_share_commits_and_keep_their_order() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let event = |n: usize| {
        if n % 10 == 3 {
            "{}".to_owned()
        } else {
            serde_json::to_string(&Event::new("e", format!("u{n}"), NOW)).unwrap()
        }
    };
    let body = (0..500).map(event).collect::<Vec<_>>().join("\n");
    let commits = || db.stats().writes.requests;
    let before = commits();
    let records: Vec<Outcome<EventRecord>> = parse_events(body.as_bytes(), &db.rules()).unwrap();
    let found = outcomes(db.importer(db.rules()).records(records.into_iter().map(Ok)));
    let expected: Vec<String> = (0..500)
        .map(|n| format!("Some({}) {n} {}", n + 1, if n % 10 == 3 { "-".to_owned() } else { format!("u{n}") }))
        .collect();
    assert_eq!(summary(&found), expected);
    assert_eq!(db.events().iter().count(), 450);
    assert!(commits() - before <= 500 / 32, "{}", commits() - before);
}
