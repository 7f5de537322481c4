//! Records out of a stream or a request body.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read, Take};
use std::marker::PhantomData;

use flate2::read::MultiGzDecoder;

use super::envelope::Unread;
use super::event::EventRecord;
use super::frame::{Frame, Framer};
use super::record::Record;
use super::reject::{Outcome, Reject};
use super::rules::Rules;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// What a record on the wire can be: an update, which is a [`Record`], or an event, which is an [`EventRecord`].
///
/// Code that is generic over this reads both. It cannot be implemented elsewhere.
pub trait Wire: Parse {}

/// How the text of a record becomes one. It has no name outside of this room, which seals [`Wire`].
pub trait Parse: Sized {
    /// What several of them are called.
    const PLURAL: &str;

    /// How long the text may be.
    fn bytes_max(limits: &Limits) -> usize;

    /// Reads the text, which is not too long.
    fn parse(text: &[u8], rules: &Rules) -> std::result::Result<Self, Unread>;
}

/// Reads the text of one record alone.
pub(super) fn from_slice<T: Wire>(text: &[u8], rules: &Rules) -> Outcome<T> {
    let bytes_max = T::bytes_max(rules.bounds());
    if text.len() > bytes_max {
        return Err(Reject::new(ErrorKind::LimitExceeded, None, too_long(bytes_max, text.len() as u64)));
    }
    Ok(T::parse(text, rules)?)
}

pub(super) fn too_long(bytes_max: usize, bytes: u64) -> String {
    format!("a record has at most {bytes_max} bytes bytes={bytes}")
}

/// How much of the input is read at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Reads records from anything that can be read, one at a time, in bounded memory: updates, or as [`EventRecords`]
/// events.
///
/// The input is objects as lines, as an array, back to back, spread over lines, or a mix of these, plain or gzipped.
/// Each record comes out as applicable or [rejected](Reject); a bad one costs itself only. What ends the
/// iteration early, a reader that fails or a gzip stream that is cut off, is an error of the outer `Result`, and
/// nothing comes after it.
///
/// ```
/// use profiledb::ingest::{Records, Rules};
///
/// let input = "\
///     {\"$distinct_id\":\"alice\",\"$set\":{\"plan\":\"pro\"}}\n\
///     {\"$distinct_id\":\"bob\",\"$set\":{\"plan\":\n\
///     {\"$distinct_id\":\"carol\",\"$unset\":[\"plan\"]}\n";
/// let (mut taken, mut rejected) = (Vec::new(), Vec::new());
/// for outcome in Records::new(input.as_bytes(), Rules::new()) {
///     match outcome? {
///         Ok(record) => taken.push(record.key.id().to_owned()),
///         Err(reject) => rejected.push(reject.line),
///     }
/// }
/// assert_eq!((taken, rejected), (vec!["alice".to_owned(), "carol".to_owned()], vec![Some(2)]));
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Debug)]
pub struct Records<R: Read, T = Record> {
    framer: Framer<Source<R>>,
    rules: Rules,
    index: u64,
    line: u64,
    done: bool,
    what: PhantomData<fn() -> T>,
}

/// Reads events as [`Records`] reads updates.
///
/// ```
/// use profiledb::ingest::{EventRecords, Rules};
///
/// let input = br#"[
///     {"event":"purchase","properties":{"time":1700000000,"distinct_id":"alice","$insert_id":"a-1","amount":12.5}},
///     {"event":"purchase","properties":{"time":1700000000,"distinct_id":"anonymous","$insert_id":"a-2"}}
/// ]"#;
/// let mut events = EventRecords::of(&input[..], Rules::new().strict(true));
/// let record = events.next().expect("two events")??;
/// assert_eq!((record.event.name(), record.event.distinct_id()), ("purchase", "alice"));
/// assert_eq!(record.event.get("amount"), Some(&12.5.try_into()?));
/// let reject = events.next().expect("two events")?.expect_err("nobody's name");
/// assert_eq!((reject.line, reject.field.as_deref()), (Some(3), Some("properties.distinct_id")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type EventRecords<R> = Records<R, EventRecord>;

impl<R: Read> Records<R> {
    /// Reads updates from `reader`, which needs no buffer of its own.
    #[must_use]
    pub fn new(reader: R, rules: Rules) -> Self {
        Self::of(reader, rules)
    }
}

impl<R: Read, T: Wire> Records<R, T> {
    /// Reads records of whatever kind is wanted from `reader`, which needs no buffer of its own.
    #[must_use]
    pub fn of(reader: R, rules: Rules) -> Self {
        let framer = Framer::new(Source::Fresh(Some(reader)), T::bytes_max(rules.bounds()));
        Self { framer, rules, index: 0, line: 0, done: false, what: PhantomData }
    }

    /// The line on which the last record started, counted from 1; 0 before the first. For a caller that has to say
    /// later which record it could not apply.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }
}

impl<R: Read, T: Wire> Iterator for Records<R, T> {
    type Item = Result<Outcome<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let index = self.index;
        let outcome = match self.framer.next() {
            Ok(Some(Frame::Record { line, bytes })) => {
                self.line = line;
                T::parse(bytes, &self.rules).map_err(|unread| Reject::from(unread).found(line, index))
            }
            Ok(Some(Frame::Broken { line, error })) => {
                self.line = line;
                Err(Reject::from(error).found(line, index))
            }
            Ok(None) => {
                self.done = true;
                return None;
            }
            Err(error) => {
                self.done = true;
                return Some(Err(error));
            }
        };
        self.index += 1;
        Some(Ok(outcome))
    }
}

