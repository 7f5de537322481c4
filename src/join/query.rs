//! What is asked of a join, and from there to an engine that answers it.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::Mutex;

use super::aggregate::{Aggregate, aggregate};
use super::answer::Answer;
use super::block::Block;
use super::field::Field;
use super::filter::{Filter, field_of};
use super::fold::fold;
use super::layout::{Layout, Via};
use super::plan::{Counters, Estimates, Plan, Strategy, Wishes};
use super::resolve::{Build, read_rows};
use super::rows::{Row, Rows};
use super::source::{Source, Table, Tables, Watched};
use super::work::{Engine, Scope, Splitter, Units};
use crate::codec::{self, EventKey};
use crate::error::{Error, ErrorKind, Result};
use crate::expr::Expr;
use crate::model::{Kind, Timestamp};

/// Events that the planner looks at, in so many places.
const SAMPLE: usize = 512;
const PLACES: usize = 8;

/// What the planner takes the number of a caller's events for.
const UNKNOWN_EVENTS: u64 = 1_000_000;

/// Units of days per thread, so that threads end at about the same time.
const UNITS_PER_THREAD: usize = 8;

/// Memory for tables in memory: the default, and the most that places in it can count.
const MEMORY: usize = 32 << 20;
const MEMORY_MAX: usize = 1 << 30;

/// A question: which events, with which properties of which profiles.
///
/// One row comes out per event. It has the latest state of the profile of its user, and of the groups that it belongs
/// to, as of one moment, however old the event is. `docs/JOIN.md` works an example by hand.
///
/// ```
/// # use std::sync::Arc;
/// # use profiledb::join::Memory;
/// # use profiledb::{Event, ProfileKey, Update, merge};
/// # let mut memory = Memory::new();
/// # let time = |seconds: i64| Timestamp::from_seconds(1_700_000_000 + seconds);
/// # memory.event(&Event::new("purchase", "alice", time(0)).set("amount", 5));
/// # memory.event(&Event::new("purchase", "bob", time(1)).set("amount", 7));
/// # memory.row(&ProfileKey::user("alice")?, merge::full(None, &[&merge::operand(&Update::new().set("plan", "pro"))]));
/// # let tables = Arc::new(memory);
/// use profiledb::Timestamp;
/// use profiledb::join::{Aggregate, Join, Measure};
///
/// // With a store: `db.snapshot().join()`.
/// let rows = Join::new(tables.clone())
///     .between(Timestamp::parse("2023-11-01")?..Timestamp::parse("2023-12-01")?)
///     .events(["purchase"])
///     .filter(r#"properties["amount"] > 1 and defined(user["plan"])"#)
///     .select(["event.amount", "user.plan"])
///     .rows()?;
/// for row in rows {
///     let row = row?;
///     assert_eq!((row.distinct_id(), row.get(0), row.get(1)), ("alice".into(), Some(5.into()), Some("pro".into())));
/// }
///
/// let answer = Join::new(tables).aggregate(Aggregate::by(["user.plan"]).measure(Measure::Count))?;
/// assert_eq!(answer.to_string(), "user.plan  count\npro            1\n(not set)      1\n");
/// # Ok::<(), profiledb::Error>(())
/// ```
pub struct Join {
    tables: Arc<dyn Tables>,
    source: Option<Box<dyn Source>>,
    scope: Scope,
    select: Vec<Field>,
    filter: Vec<Expr>,
    on: Vec<Via>,
    inner: bool,
    wishes: Wishes,
    whole_events: bool,
    refused: Option<Error>,
}

