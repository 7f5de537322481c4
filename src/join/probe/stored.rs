//! Codes by ordinal in the form in which they are stored: chunks of bytes, of which the first has the tuples that the
//! codes stand for.
//!
//! ```text
//! chunk 0       | 0x51 | properties | ordinals | tuples | length and bytes of each tuple, in the order of codes |
//! chunk 1, ...  | 0x41 | width: 1 | the code plus one of each of 65,536 ordinals, 0 without a row |
//! ```
//!
//! Integers are varints, and codes have `width` bytes each, little-endian. The last chunk ends with the last ordinal.

use super::dictionary::{DictionaryBuilder, NO_ROW};
use super::ordinal::{Codes, OrdinalCodes};
use crate::codec::{Malformed, Read, Reader, ValueBytes, put_slice, put_varint, tuple_values};

/// Tag and version of the first chunk, and of the others.
const TUPLES_VERSION: u8 = 0x51;
const CODES_VERSION: u8 = 0x41;

/// How many ordinals have their codes in one chunk.
const ORDINALS_MAX: u32 = 1 << 16;

/// Encodes the codes of the first ordinals, with tuples of this many properties.
pub(in crate::join) fn encode_codes(codes: &OrdinalCodes, properties: usize, ordinals: u32) -> Vec<Vec<u8>> {
    let mut first = vec![TUPLES_VERSION];
    put_varint(&mut first, properties as u64);
    put_varint(&mut first, ordinals.into());
    put_varint(&mut first, codes.dictionary.len() as u64);
    let mut tuple = Vec::new();
    for code in codes.dictionary.codes() {
        tuple.clear();
        for at in 0..properties {
            put_slice(&mut tuple, codes.dictionary.value(code, at).map_or(&[], |value| value.as_bytes()));
        }
        put_slice(&mut first, &tuple);
    }
    let chunk = |start: u32| {
        let end = start.saturating_add(ORDINALS_MAX).min(ordinals);
        let codes = (start..end).map(|ordinal| match codes.get(ordinal) {
            NO_ROW => 0,
            code => code + 1,
        });
        encode_chunk(codes)
    };
    std::iter::once(first).chain((0..ordinals).step_by(ORDINALS_MAX as usize).map(chunk)).collect()
}

