//! The store beside raw RocksDB with the same bytes, and beside read-modify-write on raw RocksDB.
//!
//! Every group answers one question, and its rivals run in the same process on the same data, so that ratios are of one
//! run:
//!
//! * `ours`: through [`Db`], from an [`Update`] to the acknowledgement, buffered.
//! * `raw_merge`: the same operands, encoded before, in RocksDB's own `merge` or `WriteBatch`, with the same operator,
//!   options and durability. What we add to it is admission, encoding, composing and the group commit.
//! * `read_modify_write`: what one does without a merge operator: get the row, fold the update, put the row. Its block
//!   cache is a tenth of the data, as in a store that has outgrown its memory, though the operating system has all of
//!   it. `read_modify_write_cached` is its best case: every block is in its cache.

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use profiledb::{Batch, Change, Db, Durability, Event, ProfileKey, Timestamp, Update, merge};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, MergeOperands, Options,
    WriteBatch,
};

/// Profiles in every store of this bench.
const PROFILES: u64 = 100_000;

/// A block cache that holds everything, and one that holds a tenth, in bytes.
const ALL: usize = 256 << 20;
const TENTH: usize = 8 << 20;

/// Updates in one batch, as Mixpanel recommends.
const BATCH: usize = 200;

fn id(n: u64) -> String {
    format!("user-{n:012x}")
}

/// A different profile each time, the same ones in every run.
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> u64 {
        // The constants of Knuth's MMIX generator.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % PROFILES
    }
}

/// The row that every profile starts with: thirty properties of the usual kinds.
fn first(n: u64) -> Update {
    let update = Update::new()
        .set("$name", format!("User Number {n}"))
        .set("$email", format!("user-{n}@example.com"))
        .set("plan", if n.is_multiple_of(3) { "pro" } else { "free" })
        .set("country", "DE")
        .set("score", 0.5)
        .set("verified", true)
        .set_once("$created", "2024-01-02T03:04:05")
        .add("logins", 1)
        .union("teams", ["eng", "ops"])
        .append("visits", "/pricing");
    // What client libraries add on their own: devices, versions, first touches.
    (0..20).fold(update, |update, k| update.set(format!("$device_property_{k:02}"), format!("{:x}", n * 7_919 + k)))
}

/// A typical update of three properties.
fn update(n: u64) -> Update {
    Update::new()
        .set("last_area", if n.is_multiple_of(2) { "db" } else { "util" })
        .add("logins", 1)
        .union("teams", ["eng"])
}

fn open_ours(path: &Path) -> Db {
    let db = Db::builder().durability(Durability::Buffered).open(path).unwrap();
    for n in 0..PROFILES {
        db.users().submit(&id(n), first(n)).unwrap().wait().unwrap();
    }
    db.compact().unwrap();
    db
}

/// RocksDB with the options of the store and the same operator, or with none at all.
fn options(with_operator: bool, cache_bytes: usize) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(cache_bytes));
    table.set_block_size(16 << 10);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(64 << 20);
    if with_operator {
        let full = |_: &[u8], base: Option<&[u8]>, operands: &MergeOperands| {
            Some(merge::full(base, &operands.iter().collect::<Vec<_>>()))
        };
        let partial = |_: &[u8], _: Option<&[u8]>, operands: &MergeOperands| {
            Some(merge::partial(&operands.iter().collect::<Vec<_>>()))
        };
        options.set_merge_operator("bench", full, partial);
    }
    options
}

fn open_raw(path: &Path, with_operator: bool, cache_bytes: usize) -> DB {
    let mut options = options(with_operator, cache_bytes);
    options.create_missing_column_families(true);
    let family = ColumnFamilyDescriptor::new(USERS, options.clone());
    let db = DB::open_cf_descriptors(&options, path, [family]).unwrap();
    for n in 0..PROFILES {
        db.put_cf(users(&db), id(n), merge::full(None, &[&merge::operand(&first(n))])).unwrap();
    }
    db.compact_range_cf::<&[u8], &[u8]>(users(&db), None, None);
    db
}

/// Profiles stand in a column family of their own, there as here.
const USERS: &str = "users";

fn users(db: &DB) -> &ColumnFamily {
    db.cf_handle(USERS).unwrap()
}

fn read_modify_write(db: &DB, batch: &mut WriteBatch, id: &str, operand: &[u8]) {
    let row = db.get_pinned_cf(users(db), id).unwrap();
    batch.put_cf(users(db), id, merge::full(row.as_deref(), &[operand]));
}

