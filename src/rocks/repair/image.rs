//! An image of a damaged store that the engine can open: copies of its logs and its MANIFEST that end where the first
//! damage begins, and links to its table files.
//!
//! A record in which one bit was flipped is corrected by its checksum. Whatever else is damaged ends the history of
//! commits: what follows it in the log, and all later logs, is left out. A MANIFEST that is cut off is an older list of
//! the files of the store; it is used only if the logs still have everything that was written since.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::batches::Batches;
use super::report::{LoggedCommits, RepairedFile};
use crate::error::{Error, Result};
use crate::rocks::file_names;
use crate::rocks::format::{self, DirectoryKind};
use crate::rocks::framing::{self, FragmentSink, Walk};
use crate::rocks::manifest::{Manifest, table_is_deleted};
use crate::rocks::synced::{self, SyncedLengths, SyncedRecord};

/// How many flipped bits of a file are corrected.
const CORRECTIONS_MAX: usize = 64;

/// An image, and what was found on the way.
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    manifest_file: PathBuf,
    pub(super) files: Vec<RepairedFile>,
    /// The table files that are missing or have a wrong size. They are not part of the image.
    pub(super) lost: Vec<LostTable>,
    /// The number of the first log that lost something.
    pub(super) first_cut: Option<u64>,
    pub(super) kept: LoggedCommits,
    pub(super) dropped: LoggedCommits,
}

/// A table file that cannot be opened.
#[derive(Debug)]
pub(super) struct LostTable {
    pub(super) family: String,
    /// The first and the last key in it.
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
    pub(super) error: Error,
}

impl Image {
    /// Makes the image of a store, in a new directory.
    pub(super) fn new(store: &Path, path: PathBuf) -> Result<Self> {
        let refused = |error| format::refused("cannot copy the files of the store path", store, error);
        format::mark(&path, DirectoryKind::Store)?;
        let mut files = Vec::new();
        let synced = synced(store, &mut files)?;
        let logs = file_names::logs(store).map_err(refused)?;
        let (number, source) = choose_manifest(store, &synced, &mut files)?;
        let manifest_file = path.join(format!("MANIFEST-{number:06}"));
        fs::copy(&source, &manifest_file).map_err(refused)?;
        let mut fixed = RepairedFile { name: name(&source), ..RepairedFile::default() };
        let (walk, manifest) = walk::<Manifest>(&manifest_file, &mut fixed).map_err(refused)?;
        let marked = if synced.manifest.0 == number { synced.manifest.1 } else { 0 };
        if walk.stop.is_some() || walk.whole < marked {
            let remedy = format!(
                "truncated at byte {}: the logs have what followed, but a table that was dropped since may be back",
                walk.whole
            );
            fixed.add(damage(&walk, marked), remedy);
            fixed.loses = true;
            is_complete(store, number, &manifest, &logs)
                .map_err(|why| cannot(&format!("the MANIFEST lost version edits, {why}"), &source, &fixed.damage))?;
            truncate(&manifest_file, walk.whole).map_err(refused)?;
        }
        fs::write(path.join("CURRENT"), format!("MANIFEST-{number:06}\n")).map_err(refused)?;
        files.extend((!fixed.damage.is_empty()).then_some(fixed));
        let (lost, first_cut) = (Vec::new(), None);
        let (kept, dropped) = <(LoggedCommits, LoggedCommits)>::default();
        let mut image = Self { path, manifest, manifest_file, files, lost, first_cut, kept, dropped };
        image.tables(store)?;
        image.logs(logs, &synced).map_err(refused)?;
        Ok(image)
    }

