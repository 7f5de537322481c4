//! Encodings of a column of byte strings: one for each event, and the empty one where there is none.
//!
//! ```text
//! | 0xD1 | events | encoding: 1 | body |
//! 1 dictionary   | entries, each: length and bytes | packed: code of each event |
//! 2 plain        | packed: length of each | bytes of all |
//! 3 hexadecimal  | form: 1 | packed: length of each, unless UUIDs | digits of each, padded to bytes |
//! 4 numbers      see number
//! ```
//!
//! Of those that can hold a column the smallest is taken. The form of hexadecimal texts, in lower case, is 0 for any
//! lengths and 1 for UUIDs, whose dashes are left out.

use hashbrown::HashTable;

use super::key::BLOCK_EVENTS_MAX;
use super::number::{Numbers, put_numbers};
use super::pack::{PACK, packed_len, put_packed, read_packed};
use crate::codec::{Malformed, Read, Reader, SeededHash, put_slice, put_varint};

/// Tag and version of chunks.
pub(super) const VERSION_1: u8 = 0xD1;

const DICTIONARY: u8 = 1;
const PLAIN: u8 = 2;
const HEXADECIMAL: u8 = 3;
const NUMBERS: u8 = 4;

/// Forms of hexadecimal texts.
const ANY_LENGTH: u8 = 0;
const UUID: u8 = 1;

const UUID_LEN: usize = 36;

/// What the strings of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnContent {
    /// Values, or nothing.
    Values,
    /// Texts.
    Texts,
}

/// Encodes a column.
pub(super) fn encode_column(values: &[&[u8]], content: ColumnContent) -> Vec<u8> {
    let mut head = vec![VERSION_1];
    put_varint(&mut head, values.len() as u64);
    let lengths: Vec<u32> = values.iter().map(|value| u32::try_from(value.len()).unwrap_or(u32::MAX)).collect();
    let bytes: usize = values.iter().map(|value| value.len()).sum();
    let plain_len = packed_len(&lengths) + bytes;
    let (encoding, body) = match content {
        ColumnContent::Values => {
            let mut body = Vec::new();
            (NUMBERS, put_numbers(&mut body, values).map(|()| body))
        }
        ColumnContent::Texts => (HEXADECIMAL, hexadecimal(values, &lengths)),
    };
    let mut best = body.filter(|body| body.len() < plain_len).map(|body| (encoding, body));
    // A dictionary is preferred to another body of its length, but not to plain strings. It is tried last, because the
    // shorter the other one is, the sooner it is known to be longer.
    let len_max = best.as_ref().map_or(plain_len.saturating_sub(1), |(_, body)| body.len());
    if let Some(body) = dictionary(values, len_max) {
        best = Some((DICTIONARY, body));
    }
    let mut out = head;
    match best {
        Some((encoding, body)) => {
            out.push(encoding);
            out.extend(body);
        }
        None => {
            out.push(PLAIN);
            put_packed(&mut out, &lengths);
            values.iter().for_each(|value| out.extend_from_slice(value));
        }
    }
    out
}

/// A dictionary, unless it takes more than this many bytes.
fn dictionary(values: &[&[u8]], len_max: usize) -> Option<Vec<u8>> {
    let hash = SeededHash::random();
    let mut index: HashTable<u32> = HashTable::new();
    let mut entries: Vec<&[u8]> = Vec::new();
    let mut body = Vec::new();
    let mut codes: Vec<u32> = Vec::with_capacity(values.len());
    // Bytes of the packs that are full.
    let (mut packs, mut packs_len) = (0, 0);
    // Consecutive events often have the same value.
    let mut last: Option<(&[u8], u32)> = None;
    for value in values {
        if let Some((_, code)) = last.filter(|(known, _)| known == value) {
            codes.push(code);
            continue;
        }
        let is = |code: &u32| entries.get(*code as usize).is_some_and(|entry| entry == value);
        let code = match index.find(hash.of(value), is) {
            Some(code) => *code,
            None => {
                let code = u32::try_from(entries.len()).ok()?;
                entries.push(value);
                put_slice(&mut body, value);
                while let Some(pack) = codes.get(packs..packs + PACK) {
                    packs_len += packed_len(pack);
                    packs += PACK;
                }
                if body.len() + packs_len > len_max {
                    return None;
                }
                let hash_of = |code: &u32| hash.of(entries.get(*code as usize).copied().unwrap_or_default());
                index.insert_unique(hash.of(value), code, hash_of);
                code
            }
        };
        last = Some((value, code));
        codes.push(code);
    }
    let mut out = Vec::with_capacity(body.len() + 8 + packed_len(&codes));
    put_varint(&mut out, entries.len() as u64);
    out.extend(body);
    put_packed(&mut out, &codes);
    Some(out).filter(|out| out.len() <= len_max)
}

