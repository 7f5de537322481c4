//! Bulk import: a pipeline of parsing, admission and group commit, with flow control by bytes in flight.
//!
//! ```text
//! reader thread: read, unpack, parse  --chunks-->  caller: admit, submit  -->  committer of the store
//!                                                  caller: wait for the oldest commit, return its outcomes
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::iter::FusedIterator;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::vec::IntoIter;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::{
    Csv, CsvRecords, EventRecord, Note, Outcome, Record, RecordParts, RecordReader, RecordWrite, Records, Reject,
    Rules, WireRecord,
};
use crate::model::{Kind, Timestamp};
use crate::store::{Commit, Durability, Request};

/// The maximum number of records that change threads together, and of events that share a commit.
const CHUNK_RECORDS: usize = 64;

/// A chunk is full when the text of its records has this size, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// The maximum number of chunks that were parsed and not yet submitted.
const CHUNKS_MAX: usize = 16;

/// What a record in flight occupies apart from its texts, roughly, in bytes.
const RECORD_BYTES: usize = 256;

const IN_FLIGHT_BYTES_MAX: usize = 8 << 20;

/// Imports records into a store, from [`Db::importer`]: parses them, admits each on its own, and keeps many commits in
/// flight.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Db, Durability};
///
/// let db = Db::open(dir.path().join("store"))?;
/// let file = std::io::Cursor::new(
///     "{\"$distinct_id\":\"alice\",\"$add\":{\"logins\":1}}\n\
///      {\"$distinct_id\":\"bob\",\"$add\":[1]}\n\
///      {\"$distinct_id\":\"carol\",\"$add\":{\"logins\":\"a few\"}}\n",
/// );
/// let mut lines = Vec::new();
/// for outcome in db.importer(db.rules()).durability(Durability::Buffered).updates(file) {
///     lines.push(match outcome? {
///         Ok(stored) => format!("{} stored, {} notes", stored.id, stored.notes.len()),
///         Err(reject) => reject.to_string(),
///     });
/// }
/// db.sync()?;
/// assert_eq!(lines[0], "alice stored, 0 notes");
/// assert_eq!(lines[1], r#"invalid: the operand is an object type=list line=2 id="bob" field="$add""#);
/// assert_eq!(lines[2], "carol stored, 1 notes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Importer {
    db: Db,
    rules: Rules,
    durability: Durability,
    in_flight_bytes_max: usize,
    start: u64,
}

impl Importer {
    pub(super) fn new(db: Db, rules: Rules) -> Self {
        let durability = db.store.shared.options.durability;
        Self { db, rules, durability, in_flight_bytes_max: IN_FLIGHT_BYTES_MAX, start: 0 }
    }

