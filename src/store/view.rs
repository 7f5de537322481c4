//! Point reads of profiles, of the store as it is or of a snapshot.

use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use super::check::damage;
use super::families::Families;
use super::profile_scan::ProfileScan;
use super::scan::{KnownIds, Profiles};
use super::shared::Shared;
use crate::codec;
use crate::error::Result;
use crate::model::{Damage, FIRST_EVENT, Kind, LAST_SEEN, Profile, Salvaged, Timestamp, Value};
use crate::rocks::{EngineSnapshot, READ_KEYS_MAX, SalvagedRow};

/// What a view reads.
#[derive(Clone)]
pub(crate) enum ReadSource {
    /// The store as it is at each call.
    Live(Arc<Shared>),
    Snapshot(EngineSnapshot),
}

impl ReadSource {
    fn read<R>(&self, family: &str, key: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        match self {
            Self::Live(shared) => shared.engine().read(family, key, with),
            Self::Snapshot(snapshot) => snapshot.read(family, key, with),
        }
    }

    fn snapshot(&self) -> EngineSnapshot {
        match self {
            Self::Live(shared) => shared.engine().snapshot(),
            Self::Snapshot(snapshot) => snapshot.clone(),
        }
    }
}

/// The read verbs on one kind of profile: of the store as it is at each call, through a [`Table`](crate::Table), or of
/// a [`Snapshot`](crate::Snapshot).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Db, Update};
///
/// let users = Db::open(dir.path().join("store"))?.users();
/// users.update("alice", Update::new().set("plan", "pro").add("logins", 1))?;
/// users.update("bob", Update::new().add("logins", 7))?;
///
/// assert!(users.contains("alice")? && !users.contains("carol")?);
/// assert_eq!(users.get_property("bob", "logins")?, Some(7.into()));
/// let both = users.get_many(&["bob", "carol"])?;
/// assert!(both[0].is_some() && both[1].is_none());
/// let busy: Result<Vec<_>, _> = users.scan().filter(r#"properties["logins"] > 5"#).iter().collect();
/// assert_eq!(busy?[0].0, "bob");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct View {
    source: ReadSource,
    families: Families,
}

impl View {
    pub(crate) fn new(source: ReadSource, kind: Kind) -> Self {
        Self { source, families: Families::of(kind) }
    }

