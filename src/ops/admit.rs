//! Validation of updates against [`Limits`], once, before an update becomes an operand.
//!
//! Names and strings that are too long are truncated with a note, or rejected where there is no place for notes.
//! Anything else that is too large is rejected. No limit is checked after this, because a fold must give the same
//! result however updates are grouped.
//!
//! An admitted update records the limits it satisfies, so the store does not repeat the validation that the parser of
//! a wire format has done. Adding an operator clears the record.

use std::collections::{BTreeMap, BTreeSet};

use super::note::{Excess, Note, Path, excerpt};
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
    /// Validates the update against `limits`. The store does this for every update that was not admitted under the same
    /// limits already.
    ///
    /// ```
    /// use profiledb::{Limits, Update};
    ///
    /// let update = Update::new().set("bio", "x".repeat(255)).admit(&Limits::mixpanel())?;
    /// let error = update.append("tags", "x".repeat(256)).admit(&Limits::mixpanel()).unwrap_err();
    /// assert_eq!(error.field(), Some("tags"));
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for an empty or reserved name or a number that is not finite, and
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for a name that is too long or a value that is too large; the
    /// error names the property.
    pub fn admit(self, limits: &Limits) -> Result<Self> {
        self.admit_as(limits, limits.id(), &mut Excess::Refused)
    }

    /// As [`admit`](Self::admit), but truncates names and strings that are too long, as Mixpanel does, and adds a note
    /// for each.
    ///
    /// ```
    /// use profiledb::{Limits, Update};
    ///
    /// let mut notes = Vec::new();
    /// let update = Update::new().set("bio", "x".repeat(300)).admit_truncated(&Limits::mixpanel(), &mut notes)?;
    /// assert_eq!(notes[0].field, "$set.bio");
    /// assert_eq!(notes[0].reason, "truncated: a string has at most 255 characters chars=300");
    /// assert_eq!(notes[0].before, Some("x".repeat(300).into()));
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As those of [`admit`](Self::admit), except for lengths of names and strings.
    pub fn admit_truncated(self, limits: &Limits, notes: &mut Vec<Note>) -> Result<Self> {
        self.admit_as(limits, limits.id(), &mut Excess::Noted { notes, place: None })
    }

    /// As [`admit`](Self::admit), for a caller that keeps the id of its limits.
    pub(crate) fn admit_as(mut self, limits: &Limits, id: LimitsId, excess: &mut Excess<'_>) -> Result<Self> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        if self.restored.is_some() {
            self.validate(&Limits::unbounded(), STORED_DEPTH_MAX, excess)?;
        } else if self.admitted != Some(id) {
            self.validate(limits, VALUE_DEPTH_MAX, excess)?;
            self.admitted = Some(id);
        }
        Ok(self)
    }

    fn validate(&mut self, limits: &Limits, levels_max: usize, excess: &mut Excess<'_>) -> Result<()> {
        let mut is_name_cut = false;
        for (name, op) in &mut self.ops {
            if name.is_empty() {
                return Err(Error::invalid("a property name is empty").at(""));
            }
            if is_reserved(name) {
                let message = "the name is reserved and cannot be stored as a property";
                return Err(Error::invalid(message).at(name.as_str()));
            }
            is_name_cut |= truncate_name(name, op.name(), limits, excess)?;
            if !is_small_scalar(op, limits) {
                admit_op(op, name, limits, levels_max, excess)?;
            }
        }
        if is_name_cut {
            self.note_equal_names(limits, excess);
        }
        Ok(())
    }

    /// Notes the names that are equal once truncated. It runs only if a name was.
    fn note_equal_names(&self, limits: &Limits, excess: &mut Excess<'_>) {
        let mut seen = BTreeSet::new();
        for (name, op) in &self.ops {
            // Shorter names were not truncated, and so are not equal to one that was.
            let is_longest = name.len() >= limits.name_chars_max;
            if is_longest && !seen.insert((op.name(), name)) {
                let reason = "merged: the name equals another one once truncated".to_owned();
                excess.note(op.name(), &Path::Root(name), reason, &Value::from(name.as_str()));
            }
        }
    }
}

