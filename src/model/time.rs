//! Points in time.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{self, Serialize, Serializer};

use super::{Number, Value};
use crate::error::{Error, Result};

/// A point in time: milliseconds since 1970-01-01T00:00:00 UTC.
///
/// `$last_seen` stores whole seconds. Nothing below the facade reads a clock: times are arguments.
///
/// ```
/// use profiledb::Timestamp;
///
/// let time = Timestamp::parse("2023-11-14T22:13:20")?;
/// assert_eq!(time, Timestamp::from_seconds(1_700_000_000));
/// assert_eq!(time.to_string(), "2023-11-14T22:13:20");
///
/// let now = Timestamp::from(std::time::SystemTime::now());
/// assert!(now > "2024-01-01".parse()?);
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Numbers above this are milliseconds, others are seconds: 1e11 s is the year 5138, 1e11 ms is 1973.
const SECONDS_MAX: f64 = 1e11;

const DAY_MILLIS: i64 = 86_400_000;

/// The range of the text form: the years 0000 to 9999.
const RANGE_SECONDS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_207_200;

impl Timestamp {
    /// From seconds since the epoch. Saturates at the ends of the representable range.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From a number whose magnitude determines its unit, as for `$time`: milliseconds above 1e11, else seconds.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the number is not a time within the years 0000 to 9999.
    #[expect(clippy::cast_possible_truncation, reason = "saturates; what is not within the range is refused")]
    pub fn from_number(number: f64) -> Result<Self> {
        let millis = if number.abs() > SECONDS_MAX { number } else { (number * 1_000.0).round() };
        // The cast saturates, and NaN becomes 0; the condition below excludes both.
        let time = Self(millis as i64);
        if millis.is_finite() && RANGE_SECONDS.contains(&time.seconds()) {
            Ok(time)
        } else {
            Err(Error::invalid(format!("not a time value={number}")))
        }
    }

    /// From text of the form `YYYY-MM-DDTHH:MM:SS` or `YYYY-MM-DD` in UTC; a fraction, a `Z` and an offset such as
    /// `+01:00` are accepted.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the text has another form or is not a valid time.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_with(text, |civil| jiff::tz::Offset::UTC.to_timestamp(civil))
    }

    /// As [`parse`](Self::parse). What has no offset is read by a function.
    pub(super) fn parse_with(
        text: &str,
        local: impl Fn(jiff::civil::DateTime) -> std::result::Result<jiff::Timestamp, jiff::Error>,
    ) -> Result<Self> {
        let read = match text.strip_suffix(['Z', 'z']) {
            Some(bare) => read_civil(bare, |civil| jiff::tz::Offset::UTC.to_timestamp(civil)),
            None => read_civil(text, local),
        };
        read.map(|time| Self(time.as_millisecond())).map_err(|error| {
            Error::invalid(format!("not a time of the form YYYY-MM-DDTHH:MM:SS value={text:?}")).because(error)
        })
    }

    /// The start of a day, which is counted from 1970-01-01 in UTC.
    pub(crate) fn of_day(day: i32) -> Self {
        Self(i64::from(day) * DAY_MILLIS)
    }

    /// The day in UTC, counted from 1970-01-01, and the milliseconds since its start. Saturates at the range of an
    /// `i32` of days, far outside the years 0000 to 9999.
    #[expect(clippy::cast_possible_truncation, reason = "0 to 86,399,999 milliseconds of a day")]
    pub(crate) fn day_and_millis(self) -> (i32, u32) {
        match i32::try_from(self.0.div_euclid(DAY_MILLIS)) {
            Ok(day) => (day, self.0.rem_euclid(DAY_MILLIS) as u32),
            Err(_) if self.0 < 0 => (i32::MIN, 0),
            Err(_) => (i32::MAX, (DAY_MILLIS - 1) as u32),
        }
    }

    /// Whether this is within the years 0000 to 9999, the range of the text form.
    pub(crate) fn has_text(self) -> bool {
        RANGE_SECONDS.contains(&self.seconds())
    }

    /// The number for `time` in the JSON of an event, from which [`from_number`](Self::from_number) reads the same
    /// time: whole seconds if it reads them as seconds; otherwise milliseconds if it reads those as milliseconds, and
    /// seconds with a fraction near 1970.
    pub(crate) fn to_wire_number(self) -> Number {
        // A cast that rounds does not read back as the same time.
        let reads_back = |number: i64| Self::from_number(number as f64).is_ok_and(|time| time == self);
        match [self.seconds(), self.millis()].into_iter().find(|number| reads_back(*number)) {
            Some(number) => number.into(),
            // A quotient of two finite doubles of which the second is 1,000 is finite.
            None => Number::try_from(self.0 as f64 / 1e3).unwrap_or(self.0.into()),
        }
    }

    /// The text, with milliseconds unless they are zero. Outside the years 0000 to 9999, which have no text form, the
    /// milliseconds as a number.
    pub(crate) fn to_exact_value(self) -> Value {
        match self.0.rem_euclid(1_000) {
            _ if !self.has_text() => self.0.into(),
            0 => self.to_string().into(),
            millis => format!("{self}.{millis:03}").into(),
        }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

/// Parses a date and a time, which are local unless there is an offset. A named time zone without an offset is
/// rejected: its meaning depends on a time zone database.
fn read_civil(
    text: &str,
    local: impl Fn(jiff::civil::DateTime) -> std::result::Result<jiff::Timestamp, jiff::Error>,
) -> std::result::Result<jiff::Timestamp, jiff::Error> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text)?;
    // A date without a time is midnight.
    let civil = pieces.date().to_datetime(pieces.time().unwrap_or_default());
    match (pieces.to_numeric_offset(), pieces.time_zone_annotation()) {
        (Some(offset), _) => offset.to_timestamp(civil),
        (None, None) => local(civil),
        (None, Some(_)) => text.parse(),
    }
}

