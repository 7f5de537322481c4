//! Events: in, out and gone, and what reports say of the log.

use std::fs;

use serde_json::{Value as Json, json};

use crate::store::{CliStore, EVENTS, gzip, lines};

fn event(name: &str, user: &str, time: u64, id: &str, properties: Json) -> String {
    let mut all = json!({"time": time, "distinct_id": user, "$insert_id": id});
    all.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    json!({"event": name, "properties": all}).to_string() + "\n"
}

/// Three users over three days: 2024-01-01 to 2024-01-03.
fn three_days() -> String {
    const DAY: u64 = 86_400;
    const START: u64 = 1_704_067_200;
    let mut input = event("signup", "a", START, "1", json!({"plan": "pro"}));
    input += &event("visit", "b", START + 60, "2", json!({"page": "/"}));
    input += &event("visit", "a", START + DAY, "3", json!({"page": "/x, \"y\""}));
    input += &event("visit", "", START + DAY, "4", json!({}));
    input += &event("buy", "b", START + 2 * DAY - 1, "5", json!({"amount": 2.5, "event": "spring"}));
    input + &event("buy", "a", START + 2 * DAY, "6", json!({"amount": 7}))
}

#[test]
fn events_come_in_every_shape_and_twice() {
    let bench = CliStore::new();
    let line = |id: &str| event("visit", "u", 1_704_067_200, id, json!({}));
    let plain = bench.file("plain.ndjson", line("a") + &line("b"));
    let array = bench.file("array.json", format!("[{},\n {}]", line("c"), line("d")));
    let packed = bench.file("packed.gz", gzip(line("e").as_bytes()));
    assert_eq!(bench.run(&["track", &plain, &array, &packed]).figures(), (5, 0, 0));
    assert_eq!(bench.feed(&["track", "-", "--sync"], line("f").as_bytes()).figures(), (1, 0, 0));
    assert_eq!(bench.feed(&["track", "-"], b"").figures(), (0, 0, 0));
    assert_eq!(bench.run(&["events"]).ok().lines().count(), 6);
    // What is sent again replaces what is there.
    assert_eq!(bench.run(&["track", &plain, &array, &packed]).figures(), (5, 0, 0));
    assert_eq!(bench.run(&["events"]).ok().lines().count(), 6);
    bench.run(&["track", "missing.ndjson"]).failed(&["missing.ndjson"]);
}

#[test]
fn a_refused_event_costs_itself_only() {
    let bench = CliStore::new();
    let mut input = String::new();
    for n in 0..200 {
        input += &event("visit", "u", 1_704_067_200 + n, &format!("v-{n}"), json!({}));
        if n % 40 == 0 {
            input += &event("visit", "anonymous", 1_704_067_200, &format!("bad-{n}"), json!({}));
        }
    }
    input += "{\"event\":\"visit\",\"properties\":{\"distinct_id\":\"u\"}}\n";
    input += "{\"event\":\"visit\",\"properties\":{\n";
    input += "{\"event\":\"visit\",\"properties\":{\"time\":1704067200,\"distinct_id\":\"late\"}}\n";
    input += &event("visit", "u", 4_102_444_800, "ahead", json!({}));
    let file = bench.file("mixed.ndjson", &input);
    let ended = bench.run(&["track", &file, "--rejects", "rejects.ndjson"]);
    assert_eq!((ended.code, ended.figures(), ended.err.as_str()), (2, (203, 6, 2), ""));
    let rejects = lines(&fs::read_to_string(bench.path("rejects.ndjson")).unwrap());
    let places: Vec<_> = rejects.iter().map(|reject| reject["line"].as_u64().unwrap()).collect();
    assert_eq!(places, [2, 43, 84, 125, 166, 207]);
    let expected = json!({"file": file, "line": 2, "index": 1, "id": "anonymous", "insert_id": "bad-0",
        "field": "properties.distinct_id", "reason": rejects[0]["reason"], "record": rejects[0]["record"]});
    assert_eq!(rejects[0], expected);
    assert_eq!(rejects[5]["record"], "{\"event\":\"visit\",\"properties\":{");
    assert_eq!(bench.run(&["events"]).ok().lines().count(), 203);

    // A time is missing, and another lies ahead: they were set to now.
    let strict = bench.run(&["track", &file, "--strict", "--db", "strict"]);
    assert_eq!((strict.code, strict.figures()), (2, (200, 9, 0)));
    assert_eq!(lines(&strict.err).len(), 9, "without a file, rejects go to the standard error");
}

