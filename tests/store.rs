//! The store: every verb, against a plain fold.

#![cfg(feature = "rocksdb")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use profiledb::{
    Batch, Change, Db, Durability, ErrorKind, Event, Kind, Limits, PLACE_PROPERTIES, Profile, ProfileKey, Timestamp,
    Update,
};
use support::TempStore;

fn builder() -> profiledb::Builder {
    Db::builder().durability(Durability::Buffered).clock(|| Timestamp::from_seconds(1_000)).block_cache_bytes(8 << 20)
}

fn json(profile: Option<Profile>) -> String {
    serde_json::to_string(&profile).unwrap()
}

#[test]
fn a_profile_is_created_updated_and_deleted() {
    let temp = TempStore::new(builder);
    let users = temp.open().users();
    assert_eq!(users.get("alice").unwrap(), None);
    assert!(!users.contains("alice").unwrap());
    users.update("alice", Update::new().set("plan", "free").add("logins", 1).union("teams", ["eng"])).unwrap();
    users.update("alice", Update::new().set("plan", "pro").append("teams", "ops").remove("teams", "eng")).unwrap();
    let expected = r#"{"$last_seen":"1970-01-01T00:16:40","logins":1,"plan":"pro","teams":["ops"]}"#;
    assert_eq!(json(users.get("alice").unwrap()), expected);
    assert_eq!(users.get_property("alice", "plan").unwrap(), Some("pro".into()));
    assert_eq!(users.get_property("alice", "nothing").unwrap(), None);
    assert!(users.contains("alice").unwrap());
    users.delete("alice").unwrap();
    assert_eq!(users.get("alice").unwrap(), None);
    users.update("alice", Update::new().unset("plan")).unwrap();
    assert_eq!((users.get("alice").unwrap(), users.contains("alice").unwrap()), (None, false));
    assert_eq!(users.iter().count(), 0, "scans skip the rows of absent profiles");
    users.update("alice", Update::new().set("b", 2).ignore_time()).unwrap();
    assert_eq!(json(users.get("alice").unwrap()), r#"{"b":2}"#);
}

/// The logs of a store, and how many bytes are in them.
fn logs(store: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let files = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap());
    let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    logs.map(|log| (log.path(), log.metadata().unwrap().len())).collect()
}

#[test]
fn a_closed_store_does_not_need_its_log() {
    for close in [|db: Db| db.close().unwrap(), |db: Db| drop(db)] {
        let temp = TempStore::new(builder);
        let db = temp.open();
        for kind in ["company", "team"] {
            db.groups(kind).unwrap().update("acme", Update::new().set("kind", kind)).unwrap();
            db.users().update("ann", Update::new().add("n", 1)).unwrap();
        }
        close(db);
        let logs = logs(&temp.store());
        assert_eq!(logs.iter().map(|(_, bytes)| bytes).sum::<u64>(), 0, "{logs:?}");
        logs.iter().for_each(|(log, _)| std::fs::remove_file(log).unwrap());
        let db = temp.open();
        assert_eq!(db.users().get_property("ann", "n").unwrap(), Some(2.into()));
        assert_eq!(db.groups("team").unwrap().get_property("acme", "kind").unwrap(), Some("team".into()));
    }
}

#[test]
fn a_store_that_is_closed_without_a_flush_has_its_writes_in_the_log() {
    let temp = TempStore::new(|| builder().flush_on_close(false));
    temp.open().users().update("ann", Update::new().add("n", 1)).unwrap();
    assert!(logs(&temp.store()).iter().any(|(_, bytes)| *bytes > 0));
    assert_eq!(temp.open().users().get_property("ann", "n").unwrap(), Some(1.into()));
}

#[test]
fn tables_are_separate_created_on_first_use_and_persistent() {
    let temp = TempStore::new(builder);
    {
        let db = temp.open();
        let company = db.groups("company").unwrap();
        assert_eq!(company.get("acme").unwrap(), None, "a table that was never written is empty");
        assert_eq!(db.kinds(), []);
        company.update("acme", Update::new().set("tier", "gold")).unwrap();
        db.groups("team").unwrap().update("acme", Update::new().set("tier", "silver")).unwrap();
        db.users().update("acme", Update::new().set("tier", "none")).unwrap();
        assert!(db.groups("").unwrap_err().is_invalid());
    }
    let db = temp.open();
    let group = |key: &str| Kind::Group(key.to_owned());
    assert_eq!(db.kinds(), [Kind::User, group("company"), group("team")]);
    let tier = |kind| db.table(&kind).get_property("acme", "tier").unwrap();
    assert_eq!(tier(group("company")), Some("gold".into()));
    assert_eq!(tier(group("team")), Some("silver".into()));
    assert_eq!(tier(Kind::User), Some("none".into()));
}

