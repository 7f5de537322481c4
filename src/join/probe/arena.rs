//! A byte arena with end offsets: byte strings back to back in one allocation, each found by its number.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::join::budget::grown;

/// Byte strings back to back.
#[derive(Clone, Debug, Default)]
pub(in crate::join) struct Arena {
    bytes: Vec<u8>,
    /// Where each string ends. Offsets are 32 bits wide, which halves what they take, so an arena holds 4 GB at most.
    ends: Vec<u32>,
}

impl Arena {
    /// How many strings there are.
    #[inline]
    pub(in crate::join) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all strings together.
    #[inline]
    pub(in crate::join) fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Memory in use, in bytes.
    pub(in crate::join) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Memory in use once a string of this length is appended, and while it is: growing copies.
    pub(in crate::join) fn memory_with(&self, len: usize) -> (usize, usize) {
        let bytes = grown(self.bytes.capacity(), self.bytes.len(), len);
        let ends = grown(self.ends.capacity(), self.ends.len(), 1);
        let after = bytes.saturating_add(ends.saturating_mul(size_of::<u32>()));
        let copied = if bytes > self.bytes.capacity() { self.bytes.capacity() } else { 0 }
            + if ends > self.ends.capacity() { self.ends.capacity() * size_of::<u32>() } else { 0 };
        (after, after.saturating_add(copied))
    }

    /// Removes all strings and keeps the memory.
    pub(in crate::join) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Removes the strings from a number on.
    pub(in crate::join) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.end());
    }

    /// Appends a string.
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish).
    #[inline]
    pub(in crate::join) fn push(&mut self, string: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(string);
        self.finish()
    }

    /// Where the bytes of the next string are appended, before [`finish`](Self::finish).
    #[inline]
    pub(in crate::join) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Removes what was appended to the buffer since the last string.
    pub(in crate::join) fn discard(&mut self) {
        self.bytes.truncate(self.end());
    }

    /// Makes a string of what was appended to the buffer since the last one.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when the arena would have more than 4 GB.
    #[inline]
    pub(in crate::join) fn finish(&mut self) -> Result<()> {
        self.finish_within(u32::MAX)
    }

    #[inline]
    fn finish_within(&mut self, size_max: u32) -> Result<()> {
        match u32::try_from(self.bytes.len()) {
            Ok(end) if end <= size_max => {
                self.ends.push(end);
                Ok(())
            }
            _ => {
                self.discard();
                Err(Error::limit("a join has more than 4 GB of values in one piece: allow it less memory_bytes"))
            }
        }
    }

    /// Where the last string ends.
    fn end(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// Where a string lies, if there is one of this number.
    #[inline]
    fn range(&self, at: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(at)? as usize;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |start| *start as usize);
        Some(start..end)
    }

    /// The length of a string, without a look at its bytes.
    #[inline]
    pub(in crate::join) fn len_of(&self, at: usize) -> Option<usize> {
        self.range(at).map(|range| range.len())
    }

    /// A string by its number.
    #[inline]
    pub(in crate::join) fn get(&self, at: usize) -> Option<&[u8]> {
        self.bytes.get(self.range(at)?)
    }

    /// A string that is text.
    #[inline]
    pub(in crate::join) fn text(&self, at: usize) -> &str {
        // The callers put nothing but checked text into arenas whose strings they read as text.
        self.get(at).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// All strings, in the order of their numbers.
    pub(in crate::join) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let range = start..*end as usize;
            start = range.end;
            // Ends ascend and never exceed the bytes, so there is always a slice.
            self.bytes.get(range).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_by_number() {
        let mut arena = Arena::default();
        for string in ["one", "", "three"] {
            arena.push(string.as_bytes()).unwrap();
        }
        assert_eq!(arena.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        assert_eq!((arena.get(2), arena.get(3), arena.len_of(0)), (Some(&b"three"[..]), None, Some(3)));
        arena.truncate(1);
        arena.buffer().extend_from_slice(b"lost");
        arena.discard();
        arena.push(b"two").unwrap();
        assert_eq!(arena.iter().collect::<Vec<_>>(), [&b"one"[..], b"two"]);
    }

    /// Offsets that do not fit are an error and never wrap around.
    #[test]
    fn more_than_the_offsets_can_address_is_an_error() {
        let mut arena = Arena::default();
        arena.push(b"12345678").unwrap();
        arena.buffer().extend_from_slice(b"9");
        let error = arena.finish_within(8).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::LimitExceeded, "{error}");
        // What was there is still there, and there is room for the empty string.
        arena.finish_within(8).unwrap();
        assert_eq!(arena.iter().collect::<Vec<_>>(), [&b"12345678"[..], b""]);
    }
}
