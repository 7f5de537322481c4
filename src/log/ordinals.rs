//! Lookups between ids of users and their ordinals in column segments.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::codec::{Malformed, ORDINAL_IDS, ORDINALS};
use crate::error::{Error, Result};
use crate::rocks::{EngineSnapshot, ReadHint};
use crate::segment::{GivenOrdinals, OrdinalIds, ordinal_of_id};

/// Ids that are kept in memory, in bytes: those of a million ordinals and more.
const IDS_BYTES_MAX: usize = 64 << 20;

/// The ordinal of an id, if it has one.
pub(super) fn ordinal_of(snapshot: &EngineSnapshot, id: &[u8]) -> Result<Option<u32>> {
    snapshot.read(ORDINALS, id, |value| value.map(|value| ordinal_of_id(id, value)).transpose())?
}

/// The ordinals of ids, in their order.
pub(super) fn ordinals_of(snapshot: &EngineSnapshot, ids: &[&[u8]]) -> Result<Vec<Option<u32>>> {
    let ordinal = |at: usize, value: Option<&[u8]>| {
        value.map(|value| ordinal_of_id(ids.get(at).copied().unwrap_or_default(), value)).transpose()
    };
    snapshot.read_many(ORDINALS, ids, ordinal)?.into_iter().collect()
}

/// Ordinals of ids, in memory, while none are erased.
#[derive(Debug)]
pub(crate) struct OrdinalMap {
    /// Of the hash, at random in each process, because ids can be made to collide for a known one.
    seed: u64,
    /// Positions in `ids`.
    index: HashTable<u32>,
    ids: Vec<(Range<usize>, u32)>,
    bytes: Vec<u8>,
    /// Whether it has all there are, so that an id that it has not has no ordinal.
    is_complete: bool,
}

impl OrdinalMap {
    /// An empty one. `is_complete` says that there are no ordinals.
    pub(crate) fn new(is_complete: bool) -> Self {
        let seed = RandomState::new().hash_one(0);
        Self { seed, index: HashTable::new(), ids: Vec::new(), bytes: Vec::new(), is_complete }
    }

    fn get(&self, id: &[u8]) -> Option<u32> {
        let is = |at: &u32| self.id(*at) == Some(id);
        let at = self.index.find(xxh3_64_with_seed(id, self.seed), is)?;
        self.ids.get(*at as usize).map(|(_, ordinal)| *ordinal)
    }

    fn id(&self, at: u32) -> Option<&[u8]> {
        self.ids.get(at as usize).and_then(|(range, _)| self.bytes.get(range.clone()))
    }

    /// Remembers ordinals that were given away, once they are committed.
    pub(crate) fn add(&mut self, given: &GivenOrdinals) {
        given.iter().for_each(|(id, ordinal)| self.insert(id, ordinal));
    }

    /// Remembers the ordinal of an id that is not known yet.
    fn insert(&mut self, id: &[u8], ordinal: u32) {
        if self.bytes.len() > IDS_BYTES_MAX {
            self.index.clear();
            self.ids.clear();
            self.bytes.clear();
            self.is_complete = false;
        }
        // There are fewer ids than bytes of them, but for the one without bytes.
        let Ok(at) = u32::try_from(self.ids.len()) else {
            self.is_complete = false;
            return;
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(id);
        self.ids.push((start..self.bytes.len(), ordinal));
        let Self { seed, index, ids, bytes, .. } = self;
        let hash = |at: &u32| {
            let id = ids.get(*at as usize).and_then(|(range, _)| bytes.get(range.clone()));
            xxh3_64_with_seed(id.unwrap_or_default(), *seed)
        };
        index.insert_unique(xxh3_64_with_seed(id, *seed), at, hash);
    }

    /// The ordinals of ids, in their order. Those that are not in memory are looked up, and remembered.
    pub(super) fn look_up(&mut self, snapshot: &EngineSnapshot, ids: &[&[u8]]) -> Result<Vec<Option<u32>>> {
        let mut ordinals: Vec<Option<u32>> = ids.iter().map(|id| self.get(id)).collect();
        if self.is_complete {
            return Ok(ordinals);
        }
        let unknown = ordinals.iter().zip(ids).filter(|(ordinal, _)| ordinal.is_none());
        let missing: Vec<&[u8]> = unknown.map(|(_, id)| *id).collect();
        let found = ordinals_of(snapshot, &missing)?;
        for (id, ordinal) in missing.iter().zip(&found) {
            if let Some(ordinal) = ordinal {
                self.insert(id, *ordinal);
            }
        }
        let mut found = found.into_iter();
        ordinals.iter_mut().filter(|ordinal| ordinal.is_none()).for_each(|place| *place = found.next().flatten());
        Ok(ordinals)
    }
}

/// The ids of ordinals, of one snapshot, read as they are needed and kept for all that read them.
pub(super) struct SharedIds {
    snapshot: EngineSnapshot,
    known: RwLock<IdPages>,
}

#[derive(Default)]
struct IdPages {
    /// By ordinal / 1024.
    ids: Vec<Option<Arc<OrdinalIds>>>,
    bytes: usize,
}

impl SharedIds {
    pub(super) fn new(snapshot: &EngineSnapshot) -> Arc<Self> {
        Arc::new(Self { snapshot: snapshot.clone(), known: RwLock::default() })
    }

