//! Framing, in every layout and with every kind of damage.

use std::io::{self, BufReader, Read, Write};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::super::*;
use crate::limits::Limits;

/// A reader that gives one byte, then two, and so on up to a few: every state meets the end of a chunk.
struct Drip<'a> {
    bytes: &'a [u8],
    next: usize,
    most: usize,
}

impl<'a> Drip<'a> {
    fn new(bytes: &'a [u8], most: usize) -> Self {
        Self { bytes, next: 0, most }
    }
}

impl Read for Drip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.next = self.next % self.most + 1;
        let taken = self.next.min(into.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(taken);
        into[..taken].copy_from_slice(now);
        self.bytes = later;
        Ok(taken)
    }
}

/// A frame without its lifetime: the line, and the text or the message.
type Found = (u64, Result<String, String>);

fn frames_of(reader: impl io::BufRead, bytes_max: usize) -> Vec<Found> {
    let mut framer = Framer::new(reader, bytes_max);
    let mut found = Vec::new();
    while let Some(frame) = framer.next().unwrap() {
        found.push(match frame {
            Frame::Record { line, bytes } => (line, Ok(String::from_utf8_lossy(bytes).into_owned())),
            Frame::Broken { line, error, .. } => (line, Err(error.message().to_owned())),
        });
    }
    assert!(framer.next().unwrap().is_none(), "the end stays the end");
    found
}

/// All frames of an input, which must not depend on how it arrives.
fn frames(input: &[u8]) -> Vec<Found> {
    let whole = frames_of(input, 1 << 20);
    for most in [1, 2, 7] {
        assert_eq!(frames_of(BufReader::with_capacity(16, Drip::new(input, most)), 1 << 20), whole);
    }
    whole
}

/// The texts that came out as records, and the lines on which something broke.
fn outcome(input: &str) -> (Vec<String>, Vec<u64>) {
    let (mut records, mut broken) = (Vec::new(), Vec::new());
    for (line, found) in frames(input.as_bytes()) {
        match found {
            Ok(text) => records.push(text),
            Err(_) => broken.push(line),
        }
    }
    (records, broken)
}

