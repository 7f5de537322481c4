//! The join through the store: the numbered cases of the contract, random worlds against a nested loop, a moment that
//! holds while everything changes, first rows that come early, and memory that stays small.

#![cfg(feature = "rocksdb")]

mod cases;
mod held;
mod history;
mod large;
mod worlds;

use std::path::PathBuf;

use profiledb::{Builder, Db, Durability, Event, Timestamp};

const DAY: i64 = 86_400_000;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn open(&self) -> Db {
        builder().open(self.path()).unwrap()
    }
}

fn builder() -> Builder {
    let now = Timestamp::parse("2030-01-01T00:00:00").unwrap();
    Db::builder().durability(Durability::Buffered).clock(move || now).block_cache_bytes(8 << 20)
}

/// The midnight of a day in 2024.
fn day(number: i64) -> Timestamp {
    Timestamp::from_millis(Timestamp::parse("2024-01-01").unwrap().millis() + number * DAY)
}

fn event(id: &str, number: i64, millis: i64) -> Event {
    Event::new("visit", id, Timestamp::from_millis(day(number).millis() + millis))
}

/// Xorshift: the same numbers from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}
