//! The store on its engine, through the public API: whenever rows are folded, files are compacted and processes are
//! killed, a profile equals a plain fold of its updates.

#![cfg(feature = "rocksdb")]

mod crash;
#[cfg(feature = "laws")]
mod model;
#[cfg(target_os = "linux")]
mod power_loss;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use profiledb::{
    Batch, Builder, Change, CheckReport, Db, Durability, Kind, Limits, Profile, ProfileKey, TableReport, Timestamp,
    Update, Value, View,
};

use support::TempStore;

/// The clock of every store here.
const NOW: Timestamp = Timestamp::from_seconds(1_000);

fn builder() -> Builder {
    Db::builder()
        .durability(Durability::Buffered)
        .limits(Limits::unbounded())
        .block_cache_bytes(1 << 20)
        .memtable_bytes(1 << 20)
        .background_jobs(2)
        .clock(|| NOW)
}

fn temp_store() -> TempStore {
    TempStore::new(builder)
}

/// A plain fold of everything that was written: the oracle.
#[derive(Clone, Default)]
struct Folded(BTreeMap<ProfileKey, Profile>);

impl Folded {
    fn change(&mut self, key: &ProfileKey, change: &Change) {
        let before = self.0.remove(key);
        let after = match change {
            Change::Delete => None,
            Change::Update(update) if update.time().is_none() => Profile::update(before, &update.clone().at(NOW)),
            Change::Update(update) => Profile::update(before, update),
        };
        self.0.extend(after.map(|profile| (key.clone(), profile)));
    }

    /// Compares every profile of these kinds, through every way of reading.
    #[track_caller]
    fn check(&self, kinds: &[Kind], ids: &[&str], view: impl Fn(&Kind) -> profiledb::View) {
        for kind in kinds {
            let view = view(kind);
            let expected: Vec<Option<&Profile>> =
                ids.iter().map(|id| self.0.get(&ProfileKey::new(kind.clone(), *id).unwrap())).collect();
            let many = view.get_many(ids).unwrap();
            for ((id, expected), many) in ids.iter().zip(&expected).zip(&many) {
                same(*expected, many.as_ref(), kind, id);
                same(*expected, view.get(id).unwrap().as_ref(), kind, id);
                assert_eq!(view.contains(id).unwrap(), expected.is_some());
            }
            let scanned: Vec<(String, Profile)> = view.iter().map(|row| row.unwrap()).collect();
            let expected = self.0.iter().filter(|(key, _)| key.kind() == kind);
            assert_eq!(scanned.len(), expected.clone().count(), "a scan of {kind}");
            for ((key, expected), (id, seen)) in expected.zip(&scanned) {
                assert_eq!(key.id(), id, "a scan of {kind}");
                same(Some(expected), Some(seen), kind, id);
            }
        }
    }
}

#[track_caller]
fn same(expected: Option<&Profile>, seen: Option<&Profile>, kind: &Kind, id: &str) {
    let same = match (expected, seen) {
        (Some(expected), Some(seen)) => expected.is_identical(seen),
        (None, None) => true,
        _ => false,
    };
    assert!(same, "{kind} {id}\nexpected {expected:?}\n    seen {seen:?}");
}

fn table<'r>(report: &'r CheckReport, name: &str) -> &'r TableReport {
    assert!(report.is_sound(), "{report:?}");
    report.tables.iter().find(|table| table.table == name).unwrap()
}

fn users(db: &Db) -> TableReport {
    table(&db.check().unwrap(), "users").clone()
}

// ---------------------------------------------------------------------------------------------------------------------
// Pending operands in every mode

const IDS: [&str; 6] = ["ann", "bob", "cat", "dan", "eve", "nobody"];

fn kinds() -> [Kind; 3] {
    [Kind::User, Kind::group("company").unwrap(), Kind::group("team").unwrap()]
}

