//! Changes of column segments: one at a time, each in one batch, while events are appended.
//!
//! A change is prepared from a snapshot without holding anything up. What is committed to the event log meanwhile is
//! not in it, and must not be deleted with the rows that are: the leader takes note of the keys. Erasures of events
//! take turns with changes of segments, and background sealing gives way to both.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::changes::{ChangedRows, DeletedKeys};
use super::committed::{CommittedKeys, KEYS_MAX};
use super::open::Store;
use super::turns::Foreground;
use crate::codec::{EVENTS, ORDINALS, SEGMENTS};
use crate::error::{Error, ErrorKind, Result};
use crate::rocks::{EngineSnapshot, WriteBatch};
use crate::segment::{KeyList, OrdinalIndex, RowDeletion, SealedRows, SegmentEdit, encode_ordinal};

/// The right to change segments and to erase events.
pub(crate) struct SegmentWriter<'s> {
    store: &'s Store,
    turn: MutexGuard<'s, u64>,
    _foreground: Option<Foreground<'s>>,
}

impl Store {
    /// Makes background work give way to a call.
    pub(crate) fn foreground(&self) -> Foreground<'_> {
        self.segments.foreground()
    }

    /// Whether background work has to give way.
    pub(crate) fn has_foreground(&self) -> bool {
        self.segments.has_foreground()
    }

    /// Waits for the right to change segments and to erase events.
    pub(crate) fn segment_writer(&self) -> Result<SegmentWriter<'_>> {
        self.writable()?;
        let foreground = self.foreground();
        Ok(SegmentWriter { store: self, turn: self.segments.take(), _foreground: Some(foreground) })
    }

    /// The same for background work, which does not wait: none while another has it.
    pub(crate) fn background_segment_writer(&self) -> Result<Option<SegmentWriter<'_>>> {
        self.writable()?;
        Ok(self.segments.try_take().map(|turn| SegmentWriter { store: self, turn, _foreground: None }))
    }
}

