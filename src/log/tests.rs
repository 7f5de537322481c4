//! The log with damaged bytes, which the public API cannot write.

use std::ops::Bound;
use std::sync::Arc;

use super::ordinals::{load_ordinals, look_up};
use super::tail::current_tail;
use super::{
    Appender, DaySealing, EventView, FirstEventBackfill, LogChanges, LogHistory, SealedErasure, SealedRepair, check,
    check_ordinals, check_sealed, next_day_with_rows,
};
use crate::codec::{self, CHUNKS, EVENTS, GroupKeys, ORDINAL_IDS, ORDINALS, SEGMENTS};
use crate::join::{ChangedRow, RowBytes, RowState, TailCache, UnsealedRow};
use crate::limits::Limits;
use crate::model::{Event, Kind, Salvaged, Timestamp};
use crate::ops::Excess;
use crate::rocks::{Engine, EngineSettings, EngineSnapshot, Mode, ReadHint};
use crate::segment::{BlockBuilder, OrdinalIndex, SegmentEdit, encode_ordinal};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn event(name: &str, id: &str, day: i64) -> Event {
    Event::new(name, id, Timestamp::from_seconds(NOW.seconds() - day * 86_400)).id("i").set("company", "acme")
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) {
    engine.create_family(EVENTS).unwrap();
    let mut batch = engine.batch();
    batch.put(EVENTS, key, value).unwrap();
    batch.commit(false).unwrap();
}

#[test]
fn an_event_that_cannot_be_read_is_one_error_item_and_ends_no_scan() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Mode::ReadWrite { create: true }, &EngineSettings::default()).unwrap();
    let engine = Arc::new(engine);
    engine.create_family("group:company").unwrap();
    let (appender, groups) = (Appender::new(), GroupKeys::of(&engine.families()));
    for event in [event("one", "alice", 9), event("two", "bob", 9), event("three", "alice", 8), event("four", "bob", 8)]
    {
        let event =
            appender.append(event, &Limits::mixpanel(), &mut Excess::Refused, NOW, &groups, &mut Vec::new()).unwrap();
        put(&engine, &event.key, &event.value);
    }
    let damaged = codec::event_key(&event("two", "bob", 9));
    let value = codec::encode_event(&event("two", "bob", 9));
    for bad in [&value[..value.len() - 1], &[], &[0xE2, 1, 2], &[0xA1, 0]] {
        put(&engine, &damaged, bad);
        let view = EventView::new(engine.snapshot());
        let names = |events: super::Events| {
            let names = events.map(|event| event.map(|event| event.name().to_owned()));
            names.map(|name| name.unwrap_or_else(|error| error.to_string())).collect::<Vec<_>>()
        };
        let all = names(view.iter());
        assert!(all[1].starts_with("corrupt: the event cannot be read: "), "{all:?}");
        assert!(all[1].ends_with(" time=2023-11-05T22:13:20 distinct_id=\"bob\""), "{all:?}");
        assert_eq!((all[0].as_str(), &all[2..]), ("one", &["three".to_owned(), "four".to_owned()][..]));
        assert_eq!((names(view.range(..)), names(view.range(..NOW))), (all.clone(), all.clone()));
        assert_eq!(names(view.of_user("bob")), [all[1].clone(), "four".to_owned()]);
        assert_eq!(view.days().unwrap().len(), 2);

        let mut found = Vec::new();
        let checked = check(&engine.snapshot(), |id, what| found.push((id.to_owned(), what.to_owned()))).unwrap();
        assert_eq!((checked.events, checked.unreadable, found.len(), found[0].0.as_str()), (4, 1, 1, "bob"));

        // Its key still has the user and the time. The groups are lost with its value.
        for (kind, events) in [(Kind::User, 4), (Kind::group("company").unwrap(), 3)] {
            let mut times = FirstEventBackfill::new(&engine.snapshot(), &kind);
            let pieces = std::iter::from_fn(|| times.next().unwrap()).flatten().count();
            let ids = if kind == Kind::User { 2 } else { 1 };
            assert!(pieces == ids && times.events() >= events, "{kind} {pieces} {}", times.events());
        }
    }
}

