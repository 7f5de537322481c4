//! Validation of events against [`Limits`], once, before an event is appended.

use std::collections::BTreeSet;

use super::admit::{Admission, end_of, too_long, truncate_name};
use super::note::{Excess, Note, Path, excerpt};
use crate::error::{Error, Result};
use crate::limits::{ID_BYTES_MAX, Limits, LimitsId, VALUE_DEPTH_MAX};
use crate::model::{Event, Object, Timestamp, Value, is_reserved_in_event};

/// Ids that broken clients send for all users. Source: Mixpanel, Import Events.
const BAD_IDS: [&str; 17] = [
    "00000000-0000-0000-0000-000000000000",
    "anon",
    "anonymous",
    "nil",
    "none",
    "null",
    "n/a",
    "na",
    "undefined",
    "unknown",
    "<nil>",
    "0",
    "-1",
    "true",
    "false",
    "[]",
    "{}",
];

/// Whether broken clients send this id for all users. Case is ignored.
pub(crate) fn is_bad_id(id: &str) -> bool {
    id.len() <= 36 && BAD_IDS.iter().any(|bad| bad.eq_ignore_ascii_case(id))
}

impl Event {
    /// Validates the event against `limits`. The store does this for every event; for one that was admitted under the
    /// same limits already it checks only the time, which may be at most
    /// [`event_ahead_seconds_max`](Limits::event_ahead_seconds_max) after `now`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for an event without a name, an id that broken clients send for all
    /// users, a reserved name, a number that is not finite or a time out of bounds, and
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for too many properties, a name that is too long or a value
    /// that is too large. The error names the field.
    pub fn admit(mut self, limits: &Limits, now: Timestamp) -> Result<Self> {
        self.admit_in_place(limits, limits.id(), now, &mut Excess::Refused)?;
        Ok(self)
    }

    /// As [`admit`](Self::admit), but truncates names and strings that are too long, as Mixpanel does, and adds a note
    /// for each.
    ///
    /// # Errors
    ///
    /// As those of [`admit`](Self::admit), except for lengths of names and strings.
    pub fn admit_truncated(mut self, limits: &Limits, now: Timestamp, notes: &mut Vec<Note>) -> Result<Self> {
        self.admit_in_place(limits, limits.id(), now, &mut Excess::Noted { notes, place: None })?;
        Ok(self)
    }

    /// As [`admit`](Self::admit), for a caller that keeps the id of its limits and still needs the event after a
    /// rejection. Of a rejected event only the ids are guaranteed to be unchanged.
    pub(crate) fn admit_in_place(
        &mut self,
        limits: &Limits,
        id: LimitsId,
        now: Timestamp,
        excess: &mut Excess<'_>,
    ) -> Result<()> {
        self.take_invalid()?;
        if self.admitted == Some(id) {
            // Only the clock can have changed.
            return admit_ahead(self.time, limits, now);
        }
        self.validate(limits, now, excess)?;
        self.admitted = Some(id);
        Ok(())
    }

    fn validate(&mut self, limits: &Limits, now: Timestamp, excess: &mut Excess<'_>) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::invalid("event, missing or empty").at("event"));
        }
        if let Some(end) = end_of(&self.name, limits.string_chars_max) {
            let reason = too_long("the name of an event", &self.name, limits.string_chars_max);
            let Excess::Noted { notes, .. } = excess else {
                return Err(Error::limit(format!("{reason} value={:?}", excerpt(&self.name))).at("event"));
            };
            notes.push(Note::new("event", format!("truncated: {reason}"), Some(&Value::from(self.name.as_str()))));
            self.name.truncate(end);
        }
        admit_id("distinct_id", &self.distinct_id)?;
        if let Some(id) = &self.insert_id {
            admit_id("$insert_id", id)?;
            if id.is_empty() {
                return Err(Error::invalid("$insert_id is empty").at("$insert_id"));
            }
        }
        admit_time(self.time, limits, now)?;
        let count = self.properties.len();
        if count > limits.event_properties_max {
            let message = format!("an event has at most {} properties properties={count}", limits.event_properties_max);
            return Err(Error::limit(message).at("properties"));
        }
        self.properties = admit_properties(std::mem::take(&mut self.properties), limits, excess)?;
        Ok(())
    }
}

