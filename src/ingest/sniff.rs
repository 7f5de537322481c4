//! Detection of what an input is, by its first bytes (magic numbers), so that a file of another format is one error
//! and not one per line.

/// The first bytes of formats that are not read, and what they are.
const MAGIC: [(&[u8], &str); 12] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"\x1f\x8b", "gzipped twice"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ\0", "compressed by xz"),
    (b"\x04\x22\x4d\x18", "compressed by lz4"),
    (b"PAR1", "a Parquet file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
];

/// What an input is that begins with these bytes, after decompression, if it is no JSON.
pub(super) fn foreign(first: &[u8]) -> Option<&'static str> {
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Some(what);
    }
    // UTF-16 without a byte order mark: the first character is ASCII.
    if let [first, second, ..] = first
        && (*first == 0) != (*second == 0)
    {
        return Some("text in UTF-16");
    }
    let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    let text = text.trim_ascii_start();
    if text.starts_with(b"<") {
        return Some("XML or HTML");
    }
    is_csv(text).then_some("CSV")
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
