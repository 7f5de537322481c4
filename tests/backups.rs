//! Backups: the newest is restored or none, whatever file is damaged, and a restore that fails leaves nothing.
#![cfg(feature = "rocksdb")]

use std::fs;
use std::path::{Path, PathBuf};

use profiledb::{Db, Update};
use tempfile::TempDir;

/// A directory with the backups 1 and 2 of a store, and the users in each.
struct Backups {
    dir: TempDir,
    users: [Vec<String>; 2],
}

impl Backups {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path().join("store")).unwrap();
        let fill = |from: u32| {
            for n in from..from + 40 {
                db.users().update(&format!("u{n}"), Update::new().set("n", n).ignore_time()).unwrap();
            }
        };
        fill(0);
        let first = users(&db);
        assert_eq!(db.backup(dir.path().join("backups")).unwrap().id, 1);
        fill(40);
        db.compact().unwrap();
        let second = users(&db);
        assert_eq!(db.backup(dir.path().join("backups")).unwrap().id, 2);
        Self { dir, users: [first, second] }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("restored")
    }

    /// Every file of the directory, but for the one that is locked.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.path()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { files.push(path) }
            }
        }
        files.retain(|path| !path.ends_with("LOCK"));
        files.sort();
        files
    }

    /// The newest backup is restored as it was, or nothing is. Returns which.
    #[track_caller]
    fn newest_or_error(&self, what: &str) -> bool {
        let target = self.target();
        match Db::restore(self.path(), &target) {
            Ok(restored) => {
                assert_eq!(restored.id, 2, "{what}");
                assert_eq!(users(&Db::open(&target).unwrap()), self.users[1], "{what}");
                fs::remove_dir_all(&target).unwrap();
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty() && !target.exists(), "{what}: {error}");
                false
            }
        }
    }

    fn is_verified(&self) -> bool {
        let verified = Db::verify_backups(self.path(), None);
        verified.is_ok_and(|backups| backups.len() == 2 && backups.iter().all(|backup| backup.damage.is_none()))
    }
}

