//! The engine of a join: pieces of work, and workers that turn them into blocks.
//!
//! ```text
//! unit     days            a few days of the log: lookup, merge, and hash with the whole table in memory
//!          a part          the users between two ids, over all days: hash with that part of the table in memory
//!          a source        the caller's own events, in one pass
//!
//! worker   unit -> read events -> filter on events -> join -> filter on everything -> block
//! ```
//!
//! A worker owns all it touches but the engine, which is shared and does not change.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::block::{Block, Joined, Run};
use super::filter::{Filter, Verdicts};
use super::interner::are_equal;
use super::layout::{Dim, Layout, Via};
use super::plan::{Plan, Strategy};
use super::resolve::{Build, Cursor, Resolver, Rows, Wanted, head};
use super::source::{Source, Table, Tables};
use super::stats::Counters;
use crate::codec::{self, EventBytes, EventKey};
use crate::error::Result;
use crate::model::Timestamp;

/// What is asked of the events before anything is joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// From here on.
    pub(super) from: Option<Timestamp>,
    /// Up to here, exclusive.
    pub(super) to: Option<Timestamp>,
    /// Only these names.
    pub(super) names: Option<Vec<Box<[u8]>>>,
}

impl Scope {
    /// The least key in it.
    pub(super) fn first_key(&self) -> Vec<u8> {
        self.from.map_or_else(Vec::new, |from| codec::day_prefix(from.day_and_millis().0).into())
    }

    /// The least key behind it, if any is.
    pub(super) fn end_key(&self) -> Option<Vec<u8>> {
        let last = Timestamp::from_millis(self.to?.millis().saturating_sub(1));
        last.day_and_millis().0.checked_add(1).map(|day| codec::day_prefix(day).into())
    }

    /// Puts an event into a block, if it is in the scope and passes what the filter asks of events alone.
    #[inline]
    pub(super) fn admit(
        &self,
        filter: &Filter,
        block: &mut Block,
        key: &[u8],
        parts: &EventKey<'_>,
        value: &[u8],
    ) -> Result<()> {
        if !self.has_time(parts.time()) {
            return Ok(());
        }
        let corrupt = |malformed| codec::corrupt_event(key, malformed);
        let event = EventBytes::read(value).map_err(corrupt)?;
        if !self.has_name(event.name) {
            return Ok(());
        }
        block.push(key, parts.escaped, &event, value).map_err(corrupt)?;
        if !filter.keeps_event(block)? {
            block.pop();
        }
        Ok(())
    }

