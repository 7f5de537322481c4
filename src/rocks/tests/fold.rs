//! The merge operator: counters, panics, pending operands.

use std::ops::Bound::Unbounded;

use tempfile::tempdir;

use super::super::engine::{Engine, Mode};
use super::super::merge_operator::{MergeOperator, PendingOperands, probe_folds};
use super::super::scan::ReadHint;
use super::{CREATE, POISON, VENOM, WRITE, create, get, merge, open, put, small, strict};

#[test]
fn a_panic_in_a_fold_loses_neither_the_base_nor_the_operands() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    put(&engine, "ann", "base");
    engine.flush().unwrap();
    merge(&engine, "ann", "1");
    merge(&engine, "ann", POISON);
    assert_eq!(get(&engine, "ann").unwrap(), "base!1<poison>");
    engine.flush().unwrap();
    assert_eq!(get(&engine, "ann").unwrap(), "base!1<poison>");
    merge(&engine, "bob", "later");
    engine.compact("users").unwrap();
    assert_eq!(get(&engine, "ann").unwrap(), "base!1<poison>");
    assert!(engine.merge_counts().panics >= 3, "{:?}", engine.merge_counts());
    merge(&engine, "ann", "2");
    drop(engine);
    let engine = open(dir.path(), WRITE);
    merge(&engine, "ann", "3");
    assert_eq!(get(&engine, "ann").unwrap(), "base!1<poison>23");
    assert_eq!(get(&engine, "bob").unwrap(), "later");
    let health = engine.health();
    assert!(health.failure.is_none() && health.background_errors == 0 && !health.write_stopped);
}

#[test]
fn a_store_opens_although_a_fold_panics_during_recovery() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    put(&engine, "ann", "base");
    merge(&engine, "ann", POISON);
    drop(engine);
    for _ in 0..2 {
        assert_eq!(get(&open(dir.path(), WRITE), "ann").unwrap(), "base!<poison>");
    }
}

#[test]
fn if_the_fallback_panics_as_well_the_base_is_kept() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    put(&engine, "ann", "base");
    merge(&engine, "ann", VENOM);
    merge(&engine, "bob", VENOM);
    assert_eq!(get(&engine, "ann").unwrap(), "base");
    assert_eq!(get(&engine, "bob").unwrap(), "");
    engine.flush().unwrap();
    engine.compact("users").unwrap();
    merge(&engine, "ann", "1");
    assert_eq!(get(&engine, "ann").unwrap(), "base1");
}

#[test]
fn operands_keep_their_order_through_flush_and_compaction() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    let mut expected = String::new();
    for round in 0..6 {
        for step in 0..5 {
            let operand = format!("{round}{step},");
            merge(&engine, "ann", &operand);
            expected.push_str(&operand);
        }
        engine.flush().unwrap();
        assert_eq!(get(&engine, "ann").unwrap(), expected);
    }
    assert!(engine.merge_counts().partial > 0, "flush composes");
    engine.compact("users").unwrap();
    assert_eq!(get(&engine, "ann").unwrap(), expected);
}

#[test]
fn a_probe_reports_the_pending_operands_of_each_key() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    put(&engine, "ann", "row");
    for _ in 0..3 {
        merge(&engine, "bob", "22");
    }
    put(&engine, "cat", "row");
    merge(&engine, "cat", "1");
    let walk = || {
        let mut scan = engine.snapshot().scan("users", Unbounded, Unbounded, ReadHint::ShortRange);
        probe_folds(|probe| {
            let mut seen = Vec::new();
            while scan.next().unwrap().is_some() {
                let PendingOperands { operands, bytes } = probe.take();
                seen.push((operands, bytes));
            }
            seen
        })
    };
    assert_eq!(walk(), [(0, 0), (3, 6), (1, 1)]);
    let read = probe_folds(|probe| {
        get(&engine, "bob").unwrap();
        let bob = probe.take();
        get(&engine, "ann").unwrap();
        (bob.operands, probe.take().operands)
    });
    assert_eq!(read, (3, 0));
    // Forced: otherwise the files would be moved to the bottom level unread.
    engine.compact("users").unwrap();
    assert_eq!(walk(), [(0, 0), (0, 0), (0, 0)]);
}

#[test]
fn operands_are_folded_across_a_snapshot_only_once_it_is_dropped() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    merge(&engine, "ann", "1");
    let snapshot = engine.snapshot();
    merge(&engine, "ann", "2");
    engine.compact("users").unwrap();
    let pending = || {
        probe_folds(|probe| {
            get(&engine, "ann").unwrap();
            probe.take().operands
        })
    };
    assert_eq!(pending(), 1);
    drop(snapshot);
    engine.compact("users").unwrap();
    assert_eq!(pending(), 0);
    assert_eq!(get(&engine, "ann").unwrap(), "12");
}

/// The operator of every store, with an operand that makes its folds panic.
const REAL: MergeOperator = MergeOperator {
    full: |base, operands| {
        strict(operands);
        (MergeOperator::PROFILE.full)(base, operands)
    },
    partial: |operands| {
        strict(operands);
        (MergeOperator::PROFILE.partial)(operands)
    },
    keep: MergeOperator::PROFILE.keep,
};

fn count(engine: &Engine) -> (i64, Vec<Vec<u8>>) {
    let profile = engine.read("users", b"ann", |row| crate::merge::profile(row.unwrap())).unwrap().unwrap().unwrap();
    let logins = (0..100).find(|number| profile.get("logins") == Some(&(*number).into())).unwrap();
    (logins, profile.quarantine().to_vec())
}

#[test]
fn every_column_family_has_the_real_operator() {
    let dir = tempdir().unwrap();
    let login = crate::merge::operand(&crate::Update::new().add("logins", 1));
    for round in 1..=3 {
        let engine = Engine::open(dir.path(), CREATE, &small()).unwrap();
        engine.create_family("users").unwrap();
        merge(&engine, "ann", &login);
        merge(&engine, "ann", b"not an operand at all");
        merge(&engine, "ann", &login);
        let expected = (round * 2, vec![b"not an operand at all".to_vec(); usize::try_from(round).unwrap()]);
        assert_eq!(count(&engine), expected);
        engine.flush().unwrap();
        assert_eq!(count(&engine), expected);
        if round == 2 {
            engine.compact("users").unwrap();
            assert_eq!(count(&engine), expected);
        }
        let reader = Engine::open(dir.path(), Mode::ReadOnly, &small()).unwrap();
        assert_eq!(count(&reader), expected);
        assert_eq!(engine.merge_counts().panics, 0);
    }
}

#[test]
fn a_panic_in_the_real_fold_loses_no_update() {
    let dir = tempdir().unwrap();
    let login = crate::merge::operand(&crate::Update::new().add("logins", 1));
    let engine = Engine::open_with(dir.path(), CREATE, &small(), REAL).unwrap();
    engine.create_family("users").unwrap();
    merge(&engine, "ann", &login);
    engine.compact("users").unwrap();
    merge(&engine, "ann", &login);
    merge(&engine, "ann", POISON);
    let expected = (1, vec![login.clone(), POISON.to_vec()]);
    assert_eq!(count(&engine), expected);
    engine.flush().unwrap();
    engine.compact("users").unwrap();
    assert_eq!(count(&engine), expected);
    merge(&engine, "ann", &login);
    drop(engine);
    let engine = Engine::open(dir.path(), WRITE, &small()).unwrap();
    merge(&engine, "ann", &login);
    assert_eq!(count(&engine), (3, expected.1));
}
