//! Golden files: the bytes of every format version, frozen.
//!
//! `fixtures/v1/NAME.bin` holds an operand or a row of format version 1, and `fixtures/v1/NAME.json` what it decodes
//! to. Files are never changed or deleted, because every format ever written must stay readable. The current encoder
//! must write exactly the files of its own version, so these are also the vectors that any successor of bincode must
//! reproduce. `docs/FORMAT.md` explains the bytes, and its examples are checked here as well.
//!
//! A new case is written to its files, once, by `PROFILEDB_WRITE_FIXTURES=1 cargo test --test golden`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use profiledb::{Number, Object, Profile, Timestamp, Update, Value, merge};
use serde::Serialize;

/// The version that the current encoder writes.
const CURRENT: &str = "v1";

/// The output of the current encoder, by the name of its fixture.
type Cases = BTreeMap<String, Vec<u8>>;

/// The part of an update that concerns one property.
type Part = fn(Update, &str) -> Update;

fn cases() -> Cases {
    let mut cases = Cases::new();
    values(&mut cases);
    chains(&mut cases);
    heads(&mut cases);
    what_is_only_read(&mut cases);
    stamps(&mut cases);
    cases.extend(examples());
    cases
}

fn at(seconds: i64) -> Update {
    Update::new().at(Timestamp::from_seconds(seconds))
}

fn operand(updates: &[Update]) -> Vec<u8> {
    let operands: Vec<Vec<u8>> = updates.iter().map(merge::operand).collect();
    if let [one] = &operands[..] { one.clone() } else { merge::partial(&slices(&operands)) }
}

fn row(updates: &[Update]) -> Vec<u8> {
    merge::full(None, &[&operand(updates)])
}

fn slices(owned: &[Vec<u8>]) -> Vec<&[u8]> {
    owned.iter().map(Vec::as_slice).collect()
}

fn float(value: f64) -> Number {
    Number::try_from(value).unwrap()
}

