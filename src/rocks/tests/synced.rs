//! The record of how far logs were synced covers what was acknowledged.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::tempdir;

use super::super::engine::Engine;
use super::super::file_names;
use super::super::synced::{self, SyncedRecord};
use super::{create, files};

/// Whether the record has the length that each log has.
fn covers(path: &Path) -> bool {
    let SyncedRecord::Lengths(recorded) = synced::read(path).unwrap() else { return false };
    files(path, ".log").iter().all(|log| {
        let number: u64 = log.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        recorded.logs.get(&number).copied().unwrap_or(0) == fs::metadata(log).unwrap().len()
    })
}

fn commit(engine: &Engine, value: &str) {
    let mut batch = engine.batch();
    batch.put("users", b"ann", value.as_bytes()).unwrap();
    batch.commit(true).unwrap();
}

/// A MANIFEST that is cut at an edit that was durable is noticed only if its length was recorded after that edit.
#[test]
fn every_verb_that_changes_the_manifest_records_its_length() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    let is_recorded = || {
        let SyncedRecord::Lengths(recorded) = synced::read(&path).unwrap() else { return false };
        let (number, manifest) = file_names::current(&path).unwrap();
        recorded.manifest == (number, fs::metadata(manifest).unwrap().len())
    };
    assert!(is_recorded(), "open and create_family");
    engine.create_family("events").unwrap();
    assert!(is_recorded(), "create_family");
    engine.drop_family("events").unwrap();
    assert!(is_recorded(), "drop_family");
    commit(&engine, "1");
    engine.flush().unwrap();
    assert!(is_recorded(), "flush");
    engine.compact("users").unwrap();
    assert!(is_recorded(), "compact");
}

#[test]
fn a_commit_stays_recorded_while_others_sync() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("store");
    let engine = create(&path);
    let stop = AtomicBool::new(false);
    let covered = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                engine.sync().unwrap();
            }
        });
        let covered = (0..400).all(|n| {
            if n % 100 == 50 {
                engine.flush().unwrap();
            }
            commit(&engine, "1");
            // A sync that began before the commit ends.
            (0..n % 7 * 50).for_each(|_| std::thread::yield_now());
            covers(&path)
        });
        stop.store(true, Ordering::Relaxed);
        covered
    });
    assert!(covered);
}
