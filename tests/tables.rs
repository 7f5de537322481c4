//! Tables of groups: what creates one, how many there can be, and what dropping one means.

#![cfg(feature = "rocksdb")]

mod support;

use profiledb::{Batch, Change, Db, Durability, Event, Kind, Limits, Timestamp, Update};
use support::TempStore;

fn builder() -> profiledb::Builder {
    Db::builder()
        .durability(Durability::Buffered)
        .clock(|| Timestamp::from_seconds(1_000_000_000))
        .block_cache_bytes(8 << 20)
}

fn with_keys(max: usize) -> profiledb::Builder {
    let mut limits = Limits::mixpanel();
    limits.group_keys_max = max;
    builder().limits(limits)
}

fn key(key: &str) -> Kind {
    Kind::group(key).unwrap()
}

fn set() -> Update {
    Update::new().set("x", 1)
}

fn visit(id: &str, seconds: i64) -> Event {
    Event::new("visit", id, Timestamp::from_seconds(seconds)).set("company", "acme")
}

#[test]
fn what_creates_no_profile_creates_no_table() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let ghosts = db.groups("ghost").unwrap();
    let too_many = (0..=2_000).fold(Update::new(), |update, n| update.set(format!("p{n}"), n));
    for _ in 0..2 {
        ghosts.delete("g").unwrap();
        ghosts.update("g", Update::new().unset("x").remove("y", 1)).unwrap();
        assert!(ghosts.update("g", too_many.clone()).unwrap_err().is_limit_exceeded());
        assert!(ghosts.update("g", Update::new().set("x", f64::NAN)).unwrap_err().is_invalid());
        let mut batch = Batch::new();
        batch.update(&ghosts, "g", set()).unwrap();
        batch.update(&db.users(), "u", too_many.clone()).unwrap();
        assert!(db.write(batch).unwrap_err().is_limit_exceeded());
        assert_eq!((db.kinds(), ghosts.get("g").unwrap()), (vec![], None));
        // A refused update leaves no names: 2,001 of them would make every later update of the table read.
        assert!(db.stats().tables.iter().all(|table| !table.wide));
    }
    assert!(db.snapshot().join().group_by(["group:ghost.x"]).answer().unwrap_err().is_not_found());
    // In one batch, what comes later may create it after all.
    let mut batch = Batch::new();
    batch.update(&ghosts, "g", Update::new().unset("x")).unwrap();
    batch.delete(&ghosts, "h").unwrap();
    batch.update(&ghosts, "g", set()).unwrap();
    db.write(batch).unwrap();
    assert_eq!((db.kinds(), ghosts.iter().count()), (vec![key("ghost")], 1));
    let wide = |db: &Db| db.stats().tables.iter().map(|table| (table.names, table.wide)).collect::<Vec<_>>();
    assert_eq!(wide(&db), [(1, false)]);
}

