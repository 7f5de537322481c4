//! Tests of the engine room. Rows are plain text here: the operator concatenates the base and the operands, so that
//! an assertion shows the order in which RocksDB folded.

mod fold;
mod open;
mod read;
mod save;
mod synced;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::engine::{Engine, Mode};
use super::merge_operator::MergeOperator;
use super::options::EngineSettings;
use crate::error::Result;

const CREATE: Mode = Mode::ReadWrite { create: true };
const WRITE: Mode = Mode::ReadWrite { create: false };

/// An operand that makes every fold panic.
const POISON: &[u8] = b"<poison>";

/// An operand that makes the fallback panic as well.
const VENOM: &[u8] = b"<venom>";

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn strict(operands: &[&[u8]]) {
    assert!(!operands.iter().any(|operand| *operand == POISON || *operand == VENOM), "poisoned");
}

const TEXT: MergeOperator = MergeOperator {
    full: |base, operands| {
        strict(operands);
        [base.unwrap_or_default(), &join(operands)].concat()
    },
    partial: |operands| {
        strict(operands);
        join(operands)
    },
    keep: |base, operands| {
        assert!(!operands.contains(&VENOM), "poisoned twice");
        [base.unwrap_or_default(), b"!", &join(operands)].concat()
    },
};

fn small() -> EngineSettings {
    EngineSettings {
        block_cache_bytes: 8 << 20,
        memtable_bytes: 1 << 20,
        background_jobs: 2,
        open_files_max: None,
        flush_on_close: true,
    }
}

fn try_open(path: &Path, mode: Mode) -> Result<Arc<Engine>> {
    Engine::open_with(path, mode, &small(), TEXT).map(Arc::new)
}

fn open(path: &Path, mode: Mode) -> Arc<Engine> {
    try_open(path, mode).unwrap()
}

/// A new store with the column family `users`.
fn create(path: &Path) -> Arc<Engine> {
    let engine = open(path, CREATE);
    engine.create_family("users").unwrap();
    engine
}

fn put(engine: &Engine, key: &str, value: &str) {
    let mut batch = engine.batch();
    batch.put("users", key.as_bytes(), value.as_bytes()).unwrap();
    batch.commit(false).unwrap();
}

fn merge(engine: &Engine, key: &str, operand: impl AsRef<[u8]>) {
    let mut batch = engine.batch();
    batch.merge("users", key.as_bytes(), operand.as_ref()).unwrap();
    batch.commit(false).unwrap();
}

fn get(engine: &Engine, key: &str) -> Option<String> {
    engine.read("users", key.as_bytes(), text).unwrap()
}

fn text(value: Option<&[u8]>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Every file below a directory with its content, except RocksDB's lock and info log.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            for (inner, bytes) in contents(&entry.path()) {
                found.insert(format!("{name}/{inner}"), bytes);
            }
        } else if name != "LOCK" && !name.starts_with("LOG") {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// The files of a directory with this suffix, sorted.
fn files(path: &Path, suffix: &str) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_str().unwrap().ends_with(suffix));
    found.sort();
    found
}
