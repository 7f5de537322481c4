//! The commands `delete-user`, `delete-events` and `drop-table`.

use std::path::Path;

use profiledb::{Db, Error, ProfileKey};
use serde::Serialize;

use crate::failure::Failure;
use crate::open;
use crate::print;
use crate::span::{self, ZoneFlag};

#[derive(Serialize)]
struct ErasedUser<'i> {
    distinct_id: &'i str,
    deleted_events: u64,
    deleted_profile: bool,
}

/// Erases users one by one, and prints what each had.
pub(crate) fn users(dir: &Path, ids: &[String]) -> Result<(), Failure> {
    ids.iter().try_for_each(|id| ProfileKey::user(id).map(drop))?;
    let db = open::to_write(dir)?;
    for id in ids {
        let during = |error: Error| Failure::from(error).during(format!("cannot remove {id:?}"));
        let deleted_profile = db.users().contains(id).map_err(during)?;
        let deleted_events = db.delete_user(id).map_err(during)?;
        print::line(&ErasedUser { distinct_id: id, deleted_events, deleted_profile })?;
    }
    Ok(())
}

#[derive(Serialize)]
struct ErasedEvents {
    deleted_events: u64,
    events: u64,
}

/// Deletes the events before a time, and prints how many were deleted and how many are left.
pub(crate) fn events(dir: &Path, before: &str, zone: &ZoneFlag) -> Result<(), Failure> {
    let before = span::time("--before", before, &zone.read()?)?;
    let db = open::to_write(dir)?;
    let had = count(&db)?;
    db.events().delete_before(before)?;
    let events = count(&db)?;
    print::line(&ErasedEvents { deleted_events: had.saturating_sub(events), events })
}

#[derive(Serialize)]
struct DroppedTable<'t> {
    table: &'t str,
    deleted: usize,
}

/// Drops a table, once it is confirmed, and prints how many profiles it had.
pub(crate) fn table(dir: &Path, table: &str, confirmed: bool) -> Result<(), Failure> {
    let db = if confirmed { open::to_write(dir)? } else { open::to_read(dir)? };
    let kinds = db.kinds();
    let Some(kind) = kinds.iter().find(|kind| kind.to_string() == table) else {
        let known: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        return Err(Failure::new(format!("no table {table:?}; there are {known:?}")));
    };
    // Rows that cannot be read are dropped with the others.
    let deleted = db.table(kind).iter().count();
    if !confirmed {
        return Err(Failure::new(format!("{table} has {deleted} profiles; confirm with --yes to drop them all")));
    }
    db.drop_table(kind)?;
    print::line(&DroppedTable { table, deleted })
}

fn count(db: &Db) -> Result<u64, Failure> {
    Ok(db.events().days()?.iter().map(|(_, events)| events).sum())
}
