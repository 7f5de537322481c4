//! The keys of events that are committed while a change of column segments is being prepared.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

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

    /// The keys since then, in no order; more than [`KEYS_MAX`] if there are too many.
    pub(super) fn keys(&self) -> MutexGuard<'_, KeyList> {
        self.keys.lock()
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
