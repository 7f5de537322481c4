//! Ordinals: dense numbers for the users of sealed events, so that a block names a user in a few bits, and what is
//! known of a user is an array element.
//!
//! An ordinal belongs to one id for ever, and is not given away again after the id was erased.
//!
//! ```text
//! ordinals      key    | distinct_id |                       value  | 0x91 | ordinal: 4 |
//! ordinal-ids   key    | ordinal / 1024: 4 |                 value  | 0x81 | length + 1 and bytes of the id | ...
//! ```
//!
//! Integers are big-endian; of an id that was erased the length + 1 is 0. The value for 1024 ordinals ends with the
//! last that was given away.

use std::ops::Range;

use crate::codec::{Malformed, Read, Reader, put_varint};
use crate::error::{Error, Result};

/// Tag and version of an ordinal, and of ids.
const ORDINAL_VERSION: u8 = 0x91;
const IDS_VERSION: u8 = 0x81;

/// How many ordinals have their ids in one value.
pub(crate) const IDS_MAX: u32 = 1024;

/// The value of an id in the table of ordinals.
pub(crate) fn encode_ordinal(ordinal: u32) -> [u8; 5] {
    let [a, b, c, d] = ordinal.to_be_bytes();
    [ORDINAL_VERSION, a, b, c, d]
}

/// Reads the ordinal of an id.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt), with the id.
pub(crate) fn ordinal_of_id(id: &[u8], value: &[u8]) -> Result<u32> {
    decode_ordinal(value).map_err(|Malformed(what)| {
        let id = String::from_utf8_lossy(id);
        Error::corrupt(format!("the ordinal of a user cannot be read: {what} distinct_id={id:?}"))
    })
}

fn decode_ordinal(value: &[u8]) -> Read<u32> {
    let mut reader = Reader::new(value);
    reader.version(ORDINAL_VERSION, "not an ordinal")?;
    let bytes = reader.rest().try_into().map_err(|_| Malformed("an ordinal of another length"))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The ids of up to 1024 consecutive ordinals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OrdinalIds {
    bytes: Vec<u8>,
    /// Where each id is in `bytes`; none where it was erased.
    ids: Vec<Option<Range<u32>>>,
    /// How many were erased.
    erased: usize,
}

impl OrdinalIds {
    /// The key of the ids of an ordinal and its neighbors, and its position among them.
    pub(crate) fn key_of(ordinal: u32) -> ([u8; 4], usize) {
        ((ordinal / IDS_MAX).to_be_bytes(), (ordinal % IDS_MAX) as usize)
    }

    /// The first ordinal under a key.
    pub(crate) fn first_of(key: &[u8]) -> Read<u32> {
        let number: [u8; 4] = key.try_into().map_err(|_| Malformed("the key of ids of another length"))?;
        u32::from_be_bytes(number).checked_mul(IDS_MAX).ok_or(Malformed("the key of ids beyond the last ordinal"))
    }

    pub(crate) fn decode(value: &[u8]) -> Read<Self> {
        let mut reader = Reader::new(value);
        reader.version(IDS_VERSION, "not the ids of ordinals")?;
        let mut ids = Self::default();
        while !reader.is_empty() {
            match reader.len()?.checked_sub(1) {
                None => ids.push_erased(),
                Some(len) => {
                    let id = reader.take(len)?;
                    if std::str::from_utf8(id).is_err() {
                        return Err(Malformed("an id that is not UTF-8"));
                    }
                    ids.push(id);
                }
            }
            if ids.len() > IDS_MAX as usize {
                return Err(Malformed("too many ids of ordinals"));
            }
        }
        Ok(ids)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.bytes.len() + self.ids.len());
        out.push(IDS_VERSION);
        for at in 0..self.ids.len() {
            match self.get(at) {
                Some(id) => {
                    put_varint(&mut out, id.len() as u64 + 1);
                    out.extend_from_slice(id);
                }
                None => put_varint(&mut out, 0),
            }
        }
        out
    }

    /// How many there are, erased ones included.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The id at a position, unless it was erased.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&[u8]> {
        let range = self.ids.get(at)?.as_ref()?;
        self.bytes.get(range.start as usize..range.end as usize)
    }

    /// Whether there is an id at a position.
    #[inline]
    pub(crate) fn has(&self, at: usize) -> bool {
        // Where none was erased this needs no look at the one, which is seldom in the cache of the processor.
        if self.erased == 0 { at < self.ids.len() } else { self.get(at).is_some() }
    }

    fn push_erased(&mut self) {
        self.ids.push(None);
        self.erased += 1;
    }

    /// Adds the id of the next ordinal. Ids are bounded, so that 1024 of them have fewer than 4 GB.
    pub(crate) fn push(&mut self, id: &[u8]) {
        let start = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(id);
        self.ids.push(Some(start..u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)));
    }

    /// Erases the id at a position.
    pub(crate) fn erase(&mut self, at: usize) {
        let kept: Vec<Option<Vec<u8>>> =
            (0..self.len()).map(|other| self.get(other).filter(|_| other != at).map(<[u8]>::to_vec)).collect();
        *self = Self::default();
        for id in kept {
            match id {
                Some(id) => self.push(&id),
                None => self.push_erased(),
            }
        }
    }

    /// Bytes in memory, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len() + self.ids.len() * size_of::<Option<Range<u32>>>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_of_ordinals_round_trip(ids in prop::collection::vec(".{0,6}", 0..40), erased: prop::sample::Index) {
            let mut of = OrdinalIds::default();
            ids.iter().for_each(|id| of.push(id.as_bytes()));
            let erased = erased.index(ids.len() + 1);
            of.erase(erased);
            let expected: Vec<_> =
                ids.iter().enumerate().map(|(at, id)| (at != erased).then_some(id.as_bytes())).collect();
            let decoded = OrdinalIds::decode(&of.encode()).unwrap();
            prop_assert!((0..ids.len() + 1).all(|at| decoded.has(at) == decoded.get(at).is_some()));
            prop_assert_eq!((0..ids.len()).map(|at| decoded.get(at)).collect::<Vec<_>>(), expected);
            prop_assert_eq!((decoded.get(ids.len()), decoded.len()), (None, ids.len()));
            prop_assert_eq!(decoded, of);
        }

        #[test]
        fn no_input_makes_a_reader_panic(mut value: Vec<u8>, tag in prop::sample::select(vec![0x81, 0x91])) {
            if let Some(first) = value.first_mut() {
                *first = tag;
            }
            let _ = (OrdinalIds::decode(&value).map(|ids| ids.encode()), decode_ordinal(&value));
            let _ = OrdinalIds::first_of(&value);
        }

        #[test]
        fn ordinals_have_a_place_among_ids(ordinal: u32) {
            let (key, at) = OrdinalIds::key_of(ordinal);
            prop_assert_eq!(OrdinalIds::first_of(&key).unwrap() + at as u32, ordinal);
            prop_assert_eq!(decode_ordinal(&encode_ordinal(ordinal)), Ok(ordinal));
        }
    }
}
