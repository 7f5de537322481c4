//! Column scan: events from one block of a log that keeps them in columns, in the order of ordinals and time.
//!
//! Only the columns that a query needs are read and decoded. What a predicate on the user makes of a run is looked up
//! by ordinal, so that the events of others are not touched at all.

use std::sync::Arc;

use super::{ColumnTable, EventScan, OrdinalReader, READS_PER_FILL, ScanSpec, Tables};
use crate::codec::{self, Malformed, ValueBytes};
use crate::error::{Error, Result};
use crate::join::block::{Block, position};
use crate::join::probe::OrdinalCodes;
use crate::segment::{BlockColumn, BlockDamage, BlockTimes, ColumnId, MISSING, RunPacks, SealedBlock, UserRuns};

/// Which users are requested, by ordinal.
#[derive(Debug)]
pub(in crate::join) enum RunFilter {
    /// These, ascending.
    Ordinals(Vec<u32>),
    /// Those whose code in a table is kept: one for each code, and one for those without a row after them.
    Codes(Arc<OrdinalCodes>, Vec<bool>),
}

impl RunFilter {
    #[inline]
    pub(in crate::join) fn keeps(&self, ordinal: u32) -> bool {
        match self {
            Self::Ordinals(ordinals) => ordinals.binary_search(&ordinal).is_ok(),
            Self::Codes(codes, keeps) => {
                let code = codes.get(ordinal) as usize;
                keeps.get(code.min(keeps.len().saturating_sub(1))).copied().unwrap_or(false)
            }
        }
    }
}

/// A name that the block does not have yet.
const UNKNOWN: u32 = u32::MAX;

/// Names whose codes are kept while a block is filled.
const NAMES_MAX: usize = 1_024;

/// A scan over one block.
pub(in crate::join) struct ColumnScan {
    tables: Arc<dyn Tables>,
    spec: ScanSpec,
    block: SealedBlock,
    users: Option<Arc<RunFilter>>,
    /// The events that rows replace, by their positions, ascending.
    replaced: Vec<u32>,
    ids: Box<dyn OrdinalReader>,
    columns: Option<ScanColumns>,
}

/// The decoded columns, and the position of the scan.
struct ScanColumns {
    runs: UserRuns,
    times: BlockTimes,
    /// Where names are needed, or filtered by.
    names: Option<BlockColumn>,
    /// For each entry of the dictionary of names, whether it is requested.
    has_name: Option<Vec<bool>>,
    insert_ids: Option<BlockColumn>,
    /// One for each requested property, and where it is stored; none where no event has it.
    properties: Vec<Option<(ColumnId, BlockColumn)>>,
    /// For each entry of the dictionary of names, its code in the block that is being filled, or [`UNKNOWN`].
    name_codes: Vec<u32>,
    run: usize,
    /// The next event, and where the events of its run end.
    event: usize,
    run_end: usize,
}

impl ColumnScan {
    pub(in crate::join) fn new(
        tables: &Arc<dyn Tables>,
        spec: ScanSpec,
        block: SealedBlock,
        users: Option<Arc<RunFilter>>,
        replaced: Vec<u32>,
    ) -> Result<Self> {
        let ids = ChunkReader::new(&**tables, &block)?.table.ids();
        Ok(Self { tables: Arc::clone(tables), spec, block, users, replaced, ids, columns: None })
    }
}

/// Reads chunks of a block, and says what is wrong with them.
pub(in crate::join) struct ChunkReader<'t> {
    table: &'t dyn ColumnTable,
    block: &'t SealedBlock,
}

impl<'t> ChunkReader<'t> {
    pub(in crate::join) fn new(tables: &'t dyn Tables, block: &'t SealedBlock) -> Result<Self> {
        let table = tables.columns().ok_or_else(|| Error::corrupt("a block of columns without its table"))?;
        Ok(Self { table, block })
    }

    pub(in crate::join) fn events(&self) -> usize {
        self.block.summary.events as usize
    }

    fn read(&self, columns: &[ColumnId]) -> Result<Vec<Vec<u8>>> {
        self.table.read(self.block, columns)
    }

    pub(in crate::join) fn damaged(&self, column: &ColumnId, malformed: Malformed) -> Error {
        self.table.damaged(self.block, &BlockDamage { column: column.clone(), malformed })
    }

    fn one(&self, column: &ColumnId) -> Result<Vec<u8>> {
        self.read(std::slice::from_ref(column))?.pop().ok_or_else(|| self.damaged(column, MISSING))
    }

