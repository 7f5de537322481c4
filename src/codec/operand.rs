//! Operands and rows: one format.
//!
//! ```text
//! +------+-------+----------+----------------+--------------------------------------------+ ...
//! | 0xA1 | flags | last seen | quarantine    | entry: name length, name, chain length, chain |
//! +------+-------+----------+----------------+--------------------------------------------+ ...
//! ```
//!
//! 0xA1 is the tag of profiles (0xA) and the version (1). Entries ascend by name and fill the rest. Flags:
//!
//! | flag | meaning |
//! |---|---|
//! | 1 known | a row: the state is known, whatever it was before |
//! | 2 exists | in a row: the profile exists. In an operand: it is created if it does not exist |
//! | 4 own last seen | a signed varint: `$last_seen` of the profile of flag 2, in seconds |
//! | 8 last seen | a signed varint: `$last_seen` for a profile that existed before, in seconds; never in a row |
//! | 16 same | with 4 and 8: both times are equal and stored once |
//! | 32 quarantine | a count, then length and bytes of each operand that could not be read, oldest first |

use super::bytes::{Malformed, Read, Reader, check_text, put_signed, put_slice, put_varint};
use super::chain::{ChainBytes, write_chain, write_op};
use super::entries::{Entries, put_entry};
use crate::ops::{Chain, Life, Op, Presence, Update};

/// Tag and version of operands and rows.
const VERSION_1: u8 = 0xA1;

const KNOWN: u8 = 1;
const EXISTS: u8 = 2;
const OWN_LAST_SEEN: u8 = 4;
const LAST_SEEN: u8 = 8;
const SAME: u8 = 16;
const QUARANTINE: u8 = 32;
const ALL_FLAGS: u8 = 63;

/// One property of an operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// UTF-8, so the bytes sort as the text does.
    pub(crate) name: &'a [u8],
    pub(crate) chain: ChainBytes<'a>,
}

/// A parsed operand or row, checked to be canonical.
#[derive(Clone, Debug)]
pub(crate) struct Operand<'a> {
    pub(crate) presence: Presence,
    pub(crate) quarantine: Quarantine<'a>,
    entries: Entries<'a>,
}

/// The operands in quarantine, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Quarantine<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Quarantine<'a> {
    fn read(reader: &mut Reader<'a>) -> Read<Self> {
        let left = reader.len()?;
        if left == 0 {
            return Err(Malformed("a quarantine without content"));
        }
        let quarantine = Self { left, reader: reader.clone() };
        for _ in 0..left {
            reader.slice()?;
        }
        Ok(quarantine)
    }

    const fn empty() -> Self {
        Self { left: 0, reader: Reader::new(&[]) }
    }
}

impl<'a> Iterator for Quarantine<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // `read` checked all operands.
        self.reader.slice().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Quarantine<'_> {}

impl<'a> Operand<'a> {
    /// Parses an operand and checks all of it, appending its entries to `entries`. On failure nothing is appended.
    pub(crate) fn check(bytes: &'a [u8], entries: &mut Vec<Entry<'a>>) -> Read<Self> {
        let before = entries.len();
        let operand = Self::head(bytes)?;
        if let Err(malformed) = operand.check_entries(entries) {
            entries.truncate(before);
            return Err(malformed);
        }
        Ok(operand)
    }

    fn check_entries(&self, entries: &mut Vec<Entry<'a>>) -> Read<()> {
        for entry in self.entries().ascending() {
            let (name, chain) = entry?;
            check_text(name)?;
            let chain = ChainBytes::check(chain)?;
            let fits = match self.presence {
                Presence::Known(None) => false,
                Presence::Known(Some(_)) => chain.is_set(),
                // A profile that does not exist has no properties.
                Presence::Open { absent: None, .. } => chain.leaves_absent(),
                Presence::Open { absent: Some(_), .. } => true,
            };
            if !fits {
                return Err(Malformed("a property of a profile that does not exist"));
            }
            entries.push(Entry { name, chain });
        }
        Ok(())
    }

    /// Reads everything except the entries.
    #[inline]
    pub(super) fn head(bytes: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION_1, "not an operand or row of a profile")?;
        let flags = reader.u8()?;
        if flags & !ALL_FLAGS != 0 {
            return Err(Malformed("an operand with unknown flags"));
        }
        let presence = read_presence(&mut reader, flags)?;
        let quarantine = if flags & QUARANTINE != 0 { Quarantine::read(&mut reader)? } else { Quarantine::empty() };
        Ok(Self { presence, quarantine, entries: Entries::new(reader) })
    }

    /// The entries, without checking the chains again.
    pub(super) fn entries(&self) -> Entries<'a> {
        self.entries.clone()
    }
}