    /// Links the table files.
    fn tables(&mut self, store: &Path) -> Result<()> {
        let tables: Vec<(u64, u64)> = self.manifest.tables().collect();
        for (number, bytes) in tables {
            let name = format!("{number:06}.sst");
            let source = store.join(&name);
            let damage = match fs::metadata(&source) {
                Ok(found) if found.len() == bytes => {
                    link(&source, &self.path.join(&name))
                        .map_err(|error| format::refused("cannot copy", &source, error))?;
                    continue;
                }
                Ok(found) => format!("it has {} bytes of {bytes}", found.len()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
                Err(error) => return Err(format::refused("cannot read", &source, error)),
            };
            self.lose_table(number, damage)?;
        }
        Ok(())
    }

    /// Takes a table file out of the image.
    pub(super) fn lose_table(&mut self, number: u64, damage: String) -> Result<()> {
        let name = format!("{number:06}.sst");
        let mut families = self.manifest.families.iter_mut();
        let found = families.find_map(|(id, family)| Some((*id, family.tables.remove(&number)?, &family.name)));
        let Some((id, table, family)) = found else {
            return Err(Error::corrupt(format!("no such table file file={name:?}")));
        };
        let error = Error::corrupt(format!("the table file is lost: {damage} file={name:?}"));
        append(&self.manifest_file, &table_is_deleted(id, table.level, number))
            .map_err(|error| format::refused("cannot write", &self.manifest_file, error))?;
        self.lost.push(LostTable { family: family.clone(), first: table.first, last: table.last, error });
        let remedy = "all keys in its range are dropped".to_owned();
        self.files.push(RepairedFile { name, damage, remedy, loses: true, ..RepairedFile::default() });
        Ok(())
    }

    pub(super) fn has_table(&self, number: u64) -> bool {
        self.manifest.tables().any(|(table, _)| table == number)
    }

    /// Makes an image with one of the table files only.
    pub(super) fn copy_table(&self, number: u64, path: &Path) -> Result<()> {
        let copy = || {
            if path.exists() {
                fs::remove_dir_all(path)?;
            }
            fs::create_dir(path)?;
            let manifest = path.join(name(&self.manifest_file));
            fs::copy(&self.manifest_file, &manifest)?;
            for (id, family) in &self.manifest.families {
                for (table, found) in family.tables.iter().filter(|(table, _)| **table != number) {
                    append(&manifest, &table_is_deleted(*id, found.level, *table))?;
                }
            }
            fs::copy(self.path.join("CURRENT"), path.join("CURRENT"))?;
            let name = format!("{number:06}.sst");
            link(&self.path.join(&name), &path.join(&name))
        };
        copy().map_err(|error| format::refused("cannot copy a table file to", path, error))?;
        format::mark(path, DirectoryKind::Store)
    }

    /// Copies the logs as far as they continue each other.
    fn logs(&mut self, mut logs: Vec<(u64, PathBuf)>, synced: &SyncedLengths) -> io::Result<()> {
        let log_min = self.manifest.log_min();
        logs.retain(|(number, _)| *number >= log_min);
        let numbers: BTreeSet<u64> = logs.iter().map(|(number, _)| *number).collect();
        let mut missing: BTreeMap<u64, u64> = synced.logs.range(log_min..).map(|(n, bytes)| (*n, *bytes)).collect();
        missing.retain(|number, _| !numbers.contains(number));
        // What the next record has to be, once there was one.
        let mut expected: Option<u64> = None;
        let mut is_cut = false;
        let mut previous = None;
        // The engine begins a log only when the one before it has records.
        let mut is_emptied = false;
        for (number, source) in logs {
            let gap = missing.range(previous.unwrap_or(0)..number).next().map(|(number, _)| *number);
            // A log that is missing, or the end of the one before this.
            let lost_from = gap.or(previous).unwrap_or(number);
            previous = Some(number);
            let copy = self.path.join(name(&source));
            fs::copy(&source, &copy)?;
            let mut fixed = RepairedFile { name: name(&source), ..RepairedFile::default() };
            let (walk, batches) = walk::<Batches>(&copy, &mut fixed)?;
            let marked = synced.logs.get(&number).copied().unwrap_or(0);
            let continues = match (expected, batches.first) {
                (Some(expected), Some(first)) => expected == first,
                (None, Some(_)) => gap.is_none() && !is_emptied,
                (_, None) => true,
            };
            if is_cut || !continues {
                let first_cut = *self.first_cut.get_or_insert(lost_from);
                is_cut = true;
                if walk.length == 0 {
                    continue;
                }
                fixed.add(format!("a log before it lost commits log={first_cut:06}"), "dropped".to_owned());
                let mut all = batches;
                after(&source, walk, &mut all)?;
                fixed.dropped = self.needed(number, all.counted);
                fs::remove_file(&copy)?;
            } else {
                fixed.kept = self.needed(number, batches.counted);
                expected = batches.next.or(expected);
                if walk.stop.is_some() || walk.whole < marked {
                    is_cut = true;
                    self.first_cut = Some(number);
                    fixed.add(damage(&walk, marked), format!("truncated at byte {}", walk.whole));
                    let mut rest = Batches::default();
                    after(&source, walk, &mut rest)?;
                    fixed.dropped = self.needed(number, rest.counted);
                    truncate(&copy, walk.whole)?;
                }
                is_emptied |= walk.length == 0;
            }
            add(&mut self.kept, &fixed.kept);
            add(&mut self.dropped, &fixed.dropped);
            fixed.loses = is_cut;
            self.files.extend((!fixed.damage.is_empty()).then_some(fixed));
        }
        for (number, bytes) in missing {
            self.first_cut = Some(self.first_cut.map_or(number, |first| first.min(number)));
            let damage = format!("it is missing, and {bytes} bytes of it were synced");
            let remedy = "the commits in it are lost".to_owned();
            let name = format!("{number:06}.log");
            self.files.push(RepairedFile { name, damage, remedy, loses: true, ..RepairedFile::default() });
        }
        Ok(())
    }

    /// Of what a log has, what is not in table files already.
    fn needed(&self, log: u64, mut counted: LoggedCommits) -> LoggedCommits {
        let needs =
            |id: &u64| self.manifest.families.get(id).is_some_and(|family| self.manifest.needs(family).number <= log);
        counted.operations.retain(|id, _| needs(id));
        counted
    }
}

/// Appends an edit to a MANIFEST.
fn append(manifest: &Path, edit: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(manifest)?;
    let length = file.metadata()?.len();
    file.write_all(&framing::framed(length, edit))
}

/// Table files are never written to, so a link is a copy.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

fn add(sum: &mut LoggedCommits, more: &LoggedCommits) {
    sum.commits += more.commits;
    for (family, count) in &more.operations {
        *sum.operations.entry(*family).or_default() += count;
    }
}

/// The record of what was synced; nothing where there is none.
fn synced(store: &Path, files: &mut Vec<RepairedFile>) -> Result<SyncedLengths> {
    let name = synced::FILE.to_owned();
    let record = synced::read(store).map_err(|error| format::refused("cannot read", &store.join(&name), error))?;
    let damage = match record {
        SyncedRecord::Lengths(lengths) => return Ok(lengths),
        _ if !format::expects_synced(store)? => return Ok(SyncedLengths::default()),
        SyncedRecord::Nothing => "it is missing or empty",
        SyncedRecord::Damaged => "it cannot be read",
    };
    let remedy = "written anew: that logs reach as far as they were synced cannot be verified".to_owned();
    files.push(RepairedFile { name, damage: damage.to_owned(), remedy, ..RepairedFile::default() });
    Ok(SyncedLengths::default())
}

/// The MANIFEST to repair: that of CURRENT, or the one that was synced last.
fn choose_manifest(store: &Path, synced: &SyncedLengths, files: &mut Vec<RepairedFile>) -> Result<(u64, PathBuf)> {
    let marked = (synced.manifest.0 > 0).then(|| store.join(format!("MANIFEST-{:06}", synced.manifest.0)));
    let damage = match file_names::current(store) {
        Ok((number, found)) if number >= synced.manifest.0 && found.exists() => return Ok((number, found)),
        Ok((number, _)) => format!("it names MANIFEST-{number:06}, and another one was synced last"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
        Err(error) => error.to_string(),
    };
    let listed = || -> io::Result<Option<(u64, PathBuf)>> {
        let mut newest = None;
        for entry in fs::read_dir(store)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("MANIFEST-")?.parse::<u64>().ok());
            newest = newest.max(number.map(|number| (number, store.join(name))));
        }
        Ok(newest)
    };
    let chosen = match marked {
        Some(marked) => marked.exists().then_some((synced.manifest.0, marked)),
        None => listed().map_err(|error| format::refused("cannot read", store, error))?,
    };
    let Some((number, chosen)) = chosen else {
        return Err(cannot("there is no MANIFEST", store, &damage));
    };
    let remedy = format!("written anew: {}", name(&chosen));
    files.push(RepairedFile { name: "CURRENT".to_owned(), damage, remedy, ..RepairedFile::default() });
    Ok((number, chosen))
}

