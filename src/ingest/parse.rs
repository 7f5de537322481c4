//! Deserialization of one record: the trait that both kinds of record implement.

use super::reject::{Outcome, Reject};
use super::rules::Rules;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::model::{Event, ProfileKey};
use crate::ops::{Change, Note};

/// A kind of record that clients send: an update, which is a [`Record`](super::Record), or an event, which is an
/// [`EventRecord`](super::EventRecord).
///
/// Code that is generic over this trait handles both. The trait is sealed.
pub trait WireRecord: Parse {}

/// The methods of [`WireRecord`]. The trait cannot be named outside of this module, which seals `WireRecord`.
pub trait Parse: Sized {
    /// What records of this kind are called, in the plural.
    const PLURAL: &str;

    /// The maximum length of the text, in bytes.
    fn bytes_max(limits: &Limits) -> usize;

    /// Whether a text that is longer than that is kept all the same, because it may be that of an exported profile.
    fn may_be_longer(_text: &[u8]) -> bool {
        false
    }

    /// Parses the text, whose length was checked.
    fn parse(text: &[u8], rules: &Rules) -> Result<Self, ParseError>;

    /// Sets the line on which the text starts.
    fn set_line(&mut self, line: u64);

    /// Takes the record apart.
    fn into_parts(self) -> RecordParts;
}

/// A streaming reader of records that keeps the text of the last one.
pub(crate) trait RecordReader: Iterator<Item = crate::error::Result<Outcome<Self::Record>>> {
    /// What it reads.
    type Record: WireRecord;

    /// The text of the last record, or its beginning if it was too long to be kept.
    fn text(&self) -> &[u8];
}

/// What a record of any kind consists of.
pub struct RecordParts {
    /// The line on which its text starts, if there is one.
    pub line: Option<u64>,
    /// The id of the profile, or the `distinct_id` of the event.
    pub id: String,
    /// The `$insert_id` of the event.
    pub insert_id: Option<String>,
    /// What was tolerated.
    pub notes: Vec<Note>,
    /// What is to be written.
    pub write: RecordWrite,
}

/// What a record writes.
pub enum RecordWrite {
    /// A change of a profile.
    Change(ProfileKey, Change),
    /// An event.
    Event(Event),
}

/// Why a text is no record.
pub enum ParseError {
    /// It is not valid JSON, so what surrounds it cannot be trusted either.
    NotJson(Reject),
    /// It is valid JSON, but not a valid record.
    Invalid(Reject),
}

impl From<ParseError> for Reject {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::NotJson(reject) | ParseError::Invalid(reject) => reject,
        }
    }
}

impl From<Reject> for ParseError {
    fn from(reject: Reject) -> Self {
        Self::Invalid(reject)
    }
}

/// Parses the text of a single record.
pub(super) fn from_slice<T: WireRecord>(text: &[u8], rules: &Rules) -> Outcome<T> {
    let bytes_max = T::bytes_max(rules.bounds());
    if text.len() > bytes_max && !T::may_be_longer(text) {
        return Err(Reject::new(ErrorKind::LimitExceeded, None, too_long(bytes_max, text.len() as u64)));
    }
    Ok(T::parse(text, rules)?)
}

/// The message for a record of `bytes` bytes, which is too long.
pub(super) fn too_long(bytes_max: usize, bytes: u64) -> String {
    format!("a record has at most {bytes_max} bytes bytes={bytes}")
}
