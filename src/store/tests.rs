//! The store with operands that cannot be read, which the public API cannot write.

use std::path::Path;
use std::sync::Arc;

use super::{Access, Durability, Options, ReadSource, Request, Store, View};
use crate::codec::{CHUNKS, FirstEvent, META, ORDINALS, SEGMENTS, deletion_key, encode_deletion};
use crate::merge;
use crate::model::{Kind, Profile, ProfileKey, Timestamp};
use crate::ops::{Change, Excess, Update};
use crate::segment::SegmentEdit;

/// An operand with a tag of a future version.
const FUTURE: &[u8] = &[0xff, b'?', b'n', b'e', b'w'];

fn open(path: &Path, fold_after: u16) -> Store {
    let clock = Arc::new(|| Timestamp::from_seconds(1_000));
    Store::open(path, Access::ReadWrite, Options { fold_after, clock, ..Options::default() }).unwrap()
}

fn change(store: &Store, id: &str, change: impl Into<Change>) {
    let write = store
        .shared
        .admit(ProfileKey::user(id).unwrap(), change.into(), Timestamp::from_seconds(1_000), &mut Excess::Refused)
        .unwrap();
    let request = Request { profiles: write.into_iter().collect(), ..Request::default() };
    store.write(request, Durability::Buffered).unwrap();
}

fn poison(store: &Store, id: &str, operand: &[u8]) {
    merge_into(store, "users", id, operand);
}

fn merge_into(store: &Store, family: &str, id: &str, operand: &[u8]) {
    let engine = store.shared.engine();
    let mut batch = engine.batch();
    batch.merge(family, id.as_bytes(), operand).unwrap();
    batch.commit(false).unwrap();
}

fn get(store: &Store, id: &str) -> Option<Profile> {
    View::new(ReadSource::Live(Arc::clone(&store.shared)), Kind::User).get(id).unwrap()
}

/// The quarantined operands of the table of users, as the checker counts them, and their ids.
fn quarantined(store: &Store) -> (u64, Vec<String>) {
    let report = store.shared.check(&store.shared.engine().snapshot()).unwrap();
    let users = report.tables.iter().find(|table| table.table == "users").unwrap();
    assert_eq!(users.unreadable_rows, 0);
    assert_eq!(report.is_sound(), users.quarantined_operands == 0);
    (users.quarantined_operands, users.findings.iter().map(|finding| finding.id.clone()).collect())
}

/// Joins read again what is said here, and nothing else.
#[test]
fn changes_of_segments_are_known_by_the_keys_of_their_headers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 0);
    let known = |edit: &SegmentEdit| {
        let before = store.shared.engine().latest_sequence();
        store.segment_writer().unwrap().commit(edit).unwrap();
        let snapshot = store.shared.engine().snapshot();
        assert_eq!(store.shared.changed_rows(&snapshot, before), Some(vec![]));
        store.shared.changed_headers(&snapshot, before).unwrap().into_iter().map(<[u8]>::into_vec).collect::<Vec<_>>()
    };
    let mut edit = SegmentEdit::default();
    edit.put(CHUNKS, b"chunk".to_vec(), Vec::new());
    edit.put(SEGMENTS, b"header".to_vec(), Vec::new());
    assert_eq!(known(&edit), [b"header"]);
    // An id loses its ordinal.
    edit.delete(ORDINALS, b"alice".to_vec());
    assert_eq!(known(&edit), [&b""[..], b"header"]);
}

