//! Real data, sent over HTTP in each encoding: every profile is what an independent model expects.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value as Json;

use crate::bench::{TestServer, base64, percent};

const UPDATES: &[u8] = include_bytes!("../../examples/data/history/updates.ndjson.gz");
const EXPECTED: &[u8] = include_bytes!("../../examples/data/history/expected-profiles.ndjson.gz");

/// By the field and the text of their ids, as JSON with sorted keys.
type Profiles = BTreeMap<(String, String), String>;

fn lines(gzip: &[u8]) -> Vec<String> {
    BufReader::new(GzDecoder::new(gzip)).lines().map(Result::unwrap).collect()
}

fn expected() -> Profiles {
    let profiles = lines(EXPECTED).into_iter().map(|line| {
        let row: Json = serde_json::from_str(&line).unwrap();
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        let key = match text("$distinct_id") {
            Some(id) => ("$distinct_id".to_owned(), id),
            None => (text("$group_key").unwrap(), text("$group_id").unwrap()),
        };
        (key, row["$properties"].to_string())
    });
    profiles.collect()
}

fn stored(server: &TestServer) -> Profiles {
    let mut all = Profiles::new();
    for kind in server.db.kinds() {
        let field = kind.group_key().unwrap_or("$distinct_id");
        for row in server.db.table(&kind).iter() {
            let (id, profile) = row.unwrap();
            all.insert((field.to_owned(), id), serde_json::to_string(profile.properties()).unwrap());
        }
    }
    all
}

/// Sends on a connection that is kept open. The answer must be `1`.
fn post(stream: &mut TcpStream, path: &str, encoding: &str, body: &[u8]) {
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{encoding}content-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n1") {
        let mut bytes = [0; 1_024];
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0 && answer.len() < 1_024, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..read]);
    }
}

fn array(records: &[&str]) -> String {
    format!("[{}]", records.join(","))
}

#[test]
fn a_history_in_each_encoding() {
    let (updates, expected) = (lines(UPDATES), expected());
    type Encode = fn(&[&str]) -> Vec<u8>;
    let encodings: [(&str, &str, Encode); 5] = [
        ("JSON", "content-type: application/json\r\n", |records| array(records).into_bytes()),
        ("lines", "", |records| records.join("\n").into_bytes()),
        ("a form", "", |records| format!("ip=0&data={}", percent(&array(records))).into_bytes()),
        ("base64", "", |records| format!("data={}", base64(array(records))).into_bytes()),
        ("gzip", "content-encoding: gzip\r\n", |records| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(array(records).as_bytes()).unwrap();
            encoder.finish().unwrap()
        }),
    ];
    assert!(updates.len() > 100_000 && expected.len() > 1_500);
    for (name, encoding, encode) in encodings {
        let server = TestServer::start();
        let mut stream = server.connect();
        for chunk in updates.chunks(2_000) {
            let (groups, users): (Vec<&str>, Vec<&str>) =
                chunk.iter().map(String::as_str).partition(|update| update.contains("\"$group_key\""));
            for (path, records) in [("/engage", users), ("/groups/", groups)] {
                if !records.is_empty() {
                    post(&mut stream, path, encoding, &encode(&records));
                }
            }
        }
        let stored = stored(&server);
        for (key, profile) in &expected {
            assert_eq!(stored.get(key), Some(profile), "{name}: {key:?}");
        }
        assert_eq!(stored.len(), expected.len(), "{name}");
    }
}
