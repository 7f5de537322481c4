//! One JSON object taken apart by its keys, before anything is made of them.
//!
//! Objects are read straight into this, without a map in between: what is ignored is never stored.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::parse::ParseError;
use super::reject::Reject;
use crate::model::{Number, Object, Value};

/// The operators, in the order in which several of them in one object are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operator {
    Set,
    SetOnce,
    Merge,
    Add,
    Append,
    Union,
    Remove,
    Unset,
    Delete,
}

impl Operator {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Set => "$set",
            Self::SetOnce => "$set_once",
            Self::Merge => "$merge",
            Self::Add => "$add",
            Self::Append => "$append",
            Self::Union => "$union",
            Self::Remove => "$remove",
            Self::Unset => "$unset",
            Self::Delete => "$delete",
        }
    }
}

/// What a key of the object is to us.
enum Slot {
    DistinctId,
    GroupKey,
    GroupId,
    Time,
    IgnoreTime,
    Properties,
    Operator(Operator),
    Ignored,
    Unknown(String),
}

impl Slot {
    fn of(name: &str) -> Self {
        match name {
            "$distinct_id" => Self::DistinctId,
            "$group_key" => Self::GroupKey,
            "$group_id" => Self::GroupId,
            "$time" => Self::Time,
            "$ignore_time" => Self::IgnoreTime,
            "$properties" => Self::Properties,
            "$set" => Self::Operator(Operator::Set),
            "$set_once" => Self::Operator(Operator::SetOnce),
            "$merge" => Self::Operator(Operator::Merge),
            "$add" => Self::Operator(Operator::Add),
            "$append" => Self::Operator(Operator::Append),
            "$union" => Self::Operator(Operator::Union),
            "$remove" => Self::Operator(Operator::Remove),
            "$unset" => Self::Operator(Operator::Unset),
            "$delete" => Self::Operator(Operator::Delete),
            // The store knows no projects, addresses or aliases; the rest is what client libraries add for themselves.
            "$token"
            | "$ip"
            | "$ignore_alias"
            | "$latitude"
            | "$longitude"
            | "$device_id"
            | "$user_id"
            | "$had_persisted_distinct_id"
            | "$mp_metadata"
            | "$source" => Self::Ignored,
            _ if name.starts_with('$') => Self::Unknown(name.to_owned()),
            _ => Self::Ignored,
        }
    }
}

/// The keys of one object that mean something. Of two with one name the later one wins, as everywhere in JSON.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) distinct_id: Option<Value>,
    pub(super) group_key: Option<Value>,
    pub(super) group_id: Option<Value>,
    pub(super) time: Option<Value>,
    pub(super) ignore_time: bool,
    pub(super) properties: Option<Value>,
    /// In the order of [`Operator`], each at most once.
    pub(super) operands: Vec<(Operator, Value)>,
    /// The first key that looks like an operator and is none.
    pub(super) unknown: Option<String>,
}

/// Reads the text of one value, whatever it is.
pub(super) fn value_of(bytes: &[u8]) -> Result<Value, ParseError> {
    serde_json::from_str(text_of(bytes)?).map_err(|error| broken(&error))
}

/// The object that a record has to be.
pub(super) fn object_of(value: Value) -> Result<Object, Reject> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Reject::invalid(format!("a record is a json object type={}", bare(&other)))),
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let reason = format!("the record is not valid utf-8 offset={}", error.valid_up_to());
        ParseError::NotJson(Reject::invalid(reason))
    })
}

impl Envelope {
    /// Reads the text of one object.
    pub(super) fn from_slice(bytes: &[u8]) -> Result<Self, ParseError> {
        let text = text_of(bytes)?;
        if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            return Ok(Self::from_value(value_of(bytes)?)?);
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let envelope = deserializer.deserialize_map(EnvelopeVisitor).map_err(|error| broken(&error))?;
        deserializer.end().map_err(|error| broken(&error))?;
        Ok(envelope)
    }

    /// Takes a decoded object apart.
    pub(super) fn from_value(value: Value) -> Result<Self, Reject> {
        let mut envelope = Self::default();
        for (name, value) in object_of(value)? {
            envelope.put(Slot::of(&name), value);
        }
        Ok(envelope)
    }

    fn put(&mut self, slot: Slot, value: Value) {
        match slot {
            Slot::DistinctId => self.distinct_id = Some(value),
            Slot::GroupKey => self.group_key = Some(value),
            Slot::GroupId => self.group_id = Some(value),
            Slot::Time => self.time = Some(value),
            Slot::IgnoreTime => self.ignore_time = is_on(&value),
            Slot::Properties => self.properties = Some(value),
            Slot::Operator(operator) => {
                self.operands.retain(|(other, _)| *other != operator);
                let at = self.operands.partition_point(|(other, _)| *other < operator);
                self.operands.insert(at, (operator, value));
            }
            Slot::Unknown(name) => {
                self.unknown.get_or_insert(name);
            }
            Slot::Ignored => {}
        }
    }
}

/// The type of a value in one word, for `type=...` in a message.
pub(super) fn bare(value: &Value) -> &'static str {
    let name = value.type_name();
    name.split_once(' ').map_or(name, |(_, bare)| bare)
}

/// Whether a flag of the envelope is on: `true`, `1`, `"1"` and `"true"` are what client libraries send.
pub(super) fn is_on(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::Number(number) => *number == Number::from(1),
        Value::String(text) => text == "1" || text == "true",
        _ => false,
    }
}

/// Says what the parser found. Its line numbers count within the record, so they become rows.
fn broken(error: &serde_json::Error) -> ParseError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(place.as_str()).unwrap_or(&text);
    let reason = format!("not valid json: {what} row={} column={}", error.line(), error.column());
    ParseError::NotJson(Reject::invalid(reason))
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an update object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(slot) = map.next_key_seed(KeySeed)? {
            match slot {
                Slot::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                }
                Slot::Unknown(name) => {
                    map.next_value::<IgnoredAny>()?;
                    envelope.unknown.get_or_insert(name);
                }
                slot => envelope.put(slot, map.next_value()?),
            }
        }
        Ok(envelope)
    }
}

/// Reads a key without owning its text.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Slot;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Slot, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Slot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Slot, E> {
        Ok(Slot::of(name))
    }
}