#[test]
fn the_last_thousand_deletions_are_remembered_and_all_that_are_pending() {
    let dir = tempfile::tempdir().unwrap();
    let ids = |number: u64| vec![format!("u{number}")];
    let store = open(dir.path(), 0);
    let engine = store.shared.engine();
    let mut batch = engine.batch();
    for number in 1..=1_000 {
        // The first was interrupted.
        batch.put(META, &deletion_key(number), &encode_deletion(&ids(number), number > 1)).unwrap();
    }
    batch.commit(false).unwrap();
    drop((engine, store));
    let store = open(dir.path(), 0);
    let begun = store.begin_deletion(ids(1_001)).unwrap();
    assert_eq!((begun.number, begun.is_done), (1_001, false));
    let is_done = |number| store.deletion(number).unwrap().map(|deletion| deletion.is_done);
    assert_eq!([0, 1, 2, 3, 1_000, 1_001].map(is_done), [None, Some(false), None, Some(true), Some(true), Some(false)]);
    let pending = |store: &Store| store.pending_deletions().unwrap().iter().map(|one| one.number).collect::<Vec<_>>();
    assert_eq!(pending(&store), [1, 1_001]);
    store.end_deletion(&begun).unwrap();
    assert_eq!(pending(&store), [1]);
    drop(store);
    let store = open(dir.path(), 0);
    assert_eq!(store.deletion(1_001).unwrap().unwrap().distinct_ids, ids(1_001));
    assert_eq!(store.begin_deletion(ids(1_002)).unwrap().number, 1_002);
    // A record that cannot be read is an error with what it is.
    let engine = store.shared.engine();
    let mut batch = engine.batch();
    batch.put(META, &deletion_key(5), &[0x72, 0, 0]).unwrap();
    batch.commit(false).unwrap();
    for error in [store.deletion(5).unwrap_err(), store.pending_deletions().unwrap_err()] {
        assert!(error.is_corrupt() && error.message().contains("unknown version"), "{error}");
    }
}

#[test]
fn an_operand_of_an_unknown_version_is_quarantined_and_affects_no_other_profile() {
    for fold_after in [0, 2] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), fold_after);
        change(&store, "ann", Update::new().set("plan", "free"));
        change(&store, "bob", Update::new().add("n", 1));
        poison(&store, "ann", FUTURE);
        let check = |store: &Store, plan: &str| {
            assert_eq!(quarantined(store), (1, vec!["ann".to_owned()]));
            let ann = get(store, "ann").unwrap();
            assert_eq!((ann.get("plan"), ann.quarantine()), (Some(&plan.into()), &[FUTURE.to_vec()][..]));
            assert_eq!(get(store, "bob").unwrap().quarantine().len(), 0);
        };
        check(&store, "free");
        store.shared.engine().flush().unwrap();
        check(&store, "free");
        store.compact().unwrap();
        check(&store, "free");
        for n in 0..5 {
            change(&store, "ann", Update::new().set("plan", "pro").add("n", n));
        }
        check(&store, "pro");
        drop(store);
        let store = open(dir.path(), fold_after);
        check(&store, "pro");
        assert_eq!(get(&store, "ann").unwrap().get("n"), Some(&10.into()));
        store.compact().unwrap();
        check(&store, "pro");
        // A delete removes the profile and its quarantine.
        change(&store, "ann", Change::Delete);
        assert_eq!((get(&store, "ann"), quarantined(&store)), (None, (0, Vec::new())));
    }
}

#[test]
fn unreadable_operands_are_quarantined_without_a_profile() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1);
    change(&store, "bob", Update::new().add("n", 1));
    let damaged = merge::operand(&Update::new().set("plan", "pro"));
    let damaged = damaged.get(..damaged.len() - 1).unwrap();
    for operand in [FUTURE, b"", damaged] {
        poison(&store, "ann", operand);
    }
    let kept = [FUTURE.to_vec(), Vec::new(), damaged.to_vec()];
    for round in 0..2 {
        assert_eq!(get(&store, "ann").unwrap().quarantine(), kept, "round={round}");
        assert_eq!(quarantined(&store), (3, vec!["ann".to_owned()]));
        store.compact().unwrap();
        // They survive updates that create no profile, and the row that the leader writes after them.
        (0..3).for_each(|_| change(&store, "ann", Update::new().unset("plan")));
    }
    change(&store, "ann", Update::new().set("plan", "pro"));
    let ann = get(&store, "ann").unwrap();
    assert_eq!((ann.get("plan"), ann.quarantine()), (Some(&"pro".into()), &kept[..]));
    let report = store.shared.check(&store.shared.engine().snapshot()).unwrap();
    assert_eq!((report.tables[0].profiles, report.tables[0].absent_rows), (2, 0));
    assert_eq!(store.shared.engine().merge_counts().panics, 0);
}

