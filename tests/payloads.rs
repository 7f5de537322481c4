//! What clients and exports of data frames really send: how each record is stored and what is noted, or why it is
//! refused. The files of fixtures are what the official clients for Python (5.4.1) and Node (0.24.0) put on the wire.

use std::collections::BTreeMap;

use profiledb::ingest::{Endpoint, EventRecord, EventRecords, Note, Record, Records, Reject, Rules};
use profiledb::{Change, Profile, Timestamp};

/// A moment after all that the clients recorded.
const NOW: Timestamp = Timestamp::from_seconds(1_795_616_400);

fn rules() -> Rules {
    Rules::new().now(NOW)
}

/// The fields of the notes and what was done, in one line.
fn noted(notes: &[Note]) -> String {
    let note = |note: &Note| format!(" | {} {}", note.field, note.reason.split(':').next().unwrap_or_default());
    notes.iter().map(note).collect()
}

fn refused(reject: &Reject) -> String {
    assert!(reject.record.is_some(), "a reject of the input has its record: {reject}");
    format!("refused {}: {}", reject.field.as_deref().unwrap_or("-"), reject.reason)
}

/// One line for each update, and one for each profile at the end.
fn updates(input: &str, rules: &Rules) -> Vec<String> {
    let mut profiles: BTreeMap<String, Option<Profile>> = BTreeMap::new();
    let mut lines = Vec::new();
    for outcome in Records::new(input.as_bytes(), rules.clone()) {
        lines.push(match outcome.unwrap() {
            Err(reject) => refused(&reject),
            Ok(Record { key, change, notes, .. }) => {
                let name = format!("{}/{}", key.kind(), key.id());
                let profile = profiles.entry(name.clone()).or_default();
                *profile = match change {
                    Change::Update(update) => Profile::update(profile.take(), &update),
                    Change::Delete => None,
                };
                format!("{name}{}", noted(&notes))
            }
        });
    }
    let shown = |(name, profile): (String, Option<Profile>)| {
        format!("= {name} {}", profile.map_or("none".into(), |profile| serde_json::to_string(&profile).unwrap()))
    };
    lines.extend(profiles.into_iter().map(shown));
    lines
}

/// One line for each event.
fn events(input: &str, rules: &Rules) -> Vec<String> {
    let line = |outcome: Result<EventRecord, Reject>| match outcome {
        Err(reject) => refused(&reject),
        Ok(record) => {
            let event = serde_json::to_value(&record.event).unwrap();
            format!("{} {}{}", event["event"], event["properties"], noted(&record.notes))
        }
    };
    EventRecords::of(input.as_bytes(), rules.clone()).map(|outcome| line(outcome.unwrap())).collect()
}

#[test]
fn official_clients() {
    let (sent, taken) =
        (include_str!("fixtures/clients/profiles.ndjson"), include_str!("fixtures/clients/profiles.txt"));
    assert_eq!(updates(sent, &rules()).join("\n"), taken.trim_end());
    let (sent, taken) = (include_str!("fixtures/clients/events.ndjson"), include_str!("fixtures/clients/events.txt"));
    assert_eq!(events(sent, &rules()).join("\n"), taken.trim_end());
}

