//! A decoded profile.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Object, Timestamp, Value};

/// The property name of the time of the last update.
pub(crate) const LAST_SEEN: &str = "$last_seen";

/// The property name of the time of the first event.
pub(crate) const FIRST_EVENT: &str = "$mp_first_event_time";

/// The latest state of one profile: its properties, the times of its last update and of its first event, and the
/// operands that could not be read.
///
/// As JSON it is the object that Mixpanel calls `$properties`, with `$last_seen` and `$mp_first_event_time` among them.
///
/// ```
/// use profiledb::{Profile, Timestamp, Update};
///
/// let update = Update::new().set("plan", "pro").add("logins", 1).at(Timestamp::from_seconds(0));
/// let profile = Profile::fold([&update]).expect("a `$set` creates");
/// assert_eq!(serde_json::to_string(&profile)?, r#"{"$last_seen":"1970-01-01T00:00:00","logins":1,"plan":"pro"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub(crate) properties: Object,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) first_event: Option<Timestamp>,
    pub(crate) quarantine: Vec<Vec<u8>>,
    pub(crate) first_event_damaged: bool,
}

impl Profile {
    /// The properties, without `$last_seen` and `$mp_first_event_time`.
    #[must_use]
    pub fn properties(&self) -> &Object {
        &self.properties
    }

    /// The value of one property.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.properties.get(name)
    }

    /// The time of the last update without `$ignore_time`, in whole seconds.
    #[must_use]
    pub fn last_seen(&self) -> Option<Timestamp> {
        self.last_seen
    }

    /// The time of the first event of this user or group that was ever stored, in milliseconds. It belongs to the id
    /// and not to the profile: a profile that is deleted and created again has the same one. `None` if the profile was
    /// not read from a store.
    #[must_use]
    pub fn first_event_time(&self) -> Option<Timestamp> {
        self.first_event
    }

    /// Whether the time of the first event is missing because its table is damaged. The table is derived from events:
    /// [`Db::rebuild_first_event_times`](crate::Db::rebuild_first_event_times) restores it.
    #[must_use]
    pub fn first_event_is_damaged(&self) -> bool {
        self.first_event_damaged
    }

    /// The bytes of operands that could not be read, oldest first. Empty unless operands were damaged before they
    /// reached the engine, or were written by a newer version of this crate.
    #[must_use]
    pub fn quarantine(&self) -> &[Vec<u8>] {
        &self.quarantine
    }

    /// Whether two profiles are identical, including the float flags of their numbers, which equality ignores.
    #[must_use]
    pub fn is_identical(&self, other: &Self) -> bool {
        self == other && self.properties.is_identical(&other.properties)
    }

    /// The properties by value.
    #[must_use]
    pub fn into_properties(self) -> Object {
        self.properties
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // Merged into the properties in the order of names.
        let times = [(LAST_SEEN, self.last_seen), (FIRST_EVENT, self.first_event)];
        let mut times = times.into_iter().filter_map(|(name, time)| Some((name, time?.to_string()))).peekable();
        for (name, value) in &self.properties {
            while let Some((known, time)) = times.next_if(|(known, _)| *known < name) {
                map.serialize_entry(known, &time)?;
            }
            map.serialize_entry(name, value)?;
        }
        times.try_for_each(|(known, time)| map.serialize_entry(known, &time))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_serialized_in_the_order_of_names() {
        let (last, first) = (Some(Timestamp::from_seconds(1)), Some(Timestamp::from_millis(999)));
        let json = |names: &[&str], last_seen, first_event| {
            let properties = names.iter().map(|name| (*name, Value::Null)).collect();
            serde_json::to_string(&Profile { properties, last_seen, first_event, ..Profile::default() }).unwrap()
        };
        let (seen, began) =
            (r#""$last_seen":"1970-01-01T00:00:01""#, r#""$mp_first_event_time":"1970-01-01T00:00:00""#);
        assert_eq!(json(&[], last, first), format!("{{{seen},{began}}}"));
        assert_eq!(
            json(&["$a", "$m", "a"], last, first),
            format!(r#"{{"$a":null,{seen},"$m":null,{began},"a":null}}"#)
        );
        assert_eq!(json(&["$z"], None, first), format!(r#"{{{began},"$z":null}}"#));
    }
}
