//! Streaming deserialization of an update object: a serde visitor that sorts its entries by key.
//!
//! There is no map in between, so ignored values are never allocated.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::parse::ParseError;
use super::reject::Reject;
use crate::model::{Number, Object, Value};
use crate::ops::Operator;

/// A key of an update object, by its meaning.
enum EnvelopeKey {
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

impl EnvelopeKey {
    fn of(name: &str) -> Self {
        if !name.starts_with('$') {
            return Self::Ignored;
        }
        match name {
            "$distinct_id" => Self::DistinctId,
            "$group_key" => Self::GroupKey,
            "$group_id" => Self::GroupId,
            "$time" => Self::Time,
            "$ignore_time" => Self::IgnoreTime,
            "$properties" => Self::Properties,
            // The store has no projects, IP addresses or aliases. The others are added by client libraries.
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
            _ => Operator::named(name).map_or_else(|| Self::Unknown(name.to_owned()), Self::Operator),
        }
    }
}

/// The entries of an update object that have a meaning. Of duplicate keys the last one wins.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) distinct_id: Option<Value>,
    pub(super) group_key: Option<Value>,
    pub(super) group_id: Option<Value>,
    pub(super) time: Option<Value>,
    pub(super) ignore_time: bool,
    pub(super) properties: Option<Value>,
    /// Ascending by operator, each at most once.
    pub(super) operands: Vec<(Operator, Value)>,
    /// The first key that begins with a dollar and has no meaning.
    pub(super) unknown: Option<String>,
}

/// Parses the text of a value of any type.
pub(super) fn value_of(bytes: &[u8]) -> Result<Value, ParseError> {
    serde_json::from_str(text_of(bytes)?).map_err(|error| broken(&error))
}

/// Checks that a record is an object.
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
    /// Parses the text of an object.
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

    /// Sorts the entries of a decoded object.
    pub(super) fn from_value(value: Value) -> Result<Self, Reject> {
        let mut envelope = Self::default();
        for (name, value) in object_of(value)? {
            envelope.put(EnvelopeKey::of(&name), value);
        }
        Ok(envelope)
    }

    fn put(&mut self, key: EnvelopeKey, value: Value) {
        match key {
            EnvelopeKey::DistinctId => self.distinct_id = Some(value),
            EnvelopeKey::GroupKey => self.group_key = Some(value),
            EnvelopeKey::GroupId => self.group_id = Some(value),
            EnvelopeKey::Time => self.time = Some(value),
            EnvelopeKey::IgnoreTime => self.ignore_time = is_on(&value),
            EnvelopeKey::Properties => self.properties = Some(value),
            EnvelopeKey::Operator(operator) => {
                self.operands.retain(|(other, _)| *other != operator);
                let at = self.operands.partition_point(|(other, _)| *other < operator);
                self.operands.insert(at, (operator, value));
            }
            EnvelopeKey::Unknown(name) => {
                self.unknown.get_or_insert(name);
            }
            EnvelopeKey::Ignored => {}
        }
    }
}

/// The type of a value in one word, for `type=...` in a message.
pub(super) fn bare(value: &Value) -> &'static str {
    let name = value.type_name();
    name.split_once(' ').map_or(name, |(_, bare)| bare)
}

/// Whether a flag is set. Client libraries send `true`, `1`, `"1"` and `"true"`, and anything else for false.
pub(super) fn is_on(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::Number(number) => *number == Number::from(1),
        Value::String(text) => text == "1" || text == "true",
        _ => false,
    }
}

/// The error of the parser. Its line numbers are relative to the record, so they are called rows.
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
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                EnvelopeKey::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                }
                EnvelopeKey::Unknown(name) => {
                    map.next_value::<IgnoredAny>()?;
                    envelope.unknown.get_or_insert(name);
                }
                key => envelope.put(key, map.next_value()?),
            }
        }
        Ok(envelope)
    }
}

/// Deserializes a key without allocating its text.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = EnvelopeKey;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<EnvelopeKey, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = EnvelopeKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<EnvelopeKey, E> {
        Ok(EnvelopeKey::of(name))
    }
}
