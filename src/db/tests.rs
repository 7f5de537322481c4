//! What needs the engine under a store: it fails, or the process ends, in the middle of a verb.

use std::cell::Cell;

use super::Db;
use crate::codec::first_family_of;
use crate::error::{Error, ErrorKind};
use crate::ingest::Record;
use crate::model::{Event, Kind, Timestamp};

fn first_times(db: &Db) -> Vec<Option<Timestamp>> {
    ["ann", "bob", "cid"].map(|id| db.users().first_event_time(id).unwrap()).into()
}

/// The first event of ann is no longer in the log, so that her time is in the index alone.
#[test]
fn a_rebuild_of_first_event_times_that_was_interrupted_is_completed_by_the_next_open() {
    for step in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).unwrap();
        let time = |days: i64| Timestamp::from_seconds(1_700_000_000 + days * 86_400);
        for (id, days) in [("ann", 0), ("ann", 9), ("bob", 10), ("bob", 11)] {
            db.events().append(Event::new("visit", id, time(days))).unwrap();
        }
        db.events().delete_before(time(5)).unwrap();
        let expected = first_times(&db);
        assert_eq!(expected, [Some(time(0)), Some(time(10)), None]);
        let (store, engine, kind) = (&db.store, db.store.shared.engine(), &Kind::User);
        match step {
            0 => engine.create_family("rebuild:first:users").unwrap(),
            1 => store.keep_first_events(kind).unwrap(),
            _ => {
                store.keep_first_events(kind).unwrap();
                engine.drop_family(&first_family_of(kind)).unwrap();
                if step == 3 {
                    engine.create_family(&first_family_of(kind)).unwrap();
                }
                if step >= 4 {
                    store.renew_first_events(kind).unwrap();
                }
                if step == 5 {
                    db.backfill_first_event_times(kind).unwrap();
                }
            }
        }
        drop(engine);
        db.close().unwrap();
        assert!(Db::builder().open_read_only(dir.path()).unwrap_err().is_busy(), "step {step}");
        let db = Db::open(dir.path()).unwrap();
        assert_eq!(first_times(&db), expected, "step {step}");
        db.close().unwrap();
        let db = Db::builder().open_read_only(dir.path()).unwrap();
        assert_eq!(first_times(&db), expected, "step {step}");
    }
}

#[test]
fn an_import_reads_no_more_once_the_engine_has_failed() {
    const RECORDS: usize = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let (read, rules) = (Cell::new(0), db.rules());
    let records = (0..RECORDS).map(|n| {
        read.set(n + 1);
        let text = format!(r#"{{"$distinct_id":"u{n}","$set":{{"n":{n}}}}}"#);
        Ok(Record::from_slice(text.as_bytes(), &rules))
    });
    let importer = db.importer(db.rules()).in_flight_bytes(64 << 10);
    let mut import = importer.records(records);
    assert!(import.next().unwrap().unwrap().is_ok());
    db.store.shared.engine().stop(Error::new(ErrorKind::Io, "the disk is on fire"));
    let (mut stored, mut failed) = (1, 0);
    for outcome in import {
        match outcome {
            Ok(outcome) => stored += usize::from(outcome.is_ok()),
            Err(error) => {
                assert!(error.is_read_only(), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!(stored + failed, read.get(), "an outcome for each record that was read");
    assert!(failed > 0 && read.get() < RECORDS / 4, "{} records were read", read.get());
    assert_eq!(db.users().iter().count(), stored);
}
