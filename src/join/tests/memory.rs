//! Events and tables in memory, for joins without a store.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec;
use crate::error::Result;
use crate::join::{
    Days, Each, Estimates, EventRows, EventScan, EventTable, JoinTable, ProfileTables, RowCursor, RowScan, ScanSpec,
    estimate,
};
use crate::model::{Event, ProfileKey};

type Rows = Arc<BTreeMap<Vec<u8>, Vec<u8>>>;

/// Events and tables in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) events: Rows,
    tables: BTreeMap<JoinTable, Rows>,
}

/// The key and the value of an event in a log.
pub(super) fn encode(event: &Event) -> (Vec<u8>, Vec<u8>) {
    (codec::event_key(event), codec::encode_event(event))
}

impl Memory {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds an event, or replaces the one with its key.
    pub(super) fn event(&mut self, event: &Event) {
        self.event_row(encode(event));
    }

    /// Adds the row of an event, readable or not.
    pub(super) fn event_row(&mut self, (key, value): (Vec<u8>, Vec<u8>)) {
        Arc::make_mut(&mut self.events).insert(key, value);
    }

    /// Adds the row of a profile, or replaces it.
    pub(super) fn row(&mut self, key: &ProfileKey, row: Vec<u8>) {
        self.put(JoinTable::Profiles(key.kind().clone()), key.id().as_bytes(), row);
    }

    /// Adds any row to a table, or replaces it.
    pub(super) fn put(&mut self, table: JoinTable, id: &[u8], row: Vec<u8>) {
        Arc::make_mut(self.tables.entry(table).or_default()).insert(id.to_vec(), row);
    }

    fn table(&self, table: &JoinTable) -> Rows {
        self.tables.get(table).cloned().unwrap_or_default()
    }
}

/// A cursor over rows in memory.
pub(super) struct MemoryCursor {
    rows: Rows,
    /// The next key is this one or the first after it.
    next: Vec<u8>,
    to: Option<Vec<u8>>,
    row: Option<(Vec<u8>, Vec<u8>)>,
}

impl MemoryCursor {
    fn new(rows: Rows, from: &[u8], to: Option<&[u8]>) -> Self {
        Self { rows, next: from.to_vec(), to: to.map(<[u8]>::to_vec), row: None }
    }
}

impl RowCursor for MemoryCursor {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let row = self.rows.range(self.next.clone()..).next();
        let row = row.filter(|(key, _)| self.to.as_ref().is_none_or(|to| *key < to));
        self.row = row.map(|(key, value)| (key.clone(), value.clone()));
        if let Some((key, _)) = &self.row {
            self.next = [key.as_slice(), &[0]].concat();
        }
        Ok(self.row.as_ref().map(|(key, value)| (key.as_slice(), value.as_slice())))
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.next = self.next.as_slice().max(key).to_vec();
        Ok(())
    }
}

impl EventRows for Memory {
    type Cursor = MemoryCursor;

    fn cursor(&self, from: &[u8], to: Option<&[u8]>) -> Result<Self::Cursor> {
        Ok(MemoryCursor::new(Arc::clone(&self.events), from, to))
    }

    fn estimate_rows(&self, from: &[u8], to: Option<&[u8]>) -> u64 {
        let to = to.map_or_else(|| vec![u8::MAX; 64], <[u8]>::to_vec);
        if from < to.as_slice() { self.events.range(from.to_vec()..to).count() as u64 } else { 0 }
    }
}

impl EventTable for Memory {
    fn scan(&self, spec: ScanSpec) -> Result<Box<dyn EventScan>> {
        let (from, to) = spec.keys();
        Ok(Box::new(RowScan::new(self.cursor(&from, to.as_deref())?, spec)))
    }

    fn estimate(&self, spec: &ScanSpec) -> Result<(Estimates, Days)> {
        estimate(self, spec)
    }
}

impl ProfileTables for Memory {
    fn rows(&self, table: &JoinTable, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn RowCursor>> {
        Ok(Box::new(MemoryCursor::new(self.table(table), from, to)))
    }

    fn lookup(&self, table: &JoinTable, ids: &[&[u8]], each: &mut Each<'_>) -> Result<()> {
        let rows = self.table(table);
        ids.iter().enumerate().try_for_each(|(at, id)| each(at, rows.get(*id).map(Vec::as_slice)))
    }

    fn has(&self, table: &JoinTable) -> bool {
        self.tables.contains_key(table)
    }

    fn estimate_rows(&self, table: &JoinTable) -> u64 {
        self.table(table).len() as u64
    }
}
