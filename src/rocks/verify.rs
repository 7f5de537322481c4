//! Verification of a store before RocksDB opens it, so that damage is told from what a crash leaves.
//!
//! The MANIFEST and the WAL files are walked record by record, every table file has to be there with its size, and
//! both logs have to reach as far as they were [synced](super::synced). RocksDB itself would take much of the damage
//! for a torn tail, and open the store without what follows it.
//!
//! A torn tail is the end of a log that a crash interrupted. After a crash of the process that is at most the last
//! record. After power loss it can be any damage beyond what was synced, because pages reach the disk in any order; the
//! id of the boot tells the two apart. An open for writing truncates the tail, after it has copied the file to
//! `NAME.torn`: RocksDB would otherwise continue with a later log behind the gap. Readers never change a file.
//!
//! A commit of which the sync failed is in the log, but in no memtable. When the disk was full, RocksDB then recovers
//! on its own: it begins a new log and flushes one column family after the other. If that is interrupted, the families
//! that were flushed do not read the old log any more, and the others would replay their part of the commit from it.
//! An open for writing truncates it as well: its outcome was reported as unknown, and so it may be absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use super::fault;
use super::file_names::{self, current};
use super::format;
use super::framing::{self, FragmentSink, Stop, Walk};
use super::logged_batch::{BATCH_HEAD, LoggedBatch, read_head};
use super::manifest::Manifest;
use super::synced::{self, SyncedLengths, SyncedRecord};
use crate::error::{Error, ErrorKind, Result};

/// What an open may do with a torn tail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tails {
    /// Truncate it, as the only writer.
    Truncate,
    /// Leave it to RocksDB, which ignores what a crash of the process leaves.
    Keep,
}

/// A verified store.
#[derive(Default)]
pub(super) struct Verified {
    pub(super) synced: SyncedRecord,
    /// The files that were truncated, and where.
    pub(super) truncated: Vec<String>,
    /// The numbers of the table files.
    pub(super) tables: BTreeSet<u64>,
}

/// Verifies the files of a store.
///
/// # Errors
///
/// [`Corrupt`](ErrorKind::Corrupt), with the file and the offset, for everything that no crash leaves.
pub(super) fn verify(path: &Path, tails: Tails, expects_synced: bool) -> Result<Verified> {
    // Read first: a writer in another process only goes forward from there.
    let synced = synced::read(path).map_err(|error| cannot(&path.join(synced::FILE), error))?;
    let none = SyncedLengths::default();
    let (marked, is_known) = match &synced {
        SyncedRecord::Lengths(lengths) => (lengths, true),
        // The first one is written and synced before the store expects one: power loss may leave a part of it.
        SyncedRecord::Nothing | SyncedRecord::Damaged if !expects_synced => (&none, false),
        SyncedRecord::Nothing => return Err(damaged(&path.join(synced::FILE), "is missing or empty")),
        SyncedRecord::Damaged => return Err(damaged(&path.join(synced::FILE), "cannot be read")),
    };
    let boot = synced::boot();
    // Without an id of the boot, every open may be one after power loss.
    let lost_power = is_known && (boot.is_empty() || marked.boot != boot);
    let mut verifier = Verifier { path, tails, lost_power, marked, truncated: Vec::new(), tables: BTreeSet::new() };
    let manifest = verifier.manifest()?;
    verifier.logs(&manifest)?;
    let Verifier { truncated, tables, .. } = verifier;
    Ok(Verified { synced, truncated, tables })
}

struct Verifier<'v> {
    path: &'v Path,
    tails: Tails,
    lost_power: bool,
    marked: &'v SyncedLengths,
    truncated: Vec<String>,
    tables: BTreeSet<u64>,
}

