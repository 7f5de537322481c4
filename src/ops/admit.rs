//! The door: what an update must satisfy before it becomes an operand.
//!
//! Names and strings that are too long are cut, anything else that is too large is refused. Nothing past this door
//! checks a limit, because a fold must come out the same however updates are grouped.

use super::op::{Op, Update};
use crate::error::{Error, Result};
use crate::limits::{Limits, VALUE_DEPTH_MAX};
use crate::model::Value;

/// Names that are never stored as properties: they belong to the envelope or are computed.
const RESERVED: [&str; 8] =
    ["$token", "$distinct_id", "$group_key", "$group_id", "$ip", "$ignore_time", "$last_seen", "$mp_first_event_time"];

/// Whether a property of this name is kept by the store itself or belongs to the envelope.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with('$') && RESERVED.contains(&name)
}

impl Update {
    /// Checks the update against `limits` and cuts what is to be cut. The store does this with every update.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for an empty or reserved name or a number that is not finite, and
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for a value that is too large; the error names the property.
    pub fn admit(mut self, limits: &Limits) -> Result<Self> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        for (name, op) in &mut self.ops {
            if name.is_empty() {
                return Err(Error::invalid("a property name is empty").at(""));
            }
            if is_reserved(name) {
                let message = "the name is reserved and cannot be stored as a property";
                return Err(Error::invalid(message).at(name.as_str()));
            }
            cut(name, limits.name_chars_max);
            admit_op(op, limits).map_err(|error| error.at(name.as_str()))?;
        }
        Ok(self)
    }
}

fn admit_op(op: &mut Op, limits: &Limits) -> Result<()> {
    match op {
        Op::Add(_) | Op::Unset => Ok(()),
        Op::Set(value) | Op::SetOnce(value) | Op::Append(value) | Op::Remove(value) => admit_value(value, limits),
        Op::Union(elements) => {
            let mut list = Value::List(std::mem::take(elements));
            let admitted = admit_value(&mut list, limits);
            if let Value::List(list) = list {
                *elements = list;
            }
            admitted
        }
        Op::Merge(entries) => {
            let mut object = Value::Object(std::mem::take(entries));
            let admitted = admit_value(&mut object, limits);
            if let Value::Object(object) = object {
                *entries = object;
            }
            admitted
        }
    }
}

fn admit_value(value: &mut Value, limits: &Limits) -> Result<()> {
    admit_value_within(value, limits, limits.nested_bytes_max)
}

/// Checks a value, of which a list or an object has at most so many bytes as JSON.
pub(super) fn admit_value_within(value: &mut Value, limits: &Limits, nested_bytes_max: usize) -> Result<()> {
    admit_nested(value, limits, 0, 0)?;
    let nested = matches!(value, Value::List(_) | Value::Object(_));
    if nested && nested_bytes_max < usize::MAX {
        let bytes = json_bytes(value);
        if bytes > nested_bytes_max {
            let kind = value.type_name();
            let message = format!("{kind} has at most {nested_bytes_max} bytes as JSON bytes={bytes}");
            return Err(Error::limit(message));
        }
    }
    Ok(())
}

fn admit_nested(value: &mut Value, limits: &Limits, depth: usize, objects: usize) -> Result<()> {
    if depth >= VALUE_DEPTH_MAX && matches!(value, Value::List(_) | Value::Object(_)) {
        return Err(Error::limit(format!("a value nests at most {VALUE_DEPTH_MAX} levels deep")));
    }
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => {
            cut(text, limits.string_chars_max);
            Ok(())
        }
        Value::List(elements) => {
            elements.iter_mut().try_for_each(|element| admit_nested(element, limits, depth + 1, objects))
        }
        Value::Object(object) => {
            if objects >= limits.object_depth_max {
                let message = format!("objects nest at most {} levels deep", limits.object_depth_max);
                return Err(Error::limit(message));
            }
            if object.len() > limits.object_keys_max {
                let message = format!("an object has at most {} keys keys={}", limits.object_keys_max, object.len());
                return Err(Error::limit(message));
            }
            object.values_mut().try_for_each(|value| admit_nested(value, limits, depth + 1, objects + 1))
        }
    }
}

/// Cuts a text to so many characters, never inside one.
pub(super) fn cut(text: &mut String, chars_max: usize) {
    // A text of so many bytes cannot have more characters.
    if text.len() > chars_max
        && let Some((end, _)) = text.char_indices().nth(chars_max)
    {
        text.truncate(end);
    }
}

/// How many bytes the value takes as compact JSON.
pub(crate) fn json_bytes(value: &Value) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // Writing into a counter cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Object;

    fn limits() -> Limits {
        Limits::mixpanel()
    }

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::from(1), |inner, _| Object::from_iter([("x", inner)]).into())
    }

    #[test]
    fn names_and_strings_are_cut_between_characters() {
        let update = Update::new().set("n".repeat(300), "ü".repeat(256)).append("l", vec!["x".repeat(300)]);
        let update = update.admit(&limits()).unwrap();
        let [(name, Op::Set(text)), (_, Op::Append(list))] = update.ops() else { panic!() };
        assert_eq!(name, &"n".repeat(255));
        assert_eq!(text, &Value::from("ü".repeat(255)));
        assert_eq!(list, &Value::from(vec!["x".repeat(255)]));
    }

    #[test]
    fn what_is_too_large_is_refused_by_name() {
        let wide = Object::from_iter((0..256).map(|n| (n.to_string(), n)));
        let long = Value::from(vec!["0123456789"; 30_000]);
        for value in [nested(4), wide.into(), long] {
            let error = Update::new().set("a", 1).set("b", value.clone()).admit(&limits()).unwrap_err();
            assert!(error.is_limit_exceeded(), "{error}");
            assert_eq!(error.field(), Some("b"));
            Update::new().set("b", value).admit(&Limits::unbounded()).unwrap();
        }
        Update::new().set("b", nested(3)).admit(&limits()).unwrap();
        let error = Update::new().set("b", nested(65)).admit(&Limits::unbounded()).unwrap_err();
        assert!(error.is_limit_exceeded());
    }

    #[test]
    fn bad_names_and_numbers_are_refused() {
        for update in [
            Update::new().set("", 1),
            Update::new().unset("$distinct_id"),
            Update::new().set("$last_seen", "2024-01-01T00:00:00"),
            Update::new().set("x", f64::INFINITY),
            Update::new().union("x", [1.0, f64::NAN]),
        ] {
            assert!(update.admit(&Limits::unbounded()).unwrap_err().is_invalid());
        }
    }
}
