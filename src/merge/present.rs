//! Folding onto a present value, on bytes.
//!
//! No operator except `$set` and `$unset` changes the type of a present value, and each type has its own lane. So the
//! type of the value selects the lane of the chains, and most values are folded without decoding: a number is summed,
//! the elements of a short list are slices that are compared as bytes, as are those of a long list of texts with which
//! texts are united, and a value without a lane is copied. Other long lists, and objects, are decoded and composed.

use super::runs::decode;
use super::unite::united;
use crate::codec::{
    ChainBytes, ListLane, ValueBytes, ValueKind, write_op, write_set, write_set_list, write_set_number,
};
use crate::model::Number;
use crate::ops::{Chain, Op};

/// Lists of at most this length are searched linearly.
const ELEMENTS_MAX: usize = 48;

/// Appends the chain that sets the result of open chains on a value.
pub(super) fn fold(out: &mut Vec<u8>, value: ValueBytes<'_>, chains: &[ChainBytes<'_>]) {
    match value.kind() {
        ValueKind::Number => match value.number() {
            Ok(number) => write_set_number(out, &sum(number, chains)),
            Err(_) => compose(out, value, chains),
        },
        ValueKind::List => match list(value, chains) {
            Some(elements) => write_set_list(out, &elements),
            None => match united(Some(value), chains) {
                Some(texts) => write_set_list(out, &texts),
                None => compose(out, value, chains),
            },
        },
        ValueKind::Object if chains.iter().any(|chain| chain.has_merge_lane()) => compose(out, value, chains),
        ValueKind::Object | ValueKind::Other => write_set(out, value),
    }
}

/// The general case.
fn compose(out: &mut Vec<u8>, value: ValueBytes<'_>, chains: &[ChainBytes<'_>]) {
    let edits = chains.iter().map(|chain| decode(chain).of_present()).collect();
    // Checked bytes decode, and open chains keep a present value present. Otherwise the value would be unchanged.
    match value.decode().ok().and_then(|value| Chain::compose(edits).apply(Some(value))) {
        Some(value) => write_op(out, &Op::Set(value)),
        None => write_set(out, value),
    }
}

fn sum(start: Number, chains: &[ChainBytes<'_>]) -> Number {
    let mut sum = start;
    let mut counted = 0_i128;
    for chain in chains {
        match chain.as_count() {
            Some(count) => counted += i128::from(count),
            None => {
                if let Some(amount) = chain.add_lane() {
                    sum = &sum + &amount;
                }
            }
        }
    }
    if counted == 0 { sum } else { &sum + &Number::from(counted) }
}

/// The elements of the list after all edits, if they are at most [`ELEMENTS_MAX`].
fn list<'a>(value: ValueBytes<'a>, chains: &[ChainBytes<'a>]) -> Option<Vec<ValueBytes<'a>>> {
    let mut elements = value.elements(ELEMENTS_MAX)?;
    // Whether the elements are known to be unique: then a union has to search only for its own elements.
    let mut unique = false;
    for chain in chains {
        let Some(ListLane { removed, dedupe, head, tail }) = chain.list_lane(ELEMENTS_MAX)? else { continue };
        if !removed.is_empty() {
            elements.retain(|element| !removed.iter().any(|gone| gone.equals(*element)));
        }
        if dedupe {
            if !unique {
                let all = std::mem::take(&mut elements);
                all.into_iter().for_each(|element| push_new(&mut elements, element));
                unique = true;
            }
            head.into_iter().for_each(|element| push_new(&mut elements, element));
        }
        if !tail.is_empty() {
            elements.extend(tail);
            unique = false;
        }
        if elements.len() > ELEMENTS_MAX {
            return None;
        }
    }
    Some(elements)
}

fn push_new<'a>(elements: &mut Vec<ValueBytes<'a>>, element: ValueBytes<'a>) {
    if !elements.iter().any(|there| there.equals(element)) {
        elements.push(element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_decode_is_unchanged() {
        let damaged = ValueBytes::new(&[7, 1, 99]); // A list of one value with an unknown tag.
        let mut out = Vec::new();
        fold(&mut out, damaged, &[]);
        assert_eq!(out, [1, 7, 1, 99]);
    }
}
