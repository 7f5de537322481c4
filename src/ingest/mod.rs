//! Wire formats: bytes that clients send to [`Record`]s that the store applies, and profiles back to lines.
//!
//! ```text
//! bytes --gunzip--> frame.rs --one object--> envelope.rs --keys sorted out--> record.rs --operand.rs--> Record
//! ```
//!
//! An update object names a profile, says one operator, and may carry modifiers:
//!
//! ```text
//! {"$token":"t", "$distinct_id":"alice",                     "$add":{"logins":1}, "$time":1700000000}
//! {"$token":"t", "$group_key":"company", "$group_id":"acme", "$set":{"plan":"pro"}}
//! ```
//!
//! It is read whole or not at all: an object with one bad operand changes nothing and becomes a [`Reject`], which
//! names the line, the id and the field. What is merely useless becomes a [`Note`] beside the record. [`Rules`] say
//! how much is forgiven; the limits apply here, at the door, so that nobody downstream has to check again.
//!
//! | where the sources of the format leave a choice | lenient (the default)            | strict |
//! |------------------------------------------------|----------------------------------|--------|
//! | several operators in one object                | applied in the order below       | error  |
//! | `$add` of a string that is a number            | the number                       | error  |
//! | `$add` of anything else                        | that name is skipped with a note | error  |
//! | `$union` with `[]`, `$unset` of no names       | nothing happens                  | error  |
//! | `$time` as a string that is a number           | the number                       | error  |
//! | `$delete` beside another operator              | error                            | error  |
//! | `$append`, `$merge` and `$add` on a group      | error ([`Rules::add_on_groups`] allows `$add`) | same |
//!
//! Several operators in one object apply in the order `$set`, `$set_once`, `$merge`, `$add`, `$append`, `$union`,
//! `$remove`, `$unset`.
//!
//! `{}` under `$set` or `$set_once` creates an empty user profile and touches its `$last_seen`, and does nothing for
//! a group; under any other operator it does nothing. Names that belong to the envelope or are computed (`$token`,
//! `$distinct_id`, `$group_key`, `$group_id`, `$ip`, `$ignore_time`, `$last_seen`, `$mp_first_event_time`) are
//! dropped without a word wherever they stand inside an operand, because several client libraries put them there.
//! `$ip`, `$ignore_alias`, `$latitude` and `$longitude` are accepted and have no effect.
//!
//! This room is pure. It reads no clock and does no I/O but what a given reader does; it knows no store.

mod envelope;
mod frame;
mod operand;
mod reader;
mod record;
mod reject;
mod rules;
mod wire;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod layouts;

pub use frame::{Frame, Framer};
pub use reader::{Records, parse_request};
pub use record::{Note, Record};
pub use reject::{Outcome, Reject};
pub use rules::{Endpoint, Rules};
pub use wire::Exported;
