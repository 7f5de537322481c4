//! What is asked of a join, and from there to an engine that answers it.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use super::aggregate::{Aggregate, aggregate};
use super::answer::Answer;
use super::estimate::{Estimates, estimate};
use super::field::Field;
use super::filter::{Filter, field_of};
use super::fold::fold;
use super::layout::{Layout, Via};
use super::plan::{Plan, PlannerHints, Strategy};
use super::prepare::{build, tasks};
use super::rows::{Row, Rows};
use super::source::{Source, Table, Tables, Watched};
use super::stats::Counters;
use super::work::{Engine, Scope, Units};
use crate::error::{Error, ErrorKind, Result};
use crate::expr::Expr;
use crate::model::{Kind, Timestamp};

/// Memory for build sides, in bytes: the default, and the most that 32-bit offsets can address.
const MEMORY: usize = 32 << 20;
pub(super) const MEMORY_MAX: usize = 1 << 30;

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
    hints: PlannerHints,
    whole_events: bool,
    refused: Option<Error>,
}

impl Join {
    /// All events of these tables.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>) -> Self {
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
            source: None,
            scope: Scope::default(),
            select: Vec::new(),
            filter: Vec::new(),
            on: Vec::new(),
            inner: false,
            hints,
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
        self.hints.single_pass = true;
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
        self.hints.ordered = true;
        self
    }

    /// Threads that read and join. Default: 1, and then everything happens on the thread that asks.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.hints.threads = threads.clamp(1, 256);
        self
    }

    /// Memory that tables may take while they are joined, in bytes. Default: 32 MB; 4 KB to 1 GB. What does not fit is
    /// read in parts or joined in another way.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.hints.memory = bytes.clamp(4 << 10, MEMORY_MAX);
        self
    }

    /// Takes this strategy for every table that can be joined so, whatever the planner thinks.
    #[must_use]
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
        if self.hints.ordered {
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
        let memory = self.hints.memory;
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
        if self.hints.single_pass {
            self.hints.threads = 1;
        }
        let (estimates, days) = match &self.source {
            Some(_) => (Estimates::unknown(), None),
            None => estimate(&*self.tables, &layout, &self.scope, &filter, &counters)?,
        };
        let plan = Plan::new(&layout, &*self.tables, estimates, self.hints);
        let units = match self.source.take() {
            Some(source) => Units::Single(Mutex::new(Some(source))),
            None => tasks(&*self.tables, &layout, &plan, &self.scope, days)?,
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
            .field("hints", &self.hints)
            .finish_non_exhaustive()
    }
}
