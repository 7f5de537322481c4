//! Time zones by name, of the IANA database: from UTC to local time and back, with daylight saving time.
//!
//! The database is that of the system where there is one, which is kept up to date with it, and otherwise the one that
//! is compiled in.

use jiff::tz;

use super::Timestamp;
use crate::error::{Error, Result};

/// A time zone of the IANA database, such as `Europe/Berlin`. The default is UTC.
///
/// The database is that of the system (`/usr/share/zoneinfo`, or where `TZDIR` says), and without one the database that
/// was compiled in.
///
/// ```
/// use profiledb::{TimeZone, Timestamp};
///
/// let berlin = TimeZone::named("Europe/Berlin")?;
/// let midnight = Timestamp::parse_in("2024-07-01", &berlin)?;
/// assert_eq!(midnight, Timestamp::parse("2024-06-30T22:00:00Z")?);
/// assert!(TimeZone::named("Europe/Bern").is_err());
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeZone(
    /// Without one it is UTC.
    Option<tz::TimeZone>,
);

impl TimeZone {
    /// The time zone with this name, in any case.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the database has none.
    pub fn named(name: &str) -> Result<Self> {
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::default());
        }
        let unknown = "no time zone of the IANA database, such as Europe/Berlin or America/New_York";
        let zone = tz::TimeZone::get(name).map_err(|_| Error::invalid(format!("{unknown} value={name:?}")))?;
        Ok(Self(Some(zone)))
    }

    /// A time as its clocks show it, read as if they were in UTC, and how many seconds they are ahead of UTC. UTC
    /// itself is not ahead of anything.
    #[inline]
    pub(crate) fn local(&self, time: Timestamp) -> (Timestamp, Option<i32>) {
        let Some(zone) = &self.0 else { return (time, None) };
        // Beyond the years -9999 to 9999 there is no local time.
        let ahead = jiff::Timestamp::from_millisecond(time.millis()).map_or(0, |time| zone.to_offset(time).seconds());
        (Timestamp::from_millis(time.millis().saturating_add(i64::from(ahead) * 1_000)), Some(ahead))
    }
}

impl Timestamp {
    /// As [`parse`](Self::parse), but what has no `Z` and no offset is a time of this zone. Where the clocks show it
    /// twice it is the first one; where they skip it, it is as much later as they skip, so that a day without a
    /// midnight begins with its first hour.
    ///
    /// ```
    /// use profiledb::{TimeZone, Timestamp};
    ///
    /// let zone = TimeZone::named("America/Sao_Paulo")?;
    /// // That day began at one o'clock.
    /// assert_eq!(Timestamp::parse_in("2018-11-04", &zone)?, Timestamp::parse("2018-11-04T01:00:00-02:00")?);
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_in(text: &str, zone: &TimeZone) -> Result<Self> {
        match &zone.0 {
            None => Self::parse(text),
            Some(zone) => Self::parse_with(text, |civil| zone.to_timestamp(civil)),
        }
    }
}

/// As [`TimeZone::named`].
impl TryFrom<&str> for TimeZone {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::named(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_where_clocks_change() {
        for (zone, text, expected) in [
            ("Europe/Berlin", "2024-03-31", "2024-03-30T23:00:00"),
            // The hour that is skipped, and the one that is there twice.
            ("Europe/Berlin", "2024-03-31T02:30:00", "2024-03-31T01:30:00"),
            ("Europe/Berlin", "2024-10-27T02:30:00", "2024-10-27T00:30:00"),
            ("Europe/Berlin", "2024-10-27T02:30:00+01:00", "2024-10-27T01:30:00"),
            ("Europe/Berlin", "2024-10-27T02:30:00Z", "2024-10-27T02:30:00"),
            ("Asia/Kolkata", "2024-01-01", "2023-12-31T18:30:00"),
            // Midnight is there twice.
            ("America/Havana", "2024-11-03", "2024-11-03T04:00:00"),
            ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00"),
            ("utc", "2024-01-01", "2024-01-01T00:00:00"),
            ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00"),
        ] {
            let zone = TimeZone::named(zone).unwrap();
            assert_eq!(Timestamp::parse_in(text, &zone).unwrap().to_string(), expected, "{text} {zone:?}");
        }
        assert_eq!(TimeZone::named("UTC").unwrap(), TimeZone::default());
        for unknown in ["", "Berlin", "+01:00", "../etc/passwd", "Europe/Berlin "] {
            let error = TimeZone::named(unknown).unwrap_err();
            assert!(error.is_invalid() && error.message().contains(&format!("value={unknown:?}")), "{error}");
        }
    }

    #[test]
    fn local_times_end_where_the_calendar_does() {
        let zone = TimeZone::named("Asia/Tokyo").unwrap();
        let local = |millis| zone.local(Timestamp::from_millis(millis));
        assert_eq!(local(0), (Timestamp::from_seconds(9 * 3_600), Some(9 * 3_600)));
        assert_eq!(local(i64::MAX), (Timestamp::from_millis(i64::MAX), Some(0)));
        assert_eq!(local(i64::MIN), (Timestamp::from_millis(i64::MIN), Some(0)));
        assert_eq!(TimeZone::default().local(Timestamp::from_millis(5)), (Timestamp::from_millis(5), None));
    }
}
