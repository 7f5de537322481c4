//! Group commit: callers queue, a leader commits for all of them in one batch.
//!
//! Throughput comes from batches, not from threads, because the engine inserts batches with operands one at a time.
//!
//! ```text
//! update   nobody leads  ->  the caller leads, and commits its own request without any hand-over
//!          someone leads ->  queue, wait; the next batch takes everyone who queued meanwhile
//! submit   always queues; the committer thread leads, the caller goes on and may wait later
//! ```
//!
//! A caller that finds new requests when it is done hands leadership to the committer thread, so that no caller works
//! for others for long. There is one leader at a time and only the leader takes from the queue, so requests are
//! committed in the order in which they came in. Where nobody leads, the queue is empty.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crossbeam::sync::{Parker, Unparker};
use parking_lot::{Condvar, Mutex};

use super::admission::{Durability, Write};
use super::group::Leader;
use super::open::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::rocks::Operation;

/// How much one batch takes from the queue, in bytes of keys, operands and values.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// How much may wait in the queue before `submit` itself waits, in bytes of keys, operands and values.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// What a request consists of.
#[derive(Default)]
pub(crate) struct Work {
    /// Changes of profiles.
    pub(crate) writes: Vec<Write>,
    /// Operations beside them, in order.
    pub(crate) beside: Vec<Operation>,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.beside.is_empty()
    }

    fn bytes(&self) -> usize {
        let writes: usize = self.writes.iter().map(Write::bytes).sum();
        writes + self.beside.iter().map(Operation::bytes).sum::<usize>()
    }
}

/// Changes that are committed together or not at all.
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) durability: Durability,
    bytes: usize,
    ticket: Arc<Ticket>,
}

impl Request {
    fn new(work: Work, durability: Durability) -> Self {
        Self { bytes: work.bytes(), work, durability, ticket: Arc::default() }
    }
}

/// Where the outcome of a request is left.
#[derive(Default)]
struct Ticket {
    outcome: Mutex<Option<Result<()>>>,
    done: Condvar,
}

impl Ticket {
    fn finish(&self, outcome: Result<()>) {
        *self.outcome.lock() = Some(outcome);
        self.done.notify_all();
    }

    fn wait(&self) -> Result<()> {
        let mut outcome = self.outcome.lock();
        loop {
            match &*outcome {
                Some(outcome) => return outcome.clone(),
                None => self.done.wait(&mut outcome),
            }
        }
    }
}

/// A write on its way. It is committed whether or not anyone waits for it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Db, Update};
///
/// let users = Db::open(dir.path().join("store"))?.users();
/// let commits: Vec<_> =
///     (0..100).map(|n| users.submit(&format!("user-{n}"), Update::new().add("logins", 1))).collect::<Result<_, _>>()?;
/// for commit in commits {
///     commit.wait()?; // one sync served many of them
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "without waiting, a failure goes unseen"]
pub struct Commit(Arc<Ticket>);

impl Commit {
    /// Waits until the write is as durable as was asked, or failed.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) when the profile would have too many properties,
    /// [`Io`](ErrorKind::Io) or [`ReadOnly`](ErrorKind::ReadOnly) when the engine could not write. Nothing of the write
    /// was stored then.
    pub fn wait(self) -> Result<()> {
        self.0.wait()
    }

    /// The outcome, if it is there already.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<()>> {
        self.0.outcome.lock().clone()
    }

    pub(crate) fn done() -> Self {
        let ticket = Ticket::default();
        ticket.finish(Ok(()));
        Self(Arc::new(ticket))
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Commit").field(&self.outcome()).finish()
    }
}

/// Who takes from the queue.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum LedBy {
    #[default]
    Nobody,
    /// By a caller, for its own request.
    Caller,
    /// By the committer thread, until the queue is empty.
    Committer,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    bytes: usize,
    led_by: LedBy,
    closed: bool,
}

impl Queue {
    fn push(&mut self, request: Request) {
        self.bytes += request.bytes;
        self.requests.push_back(request);
    }

    /// Takes what fits into one batch.
    fn take(&mut self) -> Vec<Request> {
        let mut bytes = 0;
        let mut taken = Vec::new();
        while let Some(next) = self.requests.front()
            && (taken.is_empty() || bytes + next.bytes <= GROUP_BYTES_MAX)
        {
            bytes += next.bytes;
            taken.extend(self.requests.pop_front());
        }
        self.bytes -= bytes;
        taken
    }
}

/// The queue and who serves it.
pub(super) struct Committer {
    queue: Mutex<Queue>,
    space: Condvar,
    leader: Mutex<Leader>,
    unparker: Unparker,
}

impl Committer {
    pub(super) fn new(leader: Leader) -> (Self, Parker) {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        (Self { queue: Mutex::default(), space: Condvar::new(), leader: Mutex::new(leader), unparker }, parker)
    }

    /// Commits requests and tells each how it went.
    fn serve(&self, store: &Store, requests: Vec<Request>) {
        let outcomes = self.leader.lock().commit(store, &requests);
        for (request, outcome) in requests.iter().zip(outcomes) {
            request.ticket.finish(outcome);
        }
    }

    /// What the committer thread does until the store closes and nothing is left to commit.
    pub(super) fn run(&self, store: &Store, parker: &Parker) {
        loop {
            let mut queue = self.queue.lock();
            if queue.requests.is_empty() && queue.led_by == LedBy::Committer {
                queue.led_by = LedBy::Nobody;
            }
            match queue.led_by {
                LedBy::Committer => {
                    let requests = queue.take();
                    drop(queue);
                    self.space.notify_all();
                    self.serve(store, requests);
                }
                LedBy::Nobody if queue.closed => return,
                LedBy::Nobody | LedBy::Caller => {
                    drop(queue);
                    parker.park();
                }
            }
        }
    }

    /// Ends the leadership of a caller.
    fn hand_over(&self) {
        let mut queue = self.queue.lock();
        queue.led_by = if queue.requests.is_empty() { LedBy::Nobody } else { LedBy::Committer };
        let wake = queue.led_by == LedBy::Committer || queue.closed;
        drop(queue);
        if wake {
            self.unparker.unpark();
        }
    }

    /// No request comes in after this; those that are in are still committed.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.unparker.unpark();
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}

impl Store {
    /// Commits and waits.
    pub(crate) fn write(&self, work: Work, durability: Durability) -> Result<()> {
        let committer = self.committer()?;
        let request = Request::new(work, durability);
        let mut queue = committer.queue.lock();
        if queue.closed {
            return Err(closed());
        }
        let ticket = Arc::clone(&request.ticket);
        if queue.led_by == LedBy::Nobody {
            queue.led_by = LedBy::Caller;
            drop(queue);
            committer.serve(self, vec![request]);
            committer.hand_over();
        } else {
            queue.push(request);
            drop(queue);
        }
        ticket.wait()
    }

    /// Queues, and waits only when too much is queued already.
    pub(crate) fn submit(&self, work: Work, durability: Durability) -> Result<Commit> {
        let committer = self.committer()?;
        let request = Request::new(work, durability);
        let commit = Commit(Arc::clone(&request.ticket));
        let mut queue = committer.queue.lock();
        while queue.bytes >= QUEUE_BYTES_MAX && !queue.closed {
            committer.space.wait(&mut queue);
        }
        if queue.closed {
            return Err(closed());
        }
        queue.push(request);
        let wake = queue.led_by == LedBy::Nobody;
        if wake {
            queue.led_by = LedBy::Committer;
        }
        drop(queue);
        if wake {
            committer.unparker.unpark();
        }
        Ok(commit)
    }
}