/// Changes of every kind with every operator. Different phases leave operands in files, memtables and the WAL.
fn history(phase: i64) -> Vec<(ProfileKey, Change)> {
    let mut changes = Vec::new();
    for kind in kinds() {
        for (n, id) in IDS.iter().take(5).enumerate() {
            let n = n as i64;
            let update = match (n + phase) % 5 {
                0 => Update::new().set("plan", format!("plan {phase}")).add("sum", 0.1).append("list", phase),
                1 => Update::new().add("sum", n).union("list", ["a", "b"]).set_once("once", phase),
                2 => Update::new().remove("list", "a").append("list", vec!["a", "b"]).add("sum", 0.2).ignore_time(),
                3 => Update::new().unset("plan").add("sum", 1).at(Timestamp::from_seconds(phase)),
                _ => Update::new().union("list", ["b", "c"]).unset("once").add("plan", 1),
            };
            changes.push((ProfileKey::new(kind.clone(), *id).unwrap(), Change::Update(update)));
        }
        changes.push((ProfileKey::new(kind.clone(), "nobody").unwrap(), Change::Update(Update::new().unset("plan"))));
        if phase == 3 {
            changes.push((ProfileKey::new(kind, "dan").unwrap(), Change::Delete));
        }
    }
    changes
}

/// Writes phases, one commit per change, with a flush after every second phase.
fn write(db: &Db, phases: std::ops::Range<i64>) {
    for phase in phases {
        for change in history(phase) {
            db.write(Batch::from_iter([change])).unwrap();
        }
        if phase % 2 == 0 {
            db.flush().unwrap();
        }
    }
}

fn folded(phases: std::ops::Range<i64>) -> Folded {
    let mut folded = Folded::default();
    phases.flat_map(history).for_each(|(key, change)| folded.change(&key, &change));
    folded
}

#[track_caller]
fn assert_folded(db: &Db, phases: i64) {
    folded(0..phases).check(&kinds(), &IDS, |kind| View::clone(&db.table(kind)));
    let snapshot = db.snapshot();
    folded(0..phases).check(&kinds(), &IDS, |kind| snapshot.table(kind));
}

/// Only while there are fewer than four files: from then on the engine may compact by itself.
fn assert_pending_everywhere(db: &Db) {
    let report = db.check().unwrap();
    for kind in kinds() {
        let table = table(&report, &kind.to_string());
        assert!(table.pending_operands >= 5, "nothing to fold in {kind}: {table:?}");
    }
}

#[test]
fn pending_operands_survive_a_clean_close() {
    let temp = temp_store();
    write(&temp.open(), 0..2);
    for phases in 2..6 {
        let db = temp.open();
        if phases < 4 {
            assert_pending_everywhere(&db);
        }
        assert_folded(&db, phases);
        write(&db, phases..phases + 1);
    }
    assert_folded(&temp.open(), 6);
}

#[test]
fn pending_operands_survive_an_abort() {
    let temp = temp_store();
    write(&temp.open(), 0..1);
    for phase in 1..5 {
        let ended = crash::child("abort", &temp.store(), &phase.to_string()).wait().unwrap();
        // A panic would have closed the store.
        assert!(ended.code().is_none(), "the child did not abort: {ended}");
        let db = temp.open();
        if phase < 3 {
            assert_pending_everywhere(&db);
        }
        assert_folded(&db, phase + 1);
    }
}

/// Runs in the child of the test above.
fn write_and_abort(store: &Path, phase: i64) {
    let db = builder().open(store).unwrap();
    for change in history(phase) {
        db.write(Batch::from_iter([change])).unwrap();
    }
    std::process::abort();
}

