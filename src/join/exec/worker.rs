//! Workers: each turns tasks into blocks of joined events, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::execution::Execution;
use super::task::OpenTask;
use crate::error::Result;
use crate::join::block::Block;
use crate::join::filter::Verdicts;
use crate::join::layout::Via;
use crate::join::probe::Prober;
use crate::join::scan::TailRows;
use crate::segment::SealedBlock;

/// Turns tasks into blocks.
pub(in crate::join) struct Worker {
    execution: Arc<Execution>,
    task: Option<OpenTask>,
    /// The task of the last block, or failure.
    number: usize,
    probers: Vec<Prober>,
    /// Events that were scanned and did not fit into a block with what is joined onto them. The next ones are the last.
    pending: Vec<Block>,
    /// Events of the next block. It grows, so that the first rows come soon.
    events_max: usize,
    verdicts: Verdicts,
}

/// The task that a block belongs to.
#[derive(Clone, Copy, Debug)]
pub(in crate::join) struct Task {
    pub(in crate::join) number: usize,
    /// Whether this was its last block.
    pub(in crate::join) has_ended: bool,
}

/// Events of the first block and of a grown one.
const EVENTS_FIRST: usize = 32;
const EVENTS_MAX: usize = 1_024;

impl Worker {
    pub(in crate::join) fn new(execution: &Arc<Execution>) -> Self {
        let probers = (0..execution.layout.dims.len()).map(|dim| execution.prober(dim)).collect();
        let verdicts = execution.predicate.filter.verdicts();
        let execution = Arc::clone(execution);
        let (pending, events_max) = (Vec::new(), EVENTS_FIRST);
        Self { execution, task: None, number: 0, probers, pending, events_max, verdicts }
    }

    /// The task of the last block, or failure.
    pub(in crate::join) fn task(&self) -> Task {
        Task { number: self.number, has_ended: self.task.is_none() && self.pending.is_empty() }
    }

    /// Takes a block of columns as its task.
    pub(in crate::join) fn begin_block(&mut self, number: usize, block: &SealedBlock) -> Result<()> {
        self.task = Some(self.execution.open_block(number, block)?);
        Ok(())
    }

    /// Takes rows in memory as its task.
    pub(in crate::join) fn begin_rows(&mut self, number: usize, rows: TailRows) {
        self.task = Some(self.execution.open_rows(number, rows));
    }

    /// Works until the task that was begun ends. What the function gives back is filled again.
    pub(in crate::join) fn finish_block(&mut self, mut each: impl FnMut(Block) -> Result<Block>) -> Result<()> {
        let mut block = Block::new(&self.execution.layout);
        while self.task.is_some() || !self.pending.is_empty() {
            if !self.next(&mut block)? {
                break;
            }
            block = each(block)?;
        }
        Ok(())
    }

    /// Works until there is nothing more to do. Every block is handed to a function, and what that gives back is filled
    /// again.
    ///
    /// # Errors
    ///
    /// What keeps the join from going on, and what the function returns.
    pub(in crate::join) fn run(&mut self, mut each: impl FnMut(Block, Task) -> Result<Option<Block>>) -> Result<()> {
        let mut used = None;
        loop {
            let mut block = used.take().unwrap_or_else(|| Block::new(&self.execution.layout));
            if !self.next(&mut block)? {
                return Ok(());
            }
            used = each(block, self.task())?;
        }
    }

    /// Fills a block with the next events that pass all predicates, unless there are no more tasks. A block may come
    /// out without an event.
    pub(in crate::join) fn next(&mut self, block: &mut Block) -> Result<bool> {
        block.clear();
        let execution = Arc::clone(&self.execution);
        if execution.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        execution.interrupt.check()?;
        if let Some(pending) = self.pending.pop() {
            *block = pending;
        } else if !self.scan(&execution, block)? {
            return Ok(false);
        }
        if block.len() > 0 {
            self.probe(&execution, block)?;
            execution.predicate.filter.keep(block, execution.inner, &mut self.verdicts)?;
            execution.counters.blocks.add(1);
            execution.counters.rows.add(block.kept.len() as u64);
        }
        Ok(true)
    }

    /// Fills a block with events of this task, or of the next one.
    fn scan(&mut self, execution: &Execution, block: &mut Block) -> Result<bool> {
        let mut task = match self.task.take() {
            Some(task) => task,
            None => match execution.next_task(&mut self.probers)? {
                Some(task) => task,
                None => return Ok(false),
            },
        };
        self.number = task.number;
        let mut has_more = true;
        // Even where hardly an event passes, a join can be stopped.
        while has_more && !block.is_full(self.events_max) && !execution.stop.load(Ordering::Relaxed) {
            has_more = task.scan.fill(block, self.events_max)?;
            execution.interrupt.check()?;
        }
        self.task = has_more.then_some(task);
        execution.counters.events_read.add(block.scanned.events);
        execution.counters.seeks.add(block.scanned.seeks);
        self.events_max = (self.events_max * 2).min(EVENTS_MAX);
        Ok(true)
    }

    /// Joins every table onto a block, or onto its first events where all together would be many bytes.
    fn probe(&mut self, execution: &Execution, block: &mut Block) -> Result<()> {
        for (at, (dim, prober)) in execution.layout.dims.iter().zip(&mut self.probers).enumerate() {
            let (tables, counters) = (&*execution.tables, &execution.counters);
            let Some(joined) = block.joined.get_mut(at) else { continue };
            let mut joined = std::mem::take(joined);
            joined.dictionary = match (dim.ids, execution.sealed.codes(at)) {
                (None, Some(known)) if !block.ordinals().is_empty() => {
                    joined.codes.extend(block.ordinals().iter().map(|ordinal| known.get(*ordinal)));
                    Arc::clone(&known.dictionary)
                }
                (None, _) => prober.probe(tables, dim, block.run_ids()?, 1, &mut joined.codes, counters)?,
                (Some(column), _) => {
                    block.group_ids(column, matches!(dim.via, Via::UserGroup(_)), &mut joined)?;
                    // At least those of the first event.
                    let least = joined.ends.first().map_or(0, |end| *end as usize);
                    prober.probe(tables, dim, &joined.ids, least, &mut joined.codes, counters)?
                }
            };
            block.joined.get_mut(at).into_iter().for_each(|place| *place = std::mem::take(&mut joined));
            let done = block.joined_events(at);
            if done < block.len() {
                self.pending.push(block.split_off(done)?);
                self.events_max = done.max(1);
            }
        }
        Ok(())
    }
}