impl Verifier<'_> {
    /// Verifies the MANIFEST and the table files.
    fn manifest(&mut self) -> Result<Manifest> {
        let (number, name) = current(self.path).map_err(|error| {
            let kind = if error.kind() == io::ErrorKind::InvalidData { ErrorKind::Corrupt } else { ErrorKind::Io };
            let remedy = if kind == ErrorKind::Corrupt { fault::remedy(self.path) } else { String::new() };
            Error::new(kind, format!("cannot read CURRENT{remedy} path={:?}", self.path)).because(error)
        })?;
        let (marked, length) = self.marked.manifest;
        if marked > number {
            return Err(damaged(&name, "is older than the MANIFEST that was synced last"));
        }
        let length = if marked == number { length } else { 0 };
        let mut manifest = Manifest::default();
        let walk = self.walk(&name, &mut manifest)?;
        require(&name, walk, length)?;
        match walk.stop {
            None => {}
            Some(_) if self.lost_power && self.tails == Tails::Truncate => self.truncate(&name, walk.whole)?,
            // RocksDB ignores a record that ends with the file.
            Some(Stop::Torn) => {}
            Some(Stop::Damaged(why)) => return Err(self.damaged_at(&name, why, walk.whole)),
        }
        for (number, bytes) in manifest.tables() {
            self.tables.insert(number);
            let name = self.path.join(format!("{number:06}.sst"));
            match fs::metadata(&name) {
                Ok(found) if found.len() == bytes => {}
                Ok(found) => {
                    let why = format!("is not of the size that the MANIFEST has size={} expected={bytes}", found.len());
                    return Err(damaged(&name, &why));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(&name, "is missing")),
                Err(error) => return Err(cannot(&name, error)),
            }
        }
        Ok(manifest)
    }

    /// Verifies the logs that are needed.
    fn logs(&mut self, manifest: &Manifest) -> Result<()> {
        let log_min = manifest.log_min();
        let mut logs = file_names::logs(self.path).map_err(|error| cannot(self.path, error))?;
        logs.retain(|(number, _)| *number >= log_min);
        let mut missing =
            self.marked.logs.range(log_min..).filter(|(number, _)| !logs.iter().any(|(found, _)| found == *number));
        // Power loss may undo the creation of a log that was not synced.
        let uncreated = missing.clone().next().map(|(number, _)| *number);
        if let Some((number, _)) = missing.find(|(_, synced)| !self.lost_power || **synced > 0) {
            return Err(damaged(&self.path.join(format!("{number:06}.log")), "is missing"));
        }
        // Once a log lost its end, no later one may be replayed.
        let mut has_gap = false;
        let mut torn = Vec::new();
        let mut sequence = None;
        let mut is_empty = false;
        for (number, name) in logs {
            is_empty |= uncreated.is_some_and(|uncreated| uncreated < number);
            let marked = self.marked.logs.get(&number).copied().unwrap_or(0);
            let flushed = manifest.flushed_since(number);
            let mut records = LogRecords::new(&flushed);
            let mut walk = self.walk(&name, &mut records)?;
            if let Some((record, sequence)) = records.failed
                && (self.lost_power || !matches!(walk.stop, Some(Stop::Damaged(_))))
            {
                walk = self.walk(&name, &mut RecordsBefore(record))?;
                if self.tails == Tails::Keep {
                    return Err(failed_commit(&name, walk.whole));
                }
                walk.stop = Some(Stop::Torn);
                records.next = Some(sequence);
            }
            // A log that lost all of its last records looks whole, but the next one does not continue it. RocksDB
            // begins a new log only when the last one has records, so one that is empty lost them.
            let continues = sequence.zip(records.first).is_none_or(|(expected, first)| expected == first);
            if has_gap || !continues || (is_empty && walk.length > 0) {
                // A crash of the process does not make a gap. A writer in another process may, while this is read, and
                // then this is read again.
                if !self.lost_power && walk.length > 0 {
                    return Err(self.damaged_at(&name, "the log before it lost its end", 0));
                }
                has_gap = true;
                walk = Walk { whole: 0, ..walk };
                walk.stop = (walk.length > 0).then_some(Stop::Torn);
            }
            require(&name, walk, marked)?;
            sequence = records.next.or(sequence);
            is_empty |= walk.length == 0;
            let Some(stop) = walk.stop else { continue };
            match stop {
                Stop::Damaged(why) if !self.lost_power => return Err(self.damaged_at(&name, why, walk.whole)),
                _ if self.tails == Tails::Truncate => torn.push((name, walk.whole)),
                Stop::Torn if !has_gap => {}
                Stop::Torn => return Err(self.damaged_at(&name, "the log before it lost its end", walk.whole)),
                Stop::Damaged(why) => return Err(self.damaged_at(&name, why, walk.whole)),
            }
            has_gap = true;
        }
        // Only now: nothing is changed in a store that is refused.
        torn.iter().try_for_each(|(name, whole)| self.truncate(name, *whole))
    }

    fn walk(&self, name: &Path, records: &mut impl FragmentSink) -> Result<Walk> {
        let walked = File::open(name).and_then(|file| {
            let length = file.metadata()?.len();
            framing::walk(file, length, records)
        });
        walked.map_err(|error| cannot(name, error))
    }

    /// Truncates a file, after it was copied. Durable on return.
    fn truncate(&mut self, name: &Path, whole: u64) -> Result<()> {
        let truncate = || {
            let copy = (0..1_000).map(|number| match number {
                0 => name.with_extension(extension(name, "torn")),
                number => name.with_extension(extension(name, &format!("torn-{number}"))),
            });
            let Some(copy) = copy.into_iter().find(|copy| !copy.exists()) else {
                return Err(io::Error::other("too many copies of torn files"));
            };
            fs::copy(name, &copy)?;
            File::open(&copy)?.sync_all()?;
            format::sync_directory(self.path)?;
            let file = OpenOptions::new().write(true).open(name)?;
            file.set_len(whole)?;
            file.sync_all()
        };
        truncate().map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot truncate a torn log file={name:?}")).because(error)
        })?;
        self.truncated.push(format!("{} at byte {whole}", name.file_name().unwrap_or_default().to_string_lossy()));
        Ok(())
    }

    fn damaged_at(&self, name: &Path, why: &str, at: u64) -> Error {
        let hint = match self.tails {
            Tails::Keep if self.lost_power => {
                "; power loss may have left this: an open for writing truncates it".to_owned()
            }
            _ => fault::remedy(self.path),
        };
        Error::corrupt(format!("the file is damaged: {why}{hint} file={name:?} offset={at}"))
    }
}

