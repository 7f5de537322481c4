//! What a CSV file becomes: the rules of the import, against the `csv` crate as the writer and as another parser.

use std::io::{self, BufReader, Read};

use csv::{QuoteStyle, ReaderBuilder, Terminator, WriterBuilder};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::rows::{CsvRow, RowSplitter};
use super::{Csv, CsvRecords};
use crate::error::Result;
use crate::ingest::{Outcome, Record, Reject, Rules};
use crate::limits::Limits;
use crate::model::Profile;
use crate::ops::Change;

/// The options of a test, as `name=text`.
fn csv(options: &[&str]) -> Csv {
    options.iter().fold(Csv::new(), |csv, option| {
        let (name, text) = option.split_once('=').unwrap();
        csv.option(name, text).unwrap()
    })
}

fn outcomes(options: &[&str], file: &[u8], rules: Rules) -> Result<Vec<Outcome<Record>>> {
    CsvRecords::new(file, &csv(options), rules).collect()
}

fn rejects(options: &[&str], file: &str) -> Vec<Reject> {
    outcomes(options, file.as_bytes(), Rules::new()).unwrap().into_iter().filter_map(Outcome::err).collect()
}

/// A record as `table id {properties}`.
fn shown(record: &Record) -> String {
    let Change::Update(update) = &record.change else { panic!("no row deletes") };
    let profile = Profile::fold([update]).expect("every row creates");
    assert_eq!(profile.last_seen(), None, "the time of the last update is not touched");
    let properties = serde_json::to_string(&profile).unwrap();
    format!("{} {} {properties}", record.key.kind(), record.key.id())
}

/// All rows, none of which is rejected.
fn stored(options: &[&str], file: impl AsRef<[u8]>) -> Vec<String> {
    let outcomes = outcomes(options, file.as_ref(), Rules::new()).unwrap();
    outcomes.iter().map(|outcome| shown(outcome.as_ref().unwrap())).collect()
}

fn refused(options: &[&str], file: &str) -> String {
    outcomes(options, file.as_bytes(), Rules::new()).unwrap_err().to_string()
}

/// Reads one byte at a time.
struct Trickle<'t>(&'t [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(1);
        self.0.read(&mut into[..length])
    }
}