#[test]
fn foreign_keys_end_no_scan() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Mode::ReadWrite { create: true }, &EngineSettings::default()).unwrap();
    let engine = Arc::new(engine);
    let good = event("one", "alice", 0);
    put(&engine, &codec::event_key(&good), &codec::encode_event(&good));
    let day = codec::user_prefix(codec::day_prefix(good.time().day_and_millis().0), "alice");
    for junk in [&b""[..], b"\x05", b"\xff\xff\xff", b"\xff\xff\xff\xff", &day, &day[..6]] {
        put(&engine, junk, b"junk");
    }
    let view = EventView::new(engine.snapshot());
    for events in [view.iter(), view.range(..), view.of_user("alice")] {
        let events: Vec<_> = events.collect();
        let readable: Vec<_> = events.iter().flatten().collect();
        assert_eq!(readable, [&good]);
        assert!(events.iter().flat_map(|event| event.as_ref().err()).all(|error| error.message().contains("key=")));
    }
    assert_eq!(check(&engine.snapshot(), |_, _| ()).unwrap().unreadable, 6);
    assert!(view.days().is_err());
}

/// A log with three days of two users, sealed in blocks of one event.
fn sealed(dir: &std::path::Path) -> Arc<Engine> {
    let engine = Engine::open(dir, Mode::ReadWrite { create: true }, &EngineSettings::default()).unwrap();
    let engine = Arc::new(engine);
    for day in 0..3 {
        for id in ["alice", "bob"] {
            let event = event("visit", id, day);
            put(&engine, &codec::event_key(&event), &codec::encode_event(&event));
        }
    }
    seal_all(&engine, 1);
    engine
}

fn seal_all(engine: &Arc<Engine>, block_events: usize) {
    engine.create_segment_families().unwrap();
    let (mut from, ordinals) = (i32::MIN, OrdinalIndex::default());
    while let Some(day) = next_day_with_rows(&engine.snapshot(), from).unwrap() {
        let (mut sealing, mut builder) = (DaySealing::new(day), BlockBuilder::new(block_events));
        loop {
            let snapshot = engine.snapshot();
            let Some(mut block) = sealing.next(&snapshot, &ordinals, &mut builder, &|| Ok(())).unwrap() else {
                break;
            };
            while let Some(edit) = block.next_removal(&|| Ok(())).unwrap() {
                commit(engine, &edit);
            }
            let edit = block.finish();
            ordinals.begin(engine.number(), &edit);
            commit(engine, &edit);
            ordinals.end(engine.latest_sequence(), &edit, true);
        }
        from = day + 1;
    }
}

fn commit(engine: &Engine, edit: &SegmentEdit) {
    let mut batch = engine.batch();
    for write in &edit.writes {
        match &write.value {
            Some(value) => batch.put(write.family, &write.key, value).unwrap(),
            None => batch.delete(write.family, &write.key).unwrap(),
        }
    }
    for (id, ordinal) in edit.ordinals.iter() {
        batch.put(ORDINALS, id, &encode_ordinal(ordinal)).unwrap();
    }
    edit.sealed.iter().flat_map(|rows| rows.keys.iter()).for_each(|key| batch.delete(EVENTS, key).unwrap());
    batch.commit(false).unwrap();
}

