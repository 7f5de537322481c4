//! The pull iterator over rows of a join, and the exchange through which worker threads hand them over.
//!
//! ```text
//! one thread          next() -> worker -> block -> rows of it
//! several, unordered  workers -> one bounded channel -> next(), which works itself when there is nothing in it
//! several, ordered    workers -> one bounded channel per task, read in the order of tasks -> next()
//! ```
//!
//! Dropping the iterator stops the workers: they find their channel closed, or the flag set. A worker that fails sends
//! its error and ends; a worker that panics is an error as well.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use parking_lot::Mutex;
use serde::de::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::block::{Block, decoded};
use super::exec::{Execution, Tasks, Worker};
use super::field::Field;
use super::layout::{Column, Via};
use super::plan::Plan;
use super::probe::{Dictionary, NO_ROW};
use super::stats::JoinStats;
use super::tables::JoinTable;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Event, FieldValue, Timestamp, Value, deserialize_fields};

/// Blocks that workers may be ahead of the consumer, each.
const BLOCKS_AHEAD: usize = 2;

/// What workers send. A channel that closes before its end was said lost a worker.
enum Message {
    Block(Arc<Block>),
    Failed(Error),
    End,
}

/// Where blocks come from.
enum BlockFeed {
    Own(Box<Worker>),
    Threads {
        /// The consumer works as well while it waits for unordered blocks, so that there are no more threads than
        /// requested.
        own: Option<Box<Worker>>,
        /// With the number of workers that have not ended yet, each.
        receivers: VecDeque<(Receiver<Message>, usize)>,
        /// Used blocks, to be filled again.
        used: Sender<Block>,
        driver: Option<JoinHandle<()>>,
    },
}

/// The rows of a join.
///
/// A failure is the last item, whatever it is: rows that could not be read are never left out.
pub struct Rows {
    execution: Arc<Execution>,
    feed: BlockFeed,
    block: Option<Arc<Block>>,
    next: usize,
    ended: bool,
}

impl Rows {
    pub(super) fn new(execution: Arc<Execution>) -> Self {
        let feed = if execution.plan.threads == 1 {
            Ok(BlockFeed::Own(Box::new(Worker::new(&execution))))
        } else {
            spawn(&execution)
        };
        // A system that gives us no thread still has this one.
        let feed = feed.unwrap_or_else(|_| BlockFeed::Own(Box::new(Worker::new(&execution))));
        Self { execution, feed, block: None, next: 0, ended: false }
    }

    /// How the join is executed, and why.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.execution.plan
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> JoinStats {
        self.execution.counters.stats()
    }

