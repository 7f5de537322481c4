//! Query planning with a cost model: which join strategy for which table, and why.
//!
//! From the [estimated cardinalities](super::estimate) of both sides it computes the cost of each strategy in
//! microseconds, and takes the cheapest.
//!
//! ```text
//! lookup   probes x 3.0
//! merge    days x min(rows x 0.35, probes of a day x 6)
//! hash     rows x 0.5 + probes x 0.1 + pieces x 12     a piece: one day of one partition of the table
//! ```

use std::fmt;

use serde::Serialize;

use super::estimate::Estimates;
use super::layout::{Driver, JoinLayout, Via};
use super::tables::{JoinTable, ProfileTables};
use crate::segment::SealedBlock;

/// How the rows of a table are found for the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Strategy {
    /// Index nested-loop join: the rows of a block of events are read by key, in one batch.
    Lookup,
    /// Merge join: the sorted table is read along with the events of each day, which are in the same order. For users
    /// only.
    Merge,
    /// Hash join: the table, or one partition of it after another, is read into memory.
    Hash,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "lookup",
            Self::Merge => "merge",
            Self::Hash => "hash",
        })
    }
}

const LOOKUP: f64 = 3.0;
const MERGE_ROW: f64 = 0.35;
const MERGE_SEEK: f64 = 6.0;
const HASH_ROW: f64 = 0.5;
const HASH_PROBE: f64 = 0.1;
const PIECE: f64 = 12.0;

/// Memory of a row on the build side besides its projection, in bytes, with an id of usual length.
const ROW_BYTES: u64 = 96;

/// Memory of a projected property on the build side, in bytes.
const PROPERTY_BYTES: u64 = 24;

/// The most memory for build sides, in bytes, which 32-bit offsets address with ease.
pub(super) const MEMORY_MAX: usize = 1 << 30;

/// Tables of at most this many rows are read as a whole rather than in partitions.
const WHOLE_ROWS_MAX: u64 = 1 << 16;

/// At most this many pieces, because each costs a seek.
const PIECES_MAX: u64 = 8_192;

/// What a seek in the log costs, in events read sequentially.
const EVENTS_PER_SEEK: f64 = 64.0;

/// Events that are skipped one by one before a seek: what four seeks cost.
const SKIPS_BEFORE_SEEK: u32 = 256;

/// What a join scans.
const EVENTS: &str = "events";

/// How one table is joined.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TablePlan {
    /// `users` or `group:KEY`; `first events of` one; `.. of the user` where groups are reached through the user.
    pub table: String,
    /// The strategy.
    pub strategy: Strategy,
    /// Whether it is read partition by partition, each with the events of the users in it.
    pub partitioned: bool,
    /// Estimated number of rows.
    pub rows: u64,
    /// Why this strategy: the estimated costs, or that it was forced.
    pub reason: String,
}

/// What of a log is read as columns: the rows of users are then found by ordinal, whatever the strategy for the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SealedPlan {
    /// Events in these blocks.
    pub events: u64,
    /// Blocks.
    pub blocks: u64,
    /// Events besides the blocks, where those are in memory: then nothing else is read of the log.
    pub in_memory: Option<u64>,
    /// How a group-by aggregates the events of blocks: `by column`, which is many times faster, or `row by row: ` and
    /// why; none for other queries. Single blocks may be joined row by row all the same, where they have too many
    /// distinct values, or a predicate fails.
    pub aggregation: Option<String>,
}

