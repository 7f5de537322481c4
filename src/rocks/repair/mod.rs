//! Explicit repair of a damaged store, offline (as `RepairDB` of LevelDB, but on an image): the longest prefix of its
//! history that is whole.
//!
//! Nothing of the store is changed before the repaired store is complete: it is made from links and copies, opened and
//! read. Then it takes the place of the files of the store, which are kept. RocksDB's own repair is not used: it takes
//! every table file that it finds, also those that a compaction has replaced, and would fold their operands twice.
//!
//! ```text
//! image     links and copies that the engine can open      batches   what is in the logs
//! tables    read completely, and rewritten without damage   swap      replaces the files
//! report    what was found and done
//! ```

mod batches;
mod image;
mod report;
mod swap;
mod tables;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use report::{LostKeys, RepairOutcome, RepairedFamily, RepairedFile};

use self::image::Image;
use super::engine::{Engine, Mode};
use super::format;
use super::lock::StoreLock;
use super::options::EngineSettings;
use super::verify::{self, Tails};
use crate::error::{Error, Result};

/// Finds what is damaged in a store and what a repair would keep. Changes nothing in it. Where what is kept shows only
/// in the new store, which is if it has this column family, that is made too, and `finish` is given it.
pub(crate) fn plan_repair(
    store: &Path,
    settings: &EngineSettings,
    family: &str,
    finish: impl FnOnce(&Path, &RepairOutcome) -> Result<()>,
) -> Result<RepairOutcome> {
    if swap::is_interrupted(store) {
        let message = format!("a repair was interrupted and must be completed first path={store:?}");
        return Err(Error::corrupt(message));
    }
    let _lock = lock(store)?;
    make(store, settings, |image, engine, outcome| {
        if engine.has_family(family) {
            complete(image, engine, outcome, settings, finish)?;
        }
        Ok(())
    })
}

/// Repairs a store. `finish` is given the new store before it takes the place of the old one, which is not locked then.
pub(crate) fn repair(
    store: &Path,
    settings: &EngineSettings,
    finish: impl FnOnce(&Path, &RepairOutcome) -> Result<()>,
) -> Result<RepairOutcome> {
    let _lock = lock(store)?;
    if swap::is_interrupted(store) {
        let originals = Some(swap::resume(store)?);
        return Ok(RepairOutcome { originals, ..RepairOutcome::default() });
    }
    make(store, settings, |image, engine, outcome| {
        let new = complete(image, engine, outcome, settings, finish)?;
        outcome.originals = Some(swap::replace(store, &new)?);
        Ok(())
    })
}

/// Makes the new store from an image that was read.
fn complete(
    image: &Image,
    engine: Arc<Engine>,
    outcome: &RepairOutcome,
    settings: &EngineSettings,
    finish: impl FnOnce(&Path, &RepairOutcome) -> Result<()>,
) -> Result<PathBuf> {
    let mut new = image.path.clone();
    if !outcome.lost.is_empty() {
        new = image.path.with_file_name("rewritten");
        tables::rewrite(&engine, &image.lost, &new, settings)?;
    }
    drop(engine);
    // Replays the logs into table files, and records what is synced.
    Engine::open(&new, Mode::ReadWrite { create: false }, settings)?.close()?;
    finish(&new, outcome)?;
    Ok(new)
}

fn lock(store: &Path) -> Result<StoreLock> {
    format::admit_damaged(store)?;
    StoreLock::acquire(store)
}

/// Makes an image of a store and reads it. If something is damaged, `go_on` is given both.
fn make(
    store: &Path,
    settings: &EngineSettings,
    go_on: impl FnOnce(&Image, Arc<Engine>, &mut RepairOutcome) -> Result<()>,
) -> Result<RepairOutcome> {
    let working = swap::working_directory(store)?;
    let made = || -> Result<RepairOutcome> {
        let mut image = Image::new(store, working.join("image"))?;
        let engine = tables::open(&mut image, settings)?;
        let (lost, rows) = tables::count(&engine, &image.lost)?;
        // What a crash leaves is no damage: the next open truncates it.
        let verified = format::expects_synced(store).and_then(|synced| verify::verify(store, Tails::Keep, synced));
        if verified.is_ok() && lost.is_empty() {
            return Ok(RepairOutcome::default());
        }
        let mut outcome = RepairOutcome { lost, ..RepairOutcome::default() };
        outcome.files = std::mem::take(&mut image.files);
        (outcome.commits_kept, outcome.commits_dropped) = (image.kept.commits, image.dropped.commits);
        for (id, family) in image.manifest.families.iter().filter(|(_, family)| !family.name.is_empty()) {
            let is_ahead = image.first_cut.is_some_and(|cut| image.manifest.needs(family).number > cut);
            let operations = |of: &report::LoggedCommits| of.operations.get(id).copied().unwrap_or(0);
            let repaired = RepairedFamily {
                rows: rows.get(&family.name).copied().unwrap_or(0),
                kept: operations(&image.kept),
                dropped: operations(&image.dropped),
                is_ahead,
            };
            outcome.families.insert(family.name.clone(), repaired);
        }
        go_on(&image, engine, &mut outcome)?;
        Ok(outcome)
    };
    let made = made();
    let cleared = swap::clear(&working);
    // The first error is reported.
    let outcome = made?;
    cleared?;
    Ok(outcome)
}
