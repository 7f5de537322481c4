//! Typed write operations on the event log and on its first-event index.
//!
//! `log` creates them, and `store` commits them together with writes to profiles. Neither depends on the encodings of
//! the other.

use std::sync::Arc;

use super::event::{encode_event, event_key};
use super::family::{GROUP_PREFIX, first_family_of, kind_of};
use crate::model::{Event, Kind, Timestamp};

/// The key and the value of an event in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EncodedEvent {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl EncodedEvent {
    pub(crate) fn of(event: &Event) -> Self {
        Self { key: event_key(event), value: encode_event(event) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// An event time of an id. The index keeps the minimum per id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstEvent {
    /// The column family of the index of its kind.
    pub(crate) family: Arc<str>,
    pub(crate) id: Box<[u8]>,
    pub(crate) time: Timestamp,
}

impl FirstEvent {
    pub(crate) fn new(family: &Arc<str>, id: &str, time: Timestamp) -> Self {
        Self { family: Arc::clone(family), id: id.as_bytes().into(), time }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.id.len() + size_of::<Timestamp>()
    }
}

/// A deletion from the log or from its first-event index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Erasure {
    /// The event with this key.
    Event(Vec<u8>),
    /// All events with keys below this one.
    EventsBelow(Vec<u8>),
    /// The first-event time of an id, in the column family of the index of its kind.
    FirstEvent { family: Arc<str>, id: Box<[u8]> },
}

impl Erasure {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Event(key) | Self::EventsBelow(key) => key.len(),
            Self::FirstEvent { id, .. } => id.len(),
        }
    }
}

/// The group keys that have tables, each with the column family of its first-event index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupKeys(Vec<(String, Arc<str>)>);

impl GroupKeys {
    /// The group keys of column families of groups.
    pub(crate) fn of(families: &[String]) -> Self {
        let kinds = families.iter().filter_map(|family| kind_of(family));
        let keys = kinds.filter_map(|kind| match &kind {
            Kind::User => None,
            Kind::Group(key) => Some((key.clone(), first_family_of(&kind))),
        });
        Self(keys.collect())
    }

    /// Each group key with its index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.0.iter().map(|(key, family)| (key.as_str(), family))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the group key of this column family is among them.
    pub(crate) fn has_table(&self, family: &str) -> bool {
        family.strip_prefix(GROUP_PREFIX).is_some_and(|key| self.0.iter().any(|(known, _)| known == key))
    }
}
