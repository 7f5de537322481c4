//! The write path of the first-event index, and its cache: a set-associative, write-through cache of the earliest event
//! time per id.
//!
//! Every event brings a time for its user, and nearly none of them says anything new: only the minimum counts. So times
//! of one id are folded within a commit group, and a time that is no earlier than one that is known to be committed is
//! left out. A read of a profile needs the same time, and would pay a second lookup in the engine for it.
//!
//! The cache never disagrees with the engine:
//!
//! ```text
//! leader   begin    drops the entry and marks its set as being written     then commits the batch
//!          finish   installs what was committed and unmarks the set
//! reader   miss     notes the version of the set, reads the engine, and fills the entry
//!                   only if nothing was written to the set in between
//! ```
//!
//! So a reader that sees a row of a batch sees the times of the batch: no older time is cached from its commit on.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::request::Request;
use crate::codec::{Erasure, FirstEvent, SeededHash, encode_stamp};
use crate::error::Result;
use crate::model::Timestamp;
use crate::rocks::{Engine, WriteBatch};

/// Entries of one set.
const WAYS: usize = 4;

/// The most sets. An entry takes some 90 bytes.
const SETS_MAX: usize = 1 << 18;

/// Earliest event times of the ids that were written or read last.
pub(super) struct FirstEventCache {
    hash: SeededHash,
    capacity: usize,
    sets: OnceLock<Box<[Mutex<Set>]>>,
}

#[derive(Default)]
struct Set {
    /// Bits of the hash of each entry; 0 where there is none. Compared first, because the entries span six cache lines.
    tags: [u32; WAYS],
    entries: [Option<CachedTime>; WAYS],
    /// The entry that is replaced next.
    victim: usize,
    /// Ids of this set in the batch that is being committed.
    writing: u32,
    /// Grows with every write to an id of this set.
    version: u32,
}

struct CachedTime {
    family: Arc<str>,
    /// Inline as long as it is no longer than a UUID as text.
    id: SmallVec<[u8; 36]>,
    known: Known,
}

/// What is known of the time that the engine has for an id.
#[derive(Clone, Copy)]
enum Known {
    /// This one, or none.
    Exactly(Option<Timestamp>),
    /// This one or an earlier one: enough to leave later ones out, not enough to answer.
    AtMost(Timestamp),
}

/// A lookup that found nothing, and under which condition its answer may be kept.
#[derive(Clone, Copy)]
pub(super) struct Miss(Option<(CachePlace, u32)>);

/// Where an id is looked for.
#[derive(Clone, Copy)]
struct CachePlace {
    set: usize,
    /// Not 0.
    tag: u32,
}

impl Set {
    fn position(&self, tag: u32, family: &str, id: &[u8]) -> Option<usize> {
        let is = |entry: &CachedTime| entry.id.as_slice() == id && *entry.family == *family;
        let mut entries = self.tags.iter().zip(&self.entries);
        entries.position(|(known, entry)| *known == tag && entry.as_ref().is_some_and(is))
    }

    fn get(&self, tag: u32, family: &str, id: &[u8]) -> Option<Known> {
        self.entries.get(self.position(tag, family, id)?)?.as_ref().map(|entry| entry.known)
    }

    fn take(&mut self, tag: u32, family: &str, id: &[u8]) -> Option<Known> {
        let at = self.position(tag, family, id)?;
        self.tags.get_mut(at).into_iter().for_each(|tag| *tag = 0);
        self.entries.get_mut(at)?.take().map(|entry| entry.known)
    }

    fn put(&mut self, tag: u32, family: &Arc<str>, id: &[u8], known: Known) {
        let free = self.tags.iter().position(|tag| *tag == 0);
        let at = self.position(tag, family, id).or(free).unwrap_or(self.victim);
        if let (Some(place), Some(entry)) = (self.tags.get_mut(at), self.entries.get_mut(at)) {
            *place = tag;
            *entry = Some(CachedTime { family: Arc::clone(family), id: id.into(), known });
        }
        self.victim = (at + 1) % WAYS;
    }

    /// Forgets the times of a column family.
    fn forget(&mut self, family: &str) {
        for (tag, entry) in self.tags.iter_mut().zip(&mut self.entries) {
            if entry.take_if(|entry| *entry.family == *family).is_some() {
                *tag = 0;
            }
        }
    }
}

impl FirstEventCache {
    /// A cache of at most this many bytes; 0 keeps nothing.
    pub(super) fn new(bytes: usize) -> Self {
        let sets = bytes / size_of::<Mutex<Set>>();
        let capacity = if sets == 0 { 0 } else { (1 << sets.ilog2()).min(SETS_MAX) };
        Self { hash: SeededHash::random(), capacity, sets: OnceLock::new() }
    }

