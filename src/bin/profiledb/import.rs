//! The commands `import`, `track` and `import-csv`: files through an [`Importer`] into the store.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{HumanCount, ProgressBar};
use profiledb::ingest::{Reject, Rules};
use profiledb::{Builder, Db, Durability, Imported, Importer};
use serde::Serialize;

use crate::args::ImportOptions;
use crate::bar::{self, Spinner};
use crate::failure::{Failure, SOME_WRONG};
use crate::format::InputFormat;
use crate::input::Input;
use crate::interrupt::StopSignal;
use crate::open;
use crate::output::{self, OutputPath};
use crate::print;

/// The number of records between two updates of the progress bar.
const BAR_RECORDS: u64 = 1_024;

/// The default of `--seal-after`, which is that of the library.
const SEAL_AFTER: u64 = 65_536;

/// The figures of an import.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) applied: u64,
    pub(crate) rejected: u64,
    pub(crate) notes: u64,
    /// Records of which the disk failed to say whether they are stored.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) unknown: u64,
    /// Where to continue after an interruption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resume: Option<ResumeMark>,
    pub(crate) seconds: f64,
    pub(crate) per_second: u64,
}

/// How far an import came that was interrupted.
#[derive(Debug, Serialize)]
pub(crate) struct ResumeMark {
    file: String,
    /// The records of this file that are stored or rejected.
    records: u64,
}

impl ResumeMark {
    fn failure(&self) -> Failure {
        let Self { file, records } = self;
        Failure::new(format!("interrupted; to continue, pass --resume {records} with {file} and the files after it"))
    }
}

/// Inputs of an import, and where it starts and ends in them.
pub(crate) struct InputQueue {
    inputs: Vec<Input>,
    /// The number of records to skip of the first.
    start: u64,
    interrupt: Option<StopSignal>,
}

impl InputQueue {
    /// All of one input.
    pub(crate) fn one(input: Input) -> Self {
        Self { inputs: vec![input], start: 0, interrupt: None }
    }
}

/// The signature that serde calls.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Inputs that exist, and outputs that none of them is.
pub(crate) struct OpenedInputs {
    pub(crate) inputs: Vec<Input>,
    pub(crate) rejects: Option<OutputPath>,
    pub(crate) notes: Option<OutputPath>,
}

/// Checks the inputs and the outputs of a command.
pub(crate) fn open_inputs(dir: &Path, options: &ImportOptions) -> Result<OpenedInputs, Failure> {
    let ImportOptions { files, rejects, notes, .. } = options;
    let inputs: Vec<Input> = files.iter().map(|path| Input::named(path)).collect::<Result<_, _>>()?;
    let named = [("--rejects", rejects), ("--notes", notes)].into_iter();
    let outputs: Vec<OutputPath> = named
        .filter_map(|(flag, path)| path.as_ref().map(|path| OutputPath::named(flag, path)))
        .collect::<Result<_, _>>()?;
    output::check(dir, &inputs, &outputs)?;
    let mut outputs = outputs.into_iter();
    let rejects = rejects.as_ref().and_then(|_| outputs.next());
    Ok(OpenedInputs { inputs, rejects, notes: outputs.next() })
}

