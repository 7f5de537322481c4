//! The runs of a block: its users, ascending by ordinal, and how many events each has.
//!
//! ```text
//! | 0xD1 | events | runs | first ordinal | packed: distance to the next ordinal - 1 | packed: events of a run - 1 |
//! ```

use std::ops::Range;

use super::column::VERSION_1;
use super::key::BLOCK_EVENTS_MAX;
use super::pack::{put_packed, read_ascending, read_packed};
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
        let mut reader = Reader::new(chunk);
        reader.version(VERSION_1, "not a chunk of a segment")?;
        let (events, runs) = (reader.len()?, reader.len()?);
        let first = u32::try_from(reader.varint()?).map_err(|_| Malformed("an ordinal out of range"))?;
        if runs == 0 || runs > events || events > BLOCK_EVENTS_MAX {
            return Err(Malformed("runs out of range"));
        }
        let mut ordinals = Vec::with_capacity(runs.next_multiple_of(128) + 1);
        ordinals.push(first);
        read_ascending(&mut reader, first, runs - 1, &mut ordinals)?;
        let mut counts = read_packed(&mut reader, runs)?;
        let mut sum = 0_u64;
        for count in &mut counts {
            sum += u64::from(*count) + 1;
            // It cannot wrap where the sum is right.
            *count = count.wrapping_add(1);
        }
        let ascend = ordinals.iter().zip(ordinals.iter().skip(1)).fold(true, |ascend, (a, b)| ascend & (a < b));
        if !ascend || sum != events as u64 || !reader.is_empty() {
            return Err(Malformed("runs that are not those of the events"));
        }
        Ok(Self { ordinals, counts })
    }

    /// Which events of the block are of a user.
    pub(crate) fn find(chunk: &[u8], ordinal: u32) -> Read<Option<Range<u32>>> {
        let runs = Self::decode(chunk)?;
        let Ok(at) = runs.ordinals.binary_search(&ordinal) else { return Ok(None) };
        let start = runs.counts.iter().take(at).sum::<u32>();
        Ok(runs.counts.get(at).map(|count| start..start + count))
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
