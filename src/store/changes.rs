//! Which profiles and events the last commits changed, and what they wrote, in memory: what was read of them is brought
//! up to another snapshot by applying that, or by reading them again.
//!
//! Every commit is noted before it is written, with the sequence number before it, so that what is seen in a table is
//! found here. A key that is noted in vain costs a read in vain, no more. What is noted as written, put or deleted must
//! be exactly what the commit does to the key, because it is not read again.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::join::{ChangedIds, ChangedRow, RowBytes, RowState};
use crate::segment::KeyList;

/// The keys that are kept, of all commits together, and their bytes with those of rows: about as many rows of events as
/// joins keep in memory.
const KEYS_MAX: usize = 1 << 18;
const BYTES_MAX: usize = 32 << 20;

/// A write to a profile of more bytes than this is not kept: reading the row again costs less than forgetting others.
const WRITE_BYTES_MAX: usize = 256;

/// The changes of the last commits.
#[derive(Default)]
pub(crate) struct RecentChanges(Mutex<ChangeLog>);

#[derive(Default)]
struct ChangeLog {
    commits: VecDeque<CommitChanges>,
    keys: usize,
    bytes: usize,
    /// What was changed after this sequence number is known.
    known_after: u64,
}

/// A column family, and a key in it.
type FamilyKey = (Arc<str>, Box<[u8]>);

/// What one commit changes.
struct CommitChanges {
    /// The sequence numbers before and after it; none while it is being written.
    before: u64,
    after: Option<u64>,
    /// Whether it is known that it has changed what it was to change.
    is_certain: bool,
    /// The column families and keys; none where they were too many.
    keys: Option<ChangedKeys>,
}

/// The keys of a commit. Cheap to clone.
#[derive(Clone)]
struct ChangedKeys {
    /// Keys that are put, merged or deleted.
    each: Arc<[FamilyKey]>,
    /// Keys to which nothing else is done.
    rows: Option<Arc<ChangedRows>>,
    bytes: usize,
}

/// What a commit does to rows of one column family, where it does nothing else to them.
pub(super) enum ChangedRows {
    Deleted(DeletedKeys),
    Put(PutRows),
    Written(WrittenRows),
}

/// What a commit writes to profiles of one column family, where that is short.
pub(super) struct WrittenRows {
    pub(super) family: Arc<str>,
    ids: KeyList,
    /// Operands and rows. The empty one deletes the row.
    writes: KeyList,
}

impl WrittenRows {
    pub(super) fn new(family: &Arc<str>) -> Self {
        Self { family: Arc::clone(family), ids: KeyList::default(), writes: KeyList::default() }
    }

    /// Adds an operand or a row, or the deletion of a row, unless it is of another column family or too long.
    pub(super) fn add(&mut self, family: &str, id: &[u8], write: Option<&[u8]>) -> bool {
        let write = write.unwrap_or_default();
        let is_kept = *family == *self.family && write.len() <= WRITE_BYTES_MAX;
        if is_kept {
            self.ids.push(id);
            self.writes.push(write);
        }
        is_kept
    }
}

/// Rows that a commit puts. The last of those with the same key is what remains.
pub(super) struct PutRows {
    pub(super) family: Arc<str>,
    pub(super) keys: KeyList,
    pub(super) values: KeyList,
}

/// Keys of a column family that a commit deletes.
pub(super) struct DeletedKeys {
    pub(super) family: Arc<str>,
    pub(super) keys: Arc<KeyList>,
    /// The positions of those that it does not delete, ascending.
    pub(super) except: Vec<usize>,
}

impl ChangedKeys {
    fn len(&self) -> usize {
        self.each.len() + self.rows.as_ref().map_or(0, |rows| rows.len())
    }

    /// The keys of a column family, and the states in which they are left. Of two with the same key the latter is
    /// meant.
    fn of<'k>(&'k self, family: &'k str) -> impl Iterator<Item = (&'k [u8], LeftState<'k>)> {
        let each = self.each.iter().filter(move |(of, _)| **of == *family);
        let rows = self.rows.as_deref().filter(|rows| **rows.family() == *family);
        let deleted = rows.and_then(ChangedRows::deleted).into_iter().flat_map(DeletedKeys::iter);
        let put = rows.and_then(ChangedRows::put).into_iter().flat_map(|rows| rows.keys.iter().zip(rows.values.iter()));
        let written = rows.and_then(ChangedRows::written).into_iter();
        let written = written.flat_map(|written| written.ids.iter().zip(written.writes.iter()));
        each.map(|(_, key)| (&**key, LeftState::Unknown))
            .chain(deleted.map(|key| (key, LeftState::Absent)))
            .chain(put.map(|(key, value)| (key, LeftState::Present(value))))
            .chain(written.map(|(id, write)| (id, LeftState::After(write))))
    }
}

