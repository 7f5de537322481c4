//! JSON values, which are what properties hold.

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use std::slice;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{NotFinite, Number, Object};
use crate::limits::{GROUP_IDS_MAX, ID_BYTES_MAX};

/// Whether a string is a valid group id.
pub(crate) fn is_group_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_BYTES_MAX
}

/// A property value: any JSON.
///
/// Equality is deep JSON equality, as `$union` and `$remove` use it: numbers compare by value (`1 == 1.0`), objects
/// regardless of key order, everything else only within its own type (`"1" != 1`). `Ord` is consistent with it.
///
/// Dates have no type of their own: they are strings of the form `YYYY-MM-DDTHH:MM:SS`.
///
/// ```
/// use profiledb::Value;
///
/// let value: Value = serde_json::from_str(r#"{"b": [1, 2.5, null], "a": "x"}"#)?;
/// assert_eq!(serde_json::to_string(&value)?, r#"{"a":"x","b":[1,2.5,null]}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default)]
pub enum Value {
    /// Stored like any value. It counts as present: `$set_once` does not replace it.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An exact number.
    Number(Number),
    /// Text.
    String(String),
    /// An ordered list.
    List(Vec<Value>),
    /// A nested object.
    Object(Object),
}

impl Value {
    /// Whether this is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if this is one.
    #[must_use]
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The integer, if this is one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::as_i64)
    }

    /// The number as the nearest double, if this is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number().map(Number::as_f64)
    }

    /// The elements, if this is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// The entries, if this is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// What it holds besides itself, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 0,
            Self::Number(number) => number.held_bytes(),
            Self::String(text) => text.capacity(),
            Self::List(elements) => {
                elements.capacity() * size_of::<Self>() + elements.iter().map(Self::held_bytes).sum::<usize>()
            }
            Self::Object(object) => object.held_bytes(),
        }
    }

    /// The ids of the groups that this value names: that of a scalar, or those of the scalars in a list, at most
    /// [`GROUP_IDS_MAX`]. Values that are not valid ids are skipped. Clients send ids that look like numbers as
    /// numbers, and expect them to equal the string.
    pub(crate) fn group_ids(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let values = match self {
            Self::List(elements) => elements.as_slice(),
            one => slice::from_ref(one),
        };
        values.iter().filter_map(Self::group_id).take(GROUP_IDS_MAX)
    }

    fn group_id(&self) -> Option<Cow<'_, str>> {
        let id: Cow<'_, str> = match self {
            Self::String(text) => text.into(),
            Self::Bool(value) => value.to_string().into(),
            Self::Number(number) => number.as_id()?.into(),
            Self::Null | Self::List(_) | Self::Object(_) => return None,
        };
        is_group_id(&id).then_some(id)
    }

    /// The same value with whole numbers as integers, so that equal values are identical.
    pub(crate) fn without_floats(self) -> Self {
        match self {
            Self::Number(number) => Self::Number(number.without_float()),
            Self::List(elements) => Self::List(elements.into_iter().map(Self::without_floats).collect()),
            Self::Object(object) => {
                let entries = object.into_iter().map(|(name, value)| (name, value.without_floats()));
                Self::Object(Object::from_sorted(entries.collect()))
            }
            other => other,
        }
    }

    /// The name of the type, for error messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Whether two values are identical, including the float flags of their numbers, which equality ignores.
    pub(crate) fn is_identical(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.is_identical(b),
            (Self::List(a), Self::List(b)) => Self::are_identical(a, b),
            (Self::Object(a), Self::Object(b)) => a.is_identical(b),
            _ => self == other,
        }
    }

    /// Whether two sequences of values are identical, value by value.
    pub(crate) fn are_identical<'a>(
        a: impl IntoIterator<Item = &'a Self, IntoIter: ExactSizeIterator>,
        b: impl IntoIterator<Item = &'a Self, IntoIter: ExactSizeIterator>,
    ) -> bool {
        let (a, b) = (a.into_iter(), b.into_iter());
        a.len() == b.len() && a.zip(b).all(|(a, b)| a.is_identical(b))
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::String(_) => 3,
            Self::List(_) => 4,
            Self::Object(_) => 5,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => a.cmp(b),
            (Self::Object(a), Self::Object(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// As compact JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => fmt::Debug::fmt(value, f),
            Self::Number(number) => fmt::Debug::fmt(number, f),
            Self::String(text) => fmt::Debug::fmt(text, f),
            Self::List(elements) => fmt::Debug::fmt(elements, f),
            Self::Object(object) => fmt::Debug::fmt(object, f),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Number> for Value {
    fn from(value: Number) -> Self {
        Self::Number(value)
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Number(value.into())
            }
        }
    )*};
}
from_integer!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