/// `000012.log` becomes `000012.log.torn`, which RocksDB takes for none of its files.
fn extension(name: &Path, with: &str) -> String {
    let extension = name.extension().and_then(|extension| extension.to_str());
    extension.map_or_else(|| with.to_owned(), |extension| format!("{extension}.{with}"))
}

fn require(name: &Path, walk: Walk, synced: u64) -> Result<()> {
    if walk.whole >= synced {
        return Ok(());
    }
    let (length, whole) = (walk.length, walk.whole);
    let remedy = fault::remedy(directory(name));
    Err(Error::corrupt(format!(
        "the file does not reach as far as it was synced{remedy} file={name:?} length={length} intact={whole} \
         synced={synced}"
    )))
}

fn failed_commit(name: &Path, at: u64) -> Error {
    let why = "a commit failed, and RocksDB flushed some of the tables before it was closed";
    Error::corrupt(format!("{why}; an open for writing removes what is there of it file={name:?} offset={at}"))
}

fn damaged(name: &Path, why: &str) -> Error {
    Error::corrupt(format!("the store is damaged: a file {why}{} file={name:?}", fault::remedy(directory(name))))
}

/// The store that a file is in.
fn directory(name: &Path) -> &Path {
    name.parent().unwrap_or(name)
}

fn cannot(name: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read file={name:?}")).because(error)
}

/// What is found out of the records of a log.
struct LogRecords<'m> {
    /// The sequence number of the first record, and what follows the last one: each takes as many as it has operations.
    first: Option<u64>,
    next: Option<u64>,
    /// Column families that were flushed since this log, and the last sequence number in table files then.
    flushed: &'m BTreeMap<u64, u64>,
    /// The number and the sequence number of a record that one of these families does not have.
    failed: Option<(u64, u64)>,
    count: u64,
    /// The record so far, or as much of it as is needed.
    record: Vec<u8>,
}

const NO_BATCH: &str = "a record that is no write batch";

impl<'m> LogRecords<'m> {
    fn new(flushed: &'m BTreeMap<u64, u64>) -> Self {
        Self { first: None, next: None, flushed, failed: None, count: 0, record: Vec::new() }
    }

    /// Whether a family that was flushed since does not have what a batch writes to it.
    fn has_failed(&self, batch: &LoggedBatch) -> bool {
        let is_lost = |(family, sequence): (&u64, u64)| self.flushed.get(family).is_some_and(|last| sequence > *last);
        batch.families.iter().zip(batch.sequence..).any(is_lost)
    }
}

impl FragmentSink for LogRecords<'_> {
    fn fragment(&mut self, bytes: &[u8], ends: bool) -> Result<(), &'static str> {
        let needed = if self.flushed.is_empty() { BATCH_HEAD - self.record.len() } else { bytes.len() };
        self.record.extend_from_slice(bytes.get(..needed.min(bytes.len())).unwrap_or_default());
        if !ends {
            return Ok(());
        }
        let record = std::mem::take(&mut self.record);
        let (sequence, operations) = read_head(*record.first_chunk().ok_or(NO_BATCH)?);
        if self.failed.is_some() {
            return Err("a commit that failed is followed by another one");
        }
        if !self.flushed.is_empty() && self.has_failed(&LoggedBatch::read(&record).ok_or(NO_BATCH)?) {
            self.failed = Some((self.count, sequence));
        }
        self.count += 1;
        self.first.get_or_insert(sequence);
        self.next = Some(sequence.saturating_add(operations));
        self.record = record;
        self.record.clear();
        Ok(())
    }
}

/// Ends a walk before the record that follows this many.
struct RecordsBefore(u64);

impl FragmentSink for RecordsBefore {
    fn fragment(&mut self, _: &[u8], ends: bool) -> Result<(), &'static str> {
        if self.0 == 0 {
            return Err("the record");
        }
        self.0 -= u64::from(ends);
        Ok(())
    }
}
