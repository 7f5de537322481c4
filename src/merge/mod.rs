//! Full and partial merge on bytes: an associative merge operator, which RocksDB calls when it folds.
//!
//! Both are one function. A row is an operand that begins with a known state, so folding operands onto a row and
//! composing operands without one differ only in whether the first state is known.
//!
//! * **Total.** No input makes a merge fail or panic, because a failing merge makes the whole engine read-only. An
//!   operand that cannot be read is kept, byte for byte, in the quarantine of the result.
//! * **Deterministic.** The same operands give the same bytes however they are grouped: `laws` checks that.
//! * **Separate.** If every input is a first-event time (a *stamp*), the result is the earliest. First-event times and
//!   operands of profiles are in different column families; in a mix of both, first-event times are unreadable.
//! * **Cheap.** Entries are merged as sorted lists. A property in only one operand is copied.
//!
//! This module imports `error`, `model`, `ops` and `codec`. It is independent of RocksDB, so the same bytes can be
//! folded by any engine that has an associative merge or an atomic append:
//!
//! ```
//! use profiledb::{Update, merge};
//!
//! let operands: Vec<Vec<u8>> = (0..3).map(|_| merge::operand(&Update::new().add("logins", 1))).collect();
//! let operands: Vec<&[u8]> = operands.iter().map(Vec::as_slice).collect();
//!
//! let row = merge::full(None, &operands);
//! assert_eq!(row, merge::full(None, &[&merge::partial(&operands)]));
//! assert_eq!(merge::profile(&row)?.unwrap().get("logins"), Some(&3.into()));
//! # Ok::<(), profiledb::Error>(())
//! ```

#[cfg(any(test, feature = "laws"))]
pub(crate) mod laws;
mod present;
mod runs;
mod unite;

use runs::{Runs, decode};
use unite::united;

use crate::codec::{self, ChainBytes, Entry, Operand, OperandWriter, write_op, write_set_list, write_union};
use crate::error::Result;
use crate::model::{Number, Profile, Timestamp, Value};
use crate::ops::{Chain, Op, Presence, Update};

/// The operand of one update. `docs/FORMAT.md` shows its bytes. Limits are not checked: see [`Update::admit`].
#[must_use]
pub fn operand(update: &Update) -> Vec<u8> {
    codec::encode_update(update)
}

/// Decodes a row. The row of an absent profile is `None`.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are not a row, or one of an unknown version.
pub fn profile(row: &[u8]) -> Result<Option<Profile>> {
    codec::decode_profile(row)
}

/// The operand with the time of an event of an id. Such operands fold into the earliest, the first-event time.
#[must_use]
pub fn stamp(time: Timestamp) -> Vec<u8> {
    codec::encode_stamp(time)
}

/// Decodes a first-event time, folded or not.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are not a first-event time, or one of an unknown version.
pub fn stamp_time(bytes: &[u8]) -> Result<Timestamp> {
    codec::decode_stamp(bytes)
}

/// Folds a row (or none) and the operands after it, oldest first, into a row.
#[must_use]
pub fn full(base: Option<&[u8]>, operands: &[&[u8]]) -> Vec<u8> {
    let inputs = || base.into_iter().chain(operands.iter().copied());
    earliest(inputs()).map_or_else(|| combine(Presence::Known(None), inputs()), <[u8]>::to_vec)
}

/// Composes operands, oldest first, into one operand.
#[must_use]
pub fn partial(operands: &[&[u8]]) -> Vec<u8> {
    let inputs = || operands.iter().copied();
    earliest(inputs()).map_or_else(|| combine(Presence::Open { absent: None, stamp: None }, inputs()), <[u8]>::to_vec)
}

/// The earliest of first-event times. `None` if there are no inputs, or if one of them is not a first-event time.
fn earliest<'a>(mut inputs: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let first = inputs.next()?;
    let mut least = (codec::read_stamp(first).ok()?, first);
    for input in inputs {
        let time = codec::read_stamp(input).ok()?;
        least = if time < least.0 { (time, input) } else { least };
    }
    Some(least.1)
}

/// Appends bytes that cannot be read. Adjacent first-event times are folded, as an earlier merge might have done.
fn keep<'a>(quarantine: &mut Vec<&'a [u8]>, bytes: &'a [u8]) {
    match quarantine.last().and_then(|last| earliest([*last, bytes].into_iter())) {
        Some(least) => quarantine.last_mut().into_iter().for_each(|last| *last = least),
        None => quarantine.push(bytes),
    }
}

/// The row that preserves everything after a fold panicked: the base is unchanged, and every operand is in quarantine.
pub(crate) fn quarantine_all(base: Option<&[u8]>, operands: &[&[u8]]) -> Vec<u8> {
    let mut entries = Vec::new();
    // A base that cannot be read is in quarantine, too.
    let row = base.and_then(|base| Operand::check(base, &mut entries).ok());
    let presence = row.as_ref().map_or(Presence::Known(None), |row| row.presence);
    let unread_base = base.filter(|_| row.is_none());
    let kept = row.into_iter().flat_map(|row| row.quarantine);
    let quarantine: Vec<&[u8]> = kept.chain(unread_base).chain(operands.iter().copied()).collect();
    let mut writer = OperandWriter::new(presence, &quarantine, 256);
    entries.iter().for_each(|entry| writer.copy(entry.name, entry.chain));
    writer.finish()
}