/// Also what no longer keeps the limits, and what only the store has named.
#[test]
fn what_was_printed_is_taken_back() {
    let bench = CliStore::new();
    assert_eq!(bench.run(&["track", EVENTS]).figures(), (13_491, 0, 0));
    let odd = concat!(
        r#"{"event":"e","properties":{"time":1700000000123,"distinct_id":"u","event":"x","n":[1,{"k":null}]}}"#,
        r#"{"event":"\u20ac","properties":{"time":1700000000,"distinct_id":"","x":0.1,"y":12345678901234567890}}"#,
        r#"{"event":"e","properties":{"time":-1,"distinct_id":"\u0000","$insert_id":"not of the documented form"}}"#,
    );
    assert_eq!(bench.feed(&["track", "-", "--unbounded"], odd.as_bytes()).figures(), (3, 0, 1));
    let printed = bench.run(&["events"]).ok();
    assert_eq!(printed.lines().count(), 13_494);
    let again = bench.feed(&["track", "-", "--unbounded", "--db", "second"], printed.as_bytes());
    assert_eq!(again.figures(), (13_494, 0, 1));
    assert_eq!(bench.run(&["events", "--db", "second"]).ok(), printed);
    let array: Json = serde_json::from_str(&bench.run(&["events", "--format", "json"]).ok()).unwrap();
    assert_eq!(array.as_array().unwrap(), &lines(&printed));
}

