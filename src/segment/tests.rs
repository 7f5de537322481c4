//! The law on events of many shapes, and damaged chunks.

use proptest::prelude::*;

use super::builder::{BlockBuilder, EncodedBlock};
use super::column::{ColumnContent, Values, encode_column};
use super::key::{BLOCK_EVENTS_MAX, ColumnId};
use super::laws::check_segment;
use super::rows::BlockRows;
use crate::codec::format_page::{hex, shown};
use crate::codec::{EncodedEvent, check_event};
use crate::model::{Event, Object, Timestamp, Value};

fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-5..5_i64).prop_map(Value::from),
        (0..100_000_i64).prop_map(|cents| Value::try_from(cents as f64 / 100.0).unwrap()),
        prop::sample::select(vec![0.0, -0.0, 1.0, 1e-7, 5e-324, f64::MAX, 0.1, 1e15, 9_007_199_254_740_993.0])
            .prop_map(|float| Value::try_from(float).unwrap()),
        any::<i64>().prop_map(Value::from),
        any::<i128>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |float| Value::try_from(float).ok()),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => numbers(),
        3 => "[a-c]{0,3}".prop_map(Value::from),
        1 => "\\PC{0,8}".prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Object>())),
        ]
    })
}

fn insert_ids() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9a-f]{0,9}",
        "[0-9A-F]{36}",
        "\\PC{0,6}",
    ]
}

prop_compose! {
    fn events()(
        id in prop::sample::select(vec!["", "a", "b", "ab", "\u{0}", "\u{1}", "a\u{0}b", "zo\u{eb}"]),
        millis in prop_oneof![0..3_i64, 0..86_400_000_i64],
        name in prop::sample::select(vec!["visit", "purchase", "\u{e9}"]),
        insert_id in insert_ids(),
        properties in prop::collection::btree_map("[p-s]|[a-z]{0,3}", values(), 0..6),
    ) -> Event {
        let event = Event::new(name, id, Timestamp::from_millis(1_700_006_400_000 + millis)).id(insert_id);
        properties.into_iter().fold(event, |event, (name, value)| event.set(name, value))
    }
}

/// The same kind of value in every event, as most columns have it.
fn alike() -> impl Strategy<Value = Vec<Event>> {
    let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let one = prop_oneof![numbers().boxed(), (0..3_i64).prop_map(Value::from).boxed(), values().boxed()];
    one.prop_flat_map(move |sample| {
        let value = match &sample {
            Value::Number(number) if number.is_float() => {
                (-9_999..9_999_i64).prop_map(|cents| Value::try_from(cents as f64 / 100.0).unwrap()).boxed()
            }
            Value::Number(number) => {
                let base = number.as_i64().unwrap_or_default();
                (0..70_i64).prop_map(move |more| Value::from(base.saturating_add(more))).boxed()
            }
            _ => prop::sample::select(vec![sample.clone(), Value::from("x")]).boxed(),
        };
        prop::collection::vec((events(), value, uuid, any::<bool>()), 1..300).prop_map(|all| {
            let with = |(event, value, uuid, present): (Event, Value, String, bool)| {
                let event = event.id(uuid);
                if present { event.set("amount", value) } else { event }
            };
            all.into_iter().map(with).collect()
        })
    })
}

fn encode(events: &[Event]) -> (EncodedBlock, Vec<String>) {
    let rows: std::collections::BTreeMap<_, _> =
        events.iter().map(|event| (EncodedEvent::of(event).key, event.clone())).collect();
    let mut ids: Vec<String> = rows.values().map(|event| event.distinct_id().to_owned()).collect();
    ids.sort();
    ids.dedup();
    let mut builder = BlockBuilder::new(BLOCK_EVENTS_MAX);
    for event in rows.values() {
        let EncodedEvent { key, value } = EncodedEvent::of(event);
        let ordinal = ids.binary_search_by(|id| id.as_str().cmp(event.distinct_id())).unwrap() as u32;
        builder.push(ordinal, &key, &value).unwrap();
    }
    (builder.finish(0).unwrap(), ids)
}

