//! `POST /api/csv`: a CSV file as a body, with the mapping of its columns as parameters, as `profiledb import-csv` has
//! it in flags. The file is not held: rows are committed while it is received.
//!
//! ```text
//! body --pump: deadlines--> channel --UploadReader--> CsvText: inflate --> Importer, or CsvRecords --> UploadReport
//! ```
//!
//! Only a body that has arrived to its end ends the last row. If it is cut, what was left of it is no row.

use std::io::{self, Cursor, ErrorKind as IoErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use serde::{Serialize, Serializer};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout, timeout_at};

use super::ingestion::Unanswered;
use super::params::Params;
use super::projects::Project;
use super::refusal::{AnswerShape, Refusal, json_response};
use super::serving::Serving;
use super::tally::reason_of;
use crate::ingest::{Csv, CsvRecords, Exported, Record, Reject};
use crate::{Change, Durability, Error, ErrorKind, Profile, ProfileKey};

/// Parts of a body that have arrived and wait to be parsed.
const PARTS_MAX: usize = 4;

/// Bytes of rows that wait for their commit. Small, so that uploads leave the queue of the store to other requests.
const IN_FLIGHT_BYTES: usize = 1 << 20;

/// The rows of a preview.
const PREVIEW_ROWS: usize = 10;

/// Rejects in an answer, and the bytes of their texts.
const REJECTS_MAX: usize = 1_000;
const REJECT_BYTES_MAX: usize = 1 << 20;

/// How much of a file is read to find out what it is, at most.
const FIRST_BYTES: usize = 4 << 10;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Parameters that may be given more than once.
const REPEATED: [&str; 3] = ["map", "skip", "types"];

/// How a file is read.
#[derive(Debug, Default)]
struct UploadOptions {
    csv: Csv,
    strict: bool,
    dry_run: bool,
    /// The rows that are in already.
    resume: u64,
}

impl UploadOptions {
    fn of(params: &Params) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let mut known = Vec::new();
        for param in params.texts() {
            let invalid = |name: &str, what: &str| Refusal::bad_request(format!("{what} parameter={name:?}"));
            let (name, text) = param.map_err(|name| invalid(name, "not valid utf-8"))?;
            if known.contains(&name) && !REPEATED.contains(&name) {
                return Err(invalid(name, "the parameter is given twice"));
            }
            known.push(name);
            match name {
                "strict" => options.strict = flag(name, text)?,
                "dry_run" => options.dry_run = flag(name, text)?,
                "resume" => {
                    let number = text.parse();
                    options.resume = number.map_err(|_| invalid(name, "the number of rows that are in already"))?;
                }
                "project_id" | "workspace_id" | "api_key" | "api_secret" | "_" => {}
                "header" | "delimiter" | "encoding" | "group" | "id" | "map" | "skip" | "types" | "unbounded" => {
                    let set = options.csv.option(name, text);
                    options.csv = set.map_err(|error| Refusal::of_store(&error))?;
                }
                _ => return Err(invalid(name, "the parameter is not known")),
            }
        }
        if options.dry_run && options.resume > 0 {
            return Err(Refusal::bad_request("a dry run begins with the first row parameter=\"resume\""));
        }
        Ok(options)
    }
}

fn flag(name: &str, text: &str) -> Result<bool, Refusal> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Refusal::bad_request(format!("a flag is true or false parameter={name:?} value={text:?}"))),
    }
}

/// What became of a file: the answer.
#[derive(Debug, Default, Serialize)]
struct UploadReport {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How far it was read: the rows up to the first that failed, which are stored or rejected.
    rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<u64>,
    /// Instead, of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid: Option<u64>,
    rejected: u64,
    notes: u64,
    /// Rows of which the disk failed to say whether they are stored.
    #[serde(skip_serializing_if = "is_zero")]
    unknown: u64,
    rejects: Vec<Reject>,
    /// Rejects beyond those.
    rejects_left_off: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<Vec<PreviewRow>>,
    #[serde(skip)]
    reject_bytes: usize,
    #[serde(skip)]
    failure: Option<Error>,
}

/// The signature that serde calls.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A row as it would be stored in an empty store.
#[derive(Debug)]
struct PreviewRow(ProfileKey, Profile);

impl Serialize for PreviewRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Exported::new(&self.0, &self.1).serialize(serializer)
    }
}

