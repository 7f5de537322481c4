//! The checker of the log: a full scan that verifies every byte of every event.

use super::scan::scan_all;
use crate::codec::{self, EventKey};
use crate::error::Result;
use crate::rocks::{EngineSnapshot, ReadHint};

/// The result of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogCheck {
    /// All events, readable or not.
    pub(crate) events: u64,
    /// The bytes of their values.
    pub(crate) bytes: u64,
    pub(crate) unreadable: u64,
}

/// Verifies the log. Calls `found` with the `distinct_id` of each event that cannot be read, and what is wrong with it.
pub(crate) fn check(snapshot: &EngineSnapshot, mut found: impl FnMut(&str, &str)) -> Result<LogCheck> {
    let mut checked = LogCheck::default();
    let mut scan = scan_all(snapshot, ReadHint::FullScan);
    while let Some((key, value)) = scan.next()? {
        checked.events += 1;
        checked.bytes += value.len() as u64;
        if let Err(error) = codec::check_event(key, value) {
            checked.unreadable += 1;
            let escaped = EventKey::read(key).map_or(key, |key| key.escaped);
            found(&String::from_utf8_lossy(escaped), error.message());
        }
    }
    Ok(checked)
}
