//! The tables of an image: read completely, and written anew without what cannot be read.
//!
//! A range of keys that is damaged in one table file is dropped as a whole, also what other files have of it: a row
//! without its base, or a row that was deleted, would be wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::image::{Image, LostTable};
use super::report::LostKeys;
use crate::error::{Error, Result};
use crate::rocks::engine::{Engine, Mode};
use crate::rocks::file_names;
use crate::rocks::options::EngineSettings;
use crate::rocks::salvage::{DamagedKeys, SalvagedRow};

/// How much is committed at once, in bytes.
const BATCH_BYTES: usize = 1 << 20;

/// Opens an image. Table files that the engine cannot open are taken out of it.
pub(super) fn open(image: &mut Image, settings: &EngineSettings) -> Result<Arc<Engine>> {
    loop {
        let error = match Engine::open_settled(&image.path, Mode::ReadOnly, settings) {
            Ok(engine) => return Ok(Arc::new(engine)),
            Err(error) => error,
        };
        if !error.is_corrupt() {
            return Err(error);
        }
        // The engine does not always name the file.
        let text = error.with_sources();
        let mut names = text.split(|at: char| at == '/' || at == '"' || at.is_whitespace());
        let named = names.find_map(file_names::table).filter(|number| image.has_table(*number));
        let Some(number) = named.map_or_else(|| unopened(image, settings), |number| Ok(Some(number)))? else {
            return Err(error);
        };
        image.lose_table(number, text.replace(&*image.path.to_string_lossy(), ""))?;
    }
}

/// A table file that the engine cannot open alone.
fn unopened(image: &Image, settings: &EngineSettings) -> Result<Option<u64>> {
    let path = image.path.with_file_name("probe");
    for (number, _) in image.manifest.tables() {
        image.copy_table(number, &path)?;
        match Engine::open_settled(&path, Mode::ReadOnly, settings) {
            Err(error) if error.is_corrupt() => return Ok(Some(number)),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(None)
}

/// Reads all tables. Gives each row that is kept, and returns what is lost.
pub(super) fn read(
    engine: &Arc<Engine>,
    lost: &[LostTable],
    mut each: impl FnMut(&str, &[u8], &[u8]) -> Result<()>,
) -> Result<Vec<LostKeys>> {
    let snapshot = engine.snapshot();
    let mut all = Vec::new();
    for family in engine.families() {
        let mut ranges: Vec<(&LostTable, DamagedKeys)> =
            lost.iter().filter(|table| table.family == family).map(range).collect();
        let mut damaged = Vec::new();
        snapshot.salvage(&family, |item| {
            let (key, value) = match item {
                SalvagedRow::Row(key, value) => (key, value),
                SalvagedRow::Damage(keys) => {
                    damaged.push(keys);
                    return Ok(());
                }
            };
            if ranges.iter().any(|(table, _)| table.first.as_slice() <= key && key <= table.last.as_slice()) {
                return Ok(());
            }
            for (table, range) in &mut ranges {
                if key < table.first.as_slice() {
                    range.after = Some(key.to_vec());
                } else if range.before.is_none() {
                    range.before = Some(key.to_vec());
                }
            }
            each(&family, key, value)
        })?;
        let ranges = ranges.into_iter().map(|(_, range)| range).chain(damaged);
        all.extend(ranges.map(|keys| LostKeys { family: family.clone(), keys }));
    }
    Ok(all)
}

fn range(table: &LostTable) -> (&LostTable, DamagedKeys) {
    (table, DamagedKeys { after: None, before: None, error: table.error.clone() })
}

/// Writes what can be read to a new store.
pub(super) fn rewrite(from: &Arc<Engine>, lost: &[LostTable], to: &Path, settings: &EngineSettings) -> Result<()> {
    let engine = Engine::open(to, Mode::ReadWrite { create: true }, settings)?;
    from.families().iter().try_for_each(|family| engine.create_family(family))?;
    let (mut batch, mut bytes) = (engine.batch(), 0);
    read(from, lost, |family, key, value| {
        batch.put(family, key, value)?;
        bytes += key.len() + value.len();
        if bytes >= BATCH_BYTES {
            bytes = 0;
            std::mem::replace(&mut batch, engine.batch()).commit(false)?;
        }
        Ok(())
    })?;
    batch.commit(false)?;
    engine.close()
}

/// How many rows each table keeps.
pub(super) fn count(engine: &Arc<Engine>, lost: &[LostTable]) -> Result<(Vec<LostKeys>, BTreeMap<String, u64>)> {
    let mut rows: BTreeMap<String, u64> = engine.families().into_iter().map(|family| (family, 0)).collect();
    let lost = read(engine, lost, |family, _, _| {
        if let Some(rows) = rows.get_mut(family) {
            *rows += 1;
        }
        Ok::<_, Error>(())
    })?;
    Ok((lost, rows))
}
