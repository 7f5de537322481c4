//! The encoding of chains.
//!
//! | first byte | then |
//! |---|---|
//! | 0 known absent (`$unset`) | nothing |
//! | 1 known present (`$set`) | the value |
//! | 128 + flags: open | the parts that the flags announce, in this order |
//!
//! | flag | then |
//! |---|---|
//! | 1 absent becomes this value | the value |
//! | 2 absent becomes the result of the only lane on an absent property | nothing |
//! | 4 numbers | the number to add |
//! | 8 lists | one byte: 1 after a union; counted values removed, then of the head, then of the tail |
//! | 16 objects | the entries to merge, as an object |
//!
//! Most operands are one operator. For these flag 2 avoids duplication: `$add 5` stores its 5 once.

use super::bytes::{Malformed, Read, Reader, put_varint};
use super::texts::are_unique;
use super::value::{
    ValueBytes, check_entries, check_sequence, check_value, read_element, read_number, read_object, read_value,
    small_integer, write_number, write_object, write_value,
};
use crate::model::{Number, Value};
use crate::ops::{Chain, Lanes, ListEdit, Op, repeats};

const UNSET: u8 = 0;
const SET: u8 = 1;
const OPEN: u8 = 0x80;
const ABSENT_OWN: u8 = 1;
const ABSENT_DERIVED: u8 = 2;
const ADD: u8 = 4;
const LIST: u8 = 8;
const MERGE: u8 = 16;
const ADD_TO_NOTHING: u8 = OPEN | ABSENT_DERIVED | ADD;
const EDIT_OF_NOTHING: u8 = OPEN | ABSENT_DERIVED | LIST;

/// Appends the bytes of a chain.
pub(crate) fn write_chain(out: &mut Vec<u8>, chain: &Chain) {
    let (absent, lanes) = match chain {
        Chain::Known(None) => return out.push(UNSET),
        Chain::Known(Some(value)) => {
            out.push(SET);
            return write_value(out, value);
        }
        Chain::Open { absent, lanes } => (absent, lanes),
    };
    let mut flags = OPEN;
    for (flag, there) in
        [(ADD, !lanes.add.is_nothing()), (LIST, !lanes.list.is_identity()), (MERGE, !lanes.merge.is_empty())]
    {
        flags |= if there { flag } else { 0 };
    }
    let own = absent.as_ref().filter(|value| !is_derived(value, flags, lanes));
    flags |= match (absent, own) {
        (None, _) => 0,
        (Some(_), None) => ABSENT_DERIVED,
        (Some(_), Some(_)) => ABSENT_OWN,
    };
    out.push(flags);
    if let Some(value) = own {
        write_value(out, value);
    }
    if flags & ADD != 0 {
        write_number(out, &lanes.add);
    }
    if flags & LIST != 0 {
        out.push(u8::from(lanes.list.dedupe));
        for values in [&lanes.list.removed, &lanes.list.head, &lanes.list.tail] {
            put_varint(out, values.len() as u64);
            values.iter().for_each(|value| write_value(out, value));
        }
    }
    if flags & MERGE != 0 {
        write_object(out, &lanes.merge);
    }
}

/// Appends the bytes of the chain of one operator.
pub(crate) fn write_op(out: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Set(value) => {
            out.push(SET);
            write_value(out, value);
        }
        Op::Unset => out.push(UNSET),
        Op::SetOnce(value) => {
            out.push(OPEN | ABSENT_OWN);
            write_value(out, value);
        }
        Op::Add(amount) if !amount.is_nothing() => {
            out.push(ADD_TO_NOTHING);
            write_number(out, amount);
        }
        Op::Append(element) => {
            out.extend([OPEN | ABSENT_DERIVED | LIST, 0, 0, 0, 1]);
            write_value(out, element);
        }
        Op::Remove(element) => {
            out.extend([OPEN | LIST, 0, 1]);
            write_value(out, element);
            out.extend([0, 0]);
        }
        Op::Union(elements) if !elements.is_empty() => {
            out.extend([OPEN | ABSENT_DERIVED | LIST, 1, 0]);
            let repeats = repeats(elements);
            let head = elements.iter().zip(&repeats).filter(|(_, repeat)| !**repeat);
            put_varint(out, head.clone().count() as u64);
            head.for_each(|(element, _)| write_value(out, element));
            out.push(0);
        }
        Op::Merge(entries) if !entries.is_empty() => {
            out.push(OPEN | ABSENT_DERIVED | MERGE);
            write_object(out, entries);
        }
        _ => write_chain(out, &Chain::of(op.clone())),
    }
}