/// A row that cannot be read stays a row, and the ordinal that its user would have had is given to another.
#[test]
fn what_cannot_be_read_is_not_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Mode::ReadWrite { create: true }, &EngineSettings::default()).unwrap();
    let engine = Arc::new(engine);
    put(&engine, &codec::event_key(&event("lost", "zed", 3)), b"junk");
    for (id, day) in [("carol", 2), ("zed", 1), ("carol", 0)] {
        let event = event("visit", id, day);
        put(&engine, &codec::event_key(&event), &codec::encode_event(&event));
    }
    seal_all(&engine, 10);
    let view = EventView::new(engine.snapshot());
    let ids = |events: super::Events| {
        events.map(|event| event.map(|event| event.distinct_id().to_owned()).ok()).collect::<Vec<_>>()
    };
    let named = |id: &str| Some(id.to_owned());
    assert_eq!(ids(view.iter()), [None, named("carol"), named("zed"), named("carol")]);
    assert_eq!(ids(view.of_user("zed")), [None, named("zed")]);
    assert_eq!(check_sealed(&engine.snapshot(), |_, _| ()).unwrap().events, 3);
    assert_eq!(check(&engine.snapshot(), |_, _| ()).unwrap().unreadable, 1);
}

/// Replaces the value of the first key of a family that the condition picks, or removes it.
fn damage_first(engine: &Arc<Engine>, family: &'static str, picks: impl Fn(&[u8]) -> bool, value: Option<&[u8]>) {
    use std::ops::Bound::Unbounded;

    let mut rows = engine.snapshot().scan(family, Unbounded, Unbounded, crate::rocks::ReadHint::ShortRange);
    let key = std::iter::from_fn(|| rows.next().unwrap().map(|(key, _)| key.to_vec())).find(|key| picks(key)).unwrap();
    let mut batch = engine.batch();
    match value {
        Some(value) => batch.put(family, &key, value).unwrap(),
        None => batch.delete(family, &key).unwrap(),
    }
    batch.commit(false).unwrap();
}

/// An id that does not lead to its ordinal any more would hide the events of the user; `check` finds it.
#[test]
fn check_finds_ordinals_that_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sealed(dir.path());
    damage_first(&engine, ORDINALS, |_| true, None);
    let mut found = Vec::new();
    let checked = check_sealed(&engine.snapshot(), |id, what| found.push(format!("{id}: {what}"))).unwrap();
    assert_eq!((checked.events, checked.unreadable), (6, 1));
    assert_eq!(found, ["alice: the ordinal of the user is missing or another ordinal=0 found=None"]);
}

/// The other way round: an ordinal that leads to no id or to another, and chunks that no header names.
#[test]
fn check_finds_ordinals_of_others_and_orphaned_chunks() {
    let found = |engine: &Arc<Engine>| {
        let mut found = Vec::new();
        let checked = check_sealed(&engine.snapshot(), |id, what| found.push(format!("{id}: {what}"))).unwrap();
        assert_eq!(checked.unreadable, found.len() as u64);
        let damage = checked.damage.iter().map(|damage| (damage.after.clone().unwrap(), damage.reason.clone()));
        (found, damage.collect::<Vec<_>>())
    };
    let dir = tempfile::tempdir().unwrap();
    let engine = sealed(dir.path());
    let mut batch = engine.batch();
    batch.put(ORDINALS, b"carol", &encode_ordinal(0)).unwrap();
    batch.put(ORDINALS, b"dave", &encode_ordinal(7)).unwrap();
    batch.put(ORDINALS, b"erin", b"junk").unwrap();
    batch.commit(false).unwrap();
    let (what, damage) = found(&engine);
    let expected = [
        "carol: the ordinal of the user is that of another ordinal=0 found=\"alice\"",
        "dave: the ordinal of the user has no id ordinal=7",
        "erin: the ordinal of a user cannot be read: not an ordinal distinct_id=\"erin\"",
    ];
    assert_eq!((what.as_slice(), damage.len()), (&expected.map(str::to_owned)[..], 0));

    let dir = tempfile::tempdir().unwrap();
    let engine = sealed(dir.path());
    damage_first(&engine, SEGMENTS, |_| true, None);
    let mut batch = engine.batch();
    batch.put(CHUNKS, b"odd", b"").unwrap();
    batch.commit(false).unwrap();
    let (what, damage) = found(&engine);
    assert!(what.is_empty(), "{what:?}");
    let [odd, orphans] = &damage[..] else { panic!("{damage:?}") };
    assert_eq!(odd.0, "[6f, 64, 64]");
    assert_eq!(orphans.0, "2023-11-12T00:00:00 segment 1");
    assert!(orphans.1.contains("chunks belong to no block of the segment chunks="), "{orphans:?}");
}

