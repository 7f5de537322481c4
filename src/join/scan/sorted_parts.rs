//! A sorted set in parts, as a log-structured merge tree has them: what is added becomes a part, and parts are merged
//! before they are many. Clones share the parts, so that adding copies little of what a reader holds.

use std::cmp::Ordering;
use std::sync::Arc;

/// A part has at least this many times as many items as the next one.
const FANOUT: usize = 4;

/// What a set is of.
pub(crate) trait SortedItem: Clone {
    /// What sets are sorted by. No two items of a set are equal by it.
    fn cmp_items(&self, other: &Self) -> Ordering;

    /// A hash of what sets are sorted by.
    fn hash(&self) -> u32;
}

/// Items of a set, sorted, and a Bloom filter of them with one hash function: most keys that are looked for are in no
/// part, and a search misses the caches many times.
#[derive(Clone, Debug)]
struct SortedPart<T> {
    items: Vec<T>,
    filter: Vec<u64>,
}

/// Bits of the filter for each item, so that at most one in 16 keys is searched for in vain.
const FILTER_BITS: usize = 16;

impl<T: SortedItem> SortedPart<T> {
    fn new(items: Vec<T>) -> Arc<Self> {
        let words = (items.len() * FILTER_BITS / 64).next_power_of_two();
        let mut part = Self { items, filter: vec![0; words] };
        let Self { items, filter } = &mut part;
        for item in items {
            let (word, bit) = bit_of(item.hash(), words);
            filter.get_mut(word).into_iter().for_each(|word| *word |= bit);
        }
        Arc::new(part)
    }

    /// False if no item has this hash.
    #[inline]
    fn may_have(&self, hash: u32) -> bool {
        let (word, bit) = bit_of(hash, self.filter.len());
        self.filter.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// The word and the bit of a hash, in a filter whose length is a power of two.
#[inline]
fn bit_of(hash: u32, words: usize) -> (usize, u64) {
    ((hash >> 6) as usize & words.wrapping_sub(1), 1 << (hash & 63))
}

/// The set.
#[derive(Clone, Debug)]
pub(crate) struct SortedParts<T> {
    /// Each of them sorted, the largest first. None is empty.
    parts: Vec<Arc<SortedPart<T>>>,
}

impl<T> Default for SortedParts<T> {
    fn default() -> Self {
        Self { parts: Vec::new() }
    }
}

impl<T: SortedItem> SortedParts<T> {
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.items.len()).sum()
    }

