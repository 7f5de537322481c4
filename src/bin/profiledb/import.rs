//! Updates or events from files into the store.
//!
//! ```text
//! reader thread: read, unpack, parse  --chunks of records-->  this thread: submit, in order  -->  the store commits
//!                                                             settle the oldest: count it, or say why not
//! ```
//!
//! Every update is a submission of its own, so that one over a limit is refused alone; the store puts many into one
//! commit anyway. Events are refused before they come that far, so a chunk of them is one. Both queues are bounded, so
//! memory is.

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
use crate::args::Feed;
use crate::bar;
use crate::clock;
use crate::failure::Failure;
use crate::input::Input;
use crate::item::Item;
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

/// Takes in files of items.
pub(crate) fn run<T: Item>(dir: &Path, feed: &Feed, rules: &Rules) -> Result<ExitCode, Failure> {
    let Feed { files, reading, rejects, sync } = feed;
    let inputs: Vec<Input> = files.iter().map(|path| Input::named(path)).collect::<Result<_, _>>()?;
    let durability = if *sync { Durability::Synced } else { Durability::Buffered };
    let db = open::or_create(Db::builder().limits(reading.limits()).clock(clock::now), dir)?;
    let bar = bar::of(inputs.iter().map(Input::bytes).sum(), T::MANY);
    let mut refused = match rejects {
        None => Refused::stderr(&bar),
        Some(path) => Refused::file(path)?,
    };
    let (summary, failure) = apply::<T>(&db, inputs, rules, durability, &mut refused, &bar);
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
pub(crate) fn apply<T: Item>(
    db: &Db,
    inputs: Vec<Input>,
    rules: &Rules,
    durability: Durability,
    refused: &mut Refused,
    bar: &ProgressBar,
) -> (Summary, Option<Failure>) {
    let started = Instant::now();
    let (flight, sum) = (VecDeque::new(), Summary::default());
    let mut writer = Writer { db, durability, refused, bar, started, flight, in_flight: 0, sum };
    let mut failure = writer.pump::<T>(inputs, rules.clone()).err();
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

type Chunk<T> = Vec<(Place, Outcome<T>)>;

/// Reads all inputs and sends what they hold. Ends early when nobody listens any more.
fn read<T: Item>(inputs: Vec<Input>, rules: &Rules, bar: &ProgressBar, to: &SyncSender<Result<Chunk<T>, Failure>>) {
    for input in inputs {
        let file: Arc<str> = input.name().into();
        let failed = |failure: Failure| to.send(Err(failure.during(format!("cannot read {file}"))));
        let reader = match input.open() {
            Ok(reader) => bar.wrap_read(reader),
            Err(error) => return drop(failed(error.into())),
        };
        let mut records = Records::<_, T>::of(reader, rules.clone());
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

/// A record that was submitted.
struct Sent {
    place: Place,
    id: String,
}

/// Records on their way, or what came of one.
enum Flight {
    Submitted { sent: Vec<Sent>, commit: Commit },
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
    /// Records among those.
    in_flight: usize,
    sum: Summary,
}

impl Writer<'_> {
    /// Submits everything that the inputs hold, until something fails.
    fn pump<T: Item>(&mut self, inputs: Vec<Input>, rules: Rules) -> Result<(), Failure> {
        let (to, from) = sync_channel(CHUNKS_AHEAD);
        let bar = self.bar.clone();
        // Not scoped: after a failure here nobody waits for a reader that may sit on a silent pipe.
        let reader = std::thread::Builder::new()
            .name("profiledb-read".into())
            .spawn(move || read::<T>(inputs, &rules, &bar, &to))?;
        self.take_all(from)?;
        reader.join().map_err(|_| Failure::new("the reader panicked"))
    }

    fn take_all<T: Item>(&mut self, from: Receiver<Result<Chunk<T>, Failure>>) -> Result<(), Failure> {
        for chunk in from {
            self.submit_all(chunk?)?;
            while self.in_flight > IN_FLIGHT || self.flight.front().is_some_and(Flight::is_settled) {
                self.settle()?;
            }
            let applied = self.sum.applied;
            let rate = applied as f64 / self.started.elapsed().as_secs_f64();
            self.bar.set_message(format!("{} {}, {}/s", HumanCount(applied), T::MANY, HumanCount(rate as u64)));
        }
        Ok(())
    }

    fn submit_all<T: Item>(&mut self, chunk: Chunk<T>) -> Result<(), Failure> {
        let (mut sent, mut batch) = (Vec::new(), Batch::new());
        for (place, outcome) in chunk {
            match outcome {
                Ok(item) => {
                    self.sum.notes += item.notes() as u64;
                    sent.push(Sent { place, id: item.id().to_owned() });
                    item.enter(&mut batch);
                }
                Err(reject) => self.push(Flight::Refused { place, reject }),
            }
            if sent.len() == T::TOGETHER {
                self.submit(std::mem::take(&mut sent), std::mem::take(&mut batch))?;
            }
        }
        self.submit(sent, batch)
    }

    fn submit(&mut self, sent: Vec<Sent>, batch: Batch) -> Result<(), Failure> {
        if sent.is_empty() {
            return Ok(());
        }
        match self.db.submit_with(batch, self.durability) {
            Ok(commit) => self.push(Flight::Submitted { sent, commit }),
            Err(error) => {
                for sent in sent {
                    let (place, reject) = sent.refuse(&error)?;
                    self.push(Flight::Refused { place, reject });
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, flight: Flight) {
        self.in_flight += flight.records();
        self.flight.push_back(flight);
    }

    /// Waits for the oldest records on their way.
    fn settle(&mut self) -> Result<(), Failure> {
        let Some(flight) = self.flight.pop_front() else { return Ok(()) };
        self.in_flight -= flight.records();
        match flight {
            Flight::Refused { place, reject } => self.reject(&place, &reject),
            Flight::Submitted { sent, commit } => match commit.wait() {
                Ok(()) => {
                    self.sum.applied += sent.len() as u64;
                    Ok(())
                }
                Err(error) => sent.into_iter().try_for_each(|sent| {
                    let (place, reject) = sent.refuse(&error)?;
                    self.reject(&place, &reject)
                }),
            },
        }
    }

    fn reject(&mut self, place: &Place, reject: &Reject) -> Result<(), Failure> {
        self.sum.rejected += 1;
        self.refused.write(&place.file, reject)
    }
}

impl Flight {
    fn records(&self) -> usize {
        match self {
            Self::Submitted { sent, .. } => sent.len(),
            Self::Refused { .. } => 1,
        }
    }

    fn is_settled(&self) -> bool {
        match self {
            Self::Submitted { commit, .. } => commit.outcome().is_some(),
            Self::Refused { .. } => true,
        }
    }
}

impl Sent {
    /// What is wrong with this record, if it is the record.
    fn refuse(self, error: &Error) -> Result<(Place, Reject), Failure> {
        let Self { place, id } = self;
        if !error.is_invalid() && !error.is_limit_exceeded() {
            let at = format!("cannot apply {} line={} id={id:?}", place.file, place.line);
            return Err(Failure::from(error.clone()).during(at));
        }
        let mut reject = Reject::from(error.clone());
        reject.line = Some(place.line);
        reject.index = place.index;
        reject.id = Some(id);
        Ok((place, reject))
    }
}
