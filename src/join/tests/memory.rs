//! Events and tables in memory, for joins without a store.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec;
use crate::error::{Error, Result};
use crate::join::{
    ColumnTable, Days, Each, Estimates, EventRows, EventScan, EventTable, JoinTable, LogTail, OrdinalReader,
    ProfileTables, RowBytes, RowCursor, RowScan, ScanSpec, TailOrdinals, UnsealedRow, block_id, estimate,
};
use crate::model::{Event, ProfileKey};
use crate::segment::{
    BlockBuilder, BlockColumn, BlockDamage, BlockTimes, ColumnId, EncodedBlock, OrdinalIds, SealedBlock, SegmentKey,
    UserRuns, encode_ordinal,
};

type Rows = Arc<BTreeMap<Vec<u8>, Vec<u8>>>;

/// Events and tables in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) events: Rows,
    tables: BTreeMap<JoinTable, Rows>,
    columns: Option<Arc<MemoryColumns>>,
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

    /// Keeps some events in columns as well, in blocks of at most this many. `is_sealed` says whether an event is, and
    /// `older` has an older value of it in its place, which its row replaces, or none where it has no row.
    pub(super) fn seal(
        &mut self,
        block_events: usize,
        is_sealed: impl Fn(&Event) -> bool,
        older: impl Fn(&Event) -> Option<Event>,
    ) {
        let mut columns = MemoryColumns::default();
        let mut rows = BTreeMap::new();
        let mut sealed: BTreeMap<i32, Vec<SealedRow>> = BTreeMap::new();
        for (key, value) in &*self.events {
            let event = codec::decode_event(key, value).unwrap();
            let older = older(&event);
            if !is_sealed(&event) || older.is_some() {
                rows.insert(key.clone(), value.clone());
            }
            if is_sealed(&event) {
                let value = older.as_ref().map_or_else(|| value.clone(), |older| encode(older).1);
                sealed.entry(event.time().day_and_millis().0).or_default().push((event, key.clone(), value));
            }
        }
        // In another order than that of keys.
        let mut ids: Vec<Vec<u8>> = sealed.values().flatten().map(|(event, ..)| event.distinct_id().into()).collect();
        ids.sort_by_key(|id| id.iter().rev().copied().collect::<Vec<u8>>());
        ids.dedup();
        for (day, rows) in sealed {
            let segment = SegmentKey { day, number: 1 };
            let mut builder = BlockBuilder::new(block_events);
            let mut numbers = 0..;
            let mut finish = |builder: &mut BlockBuilder| {
                let EncodedBlock { summary, chunks } = builder.finish(numbers.next().unwrap()).unwrap();
                columns.blocks.push((SealedBlock { segment, summary: Arc::new(summary) }, chunks));
            };
            for (event, key, value) in rows {
                let ordinal = ids.iter().position(|id| id == event.distinct_id().as_bytes()).unwrap();
                builder.push(u32::try_from(ordinal).unwrap(), &key, &value).unwrap();
                if builder.is_full() {
                    finish(&mut builder);
                }
            }
            if !builder.is_empty() {
                finish(&mut builder);
            }
        }
        columns.ordinals =
            Arc::new((0..).zip(&ids).map(|(at, id)| (id.clone(), encode_ordinal(at).to_vec())).collect());
        columns.ids = Arc::new(ids);
        columns.rows = Arc::new(rows);
        // About every other log has its rows in memory.
        columns.tail = (columns.rows.len() % 2 == 0).then(|| columns.read_tail()).map(Arc::new);
        self.columns = Some(Arc::new(columns));
    }

    /// Makes the times of the events in columns unreadable, which are needed to make rows of them.
    pub(super) fn damage_times(&mut self) {
        let columns = self.columns.as_mut().map(Arc::make_mut).unwrap();
        for (_, chunks) in &mut columns.blocks {
            chunks.iter_mut().filter(|(id, _)| *id == ColumnId::Time).for_each(|(_, chunk)| chunk.clear());
        }
    }

    /// The rows that a scan reads.
    fn tier(&self, spec: &ScanSpec) -> Rows {
        let columns = self.columns.as_ref().filter(|_| spec.rows_only);
        Arc::clone(columns.map_or(&self.events, |columns| &columns.rows))
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
        let cursor = MemoryCursor::new(self.tier(&spec), &from, to.as_deref());
        Ok(Box::new(RowScan::new(cursor, spec)))
    }

    fn estimate(&self, spec: &ScanSpec) -> Result<(Estimates, Days)> {
        let events = self.tier(spec);
        estimate(&Self { events, ..Self::default() }, spec)
    }

    fn columns(&self) -> Option<&dyn ColumnTable> {
        self.columns.as_deref().map(|columns| columns as &dyn ColumnTable)
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

/// Tables in memory that call a function before each row of a table of profiles.
pub(super) struct Hooked {
    memory: Arc<Memory>,
    before: Arc<Hook>,
}

type Hook = dyn Fn() -> Result<()> + Send + Sync;

impl Hooked {
    pub(super) fn new(memory: Arc<Memory>, before: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Self { memory, before: Arc::new(before) }
    }
}

struct HookedRows {
    rows: Box<dyn RowCursor>,
    before: Arc<Hook>,
}

impl RowCursor for HookedRows {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        (self.before)()?;
        self.rows.next()
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.rows.seek(key)
    }
}

