//! Whatever text is taken as an event reads back, from its own text, as the event that it is; and what strict rules
//! take, lenient rules take alike, without a note.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use profiledb::Value;
use profiledb::laws::{check_event_wire, check_update_wire};

#[derive(Arbitrary, Debug)]
enum Input {
    /// Any bytes.
    Raw(Vec<u8>),
    /// Events, one a line or in an array, with some damage.
    Events { array: bool, events: Vec<Event>, damage: Vec<(u16, u8)> },
}

#[derive(Arbitrary, Debug)]
struct Event {
    name: Option<Part>,
    properties: Vec<(Name, Part)>,
}

/// Names that mean something, and any others.
#[derive(Arbitrary, Debug)]
enum Name {
    Time,
    DistinctId,
    InsertId,
    Token,
    Ip,
    Ignore,
    Other(String),
}

/// Values that some name expects, and any others.
#[derive(Arbitrary, Debug)]
enum Part {
    /// A time next to where one unit ends, or the times that are taken.
    Edge {
        edge: u8,
        off: i8,
    },
    Number(i64),
    Double(f64),
    /// A number or a date as text, digit by digit.
    Digits(u64, Vec<u8>),
    Text(String),
    Value(Value),
    /// What may be no JSON at all.
    Raw(Vec<u8>),
}

const EDGES: [i64; 9] = [
    0,
    31_536_000,
    1_700_003_600,
    100_000_000_000,
    253_402_207_200,
    31_536_000_000,
    1_700_003_600_000,
    100_000_000_000_000,
    253_402_207_200_000,
];

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Time => "time",
            Self::DistinctId => "distinct_id",
            Self::InsertId => "$insert_id",
            Self::Token => "token",
            Self::Ip => "ip",
            Self::Ignore => "$ignore",
            Self::Other(name) => name,
        }
    }
}

impl Part {
    fn write(&self, to: &mut Vec<u8>) {
        let text = match self {
            Self::Edge { edge, off } => (EDGES[usize::from(*edge) % EDGES.len()] + i64::from(*off)).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Double(double) => double.to_string(),
            Self::Digits(digits, shape) => {
                let marks = shape.iter().map(|byte| char::from(b"0123456789-:T .Z+e"[usize::from(*byte) % 18]));
                format!("\"{digits}{}\"", marks.collect::<String>())
            }
            Self::Text(text) => Value::from(text.as_str()).to_string(),
            Self::Value(value) => value.to_string(),
            Self::Raw(bytes) => return to.extend(bytes),
        };
        to.extend(text.bytes());
    }
}

impl Event {
    /// The text, with the part of an envelope that the properties lack.
    fn write(&self, to: &mut Vec<u8>) {
        to.extend(b"{\"event\":");
        self.name.as_ref().unwrap_or(&Part::Text("e".into())).write(to);
        to.extend(b",\"properties\":{\"a\":1");
        for (name, value) in [("time", "1700000000"), ("distinct_id", "\"d\""), ("$insert_id", "\"i\"")] {
            if self.properties.iter().all(|(other, _)| other.text() != name) {
                to.extend(format!(",\"{name}\":{value}").bytes());
            }
        }
        for (name, part) in &self.properties {
            to.extend(format!(",{}:", Value::from(name.text())).bytes());
            part.write(to);
        }
        to.extend(b"}}");
    }
}

fn text(array: bool, events: &[Event], damage: &[(u16, u8)]) -> Vec<u8> {
    let mut text = Vec::new();
    for event in events {
        text.push(match (array, text.is_empty()) {
            (false, _) => b'\n',
            (true, true) => b'[',
            (true, false) => b',',
        });
        event.write(&mut text);
    }
    if array {
        text.push(b']');
    }
    let len = text.len().max(1);
    for (at, byte) in damage {
        if let Some(place) = text.get_mut(usize::from(*at) % len) {
            *place = *byte;
        }
    }
    text
}

fuzz_target!(|input: Input| {
    let text = match &input {
        Input::Raw(bytes) => bytes.clone(),
        Input::Events { array, events, damage } => text(*array, events, damage),
    };
    // Most of it is no update; what is left of the keys of one is enough.
    if let Err(difference) = check_event_wire(&text).and_then(|()| check_update_wire(&text)) {
        panic!("{difference}");
    }
});
