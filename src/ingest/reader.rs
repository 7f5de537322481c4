//! Streaming readers: an iterator of records over anything that implements [`Read`].

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::marker::PhantomData;

use flate2::bufread::GzDecoder;

use super::event::EventRecord;
use super::frame::{Frame, Framer};
use super::parse::WireRecord;
use super::record::Record;
use super::reject::{Outcome, Reject};
use super::rules::Rules;
use super::sniff::foreign;
use crate::error::Result;

/// The size of the read buffer, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// A streaming parser of records, in bounded memory: an iterator of updates, or, as [`EventRecords`], of events.
///
/// The input is plain or gzipped: objects one per line, in an array, concatenated, spread over lines, or a mix of
/// these. Each record is parsed or [rejected](Reject) on its own. An error of the outer `Result`, from a reader that
/// fails or a gzip stream that is truncated, is the last item.
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
    framer: Framer<Unpacked<R>>,
    rules: Rules,
    index: u64,
    done: bool,
    what: PhantomData<fn() -> T>,
}

/// A streaming parser of events.
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
/// let reject = events.next().expect("two events")?.expect_err("an id of a broken client");
/// assert_eq!((reject.line, reject.field.as_deref()), (Some(3), Some("properties.distinct_id")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type EventRecords<R> = Records<R, EventRecord>;

impl<R: Read> Records<R> {
    /// Parses updates from `reader`, which does not have to be buffered.
    #[must_use]
    pub fn new(reader: R, rules: Rules) -> Self {
        Self::of(reader, rules)
    }
}

impl<R: Read, T: WireRecord> Records<R, T> {
    /// Parses records of either kind from `reader`, which does not have to be buffered.
    #[must_use]
    pub fn of(reader: R, rules: Rules) -> Self {
        let framer =
            Framer::new(Unpacked::Fresh(Some(reader)), T::bytes_max(rules.bounds())).longer_if(T::may_be_longer);
        Self { framer, rules, index: 0, done: false, what: PhantomData }
    }

    /// The text of the last record. Empty if it was too long to be kept.
    pub(crate) fn text(&self) -> &[u8] {
        self.framer.last()
    }
}

impl<R: Read, T: WireRecord> Iterator for Records<R, T> {
    type Item = Result<Outcome<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let index = self.index;
        let outcome = match self.framer.next() {
            Ok(Some(Frame::Record { line, bytes })) => match T::parse(bytes, &self.rules) {
                Ok(mut record) => {
                    record.set_line(line);
                    Ok(record)
                }
                Err(error) => Err(Reject::from(error).with_position(line, index).with_text(bytes)),
            },
            Ok(Some(Frame::Broken { line, bytes, error })) => {
                Err(Reject::from(error).with_position(line, index).with_text(bytes))
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

impl<R: Read, T: WireRecord> std::iter::FusedIterator for Records<R, T> {}

/// The first bytes of a stream, which were read to detect its format, and the rest of it.
type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// The input, decompressed if it is gzip.
#[derive(Debug)]
enum Unpacked<R: Read> {
    /// Nothing was read yet. It has no reader only if opening it failed.
    Fresh(Option<R>),
    Plain(BufReader<Peeked<R>>),
    Gzip(BufReader<GzipMembers<BufReader<Peeked<R>>>>),
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

impl<R: Read> Unpacked<R> {
    fn open(mut reader: R) -> io::Result<Self> {
        let mut first = vec![0; CHUNK_BYTES];
        let mut length = 0;
        // Live input may have no more than a line yet.
        while length < GZIP_MAGIC.len() {
            match reader.read(first.get_mut(length..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        first.truncate(length);
        if !first.starts_with(&GZIP_MAGIC) {
            refuse(&first)?;
            return Ok(Self::Plain(BufReader::with_capacity(CHUNK_BYTES, Cursor::new(first).chain(reader))));
        }
        let peeked = BufReader::with_capacity(CHUNK_BYTES, Cursor::new(first).chain(reader));
        let mut unpacked = BufReader::with_capacity(CHUNK_BYTES, GzipMembers(Some(GzDecoder::new(peeked))));
        refuse(unpacked.fill_buf()?)?;
        Ok(Self::Gzip(unpacked))
    }
}

/// Fails if the input is of another format.
fn refuse(first: &[u8]) -> io::Result<()> {
    match foreign(first) {
        Some(what) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("the input is not JSON, but {what}"))),
        None => Ok(()),
    }
}

/// The members of a gzip stream, one after the other. Zeros after a member are ignored, as `gzip` does: a tape or a
/// block device pads with them.
#[derive(Debug)]
struct GzipMembers<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.0 else { return Ok(0) };
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let Some(mut rest) = self.0.take().map(GzDecoder::into_inner) else { return Ok(0) };
            loop {
                let bytes = rest.fill_buf()?;
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                if bytes.is_empty() {
                    return Ok(0);
                }
                if zeros == 0 && bytes.first() != GZIP_MAGIC.first() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the gzip data is followed by something else",
                    ));
                }
                if zeros == 0 {
                    break;
                }
                rest.consume(zeros);
            }
            self.0 = Some(GzDecoder::new(rest));
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(into)?;
        self.consume(taken);
        Ok(taken)
    }
}

impl<R: Read> BufRead for Unpacked<R> {
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
