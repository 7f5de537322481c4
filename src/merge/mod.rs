//! Full and partial merge on bytes: what RocksDB runs when it folds.
//!
//! Both are one function. A row is an operand that begins with a known state, so folding operands onto a row and
//! composing operands without one differ only in whether the first state is known.
//!
//! * **Total.** No input makes a merge fail or panic, because a failing merge turns the whole engine read-only. An
//!   operand that cannot be read is kept, byte for byte, in the quarantine of the result.
//! * **Deterministic.** The same operands give the same bytes however they are grouped: `laws` checks that.
//! * **Sparing.** Entries are merged as sorted lists. A property that only one operand touches is copied.
//!
//! This room imports `error`, `model`, `ops` and `codec`. It knows nothing of RocksDB, and so the same bytes can be
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

use std::iter;

use crate::codec::{self, Entry, Operand, OperandWriter, write_op};
use crate::error::Result;
use crate::model::{Number, Profile};
use crate::ops::{Chain, Op, Presence, Update};

/// The operand of one update. `docs/FORMAT.md` shows its bytes. Limits are not checked: see [`Update::admit`].
#[must_use]
pub fn operand(update: &Update) -> Vec<u8> {
    codec::encode_update(update)
}

/// Decodes a row. There is none for the row of an absent profile.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are no row, or one of a version that this one does not know.
pub fn profile(row: &[u8]) -> Result<Option<Profile>> {
    codec::decode_profile(row)
}

/// Folds a row (or none) and the operands after it, oldest first, into a row.
#[must_use]
pub fn full(base: Option<&[u8]>, operands: &[&[u8]]) -> Vec<u8> {
    combine(Presence::Known(None), base.into_iter().chain(operands.iter().copied()))
}

/// Composes operands, oldest first, into one operand.
#[must_use]
pub fn partial(operands: &[&[u8]]) -> Vec<u8> {
    combine(Presence::Open { absent: None, stamp: None }, operands.iter().copied())
}

/// The row that keeps everything when a fold panicked: the base as it is, every operand in quarantine.
pub(crate) fn quarantine_all(base: Option<&[u8]>, operands: &[&[u8]]) -> Vec<u8> {
    let mut entries = Vec::new();
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
    let mut base: Vec<Entry<'_>> = Vec::new();
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(inputs.size_hint().0);
    let mut bytes = 0;
    for input in inputs {
        bytes += input.len();
        let before = entries.len();
        match Operand::check(input, &mut entries) {
            Ok(operand) => {
                if matches!(operand.presence, Presence::Known(_)) {
                    // A row: nothing before it matters.
                    base = entries.split_off(before);
                    entries.clear();
                }
                presence = presence.then(operand.presence);
                quarantine.extend(operand.quarantine);
            }
            Err(_) => quarantine.push(input),
        }
    }
    // Stable, so the chains of one property stay oldest first; runs that ascend already cost nothing.
    entries.sort_by(|a, b| a.name.cmp(b.name));
    let known = match presence {
        Presence::Known(None) => {
            // Where there is no profile there is no property.
            entries.clear();
            true
        }
        Presence::Known(Some(_)) => true,
        Presence::Open { .. } => false,
    };
    let mut writer = OperandWriter::new(presence, &quarantine, bytes + 16);
    let mut base = base.iter().peekable();
    for run in entries.chunk_by(|a, b| a.name == b.name) {
        let Some(&Entry { name, .. }) = run.first() else { continue };
        while let Some(untouched) = base.next_if(|entry| entry.name < name) {
            writer.copy(untouched.name, untouched.chain);
        }
        let touched = base.next_if(|entry| entry.name == name);
        merge_property(&mut writer, known, touched, run);
    }
    base.for_each(|untouched| writer.copy(untouched.name, untouched.chain));
    writer.finish()
}

/// Writes what a property of the base, if there, and a run of chains on it come to. If the state before is known, and
/// there is no base, it is absence.
fn merge_property(writer: &mut OperandWriter, known: bool, base: Option<&Entry<'_>>, run: &[Entry<'_>]) {
    // Nothing before a known state matters.
    let (base, run) = match run.iter().rposition(|entry| entry.chain.is_known()) {
        Some(last) => (None, run.get(last..).unwrap_or_default()),
        None => (base, run),
    };
    let Some((first, rest)) = base.map(|base| (base, run)).or_else(|| run.split_first()) else { return };
    if rest.is_empty() && (first.chain.is_set() || !known) {
        return writer.copy(first.name, first.chain);
    }
    if let Some(sum) = sum_of(first, rest) {
        let op = if known || first.chain.is_set() { Op::Set(sum.into()) } else { Op::Add(sum) };
        return writer.entry(first.name, |out| write_op(out, &op));
    }
    let mut chains = iter::once(first).chain(rest).map(decode);
    if !known {
        return writer.chain(first.name, &Chain::compose(chains.collect()));
    }
    if let Some(value) = chains.find_map(|chain| chain.apply(None)) {
        // No chain of the rest is known, so what is present from here on stays present.
        let rest = Chain::compose(chains.map(Chain::of_present).collect());
        if let Some(value) = rest.apply(Some(value)) {
            writer.entry(first.name, |out| write_op(out, &Op::Set(value)));
        }
    }
}

/// The number that a run comes to which begins with one and then only adds. Counters are the longest runs there are,
/// and this path allocates nothing.
fn sum_of(first: &Entry<'_>, rest: &[Entry<'_>]) -> Option<Number> {
    let mut sum = first.chain.as_add().or_else(|| first.chain.as_set_number())?;
    let mut counted = 0_i128;
    for entry in rest {
        match entry.chain.as_count() {
            Some(count) => counted += i128::from(count),
            None => sum = &sum + &entry.chain.as_add()?,
        }
    }
    Some(&sum + &Number::from(counted))
}

fn decode(entry: &Entry<'_>) -> Chain {
    // The bytes were checked on the way in. Should the checker and the decoder ever disagree, the property is left as
    // it was rather than the engine stopped; the fuzzers compare the two.
    debug_assert!(entry.chain.decode().is_ok(), "a checked chain decodes");
    entry.chain.decode().unwrap_or_else(|_| Chain::identity())
}