#[test]
fn scans_are_ordered_by_id_and_see_one_snapshot() {
    let temp = TempStore::new(builder);
    let users = temp.open().users();
    for id in ["b", "a", "ab", "ü", "c", "a\u{10ffff}"] {
        users.update(id, Update::new().set("id", id)).unwrap();
    }
    let ids = |rows: profiledb::Profiles| rows.map(|row| row.unwrap().0).collect::<Vec<_>>();
    let before = users.iter();
    users.update("d", Update::new().set("id", "d")).unwrap();
    users.delete("a").unwrap();
    assert_eq!(ids(before), ["a", "ab", "a\u{10ffff}", "b", "c", "ü"]);
    assert_eq!(ids(users.iter()), ["ab", "a\u{10ffff}", "b", "c", "d", "ü"]);
    assert_eq!(ids(users.prefix("a")), ["ab", "a\u{10ffff}"]);
    assert_eq!(ids(users.range("b".."d")), ["b", "c"]);
    assert_eq!(ids(users.range("b"..="d")), ["b", "c", "d"]);
    assert_eq!(ids(users.range("d".."b")), [""; 0]);
    let many = users.get_many(&["c", "nobody", "b", "c"]).unwrap();
    let many: Vec<_> = many.into_iter().map(|profile| profile.map(|profile| profile.get("id").cloned())).collect();
    assert_eq!(many, [Some(Some("c".into())), None, Some(Some("b".into())), Some(Some("c".into()))]);
}

