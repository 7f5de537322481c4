//! A scan that goes on after damage: a bisection of the key space for the next key that can be read.
//!
//! A block whose checksum is wrong ends a scan of RocksDB, and nothing says where the block ends. Seeks do not read the
//! blocks that they skip, so the first key after the damage is found by seeking into the range that is left, which is
//! halved until it has less than a block of data. Each range that cannot be read is reported once, where it is.

use std::collections::BTreeSet;

use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};

use super::engine::{Raw, unread};
use super::options;
use super::snapshot::EngineSnapshot;
use crate::error::{Error, Result};

/// A range with less data than this is not halved any further, in bytes: a block, compressed.
const RANGE_BYTES_MIN: u64 = 4 << 10;

/// The deepest halving. Keys with a long common prefix need one step for each bit of it.
const STEPS_MAX: u32 = 2048;

/// How often a search halves a range. Where the index of a file is damaged, every range has the size of the file, and
/// halving would not end. What was not searched then is reported as damaged.
const HALVINGS_MAX: u32 = 20_000;

/// A range of keys that cannot be read. Both ends can be read, and are not part of it.
#[derive(Clone, Debug)]
pub(crate) struct DamagedKeys {
    /// None at the beginning of the column family.
    pub(crate) after: Option<Vec<u8>>,
    /// None at its end.
    pub(crate) before: Option<Vec<u8>>,
    /// What the engine says, with the file.
    pub(crate) error: Error,
}

type Cursor<'s> = DBRawIteratorWithThreadMode<'s, Raw>;

/// An item of a scan that goes on after damage.
pub(crate) enum SalvagedRow<'r> {
    Row(&'r [u8], &'r [u8]),
    Damage(DamagedKeys),
}

impl EngineSnapshot {
    /// Calls `each` with every row of a column family that can be read, in the order of keys, and with every range that
    /// cannot, where it is. Ends with its first error.
    pub(crate) fn salvage<E>(
        &self,
        family: &str,
        mut each: impl FnMut(SalvagedRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let engine = self.engine();
        let Some(handle) = engine.handle(family) else { return Ok(()) };
        let cursor = |mut reads: ReadOptions| {
            self.bind(&mut reads);
            engine.raw().raw_iterator_cf_opt(&handle, reads)
        };
        let mut rows = cursor(options::full_scan_reads());
        let mut last: Option<Vec<u8>> = None;
        rows.seek_to_first();
        loop {
            while let Some((key, value)) = rows.item() {
                each(SalvagedRow::Row(key, value))?;
                let last = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(key);
                rows.next();
            }
            let Err(error) = rows.status() else { return Ok(()) };
            let bytes = |from: &[u8], to: &[u8]| engine.approximate_bytes(family, &[(from, to)]).into_iter().sum();
            let search = Search { rows: cursor(options::long_range_reads()), bytes, halvings_left: HALVINGS_MAX };
            let found = search.next_after(last.as_deref(), bounds(engine.raw(), family));
            let damaged = DamagedKeys { after: last.clone(), before: found.clone(), error: unread(error, family) };
            each(SalvagedRow::Damage(damaged))?;
            let Some(found) = found else { return Ok(()) };
            rows.seek(&found);
            if rows.item().is_none_or(|(key, _)| key != found) {
                // It could be read just now: the disk is failing, and there is no progress.
                return Ok(());
            }
        }
    }
}

/// The first and the last key of every file of a column family, from the MANIFEST.
fn bounds(db: &Raw, family: &str) -> BTreeSet<Vec<u8>> {
    // Without the list, what follows the damage cannot be found, and is reported as damaged.
    let files = db.live_files().unwrap_or_default().into_iter().filter(|file| file.column_family_name == family);
    files.flat_map(|file| [file.start_key, file.end_key]).flatten().collect()
}

struct Search<'s, B> {
    rows: Cursor<'s>,
    /// The approximate size of the data in a range of keys.
    bytes: B,
    halvings_left: u32,
}

