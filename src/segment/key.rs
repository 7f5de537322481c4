//! The keys of headers and chunks.
//!
//! ```text
//! header  | day: 4 | number: 4 |
//! chunk   | day: 4 | number: 4 | column | block: 4 |
//! column  | 0 runs | 1 time | 2 name | 3 $insert_id | 4 rest | 5, name of the property, escaped as ids are, 0x00 |
//! ```
//!
//! Integers are big-endian, the day as in the keys of events, so that all that a day has is one range in each table.

use std::fmt;

use crate::codec::{Malformed, Read, day_of, day_prefix, escape, unescape_bytes};

/// The most events of a block.
pub(crate) const BLOCK_EVENTS_MAX: usize = 65_536;

/// Identifies a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentKey {
    pub(crate) day: i32,
    /// Its number on this day. Later ones are greater.
    pub(crate) number: u32,
}

impl SegmentKey {
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (day_prefix(self.day), self.number.to_be_bytes());
        [a, b, c, d, e, f, g, h]
    }

    pub(crate) fn read(key: &[u8]) -> Read<Self> {
        let [a, b, c, d, e, f, g, h] = *key else { return Err(Malformed("the key of a segment of another length")) };
        Ok(Self { day: day_of([a, b, c, d]), number: u32::from_be_bytes([e, f, g, h]) })
    }

    /// That of a chunk, or of the key of a header.
    pub(crate) fn of_chunk(key: &[u8]) -> Read<Self> {
        Self::read(key.first_chunk::<8>().map_or(key, |segment| segment))
    }
}

/// A column of a block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ColumnId {
    /// The users: ordinals, and how many events each has.
    Runs,
    /// Milliseconds of the day.
    Time,
    Name,
    InsertId,
    /// Properties that few events have.
    Rest,
    /// One property.
    Property(Box<str>),
}

impl ColumnId {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Runs => out.push(0),
            Self::Time => out.push(1),
            Self::Name => out.push(2),
            Self::InsertId => out.push(3),
            Self::Rest => out.push(4),
            Self::Property(name) => {
                out.push(5);
                escape(out, name.as_bytes());
                out.push(0);
            }
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Read<Self> {
        const UNKNOWN: Malformed = Malformed("an unknown column");
        Ok(match bytes {
            [0] => Self::Runs,
            [1] => Self::Time,
            [2] => Self::Name,
            [3] => Self::InsertId,
            [4] => Self::Rest,
            [5, name @ .., 0] => {
                let name = unescape_bytes(name)?.into_owned();
                Self::Property(String::from_utf8(name).map_err(|_| UNKNOWN)?.into())
            }
            _ => return Err(UNKNOWN),
        })
    }
}

/// As it is shown in errors.
impl fmt::Display for ColumnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => f.write_str("runs"),
            Self::Time => f.write_str("time"),
            Self::Name => f.write_str("name"),
            Self::InsertId => f.write_str("$insert_id"),
            Self::Rest => f.write_str("rest"),
            Self::Property(name) => write!(f, "property {name:?}"),
        }
    }
}

/// The key of a chunk.
pub(crate) fn chunk_key(segment: SegmentKey, column: &ColumnId, block: u32) -> Vec<u8> {
    let mut key = segment.to_bytes().to_vec();
    column.write(&mut key);
    key.extend(block.to_be_bytes());
    key
}
