//! `profiledb::server::GeoIp` in a server: addresses of requests, of proxies and of records become places.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use profiledb::Durability;
use profiledb::server::{GeoIp, Project, Server};
use serde_json::{Value as Json, json};

use crate::bench::TestServer;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/GeoLite2-City-Test.mmdb");

/// With a proxy on this machine, if it is trusted.
fn server(file: &Path, is_trusted: bool) -> TestServer {
    let places = Arc::new(GeoIp::open(file).unwrap());
    TestServer::of(|db| {
        let server = Server::builder().project(Project::new(db).durability(Durability::Buffered).lookup(places));
        if is_trusted { server.trusted_proxy("127.0.0.0/8".parse().unwrap()) } else { server }
    })
}

fn london() -> Json {
    json!({"$city": "London", "$region": "England", "$country_code": "GB", "$timezone": "Europe/London"})
}

fn milton() -> Json {
    json!({"$city": "Milton", "$region": "Washington", "$country_code": "US", "$timezone": "America/Los_Angeles"})
}

/// What `$set` on a new profile leaves, with an address in the header of a proxy.
fn set_from(server: &TestServer, forwarded: &str, path: &str, more: &str) -> Json {
    server.db.users().delete("d").unwrap();
    let update = format!(r#"{{"$distinct_id":"d","$set":{{}}{more}}}"#);
    assert_eq!(server.request("POST", path, &[("x-forwarded-for", forwarded)], update).with(200), "1");
    server.user("d")
}

#[test]
fn a_trusted_proxy_says_where_a_request_is_from() {
    let server = server(Path::new(DATA), true);
    for forwarded in [
        "81.2.69.160",
        "::ffff:81.2.69.160",
        // As some gateways write it.
        "81.2.69.160:50123",
        "[::ffff:81.2.69.160]:50123",
        // The last address that is no trusted proxy; what is before it can be made up.
        "216.160.83.56, 81.2.69.160",
        "216.160.83.56, 81.2.69.160, 127.0.0.2",
    ] {
        assert_eq!(set_from(&server, forwarded, "/engage", ""), london(), "{forwarded}");
    }
    for forwarded in ["192.168.1.1", "81.2.69.160, unknown", "81.2.69.160, 10.0.0.1", "", "203.0.113.9"] {
        assert_eq!(set_from(&server, forwarded, "/engage", ""), json!({}), "{forwarded}");
    }
}

#[test]
fn other_peers_are_not_believed() {
    let server = server(Path::new(DATA), false);
    assert_eq!(set_from(&server, "81.2.69.160", "/engage", ""), json!({}));
    assert_eq!(set_from(&server, "81.2.69.160", "/engage", r#","$ip":"216.160.83.56""#), milton());
}

#[test]
fn k61_the_address_of_a_record_wins_and_0_is_none() {
    let server = server(Path::new(DATA), true);
    let set = |path: &str, more: &str| set_from(&server, "81.2.69.160", path, more);
    for path in ["/engage", "/engage?ip=1", "/engage?ip=true"] {
        assert_eq!(set(path, ""), london(), "{path}");
    }
    for path in ["/engage?ip=0", "/engage?ip=false", "/engage?ip="] {
        assert_eq!(set(path, ""), json!({}), "{path}");
        assert_eq!(set(path, r#","$ip":"216.160.83.56""#), milton(), "{path}");
    }
    assert_eq!(set("/engage", r#","$ip":"::ffff:216.160.83.56""#), milton());
    // A record that says nothing, and records that say something else than an address.
    for absent in [r#","$ip":null"#, r#","$ip":"""#] {
        assert_eq!(set("/engage", absent), london(), "{absent}");
    }
    for none in ["0", r#""0""#, r#"" 0 ""#, "false", "{}", "[]", "1.5", r#""unknown""#, r#""192.168.1.1""#] {
        assert_eq!(set("/engage", &format!(r#","$ip":{none}"#)), json!({}), "{none}");
    }
    // In the form, as the Python client sends it.
    server.db.users().delete("d").unwrap();
    let form = r#"data={"$distinct_id":"d","$set":{}}&ip=0"#;
    assert_eq!(server.request("POST", "/engage", &[("x-forwarded-for", "81.2.69.160")], form).with(200), "1");
    assert_eq!(server.user("d"), json!({}));
}

/// C.3: each place overwrites the one before, and what an update sets itself wins.
#[test]
fn a_place_replaces_the_one_before_as_a_whole() {
    let server = server(Path::new(DATA), true);
    let set = |update: &str| {
        assert_eq!(server.json("/engage", format!(r#"{{"$distinct_id":"d",{update}}}"#)).with(200), "1");
        server.user("d")
    };
    assert_eq!(set(r#""$set":{},"$ip":"81.2.69.160""#), london());
    // Of this network only the country and the time zone are known.
    let bhutan = json!({"$country_code": "BT", "$timezone": "Asia/Thimphu"});
    assert_eq!(set(r#""$set_once":{},"$ip":"67.43.156.1""#), bhutan);
    // No address, or one without a place, changes nothing.
    for ip in ["0", "203.0.113.9", "10.0.0.1"] {
        assert_eq!(set(&format!(r#""$set":{{}},"$ip":"{ip}""#)), bhutan, "{ip}");
    }
    assert_eq!(set(r#""$add":{"n":1},"$ip":"81.2.69.160""#)["$country_code"], "BT");
    let own = set(r#""$set":{"$city":"X","$timezone":null},"$ip":"216.160.83.56""#);
    let expected = json!({"n": 1, "$city": "X", "$region": "Washington", "$country_code": "US", "$timezone": null});
    assert_eq!(own, expected);
}

#[test]
fn a_new_file_is_used_and_a_bad_one_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("places.mmdb");
    fs::copy(DATA, &path).unwrap();
    let server = server(&path, true);
    let metric = |name: &str, value: u64| {
        let started = Instant::now();
        while server.metric(name) != value {
            assert!(started.elapsed() < Duration::from_secs(30), "{name}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    assert_eq!(set_from(&server, "81.2.69.160", "/engage", ""), london());
    metric("profiledb_geo_loads", 1);
    metric("profiledb_geo_built_seconds", 1_770_245_369);
    fs::write(&path, "not a database").unwrap();
    metric("profiledb_geo_failures", 1);
    assert_eq!(set_from(&server, "81.2.69.160", "/engage", ""), london());
    let mut data = fs::read(DATA).unwrap();
    let names: Vec<usize> = (0..data.len()).filter(|at| data[*at..].starts_with(b"London")).collect();
    names.into_iter().for_each(|at| data[at..at + 6].copy_from_slice(b"Nodnol"));
    let next = dir.path().join("next");
    fs::write(&next, data).unwrap();
    fs::rename(&next, &path).unwrap();
    metric("profiledb_geo_loads", 2);
    assert_eq!(set_from(&server, "81.2.69.160", "/engage", "")["$city"], "Nodnol");
    metric("profiledb_geo_failures", 1);
}