    /// What each commit survives. Default: that of the store. With [`Durability::Buffered`], [`Db::sync`] at the end
    /// makes all of the import survive power loss.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The maximum size of the records whose outcomes were not returned yet, in bytes. Default: 8 MB. One record is
    /// in flight at least. Input that was parsed ahead and the queue of the store, whose sizes are bounded as well,
    /// are not included.
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes_max = bytes;
        self
    }

    /// Skips this many records of a reader, to continue an import that was interrupted. An input that has fewer is an
    /// error. Iterators of [`records`](Self::records) are advanced by their owner, so it does not apply to them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::Db;
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let line = "{\"$distinct_id\":\"alice\",\"$add\":{\"logins\":1}}\n";
    /// let stored = db.importer(db.rules()).updates(std::io::Cursor::new(line)).count() as u64;
    /// // The same file, after it has grown.
    /// for outcome in db.importer(db.rules()).start_at(stored).updates(std::io::Cursor::new(line.repeat(2))) {
    ///     assert_eq!(outcome??.index, 1);
    /// }
    /// assert_eq!(db.users().get_property("alice", "logins")?, Some(2.into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_at(mut self, records: u64) -> Self {
        self.start = records;
        self
    }

    /// Imports updates. As [`read`](Self::read).
    pub fn updates(&self, reader: impl Read + Send + 'static) -> Import<'static> {
        self.read::<Record, _>(reader)
    }

    /// Imports events. As [`read`](Self::read).
    pub fn events(&self, reader: impl Read + Send + 'static) -> Import<'static> {
        self.read::<EventRecord, _>(reader)
    }

    /// Imports what a reader returns, in any layout that [`Records`] reads. It is read on a thread of its own, so
    /// records of live input are committed as they arrive. When the import is dropped, that thread ends after the
    /// call of [`Read::read`] that it is in.
    pub fn read<T: WireRecord + 'static, R: Read + Send + 'static>(&self, reader: R) -> Import<'static> {
        self.read_as(reader, Records::<_, T>::of)
    }

    /// Imports the rows of a CSV file, as [`CsvRecords`] reads them. Otherwise as [`read`](Self::read).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, ingest::Csv};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let csv = Csv::new().option("id", "1")?.option("map", "2=plan")?.option("map", "3=seats")?;
    /// let file = std::io::Cursor::new("alice,pro,5\n,free,1\n");
    /// let outcomes: Vec<_> = db.importer(db.rules()).csv(file, &csv).collect::<Result<_, _>>()?;
    /// assert_eq!(outcomes[1].as_ref().expect_err("no id").record.as_deref(), Some(&b",free,1"[..]));
    /// assert_eq!(db.users().get_property("alice", "seats")?, Some(5.into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn csv<R: Read + Send + 'static>(&self, reader: R, csv: &Csv) -> Import<'static> {
        let csv = csv.clone();
        self.read_as(reader, move |reader, rules| CsvRecords::new(reader, &csv, rules))
    }

    fn read_as<R: Read + Send + 'static, S: RecordReader>(
        &self,
        reader: R,
        open: impl FnOnce(FlushingReader<R>, Rules) -> S + Send + 'static,
    ) -> Import<'static> {
        let (to, from) = sync_channel(CHUNKS_MAX);
        let (rules, start) = (self.rules.clone(), self.start);
        let read = move || {
            let outbox = Rc::new(RefCell::new(Outbox { batch: RecordBatch::default(), bytes: 0, to }));
            let reader = FlushingReader { reader, outbox: Rc::clone(&outbox) };
            read(open(reader, rules), start, &outbox);
        };
        let source = match Builder::new().name("profiledb-read".into()).spawn(read) {
            Ok(thread) => RecordSource::Thread { from, thread: Some(thread) },
            Err(error) => RecordSource::Iter(Box::new(std::iter::once(Err(error.into())))),
        };
        Import { index: self.start, ..self.import(source) }
    }

    /// Imports records from an iterator: a request body that was parsed, or records that were made from another
    /// format with [`Record::new`]. The iterator is advanced on the calling thread, for as long as the oldest commit is
    /// in flight.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::{Db, ingest::parse_events};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let body = br#"[{"event":"visit","properties":{"time":1700000000,"distinct_id":"alice"}},{"event":""}]"#;
    /// let records = parse_events(body, &db.rules())?;
    /// let outcomes: Vec<_> =
    ///     db.importer(db.rules()).records(records.into_iter().map(Ok)).collect::<Result<_, _>>()?;
    /// assert_eq!(outcomes[0].as_ref().expect("an event").id, "alice");
    /// assert_eq!(outcomes[1].as_ref().expect_err("no name").reason, "event, missing or empty");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn records<'s, T: WireRecord + 's, I>(&self, records: I) -> Import<'s>
    where
        I: IntoIterator<Item = Result<Outcome<T>>, IntoIter: 's>,
    {
        self.import(RecordSource::Iter(Box::new(records.into_iter().map(parts))))
    }

    fn import<'s>(&self, source: RecordSource<'s>) -> Import<'s> {
        let importer = self.clone();
        Import {
            importer,
            source: Some(source),
            index: 0,
            flight: VecDeque::new(),
            bytes: 0,
            ready: Vec::new().into_iter(),
        }
    }
}

/// A record that is stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Imported {
    /// The line on which the record starts, counted from 1, if it was read from a text.
    pub line: Option<u64>,
    /// The position of the record in the input, counted from 0. Rejected records count.
    pub index: u64,
    /// The kind of the profile; none for an event.
    pub kind: Option<Kind>,
    /// The id of the profile, or the `distinct_id` of the event.
    pub id: String,
    /// What was changed in the record. Empty under strict rules.
    pub notes: Vec<Note>,
}

