//! The record framing of RocksDB's WAL and MANIFEST (the log format of LevelDB), walked to tell damage from a torn
//! tail.
//!
//! RocksDB's reader does not tell them apart reliably: in the modes that accept a torn tail, a record whose length
//! leads beyond the last block counts as one, with everything after it; and some types make it read one record for
//! ever. So both files are walked before RocksDB opens them.
//!
//! ```text
//! a file is blocks of 32,768 bytes, the last may be shorter; a block is records, and zeros where no header fits
//!
//! +--------------+------------+----------+---------+
//! | u32 checksum | u16 length | u8 type  | payload |     type: 1 whole, 2 first, 3 middle, 4 last of a logical record
//! +--------------+------------+----------+---------+     checksum: CRC-32C of type and payload, masked
//! ```

use std::io::{self, Read};

/// A record never crosses the end of a block.
const BLOCK: usize = 32 << 10;

/// Bytes before the payload.
const HEADER: usize = 7;

/// Blocks that are read at once.
const BLOCKS_READ: usize = 8;

/// Where the fragments of logical records go.
pub(super) trait FragmentSink {
    /// Takes the next fragment; `ends` says that it is the last of its record. An error says why it cannot be one.
    fn fragment(&mut self, bytes: &[u8], ends: bool) -> Result<(), &'static str>;
}

/// The content of records is not looked at.
impl FragmentSink for () {
    fn fragment(&mut self, _: &[u8], _: bool) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Why a walk did not reach the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The file ends inside a record, as after a crash during a write.
    Torn,
    /// No crash of a process leaves this.
    Damaged(&'static str),
}

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// The end of the last complete logical record, in bytes.
    pub(super) whole: u64,
    /// How many bytes were walked.
    pub(super) length: u64,
    pub(super) stop: Option<Stop>,
    /// Where the fragment begins at which it stopped. The end of the file, if it is within a record.
    pub(super) at: u64,
}

/// Walks the first `length` bytes of a file.
pub(super) fn walk(mut file: impl Read, length: u64, records: &mut impl FragmentSink) -> io::Result<Walk> {
    let mut walker = Walker { records, whole: 0, at: 0, inside: false };
    let mut buffer = vec![0; BLOCK * BLOCKS_READ];
    let mut start = 0;
    let mut stop = None;
    while stop.is_none() && start < length {
        let bytes = usize::try_from(length - start).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let Some(read) = buffer.get_mut(..bytes) else { break };
        file.read_exact(read)?;
        for block in read.chunks(BLOCK) {
            stop = walker.block(block, start);
            start += block.len() as u64;
            if stop.is_some() {
                break;
            }
        }
    }
    if stop.is_none() && walker.inside {
        stop = Some(Stop::Torn);
    }
    let (whole, at) = (walker.whole, if stop.is_none() { length } else { walker.at });
    if stop == Some(Stop::Torn) && file_has_record_after(&buffer, whole, start, length) {
        stop = Some(Stop::Damaged("an impossible length"));
    }
    Ok(Walk { whole, length, stop, at })
}

/// Whether the last block has a record after the torn one. Only the last block can be torn, and it is in the buffer.
fn file_has_record_after(buffer: &[u8], whole: u64, start: u64, length: u64) -> bool {
    if start != length {
        return false;
    }
    let block = length.saturating_sub(1) / BLOCK as u64 * BLOCK as u64;
    // What is within the buffer or a block fits.
    let fits = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let in_buffer = fits(block % buffer.len() as u64);
    let (from, to) = (fits(whole.saturating_sub(block)), fits(length - block));
    let last = buffer.get(in_buffer..in_buffer.saturating_add(to)).unwrap_or_default();
    let is_record = |rest: &[u8]| record(rest).is_ok_and(|record| !record.payload.is_empty());
    (from + 1..to).any(|at| last.get(at..).is_some_and(is_record))
}

struct Walker<'r, R> {
    records: &'r mut R,
    whole: u64,
    at: u64,
    /// Whether a logical record has begun and not ended.
    inside: bool,
}

