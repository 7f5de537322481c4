//! The codes of a table of users by ordinal, as of the snapshot of a join: read as a whole, or kept from another join
//! and brought up to this snapshot, a later or an earlier one. What was written to profiles in between is applied where
//! the projection follows from it (`codec::project_write`); the other profiles that changed are read again. The first
//! join of a process finds the codes that an earlier process stored.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::cancel::{CancelToken, Interrupt};
use super::layout::{Dim, Via};
use super::ordinal_cache::{ChangedIds, CodeHistory, KnownOrdinals, StoredCodes};
use super::probe::{CodesContext, CodesMemory, CodesPatch, OrdinalCodes, decode_codes, encode_codes, read_codes};
use super::scan::{ColumnTable, Tables};
use super::stats::Counters;
use super::tables::JoinTable;
use crate::codec::Malformed;
use crate::error::{Error, Result};
use crate::model::Kind;

/// Where more than one in this many users changed, reading the whole table is faster, unless they are few.
const PATCHED_SHARE: usize = 4;
const PATCHED_MIN: usize = 64;

/// What messages say that there is to do about stored codes that cannot be read.
pub(crate) const CODES_REMEDY: &str =
    "(compacting the store deletes what cannot be read of this, and joins read the table)";

/// How many profiles are read at once.
const LOOKUPS_MAX: usize = 1_024;

/// The memory that codes may take in a join that has a number of bytes for the rows of each table. Joins share the
/// codes themselves, so these may take what is allowed for all of them together.
fn memory_of(tables: &dyn Tables, share: usize) -> CodesMemory {
    let shared = tables.code_history().map_or(0, |history| history.cache().bytes_max());
    CodesMemory { values: share, total: share.max(shared) }
}

/// The codes of a table of users, as of the snapshot that is read, unless they take too much memory for a join that has
/// a number of bytes for the rows of each table.
pub(super) fn current_codes(
    tables: &dyn Tables,
    columns: &dyn ColumnTable,
    dim: &Dim,
    memory_bytes: usize,
    context: CodesContext<'_>,
) -> Result<Option<Arc<OrdinalCodes>>> {
    let reader = CodesReader { tables, columns, dim, ordinals: known_ordinals(columns)?, context };
    let memory = memory_of(tables, memory_bytes);
    let fits = |codes: &Arc<OrdinalCodes>| codes.fits(memory);
    let Some(history) = tables.code_history() else { return reader.read_table(memory) };
    let updating = history.cache().update();
    let cached = reader.cached(history)?.filter(fits);
    if let Some(codes) = cached {
        reader.put(history, &codes);
        return Ok(Some(codes));
    }
    drop(updating);
    let known = reader.stored(history)?.filter(fits);
    let is_full_read = known.is_none();
    let codes = if is_full_read { reader.read_table(memory)? } else { known };
    if let Some(codes) = &codes {
        reader.put(history, codes);
        // Only then, so that the thread that stores codes finds them.
        if is_full_read {
            history.note_full_read();
        }
    }
    Ok(codes)
}

/// The codes of these ordinals alone, by their ids, unless they take too much memory, as with [`current_codes`].
pub(super) fn codes_of(
    tables: &dyn Tables,
    columns: &dyn ColumnTable,
    dim: &Dim,
    users: &BTreeMap<u32, Vec<u8>>,
    memory_bytes: usize,
    context: CodesContext<'_>,
) -> Result<Option<Arc<OrdinalCodes>>> {
    let reader = CodesReader { tables, columns, dim, ordinals: known_ordinals(columns)?, context };
    let codes = reader.read_again(CodesPatch::new(Arc::new(OrdinalCodes::empty(dim.names.len()))), users.clone())?;
    Ok(Some(codes).filter(|codes| codes.fits(memory_of(tables, memory_bytes))))
}

/// The ordinals that there are in the log and in its tail.
fn known_ordinals(columns: &dyn ColumnTable) -> Result<KnownOrdinals> {
    let (tail, count) = (columns.tail()?, columns.ordinal_count()?);
    Ok(match &tail {
        Some(tail) => KnownOrdinals { stored: tail.new_ordinals.base, count, numbering: tail.new_ordinals.numbering },
        None => KnownOrdinals { stored: count, count, numbering: 0 },
    })
}

