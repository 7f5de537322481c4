//! The shared state of an execution, and how tasks are taken from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::partition::Partition;
use super::sealed::SealedTasks;
use super::task::{OpenTask, Tasks};
use crate::error::Result;
use crate::join::cancel::Interrupt;
use crate::join::layout::JoinLayout;
use crate::join::plan::{Plan, Strategy};
use crate::join::probe::{
    BuildSide, Dictionary, LookupBatch, NO_ROW, OrdinalCodes, Prober, RuntimeFilter, TableCursor,
};
use crate::join::scan::{EventPredicate, ProfileRows, RunFilter, ScanSpec, Tables, TailRows, UserRange};
use crate::join::stats::Counters;
use crate::join::tables::JoinTable;
use crate::segment::SealedBlock;

/// Everything that workers share.
pub(in crate::join) struct Execution {
    pub(in crate::join) tables: Arc<dyn Tables>,
    pub(in crate::join) layout: Arc<JoinLayout>,
    pub(in crate::join) predicate: Arc<EventPredicate>,
    pub(in crate::join) inner: bool,
    pub(in crate::join) plan: Plan,
    pub(in crate::join) tasks: Tasks,
    /// What is read before the tasks.
    pub(in crate::join) sealed: SealedTasks,
    /// The users that are requested, if not all are.
    pub(in crate::join) users: Option<Arc<RuntimeFilter>>,
    /// Build sides that hold a whole table, by its position in the layout.
    pub(in crate::join) builds: Vec<Option<Arc<BuildSide>>>,
    pub(in crate::join) counters: Counters,
    pub(in crate::join) stop: AtomicBool,
    pub(in crate::join) interrupt: Interrupt,
}

impl Execution {
    /// Whether events of users without a row in a table can pass.
    fn joins_absent(&self, dim: usize, dictionary: &Dictionary) -> bool {
        let Some(spec) = self.layout.dims.get(dim) else { return true };
        let joins_absent = !self.inner || matches!(spec.table, JoinTable::FirstEvents(_));
        joins_absent && self.predicate.filter.may_keep(dim, dictionary, NO_ROW)
    }

    /// Derives which codes of a table of users can pass, unless all can.
    pub(in crate::join) fn run_filter(&self, dim: usize, codes: &Arc<OrdinalCodes>) -> Option<RunFilter> {
        let (filter, dictionary) = (&self.predicate.filter, &codes.dictionary);
        let mut keeps: Vec<bool> = dictionary.codes().map(|code| filter.may_keep(dim, dictionary, code)).collect();
        keeps.push(self.joins_absent(dim, dictionary));
        (!keeps.iter().all(|keeps| *keeps)).then(|| RunFilter::Codes(Arc::clone(codes), keeps))
    }

    /// Derives a runtime filter on `distinct_id` from predicates that touch the user side only.
    pub(in crate::join) fn derive_filter(&self, dim: usize, build: &mut BuildSide) -> Result<()> {
        if !self.layout.is_user(dim) {
            return Ok(());
        }
        let filter = &self.predicate.filter;
        if self.joins_absent(dim, &build.dictionary) {
            return Ok(());
        }
        let rows = self.plan.tables.get(dim).map_or(0, |table| table.rows);
        build.derive_filter(
            |dictionary, code| filter.may_keep(dim, dictionary, code),
            |share| self.plan.seek_threshold(rows as f64 * share),
        )
    }

    /// The scan of some days and users.
    fn scan_spec(&self, days: (Option<i32>, Option<i32>), from: Vec<u8>, to: Option<Vec<u8>>) -> ScanSpec {
        let (predicate, layout) = (Arc::clone(&self.predicate), Arc::clone(&self.layout));
        let rows_only = !self.sealed.blocks.is_empty();
        ScanSpec { days, predicate, layout, users: UserRange { from, to, filter: self.users.clone() }, rows_only }
    }

    /// Whether only some users were requested by id.
    pub(in crate::join) fn has_requested_users(&self) -> bool {
        self.users.is_some()
    }

