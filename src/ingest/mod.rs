//! Deserialization of Mixpanel's wire formats: bytes that clients send to [`Record`]s (updates) and [`EventRecord`]s,
//! and serialization of profiles for exports.
//!
//! ```text
//! bytes --gunzip--> frame.rs --one object-+-> envelope.rs --entries by key--> record.rs --operand.rs--> Record
//!                                         '-> event.rs -------------------------------------------> EventRecord
//! ```
//!
//! An update object has the key of a profile, an operator, and optional modifiers:
//!
//! ```text
//! {"$token":"t", "$distinct_id":"alice",                     "$add":{"logins":1}, "$time":1700000000}
//! {"$token":"t", "$group_key":"company", "$group_id":"acme", "$set":{"plan":"pro"}}
//! ```
//!
//! An event object has a name, and among its properties the user, the time, and the id of the event:
//!
//! ```text
//! {"event":"purchase", "properties":{"time":1700000000, "distinct_id":"alice", "$insert_id":"a-1", "amount":12.5}}
//! ```
//!
//! An object with a bad operand or property is rejected as a whole. A [`Reject`] has the line, the id and the field.
//! What is tolerated becomes a [`Note`] of the record. [`Rules`] are the options of the parser. Records are validated
//! against the limits here, and the store does not validate them again under the same limits.
//!
//! **Nothing is changed silently.** What lenient rules, the default, change on the way in is a [`Note`] with the value
//! before, and strict rules reject the record for it. What becomes a note is listed in `docs/CONTRACT.md`: texts that
//! are truncated, names that occur twice, keys that are ignored, times and numbers as text, and more. Null in the
//! envelope is absent. Ids that are equal numbers are one id, however they are written.
//!
//! | where the documentation of the format is ambiguous | lenient (the default)        | strict |
//! |----------------------------------------------------|------------------------------|--------|
//! | several operators in one object                | in the order below, with a note  | error  |
//! | `$add` of a string that is a number            | the number, with a note          | error  |
//! | `$add` of anything else                        | that name is skipped with a note | error  |
//! | `$union` with `[]`, `$unset` of no names       | nothing happens, with a note     | error  |
//! | `$time` as text: a number, ISO 8601            | that time, with a note           | error  |
//! | `$delete` and another operator                 | error                            | error  |
//! | `$append`, `$merge` and `$add` on a group      | error ([`Rules::add_on_groups`] allows `$add`) | same |
//!
//! Several operators in one object apply in the order `$set`, `$set_once`, `$merge`, `$add`, `$append`, `$union`,
//! `$remove`, `$unset`.
//!
//! `{}` under `$set` or `$set_once` creates an empty user profile and touches its `$last_seen`, and does nothing for
//! a group; under any other operator it does nothing. Names that belong to the envelope or are computed (`$token`,
//! `$distinct_id`, `$group_key`, `$group_id`, `$ip`, `$ignore_time`, `$last_seen`, `$mp_first_event_time`) are
//! left out of an operand with a note: several client libraries put them there.
//! `$ip`, `$latitude` and `$longitude` are read as the [`Origin`] only. `$ignore_alias` is accepted and has no effect.
//!
//! | in an event                                    | lenient (the default)            | strict |
//! |------------------------------------------------|----------------------------------|--------|
//! | `distinct_id` is a number or a boolean         | its text                         | same   |
//! | no `distinct_id`, of `$identify`, `$merge`     | `$identified_id`, the first of `$distinct_ids` | same |
//! | `distinct_id` is `""`                          | an anonymous event               | same   |
//! | `distinct_id` of broken clients: `"anon"`, `0` | error                            | same   |
//! | `time` as text: a number, ISO 8601             | that time, with a note           | error  |
//! | no `time`                                      | `now`, with a note               | error  |
//! | no `time`, of [`Endpoint::Import`]             | error                            | error  |
//! | `time` before 1971                             | error                            | same   |
//! | `time` more than an hour after [`Rules::now`]  | `now`, with a note               | error  |
//! | no `$insert_id`, or null                       | the store makes one              | error  |
//! | `$insert_id` is `""` or `"anon"`, ..           | the store makes one, with a note | error  |
//! | `$insert_id` is a number                       | its text                         | same   |
//! | `$insert_id` is not 1 to 36 of `[A-Za-z0-9-]`  | kept, with a note                | error  |
//! | `$ignore` is true                              | error                            | same   |
//!
//! `token` and `ip` among the properties of an event are accepted and have no effect. All other names are properties,
//! also those that begin with a dollar.
//!
//! This module is pure: its only I/O is that of the reader and the clock that it is given.

mod csv;
mod envelope;
mod event;
mod export;
mod frame;
#[cfg(any(test, feature = "laws"))]
pub(crate) mod laws;
mod operand;
mod origin;
mod parse;
mod reader;
mod record;
mod reject;
mod repair;
mod request;
mod rules;
mod scalar;
mod sniff;
#[cfg(test)]
mod tests;
mod unpack;

pub use crate::ops::Note;
pub use csv::{CellType, Csv, CsvRecords, Encoding};
pub use event::EventRecord;
pub use export::Exported;
pub use frame::{Frame, Framer};
pub use origin::Origin;
pub use parse::WireRecord;
pub(crate) use parse::{RecordParts, RecordReader, RecordWrite};
pub use reader::{EventRecords, Records};
pub use record::Record;
pub use reject::{CutRecord, Outcome, Reject};
pub use request::{parse_events, parse_request};
pub use rules::{Endpoint, Rules};