fn users(db: &Db) -> Vec<String> {
    db.users().iter().map(|row| row.map(|(id, profile)| format!("{id} {profile:?}")).unwrap()).collect()
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn the_newest_is_restored_or_none_whatever_file_is_damaged() {
    let backups = Backups::new();
    assert!(backups.newest_or_error("undamaged") && backups.is_verified());
    let files = backups.files();
    assert!(files.len() > 10 && files.iter().any(|path| name(path).contains("shared_checksum")), "{files:?}");
    let (mut restored, mut refused) = (0, 0);
    let mut damage = |path: &Path, what: &str, bytes: Option<&[u8]>| {
        let before = fs::read(path).unwrap();
        if bytes == Some(&before) {
            return;
        }
        match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let what = format!("{what} {}", name(path));
        // Without its last line break, the marker says the same.
        assert!(!backups.is_verified() || path.ends_with("PROFILEDB"), "{what} is not noticed");
        *(if backups.newest_or_error(&what) { &mut restored } else { &mut refused }) += 1;
        fs::write(path, &before).unwrap();
    };
    for path in &files {
        let before = fs::read(path).unwrap();
        damage(path, "removed", None);
        // What only the older backup has makes no difference to the newest.
        if name(path).contains("/1/") || name(path).ends_with("/1") {
            damage(path, "emptied", Some(b""));
            continue;
        }
        damage(path, "longer", Some(&[&before[..], b"\0"].concat()));
        for cut in [0, before.len() / 3, before.len().saturating_sub(1)] {
            damage(path, &format!("cut to {cut}"), Some(&before[..cut.min(before.len())]));
        }
        let small = ["meta", "seals", "PROFILEDB"].iter().any(|part| name(path).contains(&format!("backups/{part}")));
        let step = if small { 29 } else { before.len() * 8 / 3 + 1 };
        for bit in (0..before.len() * 8).step_by(step) {
            let mut bytes = before.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            damage(path, &format!("bit {bit} flipped"), Some(&bytes));
        }
        // Swapped with the file of the other backup.
        let other = name(path).replace("/2", "/1");
        if other != name(path) && Path::new(&other).exists() {
            damage(path, "an older copy of", Some(&fs::read(other).unwrap()));
        }
    }
    assert!(restored > 5 && refused > 100, "restored={restored} refused={refused}");
    assert!(backups.newest_or_error("mended") && backups.is_verified());
}

#[test]
fn a_damaged_backup_is_named_and_an_older_one_can_be_chosen() {
    let backups = Backups::new();
    let meta = backups.path().join("meta/2");
    let list = fs::read(&meta).unwrap();
    fs::write(&meta, &list[..list.len() / 2]).unwrap();
    let error = Db::restore(backups.path(), backups.target()).unwrap_err();
    assert!(error.is_corrupt() && error.message().contains("backup=2"), "{error}");
    assert!(error.message().contains("undamaged backups=[1]"), "{error}");
    let listed = Db::backups(backups.path()).unwrap();
    let seen: Vec<_> =
        listed.iter().map(|backup| (backup.id, backup.bytes.is_some(), backup.damage.is_some())).collect();
    assert_eq!(seen, [(1, true, false), (2, false, true)]);
    assert!(Db::restore_backup(backups.path(), 2, backups.target()).unwrap_err().is_corrupt());
    assert!(Db::restore_backup(backups.path(), 3, backups.target()).unwrap_err().is_not_found());
    assert!(!backups.target().exists());
    assert_eq!(Db::restore_backup(backups.path(), 1, backups.target()).unwrap().id, 1);
    let db = Db::open(backups.target()).unwrap();
    assert_eq!(users(&db), backups.users[0]);
    assert!(db.check().unwrap().is_sound());

    // One without a seal, as older versions made them, is restored when it is named.
    fs::write(&meta, &list).unwrap();
    fs::remove_file(backups.path().join("seals/2")).unwrap();
    let target = backups.dir.path().join("unsealed");
    assert!(Db::restore(backups.path(), &target).unwrap_err().message().contains("seal"));
    assert_eq!(Db::restore_backup(backups.path(), 2, &target).unwrap().id, 2);
    assert_eq!(users(&Db::open(&target).unwrap()), backups.users[1]);
    // The next backup is whole again.
    assert_eq!(db.backup(backups.path()).unwrap().id, 3);
    assert_eq!(Db::restore(backups.path(), backups.dir.path().join("third")).unwrap().id, 3);
}

#[test]
fn a_restore_that_was_interrupted_is_no_store_and_the_next_one_starts_over() {
    let backups = Backups::new();
    let target = backups.target();
    Db::restore(backups.path(), &target).unwrap();
    fs::create_dir(target.join("RESTORING")).unwrap();
    fs::write(target.join("RESTORING/000099.sst"), "half").unwrap();
    for error in [Db::open(&target).unwrap_err(), Db::builder().open_read_only(&target).unwrap_err()] {
        assert!(error.is_corrupt() && error.message().contains("restore again"), "{error}");
    }
    assert_eq!(Db::restore(backups.path(), &target).unwrap().id, 2);
    assert_eq!(users(&Db::open(&target).unwrap()), backups.users[1]);

    // Into a directory that exists, a restore that fails leaves it, and leaves it empty.
    let empty = backups.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let table = backups.files().into_iter().rfind(|path| name(path).ends_with(".sst")).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[100] ^= 1;
    fs::write(&table, bytes).unwrap();
    let damaged = Db::verify_backups(backups.path(), None).unwrap().into_iter().find(|backup| backup.damage.is_some());
    assert!(Db::restore_backup(backups.path(), damaged.unwrap().id, &empty).unwrap_err().is_corrupt());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn stores_and_backups_do_not_lie_in_each_other() {
    let backups = Backups::new();
    let store = backups.dir.path().join("store");
    let db = Db::open(&store).unwrap();
    for inside in [store.join("backups"), store.join("../store/a/b"), store.clone()] {
        assert!(db.backup(&inside).unwrap_err().is_invalid());
    }
    for inside in [backups.path().join("private/1"), backups.path().join("new"), backups.path()] {
        assert!(Db::restore(backups.path(), inside).unwrap_err().is_invalid());
    }
    assert!(Db::restore(backups.path(), &store).unwrap_err().message().contains("must be empty"));
    assert!(backups.newest_or_error("untouched") && backups.is_verified());
}

/// A store that was restored and never opened is as well protected as any other.
#[test]
fn a_restored_store_notices_that_its_manifest_was_cut() {
    let backups = Backups::new();
    let target = backups.target();
    Db::restore(backups.path(), &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("PROFILEDB")).unwrap(), "profiledb\nformat 2\noperators 1\n");
    let current = fs::read_to_string(target.join("CURRENT")).unwrap();
    let manifest = target.join(current.trim_end());
    let whole = fs::read(&manifest).unwrap();
    let refused = (0..whole.len()).step_by(7).chain([whole.len() - 1]).all(|length| {
        fs::write(&manifest, &whole[..length]).unwrap();
        Db::builder().open_read_only(&target).is_err_and(|error| error.is_corrupt())
    });
    assert!(refused);
    fs::write(&manifest, &whole).unwrap();
    assert_eq!(users(&Db::builder().open_read_only(&target).unwrap()), backups.users[1]);
}
