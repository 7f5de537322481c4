//! Cardinality estimation: how many events lie in the range of a join, and which share of them survives the predicates
//! on events.
//!
//! The engine knows roughly how many keys lie between two keys. A sample of a few hundred events, taken at evenly
//! spaced places of the range, gives the selectivity and how often consecutive events are of the same user, which is
//! how many ids a join will probe for.

use std::sync::Arc;

use serde::Serialize;

use super::block::Block;
use super::filter::Filter;
use super::layout::Layout;
use super::source::Tables;
use super::stats::Counters;
use super::work::Scope;
use crate::codec::{self, EventKey};
use crate::error::Result;

/// Events in the sample, and the number of places that they are taken from.
const SAMPLE: usize = 512;
const PLACES: usize = 8;

/// The number of events assumed for a caller's own events, which cannot be sampled.
const UNKNOWN_EVENTS: u64 = 1_000_000;

/// At most this many consecutive events of one user are assumed to share one probe, whatever the sample says.
const EVENTS_PER_PROBE_MAX: f64 = 8.0;

/// What is known before a join begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Estimates {
    /// Events in the range.
    pub events: u64,
    /// Days of the range that may have events.
    pub days: u64,
    /// The share of events that pass the predicates on events, 0 to 1, from the sample.
    pub selectivity: f64,
    /// Ids probed per event of the range. Consecutive events of one user share a probe, so this is at most
    /// `selectivity`.
    pub probes_per_event: f64,
    /// Events in the sample.
    pub sample: u64,
}

impl Estimates {
    /// For events that cannot be sampled: the caller's own, which can be read only once.
    pub(super) fn unknown() -> Self {
        Self { events: UNKNOWN_EVENTS, days: 1, selectivity: 1.0, probes_per_event: 1.0, sample: 0 }
    }

    /// Estimated cardinality of the probe side. A sample that happens to be of a few busy users must not make lookups
    /// look free.
    pub(super) fn probes(&self) -> f64 {
        self.events as f64 * self.probes_per_event.max(self.selectivity / EVENTS_PER_PROBE_MAX)
    }
}

/// The first and the last day that have events.
pub(super) type Days = Option<(i32, i32)>;

/// Samples the range of a join.
pub(super) fn estimate(
    tables: &dyn Tables,
    layout: &Arc<Layout>,
    scope: &Scope,
    filter: &Filter,
    counters: &Counters,
) -> Result<(Estimates, Days)> {
    let (from, end) = (scope.first_key(), scope.end_key());
    let mut sample = Sample { block: Block::new(layout), read: 0, first_key: Vec::new() };
    let ended = sample.take(tables, scope, filter, (&from, end.as_deref()), SAMPLE / PLACES)?;
    // Without a first key there was no event.
    let days = match EventKey::read(&sample.first_key) {
        Ok(first) => {
            let first = codec::day_of(first.day);
            Some((first, last_day(tables, first, end.as_deref())?))
        }
        Err(_) => None,
    };
    let known = tables.estimate_events(&from, end.as_deref());
    if let Some((_, last)) = days.filter(|_| !ended) {
        let range_end = last.checked_add(1).map_or([u8::MAX; 4], codec::day_prefix);
        for place in 1..PLACES {
            let key = key_at(tables, (&from, &range_end), known, place as f64 / PLACES as f64);
            sample.take(tables, scope, filter, (&key, end.as_deref()), SAMPLE / PLACES)?;
        }
    }
    counters.events_read.add(sample.read);
    let share = |count: usize| if sample.read == 0 { 0.0 } else { count as f64 / sample.read as f64 };
    // What the sample does not contain may still be in the rest of the range.
    let floor = if ended { 0.0 } else { 1.0 / SAMPLE as f64 };
    let estimates = Estimates {
        events: if ended { sample.read } else { known.max(sample.read) },
        days: days.map_or(0, |(first, last)| i64::from(last).abs_diff(i64::from(first)) + 1),
        selectivity: share(sample.block.slots.len()).max(floor),
        probes_per_event: share(sample.block.runs.len()).max(floor),
        sample: sample.read,
    };
    Ok((estimates, days))
}

/// Events sampled so far; those that pass the predicates on events are in the block.
struct Sample {
    block: Block,
    read: u64,
    first_key: Vec<u8>,
}

impl Sample {
    /// Reads at most this many events of a range, and returns whether the range ended before that.
    fn take(
        &mut self,
        tables: &dyn Tables,
        scope: &Scope,
        filter: &Filter,
        range: (&[u8], Option<&[u8]>),
        events: usize,
    ) -> Result<bool> {
        let mut source = tables.events(range.0, range.1)?;
        for _ in 0..events {
            let Some((key, value)) = source.next()? else { return Ok(true) };
            self.read += 1;
            if self.first_key.is_empty() {
                self.first_key.extend_from_slice(key);
            }
            let parts = EventKey::read(key).map_err(|malformed| codec::corrupt_event(key, malformed))?;
            scope.admit(filter, &mut self.block, key, &parts, value)?;
        }
        Ok(false)
    }
}

/// A key with about this share of the events of a range before it: a quantile of the keys, by bisection.
fn key_at(tables: &dyn Tables, range: (&[u8], &[u8]), events: u64, share: f64) -> [u8; 16] {
    let number = |key: &[u8]| {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        u128::from_be_bytes(bytes)
    };
    let target = (events as f64 * share) as u64;
    let (mut low, mut high) = (number(range.0), number(range.1));
    // That many steps decide the day and the first letters of the id.
    for _ in 0..72 {
        let middle = low + (high.saturating_sub(low)) / 2;
        let before = tables.estimate_events(range.0, Some(&middle.to_be_bytes()));
        *(if before < target { &mut low } else { &mut high }) = middle;
    }
    high.to_be_bytes()
}

/// The last day that has events, where the first one is given: doubling steps, then bisection.
fn last_day(tables: &dyn Tables, first: i32, end: Option<&[u8]>) -> Result<i32> {
    let any_from = |day: i32| -> Result<bool> {
        let key = codec::day_prefix(day);
        if end.is_some_and(|end| end <= &key[..]) {
            return Ok(false);
        }
        Ok(tables.events(&key, end)?.next()?.is_some())
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
        let middle = known + ((i64::from(none) - i64::from(known)) / 2) as i32;
        *(if any_from(middle)? { &mut known } else { &mut none }) = middle;
    }
    Ok(known)
}