/// Whether logs have all that was written since the last edit of a MANIFEST that is cut off; why not.
fn is_complete(store: &Path, number: u64, manifest: &Manifest, logs: &[(u64, PathBuf)]) -> Result<(), String> {
    let io = |error: io::Error| error.to_string();
    let mut firsts = BTreeMap::new();
    for (log, path) in logs.iter().filter(|(log, _)| *log >= manifest.log_min()) {
        let file = File::open(path).map_err(io)?;
        let mut batches = Batches::default();
        framing::walk(&file, file.metadata().map_err(io)?.len(), &mut batches).map_err(io)?;
        let known = |id: &&u64| **id == 0 || manifest.families.contains_key(id) || manifest.dropped.contains(id);
        if let Some(id) = batches.counted.operations.keys().find(|id| !known(id)) {
            return Err(format!(
                "and a log has writes to a table that the rest does not name log={log:06} family={id}"
            ));
        }
        firsts.extend(batches.first.map(|first| (*log, first)));
    }
    for family in manifest.families.values().filter(|family| !family.name.is_empty()) {
        let needs = manifest.needs(family);
        let exists = logs.iter().any(|(log, _)| *log == needs.number);
        let first = firsts.range(needs.number..).next().map(|(_, first)| *first);
        if !exists && first.is_none_or(|first| first > needs.sequence + 1) {
            let (name, log) = (&family.name, needs.number);
            return Err(format!("and the logs do not have what it missed table={name:?} log={log:06}"));
        }
        for (table, found) in &family.tables {
            let file = store.join(format!("{table:06}.sst"));
            if !fs::metadata(&file).is_ok_and(|file| file.len() == found.bytes) {
                return Err(format!(
                    "and a table file that the rest names is not there any more file=\"{table:06}.sst\""
                ));
            }
        }
    }
    let listed: BTreeSet<u64> =
        manifest.tables().map(|(table, _)| table).chain(manifest.former.iter().copied()).collect();
    for entry in fs::read_dir(store).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let table = name.to_str().and_then(file_names::table).filter(|table| *table < number);
        if let Some(table) = table.filter(|table| !listed.contains(table)) {
            return Err(format!("and the rest does not name a table file that is older file=\"{table:06}.sst\""));
        }
    }
    Ok(())
}

