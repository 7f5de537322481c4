//! The commands `delete-user` and `delete-events`.

use std::path::Path;

use profiledb::{Db, Error, ProfileKey};
use serde::Serialize;

use crate::failure::Failure;
use crate::open;
use crate::print;
use crate::span;

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
pub(crate) fn events(dir: &Path, before: &str) -> Result<(), Failure> {
    let before = span::time("--before", before)?;
    let db = open::to_write(dir)?;
    let had = count(&db)?;
    db.events().delete_before(before)?;
    let events = count(&db)?;
    print::line(&ErasedEvents { deleted_events: had.saturating_sub(events), events })
}

fn count(db: &Db) -> Result<u64, Failure> {
    Ok(db.events().days()?.iter().map(|(_, events)| events).sum())
}