impl SegmentWriter<'_> {
    /// The number of this turn: if it is one more than that of another, no segment was changed in between.
    pub(crate) fn turn(&self) -> u64 {
        *self.turn
    }

    /// The ordinals that are known in memory.
    pub(crate) fn ordinal_index(&self) -> &OrdinalIndex {
        &self.store.shared.ordinal_index
    }

    /// The store as it is. Rows that are read from it can be replaced by [`commit`](Self::commit), until the next one
    /// is taken.
    pub(crate) fn snapshot(&self) -> Result<EngineSnapshot> {
        let shared = &self.store.shared;
        self.store.exclusively(|| {
            shared.committed_keys.begin();
            Ok(shared.engine().snapshot())
        })
    }

    /// Commits a change that was prepared from the latest snapshot. It is as durable as the rows that it replaces were.
    pub(crate) fn commit(&self, edit: &SegmentEdit) -> Result<()> {
        let shared = &self.store.shared;
        #[cfg(any(test, feature = "laws"))]
        shared.commit_faults.before_commit()?;
        self.store.exclusively(|| shared.engine().create_segment_families())?;
        let engine = shared.engine();
        let mut batch = engine.batch();
        for write in &edit.writes {
            match &write.value {
                Some(value) => batch.put(write.family, &write.key, value)?,
                None => batch.delete(write.family, &write.key)?,
            }
        }
        edit.ordinals.iter().try_for_each(|(id, ordinal)| batch.put(ORDINALS, id, &encode_ordinal(ordinal)))?;
        // Most of it is done while events are appended.
        let mut deletion = edit.sealed.as_ref().map(|rows| self.delete_rows(rows, &mut batch)).transpose()?;
        self.store.exclusively(|| {
            let families = &shared.log_families;
            if let Some(deletion) = &mut deletion {
                self.restore_late(deletion, &mut batch)?;
            }
            let deleted = deletion.map(|deletion| {
                ChangedRows::Deleted(DeletedKeys {
                    family: Arc::clone(&families.events),
                    keys: Arc::clone(&deletion.rows.keys),
                    except: deletion.except.into_iter().collect(),
                })
            });
            let headers = edit.writes.iter().filter_map(|write| match write.family {
                SEGMENTS => Some((&families.segments, write.key.as_slice())),
                // An id loses its ordinal.
                ORDINALS => Some((&families.segments, &[][..])),
                _ => None,
            });
            shared.log_changes.begin_rows(engine.latest_sequence(), deleted, headers);
            shared.ordinal_index.begin(engine.number(), edit);
            let committed = batch.commit(false);
            let sequence = engine.latest_sequence();
            shared.log_changes.end(sequence, committed.is_ok());
            shared.ordinal_index.end(sequence, edit, committed.is_ok());
            committed
        })
    }

    /// Adds the deletion of rows to a batch, but for those that were committed since the snapshot.
    fn delete_rows<'r>(&self, rows: &'r SealedRows, batch: &mut WriteBatch<'_>) -> Result<RowsDeletion<'r>> {
        let committed = &self.store.shared.committed_keys;
        // What was noted is committed, once nothing is being committed.
        let noted = self.store.exclusively(|| Ok(committed.len()))?;
        let mut deletion = RowsDeletion { rows, noted, except: BTreeSet::new() };
        let keys = deletion.committed(committed, 0..noted)?;
        let mut restored = Vec::new();
        for step in rows.deletions(keys.iter()) {
            match step {
                RowDeletion::Row(key) => batch.delete(EVENTS, key)?,
                RowDeletion::Range(first, last) => batch.delete_range(EVENTS, first, &[last, &[0]].concat())?,
                RowDeletion::Restore(key) => restored.push(key),
            }
        }
        self.restore(&restored, batch)?;
        Ok(deletion)
    }

    /// Adds the restoration of rows that were committed since [`delete_rows`](Self::delete_rows). Nothing may be
    /// committed meanwhile.
    fn restore_late(&self, deletion: &mut RowsDeletion<'_>, batch: &mut WriteBatch<'_>) -> Result<()> {
        let keys = deletion.committed(&self.store.shared.committed_keys, deletion.noted..usize::MAX)?;
        self.restore(&keys.iter().collect::<Vec<_>>(), batch)
    }

    /// Puts rows again as they are.
    fn restore(&self, keys: &[&[u8]], batch: &mut WriteBatch<'_>) -> Result<()> {
        let mut put = |at: usize, row: Option<&[u8]>| match keys.get(at).zip(row) {
            Some((key, row)) => batch.put(EVENTS, key, row),
            None => Ok(()),
        };
        self.store.shared.engine().read_many(EVENTS, keys, &mut put)?.into_iter().collect()
    }
}

/// A deletion of rows that is being prepared.
struct RowsDeletion<'r> {
    rows: &'r SealedRows,
    /// How many of the keys that were committed since the snapshot it takes account of.
    noted: usize,
    /// The positions of rows that were committed again.
    except: BTreeSet<usize>,
}

impl RowsDeletion<'_> {
    /// Some of the keys that were committed since the snapshot: those between the first row and the last.
    fn committed(&mut self, keys: &CommittedKeys, which: Range<usize>) -> Result<KeyList> {
        let (Some(first), Some(last)) = (self.rows.keys.first(), self.rows.keys.last()) else {
            return Ok(KeyList::default());
        };
        let Some(keys) = keys.between(first..=last, which) else {
            let message = "too many events were appended while others were being sealed";
            return Err(Error::new(ErrorKind::Busy, format!("{message} events_max={KEYS_MAX}")));
        };
        let again = |key| Some(self.rows.keys.lower_bound(key)).filter(|at| self.rows.keys.get(*at) == Some(key));
        self.except.extend(keys.iter().filter_map(again));
        Ok(keys)
    }
}

impl Drop for SegmentWriter<'_> {
    fn drop(&mut self) {
        self.store.shared.committed_keys.end();
    }
}
