//! Erasures that were done, for clients that ask later what became of them: a bounded log in memory.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;

/// How many erasures are remembered.
const TASKS_MAX: usize = 1_000;

/// An erasure that was done.
#[derive(Clone, Serialize)]
pub(super) struct Deletion {
    pub(super) distinct_ids: Vec<String>,
    #[serde(skip)]
    pub(super) project: usize,
    pub(super) status: &'static str,
}

/// The erasures of this process.
#[derive(Default)]
pub(super) struct Deletions(Mutex<BTreeMap<u64, Deletion>>);

impl Deletions {
    pub(super) fn add(&self, deletion: Deletion) -> u64 {
        let mut tasks = self.0.lock();
        let id = tasks.last_key_value().map_or(1, |(last, _)| last + 1);
        tasks.insert(id, deletion);
        if tasks.len() > TASKS_MAX {
            tasks.pop_first();
        }
        id
    }

    pub(super) fn get(&self, id: u64) -> Option<Deletion> {
        self.0.lock().get(&id).cloned()
    }
}
