//! Cardinality estimation: how many events lie in the range of a join, and which share of them survives the predicates
//! on events.
//!
//! The log estimates them, see [`Tables::estimate`](super::tables::Tables::estimate). `scan/estimate.rs` does it for a
//! log of rows, by sampling.

use serde::Serialize;

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

    /// For a scan of all profiles of a table with about this many, each of which is probed once.
    pub(super) fn of_profiles(rows: u64) -> Self {
        Self { events: rows, days: 1, selectivity: 1.0, probes_per_event: 1.0, sample: 0 }
    }

    /// Estimated cardinality of the probe side. A sample that happens to be of a few busy users must not make lookups
    /// look free.
    pub(super) fn probes(&self) -> f64 {
        self.events as f64 * self.probes_per_event.max(self.selectivity / EVENTS_PER_PROBE_MAX)
    }

    /// With events in columns besides, all of which are assumed to pass where no sample says otherwise.
    pub(super) fn with_sealed(self, events: u64) -> Self {
        let (selectivity, probes_per_event) =
            if self.sample == 0 { (1.0, 1.0) } else { (self.selectivity, self.probes_per_event) };
        Self { events: self.events.saturating_add(events), selectivity, probes_per_event, ..self }
    }

    /// The same range, restricted to this many users, who are probed once a day at most.
    pub(super) fn of_users(self, users: usize) -> Self {
        let share = users as f64 * self.days.max(1) as f64 / self.events.max(1) as f64;
        let selectivity = self.selectivity.min(share * EVENTS_PER_PROBE_MAX);
        Self { selectivity, probes_per_event: self.probes_per_event.min(share), ..self }
    }
}
