//! The column families of one kind of profile: its rows, and its first-event index.

use std::sync::Arc;

use crate::codec::{family_of, first_family_of};
use crate::error::{Error, Result};
use crate::model::Kind;

/// Where the profiles of a kind and their first-event times are stored.
#[derive(Clone, Debug)]
pub(super) struct Families {
    pub(super) kind: Kind,
    pub(super) rows: Arc<str>,
    pub(super) first_events: Arc<str>,
}

impl Families {
    pub(super) fn of(kind: Kind) -> Self {
        Self { rows: family_of(&kind), first_events: first_family_of(&kind), kind }
    }

    /// The error, with the table and the id that it is about.
    pub(super) fn with_context(&self, error: &Error, id: &[u8]) -> Error {
        let id = String::from_utf8_lossy(id);
        Error::new(error.kind(), format!("{} table={} id={id:?}", error.message(), self.kind))
    }

    /// The id in a key.
    pub(super) fn id<'k>(&self, key: &'k [u8]) -> Result<&'k str> {
        std::str::from_utf8(key).map_err(|_| self.with_context(&Error::corrupt("the id is not UTF-8"), key))
    }
}
