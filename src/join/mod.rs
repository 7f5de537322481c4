//! The query-time join: events, with the latest state of the profiles that they belong to.
//!
//! A join is a pure function of sorted [`Source`]s of bytes: the log, in the order of day, `distinct_id` and time, and
//! tables of rows in the order of their ids. It knows no store; [`Tables`] stands for one moment of one, and [`Memory`]
//! is one without any. `docs/JOIN.md` says what is joined with what, and works an example by hand.
//!
//! ```text
//! query      what is asked                         field      names of what can be asked for
//! layout     what has to be read for it            plan       which strategy, and why
//! work       units of work, and workers            resolve    from ids to rows: lookup, merge, hash
//! block      events and what was joined onto them  filter     which of them are kept
//! rows       one by one, from one thread or many   fold       on the threads that made them
//! aggregate  segments and measures of them         source     what is read
//! interner   numbers for byte strings              memo       what was worked out before
//! ```
//!
//! * **It streams.** Nothing waits for the end of anything, blocks are small, and a user with a million events is many
//!   blocks, not one.
//! * **It never shortens.** What cannot be read ends the join with an error that says where.
//! * **Late.** What is joined onto an event is the number of a projection. Filters, segments and values are worked out
//!   once per projection, and a property that nobody asked for is never decoded.
//!
//! This room imports `error`, `model`, `codec` and `expr`; its tests make rows with `merge`. It may not name a store or
//! an engine.

mod aggregate;
mod answer;
mod block;
mod estimate;
mod field;
mod filter;
mod fold;
mod group_by;
mod interner;
mod layout;
mod measure;
mod memo;
mod plan;
mod prepare;
mod query;
mod resolve;
mod rows;
mod source;
mod stats;
mod work;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Bucket};
pub use estimate::Estimates;
pub use field::{Breakdown, Field};
pub use group_by::GroupBy;
pub use measure::Measure;
pub use plan::{Plan, Strategy, TablePlan};
pub use query::Join;
pub use rows::{Group, Row, Rows};
pub use source::{Each, Memory, Sorted, Source, Table, Tables, encode};
pub use stats::JoinStats;
