//! What a repair found and did.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::rocks::salvage::DamagedKeys;

/// What a repair found and did, or would do.
#[derive(Debug, Default)]
pub(crate) struct RepairOutcome {
    /// The damaged files, in the order in which the engine reads them.
    pub(crate) files: Vec<RepairedFile>,
    pub(crate) families: BTreeMap<String, RepairedFamily>,
    /// How many commits of the logs are kept, and how many are not, as far as they can be counted.
    pub(crate) commits_kept: u64,
    pub(crate) commits_dropped: u64,
    /// What is lost of table files.
    pub(crate) lost: Vec<LostKeys>,
    /// Where the files of the store are that were replaced. None if nothing was changed.
    pub(crate) originals: Option<PathBuf>,
}

/// A damaged file.
#[derive(Debug, Default)]
pub(crate) struct RepairedFile {
    pub(crate) name: String,
    pub(crate) damage: String,
    pub(crate) remedy: String,
    /// Whether something that was in it is lost.
    pub(crate) loses: bool,
    /// Of a log.
    pub(crate) kept: LoggedCommits,
    /// Of a log, as far as it can be read.
    pub(crate) dropped: LoggedCommits,
}

impl RepairedFile {
    /// Adds damage and what was done about it.
    pub(super) fn add(&mut self, damage: String, remedy: String) {
        for (text, more) in [(&mut self.damage, damage), (&mut self.remedy, remedy)] {
            let separator = if text.is_empty() { "" } else { "; " };
            text.push_str(separator);
            text.push_str(&more);
        }
    }
}

/// Write batches in a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoggedCommits {
    pub(crate) commits: u64,
    /// The operations on each column family, by its id.
    pub(crate) operations: BTreeMap<u64, u64>,
}

/// A column family of a damaged store.
#[derive(Debug, Default)]
pub(crate) struct RepairedFamily {
    pub(crate) rows: u64,
    /// Operations in logs that are kept, and in those that are not.
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
    /// Whether its table files have commits that are later than the last one that the logs have.
    pub(crate) is_ahead: bool,
}

/// A range of keys of a column family that cannot be read.
#[derive(Debug)]
pub(crate) struct LostKeys {
    pub(crate) family: String,
    pub(crate) keys: DamagedKeys,
}