    /// The chunk of the runs.
    pub(in crate::join) fn run_chunk(&self) -> Result<Vec<u8>> {
        self.one(&ColumnId::Runs)
    }

    /// The runs in their chunk.
    pub(in crate::join) fn run_packs<'c>(&self, chunk: &'c [u8]) -> Result<RunPacks<'c>> {
        let packs = RunPacks::open(chunk).map_err(|malformed| self.damaged(&ColumnId::Runs, malformed))?;
        if packs.events() != self.events() {
            return Err(self.damaged(&ColumnId::Runs, Malformed("a chunk of another number of events")));
        }
        Ok(packs)
    }

    pub(in crate::join) fn runs(&self) -> Result<UserRuns> {
        let runs = UserRuns::decode(&self.one(&ColumnId::Runs)?);
        let runs = runs.map_err(|malformed| self.damaged(&ColumnId::Runs, malformed))?;
        if runs.events() != self.events() {
            return Err(self.damaged(&ColumnId::Runs, Malformed("a chunk of another number of events")));
        }
        Ok(runs)
    }

    pub(in crate::join) fn times(&self) -> Result<BlockTimes> {
        let times = BlockTimes::decode(&self.one(&ColumnId::Time)?, self.events());
        times.map_err(|malformed| self.damaged(&ColumnId::Time, malformed))
    }

    pub(in crate::join) fn texts(&self, column: &ColumnId) -> Result<BlockColumn> {
        let texts = BlockColumn::of_texts(self.one(column)?, self.events());
        texts.map_err(|malformed| self.damaged(column, malformed))
    }

    /// The values of a property, and the column that they are stored in; none where no event has it.
    pub(in crate::join) fn property(&self, name: &str) -> Result<Option<(ColumnId, BlockColumn)>> {
        let own = ColumnId::Property(name.into());
        let column = if self.block.has_column(&own) { own } else { ColumnId::Rest };
        if !self.block.has_column(&column) {
            return Ok(None);
        }
        let chunk = self.one(&column)?;
        let values = match &column {
            ColumnId::Rest => BlockColumn::of_rare(chunk, self.events(), name),
            _ => BlockColumn::of_property(chunk, self.events()),
        };
        Ok(Some((column.clone(), values.map_err(|malformed| self.damaged(&column, malformed))?)))
    }
}

/// Reads and decodes the columns that a query needs, unless no user of the block is requested.
fn open(reader: &ChunkReader<'_>, spec: &ScanSpec, users: Option<&RunFilter>) -> Result<Option<ScanColumns>> {
    let layout = &spec.layout.events;
    let runs = reader.runs()?;
    if users.is_some_and(|users| !runs.ordinals.iter().any(|ordinal| users.keeps(*ordinal))) {
        return Ok(None);
    }
    let times = reader.times()?;
    let requested_names = spec.predicate.names.is_some();
    let texts = |column: &ColumnId, needed: bool| needed.then(|| reader.texts(column)).transpose();
    let names = texts(&ColumnId::Name, layout.name || requested_names)?;
    let insert_ids = texts(&ColumnId::InsertId, layout.insert_id)?;
    let properties = layout.properties.iter().map(|name| reader.property(name)).collect::<Result<_>>()?;
    let dictionary = names.as_ref().filter(|_| requested_names).and_then(BlockColumn::dictionary);
    let has_name = dictionary.map(|(entries, _)| entries.iter().map(|name| spec.predicate.has_name(name)).collect());
    let name_codes = Vec::new();
    let (run, event, run_end) = (0, 0, 0);
    Ok(Some(ScanColumns { runs, times, names, has_name, insert_ids, properties, name_codes, run, event, run_end }))
}

impl ScanColumns {
    /// Moves to the next run with a requested user, and returns the ordinal.
    fn next_run(&mut self, users: Option<&RunFilter>) -> Option<u32> {
        loop {
            let (ordinal, count) = (*self.runs.ordinals.get(self.run)?, *self.runs.counts.get(self.run)?);
            self.run += 1;
            self.event = self.run_end;
            self.run_end += count as usize;
            if users.is_none_or(|users| users.keeps(ordinal)) {
                return Some(ordinal);
            }
        }
    }

