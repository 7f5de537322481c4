//! Ordinals of ids in memory: a hash index that sealing, which gives ordinals away, and joins, which look up the users
//! of rows, share.
//!
//! An id keeps its ordinal until it is erased, and ordinals ascend in the order in which they are given away. So the
//! index is valid for every snapshot since the last erasure: in one with `count` ordinals, an id whose ordinal is not
//! less than that has none yet. For earlier snapshots it knows nothing.

use hashbrown::HashTable;
use parking_lot::RwLock;

use super::edit::SegmentEdit;
use crate::codec::{ORDINALS, Reader, SeededHash, put_varint};

/// The memory of an index, in bytes: that of ten million ids of ten bytes.
const MEMORY_MAX: usize = 256 << 20;

/// All ids are loaded once one in this many was looked up in the table: that takes about as long.
const LOADED_SHARE: u32 = 32;

/// With this many lookups all ids are loaded at the earliest.
const LOOKUPS_MIN: u32 = 1_024;

/// Which ordinals a snapshot has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrdinalStamp {
    /// The number of the engine, and the sequence number of the snapshot.
    pub(crate) engine: u64,
    pub(crate) sequence: u64,
    /// How many ordinals were given away.
    pub(crate) count: u32,
}

/// What is known of the ordinal of an id in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownOrdinal {
    Given(u32),
    /// It has none.
    NotGiven,
    Unknown,
}

/// Ordinals of ids.
#[derive(Debug, Default)]
pub(crate) struct OrdinalIndex(RwLock<IndexState>);

#[derive(Debug, Default)]
struct IndexState {
    /// The engine, once there is one, and the sequence number of the first snapshot of which something is known.
    engine: Option<u64>,
    since: u64,
    ids: IndexedIds,
    /// All ids with an ordinal below this one are here.
    complete_to: u32,
    /// How many were not known since ids were loaded last, and how many ordinals there were then.
    unknown: u32,
    count: u32,
    /// Whether there is no room for another id. Those that are here stay: if they made room, each day that is sealed in
    /// the order of ids would evict every id before the next day needs it.
    is_full: bool,
    /// Whether all ids cannot be loaded: they do not fit, or one cannot be read.
    cannot_load: bool,
}

impl IndexState {
    fn holds(&self, at: OrdinalStamp) -> bool {
        self.engine == Some(at.engine) && at.sequence >= self.since
    }

    /// A secondary that has caught up has a new engine, and is not told what was erased meanwhile.
    fn move_to(&mut self, engine: u64) {
        if self.engine.is_none_or(|known| known < engine) {
            *self = Self { engine: Some(engine), ..Self::default() };
        }
    }

    /// Remembers the ordinal of an id, and says whether it is known then.
    fn insert(&mut self, id: &[u8], ordinal: u32) -> bool {
        if self.ids.get(id).is_some() {
            return true;
        }
        self.is_full = self.is_full || !self.ids.insert(id, ordinal);
        !self.is_full
    }

    fn forget(&mut self) {
        (self.ids, self.complete_to, self.is_full) = (IndexedIds::default(), 0, false);
    }
}

impl OrdinalIndex {
    /// The ordinals of ids in a snapshot, in their order, as far as they are known.
    pub(crate) fn find(&self, at: OrdinalStamp, ids: &[&[u8]]) -> Vec<KnownOrdinal> {
        if at.count == 0 {
            return vec![KnownOrdinal::NotGiven; ids.len()];
        }
        let state = self.0.read();
        if !state.holds(at) {
            return vec![KnownOrdinal::Unknown; ids.len()];
        }
        let is_complete = state.complete_to >= at.count;
        let find = |id: &&[u8]| match state.ids.get(id) {
            Some(ordinal) if ordinal < at.count => KnownOrdinal::Given(ordinal),
            // It was given away after the snapshot.
            Some(_) => KnownOrdinal::NotGiven,
            None if is_complete => KnownOrdinal::NotGiven,
            None => KnownOrdinal::Unknown,
        };
        ids.iter().map(find).collect()
    }

