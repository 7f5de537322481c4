//! Deletions of users that a crash does not end: each is recorded before it begins, and again when it is done.

use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use super::open::Store;
use crate::codec::{DELETION_PREFIX, META, decode_deletion, deletion_key, deletion_number, encode_deletion};
use crate::error::Result;
use crate::rocks::{Engine, ReadHint};

/// How many deletions are remembered. Beyond that, those that are done are forgotten, the oldest first.
const DELETIONS_MAX: usize = 1_000;

/// A deletion of users, as it is recorded in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deletion {
    /// Its number. Numbers ascend in the order of the deletions.
    pub number: u64,
    /// The users.
    pub distinct_ids: Vec<String>,
    /// Whether they are deleted. If not, the deletion is under way, or was interrupted.
    pub is_done: bool,
}

impl Store {
    /// Records a deletion that is about to begin. Durable on return.
    pub(crate) fn begin_deletion(&self, distinct_ids: Vec<String>) -> Result<Deletion> {
        self.writable()?;
        let _turn = self.deletions.lock();
        let engine = self.shared.engine();
        let (mut done, mut count, mut last) = (Vec::new(), 0, 0);
        each_deletion(&engine, |deletion| {
            (count, last) = (count + 1, deletion.number);
            if deletion.is_done {
                done.push(deletion.number);
            }
        })?;
        let deletion = Deletion { number: last + 1, distinct_ids, is_done: false };
        let forgotten = (count + 1_usize).saturating_sub(DELETIONS_MAX);
        self.exclusively(|| {
            let mut batch = engine.batch();
            done.iter().take(forgotten).try_for_each(|number| batch.delete(META, &deletion_key(*number)))?;
            batch.put(META, &deletion_key(deletion.number), &encode_deletion(&deletion.distinct_ids, false))?;
            batch.commit(true)
        })?;
        Ok(deletion)
    }

    /// Records that a deletion is done, and makes it durable, with all that was written before.
    pub(crate) fn end_deletion(&self, deletion: &Deletion) -> Result<()> {
        self.exclusively(|| {
            let engine = self.shared.engine();
            let mut batch = engine.batch();
            batch.put(META, &deletion_key(deletion.number), &encode_deletion(&deletion.distinct_ids, true))?;
            batch.commit(true)
        })
    }

    pub(crate) fn deletion(&self, number: u64) -> Result<Option<Deletion>> {
        let engine = self.shared.engine();
        if !engine.has_family(META) {
            return Ok(None);
        }
        let read = engine.read(META, &deletion_key(number), |value| value.map(decode_deletion).transpose())??;
        Ok(read.map(|(distinct_ids, is_done)| Deletion { number, distinct_ids, is_done }))
    }

    /// Those that are not done, the oldest first.
    pub(crate) fn pending_deletions(&self) -> Result<Vec<Deletion>> {
        let mut pending = Vec::new();
        each_deletion(&self.shared.engine(), |deletion| {
            if !deletion.is_done {
                pending.push(deletion);
            }
        })?;
        Ok(pending)
    }
}

fn each_deletion(engine: &Arc<Engine>, mut each: impl FnMut(Deletion)) -> Result<()> {
    let range = (Included(&[DELETION_PREFIX][..]), Excluded(&[DELETION_PREFIX + 1][..]));
    let mut scan = engine.snapshot().scan(META, range.0, range.1, ReadHint::ShortRange);
    while let Some((key, value)) = scan.next()? {
        let (distinct_ids, is_done) = decode_deletion(value)?;
        each(Deletion { number: deletion_number(key)?, distinct_ids, is_done });
    }
    Ok(())
}