impl Join {
    /// All events of these tables.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>) -> Self {
        let wishes =
            Wishes { hint: None, ordered: false, threads: 1, memory: MEMORY, single_pass: false, patience: None };
        Self {
            tables,
            source: None,
            scope: Scope::default(),
            select: Vec::new(),
            filter: Vec::new(),
            on: Vec::new(),
            inner: false,
            wishes,
            whole_events: false,
            refused: None,
        }
    }

    /// Other events than those of the store: the caller's own, in the order of their keys.
    ///
    /// They are read once, by one thread.
    #[must_use]
    pub fn events_from(mut self, source: impl Source + 'static) -> Self {
        self.source = Some(Box::new(Watched::new(Box::new(source))));
        self.wishes.single_pass = true;
        self
    }

    /// Only events of these times. The default is all.
    #[must_use]
    pub fn between(mut self, times: impl RangeBounds<Timestamp>) -> Self {
        let next = |time: &Timestamp| Timestamp::from_millis(time.millis().saturating_add(1));
        self.scope.from = match times.start_bound() {
            Bound::Unbounded => None,
            Bound::Included(time) => Some(*time),
            Bound::Excluded(time) => Some(next(time)),
        };
        self.scope.to = match times.end_bound() {
            Bound::Unbounded => None,
            Bound::Included(time) => Some(next(time)),
            Bound::Excluded(time) => Some(*time),
        };
        self
    }

    /// Only events of these names. The default is all.
    #[must_use]
    pub fn events<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.scope.names = names.into_iter().map(|name| name.as_ref().as_bytes().into()).collect();
        self
    }

    /// The fields of each row, in this order. What is selected decides which tables are read.
    #[must_use]
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
    #[must_use]
    pub fn filter<E: TryInto<Expr, Error: Into<Error>>>(mut self, expr: E) -> Self {
        match expr.try_into() {
            Ok(expr) => self.filter.push(expr),
            Err(error) => self.refuse(error.into()),
        }
        self
    }

    /// Joins the users, whatever is selected.
    #[must_use]
    pub fn on_users(mut self) -> Self {
        self.on.push(Via::User);
        self
    }

    /// Joins the groups that events list under a group key, whatever is selected.
    #[must_use]
    pub fn on_groups(mut self, group_key: impl Into<String>) -> Self {
        self.on.push(Via::Group(group_key.into()));
        self
    }

    /// Joins the groups that the profiles of users list under a group key, whatever is selected.
    #[must_use]
    pub fn on_user_groups(mut self, group_key: impl Into<String>) -> Self {
        self.on.push(Via::UserGroup(group_key.into()));
        self
    }

    /// Drops events that have no profile in one of the joined tables. By default they stay, and their fields are not
    /// set.
    #[must_use]
    pub fn inner(mut self) -> Self {
        self.inner = true;
        self
    }

    /// Rows come in the order of the log: by day in UTC, within the day by `distinct_id`, and then by time. By default
    /// they come as they are found.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.wishes.ordered = true;
        self
    }

    /// Threads that read and join. Default: 1, and then everything happens on the thread that asks.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.wishes.threads = threads.clamp(1, 256);
        self
    }

    /// Memory that tables may take while they are joined, in bytes. Default: 32 MB; 4 KB to 1 GB. What does not fit is
    /// read in parts or joined in another way.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.wishes.memory = bytes.clamp(4 << 10, MEMORY_MAX);
        self
    }

    /// Takes this strategy for every table that can be joined so, whatever the planner thinks.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.wishes.hint = Some(strategy);
        self
    }

    /// Events of others that are passed before a wanted user is sought.
    #[cfg(test)]
    pub(super) fn patience(mut self, events: u32) -> Self {
        self.wishes.patience = Some(events);
        self
    }

    fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    /// How the join would be executed, and why. A few hundred events are read.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    pub fn explain(self) -> Result<Plan> {
        Ok(self.plan(&[])?.plan)
    }

    /// How an aggregation would be executed, and why. A few hundred events are read.
    ///
    /// # Errors
    ///
    /// As [`aggregate`](Self::aggregate).
    pub fn explain_aggregate(self, mut aggregated: Aggregate) -> Result<Plan> {
        match aggregated.take_refused() {
            Some(error) => Err(error),
            None => Ok(self.plan(&aggregated.fields())?.plan),
        }
    }

    /// The rows. They are of the moment of the tables and stay so, whatever is written meanwhile.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a field or an expression that cannot be understood,
    /// [`NotFound`](ErrorKind::NotFound) for a group key that no profile was ever stored under, and what keeps the
    /// first events from being read.
    pub fn rows(mut self) -> Result<Rows> {
        self.whole_events = true;
        let engine = self.prepare(&[])?;
        Ok(Rows::new(Arc::new(engine)))
    }

    /// Folds the rows on the threads that made them, each into a state of its own, and gives back the states: one for
    /// each thread. Faster than [`rows`](Self::rows) when there are several threads, for nothing is handed over.
    ///
    /// Which thread sees which row is not said, and no state sees them in the order of the log.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use profiledb::join::{Join, Memory};
    /// # use profiledb::{Event, Timestamp};
    /// # let mut memory = Memory::new();
    /// # memory.event(&Event::new("visit", "alice", Timestamp::from_seconds(1_700_000_000)).set("area", "checkout"));
    /// # let tables = Arc::new(memory);
    /// let count = |letters: &mut usize, row: &profiledb::join::Row| {
    ///     *letters += row.text(0).map_or(0, str::len);
    ///     Ok(())
    /// };
    /// let letters = Join::new(tables).select(["event.area"]).threads(2).fold(|| 0, count)?;
    /// assert_eq!(letters.into_iter().sum::<usize>(), "checkout".len());
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows), what stops the join on its way, and what `each` returns, after which the other threads
    /// end as well. [`Invalid`](ErrorKind::Invalid) when rows were to be [`ordered`](Self::ordered).
    pub fn fold<T: Send>(
        mut self,
        new: impl Fn() -> T + Sync,
        each: impl Fn(&mut T, &Row) -> Result<()> + Sync,
    ) -> Result<Vec<T>> {
        if self.wishes.ordered {
            return Err(Error::invalid("a fold has no order: ask for rows, or do not ask for ordered ones"));
        }
        self.whole_events = true;
        let engine = self.prepare(&[])?;
        fold(&Arc::new(engine), new, each)
    }

    /// What the rows come to, in groups.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows), and what stops the join on its way.
    pub fn aggregate(self, aggregated: Aggregate) -> Result<Answer> {
        let mut aggregated = aggregated;
        if let Some(error) = aggregated.take_refused() {
            return Err(error);
        }
        let engine = self.prepare(&aggregated.fields())?;
        aggregate(&Arc::new(engine), aggregated)
    }

    /// Plans, and reads what the plan wants in memory.
    fn prepare(self, more: &[Field]) -> Result<Engine> {
        let memory = self.wishes.memory;
        let mut engine = self.plan(more)?;
        build(&mut engine, memory)?;
        Ok(engine)
    }

    fn plan(mut self, more: &[Field]) -> Result<Engine> {
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        let filter_fields: Vec<Field> =
            self.filter.iter().flat_map(|expr| expr.references().iter().map(field_of)).collect();
        let mut layout = Layout::new(filter_fields.iter().chain(more), &self.on, &self.select);
        layout.whole_events |= self.whole_events;
        for dim in &layout.dims {
            let kind = dim.via.kind();
            if let Kind::Group(key) = &kind
                && !self.tables.has(&Table::Profiles(kind.clone()))
            {
                return Err(Error::new(ErrorKind::NotFound, format!("no such group key group_key={key:?}")));
            }
        }
        let layout = Arc::new(layout);
        let filter = Filter::new(&self.filter, &layout, self.inner);
        let counters = Counters::default();
        if self.wishes.single_pass {
            self.wishes.threads = 1;
        }
        let (estimates, days) = match &self.source {
            Some(_) => {
                let unknown = Estimates {
                    events: UNKNOWN_EVENTS,
                    days: 1,
                    passing: 1.0,
                    ids_per_event: 1.0,
                    ..Estimates::default()
                };
                (unknown, None)
            }
            None => estimate(&*self.tables, &layout, &self.scope, &filter, &counters)?,
        };
        let plan = Plan::new(&layout, &*self.tables, estimates, self.wishes);
        let units = match self.source.take() {
            Some(source) => Units::Single(Mutex::new(Some(source))),
            None => units(&*self.tables, &layout, &plan, &self.scope, days)?,
        };
        Ok(Engine {
            tables: self.tables,
            builds: Vec::new(),
            layout,
            scope: self.scope,
            filter,
            inner: self.inner,
            plan,
            units,
            counters,
            stop: AtomicBool::new(false),
        })
    }
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("scope", &self.scope)
            .field("select", &self.select)
            .field("filter", &self.filter)
            .field("inner", &self.inner)
            .field("wishes", &self.wishes)
            .finish_non_exhaustive()
    }
}