#[test]
fn pending_operands_fold_in_concurrent_readers() {
    let temp = temp_store();
    let db = temp.open();
    write(&db, 0..4);
    let reader = builder().open_read_only(temp.store()).unwrap();
    let secondary = builder().open_secondary(temp.store(), temp.path("scratch")).unwrap();
    assert_pending_everywhere(&reader);
    assert_folded(&reader, 4);
    assert_folded(&secondary, 4);
    write(&db, 4..5);
    assert_folded(&secondary, 4);
    secondary.catch_up().unwrap();
    assert_folded(&secondary, 5);
    let held = secondary.snapshot();
    db.compact().unwrap();
    write(&db, 5..6);
    secondary.catch_up().unwrap();
    assert_folded(&secondary, 6);
    folded(0..5).check(&kinds(), &IDS, |kind| held.table(kind));
    assert_folded(&reader, 4);
    assert_folded(&db, 6);
    let late = ProfileKey::group("late", "x").unwrap();
    db.write(Batch::from_iter([(late, Change::Update(Update::new().set("a", 1)))])).unwrap();
    secondary.catch_up().unwrap();
    assert!(secondary.groups("late").unwrap().contains("x").unwrap(), "a new table");
    for readers in [&reader, &secondary] {
        assert!(readers.users().update("ann", Update::new().set("x", 1)).unwrap_err().is_read_only());
    }
}

/// A writer deletes SST and WAL files while readers open. They must see all writes committed before the open, none of
/// them twice, and whole batches.
#[test]
fn readers_open_during_flushes_and_compactions() {
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    let temp = temp_store();
    // Duration of the last open of a reader, in microseconds.
    let opening = AtomicU64::new(20_000);
    let db = builder().memtable_bytes(64 << 10).fold_after(3).open(temp.store()).unwrap();
    let (written, done) = (AtomicI64::new(0), AtomicBool::new(false));
    let numbers = [ProfileKey::user("n").unwrap(), ProfileKey::group("company", "n").unwrap()];
    let write = || {
        let add = |key: &ProfileKey| (key.clone(), Change::Update(Update::new().add("n", 1)));
        db.write(numbers.iter().map(add).collect()).unwrap();
        written.fetch_add(1, Ordering::SeqCst);
    };
    write();
    let see = |reader: &Db, before: i64| {
        let seen = numbers.each_ref().map(|key| {
            let n = reader.table(key.kind()).get_property(key.id(), "n").unwrap();
            n.and_then(|n| n.as_i64()).unwrap()
        });
        let after = written.load(Ordering::SeqCst) + 1;
        assert_eq!(seen[0], seen[1], "a partial batch");
        assert!((before..=after).contains(&seen[0]), "{before}..={after} {seen:?}");
    };
    struct Stop<'d>(&'d AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    std::thread::scope(|scope| {
        let _stop = Stop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                (0..20).for_each(|_| write());
                db.flush().unwrap();
                db.compact().unwrap();
                // As often as possible, but with pauses long enough for an open to succeed.
                std::thread::sleep(Duration::from_micros(opening.load(Ordering::SeqCst)));
            }
        });
        let secondary = builder().open_secondary(temp.store(), temp.path("scratch")).unwrap();
        for _ in 0..40 {
            let started = Instant::now();
            let before = written.load(Ordering::SeqCst);
            see(&builder().open_read_only(temp.store()).unwrap(), before);
            let before = written.load(Ordering::SeqCst);
            secondary.catch_up().unwrap();
            see(&secondary, before);
            opening.store(started.elapsed().as_micros() as u64, Ordering::SeqCst);
        }
    });
}

#[test]
fn pending_operands_are_restored_from_a_backup() {
    let temp = temp_store();
    let db = temp.open();
    write(&db, 0..4);
    db.backup(temp.path("backups")).unwrap();
    write(&db, 4..6);
    Db::restore(temp.path("backups"), temp.path("restored")).unwrap();
    let restored = builder().open(temp.path("restored")).unwrap();
    assert_pending_everywhere(&restored);
    assert_folded(&restored, 4);
    write(&restored, 4..6);
    assert_folded(&restored, 6);
    assert_folded(&builder().open_read_only(temp.path("restored")).unwrap(), 6);
    assert_folded(&db, 6);
}

// ---------------------------------------------------------------------------------------------------------------------
// Snapshots, compaction, deletion

