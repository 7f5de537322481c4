//! The checker of the log: walks over every byte of every event.

use super::scan::scan_all;
use crate::codec::{self, EventKey};
use crate::error::Result;
use crate::rocks::{EngineSnapshot, ReadHint};

/// What a walk over the log came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Events that are there, readable or not.
    pub(crate) events: u64,
    /// Bytes of their values together.
    pub(crate) bytes: u64,
    pub(crate) unreadable: u64,
}

/// Walks over the log and calls `found` with the `distinct_id` of each event that cannot be read, and what is wrong.
pub(crate) fn check(snapshot: &EngineSnapshot, mut found: impl FnMut(&str, &str)) -> Result<Walked> {
    let mut walked = Walked::default();
    let mut scan = scan_all(snapshot, ReadHint::FullScan);
    while let Some((key, value)) = scan.next()? {
        walked.events += 1;
        walked.bytes += value.len() as u64;
        if let Err(error) = codec::check_event(key, value) {
            walked.unreadable += 1;
            let escaped = EventKey::read(key).map_or(key, |key| key.escaped);
            found(&String::from_utf8_lossy(escaped), error.message());
        }
    }
    Ok(walked)
}