/// Every tag of a value, with its boundary values, in rows.
fn values(cases: &mut Cases) {
    let simple = Update::new().set("null", Value::Null).set("no", false).set("yes", true);
    cases.insert("value_simple".into(), row(&[simple]));

    // Zigzag doubles a number, so the steps of a varint are at half of 251, 2^16, 2^32 and 2^64.
    let steps = [0, 125, 126, 32_767, 32_768, 2_147_483_647, 2_147_483_648, i64::MAX].map(i128::from);
    let beyond = [i128::from(i64::MAX) + 1, i128::from(u64::MAX), i128::from(u64::MAX) + 1, i128::MAX];
    let integers = [&steps[..], &beyond[..]].concat();
    let update = integers.iter().enumerate().fold(Update::new(), |update, (index, &integer)| {
        let (up, down) = (Number::from(integer), Number::from(-integer - 1));
        update.set(format!("{index:02}"), Value::from(up)).set(format!("{index:02} below zero"), Value::from(down))
    });
    cases.insert("value_integers".into(), row(&[update]));

    let floats = [0.0, -0.0, 1.0, -1.5, 0.1, 1e16, 1.0 + f64::EPSILON, f64::MIN_POSITIVE, 5e-324, -5e-324];
    let update =
        floats.iter().enumerate().fold(Update::new(), |update, (index, &float)| update.set(format!("{index}"), float));
    cases.insert("value_floats".into(), row(&[update]));

    let one = Number::from(1);
    let update = Update::new()
        .set("2^127", Value::from(&Number::from(i128::MAX) + &one))
        .set("-2^127-1", Value::from(&Number::from(i128::MIN) + &Number::from(-1)))
        .set("largest", f64::MAX)
        .set("least", f64::MIN)
        .set("both ends", Value::from(&float(1e300) + &float(5e-324)))
        .set("a float by a float zero", Value::from(&(&Number::from(i128::MAX) + &one) + &float(0.0)));
    cases.insert("value_large_numbers".into(), row(&[update]));

    let update = Update::new()
        .set("0", "")
        .set("1", "plain")
        .set("2", "gr\u{fc}n \u{65e5}\u{672c}\u{8a9e} \u{1f980} \0 \"\\\n")
        .set("3", "x".repeat(250))
        .set("4", "x".repeat(251))
        .set("\u{e9}", "a name that is not ASCII")
        .set("n".repeat(300), "a long name");
    cases.insert("value_strings".into(), row(&[update]));

    let object = |text: &str| serde_json::from_str::<Object>(text).unwrap();
    let deep = (0..profiledb::VALUE_DEPTH_MAX).fold(Value::from(7), |inner, _| Value::List(vec![inner]));
    let update = Update::new()
        .set("empty list", Vec::<i64>::new())
        .set("empty object", Object::new())
        .set("list", serde_json::from_str::<Value>(r#"[1, 1, 1.0, "1", null, [true, []], {"a": [-1]}]"#).unwrap())
        .set("object", object(r#"{"z": 1, "\u00e4": {"b": [0.5, {}], "a": null}, "": "no name"}"#))
        .set("deep", deep)
        .set("long", vec![0; 251]);
    cases.insert("value_nested".into(), row(&[update]));
}

/// Every kind of chain that updates can produce, in operands. Each also applies to a missing profile.
fn chains(cases: &mut Cases) {
    let object = Object::from_iter([("x", 2), ("y", 3)]);
    let mut case = |name: &str, updates: &[Update]| {
        assert!(cases.insert(format!("chain_{name}"), operand(updates)).is_none(), "two cases are called {name}");
    };
    // Each operator is applied to an absent property and to one of every type; see `base`.
    let on_all = |update: Part| {
        ["absent", "bool", "list", "null", "number", "object", "text"].into_iter().fold(Update::new().create(), update)
    };
    case("unset", &[on_all(|update, name| update.unset(name))]);
    case("set", &[on_all(|update, name| update.set(name, 5))]);
    case("set_once", &[on_all(|update, name| update.set_once(name, 5))]);
    case("add", &[on_all(|update, name| update.add(name, 5))]);
    case("add_float_zero", &[on_all(|update, name| update.add(name, 0.0))]);
    case("add_integer_zero", &[on_all(|update, name| update.add(name, 0))]);
    case("append", &[on_all(|update, name| update.append(name, "b"))]);
    case("union", &[on_all(|update, name| update.union(name, ["b", "c", "b"]))]);
    case("remove", &[on_all(|update, name| update.remove(name, "a"))]);
    case("merge", &[on_all(|update, name| update.merge(name, Object::from_iter([("x", 2), ("y", 3)])))]);
    case("merge_nothing", &[on_all(|update, name| update.merge(name, Object::new()))]);

    // The value for an absent property is stored separately if there is more than one lane, or a `$set_once`.
    let lanes: [(&str, Part); 3] = [
        ("add", |update, name| update.add(name, 0.5)),
        ("list", |update, name| update.remove(name, "a").union(name, ["c"]).append(name, "c")),
        ("merge", |update, name| update.merge(name, Object::from_iter([("x", 2), ("y", 3)]))),
    ];
    for used in 0..8_usize {
        let used = lanes.iter().enumerate().filter(|(index, _)| used >> index & 1 == 1).map(|(_, lane)| lane);
        let name = used.clone().fold("own".to_owned(), |name, lane| format!("{name}_{}", lane.0));
        let update = ["absent", "list", "number", "object"].into_iter().fold(Update::new(), |update, property| {
            used.clone().fold(update.set_once(property, "own"), |update, lane| lane.1(update, property))
        });
        case(&name, &[update]);
    }

    case("removed_and_appended", &[Update::new().remove("list", "b").remove("list", "a").append("list", "z")]);
    case("removed_is_sorted", &[Update::new().remove("list", "b").remove("list", 1.0).remove("list", 1)]);
    case("union_after_append", &[Update::new().append("list", "z"), Update::new().union("list", ["z", "b"])]);
    case("set_then_others", &[Update::new().set("number", 1), Update::new().add("number", 2).append("number", 3)]);
    case("unset_then_add", &[Update::new().unset("number"), Update::new().add("number", 2)]);
    case("add_many", &vec![Update::new().add("number", 0.1); 1_000]);
    case("add_large", &[Update::new().add("number", 1e300), Update::new().add("number", -0.1)]);
    case("many_names", &[Update::new().merge("object", object).set("b", 1).add("a", 1).unset("\u{e9}").append("", 1)]);
}

/// Canonical bytes that no update produces: readers accept them and merges preserve them.
fn what_is_only_read(cases: &mut Cases) {
    // An absent property stays absent and a present one changes, by more than `$remove`.
    let add: &[u8] = &[3, 2];
    let list: &[u8] = &[1, 0, 1, 6, 1, b'b', 0];
    let merge: &[u8] = &[8, 1, 1, b'x', 3, 4];
    let mut bytes = vec![0xA1, 0];
    for (name, flags, lanes) in [
        ("absent", 0x80 | 4 | 8 | 16, &[add, list, merge][..]),
        ("bool", 0x80 | 4 | 8, &[add, list]),
        ("list", 0x80 | 8, &[list]),
        ("null", 0x80 | 4 | 16, &[add, merge]),
        ("number", 0x80 | 4, &[add]),
        ("object", 0x80 | 16, &[merge]),
        ("text", 0x80 | 8 | 16, &[list, merge]),
    ] {
        let chain = [&[flags][..], &lanes.concat()].concat();
        bytes.extend([&[name.len() as u8], name.as_bytes(), &[chain.len() as u8], &chain].concat());
    }
    cases.insert("chain_only_read".into(), merge::partial(&[&bytes]));

    // A time for a profile that is created here, and none for one that exists.
    cases.insert("head_only_read".into(), merge::partial(&[&[0xA1, 6, 14]]));
}

/// Every combination of flags in a head, in operands and rows.
fn heads(cases: &mut Cases) {
    let unset = |seconds| at(seconds).unset("p");
    let set = |seconds| at(seconds).set("p", 1);
    let heads = [
        ("creates_nothing", vec![Update::new().unset("p")]),
        ("creates_nothing_stamped", vec![unset(7)]),
        ("creates", vec![Update::new().set("p", 1)]),
        ("creates_stamped", vec![set(7)]),
        ("creates_before_1970", vec![set(-62_167_219_200)]),
        ("creates_after_2038", vec![set(253_402_207_200)]),
        ("creates_ignoring_time", vec![set(7).ignore_time()]),
        ("creates_with_another_stamp", vec![unset(9), set(7)]),
        ("creates_ignoring_time_with_a_stamp", vec![unset(9), set(7).ignore_time()]),
        ("creates_without_properties", vec![at(7).create()]),
        ("does_nothing", vec![Update::new()]),
    ];
    let junk = [b"junk".to_vec(), Vec::new(), [&[0xA2][..], &[7; 300]].concat()];
    for (name, updates) in heads {
        let operand = operand(&updates);
        if ["creates_nothing", "creates", "creates_stamped"].contains(&name) {
            let all: Vec<&[u8]> = [&[operand.as_slice()], &slices(&junk)[..]].concat();
            cases.insert(format!("head_{name}_row"), merge::full(None, &[&operand]));
            cases.insert(format!("head_{name}_quarantine"), merge::partial(&all));
            cases.insert(format!("head_{name}_quarantine_row"), merge::full(None, &all));
        }
        cases.insert(format!("head_{name}"), operand);
    }
}

/// The times of first events, at the length boundaries of a varint.
fn stamps(cases: &mut Cases) {
    for (name, millis) in [
        ("zero", 0),
        ("before_1970", -1),
        ("one_byte", 125),
        ("three_bytes", -126),
        ("five_bytes", 2_147_483_647),
        ("nine_bytes", 1_700_000_000_123),
        ("least", i64::MIN),
        ("largest", i64::MAX),
    ] {
        let stamp = merge::stamp(Timestamp::from_millis(millis));
        let later = merge::stamp(Timestamp::from_millis(millis.saturating_add(1)));
        assert_eq!(merge::full(Some(&later), &[&merge::partial(&[&later, &stamp]), &later]), stamp);
        cases.insert(format!("stamp_{name}"), stamp);
    }
}

/// The worked examples of `docs/FORMAT.md`.
fn examples() -> Cases {
    let update = at(1_700_000_000).set("plan", "pro").add("logins", 1).union("teams", ["eng"]);
    let updates = [update.clone(), at(1_700_000_060).add("logins", 0.5).set("vip", true), at(0).unset("plan")];
    let stamp = merge::stamp(Timestamp::from_seconds(1_700_000_000));
    Cases::from([
        ("example_stamp".into(), stamp),
        ("example_operand".into(), operand(&[update])),
        ("example_row".into(), row(&updates)),
    ])
}

/// A profile with one property of every type, to apply operands to.
fn base() -> Vec<u8> {
    let base = at(5)
        .set("bool", true)
        .set("list", vec!["a", "b", "a"])
        .set("null", Value::Null)
        .set("number", 10)
        .set("object", Object::from_iter([("w", 0), ("x", 1)]))
        .set("text", "a");
    row(&[base])
}

/// What bytes decode to, as JSON: the profile of a row, or the result of an operand on no profile and on `base`.
fn decoded(bytes: &[u8]) -> String {
    #[derive(Serialize)]
    struct Seen {
        profile: Option<Profile>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        quarantine: Vec<String>,
    }

    if let Ok(time) = merge::stamp_time(bytes) {
        return format!("{{\n  \"stamp\": {}\n}}\n", time.millis());
    }
    let seen = |row: &[u8]| {
        let profile = merge::profile(row).unwrap();
        let quarantine = profile.iter().flat_map(Profile::quarantine).map(|bytes| hex(bytes)).collect();
        Seen { profile, quarantine }
    };
    let seen = if merge::profile(bytes).is_ok() {
        BTreeMap::from([("row", seen(bytes))])
    } else {
        let (on_nothing, on_base) = (merge::full(None, &[bytes]), merge::full(Some(&base()), &[bytes]));
        BTreeMap::from([("on nothing", seen(&on_nothing)), ("on the base", seen(&on_base))])
    };
    serde_json::to_string_pretty(&seen).unwrap() + "\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The content of the file. It is written first if it is missing and `PROFILEDB_WRITE_FIXTURES` is set.
fn fixture(path: &Path, expected: &[u8]) -> Vec<u8> {
    if !path.exists() && std::env::var_os("PROFILEDB_WRITE_FIXTURES").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, expected).unwrap();
    }
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_encoder_writes_the_fixtures_of_its_version() {
    for (name, bytes) in cases() {
        let path = fixtures().join(CURRENT).join(&name);
        let golden = fixture(&path.with_extension("bin"), &bytes);
        assert_eq!(hex(&bytes), hex(&golden), "{name}.bin is what was once written");
        let golden = fixture(&path.with_extension("json"), decoded(&bytes).as_bytes());
        assert_eq!(decoded(&bytes).as_bytes(), golden, "{name}.json is what it meant");
    }
}

#[test]
fn the_fixtures_of_every_version_are_read() {
    let mut read = 0;
    let folders = fs::read_dir(fixtures()).unwrap().map(|folder| folder.unwrap());
    // The others are inputs of other tests.
    let is_version = |folder: &fs::DirEntry| folder.file_name().to_str().unwrap().starts_with('v');
    for version in folders.filter(is_version) {
        for file in fs::read_dir(version.path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "bin") {
                let bytes = fs::read(&path).unwrap();
                let golden = fs::read_to_string(path.with_extension("json")).unwrap();
                assert_eq!(decoded(&bytes), golden, "{}", path.display());
                assert_eq!(quarantined_again(&bytes), 0, "{} is read", path.display());
                read += 1;
            } else {
                assert!(path.with_extension("bin").exists(), "{} has its bytes", path.display());
            }
        }
    }
    assert!(read >= 63, "there were {read} fixtures");
}

/// How many operands one more merge adds to the quarantine: one, if these bytes cannot be read.
fn quarantined_again(bytes: &[u8]) -> usize {
    if merge::stamp_time(bytes).is_ok() {
        return usize::from(merge::full(None, &[bytes, bytes]) != bytes);
    }
    let count = |row: &[u8]| merge::profile(row).unwrap().map_or(0, |profile| profile.quarantine().len());
    let create = merge::operand(&Update::new().create());
    count(&merge::full(None, &[&create, bytes])) - count(&merge::full(None, &[bytes]))
}

#[test]
fn a_large_number_in_a_fixture_is_exact() {
    let row = fs::read(fixtures().join("v1/value_large_numbers.bin")).unwrap();
    let update = Update::new()
        .add("2^127", Number::from(-i128::MAX))
        .add("-2^127-1", Number::from(i128::MAX))
        .add("both ends", -1e300);
    let profile = merge::profile(&merge::full(Some(&row), &[&merge::operand(&update)])).unwrap().unwrap();
    assert_eq!(profile.get("2^127"), Some(&1.into()));
    assert_eq!(profile.get("-2^127-1"), Some(&(-2).into()));
    assert_eq!(profile.get("both ends").and_then(Value::as_f64), Some(5e-324));
}

/// The code blocks marked `hex NAME` in `docs/FORMAT.md`: bytes on the left of the bar, their meaning on the right.
#[test]
fn the_examples_of_the_format_document_are_true() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FORMAT.md")).unwrap();
    let mut shown = BTreeMap::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("```hex ") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            let bytes: String = block.map(|line| line.split('|').next().unwrap().replace(' ', "")).collect();
            // The examples of events and of segments are checked where those are encoded.
            if !["example_event_", "example_segment_", "example_chunk_"].iter().any(|of| name.starts_with(of)) {
                shown.insert(name.to_owned(), bytes);
            }
        }
    }
    let examples: BTreeMap<String, String> = examples().into_iter().map(|(name, bytes)| (name, hex(&bytes))).collect();
    assert_eq!(shown, examples);
    assert_eq!(examples["example_operand"], EXAMPLE_OPERAND);
    assert_eq!(examples["example_row"], EXAMPLE_ROW);
}

const EXAMPLE_OPERAND: &str =
    "a11efc00e2a7ca066c6f67696e730386030204706c616e0601060370726f057465616d730a8a0100010603656e6700";

const EXAMPLE_ROW: &str = "a107fc78e2a7ca066c6f67696e730401040106057465616d73080107010603656e6703766970020102";