/// How a join is executed, and why.
///
/// [`Display`](fmt::Display) prints it for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// What is read from end to end: `events`, or the table of a query of profiles, `users` or `group:KEY`, whose
    /// profiles are then what the estimates call events.
    pub scan: String,
    /// The estimated cardinalities that it follows from; without the events that are read as columns.
    pub estimates: Estimates,
    /// What is read as columns, if anything is.
    pub sealed: Option<SealedPlan>,
    /// Table by table.
    pub tables: Vec<TablePlan>,
    /// Threads.
    pub threads: usize,
    /// Whether rows come in the order of the log.
    pub ordered: bool,
    /// Rows of a partition, where a table is partitioned.
    #[serde(skip)]
    pub(super) partition_rows: u64,
    /// Bytes of a partition, which keep it within the memory where rows are larger than assumed.
    #[serde(skip)]
    pub(super) partition_bytes: usize,
    #[serde(skip)]
    seek_threshold: Option<u32>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimates { events, days, selectivity, probes_per_event, sample } = self.estimates;
        if let Some(SealedPlan { events, blocks, in_memory, aggregation }) = &self.sealed {
            writeln!(f, "columns   {events} events in {blocks} blocks; users are joined by ordinal")?;
            if let Some(rows) = in_memory {
                writeln!(f, "memory    {rows} events that are not sealed, joined by ordinal as well")?;
            }
            if let Some(aggregation) = aggregation {
                writeln!(f, "aggregate {aggregation}")?;
            }
        }
        if self.scan == EVENTS {
            let percent = selectivity * 1e2;
            writeln!(f, "events    about {events} in {days} days; {percent:.0} % of a sample of {sample} pass")?;
            writeln!(f, "          {probes_per_event:.3} probes per event")?;
        } else {
            writeln!(f, "profiles  about {events} of {}, each read once", self.scan)?;
        }
        for table in &self.tables {
            let partitioned = if table.partitioned { ", partitioned" } else { "" };
            writeln!(f, "join      {} (about {} rows): {}{partitioned}", table.table, table.rows, table.strategy)?;
            writeln!(f, "          {}", table.reason)?;
        }
        let order = if self.ordered { "in the order of the log" } else { "unordered" };
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "output    {order}, {} {threads}", self.threads)
    }
}

/// Options and hints of a query that the planner honours.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannerHints {
    /// The strategy to use wherever it is possible.
    pub(super) strategy: Option<Strategy>,
    pub(super) ordered: bool,
    pub(super) threads: usize,
    /// For build sides, in bytes.
    pub(super) memory: usize,
    /// Whether the events are the caller's own, which can be read only once, from the start.
    pub(super) single_pass: bool,
    /// See [`Plan::seek_threshold`]. Set by tests only.
    pub(super) seek_threshold: Option<u32>,
}

impl Plan {
    pub(super) fn new(
        layout: &JoinLayout,
        tables: &dyn ProfileTables,
        estimates: Estimates,
        blocks: &[SealedBlock],
        hints: PlannerHints,
    ) -> Self {
        let sealed = blocks.iter().map(|block| u64::from(block.summary.events)).sum();
        let memory = (hints.memory / layout.dims.len().max(1)) as u64;
        let mut partition_rows = u64::MAX;
        let plan = |dim: usize| -> Option<TablePlan> {
            let spec = layout.dims.get(dim)?;
            let rows = tables.estimate_rows(&spec.table);
            let row_bytes = ROW_BYTES + PROPERTY_BYTES * spec.names.len() as u64;
            let user = spec.via == Via::User;
            // Partitions are ranges of ids of users, so only tables of users have them, and the order of the log is
            // lost.
            let can_partition = user && !hints.ordered && !hints.single_pass;
            let fits = rows.saturating_mul(row_bytes) <= memory;
            let partitioned = can_partition && (!fits || rows > WHOLE_ROWS_MAX);
            if partitioned {
                let by_threads = rows / (hints.threads as u64 * 4).max(1);
                let by_pieces = rows.saturating_mul(estimates.days.max(1)) / PIECES_MAX;
                let by_memory = memory / row_bytes / (hints.threads as u64 + 1);
                partition_rows =
                    partition_rows.min(by_threads.max(by_pieces).max(WHOLE_ROWS_MAX / 2).min(by_memory).max(8));
            }
            // Events in columns probe the tables of groups, but find the rows of users by ordinal.
            let probing = if user { estimates } else { estimates.with_sealed(sealed) };
            let costs = CostModel::new(&probing, rows, if partitioned { rows / partition_rows.max(1) + 1 } else { 0 });
            let (strategy, reason) = costs.choose(user, fits || partitioned, hints.strategy);
            let partitioned = partitioned && strategy == Strategy::Hash;
            let through = if matches!(spec.via, Via::UserGroup(_)) { " of the user" } else { "" };
            let name = match &spec.table {
                JoinTable::Profiles(kind) => format!("{kind}{through}"),
                JoinTable::FirstEvents(kind) => format!("first events of {kind}{through}"),
            };
            Some(TablePlan { table: name, strategy, partitioned, rows, reason })
        };
        let tables = (0..layout.dims.len()).filter_map(plan).collect();
        let PlannerHints { threads, ordered, seek_threshold, .. } = hints;
        let partition_bytes = hints.memory / layout.dims.len().max(1) / (threads + 1);
        let scan = match &layout.driver {
            Driver::Events => EVENTS.to_owned(),
            Driver::Profiles(kind) => kind.to_string(),
        };
        let blocks = blocks.len() as u64;
        let sealed = (blocks > 0).then_some(SealedPlan { events: sealed, blocks, in_memory: None, aggregation: None });
        Self { scan, estimates, sealed, tables, threads, ordered, partition_rows, partition_bytes, seek_threshold }
    }

