//! String interning: dictionary codes for distinct byte strings, in the order of their first occurrence.
//!
//! One byte arena and one open-addressing hash table of 8 bytes per slot, at most half full. A slot holds 32 bits of
//! the hash, so that strings that differ are nearly always told apart without a look at their bytes.

use xxhash_rust::xxh3::xxh3_64;

use super::arena::Arena;
use crate::error::{Error, Result};

/// Distinct byte strings.
#[derive(Debug, Default)]
pub(in crate::join) struct Interner {
    strings: Arena,
    /// The upper half of the hash, and the code of the string plus one. 0 is free.
    slots: Vec<u64>,
}

const SLOTS_MIN: usize = 16;

impl Interner {
    pub(in crate::join) fn len(&self) -> usize {
        self.strings.len()
    }

    /// Memory in use, in bytes, roughly.
    pub(in crate::join) fn memory(&self) -> usize {
        self.strings.size_bytes() + self.strings.len() * 4 + self.slots.len() * 8
    }

    /// Makes room for this many strings, so that the table is not rehashed while they are added.
    pub(in crate::join) fn reserve(&mut self, strings: usize) {
        let slots = (strings.saturating_mul(2)).next_power_of_two().max(SLOTS_MIN);
        if slots > self.slots.len() {
            self.resize(slots);
        }
    }

    /// Removes all strings and keeps the memory.
    pub(in crate::join) fn clear(&mut self) {
        self.strings.clear();
        self.slots.fill(0);
    }

    /// The string of a code.
    #[inline]
    pub(in crate::join) fn get(&self, code: u32) -> &[u8] {
        // Every code that was given out has a string.
        self.strings.get(code as usize).unwrap_or_default()
    }

    /// The code of a string, if it has one.
    #[inline]
    pub(in crate::join) fn find(&self, string: &[u8]) -> Option<u32> {
        self.probe(string, xxh3_64(string)).ok()
    }

    /// The code of a string, a new one at its first occurrence.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when all strings together have more than 4 GB.
    #[inline]
    pub(in crate::join) fn intern(&mut self, string: &[u8]) -> Result<u32> {
        let hash = xxh3_64(string);
        match self.probe(string, hash) {
            Ok(code) => Ok(code),
            Err(free) => self.add(string, hash, free),
        }
    }

    fn add(&mut self, string: &[u8], hash: u64, free: usize) -> Result<u32> {
        let full = || Error::limit("a join has more than 4 billion distinct values");
        let code = u32::try_from(self.strings.len()).ok().filter(|code| *code < u32::MAX - 1).ok_or_else(full)?;
        self.strings.push(string)?;
        if self.strings.len() * 2 > self.slots.len() {
            // This enters the new string as well.
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
        } else if let Some(slot) = self.slots.get_mut(free) {
            *slot = (hash & TAG) | u64::from(code + 1);
        }
        Ok(code)
    }

    /// The code of a string, or the slot that is free for it.
    #[inline]
    fn probe(&self, string: &[u8], hash: u64) -> Result<u32, usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        loop {
            match self.slots.get(at) {
                None | Some(0) => return Err(at),
                Some(slot) if (slot ^ hash) & TAG == 0 => {
                    let code = *slot as u32 - 1;
                    if are_equal(self.get(code), string) {
                        return Ok(code);
                    }
                }
                Some(_) => {}
            }
            at = (at + 1) & mask;
        }
    }

    fn resize(&mut self, slots: usize) {
        self.slots.clear();
        self.slots.resize(slots, 0);
        let mask = slots.wrapping_sub(1);
        for code in 0..self.strings.len() as u32 {
            let hash = xxh3_64(self.get(code));
            let mut at = hash as usize & mask;
            while self.slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = (hash & TAG) | u64::from(code + 1);
            }
        }
    }
}

/// Whether two strings are equal. Strings of the length of usual ids are compared in two steps, without a call.
#[inline]
pub(in crate::join) fn are_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.first_chunk::<8>(), a.last_chunk::<8>(), b.first_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_first), Some(a_last), Some(b_first), Some(b_last)) => {
            a_first == b_first && a_last == b_last && (a.len() <= 16 || a == b)
        }
        // An empty slice may point anywhere, and comparing through such a pointer can be slow.
        _ => a.is_empty() || a == b,
    }
}

/// The half of a hash that is kept in a slot. The other half says where the slot is.
const TAG: u64 = !(u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn equal_strings_have_one_code(strings: Vec<Vec<u8>>, reserved in 0..100_usize) {
            let mut interner = Interner::default();
            interner.reserve(reserved);
            let mut model: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            for string in strings.iter().chain(&strings) {
                let next = model.len() as u32;
                prop_assert_eq!(interner.find(string), model.get(string).copied());
                let number = *model.entry(string.clone()).or_insert(next);
                prop_assert_eq!(interner.intern(string).unwrap(), number);
                prop_assert_eq!(interner.get(number), string.as_slice());
            }
            prop_assert_eq!(interner.len(), model.len());
            interner.clear();
            prop_assert!(strings.iter().all(|string| interner.find(string).is_none()));
        }
    }

    #[test]
    fn many_strings_take_little_more_than_their_bytes() {
        let mut interner = Interner::default();
        for n in 0..100_000_u32 {
            assert_eq!(interner.intern(&n.to_le_bytes()).unwrap(), n);
        }
        assert!(interner.memory() < 100_000 * 4 + 100_000 * 4 + (1 << 18) * 8 + 1);
        assert!((0..100_000_u32).all(|n| interner.find(&n.to_le_bytes()) == Some(n)));
    }
}
