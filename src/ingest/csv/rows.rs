//! Splitting of CSV into rows and fields: a strict parser of RFC 4180, in bounded memory.
//!
//! The `csv` crate reads bad quoting without a word, holds a row of any length in memory, and does not keep the text
//! of a row, which has to be reported if it is rejected. It is what the tests compare with.
//!
//! Lines inside of a text must not be taken for rows. So a row with bad quoting ends at the end of the line with the
//! mistake, which is after the line where the quote opens in `1,"a\nb"c`; a row that is too long ends where its quotes
//! are closed; and of a quote that is never closed the rest of the input is one row, which is broken.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use memchr::{memchr, memchr_iter, memchr3};

use crate::error::Error;
use crate::ingest::reject::CUT_BYTES;

/// A row of the input.
pub(super) enum CsvRow<'r> {
    Fields(CsvFields<'r>),
    /// Its quoting is bad, or it is too long, in which case only the beginning of its text is kept.
    Broken(Error),
}

/// Splits an input into rows.
#[derive(Debug)]
pub(super) struct RowSplitter<R> {
    reader: R,
    delimiter: u8,
    bytes_max: usize,
    /// The last row, and what was read after it.
    text: Vec<u8>,
    start: usize,
    /// The end of the row without its line break, and the start of the next row.
    end: usize,
    next: usize,
    fields: Vec<FieldRange>,
    /// Where `start` is, counted from 1.
    line: u64,
    /// The number of lines from there to `next`.
    lines: u64,
    /// Whether the row is longer than allowed.
    is_cut: bool,
    /// The length of its whole text then, in bytes.
    cut_from: Option<u64>,
}

/// A field in the text. If it is quoted, without its quotes.
#[derive(Debug)]
struct FieldRange {
    start: usize,
    end: usize,
    /// Whether it has quotes, which are doubled.
    has_quotes: bool,
}

/// A mistake in the quoting.
struct Fault {
    at: usize,
    reason: &'static str,
    is_unclosed: bool,
}

/// The fields of a row.
#[derive(Clone, Copy)]
pub(super) struct CsvFields<'r> {
    text: &'r str,
    start: usize,
    fields: &'r [FieldRange],
}

impl<'r> CsvFields<'r> {
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field, counted from 0.
    pub(super) fn get(&self, index: usize) -> Option<Cow<'r, str>> {
        let FieldRange { start, end, has_quotes } = self.fields.get(index)?;
        let text = self.text.get(start - self.start..end - self.start)?;
        Some(if *has_quotes { text.replace("\"\"", "\"").into() } else { text.into() })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Cow<'r, str>> + use<'r> {
        let fields = *self;
        (0..fields.len()).filter_map(move |index| fields.get(index))
    }
}

impl<R: BufRead> RowSplitter<R> {
    /// Rows of at most `bytes_max` bytes.
    pub(super) fn new(reader: R, delimiter: u8, bytes_max: usize) -> Self {
        Self {
            reader,
            delimiter,
            bytes_max,
            text: Vec::new(),
            start: 0,
            end: 0,
            next: 0,
            fields: Vec::new(),
            line: 1,
            lines: 0,
            is_cut: false,
            cut_from: None,
        }
    }

    /// The text of the last row, without its line break, or what is kept of it.
    pub(super) fn last(&self) -> &[u8] {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    /// The length of the text of the last row in bytes, if only its beginning is kept.
    pub(super) fn cut_from(&self) -> Option<u64> {
        self.cut_from
    }

    /// The line on which the last row starts, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The next row. Empty lines are skipped.
    pub(super) fn next(&mut self) -> io::Result<Option<CsvRow<'_>>> {
        loop {
            self.line += self.lines;
            (self.start, self.end, self.lines) = (self.next, self.next, 0);
            (self.is_cut, self.cut_from) = (false, None);
            if self.start == self.text.len() {
                self.text.clear();
                (self.start, self.end, self.next) = (0, 0, 0);
            }
            match self.byte(self.start)? {
                None => return Ok(None),
                Some(b'\n') => self.next += 1,
                Some(b'\r') if self.byte(self.start + 1)? == Some(b'\n') => self.next += 2,
                Some(_) => break,
            }
            self.lines = 1;
        }
        self.fields.clear();
        let fault = self.scan()?.err();
        let mut error = None;
        let fault = fault.map(|fault| (self.error(&fault), fault));
        if let Some((reason, fault)) = fault.as_ref().filter(|_| !self.is_cut) {
            error = Some(reason.clone());
            self.end_at(fault)?;
        }
        let newlines = |text: Option<&[u8]>| memchr_iter(b'\n', text.unwrap_or_default()).count() as u64;
        if self.is_cut {
            self.lines = newlines(self.text.get(self.start..));
            let unclosed = fault.filter(|(_, fault)| fault.is_unclosed).map(|(error, _)| error);
            error = Some(self.skip_row(unclosed)?);
        } else {
            self.lines = newlines(self.text.get(self.start..self.next));
            if self.end - self.start > self.bytes_max {
                error = Some(self.too_long((self.end - self.start) as u64));
                self.end = self.start + self.kept();
            }
        }
        Ok(Some(match error {
            Some(error) => CsvRow::Broken(error),
            None => self.decoded(),
        }))
    }

