//! Rows, as they come out: an iterator that reads when it is asked, on its own thread or from others.
//!
//! ```text
//! one thread          next() -> worker -> block -> rows of it
//! several, unordered  workers -> one bounded channel -> next(), which works itself when there is nothing in it
//! several, ordered    workers -> one bounded channel per unit, read in the order of units -> next()
//! ```
//!
//! Whoever drops the iterator stops the workers: they find their channel closed, or the flag up. A worker that fails
//! sends its error and ends; a worker that panics is an error as well.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use parking_lot::Mutex;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::block::{Block, NO_ROW, Slot};
use super::field::Field;
use super::layout::{Column, Via};
use super::plan::Plan;
use super::source::Table;
use super::stats::JoinStats;
use super::work::{Engine, Units, Worker};
use crate::codec;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Event, Timestamp, Value};

/// Blocks that workers may be ahead of the consumer, each.
const BLOCKS_AHEAD: usize = 2;

/// What workers send. A channel that closes before its end was said lost a worker.
enum Message {
    Block(Arc<Block>),
    Failed(Error),
    End,
}

/// Where blocks come from.
enum Feed {
    Own(Box<Worker>),
    Threads {
        /// Whoever waits for blocks in any order works as well, or it would be one thread more than asked for.
        own: Option<Box<Worker>>,
        /// With the number of ends that each is waiting for.
        receivers: VecDeque<(Receiver<Message>, usize)>,
        /// Where blocks go that nobody needs any more, to be filled again.
        used: Sender<Block>,
        driver: Option<JoinHandle<()>>,
    },
}

/// The rows of a join.
///
/// A failure is the last item, whatever it is: rows that could not be read are never left out.
pub struct Rows {
    engine: Arc<Engine>,
    feed: Feed,
    block: Option<Arc<Block>>,
    next: usize,
    ended: bool,
}

impl Rows {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let feed =
            if engine.plan.threads == 1 { Ok(Feed::Own(Box::new(Worker::new(&engine)))) } else { spawn(&engine) };
        // A system that gives us no thread still has this one.
        let feed = feed.unwrap_or_else(|_| Feed::Own(Box::new(Worker::new(&engine))));
        Self { engine, feed, block: None, next: 0, ended: false }
    }

    /// How the join is executed, and why.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.engine.plan
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> JoinStats {
        self.engine.counters.stats()
    }

    /// The fields of each row.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.engine.layout.select.iter().map(|(field, _)| field)
    }

    /// Shows all rows that are left to a function, one by one, which is faster than to iterate: nothing is handed over.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use profiledb::join::{Join, Memory};
    /// # use profiledb::{Event, Timestamp};
    /// # let mut memory = Memory::new();
    /// # memory.event(&Event::new("visit", "alice", Timestamp::from_seconds(1_700_000_000)));
    /// # let tables = Arc::new(memory);
    /// let mut names = Vec::new();
    /// Join::new(tables).rows()?.visit(|row| {
    ///     names.push(row.name().to_owned());
    ///     Ok(())
    /// })?;
    /// assert_eq!(names, ["visit"]);
    /// # Ok::<(), profiledb::Error>(())
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
            Feed::Own(worker) => {
                let mut block = used.take().unwrap_or_else(|| Block::new(&self.engine.layout));
                Ok(worker.next(&mut block)?.map(|_| Arc::new(block)))
            }
            Feed::Threads { own, receivers, used: back, .. } => loop {
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
                        let mut block = used.take().unwrap_or_else(|| Block::new(&self.engine.layout));
                        match worker.next(&mut block)? {
                            Some(()) if block.kept.is_empty() => used = Some(block),
                            Some(()) => return Ok(Some(Arc::new(block))),
                            None => *own = None,
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
                && let Some(slot) = block.kept.get(self.next)
            {
                self.next += 1;
                return Some(Ok(Row { block: Arc::clone(block), slot: *slot as usize }));
            }
            self.next = 0;
            match self.advance() {
                Ok(Some(block)) => self.block = Some(block),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    self.engine.stop.store(true, Ordering::Relaxed);
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
        self.engine.stop.store(true, Ordering::Relaxed);
        if let Feed::Threads { own, receivers, driver, .. } = &mut self.feed {
            *own = None;
            receivers.clear();
            if let Some(driver) = driver.take() {
                // A panic in there has been reported or nobody listens.
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
    /// To a channel for each unit. Whoever takes the unit takes the channel.
    Units(Vec<Mutex<Option<Sender<Message>>>>),
}

/// Starts a thread that owns the workers, which are scoped to it.
fn spawn(engine: &Arc<Engine>) -> Result<Feed> {
    let threads = engine.plan.threads;
    let (outlet, receivers, workers) = match &engine.units {
        Units::Days { starts, .. } if engine.plan.ordered => {
            let (senders, receivers): (Vec<_>, Vec<_>) = starts.iter().map(|_| bounded(BLOCKS_AHEAD)).unzip();
            let senders = senders.into_iter().map(|sender| Mutex::new(Some(sender))).collect();
            (Outlet::Units(senders), receivers.into_iter().map(|receiver| (receiver, 1)).collect(), threads)
        }
        Units::Days { .. } | Units::Parts(_) | Units::Single(_) => {
            let (sender, receiver) = bounded(BLOCKS_AHEAD * threads);
            (Outlet::One(sender), VecDeque::from([(receiver, threads - 1)]), threads - 1)
        }
    };
    let (used, again) = bounded(BLOCKS_AHEAD * threads);
    let shared = Arc::clone(engine);
    let driver = std::thread::Builder::new().name("profiledb-join".into()).spawn(move || {
        // A panic shows as a channel that closes early.
        let _ = crossbeam::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|_| match &outlet {
                    Outlet::One(sender) => produce(&shared, sender, &again),
                    Outlet::Units(senders) => produce_by_unit(&shared, senders, &again),
                });
            }
        });
    })?;
    let own = (workers < threads).then(|| Box::new(Worker::new(engine)));
    Ok(Feed::Threads { own, receivers, used, driver: Some(driver) })
}

