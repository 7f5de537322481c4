//! The log with damaged bytes, which the public API cannot write.

use std::sync::Arc;

use super::{Appender, EventView, FirstEventBackfill, check};
use crate::codec::{self, EVENTS, GroupKeys};
use crate::limits::Limits;
use crate::model::{Event, Kind, Timestamp};
use crate::ops::Excess;
use crate::rocks::{Engine, EngineSettings, Mode};

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
