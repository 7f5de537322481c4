//! The reference fold: one update after the other, one operator after the other.
//!
//! Deliberately simple: it is the oracle that every other path through this crate is tested against.

use super::apply::apply;
use super::op::Update;
use super::presence::{Life, Presence};
use crate::model::{Profile, Timestamp};

impl Profile {
    /// Folds updates, oldest first, starting without a profile.
    ///
    /// ```
    /// use profiledb::{Profile, Update};
    ///
    /// let updates = [Update::new().set("plan", "free"), Update::new().set("plan", "pro").add("logins", 2)];
    /// let profile = Profile::fold(&updates).expect("a `$set` creates");
    /// assert_eq!(profile.get("plan"), Some(&"pro".into()));
    /// assert_eq!(Profile::fold(&[Update::new().unset("plan")]), None);
    /// ```
    pub fn fold<'a>(updates: impl IntoIterator<Item = &'a Update>) -> Option<Self> {
        updates.into_iter().fold(None, Self::update)
    }

    /// The profile after one more update.
    #[must_use]
    pub fn update(profile: Option<Self>, update: &Update) -> Option<Self> {
        let life = profile.as_ref().map(|profile| Life { last_seen: profile.last_seen.map(Timestamp::seconds) });
        let life = Presence::of(update.creates(), update.stamp()).apply(life)?;
        let mut profile = profile.unwrap_or_default();
        profile.last_seen = life.last_seen.map(Timestamp::from_seconds);
        for (name, op) in update.ops() {
            if let Some(value) = apply(profile.properties.remove(name), op) {
                profile.properties.insert(name.as_str(), value);
            }
        }
        Some(profile)
    }
}
