//! Stamps: when an id had its first event.
//!
//! ```text
//! | 0xF1 | signed varint: milliseconds since 1970-01-01T00:00:00 UTC |
//! ```
//!
//! A stamp is an operand and a row at once: stamps of one key fold into the least.

use super::bytes::{Malformed, Read, Reader, put_signed};
use crate::error::{Error, Result};
use crate::model::Timestamp;

/// Tag and version of stamps.
const VERSION_1: u8 = 0xF1;

/// The bytes of a stamp.
pub(crate) fn encode_stamp(time: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    out.push(VERSION_1);
    put_signed(&mut out, time.millis());
    out
}

/// Reads a stamp, if these bytes are one and nothing else.
#[inline]
pub(crate) fn read_stamp(bytes: &[u8]) -> Read<Timestamp> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION_1, "not the time of a first event")?;
    let millis = i64::try_from(reader.signed()?).map_err(|_| Malformed("a time out of range"))?;
    if reader.is_empty() { Ok(Timestamp::from_millis(millis)) } else { Err(Malformed("bytes after a time")) }
}

/// Decodes a stamp.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are no stamp, or one of a version that this one does not know.
pub(crate) fn decode_stamp(bytes: &[u8]) -> Result<Timestamp> {
    let corrupt = |Malformed(what)| Error::corrupt(format!("the time of the first event cannot be read: {what}"));
    read_stamp(bytes).map_err(corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_what_is_written_is_read(millis: i64, shift in 0..64_u32, junk: Vec<u8>) {
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
