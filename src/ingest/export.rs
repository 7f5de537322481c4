//! Serialization of profiles for an export, in the format of Mixpanel's query API, which can be imported again.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::{Kind, Profile, ProfileKey};

/// A profile as a line of an export.
///
/// ```
/// use profiledb::{Profile, ProfileKey, Timestamp, Update};
/// use profiledb::Change;
/// use profiledb::ingest::{Exported, Record, Rules};
///
/// let key = ProfileKey::group("company", "acme")?;
/// let profile = Profile::fold([&Update::new().set("p", 1).at(Timestamp::from_seconds(0))]);
/// let profile = profile.expect("a `$set` creates");
/// let line = serde_json::to_string(&Exported::new(&key, &profile)).expect("a profile is JSON");
/// assert_eq!(
///     line,
///     r#"{"$group_key":"company","$group_id":"acme","$properties":{"$last_seen":"1970-01-01T00:00:00","p":1}}"#,
/// );
///
/// let record = Record::from_slice(line.as_bytes(), &Rules::new())?;
/// let Change::Update(update) = &record.change else { panic!("an export deletes nothing") };
/// assert_eq!((record.key, Profile::fold([update])), (key, Some(profile)));
/// # Ok::<(), profiledb::Error>(())
/// ```
///
/// Importing it sets every property, `$last_seen` and `$mp_first_event_time`, which restores the profile in an empty
/// store so that it is exported as the same bytes. A profile can have grown beyond the limits of an update, so none
/// apply to such a line, unless it is sent to an [endpoint](super::Rules::endpoint). Numbers beyond what JSON carries
/// come back as the double they read as, and the [quarantine](Profile::quarantine) is not exported.
#[derive(Clone, Copy, Debug)]
pub struct Exported<'a> {
    key: &'a ProfileKey,
    profile: &'a Profile,
}

impl<'a> Exported<'a> {
    /// The line for this profile.
    #[must_use]
    pub fn new(key: &'a ProfileKey, profile: &'a Profile) -> Self {
        Self { key, profile }
    }
}

impl Serialize for Exported<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Kind::Group(key) = self.key.kind() {
            map.serialize_entry("$group_key", key)?;
        }
        map.serialize_entry(self.key.kind().id_field(), self.key.id())?;
        map.serialize_entry("$properties", self.profile)?;
        map.end()
    }
}
