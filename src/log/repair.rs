//! Repair of sealed events after some of their keys were lost: what is left is made consistent again.
//!
//! ```text
//! 1  ids without ordinals and ordinals without ids     each is built anew from the other
//! 2  blocks that cannot be rebuilt into events          leave their segments, and are reported
//! 3  chunks that belong to no block                     are deleted
//! ```
//!
//! Each change leaves the others as they are, so that a repair that was interrupted is completed by the next.

use std::collections::BTreeMap;

use super::ordinals::{IdCache, ordinals_of, read_ids};
use super::rewrite::SegmentRewrite;
use super::salvage::damage_of_segments;
use super::segments::{block_rows, orphaned_chunks, read_header};
use crate::codec::{CHUNKS, Malformed, ORDINAL_IDS, ORDINALS, SEGMENTS};
use crate::error::{Error, Result};
use crate::model::Damage;
use crate::rocks::{DamagedKeys, EngineSnapshot, SalvagedRow};
use crate::segment::{OrdinalIds, SegmentEdit, encode_ordinal, ordinal_of_id};

/// How many writes are committed at once.
const WRITES_MAX: usize = 4_096;

/// What a repair needs of the store.
pub(crate) struct SealedRepair<'s> {
    /// The store as it is.
    pub(crate) snapshot: &'s dyn Fn() -> Result<EngineSnapshot>,
    pub(crate) commit: &'s dyn Fn(&SegmentEdit) -> Result<()>,
}

impl SealedRepair<'_> {
    /// Makes sealed events consistent. Returns the blocks that are dropped, with the number of their events.
    pub(crate) fn run(&self) -> Result<Vec<Damage>> {
        self.restore_ids()?;
        self.restore_ordinals()?;
        let lost = self.drop_blocks()?;
        self.delete_orphans()?;
        Ok(lost)
    }

    fn commit_if(&self, edit: &mut SegmentEdit, is_due: impl FnOnce(usize) -> bool) -> Result<()> {
        if !edit.writes.is_empty() && is_due(edit.writes.len()) {
            (self.commit)(&std::mem::take(edit))?;
        }
        Ok(())
    }

    /// Where the id of an ordinal is lost, it is the one that has the ordinal.
    fn restore_ids(&self) -> Result<()> {
        let snapshot = (self.snapshot)()?;
        let mut ids = IdCache::new(&snapshot);
        let (mut lost, mut edit) = (BTreeMap::<u32, BTreeMap<u32, Vec<u8>>>::new(), SegmentEdit::default());
        snapshot.salvage(ORDINALS, |item| {
            let (id, value) = row(item)?;
            let ordinal = ordinal_of_id(id, value).ok();
            let mut known = Vec::new();
            let has_id = match ordinal.map(|ordinal| ids.find_id(ordinal, &mut known)) {
                Some(Err(error)) if !error.is_corrupt() => return Err(error),
                found => matches!(found, Some(Ok(true))),
            };
            match ordinal {
                Some(ordinal) if !has_id => {
                    let (key, _) = OrdinalIds::key_of(ordinal);
                    let page = lost.entry(u32::from_be_bytes(key)).or_default();
                    page.entry(ordinal).or_insert_with(|| id.to_vec());
                }
                Some(_) if known == id => {}
                // The ordinal is another's. If this id has one too, it is restored next.
                _ => edit.delete(ORDINALS, id.to_vec()),
            }
            self.commit_if(&mut edit, |count| count >= WRITES_MAX)
        })?;
        for (page, lost) in lost {
            let key = page.to_be_bytes();
            edit.put(ORDINAL_IDS, key.to_vec(), with_lost(&snapshot, key, &lost)?.encode());
            self.commit_if(&mut edit, |count| count >= WRITES_MAX)?;
        }
        self.commit_if(&mut edit, |_| true)
    }

    /// Where the ordinal of an id is lost, it is the one whose id it is.
    fn restore_ordinals(&self) -> Result<()> {
        let snapshot = (self.snapshot)()?;
        let mut edit = SegmentEdit::default();
        snapshot.salvage(ORDINAL_IDS, |item| {
            let (key, value) = row(item)?;
            let decoded = OrdinalIds::first_of(key).and_then(|first| Ok((first, OrdinalIds::decode(value)?)));
            let Ok((first, ids)) = decoded else {
                edit.delete(ORDINAL_IDS, key.to_vec());
                return Ok(());
            };
            let known: Vec<(u32, &[u8])> =
                (first..).zip(0..ids.len()).filter_map(|(ordinal, at)| ids.get(at).map(|id| (ordinal, id))).collect();
            let keys: Vec<&[u8]> = known.iter().map(|(_, id)| *id).collect();
            for ((ordinal, id), found) in known.into_iter().zip(ordinals_of(&snapshot, &keys)?) {
                if found.is_none() {
                    edit.put(ORDINALS, id.to_vec(), encode_ordinal(ordinal).to_vec());
                }
            }
            self.commit_if(&mut edit, |count| count >= WRITES_MAX)
        })?;
        self.commit_if(&mut edit, |_| true)
    }

    fn drop_blocks(&self) -> Result<Vec<Damage>> {
        let snapshot = (self.snapshot)()?;
        let mut ids = IdCache::new(&snapshot);
        let (mut lost, mut edit) = (Vec::new(), SegmentEdit::default());
        snapshot.salvage(SEGMENTS, |item| {
            let (key, value) = row(item)?;
            let (segment, header) = match read_header(key, value) {
                Ok(header) => header,
                Err(error) => {
                    lost.push(damage_of_segments(Some(key), Some(key), &error));
                    edit.delete(SEGMENTS, key.to_vec());
                    return self.commit_if(&mut edit, |_| true);
                }
            };
            let mut rewrite = SegmentRewrite::new(segment, header.clone());
            for block in &header.blocks {
                match block_rows(&snapshot, segment, block, &mut ids, None) {
                    Ok(_) => {}
                    Err(error) if error.is_corrupt() => {
                        let mut damage = damage_of_segments(Some(key), Some(key), &error);
                        damage.reason =
                            format!("{}; the events of the block are dropped events={}", damage.reason, block.events);
                        lost.push(damage);
                        rewrite.remove(block.number);
                    }
                    Err(error) => return Err(error),
                }
            }
            rewrite.finish().0.map_or(Ok(()), |edit| (self.commit)(&edit))
        })?;
        Ok(lost)
    }

    fn delete_orphans(&self) -> Result<()> {
        let snapshot = (self.snapshot)()?;
        let mut edit = SegmentEdit::default();
        orphaned_chunks(&snapshot, |_, key| {
            edit.delete(CHUNKS, key.to_vec());
            self.commit_if(&mut edit, |count| count >= WRITES_MAX)
        })?;
        self.commit_if(&mut edit, |_| true)
    }
}

