//! Read-ahead: the rows of a cursor, read on another thread while those before them are used.
//!
//! It copies every row, so it pays where using rows takes about as long as reading them.

use crossbeam::channel::{Receiver, Sender, bounded};

use super::tables::RowCursor;
use crate::error::{Error, ErrorKind, Result};

/// A chunk is sent when it has this many bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// How many chunks may wait.
const CHUNKS_MAX: usize = 4;

/// RowSource one after the other, wherever they are read.
pub(super) enum RowSource {
    /// On this thread.
    Here(Box<dyn RowCursor>),
    /// On another.
    Ahead(RowsAhead),
}

/// RowSource that arrive from another thread.
pub(super) struct RowsAhead {
    chunks: Receiver<NextChunk>,
    chunk: RowChunk,
    /// The position of the next row in the chunk.
    next: usize,
    ended: bool,
}

/// Nothing is the end. Without it, the thread has panicked.
type NextChunk = Result<Option<RowChunk>>;

/// RowSource, one after the other.
#[derive(Default)]
struct RowChunk {
    bytes: Vec<u8>,
    /// Where the key and the value of each row end.
    ends: Vec<(usize, usize)>,
}

impl RowChunk {
    fn push(&mut self, (key, value): (&[u8], &[u8])) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn row(&self, at: usize) -> Option<(&[u8], &[u8])> {
        let (key_end, end) = *self.ends.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        Some((self.bytes.get(start..key_end)?, self.bytes.get(key_end..end)?))
    }
}

impl RowSource {
    /// The next row, or nothing after the last.
    pub(super) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self {
            Self::Here(rows) => rows.next(),
            Self::Ahead(rows) => rows.next(),
        }
    }
}

impl RowsAhead {
    fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.ended {
            return Ok(None);
        }
        if self.next == self.chunk.ends.len() {
            let Some(chunk) = self.chunks.recv().map_err(|_| panicked())?? else {
                self.ended = true;
                return Ok(None);
            };
            (self.chunk, self.next) = (chunk, 0);
        }
        self.next += 1;
        Ok(self.chunk.row(self.next - 1))
    }
}

/// Calls `consume` with the rows of a cursor, which are read on another thread until it returns. On this one where the
/// system has no more threads.
pub(super) fn read_ahead<T>(
    open: impl Fn() -> Result<Box<dyn RowCursor>>,
    consume: impl FnOnce(RowSource) -> Result<T>,
) -> Result<T> {
    let (sender, chunks) = bounded(CHUNKS_MAX);
    let rows = open()?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("profiledb-join".into());
        let Ok(reader) = thread.spawn_scoped(scope, move || send_rows(rows, &sender)) else {
            return consume(RowSource::Here(open()?));
        };
        let consumed =
            consume(RowSource::Ahead(RowsAhead { chunks, chunk: RowChunk::default(), next: 0, ended: false }));
        reader.join().map_err(|_| panicked())?;
        consumed
    })
}

/// Sends all rows and what is behind them, until nothing receives them any more.
fn send_rows(mut rows: Box<dyn RowCursor>, sender: &Sender<NextChunk>) {
    loop {
        let mut chunk = RowChunk::default();
        let has_more = fill(&mut *rows, &mut chunk);
        if !chunk.ends.is_empty() && sender.send(Ok(Some(chunk))).is_err() {
            return;
        }
        let end = match has_more {
            Ok(true) => continue,
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        // An error of `send` says that nothing receives it.
        sender.send(end).ok();
        return;
    }
}

/// Fills a chunk. Returns whether there may be more rows.
fn fill(rows: &mut dyn RowCursor, chunk: &mut RowChunk) -> Result<bool> {
    while chunk.bytes.len() < CHUNK_BYTES {
        match rows.next()? {
            Some(row) => chunk.push(row),
            None => return Ok(false),
        }
    }
    Ok(true)
}

fn panicked() -> Error {
    Error::new(ErrorKind::Closed, "a thread of the join panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbered rows, of which one may fail. What comes after a failure is the end.
    struct Numbers {
        next: u32,
        end: u32,
        fails_at: Option<u32>,
        row: (Vec<u8>, Vec<u8>),
    }

    impl RowCursor for Numbers {
        fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
            if self.fails_at == Some(self.next) {
                self.next = self.end;
                self.fails_at = None;
                return Err(Error::corrupt("a row cannot be read"));
            }
            if self.next >= self.end {
                return Ok(None);
            }
            self.row = (self.next.to_be_bytes().to_vec(), vec![1; self.next as usize % 100]);
            self.next += 1;
            Ok(Some((&self.row.0, &self.row.1)))
        }

        fn seek(&mut self, _: &[u8]) -> Result<()> {
            panic!("rows are read one after the other")
        }
    }

    fn numbers(end: u32, fails_at: Option<u32>) -> Result<Box<dyn RowCursor>> {
        Ok(Box::new(Numbers { next: 0, end, fails_at, row: Default::default() }))
    }

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    /// The rows up to a number of them, and the error that ended them.
    fn read(mut rows: RowSource, most: usize) -> (Pairs, Option<Error>) {
        let mut read = Vec::new();
        while read.len() < most {
            match rows.next() {
                Ok(Some((key, value))) => read.push((key.to_vec(), value.to_vec())),
                Ok(None) => return (read, None),
                Err(error) => return (read, Some(error)),
            }
        }
        (read, None)
    }

    /// Of no rows, less than a chunk, chunks, with and without a failure, read to the end and not.
    #[test]
    fn rows_read_ahead_are_the_rows() {
        for end in [0, 1, 1_000, 20_000] {
            for fails_at in [None, Some(0), Some(end / 2), Some(end)] {
                for most in [0, 1, 1_500, usize::MAX] {
                    let here = read(RowSource::Here(numbers(end, fails_at).unwrap()), most);
                    let ahead = read_ahead(|| numbers(end, fails_at), |rows| Ok(read(rows, most))).unwrap();
                    assert_eq!(ahead.0, here.0, "{end} rows, {fails_at:?}, {most}");
                    let text = |error: Option<Error>| error.map(|error| error.to_string());
                    assert_eq!(text(ahead.1), text(here.1), "{end} rows, {fails_at:?}, {most}");
                }
            }
        }
    }

    #[test]
    fn the_end_stays_the_end() {
        let after = |mut rows: RowSource| {
            while rows.next()?.is_some() {}
            Ok(rows.next()?.is_none())
        };
        assert!(read_ahead(|| numbers(10, None), after).unwrap());
    }

    /// A cursor that panics.
    struct Panicking;

    impl RowCursor for Panicking {
        fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
            panic!("as it shall")
        }

        fn seek(&mut self, _: &[u8]) -> Result<()> {
            panic!("rows are read one after the other")
        }
    }

    #[test]
    fn a_panic_is_no_end() {
        let error = read_ahead(|| Ok(Box::new(Panicking)), |rows| Ok(read(rows, 10))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}
