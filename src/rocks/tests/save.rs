//! Batches, failed writes, statistics, backups.

use std::fs;

use tempfile::tempdir;

use super::super::backup::{backup, backups, restore};
use super::super::engine::Mode;
use super::{CREATE, WRITE, contents, create, files, get, merge, open, put, try_open};
use crate::error::ErrorKind;

#[test]
fn a_batch_for_a_dropped_family_does_not_poison_the_store() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    engine.create_family("meta").unwrap();
    let mut batch = engine.batch();
    batch.merge("users", b"ann", b"1").unwrap();
    batch.merge("meta", b"k", b"1").unwrap();
    batch.merge("users", b"bob", b"1").unwrap();
    engine.drop_family("users").unwrap();
    batch.commit(true).unwrap();
    let mut batch = engine.batch();
    batch.merge("meta", b"k", b"2").unwrap();
    batch.commit(true).unwrap();
    drop(engine);
    let engine = open(dir.path(), WRITE);
    assert_eq!(engine.read("meta", b"k", super::text).unwrap().unwrap(), "12");
}

#[test]
fn a_range_delete_is_part_of_its_batch() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    for key in ["a", "b", "c", "d"] {
        put(&engine, key, key);
        engine.flush().unwrap();
    }
    let before = engine.snapshot();
    let mut batch = engine.batch();
    batch.delete_range("users", b"b", b"d").unwrap();
    batch.put("users", b"c", b"again").unwrap();
    batch.delete_range("users", b"d", b"d").unwrap();
    batch.commit(false).unwrap();
    for _ in 0..2 {
        let found = ["a", "b", "c", "d"].map(|key| get(&engine, key));
        assert_eq!(found, [Some("a".into()), None, Some("again".into()), Some("d".into())]);
        assert_eq!(before.read("users", b"b", super::text).unwrap().as_deref(), Some("b"));
        engine.compact("users").unwrap();
    }
    let mut batch = engine.batch();
    assert_eq!(batch.delete_range("nowhere", b"a", b"b").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_approximate_size_of_a_range_counts_files_only() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    // Incompressible.
    let mut seed = 1_u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (seed >> 24) as u8 % 90)
    };
    for n in 0..1_000 {
        let value: String = (0..1_000).map(|_| noise()).collect();
        put(&engine, &format!("{n:04}"), &value);
    }
    let ranges: [(&[u8], &[u8]); 3] = [(b"0", b"1"), (b"0000", b"0500"), (b"5", b"6")];
    assert_eq!(engine.approximate_bytes("nowhere", &ranges), [0, 0, 0]);
    assert_eq!(engine.approximate_bytes("users", &ranges), [0, 0, 0], "memtables are not counted");
    assert!(engine.family_stats("users").memtable_bytes > 1_000_000);
    engine.flush().unwrap();
    let sizes = engine.approximate_bytes("users", &ranges);
    assert!(sizes[0] > 700_000 && (sizes[0] / 3..sizes[0] * 2 / 3).contains(&sizes[1]), "{sizes:?}");
    assert_eq!(sizes[2], 0);
}

#[test]
fn an_empty_batch_is_fine() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    engine.batch().commit(false).unwrap();
    engine.batch().commit(true).unwrap();
    engine.sync().unwrap();
}

#[test]
fn after_a_failed_flush_the_engine_is_read_only() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    put(&engine, "ann", "1");
    assert!(engine.health().failure.is_none());
    fs::rename(&path, dir.path().join("away")).unwrap();
    let error = engine.flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
    let mut batch = engine.batch();
    batch.put("users", b"bob", b"2").unwrap();
    let error = batch.commit(true).unwrap_err();
    assert!(error.is_read_only(), "{error:?}");
    assert_eq!(engine.health().failure.unwrap().kind(), ErrorKind::Io);
    assert_eq!(get(&engine, "ann").unwrap(), "1");
    drop(engine);
    fs::rename(dir.path().join("away"), &path).unwrap();
    let engine = open(&path, WRITE);
    assert_eq!(get(&engine, "ann").unwrap(), "1");
    put(&engine, "bob", "2");
}

