//! Work in the background: one thread per open store, which sleeps until this process has appended events, or joined
//! sealed ones.
//!
//! It seals once as many events are rows as [`Builder::seal_after`](super::Builder::seal_after) says, and when none
//! were appended for [`Builder::seal_when_idle`](super::Builder::seal_when_idle). It takes at most about half a core:
//! after each change it rests for as long as the change took. It has the right to change segments for one change at a
//! time, and gives way within milliseconds to those who seal, erase or compact, and to the end of the store.
//!
//! It also stores what joins have read of the table of users, soon after they have read it as a whole and when much was
//! changed since.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::sync::Parker;
use parking_lot::Mutex;

use super::background::BackgroundThread;
use super::codes::store_codes;
use super::sealing::SealPass;
use crate::error::{Error, ErrorKind, Result};
use crate::join::CancelToken;
use crate::log::count_rows;
use crate::model::Timestamp;
use crate::store::{SealSettings, Store};

/// Between two looks at whether those that it gives way to are done.
const GIVE_WAY: Duration = Duration::from_millis(20);

/// After a failure it waits this long, and twice as long after each one that follows, up to the maximum.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// Codes are not stored more often than once in this time.
const CODES_PAUSE: Duration = Duration::from_secs(10);

/// What the thread did, for statistics.
#[derive(Clone, Debug, Default)]
pub(super) struct SealerStatus {
    pub(super) passes: u64,
    pub(super) failures: u64,
    /// Of the last pass, and of the last time that codes were stored.
    seal_error: Option<Error>,
    codes_error: Option<Error>,
}

impl SealerStatus {
    pub(super) fn last_error(&self) -> Option<&Error> {
        self.seal_error.as_ref().or(self.codes_error.as_ref())
    }
}

/// The handle of the thread, which ends with it.
pub(super) struct Sealer {
    thread: BackgroundThread,
    status: Arc<Mutex<SealerStatus>>,
}

impl Sealer {
    /// Starts the thread.
    pub(super) fn start(store: &Arc<Store>) -> Result<Self> {
        let (parker, status) = (Parker::new(), Arc::<Mutex<SealerStatus>>::default());
        let settings = store.shared.options.sealing;
        store.shared.unsealed.wake(parker.unparker().clone(), settings.after);
        let (store, of_thread) = (Arc::clone(store), Arc::clone(&status));
        let thread = BackgroundThread::start("profiledb-seal", parker, move |parker, closing| {
            SealerThread { store, closing, status: of_thread, parker, settings }.run();
        })?;
        Ok(Self { thread, status })
    }

    /// Ends the thread, within milliseconds: the change that it prepares is given up.
    pub(super) fn stop(&self) {
        self.thread.stop();
    }

    pub(super) fn status(&self) -> SealerStatus {
        self.status.lock().clone()
    }
}

struct SealerThread {
    /// The thread is joined before the store closes, so that this is never the last reference.
    store: Arc<Store>,
    closing: CancelToken,
    status: Arc<Mutex<SealerStatus>>,
    parker: Parker,
    settings: SealSettings,
}

/// What there is to do.
enum Job {
    Seal,
    StoreCodes,
}

/// When a job failed, and when it is tried again.
#[derive(Default)]
struct Retry {
    back_off: Duration,
    after: Option<Instant>,
}

impl Retry {
    fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self) {
        self.back_off = self.back_off.saturating_mul(2).clamp(BACK_OFF, BACK_OFF_MAX);
        self.after = now().checked_add(self.back_off);
    }

    /// How long it is until then.
    fn wait(&self) -> Duration {
        self.after.map(|after| after.saturating_duration_since(now())).unwrap_or_default()
    }
}

/// When jobs are due.
#[derive(Default)]
struct Schedule {
    /// Whether rows of before were counted.
    has_counted: bool,
    /// How many events were committed when that changed last, and when.
    committed: u64,
    quiet_since: Option<Instant>,
    seal: Retry,
    codes: Retry,
    /// When codes were stored last.
    stored: Option<Instant>,
    /// How many uses of codes there were then.
    uses: u64,
}

impl SealerThread {
    fn run(&self) {
        let mut schedule = Schedule::default();
        while let Some(job) = self.next_job(&mut schedule) {
            let done = match job {
                Job::Seal => self.pass(),
                Job::StoreCodes => store_codes(&self.store, schedule.uses, &self.closing).map(|uses| {
                    (schedule.uses, schedule.stored) = (uses, Some(now()));
                }),
            };
            if self.is_stopped() {
                return;
            }
            let mut status = self.status.lock();
            status.passes += u64::from(matches!(job, Job::Seal) && done.is_ok());
            status.failures += u64::from(done.is_err());
            let (retry, last_error) = match job {
                Job::Seal => (&mut schedule.seal, &mut status.seal_error),
                Job::StoreCodes => (&mut schedule.codes, &mut status.codes_error),
            };
            match &done {
                Ok(()) => retry.succeeded(),
                Err(_) => retry.failed(),
            }
            *last_error = done.err();
        }
    }

