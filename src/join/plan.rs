//! The planner: which strategy for which table, and why.
//!
//! It knows roughly how many events lie in the range and how many rows each table has (the engine's estimates), and
//! looks at a few hundred events here and there to see which share of them passes the filters on events and how many of
//! them follow another one of the same user. From that it prices each strategy in microseconds and takes the cheapest.
//!
//! ```text
//! lookup   ids asked for x 3.0
//! merge    days x min(rows x 0.35, ids of a day x 6)
//! hash     rows x 0.5 + ids asked for x 0.1 + pieces x 12     a piece: one day of one part of the table
//! ```

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::layout::{Layout, Via};
use super::source::{Table, Tables};

/// How the rows of a table come to the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Strategy {
    /// The rows of a block of events at once, by key.
    Lookup,
    /// The sorted table beside the events of each day, which are in the same order. For users only.
    Merge,
    /// The table, or part after part of it, in memory.
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

/// What a row takes in a build besides its projection, in bytes, with an id of usual length.
const ROW_BYTES: u64 = 96;

/// What a projected property takes in a build, in bytes.
const PROPERTY_BYTES: u64 = 24;

/// Tables of at most so many rows are read whole rather than part by part.
const WHOLE_ROWS_MAX: u64 = 1 << 16;

/// So many pieces at most, because each costs a seek.
const PIECES_MAX: u64 = 8_192;

/// What is known before a join begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Estimates {
    /// Events in the range.
    pub events: u64,
    /// Days of the range that may have events.
    pub days: u64,
    /// The share of events that pass the filters on events, as the sample has it.
    pub passing: f64,
    /// Ids asked for per event in the range: less than `passing` where events of one user follow each other.
    pub ids_per_event: f64,
    /// Events in the sample.
    pub sample: u64,
}

impl Estimates {
    /// Ids asked for. A sample that happens to be of busy users must not make lookups look free.
    fn ids(&self) -> f64 {
        self.events as f64 * self.ids_per_event.max(self.passing / 8.0)
    }
}

/// How one table is joined.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TablePlan {
    /// `users` or `group:KEY`; `first events of` one; and by way of the user, for groups of users.
    pub table: String,
    /// The way.
    pub strategy: Strategy,
    /// Whether it is read part after part, each with the events of the users in it.
    pub in_parts: bool,
    /// Roughly how many rows it has.
    pub rows: u64,
    /// Why this strategy.
    pub reason: String,
}

/// How a join is executed, and why.
///
/// [`Display`](fmt::Display) shows it to a person.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// What was known.
    pub estimates: Estimates,
    /// Table by table.
    pub tables: Vec<TablePlan>,
    /// Threads.
    pub threads: usize,
    /// Whether rows come in the order of the log.
    pub ordered: bool,
    /// Rows of a part, where a table is read part after part.
    #[serde(skip)]
    pub(super) part_rows: u64,
    #[serde(skip)]
    patience: Option<u32>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimates { events, days, passing, ids_per_event, sample } = self.estimates;
        writeln!(f, "events    about {events} in {days} days; of a sample of {sample}, {:.0} % pass", passing * 1e2)?;
        writeln!(f, "          and {ids_per_event:.3} ids per event are asked for")?;
        for table in &self.tables {
            let parts = if table.in_parts { ", in parts" } else { "" };
            writeln!(f, "join      {} (about {} rows): {}{parts}", table.table, table.rows, table.strategy)?;
            writeln!(f, "          {}", table.reason)?;
        }
        let order = if self.ordered { "in the order of the log" } else { "in any order" };
        write!(f, "output    {order}, {} threads", self.threads)
    }
}

/// What the caller wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    pub(super) hint: Option<Strategy>,
    pub(super) ordered: bool,
    pub(super) threads: usize,
    pub(super) memory: usize,
    /// Whether the events are the caller's own, which can be read once only, from the front.
    pub(super) single_pass: bool,
    /// See [`Plan::patience`]. Only tests wish for one.
    pub(super) patience: Option<u32>,
}

impl Plan {
    pub(super) fn new(layout: &Layout, tables: &dyn Tables, estimates: Estimates, wishes: Wishes) -> Self {
        let memory = (wishes.memory / layout.dims.len().max(1)) as u64;
        let mut part_rows = u64::MAX;
        let plan = |dim: usize| -> Option<TablePlan> {
            let spec = layout.dims.get(dim)?;
            let rows = tables.estimate_rows(&spec.table);
            let row_bytes = ROW_BYTES + PROPERTY_BYTES * spec.names.len() as u64;
            let user = spec.via == Via::User;
            // Parts follow the ids of users, so only their tables have them, and the order of the log is lost.
            let can_part = user && !wishes.ordered && !wishes.single_pass;
            let fits = rows.saturating_mul(row_bytes) <= memory;
            let in_parts = can_part && (!fits || rows > WHOLE_ROWS_MAX);
            if in_parts {
                let by_threads = rows / (wishes.threads as u64 * 4).max(1);
                let by_pieces = rows.saturating_mul(estimates.days.max(1)) / PIECES_MAX;
                let by_memory = memory / row_bytes / (wishes.threads as u64 + 1);
                part_rows = part_rows.min(by_threads.max(by_pieces).max(WHOLE_ROWS_MAX / 2).min(by_memory).max(8));
            }
            let prices = Prices::new(&estimates, rows, if in_parts { rows / part_rows.max(1) + 1 } else { 0 });
            let (strategy, reason) = prices.choose(user, fits || in_parts, wishes.hint);
            let in_parts = in_parts && strategy == Strategy::Hash;
            let name = match (&spec.via, &spec.table) {
                (via, Table::Profiles(kind)) => format!("{kind}{}", by_way(via)),
                (via, Table::FirstEvents(kind)) => format!("first events of {kind}{}", by_way(via)),
            };
            Some(TablePlan { table: name, strategy, in_parts, rows, reason })
        };
        let tables = (0..layout.dims.len()).filter_map(plan).collect();
        let Wishes { threads, ordered, patience, .. } = wishes;
        Self { estimates, tables, threads, ordered, part_rows, patience }
    }

