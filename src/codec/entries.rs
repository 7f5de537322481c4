//! A sorted run of length-prefixed (name, bytes) pairs: the body of operands, rows and events.
//!
//! ```text
//! | name length | name | length | bytes | ...
//! ```
//!
//! Names are UTF-8 and ascend strictly; entries fill the rest of the value. [`Entries`] iterates over them,
//! [`Entries::ascending`] checks their order, and [`pick`] is a merge join of entries with requested names.

use std::cmp::Ordering;

use super::bytes::{Malformed, Read, Reader, put_slice, put_varint};
use super::value::ValueBytes;

/// Iterates over entries. Ends after the first error.
#[derive(Clone, Debug)]
pub(super) struct Entries<'a>(Reader<'a>);

impl<'a> Entries<'a> {
    pub(super) fn new(entries: Reader<'a>) -> Self {
        Self(entries)
    }

    /// The same entries; a name that does not sort after the one before it is an error.
    #[inline]
    pub(super) fn ascending(self) -> impl Iterator<Item = Read<(&'a [u8], &'a [u8])>> {
        let mut last: Option<&[u8]> = None;
        self.map(move |entry| match (entry, last) {
            (Ok((name, _)), Some(last)) if last >= name => Err(Malformed("names out of order")),
            (Ok((name, bytes)), _) => {
                last = Some(name);
                Ok((name, bytes))
            }
            (error, _) => error,
        })
    }

    #[inline]
    fn read(&mut self) -> Read<(&'a [u8], &'a [u8])> {
        Ok((self.0.slice()?, self.0.slice()?))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Read<(&'a [u8], &'a [u8])>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.read();
        if entry.is_err() {
            self.0 = Reader::new(&[]);
        }
        Some(entry)
    }
}

/// Calls `found` with the position in `names` and the checked value of each entry that has one of these names. Both
/// inputs ascend. Values of other entries are not checked.
#[inline]
pub(super) fn pick<'a>(
    mut entries: impl Iterator<Item = Read<(&'a [u8], &'a [u8])>>,
    names: &[Box<str>],
    mut found: impl FnMut(usize, ValueBytes<'a>),
) -> Read<()> {
    let mut names = names.iter().enumerate().peekable();
    while names.peek().is_some() {
        let Some(entry) = entries.next() else { break };
        let (name, value) = entry?;
        while let Some((at, next)) = names.peek() {
            match order(next.as_bytes(), name) {
                Ordering::Greater => break,
                Ordering::Equal => found(*at, ValueBytes::checked(value)?),
                Ordering::Less => {}
            }
            names.next();
        }
    }
    Ok(())
}

/// Compares two names, which usually differ in their first bytes.
#[inline]
fn order(a: &[u8], b: &[u8]) -> Ordering {
    match (a.first(), b.first()) {
        (Some(first), Some(other)) if first != other => first.cmp(other),
        _ => a.cmp(b),
    }
}

/// Appends an entry with the bytes that `write` appends.
#[inline]
pub(crate) fn put_entry(out: &mut Vec<u8>, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
    put_slice(out, name);
    let at = out.len();
    // Most entries are shorter than 251 bytes, so one byte is reserved for the length.
    out.push(0);
    write(out);
    let len = out.len().saturating_sub(at + 1);
    match u8::try_from(len) {
        Ok(short @ 0..=250) => out.get_mut(at).into_iter().for_each(|byte| *byte = short),
        _ => {
            let mut length = Vec::new();
            put_varint(&mut length, len as u64);
            out.splice(at..=at, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_round_trip(
            entries in prop::collection::btree_map("[a-c]{0,3}", prop::collection::vec(any::<u8>(), 0..600), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for (name, value) in &entries {
                put_entry(&mut bytes, name.as_bytes(), |out| out.extend(value));
                ends.push(bytes.len());
            }
            let read = |bytes| Entries::new(Reader::new(bytes)).ascending().collect::<Read<Vec<_>>>();
            let expected = entries.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect();
            prop_assert_eq!(read(&bytes), Ok(expected));
            // Bytes that end inside an entry are an error, and the iterator stops there.
            let cut = cut.index(bytes.len() + 1);
            prop_assert_eq!(read(&bytes[..cut]).is_ok(), ends.contains(&cut));
            let damaged = Entries::new(Reader::new(&bytes[..cut]));
            prop_assert!(damaged.filter(Result::is_err).count() <= 1);
        }
    }

    #[test]
    fn names_must_ascend_strictly() {
        for (names, ascend) in [(["a", "b"], true), (["b", "a"], false), (["a", "a"], false), (["", "a"], true)] {
            let mut bytes = Vec::new();
            names.iter().for_each(|name| put_entry(&mut bytes, name.as_bytes(), |_| ()));
            assert_eq!(Entries::new(Reader::new(&bytes)).ascending().all(|entry| entry.is_ok()), ascend);
        }
    }
}