/// What one worker does whose blocks may come in any order.
fn produce(engine: &Arc<Engine>, sender: &Sender<Message>, again: &Receiver<Block>) {
    let mut worker = Worker::new(engine);
    loop {
        let mut block = again.try_recv().unwrap_or_else(|_| Block::new(&engine.layout));
        let message = match worker.next(&mut block) {
            Ok(Some(_)) if block.kept.is_empty() => continue,
            Ok(Some(_)) => Message::Block(Arc::new(block)),
            Ok(None) => Message::End,
            Err(error) => Message::Failed(error),
        };
        let goes_on = matches!(message, Message::Block(_));
        if sender.send(message).is_err() || !goes_on {
            return;
        }
    }
}

/// What one worker does when units are to come in order.
fn produce_by_unit(engine: &Arc<Engine>, senders: &[Mutex<Option<Sender<Message>>>], again: &Receiver<Block>) {
    let mut worker = Worker::new(engine);
    let mut current: Option<(usize, Sender<Message>)> = None;
    loop {
        let mut block = again.try_recv().unwrap_or_else(|_| Block::new(&engine.layout));
        let step = worker.next(&mut block);
        if matches!(step, Ok(None)) {
            return;
        }
        let unit = worker.unit();
        if current.as_ref().is_none_or(|(number, _)| *number != unit) {
            current = senders.get(unit).and_then(|sender| sender.lock().take()).map(|sender| (unit, sender));
        }
        let Some((_, sender)) = &current else { return };
        let sent = match step {
            Err(error) => {
                let _ = sender.send(Message::Failed(error));
                return;
            }
            Ok(_) if block.kept.is_empty() => Ok(()),
            Ok(_) => sender.send(Message::Block(Arc::new(block))),
        };
        let ended = if worker.unit_ended() { sender.send(Message::End) } else { Ok(()) };
        if sent.and(ended).is_err() {
            return;
        }
    }
}

/// One event, with what was joined onto it.
#[derive(Clone)]
pub struct Row {
    block: Arc<Block>,
    slot: usize,
}

