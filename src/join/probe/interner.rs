//! String interning: dictionary codes for distinct byte strings, in the order of their first occurrence.
//!
//! One byte arena and one open-addressing hash table of 8 bytes per slot, at most half full. A slot holds 32 bits of
//! the hash, so that strings that differ are nearly always told apart without a look at their bytes.
//!
//! The hash is seeded at random in each process: strings come from the input, and with a known hash they can be made
//! to collide.

use std::sync::LazyLock;

use super::arena::Arena;
use crate::codec::SeededHash;
use crate::error::{Error, Result};
use crate::join::budget::Reservation;

/// Distinct byte strings.
#[derive(Debug, Default)]
pub(in crate::join) struct Interner {
    strings: Arena,
    /// The upper half of the hash, and the code of the string plus one. 0 is free.
    slots: Vec<u64>,
    reservation: Reservation,
}

const SLOTS_MIN: usize = 16;

impl Interner {
    pub(in crate::join) fn len(&self) -> usize {
        self.strings.len()
    }

    /// Bytes of all strings together.
    pub(in crate::join) fn size_bytes(&self) -> usize {
        self.strings.size_bytes()
    }

    /// One whose memory is reserved before it is allocated.
    pub(in crate::join) fn within(reservation: Reservation) -> Self {
        Self { reservation, ..Self::default() }
    }

    /// One of strings that are distinct, with their numbers as codes.
    pub(in crate::join) fn of(strings: Arena) -> Self {
        let mut interner = Self { strings, ..Self::default() };
        interner.reserve(interner.strings.len());
        interner
    }

    /// A copy, whose memory is not reserved.
    pub(in crate::join) fn copy(&self) -> Self {
        Self { strings: self.strings.clone(), slots: self.slots.clone(), reservation: Reservation::default() }
    }

    /// Memory in use, in bytes, also while a string of this length is added.
    pub(in crate::join) fn memory_with(&self, len: usize) -> usize {
        self.strings.memory_with(len).1 + self.slots.capacity() * size_of::<u64>()
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

    /// All codes.
    pub(in crate::join) fn codes(&self) -> std::ops::Range<u32> {
        // `add` gives out no more codes than 32 bits can count.
        0..u32::try_from(self.len()).unwrap_or(u32::MAX)
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
        self.probe(string, hash(string)).ok()
    }

    /// The code of a string, a new one at its first occurrence.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when all strings together have more than 4 GB.
    #[inline]
    pub(in crate::join) fn intern(&mut self, string: &[u8]) -> Result<u32> {
        let hash = hash(string);
        match self.probe(string, hash) {
            Ok(code) => Ok(code),
            Err(free) => self.add(string, hash, free),
        }
    }

    fn add(&mut self, string: &[u8], hash: u64, free: usize) -> Result<u32> {
        let full = || Error::limit("a join has more than 4 billion distinct values");
        let code = u32::try_from(self.strings.len()).ok().filter(|code| *code < u32::MAX - 1).ok_or_else(full)?;
        let is_full = (self.strings.len() + 1) * 2 > self.slots.len();
        let slots = if is_full { (self.slots.len() * 2).max(SLOTS_MIN) } else { self.slots.len() };
        let (after, meanwhile) = self.strings.memory_with(string.len());
        if is_full || meanwhile > after || after > self.strings.memory() {
            let slots = slots.saturating_mul(size_of::<u64>());
            self.reservation.resize(meanwhile.saturating_add(slots))?;
            self.reservation.resize(after.saturating_add(slots))?;
        }
        self.strings.push(string)?;
        if is_full {
            // This enters the new string as well.
            self.resize(slots);
        } else if let Some(slot) = self.slots.get_mut(free) {
            *slot = (hash & TAG) | u64::from(code + 1);
        }
        Ok(code)
    }

    /// The code of a string, or the slot that is free for it.
    #[inline]
    fn probe(&self, string: &[u8], hash: u64) -> Result<u32, usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = place(hash) & mask;
        loop {
            match self.slots.get(at) {
                None | Some(0) => return Err(at),
                Some(slot) if (slot ^ hash) & TAG == 0 => {
                    let code = code_in(*slot);
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
        // The old ones are freed first.
        self.slots = Vec::new();
        self.slots.resize(slots, 0);
        let mask = slots.wrapping_sub(1);
        for code in self.codes() {
            let hash = hash(self.get(code));
            let mut at = place(hash) & mask;
            while self.slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = (hash & TAG) | u64::from(code + 1);
            }
        }
    }
}

/// The hash of strings of the input, the same in all tables.
#[inline]
pub(in crate::join) fn hash(string: &[u8]) -> u64 {
    static HASH: LazyLock<SeededHash> = LazyLock::new(SeededHash::random);
    HASH.of(string)
}

/// Where a hash is looked for, before it is reduced to the size of a table.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "any bits of a hash serve")]
pub(in crate::join) fn place(hash: u64) -> usize {
    hash as usize
}

/// The code in a slot that is not free.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half of a slot is the code plus one")]
fn code_in(slot: u64) -> u32 {
    slot as u32 - 1
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

    /// The eight bytes whose hash without a seed is this: XXH3 of so few bytes is a bijection.
    fn preimage(hash: u64, flip: u64) -> [u8; 8] {
        const PRIME: u64 = 0x9fb2_1c65_1e98_df25;
        // Newton's iteration doubles the digits that are right.
        let inverse = (0..6).fold(PRIME, |x, _| x.wrapping_mul(2_u64.wrapping_sub(PRIME.wrapping_mul(x))));
        let mut h = hash ^ (hash >> 28) ^ (hash >> 56);
        h = h.wrapping_mul(inverse);
        h ^= (h >> 35) + 8;
        h = h.wrapping_mul(inverse);
        // The polynomial of the first step, raised to its 64th power, is one.
        h = (0..63).fold(h, |h, _| h ^ h.rotate_left(49) ^ h.rotate_left(24));
        (h ^ flip).rotate_left(32).to_le_bytes()
    }

    #[test]
    fn strings_that_collide_without_a_seed_do_not_collide() {
        use xxhash_rust::xxh3::xxh3_64;

        const COUNT: u64 = 100_000;
        // What the zero string is mixed with.
        let flip = u64::from_le_bytes(preimage(xxh3_64(&[0; 8]), 0)).rotate_left(32);
        let strings: Vec<[u8; 8]> = (1..=COUNT).map(|n| preimage(n << 32, flip)).collect();
        assert!(strings.iter().zip(1..).all(|(string, n)| xxh3_64(string) == n << 32), "all in one slot");
        let mut interner = Interner::default();
        strings.iter().for_each(|string| assert!(interner.intern(string).is_ok()));
        let mask = interner.slots.len() - 1;
        let places: std::collections::BTreeSet<usize> =
            strings.iter().map(|string| place(hash(string)) & mask).collect();
        // At random, four in five of them have a slot of their own.
        assert!(interner.len() as u64 == COUNT && places.len() as u64 > COUNT / 2, "{}", places.len());
    }

    #[test]
    fn many_strings_take_little_more_than_their_bytes() {
        let mut interner = Interner::default();
        for n in 0..100_000_u32 {
            assert_eq!(interner.intern(&n.to_le_bytes()).unwrap(), n);
        }
        // Vectors have room for up to twice what they hold.
        assert!(interner.memory_with(0) < 2 * (100_000 * 4 + 100_000 * 4) + (1 << 18) * 8 + 1);
        assert!((0..100_000_u32).all(|n| interner.find(&n.to_le_bytes()) == Some(n)));
    }
}