/// The deepest nesting that a stored value has: `$append` puts what was admitted into a list.
const STORED_DEPTH_MAX: usize = VALUE_DEPTH_MAX + 1;

/// Whether the operand is a scalar within all limits, as nearly all are.
fn is_small_scalar(op: &Op, limits: &Limits) -> bool {
    match op {
        Op::Add(_) | Op::Unset => true,
        Op::Set(value) | Op::SetOnce(value) | Op::Append(value) | Op::Remove(value) => match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
            // A string has at most as many characters as bytes.
            Value::String(text) => text.len() <= limits.string_chars_max,
            Value::List(_) | Value::Object(_) => false,
        },
        Op::Union(_) | Op::Merge(_) => false,
    }
}

fn admit_op(op: &mut Op, name: &str, limits: &Limits, levels_max: usize, excess: &mut Excess<'_>) -> Result<()> {
    let operator = op.name();
    let mut admission = Admission { limits, nested_bytes_max: limits.nested_bytes_max, levels_max, operator, excess };
    let path = Path::Root(name);
    let admitted = match op {
        Op::Add(_) | Op::Unset => Ok(()),
        Op::Set(value) | Op::SetOnce(value) | Op::Append(value) | Op::Remove(value) => admission.value(value, &path),
        Op::Union(elements) => admission.elements(elements, &path),
        Op::Merge(entries) => {
            let mut object = Value::Object(std::mem::take(entries));
            let admitted = admission.value(&mut object, &path);
            if let Value::Object(object) = object {
                *entries = object;
            }
            admitted
        }
    };
    admitted.map_err(|error| if error.field().is_some() { error } else { error.at(name) })
}

/// The maximum length of a number as JSON, in bytes: the longest are integers of 128 bits.
const NUMBER_JSON_BYTES_MAX: usize = 40;

/// Truncates the name of a property, or rejects it. Whether it was truncated.
pub(super) fn truncate_name(
    name: &mut String,
    operator: &str,
    limits: &Limits,
    excess: &mut Excess<'_>,
) -> Result<bool> {
    let Some(end) = end_of(name, limits.name_chars_max) else { return Ok(false) };
    let whole = Value::from(name.as_str());
    let reason = too_long("a property name", name, limits.name_chars_max);
    if !excess.is_noted() {
        return Err(Error::limit(reason).at(excerpt(name)));
    }
    name.truncate(end);
    excess.note(operator, &Path::Root(name), format!("truncated: {reason}"), &whole);
    Ok(true)
}

/// The byte at which a string has `chars_max` characters, if it is longer.
pub(super) fn end_of(text: &str, chars_max: usize) -> Option<usize> {
    // A string has at most as many characters as bytes.
    if text.len() <= chars_max { None } else { text.char_indices().nth(chars_max).map(|(end, _)| end) }
}

/// The message for a text that is too long.
pub(super) fn too_long(what: &str, text: &str, chars_max: usize) -> String {
    format!("{what} has at most {chars_max} characters chars={}", text.chars().count())
}

/// The validation of the values of one operator, or of one event.
pub(super) struct Admission<'a, 'n> {
    pub(super) limits: &'a Limits,
    /// The maximum size of a list or an object as JSON, in bytes.
    pub(super) nested_bytes_max: usize,
    /// The deepest nesting of lists and objects.
    pub(super) levels_max: usize,
    pub(super) operator: &'static str,
    pub(super) excess: &'a mut Excess<'n>,
}

