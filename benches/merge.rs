//! What a fold costs: how it grows with the operands that wait on a row, and with the row.
//!
//! ```sh
//! cargo bench --no-default-features --bench merge               # about two minutes
//! cargo bench --no-default-features --bench merge -- full/add   # some of it
//! ```
//!
//! Every operand is one update of one operator, as a store without batches would write it.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use profiledb::{Update, merge};
use support::{Seeded, profile, property, slices, time};

const OPERANDS: [usize; 4] = [1, 10, 100, 10_000];
const PROPERTIES: [usize; 3] = [5, 50, 2_000];

/// What an operand does, by name. Given are the properties of the base.
type Shape = (&'static str, fn(&mut Seeded, usize) -> Update);

const SHAPES: [Shape; 3] = [
    // A counter that grows by one.
    ("add", |_, _| Update::new().add(property(0), 1)),
    // Any property of the profile, set to something else.
    ("set", |seeded, properties| Update::new().set(property(seeded.below(properties)), seeded.word(12))),
    // A list that takes in one of a hundred words.
    ("union", |seeded, _| Update::new().union(property(1), [format!("word {}", seeded.below(100))])),
];

fn operands(shape: Shape, count: usize, properties: usize) -> Vec<Vec<u8>> {
    let mut seeded = Seeded::new(count as u64);
    (0..count).map(|_| merge::operand(&(shape.1)(&mut seeded, properties).at(time()))).collect()
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    group
}

/// A row and the operands that wait on it, as a read or a compaction folds them.
fn full(criterion: &mut Criterion) {
    let mut group = group(criterion, "full");
    for shape in SHAPES {
        for properties in PROPERTIES {
            let base = merge::full(None, &[&merge::operand(&profile(properties))]);
            for count in OPERANDS {
                let operands = operands(shape, count, properties);
                let operands = slices(&operands);
                let id = BenchmarkId::new(format!("{}/{properties} properties", shape.0), count);
                group.throughput(Throughput::Elements(count as u64));
                group.bench_function(id, |bench| bench.iter(|| merge::full(Some(&base), black_box(&operands))));
            }
        }
    }
}

/// Operands alone, as a flush or a compaction of newer files composes them.
fn partial(criterion: &mut Criterion) {
    let mut group = group(criterion, "partial");
    for shape in SHAPES {
        for count in OPERANDS {
            let operands = operands(shape, count, 50);
            let operands = slices(&operands);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(shape.0, count), |bench| {
                bench.iter(|| merge::partial(black_box(&operands)));
            });
        }
    }
}

/// A row as a profile.
fn decode(criterion: &mut Criterion) {
    let mut group = group(criterion, "decode");
    for properties in PROPERTIES {
        let row = merge::full(None, &[&merge::operand(&profile(properties))]);
        group.throughput(Throughput::Bytes(row.len() as u64));
        group.bench_function(BenchmarkId::new("whole", properties), |bench| {
            bench.iter(|| merge::profile(black_box(&row)));
        });
    }
}

criterion_group!(benches, full, partial, decode);
criterion_main!(benches);
