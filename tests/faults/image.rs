//! A store as it was left, and what is done to its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::{fs, io};

use profiledb::{Db, Durability, Kind, Update};

use super::contents::{COMMITS, FILLER, ROUND, SETUP, builder, commit, text};

/// How the attacked store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its process was killed.
    Killed,
    /// Its process was killed when a table had been flushed whose log the others still need.
    TwoLogs,
    /// Its process was killed as well with two logs, and the last two rounds were not synced.
    Unsynced,
    /// Its machine lost power, and the disk lost nothing.
    Rebooted,
    /// Its process was killed after many tables had been created and dropped whose writes were never flushed.
    Dropped,
    /// Its process was killed after events had been sealed twice: what was sealed first is flushed, the rest is in the
    /// log.
    Sealed,
    /// It was closed.
    Closed,
}

impl Left {
    pub(crate) const ALL: [Self; 7] =
        [Self::Killed, Self::TwoLogs, Self::Unsynced, Self::Rebooted, Self::Dropped, Self::Sealed, Self::Closed];

    /// How many commits must be there.
    pub(crate) fn synced(self) -> usize {
        if self == Self::Unsynced { COMMITS - 2 * ROUND } else { COMMITS }
    }
}

/// Files by name.
type Files = BTreeMap<String, Vec<u8>>;

/// The files of a store, and of the same store at earlier times.
pub(crate) struct Store {
    pub(crate) left: Left,
    pub(crate) files: Files,
    older: Vec<Files>,
}

/// What is done to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Flip {
        file: String,
        at: usize,
        bit: u32,
    },
    Cut {
        file: String,
        len: usize,
    },
    /// These bytes are zeros.
    Zero {
        file: String,
        at: usize,
        len: usize,
    },
    Remove {
        file: String,
    },
    /// The file is as it was at an earlier time. A file that is no more is there again.
    Older {
        file: String,
        copy: usize,
    },
    /// Two files have changed their names.
    Exchange {
        one: String,
        other: String,
    },
}

impl Fault {
    fn apply(&self, store: &Store, files: &mut Files) {
        match self {
            Self::Flip { file, at, bit } => files.get_mut(file).unwrap()[*at] ^= 1 << bit,
            Self::Cut { file, len } => files.get_mut(file).unwrap().truncate(*len),
            Self::Zero { file, at, len } => files.get_mut(file).unwrap()[*at..][..*len].fill(0),
            Self::Remove { file } => drop(files.remove(file).unwrap()),
            Self::Older { file, copy } => drop(files.insert(file.clone(), store.older[*copy][file].clone())),
            Self::Exchange { one, other } => {
                let [first, second] = [one, other].map(|name| files.remove(name).unwrap());
                files.extend([(one.clone(), second), (other.clone(), first)]);
            }
        }
    }
}

impl Store {
    /// Lets a child process make the store.
    pub(crate) fn make(left: Left) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = super::command("write", dir.path(), &format!("{left:?}"));
        let ended = writer.stderr(Stdio::piped()).output().unwrap();
        // A panic closes the store: it is not the kill that the image is to show.
        let is_as_intended = if left == Left::Closed { ended.status.success() } else { ended.status.code().is_none() };
        assert!(is_as_intended, "the child that writes: {}: {}", ended.status, String::from_utf8_lossy(&ended.stderr));
        let mut files = files(&dir.path().join("store"));
        if left == Left::Rebooted {
            super::support::reboot(files.get_mut("PROFILEDB.synced").unwrap());
        }
        let older = (0..).map(|copy| dir.path().join(copy.to_string())).take_while(|copy| copy.exists());
        Self { left, files, older: older.map(|copy| self::files(&copy)).collect() }
    }

    /// Files of a kind: `.log`, or `MANIFEST-`.
    pub(crate) fn named(&self, part: &str) -> Vec<(&String, &Vec<u8>)> {
        self.files.iter().filter(|(name, _)| name.contains(part)).collect()
    }

    /// Each file removed, emptied, swapped with an older copy of itself, or with another file of its kind.
    pub(crate) fn whole_files(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (name, content) in &self.files {
            faults.push(Fault::Remove { file: name.clone() });
            if !content.is_empty() {
                faults.push(Fault::Cut { file: name.clone(), len: 0 });
            }
            let kind = |name: &str| name.rsplit('.').next().map(str::to_owned);
            let is_numbered = name.starts_with(|first: char| first.is_ascii_digit());
            let others = self.files.keys().filter(|other| *other > name && kind(other) == kind(name) && is_numbered);
            faults.extend(others.map(|other| Fault::Exchange { one: name.clone(), other: other.clone() }));
        }
        for (copy, older) in self.older.iter().enumerate() {
            for (name, content) in older {
                let is_new = self.files.get(name) != Some(content)
                    && !self.older[..copy].iter().any(|before| before.get(name) == Some(content));
                if is_new {
                    faults.push(Fault::Older { file: name.clone(), copy });
                }
            }
        }
        faults
    }

    /// Writes the store with a fault into an image, next to which it has a directory for scratch files.
    pub(crate) fn write(&self, fault: Option<&Fault>, image: &Path) {
        let mut files = self.files.clone();
        if let Some(fault) = fault {
            fault.apply(self, &mut files);
        }
        let store = image.join("store");
        fs::create_dir(&store).unwrap();
        for (name, content) in files {
            fs::write(store.join(name), content).unwrap();
        }
    }
}

