//! The command `export`: profiles as lines that can be imported.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use profiledb::ingest::Exported;
use profiledb::{Db, Kind, ProfileKey};

use crate::args::ExportArgs;
use crate::failure::Failure;
use crate::get;
use crate::open;
use crate::output::{self, OutputPath};

/// Writes profiles to a file or to the standard output.
pub(crate) fn run(dir: &Path, export: &ExportArgs) -> Result<(), Failure> {
    let only = match &export.group {
        Some(key) => Some(Kind::group(key)?),
        None => export.users.then_some(Kind::User),
    };
    let output = OutputPath::named("--output", export.output.as_deref().unwrap_or_else(|| Path::new("-")))?;
    output::check(dir, &[], std::slice::from_ref(&output))?;
    let db = open::to_read(dir)?;
    let kinds = only.map_or_else(|| db.kinds(), |kind| vec![kind]);
    let is_gzip = output.has_extension("gz");
    let mut out = output.create()?;
    if is_gzip {
        let mut gzip = GzEncoder::new(&mut out, Compression::default());
        write(&db, &kinds, &mut gzip)?;
        gzip.finish()?;
    } else {
        write(&db, &kinds, &mut out)?;
    }
    out.finish()
}

fn write(db: &Db, kinds: &[Kind], out: &mut impl Write) -> Result<(), Failure> {
    let snapshot = db.snapshot();
    for kind in kinds {
        for row in snapshot.table(kind).iter() {
            let (id, profile) = row?;
            let key = ProfileKey::new(kind.clone(), id)?;
            get::warn_of_quarantine(&profile, &key);
            let mut line = serde_json::to_vec(&Exported::new(&key, &profile))?;
            line.push(b'\n');
            out.write_all(&line)?;
        }
    }
    Ok(())
}
