//! Exact numbers: dyadic rationals, `m * 2^e`.
//!
//! Every finite double and every integer is `m * 2^e`, and so is every sum of them. A [`Number`] stores that sum
//! exactly and in canonical form: `e <= 0`, and `m` is odd unless `e` is 0. It is rounded once, when it is read as a
//! double. So addition is associative, which it is not for doubles.
//!
//! A sticky flag records whether a float took part: integers stay integers in JSON, and `1.5 + 0.5` reads `2.0`.

use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, Sign};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The smallest exponent of any double, and so of any sum of doubles.
pub(crate) const EXPONENT_MIN: i16 = -1074;

/// The error for NaN and the infinities, which are not [`Number`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number is not finite")
    }
}

impl std::error::Error for NotFinite {}

/// An exact number: any integer, any finite double, and any sum of them.
///
/// ```
/// use profiledb::Number;
///
/// let tenth = Number::try_from(0.1)?;
/// let sum = (0..10).fold(Number::from(0), |sum, _| &sum + &tenth);
/// assert_eq!(sum.as_f64(), 1.0); // adding doubles one by one gives 0.9999999999999999
/// assert!(sum.is_float());
/// assert_eq!(Number::from(2), Number::try_from(2.0)?);
/// # Ok::<(), profiledb::NotFinite>(())
/// ```
///
/// Equality and order are numeric and ignore the float flag: `1 == 1.0`.
#[derive(Clone)]
pub struct Number(Repr);

#[derive(Clone)]
enum Repr {
    // The mantissa is an i128 in two halves, so that a Number has the alignment of a word.
    Small { high: i64, low: u64, exponent: i16, float: bool },
    Big(Box<Big>),
}

#[derive(Clone)]
struct Big {
    mantissa: BigInt,
    exponent: i16,
    float: bool,
}

/// The parts of a number, for the codec.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mantissa<'a> {
    Small(i128),
    Big(&'a BigInt),
}

