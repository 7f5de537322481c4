//! Outputs: what they replace, what they never touch, and the names that mean something else than a file.
#![cfg(unix)]

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use crate::store::{CliStore, Ended, PROGRAM, gzip, lines};

const ALICE: &str = "{\"$distinct_id\":\"alice\",\"$set\":{\"x\":1}}\n";
const BAD: &str = "{\"$distinct_id\":\"bob\",\"$jump\":1}\n";

fn shell(bench: &CliStore, script: &str) -> Ended {
    let mut command = Command::new("sh");
    command.args(["-c", script, PROGRAM]).current_dir(bench.dir.path()).env("PROFILEDB_DIR", bench.path("store"));
    command.stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn an_output_that_is_an_input_is_refused_before_anything_is_opened() {
    let bench = CliStore::new();
    bench.file("in.ndjson", ALICE);
    fs::create_dir(bench.path("sub")).unwrap();
    symlink("in.ndjson", bench.path("link")).unwrap();
    symlink("../in.ndjson", bench.path("sub/link")).unwrap();
    fs::hard_link(bench.path("in.ndjson"), bench.path("hard")).unwrap();
    let absolute = bench.path("in.ndjson").display().to_string();
    for name in ["in.ndjson", "./in.ndjson", "sub/../in.ndjson", "link", "sub/link", "hard", &absolute] {
        for command in ["import", "track"] {
            bench.run(&[command, "in.ndjson", "--rejects", name]).failed(&["--rejects is also an input", "in.ndjson"]);
            bench.run(&[command, name, "--rejects", "in.ndjson"]).failed(&["--rejects is also an input", name]);
        }
    }
    for script in [
        "\"$0\" import - --rejects in.ndjson < in.ndjson",
        "\"$0\" import /dev/stdin --rejects link < in.ndjson",
        "\"$0\" import in.ndjson >> in.ndjson",
        "\"$0\" import in.ndjson --rejects - >> hard",
        "\"$0\" import - < in.ndjson >> in.ndjson",
    ] {
        shell(&bench, script).failed(&["is also an input"]);
    }
    assert_eq!(shell(&bench, "\"$0\" import in.ndjson 2>> in.ndjson").code, 1);
    let kept = fs::read_to_string(bench.path("in.ndjson")).unwrap();
    assert!(kept.starts_with(ALICE) && !kept.contains("applied"), "{kept}");
    assert!(!bench.path("store").exists(), "nothing was opened");
    // What is not a file can be both.
    let ended = shell(&bench, "\"$0\" import /dev/null --rejects /dev/null < /dev/null > /dev/null");
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
}

#[test]
fn an_output_replaces_regular_files_only_and_only_when_it_is_complete() {
    let bench = CliStore::new();
    bench.run(&["update", ALICE]);
    let exported = bench.export();
    let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();

    bench.file("old", "old");
    bench.file("old.part", "mine");
    fs::set_permissions(bench.path("old"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("old", bench.path("link")).unwrap();
    symlink("link", bench.path("second")).unwrap();
    symlink("later", bench.path("dangling")).unwrap();
    bench.run(&["export", "--output", "second"]).ok();
    bench.run(&["export", "--output", "dangling"]).ok();
    bench.run(&["export", "--output", "new"]).ok();
    for (name, target) in [("link", "old"), ("second", "link"), ("dangling", "later")] {
        assert_eq!(fs::read_link(bench.path(name)).unwrap().to_str(), Some(target), "{name} is still a link");
        assert_eq!(read(name), exported);
    }
    assert_eq!(fs::metadata(bench.path("old")).unwrap().mode() & 0o777, 0o640, "permissions are kept");
    assert_eq!((read("old.part").as_str(), read("new")), ("mine", exported.clone()));

    let fifo = bench.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let mut text = String::new();
            fs::File::open(fifo).unwrap().read_to_string(&mut text).unwrap();
            text
        }
    });
    bench.run(&["export", "--output", "fifo"]).ok();
    assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
    assert_eq!(reader.join().unwrap(), exported);
    let null = fs::symlink_metadata("/dev/null").unwrap().ino();
    bench.run(&["export", "--output", "/dev/null"]).ok();
    bench.run(&["import", "new", "--rejects", "/dev/null"]);
    assert_eq!(fs::symlink_metadata("/dev/null").unwrap().ino(), null);

    // A failure leaves what was there, and nothing else.
    let names = || fs::read_dir(bench.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let before = names();
    bench.run(&["export", "--output", "old", "--db", "nowhere"]).failed(&["nowhere"]);
    let script = r#"trap "" XFSZ; ulimit -f 0; exec "$0" export --output old"#;
    shell(&bench, script).failed(&["--output", "old"]);
    assert_eq!((read("old"), names()), (exported.clone(), before));
    for (name, why) in [("store", "directory"), ("store/CURRENT", "inside the store"), ("no/such", "no/such")] {
        bench.run(&["export", "--output", name]).failed(&["--output", name, why]);
        bench.run(&["import", "new", "--rejects", name]).failed(&["--rejects", name, why]);
    }
    assert_eq!(bench.export(), exported);
}

#[test]
fn notes_have_the_value_before_and_rejects_the_record() {
    let bench = CliStore::new();
    let long = "x".repeat(300);
    let set = |id: &str| format!("{{\"$distinct_id\":\"{id}\",\"$set\":{{\"bio\":\"{long}\"}}}}\n");
    bench.file("in", [&set("a"), BAD, &set("b")].concat());
    let ended = bench.run(&["import", "in", "--notes", "notes", "--rejects", "rejects"]);
    assert_eq!((ended.code, ended.figures(), ended.err.as_str()), (2, (2, 1, 2), ""));
    let read = |name: &str| lines(&fs::read_to_string(bench.path(name)).unwrap());
    let notes = read("notes");
    let seen: Vec<_> = notes.iter().map(|note| (note["line"].as_u64(), note["id"].as_str(), &note["field"])).collect();
    assert_eq!(seen, [(Some(1), Some("a"), &"$set.bio".into()), (Some(3), Some("b"), &"$set.bio".into())]);
    assert!(notes.iter().all(|note| note["before"] == *long && note["file"] == "in" && note["table"] == "users"));
    // The text of a rejected record is that of its line, so it can be corrected and sent again.
    assert_eq!(read("rejects")[0]["record"].as_str().unwrap(), BAD.trim_end());
    let mended = read("rejects")[0]["record"].as_str().unwrap().replace("$jump\":1", "$set\":{}");
    assert_eq!(bench.feed(&["import", "-"], mended.as_bytes()).figures(), (1, 0, 0));

    bench.run(&["import", "in", "--notes", "in"]).failed(&["--notes is also an input"]);
    bench
        .run(&["import", "in", "--notes", "x", "--rejects", "./x"])
        .failed(&["--rejects and --notes are the same file"]);
    let ended = bench.run(&["track", "in", "--notes", "-", "--rejects", "-"]);
    assert_eq!((ended.code, ended.out.lines().count()), (2, 4));
}

#[test]
fn a_file_of_another_format_is_one_error_and_leaves_no_store() {
    let bench = CliStore::new();
    let utf16: Vec<u8> = ALICE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let parquet = b"PAR1\x15\x04\x15".to_vec();
    let files: [(Vec<u8>, &str); 9] = [
        ([&b"\xff\xfe"[..], &utf16].concat(), "UTF-16"),
        (utf16, "UTF-16"),
        (b"PK\x03\x04abc".to_vec(), "zip"),
        (b"\x28\xb5\x2f\xfdabc".to_vec(), "zstd"),
        (parquet, "Parquet"),
        (gzip(&gzip(ALICE.as_bytes())), "gzipped twice"),
        (b"id,plan\na,pro\nb,free\n".to_vec(), "CSV"),
        (gzip(b"id;plan\na;pro\nb;free\n"), "CSV"),
        (b"<html><body>502</body></html>\n".to_vec(), "HTML"),
    ];
    for (bytes, what) in files {
        bench.file("in", &bytes);
        for command in ["import", "track"] {
            let ended = bench.run(&[command, "in"]).failed(&["not JSON, but", what, "in"]);
            assert_eq!(ended.figures(), (0, 0, 0));
        }
        assert!(bench.feed(&["import", "-", "--db", "other"], &bytes).failed(&[what]).figures() == (0, 0, 0));
    }
    bench.file("empty", "");
    bench.file("bad", BAD);
    assert_eq!(bench.run(&["import", "empty"]).figures(), (0, 0, 0));
    assert_eq!(bench.run(&["import", "bad", "empty"]).figures(), (0, 1, 0));
    assert!(!bench.path("store").exists(), "nothing was stored, so there is no store");

    // Zeros after gzip, as of a tape, and a byte order mark at each of several joined files.
    let zeros =
        [gzip(ALICE.as_bytes()), vec![0; 70_000], gzip(b"{\"$distinct_id\":\"c\",\"$set\":{}}"), vec![0; 9]].concat();
    bench.file("zeros.gz", zeros);
    let marked = format!("\u{feff}{ALICE}\u{feff}{ALICE}\u{feff}[{}]\n\u{feff}", ALICE.trim_end());
    bench.file("marked", marked);
    assert_eq!(bench.run(&["import", "zeros.gz"]).figures(), (2, 0, 0));
    assert_eq!(bench.run(&["import", "marked"]).figures(), (3, 0, 0));
    bench.file("garbage.gz", [gzip(ALICE.as_bytes()), b"garbage".to_vec()].concat());
    bench.run(&["import", "garbage.gz"]).failed(&["garbage.gz", "gzip"]);
    assert_eq!(bench.run(&["help"]).code, 0);
    assert!(bench.run(&["help", "import"]).out.contains("--notes"));
}

#[test]
fn a_dash_is_a_standard_stream_and_never_a_file() {
    let bench = CliStore::new();
    let ended = bench.feed(&["import", "-", "--rejects", "-"], [ALICE, BAD].concat().as_bytes());
    assert_eq!((ended.code, ended.err.as_str(), ended.figures()), (2, "", (1, 1, 0)));
    assert_eq!(lines(&ended.out)[0]["id"], "bob");
    assert_eq!(bench.run(&["export", "--output", "-"]).ok(), bench.export());
    assert_eq!(fs::read_dir(bench.path("")).unwrap().count(), 1, "the store, and no file named -");
    for args in [&["backup", "-"][..], &["backups", "-"], &["restore", "-"], &["list", "--db", "-"]] {
        let ended = bench.run(args);
        assert!(ended.code == 1 && ended.err.contains("not a directory"), "{ended:?}");
    }
    for args in [&["backup", ""][..], &["list", "--db", ""]] {
        let ended = bench.run(args);
        assert!(ended.code == 1 && ended.err.contains("is empty"), "{ended:?}");
    }
    let mut command = bench.command(&["update", ALICE]);
    let ended = Ended::from(command.env("PROFILEDB_DIR", "").output().unwrap());
    assert!(ended.code == 1 && ended.err.contains("PROFILEDB_DIR"), "{ended:?}");
    assert!(!bench.path("profiledb-data").exists());
}

/// Whoever reads the output may leave, but a command that could not do its work has failed all the same.
#[test]
fn a_reader_that_leaves_hides_no_failure() {
    let bench = CliStore::new();
    bench.file("bad", BAD.repeat(200_000));
    let ended = shell(&bench, "{ \"$0\" import bad --rejects -; echo $? >&2; } | head -1 > one");
    assert_eq!(ended.err.lines().last(), Some("1"), "{ended:?}");
    assert!(ended.err.contains("cannot report a rejected record"), "{ended:?}");
    bench.file("bad", BAD);
    let ended = shell(&bench, "{ sleep 0.2; \"$0\" import bad --rejects no; echo $? >&2; } | true");
    assert_eq!(ended.err.trim(), "2", "{ended:?}");
}

/// The shell sends the signal when the first records are stored, while the input is still open.
#[test]
fn an_interrupted_import_says_where_to_continue_and_applies_nothing_twice() {
    let bench = CliStore::new();
    let add = |id: usize| format!("{{\"$distinct_id\":\"u{}\",\"$add\":{{\"n\":1}}}}\n", id % 7);
    let input: String = (0..5_000).map(|n| if n % 100 == 3 { BAD.to_owned() } else { add(n) }).collect();
    bench.file("first", ALICE);
    bench.file("in", &input);
    for signal in ["INT", "TERM"] {
        let start = r#"mkfifo pipe; "$0" import first pipe --db "$1" --rejects no & "#;
        let feed = "exec 3> pipe; head -n 3000 in >&3; sleep 0.5; ";
        let script = format!("{start}{feed}kill -{signal} $!; wait $!; echo $? >&2; rm pipe");
        let mut command = Command::new("sh");
        command.args(["-c", &script, PROGRAM, signal]).current_dir(bench.dir.path()).stdin(Stdio::null());
        let ended = Ended::from(command.output().unwrap());
        let figures = lines(&ended.out).pop().unwrap();
        let records = figures["resume"]["records"].as_u64().unwrap();
        assert_eq!((&figures["resume"]["file"], records > 0), (&"pipe".into(), true), "{ended:?}");
        assert!(figures["applied"].as_u64().unwrap() + figures["rejected"].as_u64().unwrap() == records + 1);
        assert!(ended.err.contains(&format!("--resume {records} with pipe")) && ended.err.ends_with("\n1\n"));
        let resume = records.to_string();
        let ended = bench.run(&["import", "in", "first", "--db", signal, "--rejects", "no", "--resume", &resume]);
        assert_eq!(ended.figures().0 + ended.figures().1, 5_001 - records, "{ended:?}");
    }
    bench.run(&["import", "first", "in", "--rejects", "no"]);
    let counts = |db: &str| bench.run(&["list", "--columns", "n,x", "--db", db]).ok();
    assert_eq!((counts("INT"), counts("TERM")), (counts("store"), counts("store")));
    bench.run(&["import", "first", "--resume", "2"]).failed(&["ends before the record", "start=2"]);
    bench.run(&["import", "first", "--resume", "1", "--db", "none"]).failed(&["no store at"]);
    assert!(!bench.path("none").exists());
    for shell in ["bash", "zsh", "fish"] {
        assert!(bench.run(&["completions", shell]).ok().contains("delete-events"));
    }
}

#[test]
fn events_and_updates_that_are_sent_to_each_other_are_told_apart() {
    let bench = CliStore::new();
    let event = r#"{"event":"visit","properties":{"distinct_id":"a","time":1700000000}}"#;
    let group = r#"{"$group_key":"company","$group_id":"g","$set":{"x":1}}"#;
    for (command, object, hint) in [
        ("import", event, "\"track\" takes events"),
        ("track", ALICE, "\"import\" takes updates"),
        ("track", group, "\"import\""),
    ] {
        let ended = bench.feed(&[command, "-"], object.as_bytes());
        assert_eq!((ended.code, ended.figures()), (2, (0, 1, 0)), "{ended:?}");
        assert!(lines(&ended.err)[0]["reason"].as_str().unwrap().contains(hint), "{ended:?}");
    }
}
