//! Every encoding of a body that a client is known to send, by what it stores.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::bench::{Reply, TestServer, base64, percent};

/// Its base64 has `+`, `/` and padding.
const UPDATE: &str = r#"[{"$token":"t","$distinct_id":"d","$add":{"n":1},"~":null,"?":"??>>~~é"}]"#;
const FORM: &str = "application/x-www-form-urlencoded";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

struct Case {
    what: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

fn case(what: &'static str, content_type: &'static str, body: impl Into<Vec<u8>>) -> Case {
    let path = "/engage".to_owned();
    Case { what, method: "POST", path, headers: vec![("content-type", content_type)], body: body.into() }
}

fn with(mut case: Case, header: (&'static str, &'static str)) -> Case {
    case.headers.push(header);
    case
}

fn get(what: &'static str, query: String) -> Case {
    Case { what, method: "GET", path: format!("/engage/?{query}"), headers: Vec::new(), body: Vec::new() }
}

fn cases() -> Vec<Case> {
    let encoded = base64(UPDATE);
    assert!(encoded.contains('+') && encoded.contains('/') && encoded.ends_with('='), "{encoded}");
    let single = &UPDATE[1..UPDATE.len() - 1];
    let form = format!("data={}", percent(UPDATE));
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(UPDATE.as_bytes()).unwrap();
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(UPDATE.as_bytes()).unwrap();
    let json = "application/json";
    vec![
        case("k71: a JSON array", json, UPDATE),
        case("k82: a JSON object", json, single),
        case("JSON with a charset", "application/json; charset=utf-8", UPDATE),
        case("JSON after a byte order mark and blanks", json, format!("\u{feff} \n{UPDATE}")),
        case("JSON as a form", FORM, UPDATE),
        case("JSON as text", "text/plain;charset=UTF-8", UPDATE),
        case("JSON as nothing", "", UPDATE),
        case("lines", "application/x-ndjson", format!("{single}\n")),
        case("k77: a form with JSON and parameters", FORM, format!("{form}&verbose=0&ip=0")),
        case("k78: a form with base64", FORM, format!("data={}&verbose=0", percent(&encoded))),
        case("k79: a form with base64 that is not escaped", FORM, format!("data={encoded}")),
        case("a form with base64 of the URL alphabet", FORM, {
            let url = encoded.replace('+', "-").replace('/', "_");
            format!("ip=1&data={}", url.trim_end_matches('='))
        }),
        case("a form sent by a beacon", "text/plain;charset=UTF-8", form.clone()),
        case("a form as JSON", json, form.clone()),
        case("base64 alone", "text/plain", encoded.clone()),
        get("k80: GET with base64", format!("data={}&ip=0&verbose=0", percent(&encoded))),
        get("GET with base64 that is not escaped", format!("ip=0&data={encoded}")),
        get("GET with JSON", form.clone()),
        Case { path: format!("/engage?data={}", percent(&encoded)), ..case("POST with a query only", FORM, "") },
        with(case("k83: a gzipped form", FORM, gzip(form.as_bytes())), ("content-encoding", "gzip")),
        with(case("gzipped JSON", json, gzip(UPDATE.as_bytes())), ("content-encoding", "GZIP")),
        case("gzipped JSON whose header was lost", json, gzip(UPDATE.as_bytes())),
        with(case("zlib", json, zlib.finish().unwrap()), ("content-encoding", "deflate")),
        with(case("deflate", json, deflate.finish().unwrap()), ("content-encoding", "deflate")),
        with(case("an empty encoding", json, UPDATE), ("content-encoding", "")),
        with(case("identity", json, UPDATE), ("content-encoding", "identity")),
        with(case("credentials that mean nothing here", json, UPDATE), ("authorization", "Basic Og==")),
    ]
}

#[test]
fn k71_to_k83_every_encoding() {
    let server = TestServer::start();
    for (at, Case { what, method, path, headers, body }) in cases().into_iter().enumerate() {
        let answer = server.request(method, &path, &headers, body);
        assert_eq!((answer.status, &*answer.text()), (200, "1"), "{what}");
        assert_eq!(server.user("d"), json!({"n": at + 1}), "{what}");
    }
}

/// The browser library encodes each half of a surrogate pair on its own before base64, and cuts texts between them.
#[test]
fn characters_beyond_16_bits_in_base64_of_the_browser() {
    let server = TestServer::start();
    let post = |path: &str, text: &[u8]| {
        let update = [&br#"{"$distinct_id":"d","$set":{"a":""#[..], text, br#""}}"#].concat();
        server.form(path, format!("data={}", percent(&base64(update)))).with(200)
    };
    assert_eq!(post("/engage", b"\xed\xa0\xbd\xed\xb8\x80!"), "1");
    assert_eq!(server.user("d"), json!({"a": "\u{1f600}!"}));
    assert_eq!(server.metric("profiledb_notes_total"), 0);
    assert_eq!(post("/engage", b"x\xed\xa0\xbd"), "1");
    assert_eq!(server.user("d"), json!({"a": "x\u{fffd}"}));
    assert_eq!(server.metric("profiledb_notes_total"), 1);
    assert!(post("/engage?strict=1", b"y\xed\xa0\xbd").contains("\"status\":0"));
    assert_eq!(post("/engage", b"y\xff"), "0");
    assert_eq!(server.user("d"), json!({"a": "x\u{fffd}"}));
}

#[test]
fn http_as_old_clients_speak_it() {
    let server = TestServer::start();
    let length = UPDATE.len();
    let (first, rest) = UPDATE.split_at(20);
    let chunked = format!("{:x}\r\n{first}\r\n{:x};x=y\r\n{rest}\r\n0\r\n\r\n", first.len(), rest.len());
    for (at, request) in [
        format!("POST /engage HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{UPDATE}"),
        format!(
            "POST http://host/engage HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
            content-length: {length}\r\n\r\n{UPDATE}"
        ),
        format!("POST /engage HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
        format!(
            "POST /engage HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n\
            content-length: {length}\r\n\r\n{UPDATE}"
        ),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(server.raw(&request).with(200), "1", "{request}");
        assert_eq!(server.user("d"), json!({"n": at + 1}));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start();
    let one = format!("POST /engage HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{UPDATE}", UPDATE.len());
    let last = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = server.raw(format!("{one}{one}{last}"));
    let text = format!("{}\r\n\r\n{}", answers.head, answers.text());
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert!(text.ends_with(r#"{"status":"ok"}"#));
    assert_eq!(server.user("d"), json!({"n": 2}));
}

#[test]
fn numbers_and_ids_survive() {
    let server = TestServer::start();
    let properties = r#"{"a":9007199254740993,"b":18446744073709551615,"c":5e-324,"e":0.1}"#;
    let update = format!(r#"{{"$distinct_id":9007199254740993,"$set":{properties}}}"#);
    assert_eq!(server.json("/engage", update).with(200), "1");
    assert_eq!(server.user("9007199254740993").to_string(), properties);
}

fn status(reply: &Reply) -> i64 {
    reply.value()["status"].as_i64().unwrap()
}

/// Nothing is replaced without a word: what cannot be read is refused.
#[test]
fn what_cannot_be_decoded_is_refused() {
    let server = TestServer::start();
    let deep = format!(r#"[{{"$distinct_id":"d","$set":{{"a":{}1{}}}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "data=%7B%22$distinct_id%22:%22d%22,%22$set%22:%7B%22a%22:%22%FF%22%7D%7D".to_owned(),
        "data=!!!".to_owned(),
        format!("data={}", base64("hello")),
        format!("data={}", &base64(UPDATE)[..41]),
        "hello".to_owned(),
        "null".to_owned(),
        "[".to_owned(),
        "{}{".to_owned(),
        "[[]]".to_owned(),
        "[1,2]".to_owned(),
        deep,
    ] {
        for path in ["/engage?verbose=1", "/groups?verbose=1", "/track?verbose=1", "/import?verbose=1"] {
            let answer = server.form(path, &body);
            assert_eq!((answer.status, status(&answer)), (200, 0), "{path} {}", &body[..body.len().min(80)]);
            assert!(answer.value()["error"].as_str().is_some_and(|error| !error.is_empty()));
        }
    }
    assert_eq!((server.db.users().iter().count(), server.db.events().iter().count()), (0, 0));
    let torn = gzip(&UPDATE.repeat(10).into_bytes());
    let headers = [("content-encoding", "gzip")];
    assert_eq!(server.request("POST", "/engage", &headers, &torn[..torn.len() - 9]).status, 400);
    assert_eq!(server.request("POST", "/engage", &headers, UPDATE).status, 400);
    let answer = server.request("POST", "/engage", &[("content-encoding", "br")], UPDATE);
    assert_eq!(answer.with(415), r#"{"status":0,"error":"a body is plain, gzip or deflate encoding=\"br\""}"#);
    assert_eq!(server.user("d"), json!(null));
}