impl<B: Fn(&[u8], &[u8]) -> u64> Search<'_, B> {
    /// The first key after `last` that can be read.
    fn next_after(mut self, last: Option<&[u8]>, bounds: BTreeSet<Vec<u8>>) -> Option<Vec<u8>> {
        let mut from = last.unwrap_or_default().to_vec();
        for bound in bounds.into_iter().filter(|bound| last.is_none_or(|last| bound.as_slice() > last)) {
            if let Some(found) = self.within(&from, &bound, STEPS_MAX).or_else(|| self.at(&bound, last)) {
                return Some(found);
            }
            from = bound;
        }
        None
    }

    /// The first readable key between two keys.
    fn within(&mut self, from: &[u8], to: &[u8], steps: u32) -> Option<Vec<u8>> {
        let middle = middle(from, to)?;
        if steps == 0 || self.halvings_left == 0 || (self.bytes)(from, to) < RANGE_BYTES_MIN {
            return None;
        }
        self.halvings_left -= 1;
        self.within(from, &middle, steps - 1)
            .or_else(|| self.at(&middle, Some(from)))
            .or_else(|| self.within(&middle, to, steps - 1))
    }

    /// If there is a readable key at or after this one: the first of those that can be read without a gap before it,
    /// and that are after `from`.
    fn at(&mut self, key: &[u8], from: Option<&[u8]>) -> Option<Vec<u8>> {
        self.rows.seek(key);
        let mut found = self.rows.key()?.to_vec();
        loop {
            self.rows.prev();
            match self.rows.key() {
                Some(before) if from.is_none_or(|from| before > from) => found = before.to_vec(),
                _ => return Some(found),
            }
        }
    }
}

/// A key between two keys, as the middle of two fractions. None if there is none.
fn middle(from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let digits = from.len().max(to.len()) + 1;
    let digit = |key: &[u8], at: usize| u16::from(key.get(at).copied().unwrap_or_default());
    let mut sum: Vec<u16> = (0..digits).map(|at| digit(from, at) + digit(to, at)).collect();
    let mut carry = 0;
    for digit in sum.iter_mut().rev() {
        *digit += carry;
        carry = *digit >> 8;
        *digit &= 0xff;
    }
    let mut rest = carry;
    let halved = sum.iter().map(|digit| {
        let whole = rest << 8 | digit;
        rest = whole & 1;
        whole >> 1
    });
    let mut key: Vec<u8> = halved.map(|digit| u8::try_from(digit).unwrap_or(u8::MAX)).collect();
    // A key that ends in zeros is after the same one without them, so they may only go if it stays above `from`.
    while key.last() == Some(&0) && key.len() > 1 && key.get(..key.len() - 1).is_some_and(|shorter| shorter > from) {
        key.pop();
    }
    (key.as_slice() > from && key.as_slice() < to).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::super::engine::{Engine, Mode};
    use super::super::options::{self, EngineSettings};
    use super::{HALVINGS_MAX, Search, middle};

    #[test]
    fn a_search_ends_where_every_range_seems_large() {
        let dir = tempfile::tempdir().unwrap();
        let (block_cache_bytes, memtable_bytes) = (8 << 20, 1 << 20);
        let settings = EngineSettings { block_cache_bytes, memtable_bytes, ..EngineSettings::default() };
        let engine = Engine::open(dir.path(), Mode::ReadWrite { create: true }, &settings).unwrap();
        engine.create_family("users").unwrap();
        let handle = engine.handle("users").unwrap();
        let rows = engine.raw().raw_iterator_cf_opt(&handle, options::long_range_reads());
        let search = Search { rows, bytes: |_: &[u8], _: &[u8]| u64::MAX, halvings_left: HALVINGS_MAX };
        assert_eq!(search.next_after(None, [b"a".to_vec(), b"z".to_vec()].into()), None);
    }

    #[test]
    fn the_middle_of_two_keys_lies_between_them() {
        let keys: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"a", b"aa", b"ab", b"b", b"\xff", b"\xff\xff"];
        for (at, from) in keys.iter().enumerate() {
            for to in keys.iter().skip(at + 1) {
                let middle = middle(from, to);
                let is_between = middle.as_deref().is_none_or(|middle| middle > *from && middle < *to);
                assert!(is_between, "{middle:?} of {from:?} and {to:?}");
            }
        }
        assert_eq!(middle(b"a", b"c").as_deref(), Some(&b"b"[..]));
        assert_eq!(middle(b"", b"\0"), None);
        assert_eq!(middle(b"u0100", b"u0100"), None);
    }
}