#[test]
fn the_first_row_is_data_unless_it_is_a_header() {
    let file = "$email,plan\na@x,pro\n";
    assert_eq!(
        stored(&["map=1=$email", "map=2=plan"], file),
        [r#"users $email {"$email":"$email","plan":"plan"}"#, r#"users a@x {"$email":"a@x","plan":"pro"}"#],
    );
    assert_eq!(stored(&["header=true"], file), [r#"users a@x {"$email":"a@x","plan":"pro"}"#]);
    assert_eq!(stored(&["header=true"], "$email,plan\n"), [""; 0]);
    assert_eq!(stored(&["header=true"], ""), [""; 0]);
}

#[test]
fn the_id_is_that_column_or_the_email_or_random() {
    let file = "7,a@x,pro\n8,b@x,free\n";
    let named = ["map=2=$email", "map=3=plan"];
    let ids = |more: &[&str]| -> Vec<String> {
        let outcomes = outcomes(&[&named, more].concat(), file.as_bytes(), Rules::new()).unwrap();
        outcomes.into_iter().map(|outcome| outcome.unwrap().key.id().to_owned()).collect()
    };
    assert_eq!(ids(&["id=1"]), ["7", "8"]);
    assert_eq!(ids(&["map=1=$distinct_id"]), ["7", "8"]);
    assert_eq!(ids(&["skip=1"]), ["a@x", "b@x"]);
    // An id column is a property only if it is mapped to one.
    assert_eq!(stored(&["id=1", "map=2=a"], "7,x\n"), [r#"users 7 {"a":"x"}"#]);
    assert_eq!(stored(&["id=1", "map=1=number", "map=2=a"], "7,x\n"), [r#"users 7 {"a":"x","number":7}"#]);
    // Without an id and an address, one profile for each row, also of equal rows and of readers.
    let random = |file: &str| -> Vec<String> {
        let outcomes = outcomes(&["map=1=plan"], file.as_bytes(), Rules::new()).unwrap();
        outcomes.into_iter().map(|outcome| outcome.unwrap().key.id().to_owned()).collect()
    };
    let mut ids = [random("pro\npro\n"), random("pro\n")].concat();
    for id in &ids {
        let parts: Vec<_> = id.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
        assert!(id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{id}");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_row_without_its_id_is_rejected() {
    let rejected = rejects(&["id=1", "map=2=a"], "u1,x\n,y\n\"\",z\n");
    let lines: Vec<_> = rejected.iter().map(ToString::to_string).collect();
    let reason = "invalid: $distinct_id, missing or empty column=1";
    assert_eq!(
        lines,
        [format!("{reason} line=2 field=\"$distinct_id\""), format!("{reason} line=3 field=\"$distinct_id\"")]
    );
    assert_eq!(rejected[1].record.as_deref(), Some(&b"\"\",z"[..]));
    // Rejected rows count.
    assert_eq!(rejected.iter().map(|reject| reject.index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rejects(&["map=1=$email", "map=2=a"], "a@x,1\n,2\n")[0].line, Some(2));
}

/// It may open on a later line of the row. Lines after it may be those of a text, and none is taken for a row.
#[test]
fn a_quote_that_is_not_closed_takes_the_rest() {
    let mut rows = RowSplitter::new(BufReader::new(&b"\"a\nb\",\"c\n1,2\r\n"[..]), b',', 100);
    let mut seen = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let is_broken = matches!(row, CsvRow::Broken(_));
        seen.push((is_broken, rows.line(), String::from_utf8_lossy(rows.last()).into_owned(), rows.cut_from()));
    }
    assert_eq!(seen, [(true, 1, "\"a\nb\",\"c\n1,2".into(), None)]);
}

/// A text that is too long ends where its quote is closed, and one that nothing closes with the input.
#[test]
fn a_quoted_text_of_any_length_ends_with_its_quote() {
    let long = "line, of a text\n".repeat(10_000) + "\"\"\n";
    for (file, ids, reason) in [
        (format!("u1,a\nu2,\"{long}\"\nu3,b\n"), &["u1 line=1", "u3 line=10004"][..], "a row has at most"),
        (format!("u1,a\nu2,\"{long}\nu3,b\n"), &["u1 line=1"], "no closing quote column=2 char=4"),
        (format!("u1,a\nu2,\"{long}"), &["u1 line=1"], "no closing quote column=2 char=4"),
    ] {
        let limits = Limits { update_bytes_max: 1_000, ..Limits::mixpanel() };
        let outcomes = outcomes(&["id=1", "map=2=a"], file.as_bytes(), Rules::new().limits(limits)).unwrap();
        let stored = outcomes.iter().flatten();
        let stored: Vec<_> =
            stored.map(|record| format!("{} line={}", record.key.id(), record.line.unwrap())).collect();
        assert_eq!(stored, ids);
        let rejected: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!((rejected.len(), rejected[0].line), (1, Some(2)));
        assert!(rejected[0].to_string().contains(reason), "{}", rejected[0]);
        let cut = rejected[0].cut.as_ref().unwrap();
        let end = if ids.len() == 2 { "\nu3,b\n".len() } else { 0 };
        assert_eq!(cut.bytes, (file.len() - "u1,a\n".len() - end) as u64);
    }
}

#[test]
fn rows_of_groups_are_groups() {
    assert_eq!(
        stored(&["group=company", "id=1", "map=2=plan"], "acme,pro\n"),
        [r#"group:company acme {"plan":"pro"}"#]
    );
    let header = "$group_id,plan\nacme,pro\n";
    assert_eq!(stored(&["group=company", "header=1"], header), [r#"group:company acme {"plan":"pro"}"#]);
    assert!(refused(&["header=1"], header).contains("cannot be stored"));
}

#[test]
fn a_name_that_is_the_number_of_another_column_is_no_name() {
    let file = "3,2,1\na,b,c\n";
    for option in ["id=1", "id=3", "skip=1", "map=3=x", "types=1=text"] {
        let error = refused(&["header=1", option], file);
        assert!(error.contains("the number of another") && error.contains("column="), "{error}");
    }
    assert_eq!(stored(&["header=1", "id=2"], file), [r#"users b {"1":"c","3":"a"}"#]);
}

/// B.1: a user can exist without properties, a group cannot.
#[test]
fn a_row_without_values_creates_a_user_and_no_group() {
    assert_eq!(stored(&["id=1", "map=2=a"], "u,\n"), ["users u {}"]);
    let read = |strict| {
        let rules = Rules::new().strict(strict);
        outcomes(&["group=company", "id=1", "map=2=a"], b"acme,\nacme,1\n", rules).unwrap()
    };
    let lenient: Vec<Record> = read(false).into_iter().map(Outcome::unwrap).collect();
    let Change::Update(update) = &lenient[0].change else { panic!("no row deletes") };
    assert!(update.is_empty() && Profile::fold([update]).is_none());
    assert_eq!(lenient[0].notes[0].reason, "no effect: a row without values is nothing to store");
    assert!(lenient[1].notes.is_empty());
    let strict = read(true);
    let reject = strict[0].as_ref().unwrap_err().to_string();
    assert_eq!(reject, r#"invalid: a row without values is nothing to store line=1 id="acme""#);
    assert!(strict[1].is_ok());
}

#[test]
fn a_cell_is_its_json_or_its_text_and_an_empty_one_is_nothing() {
    let cells = [
        ("5", "5"),
        ("-1.50", "-1.5"),
        (" 5 ", "5"),
        ("true", "true"),
        ("null", "null"),
        (r#"["a",1]"#, r#"["a",1]"#),
        (r#"{"b":1}"#, r#"{"b":1}"#),
        (r#""5""#, r#""5""#),
        ("007", r#""007""#),
        ("+49", r#""+49""#),
        ("True", r#""True""#),
        ("NaN", r#""NaN""#),
        ("1e999", r#""1e999""#),
        ("[a]", r#""[a]""#),
        ("1,5", r#""1,5""#),
        (" ", r#"" ""#),
        ("2024-01-02", r#""2024-01-02""#),
        (r#"{"a":1,"a":2}"#, r#""{\"a\":1,\"a\":2}""#),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ];
    for (cell, expected) in cells {
        let file = format!("u,\"{}\"\n", cell.replace('"', "\"\""));
        assert_eq!(stored(&["id=1", "map=2=a"], file), [format!("users u {{\"a\":{expected}}}")], "{cell}");
    }
    assert_eq!(stored(&["id=1", "map=2=a", "map=3=b"], "u,,\"\"\n"), ["users u {}"]);
    // An id is a text, whatever it looks like.
    assert_eq!(stored(&["id=1", "map=2=a"], "1.0,x\n007,x\n"), [r#"users 1.0 {"a":"x"}"#, r#"users 007 {"a":"x"}"#]);
}

#[test]
fn a_column_with_a_type_has_only_values_of_it() {
    let value = |cells: &str, cell: &str| {
        let file = format!("u,\"{}\"\n", cell.replace('"', "\"\""));
        let outcome = outcomes(&["id=1", "map=2=a", &format!("types=2={cells}")], file.as_bytes(), Rules::new());
        match &outcome.unwrap()[0] {
            Ok(record) => shown(record).split_once("\"a\":").unwrap().1.trim_end_matches('}').to_owned(),
            Err(reject) => reject.to_string(),
        }
    };
    assert_eq!(value("text", "5"), r#""5""#);
    assert_eq!(value("number", "5.50"), "5.5");
    assert_eq!(value("boolean", "TRUE"), "true");
    assert_eq!(value("boolean", "0"), "false");
    assert_eq!(value("date", "2024-01-02T03:04:05+01:00"), r#""2024-01-02T02:04:05""#);
    assert_eq!(value("date", "1700000000"), r#""2023-11-14T22:13:20""#);
    assert_eq!(value("json", "[1]"), "[1]");
    assert_eq!(
        value("number", "5 EUR"),
        r#"invalid: not a number value="5 EUR" column=2 line=1 id="u" field="$set.a""#
    );
    assert!(value("boolean", "yes").starts_with("invalid: not a boolean"));
    assert!(value("date", "yesterday").starts_with("invalid: a time is"));
    assert!(value("json", "x").starts_with("invalid: not valid json"));
}

#[test]
fn a_mapping_that_does_not_fit_the_file_is_refused() {
    let file = "a,b,a\n1,2,3\n";
    let cases: [(&[&str], &str); 14] = [
        (&["id=1"], "a column without a name is mapped or skipped column=2 field=\"map\""),
        (&["id=4"], "a column is a number from 1 to 3 column=\"4\" field=\"id\""),
        (&["id=0"], "a column is a number from 1 to 3 column=\"0\""),
        (&["id=a"], "a column is a number from 1 to 3 column=\"a\""),
        (&["header=1"], "two columns are one property property=\"a\" column=1 column=3"),
        (&["header=1", "id=a"], "two columns have this name, so it takes a number name=\"a\" column=1 column=3"),
        (&["header=1", "id=c"], "a column is a number from 1 to 3 or a name in the header column=\"c\""),
        (&["id=1", "map=2=x", "map=3=x"], "two columns are one property property=\"x\" column=2 column=3"),
        (&["id=1", "map=2=x", "map=2=y"], "the column is mapped twice column=2"),
        (&["id=1", "map=2=x", "skip=2"], "the column is mapped and skipped column=2"),
        (&["id=1", "map=2=x", "skip=3", "types=3=text"], "the column has a type, and is not stored column=3"),
        (&["id=1", "map=2=$last_seen", "skip=3"], "cannot be stored; map the column to another, or skip it"),
        (&["id=1", "map=2=$distinct_id", "skip=3"], "property=\"$distinct_id\" column=2"),
        (&["header=1", "skip=1", "skip=b", "id=9"], "a column is a number from 1 to 3"),
    ];
    for (options, expected) in cases {
        let error = refused(options, file);
        assert!(error.contains(expected), "{options:?}: {error}");
    }
    assert!(refused(&["header=1"], "a,\n1,2\n").contains("a column without a name"));
    for bad in ["header=yes", "delimiter=ab", "delimiter=\"", "encoding=x", "map=1", "map==x", "types=1=x", "x=1"] {
        let (name, text) = bad.split_once('=').unwrap();
        assert!(Csv::new().option(name, text).unwrap_err().is_invalid(), "{bad}");
    }
}

#[test]
fn a_row_has_as_many_fields_as_the_first() {
    let rejected = rejects(&["id=1", "map=2=a"], "u1,x\nu2\nu3,x,y\nu4,\n");
    let lines: Vec<_> = rejected.iter().map(ToString::to_string).collect();
    let reason = "invalid: the number of fields is not that of the first row";
    assert_eq!(lines, [format!("{reason} fields=1 first=2 line=2"), format!("{reason} fields=3 first=2 line=3")]);
}

/// The reason and the text of each reject, and the ids of the rows.
fn quoting(file: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut rejected, mut ids) = (Vec::new(), Vec::new());
    for outcome in outcomes(&["id=1", "map=2=a"], file.as_bytes(), Rules::new()).unwrap() {
        match outcome {
            Ok(record) => ids.push(format!("{} line={}", record.key.id(), record.line.unwrap())),
            Err(reject) => {
                let text = String::from_utf8(reject.record.clone().unwrap_or_default().into()).unwrap();
                rejected.push((reject.to_string().replace("invalid: ", ""), text));
            }
        }
    }
    (rejected, ids)
}

#[test]
fn bad_quoting_is_rejected_with_its_place() {
    let one = |file: &str, reason: &str, text: &str, ids: &[&str]| {
        let (rejected, stored) = quoting(file);
        assert_eq!(rejected, [(reason.to_owned(), text.to_owned())], "{file:?}");
        assert_eq!(stored, ids, "{file:?}");
    };
    one(
        "u1,x\nu2,5\" y\r\nu3,z",
        "a quote in a field that is not quoted column=2 char=5 line=2",
        "u2,5\" y",
        &["u1 line=1", "u3 line=3"],
    );
    one(
        "u1,\"x\"y\nu2,z\n",
        "text after the closing quote of a field column=2 char=7 line=1",
        "u1,\"x\"y",
        &["u2 line=2"],
    );
    // What follows a quote that nothing closes may be lines of a text.
    one("u1,\"x\nu2,y\n", "no closing quote column=2 char=4 line=1", "u1,\"x\nu2,y", &[]);
    // If a quote follows, the lines before it may be those of a text, and none of them is taken for a row.
    one(
        "u1,\"x\nu2,y\nu3,\"z\"\nu4,w\n",
        "text after the closing quote of a field column=2 row=3 char=5 line=1",
        "u1,\"x\nu2,y\nu3,\"z\"",
        &["u4 line=4"],
    );
    one(
        "u1,a\rb\nu2,y",
        "a carriage return without a line feed, in a field that is not quoted column=2 char=5 line=1",
        "u1,a\rb",
        &["u2 line=2"],
    );
    one(
        "u1,\"\u{e9}\u{e9}\"x\n",
        "text after the closing quote of a field column=2 char=8 line=1",
        "u1,\"\u{e9}\u{e9}\"x",
        &[],
    );
    // A text of several lines is not a mistake.
    assert_eq!(quoting("u1,\"x\ny\"\n\n\r\nu2,\"a\"\"b\"\n"), (vec![], vec!["u1 line=1".into(), "u2 line=5".into()]));
}

#[test]
fn bytes_that_are_no_utf8_are_rejected_with_their_place() {
    let outcomes = outcomes(&["id=1", "map=2=a"], b"u1,x\nu2,ab\xe9\n", Rules::new()).unwrap();
    let reject = outcomes[1].as_ref().unwrap_err();
    assert_eq!(reject.to_string(), "invalid: not valid utf-8 column=2 char=6 line=2");
    assert_eq!(reject.record.as_deref(), Some(&b"u2,ab\xe9"[..]));
}

#[test]
fn a_row_is_bounded() {
    let limits = Limits { update_bytes_max: 20, ..Limits::mixpanel() };
    let rules = || Rules::new().limits(limits.clone());
    let long = "x".repeat(100_000);
    for (file, lines) in [
        (format!("u1,a\nu2,{long}\nu3,b\n"), vec![2]),
        (format!("u1,a\nu2,\"{long}\"\nu3,b\n"), vec![2]),
        // At the limit, and one more.
        (format!("u1,{}\r\nu2,{}\nu3,b\n", "x".repeat(17), "x".repeat(18)), vec![2]),
        // No quote follows.
        ("u0,b\nu1,\"a\nu2,aaaaaaaa\nu2,aaaaaaaa\n".into(), vec![2]),
        (format!("u1,\"a\nb\",{long}\nu3,b\nu4,{long}"), vec![1, 4]),
        (format!("u1,a\nu2,\"x\"{long}\nu3,b\n"), vec![2]),
    ] {
        let outcomes = outcomes(&["id=1", "map=2=a"], file.as_bytes(), rules()).unwrap();
        let rejected: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!(rejected.iter().filter_map(|reject| reject.line).collect::<Vec<_>>(), lines, "{file:.40}");
        let stored: Vec<_> = outcomes.iter().flatten().filter_map(|record| record.line).collect();
        assert!(stored.iter().all(|line| !lines.contains(line)) && !stored.is_empty());
        let ids = outcomes.iter().flatten().map(|record| (record.key.id().to_owned(), record.line));
        assert!(ids.into_iter().all(|(id, line)| id != "u3" || line == Some(3)));
    }
}

#[test]
fn encodings_and_gzip_give_the_same_rows() {
    let file = "u1,\u{e9}\u{20ac}\nu2,\u{1f600}\n";
    let expected = ["users u1 {\"a\":\"\u{e9}\u{20ac}\"}", "users u2 {\"a\":\"\u{1f600}\"}"];
    let le: Vec<u8> = file.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let be: Vec<u8> = file.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let inputs: [(&[&str], Vec<u8>); 6] = [
        (&[], file.into()),
        (&[], [b"\xef\xbb\xbf", file.as_bytes()].concat()),
        (&[], [b"\xff\xfe".to_vec(), le.clone()].concat()),
        (&[], [b"\xfe\xff".to_vec(), be.clone()].concat()),
        (&["encoding=utf-16le"], le),
        (&["encoding=utf-16be"], be),
    ];
    for (more, input) in inputs {
        let options = [&["id=1", "map=2=a"], more].concat();
        assert_eq!(stored(&options, &input), expected);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        io::Write::write_all(&mut gzip, &input).unwrap();
        assert_eq!(stored(&options, gzip.finish().unwrap()), expected);
        let trickled = CsvRecords::new(Trickle(&input), &csv(&options), Rules::new());
        let trickled: Vec<_> = trickled.map(|outcome| shown(&outcome.unwrap().unwrap())).collect();
        assert_eq!(trickled, expected);
    }
    let western = |encoding: &str, bytes: &[u8]| stored(&["id=1", "map=2=a", &format!("encoding={encoding}")], bytes);
    assert_eq!(western("latin-1", b"u,\xe9\x80\n"), ["users u {\"a\":\"\u{e9}\u{80}\"}"]);
    assert_eq!(western("windows-1252", b"u,\xe9\x80\x9f\n"), ["users u {\"a\":\"\u{e9}\u{20ac}\u{178}\"}"]);
}

#[test]
fn what_cannot_be_decoded_is_rejected_with_its_row() {
    let options = |encoding: &str| ["id=1".to_owned(), "map=2=a".into(), format!("encoding={encoding}")];
    let bad = |encoding: &str, bytes: &[u8]| -> Vec<Option<u64>> {
        let options = options(encoding);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let outcomes = outcomes(&options, bytes, Rules::new()).unwrap();
        outcomes.into_iter().filter_map(Outcome::err).map(|reject| reject.line).collect()
    };
    assert_eq!(bad("windows-1252", b"u,a\nu,\x81\nu,b\n"), [Some(2)]);
    let mut units: Vec<u16> = "u,a\nu,".encode_utf16().collect();
    units.extend([0xd83d, u16::from(b'\n')]);
    units.extend("u,b\n".encode_utf16());
    let mut bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    assert_eq!(bad("utf-16le", &bytes), [Some(2)]);
    // Half a unit at the end.
    bytes.push(b'x');
    assert_eq!(bad("utf-16le", &bytes), [Some(2), Some(4)]);
}

#[test]
fn an_input_that_is_no_csv_is_one_error() {
    let refused = |bytes: &[u8], more: &[&str]| {
        outcomes(&[&["id=1", "map=2=a"], more].concat(), bytes, Rules::new()).unwrap_err().to_string()
    };
    for (bytes, what) in [
        (&b"PK\x03\x04xlsx"[..], "a zip archive, as spreadsheets are"),
        (b"{\"$distinct_id\":\"u\"}\n", "JSON"),
        (b"[ {\"$distinct_id\":\"u\"}]", "JSON"),
        (b"<!DOCTYPE html>", "XML or HTML"),
        (b"u\0,\0a\0", "text in UTF-16 without a byte order mark; name its encoding, utf-16le or utf-16be"),
    ] {
        assert_eq!(refused(bytes, &[]).replace("i/o: ", ""), format!("the input is not CSV, but {what}"), "{bytes:?}");
        let mut rows = CsvRecords::new(Trickle(bytes), &csv(&["id=1", "map=2=a"]), Rules::new());
        let error = rows.next().unwrap().unwrap_err();
        assert!(error.with_sources().ends_with(&format!("not CSV, but {what}")), "byte by byte: {error:?}");
    }
    assert!(refused(b"\xff\xfeu\0", &["encoding=latin-1"]).contains("byte order mark of utf-16le, not latin-1"));
    assert!(refused(b"\x1f\x8b\x08", &[]).contains("i/o"));
}

#[test]
fn a_million_rows_are_the_limit() {
    let rows = CsvRecords::new("u\n".repeat(1_000_001).leak().as_bytes(), &csv(&["id=1"]), Rules::new());
    let (mut count, mut error) = (0, None);
    for outcome in rows {
        match outcome {
            Ok(_) => count += 1,
            Err(failure) => error = Some(failure),
        }
    }
    assert_eq!(count, 1_000_000);
    let expected = "limit exceeded: a csv file has at most 1000000 rows, unless it is read as unbounded line=1000001";
    assert_eq!(error.unwrap().to_string(), expected);
    let unbounded = csv(&["id=1", "unbounded=true"]);
    assert_eq!(CsvRecords::new("u\n".repeat(1_000_001).as_bytes(), &unbounded, Rules::new()).count(), 1_000_001);
}

#[test]
fn long_values_are_truncated_with_a_note_or_rejected_by_strict_rules() {
    let file = format!("u,{}\n", "x".repeat(300));
    let lenient = outcomes(&["id=1", "map=2=a"], file.as_bytes(), Rules::new()).unwrap();
    let notes = &lenient[0].as_ref().unwrap().notes;
    assert_eq!((notes.len(), notes[0].field.as_str()), (1, "$set.a"));
    let strict = outcomes(&["id=1", "map=2=a"], file.as_bytes(), Rules::new().strict(true)).unwrap();
    let reject = strict[0].as_ref().unwrap_err();
    assert_eq!((reject.line, reject.id.as_deref(), reject.field.as_deref()), (Some(1), Some("u"), Some("$set.a")));
}

/// Text of few characters, which meet often.
fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop::sample::select(vec!["a", ",", ";", "\"", "\n", "\r", "\t", "\u{e9}", " "]), 0..6)
        .prop_map(|parts| parts.concat())
}

/// Rows of the same number of fields.
fn any_table() -> impl Strategy<Value = Vec<Vec<String>>> {
    (1..5_usize).prop_flat_map(|width| proptest::collection::vec(proptest::collection::vec(any_text(), width), 0..8))
}

/// All rows, as far as the first that is broken.
fn rows(text: &[u8], delimiter: u8) -> (Vec<Vec<String>>, bool) {
    let (mut rows, mut table) = (RowSplitter::new(BufReader::new(text), delimiter, usize::MAX), Vec::new());
    while let Some(row) = rows.next().unwrap() {
        match row {
            CsvRow::Fields(fields) => table.push(fields.iter().map(String::from).collect()),
            CsvRow::Broken(_) => return (table, false),
        }
    }
    (table, true)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        table in any_table(),
        delimiter in prop::sample::select(vec![b',', b';', b'\t']),
        (crlf, always) in any::<(bool, bool)>(),
    ) {
        let mut writer = WriterBuilder::new()
            .delimiter(delimiter)
            .terminator(if crlf { Terminator::CRLF } else { Terminator::Any(b'\n') })
            .quote_style(if always { QuoteStyle::Always } else { QuoteStyle::Necessary })
            .from_writer(Vec::new());
        for row in &table {
            writer.write_record(row).unwrap();
        }
        let text = writer.into_inner().unwrap();
        prop_assert_eq!(rows(&text, delimiter), (table, true), "{:?}", String::from_utf8_lossy(&text));
    }

    /// Where the quoting is right, the `csv` crate reads the same. Where it is not, it reads something.
    #[test]
    fn what_is_accepted_is_read_as_others_do(parts in proptest::collection::vec(any_text(), 0..8)) {
        let text = parts.concat();
        let (table, is_whole) = rows(text.as_bytes(), b',');
        let reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let records = reader.into_records().take(if is_whole { usize::MAX } else { table.len() });
        let expected: Vec<Vec<String>> =
            records.map(|record| record.unwrap().iter().map(String::from).collect()).collect();
        prop_assert_eq!(table, expected, "{:?}", text);
    }

    /// Nothing is lost: rows and rejects together are the text, but for line breaks.
    #[test]
    fn every_byte_is_in_a_row_or_in_a_reject(
        parts in proptest::collection::vec(any_text(), 0..12),
        max in 4..40_usize,
    ) {
        let text = parts.concat();
        let mut rows = RowSplitter::new(BufReader::new(text.as_bytes()), b',', max);
        let (mut seen, mut line, mut is_too_long) = (String::new(), 0, false);
        loop {
            match rows.next().unwrap() {
                None => break,
                Some(CsvRow::Broken(error)) if error.is_limit_exceeded() => is_too_long = true,
                Some(_) => {}
            }
            // Of a text that nothing closes as well, the beginning is kept.
            is_too_long |= rows.cut_from().is_some();
            prop_assert!(rows.line() > line);
            line = rows.line();
            seen.push_str(&String::from_utf8_lossy(rows.last()));
            prop_assert!(rows.last().len() <= max + 2 || memchr::memchr(b'\n', rows.last()).is_some());
            if let Some(length) = rows.cut_from() {
                let start: usize = text.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
                let (whole, after) = text.as_bytes()[start..].split_at(length as usize);
                prop_assert!(whole.len() > max && rows.last() == &whole[..max], "{:?} {:?}", text, whole);
                prop_assert!(after.is_empty() || after.starts_with(b"\n") || after.starts_with(b"\r\n"), "{:?}", after);
            }
        }
        let plain = |text: &str| text.replace(['\n', '\r'], "");
        prop_assert!(is_too_long || plain(&seen) == plain(&text), "{:?} {:?}", text, seen);
    }
}
