//! Validation of updates against [`Limits`], once, before an update becomes an operand.
//!
//! Names and strings that are too long are truncated, anything else that is too large is rejected. No limit is checked
//! after this, because a fold must give the same result however updates are grouped.
//!
//! An admitted update records the limits it satisfies, so the store does not repeat the validation that the parser of
//! a wire format has done. Adding an operator clears the record.

use super::op::{Op, Update};
use crate::error::{Error, Result};
use crate::limits::{Limits, LimitsId, VALUE_DEPTH_MAX};
use crate::model::Value;

/// Names that are never stored as properties: they belong to the envelope or are computed.
const RESERVED: [&str; 8] =
    ["$token", "$distinct_id", "$group_key", "$group_id", "$ip", "$ignore_time", "$last_seen", "$mp_first_event_time"];

/// Whether a property of this name is computed by the store or belongs to the envelope.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with('$') && RESERVED.contains(&name)
}

impl Update {
    /// Validates the update against `limits` and truncates names and strings that are too long. The store does this for
    /// every update that was not admitted under the same limits already.
    ///
    /// ```
    /// use profiledb::{Limits, Update};
    ///
    /// let update = Update::new().set("bio", "x".repeat(300)).admit(&Limits::mixpanel())?;
    /// let error = Update::new().set("$last_seen", "today").admit(&Limits::mixpanel()).unwrap_err();
    /// assert_eq!(error.field(), Some("$last_seen"));
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for an empty or reserved name or a number that is not finite, and
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for a value that is too large; the error names the property.
    pub fn admit(self, limits: &Limits) -> Result<Self> {
        self.admit_as(limits, limits.id())
    }

