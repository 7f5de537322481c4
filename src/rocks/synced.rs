//! How far the WAL and the MANIFEST were synced: a record that is overwritten in place, in two alternating slots.
//!
//! RocksDB does not know where a file that it opens should end: a file that was cut at the end of a record looks whole.
//! So after each sync the lengths are written to `PROFILEDB.synced`, and an open compares. The record itself is not
//! synced: it is never ahead of the files, and one that lags behind demands less.
//!
//! ```text
//! slot 0: 1,024 bytes | slot 1: 1,024 bytes          a record of odd turn is in slot 1; the greater turn counts
//!
//! profiledb synced 1
//! boot 3f0c1f5e-...             which boot of the machine wrote it; "-" where there is no such id
//! turn 17
//! manifest 5 1234               number of the MANIFEST, and its length in bytes
//! log 12 40960                  the same of each WAL file, 0 for one that was only created
//! zeros up to byte 1,020, then the CRC-32C of all before it, little-endian
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::file_names;
use super::format;

/// The name of the file.
pub(super) const FILE: &str = "PROFILEDB.synced";

const SLOT: usize = 1_024;

const SUM: usize = 4;

/// With this many logs in the record, the MANIFEST is synced although no commit was, so that obsolete ones leave it.
const UNSYNCED_LOGS_MAX: usize = 16;

const TITLE: &str = "profiledb synced 1";

/// How far files were synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SyncedLengths {
    /// The boot of the machine that the record is of. Empty where it is not known.
    pub(super) boot: String,
    turn: u64,
    /// Number of the MANIFEST, and its length in bytes.
    pub(super) manifest: (u64, u64),
    /// Number and length of each WAL file. The oldest are left out where there are too many for a slot.
    pub(super) logs: BTreeMap<u64, u64>,
}

impl SyncedLengths {
    /// Encodes it into a slot.
    pub(super) fn encode(&self, slot: &mut Vec<u8>) -> io::Result<()> {
        let boot = if self.boot.is_empty() { "-" } else { &self.boot };
        let (manifest, length) = self.manifest;
        slot.clear();
        write!(slot, "{TITLE}\nboot {boot}\nturn {}\nmanifest {manifest} {length}\n", self.turn)?;
        for (number, length) in self.logs.iter().rev() {
            let end = slot.len();
            writeln!(slot, "log {number} {length}")?;
            if slot.len() > SLOT - SUM {
                slot.truncate(end);
                break;
            }
        }
        slot.resize(SLOT - SUM, 0);
        slot.extend(crc32c::crc32c(slot).to_le_bytes());
        Ok(())
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let (text, sum) = slot.split_last_chunk::<SUM>()?;
        if crc32c::crc32c(text) != u32::from_le_bytes(*sum) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
        let mut lines = text.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let boot = lines.next()?.strip_prefix("boot ")?;
        let mut found = Self { boot: if boot == "-" { "" } else { boot }.to_owned(), ..Self::default() };
        found.turn = lines.next()?.strip_prefix("turn ")?.parse().ok()?;
        found.manifest = pair(lines.next()?.strip_prefix("manifest ")?)?;
        for line in lines {
            found.logs.extend([pair(line.strip_prefix("log ")?)?]);
        }
        Some(found)
    }
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let (number, length) = text.split_once(' ')?;
    Some((number.parse().ok()?, length.parse().ok()?))
}

/// What a store has of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum SyncedRecord {
    /// No file, or one without content, which power loss leaves when it was new.
    #[default]
    Nothing,
    Lengths(SyncedLengths),
    /// Content, and no slot that can be read.
    Damaged,
}

/// Reads the record of a store.
pub(super) fn read(path: &Path) -> io::Result<SyncedRecord> {
    let bytes = match fs::read(path.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SyncedRecord::Nothing),
        Err(error) => return Err(error),
    };
    let latest = bytes.chunks(SLOT).filter_map(SyncedLengths::decode).max_by_key(|found| found.turn);
    Ok(match latest {
        Some(lengths) => SyncedRecord::Lengths(lengths),
        None if bytes.iter().all(|byte| *byte == 0) => SyncedRecord::Nothing,
        None => SyncedRecord::Damaged,
    })
}

