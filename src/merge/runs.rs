//! The chains of many operands, grouped by property.

use crate::codec::{ChainBytes, Entry};
use crate::ops::Chain;

/// The chains of each property, oldest first. Properties are in ascending order of their names.
#[derive(Default)]
pub(super) struct Runs<'a> {
    runs: Vec<Run<'a>>,
    /// The expected position of the next entry: similar operands name the same properties in the same order.
    next: usize,
}

/// The chains of one property.
pub(super) struct Run<'a> {
    pub(super) name: &'a [u8],
    pub(super) chains: Vec<ChainBytes<'a>>,
}

impl<'a> Runs<'a> {
    /// Adds the entries of one operand, which ascend by name.
    pub(super) fn extend(&mut self, entries: &[Entry<'a>]) {
        self.next = 0;
        for entry in entries {
            let at = match self.runs.get(self.next) {
                Some(run) if run.name == entry.name => self.next,
                _ => self.find_or_insert(entry.name),
            };
            if let Some(run) = self.runs.get_mut(at) {
                run.chains.push(entry.chain);
            }
            self.next = at + 1;
        }
    }

    fn find_or_insert(&mut self, name: &'a [u8]) -> usize {
        match self.runs.binary_search_by(|run| run.name.cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.runs.insert(at, Run { name, chains: Vec::new() });
                at
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Run<'a>> {
        self.runs.iter()
    }
}

/// Decodes a checked chain.
pub(super) fn decode(chain: &ChainBytes<'_>) -> Chain {
    // The bytes were checked when they were parsed. If the checker and the decoder ever disagreed, the property would
    // be unchanged instead of the merge failing; the fuzzers compare the two.
    debug_assert!(chain.decode().is_ok(), "a checked chain decodes");
    chain.decode().unwrap_or_else(|_| Chain::identity())
}