/// Fails for NaN and the infinities, which are not JSON numbers.
impl TryFrom<f64> for Value {
    type Error = NotFinite;

    fn try_from(value: f64) -> Result<Self, NotFinite> {
        Number::try_from(value).map(Self::Number)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<Object> for Value {
    fn from(value: Object) -> Self {
        Self::Object(value)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(elements: Vec<T>) -> Self {
        Self::List(elements.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(elements: [T; N]) -> Self {
        Self::List(elements.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::List(elements) => elements.serialize(serializer),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

/// From anything. `serde_json` rounds integers beyond 64 bits to doubles before they arrive here, and of two entries of
/// an object with one name the last wins; the parsers of [`ingest`](crate::ingest) keep such integers, and report such
/// names.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ValueSeed(&Cell::new(false)).deserialize(deserializer)
    }
}

/// Deserializes a value, and sets the flag if the text may say something else than the value: of two entries of an
/// object with one name one is lost, and a float from 2^63 on may have been an integer of more than 64 bits.
#[derive(Clone, Copy)]
pub(crate) struct ValueSeed<'c>(pub(crate) &'c Cell<bool>);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        struct ValueVisitor<'c>(ValueSeed<'c>);

        impl<'de> Visitor<'de> for ValueVisitor<'_> {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                self.0.deserialize(deserializer)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
                i128::try_from(value).map(Value::from).map_err(|_| E::custom("an integer has at most 128 bits"))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
                if value.abs() >= -(i64::MIN as f64) {
                    self.0.0.set(true);
                }
                Value::try_from(value).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = sequence.next_element_seed(self.0)? {
                    elements.push(element);
                }
                Ok(Value::List(elements))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                Object::from_map(map, self.0).map(Value::Object)
            }
        }

        deserializer.deserialize_any(ValueVisitor(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn group_ids_are_valid_profile_ids() {
        let ids = |value: Value| value.group_ids().map(Cow::into_owned).collect::<Vec<_>>();
        let values = vec![
            Value::from("acme"),
            3.into(),
            3.5.try_into().unwrap(),
            7.0.try_into().unwrap(),
            true.into(),
            "".into(),
            Value::Null,
            vec!["nested"].into(),
            1e300.try_into().unwrap(),
            "x".repeat(ID_BYTES_MAX + 1).into(),
            (-7).into(),
        ];
        assert_eq!(ids(values.clone().into()), ["acme", "3", "3.5", "7", "true", "-7"]);
        let one_by_one: Vec<String> =
            values.into_iter().filter(|value| value.as_list().is_none()).flat_map(ids).collect();
        assert_eq!(one_by_one, ["acme", "3", "3.5", "7", "true", "-7"]);
        assert_eq!(ids((0..400).map(|n| n.to_string()).collect::<Vec<_>>().into()).len(), GROUP_IDS_MAX);
    }

    #[test]
    fn equality_is_json_equality() {
        assert_eq!(json(r#"{"a":1,"b":[2]}"#), json(r#"{"b":[2.0],"a":1.0}"#));
        assert_ne!(json(r#""1""#), json("1"));
        assert_ne!(json("0"), json("false"));
        assert_ne!(json("[1,2]"), json("[2,1]"));
    }

    #[test]
    fn the_last_of_equal_names_wins() {
        assert_eq!(json(r#"{"b":1,"a":2,"b":3,"a":4,"b":5}"#).to_string(), r#"{"a":4,"b":5}"#);
        let object = Object::from_iter([("b", 1), ("a", 2), ("b", 3)]);
        assert_eq!(Value::from(object).to_string(), r#"{"a":2,"b":3}"#);
    }

    #[test]
    fn order_is_consistent_with_equality() {
        let mut values: Vec<Value> =
            ["null", "false", "true", "-1", "0", "0.5", "1", "1.0", "\"\"", "\"a\"", "[]", "[1]", "{}", r#"{"a":1}"#]
                .iter()
                .map(|text| json(text))
                .collect();
        let sorted = values.clone();
        values.reverse();
        values.sort();
        assert_eq!(values, sorted);
        for a in &sorted {
            for b in &sorted {
                assert_eq!(a == b, a.cmp(b) == Ordering::Equal, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_value_is_small() {
        assert!(size_of::<Value>() <= 32, "{}", size_of::<Value>());
    }
}
