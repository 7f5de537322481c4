//! The codes of a table of users by ordinal, as of the snapshot of a join: read as a whole, or kept from another join
//! and brought up to this snapshot by reading the profiles that changed in between, in whichever direction.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cancel::Interrupt;
use super::layout::Dim;
use super::ordinal_cache::{CachedCodes, CodeHistory, ReadStamp};
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
    let read = || -> Result<Option<Arc<OrdinalCodes>>> {
        let codes = read_codes(tables, columns.ordinals()?, dim, memory_bytes, counters, interrupt)?;
        Ok(codes.map(Arc::new))
    };
    let Some(history) = tables.code_history() else { return read() };
    let (cache, stamp) = (history.cache(), history.stamp());
    let projection = (dim.table.clone(), dim.names.clone());
    let ordinals = columns.ordinal_count()?;
    let cached = cache.get(&projection);
    if let Some(cached) = &cached
        && let Some(codes) = patched(tables, columns, dim, cached, (stamp, ordinals), (counters, interrupt))?
    {
        if codes.memory() > memory_bytes {
            return Ok(None);
        }
        cache.put(projection, stamp, ordinals, &codes);
        return Ok(Some(codes));
    }
    let codes = read()?;
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
    (stamp, ordinals): (ReadStamp, u32),
    (counters, interrupt): (&Counters, &Interrupt),
) -> Result<Option<Arc<OrdinalCodes>>> {
    if (cached.stamp.engine, cached.stamp.drops) != (stamp.engine, stamp.drops) {
        return Ok(None);
    }
    if cached.stamp == stamp {
        return Ok(Some(Arc::clone(&cached.codes)));
    }
    let changes = |history: &dyn CodeHistory| history.changes(&dim.table, cached.stamp.sequence);
    let Some(changed) = tables.code_history().and_then(changes) else { return Ok(None) };
    let added = ordinals.saturating_sub(cached.ordinals);
    if (changed.len() + added as usize) * PATCHED_SHARE > ordinals as usize {
        return Ok(None);
    }
    // Each once, in the order of ordinals. What has no ordinal has no sealed events, and the empty id has no row.
    let mut places: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for ids in changed.chunks(LOOKUPS_MAX) {
        let ids: Vec<&[u8]> = ids.iter().map(|id| &**id).filter(|id| !id.is_empty()).collect();
        let found = columns.ordinals_of(&ids)?.into_iter().zip(&ids);
        places.extend(found.filter_map(|(ordinal, id)| Some((ordinal?, id.to_vec()))));
    }
    let mut reader = columns.ids();
    for ordinal in cached.ordinals..ordinals {
        let mut id = Vec::new();
        if reader.find_id(ordinal, &mut id)? && !id.is_empty() {
            places.insert(ordinal, id);
        }
    }
    if places.is_empty() {
        return Ok(Some(Arc::clone(&cached.codes)));
    }
    let mut patch = CodesPatch::new(&cached.codes);
    let (places, ids): (Vec<u32>, Vec<Vec<u8>>) = places.into_iter().unzip();
    for (places, ids) in places.chunks(LOOKUPS_MAX).zip(ids.chunks(LOOKUPS_MAX)) {
        interrupt.check()?;
        let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
        patch.read(tables, dim, places, &ids)?;
        counters.lookups.add(ids.len() as u64);
    }
    Ok(Some(Arc::new(patch.finish())))
}
