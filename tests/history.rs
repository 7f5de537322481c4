//! Twelve years of a repository, as updates: whatever happens on the way, every profile comes out as an independent
//! model folded it.
#![cfg(feature = "rocksdb")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use profiledb::ingest::{Record, Records, Rules};
use profiledb::{Batch, Builder, Commit, Db, Durability, Kind, ProfileKey};
use serde_json::Value as Json;

const UPDATES: &[u8] = include_bytes!("../examples/data/history/updates.ndjson.gz");
const EXPECTED: &[u8] = include_bytes!("../examples/data/history/expected-profiles.ndjson.gz");

/// Profiles as JSON text, with the keys in order. Texts, not values: `1` is not `1.0` here.
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
        // `serde_json` keeps objects in the order of their keys, as the store does.
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
fn every_profile_is_as_the_model_says() {
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

/// Steps of a fixed pseudo-random sequence (splitmix64), so that a failure comes back.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The updates are cut at 1,000 random places. At nine cuts of ten the memtables are flushed, so that operands meet
/// in files, where the engine composes and compacts them as it likes; at one of ten (about 100) the store is closed and
/// opened again; every hundredth cut is a compaction by hand on top.
#[test]
fn a_thousand_cuts_leave_no_mark() {
    let (updates, expected) = (updates(), expected());
    let mut dice = Dice(2026);
    let mut cuts: Vec<usize> = (0..1_000).map(|_| dice.below(updates.len() as u64) as usize).collect();
    cuts.sort_unstable();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let open = |path: &Path| settings().memtable_bytes(64 << 10).fold_after(50).open(path).unwrap();
    let mut db = open(&path);
    let mut done = 0;
    for (number, cut) in cuts.into_iter().enumerate() {
        submit(&db, &updates[done..cut]);
        done = cut;
        if dice.below(10) == 0 {
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
