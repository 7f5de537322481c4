//! Cardinality estimation for a log of rows: a sample of a few hundred events from evenly spaced places.
//!
//! The engine knows roughly how many keys lie between two keys. The sample gives the selectivity of the predicates on
//! events, and how often consecutive events are of the same user, which is how many ids a join will probe for.

use super::{Days, RowScan, ScanSpec};
use crate::codec::{self, EventKey};
use crate::error::Result;
use crate::join::block::Block;
use crate::join::estimate::Estimates;
use crate::join::tables::RowCursor;

/// Events in the sample, and the number of places that they are taken from.
const SAMPLE: usize = 512;
const PLACES: usize = 8;

/// A place is found when it is off by at most this fraction of the events: an eighth of the distance of two places.
const TOLERANCE: u64 = PLACES as u64 * 8;

/// Bisection ends after this many steps. They decide the day among thousands and the first seven bytes of the id, or
/// nine bytes within one day.
const STEPS_MAX: u32 = 72;

/// A log of rows, which knows roughly how many there are in a range of keys.
pub(crate) trait EventRows {
    type Cursor: RowCursor;

    /// A cursor before the first row of a range of keys.
    fn cursor(&self, from: &[u8], to: Option<&[u8]>) -> Result<Self::Cursor>;

    /// Whether there are any rows in a range of keys.
    fn has_rows(&self, from: &[u8], to: Option<&[u8]>) -> Result<bool> {
        Ok(self.cursor(from, to)?.next()?.is_some())
    }

    /// Roughly how many rows are in a range of keys.
    fn estimate_rows(&self, from: &[u8], to: Option<&[u8]>) -> u64;
}

/// Samples what a scan would yield. A runtime filter should skip without seeks, or the sample has its users only.
pub(crate) fn estimate(rows: &impl EventRows, spec: &ScanSpec) -> Result<(Estimates, Days)> {
    let (from, end) = spec.keys();
    let mut block = Block::new(&spec.layout);
    let mut sample = |from: &[u8]| -> Result<bool> {
        let mut scan = RowScan::new(rows.cursor(from, end.as_deref())?, spec.clone());
        scan.fill_reading(&mut block, usize::MAX, (SAMPLE / PLACES) as u64)
    };
    let has_more = sample(&from)?;
    let days = match rows.cursor(&from, end.as_deref())?.next()? {
        Some((key, _)) => {
            let first = EventKey::read(key).map_err(|malformed| codec::corrupt_event(key, malformed))?;
            let first = codec::day_of(first.day);
            Some((first, last_day(rows, first, end.as_deref())?))
        }
        None => None,
    };
    let known = rows.estimate_rows(&from, end.as_deref());
    if let Some((first, last)) = days.filter(|_| has_more) {
        let range_start = codec::day_prefix(first);
        let range_end = last.checked_add(1).map_or([u8::MAX; 4], codec::day_prefix);
        for place in 1..PLACES as u64 {
            let target = known.saturating_mul(place) / PLACES as u64;
            let before = |key: &[u8]| rows.estimate_rows(&from, Some(key));
            sample(&key_at((&range_start, &range_end), target, known / TOLERANCE, before))?;
        }
    }
    let read = block.scanned.events;
    let share = |count: usize| if read == 0 { 0.0 } else { count as f64 / read as f64 };
    // What the sample does not contain may still be in the rest of the range.
    let floor = if has_more { 1.0 / SAMPLE as f64 } else { 0.0 };
    let estimates = Estimates {
        events: if has_more { known.max(read) } else { read },
        days: days.map_or(0, |(first, last)| i64::from(last).abs_diff(i64::from(first)) + 1),
        selectivity: share(block.len()).max(floor),
        probes_per_event: share(block.runs()).max(floor),
        sample: read,
    };
    Ok((estimates, days))
}

/// A key with about this many rows before it: a quantile of the keys, by bisection of a range that has all of them.
fn key_at(range: (&[u8], &[u8]), target: u64, tolerance: u64, rows_before: impl Fn(&[u8]) -> u64) -> [u8; 16] {
    let number = |key: &[u8]| {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        u128::from_be_bytes(bytes)
    };
    let (mut low, mut high) = (number(range.0), number(range.1));
    for _ in 0..STEPS_MAX {
        let middle = low + (high.saturating_sub(low)) / 2;
        let before = rows_before(&middle.to_be_bytes());
        if before.abs_diff(target) <= tolerance {
            return middle.to_be_bytes();
        }
        *(if before < target { &mut low } else { &mut high }) = middle;
    }
    high.to_be_bytes()
}

/// The last day that has events, where the first one is given: doubling steps, then bisection.
fn last_day(rows: &impl EventRows, first: i32, end: Option<&[u8]>) -> Result<i32> {
    let any_from = |day: i32| -> Result<bool> {
        let key = codec::day_prefix(day);
        if end.is_some_and(|end| end <= &key[..]) {
            return Ok(false);
        }
        rows.has_rows(&key, end)
    };
    // There are events from `known` on, and none from `none` on.
    let (mut known, mut step) = (first, 1_i32);
    let mut none = loop {
        let Some(day) = known.checked_add(step) else { break i32::MAX };
        if !any_from(day)? {
            break day;
        }
        known = day;
        step = step.saturating_mul(2);
    };
    while i64::from(none) - i64::from(known) > 1 {
        let middle = known.midpoint(none);
        *(if any_from(middle)? { &mut known } else { &mut none }) = middle;
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The samples are where they are meant to be: the key has the target number of keys before it.
        #[test]
        fn a_quantile_of_the_keys_has_its_share_before_it(
            keys in prop::collection::btree_set(any::<u64>(), 1..200),
            share in 0.0..=1.0,
            tolerance in 0..20_u64,
        ) {
            let before = |key: &[u8]| {
                let end = u64::from_be_bytes(*key.first_chunk().unwrap());
                keys.range(..end).count() as u64
            };
            let target = (keys.len() as f64 * share) as u64;
            let key = key_at((&[], &[u8::MAX; 16]), target, tolerance, before);
            prop_assert!(before(&key) + tolerance >= target);
            let just_before = (u128::from_be_bytes(key).saturating_sub(1 << 64)).to_be_bytes();
            prop_assert!(before(&just_before) <= target + tolerance);
        }
    }
}
