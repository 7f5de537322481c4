//! Aggregate functions: the measures of a bucket and their accumulators.

use std::collections::BTreeMap;
use std::fmt;

use super::block::decoded;
use super::field::Field;
use super::ordinal_set::OrdinalSet;
use crate::codec::{ValueBytes, ValueKind};
use crate::model::{Number, Value};

/// What is measured of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Events.
    Count,
    /// Distinct users. Anonymous events, with an empty `distinct_id`, are not counted.
    Uniques,
    /// The exact sum of the numbers of a field, rounded once. Other values are ignored.
    Sum(Field),
    /// The least value of a field, of those of the least type: truth values, numbers, strings. Lists and objects do not
    /// count.
    Min(Field),
    /// The greatest value of a field, of those of the greatest type.
    Max(Field),
    /// The mean of the numbers of a field: their exact sum divided by their count, rounded once.
    Avg(Field),
    /// A percentile of the numbers of a field, 0 to 100: the least of them that is not less than this percentage of
    /// them. 50 is the (lower) median. It is exact: the distinct numbers of every bucket are held in memory, and count
    /// towards [`GroupBy::memory_bytes`](super::GroupBy::memory_bytes).
    Percentile(Field, u8),
}

impl Measure {
    /// The field that it measures, if it does.
    #[must_use]
    pub fn field(&self) -> Option<&Field> {
        match self {
            Self::Count | Self::Uniques => None,
            Self::Sum(field) | Self::Min(field) | Self::Max(field) | Self::Avg(field) | Self::Percentile(field, _) => {
                Some(field)
            }
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("count"),
            Self::Uniques => f.write_str("uniques"),
            Self::Sum(field) => write!(f, "sum({field})"),
            Self::Min(field) => write!(f, "min({field})"),
            Self::Max(field) => write!(f, "max({field})"),
            Self::Avg(field) => write!(f, "avg({field})"),
            Self::Percentile(field, percent) => write!(f, "p{percent}({field})"),
        }
    }
}

/// One measure of one bucket.
#[derive(Clone, Debug)]
pub(super) enum Accumulator {
    Count(u64),
    /// Distinct users who are known by ordinal.
    Users(OrdinalSet),
    Sum(Total),
    Avg(Total),
    Min(Option<Value>),
    Max(Option<Value>),
    Percentile(Distribution, u8),
}

/// Distinct numbers, with how often each occurs: a histogram without loss.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    /// Those that are doubles, which are nearly all: with each its count, and whether it was a float every time.
    doubles: BTreeMap<DoubleKey, (u64, bool)>,
    /// All others.
    rest: BTreeMap<Number, (u64, bool)>,
    count: u64,
    /// What big numbers hold, in bytes.
    held: usize,
}

/// A double as an integer, so that the order of integers is that of doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DoubleKey(u64);

impl DoubleKey {
    const SIGN: u64 = 1 << 63;

    /// That of a number, if it is a double exactly.
    fn new(number: &Number) -> Option<Self> {
        let (mantissa, _) = number.small_parts()?;
        let bits = (mantissa.unsigned_abs() <= 1 << 53).then(|| number.as_f64().to_bits())?;
        Some(Self(if bits & Self::SIGN == 0 { bits | Self::SIGN } else { !bits }))
    }

    fn number(self) -> Number {
        let double = f64::from_bits(if self.0 & Self::SIGN == 0 { !self.0 } else { self.0 & !Self::SIGN });
        // It was that of a number, which is finite.
        Number::try_from(double).unwrap_or_else(|_| Number::from(0))
    }
}

impl Distribution {
    /// Entries of trees whose nodes are half full.
    const DOUBLE_BYTES: usize = 2 * size_of::<(DoubleKey, (u64, bool))>() + 16;
    const ENTRY_BYTES: usize = 2 * size_of::<(Number, (u64, bool))>() + 16;

    fn add(&mut self, number: Number, count: u64, is_float: bool) {
        self.count += count;
        let (known, always_float) = match DoubleKey::new(&number) {
            Some(key) => self.doubles.entry(key).or_insert((0, true)),
            None => {
                let held = number.held_bytes();
                self.rest.entry(number).or_insert_with(|| {
                    self.held += held;
                    (0, true)
                })
            }
        };
        *known += count;
        *always_float &= is_float;
    }

    fn merge(&mut self, other: &Self) {
        let doubles = other.doubles.iter().map(|(key, counted)| (key.number(), counted));
        let rest = other.rest.iter().map(|(number, counted)| (number.clone(), counted));
        doubles.chain(rest).for_each(|(number, (count, always_float))| self.add(number, *count, *always_float));
    }

    fn held_bytes(&self) -> usize {
        self.doubles.len() * Self::DOUBLE_BYTES + self.rest.len() * Self::ENTRY_BYTES + self.held
    }

