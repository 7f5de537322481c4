//! Decompression of inputs (gzip, found by its magic number), which refuses inputs of another format.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;

use super::sniff::Syntax;

/// The size of the read buffer, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a stream of gzip has, member by member.
type Gunzipped<R> = GzipMembers<BufReader<Peeked<R>>>;

/// The first bytes of a stream, which were read to detect its format, and the rest of it.
#[derive(Debug)]
struct Peeked<R> {
    first: Cursor<Vec<u8>>,
    /// What ended the detection. It comes after the bytes before it, as it would without a detection.
    failure: Option<io::Error>,
    rest: R,
}

/// The input, decompressed if it is gzip.
#[derive(Debug)]
pub(super) struct Unpacked<R: Read> {
    /// None before the first read.
    opened: Option<Opened<R>>,
    /// None after it. It has neither only if opening it failed.
    reader: Option<R>,
    format: Syntax,
}

#[derive(Debug)]
enum Opened<R: Read> {
    Plain(BufReader<Peeked<R>>),
    Gzip(Box<BufReader<Peeked<Gunzipped<R>>>>),
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

impl<R: Read> Unpacked<R> {
    /// Reads nothing yet.
    pub(super) fn new(reader: R, format: Syntax) -> Self {
        Self { opened: None, reader: Some(reader), format }
    }
}

impl<R: Read> Opened<R> {
    fn open(reader: R, format: Syntax) -> io::Result<Self> {
        let is_undecided = |first: &[u8]| GZIP_MAGIC.starts_with(first) && first.len() < GZIP_MAGIC.len();
        let mut peeked = Peeked::peek(reader, is_undecided)?;
        if !peeked.first().starts_with(&GZIP_MAGIC) {
            peeked.peek_while(|first| format.is_undecided(first));
            format.check(peeked.first())?;
            return Ok(Self::Plain(BufReader::with_capacity(CHUNK_BYTES, peeked)));
        }
        let members = GzipMembers(Some(GzDecoder::new(BufReader::with_capacity(CHUNK_BYTES, peeked))));
        let unpacked = Peeked::peek(members, |first| format.is_undecided(first))?;
        format.check(unpacked.first())?;
        Ok(Self::Gzip(Box::new(BufReader::with_capacity(CHUNK_BYTES, unpacked))))
    }
}

impl<R: Read> Peeked<R> {
    /// Reads as long as there is nothing, or what there is does not decide. Live input may come byte by byte, and may
    /// have no more than a line yet, so no more is waited for than that takes.
    fn peek(rest: R, is_undecided: impl Fn(&[u8]) -> bool) -> io::Result<Self> {
        let mut peeked = Self { first: Cursor::default(), failure: None, rest };
        peeked.peek_while(|first| first.is_empty() || is_undecided(first));
        match peeked.failure.take() {
            Some(error) if peeked.first().is_empty() => Err(error),
            failure => Ok(Self { failure, ..peeked }),
        }
    }

    fn peek_while(&mut self, is_undecided: impl Fn(&[u8]) -> bool) {
        let mut length = self.first().len();
        while self.failure.is_none() && length < CHUNK_BYTES && is_undecided(self.first()) {
            let bytes = self.first.get_mut();
            bytes.resize(CHUNK_BYTES, 0);
            let read = self.rest.read(bytes.get_mut(length..).unwrap_or_default());
            length += *read.as_ref().unwrap_or(&0);
            bytes.truncate(length);
            match read {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => self.failure = Some(error),
                _ => {}
            }
        }
    }

    fn first(&self) -> &[u8] {
        self.first.get_ref()
    }
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.first.read(into)? {
            0 => self.failure.take().map_or_else(|| self.rest.read(into), Err),
            read => Ok(read),
        }
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
        if let Some(reader) = self.reader.take() {
            self.opened = Some(Opened::open(reader, self.format)?);
        }
        match &mut self.opened {
            None => Ok(&[]),
            Some(Opened::Plain(reader)) => reader.fill_buf(),
            Some(Opened::Gzip(reader)) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match &mut self.opened {
            None => {}
            Some(Opened::Plain(reader)) => reader.consume(bytes),
            Some(Opened::Gzip(reader)) => reader.consume(bytes),
        }
    }
}
