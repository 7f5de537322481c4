//! The query-time join: events, with the latest state of the profiles that they belong to.
//!
//! A join is a pure function of an event log and of tables of profiles, as of one snapshot. It knows no store:
//! `EventTable` and `ProfileTables` are all that it needs of one. `docs/JOIN.md` says what is joined with what, and
//! works an example by hand.
//!
//! ```text
//! query      the question                        field      names of what can be selected
//! layout     projection pushdown                 filter     predicate pushdown
//! estimate   cardinalities                       plan       which strategy, and why: the cost model
//! prepare    from a plan to its execution        exec       tasks (morsels), partitions, workers
//! scan       scans of events into blocks         probe      build sides, and the three ways to probe them
//! block      a batch of events in columns        cache      what a dictionary code meant
//! rows       the rows, one by one                fold       the rows, on the threads that made them
//! aggregate  groups of rows, and measures of them budget    memory reservation
//! tables     the storage interface               stats      what was done so far
//! group_by   rows grouped into buckets           cancel     cancellation, deadlines
//! profiles   the question about profiles alone    period     hours, days, weeks, months
//! breakdown  fields to group by, intervals         codes      codes of profiles by ordinal, for columns
//! ordinal_cache   of codes, kept between joins    batches    rows as Arrow record batches
//! ordinal_set     distinct users by ordinal
//! ```
//!
//! * **It streams.** Nothing waits for the end of anything, blocks are small, and a user with a million events is many
//!   blocks, not one.
//! * **It is lossless.** What cannot be read ends the join with an error that says where.
//! * **Late materialization.** What is joined onto an event is a dictionary code. Predicates and group keys are worked
//!   out once per code, a value is decoded when somebody looks at it, and a property that is not needed never is.
//!
//! This room imports `error`, `model`, `arrow`, `codec`, `expr` and `segment`; its tests make rows with `merge`. It may
//! not name a store or an engine.

mod aggregate;
mod answer;
#[cfg(feature = "arrow")]
mod batches;
mod block;
mod breakdown;
mod budget;
mod cache;
mod cancel;
mod codes;
mod estimate;
mod exec;
mod field;
mod filter;
mod fold;
mod group_by;
mod layout;
mod measure;
mod name_codes;
mod ordinal_cache;
mod ordinal_set;
mod period;
mod plan;
mod prepare;
mod probe;
mod profiles;
mod query;
mod rows;
mod scan;
mod stats;
mod tables;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Bucket};
#[cfg(feature = "arrow")]
pub use batches::RecordBatches;
pub use breakdown::Breakdown;
pub use cancel::{CancelToken, Deadline};
pub use estimate::Estimates;
pub use field::Field;
pub use group_by::GroupBy;
pub use measure::Measure;
pub use plan::{Plan, SealedPlan, Strategy, TablePlan};
pub use profiles::ProfileAggregate;
pub use query::Join;
pub use rows::{Group, Row, Rows};
pub use stats::JoinStats;

pub(crate) use codes::{CODES_REMEDY, check_codes, codes_to_store, refresh_codes};
pub(crate) use ordinal_cache::{ChangedIds, CodeHistory, OrdinalCache, ReadStamp, StoredCodes};
#[cfg(test)]
pub(crate) use scan::Tables;
pub(crate) use scan::{
    BlockEvents, ChangedRow, ColumnTable, Days, EventRows, EventScan, EventTable, KnownTail, LogTail, OrdinalReader,
    RowBytes, RowScan, RowState, ScanSpec, TailCache, TailOrdinals, UnsealedRow, block_id, estimate, hash_of,
};
pub(crate) use tables::{Each, JoinTable, ProfileTables, RowCursor};