    /// The nearest-rank percentile. The order of events is not seen: of `1` and `1.0` it is the integer.
    fn percentile(&self, percent: u8) -> Option<Number> {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut doubles = self.doubles.iter().map(|(key, counted)| (key.number(), counted)).peekable();
        let mut rest = self.rest.iter().map(|(number, counted)| (number.clone(), counted)).peekable();
        let mut before = 0_u128;
        loop {
            let is_double = match (doubles.peek(), rest.peek()) {
                (Some((double, _)), Some((other, _))) => double < other,
                (double, _) => double.is_some(),
            };
            let (number, (count, always_float)) = if is_double { doubles.next()? } else { rest.next()? };
            before += u128::from(*count);
            if before >= rank {
                // What was made of a key is a float.
                return Some(if *always_float { number } else { number.without_float() });
            }
        }
    }
}

/// The exact sum of some numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Total {
    /// Small integers, which are most.
    small: i128,
    /// Everything else.
    rest: Option<Number>,
    count: u64,
}

impl Total {
    fn add(&mut self, number: Number) {
        self.count += 1;
        match number.as_i64().and_then(|small| self.small.checked_add(i128::from(small))) {
            Some(small) => self.small = small,
            None => {
                self.rest = Some(match &self.rest {
                    Some(rest) => rest + &number,
                    None => number,
                });
            }
        }
    }

    /// Adds the sum of some numbers: an integer times two to the power of an exponent, which is at most 0.
    fn add_sum(&mut self, sum: i128, exponent: i16, has_floats: bool, count: u64) {
        self.count += count;
        match Number::from_scaled(sum, exponent, has_floats) {
            number if has_floats => self.add_exactly(number),
            number => match number.as_i128().and_then(|more| self.small.checked_add(more)) {
                Some(small) => self.small = small,
                None => self.add_exactly(number),
            },
        }
    }

    fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        self.add_exactly(other.sum());
        self.count = count;
    }

    fn add_exactly(&mut self, number: Number) {
        self.rest = Some(match &self.rest {
            Some(rest) => rest + &number,
            None => number,
        });
    }

    fn sum(&self) -> Number {
        let small = Number::from(self.small);
        self.rest.as_ref().map_or_else(|| small.clone(), |rest| rest + &small)
    }
}

/// Whether a value equals another one and is the integer of the two. The order of events must not be seen.
fn is_plainer(value: &Value, other: &Value) -> bool {
    value == other && value.as_number().is_some_and(|number| !number.is_float())
}

impl Accumulator {
    pub(super) fn new(measure: &Measure) -> Self {
        match measure {
            Measure::Count | Measure::Uniques => Self::Count(0),
            Measure::Sum(_) => Self::Sum(Total::default()),
            Measure::Avg(_) => Self::Avg(Total::default()),
            Measure::Min(_) => Self::Min(None),
            Measure::Max(_) => Self::Max(None),
            Measure::Percentile(_, percent) => Self::Percentile(Distribution::default(), *percent),
        }
    }

    #[inline]
    pub(super) fn count(&mut self, more: u64) {
        if let Self::Count(count) = self {
            *count += more;
        }
    }

    /// Adds distinct users.
    pub(super) fn take_users(&mut self, ordinals: &[u32]) {
        if let Self::Users(users) = self {
            ordinals.iter().for_each(|ordinal| users.insert(*ordinal));
        }
    }

    #[inline]
    pub(super) fn take(&mut self, value: ValueBytes<'_>) {
        match self {
            Self::Count(_) | Self::Users(_) => {}
            Self::Sum(total) | Self::Avg(total) => {
                if value.kind() == ValueKind::Number {
                    // Values were checked when they entered their block or dictionary.
                    value.number().into_iter().for_each(|number| total.add(number));
                }
            }
            Self::Min(_) | Self::Max(_) => self.take_value(decoded(value)),
            Self::Percentile(numbers, _) => {
                if value.kind() == ValueKind::Number {
                    // As above.
                    value.number().into_iter().for_each(|number| {
                        let is_float = number.is_float();
                        numbers.add(number, 1, is_float);
                    });
                }
            }
        }
    }

    /// Takes some numbers of which only the sum is known: an integer times two to the power of an exponent, which is at
    /// most 0, whether there are floats among them, and their count.
    pub(super) fn take_sum(&mut self, sum: i128, exponent: i16, has_floats: bool, count: u64) {
        if let Self::Sum(total) | Self::Avg(total) = self {
            total.add_sum(sum, exponent, has_floats, count);
        }
    }

    /// Takes a number that some values have.
    pub(super) fn take_number(&mut self, number: Number, count: u64) {
        if let Self::Percentile(numbers, _) = self {
            let is_float = number.is_float();
            numbers.add(number, count, is_float);
        }
    }