/// Lower-case hexadecimal texts, if all are.
fn hexadecimal(values: &[&[u8]], lengths: &[u32]) -> Option<Vec<u8>> {
    let form = if values.iter().all(|value| value.len() == UUID_LEN) { UUID } else { ANY_LENGTH };
    let mut out = vec![form];
    if form == ANY_LENGTH {
        put_packed(&mut out, lengths);
    }
    for value in values {
        let mut high = None;
        for (at, byte) in value.iter().enumerate() {
            if form == UUID && is_dash(at) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            match high.take() {
                Some(high) => out.push(high << 4 | digit),
                None => high = Some(digit),
            }
        }
        out.extend(high.map(|high| high << 4));
    }
    Some(out)
}

/// Where a UUID has its dashes.
fn is_dash(at: usize) -> bool {
    matches!(at, 8 | 13 | 18 | 23)
}

/// A decoded column.
#[derive(Debug)]
pub(crate) enum Values<'c> {
    Dictionary { entries: Vec<&'c [u8]>, codes: Vec<u32> },
    Plain { ends: Vec<u32>, bytes: &'c [u8] },
    Hexadecimal { form: u8, lengths: Vec<u32>, ends: Vec<u32>, bytes: &'c [u8] },
    Numbers(Numbers<'c>),
}

/// Reads the head of a chunk, which must be of this many events.
pub(super) fn read_head<'c>(chunk: &'c [u8], events: usize) -> Read<Reader<'c>> {
    let mut reader = Reader::new(chunk);
    reader.version(VERSION_1, "not a chunk of a segment")?;
    if reader.len()? != events || events > BLOCK_EVENTS_MAX {
        return Err(Malformed("a chunk of another number of events"));
    }
    Ok(reader)
}

impl<'c> Values<'c> {
    /// Reads a column of this many events.
    pub(super) fn decode(chunk: &'c [u8], events: usize) -> Read<Self> {
        let mut reader = read_head(chunk, events)?;
        let values = match reader.u8()? {
            DICTIONARY => {
                let count = reader.len()?;
                // Each takes a byte.
                let mut entries = Vec::with_capacity(count.min(reader.rest().len()));
                for _ in 0..count {
                    entries.push(reader.slice()?);
                }
                let codes = read_packed(&mut reader, events)?;
                if codes.iter().any(|code| *code as usize >= entries.len()) {
                    return Err(Malformed("a code that is not in the dictionary"));
                }
                Self::Dictionary { entries, codes }
            }
            PLAIN => {
                let ends = ends_of(read_packed(&mut reader, events)?.into_iter().map(u64::from))?;
                Self::Plain { bytes: take_all(&mut reader, &ends)?, ends }
            }
            HEXADECIMAL => {
                let form = reader.u8()?;
                let lengths = match form {
                    ANY_LENGTH => read_packed(&mut reader, events)?,
                    UUID => Vec::new(),
                    _ => return Err(Malformed("hexadecimal texts of an unknown form")),
                };
                let ends = match form {
                    UUID => ends_of(std::iter::repeat_n(16, events))?,
                    _ => ends_of(lengths.iter().map(|length| u64::from(length.div_ceil(2))))?,
                };
                Self::Hexadecimal { form, lengths, bytes: take_all(&mut reader, &ends)?, ends }
            }
            NUMBERS => Self::Numbers(Numbers::read(&mut reader, events)?),
            _ => return Err(Malformed("a chunk of an unknown encoding")),
        };
        if reader.is_empty() { Ok(values) } else { Err(Malformed("trailing bytes after a chunk")) }
    }

    /// Appends the string of an event.
    #[inline]
    pub(super) fn write(&self, at: usize, out: &mut Vec<u8>) {
        match self {
            Self::Dictionary { entries, codes } => {
                let entry = codes.get(at).and_then(|code| entries.get(*code as usize));
                out.extend_from_slice(entry.copied().unwrap_or_default());
            }
            Self::Plain { ends, bytes } => out.extend_from_slice(slice(ends, bytes, at)),
            Self::Hexadecimal { form: UUID, ends, bytes, .. } => {
                for (place, byte) in slice(ends, bytes, at).iter().enumerate() {
                    if matches!(place, 4 | 6 | 8 | 10) {
                        out.push(b'-');
                    }
                    out.extend([digit(byte >> 4), digit(byte & 15)]);
                }
            }
            Self::Hexadecimal { lengths, ends, bytes, .. } => {
                let length = lengths.get(at).copied().unwrap_or_default() as usize;
                let start = out.len();
                for byte in slice(ends, bytes, at) {
                    out.extend([digit(byte >> 4), digit(byte & 15)]);
                }
                out.truncate(start + length);
            }
            Self::Numbers(numbers) => numbers.write(at, out),
        }
    }
}

#[inline]
fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + value - 10,
    }
}

