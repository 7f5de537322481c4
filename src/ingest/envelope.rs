//! Streaming deserialization of an update object: a serde visitor that sorts its entries by key.
//!
//! There is no map in between, so ignored values are never allocated.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::parse::ParseError;
use super::reject::Reject;
use super::repair::{self, Repair};
use crate::model::{Number, Object, Value, ValueSeed};
use crate::ops::Operator;

/// A key of an update object, by its meaning.
enum EnvelopeKey {
    DistinctId,
    GroupKey,
    GroupId,
    Time,
    IgnoreTime,
    Properties,
    Token,
    Ip,
    Latitude,
    Longitude,
    Operator(Operator),
    Ignored,
    Unknown(String),
}

impl EnvelopeKey {
    fn of(name: &str) -> Self {
        match name {
            "$distinct_id" => Self::DistinctId,
            "$group_key" => Self::GroupKey,
            "$group_id" => Self::GroupId,
            "$time" => Self::Time,
            "$ignore_time" => Self::IgnoreTime,
            "$properties" => Self::Properties,
            "$token" => Self::Token,
            "$ip" => Self::Ip,
            "$latitude" => Self::Latitude,
            "$longitude" => Self::Longitude,
            // The store has no aliases. The others are added by client libraries.
            "$ignore_alias"
            | "$device_id"
            | "$user_id"
            | "$had_persisted_distinct_id"
            | "$mp_metadata"
            | "$source"
            | "mp_lib" => Self::Ignored,
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
    pub(super) ignore_time: Option<Value>,
    pub(super) properties: Option<Value>,
    pub(super) token: Option<Value>,
    pub(super) ip: Option<Value>,
    pub(super) latitude: Option<Value>,
    pub(super) longitude: Option<Value>,
    /// Ascending by operator, each at most once.
    pub(super) operands: Vec<(Operator, Value)>,
    /// The keys without a meaning.
    pub(super) unknown: Vec<(String, Value)>,
    /// What was changed to read the object.
    pub(super) repairs: Vec<Repair>,
}

/// Parses the text of a value of any type.
pub(super) fn value_of(bytes: &[u8]) -> Result<(Value, Vec<Repair>), ParseError> {
    let text = text_of(bytes)?;
    let is_altered = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = ValueSeed(&is_altered).deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) if !is_altered.get() => Ok((value, Vec::new())),
        Ok(value) => repair::read(text).map_or(Ok((value, Vec::new())), |read| read.map_err(ParseError::Invalid)),
        Err(error) => repair::read(text).map_or_else(|| Err(broken(&error)), |read| read.map_err(ParseError::Invalid)),
    }
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
    /// Parses the text of an object, the token and the place only if requested: the store has neither.
    pub(super) fn from_slice(bytes: &[u8], has_origin: bool) -> Result<Self, ParseError> {
        let text = text_of(bytes)?;
        let is_altered = Cell::new(false);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let envelope = deserializer.deserialize_map(EnvelopeVisitor { seed: ValueSeed(&is_altered), has_origin });
        match envelope.and_then(|envelope| deserializer.end().map(|()| envelope)) {
            Ok(envelope) if !is_altered.get() => Ok(envelope),
            // It is no object, or no JSON, or not the whole text.
            _ => {
                let (value, repairs) = value_of(bytes)?;
                Ok(Self { repairs, ..Self::from_value(value)? })
            }
        }
    }

    /// Sorts the entries of a decoded object.
    pub(super) fn from_value(value: Value) -> Result<Self, Reject> {
        let mut envelope = Self::default();
        for (name, value) in object_of(value)? {
            envelope.put(EnvelopeKey::of(&name), value);
        }
        Ok(envelope)
    }

    /// Adds an entry. False if there was one under the key.
    fn put(&mut self, key: EnvelopeKey, value: Value) -> bool {
        let entry = match key {
            EnvelopeKey::DistinctId => &mut self.distinct_id,
            EnvelopeKey::GroupKey => &mut self.group_key,
            EnvelopeKey::GroupId => &mut self.group_id,
            EnvelopeKey::Time => &mut self.time,
            EnvelopeKey::IgnoreTime => &mut self.ignore_time,
            EnvelopeKey::Properties => &mut self.properties,
            EnvelopeKey::Token => &mut self.token,
            EnvelopeKey::Ip => &mut self.ip,
            EnvelopeKey::Latitude => &mut self.latitude,
            EnvelopeKey::Longitude => &mut self.longitude,
            EnvelopeKey::Operator(operator) => {
                let count = self.operands.len();
                self.operands.retain(|(other, _)| *other != operator);
                let is_new = self.operands.len() == count;
                let at = self.operands.partition_point(|(other, _)| *other < operator);
                self.operands.insert(at, (operator, value));
                return is_new;
            }
            EnvelopeKey::Unknown(name) => {
                if !value.is_null() {
                    self.unknown.push((name, value));
                }
                return true;
            }
            EnvelopeKey::Ignored => return true,
        };
        entry.replace(value).is_none()
    }

    /// Drops the entries that are null. It is not done before the end, so that null may be the last of two entries.
    pub(super) fn without_nulls(mut self) -> Self {
        let Self { distinct_id, group_key, group_id, time, ignore_time, properties, .. } = &mut self;
        for entry in [distinct_id, group_key, group_id, time, ignore_time, properties] {
            entry.take_if(|value| value.is_null());
        }
        self
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

struct EnvelopeVisitor<'c> {
    seed: ValueSeed<'c>,
    has_origin: bool,
}

impl<'de> Visitor<'de> for EnvelopeVisitor<'_> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an update object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let is_origin =
                matches!(key, EnvelopeKey::Token | EnvelopeKey::Ip | EnvelopeKey::Latitude | EnvelopeKey::Longitude);
            if matches!(key, EnvelopeKey::Ignored) || (is_origin && !self.has_origin) {
                map.next_value::<IgnoredAny>()?;
            } else if !envelope.put(key, map.next_value_seed(self.seed)?) {
                self.seed.0.set(true);
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
