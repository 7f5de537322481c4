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
//! scan      opens scans over both tiers          statistics   row scans and estimates for joins
//! ```
//!
//! Events that were appended are rows. Sealing moves them into column segments, from which every reader gets the same
//! rows again:
//!
//! ```text
//! seal      rows become blocks of segments       rewrite   blocks without some of their events
//! segments  headers, and the rows of a block     sealed    a scan over segments, as rows
//! ordinals  ids of users and their ordinals       salvage   reads past damage
//! columns   the blocks of segments, for joins    tiers     merges of segments
//! tail      the rows besides them, in memory     replaced  which sealed events rows replace
//! repair    consistent again after a loss
//! ```
//!
//! This room commits nothing itself, and it does not see profiles.

mod append;
mod check;
mod columns;
mod erase;
mod events;
mod first;
mod ordinals;
mod repair;
mod replaced;
mod rewrite;
mod salvage;
mod scan;
mod seal;
mod sealed;
mod segments;
mod statistics;
mod tail;
mod tiers;
mod view;

#[cfg(test)]
mod tests;

pub use events::Events;
pub use view::EventView;

pub(crate) use crate::codec::{EVENTS as FAMILY, SEGMENTS as SEALED_FAMILY};
pub(crate) use append::Appender;
pub(crate) use check::{check, check_sealed, damage};
pub(crate) use columns::LogColumns;
pub(crate) use erase::{DayErasure, SealedErasure, UserErasure, first_event_of, whole_days_before};
pub(crate) use first::FirstEventBackfill;
pub(crate) use ordinals::load_ordinals;
pub(crate) use repair::{SealedRepair, damage_of_sealed};
pub(crate) use seal::{DaySealing, GoOn, check_ordinals, count_rows, next_day_with_rows};
pub(crate) use segments::count_sealed;
pub(crate) use statistics::{estimate_events, scan_events};
pub(crate) use tail::{LogChanges, LogHistory};
pub(crate) use tiers::DayMerge;