/// Whether this is identical to the result of the only lane on an absent property.
fn is_derived(value: &Value, flags: u8, lanes: &Lanes) -> bool {
    match (flags & (ADD | LIST | MERGE), value) {
        (ADD, Value::Number(number)) => number.is_identical(&lanes.add),
        (LIST, Value::List(elements)) => {
            let edit = &lanes.list;
            elements.split_at_checked(edit.head.len()).is_some_and(|(head, tail)| {
                Value::are_identical(head, &edit.head) && Value::are_identical(tail, &edit.tail)
            })
        }
        (MERGE, Value::Object(object)) => object.is_identical(&lanes.merge),
        _ => false,
    }
}

/// The bytes of one chain, known to be canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainBytes<'a>(&'a [u8]);

impl ChainBytes<'_> {
    /// The first byte of a chain that sets a value. The value follows.
    pub(super) const SET: u8 = SET;
}

impl<'a> ChainBytes<'a> {
    /// Bytes that this process has encoded.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Checks the bytes of a chain. Allocates only for rare forms.
    pub(crate) fn check(bytes: &'a [u8]) -> Read<Self> {
        let chain = Self(bytes);
        if chain.as_count().is_some_and(|count| count != 0) {
            return Ok(chain);
        }
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            UNSET => {}
            SET => check_value(&mut reader)?,
            ADD_TO_NOTHING => {
                if read_number(&mut reader)?.is_nothing() {
                    return Err(Malformed("a lane without effect"));
                }
            }
            flags => {
                if !check_open(&mut reader, flags)? {
                    return Self::check_rewritten(bytes);
                }
            }
        }
        if reader.is_empty() { Ok(Self(bytes)) } else { Err(Malformed("trailing bytes after a chain")) }
    }

    /// The general check, for order, duplicates and flag 2: decodes the chain, encodes it again and compares the bytes.
    fn check_rewritten(bytes: &'a [u8]) -> Read<Self> {
        let chain = read_chain(bytes)?;
        let mut again = Vec::with_capacity(bytes.len());
        write_chain(&mut again, &chain);
        let canonical = again == bytes && !chain.is_identity() && is_normal(&chain);
        if canonical { Ok(Self(bytes)) } else { Err(Malformed("a chain that is not canonical")) }
    }

    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    fn kind(self) -> u8 {
        self.0.first().copied().unwrap_or(UNSET)
    }

    /// Whether the result is independent of the state before this chain.
    pub(crate) fn is_known(self) -> bool {
        matches!(self.kind(), SET | UNSET)
    }

    /// Whether the state is known to be a value.
    pub(crate) fn is_set(self) -> bool {
        self.kind() == SET
    }

    /// Whether an absent property stays absent.
    pub(crate) fn leaves_absent(self) -> bool {
        self.kind() == UNSET || (self.kind() >= OPEN && self.kind() & (ABSENT_OWN | ABSENT_DERIVED) == 0)
    }

    /// The amount, if this chain only adds an integer of one byte, as most additions do.
    pub(crate) fn as_count(self) -> Option<i8> {
        match self.0 {
            [ADD_TO_NOTHING, rest @ ..] => small_integer(rest),
            _ => None,
        }
    }

    /// The amount, if this chain only adds a number.
    pub(crate) fn as_add(self) -> Option<Number> {
        if self.kind() == ADD_TO_NOTHING { self.number() } else { None }
    }

    /// The number after the first byte, if there is one. The bytes were checked before.
    fn number(self) -> Option<Number> {
        read_number(&mut Reader::new(self.0.get(1..)?)).ok()
    }

    /// The value, if the state is known to be one.
    pub(crate) fn set_bytes(self) -> Option<ValueBytes<'a>> {
        self.0.split_first().filter(|(kind, _)| **kind == SET).map(|(_, value)| ValueBytes::new(value))
    }

    /// The value that an absent property becomes, if any other one stays as it is.
    pub(super) fn set_once_bytes(self) -> Option<ValueBytes<'a>> {
        const SET_ONCE: u8 = OPEN | ABSENT_OWN;
        self.0.split_first().filter(|(kind, _)| **kind == SET_ONCE).map(|(_, value)| ValueBytes::new(value))
    }

    /// The amount that an open chain adds to a number, if it has that lane. The bytes were checked before.
    pub(crate) fn add_lane(self) -> Option<Number> {
        let mut reader = self.lane(ADD)?;
        read_number(&mut reader).ok()
    }

    /// Appends the elements, if this chain is a union of texts and nothing else. Otherwise some of them may have been
    /// appended. The bytes were checked before.
    pub(crate) fn united_texts(self, texts: &mut Vec<ValueBytes<'a>>) -> Option<()> {
        let [EDIT_OF_NOTHING, 1, 0, rest @ ..] = self.0 else { return None };
        let mut reader = Reader::new(rest);
        ValueBytes::texts(&mut reader, texts)?;
        (reader.rest() == [0]).then_some(())
    }

    /// The edit of a list, if there is one; `None` if one of its parts has more than `max` values. The bytes were
    /// checked before.
    pub(crate) fn list_lane(self, max: usize) -> Option<Option<ListLane<'a>>> {
        let Some(mut reader) = self.lane(LIST) else { return Some(None) };
        let dedupe = reader.u8().ok()? != 0;
        let mut values = || ValueBytes::sequence(&mut reader, max);
        let (removed, head, tail) = (values()?, values()?, values()?);
        Some(Some(ListLane { removed, dedupe, head, tail }))
    }

    /// Whether an open chain merges entries into an object.
    pub(crate) fn has_merge_lane(self) -> bool {
        self.kind() & (OPEN | MERGE) == OPEN | MERGE
    }

    /// The bytes from a lane on, if this open chain has that lane. They were checked before.
    fn lane(self, lane: u8) -> Option<Reader<'a>> {
        let mut reader = Reader::new(self.0);
        let flags = reader.u8().ok().filter(|flags| flags & (OPEN | lane) == OPEN | lane)?;
        if flags & ABSENT_OWN != 0 {
            check_value(&mut reader).ok()?;
        }
        if lane == LIST && flags & ADD != 0 {
            check_value(&mut reader).ok()?;
        }
        Some(reader)
    }

    pub(crate) fn decode(self) -> Read<Chain> {
        read_chain(self.0)
    }
}

