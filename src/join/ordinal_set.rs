//! A set of users by ordinal that takes little memory where they are few, and a bit for each where they are many.

/// A set of ordinals, and how many there are.
#[derive(Clone, Debug, Default)]
pub(super) struct OrdinalSet {
    len: u64,
    /// Few, ascending, until there are more than [`FEW_MAX`].
    few: Vec<u32>,
    /// Then all, by their upper halves.
    chunks: Vec<OrdinalChunk>,
    /// What the chunks hold besides themselves, in bytes.
    held: usize,
}

/// A list of this length is added to faster than chunks are looked at.
const FEW_MAX: usize = 512;

/// The lower halves of ordinals whose upper halves are the same.
#[derive(Clone, Debug)]
enum OrdinalChunk {
    /// Ascending, at most [`LIST_MAX`].
    List(Vec<u16>),
    /// A bit for each.
    Bits(Box<[u64]>),
}

/// In a longer list it takes long to find one. Bits for those that are more take less than a hash table does.
const LIST_MAX: usize = 512;

const WORDS: usize = (1 << 16) / 64;

impl OrdinalChunk {
    /// Adds one, and returns whether it was not there.
    #[inline]
    fn insert(&mut self, low: u16) -> bool {
        match self {
            Self::Bits(bits) => {
                let Some(word) = bits.get_mut(usize::from(low) / 64) else { return false };
                let bit = 1 << (low % 64);
                let is_new = *word & bit == 0;
                *word |= bit;
                is_new
            }
            Self::List(list) => {
                if !insert_sorted(list, low) {
                    return false;
                }
                if list.len() > LIST_MAX {
                    let mut bits = vec![0_u64; WORDS].into_boxed_slice();
                    for low in list {
                        bits.get_mut(usize::from(*low) / 64).into_iter().for_each(|word| *word |= 1 << (*low % 64));
                    }
                    *self = Self::Bits(bits);
                }
                true
            }
        }
    }

    /// What it holds besides itself, in bytes.
    fn held_bytes(&self) -> usize {
        match self {
            Self::List(list) => list.capacity() * size_of::<u16>(),
            Self::Bits(bits) => size_of_val(&**bits),
        }
    }
}

/// Adds one to an ascending list, and returns whether it was not there.
#[inline]
fn insert_sorted<T: Ord + Copy>(list: &mut Vec<T>, item: T) -> bool {
    // Those of a block ascend.
    if list.last().is_none_or(|last| *last < item) {
        list.push(item);
        return true;
    }
    let Err(at) = list.binary_search(&item) else { return false };
    list.insert(at, item);
    true
}

/// The upper and the lower half of an ordinal.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "halves")]
fn halves(ordinal: u32) -> (usize, u16) {
    ((ordinal >> 16) as usize, ordinal as u16)
}

impl OrdinalSet {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    pub(super) fn insert(&mut self, ordinal: u32) {
        if !self.chunks.is_empty() {
            self.insert_in_chunk(ordinal);
        } else if insert_sorted(&mut self.few, ordinal) {
            self.len += 1;
            if self.few.len() > FEW_MAX {
                self.len = 0;
                std::mem::take(&mut self.few).into_iter().for_each(|few| self.insert_in_chunk(few));
            }
        }
    }

    #[inline]
    fn insert_in_chunk(&mut self, ordinal: u32) {
        let (high, low) = halves(ordinal);
        if self.chunks.len() <= high {
            self.chunks.resize(high + 1, OrdinalChunk::List(Vec::new()));
        }
        let Some(chunk) = self.chunks.get_mut(high) else { return };
        let before = chunk.held_bytes();
        self.len += u64::from(chunk.insert(low));
        self.held = self.held - before + chunk.held_bytes();
    }

    /// Adds those of another set.
    pub(super) fn merge(&mut self, other: &Self) {
        other.few.iter().for_each(|ordinal| self.insert(*ordinal));
        for (high, chunk) in (0..).zip(&other.chunks) {
            let mut insert = |low: u32| self.insert(high << 16 | low);
            match chunk {
                OrdinalChunk::List(list) => list.iter().for_each(|low| insert(u32::from(*low))),
                OrdinalChunk::Bits(bits) => {
                    for (first, word) in (0..).step_by(64).zip(bits) {
                        let mut rest = *word;
                        while rest != 0 {
                            insert(first + rest.trailing_zeros());
                            rest &= rest - 1;
                        }
                    }
                }
            }
        }
    }

    /// What it holds besides itself, in bytes.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.few.capacity() * size_of::<u32>() + self.chunks.capacity() * size_of::<OrdinalChunk>() + self.held
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ordinals() -> impl Strategy<Value = Vec<u32>> {
        let span = prop_oneof![Just(100_u32), Just(3_000), Just(200_000), Just(5_000_000)];
        let several = (span, 1..6_000_usize, any::<bool>());
        several.prop_flat_map(|(span, most, ascend)| {
            prop::collection::vec(0..span, 0..most).prop_map(move |mut ordinals| {
                if ascend {
                    ordinals.sort_unstable();
                }
                ordinals
            })
        })
    }

    fn set_of(ordinals: &[u32]) -> OrdinalSet {
        let mut set = OrdinalSet::default();
        ordinals.iter().for_each(|ordinal| set.insert(*ordinal));
        set
    }

    /// The memory of its parts, counted one by one.
    fn held(set: &OrdinalSet) -> usize {
        let chunks: usize = set.chunks.iter().map(OrdinalChunk::held_bytes).sum();
        set.few.capacity() * 4 + set.chunks.capacity() * size_of::<OrdinalChunk>() + chunks
    }

    proptest! {
        #[test]
        fn a_set_has_each_ordinal_once(one in ordinals(), other in ordinals()) {
            let (mut a, b) = (set_of(&one), set_of(&other));
            prop_assert_eq!(a.len(), one.iter().collect::<BTreeSet<_>>().len() as u64);
            prop_assert_eq!(a.held_bytes(), held(&a));
            a.merge(&b);
            let all: BTreeSet<&u32> = one.iter().chain(&other).collect();
            prop_assert_eq!(a.len(), all.len() as u64);
            prop_assert_eq!(a.held_bytes(), held(&a));
            // Far less than pairs of bucket and user in a hash table, 24 bytes each.
            prop_assert!(a.held_bytes() <= 16 * all.len() + 64 * (1 + 5_000_000 / 65_536), "{}", a.held_bytes());
        }
    }
}