    fn has_time(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    fn has_name(&self, name: &[u8]) -> bool {
        self.names.as_ref().is_none_or(|names| names.iter().any(|known| **known == *name))
    }

    /// Whether no event can be in it.
    pub(super) fn is_empty(&self) -> bool {
        self.names.as_ref().is_some_and(Vec::is_empty)
    }
}

/// Where units come from.
pub(super) enum Units {
    /// Ranges of keys that begin with these days, each up to the next.
    Days { starts: Vec<Vec<u8>>, next: AtomicUsize },
    /// Parts of a table.
    Parts(Mutex<Splitter>),
    /// The caller's events.
    Single(Mutex<Option<Box<dyn Source>>>),
}

/// Cuts tables into parts by reading each once, side by side. Workers take turns, so while one reads a part the others
/// join theirs.
pub(super) struct Splitter {
    tables: Vec<Parted>,
    /// Where the next part begins.
    start: Vec<u8>,
    number: usize,
    /// Rows in the parts so far.
    taken: u64,
    ended: bool,
}

/// A table that is read in parts.
struct Parted {
    dim: usize,
    rows: Box<dyn Source>,
    /// A row that was read and is not in a part yet. It may be the first of the next one.
    carried: Option<(Vec<u8>, Vec<u8>)>,
}

impl Splitter {
    pub(super) fn new(tables: &dyn Tables, layout: &Layout, parted: &[usize]) -> Result<Self> {
        let table = |dim: &usize| -> Result<Option<Parted>> {
            let Some(spec) = layout.dims.get(*dim) else { return Ok(None) };
            Ok(Some(Parted { dim: *dim, rows: tables.rows(&spec.table, &[], None)?, carried: None }))
        };
        let tables = parted.iter().filter_map(|dim| table(dim).transpose()).collect::<Result<_>>()?;
        Ok(Self { tables, start: Vec::new(), number: 0, taken: 0, ended: false })
    }
}

/// A part, read.
struct Part {
    number: usize,
    /// The rows of each table that is read in parts.
    rows: Vec<(usize, Rows)>,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

/// Everything that workers share.
pub(super) struct Engine {
    pub(super) tables: Arc<dyn Tables>,
    pub(super) layout: Arc<Layout>,
    pub(super) scope: Scope,
    pub(super) filter: Filter,
    pub(super) inner: bool,
    pub(super) plan: Plan,
    pub(super) units: Units,
    /// Tables that were read whole, by their place in the layout.
    pub(super) builds: Vec<Option<Arc<Build>>>,
    pub(super) counters: Counters,
    pub(super) stop: AtomicBool,
}

/// A unit that a worker works on.
struct Unit {
    number: usize,
    source: Box<dyn Source>,
    ids: Ids,
}

/// The ids between which events count, as they stand in keys.
struct Ids {
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    /// How they begin, which settles nearly every comparison.
    low_head: u64,
    high_head: u64,
}

/// Who is wanted, where events are kept of few users.
struct Gate<'w> {
    wanted: Option<&'w Wanted>,
    /// Where the last id was looked for.
    place: usize,
    /// Events that may still be passed one by one.
    patience: u32,
}

/// What is to be done with an event.
enum Look<'w> {
    Wanted,
    Pass,
    /// To this user, if there is one behind.
    Seek(Option<&'w [u8]>),
}

impl<'w> Gate<'w> {
    fn new(resolvers: &'w [Resolver]) -> Self {
        let wanted = resolvers.iter().find_map(Resolver::wanted);
        Self { wanted, place: 0, patience: wanted.map_or(0, |wanted| wanted.patience) }
    }

    #[inline]
    fn look(&mut self, id: &[u8]) -> Look<'w> {
        let Some(wanted) = self.wanted else { return Look::Wanted };
        let next = wanted.ids.not_before(id, &mut self.place);
        if next.is_some_and(|next| are_equal(next, id)) {
            self.patience = wanted.patience;
            return Look::Wanted;
        }
        if self.patience == 0 {
            return Look::Seek(next);
        }
        self.patience -= 1;
        Look::Pass
    }
}

/// Where an id lies.
enum Lies {
    Before,
    Within,
    Behind,
}

impl Ids {
    fn all() -> Self {
        Self::between(Vec::new(), None)
    }

    fn between(low: Vec<u8>, high: Option<Vec<u8>>) -> Self {
        let (low_head, high_head) = (head(&low), high.as_deref().map_or(u64::MAX, head));
        Self { low, high, low_head, high_head }
    }

    #[inline]
    fn place(&self, id: &[u8]) -> Lies {
        let at = head(id);
        if (at > self.low_head || self.low.is_empty()) && at < self.high_head {
            return Lies::Within;
        }
        if !self.low.is_empty() && id < self.low.as_slice() {
            Lies::Before
        } else if self.high.as_deref().is_some_and(|high| id >= high) {
            Lies::Behind
        } else {
            Lies::Within
        }
    }
}

impl Engine {
    /// Reads the next part of the tables, up to a number of rows of all of them.
    fn next_part(&self, splitter: &Mutex<Splitter>) -> Result<Option<Part>> {
        let mut splitter = splitter.lock();
        let splitter = &mut *splitter;
        if splitter.ended {
            return Ok(None);
        }
        let mut parts: Vec<(usize, Rows)> = splitter.tables.iter().map(|table| (table.dim, Rows::default())).collect();
        let most = self.part_rows(splitter);
        let end = match splitter.tables.as_mut_slice() {
            [table] => self.fill_part(table, &mut parts, most)?,
            tables => self.fill_parts(tables, &mut parts, most)?,
        };
        splitter.taken += parts.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>();
        let start = std::mem::replace(&mut splitter.start, end.clone().unwrap_or_default());
        let number = splitter.number;
        splitter.number += 1;
        splitter.ended = end.is_none();
        Ok(Some(Part { number, rows: parts, start, end }))
    }

