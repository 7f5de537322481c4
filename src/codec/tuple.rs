//! Projections: the values of the requested properties of a row, in the requested order.
//!
//! ```text
//! per property:  0x00                        absent
//!                length of the value, value  present
//! ```
//!
//! These bytes are never stored. Equal projections have equal bytes, so a join can replace them by dictionary codes.

use super::bytes::{Malformed, Read, Reader, put_slice, put_varint};
use super::chain::ChainBytes;
use super::entries::pick;
use super::operand::Operand;
use super::row::{corrupt, set_value};
use super::value::{ValueBytes, write_value};
use crate::error::Result;
use crate::model::{LAST_SEEN, Timestamp, Value};
use crate::ops::Presence;

/// Appends a projection, property by property.
struct TupleWriter<'o> {
    out: &'o mut Vec<u8>,
    next: usize,
}

impl TupleWriter<'_> {
    fn put(&mut self, at: usize, value: ValueBytes<'_>) {
        self.skip_to(at);
        put_varint(self.out, value.as_bytes().len() as u64);
        self.out.extend_from_slice(value.as_bytes());
        self.next = at + 1;
    }

    fn skip_to(&mut self, at: usize) {
        self.out.resize(self.out.len() + at.saturating_sub(self.next), 0);
        self.next = self.next.max(at);
    }
}

/// Appends the projection of a row onto properties with ascending names, which may include `$last_seen`. If the row is
/// that of an absent profile, appends nothing and returns false.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are not a row, or one of an unknown version.
pub(crate) fn project_row(row: &[u8], names: &[Box<str>], out: &mut Vec<u8>) -> Result<bool> {
    let start = out.len();
    pick_row(row, names, out).map_err(|malformed| {
        out.truncate(start);
        corrupt(malformed)
    })
}

fn pick_row(row: &[u8], names: &[Box<str>], out: &mut Vec<u8>) -> Read<bool> {
    let row = Operand::head(row)?;
    let Presence::Known(life) = row.presence else {
        return Err(Malformed("an operand in place of a row"));
    };
    let Some(life) = life else { return Ok(false) };
    if names.is_empty() {
        return Ok(true);
    }
    let mut writer = TupleWriter { out, next: 0 };
    let entries = row.entries().map(|entry| set_value(entry?));
    // `$last_seen` is in the head of a row. It is appended before the first property that sorts after it.
    let at = names.iter().position(|name| &**name == LAST_SEEN);
    let mut seen = at.zip(life.last_seen).map(|(at, seconds)| (at, last_seen_value(seconds)));
    pick(entries, names, |at, value| {
        if let Some((seen_at, bytes)) = seen.take_if(|(seen_at, _)| *seen_at <= at) {
            writer.put(seen_at, ValueBytes::new(&bytes));
        }
        // A row can have a property of this name only if it was written without validation. The head takes precedence.
        if writer.next <= at {
            writer.put(at, value);
        }
    })?;
    if let Some((at, bytes)) = seen {
        writer.put(at, ValueBytes::new(&bytes));
    }
    writer.skip_to(names.len());
    Ok(true)
}

