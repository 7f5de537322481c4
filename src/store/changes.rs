//! Which profiles and events the last commits changed, in memory: what was read of them is brought up to another
//! snapshot by reading those again.
//!
//! Every commit is noted before it is written, with the sequence number before it, so that what is seen in a table is
//! found here. A key that is noted in vain is read again in vain, and that is all.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::segment::KeyList;

/// The keys that are kept, of all commits together, and their bytes.
const KEYS_MAX: usize = 1 << 18;
const BYTES_MAX: usize = 16 << 20;

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
    /// The column families and keys; none where they were too many.
    keys: Option<ChangedKeys>,
}

/// The keys of a commit. Cheap to clone.
#[derive(Clone)]
struct ChangedKeys {
    /// Keys that are put, merged or deleted.
    each: Arc<[FamilyKey]>,
    /// Keys that are deleted, and nothing else is done to them.
    deleted: Option<Arc<DeletedKeys>>,
    bytes: usize,
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
        self.each.len() + self.deleted.as_ref().map_or(0, |deleted| deleted.keys.len())
    }

    /// The keys of a column family, and whether they are deleted.
    fn of<'k>(&'k self, family: &'k str) -> impl Iterator<Item = (&'k [u8], bool)> {
        let each = self.each.iter().filter(move |(of, _)| **of == *family).map(|(_, key)| (&**key, false));
        let deleted = self.deleted.as_deref().filter(|deleted| *deleted.family == *family);
        each.chain(deleted.into_iter().flat_map(DeletedKeys::iter).map(|key| (key, true)))
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
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChangedKey {
    pub(crate) key: Box<[u8]>,
    /// Whether it is known that it has no row in the later state. If not, that has to be read.
    pub(crate) is_deleted: bool,
}

impl RecentChanges {
    /// Takes note of what is about to be committed. `before` is the sequence number of the last commit.
    pub(super) fn begin<'k>(&self, before: u64, keys: impl Iterator<Item = (&'k Arc<str>, &'k [u8])>) {
        self.begin_deletes(before, None, keys);
    }

    /// As [`begin`](Self::begin), of a commit that also deletes keys.
    pub(super) fn begin_deletes<'k>(
        &self,
        before: u64,
        deleted: Option<DeletedKeys>,
        keys: impl Iterator<Item = (&'k Arc<str>, &'k [u8])>,
    ) {
        let mut bytes = deleted.as_ref().map_or(0, |deleted| deleted.keys.len_bytes());
        let each = keys.map(|(family, key)| {
            bytes += key.len();
            (Arc::clone(family), key.into())
        });
        let each: Arc<[FamilyKey]> = each.take(KEYS_MAX + 1).collect();
        let keys = ChangedKeys { each, deleted: deleted.map(Arc::new), bytes };
        let keys = Some(keys).filter(|keys| keys.len() <= KEYS_MAX && keys.bytes <= BYTES_MAX);
        let mut log = self.0.lock();
        log.keys += keys.as_ref().map_or(0, ChangedKeys::len);
        log.bytes += keys.as_ref().map_or(0, |keys| keys.bytes);
        log.commits.push_back(CommitChanges { before, after: None, keys });
        log.truncate();
    }

    /// Takes note of a commit of which it is not known what it changes.
    pub(super) fn begin_unknown(&self, before: u64) {
        self.0.lock().commits.push_back(CommitChanges { before, after: None, keys: None });
    }

    /// Takes no note of what is about to be committed after a sequence number: what changed since then or before is not
    /// known.
    pub(super) fn skip(&self, before: u64) {
        let mut log = self.0.lock();
        log.known_after = log.known_after.max(before.saturating_add(1));
    }

    /// Takes note of the sequence number after the commit that was begun last.
    pub(super) fn end(&self, after: u64) {
        if let Some(commit) = self.0.lock().commits.back_mut() {
            commit.after = Some(after);
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
        let overlaps = |commit: &&CommitChanges| commit.before < to && commit.after.is_none_or(|after| after > from);
        let of_commit = |commit: &CommitChanges| {
            // Whether a commit in flight has happened is not known.
            let has_happened = commit.after.is_some_and(|after| after <= to);
            Some((commit.keys.clone()?, has_happened))
        };
        let commits = log.commits.iter().filter(overlaps).map(of_commit).collect::<Option<Vec<_>>>()?;
        drop(log);
        // The leader does not wait while these are copied.
        let mut found = Vec::new();
        for (number, (keys, has_happened)) in commits.iter().enumerate() {
            let changed =
                |(key, deletes): (&[u8], bool)| ChangedKey { key: key.into(), is_deleted: deletes && *has_happened };
            found.extend(keys.of(family).map(|key| (changed(key), number)));
        }
        // Of each key the last change.
        found.sort_unstable_by(|(one, at), (other, other_at)| one.key.cmp(&other.key).then(other_at.cmp(at)));
        found.dedup_by(|(later, _), (first, _)| later.key == first.key);
        Some(found.into_iter().map(|(changed, _)| changed).collect())
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
            after.into_iter().for_each(|after| changes.end(after));
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
            changes.begin_deletes(before, Some(deleted), std::iter::empty());
        };
        let deleted = |one: u64, other: u64| {
            let keys = changes.between("events", one, other).unwrap();
            keys.iter().map(|changed| changed.is_deleted).collect::<Vec<_>>()
        };
        changes.begin(1, key("a"));
        changes.end(2);
        deletes(2, &["a"], vec![]);
        changes.end(3);
        assert_eq!((deleted(1, 3), deleted(1, 2), deleted(2, 3)), (vec![true], vec![false], vec![true]));
        changes.begin(3, key("a"));
        changes.end(4);
        assert_eq!((deleted(2, 4), deleted(2, 3)), (vec![false], vec![true]));
        deletes(4, &["a"], vec![]);
        assert_eq!(deleted(2, 5), [false]);
        changes.end(5);
        // What was committed again is none of them.
        deletes(5, &["a", "b", "c", "d"], vec![0, 2]);
        changes.end(6);
        let keys = changes.between("events", 5, 6).unwrap();
        assert_eq!(keys.iter().map(|changed| &*changed.key).collect::<Vec<_>>(), [b"b", b"d"]);
    }

    #[test]
    fn what_was_not_noted_is_not_known() {
        let (changes, users) = (RecentChanges::default(), Arc::from("users"));
        changes.skip(3);
        changes.skip(7);
        changes.begin(9, [(&users, &b"a"[..])].into_iter());
        changes.end(10);
        assert_eq!([between(&changes, 3, 10), between(&changes, 10, 7)], [None, None]);
        assert_eq!(between(&changes, 9, 10), Some(vec!["a".to_owned()]));
    }

    #[test]
    fn old_commits_are_forgotten_and_large_ones_are_not_known() {
        let (changes, users) = (RecentChanges::default(), Arc::from("users"));
        let keys: Vec<[u8; 8]> = (0..KEYS_MAX as u64 + 1).map(u64::to_be_bytes).collect();
        let commit = |before: u64, count: usize| {
            changes.begin(before, keys.iter().take(count).map(|key| (&users, key.as_slice())));
            changes.end(before + 1);
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