    /// The fields of each row.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.execution.layout.select.iter().map(|(field, _)| field)
    }

    /// Shows all rows that are left to a function, one by one, which is faster than to iterate: nothing is handed over.
    ///
    #[cfg_attr(feature = "rocksdb", doc = "```")]
    #[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.events().append(Event::new("visit", "alice", Timestamp::from_seconds(1_700_000_000)))?;
    ///
    /// let mut names = Vec::new();
    /// db.snapshot().join().rows()?.visit(|row| {
    ///     names.push(row.name().to_owned());
    ///     Ok(())
    /// })?;
    /// assert_eq!(names, ["visit"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What would have been the last item, and what `each` returns, after which it is not called again.
    pub fn visit(mut self, mut each: impl FnMut(&Row) -> Result<()>) -> Result<()> {
        while !self.ended {
            if let Some(block) = self.block.take() {
                self.block = Some(Row::show(block, &mut self.next, &mut each)?);
            }
            self.next = 0;
            match self.advance()? {
                Some(block) => self.block = Some(block),
                None => self.ended = true,
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Arc<Block>>> {
        // If the caller kept no row of it.
        let mut used = self.block.take().and_then(Arc::into_inner);
        match &mut self.feed {
            BlockFeed::Own(worker) => {
                let mut block = used.take().unwrap_or_else(|| Block::new(&self.execution.layout));
                Ok(worker.next(&mut block)?.then(|| Arc::new(block)))
            }
            BlockFeed::Threads { own, receivers, used: back, .. } => loop {
                let message = match (receivers.front(), own.as_mut()) {
                    (None, None) => return Ok(None),
                    (Some((receiver, _)), None) => receiver.recv().map_err(|_| TryRecvError::Disconnected),
                    (Some((receiver, _)), Some(_)) => receiver.try_recv(),
                    (None, Some(_)) => Err(TryRecvError::Empty),
                };
                match (message, own.as_mut()) {
                    (Ok(Message::Block(block)), _) => {
                        used.take().into_iter().for_each(|used| drop(back.try_send(used)));
                        return Ok(Some(block));
                    }
                    (Ok(Message::Failed(error)), _) => return Err(error),
                    (Ok(Message::End), _) => match receivers.front_mut() {
                        Some((_, ends)) if *ends > 1 => *ends -= 1,
                        _ => drop(receivers.pop_front()),
                    },
                    (Err(TryRecvError::Empty), Some(worker)) => {
                        let mut block = used.take().unwrap_or_else(|| Block::new(&self.execution.layout));
                        match worker.next(&mut block)? {
                            true if block.kept.is_empty() => used = Some(block),
                            true => return Ok(Some(Arc::new(block))),
                            false => *own = None,
                        }
                    }
                    (Err(_), _) => return Err(Error::new(ErrorKind::Closed, "a worker of the join panicked")),
                }
            },
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(block) = &self.block
                && let Some(event) = block.kept.get(self.next)
            {
                self.next += 1;
                return Some(Ok(Row { block: Arc::clone(block), event: *event as usize }));
            }
            self.next = 0;
            match self.advance() {
                Ok(Some(block)) => self.block = Some(block),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    self.execution.stop.store(true, Ordering::Relaxed);
                    return Some(Err(error));
                }
            }
        }
        self.block = None;
        None
    }
}

impl FusedIterator for Rows {}

impl Drop for Rows {
    fn drop(&mut self) {
        self.execution.stop.store(true, Ordering::Relaxed);
        if let BlockFeed::Threads { own, receivers, driver, .. } = &mut self.feed {
            *own = None;
            receivers.clear();
            if let Some(driver) = driver.take() {
                // A panic of a worker was sent as an error already, unless the consumer is gone.
                let _ = driver.join();
            }
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("plan", self.plan()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Where workers send to.
enum Outlet {
    /// All to one channel, in any order.
    One(Sender<Message>),
    /// To a channel for each task, which is taken by the worker that takes the task.
    Tasks(Vec<Mutex<Option<Sender<Message>>>>),
}

/// Closes the channels of tasks when a worker panics. Its own task may not have had a block yet, and its channel would
/// stay open as long as the other workers, who wait for the consumer, who waits for this task.
struct CloseOnPanic<'o>(&'o Outlet);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if let Outlet::Tasks(senders) = self.0
            && std::thread::panicking()
        {
            senders.iter().for_each(|sender| drop(sender.lock().take()));
        }
    }
}

/// Starts a thread that owns the workers, which are scoped to it.
fn spawn(execution: &Arc<Execution>) -> Result<BlockFeed> {
    let threads = execution.plan.threads;
    let (outlet, receivers, workers) = match &execution.tasks {
        Tasks::Days { ranges, .. } if execution.plan.ordered => {
            let (senders, receivers): (Vec<_>, Vec<_>) = ranges.iter().map(|_| bounded(BLOCKS_AHEAD)).unzip();
            let senders = senders.into_iter().map(|sender| Mutex::new(Some(sender))).collect();
            (Outlet::Tasks(senders), receivers.into_iter().map(|receiver| (receiver, 1)).collect(), threads)
        }
        Tasks::Days { .. } | Tasks::Partitions(_) | Tasks::Profiles(_) | Tasks::OwnEvents(_) => {
            let (sender, receiver) = bounded(BLOCKS_AHEAD * threads);
            (Outlet::One(sender), VecDeque::from([(receiver, threads - 1)]), threads - 1)
        }
    };
    let (used, again) = bounded(BLOCKS_AHEAD * threads);
    let shared = Arc::clone(execution);
    let driver = std::thread::Builder::new().name("profiledb-join".into()).spawn(move || {
        // A panic shows as a channel that closes early.
        let _ = crossbeam::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|_| produce(&shared, &outlet, &again));
            }
        });
    })?;
    let own = (workers < threads).then(|| Box::new(Worker::new(execution)));
    Ok(BlockFeed::Threads { own, receivers, used, driver: Some(driver) })
}