/// Walks a copy, in which flipped bits are corrected.
fn walk<S: FragmentSink + Default>(copy: &Path, fixed: &mut RepairedFile) -> io::Result<(Walk, S)> {
    let mut file = OpenOptions::new().read(true).write(true).open(copy)?;
    let length = file.metadata()?.len();
    let mut corrected = Vec::new();
    loop {
        let mut records = S::default();
        file.seek(SeekFrom::Start(0))?;
        let walk = framing::walk(&file, length, &mut records)?;
        let found = if walk.stop.is_some() && corrected.len() < CORRECTIONS_MAX {
            let mut block = Vec::new();
            file.seek(SeekFrom::Start(walk.at))?;
            Read::by_ref(&mut file).take(framing::rest_of_block(walk.at)).read_to_end(&mut block)?;
            framing::flipped_bit(&block).and_then(|(at, mask)| Some((at as u64, block.get(at)? ^ mask)))
        } else {
            None
        };
        let Some((at, byte)) = found else {
            if !corrected.is_empty() {
                let bytes = corrected.join(", ");
                fixed.add(format!("a bit is flipped at byte {bytes}"), "corrected by the checksum".to_owned());
            }
            file.sync_all()?;
            return Ok((walk, records));
        };
        file.seek(SeekFrom::Start(walk.at + at))?;
        file.write_all(&[byte])?;
        corrected.push((walk.at + at).to_string());
    }
}

/// Counts the batches that follow damage.
fn after(source: &Path, walk: Walk, batches: &mut Batches) -> io::Result<()> {
    let mut rest = Vec::new();
    let mut file = File::open(source)?;
    file.seek(SeekFrom::Start(walk.at))?;
    file.read_to_end(&mut rest)?;
    framing::records_after(&rest, walk.at, |record| {
        // What is no batch is not counted: this only tells what there was.
        let _ = batches.add(record);
    });
    Ok(())
}

fn damage(walk: &Walk, synced: u64) -> String {
    match walk.stop {
        Some(framing::Stop::Damaged(why)) => format!("{why} at byte {}", walk.at),
        Some(framing::Stop::Torn) => format!("it ends in a record at byte {}", walk.whole),
        None => format!("it ends at byte {}, and was synced up to byte {synced}", walk.whole),
    }
}

fn truncate(copy: &Path, whole: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(copy)?;
    file.set_len(whole)?;
    file.sync_all()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn cannot(why: &str, path: &Path, damage: &str) -> Error {
    Error::corrupt(format!("the store cannot be repaired: {why}; restore a backup path={path:?} damage={damage:?}"))
}