impl Imported {
    /// The notes as lines of a file of notes, each with the place of the record.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::Db;
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let input = br#"{"$group_key":"company","$group_id":"acme","$union":{"tags":[]}}"#;
    /// let imported = db.importer(db.rules()).updates(&input[..]).next().expect("one record")??;
    /// let line = imported.note_lines().next().expect("one note");
    /// let expected = concat!(
    ///     r#"{"line":1,"index":0,"table":"group:company","id":"acme","field":"$union.tags","#,
    ///     r#""reason":"no effect: $union takes at least one element","before":"[]"}"#,
    /// );
    /// assert_eq!(serde_json::to_string(&line)?, expected);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn note_lines(&self) -> impl Iterator<Item = NoteLine<'_>> {
        self.notes.iter().map(|note| NoteLine { imported: self, note })
    }
}

/// A [note](Note) with the line, the table and the id of its record: see [`Imported::note_lines`]. It serializes as a
/// flat object, without a line if there is none.
#[derive(Clone, Copy, Debug)]
pub struct NoteLine<'i> {
    imported: &'i Imported,
    note: &'i Note,
}

impl Serialize for NoteLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Imported { line, index, kind, id, .. } = self.imported;
        let Note { field, reason, before, .. } = self.note;
        let table = kind.as_ref().map_or_else(|| "events".to_owned(), Kind::to_string);
        let mut map = serializer.serialize_map(None)?;
        line.iter().try_for_each(|line| map.serialize_entry("line", line))?;
        map.serialize_entry("index", index)?;
        map.serialize_entry("table", &table)?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("field", field)?;
        map.serialize_entry("reason", reason)?;
        before.iter().try_for_each(|value| map.serialize_entry("before", value))?;
        map.end()
    }
}

/// A running import: an iterator of the outcomes of all records, one for each, in the order of the input.
///
/// `Ok(Ok(_))` is a record that is stored, as durable as requested. `Ok(Err(_))` is a record that was rejected, by
/// the parser or by the store, and has no effect. `Err(_)` is a failure of the reader, or of the store with a record
/// that it names. After an error, no more input is read; the outcomes of the records that were in flight follow, so
/// that it is known of each record that was read whether it is stored, except for those with
/// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown): reopen the store to see which of these are.
///
/// What was submitted is committed even if the import is dropped.
#[must_use = "an import makes progress only when its outcomes are read"]
pub struct Import<'s> {
    importer: Importer,
    /// None after its end.
    source: Option<RecordSource<'s>>,
    /// Of the next record.
    index: u64,
    flight: VecDeque<InFlight>,
    /// The size of `flight`.
    bytes: usize,
    ready: IntoIter<Result<Outcome<Imported>>>,
}

type Item = Result<Outcome<RecordParts>>;

/// Consecutive records of the input, and their texts, for those that the store rejects.
#[derive(Default)]
struct RecordBatch {
    records: Vec<Item>,
    texts: Texts,
}

/// The texts of records, in one buffer. Those of records that were not read from a text are empty.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end);
        let text = self.ends.get(index).and_then(|end| self.bytes.get(start..*end));
        text.unwrap_or_default()
    }
}

/// The records of a chunk, and their commits.
#[derive(Default)]
struct InFlight {
    records: Vec<Result<Outcome<Imported>>>,
    texts: Texts,
    /// For consecutive records that share a commit: the position after the last of them, and the commit.
    commits: Vec<(usize, Result<Commit>)>,
    bytes: usize,
}

impl Iterator for Import<'_> {
    type Item = Result<Outcome<Imported>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.len() == 0 {
            let Some(oldest) = self.flight.front() else {
                let source = self.source.as_mut()?;
                let Some(chunk) = source.next(true) else { continue };
                self.take(chunk);
                continue;
            };
            let is_done = oldest.is_done();
            let is_full = self.bytes >= self.importer.in_flight_bytes_max;
            match self.source.as_mut().filter(|_| !is_done && !is_full).and_then(|source| source.next(false)) {
                Some(chunk) => self.take(chunk),
                None => self.settle(),
            }
        }
        self.ready.next()
    }
}

impl FusedIterator for Import<'_> {}

