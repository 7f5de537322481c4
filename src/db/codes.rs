//! Stores what joins have read of the table of users, for the first joins of the next process.

use std::sync::Arc;

use super::Snapshot;
use super::join::SnapshotTables;
use crate::error::Result;
use crate::join::{CancelToken, codes_to_store};
use crate::store::Store;

/// Stores the codes that joins have used since this many uses of codes, and returns how many uses there were.
///
/// # Errors
///
/// [`Cancelled`](crate::ErrorKind::Cancelled) once the token is.
pub(super) fn store_codes(store: &Arc<Store>, used_after: u64, token: &CancelToken) -> Result<u64> {
    let shared = &store.shared;
    let _turn = store.codes_turn();
    let (used, uses) = shared.ordinal_cache.used_since(used_after);
    let mut edit = store.begin_codes()?;
    let snapshot = Snapshot { engine: edit.snapshot().clone(), shared: Arc::clone(shared) };
    let tables = SnapshotTables::new(&snapshot);
    for names in used {
        if let Some((chunks, ordinals)) = codes_to_store(&tables, &names, shared.options.ordinal_cache_bytes, token)? {
            edit.put(names, chunks, ordinals);
        }
    }
    Ok(if store.commit_codes(edit)? { uses } else { used_after })
}
