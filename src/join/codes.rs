//! The codes of a table of users by ordinal, as of the snapshot of a join: read as a whole, or kept from another join
//! and brought up to this snapshot by reading the profiles that changed in between, in whichever direction.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::cancel::Interrupt;
use super::layout::Dim;
use super::ordinal_cache::{CachedCodes, CodeHistory, KnownOrdinals, ReadStamp};
use super::probe::{CodesPatch, OrdinalCodes, read_codes};
use super::scan::{ColumnTable, Tables};
use super::stats::Counters;
use crate::error::Result;

/// Where more than one in this many users changed, reading the whole table is faster.
const PATCHED_SHARE: usize = 4;

/// How many profiles are read at once.
const LOOKUPS_MAX: usize = 1_024;

/// The codes of a table of users, as of the snapshot that is read, unless they take more memory than this many bytes.
pub(super) fn current_codes(
    tables: &dyn Tables,
    columns: &dyn ColumnTable,
    dim: &Dim,
    memory_bytes: usize,
    (counters, interrupt): (&Counters, &Interrupt),
) -> Result<Option<Arc<OrdinalCodes>>> {
    let tail = columns.tail()?;
    let count = columns.ordinal_count()?;
    let ordinals = match &tail {
        Some(tail) => KnownOrdinals { stored: tail.new_ordinals.base, count, numbering: tail.new_ordinals.numbering },
        None => KnownOrdinals { stored: count, count, numbering: 0 },
    };
    let read = || -> Result<Option<Arc<OrdinalCodes>>> {
        let codes = read_codes(tables, columns.ordinals()?, dim, memory_bytes, counters, interrupt)?;
        let Some(codes) = codes.map(Arc::new) else { return Ok(None) };
        // Those of the tail are not among the ordinals that are stored.
        let places = ids_of(columns, ordinals.stored..count)?;
        let with_tail = read_again(tables, dim, &codes, places, (counters, interrupt))?;
        Ok(Some(with_tail.unwrap_or(codes)).filter(|codes| codes.memory() <= memory_bytes))
    };
    let Some(history) = tables.code_history() else { return read() };
    let (cache, stamp) = (history.cache(), history.stamp());
    let projection = (dim.table.clone(), dim.names.clone());
    let patched = match cache.get(&projection) {
        Some(cached) => patched(tables, columns, dim, &cached, (stamp, ordinals), (counters, interrupt))?,
        None => None,
    };
    let codes = match patched {
        Some(codes) => Some(codes).filter(|codes| codes.memory() <= memory_bytes),
        None => read()?,
    };
    if let Some(codes) = &codes {
        cache.put(projection, stamp, ordinals, codes);
    }
    Ok(codes)
}

/// Codes brought up to a snapshot, unless too much changed, or it is not known what.
fn patched(
    tables: &dyn Tables,
    columns: &dyn ColumnTable,
    dim: &Dim,
    cached: &CachedCodes,
    (stamp, ordinals): (ReadStamp, KnownOrdinals),
    (counters, interrupt): (&Counters, &Interrupt),
) -> Result<Option<Arc<OrdinalCodes>>> {
    if (cached.stamp.engine, cached.stamp.drops) != (stamp.engine, stamp.drops) {
        return Ok(None);
    }
    if (cached.stamp, cached.ordinals) == (stamp, ordinals) {
        return Ok(Some(Arc::clone(&cached.codes)));
    }
    let changes = |history: &dyn CodeHistory| history.changes(&dim.table, cached.stamp.sequence);
    let Some(changed) = tables.code_history().and_then(changes) else { return Ok(None) };
    let first = ordinals.first_unknown(&cached.ordinals);
    let added = ordinals.count.saturating_sub(first);
    if (changed.len() + added as usize) * PATCHED_SHARE > ordinals.count as usize {
        return Ok(None);
    }
    // Each once, in the order of ordinals. What has no ordinal has no sealed events, and the empty id has no row.
    let mut places: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for ids in changed.chunks(LOOKUPS_MAX) {
        let ids: Vec<&[u8]> = ids.iter().map(|id| &**id).filter(|id| !id.is_empty()).collect();
        let found = columns.ordinals_of(&ids)?.into_iter().zip(&ids);
        places.extend(found.filter_map(|(ordinal, id)| Some((ordinal?, id.to_vec()))));
    }
    places.extend(ids_of(columns, first..ordinals.count)?);
    let codes = read_again(tables, dim, &cached.codes, places, (counters, interrupt))?;
    Ok(Some(codes.unwrap_or_else(|| Arc::clone(&cached.codes))))
}

/// The ids that ordinals have, but for the empty one.
fn ids_of(columns: &dyn ColumnTable, ordinals: Range<u32>) -> Result<BTreeMap<u32, Vec<u8>>> {
    let mut reader = columns.ids();
    let mut ids = BTreeMap::new();
    for ordinal in ordinals {
        let mut id = Vec::new();
        if reader.find_id(ordinal, &mut id)? && !id.is_empty() {
            ids.insert(ordinal, id);
        }
    }
    Ok(ids)
}

/// Codes with those of some ordinals read again, by their ids, unless there are none.
fn read_again(
    tables: &dyn Tables,
    dim: &Dim,
    codes: &OrdinalCodes,
    places: BTreeMap<u32, Vec<u8>>,
    (counters, interrupt): (&Counters, &Interrupt),
) -> Result<Option<Arc<OrdinalCodes>>> {
    if places.is_empty() {
        return Ok(None);
    }
    let mut patch = CodesPatch::new(codes);
    let (places, ids): (Vec<u32>, Vec<Vec<u8>>) = places.into_iter().unzip();
    for (places, ids) in places.chunks(LOOKUPS_MAX).zip(ids.chunks(LOOKUPS_MAX)) {
        interrupt.check()?;
        let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
        patch.read(tables, dim, places, &ids)?;
        counters.lookups.add(ids.len() as u64);
    }
    Ok(Some(Arc::new(patch.finish())))
}
