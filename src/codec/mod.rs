//! The encodings of values, chains, operands, rows, events and first-event times, and the names of the column families
//! that hold them. They are specified in `docs/FORMAT.md`. Also the hash of tables in memory whose keys are such bytes.
//!
//! Encodings are canonical: equal values have equal bytes, and bytes that are not canonical are rejected. So the
//! results of two folds can be compared as bytes, and a merge copies the bytes of the properties that it does not
//! change.
//!
//! Decoders do not trust their input: memory is allocated for a length only if the bytes exist, nesting is bounded by
//! [`VALUE_DEPTH_MAX`](crate::VALUE_DEPTH_MAX), and no input makes them panic. This module imports only `error`,
//! `limits`, `model` and `ops`, and is the only one that uses `bincode`.

mod bytes;
mod chain;
mod changes;
mod deletion;
mod entries;
mod event;
mod family;
#[cfg(test)]
pub(crate) mod format_page;
mod operand;
mod row;
mod seeded;
mod stamp;
mod texts;
mod tuple;
mod value;

pub(crate) use bytes::{Malformed, Read, Reader, check_text, put_signed, put_slice, put_varint};
pub(crate) use chain::{ChainBytes, ListLane, write_op, write_set, write_set_list, write_set_number, write_union};
pub(crate) use changes::{EncodedEvent, Erasure, FirstEvent, GroupKeys};
pub(crate) use deletion::{DELETION_PREFIX, decode_deletion, deletion_key, deletion_number, encode_deletion};
pub(crate) use entries::put_entry;
#[cfg(test)]
pub(crate) use event::event_key;
pub(crate) use event::{
    EventBytes, EventKey, check_event, corrupt_event, corrupt_event_of, day_of, day_prefix, decode_event, encode_event,
    escape, event_of, event_place, put_event_head, put_event_key, unescape_bytes, user_prefix,
};
pub(crate) use family::{
    CHANGES, CHUNKS, CODES, EVENTS, GROUP_PREFIX, META, ORDINAL_IDS, ORDINALS, SEGMENT_FAMILIES, SEGMENTS, family_of,
    first_family_of, first_kind_of, kind_of,
};
pub(crate) use operand::{Entry, Operand, OperandWriter, encode_update, operand_names};
#[cfg(any(test, feature = "laws"))]
pub(crate) use operand::{is_readable, quarantine_of};
pub(crate) use row::{decode_last_seen, decode_profile, decode_properties, decode_property, inspect, row_exists};
pub(crate) use seeded::SeededHash;
pub(crate) use stamp::{decode_stamp, encode_stamp, read_stamp};
pub(crate) use texts::unique_texts;
pub(crate) use tuple::{project_row, project_value, project_write, tuple_values};
pub(crate) use value::{ValueBytes, ValueKind, write_text, write_value};
