//! The command `import-csv`: its mapping, and the preview of it.

use std::path::Path;
use std::process::ExitCode;

use profiledb::ingest::{Csv, CsvRecords, Record, Rules};
use profiledb::{Change, Kind, Profile, Value};
use serde::Serialize;

use crate::args::CsvArgs;
use crate::bar;
use crate::failure::{Failure, SOME_WRONG};
use crate::get;
use crate::import::{self, RecordReport};
use crate::input::Input;
use crate::print::{self, Named, RowPrinter};

/// The number of rows of a preview.
const PREVIEW_ROWS: usize = 10;

/// Imports files, or shows what would be stored.
pub(crate) fn run(dir: &Path, args: &CsvArgs) -> Result<ExitCode, Failure> {
    let csv = mapping(args)?;
    if args.dry_run { preview(dir, args, &csv) } else { import::run(dir, &args.feed, None, &csv, |rules| rules) }
}

/// The mapping, of the flags.
fn mapping(args: &CsvArgs) -> Result<Csv, Failure> {
    let CsvArgs { feed, header, delimiter, encoding, id, map, skip, types, group, .. } = args;
    let flag = |is_set: bool| is_set.then_some("true");
    let once = [
        ("header", flag(*header)),
        ("unbounded", flag(feed.reading.unbounded)),
        ("delimiter", delimiter.as_deref()),
        ("encoding", encoding.as_deref()),
        ("id", id.as_deref()),
        ("group", group.as_deref()),
    ];
    let once = once.into_iter().filter_map(|(name, text)| Some((name, text?)));
    let repeated = [("map", map), ("skip", skip), ("types", types)];
    let repeated = repeated.into_iter().flat_map(|(name, texts)| texts.iter().map(move |text| (name, text.as_str())));
    Ok(once.chain(repeated).try_fold(Csv::new(), |csv, (name, text)| csv.option(name, text))?)
}

#[derive(Debug, Default, Serialize)]
struct PreviewSummary {
    valid: u64,
    rejected: u64,
    notes: u64,
}

/// Reads all rows, and prints the first ones as they would be stored in an empty store.
fn preview(dir: &Path, args: &CsvArgs, csv: &Csv) -> Result<ExitCode, Failure> {
    let inputs = import::open_inputs(dir, &args.feed)?;
    let rules = Rules::new().limits(args.feed.reading.limits()).strict(args.feed.reading.strict);
    let bar = bar::of(inputs.inputs.iter().map(Input::bytes).sum(), "rows");
    let mut report = RecordReport::to(inputs.rejects, inputs.notes, &bar)?;
    let (mut first, mut sum) = (Vec::new(), PreviewSummary::default());
    for input in inputs.inputs {
        let name = input.name();
        let cannot = |error: Failure| error.during(format!("cannot read {name}"));
        let reader = input.open().map_err(|error| cannot(error.into()))?;
        for outcome in CsvRecords::new(bar.wrap_read(reader), csv, rules.clone()) {
            match outcome.map_err(|error| cannot(error.into()))? {
                Ok(record) => {
                    sum.valid += 1;
                    sum.notes += record.notes.len() as u64;
                    if first.len() < PREVIEW_ROWS {
                        first.push(record);
                    }
                }
                Err(reject) => {
                    sum.rejected += 1;
                    report.reject(&name, &reject)?;
                }
            }
        }
    }
    bar.finish_and_clear();
    report.flush()?;
    show(&first, args)?;
    print::line(&sum)?;
    Ok(if sum.rejected > 0 { ExitCode::from(SOME_WRONG) } else { ExitCode::SUCCESS })
}

fn show(records: &[Record], args: &CsvArgs) -> Result<(), Failure> {
    let id_field = args.group.as_ref().map_or(Ok(Kind::User), Kind::group)?.id_field();
    // A row may create nothing.
    let profiles: Vec<(&Record, Profile)> = records
        .iter()
        .filter_map(|record| match &record.change {
            Change::Update(update) => Profile::fold([update]).map(|profile| (record, profile)),
            Change::Delete => None,
        })
        .collect();
    let mut columns = vec![id_field];
    for (name, _) in profiles.iter().flat_map(|(_, profile)| get::properties(profile)) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let mut rows = RowPrinter::new(args.shape.format(), columns.iter().map(|name| (*name).to_owned()))?.fit();
    for (record, profile) in &profiles {
        let id: Named<'_> = (id_field, Value::from(record.key.id()));
        rows.row(&std::iter::once(id).chain(get::properties(profile)).collect::<Vec<_>>())?;
    }
    rows.end()
}