#[test]
fn events_are_picked() {
    let bench = CliStore::new();
    assert_eq!(bench.feed(&["track", "-"], three_days().as_bytes()).figures(), (6, 0, 0));
    bench.feed(&["update", "-"], br#"{"$distinct_id":"b","$set":{"plan":"free"}}"#);
    let ids = |args: &[&str]| {
        let found = lines(&bench.run(&[&["events"], args].concat()).ok());
        found.iter().map(|event| event["properties"]["$insert_id"].as_str().unwrap().to_owned()).collect::<String>()
    };
    for (args, expected) in [
        (&[][..], "124356"),
        (&["--limit", "2"], "12"),
        (&["--user", "a"], "136"),
        (&["--user", ""], "4"),
        (&["--user", "nobody"], ""),
        (&["--user", "a", "--event", "visit", "--event", "buy"], "36"),
        (&["--user", "b", "--from", "2024-01-02"], "5"),
        (&["--user", "a", "--to", "2024-01-03", "--where", r#"defined(properties["page"])"#], "3"),
        (&["--event", "buy"], "56"),
        (&["--from", "2024-01-02"], "4356"),
        (&["--from", "2024-01-02", "--to", "2024-01-03"], "435"),
        (&["--to", "2024-01-01T01:01:00+01:00"], "1"),
        (&["--from", "1704067260", "--to", "1704067260001"], "2"),
        (&["--where", r#"properties["amount"] > 3"#], "6"),
        (&["--where", r#"user["plan"] == "free""#], "25"),
        (&["--where", r#"event["$day"] == "2024-01-02" and event["$distinct_id"] == """#], "4"),
    ] {
        assert_eq!(ids(args), expected, "{args:?}");
    }
    assert_eq!(
        bench.run(&["events", "--from", "2024-01-02", "--format", "csv"]).ok(),
        "event,time,distinct_id,amount,page,properties.event,$insert_id\n\
         visit,2024-01-02T00:00:00,,,,,4\n\
         visit,2024-01-02T00:00:00,a,,\"/x, \"\"y\"\"\",,3\n\
         buy,2024-01-02T23:59:59,b,2.5,,spring,5\n\
         buy,2024-01-03T00:00:00,a,7,,,6\n"
    );
    let table = bench.run(&["events", "--format", "table", "--user", "a"]).ok();
    assert!(table.starts_with("event   time                 distinct_id  amount  page"), "{table}");
}

#[test]
fn days_are_counted() {
    let bench = CliStore::new();
    bench.feed(&["track", "-"], three_days().as_bytes());
    let days = |args: &[&str]| bench.run(&[&["events", "--days", "--format", "csv"], args].concat()).ok();
    assert_eq!(days(&[]), "day,events\n2024-01-01,2\n2024-01-02,3\n2024-01-03,1\n");
    assert_eq!(days(&["--event", "visit"]), "day,events\n2024-01-01,1\n2024-01-02,2\n");
    assert_eq!(days(&["--user", "b", "--to", "2024-01-02"]), "day,events\n2024-01-01,1\n");
    assert_eq!(bench.run(&["events", "--days"]).ok().lines().next(), Some(r#"{"day":"2024-01-01","events":2}"#));
    assert_eq!(bench.run(&["events", "--days", "--limit", "1"]).code, 1);
}

#[test]
fn times_and_expressions_say_what_is_wrong() {
    let bench = CliStore::new();
    bench.feed(&["track", "-"], three_days().as_bytes());
    for bad in ["yesterday", "", "2024-13-01", "2024-13", "12:00"] {
        let value = format!("value={bad:?}");
        bench.run(&["events", "--from", bad]).failed(&["--from: not a time", "2024-01-31T13:00:00+01:00", &value]);
        bench.run(&["join", "--to", bad]).failed(&["--to: not a time", &value]);
        bench.run(&["delete-events", "--before", bad]).failed(&["--before: not a time", &value]);
    }
    for small in ["0", "202401", "20240101", "99999999"] {
        for (command, flag) in [("events", "--from"), ("join", "--to"), ("delete-events", "--before")] {
            let written = ["ambiguous number", "2024-01-31", small];
            bench.run(&[command, flag, small]).failed(&[&[flag], &written[..]].concat());
        }
    }
    let count = |from: &str, to: &str| bench.run(&["events", "--from", from, "--to", to]).ok().lines().count();
    assert_eq!((count("2024", "2025"), count("2024-01", "2024-02"), count("2023", "2024")), (6, 6, 0));
    bench.run(&["events", "--from", "2024-01-02", "--to", "2024-01-01"]).failed(&["--from is after --to"]);
    bench.run(&["join", "--from", "2024-01-02", "--to", "2024-01-02"]).failed(&["--to is excluded"]);
    for command in
        [&["events"][..], &["events", "--days"], &["join"], &["join", "--count"], &["join", "--by", "event.x"]]
    {
        let with = |args: &[&str]| bench.run(&[command, args].concat());
        with(&["--event", "Buy"]).failed(&["name=\"Buy\"", "the log has \"buy\", \"signup\", \"visit\""]);
        assert_eq!(with(&["--event", "buy", "--to", "2024-01-01"]).code, 0, "there are none before, but others");
    }
    for verb in ["events", "join", "list"] {
        let said = bench.run(&[verb, "--where", r#"properties["plan"] == or"#]);
        said.failed(&["--where", "found `or`, expected a value column=23", r#"near="ties[\"plan\"] == or""#]);
    }
    // What only shows on a row names the row.
    let said = bench.run(&["events", "--where", r#"not properties["plan"]"#]);
    said.failed(&["`not` takes booleans, not", "2024-01-01T00:00:00", "a"]);
}

#[test]
fn events_and_users_go() {
    let bench = CliStore::new();
    bench.feed(&["track", "-"], three_days().as_bytes());
    for id in ["a", "b", "c"] {
        bench.run(&["update", &format!(r#"{{"$distinct_id":"{id}","$set":{{"x":1}}}}"#)]);
    }
    assert_eq!(
        bench.run(&["delete-user", "a", "c", "nobody"]).ok(),
        "{\"distinct_id\":\"a\",\"deleted_events\":3,\"deleted_profile\":true}\n\
         {\"distinct_id\":\"c\",\"deleted_events\":0,\"deleted_profile\":true}\n\
         {\"distinct_id\":\"nobody\",\"deleted_events\":0,\"deleted_profile\":false}\n"
    );
    assert_eq!(bench.run(&["list", "--all", "--columns", "x"]).ok(), "{\"$distinct_id\":\"b\",\"x\":1}\n");
    assert_eq!(
        bench.run(&["delete-events", "--before", "2024-01-02T00:00:01"]).ok(),
        "{\"deleted_events\":2,\"events\":1}\n"
    );
    assert_eq!(bench.run(&["delete-events", "--before", "2024-01-02"]).ok(), "{\"deleted_events\":0,\"events\":1}\n");
    // The first event stays the first, though it is gone.
    let first = bench.run(&["list", "--columns", "$mp_first_event_time"]).ok();
    assert_eq!(first, "{\"$distinct_id\":\"b\",\"$mp_first_event_time\":\"2024-01-01T00:01:00\"}\n");
    bench.run(&["delete-user", ""]).failed(&["$distinct_id"]);
    bench.run(&["delete-user", "b", ""]).failed(&["$distinct_id"]);
    assert_eq!(bench.run(&["events"]).ok().lines().count(), 1);
    assert!(bench.run(&["delete-user", "--help"]).ok().contains("backups"));
}

#[test]
fn profiles_are_picked_and_empty_ones_are_counted() {
    let bench = CliStore::new();
    let input = r#"{"$distinct_id":"null","$time":0,"$set":{"plan":null}}
        {"$distinct_id":"none","$time":0,"$set":{"other":1}}
        {"$distinct_id":"text","$time":86400,"$set":{"plan":""}}
        {"$distinct_id":"void","$time":86400,"$set":{}}
        {"$group_key":"k","$group_id":"text","$time":0,"$set":{"plan":"gold"}}"#;
    assert_eq!(bench.feed(&["import", "-"], input.as_bytes()).figures(), (5, 0, 0));
    bench.feed(&["track", "-"], event("e", "seen", 1_704_067_200, "1", json!({})).as_bytes());
    bench.feed(&["track", "-"], event("e", "text", 1_704_067_200, "1", json!({})).as_bytes());
    let ids = |args: &[&str]| {
        let ended = bench.run(&[&["list"], args].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        let id = |row: &Json| row["$distinct_id"].as_str().or(row["$group_id"].as_str()).unwrap().to_owned();
        (lines(&ended.out).iter().map(id).collect::<Vec<_>>().join(" "), ended.err)
    };
    let said = "skipped profiles without properties; --all prints them count=1\n";
    for (expr, expected) in [
        (r#"defined(properties["plan"])"#, "text"),
        (r#"defined(user["plan"])"#, "text"),
        (r#"not defined(properties["plan"])"#, "none null"),
        (r#"properties["$last_seen"] > datetime("1970-01-01")"#, "text"),
        (r#"user["$mp_first_event_time"] >= datetime("2024-01-01")"#, "text"),
        (r#""e" in properties["$distinct_id"]"#, "none text"),
    ] {
        assert_eq!(ids(&["--where", expr]).0, expected, "{expr}");
    }
    assert_eq!(ids(&[]), ("none null text".into(), said.into()));
    assert_eq!(ids(&["--all"]), ("none null seen text void".into(), String::new()));
    assert_eq!(ids(&["--all", "--prefix", "se"]).0, "seen");
    assert_eq!(ids(&["--all", "--where", r#"defined(user["$mp_first_event_time"])"#]).0, "seen text");
    assert_eq!(ids(&["--prefix", "t"]), ("text".into(), String::new()));
    assert_eq!(ids(&["--group", "k", "--where", r#"properties["$group_id"] == "text""#]).0, "text");
    let seen = "{\"$distinct_id\":\"seen\",\"$mp_first_event_time\":\"2024-01-01T00:00:00\"}\n";
    assert_eq!(bench.run(&["list", "--all", "--prefix", "s"]).ok(), seen);
    bench.run(&["list", "--where", r#"event["$time"] == 1"#]).failed(&["no event to refer to"]);
    bench.run(&["list", "--where", r#"not properties["plan"]"#]).failed(&["id=\"null\"", "`not`"]);
}

#[test]
fn reports_know_the_log() {
    let bench = CliStore::new();
    bench.feed(&["track", "-"], three_days().as_bytes());
    bench.run(&["update", r#"{"$distinct_id":"b","$set":{"x":1}}"#]);
    let tables = bench.run(&["tables"]).ok();
    assert_eq!(tables, "{\"table\":\"users\",\"profiles\":1}\n{\"table\":\"events\",\"events\":6}\n");
    assert_eq!(bench.run(&["tables", "--format", "csv"]).ok(), "table,profiles,events\nusers,1,\nevents,,6\n");
    let stats = lines(&bench.run(&["stats"]).ok());
    assert_eq!((&stats[0]["profiles_estimate"], &stats[1]["events_estimate"]), (&json!(1), &json!(6)));
    let check = lines(&bench.run(&["check"]).ok()).remove(0);
    let of = |table: &str| check["tables"].as_array().unwrap().iter().find(|row| row["table"] == table).unwrap();
    assert_eq!((&of("events")["events"], &of("users")["events"]), (&json!(6), &json!(2)));
    bench.run(&["compact"]).ok();
    assert_eq!(bench.run(&["tables"]).ok(), tables);
}

/// Whoever reads events is told of one that cannot be read, and where it lies; nothing is printed in its place.
#[test]
fn a_damaged_event_is_an_error_with_its_place() {
    let bench = CliStore::new();
    bench.feed(&["track", "-"], three_days().as_bytes());
    bench.run(&["compact"]).ok();
    {
        let store = bench.path("store");
        let families = rocksdb::DB::list_cf(&rocksdb::Options::default(), &store).unwrap();
        let raw = rocksdb::DB::open_cf(&rocksdb::Options::default(), &store, families).unwrap();
        let log = raw.cf_handle("events").unwrap();
        let key = raw.iterator_cf(log, rocksdb::IteratorMode::Start).nth(3).unwrap().unwrap().0;
        raw.put_cf(log, key, b"damage").unwrap();
        raw.flush_cf(log).unwrap();
    }
    let place = ["corrupt", "2024-01-02T00:00:00", "\"a\""];
    assert_eq!(bench.run(&["events"]).failed(&place).out.lines().count(), 3);
    bench.run(&["events", "--user", "a"]).failed(&place);
    bench.run(&["events", "--days"]).failed(&place);
    bench.run(&["events", "--where", "true"]).failed(&place);
    assert_eq!(bench.run(&["events", "--limit", "3"]).ok().lines().count(), 3);
    bench.run(&["join", "--by", "user.x"]).failed(&place);
    assert_eq!(bench.run(&["events", "--from", "2024-01-03"]).ok().lines().count(), 1);
    let check = bench.run(&["check", "--format", "table"]);
    assert_eq!(check.code, 2);
    assert!(check.out.contains("NOT SOUND"), "{check:?}");
}

/// Sealing changes nothing that is printed, but for the reports that name the tiers.
#[test]
fn sealed_events_are_printed_as_before() {
    let bench = CliStore::new();
    let file = bench.file("events.ndjson", three_days());
    bench.run(&["track", &file]).ok();
    let commands: [&[&str]; 5] = [
        &["events"],
        &["events", "--user", "a"],
        &["events", "--days"],
        &["join", "--by", "event.event", "--count", "--uniques"],
        &["events", "--from", "2024-01-02", "--to", "2024-01-03"],
    ];
    let print = || commands.map(|command| bench.run(command).ok());
    let before = print();
    let sealed: Json = serde_json::from_str(&bench.run(&["seal"]).ok()).unwrap();
    assert_eq!((&sealed["days"], &sealed["events"], &sealed["replaced"]), (&json!(3), &json!(6), &json!(0)));
    assert_eq!(print(), before);
    // A changed event replaces the sealed one.
    let again = bench.file("again.ndjson", event("buy", "a", 1_704_240_000, "6", json!({"amount": 8})));
    bench.run(&["track", &again]).ok();
    assert_eq!(bench.run(&["events"]).ok().lines().count(), 6);
    assert!(bench.run(&["events", "--user", "a"]).ok().contains("\"amount\":8"));
    let sealed: Json = serde_json::from_str(&bench.run(&["seal"]).ok()).unwrap();
    assert_eq!((&sealed["events"], &sealed["replaced"]), (&json!(1), &json!(1)));
    let stats = bench.run(&["stats", "--format", "ndjson"]).ok();
    let segments = lines(&stats).into_iter().find(|table| table["table"] == "segments").unwrap();
    assert_eq!(segments["events_estimate"], 6);
    let report = bench.run(&["check", "--format", "json"]).ok();
    let report: Json = serde_json::from_str(&report).unwrap();
    let events: Vec<_> =
        report["tables"].as_array().unwrap().iter().map(|table| (&table["table"], &table["events"])).collect();
    assert!(
        events.contains(&(&json!("segments"), &json!(6))) && events.contains(&(&json!("events"), &json!(0))),
        "{events:?}"
    );
    bench.run(&["delete-user", "b"]).ok();
    assert!(!bench.run(&["events"]).ok().contains("\"b\""));
}
