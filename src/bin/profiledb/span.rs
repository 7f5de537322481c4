//! Time ranges in flags.

use std::ops::Bound;

use clap::Args as Flags;
use profiledb::{TimeZone, Timestamp};

use crate::failure::Failure;

/// The help of `--before`.
pub(crate) const BEFORE_HELP: &str = "\
The time before which events are removed: a date, which is its midnight in UTC or in the zone of --tz, as 2024-01-31; \
a month or a year, which is its first day, as 2024-01 or 2024; a date and a time, maybe with an offset, as \
2024-01-31T13:00:00+01:00; \
or a number of seconds or milliseconds since 1970, of at least 9 digits";

/// A time range.
#[derive(Debug, Flags)]
pub(crate) struct SpanFlags {
    /// Only events at or after this time.
    ///
    /// A time is a date, which is its midnight in UTC or in the zone of --tz, as 2024-01-31; a month or a year, which
    /// is its first day, as 2024-01 or 2024; a date and a time, maybe with an offset, as 2024-01-31T13:00:00+01:00; or
    /// a number of seconds or milliseconds since 1970, of at least 9 digits.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only events before this time. A date excludes that day, a month that month, and a year that year.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    pub(crate) zone: ZoneFlag,
}

/// A time zone.
#[derive(Debug, Default, Flags)]
pub(crate) struct ZoneFlag {
    /// The time zone of $hour, $day, $week and $month, and of times without an offset, by its name in the IANA
    /// database, as Europe/Berlin. Times are printed in UTC all the same. Default: UTC.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
}

impl ZoneFlag {
    pub(crate) fn read(&self) -> Result<TimeZone, Failure> {
        let zone =
            self.tz.as_deref().map(|name| TimeZone::named(name).map_err(|error| Failure::from(error).during("--tz")));
        Ok(zone.transpose()?.unwrap_or_default())
    }
}

impl SpanFlags {
    /// The bounds: from the first time, inclusive, to the second, exclusive.
    pub(crate) fn bounds(&self) -> Result<(Bound<Timestamp>, Bound<Timestamp>), Failure> {
        let zone = self.zone.read()?;
        let read = |flag: &str, text: &Option<String>| text.as_ref().map(|text| time(flag, text, &zone)).transpose();
        let (from, to) = (read("--from", &self.from)?, read("--to", &self.to)?);
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            let why =
                if from > to { "--from is after --to" } else { "--from and --to are the same, and --to is excluded" };
            return Err(Failure::new(format!("{why}: nothing lies between {from} and {to}")));
        }
        Ok((from.map_or(Bound::Unbounded, Bound::Included), to.map_or(Bound::Unbounded, Bound::Excluded)))
    }
}

/// Digits of a number of seconds that is read as a time. With fewer it is in 1973 or before, and more likely a date.
const DIGITS_MIN: usize = 9;

/// Parses the time of a flag: a year, a month, a day, a date and a time, or a number.
pub(crate) fn time(flag: &str, text: &str, zone: &TimeZone) -> Result<Timestamp, Failure> {
    let text = text.trim();
    let refused = |why: &str| Failure::new(format!("{flag}: {why} value={text:?}"));
    let shapes =
        "not a time: 2024, 2024-01, 2024-01-31, 2024-01-31T13:00:00+01:00, or seconds or milliseconds since 1970";
    let digits = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    // A year or a month is its first day.
    let month = text.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let civil = match () {
        () if digits(text, 4) => format!("{text}-01-01"),
        () if month => format!("{text}-01"),
        () => text.to_owned(),
    };
    let number = text.trim_start_matches('-');
    if civil == text && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let whole = number.split('.').next().unwrap_or_default();
        let Ok(value) = text.parse() else { return Err(refused(shapes)) };
        if whole.len() < DIGITS_MIN {
            return Err(refused("ambiguous number: a date is written 2024-01-31, a time in 1970 1970-01-01T00:33:44"));
        }
        return Timestamp::from_number(value).map_err(|_| refused(shapes));
    }
    Timestamp::parse_in(&civil, zone).map_err(|_| refused(shapes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_typed_in_several_ways() {
        let millis = |text| {
            time("--from", text, &TimeZone::default()).map(Timestamp::millis).map_err(|failure| failure.to_string())
        };
        for (text, expected) in [
            ("2023-11-14", 1_699_920_000_000),
            ("2023-11-14T22:13:20", 1_700_000_000_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T23:13:20.250+01:00", 1_700_000_000_250),
            (" 1700000000 ", 1_700_000_000_000),
            ("1700000000.5", 1_700_000_000_500),
            ("1700000000250", 1_700_000_000_250),
            ("2024", 1_704_067_200_000),
            ("2024-01", 1_704_067_200_000),
            ("2024-02", 1_706_745_600_000),
            ("100000000", 100_000_000_000),
            ("-100000000", -100_000_000_000),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        let long = "9".repeat(20);
        for bad in ["", "-", "yesterday", "2023-02-30", "2023-13", "2023-1", "12:00", "1e9", "nan", "1.2.3", &long] {
            let said = millis(bad).unwrap_err();
            assert!(said.starts_with("--from: not a time: ") && said.ends_with(&format!("value={bad:?}")), "{said}");
        }
        for small in ["0", "-1", "24", "202401", "20231114", "99999999", "2024.5", "-2024"] {
            let said = millis(small).unwrap_err();
            assert!(said.contains("ambiguous number") && said.ends_with(&format!("value={small:?}")), "{said}");
        }
    }

    #[test]
    fn a_span_has_a_beginning_before_its_end() {
        let span = |from: &str, to: &str| {
            SpanFlags { from: Some(from.into()), to: Some(to.into()), zone: ZoneFlag::default() }.bounds()
        };
        assert!(span("2024-01-01", "2024-01-02").is_ok() && span("2023", "2024").is_ok());
        assert!(span("2024", "2024-01-01").unwrap_err().to_string().contains("--to is excluded"));
        let said = span("2024-01-02", "2024-01-01").unwrap_err().to_string();
        assert!(said.contains("2024-01-02T00:00:00") && said.contains("2024-01-01T00:00:00"), "{said}");
    }
}
