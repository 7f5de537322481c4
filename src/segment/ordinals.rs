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

/// The ids of up to 1024 consecutive ordinals, as they are stored. Joins keep those of millions of users in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OrdinalIds {
    /// What follows the version.
    entries: Vec<u8>,
    /// Where each fourth entry begins.
    marks: Vec<u32>,
    len: usize,
    /// How many were erased.
    erased: usize,
}

/// There is a mark for one in this many entries.
const ENTRIES_PER_MARK: usize = 4;

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
        if let Some(ids) = Self::of_ascii(reader.rest()) {
            return Ok(ids);
        }
        let mut ids = Self { entries: Vec::with_capacity(reader.rest().len()), ..Self::default() };
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

    /// Reads entries that are ASCII only, if they are whole. Ids need no other check then, and each length is one byte.
    fn of_ascii(entries: &[u8]) -> Option<Self> {
        if !entries.is_ascii() {
            return None;
        }
        let mut ids = Self { marks: Vec::with_capacity(IDS_MAX as usize / ENTRIES_PER_MARK), ..Self::default() };
        let mut at = 0;
        while let Some(first) = entries.get(at) {
            ids.begin_entry(at);
            ids.erased += usize::from(*first == 0);
            // The byte says the length + 1, which is what the entry takes with it; an id that was erased has no more.
            at += usize::from(*first).max(1);
        }
        let is_whole = at == entries.len() && ids.len <= IDS_MAX as usize;
        is_whole.then(|| Self { entries: entries.to_vec(), ..ids })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        [&[IDS_VERSION], self.entries.as_slice()].concat()
    }

    /// How many there are, erased ones included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The id at a position, unless it was erased.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<&[u8]> {
        if at >= self.len {
            return None;
        }
        // This finds what is there: entries were checked when they were decoded, or pushed here.
        let mark = *self.marks.get(at / ENTRIES_PER_MARK)?;
        let mut entries = Reader::new(self.entries.get(mark as usize..)?);
        for _ in 0..at % ENTRIES_PER_MARK {
            let len = entries.len().ok()?;
            entries.take(len.saturating_sub(1)).ok()?;
        }
        let len = entries.len().ok()?.checked_sub(1)?;
        entries.take(len).ok()
    }

    /// Whether there is an id at a position.
    #[inline]
    pub(crate) fn has(&self, at: usize) -> bool {
        // Where none was erased this needs no look at the one, which is seldom in the cache of the processor.
        if self.erased == 0 { at < self.len } else { self.get(at).is_some() }
    }

    /// Notes that the next entry begins at a position. Ids are bounded, so that 1024 of them have fewer than 4 GB.
    #[inline]
    fn begin_entry(&mut self, at: usize) {
        if self.len.is_multiple_of(ENTRIES_PER_MARK) {
            self.marks.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
        self.len += 1;
    }

    fn push_erased(&mut self) {
        self.begin_entry(self.entries.len());
        put_varint(&mut self.entries, 0);
        self.erased += 1;
    }

    /// Adds the id of the next ordinal.
    pub(crate) fn push(&mut self, id: &[u8]) {
        self.begin_entry(self.entries.len());
        put_varint(&mut self.entries, id.len() as u64 + 1);
        self.entries.extend_from_slice(id);
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
        self.entries.capacity() + self.marks.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_of_ordinals_round_trip(
            ids in prop_oneof![
                prop::collection::vec("[a-z0-9]{0,6}|[a-z]{120,126}", 0..40),
                prop::collection::vec(".{0,6}|[a-z]{240,260}", 0..40),
            ],
            erased: prop::sample::Index,
        ) {
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
        fn what_is_decoded_is_text_whole_and_not_too_many(ids in prop::collection::vec("[a-c]{0,3}|é", 0..9)) {
            let mut of = OrdinalIds::default();
            ids.iter().for_each(|id| of.push(id.as_bytes()));
            let value = of.encode();
            let with = |bytes: &[u8]| OrdinalIds::decode(&[&value, bytes].concat());
            prop_assert!(with(b"\x02a").is_ok());
            prop_assert!(with(b"\x03a").is_err());
            prop_assert!(with(b"\x02\xff").is_err());
            prop_assert!(with(&vec![0; IDS_MAX as usize - ids.len()]).is_ok());
            prop_assert!(with(&vec![1; IDS_MAX as usize - ids.len() + 1]).is_err());
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
