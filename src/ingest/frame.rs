//! Framing: a finite-state machine that splits a stream of bytes into JSON values without parsing them, and
//! resynchronizes after damage.
//!
//! One object, an array of objects, one object per line, concatenated objects, and any mix of these, with or without
//! blank lines, CRLF and a byte order mark, are all handled by the same states.
//!
//! ```text
//!             { [ "             } ] at depth 0, closing "
//!  +---------+ ------> +--------+ ---------------------------> a record
//!  | Between |         | Inside |
//!  |         | <-+     +--------+ -- cannot be JSON any more --> an error, and then
//!  +---------+   |                                                 |
//!     |   ^      |                    +------+                     |
//!     |   |      +--- a new line ---- | Skip | <-------------------+
//!     |   |                           +------+
//!     |   |  blank , { [ ]
//!     v   |
//!  +------+    a word of anything else: `12`, `null`, garbage. It is a record too;
//!  | Word |    the parser reports what it is.
//!  +------+
//! ```
//!
//! *Between* also has a layout: the top level, or an array there, whose elements are the records.
//!
//! **Damage affects one record.** Three things are damage inside a record: a line break in a string, a bracket that
//! closes another kind of bracket, and a line that begins with `{` where no value is allowed. The framer continues
//! with the next line, or, in text that is spread over lines, with the next line that is indented no deeper than the
//! start of the broken record. A line that was truncated where a value *is* allowed includes the next line at first;
//! when the damage is detected, the framer returns to that line, once, so every byte is scanned twice at most.
//!
//! **Memory is bounded.** One buffer holds one record and is reused for the next. A record that is longer than the
//! limit is scanned to its end, but only its beginning is kept, by which it can be found.

use std::io::BufRead;

use memchr::memchr3;

use crate::error::{Error, ErrorKind, Result};

use super::parse::too_long;
use super::reject::CUT_BYTES;

/// A part of the input.
#[derive(Debug)]
pub enum Frame<'a> {
    /// A record: a complete JSON value by its brackets and quotes. It may still not be valid JSON.
    Record {
        /// The line on which it starts, from 1.
        line: u64,
        /// Its text.
        bytes: &'a [u8],
    },
    /// Input that is not a record. The next frame follows it.
    Broken {
        /// The line on which it starts, from 1.
        line: u64,
        /// Its text, up to the next frame. Empty if only a comma or a bracket is misplaced. If it is too long, the
        /// first 4 KiB of it, or as many bytes as are kept of a record if those are fewer.
        bytes: &'a [u8],
        /// The length of the whole text if `bytes` is only the beginning of it.
        cut_from: Option<u64>,
        /// [`Invalid`](ErrorKind::Invalid), or [`LimitExceeded`](ErrorKind::LimitExceeded) for a record that is too
        /// long.
        error: Error,
    },
}

/// Splits a stream into [`Frame`]s.
///
/// ```
/// use profiledb::ingest::{Frame, Framer};
///
/// let mut framer = Framer::new(&b"[{\"a\":1},\n {\"b\":\n2}]\n{\"c\":3}"[..], 1_000);
/// let mut found = Vec::new();
/// while let Some(frame) = framer.next()? {
///     let Frame::Record { line, bytes } = frame else { panic!("all is well here") };
///     found.push((line, bytes.len()));
/// }
/// assert_eq!(found, [(1, 7), (2, 8), (4, 7)]);
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Debug)]
pub struct Framer<R> {
    reader: R,
    machine: Machine,
    // Bytes that are scanned a second time, before more is read.
    replay: Vec<u8>,
    replayed: usize,
}

