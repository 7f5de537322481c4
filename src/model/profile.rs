//! A decoded profile.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Object, Timestamp, Value};

/// The name under which the time of the last update shows among the properties.
pub(crate) const LAST_SEEN: &str = "$last_seen";

/// The name under which the time of the first event shows among the properties.
pub(crate) const FIRST_EVENT: &str = "$mp_first_event_time";

/// The latest state of one profile: its properties, when it was last updated, and what could not be read.
///
/// As JSON it is the object that Mixpanel calls `$properties`, with `$last_seen` among them.
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
    pub(crate) quarantine: Vec<Vec<u8>>,
}

impl Profile {
    /// The properties, without `$last_seen`.
    #[must_use]
    pub fn properties(&self) -> &Object {
        &self.properties
    }

    /// The value of one property.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.properties.get(name)
    }

    /// The time of the last update that did not ask to be ignored, in whole seconds.
    #[must_use]
    pub fn last_seen(&self) -> Option<Timestamp> {
        self.last_seen
    }

    /// Operands that could not be read, oldest first, byte for byte. Empty unless something is badly wrong: they
    /// were damaged before they reached the engine, or written by a newer version of this crate.
    #[must_use]
    pub fn quarantine(&self) -> &[Vec<u8>] {
        &self.quarantine
    }

    /// Whether two profiles are the same down to the float flags of their numbers, which equality ignores.
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
        let mut last_seen = self.last_seen.map(|time| time.to_string());
        for (name, value) in self.properties.iter() {
            if name > LAST_SEEN
                && let Some(time) = last_seen.take()
            {
                map.serialize_entry(LAST_SEEN, &time)?;
            }
            map.serialize_entry(name, value)?;
        }
        if let Some(time) = last_seen {
            map.serialize_entry(LAST_SEEN, &time)?;
        }
        map.end()
    }
}