/// Appends the chain that sets a number.
pub(crate) fn write_set_number(out: &mut Vec<u8>, number: &Number) {
    out.push(SET);
    write_number(out, number);
}

/// Appends the chain that sets a list.
pub(crate) fn write_set_list(out: &mut Vec<u8>, elements: &[ValueBytes<'_>]) {
    out.push(SET);
    ValueBytes::write_list(out, elements);
}

/// Appends the chain that unites elements, which are unique, with a list.
pub(crate) fn write_union(out: &mut Vec<u8>, elements: &[ValueBytes<'_>]) {
    out.extend([EDIT_OF_NOTHING, 1, 0]);
    put_varint(out, elements.len() as u64);
    elements.iter().for_each(|element| out.extend_from_slice(element.as_bytes()));
    out.push(0);
}

/// Appends the chain that sets a value.
pub(crate) fn write_set(out: &mut Vec<u8>, value: ValueBytes<'_>) {
    out.push(SET);
    out.extend_from_slice(value.as_bytes());
}

/// The list lane of an open chain, as bytes.
pub(crate) struct ListLane<'a> {
    pub(crate) removed: Vec<ValueBytes<'a>>,
    pub(crate) dedupe: bool,
    pub(crate) head: Vec<ValueBytes<'a>>,
    pub(crate) tail: Vec<ValueBytes<'a>>,
}

/// Checks an open chain after its flags without allocating. Returns whether it is certainly canonical; otherwise only
/// encoding it again can tell.
fn check_open(reader: &mut Reader<'_>, flags: u8) -> Read<bool> {
    let lanes = (flags & (ADD | LIST | MERGE)).count_ones();
    let absent = flags & (ABSENT_OWN | ABSENT_DERIVED);
    let unknown = flags & OPEN == 0 || flags & 0x60 != 0;
    if unknown || (lanes == 0 && absent != ABSENT_OWN) || absent == ABSENT_OWN | ABSENT_DERIVED {
        return Err(Malformed("a chain of an unknown kind"));
    }
    if (absent == ABSENT_OWN && lanes == 1) || (absent == ABSENT_DERIVED && lanes != 1) {
        return Ok(false);
    }
    if absent == ABSENT_OWN {
        check_value(reader)?;
    }
    if flags & ADD != 0 && read_number(reader)?.is_nothing() {
        return Err(Malformed("a lane without effect"));
    }
    if flags & LIST != 0 {
        let dedupe = reader.u8()?;
        let (removed, from) = (check_sequence(reader)?, reader.rest());
        let (head, tail) = (check_sequence(reader)?, check_sequence(reader)?);
        let does_nothing = removed == 0 && dedupe == 0 && tail == 0;
        if dedupe > 1 || does_nothing || (dedupe == 0 && head > 0) {
            return Err(Malformed("a list edit of an unknown kind"));
        }
        // A single value is sorted and unique.
        if removed > 1 || (head > 1 && !is_unique_text(from)) {
            return Ok(false);
        }
    }
    if flags & MERGE != 0 {
        return check_entries(reader).map(|()| true);
    }
    Ok(true)
}

/// Whether these bytes, which were checked, begin with values that are texts, no two of them equal.
fn is_unique_text(bytes: &[u8]) -> bool {
    let mut texts = Vec::new();
    ValueBytes::texts(&mut Reader::new(bytes), &mut texts).is_some() && are_unique(&texts)
}

fn read_chain(bytes: &[u8]) -> Read<Chain> {
    let mut reader = Reader::new(bytes);
    let chain = match reader.u8()? {
        UNSET => Chain::Known(None),
        SET => Chain::Known(Some(read_value(&mut reader)?)),
        flags if flags & OPEN != 0 && flags & 0x60 == 0 => read_open(&mut reader, flags)?,
        _ => return Err(Malformed("a chain of an unknown kind")),
    };
    if reader.is_empty() { Ok(chain) } else { Err(Malformed("trailing bytes after a chain")) }
}

fn read_open(reader: &mut Reader<'_>, flags: u8) -> Read<Chain> {
    let own = if flags & ABSENT_OWN != 0 { Some(read_value(reader)?) } else { None };
    let mut lanes = Lanes::default();
    if flags & ADD != 0 {
        lanes.add = read_number(reader)?;
    }
    if flags & LIST != 0 {
        let dedupe = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("a list edit of an unknown kind")),
        };
        let (removed, head, tail) = (read_values(reader)?, read_values(reader)?, read_values(reader)?);
        lanes.list = ListEdit { removed, dedupe, head, tail };
    }
    if flags & MERGE != 0 {
        lanes.merge = read_object(reader)?;
    }
    let absent = match (flags & (ABSENT_OWN | ABSENT_DERIVED), flags & (ADD | LIST | MERGE)) {
        (0 | ABSENT_OWN, _) => own,
        (ABSENT_DERIVED, ADD) => Some(Value::Number(lanes.add.clone())),
        (ABSENT_DERIVED, LIST) => Some(Value::List([lanes.list.head.clone(), lanes.list.tail.clone()].concat())),
        (ABSENT_DERIVED, MERGE) => Some(Value::Object(lanes.merge.clone())),
        _ => return Err(Malformed("a chain of an unknown kind")),
    };
    Ok(Chain::Open { absent, lanes })
}

