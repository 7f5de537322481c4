//! Ordinals as a build side: the dictionary code of a row is an array element, found without a string and a hash.

use std::sync::Arc;

use super::build_rows::project;
use super::dictionary::{Dictionary, DictionaryBuilder, NO_ROW};
use super::interner::Interner;
use crate::codec::{self, ValueBytes};
use crate::error::Result;
use crate::join::budget::grown;
use crate::join::layout::Dim;
use crate::join::tables::ProfileTables;

/// The dictionary codes of the rows of a table, by the ordinals of their ids.
#[derive(Clone, Debug)]
pub(in crate::join) struct OrdinalCodes {
    pub(in crate::join) dictionary: Arc<Dictionary>,
    /// The tuples that the dictionary was made with.
    pub(super) tuples: Arc<Interner>,
    pub(super) codes: Codes,
}

/// How much memory codes may take, in bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::join) struct CodesMemory {
    /// For the distinct values.
    pub(in crate::join) values: usize,
    /// For these and the codes, one to four bytes for each user.
    pub(in crate::join) total: usize,
}

impl CodesMemory {
    pub(super) fn has_room(self, values: usize, codes: usize) -> bool {
        values <= self.values && values.saturating_add(codes) <= self.total
    }
}

/// The code plus one, 0 where there is no row, in as few bytes as the greatest takes.
#[derive(Clone, Debug)]
pub(in crate::join) enum Codes {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
}

impl Codes {
    /// None yet, with room for those of this many ordinals, each of at most this many combinations.
    pub(super) fn for_codes(combinations: usize, ordinals: usize) -> Self {
        match combinations {
            0..=0xff => Self::U8(Vec::with_capacity(ordinals)),
            0x100..=0xffff => Self::U16(Vec::with_capacity(ordinals)),
            _ => Self::U32(Vec::with_capacity(ordinals)),
        }
    }

    /// Appends codes that are at most as great as those that there is room for, and returns the greatest.
    #[expect(clippy::cast_possible_truncation, reason = "the caller refuses codes that are greater")]
    pub(super) fn extend(&mut self, codes: impl Iterator<Item = u32>) -> u32 {
        let mut greatest = 0;
        let codes = codes.inspect(|code| greatest = greatest.max(*code));
        match self {
            Self::U8(known) => known.extend(codes.map(|code| code as u8)),
            Self::U16(known) => known.extend(codes.map(|code| code as u16)),
            Self::U32(known) => known.extend(codes),
        }
        greatest
    }

    pub(super) fn set(&mut self, ordinal: usize, code: u32) {
        match self {
            Self::U8(codes) => match u8::try_from(code) {
                Ok(code) => put(codes, ordinal, code),
                Err(_) => {
                    *self = Self::U16(codes.iter().map(|code| u16::from(*code)).collect());
                    self.set(ordinal, code);
                }
            },
            Self::U16(codes) => match u16::try_from(code) {
                Ok(code) => put(codes, ordinal, code),
                Err(_) => {
                    *self = Self::U32(codes.iter().map(|code| u32::from(*code)).collect());
                    self.set(ordinal, code);
                }
            },
            Self::U32(codes) => put(codes, ordinal, code),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::U8(codes) => codes.capacity(),
            Self::U16(codes) => codes.capacity() * size_of::<u16>(),
            Self::U32(codes) => codes.capacity() * size_of::<u32>(),
        }
    }

    /// Memory in use, in bytes, also while this code is set.
    pub(super) fn memory_with(&self, ordinal: usize, code: u32) -> usize {
        let (len, capacity, width) = match self {
            Self::U8(codes) => (codes.len(), codes.capacity(), 1),
            Self::U16(codes) => (codes.len(), codes.capacity(), 2),
            Self::U32(codes) => (codes.len(), codes.capacity(), 4),
        };
        let more = ordinal.saturating_add(1).saturating_sub(len);
        let after = grown(capacity, len, more);
        let wider = if u32::try_from(1_u64 << (width * 8)).is_ok_and(|end| code >= end) { 2 } else { 0 };
        let copied = if after > capacity { capacity } else { 0 };
        after.saturating_mul(width + width * wider).saturating_add(copied * width)
    }
}

fn put<T: Copy + Default>(codes: &mut Vec<T>, ordinal: usize, code: T) {
    if codes.len() <= ordinal {
        codes.resize(ordinal + 1, T::default());
    }
    if let Some(place) = codes.get_mut(ordinal) {
        *place = code;
    }
}

impl OrdinalCodes {
    /// Of no rows, with this many values each.
    pub(in crate::join) fn empty(values: usize) -> Self {
        let (dictionary, tuples) = DictionaryBuilder::new(values).finish_with_tuples();
        Self { dictionary, tuples, codes: Codes::U8(Vec::new()) }
    }