impl Number {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "splits it into halves for join()")]
    fn small(mantissa: i128, exponent: i16, float: bool) -> Self {
        Self(Repr::Small { high: (mantissa >> 64) as i64, low: mantissa as u64, exponent, float })
    }

    /// Brings `mantissa * 2^exponent` into canonical form.
    #[expect(clippy::cast_possible_truncation, reason = "at most the magnitude of a negative exponent, 1074")]
    fn normal_small(mut mantissa: i128, mut exponent: i16, float: bool) -> Self {
        if exponent < 0 {
            if mantissa == 0 {
                exponent = 0;
            } else {
                let strip = mantissa.trailing_zeros().min(u32::from(exponent.unsigned_abs()));
                mantissa >>= strip;
                exponent += strip as i16;
            }
        }
        Self::small(mantissa, exponent, float)
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most the magnitude of a negative exponent, 1074")]
    fn normal_big(mut mantissa: BigInt, mut exponent: i16, float: bool) -> Self {
        if exponent < 0 {
            let zeros = mantissa.trailing_zeros().unwrap_or(u64::from(exponent.unsigned_abs()));
            let strip = zeros.min(u64::from(exponent.unsigned_abs()));
            mantissa >>= strip;
            exponent += strip as i16;
        }
        match i128::try_from(&mantissa) {
            Ok(small) => Self::normal_small(small, exponent, float),
            Err(_) => Self(Repr::Big(Box::new(Big { mantissa, exponent, float }))),
        }
    }

    /// The number with these parts, if they are canonical.
    pub(crate) fn from_parts(mantissa: BigInt, exponent: i16, float: bool) -> Option<Self> {
        let canonical = exponent == 0 || ((EXPONENT_MIN..0).contains(&exponent) && mantissa.bit(0));
        canonical.then(|| Self::normal_big(mantissa, exponent, float))
    }

    /// The number with these parts, if they are canonical.
    pub(crate) fn from_small_parts(mantissa: i128, exponent: i16, float: bool) -> Option<Self> {
        let canonical = exponent == 0 || ((EXPONENT_MIN..0).contains(&exponent) && mantissa & 1 == 1);
        canonical.then(|| Self::small(mantissa, exponent, float))
    }

    /// `mantissa` times two to the power of `exponent`, which is at least -1074.
    pub(crate) fn from_scaled(mantissa: i128, exponent: i16, float: bool) -> Self {
        Self::normal_small(mantissa, exponent, float)
    }

    pub(crate) fn from_unsigned(value: u128) -> Self {
        Self::normal_big(BigInt::from(value), 0, false)
    }

    /// The mantissa and the exponent, of a number whose mantissa has no more than 127 bits.
    pub(crate) fn small_parts(&self) -> Option<(i128, i16)> {
        match self.parts() {
            (Mantissa::Small(mantissa), exponent) => Some((mantissa, exponent)),
            (Mantissa::Big(_), _) => None,
        }
    }

    pub(crate) fn parts(&self) -> (Mantissa<'_>, i16) {
        match &self.0 {
            Repr::Small { high, low, exponent, .. } => (Mantissa::Small(join(*high, *low)), *exponent),
            Repr::Big(big) => (Mantissa::Big(&big.mantissa), big.exponent),
        }
    }

    fn mantissa(&self) -> BigInt {
        match self.parts().0 {
            Mantissa::Small(mantissa) => BigInt::from(mantissa),
            Mantissa::Big(mantissa) => mantissa.clone(),
        }
    }

    /// What it holds besides itself, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.0 {
            Repr::Small { .. } => 0,
            // Digits of 64 bits, and room for as many more.
            Repr::Big(big) => size_of::<Big>() + usize::try_from(big.mantissa.bits() / 4).unwrap_or(usize::MAX) + 16,
        }
    }

    fn exponent(&self) -> i16 {
        match &self.0 {
            Repr::Small { exponent, .. } => *exponent,
            Repr::Big(big) => big.exponent,
        }
    }

    /// Whether a float ever took part in this number. If so, it reads as a float even when it is whole.
    #[must_use]
    pub fn is_float(&self) -> bool {
        match &self.0 {
            Repr::Small { float, .. } => *float,
            Repr::Big(big) => big.float,
        }
    }

    /// Whether the value is zero, integer or float.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        matches!(self.0, Repr::Small { high: 0, low: 0, .. })
    }

    /// The same number without the float flag, if it is whole.
    pub(crate) fn without_float(self) -> Self {
        if self.exponent() != 0 || !self.is_float() {
            return self;
        }
        match self.parts().0 {
            Mantissa::Small(mantissa) => Self::small(mantissa, 0, false),
            Mantissa::Big(mantissa) => Self::normal_big(mantissa.clone(), 0, false),
        }
    }

    /// Whether two numbers are equal and have the same float flag.
    pub(crate) fn is_identical(&self, other: &Self) -> bool {
        self.is_float() == other.is_float() && self == other
    }

    /// Whether this is the identity of addition, the integer zero. A float zero is not: it makes an integer a float.
    pub(crate) fn is_nothing(&self) -> bool {
        self.is_zero() && !self.is_float()
    }

    /// The value, if it is an integer without the float flag that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_i128().and_then(|value| i64::try_from(value).ok())
    }

    /// The value, if it is an integer without the float flag that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.as_i128().and_then(|value| u64::try_from(value).ok())
    }

    pub(crate) fn as_i128(&self) -> Option<i128> {
        match &self.0 {
            Repr::Small { high, low, exponent: 0, float: false } => Some(join(*high, *low)),
            _ => None,
        }
    }

    /// The nearest double, ties to even. Saturates at the largest finite double; the number itself stays exact.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        let exponent = i32::from(self.exponent());
        match self.parts().0 {
            Mantissa::Small(mantissa) => round(mantissa < 0, mantissa.unsigned_abs(), false, exponent),
            Mantissa::Big(mantissa) => round_big(mantissa, false, exponent),
        }
    }

    /// The double nearest to the exact quotient, ties to even; 0 for a divisor of 0.
    pub(crate) fn divided_by(&self, divisor: u64) -> f64 {
        let (mantissa, exponent) = match self.parts() {
            (Mantissa::Small(mantissa), exponent) => (BigInt::from(mantissa), exponent),
            (Mantissa::Big(mantissa), exponent) => (mantissa.clone(), exponent),
        };
        if divisor == 0 {
            return 0.0;
        }
        // 66 bits of the quotient are the 53 of a double and the bits to round by. The remainder is the sticky bit.
        let bits = u32::try_from(mantissa.bits()).unwrap_or(u32::MAX);
        let shift = (66 + u64::BITS - divisor.leading_zeros()).saturating_sub(bits);
        let divisor = BigInt::from(divisor);
        let (dividend, exponent) = (mantissa << shift, i32::from(exponent).saturating_sub_unsigned(shift));
        let quotient = &dividend / &divisor;
        let has_rest = &quotient * divisor != dividend;
        round_big(&quotient, has_rest, exponent)
    }
}

