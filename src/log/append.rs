//! From an event to operations: what happens on the caller's thread, before anyone else waits.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{self, encode_event, encode_stamp, event_key};
use crate::error::Result;
use crate::limits::Limits;
use crate::model::{Event, Kind, Timestamp, Value};
use crate::rocks::{Action, Engine, Operation};

/// Turns events into operations.
pub(crate) struct Appender {
    events: Arc<str>,
    first_of_users: Arc<str>,
    /// What the ids that this store gives away begin with. Nobody else's do.
    salt: u64,
    next: AtomicU64,
}

impl Appender {
    pub(crate) fn new() -> Self {
        Self {
            events: codec::EVENTS.into(),
            first_of_users: codec::first_family_of(&Kind::User),
            // The keys of the state are random, so its hash of anything is.
            salt: RandomState::new().hash_one(0),
            next: AtomicU64::new(0),
        }
    }

    /// Admits an event and adds what its commit consists of: the event itself, and the time for whom it may have been
    /// the first. Nothing is added when it is refused.
    pub(crate) fn append(
        &self,
        event: Event,
        limits: &Limits,
        now: Timestamp,
        groups: &GroupKeys,
        operations: &mut Vec<Operation>,
    ) -> Result<()> {
        let mut event = event.admit(limits, now)?;
        event.insert_id.get_or_insert_with(|| self.insert_id());
        let put = Action::Put(encode_event(&event));
        operations.push(Operation { family: Arc::clone(&self.events), key: event_key(&event), action: put });
        if !event.distinct_id.is_empty() {
            operations.push(stamp(&self.first_of_users, &event.distinct_id, event.time));
        }
        for (key, family) in &groups.0 {
            let ids = event.properties.get(key).into_iter().flat_map(Value::group_ids);
            operations.extend(ids.map(|id| stamp(family, &id, event.time)));
        }
        Ok(())
    }

    /// An id that no other event has: the count is new for each event, and the salt for each time a store is opened.
    fn insert_id(&self) -> String {
        format!("{:016x}-{:x}", self.salt, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The operation that says that this id had an event at this time.
pub(super) fn stamp(family: &Arc<str>, id: &str, time: Timestamp) -> Operation {
    Operation { family: Arc::clone(family), key: id.as_bytes().to_vec(), action: Action::Merge(encode_stamp(time)) }
}

/// The group keys that have tables, with the families of their first events.
pub(crate) struct GroupKeys(Vec<(String, Arc<str>)>);

impl GroupKeys {
    pub(crate) fn of(engine: &Engine) -> Self {
        let families = engine.families_with(codec::GROUP_PREFIX);
        let kinds = families.iter().filter_map(|family| codec::kind_of(family));
        let keys = kinds.filter_map(|kind| {
            let family = codec::first_family_of(&kind);
            kind.group_key().map(|key| (key.to_owned(), family))
        });
        Self(keys.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_an_insert_id_gets_one_of_its_own() {
        let (one, other) = (Appender::new(), Appender::new());
        let event = || Event::new("e", "u", Timestamp::from_seconds(0));
        let mut operations = Vec::new();
        for appender in [&one, &one, &other] {
            let groups = GroupKeys(Vec::new());
            appender
                .append(event(), &Limits::unbounded(), Timestamp::from_seconds(0), &groups, &mut operations)
                .unwrap();
        }
        let mut keys: Vec<_> = operations.iter().filter(|operation| &*operation.family == "events").collect();
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        keys.dedup_by(|a, b| a.key == b.key);
        assert_eq!(keys.len(), 3);
        let id = one.insert_id();
        assert!(id.len() <= 36 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')), "{id}");
    }
}