/// `YYYY-MM-DDTHH:MM:SS` in UTC, without a fraction: the only form that Mixpanel's own tools read in `$last_seen`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds().clamp(*RANGE_SECONDS.start(), *RANGE_SECONDS.end());
        let time = jiff::Timestamp::from_second(seconds).map_err(|_| fmt::Error)?;
        write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M:%S"))
    }
}

/// As [`Timestamp::parse`].
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// In whole milliseconds, rounded down. Saturates at the ends of the representable range.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let saturated = |millis: u128| i64::try_from(millis).unwrap_or(i64::MAX);
        Self(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => saturated(after.as_millis()),
            Err(error) => -saturated(error.duration().as_nanos().div_ceil(1_000_000)),
        })
    }
}

/// As text of the form `YYYY-MM-DDTHH:MM:SS`, with milliseconds unless they are zero. A time outside the years 0000 to
/// 9999 has no text form and is an error.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_exact_value() {
            Value::String(text) => serializer.serialize_str(&text),
            _ => Err(ser::Error::custom(format_args!("a time outside of the years 0000 to 9999 millis={}", self.0))),
        }
    }
}

/// From text, as [`Timestamp::parse`], or from a number, as [`Timestamp::from_number`].
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimestampVisitor;

        impl Visitor<'_> for TimestampVisitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as text or as a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).map_err(|error| E::custom(error.message()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Timestamp, E> {
                // Any integer that is a valid time is below 2^53, so the cast is exact for it; others stay invalid.
                self.visit_f64(number as f64)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Timestamp, E> {
                self.visit_f64(number as f64)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Timestamp, E> {
                Timestamp::from_number(number).map_err(|error| E::custom(error.message()))
            }
        }

        deserializer.deserialize_any(TimestampVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magnitude_of_a_number_determines_its_unit() {
        for number in [1_700_000_000.0, 1_700_000_000.25, 1_700_000_000_000.0] {
            assert_eq!(Timestamp::from_number(number).unwrap().to_string(), "2023-11-14T22:13:20");
        }
        for bad in [f64::NAN, f64::INFINITY, 1e300, -1e300] {
            assert!(Timestamp::from_number(bad).unwrap_err().is_invalid());
        }
    }

    #[test]
    fn text_round_trips() {
        for text in [
            "1970-01-01T00:00:00",
            "2024-02-29T23:59:59",
            "1969-12-31T23:59:59",
            "0001-01-01T00:00:00",
            "9999-12-30T00:00:00",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Timestamp::parse("2024-01-02").unwrap().to_string(), "2024-01-02T00:00:00");
        assert_eq!(Timestamp::parse("2024-01-02T03:04:05.678Z").unwrap().to_string(), "2024-01-02T03:04:05");
        for offset in ["2024-01-02T03:04:05+01:30", "2024-01-02 03:04:05+01:30[Somewhere]", "2024-01-01T20:34:05.5-05"]
        {
            assert_eq!(Timestamp::parse(offset).unwrap().to_string(), "2024-01-02T01:34:05");
        }
        for bad in ["", "yesterday", "2024-02-30T00:00:00", "12:00", "2024-01-02T03:04:05[Europe/Berlin]"] {
            assert!(Timestamp::parse(bad).unwrap_err().message().contains(bad));
        }
        assert_eq!(Timestamp::from_seconds(i64::MAX).to_string(), "9999-12-30T22:00:00");
    }
}