#[test]
fn group_keys_are_bounded_and_those_that_exist_stay() {
    let temp = TempStore::new(builder);
    let db = with_keys(3).open(temp.store()).unwrap();
    db.groups("a").unwrap().create().unwrap();
    let mut batch = Batch::new();
    for name in ["b", "c", "d"] {
        batch.update(&key(name), "g", set()).unwrap();
    }
    // All or nothing, in a batch as well.
    let error = db.write(batch).unwrap_err();
    assert!(error.is_limit_exceeded(), "{error}");
    for part in ["group_key=\"d\"", "group_keys_max=3", "Limits::group_keys_max"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(db.kinds(), [key("a")]);
    // Users do not count. Of requests that share a commit, only those over the limit fail.
    db.users().update("u", set()).unwrap();
    let names = ["b", "a", "c", "d", "b", "e"];
    let commits: Vec<_> = names.map(|name| db.table(&key(name)).submit("g", set()).unwrap()).into();
    let stored: Vec<bool> = commits.into_iter().map(|commit| commit.wait().is_ok()).collect();
    assert_eq!(stored, [true, true, true, false, true, false]);
    assert!(db.groups("d").unwrap().create().unwrap_err().is_limit_exceeded());
    assert!(db.backfill_first_event_times(&key("d")).unwrap_err().is_limit_exceeded());
    db.groups("d").unwrap().delete("g").unwrap();
    drop(db);
    // A store that has more opens, and is read and written.
    let db = with_keys(1).open(temp.store()).unwrap();
    db.groups("c").unwrap().update("h", set()).unwrap();
    assert_eq!(db.groups("c").unwrap().iter().count(), 2);
    assert!(db.groups("d").unwrap().update("g", set()).unwrap_err().is_limit_exceeded());
    assert!(
        db.drop_table(&key("b")).unwrap() && db.drop_table(&key("c")).unwrap() && db.drop_table(&key("a")).unwrap()
    );
    db.groups("d").unwrap().update("g", set()).unwrap();
    assert_eq!(db.kinds(), [Kind::User, key("d")]);
    assert_eq!(Limits::default().group_keys_max, 64);
}

#[test]
fn a_dropped_table_is_empty_and_starts_anew() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let companies = db.groups("company").unwrap();
    let long = (0..50).fold(Update::new(), |update, n| update.set(format!("p{n}"), n));
    companies.update("acme", long).unwrap();
    companies.update("bolt", set()).unwrap();
    db.users().update("alice", set()).unwrap();
    db.events().append(visit("alice", 900_000_000)).unwrap();
    let first = |db: &Db| db.table(&key("company")).first_event_time("acme").unwrap().map(Timestamp::seconds);
    assert_eq!(first(&db), Some(900_000_000));

    let before = db.snapshot();
    let mut scan = companies.iter();
    assert_eq!(scan.next().unwrap().unwrap().0, "acme");
    let pending = companies.submit("late", set()).unwrap();
    assert!(db.drop_table(&key("company")).unwrap());
    pending.wait().unwrap();
    // Scans go on; snapshots fail rather than read nothing; the event and the user are as they were.
    assert_eq!(scan.next().unwrap().unwrap().0, "bolt");
    let old = before.groups("company").unwrap();
    for _ in 0..2 {
        assert!(old.get("acme").unwrap_err().is_not_found());
        assert!(old.get_many(&["acme"]).unwrap_err().is_not_found());
        assert!(old.iter().next().unwrap().unwrap_err().is_not_found());
        assert!(old.first_event_time("acme").unwrap_err().is_not_found());
        assert!(before.join().group_by(["group:company.x"]).answer().is_err());
        assert_eq!(before.users().iter().count(), 1);
        assert_eq!((before.events().iter().count(), db.events().iter().count()), (1, 1));
        companies.update("core", set()).unwrap(); // a new table of that name in the second round
    }
    assert_eq!(companies.iter().map(|row| row.unwrap().0).collect::<Vec<_>>(), ["core"]);
    assert_eq!(db.snapshot().groups("company").unwrap().iter().count(), 1);
    // Its names were forgotten, in the registry as well.
    let names = |db: &Db| db.stats().tables.iter().find(|table| table.table == "group:company").unwrap().names;
    assert_eq!(names(&db), 1);
    assert_eq!(first(&db), None);
    db.events().append(visit("alice", 950_000_000)).unwrap();
    assert_eq!(first(&db), Some(950_000_000));
    db.backfill_first_event_times(&key("company")).unwrap();
    assert_eq!(first(&db), Some(900_000_000));
    drop((db, companies, before, scan, old));
    let db = temp.open();
    assert_eq!((names(&db), first(&db)), (1, Some(900_000_000)));
    assert!(db.check().unwrap().is_sound());

    // Users keep their first event times, because the events are kept.
    assert!(db.drop_table(&Kind::User).unwrap() && !db.drop_table(&Kind::User).unwrap());
    assert_eq!(db.users().first_event_time("alice").unwrap(), Some(Timestamp::from_seconds(900_000_000)));
    assert_eq!(db.users().get("alice").unwrap(), None);
    assert!(!db.drop_table(&key("nothing")).unwrap());
    drop(db);
    let reader = builder().open_read_only(temp.store()).unwrap();
    assert!(reader.drop_table(&key("company")).unwrap_err().is_read_only());
    assert_eq!(reader.kinds(), [key("company")]);
}

#[test]
fn the_limit_on_properties_holds_across_drops_under_concurrent_writers() {
    let temp = TempStore::new(builder);
    let mut limits = Limits::mixpanel();
    limits.properties_max = 4;
    let db = builder().limits(limits).open(temp.store()).unwrap();
    let companies = db.groups("company").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let companies = companies.clone();
            scope.spawn(move || {
                for n in 0..400 {
                    let name = format!("p{}", (n * 7 + thread) % 12);
                    if let Err(error) = companies.update("acme", Update::new().set(name, n)) {
                        assert!(error.is_limit_exceeded(), "{error}");
                    }
                    if let Some(acme) = companies.get("acme").unwrap() {
                        assert!(acme.properties().len() <= 4, "{acme:?}");
                    }
                }
            });
        }
        for _ in 0..60 {
            db.drop_table(&key("company")).unwrap();
            companies.submit("acme", Change::Delete).unwrap().wait().unwrap();
        }
    });
    companies.delete("acme").unwrap();
    let five = (0..5).fold(Update::new(), |update, n| update.set(format!("q{n}"), n));
    assert!(companies.update("acme", five).unwrap_err().is_limit_exceeded());
}
