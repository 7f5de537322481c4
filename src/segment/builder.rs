//! Rows to a block.

use std::collections::BTreeMap;
use std::ops::Range;

use super::column::{ColumnContent, VERSION_1, encode_column};
use super::header::BlockSummary;
use super::key::{BLOCK_EVENTS_MAX, ColumnId};
use super::pack::put_packed;
use super::rows::BlockRows;
use super::runs::UserRuns;
use crate::codec::{self, EventBytes, EventKey, Malformed, Read, put_event_key, put_slice, put_varint, unescape_bytes};
use crate::error::{Error, Result};

/// A block is full with this many bytes of keys and values.
pub(crate) const BLOCK_BYTES_MAX: usize = 16 << 20;

/// A property has a column of its own if at least one in this many events has it.
const RARE: usize = 64;

/// The most columns of properties.
const COLUMNS_MAX: usize = 256;

/// An encoded block.
#[derive(Debug)]
pub(crate) struct EncodedBlock {
    pub(crate) summary: BlockSummary,
    /// Ascending.
    pub(crate) chunks: Vec<(ColumnId, Vec<u8>)>,
}

/// Collects the rows of a block.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    events_max: usize,
    rows: Vec<BuilderRow>,
    /// Keys and values.
    bytes: Vec<u8>,
    /// The rows that are being encoded.
    by_ordinal: RowsByOrdinal,
    /// The key of the row that is being added, as it would be rebuilt.
    rebuilt_key: Vec<u8>,
}

#[derive(Clone, Debug)]
struct BuilderRow {
    ordinal: u32,
    millis: u32,
    key: Range<usize>,
    value: Range<usize>,
}

impl BlockBuilder {
    /// For blocks of at most this many events, which are at most [`BLOCK_EVENTS_MAX`].
    pub(crate) fn new(events_max: usize) -> Self {
        Self {
            events_max: events_max.min(BLOCK_EVENTS_MAX),
            rows: Vec::new(),
            bytes: Vec::new(),
            by_ordinal: RowsByOrdinal::default(),
            rebuilt_key: Vec::new(),
        }
    }

