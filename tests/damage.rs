//! Damaged blocks: a check and a salvage go on after them, and nothing is missing that they do not name.
#![cfg(feature = "rocksdb")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use profiledb::{Batch, Damage, Db, Durability, Event, Kind, Result, Salvaged, Timestamp, Update};

const USERS: usize = 20_000;

fn id(n: usize) -> String {
    format!("user-{n:06}")
}

/// Users, groups and events, all in table files.
fn fill(path: &Path) -> Db {
    let db = Db::builder().durability(Durability::Buffered).open(path).unwrap();
    let companies = db.groups("company").unwrap();
    for from in (0..USERS).step_by(500) {
        let mut batch = Batch::new();
        for n in from..from + 500 {
            let update = Update::new().set("a", n as i64).set("b", (n * 7_919).to_string()).ignore_time();
            batch.update(&db.users(), id(n), update).unwrap();
            batch.update(&companies, id(n), Update::new().set("c", (n * 104_729).to_string()).ignore_time()).unwrap();
            let time = Timestamp::from_seconds(1_700_000_000 + (n * 977 % 900_000) as i64);
            batch.append(Event::new("visit", id(n), time).id(format!("i{n}")).set("x", (n * 31_337).to_string()));
        }
        db.write(batch).unwrap();
    }
    db.compact().unwrap();
    db
}

fn tables(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "sst")).collect();
    tables.sort();
    tables
}

/// All that a salvage finds of a table: the ids, and the damage.
fn salvaged(db: &Db, kind: &Kind) -> (Vec<String>, Vec<Damage>) {
    let (mut ids, mut damage) = (Vec::new(), Vec::new());
    db.table(kind)
        .salvage(|item| -> Result<()> {
            match item {
                Salvaged::Item((id, _)) => ids.push(id),
                Salvaged::Damage(found) => damage.push(found),
            }
            Ok(())
        })
        .unwrap();
    (ids, damage)
}

/// Every id of `0..USERS` is there or in a damaged range, and few are in one.
#[track_caller]
fn nothing_is_missing_silently(ids: &[String], damage: &[Damage], blocks: usize) {
    assert!(ids.is_sorted(), "in the order of ids");
    let missing: Vec<String> = (0..USERS).map(id).filter(|id| ids.binary_search(id).is_err()).collect();
    for id in &missing {
        let is_inside = |damage: &Damage| {
            damage.after.as_ref().is_none_or(|after| after < id)
                && damage.before.as_ref().is_none_or(|before| before > id)
        };
        assert!(damage.iter().any(is_inside), "{id} is missing, and not in {damage:?}");
    }
    assert!(missing.len() <= blocks * 1_500, "{} of {USERS} are missing: {damage:?}", missing.len());
    assert_eq!(missing.is_empty(), damage.is_empty());
}

#[test]
fn a_salvage_returns_all_but_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    drop(fill(&store));
    let undamaged: BTreeMap<PathBuf, Vec<u8>> =
        tables(&store).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert!(undamaged.len() >= 4, "{:?}", undamaged.keys());
    // Of a file with a single block of data, nearly all is index.
    let undamaged: BTreeMap<_, _> = undamaged.into_iter().filter(|(_, bytes)| bytes.len() > 100 << 10).collect();
    let (mut seed, mut reports) = (7_usize, 0);
    let mut below = |end: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end
    };
    for round in 0..12 {
        for (path, bytes) in &undamaged {
            let mut bytes = bytes.clone();
            // The index is at the end. Without it a store does not open.
            let data = bytes.len() / 2;
            let places = if round % 3 == 0 { 1 } else { 1 + below(6) };
            for _ in 0..places {
                let at = if round == 1 { 10 } else { below(data) };
                bytes[at] ^= 1 << below(8);
            }
            fs::write(path, &bytes).unwrap();
            let db = Db::builder().open_read_only(&store).unwrap();
            let report = db.check().unwrap();
            let damage: Vec<&Damage> = report.tables.iter().flat_map(|table| &table.damage).collect();
            let file = path.file_name().unwrap().to_str().unwrap();
            for found in &damage {
                assert!(found.reason.contains(file), "the file is named: {found:?}");
            }
            // A flip in what the block does not need, its padding, is no damage.
            assert_eq!(report.is_sound(), damage.is_empty());
            reports += usize::from(!damage.is_empty());
            for kind in [Kind::User, Kind::group("company").unwrap()] {
                let (ids, damage) = salvaged(&db, &kind);
                let rows: Vec<Damage> =
                    damage.iter().filter(|found| found.table == kind.to_string()).cloned().collect();
                nothing_is_missing_silently(&ids, &rows, places);
                // Profiles are whole reads: damaged times of first events do not stop them.
                if rows.is_empty() {
                    assert_eq!(db.table(&kind).iter().map(Result::unwrap).count(), USERS);
                    assert!(db.table(&kind).get(&id(77)).unwrap().is_some());
                    assert_eq!(db.table(&kind).get_many(&[id(1), id(19_999)]).unwrap().iter().flatten().count(), 2);
                }
            }
            let (mut events, mut ranges) = (0, 0);
            let count = |item| -> Result<()> {
                match item {
                    Salvaged::Item(_) => events += 1,
                    Salvaged::Damage(_) => ranges += 1,
                }
                Ok(())
            };
            db.snapshot().events().salvage(count).unwrap();
            assert!(events == USERS || ranges > 0, "events={events}");
            assert!(USERS - events <= places * 3_000, "events={events}");
            fs::write(path, &undamaged[path]).unwrap();
        }
    }
    assert!(reports > 12, "reports={reports}");
}

