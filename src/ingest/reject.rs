//! Validation results: rejects, with the line, the id, the field and the record itself.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Error, ErrorKind};

/// A record of the input, or why it was rejected.
pub type Outcome<T> = std::result::Result<T, Reject>;

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
///     concat!(
///         r#"{"line":1,"index":0,"id":"alice","field":"$add.logins","reason":"$add takes a number value=\"many\"","#,
///         r#""record":"{\"$distinct_id\":\"alice\",\"$add\":{\"logins\":\"many\"}}"}"#,
///     ),
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
    pub id: Option<Box<str>>,
    /// The `$insert_id` of an event, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert_id: Option<Box<str>>,
    /// The path of the field: an envelope key, an operator and a property as in `$add.logins`, or a path in an event as
    /// in `properties.time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Box<str>>,
    /// What is wrong: lower case, with values as `key=value` at the end.
    pub reason: String,
    /// The text of the record as it was in the input, to be corrected and sent again. None if the record was longer
    /// than the limits allow (see `cut`), or was not read from a text by [`Records`](super::Records), by a request
    /// parser or by an [`Importer`](crate::Importer). It serializes as a string, or, if it is not valid UTF-8, as a
    /// list of bytes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_text")]
    pub record: Option<Box<[u8]>>,
    /// The beginning of the text, to find the record by, where `record` is none because the record was longer than the
    /// limits allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Box<CutRecord>>,
}

/// The beginning of a record that was too long to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CutRecord {
    /// The length of the whole text of the record, in bytes.
    pub bytes: u64,
    /// The first bytes of it: 4 KiB, or as many as the limits allow for a record if those are fewer. It serializes as
    /// the text of a [`Reject`] does.
    #[serde(serialize_with = "serialize_bytes")]
    pub start: Box<[u8]>,
}

/// How much is kept of a record that is too long, in bytes.
pub(super) const CUT_BYTES: usize = 4 << 10;

fn serialize_text<S: Serializer>(text: &Option<Box<[u8]>>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serialize_bytes(text.as_deref().unwrap_or_default(), serializer)
}

fn serialize_bytes<S: Serializer>(text: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match std::str::from_utf8(text) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.serialize_bytes(text),
    }
}

impl Reject {
    pub(super) fn new(kind: ErrorKind, field: Option<&str>, reason: String) -> Self {
        let field = field.map(Into::into);
        Self { kind, line: None, index: 0, id: None, insert_id: None, field, reason, record: None, cut: None }
    }

    /// Invalid input without a field.
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, None, reason.into())
    }

    /// Invalid input at a field.
    pub(super) fn at(field: impl AsRef<str>, reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, Some(field.as_ref()), reason.into())
    }

    /// Adds the id of the profile.
    pub(super) fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds the position in the input.
    pub(super) fn with_position(mut self, line: u64, index: u64) -> Self {
        self.line = Some(line);
        self.index = index;
        self
    }

    /// Adds the text of the record, unless there is none.
    pub(crate) fn with_text(mut self, text: &[u8]) -> Self {
        if self.record.is_none() && !text.is_empty() {
            self.record = Some(text.into());
        }
        self
    }

    /// Adds the text of the record, or what was kept of it if it is cut from that many bytes.
    pub(super) fn with_kept(mut self, kept: &[u8], cut_from: Option<u64>) -> Self {
        let Some(bytes) = cut_from else { return self.with_text(kept) };
        // The cut may be in the middle of a character.
        let start = match std::str::from_utf8(kept) {
            Err(error) if error.error_len().is_none() => kept.get(..error.valid_up_to()).unwrap_or_default(),
            _ => kept,
        };
        self.cut = Some(Box::new(CutRecord { bytes, start: start.into() }));
        self
    }

    /// The size of its texts, in bytes.
    pub(crate) fn text_bytes(&self) -> usize {
        let Self { id, insert_id, field, reason, record, cut, .. } = self;
        let texts = [id, insert_id, field].into_iter().flatten().map(|text| text.len());
        let cut = cut.as_ref().map_or(0, |cut| cut.start.len());
        texts.sum::<usize>() + reason.len() + record.as_deref().map_or(0, <[u8]>::len) + cut
    }
}

impl From<Error> for Reject {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error.field(), error.message().to_owned())
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
            Some(field) => error.at(String::from(field)),
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
