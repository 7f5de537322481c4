//! Reading the files of a store beside a process that writes to it.
//!
//! RocksDB reads the MANIFEST first and the logs after it. A writer that flushes in between removes a log whose table
//! file that MANIFEST does not name, and RocksDB does not miss it: the store opens, without acknowledged writes in its
//! middle. Every flush appends to the MANIFEST before it removes a log, so if the MANIFEST is the same before and
//! after, nothing was removed that is needed. If it is not, the files are read again.

use std::fs;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// How often files are read before giving up. Only a writer that flushes more often than they can be read comes near
/// it, and no memtable of a sensible size does that.
const TRIES: usize = 500;

/// How often a failure may be the doing of a writer although the MANIFEST stayed: its last removals can follow its
/// last append.
const FAILURES: usize = 20;

/// Which MANIFEST holds, and how long it is.
type Mark = (Vec<u8>, u64);

fn mark(path: &Path) -> Option<Mark> {
    let current = fs::read(path.join("CURRENT")).ok()?;
    let name = std::str::from_utf8(&current).ok()?.trim_end();
    let bytes = fs::metadata(path.join(name)).ok()?.len();
    Some((current, bytes))
}

/// Reads until nobody wrote meanwhile.
pub(super) fn read<R>(path: &Path, mut read: impl FnMut() -> Result<R>) -> Result<R> {
    let mut failures = 0;
    for _ in 0..TRIES {
        let before = mark(path);
        let outcome = read();
        let after = mark(path);
        let is_steady = before == after;
        match outcome {
            Ok(read) if is_steady && after.is_some() => return Ok(read),
            Ok(_) => {}
            Err(error) => {
                let may_be_the_writer = matches!(error.kind(), ErrorKind::Io | ErrorKind::Corrupt);
                failures += usize::from(is_steady);
                if !may_be_the_writer || failures >= FAILURES {
                    return Err(error);
                }
            }
        }
    }
    Err(Error::new(ErrorKind::Io, format!("the store changes faster than it can be read path={path:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_meanwhile_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("CURRENT", "MANIFEST-000001\n");
        write("MANIFEST-000001", "1");
        let mut calls = 0;
        let outcome = read(dir.path(), || {
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
    fn a_failure_that_stays_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut calls = 0;
        let outcome: Result<()> = read(dir.path(), || {
            calls += 1;
            Err(Error::invalid("wrong"))
        });
        assert!(outcome.unwrap_err().is_invalid() && calls == 1);
        let outcome: Result<()> = read(dir.path(), || Err(Error::new(ErrorKind::Io, "broken")));
        assert_eq!(outcome.unwrap_err().message(), "broken");
    }
}
