//! Edits of a list, composed.
//!
//! `$remove` takes all equal elements, `$union` leaves the whole list without repeats, `$append` goes to the end. With
//! that, every sequence of them is one function of this shape, and so is every composition of two such functions:
//!
//! ```text
//! x  ->  dedupe((x - removed) ++ head) ++ tail      once a $union happened
//! x  ->         (x - removed)          ++ tail      before
//! ```

use xxhash_rust::xxh3::xxh3_64;

use crate::model::Value;

/// Lists up to this long are searched, longer ones are sorted first.
const LINEAR_MAX: usize = 16;

/// A composed run of list operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListEdit {
    /// What is taken out of the list that is there: ascending, without repeats.
    pub(crate) removed: Vec<Value>,
    /// Whether a union happened.
    pub(crate) dedupe: bool,
    /// What the unions added, without repeats. Empty before the first union.
    pub(crate) head: Vec<Value>,
    /// What was appended after the last union.
    pub(crate) tail: Vec<Value>,
}

impl ListEdit {
    /// Whether every list stays as it is.
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
        // What is removed later is also removed from what was added before it.
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

/// Takes every element out that equals one of `removed`, which is sorted.
fn remove(elements: &mut Vec<Value>, removed: &[Value]) {
    match removed {
        [] => {}
        [one] => elements.retain(|element| element != one),
        _ => elements.retain(|element| removed.binary_search(element).is_err()),
    }
}

/// Keeps the first of equal elements, in the order given.
pub(super) fn dedupe(mut elements: Vec<Value>) -> Vec<Value> {
    let mut repeats = repeats(&elements).into_iter();
    elements.retain(|_| !repeats.next().unwrap_or(false));
    elements
}

/// For each element whether an equal one precedes it.
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

/// Sorts by fingerprint, so that values are only compared where fingerprints collide. The worst case stays `n log n`.
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
        // Equal numbers have equal doubles, and so `1` and `1.0` share one.
        Value::Number(number) => number.as_f64().to_bits(),
        // Rare in lists that are sets.
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
    // Stable, so of equal elements the one of `a` comes first and stays.
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
        fn both_ways_of_finding_repeats_agree(values in prop::collection::vec(any_value(), 0..40)) {
            prop_assert_eq!(repeats_linear(&values), repeats_sorted(&values));
        }
    }

    #[test]
    fn the_first_of_equal_elements_stays() {
        let elements = vec![Value::try_from(1.0).unwrap(), Value::from(1), Value::from("1")];
        assert_eq!(format!("{:?}", dedupe(elements)), r#"[1.0, "1"]"#);
    }
}
