//! The law of the algebra as callable code, with generators of operators, values and updates.
//!
//! Unit tests, property tests and fuzzers call the same checkers. Generators draw from small alphabets, so that
//! operators often act on the same names and values.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::apply::apply;
use super::chain::Chain;
use super::op::{Op, Update};
use crate::model::{Number, Object, Timestamp, Value};

/// The law: applying operators one by one gives what applying their composition gives, wherever the sequence is split.
///
/// # Errors
///
/// A description of the difference.
pub fn check_compose(state: Option<&Value>, ops: &[Op], cut: usize) -> std::result::Result<(), String> {
    let expected = ops.iter().fold(state.cloned(), apply);
    let (f, g) = ops.split_at_checked(cut).unwrap_or((ops, &[]));
    let compose = |ops: &[Op]| Chain::compose(ops.iter().cloned().map(Chain::of).collect());
    let whole = compose(ops).apply(state.cloned());
    let halves = compose(f).then(compose(g)).apply(state.cloned());
    let stepwise = compose(g).apply(compose(f).apply(state.cloned()));
    for (way, seen) in [("composed", whole), ("composed from halves", halves), ("in two steps", stepwise)] {
        let same = match (&expected, &seen) {
            (Some(expected), Some(seen)) => expected.is_identical(seen),
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Err(format!("{ops:?} on {state:?}: one by one {expected:?}, {way} {seen:?} cut={cut}"));
        }
    }
    Ok(())
}

/// Edge cases of property values.
#[must_use]
pub fn edge_values() -> Vec<Value> {
    let json = [
        "null",
        "false",
        "0",
        "0.0",
        "-1",
        "9223372036854775807",
        "0.1",
        "1e308",
        "\"\"",
        "\"1\"",
        "[]",
        "[1]",
        "[1.0,\"1\",1]",
        "[[1],{\"a\":1}]",
        "{}",
        "{\"a\":{\"b\":0.5}}",
    ];
    // All of them parse, as a test checks.
    json.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
}

/// Every operator with every edge value that it accepts.
#[must_use]
pub fn edge_ops() -> Vec<Op> {
    let mut ops = vec![Op::Unset, Op::Union(Vec::new())];
    for value in edge_values() {
        ops.extend([Op::Set(value.clone()), Op::SetOnce(value.clone())]);
        ops.extend([Op::Append(value.clone()), Op::Remove(value.clone()), Op::Union(vec![value.clone()])]);
        match value {
            Value::Number(number) => ops.push(Op::Add(number)),
            Value::List(elements) => ops.push(Op::Union(elements)),
            Value::Object(entries) => ops.push(Op::Merge(entries)),
            _ => {}
        }
    }
    ops
}

fn number(u: &mut Unstructured<'_>) -> Result<Number> {
    Ok(match u.int_in_range(0..=9)? {
        0..=3 => Number::from(u.int_in_range(-2..=2_i64)?),
        4 => Number::from(u.arbitrary::<i64>()?),
        5 => Number::from(u.arbitrary::<u64>()?),
        6 | 7 => float(*u.choose(&[0.0, 0.1, -0.1, 0.5, 1.0, 1e16, 1e300, -1e300, 5e-324])?),
        _ => float(u.arbitrary()?),
    })
}

fn float(value: f64) -> Number {
    Number::try_from(value).unwrap_or_else(|_| Number::from(7))
}

fn name(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=8)? {
        0..=6 => (*u.choose(&["a", "b", "c", "d"])?).to_owned(),
        7 => u.arbitrary::<char>()?.to_string(),
        _ => "n".repeat(u.int_in_range(1..=300)?),
    })
}

fn value(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth < 3 { 9 } else { 6 })? {
        0..=2 => number(u)?.into(),
        3 | 4 => (*u.choose(&["", "a", "b", "1"])?).into(),
        5 => u.arbitrary::<Option<bool>>()?.into(),
        6 => u.arbitrary::<char>()?.to_string().repeat(u.int_in_range(1..=100)?).into(),
        7 | 8 => Value::List(values(u, depth + 1)?),
        _ => Value::Object(object(u, depth + 1)?),
    })
}

