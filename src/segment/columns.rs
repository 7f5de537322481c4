//! A block by its columns: only those that are requested are decoded, and no row is rebuilt.

use self_cell::self_cell;

use super::column::Values;
use super::number::Numbers;
use super::rows::{decode_time, next_entry};
use crate::codec::{Read, Reader, ValueBytes, check_text};

self_cell!(
    struct DecodedChunk {
        owner: Vec<u8>,

        #[covariant]
        dependent: Values,
    }
);

/// The values of one column: of a property, or of a text of the event.
pub(crate) struct BlockColumn {
    chunk: DecodedChunk,
    /// The property, where it is one of those that share a column.
    rare: Option<Box<str>>,
}

impl BlockColumn {
    /// The values of a property that has a column of its own. Its dictionary, if it has one, is checked.
    pub(crate) fn of_property(chunk: Vec<u8>, events: usize) -> Read<Self> {
        Self::decode(chunk, events, |entry| ValueBytes::checked(entry).map(|_| ()))
    }

    /// The values of a property in the column of those that few events have.
    pub(crate) fn of_rare(chunk: Vec<u8>, events: usize, property: &str) -> Read<Self> {
        let column = Self::decode(chunk, events, |_| Ok(()))?;
        Ok(Self { rare: Some(property.into()), ..column })
    }

    /// Names or `$insert_id`s. Its dictionary, if it has one, is checked.
    pub(crate) fn of_texts(chunk: Vec<u8>, events: usize) -> Read<Self> {
        Self::decode(chunk, events, check_text)
    }

    fn decode(chunk: Vec<u8>, events: usize, check: impl Fn(&[u8]) -> Read<()>) -> Read<Self> {
        let chunk = DecodedChunk::try_new(chunk, |chunk| Values::decode(chunk, events))?;
        if let Values::Dictionary { entries, .. } = chunk.borrow_dependent() {
            // The empty one is the value that is not set, and the empty text.
            entries.iter().filter(|entry| !entry.is_empty()).try_for_each(|entry| check(entry))?;
        }
        Ok(Self { chunk, rare: None })
    }

    /// The entries of its dictionary and the code of each event, which is less than their number, if it has one.
    pub(crate) fn dictionary(&self) -> Option<(&[&[u8]], &[u32])> {
        match self.chunk.borrow_dependent() {
            Values::Dictionary { entries, codes } if self.rare.is_none() => Some((entries, codes)),
            _ => None,
        }
    }

    /// Its numbers, if it is a column of numbers.
    pub(crate) fn numbers(&self) -> Option<&Numbers<'_>> {
        match self.chunk.borrow_dependent() {
            Values::Numbers(numbers) if self.rare.is_none() => Some(numbers),
            _ => None,
        }
    }

    /// Whether every string that [`write`](Self::write) appends was checked.
    pub(crate) fn is_checked(&self) -> bool {
        self.rare.is_none() && matches!(self.chunk.borrow_dependent(), Values::Dictionary { .. } | Values::Numbers(_))
    }

    /// Appends the string of an event, or nothing where it has none.
    #[inline]
    pub(crate) fn write(&self, event: usize, out: &mut Vec<u8>) -> Read<()> {
        let values = self.chunk.borrow_dependent();
        let Some(property) = &self.rare else {
            values.write(event, out);
            return Ok(());
        };
        let mut entries = Vec::new();
        values.write(event, &mut entries);
        let mut reader = Reader::new(&entries);
        while let Some((name, value)) = next_entry(&mut reader)? {
            if name == property.as_bytes() {
                out.extend_from_slice(value);
                break;
            }
        }
        Ok(())
    }
}

/// The times of a block, as milliseconds of the day.
pub(crate) struct BlockTimes(Vec<u32>);

impl BlockTimes {
    pub(crate) fn decode(chunk: &[u8], events: usize) -> Read<Self> {
        decode_time(chunk, events).map(Self)
    }

    #[inline]
    pub(crate) fn get(&self, event: usize) -> u32 {
        self.0.get(event).copied().unwrap_or_default()
    }
}
