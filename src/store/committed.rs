//! The keys of events that are committed while a change of column segments is being prepared.

use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::request::Request;
use crate::segment::KeyList;

/// A change that lasts while more events than this are appended is refused.
pub(super) const KEYS_MAX: usize = 1 << 20;

/// The keys of the events that were committed since a change was begun.
#[derive(Default)]
pub(super) struct CommittedKeys {
    /// Whether a change was begun. Changes only while nothing is being committed.
    is_open: AtomicBool,
    keys: Mutex<KeyList>,
}

impl CommittedKeys {
    /// Takes note of requests that are about to be committed.
    pub(super) fn note(&self, requests: &[&Request]) {
        if self.is_open.load(Ordering::Acquire) {
            let mut keys = self.keys.lock();
            if keys.len() <= KEYS_MAX {
                requests.iter().flat_map(|request| &request.events).for_each(|event| keys.push(&event.key));
            }
        }
    }

    /// How many keys were noted.
    pub(super) fn len(&self) -> usize {
        self.keys.lock().len()
    }

    /// Some of the keys, in the order in which they were noted: those in a range. None if there are more than
    /// [`KEYS_MAX`].
    pub(super) fn between(&self, range: RangeInclusive<&[u8]>, which: Range<usize>) -> Option<KeyList> {
        let keys = self.keys.lock();
        if keys.len() > KEYS_MAX {
            return None;
        }
        let mut between = KeyList::default();
        let noted = (which.start..which.end.min(keys.len())).filter_map(|at| keys.get(at));
        noted.filter(|key| range.contains(key)).for_each(|key| between.push(key));
        Some(between)
    }

    pub(super) fn begin(&self) {
        self.keys.lock().clear();
        self.is_open.store(true, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.is_open.store(false, Ordering::Release);
        *self.keys.lock() = KeyList::default();
    }
}
