//! Deletions of users, which are recorded so that a crash does not end them.
//!
//! ```text
//! key    | d | number: 8, big-endian |
//! value  | 0x71 | done: 0 or 1 | count | id, each: length and bytes |
//! ```

use super::bytes::{Malformed, Read, Reader, put_slice, put_varint};
use crate::error::{Error, Result};

/// The first byte of the keys.
pub(crate) const DELETION_PREFIX: u8 = b'd';

/// Tag and version of deletions.
const VERSION_1: u8 = 0x71;

/// The key of a deletion in the family of metadata.
pub(crate) fn deletion_key(number: u64) -> Vec<u8> {
    [&[DELETION_PREFIX][..], &number.to_be_bytes()].concat()
}

/// The number of a deletion.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when it is not the key of a deletion.
pub(crate) fn deletion_number(key: &[u8]) -> Result<u64> {
    let number = key.strip_prefix(&[DELETION_PREFIX]).and_then(|number| number.try_into().ok());
    number.map(u64::from_be_bytes).ok_or_else(|| corrupt(Malformed("not the key of a deletion")))
}

/// The bytes of a deletion.
pub(crate) fn encode_deletion(distinct_ids: &[String], is_done: bool) -> Vec<u8> {
    let mut out = vec![VERSION_1, u8::from(is_done)];
    put_varint(&mut out, distinct_ids.len() as u64);
    distinct_ids.iter().for_each(|id| put_slice(&mut out, id.as_bytes()));
    out
}

/// The ids of the users, and whether they are deleted.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are not a deletion, or one of an unknown version.
pub(crate) fn decode_deletion(bytes: &[u8]) -> Result<(Vec<String>, bool)> {
    read_deletion(bytes).map_err(corrupt)
}

fn read_deletion(bytes: &[u8]) -> Read<(Vec<String>, bool)> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION_1, "not a deletion")?;
    let is_done = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed("a deletion that is neither done nor pending")),
    };
    let count = reader.len()?;
    // Every id has at least the byte of its length.
    let mut distinct_ids = Vec::with_capacity(count.min(reader.rest().len()));
    for _ in 0..count {
        distinct_ids.push(reader.str()?.to_owned());
    }
    if reader.is_empty() { Ok((distinct_ids, is_done)) } else { Err(Malformed("trailing bytes after a deletion")) }
}

fn corrupt(Malformed(what): Malformed) -> Error {
    Error::corrupt(format!("a recorded deletion of users cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_those_of_the_format() {
        assert_eq!(deletion_key(258), b"d\0\0\0\0\0\0\x01\x02");
        assert_eq!(encode_deletion(&["ann".to_owned(), "b".to_owned()], true), b"\x71\x01\x02\x03ann\x01b");
        assert_eq!(encode_deletion(&[], false), b"\x71\x00\x00");
    }

    proptest! {
        #[test]
        fn only_canonical_bytes_are_read(ids: Vec<String>, is_done: bool, number: u64, junk: Vec<u8>) {
            let bytes = encode_deletion(&ids, is_done);
            prop_assert_eq!(read_deletion(&bytes), Ok((ids, is_done)));
            for tampered in [[&[VERSION_1], junk.as_slice()].concat(), [bytes.as_slice(), &junk].concat()] {
                if let Ok((ids, is_done)) = read_deletion(&tampered) {
                    prop_assert_eq!(encode_deletion(&ids, is_done), tampered);
                }
            }
            prop_assert!((0..bytes.len()).all(|len| read_deletion(&bytes[..len]).is_err()));
            prop_assert_eq!(deletion_number(&deletion_key(number)).unwrap(), number);
            prop_assert!(junk.len() == 9 || deletion_number(&junk).is_err());
        }
    }
}
