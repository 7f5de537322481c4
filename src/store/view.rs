//! Reading profiles: of the store as it is, or as it was when a snapshot was taken.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::family::family_of;
use super::open::Store;
use crate::codec;
use crate::error::{Error, Result};
use crate::model::{Kind, Profile, Value};
use crate::rocks::{Extent, READ_KEYS_MAX, Scan, Snapshot};

/// What a view reads.
#[derive(Clone)]
pub(crate) enum Source {
    /// The store as it is at each call.
    Live(Arc<Store>),
    /// One moment.
    Pinned(Snapshot),
}

impl Source {
    fn read<R>(&self, family: &str, key: &[u8], with: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        match self {
            Self::Live(store) => store.engine().read(family, key, with),
            Self::Pinned(snapshot) => snapshot.read(family, key, with),
        }
    }

    fn snapshot(&self) -> Snapshot {
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
}

impl View {
    pub(crate) fn new(source: Source, kind: Kind) -> Self {
        let family = family_of(&kind);
        Self { source, kind, family }
    }

    /// The kind of profile that this is about.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    fn blame(&self, error: Error, id: &[u8]) -> Error {
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
        let decode = |row: Option<&[u8]>| row.map_or(Ok(None), codec::decode_profile);
        self.source.read(&self.family, id.as_bytes(), decode)?.map_err(|error| self.blame(error, id.as_bytes()))
    }

    /// One property of a profile, without decoding the others.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_property(&self, id: &str, name: &str) -> Result<Option<Value>> {
        let decode = |row: Option<&[u8]>| row.map_or(Ok(None), |row| codec::decode_property(row, name));
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
        let profiles = match &self.source {
            // More ids than the engine takes at once are several calls, so they need a snapshot to agree.
            Source::Live(store) if keys.len() > READ_KEYS_MAX => {
                store.engine().snapshot().read_many(&self.family, &keys, decode)?
            }
            Source::Live(store) => store.engine().read_many(&self.family, &keys, decode)?,
            Source::Pinned(snapshot) => snapshot.read_many(&self.family, &keys, decode)?,
        };
        let named = profiles.into_iter().zip(&keys);
        named.map(|(profile, key)| profile.map_err(|error| self.blame(error, key))).collect()
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
        self.scan(Bound::Unbounded, Bound::Unbounded, Extent::Bulk)
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
        self.scan(bytes(range.start_bound()), bytes(range.end_bound()), Extent::Short)
    }

    /// The profiles whose ids begin with this text, in the byte order of their ids.
    #[must_use]
    pub fn prefix(&self, prefix: &str) -> Profiles {
        let end = after_prefix(prefix.as_bytes());
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.scan(Bound::Included(prefix.as_bytes()), end, Extent::Short)
    }

    fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, extent: Extent) -> Profiles {
        let scan = self.source.snapshot().scan(&self.family, from, to, extent);
        Profiles { scan, view: self.clone(), ended: false }
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

/// Profiles in the order of their ids, all of one moment. It owns its snapshot.
///
/// A row that cannot be read is an error item, and the scan goes on behind it. A scan that the engine cannot go on with
/// yields one last error. An end without an error is the end.
pub struct Profiles {
    scan: Scan,
    view: View,
    ended: bool,
}

impl Iterator for Profiles {
    type Item = Result<(String, Profile)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.scan.next() {
                Ok(Some((key, row))) => {
                    let id = String::from_utf8_lossy(key).into_owned();
                    match codec::decode_profile(row) {
                        Ok(None) => {}
                        Ok(Some(profile)) => return Some(Ok((id, profile))),
                        Err(error) => return Some(Err(self.view.blame(error, id.as_bytes()))),
                    }
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl FusedIterator for Profiles {}

impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiles").field("view", &self.view).field("ended", &self.ended).finish_non_exhaustive()
    }
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
