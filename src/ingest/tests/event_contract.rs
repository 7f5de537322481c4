//! What has to become of every part of an event, row by row, as observed from outside.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::super::laws::check_event_wire;
use super::super::*;
use crate::limits::Limits;
use crate::model::{Event, Object, Timestamp, Value};
use crate::ops::laws::any_value;

const HISTORY: &[u8] = include_bytes!("../../../examples/data/history/events.ndjson.gz");

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Reads one object by both ways in, which have to agree.
fn read(text: &str, rules: &Rules) -> Outcome<EventRecord> {
    let outcome = EventRecord::from_slice(text.as_bytes(), rules);
    let again = EventRecord::from_value(json(text), rules);
    assert_eq!(format!("{outcome:?}"), format!("{again:?}"), "{text}");
    outcome
}

/// An event with these properties, which replace what an event needs where they have its name.
fn event(properties: &str) -> String {
    let needed = [("time", "1700000000"), ("distinct_id", "\"d\""), ("$insert_id", "\"i-1\"")];
    let others = needed.iter().filter(|(name, _)| !properties.contains(&format!("\"{name}\":")));
    let others: String = others.map(|(name, value)| format!("\"{name}\":{value},")).collect();
    format!(r#"{{"event":"e","properties":{{{others}{properties}}}}}"#)
}

fn lenient() -> Rules {
    Rules::new().now(NOW)
}

fn strict() -> Rules {
    lenient().strict(true)
}

#[derive(Clone, Copy, PartialEq)]
enum When {
    Always,
    Strict,
}
use When::{Always, Strict};

const WHO: &str = "properties.distinct_id";
const TIME: &str = "properties.time";
const ID: &str = "properties.$insert_id";

/// Properties for which an event is rejected, the field and a part of the reason; under which rules.
const REJECTED: &[(When, &str, &str, &str)] = &[
    (Always, r#""distinct_id":null"#, WHO, "distinct_id, missing or empty"),
    (Always, r#""distinct_id":["d"]"#, WHO, "a string, a number or a boolean type=list"),
    (Always, r#""distinct_id":{}"#, WHO, "a string, a number or a boolean type=object"),
    (Always, r#""distinct_id":1e300"#, WHO, "of 2^53 or more has to be a string or an integer"),
    (Always, r#""distinct_id":"anon""#, WHO, "for all users value=\"anon\""),
    (Always, r#""distinct_id":"NULL""#, WHO, "for all users value=\"NULL\""),
    (Always, r#""distinct_id":"00000000-0000-0000-0000-000000000000""#, WHO, "for all users"),
    (Always, r#""distinct_id":0"#, WHO, "for all users value=\"0\""),
    (Always, r#""distinct_id":-1"#, WHO, "for all users value=\"-1\""),
    (Always, r#""distinct_id":true"#, WHO, "for all users value=\"true\""),
    (Strict, r#""time":null"#, TIME, "time, missing or empty"),
    (Always, r#""time":"soon""#, TIME, "of the years 0000 to 9999 value=\"soon\""),
    (Always, r#""time":"""#, TIME, "of the years 0000 to 9999 value=\"\""),
    (Always, r#""time":[1]"#, TIME, "of the years 0000 to 9999 type=list"),
    (Always, r#""time":true"#, TIME, "of the years 0000 to 9999 type=boolean"),
    (Always, r#""time":1e300"#, TIME, "of the years 0000 to 9999 value=1e300"),
    (Always, r#""time":31535999"#, TIME, "before 1971-01-01T00:00:00 value=1970-12-31T23:59:59"),
    (Always, r#""time":-1700000000000"#, TIME, "before 1971-01-01T00:00:00"),
    (Always, r#""time":"1970-12-31""#, TIME, "a number of seconds"),
    (Strict, r#""time":"1700000000""#, TIME, "a number of seconds"),
    (Strict, r#""time":"2023-11-14T22:13:20""#, TIME, "a number of seconds"),
    (Strict, r#""time":1700003601"#, TIME, "more than 3600 s in the future value=2023-11-14T23:13:21"),
    (Strict, r#""time":1700003601000"#, TIME, "in the future"),
    (Always, r#""$insert_id":["i"]"#, ID, "a string, a number or a boolean type=list"),
    (Always, r#""$insert_id":1e30"#, ID, "of 2^53 or more"),
    (Strict, r#""$insert_id":null"#, ID, "$insert_id, missing or empty"),
    (Strict, r#""$insert_id":"""#, ID, "$insert_id, missing or empty"),
    (Strict, r#""$insert_id":"null""#, ID, "for all users value=\"null\""),
    (Strict, r#""$insert_id":0"#, ID, "for all users value=\"0\""),
    (Strict, r#""$insert_id":false"#, ID, "for all users value=\"false\""),
    (Strict, r#""$insert_id":"a_b""#, ID, "at most 36 letters, digits and dashes value=\"a_b\""),
    (Strict, r#""$insert_id":"\u00e4""#, ID, "letters, digits and dashes"),
    (Strict, r#""$insert_id":"0123456789012345678901234567890123456""#, ID, "at most 36"),
    (Strict, r#""$insert_id":1.5"#, ID, "letters, digits and dashes value=\"1.5\""),
    (Always, r#""$ignore":true"#, "properties.$ignore", "asks to be dropped"),
    (Always, r#""$ignore":"1""#, "properties.$ignore", "asks to be dropped"),
    (Always, r#""":1"#, "properties.", "name is empty"),
    (Always, r#""a":{"b":{"c":{"d":{}}}}"#, "properties.a", "levels deep"),
    (Always, r#""event":{"b":{"c":{"d":{}}}}"#, "properties.event", "levels deep"),
    (Always, r#""properties":{"b":{"c":{"d":{}}}}"#, "properties.properties", "levels deep"),
];

#[test]
fn what_is_refused_and_why() {
    for (when, properties, field, reason) in REJECTED {
        let text = event(properties);
        let reject = read(&text, &strict()).expect_err(properties);
        assert_eq!(reject.field.as_deref(), Some(*field), "{properties}");
        assert!(reject.reason.contains(reason), "{properties}: {}", reject.reason);
        if *field != WHO {
            assert_eq!(reject.id.as_deref(), Some("d"), "{properties}");
        }
        if *field != ID {
            assert_eq!(reject.insert_id.as_deref(), Some("i-1"), "{properties}");
        }
        // What is tolerated with a note is rejected by strict rules for the same reason.
        match read(&text, &lenient()) {
            Err(reject) => assert!(*when == Always, "{reject}"),
            Ok(record) => {
                assert!(*when == Strict, "{properties}");
                for note in record.notes {
                    assert_eq!(note.field, *field);
                    assert!(note.reason.ends_with(&reject.reason), "{note:?}");
                }
            }
        }
    }
    let anon = read(&event(r#""distinct_id":"anon""#), &lenient()).unwrap_err();
    assert_eq!(anon.id.as_deref(), Some("anon"));
    let long = format!(r#""distinct_id":"{}""#, "x".repeat(65_536));
    let long = read(&event(&long), &lenient()).unwrap_err();
    assert_eq!((long.id, long.field.as_deref()), (None, Some(WHO)));
    let long = format!(r#""$insert_id":"{}""#, "x".repeat(65_536));
    assert_eq!(read(&event(&long), &lenient()).unwrap_err().field.as_deref(), Some(ID));
}

#[test]
fn what_is_no_event() {
    let rows: &[(&str, Option<&str>, &str)] = &[
        ("{}", Some("event"), "event, missing or empty"),
        (
            r#"{"$distinct_id":"d","$set":{}}"#,
            Some("event"),
            "the object is an update, not an event; \"import\" takes updates",
        ),
        (r#"{"event":"","properties":{}}"#, Some("event"), "event, missing or empty"),
        (r#"{"event":null,"properties":{}}"#, Some("event"), "event, missing or empty"),
        (r#"{"event":7,"properties":{}}"#, Some("event"), "event is a string type=number"),
        (r#"{"event":"e"}"#, Some("properties"), "properties, missing or empty"),
        (r#"{"event":"e","properties":null}"#, Some("properties"), "properties, missing or empty"),
        (r#"{"event":"e","properties":[]}"#, Some("properties"), "properties is an object type=list"),
        (r#"{"event":"e","properties":{}}"#, Some(WHO), "distinct_id, missing or empty"),
        ("[1]", None, "a record is a json object type=list"),
        ("7", None, "a record is a json object type=number"),
        ("\"e\"", None, "a record is a json object type=string"),
        ("null", None, "a record is a json object type=null"),
    ];
    for (text, field, reason) in rows {
        for rules in [lenient(), strict()] {
            let reject = read(text, &rules).expect_err(text);
            assert_eq!((reject.field.as_deref(), reject.reason.as_str()), (*field, *reason), "{text}");
        }
    }
    let nameless = r#"{"event":"","properties":{"distinct_id":7,"$insert_id":8}}"#;
    let reject = read(nameless, &strict()).unwrap_err();
    assert_eq!((reject.id.as_deref(), reject.insert_id.as_deref()), (Some("7"), Some("8")));
}

#[test]
fn users() {
    for (wire, id) in [
        ("\"alice\"", "alice"),
        ("\" A \"", " A "),
        ("\"\"", ""),
        ("3", "3"),
        ("18446744073709551615", "18446744073709551615"),
        ("1.5", "1.5"),
        ("1.0", "1"),
        ("12345.0", "12345"),
        ("1.2345e4", "12345"),
        ("9007199254740991.0", "9007199254740991"),
    ] {
        for rules in [lenient(), strict()] {
            let record = read(&event(&format!("\"distinct_id\":{wire}")), &rules).unwrap();
            assert_eq!((record.event.distinct_id(), record.notes), (id, vec![]), "{wire}");
        }
    }
}

#[test]
fn times() {
    let time = |wire: &str, rules: &Rules| read(&event(&format!("\"time\":{wire}")), rules).unwrap();
    for (wire, millis) in [
        ("1700000000", 1_700_000_000_000),
        ("1700000000.25", 1_700_000_000_250),
        ("1700000000123", 1_700_000_000_123),
        ("1700003600", 1_700_003_600_000),
        ("31536000", 31_536_000_000),
    ] {
        for rules in [lenient(), strict()] {
            let record = time(wire, &rules);
            assert_eq!((record.event.time().millis(), record.notes), (millis, vec![]), "{wire}");
        }
    }
    for (wire, millis) in [
        ("\"1700000000\"", 1_700_000_000_000),
        ("\" 1700000000.25 \"", 1_700_000_000_250),
        ("\"1700000000123\"", 1_700_000_000_123),
        ("\"2023-11-14\"", 1_699_920_000_000),
        ("\"2023-11-14T22:13:20\"", 1_700_000_000_000),
        ("\"2023-11-14 22:13:20\"", 1_700_000_000_000),
        ("\"2023-11-14T22:13:20.123Z\"", 1_700_000_000_123),
        ("\"2023-11-14T23:13:20+01:00\"", 1_700_000_000_000),
    ] {
        let record = time(wire, &lenient());
        assert_eq!(record.event.time().millis(), millis, "{wire}");
        let [note] = &record.notes[..] else { panic!("{:?}", record.notes) };
        assert_eq!((note.field.as_str(), &note.before), (TIME, &Some(json(wire))));
    }
    for missing in ["null", "{}"] {
        let text = event(&format!("\"time\":{missing}")).replace("\"time\":{},", "").replace("\"time\":{}", "\"a\":1");
        let record = read(&text, &lenient()).unwrap();
        assert_eq!(record.event.time(), NOW, "{text}");
        assert_eq!(record.notes[0].reason, "set to now: time, missing or empty");
        for refused in [Rules::new(), strict(), lenient().endpoint(Endpoint::Import)] {
            assert_eq!(read(&text, &refused).unwrap_err().reason, "time, missing or empty");
        }
    }
    let ahead = time("1700003601", &lenient());
    assert_eq!(ahead.event.time(), NOW);
    let [note] = &ahead.notes[..] else { panic!("{:?}", ahead.notes) };
    assert_eq!(note.field, TIME);
    let reason = "set to now: the time is more than 3600 s in the future value=2023-11-14T23:13:21";
    assert_eq!(note.reason, reason);
    // Without a clock, the future limit is not checked.
    for rules in [Rules::new(), Rules::new().strict(true)] {
        assert_eq!(time("4102444800", &rules).event.time().seconds(), 4_102_444_800);
    }
}

#[test]
fn insert_ids() {
    let id = |wire: &str, rules: &Rules| {
        let record = read(&event(&format!("\"$insert_id\":{wire}")), rules).unwrap();
        let consequence = record.notes.first().map(|note| note.reason.split(':').next().unwrap().to_owned());
        assert!(record.notes.iter().all(|note| note.field == ID));
        (record.event.insert_id().map(str::to_owned), consequence)
    };
    let some = |text: &str| Some(text.to_owned());
    let longest = "0123456789-abcdefghijklmnopqrstuvwxy";
    for (wire, expected) in [("\"a-B-3\"", "a-B-3"), ("\"-\"", "-"), ("12", "12"), (&format!("\"{longest}\""), longest)]
    {
        for rules in [lenient(), strict()] {
            assert_eq!(id(wire, &rules), (some(expected), None));
        }
    }
    assert_eq!(id("null", &lenient()), (None, None), "null is absent");
    for wire in ["\"\"", "\"null\"", "\"Undefined\"", "0", "true"] {
        assert_eq!(id(wire, &lenient()), (None, some("left out")), "{wire}");
    }
    for (wire, expected) in [("\"a b\"", "a b"), ("1.5", "1.5"), (&format!("\"{}\"", "x".repeat(37)), &"x".repeat(37))]
    {
        assert_eq!(id(wire, &lenient()), (some(expected), some("kept")), "{wire}");
    }
    let without = r#"{"event":"e","properties":{"time":1700000000,"distinct_id":"d"}}"#;
    let record = read(without, &lenient()).unwrap();
    assert_eq!((record.event.insert_id(), record.notes), (None, vec![]));
    assert_eq!(read(without, &strict()).unwrap_err().reason, "$insert_id, missing or empty");
}

#[test]
fn properties() {
    let properties = |text: &str| {
        let record = read(&event(text), &strict()).unwrap();
        Value::from(record.event.properties().clone()).to_string()
    };
    let kept = r#""$city":"X","$device_id":1,"$ignore":false,"Time":1,"a":null,"l":[1,"1"],"o":{"token":1}"#;
    assert_eq!(properties(kept), format!("{{{kept}}}"));
    assert_eq!(properties(r#""token":[],"ip":"x","a":1"#), r#"{"a":1}"#);
    let extra = r#"{"$token":"t","properties":{"time":1700000000,"distinct_id":"d"},"event":"e","x":{"y":[]}}"#;
    assert_eq!(read(extra, &lenient()).unwrap().event, Event::new("e", "d", Timestamp::from_seconds(1_700_000_000)));
}

#[test]
fn limits_stand_at_the_door() {
    let many = |n: usize| (0..n).map(|n| format!("\"p{n}\":{n}")).collect::<Vec<_>>().join(",");
    read(&event(&many(255)), &strict()).unwrap();
    let bomb = read(&event(&many(256)), &lenient()).unwrap_err();
    assert_eq!((bomb.kind, bomb.field.as_deref()), (crate::error::ErrorKind::LimitExceeded, Some("properties")));
    assert_eq!((bomb.id.as_deref(), bomb.insert_id.as_deref()), (Some("d"), Some("i-1")));
    let list = |n: usize| event(&format!("\"l\":{:?}", vec![0; n]));
    read(&list(254), &strict()).unwrap();
    assert_eq!(read(&list(255), &lenient()).unwrap_err().field.as_deref(), Some("properties.l"));
    let (long, short) = ("n".repeat(300), "n".repeat(255));
    let cut = event(&format!(r#""{long}":"{long}""#));
    assert_eq!(read(&cut, &strict()).unwrap_err().kind, crate::error::ErrorKind::LimitExceeded);
    let cut = read(&cut, &lenient()).unwrap();
    assert_eq!((cut.event.get(&short), cut.notes.len()), (Some(&short.clone().into()), 2));
    assert!(cut.notes.iter().all(|note| note.field == format!("properties.{short}")));
    assert!(cut.notes.iter().all(|note| note.before == Some(long.as_str().into())));
    let named = format!(r#"{{"event":"{long}","properties":{{"time":1,"distinct_id":"d","$insert_id":"i"}}}}"#);
    let rules = Rules::new().limits(Limits { event_seconds_min: 0, ..Limits::mixpanel() });
    assert_eq!(read(&named, &rules).unwrap().notes[0].field, "event");
    assert_eq!(read(&named, &rules.strict(true)).unwrap_err().field.as_deref(), Some("event"));
    // Events have a length of their own.
    let mut limits = Limits::mixpanel();
    (limits.update_bytes_max, limits.event_bytes_max) = (10, 1_000);
    let rules = Rules::new().limits(limits);
    read(&event("\"a\":1"), &rules).unwrap();
    let text = event(&format!("\"a\":\"{}\"", "x".repeat(1_000)));
    let reject = EventRecord::from_slice(text.as_bytes(), &rules).unwrap_err();
    assert_eq!(reject.reason, format!("a record has at most 1000 bytes bytes={}", text.len()));
    let mut records = EventRecords::of(text.as_bytes(), rules);
    assert_eq!(records.next().unwrap().unwrap().unwrap_err().reason, reject.reason);
}

/// Cases 86 to 89 of the contract, as far as reading goes.
#[test]
fn requests() {
    let good = event("\"a\":1");
    let bad_time = event("\"time\":1,\"$insert_id\":\"i-2\"");
    let parse = |body: &str| parse_events(body.as_bytes(), &strict());
    // 86, 87: the bad one costs itself and says which one it is.
    let outcomes = parse(&format!("[{good},{bad_time}]")).unwrap();
    assert!(outcomes[0].is_ok());
    let reject = outcomes[1].as_ref().unwrap_err();
    assert_eq!(
        serde_json::to_string(reject).unwrap(),
        r#"{"line":1,"index":1,"id":"d","insert_id":"i-2","field":"properties.time","reason":"#.to_owned()
            + r#""the time is before 1971-01-01T00:00:00 value=1970-01-01T00:00:01","record":"#
            + &serde_json::to_string(&bad_time).unwrap()
            + "}"
    );
    // 88: what was sent twice arrives twice; that it is one event is for the store to see.
    let twice = parse(&format!("{good}\n{good}")).unwrap();
    let [Ok(first), Ok(second)] = &twice[..] else { panic!("{twice:?}") };
    assert_eq!(first.event, second.event);
    // 89
    let broken = parse(&event("\"distinct_id\":\"anon\"")).unwrap();
    assert_eq!(broken[0].as_ref().unwrap_err().field.as_deref(), Some(WHO));

    assert_eq!(parse(" ").unwrap_err().message(), "data, missing or empty");
    for damaged in [format!("[{good}"), format!("[{good} {good}]"), format!("{good}}}"), "{\"event\":}".to_owned()] {
        assert!(parse(&damaged).unwrap_err().is_invalid(), "{damaged}");
    }
    let many = |n: usize| format!("[{}]", vec![good.as_str(); n].join(","));
    assert_eq!(parse(&many(2_000)).unwrap().len(), 2_000);
    let error = parse(&many(2_001)).unwrap_err();
    assert_eq!((error.is_limit_exceeded(), error.message()), (true, "a request has at most 2000 events"));
}

#[test]
fn streams_in_every_layout() {
    let (good, pretty) = (event("\"a\":1"), "{\n \"event\":\n \"e\"\n}");
    let input = format!("[{good},\n{good}]{good}\n7\n{{\"event\":\n{good}\n{pretty}\n");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(input.as_bytes()).unwrap();
    for bytes in [input.clone().into_bytes(), encoder.finish().unwrap()] {
        let found: Vec<_> = EventRecords::of(&bytes[..], strict())
            .map(|outcome| match outcome.unwrap() {
                Ok(record) => (record.line.unwrap(), None),
                Err(reject) => (reject.line.unwrap(), Some((reject.line.unwrap(), reject.index))),
            })
            .collect();
        let expected =
            [(1, None), (2, None), (2, None), (3, Some((3, 3))), (4, Some((4, 4))), (5, None), (6, Some((6, 6)))];
        assert_eq!(found, expected);
    }
}

#[test]
fn the_history_is_as_strict_as_can_be() {
    let mut count = 0;
    for outcome in EventRecords::of(HISTORY, Rules::new().strict(true)) {
        let record = outcome.unwrap().unwrap();
        assert!(["commit", "big commit"].contains(&record.event.name()));
        assert_eq!(record.event.properties().len(), 3);
        count += 1;
    }
    assert_eq!(count, 13_491);
}

/// Names and ids that are hard to write down, or that look like something else.
fn odd() -> impl Strategy<Value = String> {
    let edges =
        ["event", "properties", "Time", "$distinct_id", "$time", "a\0b", "\u{1}", "\"\\", "{", "0.5", "somebody", " "];
    prop_oneof![prop::sample::select(edges.map(str::to_owned).to_vec()), any::<String>(), "[a-c]{1,3}"]
}

/// Bytes that mean something in JSON.
const DAMAGE: &[u8] = b"0e9-\"}{,:\\n";

fn any_event() -> impl Strategy<Value = Event> {
    let id = prop_oneof![Just(None), "[A-Za-z0-9-]{1,36}".prop_map(Some), odd().prop_map(Some)];
    let millis = prop_oneof![31_536_000_000..253_402_207_200_000_i64, 31_536_000..253_402_207_200_i64];
    let times = (millis, any::<bool>()).prop_map(|(millis, whole)| if whole { millis / 1_000 * 1_000 } else { millis });
    let properties = prop::collection::vec((odd(), any_value()), 0..6);
    (odd(), odd(), id, times, properties).prop_map(|(name, user, id, millis, properties)| Event {
        insert_id: id,
        properties: properties.into_iter().collect::<Object>(),
        ..Event::new(name, user, Timestamp::from_millis(millis))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What the store takes comes back from its own text.
    #[test]
    fn every_event_that_is_admitted_reads_back(event in any_event()) {
        let admitted = event.admit(&Limits::mixpanel(), Timestamp::from_millis(i64::MAX));
        prop_assume!(admitted.is_ok());
        let event = admitted.unwrap();
        let text = serde_json::to_string(&event).unwrap();
        let lenient = EventRecord::from_slice(text.as_bytes(), &Rules::new()).unwrap();
        prop_assert_eq!(&lenient.event, &event, "{}", text);
        prop_assert_eq!(serde_json::to_string(&lenient.event).unwrap(), text.clone());
        let documented = |id: &str| id.len() <= 36 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        match EventRecord::from_slice(text.as_bytes(), &Rules::new().strict(true)) {
            Ok(record) => prop_assert_eq!(record.event, event),
            Err(reject) => {
                prop_assert_eq!(reject.field.as_deref(), Some(ID));
                prop_assert!(!event.insert_id().is_some_and(documented), "{}", reject);
            }
        }
    }

    /// The law, on texts of events in which some bytes were replaced.
    #[test]
    fn damaged_events_keep_the_law(
        event in any_event(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(DAMAGE)), 0..4),
    ) {
        let mut text = serde_json::to_vec(&event).unwrap();
        for (at, byte) in damage {
            let at = at.index(text.len());
            text[at] = byte;
        }
        prop_assert_eq!(check_event_wire(&text), Ok(()));
    }
}
