//! Notes: the data-quality log of one record, with the path and the value of everything that was changed.

use std::fmt;

use serde::Serialize;

use crate::model::Value;

/// The longest text of a value that a note quotes, in characters.
const BEFORE_CHARS_MAX: usize = 1_024;

/// A change of a record that lenient rules make, and strict rules reject.
///
/// ```
/// use profiledb::ingest::{Record, Rules};
///
/// let text = br#"{"$distinct_id":"alice","$add":{"logins":"5"}}"#;
/// let record = Record::from_slice(text, &Rules::new())?;
/// assert_eq!(
///     serde_json::to_string(&record.notes[0]).expect("a note is JSON"),
///     r#"{"field":"$add.logins","reason":"converted: $add takes a number value=\"5\"","before":"5"}"#,
/// );
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Note {
    /// The path of the field: an envelope key, an operator with a property as in `$union.urls[0]`, or a path in an
    /// event as in `properties.time`. Empty if the note is about the record.
    pub field: String,
    /// What was done, and why: `truncated: a string has at most 255 characters chars=300`.
    pub reason: String,
    /// The value before the change, if there was one. Of a longer text the first 1,024 characters; of a list or an
    /// object its JSON, as a text, as far as that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
}

impl Note {
    pub(crate) fn new(field: impl fmt::Display, reason: impl Into<String>, before: Option<&Value>) -> Self {
        Self { field: field.to_string(), reason: reason.into(), before: before.map(quoted) }
    }

    /// The size of its texts, in bytes.
    pub(crate) fn text_bytes(&self) -> usize {
        let before = self.before.as_ref().and_then(Value::as_str).map_or(0, str::len);
        self.field.len() + self.reason.len() + before
    }
}

fn quoted(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => excerpt_of(text, BEFORE_CHARS_MAX).into(),
        Value::List(_) | Value::Object(_) => excerpt_of(&value.to_string(), BEFORE_CHARS_MAX).into(),
    }
}

/// The first characters of a text, for a message.
pub(crate) fn excerpt(text: &str) -> &str {
    excerpt_of(text, 64)
}

fn excerpt_of(text: &str, chars_max: usize) -> &str {
    // A string has at most as many characters as bytes.
    if text.len() <= chars_max {
        return text;
    }
    let end = text.char_indices().nth(chars_max).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text)
}
