//! CSV files as uploads: `POST /api/csv`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use profiledb::server::{Project, Server, ServerLimits};
use profiledb::{Durability, Update};
use serde_json::{Value as Json, json};

use crate::bench::{Reply, TestServer, base64, percent};

const FILE: &str = "alice,a@example.org,5,x\nbob,,007,x\n,c@example.org,1,x\ncarol,\"c\"c,1,x\nbob,b@example.org,,x\n";

fn post(server: &TestServer, query: &str, body: impl AsRef<[u8]>) -> Reply {
    server.request("POST", &format!("/api/csv{query}"), &[("content-type", "text/csv")], body)
}

/// The answer to a file that was read to its end.
#[track_caller]
fn done(server: &TestServer, query: &str, body: impl AsRef<[u8]>) -> Json {
    serde_json::from_str(&post(server, query, body).with(200)).unwrap()
}

/// The message, of an answer with this status.
#[track_caller]
fn refused(reply: &Reply, status: u16) -> String {
    let value: Json = serde_json::from_str(&reply.with(status)).unwrap();
    assert_eq!(value["status"], "error", "{value}");
    value["error"].as_str().unwrap().to_owned()
}

fn limited(set: impl FnOnce(&mut ServerLimits)) -> TestServer {
    let mut limits = ServerLimits::default();
    set(&mut limits);
    TestServer::with(|server| server.limits(limits))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn rows_set_properties_and_bad_ones_are_listed() {
    let server = TestServer::start();
    let answer = done(&server, &format!("?id=1&map=2%3D{}&map=3=n&skip=4", percent("$email")), FILE);
    let expected = json!({
        "status": "ok", "rows": 5, "applied": 3, "rejected": 2, "notes": 0, "rejects_left_off": 0,
        "rejects": [
            {"line": 3, "index": 2, "field": "$distinct_id", "record": ",c@example.org,1,x",
             "reason": "$distinct_id, missing or empty column=1"},
            {"line": 4, "index": 3, "record": "carol,\"c\"c,1,x",
             "reason": "text after the closing quote of a field column=2 char=10"},
        ],
    });
    assert_eq!(answer, expected);
    assert_eq!(server.user("alice"), json!({"$email": "a@example.org", "n": 5}));
    assert_eq!(server.user("bob"), json!({"$email": "b@example.org", "n": "007"}));
    assert_eq!(server.db.users().iter().count(), 2);
    assert_eq!(server.metric("profiledb_updates_total"), 3);
    assert_eq!(server.metric(r#"profiledb_records_rejected_total{reason="invalid"}"#), 2);
    assert_eq!(server.metric(r#"profiledb_requests_total{route="/api/csv",status="2xx"}"#), 1);
}

/// The same file by way of the flags has the same rows: tests/cli has those.
#[test]
fn options_are_those_of_the_command() {
    let server = TestServer::start();
    let file = "account;zip;open;since\nacme;01234;TRUE;1704103200\nemca;9;1;x\n";
    let query =
        "?header=true&delimiter=%3B&id=account&group=company&types=zip=text&types=open=boolean&types=since=date";
    let answer = done(&server, query, file);
    assert_eq!((&answer["applied"], &answer["rejected"]), (&json!(1), &json!(1)));
    assert_eq!(answer["rejects"][0]["field"], "$set.since");
    let expected = json!({"zip": "01234", "open": true, "since": "2024-01-01T10:00:00"});
    assert_eq!(server.group("company", "acme"), expected);
    // A tab, UTF-16, Latin-1, and a header in the place of a mapping.
    let tabs: Vec<u8> = "\u{feff}id\tname\r\nd\té\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(done(&server, "?header=1&delimiter=tab&id=id", tabs)["applied"], 1);
    assert_eq!(server.user("d"), json!({"name": "é"}));
    assert_eq!(done(&server, "?id=1&map=2=name&encoding=latin-1", b"e,\xfc\n")["applied"], 1);
    assert_eq!(server.user("e"), json!({"name": "ü"}));
    assert_eq!(done(&server, "?id=1&map=2=name", b"f,\xfc\n")["rejects"][0]["record"], json!([102, 44, 252]));
    // Without a column of ids, each row is a profile of its own.
    assert_eq!(done(&server, "?map=1=name", "x\nx\n")["applied"], 2);
    assert_eq!(server.db.users().iter().count(), 4);
    assert_eq!(done(&server, "?id=1", "")["rows"], 0);
    // Lenient rules truncate, and strict ones do not.
    let long = format!("long,{}\n", "x".repeat(300));
    let strict = done(&server, "?id=1&map=2=x&strict=1", &long);
    assert_eq!((&strict["applied"], &strict["rejected"]), (&json!(0), &json!(1)), "{strict}");
    let lenient = done(&server, "?id=1&map=2=x", &long);
    assert_eq!((&lenient["applied"], &lenient["notes"]), (&json!(1), &json!(1)), "{lenient}");
}

#[test]
fn a_dry_run_stores_nothing() {
    let server = TestServer::start();
    let rows: String = (0..20).map(|n| format!("u{n},{n}\n")).collect();
    let answer = done(&server, "?id=1&map=2=n&dry_run=1", format!("{rows},x\n"));
    assert_eq!((&answer["valid"], &answer["rejected"], &answer["rows"]), (&json!(20), &json!(1), &json!(21)));
    let preview = answer["preview"].as_array().unwrap();
    assert_eq!(preview.len(), 10);
    assert_eq!(preview[9], json!({"$distinct_id": "u9", "$properties": {"n": 9}}));
    assert!(answer.get("applied").is_none());
    let group = done(&server, "?id=1&map=2=n&dry_run=true&group=company", "acme,1\n");
    let expected = json!([{"$group_key": "company", "$group_id": "acme", "$properties": {"n": 1}}]);
    assert_eq!(group["preview"], expected);
    assert_eq!(server.db.users().iter().count(), 0);
    assert_eq!(server.db.kinds().len(), 0, "no table is made");
    assert_eq!(server.metric("profiledb_updates_total"), 0);
    // What it rejects is not counted as what was sent to be stored.
    assert_eq!(server.metric(r#"profiledb_records_rejected_total{reason="invalid"}"#), 0);
}

#[test]
fn bad_options_store_nothing() {
    let server = TestServer::start();
    for (query, part) in [
        ("?id=1", "mapped or skipped"),
        ("?id=9&map=2=n", "from 1 to 2"),
        ("?id=1&map=2", "COLUMN=PROPERTY"),
        ("?id=1&map=2=n&types=2=string", "a type is"),
        ("?id=1&map=2=n&delimiter=ab", "a delimiter is"),
        ("?id=1&map=2=n&encoding=ebcdic", "an encoding is"),
        ("?id=1&map=2=n&header=yes", "true or false"),
        ("?id=1&map=2=n&dry_run=yes", "true or false"),
        ("?id=1&map=2=n&id=2", "twice"),
        ("?id=1&map=2=n&header=1&header=0", "twice"),
        ("?id=1&map=2=n&where=x", "not known"),
        ("?id=1&map=2=n&dryrun=1", "not known"),
        ("?id=1&map=2=n&resume=-1", "resume"),
        ("?id=1&map=2=n&resume=1&dry_run=1", "resume"),
        ("?id=1&map=2=n&group=%FF", "utf-8"),
        ("?id=1&map=2=$last_seen", "cannot be stored"),
    ] {
        let error = refused(&post(&server, query, "alice,1\nbob,2\n"), 400);
        assert!(error.contains(part), "{query}: {error}");
    }
    let form = [("content-type", "multipart/form-data; boundary=x")];
    assert!(refused(&server.request("POST", "/api/csv?id=1", &form, "x"), 415).contains("the file itself"));
    assert!(
        refused(&server.request("POST", "/api/csv?id=1", &[("content-encoding", "br")], "x"), 415).contains("gzip")
    );
    for body in [&b"{\"a\":1}\n"[..], b"[{\"a\":1}]", b"PK\x03\x04", b"<html>"] {
        assert!(refused(&post(&server, "?id=1&map=2=n", body), 400).contains("not CSV"));
    }
    assert_eq!(server.request("PUT", "/api/csv", &[], "x").status, 405);
    assert_eq!(server.get("/api/csv").status, 405);
    assert_eq!(server.db.users().iter().count(), 0);
}

/// As of imports: a token is enough, and pages of other origins may send.
#[test]
fn credentials_and_pages() {
    let server =
        TestServer::of(|db| Server::builder().project(Project::new(db).token("t").secret("s3cret").account("u", "p")));
    let send = |query: &str, authorization: &str| {
        let headers = [("authorization", authorization), ("origin", "https://a.example")];
        server.request("POST", &format!("/api/csv?id=1&map=2=n{query}"), &headers, "alice,1\n")
    };
    for user in ["t:", "s3cret:", "u:p"] {
        assert_eq!(send("", &format!("Basic {}", base64(user))).status, 200, "{user}");
    }
    assert_eq!(send("&api_key=t", "").status, 200);
    for user in [":", "other:", "u:x", "u:", "t:x"] {
        let refused = send("", &format!("Basic {}", base64(user)));
        assert_eq!((refused.status, &refused.value()["rows"]), (401, &json!(0)), "{user}");
        assert_eq!(refused.header("access-control-allow-origin").as_deref(), Some("https://a.example"));
    }
    let asked = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    let preflight = server.request("OPTIONS", "/api/csv?id=1", &asked, "");
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
}

#[test]
fn answers_are_bounded() {
    let server = TestServer::start();
    let rows: String = (0..3_000).map(|n| format!("u{n},{n},x\n")).collect();
    let many = done(&server, "?id=1&map=2=n", format!("a,1\n{rows}"));
    assert_eq!(
        (&many["applied"], &many["rejected"], &many["rejects_left_off"]),
        (&json!(1), &json!(3_000), &json!(2_000))
    );
    assert_eq!(many["rejects"].as_array().unwrap().len(), 1_000);
    let wide = format!(",{}\n", "x".repeat(100_000)).repeat(30);
    let large = post(&server, "?id=1&map=2=n", wide);
    assert!(large.body.len() < 1_200_000, "{}", large.body.len());
    let large = large.value();
    let listed = large["rejects"].as_array().unwrap().len() as u64;
    assert!((5..30).contains(&listed), "{listed}");
    assert_eq!(large["rejects_left_off"], 30 - listed);
}

#[test]
fn large_files_are_streamed() {
    // Of a body, no more than this may be held anywhere.
    let server = limited(|limits| (limits.body_bytes_max, limits.buffered_bytes_max) = (100_000, 100_000));
    let rows: String = (0..200_000).map(|n| format!("u{:05},{n},{:0>40}\n", n % 50_000, n)).collect();
    assert!(rows.len() > 10_000_000);
    let query = "?id=1&map=2=n&map=3=x";
    assert_eq!(done(&server, query, &rows)["applied"], 200_000);
    assert_eq!(server.user("u49999")["n"], 199_999);
    assert_eq!(server.db.users().iter().count(), 50_000);
    for headers in [&[("content-encoding", "gzip")][..], &[("content-type", "application/gzip")]] {
        let answer = server.request("POST", &format!("/api/csv{query}"), headers, gzip(rows.as_bytes()));
        assert_eq!(answer.value()["applied"], 200_000);
    }
    assert_eq!(server.metric("profiledb_buffered_bytes"), 0);
}

#[test]
fn files_that_are_too_long_end_with_what_was_read() {
    let server = limited(|limits| (limits.body_bytes_max, limits.csv_bytes_max) = (100_000, 50_000));
    let rows = |from: usize, to: usize| (from..to).map(|n| format!("u{n:05},{n}\n")).collect::<String>();
    let query = "?id=1&map=2=n";
    // Its length says so before anything is read.
    let declared = post(&server, query, rows(0, 10_000));
    assert!(refused(&declared, 413).contains("50000 bytes"));
    assert_eq!(server.db.users().iter().count(), 0);
    let head =
        "POST /api/csv?id=1&map=2=n HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n";
    assert_eq!(server.raw(head).status, 413);
    // It does not, or it is small until it is inflated.
    let chunked = |body: &[u8]| {
        let head =
            format!("POST /api/csv{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked");
        let body = [format!("{head}\r\n\r\n{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
        server.raw(body)
    };
    for is_plain in [true, false] {
        let rows = rows(0, 10_000);
        let reply = if is_plain { chunked(rows.as_bytes()) } else { post(&server, query, gzip(rows.as_bytes())) };
        assert!(refused(&reply, 413).contains("50000 bytes"), "{reply:?}");
        let answer = reply.value();
        let stored = server.db.users().iter().count() as u64;
        assert_eq!((&answer["rows"], &answer["applied"]), (&json!(stored), &json!(stored)));
        assert!(stored < 5_000, "{stored}");
        server.db.users().iter().for_each(|row| drop(server.db.users().delete(&row.unwrap().0)));
    }
    // A bomb in a bomb, and one whose first member is a single byte.
    let bomb = gzip(&gzip(rows(0, 10_000).as_bytes()));
    let split = [gzip(&bomb[..1]), gzip(&bomb[1..])].concat();
    for bomb in [bomb.clone(), gzip(&bomb), split] {
        assert!(refused(&post(&server, query, &bomb), 400).contains("gzipped twice"));
    }
    let torn = gzip(rows(0, 1_000).as_bytes());
    assert_eq!(post(&server, query, &torn[..torn.len() - 9]).status, 400);
    assert_eq!(server.metric(r#"profiledb_requests_refused_total{reason="too_large"}"#), 4);
}

#[test]
fn more_than_a_million_rows_are_refused() {
    let server = TestServer::start();
    let rows = "a,1\n".repeat(1_000_001);
    let reply = post(&server, "?id=1&map=2=n&dry_run=1", &rows);
    assert!(refused(&reply, 413).contains("1000000 rows"));
    assert_eq!(done(&server, "?id=1&map=2=n&dry_run=1&unbounded=1", &rows)["valid"], 1_000_001);
}

fn head(query: &str, length: usize) -> String {
    format!("POST /api/csv{query} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The rows that arrived as a whole are in, those before are too, and half a row is none.
#[test]
fn an_upload_that_is_cut_leaves_whole_rows() {
    let server = TestServer::start();
    let half = format!("{}u999,12", (0..500).map(|n| format!("u{n},{n}\n")).collect::<String>());
    for is_polite in [true, false] {
        let mut stream = server.connect();
        stream.write_all(format!("{}{half}", head("?id=1&map=2=n", half.len() + 100)).as_bytes()).unwrap();
        wait_for("rows are committed while they arrive", || server.user("u499") != json!(null));
        if is_polite {
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            assert!(!answer.contains("200 OK"), "{answer}");
        } else {
            drop(stream);
        }
        wait_for("the upload ends", || server.metric("profiledb_uploads_open") == 0);
        assert_eq!(server.user("u999"), json!(null));
        assert_eq!(server.db.users().iter().count(), 500);
        server.db.users().iter().for_each(|row| drop(server.db.users().delete(&row.unwrap().0)));
    }
    // The rest of it.
    let whole = half.replace("u999,12", "u500,500\nu501,501\n");
    let answer = done(&server, "?id=1&map=2=n&resume=500", whole);
    assert_eq!((&answer["rows"], &answer["applied"]), (&json!(502), &json!(2)));
    assert_eq!(server.db.users().iter().count(), 2);
    assert!(refused(&post(&server, "?id=1&map=2=n&resume=9", "a,1\n"), 400).contains("start=9"));
}

/// A client that has sent all may leave: all of it is stored.
#[test]
fn an_upload_that_has_arrived_is_stored() {
    let server = TestServer::start();
    let rows: String = (0..5_000).map(|n| format!("u{n},{n}\n")).collect();
    let mut stream = server.connect();
    stream.write_all(format!("{}{rows}", head("?id=1&map=2=n", rows.len())).as_bytes()).unwrap();
    drop(stream);
    // Or the kernel has dropped what had not been read yet.
    wait_for("the upload ends", || server.metric("profiledb_uploads_open") == 0 && server.user("u0") != json!(null));
    let stored = server.db.users().iter().count();
    let last = (0..5_000).take_while(|n| server.user(&format!("u{n}")) != json!(null)).count();
    assert_eq!(stored, last, "what is in is the beginning of the file");
}

#[test]
fn slow_uploads_end() {
    let server = limited(|limits| {
        limits.body_deadline = Duration::from_millis(300);
        limits.csv_deadline = Duration::from_millis(1_500);
    });
    let silent = |stream: &mut TcpStream| {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    let mut stream = server.connect();
    stream.write_all(format!("{}a,1\nb,", head("?id=1&map=2=n", 100)).as_bytes()).unwrap();
    let started = Instant::now();
    let answer = silent(&mut stream);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains(r#""rows":1,"applied":1"#), "{answer}");
    // A byte now and then is enough for a while, longer than other bodies may take, and then it ends as well.
    let mut stream = server.connect();
    stream.write_all(head("?id=1&map=2=n", 1_000).as_bytes()).unwrap();
    let started = Instant::now();
    while stream.write_all(b"c,2\n").is_ok() && started.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!((1_000..5_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    wait_for("the upload ends", || server.metric("profiledb_uploads_open") == 0);
    assert_eq!(server.user("c"), json!({"n": 2}));
    assert_eq!(server.metric(r#"profiledb_connections_cut_total{reason="body_deadline"}"#), 1);
    assert_eq!(server.metric(r#"profiledb_connections_cut_total{reason="csv_deadline"}"#), 1);
}

#[test]
fn uploads_wait_for_their_turn() {
    let server = limited(|limits| {
        limits.csv_uploads_max = 1;
        limits.work_deadline = Duration::from_millis(300);
    });
    let mut stream = server.connect();
    stream.write_all(format!("{}a,1\n", head("?id=1&map=2=n", 8)).as_bytes()).unwrap();
    wait_for("the first upload begins", || server.user("a") == json!({"n": 1}));
    let busy = post(&server, "?id=1&map=2=n", "b,1\n");
    assert_eq!((busy.status, busy.header("retry-after").as_deref()), (503, Some("1")));
    // Others do not wait for uploads.
    assert_eq!(server.json("/engage", r#"{"$distinct_id":"d","$set":{"x":1}}"#).with(200), "1");
    stream.write_all(b"b,2\n").unwrap();
    wait_for("the first upload ends", || server.metric("profiledb_uploads_open") == 0);
    assert_eq!(server.user("b"), json!({"n": 2}));
    assert_eq!(done(&server, "?id=1&map=2=n", "b,3\n")["applied"], 1);
}

#[test]
fn an_answer_is_as_durable_as_the_project_says() {
    let server = TestServer::of(|db| Server::builder().project(Project::new(db).durability(Durability::Synced)));
    // How far the log was synced.
    let synced = || std::fs::read(server.store_dir().join("PROFILEDB.synced")).unwrap();
    server.db.users().update("buffered", Update::new().set("n", 1)).unwrap();
    let before = synced();
    assert_eq!(done(&server, "?id=1&map=2=n&dry_run=1", "a,1\n")["valid"], 1);
    assert!(synced() == before);
    assert_eq!(done(&server, "?id=1&map=2=n", "a,1\n")["applied"], 1);
    assert!(synced() != before);
}
