//! What is refused as a whole: paths, methods, sizes. Every refusal is JSON, and a page of any origin can read it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use profiledb::server::ServerLimits;

use crate::bench::{Reply, TestServer};

#[track_caller]
fn is_readable(reply: &Reply, origin: &str) {
    assert_eq!(reply.header("access-control-allow-origin").as_deref(), Some(origin), "{reply:?}");
    assert_eq!(reply.header("access-control-allow-credentials").as_deref(), Some("true"), "{reply:?}");
    assert!(reply.header("vary").unwrap().contains("origin"), "{reply:?}");
    assert!(reply.header("access-control-expose-headers").unwrap().contains("retry-after"), "{reply:?}");
}

#[test]
fn k85_pages_of_other_origins() {
    let server = TestServer::start();
    for path in ["/engage", "/groups/", "/track", "/import", "/record/", "/nothing", "/v1/p"] {
        let headers = [
            ("origin", "https://a.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type, x-own"),
        ];
        let preflight = server.request("OPTIONS", path, &headers, "");
        assert_eq!(preflight.status, 200, "{path}");
        assert_eq!(preflight.header("access-control-allow-headers").unwrap(), "content-type, x-own");
        assert_eq!(preflight.header("access-control-allow-origin").unwrap(), "https://a.example");
        assert_eq!(preflight.header("access-control-allow-credentials").unwrap(), "true");
        assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
        let answer = server.request("POST", path, &[("origin", "https://a.example")], "data=x");
        is_readable(&answer, "https://a.example");
    }
    is_readable(&server.request("DELETE", "/engage", &[("origin", "null")], ""), "null");
}

