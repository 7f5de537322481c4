//! Updates from files into the store.
//!
//! ```text
//! reader thread: read, unpack, parse  --chunks of records-->  this thread: submit, in order  -->  the store commits
//!                                                             settle the oldest: count it, or say why not
//! ```
//!
//! Every record is a submission of its own, so that one over a limit is refused alone; the store puts many into one
//! commit anyway. Both queues are bounded, so memory is.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use indicatif::{HumanCount, ProgressBar};
use profiledb::ingest::{Outcome, Records, Reject, Rules};
use profiledb::{Batch, Commit, Db, Durability, Error};
use serde::Serialize;

use crate::SOME_WRONG;
use crate::args::Import;
use crate::bar;
use crate::failure::Failure;
use crate::input::Input;
use crate::open;
use crate::print;

/// Records that change threads together.
const CHUNK: usize = 64;

/// Chunks that the reader may be ahead.
const CHUNKS_AHEAD: usize = 16;

/// Records that may be submitted and not settled.
const IN_FLIGHT: usize = 32_768;

/// The figures of an import.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) applied: u64,
    pub(crate) rejected: u64,
    pub(crate) notes: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: u64,
}

/// Imports files.
pub(crate) fn run(dir: &Path, import: &Import) -> Result<ExitCode, Failure> {
    let Import { files, reading, rejects, sync } = import;
    let inputs: Vec<Input> = files.iter().map(|path| Input::named(path)).collect::<Result<_, _>>()?;
    let durability = if *sync { Durability::Synced } else { Durability::Buffered };
    let db = open::or_create(Db::builder().limits(reading.limits()), dir)?;
    let bar = bar::of(inputs.iter().map(Input::bytes).sum());
    let mut refused = match rejects {
        None => Refused::stderr(&bar),
        Some(path) => Refused::file(path)?,
    };
    let (summary, failure) = apply(&db, inputs, &reading.rules(), durability, &mut refused, &bar);
    bar.finish_and_clear();
    conclude(&summary, failure)
}

/// Prints the figures, whatever happened, and decides on the exit status.
pub(crate) fn conclude(summary: &Summary, failure: Option<Failure>) -> Result<ExitCode, Failure> {
    let printed = print::line(summary);
    match failure {
        Some(failure) => Err(failure),
        None => printed.map(|()| if summary.rejected > 0 { ExitCode::from(SOME_WRONG) } else { ExitCode::SUCCESS }),
    }
}

/// Where refused records go.
pub(crate) struct Refused {
    out: Box<dyn Write>,
    /// To be out of the way while something is written to its terminal.
    bar: Option<ProgressBar>,
}

impl Refused {
    pub(crate) fn stderr(bar: &ProgressBar) -> Self {
        Self { out: Box::new(io::stderr()), bar: Some(bar.clone()) }
    }

    fn file(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| Failure::from(error).during(path.display()))?;
        Ok(Self { out: Box::new(BufWriter::new(file)), bar: None })
    }

    fn write(&mut self, file: &str, reject: &Reject) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&Refusal { file, reject })?;
        line.push(b'\n');
        let written = match &self.bar {
            Some(bar) => bar.suspend(|| self.out.write_all(&line)),
            None => self.out.write_all(&line),
        };
        written.map_err(|error| Failure::from(error).during("cannot report a refused record"))
    }
}

#[derive(Serialize)]
struct Refusal<'r> {
    file: &'r str,
    #[serde(flatten)]
    reject: &'r Reject,
}

/// Applies everything in the inputs. The figures say what was applied also when something failed.
pub(crate) fn apply(
    db: &Db,
    inputs: Vec<Input>,
    rules: &Rules,
    durability: Durability,
    refused: &mut Refused,
    bar: &ProgressBar,
) -> (Summary, Option<Failure>) {
    let started = Instant::now();
    let mut writer = Writer { db, durability, refused, bar, started, flight: VecDeque::new(), sum: Summary::default() };
    let mut failure = writer.pump(inputs, rules.clone()).err();
    while !writer.flight.is_empty() {
        // The first failure is the one to report; what follows from it is still counted.
        failure = failure.or(writer.settle().err());
    }
    let synced = if durability == Durability::Buffered { db.sync().map_err(Failure::from) } else { Ok(()) };
    let reported = writer.refused.out.flush().map_err(Failure::from);
    failure = failure.or(synced.err()).or(reported.err());
    let mut sum = writer.sum;
    let seconds = started.elapsed().as_secs_f64();
    sum.seconds = rounded(seconds);
    sum.per_second = (sum.applied as f64 / seconds.max(1e-6)) as u64;
    (sum, failure)
}

/// To the millisecond.
pub(crate) fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Where a record stood.
struct Place {
    file: Arc<str>,
    line: u64,
    index: u64,
}

type Chunk = Vec<(Place, Outcome)>;

