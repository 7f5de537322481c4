//! The distinct property names that each table has ever seen.
//!
//! While a table has seen no more names than a profile may have properties, no profile can exceed the limit, and
//! updates stay blind. From then on the table is *wide*: an update that may create a property is counted against the
//! row first (see `group`). Names are remembered in the meta family, written in the same batch as the first update
//! that uses them; a wide table stops remembering, so the register stays small.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::META;
use crate::error::Result;
use crate::rocks::{Engine, ReadHint, WriteBatch};

/// Keys in the meta family: `n`, the family, NUL, the name.
const PREFIX: u8 = b'n';

/// In place of a name: the table is wide. No property has an empty name.
pub(super) const WIDE: &str = "";

/// Every value starts with a tag and a version: this is 0xB, version 1, and nothing follows.
const VALUE: &[u8] = &[0xB1];

#[expect(clippy::disallowed_types, reason = "asked for members only, never iterated")]
type Members = std::collections::HashSet<Box<str>>;

/// What one table has seen.
#[derive(Default)]
pub(super) struct Seen {
    names: Members,
    pub(super) wide: bool,
}

impl Seen {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Adds a name; the table becomes wide when there are more than `max`.
    pub(super) fn add(&mut self, name: &str, max: usize) {
        if !self.wide {
            self.names.insert(name.into());
            self.wide = self.names.len() > max;
        }
    }
}

/// What every table has seen.
#[derive(Default)]
pub(super) struct Names(BTreeMap<Arc<str>, Seen>);

impl Names {
    /// Reads the register. A table that has seen more than `max` is wide, whatever it was when it was written.
    pub(super) fn load(engine: &Arc<Engine>, max: usize) -> Result<Self> {
        use std::ops::Bound::{Excluded, Included};

        let mut names = Self::default();
        let mut scan = engine.snapshot().scan(META, Included(&[PREFIX]), Excluded(&[PREFIX + 1]), ReadHint::FullScan);
        while let Some((key, _)) = scan.next()? {
            let text = key.get(1..).and_then(|key| std::str::from_utf8(key).ok());
            let Some((family, name)) = text.and_then(|text| text.split_once('\0')) else { continue };
            let seen = names.0.entry(family.into()).or_default();
            if name == WIDE {
                seen.wide = true;
            } else {
                seen.names.insert(name.into());
            }
        }
        for seen in names.0.values_mut() {
            seen.wide |= seen.names.len() > max;
        }
        Ok(names)
    }

    pub(super) fn get(&self, family: &str) -> Option<&Seen> {
        self.0.get(family)
    }

    pub(super) fn entry(&mut self, family: &Arc<str>) -> &mut Seen {
        self.0.entry(Arc::clone(family)).or_default()
    }
}

/// Puts a name into the register with the batch that first uses it.
pub(super) fn remember(batch: &mut WriteBatch<'_>, family: &str, name: &str) -> Result<()> {
    let mut key = Vec::with_capacity(2 + family.len() + name.len());
    key.push(PREFIX);
    key.extend_from_slice(family.as_bytes());
    key.push(0);
    key.extend_from_slice(name.as_bytes());
    batch.put(META, &key, VALUE)
}