impl<R: BufRead> Framer<R> {
    /// A framer that keeps at most `bytes_max` bytes of one record.
    pub fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader, machine: Machine::new(bytes_max), replay: Vec::new(), replayed: 0 }
    }

    /// Keeps all of a longer record if this says so of its beginning.
    pub(super) fn longer_if(mut self, may_be_longer: fn(&[u8]) -> bool) -> Self {
        self.machine.may_be_longer = may_be_longer;
        self
    }

    /// The next frame, or none at the end of the input.
    ///
    /// # Errors
    ///
    /// The error of the reader. Nothing more can be read after it.
    #[expect(clippy::should_implement_trait, reason = "a frame borrows the buffer, which no iterator can offer")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>> {
        let found = loop {
            if let Some(found) = self.advance()? {
                break found;
            }
        };
        Ok(match found {
            Found::Record => Some(Frame::Record { line: self.machine.record_line, bytes: &self.machine.buffer }),
            Found::Broken { line, error } => {
                let (bytes, length) = (self.machine.buffer.as_slice(), self.machine.length());
                let is_cut = self.machine.too_long() && length > bytes.len() as u64;
                let cut_from = is_cut.then_some(length);
                let bytes = if cut_from.is_some() { bytes } else { bytes.trim_ascii() };
                Some(Frame::Broken { line, bytes, cut_from, error })
            }
            Found::End => None,
        })
    }

    /// The text of the last frame, or the beginning of it.
    pub(super) fn last(&self) -> &[u8] {
        &self.machine.buffer
    }

    fn advance(&mut self) -> Result<Option<Found>> {
        let replay = self.replay.get(self.replayed..).unwrap_or_default();
        let replaying = !replay.is_empty();
        let (taken, found) = if replaying {
            self.machine.step(replay, true)
        } else {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(None),
                Err(error) => return Err(self.machine.failed(error)),
            };
            if chunk.is_empty() { (0, self.machine.finish()) } else { self.machine.step(chunk, false) }
        };
        if replaying {
            self.replayed += taken;
        } else {
            self.reader.consume(taken);
        }
        if let Some(from) = self.machine.rewind.take() {
            self.replay.clear();
            self.replay.extend_from_slice(self.machine.buffer.get(from..).unwrap_or_default());
            self.machine.buffer.truncate(from);
            self.replayed = 0;
        }
        Ok(found)
    }
}

