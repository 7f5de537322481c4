//! What the log does with bytes that nobody can read. There is no public way to write them.

use std::sync::Arc;

use super::{Appender, EventView, FirstTimes, GroupKeys, check};
use crate::codec::{self, EVENTS};
use crate::limits::Limits;
use crate::model::{Event, Kind, Timestamp};
use crate::rocks::{Action, Engine, EngineSettings, Mode, Operation};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn event(name: &str, id: &str, day: i64) -> Event {
    Event::new(name, id, Timestamp::from_seconds(NOW.seconds() - day * 86_400)).id("i").set("company", "acme")
}

fn commit(engine: &Engine, operations: &[Operation]) {
    let mut batch = engine.batch();
    for operation in operations {
        engine.create_family(&operation.family).unwrap();
        batch.add(operation).unwrap();
    }
    batch.commit(false).unwrap();
}

fn put(engine: &Engine, key: Vec<u8>, value: &[u8]) {
    commit(engine, &[Operation { family: EVENTS.into(), key, action: Action::Put(value.to_vec()) }]);
}

#[test]
fn an_event_that_cannot_be_read_is_named_and_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Mode::ReadWrite { create: true }, &EngineSettings::default()).unwrap();
    let engine = Arc::new(engine);
    engine.create_family("group:company").unwrap();
    let (appender, groups) = (Appender::new(), GroupKeys::of(&engine));
    let mut operations = Vec::new();
    for event in [event("one", "alice", 9), event("two", "bob", 9), event("three", "alice", 8), event("four", "bob", 8)]
    {
        appender.append(event, &Limits::mixpanel(), NOW, &groups, &mut operations).unwrap();
    }
    commit(&engine, &operations);
    let damaged = codec::event_key(&event("two", "bob", 9));
    let value = codec::encode_event(&event("two", "bob", 9));
    for bad in [&value[..value.len() - 1], &[], &[0xE2, 1, 2], &[0xA1, 0]] {
        put(&engine, damaged.clone(), bad);
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
        let walked = check(&engine.snapshot(), |id, what| found.push((id.to_owned(), what.to_owned()))).unwrap();
        assert_eq!((walked.events, walked.unreadable, found.len(), found[0].0.as_str()), (4, 1, 1, "bob"));

        // Its key still says whose it is and when. What its value said of groups is lost if it cannot be read.
        for (kind, events) in [(Kind::User, 4), (Kind::group("company").unwrap(), 3)] {
            let mut times = FirstTimes::new(&engine.snapshot(), &kind);
            let pieces = std::iter::from_fn(|| times.next().unwrap()).flatten().count();
            let ids = if kind == Kind::User { 2 } else { 1 };
            assert!(pieces == ids && times.events() >= events, "{kind} {pieces} {}", times.events());
        }
    }
}

#[test]
fn keys_that_are_none_of_ours_end_no_walk() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), Mode::ReadWrite { create: true }, &EngineSettings::default()).unwrap();
    let engine = Arc::new(engine);
    let good = event("one", "alice", 0);
    put(&engine, codec::event_key(&good), &codec::encode_event(&good));
    let day = codec::user_prefix(codec::day_prefix(good.time().day_and_millis().0), "alice");
    for junk in [&b""[..], b"\x05", b"\xff\xff\xff", b"\xff\xff\xff\xff", &day, &day[..6]] {
        put(&engine, junk.to_vec(), b"junk");
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
