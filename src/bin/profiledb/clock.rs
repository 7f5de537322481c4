//! What time it is.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use profiledb::Timestamp;

/// The time, which never goes back while the process runs: what did not lie too far ahead when it was read does not
/// when it is stored either.
pub(crate) fn now() -> Timestamp {
    static LATEST: AtomicI64 = AtomicI64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(LATEST.fetch_max(millis, Ordering::Relaxed).max(millis))
}
