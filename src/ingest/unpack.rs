//! Decompression of inputs (gzip, found by its magic number), which refuses inputs of another format.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::GzDecoder;

use super::sniff::Syntax;

/// The size of the read buffer, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// The first bytes of a stream, which were read to detect its format, and the rest of it.
type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

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
    Gzip(BufReader<GzipMembers<BufReader<Peeked<R>>>>),
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

impl<R: Read> Unpacked<R> {
    /// Reads nothing yet.
    pub(super) fn new(reader: R, format: Syntax) -> Self {
        Self { opened: None, reader: Some(reader), format }
    }
}

impl<R: Read> Opened<R> {
    fn open(mut reader: R, format: Syntax) -> io::Result<Self> {
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
            format.check(&first)?;
            return Ok(Self::Plain(BufReader::with_capacity(CHUNK_BYTES, Cursor::new(first).chain(reader))));
        }
        let peeked = BufReader::with_capacity(CHUNK_BYTES, Cursor::new(first).chain(reader));
        let mut unpacked = BufReader::with_capacity(CHUNK_BYTES, GzipMembers(Some(GzDecoder::new(peeked))));
        format.check(unpacked.fill_buf()?)?;
        Ok(Self::Gzip(unpacked))
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
