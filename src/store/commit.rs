//! Group commit with a leader and followers: writers queue, and a leader commits for all of them in one batch.
//!
//! Throughput comes from batches, not from threads, because the engine inserts batches with operands one at a time.
//!
//! ```text
//! write    no leader  ->  the caller leads, and commits its own request without a hand-over
//!          a leader   ->  queue and wait; the next batch takes everything that is queued by then
//! submit   always queues; the committer thread leads, the caller goes on and may wait later
//! ```
//!
//! A caller that finds new requests after its commit hands leadership to the committer thread, so that no caller works
//! for others for long. There is one leader at a time and only the leader takes from the queue, so requests are
//! committed in the order in which they were queued. Without a leader the queue is empty.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::sync::{Parker, Unparker};
use parking_lot::{Condvar, Mutex, MutexGuard};
use smallvec::SmallVec;

use super::group::Leader;
use super::request::{Commit, Durability, Request, Ticket};
use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};

/// How much one batch takes from the queue, in bytes of keys, operands and values.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// The queue is full when it holds this much, in bytes of keys, operands and values.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// A request in the queue, and where its outcome goes.
struct Queued {
    request: Request,
    durability: Durability,
    bytes: usize,
    ticket: Arc<Ticket>,
}

impl Queued {
    fn new(request: Request, durability: Durability) -> Self {
        Self { bytes: request.bytes(), request, durability, ticket: Arc::default() }
    }
}

/// Who takes from the queue.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum QueueLeader {
    #[default]
    None,
    /// A caller, for its own request.
    Caller,
    /// The committer thread, until the queue is empty.
    Committer,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Queued>,
    bytes: usize,
    leader: QueueLeader,
    closed: bool,
}

impl Queue {
    fn push(&mut self, request: Queued) {
        self.bytes += request.bytes;
        self.requests.push_back(request);
    }

    /// Takes what fits into one batch.
    fn take(&mut self) -> Vec<Queued> {
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

/// The queue and the leader's state.
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

    /// Commits requests and hands each its outcome.
    fn serve(&self, shared: &Shared, queued: &[Queued]) {
        let requests: SmallVec<[&Request; 4]> = queued.iter().map(|queued| &queued.request).collect();
        let sync = queued.iter().any(|queued| queued.durability == Durability::Synced);
        let outcomes = self.leader.lock().commit(shared, &requests, sync);
        for (queued, outcome) in queued.iter().zip(outcomes) {
            queued.ticket.finish(outcome);
        }
    }

    /// Runs while nothing is being committed.
    pub(super) fn exclusively<R>(&self, run: impl FnOnce() -> R) -> R {
        let _leader = self.leader.lock();
        run()
    }

    /// What the committer thread does until the store closes and nothing is left to commit.
    pub(super) fn run(&self, shared: &Shared, parker: &Parker) {
        loop {
            let mut queue = self.queue.lock();
            if queue.requests.is_empty() && queue.leader == QueueLeader::Committer {
                queue.leader = QueueLeader::None;
            }
            match queue.leader {
                QueueLeader::Committer => {
                    let requests = queue.take();
                    drop(queue);
                    self.space.notify_all();
                    self.serve(shared, &requests);
                }
                QueueLeader::None if queue.closed => return,
                QueueLeader::None | QueueLeader::Caller => {
                    drop(queue);
                    parker.park();
                }
            }
        }
    }

    /// Ends the leadership of a caller.
    fn hand_over(&self) {
        let mut queue = self.queue.lock();
        queue.leader = if queue.requests.is_empty() { QueueLeader::None } else { QueueLeader::Committer };
        let wake = queue.leader == QueueLeader::Committer || queue.closed;
        drop(queue);
        if wake {
            self.unparker.unpark();
        }
    }

    /// No request is accepted after this; those that are queued are still committed.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.unparker.unpark();
    }

    /// Commits and waits.
    pub(super) fn write(&self, shared: &Shared, request: Request, durability: Durability) -> Result<()> {
        let queued = Queued::new(request, durability);
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(closed());
        }
        let ticket = Arc::clone(&queued.ticket);
        if queue.leader == QueueLeader::None {
            queue.leader = QueueLeader::Caller;
            drop(queue);
            self.serve(shared, &[queued]);
            self.hand_over();
        } else {
            queue.push(queued);
            drop(queue);
        }
        ticket.wait()
    }

    /// Queues. When the queue is full it blocks until there is room.
    pub(super) fn submit(&self, request: Request, durability: Durability) -> Result<Commit> {
        let queued = Queued::new(request, durability);
        let mut queue = self.queue.lock();
        let mut wake = false;
        let pushed = self.push_blocking(&mut queue, queued, &mut wake);
        self.unlock(queue, wake);
        pushed
    }

    /// As [`submit`](Self::submit) for each of these, with one lock of the queue and at most one wake-up while there is
    /// room.
    pub(super) fn submit_all(&self, requests: Vec<Request>, durability: Durability) -> Vec<Result<Commit>> {
        let queued: Vec<Queued> = requests.into_iter().map(|request| Queued::new(request, durability)).collect();
        let mut queue = self.queue.lock();
        let mut wake = false;
        let pushed = queued.into_iter().map(|queued| self.push_blocking(&mut queue, queued, &mut wake)).collect();
        self.unlock(queue, wake);
        pushed
    }

    /// Queues, or fails when the queue is full.
    pub(super) fn try_submit(&self, request: Request, durability: Durability) -> Result<Commit> {
        let queued = Queued::new(request, durability);
        let mut queue = self.queue.lock();
        if queue.bytes >= QUEUE_BYTES_MAX && !queue.closed {
            let message = format!("the queue of writes is full bytes={} bytes_max={QUEUE_BYTES_MAX}", queue.bytes);
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let mut wake = false;
        let pushed = self.push_blocking(&mut queue, queued, &mut wake);
        self.unlock(queue, wake);
        pushed
    }

    /// Queues, waiting for room. Sets `wake` when the committer thread must be woken, which is the caller's to do once
    /// it does not hold the lock any more.
    fn push_blocking(&self, queue: &mut MutexGuard<'_, Queue>, queued: Queued, wake: &mut bool) -> Result<Commit> {
        while queue.bytes >= QUEUE_BYTES_MAX && !queue.closed {
            if std::mem::take(wake) {
                self.unparker.unpark();
            }
            self.space.wait(queue);
        }
        if queue.closed {
            return Err(closed());
        }
        let commit = Commit::of(&queued.ticket);
        queue.push(queued);
        if queue.leader == QueueLeader::None {
            queue.leader = QueueLeader::Committer;
            *wake = true;
        }
        Ok(commit)
    }

    fn unlock(&self, queue: MutexGuard<'_, Queue>, wake: bool) {
        drop(queue);
        if wake {
            self.unparker.unpark();
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}