impl EventTable for Hooked {
    fn scan(&self, spec: ScanSpec) -> Result<Box<dyn EventScan>> {
        self.memory.scan(spec)
    }

    fn estimate(&self, spec: &ScanSpec) -> Result<(Estimates, Days)> {
        EventTable::estimate(&*self.memory, spec)
    }

    fn columns(&self) -> Option<&dyn ColumnTable> {
        self.memory.columns()
    }
}

impl ProfileTables for Hooked {
    fn rows(&self, table: &JoinTable, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn RowCursor>> {
        Ok(Box::new(HookedRows { rows: self.memory.rows(table, from, to)?, before: Arc::clone(&self.before) }))
    }

    fn lookup(&self, table: &JoinTable, ids: &[&[u8]], each: &mut Each<'_>) -> Result<()> {
        self.memory.lookup(table, ids, each)
    }

    fn has(&self, table: &JoinTable) -> bool {
        self.memory.has(table)
    }

    fn estimate_rows(&self, table: &JoinTable) -> u64 {
        ProfileTables::estimate_rows(&*self.memory, table)
    }
}

/// An event, with the key and the value that it is sealed with.
type SealedRow = (Event, Vec<u8>, Vec<u8>);

/// A block, with its chunks.
type MemoryBlock = (SealedBlock, Vec<(ColumnId, Vec<u8>)>);

/// Events in columns in memory.
#[derive(Clone, Debug, Default)]
struct MemoryColumns {
    blocks: Vec<MemoryBlock>,
    /// By ordinal.
    ids: Arc<Vec<Vec<u8>>>,
    ordinals: Rows,
    /// The rows of the log that are not in columns, or replace what is.
    rows: Rows,
    tail: Option<Arc<LogTail>>,
}

impl MemoryColumns {
    fn read_tail(&self) -> LogTail {
        let mut new_ordinals = TailOrdinals::new(u32::try_from(self.ids.len()).unwrap(), 1);
        let rows = self.rows.iter().map(|(key, value)| {
            let id = codec::EventKey::read(key).ok().and_then(|key| codec::unescape_bytes(key.escaped).ok());
            let ordinal = id.map(|id| match self.ids.iter().position(|known| **known == *id) {
                Some(at) => u32::try_from(at).unwrap(),
                None => new_ordinals.get_or_add(&id).unwrap(),
            });
            UnsealedRow::new(ordinal, RowBytes::new(key, value))
        });
        let mut tail = LogTail::default();
        // In several parts, as rows that were added one after the other.
        let mut rows: Vec<UnsealedRow> = rows.collect();
        let last = rows.split_off(rows.len() / 5 * 4);
        tail.rows.insert(rows);
        tail.rows.insert(last);
        tail.new_ordinals = new_ordinals;
        for (block, _) in &self.blocks {
            let events = self.find_replaced(block);
            let replaced = events.into_iter().map(|event| (event.to_be_bytes().into(), event)).collect();
            tail.replaced.insert(block_id(block), Arc::new(replaced));
        }
        tail
    }

