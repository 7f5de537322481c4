//! Queries of a store: the event log and the profile tables of one snapshot, as joins and scans read them.

use std::sync::Arc;

use super::Snapshot;
use crate::error::Result;
use crate::join::{
    ChangedIds, CodeHistory, ColumnTable, Days, Each, Estimates, EventScan, EventTable, Join, JoinTable, OrdinalCache,
    ProfileAggregate, ProfileTables, ReadStamp, RowCursor, ScanSpec, StoredCodes, TailCache,
};
use crate::log::{LogChanges, LogColumns, LogHistory};
use crate::model::Kind;
use crate::rocks::EngineSnapshot;
use crate::segment::OrdinalIndex;
use crate::store::Shared;
use crate::{log, store};

impl Snapshot {
    /// Joins the latest state of profiles, as of this snapshot, onto events. The join holds the snapshot: what is
    /// written while it runs is not seen.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let time = Timestamp::parse("2023-11-14T22:13:20")?;
    /// db.events().append(Event::new("purchase", "alice", time).set("amount", 12.5))?;
    /// // Written after the event, and joined all the same.
    /// db.users().update("alice", Update::new().set("plan", "pro"))?;
    ///
    /// let by_plan = db.snapshot().join().group_by(["user.plan"]).answer()?;
    /// assert_eq!(by_plan.get(&[Some("pro".into())]), Some(&[1.into()][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(&self) -> Join {
        let tables = SnapshotTables::new(self);
        if tables.columns.is_some() {
            self.shared.joins.note();
        }
        Join::new(Arc::new(tables))
    }

    /// Counts and measures the profiles of a kind, as of this snapshot, without events.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Kind, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.groups("company")?.update("acme", Update::new().set("tier", "gold"))?;
    ///
    /// let companies = db.snapshot().profiles(&Kind::group("company")?);
    /// let by_tier = companies.group_by(["group:company.tier"]).answer()?;
    /// assert_eq!(by_tier.get(&[Some("gold".into())]), Some(&[1.into()][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn profiles(&self, kind: &Kind) -> ProfileAggregate {
        ProfileAggregate::new(Arc::new(SnapshotTables::new(self)), kind.clone())
    }
}

/// The log and the tables of a snapshot.
pub(super) struct SnapshotTables {
    engine: EngineSnapshot,
    shared: Arc<Shared>,
    columns: Option<LogColumns>,
}

impl SnapshotTables {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let engine = snapshot.engine.clone();
        let shared = Arc::clone(&snapshot.shared);
        let history: Arc<dyn LogHistory> = Arc::new(StoreHistory(Arc::clone(&shared)));
        Self { columns: LogColumns::of(&engine, history), engine, shared }
    }
}

/// What joins of a store have read of its log.
struct StoreHistory(Arc<Shared>);

impl LogHistory for StoreHistory {
    fn tail_cache(&self) -> &TailCache {
        &self.0.tail_cache
    }

    fn ordinal_index(&self) -> &OrdinalIndex {
        &self.0.ordinal_index
    }

    fn log_changes(&self, snapshot: &EngineSnapshot, sequence: u64) -> Option<LogChanges> {
        let rows = self.0.changed_rows(snapshot, sequence)?;
        Some(LogChanges { rows, headers: self.0.changed_headers(snapshot, sequence)? })
    }
}

impl EventTable for SnapshotTables {
    fn scan(&self, spec: ScanSpec) -> Result<Box<dyn EventScan>> {
        Ok(Box::new(log::scan_events(&self.engine, spec)))
    }

    fn estimate(&self, spec: &ScanSpec) -> Result<(Estimates, Days)> {
        log::estimate_events(&self.engine, spec)
    }

    fn code_history(&self) -> Option<&dyn CodeHistory> {
        Some(self)
    }

    fn columns(&self) -> Option<&dyn ColumnTable> {
        self.columns.as_ref().map(|columns| columns as &dyn ColumnTable)
    }
}

impl CodeHistory for SnapshotTables {
    fn cache(&self) -> &OrdinalCache {
        &self.shared.ordinal_cache
    }

    fn stamp(&self) -> ReadStamp {
        let (engine, drops) = (self.engine.engine().number(), self.engine.drops());
        ReadStamp { engine, drops, sequence: self.engine.sequence() }
    }

    fn changes(&self, table: &JoinTable, sequence: u64) -> Option<ChangedIds> {
        self.shared.changes(table, &self.engine, sequence)
    }

    fn stored(&self, names: &[Box<str>]) -> Result<Option<StoredCodes>> {
        store::stored_codes(&self.engine, names)
    }

    fn note_full_read(&self) {
        self.shared.note_full_read();
    }
}

impl ProfileTables for SnapshotTables {
    fn rows(&self, table: &JoinTable, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn RowCursor>> {
        Ok(Box::new(store::scan_rows(&self.engine, table, from, to)))
    }

    fn lookup(&self, table: &JoinTable, ids: &[&[u8]], each: &mut Each<'_>) -> Result<()> {
        store::lookup_rows(&self.engine, table, ids, each)
    }

    fn has(&self, table: &JoinTable) -> bool {
        store::has_table(&self.engine, table)
    }

    fn estimate_rows(&self, table: &JoinTable) -> u64 {
        store::estimate_rows(&self.engine, table)
    }
}