    /// Remembers what a snapshot has of ids that were not known.
    pub(crate) fn add_read<'k>(&self, at: OrdinalStamp, read: impl Iterator<Item = (&'k [u8], Option<u32>)>) {
        let mut state = self.0.write();
        state.move_to(at.engine);
        if !state.holds(at) {
            return;
        }
        state.count = at.count;
        for (id, ordinal) in read {
            state.unknown = state.unknown.saturating_add(1);
            if let Some(ordinal) = ordinal {
                state.insert(id, ordinal);
            }
        }
    }

    /// A change of segments is about to be committed. If ids lose their ordinals with it, or get others, nothing is
    /// known until [`end`](Self::end).
    pub(crate) fn begin(&self, engine: u64, edit: &SegmentEdit) {
        let mut state = self.0.write();
        state.move_to(engine);
        if changed_ids(edit).next().is_some() {
            state.since = u64::MAX;
        }
    }

    /// The change was committed, or not, as of this sequence number.
    pub(crate) fn end(&self, sequence: u64, edit: &SegmentEdit, is_committed: bool) {
        let mut state = self.0.write();
        if changed_ids(edit).next().is_some() {
            state.since = sequence;
            if is_committed && changed_ids(edit).all(|(_, is_erased)| is_erased) {
                changed_ids(edit).for_each(|(id, _)| state.ids.remove(id));
            } else {
                state.forget();
            }
        }
        if is_committed {
            for (id, ordinal) in edit.ordinals.iter() {
                if state.insert(id, ordinal) && state.complete_to == ordinal {
                    state.complete_to = ordinal.saturating_add(1);
                }
            }
        }
    }

    /// Whether enough ids were looked up in the table that all should be loaded.
    pub(crate) fn is_load_due(&self) -> bool {
        let state = self.0.read();
        let is_known = state.complete_to >= state.count;
        !state.cannot_load
            && !state.is_full
            && !is_known
            && state.unknown >= (state.count / LOADED_SHARE).max(LOOKUPS_MIN)
    }

    /// Takes all ids that a snapshot has, or takes note that they cannot be loaded.
    pub(crate) fn load(&self, at: OrdinalStamp, ids: Option<IndexedIds>) {
        let mut state = self.0.write();
        if !state.holds(at) {
            return;
        }
        state.unknown = 0;
        let Some(ids) = ids else {
            state.cannot_load = true;
            return;
        };
        let before = std::mem::replace(&mut state.ids, ids);
        // Those that were given away since, which may be too many.
        let mut given = before.iter().filter(|(_, ordinal)| *ordinal >= at.count);
        let has_all = given.all(|(id, ordinal)| state.insert(id, ordinal));
        state.complete_to = if has_all { state.complete_to.max(at.count) } else { at.count };
    }
}

/// The ids whose ordinals an edit changes, and whether they have none then. It does not include those that are given
/// away.
fn changed_ids(edit: &SegmentEdit) -> impl Iterator<Item = (&[u8], bool)> {
    let changed = edit.writes.iter().filter(|write| write.family == ORDINALS);
    changed.map(|write| (write.key.as_slice(), write.value.is_none()))
}

/// Ids with their ordinals, in a hash table.
///
/// ```text
/// entry | ordinal: 4 | length | id |
/// ```
#[derive(Debug, Default)]
pub(crate) struct IndexedIds {
    hash: SeededHash,
    /// Where entries begin.
    table: HashTable<u32>,
    entries: Vec<u8>,
}

impl IndexedIds {
    fn get(&self, id: &[u8]) -> Option<u32> {
        let is = |at: &u32| entry_at(&self.entries, *at).is_some_and(|entry| entry.0 == id);
        let at = self.table.find(self.hash.of(id), is)?;
        entry_at(&self.entries, *at).map(|(_, ordinal)| ordinal)
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.table.iter().filter_map(|at| entry_at(&self.entries, *at))
    }

    /// Adds an id that is not here yet. False if that takes too much memory.
    pub(crate) fn insert(&mut self, id: &[u8], ordinal: u32) -> bool {
        let Self { hash, table, entries } = self;
        let Ok(at) = u32::try_from(entries.len()) else { return false };
        let start = entries.len();
        entries.extend_from_slice(&ordinal.to_be_bytes());
        put_varint(entries, id.len() as u64);
        entries.extend_from_slice(id);
        // It doubles when it is full.
        let doublings = if table.len() < table.capacity() { 1 } else { 2 };
        if entries.len() + table.allocation_size() * doublings > MEMORY_MAX {
            entries.truncate(start);
            return false;
        }
        // Every position in the table is that of an entry.
        let hash_at = |at: &u32| hash.of(entry_at(entries, *at).unwrap_or_default().0);
        table.insert_unique(hash.of(id), at, hash_at);
        true
    }

    /// Removes an id. Its bytes stay until all ids are loaded again.
    fn remove(&mut self, id: &[u8]) {
        let Self { hash, table, entries } = self;
        let is = |at: &u32| entry_at(entries, *at).is_some_and(|entry| entry.0 == id);
        if let Ok(entry) = table.find_entry(hash.of(id), is) {
            entry.remove();
        }
    }
}

/// The id and the ordinal of an entry.
#[inline]
fn entry_at(entries: &[u8], at: u32) -> Option<(&[u8], u32)> {
    let (ordinal, rest) = entries.get(at as usize..)?.split_first_chunk()?;
    // Entries are whole: they were added above.
    Some((Reader::new(rest).slice().ok()?, u32::from_be_bytes(*ordinal)))
}