    fn find_replaced(&self, block: &SealedBlock) -> Vec<u32> {
        let events = block.summary.events as usize;
        let columns = [ColumnId::Runs, ColumnId::Time, ColumnId::Name, ColumnId::InsertId];
        let [runs, times, names, insert_ids] = self.read(block, &columns).unwrap().try_into().unwrap();
        let runs = UserRuns::decode(&runs).unwrap();
        let times = BlockTimes::decode(&times, events).unwrap();
        let texts = [names, insert_ids].map(|chunk| BlockColumn::of_texts(chunk, events).unwrap());
        let ordinals = runs.ordinals.iter().zip(&runs.counts);
        let ordinals = ordinals.flat_map(|(ordinal, count)| std::iter::repeat_n(*ordinal, *count as usize));
        let is_replaced = |(event, ordinal): (usize, u32)| {
            let [name, insert_id] = texts.each_ref().map(|column| {
                let mut text = Vec::new();
                column.write(event, &mut text).unwrap();
                text
            });
            let mut key = Vec::new();
            let id = &self.ids[ordinal as usize];
            let day = codec::day_prefix(block.segment.day);
            codec::put_event_key(&mut key, day, id, times.get(event), (&name, &insert_id));
            self.rows.contains_key(&key).then(|| u32::try_from(event).unwrap())
        };
        ordinals.enumerate().filter_map(is_replaced).collect()
    }
}

impl ColumnTable for MemoryColumns {
    fn blocks(&self, days: (Option<i32>, Option<i32>)) -> Result<Vec<SealedBlock>> {
        let has = |day: i32| days.0.is_none_or(|from| day >= from) && days.1.is_none_or(|to| day < to);
        Ok(self.blocks.iter().map(|(block, _)| block.clone()).filter(|block| has(block.segment.day)).collect())
    }

    fn read(&self, block: &SealedBlock, columns: &[ColumnId]) -> Result<Vec<Vec<u8>>> {
        let (_, chunks) = self.blocks.iter().find(|(known, _)| known == block).unwrap();
        let find = |column: &ColumnId| chunks.iter().find(|(known, _)| known == column).map(|(_, chunk)| chunk.clone());
        Ok(columns.iter().map(|column| find(column).unwrap()).collect())
    }

    fn tail(&self) -> Result<Option<Arc<LogTail>>> {
        Ok(self.tail.clone())
    }

    fn replaced(&self, block: &SealedBlock) -> Result<Vec<u32>> {
        Ok(self.tail.as_ref().map_or_else(|| self.find_replaced(block), |tail| tail.replaced(block)))
    }
    fn ordinals(&self, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn RowCursor>> {
        Ok(Box::new(MemoryCursor::new(Arc::clone(&self.ordinals), from, to)))
    }

    fn ordinal_count(&self) -> Result<u32> {
        let stored = u32::try_from(self.ids.len()).unwrap();
        Ok(self.tail.as_ref().map_or(stored, |tail| tail.new_ordinals.end()))
    }

    fn ordinals_of(&self, ids: &[&[u8]]) -> Result<Vec<Option<u32>>> {
        let find = |id: &&[u8]| self.ids.iter().position(|known| known == id);
        let new = |id: &[u8]| self.tail.as_ref().and_then(|tail| tail.new_ordinals.get(id));
        let ordinal = |id: &&[u8]| find(id).map(|at| u32::try_from(at).unwrap()).or_else(|| new(id));
        Ok(ids.iter().map(ordinal).collect())
    }

    fn ids(&self) -> Box<dyn OrdinalReader> {
        Box::new(MemoryIds { ids: Arc::clone(&self.ids), tail: self.tail.clone(), page: Arc::default() })
    }

    fn damaged(&self, block: &SealedBlock, damage: &BlockDamage) -> Error {
        Error::corrupt(format!("{block:?} {damage:?}"))
    }
}

struct MemoryIds {
    ids: Arc<Vec<Vec<u8>>>,
    tail: Option<Arc<LogTail>>,
    page: Arc<OrdinalIds>,
}

impl OrdinalReader for MemoryIds {
    fn find_id(&mut self, ordinal: u32, out: &mut Vec<u8>) -> Result<bool> {
        let new = || self.tail.as_ref().unwrap().new_ordinals.id(ordinal).unwrap();
        out.extend_from_slice(self.ids.get(ordinal as usize).map_or_else(new, Vec::as_slice));
        Ok(true)
    }

    fn page(&mut self, ordinal: u32) -> Result<&Arc<OrdinalIds>> {
        let (_, at) = OrdinalIds::key_of(ordinal);
        let mut page = OrdinalIds::default();
        self.ids.iter().skip(ordinal as usize - at).take(1_024).for_each(|id| page.push(id));
        self.page = Arc::new(page);
        Ok(&self.page)
    }
}