#[test]
fn a_batch_is_all_or_nothing() {
    let temp = TempStore::new(builder);
    let mut limits = Limits::mixpanel();
    limits.properties_max = 3;
    let db = builder().limits(limits).open(temp.store()).unwrap();
    let (alice, acme) = (ProfileKey::user("alice").unwrap(), ProfileKey::group("company", "acme").unwrap());
    let mut batch = Batch::new();
    batch.change(alice.clone(), Update::new().set("a", 1));
    batch.change(acme.clone(), Update::new().set("tier", "gold"));
    batch.change(alice.clone(), Update::new().add("a", 1));
    db.write(batch).unwrap();
    assert_eq!(db.users().get_property("alice", "a").unwrap(), Some(2.into()));

    // The last change exceeds the limit, so neither the update nor the delete is applied.
    let mut batch = Batch::new();
    batch.change(alice.clone(), Update::new().set("b", 1));
    batch.change(acme.clone(), Change::Delete);
    batch.change(alice.clone(), Update::new().set("c", 1).set("d", 1).set("e", 1));
    let error = db.write(batch).unwrap_err();
    assert!(error.is_limit_exceeded() && error.message().contains("alice"), "{error}");
    assert_eq!(json(db.users().get("alice").unwrap()), r#"{"$last_seen":"1970-01-01T00:16:40","a":2}"#);
    assert!(db.groups("company").unwrap().contains("acme").unwrap());

    // An update that fails validation fails the whole batch.
    let mut batch = Batch::new();
    batch.change(alice.clone(), Change::Delete);
    batch.change(acme, Update::new().set("x", f64::NAN));
    assert_eq!(db.write(batch).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(db.users().contains("alice").unwrap());
}

#[test]
fn deletions_of_users_are_remembered_and_validated() {
    let temp = TempStore::new(builder);
    {
        let db = temp.open();
        for id in ["ann", "bob", "cid"] {
            db.users().update(id, Update::new().set("x", 1)).unwrap();
        }
        assert!(db.delete_users([""; 0]).unwrap_err().is_invalid());
        assert!(db.delete_users(["ann", ""]).unwrap_err().is_invalid());
        assert!(db.delete_users(["ann".to_owned(), "x".repeat(70_000)]).unwrap_err().is_invalid());
        assert_eq!((db.users().iter().count(), db.deletion(1).unwrap()), (3, None));
        assert_eq!(db.delete_users(["ann", "ann", "none"]).unwrap(), 1);
        assert_eq!(db.delete_users(["bob"]).unwrap(), 2);
        assert_eq!(db.resume_deletions().unwrap(), 0);
    }
    let db = Db::builder().open_read_only(temp.store()).unwrap();
    assert_eq!(db.users().iter().count(), 1);
    let deletion = db.deletion(1).unwrap().unwrap();
    assert_eq!((deletion.number, deletion.is_done), (1, true));
    assert_eq!(deletion.distinct_ids, ["ann", "ann", "none"]);
    assert!(db.delete_users(["cid"]).unwrap_err().is_read_only());
    assert_eq!(db.deletion(3).unwrap(), None);
}

/// Wherever they come from, and in each way of counting: by the names of the table, and by the row.
#[test]
fn properties_of_a_place_do_not_count_as_the_limit() {
    let temp = TempStore::new(builder);
    let open = || {
        let mut limits = Limits::mixpanel();
        limits.properties_max = 2;
        builder().limits(limits).open(temp.store()).unwrap()
    };
    let place = || PLACE_PROPERTIES.iter().fold(Update::new(), |update, name| update.set(*name, "x"));
    for _ in 0..2 {
        let db = open();
        db.users().update("ann", place().set("a", 1).set("b", 1)).unwrap();
        assert!(db.stats().tables.iter().all(|table| table.names == 2 && !table.wide));
    }
    let db = open();
    assert!(db.users().update("ann", Update::new().set("c", 1)).unwrap_err().is_limit_exceeded());
    db.users().update("bob", Update::new().set("c", 1).set("d", 1)).unwrap();
    db.users().update("bob", place()).unwrap();
    assert!(db.users().update("bob", place().set("e", 1)).unwrap_err().is_limit_exceeded());
    assert!(db.users().update("bob", Update::new().set("$cit", 1)).unwrap_err().is_limit_exceeded());
    assert_eq!(db.users().get("bob").unwrap().unwrap().properties().len(), 7);
    assert!(db.check().unwrap().tables.iter().all(|table| table.over_limit == 0));
}

#[test]
fn the_limit_on_properties_is_exact_and_survives_reopening() {
    let temp = TempStore::new(builder);
    let open = || {
        let mut limits = Limits::mixpanel();
        limits.properties_max = 10;
        builder().limits(limits).open(temp.store()).unwrap()
    };
    let name = |n: usize| format!("p{n}");
    let update = |names: std::ops::Range<usize>| names.fold(Update::new(), |update, n| update.set(name(n), n as i64));
    {
        let users = open().users();
        users.update("full", update(0..10)).unwrap();
        let error = users.update("full", update(9..11)).unwrap_err();
        assert!(error.is_limit_exceeded(), "{error}");
        users.update("full", Update::new().add("p3", 1)).unwrap();
        users.update("other", update(5..15)).unwrap();
    }
    let users = open().users();
    assert!(users.update("full", update(10..11)).unwrap_err().is_limit_exceeded());
    assert!(users.update("other", update(0..1)).unwrap_err().is_limit_exceeded());
    users.update("full", Update::new().set("p3", "x").set_once("p4", 1)).unwrap();
    users.update("full", Update::new().unset("p3").set("new", 1)).unwrap();
    assert!(users.update("full", Update::new().append("another", 1)).unwrap_err().is_limit_exceeded());
    users.delete("full").unwrap();
    users.update("full", update(20..30)).unwrap();
    assert_eq!(users.get("full").unwrap().unwrap().properties().len(), 10);
    assert_eq!(users.get("other").unwrap().unwrap().properties().len(), 10);
}

#[test]
fn concurrent_writers_lose_nothing_and_share_commits() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let (threads, each) = (8, 500);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let users = db.users();
            scope.spawn(move || {
                let mut commits = Vec::new();
                for n in 0..each {
                    let update = Update::new().add("count", 1).append("log", format!("{thread}:{n}"));
                    match n % 3 {
                        0 => users.update("shared", update).unwrap(),
                        1 => commits.push(users.submit("shared", update).unwrap()),
                        _ => users.update_with("shared", update, Durability::Synced).unwrap(),
                    }
                }
                commits.into_iter().for_each(|commit| commit.wait().unwrap());
            });
        }
    });
    let shared = db.users().get("shared").unwrap().unwrap();
    assert_eq!(shared.get("count"), Some(&i64::from(threads * each).into()));
    // The updates of each thread are in program order.
    let log = shared.get("log").unwrap().as_list().unwrap();
    for thread in 0..threads {
        let own =
            log.iter().filter_map(|entry| entry.as_str()?.strip_prefix(&format!("{thread}:"))?.parse::<i32>().ok());
        assert!(own.eq(0..each));
    }
    let writes = db.stats().writes;
    assert_eq!(writes.requests, (threads * each) as u64);
    assert!(writes.commits < writes.requests, "{writes:?}");
}

