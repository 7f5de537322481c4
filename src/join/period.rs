//! Calendar truncation: the hour, day, week or month that a time lies in, in a time zone.

use std::fmt;

use super::layout::Period;
use crate::model::{TimeZone, Timestamp};

const HOUR_MILLIS: u32 = 3_600_000;

/// The beginning of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeriodStart {
    period: Period,
    /// The day in local time, counted from 1970-01-01, and the hour of it; 0 for periods of whole days.
    day: i32,
    hour: u32,
    /// For hours, seconds ahead of UTC. An hour that the clocks show twice has two.
    ahead: Option<i32>,
}

impl PeriodStart {
    #[inline]
    pub(super) fn of(period: Period, time: Timestamp, zone: &TimeZone) -> Self {
        let (local, ahead) = zone.local(time);
        let (day, millis) = local.day_and_millis();
        let is_hour = period == Period::Hour;
        Self { period, day, hour: if is_hour { millis / HOUR_MILLIS } else { 0 }, ahead: ahead.filter(|_| is_hour) }
    }

    /// Bytes that tell it from others of the same kind, or of a longer one from more than others.
    #[inline]
    pub(super) fn key(self) -> [u8; 12] {
        let hours = i64::from(self.day) * 24 + i64::from(self.hour);
        let mut key = [0; 12];
        let (to_hours, to_ahead) = key.split_at_mut(8);
        to_hours.copy_from_slice(&hours.to_le_bytes());
        to_ahead.copy_from_slice(&self.ahead.unwrap_or_default().to_le_bytes());
        key
    }
}

/// `YYYY-MM-DD` of a day and of the Monday of a week, `YYYY-MM` of a month, and `YYYY-MM-DDTHH:00:00` of an hour, with
/// its offset in a time zone other than UTC.
impl fmt::Display for PeriodStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = match self.period {
            // 1970-01-01 was a Thursday.
            Period::Week => self.day.saturating_sub(self.day.saturating_add(3).rem_euclid(7)),
            _ => self.day,
        };
        let text = Timestamp::of_day(day).to_string();
        let date = text.get(..if self.period == Period::Month { 7 } else { 10 }).unwrap_or(&text);
        f.write_str(date)?;
        if self.period == Period::Hour {
            write!(f, "T{:02}:00:00", self.hour)?;
        }
        let Some(ahead) = self.ahead else { return Ok(()) };
        let (sign, seconds) = (if ahead < 0 { '-' } else { '+' }, ahead.unsigned_abs());
        write!(f, "{sign}{:02}:{:02}", seconds / 3_600, seconds / 60 % 60)?;
        // Local mean times of the 19th century.
        if seconds % 60 == 0 { Ok(()) } else { write!(f, ":{:02}", seconds % 60) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn times_are_cut_to_periods() {
        for (time, week) in [
            ("1969-12-31T23:59:59", "1969-12-29"),
            ("1970-01-01T00:00:00", "1969-12-29"),
            ("1970-01-04T23:59:59", "1969-12-29"),
            ("1970-01-05T00:00:00", "1970-01-05"),
            ("2024-02-29T12:30:00", "2024-02-26"),
            ("2023-12-31T01:00:00", "2023-12-25"),
            ("0000-01-01T00:00:00", "0000-01-01"),
        ] {
            let text =
                |period| PeriodStart::of(period, Timestamp::parse(time).unwrap(), &TimeZone::default()).to_string();
            let first = |bytes| time.get(..bytes).unwrap().to_owned();
            assert_eq!((text(Period::Week), text(Period::Day)), (week.into(), first(10)));
            assert_eq!((text(Period::Hour), text(Period::Month)), (format!("{}:00:00", first(13)), first(7)));
        }
        for extreme in [i64::MIN, i64::MAX] {
            let start = PeriodStart::of(Period::Week, Timestamp::from_millis(extreme), &TimeZone::default());
            assert!(!start.to_string().is_empty());
        }
    }

    /// Every quarter of an hour of two weeks, by the calendar of jiff.
    #[test]
    fn days_have_as_many_hours_as_the_clocks_show() {
        for (name, from, days) in [
            ("Europe/Berlin", "2024-03-25", [("2024-03-30", 96), ("2024-03-31", 92), ("2024-04-01", 96)]),
            ("America/New_York", "2024-10-28", [("2024-11-02", 96), ("2024-11-03", 100), ("2024-11-04", 96)]),
            // Half an hour, and a day that begins at one o'clock.
            ("Australia/Lord_Howe", "2024-04-01", [("2024-04-06", 96), ("2024-04-07", 98), ("2024-04-08", 96)]),
            ("America/Sao_Paulo", "2018-10-29", [("2018-11-03", 96), ("2018-11-04", 92), ("2018-11-05", 96)]),
            ("Asia/Kathmandu", "2024-03-25", [("2024-03-30", 96), ("2024-03-31", 96), ("2024-04-01", 96)]),
        ] {
            let zone = TimeZone::named(name).unwrap();
            let first = Timestamp::parse_in(from, &zone).unwrap().millis();
            let (mut counts, mut texts) = (BTreeMap::<String, u32>::new(), BTreeMap::new());
            for quarter in 0..14 * 96 {
                let time = Timestamp::from_millis(first + quarter * 900_000);
                let local = jiff::Timestamp::from_millisecond(time.millis()).unwrap().in_tz(name).unwrap();
                let start = |period| PeriodStart::of(period, time, &zone);
                let monday = local
                    .date()
                    .checked_sub(jiff::Span::new().days(i64::from(local.date().weekday().to_monday_zero_offset())));
                for (period, expected) in [
                    (Period::Day, local.strftime("%Y-%m-%d").to_string()),
                    (Period::Week, monday.unwrap().to_string()),
                    (Period::Month, local.strftime("%Y-%m").to_string()),
                    (Period::Hour, local.strftime("%Y-%m-%dT%H:00:00%:z").to_string()),
                ] {
                    assert_eq!(start(period).to_string(), expected, "{name} {time}");
                    // The key of a cache belongs to one text only.
                    assert_eq!(
                        *texts
                            .entry((expected.len(), period == Period::Week, start(period).key()))
                            .or_insert(expected.clone()),
                        expected
                    );
                }
                *counts.entry(start(Period::Day).to_string()).or_default() += 1;
            }
            for (day, quarters) in days {
                assert_eq!(counts.get(day), Some(&quarters), "{name} {day}");
            }
            let hours: BTreeSet<&String> = texts.values().filter(|text| text.contains('T')).collect();
            assert!(hours.len() >= 14 * 24 - 1);
        }
    }
}