/// The codes of properties of users, as of the snapshot that is read, as they are to be stored, unless they take more
/// memory than this many bytes. Those of the tail are not among them.
pub(crate) fn codes_to_store(
    tables: &dyn Tables,
    names: &[Box<str>],
    memory_bytes: usize,
    token: &CancelToken,
) -> Result<Option<(Vec<Vec<u8>>, u32)>> {
    let Some(columns) = tables.columns() else { return Ok(None) };
    let dim = user_dim(names);
    let (counters, interrupt) = (Counters::default(), Interrupt { token: Some(token.clone()), deadline: None });
    let context = in_background(&counters, &interrupt);
    let codes = current_codes(tables, columns, &dim, memory_bytes, context)?;
    let ordinals = known_ordinals(columns)?.stored;
    Ok(codes.map(|codes| (encode_codes(&codes, names.len(), ordinals), ordinals)))
}

/// Brings codes that joins keep of properties of users up to the snapshot that is read, if they are kept.
pub(crate) fn refresh_codes(tables: &dyn Tables, names: &[Box<str>], token: &CancelToken) -> Result<()> {
    let (Some(columns), Some(history)) = (tables.columns(), tables.code_history()) else { return Ok(()) };
    let dim = user_dim(names);
    let (counters, interrupt) = (Counters::default(), Interrupt { token: Some(token.clone()), deadline: None });
    let ordinals = known_ordinals(columns)?;
    let reader = CodesReader { tables, columns, dim: &dim, ordinals, context: in_background(&counters, &interrupt) };
    let _updating = history.cache().update();
    reader.cached(history)?.iter().for_each(|codes| reader.put(history, codes));
    Ok(())
}

/// For a thread that works in the background.
fn in_background<'j>(counters: &'j Counters, interrupt: &'j Interrupt) -> CodesContext<'j> {
    CodesContext { threads: 1, counters, interrupt }
}

fn user_dim(names: &[Box<str>]) -> Dim {
    Dim { via: Via::User, table: JoinTable::Profiles(Kind::User), ids: None, names: names.to_vec() }
}

/// Checks that codes can be read in the form in which they are stored, and says for how many ordinals they are.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt), with the properties.
pub(crate) fn check_codes(chunks: &[Vec<u8>], names: &[Box<str>]) -> Result<u32> {
    decode(chunks, names).map(|(_, ordinals)| ordinals)
}

fn decode(chunks: &[Vec<u8>], names: &[Box<str>]) -> Result<(OrdinalCodes, u32)> {
    decode_codes(chunks, names.len()).map_err(|Malformed(what)| {
        Error::corrupt(format!("the stored codes of users cannot be read: {what} {CODES_REMEDY} properties={names:?}"))
    })
}

/// Reads the codes of one table, as of one snapshot.
struct CodesReader<'j> {
    tables: &'j dyn Tables,
    columns: &'j dyn ColumnTable,
    dim: &'j Dim,
    ordinals: KnownOrdinals,
    context: CodesContext<'j>,
}

