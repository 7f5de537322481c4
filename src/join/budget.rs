//! Memory reservation: what grows in a query reserves its bytes before it allocates them, and fails where all threads
//! together would exceed the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// The memory of one query.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// A part of it, of no bytes yet.
    pub(super) fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Some(Arc::clone(self)), bytes: 0 }
    }
}

/// A part of a budget, released when it is dropped. The default is unbounded.
#[derive(Debug, Default)]
pub(super) struct Reservation {
    budget: Option<Arc<Budget>>,
    bytes: usize,
}

impl Reservation {
    /// Sets its size.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when the budget has not enough left.
    pub(super) fn resize(&mut self, bytes: usize) -> Result<()> {
        let Some(budget) = &self.budget else { return Ok(()) };
        if bytes <= self.bytes {
            budget.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
            return Ok(());
        }
        let more = bytes - self.bytes;
        let before = budget.used.fetch_add(more, Ordering::Relaxed);
        self.bytes = bytes;
        let max = budget.max;
        if before.saturating_add(more) <= max {
            return Ok(());
        }
        let message = "the buckets of a group-by, their values and distinct users need more memory than allowed";
        Err(Error::limit(format!("{message}: see GroupBy::memory_bytes memory_bytes={max}")))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// The capacity of a vector once it has room for `more` elements, as the standard library grows it.
pub(super) fn grown(capacity: usize, len: usize, more: usize) -> usize {
    let needed = len.saturating_add(more);
    if needed <= capacity { capacity } else { needed.max(capacity.saturating_mul(2)).max(8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_share_a_budget_and_give_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.reservation(), budget.reservation());
        a.resize(60).unwrap();
        b.resize(40).unwrap();
        assert!(b.resize(41).unwrap_err().is_limit_exceeded());
        b.resize(10).unwrap();
        a.resize(90).unwrap();
        drop(a);
        b.resize(100).unwrap();
        assert!(b.resize(101).is_err());
        drop(b);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        Reservation::default().resize(usize::MAX).unwrap();
    }

    #[test]
    fn vectors_grow_as_predicted() {
        let (mut bytes, mut words) = (Vec::<u8>::new(), Vec::<u32>::new());
        for more in [0, 1, 3, 9, 200, 1, 90, 5_000, 1] {
            let expected = (grown(bytes.capacity(), bytes.len(), more), grown(words.capacity(), words.len(), more));
            bytes.extend(std::iter::repeat_n(0, more));
            words.extend(std::iter::repeat_n(0, more));
            assert!(bytes.capacity() <= expected.0 && words.capacity() <= expected.1);
        }
    }
}