fn slice<'b>(ends: &[u32], bytes: &'b [u8], at: usize) -> &'b [u8] {
    let end = |at: usize| ends.get(at).map_or(0, |end| *end as usize);
    let start = at.checked_sub(1).map_or(0, end);
    bytes.get(start..end(at)).unwrap_or_default()
}

fn ends_of(lengths: impl Iterator<Item = u64>) -> Read<Vec<u32>> {
    let mut end = 0_u64;
    let end = lengths.map(|length| {
        end += length;
        u32::try_from(end).map_err(|_| Malformed("a chunk of 4 GB"))
    });
    end.collect()
}

fn take_all<'c>(reader: &mut Reader<'c>, ends: &[u32]) -> Read<&'c [u8]> {
    reader.take(ends.last().map_or(0, |end| *end as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of a dictionary, computed in another way.
    fn dictionary_len(values: &[&[u8]]) -> usize {
        let mut entries: Vec<&[u8]> = Vec::new();
        let mut codes = Vec::new();
        for value in values {
            let at = entries.iter().position(|entry| entry == value).unwrap_or_else(|| {
                entries.push(value);
                entries.len() - 1
            });
            codes.push(u32::try_from(at).unwrap());
        }
        let mut out = Vec::new();
        put_varint(&mut out, entries.len() as u64);
        entries.iter().for_each(|entry| put_slice(&mut out, entry));
        out.len() + packed_len(&codes)
    }

    /// That a dictionary is given up early must not change what is stored.
    #[test]
    fn the_shortest_encoding_is_taken() {
        let mut ties = 0;
        for (distinct, count) in (1..40_u16).flat_map(|distinct| (0..140_u16).map(move |count| (distinct, count))) {
            for content in [ColumnContent::Texts, ColumnContent::Values] {
                let value = |n: u16| match content {
                    ColumnContent::Texts => format!("{:04x}", n % distinct).into_bytes(),
                    ColumnContent::Values => vec![INTEGER_TAG, u8::try_from(n % distinct).unwrap()],
                };
                let values: Vec<Vec<u8>> = (0..count).map(value).collect();
                let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                let lengths: Vec<u32> = values.iter().map(|value| u32::try_from(value.len()).unwrap()).collect();
                let mut numbers = Vec::new();
                let (other, encoding) = match content {
                    ColumnContent::Texts => (hexadecimal(&values, &lengths).map(|body| body.len()), HEXADECIMAL),
                    ColumnContent::Values => (put_numbers(&mut numbers, &values).map(|()| numbers.len()), NUMBERS),
                };
                let plain = packed_len(&lengths) + values.iter().map(|value| value.len()).sum::<usize>();
                let dictionary = dictionary_len(&values);
                let mut expected = (plain, PLAIN);
                for (len, encoding) in [(Some(dictionary), DICTIONARY), (other, encoding)] {
                    if let Some(len) = len.filter(|len| *len < expected.0) {
                        expected = (len, encoding);
                    }
                }
                ties += u32::from(other == Some(dictionary) && expected.1 == DICTIONARY);
                let mut head = vec![VERSION_1];
                put_varint(&mut head, values.len() as u64);
                let encoded = encode_column(&values, content);
                assert_eq!((encoded.len() - head.len() - 1, encoded[head.len()]), expected, "{distinct} {count}");
            }
        }
        assert!(ties > 0);
    }

    const INTEGER_TAG: u8 = 3;
}
