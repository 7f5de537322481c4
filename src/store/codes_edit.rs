//! Stores and deletes codes of users, one change at a time.

use parking_lot::MutexGuard;

use super::codes::{CodesStamp, END, PROJECTIONS_MAX, Recording, UNUSED_MAX, chunk_key, stamps};
use super::open::Store;
use super::shared::Shared;
use crate::codec::{CHANGES, CODES};
use crate::error::Result;
use crate::rocks::{EngineSnapshot, WriteBatch};

/// Codes that are about to be stored.
pub(crate) struct CodesEdit {
    snapshot: EngineSnapshot,
    /// As of the snapshot.
    recording: Recording,
    codes: Vec<NewCodes>,
}

/// The codes of properties, for a number of ordinals.
struct NewCodes {
    names: Vec<Box<str>>,
    chunks: Vec<Vec<u8>>,
    ordinals: u32,
}

impl CodesEdit {
    /// What the codes have to be as of.
    pub(crate) fn snapshot(&self) -> &EngineSnapshot {
        &self.snapshot
    }

    /// Adds the codes of properties, for this many ordinals.
    pub(crate) fn put(&mut self, names: Vec<Box<str>>, chunks: Vec<Vec<u8>>, ordinals: u32) {
        self.codes.push(NewCodes { names, chunks, ordinals });
    }
}

impl Shared {
    /// Whether codes were read that are not stored, or many profiles were changed since those that are.
    pub(crate) fn codes_are_due(&self) -> bool {
        self.change_records.0.lock().is_due()
    }

    /// Takes note that a join has read a whole table, and wakes who may store its codes.
    pub(crate) fn note_full_read(&self) {
        self.change_records.note_full_read();
        self.unsealed.wake_now();
    }

    /// Deletes all stored codes. Durable on return. Nothing may be committed meanwhile.
    pub(super) fn forget_codes(&self) -> Result<()> {
        let engine = self.engine();
        if !engine.has_family(CODES) {
            return Ok(());
        }
        let mut batch = engine.batch();
        batch.delete_range(CODES, &[], END)?;
        batch.commit(true)?;
        let mut recording = self.change_records.0.lock();
        recording.is_on = false;
        recording.deletions += 1;
        Ok(())
    }
}

impl Store {
    /// Codes are stored by one at a time: a later change deletes records that an earlier one still needs.
    pub(crate) fn codes_turn(&self) -> MutexGuard<'_, ()> {
        self.codes.lock()
    }

    /// Begins to store codes: from here on changes are recorded.
    pub(crate) fn begin_codes(&self) -> Result<CodesEdit> {
        let shared = &self.shared;
        self.exclusively(|| {
            let engine = shared.engine();
            [CHANGES, CODES].iter().try_for_each(|family| engine.create_family(family))?;
            let mut recording = shared.change_records.0.lock();
            if !recording.is_on {
                let changed_max = recording.changed.saturating_add(UNUSED_MAX);
                (recording.is_on, recording.changed_max) = (true, changed_max);
            }
            Ok(CodesEdit { snapshot: engine.snapshot(), recording: *recording, codes: Vec::new() })
        })
    }

    /// Stores codes, and deletes those that are of no use any more with the records that none need. False if all codes
    /// were deleted meanwhile: then nothing is stored, and they stay due.
    pub(crate) fn commit_codes(&self, edit: CodesEdit) -> Result<bool> {
        let CodesEdit { snapshot, recording: begun, codes } = edit;
        let engine = self.shared.engine();
        let mut batch = engine.batch();
        let mut kept: Vec<CodesStamp> = Vec::new();
        let mut others = stamps(&snapshot)?;
        others.sort_by_key(|(_, stamp)| std::cmp::Reverse(stamp.epoch));
        for NewCodes { names, chunks, ordinals } in &codes {
            let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
            let stamp = CodesStamp { epoch: begun.epoch, changed: begun.changed, chunks: count, ordinals: *ordinals };
            put_codes(&snapshot, names, chunks, stamp, &mut batch)?;
            kept.push(stamp);
            let replaced = others.iter().position(|(other, _)| other == names).map(|at| others.remove(at));
            if replaced.is_some_and(|(_, replaced)| replaced.chunks > count) {
                delete_chunks(names, count.saturating_add(1), &mut batch)?;
            }
        }
        for (names, stamp) in others {
            if begun.changed <= stamp.changed_max() && kept.len() < PROJECTIONS_MAX {
                kept.push(stamp);
            } else {
                delete_chunks(&names, 0, &mut batch)?;
            }
        }
        let oldest = kept.iter().map(|stamp| stamp.epoch).min().unwrap_or(begun.epoch);
        // The last one stays: the next epoch comes after it.
        batch.delete_range(CHANGES, &[], &oldest.to_be_bytes())?;
        self.exclusively(|| {
            let mut recording = self.shared.change_records.0.lock();
            if recording.deletions != begun.deletions {
                return Ok(false);
            }
            batch.commit(false)?;
            recording.changed_max = kept.iter().map(CodesStamp::changed_max).max().unwrap_or(0);
            recording.stored = begun.changed;
            recording.stored_reads = begun.reads;
            recording.is_on = !kept.is_empty();
            Ok(true)
        })
    }

    /// Deletes all stored codes. Durable on return.
    pub(crate) fn forget_codes(&self) -> Result<()> {
        self.exclusively(|| self.shared.forget_codes())
    }
}

/// Puts the chunks that are not stored yet, and the stamp.
fn put_codes(
    snapshot: &EngineSnapshot,
    names: &[Box<str>],
    chunks: &[Vec<u8>],
    stamp: CodesStamp,
    batch: &mut WriteBatch<'_>,
) -> Result<()> {
    batch.put(CODES, &chunk_key(names, 0), &stamp.encode())?;
    for (chunk, number) in chunks.iter().zip(1..) {
        let key = chunk_key(names, number);
        if !snapshot.read(CODES, &key, |stored| stored == Some(chunk.as_slice()))? {
            batch.put(CODES, &key, chunk)?;
        }
    }
    Ok(())
}

/// Deletes the chunks of properties from this one on.
fn delete_chunks(names: &[Box<str>], from: u32, batch: &mut WriteBatch<'_>) -> Result<()> {
    let end = [chunk_key(names, u32::MAX).as_slice(), &[0]].concat();
    batch.delete_range(CODES, &chunk_key(names, from), &end)
}