    /// Rows of the next part: fewer towards the end, so that workers end at about the same time.
    fn part_rows(&self, splitter: &Splitter) -> u64 {
        let most = self.plan.part_rows;
        if self.plan.threads == 1 {
            return most;
        }
        let tables = splitter.tables.iter().filter_map(|table| self.plan.tables.get(table.dim));
        let left = tables.map(|table| table.rows).sum::<u64>().saturating_sub(splitter.taken);
        (left / (self.plan.threads as u64 * 2)).clamp((most / 8).max(1), most)
    }

    /// Of one table. Says where the next part begins, if there is one.
    fn fill_part(&self, table: &mut Parted, parts: &mut [(usize, Rows)], most: u64) -> Result<Option<Vec<u8>>> {
        let (Some(dim), Some((_, rows))) = (self.layout.dims.get(table.dim), parts.first_mut()) else {
            return Ok(None);
        };
        if let Some((id, row)) = table.carried.take() {
            rows.push(dim, &id, &row)?;
        }
        let mut read = 0;
        while let Some((id, row)) = table.rows.next()? {
            read += 1;
            if rows.len() as u64 >= most {
                table.carried = Some((id.to_vec(), row.to_vec()));
                break;
            }
            rows.push(dim, id, row)?;
        }
        self.counters.rows_read.add(read);
        Ok(table.carried.as_ref().map(|(id, _)| id.clone()))
    }

    /// Of several tables, id by id, so that none of them has more in a part than it may.
    fn fill_parts(&self, tables: &mut [Parted], parts: &mut [(usize, Rows)], most: u64) -> Result<Option<Vec<u8>>> {
        let (mut count, mut read) = (0, 0);
        loop {
            for table in tables.iter_mut().filter(|table| table.carried.is_none()) {
                table.carried = table.rows.next()?.map(|(id, row)| (id.to_vec(), row.to_vec()));
                read += u64::from(table.carried.is_some());
            }
            let next = tables.iter().filter_map(|table| table.carried.as_ref().map(|(id, _)| id)).min().cloned();
            let is_full = count >= most;
            let Some(next) = next.filter(|_| !is_full) else {
                self.counters.rows_read.add(read);
                return Ok(tables.iter().filter_map(|table| table.carried.as_ref().map(|(id, _)| id.clone())).min());
            };
            for (table, (_, rows)) in tables.iter_mut().zip(parts.iter_mut()) {
                let Some(dim) = self.layout.dims.get(table.dim) else { continue };
                if let Some((id, row)) = table.carried.take_if(|(id, _)| *id == next) {
                    rows.push(dim, &id, &row)?;
                    count += 1;
                }
            }
        }
    }

    /// Lets events be passed over whose users the filter does not keep, whatever the events are.
    pub(super) fn narrow(&self, dim: usize, build: &mut Build) {
        let Some(spec) = self.layout.dims.get(dim).filter(|spec| spec.via == Via::User) else { return };
        // A caller's own events are read from the front.
        if matches!(self.units, Units::Single(_)) {
            return;
        }
        let without = !self.inner || matches!(spec.table, Table::FirstEvents(_));
        if without && self.filter.may_keep(dim, None) {
            return;
        }
        build.narrow(|tuple| self.filter.may_keep(dim, Some(tuple)), |share| self.plan.seek_threshold(dim, share));
    }

    fn resolver(&self, dim: usize) -> Resolver {
        let strategy = self.plan.tables.get(dim).map(|table| table.strategy);
        match (strategy, self.builds.get(dim)) {
            (_, Some(Some(build))) => Resolver::Hash(Arc::clone(build), 0),
            (Some(Strategy::Merge), _) => Resolver::Merge(Cursor::default()),
            _ => Resolver::Lookup,
        }
    }
}

/// Turns units into blocks.
pub(super) struct Worker {
    engine: Arc<Engine>,
    unit: Option<Unit>,
    /// The unit that was worked on last.
    number: usize,
    resolvers: Vec<Resolver>,
    /// Events of the next block. It grows, so that the first rows come soon.
    events_max: usize,
    verdicts: Verdicts,
}