impl<R: FragmentSink> Walker<'_, R> {
    /// Walks a block that starts at this offset of the file.
    fn block(&mut self, block: &[u8], start: u64) -> Option<Stop> {
        let mut rest = block;
        loop {
            self.at = start + (block.len() - rest.len()) as u64;
            if rest.len() < HEADER {
                break;
            }
            let record = match record(rest) {
                Ok(record) => record,
                // A length beyond a whole block is not a torn record: that would be cut within the last block.
                Err(Stop::Torn) if block.len() == BLOCK => return Some(Stop::Damaged("a length beyond its block")),
                Err(stop) => return Some(stop),
            };
            let (starts, ends) = (matches!(record.kind, WHOLE | FIRST), matches!(record.kind, WHOLE | LAST));
            if starts == self.inside {
                return Some(Stop::Damaged("a fragment out of order"));
            }
            if let Err(why) = self.records.fragment(record.payload, ends) {
                return Some(Stop::Damaged(why));
            }
            rest = rest.get(HEADER + record.payload.len()..).unwrap_or_default();
            self.inside = !ends;
            if ends {
                self.whole = start + (block.len() - rest.len()) as u64;
            }
        }
        match rest {
            [] => None,
            _ if block.len() < BLOCK => Some(Stop::Torn),
            _ if rest.iter().all(|byte| *byte == 0) => None,
            _ => Some(Stop::Damaged("bytes after the last record of a block")),
        }
    }
}

const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

struct Framed<'b> {
    kind: u8,
    payload: &'b [u8],
}

/// The record at the start of these bytes, which end with their block.
fn record(bytes: &[u8]) -> Result<Framed<'_>, Stop> {
    let Some((&[c0, c1, c2, c3, l0, l1, kind], rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Stop::Torn);
    };
    // Other types are of recycled logs, of compressed logs and of user-defined timestamps, which this crate never
    // writes, and some make RocksDB's reader loop.
    if !(WHOLE..=LAST).contains(&kind) {
        return Err(Stop::Damaged("an unknown type of record"));
    }
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let Some(payload) = rest.get(..length) else { return Err(Stop::Torn) };
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload);
    if mask(checksum) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Stop::Damaged("a wrong checksum"));
    }
    Ok(Framed { kind, payload })
}

/// A checksum is stored masked, because the checksum of bytes that contain their checksum is degenerate.
const fn mask(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// How many bytes there are up to the end of the block.
pub(super) const fn rest_of_block(at: u64) -> u64 {
    BLOCK as u64 - at % BLOCK as u64
}

/// Finds the bit of the record at the start of these bytes, which end with their block, that was flipped: the only one
/// with which its checksum is right. Its byte, and the mask of the bit.
///
/// The checksum detects any three flipped bits in a record, so if one is enough to make it right, there are not two.
pub(super) fn flipped_bit(bytes: &[u8]) -> Option<(usize, u8)> {
    let &[c0, c1, c2, c3, l0, l1, kind] = bytes.first_chunk::<HEADER>()?;
    let mut copy = bytes.to_vec();
    for at in 0..HEADER {
        for bit in 0..8 {
            *copy.get_mut(at)? ^= 1 << bit;
            if record(&copy).is_ok() {
                return Some((at, 1 << bit));
            }
            *copy.get_mut(at)? ^= 1 << bit;
        }
    }
    let payload = bytes.get(HEADER..)?.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload);
    let difference = checksum ^ unmask(u32::from_le_bytes([c0, c1, c2, c3]));
    // CRCs are linear: what a flipped bit changes depends only on how many bits follow it.
    let mut change = 1_u32;
    for following in 0..payload.len() * 8 {
        change = (change >> 1) ^ if change & 1 == 1 { POLYNOMIAL } else { 0 };
        if change == difference && (WHOLE..=LAST).contains(&kind) {
            return Some((HEADER + payload.len() - 1 - following / 8, 0x80 >> (following % 8)));
        }
    }
    None
}

/// Of CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}