fn repair(engine: &Arc<Engine>) -> Vec<crate::model::Damage> {
    let (snapshot, commit) = (
        || Ok(engine.snapshot()),
        |edit: &SegmentEdit| {
            commit(engine, edit);
            Ok(())
        },
    );
    SealedRepair { snapshot: &snapshot, commit: &commit }.run().unwrap()
}

/// What a repair leaves is sound, has everything that could be kept, and is left alone by another repair.
#[test]
fn sealed_events_are_repaired_as_far_as_they_can_be_kept() {
    let column = |tag: u8| move |key: &[u8]| key[8] == tag;
    type Picks = Box<dyn Fn(&[u8]) -> bool>;
    // What is damaged, how often, and how many events and blocks that costs.
    type Case = (&'static str, Picks, Option<&'static [u8]>, usize, (usize, usize));
    let cases: [Case; 9] = [
        (ORDINALS, Box::new(|_| true), None, 2, (0, 0)),
        (ORDINALS, Box::new(|_| true), Some(b"junk"), 1, (0, 0)),
        (ORDINALS, Box::new(|key| key == b"bob"), Some(b"\x91\0\0\0\0"), 1, (0, 0)),
        (ORDINAL_IDS, Box::new(|_| true), None, 1, (0, 0)),
        (ORDINAL_IDS, Box::new(|_| true), Some(b"junk"), 1, (0, 0)),
        (CHUNKS, Box::new(column(0)), None, 1, (1, 1)),
        (CHUNKS, Box::new(column(2)), Some(&[0xD1, 1, 9]), 1, (1, 1)),
        (SEGMENTS, Box::new(|_| true), Some(b"junk"), 1, (2, 1)),
        (SEGMENTS, Box::new(|_| true), None, 1, (2, 0)),
    ];
    for (at, (family, picks, value, times, (events, blocks))) in cases.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let engine = sealed(dir.path());
        assert_eq!(repair(&engine), [], "nothing is damaged");
        let before: Vec<_> = EventView::new(engine.snapshot()).iter().map(Result::unwrap).collect();
        (0..times).for_each(|_| damage_first(&engine, family, &picks, value));
        let lost = repair(&engine);
        assert_eq!(lost.len(), blocks, "{at}: {lost:?}");
        let after: Vec<_> = EventView::new(engine.snapshot()).iter().map(Result::unwrap).collect();
        assert_eq!(after.len(), before.len() - events, "{at}");
        assert!(after.iter().all(|event| before.contains(event)), "{at}");
        let mut found = Vec::new();
        let checked = check_sealed(&engine.snapshot(), |id, what| found.push(format!("{id}: {what}"))).unwrap();
        assert_eq!((checked.events, checked.damage, found), (after.len() as u64, vec![], vec![]), "{at}");
        for id in ["alice", "bob"] {
            let of_user = EventView::new(engine.snapshot()).of_user(id).map(Result::unwrap).count();
            assert_eq!(of_user, after.iter().filter(|event| event.distinct_id() == id).count(), "{at}: {id}");
        }
        assert_eq!(repair(&engine), [], "{at}: it is repaired");
        check_ordinals(&engine.snapshot()).unwrap();
    }
}