#[test]
fn layouts_that_are_fine() {
    let rows: &[(&str, &[(u64, &str)])] = &[
        ("", &[]),
        ("\n\r\n  \n", &[]),
        ("[]", &[]),
        ("[ \n ]\n[]", &[]),
        ("{}", &[(1, "{}")]),
        ("\u{feff}{}\n", &[(1, "{}")]),
        ("\u{feff}[{}]", &[(1, "{}")]),
        ("\u{feff}", &[]),
        ("{\"a\":1}\r\n\r\n{\"b\":2}\r\n", &[(1, "{\"a\":1}"), (3, "{\"b\":2}")]),
        ("{}{} {}\n{}", &[(1, "{}"), (1, "{}"), (1, "{}"), (2, "{}")]),
        ("[{},{}]\n{}\n[{}]", &[(1, "{}"), (1, "{}"), (2, "{}"), (3, "{}")]),
        ("[\n{}\n,\n{}\n]", &[(2, "{}"), (4, "{}")]),
        ("{\"a\":\n{\"b\":\n{}}}\n{}", &[(1, "{\"a\":\n{\"b\":\n{}}}"), (4, "{}")]),
        ("{\"a\":[\n{},\n{}]}", &[(1, "{\"a\":[\n{},\n{}]}")]),
        (r#"{"a":"}\"]\\"}{}"#, &[(1, r#"{"a":"}\"]\\"}"#), (1, "{}")]),
        (
            "1 true\nnull\"a\"[2,[3],\"]\"]-1",
            &[(1, "1"), (1, "true"), (2, "null"), (2, "\"a\""), (2, "2"), (2, "[3]"), (2, "\"]\""), (2, "-1")],
        ),
    ];
    for (input, expected) in rows {
        let expected: Vec<Found> = expected.iter().map(|(line, text)| (*line, Ok((*text).to_owned()))).collect();
        assert_eq!(frames(input.as_bytes()), expected, "{input:?}");
    }
}

#[test]
fn damage_costs_one_record() {
    let rows: &[(&str, &[&str], &[u64])] = &[
        // Truncated where a value is not allowed, and where it is.
        ("{\"a\":1\n{\"b\":2}\n", &["{\"b\":2}"], &[1]),
        ("{\"a\":1,\n{\"b\":2}\n", &["{\"b\":2}"], &[1]),
        ("{\"a\"\n{\"b\":2}\n", &["{\"b\":2}"], &[1]),
        ("{\"a\":\n{\"b\":2}\n{\"c\":3}\n", &["{\"b\":2}", "{\"c\":3}"], &[1]),
        ("{\"a\":\n{\"b\":2}", &["{\"b\":2}"], &[1]),
        ("{\"a\":[\n{\"b\":2}\n{\"c\":3}\n", &["{\"b\":2}", "{\"c\":3}"], &[1]),
        // Two such lines in a row: the framer goes back once only, so the second takes the line after it along.
        ("{\"a\":\n{\"b\":\n{\"c\":3}\n{\"d\":4}", &["{\"d\":4}"], &[1, 2]),
        ("{\"a\":\n{\"b\":\"x\n{\"c\":3}", &["{\"c\":3}"], &[1, 2]),
        // A string that does not end.
        ("{\"a\":\"x\n{\"b\":2}\n", &["{\"b\":2}"], &[1]),
        ("{\"a\":\"x\\\n{\"b\":2}\n", &["{\"b\":2}"], &[1]),
        ("{\"a\":\"x\r\n  {\"b\":2}\r\n", &["{\"b\":2}"], &[1]),
        // The wrong bracket, and too many of them.
        ("{\"a\":[1}\n{\"b\":2}\n", &["{\"b\":2}"], &[1]),
        ("{\"a\":1]{}\n{\"b\":2}\n", &["{\"b\":2}"], &[1]),
        ("{\"a\":1}}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"], &[1]),
        ("{\"a\":1}]\n{\"b\":2}]\n", &["{\"a\":1}", "{\"b\":2}"], &[1]),
        // Lines that are something else.
        ("some words {}\n{\"b\":2}\n", &["{\"b\":2}"], &[1]),
        ("not json {}\nfalsehood\n{\"b\":2}\n", &["{\"b\":2}"], &[1, 2]),
        ("{}\n# comment\n:{}\n{\"b\":2}\n", &["{}", "{\"b\":2}"], &[2, 3]),
        // Commas where none belong, said once.
        ("{\"a\":1},\n{\"b\":2},\n{\"c\":3}", &["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"], &[1]),
        // Arrays.
        ("[{\"a\":1}\n{\"b\":2}\n{\"c\":3}]", &["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"], &[2]),
        ("[{\"a\":1},]\n{\"b\":2}", &["{\"a\":1}", "{\"b\":2}"], &[1]),
        ("[,{\"a\":1}]\n{\"b\":2}", &["{\"a\":1}", "{\"b\":2}"], &[1]),
        ("[{\"a\":1},\n{\"b\":\"x\n,{\"c\":3}]\n{}", &["{\"a\":1}", "{\"c\":3}", "{}"], &[2]),
        ("\n[{\"a\":1},\n{\"b\":2}", &["{\"a\":1}", "{\"b\":2}"], &[2]),
        ("[{\"a\":1},{\"b\":", &["{\"a\":1}"], &[1]),
        // Spread over lines, in an array and not.
        (
            "[\n  {\n    \"a\": \"x\n    \"b\": [\n      {}\n    ]\n  },\n  {\n    \"c\": 3\n  }\n]\n{}",
            &["{\n    \"c\": 3\n  }", "{}"],
            &[2],
        ),
        ("{\n  \"a\": [1}\n  \"b\": {}\n}\n{\n  \"c\": 3\n}", &["{\n  \"c\": 3\n}"], &[1]),
        // The end.
        ("{}\n{\"a\":1", &["{}"], &[2]),
        ("{}\n{\"a\":\"", &["{}"], &[2]),
        ("{}\n\"a", &["{}"], &[2]),
        ("\u{feff}{}\n\n{", &["{}"], &[3]),
    ];
    for (input, records, broken) in rows {
        let (found, lines) = outcome(input);
        assert_eq!(
            (found, lines.as_slice()),
            (records.iter().map(|&text| text.to_owned()).collect(), *broken),
            "{input}"
        );
    }
    let half_mark = frames(b"\xef\xbb{}\n{\"a\":1}");
    assert_eq!(half_mark, [(1, Err("a byte order mark is incomplete".to_owned())), (2, Ok("{\"a\":1}".to_owned()))]);
}

