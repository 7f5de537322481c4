//! The event log: an append-only table of events, clustered by day and user, and its first-event index.
//!
//! The log is a column family whose keys sort by day, user and time. For users, and for each kind of group, an index
//! holds the time of the first event per id, which `$mp_first_event_time` is read from. Writes are typed values of
//! `codec`, which the facade commits together with writes to profiles.
//!
//! ```text
//! append    validates and encodes events         first     backfill of the first-event index
//! view      queries on a snapshot                erase     erasures, chunk by chunk
//! events    iterators                            check     verifies every byte
//! scan      opens the log's column family        statistics   row scans and estimates for joins
//! ```
//!
//! This room commits nothing itself, and it does not see profiles.

mod append;
mod check;
mod erase;
mod events;
mod first;
mod scan;
mod statistics;
mod view;

#[cfg(test)]
mod tests;

pub use events::Events;
pub use view::EventView;

pub(crate) use crate::codec::EVENTS as FAMILY;
pub(crate) use append::Appender;
pub(crate) use check::{check, damage};
pub(crate) use erase::{DayErasure, UserErasure, first_event_of, whole_days_before};
pub(crate) use first::FirstEventBackfill;
pub(crate) use statistics::{estimate_events, scan_events};
