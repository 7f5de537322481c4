//! Iterators over profiles and over known ids.

use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::Bound;

use super::first::FirstTimes;
use super::view::View;
use crate::codec;
use crate::error::Result;
use crate::model::Profile;
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};

/// Profiles in the order of their ids, all of one moment. It owns its snapshot.
///
/// A row that cannot be read is an error item, and the scan goes on behind it. A scan that the engine cannot go on with
/// yields one last error. An end without an error is the end.
pub struct Profiles {
    rows: EngineScan,
    first: Option<FirstTimes>,
    view: View,
    ended: bool,
}

impl Profiles {
    pub(super) fn new(
        view: &View,
        snapshot: &EngineSnapshot,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        hint: ReadHint,
    ) -> Self {
        let rows = snapshot.scan(view.family(), from, to, hint);
        let first = FirstTimes::scan(snapshot, view.first_family(), from, to, hint);
        Self { rows, first, view: view.clone(), ended: false }
    }

    fn step(&mut self) -> Result<Option<Result<(String, Profile)>>> {
        while let Some((key, row)) = self.rows.next()? {
            let Some(profile) = codec::decode_profile(row).transpose() else { continue };
            let time = match &mut self.first {
                Some(first) => first.of(key)?.transpose(),
                None => Ok(None),
            };
            let profile = profile.and_then(|profile| Ok(Profile { first_event: time?, ..profile }));
            let id = String::from_utf8_lossy(key).into_owned();
            return Ok(Some(match profile {
                Ok(profile) => Ok((id, profile)),
                Err(error) => Err(self.view.blame(error, id.as_bytes())),
            }));
        }
        Ok(None)
    }
}

impl Iterator for Profiles {
    type Item = Result<(String, Profile)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = if self.ended { Ok(None) } else { self.step() };
        self.ended |= !matches!(step, Ok(Some(_)));
        step.unwrap_or_else(|error| Some(Err(error)))
    }
}

impl FusedIterator for Profiles {}

impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiles").field("view", &self.view).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// An id, and its profile, if it has one.
type Known = (String, Option<Profile>);

/// Ids that are known from a profile, from an event, or from both, in their order and all of one moment: each with its
/// profile, if it has one. It owns its snapshot, and errors are as in [`Profiles`].
pub struct KnownIds {
    rows: EngineScan,
    /// The row that comes next, while ids without profiles come before it.
    row: Option<(Vec<u8>, Result<Option<Profile>>)>,
    first: Option<FirstTimes>,
    view: View,
    ended: bool,
}

impl KnownIds {
    pub(super) fn new(view: &View, snapshot: &EngineSnapshot) -> Self {
        let (from, to, hint) = (Bound::Unbounded, Bound::Unbounded, ReadHint::FullScan);
        let rows = snapshot.scan(view.family(), from, to, hint);
        let first = FirstTimes::scan(snapshot, view.first_family(), from, to, hint);
        Self { rows, row: None, first, view: view.clone(), ended: false }
    }

    fn step(&mut self) -> Result<Option<Result<Known>>> {
        loop {
            if self.row.is_none() {
                self.row = self.rows.next()?.map(|(key, row)| (key.to_vec(), codec::decode_profile(row)));
            }
            let first = match &mut self.first {
                Some(first) => first.id()?,
                None => None,
            };
            let order = match (&self.row, first) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some(first)) => key.as_slice().cmp(first),
            };
            let (event_only, row) = match order {
                Ordering::Greater => (first.map(|id| String::from_utf8_lossy(id).into_owned()), None),
                Ordering::Less | Ordering::Equal => (None, self.row.take()),
            };
            let time = match &mut self.first {
                Some(first) if order != Ordering::Less => first.take()?,
                _ => None,
            };
            if let Some(id) = event_only {
                return Ok(Some(Ok((id, None))));
            }
            let Some((key, profile)) = row else { continue };
            let known = time.is_some();
            let joined = profile.and_then(|profile| match profile {
                Some(profile) => Ok(Some(Profile { first_event: time.transpose()?, ..profile })),
                None => Ok(None),
            });
            match joined {
                Ok(None) if !known => {}
                Ok(profile) => return Ok(Some(Ok((String::from_utf8_lossy(&key).into_owned(), profile)))),
                Err(error) => return Ok(Some(Err(self.view.blame(error, &key)))),
            }
        }
    }
}

impl Iterator for KnownIds {
    type Item = Result<Known>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = if self.ended { Ok(None) } else { self.step() };
        self.ended |= !matches!(step, Ok(Some(_)));
        step.unwrap_or_else(|error| Some(Err(error)))
    }
}

impl FusedIterator for KnownIds {}

impl fmt::Debug for KnownIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownIds").field("view", &self.view).field("ended", &self.ended).finish_non_exhaustive()
    }
}
