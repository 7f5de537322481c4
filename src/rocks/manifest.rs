//! The MANIFEST of RocksDB: a log of version edits, replayed to know which files the store consists of.
//!
//! RocksDB does not notice a MANIFEST that was cut at the end of a record: it opens an older version of the store. A
//! secondary does not notice either that a table file is missing. So the edits are replayed here as well, before
//! RocksDB opens anything, as far as they name files. Where a tag is not known, the store is refused: it was not
//! written by this crate.
//!
//! ```text
//! edit    tag and fields, again and again; tags, numbers and lengths are LEB128 varints
//!           2 log number        200 column family      201 is created (name)     202 is dropped
//!           6 file is deleted (level, number)         103 file is new (level, number, bytes, keys, ...)
//!          10 least log number that is needed
//! ```

use std::collections::BTreeMap;

use super::framing::FragmentSink;

/// Tags with this bit have a length-prefixed field, which an older version may skip.
const SKIPPABLE: u64 = 1 << 13;

/// Ends the optional fields of a new file.
const END_OF_FIELDS: u64 = 1;

/// The files of a store, as the edits so far have them.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    families: BTreeMap<u64, Family>,
    log_needed_min: u64,
    /// The fragments of the current edit.
    edit: Vec<u8>,
}

#[derive(Debug, Default)]
struct Family {
    log_number: u64,
    /// Number and size in bytes.
    tables: BTreeMap<u64, u64>,
}

impl Manifest {
    /// The table files and their sizes in bytes.
    pub(super) fn tables(&self) -> impl Iterator<Item = (u64, u64)> {
        self.families.values().flat_map(|family| family.tables.iter().map(|(number, bytes)| (*number, *bytes)))
    }

    /// WAL files below this number are not needed any more.
    pub(super) fn log_min(&self) -> u64 {
        let by_family = self.families.values().map(|family| family.log_number).min().unwrap_or(0);
        by_family.max(self.log_needed_min)
    }

    fn apply(&mut self, edit: &[u8]) -> Option<()> {
        let mut edit = EditFields(edit);
        let (mut family, mut is_created, mut is_dropped) = (0, false, false);
        let (mut log_number, mut deleted, mut new) = (None, Vec::new(), Vec::new());
        while !edit.0.is_empty() {
            match edit.number()? {
                // Comparator; next file number, last sequence number, previous log number; most families.
                1 => drop(edit.slice()?),
                3 | 4 | 9 | 203 | 300 => drop(edit.number()?),
                2 => log_number = Some(edit.number()?),
                // Where a compaction goes on: level and key.
                5 => drop((edit.number()?, edit.slice()?)),
                6 => deleted.push((edit.number()?, edit.number()?).1),
                10 => self.log_needed_min = self.log_needed_min.max(edit.number()?),
                103 => new.push(edit.new_file()?),
                200 => family = edit.number()?,
                201 => is_created = edit.slice().is_some(),
                202 => is_dropped = true,
                tag if tag & SKIPPABLE != 0 => drop(edit.slice()?),
                _ => return None,
            }
        }
        if is_dropped {
            self.families.remove(&family);
            return Some(());
        }
        // The default family exists without an edit.
        let family = if is_created || family == 0 {
            self.families.entry(family).or_default()
        } else {
            self.families.get_mut(&family)?
        };
        family.log_number = family.log_number.max(log_number.unwrap_or(0));
        for number in &deleted {
            family.tables.remove(number);
        }
        family.tables.extend(new);
        Some(())
    }
}

impl FragmentSink for Manifest {
    fn fragment(&mut self, bytes: &[u8], ends: bool) -> Result<(), &'static str> {
        self.edit.extend_from_slice(bytes);
        if !ends {
            return Ok(());
        }
        let edit = std::mem::take(&mut self.edit);
        self.apply(&edit).ok_or("an unknown version edit")
    }
}

/// The fields of an edit that were not read yet.
struct EditFields<'e>(&'e [u8]);

impl<'e> EditFields<'e> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn slice(&mut self) -> Option<&'e [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (slice, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(slice)
    }

    /// Number and size.
    fn new_file(&mut self) -> Option<(u64, u64)> {
        let (_level, number, bytes) = (self.number()?, self.number()?, self.number()?);
        let (_least, _greatest) = (self.slice()?, self.slice()?);
        let (_first, _last) = (self.number()?, self.number()?);
        while self.number()? != END_OF_FIELDS {
            self.slice()?;
        }
        Some((number, bytes))
    }
}
