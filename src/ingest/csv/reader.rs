//! A streaming reader of CSV: an iterator of records over anything that implements [`Read`].

use std::hash::{BuildHasher, RandomState};
use std::io::Read;

use super::columns::Columns;
use super::encoding::Utf8Reader;
use super::options::Csv;
use super::rows::{CsvFields, CsvRow, RowSplitter};
use crate::error::{Error, Result};
use crate::ingest::parse::RecordReader;
use crate::ingest::record::{Record, admit};
use crate::ingest::reject::{Outcome, Reject};
use crate::ingest::rules::Rules;
use crate::ingest::sniff::Syntax;
use crate::ingest::unpack::Unpacked;
use crate::ops::{Change, Operator, Update};

/// A streaming reader of rows of CSV as updates, in bounded memory. The input is plain or gzipped.
///
/// Each row is converted or [rejected](Reject) on its own, with its line, the reason and its text. An error of the
/// outer `Result` is the last item: a reader that fails, an input that is no CSV, a mapping that does not fit it, and
/// more rows than allowed.
///
/// A row sets the properties of one profile and leaves others as they are, also those of its empty cells. A profile
/// that does not exist is created, a user also by a row without values. `$last_seen` is not touched.
///
/// ```
/// use profiledb::ingest::{Csv, CsvRecords, Rules};
///
/// let csv = Csv::new().option("header", "true")?.option("id", "user")?;
/// let file = "user,plan,seats\nu1,pro,5\nu2,free\nu3,\"free,7\n";
/// let mut lines = Vec::new();
/// for outcome in CsvRecords::new(file.as_bytes(), &csv, Rules::new()) {
///     lines.push(match outcome? {
///         Ok(record) => record.key.id().to_owned(),
///         Err(reject) => reject.to_string(),
///     });
/// }
/// assert_eq!(lines, [
///     "u1",
///     "invalid: the number of fields is not that of the first row fields=2 first=3 line=3",
///     "invalid: no closing quote column=2 char=4 line=4",
/// ]);
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Debug)]
pub struct CsvRecords<R: Read> {
    rows: RowSplitter<Utf8Reader<Unpacked<R>>>,
    csv: Csv,
    rules: Rules,
    columns: Option<Columns>,
    /// Of the next row. A header does not count.
    index: u64,
    ids: RandomIds,
    done: bool,
}

impl<R: Read> CsvRecords<R> {
    /// Reads rows from `reader`, which does not have to be buffered.
    #[must_use]
    pub fn new(reader: R, csv: &Csv, rules: Rules) -> Self {
        let format = if csv.encoding.is_some() { Syntax::EncodedCsv } else { Syntax::Csv };
        let decoded = Utf8Reader::new(Unpacked::new(reader, format), csv.encoding);
        let rows = RowSplitter::new(decoded, csv.delimiter, rules.bounds().update_bytes_max);
        Self { rows, csv: csv.clone(), rules, columns: None, index: 0, ids: RandomIds::default(), done: false }
    }

    fn row(&mut self) -> Result<Option<Outcome<Record>>> {
        if self.csv.header && self.columns.is_none() {
            self.columns = match self.rows.next()? {
                None => return Ok(None),
                Some(CsvRow::Broken(error)) => {
                    let line = self.rows.line();
                    return Err(Error::invalid(format!("the header cannot be read line={line}")).because(error));
                }
                Some(CsvRow::Fields(names)) => {
                    let names: Vec<_> = names.iter().map(String::from).collect();
                    Some(Columns::bind(&self.csv, Some(&names), names.len())?)
                }
            };
        }
        let Some(row) = self.rows.next()? else { return Ok(None) };
        if self.index >= self.csv.rows_max {
            let reason = format!("a csv file has at most {} rows, unless it is read as unbounded", self.csv.rows_max);
            return Err(Error::limit(format!("{reason} line={}", self.rows.line())));
        }
        let outcome = match row {
            CsvRow::Broken(error) => Err(error.into()),
            CsvRow::Fields(fields) => {
                let columns = match &mut self.columns {
                    Some(columns) => columns,
                    None => self.columns.insert(Columns::bind(&self.csv, None, fields.len())?),
                };
                record(columns, &fields, &mut self.ids, &self.rules)
            }
        };
        let (line, index) = (self.rows.line(), self.index);
        self.index += 1;
        Ok(Some(match outcome {
            Ok(record) => Ok(Record { line: Some(line), ..record }),
            Err(reject) => {
                let reject = Reject::with_position(reject, line, index);
                Err(reject.with_kept(self.rows.last(), self.rows.cut_from()))
            }
        }))
    }
}

fn record(columns: &Columns, row: &CsvFields<'_>, ids: &mut RandomIds, rules: &Rules) -> Outcome<Record> {
    let (key, update) = columns.update(row, || ids.next())?;
    let mut notes = Vec::new();
    if update.is_empty() {
        let reject = Reject::invalid("a row without values is nothing to store").with_id(key.id());
        rules.warn_or_reject(&mut notes, reject, "no effect", None)?;
    }
    let excess = &mut rules.excess(&mut notes, None);
    let update: Update =
        admit(update, Some(Operator::Set.name()), rules, excess).map_err(|reject| reject.with_id(key.id()))?;
    Ok(Record { notes, ..Record::new(key, Change::Update(update)) })
}

impl<R: Read> Iterator for CsvRecords<R> {
    type Item = Result<Outcome<Record>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.row().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R: Read> std::iter::FusedIterator for CsvRecords<R> {}

impl<R: Read> RecordReader for CsvRecords<R> {
    type Record = Record;

    fn text(&self) -> &[u8] {
        self.rows.last()
    }
}

/// Random UUIDs (version 4): a counter, hashed by SipHash with a random key.
#[derive(Debug, Default)]
struct RandomIds {
    key: RandomState,
    count: u64,
}

impl RandomIds {
    fn next(&mut self) -> String {
        self.count += 1;
        let (high, low) = (self.key.hash_one((self.count, 0)), self.key.hash_one((self.count, 1)));
        let (time, version, node) = (high >> 32, high & 0xfff, low & 0xffff_ffff_ffff);
        let (middle, variant) = ((high >> 16) & 0xffff, 0x8000 | ((low >> 48) & 0x3fff));
        format!("{time:08x}-{middle:04x}-4{version:03x}-{variant:04x}-{node:012x}")
    }
}