#[test]
fn refusals_are_json_in_the_shape_of_their_path() {
    let server = TestServer::start();
    let not_found = server.get("/decide?v=1");
    assert_eq!(not_found.with(404), r#"{"status":0,"error":"there is no such path path=\"/decide\""}"#);
    let method = server.request("PUT", "/engage", &[], "x");
    assert_eq!(
        method.with(405),
        r#"{"status":0,"error":"the path does not take this method method=PUT path=\"/engage\""}"#
    );
    let import = server.request("PUT", "/import", &[], "x").value();
    assert_eq!((import["code"].as_u64(), import["status"].as_str()), (Some(405), Some("Method Not Allowed")));
    for path in ["/api/2.0/jql", "/api/2.0/funnels", "/api/app/nothing"] {
        let value = server.get(path).value();
        assert_eq!(value["status"], "error");
        assert!(value["error"].as_str().unwrap().contains(path), "{value}");
    }
}

/// Deep or long JSON costs what reading it costs: an answer, not a stack that overflows, and nothing is stored.
#[test]
fn deep_json_is_refused_on_every_path_that_takes_json() {
    let server = TestServer::start();
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
    let values = [deep("[", "]"), deep(r#"{"a":"#, "}"), "[".repeat(400_000), r#"{"a":"#.repeat(80_000)];
    for value in &values {
        let profile = format!(r#"[{{"$distinct_id":"d","$group_key":"k","$group_id":"g","$set":{{"a":{value}}}}}]"#);
        let event = format!(r#"[{{"event":"e","properties":{{"distinct_id":"d","time":1700000000,"a":{value}}}}}]"#);
        let message = format!(r#"{{"batch":[{{"type":"identify","userId":"d","traits":{{"a":{value}}}}}]}}"#);
        for (path, body) in [
            ("/engage", &profile),
            ("/groups", &profile),
            ("/track", &event),
            ("/import", &event),
            ("/import?strict=1", &event),
            ("/v1/batch", &message),
            ("/v1/identify", &message),
            ("/api/app/data-deletions/v3.0?token=t", &profile),
            ("/engage", value),
            ("/v1/batch", value),
        ] {
            let answer = server.json(path, body);
            assert!(answer.status < 500, "{path}: {answer:?}");
            let says_stored = answer.status == 200 && (answer.text() == "1" || answer.text().contains(r#""status":1"#));
            assert!(!says_stored, "{path}: {answer:?}");
        }
        let condition = format!("where={}", crate::bench::percent(value));
        let query = server.form("/api/query/engage", &condition);
        assert!(query.status >= 400 && query.status < 500, "{query:?}");
    }
    assert_eq!((server.db.users().iter().count(), server.db.events().iter().count()), (0, 0));
    assert_eq!(server.json("/engage", r#"[{"$distinct_id":"d","$set":{"a":1}}]"#).with(200), "1");
}

/// Each path of the description, with each method that it does not have.
#[test]
fn methods_that_a_path_does_not_have_are_refused() {
    let server = TestServer::start();
    let document = server.get("/openapi.json").value();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let own = path.replace("{id}", "1").replace("{message}", "batch");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"] {
            // HEAD comes with GET, OPTIONS is answered for pages of any origin.
            if methods.get(method.to_lowercase()).is_some() {
                continue;
            }
            let answer = server.request(method, &own, &[("origin", "https://a.example")], "");
            assert_eq!(answer.status, 405, "{method} {own}: {}", answer.text());
            assert!(answer.text().contains("does not take this method"), "{method} {own}: {}", answer.text());
            is_readable(&answer, "https://a.example");
        }
    }
}

#[test]
fn clients_with_flags_settings_and_recordings_stay_quiet() {
    let server = TestServer::start();
    assert_eq!(server.get("/flags?context=x").with(200), r#"{"flags":{}}"#);
    assert_eq!(server.get("/flags/").with(200), r#"{"flags":{}}"#);
    assert_eq!(server.get("/flags/definitions").with(200), r#"{"flags":[]}"#);
    assert_eq!(server.get("/settings/").with(200), "{}");
    let headers = [("content-type", "application/octet-stream"), ("content-encoding", "gzip")];
    assert_eq!(server.request("POST", "/record/?seq=0", &headers, b"\x1f\x8b\x00\x01".repeat(1_000)).with(200), "{}");
}

fn small() -> TestServer {
    TestServer::with(|server| {
        let mut limits = ServerLimits::default();
        (limits.body_bytes_max, limits.inflated_bytes_max, limits.buffered_bytes_max) = (10_000, 20_000, 200_000);
        server.limits(limits)
    })
}

fn update(bytes: usize) -> String {
    let start = r#"{"$distinct_id":"d","$add":{"n":1},"x":""#;
    format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2))
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bodies_that_are_too_long_are_refused() {
    let server = small();
    assert_eq!(server.json("/engage", update(10_000)).with(200), "1");
    let refused = r#"{"status":0,"error":"request exceeds max limit of 10000 bytes"}"#;
    for bytes in [10_001, 39_000] {
        let answer = server.json("/engage?verbose=1", update(bytes));
        assert_eq!(answer.with(413), refused, "{bytes}");
    }
    // Far too long: the connection ends in the middle.
    let mut stream = server.connect();
    let (head, body) = ("POST /engage HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n", update(3_000_000));
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    drop(stream);
    let import = server.request("POST", "/import", &[("origin", "https://a.example")], update(12_000));
    let expected =
        r#"{"code":413,"error":"request exceeds max limit of 10000 bytes","status":"Request Entity Too Large"}"#;
    assert_eq!(import.with(413), expected);
    is_readable(&import, "https://a.example");
    // Its length is not known before.
    let body = update(11_000);
    let head = "POST /engage HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(server.raw(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).with(413), refused);
    // A client that asks first need not send it.
    let head = "POST /engage HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n";
    assert_eq!(server.raw(head).with(413), refused);
    assert_eq!(server.metric(r#"profiledb_requests_refused_total{reason="too_large"}"#), 6);
    assert_eq!(server.metric("profiledb_buffered_bytes"), 0);
    assert_eq!(server.user("d"), serde_json::json!({"n": 1}));
}

#[test]
fn a_body_that_inflates_to_too_much_is_refused() {
    let server = small();
    let headers = [("content-encoding", "gzip")];
    let refused = r#"{"status":0,"error":"request exceeds max limit of 20000 bytes after decompression"}"#;
    assert_eq!(server.request("POST", "/engage", &headers, gzip(update(20_000).as_bytes())).with(200), "1");
    for bytes in [20_001, 9_000_000] {
        let bomb = gzip(update(bytes).as_bytes());
        assert!(bomb.len() < 10_000);
        assert_eq!(server.request("POST", "/engage", &headers, bomb).with(413), refused);
    }
    assert_eq!(server.metric("profiledb_buffered_bytes"), 0);
    assert_eq!(server.user("d"), serde_json::json!({"n": 1}));
}

#[test]
fn heads_that_are_too_long_are_refused() {
    let server = TestServer::start();
    let data = |length: usize| format!("/engage?data={}", "x".repeat(length));
    assert_eq!(server.get(&data(60_000)).status, 200);
    let refused = server.raw(format!("GET {} HTTP/1.1\r\n\r\n", data(66_000))).status;
    assert!([414, 431].contains(&refused), "{refused}");
    let many = "x: y\r\n".repeat(200);
    assert_eq!(server.raw(format!("GET /healthz HTTP/1.1\r\n{many}\r\n")).status, 431);
    for request in ["x\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        assert_eq!(server.raw(request).status, 400, "{request:?}");
    }
}

/// The answer that asks the client to come back.
#[test]
fn bodies_wait_for_no_memory() {
    let server = TestServer::with(|server| {
        let mut limits = ServerLimits::default();
        limits.buffered_bytes_max = 1_000;
        server.limits(limits)
    });
    let busy = server.json("/engage", update(2_000));
    assert_eq!(busy.with(503), r#"{"status":0,"error":"the bodies of all requests have more than 1000 bytes"}"#);
    assert_eq!(busy.header("retry-after").as_deref(), Some("1"));
    assert_eq!(server.json("/engage", update(900)).with(200), "1");
}

/// What the description of the paths has is there.
#[test]
fn the_description_has_paths_that_exist() {
    let server = TestServer::start();
    let document = server.get("/openapi.json").value();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 14);
    for (path, methods) in paths {
        let own = path.replace("{id}", "1").replace("{message}", "batch");
        for method in methods.as_object().unwrap().keys() {
            let answer = server.request(&method.to_uppercase(), &own, &[], "");
            let is_routed = answer.status != 404 || own.ends_with("/v3.0/1");
            assert!(is_routed && (answer.status != 405 || method == "delete"), "{method} {own}: {}", answer.text());
            let known = methods[method]["responses"].as_object().unwrap();
            assert!(known.contains_key(&answer.status.to_string()), "{method} {own}: {}", answer.status);
        }
    }
}

/// The defaults in docs/SERVER.md are those of the code.
#[test]
fn the_limits_are_as_documented() {
    let page = include_str!("../../docs/SERVER.md");
    let limits = ServerLimits::default();
    let bytes = |bytes: usize| match bytes {
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    };
    let seconds = |limit: std::time::Duration| format!("{} s", limit.as_secs());
    let count = |count: usize| if count < 1_000 { count.to_string() } else { "16,384".to_owned() };
    assert_eq!(limits.connections_max, 16_384);
    for (flag, default) in [
        ("body-bytes-max", bytes(limits.body_bytes_max)),
        ("inflated-bytes-max", bytes(limits.inflated_bytes_max)),
        ("csv-bytes-max", bytes(limits.csv_bytes_max)),
        ("buffered-bytes-max", bytes(limits.buffered_bytes_max)),
        ("uncommitted-bytes-max", bytes(limits.uncommitted_bytes_max)),
        ("head-bytes-max", bytes(limits.head_bytes_max)),
        ("head-deadline", seconds(limits.head_deadline)),
        ("body-deadline", seconds(limits.body_deadline)),
        ("write-deadline", seconds(limits.write_deadline)),
        ("work-deadline", seconds(limits.work_deadline)),
        ("csv-deadline", seconds(limits.csv_deadline)),
        ("shutdown-deadline", seconds(limits.shutdown_deadline)),
        ("session-lifetime", seconds(limits.session_lifetime)),
        ("connections-max", count(limits.connections_max)),
        ("csv-uploads-max", count(limits.csv_uploads_max)),
        ("queries-max", count(limits.queries_max)),
        ("sessions-max", count(limits.sessions_max)),
    ] {
        let row = page.lines().find(|line| line.starts_with(&format!("| `--{flag}` |")));
        let cell = row.unwrap_or_else(|| panic!("no row of {flag}")).split('|').nth(2).unwrap().trim().to_owned();
        let is_same = cell.strip_prefix(&*default).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        assert!(is_same, "{flag}: {default} documented as {cell}");
    }
}
