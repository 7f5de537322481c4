//! Profile verbs on typed keys: update, delete, read, scan, check.
//!
//! Writing goes through one door. The caller's thread admits an update and encodes it (`admission`); a leader commits
//! for everyone who waits, in one batch, composing operands of one key on the way (`commit`, `group`). Reading goes
//! through a [`View`]: of the store as it is, or of a snapshot. Operations on other families may be committed with
//! those on profiles (`beside`). The times of first events are read here too, because they belong to profiles.
//!
//! This room speaks to `rocks` in bytes and family names and to its callers in keys and profiles. It may not name
//! RocksDB, and it does not see the event log.

mod admission;
mod beside;
mod check;
mod commit;
mod first;
mod group;
mod names;
mod open;
mod scan;
mod view;

#[cfg(test)]
mod tests;

pub use admission::Durability;
pub use check::{CheckReport, Finding, TableReport};
pub use commit::Commit;
pub use open::{TableStats, WriteStats};
pub use scan::{KnownIds, Profiles};
pub use view::View;

pub(crate) use commit::Work;
pub(crate) use open::{Access, Options, Running};
pub(crate) use view::Source;
