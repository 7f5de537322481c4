//! Range scans of the event log. Every scan of its column family is opened here.

use std::ops::{Bound, RangeBounds};

use crate::codec::{EVENTS, day_prefix};
use crate::model::Timestamp;
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};

/// Opens a scan over the whole log.
pub(crate) fn scan_all(snapshot: &EngineSnapshot, hint: ReadHint) -> EngineScan {
    snapshot.scan(EVENTS, Bound::Unbounded, Bound::Unbounded, hint)
}

/// Opens a scan over the events whose keys lie in `from..to`; without `to`, over all from `from` on.
pub(crate) fn scan_keys(snapshot: &EngineSnapshot, from: &[u8], to: Option<&[u8]>) -> EngineScan {
    snapshot.scan(EVENTS, Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded), ReadHint::LongRange)
}

/// Opens a scan over the days that a range of time touches, each of them whole.
pub(crate) fn scan_days(snapshot: &EngineSnapshot, range: impl RangeBounds<Timestamp>) -> EngineScan {
    let day = |bound: Bound<&Timestamp>| match bound {
        Bound::Included(time) | Bound::Excluded(time) => Some(time.day_and_millis().0),
        Bound::Unbounded => None,
    };
    let from = day(range.start_bound()).map(day_prefix);
    // There is no day after the last: the scan runs to the end of the log.
    let to = day(range.end_bound()).and_then(|day| day.checked_add(1)).map(day_prefix);
    scan_keys(snapshot, from.as_ref().map_or(&[], |day| day.as_slice()), to.as_ref().map(<[u8; 4]>::as_slice))
}
