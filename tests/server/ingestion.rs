//! What is stored, and what is answered, of updates and events.

use std::net::IpAddr;
use std::sync::Arc;

use profiledb::server::{GeoLookup, Project, Server};
use profiledb::{Db, Durability, Value};
use serde_json::{Value as Json, json};

use crate::bench::{NOW, TestServer, base64, open, percent};

const OK: &str = r#"{"status":1,"error":null}"#;
const NO_ID: &str = r#"{"status":0,"error":"$distinct_id, missing or empty"}"#;
const ALICE: &str = r#"[{"$token":"t","$distinct_id":"alice","$set":{"plan":"pro"}}]"#;
const NOBODY: &str = r#"[{"$token":"t","$set":{"plan":"pro"}}]"#;

#[test]
fn k71_to_k73_answers_to_valid_updates() {
    let server = TestServer::start();
    let plain = server.json("/engage", ALICE);
    assert_eq!(plain.with(200), "1");
    assert!(plain.header("content-type").unwrap().starts_with("text/plain"));
    for path in ["/engage?verbose=1", "/engage?verbose=2", "/engage/?verbose=1", "/engage?verbose=true"] {
        let verbose = server.json(path, ALICE);
        assert_eq!(verbose.with(200), OK, "{path}");
        assert_eq!(verbose.header("content-type").unwrap(), "application/json");
    }
    assert_eq!(server.json("/engage?verbose=0", ALICE).with(200), "1");
    assert_eq!(server.user("alice"), json!({"plan": "pro"}));
}

#[test]
fn k74_to_k76_answers_to_invalid_updates() {
    let server = TestServer::start();
    assert_eq!(server.json("/engage?verbose=1", NOBODY).with(200), NO_ID);
    assert_eq!(server.json("/engage", NOBODY).with(200), "0");
    let empty = r#"{"status":0,"error":"data, missing or empty"}"#;
    for (path, body) in [("/engage?verbose=1", ""), ("/groups?verbose=1", "data="), ("/track?verbose=1", "verbose=1")] {
        assert_eq!(server.form(path, body).with(200), empty, "{path}");
    }
    assert_eq!(server.get("/engage?verbose=1").with(200), empty);
    assert_eq!(server.form("/engage", "").with(200), "0");
    // Not JSON: nothing of it is applied.
    let cut = &ALICE[..ALICE.len() - 3];
    let answer = server.json("/engage?verbose=1", cut).value();
    assert_eq!(answer["status"], 0);
    assert!(answer["error"].as_str().unwrap().contains("ends inside a record"), "{answer}");
    assert_eq!(server.db.users().iter().count(), 0);
}