proptest! {
    #[test]
    fn rows_come_back_byte_for_byte(events in prop::collection::vec(events(), 1..60)) {
        check_segment(&events);
    }

    #[test]
    fn rows_of_columns_of_one_kind_come_back_byte_for_byte(events in alike()) {
        check_segment(&events);
    }

    /// Damage is an error, or other rows, and never a panic; a chunk that is missing is an error that names it.
    #[test]
    fn no_damage_of_a_chunk_makes_a_reader_panic(
        events in prop::collection::vec(events(), 1..20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..10_u8), 1..30),
    ) {
        let (block, ids) = encode(&events);
        let rebuild = |chunks: &[(ColumnId, Vec<u8>)]| {
            let find = |column: &ColumnId| chunks.iter().find(|(id, _)| id == column);
            let chunk = |column: &ColumnId| find(column).map(|(_, chunk)| chunk.as_slice());
            BlockRows::rebuild(19_676, &block.summary, chunk, None, |ordinal, out| {
                ids.get(ordinal as usize).map(|id| out.extend_from_slice(id.as_bytes())).is_some()
            })
        };
        for (chunk, byte, bit) in damage {
            let mut chunks = block.chunks.clone();
            let at = chunk.index(chunks.len());
            if bit == 9 {
                let (column, _) = chunks.remove(at);
                prop_assert_eq!(rebuild(&chunks).unwrap_err().column, column);
                continue;
            }
            let bytes = &mut chunks[at].1;
            let place = byte.index(bytes.len());
            if bit == 8 { bytes.truncate(place) } else { bytes[place] ^= 1 << bit }
            if let Ok(rows) = rebuild(&chunks) {
                for (key, value) in (0..rows.len()).map(|at| rows.get(at).unwrap()) {
                    let _ = check_event(key, value);
                }
            }
        }
    }

    #[test]
    fn no_input_makes_a_reader_of_columns_panic(mut chunk: Vec<u8>, encoding in 0..6_u8, events in 0..300_usize) {
        let mut head = vec![0xD1];
        crate::codec::put_varint(&mut head, events as u64);
        head.push(encoding);
        chunk.splice(0..0, head);
        if let Ok(values) = Values::decode(&chunk, events) {
            let mut out = Vec::new();
            (0..events + 1).for_each(|at| values.write(at, &mut out));
        }
    }
}

/// What a column takes, in bytes, so that an encoding that is not taken any more is noticed.
#[test]
fn columns_take_the_encoding_that_fits() {
    let encode = |values: Vec<Value>| {
        let bytes: Vec<Vec<u8>> = values
            .iter()
            .map(|value| {
                let mut out = Vec::new();
                crate::codec::write_value(&mut out, value);
                out
            })
            .collect();
        encode_column(&bytes.iter().map(Vec::as_slice).collect::<Vec<_>>(), ColumnContent::Values)
    };
    let count = 1_280;
    let encoding = |chunk: &[u8]| chunk[4];
    let plans = encode((0..count).map(|n| Value::from(["free", "pro"][n % 2])).collect());
    assert_eq!((encoding(&plans), plans.len()), (1, 5 + 1 + 7 + 6 + count / 128 * 17));
    let cents = encode((0..count).map(|n| Value::try_from((n * 7) as f64 / 100.0).unwrap()).collect());
    assert_eq!(encoding(&cents), 4);
    assert!(cents.len() < count * 14 / 8 + 40, "{}", cents.len());
    let mixed = encode(
        (0..count)
            .map(|n| if n % 2 == 0 { Value::from(n as i64) } else { Value::try_from(n as f64 / 4.0).unwrap() })
            .collect(),
    );
    assert_eq!(encoding(&mixed), 4);
    let texts = encode((0..count).map(|n| Value::from(format!("{n} is a text of its own"))).collect());
    assert_eq!(encoding(&texts), 2);
    let large = encode((0..count).map(|n| Value::from(i128::from(i64::MAX) + n as i128)).collect());
    assert_eq!(encoding(&large), 2);
    let uuid = |n: usize| format!("0b54f3f1-9d3a-4c59-a1c4-{n:012x}");
    let uuids: Vec<String> = (0..count).map(uuid).collect();
    let chunk = encode_column(&uuids.iter().map(String::as_bytes).collect::<Vec<_>>(), ColumnContent::Texts);
    assert_eq!((encoding(&chunk), chunk.len()), (3, 6 + 16 * count));
}