/// The double nearest to `mantissa * 2^exponent`; if `sticky`, the true magnitude is slightly larger.
fn round_big(mantissa: &BigInt, sticky: bool, exponent: i32) -> f64 {
    // The top 128 bits are used, and everything below them is one sticky bit.
    let magnitude = mantissa.magnitude();
    let drop = magnitude.bits().saturating_sub(128);
    let top = u128::try_from(magnitude >> drop).unwrap_or(u128::MAX);
    let sticky = sticky || magnitude.trailing_zeros().is_some_and(|zeros| zeros < drop);
    let drop = i32::try_from(drop).unwrap_or(i32::MAX / 2);
    round(mantissa.sign() == Sign::Minus, top, sticky, exponent + drop)
}

/// The i128 whose two's complement has these halves.
fn join(high: i64, low: u64) -> i128 {
    (i128::from(high) << 64) | i128::from(low)
}

/// The double nearest to `magnitude * 2^exponent`; if `sticky`, the true magnitude is slightly larger.
fn round(negative: bool, magnitude: u128, sticky: bool, exponent: i32) -> f64 {
    if magnitude == 0 {
        return 0.0;
    }
    // The cast of the significand below is exact: it has at most 53 bits.
    let bits = 128 - magnitude.leading_zeros().cast_signed();
    // A double has at most 53 bits and none below 2^-1074. Numbers have none there either, but quotients do.
    let shift = (bits - 53).max(i32::from(EXPONENT_MIN) - exponent);
    if shift > 127 {
        return 0.0;
    }
    let (significand, scale) = if shift <= 0 {
        (magnitude, exponent)
    } else {
        let kept = magnitude >> shift;
        let rest = magnitude & ((1 << shift) - 1);
        let half = 1_u128 << (shift - 1);
        let up = rest > half || (rest == half && (sticky || kept & 1 == 1));
        (kept + u128::from(up), exponent + shift)
    };
    let value = scale_by_power_of_two(significand as f64, scale).min(f64::MAX);
    if negative { -value } else { value }
}

/// `value * 2^power` where the result is representable or overflows; `power` is at least -1074.
fn scale_by_power_of_two(value: f64, power: i32) -> f64 {
    if power > 1023 {
        return if value == 0.0 { 0.0 } else { f64::INFINITY };
    }
    let factor = if power >= -1022 {
        // The biased exponent, from 1 to 2046.
        f64::from_bits(u64::from((power + 1023).cast_unsigned()) << 52)
    } else {
        f64::from_bits(1_u64 << (power + 1074).max(0))
    };
    value * factor
}

impl std::ops::Add for &Number {
    type Output = Number;

