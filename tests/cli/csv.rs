//! `import-csv`: mapping, preview, rejects that are corrected and sent again, and the limit of rows.
#![cfg(unix)]

use std::fs;

use serde_json::{Value as Json, json};

use crate::store::{CliStore, gzip, lines};

const USERS: &str = "u1,ann@x,pro,5\nu2,bob@x,free,\nu3,,\"pro, yearly\",007\n";
const MAP: [&str; 6] = ["--id", "1", "--map", "2=$email", "--map", "3=plan"];

/// The command with these flags, and a number in column 4.
fn args<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["import-csv", file], &MAP[..], &["--map", "4=seats"], more].concat()
}

fn properties(bench: &CliStore) -> Vec<(String, Json)> {
    let exported = lines(&bench.export());
    let id = |line: &Json| line["$distinct_id"].as_str().or(line["$group_id"].as_str()).unwrap().to_owned();
    exported.iter().map(|line| (id(line), line["$properties"].clone())).collect()
}

#[test]
fn rows_become_profiles_from_a_file_a_pipe_and_gzip() {
    let expected = [
        ("u1".into(), json!({"$email": "ann@x", "plan": "pro", "seats": 5})),
        ("u2".into(), json!({"$email": "bob@x", "plan": "free"})),
        ("u3".into(), json!({"plan": "pro, yearly", "seats": "007"})),
    ];
    for name in ["in.csv", "in.csv.gz", "-"] {
        let bench = CliStore::new();
        bench.file("in.csv", USERS);
        bench.file("in.csv.gz", gzip(USERS.as_bytes()));
        let ended = bench.feed(&args(name, &[]), if name == "-" { USERS.as_bytes() } else { b"" });
        assert_eq!((ended.code, ended.figures(), ended.err.as_str()), (0, (3, 0, 0), ""), "{name}");
        assert_eq!(properties(&bench), expected, "{name}");
    }
}