impl<R: Read, T: Wire> std::iter::FusedIterator for Records<R, T> {}

/// Reads a whole request body: one update object, or an array of them. Lines of objects are taken as well.
///
/// Bad records become rejects beside the good ones. A body that is no valid JSON is refused whole, because a client
/// that sent damaged text did not send what it meant, and will send it again.
///
/// ```
/// use profiledb::ingest::{Rules, parse_request};
///
/// let body = br#"[{"$distinct_id":"alice","$set":{"plan":"pro"}},{"$set":{"plan":"pro"}}]"#;
/// let outcomes = parse_request(body, &Rules::new())?;
/// assert_eq!(outcomes.len(), 2);
/// assert_eq!(outcomes[1].as_ref().unwrap_err().reason, "$distinct_id, missing or empty");
/// # Ok::<(), profiledb::Error>(())
/// ```
///
/// # Errors
///
/// [`Invalid`](crate::ErrorKind::Invalid) when the body is empty or no valid JSON, and
/// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when it holds more than
/// [`updates_per_request_max`](crate::Limits::updates_per_request_max) records. Nothing of the body is to be applied
/// then.
pub fn parse_request(body: &[u8], rules: &Rules) -> Result<Vec<Outcome>> {
    parse_body(body, rules)
}

/// Reads a whole request body of events: one event object, an array of them, or lines. As [`parse_request`] does with
/// updates.
///
/// ```
/// use profiledb::ingest::{Rules, parse_events};
///
/// let body = br#"[{"event":"visit","properties":{"time":1700000000,"distinct_id":"alice"}},{"event":""}]"#;
/// let outcomes = parse_events(body, &Rules::new())?;
/// assert_eq!(outcomes[0].as_ref().expect("an event").event.name(), "visit");
/// assert_eq!(outcomes[1].as_ref().expect_err("no name").reason, "event, missing or empty");
/// # Ok::<(), profiledb::Error>(())
/// ```
///
/// # Errors
///
/// As those of [`parse_request`].
pub fn parse_events(body: &[u8], rules: &Rules) -> Result<Vec<Outcome<EventRecord>>> {
    parse_body(body, rules)
}

fn parse_body<T: Wire>(body: &[u8], rules: &Rules) -> Result<Vec<Outcome<T>>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("data, missing or empty").at("data"));
    }
    let records_max = rules.bounds().updates_per_request_max;
    let mut framer = Framer::new(body, T::bytes_max(rules.bounds()));
    let mut outcomes = Vec::new();
    while let Some(frame) = framer.next()? {
        if outcomes.len() >= records_max {
            return Err(Error::limit(format!("a request has at most {records_max} {}", T::PLURAL)));
        }
        let index = outcomes.len() as u64;
        outcomes.push(match frame {
            Frame::Record { line, bytes } => match T::parse(bytes, rules) {
                Ok(record) => Ok(record),
                Err(Unread::Other(reject)) => Err(reject.found(line, index)),
                Err(Unread::Damaged(reject)) => return Err(reject.found(line, index).into()),
            },
            Frame::Broken { line, error } if error.is_limit_exceeded() => Err(Reject::from(error).found(line, index)),
            Frame::Broken { line, error } => return Err(Reject::from(error).found(line, index).into()),
        });
    }
    Ok(outcomes)
}

/// The first bytes of a stream, read to see what it is, and the rest of it.
type Peeked<R> = Chain<Take<Cursor<[u8; 2]>>, R>;

/// The input, unpacked if it is gzip.
#[derive(Debug)]
enum Source<R: Read> {
    /// Nothing was read yet. Only the way to the next state leaves it without a reader.
    Fresh(Option<R>),
    Plain(BufReader<Peeked<R>>),
    Gzip(BufReader<MultiGzDecoder<Peeked<R>>>),
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

impl<R: Read> Source<R> {
    fn open(mut reader: R) -> io::Result<Self> {
        let mut first = Vec::with_capacity(2);
        reader.by_ref().take(2).read_to_end(&mut first)?;
        let mut head = [0; 2];
        head.iter_mut().zip(&first).for_each(|(to, from)| *to = *from);
        let peeked = Cursor::new(head).take(first.len() as u64).chain(reader);
        Ok(if first == GZIP_MAGIC {
            Self::Gzip(BufReader::with_capacity(CHUNK_BYTES, MultiGzDecoder::new(peeked)))
        } else {
            Self::Plain(BufReader::with_capacity(CHUNK_BYTES, peeked))
        })
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(into)?;
        self.consume(taken);
        Ok(taken)
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Self::Fresh(reader) = self
            && let Some(reader) = reader.take()
        {
            *self = Self::open(reader)?;
        }
        match self {
            Self::Fresh(_) => Ok(&[]),
            Self::Plain(reader) => reader.fill_buf(),
            Self::Gzip(reader) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match self {
            Self::Fresh(_) => {}
            Self::Plain(reader) => reader.consume(bytes),
            Self::Gzip(reader) => reader.consume(bytes),
        }
    }
}
