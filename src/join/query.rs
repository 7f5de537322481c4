//! The query builder: which events, joined with what, filtered and projected how; and from there to an execution.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use super::cancel::{CancelToken, Deadline, Interrupt};
use super::estimate::Estimates;
use super::exec::{Execution, SealedTasks, TailTasks, Tasks};
use super::field::Field;
use super::filter::{Filter, field_of};
use super::fold::fold;
use super::layout::{Driver, EventColumns, JoinLayout, Via};
use super::plan::{MEMORY_MAX, Plan, PlannerHints, Strategy};
use super::prepare::{build, read_sealed, tasks};
use super::probe::RuntimeFilter;
use super::rows::{Row, Rows};
use super::scan::{ColumnTable, Days, EventPredicate, OwnEvents, ScanSpec, Tables, UserRange};
use super::stats::Counters;
use super::tables::JoinTable;
#[cfg(feature = "arrow")]
use crate::arrow::ColumnType;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::Expr;
use crate::model::{Event, Kind, TimeZone, Timestamp};
use crate::segment::SealedBlock;

/// The default memory for build sides, in bytes.
const MEMORY: usize = 32 << 20;

/// Bounds of [`Join::threads`].
const THREADS_MAX: usize = 256;

/// The least memory for build sides, in bytes.
const MEMORY_MIN: usize = 4 << 10;

/// A query: which events, with which properties of which profiles.
///
/// One row comes out per event. It has the latest state of the profile of its user, and of the groups that it belongs
/// to, under one snapshot, however old the event is. `docs/JOIN.md` works an example by hand.
///
/// A query is only a description: it can be cloned, [explained](Self::explain) and run several times. A setting that
/// cannot be is reported by whatever runs it.
///
#[cfg_attr(feature = "rocksdb", doc = "```")]
#[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Db, Event, Timestamp, Update};
///
/// let db = Db::open(dir.path().join("store"))?;
/// let time = Timestamp::parse("2023-11-14T22:13:20")?;
/// db.events().append(Event::new("purchase", "alice", time).set("amount", 5))?;
/// db.events().append(Event::new("purchase", "bob", time).set("amount", 7))?;
/// db.users().update("alice", Update::new().set("plan", "pro"))?;
///
/// let purchases = db
///     .snapshot()
///     .join()
///     .between(Timestamp::parse("2023-11-01")?..Timestamp::parse("2023-12-01")?)
///     .event_names(["purchase"]);
///
/// let paying = purchases.clone().filter(r#"properties["amount"] > 1 and defined(user["plan"])"#);
/// for row in paying.select(["event.amount", "user.plan"]).rows()? {
///     let row = row?;
///     assert_eq!((row.distinct_id(), row.get(0), row.get(1)), ("alice", Some(5.into()), Some("pro".into())));
/// }
///
/// let by_plan = purchases.group_by(["user.plan"]).answer()?;
/// assert_eq!(by_plan.get(&[Some("pro".into())]), Some(&[1.into()][..]));
/// assert_eq!(by_plan.get(&[None]), Some(&[1.into()][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Join {
    tables: Arc<dyn Tables>,
    driver: Driver,
    zone: TimeZone,
    pub(super) own_events: Option<OwnEvents>,
    /// From here on, up to there, exclusive.
    times: (Option<Timestamp>, Option<Timestamp>),
    names: Option<Vec<Box<[u8]>>>,
    users: Option<Vec<String>>,
    whole_events: bool,
    pub(super) select: Vec<Field>,
    #[cfg(feature = "arrow")]
    pub(super) column_types: Vec<(Field, ColumnType)>,
    filter: Vec<Expr>,
    on: Vec<Via>,
    inner: bool,
    pub(super) hints: PlannerHints,
    interrupt: Interrupt,
    refused: Option<Error>,
}

impl Join {
    /// All events of these tables.
    pub(crate) fn new(tables: Arc<dyn Tables>) -> Self {
        let hints = PlannerHints {
            strategy: None,
            ordered: false,
            threads: 1,
            memory: MEMORY,
            single_pass: false,
            seek_threshold: None,
        };
        Self {
            tables,
            driver: Driver::Events,
            zone: TimeZone::default(),
            own_events: None,
            times: (None, None),
            names: None,
            users: None,
            whole_events: false,
            select: Vec::new(),
            #[cfg(feature = "arrow")]
            column_types: Vec::new(),
            filter: Vec::new(),
            on: Vec::new(),
            inner: false,
            hints,
            interrupt: Interrupt::default(),
            refused: None,
        }
    }