/// Reads all inputs and sends what they hold. Ends early when nobody listens any more.
fn read(inputs: Vec<Input>, rules: &Rules, bar: &ProgressBar, to: &SyncSender<Result<Chunk, Failure>>) {
    for input in inputs {
        let file: Arc<str> = input.name().into();
        let failed = |failure: Failure| to.send(Err(failure.during(format!("cannot read {file}"))));
        let reader = match input.open() {
            Ok(reader) => bar.wrap_read(reader),
            Err(error) => return drop(failed(error.into())),
        };
        let mut records = Records::new(reader, rules.clone());
        let mut chunk = Chunk::with_capacity(CHUNK);
        let mut ended = None;
        for index in 0.. {
            match records.next() {
                Some(Ok(outcome)) => {
                    chunk.push((Place { file: Arc::clone(&file), line: records.line(), index }, outcome));
                }
                Some(Err(error)) => ended = Some(Err(error)),
                None => ended = Some(Ok(())),
            }
            if (chunk.len() == CHUNK || ended.is_some()) && to.send(Ok(std::mem::take(&mut chunk))).is_err() {
                return;
            }
            if ended.is_some() {
                break;
            }
        }
        if let Some(Err(error)) = ended {
            return drop(failed(error.into()));
        }
    }
}

/// A record on its way, or what came of it.
enum Flight {
    Submitted { place: Place, id: String, commit: Commit },
    Refused { place: Place, reject: Reject },
}

/// What turns records into commits.
struct Writer<'w> {
    db: &'w Db,
    durability: Durability,
    refused: &'w mut Refused,
    bar: &'w ProgressBar,
    started: Instant,
    flight: VecDeque<Flight>,
    sum: Summary,
}

impl Writer<'_> {
    /// Submits everything that the inputs hold, until something fails.
    fn pump(&mut self, inputs: Vec<Input>, rules: Rules) -> Result<(), Failure> {
        let (to, from) = sync_channel(CHUNKS_AHEAD);
        let bar = self.bar.clone();
        // Not scoped: after a failure here nobody waits for a reader that may sit on a silent pipe.
        let reader =
            std::thread::Builder::new().name("profiledb-read".into()).spawn(move || read(inputs, &rules, &bar, &to))?;
        self.take_all(from)?;
        reader.join().map_err(|_| Failure::new("the reader panicked"))
    }

    fn take_all(&mut self, from: Receiver<Result<Chunk, Failure>>) -> Result<(), Failure> {
        for chunk in from {
            for (place, outcome) in chunk? {
                self.submit(place, outcome)?;
            }
            while self.flight.len() > IN_FLIGHT || self.flight.front().is_some_and(Flight::is_settled) {
                self.settle()?;
            }
            let applied = self.sum.applied;
            let rate = applied as f64 / self.started.elapsed().as_secs_f64();
            self.bar.set_message(format!("{} updates, {}/s", HumanCount(applied), HumanCount(rate as u64)));
        }
        Ok(())
    }

    fn submit(&mut self, place: Place, outcome: Outcome) -> Result<(), Failure> {
        let record = match outcome {
            Ok(record) => record,
            Err(reject) => {
                self.flight.push_back(Flight::Refused { place, reject });
                return Ok(());
            }
        };
        self.sum.notes += record.notes.len() as u64;
        let id = record.key.id().to_owned();
        match self.db.submit_with(Batch::from_iter([(record.key, record.change)]), self.durability) {
            Ok(commit) => self.flight.push_back(Flight::Submitted { place, id, commit }),
            Err(error) => {
                let reject = place.refuse(id, error)?;
                self.flight.push_back(Flight::Refused { place, reject });
            }
        }
        Ok(())
    }

    /// Waits for the oldest record on its way.
    fn settle(&mut self) -> Result<(), Failure> {
        let (place, reject) = match self.flight.pop_front() {
            None => return Ok(()),
            Some(Flight::Refused { place, reject }) => (place, reject),
            Some(Flight::Submitted { place, id, commit }) => match commit.wait() {
                Ok(()) => {
                    self.sum.applied += 1;
                    return Ok(());
                }
                Err(error) => {
                    let reject = place.refuse(id, error)?;
                    (place, reject)
                }
            },
        };
        self.sum.rejected += 1;
        self.refused.write(&place.file, &reject)
    }
}

impl Flight {
    fn is_settled(&self) -> bool {
        match self {
            Self::Submitted { commit, .. } => commit.outcome().is_some(),
            Self::Refused { .. } => true,
        }
    }
}

impl Place {
    /// What is wrong with the record that stood here, if it is the record.
    fn refuse(&self, id: String, error: Error) -> Result<Reject, Failure> {
        if !error.is_invalid() && !error.is_limit_exceeded() {
            let at = format!("cannot apply {} line={} id={id:?}", self.file, self.line);
            return Err(Failure::from(error).during(at));
        }
        let mut reject = Reject::from(error);
        reject.line = Some(self.line);
        reject.index = self.index;
        reject.id = Some(id);
        Ok(reject)
    }
}
