//! Lookups between ids of users and their ordinals in column segments.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::codec::{Malformed, ORDINAL_IDS, ORDINALS, SeededHash};
use crate::error::{Error, Result};
use crate::rocks::{EngineSnapshot, ReadHint};
use crate::segment::{IndexedIds, KnownOrdinal, OrdinalIds, OrdinalIndex, OrdinalStamp, ordinal_of_id};

/// Ids that are kept in memory, in bytes: those of ten million ordinals, if an id has ten bytes.
const IDS_BYTES_MAX: usize = 128 << 20;

/// After as many loaded ids it is checked whether to go on.
const LOADED_PER_CHECK: usize = 1_024;

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

/// The same in a snapshot that has `count` ordinals, from memory as far as they are known there, or else remembered.
pub(super) fn look_up(
    index: &OrdinalIndex,
    snapshot: &EngineSnapshot,
    count: u32,
    ids: &[&[u8]],
) -> Result<Vec<Option<u32>>> {
    let stamp = stamp_of(snapshot, count);
    let known = index.find(stamp, ids);
    let unknown = known.iter().zip(ids).filter(|(known, _)| **known == KnownOrdinal::Unknown);
    let unknown: Vec<&[u8]> = unknown.map(|(_, id)| *id).collect();
    let mut found = Vec::new();
    if !unknown.is_empty() {
        found = ordinals_of(snapshot, &unknown)?;
        index.add_read(stamp, unknown.iter().copied().zip(found.iter().copied()));
    }
    let mut found = found.into_iter();
    let ordinal = |known: KnownOrdinal| match known {
        KnownOrdinal::Given(ordinal) => Some(ordinal),
        KnownOrdinal::NotGiven => None,
        KnownOrdinal::Unknown => found.next().flatten(),
    };
    Ok(known.into_iter().map(ordinal).collect())
}

/// Loads all ids into memory, if lookups made that worth while and they fit.
pub(crate) fn load_ordinals(
    snapshot: &EngineSnapshot,
    index: &OrdinalIndex,
    is_stopped: impl Fn() -> bool,
) -> Result<()> {
    if !index.is_load_due() {
        return Ok(());
    }
    let stamp = stamp_of(snapshot, last_ids(snapshot)?.0);
    let loaded = read_ordinals(snapshot, is_stopped);
    // It is not tried again and again where it fails, or where they do not fit.
    let (ids, outcome) = loaded.map_or_else(|error| (None, Err(error)), |ids| (ids, Ok(())));
    index.load(stamp, ids);
    outcome
}

/// All ids that have ordinals; none if they take too much memory, or it was stopped.
fn read_ordinals(snapshot: &EngineSnapshot, is_stopped: impl Fn() -> bool) -> Result<Option<IndexedIds>> {
    use std::ops::Bound::Unbounded;

    let mut ids = IndexedIds::default();
    let mut rows = snapshot.scan(ORDINALS, Unbounded, Unbounded, ReadHint::FullScan);
    let mut count = 0_usize;
    while let Some((id, value)) = rows.next()? {
        count += 1;
        let is_checked = count.is_multiple_of(LOADED_PER_CHECK);
        if !ids.insert(id, ordinal_of_id(id, value)?) || (is_checked && is_stopped()) {
            return Ok(None);
        }
    }
    Ok(Some(ids))
}

fn stamp_of(snapshot: &EngineSnapshot, count: u32) -> OrdinalStamp {
    OrdinalStamp { engine: snapshot.engine().number(), sequence: snapshot.sequence(), count }
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
    /// The places of those that are kept, in any order.
    numbers: Vec<usize>,
    bytes: usize,
    evictions: u64,
    order: SeededHash,
}

impl IdPages {
    fn get(&self, number: usize) -> Option<&Arc<OrdinalIds>> {
        self.ids.get(number)?.as_ref()
    }

    /// Keeps ids, and evicts random ones where they do not fit. Each day is read in the order of ordinals: if the least
    /// recently used made room, all would be evicted before the next day needs them.
    fn insert(&mut self, number: usize, ids: &Arc<OrdinalIds>, bytes_max: usize) {
        if self.get(number).is_some() {
            return;
        }
        self.bytes += ids.size_bytes();
        while self.bytes > bytes_max && !self.numbers.is_empty() {
            self.evictions += 1;
            // Less than their number, so that it fits.
            let any = self.order.of(&self.evictions.to_le_bytes()) % self.numbers.len() as u64;
            let evicted = self.numbers.swap_remove(usize::try_from(any).unwrap_or_default());
            let evicted = self.ids.get_mut(evicted).and_then(Option::take);
            self.bytes -= evicted.map_or(0, |ids| ids.size_bytes());
        }
        if self.ids.len() <= number {
            self.ids.resize(number + 1, None);
        }
        if let Some(place) = self.ids.get_mut(number) {
            *place = Some(Arc::clone(ids));
            self.numbers.push(number);
        }
    }
}

impl SharedIds {
    pub(super) fn new(snapshot: &EngineSnapshot) -> Arc<Self> {
        Arc::new(Self { snapshot: snapshot.clone(), known: RwLock::default() })
    }

    /// The ids of an ordinal and its neighbors.
    fn get(&self, number: usize, key: [u8; 4]) -> Result<Arc<OrdinalIds>> {
        if let Some(ids) = self.known.read().get(number) {
            return Ok(Arc::clone(ids));
        }
        let ids = Arc::new(read_ids(&self.snapshot, key)?.unwrap_or_default());
        self.known.write().insert(number, &ids, IDS_BYTES_MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_scans_hit_pages_in_memory_though_not_all_fit() {
        let mut ids = OrdinalIds::default();
        (0..1_024).for_each(|number| ids.push(format!("user-{number}").as_bytes()));
        let ids = Arc::new(ids);
        let bytes_max = ids.size_bytes() * 50;
        let mut pages = IdPages::default();
        let mut hits = 0;
        for _ in 0..20 {
            for number in 0..100 {
                match pages.get(number) {
                    Some(_) => hits += 1,
                    None => pages.insert(number, &ids, bytes_max),
                }
            }
        }
        assert!(hits > 2_000 / 8, "{hits} of 2,000");
        // Nothing is counted twice, or kept without being counted.
        pages.insert(99, &ids, bytes_max);
        let kept: Vec<usize> = (0..100).filter(|number| pages.get(*number).is_some()).collect();
        pages.numbers.sort_unstable();
        assert_eq!((kept.len(), &kept, pages.bytes), (50, &pages.numbers, bytes_max));
    }
}
