//! The handle of a thread in the background: the thread is told to end, woken, and joined.

use std::thread::JoinHandle;

use crossbeam::sync::{Parker, Unparker};
use parking_lot::Mutex;

use crate::error::Result;
use crate::join::CancelToken;

/// The handle of a thread, which ends with it.
pub(super) struct BackgroundThread {
    closing: CancelToken,
    unparker: Unparker,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl BackgroundThread {
    /// Starts a thread, which waits by this parker and ends soon after its token is cancelled.
    pub(super) fn start(
        name: &str,
        parker: Parker,
        run: impl FnOnce(Parker, CancelToken) + Send + 'static,
    ) -> Result<Self> {
        let (closing, unparker) = (CancelToken::default(), parker.unparker().clone());
        let token = closing.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || run(parker, token))?;
        Ok(Self { closing, unparker, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.closing.cancel();
        self.unparker.unpark();
        if let Some(thread) = self.thread.lock().take() {
            // It cannot panic: it runs no code of callers.
            let _ = thread.join();
        }
    }
}

impl Drop for BackgroundThread {
    fn drop(&mut self) {
        self.stop();
    }
}