fn admit_id(field: &str, id: &str) -> Result<()> {
    if is_bad_id(id) {
        return Err(Error::invalid(format!("an id that broken clients send for all users value={id:?}")).at(field));
    }
    if id.len() > ID_BYTES_MAX {
        return Err(Error::invalid(format!("an id has at most {ID_BYTES_MAX} bytes len={}", id.len())).at(field));
    }
    Ok(())
}

fn admit_time(time: Timestamp, limits: &Limits, now: Timestamp) -> Result<()> {
    let refused = |what: String| Err(Error::invalid(what).at("time"));
    if !time.has_text() {
        return refused(format!("not a time millis={}", time.millis()));
    }
    if time.seconds() < limits.event_seconds_min {
        let min = Timestamp::from_seconds(limits.event_seconds_min);
        return refused(format!("the time is before {min} value={time}"));
    }
    admit_ahead(time, limits, now)
}

/// Rejects a time that is too far ahead of `now`.
pub(crate) fn admit_ahead(time: Timestamp, limits: &Limits, now: Timestamp) -> Result<()> {
    if time.seconds() > now.seconds().saturating_add(limits.event_ahead_seconds_max) {
        let seconds = limits.event_ahead_seconds_max;
        let message = format!("the time is more than {seconds} s in the future value={time}");
        return Err(Error::invalid(message).at("time"));
    }
    Ok(())
}

/// The place of a property in a note.
const PROPERTIES: &str = "properties";

