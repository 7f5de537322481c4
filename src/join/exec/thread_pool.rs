//! A pool of threads that are kept from one join to the next, as many as are needed at once. To start a thread and to
//! wait for its end costs more than some joins take, and far more where other work has the cores.
//!
//! They belong to the process, hold nothing between two jobs, and end when there was none for a while.

use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use parking_lot::Mutex;

/// What a thread is given to do. It does not panic.
pub(super) type PoolJob = Box<dyn FnOnce() + Send>;

/// How long a thread waits for its next job.
const LINGER: Duration = Duration::from_secs(1);

/// The threads that wait for a job. Last in, first out, so that threads that are not needed time out.
static IDLE: Mutex<Vec<Sender<PoolJob>>> = Mutex::new(Vec::new());

/// Gives a job to a thread that waits for one, or to a new one. Returns whether there is such a thread: the system may
/// have no more of them.
pub(super) fn start(mut job: PoolJob) -> bool {
    while let Some(idle) = pop_idle() {
        match idle.send(job) {
            Ok(()) => return true,
            Err(unsent) => job = unsent.into_inner(),
        }
    }
    std::thread::Builder::new().name("profiledb-join".into()).spawn(move || run(job, LINGER)).is_ok()
}

fn pop_idle() -> Option<Sender<PoolJob>> {
    IDLE.lock().pop()
}

/// Does one job after another, until there is none for a while.
fn run(first: PoolJob, linger: Duration) {
    first();
    let (sender, jobs) = bounded::<PoolJob>(1);
    loop {
        IDLE.lock().push(sender.clone());
        let next = jobs.recv_timeout(linger).ok().or_else(|| {
            let mut idle = IDLE.lock();
            match idle.iter().position(|other| other.same_channel(&sender)) {
                Some(at) => {
                    idle.remove(at);
                    None
                }
                // Another thread has taken the sender, and is about to send a job.
                None => {
                    drop(idle);
                    jobs.recv().ok()
                }
            }
        });
        match next {
            Some(job) => job(),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let done = Arc::new(AtomicUsize::new(0));
        for round in 0..3 {
            let (sender, ended) = bounded(100);
            for _ in 0..100 {
                let (done, sender) = (Arc::clone(&done), sender.clone());
                let job = move || {
                    done.fetch_add(1, Ordering::Relaxed);
                    sender.send(()).unwrap();
                };
                assert!(start(Box::new(job)));
            }
            (0..100).for_each(|_| ended.recv_timeout(Duration::from_secs(30)).unwrap());
            assert_eq!(done.load(Ordering::Relaxed), 100 * (round + 1));
        }
    }

    /// Other tests may give it a job before its time is out.
    #[test]
    fn a_thread_without_a_job_ends() {
        let ended = (0..100).map(|_| std::thread::spawn(|| run(Box::new(|| {}), Duration::ZERO)));
        ended.for_each(|thread| thread.join().unwrap());
    }
}
