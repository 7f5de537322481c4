//! The command `get`.

use std::io::{self, Write};
use std::path::Path;

use profiledb::ingest::Exported;
use profiledb::{Kind, Profile, ProfileKey, Value};

use crate::failure::Failure;
use crate::known;
use crate::open;
use crate::print::{self, Format, RowPrinter};

/// The names of the times that are not stored as properties.
pub(crate) const LAST_SEEN: &str = "$last_seen";
pub(crate) const FIRST_EVENT: &str = "$mp_first_event_time";

/// Prints a profile.
pub(crate) fn run(dir: &Path, kind: Kind, id: &str, format: Option<Format>) -> Result<(), Failure> {
    let key = ProfileKey::new(kind, id)?;
    let db = open::to_read(dir)?;
    known::table(&db, key.kind())?;
    let Some(profile) = db.table(key.kind()).get(id)? else {
        return Err(Failure::new(format!("no profile {id:?} in {}", key.kind())));
    };
    warn_of_damage(&profile, &key);
    match format.unwrap_or(Format::Ndjson) {
        Format::Ndjson => print::line(&Exported::new(&key, &profile)),
        Format::Json => {
            let mut out = print::stdout();
            serde_json::to_writer_pretty(&mut out, &Exported::new(&key, &profile)).map_err(io::Error::from)?;
            writeln!(out)?;
            Ok(out.flush()?)
        }
        format => {
            let mut rows = RowPrinter::new(format, ["property", "value"])?.fit();
            for (name, value) in properties(&profile) {
                rows.row(&[("property", name.into()), ("value", value)])?;
            }
            rows.end()
        }
    }
}

/// The properties, `$last_seen` and `$mp_first_event_time` first.
pub(crate) fn properties(profile: &Profile) -> impl Iterator<Item = (&str, Value)> {
    let last_seen = profile.last_seen().map(|time| (LAST_SEEN, time.to_string().into()));
    let first_event = profile.first_event_time().map(|time| (FIRST_EVENT, time.to_string().into()));
    last_seen
        .into_iter()
        .chain(first_event)
        .chain(profile.properties().iter().map(|(name, value)| (name, value.clone())))
}

/// Warns if a profile has quarantined operands, or not the time of its first event.
pub(crate) fn warn_of_damage(profile: &Profile, key: &ProfileKey) {
    let operands = profile.quarantine().len();
    if operands > 0 {
        let (kind, id) = (key.kind(), key.id());
        let _ = writeln!(io::stderr(), "profiledb: warning: {kind} {id:?} has operands in quarantine count={operands}");
    }
    if profile.first_event_is_damaged() {
        let (kind, id) = (key.kind(), key.id());
        let _ = writeln!(
            io::stderr(),
            "profiledb: warning: {kind} {id:?} has an unreadable {FIRST_EVENT}; \"check --rebuild\" restores it"
        );
    }
}
