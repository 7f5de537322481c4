//! Queries of profiles, exports of events, and who may make them.

use std::io::Write;
use std::time::{Duration, Instant};

use profiledb::server::{Project, Server, ServerLimits};
use profiledb::{Batch, Event, Object, Timestamp, Update, Value};
use serde_json::{Value as Json, json};

use crate::bench::{Reply, TestServer, base64, percent};

fn filled(users: usize) -> TestServer {
    let server = TestServer::start();
    fill(&server, users);
    server
}

fn fill(server: &TestServer, users: usize) {
    let mut batch = Batch::new();
    for n in 0..users {
        let update = Update::new().set("n", n as u64).set("$email", format!("{n}@example.org")).ignore_time();
        batch.update(&server.db.users(), format!("u{n:05}"), update).unwrap();
    }
    server.db.write(batch).unwrap();
}

fn ids(page: &Json) -> Vec<&str> {
    page["results"].as_array().unwrap().iter().map(|row| row["$distinct_id"].as_str().unwrap()).collect()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, part: &str) {
    let value: Json = serde_json::from_str(&reply.with(status)).unwrap();
    assert_eq!(value["status"], "error", "{value}");
    assert!(value["error"].as_str().unwrap().contains(part), "{value}");
}

/// A query that nobody waits for does not keep its turn.
#[test]
fn a_query_ends_when_its_client_leaves() {
    let server = TestServer::with(|server| {
        let mut limits = ServerLimits::default();
        limits.queries_max = 1;
        server.limits(limits)
    });
    fill(&server, 50_000);
    // Both keep none, so that nothing but the scan can notice.
    let filter = percent(r#"properties["n"] == "x""#);
    let slow = percent(&vec![r#"string(properties["n"]) == "x""#; 1_000].join(" or "));
    for (path, abandoned) in [("/api/2.0/engage", 1), ("/api/2.0/engage/properties", 2)] {
        let mut stream = server.connect();
        let body = format!("where={slow}");
        write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        drop(stream);
        let started = Instant::now();
        assert_eq!(server.get(&format!("{path}?where={filter}")).status, 200);
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        assert_eq!(server.metric("profiledb_requests_abandoned_total"), abandoned, "{path}");
    }
}

#[test]
fn a_page_as_it_is_documented() {
    let server = TestServer::start();
    let update = Update::new().set("$name", "Ann").at(Timestamp::from_seconds(1_213_051_720));
    server.db.users().update("4", update).unwrap();
    let answer = server.form("/api/query/engage?project_id=1", "").with(200);
    let (before, after) = answer.split_once("\"session_id\":\"").unwrap();
    let row = r#"{"$distinct_id":"4","$properties":{"$last_seen":"2008-06-09T22:48:40","$name":"Ann"}}"#;
    assert_eq!(before, format!("{{\"page\":0,\"page_size\":1000,\"results\":[{row}],"));
    assert!(after.ends_with("\",\"status\":\"ok\",\"total\":1}"), "{answer}");
    // By each of the ways in which clients ask.
    let filter = r#"properties["$name"] == "Ann""#;
    let headers = [("content-type", "application/json")];
    for answer in [
        server.get(&format!("/api/2.0/engage?where={}", percent(filter))),
        server.get(&format!("/api/2.0/engage/?selector={}&distinct_id=4", percent(filter))),
        server.form("/api/query/engage", format!("where={}&page=0", percent(filter))),
        server.request("POST", "/api/2.0/engage", &headers, json!({"where": filter, "page_size": 100}).to_string()),
        server.form("/api/2.0/engage", format!("distinct_ids={}", percent(r#"["4","5",4]"#))),
    ] {
        let page: Json = serde_json::from_str(&answer.with(200)).unwrap();
        assert_eq!((ids(&page), &page["total"]), (vec!["4"], &json!(1)));
    }
}

#[test]
fn k91_pages_of_one_snapshot() {
    let server = filled(2_500);
    let first = server.get("/api/2.0/engage").value();
    let session = first["session_id"].as_str().unwrap();
    // What is written and deleted later is not seen, and pages come in any order.
    server.db.users().update("u00000a", Update::new().set("n", 1)).unwrap();
    server.db.users().delete("u02400").unwrap();
    let page = |page: usize| server.get(&format!("/api/2.0/engage?session_id={session}&page={page}")).value();
    let pages = [page(2), page(0), page(1), page(3), page(999)];
    let sizes: Vec<_> = pages.iter().map(|page| ids(page).len()).collect();
    assert_eq!(sizes, [500, 1_000, 1_000, 0, 0]);
    for page in &pages {
        assert_eq!((&page["total"], &page["session_id"]), (&json!(2_500), &json!(session)));
        assert_eq!((&page["page_size"], &page["status"]), (&json!(1_000), &json!("ok")));
    }
    let all: Vec<_> = [&pages[1], &pages[2], &pages[0]].into_iter().flat_map(ids).collect();
    assert_eq!(all, (0..2_500).map(|n| format!("u{n:05}")).collect::<Vec<_>>());
    assert_eq!(server.metric("profiledb_sessions_held"), 1);
}

#[test]
fn pages_end_where_their_total_is_a_multiple() {
    let server = filled(500);
    for query in ["page_size=250", "page_size=500", "page_size=1000"] {
        let first = server.get(&format!("/api/2.0/engage?{query}")).value();
        let session = first["session_id"].as_str().unwrap();
        let size: usize = query.rsplit('=').next().unwrap().parse().unwrap();
        let past = 500_usize.div_ceil(size);
        let page = server.get(&format!("/api/2.0/engage?{query}&session_id={session}&page={past}")).value();
        assert_eq!((ids(&page).len(), &page["total"], &page["page_size"]), (0, &json!(500), &json!(size)), "{query}");
    }
    // Of small pages, not every one is remembered.
    for size in [1, 7, 300] {
        let first = server.get(&format!("/api/2.0/engage?page_size={size}")).value();
        let session = first["session_id"].as_str().unwrap();
        for page in [0, 1, 2, 143, 499, 500, 9_999] {
            let found = server.get(&format!("/api/2.0/engage?session_id={session}&page={page}")).value();
            let due: Vec<_> = (page * size..500.min((page + 1) * size)).map(|n| format!("u{n:05}")).collect();
            assert_eq!(super::queries::ids(&found), due, "{size} {page}");
        }
    }
    let ids: Vec<String> = (0..500).map(|n| format!("u{n:05}")).collect();
    let query = format!("page_size=200&distinct_ids={}", percent(&json!(ids).to_string()));
    let first = server.form("/api/2.0/engage", &query).value();
    let session = first["session_id"].as_str().unwrap();
    let third = server.form("/api/2.0/engage", format!("{query}&page=2&session_id={session}")).value();
    assert_eq!((super::queries::ids(&third).len(), &third["total"]), (100, &json!(500)));
}

#[test]
fn k92_a_later_page_needs_its_session() {
    let server = filled(1_500);
    refused(&server.get("/api/2.0/engage?page=1"), 400, "needs the session_id");
    refused(&server.get("/api/2.0/engage?page=1&session_id=x"), 400, "session_id is not known");
    let first = server.get("/api/2.0/engage?where=properties%5B%22n%22%5D%20%3E%3D%200").value();
    let session = first["session_id"].as_str().unwrap();
    let other = format!("/api/2.0/engage?session_id={session}&page=1&where=true");
    refused(&server.get(&other), 400, "not those of the session");
    refused(&server.get(&format!("/api/2.0/engage?session_id={session}&page=1&page_size=9")), 400, "page_size");
}

/// What is not understood is refused: to ignore it is to answer with everyone, and clients delete what they are given.
#[test]
fn filters_that_are_not_understood_are_refused() {
    let server = filled(3);
    for (query, part) in [
        ("filter_by_cohort=%7B%22id%22:1%7D", "filter_by_cohort"),
        ("behaviors=%5B%5D", "behaviors"),
        ("whree=true", "whree"),
        ("where=", "where"),
        ("where=properties%5B", "where"),
        ("where=event%5B%22$time%22%5D%20%3E%201", "event"),
        ("where=true&where=false", "given twice"),
        ("where=true&selector=false", "differ"),
        ("where=properties%5B%22n%22%5D%20and%20true", "boolean"),
        ("where=%ff", "utf-8"),
        ("distinct_ids=u00001", "json list"),
        ("distinct_ids=%7B%7D", "json list"),
        ("output_properties=n", "json list"),
        ("data_group_id=company", "no groups"),
        ("page_size=0", "1 to 1000"),
        ("page_size=1001", "1 to 1000"),
        ("page=-1", "page is a number"),
    ] {
        refused(&server.get(&format!("/api/2.0/engage?{query}")), 400, part);
    }
    let headers = [("content-type", "application/json")];
    refused(&server.request("POST", "/api/2.0/engage", &headers, "[1]"), 400, "json object");
    refused(&server.request("POST", "/api/2.0/engage", &headers, r#"{"filter_by_cohort":{"id":1}}"#), 400, "cohort");
}

#[test]
fn k93_only_the_requested_properties() {
    let server = filled(1);
    let page = server.get(&format!("/api/2.0/engage?output_properties={}", percent(r#"["$email"]"#))).value();
    assert_eq!(page["results"][0]["$properties"], json!({"$email": "0@example.org"}));
}

#[test]
fn k94_k95_k97_expressions() {
    let server = TestServer::start();
    for (id, update) in [
        ("null", Update::new().set("plan", Value::Null)),
        ("empty", Update::new().set("plan", "").set("$email", "e@x")),
        ("absent", Update::new().set("a", "1")),
    ] {
        server.db.users().update(id, update).unwrap();
    }
    let found = |name: &str, filter: &str| {
        let page = server.get(&format!("/api/2.0/engage?{name}={}", percent(filter))).value();
        ids(&page).join(",")
    };
    assert_eq!(found("where", r#"defined(properties["plan"])"#), "empty");
    assert_eq!(found("selector", r#"(defined (properties["plan"]))"#), "empty");
    assert_eq!(found("where", r#"properties["a"] in [1,2]"#), "");
    assert_eq!(found("where", r#"properties["a"] in ["1"]"#), "absent");
    assert_eq!(found("where", r#"boolean(properties["$email"]) == true"#), "empty");
    assert_eq!(found("where", r#"not defined(properties["plan"])"#), "absent,null");
}

#[test]
fn k96_groups_by_number_and_by_key() {
    let server = TestServer::start();
    let companies = server.db.groups("company").unwrap();
    companies.update("acme", Update::new().set("tier", "gold").ignore_time()).unwrap();
    server.db.groups("team").unwrap().update("eng", Update::new().set("x", 1)).unwrap();
    let groups = server.get("/api/app/projects/1/data-groups/").value();
    assert_eq!(groups["status"], "ok");
    assert_eq!(groups["results"][0]["property_name"], "company");
    let number = groups["results"][0]["data_group_id"].as_u64().unwrap();
    assert!(number < 1 << 53);
    for id in [number.to_string(), "company".to_owned()] {
        let page = server.form("/api/query/engage", format!("data_group_id={id}")).value();
        assert_eq!(page["results"], json!([{"$distinct_id": "acme", "$properties": {"tier": "gold"}}]));
    }
    refused(&server.get("/api/2.0/engage?data_group_id=-5"), 400, "no groups");
}

#[test]
fn names_of_properties() {
    let server = TestServer::start();
    for (id, update) in [
        (
            "a",
            Update::new()
                .set("s", "x")
                .set("n", 1)
                .set("b", true)
                .set("l", [1])
                .merge("o", Object::from_iter([("a", 1)])),
        ),
        ("b", Update::new().set("s", "2024-01-02").set("n", Value::Null)),
        ("c", Update::new().set("s", "y")),
    ] {
        server.db.users().update(id, update.ignore_time()).unwrap();
    }
    let names = server.get("/api/2.0/engage/properties?limit=2000").value();
    let of = |count: u64, name: &str| json!({"count": count, "type": name});
    let expected = json!({
        "b": of(1, "boolean"), "l": of(1, "list"), "n": of(1, "number"), "o": of(1, "object"), "s": of(3, "string")
    });
    assert_eq!(names, json!({"results": expected, "status": "ok"}));
    let most = server.get("/api/2.0/engage/properties?limit=1").value();
    assert_eq!(most["results"], json!({"s": of(3, "string")}));
}

#[test]
fn queries_need_credentials_where_there_are_any() {
    let server = TestServer::of(|db| {
        Server::builder().project(Project::new(db).token("t").id(7).secret("s3cret").account("user", "pa55"))
    });
    fill(&server, 1);
    let get = |path: &str, credentials: &str| {
        let authorization = format!("Basic {}", base64(credentials));
        server.request("GET", path, &[("authorization", &authorization)], "")
    };
    for path in
        ["/api/2.0/engage", "/api/2.0/engage/properties", "/api/2.0/export?from_date=2024-01-01&to_date=2024-01-01"]
    {
        assert_eq!(get(path, "s3cret:").status, 200, "{path}");
        // The token is in the source of every page that sends.
        for credentials in ["", "t:", "wrong:", "user:"] {
            refused(&get(path, credentials), 401, "Invalid credentials");
        }
    }
    assert_eq!(get("/api/2.0/engage?project_id=7", "user:pa55").status, 200);
    refused(&get("/api/2.0/engage?project_id=8", "user:pa55"), 401, "Invalid credentials");
    assert_eq!(get("/api/app/projects/7/data-groups/", "user:pa55").status, 200);
    assert_eq!(get("/api/app/projects/8/data-groups/", "user:pa55").status, 404);
}

#[test]
fn sessions_are_bounded_in_number_and_time() {
    let server = TestServer::with(|server| {
        let mut limits = ServerLimits::default();
        (limits.sessions_max, limits.session_lifetime) = (2, std::time::Duration::from_millis(400));
        server.limits(limits)
    });
    fill(&server, 3);
    let begin = || server.get("/api/2.0/engage?page_size=1");
    let first = begin().value();
    assert_eq!(begin().status, 200);
    let busy = begin();
    refused(&busy, 429, "2 queries are held");
    assert!(busy.header("retry-after").is_some());
    // A query of one page holds nothing.
    assert_eq!(server.get("/api/2.0/engage").status, 200);
    std::thread::sleep(std::time::Duration::from_millis(600));
    let late = format!("/api/2.0/engage?page=1&session_id={}", first["session_id"].as_str().unwrap());
    refused(&server.get(&late), 400, "was not used for too long");
    assert_eq!(begin().status, 200);
}

#[test]
fn events_are_exported_by_day_as_lines() {
    let server = TestServer::start();
    let at = |time: &str| Timestamp::parse(time).unwrap();
    for (name, time, n) in [
        ("a", "2023-12-01T23:59:59", 1),
        ("a", "2023-12-02T00:00:00", 2),
        ("b", "2023-12-02T12:00:00.5", 3),
        ("a", "2023-12-03T23:59:59", 4),
        ("a", "2023-12-04T00:00:00", 5),
    ] {
        server.db.events().append(Event::new(name, "alice", at(time)).id(format!("i-{n}")).set("n", n)).unwrap();
    }
    let export = |query: &str| {
        let text = server.get(&format!("/api/2.0/export?from_date=2023-12-02&to_date=2023-12-03{query}")).with(200);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Json>>()
    };
    let numbers =
        |query: &str| export(query).iter().map(|event| event["properties"]["n"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers(""), [2, 3, 4]);
    let expected = json!({
        "event": "b", "properties": {"time": 1_701_518_400, "distinct_id": "alice", "$insert_id": "i-3", "n": 3}
    });
    assert_eq!(export("")[1], expected);
    assert_eq!(numbers("&event=%5B%22a%22%5D"), [2, 4]);
    assert_eq!(numbers("&limit=1"), [2]);
    assert_eq!(numbers(&format!("&where={}", percent(r#"properties["n"] > 2"#))), [3, 4]);
    for (query, part) in [
        ("from_date=2024-01-02", "to_date"),
        ("from_date=2024-01-02&to_date=2024-01-03T00:00:00", "to_date"),
        ("from_date=2024-01-02&to_date=2024-01-03&where=user%5B%22a%22%5D", "user"),
        ("from_date=2024-01-02&to_date=2024-01-03&evnet=a", "evnet"),
    ] {
        refused(&server.get(&format!("/api/2.0/export?{query}")), 400, part);
    }
}