#[test]
fn an_unreadable_first_event_time_is_missing_from_its_profile_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 0);
    store.shared.engine().create_family("first:users").unwrap();
    let time = Timestamp::from_seconds(7);
    for id in ["ann", "bob", "cid"] {
        change(&store, id, Update::new().set("plan", "free"));
        merge_into(&store, "first:users", id, &merge::stamp(time));
    }
    merge_into(&store, "first:users", "bob", FUTURE);
    merge_into(&store, "first:users", "eve", b"");
    for _ in 0..2 {
        let view = View::new(ReadSource::Live(Arc::clone(&store.shared)), Kind::User);
        let error = view.first_event_time("bob").unwrap_err();
        assert!(error.message().ends_with("table=users id=\"bob\""), "{error}");
        let damaged = |profile: &Profile| (profile.first_event_is_damaged(), profile.first_event_time());
        assert_eq!(damaged(&view.get("bob").unwrap().unwrap()), (true, None));
        let both = view.get_many(&["ann", "bob"]).unwrap();
        let both: Vec<_> = both.iter().flatten().map(damaged).collect();
        assert_eq!(both, [(false, Some(time)), (true, None)]);
        assert!(view.get_property("bob", "$mp_first_event_time").is_err());
        assert_eq!(view.get_property("bob", "plan").unwrap(), Some("free".into()));
        assert_eq!(view.get("ann").unwrap().unwrap().first_event_time(), Some(time));
        let rows: Vec<_> = view.iter().map(|row| row.unwrap().1.first_event_is_damaged()).collect();
        assert_eq!(rows, [false, true, false]);
        let known: Vec<_> = view.known().map(|known| known.map(|(id, profile)| (id, profile.is_some()))).collect();
        let ids: Vec<_> = known.iter().flatten().map(|(id, profile)| (id.as_str(), *profile)).collect();
        assert_eq!((known.len(), ids), (4, vec![("ann", true), ("cid", true), ("eve", false)]));
        let report = store.shared.check(&store.shared.engine().snapshot()).unwrap();
        let found: Vec<_> = report.tables[0].findings.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!((report.tables[0].unreadable_rows, report.is_sound(), found), (2, false, vec!["bob", "eve"]));
        assert_eq!((report.tables[0].profiles, report.tables[0].events), (3, 4));
        store.compact().unwrap();
    }
}

#[test]
fn what_was_admitted_before_its_table_was_dropped_is_counted_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 0);
    let company = Kind::group("company").unwrap();
    let update = Update::new().set("plan", "free").unset("old");
    let admit = || {
        let (key, now) = (ProfileKey::group("company", "acme").unwrap(), Timestamp::from_seconds(1_000));
        store.shared.admit(key, update.clone().into(), now, &mut Excess::Refused).unwrap()
    };
    let time = FirstEvent::new(&"first:group:company".into(), "acme", Timestamp::from_seconds(7));
    let commit = |profiles: Vec<_>, first_events| {
        store.write(Request { profiles, first_events, ..Request::default() }, Durability::Buffered).unwrap();
    };
    commit(admit().into_iter().collect(), vec![time.clone()]);
    let late: Vec<_> = admit().into_iter().collect();
    assert!(store.drop_table(&company).unwrap());
    // The time of an event of a group without a table makes no table. The names of the update are known again.
    commit(Vec::new(), vec![time]);
    assert_eq!(store.shared.engine().families(), ["meta"]);
    commit(late, Vec::new());
    let names = |store: &Store| store.shared.names.read().get("group:company").map(|seen| seen.contains("plan"));
    assert_eq!(names(&store), Some(true));
    drop(store);
    assert_eq!(names(&open(dir.path(), 0)), Some(true));
}

#[test]
fn codes_stay_due_until_those_that_were_read_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 0);
    let due = || store.shared.codes_are_due();
    assert!(!due());
    store.shared.note_full_read();
    // A failure: nothing is committed.
    drop(store.begin_codes().unwrap());
    assert!(due());
    // Another read meanwhile.
    let edit = store.begin_codes().unwrap();
    store.shared.note_full_read();
    assert!(store.commit_codes(edit).unwrap());
    assert!(due());
    // All codes are deleted meanwhile.
    let edit = store.begin_codes().unwrap();
    store.forget_codes().unwrap();
    assert!(!store.commit_codes(edit).unwrap());
    assert!(due());
    let edit = store.begin_codes().unwrap();
    assert!(store.commit_codes(edit).unwrap());
    assert!(!due());
}