/// Imports files. `rules` adds to the rules of the flags. With `seal_after` events that are rows or more, and with its
/// default without it, they are sealed at the end.
pub(crate) fn run<F: InputFormat>(
    dir: &Path,
    options: &ImportOptions,
    seal_after: Option<u64>,
    format: &F,
    rules: impl Fn(Rules) -> Rules,
) -> Result<ExitCode, Failure> {
    let OpenedInputs { inputs, rejects, notes } = open_inputs(dir, options)?;
    let ImportOptions { reading, resume, sync, .. } = options;
    let rules_without_store = rules(Rules::new().limits(reading.limits()).strict(reading.strict));
    format.check(&inputs, &rules_without_store)?;
    if resume.is_none() && !dir.exists() && !has_record(format, &inputs, &rules_without_store)? {
        // Nothing would be stored, so no store is created.
        let mut report = RecordReport::to(rejects, notes, &bar::none())?;
        let (summary, failure) = refuse(format, inputs, &rules_without_store, &mut report);
        return conclude(&summary, failure);
    }
    let durability = if *sync { Durability::Synced } else { Durability::Buffered };
    let settings = Db::builder().limits(reading.limits()).create(resume.is_none());
    let db = open::or_create(seal_after.into_iter().fold(settings, Builder::seal_after), dir)?;
    let importer = db.importer(rules(db.rules().strict(reading.strict))).durability(durability);
    let bar = bar::of(inputs.iter().map(Input::bytes).sum(), F::PLURAL);
    let mut report = RecordReport::to(rejects, notes, &bar)?;
    let interrupt = StopSignal::handled()?;
    let inputs = InputQueue { inputs, start: resume.unwrap_or_default(), interrupt: Some(interrupt) };
    let (summary, failure) = import(&importer, format, inputs, &mut report);
    let synced = if durability == Durability::Buffered { db.sync().map_err(Failure::from) } else { Ok(()) };
    bar.finish_and_clear();
    // The mark counts on what is before it.
    let interrupted = summary.resume.as_ref().filter(|_| synced.is_ok()).map(ResumeMark::failure);
    let failure = failure.or(synced.err()).or(interrupted);
    let sealed = if failure.is_none() { seal(&db, seal_after.unwrap_or(SEAL_AFTER)) } else { Ok(()) };
    conclude(&summary, failure.or(sealed.err()))
}