/// What one worker does: it sends blocks until there are no more, or no receiver is left.
fn produce(execution: &Arc<Execution>, outlet: &Outlet, again: &Receiver<Block>) {
    let _close = CloseOnPanic(outlet);
    let mut worker = Worker::new(execution);
    let mut current: Option<(usize, Sender<Message>)> = None;
    let sender_of = |current: &mut Option<(usize, Sender<Message>)>, task: usize| match outlet {
        Outlet::One(sender) => Some(sender.clone()),
        Outlet::Tasks(senders) => {
            if current.as_ref().is_none_or(|(number, _)| *number != task) {
                *current = senders.get(task).and_then(|sender| sender.lock().take()).map(|sender| (task, sender));
            }
            current.as_ref().map(|(_, sender)| sender.clone())
        }
    };
    let is_by_task = matches!(outlet, Outlet::Tasks(_));
    let closed = || Error::new(ErrorKind::Closed, "the rows of the join are not read any more");
    let done = worker.run(|block, task| {
        let sender = sender_of(&mut current, task.number).ok_or_else(closed)?;
        let unused = if block.kept.is_empty() {
            Some(block)
        } else {
            sender.send(Message::Block(Arc::new(block))).map_err(|_| closed())?;
            again.try_recv().ok()
        };
        if is_by_task && task.has_ended {
            sender.send(Message::End).map_err(|_| closed())?;
        }
        Ok(unused)
    });
    let last = match done {
        Err(error) => Message::Failed(error),
        Ok(()) if is_by_task => return,
        Ok(()) => Message::End,
    };
    if let Some(sender) = sender_of(&mut current, worker.task().number) {
        // Without a receiver there is no consumer, who would want to know.
        let _ = sender.send(last);
    }
}

/// One event, with what was joined onto it.
#[derive(Clone)]
pub struct Row {
    block: Arc<Block>,
    /// The number of the event in the block.
    event: usize,
}

impl Row {
    /// Shows the rows of a block to a function, from one on.
    pub(super) fn show(
        block: Arc<Block>,
        next: &mut usize,
        mut each: impl FnMut(&Self) -> Result<()>,
    ) -> Result<Arc<Block>> {
        let mut row = Self { block, event: 0 };
        while let Some(event) = row.block.kept.get(*next) {
            *next += 1;
            row.event = *event as usize;
            each(&row)?;
        }
        Ok(row.block)
    }

    /// The name of the event.
    #[must_use]
    pub fn name(&self) -> &str {
        self.block.name(self.event)
    }

    /// The user of the event.
    #[must_use]
    pub fn distinct_id(&self) -> &str {
        self.block.distinct_id(self.event)
    }

