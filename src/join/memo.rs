//! What was worked out before and will be asked for again, kept by workers so that they do most things once.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::interner::{Interner, are_equal};

/// The lists of segment numbers, or of cells, that projections of one pool were found to mean.
#[derive(Default)]
pub(super) struct Memo {
    pool: Arc<Interner>,
    /// One for each projection, and one for no row behind them.
    known: Vec<Option<Box<[u32]>>>,
}

impl Memo {
    /// Makes it one for this pool.
    pub(super) fn enter(&mut self, pool: &Arc<Interner>) {
        if !Arc::ptr_eq(&self.pool, pool) || self.known.len() != pool.len() + 1 {
            self.pool = Arc::clone(pool);
            self.known.clear();
            self.known.resize(pool.len() + 1, None);
        }
    }

    /// Where the list of a projection stands, or will.
    pub(super) fn place(&mut self, code: u32) -> Option<&mut Option<Box<[u32]>>> {
        let last = self.known.len().saturating_sub(1);
        self.known.get_mut((code as usize).min(last))
    }
}

/// The lists of cells that values were found to mean lately. One that comes into the place of another takes it, so that
/// a field of few values is known and one of many costs no memory.
#[derive(Default)]
pub(super) struct Recent(Vec<Known>);

/// A value, and its cells.
type Known = (Box<[u8]>, Box<[u32]>);

impl Recent {
    const PLACES: usize = 256;
    /// Longer values, and lists, are worked out again.
    const BYTES_MAX: usize = 64;
    const CELLS_MAX: usize = 16;

    fn place(bytes: &[u8]) -> usize {
        xxh3_64(bytes) as usize % Self::PLACES
    }

    #[inline]
    pub(super) fn get(&self, bytes: &[u8]) -> Option<&[u32]> {
        if bytes.len() > Self::BYTES_MAX {
            return None;
        }
        let (known, cells) = self.0.get(Self::place(bytes))?;
        // Every list has a cell; a place without any was never taken.
        (!cells.is_empty() && are_equal(known, bytes)).then_some(cells)
    }

    pub(super) fn put(&mut self, bytes: &[u8], cells: &[u32]) {
        if bytes.len() > Self::BYTES_MAX || cells.is_empty() || cells.len() > Self::CELLS_MAX {
            return;
        }
        if self.0.is_empty() {
            self.0.resize_with(Self::PLACES, Default::default);
        }
        if let Some(place) = self.0.get_mut(Self::place(bytes)) {
            *place = (bytes.into(), cells.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_last_is_there_and_nothing_else_is() {
        let mut recent = Recent::default();
        let mut there = 0;
        for n in 0..2_000_u32 {
            let bytes = (n % 700).to_le_bytes();
            if let Some(cells) = recent.get(&bytes) {
                assert_eq!(cells, [n % 700, 7]);
                there += 1;
            } else {
                recent.put(&bytes, &[n % 700, 7]);
                assert_eq!(recent.get(&bytes), Some(&[n % 700, 7][..]));
            }
        }
        assert!((20..2_000).contains(&there), "{there}");
        recent.put(b"", &[3]);
        assert_eq!((recent.get(b""), recent.get(b"another")), (Some(&[3][..]), None));
        recent.put(&[1; 65], &[3]);
        assert_eq!(recent.get(&[1; 65]), None);
    }
}
