//! Clients that are slow, silent, or leave; and the end of the server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use profiledb::server::ServerLimits;
use serde_json::json;

use crate::bench::TestServer;

const UPDATE: &str = r#"{"$distinct_id":"d","$add":{"n":1}}"#;

fn hasty() -> TestServer {
    TestServer::with(|server| {
        let mut limits = ServerLimits::default();
        limits.head_deadline = Duration::from_millis(300);
        limits.body_deadline = Duration::from_millis(300);
        limits.write_deadline = Duration::from_millis(300);
        limits.shutdown_deadline = Duration::from_millis(500);
        server.limits(limits)
    })
}

fn head(length: usize) -> String {
    format!("POST /engage HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// Waits until the server ends a connection, and returns what it sent.
fn rest(mut stream: TcpStream) -> String {
    let (started, mut text) = (Instant::now(), Vec::new());
    // An abrupt end is one as well.
    let _ = stream.read_to_end(&mut text);
    assert!(started.elapsed() < Duration::from_secs(20), "the connection was not ended");
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn slow_and_silent_connections_end() {
    let server = hasty();
    let silent = server.connect();
    let mut half_a_head = server.connect();
    half_a_head.write_all(b"POST /engage HT").unwrap();
    let mut half_a_body = server.connect();
    half_a_body.write_all(format!("{}{{", head(100)).as_bytes()).unwrap();
    let mut between = server.connect();
    between.write_all(format!("{}{UPDATE}", head(UPDATE.len())).as_bytes()).unwrap();
    assert_eq!(rest(silent), "");
    assert!(!rest(half_a_head).contains("200"));
    let answer = rest(half_a_body);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"status\":0"), "{answer}");
    let answer = rest(between);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n1"), "{answer}");
    assert_eq!(server.user("d"), json!({"n": 1}));
    assert_eq!(server.metric(r#"profiledb_connections_cut_total{reason="body_deadline"}"#), 1);
    assert!(server.metric(r#"profiledb_connections_cut_total{reason="head_deadline"}"#) >= 2);
    assert_eq!(server.metric("profiledb_buffered_bytes"), 0);
}

/// A byte now and then does not extend a deadline.
#[test]
fn a_body_that_trickles_is_ended() {
    let server = hasty();
    let mut stream = server.connect();
    stream.write_all(head(1_000).as_bytes()).unwrap();
    let started = Instant::now();
    while stream.write_all(b" ").is_ok() && started.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// What was received as a whole is committed, whether or not anyone reads the answer.
#[test]
fn a_client_that_leaves_has_its_updates_stored() {
    let server = TestServer::start();
    let many = format!("[{}]", [UPDATE; 500].join(","));
    for at in 1..=20_u64 {
        let mut stream = server.connect();
        stream.write_all(format!("{}{many}", head(many.len())).as_bytes()).unwrap();
        if at % 2 == 0 {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        drop(stream);
    }
    let started = Instant::now();
    while server.user("d") != json!({"n": 20 * 500}) {
        assert!(started.elapsed() < Duration::from_secs(30), "{}", server.user("d"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Half of a body is nothing.
#[test]
fn a_body_that_is_cut_stores_nothing() {
    let server = TestServer::start();
    let lines = format!("{UPDATE}\n{UPDATE}\n");
    let mut stream = server.connect();
    stream.write_all(format!("{}{lines}", head(lines.len() + UPDATE.len())).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = rest(stream);
    assert!(!answer.contains("200 OK"), "{answer}");
    assert_eq!(server.user("d"), json!(null));
}

#[test]
fn a_client_that_ends_its_side_gets_the_answer() {
    let server = TestServer::start();
    let mut stream = server.connect();
    stream.write_all(format!("{}{UPDATE}", head(UPDATE.len())).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(stream).ends_with("\r\n\r\n1"));
}

#[test]
fn connections_are_bounded() {
    let server = TestServer::with(|server| {
        let mut limits = ServerLimits::default();
        limits.connections_max = 3;
        server.limits(limits)
    });
    let held: Vec<_> = (0..3).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(200));
    let answer = rest(server.connect());
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], 0);
    drop(held);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.json("/engage", UPDATE).with(200), "1");
}

#[test]
fn the_server_ends_in_time_with_idle_and_half_sent_connections() {
    let mut server = hasty();
    let idle = server.connect();
    let mut half_a_head = server.connect();
    half_a_head.write_all(b"POST /engage HT").unwrap();
    let mut half_a_body = server.connect();
    half_a_body.write_all(format!("{}{{", head(100)).as_bytes()).unwrap();
    assert_eq!(server.json("/engage", UPDATE).with(200), "1");
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(5));
    for stream in [idle, half_a_head, half_a_body] {
        rest(stream);
    }
    assert!(TcpStream::connect(server.address).is_err());
}

/// One connection, many requests: an answer in two packets would take 40 ms each.
#[test]
fn answers_do_not_wait_for_acknowledgements() {
    let server = TestServer::start();
    let mut stream = server.connect();
    let started = Instant::now();
    for _ in 0..100 {
        stream.write_all(format!("{}{UPDATE}", head(UPDATE.len())).as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n1") {
            let mut bytes = [0; 4_096];
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0);
            answer.extend_from_slice(&bytes[..read]);
        }
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(server.user("d"), json!({"n": 100}));
}
