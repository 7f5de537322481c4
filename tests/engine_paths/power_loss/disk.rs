//! A simulated disk: replays the recorded system calls of a process and tells which files power loss would leave.
//!
//! POSIX is taken at its word. The content of a file is durable up to what was written before an `fsync` or `fdatasync`
//! of it began, once that has returned; a new name, a rename or an unlink is durable after an `fsync` of the directory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::support::Random;

/// Which unsynced changes power loss leaves on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// None: neither data nor names.
    Everything,
    /// All names and no data, as a file system with a metadata journal may do.
    Data,
    /// All names, and of the data of each file a prefix, in the order in which it was written.
    Torn(u64),
    /// All names and data, but of the oldest log with unsynced data only this many bytes of that: the logs after it
    /// reached the disk first.
    OldestLog(usize),
    /// All names and lengths, and of the data any pages, as a page cache may write them back.
    Pages(u64),
}

/// A recorded system call. `recorder.c` documents the format.
enum Call {
    Create(u64, PathBuf),
    MakeDirectory(u64, PathBuf),
    Write(u64, usize, Vec<u8>),
    Truncate(u64, usize),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Unlink(PathBuf),
    SyncBegins(u64, u64),
    SyncEnded(u64),
}

/// What a process did to the files below a directory.
pub(crate) struct Trace {
    root: PathBuf,
    root_inode: u64,
    calls: Vec<Call>,
}

impl Trace {
    pub(crate) fn read(file: &Path, root: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::MetadataExt;

        let bytes = fs::read(file).unwrap();
        let mut rest = bytes.as_slice();
        let mut calls = Vec::new();
        let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(21);
            let number = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().unwrap());
            let (inode, argument) = (number(1), number(9));
            let length = u32::from_ne_bytes(head[17..21].try_into().unwrap()) as usize;
            let (data, tail) = tail.split_at(length);
            rest = tail;
            calls.push(match head[0] {
                b'C' => Call::Create(inode, path(data)),
                b'M' => Call::MakeDirectory(inode, path(data)),
                b'W' => Call::Write(inode, argument as usize, data.to_vec()),
                b'T' => Call::Truncate(inode, argument as usize),
                kind @ (b'R' | b'L') => {
                    let mut paths = data.splitn(2, |byte| *byte == 0).map(path);
                    let (from, to) = (paths.next().unwrap(), paths.next().unwrap());
                    if kind == b'R' { Call::Rename(from, to) } else { Call::Link(from, to) }
                }
                b'U' => Call::Unlink(path(data)),
                b'B' => Call::SyncBegins(inode, argument),
                b'E' => Call::SyncEnded(argument),
                _ => panic!("the recorder met a call that it cannot record: {}", String::from_utf8_lossy(data)),
            });
        }
        Self { root: root.to_owned(), root_inode: fs::metadata(root).unwrap().ino(), calls }
    }

    /// How many changes and syncs there were, each of which could have failed.
    pub(crate) fn changes(&self) -> usize {
        let could_fail = |call: &&Call| {
            matches!(
                call,
                Call::Create(..) | Call::Write(..) | Call::Rename(..) | Call::Link(..) | Call::SyncBegins(..)
            )
        };
        self.calls.iter().filter(could_fail).count()
    }

    /// How often a file or directory was synced.
    pub(crate) fn syncs(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call, Call::SyncEnded(_))).count()
    }

    /// Shows the disk right before each sync takes effect, which is when the most is acknowledged and the least is
    /// durable, and once more at the end.
    pub(crate) fn replay(&self, mut visit: impl FnMut(usize, &Disk)) {
        let mut disk = Disk::new(self.root.clone(), self.root_inode);
        let mut syncs = 0;
        for call in &self.calls {
            if matches!(call, Call::SyncEnded(_)) {
                visit(syncs, &disk);
                syncs += 1;
            }
            disk.apply(call);
        }
        visit(syncs, &disk);
    }

    /// Shows each change and each sync, with the disk as it was before.
    pub(crate) fn watch(&self, mut visit: impl FnMut(Seen<'_>, &Disk)) {
        let mut disk = Disk::new(self.root.clone(), self.root_inode);
        for call in &self.calls {
            match call {
                Call::Write(inode, _, bytes) => {
                    visit(
                        disk.inodes
                            .get(inode)
                            .and_then(|inode| disk.path_of(inode))
                            .map_or(Seen::Other, |path| Seen::Wrote(path, bytes)),
                        &disk,
                    );
                }
                Call::SyncEnded(number) => {
                    visit(
                        disk.syncing
                            .get(number)
                            .and_then(|(inode, _)| disk.path_of(inode))
                            .map_or(Seen::Other, Seen::Synced),
                        &disk,
                    );
                }
                _ => visit(Seen::Other, &disk),
            }
            disk.apply(call);
        }
    }
}

