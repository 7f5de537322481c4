//! Events of one day become a block of a column segment and come back as the same rows.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use profiledb::laws::check_segment;
use profiledb::{Event, Timestamp, Value};

#[derive(Arbitrary, Debug)]
struct Input {
    events: Vec<Row>,
}

#[derive(Arbitrary, Debug)]
struct Row {
    name: String,
    id: String,
    millis: u32,
    insert_id: String,
    properties: Vec<(u8, Content)>,
}

#[derive(Arbitrary, Debug)]
enum Content {
    Integer(i128),
    Cents(i32),
    Float(f64),
    Text(String),
    Flag(bool),
    List(Vec<i64>),
    Null,
}

fn value(content: Content) -> Value {
    match content {
        Content::Integer(integer) => integer.into(),
        Content::Cents(cents) => Value::try_from(f64::from(cents) / 100.0).unwrap_or_default(),
        Content::Float(float) => Value::try_from(float).unwrap_or_default(),
        Content::Text(text) => text.into(),
        Content::Flag(flag) => flag.into(),
        Content::List(list) => list.into(),
        Content::Null => Value::Null,
    }
}

fuzz_target!(|input: Input| {
    let event = |row: Row| {
        let time = Timestamp::from_millis(1_700_006_400_000 + i64::from(row.millis % 86_400_000));
        let event = Event::new(row.name, row.id, time).id(row.insert_id);
        let properties = row.properties.into_iter();
        properties.fold(event, |event, (name, content)| event.set(format!("p{name}"), value(content)))
    };
    let events: Vec<Event> = input.events.into_iter().map(event).collect();
    check_segment(&events);
});