/// Gives the records that are whole in what follows damage: `bytes` begin at this offset of the file.
pub(super) fn records_after(bytes: &[u8], offset: u64, mut each: impl FnMut(&[u8])) {
    let first = BLOCK - usize::try_from(offset % BLOCK as u64).unwrap_or_default();
    let (head, tail) = bytes.split_at(first.min(bytes.len()));
    // Of a record that has begun and not ended.
    let mut begun: Option<Vec<u8>> = None;
    for block in std::iter::once(head).chain(tail.chunks(BLOCK)) {
        let mut rest = block;
        while let Some((&[_, _, _, _, l0, l1, _], after)) = rest.split_first_chunk::<HEADER>() {
            let found = record(rest);
            // Where the length is right, the next record follows it. Otherwise the next one found is in the next block.
            let Some(next) = after.get(usize::from(u16::from_le_bytes([l0, l1]))..) else { break };
            rest = next;
            let Ok(Framed { kind, payload }) = found else {
                begun = None;
                continue;
            };
            if matches!(kind, WHOLE | FIRST) {
                begun = Some(Vec::new());
            }
            let Some(record) = &mut begun else { continue };
            record.extend_from_slice(payload);
            if matches!(kind, WHOLE | LAST) {
                each(record);
                begun = None;
            }
        }
    }
}

/// The bytes that append a record to a file of this length.
pub(super) fn framed(length: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut room = BLOCK - usize::try_from(length % BLOCK as u64).unwrap_or_default();
    let mut rest = payload;
    loop {
        if room < HEADER {
            bytes.resize(bytes.len() + room, 0);
            room = BLOCK;
        }
        let is_first = rest.len() == payload.len();
        let (part, after) = rest.split_at(rest.len().min(room - HEADER));
        let kind = match (is_first, after.is_empty()) {
            (true, true) => WHOLE,
            (true, false) => FIRST,
            (false, true) => LAST,
            (false, false) => MIDDLE,
        };
        bytes.extend(mask(crc32c::crc32c_append(crc32c::crc32c(&[kind]), part)).to_le_bytes());
        // A part is smaller than a block.
        bytes.extend(u16::try_from(part.len()).unwrap_or_default().to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(part);
        room -= HEADER + part.len();
        rest = after;
        if rest.is_empty() {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, flipped_bit, framed, records_after, walk};

    /// Two records after some others, the last of which fills its block but for a few bytes.
    fn log() -> Vec<u8> {
        let mut log = Vec::new();
        for (n, length) in [100, 30_000, BLOCK - 107 - 30_007 - 7 - 3, 40_000, 20].into_iter().enumerate() {
            let payload: Vec<u8> = (0..length).map(|at| (at * 7 + n) as u8).collect();
            let record = framed(log.len() as u64, &payload);
            log.extend(record);
        }
        log
    }

    #[test]
    fn what_is_appended_is_walked() {
        let log = log();
        let walk = walk(log.as_slice(), log.len() as u64, &mut ()).unwrap();
        assert!(walk.stop.is_none() && walk.whole == log.len() as u64, "{walk:?}");
    }

    #[test]
    fn any_bit_of_a_record_that_was_flipped_is_found_and_of_two_none_is() {
        let record = framed(0, b"the payload of a record");
        let mut records = record.clone();
        records.extend(framed(record.len() as u64, b"and another"));
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut damaged = records.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(flipped_bit(&damaged), Some((at, 1 << bit)), "byte {at}, bit {bit}");
                damaged[(at * 7 + 5) % record.len()] ^= 2 << (bit % 7);
                let found = flipped_bit(&damaged);
                assert!(found.is_none() || damaged == records, "byte {at}, bit {bit}: {found:?}");
            }
        }
    }

    #[test]
    fn records_are_found_after_damage() {
        let log = log();
        let count = |from: usize, log: &[u8]| {
            let mut found = Vec::new();
            records_after(&log[from..], from as u64, |record| found.push(record.len()));
            found
        };
        assert_eq!(count(0, &log).len(), 5);
        let mut damaged = log.clone();
        damaged[3] ^= 1;
        assert_eq!(count(0, &damaged), count(107, &log), "a wrong checksum");
        // A length beyond the block: all of it is skipped, and the rest of a record that began in it.
        damaged[5] ^= 0xff;
        assert_eq!(count(0, &damaged), [40_000, 20]);
    }
}