/// The state in which a commit leaves a row.
#[derive(Clone, Copy)]
enum LeftState<'k> {
    Unknown,
    Absent,
    Present(&'k [u8]),
    /// That of before, after this operand or row was written; after its deletion if this is empty.
    After(&'k [u8]),
}

impl ChangedRows {
    fn family(&self) -> &Arc<str> {
        match self {
            Self::Deleted(DeletedKeys { family, .. })
            | Self::Put(PutRows { family, .. })
            | Self::Written(WrittenRows { family, .. }) => family,
        }
    }

    fn deleted(&self) -> Option<&DeletedKeys> {
        if let Self::Deleted(keys) = self { Some(keys) } else { None }
    }

    fn put(&self) -> Option<&PutRows> {
        if let Self::Put(rows) = self { Some(rows) } else { None }
    }

    fn written(&self) -> Option<&WrittenRows> {
        if let Self::Written(writes) = self { Some(writes) } else { None }
    }

    fn len(&self) -> usize {
        match self {
            Self::Deleted(DeletedKeys { keys, .. }) => keys.len(),
            Self::Put(PutRows { keys, .. }) => keys.len(),
            Self::Written(WrittenRows { ids, .. }) => ids.len(),
        }
    }

    fn len_bytes(&self) -> usize {
        match self {
            Self::Deleted(DeletedKeys { keys, .. }) => keys.len_bytes(),
            Self::Put(PutRows { keys, values, .. }) => keys.len_bytes() + values.len_bytes(),
            Self::Written(WrittenRows { ids, writes, .. }) => ids.len_bytes() + writes.len_bytes(),
        }
    }
}

impl DeletedKeys {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut except = self.except.iter().peekable();
        let is_deleted = move |at: &usize| except.next_if(|exception| *exception == at).is_none();
        (0..self.keys.len()).filter(is_deleted).filter_map(|at| self.keys.get(at))
    }
}

impl<'k> LeftState<'k> {
    /// What was written to the row, if that is known.
    fn write(self) -> Option<&'k [u8]> {
        if let Self::After(write) = self { Some(write) } else { None }
    }
}

/// What one commit leaves under a key.
struct KeyChange<'c> {
    key: &'c [u8],
    state: LeftState<'c>,
    /// In the order of the commits.
    number: usize,
}

/// The commits between two sequence numbers, and whether each has happened for certain.
struct CommitsBetween(Vec<(ChangedKeys, bool)>);

impl CommitsBetween {
    /// What they change in a column family, by key, and of each key the oldest first.
    fn of<'c>(&'c self, family: &'c str) -> Vec<KeyChange<'c>> {
        let changes = self.0.iter().flat_map(|(keys, has_happened)| {
            keys.of(family).map(|(key, state)| (key, if *has_happened { state } else { LeftState::Unknown }))
        });
        let changes = changes.enumerate().map(|(number, (key, state))| KeyChange { key, state, number });
        let mut changes: Vec<KeyChange<'c>> = changes.collect();
        changes.sort_unstable_by(|one, other| one.key.cmp(other.key).then(one.number.cmp(&other.number)));
        changes
    }
}