#[cfg(test)]
mod tests {
    use super::KnownOrdinal::{Given, NotGiven, Unknown};
    use super::*;

    fn at(sequence: u64, count: u32) -> OrdinalStamp {
        OrdinalStamp { engine: 7, sequence, count }
    }

    fn give(index: &OrdinalIndex, first: u32, ids: &[&[u8]]) {
        let mut edit = SegmentEdit::default();
        edit.ordinals.first = first;
        ids.iter().for_each(|id| edit.ordinals.ids.push(id));
        index.begin(7, &edit);
        index.end(0, &edit, true);
    }

    fn erasure(id: &[u8]) -> SegmentEdit {
        let mut edit = SegmentEdit::default();
        edit.delete(ORDINALS, id.to_vec());
        edit
    }

    fn find(index: &OrdinalIndex, at: OrdinalStamp, id: &str) -> KnownOrdinal {
        index.find(at, &[id.as_bytes()])[0]
    }

    #[test]
    fn what_was_given_away_is_known_in_later_snapshots_and_is_none_in_earlier_ones() {
        let index = OrdinalIndex::default();
        assert_eq!((find(&index, at(1, 0), "a"), find(&index, at(1, 1), "a")), (NotGiven, Unknown));
        give(&index, 0, &[b"a", b"b"]);
        give(&index, 2, &[b"c"]);
        assert_eq!((find(&index, at(5, 3), "c"), find(&index, at(4, 2), "c")), (Given(2), NotGiven));
        // All are known, until some are given away that are not.
        assert_eq!((find(&index, at(5, 3), "d"), find(&index, at(6, 4), "d")), (NotGiven, Unknown));
        assert_eq!(find(&index, OrdinalStamp { engine: 8, ..at(5, 3) }, "a"), Unknown);
        give(&index, 5, &[b"f"]);
        assert_eq!((find(&index, at(8, 6), "f"), find(&index, at(8, 6), "e")), (Given(5), Unknown));
    }

    #[test]
    fn nothing_is_given_away_by_what_was_not_committed() {
        let index = OrdinalIndex::default();
        let mut edit = SegmentEdit::default();
        edit.ordinals.ids.push(b"a");
        index.begin(7, &edit);
        index.end(3, &edit, false);
        assert_eq!(find(&index, at(5, 1), "a"), Unknown);
    }

    #[test]
    fn what_a_snapshot_has_is_remembered_but_not_of_one_before_an_erasure() {
        let index = OrdinalIndex::default();
        let read = |sequence: u64, id: &str, ordinal: u32| {
            index.add_read(at(sequence, 9), std::iter::once((id.as_bytes(), Some(ordinal))));
        };
        read(3, "a", 4);
        read(3, "b", 5);
        assert_eq!((find(&index, at(2, 9), "a"), find(&index, at(3, 5), "b")), (Given(4), NotGiven));
        index.begin(7, &erasure(b"a"));
        assert_eq!(find(&index, at(11, 9), "a"), Unknown);
        // It was read before, and may be the one that is erased.
        read(9, "c", 6);
        index.end(10, &erasure(b"a"), true);
        read(9, "a", 4);
        assert_eq!((find(&index, at(9, 9), "b"), find(&index, at(10, 9), "b")), (Unknown, Given(5)));
        assert_eq!((find(&index, at(10, 9), "a"), find(&index, at(10, 9), "c")), (Unknown, Unknown));
        // A repair gives an id the ordinal that blocks have for it.
        let mut repair = erasure(b"b");
        repair.put(ORDINALS, b"b".to_vec(), b"another".to_vec());
        index.begin(7, &repair);
        index.end(12, &repair, true);
        assert_eq!(find(&index, at(12, 9), "b"), Unknown);
        read(13, "b", 5);
        // It is not known whether this was committed.
        index.begin(7, &erasure(b"c"));
        index.end(13, &erasure(b"c"), false);
        assert_eq!(find(&index, at(13, 9), "b"), Unknown);
        // A secondary that has caught up.
        read(14, "b", 5);
        let caught_up = OrdinalStamp { engine: 8, ..at(14, 9) };
        index.add_read(caught_up, std::iter::empty());
        assert_eq!(find(&index, caught_up, "b"), Unknown);
        index.add_read(caught_up, std::iter::once((&b"b"[..], Some(5))));
        assert_eq!(find(&index, caught_up, "b"), Given(5));
    }

