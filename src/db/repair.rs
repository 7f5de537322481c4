//! Repair of a damaged store, and what it reports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Db;
use crate::codec::{CHUNKS, CODES, EVENTS, META, ORDINAL_IDS, ORDINALS, SEGMENTS, first_kind_of, kind_of};
use crate::error::Result;
use crate::log::SealedRepair;
use crate::model::Damage;
use crate::rocks::{self, LostKeys, RepairOutcome, RepairedFamily, RepairedFile};
use crate::segment::SegmentEdit;
use crate::store::{self, Options};
use crate::{log, model::Kind};

/// What a repair found and did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// Whether something is damaged. What a crash leaves is not: opening the store truncates it.
    pub damaged: bool,
    /// The damaged files, and what was done about each.
    pub files: Vec<FileRepair>,
    /// How many commits are kept that were in logs alone. Writes that were committed as one group count as one.
    pub commits_kept: u64,
    /// How many commits in logs are dropped, as far as they can be counted.
    pub commits_dropped: u64,
    /// What is kept, table by table. Empty if nothing is damaged.
    pub tables: Vec<TableRepair>,
    /// The ranges of ids that are dropped, because a table file cannot be read.
    pub lost: Vec<Damage>,
    /// The directory with the files as they were before the repair, which can be deleted once they are not needed any
    /// more. None if nothing was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub originals: Option<PathBuf>,
}

impl RepairReport {
    /// Whether everything is kept.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.lost.is_empty() && !self.files.iter().any(|file| file.loses)
    }
}

/// A damaged file.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FileRepair {
    /// Its name.
    pub file: String,
    /// What is wrong with it.
    pub damage: String,
    /// What was done about it.
    pub remedy: String,
    /// Whether something that was in it is lost, or may be.
    pub loses: bool,
    /// Of a log: how many commits of it are kept.
    pub commits_kept: u64,
    /// Of a log: how many commits are dropped, as far as they can be counted.
    pub commits_dropped: u64,
}

/// What is kept of a table.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TableRepair {
    /// As in [`TableReport`](crate::TableReport), with `first:` before it for the first-event times of a table, and
    /// `meta` for the registry of property names.
    pub table: String,
    /// How many profiles, events or times it has.
    pub rows: u64,
    /// How many operations on it were in logs, and are kept.
    pub operations_kept: u64,
    /// How many are dropped, as far as they can be counted.
    pub operations_dropped: u64,
    /// Whether it may have commits that are later than the last one that other tables have: they were written to table
    /// files, and the log from which the others would get them is damaged.
    pub is_ahead: bool,
}

impl Db {
    /// Says what is damaged in a store that cannot be opened, and what a [`repair`](Self::repair) would keep. Changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// As [`repair`](Self::repair).
    pub fn plan_repair(path: impl AsRef<Path>) -> Result<RepairReport> {
        let (mut lost, options) = (Vec::new(), Options::default());
        let outcome = rocks::plan_repair(path.as_ref(), &options.engine, SEGMENTS, |path, outcome| {
            lost = rebuild(path, outcome)?;
            Ok(())
        })?;
        Ok(RepairReport::new(outcome, lost))
    }