    fn is_stopped(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Waits for something to do; none when the store closes.
    fn next_job(&self, schedule: &mut Schedule) -> Option<Job> {
        while !self.is_stopped() {
            let waits = [(self.seal_wait(schedule), Job::Seal), (self.codes_wait(schedule), Job::StoreCodes)];
            let next = waits.into_iter().filter_map(|(wait, job)| Some((wait?, job)));
            match next.min_by_key(|(wait, _)| *wait) {
                Some((Duration::ZERO, job)) => return Some(job),
                Some((wait, _)) => self.parker.park_timeout(wait),
                None => self.parker.park(),
            }
        }
        None
    }

    /// How long it is until rows are to be sealed; none if something else has to happen before.
    fn seal_wait(&self, schedule: &mut Schedule) -> Option<Duration> {
        let unsealed = &self.store.shared.unsealed;
        let committed = unsealed.committed();
        if self.settings.after == 0 || committed == 0 {
            return None;
        }
        if !schedule.has_counted {
            schedule.has_counted = true;
            let go_on = || if self.is_stopped() { Err(interrupted()) } else { Ok(()) };
            // What cannot be read fails the first pass as well, which keeps the error.
            if let Ok(rows) = count_rows(&self.store.shared.engine().snapshot(), self.settings.after, &go_on) {
                unsealed.add_earlier(rows.saturating_sub(unsealed.committed()));
            }
        }
        if committed != schedule.committed || schedule.quiet_since.is_none() {
            (schedule.committed, schedule.quiet_since) = (committed, Some(now()));
        }
        let quiet = schedule.quiet_since.map(|since| now().saturating_duration_since(since)).unwrap_or_default();
        let due = match unsealed.count() {
            count if count >= self.settings.after => Some(Duration::ZERO),
            0 => None,
            _ => Some(self.settings.idle).filter(|idle| !idle.is_zero()).map(|idle| idle.saturating_sub(quiet)),
        };
        due.map(|due| due.max(schedule.seal.wait()))
    }

    /// How long it is until codes are to be stored; none if something else has to happen before.
    fn codes_wait(&self, schedule: &Schedule) -> Option<Duration> {
        let due = match schedule.stored {
            _ if !self.store.shared.codes_are_due() => return None,
            Some(stored) => CODES_PAUSE.saturating_sub(now().saturating_duration_since(stored)),
            None => Duration::ZERO,
        };
        Some(due.max(schedule.codes.wait()))
    }

    /// Seals all rows.
    fn pass(&self) -> Result<()> {
        let committed = self.store.shared.unsealed.committed();
        let gives_way = Cell::new(false);
        let go_on = || {
            gives_way.set(self.is_stopped() || self.store.has_foreground());
            if gives_way.get() { Err(interrupted()) } else { Ok(()) }
        };
        let (mut pass, mut turn, mut failure) = (None::<SealPass>, 0, None);
        loop {
            let started = now();
            let step = self.step(&mut pass, &mut turn, &go_on);
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) if self.is_stopped() => return Err(interrupted()),
                // The turn before counts as that of another.
                Err(_) if gives_way.take() => turn = 0,
                Err(error) => {
                    // Damage of one day does not keep the others from being sealed.
                    let day = pass.as_mut().filter(|_| error.is_corrupt()).and_then(SealPass::skip_day);
                    let Some(day) = day else { return Err(error) };
                    let message = format!("a day cannot be sealed day={}", Timestamp::of_day(day));
                    failure.get_or_insert_with(|| Error::corrupt(message).because(error));
                    turn = 0;
                }
            }
            self.sleep(now().saturating_duration_since(started));
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.store.shared.unsealed.sealed(committed);
        Ok(())
    }

    /// Prepares and commits one change, and says whether there may be more.
    fn step(&self, pass: &mut Option<SealPass>, turn: &mut u64, go_on: &dyn Fn() -> Result<()>) -> Result<bool> {
        go_on()?;
        let Some(writer) = self.store.background_segment_writer()? else {
            self.parker.park_timeout(GIVE_WAY);
            return Ok(true);
        };
        let is_next = std::mem::replace(turn, writer.turn()).checked_add(1) == Some(writer.turn());
        let pass = match pass {
            Some(pass) => {
                if !is_next {
                    pass.restart(&writer)?;
                }
                pass
            }
            None => pass.insert(SealPass::new(&writer, self.settings.block_events)?),
        };
        pass.step(&writer, go_on)
    }

    /// Sleeps for this long, or until the store closes.
    fn sleep(&self, time: Duration) {
        let end = now().checked_add(time);
        while !self.is_stopped() {
            let left = end.map_or(time, |end| end.saturating_duration_since(now()));
            if left.is_zero() {
                return;
            }
            self.parker.park_timeout(left);
        }
    }
}

/// What ends a change that is being prepared. Not reported.
fn interrupted() -> Error {
    Error::new(ErrorKind::Busy, "background sealing gives way")
}

#[expect(clippy::disallowed_methods, reason = "how fast background work goes; no value depends on it")]
fn now() -> Instant {
    Instant::now()
}