    /// The time of an id in the engine as it is now, if the cache has it.
    pub(super) fn get(&self, family: &str, id: &[u8]) -> Result<Option<Timestamp>, Miss> {
        let Some((place, set)) = self.set(family, id) else { return Err(Miss(None)) };
        let set = set.lock();
        match set.get(place.tag, family, id) {
            Some(Known::Exactly(time)) => Ok(time),
            _ => Err(Miss((set.writing == 0).then_some((place, set.version)))),
        }
    }

    /// Keeps what the engine answered after a miss, unless it may have changed since.
    pub(super) fn fill(&self, Miss(miss): Miss, family: &Arc<str>, id: &[u8], time: Option<Timestamp>) {
        if time.is_some() {
            self.allocate();
        }
        let Some((place, version)) = miss else { return };
        let Some(set) = self.sets.get().and_then(|sets| sets.get(place.set)) else { return };
        let mut set = set.lock();
        if set.version == version && set.writing == 0 {
            set.put(place.tag, family, id, Known::Exactly(time));
        }
    }

    /// Forgets all times of a column family that was dropped, and what is being read of it.
    pub(super) fn forget(&self, family: &str) {
        for set in self.sets.get().into_iter().flatten() {
            let mut set = set.lock();
            set.version = set.version.wrapping_add(1);
            set.forget(family);
        }
    }

    /// A store without events has nothing to keep, so it pays nothing.
    fn allocate(&self) {
        self.sets.get_or_init(|| std::iter::repeat_with(Mutex::default).take(self.capacity).collect());
    }

    /// Whether the engine certainly has this time or an earlier one.
    fn has_committed(&self, FirstEvent { family, id, time }: &FirstEvent) -> bool {
        let known = self.set(family, id).and_then(|(place, set)| set.lock().get(place.tag, family, id));
        match known {
            Some(Known::Exactly(known)) => known.is_some_and(|known| known <= *time),
            Some(Known::AtMost(known)) => known <= *time,
            None => false,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash serve")]
    fn set(&self, family: &str, id: &[u8]) -> Option<(CachePlace, &Mutex<Set>)> {
        let sets = self.sets.get()?;
        let hash = self.hash.of_pair(id, family.as_bytes());
        let place = CachePlace { set: hash as usize & self.capacity.checked_sub(1)?, tag: (hash >> 32) as u32 | 1 };
        sets.get(place.set).map(|set| (place, set))
    }

    /// Folds the first-event times and their erasures of accepted requests, in their order, and marks what a commit
    /// will write. It has to [finish](Self::finish), whether it succeeds or fails.
    /// Times of a column family that `has_table` refuses are left out: its table was dropped since they were admitted.
    pub(super) fn begin<'r>(
        &self,
        requests: impl Iterator<Item = &'r Request>,
        has_table: impl Fn(&str) -> bool,
    ) -> FirstEventWrites<'r> {
        let mut writes: BTreeMap<(&[u8], &str), FirstEventWrite<'r>> = BTreeMap::new();
        for request in requests {
            for erasure in &request.erasures {
                if let Erasure::FirstEvent { family, id } = erasure {
                    let (erased, before) = (true, None);
                    writes.insert((id, family), FirstEventWrite { family, id, erased, time: None, before });
                }
            }
            for first @ FirstEvent { family, id, time } in &request.first_events {
                if let Some(write) = writes.get_mut(&(&**id, &**family)) {
                    write.time = Some(write.time.map_or(*time, |least| least.min(*time)));
                } else if !self.has_committed(first) && has_table(family) {
                    let write = FirstEventWrite { family, id, erased: false, time: Some(*time), before: None };
                    writes.insert((id, family), write);
                }
            }
        }
        let mut writes: Vec<FirstEventWrite<'r>> = writes.into_values().collect();
        if !writes.is_empty() {
            self.allocate();
        }
        for write in &mut writes {
            if let Some((place, set)) = self.set(write.family, write.id) {
                let mut set = set.lock();
                set.writing += 1;
                set.version = set.version.wrapping_add(1);
                write.before = set.take(place.tag, write.family, write.id);
            }
        }
        FirstEventWrites(writes)
    }

