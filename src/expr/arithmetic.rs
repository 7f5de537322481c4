//! Arithmetic on exact numbers, exact where possible. `None` is undefined: division by zero, or a result that is not
//! finite.

use num_bigint::BigInt;

use crate::model::{Mantissa, Number};

pub(super) fn negate(number: &Number) -> Option<Number> {
    let float = number.is_float();
    match number.parts() {
        (Mantissa::Small(mantissa), exponent) => match mantissa.checked_neg() {
            Some(mantissa) => Number::from_small_parts(mantissa, exponent, float),
            // Only -2^127 has no negation as an i128.
            None => Number::from_parts(-BigInt::from(mantissa), exponent, float),
        },
        (Mantissa::Big(mantissa), exponent) => Number::from_parts(-mantissa, exponent, float),
    }
}

pub(super) fn difference(a: &Number, b: &Number) -> Option<Number> {
    Some(a + &negate(b)?)
}

/// Exact if it fits 127 bits, as for any two doubles of usual size; else the product of the nearest doubles.
pub(super) fn product(a: &Number, b: &Number) -> Option<Number> {
    let small = || {
        let ((Mantissa::Small(m), e), (Mantissa::Small(n), f)) = (a.parts(), b.parts()) else { return None };
        let mut product = m.checked_mul(n)?;
        let mut exponent = i32::from(e) + i32::from(f);
        if product == 0 {
            exponent = 0;
        } else if exponent < 0 {
            let strip = product.trailing_zeros().min(exponent.unsigned_abs());
            product >>= strip;
            // At most 127.
            exponent = exponent.saturating_add_unsigned(strip);
        }
        Number::from_small_parts(product, i16::try_from(exponent).ok()?, a.is_float() || b.is_float())
    };
    small().or_else(|| Number::try_from(a.as_f64() * b.as_f64()).ok())
}

/// An integer if both are and it is one; else the quotient of the nearest doubles.
pub(super) fn quotient(a: &Number, b: &Number) -> Option<Number> {
    if b.is_zero() {
        return None;
    }
    if let ((Mantissa::Small(m), 0), (Mantissa::Small(n), 0)) = (a.parts(), b.parts())
        && !a.is_float()
        && !b.is_float()
        && m.checked_rem(n) == Some(0)
    {
        return m.checked_div(n).map(Number::from);
    }
    Number::try_from(a.as_f64() / b.as_f64()).ok()
}

/// With the sign of the dividend. Exact for whole numbers; else the remainder of the nearest doubles.
pub(super) fn remainder(a: &Number, b: &Number) -> Option<Number> {
    if b.is_zero() {
        return None;
    }
    if let ((Mantissa::Small(m), 0), (Mantissa::Small(n), 0)) = (a.parts(), b.parts()) {
        return Number::from_small_parts(m.checked_rem(n)?, 0, a.is_float() || b.is_float());
    }
    Number::try_from(a.as_f64() % b.as_f64()).ok()
}

pub(super) fn floor(number: &Number) -> Option<Number> {
    match number.parts() {
        (_, 0) => Some(number.clone()),
        // A right shift rounds down, also for negative numbers.
        (Mantissa::Small(mantissa), exponent) => {
            Number::from_small_parts(mantissa >> exponent.unsigned_abs().min(127), 0, number.is_float())
        }
        (Mantissa::Big(mantissa), exponent) => {
            Number::from_parts(mantissa >> exponent.unsigned_abs(), 0, number.is_float())
        }
    }
}

pub(super) fn ceil(number: &Number) -> Option<Number> {
    negate(&floor(&negate(number)?)?)
}

/// Halves round away from zero.
pub(super) fn round(number: &Number) -> Option<Number> {
    if number.parts().1 == 0 {
        return Some(number.clone());
    }
    let half = Number::from_small_parts(1, -1, false)?;
    if *number < Number::from(0) { ceil(&difference(number, &half)?) } else { floor(&(number + &half)) }
}