#[test]
fn k41_a_bad_record_does_not_affect_the_others() {
    let server = TestServer::start();
    let body = r#"[{"$distinct_id":"a","$set":{"x":1}},{"$set":{"x":1}},{"$distinct_id":"c","$set":{"x":1}}]"#;
    assert_eq!(server.json("/engage", body).with(200), "1");
    assert_eq!((server.user("a"), server.user("c")), (json!({"x": 1}), json!({"x": 1})));
    let verbose = server.json("/engage?verbose=1", body).value();
    let error = "1 of 3 records were rejected, the first of them: $distinct_id, missing or empty index=1";
    assert_eq!(verbose, json!({"status": 1, "error": error}));
    let strict = server.json("/engage?strict=1", body).with(200);
    let expected = concat!(
        r#"{"code":400,"status":0,"error":"some data points in the request failed validation","failed_records":"#,
        r#"[{"index":1,"field":"$distinct_id","message":"$distinct_id, missing or empty"}],"num_good_events":2}"#,
    );
    assert_eq!(strict, expected);
    let strict = server.json("/engage?strict=1", ALICE).with(200);
    assert_eq!(strict, r#"{"code":200,"status":1,"error":null,"num_good_events":1}"#);
}

#[test]
fn k66_a_profile_that_is_full_does_not_affect_the_others() {
    let server = TestServer::start();
    let full: serde_json::Map<String, Json> = (0..2_000).map(|n| (format!("p{n}"), n.into())).collect();
    let body = json!([{"$distinct_id": "full", "$set": full}]).to_string();
    assert_eq!(server.json("/engage", body).with(200), "1");
    let body = r#"[{"$distinct_id":"a","$set":{"x":1}},{"$distinct_id":"full","$set":{"one more":1}},
        {"$distinct_id":"full","$set":{"p0":"changed"}}]"#;
    let strict = server.json("/engage?strict=1", body).value();
    assert_eq!(strict["num_good_events"], 2);
    assert_eq!(strict["failed_records"][0]["index"], 1, "{strict}");
    assert!(strict["failed_records"][0]["message"].as_str().unwrap().contains("at most 2000 properties"), "{strict}");
    assert_eq!(server.user("a"), json!({"x": 1}));
    assert_eq!(server.user("full")["p0"], "changed");
    assert_eq!(server.metric(r#"profiledb_records_rejected_total{reason="limit_exceeded"}"#), 1);
    assert_eq!(server.metric("profiledb_updates_total"), 3);
}

#[test]
fn k68_more_than_2000_updates_are_refused() {
    let server = TestServer::start();
    let updates = |count: usize| json!(vec![json!({"$distinct_id": "a", "$add": {"n": 1}}); count]).to_string();
    assert_eq!(server.json("/engage", updates(2_000)).with(200), "1");
    let refused = server.json("/engage", updates(2_001));
    assert_eq!(refused.with(413), r#"{"status":0,"error":"a request has at most 2000 updates"}"#);
    assert_eq!(server.user("a"), json!({"n": 2_000}));
}

#[test]
fn k84_a_callback_gets_javascript() {
    let server = TestServer::start();
    let data = base64(ALICE);
    let answer = server.get(&format!("/engage?data={data}&callback=cb"));
    assert_eq!(answer.with(200), "cb(1);");
    assert!(answer.header("content-type").unwrap().starts_with("text/javascript"));
    let answer = server.get(&format!("/engage?data={data}&callback=a.b_$1&verbose=1"));
    assert_eq!(answer.with(200), format!("a.b_$1({OK});"));
    // Nothing that a page could be made to run.
    for callback in ["(function(){})", "alert(1)//", "%3Cscript%3E", ""] {
        assert_eq!(server.get(&format!("/engage?data={data}&callback={callback}")).with(200), "1");
    }
}

#[test]
fn pixels_and_redirects() {
    let server = TestServer::start();
    let data = base64(r#"{"event":"opened","properties":{"distinct_id":"alice","token":"t"}}"#);
    let pixel = server.get(&format!("/track?data={data}&img=1"));
    assert_eq!((pixel.status, pixel.header("content-type").as_deref()), (200, Some("image/gif")));
    assert!(pixel.body.starts_with(b"GIF89a\x01\x00\x01\x00") && pixel.body.ends_with(b";"));
    let redirect = server.get(&format!("/track?data={data}&redirect={}", percent("https://example.org/?a=b")));
    assert_eq!((redirect.status, redirect.header("location").as_deref()), (302, Some("https://example.org/?a=b")));
    let script = server.get(&format!("/track?data={data}&redirect={}", percent("javascript:alert(1)")));
    assert_eq!(script.with(200), "1");
    assert_eq!(server.db.events().iter().count(), 3);
}

#[test]
fn k86_tracked_events_get_the_time_of_their_arrival() {
    let server = TestServer::start();
    let event = r#"[{"event":"visit","properties":{"distinct_id":"alice","token":"t","ip":"1.2.3.4"}}]"#;
    assert_eq!(server.json("/track?verbose=1&ip=1", event).with(200), OK);
    let stored: Vec<_> = server.db.events().iter().map(Result::unwrap).collect();
    assert_eq!((stored[0].name(), stored[0].time().seconds()), ("visit", NOW));
    assert!(stored[0].properties().is_empty(), "{stored:?}");
    let bad = server.json("/track?verbose=1", r#"{"properties":{"distinct_id":"a"}}"#);
    assert_eq!(bad.with(200), r#"{"status":0,"error":"event, missing or empty"}"#);
    let bad = server.json("/track?verbose=1", r#"{"event":"e","properties":{"token":"t"}}"#);
    assert_eq!(bad.with(200), r#"{"status":0,"error":"distinct_id, missing or empty"}"#);
}

/// Their meaning comes with identity; they are stored and answered as any other.
#[test]
fn events_of_identity_are_stored() {
    let server = TestServer::start();
    for event in [
        r#"{"event":"$identify","properties":{"$identified_id":"u","$anon_id":"a","token":"t"}}"#,
        r#"{"event":"$create_alias","properties":{"distinct_id":"u","alias":"v","token":"t"}}"#,
        r#"{"event":"$merge","properties":{"$distinct_ids":["u","w"],"token":"t"}}"#,
    ] {
        assert_eq!(server.form("/track?verbose=1", format!("data={}", percent(event))).with(200), OK, "{event}");
    }
    let ids: Vec<_> = server.db.events().iter().map(|event| event.unwrap().distinct_id().to_owned()).collect();
    assert_eq!(ids, ["u", "u", "u"]);
}

/// A server with profiles of a device and of a user that was sent an event, which changed none of them and made no
/// other.
fn after_identity(event: &Json) -> TestServer {
    let server = TestServer::start();
    let profiles = json!([
        {"$distinct_id": "$device:D1", "$set": {"plan": "of the device"}},
        {"$distinct_id": "D1", "$set": {"plan": "of D1"}},
        {"$distinct_id": "U1", "$set": {"plan": "of the user"}},
    ]);
    assert_eq!(server.json("/engage", profiles.to_string()).with(200), "1");
    let before: Vec<_> = server.db.users().iter().map(Result::unwrap).collect();
    for _ in 0..2 {
        assert_eq!(server.json("/track?verbose=1", event.to_string()).with(200), OK);
    }
    let plan = |profile: &profiledb::Profile| profile.properties().clone();
    let after: Vec<_> = server.db.users().iter().map(Result::unwrap).collect();
    assert_eq!(after.len(), before.len(), "{event}");
    for ((id, before), (other, after)) in before.iter().zip(&after) {
        assert_eq!((id, plan(before), before.last_seen()), (other, plan(after), after.last_seen()), "{event}");
    }
    // Sent twice with one `$insert_id`, it is one.
    assert_eq!(server.db.events().iter().count(), 1);
    server
}

/// The names of the events, by time, each with the plan of its user.
fn plans(server: &TestServer) -> Vec<(String, Option<Value>)> {
    let rows = server.db.snapshot().join().select(["user.plan"]).rows().unwrap();
    let mut rows: Vec<_> = rows.map(Result::unwrap).collect();
    rows.sort_by_key(|row| row.time());
    rows.iter().map(|row| (row.name().to_owned(), row.get(0))).collect()
}

fn track(server: &TestServer, event: &str, properties: Json) {
    let event = json!({"event": event, "properties": properties});
    assert_eq!(server.json("/track?verbose=1", event.to_string()).with(200), OK);
}

/// Until there is identity, an event joins the profile of the `distinct_id` that it carries, whatever `$device_id` and
/// `$user_id` say. Without one it is refused.
#[test]
fn k106_and_k107_events_join_the_profile_of_their_distinct_id() {
    let event = json!({"event": "first", "properties": {"distinct_id": "$device:D1", "$device_id": "D1",
        "time": 1_600_000_000, "$insert_id": "i"}});
    let server = after_identity(&event);
    let both = json!({"distinct_id": "U1", "$device_id": "D1", "$user_id": "U1", "time": 1_600_000_001});
    track(&server, "second", both);
    // The device is not linked to the user, before or after.
    track(&server, "third", json!({"distinct_id": "$device:D1", "$device_id": "D1", "time": 1_600_000_002}));
    let of = |text: &str| Some(Value::from(text));
    let expected = [("first", of("of the device")), ("second", of("of the user")), ("third", of("of the device"))];
    assert_eq!(plans(&server), expected.map(|(name, plan)| (name.to_owned(), plan)));
    for properties in [r#"{"$device_id":"D1"}"#, r#"{"$device_id":"D1","$user_id":"U1"}"#] {
        let bad = server.json("/track?verbose=1", format!(r#"{{"event":"e","properties":{properties}}}"#));
        assert_eq!(bad.with(200), r#"{"status":0,"error":"distinct_id, missing or empty"}"#);
    }
    // They are properties like any other.
    let event = server.db.events().iter().map(Result::unwrap).find(|event| event.name() == "second").unwrap();
    assert_eq!(event.properties().get("$user_id"), Some(&"U1".into()));
}

#[test]
fn k108_identify_changes_no_profile() {
    let event = json!({"event": "$identify", "properties": {"distinct_id": "U1", "$identified_id": "U1",
        "$anon_id": "D1", "$device_id": "D1", "$user_id": "U1", "time": 1_600_000_000, "$insert_id": "i"}});
    let server = after_identity(&event);
    track(&server, "later", json!({"distinct_id": "D1", "time": 1_600_000_001}));
    let of = |text: &str| Some(Value::from(text));
    let expected = [("$identify", of("of the user")), ("later", of("of D1"))];
    assert_eq!(plans(&server), expected.map(|(name, plan)| (name.to_owned(), plan)));
}

/// An update of the anonymous id stays with that id, with `$ignore_alias` or without.
#[test]
fn k109_identified_ids_keep_profiles_of_their_own() {
    let event = json!({"event": "$identify", "properties": {"$identified_id": "U1", "$anon_id": "D1",
        "time": 1_600_000_000, "$insert_id": "i"}});
    let server = after_identity(&event);
    for more in ["", r#","$ignore_alias":true"#] {
        let update = format!(r#"{{"$distinct_id":"D1","$add":{{"n":1}}{more}}}"#);
        assert_eq!(server.json("/engage", update).with(200), "1");
    }
    assert_eq!(server.user("D1")["n"], 2);
    assert_eq!(server.user("U1").get("n"), None);
}

#[test]
fn an_alias_changes_no_profile() {
    let event = json!({"event": "$create_alias", "properties": {"distinct_id": "U1", "alias": "D1",
        "time": 1_600_000_000, "$insert_id": "i"}});
    let server = after_identity(&event);
    track(&server, "later", json!({"distinct_id": "D1", "time": 1_600_000_001}));
    assert_eq!(plans(&server)[1], ("later".to_owned(), Some("of D1".into())));
}

#[test]
fn a_merge_changes_no_profile() {
    let event = json!({"event": "$merge", "properties": {"$distinct_ids": ["U1", "D1"],
        "time": 1_600_000_000, "$insert_id": "i"}});
    let server = after_identity(&event);
    track(&server, "later", json!({"distinct_id": "D1", "time": 1_600_000_001}));
    assert_eq!(plans(&server)[1], ("later".to_owned(), Some("of D1".into())));
}

#[test]
fn k87_to_k89_strict_imports() {
    let server = TestServer::start();
    let good = r#"{"event":"e","properties":{"time":1700000000,"distinct_id":"a","$insert_id":"i-1"}}"#;
    let bad = r#"{"event":"e","properties":{"time":-5,"distinct_id":"a","$insert_id":"i-2"}}"#;
    let ok = server.json("/import?strict=1", format!("[{good}]"));
    assert_eq!(ok.with(200), r#"{"code":200,"num_records_imported":1,"status":"OK"}"#);
    let some = server.json("/import?strict=1", format!("[{good},{bad}]"));
    let value: Json = serde_json::from_str(&some.with(400)).unwrap();
    assert_eq!(
        (&value["code"], &value["num_records_imported"], &value["status"]),
        (&json!(400), &json!(1), &json!("Bad Request"))
    );
    assert_eq!(value["error"], "some data points in the request failed validation");
    let failed = &value["failed_records"];
    assert_eq!((failed.as_array().unwrap().len(), &failed[0]["index"]), (1, &json!(1)));
    assert_eq!((&failed[0]["insert_id"], &failed[0]["$insert_id"]), (&json!("i-2"), &json!("i-2")));
    assert_eq!(failed[0]["field"], "properties.time");
    // The same event twice is one.
    assert_eq!(server.db.events().iter().count(), 1);
    let anon = r#"{"event":"e","properties":{"time":1700000000,"distinct_id":"anon","$insert_id":"i-3"}}"#;
    assert_eq!(server.json("/import?strict=1", anon).value()["failed_records"][0]["field"], "properties.distinct_id");
    assert_eq!(server.json("/import", anon).with(200), "0");
    assert_eq!(server.json("/import", good).with(200), "1");
    assert_eq!(server.json("/import?verbose=1", good).with(200), OK);
    assert_eq!(server.get(&format!("/import?data={}&verbose=0", base64(good))).with(200), "1");
    // An import without a time would be placed now.
    let timeless = r#"{"event":"e","properties":{"distinct_id":"a"}}"#;
    assert_eq!(server.json("/import?verbose=1", timeless).value()["error"], "time, missing or empty");
    assert_eq!(server.db.events().iter().count(), 1);
}

#[test]
fn groups_are_updated_by_their_path() {
    let server = TestServer::start();
    let body = r#"[{"$token":"t","$group_key":"company","$group_id":"acme","$set":{"tier":"gold"}}]"#;
    assert_eq!(server.json("/groups/?verbose=1", body).with(200), OK);
    assert_eq!(server.group("company", "acme"), json!({"tier": "gold"}));
    assert_eq!(server.json("/engage?verbose=1", body).with(200), NO_ID);
    let error = |body: &str| server.json("/groups?verbose=1", body).value()["error"].as_str().unwrap().to_owned();
    assert_eq!(error(ALICE), "$group_key, missing or empty");
    let both = r#"{"$group_key":"company","$group_id":"acme","$distinct_id":"a","$set":{"x":1}}"#;
    assert_eq!(error(both), "an object is about a user or about a group, not both");
    for operator in [r#""$append":{"l":"x"}"#, r#""$add":{"n":1}"#] {
        let body = format!(r#"{{"$group_key":"company","$group_id":"acme",{operator}}}"#);
        assert_eq!(server.json("/groups", body).with(200), "0", "{operator}");
    }
}

/// As pages do it, for the user's own list of groups.
#[test]
fn k119_and_k120_groups_of_a_user() {
    let server = TestServer::start();
    for (update, expected) in [
        (r#""$set":{"company":["mixpanel","google"]}"#, json!({"company": ["mixpanel", "google"]})),
        (r#""$union":{"company":["acme"]}"#, json!({"company": ["mixpanel", "google", "acme"]})),
        (r#""$remove":{"company":"google"}"#, json!({"company": ["mixpanel", "acme"]})),
    ] {
        let update = format!(r#"{{"$token":"t","$distinct_id":"alice",{update}}}"#);
        assert_eq!(server.form("/engage/?verbose=1&ip=1&_=17", format!("data={}", percent(&update))).with(200), OK);
        assert_eq!(server.user("alice"), expected);
    }
}

/// The sample of the documentation of user profiles, as Python's requests sends it.
#[test]
fn the_sample_of_the_documentation_runs_unchanged() {
    let server = TestServer::start();
    let users = json!([
        {"$distinct_id": "123", "$token": "", "$ip": "0",
         "$set": {"$name": "Alice", "$email": "alice@linear.app", "department": "engineering"}},
        {"$distinct_id": "456", "$token": "", "$ip": "0",
         "$set": {"$name": "Bob", "$email": "bob@notion.so", "department": "product"}},
        {"$distinct_id": "789", "$token": "", "$ip": "0",
         "$set": {"$name": "Carol", "$email": "carol@figma.com", "department": "design"}},
    ]);
    let headers = [("accept-encoding", "gzip, deflate"), ("accept", "*/*"), ("content-type", "application/json")];
    assert_eq!(server.request("POST", "/engage?verbose=2", &headers, users.to_string()).with(200), OK);
    assert_eq!(server.user("456"), json!({"$name": "Bob", "$email": "bob@notion.so", "department": "product"}));
}

struct Places;

impl GeoLookup for Places {
    fn properties(&self, address: IpAddr) -> Vec<(&'static str, Value)> {
        vec![("$city", address.to_string().into()), ("$country_code", "XX".into())]
    }

    fn near(&self, latitude: f64, longitude: f64) -> Vec<(&'static str, Value)> {
        // There is no place in the south.
        let city = (latitude >= 0.0).then(|| ("$city", format!("{latitude} {longitude}").into()));
        city.into_iter().collect()
    }
}

#[test]
fn k60_to_k64_the_place_of_an_address() {
    let server = TestServer::of(|db| {
        let project = Project::new(db).durability(Durability::Buffered).lookup(Arc::new(Places));
        Server::builder().project(project).trusted_proxy("127.0.0.1".parse().unwrap())
    });
    let place = |city: &str| json!({"$city": city, "$country_code": "XX"});
    let with = |path: &str, update: &str| {
        server.db.users().delete("d").unwrap();
        let update = format!(r#"{{"$distinct_id":"d",{update}}}"#);
        let headers = [("x-forwarded-for", "6.6.6.6, 198.51.100.7"), ("content-type", "application/json")];
        assert_eq!(server.request("POST", path, &headers, update).with(200), "1");
        server.user("d")
    };
    assert_eq!(with("/engage", r#""$set":{},"$ip":"203.0.113.9""#), place("203.0.113.9"));
    assert_eq!(with("/engage", r#""$set_once":{},"$ip":"203.0.113.9""#), place("203.0.113.9"));
    for (path, ip) in [("/engage", r#","$ip":"0""#), ("/engage", r#","$ip":0"#), ("/engage?ip=0", "")] {
        assert_eq!(with(path, &format!(r#""$set":{{"a":1}}{ip}"#)), json!({"a": 1}), "{path} {ip}");
    }
    // That of a record is used even where the request says not to use its own.
    assert_eq!(with("/engage?ip=0", r#""$set":{},"$ip":"203.0.113.9""#), place("203.0.113.9"));
    // The address of the request is what the trusted proxy saw.
    assert_eq!(with("/engage?ip=1", r#""$set":{}"#), place("198.51.100.7"));
    assert_eq!(with("/engage", r#""$set":{}"#), place("198.51.100.7"));
    assert_eq!(with("/engage", r#""$set":{"$ip":"1.2.3.4"}"#), place("1.2.3.4"));
    let own = json!({"$city": "X", "$country_code": "XX"});
    assert_eq!(with("/engage", r#""$set":{"$city":"X"},"$ip":"203.0.113.9""#), own);
    assert_eq!(with("/engage", r#""$add":{"n":1},"$ip":"203.0.113.9""#), json!({"n": 1}));
    let group = r#"{"$group_key":"company","$group_id":"g","$set":{"a":1},"$ip":"203.0.113.9"}"#;
    assert_eq!(server.json("/groups", group).with(200), "1");
    assert_eq!(server.group("company", "g"), json!({"a": 1}));
}

/// What the server adds does not count as the limit on properties, neither with this update nor with later ones.
#[test]
fn a_place_is_never_why_an_update_is_refused() {
    /// A place whose city is longer than the store takes.
    struct LongNames;

    impl GeoLookup for LongNames {
        fn properties(&self, _: IpAddr) -> Vec<(&'static str, Value)> {
            let names = ["$region", "$country_code", "$timezone", "$geo_source"];
            let long = [("$city", "x".repeat(256).into())];
            long.into_iter().chain(names.map(|name| (name, "x".into()))).collect()
        }
    }

    let server = TestServer::of(|db| {
        let project = Project::new(db).durability(Durability::Buffered).lookup(Arc::new(LongNames));
        Server::builder().project(project)
    });
    let set = |id: &str, names: std::ops::Range<usize>, place: &str| {
        let properties: serde_json::Map<String, Json> = names.map(|n| (format!("p{n}"), json!(n))).collect();
        let update = json!({"$distinct_id": id, "$set": properties, "$ip": place});
        server.json("/engage?strict=1", update.to_string()).value()["num_good_events"].clone()
    };
    let count = |id: &str| server.user(id).as_object().unwrap().len();
    assert_eq!(set("full", 0..2_000, "203.0.113.9"), 1);
    assert_eq!(count("full"), 2_004);
    // More names than one profile may have, so that each update is counted.
    assert_eq!(set("other", 1_000..2_001, "203.0.113.9"), 1);
    for place in ["0", "203.0.113.9"] {
        assert_eq!(set("full", 0..1, place), 1, "{place}");
        assert_eq!(set("full", 0..2_001, place), 0, "{place}");
        assert_eq!(set("full", 2_000..2_001, place), 0, "{place}");
    }
    assert_eq!(set("late", 0..2_000, "0"), 1);
    assert_eq!(count("late"), 2_000);
    assert_eq!(set("late", 0..1, "203.0.113.9"), 1);
    assert_eq!(count("late"), 2_004);
    // Also where a client says where it is.
    let own = r#"{"$distinct_id":"late","$set":{"$city":"X"},"$ip":"0"}"#;
    assert_eq!(server.json("/engage", own).with(200), "1");
    assert_eq!(server.user("late")["$city"], "X");
    assert!(server.db.check().unwrap().tables.iter().all(|table| table.over_limit == 0));
}

#[test]
fn k62_no_address_is_stored() {
    let server = TestServer::start();
    let update = r#"{"$distinct_id":"d","$set":{"$ip":"1.2.3.4","a":1},"$ip":"5.6.7.8"}"#;
    assert_eq!(server.json("/engage", update).with(200), "1");
    assert_eq!(server.user("d"), json!({"a": 1}));
}

/// An unknown token refuses the record, not the request.
#[test]
fn records_go_to_the_projects_of_their_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let other: Db = open(&dir.path().join("other"));
    let server = TestServer::of(|db| {
        let projects = [Project::new(db).token("one"), Project::new(other.clone()).token("two")];
        projects.into_iter().fold(Server::builder(), |server, project| server.project(project))
    });
    let body = r#"[{"$token":"one","$distinct_id":"a","$set":{"x":1}},
        {"$token":"two","$distinct_id":"a","$set":{"x":2}},
        {"$token":"three","$distinct_id":"a","$set":{"x":3}},{"$distinct_id":"a","$set":{"x":4}}]"#;
    let strict = server.json("/engage?strict=1", body).value();
    assert_eq!(strict["num_good_events"], 2);
    let messages: Vec<_> =
        strict["failed_records"].as_array().unwrap().iter().map(|failed| &failed["message"]).collect();
    assert_eq!(messages, ["$token, unknown", "$token, missing or empty"]);
    assert_eq!(server.user("a"), json!({"x": 1}));
    assert_eq!(other.users().get_property("a", "x").unwrap(), Some(2.into()));
    let events = r#"[{"event":"e","properties":{"token":"two","distinct_id":"a"}},
        {"event":"e","properties":{"token":"","distinct_id":"a"}}]"#;
    assert_eq!(server.json("/track", events).with(200), "1");
    assert_eq!((server.db.events().iter().count(), other.events().iter().count()), (0, 1));
    assert_eq!(server.metric(r#"profiledb_records_rejected_total{reason="token"}"#), 3);
}

/// Credentials are ignored where records are only sent, and required where they are imported.
#[test]
fn k90_credentials_of_imports() {
    let server = TestServer::of(|db| {
        let project = Project::new(db).token("one").id(7).secret("s3cret").account("user", "pa55");
        Server::builder().project(project)
    });
    let event = r#"{"event":"e","properties":{"time":1700000000,"distinct_id":"a","token":"one"}}"#;
    let import = |credentials: &str, query: &str| {
        let authorization = format!("Basic {}", base64(credentials));
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        server.request("POST", &format!("/import?verbose=1{query}"), &headers, event)
    };
    let refused = r#"{"code":401,"error":"Invalid credentials","status":"Unauthorized"}"#;
    for (credentials, query, status) in [
        ("one:", "", 200),
        ("s3cret:", "", 200),
        ("s3cret", "", 200),
        ("user:pa55", "&project_id=7", 200),
        ("user:pa55", "", 200),
        ("", "&api_key=s3cret", 200),
        ("user:pa55", "&project_id=8", 401),
        ("wrong:", "", 401),
        ("user:wrong", "", 401),
        ("user:", "", 401),
        ("one:pa55", "", 401),
        ("", "", 401),
        ("", "&api_key=", 401),
    ] {
        let answer = import(credentials, query).with(status);
        assert_eq!(answer, if status == 200 { OK } else { refused }, "{credentials} {query}");
    }
    let other = event.replace("one", "two");
    let headers = [("authorization", "Basic czNjcmV0Og==")];
    assert_eq!(server.request("POST", "/import", &headers, other).with(200), "0");
    for authorization in ["", "Basic", "Basic !!", "Bearer x", "Basic d3Jvbmc6"] {
        let headers = [("authorization", authorization), ("content-encoding", "")];
        let body = ALICE.replace("\"t\"", "\"one\"");
        assert_eq!(server.request("POST", "/engage", &headers, body).with(200), "1", "{authorization}");
    }
}

/// Each project has a store and credentials of its own: those of one give no access to the other.
#[test]
fn credentials_of_one_project_write_to_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let second = open(&dir.path().join("store"));
    let server = TestServer::of(|db| {
        let first = Project::new(db).token("one").secret("s-one");
        Server::builder().project(first).project(Project::new(second.clone()).token("two").secret("s-two"))
    });
    let event = |token: &str| {
        format!(
            r#"{{"event":"e","properties":{{"time":1700000000,"distinct_id":"a","$insert_id":"i","token":"{token}"}}}}"#
        )
    };
    let body = format!("[{},{}]", event("one"), event("two"));
    let headers = [("authorization", "Bearer s-one"), ("content-type", "application/json")];
    let answer = server.request("POST", "/import?strict=1", &headers, body).value();
    assert_eq!((&answer["num_records_imported"], &answer["failed_records"][0]["index"]), (&json!(1), &json!(1)));
    assert_eq!((server.db.events().iter().count(), second.events().iter().count()), (1, 0));
    assert_eq!(server.request("POST", "/api/csv?id=1", &headers, "a\n").value()["applied"], 1);
    assert_eq!((server.db.users().iter().count(), second.users().iter().count()), (1, 0));
    // Updates are routed by their tokens, in one request.
    let update = |token: &str| format!(r#"{{"$token":"{token}","$distinct_id":"b","$set":{{"x":"{token}"}}}}"#);
    assert_eq!(server.json("/engage", format!("[{},{}]", update("one"), update("two"))).with(200), "1");
    assert_eq!(second.users().get_property("b", "x").unwrap(), Some("two".into()));
    assert_eq!(server.user("b"), json!({"x": "one"}));
}

#[test]
fn a_request_is_one_commit() {
    let server = TestServer::start();
    let list = |record: fn(usize) -> String| format!("[{}]", (0..500).map(record).collect::<Vec<_>>().join(","));
    let update = list(|n| format!(r#"{{"$distinct_id":"u{n}","$set":{{"n":{n}}}}}"#));
    let group = list(|n| format!(r#"{{"$group_key":"k","$group_id":"g{n}","$set":{{"n":{n}}}}}"#));
    let event = list(|n| format!(r#"{{"event":"e","properties":{{"time":1700000000,"distinct_id":"u{n}"}}}}"#));
    let message = list(|n| format!(r#"{{"type":"identify","userId":"s{n}","anonymousId":"a","traits":{{"n":{n}}}}}"#));
    let batch = format!(r#"{{"batch":{message}}}"#);
    for (path, body) in
        [("/engage", &update), ("/groups", &group), ("/track", &event), ("/import", &event), ("/v1/batch", &batch)]
    {
        let commits = server.metric("profiledb_store_commits");
        assert_eq!(server.json(path, body).status, 200, "{path}");
        assert_eq!(server.metric("profiledb_store_commits"), commits + 1, "{path}");
    }
}

/// C.3: properties of the update, then coordinates, then the address of the record, then that of the request.
#[test]
fn coordinates_come_before_addresses() {
    let server = TestServer::of(|db| {
        Server::builder().project(Project::new(db).durability(Durability::Buffered).lookup(Arc::new(Places)))
    });
    let set = |update: &str| {
        server.db.users().delete("d").unwrap();
        assert_eq!(server.json("/engage", format!(r#"{{"$distinct_id":"d",{update}}}"#)).with(200), "1");
        server.user("d")
    };
    let near = json!({"$city": "1.5 -180", "$geo_source": "reverse_geocoding"});
    let here = r#""$latitude":1.5,"$longitude":-180"#;
    assert_eq!(set(&format!(r#""$set":{{}},"$ip":"203.0.113.9",{here}"#)), near);
    let own = json!({"$city": "own", "$geo_source": "reverse_geocoding"});
    assert_eq!(set(&format!(r#""$set_once":{{"$city":"own"}},{here}"#)), own);
    assert_eq!(server.metric("profiledb_notes_total"), 0);
    // Without a place, the address decides, and it is counted that the coordinates had no effect.
    let of_address = json!({"$city": "203.0.113.9", "$country_code": "XX"});
    let south = r#""$latitude":-1,"$longitude":2"#;
    for (notes, none) in [south, r#""$latitude":91,"$longitude":2"#].into_iter().enumerate() {
        assert_eq!(set(&format!(r#""$set":{{}},"$ip":"203.0.113.9",{none}"#)), of_address, "{none}");
        assert_eq!(server.metric("profiledb_notes_total"), notes as u64 + 1);
    }
    for half in [r#""$latitude":1.5"#, r#""$latitude":"1.5","$longitude":2"#, r#""$latitude":null,"$longitude":2"#] {
        assert_eq!(set(&format!(r#""$set":{{}},"$ip":"203.0.113.9",{half}"#)), of_address, "{half}");
    }
    assert_eq!(set(&format!(r#""$add":{{"n":1}},{here}"#)), json!({"n": 1}));
    assert_eq!(server.metric("profiledb_notes_total"), 3);
}
