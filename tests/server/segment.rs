//! Segment's protocol, and the erasure of users.

use profiledb::server::{Project, Server};
use profiledb::{Event, Timestamp, Update};
use serde_json::{Value as Json, json};

use crate::bench::{TestServer, base64};

const DONE: &str = r#"{"success":true}"#;

fn events(server: &TestServer) -> Vec<Json> {
    server.db.events().iter().map(|event| serde_json::to_value(event.unwrap()).unwrap()).collect()
}

#[test]
fn k117_identify_makes_a_profile() {
    let server = TestServer::start();
    let traits = json!({"createdAt": "2024-01-01", "email": "e@x", "firstName": "first", "lastName": "last", "x": [1]});
    let expected = json!({
        "$created": "2024-01-01", "$email": "e@x", "$first_name": "first", "$last_name": "last", "$name": "first last",
        "x": [1]
    });
    let message = json!({
        "type": "identify", "userId": "u", "anonymousId": "a", "traits": traits, "context": {"ip": "1.2.3.4"},
        "timestamp": "2023-12-01T10:00:00.123Z", "messageId": "m-1", "writeKey": "t", "sentAt": null,
    });
    // As the browser sends it, as a server does, and in a batch.
    for (path, content_type, body) in [
        ("/v1/i", "text/plain", message.clone()),
        ("/v1/identify", "application/json", message.clone()),
        ("/v1/batch", "application/json", json!({"batch": [message], "writeKey": "t"})),
    ] {
        server.db.users().delete("u").unwrap();
        let headers = [("content-type", content_type), ("authorization", "Basic dDo=")];
        assert_eq!(server.request("POST", path, &headers, body.to_string()).with(200), DONE, "{path}");
        assert_eq!(server.user("u")["$mp_first_event_time"], "2023-12-01T10:00:00");
        let mut user = server.user("u");
        user.as_object_mut().unwrap().remove("$mp_first_event_time");
        assert_eq!(user, expected, "{path}");
        let seen = server.db.users().get("u").unwrap().unwrap().last_seen().unwrap();
        assert_eq!(seen.to_string(), "2023-12-01T10:00:00");
    }
    let identified = events(&server);
    assert_eq!(identified.len(), 1, "the same message is one event: {identified:?}");
    assert_eq!(identified[0]["event"], "$identify");
    assert_eq!(identified[0]["properties"]["$anon_id"], "a");
}

#[test]
fn k118_group_makes_a_group() {
    let server = TestServer::start();
    let message = r#"{"userId":"u","groupId":"g","traits":{"name":"N","employees":3}}"#;
    assert_eq!(server.json("/v1/g", message).with(200), DONE);
    assert_eq!(server.group("$group_id", "g"), json!({"$name": "N", "employees": 3}));
}