/// Events of the first block and of a grown one, and bytes of one.
const EVENTS_FIRST: usize = 32;
const EVENTS_MAX: usize = 1_024;
const BYTES_MAX: usize = 512 << 10;

impl Worker {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        let resolvers = (0..engine.layout.dims.len()).map(|dim| engine.resolver(dim)).collect();
        let verdicts = engine.filter.verdicts();
        Self { engine: Arc::clone(engine), unit: None, number: 0, resolvers, events_max: EVENTS_FIRST, verdicts }
    }

    /// The unit of the last block, or failure.
    pub(super) fn unit(&self) -> usize {
        self.number
    }

    /// Whether the last block was the last of its unit.
    pub(super) fn unit_ended(&self) -> bool {
        self.unit.is_none()
    }

    /// Fills a block with the next events that pass everything; nothing after the last. A block may come out without
    /// an event.
    pub(super) fn next(&mut self, block: &mut Block) -> Result<Option<()>> {
        block.clear();
        if self.engine.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let unit = match self.unit.take() {
            Some(unit) => unit,
            None => match self.take()? {
                Some(unit) => unit,
                None => return Ok(None),
            },
        };
        self.number = unit.number;
        self.unit = self.fill(unit, block)?;
        self.events_max = (self.events_max * 2).min(EVENTS_MAX);
        if !block.slots.is_empty() {
            self.join(block)?;
            let engine = &*self.engine;
            engine.filter.keep(block, engine.inner, &mut self.verdicts)?;
            engine.counters.blocks.add(1);
            engine.counters.rows.add(block.kept.len() as u64);
        }
        Ok(Some(()))
    }

    /// Takes the next unit.
    fn take(&mut self) -> Result<Option<Unit>> {
        let engine = Arc::clone(&self.engine);
        let unit = match &engine.units {
            Units::Days { starts, next } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(from) = starts.get(number) else { return Ok(None) };
                let end = engine.scope.end_key();
                let to = starts.get(number + 1).or(end.as_ref());
                let source = engine.tables.events(from, to.map(Vec::as_slice))?;
                Unit { number, source, ids: Ids::all() }
            }
            Units::Parts(splitter) => match engine.next_part(splitter)? {
                Some(part) => self.enter(part)?,
                None => return Ok(None),
            },
            Units::Single(source) => {
                let Some(source) = source.lock().take() else { return Ok(None) };
                Unit { number: 0, source, ids: Ids::all() }
            }
        };
        engine.counters.tasks.add(1);
        Ok(Some(unit))
    }

    /// Makes the tables of a part ready, and its events.
    fn enter(&mut self, part: Part) -> Result<Unit> {
        let Part { number, rows, start, end } = part;
        let engine = Arc::clone(&self.engine);
        for (dim, rows) in rows {
            engine.counters.partitions.add(1);
            if let Some(resolver) = self.resolvers.get_mut(dim) {
                let mut build = Build::sorted(rows)?;
                engine.narrow(dim, &mut build);
                *resolver = Resolver::Hash(Arc::new(build), 0);
            }
        }
        let escaped = |id: &[u8]| {
            let mut out = Vec::with_capacity(id.len());
            codec::escape(&mut out, id);
            out
        };
        let ids = Ids::between(escaped(&start), end.as_deref().map(escaped));
        let end = engine.scope.end_key();
        let source = engine.tables.events(&engine.scope.first_key(), end.as_deref())?;
        Ok(Unit { number, source, ids })
    }

    /// Reads events into a block. Gives the unit back when there may be more.
    fn fill(&mut self, mut unit: Unit, block: &mut Block) -> Result<Option<Unit>> {
        let engine = &*self.engine;
        let mut gate = Gate::new(&self.resolvers);
        let mut read = 0_u64;
        let more = loop {
            if block.slots.len() >= self.events_max || block.bytes.len() >= BYTES_MAX {
                break true;
            }
            let Some((key, value)) = unit.source.next()? else { break false };
            read += 1;
            // A filter that nothing passes must not keep a consumer that has gone.
            if read.is_multiple_of(4_096) && engine.stop.load(Ordering::Relaxed) {
                break false;
            }
            let parts = EventKey::read(key).map_err(|malformed| codec::corrupt_event(key, malformed))?;
            // Outside of the ids of this part, or of nobody who is wanted?
            let low = unit.ids.low.as_slice();
            let jump = match unit.ids.place(parts.escaped) {
                Lies::Before => Some((0, low)),
                Lies::Behind => Some((1, low)),
                Lies::Within => match gate.look(parts.escaped) {
                    Look::Wanted => None,
                    Look::Pass => continue,
                    Look::Seek(next) => Some(next.map_or((1, low), |next| (0, next))),
                },
            };
            // On to where they begin, today or tomorrow.
            if let Some((days, id)) = jump {
                let Some(day) = codec::day_of(parts.day).checked_add(days) else { break false };
                let jump = [&codec::day_prefix(day)[..], id].concat();
                unit.source.seek(&jump)?;
                engine.counters.seeks.add(1);
                continue;
            }
            engine.scope.admit(&engine.filter, block, key, &parts, value)?;
        };
        engine.counters.events_read.add(read);
        Ok(more.then_some(unit))
    }

    /// Joins every table onto a block.
    fn join(&mut self, block: &mut Block) -> Result<()> {
        let engine = Arc::clone(&self.engine);
        for (at, (dim, resolver)) in engine.layout.dims.iter().zip(&mut self.resolvers).enumerate() {
            let mut joined = block.joined.get_mut(at).map(std::mem::take).unwrap_or_default();
            if dim.via != Via::User {
                group_ids(block, dim, &mut joined);
                let (bytes, ends) = (std::mem::take(&mut joined.ids), std::mem::take(&mut joined.id_ends));
                let starts = std::iter::once(&0).chain(&ends);
                let id = |(from, to): (&u32, &u32)| bytes.get(*from as usize..*to as usize).unwrap_or_default();
                let ids: Vec<Cow<'_, [u8]>> = starts.zip(&ends).map(|ends| Cow::Borrowed(id(ends))).collect();
                resolver.resolve(&*engine.tables, dim, &ids, &mut joined, &engine.counters)?;
                drop(ids);
                (joined.ids, joined.id_ends) = (bytes, ends);
            } else if let Resolver::Hash(build, place) = resolver {
                let id = |run: &Run| block.bytes.get(run.id.clone()).unwrap_or_default();
                build.find_all(block.runs.iter().map(id), place, &mut joined.codes);
                joined.pool = Arc::clone(&build.pool);
            } else {
                let ids = run_ids(block)?;
                resolver.resolve(&*engine.tables, dim, &ids, &mut joined, &engine.counters)?;
            }
            if let Some(place) = block.joined.get_mut(at) {
                *place = joined;
            }
        }
        Ok(())
    }
}

