//! Statistics of a store, and what is known of a backup.

use serde::Serialize;

use crate::rocks;
use crate::store::{TableStats, WriteStats};

/// Statistics of a store.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Table by table.
    pub tables: Vec<TableStats>,
    /// What was written since the store was opened.
    pub writes: WriteStats,
    /// Full merges since the store was opened: rows folded on reads, flushes and compactions.
    pub full_merges: u64,
    /// Partial merges since the store was opened: runs of operands composed on flushes and compactions.
    pub partial_merges: u64,
    /// The operands of both.
    pub operands_merged: u64,
    /// Merges that panicked. Their operands are in quarantine. Always 0, unless there is a defect in this crate.
    pub merge_panics: u64,
    /// Failed flushes and compactions since the store was opened.
    pub background_errors: u64,
    /// Whether the engine has stopped writes, because flushes or compactions cannot keep up or failed.
    pub writes_stopped: bool,
    /// The log files whose end was truncated when the store was opened for writing, and at which byte: a crash or power
    /// loss had left it torn. Nothing that was acknowledged as synced is among it. The file as it was is next to it, as
    /// `NAME.torn`.
    pub truncated: Vec<String>,
    /// Sealing of events.
    pub sealing: SealingStats,
}

/// Statistics of sealing.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct SealingStats {
    /// Events that were appended since all were sealed: those of this process, and with its first event those of
    /// before, up to [`seal_after`](crate::Builder::seal_after). One that was sent again counts each time. 0 in a store
    /// that is open for reading.
    pub unsealed_events: u64,
    /// Events in column segments, those included that were sent again and not sealed again.
    pub sealed_events: u64,
    /// Column segments.
    pub segments: u64,
    /// How often all rows were sealed in the background since the store was opened.
    pub passes: u64,
    /// How often that failed, or what joins have read could not be stored. It is tried again after a second, and after
    /// twice as long each time, up to five minutes.
    pub failures: u64,
    /// Why, if the last time failed.
    pub last_error: Option<String>,
}

/// One backup in a directory of backups.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Backup {
    /// Its number, which grows with every backup.
    pub id: u32,
    /// When it was made, in seconds since the epoch. None if its list of files cannot be read.
    pub timestamp: Option<i64>,
    /// Its size, in bytes. None if its list of files cannot be read.
    pub bytes: Option<u64>,
    /// What is wrong with it. A backup that was only listed may have damaged files all the same:
    /// [`Db::verify_backups`](crate::Db::verify_backups) reads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

impl From<rocks::BackupInfo> for Backup {
    fn from(rocks::BackupInfo { id, timestamp, bytes, damage }: rocks::BackupInfo) -> Self {
        Self { id, timestamp, bytes, damage }
    }
}