fn combine<'a>(start: Presence, inputs: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut presence = start;
    let mut quarantine: Vec<&[u8]> = Vec::new();
    // The properties of the latest row, and the chains after it.
    let mut row: Vec<Entry<'_>> = Vec::new();
    let mut runs = Runs::default();
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut bytes = 0;
    for input in inputs {
        bytes += input.len();
        entries.clear();
        match Operand::check(input, &mut entries) {
            Ok(operand) => {
                if matches!(operand.presence, Presence::Known(_)) {
                    std::mem::swap(&mut row, &mut entries);
                    runs.clear();
                } else {
                    runs.extend(&entries);
                }
                presence = presence.then(operand.presence);
                operand.quarantine.for_each(|bytes| keep(&mut quarantine, bytes));
            }
            Err(_) => keep(&mut quarantine, input),
        }
    }
    let known = matches!(presence, Presence::Known(_));
    let mut writer = OperandWriter::new(presence, &quarantine, bytes + 16);
    // A profile that does not exist has no properties.
    if presence != Presence::Known(None) {
        merge_entries(&mut writer, known, &row, &runs);
    }
    writer.finish()
}

/// Merges two sorted lists: the properties of a row, and the chains after it.
fn merge_entries(writer: &mut OperandWriter, known: bool, row: &[Entry<'_>], runs: &Runs<'_>) {
    let mut row = row.iter().peekable();
    for run in runs.iter() {
        while let Some(entry) = row.next_if(|entry| entry.name < run.name) {
            writer.copy(entry.name, entry.chain);
        }
        let base = row.next_if(|entry| entry.name == run.name);
        merge_property(writer, known, run.name, base.map(|entry| entry.chain), &run.chains);
    }
    row.for_each(|entry| writer.copy(entry.name, entry.chain));
}

/// Writes the composition of chains on one property. If the state before them is known, it is the base, or absent.
fn merge_property(
    writer: &mut OperandWriter,
    known: bool,
    name: &[u8],
    base: Option<ChainBytes<'_>>,
    chains: &[ChainBytes<'_>],
) {
    // The result is independent of anything before a known state. `at + 1` is at most the length.
    let (base, chains) = match chains.iter().rposition(|chain| chain.is_known()) {
        Some(at) => (chains.get(at).copied(), chains.get(at + 1..).unwrap_or_default()),
        None => (base, chains),
    };
    match (base, chains) {
        (Some(base), []) if base.is_set() || !known => writer.copy(name, base),
        // Absent properties are not written to a row.
        (Some(_), []) => {}
        (Some(base), chains) => match base.set_bytes() {
            Some(value) => writer.entry(name, |out| present::fold(out, value, chains)),
            None => match settle(chains) {
                Some(value) => set(writer, name, value),
                None if known => {}
                None => writer.copy(name, base),
            },
        },
        (None, [only]) if !known => writer.copy(name, *only),
        (None, chains) if known => match united(None, chains) {
            Some(texts) => writer.entry(name, |out| write_set_list(out, &texts)),
            None => settle(chains).into_iter().for_each(|value| set(writer, name, value)),
        },
        (None, chains) => match (sum_of(chains), united(None, chains)) {
            (Some(sum), _) => writer.entry(name, |out| write_op(out, &Op::Add(sum))),
            (None, Some(texts)) => writer.entry(name, |out| write_union(out, &texts)),
            (None, None) => writer.chain(name, &Chain::compose(chains.iter().map(decode).collect())),
        },
    }
}

fn set(writer: &mut OperandWriter, name: &[u8], value: Value) {
    writer.entry(name, |out| write_op(out, &Op::Set(value)));
}

/// The sum, if all chains only add. Counters have the longest sequences, and this does not allocate.
fn sum_of(chains: &[ChainBytes<'_>]) -> Option<Number> {
    let mut sum = Number::from(0);
    let mut counted = 0_i128;
    for chain in chains {
        match chain.as_count() {
            Some(count) => counted += i128::from(count),
            None => sum = &sum + &chain.as_add()?,
        }
    }
    Some(&sum + &Number::from(counted))
}

/// The result of chains on an absent property.
fn settle(chains: &[ChainBytes<'_>]) -> Option<Value> {
    if let Some(sum) = sum_of(chains) {
        return Some(sum.into());
    }
    let mut chains = chains.iter().map(decode);
    let first = chains.find_map(|chain| chain.apply(None))?;
    // None of the remaining chains is known, so the property stays present.
    Chain::compose(chains.map(Chain::of_present).collect()).apply(Some(first))
}
