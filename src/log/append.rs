//! Admission of events: validates and encodes them, on the caller's thread.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{self, EncodedEvent, FirstEvent, GroupKeys};
use crate::error::Result;
use crate::limits::Limits;
use crate::model::{Event, Kind, Timestamp, Value};
use crate::ops::Excess;

/// Encodes events.
pub(crate) struct Appender {
    first_of_users: Arc<str>,
    /// The prefix of the insert ids that are generated here, and nowhere else.
    salt: u64,
    next: AtomicU64,
}

impl Appender {
    pub(crate) fn new() -> Self {
        Self {
            first_of_users: codec::first_family_of(&Kind::User),
            // The keys of the state are random, so its hash of anything is.
            salt: RandomState::new().hash_one(0),
            next: AtomicU64::new(0),
        }
    }

    /// Admits an event and encodes it. Adds its time for the ids that it may be the first event of, which is nothing
    /// when it is refused.
    pub(crate) fn append(
        &self,
        mut event: Event,
        limits: &Limits,
        excess: &mut Excess<'_>,
        now: Timestamp,
        groups: &GroupKeys,
        first_events: &mut Vec<FirstEvent>,
    ) -> Result<EncodedEvent> {
        event.admit_in_place(limits, limits.id(), now, excess)?;
        event.insert_id.get_or_insert_with(|| self.insert_id());
        if !event.distinct_id.is_empty() {
            first_events.push(FirstEvent::new(&self.first_of_users, &event.distinct_id, event.time));
        }
        for (key, family) in groups.iter() {
            let ids = event.properties.get(key).into_iter().flat_map(Value::group_ids);
            first_events.extend(ids.map(|id| FirstEvent::new(family, &id, event.time)));
        }
        Ok(EncodedEvent::of(&event))
    }

    /// A unique id: the count differs between events, the salt between stores and every time that one is opened.
    fn insert_id(&self) -> String {
        format!("{:016x}-{:x}", self.salt, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_an_insert_id_gets_one_of_its_own() {
        let (one, other) = (Appender::new(), Appender::new());
        let event = || Event::new("e", "u", Timestamp::from_seconds(0));
        let now = Timestamp::from_seconds(0);
        let append = |appender: &&Appender| {
            let (limits, excess, groups) = (Limits::unbounded(), &mut Excess::Refused, GroupKeys::default());
            appender.append(event(), &limits, excess, now, &groups, &mut Vec::new()).unwrap().key
        };
        let keys: std::collections::BTreeSet<_> = [&one, &one, &other].iter().map(append).collect();
        assert_eq!(keys.len(), 3);
        let id = one.insert_id();
        assert!(id.len() <= 36 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')), "{id}");
    }
}