impl PreviewRow {
    /// None if the row creates nothing.
    fn of(record: Record) -> Option<Self> {
        match &record.change {
            Change::Update(update) => Profile::fold([update]).map(|profile| Self(record.key, profile)),
            Change::Delete => None,
        }
    }
}

impl UploadReport {
    fn reject(&mut self, reject: Reject) {
        self.rejected += 1;
        let bytes = reject.text_bytes();
        let has_room = self.rejects.len() < REJECTS_MAX && self.reject_bytes.saturating_add(bytes) <= REJECT_BYTES_MAX;
        if has_room && self.rejects_left_off == 0 {
            self.reject_bytes += bytes;
            self.rejects.push(reject);
        } else {
            self.rejects_left_off += 1;
        }
    }

    fn fail(&mut self, error: Error) {
        self.unknown += u64::from(error.is_outcome_unknown());
        self.failure.get_or_insert(error);
    }

    /// Reads a file to its end, and stores nothing.
    fn preview(mut self, project: &Project, options: &UploadOptions, text: CsvText) -> Self {
        let rules = project.db.rules().strict(options.strict);
        let (mut rows, mut valid) = (Vec::new(), 0);
        for outcome in CsvRecords::new(text, &options.csv, rules) {
            match outcome {
                Ok(Ok(record)) => {
                    valid += 1;
                    self.notes += record.notes.len() as u64;
                    if rows.len() < PREVIEW_ROWS {
                        rows.extend(PreviewRow::of(record));
                    }
                }
                Ok(Err(reject)) => self.reject(reject),
                Err(error) => self.fail(error),
            }
        }
        self.rows = valid + self.rejected;
        Self { valid: Some(valid), preview: Some(rows), ..self }
    }

    /// Stores the rows of a file.
    fn import(mut self, serving: &Serving, project: &Project, options: &UploadOptions, text: CsvText) -> Self {
        let importer = project.db.importer(project.db.rules().strict(options.strict)).start_at(options.resume);
        // One sync at the end is enough: nothing is answered before.
        let importer = importer.durability(Durability::Buffered).in_flight_bytes(IN_FLIGHT_BYTES);
        let mut applied = 0;
        self.rows = options.resume;
        for outcome in importer.csv(text, &options.csv) {
            match outcome {
                Ok(Ok(imported)) => {
                    applied += 1;
                    serving.metrics.noted(&imported.notes);
                    self.notes += imported.notes.len() as u64;
                }
                Ok(Err(reject)) => {
                    serving.metrics.rejected(reason_of(reject.kind));
                    self.reject(reject);
                }
                Err(error) => self.fail(error),
            }
            if self.failure.is_none() {
                self.rows += 1;
            }
        }
        serving.metrics.updates.fetch_add(applied, Ordering::Relaxed);
        if project.durability == Durability::Synced
            && let Err(error) = project.db.sync()
        {
            self.fail(error);
        }
        if let Some(error) = &self.failure {
            tracing::info!(rows = self.rows, applied, rejected = self.rejected, %error, "an upload ended early");
        }
        Self { applied: Some(applied), ..self }
    }
}

pub(super) async fn csv(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let outcome = match Upload::begin(&serving, &parts, body.size_hint().lower()).await {
        Ok(upload) => upload.run(&mut body).await,
        Err(refusal) => Err((refusal, UploadReport::default())),
    };
    let (refusal, mut report) = match outcome {
        Ok(report) => return json_response(StatusCode::OK, &UploadReport { status: "ok", ..report }),
        Err(failed) => failed,
    };
    // A client that is still sending may not read an answer before it is done.
    let is_whole = !refusal.is_cut && !parts.headers.contains_key(header::EXPECT) && drain(&serving, &mut body).await;
    let refusal = if is_whole || body.is_end_stream() { refusal } else { refusal.cut() };
    (report.status, report.error) = ("error", Some(refusal.message.clone()));
    let mut response = serving.refuse(refusal, AnswerShape::Word);
    *response.body_mut() = json_response(StatusCode::OK, &report).into_body();
    response
}

/// Reads the rest of a body, up to a limit. Whether it has ended.
async fn drain(serving: &Serving, body: &mut Body) -> bool {
    let bytes_max = serving.limits.drained_bytes_max();
    let read = async {
        let mut length = 0_usize;
        loop {
            match body.frame().await {
                None => return true,
                Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => return false,
            }
            if length > bytes_max {
                return false;
            }
        }
    };
    timeout(serving.limits.body_deadline, read).await.unwrap_or(false)
}