/// Seals the events if this many are rows: background sealing, which rests half of the time, may be behind.
fn seal(db: &Db, after: u64) -> Result<(), Failure> {
    if after == 0 || db.stats().sealing.unsealed_events < after {
        return Ok(());
    }
    let sealed = Spinner::new("sealing").during(|| db.events().seal());
    sealed.map(|_| ()).map_err(|error| Failure::from(error).during("the events are stored, but cannot be sealed"))
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

/// Where rejected records and notes are written to, as lines of JSON.
pub(crate) struct RecordReport {
    rejects: Box<dyn Write>,
    /// Notes are only counted without it.
    notes: Option<Box<dyn Write>>,
    /// Suspended while its terminal may be written to.
    bar: ProgressBar,
}

impl RecordReport {
    pub(crate) fn stderr(bar: &ProgressBar) -> Self {
        Self { rejects: Box::new(io::stderr()), notes: None, bar: bar.clone() }
    }

    pub(crate) fn to(
        rejects: Option<OutputPath>,
        notes: Option<OutputPath>,
        bar: &ProgressBar,
    ) -> Result<Self, Failure> {
        let mut report = Self::stderr(bar);
        if let Some(output) = rejects {
            report.rejects = Box::new(output.stream()?);
        }
        if let Some(output) = notes {
            report.notes = Some(Box::new(output.stream()?));
        }
        Ok(report)
    }

    pub(crate) fn reject(&mut self, file: &str, reject: &Reject) -> Result<(), Failure> {
        let line = print::json_line(&FileLine { file, line: reject })?;
        self.bar.suspend(|| self.rejects.write_all(&line)).map_err(unreported)
    }

    fn notes(&mut self, file: &str, imported: &Imported) -> Result<(), Failure> {
        let Some(notes) = &mut self.notes else { return Ok(()) };
        for note in imported.note_lines() {
            let line = print::json_line(&FileLine { file, line: note })?;
            self.bar.suspend(|| notes.write_all(&line)).map_err(unreported)?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let flush = || self.rejects.flush().and_then(|()| self.notes.as_mut().map_or(Ok(()), |notes| notes.flush()));
        self.bar.suspend(flush).map_err(unreported)
    }
}

/// Also when the reader of the output has closed it: the import has to stop then, which is not a success.
fn unreported(error: io::Error) -> Failure {
    Failure::new(format!("cannot report a rejected record or a note: {error}"))
}

#[derive(Serialize)]
struct FileLine<'r, L> {
    file: &'r str,
    #[serde(flatten)]
    line: L,
}

/// Imports all inputs, up to the first failure. The figures include what was stored before and in spite of it.
pub(crate) fn import<F: InputFormat>(
    importer: &Importer,
    format: &F,
    queue: InputQueue,
    report: &mut RecordReport,
) -> (Summary, Option<Failure>) {
    let started = Instant::now();
    let mut sum = Summary::default();
    let mut failure = None;
    let InputQueue { inputs, mut start, interrupt } = queue;
    for input in inputs {
        let to = (importer, format);
        failure = import_one(to, input, start, interrupt.as_ref(), report, &mut sum, started).err();
        start = 0;
        if failure.is_some() || sum.resume.is_some() {
            break;
        }
    }
    failure = failure.or(report.flush().err());
    let seconds = started.elapsed().as_secs_f64();
    sum.seconds = rounded(seconds);
    sum.per_second = rate(sum.applied, seconds);
    (sum, failure)
}

fn import_one<F: InputFormat>(
    (importer, format): (&Importer, &F),
    input: Input,
    start: u64,
    interrupt: Option<&StopSignal>,
    report: &mut RecordReport,
    sum: &mut Summary,
    started: Instant,
) -> Result<(), Failure> {
    let file = input.name();
    let cannot_read = |error| Failure::from(error).during(format!("cannot read {file}"));
    let may_block = input.bytes().is_none();
    let mut reader = input.open().map_err(cannot_read)?;
    if let Some(interrupt) = interrupt {
        reader = interrupt.reader(reader, may_block);
    }
    let bar = report.bar.clone();
    let (mut records, mut failure) = (start, None);
    let mut import = format.import(&importer.clone().start_at(start), bar.wrap_read(reader));
    while let Some(outcome) = import.next() {
        let reported = match outcome {
            Ok(Ok(imported)) => {
                records += 1;
                sum.applied += 1;
                sum.notes += imported.notes.len() as u64;
                report.notes(&file, &imported)
            }
            Ok(Err(reject)) => {
                records += 1;
                sum.rejected += 1;
                report.reject(&file, &reject)
            }
            Err(error) if StopSignal::caused(&error) => {
                // After a failure, records that follow it may be stored, so there is no place to continue at.
                sum.resume = failure.is_none().then(|| ResumeMark { file: file.clone(), records });
                Ok(())
            }
            Err(error) => {
                sum.unknown += u64::from(error.is_outcome_unknown());
                Err(Failure::from(error).during(format!("cannot import {file}")))
            }
        };
        if let Err(first) = reported
            && failure.is_none()
        {
            failure = Some(first);
            import.stop();
        }
        if (sum.applied + sum.rejected).is_multiple_of(BAR_RECORDS) {
            let rate = rate(sum.applied, started.elapsed().as_secs_f64());
            bar.set_message(format!("{} {}, {}/s", HumanCount(sum.applied), F::PLURAL, HumanCount(rate)));
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Records per second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; it is for people")]
fn rate(records: u64, seconds: f64) -> u64 {
    (records as f64 / seconds.max(1e-6)) as u64
}

/// Whether an input has, or may have, a record that is not rejected.
fn has_record(format: &impl InputFormat, inputs: &[Input], rules: &Rules) -> Result<bool, Failure> {
    for input in inputs {
        // What is not a file can be read only once.
        let Some(file) = input.regular()? else { return Ok(true) };
        if format.verdicts(file, rules).any(|verdict| matches!(verdict, Ok(None))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reports the records of inputs of which none is stored.
fn refuse(
    format: &impl InputFormat,
    inputs: Vec<Input>,
    rules: &Rules,
    report: &mut RecordReport,
) -> (Summary, Option<Failure>) {
    let (mut sum, mut failure) = (Summary::default(), None);
    for input in inputs {
        let name = input.name();
        let cannot = |error: Failure| error.during(format!("cannot import {name}"));
        let read = input.open().map_err(|error| cannot(error.into())).and_then(|reader| {
            for verdict in format.verdicts(reader, rules) {
                if let Some(reject) = verdict.map_err(|error| cannot(error.into()))? {
                    sum.rejected += 1;
                    report.reject(&name, &reject)?;
                }
            }
            Ok(())
        });
        if let Err(error) = read {
            failure = Some(error);
            break;
        }
    }
    failure = failure.or(report.flush().err());
    (sum, failure)
}

/// To the millisecond.
pub(crate) fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}