    /// Ends what [`begin`](Self::begin) began. What was not committed is not known any more.
    pub(super) fn finish(&self, writes: &FirstEventWrites<'_>, committed: bool) {
        for write in &writes.0 {
            let Some((place, set)) = self.set(write.family, write.id) else { continue };
            let mut set = set.lock();
            set.writing -= 1;
            if committed {
                set.put(place.tag, write.family, write.id, write.after());
            }
        }
    }
}

/// What a batch does to the first-event index: at most one write per id.
#[derive(Default)]
pub(super) struct FirstEventWrites<'r>(Vec<FirstEventWrite<'r>>);

struct FirstEventWrite<'r> {
    family: &'r Arc<str>,
    id: &'r [u8],
    /// Whether what the engine has is removed, before `time` if there is one.
    erased: bool,
    time: Option<Timestamp>,
    /// What was known before.
    before: Option<Known>,
}

impl FirstEventWrite<'_> {
    /// What is known once it is committed.
    fn after(&self) -> Known {
        match (self.time, self.before) {
            (time, _) if self.erased => Known::Exactly(time),
            (time, Some(Known::Exactly(before))) => Known::Exactly(before.into_iter().chain(time).min()),
            (Some(time), _) => Known::AtMost(time),
            // Neither erased nor earlier is no write.
            (None, _) => Known::Exactly(None),
        }
    }
}

impl<'r> FirstEventWrites<'r> {
    /// How many keys it touches.
    pub(super) fn keys(&self) -> usize {
        self.0.len()
    }

    /// The ids of all of them, each with its column family.
    pub(super) fn ids(&self) -> impl Iterator<Item = (&'r Arc<str>, &'r [u8])> {
        self.0.iter().map(|write| (write.family, write.id))
    }