    /// The profiles of a kind, each in place of an event.
    pub(super) fn of_profiles(tables: Arc<dyn Tables>, kind: Kind) -> Self {
        let mut query = Self::new(tables);
        query.driver = Driver::Profiles(kind);
        // They are read from the first id to the last, and so is what is joined onto them.
        query.hints.single_pass = true;
        query.hints.strategy = Some(Strategy::Merge);
        query
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Joins these events instead of those of the log.
    ///
    /// They come in the order of the log: by day in UTC, within the day by `distinct_id`, and then by time; others are
    /// refused. An event that is there twice is two events. An error among them ends the join.
    ///
    /// They are read once, by one thread. To run the query, or a clone of it, a second time is an error.
    ///
    #[cfg_attr(feature = "rocksdb", doc = "```")]
    #[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.users().update("alice", Update::new().set("plan", "pro"))?;
    /// let visits = ["alice", "bob"].map(|id| Ok(Event::new("visit", id, Timestamp::from_seconds(1_700_000_000))));
    ///
    /// let rows = db.snapshot().join().events_from(visits).select(["user.plan"]).rows()?;
    /// let plans = rows.map(|row| Ok(row?.get(0))).collect::<profiledb::Result<Vec<_>>>()?;
    /// assert_eq!(plans, [Some("pro".into()), None]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn events_from<E>(mut self, events: E) -> Self
    where
        E: IntoIterator<Item = Result<Event>, IntoIter: Send + 'static>,
    {
        self.own_events = Some(OwnEvents::new(events.into_iter()));
        self.hints.single_pass = true;
        self
    }

    /// Only events of these users. The default is all; an empty list is no events. The log is read with a skip scan:
    /// from one of them to the next, day by day.
    pub fn users<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.users = Some(ids.into_iter().map(Into::into).collect());
        self
    }

    /// Rows carry their whole events, see [`Row::event`]. By default they have the selected fields only, which is
    /// faster.
    pub fn with_events(mut self) -> Self {
        self.whole_events = true;
        self
    }

    /// Only events of these times. The default is all.
    pub fn between(mut self, times: impl RangeBounds<Timestamp>) -> Self {
        let next = |time: &Timestamp| Timestamp::from_millis(time.millis().saturating_add(1));
        self.times.0 = match times.start_bound() {
            Bound::Unbounded => None,
            Bound::Included(time) => Some(*time),
            Bound::Excluded(time) => Some(next(time)),
        };
        self.times.1 = match times.end_bound() {
            Bound::Unbounded => None,
            Bound::Included(time) => Some(next(time)),
            Bound::Excluded(time) => Some(*time),
        };
        self
    }