fn admit_properties(properties: Object, limits: &Limits, excess: &mut Excess<'_>) -> Result<Object> {
    let mut admitted = Vec::with_capacity(properties.len());
    let mut sorted = true;
    for (mut name, mut value) in properties {
        if name.is_empty() {
            return Err(Error::invalid("a property name is empty").at(""));
        }
        if is_reserved_in_event(&name) {
            return Err(Error::invalid("the name is reserved and cannot be stored as a property").at(name));
        }
        let long = matches!(&value, Value::List(elements) if elements.len() > limits.event_list_max);
        if long {
            let message = format!("a list in an event has at most {} elements", limits.event_list_max);
            return Err(Error::limit(message).at(name));
        }
        truncate_name(&mut name, PROPERTIES, limits, excess)?;
        let nested_bytes_max = limits.event_nested_bytes_max;
        let mut admission = Admission {
            limits,
            nested_bytes_max,
            levels_max: VALUE_DEPTH_MAX,
            operator: PROPERTIES,
            excess: &mut *excess,
        };
        if let Err(error) = admission.value(&mut value, &Path::Root(&name)) {
            return Err(if error.field().is_some() { error } else { error.at(name) });
        }
        sorted &= admitted.last().is_none_or(|(last, _): &(String, Value)| *last < name);
        admitted.push((name, value));
    }
    if sorted {
        return Ok(Object::from_sorted(admitted));
    }
    // Only truncation can have made two names equal.
    let mut seen = BTreeSet::new();
    for (name, value) in admitted.iter().rev().filter(|(name, _)| name.len() >= limits.name_chars_max) {
        if !seen.insert(name) {
            let reason = "replaced: the name equals another one once truncated".to_owned();
            excess.note(PROPERTIES, &Path::Root(name), reason, value);
        }
    }
    Ok(admitted.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn event() -> Event {
        Event::new("purchase", "alice", NOW)
    }

    fn refusal(event: Event) -> (bool, String) {
        let error = event.admit(&Limits::mixpanel(), NOW).unwrap_err();
        (error.is_limit_exceeded(), error.field().unwrap_or_default().to_owned())
    }

    #[test]
    fn errors_name_the_invalid_field() {
        let at = |seconds| Event::new("e", "u", Timestamp::from_seconds(seconds));
        for (bad, field) in [
            (Event::new("", "alice", NOW), "event"),
            (Event::new("e", "Anonymous", NOW), "distinct_id"),
            (Event::new("e", "x".repeat(70_000), NOW), "distinct_id"),
            (event().id(""), "$insert_id"),
            (event().id("null"), "$insert_id"),
            (at(31_535_999), "time"),
            (at(NOW.seconds() + 3_601), "time"),
            (at(i64::MAX), "time"),
            (event().set("x", f64::NAN), "x"),
            (event().set("", 1), ""),
            (event().set("time", 1), "time"),
        ] {
            assert_eq!(refusal(bad), (false, field.to_owned()));
        }
        let bomb = (0..256).fold(event(), |event, n| event.set(format!("p{n}"), n));
        assert_eq!(refusal(bomb), (true, "properties".into()));
        assert_eq!(refusal(event().set("l", vec![0; 255])), (true, "l".into()));
        assert_eq!(refusal(event().set("l", vec!["x".repeat(255); 40])), (true, "l".into()));
        let deep = (0..4).fold(Value::from(1), |inner, _| Object::from_iter([("x", inner)]).into());
        assert_eq!(refusal(event().set("o", deep)), (true, "o".into()));
    }

    #[test]
    fn names_and_strings_are_truncated_and_the_rest_is_unchanged() {
        for fine in [
            Event::new("e", "", NOW),
            Event::new("e", "u", Timestamp::from_seconds(31_536_000)),
            Event::new("e", "u", Timestamp::from_seconds(NOW.seconds() + 3_600)),
            (0..255).fold(event(), |event, n| event.set(format!("p{n}"), n)),
            event().set("l", vec![0; 254]).id("a b"),
        ] {
            fine.admit(&Limits::mixpanel(), NOW).unwrap();
        }
        let long = event().set("n".repeat(300), "x".repeat(300)).set(format!("{}z", "n".repeat(299)), 2);
        assert!(long.clone().admit(&Limits::mixpanel(), NOW).unwrap_err().is_limit_exceeded());
        let mut notes = Vec::new();
        let admitted = long.admit_truncated(&Limits::mixpanel(), NOW, &mut notes).unwrap();
        let words: Vec<_> = notes.iter().map(|note| note.reason.split(':').next().unwrap()).collect();
        assert_eq!(words, ["truncated", "truncated", "truncated", "replaced"]);
        let place = format!("properties.{}", "n".repeat(255));
        assert!(notes.iter().all(|note| note.field == place));
        assert_eq!(notes[3].before, Some("x".repeat(255).into()));
        // Of two names that are equal once truncated, the one that sorts last wins.
        assert_eq!(admitted.properties().iter().collect::<Vec<_>>(), [("n".repeat(255).as_str(), &2.into())]);
        let long = event().set("s", "x".repeat(300)).admit(&Limits::unbounded(), NOW).unwrap();
        assert_eq!(long.get("s"), Some(&"x".repeat(300).into()));
        Event::new("e", "u", Timestamp::from_seconds(0)).admit(&Limits::unbounded(), NOW).unwrap();
    }

    #[test]
    fn admitted_events_are_validated_again_under_other_limits_and_after_a_change() {
        let mut narrow = Limits::mixpanel();
        narrow.string_chars_max = 3;
        let admitted = event().set("a", "12345").admit(&Limits::mixpanel(), NOW).unwrap();
        let truncated = |event: Event| event.admit_truncated(&narrow, NOW, &mut Vec::new()).unwrap();
        assert_eq!(admitted.clone().admit(&narrow, NOW).unwrap_err().field(), Some("event"));
        let again = truncated(admitted.clone());
        assert_eq!((again.name(), again.get("a")), ("pur", Some(&"123".into())));
        let changed = again.set("a", "67890");
        assert_eq!(changed.clone().admit(&narrow, NOW).unwrap_err().field(), Some("a"));
        let changed = truncated(changed);
        assert_eq!(changed.get("a"), Some(&"678".into()));
        assert!(changed.id("null").admit(&narrow, NOW).is_err());
        // The clock of the store differs.
        let earlier = Timestamp::from_seconds(NOW.seconds() - 3_601);
        assert_eq!(admitted.admit(&Limits::mixpanel(), earlier).unwrap_err().field(), Some("time"));
    }
}
