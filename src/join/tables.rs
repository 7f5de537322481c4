//! The storage interface of a join for profiles: tables of rows, by key or in the order of their ids.
//!
//! The interface for events is [`EventTable`](super::EventTable).

use crate::error::Result;
use crate::model::Kind;

/// A cursor over rows of bytes in ascending order of their keys.
pub(crate) trait RowCursor: Send {
    /// The next row, or nothing after the last. A failure is never taken for the end.
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>>;

    /// Moves forward, so that the next row is the first whose key is not less than `key`. Never moves back.
    fn seek(&mut self, key: &[u8]) -> Result<()>;
}

impl<C: RowCursor + ?Sized> RowCursor for Box<C> {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        (**self).next()
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        (**self).seek(key)
    }
}

/// A table that is joined onto events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum JoinTable {
    /// The rows of profiles of a kind, by id.
    Profiles(Kind),
    /// The times of first events of profiles of a kind, by id.
    FirstEvents(Kind),
}

impl JoinTable {
    pub(crate) fn kind(&self) -> &Kind {
        match self {
            Self::Profiles(kind) | Self::FirstEvents(kind) => kind,
        }
    }
}

/// Called with the position of an id among those requested, and its row if it has one.
pub(crate) type Each<'e> = dyn FnMut(usize, Option<&[u8]>) -> Result<()> + 'e;

/// Tables of profiles, as of one snapshot.
pub(crate) trait ProfileTables: Send + Sync {
    /// The rows of a table whose ids lie in a range.
    fn rows(&self, table: &JoinTable, from: &[u8], to: Option<&[u8]>) -> Result<Box<dyn RowCursor>>;

    /// The rows of these ids, in the order of the ids. An id may occur more than once.
    fn lookup(&self, table: &JoinTable, ids: &[&[u8]], each: &mut Each<'_>) -> Result<()>;

    /// Whether a table exists.
    fn has(&self, table: &JoinTable) -> bool;

    /// Roughly how many rows a table has.
    fn estimate_rows(&self, table: &JoinTable) -> u64;
}
