//! A cache of the codes by ordinal that joins have read, each with the state of the store that it was read from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::probe::OrdinalCodes;
use super::tables::JoinTable;
use crate::error::Result;
use crate::model::Kind;
use crate::segment::KeyList;

/// The state of a store that something was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadStamp {
    /// Which of the states of a process, where a store has several that have nothing in common.
    pub(crate) engine: u64,
    /// How many tables had been dropped.
    pub(crate) drops: u64,
    /// The sequence number of the last change.
    pub(crate) sequence: u64,
}

/// The ordinals that codes were read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownOrdinals {
    /// How many the log has stored.
    pub(super) stored: u32,
    /// How many there are, those of the tail included.
    pub(super) count: u32,
    /// Which numbering of the tail the latter are of.
    pub(super) numbering: u64,
}

impl KnownOrdinals {
    /// The first of these ordinals that other codes do not have, or have for another user.
    pub(super) fn first_unknown(&self, other: &Self) -> u32 {
        if self.numbering == other.numbering { other.count } else { self.stored.min(other.stored) }
    }
}

/// What was read of a store before, and what changed since.
pub(crate) trait CodeHistory: Send + Sync {
    /// The codes that joins of the same store have read.
    fn cache(&self) -> &OrdinalCache;

    /// The state that is read.
    fn stamp(&self) -> ReadStamp;

    /// The ids whose rows may differ between this state and that of a sequence number, before or after it, if that is
    /// known, and what was written to them since that one.
    fn changes(&self, table: &JoinTable, sequence: u64) -> Option<ChangedIds>;

    /// The codes of properties of users that are stored, if they are and it is known what changed since.
    fn stored(&self, names: &[Box<str>]) -> Result<Option<StoredCodes>>;

    /// Takes note that codes were read from a whole table.
    fn note_full_read(&self);
}

/// Codes in the form in which they are stored, as of an earlier state than the one that is read.
#[derive(Debug)]
pub(crate) struct StoredCodes {
    pub(crate) chunks: Vec<Vec<u8>>,
    /// The ids whose rows may differ between the two.
    pub(crate) changed: ChangedIds,
}

/// Ids whose rows may differ between two states, and what was written to them in between.
#[derive(Debug, Default)]
pub(crate) struct ChangedIds {
    ids: KeyList,
    /// The positions of the writes of each id; none where they are not known.
    writes: Vec<Option<Range<usize>>>,
    /// Operands and rows. The empty one deletes the row.
    written: KeyList,
}

impl ChangedIds {
    /// Adds an id whose row has to be read.
    pub(crate) fn push(&mut self, id: &[u8]) {
        self.ids.push(id);
        self.writes.push(None);
    }

    /// Adds an id with all that was written to it, oldest first.
    pub(crate) fn push_with(&mut self, id: &[u8], writes: &[&[u8]]) {
        let start = self.written.len();
        writes.iter().for_each(|write| self.written.push(write));
        self.ids.push(id);
        self.writes.push(Some(start..self.written.len()));
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &[u8]> {
        self.ids.iter()
    }

    /// What was written to the id at a position, if that is known.
    pub(crate) fn writes(&self, at: usize) -> Option<impl Iterator<Item = &[u8]>> {
        let writes = self.writes.get(at)?.clone()?;
        Some(writes.filter_map(|write| self.written.get(write)))
    }
}

/// What is projected of which table.
pub(super) type Projection = (JoinTable, Vec<Box<str>>);

/// Codes of several projections, up to a number of bytes: those that were used last.
#[derive(Debug, Default)]
pub(crate) struct OrdinalCache {
    bytes_max: usize,
    known: Mutex<KnownCodes>,
    updates: Mutex<()>,
}

#[derive(Debug, Default)]
struct KnownCodes {
    codes: BTreeMap<Projection, CachedCodes>,
    uses: u64,
}

/// Codes, and what they were read from.
#[derive(Clone, Debug)]
pub(super) struct CachedCodes {
    pub(super) stamp: ReadStamp,
    pub(super) ordinals: KnownOrdinals,
    pub(super) codes: Arc<OrdinalCodes>,
    last_use: u64,
}

impl OrdinalCache {
    /// An empty one for at most this many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// The most bytes of all codes together.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The properties of users whose codes were used after this many uses, and how many uses there were.
    pub(crate) fn used_since(&self, uses: u64) -> (Vec<Vec<Box<str>>>, u64) {
        let known = self.known.lock();
        let users = JoinTable::Profiles(Kind::User);
        let used = known.codes.iter().filter(|((table, _), cached)| *table == users && cached.last_use > uses);
        (used.map(|((_, names), _)| names.clone()).collect(), known.uses)
    }

    /// Who holds this brings codes up to a later state, while others that need them wait.
    pub(super) fn update(&self) -> MutexGuard<'_, ()> {
        self.updates.lock()
    }

    /// The codes of a projection. Those of an earlier state are taken out, so that they are changed in place.
    pub(super) fn get(&self, projection: &Projection, stamp: ReadStamp) -> Option<CachedCodes> {
        let mut known = self.known.lock();
        known.uses += 1;
        let uses = known.uses;
        let cached = known.codes.get_mut(projection)?;
        cached.last_use = uses;
        let is_earlier = cached.stamp.engine == stamp.engine && cached.stamp.sequence < stamp.sequence;
        if is_earlier { known.codes.remove(projection) } else { Some(cached.clone()) }
    }

    /// Forgets all codes.
    #[cfg(any(test, feature = "laws"))]
    pub(crate) fn clear(&self) {
        self.known.lock().codes.clear();
    }

    /// Keeps codes unless later ones are known, and forgets others that were not used for longest.
    pub(super) fn put(
        &self,
        projection: Projection,
        stamp: ReadStamp,
        ordinals: KnownOrdinals,
        codes: &Arc<OrdinalCodes>,
    ) {
        let mut known = self.known.lock();
        let later = known.codes.get(&projection).is_some_and(|other| {
            other.stamp.engine == stamp.engine
                && (other.stamp.drops, other.stamp.sequence) > (stamp.drops, stamp.sequence)
        });
        if later || codes.memory() > self.bytes_max {
            return;
        }
        known.uses += 1;
        let last_use = known.uses;
        known.codes.insert(projection, CachedCodes { stamp, ordinals, codes: Arc::clone(codes), last_use });
        while known.codes.values().map(|cached| cached.codes.memory()).sum::<usize>() > self.bytes_max {
            let oldest = known.codes.iter().min_by_key(|(_, cached)| cached.last_use);
            let Some(oldest) = oldest.map(|(projection, _)| projection.clone()) else { break };
            known.codes.remove(&oldest);
        }
    }
}
