//! Floor division of decimals: the multiple of a width that a number lies above, for histograms of equal widths.

use std::str::FromStr;

use num_bigint::{BigInt, Sign};

use super::Number;
use crate::error::{Error, Result};

/// A decimal, `digits * 10^exponent`: the one that a number is written as in JSON, not the double next to it. So `0.3`
/// is three times `0.1`.
struct Decimal {
    digits: BigInt,
    exponent: i32,
}

impl Decimal {
    /// The decimal of a number, which is written as digits, maybe with a point, maybe with an exponent.
    fn of(number: &Number) -> Option<Self> {
        let text = number.to_string();
        let (decimal, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        Some(Self { digits, exponent })
    }

    /// The digits for a smaller exponent.
    fn digits_at(&self, exponent: i32) -> BigInt {
        &self.digits * BigInt::from(10).pow(self.exponent.abs_diff(exponent))
    }
}

impl Number {
    /// The greatest multiple of a width that is not greater than this number. Nothing without a width that is greater
    /// than zero.
    pub(crate) fn floor_to(&self, width: &Self) -> Option<Self> {
        if let (Some(number), Some(width)) = (self.as_i64(), width.as_i64().filter(|width| *width > 0)) {
            let number = i128::from(number);
            return Some((number - number.rem_euclid(width.into())).into());
        }
        let (number, width) = (Decimal::of(self)?, Decimal::of(width)?);
        let exponent = number.exponent.min(width.exponent);
        let (digits, step) = (number.digits_at(exponent), width.digits_at(exponent));
        if step.sign() != Sign::Plus {
            return None;
        }
        // The remainder of a division has the sign of the dividend.
        let mut rest = &digits % &step;
        if rest.sign() == Sign::Minus {
            rest += &step;
        }
        let floor = digits - rest;
        let unit = BigInt::from(10).pow(exponent.unsigned_abs());
        let whole = match (&floor % &unit).sign() {
            _ if exponent >= 0 => Some(&floor * &unit),
            Sign::NoSign => Some(&floor / &unit),
            _ => None,
        };
        match whole.and_then(|whole| i128::try_from(whole).ok()) {
            Some(whole) => Some(whole.into()),
            // The nearest double, as if it was read from JSON.
            None => format!("{floor}e{exponent}").parse::<f64>().ok()?.try_into().ok(),
        }
    }
}

/// As in JSON. An integer is exact, and one of more than 128 bits is refused.
impl FromStr for Number {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |why: &str| Error::invalid(format!("{why} value={text:?}"));
        let number: Self = serde_json::from_str(text).map_err(|_| refused("not a number of JSON"))?;
        if text.contains(['.', 'e', 'E']) {
            return Ok(number);
        }
        // serde_json reads integers of more than 64 bits as doubles.
        let integer = text.trim().parse::<i128>();
        integer.map(Self::from).map_err(|_| refused("an integer of more than 128 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn edges_belong_to_the_bucket_that_they_begin() {
        for (text, width, expected) in [
            ("0", "10", "0"),
            ("9", "10", "0"),
            ("10", "10", "10"),
            ("9.999999999", "10", "0"),
            ("27.5", "10", "20"),
            ("-0.0", "10", "0"),
            ("-1", "10", "-10"),
            ("-10", "10", "-10"),
            ("-10.5", "10", "-20"),
            // As decimals: the doubles next to them are 2.99.. and 6.99.. tenths.
            ("0.3", "0.1", "0.3"),
            ("0.7", "0.1", "0.7"),
            ("0.1", "0.1", "0.1"),
            ("-0.3", "0.1", "-0.3"),
            ("-0.31", "0.1", "-0.4"),
            ("1", "0.1", "1"),
            ("7", "2.5", "5"),
            ("1.7e308", "10", "1.7e308"),
            ("-1.7e308", "1e308", "-2e308"),
            ("5e-324", "1", "0"),
            ("-5e-324", "1", "-1"),
            ("5e-324", "5e-324", "5e-324"),
            ("3", "1e300", "0"),
            ("170141183460469231731687303715884105727", "10", "170141183460469231731687303715884105720"),
            ("-9223372036854775808", "10", "-9223372036854775810"),
            ("9223372036854775807", "9223372036854775807", "9223372036854775807"),
        ] {
            let floor = number(text).floor_to(&number(width));
            match expected {
                // Beyond the doubles.
                "-2e308" => assert_eq!(floor, None),
                expected => assert_eq!(floor.unwrap().to_string(), number(expected).to_string(), "{text} {width}"),
            }
        }
        for width in ["0", "-1", "-0.5", "0.0"] {
            assert_eq!(number("5").floor_to(&number(width)), None);
        }
    }

    #[test]
    fn numbers_are_parsed_exactly() {
        for (text, printed) in [
            ("12", "12"),
            (" -7 ", "-7"),
            ("1e2", "100.0"),
            ("0.5", "0.5"),
            ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
        ] {
            assert_eq!(number(text).to_string(), printed);
        }
        for wrong in ["", "ten", "007", "+5", ".5", "NaN", "1e999", "170141183460469231731687303715884105728"] {
            assert!(wrong.parse::<Number>().unwrap_err().is_invalid(), "{wrong}");
        }
    }

    proptest! {
        /// Against whole numbers of hundredths, which need no decimals.
        #[test]
        fn the_floor_is_that_of_whole_hundredths(hundredths in -100_000..100_000_i64, width in 1..5_000_i64) {
            let written = |hundredths: i64| {
                let sign = if hundredths < 0 { "-" } else { "" };
                number(&format!("{sign}{}.{:02}", hundredths.abs() / 100, hundredths.abs() % 100))
            };
            let floor = written(hundredths).floor_to(&written(width)).unwrap();
            prop_assert_eq!(floor, written(hundredths.div_euclid(width) * width));
        }
    }
}
