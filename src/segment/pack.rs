//! Bit packing: 128 integers at a time, each pack with as many bits per integer as its largest needs.
//!
//! ```text
//! | bits per integer: 1 | 16 x that many bytes | ...      the last pack is filled up with zeros
//! ```

use bitpacking::{BitPacker, BitPacker4x};

use crate::codec::{Malformed, Read, Reader};

/// Integers in a pack.
pub(super) const PACK: usize = BitPacker4x::BLOCK_LEN;

/// Appends integers.
pub(super) fn put_packed(out: &mut Vec<u8>, values: &[u32]) {
    let packer = BitPacker4x::new();
    let mut compressed = [0; PACK * 4];
    for chunk in values.chunks(PACK) {
        let mut pack = [0; PACK];
        pack.iter_mut().zip(chunk).for_each(|(to, value)| *to = *value);
        let bits = packer.num_bits(&pack);
        let len = packer.compress(&pack, &mut compressed, bits);
        out.push(bits);
        out.extend_from_slice(compressed.get(..len).unwrap_or_default());
    }
}

/// How many bytes integers take.
pub(super) fn packed_len(values: &[u32]) -> usize {
    let bits = |chunk: &[u32]| 32 - chunk.iter().fold(0, |all, value| all | value).leading_zeros() as usize;
    values.chunks(PACK).map(|chunk| 1 + bits(chunk) * PACK / 8).sum()
}

/// Reads this many integers. The caller has bounded their number.
pub(super) fn read_packed(reader: &mut Reader<'_>, count: usize) -> Read<Vec<u32>> {
    let packer = BitPacker4x::new();
    let mut values = vec![0; count];
    let mut packs = values.chunks_exact_mut(PACK);
    for pack in &mut packs {
        let (bits, bytes) = read_pack(reader)?;
        packer.decompress(bytes, pack, bits);
    }
    let tail = packs.into_remainder();
    if !tail.is_empty() {
        let (bits, bytes) = read_pack(reader)?;
        let mut pack = [0; PACK];
        packer.decompress(bytes, &mut pack, bits);
        tail.copy_from_slice(pack.get(..tail.len()).unwrap_or_default());
    }
    Ok(values)
}

/// Reads a pack.
#[inline]
pub(super) fn read_one(reader: &mut Reader<'_>, out: &mut [u32; PACK], bits_max: u8) -> Read<()> {
    let (bits, bytes) = read_pack(reader)?;
    if bits > bits_max {
        return Err(Malformed("an integer of a pack out of range"));
    }
    BitPacker4x::new().decompress(bytes, out, bits);
    Ok(())
}

/// Reads a pack of integers that follow `last` and ascend, of which the distances less one are packed. Returns whether
/// they can leave 32 bits, and begin again from 0, more than once.
#[inline]
pub(super) fn read_ascending(reader: &mut Reader<'_>, last: u32, out: &mut [u32]) -> Read<bool> {
    let (bits, bytes) = read_pack(reader)?;
    if out.len() == PACK {
        BitPacker4x::new().decompress_strictly_sorted(Some(last), bytes, out, bits);
    }
    Ok(bits > 24)
}

/// Skips packs.
pub(super) fn skip_packs(reader: &mut Reader<'_>, packs: usize) -> Read<()> {
    for _ in 0..packs {
        read_pack(reader)?;
    }
    Ok(())
}

fn read_pack<'a>(reader: &mut Reader<'a>) -> Read<(u8, &'a [u8])> {
    match reader.u8()? {
        bits @ 0..=32 => Ok((bits, reader.take(usize::from(bits) * PACK / 8)?)),
        _ => Err(Malformed("a pack of more than 32 bits")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_round_trip(values in prop::collection::vec(any::<u32>(), 0..300), shift in 0..32_u32) {
            let values: Vec<u32> = values.into_iter().map(|value| value >> shift).collect();
            let mut out = Vec::new();
            put_packed(&mut out, &values);
            prop_assert_eq!(out.len(), packed_len(&values));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(read_packed(&mut reader, values.len()), Ok(values));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn no_input_makes_a_reader_panic(bytes: Vec<u8>, count in 0..300_usize) {
            let _ = read_packed(&mut Reader::new(&bytes), count);
        }
    }
}
