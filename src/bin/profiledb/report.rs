//! The commands `tables`, `stats` and `check`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use profiledb::{CheckReport, Damage, Kind, TableReport};
use serde::Serialize;

use crate::bar::Spinner;
use crate::escape::harmless;
use crate::failure::{Failure, SOME_WRONG};
use crate::open;
use crate::print::{self, Format, Named, RowPrinter};

/// The name of the event log in reports.
const LOG: &str = "events";

/// The name of the column segments of the event log in reports.
const SEGMENTS: &str = "segments";

/// Prints the tables with their numbers of profiles, and the log with its number of events. These are exact counts.
pub(crate) fn tables(dir: &Path, format: Format) -> Result<(), Failure> {
    let db = open::to_read(dir)?;
    let snapshot = db.snapshot();
    let mut rows = RowPrinter::new(format, ["table", "profiles", "events"])?;
    for kind in db.kinds() {
        let mut profiles = 0_u64;
        for row in snapshot.table(&kind).iter() {
            row?;
            profiles += 1;
        }
        rows.row(&[("table", kind.to_string().into()), ("profiles", profiles.into())])?;
    }
    let events: u64 = snapshot.events().days()?.iter().map(|(_, events)| events).sum();
    if events > 0 {
        rows.row(&[("table", LOG.into()), ("events", events.into())])?;
    }
    rows.end()
}

/// Prints the sizes of the tables, estimated by the engine.
pub(crate) fn stats(dir: &Path, format: Format) -> Result<(), Failure> {
    let db = open::to_read(dir)?;
    let columns =
        ["table", "profiles_estimate", "events_estimate", "sst_bytes", "memtable_bytes", "files_per_level", "segments"];
    let mut rows = RowPrinter::new(format, columns)?;
    let stats = db.stats();
    for table in stats.tables {
        let segments = (table.table == SEGMENTS).then_some(("segments", stats.sealing.segments.into()));
        let estimate =
            if [LOG, SEGMENTS].contains(&table.table.as_str()) { "events_estimate" } else { "profiles_estimate" };
        let mut row = vec![
            ("table", table.table.into()),
            (estimate, table.profiles_estimate.into()),
            ("sst_bytes", table.sst_bytes.into()),
            ("memtable_bytes", table.memtable_bytes.into()),
            ("files_per_level", table.files_per_level.into()),
        ];
        row.extend(segments);
        rows.row(&row)?;
    }
    rows.end()
}

#[derive(Serialize)]
struct Checked<'r> {
    sound: bool,
    #[serde(flatten)]
    report: &'r CheckReport,
}

/// Checks the store and prints the findings. With `rebuild`, tables of first-event times that are damaged are built
/// anew before.
pub(crate) fn check(dir: &Path, rebuild: bool, format: Format) -> Result<ExitCode, Failure> {
    let db = if rebuild { open::to_write(dir)? } else { open::to_read(dir)? };
    let spinner = Spinner::new("reading everything");
    let mut report = db.check()?;
    if rebuild {
        let damage = report.tables.iter().flat_map(|table| &table.damage);
        let mut derived: Vec<&str> = damage.filter_map(|damage| damage.table.strip_prefix("first:")).collect();
        derived.dedup();
        for table in &derived {
            let kind = table.strip_prefix("group:").map_or(Ok(Kind::User), Kind::group)?;
            db.rebuild_first_event_times(&kind)?;
        }
        if !derived.is_empty() {
            report = db.check()?;
        }
    }
    drop(spinner);
    let sound = report.is_sound();
    let checked = Checked { sound, report: &report };
    let printed = match format {
        Format::Ndjson => print::line(&checked),
        Format::Json => pretty(&checked),
        Format::Table => rows(&report, format).and_then(|()| findings(&report, sound, dir)),
        _ => rows(&report, format),
    };
    match printed {
        Ok(()) if sound => Ok(ExitCode::SUCCESS),
        // The exit status tells it also to those who do not read all of the report.
        Err(failure) if !failure.is_broken_pipe() || sound => Err(failure),
        _ => Ok(ExitCode::from(SOME_WRONG)),
    }
}

pub(crate) fn pretty(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = print::stdout();
    writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
    Ok(out.flush()?)
}

fn rows(report: &CheckReport, format: Format) -> Result<(), Failure> {
    let cells = |table: &TableReport| -> [Named<'static>; 11] {
        [
            ("table", table.table.clone().into()),
            ("profiles", table.profiles.into()),
            ("events", table.events.into()),
            ("properties", table.properties.into()),
            ("row bytes", table.row_bytes.into()),
            ("pending", table.pending_operands.into()),
            ("absent rows", table.absent_rows.into()),
            ("quarantined", table.quarantined_operands.into()),
            ("unreadable", table.unreadable_rows.into()),
            ("damaged ranges", (table.damage.len() as u64).into()),
            ("over limit", table.over_limit.into()),
        ]
    };
    let names = cells(&TableReport::default()).map(|(name, _)| name);
    let mut rows = RowPrinter::new(format, names)?;
    report.tables.iter().try_for_each(|table| rows.row(&cells(table)))?;
    rows.end()
}

fn findings(report: &CheckReport, sound: bool, dir: &Path) -> Result<(), Failure> {
    let mut out = print::stdout();
    for table in &report.tables {
        for finding in &table.findings {
            writeln!(out, "{} {:?}: {}", harmless(&table.table), finding.id, harmless(&finding.what))?;
        }
        table.damage.iter().try_for_each(|damage| writeln!(out, "{}", damaged_range(damage)))?;
    }
    if let Some(failure) = &report.engine_failure {
        writeln!(out, "the engine reported: {failure}")?;
    }
    writeln!(out, "{}", if sound { "sound" } else { "NOT SOUND" })?;
    if report.tables.iter().any(|table| !table.damage.is_empty()) {
        writeln!(out, "to keep what can be read: profiledb repair --db {}", dir.display())?;
    }
    Ok(out.flush()?)
}

/// A range that cannot be read, in words.
pub(crate) fn damaged_range(Damage { table, after, before, reason, .. }: &Damage) -> String {
    let end = |key: &Option<String>, none: &str| key.as_ref().map_or_else(|| none.to_owned(), |id| format!("{id:?}"));
    let (after, before) = (end(after, "the beginning"), end(before, "the end"));
    format!("{} cannot be read between {after} and {before}: {}", harmless(table), harmless(reason))
}