#[test]
fn a_row_overwrites_and_adds_and_leaves_the_rest_and_last_seen() {
    let bench = CliStore::new();
    let alice = r#"{"$distinct_id":"u1","$time":1700000000,"$set":{"plan":"free","city":"Kyiv","$email":"a@x"}}"#;
    bench.run(&["update", alice]).ok();
    bench.file("in.csv", "id,plan,city,tier\nu1,pro,,1\nu9,,,\n");
    bench.run(&["import-csv", "in.csv", "--header", "--id", "id"]).ok();
    let expected = json!({
        "$last_seen": "2023-11-14T22:13:20", "plan": "pro", "city": "Kyiv", "$email": "a@x", "tier": 1
    });
    // The id alone makes a profile.
    assert_eq!(properties(&bench), [("u1".into(), expected), ("u9".into(), json!({}))]);
    // The same address under another id is another profile.
    bench.file("same.csv", "u2,a@x\n");
    bench.run(&["import-csv", "same.csv", "--id", "1", "--map", "2=$email"]).ok();
    assert_eq!(properties(&bench).len(), 3);
    // Without an id, rows are profiles of their own.
    bench.file("plans.csv", "pro\npro\n");
    bench.run(&["import-csv", "plans.csv", "--map", "1=plan"]).ok();
    assert_eq!(properties(&bench).len(), 5);
    bench.file("groups.csv", "acme;pro\n");
    let group = ["import-csv", "groups.csv", "--group", "company", "--id", "1", "--map", "2=plan", "--delimiter", ";"];
    bench.run(&group).ok();
    assert!(bench.export().contains(r#"{"$group_key":"company","$group_id":"acme","$properties":{"plan":"pro"}}"#));
}

#[test]
fn rejects_are_corrected_and_sent_again() {
    let bench = CliStore::new();
    let bad = "id,plan,seats\r\nu1,5\" pro,5\r\nu2,free\r\nu3,free,x\r\nu4,\"a\"b,1\r\n,pro,1\r\nu5,pro,1\r\n";
    bench.file("in.csv", bad);
    let flags = ["--header", "--id", "id", "--types", "seats=number", "--rejects"];
    let ended = bench.run(&[&["import-csv", "in.csv"], &flags[..], &["rejects"]].concat());
    assert_eq!((ended.code, ended.figures()), (2, (1, 5, 0)));
    let rejects = lines(&fs::read_to_string(bench.path("rejects")).unwrap());
    let texts: Vec<_> = rejects.iter().map(|reject| reject["record"].as_str().unwrap()).collect();
    assert_eq!(texts, ["u1,5\" pro,5", "u2,free", "u3,free,x", "u4,\"a\"b,1", ",pro,1"]);
    let lines_of: Vec<_> = rejects.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
    assert_eq!(lines_of, [2, 3, 4, 5, 6]);
    assert!(rejects.iter().all(|reject| reject["file"] == "in.csv" && reject["reason"].is_string()));
    let mended = ["u1,pro,5", "u2,free,", "u3,free,1", "u4,ab,1", "u6,pro,1"];
    bench.file("mended.csv", format!("id,plan,seats\n{}\n", mended.join("\n")));
    let ended = bench.run(&[&["import-csv", "mended.csv"], &flags[..], &["again"]].concat());
    assert_eq!((ended.code, ended.figures()), (0, (5, 0, 0)));
    assert_eq!(properties(&bench).len(), 6);
}

#[test]
fn a_preview_stores_nothing() {
    let bench = CliStore::new();
    bench.file("in.csv", format!("{USERS}u4\n{}", "u5,,,\n".repeat(20)));
    let ended = bench.run(&args("in.csv", &["--dry-run"]));
    let printed = lines(&ended.out);
    assert_eq!(ended.code, 2);
    assert_eq!(printed[0], json!({"$distinct_id": "u1", "$email": "ann@x", "plan": "pro", "seats": 5}));
    assert_eq!((printed.len(), &printed[10]), (11, &json!({"valid": 23, "rejected": 1, "notes": 0})));
    assert_eq!(lines(&ended.err)[0]["line"], 4);
    let ended = bench.run(&args("in.csv", &["--dry-run", "--format", "table", "--rejects", "/dev/null"]));
    assert!(ended.out.contains("seats") && ended.out.contains("pro, yearly"), "{}", ended.out);
    assert!(!bench.path("store").exists());
}

#[test]
fn a_mapping_that_does_not_fit_stores_nothing() {
    let bench = CliStore::new();
    bench.file("in.csv", USERS);
    bench.run(&["import-csv", "in.csv", "--id", "1"]).failed(&["in.csv", "mapped or skipped column=2"]);
    bench.run(&args("in.csv", &["--map", "5=x"])).failed(&["in.csv", "from 1 to 4 column=\"5\""]);
    bench.run(&args("in.csv", &["--types", "4=integer"])).failed(&["a type is auto, text", "integer"]);
    bench.run(&args("in.csv", &["--rejects", "in.csv"])).failed(&["--rejects is also an input"]);
    bench.file("in.json", "{\"$distinct_id\":\"u\",\"$set\":{}}\n");
    bench.run(&args("in.json", &[])).failed(&["in.json", "the input is not CSV, but JSON"]);
    bench.run(&["import", "in.csv"]).failed(&["in.csv", "the input is not JSON, but CSV"]);
    assert!(!bench.path("store").exists());
}

#[test]
fn more_than_a_million_rows_are_refused_as_a_whole() {
    let bench = CliStore::new();
    let rows = "u,1\n".repeat(1_000_001);
    bench.file("in.csv", &rows);
    bench.file("in.csv.gz", gzip(rows.as_bytes()));
    for name in ["in.csv", "in.csv.gz"] {
        let refused = ["import-csv", name, "--id", "1", "--map", "2=a"];
        bench.run(&refused).failed(&[name, "at most 1000000 rows", "line=1000001"]);
        assert!(!bench.path("store").exists());
    }
    let ended = bench.run(&["import-csv", "in.csv", "--id", "1", "--map", "2=a", "--unbounded"]);
    assert_eq!(ended.figures(), (1_000_001, 0, 0));
}

#[test]
fn an_import_continues_after_the_rows_that_are_stored() {
    let bench = CliStore::new();
    bench.file("in.csv", USERS);
    let flags = ["import-csv", "in.csv", "--map", "1=a", "--map", "2=$email", "--skip", "3", "--skip", "4"];
    bench.run(&["update", "{\"$distinct_id\":\"x\",\"$set\":{}}"]).ok();
    let ended = bench.run(&[&flags[..], &["--resume", "1"]].concat());
    assert_eq!((ended.code, ended.figures()), (2, (1, 1, 0)), "the row without an address has no id");
    assert_eq!(properties(&bench)[0].1, json!({"a": "u2", "$email": "bob@x"}));
    bench.run(&[&flags[..], &["--resume", "4"]].concat()).failed(&["in.csv", "ends before", "start=4"]);
}
