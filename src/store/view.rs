//! Reading profiles: of the store as it is, or as it was when a snapshot was taken.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::open::Store;
use super::scan::{KnownIds, Profiles};
use crate::codec::{self, family_of, first_family_of};
use crate::error::{Error, Result};
use crate::model::{FIRST_EVENT, Kind, LAST_SEEN, Profile, Timestamp, Value};
use crate::rocks::{EngineSnapshot, READ_KEYS_MAX, ReadHint};

/// What a view reads.
#[derive(Clone)]
pub(crate) enum Source {
    /// The store as it is at each call.
    Live(Arc<Store>),
    /// One moment.
    Pinned(EngineSnapshot),
}

impl Source {
    fn read<R>(&self, family: &str, key: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        match self {
            Self::Live(store) => store.engine().read(family, key, with),
            Self::Pinned(snapshot) => snapshot.read(family, key, with),
        }
    }

    fn snapshot(&self) -> EngineSnapshot {
        match self {
            Self::Live(store) => store.engine().snapshot(),
            Self::Pinned(snapshot) => snapshot.clone(),
        }
    }
}

/// The read verbs on one kind of profile. [`Table`](crate::Table) offers them on the store as it is,
/// [`Snapshot`](crate::Snapshot) on one moment of it.
#[derive(Clone)]
pub struct View {
    source: Source,
    kind: Kind,
    family: Arc<str>,
    /// Of the times of first events.
    first: Arc<str>,
}

impl View {
    pub(crate) fn new(source: Source, kind: Kind) -> Self {
        let (family, first) = (family_of(&kind), first_family_of(&kind));
        Self { source, kind, family, first }
    }

    pub(super) fn family(&self) -> &str {
        &self.family
    }

    pub(super) fn first_family(&self) -> &str {
        &self.first
    }