/// Appends the projection that a row has after an operand, or another row, was written to it, if the profile exists
/// then, and returns whether it does. `before` is the projection before that, if the profile existed.
///
/// Returns `None` where the projection does not follow from these, and the row has to be read: where `$last_seen` is
/// among the names, or what the operand does to a property depends on its value.
pub(crate) fn project_write(
    written: &[u8],
    names: &[Box<str>],
    before: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Option<bool> {
    let start = out.len();
    let projected = pick_write(written, names, before, out);
    if projected != Some(true) {
        out.truncate(start);
    }
    projected
}

/// What cannot be read gives `None`: reading the row reports it.
fn pick_write(written: &[u8], names: &[Box<str>], before: Option<&[u8]>, out: &mut Vec<u8>) -> Option<bool> {
    let operand = Operand::head(written).ok()?;
    let Presence::Open { absent, .. } = operand.presence else { return pick_row(written, names, out).ok() };
    if operand.quarantine.len() > 0 || names.iter().any(|name| **name == *LAST_SEEN) {
        return None;
    }
    if before.is_none() && absent.is_none() {
        return Some(false);
    }
    let mut values = before.into_iter().flat_map(tuple_values);
    let mut entries = operand.entries();
    let mut entry = entries.next();
    for name in names {
        let mut value = values.next().unwrap_or_default();
        // Both ascend.
        while let Some(read) = entry {
            let (written, chain) = read.ok()?;
            if written > name.as_bytes() {
                break;
            }
            if written == name.as_bytes() {
                let chain = ChainBytes::new(chain);
                value = match (chain.set_bytes(), chain.set_once_bytes()) {
                    (Some(set), _) => set.as_bytes(),
                    (None, Some(once)) if value.is_empty() => once.as_bytes(),
                    (None, Some(_)) => value,
                    (None, None) if chain.is_known() || (value.is_empty() && chain.leaves_absent()) => &[],
                    (None, None) => return None,
                };
            }
            entry = entries.next();
        }
        put_slice(out, value);
    }
    Some(true)
}

/// The bytes of the value of `$last_seen`.
fn last_seen_value(seconds: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_value(&mut bytes, &Value::from(Timestamp::from_seconds(seconds).to_string()));
    bytes
}

/// Appends the projection that consists of this value.
pub(crate) fn project_value(value: &Value, out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    write_value(&mut bytes, value);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// The bytes of the values of a projection, in order; empty for an absent property.
#[inline]
pub(crate) fn tuple_values(tuple: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(tuple);
    // Projections are encoded by this module, so the only error is the end of the bytes.
    std::iter::from_fn(move || reader.slice().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{EventBytes, OperandWriter, encode_event, encode_update, write_op};
    use crate::model::Event;
    use crate::ops::{Life, Op, Presence, Update};
    use proptest::prelude::*;

    const NAMES: [&str; 7] = ["$a", "$last_seen", "$z", "a", "b", "c", "d"];

    fn decoded(tuple: &[u8], len: usize) -> Vec<Option<Value>> {
        let value = |bytes: &[u8]| (!bytes.is_empty()).then(|| ValueBytes::new(bytes).decode().unwrap());
        let values: Vec<_> = tuple_values(tuple).map(value).collect();
        assert!(values.len() == len || tuple.is_empty());
        values
    }

    /// A row whose properties have their names as values.
    fn row(life: Option<Life>, names: &[&str]) -> Vec<u8> {
        let mut writer = OperandWriter::new(Presence::Known(life), &[], 64);
        for name in names {
            writer.entry(name.as_bytes(), |out| write_op(out, &Op::Set((*name).into())));
        }
        writer.finish()
    }

    proptest! {
        #[test]
        fn a_projection_equals_that_of_the_decoded_profile(
            present in prop::collection::btree_set(0..NAMES.len(), 0..6),
            wanted in prop::collection::btree_set(0..NAMES.len(), 0..6),
            stamped: bool,
        ) {
            let wanted: Vec<Box<str>> = wanted.into_iter().map(|at| NAMES[at].into()).collect();
            let present = present.into_iter().map(|at| NAMES[at]).filter(|name| *name != LAST_SEEN);
            let present: Vec<&str> = present.collect();
            let mut event = Event::new("e", "u", Timestamp::from_seconds(7));
            for name in &present {
                event = event.set(*name, *name);
            }
            let expect = |name: &str| -> Option<Value> { present.contains(&name).then(|| name.into()) };
            let value = encode_event(&event);
            let mut picked = vec![None; wanted.len()];
            let pick = |at: usize, value: ValueBytes<'_>| picked[at] = Some(value.decode().unwrap());
            EventBytes::read(&value).unwrap().pick(&wanted, pick).unwrap();
            let all: Vec<_> = wanted.iter().map(|name| expect(name)).collect();
            prop_assert_eq!(picked, all);

            let row = row(Some(Life { last_seen: stamped.then_some(0) }), &present);
            let mut tuple = Vec::new();
            prop_assert!(project_row(&row, &wanted, &mut tuple).unwrap());
            let seen = |name: &str| match name {
                LAST_SEEN => stamped.then(|| "1970-01-01T00:00:00".into()),
                name => expect(name),
            };
            let all: Vec<_> = wanted.iter().map(|name| seen(name)).collect();
            prop_assert_eq!(decoded(&tuple, wanted.len()), all);
        }
    }

    #[test]
    fn last_seen_of_the_head_takes_precedence_over_a_property() {
        let row = row(Some(Life { last_seen: Some(0) }), &["$last_seen", "a"]);
        let mut tuple = Vec::new();
        assert!(project_row(&row, &["$last_seen".into(), "a".into()], &mut tuple).unwrap());
        assert_eq!(decoded(&tuple, 2), [Some("1970-01-01T00:00:00".into()), Some("a".into())]);
    }

    #[test]
    fn absence_and_damage_are_distinguished() {
        let absent = row(None, &[]);
        let mut out = vec![9];
        assert!(!project_row(&absent, &["x".into()], &mut out).unwrap());
        let row = row(Some(Life { last_seen: None }), &["x"]);
        let damaged = &row[..row.len() - 1];
        assert!(project_row(damaged, &["x".into()], &mut out).unwrap_err().is_corrupt());
        assert!(project_row(&encode_update(&Update::new().set("x", 1)), &[], &mut out).unwrap_err().is_corrupt());
        assert_eq!(out, [9]);
    }
}
