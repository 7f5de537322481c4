//! Iterators over events: range scans, and a skip scan for the events of one user.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use super::scan::{LogScan, Tier};
use crate::codec::{EventKey, day_of, day_prefix, decode_event, user_prefix};
use crate::error::Result;
use crate::model::{Event, Timestamp};

/// Events, all of one snapshot, which the iterator owns.
///
/// An event that cannot be read is an error item with its time and `distinct_id`, and the scan continues after it. When
/// the engine cannot continue, or a column segment cannot be read, the last item is an error. An end without an error
/// is the end of the range.
pub struct Events {
    scan: LogScan,
    pattern: AccessPattern,
    ended: bool,
}

enum AccessPattern {
    All,
    Within(Bound<Timestamp>, Bound<Timestamp>),
    Of(UserSkipScan),
}

/// A skip scan over the events of one user: it seeks from day to day.
struct UserSkipScan {
    id: String,
    /// The prefix of the keys of this user on the current day.
    prefix: Vec<u8>,
}

impl Events {
    pub(super) fn all(scan: LogScan) -> Self {
        Self { scan, pattern: AccessPattern::All, ended: false }
    }

    pub(super) fn within(scan: LogScan, from: Bound<Timestamp>, to: Bound<Timestamp>) -> Self {
        Self { scan, pattern: AccessPattern::Within(from, to), ended: false }
    }

    pub(super) fn of_user(scan: LogScan, id: &str) -> Self {
        Self { scan, pattern: AccessPattern::Of(UserSkipScan::new(id)), ended: false }
    }

    fn step(&mut self) -> Result<Option<Result<Event>>> {
        match &mut self.pattern {
            AccessPattern::Of(user) => user.next(&mut self.scan, decode_event),
            AccessPattern::All => Ok(self.scan.next()?.map(|(key, value)| decode_event(key, value))),
            AccessPattern::Within(from, to) => {
                while let Some((key, value)) = self.scan.next()? {
                    // A key that cannot be read has no time: the item is the error of decoding it.
                    if EventKey::read(key).map_or(true, |key| (*from, *to).contains(&key.time())) {
                        return Ok(Some(decode_event(key, value)));
                    }
                }
                Ok(None)
            }
        }
    }
}

impl UserSkipScan {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), prefix: user_prefix(day_prefix(i32::MIN), id) }
    }

    /// The next event of the user. Days on which there are none cost one or two seeks.
    fn next<R>(&mut self, scan: &mut LogScan, with: impl FnOnce(&[u8], &[u8]) -> R) -> Result<Option<R>> {
        loop {
            let Some((key, value)) = scan.next()? else { return Ok(None) };
            // A key too short for a day is of no user.
            let Some(&day) = key.first_chunk() else { continue };
            if !self.prefix.starts_with(&day) {
                self.prefix = user_prefix(day, &self.id);
            }
            if key.starts_with(&self.prefix) {
                return Ok(Some(with(key, value)));
            }
            // The scan is past the prefix, so the user has no more events on this day.
            if self.prefix.as_slice() < key {
                let Some(next) = day_of(day).checked_add(1) else { return Ok(None) };
                self.prefix = user_prefix(day_prefix(next), &self.id);
            }
            scan.seek(&self.prefix);
        }
    }
}

/// The keys of the events of one user.
pub(super) struct UserKeys {
    scan: LogScan,
    user: UserSkipScan,
}

impl UserKeys {
    pub(super) fn new(scan: LogScan, id: &str) -> Self {
        Self { scan, user: UserSkipScan::new(id) }
    }

    /// The next key, and the tier that it is in.
    pub(super) fn next(&mut self) -> Result<Option<(Vec<u8>, Tier)>> {
        let key = self.user.next(&mut self.scan, |key, _| key.to_vec())?;
        Ok(key.map(|key| (key, self.scan.tier())))
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.step() {
            Ok(Some(event)) => Some(event),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

impl FusedIterator for Events {}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("ended", &self.ended).finish_non_exhaustive()
    }
}