/// The first and the last day that have events.
type Days = Option<(i32, i32)>;

fn estimate(
    tables: &dyn Tables,
    layout: &Arc<Layout>,
    scope: &Scope,
    filter: &Filter,
    counters: &Counters,
) -> Result<(Estimates, Days)> {
    let (from, end) = (scope.first_key(), scope.end_key());
    let mut sample = Sample { block: Block::new(layout), read: 0, from: Vec::new() };
    let ended = sample.take(tables, scope, filter, (&from, end.as_deref()), SAMPLE / PLACES)?;
    let days = match EventKey::read(&sample.from) {
        Ok(first) => {
            let first = codec::day_of(first.day);
            Some((first, last_day(tables, first, end.as_deref())?))
        }
        Err(_) => None,
    };
    let known = tables.estimate_events(&from, end.as_deref());
    if let Some((_, last)) = days.filter(|_| !ended) {
        let behind = last.checked_add(1).map_or([u8::MAX; 4], codec::day_prefix);
        for place in 1..PLACES {
            let key = key_at(tables, (&from, &behind), known, place as f64 / PLACES as f64);
            sample.take(tables, scope, filter, (&key, end.as_deref()), SAMPLE / PLACES)?;
        }
    }
    counters.events_read.add(sample.read);
    let share = |count: usize| if sample.read == 0 { 0.0 } else { count as f64 / sample.read as f64 };
    // What a sample does not have may still come.
    let floor = if ended { 0.0 } else { 1.0 / SAMPLE as f64 };
    let estimates = Estimates {
        events: if ended { sample.read } else { known.max(sample.read) },
        days: days.map_or(0, |(first, last)| i64::from(last).abs_diff(i64::from(first)) + 1),
        passing: share(sample.block.slots.len()).max(floor),
        ids_per_event: share(sample.block.runs.len()).max(floor),
        sample: sample.read,
    };
    Ok((estimates, days))
}