#[test]
fn submitted_updates_are_committed_before_the_store_closes() {
    let temp = TempStore::new(builder);
    let users = temp.open().users();
    for n in 0..1_000 {
        // These commits are not waited for.
        drop(users.submit(&format!("user-{n}"), Update::new().set("n", n)).unwrap());
    }
    drop(users);
    assert_eq!(temp.open().users().iter().count(), 1_000);
}

/// An executor of one future that sleeps until it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_commit_is_awaited_by_threads_and_by_tasks() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let users = db.users();
    let submit = |n: i64| users.submit_with("alice", Update::new().set("n", n), Durability::Synced).unwrap();
    for n in 0..50 {
        let commits: Vec<_> = (0..8).map(|k| submit(n * 8 + k)).collect();
        block_on(async {
            for commit in commits {
                commit.await.unwrap();
            }
        });
        let now = submit(n * 8 + 8);
        assert!(now.wait_timeout(Duration::from_secs(60)).unwrap().is_ok() && now.outcome().unwrap().is_ok());
        assert_eq!(users.get_property("alice", "n").unwrap(), Some((n * 8 + 8).into()));
        assert!(block_on(submit(0)).is_ok() && submit(1).wait().is_ok());
    }
    let mut limits = Limits::mixpanel();
    limits.properties_max = 1;
    let users = Db::builder().limits(limits).open(temp.path("narrow")).unwrap().users();
    let over = || users.submit("bob", Update::new().set("a", 1).set("b", 2)).unwrap();
    assert!(block_on(over()).unwrap_err().is_limit_exceeded() && over().wait().unwrap_err().is_limit_exceeded());
    assert!(over().wait_timeout(Duration::from_secs(60)).unwrap().unwrap_err().is_limit_exceeded());
}

#[test]
fn a_full_queue_is_busy_and_loses_nothing() {
    let temp = TempStore::new(builder);
    let db = Db::builder().limits(Limits::unbounded()).open(temp.store()).unwrap();
    let users = db.users();
    let text = "x".repeat(400_000);
    let update = |n: usize| Update::new().set("n", n as i64).set("text", text.as_str());
    let mut commits = Vec::new();
    let busy = (0..100_000).find_map(|n| match users.try_submit(&n.to_string(), update(n)) {
        Ok(commit) => {
            commits.push(commit);
            None
        }
        Err(error) => Some(error),
    });
    let busy = busy.expect("the queue is faster than the disk");
    assert!(busy.is_busy() && busy.message().contains("bytes_max=16777216"), "{busy}");
    // It blocks, and is committed after all others.
    let accepted = commits.len();
    users.submit("last", update(0)).unwrap().wait().unwrap();
    assert!(commits.iter().all(|commit| commit.outcome().is_some_and(|outcome| outcome.is_ok())));
    assert_eq!(users.scan().select([""; 0]).iter().count(), accepted + 1);
}

