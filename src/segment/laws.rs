//! The law of segments as callable code: rows, block, rows gives the same keys and the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::BlockBuilder;
use super::header::SegmentHeader;
use super::key::{BLOCK_EVENTS_MAX, ColumnId, SegmentKey};
use super::rows::BlockRows;
use crate::codec::{EncodedEvent, day_of, decode_event};
use crate::model::Event;

/// Seals events of one day, rebuilds them, and compares.
///
/// # Panics
///
/// When an event does not come back as the same bytes, or a reader disagrees with itself.
#[expect(clippy::panic, clippy::expect_used, reason = "a law fails loudly")]
pub fn check_segment(events: &[Event]) {
    let rows: BTreeMap<Vec<u8>, Vec<u8>> =
        events.iter().map(EncodedEvent::of).map(|event| (event.key, event.value)).collect();
    let Some(day) = rows.keys().next().and_then(|key| key.first_chunk().copied()) else { return };
    let rows: Vec<_> = rows.into_iter().filter(|(key, _)| key.starts_with(&day)).collect();
    let id_of =
        |key: &[u8], value: &[u8]| decode_event(key, value).expect("it was just encoded").distinct_id().to_owned();
    let ids: BTreeSet<String> = rows.iter().map(|(key, value)| id_of(key, value)).collect();
    // In an order that is not that of ids.
    let mut ids: Vec<String> = ids.into_iter().collect();
    ids.sort_by_key(|id| id.bytes().rev().collect::<Vec<_>>());
    let ordinal = |id: &str| ids.iter().position(|known| known == id).and_then(|at| u32::try_from(at * 3).ok());
    let mut builder = BlockBuilder::new(BLOCK_EVENTS_MAX);
    for (key, value) in &rows {
        let ordinal = ordinal(&id_of(key, value)).expect("every id has an ordinal");
        assert_eq!(builder.push(ordinal, key, value), Ok(()), "{key:02x?}");
        assert!(builder.push(ordinal, key, value).is_err(), "a key that was there before");
    }
    let block = builder.finish(7).expect("the law holds");
    assert!(builder.is_empty());
    let header = SegmentHeader { blocks: vec![block.summary.clone()] };
    let segment = SegmentKey { day: day_of(day), number: 1 };
    assert_eq!(SegmentHeader::decode(segment.day, &header.encode()), Ok(header));
    let chunk = |column: &ColumnId| block.chunks.iter().find(|(id, _)| id == column).map(|(_, chunk)| chunk.as_slice());
    let id = |ordinal: u32, out: &mut Vec<u8>| {
        ids.get(ordinal as usize / 3).map(|id| out.extend_from_slice(id.as_bytes())).is_some()
    };
    let of = |only| match BlockRows::rebuild(segment.day, &block.summary, chunk, only, id) {
        Ok(rebuilt) => (0..rebuilt.len())
            .filter_map(|at| rebuilt.get(at).map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect::<Vec<_>>(),
        Err(damage) => panic!("{damage:?}"),
    };
    assert_eq!(of(None), rows);
    for id in &ids {
        let only = rows.iter().filter(|(key, value)| id_of(key, value) == *id).cloned().collect::<Vec<_>>();
        assert_eq!(of(ordinal(id)), only);
    }
}