    /// The byte at this position, which is read if it was not. None at the end of the input, and at that of the room
    /// for a row.
    fn byte(&mut self, at: usize) -> io::Result<Option<u8>> {
        while at >= self.text.len() {
            // A line break belongs to no row.
            let room = self.bytes_max.saturating_add(2).saturating_sub(self.text.len() - self.start);
            if room == 0 {
                self.is_cut = true;
                return Ok(None);
            }
            if (&mut self.reader).take(room as u64).read_until(b'\n', &mut self.text)? == 0 {
                return Ok(None);
            }
        }
        Ok(self.text.get(at).copied())
    }

    /// Finds the fields of the row and its end.
    fn scan(&mut self) -> io::Result<Result<(), Fault>> {
        let mut at = self.start;
        loop {
            let is_quoted = self.byte(at)? == Some(b'"');
            let after = match if is_quoted { self.quoted(at)? } else { self.plain(at)? } {
                Ok(after) => after,
                Err(fault) => return Ok(Err(fault)),
            };
            let next = match self.byte(after)? {
                Some(byte) if byte == self.delimiter => {
                    at = after + 1;
                    continue;
                }
                None => Ok(after),
                Some(b'\n') => Ok(after + 1),
                Some(b'\r') if self.byte(after + 1)? == Some(b'\n') => Ok(after + 2),
                Some(b'\r') => Err(LONE_RETURN),
                Some(b'"') if !is_quoted => Err("a quote in a field that is not quoted"),
                Some(_) => Err("text after the closing quote of a field"),
            };
            let next = match next {
                Ok(next) => next,
                Err(reason) => {
                    // The mistake is in it.
                    self.fields.pop();
                    return Ok(Err(Fault { at: after, reason, is_unclosed: false }));
                }
            };
            (self.end, self.next) = (after, next);
            return Ok(Ok(()));
        }
    }

    /// Adds the field that starts here. Returns where it ends.
    fn plain(&mut self, start: usize) -> io::Result<Result<usize, Fault>> {
        let mut end = start;
        loop {
            let rest = self.text.get(end..).unwrap_or_default();
            match memchr3(self.delimiter, b'\n', b'"', rest) {
                Some(length) => {
                    end += length;
                    break;
                }
                None => end = self.text.len(),
            }
            if self.byte(end)?.is_none() {
                break;
            }
        }
        let field = self.text.get(start..end).unwrap_or_default();
        let field = match self.text.get(end) {
            Some(b'\n') => field.strip_suffix(b"\r").unwrap_or(field),
            _ => field,
        };
        if let Some(offset) = memchr(b'\r', field) {
            return Ok(Err(Fault { at: start + offset, reason: LONE_RETURN, is_unclosed: false }));
        }
        let end = start + field.len();
        self.fields.push(FieldRange { start, end, has_quotes: false });
        Ok(Ok(end))
    }

    /// Adds the quoted field that starts here. Returns what follows the closing quote.
    fn quoted(&mut self, open: usize) -> io::Result<Result<usize, Fault>> {
        let start = open + 1;
        let (mut at, mut has_quotes) = (start, false);
        loop {
            match memchr(b'"', self.text.get(at..).unwrap_or_default()) {
                Some(length) => {
                    let close = at + length;
                    if self.byte(close + 1)? != Some(b'"') {
                        self.fields.push(FieldRange { start, end: close, has_quotes });
                        return Ok(Ok(close + 1));
                    }
                    has_quotes = true;
                    at = close + 2;
                }
                None => {
                    at = self.text.len();
                    if self.byte(at)?.is_none() {
                        return Ok(Err(Fault { at: open, reason: "no closing quote", is_unclosed: true }));
                    }
                }
            }
        }
    }