/// The result of a step.
enum Found {
    Record,
    Broken { line: u64, error: Error },
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameState {
    Between,
    Inside,
    Word,
    /// Skips to the end of the line, and then to the first line that is indented at most this deep.
    Skip {
        indent: usize,
        started: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Before the first byte, after this many bytes of a byte order mark.
    Start(u8),
    Top,
    Array {
        line: u64,
        next: Next,
    },
    /// Misplaced commas and brackets were reported once and are ignored from then on.
    Loose,
}

/// What is allowed next in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    ValueOrEnd,
    Value,
    CommaOrEnd,
    /// After a broken record.
    Anything,
}

/// A line inside a record from which framing can restart.
#[derive(Clone, Copy, Debug)]
struct Restart {
    at: usize,
    line: u64,
    indent: usize,
}

/// The state machine, without its input. See the diagram at the top.
#[derive(Debug)]
struct Machine {
    state: FrameState,
    layout: Layout,
    bytes_max: usize,
    /// Asked once, when a record is longer than that.
    may_be_longer: fn(&[u8]) -> bool,
    /// Whether it said yes for the open record.
    is_longer: bool,
    /// The line of the next byte, its indentation, and whether only whitespace precedes that byte.
    line: u64,
    indent: usize,
    leading: bool,
    /// The open record, and where it starts.
    buffer: Vec<u8>,
    bytes: u64,
    /// How many of these bytes are whitespace at the end.
    blank_tail: u64,
    record_line: u64,
    record_indent: usize,
    /// The number of its open brackets, and which of the outer 128 are braces (the innermost in the lowest bit).
    depth: u64,
    braces: u128,
    in_string: bool,
    escaped: bool,
    /// Its last byte that is neither whitespace nor in a string.
    last: u8,
    may_restart: bool,
    restart: Option<Restart>,
    /// The buffer has to be scanned again from here.
    rewind: Option<usize>,
    /// The line and the error of what is being skipped, which is reported with its text, at its end.
    skipped: Option<(u64, Error)>,
}

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Machine {
    fn new(bytes_max: usize) -> Self {
        Self {
            state: FrameState::Between,
            layout: Layout::Start(0),
            bytes_max,
            may_be_longer: |_| false,
            is_longer: false,
            line: 1,
            indent: 0,
            leading: true,
            buffer: Vec::new(),
            bytes: 0,
            blank_tail: 0,
            record_line: 0,
            record_indent: 0,
            depth: 0,
            braces: 0,
            in_string: false,
            escaped: false,
            last: 0,
            may_restart: false,
            restart: None,
            rewind: None,
            skipped: None,
        }
    }

    /// Scans bytes up to a change of the state. Returns how many those are.
    fn step(&mut self, chunk: &[u8], replaying: bool) -> (usize, Option<Found>) {
        match self.state {
            FrameState::Between => self.between(chunk, replaying),
            FrameState::Inside => self.inside(chunk),
            FrameState::Word => self.word(chunk),
            FrameState::Skip { indent, started } => self.skip(chunk, indent, started),
        }
    }

    fn new_line(&mut self) {
        self.line += 1;
        self.indent = 0;
        self.leading = true;
    }

    fn blank(&mut self) {
        self.indent += usize::from(self.leading);
    }

    fn between(&mut self, chunk: &[u8], replaying: bool) -> (usize, Option<Found>) {
        for (at, &byte) in chunk.iter().enumerate() {
            if let Layout::Start(seen) = self.layout {
                if BYTE_ORDER_MARK.get(usize::from(seen)) == Some(&byte) {
                    self.layout = Layout::Start(seen + 1);
                    continue;
                }
                self.layout = Layout::Top;
                if seen == 1 || seen == 2 {
                    self.garbage("a byte order mark is incomplete");
                    return (at, None);
                }
            }
            match byte {
                b'\n' => self.new_line(),
                b' ' | b'\t' | b'\r' => self.blank(),
                // Files that were joined have one each.
                0xef if matches!(self.layout, Layout::Top) => self.layout = Layout::Start(1),
                b',' | b']' => {
                    self.leading = false;
                    if let Some(found) = self.separator(byte) {
                        return (at + 1, Some(found));
                    }
                }
                b'[' if matches!(self.layout, Layout::Top | Layout::Loose) => {
                    self.leading = false;
                    self.layout = Layout::Array { line: self.line, next: Next::ValueOrEnd };
                }
                _ => return (at, self.begin(byte, replaying)),
            }
        }
        (chunk.len(), None)
    }

    /// A comma or a closing bracket between records.
    fn separator(&mut self, byte: u8) -> Option<Found> {
        let reason = match (self.layout, byte) {
            (Layout::Loose, _) => return None,
            (Layout::Array { line, next: Next::CommaOrEnd | Next::Anything }, b',') => {
                self.layout = Layout::Array { line, next: Next::Value };
                return None;
            }
            (Layout::Array { next, .. }, b']') => {
                self.layout = Layout::Top;
                if next != Next::Value {
                    return None;
                }
                "an array ends with a comma"
            }
            (_, b',') => {
                self.layout = Layout::Loose;
                "a comma separates nothing"
            }
            _ => {
                self.layout = Layout::Loose;
                "a bracket closes nothing"
            }
        };
        Some(self.misplaced(self.line, reason))
    }

    /// An error without a text of its own.
    fn misplaced(&mut self, line: u64, reason: &str) -> Found {
        self.buffer.clear();
        self.bytes = 0;
        Found::Broken { line, error: Error::invalid(reason) }
    }

    /// The first byte of a record, which is not consumed.
    fn begin(&mut self, byte: u8, replaying: bool) -> Option<Found> {
        if let Layout::Array { next: Next::CommaOrEnd, .. } = self.layout {
            self.layout = Layout::Loose;
            return Some(self.misplaced(self.line, "a comma is missing in an array"));
        }
        let nested = matches!(byte, b'{' | b'[' | b'"');
        // In prose, which cannot begin a JSON value, there is one error for the line, not one for each word.
        let word = matches!(byte, b'-' | b'0'..=b'9' | b't' | b'f' | b'n');
        if !nested && !word && matches!(self.layout, Layout::Top) {
            self.buffer.clear();
            self.bytes = 0;
            self.garbage("the line is not json");
            return None;
        }
        self.state = if nested { FrameState::Inside } else { FrameState::Word };
        self.buffer.clear();
        self.bytes = 0;
        (self.record_line, self.record_indent) = (self.line, self.indent);
        (self.depth, self.braces, self.last) = (0, 0, 0);
        (self.in_string, self.escaped) = (false, false);
        (self.may_restart, self.restart) = (!replaying, None);
        None
    }

    /// Skips to the end of the line, which is reported then.
    fn garbage(&mut self, reason: &str) {
        self.state = FrameState::Skip { indent: usize::MAX, started: false };
        self.skipped = Some((self.line, Error::invalid(reason)));
    }

    /// The end of what was skipped.
    fn end_of_skipped(&mut self) -> Option<Found> {
        self.state = FrameState::Between;
        self.skipped.take().map(|(line, error)| {
            // More was skipped since.
            let grew = error.is_limit_exceeded() && self.length() > self.bytes_max as u64;
            let error = if grew { self.too_long_error() } else { error };
            Found::Broken { line, error }
        })
    }

    fn inside(&mut self, chunk: &[u8]) -> (usize, Option<Found>) {
        let mut next = 0;
        while let Some(rest) = chunk.get(next..).filter(|rest| !rest.is_empty()) {
            if self.in_string && !self.escaped {
                match memchr3(b'"', b'\\', b'\n', rest) {
                    Some(plain) => next += plain,
                    None => break,
                }
            }
            let (at, Some(&byte)) = (next, chunk.get(next)) else { break };
            next += 1;
            if self.in_string {
                match byte {
                    b'\n' => return self.broken(chunk, at, "a line break inside a string", true),
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return self.complete(chunk, at + 1);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'\n' => self.new_line(),
                b' ' | b'\t' | b'\r' => self.blank(),
                b'{' | b'[' => {
                    if byte == b'{' && self.leading && self.depth > 0 {
                        if !self.takes_value() {
                            return self.broken(chunk, at, "a record begins before the last one ends", false);
                        }
                        self.note_restart(at);
                    }
                    self.open(byte);
                }
                b'}' | b']' => {
                    if !self.close(byte) {
                        return self.broken(chunk, at, "a bracket closes another kind of bracket", true);
                    }
                    if self.depth == 0 {
                        return self.complete(chunk, at + 1);
                    }
                }
                b'"' => {
                    self.in_string = true;
                    self.plain(byte);
                }
                _ => self.plain(byte),
            }
        }
        self.keep(chunk);
        (chunk.len(), None)
    }

    fn plain(&mut self, byte: u8) {
        self.leading = false;
        self.last = byte;
    }

    fn open(&mut self, byte: u8) {
        self.plain(byte);
        self.depth += 1;
        if self.depth <= 128 {
            self.braces = self.braces << 1 | u128::from(byte == b'{');
        }
    }

    /// Whether the bracket matches the open one. Not checked deeper than 128, which no parser accepts.
    fn close(&mut self, byte: u8) -> bool {
        self.plain(byte);
        let trusted = self.depth > 128;
        let fits = trusted || (byte == b'}') == (self.braces & 1 == 1);
        if !trusted {
            self.braces >>= 1;
        }
        self.depth -= 1;
        fits
    }

    /// Whether a value is allowed here.
    fn takes_value(&self) -> bool {
        match self.last {
            b':' | b'[' => true,
            b',' => self.depth > 128 || self.braces & 1 == 0,
            _ => false,
        }
    }

    /// Records the first line that looks like a new record, though it may be a nested value.
    fn note_restart(&mut self, at: usize) {
        if self.may_restart && self.restart.is_none() && self.indent <= self.record_indent {
            let at = self.buffer.len() + at;
            self.restart = Some(Restart { at, line: self.line, indent: self.indent });
        }
    }

    fn word(&mut self, chunk: &[u8]) -> (usize, Option<Found>) {
        self.leading = false;
        let ends = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'{' | b'[' | b']' | b'"');
        match chunk.iter().position(ends) {
            Some(at) if matches!(self.layout, Layout::Top) && self.is_prose(chunk.get(..at).unwrap_or_default()) => {
                self.keep(chunk.get(..at).unwrap_or_default());
                self.garbage("the line is not json");
                (at, None)
            }
            Some(at) => self.complete(chunk, at),
            None => {
                self.keep(chunk);
                (chunk.len(), None)
            }
        }
    }

    /// Whether a word that ends with this begins like a JSON literal but is not one.
    fn is_prose(&self, end: &[u8]) -> bool {
        let word = || self.buffer.iter().chain(end);
        let is_letter = !self.too_long() && word().next().is_some_and(u8::is_ascii_lowercase);
        is_letter && !["true", "false", "null"].iter().any(|known| word().eq(known.as_bytes()))
    }

    fn skip(&mut self, chunk: &[u8], indent: usize, mut started: bool) -> (usize, Option<Found>) {
        for (at, &byte) in chunk.iter().enumerate() {
            match byte {
                b'\n' => {
                    self.new_line();
                    started = true;
                }
                b' ' | b'\t' | b'\r' => self.blank(),
                _ if started && self.leading && self.indent <= indent => {
                    // The closing brace of the broken record, in text that is spread over lines.
                    let tail = byte == b'}' && indent < usize::MAX;
                    self.leading = !tail;
                    let end = at + usize::from(tail);
                    self.keep(chunk.get(..end).unwrap_or_default());
                    return (end, self.end_of_skipped());
                }
                _ => self.leading = false,
            }
        }
        self.state = FrameState::Skip { indent, started };
        self.keep(chunk);
        (chunk.len(), None)
    }

    /// Appends to the open record, unless it is too long already. Of a record that is too long, the beginning stays.
    fn keep(&mut self, part: &[u8]) {
        if self.bytes == 0 {
            self.is_longer = false;
        }
        let blank = part.len() - part.trim_ascii_end().len();
        self.blank_tail = blank as u64 + if blank == part.len() && self.bytes > 0 { self.blank_tail } else { 0 };
        let fitted = !self.too_long();
        self.bytes += part.len() as u64;
        if fitted && self.too_long() {
            // The part that is one too many may be the only one.
            self.is_longer = (self.may_be_longer)(&self.buffer) || (self.may_be_longer)(part);
        }
        if self.too_long() {
            let kept = CUT_BYTES.min(self.bytes_max);
            self.buffer.extend(part.iter().take(kept.saturating_sub(self.buffer.len())));
            self.buffer.truncate(kept);
            self.may_restart = false;
            self.restart = None;
        } else {
            self.buffer.extend_from_slice(part);
        }
    }

    fn too_long(&self) -> bool {
        self.bytes > self.bytes_max as u64 && !self.is_longer
    }

    /// The length of its text, without whitespace at the end.
    fn length(&self) -> u64 {
        self.bytes.saturating_sub(self.blank_tail)
    }

    fn too_long_error(&self) -> Error {
        Error::limit(too_long(self.bytes_max, self.length().max(self.bytes_max as u64 + 1)))
    }

    /// The open record ends before `end`.
    fn complete(&mut self, chunk: &[u8], end: usize) -> (usize, Option<Found>) {
        self.keep(chunk.get(..end).unwrap_or_default());
        self.leading = false;
        self.state = FrameState::Between;
        self.element_done(Next::CommaOrEnd);
        let found = if self.too_long() {
            Found::Broken { line: self.record_line, error: self.too_long_error() }
        } else {
            Found::Record
        };
        (end, Some(found))
    }

    /// The open record is damaged. The byte at `at` is not consumed.
    fn broken(&mut self, chunk: &[u8], at: usize, reason: &str, skip: bool) -> (usize, Option<Found>) {
        self.keep(chunk.get(..at).unwrap_or_default());
        self.element_done(Next::Anything);
        let error = if self.too_long() { self.too_long_error() } else { Error::invalid(reason) };
        if !self.restart_earlier() {
            if skip {
                // A record on one line ends with the line, whatever the indentation of the next.
                let indent = if self.line == self.record_line { usize::MAX } else { self.record_indent };
                self.state = FrameState::Skip { indent, started: false };
                self.skipped = Some((self.record_line, error));
                return (at, None);
            }
            self.state = FrameState::Between;
        }
        (at, Some(Found::Broken { line: self.record_line, error }))
    }

    fn restart_earlier(&mut self) -> bool {
        let Some(restart) = self.restart.take() else { return false };
        self.state = FrameState::Between;
        self.rewind = Some(restart.at);
        (self.line, self.indent, self.leading) = (restart.line, restart.indent, true);
        true
    }

    fn element_done(&mut self, then: Next) {
        if let Layout::Array { next, .. } = &mut self.layout {
            *next = then;
        }
    }

    /// The input has ended.
    fn finish(&mut self) -> Option<Found> {
        match (self.state, self.layout) {
            (FrameState::Inside, _) => {
                let found = self.broken(&[], 0, "the input ends inside a record", true).1;
                if self.rewind.is_none() {
                    // The array around it ends as well, which is not reported again.
                    self.layout = Layout::Loose;
                }
                found.or_else(|| self.end_of_skipped())
            }
            (FrameState::Skip { .. }, _) if self.skipped.is_some() => self.end_of_skipped(),
            (FrameState::Word, _) => self.complete(&[], 0).1,
            (_, Layout::Array { line, .. }) => {
                self.layout = Layout::Top;
                Some(self.misplaced(line, "the input ends inside an array"))
            }
            (_, Layout::Start(1 | 2)) => {
                self.layout = Layout::Top;
                Some(self.misplaced(self.line, "a byte order mark is incomplete"))
            }
            _ => Some(Found::End),
        }
    }

    /// The error of the reader: damaged gzip is invalid input, everything else is an I/O error.
    fn failed(&self, error: std::io::Error) -> Error {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let line = match self.state {
            FrameState::Inside | FrameState::Word => self.record_line,
            _ => self.line,
        };
        let kind = match error.kind() {
            InvalidData | InvalidInput | UnexpectedEof => ErrorKind::Invalid,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("the input cannot be read any further line={line}")).because(error)
    }
}