impl Import<'_> {
    /// Stops reading. The outcomes of the records in flight still follow.
    pub fn stop(&mut self) {
        self.source = None;
    }

    /// Admits and submits the records of a chunk.
    fn take(&mut self, chunk: Chunk) {
        let Chunk::Records(RecordBatch { records, texts }) = chunk else {
            self.stop();
            return;
        };
        let shared = &self.importer.db.store.shared;
        let now = (shared.options.clock)();
        let (mut request, mut group) =
            (Request::default(), InFlight { bytes: texts.bytes.len(), texts, ..InFlight::default() });
        let (mut requests, mut ends) = (Vec::new(), Vec::new());
        for record in records {
            let text = group.texts.get(group.records.len());
            let outcome =
                record.map(|record| self.admit(record, now, &mut request).map_err(|reject| reject.with_text(text)));
            self.index += 1;
            let failed = outcome.is_err();
            group.bytes += outcome.as_ref().map_or(0, size_of_outcome);
            group.records.push(outcome);
            // An update may exceed what its profile can hold, which is known only when it is committed, and must not
            // affect others. An event cannot fail alone any more.
            if !request.profiles.is_empty() {
                requests.push(std::mem::take(&mut request));
                ends.push(group.records.len());
            }
            if failed {
                self.stop();
                break;
            }
        }
        if !request.is_empty() {
            requests.push(request);
            ends.push(group.records.len());
        }
        let commits = self.importer.db.store.submit_all(requests, self.importer.durability);
        if commits.iter().any(Result::is_err) {
            self.stop();
        }
        group.commits = ends.into_iter().zip(commits).collect();
        self.bytes += group.bytes;
        self.flight.push_back(group);
    }

    fn admit(&self, record: Outcome<RecordParts>, now: Timestamp, request: &mut Request) -> Outcome<Imported> {
        let index = self.index;
        let RecordParts { line, id, insert_id, mut notes, write } =
            record.map_err(|reject| Reject { index, ..reject })?;
        let kind = match &write {
            RecordWrite::Change(key, _) => Some(key.kind().clone()),
            RecordWrite::Event(_) => None,
        };
        let Db { store, appender, .. } = &self.importer.db;
        // The limits of the store may be narrower than those of the rules.
        let excess = &mut self.importer.rules.excess(&mut notes, None);
        let shared = &store.shared;
        let admitted = match write {
            RecordWrite::Change(key, change) => shared.admit(key, change, now, excess).map(|write| request.add(write)),
            RecordWrite::Event(event) => {
                let (limits, groups) = (&shared.options.limits, shared.group_keys());
                let encoded = appender.append(event, limits, excess, now, &groups, &mut request.first_events);
                encoded.map(|event| request.events.push(event))
            }
        };
        let imported = Imported { line, index, kind, id, notes };
        match admitted {
            Ok(()) => Ok(imported),
            Err(error) => {
                let (id, insert_id) = (Some(imported.id.into()), insert_id.map(String::into_boxed_str));
                Err(Reject { line, index, id, insert_id, ..error.into() })
            }
        }
    }

    /// Waits for the oldest chunk.
    fn settle(&mut self) {
        let Some(mut group) = self.flight.pop_front() else { return };
        self.bytes -= group.bytes;
        // The last commit is done when all are, so this blocks once.
        while let Some((end, commit)) = group.commits.pop() {
            let Err(error) = commit.and_then(Commit::wait) else { continue };
            if !is_about_record(&error) {
                self.stop();
            }
            let start = group.commits.last().map_or(0, |(end, _)| *end);
            let failed = group.records.iter_mut().enumerate().take(end).skip(start);
            failed.for_each(|(index, outcome)| fail(outcome, &error, group.texts.get(index)));
        }
        self.ready = group.records.into_iter();
    }
}

impl InFlight {
    /// Whether its outcomes are known. Requests are committed in their order.
    fn is_done(&self) -> bool {
        let is_known = |commit: &Result<Commit>| commit.as_ref().map_or(true, |commit| commit.outcome().is_some());
        self.commits.last().is_none_or(|(_, commit)| is_known(commit))
    }
}

/// The commit of a record failed.
fn fail(outcome: &mut Result<Outcome<Imported>>, error: &Error, text: &[u8]) {
    let Ok(Ok(Imported { line, index, id, .. })) = outcome else { return };
    let (line, index, id) = (*line, *index, std::mem::take(id));
    *outcome = if is_about_record(error) {
        let reject = Reject { line, index, id: Some(id.into()), ..error.clone().into() };
        Ok(Err(reject.with_text(text)))
    } else {
        let at = line.map_or_else(|| format!("index={index}"), |line| format!("line={line}"));
        let what = if error.is_outcome_unknown() { "may or may not be stored" } else { "is not stored" };
        Err(Error::new(error.kind(), format!("the record {what} {at} id={id:?}")).because(error.clone()))
    };
}