    /// The ids of an ordinal and its neighbors.
    fn get(&self, number: usize, key: [u8; 4]) -> Result<Arc<OrdinalIds>> {
        if let Some(Some(ids)) = self.known.read().ids.get(number) {
            return Ok(Arc::clone(ids));
        }
        let ids = Arc::new(read_ids(&self.snapshot, key)?.unwrap_or_default());
        let mut known = self.known.write();
        if known.bytes > IDS_BYTES_MAX {
            *known = IdPages::default();
        }
        known.bytes += ids.size_bytes();
        if known.ids.len() <= number {
            known.ids.resize(number + 1, None);
        }
        if let Some(place) = known.ids.get_mut(number) {
            *place = Some(Arc::clone(&ids));
        }
        Ok(ids)
    }
}

/// A reader of ids of ordinals.
pub(super) struct IdCache {
    shared: Arc<SharedIds>,
    /// Those of the last ordinal and its neighbors, which come together in a block.
    current: Option<(usize, Arc<OrdinalIds>)>,
}

impl IdCache {
    pub(super) fn new(snapshot: &EngineSnapshot) -> Self {
        Self::of(&SharedIds::new(snapshot))
    }

    pub(super) fn of(shared: &Arc<SharedIds>) -> Self {
        Self { shared: Arc::clone(shared), current: None }
    }

    /// The ids of an ordinal and its neighbors.
    #[inline]
    pub(super) fn page(&mut self, ordinal: u32) -> Result<&Arc<OrdinalIds>> {
        let (key, _) = OrdinalIds::key_of(ordinal);
        let number = u32::from_be_bytes(key) as usize;
        let current = match self.current.take().filter(|(known, _)| *known == number) {
            Some(current) => current,
            None => (number, self.shared.get(number, key)?),
        };
        Ok(&self.current.insert(current).1)
    }

    /// Appends the id of an ordinal, and says whether it has one.
    pub(super) fn find_id(&mut self, ordinal: u32, out: &mut Vec<u8>) -> Result<bool> {
        let (_, at) = OrdinalIds::key_of(ordinal);
        let id = self.page(ordinal)?.get(at);
        id.into_iter().for_each(|id| out.extend_from_slice(id));
        Ok(id.is_some())
    }
}

/// How many ordinals were given away, and the ids of the last of them and those before it under the same key.
pub(super) fn last_ids(snapshot: &EngineSnapshot) -> Result<(u32, OrdinalIds)> {
    use std::ops::Bound::Unbounded;

    let mut stored = snapshot.scan(ORDINAL_IDS, Unbounded, Unbounded, ReadHint::ShortRange);
    let damaged = |key: &[u8]| Error::corrupt(format!("the key of ids of ordinals cannot be read key={key:02x?}"));
    let Some((key, _)) = stored.next_back()? else { return Ok((0, OrdinalIds::default())) };
    let first = OrdinalIds::first_of(key).map_err(|_| damaged(key))?;
    let key = <[u8; 4]>::try_from(key).map_err(|_| damaged(key))?;
    let ids = read_ids(snapshot, key)?.unwrap_or_default();
    let count = u32::try_from(ids.len()).ok().and_then(|len| first.checked_add(len));
    Ok((count.ok_or_else(|| Error::limit("there are as many ordinals as there can be"))?, ids))
}

/// The ids under a key.
pub(super) fn read_ids(snapshot: &EngineSnapshot, key: [u8; 4]) -> Result<Option<OrdinalIds>> {
    snapshot
        .read(ORDINAL_IDS, &key, |value| value.map(OrdinalIds::decode).transpose())?
        .map_err(|Malformed(what)| Error::corrupt(format!("the ids of ordinals cannot be read: {what} key={key:02x?}")))
}