#[test]
fn a_chain_of_cut_lines_takes_linear_time() {
    let input = "{\"a\":\n".repeat(100_000);
    let found = frames_of(input.as_bytes(), usize::MAX);
    assert!(found.iter().all(|(_, found)| found.is_err()));
}

#[test]
fn brackets_without_end_are_followed_but_not_kept() {
    let mut input = "[".repeat(3_000_000);
    input.push_str("\n{\"a\":1}\n");
    let found = frames_of(input.as_bytes(), 1 << 10);
    assert_eq!(found.len(), 1);
    let deep = format!("[{}{}]\n{{}}", "[".repeat(1_000), "]".repeat(1_000));
    assert_eq!(frames(deep.as_bytes()).len(), 2);
}

const GOOD: &str = "{\"$distinct_id\":\"d\",\"$set\":{\"a\":1}}";

fn read_all(reader: impl Read) -> Vec<crate::error::Result<Outcome<Record>>> {
    Records::new(reader, Rules::new()).collect()
}

#[test]
fn a_line_of_ten_megabytes_is_one_reject() {
    let input =
        format!("{GOOD}\n{{\"$distinct_id\":\"d\",\"$set\":{{\"a\":\"{}\"}}}}\n{GOOD}\n", "x".repeat(10_000_000));
    let outcomes: Vec<_> = read_all(input.as_bytes()).into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    let reject = outcomes[1].as_ref().unwrap_err();
    assert_eq!((reject.kind, reject.line, reject.index), (crate::error::ErrorKind::LimitExceeded, Some(2), 1));
    assert_eq!(reject.reason, "a record has at most 1048576 bytes bytes=10000036");
    let cut = reject.cut.as_deref().unwrap();
    let start = &input.lines().nth(1).unwrap().as_bytes()[..4_096];
    assert_eq!((&*cut.start, cut.bytes, &reject.record), (start, 10_000_036, &None));
    let written = serde_json::to_value(reject).unwrap();
    assert_eq!(written["cut"], serde_json::json!({"bytes": 10_000_036, "start": std::str::from_utf8(start).unwrap()}));
    // One that never ends, and one at the very limit.
    let found = frames_of(format!("{{\"a\":\"{}\n{{}}", "x".repeat(100)).as_bytes(), 50);
    assert_eq!(found, [(1, Err("a record has at most 50 bytes bytes=106".to_owned())), (2, Ok("{}".to_owned()))]);
    let exact = format!("{{\"a\":\"{}\"}}", "x".repeat(42));
    assert_eq!(frames_of(exact.as_bytes(), 50), [(1, Ok(exact.clone()))]);
    assert!(frames_of(exact.as_bytes(), 49)[0].1.is_err());
}

/// The lines, beginnings and lengths of the frames that are cut, which must not depend on how the input arrives.
fn cuts_of(input: &str, bytes_max: usize) -> Vec<(u64, String, u64)> {
    let cuts = |most| {
        let mut framer = Framer::new(BufReader::with_capacity(16, Drip::new(input.as_bytes(), most)), bytes_max);
        let mut cuts = Vec::new();
        while let Some(frame) = framer.next().unwrap() {
            if let Frame::Broken { line, bytes, cut_from: Some(length), .. } = frame {
                cuts.push((line, String::from_utf8_lossy(bytes).into_owned(), length));
            }
        }
        cuts
    };
    let whole = cuts(usize::MAX);
    assert_eq!([1, 2, 7].map(cuts), [1, 2, 7].map(|_| whole.clone()));
    whole
}

