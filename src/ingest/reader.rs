//! Streaming readers: an iterator of records over anything that implements [`Read`].

use std::io::Read;
use std::marker::PhantomData;

use super::event::EventRecord;
use super::frame::{Frame, Framer};
use super::parse::{RecordReader, WireRecord};
use super::record::Record;
use super::reject::{Outcome, Reject};
use super::rules::Rules;
use super::sniff::Syntax;
use super::unpack::Unpacked;
use crate::error::Result;

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
        let unpacked = Unpacked::new(reader, Syntax::Json);
        let framer = Framer::new(unpacked, T::bytes_max(rules.bounds())).longer_if(T::may_be_longer);
        Self { framer, rules, index: 0, done: false, what: PhantomData }
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
            Ok(Some(Frame::Broken { line, bytes, cut_from, error })) => {
                Err(Reject::from(error).with_position(line, index).with_kept(bytes, cut_from))
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

impl<R: Read, T: WireRecord> RecordReader for Records<R, T> {
    type Record = T;

    fn text(&self) -> &[u8] {
        self.framer.last()
    }
}
