//! A store in a temporary directory, and commands that run on it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value as Json;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_profiledb");
pub(crate) const HISTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/history/updates.ndjson.gz");
pub(crate) const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/history/events.ndjson.gz");

/// A store in a temporary directory, and the program that runs on it.
pub(crate) struct CliStore {
    pub(crate) dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// Failed with one line that names what is wrong.
    #[track_caller]
    pub(crate) fn failed(self, named: &[&str]) -> Self {
        assert_eq!(self.code, 1, "{self:?}");
        assert!(self.err.starts_with("profiledb: error: ") && self.err.lines().count() == 1, "{self:?}");
        named.iter().for_each(|name| assert!(self.err.contains(name), "{name} in {self:?}"));
        self
    }

    /// The figures of an import, without the times.
    #[track_caller]
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        let line = self.out.lines().last().unwrap_or_else(|| panic!("no figures: {self:?}"));
        let sum: Json = serde_json::from_str(line).unwrap();
        assert!(sum["seconds"].is_number() && sum["per_second"].is_number());
        let figure = |name: &str| sum[name].as_u64().unwrap();
        (figure("applied"), figure("rejected"), figure("notes"))
    }
}

impl CliStore {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn with_history() -> Self {
        let bench = Self::new();
        assert_eq!(bench.run(&["import", HISTORY]).figures(), (109_466, 0, 0));
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).display().to_string()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args).current_dir(self.dir.path()).env("PROFILEDB_DIR", self.path("store"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.command(args).stdin(Stdio::null()).output().unwrap().into()
    }

    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Ended {
        let (input, mut command) = (input.to_vec(), self.command(args));
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        // A command that refuses early leaves the rest unread.
        let _ = feeder.join().unwrap();
        output.into()
    }

    pub(crate) fn export(&self) -> String {
        self.run(&["export"]).ok()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
