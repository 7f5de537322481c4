//! Events: something that a user did.

use std::fmt::Display;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Object, Timestamp, Value};
use crate::error::{Error, Result};
use crate::limits::LimitsId;

/// Envelope fields that the wire format puts among the properties of an event. The first two are stored separately,
/// the others are used only during ingestion.
const RESERVED: [&str; 5] = ["time", "distinct_id", "$insert_id", "token", "ip"];

/// Whether an event property of this name belongs to the envelope.
pub(crate) fn is_reserved_in_event(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Something that a user did: a name, a user, a time and properties. Events are stored as they were received; profiles
/// are joined to them at query time.
///
/// Two events with the same name, user, time and [`insert_id`](Self::insert_id) are one event that was sent twice:
/// the later one replaces the earlier one.
///
/// Its JSON is what Mixpanel's `/import` accepts.
///
/// ```
/// use profiledb::{Event, Timestamp};
///
/// let time = Timestamp::parse("2023-11-14T22:13:20")?;
/// let event = Event::new("purchase", "alice", time).set("amount", 12.5).set("company", ["acme"]).id("a-1");
/// assert_eq!(
///     serde_json::to_string(&event).expect("an event is JSON"),
///     concat!(
///         r#"{"event":"purchase","properties":{"time":1700000000,"distinct_id":"alice","$insert_id":"a-1","#,
///         r#""amount":12.5,"company":["acme"]}}"#,
///     ),
/// );
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Event {
    pub(crate) name: String,
    pub(crate) distinct_id: String,
    pub(crate) time: Timestamp,
    pub(crate) insert_id: Option<String>,
    pub(crate) properties: Object,
    pub(crate) invalid: Option<Error>,
    /// The limits that the event satisfies, if it was validated. Every setter makes it `None`.
    pub(crate) admitted: Option<LimitsId>,
}

impl Event {
    /// An event without properties.
    #[must_use]
    pub fn new(name: impl Into<String>, distinct_id: impl Into<String>, time: Timestamp) -> Self {
        Self {
            name: name.into(),
            distinct_id: distinct_id.into(),
            time,
            insert_id: None,
            properties: Object::new(),
            invalid: None,
            admitted: None,
        }
    }

    /// Sets a property. A value that JSON cannot represent (NaN, an infinity) is reported when the event is appended,
    /// so that building one needs no `?`.
    #[must_use]
    pub fn set<V: TryInto<Value, Error: Display>>(mut self, name: impl Into<String>, value: V) -> Self {
        let name = name.into();
        self.admitted = None;
        match value.try_into() {
            Ok(value) => {
                self.properties.insert(name, value);
            }
            Err(error) => {
                self.invalid.get_or_insert_with(|| Error::invalid(error.to_string()).at(name));
            }
        }
        self
    }

    /// The `$insert_id`, which distinguishes this event from others of the same name, user and time. An event without
    /// one gets a unique one when it is appended, so sending it again appends it again.
    #[must_use]
    pub fn id(mut self, insert_id: impl Into<String>) -> Self {
        self.insert_id = Some(insert_id.into());
        self.admitted = None;
        self
    }

    /// The name of the event.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's id. Empty for an anonymous event, which joins no profile.
    #[must_use]
    pub fn distinct_id(&self) -> &str {
        &self.distinct_id
    }

    /// The time of the event, in milliseconds.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The `$insert_id`, which distinguishes it from others of the same name, user and time. A stored event always has
    /// one.
    #[must_use]
    pub fn insert_id(&self) -> Option<&str> {
        self.insert_id.as_deref()
    }

    /// Its properties.
    #[must_use]
    pub fn properties(&self) -> &Object {
        &self.properties
    }

    /// The value of one property.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.properties.get(name)
    }

    /// The error of the first invalid value that was set.
    pub(crate) fn take_invalid(&mut self) -> Result<()> {
        self.invalid.take().map_or(Ok(()), Err)
    }
}

/// Two events are equal when all their stored fields are; numbers compare by value.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        let key = |event: &Self| (event.time, event.invalid.is_some());
        key(self) == key(other)
            && (&self.name, &self.distinct_id, &self.insert_id) == (&other.name, &other.distinct_id, &other.insert_id)
            && self.properties == other.properties
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Properties<'e>(&'e Event);

        impl Serialize for Properties<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let event = self.0;
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("time", &event.time.to_wire_number())?;
                map.serialize_entry("distinct_id", &event.distinct_id)?;
                event.insert_id.iter().try_for_each(|id| map.serialize_entry("$insert_id", id))?;
                event.properties.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }

        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("event", &self.name)?;
        map.serialize_entry("properties", &Properties(self))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_wire_format() {
        for (millis, wire) in [
            (0, "0"),
            (1, "0.001"),
            (999, "0.999"),
            (-1, "-0.001"),
            (86_400_000, "86400"),
            (99_999_999_999, "99999999.999"),
            (100_000_000_001, "100000000001"),
            (1_700_000_000_000, "1700000000"),
            (1_700_000_000_123, "1700000000123"),
            (-62_167_219_199_999, "-62167219199999"),
            // As seconds, this number would be read as milliseconds.
            (100_000_000_000_000, "100000000000"),
            (100_000_000_001_000, "100000000001000"),
        ] {
            let time = Timestamp::from_millis(millis);
            let text = serde_json::to_string(&time.to_wire_number()).unwrap();
            assert_eq!(text, wire);
            assert_eq!(Timestamp::from_number(text.parse().unwrap()).unwrap(), time, "{text}");
        }
    }
}
