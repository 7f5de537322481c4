//! The property-name registry: the set of distinct property names that were ever written to each table.
//!
//! It lets updates stay blind under a limit on properties. While a table is within its name budget, which is the number
//! of properties that a profile may have, no profile can exceed the limit. Over the budget the table is *wide*:
//! an update that may create a property is counted against the row first (see `group`). A name is stored in the meta
//! family, in the same batch as the first update that uses it. A wide table adds no more names, so the registry stays
//! small.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::codec::{META, SeededHash};
use crate::error::Result;
use crate::rocks::{Engine, ReadHint, WriteBatch};

/// Keys in the meta family: `n`, the family, NUL, the name.
const PREFIX: u8 = b'n';

/// Stored in place of a name when the table is wide. No property has an empty name.
pub(super) const WIDE: &str = "";

/// Every value starts with a tag and a version: this is 0xB, version 1, and nothing follows.
const VALUE: &[u8] = &[0xB1];

/// The names of one table.
#[derive(Default)]
pub(super) struct Seen {
    /// Every update looks its names up.
    names: HashTable<Box<str>>,
    hash: SeededHash,
    wide: bool,
}

impl Seen {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.find(self.hash.of(name.as_bytes()), |known| **known == *name).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the table is over its name budget.
    pub(super) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Adds a name; with more than `max` the table is wide.
    pub(super) fn add(&mut self, name: &str, max: usize) {
        if !self.wide {
            self.insert(name);
            self.wide = self.names.len() > max;
        }
    }

    fn insert(&mut self, name: &str) {
        if !self.contains(name) {
            let hash = self.hash;
            self.names.insert_unique(hash.of(name.as_bytes()), name.into(), |known| hash.of(known.as_bytes()));
        }
    }
}

/// The names of every table.
#[derive(Default)]
pub(super) struct Names(BTreeMap<Arc<str>, Seen>);

impl Names {
    /// Reads the registry. A table with more than `max` names is wide, whatever the limit was when they were written.
    pub(super) fn load(engine: &Arc<Engine>, max: usize) -> Result<Self> {
        use std::ops::Bound::{Excluded, Included};

        let mut names = Self::default();
        let mut scan = engine.snapshot().scan(META, Included(&[PREFIX]), Excluded(&[PREFIX + 1]), ReadHint::FullScan);
        while let Some((key, _)) = scan.next()? {
            let text = key.get(1..).and_then(|key| std::str::from_utf8(key).ok());
            // A name that cannot be read is as one that was never written: the next update that uses it adds it.
            let Some((family, name)) = text.and_then(|text| text.split_once('\0')) else { continue };
            let seen = names.0.entry(family.into()).or_default();
            if name == WIDE {
                seen.wide = true;
            } else {
                seen.insert(name);
            }
        }
        for seen in names.0.values_mut() {
            seen.wide |= seen.names.len() > max;
        }
        Ok(names)
    }

    /// Makes a table wide, whose names are not all known.
    pub(super) fn widen(&mut self, family: &Arc<str>) {
        self.entry(family).wide = true;
    }

    pub(super) fn get(&self, family: &str) -> Option<&Seen> {
        self.0.get(family)
    }

    pub(super) fn forget(&mut self, family: &str) {
        self.0.remove(family);
    }

    pub(super) fn entry(&mut self, family: &Arc<str>) -> &mut Seen {
        self.0.entry(Arc::clone(family)).or_default()
    }
}

/// Adds a name to the registry in the batch that first uses it.
pub(super) fn remember(batch: &mut WriteBatch<'_>, family: &str, name: &str) -> Result<()> {
    batch.put(META, &key(family, 0, name), VALUE)
}

/// Removes all names of a table.
pub(super) fn forget(batch: &mut WriteBatch<'_>, family: &str) -> Result<()> {
    batch.delete_range(META, &key(family, 0, ""), &key(family, 1, ""))
}

fn key(family: &str, separator: u8, name: &str) -> Vec<u8> {
    [&[PREFIX], family.as_bytes(), &[separator], name.as_bytes()].concat()
}
