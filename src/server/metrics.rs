//! Counters, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::ingest::Note;

/// Upper bounds of the buckets of the histogram of durations, in milliseconds.
const BUCKETS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// Counters by reason.
type ByReason = Mutex<BTreeMap<&'static str, u64>>;

/// What happened since the server was made.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(String, &'static str), u64>>,
    buckets: [AtomicU64; BUCKETS_MS.len() + 1],
    micros: AtomicU64,
    pub(super) updates: AtomicU64,
    pub(super) events: AtomicU64,
    rejects: ByReason,
    ignored: ByReason,
    pub(super) notes: AtomicU64,
    refused: ByReason,
    cut: ByReason,
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicI64,
    pub(super) buffered_bytes: AtomicI64,
    pub(super) abandoned: AtomicU64,
}

impl Metrics {
    /// Counts an answer.
    pub(super) fn answered(&self, route: &str, status: u16, took: Duration) {
        let class = match status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        let mut requests = self.requests.lock();
        // Routes are few, and their names are not allocated each time.
        match requests.iter_mut().find(|((known, known_class), _)| known == route && *known_class == class) {
            Some((_, count)) => *count += 1,
            None => drop(requests.insert((route.to_owned(), class), 1)),
        }
        drop(requests);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BUCKETS_MS.partition_point(|bound| bound.saturating_mul(1_000) < micros);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts records that were rejected.
    pub(super) fn rejected(&self, reason: &'static str) {
        *self.rejects.lock().entry(reason).or_default() += 1;
    }

    /// Counts what lenient rules changed in a record.
    pub(super) fn noted(&self, notes: &[Note]) {
        // Mostly there are none.
        if !notes.is_empty() {
            self.notes.fetch_add(notes.len() as u64, Ordering::Relaxed);
        }
    }

    /// Counts a message that is nothing to store.
    pub(super) fn ignored(&self, reason: &'static str) {
        *self.ignored.lock().entry(reason).or_default() += 1;
    }

    /// Counts a request that was refused as a whole.
    pub(super) fn refused(&self, reason: &'static str) {
        *self.refused.lock().entry(reason).or_default() += 1;
    }

    /// Counts a connection that the server ended.
    pub(super) fn cut(&self, reason: &'static str) {
        *self.cut.lock().entry(reason).or_default() += 1;
    }

    /// The text, with gauges that are read elsewhere.
    pub(super) fn text(&self, gauges: &[(&str, &str, u64)]) -> String {
        let mut text = String::new();
        text.push_str("# HELP profiledb_requests_total Answers, by route and class of status.\n");
        text.push_str("# TYPE profiledb_requests_total counter\n");
        for ((route, class), count) in &*self.requests.lock() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "profiledb_requests_total{{route=\"{route}\",status=\"{class}\"}} {count}");
        }
        self.durations(&mut text);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let gauge = |gauge: &AtomicI64| u64::try_from(gauge.load(Ordering::Relaxed)).unwrap_or_default();
        plain(&mut text, "updates_total", "counter", "Updates that were committed.", count(&self.updates));
        plain(&mut text, "events_total", "counter", "Events that were committed.", count(&self.events));
        by_reason(&mut text, "records_rejected_total", "Records that were rejected, by reason.", &self.rejects);
        by_reason(&mut text, "messages_ignored_total", "Messages with nothing to store, by reason.", &self.ignored);
        let what = "Changes that lenient rules made to records.";
        plain(&mut text, "notes_total", "counter", what, count(&self.notes));
        by_reason(&mut text, "requests_refused_total", "Requests that were refused, by reason.", &self.refused);
        let what = "Requests whose client left before the answer. What had arrived was committed all the same.";
        plain(&mut text, "requests_abandoned_total", "counter", what, count(&self.abandoned));
        plain(&mut text, "connections_total", "counter", "Connections that were accepted.", count(&self.accepted));
        plain(&mut text, "connections_open", "gauge", "Connections that are open.", gauge(&self.open));
        by_reason(&mut text, "connections_cut_total", "Connections that the server ended, by reason.", &self.cut);
        let what = "Bytes of bodies that are being received or parsed.";
        plain(&mut text, "buffered_bytes", "gauge", what, gauge(&self.buffered_bytes));
        for (name, what, value) in gauges {
            plain(&mut text, name, "gauge", what, *value);
        }
        text
    }

    fn durations(&self, text: &mut String) {
        const NAME: &str = "profiledb_request_seconds";
        let mut total = 0;
        let bounds = BUCKETS_MS.iter().map(|bound| seconds(bound * 1_000)).chain(["+Inf".to_owned()]);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {NAME} From the end of a head to the answer.\n# TYPE {NAME} histogram");
        for (bound, bucket) in bounds.zip(&self.buckets) {
            total += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{NAME}_bucket{{le=\"{bound}\"}} {total}");
        }
        let sum = seconds(self.micros.load(Ordering::Relaxed));
        let _ = writeln!(text, "{NAME}_sum {sum}\n{NAME}_count {total}");
    }
}

fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn plain(text: &mut String, name: &str, kind: &str, what: &str, value: u64) {
    let _ = writeln!(text, "# HELP profiledb_{name} {what}\n# TYPE profiledb_{name} {kind}\nprofiledb_{name} {value}");
}

fn by_reason(text: &mut String, name: &str, what: &str, counters: &ByReason) {
    let _ = writeln!(text, "# HELP profiledb_{name} {what}\n# TYPE profiledb_{name} counter");
    for (reason, count) in &*counters.lock() {
        let _ = writeln!(text, "profiledb_{name}{{reason=\"{reason}\"}} {count}");
    }
}
