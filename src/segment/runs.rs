//! The runs of a block: its users, ascending by ordinal, and how many events each has.
//!
//! ```text
//! | 0xD1 | events | runs | first ordinal | packed: distance to the next ordinal - 1 | packed: events of a run - 1 |
//! ```

use std::ops::Range;

use super::column::VERSION_1;
use super::key::BLOCK_EVENTS_MAX;
use super::pack::{PACK, put_packed, read_ascending, read_one, skip_packs};
use crate::codec::{Malformed, Read, Reader, put_varint};

/// The users of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserRuns {
    /// Ascending.
    pub(crate) ordinals: Vec<u32>,
    /// How many events each has; never 0.
    pub(crate) counts: Vec<u32>,
}

impl UserRuns {
    /// The runs of ascending ordinals, one for each event.
    pub(super) fn of(ordinals: impl IntoIterator<Item = u32>) -> Self {
        let mut runs = Self::default();
        for ordinal in ordinals {
            match (runs.ordinals.last(), runs.counts.last_mut()) {
                (Some(last), Some(count)) if *last == ordinal => *count += 1,
                _ => {
                    runs.ordinals.push(ordinal);
                    runs.counts.push(1);
                }
            }
        }
        runs
    }

    pub(crate) fn events(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION_1];
        put_varint(&mut out, self.events() as u64);
        put_varint(&mut out, self.ordinals.len() as u64);
        put_varint(&mut out, u64::from(self.ordinals.first().copied().unwrap_or_default()));
        let next = self.ordinals.iter().skip(1);
        let gaps: Vec<u32> = next.zip(&self.ordinals).map(|(next, last)| next.wrapping_sub(last + 1)).collect();
        put_packed(&mut out, &gaps);
        let counts: Vec<u32> = self.counts.iter().map(|count| count.saturating_sub(1)).collect();
        put_packed(&mut out, &counts);
        out
    }

    pub(crate) fn decode(chunk: &[u8]) -> Read<Self> {
        let mut packs = RunPacks::open(chunk)?;
        let mut runs = Self { ordinals: Vec::with_capacity(packs.left), counts: Vec::with_capacity(packs.left) };
        while packs.advance()? {
            let (ordinals, counts) = packs.runs()?;
            runs.ordinals.extend_from_slice(ordinals);
            runs.counts.extend_from_slice(counts);
        }
        Ok(runs)
    }

    /// Which events of the block are of a user.
    pub(crate) fn find(chunk: &[u8], ordinal: u32) -> Read<Option<Range<u32>>> {
        let runs = Self::decode(chunk)?;
        let Ok(at) = runs.ordinals.binary_search(&ordinal) else { return Ok(None) };
        let start = runs.counts.iter().take(at).sum::<u32>();
        Ok(runs.counts.get(at).map(|count| start..start + count))
    }
}

/// The runs of a block, a pack at a time.
pub(crate) struct RunPacks<'c> {
    ordinals: Reader<'c>,
    counts: Reader<'c>,
    events: usize,
    /// Runs from this pack on.
    left: usize,
    /// How many runs this pack has.
    len: usize,
    /// The ordinals of this pack, and the next one.
    ascending: [u32; PACK + 1],
    pack: [u32; PACK],
    /// Whether the counts of this pack were read, and of all before it.
    is_read: bool,
    are_read: bool,
    /// Events of the runs whose counts were read.
    counted: usize,
}

const NOT_OF_EVENTS: Malformed = Malformed("runs that are not those of the events");

impl<'c> RunPacks<'c> {
    pub(crate) fn open(chunk: &'c [u8]) -> Read<Self> {
        let mut reader = Reader::new(chunk);
        reader.version(VERSION_1, "not a chunk of a segment")?;
        let (events, runs) = (reader.len()?, reader.len()?);
        let first = u32::try_from(reader.varint()?).map_err(|_| Malformed("an ordinal out of range"))?;
        if runs == 0 || runs > events || events > BLOCK_EVENTS_MAX {
            return Err(Malformed("runs out of range"));
        }
        let ordinals = Reader::new(reader.rest());
        skip_packs(&mut reader, (runs - 1).div_ceil(PACK))?;
        let mut ascending = [0; PACK + 1];
        ascending.iter_mut().take(1).for_each(|place| *place = first);
        Ok(Self {
            ordinals,
            counts: reader,
            events,
            left: runs,
            len: 0,
            ascending,
            pack: [0; PACK],
            is_read: true,
            are_read: true,
            counted: 0,
        })
    }

