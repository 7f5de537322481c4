//! The decimals for which a predicate is true, so that the numbers of a column are compared as they are stored.

use crate::error::Result;
use crate::model::{Number, Value};
use crate::segment::power;

/// Integers up to this one are floats exactly.
const EXACT_MAX: i64 = 1 << 53;

/// Decimals of one exponent, all integers or all floats: each by the integer that is divided by the power of ten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DecimalSet {
    /// Those from the first to the last, if `inside`, or else the others.
    Span { first: i64, last: i64, inside: bool },
    /// For each part of the range where it begins, ascending, and whether its decimals are in the set.
    Parts(Box<[(i64, bool)]>),
}

/// What the decimals of a set have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DecimalKind {
    pub(super) exponent: u8,
    pub(super) is_float: bool,
}

impl DecimalKind {
    fn power(self) -> i64 {
        10_i64.saturating_pow(u32::from(self.exponent))
    }

    /// Whether decimals between these are all that it can be read as.
    pub(super) fn covers(self, (least, greatest): (i64, i64)) -> bool {
        !self.is_float || (least >= -EXACT_MAX && greatest <= EXACT_MAX)
    }

    /// The least and the greatest of its numbers, as they are counted.
    fn bounds(self) -> (i64, i64) {
        if self.is_float { (-EXACT_MAX, EXACT_MAX) } else { (i64::MIN / self.power(), i64::MAX / self.power()) }
    }

    /// A number of it: integers are counted one by one, floats by the integer that is divided.
    fn number(self, n: i64) -> Number {
        if !self.is_float {
            return Number::from(n);
        }
        // A quotient of two finite numbers, of which the second is at least 1.
        Number::try_from(n as f64 / power(self.exponent)).unwrap_or_else(|_| Number::from(n))
    }

    /// The number that an integer of a column is.
    pub(super) fn decimal(self, integer: i64) -> Number {
        self.number(if self.is_float { integer } else { integer / self.power() })
    }

    /// The integer of a number that is counted so.
    fn integer(self, n: i64) -> i64 {
        if self.is_float { n } else { n.saturating_mul(self.power()) }
    }

