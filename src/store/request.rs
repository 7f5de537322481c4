//! A write request, from its admission to the acknowledgement: typed writes, and the ticket that its outcome is left
//! on, a one-shot channel for threads and futures.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::codec::{EncodedEvent, Erasure, FirstEvent};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};

/// What a write survives once it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the process, not of the machine: the write-ahead log is handed to the operating system.
    Buffered,
    /// Power loss: the write-ahead log is synced. Concurrent writers share one sync.
    #[default]
    Synced,
}

/// One write to one profile, ready to be committed.
pub(crate) struct ProfileWrite {
    pub(super) family: Arc<str>,
    pub(super) key: Vec<u8>,
    /// The merge operand; without one the profile is deleted.
    pub(super) operand: Option<Vec<u8>>,
    /// Whether it can create properties.
    pub(super) creates: bool,
    /// Property names that the table had not seen when the update was admitted.
    pub(super) names: Vec<Box<str>>,
    /// Whether it restores an exported profile, to which no limits apply.
    pub(super) restores: bool,
    /// The first event of a profile that is restored.
    pub(super) first_event: Option<Box<FirstEvent>>,
    /// How many tables had been dropped when the update was admitted.
    pub(super) drops: u64,
}

/// Writes that are committed together or not at all. Within a request erasures come first.
#[derive(Default)]
pub(crate) struct Request {
    pub(crate) profiles: Vec<ProfileWrite>,
    pub(crate) erasures: Vec<Erasure>,
    pub(crate) events: Vec<EncodedEvent>,
    pub(crate) first_events: Vec<FirstEvent>,
    /// Set if a write that its profile cannot take is left out and reported, rather than failing the request: the
    /// position of each of `profiles` in the batch.
    pub(crate) positions: Option<Vec<usize>>,
    /// What was refused on admission already.
    pub(crate) refused: Refused,
}

/// The writes of a request that were left out, each with its position in the batch.
pub(crate) type Refused = Vec<(usize, Error)>;

impl Request {
    /// Adds a write, if there is one.
    pub(crate) fn add(&mut self, write: Option<ProfileWrite>) {
        if let Some(mut write) = write {
            self.first_events.extend(write.first_event.take().map(|event| *event));
            self.profiles.push(write);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.profiles.is_empty() && self.erasures.is_empty() && self.events.is_empty() && self.first_events.is_empty()
    }

    /// The bytes of its keys, operands and values, for limits on what is queued.
    pub(super) fn bytes(&self) -> usize {
        let profile = |write: &ProfileWrite| write.key.len() + write.operand.as_ref().map_or(0, Vec::len);
        self.profiles.iter().map(profile).sum::<usize>()
            + self.erasures.iter().map(Erasure::bytes).sum::<usize>()
            + self.events.iter().map(EncodedEvent::bytes).sum::<usize>()
            + self.first_events.iter().map(FirstEvent::bytes).sum::<usize>()
    }
}

/// Where the outcome of a request is left.
#[derive(Default)]
pub(super) struct Ticket {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<Result<()>>,
    refused: Refused,
    /// Of the task that polled last.
    waker: Option<Waker>,
}

impl Ticket {
    pub(super) fn finish(&self, outcome: Result<Refused>) {
        let mut state = self.state.lock();
        state.outcome = Some(outcome.map(|refused| state.refused.extend(refused)));
        let waker = state.waker.take();
        drop(state);
        self.done.notify_all();
        // An executor's code. A panic of it must not end the leader.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| waker.map(Waker::wake)));
    }

    pub(super) fn wait(&self) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            match &state.outcome {
                Some(outcome) => return outcome.clone(),
                None => self.done.wait(&mut state),
            }
        }
    }
}

/// A write that was submitted. It is committed whether it is waited for or not.
///
/// Threads [wait](Self::wait) for it, async tasks `.await` it: it is a [`Future`] of any executor.
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
    pub(super) fn of(ticket: &Arc<Ticket>) -> Self {
        Self(Arc::clone(ticket))
    }

    /// Of a request without any writes.
    pub(crate) fn done(refused: Refused) -> Self {
        let ticket = Ticket::default();
        ticket.finish(Ok(refused));
        Self(Arc::new(ticket))
    }

    /// Blocks until the write is as durable as requested, or failed.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) when the profile would have too many properties,
    /// [`Io`](ErrorKind::Io) or [`ReadOnly`](ErrorKind::ReadOnly) when the engine could not write. Nothing of the write
    /// is stored then. [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) when the disk failed during the commit: the write
    /// may or may not be stored.
    pub fn wait(self) -> Result<()> {
        self.0.wait()
    }

    /// As [`wait`](Self::wait), for at most this long: `None` when the write is still in flight after that.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, Update};
    /// use std::time::Duration;
    ///
    /// let users = Db::open(dir.path().join("store"))?.users();
    /// let commit = users.submit("alice", Update::new().add("logins", 1))?;
    /// match commit.wait_timeout(Duration::from_secs(10)) {
    ///     Some(outcome) => outcome?,
    ///     None => println!("the disk is slow; the write is still on its way"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<()>> {
        let mut state = self.0.state.lock();
        self.0.done.wait_while_for(&mut state, |state| state.outcome.is_none(), timeout);
        state.outcome.clone()
    }

    /// The changes that were left out of a batch that [skips what is refused](crate::Batch::skip_refused), by their
    /// positions among its changes, ascending. Empty until the write is no longer in flight.
    #[must_use]
    pub fn refused(&self) -> Vec<(usize, Error)> {
        self.0.state.lock().refused.clone()
    }

    /// The outcome, if the write is no longer in flight. It does not block.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<()>> {
        self.0.state.lock().outcome.clone()
    }
}

impl Future for Commit {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.0.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => state.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Commit").field(&self.outcome()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_that_polled_last_is_woken() {
        let ticket = Arc::<Ticket>::default();
        let mut commit = pin!(Commit::of(&ticket));
        let tasks = [(); 2].map(|()| Arc::new(Woken(AtomicUsize::new(0))));
        for task in &tasks {
            let waker = Waker::from(Arc::clone(task));
            assert!(commit.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        ticket.finish(Ok(Vec::new()));
        assert_eq!(tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed)), [0, 1]);
        let outcome = commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(outcome.is_ready());
    }
}
