//! The checker of the log: a full scan that verifies every byte of every event.

use super::salvage::{SalvagedBlock, salvage_blocks};
use crate::codec::{self, EVENTS, EventKey};
use crate::error::Result;
use crate::model::Damage;
use crate::rocks::{DamagedKeys, EngineSnapshot, SalvagedRow};

/// The result of a check of one tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogCheck {
    /// All events, readable or not.
    pub(crate) events: u64,
    /// The bytes of their values.
    pub(crate) bytes: u64,
    pub(crate) unreadable: u64,
    /// Ranges that cannot be read.
    pub(crate) damage: Vec<Damage>,
}

/// Verifies the rows of the log. Calls `found` with the `distinct_id` of each event that cannot be read, and what is
/// wrong with it.
pub(crate) fn check(snapshot: &EngineSnapshot, mut found: impl FnMut(&str, &str)) -> Result<LogCheck> {
    let mut checked = LogCheck::default();
    snapshot.salvage(EVENTS, |item| {
        match item {
            SalvagedRow::Row(key, value) => checked.read(key, value, &mut found),
            SalvagedRow::Damage(keys) => checked.damage.push(damage(keys)),
        }
        Ok::<_, crate::error::Error>(())
    })?;
    Ok(checked)
}

/// Verifies the column segments of the log: that every block can be rebuilt into events. Calls `found` as
/// [`check`] does.
pub(crate) fn check_sealed(snapshot: &EngineSnapshot, mut found: impl FnMut(&str, &str)) -> Result<LogCheck> {
    let mut checked = LogCheck::default();
    salvage_blocks(snapshot, |item| {
        match item {
            SalvagedBlock::Rows(rows) => {
                for (key, value) in (0..rows.len()).filter_map(|at| rows.get(at)) {
                    checked.read(key, value, &mut found);
                }
            }
            SalvagedBlock::Damage(damage) => checked.damage.push(damage),
        }
        Ok::<_, crate::error::Error>(())
    })?;
    Ok(checked)
}

impl LogCheck {
    fn read(&mut self, key: &[u8], value: &[u8], found: &mut impl FnMut(&str, &str)) {
        self.events += 1;
        self.bytes += value.len() as u64;
        if let Err(error) = codec::check_event(key, value) {
            self.unreadable += 1;
            let escaped = EventKey::read(key).map_or(key, |key| key.escaped);
            found(&String::from_utf8_lossy(escaped), error.message());
        }
    }
}

/// A damaged range of the log.
pub(crate) fn damage(DamagedKeys { after, before, error }: DamagedKeys) -> Damage {
    let text = |key: Option<Vec<u8>>| {
        key.map(|key| match EventKey::read(&key) {
            Ok(key) => format!("{} {}", key.time(), String::from_utf8_lossy(key.escaped)),
            Err(_) => String::from_utf8_lossy(&key).into_owned(),
        })
    };
    Damage { table: EVENTS.to_owned(), after: text(after), before: text(before), reason: error.with_sources() }
}
