//! Detection of what an input is, by its first bytes (magic numbers), so that a file of another format is one error
//! and not one per line.

use std::io;

const ZIP: &str = "a zip archive";

/// The first bytes of formats that are not read, and what they are.
const MAGIC: [(&[u8], &str); 10] = [
    (b"PK\x03\x04", ZIP),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"\x1f\x8b", "gzipped twice"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ\0", "compressed by xz"),
    (b"\x04\x22\x4d\x18", "compressed by lz4"),
    (b"PAR1", "a Parquet file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"SQLite format 3\0", "a SQLite database"),
];

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// How XML and HTML begin, where `<` alone says nothing.
const HTML_TAGS: [&[u8]; 3] = [b"<?xml", b"<!doctype", b"<html"];

/// The format that an input is read as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Syntax {
    Json,
    Csv,
    /// CSV in an encoding that is named, so that it is not detected.
    EncodedCsv,
}

impl Syntax {
    /// Fails if an input that begins with these bytes, after decompression, is of another format.
    pub(super) fn check(self, first: &[u8]) -> io::Result<()> {
        let found = match self {
            Self::Json => foreign(first),
            Self::Csv | Self::EncodedCsv => foreign_to_csv(first, matches!(self, Self::EncodedCsv)),
        };
        let expected = if matches!(self, Self::Json) { "JSON" } else { "CSV" };
        let error =
            |what| io::Error::new(io::ErrorKind::InvalidData, format!("the input is not {expected}, but {what}"));
        found.map_or(Ok(()), |what| Err(error(what)))
    }
}

impl Syntax {
    /// Whether more of an input that begins with these bytes may change what [`check`](Self::check) says of it. No more
    /// is waited for than one record, or two lines of what is no JSON.
    pub(super) fn is_undecided(self, first: &[u8]) -> bool {
        let may_become = |text: &[u8], tag: &[u8]| {
            text.len() < tag.len() && tag.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
        };
        // UTF-16 takes two bytes.
        if first.len() < 2 || MAGIC.iter().any(|(magic, _)| magic.starts_with(first)) || may_become(first, UTF8_MARK) {
            return by_magic(first).is_none();
        }
        let text = trimmed(first);
        match (self, text) {
            _ if by_magic(first).is_some() || is_bare_utf16(first) || begins_with_mark(first) => false,
            (_, []) => true,
            (Self::Json, [b'{' | b'[' | b'<', ..]) => false,
            // Whether it is CSV takes two lines.
            (Self::Json, _) => text.iter().filter(|byte| **byte == b'\n').count() < 2,
            (Self::Csv | Self::EncodedCsv, [b'{' | b'[', rest @ ..]) => rest.trim_ascii_start().is_empty(),
            (Self::Csv | Self::EncodedCsv, _) => HTML_TAGS.iter().any(|tag| may_become(text, tag)),
        }
    }
}

fn by_magic(first: &[u8]) -> Option<&'static str> {
    MAGIC.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, what)| *what)
}

/// UTF-16 without a byte order mark: the first character is ASCII.
fn is_bare_utf16(first: &[u8]) -> bool {
    matches!(first, [first, second, ..] if (*first == 0) != (*second == 0))
}

fn begins_with_mark(first: &[u8]) -> bool {
    first.starts_with(b"\xff\xfe") || first.starts_with(b"\xfe\xff")
}

/// The text without blanks and a byte order mark in front of it.
fn trimmed(first: &[u8]) -> &[u8] {
    first.strip_prefix(UTF8_MARK).unwrap_or(first).trim_ascii_start()
}

/// What an input is that begins with these bytes, if it is no JSON.
fn foreign(first: &[u8]) -> Option<&'static str> {
    if let Some(what) = by_magic(first) {
        return Some(what);
    }
    if is_bare_utf16(first) || begins_with_mark(first) {
        return Some("text in UTF-16");
    }
    let text = trimmed(first);
    if text.starts_with(b"<") {
        return Some("XML or HTML");
    }
    is_csv(text).then_some("CSV")
}

/// What an input is that begins with these bytes, if it is no CSV.
fn foreign_to_csv(first: &[u8], is_named: bool) -> Option<&'static str> {
    if let Some(what) = by_magic(first) {
        return Some(if what == ZIP { "a zip archive, as spreadsheets are" } else { what });
    }
    if is_bare_utf16(first) && !is_named {
        return Some("text in UTF-16 without a byte order mark; name its encoding, utf-16le or utf-16be");
    }
    let text = trimmed(first);
    let begins = |tag: &[u8]| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    if HTML_TAGS.iter().any(|tag| begins(tag)) {
        return Some("XML or HTML");
    }
    // A quote inside of a field that is not quoted would be wrong in CSV as well.
    let inner = |open: &[u8]| text.strip_prefix(open).map(<[u8]>::trim_ascii_start);
    let is_object = inner(b"{").is_some_and(|rest| rest.starts_with(b"\"") || rest.starts_with(b"}"));
    let is_array = inner(b"[").is_some_and(|rest| rest.starts_with(b"{"));
    (is_object || is_array).then_some("JSON")
}

/// Whether the first two lines have the same separators, as often, and neither begins as JSON does.
fn is_csv(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n');
    // The last piece may not be a whole line.
    let (Some(head), Some(row), Some(_)) = (lines.next(), lines.next(), lines.next()) else { return false };
    let is_json = |line: &[u8]| matches!(line.trim_ascii_start().first(), None | Some(b'{' | b'[' | b'}' | b']'));
    [b',', b';', b'\t'].iter().any(|separator| {
        let count = |line: &[u8]| line.iter().filter(|byte| *byte == separator).count();
        !is_json(head) && !is_json(row) && count(head) > 0 && count(head) == count(row)
    })
}
