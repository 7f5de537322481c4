//! Numbers for distinct byte strings, in the order in which they were first met.
//!
//! One arena of bytes and one open-addressed table of 8 bytes a slot, at most half full. A slot holds 32 bits of the
//! hash, so that a stranger is nearly always told apart without a look at its bytes.

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};

/// Distinct byte strings.
#[derive(Debug, Default)]
pub(super) struct Interner {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`.
    ends: Vec<u32>,
    /// The upper half of the hash, and the number of the string plus one. 0 is free.
    slots: Vec<u64>,
}

const SLOTS_MIN: usize = 16;

impl Interner {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Memory in use, in bytes, roughly.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + self.ends.len() * 4 + self.slots.len() * 8
    }

    /// Makes room for so many strings, so that they come in without a second look at those before them.
    pub(super) fn reserve(&mut self, strings: usize) {
        let slots = (strings.saturating_mul(2)).next_power_of_two().max(SLOTS_MIN);
        if slots > self.slots.len() {
            self.resize(slots);
        }
    }

    /// Forgets all strings and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.slots.fill(0);
    }

    /// The string of a number.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = self.ends.get(at).map_or(start, |end| *end as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The number of a string, if it was met.
    #[inline]
    pub(super) fn find(&self, string: &[u8]) -> Option<u32> {
        self.probe(string, xxh3_64(string)).ok()
    }

    /// The number of a string, which is a new one if it was not met.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when all strings together have more than 4 GB.
    #[inline]
    pub(super) fn intern(&mut self, string: &[u8]) -> Result<u32> {
        let hash = xxh3_64(string);
        match self.probe(string, hash) {
            Ok(number) => Ok(number),
            Err(free) => self.add(string, hash, free),
        }
    }

    fn add(&mut self, string: &[u8], hash: u64, mut free: usize) -> Result<u32> {
        let full = || Error::limit("a join has more than 4 GB of distinct values");
        let number = u32::try_from(self.ends.len()).ok().filter(|number| *number < u32::MAX - 1).ok_or_else(full)?;
        let end = u32::try_from(self.bytes.len() + string.len()).map_err(|_| full())?;
        if (self.ends.len() + 1) * 2 > self.slots.len() {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
            free = self.probe(string, hash).err().unwrap_or_default();
        }
        self.bytes.extend_from_slice(string);
        self.ends.push(end);
        if let Some(slot) = self.slots.get_mut(free) {
            *slot = (hash & TAG) | u64::from(number + 1);
        }
        Ok(number)
    }

    /// The number of the string, or the slot that is free for it.
    #[inline]
    fn probe(&self, string: &[u8], hash: u64) -> Result<u32, usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        loop {
            match self.slots.get(at) {
                None | Some(0) => return Err(at),
                Some(slot) if (slot ^ hash) & TAG == 0 => {
                    let number = *slot as u32 - 1;
                    if are_equal(self.get(number), string) {
                        return Ok(number);
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
        for number in 0..self.ends.len() as u32 {
            let hash = xxh3_64(self.get(number));
            let mut at = hash as usize & mask;
            while self.slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = (hash & TAG) | u64::from(number + 1);
            }
        }
    }
}

/// Whether two strings are equal. Those of the length of usual ids are compared in two steps, without a call.
#[inline]
pub(super) fn are_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.first_chunk::<8>(), a.last_chunk::<8>(), b.first_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_first), Some(a_last), Some(b_first), Some(b_last)) => {
            a_first == b_first && a_last == b_last && (a.len() <= 16 || a == b)
        }
        // To compare no bytes at all can be slow: where they would be, there may be no memory.
        _ => a.is_empty() || a == b,
    }
}

/// The half of a hash that stands in a slot. The other half says where the slot is.
const TAG: u64 = !(u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn equal_strings_have_one_number(strings: Vec<Vec<u8>>, reserved in 0..100_usize) {
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