/// Whether another record could succeed.
fn is_about_record(error: &Error) -> bool {
    error.is_invalid() || error.is_limit_exceeded()
}

fn size_of_outcome(outcome: &Outcome<Imported>) -> usize {
    let texts = match outcome {
        Ok(Imported { id, notes, .. }) => {
            id.len() + notes.iter().map(|note| RECORD_BYTES + note.text_bytes()).sum::<usize>()
        }
        Err(reject) => reject.text_bytes(),
    };
    RECORD_BYTES + texts
}

fn parts<T: WireRecord>(record: Result<Outcome<T>>) -> Item {
    record.map(|outcome| outcome.map(T::into_parts))
}

/// Some records of the input, or its end.
enum Chunk {
    Records(RecordBatch),
    End,
}

enum RecordSource<'s> {
    Iter(Box<dyn Iterator<Item = Item> + 's>),
    Thread { from: Receiver<RecordBatch>, thread: Option<JoinHandle<()>> },
}

impl RecordSource<'_> {
    /// The next records. None when there are none yet, unless `wait` is set.
    fn next(&mut self, wait: bool) -> Option<Chunk> {
        match self {
            Self::Iter(records) => {
                let Some(first) = records.next() else { return Some(Chunk::End) };
                // An iterator promises this many without having to wait for any of them.
                let more = records.size_hint().0.min(CHUNK_RECORDS - 1);
                let records = std::iter::once(first).chain(records.take(more)).collect();
                Some(Chunk::Records(RecordBatch { records, texts: Texts::default() }))
            }
            Self::Thread { from, thread } => {
                let received = if wait { from.recv().map_err(|_| TryRecvError::Disconnected) } else { from.try_recv() };
                match received {
                    Ok(batch) => Some(Chunk::Records(batch)),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => Some(match thread.take().map(JoinHandle::join) {
                        Some(Err(_)) => {
                            let error = Error::new(ErrorKind::Io, "the reader of the input panicked");
                            Chunk::Records(RecordBatch { records: vec![Err(error)], texts: Texts::default() })
                        }
                        Some(Ok(())) | None => Chunk::End,
                    }),
                }
            }
        }
    }
}

/// Records on their way to the thread that submits them.
struct Outbox {
    batch: RecordBatch,
    bytes: usize,
    to: SyncSender<RecordBatch>,
}

impl Outbox {
    /// Sends what there is. False when the import was dropped.
    fn flush(&mut self) -> bool {
        self.bytes = 0;
        self.batch.records.is_empty() || self.to.send(std::mem::take(&mut self.batch)).is_ok()
    }
}

/// A reader that flushes the outbox before it is read, which may block.
struct FlushingReader<R> {
    reader: R,
    outbox: Rc<RefCell<Outbox>>,
}

impl<R: Read> Read for FlushingReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.outbox.borrow_mut().flush() {
            self.reader.read(into)
        } else {
            Err(io::Error::other("the import was dropped"))
        }
    }
}

/// Parses all records from this one on, on the reader thread.
fn read<S: RecordReader>(mut records: S, start: u64, outbox: &RefCell<Outbox>) {
    let mut skipped = 0;
    loop {
        let record = match records.next() {
            // What was rejected counts as well.
            Some(Ok(_)) if skipped < start => {
                skipped += 1;
                continue;
            }
            Some(record) => record,
            None if skipped < start => {
                skipped = start;
                let message = format!("the input ends before the record at which the import continues start={start}");
                Err(Error::invalid(message))
            }
            None => break,
        };
        let mut outbox = outbox.borrow_mut();
        // A reject has its text already.
        let text = if matches!(record, Ok(Ok(_))) { records.text() } else { &[] };
        outbox.batch.texts.push(text);
        outbox.batch.records.push(parts(record));
        outbox.bytes += records.text().len();
        let is_full = outbox.batch.records.len() >= CHUNK_RECORDS || outbox.bytes >= CHUNK_BYTES;
        if is_full && !outbox.flush() {
            return;
        }
    }
    // Without a receiver there is nothing left to do.
    let _ = outbox.borrow_mut().flush();
}

impl fmt::Debug for Import<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("importer", &self.importer).field("index", &self.index).finish_non_exhaustive()
    }
}