#[test]
fn a_closed_store_refuses_writes() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let users = db.users();
    users.update("alice", Update::new().set("a", 1)).unwrap();
    db.close().unwrap();
    assert_eq!(users.update("alice", Update::new().set("a", 2)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(users.get_property("alice", "a").unwrap(), Some(1.into()));
}

#[test]
fn last_seen_is_clamped_to_now_and_never_moves_backwards() {
    let temp = TempStore::new(builder);
    let now = Arc::new(AtomicI64::new(100));
    let clock = Arc::clone(&now);
    let db =
        builder().clock(move || Timestamp::from_seconds(clock.load(Ordering::Relaxed))).open(temp.store()).unwrap();
    let users = db.users();
    let seen = || users.get("a").unwrap().unwrap().last_seen().unwrap().seconds();
    users.update("a", Update::new().set("x", 1).at(Timestamp::from_seconds(50))).unwrap();
    assert_eq!(seen(), 50);
    users.update("a", Update::new().set("x", 1).at(Timestamp::from_seconds(500))).unwrap();
    assert_eq!(seen(), 100, "clamped to now");
    users.update("a", Update::new().set("x", 1).at(Timestamp::from_seconds(60))).unwrap();
    assert_eq!(seen(), 100, "never backwards");
    now.store(200, Ordering::Relaxed);
    users.update("a", Update::new().unset("x")).unwrap();
    assert_eq!(seen(), 200, "clamped to the clock of the store");
    now.store(300, Ordering::Relaxed);
    users.update("a", Update::new().set("x", 1).ignore_time()).unwrap();
    assert_eq!(seen(), 200, "ignored");
}

#[test]
fn long_chains_are_folded_on_write() {
    let pending = |fold_after: u16| {
        let temp = TempStore::new(builder);
        let db = builder().fold_after(fold_after).open(temp.store()).unwrap();
        for _ in 0..1_000 {
            db.users().update("hot", Update::new().add("n", 1)).unwrap();
            db.users().update("warm", Update::new().add("n", 1)).unwrap();
        }
        assert_eq!(db.users().get_property("hot", "n").unwrap(), Some(1_000.into()));
        db.check().unwrap().tables[0].most_pending.clone().map_or(0, |(most, _)| most)
    };
    assert_eq!(pending(0), 1_000);
    assert!(pending(50) <= 50);
}

#[test]
fn a_check_counts_rows_and_operands() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let users = db.users();
    users.update("a", Update::new().set("x", 1)).unwrap();
    users.update("a", Update::new().set("y", 1)).unwrap();
    users.update("nobody", Update::new().unset("x")).unwrap();
    let report = db.check().unwrap();
    let table = &report.tables[0];
    assert!(report.is_sound());
    assert_eq!((table.profiles, table.absent_rows, table.properties, table.pending_operands), (1, 1, 2, 3));
    assert_eq!(table.most_pending, Some((2, "a".to_owned())));
    assert_eq!(table.format_versions, BTreeMap::from([(1, 2)]));
    db.compact().unwrap();
    assert_eq!(db.check().unwrap().tables[0].pending_operands, 0, "a forced compaction folds everything");
    let mut limits = Limits::mixpanel();
    limits.properties_max = 1;
    drop((db, users));
    let db = builder().limits(limits).open(temp.store()).unwrap();
    let table = &db.check().unwrap().tables[0];
    assert_eq!((table.over_limit, table.findings[0].id.as_str()), (1, "a"));
}

#[test]
fn a_backup_restores() {
    let temp = TempStore::new(builder);
    let db = temp.open();
    let path = |name: &str| temp.path(name);
    for n in 0..100 {
        db.users().update(&format!("user-{n:03}"), Update::new().set("n", n)).unwrap();
    }
    let made = db.backup(path("backups")).unwrap();
    db.users().delete("user-000").unwrap();
    let restored = Db::restore(path("backups"), path("restored")).unwrap();
    assert_eq!(made.id, restored.id);
    assert_eq!(Db::backups(path("backups")).unwrap().len(), 1);
    let db = builder().open(path("restored")).unwrap();
    assert_eq!(db.users().iter().count(), 100);
    assert!(Db::restore(path("backups"), path("restored")).unwrap_err().is_invalid(), "the target is not empty");
}

#[test]
fn a_rarely_written_table_does_not_retain_the_wal() {
    let temp = TempStore::new(builder);
    let logs = || -> u64 {
        let entries = std::fs::read_dir(temp.store()).unwrap().map(Result::unwrap);
        let logs = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"));
        logs.map(|log| log.metadata().unwrap().len()).sum()
    };
    let db = builder().limits(Limits::unbounded()).memtable_bytes(256 << 10).open(temp.store()).unwrap();
    // Written once, as is the metadata of the store.
    db.groups("company").unwrap().update("acme", Update::new().set("plan", "pro")).unwrap();
    for n in 0..200 {
        let mut batch = Batch::new();
        (0..40).for_each(|at| {
            let update = Update::new().set("about", "x".repeat(1_000));
            batch.update(&Kind::User, format!("user-{n}-{at}"), update).unwrap();
        });
        db.write(batch).unwrap();
    }
    // Of eight megabytes.
    let most = 2 << 20;
    assert!(logs() < most, "{} bytes of logs", logs());
    db.users().update("last", Update::new().set("plan", "pro")).unwrap();
    db.compact().unwrap();
    assert!(logs() < 64 << 10, "{} bytes of logs after everything was flushed", logs());
    assert!(db.users().contains("last").unwrap() && db.users().contains("user-0-0").unwrap());
}

