//! What becomes of a record that cannot be applied.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, ErrorKind};

/// One record of the input, an update unless it is said: applicable, or rejected with the reason.
pub type Outcome<T> = std::result::Result<T, Reject>;

/// Something in a record that was forgiven: what, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Note {
    /// The operator and the property, as in `$add.logins`, or the place in an event, as in `properties.time`.
    pub field: String,
    /// What became of it, and why.
    pub reason: String,
}

/// A record that was not taken, and why. Nothing of it is applied.
///
/// As JSON it is one line of a file of rejects; what is not known is left out.
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
    /// The line on which the record starts, counted from 1, when it came out of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The place of the record in the input, counted from 0; rejects count too.
    pub index: u64,
    /// The id of the profile, or of who did what an event tells, when it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The `$insert_id` of an event, when it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert_id: Option<Box<str>>,
    /// The envelope key, the operator and the property as in `$add.logins`, or the place in an event as in
    /// `properties.time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong: lower case, with values as `key=value` at the end.
    pub reason: String,
}

impl Reject {
    pub(super) fn new(kind: ErrorKind, field: Option<String>, reason: String) -> Self {
        Self { kind, line: None, index: 0, id: None, insert_id: None, field, reason }
    }

    /// Invalid input that is about no field.
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, None, reason.into())
    }

    /// Invalid input at a field.
    pub(super) fn at(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, Some(field.into()), reason.into())
    }

    /// The same, about this profile.
    pub(super) fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// The same, found at this place.
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

/// For a caller to whom one bad record is an error.
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
