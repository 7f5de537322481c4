//! No bytes at all make a merge fail or lose something: what cannot be read stands in quarantine, what can takes
//! effect, and what is written can be read.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use profiledb::laws::check_total;
use profiledb::{Timestamp, Update, merge};

#[derive(Arbitrary, Debug)]
struct Input {
    base: Option<Piece>,
    operands: Vec<Piece>,
}

/// Bytes that an engine may hold where an operand or a row should be.
#[derive(Arbitrary, Debug)]
enum Piece {
    /// Any bytes.
    Raw(Vec<u8>),
    /// Any bytes behind the tag of this version, so that not every input fails at the first byte.
    Tagged(Vec<u8>),
    /// An operand, composed of several updates, with some damage.
    Operand(Vec<Update>, Vec<Damage>),
    /// A row, with some damage.
    Row(Vec<Update>, Vec<Damage>),
    /// The time of an event, with some damage.
    Stamp(i64, Vec<Damage>),
    /// An operand or row that already holds some of this in quarantine.
    Holding(bool, Vec<Vec<u8>>, Update),
}

/// One thing that goes wrong with bytes. Positions are taken modulo what is there.
#[derive(Arbitrary, Debug)]
enum Damage {
    /// One byte becomes another.
    Replace { at: u16, byte: u8 },
    /// One bit is flipped.
    Flip { at: u16, bit: u8 },
    /// The end is lost.
    Truncate { at: u16 },
    /// Something follows.
    Concatenate(Box<Piece>),
    /// Something is in between.
    Insert { at: u16, bytes: Vec<u8> },
    /// A version of the past or the future, or another format altogether.
    Tag(u8),
}

impl Piece {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Tagged(bytes) => [&[0xA1], bytes.as_slice()].concat(),
            Self::Operand(updates, damage) => damaged(merge::partial(&slices(&operands(updates))), damage),
            Self::Row(updates, damage) => damaged(merge::full(None, &slices(&operands(updates))), damage),
            Self::Stamp(millis, damage) => damaged(merge::stamp(Timestamp::from_millis(*millis)), damage),
            Self::Holding(row, unreadable, update) => {
                let mut operands = vec![merge::operand(update)];
                operands.extend_from_slice(unreadable);
                let operands = slices(&operands);
                if *row { merge::full(None, &operands) } else { merge::partial(&operands) }
            }
        }
    }
}

fn damaged(mut bytes: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for damage in damage {
        let len = bytes.len();
        match damage {
            Damage::Replace { at, byte } if len > 0 => bytes[usize::from(*at) % len] = *byte,
            Damage::Flip { at, bit } if len > 0 => bytes[usize::from(*at) % len] ^= 1 << (bit % 8),
            Damage::Replace { .. } | Damage::Flip { .. } => {}
            Damage::Truncate { at } => bytes.truncate(usize::from(*at) % (len + 1)),
            Damage::Concatenate(piece) => bytes.extend(piece.bytes()),
            Damage::Insert { at, bytes: inserted } => {
                let at = usize::from(*at) % (len + 1);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Damage::Tag(tag) => {
                if let Some(first) = bytes.first_mut() {
                    *first = *tag;
                }
            }
        }
    }
    bytes
}

fn operands(updates: &[Update]) -> Vec<Vec<u8>> {
    updates.iter().map(merge::operand).collect()
}

fn slices(owned: &[Vec<u8>]) -> Vec<&[u8]> {
    owned.iter().map(Vec::as_slice).collect()
}

fuzz_target!(|input: Input| {
    let base = input.base.as_ref().map(Piece::bytes);
    let operands: Vec<Vec<u8>> = input.operands.iter().map(Piece::bytes).collect();
    if let Err(loss) = check_total(base.as_deref(), &slices(&operands)) {
        panic!("{loss}");
    }
});
