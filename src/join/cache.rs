//! Caches of workers: what a dictionary code meant before, and a direct-mapped lossy cache for values without codes.

use std::sync::Arc;

use super::probe::{Dictionary, are_equal, hash, place};
use crate::error::Result;

/// What the codes of one dictionary were found to mean.
#[derive(Debug)]
pub(super) struct CodeCache<T> {
    dictionary: Arc<Dictionary>,
    /// One for each code, and one for [`NO_ROW`](super::probe::NO_ROW) after them.
    known: Vec<Option<T>>,
}

impl<T> Default for CodeCache<T> {
    fn default() -> Self {
        Self { dictionary: Arc::default(), known: Vec::new() }
    }
}

impl<T> CodeCache<T> {
    /// Makes it one for this dictionary. Returns whether it was one for another, of which nothing is known any more.
    #[inline]
    pub(super) fn enter(&mut self, dictionary: &Arc<Dictionary>) -> bool {
        let is_new = !Arc::ptr_eq(&self.dictionary, dictionary) || self.known.is_empty();
        if is_new {
            self.dictionary = Arc::clone(dictionary);
            self.known.clear();
            self.known.resize_with(dictionary.len() + 1, || None);
        }
        is_new
    }

    /// Memory in use, in bytes, without that of what codes mean.
    pub(super) fn memory(&self) -> usize {
        self.known.capacity() * size_of::<Option<T>>()
    }

    /// What a code means, if it is known. The dictionary must have been entered.
    #[inline]
    pub(super) fn get(&self, code: u32) -> Option<&T> {
        self.known.get(self.at(code))?.as_ref()
    }

    /// Says what a code means.
    pub(super) fn insert(&mut self, code: u32, meaning: T) {
        let at = self.at(code);
        if let Some(known) = self.known.get_mut(at) {
            *known = Some(meaning);
        }
    }

    /// What a code means, which is found out at its first occurrence.
    ///
    /// # Errors
    ///
    /// What `find_out` returns.
    #[inline]
    pub(super) fn get_or_try_insert_with(&mut self, code: u32, find_out: impl FnOnce() -> Result<T>) -> Result<T>
    where
        T: Copy,
    {
        if let Some(known) = self.get(code) {
            return Ok(*known);
        }
        let meaning = find_out()?;
        self.insert(code, meaning);
        Ok(meaning)
    }

    #[inline]
    fn at(&self, code: u32) -> usize {
        (code as usize).min(self.known.len().saturating_sub(1))
    }
}

/// What byte strings were found to mean lately: lists of numbers. A string replaces the one in its place, so a field of
/// few values is always known and one of many costs no memory.
#[derive(Default)]
pub(super) struct LossyCache(Vec<CachedList>);

/// A string, and its list.
type CachedList = (Box<[u8]>, Box<[u32]>);

impl LossyCache {
    const PLACES: usize = 256;
    /// Longer strings, and lists, are not kept.
    const BYTES_MAX: usize = 64;
    const LIST_MAX: usize = 16;

    fn place(bytes: &[u8]) -> usize {
        place(hash(bytes)) % Self::PLACES
    }

    #[inline]
    pub(super) fn get(&self, bytes: &[u8]) -> Option<&[u32]> {
        if bytes.len() > Self::BYTES_MAX {
            return None;
        }
        let (known, list) = self.0.get(Self::place(bytes))?;
        // Empty lists are not kept: a place without one is free.
        (!list.is_empty() && are_equal(known, bytes)).then_some(list)
    }

    pub(super) fn put(&mut self, bytes: &[u8], list: &[u32]) {
        if bytes.len() > Self::BYTES_MAX || list.is_empty() || list.len() > Self::LIST_MAX {
            return;
        }
        if self.0.is_empty() {
            self.0.resize_with(Self::PLACES, Default::default);
        }
        if let Some(place) = self.0.get_mut(Self::place(bytes)) {
            *place = (bytes.into(), list.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_string_of_a_place_is_known_and_nothing_else_is() {
        let mut cache = LossyCache::default();
        let mut hits = 0;
        for n in 0..2_000_u32 {
            let bytes = (n % 700).to_le_bytes();
            if let Some(list) = cache.get(&bytes) {
                assert_eq!(list, [n % 700, 7]);
                hits += 1;
            } else {
                cache.put(&bytes, &[n % 700, 7]);
                assert_eq!(cache.get(&bytes), Some(&[n % 700, 7][..]));
            }
        }
        assert!((20..2_000).contains(&hits), "{hits}");
        cache.put(b"", &[3]);
        assert_eq!((cache.get(b""), cache.get(b"another")), (Some(&[3][..]), None));
        cache.put(&[1; 65], &[3]);
        assert_eq!(cache.get(&[1; 65]), None);
    }
}
