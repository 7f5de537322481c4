//! Hash aggregation: rows are grouped into buckets by the codes of their group keys, and measured.
//!
//! ```text
//! run            on every thread an aggregator, merged at the end     aggregator   the hash table of one thread
//! columns        blocks of columns, counted without making rows       column_query what is the same for all blocks
//! selection      the events of a block that are counted               predicates   which events those are
//! decimals       numbers for which a predicate is true                block_columns   columns and keys of one block
//! block_cells    events by combinations of values                     totals       what was counted of one
//! cell_fields    fields that are measured, by cell                    cell_sums    those that are summed up
//! ordered        values that are compared as they are stored          cell_lists   numbers and users of each cell
//! counted_runs   events counted by users alone
//! cells          what was counted, into the hash table                seen_users   users that were counted
//! ```

mod aggregator;
mod block_cells;
mod block_columns;
mod cell_fields;
mod cell_lists;
mod cell_sums;
mod cells;
mod column_query;
mod columns;
mod counted_runs;
mod decimals;
mod ordered;
mod predicates;
mod run;
mod seen_users;
mod selection;
mod totals;

pub(super) use aggregator::Aggregation;
pub(super) use run::{aggregate, explain};
