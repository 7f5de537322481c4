//! Hash aggregation: rows are grouped into buckets by the codes of their group keys, and measured.
//!
//! ```text
//! run      on every thread an aggregator, merged at the end      aggregator   the hash table of one thread
//! columns  blocks of columns, counted without making rows        cells        what was counted, into the hash table
//! block_columns   predicates, keys and numbers of one block
//! ```

mod aggregator;
mod block_columns;
mod cells;
mod columns;
mod run;

pub(super) use aggregator::Aggregation;
pub(super) use run::aggregate;