/// A request to store a file, which may begin.
struct Upload {
    serving: Arc<Serving>,
    project: Project,
    options: UploadOptions,
    headers: HeaderMap,
    turn: OwnedSemaphorePermit,
    deadline: Instant,
}

impl Upload {
    /// `bytes`: as many at least as the client is about to send.
    async fn begin(serving: &Arc<Serving>, parts: &Parts, bytes: u64) -> Result<Self, Refusal> {
        let deadline = Instant::now() + serving.limits.csv_deadline;
        let params = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let index = serving.projects.authorized(&parts.headers, &params, true)?;
        let Some(project) = serving.projects.get(index).cloned() else { return Err(Refusal::unauthorized()) };
        let options = UploadOptions::of(&params)?;
        let value = |name| parts.headers.get(name).map_or(&b""[..], |value| value.as_bytes().trim_ascii());
        let unsupported = |message| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message));
        if value(header::CONTENT_TYPE).to_ascii_lowercase().starts_with(b"multipart/") {
            return unsupported("the file itself is the body, not a part of a form");
        }
        if !matches!(&*value(header::CONTENT_ENCODING).to_ascii_lowercase(), b"" | b"identity" | b"gzip" | b"x-gzip") {
            return unsupported("a csv file is plain or gzip");
        }
        if bytes > serving.limits.csv_bytes_max as u64 {
            return Err(too_large(serving.limits.csv_bytes_max));
        }
        let turn = serving.turn_to_upload().await?;
        Ok(Self { serving: Arc::clone(serving), project, options, headers: parts.headers.clone(), turn, deadline })
    }

    /// Receives a body, and stores its rows meanwhile.
    async fn run(self, body: &mut Body) -> Result<UploadReport, (Refusal, UploadReport)> {
        let Self { serving, project, options, headers, turn, deadline } = self;
        let (to, from) = channel(PARTS_MAX);
        let bytes_max = serving.limits.csv_bytes_max;
        let is_gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value.as_bytes().ends_with(b"gzip"));
        let text = CsvText::new(UploadReader { from, part: Bytes::new(), is_over: false }, bytes_max, is_gzip);
        let work = Arc::clone(&serving);
        let work = tokio::task::spawn_blocking(move || {
            let report = UploadReport::default();
            let report = if options.dry_run {
                report.preview(&project, &options, text)
            } else {
                report.import(&work, &project, &options, text)
            };
            drop(turn);
            report
        });
        // If the client leaves, this future is dropped, and the work ends with the rows that have arrived.
        let unanswered = Unanswered::new(&serving);
        let pumped = pump(&serving, body, to, deadline).await;
        let done = timeout(serving.limits.work_deadline, work).await;
        unanswered.end();
        let error = |reason, message: &str| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason, message);
        let mut report = match done {
            Ok(Ok(report)) => report,
            Ok(Err(_)) => return Err((error("panic", "the request failed"), UploadReport::default())),
            Err(_) => {
                let message = "the commits take too long; the rows may or may not be stored";
                return Err((error("outcome_unknown", message), UploadReport::default()));
            }
        };
        match (pumped, report.failure.take()) {
            (Ok(()), None) => Ok(report),
            (Ok(()), Some(error)) => Err((refusal_of(&error), report)),
            // What the importer says follows from it.
            (Err(refusal), _) => Err((refusal, report)),
        }
    }
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::too_large(format!("a csv file has at most {bytes_max} bytes, also after decompression"))
}

/// What cannot be read is a mistake of the client, what cannot be stored is not.
fn refusal_of(error: &Error) -> Refusal {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        _ if error.kind() == ErrorKind::LimitExceeded => Refusal::too_large(error.to_string()),
        Some(IoErrorKind::FileTooLarge) => Refusal::too_large(error.message()),
        Some(IoErrorKind::InvalidData | IoErrorKind::InvalidInput | IoErrorKind::UnexpectedEof) => {
            Refusal::bad_request(error.message())
        }
        _ => Refusal::of_store(error),
    }
}

/// A part of a body; none after its end.
type BodyPart = Option<Bytes>;

