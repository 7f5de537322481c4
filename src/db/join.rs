//! The join of a store: one moment of it, as the join reads.

use std::ops::Bound;
use std::sync::Arc;

use super::Snapshot;
use crate::codec;
use crate::error::Result;
use crate::join::{Each, Join, Source, Table, Tables};
use crate::log;
use crate::rocks::{self, EngineScan, ReadHint};

impl Snapshot {
    /// Joins the latest state of profiles, as of this moment, onto events. The join holds the moment: what is written
    /// while it runs is not seen.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let time = Timestamp::parse("2023-11-14T22:13:20")?;
    /// db.events().append(Event::new("purchase", "alice", time).set("amount", 12.5))?;
    /// // Written after the event, and joined all the same.
    /// db.users().update("alice", Update::new().set("plan", "pro"))?;
    ///
    /// let by_plan = db.snapshot().join().group_by(["user.plan"]).answer()?;
    /// assert_eq!(by_plan.get(&[Some("pro".into())]), Some(&[1.into()][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn join(&self) -> Join {
        Join::new(Arc::new(Moment(self.engine.clone())))
    }
}

/// One moment of the store.
struct Moment(rocks::EngineSnapshot);

fn family(table: &Table) -> Arc<str> {
    match table {
        Table::Profiles(kind) => codec::family_of(kind),
        Table::FirstEvents(kind) => codec::first_family_of(kind),
    }
}

fn bounds<'k>(from: &'k [u8], to: Option<&'k [u8]>) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
    (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded))
}

/// Behind every key of an event: the year is beyond counting, and so is the user.
const BEHIND_ALL: &[u8] = &[0xff; 16];

impl Source for EngineScan {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        Self::next(self)
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        Self::seek(self, key);
        Ok(())
    }
}

impl Tables for Moment {
    fn events(&self, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn Source>> {
        Ok(Box::new(log::scan_keys(&self.0, from, to)))
    }

    fn rows(&self, table: &Table, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn Source>> {
        let (from, to) = bounds(from, to);
        Ok(Box::new(self.0.scan(&family(table), from, to, ReadHint::LongRange)))
    }

    fn lookup(&self, table: &Table, ids: &[&[u8]], each: &mut Each<'_>) -> Result<()> {
        self.0.read_many(&family(table), ids, each)?.into_iter().collect()
    }

    fn has(&self, table: &Table) -> bool {
        self.0.engine().has_family(&family(table))
    }

    fn estimate_rows(&self, table: &Table) -> u64 {
        self.0.engine().family_stats(&family(table)).keys_estimate
    }

    /// Files know how much of them lies in a range; what is in memory is taken to be spread as the files are.
    fn estimate_events(&self, from: &[u8], to: Option<&[u8]>) -> u64 {
        let engine = self.0.engine();
        let keys = engine.family_stats(log::FAMILY).keys_estimate;
        let ranges = [(from, to.unwrap_or(BEHIND_ALL)), (&[][..], BEHIND_ALL)];
        match engine.approximate_bytes(log::FAMILY, &ranges).as_slice() {
            [part, all] if *all > 0 => (u128::from(keys) * u128::from(*part) / u128::from(*all)) as u64,
            _ => keys,
        }
    }
}