/// A store that is repaired has no damaged blocks of the engine any more.
fn row(item: SalvagedRow<'_>) -> Result<(&[u8], &[u8])> {
    match item {
        SalvagedRow::Row(key, value) => Ok((key, value)),
        SalvagedRow::Damage(DamagedKeys { error, .. }) => Err(error),
    }
}

/// The ids under a key, with those that were lost.
fn with_lost(snapshot: &EngineSnapshot, key: [u8; 4], lost: &BTreeMap<u32, Vec<u8>>) -> Result<OrdinalIds> {
    let known = match read_ids(snapshot, key) {
        Err(error) if !error.is_corrupt() => return Err(error),
        known => known.ok().flatten().unwrap_or_default(),
    };
    let first = OrdinalIds::first_of(&key).map_err(|Malformed(what)| Error::corrupt(what))?;
    let count = lost.last_key_value().map_or(0, |(last, _)| (last - first) as usize + 1).max(known.len());
    let (mut ids, mut erased) = (OrdinalIds::default(), Vec::new());
    for (at, ordinal) in (0..count).zip(first..) {
        match known.get(at).or_else(|| lost.get(&ordinal).map(Vec::as_slice)) {
            Some(id) => ids.push(id),
            None => {
                ids.push(&[]);
                erased.push(at);
            }
        }
    }
    erased.into_iter().for_each(|at| ids.erase(at));
    Ok(ids)
}

/// A damaged range of one of the tables of sealed events.
pub(crate) fn damage_of_sealed(family: &str, DamagedKeys { after, before, error }: DamagedKeys) -> Damage {
    let text = |key: Option<Vec<u8>>| {
        key.map(|key| match key.first_chunk::<4>() {
            Some(page) if family == ORDINAL_IDS => OrdinalIds::first_of(page).unwrap_or(u32::MAX).to_string(),
            _ => String::from_utf8_lossy(&key).into_owned(),
        })
    };
    let table = family.to_owned();
    match family {
        SEGMENTS | CHUNKS => Damage { table, ..damage_of_segments(after.as_deref(), before.as_deref(), &error) },
        _ => Damage { table, after: text(after), before: text(before), reason: error.with_sources() },
    }
}