/// An ordinal whose id was erased stays without one when the ids next to it are built anew.
#[test]
fn erased_ids_stay_erased_when_ids_are_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sealed(dir.path());
    let snapshot = engine.snapshot();
    let mut erasure = SealedErasure::of_user(&snapshot, "alice").unwrap().unwrap();
    while let Some(edit) = erasure.next().unwrap() {
        commit(&engine, &edit);
    }
    damage_first(&engine, ORDINAL_IDS, |_| true, None);
    assert_eq!(repair(&engine), []);
    let mut ids = Vec::new();
    let mut cache = super::ordinals::IdCache::new(&engine.snapshot());
    assert!(!cache.find_id(0, &mut ids).unwrap() && cache.find_id(1, &mut ids).unwrap());
    assert_eq!(ids, b"bob");
    assert_eq!(check_sealed(&engine.snapshot(), |id, what| panic!("{id}: {what}")).unwrap().events, 3);
}

/// What joins keep of a log that has changed in this way since.
#[derive(Default)]
struct Changed {
    tails: TailCache,
    ordinals: OrdinalIndex,
    rows: Vec<Vec<u8>>,
    headers: Vec<Vec<u8>>,
}

impl LogHistory for Changed {
    fn tail_cache(&self) -> &TailCache {
        &self.tails
    }

    fn ordinal_index(&self) -> &OrdinalIndex {
        &self.ordinals
    }

    fn log_changes(&self, _: &EngineSnapshot, _: u64) -> Option<LogChanges> {
        let changed = |key: &Vec<u8>| ChangedRow { row: RowBytes::new(key, &[]), state: RowState::Unknown };
        let rows = self.rows.iter().map(changed).collect();
        Some(LogChanges { rows, headers: self.headers.iter().map(|key| key.as_slice().into()).collect() })
    }
}

/// A user is erased while an event of the user is appended: the row that joins have read before has no ordinal in the
/// log after it.
#[test]
fn a_row_loses_its_ordinal_with_its_user() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sealed(dir.path());
    let mut changed = Changed::default();
    let late = Event::new("late", "alice", Timestamp::from_seconds(60)).id("i");
    put(&engine, &codec::event_key(&late), &codec::encode_event(&late));
    let ordinals = |changed: &Changed| {
        let tail = current_tail(&engine.snapshot(), changed).unwrap().unwrap();
        tail.rows.parts().flatten().map(UnsealedRow::ordinal).collect::<Vec<_>>()
    };
    assert_eq!(ordinals(&changed), [Some(0)]);
    erase(&engine, "alice", &mut changed);
    assert_eq!(ordinals(&changed), [Some(2)]);
}

/// Erases what is sealed of a user.
fn erase(engine: &Arc<Engine>, user: &str, changed: &mut Changed) {
    let snapshot = engine.snapshot();
    let mut erasure = SealedErasure::of_user(&snapshot, user).unwrap().unwrap();
    while let Some(edit) = erasure.next().unwrap() {
        changed.ordinals.begin(engine.number(), &edit);
        commit(engine, &edit);
        changed.ordinals.end(engine.latest_sequence(), &edit, true);
        changed.headers.extend(edit.writes.into_iter().filter_map(|write| match write.family {
            SEGMENTS => Some(write.key),
            ORDINALS => Some(Vec::new()),
            _ => None,
        }));
    }
    changed.headers.sort();
    changed.headers.dedup();
}

/// Seals the rows of the last day, once there is no segment of it.
fn seal_last_day(engine: &Arc<Engine>, changed: &mut Changed) {
    seal_all(engine, 2);
    let mut headers = engine.snapshot().scan(SEGMENTS, Bound::Unbounded, Bound::Unbounded, ReadHint::ShortRange);
    let mut last = Vec::new();
    while let Some((key, _)) = headers.next().unwrap() {
        last = key.to_vec();
    }
    changed.headers.push(last);
    changed.headers.sort();
    changed.headers.dedup();
}