    pub(super) fn take_value(&mut self, value: Value) {
        let plain = !matches!(value, Value::Null | Value::List(_) | Value::Object(_));
        match (self, value) {
            (Self::Sum(total) | Self::Avg(total), Value::Number(number)) => total.add(number),
            (Self::Percentile(numbers, _), Value::Number(number)) => {
                let is_float = number.is_float();
                numbers.add(number, 1, is_float);
            }
            (Self::Min(least), value)
                if plain && least.as_ref().is_none_or(|least| value < *least || is_plainer(&value, least)) =>
            {
                *least = Some(value);
            }
            (Self::Max(most), value)
                if plain && most.as_ref().is_none_or(|most| value > *most || is_plainer(&value, most)) =>
            {
                *most = Some(value);
            }
            _ => {}
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Count(count), Self::Count(more)) => *count += more,
            (Self::Users(users), Self::Users(more)) => users.merge(more),
            (Self::Sum(total), Self::Sum(more)) | (Self::Avg(total), Self::Avg(more)) => total.merge(more),
            (Self::Percentile(numbers, _), Self::Percentile(more, _)) => numbers.merge(more),
            (this @ (Self::Min(_) | Self::Max(_)), Self::Min(value) | Self::Max(value)) => {
                value.iter().for_each(|value| this.take_value(value.clone()));
            }
            _ => {}
        }
    }

    /// What it holds besides itself, in bytes.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Count(_) => 0,
            Self::Users(users) => users.held_bytes(),
            Self::Sum(total) | Self::Avg(total) => total.rest.as_ref().map_or(0, Number::held_bytes),
            Self::Min(value) | Self::Max(value) => value.as_ref().map_or(0, Value::held_bytes),
            Self::Percentile(numbers, _) => numbers.held_bytes(),
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Count(count) => (*count).into(),
            Self::Users(users) => users.len().into(),
            Self::Sum(total) => Value::Number(total.sum()),
            Self::Avg(total) if total.count == 0 => Value::Null,
            // A quotient of finite numbers is finite, so there is always a value.
            Self::Avg(total) => Value::try_from(total.sum().divided_by(total.count)).unwrap_or_default(),
            // Null where there was no value.
            Self::Min(value) | Self::Max(value) => value.clone().unwrap_or_default(),
            Self::Percentile(numbers, percent) => numbers.percentile(*percent).map_or(Value::Null, Value::Number),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn numbers() -> impl Strategy<Value = Number> {
        let odd = vec![0.0, -0.0, 5e-324, -5e-324, 2.5e-308, 1e300, -1e300, f64::MAX, 9_007_199_254_740_993.0, 0.1];
        let sum = |(a, b): (f64, i64)| &Number::try_from(a).unwrap() + &Number::from(b);
        prop_oneof![
            (-3..3_i64).prop_map(Number::from),
            (-3..3_i32).prop_map(|n| Number::try_from(f64::from(n)).unwrap()),
            any::<i128>().prop_map(Number::from),
            (-2..3_i64).prop_map(|n| Number::from((1 << 53) + n)),
            any::<f64>().prop_filter_map("finite", |n| Number::try_from(n).ok()),
            select(odd.clone()).prop_map(|n| Number::try_from(n).unwrap()),
            // Of more bits than a double has.
            (select(odd), any::<i64>()).prop_map(sum),
        ]
    }

    proptest! {
        /// Sorting all numbers gives the same, however they are put together.
        #[test]
        fn a_percentile_is_of_the_sorted_numbers(
            all in prop::collection::vec((numbers(), 1..4_u64), 0..40), percent in 0..=100_u8, cut in 0..40_usize,
        ) {
            let [mut one, mut other] = [Distribution::default(), Distribution::default()];
            for (at, (number, count)) in all.iter().enumerate() {
                let part = if at < cut { &mut one } else { &mut other };
                part.add(number.clone(), *count, number.is_float());
            }
            one.merge(&other);
            let mut sorted: Vec<&Number> = Vec::new();
            all.iter().for_each(|(number, count)| sorted.extend(std::iter::repeat_n(number, *count as usize)));
            sorted.sort();
            let rank = (sorted.len() * usize::from(percent)).div_ceil(100).max(1);
            let expected = sorted.get(rank - 1).map(|number| {
                // One that was an integer is an integer, unless it has a fraction.
                let is_float = all.iter().filter(|(known, _)| known == *number).all(|(known, _)| known.is_float());
                if is_float { (*number).clone() } else { (*number).clone().without_float() }
            });
            let found = one.percentile(percent);
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(found.map(|found| found.is_float()), expected.map(|expected| expected.is_float()));
        }
    }
}
