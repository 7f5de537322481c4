//! The chains of many operands, grouped by property.

use std::collections::BTreeMap;

use crate::codec::{ChainBytes, Entry};
use crate::ops::Chain;

/// The chains of each property, oldest first. Properties are in ascending order of their names.
#[derive(Default)]
pub(super) struct Runs<'a> {
    runs: Vec<Run<'a>>,
    /// Those that would be inserted into the vector when it has [`RUNS_MAX`] already, which is slow.
    more: BTreeMap<&'a [u8], Run<'a>>,
    /// The expected position of the next entry: similar operands name the same properties in the same order.
    next: usize,
}

/// How many properties are kept in a sorted vector, which is faster than a tree for the few that operands usually name.
const RUNS_MAX: usize = 256;

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
                _ => match self.find_or_insert(entry.name) {
                    Some(at) => at,
                    None => {
                        let run = self.more.entry(entry.name);
                        run.or_insert(Run { name: entry.name, chains: Vec::new() }).chains.push(entry.chain);
                        continue;
                    }
                },
            };
            if let Some(run) = self.runs.get_mut(at) {
                run.chains.push(entry.chain);
            }
            self.next = at + 1;
        }
    }

    /// Its position in the vector, unless that is full without it.
    fn find_or_insert(&mut self, name: &'a [u8]) -> Option<usize> {
        match self.runs.binary_search_by(|run| run.name.cmp(name)) {
            Ok(at) => Some(at),
            // Names that ascend are appended, however many: those in the tree are all before the last one.
            Err(at) if self.runs.len() >= RUNS_MAX && at < self.runs.len() => None,
            Err(at) => {
                self.runs.insert(at, Run { name, chains: Vec::new() });
                Some(at)
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.more.clear();
    }

    /// All of them, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Run<'a>> {
        let (mut runs, mut more) = (self.runs.iter().peekable(), self.more.values().peekable());
        std::iter::from_fn(move || match (runs.peek(), more.peek()) {
            (Some(run), Some(other)) if other.name < run.name => more.next(),
            (Some(_), _) => runs.next(),
            (None, _) => more.next(),
        })
    }
}

/// Decodes a checked chain.
pub(super) fn decode(chain: &ChainBytes<'_>) -> Chain {
    // The bytes were checked when they were parsed. If the checker and the decoder ever disagreed, the property would
    // be unchanged instead of the merge failing; the fuzzers compare the two.
    debug_assert!(chain.decode().is_ok(), "a checked chain decodes");
    chain.decode().unwrap_or_else(|_| Chain::identity())
}

#[cfg(test)]
mod tests {
    use crate::merge::{full, operand, partial, profile};
    use crate::model::Profile;
    use crate::ops::Update;

    #[test]
    fn properties_in_any_order_and_number_fold_as_one_by_one() {
        // Single names in a scattered order, and every now and then many that ascend.
        let update = |n: usize| match n % 50 {
            0 => (0..40).fold(Update::new(), |update, at| update.add(format!("k{:04}", at * 37), 1)),
            _ => Update::new().set(format!("k{:04}", n * 733 % 1_511), n as u64),
        };
        let updates: Vec<Update> = (0..2_000).map(update).collect();
        let operands: Vec<Vec<u8>> = updates.iter().map(operand).collect();
        let operands: Vec<&[u8]> = operands.iter().map(Vec::as_slice).collect();
        let row = full(None, &operands);
        assert_eq!(profile(&row).unwrap(), Profile::fold(&updates));
        let (first, rest) = operands.split_at(700);
        assert_eq!(full(Some(&full(None, first)), rest), row);
        assert_eq!(full(None, &[&partial(first), &partial(rest)]), row);
    }
}