#[test]
fn other_messages() {
    let server = TestServer::start();
    let batch = json!({"batch": [
        {"type": "track", "event": "bought", "userId": "u", "properties": {"price": 3}, "messageId": "m-1",
         "timestamp": "2023-12-01T10:00:00.000Z"},
        {"type": "page", "name": "Home", "anonymousId": "a", "properties": {"url": "/"}},
        {"type": "screen", "anonymousId": "a"},
        {"type": "alias", "userId": "new", "previousId": "old"},
        {"type": "unheard-of", "userId": "u"},
        {"type": "identify", "userId": "u", "traits": {}},
        17,
    ]});
    // What is nothing to store is no error, and is counted.
    let answer = server.json("/v1/batch", batch.to_string()).with(200);
    let message = r#"a message is a json object type=\"a number\""#;
    assert_eq!(answer, format!(r#"{{"success":true,"rejected":1,"ignored":2,"message":"{message}"}}"#));
    assert_eq!(server.metric(r#"profiledb_messages_ignored_total{reason="type"}"#), 1);
    assert_eq!(server.metric(r#"profiledb_messages_ignored_total{reason="empty"}"#), 1);
    assert_eq!(server.metric(r#"profiledb_records_rejected_total{reason="invalid"}"#), 1);
    let only = server.json("/v1/batch", r#"{"batch":[{"type":"unheard-of","userId":"u"}]}"#);
    assert_eq!(only.with(200), r#"{"success":true,"ignored":1}"#);
    let mut stored = events(&server);
    stored.sort_by_key(|event| event["event"].as_str().unwrap().to_owned());
    let names: Vec<_> = stored.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["$create_alias", "Loaded a Page", "Loaded a Screen", "bought"]);
    assert_eq!(stored[0]["properties"]["alias"], "new");
    assert_eq!(stored[0]["properties"]["distinct_id"], "old");
    assert_eq!(
        (&stored[1]["properties"]["name"], &stored[1]["properties"]["distinct_id"]),
        (&json!("Home"), &json!("a"))
    );
    let bought = json!({
        "time": 1_701_424_800, "distinct_id": "u", "$insert_id": "m-1", "$user_id": "u", "price": 3
    });
    assert_eq!(stored[3]["properties"], bought);
    assert_eq!(server.db.users().iter().count(), 0);
    let settings = server.get("/v1/projects/KEY/settings").value();
    assert_eq!(settings["integrations"]["Segment.io"]["apiKey"], "KEY");
    for body in ["", "[", "[]", r#"{"batch":{}}"#, r#"{"type":"track","event":"no user"}"#] {
        let refused = server.json("/v1/batch", body);
        let value: Json = serde_json::from_str(&refused.with(400)).unwrap();
        assert_eq!(value["success"], false, "{body}");
        assert!(value["code"].is_string() && value["message"].is_string(), "{value}");
    }
}

/// As of other paths.
#[test]
fn messages_in_a_request_are_bounded() {
    let server = TestServer::start();
    let batch = |count: usize| json!({"batch": vec![json!({"type": "track", "event": "e", "userId": "u"}); count]});
    assert_eq!(server.json("/v1/batch", batch(2_000).to_string()).with(200), DONE);
    let refused = server.json("/v1/batch", batch(2_001).to_string());
    assert_eq!((refused.status, refused.value()["success"].as_bool()), (413, Some(false)));
    assert_eq!(server.db.events().iter().count(), 2_000);
}

fn with_secret() -> TestServer {
    TestServer::of(|db| Server::builder().project(Project::new(db).token("t").secret("s3cret")))
}

#[test]
fn a_write_key_is_a_token() {
    let server = with_secret();
    let message = r#"{"userId":"u","traits":{"x":1}}"#;
    let send = |key: &str| {
        let authorization = format!("Basic {}", base64(format!("{key}:")));
        server.request("POST", "/v1/identify", &[("authorization", &authorization)], message)
    };
    assert_eq!(send("t").with(200), DONE);
    assert_eq!(send("other").value()["success"], false);
    assert_eq!(send("other").status, 401);
    assert_eq!(server.json("/v1/i", message).status, 401);
}

#[test]
fn users_are_erased_before_the_answer() {
    let server = with_secret();
    for id in ["a", "b"] {
        server.db.users().update(id, Update::new().set("x", 1)).unwrap();
        server.db.events().append(Event::new("e", id, Timestamp::parse("2023-12-01").unwrap())).unwrap();
    }
    let bearer = [("authorization", "Bearer s3cret"), ("content-type", "application/json")];
    let erase = |query: &str, body: &str| {
        server.request("POST", &format!("/api/app/data-deletions/v3.0{query}"), &bearer, body)
    };
    for (query, body, status) in [
        ("?token=other", r#"{"distinct_ids":["a"]}"#, 401),
        ("?token=t", r#"{"distinct_ids":[]}"#, 400),
        ("?token=t", r#"{"compliance_type":"GDPR"}"#, 400),
        ("?token=t", r#"{"distinct_ids":["a"],"unless":"x"}"#, 400),
        ("?token=t", r#"{"distinct_ids":["a",""]}"#, 400),
        ("?token=t", r#"{"distinct_ids":"a"}"#, 400),
    ] {
        assert_eq!(erase(query, body).status, status, "{body}");
    }
    let anyone = server.json("/api/app/data-deletions/v3.0/?token=t", r#"{"distinct_ids":["a"]}"#);
    assert_eq!(anyone.status, 401);
    assert_eq!(server.db.users().iter().count(), 2);
    let answer = erase("/?token=t", r#"{"distinct_ids":["a","c"],"compliance_type":"GDPR"}"#);
    let value: Json = serde_json::from_str(&answer.with(201)).unwrap();
    assert_eq!(value["status"], "ok");
    let task = value["results"]["task_id"].as_str().unwrap();
    assert_eq!((server.user("a"), server.db.events().of_user("a").count()), (json!(null), 0));
    assert_eq!((server.db.users().iter().count(), server.db.events().iter().count()), (1, 1));
    let path = format!("/api/app/data-deletions/v3.0/{task}");
    let status = server.request("GET", &path, &bearer, "").value();
    assert_eq!(status["results"], json!({"status": "SUCCESS", "distinct_ids": ["a", "c"]}));
    assert_eq!(server.request("DELETE", &path, &bearer, "").status, 405);
    assert_eq!(server.request("GET", "/api/app/data-deletions/v3.0/99", &bearer, "").status, 404);
}
