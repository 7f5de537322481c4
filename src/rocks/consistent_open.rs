//! Consistent open of a store that another process writes to: optimistic, retried until the MANIFEST was stable.
//!
//! RocksDB reads the MANIFEST first and the WAL files after it. A writer that flushes in between deletes a WAL file
//! whose SST file that MANIFEST does not list, and RocksDB does not notice: the store opens with a gap in its
//! acknowledged writes. Every flush appends to the MANIFEST before it deletes a WAL file, so an open is consistent if
//! the MANIFEST is the same before and after it. Otherwise it is repeated.

use std::fs;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Attempts before giving up. Only a writer that flushes faster than the store can be opened comes near it, which no
/// memtable of a sensible size does.
const ATTEMPTS_MAX: usize = 500;

/// Failures with an unchanged MANIFEST before one is reported. The writer can cause a few: it deletes files after its
/// last append.
const FAILURES_MAX: usize = 20;

/// The current MANIFEST and its length in bytes.
type ManifestVersion = (Vec<u8>, u64);

/// None when it cannot be read, which counts as a change.
fn manifest_version(path: &Path) -> Option<ManifestVersion> {
    let current = fs::read(path.join("CURRENT")).ok()?;
    let name = std::str::from_utf8(&current).ok()?.trim_end();
    let bytes = fs::metadata(path.join(name)).ok()?.len();
    Some((current, bytes))
}

/// Repeats `open` until the MANIFEST did not change during it.
pub(super) fn retry<R>(path: &Path, mut open: impl FnMut() -> Result<R>) -> Result<R> {
    let mut failures = 0;
    for _ in 0..ATTEMPTS_MAX {
        let before = manifest_version(path);
        let outcome = open();
        let after = manifest_version(path);
        let is_stable = before == after;
        match outcome {
            Ok(opened) if is_stable && after.is_some() => return Ok(opened),
            Ok(_) => {}
            Err(error) => {
                let may_be_transient = matches!(error.kind(), ErrorKind::Io | ErrorKind::Corrupt);
                failures += usize::from(is_stable);
                if !may_be_transient || failures >= FAILURES_MAX {
                    return Err(error);
                }
            }
        }
    }
    Err(Error::new(ErrorKind::Io, format!("the store changes faster than it can be opened path={path:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("CURRENT", "MANIFEST-000001\n");
        write("MANIFEST-000001", "1");
        let mut calls = 0;
        let outcome = retry(dir.path(), || {
            calls += 1;
            match calls {
                1 => write("MANIFEST-000001", "12"),
                2 => {
                    write("MANIFEST-000007", "12");
                    write("CURRENT", "MANIFEST-000007\n");
                }
                3 => return Err(Error::new(ErrorKind::Io, "gone")),
                _ => {}
            }
            Ok(calls)
        });
        assert_eq!(outcome.unwrap(), 4);
    }

    #[test]
    fn a_persistent_failure_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let mut calls = 0;
        let outcome: Result<()> = retry(dir.path(), || {
            calls += 1;
            Err(Error::invalid("wrong"))
        });
        assert!(outcome.unwrap_err().is_invalid() && calls == 1);
        let outcome: Result<()> = retry(dir.path(), || Err(Error::new(ErrorKind::Io, "broken")));
        assert_eq!(outcome.unwrap_err().message(), "broken");
    }
}
