//! Reads, snapshots, scans.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use rocksdb::perf::{self, PerfContext, PerfMetric, PerfStatsLevel};
use tempfile::tempdir;

use super::super::engine::{Engine, Mode};
use super::super::options::EngineSettings;
use super::super::scan::{EngineScan, ReadHint};
use super::super::snapshot::EngineSnapshot;
use super::{CREATE, TEXT, WRITE, create, files, get, merge, open, put, small, text};

fn collect(scan: &mut EngineScan) -> Vec<String> {
    let mut rows = Vec::new();
    while let Some((key, value)) = scan.next().unwrap() {
        rows.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
    }
    assert!(scan.next().unwrap().is_none(), "an ended scan stays ended");
    rows
}

fn all(snapshot: &EngineSnapshot) -> Vec<String> {
    collect(&mut snapshot.scan("users", Unbounded, Unbounded, ReadHint::FullScan))
}

#[test]
fn batched_reads_return_values_in_the_order_of_the_keys() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    for number in 0..3000 {
        merge(&engine, &format!("key{number:04}"), format!("{number}"));
        if number == 1500 {
            engine.flush().unwrap();
        }
    }
    let keys: Vec<String> = (0..3000).rev().map(|number| format!("key{number:04}")).collect();
    let answers = engine.read_many("users", &keys, |at, value| (at, text(value))).unwrap();
    for (position, number) in (0..3000).rev().enumerate() {
        assert_eq!(answers[position], (position, Some(number.to_string())));
    }
    let keys: [&[u8]; 5] = [b"key0007", b"none", b"key0003", b"key0007", b""];
    let answers = engine.read_many("users", &keys, |_, value| text(value)).unwrap();
    assert_eq!(answers, [Some("7".into()), None, Some("3".into()), Some("7".into()), None]);
    assert!(engine.read_many("users", &[] as &[&[u8]], |_, _| ()).unwrap().is_empty());
}

#[test]
fn a_filter_of_an_eleventh_of_the_cache_stays_in_it() {
    let dir = tempdir().unwrap();
    // All keys are in one file, whose filter has 750 KB.
    let settings = EngineSettings { block_cache_bytes: 8 << 20, memtable_bytes: 256 << 20, ..small() };
    let engine = Engine::open_with(dir.path(), CREATE, &settings, TEXT).map(Arc::new).unwrap();
    engine.create_family("users").unwrap();
    let keys: Vec<String> = (0..600_000).map(|number| format!("key{number}")).collect();
    for keys in keys.chunks(10_000) {
        let mut batch = engine.batch();
        keys.iter().for_each(|key| batch.put("users", key.as_bytes(), b"").unwrap());
        batch.commit(false).unwrap();
    }
    // Filters of level 0 stay in it whatever their size.
    engine.compact("users").unwrap();

    perf::set_perf_stats(PerfStatsLevel::EnableCount);
    let mut context = PerfContext::default();
    let mut reads = [0; 2];
    for count in &mut reads {
        context.reset();
        assert!(get(&engine, "key7").is_some());
        *count = context.metric(PerfMetric::BlockReadCount);
    }
    perf::set_perf_stats(PerfStatsLevel::Disable);
    assert!(reads[0] > 0, "the first read is not from the cache: {reads:?}");
    assert_eq!(reads[1], 0, "blocks are read from the file again");
}

#[test]
fn a_missing_family_reads_as_empty_and_refuses_writes() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    assert_eq!(engine.read("group:company", b"acme", text).unwrap(), None);
    assert_eq!(
        engine.read_many("group:company", &["a", "b"], |at, value| (at, value.is_some())).unwrap(),
        [(0, false), (1, false)]
    );
    let mut scan = engine.snapshot().scan("group:company", Unbounded, Unbounded, ReadHint::FullScan);
    assert!(scan.next().unwrap().is_none());
    scan.seek(b"a");
    assert!(scan.next().unwrap().is_none());
    engine.compact("group:company").unwrap();
    assert_eq!(engine.family_stats("group:company").keys_estimate, 0);
    assert!(engine.batch().merge("group:company", b"acme", b"1").unwrap_err().is_not_found());
}

