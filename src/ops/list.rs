//! List edits: composed list operators in normal form.
//!
//! `$remove` removes all equal elements, `$union` leaves the whole list without duplicates, `$append` adds to the end.
//! So every sequence of them is a function of this form, and so is every composition of two such functions:
//!
//! ```text
//! x  ->  dedupe((x - removed) ++ head) ++ tail      once a $union happened
//! x  ->         (x - removed)          ++ tail      before
//! ```

use xxhash_rust::xxh3::xxh3_64;

use crate::model::Value;

/// Lists of at most this length are searched linearly, longer ones are sorted first.
const LINEAR_MAX: usize = 16;

/// A composition of list operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListEdit {
    /// The elements removed from the existing list: ascending, without duplicates.
    pub(crate) removed: Vec<Value>,
    /// Whether there was a union.
    pub(crate) dedupe: bool,
    /// The elements that unions added, without duplicates. Empty before the first union.
    pub(crate) head: Vec<Value>,
    /// The elements appended after the last union.
    pub(crate) tail: Vec<Value>,
}

impl ListEdit {
    /// Whether every list is unchanged.
    pub(crate) fn is_identity(&self) -> bool {
        self.removed.is_empty() && !self.dedupe && self.tail.is_empty()
    }

    /// The list after this edit.
    pub(crate) fn apply(self, mut elements: Vec<Value>) -> Vec<Value> {
        remove(&mut elements, &self.removed);
        if self.dedupe {
            elements.extend(self.head);
            elements = dedupe(elements);
        }
        elements.extend(self.tail);
        elements
    }

    /// This edit and then the next one.
    pub(crate) fn then(mut self, next: Self) -> Self {
        // A later removal also applies to the elements added before it.
        remove(&mut self.head, &next.removed);
        remove(&mut self.tail, &next.removed);
        self.removed = union_sorted(self.removed, next.removed);
        if next.dedupe {
            self.head.append(&mut self.tail);
            self.head.extend(next.head);
            self.head = dedupe(self.head);
            self.dedupe = true;
        }
        self.tail.extend(next.tail);
        self
    }
}

/// Removes every element that equals one of `removed`, which is sorted.
fn remove(elements: &mut Vec<Value>, removed: &[Value]) {
    match removed {
        [] => {}
        [one] => elements.retain(|element| element != one),
        _ => elements.retain(|element| removed.binary_search(element).is_err()),
    }
}

/// Keeps the first of equal elements, and the order.
pub(super) fn dedupe(mut elements: Vec<Value>) -> Vec<Value> {
    let mut repeats = repeats(&elements).into_iter();
    elements.retain(|_| !repeats.next().unwrap_or(false));
    elements
}

/// For each element, whether an equal one precedes it.
pub(crate) fn repeats(elements: &[Value]) -> Vec<bool> {
    if elements.len() <= LINEAR_MAX { repeats_linear(elements) } else { repeats_sorted(elements) }
}

fn repeats_linear(elements: &[Value]) -> Vec<bool> {
    elements
        .iter()
        .enumerate()
        .map(|(index, element)| elements.iter().take(index).any(|earlier| earlier == element))
        .collect()
}

/// Sorts by fingerprint, so that values are compared only where fingerprints collide. The worst case stays `n log n`.
fn repeats_sorted(elements: &[Value]) -> Vec<bool> {
    let mut order: Vec<(u64, &Value, usize)> =
        elements.iter().zip(0..).map(|(element, index)| (fingerprint(element), element, index)).collect();
    order.sort_unstable();
    let mut repeats = vec![false; elements.len()];
    let pairs = order.iter().zip(order.iter().skip(1));
    for (_, (.., later)) in pairs.filter(|(earlier, later)| (earlier.0, earlier.1) == (later.0, later.1)) {
        if let Some(repeat) = repeats.get_mut(*later) {
            *repeat = true;
        }
    }
    repeats
}

/// A hash that equal values share.
fn fingerprint(value: &Value) -> u64 {
    match value {
        Value::String(text) => xxh3_64(text.as_bytes()),
        // Equal numbers have equal doubles, so `1` and `1.0` have the same hash.
        Value::Number(number) => number.as_f64().to_bits(),
        // Rare in the lists that unions operate on, so one hash for all objects and lists suffices.
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Object(_) => 0,
    }
}

/// The union of two sorted lists; of two equal elements the one of `a` stays.
fn union_sorted(mut a: Vec<Value>, b: Vec<Value>) -> Vec<Value> {
    if a.is_empty() {
        return b;
    }
    if b.is_empty() {
        return a;
    }
    a.extend(b);
    // The sort is stable, so of equal elements the one of `a` comes first and is kept.
    a.sort();
    a.dedup_by(|later, earlier| later == earlier);
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::laws::any_value;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn search_and_sort_find_the_same_duplicates(values in prop::collection::vec(any_value(), 0..40)) {
            prop_assert_eq!(repeats_linear(&values), repeats_sorted(&values));
        }
    }

    #[test]
    fn the_first_of_equal_elements_is_kept() {
        let elements = vec![Value::try_from(1.0).unwrap(), Value::from(1), Value::from("1")];
        assert_eq!(format!("{:?}", dedupe(elements)), r#"[1.0, "1"]"#);
    }
}
