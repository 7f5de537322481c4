//! A block to rows.

use std::ops::Range;

use super::column::{Values, read_head};
use super::header::BlockSummary;
use super::key::ColumnId;
use super::pack::read_packed;
use super::runs::UserRuns;
use crate::codec::{Malformed, Read, Reader, day_prefix, put_entry, put_event_head, put_event_key};

/// What is wrong with a block, and in which of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockDamage {
    pub(crate) column: ColumnId,
    pub(crate) malformed: Malformed,
}

/// What is wrong with a column that a block should have.
pub(crate) const MISSING: Malformed = Malformed("it is missing");

/// Most rows have fewer bytes.
const ROW_BYTES: usize = 512;

/// The rows of a block, in the order of their keys.
#[derive(Debug)]
pub(crate) struct BlockRows {
    rows: Vec<RebuiltRow>,
    bytes: Vec<u8>,
}

/// Where a row is in the bytes: its key, and then its value.
#[derive(Debug)]
struct RebuiltRow {
    ordinal: u32,
    start: usize,
    middle: usize,
    end: usize,
}

/// The ordinal of a user, where its id is in the bytes of all, and which events are its own.
type RebuiltRun = (u32, Range<usize>, Range<usize>);

/// The decoded columns of a block.
struct BlockColumns<'c> {
    runs: UserRuns,
    millis: Vec<u32>,
    names: Values<'c>,
    insert_ids: Values<'c>,
    /// The entries of rare properties.
    rest: Option<Values<'c>>,
    properties: Vec<(&'c str, Values<'c>)>,
}

impl BlockRows {
    /// Rebuilds a block of a day, or with `only` the rows of one user. `chunk` gives the bytes of a column, and `id`
    /// appends the id of an ordinal and says whether there is one.
    pub(crate) fn rebuild<'c>(
        day: i32,
        summary: &'c BlockSummary,
        chunk: impl Fn(&ColumnId) -> Option<&'c [u8]>,
        only: Option<u32>,
        mut id: impl FnMut(u32, &mut Vec<u8>) -> bool,
    ) -> Result<Self, BlockDamage> {
        let columns = BlockColumns::decode(summary, chunk)?;
        let damaged = |malformed| BlockDamage { column: ColumnId::Runs, malformed };
        // The runs in the order of ids, which is that of keys.
        let mut ids = Vec::new();
        let mut runs: Vec<RebuiltRun> = Vec::new();
        let mut event = 0;
        for (ordinal, count) in columns.runs.ordinals.iter().zip(&columns.runs.counts) {
            let events = event..event + *count as usize;
            event = events.end;
            if only.is_some_and(|only| only != *ordinal) {
                continue;
            }
            let start = ids.len();
            if !id(*ordinal, &mut ids) {
                return Err(damaged(Malformed("an ordinal without an id")));
            }
            runs.push((*ordinal, start..ids.len(), events));
        }
        let id_of = |range: &Range<usize>| ids.get(range.clone()).unwrap_or_default();
        sort_by_id(&mut runs, &ids);
        // What the header says is not trusted: rows that are larger grow the buffer.
        let expected = usize::try_from(summary.row_bytes).unwrap_or(usize::MAX).min(event.saturating_mul(ROW_BYTES));
        let bytes = Vec::with_capacity(if only.is_none() { expected } else { 0 });
        let mut rows = Self { rows: Vec::with_capacity(event), bytes };
        let mut names = RowTexts::default();
        for (ordinal, id, events) in runs {
            for event in events {
                columns.append(&mut rows, event, (day, ordinal, id_of(&id)), &mut names)?;
            }
        }
        Ok(rows)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The key and the value of a row.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<(&[u8], &[u8])> {
        let row = self.rows.get(at)?;
        Some((self.bytes.get(row.start..row.middle)?, self.bytes.get(row.middle..row.end)?))
    }

    /// The ordinal of the user of a row.
    pub(crate) fn ordinal(&self, at: usize) -> u32 {
        self.rows.get(at).map_or(u32::MAX, |row| row.ordinal)
    }

    /// The position of the first row whose key is not less than this one.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        self.rows.partition_point(|row| self.bytes.get(row.start..row.middle).is_some_and(|known| known < key))
    }
}

/// The name and `$insert_id` of an event, while its row is being rebuilt.
#[derive(Default)]
struct RowTexts {
    name: Vec<u8>,
    insert_id: Vec<u8>,
    rest: Vec<u8>,
    value: Vec<u8>,
}

