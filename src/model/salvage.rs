//! What a read of damaged data yields: what can be read, and what cannot, where it is.

use serde::Serialize;

/// An item of a read that goes on after damage.
#[derive(Clone, Debug)]
pub enum Salvaged<T> {
    /// One that could be read.
    Item(T),
    /// Data that could not.
    Damage(Damage),
}

/// Data that cannot be read: a row, or a range of rows between two that can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// `users`, or `group:` and the group key, or `events` and `segments`, which are the log; with `first:` before it,
    /// the first-event times of a table. Of a repair also `chunks`, `ordinals` and `ordinal-ids`, which are parts of
    /// sealed events: `segments` then lists the blocks of events that are lost with them.
    pub table: String,
    /// The id of the row, or the last one that can be read before the range. None at the beginning of the table. In the
    /// log, the day and the `distinct_id`.
    pub after: Option<String>,
    /// The id of the row, or the first one that can be read after the range. None at the end of the table.
    pub before: Option<String>,
    /// What is wrong. The engine names the file.
    pub reason: String,
}

impl Damage {
    /// A single row.
    pub(crate) fn row(table: &str, id: &str, reason: impl Into<String>) -> Self {
        let id = Some(id.to_owned());
        Self { table: table.to_owned(), after: id.clone(), before: id, reason: reason.into() }
    }
}
