//! The command `export`: profiles as lines that can be imported.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use profiledb::ingest::Exported;
use profiledb::{Db, Kind, ProfileKey};

use crate::args::ExportArgs;
use crate::failure::Failure;
use crate::get;
use crate::open;
use crate::print;

/// Writes profiles to a file or to the standard output.
pub(crate) fn run(dir: &Path, export: &ExportArgs) -> Result<(), Failure> {
    let only = match &export.group {
        Some(key) => Some(Kind::group(key)?),
        None => export.users.then_some(Kind::User),
    };
    let db = open::to_read(dir)?;
    let kinds = only.map_or_else(|| db.kinds(), |kind| vec![kind]);
    match &export.output {
        None => {
            let mut out = print::stdout();
            write(&db, &kinds, &mut out)?;
            Ok(out.flush()?)
        }
        Some(path) => to_file(&db, &kinds, path).map_err(|failure| failure.during(path.display())),
    }
}

/// Written to a temporary name first, so that a file with the final name is complete.
fn to_file(db: &Db, kinds: &[Kind], path: &Path) -> Result<(), Failure> {
    let part = PathBuf::from([path.as_os_str(), ".part".as_ref()].into_iter().collect::<OsString>());
    let write = || -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(64 << 10, File::create(&part)?);
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut gzip = GzEncoder::new(&mut out, Compression::default());
            write(db, kinds, &mut gzip)?;
            gzip.finish()?;
        } else {
            write(db, kinds, &mut out)?;
        }
        out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        Ok(fs::rename(&part, path)?)
    };
    write().inspect_err(|_| {
        // The first failure is the one to report.
        let _ = fs::remove_file(&part);
    })
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