    /// Repairs a store that cannot be opened: keeps the longest prefix of its history of commits that is whole. Nothing
    /// is dropped that the report does not list, and the files as they were are kept in a directory of the store.
    ///
    /// * **Logs** are truncated at the first damage, and later ones are dropped. If a single bit of a record was
    ///   flipped, its checksum says which, and it is corrected instead.
    /// * **A MANIFEST** that is cut off is used as far as it goes, if the logs have everything that was written since.
    /// * **Table files** that are damaged are read block by block. Ids in ranges that cannot be read are dropped, also
    ///   if other files have a part of them. All that can be read is written anew, which takes as much space again.
    /// * **Sealed events** are dropped block by block: an event of which one column is lost cannot be given back. The
    ///   tables between ids and their ordinals are built anew from each other.
    /// * **The record of what was synced** is written anew.
    ///
    /// The store is repaired in an image of it, which takes its place when it is complete. If the process dies before
    /// that, the store is as it was; if it dies during that, the next repair completes it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store");
    /// use profiledb::{Db, Update};
    ///
    /// Db::open(&path)?.users().update("alice", Update::new().set("plan", "pro"))?;
    /// std::fs::remove_file(path.join("PROFILEDB.synced"))?;
    /// assert!(Db::open(&path).unwrap_err().is_corrupt());
    ///
    /// assert!(Db::plan_repair(&path)?.is_lossless());
    /// let report = Db::repair(&path)?;
    /// assert_eq!(report.files[0].file, "PROFILEDB.synced");
    /// assert!(Db::open(&path)?.users().contains("alice")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with the reason when the store cannot be repaired,
    /// [`InUse`](crate::ErrorKind::InUse) when it is open for writing, [`NotFound`](crate::ErrorKind::NotFound) when
    /// there is none, [`Io`](crate::ErrorKind::Io) when files cannot be read or written. Nothing was changed then.
    pub fn repair(path: impl AsRef<Path>) -> Result<RepairReport> {
        let (mut lost, options) = (Vec::new(), Options::default());
        let outcome = rocks::repair(path.as_ref(), &options.engine, |path, outcome| {
            lost = rebuild(path, outcome)?;
            Ok(())
        })?;
        Ok(RepairReport::new(outcome, lost))
    }
}

/// Builds anew what is derived from other tables, as far as it was lost, and makes sealed events consistent with what
/// is left of their columns. Returns what that drops.
fn rebuild(path: &Path, outcome: &RepairOutcome) -> Result<Vec<Damage>> {
    let families: BTreeSet<&str> = outcome.lost.iter().map(|lost| lost.family.as_str()).collect();
    let kinds: Vec<Kind> = families.iter().filter_map(|family| first_kind_of(family)).collect();
    let has_segments = outcome.families.contains_key(SEGMENTS);
    // What is stored of profiles need not be as of what is kept of them.
    let has_codes = outcome.families.contains_key(CODES);
    if kinds.is_empty() && !families.contains(META) && !has_codes && !has_segments {
        return Ok(Vec::new());
    }
    let db = Db::builder().create(false).open(path)?;
    let mut lost = Vec::new();
    if has_segments {
        let writer = db.store.segment_writer()?;
        let (snapshot, commit) = (&|| writer.snapshot(), &|edit: &SegmentEdit| writer.commit(edit));
        lost = SealedRepair { snapshot, commit }.run()?;
    }
    for kind in &kinds {
        db.backfill_first_event_times(kind)?;
    }
    if families.contains(META) {
        db.store.widen_tables()?;
    }
    if has_codes {
        db.store.forget_codes()?;
    }
    db.close()?;
    Ok(lost)
}

impl RepairReport {
    /// With what the repair of sealed events dropped.
    fn new(outcome: RepairOutcome, dropped: Vec<Damage>) -> Self {
        let RepairOutcome { files, families, commits_kept, commits_dropped, lost, originals } = outcome;
        let damaged = originals.is_some() || !files.is_empty() || !lost.is_empty() || !dropped.is_empty();
        let table = |family: &str| kind_of(family).map_or_else(|| family.to_owned(), |kind| kind.to_string());
        let lost = lost.into_iter().map(|LostKeys { family, keys }| match family.as_str() {
            EVENTS => log::damage(keys),
            SEGMENTS | CHUNKS | ORDINALS | ORDINAL_IDS => log::damage_of_sealed(&family, keys),
            family => store::damage(&table(family), keys),
        });
        let tables = families.into_iter().map(|(family, found)| {
            let RepairedFamily { rows, kept, dropped, is_ahead } = found;
            let table = table(&family);
            TableRepair { table, rows, operations_kept: kept, operations_dropped: dropped, is_ahead }
        });
        let files = files.into_iter().map(|RepairedFile { name, damage, remedy, loses, kept, dropped }| {
            let (commits_kept, commits_dropped) = (kept.commits, dropped.commits);
            FileRepair { file: name, damage, remedy, loses, commits_kept, commits_dropped }
        });
        let (files, tables, lost) = (files.collect(), tables.collect(), lost.chain(dropped).collect());
        Self { damaged, files, commits_kept, commits_dropped, tables, lost, originals }
    }
}
