//! Reading the codes of a whole table: a merge of two scans that ascend by id, of the table and of the ids that have
//! ordinals, on the threads of the join.
//!
//! The ids are cut into ranges. Threads take one after the other, and project its rows. The calling thread does that
//! too, and gives codes to the projections of all threads, so that there is one dictionary.

use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicUsize};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::build_rows::project;
use super::dictionary::DictionaryBuilder;
use super::ordinal::{Codes, CodesMemory, OrdinalCodes};
use crate::error::{Error, ErrorKind, Result};
use crate::join::cancel::Interrupt;
use crate::join::layout::Dim;
use crate::join::scan::ColumnTable;
use crate::join::stats::Counters;
use crate::join::tables::{ProfileTables, RowCursor};
use crate::segment::ordinal_of_id;

/// What reading codes may use, and what it reports to.
#[derive(Clone, Copy)]
pub(in crate::join) struct CodesContext<'j> {
    pub(in crate::join) threads: usize,
    pub(in crate::join) counters: &'j Counters,
    pub(in crate::join) interrupt: &'j Interrupt,
}

/// Fewer ordinals are read before their ids are cut into ranges. Few in tests, so that these have ranges and chunks.
const SHARED_MIN: u32 = if cfg!(test) { 4 } else { 1 << 15 };

/// Ranges per thread, so that threads finish at about the same time.
const RANGES_PER_THREAD: usize = 8;

/// Ids per range by which they are cut.
const SAMPLES_PER_RANGE: usize = 4;

/// A chunk has at most this many rows, and is full when they have this many bytes.
const CHUNK_ROWS: u64 = if cfg!(test) { 3 } else { 4_096 };
const CHUNK_BYTES: usize = 64 << 10;

/// How many chunks of a thread may wait.
const CHUNKS_PER_THREAD: usize = 4;

/// Reads a table, unless its codes and their meanings take too much memory. `count` is that of the ordinals.
pub(in crate::join) fn read_codes(
    tables: &dyn ProfileTables,
    columns: &dyn ColumnTable,
    dim: &Dim,
    (count, memory): (u32, CodesMemory),
    context: CodesContext<'_>,
) -> Result<Option<OrdinalCodes>> {
    if !memory.has_room(0, count as usize) {
        return Ok(None);
    }
    let starts = range_starts(columns, count, context.threads)?;
    let interrupt = context.interrupt;
    let scan = CodesScan { tables, columns, dim, interrupt, starts, next: AtomicUsize::new(0) };
    let mut reading = CodesReading {
        // Of this size at once: growing would copy, and take twice the memory.
        codes: Codes::U8(vec![0; count as usize]),
        dictionary: DictionaryBuilder::new(dim.names.len()),
        memory,
        read: 0,
        context,
    };
    let fits = match scan.starts.len() {
        1 => scan.for_each_chunk(|chunk| reading.take(chunk))?,
        _ => reading.read_shared(&scan)?,
    };
    context.counters.rows_read.add(reading.read);
    Ok(fits.then(|| reading.finish()))
}

/// Where the ranges of ids begin, the first at the least id: at quantiles of a sample.
fn range_starts(columns: &dyn ColumnTable, count: u32, threads: usize) -> Result<Vec<Vec<u8>>> {
    let mut starts = vec![Vec::new()];
    if threads == 1 || count < SHARED_MIN {
        return Ok(starts);
    }
    let samples = threads * RANGES_PER_THREAD * SAMPLES_PER_RANGE;
    let (mut reader, mut ids) = (columns.ids(), Vec::new());
    for ordinal in (0..count).step_by((count as usize / samples).max(1)) {
        let mut id = Vec::new();
        if reader.find_id(ordinal, &mut id)? {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    starts.extend(ids.into_iter().skip(SAMPLES_PER_RANGE).step_by(SAMPLES_PER_RANGE));
    Ok(starts)
}

/// The ranges of ids, of which each thread takes the next.
struct CodesScan<'j> {
    tables: &'j dyn ProfileTables,
    columns: &'j dyn ColumnTable,
    dim: &'j Dim,
    interrupt: &'j Interrupt,
    starts: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl CodesScan<'_> {
    /// The next range that no thread has taken.
    fn next_range(&self) -> Result<Option<RowsWithOrdinals<'_>>> {
        let at = self.next.fetch_add(1, atomic::Ordering::Relaxed);
        let Some(from) = self.starts.get(at) else { return Ok(None) };
        let to = self.starts.get(at + 1).map(Vec::as_slice);
        let rows = self.tables.rows(&self.dim.table, from, to)?;
        let ordinals = self.columns.ordinals(from, to)?;
        Ok(Some(RowsWithOrdinals { dim: self.dim, interrupt: self.interrupt, rows, ordinals, steps: 0 }))
    }

    /// Calls `each` with chunks of rows until no range is left, or it returns false. Returns whether it never did.
    fn for_each_chunk(&self, mut each: impl FnMut(&mut ProjectedRows) -> Result<bool>) -> Result<bool> {
        let mut chunk = ProjectedRows::default();
        while let Some(mut rows) = self.next_range()? {
            loop {
                chunk.clear();
                let has_more = rows.fill(&mut chunk)?;
                if !each(&mut chunk)? {
                    return Ok(false);
                }
                if !has_more {
                    break;
                }
            }
        }
        Ok(true)
    }

    /// Sends chunks until no range is left, or nothing receives them any more.
    fn send_all(&self, chunks: &Sender<Result<ProjectedRows>>) {
        let sent = self.for_each_chunk(|chunk| Ok(chunks.send(Ok(std::mem::take(chunk))).is_ok()));
        if let Err(error) = sent {
            // An error of `send` says that nothing receives it.
            chunks.send(Err(error)).ok();
        }
    }
}

