//! Morsel-driven execution: a join is cut into tasks, and each worker takes the next one when it is done with its last.
//!
//! ```text
//! tasks       days             a few days of the log: lookup, merge, and hash with the whole table in memory
//!             a partition      the users between two ids, over all days: hash with that part of the table in memory
//!             own events       the caller's, in one pass
//!             profiles         all of a table, where they are not joined with events
//!             blocks           of events that a log keeps in columns, before the rows of the log
//!
//! worker      task -> scan, predicates on events -> probe each table -> all other predicates -> block
//! ```
//!
//! Group-bys take their threads from a pool that outlives them. A worker owns all that it changes. The [`Execution`] is
//! shared, and only its counters change.

mod execution;
mod parallel;
mod partition;
mod sealed;
mod task;
mod thread_pool;
mod worker;

pub(super) use execution::Execution;
pub(super) use parallel::{in_parallel, on_pool};
pub(super) use partition::Partitioner;
pub(super) use sealed::{SealedTasks, TailTasks};
pub(super) use task::Tasks;
pub(super) use worker::Worker;