#[test]
fn an_empty_value_is_a_value() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    put(&engine, "ann", "");
    assert_eq!(get(&engine, "ann").unwrap(), "");
    assert_eq!(engine.read_many("users", &["ann"], |_, value| value.is_some()).unwrap(), [true]);
    merge(&engine, "ann", "1");
    assert_eq!(get(&engine, "ann").unwrap(), "1");
}

#[test]
fn a_snapshot_does_not_change() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    put(&engine, "ann", "1");
    merge(&engine, "bob", "1");
    let snapshot = engine.snapshot();
    let early = snapshot.clone();
    let sequence = snapshot.sequence();
    let mut scan = snapshot.scan("users", Unbounded, Unbounded, ReadHint::ShortRange);
    merge(&engine, "ann", "2");
    let mut batch = engine.batch();
    batch.delete("users", b"bob").unwrap();
    batch.put("users", b"cat", b"3").unwrap();
    batch.commit(true).unwrap();
    let check = || {
        assert_eq!(all(&snapshot), ["ann=1", "bob=1"]);
        assert_eq!(snapshot.read("users", b"ann", text).unwrap().unwrap(), "1");
        let many = snapshot.read_many("users", &["cat", "bob"], |_, value| text(value)).unwrap();
        assert_eq!(many, [None, Some("1".into())]);
    };
    check();
    engine.flush().unwrap();
    check();
    engine.compact("users").unwrap();
    check();
    assert_eq!(snapshot.sequence(), sequence);
    assert_eq!(collect(&mut scan), ["ann=1", "bob=1"]);
    assert_eq!(all(&engine.snapshot()), ["ann=12", "cat=3"]);
    engine.drop_family("users").unwrap();
    // A scan keeps a dropped family readable. A snapshot does not, and says so, also when there is a new one.
    drop((scan, snapshot));
    let early = std::thread::spawn(move || early.read("users", b"ann", text)).join().unwrap();
    assert!(early.unwrap_err().is_not_found());
    let late = engine.snapshot();
    assert_eq!(late.read("users", b"ann", text).unwrap(), None);
    engine.create_family("users").unwrap();
    assert_eq!(late.read("users", b"ann", text).unwrap(), None);
}

#[test]
fn a_scan_outlives_its_family_and_every_other_owner() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    for key in ["a", "b", "c"] {
        put(&engine, key, "1");
    }
    let mut scan = engine.snapshot().scan("users", Unbounded, Unbounded, ReadHint::ShortRange);
    assert!(scan.next().unwrap().is_some());
    engine.drop_family("users").unwrap();
    drop(engine);
    assert_eq!(collect(&mut scan), ["b=1", "c=1"]);
    drop(scan);
    assert!(open(dir.path(), WRITE).families().is_empty());
}

#[test]
fn bounds_and_seeks() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    for key in ["a", "b", "b\0", "c", "d"] {
        put(&engine, key, "");
    }
    let snapshot = engine.snapshot();
    let keys = |from: Bound<&[u8]>, to: Bound<&[u8]>| {
        let short = collect(&mut snapshot.scan("users", from, to, ReadHint::ShortRange));
        for hint in [ReadHint::LongRange, ReadHint::FullScan] {
            assert_eq!(collect(&mut snapshot.scan("users", from, to, hint)), short);
        }
        short.iter().map(|row| row.trim_end_matches('=').to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(Included(b"b"), Excluded(b"d")), ["b", "b\0", "c"]);
    assert_eq!(keys(Excluded(b"b"), Included(b"d")), ["b\0", "c", "d"]);
    assert_eq!(keys(Unbounded, Included(b"b")), ["a", "b"]);
    assert_eq!(keys(Included(b"bb"), Unbounded), ["c", "d"]);
    assert!(keys(Included(b"c"), Excluded(b"c")).is_empty());
    assert!(keys(Included(b"d"), Excluded(b"a")).is_empty());

    let mut scan = snapshot.scan("users", Included(b"b"), Excluded(b"d"), ReadHint::ShortRange);
    scan.seek(b"c");
    assert_eq!(scan.next().unwrap().unwrap().0, b"c");
    assert!(scan.next().unwrap().is_none());
    scan.seek(b"a");
    assert_eq!(scan.next().unwrap().unwrap().0, b"b", "not before the lower bound");
    scan.seek(b"b");
    assert_eq!(scan.next().unwrap().unwrap().0, b"b");
    scan.seek(b"z");
    assert!(scan.next().unwrap().is_none());
}