/// The ids of the users of a block, run by run.
fn run_ids(block: &Block) -> Result<Vec<Cow<'_, [u8]>>> {
    let id = |run: &Run| {
        let escaped = block.bytes.get(run.id.clone()).unwrap_or_default();
        codec::unescape_bytes(escaped).map_err(|malformed| match block.slots.get(run.slot as usize) {
            Some(slot) => block.corrupt(slot, malformed),
            None => codec::corrupt_event(escaped, malformed),
        })
    };
    block.runs.iter().map(id).collect()
}

/// Collects the ids of the groups of each event, or of each run where the user's profile has them. One that is listed
/// twice counts once.
fn group_ids(block: &Block, dim: &Dim, joined: &mut Joined) {
    let Some(column) = dim.ids else { return };
    let by_run = matches!(dim.via, Via::UserGroup(_));
    let count = if by_run { block.runs.len() } else { block.slots.len() };
    for at in 0..count {
        let slot = if by_run { block.runs.get(at).map(|run| run.slot as usize) } else { Some(at) };
        let first = joined.id_ends.len();
        if let Some(value) = slot.and_then(|slot| block.slots.get(slot)).and_then(|slot| block.stored(slot, column)) {
            value.group_ids(|id| {
                let known = (first..joined.id_ends.len()).any(|at| joined.id(at) == id);
                if !known {
                    joined.ids.extend_from_slice(id.as_bytes());
                    joined.id_ends.push(joined.ids.len() as u32);
                }
            });
        }
        joined.ends.push(joined.id_ends.len() as u32);
    }
}