    /// The time zone of `event.$hour`, `event.$day`, `event.$week` and `event.$month`: a [`TimeZone`], or its name in
    /// the IANA database. Default: UTC. A day is one of its calendar, of 23 or 25 hours where clocks change. An hour
    /// has its offset, as in `2024-11-03T01:00:00-04:00`, since an hour that is there twice is two. The order of events
    /// and the texts of times remain those of UTC.
    ///
    #[cfg_attr(feature = "rocksdb", doc = "```")]
    #[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.events().append(Event::new("visit", "alice", Timestamp::parse("2024-01-01T20:00:00")?))?;
    /// let by_day = db.snapshot().join().time_zone("Asia/Tokyo").group_by(["event.$day"]).answer()?;
    /// assert_eq!(by_day.buckets()[0].by, [Some("2024-01-02".into())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn time_zone<Z: TryInto<TimeZone, Error: Into<Error>>>(mut self, zone: Z) -> Self {
        match zone.try_into() {
            Ok(zone) => self.zone = zone,
            Err(error) => self.refuse(error.into()),
        }
        self
    }

    /// Only events of these names. The default is all; an empty list is no events.
    pub fn event_names<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names = Some(names.into_iter().map(|name| name.as_ref().as_bytes().into()).collect());
        self
    }

    /// The fields of each row, in this order. What is selected decides which tables are read.
    pub fn select<F: TryInto<Field, Error: Into<Error>>>(mut self, fields: impl IntoIterator<Item = F>) -> Self {
        for field in fields {
            match field.try_into() {
                Ok(field) => self.select.push(field),
                Err(error) => self.refuse(error.into()),
            }
        }
        self
    }

    /// Keeps rows for which this expression is true. `properties["x"]` and `event["x"]` are the event's, `user["x"]`
    /// is the user's. Called again, both must be true.
    pub fn filter<E: TryInto<Expr, Error: Into<Error>>>(mut self, expr: E) -> Self {
        match expr.try_into() {
            Ok(expr) => self.filter.push(expr),
            Err(error) => self.refuse(error.into()),
        }
        self
    }

    /// Joins the users, whatever is selected.
    pub fn on_users(mut self) -> Self {
        self.on.push(Via::User);
        self
    }

    /// Joins the groups that events list under a group key, whatever is selected.
    pub fn on_groups(mut self, group_key: impl Into<String>) -> Self {
        self.on.push(Via::Group(group_key.into()));
        self
    }

    /// Joins the groups that the profiles of users list under a group key, whatever is selected.
    pub fn on_user_groups(mut self, group_key: impl Into<String>) -> Self {
        self.on.push(Via::UserGroup(group_key.into()));
        self
    }

    /// Drops events that have no profile in one of the joined tables. By default they stay, and their fields are not
    /// set.
    pub fn inner(mut self) -> Self {
        self.inner = true;
        self
    }

    /// Rows come in the order of the log: by day in UTC, within the day by `distinct_id`, and then by time. By default
    /// they come as they are found.
    pub fn ordered(mut self) -> Self {
        self.hints.ordered = true;
        self
    }

    /// Threads that read and join, 1 to 256. Default: 1, and then everything happens on the calling thread.
    pub fn threads(mut self, threads: usize) -> Self {
        if !(1..=THREADS_MAX).contains(&threads) {
            self.refuse(Error::invalid(format!("not 1 to {THREADS_MAX} threads threads={threads}")));
        }
        self.hints.threads = threads;
        self
    }

    /// Memory for the build sides of hash joins, in bytes, shared by the joined tables. Default: 32 MB; 4 KB to 1 GB.
    /// A table that does not fit is read in partitions or joined with another strategy.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        if !(MEMORY_MIN..=MEMORY_MAX).contains(&bytes) {
            self.refuse(Error::invalid(format!(
                "not {MEMORY_MIN} to {MEMORY_MAX} bytes of memory memory_bytes={bytes}"
            )));
        }
        self.hints.memory = bytes;
        self
    }

    /// Ends with [`ErrorKind::Cancelled`] soon after this token was [cancelled](CancelToken::cancel): workers look at
    /// it between blocks of events.
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.interrupt.token = Some(token.clone());
        self
    }

    /// Ends with [`ErrorKind::Cancelled`] unless it is done at this [`Instant`](std::time::Instant), or this
    /// [`Duration`](std::time::Duration) after it began to run. Workers look at the clock between blocks of events.
    /// Default: none.
    pub fn deadline(mut self, deadline: impl Into<Deadline>) -> Self {
        self.interrupt.deadline = Some(deadline.into());
        self
    }

    /// A hint to the planner: this strategy for every table for which it is possible, whatever it costs.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.hints.strategy = Some(strategy);
        self
    }

    /// Events skipped one by one before the scan seeks to the next user that the runtime filter keeps.
    #[cfg(test)]
    pub(super) fn seek_threshold(mut self, events: u32) -> Self {
        self.hints.seek_threshold = Some(events);
        self
    }

    pub(super) fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    /// How the join would be executed, and why. Reads a sample of at most 512 events.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    pub fn explain(&self) -> Result<Plan> {
        Ok(self.plan_with(&[])?.plan)
    }

    /// Runs the query, row by row. All rows are of the snapshot of the tables, whatever is written meanwhile.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a setting out of bounds, and for a field or an expression that does not
    /// parse; [`NotFound`](ErrorKind::NotFound) for a group key that no profile was ever stored under; and whatever
    /// keeps the first events from being read.
    pub fn rows(&self) -> Result<Rows> {
        Ok(Rows::new(Arc::new(self.prepare(&[], true)?)))
    }

    /// Runs the query and folds its rows on the threads that produce them, each into a state of its own. Returns the
    /// states, one per thread. With several threads this is faster than [`rows`](Self::rows), because no row crosses
    /// threads.
    ///
    /// Which thread sees which row is not specified, nor in which order.
    ///
    #[cfg_attr(feature = "rocksdb", doc = "```")]
    #[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::join::Row;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let time = Timestamp::from_seconds(1_700_000_000);
    /// db.events().append(Event::new("visit", "alice", time).set("area", "checkout"))?;
    ///
    /// let count = |letters: &mut usize, row: &Row| {
    ///     *letters += row.text(0).map_or(0, str::len);
    ///     Ok(())
    /// };
    /// let letters = db.snapshot().join().select(["event.area"]).threads(2).fold(|| 0, count)?;
    /// assert_eq!(letters.into_iter().sum::<usize>(), "checkout".len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows), what stops the join before its end, and what `each` returns, after which the other
    /// threads stop as well. [`Invalid`](ErrorKind::Invalid) when [`ordered`](Self::ordered) rows were requested.
    pub fn fold<T: Send>(
        &self,
        new: impl Fn() -> T + Sync,
        each: impl Fn(&mut T, &Row) -> Result<()> + Sync,
    ) -> Result<Vec<T>> {
        if self.hints.ordered {
            return Err(Error::invalid("a fold has no order: use rows, or leave out ordered"));
        }
        fold(&Arc::new(self.prepare(&[], true)?), new, each)
    }

    /// The plan, where these fields are read besides those selected.
    pub(super) fn plan_with(&self, more: &[Field]) -> Result<Execution> {
        Ok(self.plan(more, false, true)?.0)
    }

    /// Plans, and reads the build sides that are hashed as a whole.
    pub(super) fn prepare(&self, more: &[Field], for_rows: bool) -> Result<Execution> {
        let (mut execution, mut days) = self.plan(more, for_rows, true)?;
        if !read_sealed(&mut execution, self.users.as_deref(), self.hints.memory)? {
            (execution, days) = self.plan(more, for_rows, false)?;
        }
        execution.tasks = match &self.own_events {
            _ if self.is_empty() => Tasks::none(),
            None if let Driver::Profiles(kind) = &self.driver => Tasks::Profiles(Mutex::new(Some(kind.clone()))),
            Some(events) => Tasks::OwnEvents(Mutex::new(Some(events.take()?))),
            None => tasks(&*self.tables, &execution.layout, &execution.plan, &execution.predicate, days)?,
        };
        build(&mut execution, self.hints.memory)?;
        Ok(execution)
    }

    /// Whether no event can be in the range.
    fn is_empty(&self) -> bool {
        self.names.as_ref().is_some_and(Vec::is_empty) || self.users.as_ref().is_some_and(Vec::is_empty)
    }

    /// The columns of events that are needed whatever the fields.
    fn event_columns(&self, for_rows: bool) -> EventColumns {
        EventColumns {
            name: for_rows,
            // Errors of expressions name the event.
            id: for_rows || self.filter.iter().any(Expr::may_fail),
            whole: for_rows && self.whole_events,
            ..EventColumns::default()
        }
    }

    /// The blocks of columns that are read as such, rather than as rows.
    fn sealed_blocks(&self, predicate: &EventPredicate) -> Result<Vec<SealedBlock>> {
        // What is in the order of the log, or read in a certain way, is rows.
        let is_possible = self.own_events.is_none()
            && self.driver == Driver::Events
            && !self.hints.ordered
            && self.hints.strategy.is_none()
            && !self.whole_events
            && !self.is_empty();
        let Some(columns) = self.tables.columns().filter(|_| is_possible) else { return Ok(Vec::new()) };
        let mut blocks = columns.blocks(predicate.days())?;
        blocks.retain(|block| predicate.may_keep(block));
        Ok(blocks)
    }

    /// The users that are requested, if not all are.
    fn requested(&self, seek_threshold: u32) -> Result<Option<Arc<RuntimeFilter>>> {
        let filter = self.users.as_ref().map(|ids| RuntimeFilter::of(ids, seek_threshold)).transpose()?;
        Ok(filter.map(Arc::new))
    }

    /// Estimates what is read besides blocks of columns, unless it is in memory.
    fn estimate(
        &self,
        predicate: &Arc<EventPredicate>,
        layout: &Arc<JoinLayout>,
        rows_only: bool,
    ) -> Result<(Estimates, Days, Option<TailTasks>)> {
        if self.is_empty() {
            return Ok((Estimates::default(), None, None));
        }
        if self.own_events.is_some() {
            return Ok((Estimates::unknown(), None, None));
        }
        if let Driver::Profiles(kind) = &self.driver {
            let rows = self.tables.estimate_rows(&JoinTable::Profiles(kind.clone()));
            return Ok((Estimates::of_profiles(rows), None, None));
        }
        let users = UserRange { filter: self.requested(u32::MAX)?, ..Default::default() };
        let (days, predicate, layout) = (predicate.days(), Arc::clone(predicate), Arc::clone(layout));
        let spec = ScanSpec { days, predicate, users, rows_only, layout };
        let columns = self.tables.columns().filter(|_| rows_only);
        if let Some(rows) = columns.map(ColumnTable::tail).transpose()?.flatten() {
            return Ok((Estimates::default(), None, Some(TailTasks::new(&rows, &spec))));
        }
        let (estimates, days) = self.tables.estimate(&spec)?;
        Ok((estimates, days, None))
    }

    /// Estimates and plans. The execution has no tasks yet.
    fn plan(&self, more: &[Field], for_rows: bool, by_columns: bool) -> Result<(Execution, Days)> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        let interrupt = self.interrupt.started();
        interrupt.check()?;
        let filter_fields: Vec<Field> =
            self.filter.iter().flat_map(|expr| expr.references().iter().map(field_of)).collect();
        let events = self.event_columns(for_rows);
        let fields = filter_fields.iter().chain(more);
        let layout = JoinLayout::new(self.driver.clone(), self.zone.clone(), fields, &self.on, &self.select, events);
        let own = if let Driver::Profiles(kind) = &self.driver { Some(kind.clone()) } else { None };
        for kind in layout.dims.iter().map(|dim| dim.via.kind()).chain(own) {
            if let Kind::Group(key) = &kind
                && !self.tables.has(&JoinTable::Profiles(kind.clone()))
            {
                return Err(Error::new(ErrorKind::NotFound, format!("no such group key group_key={key:?}")));
            }
        }
        let layout = Arc::new(layout);
        let filter = Filter::new(&self.filter, &layout, self.inner);
        let (from, to) = self.times;
        let predicate = Arc::new(EventPredicate { from, to, names: self.names.clone(), filter });
        let blocks = if by_columns { self.sealed_blocks(&predicate)? } else { Vec::new() };
        let mut hints = self.hints;
        if hints.single_pass {
            hints.threads = 1;
        }
        let (estimates, days, tail) = self.estimate(&predicate, &layout, !blocks.is_empty())?;
        let counters = Counters::default();
        counters.events_read.add(estimates.sample);
        let estimates = self.users.iter().fold(estimates, |estimates, users| estimates.of_users(users.len()));
        let mut plan = Plan::new(&layout, &*self.tables, estimates, &blocks, hints);
        if let (Some(sealed), Some(tail)) = (&mut plan.sealed, &tail) {
            sealed.in_memory = Some(tail.len() as u64);
        }
        let users = self.requested(plan.seek_threshold(self.users.as_ref().map_or(0, Vec::len) as f64))?;
        let execution = Execution {
            tables: Arc::clone(&self.tables),
            builds: Vec::new(),
            layout,
            predicate,
            inner: self.inner,
            plan,
            tasks: Tasks::none(),
            sealed: SealedTasks { blocks, has_rows: days.is_some(), tail, ..SealedTasks::default() },
            users,
            counters,
            stop: AtomicBool::new(false),
            interrupt,
        };
        Ok((execution, days))
    }
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("times", &self.times)
            .field("names", &self.names.as_ref().map(Vec::len))
            .field("users", &self.users.as_ref().map(Vec::len))
            .field("select", &self.select)
            .field("filter", &self.filter)
            .field("inner", &self.inner)
            .field("hints", &self.hints)
            .finish_non_exhaustive()
    }
}
