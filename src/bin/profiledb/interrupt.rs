//! Ctrl-C and SIGTERM as the end of an input: a flag that readers poll, so that what was read before is stored and
//! counted. The second signal ends the process at once.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How often a reader that waits for input looks at the flag.
const POLL: Duration = Duration::from_millis(50);

/// The size of a read of an input that may block, in bytes.
const READ_BYTES: usize = 64 << 10;

/// The exit status after the second signal, as shells have it for Ctrl-C.
const AT_ONCE: i32 = 130;

/// Whether a signal arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopSignal(Arc<AtomicBool>);

/// The error of a reader after a signal.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl Error for Interrupted {}

impl StopSignal {
    /// From now on a signal sets the flag.
    pub(crate) fn handled() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag not set.
            flag::register_conditional_shutdown(signal, AT_ONCE, Arc::clone(&interrupt.0))?;
            flag::register(signal, Arc::clone(&interrupt.0))?;
        }
        Ok(interrupt)
    }

    /// Whether an error is that of a reader after a signal.
    pub(crate) fn caused(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if inner.is_some_and(|inner| inner.is::<Interrupted>()) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// A reader that fails after a signal. Reads that `may_block` are made on a thread of their own.
    pub(crate) fn reader(&self, reader: Box<dyn Read + Send>, may_block: bool) -> Box<dyn Read + Send> {
        if !may_block {
            return Box::new(Polled { interrupt: self.clone(), reader });
        }
        let (to, from) = sync_channel(1);
        thread::spawn(move || {
            let mut reader = reader;
            loop {
                let mut bytes = vec![0; READ_BYTES];
                let read = match reader.read(&mut bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read,
                };
                let is_last = !matches!(read, Ok(1..));
                let read = read.map(|length| {
                    bytes.truncate(length);
                    bytes
                });
                if to.send(read).is_err() || is_last {
                    return;
                }
            }
        });
        Box::new(Awaited { interrupt: self.clone(), from, bytes: io::Cursor::default() })
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other(Interrupted)) } else { Ok(()) }
    }
}

/// A reader whose reads do not block.
struct Polled {
    interrupt: StopSignal,
    reader: Box<dyn Read + Send>,
}

impl Read for Polled {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.interrupt.check()?;
        self.reader.read(into)
    }
}

/// What another thread reads.
struct Awaited {
    interrupt: StopSignal,
    from: Receiver<io::Result<Vec<u8>>>,
    bytes: io::Cursor<Vec<u8>>,
}

impl Read for Awaited {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.interrupt.check()?;
            let read = self.bytes.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.from.recv_timeout(POLL) {
                Ok(bytes) => {
                    let bytes = bytes?;
                    if bytes.is_empty() {
                        return Ok(0);
                    }
                    self.bytes = io::Cursor::new(bytes);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // After its end.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    }
}