/// A segment that is gone leaves its number to the next one of its day, so that what was read of the one before, or of
/// an earlier snapshot, says nothing of it.
#[test]
fn what_was_read_of_a_block_is_not_taken_for_another_of_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Mode::ReadWrite { create: true }, &EngineSettings::default()).unwrap();
    let engine = Arc::new(engine);
    let append = |id: &str| {
        let event = event("visit", id, 0);
        let key = codec::event_key(&event);
        put(&engine, &key, &codec::encode_event(&event));
        key
    };
    let replaced = |snapshot: &EngineSnapshot, changed: &Changed| {
        let tail = current_tail(snapshot, changed).unwrap().unwrap();
        tail.replaced.iter().map(|(block, events)| (*block, events.len())).collect::<Vec<_>>()
    };
    let mut changed = Changed::default();
    append("alice");
    seal_all(&engine, 2);
    let alice = append("alice");
    let earlier = engine.snapshot();
    let first = replaced(&earlier, &changed);
    assert_eq!(first.len(), 1);
    let mut batch = engine.batch();
    batch.delete(EVENTS, &alice).unwrap();
    batch.commit(false).unwrap();
    erase(&engine, "alice", &mut changed);
    append("bob");
    seal_last_day(&engine, &mut changed);
    let bob = append("bob");
    changed.rows = vec![alice, bob.clone()];
    assert_eq!(replaced(&engine.snapshot(), &changed), first, "the same number");
    // The earlier snapshot is joined once more, and then the event is sent again.
    assert_eq!(replaced(&earlier, &changed), first);
    append("bob");
    (changed.rows, changed.headers) = (vec![bob], Vec::new());
    assert_eq!(replaced(&engine.snapshot(), &changed), first);
}

/// Blocks are read again where the header of their segment changed, and only there.
#[test]
fn what_rows_replace_is_found_again_in_segments_that_changed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sealed(dir.path());
    let mut changed = Changed::default();
    let replaced = |changed: &Changed| {
        let tail = current_tail(&engine.snapshot(), changed).unwrap().unwrap();
        let days: Vec<i32> = tail.replaced.keys().map(|(segment, _)| segment.day).collect();
        (tail.blocks.len(), days)
    };
    for days_ago in [2, 0] {
        let event = event("visit", "bob", days_ago);
        let key = codec::event_key(&event);
        put(&engine, &key, &codec::encode_event(&event));
        changed.rows.push(key);
    }
    let last = NOW.day_and_millis().0;
    assert_eq!(replaced(&changed), (6, vec![last - 2, last]));
    let rows = std::mem::take(&mut changed.rows);
    // The row of the last day is sealed; of the first nothing changed.
    let key = rows.last().unwrap();
    let mut sealing = DaySealing::new(last);
    let (ordinals, mut builder) = (OrdinalIndex::default(), BlockBuilder::new(2));
    let snapshot = engine.snapshot();
    let mut block = sealing.next(&snapshot, &ordinals, &mut builder, &|| Ok(())).unwrap().unwrap();
    let mut headers = std::collections::BTreeSet::new();
    let mut commit = |edit: &SegmentEdit| {
        commit(&engine, edit);
        headers.extend(edit.writes.iter().filter(|write| write.family == SEGMENTS).map(|write| write.key.clone()));
    };
    while let Some(edit) = block.next_removal(&|| Ok(())).unwrap() {
        commit(&edit);
    }
    commit(&block.finish());
    changed.rows.push(key.clone());
    changed.headers.extend(headers);
    assert_eq!(replaced(&changed), (6, vec![last - 2]));
}

/// All ids are loaded once many were looked up; where one cannot be read that fails, once.
#[test]
fn ordinals_are_loaded_unless_one_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sealed(dir.path());
    let unknown: Vec<String> = (0..2_000).map(|n| format!("unknown-{n}")).collect();
    let unknown: Vec<&[u8]> = unknown.iter().map(String::as_bytes).collect();
    let look_up_and_load = |index: &OrdinalIndex| {
        let snapshot = engine.snapshot();
        assert!(look_up(index, &snapshot, 2, &unknown).unwrap().iter().all(Option::is_none));
        let loaded = load_ordinals(&snapshot, index, || false);
        (loaded, index.is_load_due(), look_up(index, &snapshot, 2, &[b"alice", b"bob", b"eve"]).unwrap())
    };
    let ordinals = vec![Some(0), Some(1), None];
    let (loaded, is_due, found) = look_up_and_load(&OrdinalIndex::default());
    assert!(loaded.is_ok() && !is_due && found == ordinals);
    let mut batch = engine.batch();
    batch.put(ORDINALS, b"carol", b"junk").unwrap();
    batch.commit(false).unwrap();
    let (loaded, is_due, found) = look_up_and_load(&OrdinalIndex::default());
    assert!(loaded.unwrap_err().is_corrupt() && !is_due && found == ordinals);
}