    fn add(self, other: &Number) -> Number {
        let float = self.is_float() || other.is_float();
        let (a, b) = (self.exponent(), other.exponent());
        if a == 0
            && b == 0
            && let (Mantissa::Small(m), Mantissa::Small(n)) = (self.parts().0, other.parts().0)
            && let Some(sum) = m.checked_add(n)
        {
            return Number::small(sum, 0, float);
        }
        let exponent = a.min(b);
        // At most 1074 each: one of them is zero.
        let (shift_a, shift_b) = (u32::from(a.abs_diff(exponent)), u32::from(b.abs_diff(exponent)));
        if let (Mantissa::Small(m), Mantissa::Small(n)) = (self.parts().0, other.parts().0)
            && let (Some(m), Some(n)) = (shift_exactly(m, shift_a), shift_exactly(n, shift_b))
            && let Some(sum) = m.checked_add(n)
        {
            return Number::normal_small(sum, exponent, float);
        }
        let sum = (self.mantissa() << shift_a) + (other.mantissa() << shift_b);
        Number::normal_big(sum, exponent, float)
    }
}

fn shift_exactly(mantissa: i128, shift: u32) -> Option<i128> {
    (shift < mantissa.unsigned_abs().leading_zeros() || mantissa == 0).then(|| mantissa.checked_shl(shift).unwrap_or(0))
}

impl std::ops::Add for Number {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        &self + &other
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        // The form is canonical, so equal numbers have equal parts.
        self.parts() == other.parts()
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.exponent(), other.exponent());
        let exponent = a.min(b);
        // As nearly all are, without an allocation.
        if let (Mantissa::Small(m), Mantissa::Small(n)) = (self.parts().0, other.parts().0)
            && let Some(m) = shift_exactly(m, u32::from(a.abs_diff(exponent)))
            && let Some(n) = shift_exactly(n, u32::from(b.abs_diff(exponent)))
        {
            return m.cmp(&n);
        }
        (self.mantissa() << a.abs_diff(exponent)).cmp(&(other.mantissa() << b.abs_diff(exponent)))
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Number {
            fn from(value: $integer) -> Self {
                Self::small(i128::from(value), 0, false)
            }
        }
    )*};
}
from_integer!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

impl TryFrom<f64> for Number {
    type Error = NotFinite;

    fn try_from(value: f64) -> Result<Self, NotFinite> {
        if !value.is_finite() {
            return Err(NotFinite);
        }
        let bits = value.to_bits();
        // 11 bits.
        let biased = ((bits >> 52) & 0x7ff) as i16;
        let fraction = i128::from(bits & ((1 << 52) - 1));
        let (magnitude, exponent) =
            if biased == 0 { (fraction, EXPONENT_MIN) } else { (fraction | (1 << 52), biased - 1075) };
        let mantissa = if value.is_sign_negative() { -magnitude } else { magnitude };
        Ok(match u32::try_from(exponent) {
            Ok(shift) => match shift_exactly(mantissa, shift) {
                Some(mantissa) => Self::small(mantissa, 0, true),
                None => Self::normal_big(BigInt::from(mantissa) << shift, 0, true),
            },
            Err(_) => Self::normal_small(mantissa, exponent, true),
        })
    }
}