    /// As [`admit`](Self::admit), for a caller that keeps the id of its limits.
    pub(crate) fn admit_as(mut self, limits: &Limits, id: LimitsId) -> Result<Self> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        if self.admitted != Some(id) {
            self.validate(limits)?;
            self.admitted = Some(id);
        }
        Ok(self)
    }

    fn validate(&mut self, limits: &Limits) -> Result<()> {
        for (name, op) in &mut self.ops {
            if name.is_empty() {
                return Err(Error::invalid("a property name is empty").at(""));
            }
            if is_reserved(name) {
                let message = "the name is reserved and cannot be stored as a property";
                return Err(Error::invalid(message).at(name.as_str()));
            }
            truncate(name, limits.name_chars_max);
            admit_op(op, limits).map_err(|error| error.at(name.as_str()))?;
        }
        Ok(())
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

/// Validates a value. A list or an object has at most `nested_bytes_max` bytes as JSON.
pub(super) fn admit_value_within(value: &mut Value, limits: &Limits, nested_bytes_max: usize) -> Result<()> {
    let bytes_bound = admit_nested(value, limits, 0, 0)?;
    let nested = matches!(value, Value::List(_) | Value::Object(_));
    // For most values the upper bound suffices. Only the others are serialized to be measured.
    if nested && bytes_bound > nested_bytes_max {
        let bytes = json_bytes(value);
        if bytes > nested_bytes_max {
            let kind = value.type_name();
            let message = format!("{kind} has at most {nested_bytes_max} bytes as JSON bytes={bytes}");
            return Err(Error::limit(message));
        }
    }
    Ok(())
}

/// The maximum length of a number as JSON, in bytes: the longest are doubles such as `-1.2345678901234567e-308`.
const NUMBER_JSON_BYTES_MAX: usize = 32;

/// Validates a value and what it contains, and returns an upper bound of its size as compact JSON, in bytes.
fn admit_nested(value: &mut Value, limits: &Limits, depth: usize, objects: usize) -> Result<usize> {
    if depth >= VALUE_DEPTH_MAX && matches!(value, Value::List(_) | Value::Object(_)) {
        return Err(Error::limit(format!("a value nests at most {VALUE_DEPTH_MAX} levels deep")));
    }
    match value {
        Value::Null | Value::Bool(_) => Ok("false".len()),
        Value::Number(_) => Ok(NUMBER_JSON_BYTES_MAX),
        Value::String(text) => {
            truncate(text, limits.string_chars_max);
            Ok(string_json_bytes_max(text))
        }
        Value::List(elements) => elements.iter_mut().try_fold("[]".len(), |bytes, element| {
            Ok(bytes + ",".len() + admit_nested(element, limits, depth + 1, objects)?)
        }),
        Value::Object(object) => {
            if objects >= limits.object_depth_max {
                let message = format!("objects nest at most {} levels deep", limits.object_depth_max);
                return Err(Error::limit(message));
            }
            if object.len() > limits.object_keys_max {
                let message = format!("an object has at most {} keys keys={}", limits.object_keys_max, object.len());
                return Err(Error::limit(message));
            }
            let names: usize = object.iter().map(|(name, _)| string_json_bytes_max(name) + ":,".len()).sum();
            object.values_mut().try_fold("{}".len() + names, |bytes, value| {
                Ok(bytes + admit_nested(value, limits, depth + 1, objects + 1)?)
            })
        }
    }
}

/// An upper bound of the size of a string as JSON, in bytes: the longest escape of a byte is `\u0000`.
fn string_json_bytes_max(text: &str) -> usize {
    text.len().saturating_mul(6).saturating_add(2)
}

/// Truncates a string to at most `chars_max` characters.
pub(super) fn truncate(text: &mut String, chars_max: usize) {
    // A string has at most as many characters as bytes.
    if text.len() > chars_max
        && let Some((end, _)) = text.char_indices().nth(chars_max)
    {
        text.truncate(end);
    }
}

/// The size of the value as compact JSON, in bytes.
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
    // Neither writing to a counter nor serializing a `Value` can fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Object;
    use crate::ops::laws::any_value;

    fn limits() -> Limits {
        Limits::mixpanel()
    }

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::from(1), |inner, _| Object::from_iter([("x", inner)]).into())
    }

    #[test]
    fn names_and_strings_are_truncated_between_characters() {
        let update = Update::new().set("n".repeat(300), "ü".repeat(256)).append("l", vec!["x".repeat(300)]);
        let update = update.admit(&limits()).unwrap();
        let [(name, Op::Set(text)), (_, Op::Append(list))] = update.ops() else { panic!() };
        assert_eq!(name, &"n".repeat(255));
        assert_eq!(text, &Value::from("ü".repeat(255)));
        assert_eq!(list, &Value::from(vec!["x".repeat(255)]));
    }

    #[test]
    fn errors_name_the_property_that_is_too_large() {
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
    fn invalid_names_and_numbers_are_rejected() {
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

    #[test]
    fn the_size_limit_is_exact_for_bounded_and_measured_values() {
        let mut limits = limits();
        limits.nested_bytes_max = "[1,1,1,1]".len();
        Update::new().set("l", vec![1; 4]).admit(&limits).unwrap();
        let error = Update::new().set("l", vec![1; 5]).admit(&limits).unwrap_err();
        assert!(error.is_limit_exceeded() && error.message().ends_with("bytes=11"), "{error}");
        // Escapes count towards the size.
        limits.nested_bytes_max = 20;
        let error = Update::new().set("l", vec!["\u{1}".repeat(4)]).admit(&limits).unwrap_err();
        assert!(error.is_limit_exceeded() && error.message().ends_with("bytes=28"), "{error}");
    }

    #[test]
    fn admitted_updates_are_validated_again_under_other_limits_and_after_a_change() {
        let mut narrow = limits();
        narrow.string_chars_max = 3;
        let text_of = |update: Update| match update.ops() {
            [.., (_, Op::Set(text))] => text.clone(),
            ops => panic!("{ops:?}"),
        };
        let wide = Update::new().set("a", "12345").admit(&limits()).unwrap();
        assert_eq!(text_of(wide.clone().admit(&limits()).unwrap()), "12345".into());
        assert_eq!(text_of(wide.clone().admit(&narrow).unwrap()), "123".into());
        let changed = wide.admit(&narrow).unwrap().set("b", "67890");
        assert_eq!(text_of(changed.admit(&narrow).unwrap()), "678".into());
        let invalid = Update::new().set("a", 1).admit(&narrow).unwrap().set("b", f64::NAN);
        assert!(invalid.admit(&narrow).is_err());
    }

    proptest::proptest! {
        #[test]
        fn the_upper_bound_is_never_below_the_size(mut value in any_value()) {
            let bytes = json_bytes(&value);
            let bound = admit_nested(&mut value, &Limits::unbounded(), 0, 0).unwrap();
            proptest::prop_assert!(bytes <= bound, "{} > {} of {}", bytes, bound, value);
        }
    }
}
