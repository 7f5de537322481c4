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
}

/// Walks the first `length` bytes of a file.
pub(super) fn walk(mut file: impl Read, length: u64, records: &mut impl FragmentSink) -> io::Result<Walk> {
    let mut walker = Walker { records, whole: 0, inside: false };
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
    let whole = walker.whole;
    if stop == Some(Stop::Torn) && file_has_record_after(&buffer, whole, start, length) {
        stop = Some(Stop::Damaged("an impossible length"));
    }
    Ok(Walk { whole, length, stop })
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
    /// Whether a logical record has begun and not ended.
    inside: bool,
}

impl<R: FragmentSink> Walker<'_, R> {
    /// Walks a block that starts at this offset of the file.
    fn block(&mut self, block: &[u8], start: u64) -> Option<Stop> {
        let mut rest = block;
        while rest.len() >= HEADER {
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