    #[test]
    fn all_ids_are_loaded_once_many_were_not_known() {
        let index = OrdinalIndex::default();
        let names: Vec<String> = (0..LOOKUPS_MIN).map(|n| format!("user-{n}")).collect();
        index.add_read(at(3, 50), names.iter().skip(1).map(|name| (name.as_bytes(), None)));
        assert!(!index.is_load_due());
        index.add_read(at(3, 50), std::iter::once((&b"x"[..], None)));
        assert!(index.is_load_due());
        give(&index, 50, &[b"new"]);
        let mut all = IndexedIds::default();
        (0..50).for_each(|ordinal| assert!(all.insert(names[ordinal as usize].as_bytes(), ordinal)));
        index.load(at(3, 50), Some(all));
        assert!(!index.is_load_due());
        assert_eq!((find(&index, at(3, 50), "user-49"), find(&index, at(3, 50), "user-50")), (Given(49), NotGiven));
        // What was given away while they were being loaded is not lost.
        assert_eq!((find(&index, at(4, 51), "new"), find(&index, at(3, 50), "new")), (Given(50), NotGiven));
        index.begin(7, &erasure(b"user-3"));
        index.end(8, &erasure(b"user-3"), true);
        // The rest stays known.
        assert_eq!((find(&index, at(8, 50), "user-3"), find(&index, at(8, 50), "user-4")), (NotGiven, Given(4)));
    }

    /// A repair gives an id an ordinal that it had lost, so not all are known any more.
    #[test]
    fn after_a_repair_nothing_is_known() {
        let index = OrdinalIndex::default();
        give(&index, 0, &[b"a", b"b"]);
        assert_eq!(find(&index, at(3, 2), "c"), NotGiven);
        let mut repair = SegmentEdit::default();
        repair.put(ORDINALS, b"c".to_vec(), b"an ordinal".to_vec());
        index.begin(7, &repair);
        index.end(4, &repair, true);
        assert_eq!(index.find(at(4, 2), &[b"a", b"c"]), [Unknown, Unknown]);
    }

    /// A snapshot from before an erasure has the id that is erased.
    #[test]
    fn ids_of_before_an_erasure_are_not_loaded() {
        let index = OrdinalIndex::default();
        index.add_read(at(3, 1), std::iter::empty());
        index.begin(7, &erasure(b"a"));
        index.end(8, &erasure(b"a"), true);
        let mut all = IndexedIds::default();
        assert!(all.insert(b"a", 0));
        index.load(at(7, 1), Some(all));
        assert_eq!(find(&index, at(8, 1), "a"), Unknown);
    }

    #[test]
    fn memory_is_bounded() {
        let index = OrdinalIndex::default();
        let id = |ordinal: u32| [&ordinal.to_be_bytes(), vec![b'x'; 1 << 22].as_slice()].concat();
        let mut ids = IndexedIds::default();
        assert_eq!((0..100).take_while(|ordinal| ids.insert(&id(*ordinal), *ordinal)).count(), 63);
        assert!(!ids.insert(b"", 63) || ids.entries.len() + ids.table.allocation_size() <= MEMORY_MAX);
        // Those for which there is no room are not known, and the others are.
        give(&index, 0, &[&id(0), &id(1)]);
        (2..66).for_each(|ordinal| give(&index, ordinal, &[&id(ordinal)]));
        give(&index, 66, &[b"small"]);
        assert_eq!(
            index.find(at(1, 67), &[&id(0), &id(62), &id(63), b"small", b"none"]),
            [Given(0), Given(62), Unknown, Unknown, Unknown]
        );
        assert_eq!(index.find(at(1, 63), &[&id(62), b"none"]), [Given(62), NotGiven]);
        let look_up = || index.add_read(at(1, 67), (0..LOOKUPS_MIN).map(|_| (&b""[..], None)));
        look_up();
        assert!(!index.is_load_due(), "they are too many");
    }

    #[test]
    fn ids_that_do_not_fit_are_not_loaded_again() {
        let index = OrdinalIndex::default();
        let look_up = || index.add_read(at(1, 64), (0..LOOKUPS_MIN).map(|_| (&b""[..], None)));
        look_up();
        assert!(index.is_load_due());
        index.load(at(1, 64), None);
        look_up();
        assert!(!index.is_load_due());
    }

    /// Ids that were given away while all were being loaded may not fit any more.
    #[test]
    fn what_does_not_fit_beside_loaded_ids_is_unknown() {
        let index = OrdinalIndex::default();
        index.add_read(at(3, 1), std::iter::empty());
        let id = |first: u8| [&[first], vec![b'x'; MEMORY_MAX / 2 - 1_024].as_slice()].concat();
        let mut all = IndexedIds::default();
        assert!(all.insert(&id(b'a'), 0));
        give(&index, 1, &[&id(b'b'), b"c"]);
        give(&index, 3, &[b"d"]);
        index.load(at(3, 1), Some(all));
        assert_eq!(index.find(at(3, 1), &[&id(b'a'), b"none"]), [Given(0), NotGiven]);
        let mut more = IndexedIds::default();
        assert!(more.insert(&id(b'a'), 0) && more.insert(&id(b'e'), 1));
        index.load(at(3, 2), Some(more));
        assert_eq!(find(&index, at(4, 4), "none"), Unknown);
    }
}
