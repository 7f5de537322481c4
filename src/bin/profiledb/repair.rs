//! The command `repair`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use profiledb::{Db, FileRepair, RepairReport};

use crate::escape::harmless;
use crate::failure::{Failure, SOME_WRONG};
use crate::print::{self, Format, RowPrinter};
use crate::report::{damaged_range, pretty};

/// Repairs a store, or says what a repair would do, and prints what is kept and what is not.
pub(crate) fn run(dir: &Path, dry_run: bool, format: Format) -> Result<ExitCode, Failure> {
    let report = if dry_run { Db::plan_repair(dir)? } else { Db::repair(dir)? };
    match format {
        Format::Ndjson => print::line(&report)?,
        Format::Json => pretty(&report)?,
        Format::Table => {
            files(&report)?;
            tables(&report, format)?;
            summary(&report, dir, dry_run)?;
        }
        _ => tables(&report, format)?,
    }
    Ok(if report.is_lossless() { ExitCode::SUCCESS } else { ExitCode::from(SOME_WRONG) })
}

fn files(report: &RepairReport) -> Result<(), Failure> {
    let mut out = print::stdout();
    for FileRepair { file, damage, remedy, commits_kept, commits_dropped, .. } in &report.files {
        write!(out, "{}: {}: {}", harmless(file), harmless(damage), harmless(remedy))?;
        if commits_kept + commits_dropped > 0 {
            write!(out, ", {commits_kept} commits kept, at least {commits_dropped} dropped")?;
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

fn tables(report: &RepairReport, format: Format) -> Result<(), Failure> {
    let names = ["table", "rows", "operations kept", "operations dropped", "is ahead"];
    let mut rows = RowPrinter::new(format, names)?;
    for table in &report.tables {
        rows.row(&[
            ("table", table.table.clone().into()),
            ("rows", table.rows.into()),
            ("operations kept", table.operations_kept.into()),
            ("operations dropped", table.operations_dropped.into()),
            ("is ahead", table.is_ahead.into()),
        ])?;
    }
    rows.end()
}

fn summary(report: &RepairReport, dir: &Path, dry_run: bool) -> Result<(), Failure> {
    let mut out = print::stdout();
    report.lost.iter().try_for_each(|damage| writeln!(out, "{}", damaged_range(damage)))?;
    let (kept, dropped) = (report.commits_kept, report.commits_dropped);
    let dir = dir.display();
    match &report.originals {
        _ if !report.damaged => writeln!(out, "nothing is damaged")?,
        _ if dry_run => {
            let what = if report.is_lossless() { "everything" } else { "what is whole" };
            writeln!(out, "nothing was changed; without --dry-run, {what} is kept and the files as they are as well")?;
        }
        Some(originals) => {
            writeln!(out, "repaired; the files as they were are in {}, until you delete it", originals.display())?;
        }
        None => {}
    }
    if report.damaged && kept + dropped > 0 {
        writeln!(out, "of the commits in the logs, {kept} are kept and at least {dropped} are dropped")?;
    }
    if report.tables.iter().any(|table| table.is_ahead) {
        writeln!(out, "tables that are ahead have later commits than the others: a batch may be there in part")?;
    }
    if report.damaged && !dry_run {
        writeln!(out, "to verify the store: profiledb check --db {dir}")?;
    }
    Ok(out.flush()?)
}