    /// Drops the rows, and keeps the memory for others.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= self.events_max || self.bytes.len() >= BLOCK_BYTES_MAX
    }

    /// How many events, and how many bytes of keys and values, it takes until it is full.
    pub(crate) fn room(&self) -> (usize, usize) {
        let (events, bytes) = (self.rows.len(), self.bytes.len());
        (self.events_max.saturating_sub(events), BLOCK_BYTES_MAX.saturating_sub(bytes))
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// Adds the next row of a day, in the order of keys, whose user has this ordinal. Refuses one that would not come
    /// back byte for byte, and is as it was then.
    pub(crate) fn push(&mut self, ordinal: u32, key: &[u8], value: &[u8]) -> Read<()> {
        let parts = EventKey::read(key)?;
        let last = self.rows.last().map(|row| self.slice(&row.key));
        if last.is_some_and(|last| last >= key || !last.starts_with(&parts.day)) {
            return Err(Malformed("a row out of order"));
        }
        codec::check_event(key, value).map_err(|_| Malformed("an event that cannot be read"))?;
        let event = EventBytes::read(value)?;
        let id = unescape_bytes(parts.escaped)?;
        self.rebuilt_key.clear();
        let names = (event.name, event.insert_id_bytes());
        put_event_key(&mut self.rebuilt_key, parts.day, &id, parts.millis, names);
        if self.rebuilt_key != key {
            return Err(Malformed("an event under another key"));
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        let middle = start + key.len();
        self.rows.push(BuilderRow {
            ordinal,
            millis: parts.millis,
            key: start..middle,
            value: middle..self.bytes.len(),
        });
        Ok(())
    }

    /// Encodes the rows as the block with this number, and is empty afterwards. There must be rows.
    pub(crate) fn finish(&mut self, number: u32) -> Result<EncodedBlock> {
        let mut rows = std::mem::take(&mut self.by_ordinal);
        rows.copy(self);
        let block = self.encode(number, &rows);
        self.by_ordinal = rows;
        let block = block.and_then(|block| self.verify(&block).map(|()| block));
        let first = self.rows.first().map(|row| self.slice(&row.key).to_vec()).unwrap_or_default();
        self.clear();
        block.map_err(|Malformed(what)| {
            Error::corrupt(format!("events cannot be sealed: {what} first_key={first:02x?}"))
        })
    }

    fn encode(&self, number: u32, rows: &RowsByOrdinal) -> Read<EncodedBlock> {
        const EMPTY: Malformed = Malformed("a block without rows");
        let events = rows.values().map(EventBytes::read).collect::<Read<Vec<_>>>()?;
        let millis = &rows.millis;
        let runs = UserRuns::of(rows.order.iter().map(|(ordinal, _)| *ordinal));
        let names: Vec<&[u8]> = events.iter().map(|event| event.name).collect();
        let insert_ids: Vec<&[u8]> = events.iter().map(EventBytes::insert_id_bytes).collect();
        let mut chunks = vec![
            (ColumnId::Runs, runs.encode()),
            (ColumnId::Time, encode_time(millis)),
            (ColumnId::Name, encode_column(&names, ColumnContent::Texts)),
            (ColumnId::InsertId, encode_column(&insert_ids, ColumnContent::Texts)),
        ];
        let mut properties = collect(&events)?;
        let rest = take_rare(&mut properties, events.len());
        if rest.iter().any(|entries| !entries.is_empty()) {
            let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
            chunks.push((ColumnId::Rest, encode_column(&rest, ColumnContent::Texts)));
        }
        let mut values: Vec<&[u8]> = Vec::new();
        for (name, present) in properties {
            values.clear();
            values.resize(events.len(), &[]);
            for (event, value) in present {
                values.get_mut(event as usize).into_iter().for_each(|place| *place = value);
            }
            let name = std::str::from_utf8(name).map_err(|_| Malformed("a name that is not UTF-8"))?;
            chunks.push((ColumnId::Property(name.into()), encode_column(&values, ColumnContent::Values)));
        }
        let size = |chunk: &[u8]| u32::try_from(chunk.len()).map_err(|_| Malformed("a chunk of 4 GB"));
        let columns = chunks.iter().map(|(id, chunk)| Ok((id.clone(), size(chunk)?))).collect::<Read<_>>()?;
        let (first, last) = self.rows.first().zip(self.rows.last()).ok_or(EMPTY)?;
        let zone = |values: &[u32]| values.iter().min().copied().zip(values.iter().max().copied()).ok_or(EMPTY);
        let count = |count: usize| u32::try_from(count).map_err(|_| Malformed("a block with too many events"));
        let summary = BlockSummary {
            number,
            events: count(events.len())?,
            runs: count(runs.ordinals.len())?,
            row_bytes: self.bytes.len() as u64,
            first_key: self.slice(&first.key).to_vec(),
            last_key: self.slice(&last.key).to_vec(),
            millis: zone(millis)?,
            ordinals: zone(&runs.ordinals)?,
            columns,
        };
        Ok(EncodedBlock { summary, chunks })
    }

    /// The law: what is encoded comes back as the same rows.
    fn verify(&self, block: &EncodedBlock) -> Read<()> {
        const CHANGED: Malformed = Malformed("they would not come back as they are");
        let mut ids: Vec<(u32, &[u8])> = self.rows.iter().map(|row| (row.ordinal, self.slice(&row.key))).collect();
        ids.dedup_by_key(|(ordinal, _)| *ordinal);
        ids.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        let chunk = |column: &ColumnId| {
            let at = block.chunks.binary_search_by(|(known, _)| known.cmp(column)).ok()?;
            block.chunks.get(at).map(|(_, chunk)| chunk.as_slice())
        };
        // They are looked up in ascending order.
        let mut ids = ids.into_iter();
        let id = |ordinal: u32, out: &mut Vec<u8>| {
            let id = ids.find(|(known, _)| *known >= ordinal).filter(|(known, _)| *known == ordinal);
            let id = id.and_then(|(_, key)| EventKey::read(key).ok());
            match id.and_then(|key| unescape_bytes(key.escaped).ok()) {
                Some(id) => {
                    out.extend_from_slice(&id);
                    true
                }
                None => false,
            }
        };
        let day = block.summary.first_key.first_chunk().map_or(0, |day| codec::day_of(*day));
        let rows = BlockRows::rebuild(day, &block.summary, chunk, None, id).map_err(|damage| damage.malformed)?;
        let same = |(at, row): (usize, &BuilderRow)| {
            rows.get(at) == Some((self.slice(&row.key), self.slice(&row.value))) && rows.ordinal(at) == row.ordinal
        };
        if rows.len() == self.rows.len() && self.rows.iter().enumerate().all(same) { Ok(()) } else { Err(CHANGED) }
    }
}

/// The rows of a block in the order of ordinals, and those of a user in the order of their keys. Their values are
/// copied: each column is read from all of them, and where they follow each other the processor loads them ahead.
#[derive(Debug, Default)]
struct RowsByOrdinal {
    /// Ordinals, and the place of each row in the builder.
    order: Vec<(u32, u32)>,
    millis: Vec<u32>,
    values: Vec<u8>,
    /// Where each value ends.
    ends: Vec<usize>,
}

impl RowsByOrdinal {
    fn copy(&mut self, builder: &BlockBuilder) {
        self.millis.clear();
        self.values.clear();
        self.ends.clear();
        self.order.clear();
        self.order.extend(builder.rows.iter().map(|row| row.ordinal).zip(0..));
        self.order.sort_unstable();
        // Every place is that of a row, and every end is within the values: both were pushed here or above.
        for row in self.order.iter().filter_map(|(_, at)| builder.rows.get(*at as usize)) {
            self.millis.push(row.millis);
            self.values.extend_from_slice(builder.slice(&row.value));
            self.ends.push(self.values.len());
        }
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| self.values.get(*start..*end).unwrap_or_default())
    }
}

