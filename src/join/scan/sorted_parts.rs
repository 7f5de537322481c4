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
}

/// The set.
#[derive(Clone, Debug)]
pub(crate) struct SortedParts<T> {
    /// Each of them sorted, the largest first. None is empty.
    parts: Vec<Arc<Vec<T>>>,
}

impl<T> Default for SortedParts<T> {
    fn default() -> Self {
        Self { parts: Vec::new() }
    }
}

impl<T: SortedItem> SortedParts<T> {
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// The parts, each of them sorted.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[T]> {
        self.parts.iter().map(|part| part.as_slice())
    }

    pub(crate) fn part(&self, number: usize) -> &[T] {
        self.parts.get(number).map(|part| part.as_slice()).unwrap_or_default()
    }

    /// The item at which `cmp` is equal. It orders items relative to what is searched, as they are sorted.
    pub(crate) fn find(&self, cmp: impl Fn(&T) -> Ordering) -> Option<&T> {
        self.parts().find_map(|part| part.binary_search_by(&cmp).ok().and_then(|at| part.get(at)))
    }

    /// Adds items, of which the set has none yet. They are sorted.
    pub(crate) fn insert(&mut self, items: Vec<T>) {
        if items.is_empty() {
            return;
        }
        self.parts.push(Arc::new(items));
        while let [.., before, last] = self.parts.as_slice()
            && before.len() < last.len().saturating_mul(FANOUT)
        {
            let last = self.parts.pop().map(Arc::unwrap_or_clone).unwrap_or_default();
            let mut merged = self.parts.pop().map(Arc::unwrap_or_clone).unwrap_or_default();
            merged.extend(last);
            // Two sorted runs, which this merges.
            merged.sort_by(T::cmp_items);
            self.parts.push(Arc::new(merged));
        }
    }

    /// Removes the items that are equal to keys, which ascend as the items do. Calls `removed` with each.
    pub(crate) fn remove<K>(&mut self, keys: &[K], cmp: impl Fn(&T, &K) -> Ordering, mut removed: impl FnMut(&T)) {
        let mut found = Vec::new();
        for part in &mut self.parts {
            found.clear();
            let mut start = 0;
            for key in keys {
                let rest = part.get(start..).unwrap_or_default();
                start += rest.partition_point(|item| cmp(item, key).is_lt());
                match part.get(start) {
                    None => break,
                    Some(item) if cmp(item, key).is_eq() => found.push(start),
                    Some(_) => {}
                }
            }
            if found.is_empty() {
                continue;
            }
            let (mut at, mut found) = (0, found.iter().peekable());
            Arc::make_mut(part).retain(|item| {
                let is_found = found.next_if_eq(&&at).is_some();
                at += 1;
                if is_found {
                    removed(item);
                }
                !is_found
            });
        }
        self.parts.retain(|part| !part.is_empty());
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
                set.remove(&keys, |item: &(u8, u32), key| item.0.cmp(key), |item| removed.push(*item));
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
                    prop_assert_eq!(set.find(|item| item.0.cmp(&key)).map(|item| item.1), model.get(&key).copied());
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