fn writes(c: &mut Criterion) {
    for size in [1, BATCH] {
        let mut group = c.benchmark_group(format!("write_{size}"));
        group.throughput(Throughput::Elements(size as u64));
        let dir = tempfile::tempdir().unwrap();

        let db = open_ours(&dir.path().join("ours"));
        let mut ids = Ids(1);
        group.bench_function("ours", |b| {
            let batch = || -> Batch {
                let change = |n| (ProfileKey::user(id(n)).unwrap(), Change::Update(update(n)));
                (0..size).map(|_| change(ids.next())).collect()
            };
            b.iter_batched(batch, |batch| db.write(batch).unwrap(), BatchSize::SmallInput);
        });
        drop(db);

        let db = open_raw(&dir.path().join("raw"), true, ALL);
        let mut ids = Ids(1);
        let mut operands = move |n: usize| -> Vec<(String, Vec<u8>)> {
            let operand = |n| (id(n), merge::operand(&update(n)));
            (0..n).map(|_| operand(ids.next())).collect()
        };
        group.bench_function("raw_merge", |b| {
            b.iter_batched(
                || operands(size),
                |operands| {
                    let mut batch = WriteBatch::default();
                    operands.iter().for_each(|(id, operand)| batch.merge_cf(users(&db), id, operand));
                    db.write(batch).unwrap();
                },
                BatchSize::SmallInput,
            );
        });
        drop(db);

        for (name, cache_bytes) in [("read_modify_write", TENTH), ("read_modify_write_cached", ALL)] {
            let db = open_raw(&dir.path().join(name), false, cache_bytes);
            group.bench_function(name, |b| {
                b.iter_batched(
                    || operands(size),
                    |operands| {
                        let mut batch = WriteBatch::default();
                        operands.iter().for_each(|(id, operand)| read_modify_write(&db, &mut batch, id, operand));
                        db.write(batch).unwrap();
                    },
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

fn reads(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let db = open_ours(&dir.path().join("ours"));
    let ours = db.users();
    let raw = open_raw(&dir.path().join("raw"), true, ALL);

    let mut group = c.benchmark_group("get");
    let mut ids = Ids(2);
    group.bench_function("ours", |b| b.iter(|| black_box(ours.get(&id(ids.next())).unwrap())));
    let mut ids = Ids(2);
    group.bench_function("ours_one_property", |b| {
        b.iter(|| black_box(ours.get_property(&id(ids.next()), "plan").unwrap()));
    });
    let mut ids = Ids(2);
    group.bench_function("raw_get", |b| {
        b.iter(|| black_box(raw.get_pinned_cf(users(&raw), id(ids.next())).unwrap().unwrap().len()))
    });
    let mut ids = Ids(2);
    group.bench_function("raw_get_decoded", |b| {
        b.iter(|| {
            black_box(merge::profile(&raw.get_pinned_cf(users(&raw), id(ids.next())).unwrap().unwrap()).unwrap())
        });
    });
    group.finish();

    let mut group = c.benchmark_group("scan");
    group.sample_size(20);
    group.throughput(Throughput::Elements(PROFILES));
    group
        .bench_function("ours", |b| b.iter(|| ours.iter().map(|row| row.unwrap().1.properties().len()).sum::<usize>()));
    group.bench_function("raw_iterator", |b| {
        b.iter(|| {
            raw.iterator_cf(users(&raw), rocksdb::IteratorMode::Start).map(|row| row.unwrap().1.len()).sum::<usize>()
        });
    });
    group.finish();
}

/// What the first-event time costs a read: profiles of one property in a store of events, whole or the property alone.
/// A snapshot reads the first-event index from the engine, the store as it is from a cache.
fn first_events(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder().durability(Durability::Buffered).open(dir.path().join("ours")).unwrap();
    for n in 0..PROFILES {
        let mut batch = Batch::new();
        batch.update(&db.users(), id(n), Update::new().set("plan", "free")).unwrap();
        batch.append(Event::new("visit", id(n), Timestamp::from_seconds(1_700_000_000)));
        db.submit(batch).unwrap().wait().unwrap();
    }
    db.compact().unwrap();
    for (name, profiles) in [("first_event_all", PROFILES), ("first_event_hot", 1_000)] {
        let mut group = c.benchmark_group(name);
        let users = db.users();
        let mut ids = Ids(3);
        let mut next = || id(ids.next() % profiles);
        group.bench_function("get_property", |b| b.iter(|| black_box(users.get_property(&next(), "plan").unwrap())));
        group.bench_function("get", |b| b.iter(|| black_box(users.get(&next()).unwrap())));
        let users = db.snapshot().users();
        group.bench_function("get_of_snapshot", |b| b.iter(|| black_box(users.get(&next()).unwrap())));
        group.finish();
    }
}

/// What pending operands cost a read: the same profiles, folded, and with so many operands behind them.
fn pending(c: &mut Criterion) {
    const HOT: u64 = 200;
    let mut group = c.benchmark_group("get_with_pending");
    let dir = tempfile::tempdir().unwrap();
    for pending in [0, 1, 10, 100] {
        let path = dir.path().join(pending.to_string());
        let db = Db::builder().durability(Durability::Buffered).fold_after(0).open(path).unwrap();
        let users = db.users();
        for n in 0..HOT {
            users.update(&id(n), first(n)).unwrap();
        }
        db.compact().unwrap();
        for round in 0..pending {
            for n in 0..HOT {
                users.update(&id(n), update(round)).unwrap();
            }
        }
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(pending), |b| {
            b.iter(|| {
                next = (next + 1) % HOT;
                black_box(users.get(&id(next)).unwrap())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, writes, reads, first_events, pending);
criterion_main!(benches);
