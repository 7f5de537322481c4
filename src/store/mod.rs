//! Profiles: blind writes with group commit, point reads, range scans, checks.
//!
//! Writes: the caller's thread admits an update and encodes it; a leader commits for all who wait, in one batch.
//! Reads: a [`View`], of the store as it is or of a snapshot.
//!
//! ```text
//! open          Store: the committer and its thread on top of what all share
//! commit        group commit: the queue, leader and followers        group         one batch for a group of requests
//! admission     from an update to a write                            first_index   first-event times: writes, cache
//! shared        Shared: engine, options, registries, counters        names         the property-name registry
//! request       Request, Durability, Commit                          stats         statistics
//! view          point reads          profile_scan  scan builder      scan          range scans
//! families      column families of a kind                            check         verifies every row and operand
//! segments      changes of column segments          committed     keys of events that are committed meanwhile
//! turns         whose turn it is to change segments
//! changes       which profiles the last commits changed          unsealed    how many events are rows
//! joins         how many joins of sealed events there were       codes_edit  stores and deletes codes
//! deletions     deletions of users, recorded until they are done         codes       what joins have read, stored
//! ```
//!
//! This room speaks to `rocks` in bytes and names of column families and to its callers in keys and profiles. It may
//! not name RocksDB, and it does not see the room of the event log, whose writes come as typed values of `codec` and
//! `segment`.

mod admission;
mod changes;
mod check;
mod codes;
mod codes_edit;
mod commit;
mod committed;
mod deletions;
mod families;
mod first_index;
mod group;
mod joins;
mod names;
mod open;
mod probe;
mod profile_scan;
mod request;
mod scan;
mod segments;
mod shared;
mod stats;
mod turns;
mod unsealed;
mod view;

#[cfg(test)]
mod tests;

pub use check::{CheckReport, Finding, TableReport};
pub use deletions::Deletion;
pub use profile_scan::ProfileScan;
pub use request::{Commit, Durability};
pub use scan::{KnownIds, Profiles};
pub use stats::{TableStats, WriteStats};
pub use view::View;

pub(crate) use check::damage;
#[cfg(any(test, feature = "laws"))]
pub(crate) use codes::count_stored_codes;
pub(crate) use codes::{check_stored_codes, stored_codes};
pub(crate) use open::Store;
pub(crate) use probe::{estimate_rows, has_table, lookup_rows, scan_rows};
pub(crate) use request::Request;
pub(crate) use segments::SegmentWriter;
pub(crate) use shared::{Access, Options, SealSettings, Shared};
pub(crate) use view::ReadSource;