impl<'c> BlockColumns<'c> {
    fn decode(summary: &'c BlockSummary, chunk: impl Fn(&ColumnId) -> Option<&'c [u8]>) -> Result<Self, BlockDamage> {
        let events = summary.events as usize;
        let find = |column: &ColumnId| chunk(column).ok_or_else(|| damage(column, MISSING));
        let values =
            |column: &ColumnId| Values::decode(find(column)?, events).map_err(|malformed| damage(column, malformed));
        let of_runs = |malformed| damage(&ColumnId::Runs, malformed);
        let runs = UserRuns::decode(find(&ColumnId::Runs)?).map_err(of_runs)?;
        if runs.events() != events {
            return Err(of_runs(Malformed("a chunk of another number of events")));
        }
        let millis = find(&ColumnId::Time)?;
        let millis = decode_time(millis, events).map_err(|malformed| damage(&ColumnId::Time, malformed))?;
        let (names, insert_ids) = (values(&ColumnId::Name)?, values(&ColumnId::InsertId)?);
        let mut rest = None;
        let mut properties = Vec::new();
        for (column, _) in &summary.columns {
            match column {
                ColumnId::Rest => rest = Some(values(column)?),
                ColumnId::Property(name) => properties.push((&**name, values(column)?)),
                _ => {}
            }
        }
        Ok(Self { runs, millis, names, insert_ids, rest, properties })
    }

    fn append(
        &self,
        rows: &mut BlockRows,
        event: usize,
        (day, ordinal, id): (i32, u32, &[u8]),
        names: &mut RowTexts,
    ) -> Result<(), BlockDamage> {
        let RowTexts { name, insert_id, rest, value } = names;
        name.clear();
        insert_id.clear();
        self.names.write(event, name);
        self.insert_ids.write(event, insert_id);
        let out = &mut rows.bytes;
        let start = out.len();
        let millis = self.millis.get(event).copied().unwrap_or_default();
        put_event_key(out, day_prefix(day), id, millis, (name, insert_id));
        let middle = out.len();
        put_event_head(out, name, insert_id);
        rest.clear();
        if let Some(of_all) = &self.rest {
            of_all.write(event, rest);
        }
        let of_rest = |malformed| damage(&ColumnId::Rest, malformed);
        let mut rare = Reader::new(rest);
        let mut next = next_entry(&mut rare).map_err(of_rest)?;
        for (property, values) in &self.properties {
            while let Some((name, value)) = next.filter(|(name, _)| *name < property.as_bytes()) {
                put_entry(out, name, |out| out.extend_from_slice(value));
                next = next_entry(&mut rare).map_err(of_rest)?;
            }
            value.clear();
            values.write(event, value);
            if !value.is_empty() {
                put_entry(out, property.as_bytes(), |out| out.extend_from_slice(value));
            }
        }
        while let Some((name, value)) = next {
            put_entry(out, name, |out| out.extend_from_slice(value));
            next = next_entry(&mut rare).map_err(of_rest)?;
        }
        rows.rows.push(RebuiltRow { ordinal, start, middle, end: rows.bytes.len() });
        Ok(())
    }
}

/// Sorts by ids, which are distinct.
fn sort_by_id(runs: &mut Vec<RebuiltRun>, ids: &[u8]) {
    let id = |run: &RebuiltRun| ids.get(run.1.clone()).unwrap_or_default();
    // The first bytes tell nearly all apart, and are at hand.
    let head = |id: &[u8]| {
        let mut head = [0; 8];
        head.iter_mut().zip(id).for_each(|(to, byte)| *to = *byte);
        u64::from_be_bytes(head)
    };
    let mut order: Vec<(u64, usize)> = runs.iter().map(|run| head(id(run))).zip(0..).collect();
    let id_at = |at: usize| runs.get(at).map(id);
    order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| id_at(a.1).cmp(&id_at(b.1))));
    *runs = order.iter().filter_map(|(_, at)| runs.get(*at).cloned()).collect();
}

pub(super) fn next_entry<'e>(entries: &mut Reader<'e>) -> Read<Option<(&'e [u8], &'e [u8])>> {
    if entries.is_empty() { Ok(None) } else { Ok(Some((entries.slice()?, entries.slice()?))) }
}

pub(super) fn decode_time(chunk: &[u8], events: usize) -> Read<Vec<u32>> {
    const LATE: Malformed = Malformed("a time after the end of the day");
    let mut reader = read_head(chunk, events)?;
    let least = u32::try_from(reader.varint()?).map_err(|_| LATE)?;
    let mut millis = read_packed(&mut reader, events)?;
    for at in &mut millis {
        *at = at.checked_add(least).filter(|at| *at < 86_400_000).ok_or(LATE)?;
    }
    if reader.is_empty() { Ok(millis) } else { Err(Malformed("trailing bytes after a chunk")) }
}

fn damage(column: &ColumnId, malformed: Malformed) -> BlockDamage {
    BlockDamage { column: column.clone(), malformed }
}
