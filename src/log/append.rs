//! From an event to operations: what happens on the caller's thread, before anyone else waits.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{self, encode_event, encode_stamp, event_key};
use crate::error::Result;
use crate::limits::{GROUP_IDS_MAX, ID_BYTES_MAX, Limits};
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
            let ids = event.properties.get(key).into_iter().flat_map(group_ids);
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

/// The ids of the groups that a property of an event names: one, or those in a list.
pub(super) fn group_ids(value: &Value) -> impl Iterator<Item = Cow<'_, str>> {
    let values = match value {
        Value::List(elements) => elements.as_slice(),
        one => std::slice::from_ref(one),
    };
    values.iter().filter_map(group_id).take(GROUP_IDS_MAX)
}

/// The text of an id, as the wire formats read ids of profiles: `3` and `"3"` are one group.
fn group_id(value: &Value) -> Option<Cow<'_, str>> {
    let id: Cow<'_, str> = match value {
        Value::String(text) => text.into(),
        Value::Bool(value) => value.to_string().into(),
        // A number like that was rounded on its way, and could be the id of another group.
        Value::Number(number)
            if number.as_f64().abs() >= 2_f64.powi(63) && number.as_i64().is_none() && number.as_u64().is_none() =>
        {
            return None;
        }
        Value::Number(number) => number.to_string().into(),
        Value::Null | Value::List(_) | Value::Object(_) => return None,
    };
    (!id.is_empty() && id.len() <= ID_BYTES_MAX).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_ids_are_those_of_profiles() {
        let ids = |value: Value| group_ids(&value).map(Cow::into_owned).collect::<Vec<_>>();
        let values = vec![
            Value::from("acme"),
            3.into(),
            3.5.try_into().unwrap(),
            true.into(),
            "".into(),
            Value::Null,
            vec!["nested"].into(),
            1e300.try_into().unwrap(),
            "x".repeat(ID_BYTES_MAX + 1).into(),
            (-7).into(),
        ];
        assert_eq!(ids(values.clone().into()), ["acme", "3", "3.5", "true", "-7"]);
        let one_by_one: Vec<String> =
            values.into_iter().filter(|value| value.as_list().is_none()).flat_map(ids).collect();
        assert_eq!(one_by_one, ["acme", "3", "3.5", "true", "-7"]);
        assert_eq!(ids((0..400).map(|n| n.to_string()).collect::<Vec<_>>().into()).len(), GROUP_IDS_MAX);
    }

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