fn read_values(reader: &mut Reader<'_>) -> Read<Vec<Value>> {
    let count = reader.len()?;
    let mut values = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        values.push(read_element(reader)?);
    }
    Ok(values)
}

/// Whether the chain is in normal form: composing it with the identity does not change it.
fn is_normal(chain: &Chain) -> bool {
    let Chain::Open { lanes: Lanes { list, .. }, .. } = chain else { return true };
    let ascending = list.removed.is_sorted_by(|a, b| a < b);
    let head_fits = if list.dedupe { is_unique(&list.head) } else { list.head.is_empty() };
    ascending && head_fits
}

fn is_unique(values: &[Value]) -> bool {
    let mut sorted: Vec<&Value> = values.iter().collect();
    sorted.sort_unstable();
    sorted.is_sorted_by(|a, b| a < b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::laws::any_op;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_chain_round_trips_and_is_canonical(ops in prop::collection::vec(any_op(), 1..6)) {
            let chain = Chain::compose(ops.into_iter().map(Chain::of).collect());
            let mut bytes = Vec::new();
            write_chain(&mut bytes, &chain);
            if chain.is_identity() {
                prop_assert!(ChainBytes::check(&bytes).is_err());
            } else {
                let checked = ChainBytes::check(&bytes).unwrap();
                let mut again = Vec::new();
                write_chain(&mut again, &checked.decode().unwrap());
                prop_assert_eq!(again, bytes);
            }
        }

        #[test]
        fn a_union_of_equal_texts_is_not_canonical(texts in prop::collection::vec("[a-c]{0,2}", 1..14)) {
            let encoded: Vec<Vec<u8>> = texts
                .iter()
                .map(|text| {
                    let mut bytes = Vec::new();
                    write_value(&mut bytes, &Value::from(text.as_str()));
                    bytes
                })
                .collect();
            let values: Vec<ValueBytes<'_>> = encoded.iter().map(|bytes| ValueBytes::new(bytes)).collect();
            let mut bytes = Vec::new();
            write_union(&mut bytes, &values);
            let is_unique = texts.iter().enumerate().all(|(at, text)| !texts[..at].contains(text));
            prop_assert_eq!(ChainBytes::check(&bytes).is_ok(), is_unique, "{:?}", texts);
        }

        #[test]
        fn one_operator_is_encoded_as_its_chain(op in any_op()) {
            let (mut direct, mut composed) = (Vec::new(), Vec::new());
            write_op(&mut direct, &op);
            write_chain(&mut composed, &Chain::of(op));
            prop_assert_eq!(direct, composed);
        }
    }
}