impl Admission<'_, '_> {
    /// Validates a value.
    pub(super) fn value(&mut self, value: &mut Value, path: &Path<'_>) -> Result<()> {
        let bytes_bound = self.nested(value, path, 0, 0)?;
        let nested = matches!(value, Value::List(_) | Value::Object(_));
        // For most values the upper bound suffices. Only the others are serialized to be measured.
        if nested && bytes_bound > self.nested_bytes_max {
            let (bytes, bytes_max) = (json_bytes(value), self.nested_bytes_max);
            if bytes > bytes_max {
                let kind = value.type_name();
                let message = format!("{kind} has at most {bytes_max} bytes as JSON bytes={bytes}");
                return Err(Error::limit(message));
            }
        }
        Ok(())
    }

    /// Validates the elements of a `$union`, and notes those that are lost because they are equal once truncated.
    fn elements(&mut self, elements: &mut Vec<Value>, path: &Path<'_>) -> Result<()> {
        let is_long =
            |element: &Value| element.as_str().is_some_and(|text| end_of(text, self.limits.string_chars_max).is_some());
        let before = if elements.iter().any(is_long) { elements.clone() } else { Vec::new() };
        let mut list = Value::List(std::mem::take(elements));
        let admitted = self.value(&mut list, path);
        if let Value::List(list) = list {
            *elements = list;
        }
        admitted?;
        let mut seen = BTreeMap::new();
        for (index, (element, whole)) in elements.iter().zip(&before).enumerate() {
            if *seen.entry(element).or_insert(whole) != whole {
                let reason = "merged: the element equals another one once truncated".to_owned();
                self.excess.note(self.operator, &Path::Index(path, index), reason, whole);
            }
        }
        Ok(())
    }

    /// Validates a value and what it contains, and returns an upper bound of its size as compact JSON, in bytes.
    fn nested(&mut self, value: &mut Value, path: &Path<'_>, depth: usize, objects: usize) -> Result<usize> {
        let limits = self.limits;
        if depth >= self.levels_max && matches!(value, Value::List(_) | Value::Object(_)) {
            return Err(Error::limit(format!("a value nests at most {VALUE_DEPTH_MAX} levels deep")));
        }
        match value {
            Value::Null | Value::Bool(_) => Ok("false".len()),
            Value::Number(_) => Ok(NUMBER_JSON_BYTES_MAX),
            Value::String(text) => {
                if let Some(end) = end_of(text, limits.string_chars_max) {
                    self.truncate(text, end, path)?;
                }
                Ok(string_json_bytes_max(text))
            }
            Value::List(elements) => elements.iter_mut().enumerate().try_fold("[]".len(), |bytes, (index, element)| {
                let path = Path::Index(path, index);
                Ok(bytes + ",".len() + self.nested(element, &path, depth + 1, objects)?)
            }),
            Value::Object(object) => {
                if objects >= limits.object_depth_max {
                    let message = format!("objects nest at most {} levels deep", limits.object_depth_max);
                    return Err(Error::limit(message));
                }
                let (keys, keys_max) = (object.len(), limits.object_keys_max);
                if keys > keys_max {
                    return Err(Error::limit(format!("an object has at most {keys_max} keys keys={keys}")));
                }
                object.iter_mut().try_fold("{}".len(), |bytes, (name, value)| {
                    let path = Path::Name(path, name);
                    let bytes = bytes + string_json_bytes_max(name) + ":,".len();
                    Ok(bytes + self.nested(value, &path, depth + 1, objects + 1)?)
                })
            }
        }
    }

    /// Truncates a string that is too long, or rejects it.
    #[cold]
    fn truncate(&mut self, text: &mut String, end: usize, path: &Path<'_>) -> Result<()> {
        let reason = too_long("a string", text, self.limits.string_chars_max);
        if !self.excess.is_noted() {
            return Err(Error::limit(format!("{reason} value={:?}", excerpt(text))).at(path.to_string()));
        }
        let whole = Value::from(text.as_str());
        self.excess.note(self.operator, path, format!("truncated: {reason}"), &whole);
        text.truncate(end);
        Ok(())
    }
}