fn encode_time(millis: &[u32]) -> Vec<u8> {
    let least = millis.iter().min().copied().unwrap_or_default();
    let mut out = vec![VERSION_1];
    put_varint(&mut out, millis.len() as u64);
    put_varint(&mut out, u64::from(least));
    put_packed(&mut out, &millis.iter().map(|at| at.saturating_sub(least)).collect::<Vec<_>>());
    out
}

/// The events that have a property, with their values.
type Present<'v> = Vec<(u32, &'v [u8])>;

/// For each property the events that have it.
type Properties<'v> = BTreeMap<&'v [u8], Present<'v>>;

fn collect<'v>(events: &[EventBytes<'v>]) -> Read<Properties<'v>> {
    // Consecutive events mostly have the same properties, so that the place of each is found without a search.
    let mut columns: Vec<(&[u8], Present<'_>)> = Vec::new();
    let mut index: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut last: Vec<usize> = Vec::new();
    let mut next: Vec<usize> = Vec::new();
    for (event, number) in events.iter().zip(0_u32..) {
        next.clear();
        for (position, entry) in event.entries().enumerate() {
            let (name, value) = entry?;
            let guess = last.get(position).copied().filter(|at| columns.get(*at).is_some_and(|known| known.0 == name));
            let at = guess.unwrap_or_else(|| {
                *index.entry(name).or_insert_with(|| {
                    columns.push((name, Vec::new()));
                    columns.len() - 1
                })
            });
            columns.get_mut(at).into_iter().for_each(|column| column.1.push((number, value)));
            next.push(at);
        }
        std::mem::swap(&mut last, &mut next);
    }
    Ok(columns.into_iter().collect())
}

/// Takes out the properties that have no column of their own, and gives for each event its entries of those.
fn take_rare(properties: &mut Properties<'_>, events: usize) -> Vec<Vec<u8>> {
    let mut counts: Vec<usize> = properties.values().map(Vec::len).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let least = counts.get(COLUMNS_MAX).map_or(0, |count| count + 1).max(events.div_ceil(RARE));
    let mut rest: Vec<Vec<u8>> = Vec::new();
    rest.resize(events, Vec::new());
    // Ascending by name, as the entries of an event are.
    properties.retain(|name, present| {
        if present.len() >= least {
            return true;
        }
        for (event, value) in present {
            if let Some(entries) = rest.get_mut(*event as usize) {
                put_slice(entries, name);
                put_slice(entries, value);
            }
        }
        false
    });
    rest
}
