//! Profiles: in, out, and what may go wrong on the way.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use profiledb::{Change, Db, Durability, ProfileKey, Update};
use serde_json::{Value as Json, json};

use crate::store::{CliStore, EVENTS, Ended, HISTORY, PROGRAM, gzip, lines};

const ALICE: &str = r#"{"$distinct_id":"alice","$time":1700000000,"$set":{"plan":"pro","tags":["a","b"]}}"#;
const ALICE_OUT: &str =
    r#"{"$distinct_id":"alice","$properties":{"$last_seen":"2023-11-14T22:13:20","plan":"pro","tags":["a","b"]}}"#;

#[test]
fn one_profile_through_all_verbs() {
    let bench = CliStore::new();
    assert_eq!(bench.run(&["update", ALICE]).figures(), (1, 0, 0));
    assert_eq!(bench.run(&["get", "alice"]).ok().trim_end(), ALICE_OUT);
    assert!(bench.run(&["get", "alice", "--format", "json"]).ok().contains("\n    \"plan\": \"pro\",\n"));
    let expected = "property   value\n$last_seen 2023-11-14T22:13:20\nplan pro\ntags [\"a\",\"b\"]\n";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&bench.run(&["get", "alice", "--format", "table"]).ok()), squeezed(expected));

    let acme = r#"{"$group_key":"company","$group_id":"acme","$set":{"tier":"gold"},"$time":0}"#;
    assert_eq!(bench.feed(&["update", "-"], acme.as_bytes()).figures(), (1, 0, 0));
    assert!(bench.run(&["get", "acme", "--group", "company"]).ok().starts_with("{\"$group_key\":\"company\""));
    bench.run(&["get", "acme"]).failed(&["acme", "users"]);
    bench.run(&["get", "bob"]).failed(&["bob"]);
    bench.run(&["get", "bob", "--group", "company"]).failed(&["bob", "group:company"]);

    assert_eq!(bench.run(&["delete", "alice", "bob"]).ok(), "{\"deleted\":2}\n");
    assert_eq!(bench.run(&["delete", "acme", "--group", "company"]).ok(), "{\"deleted\":1}\n");
    assert_eq!(bench.export(), "");
}

#[test]
fn one_update_may_be_strict_or_forgiven() {
    let bench = CliStore::new();
    let doubtful = r#"{"$distinct_id":"a","$add":{"n":"3","m":"many"}}"#;
    assert_eq!(bench.run(&["update", doubtful]).figures(), (1, 0, 2));
    let strict = bench.run(&["update", "--strict", doubtful]);
    assert_eq!((strict.code, strict.figures()), (2, (0, 1, 0)));
    assert!(strict.err.contains("$add.") && strict.err.contains("\"id\":\"a\""), "{}", strict.err);
    let group = r#"{"$group_key":"k","$group_id":"g","$add":{"n":1}}"#;
    assert_eq!(bench.run(&["update", group]).code, 2);
    assert_eq!(bench.run(&["update", "--add-on-groups", group]).code, 0);
}