/// An upper bound of the size of a string as JSON, in bytes: the longest escape of a byte is `\u0000`.
fn string_json_bytes_max(text: &str) -> usize {
    text.len().saturating_mul(6).saturating_add(2)
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
        let refused = update.clone().admit(&limits()).unwrap_err();
        assert!(refused.is_limit_exceeded() && refused.message().contains("chars=300"), "{refused}");
        let mut notes = Vec::new();
        let update = update.admit_truncated(&limits(), &mut notes).unwrap();
        let places: Vec<_> = notes.iter().map(|note| note.field.replace('n', "")).collect();
        assert_eq!(places, ["$set.", "$set.", "$apped.l[0]"]);
        let before = ["n".repeat(300), "ü".repeat(256), "x".repeat(300)].map(|text| Some(Value::from(text)));
        assert_eq!(notes.into_iter().map(|note| note.before).collect::<Vec<_>>(), before);
        let [(name, Op::Set(text)), (_, Op::Append(list))] = update.ops() else { panic!() };
        assert_eq!(name, &"n".repeat(255));
        assert_eq!(text, &Value::from("ü".repeat(255)));
        assert_eq!(list, &Value::from(vec!["x".repeat(255)]));
    }

    /// The fields and the first words of the notes of an update that is admitted under narrow limits.
    fn noted(update: Update) -> (Update, Vec<String>) {
        let (mut limits, mut notes) = (limits(), Vec::new());
        (limits.string_chars_max, limits.name_chars_max) = (3, 3);
        let update = update.admit_truncated(&limits, &mut notes).unwrap();
        let line = |note: Note| format!("{} {}", note.field, note.reason.split(':').next().unwrap_or_default());
        (update, notes.into_iter().map(line).collect())
    }

    #[test]
    fn what_is_equal_once_truncated_is_noted() {
        let (_, notes) = noted(Update::new().union("u", ["abcd", "x", "abce", "abcd", "x"]));
        assert_eq!(
            notes,
            ["$union.u[0] truncated", "$union.u[2] truncated", "$union.u[3] truncated", "$union.u[2] merged"]
        );
        let (_, notes) = noted(Update::new().set("abcd", 1).set_once("abcf", 1).set("abce", 2));
        assert_eq!(notes, ["$set.abc truncated", "$set_once.abc truncated", "$set.abc truncated", "$set.abc merged"]);
        let deep = Object::from_iter([("o", Value::from(vec![Object::from_iter([("t", "abcd")])]))]);
        assert_eq!(noted(Update::new().set("p", deep)).1, ["$set.p.o[0].t truncated"]);
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
        assert!(wide.clone().admit(&narrow).unwrap_err().is_limit_exceeded());
        let truncated = |update: Update| update.admit_truncated(&narrow, &mut Vec::new()).unwrap();
        assert_eq!(text_of(truncated(wide.clone())), "123".into());
        let changed = truncated(wide).set("b", "67890");
        assert_eq!(changed.clone().admit(&narrow).unwrap_err().field(), Some("b"));
        assert_eq!(text_of(truncated(changed)), "678".into());
        let invalid = Update::new().set("a", 1).admit(&narrow).unwrap().set("b", f64::NAN);
        assert!(invalid.admit(&narrow).is_err());
    }

    proptest::proptest! {
        #[test]
        fn the_upper_bound_is_never_below_the_size(mut value in any_value()) {
            let bytes = json_bytes(&value);
            let (limits, excess) = (&Limits::unbounded(), &mut Excess::Refused);
            let levels_max = VALUE_DEPTH_MAX;
            let mut admission = Admission { limits, nested_bytes_max: 0, levels_max, operator: "$set", excess };
            let bound = admission.nested(&mut value, &Path::Root(""), 0, 0).unwrap();
            proptest::prop_assert!(bytes <= bound, "{} > {} of {}", bytes, bound, value);
        }
    }
}
