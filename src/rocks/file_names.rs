//! The names of RocksDB's files, as far as they are read before RocksDB opens them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The number of the current MANIFEST, and its path.
pub(super) fn current(path: &Path) -> io::Result<(u64, PathBuf)> {
    let text = fs::read(path.join("CURRENT"))?;
    let name = std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n'));
    let number = name.and_then(|name| name.strip_prefix("MANIFEST-")?.parse().ok());
    match name.zip(number) {
        Some((name, number)) => Ok((number, path.join(name))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "CURRENT does not name a MANIFEST")),
    }
}

/// The WAL files of a directory, ascending.
pub(super) fn logs(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        // Names of RocksDB's files are ASCII.
        let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".log")) else { continue };
        if let Ok(number) = number.parse() {
            logs.push((number, path.join(&name)));
        }
    }
    logs.sort();
    Ok(logs)
}

/// The number in the name of a table file, such as `/000012.sst`.
pub(super) fn table(name: &str) -> Option<u64> {
    name.trim_start_matches('/').strip_suffix(".sst")?.parse().ok()
}