/// Equal numbers have equal texts: a whole number of at most 128 bits as its digits, others as the shortest text of the
/// nearest double.
pub(super) fn text(number: &Number) -> String {
    match number.parts() {
        (Mantissa::Small(whole), 0) => whole.to_string(),
        _ => format!("{:?}", number.as_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(value: f64) -> Number {
        Number::try_from(value).unwrap()
    }

    fn finite() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |value| value.is_finite()),
            -1e9_f64..1e9,
            (-40_i32..40).prop_map(|halves| f64::from(halves) / 2.0),
        ]
    }

    proptest! {
        #[test]
        fn one_operation_agrees_with_the_hardware(a in finite(), b in finite()) {
            let (x, y) = (number(a), number(b));
            let reads = |result: Option<Number>, expected: f64| {
                prop_assert_eq!(result.map(|n| n.as_f64()), expected.is_finite().then_some(expected));
                Ok(())
            };
            prop_assert_eq!(negate(&x).unwrap().as_f64(), -a);
            prop_assert_eq!(difference(&x, &y).unwrap().as_f64(), (a - b).clamp(f64::MIN, f64::MAX));
            reads(quotient(&x, &y), a / b)?;
            reads(remainder(&x, &y), a % b)?;
            reads(floor(&x), a.floor())?;
            reads(ceil(&x), a.ceil())?;
            // Adding a half in doubles could round, which `f64::round` does not.
            reads(round(&x), a.round())?;
            // Where the product of doubles overflows, the exact one may still be representable, and its
            // double saturates.
            let expected = (a * b).clamp(f64::MIN, f64::MAX);
            prop_assert!(product(&x, &y).is_none_or(|n| n.as_f64() == expected), "{} * {}", a, b);
        }

        #[test]
        fn integers_are_exact(a in any::<i64>(), b in any::<i64>()) {
            let (x, y) = (Number::from(a), Number::from(b));
            let (m, n) = (i128::from(a), i128::from(b));
            prop_assert_eq!(product(&x, &y), Some(Number::from(m * n)));
            prop_assert_eq!(quotient(&Number::from(m * n), &y), (b != 0).then(|| Number::from(m)));
            prop_assert_eq!(remainder(&x, &y), m.checked_rem(n).map(Number::from));
            prop_assert_eq!(round(&x), Some(x));
        }
    }

    #[test]
    fn arithmetic_at_the_limits_of_i128_and_of_doubles() {
        let min = Number::from(i128::MIN);
        assert_eq!(negate(&min).unwrap().as_f64(), -(i128::MIN as f64));
        assert_eq!(quotient(&min, &Number::from(-1)).unwrap().as_f64(), -(i128::MIN as f64));
        assert_eq!(remainder(&min, &Number::from(-1)), None);
        assert_eq!(product(&number(1e300), &number(1e300)), None);
        assert_eq!(product(&number(5e-324), &number(0.5)), Some(number(0.0)));
        assert_eq!(product(&number(0.5), &Number::from(6)).unwrap().to_string(), "3.0");
        let odd = &Number::from(1_i64 << 60) + &number(0.5);
        assert_eq!(floor(&odd), Some(Number::from(1_i64 << 60)));
        assert_eq!(ceil(&odd), Some(Number::from((1_i64 << 60) + 1)));
        let wide = &number(1e300) + &number(-0.5);
        assert_eq!(ceil(&wide), Some(number(1e300)));
        assert!(floor(&wide) < Some(wide));
    }

    #[test]
    fn equal_numbers_have_equal_texts() {
        for (value, expected) in [
            (Number::from(2), "2"),
            (number(2.0), "2"),
            (number(-2.5), "-2.5"),
            (number(0.1), "0.1"),
            (number(1e300), "1e300"),
            (Number::from(u64::MAX), "18446744073709551615"),
            (Number::from(1_i128 << 70), "1180591620717411303424"),
            (number(1_180_591_620_717_411_303_424.0), "1180591620717411303424"),
        ] {
            assert_eq!(text(&value), expected);
        }
    }
}