#[test]
fn of_a_record_that_is_too_long_the_beginning_is_kept() {
    let cut = |line, start: &str, length| (line, start.to_owned(), length);
    // Whole, a word, and prose.
    assert_eq!(cuts_of("{\"a\":\"bcdef\"}\n{}\n1234567890\n", 8), [cut(1, "{\"a\":\"bc", 13), cut(3, "12345678", 10)]);
    assert_eq!(cuts_of("tomato and garlic  \n{}", 8), [cut(1, "tomato a", 17)]);
    // Too long only in the part that is skipped after the damage, and more of it skipped after it was too long.
    assert_eq!(cuts_of("{\"a\":]bcdef}\n{}", 8), [cut(1, "{\"a\":]bc", 12)]);
    assert_eq!(cuts_of("{\"a\":bcdef]ghi}\n{}", 8), [cut(1, "{\"a\":bcd", 15)]);
    // No end, and a comma that is misplaced after a record that was cut.
    assert_eq!(cuts_of("{\"a\":\"bcdef", 8), [cut(1, "{\"a\":\"bc", 11)]);
    assert_eq!(cuts_of("{\"a\":\"bcdef\"}\n,\n", 8), [cut(1, "{\"a\":\"bc", 13)]);
    // The error has the length of all that was skipped.
    let found = frames_of(&b"{\"a\":bcdef]ghi}\n{}"[..], 8);
    assert_eq!(found[0], (1, Err("a record has at most 8 bytes bytes=15".to_owned())));
    // A character is not cut in two.
    let mut limits = Limits::default();
    let input = "{\"a\":\"\u{e9}\"}";
    for (bytes, start) in [(7, "{\"a\":\""), (8, "{\"a\":\"\u{e9}")] {
        limits.update_bytes_max = bytes;
        let reject = Records::new(input.as_bytes(), Rules::new().limits(limits.clone())).next().unwrap().unwrap();
        assert_eq!(&*reject.unwrap_err().cut.unwrap().start, start.as_bytes());
        let outcomes = parse_request(format!("[{input}]").as_bytes(), &Rules::new().limits(limits.clone())).unwrap();
        let reject = outcomes[0].as_ref().unwrap_err();
        assert_eq!((&*reject.cut.as_ref().unwrap().start, &reject.record), (start.as_bytes(), &None));
    }
}

#[test]
fn what_is_no_object_is_a_reject_with_a_place() {
    let mut input = format!("{GOOD}\n7\n{{\"a\":}}\n").into_bytes();
    let bytes = b"{\"$distinct_id\":\"\xff\",\"$set\":{}}";
    input.extend_from_slice(bytes);
    let bytes = serde_json::to_string(&bytes[..]).unwrap();
    input.extend_from_slice(b"\n{\"$distinct_id\":\"e\",\"$add\":1}\ntomato and garlic\n{\"$distinct_id\":\"f\"");
    let lines: Vec<_> = read_all(Drip::new(&input, 3))
        .into_iter()
        .filter_map(|outcome| outcome.unwrap().err())
        .map(|reject| serde_json::to_string(&reject).unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            r#"{"line":2,"index":1,"reason":"a record is a json object type=number","record":"7"}"#.to_owned(),
            r#"{"line":3,"index":2,"reason":"not valid json: expected value row=1 column=6","record":"{\"a\":}"}"#
                .into(),
            format!(r#"{{"line":4,"index":3,"reason":"the record is not valid utf-8 offset=17","record":{bytes}}}"#),
            r#"{"line":5,"index":4,"id":"e","field":"$add","reason":"the operand is an object type=number","#
                .to_owned()
                + r#""record":"{\"$distinct_id\":\"e\",\"$add\":1}"}"#,
            r#"{"line":6,"index":5,"reason":"the line is not json","record":"tomato and garlic"}"#.into(),
            r#"{"line":7,"index":6,"reason":"the input ends inside a record","record":"{\"$distinct_id\":\"f\""}"#
                .into(),
        ]
    );
}

