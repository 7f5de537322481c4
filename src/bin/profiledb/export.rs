//! The command `export`: profiles as lines that can be imported.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use flate2::Compression;
use flate2::write::GzEncoder;
use profiledb::ingest::Exported;
use profiledb::{Damage, Db, Kind, Profile, ProfileKey, Salvaged};

use crate::args::ExportArgs;
use crate::bar::Spinner;
use crate::failure::{Failure, SOME_WRONG};
use crate::get;
use crate::known;
use crate::open;
use crate::output::{self, OutputPath};
use crate::print;

/// Writes profiles to a file or to the standard output.
pub(crate) fn run(dir: &Path, export: &ExportArgs) -> Result<ExitCode, Failure> {
    let only = match &export.group {
        Some(key) => Some(Kind::group(key)?),
        None => export.users.then_some(Kind::User),
    };
    let output = OutputPath::named("--output", export.output.as_deref().unwrap_or_else(|| Path::new("-")))?;
    output::check(dir, &[], std::slice::from_ref(&output))?;
    let db = open::to_read(dir)?;
    only.as_ref().map_or(Ok(()), |kind| known::table(&db, kind))?;
    let kinds = only.map_or_else(|| db.kinds(), |kind| vec![kind]);
    let is_gzip = output.has_extension("gz");
    let spinner = if output.is_stdout() { Spinner::beside_lines("exporting") } else { Spinner::new("exporting") };
    let mut out = output.create()?;
    let damaged = if is_gzip {
        let mut gzip = GzEncoder::new(&mut out, Compression::default());
        let damaged = write(&db, &kinds, export.salvage, &mut gzip, &spinner)?;
        gzip.finish()?;
        damaged
    } else {
        write(&db, &kinds, export.salvage, &mut out, &spinner)?
    };
    out.finish()?;
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_WRONG) })
}

/// Writes all profiles, or all that can be read. Returns how many rows or ranges cannot.
fn write(db: &Db, kinds: &[Kind], salvage: bool, out: &mut impl Write, spinner: &Spinner) -> Result<u64, Failure> {
    let (snapshot, mut damaged, mut written) = (db.snapshot(), 0, 0);
    let mut line = |kind: &Kind, id: String, profile: &Profile| -> Result<(), Failure> {
        let key = ProfileKey::new(kind.clone(), id)?;
        if !profile.quarantine().is_empty() || profile.first_event_is_damaged() {
            spinner.suspend(|| get::warn_of_damage(profile, &key));
        }
        let mut line = serde_json::to_vec(&Exported::new(&key, profile))?;
        line.push(b'\n');
        written += 1;
        spinner.count(written, "profiles");
        Ok(out.write_all(&line)?)
    };
    for kind in kinds {
        if salvage {
            snapshot.table(kind).salvage(|item| match item {
                Salvaged::Item((id, profile)) => line(kind, id, &profile),
                Salvaged::Damage(damage) => {
                    damaged += 1;
                    spinner.suspend(|| report_damage(&damage))
                }
            })?;
            continue;
        }
        for row in snapshot.table(kind).iter() {
            let (id, profile) = row?;
            line(kind, id, &profile)?;
        }
    }
    Ok(damaged)
}

/// Prints what cannot be read, as a line on the standard error.
pub(crate) fn report_damage(damage: &Damage) -> Result<(), Failure> {
    // If the standard error is closed, the exit status still tells.
    let _ = io::stderr().write_all(&print::json_line(damage)?);
    Ok(())
}