#[test]
fn invalid_calls_name_the_fault_and_change_nothing() {
    let temp = TempStore::new(builder);
    let users = temp.open().users();
    users.update("alice", Update::new().set("a", 1)).unwrap();
    let before = json(users.get("alice").unwrap());
    let too_deep = (0..80).fold(profiledb::Value::from(1), |inner, _| vec![inner].into());
    for (id, update, field) in [
        ("", Update::new().set("a", 2), "$distinct_id"),
        ("alice", Update::new().set("", 2), ""),
        ("alice", Update::new().set("$distinct_id", 2), "$distinct_id"),
        ("alice", Update::new().set("a", 2).add("n", f64::NAN), "n"),
        ("alice", Update::new().set("a", 2).set("deep", too_deep), "deep"),
        ("alice", Update::new().set("a", 2).set("wide", vec!["0123456789"; 30_000]), "wide"),
    ] {
        let error = users.update(id, update).unwrap_err();
        assert_eq!(error.field(), Some(field), "{error}");
    }
    assert_eq!(json(users.get("alice").unwrap()), before);
}

#[test]
fn the_public_types_are_send_and_sync() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Db>();
    anywhere::<profiledb::Table>();
    anywhere::<profiledb::View>();
    anywhere::<profiledb::Snapshot>();
    anywhere::<profiledb::Commit>();
    anywhere::<profiledb::Error>();
    fn sent<T: Send + 'static>() {}
    sent::<profiledb::Profiles>();
}

#[test]
fn a_batch_that_skips_what_is_refused_commits_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::mixpanel();
    (limits.properties_max, limits.group_keys_max) = (2, 1);
    let db = Db::builder().limits(limits).open(dir.path().join("store")).unwrap();
    let (users, teams) = (db.users(), db.groups("team").unwrap());
    let wide = || Update::new().set("a", 1).set("b", 2).set("c", 3);
    let batch = || {
        let mut batch = Batch::new();
        batch.update(&users, "alice", Update::new().set("a", 1)).unwrap();
        batch.update(&users, "bob", wide()).unwrap();
        // No write at all: the positions are those of the batch.
        batch.update(&users, "carol", Update::new()).unwrap();
        batch.update(&db.groups("company").unwrap(), "acme", Update::new().set("a", 1)).unwrap();
        batch.update(&teams, "eng", Update::new().set("a", 1)).unwrap();
        batch.update(&users, "alice", wide()).unwrap();
        // A deletion makes room, and is not undone with the update after it.
        batch.delete(&users, "alice").unwrap();
        batch.update(&users, "alice", wide()).unwrap();
        batch.update(&users, "alice", Update::new().set("z", 1)).unwrap();
        batch.append(Event::new("visit", "alice", Timestamp::from_seconds(1_700_000_000)));
        batch
    };
    assert!(db.write(batch().skip_refused(true)).unwrap_err().is_limit_exceeded());
    assert!(db.submit(batch()).unwrap().wait().unwrap_err().is_limit_exceeded());
    assert_eq!((db.kinds(), db.events().iter().count()), (vec![], 0));
    for _ in 0..2 {
        let commit = db.submit(batch().skip_refused(true)).unwrap();
        commit.wait_timeout(Duration::from_secs(60)).unwrap().unwrap();
        let refused = commit.refused();
        assert!(refused.iter().all(|(_, error)| error.is_limit_exceeded()), "{refused:?}");
        assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 4, 5, 7]);
    }
    assert_eq!(users.get("alice").unwrap().unwrap().properties().len(), 1);
    assert!(!users.contains("bob").unwrap() && teams.get("eng").unwrap().is_none());
    assert_eq!(db.groups("company").unwrap().get_property("acme", "a").unwrap(), Some(1.into()));
    assert_eq!(db.stats().writes.changes, 2 * 4);
}
