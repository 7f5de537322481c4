//! Transcoding of text files to UTF-8, streaming: UTF-16 and the two encodings of Western Europe.
//!
//! What cannot be decoded (half of a surrogate pair, half a unit of UTF-16, a byte without a character) becomes bytes
//! that are no UTF-8, so that it is reported where all such bytes are: with the row and its place.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::str::FromStr;

use crate::error::Error;

/// The encoding of a text.
///
/// ```
/// use profiledb::ingest::Encoding;
///
/// assert_eq!("ISO-8859-1".parse::<Encoding>().ok(), Some(Encoding::Latin1));
/// assert_eq!(
///     "ebcdic".parse::<Encoding>().unwrap_err().to_string(),
///     r#"invalid: an encoding is utf-8, utf-16le, utf-16be, latin-1 or windows-1252 value="ebcdic""#,
/// );
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, the lower byte first.
    Utf16Le,
    /// UTF-16, the higher byte first.
    Utf16Be,
    /// ISO 8859-1: each byte is the character of this number.
    Latin1,
    /// Windows code page 1252: Latin-1 with quotes, dashes and the euro sign in place of control characters.
    Windows1252,
}

/// Byte order marks.
const MARKS: [(&[u8], Encoding); 3] =
    [(b"\xef\xbb\xbf", Encoding::Utf8), (b"\xff\xfe", Encoding::Utf16Le), (b"\xfe\xff", Encoding::Utf16Be)];

/// The characters 0x80 to 0x9f of Windows-1252. Five bytes have none.
const WINDOWS_1252: [Option<char>; 32] = [
    Some('\u{20ac}'),
    None,
    Some('\u{201a}'),
    Some('\u{192}'),
    Some('\u{201e}'),
    Some('\u{2026}'),
    Some('\u{2020}'),
    Some('\u{2021}'),
    Some('\u{2c6}'),
    Some('\u{2030}'),
    Some('\u{160}'),
    Some('\u{2039}'),
    Some('\u{152}'),
    None,
    Some('\u{17d}'),
    None,
    None,
    Some('\u{2018}'),
    Some('\u{2019}'),
    Some('\u{201c}'),
    Some('\u{201d}'),
    Some('\u{2022}'),
    Some('\u{2013}'),
    Some('\u{2014}'),
    Some('\u{2dc}'),
    Some('\u{2122}'),
    Some('\u{161}'),
    Some('\u{203a}'),
    Some('\u{153}'),
    None,
    Some('\u{17e}'),
    Some('\u{178}'),
];

impl FromStr for Encoding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Ok(Self::Utf8),
            "utf-16le" | "utf16le" => Ok(Self::Utf16Le),
            "utf-16be" | "utf16be" => Ok(Self::Utf16Be),
            "latin-1" | "latin1" | "iso-8859-1" => Ok(Self::Latin1),
            "windows-1252" | "cp1252" => Ok(Self::Windows1252),
            _ => {
                let names = "an encoding is utf-8, utf-16le, utf-16be, latin-1 or windows-1252";
                Err(Error::invalid(format!("{names} value={text:?}")))
            }
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "utf-8",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Latin1 => "latin-1",
            Self::Windows1252 => "windows-1252",
        })
    }
}

/// A reader of UTF-8, without a byte order mark.
#[derive(Debug)]
pub(super) struct Utf8Reader<R> {
    reader: R,
    named: Option<Encoding>,
    /// None before the first read.
    encoding: Option<Encoding>,
    /// What was read and is not decoded: less than a character.
    rest: Vec<u8>,
    /// What is decoded, and how much of it is consumed.
    text: Vec<u8>,
    consumed: usize,
}

impl<R: BufRead> Utf8Reader<R> {
    /// Decodes the named encoding. If none is, that of the byte order mark, or else UTF-8.
    pub(super) fn new(reader: R, named: Option<Encoding>) -> Self {
        Self { reader, named, encoding: None, rest: Vec::new(), text: Vec::new(), consumed: 0 }
    }

    /// Reads the byte order mark, if there is one.
    fn begin(&mut self) -> io::Result<Encoding> {
        // Live input may come byte by byte. No more is read than a mark has.
        while MARKS.iter().any(|(mark, _)| mark.starts_with(&self.rest) && mark.len() > self.rest.len()) {
            let Some(byte) = self.reader.fill_buf()?.first().copied() else { break };
            self.reader.consume(1);
            self.rest.push(byte);
        }
        let mark = MARKS.iter().find(|(mark, _)| self.rest.starts_with(mark));
        match (mark, self.named) {
            (Some((_, marked)), Some(named)) if *marked != named => {
                let message = format!("the input has the byte order mark of {marked}, not {named}");
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
            (Some((mark, marked)), _) => {
                self.rest.drain(..mark.len());
                Ok(*marked)
            }
            (None, named) => Ok(named.unwrap_or(Encoding::Utf8)),
        }
    }

    /// Decodes another piece of the input, to `text`. False at the end.
    fn decode(&mut self, encoding: Encoding) -> io::Result<bool> {
        let read = self.reader.fill_buf()?;
        let (length, is_end) = (read.len(), read.is_empty());
        self.rest.extend_from_slice(read);
        self.reader.consume(length);
        self.text.clear();
        self.consumed = 0;
        match encoding {
            Encoding::Utf8 => self.text.append(&mut self.rest),
            Encoding::Utf16Le => self.decode_utf16(u16::from_le_bytes, is_end),
            Encoding::Utf16Be => self.decode_utf16(u16::from_be_bytes, is_end),
            Encoding::Latin1 => self.decode_bytes(|byte| Some(char::from(byte))),
            Encoding::Windows1252 => self.decode_bytes(|byte| match byte {
                0x80..=0x9f => WINDOWS_1252.get(usize::from(byte - 0x80)).copied().flatten(),
                _ => Some(char::from(byte)),
            }),
        }
        Ok(!is_end || !self.text.is_empty())
    }

    fn decode_bytes(&mut self, char_of: impl Fn(u8) -> Option<char>) {
        for byte in self.rest.drain(..) {
            match char_of(byte) {
                Some(char) => push(&mut self.text, char),
                None => self.text.push(NO_UTF8),
            }
        }
    }

    fn decode_utf16(&mut self, unit: impl Fn([u8; 2]) -> u16, is_end: bool) {
        let (pairs, half) = self.rest.as_chunks::<2>();
        let mut units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        let mut kept = half.len();
        // The other half of the character may follow.
        if !is_end && units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
            units.pop();
            kept += 2;
        }
        for char in char::decode_utf16(units) {
            match char {
                Ok(char) => push(&mut self.text, char),
                Err(_) => self.text.push(NO_UTF8),
            }
        }
        self.rest.drain(..self.rest.len() - kept);
        if is_end && !self.rest.is_empty() {
            self.rest.clear();
            self.text.push(NO_UTF8);
        }
    }
}

/// A byte that never occurs in UTF-8.
const NO_UTF8: u8 = 0xff;

fn push(text: &mut Vec<u8>, char: char) {
    text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

impl<R: BufRead> Read for Utf8Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(into)?;
        self.consume(taken);
        Ok(taken)
    }
}

impl<R: BufRead> BufRead for Utf8Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            None => {
                let encoding = self.begin()?;
                *self.encoding.insert(encoding)
            }
        };
        while self.consumed == self.text.len() {
            if !self.decode(encoding)? {
                break;
            }
        }
        Ok(self.text.get(self.consumed..).unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.consumed += bytes;
    }
}