    /// Ends the row after a mistake.
    fn end_at(&mut self, fault: &Fault) -> io::Result<()> {
        if fault.is_unclosed {
            // All of the input was read for a quote.
            (self.end, self.next) = (self.text.len(), self.text.len());
            self.end -= usize::from(self.last().ends_with(b"\n"));
            self.end -= usize::from(self.last().ends_with(b"\r"));
            return Ok(());
        }
        let mut from = fault.at;
        loop {
            if let Some(length) = memchr(b'\n', self.text.get(from..).unwrap_or_default()) {
                self.end = from + length;
                self.next = self.end + 1;
                break;
            }
            from = self.text.len();
            if self.byte(from)?.is_none() {
                (self.end, self.next) = (from, from);
                break;
            }
        }
        if self.last().ends_with(b"\r") {
            self.end -= 1;
        }
        Ok(())
    }

    /// Skips the rest of a row that is too long, with what was read of it. `unclosed` is its error if it is too long
    /// because of a quote, and nothing closes that.
    fn skip_row(&mut self, unclosed: Option<Error>) -> io::Result<Error> {
        let mut bytes = (self.text.len() - self.start) as u64;
        self.text.drain(..self.start);
        // Doubled quotes close and open again.
        let quotes = |text: &[u8]| memchr_iter(b'"', text).count() % 2 == 1;
        let mut is_quoted = unclosed.is_some() && quotes(&self.text);
        let kept = self.kept();
        loop {
            self.text.truncate(kept);
            let read = (&mut self.reader).take(SKIP_BYTES).read_until(b'\n', &mut self.text)?;
            bytes += read as u64;
            if read == 0 {
                break;
            }
            is_quoted ^= unclosed.is_some() && quotes(self.text.get(kept..).unwrap_or_default());
            if self.text.ends_with(b"\n") {
                self.lines += 1;
                if !is_quoted {
                    bytes -= 1;
                    break;
                }
            }
        }
        self.text.truncate(kept);
        (self.start, self.end, self.next) = (0, self.text.len(), self.text.len());
        self.cut_from = Some(bytes);
        Ok(match unclosed.filter(|_| is_quoted) {
            Some(unclosed) => unclosed,
            None => self.too_long(bytes),
        })
    }

    /// How much is kept of a row that is too long, in bytes.
    fn kept(&self) -> usize {
        CUT_BYTES.min(self.bytes_max)
    }

    fn too_long(&mut self, bytes: u64) -> Error {
        self.cut_from = Some(bytes);
        Error::limit(format!("a row has at most {} bytes bytes={bytes}", self.bytes_max))
    }

    /// The error of a mistake, with the number of the field, the line in the row if it is not the first, and the
    /// character in this line, all counted from 1.
    fn error(&self, Fault { at, reason, .. }: &Fault) -> Error {
        let before = self.text.get(self.start..*at).unwrap_or_default();
        Error::invalid(format!("{reason} column={}{}", self.fields.len() + 1, place(before)))
    }

    /// The row as text.
    fn decoded(&self) -> CsvRow<'_> {
        match std::str::from_utf8(self.last()) {
            Ok(text) => CsvRow::Fields(CsvFields { text, start: self.start, fields: &self.fields }),
            Err(error) => {
                let at = error.valid_up_to();
                let is_before = |field: &&FieldRange| field.end - self.start <= at;
                let column = self.fields.iter().take_while(is_before).count() + 1;
                let before = self.last().get(..at).unwrap_or_default();
                CsvRow::Broken(Error::invalid(format!("not valid utf-8 column={column}{}", place(before))))
            }
        }
    }
}

const LONE_RETURN: &str = "a carriage return without a line feed, in a field that is not quoted";

/// How much of a line that is too long is skipped at a time, in bytes.
const SKIP_BYTES: u64 = 64 << 10;

/// The place that follows this text in a row.
fn place(before: &[u8]) -> String {
    let rows = memchr_iter(b'\n', before).count();
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let char = String::from_utf8_lossy(line).chars().count() + 1;
    if rows == 0 { format!(" char={char}") } else { format!(" row={} char={char}", rows + 1) }
}