impl CodesReader<'_> {
    /// Reads the whole table, unless its codes take too much memory.
    fn read_table(&self, memory: CodesMemory) -> Result<Option<Arc<OrdinalCodes>>> {
        let Self { tables, columns, dim, ordinals, context } = self;
        let codes = read_codes(*tables, *columns, dim, (ordinals.count, memory), *context)?;
        let Some(codes) = codes.map(Arc::new) else { return Ok(None) };
        // Those of the tail are not among the ordinals that are stored.
        let codes = self.read_again(CodesPatch::new(codes), ids_of(*columns, ordinals.stored..ordinals.count)?)?;
        Ok(Some(codes).filter(|codes| codes.fits(memory)))
    }

    /// Keeps codes for other joins.
    fn put(&self, history: &dyn CodeHistory, codes: &Arc<OrdinalCodes>) {
        let projection = (self.dim.table.clone(), self.dim.names.clone());
        history.cache().put(projection, history.stamp(), self.ordinals, codes);
    }

    /// The codes that an earlier join of this process has read.
    fn cached(&self, history: &dyn CodeHistory) -> Result<Option<Arc<OrdinalCodes>>> {
        let stamp = history.stamp();
        let projection = (self.dim.table.clone(), self.dim.names.clone());
        let Some(cached) = history.cache().get(&projection, stamp) else { return Ok(None) };
        if (cached.stamp.engine, cached.stamp.drops) != (stamp.engine, stamp.drops) {
            return Ok(None);
        }
        if (cached.stamp, cached.ordinals) == (stamp, self.ordinals) {
            return Ok(Some(cached.codes));
        }
        let Some(changed) = history.changes(&self.dim.table, cached.stamp.sequence) else { return Ok(None) };
        self.update(cached.codes, &cached.ordinals, &changed)
    }

    /// The codes that an earlier process has stored.
    fn stored(&self, history: &dyn CodeHistory) -> Result<Option<Arc<OrdinalCodes>>> {
        if self.dim.table != JoinTable::Profiles(Kind::User) {
            return Ok(None);
        }
        let Some(StoredCodes { chunks, changed }) = history.stored(&self.dim.names)? else { return Ok(None) };
        let (codes, stored) = decode(&chunks, &self.dim.names)?;
        if stored > self.ordinals.stored {
            let (names, there) = (&self.dim.names, self.ordinals.stored);
            let message = "the stored codes of users are for more ordinals than there are";
            return Err(Error::corrupt(format!("{message} properties={names:?} ordinals={stored} there={there}")));
        }
        self.update(Arc::new(codes), &KnownOrdinals { stored, count: stored, numbering: 0 }, &changed)
    }

    /// Brings codes for some ordinals up to the snapshot, unless too much changed.
    fn update(
        &self,
        codes: Arc<OrdinalCodes>,
        known: &KnownOrdinals,
        changed: &ChangedIds,
    ) -> Result<Option<Arc<OrdinalCodes>>> {
        let first = self.ordinals.first_unknown(known);
        let added = self.ordinals.count.saturating_sub(first) as usize;
        let count = self.ordinals.count as usize;
        // A dictionary keeps values that no user has any more.
        if changed.len() + added > (count / PATCHED_SHARE).max(PATCHED_MIN)
            || codes.dictionary.len() > count * 2 + LOOKUPS_MAX
        {
            return Ok(None);
        }
        let mut patch = CodesPatch::new(codes);
        // Each once, in the order of ordinals. What has no ordinal has no sealed events, and the empty id has no row.
        let mut places: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let ids: Vec<(usize, &[u8])> = changed.ids().enumerate().filter(|(_, id)| !id.is_empty()).collect();
        for chunk in ids.chunks(LOOKUPS_MAX) {
            let ids: Vec<&[u8]> = chunk.iter().map(|(_, id)| *id).collect();
            for (ordinal, (at, id)) in self.columns.ordinals_of(&ids)?.into_iter().zip(chunk) {
                let Some(ordinal) = ordinal else { continue };
                let writes = changed.writes(*at).filter(|_| ordinal < first);
                let is_applied = match writes {
                    Some(writes) => patch.apply(&self.dim.names, ordinal, writes)?,
                    None => false,
                };
                if !is_applied {
                    places.insert(ordinal, id.to_vec());
                }
            }
        }
        places.extend(ids_of(self.columns, first..self.ordinals.count)?);
        self.read_again(patch, places).map(Some)
    }

    /// Codes with those of some ordinals read again, by their ids.
    fn read_again(&self, mut patch: CodesPatch, places: BTreeMap<u32, Vec<u8>>) -> Result<Arc<OrdinalCodes>> {
        // Another id may have had the ordinal while it was one of the tail.
        let (places, without_row): (BTreeMap<_, _>, BTreeMap<_, _>) =
            places.into_iter().partition(|(_, id)| !id.is_empty());
        without_row.into_keys().for_each(|ordinal| patch.clear(ordinal));
        let (places, ids): (Vec<u32>, Vec<Vec<u8>>) = places.into_iter().unzip();
        for (places, ids) in places.chunks(LOOKUPS_MAX).zip(ids.chunks(LOOKUPS_MAX)) {
            self.context.interrupt.check()?;
            let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
            patch.read(self.tables, self.dim, places, &ids)?;
            self.context.counters.lookups.add(ids.len() as u64);
        }
        Ok(patch.finish())
    }
}

/// The ids that ordinals have; the empty one also where an id was erased, because it has no row either.
fn ids_of(columns: &dyn ColumnTable, ordinals: Range<u32>) -> Result<BTreeMap<u32, Vec<u8>>> {
    let mut reader = columns.ids();
    let mut ids = BTreeMap::new();
    for ordinal in ordinals {
        let mut id = Vec::new();
        reader.find_id(ordinal, &mut id)?;
        ids.insert(ordinal, id);
    }
    Ok(ids)
}