    /// The kind of profile that this is about.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.families.kind
    }

    /// The profile with this id, if there is one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let users = profiledb::Db::open(dir.path().join("store"))?.users();
    /// users.update("alice", profiledb::Update::new().set("plan", "pro"))?;
    /// let alice = users.get("alice")?.expect("she was just written");
    /// assert_eq!(alice.get("plan"), Some(&"pro".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when its row cannot be read, [`Io`](crate::ErrorKind::Io) when the engine
    /// cannot read.
    pub fn get(&self, id: &str) -> Result<Option<Profile>> {
        let Some(mut profile) = self.read(id, codec::decode_profile)? else { return Ok(None) };
        // After the row: what was committed together with it is seen with it.
        match self.first_event_time(id) {
            Ok(time) => profile.first_event = time,
            // It is derived from events, and no reason to withhold what is stored.
            Err(error) if error.is_corrupt() => profile.first_event_damaged = true,
            Err(error) => return Err(error),
        }
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
    /// that were appended for it. For groups, events count from when their table exists, see
    /// [`Db::backfill_first_event_times`](crate::Db::backfill_first_event_times).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let time = Timestamp::parse("2024-01-02T03:04:05")?;
    /// db.events().append(Event::new("visit", "alice", time))?;
    /// assert_eq!(db.users().first_event_time("alice")?, Some(time));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the time cannot be read, [`Io`](crate::ErrorKind::Io) when the
    /// engine cannot read.
    pub fn first_event_time(&self, id: &str) -> Result<Option<Timestamp>> {
        let (family, key) = (&self.families.first_events, id.as_bytes());
        let cache = match &self.source {
            ReadSource::Live(shared) => Some(&shared.first_events),
            // The cache is of the store as it is.
            ReadSource::Snapshot(_) => None,
        };
        let miss = match cache.map(|cache| cache.get(family, key)) {
            Some(Ok(time)) => return Ok(time),
            Some(Err(miss)) => Some(miss),
            None => None,
        };
        let decode = |stamp: Option<&[u8]>| stamp.map(codec::decode_stamp).transpose();
        let time = self.source.read(family, key, decode)?.map_err(|error| self.families.with_context(&error, key))?;
        if let Some((cache, miss)) = cache.zip(miss) {
            cache.fill(miss, family, key, time);
        }
        Ok(time)
    }

    fn read<R>(&self, id: &str, decode: impl FnOnce(&[u8]) -> Result<Option<R>>) -> Result<Option<R>> {
        let decode = |row: Option<&[u8]>| row.map_or(Ok(None), decode);
        let value = self.source.read(&self.families.rows, id.as_bytes(), decode)?;
        value.map_err(|error| self.families.with_context(&error, id.as_bytes()))
    }

    /// Many profiles at once, in the order of the ids: a batched lookup, consistent with itself.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); the first profile that cannot be read fails the call.
    pub fn get_many<I: AsRef<str>>(&self, ids: &[I]) -> Result<Vec<Option<Profile>>> {
        let keys: Vec<&[u8]> = ids.iter().map(|id| id.as_ref().as_bytes()).collect();
        let decode = |_, row: Option<&[u8]>| row.map_or(Ok(None), codec::decode_profile);
        let Families { rows, first_events, .. } = &self.families;
        let (profiles, times) = match &self.source {
            // One call of the engine is consistent with itself. More ids than it takes, or two families, need more.
            ReadSource::Live(shared) if keys.len() <= READ_KEYS_MAX && !shared.engine().has_family(first_events) => {
                (shared.engine().read_many(rows, &keys, decode)?, Vec::new())
            }
            source => {
                let snapshot = source.snapshot();
                let decode_time = |_, stamp: Option<&[u8]>| stamp.map(codec::decode_stamp).transpose();
                let profiles = snapshot.read_many(rows, &keys, decode)?;
                let times = match snapshot.read_many(first_events, &keys, decode_time) {
                    Ok(times) => times,
                    Err(error) if error.is_corrupt() => keys.iter().map(|_| Err(error.clone())).collect(),
                    Err(error) => return Err(error),
                };
                (profiles, times)
            }
        };
        let times = times.into_iter().chain(std::iter::repeat_with(|| Ok(None)));
        let joined = profiles.into_iter().zip(times).map(|(profile, time)| match profile? {
            Some(profile) => Ok(Some(match time {
                Ok(first_event) => Profile { first_event, ..profile },
                // As in `get`.
                Err(_) => Profile { first_event_damaged: true, ..profile },
            })),
            None => Ok(None),
        });
        let with_context = |error, key: &[u8]| self.families.with_context(&error, key);
        joined.zip(&keys).map(|(profile, key)| profile.map_err(|error| with_context(error, key))).collect()
    }

    /// Whether there is a profile with this id.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn contains(&self, id: &str) -> Result<bool> {
        self.read(id, |row| codec::row_exists(row).map(|exists| exists.then_some(()))).map(|found| found.is_some())
    }

    /// A scan of profiles, to be narrowed before it is iterated: range, filter, projection, limit, direction. It sees a
    /// snapshot as of now.
    pub fn scan(&self) -> ProfileScan {
        ProfileScan::new(self.source.snapshot(), self.families.clone())
    }

    /// All profiles, in the byte order of their ids.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let users = profiledb::Db::open(dir.path().join("store"))?.users();
    /// # for id in ["a", "b", "c"] { users.update(id, profiledb::Update::new().set("x", 1))?; }
    /// for row in &users {
    ///     let (id, profile) = row?;
    ///     println!("{id} {profile:?}");
    /// }
    /// let (last, _) = users.iter().next_back().expect("there are three")?;
    /// assert_eq!(last, "c");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn iter(&self) -> Profiles {
        self.scan().iter()
    }

    /// Reads every profile that can be read, past damage, in the byte order of their ids. `each` gets the profiles, and
    /// what cannot be read, where it is. Ends with its first error.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let users = profiledb::Db::open(dir.path().join("store"))?.users();
    /// use profiledb::{Salvaged, Update};
    ///
    /// users.update("alice", Update::new().set("plan", "pro"))?;
    /// users.salvage(|item| -> profiledb::Result<()> {
    ///     match item {
    ///         Salvaged::Item((id, profile)) => println!("{id} {profile:?}"),
    ///         Salvaged::Damage(damage) => eprintln!("{damage:?}"),
    ///     }
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `each`.
    pub fn salvage<E>(&self, mut each: impl FnMut(Salvaged<(String, Profile)>) -> Result<(), E>) -> Result<(), E> {
        let Families { kind, rows, first_events } = &self.families;
        let (snapshot, table) = (self.source.snapshot(), kind.to_string());
        let at_snapshot = Self::new(ReadSource::Snapshot(snapshot.clone()), kind.clone());
        snapshot.salvage(rows, |item| {
            let (key, row) = match item {
                SalvagedRow::Row(key, row) => (key, row),
                SalvagedRow::Damage(keys) => return each(Salvaged::Damage(damage(&table, keys))),
            };
            let read = self.families.id(key).and_then(|id| Ok((id, codec::decode_profile(row)?)));
            let (id, mut profile) = match read {
                Ok((id, Some(profile))) => (id, profile),
                Ok((_, None)) => return Ok(()),
                Err(error) => {
                    let id = String::from_utf8_lossy(key);
                    return each(Salvaged::Damage(Damage::row(&table, &id, error.message())));
                }
            };
            match at_snapshot.first_event_time(id) {
                Ok(time) => profile.first_event = time,
                Err(error) => {
                    profile.first_event_damaged = true;
                    each(Salvaged::Damage(Damage::row(first_events, id, error.with_sources())))?;
                }
            }
            each(Salvaged::Item((id.to_owned(), profile)))
        })
    }

    /// The profiles whose ids are in a range, in the byte order of their ids.
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
        self.scan().range(range).iter()
    }

    /// The profiles whose ids begin with this text, in the byte order of their ids.
    #[must_use]
    pub fn prefix(&self, prefix: &str) -> Profiles {
        self.scan().prefix(prefix).iter()
    }

    /// The ids that have a profile or an event, in their byte order: each with its profile, if it has one. Mixpanel's
    /// "All Users", where [`iter`](Self::iter) is its "User Profiles".
    ///
    /// An id that had an event is known even when its events are gone, until
    /// [`Db::delete_user`](crate::Db::delete_user). For groups, events count from when their table exists.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.events().append(Event::new("visit", "alice", Timestamp::parse("2024-01-02")?))?;
    /// let known: Result<Vec<_>, _> = db.users().known().collect();
    /// assert_eq!(known?, [("alice".to_owned(), None)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn known(&self) -> KnownIds {
        self.scan().known()
    }
}

impl AsRef<Kind> for View {
    fn as_ref(&self) -> &Kind {
        self.kind()
    }
}

impl IntoIterator for &View {
    type Item = Result<(String, Profile)>;
    type IntoIter = Profiles;

    fn into_iter(self) -> Profiles {
        self.iter()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(self.kind()).finish()
    }
}