    /// Events skipped one by one before the scan seeks to the next user that the runtime filter keeps, where it keeps
    /// this many users.
    ///
    /// A seek costs as much as [`EVENTS_PER_SEEK`] events. Where the distance between users that are kept is usually
    /// less, only long runs of other users are worth a seek; otherwise it pays at once.
    pub(super) fn seek_threshold(&self, kept: f64) -> u32 {
        let events = self.estimates.events as f64 / self.estimates.days.max(1) as f64;
        let threshold = if events > kept * EVENTS_PER_SEEK { 8 } else { SKIPS_BEFORE_SEEK };
        self.seek_threshold.unwrap_or(threshold)
    }
}

/// The reason given for a strategy that the caller chose.
pub(super) const HINTED: &str = "forced by hint";

/// The cost of each strategy for one table, in microseconds.
struct CostModel {
    lookup: f64,
    merge: f64,
    hash: f64,
}

impl CostModel {
    fn new(estimates: &Estimates, rows: u64, partitions: u64) -> Self {
        let (probes, days, rows) = (estimates.probes(), estimates.days.max(1) as f64, rows as f64);
        Self {
            lookup: probes * LOOKUP,
            merge: days * (rows * MERGE_ROW).min(probes / days * MERGE_SEEK),
            hash: rows * HASH_ROW + probes * HASH_PROBE + partitions as f64 * days * PIECE,
        }
    }

    fn choose(&self, user: bool, hash_fits: bool, hint: Option<Strategy>) -> (Strategy, String) {
        let hint = hint.filter(|hint| user || *hint != Strategy::Merge);
        if let Some(hint) = hint {
            return (hint, HINTED.into());
        }
        let candidates = [
            (Strategy::Lookup, self.lookup, true),
            (Strategy::Merge, self.merge, user),
            (Strategy::Hash, self.hash, hash_fits),
        ];
        let mut best = (Strategy::Lookup, f64::INFINITY);
        let mut reason = String::new();
        for (strategy, cost, possible) in candidates {
            if !reason.is_empty() {
                reason.push_str(", ");
            }
            if possible {
                reason.push_str(&format!("{strategy} {}", format_micros(cost)));
                if cost < best.1 {
                    best = (strategy, cost);
                }
            } else {
                let why = if user { "exceeds the memory budget" } else { "ids of groups are not sorted" };
                reason.push_str(&format!("no {strategy}: {why}"));
            }
        }
        (best.0, reason)
    }
}

fn format_micros(micros: f64) -> String {
    if micros < 1e3 {
        format!("{micros:.0} us")
    } else if micros < 1e6 {
        format!("{:.1} ms", micros / 1e3)
    } else {
        format!("{:.1} s", micros / 1e6)
    }
}