/// Hands over a body as it arrives, until its end or until its reader has ended.
async fn pump(serving: &Serving, body: &mut Body, to: Sender<BodyPart>, deadline: Instant) -> Result<(), Refusal> {
    let limits = &serving.limits;
    let declared = body.size_hint().exact();
    let late = |reason, what: &str, limit: std::time::Duration| {
        serving.metrics.cut(reason);
        let message = format!("{what} {} s", limit.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, reason, message).cut()
    };
    let took_too_long = || late("csv_deadline", "the upload took longer than", limits.csv_deadline);
    let early = |what: &dyn std::fmt::Display| Refusal::bad_request(format!("the body cannot be read: {what}")).cut();
    let mut length = 0_usize;
    loop {
        let silent = Instant::now() + limits.body_deadline;
        let frame = tokio::select! {
            // It says itself why.
            () = to.closed() => return Ok(()),
            frame = timeout_at(silent.min(deadline), body.frame()) => frame,
        };
        let frame = match frame {
            Err(_) if silent < deadline => {
                return Err(late("body_deadline", "nothing of the body arrived for", limits.body_deadline));
            }
            Err(_) => return Err(took_too_long()),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(early(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > limits.csv_bytes_max {
            return Err(too_large(limits.csv_bytes_max));
        }
        match timeout_at(deadline, to.send(Some(data))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(took_too_long()),
        }
    }
    if declared.is_some_and(|declared| declared > length as u64) {
        return Err(early(&"it ends early"));
    }
    match timeout_at(deadline, to.send(None)).await {
        Ok(_) => Ok(()),
        Err(_) => Err(took_too_long()),
    }
}

/// A body as a reader, for another thread.
struct UploadReader {
    from: Receiver<BodyPart>,
    part: Bytes,
    is_over: bool,
}

impl Read for UploadReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() && !self.is_over {
            match self.from.blocking_recv() {
                Some(Some(part)) => self.part = part,
                Some(None) => self.is_over = true,
                None => return Err(io::Error::other("the upload was cut")),
            }
        }
        let length = self.part.len().min(into.len());
        (&*self.part.split_to(length)).read(into)
    }
}

/// The text of a file, inflated, up to a limit.
struct CsvText {
    /// None before the first read.
    opened: Option<Box<dyn Read + Send>>,
    reader: Option<UploadReader>,
    is_gzip: bool,
    bytes_max: usize,
    length: usize,
    /// Its first bytes, if it was inflated: what is compressed twice would be inflated behind the limit.
    first: Vec<u8>,
}

impl CsvText {
    fn new(reader: UploadReader, bytes_max: usize, is_gzip: bool) -> Self {
        Self { opened: None, reader: Some(reader), is_gzip, bytes_max, length: 0, first: Vec::new() }
    }

    fn open(&mut self) -> io::Result<&mut Box<dyn Read + Send>> {
        if let Some(mut reader) = self.reader.take() {
            // All that has arrived: what is no CSV is found by its first bytes.
            let (mut first, mut length) = (vec![0; FIRST_BYTES], 0);
            while length < GZIP_MAGIC.len() {
                match reader.read(first.get_mut(length..).unwrap_or_default())? {
                    0 => break,
                    read => length += read,
                }
            }
            first.truncate(length);
            // Files that are gzipped may be sent as they are.
            self.is_gzip |= first.starts_with(&GZIP_MAGIC);
            let whole = Cursor::new(first).chain(reader);
            self.opened = Some(if self.is_gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) });
        }
        self.opened.as_mut().ok_or_else(|| io::Error::other("the upload was cut"))
    }
}

impl Read for CsvText {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.open()?.read(into)?;
        self.length = self.length.saturating_add(read);
        if self.length > self.bytes_max {
            let message = format!("a csv file has at most {} bytes, also after decompression", self.bytes_max);
            return Err(io::Error::new(IoErrorKind::FileTooLarge, message));
        }
        if self.is_gzip && self.first.len() < GZIP_MAGIC.len() {
            let missing = GZIP_MAGIC.len() - self.first.len();
            self.first.extend(into.iter().take(read.min(missing)));
            if self.first == GZIP_MAGIC {
                return Err(io::Error::new(IoErrorKind::InvalidData, "the input is not CSV, but gzipped twice"));
            }
        }
        Ok(read)
    }
}
