//! Event verbs: append, read, erase.
//!
//! The log is one family of its own, whose keys sort by day, user and time. Beside it stands, for users and for each
//! kind of group, a family of the times of first events, which `$mp_first_event_time` is read from. An event and its
//! times are [`Operation`](crate::rocks::Operation)s, which are committed together with what else the caller writes.
//!
//! ```text
//! append    from an event to operations          first     times of first events from events that are there
//! view      what can be asked of one moment      erase     what makes events go, piece by piece
//! events    iterators                            check     every byte
//! scan      opens the log's column family
//! ```
//!
//! This room speaks to `rocks` in operations and scans, and to the facade in events. It commits nothing itself, and it
//! does not see profiles.

mod append;
mod check;
mod erase;
mod events;
mod first;
mod scan;
mod view;

#[cfg(test)]
mod tests;

pub use events::Events;
pub use view::EventView;

pub(crate) use crate::codec::EVENTS as FAMILY;
pub(crate) use append::{Appender, GroupKeys};
pub(crate) use check::check;
pub(crate) use erase::{DayErasure, UserErasure, forget, whole_days_before};
pub(crate) use first::FirstTimes;
pub(crate) use scan::scan_keys;