impl Row {
    /// Shows the rows of a block to a function, from one on.
    pub(super) fn show(
        block: Arc<Block>,
        next: &mut usize,
        mut each: impl FnMut(&Self) -> Result<()>,
    ) -> Result<Arc<Block>> {
        let mut row = Self { block, slot: 0 };
        while let Some(slot) = row.block.kept.get(*next) {
            *next += 1;
            row.slot = *slot as usize;
            each(&row)?;
        }
        Ok(row.block)
    }

    fn slot(&self) -> Option<&Slot> {
        self.block.slots.get(self.slot)
    }

    /// The name of the event.
    #[must_use]
    pub fn name(&self) -> &str {
        let event = self.slot().and_then(|slot| self.block.event_bytes(slot).ok());
        event.and_then(|event| event.name().ok()).unwrap_or_default()
    }

    /// The user of the event.
    #[must_use]
    pub fn distinct_id(&self) -> Cow<'_, str> {
        self.slot().and_then(|slot| self.block.distinct_id(slot).ok()).unwrap_or_default()
    }

    /// The time of the event.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        let key = self.slot().and_then(|slot| self.block.event_key(slot).ok());
        key.map_or(Timestamp::from_millis(0), |key| key.time())
    }

    /// The whole event, decoded.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) when a property that was not selected cannot be read.
    pub fn event(&self) -> Result<Event> {
        match self.slot() {
            Some(slot) => codec::decode_event(self.block.key(slot), self.block.value_bytes(slot)),
            None => Err(Error::corrupt("a row without an event")),
        }
    }

    /// The value of a selected field, by its place. Nothing when it is not set: there is no profile, or no such
    /// property, or it is null. Of groups it is the list of the values of all groups, null where one is not set.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Value> {
        let (_, column) = self.block.layout.select.get(at)?;
        self.value(*column).filter(|value| !value.is_null())
    }

    /// The text of a selected field, by its place, where it lies. Nothing when it is not a string.
    #[must_use]
    pub fn text(&self, at: usize) -> Option<&str> {
        let (_, column) = self.block.layout.select.get(at)?;
        match column {
            Column::Name => Some(self.name()),
            column => self.block.stored(self.slot()?, *column)?.text(),
        }
    }

    /// Everything that was joined was checked when it was.
    fn value(&self, column: Column) -> Option<Value> {
        self.block.value(self.slot, column).ok().flatten()
    }

    /// The selected fields and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&Field, Option<Value>)> {
        let select = &self.block.layout.select;
        select.iter().map(|(field, column)| (field, self.value(*column).filter(|value| !value.is_null())))
    }

    /// Whether the user has a profile. Nothing when users were not joined.
    #[must_use]
    pub fn has_user(&self) -> Option<bool> {
        let dim = self.block.layout.dim(&Via::User, &Table::Profiles(Via::User.kind()))?;
        let codes = self.block.joined.get(dim)?.codes.get(self.block.codes(self.slot, dim))?;
        Some(codes.first().is_some_and(|code| *code != NO_ROW))
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
        let Some(dim) = layout.dim(via, &Table::Profiles(via.kind())) else { return Vec::new() };
        let (Some(spec), Some(joined)) = (layout.dims.get(dim), self.block.joined.get(dim)) else { return Vec::new() };
        let group = |at: usize| {
            let tuple = joined.codes.get(at).and_then(|code| joined.tuple(*code));
            Group { id: joined.id(at), names: &spec.names, tuple }
        };
        self.block.codes(self.slot, dim).map(group).collect()
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
    tuple: Option<&'r [u8]>,
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
        self.tuple.is_some()
    }

    /// A selected property of its profile. Nothing when it is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value> {
        let at = self.names.binary_search_by(|known| (**known).cmp(name)).ok()?;
        codec::tuple_value(self.tuple?, at)?.decode().ok().filter(|value| !value.is_null())
    }
}

impl fmt::Debug for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.names.iter().map(|name| (name, self.get(name)));
        f.debug_map().entry(&"id", &self.id).entry(&"exists", &self.exists()).entries(values).finish()
    }
}