#[test]
fn input_comes_in_every_shape() {
    let bench = CliStore::new();
    let line = |id: &str| format!(r#"{{"$distinct_id":"{id}","$set":{{"x":1}}}}"#);
    let plain = bench.file("plain.ndjson", format!("{}\n{}\n", line("a"), line("b")));
    let array = bench.file("array.json", format!("[{},\n {}]", line("c"), line("d")));
    let packed = bench.file("packed.gz", gzip(line("e").as_bytes()));
    assert_eq!(bench.run(&["import", &plain, &array, &packed]).figures(), (5, 0, 0));
    assert_eq!(bench.feed(&["import", "-"], line("f").as_bytes()).figures(), (1, 0, 0));
    assert_eq!(bench.feed(&["import", "-", "--sync"], &gzip(line("g").as_bytes())).figures(), (1, 0, 0));
    assert_eq!(bench.feed(&["import", "-"], b"").figures(), (0, 0, 0));
    let ids: Vec<_> = lines(&bench.run(&["list"]).ok()).iter().map(|row| row["$distinct_id"].clone()).collect();
    assert_eq!(ids, ["a", "b", "c", "d", "e", "f", "g"]);
}

/// Refused for the line itself, and for what is in the store: both are named by place, and cost nobody else anything.
#[test]
fn what_is_refused_is_refused_alone_and_said_why() {
    let bench = CliStore::new();
    let mut input = String::new();
    let wide = |from: u32| {
        let names: serde_json::Map<String, Json> = (from..from + 1_500).map(|n| (format!("p{n}"), n.into())).collect();
        json!({"$distinct_id": "wide", "$set": names}).to_string() + "\n"
    };
    input += &wide(0);
    input += "{\"$distinct_id\":\"\",\"$set\":{\"x\":1}}\n";
    input += &wide(1_000);
    input += "{\"$distinct_id\":\"a\",\"$jump\":{\"x\":1}}\n";
    input += "{\"$distinct_id\":\"b\",\"$set\":{\"x\":\n";
    input += "{\"$distinct_id\":\"c\",\"$set\":{\"x\":1}}\n";
    let file = bench.file("mixed.ndjson", &input);
    let ended = bench.run(&["import", &file, "--rejects", "rejects.ndjson"]);
    assert_eq!((ended.code, ended.figures(), ended.err.as_str()), (2, (2, 4, 0), ""));
    let rejects = lines(&fs::read_to_string(bench.path("rejects.ndjson")).unwrap());
    let seen: Vec<_> = rejects.iter().map(|reject| (reject["line"].as_u64(), reject["id"].as_str())).collect();
    assert_eq!(seen, [(Some(2), None), (Some(3), Some("wide")), (Some(4), Some("a")), (Some(5), None)]);
    for (reject, reason) in rejects.iter().zip(["$distinct_id", "at most 2000 properties", "$jump", ""]) {
        assert!(reject["reason"].as_str().unwrap().contains(reason), "{reject}");
        assert_eq!((reject["file"].as_str(), reject["index"].is_u64()), (Some(file.as_str()), true));
    }
    let ended = bench.run(&["import", &file, "--unbounded"]);
    assert_eq!(ended.figures(), (3, 3, 0));
    assert_eq!(lines(&ended.err).len(), 3, "without a file, rejects go to the standard error");
}

#[test]
fn what_was_exported_imports_byte_for_byte() {
    let bench = CliStore::with_history();
    bench.run(&["update", r#"{"$group_key":"k","$group_id":"g","$set":{"x":"\u0000\u20ac\ud83d\ude00","y":0.1}}"#]);
    let exported = bench.export();
    assert_eq!(exported.lines().count(), 1_503);
    let second = ["--db", "second"];
    let with = |args: &[&'static str]| [args, &second].concat();
    assert_eq!(bench.feed(&with(&["import", "--unbounded", "-"]), exported.as_bytes()).figures(), (1_503, 0, 0));
    assert_eq!(bench.run(&with(&["export"])).ok(), exported);

    bench.run(&["export", "--output", "all.ndjson.gz"]).ok();
    assert_eq!(fs::read(bench.path("all.ndjson.gz")).unwrap()[..2], [0x1f, 0x8b]);
    assert!(!bench.path("all.ndjson.gz.part").exists());
    assert_eq!(bench.run(&["import", "all.ndjson.gz", "--unbounded", "--db", "third"]).code, 0);
    assert_eq!(bench.run(&["export", "--db", "third"]).ok(), exported);
    let users = bench.run(&["export", "--users"]).ok();
    let groups = ["domain", "k"].map(|key| bench.run(&["export", "--group", key]).ok());
    assert_eq!(users + &groups.concat(), exported);
    bench.run(&["export", "--output", "no/such/place"]).failed(&["no/such/place"]);
}

#[test]
fn lists_have_columns_and_a_limit() {
    let bench = CliStore::new();
    let input = r#"{"$distinct_id":"a","$time":0,"$set":{"n":1,"s":"x,\"y\"","l":[1,{"k":null}]}}
        {"$distinct_id":"b\u001b[2J","$time":0,"$set":{"n":2.5}}
        {"$distinct_id":"c","$ignore_time":true,"$set":{"s":"z"}}"#;
    assert_eq!(bench.feed(&["import", "-"], input.as_bytes()).figures(), (3, 0, 0));
    let list = |args: &[&str]| bench.run(&[&["list"], args].concat()).ok();
    assert_eq!(
        list(&["--format", "csv"]),
        "$distinct_id,$last_seen,l,n,s\n\
         a,1970-01-01T00:00:00,\"[1,{\"\"k\"\":null}]\",1,\"x,\"\"y\"\"\"\n\
         b\u{1b}[2J,1970-01-01T00:00:00,,2.5,\nc,,,,z\n"
    );
    assert_eq!(list(&["--columns", "s,n", "--limit", "1"]), "{\"$distinct_id\":\"a\",\"s\":\"x,\\\"y\\\"\",\"n\":1}\n");
    assert_eq!(list(&["--columns", "n", "--prefix", "c"]), "{\"$distinct_id\":\"c\"}\n");
    let rows: Vec<Json> = serde_json::from_str(&list(&["--format", "json"])).unwrap();
    assert_eq!((rows.len(), &rows[0]["l"]), (3, &json!([1, {"k": null}])));
    assert_eq!(list(&["--format", "json", "--prefix", "q"]), "[]\n");
    let table = list(&["--format", "table"]);
    assert!(table.contains(r"b\u{1b}[2J") && !table.contains('\u{1b}'), "nothing reaches the terminal raw: {table}");
}

/// A name that does not exist has one answer everywhere, with those that do. Nothing is made of it.
#[test]
fn names_that_do_not_exist_are_errors_that_list_those_that_do() {
    let bench = CliStore::new();
    bench.feed(&["import", "-"], b"{\"$distinct_id\":\"a\",\"$set\":{\"plan\":1,\"n\":2}}");
    let every = ["list", "export", "get x", "delete x", "join --on", "join --by"];
    let run = |command: &str, key: &str| {
        let mut args: Vec<&str> = command.split(' ').collect();
        let field = format!("group:{key}.x");
        match args.last() {
            Some(&"--on") => args.push(key),
            Some(&"--by") => args.push(&field),
            _ => args.extend(["--group", key]),
        }
        bench.run(&args)
    };
    every.iter().for_each(|command| drop(run(command, "team").failed(&["\"team\"", "the store has no groups at all"])));
    bench.feed(&["update", "-"], br#"{"$group_key":"company","$group_id":"g","$set":{"x":1}}"#);
    every.iter().for_each(|command| drop(run(command, "team").failed(&["\"team\"", "groups of \"company\""])));
    assert_eq!(bench.run(&["tables"]).ok().lines().count(), 2);

    bench.run(&["list", "--columns", "plam"]).failed(&["name=\"plam\"", "users has \"n\", \"plan\""]);
    bench.run(&["list", "--columns", "n,plam,plan", "--limit", "0"]).failed(&["name=\"plam\""]);
    bench.run(&["list", "--columns", "$last_seen,$mp_first_event_time", "--prefix", "z"]).ok();
    let twice = ["list", "--columns", "n,n,$distinct_id,n"];
    assert_eq!(bench.run(&twice).ok(), "{\"$distinct_id\":\"a\",\"n\":2}\n");
    assert_eq!(bench.run(&[&twice[..], &["--format", "csv"]].concat()).ok(), "$distinct_id,n\na,2\n");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let bench = CliStore::with_history();
    bench.run(&["track", EVENTS]);
    for verb in ["list", "export", "list --format csv", "events", "join --select event.files"] {
        let script = format!("\"$0\" {verb} | head -1; exec 3>&1");
        let mut command = Command::new("sh");
        command.args(["-c", &script, PROGRAM]).env("PROFILEDB_DIR", bench.path("store"));
        let ended = Ended::from(command.output().unwrap());
        assert_eq!((ended.code, ended.err.as_str(), ended.out.lines().count()), (0, "", 1), "{verb}");
    }
}

#[test]
fn reports_agree_before_and_after_compaction() {
    let bench = CliStore::with_history();
    let tables = bench.run(&["tables"]).ok();
    assert_eq!(tables, "{\"table\":\"users\",\"profiles\":1162}\n{\"table\":\"group:domain\",\"profiles\":340}\n");
    assert_eq!(lines(&bench.run(&["stats"]).ok()).len(), 2);
    let before: Json = serde_json::from_str(&bench.run(&["check", "--format", "json"]).ok()).unwrap();
    let exported = bench.export();
    let compacted: Json = serde_json::from_str(&bench.run(&["compact"]).ok()).unwrap();
    assert_eq!(compacted["tables"], 2);
    let after = lines(&bench.run(&["check"]).ok()).remove(0);
    for (before, after) in before["tables"].as_array().unwrap().iter().zip(after["tables"].as_array().unwrap()) {
        assert!(before["pending_operands"].as_u64() > Some(0) && after["pending_operands"] == 0, "{before} {after}");
        assert_eq!((&before["profiles"], &before["properties"]), (&after["profiles"], &after["properties"]));
    }
    assert_eq!((&before["sound"], &after["sound"]), (&json!(true), &json!(true)));
    assert!(bench.run(&["check", "--format", "table"]).ok().ends_with("\nsound\n"));
    assert_eq!(bench.run(&["check", "--format", "csv"]).ok().lines().count(), 3);
    assert_eq!(bench.export(), exported);
}

#[test]
fn a_check_and_a_salvage_go_on_after_damage() {
    let bench = CliStore::new();
    let input: String = (0..20_000)
        .map(|n| format!("{{\"$distinct_id\":\"u{n:05}\",\"$set\":{{\"a\":{n},\"b\":\"{}\"}}}}\n", n * 7919))
        .collect();
    assert_eq!(bench.feed(&["import", "-"], input.as_bytes()).code, 0);
    bench.run(&["compact"]).ok();
    let tables = fs::read_dir(bench.path("store")).unwrap().map(|entry| entry.unwrap().path());
    let tables = tables.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    let largest = tables.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let at = bytes.len() * 3 / 10;
    bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(&largest, bytes).unwrap();

    let file = largest.file_name().unwrap().to_str().unwrap();
    let checked = bench.run(&["check"]);
    let report: Json = serde_json::from_str(&checked.out).unwrap();
    let damage = &report["tables"][0]["damage"];
    assert_eq!((checked.code, &report["sound"], damage.as_array().map(Vec::len)), (2, &json!(false), Some(1)));
    assert!(damage[0]["reason"].as_str().unwrap().contains(file) && damage[0]["after"].is_string(), "{damage}");
    let table = bench.run(&["check", "--format", "table"]);
    assert!(table.code == 2 && table.out.contains("users cannot be read between \"u"), "{table:?}");

    bench.run(&["export"]).failed(&[file]);
    let salvaged = bench.run(&["export", "--salvage", "--output", "all.ndjson"]);
    assert_eq!(
        (salvaged.code, salvaged.err.lines().count(), &lines(&salvaged.err)[0]["after"]),
        (2, 1, &damage[0]["after"])
    );
    assert_eq!(
        bench.run(&["import", "all.ndjson", "--db", "other"]).figures(),
        (report["tables"][0]["profiles"].as_u64().unwrap(), 0, 0)
    );
    assert!(report["tables"][0]["profiles"].as_u64() > Some(18_000), "{report}");
    assert_eq!(bench.run(&["events", "--salvage"]).ok(), "");
}

#[test]
fn backups_restore() {
    let bench = CliStore::with_history();
    let exported = bench.export();
    let made: Json = serde_json::from_str(&bench.run(&["backup", "backups"]).ok()).unwrap();
    bench.run(&["delete", "00197f3a3d530342"]).ok();
    let backups = lines(&bench.run(&["backups", "backups"]).ok());
    assert_eq!((backups.len(), &backups[0]["id"]), (1, &made["id"]));
    bench.run(&["restore", "backups", "--db", "restored"]).ok();
    assert_eq!(bench.run(&["export", "--db", "restored"]).ok(), exported);
    bench.run(&["restore", "backups"]).failed(&["must be empty", "store"]);
    bench.run(&["restore", "nothing", "--db", "new"]).failed(&["nothing"]);
    bench.run(&["backups", "nothing"]).failed(&["nothing"]);
    bench.run(&["backup", "store"]).failed(&["lies inside of the store"]);
    bench.run(&["list", "--db", "backups"]).failed(&["contains a backup, not a store"]);
}

#[test]
fn a_damaged_backup_is_never_skipped() {
    let bench = CliStore::new();
    bench.run(&["update", ALICE]);
    bench.run(&["backup", "backups"]).ok();
    bench.run(&["delete", "alice"]).ok();
    bench.run(&["backup", "backups"]).ok();
    let verify = |args: &[&str]| {
        let ended = bench.run(&[&["backup", "verify", "backups"], args].concat());
        let damaged = lines(&ended.out).iter().filter(|row| row["damage"].is_string()).count();
        (ended.code, ended.out.lines().count(), damaged)
    };
    assert_eq!((verify(&[]), verify(&["--id", "1"])), ((0, 2, 0), (0, 1, 0)));
    let mut meta = fs::read(bench.path("backups/meta/2")).unwrap();
    let middle = meta.len() / 2;
    meta[middle] ^= 1;
    fs::write(bench.path("backups/meta/2"), meta).unwrap();
    assert_eq!((verify(&[]), verify(&["--id", "1"]), verify(&["--id", "2"])), ((2, 2, 1), (0, 1, 0), (2, 1, 1)));
    let listed = bench.run(&["backups", "backups"]);
    assert_eq!((listed.code, lines(&listed.out)[1]["id"].as_u64()), (2, Some(2)));
    for _ in 0..2 {
        bench.run(&["restore", "backups", "--db", "r"]).failed(&["backup=2", "undamaged backups=[1]"]);
        assert!(!bench.path("r").exists());
    }
    bench.run(&["restore", "backups", "--id", "7", "--db", "r"]).failed(&["backup=7", "backups=[1, 2]"]);
    bench.run(&["backup", "verify", "backups", "--id", "7"]).failed(&["backup=7"]);
    let restored = bench.run(&["restore", "backups", "--id", "1", "--db", "r"]).ok();
    assert!(restored.starts_with("{\"id\":1,"), "{restored}");
    assert_eq!(bench.run(&["export", "--db", "r"]).ok().trim_end(), ALICE_OUT);
    assert_eq!(bench.run(&["backup"]).code, 1);
}

#[test]
fn without_a_store_nothing_is_made() {
    let bench = CliStore::new();
    let reading = ["get x", "list", "export", "tables", "stats", "check", "events", "events --days", "join"];
    for verb in
        reading.iter().chain(&["compact", "delete x", "delete-user x", "delete-events --before 1970", "backup b"])
    {
        let args: Vec<&str> = verb.split(' ').collect();
        bench.run(&args).failed(&["no store at ", "store; \"profiledb import FILE --db "]);
    }
    bench.run(&["import", HISTORY, "missing.ndjson"]).failed(&["missing.ndjson"]);
    bench.run(&["import", "."]).failed(&["directory"]);
    bench.run(&["update", " "]).failed(&["no update"]);
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 0);
}

#[test]
fn bad_input_names_the_thing_and_changes_nothing() {
    let bench = CliStore::new();
    assert_eq!(bench.run(&["update", ALICE]).code, 0);
    let refused: [(&[u8], &str); 7] = [
        (br#"{"$distinct_id":"alice","$set":{"plan":"fr"#, "line"),
        (b"{\"$distinct_id\":\"alice\",\"$set\":{\"plan\":\"\xff\"}}", "utf-8"),
        (br#"{"$distinct_id":"","$set":{"plan":"free"}}"#, "$distinct_id"),
        (br#"{"$distinct_id":"alice","$jump":{"plan":"free"}}"#, "$jump"),
        (br#"{"$distinct_id":"alice"}"#, "operator"),
        (br#"{"$distinct_id":"alice","$set":{"plan":"free","deep":{"a":{"b":{"c":{"d":1}}}}}}"#, "$set.deep"),
        (b"plan,free", "line"),
    ];
    for (input, named) in refused {
        let ended = bench.feed(&["import", "-"], input);
        assert_eq!((ended.code, ended.figures().0), (2, 0), "{ended:?}");
        assert!(ended.err.contains(named), "{named} in {ended:?}");
    }
    let mut torn = gzip(ALICE.as_bytes());
    torn.truncate(torn.len() / 2);
    bench.feed(&["import", "-"], &torn).failed(&["cannot import -"]);
    for args in [["get", ""], ["delete", ""], ["update", ""]] {
        bench.run(&args).failed(&[]);
    }
    bench.run(&["get", "alice", "--group", ""]).failed(&["$group_key"]);
    let usage = bench.run(&["import"]);
    assert_eq!((usage.code, usage.out.as_str()), (1, ""), "2 is for refused records");
    assert_eq!(bench.run(&["--help"]).code, 0);
    assert_eq!(bench.export().trim_end(), ALICE_OUT);
}

#[test]
fn swapped_keys_are_refused_beyond_a_bound_and_their_tables_can_be_dropped() {
    let bench = CliStore::new();
    let swapped =
        |n: i32| format!("{{\"$group_key\":\"tenant-{n}\",\"$group_id\":\"company\",\"$set\":{{\"a\":1}}}}\n");
    let input: String = (0..70).map(swapped).collect();
    let ended = bench.feed(&["import", "-"], input.as_bytes());
    assert_eq!((ended.code, ended.figures()), (2, (64, 6, 0)), "{ended:?}");
    assert!(ended.err.contains("group_keys_max=64") && ended.err.contains("tenant-64"), "{ended:?}");
    let tables = || lines(&bench.run(&["tables"]).ok()).len();
    assert_eq!(tables(), 64);
    bench.run(&["delete", "acme", "--group", "compnay"]);
    bench.run(&["drop-table", "group:tenant-7"]).failed(&["group:tenant-7", "1 profiles", "--yes"]);
    bench.run(&["drop-table", "tenant-7", "--yes"]).failed(&["no table \"tenant-7\"", "group:tenant-7"]);
    assert_eq!(tables(), 64);
    let dropped = bench.run(&["drop-table", "group:tenant-7", "--yes"]).ok();
    assert_eq!(dropped.trim_end(), r#"{"table":"group:tenant-7","deleted":1}"#);
    assert_eq!(tables(), 63);
    // To restore an export there is no bound.
    let ended = bench.feed(&["import", "-", "--unbounded"], input.as_bytes());
    assert_eq!(ended.figures(), (70, 0, 0), "{ended:?}");
}

#[test]
fn what_came_before_a_failure_is_applied_and_counted() {
    let bench = CliStore::new();
    let mut input = gzip(ALICE.as_bytes());
    input.extend_from_slice(&gzip(&[b' '; 10_000])[..12]);
    let ended = bench.feed(&["import", "-"], &input).failed(&["cannot import -"]);
    assert_eq!(ended.figures(), (1, 0, 0));
    assert_eq!(bench.export().trim_end(), ALICE_OUT);
}

#[test]
fn other_directories_are_left_alone() {
    let bench = CliStore::new();
    let foreign = |name: &str, file: &str, content: &str| {
        fs::create_dir(bench.path(name)).unwrap();
        fs::write(bench.path(name).join(file), content).unwrap();
    };
    foreign("photos", "cat.jpg", "meow");
    foreign("newer", "PROFILEDB", "profiledb\nformat 99\noperators 1\n");
    bench.file("file", "");
    for (dir, named) in [("photos", "not a profiledb store"), ("newer", "newer version"), ("file", "not a directory")] {
        for args in [vec!["list"], vec!["import", HISTORY], vec!["compact"]] {
            bench.run(&[&args[..], &["--db", dir]].concat()).failed(&[named, dir]);
        }
    }
    bench.run(&["import", HISTORY, "--db", "file/below"]).failed(&["file/below"]);
    assert_eq!(fs::read_dir(bench.path("photos")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(bench.path("newer")).unwrap().count(), 1);
}

#[test]
fn one_process_writes_and_others_read() {
    let bench = CliStore::new();
    let db = Db::open(bench.path("store")).unwrap();
    db.users().update("alice", Update::new().set("x", 1).ignore_time()).unwrap();
    for args in [vec!["import", HISTORY], vec!["update", ALICE], vec!["compact"], vec!["delete", "alice"]] {
        bench.run(&args).failed(&["in use", "another process", "store"]);
    }
    let writer = format!("pid={}", std::process::id());
    bench.run(&["backup", "backups"]).failed(&["in use", &writer, "store", "Db::backup", "--wait", "export"]);
    assert!(!bench.path("backups").exists());
    db.backup(bench.path("backups")).unwrap();
    assert_eq!(bench.run(&["backup", "verify", "backups"]).ok().lines().count(), 1);
    assert_eq!(bench.run(&["list"]).ok(), "{\"$distinct_id\":\"alice\",\"x\":1}\n");
    db.users().update("alice", Update::new().add("x", 1).ignore_time()).unwrap();
    assert_eq!(bench.run(&["get", "alice"]).ok(), "{\"$distinct_id\":\"alice\",\"$properties\":{\"x\":2}}\n");
    bench.run(&["check"]).ok();
    db.users().update("alice", Update::new().add("x", 1).ignore_time()).unwrap();
    drop(db);
    assert_eq!(bench.run(&["list"]).ok(), "{\"$distinct_id\":\"alice\",\"x\":3}\n");
}

#[test]
fn a_writer_waits_for_another_if_it_is_told_to() {
    let bench = CliStore::new();
    let db = Db::open(bench.path("store")).unwrap();
    bench.run(&["update", ALICE, "--wait", "0"]).failed(&["in use"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bench.run(&["update", ALICE, "--wait", "60"]));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!waiting.is_finished());
        drop(db);
        assert_eq!(waiting.join().unwrap().figures(), (1, 0, 0));
    });
}

/// Readers come and go while files are written, folded and removed under them, and each sees one whole moment.
#[test]
fn readers_beside_a_busy_writer_see_a_store() {
    let bench = CliStore::new();
    bench.run(&["update", ALICE]);
    let db = Db::builder().durability(Durability::Buffered).memtable_bytes(64 << 10).open(bench.path("store")).unwrap();
    // How long a reader took last, in microseconds.
    let reading = AtomicU64::new(20_000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                let batch = (0..500).map(|id| {
                    let update = Update::new().set("n", n).add("updates", 1);
                    (ProfileKey::user(format!("u{id}")).unwrap(), Change::Update(update))
                });
                db.write(batch.collect()).unwrap();
                if n % 8 == 7 {
                    db.compact().unwrap()
                } else {
                    db.flush().unwrap()
                }
                // As busy as can be, and yet there are moments in which a store can be opened whole.
                std::thread::sleep(Duration::from_micros(reading.load(Ordering::Relaxed)));
            }
        });
        // Also when the reader panics, or the writer would never end.
        let _stop = Stop(&done);
        let mut latest = 0;
        for _ in 0..60 {
            let started = Instant::now();
            assert_eq!(bench.run(&["get", "alice"]).ok().trim_end(), ALICE_OUT);
            let rows = lines(&bench.run(&["list", "--prefix", "u", "--columns", "n,updates"]).ok());
            let moments: BTreeSet<u64> = rows.iter().map(|row| row["n"].as_u64().unwrap()).collect();
            let is_whole = |row: &Json| row["updates"].as_u64() == row["n"].as_u64().map(|n| n + 1);
            assert!(rows.iter().all(is_whole), "updates are missing: {:?}", rows[0]);
            let now = moments.first().copied().unwrap_or_default();
            assert!(moments.len() <= 1 && [0, 500].contains(&rows.len()), "of one moment: {moments:?}");
            assert!(now >= latest, "what was there once stays there: {now} after {latest}");
            latest = now;
            reading.store(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        assert!(latest > 0);
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A disk that is full, as far as files of some size go: writes fail in the middle of an import. What was counted as
/// applied is there afterwards, and the store works as soon as there is space.
#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let bench = CliStore::new();
    bench.run(&["update", ALICE]);
    let input: String = (0..20_000)
        .map(|n| format!("{{\"$distinct_id\":\"u{n:05}\",\"$set\":{{\"n\":{n},\"text\":\"{}\"}}}}\n", "x".repeat(200)))
        .collect();
    let file = bench.file("many.ndjson", input);
    let script = r#"trap "" XFSZ; ulimit -f "$1"; exec "$0" import "$2""#;
    let mut full = Command::new("sh");
    full.args(["-c", script, PROGRAM, "2048", &file]).env("PROFILEDB_DIR", bench.path("store"));
    let ended = Ended::from(full.output().unwrap()).failed(&["File too large", "many.ndjson"]);
    let (applied, rejected, _) = ended.figures();
    assert!((1..20_000).contains(&applied) && rejected == 0, "{ended:?}");

    let users = lines(&bench.run(&["list", "--columns", "n"]).ok());
    assert!(users.len() as u64 > applied, "acknowledged {applied}, found {}", users.len());
    for (n, user) in users[1..].iter().enumerate() {
        assert_eq!(user, &json!({"$distinct_id": format!("u{n:05}"), "n": n}), "a prefix of the input, without holes");
    }
    assert_eq!(bench.run(&["get", "alice"]).ok().trim_end(), ALICE_OUT);
    bench.run(&["check"]).ok();
    assert_eq!(bench.run(&["import", &file]).figures(), (20_000, 0, 0));
    assert_eq!(bench.run(&["list"]).ok().lines().count(), 20_001);
}
