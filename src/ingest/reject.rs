//! Validation results: rejects and notes, with the line, the id and the field.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, ErrorKind};

/// A record of the input, or why it was rejected.
pub type Outcome<T> = std::result::Result<T, Reject>;

/// Something in a record that lenient rules tolerate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Note {
    /// The path of the field, as in [`Reject::field`]. Empty if the note is about the record.
    pub field: String,
    /// The consequence, and the reason.
    pub reason: String,
}

/// A record that was rejected, and why. Nothing of it is applied.
///
/// It serializes as a line of a file of rejects, without the fields that are not known.
///
/// ```
/// use profiledb::ingest::{Records, Rules};
///
/// let input = r#"{"$distinct_id":"alice","$add":{"logins":"many"}}"#;
/// let mut records = Records::new(input.as_bytes(), Rules::new().strict(true));
/// let reject = records.next().expect("one record")?.expect_err("no number");
/// assert_eq!(
///     serde_json::to_string(&reject).expect("plain strings and numbers"),
///     r#"{"line":1,"index":0,"id":"alice","field":"$add.logins","reason":"$add takes a number value=\"many\""}"#,
/// );
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reject {
    /// [`ErrorKind::LimitExceeded`], or [`ErrorKind::Invalid`] for everything else.
    #[serde(skip)]
    pub kind: ErrorKind,
    /// The line on which the record starts, counted from 1, if it was read from a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The position of the record in the input, counted from 0. Rejected records count.
    pub index: u64,
    /// The id of the profile, or the `distinct_id` of the event, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The `$insert_id` of an event, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert_id: Option<Box<str>>,
    /// The path of the field: an envelope key, an operator and a property as in `$add.logins`, or a path in an event as
    /// in `properties.time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong: lower case, with values as `key=value` at the end.
    pub reason: String,
}

impl Reject {
    pub(super) fn new(kind: ErrorKind, field: Option<String>, reason: String) -> Self {
        Self { kind, line: None, index: 0, id: None, insert_id: None, field, reason }
    }

    /// Invalid input without a field.
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, None, reason.into())
    }

    /// Invalid input at a field.
    pub(super) fn at(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, Some(field.into()), reason.into())
    }

    /// Adds the id of the profile.
    pub(super) fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Adds the position in the input.
    pub(super) fn with_position(mut self, line: u64, index: u64) -> Self {
        self.line = Some(line);
        self.index = index;
        self
    }
}

impl From<Error> for Reject {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error.field().map(str::to_owned), error.message().to_owned())
    }
}

/// For callers for whom a bad record is an error.
impl From<Reject> for Error {
    fn from(reject: Reject) -> Self {
        let mut message = reject.reason;
        if let Some(line) = reject.line {
            message.push_str(&format!(" line={line}"));
        }
        if let Some(id) = reject.id {
            message.push_str(&format!(" id={id:?}"));
        }
        let error = Self::new(reject.kind, message);
        match reject.field {
            Some(field) => error.at(field),
            None => error,
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Error::from(self.clone()), f)
    }
}

impl std::error::Error for Reject {}