    /// The codes plus one, 0 where there is no row.
    pub(in crate::join) fn codes(&self) -> &Codes {
        &self.codes
    }

    /// Memory in use, in bytes.
    pub(in crate::join) fn memory(&self) -> usize {
        self.values_memory() + self.codes.memory()
    }

    fn values_memory(&self) -> usize {
        self.dictionary.memory() + self.tuples.memory_with(0)
    }

    pub(in crate::join) fn fits(&self, memory: CodesMemory) -> bool {
        memory.has_room(self.values_memory(), self.codes.memory())
    }

    /// The code of an ordinal, or [`NO_ROW`].
    #[inline]
    pub(in crate::join) fn get(&self, ordinal: u32) -> u32 {
        let at = ordinal as usize;
        let code = match &self.codes {
            Codes::U8(codes) => codes.get(at).map_or(0, |code| u32::from(*code)),
            Codes::U16(codes) => codes.get(at).map_or(0, |code| u32::from(*code)),
            Codes::U32(codes) => codes.get(at).copied().unwrap_or_default(),
        };
        if code == 0 { NO_ROW } else { code - 1 }
    }
}

/// Codes of which those of some ordinals change. They are copied with the first change if others share them.
pub(in crate::join) struct CodesPatch {
    codes: Arc<OrdinalCodes>,
    /// Once there is a tuple that the dictionary has not.
    dictionary: Option<DictionaryBuilder>,
}

impl CodesPatch {
    pub(in crate::join) fn new(codes: Arc<OrdinalCodes>) -> Self {
        Self { codes, dictionary: None }
    }

    /// Applies what was written to the row of an ordinal, oldest first, whose code nothing has changed yet. Returns
    /// false where that does not suffice, and the row has to be read.
    pub(in crate::join) fn apply<'w>(
        &mut self,
        names: &[Box<str>],
        ordinal: u32,
        writes: impl Iterator<Item = &'w [u8]>,
    ) -> Result<bool> {
        let OrdinalCodes { dictionary, tuples, .. } = &*self.codes;
        let code = self.codes.get(ordinal);
        let mut before = Vec::new();
        let mut exists = code != NO_ROW;
        match names {
            [] => {}
            [_] => codec::put_slice(&mut before, dictionary.value(code, 0).map_or(&[], ValueBytes::as_bytes)),
            _ => before.extend_from_slice(tuples.get(code)),
        }
        let mut after = Vec::new();
        for written in writes {
            after.clear();
            exists = match written {
                // The row is deleted.
                [] => false,
                _ => match codec::project_write(written, names, exists.then_some(&before), &mut after) {
                    Some(exists) => exists,
                    None => return Ok(false),
                },
            };
            std::mem::swap(&mut before, &mut after);
        }
        let code = if exists { self.code(&before)?.saturating_add(1) } else { 0 };
        self.set(ordinal, code);
        Ok(true)
    }

    fn set(&mut self, ordinal: u32, code: u32) {
        let is_known = self.codes.get(ordinal).wrapping_add(1) == code;
        if !is_known {
            Arc::make_mut(&mut self.codes).codes.set(ordinal as usize, code);
        }
    }

    /// Reads the rows of these ids.
    pub(in crate::join) fn read(
        &mut self,
        tables: &dyn ProfileTables,
        dim: &Dim,
        ordinals: &[u32],
        ids: &[&[u8]],
    ) -> Result<()> {
        let mut tuple = Vec::new();
        tables.lookup(&dim.table, ids, &mut |at, row| {
            tuple.clear();
            let id = ids.get(at).copied().unwrap_or_default();
            let exists = row.map_or(Ok(false), |row| project(dim, id, row, &mut tuple))?;
            let code = if exists { self.code(&tuple)?.saturating_add(1) } else { 0 };
            if let Some(ordinal) = ordinals.get(at) {
                self.set(*ordinal, code);
            }
            Ok(())
        })
    }

    /// There is no row of this ordinal.
    pub(in crate::join) fn clear(&mut self, ordinal: u32) {
        self.set(ordinal, 0);
    }

    fn code(&mut self, tuple: &[u8]) -> Result<u32> {
        if let Some(dictionary) = &mut self.dictionary {
            return dictionary.code(tuple);
        }
        let OrdinalCodes { dictionary, tuples, .. } = &*self.codes;
        match dictionary.find(tuple, tuples) {
            Some(code) => Ok(code),
            None => self.dictionary.insert(DictionaryBuilder::of(dictionary, tuples)).code(tuple),
        }
    }

    pub(in crate::join) fn finish(mut self) -> Arc<OrdinalCodes> {
        if let Some(builder) = self.dictionary {
            let (dictionary, tuples) = builder.finish_with_tuples();
            let codes = Arc::make_mut(&mut self.codes);
            (codes.dictionary, codes.tuples) = (dictionary, tuples);
        }
        self.codes
    }
}