/// Ordinals that blocks have, and whose ids are lost, are not given to others.
#[test]
fn nothing_is_sealed_after_ordinals_were_lost() {
    let dir = tempfile::tempdir().unwrap();
    let engine = sealed(dir.path());
    check_ordinals(&engine.snapshot()).unwrap();
    damage_first(&engine, ORDINAL_IDS, |_| true, None);
    let error = check_ordinals(&engine.snapshot()).unwrap_err();
    let what = "an ordinal without an id day=2023-11-12T00:00:00 segment=1 block=0 column=runs ordinal=0 ordinals=0";
    assert!(error.is_corrupt() && error.message().ends_with(what), "{error}");
}

/// Damage of a segment is an error that says where, `check` and `salvage` go on, and nothing is shortened silently.
#[test]
fn damage_of_a_segment_is_an_error_that_names_the_day_the_segment_and_the_column() {
    // The tag of a column follows day and number in the key of a chunk.
    let column = |tag: u8| move |key: &[u8]| key[8] == tag;
    type Picks = Box<dyn Fn(&[u8]) -> bool>;
    type Case = (&'static str, Picks, Option<&'static [u8]>, &'static str, usize);
    let cases: [Case; 6] = [
        (CHUNKS, Box::new(column(0)), None, "it is missing day=2023-11-12T00:00:00 segment=1 block=0 column=runs", 1),
        (CHUNKS, Box::new(column(2)), Some(&[0xD1, 1, 9]), "encoding day=2023-11-12T00:00:00 segment=1 block=0", 1),
        (CHUNKS, Box::new(column(5)), Some(&[0xD2, 1]), "unknown version of the format day=", 1),
        (ORDINAL_IDS, Box::new(|_| true), None, "block=0 column=runs ordinal=0", 6),
        (SEGMENTS, Box::new(|_| true), Some(&[0xC2]), "unknown version of the format day=2023-11-12T00:00:00", 1),
        (SEGMENTS, Box::new(|_| true), Some(&[]), "the header of a column segment cannot be read", 1),
    ];
    for (family, picks, value, what, damaged) in cases {
        let dir = tempfile::tempdir().unwrap();
        let engine = sealed(dir.path());
        let view = || EventView::new(engine.snapshot());
        assert_eq!(view().iter().filter(Result::is_ok).count(), 6);
        assert_eq!(check_sealed(&engine.snapshot(), |_, _| ()).unwrap().events, 6);
        damage_first(&engine, family, picks, value);
        let events: Vec<_> = view().iter().collect();
        let error = events.last().unwrap().as_ref().unwrap_err();
        assert!(error.is_corrupt() && error.message().contains(what), "{error}");
        let checked = check_sealed(&engine.snapshot(), |_, _| ()).unwrap();
        assert_eq!(checked.damage.len(), damaged, "{checked:?}");
        assert!(checked.damage.iter().all(|damage| damage.table == "segments"), "{checked:?}");
        let (mut salvaged, mut lost) = (0, 0);
        view()
            .salvage(|item| {
                match item {
                    Salvaged::Item(_) => salvaged += 1,
                    Salvaged::Damage(_) => lost += 1,
                }
                Ok::<_, ()>(())
            })
            .unwrap();
        // A header has two blocks.
        let blocks = if family == SEGMENTS { 2 } else { damaged };
        assert_eq!((salvaged, lost), (6 - blocks, damaged));
    }
}