/// The changes of each key.
fn by_key<'s, 'c>(changes: &'s [KeyChange<'c>]) -> impl Iterator<Item = (&'c [u8], &'s [KeyChange<'c>])> {
    changes.chunk_by(|one, other| one.key == other.key).filter_map(|changes| Some((changes.first()?.key, changes)))
}

impl RecentChanges {
    /// Takes note of what is about to be committed. `before` is the sequence number of the last commit.
    pub(super) fn begin<'k>(&self, before: u64, keys: impl Iterator<Item = (&'k Arc<str>, &'k [u8])>) {
        self.begin_rows(before, None, keys);
    }

    /// As [`begin`](Self::begin), of a commit of which more is known.
    pub(super) fn begin_rows<'k>(
        &self,
        before: u64,
        rows: Option<ChangedRows>,
        keys: impl Iterator<Item = (&'k Arc<str>, &'k [u8])>,
    ) {
        let mut bytes = rows.as_ref().map_or(0, ChangedRows::len_bytes);
        let each = keys.map(|(family, key)| {
            bytes += key.len();
            (Arc::clone(family), key.into())
        });
        let each: Arc<[FamilyKey]> = each.take(KEYS_MAX + 1).collect();
        let keys = ChangedKeys { each, rows: rows.map(Arc::new), bytes };
        let keys = Some(keys).filter(|keys| keys.len() <= KEYS_MAX && keys.bytes <= BYTES_MAX);
        let mut log = self.0.lock();
        log.keys += keys.as_ref().map_or(0, ChangedKeys::len);
        log.bytes += keys.as_ref().map_or(0, |keys| keys.bytes);
        log.commits.push_back(CommitChanges { before, after: None, is_certain: false, keys });
        log.truncate();
    }

    /// Takes note of a commit of which it is not known what it changes.
    pub(super) fn begin_unknown(&self, before: u64) {
        self.0.lock().commits.push_back(CommitChanges { before, after: None, is_certain: false, keys: None });
    }

    /// Takes no note of what is about to be committed after a sequence number: what changed since then or before is not
    /// known.
    pub(super) fn skip(&self, before: u64) {
        let mut log = self.0.lock();
        log.known_after = log.known_after.max(before.saturating_add(1));
    }

    /// Takes note of the sequence number after the commit that was begun last, and whether it was successful.
    pub(super) fn end(&self, after: u64, is_certain: bool) {
        if let Some(commit) = self.0.lock().commits.back_mut() {
            (commit.after, commit.is_certain) = (Some(after), is_certain);
        }
    }

    /// The keys of a column family that may differ between two sequence numbers, in any order of the two; none if that
    /// is not known any more. They ascend.
    pub(super) fn keys(&self, family: &str, one: u64, other: u64) -> Option<Vec<Box<[u8]>>> {
        let commits = self.between(one, other)?;
        Some(by_key(&commits.of(family)).map(|(key, _)| key.into()).collect())
    }

    /// As [`keys`](Self::keys), with the rows that there are at the latter sequence number.
    pub(super) fn rows(&self, family: &str, from: u64, to: u64) -> Option<Vec<ChangedRow>> {
        let commits = self.between(from, to)?;
        let row = |(key, changes): (&[u8], &[KeyChange<'_>])| {
            let last = changes.last().filter(|_| from <= to).map_or(LeftState::Unknown, |last| last.state);
            let (state, value) = match last {
                LeftState::Unknown | LeftState::After(_) => (RowState::Unknown, &[][..]),
                LeftState::Absent => (RowState::Absent, &[][..]),
                LeftState::Present(value) => (RowState::Present, value),
            };
            ChangedRow { row: RowBytes::new(key, value), state }
        };
        Some(by_key(&commits.of(family)).map(row).collect())
    }

    /// As [`keys`](Self::keys), with what was written to each between the two sequence numbers.
    pub(super) fn writes(&self, family: &str, from: u64, to: u64) -> Option<ChangedIds> {
        let commits = self.between(from, to)?;
        let (mut ids, mut writes) = (ChangedIds::default(), Vec::new());
        for (id, changes) in by_key(&commits.of(family)) {
            writes.clear();
            writes.extend(changes.iter().filter(|_| from <= to).filter_map(|change| change.state.write()));
            if writes.len() == changes.len() {
                ids.push_with(id, &writes);
            } else {
                ids.push(id);
            }
        }
        Some(ids)
    }

    /// The commits between two sequence numbers, in any order of the two, unless they are not known any more.
    fn between(&self, one: u64, other: u64) -> Option<CommitsBetween> {
        let (from, to) = (one.min(other), one.max(other));
        let log = self.0.lock();
        if from < log.known_after {
            return None;
        }
        let of_commit = |commit: &CommitChanges| {
            // Of a commit in flight, or one that failed, it is not known what has happened.
            let has_happened = commit.is_certain && commit.after.is_some_and(|after| after <= to);
            Some((commit.keys.clone()?, has_happened))
        };
        // One is begun after the one before has ended.
        let start = log.commits.partition_point(|commit| commit.after.is_some_and(|after| after <= from));
        let overlapping = log.commits.range(start..).take_while(|commit| commit.before < to);
        // The leader does not wait while what they change is copied.
        overlapping.map(of_commit).collect::<Option<Vec<_>>>().map(CommitsBetween)
    }
}