/// Updates, one or more per row, and the lines that they give.
const UPDATES: &[(&str, &[&str])] = &[
    // RudderStack writes null for what a message does not have.
    (
        r#"{"$distinct_id":"a","$set":{"plan":"pro"},"$ip":"0.0.0.0","$time":null}"#,
        &["users/a", r#"= users/a {"plan":"pro"}"#],
    ),
    (
        r#"{"$distinct_id":"a","$group_key":null,"$group_id":null,"$token":null,"$set":{"plan":null},"$time":1.7e9}"#,
        &["users/a", r#"= users/a {"$last_seen":"2023-11-14T22:13:20","plan":null}"#],
    ),
    (
        r#"{"$group_key":"company","$group_id":null,"$set":{"a":1}}"#,
        &["refused $group_id: $group_id, missing or empty"],
    ),
    (
        r#"{"$distinct_id":null,"$group_key":"company","$group_id":"a","$set":{"a":1}}"#,
        &["group:company/a", r#"= group:company/a {"a":1}"#],
    ),
    // A data frame with a missing id writes all ids as floats, and a missing id as null or as NaN.
    (
        r#"{"$distinct_id":12345.0,"$set":{"plan":"pro"}} {"$distinct_id":12345,"$set":{"age":NaN}}"#,
        &["users/12345", "users/12345 | $set.age replaced by null", r#"= users/12345 {"age":null,"plan":"pro"}"#],
    ),
    (r#"{"$distinct_id":NaN,"$set":{"a":1}}"#, &["refused $distinct_id: $distinct_id, missing or empty"]),
    (r#"{"$distinct_id":null,"$set":{"a":1}}"#, &["refused $distinct_id: $distinct_id, missing or empty"]),
    (
        r#"{"$group_key":"k","$group_id":7.0,"$set":{"a":1}} {"$group_key":"k","$group_id":"7","$set":{"b":7.0}}"#,
        &["group:k/7", "group:k/7", r#"= group:k/7 {"a":1,"b":7.0}"#],
    ),
    (
        r#"{"$distinct_id":"a","$set":{"a":1},"$set_once":null,"$add":null,"$unset":null,"$properties":null}"#,
        &["users/a", r#"= users/a {"a":1}"#],
    ),
    (
        r#"{"$distinct_id":"a","$set":null,"$delete":null}"#,
        &["refused -: one operator at a time operators=$set,$delete"],
    ),
    (
        r#"{"$distinct_id":1e300,"$set":{}}"#,
        &[concat!(
            "refused $distinct_id: an id of 2^53 or more has to be a string or an integer without a point ",
            "and an exponent value=1e300",
        )],
    ),
    (
        r#"{"$distinct_id":9007199254740993.0,"$set":{}} {"$distinct_id":9007199254740993,"$set":{"a":1}}"#,
        &[
            concat!(
                "refused $distinct_id: an id of 2^53 or more has to be a string or an integer without a point ",
                "and an exponent value=9007199254740992.0",
            ),
            "users/9007199254740993",
            r#"= users/9007199254740993 {"a":1}"#,
        ],
    ),
    // Times are written in three ways.
    (
        r#"{"$distinct_id":"a","$set":{},"$time":"2024-01-02T03:04:05+01:00"}"#,
        &["users/a | $time converted", r#"= users/a {"$last_seen":"2024-01-02T02:04:05"}"#],
    ),
    (
        r#"{"$distinct_id":"a","$set":{},"$time":4102444800}"#,
        &["users/a | $time set to now", r#"= users/a {"$last_seen":"2026-11-25T14:20:00"}"#],
    ),
    (
        r#"{"$distinct_id":"a","$set":{},"$time":"02.01.2024"}"#,
        &[concat!(
            "refused $time: a time is a number of seconds or milliseconds, or YYYY-MM-DDTHH:MM:SS, ",
            "of the years 0000 to 9999 value=\"02.01.2024\"",
        )],
    ),
    // What was meant as an operator or as a property of the envelope is not lost without a word.
    (
        r#"{"$distinct_id":"a","$set":{"a":1},"$apend":{"l":1},"plan":"pro","$ignore_time":"yes"}"#,
        &["users/a | $apend ignored | plan ignored | $ignore_time taken as false", r#"= users/a {"a":1}"#],
    ),
    (
        r#"{"$distinct_id":"a","$set":{"a":1,"a":2},"$distinct_id":"b"}"#,
        &["users/b | $set.a replaced by the last one | $distinct_id replaced by the last one", r#"= users/b {"a":2}"#],
    ),
    (
        r#"{"$distinct_id":"a","$set":{"id":12345678901234567890123,"n":-9223372036854775809}}"#,
        &["users/a", r#"= users/a {"id":12345678901234567890123,"n":-9223372036854775809}"#],
    ),
    (
        r#"{"$distinct_id":"a","$set":{"id":1234567890123456789012345678901234567890}}"#,
        &["refused $set.id: an integer has at most 128 bits value=\"1234567890123456789012345678901234567890\""],
    ),
    (
        r#"{"$distinct_id":"a","$add":{"n":1e999}}"#,
        &["refused $add.n: a number beyond the range of a double value=\"1e999\""],
    ),
    (
        "{\"$distinct_id\":\"a\",\"$set\":{\"a\":\"x\ty\"}}",
        &[concat!(
            "refused -: not valid json: control character (\\u0000-\\u001F) found while parsing a string ",
            "row=1 column=35",
        )],
    ),
];

#[test]
fn messages_with_nulls_and_exports_of_data_frames() {
    for (input, expected) in UPDATES {
        assert_eq!(updates(input, &rules()), *expected, "{input}");
    }
}

#[test]
fn long_urls_are_not_merged_silently() {
    let url = format!("https://shop.example.com/p?gclid={}", "A".repeat(300));
    let input = format!(r#"{{"$distinct_id":"a","$union":{{"urls":["{url}1","{url}2"]}}}}"#);
    let notes = "$union.urls[0] truncated | $union.urls[1] truncated | $union.urls[1] merged";
    let cut: String = url.chars().take(255).collect();
    assert_eq!(updates(&input, &rules()), [format!("users/a | {notes}"), format!(r#"= users/a {{"urls":["{cut}"]}}"#)]);
    let [refused] = &updates(&input, &rules().strict(true))[..] else { panic!("one update") };
    assert!(refused.starts_with("refused $union.urls[0]: a string has at most 255 characters chars=334"), "{refused}");
    let record = Record::from_slice(input.as_bytes(), &rules()).unwrap();
    let before: Vec<_> = record.notes.iter().map(|note| note.before.clone().unwrap()).collect();
    assert_eq!(before, [1, 2, 2].map(|end| format!("{url}{end}").into()));

    let event =
        format!(r#"{{"event":"v","properties":{{"time":1.7e9,"distinct_id":"a","$insert_id":"1","u":"{url}"}}}}"#);
    assert!(events(&event, &rules())[0].ends_with(" | properties.u truncated"));
    assert!(events(&event, &rules().strict(true))[0].starts_with("refused properties.u: a string has at most"));
}

#[test]
fn an_event_without_a_time_is_given_one_except_by_import() {
    let node = r#"{"event":"v","properties":{"distinct_id":"n1","token":"T","mp_lib":"node","time":null}}"#;
    let taken = r#""v" {"distinct_id":"n1","mp_lib":"node","time":1795616400} | properties.time set to now"#;
    assert_eq!(events(node, &rules()), [taken]);
    for refusing in [rules().strict(true), rules().endpoint(Endpoint::Import), Rules::new()] {
        assert_eq!(events(node, &refusing), ["refused properties.time: time, missing or empty"]);
    }
}
