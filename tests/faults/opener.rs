//! Opens damaged stores in child processes, so that one that hangs or aborts is an outcome and not the end.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use profiledb::{Db, Result};

use super::contents::{COMMITS, State, builder, commit, read, states};
use super::image::{Fault, Left, Store};

/// How long a child may be silent. The second time is for a machine that was busy.
const SILENCE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// A way of opening a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    ReadOnly,
    Secondary,
    /// Read-only, and the checker of the library before the comparison.
    Check,
    /// Opened, read, written to, and opened again. Changes the files, so it comes last.
    ReadWrite,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::ReadOnly, Self::Secondary, Self::Check, Self::ReadWrite];

    fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Secondary => "secondary",
            Self::Check => "check",
            Self::ReadWrite => "read-write",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of opening a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It has everything that was acknowledged, and nothing else.
    Same,
    /// What is missing was the last, and not synced.
    Shorter,
    /// An error, or a report of the checker that it is not sound.
    Refused,
    /// It was opened and read without an error, took another commit, and could then not be opened or read.
    Late,
    /// It has an earlier state, and does not say so.
    Silent,
    /// It has a state that never was.
    Wrong,
    Panicked,
    Aborted,
    Hung,
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Same,
        Self::Shorter,
        Self::Refused,
        Self::Late,
        Self::Silent,
        Self::Wrong,
        Self::Panicked,
        Self::Aborted,
        Self::Hung,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Shorter => "shorter",
            Self::Refused => "refused",
            Self::Late => "late",
            Self::Silent => "silent",
            Self::Wrong => "wrong",
            Self::Panicked => "panicked",
            Self::Aborted => "aborted",
            Self::Hung => "hung",
        }
    }

    /// Whether it is what must hold.
    pub(crate) fn is_right(self) -> bool {
        matches!(self, Self::Same | Self::Shorter | Self::Refused)
    }
}

/// Compares what a store says with what was committed, of which a part must be there.
fn compare(states: &[State], synced: usize, commits: usize, found: &State) -> (Outcome, String) {
    let expected = &states[commits];
    if expected == found {
        return (Outcome::Same, String::new());
    }
    if let Some(earlier) = states.iter().rposition(|state| state == found) {
        let outcome = if (synced..commits).contains(&earlier) { Outcome::Shorter } else { Outcome::Silent };
        return (outcome, format!("{earlier} commits of {commits}"));
    }
    let differs = |name: &&String| expected.get(*name) != found.get(*name);
    let name = expected.keys().chain(found.keys()).filter(differs).min().expect("they differ");
    (Outcome::Wrong, format!("{name}: expected {:?}, found {:?}", expected.get(name), found.get(name)))
}

/// Opens an image and says what came of it.
fn open(way: Way, image: &Path, synced: usize, states: &[State]) -> Result<(Outcome, String)> {
    let store = image.join("store");
    let db: Db = match way {
        Way::ReadOnly | Way::Check => builder().open_read_only(&store)?,
        Way::Secondary => builder().open_secondary(&store, image.join("scratch"))?,
        Way::ReadWrite => builder().open(&store)?,
    };
    match way {
        Way::ReadOnly => {}
        Way::Secondary => db.catch_up()?,
        Way::Check => {
            let report = db.check()?;
            if !report.is_sound() {
                return Ok((Outcome::Refused, format!("unsound: {report:?}")));
            }
        }
        Way::ReadWrite => return go_on(db, &store, synced, states),
    }
    Ok(compare(states, synced, COMMITS, &read(&db)?))
}

/// Reads the store, commits once more if everything is there, and opens it again.
fn go_on(db: Db, store: &Path, synced: usize, states: &[State]) -> Result<(Outcome, String)> {
    let found = compare(states, synced, COMMITS, &read(&db)?);
    if found.0 != Outcome::Same {
        return Ok(found);
    }
    db.write(commit(COMMITS + 1))?;
    db.close()?;
    let again = builder().open_read_only(store).and_then(|db| read(&db));
    Ok(match again {
        Ok(again) => compare(states, COMMITS + 1, COMMITS + 1, &again),
        Err(error) => (Outcome::Late, error.to_string()),
    })
}

/// Runs in the child: answers each request with a line.
pub(crate) fn serve() {
    let states = states();
    println!();
    for request in std::io::stdin().lines() {
        let request = request.unwrap();
        let mut words = request.splitn(3, ' ');
        let [way, synced, image] = std::array::from_fn(|_| words.next().unwrap());
        let way = Way::ALL.into_iter().find(|at| at.name() == way).unwrap();
        let opened = catch_unwind(AssertUnwindSafe(|| open(way, Path::new(image), synced.parse().unwrap(), &states)));
        let (outcome, text) = match opened {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => (Outcome::Refused, format!("{:?}: {error}", error.kind())),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                (Outcome::Panicked, text.or(panic.downcast_ref().copied()).unwrap_or_default().to_owned())
            }
        };
        println!("answer {} {}", outcome.name(), text.replace('\n', " "));
    }
}

/// A child that serves.
struct Server {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Server {
    fn start() -> Self {
        let mut command = super::command("serve", Path::new(""), "");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (lines, answers) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let answers = output.lines().map_while(|line| line.ok());
            for answer in answers.filter_map(|line| line.strip_prefix("answer ").map(str::to_owned)) {
                if lines.send(answer).is_err() {
                    return;
                }
            }
        });
        Self { requests: child.stdin.take().unwrap(), child, answers }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().unwrap();
    }
}

/// Opens images in a child, and starts another one when that was lost.
pub(crate) struct Opener {
    server: Option<Server>,
    dir: tempfile::TempDir,
}

impl Opener {
    pub(crate) fn new() -> Self {
        Self { server: None, dir: tempfile::tempdir().unwrap() }
    }

    /// Where the next image is to be written.
    pub(crate) fn fresh_image(&self) -> PathBuf {
        let image = self.dir.path().join("image");
        if image.exists() {
            std::fs::remove_dir_all(&image).unwrap();
        }
        std::fs::create_dir(&image).unwrap();
        image
    }

    /// Opens the image that was written. One that was silent may have been written to, so it is made again.
    pub(crate) fn open(&mut self, way: Way, store: &Store, fault: Option<&Fault>) -> (Outcome, String) {
        let [first, second] = SILENCE;
        self.ask(way, store.left, first)
            .or_else(|| {
                store.write(fault, &self.fresh_image());
                self.ask(way, store.left, second)
            })
            .unwrap_or((Outcome::Hung, String::new()))
    }

    fn ask(&mut self, way: Way, left: Left, silence: Duration) -> Option<(Outcome, String)> {
        let image = self.dir.path().join("image");
        let server = self.server.get_or_insert_with(Server::start);
        // When it has died since the last answer, there is none to this.
        writeln!(server.requests, "{way} {} {}", left.synced(), image.display()).ok();
        match server.answers.recv_timeout(silence) {
            Ok(answer) => {
                let (word, text) = answer.split_once(' ').unwrap();
                let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.name() == word).unwrap();
                Some((outcome, text.to_owned()))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.server = None;
                None
            }
            Err(RecvTimeoutError::Disconnected) => {
                let ended = self.server.take().unwrap().child.wait().unwrap();
                Some((Outcome::Aborted, ended.to_string()))
            }
        }
    }
}