impl ChangeLog {
    /// Forgets the oldest commits until the rest is few enough.
    fn truncate(&mut self) {
        while (self.keys > KEYS_MAX || self.bytes > BYTES_MAX || self.commits.len() > KEYS_MAX)
            && let Some(CommitChanges { after: Some(after), .. }) = self.commits.front()
        {
            self.known_after = *after;
            if let Some(CommitChanges { keys: Some(keys), .. }) = self.commits.pop_front() {
                self.keys -= keys.len();
                self.bytes -= keys.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(changes: &RecentChanges, one: u64, other: u64) -> Option<Vec<String>> {
        let keys = changes.keys("users", one, other)?;
        Some(keys.iter().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect())
    }

    #[test]
    fn what_lies_between_two_moments_is_found_in_both_directions() {
        let (changes, users, other) = (RecentChanges::default(), Arc::from("users"), Arc::from("group:a"));
        let commit = |before: u64, keys: &[&str], after: Option<u64>| {
            let keys = keys.iter().map(|key| (&users, key.as_bytes())).chain([(&other, &b"x"[..])]);
            changes.begin(before, keys);
            after.into_iter().for_each(|after| changes.end(after, true));
        };
        commit(10, &["a", "b"], Some(13));
        commit(13, &["b", "c"], Some(15));
        // Something else was committed in between.
        commit(20, &["d"], None);
        let texts = |keys: &[&str]| Some(keys.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(between(&changes, 0, 10), texts(&[]));
        assert_eq!(between(&changes, 0, 13), texts(&["a", "b"]));
        assert_eq!(between(&changes, 15, 12), texts(&["a", "b", "c"]));
        assert_eq!(between(&changes, 15, 20), texts(&[]));
        assert_eq!((between(&changes, 15, 21), between(&changes, 30, 13)), (texts(&["d"]), texts(&["b", "c", "d"])));
        assert_eq!(between(&changes, 20, 20), texts(&[]));
    }

    #[test]
    fn a_key_is_known_to_be_deleted_by_the_last_commit_that_has_happened() {
        let (changes, events) = (RecentChanges::default(), Arc::from("events"));
        let key = |key: &'static str| [(&events, key.as_bytes())].into_iter();
        let deletes = |before: u64, keys: &[&str], except: Vec<usize>| {
            let mut list = KeyList::default();
            keys.iter().for_each(|key| list.push(key.as_bytes()));
            let deleted = DeletedKeys { family: Arc::clone(&events), keys: Arc::new(list), except };
            changes.begin_rows(before, Some(ChangedRows::Deleted(deleted)), std::iter::empty());
        };
        let deleted = |one: u64, other: u64| {
            let rows = changes.rows("events", one, other).unwrap();
            rows.iter().map(|changed| changed.state == RowState::Absent).collect::<Vec<_>>()
        };
        changes.begin(1, key("a"));
        changes.end(2, true);
        deletes(2, &["a"], vec![]);
        changes.end(3, true);
        assert_eq!((deleted(1, 3), deleted(1, 2), deleted(2, 3)), (vec![true], vec![false], vec![true]));
        changes.begin(3, key("a"));
        changes.end(4, true);
        assert_eq!((deleted(2, 4), deleted(2, 3)), (vec![false], vec![true]));
        deletes(4, &["a"], vec![]);
        assert_eq!(deleted(2, 5), [false]);
        changes.end(5, true);
        // What was committed again is none of them.
        deletes(5, &["a", "b", "c", "d"], vec![0, 2]);
        changes.end(6, true);
        assert_eq!(changes.keys("events", 5, 6).unwrap(), [b"b"[..].into(), b"d"[..].into()]);
    }

    #[test]
    fn a_row_is_known_as_the_last_commit_that_has_happened_put_it() {
        let (changes, events) = (RecentChanges::default(), Arc::from("events"));
        let put = |before: u64, rows: &[(&str, &str)]| {
            let (mut keys, mut values) = (KeyList::default(), KeyList::default());
            for (key, value) in rows {
                keys.push(key.as_bytes());
                values.push(value.as_bytes());
            }
            let rows = PutRows { family: Arc::clone(&events), keys, values };
            changes.begin_rows(before, Some(ChangedRows::Put(rows)), std::iter::empty());
        };
        let states = |one: u64, other: u64| {
            let rows = changes.rows("events", one, other).unwrap();
            rows.into_iter().map(|changed| (changed.state, changed.row.value().to_vec())).collect::<Vec<_>>()
        };
        let (present, unknown) = (|value: &str| (RowState::Present, value.into()), (RowState::Unknown, vec![]));
        put(1, &[("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(states(1, 4), [unknown.clone(), unknown.clone()]);
        changes.end(4, true);
        assert_eq!(states(1, 4), [present("2"), present("3")]);
        // A snapshot of before the end of the commit has none of it.
        assert_eq!(states(1, 3), [unknown.clone(), unknown.clone()]);
        put(4, &[("b", "4")]);
        changes.end(5, true);
        assert_eq!((states(1, 5), states(4, 9)), (vec![present("2"), present("4")], vec![present("4")]));
        // What failed may have happened or not.
        put(5, &[("a", "5")]);
        changes.end(5, false);
        put(5, &[("c", "6")]);
        changes.end(6, true);
        assert_eq!(states(4, 6), [unknown, present("4"), present("6")]);
    }

    #[test]
    fn what_was_written_to_a_profile_is_known_in_order_once_it_has_happened() {
        let (changes, users) = (RecentChanges::default(), Arc::from("users"));
        let commit = |before: u64, writes: &[(&str, Option<&str>)]| {
            let mut written = WrittenRows::new(&users);
            for (id, write) in writes {
                assert!(written.add("users", id.as_bytes(), write.map(str::as_bytes)));
            }
            let others = [(&users, &b"other"[..])].into_iter();
            changes.begin_rows(before, Some(ChangedRows::Written(written)), others);
        };
        let writes = |from: u64, to: u64| {
            let ids = changes.writes("users", from, to).unwrap();
            let writes = |at: usize| {
                let writes = ids.writes(at)?.map(|write| String::from_utf8(write.to_vec()).unwrap());
                Some(writes.collect::<Vec<_>>())
            };
            let ids = ids.ids().enumerate().map(|(at, id)| (String::from_utf8(id.to_vec()).unwrap(), writes(at)));
            ids.collect::<Vec<_>>()
        };
        let known = |id: &str, writes: &[&str]| (id.to_owned(), Some(writes.iter().map(ToString::to_string).collect()));
        let unknown = |id: &str| (id.to_owned(), None);
        commit(1, &[("b", Some("1")), ("a", Some("2"))]);
        assert_eq!(writes(1, 3), [unknown("a"), unknown("b"), unknown("other")]);
        changes.end(3, true);
        commit(3, &[("b", None)]);
        changes.end(4, true);
        commit(4, &[("b", Some("3"))]);
        changes.end(5, true);
        assert_eq!(writes(1, 5), [known("a", &["2"]), known("b", &["1", "", "3"]), unknown("other")]);
        assert_eq!(writes(3, 4), [known("b", &[""]), unknown("other")]);
        // What was there before is not known of them.
        assert_eq!(writes(4, 3), [unknown("b"), unknown("other")]);
        // What failed may have happened or not.
        commit(5, &[("a", Some("4"))]);
        changes.end(5, false);
        assert_eq!(writes(3, 6), [unknown("a"), known("b", &["", "3"]), unknown("other")]);
    }

    #[test]
    fn what_is_long_or_of_another_table_is_not_kept() {
        let mut written = WrittenRows::new(&Arc::from("users"));
        assert!(!written.add("group:a", b"x", Some(b"1")) && !written.add("users", b"x", Some(&[7; 257])));
        assert!(written.add("users", b"x", Some(&[7; 256])) && written.ids.len() == 1);
    }

    #[test]
    fn what_was_not_noted_is_not_known() {
        let (changes, users) = (RecentChanges::default(), Arc::from("users"));
        changes.skip(3);
        changes.skip(7);
        changes.begin(9, [(&users, &b"a"[..])].into_iter());
        changes.end(10, true);
        assert_eq!([between(&changes, 3, 10), between(&changes, 10, 7)], [None, None]);
        assert_eq!(between(&changes, 9, 10), Some(vec!["a".to_owned()]));
    }

    #[test]
    fn old_commits_are_forgotten_and_large_ones_are_not_known() {
        let (changes, users) = (RecentChanges::default(), Arc::from("users"));
        let keys: Vec<[u8; 8]> = (0..KEYS_MAX as u64 + 1).map(u64::to_be_bytes).collect();
        let commit = |before: u64, count: usize| {
            changes.begin(before, keys.iter().take(count).map(|key| (&users, key.as_slice())));
            changes.end(before + 1, true);
        };
        commit(1, KEYS_MAX);
        assert_eq!(changes.keys("users", 1, 2).map(|keys| keys.len()), Some(KEYS_MAX));
        commit(2, 2);
        assert_eq!((changes.keys("users", 1, 3), changes.keys("users", 2, 3).unwrap().len()), (None, 2));
        commit(3, KEYS_MAX + 1);
        assert_eq!((changes.keys("users", 3, 4), changes.keys("users", 2, 3).unwrap().len()), (None, 2));
        commit(4, 1);
        assert_eq!((changes.keys("users", 4, 5).unwrap().len(), changes.keys("users", 3, 5)), (1, None));
    }
}