/// Which boot of the machine this is. Empty where the system does not say: every open is then one after a power loss.
pub(super) fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// Keeps the record of an open store up to date.
///
/// RocksDB begins a new log before it writes. So the newest log that is known is the current one if it grew since the
/// last commit, and the directory is listed only if it did not.
pub(super) struct SyncRecorder {
    path: PathBuf,
    file: File,
    lengths: SyncedLengths,
    /// Whether the file has these lengths.
    is_written: bool,
    manifest: Option<File>,
    /// The newest log.
    log: Option<(u64, File)>,
    /// Its length after the last commit.
    log_bytes: u64,
    /// What is written, kept for its memory.
    slot: Vec<u8>,
}

impl SyncRecorder {
    /// Takes over the record of a store that is open for writing, and brings it up to date.
    pub(super) fn open(path: &Path, before: SyncedRecord) -> io::Result<Self> {
        let name = path.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name)?;
        let turn = if let SyncedRecord::Lengths(lengths) = before { lengths.turn } else { 0 };
        let lengths = SyncedLengths { boot: boot(), turn, ..SyncedLengths::default() };
        let mut recorder = Self {
            path: path.to_owned(),
            file,
            lengths,
            is_written: false,
            manifest: None,
            log: None,
            log_bytes: 0,
            slot: Vec::new(),
        };
        let listed = recorder.list()?;
        // They may be of a process that was killed before it synced them.
        for (number, _) in listed.iter().filter(|(_, length)| **length > 0) {
            match File::open(log(path, *number)) {
                Ok(log) => log.sync_data()?,
                // RocksDB deletes logs that it does not need any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        recorder.record(listed)?;
        recorder.file.sync_all()?;
        format::sync_directory(path)?;
        Ok(recorder)
    }

    /// Records the lengths of the logs, after a synced commit.
    pub(super) fn after_commit(&mut self) -> io::Result<()> {
        let Some((number, bytes)) = self.grown_log() else {
            let logs = self.list()?;
            return self.record(logs);
        };
        // Every synced commit waits for this, and nearly always nothing but the newest log grew.
        if self.manifest_bytes()? == self.lengths.manifest.1 {
            self.lengths.logs.insert(number, bytes);
            return self.write();
        }
        let mut logs = self.lengths.logs.clone();
        logs.insert(number, bytes);
        self.record(logs)
    }

    /// Records a log that was begun, after a commit that was not synced: a later log must not be replayed without it.
    pub(super) fn after_unsynced_commit(&mut self) -> io::Result<()> {
        if self.grown_log().is_some() {
            return Ok(());
        }
        let listed = self.list()?;
        let synced = |number| (number, self.lengths.logs.get(&number).copied().unwrap_or(0));
        let mut logs: BTreeMap<u64, u64> = listed.into_keys().map(synced).collect();
        if self.lengths.logs.len() >= UNSYNCED_LOGS_MAX {
            return self.record(logs);
        }
        // The MANIFEST is not synced: that takes long while a flush keeps the disk busy, and the commit does not need
        // it. So logs that RocksDB has deleted stay in the record. A MANIFEST that is cut before the edit that made one
        // obsolete needs that log, and is refused because it is missing.
        logs.extend(&self.lengths.logs);
        self.put(logs, self.lengths.manifest)
    }

    /// The newest known log and its length, if it grew since the last commit.
    fn grown_log(&mut self) -> Option<(u64, u64)> {
        let (number, file) = self.log.as_ref()?;
        let bytes = length(file).ok()?;
        (bytes > std::mem::replace(&mut self.log_bytes, bytes)).then_some((*number, bytes))
    }

    /// The lengths of the logs as they were recorded last.
    pub(super) fn synced_logs(&self) -> BTreeMap<u64, u64> {
        self.lengths.logs.clone()
    }

    /// The lengths of all logs.
    pub(super) fn list(&mut self) -> io::Result<BTreeMap<u64, u64>> {
        let mut logs = BTreeMap::new();
        for (number, name) in file_names::logs(&self.path)? {
            match fs::metadata(&name) {
                Ok(found) => drop(logs.insert(number, found.len())),
                // RocksDB deletes logs that it does not need any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let newest = logs.last_key_value().map(|(number, _)| *number);
        if newest != self.log.as_ref().map(|(number, _)| *number) {
            self.log = newest.and_then(|number| {
                // Without it, the directory is listed again.
                let file = File::open(log(&self.path, number)).ok()?;
                Some((number, file))
            });
        }
        self.log_bytes = self.log.as_ref().and_then(|(number, _)| logs.get(number)).copied().unwrap_or(0);
        self.manifest = None;
        Ok(logs)
    }

    /// Records logs that were synced at these lengths, and syncs the MANIFEST if it grew: RocksDB may have appended an
    /// edit that it has not synced yet.
    pub(super) fn record(&mut self, logs: BTreeMap<u64, u64>) -> io::Result<()> {
        let manifest_bytes = self.manifest_bytes()?;
        let manifest = (self.lengths.manifest.0, manifest_bytes);
        if manifest != self.lengths.manifest
            && let Some(manifest) = &self.manifest
        {
            manifest.sync_data()?;
        }
        self.put(logs, manifest)
    }

    /// Writes lengths that were synced.
    fn put(&mut self, logs: BTreeMap<u64, u64>, manifest: (u64, u64)) -> io::Result<()> {
        let mut next = SyncedLengths { logs, manifest, ..self.lengths.clone() };
        // These lengths may be from before a commit that was recorded meanwhile.
        let newest = next.logs.last_key_value().map_or(0, |(number, _)| *number);
        for (number, length) in &self.lengths.logs {
            match next.logs.get_mut(number) {
                Some(listed) => *listed = (*listed).max(*length),
                None if *number > newest => drop(next.logs.insert(*number, *length)),
                None => {}
            }
        }
        if self.is_written && next == self.lengths {
            return Ok(());
        }
        self.lengths = next;
        self.write()
    }

    /// The length of the MANIFEST.
    fn manifest_bytes(&mut self) -> io::Result<u64> {
        if let Some(manifest) = &self.manifest {
            return length(manifest);
        }
        let (number, name) = file_names::current(&self.path)?;
        let manifest = File::open(name)?;
        let bytes = length(&manifest)?;
        self.manifest = Some(manifest);
        if number != self.lengths.manifest.0 {
            self.lengths.manifest = (number, 0);
        }
        Ok(bytes)
    }

    /// Writes the lengths into the slot whose turn it is.
    fn write(&mut self) -> io::Result<()> {
        self.is_written = false;
        self.lengths.turn += 1;
        self.lengths.encode(&mut self.slot)?;
        write_at(&mut self.file, self.lengths.turn % 2 * SLOT as u64, &self.slot)?;
        self.is_written = true;
        Ok(())
    }
}

fn log(path: &Path, number: u64) -> PathBuf {
    path.join(format!("{number:06}.log"))
}

/// The length of a file. By seeking, because Linux gives a file whose times were read a new time with the next write,
/// which the next sync then has to write as well.
fn length(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

fn write_at(file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
    }
    #[cfg(not(unix))]
    {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{SLOT, SUM, SyncedLengths};

    /// The example in docs/FORMAT.md.
    #[test]
    fn a_slot_has_the_bytes_of_the_format() {
        let page = include_str!("../../docs/FORMAT.md");
        let example = page.split("```synced example\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let lines: Vec<&str> = example.trim_end().lines().map(str::trim_start).collect();
        let (sum, text) = lines.split_last().unwrap();
        let sum = u32::from_str_radix(sum.strip_prefix("crc-32c ").unwrap(), 16).unwrap();
        let mut slot = (text.join("\n") + "\n").into_bytes();
        slot.resize(SLOT - SUM, 0);
        slot.extend(sum.to_be_bytes());
        let boot = "3f0c1f5e-8f2e-4c4a-9a53-0d2b7a1c6e10".to_owned();
        let logs = [(12, 40_960), (14, 0)].into();
        let expected = SyncedLengths { boot, turn: 17, manifest: (5, 1_234), logs };
        assert_eq!(SyncedLengths::decode(&slot), Some(expected.clone()));
        let mut encoded = Vec::new();
        expected.encode(&mut encoded).unwrap();
        assert_eq!(encoded, slot);
    }
}
