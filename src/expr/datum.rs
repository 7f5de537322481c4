//! Intermediate values of an evaluation, and their casts.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::arithmetic;
use super::node::{Cast, MemberSet};
use super::token::{literal, read_number};
use crate::model::{Number, Timestamp, Value};

/// An intermediate value. Undefined is `None` of an `Option` around it.
#[derive(Clone, Debug)]
pub(super) enum Datum<'a> {
    Plain(Cow<'a, Value>),
    /// The result of `datetime`. JSON has no such type: the result of an expression is the text of that time.
    Time(Timestamp),
}

impl<'a> Datum<'a> {
    pub(super) fn borrowed(value: &'a Value) -> Self {
        Self::Plain(Cow::Borrowed(value))
    }

    pub(super) fn owned(value: impl Into<Value>) -> Self {
        Self::Plain(Cow::Owned(value.into()))
    }

    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Plain(value) => Some(value.as_ref()),
            Self::Time(_) => None,
        }
    }

    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Plain(value) => value.into_owned(),
            Self::Time(time) => Value::String(time.to_string()),
        }
    }

    /// The member of an object; of anything else, undefined.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        match self {
            Self::Plain(Cow::Borrowed(Value::Object(object))) => object.get(name).map(Self::borrowed),
            Self::Plain(Cow::Owned(Value::Object(mut object))) => object.remove(name).map(Self::owned),
            Self::Plain(_) | Self::Time(_) => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        self.value().and_then(Value::as_bool)
    }

    pub(super) fn as_number(&self) -> Option<&Number> {
        self.value().and_then(Value::as_number)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        self.value().and_then(Value::as_str)
    }

    pub(super) fn type_name(&self) -> &'static str {
        self.value().map_or("a datetime", Value::type_name)
    }

    /// The value as a time, for comparisons with a datetime. Dates are stored as texts, so a text of that form is
    /// converted; a number is not.
    fn as_time(&self) -> Option<Timestamp> {
        match self {
            Self::Time(time) => Some(*time),
            Self::Plain(value) => value.as_str().and_then(read_time),
        }
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(a), Self::Plain(b)) => a == b,
            (Self::Time(a), b) | (b, Self::Time(a)) => b.as_time() == Some(*a),
        }
    }

    /// Defined for two numbers, and for a datetime and a datetime or date.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Plain(a), Self::Plain(b)) => Some(a.as_number()?.cmp(b.as_number()?)),
            (a, b) => Some(a.as_time()?.cmp(&b.as_time()?)),
        }
    }

    /// Whether this is among these literals.
    pub(super) fn is_among(&self, members: &MemberSet) -> bool {
        match self {
            Self::Plain(value) => members.contains(value),
            Self::Time(_) => self.is_element(members.listed()),
        }
    }

    fn is_element(&self, elements: &[Value]) -> bool {
        elements.iter().any(|element| self.equals(&Datum::borrowed(element)))
    }

    /// A substring of a text, or an element of a list.
    pub(super) fn is_in(&self, whole: &Self) -> Option<bool> {
        match (whole.value()?, self.as_str()) {
            (Value::List(elements), _) => Some(self.is_element(elements)),
            (Value::String(whole), Some(part)) => Some(whole.contains(part)),
            _ => None,
        }
    }

    pub(super) fn plus(&self, other: &Self) -> Option<Datum<'static>> {
        match (self.value()?, other.value()?) {
            (Value::Number(a), Value::Number(b)) => Some(Datum::owned(a + b)),
            (Value::String(a), Value::String(b)) => Some(Datum::owned([a.as_str(), b.as_str()].concat())),
            _ => None,
        }
    }

    pub(super) fn cast(self, cast: Cast) -> Option<Self> {
        match cast {
            Cast::String => self.into_text(),
            Cast::Number => self.into_number(),
            Cast::Boolean => Some(Self::owned(self.is_truthy())),
            Cast::Datetime => self.to_time().map(Self::Time),
        }
    }

    /// The result of a cast of undefined.
    pub(super) fn cast_undefined(cast: Cast) -> Option<Self> {
        (cast == Cast::Boolean).then(|| Self::owned(false))
    }

    fn into_text(self) -> Option<Self> {
        match self {
            Self::Time(time) => Some(Self::owned(time.to_string())),
            Self::Plain(value) => Some(match value.as_ref() {
                Value::Null | Value::String(_) => Self::Plain(value),
                Value::Number(number) => Self::owned(arithmetic::text(number)),
                other => Self::owned(other.to_string()),
            }),
        }
    }

    fn into_number(self) -> Option<Self> {
        match self {
            Self::Time(time) => Some(Self::owned(time.millis())),
            Self::Plain(value) => match value.as_ref() {
                Value::Number(_) => Some(Self::Plain(value)),
                Value::Bool(value) => Some(Self::owned(Number::try_from(f64::from(u8::from(*value))).ok()?)),
                Value::String(text) => Some(Self::owned(read_number(text.trim()).and_then(literal).ok()?)),
                Value::Null | Value::List(_) | Value::Object(_) => None,
            },
        }
    }

    fn is_truthy(&self) -> bool {
        match self.value() {
            Some(Value::Null) => false,
            Some(Value::Bool(value)) => *value,
            Some(Value::Number(number)) => !number.is_zero(),
            Some(Value::String(text)) => !matches!(text.as_str(), "" | "false"),
            Some(Value::List(_) | Value::Object(_)) | None => true,
        }
    }

    fn to_time(&self) -> Option<Timestamp> {
        match self.as_number() {
            Some(number) => Timestamp::from_number(number.as_f64()).ok(),
            None => self.as_time(),
        }
    }
}

/// Parses a date; a text that is not one is undefined. The form is checked first, because most texts are not dates and
/// the full parser rejects them at a higher cost. An offset from UTC is not part of that form.
fn read_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.as_bytes().split_at_checked(b"dddd-dd-dd".len())?;
    let is_date = date.iter().zip(b"dddd-dd-dd").all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        _ => byte == shape,
    });
    let is_time = time.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b':' | b'.' | b'Z'));
    if is_date && is_time { Timestamp::parse(text).ok() } else { None }
}