proptest! {
    /// All that is no blank, comma or bracket between records is in a frame, in the order of the input.
    #[test]
    fn the_text_of_what_is_broken_is_kept(
        lines in prop::collection::vec(0..8_usize, 1..12),
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\",: \na7]?"), 0..4),
        most in 1..9_usize,
    ) {
        let parts = [GOOD, "[", "]", ",", "{\"a\":\n  {\"b\":[1,\n2]}\n}", "tomato, {\"a\"", "nil 12", "{\"a\":\"b"];
        let mut input: String = lines.iter().map(|line| format!("{}\n", parts[*line])).collect();
        for (at, new) in edits.into_iter().take(input.len() - 1) {
            let at = at.index(input.len());
            input.replace_range(at..=at, &new);
        }
        let reader = BufReader::with_capacity(16, Drip::new(input.as_bytes(), most));
        let mut framer = Framer::new(reader, 1 << 20);
        let mut seen = Vec::new();
        while let Some(Frame::Record { bytes, .. } | Frame::Broken { bytes, .. }) = framer.next().unwrap() {
            seen.extend_from_slice(bytes);
        }
        let is_text = |byte: &u8| !matches!(byte, b' ' | b'\n' | b',' | b'[' | b']');
        let text = |bytes: &[u8]| String::from_utf8(bytes.iter().copied().filter(is_text).collect()).unwrap();
        prop_assert_eq!(text(&seen), text(input.as_bytes()), "{}", input);
    }
}

fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_told_by_its_first_bytes() {
    let one = gzip(format!("\u{feff}{GOOD}\n{GOOD}"));
    assert_eq!(read_all(Drip::new(&one, 1)).into_iter().filter(|outcome| matches!(outcome, Ok(Ok(_)))).count(), 2);
    // Members that cut a record in two.
    let (head, tail) = GOOD.split_at(9);
    let two = [gzip(format!("{GOOD}\n{head}")), gzip(tail)].concat();
    assert_eq!(read_all(&two[..]).into_iter().filter(|outcome| matches!(outcome, Ok(Ok(_)))).count(), 2);
    // Two bytes that are no gzip, and fewer than two.
    assert_eq!(read_all(&b"\x1f"[..]).len(), 1);
    assert_eq!(read_all(&b""[..]).len(), 0);
}

/// Inputs of other formats, and what they are.
fn foreign_inputs() -> Vec<(Vec<u8>, &'static str)> {
    let utf16 = |order: fn(u16) -> [u8; 2], text: &str| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let mut inputs = vec![
        (b"PK\x03\x04xlsx".to_vec(), "a zip archive"),
        (b"\x28\xb5\x2f\xfdxyz".to_vec(), "compressed by zstd"),
        (b"BZh91AY".to_vec(), "compressed by bzip2"),
        (b"\xfd7zXZ\0xyz".to_vec(), "compressed by xz"),
        (b"\x04\x22\x4d\x18xyz".to_vec(), "compressed by lz4"),
        (b"PAR1\x15\x04".to_vec(), "a Parquet file"),
        (b"Obj\x01\x04".to_vec(), "an Avro file"),
        (b"ORC\x08\x03".to_vec(), "an ORC file"),
        (b"SQLite format 3\0\x10".to_vec(), "a SQLite database"),
        (utf16(u16::to_le_bytes, GOOD), "text in UTF-16"),
        (utf16(u16::to_be_bytes, &format!("\u{feff}{GOOD}")), "text in UTF-16"),
        (utf16(u16::to_le_bytes, &format!("\u{feff}{GOOD}")), "text in UTF-16"),
        (b"\xef\xbb\xbf \n <html>".to_vec(), "XML or HTML"),
        (b"\n\nid,plan\na,pro\nb,free\n".to_vec(), "CSV"),
        (b"\xef\xbb\xbfid;plan\na;pro\nb;free\n".to_vec(), "CSV"),
    ];
    inputs.extend(inputs.clone().into_iter().map(|(bytes, what)| (gzip(&bytes), what)));
    inputs.push((gzip(gzip(GOOD)), "gzipped twice"));
    inputs
}