    /// Events of others that are passed before one of the wanted users is sought, who are this share of a table.
    ///
    /// A seek takes as long as some events do. Where the next one who is wanted should be nearer than that, only a long
    /// way is worth it, such as past somebody busy; where not, there is no use in waiting.
    pub(super) fn patience(&self, dim: usize, share: f64) -> u32 {
        let wanted = self.tables.get(dim).map_or(0.0, |table| table.rows as f64 * share);
        let events = self.estimates.events as f64 / self.estimates.days.max(1) as f64;
        let usual = if events > wanted * EVENTS_PER_SEEK { 8 } else { EVENTS_PER_SEEK as u32 * 4 };
        self.patience.unwrap_or(usual)
    }
}

/// What a seek in the log takes, in events that are read one after the other.
const EVENTS_PER_SEEK: f64 = 64.0;

fn by_way(via: &Via) -> &'static str {
    if matches!(via, Via::UserGroup(_)) { " of the user" } else { "" }
}

/// The reason for a strategy that the caller wanted.
pub(super) const HINTED: &str = "asked for";

/// What each strategy would cost, in microseconds.
struct Prices {
    lookup: f64,
    merge: f64,
    hash: f64,
}

impl Prices {
    fn new(estimates: &Estimates, rows: u64, parts: u64) -> Self {
        let (ids, days, rows) = (estimates.ids(), estimates.days.max(1) as f64, rows as f64);
        Self {
            lookup: ids * LOOKUP,
            merge: days * (rows * MERGE_ROW).min(ids / days * MERGE_SEEK),
            hash: rows * HASH_ROW + ids * HASH_PROBE + parts as f64 * days * PIECE,
        }
    }

    fn choose(&self, user: bool, hash_fits: bool, hint: Option<Strategy>) -> (Strategy, String) {
        let hint = hint.filter(|hint| user || *hint != Strategy::Merge);
        if let Some(hint) = hint {
            return (hint, HINTED.into());
        }
        let offers = [
            (Strategy::Lookup, self.lookup, true),
            (Strategy::Merge, self.merge, user),
            (Strategy::Hash, self.hash, hash_fits),
        ];
        let mut best = (Strategy::Lookup, f64::INFINITY);
        let mut reason = String::new();
        for (strategy, price, possible) in offers {
            if !reason.is_empty() {
                reason.push_str(", ");
            }
            if possible {
                reason.push_str(&format!("{strategy} {}", shown(price)));
                if price < best.1 {
                    best = (strategy, price);
                }
            } else {
                let why = if user { "too large for its memory" } else { "ids of groups are not sorted" };
                reason.push_str(&format!("no {strategy}: {why}"));
            }
        }
        (best.0, reason)
    }
}

fn shown(micros: f64) -> String {
    if micros < 1e3 {
        format!("{micros:.0} us")
    } else if micros < 1e6 {
        format!("{:.1} ms", micros / 1e3)
    } else {
        format!("{:.1} s", micros / 1e6)
    }
}

/// A figure that workers add to.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The figures of a join while it runs.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) events_read: Counter,
    pub(super) rows_read: Counter,
    pub(super) lookups: Counter,
    pub(super) seeks: Counter,
    pub(super) passes: Counter,
    pub(super) parts: Counter,
    pub(super) units: Counter,
    pub(super) blocks: Counter,
    pub(super) rows: Counter,
}

impl Counters {
    pub(super) fn stats(&self) -> JoinStats {
        JoinStats {
            events_read: self.events_read.read(),
            rows: self.rows.read(),
            rows_read: self.rows_read.read(),
            lookups: self.lookups.read(),
            seeks: self.seeks.read(),
            passes: self.passes.read(),
            parts: self.parts.read(),
            units: self.units.read(),
            blocks: self.blocks.read(),
        }
    }
}

/// What a join did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JoinStats {
    /// Events read from the log, those that were filtered out and the sample of the planner included.
    pub events_read: u64,
    /// Events that passed, with what was joined onto them.
    pub rows: u64,
    /// Rows of tables read by merges and builds.
    pub rows_read: u64,
    /// Ids looked up by key.
    pub lookups: u64,
    /// Jumps within the log or a table.
    pub seeks: u64,
    /// Times that a merge began to walk over a table: once a day, roughly.
    pub passes: u64,
    /// Parts in which tables were read into memory.
    pub parts: u64,
    /// Pieces of work that were handed to workers.
    pub units: u64,
    /// Blocks of events that were joined.
    pub blocks: u64,
}