#[test]
fn a_snapshot_does_not_change_through_flush_and_compaction() {
    let temp = temp_store();
    let db = builder().fold_after(3).open(temp.store()).unwrap();
    let users = db.users();
    users.update("ann", Update::new().set("plan", "free").add("n", 1)).unwrap();
    let held = db.snapshot();
    let expected = users.get("ann").unwrap();
    for round in 0..3 {
        for n in 0..5 {
            users.update("ann", Update::new().set("plan", "pro").add("n", 1)).unwrap();
            users.update("new", Update::new().add("n", n)).unwrap();
        }
        db.flush().unwrap();
        db.compact().unwrap();
        assert_eq!(held.users().get("ann").unwrap(), expected);
        assert_eq!(held.users().get("new").unwrap(), None);
        assert_eq!(held.users().iter().count(), 1);
        assert_eq!(users.get_property("ann", "plan").unwrap(), Some("pro".into()));
        assert_eq!(users.get_property("ann", "n").unwrap(), Some((6 + 5 * round).into()));
    }
    users.delete("ann").unwrap();
    db.compact().unwrap();
    assert_eq!(held.users().get("ann").unwrap(), expected, "also after the profile was deleted");
    users.update("ann", Update::new().add("n", 1)).unwrap();
    db.compact().unwrap();
    assert_eq!(held.users().get("ann").unwrap(), expected);
    drop(held);
    db.compact().unwrap();
    let table = self::users(&db);
    assert_eq!((table.pending_operands, table.profiles, table.absent_rows), (0, 2, 0));
}

/// The files of these keys do not overlap, so a compaction that is not forced would move them down unread.
#[test]
fn compaction_folds_files_that_do_not_overlap() {
    let temp = temp_store();
    let db = temp.open();
    for id in ["a", "b", "f"] {
        db.users().update(id, Update::new().add("n", 1)).unwrap();
        db.flush().unwrap();
    }
    assert_eq!(users(&db).pending_operands, 3);
    db.compact().unwrap();
    assert_eq!(users(&db).pending_operands, 0);
    // The same again, onto the rows at the bottom level.
    for id in ["a", "f"] {
        db.users().update(id, Update::new().add("n", 1)).unwrap();
        db.flush().unwrap();
    }
    db.compact().unwrap();
    let table = users(&db);
    assert_eq!((table.pending_operands, table.profiles), (0, 3));
    assert_eq!(db.users().get_property("f", "n").unwrap(), Some(2.into()));
}

#[test]
fn compaction_folds_every_table() {
    let temp = temp_store();
    let db = temp.open();
    write(&db, 0..5);
    db.compact().unwrap();
    for kind in kinds() {
        assert_eq!(table(&db.check().unwrap(), &kind.to_string()).pending_operands, 0, "{kind}");
    }
    assert_folded(&db, 5);
}

#[test]
fn the_space_of_a_deleted_profile_is_reclaimed() {
    let temp = temp_store();
    let db = temp.open();
    for n in 0..200 {
        let update = Update::new().append("l", "x".repeat(1_000)).set("n", n);
        db.users().update(&format!("user-{}", n % 10), update).unwrap();
        if n % 50 == 0 {
            db.flush().unwrap();
        }
    }
    db.compact().unwrap();
    assert!(users(&db).row_bytes > 200_000);
    for n in 0..10 {
        // The delete also covers earlier operands, in memtables and in files.
        db.users().update(&format!("user-{n}"), Update::new().add("n", 1)).unwrap();
        db.users().delete(&format!("user-{n}")).unwrap();
    }
    let table = users(&db);
    assert_eq!((table.profiles, table.absent_rows, table.pending_operands, table.row_bytes), (0, 0, 0, 0));
    db.compact().unwrap();
    let table = users(&db);
    assert_eq!((table.profiles, table.absent_rows, table.pending_operands, table.row_bytes), (0, 0, 0, 0));
    assert_eq!(db.stats().tables[0].sst_bytes, 0, "{:?}", db.stats().tables);
    // The chain starts from nothing: no property of the old profile is left.
    db.users().update("user-1", Update::new().add("n", 1)).unwrap();
    assert_eq!(db.users().get("user-1").unwrap().unwrap().properties().len(), 1);
    assert_eq!(db.users().get_property("user-1", "n").unwrap(), Some(1.into()));
}