/// A pipe may give less than what tells a format apart.
#[test]
fn another_format_is_one_error_however_the_input_arrives() {
    for (bytes, what) in foreign_inputs() {
        for most in [1, 2, 3, 7, 1 << 20] {
            let [Err(error)] = &read_all(Drip::new(&bytes, most))[..] else { panic!("{what}, {most}: {bytes:02x?}") };
            let text = error.with_sources();
            assert!(text.ends_with(&format!("the input is not JSON, but {what}")), "{most}: {text}");
        }
    }
    // What begins like another format, and is none: the garbage is one reject, and records follow.
    for garbage in ["P", "PK", "PAR", "OR", "SQLite format", "BZ", "\u{4}", "id,plan", "id,plan\nx"] {
        for most in [1, 2, 1 << 20] {
            let input = format!("{garbage}\n{GOOD}\n");
            let outcomes = read_all(Drip::new(input.as_bytes(), most));
            let taken = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Ok(_)))).count();
            let rejected = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Err(_)))).count();
            assert_eq!((taken, rejected > 0, taken + rejected), (1, true, outcomes.len()), "{garbage:?} {most}");
        }
    }
}

/// Detection waits for no more than the first record.
#[test]
fn live_input_is_read_record_by_record() {
    struct Live<'r>(&'r [u8]);
    impl Read for Live<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "it would wait for the next record");
            self.0.read(into)
        }
    }
    for begin in ["", "\u{feff}", "\n \n", "["] {
        let line = format!("{begin}{GOOD}\n");
        let first = Records::new(Live(line.as_bytes()), Rules::new()).next();
        assert!(matches!(first, Some(Ok(Ok(_)))), "{begin:?}");
    }
}

#[test]
fn a_cut_gzip_stream_is_an_error_after_what_came_before() {
    // Text that compresses badly, so that a cut in the middle leaves something.
    let lines: String = (0_u64..20_000)
        .map(|n| format!("{{\"$distinct_id\":\"{:x}\",\"$set\":{{}}}}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let whole = gzip(&lines);
    for cut in [&whole[..whole.len() / 2], &[gzip(&lines), b"junk".to_vec()].concat()] {
        let mut records = Records::new(cut, Rules::new());
        let outcomes: Vec<_> = records.by_ref().collect();
        let (last, before) = outcomes.split_last().unwrap();
        assert!(last.as_ref().unwrap_err().is_invalid());
        assert!(before.len() > 5_000, "{}", before.len());
        assert!(before.iter().all(|outcome| matches!(outcome, Ok(Ok(_)))));
        assert!(records.next().is_none());
    }
}

#[test]
fn a_failing_reader_is_not_the_end() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    let outcomes = read_all(GOOD.as_bytes().chain(Fails));
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1].as_ref().unwrap_err().kind(), crate::error::ErrorKind::Io);
    assert_eq!(read_all(Fails).len(), 1);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![Just("\"\\]}{[,:\n".to_owned()), any::<String>(), "[a-z]{0,5}"];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text.clone().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::vec((text.clone(), inner), 0..5)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Objects only, since bare values at the top run into each other.
fn any_record() -> impl Strategy<Value = serde_json::Value> {
    proptest::collection::vec(("[a-z]{0,4}", any_json()), 0..4)
        .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect()))
}

/// JSON with a random blank between any two tokens, the nastiest text that is still valid.
fn spread(value: &serde_json::Value, blanks: &mut impl Iterator<Item = &'static str>, out: &mut String) {
    let mut blank = |out: &mut String| out.push_str(blanks.next().unwrap_or(""));
    blank(out);
    match value {
        serde_json::Value::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                spread(element, blanks, out);
            }
            out.push(']');
        }
        serde_json::Value::Object(entries) => {
            out.push('{');
            for (at, (name, value)) in entries.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(name).unwrap());
                out.push(':');
                spread(value, blanks, out);
            }
            out.push('}');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}

const BLANKS: [&str; 6] = ["", " ", "\n", "\r\n", "\n  ", "\t"];