    /// The parts, each of them sorted.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[T]> {
        self.parts.iter().map(|part| part.items.as_slice())
    }

    pub(crate) fn part(&self, number: usize) -> &[T] {
        self.parts.get(number).map(|part| part.items.as_slice()).unwrap_or_default()
    }

    /// The item at which `cmp` is equal, and whose hash this is. It orders items relative to what is searched, as they
    /// are sorted.
    pub(crate) fn find(&self, hash: u32, cmp: impl Fn(&T) -> Ordering) -> Option<&T> {
        let mut parts = self.parts.iter().filter(|part| part.may_have(hash)).map(|part| part.items.as_slice());
        parts.find_map(|part| part.binary_search_by(&cmp).ok().and_then(|at| part.get(at)))
    }

    /// Adds items, of which the set has none yet. They are sorted.
    pub(crate) fn insert(&mut self, items: Vec<T>) {
        if items.is_empty() {
            return;
        }
        let mut merged = items;
        while let Some(before) = self.parts.pop_if(|before| before.items.len() < merged.len().saturating_mul(FANOUT)) {
            let before = Arc::try_unwrap(before).map_or_else(|shared| shared.items.clone(), |before| before.items);
            let last = std::mem::replace(&mut merged, before);
            merged.extend(last);
            // Two sorted runs, which this merges.
            merged.sort_by(T::cmp_items);
        }
        self.parts.push(SortedPart::new(merged));
    }

    /// Removes the items that are equal to keys, which come with their hashes and ascend as the items do. Calls
    /// `removed` with each.
    pub(crate) fn remove<K>(
        &mut self,
        keys: &[(u32, K)],
        cmp: impl Fn(&T, &K) -> Ordering,
        mut removed: impl FnMut(&T),
    ) {
        let mut found = Vec::new();
        for part in &mut self.parts {
            found.clear();
            let mut start = 0;
            for (_, key) in keys.iter().filter(|(hash, _)| part.may_have(*hash)) {
                let rest = part.items.get(start..).unwrap_or_default();
                start += rest.partition_point(|item| cmp(item, key).is_lt());
                match part.items.get(start) {
                    None => break,
                    Some(item) if cmp(item, key).is_eq() => found.push(start),
                    Some(_) => {}
                }
            }
            if found.is_empty() {
                continue;
            }
            let (mut at, mut found) = (0, found.iter().peekable());
            // Their bits stay set in the filter, which costs searches alone.
            Arc::make_mut(part).items.retain(|item| {
                let is_found = found.next_if_eq(&&at).is_some();
                at += 1;
                if is_found {
                    removed(item);
                }
                !is_found
            });
        }
        self.parts.retain(|part| !part.items.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl SortedItem for (u8, u32) {
        fn cmp_items(&self, other: &Self) -> Ordering {
            self.0.cmp(&other.0)
        }

        fn hash(&self) -> u32 {
            hash(self.0)
        }
    }

    /// Two keys share each hash.
    fn hash(key: u8) -> u32 {
        u32::from(key / 2).wrapping_mul(0x9e37_79b9)
    }

    proptest! {
        #[test]
        fn a_set_has_what_was_added_and_not_removed(
            steps in prop::collection::vec((prop::collection::btree_set(any::<u8>(), 0..40), any::<bool>()), 1..20),
        ) {
            let mut set = SortedParts::default();
            let mut model = BTreeMap::new();
            let mut held = Vec::new();
            for (number, (keys, is_added)) in (0..).zip(steps) {
                held.push((set.clone(), model.clone()));
                let keys: Vec<u8> = keys.into_iter().collect();
                let mut removed = Vec::new();
                let hashed: Vec<(u32, u8)> = keys.iter().map(|key| (hash(*key), *key)).collect();
                set.remove(&hashed, |item: &(u8, u32), key| item.0.cmp(key), |item| removed.push(*item));
                let expected: BTreeMap<u8, u32> =
                    keys.iter().filter_map(|key| model.remove_entry(key)).collect();
                prop_assert_eq!(removed.into_iter().collect::<BTreeMap<_, _>>(), expected);
                if is_added {
                    set.insert(keys.iter().map(|key| (*key, number)).collect());
                    model.extend(keys.iter().map(|key| (*key, number)));
                }
            }
            held.push((set, model));
            // What was held before has not changed.
            for (set, model) in held {
                prop_assert!(set.parts().all(|part| !part.is_empty() && part.is_sorted_by(|a, b| a.0 < b.0)));
                let sizes: Vec<usize> = set.parts().map(<[_]>::len).collect();
                prop_assert_eq!(set.len(), sizes.iter().sum::<usize>());
                prop_assert_eq!(set.parts().flatten().copied().collect::<BTreeMap<_, _>>(), model.clone());
                for key in 0..=u8::MAX {
                    let found = set.find(hash(key), |item| item.0.cmp(&key)).map(|item| item.1);
                    prop_assert_eq!(found, model.get(&key).copied());
                }
            }
        }
    }

    #[test]
    fn parts_are_few_and_adding_copies_little_of_them() {
        let mut set = SortedParts::default();
        let mut moved = 0;
        for number in 0..1_000_u32 {
            let before: Vec<*const (u8, u32)> = set.parts().map(<[_]>::as_ptr).collect();
            let held = set.clone();
            set.insert(vec![(0, number)]);
            let is_new = |part: &&[(u8, u32)]| !before.contains(&part.as_ptr());
            moved += set.parts().filter(is_new).map(<[_]>::len).sum::<usize>();
            assert!(set.parts().count() <= 6, "{}", set.parts().count());
            drop(held);
        }
        assert!(moved < 15_000, "{moved}");
    }
}
