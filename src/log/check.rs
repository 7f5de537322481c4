//! The checker of the log: a full scan that verifies every byte of every event.

use std::collections::BTreeMap;

use super::ordinals::IdCache;
use super::salvage::{SalvagedBlock, damage_of_segments, salvage_blocks};
use super::segments::orphaned_chunks;
use crate::codec::{self, EVENTS, EventKey, Malformed, ORDINAL_IDS, ORDINALS, SEGMENTS};
use crate::error::{Error, Result};
use crate::model::Damage;
use crate::rocks::{DamagedKeys, EngineSnapshot, SalvagedRow};
use crate::segment::{OrdinalIds, ordinal_of_id};

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

/// Verifies the column segments of the log: that every block can be rebuilt into events, that ids and ordinals lead to
/// each other, and that every chunk belongs to a block. Calls `found` as [`check`] does.
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
    check_ids(snapshot, &mut checked, &mut found)?;
    check_ordinals(snapshot, &mut checked, &mut found)?;
    check_chunks(snapshot, &mut checked)?;
    Ok(checked)
}

/// Verifies that every id of an ordinal leads back to it: without that the events of the user would not be found.
fn check_ids(snapshot: &EngineSnapshot, checked: &mut LogCheck, found: &mut impl FnMut(&str, &str)) -> Result<()> {
    snapshot.salvage(ORDINAL_IDS, |item| {
        let (key, value) = match item {
            SalvagedRow::Row(key, value) => (key, value),
            SalvagedRow::Damage(DamagedKeys { error, .. }) => {
                checked.damage.push(damage_of_ids(error.with_sources()));
                return Ok(());
            }
        };
        let (first, ids) = match OrdinalIds::first_of(key).and_then(|first| Ok((first, OrdinalIds::decode(value)?))) {
            Ok(ids) => ids,
            Err(Malformed(what)) => {
                checked.damage.push(damage_of_ids(format!("{what} key={key:02x?}")));
                return Ok(());
            }
        };
        let known: Vec<(u32, &[u8])> =
            (first..).zip(0..ids.len()).filter_map(|(ordinal, at)| ids.get(at).map(|id| (ordinal, id))).collect();
        let keys: Vec<&[u8]> = known.iter().map(|(_, id)| *id).collect();
        let ordinal = |at: usize, value: Option<&[u8]>| ordinal_of_id(keys.get(at)?, value?).ok();
        let ordinals = match snapshot.read_many(ORDINALS, &keys, ordinal) {
            Ok(ordinals) => ordinals,
            Err(error) if error.is_corrupt() => {
                checked.damage.push(damage_of_ids(error.with_sources()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for ((ordinal, id), leads_to) in known.into_iter().zip(ordinals) {
            if leads_to != Some(ordinal) {
                checked.unreadable += 1;
                let what =
                    format!("the ordinal of the user is missing or another ordinal={ordinal} found={leads_to:?}");
                found(&String::from_utf8_lossy(id), &what);
            }
        }
        Ok(())
    })
}

/// Verifies that the ordinal of every id leads back to it: it may be that of another.
fn check_ordinals(snapshot: &EngineSnapshot, checked: &mut LogCheck, found: &mut impl FnMut(&str, &str)) -> Result<()> {
    let (mut ids, mut known) = (IdCache::new(snapshot), Vec::new());
    snapshot.salvage(ORDINALS, |item| {
        let (id, value) = match item {
            SalvagedRow::Row(id, value) => (id, value),
            SalvagedRow::Damage(DamagedKeys { error, .. }) => {
                checked.damage.push(damage_of_ids(error.with_sources()));
                return Ok(());
            }
        };
        known.clear();
        let what = match ordinal_of_id(id, value).map(|ordinal| (ordinal, ids.find_id(ordinal, &mut known))) {
            Ok((_, Ok(true))) if known == id => return Ok(()),
            Ok((_, Err(error))) if !error.is_corrupt() => return Err(error),
            Ok((ordinal, Ok(true))) => {
                let other = String::from_utf8_lossy(&known);
                format!("the ordinal of the user is that of another ordinal={ordinal} found={other:?}")
            }
            Ok((ordinal, Ok(false))) => format!("the ordinal of the user has no id ordinal={ordinal}"),
            // Ids that cannot be read were found where they are.
            Ok((_, Err(_))) => return Ok(()),
            Err(error) => error.message().to_owned(),
        };
        checked.unreadable += 1;
        found(&String::from_utf8_lossy(id), &what);
        Ok(())
    })
}

/// Verifies that every chunk belongs to a block. One that does not takes space, and its header may be lost.
fn check_chunks(snapshot: &EngineSnapshot, checked: &mut LogCheck) -> Result<()> {
    let mut orphans: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    orphaned_chunks(snapshot, |segment, key| {
        let place = segment.map_or_else(|| key.to_vec(), |segment| segment.to_bytes().to_vec());
        *orphans.entry(place).or_default() += 1;
        Ok(())
    })?;
    for (key, count) in orphans {
        let error = Error::corrupt(format!("chunks belong to no block of the segment chunks={count}"));
        checked.damage.push(damage_of_segments(Some(&key), Some(&key), &error));
    }
    Ok(())
}

/// Damage of the tables between ids and ordinals.
fn damage_of_ids(reason: String) -> Damage {
    Damage { table: SEGMENTS.to_owned(), after: None, before: None, reason }
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
