//! The commands `import` and `track`: files through an [`Importer`] into the store.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{HumanCount, ProgressBar};
use profiledb::ingest::{Reject, Rules, WireRecord};
use profiledb::{Db, Durability, Importer};
use serde::Serialize;

use crate::args::ImportOptions;
use crate::bar;
use crate::failure::{Failure, SOME_WRONG};
use crate::input::Input;
use crate::open;
use crate::output::{self, OutputFile, OutputPath};
use crate::print;

/// The number of records between two updates of the progress bar.
const BAR_RECORDS: u64 = 1_024;

/// The figures of an import.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) applied: u64,
    pub(crate) rejected: u64,
    pub(crate) notes: u64,
    /// Records of which the disk failed to say whether they are stored.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) unknown: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: u64,
}

/// The signature that serde calls.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Imports files. `rules` adds to the rules of the flags.
pub(crate) fn run<T: WireRecord + 'static>(
    dir: &Path,
    feed: &ImportOptions,
    rules: impl FnOnce(Rules) -> Rules,
) -> Result<ExitCode, Failure> {
    let ImportOptions { files, reading, rejects, sync } = feed;
    let inputs: Vec<Input> = files.iter().map(|path| Input::named(path)).collect::<Result<_, _>>()?;
    let rejects = rejects.as_deref().map(|path| OutputPath::named("--rejects", path)).transpose()?;
    output::check(dir, &inputs, rejects.as_slice())?;
    let durability = if *sync { Durability::Synced } else { Durability::Buffered };
    let db = open::or_create(Db::builder().limits(reading.limits()), dir)?;
    let importer = db.importer(rules(db.rules().strict(reading.strict))).durability(durability);
    let bar = bar::of(inputs.iter().map(Input::bytes).sum(), T::PLURAL);
    let mut rejected = match rejects {
        None => RejectWriter::stderr(&bar),
        Some(output) => RejectWriter::to(output.stream()?, &bar),
    };
    let (summary, failure) = import::<T>(&importer, inputs, &mut rejected, &bar);
    let synced = if durability == Durability::Buffered { db.sync().map_err(Failure::from) } else { Ok(()) };
    bar.finish_and_clear();
    conclude(&summary, failure.or(synced.err()))
}

/// Prints the figures, also of an import that failed, and decides on the exit status.
pub(crate) fn conclude(summary: &Summary, failure: Option<Failure>) -> Result<ExitCode, Failure> {
    let printed = print::line(summary);
    match failure {
        Some(failure) => Err(failure),
        // The exit status also tells that records were rejected.
        None if summary.rejected > 0 => Ok(ExitCode::from(SOME_WRONG)),
        None => printed.map(|()| ExitCode::SUCCESS),
    }
}

/// Where rejected records are written to.
pub(crate) struct RejectWriter {
    out: Box<dyn Write>,
    /// Suspended while its terminal may be written to.
    bar: ProgressBar,
}

impl RejectWriter {
    pub(crate) fn stderr(bar: &ProgressBar) -> Self {
        Self { out: Box::new(io::stderr()), bar: bar.clone() }
    }

    fn to(out: OutputFile, bar: &ProgressBar) -> Self {
        Self { out: Box::new(out), bar: bar.clone() }
    }

    fn write(&mut self, file: &str, reject: &Reject) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&RejectLine { file, reject })?;
        line.push(b'\n');
        self.bar.suspend(|| self.out.write_all(&line)).map_err(unreported)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.bar.suspend(|| self.out.flush()).map_err(unreported)
    }
}

/// Also when the reader of the rejects has closed them: the import has to stop then, which is not a success.
fn unreported(error: io::Error) -> Failure {
    Failure::new(format!("cannot report a rejected record: {error}"))
}

#[derive(Serialize)]
struct RejectLine<'r> {
    file: &'r str,
    #[serde(flatten)]
    reject: &'r Reject,
}

/// Imports all inputs, up to the first failure. The figures include what was stored before and in spite of it.
pub(crate) fn import<T: WireRecord + 'static>(
    importer: &Importer,
    inputs: Vec<Input>,
    rejected: &mut RejectWriter,
    bar: &ProgressBar,
) -> (Summary, Option<Failure>) {
    let started = Instant::now();
    let mut sum = Summary::default();
    let mut failure = None;
    for input in inputs {
        failure = import_one::<T>(importer, input, rejected, bar, &mut sum, started).err();
        if failure.is_some() {
            break;
        }
    }
    failure = failure.or(rejected.flush().err());
    let seconds = started.elapsed().as_secs_f64();
    sum.seconds = rounded(seconds);
    sum.per_second = rate(sum.applied, seconds);
    (sum, failure)
}

fn import_one<T: WireRecord + 'static>(
    importer: &Importer,
    input: Input,
    rejected: &mut RejectWriter,
    bar: &ProgressBar,
    sum: &mut Summary,
    started: Instant,
) -> Result<(), Failure> {
    let file = input.name();
    let reader = input.open().map_err(|error| Failure::from(error).during(format!("cannot read {file}")))?;
    let mut failure = None;
    let mut import = importer.read::<T, _>(bar.wrap_read(reader));
    while let Some(outcome) = import.next() {
        match outcome {
            Ok(Ok(imported)) => {
                sum.applied += 1;
                sum.notes += imported.notes.len() as u64;
            }
            Ok(Err(reject)) => {
                sum.rejected += 1;
                if failure.is_none()
                    && let Err(unwritten) = rejected.write(&file, &reject)
                {
                    failure = Some(unwritten);
                    import.stop();
                }
            }
            Err(error) => {
                sum.unknown += u64::from(error.is_outcome_unknown());
                failure.get_or_insert_with(|| Failure::from(error).during(format!("cannot import {file}")));
            }
        }
        if (sum.applied + sum.rejected).is_multiple_of(BAR_RECORDS) {
            let rate = rate(sum.applied, started.elapsed().as_secs_f64());
            bar.set_message(format!("{} {}, {}/s", HumanCount(sum.applied), T::PLURAL, HumanCount(rate)));
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Records per second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; it is for people")]
fn rate(records: u64, seconds: f64) -> u64 {
    (records as f64 / seconds.max(1e-6)) as u64
}

/// To the millisecond.
pub(crate) fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}