#[inline]
fn read_presence(reader: &mut Reader<'_>, flags: u8) -> Read<Presence> {
    let known = flags & KNOWN != 0;
    let exists = flags & EXISTS != 0;
    let refused = Err(Malformed("an operand with contradictory flags"));
    if (flags & OWN_LAST_SEEN != 0 && !exists) || (known && flags & (LAST_SEEN | SAME) != 0) {
        return refused;
    }
    let own = if flags & OWN_LAST_SEEN != 0 { Some(seconds(reader)?) } else { None };
    let stamp = match (flags & LAST_SEEN != 0, flags & SAME != 0) {
        (true, true) if own.is_some() => own,
        (true, false) => Some(seconds(reader)?),
        (false, false) => None,
        _ => return refused,
    };
    if flags & SAME == 0 && own.is_some() && own == stamp {
        return Err(Malformed("equal times stored twice"));
    }
    let life = exists.then_some(Life { last_seen: own });
    Ok(if known { Presence::Known(life) } else { Presence::Open { absent: life, stamp } })
}

fn seconds(reader: &mut Reader<'_>) -> Read<i64> {
    i64::try_from(reader.signed()?).map_err(|_| Malformed("a time out of range"))
}

/// Writes an operand or row: the head first, then entries in ascending order of their names.
pub(crate) struct OperandWriter {
    out: Vec<u8>,
}

impl OperandWriter {
    pub(crate) fn new(presence: Presence, quarantine: &[&[u8]], capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        let (known, life, stamp) = match presence {
            Presence::Known(life) => (KNOWN, life, None),
            Presence::Open { absent, stamp } => (0, absent, stamp),
        };
        let own = life.and_then(|life| life.last_seen);
        let same = own.is_some() && own == stamp;
        let flags = known
            | if life.is_some() { EXISTS } else { 0 }
            | if own.is_some() { OWN_LAST_SEEN } else { 0 }
            | if stamp.is_some() { LAST_SEEN } else { 0 }
            | if same { SAME } else { 0 }
            | if quarantine.is_empty() { 0 } else { QUARANTINE };
        out.extend([VERSION_1, flags]);
        own.iter().for_each(|seconds| put_signed(&mut out, *seconds));
        stamp.iter().filter(|_| !same).for_each(|seconds| put_signed(&mut out, *seconds));
        if !quarantine.is_empty() {
            put_varint(&mut out, quarantine.len() as u64);
            quarantine.iter().for_each(|bytes| put_slice(&mut out, bytes));
        }
        Self { out }
    }

    /// Copies a chain.
    pub(crate) fn copy(&mut self, name: &[u8], chain: ChainBytes<'_>) {
        put_slice(&mut self.out, name);
        put_slice(&mut self.out, chain.as_bytes());
    }

    /// Writes a chain, unless it is the identity.
    pub(crate) fn chain(&mut self, name: &[u8], chain: &Chain) {
        if !chain.is_identity() {
            self.entry(name, |out| write_chain(out, chain));
        }
    }

    /// Writes the bytes that `write` appends as the chain of `name`.
    pub(crate) fn entry(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        put_entry(&mut self.out, name, write);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// The operand of one update.
pub(crate) fn encode_update(update: &Update) -> Vec<u8> {
    let presence = Presence::of(update.creates(), update.stamp());
    let mut writer = OperandWriter::new(presence, &[], 128);
    let ops = update.ops();
    if ops.is_sorted_by(|a, b| a.0 < b.0) {
        ops.iter().for_each(|(name, op)| writer.entry(name.as_bytes(), |out| write_op(out, op)));
        return writer.finish();
    }
    let mut ops: Vec<&(String, Op)> = ops.iter().collect();
    // The sort is stable: operators on one property keep their order.
    ops.sort_by(|a, b| a.0.cmp(&b.0));
    for run in ops.chunk_by(|a, b| a.0 == b.0) {
        match run {
            [(name, op)] => writer.entry(name.as_bytes(), |out| write_op(out, op)),
            [(name, _), ..] => {
                let chains = run.iter().map(|(_, op)| Chain::of(op.clone())).collect();
                writer.chain(name.as_bytes(), &Chain::compose(chains));
            }
            [] => {}
        }
    }
    writer.finish()
}

/// The names of the properties that an operand of this process is about.
pub(crate) fn operand_names(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let entries = Operand::head(bytes).map(|operand| operand.entries()).into_iter().flatten().flatten();
    entries.filter_map(|(name, _)| std::str::from_utf8(name).ok())
}

/// Whether bytes are a canonical operand or row.
#[cfg(any(test, feature = "laws"))]
pub(crate) fn is_readable(bytes: &[u8]) -> bool {
    Operand::check(bytes, &mut Vec::new()).is_ok()
}

/// The quarantine of an operand or row; unreadable bytes have none.
#[cfg(any(test, feature = "laws"))]
pub(crate) fn quarantine_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let operand = Operand::check(bytes, &mut Vec::new());
    operand.map(|operand| operand.quarantine.map(<[u8]>::to_vec).collect()).unwrap_or_default()
}
