//! Questions: the latest state of profiles, joined onto events.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::store::{CliStore, EVENTS, lines};

fn by(bench: &CliStore, field: &str) -> Vec<(Json, u64)> {
    let rows = lines(&bench.run(&["join", "--by", field]).ok());
    rows.iter().map(|row| (row[field].clone(), row["count"].as_u64().unwrap())).collect()
}

fn track(bench: &CliStore, user: &str, id: &str, properties: Json) {
    let mut all = json!({"time": 1_704_067_200, "distinct_id": user, "$insert_id": id});
    all.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    let event = json!({"event": "e", "properties": all}).to_string();
    assert_eq!(bench.feed(&["track", "-", "--unbounded"], event.as_bytes()).figures(), (1, 0, 0));
}

fn set(bench: &CliStore, whose: Json, properties: Json) {
    let mut update = json!({"$set": properties});
    update.as_object_mut().unwrap().extend(whose.as_object().unwrap().clone());
    assert_eq!(bench.run(&["update", &update.to_string()]).figures(), (1, 0, 0));
}

/// What comes later counts for what was before, and what is gone is gone.
#[test]
fn events_have_the_latest_state_of_their_users() {
    let bench = CliStore::new();
    let plan = |expected: Json| assert_eq!(by(&bench, "user.plan"), [(expected, 1)]);
    track(&bench, "d", "e1", json!({}));
    plan(Json::Null);
    set(&bench, json!({"$distinct_id": "d"}), json!({"plan": "A"}));
    plan("A".into());
    set(&bench, json!({"$distinct_id": "d"}), json!({"plan": "B"}));
    plan("B".into());
    bench.run(&["delete", "d"]).ok();
    plan(Json::Null);
}

