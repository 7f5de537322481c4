//! The join through the store: the numbered cases of the contract, random worlds against a nested loop, a moment that
//! holds while everything changes, first rows that come early, and memory that stays small.

#![cfg(feature = "rocksdb")]

mod cases;
mod held;
mod history;
mod large;
#[path = "../support/mod.rs"]
mod support;
mod worlds;

use profiledb::{Builder, Db, Durability, Event, Timestamp};
use support::{Random, TempStore};

const DAY: i64 = 86_400_000;

fn temp_store() -> TempStore {
    TempStore::new(builder)
}

fn builder() -> Builder {
    let now = Timestamp::parse("2030-01-01T00:00:00").unwrap();
    Db::builder().durability(Durability::Buffered).clock(move || now).block_cache_bytes(8 << 20).seal_after(0)
}

/// The midnight of a day in 2024.
fn day(number: i64) -> Timestamp {
    Timestamp::from_millis(Timestamp::parse("2024-01-01").unwrap().millis() + number * DAY)
}

fn event(id: &str, number: i64, millis: i64) -> Event {
    Event::new("visit", id, Timestamp::from_millis(day(number).millis() + millis))
}