/// Some events from here and there.
struct Sample {
    block: Block,
    read: u64,
    /// The key of the first one.
    from: Vec<u8>,
}

impl Sample {
    /// Takes so many events, and says whether there are no more.
    fn take(
        &mut self,
        tables: &dyn Tables,
        scope: &Scope,
        filter: &Filter,
        range: (&[u8], Option<&[u8]>),
        events: usize,
    ) -> Result<bool> {
        let mut source = tables.events(range.0, range.1)?;
        for _ in 0..events {
            let Some((key, value)) = source.next()? else { return Ok(true) };
            self.read += 1;
            if self.from.is_empty() {
                self.from.extend_from_slice(key);
            }
            let parts = EventKey::read(key).map_err(|malformed| codec::corrupt_event(key, malformed))?;
            scope.admit(filter, &mut self.block, key, &parts, value)?;
        }
        Ok(false)
    }
}

/// A key with about this share of the events of a range before it, by bisection of the space of keys.
fn key_at(tables: &dyn Tables, range: (&[u8], &[u8]), events: u64, share: f64) -> [u8; 16] {
    let number = |key: &[u8]| {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        u128::from_be_bytes(bytes)
    };
    let wanted = (events as f64 * share) as u64;
    let (mut low, mut high) = (number(range.0), number(range.1));
    // Days and the first letters of ids are decided by then.
    for _ in 0..72 {
        let middle = low + (high.saturating_sub(low)) / 2;
        let before = tables.estimate_events(range.0, Some(&middle.to_be_bytes()));
        *(if before < wanted { &mut low } else { &mut high }) = middle;
    }
    high.to_be_bytes()
}

