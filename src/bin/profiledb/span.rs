//! Time ranges in flags.

use std::ops::Bound;

use clap::Args as Flags;
use profiledb::Timestamp;

use crate::failure::Failure;

/// The help of `--before`.
pub(crate) const BEFORE_HELP: &str = "\
The time before which events are removed: a date, which is its midnight in UTC, as 2024-01-31; a date and a time, in \
UTC or with an offset, as 2024-01-31T13:00:00+01:00; or a number of seconds or milliseconds since 1970";

/// A time range.
#[derive(Debug, Flags)]
pub(crate) struct SpanFlags {
    /// Only events at or after this time.
    ///
    /// A time is a date, which is its midnight in UTC, as 2024-01-31; a date and a time, in UTC or with an offset, as
    /// 2024-01-31T13:00:00+01:00; or a number of seconds or milliseconds since 1970.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only events before this time. A date excludes that day.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl SpanFlags {
    /// The bounds: from the first time, inclusive, to the second, exclusive.
    pub(crate) fn bounds(&self) -> Result<(Bound<Timestamp>, Bound<Timestamp>), Failure> {
        let read = |flag: &str, text: &Option<String>| text.as_ref().map(|text| time(flag, text)).transpose();
        let (from, to) = (read("--from", &self.from)?, read("--to", &self.to)?);
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Failure::new(format!("--from is after --to: nothing lies between {from} and {to}")));
        }
        Ok((from.map_or(Bound::Unbounded, Bound::Included), to.map_or(Bound::Unbounded, Bound::Excluded)))
    }
}

/// Parses the time of a flag.
pub(crate) fn time(flag: &str, text: &str) -> Result<Timestamp, Failure> {
    let text = text.trim();
    let is_number = text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let read = match text.parse() {
        // It could be seconds in 1970, but is more likely a date.
        Ok(_) if is_number && text.len() == 8 => None,
        Ok(number) if is_number => Timestamp::from_number(number).ok(),
        _ => Timestamp::parse(text).ok(),
    };
    let shapes = "2024-01-31, 2024-01-31T13:00:00+01:00, or seconds or milliseconds since 1970";
    read.ok_or_else(|| Failure::new(format!("{flag}: not a time: {shapes} value={text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_typed_in_three_ways() {
        let millis = |text| time("--from", text).map(Timestamp::millis).map_err(|failure| failure.to_string());
        for (text, expected) in [
            ("2023-11-14", 1_699_920_000_000),
            ("2023-11-14T22:13:20", 1_700_000_000_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T23:13:20.250+01:00", 1_700_000_000_250),
            (" 1700000000 ", 1_700_000_000_000),
            ("1700000000.5", 1_700_000_000_500),
            ("1700000000250", 1_700_000_000_250),
            ("0", 0),
            ("-1", -1_000),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for bad in
            ["", "-", "yesterday", "2023-02-30", "20231114", "12:00", "1e9", "nan", "1.2.3", "9".repeat(20).as_str()]
        {
            let said = millis(bad).unwrap_err();
            assert!(said.starts_with("--from: not a time: ") && said.ends_with(&format!("value={bad:?}")), "{said}");
        }
    }

    #[test]
    fn a_span_has_a_beginning_before_its_end() {
        let span = |from: &str, to: &str| SpanFlags { from: Some(from.into()), to: Some(to.into()) }.bounds();
        assert!(span("2024-01-01", "2024-01-01").is_ok());
        let said = span("2024-01-02", "2024-01-01").unwrap_err().to_string();
        assert!(said.contains("2024-01-02T00:00:00") && said.contains("2024-01-01T00:00:00"), "{said}");
    }
}
