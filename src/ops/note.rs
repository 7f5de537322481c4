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

/// The place of a value in a record, as a list of steps on the stack, so that it costs nothing until it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'p> {
    /// A property, or the record, which is empty.
    Root(&'p str),
    Name(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) | Self::Name(Path::Root(""), name) => f.write_str(name),
            Self::Name(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What becomes of names and texts that are too long.
pub(crate) enum Excess<'n> {
    /// They are errors.
    Refused,
    /// They are truncated, with a note. The operator of the note is replaced by `place`, if there is one.
    Noted { notes: &'n mut Vec<Note>, place: Option<&'static str> },
}

impl Excess<'_> {
    /// Adds a note about a property of an operator.
    pub(super) fn note(&mut self, operator: &str, path: &Path<'_>, reason: String, before: &Value) {
        if let Self::Noted { notes, place } = self {
            let field = format_args!("{}.{path}", place.unwrap_or(operator)).to_string();
            notes.push(Note::new(field, reason, Some(before)));
        }
    }

    pub(super) fn is_noted(&self) -> bool {
        matches!(self, Self::Noted { .. })
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