fn values(u: &mut Unstructured<'_>, depth: usize) -> Result<Vec<Value>> {
    let len = u.int_in_range(0..=4)?;
    (0..len).map(|_| value(u, depth)).collect()
}

fn object(u: &mut Unstructured<'_>, depth: usize) -> Result<Object> {
    let len = u.int_in_range(0..=3)?;
    let entries: Result<Vec<_>> = (0..len).map(|_| Ok((name(u)?, value(u, depth)?))).collect();
    Ok(entries?.into_iter().collect())
}

impl<'a> Arbitrary<'a> for Value {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        value(u, 0)
    }
}

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.int_in_range(0..=11)? {
            0 => Self::Set(value(u, 0)?),
            1 => Self::SetOnce(value(u, 0)?),
            2 | 3 => Self::Add(number(u)?),
            4 | 5 => Self::Append(value(u, 1)?),
            6 | 7 => Self::Union(values(u, 1)?),
            8 | 9 => Self::Remove(value(u, 1)?),
            10 => Self::Merge(object(u, 1)?),
            _ => Self::Unset,
        })
    }
}

impl<'a> Arbitrary<'a> for Update {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut update = Self::new();
        for _ in 0..u.int_in_range(0..=4)? {
            update = update.op(name(u)?, u.arbitrary()?);
        }
        if u.ratio(1, 4)? {
            update = update.create();
        }
        if u.ratio(1, 4)? {
            update = update.ignore_time();
        }
        if u.ratio(3, 4)? {
            update = update.at(Timestamp::from_seconds(u.int_in_range(-3..=3)?));
        }
        Ok(update)
    }
}

#[cfg(test)]
pub(crate) use strategies::{any_op, any_update, any_value};

#[cfg(test)]
mod strategies {
    use super::*;
    use arbitrary::Arbitrary;
    use proptest::prelude::*;

    fn drawn<T: for<'a> Arbitrary<'a> + std::fmt::Debug>(bytes_max: usize) -> impl Strategy<Value = T> {
        prop::collection::vec(any::<u8>(), 0..bytes_max)
            .prop_map(|bytes| T::arbitrary(&mut Unstructured::new(&bytes)).unwrap())
    }

    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        drawn(200)
    }

    pub(crate) fn any_op() -> impl Strategy<Value = Op> {
        drawn(100)
    }

    pub(crate) fn any_update() -> impl Strategy<Value = Update> {
        drawn(200)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_law_holds_for_all_pairs_of_operators_on_all_edges() {
        assert_eq!(edge_values().len(), 16, "every edge value parses");
        let states: Vec<Option<Value>> = std::iter::once(None).chain(edge_values().into_iter().map(Some)).collect();
        let ops = edge_ops();
        for f in &ops {
            for g in &ops {
                let pair = [f.clone(), g.clone()];
                for state in &states {
                    check_compose(state.as_ref(), &pair, 1).unwrap();
                }
            }
        }
    }

    proptest! {
        #[test]
        fn values_deserialize_as_their_json_does(value in any_value()) {
            let text = serde_json::to_string(&value).unwrap();
            let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
            if let Ok(seen) = value.deserialize_into::<serde_json::Value>() {
                prop_assert_eq!(seen, expected);
            }
            if let Ok(copy) = value.deserialize_into::<Value>() {
                prop_assert_eq!(serde_json::to_string(&copy).unwrap(), text);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn the_law_holds_for_random_runs(
            state in prop::option::of(any_value()), ops in prop::collection::vec(any_op(), 0..12), cut in 0..12_usize,
        ) {
            prop_assert_eq!(check_compose(state.as_ref(), &ops, cut), Ok(()));
        }
    }
}