    /// How many events the block has.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Moves on to the next pack, if there is one. That the counts are those of the events is known after the last one,
    /// unless some were not read.
    pub(crate) fn advance(&mut self) -> Read<bool> {
        if !self.is_read {
            skip_packs(&mut self.counts, 1)?;
            self.are_read = false;
        }
        self.left = self.left.saturating_sub(self.len);
        if self.left == 0 {
            self.len = 0;
            let is_complete = self.counts.is_empty() && (!self.are_read || self.counted == self.events);
            return if is_complete { Ok(false) } else { Err(NOT_OF_EVENTS) };
        }
        self.is_read = false;
        if self.len > 0
            && let [first, .., next] = &mut self.ascending
        {
            *first = *next;
        }
        self.len = self.left.min(PACK);
        if let [first, rest @ ..] = &mut self.ascending
            && self.left > 1
        {
            let leaves_range = read_ascending(&mut self.ordinals, *first, rest)?;
            // The rest of the last pack is filled up.
            let read = self.ascending.get(..self.left.min(PACK + 1)).unwrap_or_default();
            let ascends = match leaves_range {
                true => read.iter().zip(read.iter().skip(1)).all(|(a, b)| a < b),
                false => read.first() < read.last(),
            };
            if !ascends {
                return Err(NOT_OF_EVENTS);
            }
        }
        Ok(true)
    }

    /// The ordinals of this pack, ascending.
    #[inline]
    pub(crate) fn ordinals(&self) -> &[u32] {
        self.ascending.get(..self.len).unwrap_or_default()
    }

    /// The ordinals of this pack, and how many events each has.
    #[inline]
    pub(crate) fn runs(&mut self) -> Read<(&[u32], &[u32])> {
        if !self.is_read {
            self.is_read = true;
            // A count is of at most 16 bits, and so a sum of them of fewer than 32.
            read_one(&mut self.counts, &mut self.pack, 16)?;
            self.pack.iter_mut().for_each(|count| *count += 1);
            let counts = self.pack.get(..self.len).unwrap_or_default();
            self.counted += counts.iter().sum::<u32>() as usize;
        }
        let counts = self.pack.get(..self.len).unwrap_or_default();
        Ok((self.ascending.get(..self.len).unwrap_or_default(), counts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_round_trip(mut ordinals in prop::collection::vec(prop_oneof![0..40_u32, any::<u32>()], 1..400)) {
            ordinals.sort_unstable();
            let runs = UserRuns::of(ordinals.iter().copied());
            let chunk = runs.encode();
            // Whether the counts are read or not, the ordinals are the same.
            let mut packs = RunPacks::open(&chunk).unwrap();
            let mut seen = Vec::new();
            while packs.advance().unwrap() {
                if seen.len() % 256 == 0 {
                    prop_assert_eq!(packs.runs().unwrap().0.len(), packs.ordinals().len());
                }
                seen.extend_from_slice(packs.ordinals());
            }
            prop_assert_eq!(&seen, &runs.ordinals);
            prop_assert_eq!(&UserRuns::decode(&chunk), &Ok(runs));
            for ordinal in ordinals.iter().copied().chain([7, 41]) {
                let range = UserRuns::find(&chunk, ordinal).unwrap().unwrap_or_default();
                let expected = ordinals.iter().filter(|known| **known == ordinal).count();
                prop_assert_eq!(range.len(), expected);
                prop_assert!(range.into_iter().all(|at| ordinals[at as usize] == ordinal));
            }
        }

        #[test]
        fn no_input_makes_a_reader_panic(mut chunk: Vec<u8>) {
            if let Some(first) = chunk.first_mut() {
                *first = VERSION_1;
            }
            let _ = (UserRuns::decode(&chunk), UserRuns::find(&chunk, 3));
        }
    }
}