    /// The time of the event.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.block.time(self.event)
    }

    /// The whole event, decoded, in a join [`with_events`](super::Join::with_events).
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) in any other join, [`Corrupt`](ErrorKind::Corrupt) when a property that was not
    /// selected cannot be read.
    pub fn event(&self) -> Result<Event> {
        let without = || Error::invalid("the rows of this join carry no whole events: request them by with_events()");
        self.block.event(self.event).ok_or_else(without)?
    }

    /// The value of a selected field, by its position. Nothing when it is not set: there is no profile, or no such
    /// property, or it is null. Of groups it is the list of the values of all groups, null where one is not set.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Value> {
        let (_, column) = self.block.layout.select.get(at)?;
        self.value(*column)
    }

    /// The text of a selected field, by its position, without a copy. Nothing when it is not a string.
    #[must_use]
    pub fn text(&self, at: usize) -> Option<&str> {
        let (_, column) = self.block.layout.select.get(at)?;
        self.block.cell(self.event, *column).text()
    }

    fn value(&self, column: Column) -> Option<Value> {
        self.block.cell(self.event, column).value().filter(|value| !value.is_null())
    }

    /// The selected fields and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&Field, Option<Value>)> {
        let select = &self.block.layout.select;
        select.iter().map(|(field, column)| (field, self.value(*column)))
    }

    /// Deserializes the row into any type that implements [`Deserialize`]. The fields are those of its JSON: `event`,
    /// `time`, `distinct_id`, and the selected fields by their names, null where one is not set.
    ///
    #[cfg_attr(feature = "rocksdb", doc = "```")]
    #[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Event, Timestamp, Update};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Visit {
    ///     time: Timestamp,
    ///     #[serde(rename = "user.plan")]
    ///     plan: Option<String>,
    /// }
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// db.users().update("alice", Update::new().set("plan", "pro"))?;
    /// let time = Timestamp::from_seconds(1_700_000_000);
    /// db.events().append(Event::new("visit", "alice", time))?;
    /// for row in db.snapshot().join().select(["user.plan"]).rows()? {
    ///     let visit: Visit = row?.deserialize()?;
    ///     assert_eq!((visit.time, visit.plan.as_deref()), (time, Some("pro")));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Value::deserialize_into`].
    pub fn deserialize<'de, T: Deserialize<'de>>(&'de self) -> Result<T> {
        let head = [
            ("event".into(), FieldValue::Text(self.name())),
            ("time".into(), FieldValue::Owned(self.time().to_exact_value())),
            ("distinct_id".into(), FieldValue::Text(self.distinct_id())),
        ];
        let selected = self
            .iter()
            .map(|(field, value)| (field.to_string().into(), FieldValue::Owned(value.unwrap_or(Value::Null))));
        deserialize_fields(head.into_iter().chain(selected))
    }

    /// Whether the user has a profile. Nothing when users were not joined.
    #[must_use]
    pub fn has_user(&self) -> Option<bool> {
        let dim = self.block.layout.dim(&Via::User, &JoinTable::Profiles(Via::User.kind()))?;
        Some(self.block.user_code(self.event, dim) != NO_ROW)
    }

    /// The groups that the event lists under a group key, if that was joined: each id, and the selected properties of
    /// its profile if it has one.
    #[must_use]
    pub fn groups(&self, group_key: &str) -> Vec<Group<'_>> {
        self.groups_by(&Via::Group(group_key.to_owned()))
    }

    /// The groups that the user's profile lists under a group key, if that was joined.
    #[must_use]
    pub fn user_groups(&self, group_key: &str) -> Vec<Group<'_>> {
        self.groups_by(&Via::UserGroup(group_key.to_owned()))
    }

    fn groups_by(&self, via: &Via) -> Vec<Group<'_>> {
        let layout = &self.block.layout;
        let Some(dim) = layout.dim(via, &JoinTable::Profiles(via.kind())) else { return Vec::new() };
        let (Some(spec), Some(joined)) = (layout.dims.get(dim), self.block.joined.get(dim)) else { return Vec::new() };
        let group = |at: usize| Group {
            id: joined.ids.text(at),
            names: &spec.names,
            dictionary: &joined.dictionary,
            code: joined.codes.get(at).copied().unwrap_or(NO_ROW),
        };
        self.block.codes_range(self.event, dim).map(group).collect()
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&"event", &self.name()).entry(&"time", &self.time()).entry(&"distinct_id", &self.distinct_id());
        map.entries(self.iter().map(|(field, value)| (field.to_string(), value))).finish()
    }
}

/// `{"event":..,"time":..,"distinct_id":..,"user.plan":..,...}`, with null for what is not set.
impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", self.name())?;
        map.serialize_entry("time", &self.time().to_string())?;
        map.serialize_entry("distinct_id", &self.distinct_id())?;
        self.iter().try_for_each(|(field, value)| map.serialize_entry(&field.to_string(), &value))?;
        map.end()
    }
}

/// One group that an event or a user belongs to.
#[derive(Clone, Copy)]
pub struct Group<'r> {
    id: &'r str,
    names: &'r [Box<str>],
    dictionary: &'r Dictionary,
    code: u32,
}

impl<'r> Group<'r> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &'r str {
        self.id
    }

    /// Whether it has a profile.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.code != NO_ROW
    }

    /// A selected property of its profile. Nothing when it is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value> {
        let at = self.names.binary_search_by(|known| (**known).cmp(name)).ok()?;
        self.dictionary.value(self.code, at).map(decoded).filter(|value| !value.is_null())
    }
}

impl fmt::Debug for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.names.iter().map(|name| (name, self.get(name)));
        f.debug_map().entry(&"id", &self.id).entry(&"exists", &self.exists()).entries(values).finish()
    }
}
