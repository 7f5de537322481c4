//! First-event times, which the API of this module calls stamps.
//!
//! ```text
//! | 0xF1 | signed varint: milliseconds since 1970-01-01T00:00:00 UTC |
//! ```
//!
//! A first-event time is both an operand and a row: those of one key fold into the earliest (a min-merge).

use super::bytes::{Malformed, Read, Reader, put_signed};
use crate::error::{Error, Result};
use crate::model::Timestamp;

/// Tag and version of first-event times.
const VERSION_1: u8 = 0xF1;

/// The bytes of a first-event time.
pub(crate) fn encode_stamp(time: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    out.push(VERSION_1);
    put_signed(&mut out, time.millis());
    out
}

/// Reads a first-event time, which must be all of the bytes.
#[inline]
pub(crate) fn read_stamp(bytes: &[u8]) -> Read<Timestamp> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION_1, "not a first-event time")?;
    let millis = i64::try_from(reader.signed()?).map_err(|_| Malformed("a time out of range"))?;
    if reader.is_empty() { Ok(Timestamp::from_millis(millis)) } else { Err(Malformed("trailing bytes after a time")) }
}

/// Decodes a first-event time.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are not a first-event time, or one of an unknown version.
pub(crate) fn decode_stamp(bytes: &[u8]) -> Result<Timestamp> {
    let corrupt = |Malformed(what)| Error::corrupt(format!("the first-event time cannot be read: {what}"));
    read_stamp(bytes).map_err(corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_canonical_bytes_are_read(millis: i64, shift in 0..64_u32, junk: Vec<u8>) {
            let time = Timestamp::from_millis(millis >> shift);
            let bytes = encode_stamp(time);
            prop_assert_eq!(read_stamp(&bytes), Ok(time));
            for tampered in [[&[VERSION_1], junk.as_slice()].concat(), [bytes.as_slice(), &junk].concat()] {
                if let Ok(time) = read_stamp(&tampered) {
                    prop_assert_eq!(encode_stamp(time), tampered);
                }
            }
            prop_assert!((0..bytes.len()).all(|len| read_stamp(&bytes[..len]).is_err()));
        }
    }
}
