//! Real data: twelve years of a repository as updates. Under any sequence of flushes, compactions and reopens, every
//! profile equals the result of an independent model.
#![cfg(feature = "rocksdb")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use profiledb::ingest::{Record, Records, Rules};
use profiledb::{Batch, Builder, Commit, Db, Durability, Kind, ProfileKey};
use serde_json::Value as Json;
use support::Random;

const UPDATES: &[u8] = include_bytes!("../examples/data/history/updates.ndjson.gz");
const EXPECTED: &[u8] = include_bytes!("../examples/data/history/expected-profiles.ndjson.gz");

/// Profiles as JSON text with sorted keys. Text rather than values, so that `1` differs from `1.0`.
type Profiles = BTreeMap<ProfileKey, String>;

fn updates() -> Vec<Record> {
    Records::new(UPDATES, Rules::new()).map(|outcome| outcome.unwrap().unwrap()).collect()
}

fn expected() -> Profiles {
    let lines = BufReader::new(GzDecoder::new(EXPECTED)).lines();
    let profiles = lines.map(|line| {
        let row: BTreeMap<String, Json> = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |name: &str| row.get(name).and_then(Json::as_str);
        let key = match text("$distinct_id") {
            Some(id) => ProfileKey::user(id),
            None => ProfileKey::group(text("$group_key").unwrap(), text("$group_id").unwrap()),
        };
        // `serde_json` sorts the keys of objects, as the store does.
        (key.unwrap(), row["$properties"].to_string())
    });
    profiles.collect()
}

fn stored(db: &Db) -> Profiles {
    let mut all = Profiles::new();
    for kind in db.kinds() {
        for row in db.table(&kind).iter() {
            let (id, profile) = row.unwrap();
            assert!(profile.quarantine().is_empty());
            let properties = serde_json::to_string(profile.properties()).unwrap();
            all.insert(ProfileKey::new(kind.clone(), id).unwrap(), properties);
        }
    }
    all
}

fn assert_as_expected(db: &Db, expected: &Profiles, when: &str) {
    let stored = stored(db);
    for (key, profile) in expected {
        assert_eq!(stored.get(key), Some(profile), "{when}: {key:?}");
    }
    assert_eq!(stored.len(), expected.len(), "{when}: profiles that should not be there");
}

fn settings() -> Builder {
    Db::builder().durability(Durability::Buffered).block_cache_bytes(32 << 20)
}

fn submit(db: &Db, records: &[Record]) {
    let change = |record: &Record| Batch::from_iter([(record.key.clone(), record.change.clone())]);
    let commits: Vec<Commit> = records.iter().map(|record| db.submit(change(record)).unwrap()).collect();
    commits.into_iter().for_each(|commit| commit.wait().unwrap());
}

#[test]
fn every_profile_equals_the_model() {
    let (updates, expected) = (updates(), expected());
    assert_eq!((updates.len(), expected.len()), (109_466, 1_502));
    let dir = tempfile::tempdir().unwrap();
    let db = settings().open(dir.path().join("store")).unwrap();
    submit(&db, &updates);
    assert_as_expected(&db, &expected, "in memory");
    assert_eq!(db.kinds(), [Kind::User, Kind::group("domain").unwrap()]);
    db.flush().unwrap();
    assert_as_expected(&db, &expected, "flushed");
    db.compact().unwrap();
    assert_as_expected(&db, &expected, "compacted");
    assert_eq!(db.check().unwrap().tables.iter().map(|table| table.pending_operands).sum::<u64>(), 0);
    drop(db);
    let db = settings().open_read_only(dir.path().join("store")).unwrap();
    assert_as_expected(&db, &expected, "opened again");
}

/// The updates are cut at 1,000 random places. Nine cuts of ten flush the memtables, so that operands are composed and
/// compacted in files; one of ten (about 100) closes and reopens the store; every hundredth compacts it as well.
#[test]
fn a_thousand_cuts_are_not_observable() {
    let (updates, expected) = (updates(), expected());
    let mut random = Random(2026);
    let mut cuts: Vec<usize> = (0..1_000).map(|_| random.below(updates.len())).collect();
    cuts.sort_unstable();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let open = |path: &Path| settings().memtable_bytes(64 << 10).fold_after(50).open(path).unwrap();
    let mut db = open(&path);
    let mut done = 0;
    for (number, cut) in cuts.into_iter().enumerate() {
        submit(&db, &updates[done..cut]);
        done = cut;
        if random.below(10) == 0 {
            db.close().unwrap();
            db = open(&path);
        } else {
            db.flush().unwrap();
        }
        if number % 100 == 99 {
            db.compact().unwrap();
        }
    }
    submit(&db, &updates[done..]);
    assert_as_expected(&db, &expected, "after 1,000 cuts");
    db.compact().unwrap();
    assert_as_expected(&db, &expected, "compacted");
    assert!(db.check().unwrap().is_sound());
}
