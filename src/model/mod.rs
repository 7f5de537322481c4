//! The data model: values, exact numbers, profiles and their keys, events, points in time.
//!
//! Independent of operators, encodings and storage. Imports only `error` and `limits`.

mod decimal;
mod deserialize;
mod event;
mod key;
mod number;
mod object;
mod profile;
mod salvage;
mod serialize;
mod time;
mod value;
mod zone;

pub use event::Event;
pub use key::{Kind, ProfileKey};
pub use number::{NotFinite, Number};
pub use object::{Object, ObjectIter};
pub use profile::Profile;
pub use salvage::{Damage, Salvaged};
pub use time::Timestamp;
pub use value::Value;
pub use zone::TimeZone;

pub(crate) use deserialize::{FieldValue, deserialize_fields};
pub(crate) use event::is_reserved_in_event;
pub(crate) use number::{EXPONENT_MIN, Mantissa};
pub(crate) use profile::{FIRST_EVENT, LAST_SEEN};
pub(crate) use value::{ValueSeed, is_group_id};