    /// The column families that have to exist.
    pub(super) fn families(&self) -> impl Iterator<Item = &'r Arc<str>> {
        self.0.iter().filter(|write| write.time.is_some()).map(|write| write.family)
    }

    /// Adds it to a batch.
    pub(super) fn fill(&self, engine: &Engine, batch: &mut WriteBatch<'_>) -> Result<()> {
        for write in &self.0 {
            // Without the column family there is nothing to remove.
            if write.erased && engine.has_family(write.family) {
                batch.delete(write.family, write.id)?;
            }
            if let Some(time) = write.time {
                batch.merge(write.family, write.id, &encode_stamp(time))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_tells_ids_of_one_tag_apart_and_uses_the_places_of_those_that_left() {
        let (mut set, family, other) = (Set::default(), Arc::from("users"), Arc::from("group:a"));
        let known = |set: &Set, id: &[u8]| set.get(1, "users", id).is_some();
        let put = |set: &mut Set, family: &Arc<str>, id: &[u8]| set.put(1, family, id, Known::Exactly(None));
        [b"a", b"b", b"c"].iter().for_each(|id| put(&mut set, &family, *id));
        put(&mut set, &other, b"d");
        assert!(known(&set, b"a") && !known(&set, b"d") && !known(&set, b"x"));
        assert!(set.take(1, "users", b"b").is_some() && !known(&set, b"b"));
        set.forget("group:a");
        [b"e", b"f"].iter().for_each(|id| put(&mut set, &family, *id));
        assert!([b"a", b"c", b"e", b"f"].iter().all(|id| known(&set, *id)), "none had to leave for them");
    }

    const FAMILY: &str = "first:users";

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn request(times: &[(&str, i64)], erased: &[&str]) -> Request {
        let family: Arc<str> = FAMILY.into();
        let first = |(id, seconds): &(&str, i64)| FirstEvent::new(&family, id, time(*seconds));
        let erasure = |id: &&str| Erasure::FirstEvent { family: Arc::clone(&family), id: id.as_bytes().into() };
        Request {
            first_events: times.iter().map(first).collect(),
            erasures: erased.iter().map(erasure).collect(),
            ..Request::default()
        }
    }

    /// What a commit of these requests writes: id, whether it is erased before, and seconds.
    fn written(writes: &FirstEventWrites<'_>) -> Vec<(String, bool, Option<i64>)> {
        let text = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
        writes.0.iter().map(|write| (text(write.id), write.erased, write.time.map(Timestamp::seconds))).collect()
    }

    #[test]
    fn only_times_that_are_earlier_than_what_was_committed_are_written() {
        let cache = FirstEventCache::new(1 << 20);
        let of = |id: &str, erased, seconds| (id.to_owned(), erased, seconds);
        let first = [request(&[("a", 5), ("b", 7), ("a", 3)], &[]), request(&[("a", 4)], &[])];
        let writes = cache.begin(first.iter(), |_| true);
        assert_eq!(written(&writes), [of("a", false, Some(3)), of("b", false, Some(7))]);
        cache.finish(&writes, false);
        // It was not committed, so it is written again.
        let writes = cache.begin(first.iter(), |_| true);
        assert_eq!(written(&writes), [of("a", false, Some(3)), of("b", false, Some(7))]);
        cache.finish(&writes, true);
        let later = [request(&[("a", 3), ("a", 9), ("b", 6), ("c", 1)], &[])];
        let writes = cache.begin(later.iter(), |_| true);
        assert_eq!(written(&writes), [of("b", false, Some(6)), of("c", false, Some(1))]);
        cache.finish(&writes, true);
        // What is erased counts for nothing, before or after, committed or not.
        let erased = [request(&[("a", 1)], &[]), request(&[("a", 8), ("c", 1)], &["a", "b"])];
        let writes = cache.begin(erased.iter(), |_| true);
        assert_eq!(written(&writes), [of("a", true, Some(8)), of("b", true, None)]);
        cache.finish(&writes, true);
        let again = [request(&[("b", 9)], &[])];
        assert_eq!(written(&cache.begin(again.iter(), |_| true)), [of("b", false, Some(9))]);
    }

    #[test]
    fn column_families_are_told_apart() {
        let cache = FirstEventCache::new(1 << 20);
        let users = [request(&[("a", 1)], &[])];
        let writes = cache.begin(users.iter(), |_| true);
        cache.finish(&writes, true);
        let company: Arc<str> = "first:group:company".into();
        let first_events = vec![FirstEvent::new(&company, "a", time(5))];
        let both = [Request { first_events, ..Request::default() }, request(&[("a", 5)], &[])];
        assert_eq!(
            cache.begin(both.iter(), |_| true).families().map(|family| &**family).collect::<Vec<_>>(),
            [&*company]
        );
    }

    #[test]
    fn a_concurrent_write_discards_what_was_read() {
        let cache = FirstEventCache::new(1 << 20);
        let family: Arc<str> = FAMILY.into();
        let get = || cache.get(FAMILY, b"a");
        let miss = || cache.get(FAMILY, b"a").unwrap_err();
        cache.fill(miss(), &family, b"a", Some(time(9)));
        assert!(get().is_err(), "it made room only");
        let requests = [request(&[("a", 5)], &[])];
        // Read before the write, kept while it is in flight, or after it.
        for committed in [false, true] {
            let before = miss();
            let writes = cache.begin(requests.iter(), |_| true);
            let during = miss();
            cache.fill(before, &family, b"a", Some(time(9)));
            cache.fill(during, &family, b"a", Some(time(9)));
            assert!(get().is_err());
            cache.finish(&writes, committed);
            cache.fill(before, &family, b"a", Some(time(9)));
            cache.fill(during, &family, b"a", Some(time(9)));
            // The engine may have an earlier time than the one that was written.
            assert!(get().is_err());
        }
        cache.fill(miss(), &family, b"a", Some(time(4)));
        assert_eq!(get().ok(), Some(Some(time(4))));
        // From what is known exactly, what follows is known exactly.
        for (requests, expect) in [
            ([request(&[("a", 2)], &[])], Some(time(2))),
            ([request(&[], &["a"])], None),
            ([request(&[("a", 8)], &[])], Some(time(8))),
        ] {
            let writes = cache.begin(requests.iter(), |_| true);
            assert!(get().is_err());
            cache.finish(&writes, true);
            assert_eq!(get().ok(), Some(expect));
        }
    }

    #[test]
    fn a_set_keeps_the_ids_that_were_used_last() {
        let cache = FirstEventCache::new(size_of::<Mutex<Set>>());
        let family: Arc<str> = FAMILY.into();
        cache.allocate();
        let ids: Vec<String> = (0..=WAYS).map(|n| n.to_string()).collect();
        for (id, seconds) in ids.iter().zip(0..) {
            let miss = cache.get(FAMILY, id.as_bytes()).unwrap_err();
            cache.fill(miss, &family, id.as_bytes(), Some(time(seconds)));
        }
        let kept: Vec<bool> = ids.iter().map(|id| cache.get(FAMILY, id.as_bytes()).is_ok()).collect();
        assert_eq!((kept.first(), kept.iter().filter(|kept| **kept).count()), (Some(&false), WAYS));
        let off = FirstEventCache::new(0);
        off.allocate();
        off.fill(off.get(FAMILY, b"a").unwrap_err(), &family, b"a", Some(time(1)));
        assert!(off.get(FAMILY, b"a").is_err());
    }
}