/// Wide and ragged events cost about what their rows do, and not a chunk for each property.
#[test]
fn rare_properties_share_a_chunk() {
    let event = |n: usize| {
        let event = Event::new("visit", format!("u{n}"), Timestamp::from_millis(1_700_006_400_000)).id("i");
        (0..2_000).fold(event, |event, p| event.set(format!("p{n}-{p}"), n as i64))
    };
    let events: Vec<Event> = (0..20).map(event).collect();
    check_segment(&events);
    let (block, _) = encode(&events);
    assert!(block.chunks.len() <= 5 + 256, "{}", block.chunks.len());
    let bytes: usize = block.chunks.iter().map(|(_, chunk)| chunk.len()).sum();
    assert!((bytes as u64) < block.summary.row_bytes * 5 / 4, "{bytes} {}", block.summary.row_bytes);
}

/// A row that would not come back, or is out of order, is refused, and nothing has changed.
#[test]
fn rows_that_would_not_come_back_are_refused() {
    let row = |name: &str| EncodedEvent::of(&Event::new(name, "u", Timestamp::from_seconds(0)).id("i").set("a", 1));
    let EncodedEvent { key, value } = row("visit");
    let mut builder = BlockBuilder::new(BLOCK_EVENTS_MAX);
    for (key, value) in [
        (&key[..], &b""[..]),
        (&key, &value[..value.len() - 1]),
        (&key, &row("other").value),
        (&key[..key.len() - 1], &value),
        (b"", b""),
    ] {
        assert!(builder.push(0, key, value).is_err());
        assert!(builder.is_empty());
    }
    builder.push(0, &key, &value).unwrap();
    assert!(builder.push(0, &key, &value).is_err(), "the same key again");
    let next_day = EncodedEvent::of(&Event::new("visit", "u", Timestamp::from_seconds(86_400)).id("i"));
    assert!(builder.push(0, &next_day.key, &next_day.value).is_err(), "another day");
    assert_eq!(builder.finish(3).unwrap().summary.events, 1);
}

/// Stored bytes must stay readable.
#[test]
fn the_format_equals_its_frozen_examples() {
    let event = |id: &str, millis: i64, n: i64| {
        let time = Timestamp::from_millis(1_700_006_400_000 + millis);
        Event::new("visit", id, time)
            .id(format!("0{n}"))
            .set("plan", "pro")
            .set("amount", Value::try_from(n as f64 / 4.0).unwrap())
    };
    let (block, _) = encode(&[event("alice", 5, 1), event("bob", 7, 2), event("bob", 9, 3)]);
    let header = super::SegmentHeader { blocks: vec![block.summary.clone()] };
    assert_eq!(hex(&header.encode()), shown("example_segment_header"));
    for (column, chunk) in &block.chunks {
        let name = column.to_string().replace([' ', '"', '$'], "");
        assert_eq!(hex(chunk), shown(&format!("example_chunk_{name}")), "{name}");
    }
    let mut ids = super::OrdinalIds::default();
    ["alice", "bob"].iter().for_each(|id| ids.push(id.as_bytes()));
    ids.erase(0);
    assert_eq!(
        (hex(&ids.encode()), hex(&super::encode_ordinal(258))),
        ("8100 04 626f62".replace(' ', ""), "9100000102".to_owned())
    );
    // Every encoding, in one number: a change of any of them shows.
    let many: Vec<Event> = (0..500_i64)
        .map(|n| {
            let event = event(&format!("u{}", n % 40), n * 1_000, n).id(format!("0b54f3f1-9d3a-4c59-a1c4-{n:012x}"));
            let event =
                event.set("n", n).set("text", "x".repeat(n as usize % 9)).set("rare", if n == 7 { n } else { 0 });
            if n % 3 == 0 { event.set("third", i128::MAX - i128::from(n)) } else { event }
        })
        .collect();
    let (block, _) = encode(&many);
    let all: Vec<u8> = block.chunks.iter().flat_map(|(_, chunk)| chunk.clone()).collect();
    assert_eq!((all.len(), crc32c(&all)), MANY);
}

/// Bitwise, so that nothing but this file decides it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0_u32, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 * (sum & 1))))
}

const MANY: (usize, u32) = (14_535, 2_641_800_570);