#[test]
fn statistics_of_a_column_family() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    for number in 0..100 {
        put(&engine, &number.to_string(), "value");
    }
    let stats = engine.family_stats("users");
    assert_eq!((stats.keys_estimate, stats.sst_bytes), (100, 0));
    assert!(stats.memtable_bytes > 0);
    engine.flush().unwrap();
    let stats = engine.family_stats("users");
    assert!(stats.sst_bytes > 0);
    assert_eq!(stats.files_per_level.len(), 7);
    assert_eq!(stats.files_per_level[0], 1);
    engine.compact("users").unwrap();
    assert_eq!(engine.family_stats("users").files_per_level, [0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_backup_is_restored() {
    let dir = tempdir().unwrap();
    let (store, saved, target) = (dir.path().join("store"), dir.path().join("saved"), dir.path().join("target"));
    let engine = create(&store);
    put(&engine, "ann", "1");
    merge(&engine, "ann", "2");
    let first = backup(&engine, &saved).unwrap();
    merge(&engine, "ann", "3");
    let second = backup(&engine, &saved).unwrap();
    merge(&engine, "ann", "4");
    assert_eq!((first.id, second.id), (1, 2));
    assert!(first.bytes > Some(0) && first.timestamp > Some(1_600_000_000));
    assert_eq!(backups(&saved).unwrap(), [first.clone(), second.clone()]);

    assert_eq!(restore(&saved, None, &target).unwrap(), second);
    let restored = open(&target, WRITE);
    assert_eq!(restored.families(), ["users"]);
    assert_eq!(get(&restored, "ann").unwrap(), "123");
    merge(&restored, "ann", "5");
    drop(restored);
    assert_eq!(get(&open(&target, WRITE), "ann").unwrap(), "1235");

    fs::create_dir(dir.path().join("old")).unwrap();
    assert_eq!(restore(&saved, Some(1), &dir.path().join("old")).unwrap(), first);
    assert_eq!(get(&open(&dir.path().join("old"), WRITE), "ann").unwrap(), "12");
    assert!(restore(&saved, Some(9), &dir.path().join("none")).unwrap_err().is_not_found());
    assert!(!dir.path().join("none").exists());
}

#[test]
fn backups_and_stores_are_not_confused() {
    let dir = tempdir().unwrap();
    let (store, saved, foreign) = (dir.path().join("store"), dir.path().join("saved"), dir.path().join("foreign"));
    let engine = create(&store);
    put(&engine, "ann", "1");
    backup(&engine, &saved).unwrap();
    assert!(backup(&engine, &store).unwrap_err().is_invalid());
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "chapter one").unwrap();
    assert!(backup(&engine, &foreign).unwrap_err().is_invalid());
    assert!(restore(&saved, None, &foreign).unwrap_err().is_invalid());
    assert_eq!(contents(&foreign).len(), 1);
    assert!(restore(&saved, None, &store).unwrap_err().is_invalid());
    assert!(restore(&store, None, &dir.path().join("target")).unwrap_err().is_invalid());
    assert!(backups(&dir.path().join("none")).unwrap_err().is_not_found());
    let before = contents(&saved);
    for mode in [CREATE, WRITE, Mode::ReadOnly] {
        assert!(try_open(&saved, mode).err().unwrap().is_invalid());
    }
    assert_eq!(contents(&saved), before);
    let reader = open(&store, Mode::ReadOnly);
    assert!(backup(&reader, &saved).unwrap_err().is_read_only());

    fs::write(saved.join("PROFILEDB"), "profiledb backup\nformat 1\noperators 2\n").unwrap();
    let target = dir.path().join("target");
    assert!(restore(&saved, None, &target).unwrap_err().is_corrupt());
    assert!(!target.exists());
}

#[test]
fn a_damaged_backup_is_not_restored() {
    let dir = tempdir().unwrap();
    let (saved, target) = (dir.path().join("saved"), dir.path().join("target"));
    let engine = create(&dir.path().join("store"));
    put(&engine, "ann", &"value".repeat(1000));
    backup(&engine, &saved).unwrap();
    let table = files(&saved.join("shared_checksum"), ".sst").pop().unwrap();
    let good = fs::read(&table).unwrap();
    let mut bad = good.clone();
    bad[10] ^= 1;
    fs::write(&table, bad).unwrap();
    let error = restore(&saved, None, &target).unwrap_err();
    assert!(error.is_corrupt(), "{error:?}");
    assert!(!target.exists(), "a failed restore leaves nothing");
    fs::write(&table, &good[..good.len() - 1]).unwrap();
    let other = dir.path().join("other");
    assert!(restore(&saved, None, &other).unwrap_err().is_corrupt());
    assert!(!other.exists());
    fs::remove_file(&table).unwrap();
    let none = dir.path().join("none");
    assert!(restore(&saved, None, &none).is_err());
    assert!(!none.exists());
}