/// Lays records out: a run in each layout, one after the other.
fn lay_out(runs: &[(Vec<serde_json::Value>, u8)], blanks: &[usize]) -> String {
    let mut blanks = blanks.iter().cycle().map(|&blank| BLANKS[blank % BLANKS.len()]);
    let mut out = String::new();
    for (records, layout) in runs {
        let texts = records.iter().map(serde_json::Value::to_string);
        match layout % 5 {
            0 => out.extend(texts.map(|text| text + "\n")),
            1 => out.extend(texts),
            2 => out.push_str(&format!("[{}]", texts.collect::<Vec<_>>().join(","))),
            3 => out.push_str(&serde_json::to_string_pretty(records).unwrap()),
            _ => records.iter().for_each(|record| spread(record, &mut blanks, &mut out)),
        }
        out.push_str(blanks.next().unwrap_or(""));
    }
    out
}

proptest! {
    #[test]
    fn valid_records_in_any_layout_come_out_whole(
        runs in proptest::collection::vec((proptest::collection::vec(any_record(), 0..5), any::<u8>()), 0..5),
        blanks in proptest::collection::vec(any::<usize>(), 1..40),
        most in 1_usize..9,
    ) {
        let input = lay_out(&runs, &blanks);
        let expected: Vec<_> = runs.into_iter().flat_map(|(records, _)| records).collect();
        let found = frames_of(BufReader::with_capacity(32, Drip::new(input.as_bytes(), most)), usize::MAX);
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        prop_assert!(lines.is_sorted());
        let found: Vec<serde_json::Value> =
            found.into_iter().map(|(_, text)| serde_json::from_str(&text.unwrap()).unwrap()).collect();
        prop_assert_eq!(found, expected, "{}", input);
    }

    /// The parser's own notion of where a value ends, for values back to back.
    #[test]
    fn the_framer_agrees_with_a_stream_of_values(
        values in proptest::collection::vec(any_record(), 0..6),
        blanks in proptest::collection::vec(any::<usize>(), 1..40),
    ) {
        let input = lay_out(&[(values, 4)], &blanks);
        let stream = serde_json::Deserializer::from_str(&input).into_iter::<serde_json::Value>();
        let stream: Vec<_> = stream.map(Result::unwrap).collect();
        let found: Vec<serde_json::Value> =
            frames(input.as_bytes()).into_iter().map(|(_, t)| serde_json::from_str(&t.unwrap()).unwrap()).collect();
        prop_assert_eq!(found, stream);
    }

    /// One line is cut somewhere; every other line comes out.
    #[test]
    fn a_cut_line_costs_itself(
        before in proptest::collection::vec(any_record(), 0..4),
        cut in any_record(),
        after in proptest::collection::vec(any_record(), 0..4),
        at in any::<prop::sample::Index>(),
    ) {
        let text = cut.to_string();
        let mut end = at.index(text.len() - 1) + 1;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let line = |value: &serde_json::Value| format!("{value}\n");
        let head: String = before.iter().map(line).collect();
        let tail: String = after.iter().map(line).collect();
        let found = frames(format!("{head}{}\n{tail}", text.get(..end).unwrap()).as_bytes());
        let records: Vec<_> = found.iter().filter_map(|(_, text)| text.clone().ok()).collect();
        let expected: Vec<_> = before.iter().chain(&after).map(ToString::to_string).collect();
        prop_assert_eq!(records, expected);
        let broken: Vec<_> = found.iter().filter(|(_, text)| text.is_err()).map(|(line, _)| *line).collect();
        prop_assert_eq!(broken, [before.len() as u64 + 1]);
    }

    /// Whatever comes in, framing ends, does not depend on the chunks, and never loses count of the lines.
    #[test]
    fn anything_at_all_is_framed(input in "[\\[\\]{}:,\"\\\\ \na1\u{feff}]{0,60}") {
        let lines = input.matches('\n').count() as u64 + 1;
        for (line, _) in frames(input.as_bytes()) {
            prop_assert!(line >= 1 && line <= lines);
        }
    }

    #[test]
    fn any_bytes_are_read_to_the_end(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        for outcome in Records::new(&input[..], Rules::new()) {
            prop_assert!(matches!(outcome, Ok(Err(_)) | Err(_)));
        }
    }
}