#[test]
fn a_scan_that_failed_is_not_a_scan_that_ended() {
    let dir = tempdir().unwrap();
    let engine = create(dir.path());
    let noise = |number: u32| -> String {
        let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            char::from(b'a' + (state % 26) as u8)
        };
        (0..1000).map(|_| next()).collect()
    };
    for number in 0..500 {
        put(&engine, &format!("key{number:04}"), &noise(number));
    }
    engine.compact("users").unwrap();
    drop(engine);
    let table = files(dir.path(), ".sst").pop().unwrap();
    let mut file = OpenOptions::new().write(true).open(&table).unwrap();
    file.seek(SeekFrom::Start(100_000)).unwrap();
    file.write_all(&[0; 64]).unwrap();
    let engine = open(dir.path(), WRITE);
    let mut scan = engine.snapshot().scan("users", Unbounded, Unbounded, ReadHint::FullScan);
    let mut rows = 0;
    let error = loop {
        match scan.next() {
            Ok(Some(_)) => rows += 1,
            Ok(None) => panic!("the scan claims to have ended after {rows} rows"),
            Err(error) => break error,
        }
    };
    assert!(error.is_corrupt(), "{error:?}");
    assert!(rows > 0 && rows < 500, "{rows}");
    assert!(scan.next().unwrap_err().is_corrupt(), "a failed scan stays failed");
    scan.seek(b"key0000");
    assert!(scan.next().unwrap_err().is_corrupt());
    let keys: Vec<String> = (0..500).map(|number| format!("key{number:04}")).collect();
    assert!(engine.read_many("users", &keys, |_, _| ()).unwrap_err().is_corrupt());
}

#[test]
fn a_secondary_does_not_change_until_it_catches_up() {
    let dir = tempdir().unwrap();
    let engine = create(&dir.path().join("store"));
    merge(&engine, "ann", "1");
    let scratch = Mode::Secondary { scratch: dir.path().join("scratch") };
    let secondary = open(&dir.path().join("store"), scratch);
    let snapshot = secondary.snapshot();
    let mut scan = snapshot.scan("users", Unbounded, Unbounded, ReadHint::ShortRange);
    merge(&engine, "ann", "2");
    let later = secondary.caught_up().map(std::sync::Arc::new).unwrap();
    assert_eq!(snapshot.read("users", b"ann", text).unwrap().unwrap(), "1");
    assert_eq!(collect(&mut scan), ["ann=1"]);
    assert_eq!(all(&secondary.snapshot()), ["ann=1"]);
    assert_eq!(all(&later.snapshot()), ["ann=12"]);
    drop((snapshot, secondary, later));
    assert_eq!(collect(&mut scan), [""; 0]);
    let inside = Mode::Secondary { scratch: dir.path().join("store/scratch") };
    assert!(super::try_open(&dir.path().join("store"), inside).err().unwrap().is_invalid());
}

#[test]
fn engines_snapshots_and_scans_are_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    check::<super::Engine>();
    check::<EngineSnapshot>();
    check::<EngineScan>();
}
