//! Which profiles and events the last commits changed, in memory: what was read of them is brought up to another
//! snapshot by reading those again.
//!
//! Every commit is noted before it is written, with the sequence number before it, so that what is seen in a table is
//! found here. A key that is noted in vain is read again in vain, and that is all.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::join::RowState;
use crate::segment::KeyList;

/// The keys that are kept, of all commits together, and their bytes with those of rows: about as many rows of events as
/// joins keep in memory.
const KEYS_MAX: usize = 1 << 18;
const BYTES_MAX: usize = 32 << 20;

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
        let put = rows.and_then(ChangedRows::put).into_iter().flat_map(PutRows::iter);
        each.map(|(_, key)| (&**key, LeftState::Unknown))
            .chain(deleted.map(|key| (key, LeftState::Absent)))
            .chain(put.map(|(key, value)| (key, LeftState::Present(value))))
    }
}

/// The state in which a commit leaves a row.
#[derive(Clone, Copy)]
enum LeftState<'k> {
    Unknown,
    Absent,
    Present(&'k [u8]),
}

impl LeftState<'_> {
    fn state(self) -> RowState {
        match self {
            Self::Unknown => RowState::Unknown,
            Self::Absent => RowState::Absent,
            Self::Present(value) => RowState::Present(value.into()),
        }
    }
}

impl ChangedRows {
    fn family(&self) -> &Arc<str> {
        match self {
            Self::Deleted(DeletedKeys { family, .. }) | Self::Put(PutRows { family, .. }) => family,
        }
    }

    fn deleted(&self) -> Option<&DeletedKeys> {
        if let Self::Deleted(keys) = self { Some(keys) } else { None }
    }

    fn put(&self) -> Option<&PutRows> {
        if let Self::Put(rows) = self { Some(rows) } else { None }
    }

    fn len(&self) -> usize {
        match self {
            Self::Deleted(DeletedKeys { keys, .. }) => keys.len(),
            Self::Put(PutRows { keys, .. }) => keys.len(),
        }
    }

    fn len_bytes(&self) -> usize {
        match self {
            Self::Deleted(DeletedKeys { keys, .. }) => keys.len_bytes(),
            Self::Put(PutRows { keys, values, .. }) => keys.len_bytes() + values.len_bytes(),
        }
    }
}

impl PutRows {
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.keys.iter().zip(self.values.iter())
    }
}

impl DeletedKeys {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut except = self.except.iter().peekable();
        let is_deleted = move |at: &usize| except.next_if(|exception| *exception == at).is_none();
        (0..self.keys.len()).filter(is_deleted).filter_map(|at| self.keys.get(at))
    }
}

/// A key whose row may differ.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChangedKey {
    pub(crate) key: Box<[u8]>,
    /// The row in the later of the two states. If it is not known it has to be read.
    pub(crate) state: RowState,
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
    pub(crate) fn between(&self, family: &str, one: u64, other: u64) -> Option<Vec<ChangedKey>> {
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
        let commits = overlapping.map(of_commit).collect::<Option<Vec<_>>>()?;
        drop(log);
        // The leader does not wait while these are copied.
        let changes = commits.iter().flat_map(|(keys, has_happened)| {
            keys.of(family).map(|(key, state)| (key, if *has_happened { state } else { LeftState::Unknown }))
        });
        let mut found: Vec<(&[u8], LeftState<'_>, usize)> =
            changes.enumerate().map(|(number, (key, state))| (key, state, number)).collect();
        // Of each key the last change.
        found.sort_unstable_by(|(one, _, at), (other, _, other_at)| one.cmp(other).then(other_at.cmp(at)));
        found.dedup_by(|(later, ..), (first, ..)| later == first);
        Some(found.into_iter().map(|(key, state, _)| ChangedKey { key: key.into(), state: state.state() }).collect())
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
        let keys = changes.between("users", one, other)?;
        Some(keys.iter().map(|changed| String::from_utf8(changed.key.to_vec()).unwrap()).collect())
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
            let keys = changes.between("events", one, other).unwrap();
            keys.iter().map(|changed| changed.state == RowState::Absent).collect::<Vec<_>>()
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
        let keys = changes.between("events", 5, 6).unwrap();
        assert_eq!(keys.iter().map(|changed| &*changed.key).collect::<Vec<_>>(), [b"b", b"d"]);
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
            let keys = changes.between("events", one, other).unwrap();
            keys.into_iter().map(|changed| changed.state).collect::<Vec<_>>()
        };
        let present = |value: &str| RowState::Present(value.as_bytes().into());
        put(1, &[("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(states(1, 4), [RowState::Unknown, RowState::Unknown]);
        changes.end(4, true);
        assert_eq!(states(1, 4), [present("2"), present("3")]);
        // A snapshot of before the end of the commit has none of it.
        assert_eq!(states(1, 3), [RowState::Unknown, RowState::Unknown]);
        put(4, &[("b", "4")]);
        changes.end(5, true);
        assert_eq!((states(1, 5), states(4, 9)), (vec![present("2"), present("4")], vec![present("4")]));
        // What failed may have happened or not.
        put(5, &[("a", "5")]);
        changes.end(5, false);
        put(5, &[("c", "6")]);
        changes.end(6, true);
        assert_eq!(states(4, 6), [RowState::Unknown, present("4"), present("6")]);
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
        assert_eq!(changes.between("users", 1, 2).map(|keys| keys.len()), Some(KEYS_MAX));
        commit(2, 2);
        assert_eq!((changes.between("users", 1, 3), changes.between("users", 2, 3).unwrap().len()), (None, 2));
        commit(3, KEYS_MAX + 1);
        assert_eq!((changes.between("users", 3, 4), changes.between("users", 2, 3).unwrap().len()), (None, 2));
        commit(4, 1);
        assert_eq!((changes.between("users", 4, 5).unwrap().len(), changes.between("users", 3, 5)), (1, None));
    }
}