/// The last day that has events, of which the first is known.
fn last_day(tables: &dyn Tables, first: i32, end: Option<&[u8]>) -> Result<i32> {
    let any_from = |day: i32| -> Result<bool> {
        let key = codec::day_prefix(day);
        if end.is_some_and(|end| end <= &key[..]) {
            return Ok(false);
        }
        Ok(tables.events(&key, end)?.next()?.is_some())
    };
    // There are events from `known` on, and none from `none` on.
    let (mut known, mut step) = (first, 1_i32);
    let mut none = loop {
        let Some(day) = known.checked_add(step) else { break i32::MAX };
        if !any_from(day)? {
            break day;
        }
        known = day;
        step = step.saturating_mul(2);
    };
    while i64::from(none) - i64::from(known) > 1 {
        let middle = known + ((i64::from(none) - i64::from(known)) / 2) as i32;
        *(if any_from(middle)? { &mut known } else { &mut none }) = middle;
    }
    Ok(known)
}

fn units(tables: &dyn Tables, layout: &Layout, plan: &Plan, scope: &Scope, days: Days) -> Result<Units> {
    let parted: Vec<usize> =
        plan.tables.iter().enumerate().filter(|(_, table)| table.in_parts).map(|(dim, _)| dim).collect();
    if !parted.is_empty() {
        return Ok(Units::Parts(Mutex::new(Splitter::new(tables, layout, &parted)?)));
    }
    let mut starts = Vec::new();
    if let Some((first, last)) = days {
        let count = i64::from(last).abs_diff(i64::from(first)) + 1;
        let wanted = if plan.threads == 1 { 1 } else { (plan.threads * UNITS_PER_THREAD) as u64 };
        let step = count.div_ceil(wanted).max(1);
        starts.push(scope.first_key());
        let days =
            (1..count.div_ceil(step)).filter_map(|unit| i32::try_from(i64::from(first) + (unit * step) as i64).ok());
        starts.extend(days.map(|day| codec::day_prefix(day).to_vec()));
    }
    Ok(Units::Days { starts, next: AtomicUsize::new(0) })
}

/// Reads the tables that the plan wants in memory as a whole. One that turns out too large is looked up instead.
fn build(engine: &mut Engine, memory: usize) -> Result<()> {
    let share = memory / engine.layout.dims.len().max(1);
    let mut builds = Vec::new();
    for (dim, table) in engine.layout.dims.iter().zip(&mut engine.plan.tables) {
        builds.push(None);
        if table.strategy != Strategy::Hash || table.in_parts {
            continue;
        }
        let memory = if table.reason == super::plan::HINTED { MEMORY_MAX } else { share };
        match read_rows(&*engine.tables, dim, (&[], None), memory, &engine.counters)? {
            Some(rows) => {
                if let Some(last) = builds.last_mut() {
                    *last = Some(Build::hashed(&rows)?);
                }
            }
            None => {
                table.strategy = Strategy::Lookup;
                table.reason.push_str("; too large for its memory after all");
            }
        }
    }
    for (dim, build) in builds.iter_mut().enumerate() {
        build.iter_mut().for_each(|build| engine.narrow(dim, build));
    }
    engine.builds = builds.into_iter().map(|build| build.map(Arc::new)).collect();
    Ok(())
}