impl Number {
    /// The text of this number as an id, the same for all numbers that are equal: of a whole number its digits. None
    /// for a float of 2^53 or more, which a parser may have rounded, so that it could be the id of another user.
    pub(crate) fn as_id(&self) -> Option<String> {
        match self.parts() {
            (Mantissa::Small(digits), 0) if !self.is_float() || digits.unsigned_abs() < 1 << f64::MANTISSA_DIGITS => {
                Some(digits.to_string())
            }
            (Mantissa::Big(digits), 0) if !self.is_float() => Some(digits.to_string()),
            (_, 0) => None,
            _ => Some(self.to_string()),
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As in JSON: integers that fit 128 bits as digits, everything else as the nearest double.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_i128() {
            Some(value) => write!(f, "{value}"),
            None => write!(f, "{:?}", self.as_f64()),
        }
    }
}

/// An integer that fits 128 bits is serialized as one, everything else as the nearest double. `serde_json::to_value` is
/// the one format of `serde_json` that has no integers beyond 64 bits; it reports an error.
impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(value) = self.as_i64() {
            serializer.serialize_i64(value)
        } else if let Some(value) = self.as_u64() {
            serializer.serialize_u64(value)
        } else if let Some(value) = self.as_i128() {
            serializer.serialize_i128(value)
        } else {
            serializer.serialize_f64(self.as_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finite number")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Number, E> {
                Ok(value.into())
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
                Ok(value.into())
            }

            fn visit_i128<E: de::Error>(self, value: i128) -> Result<Number, E> {
                Ok(value.into())
            }

            fn visit_u128<E: de::Error>(self, value: u128) -> Result<Number, E> {
                i128::try_from(value).map(Number::from).map_err(|_| E::custom("an integer has at most 128 bits"))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Number, E> {
                Number::try_from(value).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(value: f64) -> Number {
        Number::try_from(value).unwrap()
    }

    /// An independent oracle for sums of doubles: everything at the scale of the smallest subnormal.
    fn reference(values: &[f64]) -> BigInt {
        values.iter().fold(BigInt::ZERO, |sum, &value| {
            let bits = value.to_bits();
            let biased = (bits >> 52) & 0x7ff;
            let fraction = bits & ((1 << 52) - 1);
            let magnitude =
                if biased == 0 { BigInt::from(fraction) } else { BigInt::from(fraction | 1 << 52) << (biased - 1) };
            if value.is_sign_negative() { sum - magnitude } else { sum + magnitude }
        })
    }

    fn finite() -> impl Strategy<Value = f64> {
        any::<f64>().prop_filter("finite", |value| value.is_finite())
    }

    proptest! {
        #[test]
        fn a_double_round_trips(value in finite()) {
            prop_assert_eq!(number(value).as_f64(), value);
        }

        #[test]
        fn sums_are_exact_and_independent_of_order(values in prop::collection::vec(finite(), 0..12)) {
            let forward = values.iter().fold(Number::from(0), |sum, &v| &sum + &number(v));
            let backward = values.iter().rev().fold(Number::from(0), |sum, &v| &number(v) + &sum);
            prop_assert_eq!(forward.parts(), backward.parts());
            let exact = reference(&values);
            prop_assert_eq!(forward.mantissa() << (forward.exponent() - EXPONENT_MIN) as u32, exact);
        }

        #[test]
        fn rounding_agrees_with_the_hardware(a in finite(), b in finite()) {
            // One addition of two doubles is correctly rounded by IEEE 754.
            let expected = a + b;
            let seen = (&number(a) + &number(b)).as_f64();
            prop_assert_eq!(seen, expected.clamp(f64::MIN, f64::MAX));
        }

        #[test]
        fn a_quotient_is_the_nearest_double(
            values in prop::collection::vec(prop_oneof![finite(), 0.0..1e-320_f64, Just(f64::MAX)], 1..5),
            divisor in prop_oneof![1..10_u64, any::<u64>().prop_map(|divisor| divisor.max(1))],
        ) {
            let sum = values.iter().fold(Number::from(0), |sum, &v| &sum + &number(v));
            let (exact, rounded) = (reference(&values), sum.divided_by(divisor));
            // In units of the smallest subnormal, `divisor` times as fine.
            let distance = |double: f64| (&exact - reference(&[double]) * divisor).magnitude().clone();
            for neighbour in [rounded.next_up(), rounded.next_down()].into_iter().filter(|double| double.is_finite()) {
                prop_assert!(distance(rounded) <= distance(neighbour), "{values:?} / {divisor}");
                prop_assert!(distance(rounded) < distance(neighbour) || rounded.to_bits() & 1 == 0, "ties to even");
            }
        }

        #[test]
        fn order_is_numeric(a in any::<i64>(), b in any::<i64>(), x in -1e18_f64..1e18) {
            prop_assert_eq!(Number::from(a).cmp(&Number::from(b)), a.cmp(&b));
            prop_assert_eq!(number(x).cmp(&number(a as f64)), x.partial_cmp(&(a as f64)).unwrap());
        }

        #[test]
        fn integers_round_as_rust_rounds_them(value in any::<i128>()) {
            prop_assert_eq!(Number::from(value).as_f64(), value as f64);
        }
    }

    #[test]
    fn a_remainder_breaks_a_tie() {
        let tie = ((1_i128 << 53) + 1) << 20;
        assert_eq!(Number::from(tie * 3).divided_by(3), 2_f64.powi(73));
        assert_eq!(Number::from(tie * 3 + 1).divided_by(3), 2_f64.powi(73) + 2_f64.powi(21));
        assert_eq!((Number::from(5).divided_by(0), Number::from(0).divided_by(7)), (0.0, 0.0));
    }

    #[test]
    fn doubles_at_the_limits_of_their_range_convert_exactly() {
        for value in [0.0, 5e-324, -5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1.0 + f64::EPSILON, 0.1] {
            assert_eq!(number(value).as_f64(), value);
        }
        let beyond = &number(f64::MAX) + &number(f64::MAX);
        assert_eq!(beyond.as_f64(), f64::MAX, "the conversion saturates");
        assert_eq!((&beyond + &number(f64::MIN)).as_f64(), f64::MAX, "and the number stays exact");
        assert!((&number(1e308) + &number(5e-324)) > number(1e308));
        assert_eq!(Number::try_from(f64::NAN), Err(NotFinite));
        assert_eq!(Number::try_from(f64::NEG_INFINITY), Err(NotFinite));
    }

    #[test]
    fn the_float_flag_is_sticky_and_equality_ignores_it() {
        let whole = &number(1.5) + &number(0.5);
        assert_eq!(whole, Number::from(2));
        assert_eq!(whole.to_string(), "2.0");
        assert_eq!(whole.as_i64(), None);
        assert_eq!(Number::from(u64::MAX).to_string(), u64::MAX.to_string());
        assert_eq!((Number::from(u64::MAX) + Number::from(1)).to_string(), "18446744073709551616");
        assert_eq!((Number::from(i128::MAX) + Number::from(1)).to_string(), "1.7014118346046923e38");
        assert_eq!((Number::from(i64::MAX) + Number::from(i64::MIN)).as_i64(), Some(-1));
    }

    #[test]
    fn equal_numbers_are_one_id() {
        let id = |value: f64| number(value).as_id();
        for (value, text) in [(12345.0, "12345"), (-0.0, "0"), (-9_007_199_254_740_991.0, "-9007199254740991")] {
            assert_eq!(id(value).as_deref(), Some(text));
            assert_eq!(Number::from(value as i64).as_id().as_deref(), Some(text));
        }
        assert_eq!((id(0.5).as_deref(), id(-1e-7).as_deref()), (Some("0.5"), Some("-1e-7")));
        // The first is what 2^53 + 1 is read as.
        assert_eq!([9_007_199_254_740_992.0, -9_007_199_254_740_992.0, 1e300].map(id), [None, None, None]);
        let beyond = &Number::from(i128::MIN) + &Number::from(-1);
        assert_eq!(beyond.as_id().as_deref(), Some("-170141183460469231731687303715884105729"));
        assert_eq!(Number::from(u64::MAX).as_id(), Some(u64::MAX.to_string()));
    }

    #[test]
    fn a_number_is_three_words() {
        assert_eq!(size_of::<Number>(), 24);
    }
}