#[test]
fn a_delete_within_a_batch_applies_in_order() {
    let temp = temp_store();
    let db = temp.open();
    let key = ProfileKey::user("ann").unwrap();
    for file in [false, true] {
        let mut batch = Batch::new();
        batch.change(key.clone(), Update::new().set("old", 1));
        batch.change(key.clone(), Change::Delete);
        batch.change(key.clone(), Update::new().add("n", 1));
        batch.change(key.clone(), Update::new().add("n", 2));
        db.write(batch).unwrap();
        if file {
            db.flush().unwrap();
        }
        let ann = db.users().get("ann").unwrap().unwrap();
        assert_eq!((ann.get("old"), ann.get("n")), (None, Some(&3.into())));
        let mut batch = Batch::new();
        batch.change(key.clone(), Update::new().set("old", 1));
        batch.change(key.clone(), Change::Delete);
        batch.change(key.clone(), Update::new().unset("n"));
        db.write(batch).unwrap();
        assert_eq!(db.users().get("ann").unwrap(), None);
        assert_eq!(users(&db).absent_rows, 0, "a row that is absent in the end is not written");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Composition

/// A counter takes a few bytes after any number of increments, and the sum is exact.
#[test]
fn a_million_adds_are_a_few_bytes() {
    for fold_after in [0, 500] {
        let temp = temp_store();
        let db = builder().fold_after(fold_after).memtable_bytes(64 << 20).open(temp.store()).unwrap();
        let table = db.users();
        let mut last = None;
        for n in 0..1_000_000 {
            // Every four add 0.1.
            let amount = [1.0, 0.1, -0.5, -0.5][n % 4];
            last = Some(table.submit("hot", Update::new().add("n", amount)).unwrap());
        }
        last.unwrap().wait().unwrap();
        db.flush().unwrap();
        let hot = users(&db);
        assert!(hot.row_bytes <= 64 && hot.pending_operands <= 1, "fold_after={fold_after} {hot:?}");
        // A file of one key with one operand, plus the overhead of a file.
        assert!(db.stats().tables[0].sst_bytes < 4_096, "{:?}", db.stats().tables);
        let n = table.get_property("hot", "n").unwrap().unwrap();
        assert_eq!(n.to_string(), "25000.0", "summed exactly and rounded once; doubles alone drift");
        let writes = db.stats().writes;
        assert_eq!(writes.changes, 1_000_000);
        assert!(writes.keys < writes.changes / 10, "the leader composes: {writes:?}");
    }
}

#[test]
fn a_tenth_added_ten_times_is_one() {
    let temp = temp_store();
    let db = temp.open();
    for n in 0..10 {
        db.users().update("ann", Update::new().add("n", 0.1)).unwrap();
        if n % 3 == 0 {
            db.flush().unwrap();
        }
    }
    let text = |db: &Db| serde_json::to_string(&db.users().get_property("ann", "n").unwrap().unwrap()).unwrap();
    assert_eq!(text(&db), "1.0");
    db.compact().unwrap();
    assert_eq!(text(&db), "1.0");
}

/// The submits and updates of one thread commit in program order, also when other threads lead the commit group.
#[test]
fn submits_and_updates_of_a_thread_keep_their_order() {
    let temp = temp_store();
    let db = temp.open();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let table = db.users();
            scope.spawn(move || {
                for n in 0..20_000 {
                    table.update(&format!("leader-{thread}"), Update::new().set("n", n)).unwrap();
                }
            });
            let table = db.users();
            scope.spawn(move || {
                let id = format!("user-{thread}");
                for n in 0..10_000_i64 {
                    drop(table.submit(&id, Update::new().set("n", 2 * n)).unwrap());
                    table.update(&id, Update::new().set("n", 2 * n + 1)).unwrap();
                    assert_eq!(table.get_property(&id, "n").unwrap(), Some(Value::from(2 * n + 1)));
                }
            });
        }
    });
}