#[test]
fn names_with_commas_and_dots_and_members_of_objects() {
    let bench = CliStore::new();
    set(&bench, json!({"$distinct_id": "u"}), json!({"a,b": 1, "c.d": 2, "address": {"city": "Bonn"}}));
    set(&bench, json!({"$group_key": "x.y", "$group_id": 7}), json!({"tier": "gold"}));
    track(&bench, "u", "1", json!({"p,q": "r", "x.y": 7.0, "items": [{"brand": "acme"}]}));
    let row = r#"{"event.p,q":"r","user.a,b":1,"user.c.d":2,"group:\"x.y\".tier":"gold","count":1}"#;
    let fields = r#"event."p,q",user."a,b",user.c.d,group:"x.y".tier"#;
    assert_eq!(bench.run(&["join", "--by", fields]).ok(), format!("{row}\n"));
    assert_eq!(
        bench.run(&["list", "--columns", r#""a,b",c.d"#]).ok(),
        r#"{"$distinct_id":"u","a,b":1,"c.d":2}"#.to_owned() + "\n"
    );
    bench.run(&["join", "--by", r#"event."p,user.x"#]).failed(&["--by", "unterminated", r#"value="event.\"p,user.x""#]);

    for (filter, count) in [
        (r#"user["address"]["city"] == "Bonn""#, 1),
        (r#"user["address"]["street"] == "Bonn""#, 0),
        (r#"any(x, properties["items"], x["brand"] == "acme")"#, 1),
        (r#"defined(event["items"]["brand"])"#, 0),
    ] {
        let answer = lines(&bench.run(&["join", "--count", "--where", filter]).ok());
        assert_eq!(answer, [json!({"count": count})], "{filter}");
    }
    let listed = bench.run(&["list", "--columns", "c.d", "--where", r#"user["address"]["city"] == "Bonn""#]).ok();
    assert_eq!(listed, "{\"$distinct_id\":\"u\",\"c.d\":2}\n");
}

#[test]
fn events_belong_to_the_groups_that_they_name() {
    let bench = CliStore::new();
    let tier = |id: &str, tier: &str| {
        set(&bench, json!({"$group_key": "company", "$group_id": id}), json!({"tier": tier}));
    };
    tier("a", "gold");
    tier("b", "silver");
    track(&bench, "u", "1", json!({"company": ["a", "b", "a"]}));
    assert_eq!(by(&bench, "group:company.tier"), [(json!("gold"), 1), (json!("silver"), 1)]);

    // That its user is of a company does not make an event one of it.
    set(&bench, json!({"$distinct_id": "v"}), json!({"company": ["a"]}));
    track(&bench, "v", "2", json!({}));
    let only = ["--where", r#"event["$distinct_id"] == "v""#, "--format", "csv"];
    let by_group = bench.run(&[&["join", "--by", "group:company.tier"][..], &only].concat()).ok();
    assert_eq!(by_group, "group:company.tier,count\n,1\n");
    let by_user = bench.run(&[&["join", "--by", "user:company.tier"][..], &only].concat()).ok();
    assert_eq!(by_user, "user:company.tier,count\ngold,1\n");

    // Of 301 groups the first 300 count.
    for (id, name) in [("0", "first"), ("299", "last"), ("300", "beyond")] {
        tier(id, name);
    }
    let ids: Vec<String> = (0..=300).map(|id| id.to_string()).collect();
    track(&bench, "w", "3", json!({"company": ids}));
    let counted: BTreeMap<String, u64> =
        by(&bench, "group:company.tier").into_iter().map(|(tier, count)| (tier.to_string(), count)).collect();
    let expected = [("\"first\"", 1), ("\"gold\"", 1), ("\"last\"", 1), ("\"silver\"", 1), ("null", 2)];
    assert_eq!(counted, expected.map(|(tier, count)| (tier.to_owned(), count)).into());
}

#[test]
fn rows_and_segments_agree_on_a_history() {
    let bench = CliStore::with_history();
    assert_eq!(bench.run(&["track", EVENTS]).figures(), (13_491, 0, 0));
    let question = ["--from", "2015-01-01", "--to", "2020-01-01", "--where", r#"user["commits"] > 3"#];
    let ask = |args: &[&str]| bench.run(&[&["join"][..], &question, args].concat()).ok();

    let rows = lines(&ask(&["--select", "user.first_area,event.files,group:domain.first_area"]));
    let mut counted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in &rows {
        let segment = counted.entry(row["user.first_area"].to_string()).or_default();
        *segment = (segment.0 + 1, segment.1 + row["event.files"].as_u64().unwrap());
        assert!(row["group:domain.first_area"].as_array().is_some_and(|groups| groups.len() == 1), "{row}");
    }
    let by_area = ask(&["--by", "user.first_area", "--count", "--sum", "event.files"]);
    let segments: BTreeMap<String, (u64, u64)> = lines(&by_area)
        .iter()
        .map(|row| (row["count"].as_u64().unwrap(), row["sum(event.files)"].as_u64().unwrap(), row))
        .map(|(count, files, row)| (row["user.first_area"].to_string(), (count, files)))
        .collect();
    assert_eq!(segments, counted);
    assert!(segments.len() > 10 && rows.len() > 1_000);

    for strategy in ["lookup", "merge", "hash"] {
        let how = ["--by", "user.first_area", "--count", "--sum", "event.files", "--threads", "3", "--memory", "1"];
        assert_eq!(ask(&[&how[..], &["--strategy", strategy]].concat()), by_area, "{strategy}");
    }
    let log = lines(&bench.run(&[&["events"][..], &question].concat()).ok());
    let ordered = lines(&ask(&["--ordered"]));
    let id = |row: &Json| (row["event"].clone(), row["distinct_id"].clone());
    let of_log = |event: &Json| (event["event"].clone(), event["properties"]["distinct_id"].clone());
    assert_eq!(ordered.iter().map(id).collect::<Vec<_>>(), log.iter().map(of_log).collect::<Vec<_>>());
    assert_eq!((lines(&ask(&["--limit", "7"])).len(), ordered.len()), (7, rows.len()));
}

#[test]
fn measures_come_in_the_order_asked_for() {
    let bench = CliStore::new();
    for (user, id, properties) in [
        ("a", "1", json!({"n": 5, "x": "p"})),
        ("a", "2", json!({"n": 1, "x": "p"})),
        ("b", "3", json!({"n": 0.5, "x": "q"})),
        ("b", "4", json!({"n": "9", "x": "q"})),
        ("a", "5", json!({"n": 2, "x": "q"})),
    ] {
        track(&bench, user, id, properties);
    }
    let csv = |args: &[&str]| bench.run(&[&["join", "--format", "csv"], args].concat()).ok();
    assert_eq!(
        csv(&["--by", "event.x", "--sum", "event.n", "--uniques", "--count", "--avg", "event.n"]),
        "event.x,sum(event.n),uniques,count,avg(event.n)\np,6,1,2,3.0\nq,2.5,2,3,1.25\n"
    );
    assert_eq!(csv(&["--by", "event.x", "--top", "1"]), "event.x,count\nq,3\n");
    assert_eq!(
        csv(&["--max", "event.n", "--min", "event.n", "--max", "event.n"]),
        "max(event.n),min(event.n)\n9,0.5\n"
    );
    assert_eq!(csv(&["--count", "--from", "2025-01-01"]), "count\n0\n");
    assert_eq!(
        csv(&["--by", "event.x,event.$distinct_id,event.x"]),
        "event.x,event.$distinct_id,count\np,a,2\nq,b,2\nq,a,1\n"
    );
    let table = bench.run(&["join", "--by", "event.x", "--top", "1", "--format", "table"]).ok();
    assert_eq!(table, "event.x  count\nq            3\nand 1 more\n");
}

#[test]
fn what_is_not_set_is_told_from_what_is_empty() {
    let bench = CliStore::new();
    for (id, plan) in [("a", json!("")), ("b", Json::Null), ("c", json!(["x", null]))] {
        set(&bench, json!({"$distinct_id": id}), json!({"plan": plan}));
    }
    for id in ["a", "b", "c", "d"] {
        track(&bench, id, "1", json!({}));
    }
    let ask = |args: &[&str]| bench.run(&[&["join"], args].concat()).ok();
    let rows = ["--select", "user.plan", "--ordered"];
    assert_eq!(
        ask(&[&rows[..], &["--format", "table"]].concat()),
        "event  time                 distinct_id  user.plan\n\
         e      2024-01-01T00:00:00  a            (empty string)\n\
         e      2024-01-01T00:00:00  b            (not set)\n\
         e      2024-01-01T00:00:00  c            [\"x\",null]\n\
         e      2024-01-01T00:00:00  d            (not set)\n"
    );
    let plans = lines(&ask(&rows)).into_iter().map(|row| row["user.plan"].clone()).collect::<Vec<_>>();
    assert_eq!(plans, [json!(""), Json::Null, json!(["x", null]), Json::Null]);
    assert!(
        ask(&[&rows[..], &["--format", "csv"]].concat())
            .ends_with(",c,\"[\"\"x\"\",null]\"\ne,2024-01-01T00:00:00,d,\n")
    );
    assert_eq!(
        ask(&["--by", "user.plan", "--format", "table"]),
        "user.plan       count\n(not set)           3\n(empty string)      1\nx                   1\n"
    );
    assert_eq!(ask(&["--on", "users", "--inner"]).lines().count(), 3);
    assert_eq!(ask(&["--inner"]).lines().count(), 4);
    assert_eq!(ask(&["--count", "--on", "users", "--inner"]), "{\"count\":3}\n");
}

#[test]
fn a_plan_is_explained() {
    let bench = CliStore::new();
    set(&bench, json!({"$group_key": "company", "$group_id": "a"}), json!({"tier": "gold"}));
    track(&bench, "u", "1", json!({"company": "a"}));
    let ask = |args: &[&str]| bench.run(&[&["join", "--explain"], args].concat());
    let text = ask(&["--by", "user.plan", "--sum", "event.n", "--on", "company", "--threads", "2"]).ok();
    for part in ["events    about 1 in 1 days", "join      users", "join      group:company", "2 threads"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let plan: Json = serde_json::from_str(&ask(&["--max", "user.n", "--format", "json"]).ok()).unwrap();
    assert_eq!((plan["tables"].as_array().unwrap().len(), &plan["tables"][0]["table"]), (1, &json!("users")));
    let forced = ask(&["--on", "user:company", "--strategy", "lookup", "--format", "ndjson"]).ok();
    assert!(forced.contains(r#""strategy":"lookup""#) && forced.lines().count() == 1, "{forced}");
    ask(&["--format", "csv"]).failed(&["--explain is no table"]);
}

#[test]
fn bad_questions_are_refused_in_one_line() {
    let bench = CliStore::new();
    set(&bench, json!({"$group_key": "company", "$group_id": "a"}), json!({"tier": "gold"}));
    set(&bench, json!({"$distinct_id": "u"}), json!({"plan": "pro"}));
    let refused = |args: &[&str], named: &[&str]| drop(bench.run(&[&["join"], args].concat()).failed(named));
    let shapes = "event.NAME, user.NAME, group:KEY.NAME or user:KEY.NAME";
    refused(&["--select", "event.x,plan"], &["--select: ", "not a field", shapes, "value=\"plan\""]);
    refused(&["--by", "user."], &["--by: ", "not a field", "value=\"user.\""]);
    refused(&["--sum", "amount"], &["--sum: ", "not a field", "value=\"amount\""]);
    refused(&["--max", "group:company.n"], &["only fields of events and users can be measured", "group:company.n"]);
    for how in [&["--by", "group:team.x"][..], &["--select", "user:team.x"], &["--on", "team"], &["--on", "group:team"]]
    {
        refused(how, &["no such group key group_key=\"team\"", "the store has groups of \"company\""]);
    }
    track(&bench, "u", "1", json!({}));
    let said = ["`and` takes booleans, not", "2024-01-01T00:00:00", "u"];
    refused(&["--where", r#"user["plan"] and true"#, "--count"], &said);
    for conflict in [
        "--select event.x --by event.y",
        "--select event.x --count",
        "--ordered --by event.x",
        "--limit 3 --uniques",
        "--top 3",
        "--threads 0",
        "--memory 0",
        "--strategy guess",
    ] {
        let args: Vec<&str> = conflict.split(' ').collect();
        let ended = bench.run(&[&["join"], &args[..]].concat());
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{conflict}");
        assert!(ended.err.starts_with("error: ") && ended.err.contains(args[0]), "{conflict}: {}", ended.err);
    }
    let empty = CliStore::new();
    empty.run(&["join"]).failed(&["no store at "]);
    set(&empty, json!({"$distinct_id": "u"}), json!({"plan": "pro"}));
    empty.run(&["join", "--by", "group:team.x"]).failed(&["the store has no groups at all"]);
    assert_eq!(empty.run(&["join"]).ok(), "");
    assert_eq!(empty.run(&["events"]).ok(), "");
}

#[test]
fn profiles_are_counted_alone() {
    let bench = CliStore::new();
    for (id, properties) in [
        ("a", json!({"plan": "pro", "age": 31, "tags": ["x", "y"]})),
        ("b", json!({"plan": "free", "age": 27.5})),
        ("c", json!({"plan": "pro", "age": "n/a"})),
        ("d", json!({})),
    ] {
        set(&bench, json!({"$distinct_id": id}), properties);
    }
    set(&bench, json!({"$group_key": "company", "$group_id": 1}), json!({"tier": "gold", "p,q": 2}));
    let count = |args: &[&str]| lines(&bench.run(&[&["count"], args].concat()).ok());
    assert_eq!(count(&[]), [json!({"count": 4})]);
    assert_eq!(
        count(&["--by", "plan"]),
        [
            json!({"user.plan": "pro", "count": 2}),
            json!({"user.plan": "free", "count": 1}),
            json!({"user.plan": null, "count": 1}),
        ]
    );
    let age = ["--avg", "age", "--max", "age", "--median", "age", "--count"];
    let expected = json!({"avg(user.age)": 29.25, "max(user.age)": "n/a", "p50(user.age)": 27.5, "count": 4});
    assert_eq!(count(&age), [expected]);
    assert_eq!(count(&["--by", "tags,plan", "--where", r#"user["plan"] == "pro""#, "--top", "1"]).len(), 1);
    assert_eq!(
        count(&["--where", r#"properties["$distinct_id"] == "b" or user["$distinct_id"] == "d""#]),
        [json!({"count": 2})]
    );
    let company = ["--group", "company", "--by", r#"tier,"p,q""#, "--sum", r#""p,q""#];
    let expected = json!({"group:company.tier": "gold", "group:company.p,q": 2, "sum(group:company.p,q)": 2});
    assert_eq!(count(&company), [expected]);
    let csv = bench.run(&["count", "--by", "plan", "--format", "csv"]).ok();
    assert_eq!(csv, "user.plan,count\npro,2\nfree,1\n,1\n");

    let explain = |args: &[&str]| bench.run(&[&["count", "--explain"], args].concat());
    let plan = explain(&["--by", "plan", "--where", r#"user["age"] > 30"#]).ok();
    assert!(plan.starts_with("profiles  about 4 of users, each read once\n") && plan.contains("1 thread"), "{plan}");
    let plan: Json = serde_json::from_str(&explain(&["--group", "company", "--format", "json"]).ok()).unwrap();
    assert_eq!((&plan["scan"], &plan["estimates"]["events"]), (&json!("group:company"), &json!(1)));
    explain(&["--format", "csv"]).failed(&["--explain is no table"]);

    // A name that no profile has is an error that lists those there are, also where it is measured.
    for args in [["--by", "plam"], ["--sum", "plam"], ["--by", "user.plan"]] {
        bench.run(&[&["count"], &args[..]].concat()).failed(&["no profile has this property", args[1], "plan"]);
    }
    bench.run(&["count", "--group", "compny"]).failed(&["compny", "company"]);
    bench.run(&["count", "--where", r#"event["$day"] == 1"#]).failed(&["no event to refer to"]);
    bench.run(&["count", "--by", r#""plan"#]).failed(&["--by", "double quotes"]);
    let uniques = bench.run(&["count", "--uniques"]);
    assert!(uniques.code == 1 && uniques.err.contains("unexpected argument '--uniques'"), "{}", uniques.err);
    bench.run(&["count", "--by", "$distinct_id", "--buckets-max", "3"]).failed(&["more than 3 buckets"]);
    assert_eq!(count(&["--by", "$last_seen", "--where", r#"user["plan"] == "none""#]), [Json::Null; 0]);
}

#[test]
fn days_are_those_of_a_time_zone() {
    let bench = CliStore::new();
    let at = |id: &str, time: u64| {
        let event = json!({"event": "e", "properties": {"time": time, "distinct_id": "u", "$insert_id": id, "n": 7}});
        assert_eq!(bench.feed(&["track", "-", "--unbounded"], event.to_string().as_bytes()).figures(), (1, 0, 0));
    };
    // 23:30 of the day on which clocks went forward in Berlin, and half an hour after it.
    at("1", 1_711_920_600);
    at("2", 1_711_922_400);
    let days = |args: &[&str]| lines(&bench.run(&[&["events", "--days"], args].concat()).ok());
    assert_eq!(days(&[]), [json!({"day": "2024-03-31", "events": 2})]);
    let two = [json!({"day": "2024-03-31", "events": 1}), json!({"day": "2024-04-01", "events": 1})];
    assert_eq!(days(&["--tz", "Europe/Berlin"]), two);
    assert_eq!(days(&["--tz", "europe/berlin", "--from", "2024-04"]), two[1..]);
    assert_eq!(days(&["--tz", "Europe/Berlin", "--to", "2024-03-31T23:45:00"]), two[..1]);
    let hours =
        bench.run(&["join", "--tz", "Europe/Berlin", "--by", "event.$hour,bucket(event.n, 5)", "--top", "1"]).ok();
    let expected = json!({"event.$hour": "2024-03-31T23:00:00+02:00", "bucket(event.n, 5)": 5, "count": 1});
    assert_eq!(lines(&hours), [expected]);
    for command in [["events", "--days"], ["join", "--count"], ["delete-events", "--before=2024"]] {
        bench.run(&[&command[..], &["--tz", "Berlin"]].concat()).failed(&["--tz", "IANA", "\"Berlin\""]);
    }
    let deleted = bench.run(&["delete-events", "--before", "2024-04-01", "--tz", "Europe/Berlin"]).ok();
    assert_eq!(lines(&deleted), [json!({"deleted_events": 1, "events": 1})]);

    let user = |id: &str, age: Json| json!({"$distinct_id": id, "$set": {"age": age}});
    let update = json!([user("a", 31.into()), user("b", 39.5.into()), user("c", "?".into())]).to_string();
    assert_eq!(bench.feed(&["import", "-"], update.as_bytes()).figures(), (3, 0, 0));
    let ages = bench.run(&["count", "--by", "bucket(age, 10)"]).ok();
    let bucket = |age: Json, count| json!({"bucket(user.age, 10)": age, "count": count});
    assert_eq!(lines(&ages), [bucket(30.into(), 2), bucket(Json::Null, 1)]);
    bench.run(&["count", "--by", "bucket(age, 0)"]).failed(&["--by", "greater than zero"]);
    bench.run(&["count", "--by", "bucket(age, ten)"]).failed(&["--by", "not a number"]);
}