    /// Takes the next block of columns, unless there is none left or the join has to end.
    pub(in crate::join) fn next_block(&self) -> Result<Option<(usize, &SealedBlock)>> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.interrupt.check()?;
        let next = self.sealed.take();
        self.counters.tasks.add(u64::from(next.is_some()));
        Ok(next)
    }

    /// Takes the next rows in memory, unless there are none left or the join has to end.
    pub(in crate::join) fn next_rows(&self) -> Option<(usize, TailRows)> {
        let next = self.sealed.next_rows().filter(|_| !self.stop.load(Ordering::Relaxed));
        self.counters.tasks.add(u64::from(next.is_some()));
        next
    }

    /// Opens the scan of rows in memory.
    pub(super) fn open_rows(&self, number: usize, rows: TailRows) -> OpenTask {
        let scan = self.sealed.scan_rows(rows, self.scan_spec((None, None), Vec::new(), None));
        OpenTask { number, scan: Box::new(scan) }
    }

    /// Opens the scan of a block of columns.
    pub(super) fn open_block(&self, number: usize, block: &SealedBlock) -> Result<OpenTask> {
        let scan = self.sealed.scan(&self.tables, self.scan_spec((None, None), Vec::new(), None), block)?;
        Ok(OpenTask { number, scan: Box::new(scan) })
    }

    pub(super) fn prober(&self, dim: usize) -> Prober {
        let strategy = self.plan.tables.get(dim).map(|table| table.strategy);
        match (strategy, self.builds.get(dim)) {
            (_, Some(Some(build))) => Prober::Hash(Arc::clone(build), 0),
            (Some(Strategy::Merge), _) => Prober::Merge(TableCursor::default()),
            _ => Prober::Lookup(LookupBatch::default()),
        }
    }

    /// Takes the next task, and makes the probers ready for it.
    pub(super) fn next_task(&self, probers: &mut [Prober]) -> Result<Option<OpenTask>> {
        if let Some((number, block)) = self.next_block()? {
            return self.open_block(number, block).map(Some);
        }
        if let Some((number, rows)) = self.next_rows() {
            return Ok(Some(self.open_rows(number, rows)));
        }
        let task = match &self.tasks {
            Tasks::Days { ranges, next } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(days) = ranges.get(number) else { return Ok(None) };
                self.open(number, *days, Partition::default(), probers)?
            }
            Tasks::Partitions(partitioner) => {
                match partitioner.lock().next(&self.layout, &self.plan, &self.counters, &self.interrupt)? {
                    Some(partition) => self.open(partition.number, self.predicate.days(), partition, probers)?,
                    None => return Ok(None),
                }
            }
            Tasks::Profiles(kind) => {
                let Some(kind) = kind.lock().take() else { return Ok(None) };
                let rows = self.tables.rows(&JoinTable::Profiles(kind.clone()), b"", None)?;
                let spec = self.scan_spec((None, None), Vec::new(), None);
                OpenTask { number: 0, scan: Box::new(ProfileRows::new(rows, kind, spec)) }
            }
            Tasks::OwnEvents(events) => {
                let Some(events) = events.lock().take() else { return Ok(None) };
                let mut spec = self.scan_spec((None, None), Vec::new(), None);
                spec.users.filter = self.filter_of(probers);
                OpenTask { number: 0, scan: events.scan(spec)? }
            }
        };
        self.counters.tasks.add(1);
        Ok(Some(task))
    }

    /// Builds the tables of a partition and opens the scan of its events.
    fn open(
        &self,
        number: usize,
        days: (Option<i32>, Option<i32>),
        partition: Partition,
        probers: &mut [Prober],
    ) -> Result<OpenTask> {
        for (dim, rows) in partition.rows {
            self.counters.partitions.add(1);
            if let Some(prober) = probers.get_mut(dim) {
                let mut build = BuildSide::sorted(rows);
                self.derive_filter(dim, &mut build)?;
                *prober = Prober::Hash(Arc::new(build), 0);
            }
        }
        let mut spec = self.scan_spec(days, partition.from, partition.to);
        spec.users.filter = self.filter_of(probers);
        Ok(OpenTask { number, scan: self.tables.scan(spec)? })
    }

    /// The users that are requested, or those whose events can pass if that is known.
    fn filter_of(&self, probers: &[Prober]) -> Option<Arc<RuntimeFilter>> {
        let derived = |prober: &Prober| match prober {
            Prober::Hash(build, _) => build.filter.clone(),
            _ => None,
        };
        self.users.clone().or_else(|| probers.iter().find_map(derived))
    }
}