    /// The first number that is not before a limit, or is after it, if there is one.
    fn first(self, limit: &Number, is_after: bool) -> Option<i64> {
        let reaches = |n: i64| {
            let number = self.number(n);
            if is_after { number > *limit } else { number >= *limit }
        };
        let (least, greatest) = self.bounds();
        let guess = limit.as_f64() * if self.is_float { power(self.exponent) } else { 1.0 };
        #[expect(clippy::cast_possible_truncation, reason = "a place to begin at, saturated")]
        let guess = (guess as i64).clamp(least, greatest);
        // The first is one of low ..= high, where the one after the greatest means that there is none.
        let (mut low, mut high) = (i128::from(least), i128::from(greatest) + 1);
        let number_at = |n: i128| i64::try_from(n).unwrap_or(greatest);
        let (before, after) = (i128::from(guess) - 2, i128::from(guess) + 2);
        if before >= low && !reaches(number_at(before)) {
            low = before + 1;
        }
        if after < high && reaches(number_at(after)) {
            high = after;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if reaches(number_at(middle)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        i64::try_from(low).ok().filter(|n| *n <= greatest)
    }
}

impl DecimalSet {
    /// Those for which something is true that is the same for all numbers between two steps.
    ///
    /// # Errors
    ///
    /// What `is_true` returns for any of the decimals of this kind.
    pub(super) fn new(kind: DecimalKind, steps: &[Number], is_true: impl Fn(&Value) -> Result<bool>) -> Result<Self> {
        let mut starts = vec![kind.bounds().0];
        for step in steps {
            starts.extend([false, true].into_iter().filter_map(|is_after| kind.first(step, is_after)));
        }
        starts.sort_unstable();
        starts.dedup();
        let mut parts: Vec<(i64, bool)> = Vec::with_capacity(starts.len());
        for start in starts {
            let is_in = is_true(&Value::Number(kind.number(start)))?;
            if parts.last().is_none_or(|(_, before)| *before != is_in) {
                parts.push((kind.integer(start), is_in));
            }
        }
        Ok(match *parts.as_slice() {
            [(_, inside)] => Self::Span { first: i64::MIN, last: i64::MAX, inside },
            [_, (first, inside)] => Self::Span { first, last: i64::MAX, inside },
            [_, (first, inside), (end, _)] => Self::Span { first, last: end.saturating_sub(1), inside },
            _ => Self::Parts(parts.into()),
        })
    }

    #[inline]
    pub(super) fn contains(&self, integer: i64) -> bool {
        match self {
            Self::Span { first, last, inside } => (integer >= *first && integer <= *last) == *inside,
            Self::Parts(parts) => {
                let at = parts.partition_point(|(start, _)| *start <= integer);
                parts.get(at.saturating_sub(1)).is_some_and(|(_, is_in)| *is_in)
            }
        }
    }

    /// What it holds besides itself, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Span { .. } => 0,
            Self::Parts(parts) => size_of_val(&**parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::expr::{Expr, Reference, Scope};
    use std::borrow::Cow;

    struct One(Value);

    impl Scope for One {
        fn value(&self, _: usize, _: &Reference) -> Result<Option<Cow<'_, Value>>> {
            Ok(Some(Cow::Borrowed(&self.0)))
        }
    }

    fn limit() -> impl Strategy<Value = String> {
        prop_oneof![
            (-400..400_i32).prop_map(|cents| format!("{:?}", f64::from(cents) / 100.0)),
            (-5..5_i64).prop_map(|n| n.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<i128>().prop_map(|n| n.to_string()),
            select(vec!["9007199254740993", "-9007199254740992.0", "-0.0", "1e300", "5e-324", "\"1\"", "null"])
                .prop_map(str::to_owned),
        ]
    }

    fn predicate() -> impl Strategy<Value = String> {
        let comparison = (select(vec!["==", "!=", "<", "<=", ">", ">="]), limit(), any::<bool>());
        let comparison = comparison.prop_map(|(sign, limit, is_first)| match is_first {
            true => format!("properties[\"x\"] {sign} {limit}"),
            false => format!("{limit} {sign} properties[\"x\"]"),
        });
        let leaf = prop_oneof![
            6 => comparison,
            1 => prop::collection::vec(limit(), 0..3)
                .prop_map(|limits| format!("properties[\"x\"] in [{}]", limits.join(", "))),
            1 => Just("defined(properties[\"x\"])".to_owned()),
        ];
        leaf.prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|a| format!("not ({a})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) or ({b})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// A decimal is in the set of a predicate exactly if the predicate is true of its value.
        #[test]
        fn decimals_are_compared_as_numbers(
            text in predicate(),
            exponent in 0..=6_u8,
            is_float: bool,
            near in prop::collection::vec(prop_oneof![-500..500_i64, any::<i64>(), Just(EXACT_MAX)], 1..20),
        ) {
            let expr: Expr = text.parse().unwrap();
            let kind = DecimalKind { exponent, is_float };
            let is_true = |value: &Value| expr.is_true(&One(value.clone()));
            let steps = expr.steps(&|_| true, &One(Value::Null)).unwrap().unwrap();
            let set = DecimalSet::new(kind, &steps, is_true).unwrap();
            let (least, greatest) = kind.bounds();
            let at_steps = steps.iter().filter_map(|step| kind.first(step, false)).collect::<Vec<_>>();
            let around = at_steps.iter().flat_map(|n| [n.saturating_sub(1), *n, n.saturating_add(1)]);
            for n in near.iter().copied().chain(around).map(|n| n.clamp(least, greatest)) {
                let value = Value::Number(kind.number(n));
                prop_assert_eq!(set.contains(kind.integer(n)), is_true(&value).unwrap(), "{} of {}", expr, value);
            }
        }
    }

    #[test]
    fn what_cannot_be_compared_step_by_step_is_known() {
        for (text, is_known) in [
            (r#"properties["x"] > user["y"] * 10"#, true),
            (r#"user["y"] * 10 >= properties["x"] or not properties["x"] in [1, 2]"#, true),
            (r#"properties["x"] * 2 > user["y"]"#, false),
            (r#"properties["x"] > properties["x"]"#, false),
            (r#"properties["x"] in user["y"]"#, false),
            (r#"any(e, user["y"], e > properties["x"])"#, false),
            (r#"number(properties["x"]) > 1"#, false),
        ] {
            let expr: Expr = text.parse().unwrap();
            let varies = |at: usize| expr.references()[at].name == "x";
            assert_eq!(expr.steps(&varies, &One(3.into())).unwrap().is_some(), is_known, "{text}");
        }
    }
}