/// Projections of rows, with the ordinals of their ids.
#[derive(Default)]
struct ProjectedRows {
    tuples: Vec<u8>,
    /// The ordinal of each, and where it ends.
    rows: Vec<(u32, usize)>,
    /// How many rows were read, those of absent profiles included.
    read: u64,
}

impl ProjectedRows {
    fn clear(&mut self) {
        self.tuples.clear();
        self.rows.clear();
        self.read = 0;
    }

    fn is_full(&self) -> bool {
        self.read >= CHUNK_ROWS || self.tuples.len() >= CHUNK_BYTES
    }
}

/// The rows of a range that have an ordinal.
struct RowsWithOrdinals<'j> {
    dim: &'j Dim,
    interrupt: &'j Interrupt,
    rows: Box<dyn RowCursor>,
    ordinals: Box<dyn RowCursor>,
    /// Rows and ordinals so far.
    steps: u64,
}

impl RowsWithOrdinals<'_> {
    /// Fills a chunk. Returns whether there may be more of them.
    fn fill(&mut self, chunk: &mut ProjectedRows) -> Result<bool> {
        let mut row = self.rows.next()?;
        let mut ordinal = self.ordinals.next()?;
        while let (Some((id, value)), Some((of, encoded))) = (row, ordinal) {
            self.steps += 1;
            self.interrupt.check_each(self.steps)?;
            match id.cmp(of) {
                Ordering::Less => row = self.rows.next()?,
                Ordering::Greater => ordinal = self.ordinals.next()?,
                Ordering::Equal => {
                    chunk.read += 1;
                    if project(self.dim, id, value, &mut chunk.tuples)? {
                        chunk.rows.push((ordinal_of_id(of, encoded)?, chunk.tuples.len()));
                    }
                    // Nothing is ahead of either scan here.
                    if chunk.is_full() {
                        return Ok(true);
                    }
                    row = self.rows.next()?;
                    ordinal = self.ordinals.next()?;
                }
            }
        }
        Ok(false)
    }
}

/// The codes so far.
struct CodesReading<'j> {
    codes: Codes,
    dictionary: DictionaryBuilder,
    memory: CodesMemory,
    read: u64,
    context: CodesContext<'j>,
}

impl CodesReading<'_> {
    /// Gives codes to rows. Returns whether they fit into the memory.
    fn take(&mut self, chunk: &ProjectedRows) -> Result<bool> {
        self.read += chunk.read;
        let mut start = 0;
        for (ordinal, end) in &chunk.rows {
            // Ends ascend within the bytes.
            let tuple = chunk.tuples.get(start..*end).unwrap_or_default();
            start = *end;
            let at = *ordinal as usize;
            let code = self.dictionary.code(tuple)?.saturating_add(1);
            if !self.memory.has_room(self.dictionary.memory_with(tuple.len()), self.codes.memory_with(at, code)) {
                return Ok(false);
            }
            self.codes.set(at, code);
        }
        Ok(true)
    }

    /// As [`take`](Self::take), of chunks of other threads.
    fn take_all(&mut self, chunks: impl Iterator<Item = Result<ProjectedRows>>) -> Result<bool> {
        for chunk in chunks {
            if !self.take(&chunk?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// With other threads, fewer where the system has no more of them.
    fn read_shared(&mut self, scan: &CodesScan<'_>) -> Result<bool> {
        let helpers = self.context.threads.saturating_sub(1);
        let (sender, chunks) = bounded(helpers * CHUNKS_PER_THREAD);
        std::thread::scope(|scope| {
            let start = |sender: Sender<_>| {
                let thread = std::thread::Builder::new().name("profiledb-join".into());
                // Ranges that no other thread takes are read by this one.
                thread.spawn_scoped(scope, move || scan.send_all(&sender)).ok()
            };
            let started: Vec<_> = (0..helpers).map_while(|_| start(sender.clone())).collect();
            drop(sender);
            let fits = self.read_and_receive(scan, &chunks);
            // Those that are not done learn from it that they need not go on.
            drop(chunks);
            let ended = started.into_iter().map(|thread| thread.join().map_err(|_| panicked()));
            ended.collect::<Result<Vec<()>>>()?;
            fits
        })
    }

    fn read_and_receive(&mut self, scan: &CodesScan<'_>, chunks: &Receiver<Result<ProjectedRows>>) -> Result<bool> {
        // What has arrived, so that no thread waits, and at last until all of them have ended.
        Ok(scan.for_each_chunk(|chunk| Ok(self.take(chunk)? && self.take_all(chunks.try_iter())?))?
            && self.take_all(chunks.iter())?)
    }

    fn finish(self) -> OrdinalCodes {
        let (dictionary, tuples) = self.dictionary.finish_with_tuples();
        OrdinalCodes { dictionary, tuples, codes: self.codes }
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Closed, "a thread of the join panicked")
}
