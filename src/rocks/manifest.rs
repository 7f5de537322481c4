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
//!           4 last sequence number that was flushed    10 least log number that is needed
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::framing::FragmentSink;

/// Tags with this bit have a length-prefixed field, which an older version may skip.
const SKIPPABLE: u64 = 1 << 13;

/// Ends the optional fields of a new file.
const END_OF_FIELDS: u64 = 1;

/// The files of a store, as the edits so far have them.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    /// The column families by their ids.
    pub(super) families: BTreeMap<u64, ManifestFamily>,
    pub(super) dropped: BTreeSet<u64>,
    /// The numbers of the table files that were part of the store.
    pub(super) former: BTreeSet<u64>,
    log_needed: LogBound,
    last_sequence: u64,
    /// The fragments of the current edit.
    edit: Vec<u8>,
}

/// A column family.
#[derive(Debug, Default)]
pub(super) struct ManifestFamily {
    pub(super) name: String,
    log: LogBound,
    /// By number.
    pub(super) tables: BTreeMap<u64, ManifestTable>,
}

/// The least number of the logs that are needed, and the last sequence number in table files when that was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogBound {
    pub(super) number: u64,
    pub(super) sequence: u64,
}

/// A table file.
#[derive(Debug)]
pub(super) struct ManifestTable {
    pub(super) level: u64,
    pub(super) bytes: u64,
    /// The first and the last key.
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
}

/// In files, keys have a sequence number and a type behind them.
const KEY_TRAILER: usize = 8;

/// The edit by which a family loses a table file.
pub(super) fn table_is_deleted(family: u64, level: u64, table: u64) -> Vec<u8> {
    let mut edit = Vec::new();
    for mut number in [200, family, 6, level, table] {
        while number >= 0x80 {
            edit.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        edit.push(number.to_le_bytes()[0]);
    }
    edit
}

impl Manifest {
    /// The table files and their sizes in bytes.
    pub(super) fn tables(&self) -> impl Iterator<Item = (u64, u64)> {
        self.families.values().flat_map(|family| family.tables.iter().map(|(number, table)| (*number, table.bytes)))
    }

    /// WAL files below this number are not needed any more.
    pub(super) fn log_min(&self) -> u64 {
        self.families.values().map(|family| self.needs(family).number).min().unwrap_or(self.log_needed.number)
    }

    /// From where on the logs are needed for a column family.
    pub(super) fn needs(&self, family: &ManifestFamily) -> LogBound {
        family.log.max(self.log_needed)
    }

    /// The column families that were flushed since a log was begun, so that they do not need it any more, each with the
    /// last sequence number in table files then: what they have of that log is not beyond it.
    pub(super) fn flushed_since(&self, log: u64) -> BTreeMap<u64, u64> {
        let flushed = self.families.iter().filter(|(_, family)| family.log.number > log);
        flushed.map(|(id, family)| (*id, family.log.sequence)).collect()
    }

    fn apply(&mut self, edit: &[u8]) -> Option<()> {
        let mut edit = EditFields(edit);
        let (mut family, mut created, mut is_dropped) = (0, None, false);
        let (mut log_number, mut log_needed, mut deleted, mut new) = (None, None, Vec::new(), Vec::new());
        while !edit.0.is_empty() {
            match edit.number()? {
                // Comparator; next file number, previous log number; most families.
                1 => drop(edit.slice()?),
                3 | 9 | 203 | 300 => drop(edit.number()?),
                4 => self.last_sequence = self.last_sequence.max(edit.number()?),
                2 => log_number = Some(edit.number()?),
                // Where a compaction goes on: level and key.
                5 => drop((edit.number()?, edit.slice()?)),
                6 => deleted.push((edit.number()?, edit.number()?).1),
                10 => log_needed = Some(edit.number()?),
                103 => new.push(edit.new_file()?),
                200 => family = edit.number()?,
                201 => created = Some(String::from_utf8_lossy(edit.slice()?).into_owned()),
                202 => is_dropped = true,
                tag if tag & SKIPPABLE != 0 => drop(edit.slice()?),
                _ => return None,
            }
        }
        let bound = |number: Option<u64>| LogBound { number: number.unwrap_or(0), sequence: self.last_sequence };
        self.log_needed = self.log_needed.max(bound(log_needed));
        if is_dropped {
            self.dropped.insert(family);
            let dropped = self.families.remove(&family);
            self.former.extend(dropped.into_iter().flat_map(|family| family.tables.into_keys()));
            return Some(());
        }
        let bound = bound(log_number);
        // The default family exists without an edit.
        let family = if created.is_some() || family == 0 {
            self.families.entry(family).or_default()
        } else {
            self.families.get_mut(&family)?
        };
        family.name = created.unwrap_or(std::mem::take(&mut family.name));
        family.log = family.log.max(bound);
        for number in deleted {
            family.tables.remove(&number);
            self.former.insert(number);
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

/// Fields that were not read yet: of an edit, or of a write batch, which has the same.
pub(super) struct EditFields<'e>(pub(super) &'e [u8]);

impl<'e> EditFields<'e> {
    pub(super) fn number(&mut self) -> Option<u64> {
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

    pub(super) fn slice(&mut self) -> Option<&'e [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (slice, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(slice)
    }

    fn new_file(&mut self) -> Option<(u64, ManifestTable)> {
        let (level, number, bytes) = (self.number()?, self.number()?, self.number()?);
        let mut key = || self.slice()?.split_last_chunk::<KEY_TRAILER>().map(|(key, _)| key.to_vec());
        let table = ManifestTable { level, bytes, first: key()?, last: key()? };
        let (_first, _last) = (self.number()?, self.number()?);
        while self.number()? != END_OF_FIELDS {
            self.slice()?;
        }
        Some((number, table))
    }
}
