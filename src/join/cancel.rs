//! Cooperative cancellation and deadlines of joins: workers poll between blocks of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// Cancels joins from another thread. Clones are handles to the same token.
///
#[cfg_attr(feature = "rocksdb", doc = "```")]
#[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
/// # let dir = tempfile::tempdir()?;
/// use profiledb::Db;
/// use profiledb::join::CancelToken;
///
/// let db = Db::open(dir.path().join("store"))?;
/// let token = CancelToken::new();
/// let by_day = db.snapshot().join().cancel(&token).group_by(["event.$day"]);
/// assert_eq!(by_day.answer()?.total(), 0);
///
/// token.cancel(); // usually while it runs, from another thread
/// assert!(by_day.answer().unwrap_err().is_cancelled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every join with this token, running or not. There is no way back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// When a join has to be done.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Deadline {
    /// At this instant.
    At(Instant),
    /// This long after it began to run.
    After(Duration),
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self::At(instant)
    }
}

impl From<Duration> for Deadline {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

/// What may end a join early.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt {
    pub(super) token: Option<CancelToken>,
    pub(super) deadline: Option<Deadline>,
}

impl Interrupt {
    /// The same for a run that begins now: its deadline is an instant.
    pub(super) fn started(&self) -> Self {
        let deadline = self.deadline.and_then(|deadline| match deadline {
            Deadline::At(_) => Some(deadline),
            // An instant that the clock cannot represent never comes.
            Deadline::After(duration) => now().checked_add(duration).map(Deadline::At),
        });
        Self { token: self.token.clone(), deadline }
    }

    /// As [`check`](Self::check), now and then in a loop that counts what it reads.
    #[inline]
    pub(super) fn check_each(&self, read: u64) -> Result<()> {
        if read.is_multiple_of(4_096) { self.check() } else { Ok(()) }
    }

    /// Fails once the join was cancelled or its deadline has passed.
    pub(super) fn check(&self) -> Result<()> {
        if self.token.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(Error::new(ErrorKind::Cancelled, "the join was cancelled"));
        }
        match self.deadline {
            Some(Deadline::At(instant)) if now() >= instant => {
                Err(Error::new(ErrorKind::Cancelled, "the deadline of the join has passed"))
            }
            _ => Ok(()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a deadline ends a query, and no value depends on it")]
fn now() -> Instant {
    Instant::now()
}
