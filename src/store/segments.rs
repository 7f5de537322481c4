//! Changes of column segments: one at a time, each in one batch, while events are appended.
//!
//! A change is prepared from a snapshot without holding anything up. What is committed to the event log meanwhile is
//! not in it, and must not be deleted with the rows that are: the leader takes note of the keys. Erasures of events
//! take turns with changes of segments.

use parking_lot::MutexGuard;

use super::committed::KEYS_MAX;
use super::open::Store;
use crate::codec::EVENTS;
use crate::error::{Error, ErrorKind, Result};
use crate::rocks::EngineSnapshot;
use crate::segment::{RowDeletion, SegmentEdit};

/// The right to change segments and to erase events.
pub(crate) struct SegmentWriter<'s> {
    store: &'s Store,
    _turn: MutexGuard<'s, ()>,
}

impl Store {
    /// Waits for the right to change segments and to erase events.
    pub(crate) fn segment_writer(&self) -> Result<SegmentWriter<'_>> {
        self.writable()?;
        Ok(SegmentWriter { store: self, _turn: self.segments.lock() })
    }
}

impl SegmentWriter<'_> {
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
        self.store.exclusively(|| {
            let engine = shared.engine();
            engine.create_segment_families()?;
            let mut batch = engine.batch();
            for write in &edit.writes {
                match &write.value {
                    Some(value) => batch.put(write.family, &write.key, value)?,
                    None => batch.delete(write.family, &write.key)?,
                }
            }
            if let Some(rows) = &edit.sealed {
                let keys = shared.committed_keys.keys();
                if keys.len() > KEYS_MAX {
                    let message = "too many events were appended while others were being sealed";
                    return Err(Error::new(ErrorKind::Busy, format!("{message} events_max={KEYS_MAX}")));
                }
                let committed = match (rows.keys.first(), rows.keys.last()) {
                    (Some(first), Some(last)) => Some(keys.range::<Vec<u8>, _>(first..=last)),
                    _ => None,
                };
                for deletion in rows.deletions(committed.into_iter().flatten().map(Vec::as_slice)) {
                    match deletion {
                        RowDeletion::Row(key) => batch.delete(EVENTS, key)?,
                        RowDeletion::Range(first, last) => {
                            batch.delete_range(EVENTS, first, &[last, &[0]].concat())?;
                        }
                    }
                }
            }
            batch.commit(false)
        })
    }
}

impl Drop for SegmentWriter<'_> {
    fn drop(&mut self) {
        self.store.shared.committed_keys.end();
    }
}
