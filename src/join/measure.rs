//! Aggregate functions: the measures of a bucket and their accumulators.

use std::collections::BTreeMap;
use std::fmt;

use super::block::decoded;
use super::field::Field;
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
    Sum(Total),
    Avg(Total),
    Min(Option<Value>),
    Max(Option<Value>),
    Percentile(Distribution, u8),
}

/// Distinct numbers, with how often each occurs: a histogram without loss.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    /// With each number, its count, and whether it was a float every time.
    numbers: BTreeMap<Number, (u64, bool)>,
    count: u64,
    /// What big numbers hold, in bytes.
    held: usize,
}

impl Distribution {
    /// An entry of a tree whose nodes are half full.
    const ENTRY_BYTES: usize = 2 * size_of::<(Number, (u64, bool))>() + 16;

    fn add(&mut self, number: Number, count: u64, is_float: bool) {
        let held = number.held_bytes();
        let (known, always_float) = self.numbers.entry(number).or_insert_with(|| {
            self.held += held;
            (0, true)
        });
        *known += count;
        *always_float &= is_float;
        self.count += count;
    }

    fn held_bytes(&self) -> usize {
        self.numbers.len() * Self::ENTRY_BYTES + self.held
    }

    /// The nearest-rank percentile. The order of events is not seen: of `1` and `1.0` it is the integer.
    fn percentile(&self, percent: u8) -> Option<Number> {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut before = 0_u128;
        for (number, (count, always_float)) in &self.numbers {
            before += u128::from(*count);
            if before >= rank {
                return Some(if *always_float { number.clone() } else { number.clone().without_float() });
            }
        }
        None
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

    #[inline]
    pub(super) fn take(&mut self, value: ValueBytes<'_>) {
        match self {
            Self::Count(_) => {}
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
            (Self::Sum(total), Self::Sum(more)) | (Self::Avg(total), Self::Avg(more)) => total.merge(more),
            (Self::Percentile(numbers, _), Self::Percentile(more, _)) => {
                for (number, (count, always_float)) in &more.numbers {
                    numbers.add(number.clone(), *count, *always_float);
                }
            }
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
            Self::Sum(total) | Self::Avg(total) => total.rest.as_ref().map_or(0, Number::held_bytes),
            Self::Min(value) | Self::Max(value) => value.as_ref().map_or(0, Value::held_bytes),
            Self::Percentile(numbers, _) => numbers.held_bytes(),
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Count(count) => (*count).into(),
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
