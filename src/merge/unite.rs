//! Unions of texts, on bytes: the longest lists are of ids, and decoding them costs ten times as much as the rest.

use crate::codec::{ChainBytes, ValueBytes, unique_texts};

/// The elements of the list that results from uniting an absent property with all of these, or, if there is one, a list
/// with all of these. `None` if a chain does anything else, or if one of the elements is not a text.
pub(super) fn united<'a>(list: Option<ValueBytes<'a>>, chains: &[ChainBytes<'a>]) -> Option<Vec<ValueBytes<'a>>> {
    let mut texts = Vec::new();
    if let Some(list) = list {
        list.text_elements(&mut texts)?;
    }
    for chain in chains {
        chain.united_texts(&mut texts)?;
    }
    unique_texts(&mut texts);
    Some(texts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::merge::{full, operand, partial, profile};
    use crate::model::{Profile, Value};
    use crate::ops::Update;

    /// Mostly unions of texts, so that long runs of them meet; some with other elements, and some other operators.
    fn any_update() -> impl Strategy<Value = Update> {
        let texts = || prop::collection::vec("[a-d]{0,3}".prop_map(Value::from), 0..30);
        let number = (0..3_i64, any::<bool>())
            .prop_map(|(number, float)| if float { Value::try_from(number as f64).unwrap() } else { number.into() });
        prop_oneof![
            12 => texts().prop_map(|texts| Update::new().union("l", texts)),
            1 => (texts(), number).prop_map(|(texts, number)| Update::new().union("l", [texts, vec![number]].concat())),
            1 => texts().prop_map(|texts| Update::new().set("l", Value::List(texts))),
            1 => texts().prop_map(|texts| Update::new().set_once("l", Value::List(texts))),
            1 => Just(Update::new().append("l", "a")),
            1 => Just(Update::new().remove("l", "a")),
            1 => Just(Update::new().unset("l")),
            1 => Just(Update::new().add("l", 1)),
        ]
    }

    proptest! {
        #[test]
        fn unions_fold_as_one_by_one(updates in prop::collection::vec(any_update(), 1..24), cut in any::<(u8, u8)>()) {
            let operands: Vec<Vec<u8>> = updates.iter().map(operand).collect();
            let operands: Vec<&[u8]> = operands.iter().map(Vec::as_slice).collect();
            let row = full(None, &operands);
            let (expected, seen) = (Profile::fold(&updates), profile(&row).unwrap());
            prop_assert_eq!(format!("{:?}", seen), format!("{:?}", expected));
            let (first, rest) = operands.split_at(usize::from(cut.0) % operands.len());
            let (second, third) = rest.split_at(usize::from(cut.1) % rest.len());
            let base = (!first.is_empty()).then(|| full(None, first));
            prop_assert_eq!(&full(base.as_deref(), &[&partial(second), &partial(third)]), &row);
            prop_assert_eq!(&full(None, &[&partial(&[&partial(first), &partial(second)]), &partial(third)]), &row);
        }
    }
}