/// In as few bytes as the greatest of them takes.
fn encode_chunk(codes: impl Iterator<Item = u32> + Clone) -> Vec<u8> {
    let greatest = codes.clone().max().unwrap_or(0);
    let width: u8 = match greatest {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    let mut out = vec![CODES_VERSION, width];
    codes.for_each(|code| out.extend(code.to_le_bytes().iter().take(width.into())));
    out
}

/// Decodes codes, and says for how many ordinals they are.
pub(in crate::join) fn decode_codes(chunks: &[Vec<u8>], properties: usize) -> Read<(OrdinalCodes, u32)> {
    let (first, chunks) = chunks.split_first().ok_or(Malformed("no chunk of tuples"))?;
    let mut reader = Reader::new(first);
    reader.version(TUPLES_VERSION, "not a chunk of tuples")?;
    if reader.len()? != properties {
        return Err(Malformed("tuples of another number of properties"));
    }
    let ordinals = u32::try_from(reader.varint()?).map_err(|_| Malformed("more ordinals than there can be"))?;
    let tuples = reader.len()?;
    let mut dictionary = DictionaryBuilder::new(properties);
    for code in 0..tuples {
        let tuple = reader.slice()?;
        let mut values = 0;
        for value in tuple_values(tuple) {
            if !value.is_empty() {
                ValueBytes::checked(value)?;
            }
            values += 1;
        }
        if values != properties {
            return Err(Malformed("a tuple of another number of values"));
        }
        let given = dictionary.code(tuple).map_err(|_| Malformed("more than 4 GB of values"))?;
        if given as usize != code {
            return Err(Malformed("a tuple that is there twice"));
        }
    }
    if !reader.is_empty() {
        return Err(Malformed("bytes after the last tuple"));
    }
    if chunks.len() != ordinals.div_ceil(ORDINALS_MAX) as usize {
        return Err(Malformed("another number of chunks than there are ordinals for"));
    }
    let mut codes = Codes::for_codes(tuples, ordinals as usize);
    for (chunk, start) in chunks.iter().zip((0..ordinals).step_by(ORDINALS_MAX as usize)) {
        decode_chunk(chunk, (ordinals - start).min(ORDINALS_MAX), tuples, &mut codes)?;
    }
    let (dictionary, tuples) = dictionary.finish_with_tuples();
    Ok((OrdinalCodes { dictionary, tuples, codes }, ordinals))
}

fn decode_chunk(chunk: &[u8], ordinals: u32, tuples: usize, codes: &mut Codes) -> Read<()> {
    let mut reader = Reader::new(chunk);
    reader.version(CODES_VERSION, "not a chunk of codes")?;
    let width = reader.u8()?;
    let bytes = reader.rest();
    if !matches!(width, 1 | 2 | 4) || bytes.len() != ordinals as usize * usize::from(width) {
        return Err(Malformed("a chunk of codes of another length"));
    }
    let greatest = match width {
        1 => codes.extend(bytes.iter().map(|code| u32::from(*code))),
        2 => codes.extend(bytes.as_chunks().0.iter().map(|code| u16::from_le_bytes(*code).into())),
        _ => codes.extend(bytes.as_chunks().0.iter().map(|code| u32::from_le_bytes(*code))),
    };
    if greatest as usize > tuples { Err(Malformed("a code without a tuple")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::project_value;
    use crate::model::Value;

    fn codes_of(rows: &[Option<Vec<Option<u32>>>], properties: usize) -> OrdinalCodes {
        let mut dictionary = DictionaryBuilder::new(properties);
        let mut codes = Codes::for_codes(0, 0);
        for (ordinal, row) in rows.iter().enumerate() {
            let Some(row) = row else { continue };
            let mut tuple = Vec::new();
            for value in row {
                match value {
                    Some(value) => project_value(&Value::from(*value), &mut tuple),
                    None => tuple.push(0),
                }
            }
            codes.set(ordinal, dictionary.code(&tuple).unwrap() + 1);
        }
        let (dictionary, tuples) = dictionary.finish_with_tuples();
        OrdinalCodes { dictionary, tuples, codes }
    }

    fn assert_same(one: &OrdinalCodes, other: &OrdinalCodes, properties: usize, ordinals: u32) {
        assert_eq!(one.dictionary.len(), other.dictionary.len());
        for ordinal in 0..ordinals {
            assert_eq!(one.get(ordinal), other.get(ordinal), "ordinal {ordinal}");
        }
        for (code, at) in one.dictionary.codes().flat_map(|code| (0..properties).map(move |at| (code, at))) {
            let value = |codes: &OrdinalCodes| codes.dictionary.value(code, at).map(|value| value.as_bytes().to_vec());
            assert_eq!(value(one), value(other));
        }
    }

    proptest! {
        #[test]
        fn codes_come_back(
            (properties, rows) in (0..4_usize).prop_flat_map(|properties| {
                let row = prop::collection::vec(prop::option::of(0..4_u32), properties);
                (Just(properties), prop::collection::vec(prop::option::of(row), 0..40))
            }),
            more in 0..3_u32,
            flip: (prop::sample::Index, prop::sample::Index, u8),
        ) {
            let codes = codes_of(&rows, properties);
            let ordinals = rows.len() as u32 + more;
            let mut chunks = encode_codes(&codes, properties, ordinals);
            let (decoded, count) = decode_codes(&chunks, properties).unwrap();
            prop_assert_eq!(count, ordinals);
            assert_same(&codes, &decoded, properties, ordinals);
            prop_assert_eq!(&encode_codes(&decoded, properties, ordinals), &chunks);
            // Those that are known go on.
            let builder = DictionaryBuilder::of(&decoded.dictionary, &decoded.tuples);
            let (dictionary, tuples) = builder.finish_with_tuples();
            let found = rows.iter().flatten().next().map(|_| dictionary.find(&[0].repeat(properties), &tuples));
            prop_assert!(properties > 0 || found.is_none_or(|found| found == Some(0)));
            // What is not what was written is an error or codes, and never a panic.
            let (chunk, at, byte) = flip;
            let chunk = chunk.index(chunks.len());
            let at = at.index(chunks[chunk].len());
            chunks[chunk][at] ^= byte;
            let _ = decode_codes(&chunks, properties);
            prop_assert!(decode_codes(&chunks[1..], properties).is_err());
        }
    }

    #[test]
    fn chunks_are_as_wide_as_their_greatest_code() {
        let rows: Vec<_> = (0..140_000).map(|n| Some(vec![Some(if n < 70_000 { n % 300 } else { n })])).collect();
        let codes = codes_of(&rows, 1);
        let chunks = encode_codes(&codes, 1, 140_000);
        let widths: Vec<_> = chunks.iter().skip(1).map(|chunk| (chunk[1], chunk.len())).collect();
        assert_eq!(widths, [(2, 2 + 2 * 65_536), (2, 2 + 2 * 65_536), (4, 2 + 4 * 8_928)]);
        let (decoded, _) = decode_codes(&chunks, 1).unwrap();
        assert_same(&codes, &decoded, 1, 140_000);
        let damaged = |chunk: usize, what: &dyn Fn(&mut Vec<u8>)| {
            let mut chunks = chunks.clone();
            what(&mut chunks[chunk]);
            decode_codes(&chunks, 1).unwrap_err().0
        };
        assert_eq!(damaged(3, &|chunk| chunk[5] = 0xff), "a code without a tuple");
        assert_eq!(damaged(3, &|chunk| chunk.truncate(9)), "a chunk of codes of another length");
        assert_eq!(damaged(1, &|chunk| chunk[1] = 1), "a chunk of codes of another length");
        assert_eq!(damaged(1, &|chunk| chunk[0] = 0x42), "written in an unknown version of the format");
        assert_eq!(damaged(0, &|chunk| chunk.push(0)), "bytes after the last tuple");
        assert_eq!(decode_codes(&chunks, 2).unwrap_err().0, "tuples of another number of properties");
        assert_eq!(
            decode_codes(&chunks[..3], 1).unwrap_err().0,
            "another number of chunks than there are ordinals for"
        );
    }
}