/// A call that a test looks for.
pub(crate) enum Seen<'t> {
    Wrote(PathBuf, &'t [u8]),
    Synced(PathBuf),
    Other,
}

/// A file, with its durable content and the changes that were not synced.
#[derive(Default)]
struct File {
    durable: Vec<u8>,
    pending: VecDeque<Change>,
    /// How many changes have become durable.
    applied: usize,
}

#[derive(Clone)]
enum Change {
    Write(usize, Arc<[u8]>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                if content.len() < at + bytes.len() {
                    content.resize(at + bytes.len(), 0);
                }
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Truncate(length) => content.resize(*length, 0),
        }
    }
}

impl File {
    fn content(&self, loss: Loss, salt: u64) -> Vec<u8> {
        let mut content = self.durable.clone();
        let seeded = |seed: u64| Random((seed ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        match loss {
            Loss::Everything | Loss::Data => {}
            Loss::OldestLog(_) => self.pending.iter().for_each(|change| change.apply(&mut content)),
            Loss::Torn(seed) => {
                let mut random = seeded(seed);
                let kept = random.below(self.pending.len() + 1);
                self.pending.iter().take(kept).for_each(|change| change.apply(&mut content));
                if let Some(Change::Write(at, bytes)) = self.pending.get(kept) {
                    Change::Write(*at, bytes[..random.below(bytes.len() + 1)].into()).apply(&mut content);
                }
            }
            Loss::Pages(seed) => {
                const PAGE: usize = 4096;
                let mut random = seeded(seed);
                self.pending.iter().for_each(|change| change.apply(&mut content));
                for (number, page) in content.chunks_mut(PAGE).enumerate() {
                    let before = self.durable.get(number * PAGE..).unwrap_or_default();
                    let before = &before[..before.len().min(page.len())];
                    if before != page && random.below(2) == 0 {
                        page.fill(0);
                        page[..before.len()].copy_from_slice(before);
                    }
                }
            }
        }
        content
    }
}

#[derive(Clone, Copy, Debug)]
enum Node {
    File(usize),
    Directory,
}

type Names = BTreeMap<PathBuf, Node>;

#[derive(Clone, Debug)]
enum NameChange {
    Add(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// The changes of names in one directory that were not synced.
#[derive(Default)]
struct Directory {
    pending: VecDeque<NameChange>,
    applied: usize,
}

/// What an inode number stands for. Numbers are used again after an unlink.
#[derive(Clone)]
enum Inode {
    File(usize),
    Directory(PathBuf),
}

/// The files of a process, with what of them is durable.
pub(crate) struct Disk {
    root: PathBuf,
    files: Vec<File>,
    inodes: HashMap<u64, Inode>,
    names: Names,
    durable_names: Names,
    directories: HashMap<PathBuf, Directory>,
    /// Syncs under way, with how many changes they cover.
    syncing: HashMap<u64, (Inode, usize)>,
}

impl Disk {
    fn new(root: PathBuf, inode: u64) -> Self {
        let names = Names::from([(root.clone(), Node::Directory)]);
        let inodes = HashMap::from([(inode, Inode::Directory(root.clone()))]);
        let (files, directories, syncing) = Default::default();
        Self { root, files, inodes, durable_names: names.clone(), names, directories, syncing }
    }

    fn apply(&mut self, call: &Call) {
        match call {
            Call::Create(inode, path) => {
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.inodes.insert(*inode, Inode::File(file));
                self.name(path, NameChange::Add(path.clone(), Node::File(file)));
            }
            Call::MakeDirectory(inode, path) => {
                self.inodes.insert(*inode, Inode::Directory(path.clone()));
                self.name(path, NameChange::Add(path.clone(), Node::Directory));
            }
            Call::Write(inode, at, bytes) => self.change(*inode, Change::Write(*at, bytes.as_slice().into())),
            Call::Truncate(inode, length) => self.change(*inode, Change::Truncate(*length)),
            Call::Unlink(path) => self.name(path, NameChange::Remove(path.clone())),
            Call::Rename(from, to) => {
                assert_eq!(from.parent(), to.parent(), "a rename between directories is two changes");
                // RocksDB's text log is written through stdio, which is not recorded.
                if let Some(node) = self.names.get(from).copied() {
                    self.name(to, NameChange::Rename(from.clone(), to.clone(), node));
                }
            }
            Call::Link(from, to) => {
                if let Some(node) = self.names.get(from).copied() {
                    self.name(to, NameChange::Add(to.clone(), node));
                }
            }
            Call::SyncBegins(inode, number) => {
                let Some(found) = self.inodes.get(inode).cloned() else { return };
                let covered = match &found {
                    Inode::File(file) => self.files[*file].applied + self.files[*file].pending.len(),
                    Inode::Directory(path) => {
                        let directory = self.directories.entry(path.clone()).or_default();
                        directory.applied + directory.pending.len()
                    }
                };
                self.syncing.insert(*number, (found, covered));
            }
            Call::SyncEnded(number) => match self.syncing.remove(number) {
                Some((Inode::File(file), covered)) => {
                    let File { durable, pending, applied } = &mut self.files[file];
                    while *applied < covered {
                        pending.pop_front().unwrap().apply(durable);
                        *applied += 1;
                    }
                }
                Some((Inode::Directory(path), covered)) => {
                    let Directory { pending, applied } = self.directories.entry(path).or_default();
                    while *applied < covered {
                        pending.pop_front().unwrap().apply(&mut self.durable_names);
                        *applied += 1;
                    }
                }
                None => {}
            },
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        match self.inodes.get(&inode) {
            Some(Inode::File(file)) => self.files[*file].pending.push_back(change),
            _ => panic!("a write to a file that was not seen to be created"),
        }
    }

    fn name(&mut self, path: &Path, change: NameChange) {
        change.apply(&mut self.names);
        self.directories.entry(path.parent().unwrap().to_owned()).or_default().pending.push_back(change);
    }

    /// The path of a file in the root.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The whole content of a file, synced or not.
    pub(crate) fn written(&self, path: &Path) -> Vec<u8> {
        let Some(Node::File(file)) = self.names.get(path) else { return Vec::new() };
        let File { durable, pending, .. } = &self.files[*file];
        let mut content = durable.clone();
        pending.iter().for_each(|change| change.apply(&mut content));
        content
    }

    /// The logs with unsynced data, oldest first.
    pub(crate) fn unsynced_logs(&self) -> Vec<&Path> {
        let is_unsynced = |node: &Node| matches!(node, Node::File(file) if !self.files[*file].pending.is_empty());
        let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
        let names = self.names.iter().filter(|(path, node)| is_log(path) && is_unsynced(node));
        // The numbers in their names have the same length.
        names.map(|(path, _)| path.as_path()).collect()
    }

    /// The unsynced writes to a file, as their ends from where they begin.
    pub(crate) fn unsynced_ends(&self, path: &Path) -> Vec<usize> {
        let Some(Node::File(file)) = self.names.get(path) else { return Vec::new() };
        let lens = self.files[*file].pending.iter().map(|change| match change {
            Change::Write(_, bytes) => bytes.len(),
            Change::Truncate(_) => 0,
        });
        lens.scan(0, |end, len| {
            *end += len;
            Some(*end)
        })
        .collect()
    }

    /// How many bytes were written to files like these and not synced.
    pub(crate) fn unsynced(&self, is_file: impl Fn(&Path) -> bool) -> usize {
        let files = self.names.iter().filter(|(path, _)| is_file(path));
        let pending = files.filter_map(|(_, node)| match node {
            Node::File(file) => Some(&self.files[*file].pending),
            Node::Directory => None,
        });
        let bytes = |change: &Change| if let Change::Write(_, bytes) = change { bytes.len() } else { 0 };
        pending.flatten().map(bytes).sum()
    }

    /// The present name of a file or directory.
    fn path_of(&self, inode: &Inode) -> Option<PathBuf> {
        match inode {
            Inode::Directory(path) => Some(path.clone()),
            Inode::File(found) => {
                let mut names = self.names.iter();
                names.find(|(_, node)| matches!(node, Node::File(file) if file == found)).map(|(path, _)| path.clone())
            }
        }
    }

    /// Writes what power loss at this point leaves of the root into an empty directory.
    pub(crate) fn write_image(&self, to: &Path, loss: Loss) {
        let names = if loss == Loss::Everything { &self.durable_names } else { &self.names };
        let oldest = self.unsynced_logs().first().map(|path| path.to_path_buf());
        // Parents sort before what is in them. A file whose directory is not durable is lost with it.
        let is_reachable = |path: &Path| {
            path.ancestors().skip(1).any(|parent| parent == self.root)
                && path.ancestors().take_while(|parent| *parent != self.root).all(|parent| names.contains_key(parent))
        };
        for (path, node) in names.iter().filter(|(path, _)| is_reachable(path)) {
            let target = to.join(path.strip_prefix(&self.root).unwrap());
            match node {
                Node::Directory => fs::create_dir(target).unwrap(),
                Node::File(file) => {
                    let opened = &self.files[*file];
                    let mut content = opened.content(loss, *file as u64);
                    if let Loss::OldestLog(bytes) = loss
                        && oldest.as_ref() == Some(path)
                    {
                        content.truncate(opened.durable.len() + bytes);
                    }
                    fs::write(target, content).unwrap();
                }
            }
        }
    }
}