    /// Forgets the codes of names in the block that was filled last.
    fn begin_fill(&mut self) {
        let dictionary = self.names.as_ref().and_then(BlockColumn::dictionary);
        let names = dictionary.map(|(entries, _)| entries.len()).filter(|names| *names <= NAMES_MAX);
        self.name_codes.clear();
        self.name_codes.resize(names.unwrap_or(0), UNKNOWN);
    }

    /// The code in a block of the name of an event, where names are needed, unless it is not requested.
    #[inline]
    fn name(
        &mut self,
        event: usize,
        spec: &ScanSpec,
        (block, reader): (&mut Block, &ChunkReader<'_>),
        text: &mut Vec<u8>,
    ) -> Result<Option<u32>> {
        let Some(names) = &self.names else { return Ok(Some(0)) };
        let Some((entries, codes)) = names.dictionary() else {
            text.clear();
            let written = names.write(event, text).and_then(|()| codec::check_text(text));
            written.map_err(|malformed| reader.damaged(&ColumnId::Name, malformed))?;
            return if spec.predicate.has_name(text) { block.name_code(text).map(Some) } else { Ok(None) };
        };
        let code = codes.get(event).map_or(usize::MAX, |code| *code as usize);
        if self.has_name.as_ref().is_some_and(|has| !has.get(code).copied().unwrap_or(false)) {
            return Ok(None);
        }
        if let Some(known) = self.name_codes.get(code).filter(|known| **known != UNKNOWN) {
            return Ok(Some(*known));
        }
        let Some(name) = entries.get(code) else { return Ok(None) };
        let known = block.name_code(name)?;
        self.name_codes.get_mut(code).into_iter().for_each(|place| *place = known);
        Ok(Some(known))
    }

    /// Appends the values of an event to the block that it was appended to.
    fn push_values(&self, event: usize, block: &mut Block, reader: &ChunkReader<'_>) -> Result<()> {
        let property = |at: usize, out: &mut Vec<u8>| {
            let Some(Some((column, values))) = self.properties.get(at) else { return Ok(()) };
            let start = out.len();
            let written = values.write(event, out).and_then(|()| match out.get(start..) {
                Some(value) if !value.is_empty() && !values.is_checked() => ValueBytes::checked(value).map(|_| ()),
                _ => Ok(()),
            });
            written.map_err(|malformed| reader.damaged(column, malformed))
        };
        let insert_id = |out: &mut Vec<u8>| {
            let Some(insert_ids) = &self.insert_ids else { return Ok(()) };
            let start = out.len();
            let written = insert_ids.write(event, out);
            let checked = written.and_then(|()| codec::check_text(out.get(start..).unwrap_or_default()));
            checked.map_err(|malformed| reader.damaged(&ColumnId::InsertId, malformed))
        };
        block.push_values(property, insert_id)
    }
}

impl EventScan for ColumnScan {
    fn fill(&mut self, block: &mut Block, max: usize) -> Result<bool> {
        let Self { tables, spec, block: sealed, users, replaced, ids, columns } = self;
        let reader = ChunkReader::new(&**tables, sealed)?;
        let users = users.as_deref();
        let columns = match columns {
            Some(columns) => columns,
            None => match open(&reader, spec, users)? {
                Some(opened) => columns.insert(opened),
                None => return Ok(false),
            },
        };
        columns.begin_fill();
        let needs_ids = spec.layout.events.id;
        let mut text = Vec::new();
        let mut read = 0;
        let more = loop {
            if read == READS_PER_FILL || block.is_full(max) {
                break true;
            }
            if columns.event == columns.run_end && columns.next_run(users).is_none() {
                break false;
            }
            let Some(ordinal) = columns.runs.ordinals.get(columns.run.wrapping_sub(1)).copied() else { break false };
            let event = columns.event;
            columns.event += 1;
            read += 1;
            if !replaced.is_empty() && replaced.binary_search(&position(event)).is_ok() {
                continue;
            }
            let time = sealed.time(columns.times.get(event));
            if !spec.predicate.has_time(time) {
                continue;
            }
            let Some(name) = columns.name(event, spec, (block, &reader), &mut text)? else { continue };
            if block.last_ordinal() != Some(ordinal) {
                block.begin_run(ordinal, needs_ids.then(|| ids.page_with(ordinal)).transpose()?)?;
            }
            block.push_of_run(time, name);
            columns.push_values(event, block, &reader)?;
            spec.predicate.filter_last(block)?;
        };
        block.scanned.events += read;
        Ok(more)
    }
}