    /// The kind of profile that this is about.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn blame(&self, error: Error, id: &[u8]) -> Error {
        let id = String::from_utf8_lossy(id);
        Error::new(error.kind(), format!("{} table={} id={id:?}", error.message(), self.kind))
    }

    /// The profile with this id, if there is one.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when its row cannot be read, [`Io`](crate::ErrorKind::Io) when the engine
    /// cannot read.
    pub fn get(&self, id: &str) -> Result<Option<Profile>> {
        let Some(mut profile) = self.read(id, codec::decode_profile)? else { return Ok(None) };
        // After the row: what was committed together with it is seen with it.
        profile.first_event = self.first_event_time(id)?;
        Ok(Some(profile))
    }

    /// One property of a profile, without decoding the others. `$last_seen` and `$mp_first_event_time` count as
    /// properties here, as they do in JSON.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_property(&self, id: &str, name: &str) -> Result<Option<Value>> {
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string().into());
        match name {
            LAST_SEEN => self.read(id, codec::decode_last_seen).map(text),
            FIRST_EVENT if self.contains(id)? => self.first_event_time(id).map(text),
            FIRST_EVENT => Ok(None),
            name => self.read(id, |row| codec::decode_property(row, name)),
        }
    }

    /// When this user or group had its first event, whether or not there is a profile: the earliest time of all events
    /// that were appended for it. Times of groups begin with their table, see
    /// [`Db::backfill_first_event_times`](crate::Db::backfill_first_event_times).
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the time cannot be read, [`Io`](crate::ErrorKind::Io) when the
    /// engine cannot read.
    pub fn first_event_time(&self, id: &str) -> Result<Option<Timestamp>> {
        let decode = |stamp: Option<&[u8]>| stamp.map(codec::decode_stamp).transpose();
        self.source.read(&self.first, id.as_bytes(), decode)?.map_err(|error| self.blame(error, id.as_bytes()))
    }

    fn read<R>(&self, id: &str, decode: impl FnOnce(&[u8]) -> Result<Option<R>>) -> Result<Option<R>> {
        let decode = |row: Option<&[u8]>| row.map_or(Ok(None), decode);
        self.source.read(&self.family, id.as_bytes(), decode)?.map_err(|error| self.blame(error, id.as_bytes()))
    }

    /// Many profiles at once, in the order of the ids. Of the store as it is, all are of one moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); the first profile that cannot be read fails the call.
    pub fn get_many<I: AsRef<str>>(&self, ids: &[I]) -> Result<Vec<Option<Profile>>> {
        let keys: Vec<&[u8]> = ids.iter().map(|id| id.as_ref().as_bytes()).collect();
        let decode = |_, row: Option<&[u8]>| row.map_or(Ok(None), codec::decode_profile);
        let (profiles, times) = match &self.source {
            // One call of the engine agrees with itself. More ids than it takes at once, or two families, need more.
            Source::Live(store) if keys.len() <= READ_KEYS_MAX && !store.engine().has_family(&self.first) => {
                (store.engine().read_many(&self.family, &keys, decode)?, Vec::new())
            }
            source => {
                let snapshot = source.snapshot();
                let decode_time = |_, stamp: Option<&[u8]>| stamp.map(codec::decode_stamp).transpose();
                let profiles = snapshot.read_many(&self.family, &keys, decode)?;
                (profiles, snapshot.read_many(&self.first, &keys, decode_time)?)
            }
        };
        let times = times.into_iter().chain(std::iter::repeat_with(|| Ok(None)));
        let joined = profiles.into_iter().zip(times).map(|(profile, time)| match profile? {
            Some(profile) => Ok(Some(Profile { first_event: time?, ..profile })),
            None => Ok(None),
        });
        joined.zip(&keys).map(|(profile, key)| profile.map_err(|error| self.blame(error, key))).collect()
    }

    /// Whether there is a profile with this id.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn contains(&self, id: &str) -> Result<bool> {
        let exists = |row: Option<&[u8]>| row.map_or(Ok(false), codec::row_exists);
        self.source.read(&self.family, id.as_bytes(), exists)?.map_err(|error| self.blame(error, id.as_bytes()))
    }

    /// All profiles, in the byte order of their ids, as of now.
    #[must_use]
    pub fn iter(&self) -> Profiles {
        self.scan(Bound::Unbounded, Bound::Unbounded, ReadHint::FullScan)
    }

    /// The profiles whose ids lie in a range, in the byte order of their ids.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let users = profiledb::Db::open(dir.path().join("store"))?.users();
    /// # for id in ["a", "b", "c"] { users.update(id, profiledb::Update::new().set("x", 1))?; }
    /// let ids: Result<Vec<_>, _> = users.range("a".."c").map(|row| row.map(|(id, _)| id)).collect();
    /// assert_eq!(ids?, ["a", "b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn range<'a>(&self, range: impl RangeBounds<&'a str>) -> Profiles {
        let bytes = |bound: Bound<&&'a str>| bound.map(|id| id.as_bytes());
        self.scan(bytes(range.start_bound()), bytes(range.end_bound()), ReadHint::ShortRange)
    }

    /// The profiles whose ids begin with this text, in the byte order of their ids.
    #[must_use]
    pub fn prefix(&self, prefix: &str) -> Profiles {
        let end = after_prefix(prefix.as_bytes());
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.scan(Bound::Included(prefix.as_bytes()), end, ReadHint::ShortRange)
    }

    fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, hint: ReadHint) -> Profiles {
        Profiles::new(self, &self.source.snapshot(), from, to, hint)
    }

    /// The ids that are known at all, from a profile or only from events, in their byte order: each with its profile,
    /// if it has one. Mixpanel's "All Users", where [`iter`](Self::iter) is its "User Profiles".
    ///
    /// An id is known from events since it had one, also when its events are gone, until
    /// [`EventLog::delete_user`](crate::EventLog::delete_user). Groups are known from the events after their table was
    /// made.
    #[must_use]
    pub fn known(&self) -> KnownIds {
        KnownIds::new(self, &self.source.snapshot())
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.kind).finish()
    }
}

/// The least bytes that are greater than everything with this prefix, if there are any.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix.get(..=kept)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(after_prefix(&[b'a', 0xff, 0xff]).as_deref(), Some(&b"b"[..]));
        assert_eq!(after_prefix(&[0xff]), None);
        assert_eq!(after_prefix(b""), None);
    }
}