#[test]
fn damaged_times_of_first_events_are_shown_and_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    drop(fill(&store));
    let open = || Db::builder().open_read_only(&store).unwrap();
    let times = |db: &Db| db.users().iter().map(|row| row.unwrap().1.first_event_time()).collect::<Vec<_>>();
    let before = times(&open());
    assert!(before.iter().all(Option::is_some));
    // Which file it is, only damage tells.
    let is_derived = |found: &Damage| found.table == "first:users";
    let damaged = tables(&store).into_iter().find(|path| {
        let bytes = fs::read(path).unwrap();
        let mut flipped = bytes.clone();
        let middle = bytes.len() / 3;
        flipped[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
        fs::write(path, flipped).unwrap();
        let found = open().check().unwrap().tables.iter().any(|table| table.damage.iter().any(is_derived));
        if !found {
            fs::write(path, bytes).unwrap();
        }
        found
    });
    assert!(damaged.is_some());
    let db = open();
    let flagged = db.users().iter().filter(|row| row.as_ref().unwrap().1.first_event_is_damaged()).count();
    assert!(flagged > 100 && db.users().iter().count() == USERS, "flagged={flagged}");
    let unread = (0..USERS).find(|n| db.users().get(&id(*n)).unwrap().unwrap().first_event_is_damaged()).unwrap();
    assert!(db.users().first_event_time(&id(unread)).unwrap_err().is_corrupt(), "a question about the time fails");
    assert!(db.users().get_property(&id(unread), "$mp_first_event_time").is_err());
    assert!(db.users().scan().filter(r#"defined(properties["$mp_first_event_time"])"#).iter().any(|row| row.is_err()));
    assert!(db.users().scan().select(["$mp_first_event_time"]).iter().any(|row| row.is_err()));
    assert!(db.users().known().any(|row| row.is_err()));
    drop(db);

    let db = Db::open(&store).unwrap();
    assert_eq!(db.rebuild_first_event_times(&Kind::User).unwrap(), USERS as u64);
    assert!(times(&db) == before && db.check().unwrap().is_sound());
    drop(db);
    assert!(times(&open()) == before);
}

/// A repair drops the damaged blocks, keeps all others, and builds the times of first events anew.
#[test]
fn a_repair_keeps_all_but_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fill(&store).close().unwrap();
    let paths = tables(&store);
    for path in &paths {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
        fs::write(path, bytes).unwrap();
    }
    let report = Db::repair(&store).unwrap();
    let db = Db::open(&store).unwrap();
    assert!(db.check().unwrap().is_sound());
    for kind in [Kind::User, Kind::group("company").unwrap()] {
        let lost: Vec<Damage> = report.lost.iter().filter(|lost| lost.table == kind.to_string()).cloned().collect();
        let ids: Vec<String> = db.table(&kind).iter().map(|row| row.unwrap().0).collect();
        assert!(!lost.is_empty());
        nothing_is_missing_silently(&ids, &lost, paths.len());
    }
    assert!(["events", "first:users"].iter().all(|table| report.lost.iter().any(|lost| lost.table == *table)));
    let events: Vec<Event> = db.events().iter().map(|event| event.unwrap()).collect();
    assert!(events.len() > USERS / 2);
    for event in events {
        assert_eq!(db.users().first_event_time(event.distinct_id()).unwrap(), Some(event.time()));
    }
}
