//! Sealing in the background: one thread per open store, which sleeps until this process has appended events.
//!
//! It seals once as many events are rows as [`Builder::seal_after`](super::Builder::seal_after) says, and when none
//! were appended for [`Builder::seal_when_idle`](super::Builder::seal_when_idle). It takes at most about half a core:
//! after each change it rests for as long as the change took. It has the right to change segments for one change at a
//! time, and gives way within milliseconds to those who seal, erase or compact, and to the end of the store.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::sync::{Parker, Unparker};
use parking_lot::Mutex;

use super::sealing::SealPass;
use crate::error::{Error, ErrorKind, Result};
use crate::log::count_rows;
use crate::model::Timestamp;
use crate::store::{SealSettings, Store};

/// Between two looks at whether those that it gives way to are done.
const GIVE_WAY: Duration = Duration::from_millis(20);

/// After a failure it waits this long, and twice as long after each one that follows, up to the maximum.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// What the thread did, for statistics.
#[derive(Clone, Debug, Default)]
pub(super) struct SealerStatus {
    pub(super) passes: u64,
    pub(super) failures: u64,
    /// Of the last pass.
    pub(super) last_error: Option<Error>,
}

/// The handle of the thread, which ends with it.
pub(super) struct Sealer {
    control: Arc<SealerControl>,
    unparker: Unparker,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct SealerControl {
    is_stopped: AtomicBool,
    status: Mutex<SealerStatus>,
}

impl Sealer {
    /// Starts the thread.
    pub(super) fn start(store: &Arc<Store>) -> Result<Self> {
        let (parker, control) = (Parker::new(), Arc::<SealerControl>::default());
        let unparker = parker.unparker().clone();
        let settings = store.shared.options.sealing;
        store.shared.unsealed.wake(unparker.clone(), settings.after);
        let thread = std::thread::Builder::new().name("profiledb-seal".into()).spawn({
            let (store, control) = (Arc::clone(store), Arc::clone(&control));
            move || SealerThread { store, control, parker, settings }.run()
        })?;
        Ok(Self { control, unparker, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread, within milliseconds: the change that it prepares is given up.
    pub(super) fn stop(&self) {
        self.control.is_stopped.store(true, Ordering::Release);
        self.unparker.unpark();
        if let Some(thread) = self.thread.lock().take() {
            // It cannot panic: it runs no code of callers.
            let _ = thread.join();
        }
    }

    pub(super) fn status(&self) -> SealerStatus {
        self.control.status.lock().clone()
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.stop();
    }
}

struct SealerThread {
    /// The thread is joined before the store closes, so that this is never the last reference.
    store: Arc<Store>,
    control: Arc<SealerControl>,
    parker: Parker,
    settings: SealSettings,
}

impl SealerThread {
    fn run(&self) {
        let mut back_off = BACK_OFF;
        if !self.wait_for_events() {
            return;
        }
        while self.wait_until_due() {
            match self.pass() {
                Ok(()) => {
                    back_off = BACK_OFF;
                    let mut status = self.control.status.lock();
                    status.passes += 1;
                    status.last_error = None;
                }
                Err(_) if self.is_stopped() => return,
                Err(error) => {
                    let mut status = self.control.status.lock();
                    status.failures += 1;
                    status.last_error = Some(error);
                    drop(status);
                    self.sleep(back_off);
                    back_off = back_off.saturating_mul(2).min(BACK_OFF_MAX);
                }
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.control.is_stopped.load(Ordering::Acquire)
    }

    /// Waits for the first event of this process, and counts the rows of before. False when the store closes.
    fn wait_for_events(&self) -> bool {
        let unsealed = &self.store.shared.unsealed;
        while !self.is_stopped() && unsealed.committed() == 0 {
            self.parker.park();
        }
        let go_on = || if self.is_stopped() { Err(interrupted()) } else { Ok(()) };
        // What cannot be read fails the first pass as well, which keeps the error.
        if let Ok(rows) = count_rows(&self.store.shared.engine().snapshot(), self.settings.after, &go_on) {
            unsealed.add_earlier(rows.saturating_sub(unsealed.committed()));
        }
        !self.is_stopped()
    }

    /// Waits until it is time to seal. False when the store closes.
    fn wait_until_due(&self) -> bool {
        let unsealed = &self.store.shared.unsealed;
        while !self.is_stopped() {
            let committed = unsealed.committed();
            match unsealed.count() {
                count if count >= self.settings.after => return true,
                0 => self.parker.park(),
                _ if self.settings.idle.is_zero() => self.parker.park(),
                _ => {
                    self.sleep(self.settings.idle);
                    if unsealed.committed() == committed && !self.is_stopped() {
                        return true;
                    }
                }
            }
        }
        false
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
