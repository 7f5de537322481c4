//! A sorted-vector map of names to values.

use std::cell::Cell;
use std::fmt;
use std::iter::FusedIterator;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Value, ValueSeed};

/// A JSON object: names to values, in the byte order of the names.
///
/// Insertion order is not kept: it has no meaning in JSON, and a canonical order gives equal objects equal bytes. Of
/// two entries with the same name, the last one wins.
///
/// ```
/// use profiledb::{Object, Value};
///
/// let address = Object::from_iter([("zip", Value::from("10115")), ("city", Value::from("Berlin"))]);
/// assert_eq!(address.get("city"), Some(&Value::from("Berlin")));
/// assert!(address.contains_key("zip"));
/// for (name, value) in &address {
///     println!("{name}: {value}");
/// }
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// An object without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// An object of entries that are already in strictly ascending order of their names.
    pub(crate) fn from_sorted(entries: Vec<(String, Value)>) -> Self {
        debug_assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b));
        Self(entries)
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(candidate, _)| candidate.as_str().cmp(name))
    }

    /// The value under this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.position(name).ok().and_then(|index| self.0.get(index)).map(|(_, value)| value)
    }

    /// Whether there is an entry with this name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_ok()
    }

    /// Inserts a value under a name and returns the one that it replaces.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        // Names usually arrive sorted: stored bytes and our own JSON output are.
        if self.0.last().is_none_or(|(last, _)| *last < name) {
            self.0.push((name, value));
            return None;
        }
        match self.position(&name) {
            Ok(index) => self.0.get_mut(index).map(|(_, old)| std::mem::replace(old, value)),
            Err(index) => {
                self.0.insert(index, (name, value));
                None
            }
        }
    }

    /// Removes the entry with this name and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.position(name).ok().map(|index| self.0.remove(index).1)
    }

    /// The entries in the order of their names.
    #[must_use]
    pub fn iter(&self) -> ObjectIter<'_> {
        ObjectIter(self.0.iter())
    }

    /// Whether two objects are identical, including the float flags of their numbers.
    pub(crate) fn is_identical(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(a, b)| a.0 == b.0 && a.1.is_identical(b.1))
    }

    /// What it holds besides itself, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        let held = self.0.iter().map(|(name, value)| name.capacity() + value.held_bytes());
        self.0.capacity() * size_of::<(String, Value)>() + held.sum::<usize>()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(name, value)| (name.as_str(), value))
    }

    /// Inserts every entry of `other`, replacing entries with the same name.
    pub(crate) fn merge(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        if other.len() <= INSERTED_MAX {
            for (name, value) in other.0 {
                self.insert(name, value);
            }
            return;
        }
        let mut theirs = other.0.into_iter().peekable();
        let mut merged = Vec::with_capacity(self.0.len() + theirs.len());
        for ours in std::mem::take(&mut self.0) {
            while let Some(entry) = theirs.next_if(|(name, _)| *name < ours.0) {
                merged.push(entry);
            }
            merged.push(theirs.next_if(|(name, _)| *name == ours.0).unwrap_or(ours));
        }
        merged.extend(theirs);
        self.0 = merged;
    }

    /// An object of entries in any order, of which the last of each name is kept, in `n log n`.
    fn from_entries(mut entries: Vec<(String, Value)>) -> Self {
        if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            // The sort is stable.
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.reverse();
            entries.dedup_by(|(a, _), (b, _)| a == b);
            entries.reverse();
        }
        Self(entries)
    }
}

/// As many entries are inserted one by one. More are merged as sorted lists, which is linear.
const INSERTED_MAX: usize = 8;

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Object {
    type Item = (&'a str, &'a Value);
    type IntoIter = ObjectIter<'a>;

    fn into_iter(self) -> ObjectIter<'a> {
        self.iter()
    }
}

/// The entries of an [`Object`] in the order of their names: see [`Object::iter`].
#[derive(Clone, Debug)]
pub struct ObjectIter<'a>(std::slice::Iter<'a, (String, Value)>);

impl<'a> Iterator for ObjectIter<'a> {
    type Item = (&'a str, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.as_str(), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for ObjectIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(name, value)| (name.as_str(), value))
    }
}

impl ExactSizeIterator for ObjectIter<'_> {}

impl FusedIterator for ObjectIter<'_> {}

impl<N: Into<String>, V: Into<Value>> Extend<(N, V)> for Object {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, entries: I) {
        self.merge(entries.into_iter().collect());
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        Self::from_entries(entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
                Object::from_map(map, ValueSeed(&Cell::new(false)))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl Object {
    /// Collects the entries of a deserializer's map, in any order, in `n log n`.
    pub(super) fn from_map<'de, A: MapAccess<'de>>(mut map: A, seed: ValueSeed<'_>) -> Result<Self, A::Error> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        while let Some(name) = map.next_key()? {
            entries.push((name, map.next_value_seed(seed)?));
        }
        let count = entries.len();
        let object = Self::from_entries(entries);
        if object.len() < count {
            seed.0.set(true);
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn objects_merge_as_maps_do(
            ours in prop::collection::vec(("[a-d]{1,2}", any::<i64>()), 0..30),
            theirs in prop::collection::vec(("[a-d]{1,2}", any::<i64>()), 0..30),
        ) {
            let mut model: BTreeMap<String, Value> = BTreeMap::new();
            let mut object = Object::from_iter(ours.clone());
            model.extend(ours.into_iter().map(|(name, value)| (name, value.into())));
            prop_assert!(object.iter().eq(model.iter().map(|(name, value)| (name.as_str(), value))));
            object.merge(Object::from_iter(theirs.clone()));
            model.extend(theirs.into_iter().map(|(name, value)| (name, value.into())));
            prop_assert!(object.iter().eq(model.iter().map(|(name, value)| (name.as_str(), value))));
        }
    }

    /// Or tens of thousands of updates of one entry each would take quadratic time.
    #[test]
    fn one_entry_is_merged_without_copying_the_others() {
        let name = |number: usize| format!("{number:05}");
        let mut object = Object::from_iter((0..10_000).map(|number| (name(number * 2), Value::Null)));
        let mut allocations = 1;
        let mut entries = object.0.as_ptr();
        for number in 0..10_000 {
            object.merge(Object::from_iter([(name(number * 2 + 1), Value::Null)]));
            allocations += usize::from(object.0.as_ptr() != entries);
            entries = object.0.as_ptr();
        }
        assert_eq!((object.len(), allocations <= 3), (20_000, true));
    }
}