fn files(dir: &Path) -> Files {
    let read = || -> io::Result<Files> {
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name().into_string().unwrap(), fs::read(entry.path())?))
            })
            .collect()
    };
    loop {
        match read() {
            // RocksDB deletes files in the background while this process has the store open.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            files => return files.unwrap(),
        }
    }
}

/// Runs in the child: writes the store, copies it now and then, and leaves it as it shall be left.
pub(crate) fn write(dir: &Path, left: &str) {
    let left = Left::ALL.into_iter().find(|at| format!("{at:?}") == left).unwrap();
    let store = dir.join("store");
    let mut copies = 0;
    let mut copy = || {
        let to = dir.join(copies.to_string());
        fs::create_dir(&to).unwrap();
        for (name, content) in files(&store) {
            fs::write(to.join(name), content).unwrap();
        }
        copies += 1;
    };
    let db = builder().open(&store).unwrap();
    (1..=SETUP).for_each(|n| db.write(commit(n)).unwrap());
    db.compact().unwrap();
    db.close().unwrap();
    copy();
    let db = builder().open(&store).unwrap();
    copy();
    let rounds: Vec<usize> = (SETUP + 1..=COMMITS).collect();
    for (round, commits) in rounds.chunks(ROUND).enumerate() {
        for n in commits {
            let durability = if *n > left.synced() { Durability::Buffered } else { Durability::Synced };
            db.write_with(commit(*n), durability).unwrap();
            if left == Left::Dropped {
                (0..temporary_tables(*n)).for_each(|table| use_temporary(&db, *n, table));
            }
        }
        if left == Left::Sealed && round < 2 {
            assert!(db.events().seal().unwrap().events > 0);
        }
        match (round, left) {
            (0, _) => db.flush().unwrap(),
            (1, Left::TwoLogs | Left::Unsynced) => fill_a_memtable(&db, left),
            _ => {}
        }
        copy();
    }
    match left {
        Left::Closed => db.close().unwrap(),
        _ => std::process::abort(),
    }
}

/// How many tables are created and dropped again after a commit. Each takes two commits.
pub(crate) fn temporary_tables(n: usize) -> usize {
    [0, 1, 3][n % 3]
}

/// Creates a table, writes to it, and drops it.
fn use_temporary(db: &Db, n: usize, table: usize) {
    let key = format!("temporary {table}");
    db.groups(&key).unwrap().update("x", Update::new().set("text", text(n, 40))).unwrap();
    assert!(db.drop_table(&Kind::group(key).unwrap()).unwrap());
}

/// Lets RocksDB flush the users alone, and begin another log.
fn fill_a_memtable(db: &Db, left: Left) {
    let durability = if left == Left::Unsynced { Durability::Buffered } else { Durability::Synced };
    db.users().update_with(FILLER, Update::new().set("text", text(3, 70 << 10)), durability).unwrap();
    db.users().delete_with(FILLER, durability).unwrap();
}
