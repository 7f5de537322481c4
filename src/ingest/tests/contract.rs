//! What each operator and modifier has to do, row by row, as observed from outside.

use proptest::prelude::*;

use super::super::laws::check_update_wire;
use super::super::*;
use crate::limits::Limits;
use crate::model::{Kind, Profile, ProfileKey, Value};
use crate::ops::{Change, Update};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Reads one object by both ways in, which have to agree.
fn read(text: &str, rules: &Rules) -> Outcome<Record> {
    let outcome = Record::from_slice(text.as_bytes(), rules);
    let again = Record::from_value(json(text), rules);
    assert_eq!(format!("{outcome:?}"), format!("{again:?}"), "{text}");
    outcome
}

/// Applies what can be applied to one profile, and says what it is then and how many objects were rejected.
fn apply(objects: &[&str], rules: &Rules) -> (Option<Profile>, usize) {
    let mut rejects = 0;
    let profile = objects.iter().fold(None, |profile, text| match read(text, rules) {
        Ok(Record { change: Change::Update(update), .. }) => Profile::update(profile, &update),
        Ok(Record { change: Change::Delete, .. }) => None,
        Err(_) => {
            rejects += 1;
            profile
        }
    });
    (profile, rejects)
}

fn user(body: &str) -> String {
    format!(r#"{{"$token":"t","$distinct_id":"d",{body}}}"#)
}

fn group(body: &str) -> String {
    format!(r#"{{"$token":"t","$group_key":"company","$group_id":"g",{body}}}"#)
}

/// A sequence of bodies, and the properties that a user (and, where marked, a group) has at the end.
fn check(rules: &Rules, wrap: fn(&str) -> String, bodies: &[&str], expected: Option<&str>, rejects: usize) {
    let objects: Vec<_> = bodies.iter().map(|body| wrap(body)).collect();
    let objects: Vec<_> = objects.iter().map(String::as_str).collect();
    let (profile, rejected) = apply(&objects, rules);
    let properties = profile.map(|profile| Value::from(profile.into_properties()).to_string());
    assert_eq!(properties, expected.map(|text| json(text).to_string()), "{bodies:?}");
    assert_eq!(rejected, rejects, "{bodies:?}");
}

const ROLES: &str = r#""$set":{"roles":["sales","engineer"]}"#;
const TEXT: &str = r#""$set":{"s":"text"}"#;
const THREE: &str = r#""$set":{"n":3}"#;
const CHARGE: &str = r#""$append":{"$transactions":{"$amount":25}}"#;

/// Bodies of objects sent one after the other, and the properties at the end; none means no profile.
const ON_USERS: &[(&[&str], Option<&str>)] = &[
    (
        &[r#""$set":{"plan":"Premium"}"#, r#""$set":{"plan":"Enterprise","company":"mixpanel"}"#],
        Some(r#"{"plan":"Enterprise","company":"mixpanel"}"#),
    ),
    (
        &[r#""$set":{"name":"Sam"}"#, r#""$set_once":{"name":"Samantha","email":"sam@mail.com"}"#],
        Some(r#"{"name":"Sam","email":"sam@mail.com"}"#),
    ),
    (&[ROLES, r#""$append":{"roles":"legal"}"#], Some(r#"{"roles":["sales","engineer","legal"]}"#)),
    (
        &[ROLES, r#""$append":{"roles":"legal"}"#, r#""$append":{"roles":"legal"}"#],
        Some(r#"{"roles":["sales","engineer","legal","legal"]}"#),
    ),
    (&[ROLES, r#""$union":{"roles":["engineer"]}"#], Some(r#"{"roles":["sales","engineer"]}"#)),
    (&[ROLES, r#""$union":{"roles":["legal"]}"#], Some(r#"{"roles":["sales","engineer","legal"]}"#)),
    (&[ROLES, r#""$union":{"roles":"legal"}"#], Some(r#"{"roles":["sales","engineer","legal"]}"#)),
    (&[r#""$set":{"age":25}"#, r#""$add":{"age":2}"#, r#""$add":{"age":-5}"#], Some(r#"{"age":22}"#)),
    (&[r#""$set":{}"#, r#""$add":{"n":-3}"#], Some(r#"{"n":-3}"#)),
    (&[r#""$add":{"n":1}"#], Some(r#"{"n":1}"#)),
    (&[r#""$set":{"a":1}"#], Some(r#"{"a":1}"#)),
    (&[r#""$set_once":{"a":1}"#], Some(r#"{"a":1}"#)),
    (&[r#""$union":{"l":["a"]}"#], Some(r#"{"l":["a"]}"#)),
    (&[r#""$append":{"l":"a"}"#], Some(r#"{"l":["a"]}"#)),
    (&[r#""$remove":{"l":"a"}"#], None),
    (&[r#""$unset":["x"]"#], None),
    (&[TEXT, r#""$append":{"s":"x"}"#], Some(r#"{"s":"text"}"#)),
    (&[TEXT, r#""$union":{"s":["x"]}"#], Some(r#"{"s":"text"}"#)),
    (&[TEXT, r#""$remove":{"s":"text"}"#], Some(r#"{"s":"text"}"#)),
    (&[r#""$set":{"s":"5"}"#, r#""$add":{"s":2}"#], Some(r#"{"s":"5"}"#)),
    (&[THREE, r#""$add":{"n":"5"}"#], Some(r#"{"n":8}"#)),
    (&[THREE, r#""$add":{"n":" -0.5 "}"#], Some(r#"{"n":2.5}"#)),
    (&[THREE, r#""$add":{"n":"bad"}"#], Some(r#"{"n":3}"#)),
    (&[THREE, r#""$add":{"n":"NaN","m":1}"#], Some(r#"{"n":3,"m":1}"#)),
    (&[THREE, r#""$add":{"n":null,"a":[1],"b":true,"c":{}}"#], Some(r#"{"n":3}"#)),
    (&[r#""$add":{"n":"bad"}"#], None),
    (&[r#""$set":{"n":1,"m":2}"#, r#""$add":{"n":0.5,"m":1}"#], Some(r#"{"n":1.5,"m":3}"#)),
    (&[r#""$set":{"l":["a","b"]}"#, r#""$remove":{"l":"c"}"#], Some(r#"{"l":["a","b"]}"#)),
    (&[r#""$set":{"l":["a","b","a"]}"#, r#""$remove":{"l":"a"}"#], Some(r#"{"l":["b"]}"#)),
    (&[r#""$set":{"l":["a"]}"#, r#""$remove":{"l":"a"}"#], Some(r#"{"l":[]}"#)),
    (&[r#""$set":{"l":["a",["a"]]}"#, r#""$remove":{"l":["a"]}"#], Some(r#"{"l":["a"]}"#)),
    (&[r#""$set":{"l":[1,"1",1.0]}"#, r#""$union":{"l":[1,"1"]}"#], Some(r#"{"l":[1,"1"]}"#)),
    (&[r#""$set":{"l":["a"]}"#, r#""$append":{"l":["b","c"]}"#], Some(r#"{"l":["a",["b","c"]]}"#)),
    (&[r#""$set":{"a":1,"b":2}"#, r#""$unset":["a","zz"]"#], Some(r#"{"b":2}"#)),
    (&[r#""$set":{"a":1}"#, r#""$unset":"a""#], Some("{}")),
    (&[r#""$set":{"a":1,"b":2}"#, r#""$unset":{"a":"","c":1}"#], Some(r#"{"b":2}"#)),
    (&[r#""$set":{"a":{"x":1,"y":2}}"#, r#""$set":{"a":{"x":9}}"#], Some(r#"{"a":{"x":9}}"#)),
    (&[r#""$set":{"a":null}"#, r#""$set_once":{"a":1}"#], Some(r#"{"a":null}"#)),
    (&[r#""$set":{"o":{"x":1}}"#, r#""$merge":{"o":{"x":2,"y":3}}"#], Some(r#"{"o":{"x":2,"y":3}}"#)),
    (&[CHARGE, CHARGE, r#""$set":{"$transactions":[]}"#], Some(r#"{"$transactions":[]}"#)),
    (&[CHARGE, r#""$unset":["$transactions"]"#], Some("{}")),
    (&[r#""$set":{"a":1}"#, r#""$delete":"""#], None),
    (&[r#""$set":{"a":1}"#, r#""$delete":"""#, r#""$set":{"b":2}"#], Some(r#"{"b":2}"#)),
    (
        &[r#""$set":{"a":1}"#, r#""$add":{"a":1}"#, r#""$append":{"l":"x"}"#, r#""$unset":["a"]"#],
        Some(r#"{"l":["x"]}"#),
    ),
    // Nothing at all, under every operator.
    (&[r#""$set":{}"#], Some("{}")),
    (&[r#""$set_once":{}"#], Some("{}")),
    (&[r#""$add":{}"#], None),
    (&[r#""$append":{}"#], None),
    (&[r#""$union":{}"#], None),
    (&[r#""$union":{"l":[]}"#], None),
    (&[r#""$remove":{}"#], None),
    (&[r#""$merge":{}"#], None),
    (&[r#""$unset":[]"#], None),
    (&[r#""$unset":{}"#], None),
    // Names of the envelope are dropped, others that begin with a dollar stay.
    (&[r#""$set":{"$ip":"1.2.3.4","a":1}"#], Some(r#"{"a":1}"#)),
    (
        &[r#""$set":{"$token":1,"$distinct_id":1,"$group_key":1,"$group_id":1,"$ip":1,"$ignore_time":true,
                   "$last_seen":"never","$mp_first_event_time":1,"$email":"a@b.c","ip":"x"}"#],
        Some(r#"{"$email":"a@b.c","ip":"x"}"#),
    ),
    (&[r#""$set_once":{"$token":1,"a":1}"#, r#""$add":{"$ip":"x","n":1}"#], Some(r#"{"a":1,"n":1}"#)),
    (&[r#""$append":{"$token":1}"#, r#""$union":{"$ip":[1]}"#, r#""$merge":{"$ip":1}"#], None),
    (&[r#""$set":{"a":1}"#, r#""$unset":["$distinct_id","a"]"#], Some("{}")),
    // Keys that client libraries add, and unknown ones, are allowed next to an operator.
    (
        &[r#""$device_id":1,"$user_id":2,"$had_persisted_distinct_id":true,"$mp_metadata":{},"$source":"x",
               "mp_lib":"web","$new_thing":[1],"$ip":0,"$ignore_alias":"false","$latitude":1.5,"$set":{"a":1}"#],
        Some(r#"{"a":1}"#),
    ),
    (&[r#""$set":{"when":"2024-01-02T03:04:05"}"#], Some(r#"{"when":"2024-01-02T03:04:05"}"#)),
    // Null is absent, and PHP writes an empty object as a list.
    (
        &[r#""$set":{"a":1},"$time":null,"$ip":null,"$ignore_time":null,"$group_key":null,"$group_id":null,
               "$unset":null,"$properties":null,"$new_thing":null"#],
        Some(r#"{"a":1}"#),
    ),
    (
        &[
            r#""$set":[]"#,
            r#""$set_once":[]"#,
            r#""$add":[]"#,
            r#""$append":[]"#,
            r#""$union":[]"#,
            r#""$remove":[]"#,
            r#""$merge":[]"#,
        ],
        Some("{}"),
    ),
];

#[test]
fn operators_on_users() {
    for (bodies, expected) in ON_USERS {
        check(&Rules::new(), user, bodies, *expected, 0);
    }
}

#[test]
fn every_way_to_say_delete_deletes() {
    for operand in ["null", "\"\"", "\"null\"", "{}", "\"d\"", "false", "0", "[1]"] {
        for rules in [Rules::new(), Rules::new().strict(true)] {
            check(&rules, user, &[r#""$set":{"a":1}"#, &format!("\"$delete\":{operand}")], None, 0);
            check(&rules, group, &[r#""$set":{"a":1}"#, &format!("\"$delete\":{operand}")], None, 0);
        }
    }
}

#[test]
fn operators_on_groups() {
    const FEATURES: &str = r#""$set":{"features":["reports","alerts","cohorts"]}"#;
    let rows: &[(&[&str], Option<&str>, usize)] = &[
        (
            &[
                r#""$set":{"name":"Mixpanel"}"#,
                r#""$set_once":{"name":"mp","color":"purple"}"#,
                r#""$unset":["color"]"#,
            ],
            Some(r#"{"name":"Mixpanel"}"#),
            0,
        ),
        (
            &[FEATURES, r#""$union":{"features":["data pipeline","alerts"]}"#],
            Some(r#"{"features":["reports","alerts","cohorts","data pipeline"]}"#),
            0,
        ),
        (&[FEATURES, r#""$remove":{"features":"alerts"}"#], Some(r#"{"features":["reports","cohorts"]}"#), 0),
        (&[r#""$set":{}"#], None, 0),
        (&[r#""$set_once":{}"#], None, 0),
        (&[r#""$append":{"l":"x"}"#], None, 1),
        (&[r#""$merge":{"o":{}}"#], None, 1),
        (&[r#""$add":{"n":1}"#], None, 1),
    ];
    for (bodies, expected, rejects) in rows {
        check(&Rules::new(), group, bodies, *expected, *rejects);
    }
    let rules = Rules::new().add_on_groups(true);
    check(&rules, group, &[r#""$add":{"n":1}"#], Some(r#"{"n":1}"#), 0);
    check(&rules, group, &[r#""$append":{"n":1}"#], None, 1);
}

/// An object that is rejected, the field and a part of the reason; under which rules.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Always,
    Strict,
}
use When::{Always, Strict};

#[test]
fn what_is_refused_and_why() {
    let rows: &[(When, &str, Option<&str>, &str)] = &[
        (Always, r#""$increment":{"n":1}"#, Some("$increment"), "unknown operator operator=\"$increment\""),
        (Always, r#""$ip":0,"mp_lib":"x""#, None, "the object has no operator"),
        (Always, r#""$time":1"#, None, "the object has no operator"),
        (Always, r#""$delete":"","$set":{"a":1}"#, None, "one operator at a time operators=$set,$delete"),
        (Strict, r#""$set":{"a":1},"$add":{"a":1}"#, None, "one operator at a time operators=$set,$add"),
        (Always, r#""$set":[1]"#, Some("$set"), "the operand is an object type=list"),
        (Always, r#""$set":null"#, None, "the object has no operator"),
        (Always, r#""$set_once":1"#, Some("$set_once"), "the operand is an object type=number"),
        (Always, r#""$add":"n""#, Some("$add"), "the operand is an object type=string"),
        (Always, r#""$append":true"#, Some("$append"), "the operand is an object type=boolean"),
        (Always, r#""$set":{"a":1},"$delete":null"#, None, "one operator at a time operators=$set,$delete"),
        (Always, r#""$set":null,"$delete":null"#, None, "one operator at a time operators=$set,$delete"),
        (Strict, r#""$set":{"a":1},"$sett":{"b":1}"#, Some("$sett"), "unknown operator operator=\"$sett\""),
        (Strict, r#""$set":{"a":1},"plan":"pro""#, Some("plan"), "not a key of an update key=\"plan\""),
        (Strict, r#""$set":{"a":1},"$properties":{"b":1}"#, Some("$properties"), "without an operator"),
        (Strict, r#""$properties":{"b":1},"$time":1"#, Some("$time"), "an export has its time in $last_seen"),
        (Strict, r#""$set":{"a":1},"$ignore_time":"yes""#, Some("$ignore_time"), "a flag is true or false"),
        (Strict, r#""$set":{"$token":"t","a":1}"#, Some("$set.$token"), "the name is reserved"),
        (Strict, r#""$unset":["$ip"]"#, Some("$unset.$ip"), "the name is reserved"),
        (Always, r#""$merge":{"o":1}"#, Some("$merge.o"), "$merge takes an object type=number"),
        (Always, r#""$unset":null"#, None, "the object has no operator"),
        (Always, r#""$unset":["a",1]"#, Some("$unset"), "names that are strings type=number"),
        (Strict, r#""$unset":[]"#, Some("$unset"), "at least one name"),
        (Strict, r#""$union":{"l":[]}"#, Some("$union.l"), "at least one element"),
        (Strict, r#""$add":{"n":"5"}"#, Some("$add.n"), "$add takes a number value=\"5\""),
        (Strict, r#""$add":{"n":"bad"}"#, Some("$add.n"), "$add takes a number value=\"bad\""),
        (Strict, r#""$add":{"n":null}"#, Some("$add.n"), "$add takes a number type=null"),
        (Strict, r#""$add":{"m":1,"n":[1]}"#, Some("$add.n"), "$add takes a number type=list"),
        (Always, r#""$set":{"":1}"#, Some("$set."), "name is empty"),
        (Always, r#""$set":{"a":{"b":{"c":{"d":{}}}}}"#, Some("$set.a"), "levels deep"),
        (Always, r#""$time":"soon","$set":{}"#, Some("$time"), "value=\"soon\""),
        (Always, r#""$time":1e300,"$delete":"""#, Some("$time"), "of the years 0000 to 9999 value=1e300"),
        (Strict, r#""$time":"2023-11-14T22:13:20","$set":{}"#, Some("$time"), "a number of seconds"),
        (Strict, r#""$time":"1700000000","$set":{}"#, Some("$time"), "a number of seconds"),
        (Always, r#""$ignore_time":1,"$set":{"$last_seen":"x"}"#, Some("$set.$last_seen"), "0000 to 9999 value=\"x\""),
        (Strict, r#""$ignore_time":1,"$set":{"$last_seen":3}"#, Some("$set.$last_seen"), "$last_seen has the form"),
        (Always, r#""$properties":3"#, Some("$properties"), "$properties is an object"),
        (Always, r#""$properties":{"$last_seen":"x"}"#, Some("$properties.$last_seen"), "0000 to 9999"),
    ];
    for (when, body, field, reason) in rows {
        let text = user(body);
        let reject = read(&text, &Rules::new().strict(true)).expect_err(body);
        assert_eq!(reject.field.as_deref(), *field, "{body}");
        assert!(reject.reason.contains(reason), "{body}: {}", reject.reason);
        assert_eq!(reject.id.as_deref(), Some("d"), "{body}");
        assert_eq!(read(&text, &Rules::new()).is_err(), *when == Always, "{body}");
    }
}

#[test]
fn several_operators_have_one_order() {
    let body = r#""$unset":["u"],"$remove":{"l":"a"},"$union":{"l":["b"]},"$append":{"l":"a"},"$add":{"n":1},
        "$merge":{"o":{"y":2}},"$set_once":{"n":5,"once":1},"$set":{"n":3,"o":{"x":1},"u":1}"#;
    check(&Rules::new(), user, &[body], Some(r#"{"l":["b"],"n":4,"o":{"x":1,"y":2},"once":1}"#), 0);
    // All of it or nothing.
    check(&Rules::new(), user, &[r#""$set":{"a":1},"$merge":{"o":1}"#], None, 1);
}

#[test]
fn what_is_forgiven_is_noted() {
    let notes = |body: &str| read(&user(body), &Rules::new()).unwrap().notes;
    let [number] = &notes(r#""$add":{"n":"5"}"#)[..] else { panic!("one note") };
    assert_eq!((number.field.as_str(), &number.before), ("$add.n", &Some("5".into())));
    let skipped = notes(r#""$add":{"a":1,"b":"x","c":null}"#);
    let fields: Vec<_> = skipped.iter().map(|note| note.field.as_str()).collect();
    assert_eq!(fields, ["$add.b", "$add.c"]);
    assert_eq!(skipped[0].reason, "skipped: $add takes a number value=\"x\"");
    assert_eq!(notes(r#""$unset":[]"#).len(), 1);
    assert_eq!(notes(r#""$union":{"l":[],"m":1}"#)[0].field, "$union.l");
}

#[test]
fn ids() {
    let id = |id: &str| {
        let text = format!(r#"{{"$distinct_id":{id},"$set":{{}}}}"#);
        read(&text, &Rules::new()).map(|record| record.key.id().to_owned()).map_err(|reject| reject.reason)
    };
    for (wire, text) in [
        ("\"alice\"", "alice"),
        ("\" A \"", " A "),
        ("3", "3"),
        ("-3", "-3"),
        ("18446744073709551615", "18446744073709551615"),
        ("1.5", "1.5"),
        ("1.0", "1"),
        ("12345.0", "12345"),
        ("1.2345e4", "12345"),
        ("-0.0", "0"),
        ("true", "true"),
        ("false", "false"),
    ] {
        assert_eq!(id(wire).as_deref(), Ok(text));
    }
    for wire in ["null", "\"\""] {
        assert_eq!(id(wire).unwrap_err(), "$distinct_id, missing or empty");
    }
    let beyond = br#"{"$distinct_id":-12345678901234567890123,"$set":{}}"#;
    assert_eq!(Record::from_slice(beyond, &Rules::new()).unwrap().key.id(), "-12345678901234567890123");
    for wire in ["[]", "{}", "[\"a\"]", "9007199254740994.0", "1e300"] {
        assert!(id(wire).unwrap_err().starts_with("an id "), "{wire}");
    }
    assert!(id(&format!("\"{}\"", "x".repeat(65_536))).unwrap_err().contains("at most"));
    let number = read(r#"{"$group_key":"company","$group_id":3,"$set":{}}"#, &Rules::new()).unwrap();
    let string = read(r#"{"$group_key":"company","$group_id":"3","$set":{}}"#, &Rules::new()).unwrap();
    assert_eq!(number.key, string.key);
    let team = read(r#"{"$group_key":"team","$group_id":"3","$set":{}}"#, &Rules::new()).unwrap();
    assert_ne!(team.key, string.key);
}

#[test]
fn whose_update_it_is() {
    use Endpoint::{Any, Engage, Groups};
    const NO_USER: &str = "$distinct_id, missing or empty";
    const NO_KEY: &str = "$group_key, missing or empty";
    let user = || Ok(Kind::User);
    let company = || Ok(Kind::Group("company".into()));
    let rows: [(&str, [Result<Kind, &str>; 3]); 8] = [
        (r#""$distinct_id":"d""#, [user(), user(), Err(NO_KEY)]),
        (r#""$group_key":"company","$group_id":"g""#, [company(), Err(NO_USER), company()]),
        (r#""$group_key":"company""#, [Err("$group_id, missing"), Err(NO_USER), Err("$group_id, missing")]),
        (r#""$group_id":"g""#, [Err(NO_KEY), Err(NO_USER), Err(NO_KEY)]),
        (r#""$group_key":"","$group_id":"g""#, [Err(NO_KEY), Err(NO_USER), Err(NO_KEY)]),
        (r#""$group_key":3,"$group_id":"g""#, [Err("a group key is"), Err(NO_USER), Err("a group key is")]),
        (r#""$token":"t""#, [Err(NO_USER), Err(NO_USER), Err(NO_KEY)]),
        (
            r#""$distinct_id":"d","$group_id":"g","$group_key":"company""#,
            [Err("not both"), Err("not both"), Err("not both")],
        ),
    ];
    for (envelope, expected) in rows {
        for (endpoint, expected) in [Any, Engage, Groups].into_iter().zip(expected) {
            let text = format!(r#"{{{envelope},"$set":{{"a":1}}}}"#);
            let kind = read(&text, &Rules::new().endpoint(endpoint)).map(|record| record.key.kind().clone());
            match (kind, expected) {
                (Ok(kind), Ok(expected)) => assert_eq!(kind, expected),
                (Err(reject), Err(expected)) => assert!(reject.reason.contains(expected), "{text} {reject}"),
                (kind, expected) => panic!("{text} {endpoint:?}: {kind:?} but {expected:?}"),
            }
        }
    }
}

#[test]
fn times() {
    let seen = |objects: &[&str]| {
        let objects: Vec<_> = objects.iter().map(|body| user(body)).collect();
        let objects: Vec<_> = objects.iter().map(String::as_str).collect();
        let profile = apply(&objects, &Rules::new()).0.unwrap();
        profile.last_seen().map(|time| time.to_string())
    };
    const SET: &str = r#""$set":{"a":1},"$time":1700000000"#;
    let first = Some("2023-11-14T22:13:20".to_owned());
    assert_eq!(seen(&[SET]), first);
    for time in ["1700000000000", "1700000000.25", "\"1700000000\"", "\"1700000000000\"", "\"2023-11-14T22:13:20Z\""] {
        assert_eq!(seen(&[&format!(r#""$set":{{"a":1}},"$time":{time}"#)]), first);
    }
    for on in ["true", "1", "1.0", "\"1\"", "\"true\""] {
        assert_eq!(seen(&[SET, &format!(r#""$set":{{"b":2}},"$time":1800000000,"$ignore_time":{on}"#)]), first);
        assert_eq!(seen(&[&format!(r#""$set":{{"b":2}},"$time":1800000000,"$ignore_time":{on}"#)]), None);
        let restored = format!(r#""$set":{{"$last_seen":"2024-01-02T10:00:00"}},"$time":1,"$ignore_time":{on}"#);
        assert_eq!(seen(&[&restored]).as_deref(), Some("2024-01-02T10:00:00"));
    }
    for off in ["false", "0", "\"0\"", "\"false\"", "null", "\"TRUE\"", "2", "[]"] {
        let later = format!(r#""$set":{{"$last_seen":"2024-01-02T10:00:00"}},"$time":1800000000,"$ignore_time":{off}"#);
        assert_eq!(seen(&[SET, &later]).as_deref(), Some("2027-01-15T08:00:00"));
    }
}

#[test]
fn limits_stand_at_the_door() {
    let long = "n".repeat(300);
    let record = read(&user(&format!(r#""$set":{{"{long}":"{long}"}}"#)), &Rules::new()).unwrap();
    let Change::Update(update) = record.change else { panic!() };
    assert_eq!(update.ops()[0].0.len(), 255);
    let fields: Vec<_> = record.notes.iter().map(|note| note.field.clone()).collect();
    assert_eq!(fields, vec![format!("$set.{}", "n".repeat(255)); 2]);
    let reject = |body: &str| read(&user(body), &Rules::new().strict(true)).unwrap_err();
    let refused = reject(&format!(r#""$union":{{"u":["a","{long}"]}}"#));
    assert_eq!(refused.field.as_deref(), Some("$union.u[1]"));
    assert!(refused.reason.starts_with("a string has at most 255 characters chars=300 value=\"nnn"), "{refused}");
    // What was exported is restored as it was, from a file, and not from a client.
    let exported = user(&format!(r#""$properties":{{"p":"{long}"}}"#));
    assert!(read(&exported, &Rules::new()).unwrap().notes.is_empty());
    let sent = read(&exported, &Rules::new().endpoint(Endpoint::Engage)).unwrap();
    assert_eq!(sent.notes[0].field, "$properties.p");
    let mut limits = Limits::mixpanel();
    limits.update_bytes_max = 100;
    let rules = Rules::new().limits(limits);
    let text = user(&format!(r#""$set":{{"a":"{long}"}}"#));
    let reject = Record::from_slice(text.as_bytes(), &rules).unwrap_err();
    assert_eq!(reject.kind, crate::error::ErrorKind::LimitExceeded);
    assert!(crate::error::Error::from(reject).is_limit_exceeded());
}

#[test]
fn requests() {
    const GOOD: &str = r#"{"$distinct_id":"d","$set":{"a":1}}"#;
    let parse = |body: &str| parse_request(body.as_bytes(), &Rules::new());
    for body in ["", " \r\n\t"] {
        let error = parse(body).unwrap_err();
        assert!(error.is_invalid());
        assert_eq!(error.message(), "data, missing or empty");
    }
    assert_eq!(parse("[]").unwrap().len(), 0);
    assert_eq!(parse(GOOD).unwrap().len(), 1);
    let mixed = parse(&format!(r#"[{GOOD}, {{"$set":{{"a":1}}}}, 7, {GOOD}]"#)).unwrap();
    assert_eq!(mixed.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
    let reject = mixed[1].as_ref().unwrap_err();
    assert_eq!((reject.index, reject.line), (1, Some(1)));
    assert_eq!(reject.reason, "$distinct_id, missing or empty");
    assert_eq!(mixed[2].as_ref().unwrap_err().reason, "a record is a json object type=number");
    for damaged in [
        format!("[{GOOD}"),
        format!("[{GOOD} {GOOD}]"),
        format!("[{GOOD},]"),
        format!("{GOOD}}}"),
        format!("[{GOOD},{{\"a\":}}]"),
        "data=x".to_owned(),
    ] {
        assert!(parse(&damaged).unwrap_err().is_invalid(), "{damaged}");
    }
    let many = |n: usize| format!("[{}]", vec![GOOD; n].join(","));
    assert_eq!(parse(&many(2_000)).unwrap().len(), 2_000);
    assert!(parse(&many(2_001)).unwrap_err().is_limit_exceeded());
}

#[test]
fn an_export_is_taken_back() {
    use crate::model::Timestamp;
    let rich =
        json(r#"{"$email":"a@b.c","big":18446744073709551615,"f":2.0,"l":[1,"1",null,{"x":[]}],"$transactions":[]}"#);
    let Value::Object(rich) = rich else { panic!() };
    let update = rich.into_iter().fold(Update::new(), |update, (name, value)| update.set(name, value));
    let profiles = [
        update.clone().at(Timestamp::from_seconds(1_700_000_000)),
        update,
        Update::new().create(),
        Update::new().create().at(Timestamp::from_seconds(-1)),
    ]
    .map(|update| Profile::fold([&update]).unwrap());
    for key in [ProfileKey::user("d").unwrap(), ProfileKey::group("company", "g").unwrap()] {
        for profile in &profiles {
            let line = serde_json::to_string(&Exported::new(&key, profile)).unwrap();
            let record = read(&line, &Rules::new().strict(true)).unwrap();
            let Change::Update(update) = record.change else { panic!("{line}") };
            assert_eq!(record.key, key);
            let back = Profile::fold([&update]).unwrap();
            assert_eq!(&back, profile, "{line}");
            assert_eq!(serde_json::to_string(&Exported::new(&key, &back)).unwrap(), line);
        }
    }
}

#[test]
fn every_double_survives_an_export() {
    let key = ProfileKey::user("d").unwrap();
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        // Xorshift: no two runs differ.
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let double = f64::from_bits(bits);
        if !double.is_finite() {
            continue;
        }
        let profile = Profile::fold([&Update::new().set("x", double)]).unwrap();
        let line = serde_json::to_string(&Exported::new(&key, &profile)).unwrap();
        let Change::Update(update) = read(&line, &Rules::new()).unwrap().change else { panic!("{line}") };
        assert_eq!(Profile::fold([&update]).unwrap(), profile, "{line}");
    }
}

const IDS: &[&str] = &["\"$distinct_id\":\"d\"", "\"$group_key\":\"k\",\"$group_id\":7.0", "\"a\":null"];
/// Entries of an update object, right and wrong: keys, and the texts of their values.
const KEYS: &[&str] = &[
    "$distinct_id",
    "$group_key",
    "$group_id",
    "$time",
    "$ignore_time",
    "$properties",
    "$set",
    "$set_once",
    "$add",
    "$append",
    "$union",
    "$remove",
    "$unset",
    "$merge",
    "$delete",
    "$token",
    "$ip",
    "$sett",
    "plan",
];
const VALUES: &[&str] = &[
    "null",
    "1",
    "12345.0",
    "1.7e9",
    "1e300",
    "true",
    "\"d\"",
    "\"5\"",
    "\"2024-01-02\"",
    "{}",
    "[]",
    "[\"a\"]",
    "{\"a\":1}",
    "{\"a\":\"5\",\"a\":null}",
    "{\"a\":[\"LONG1\",\"LONG2\"]}",
    "{\"LONG\":{\"b\":1}}",
    "{\"$ip\":1}",
    "NaN",
    "{\"$last_seen\":\"2024-01-02\"}",
    "{\"$last_seen\":3}",
    "{\"n\":123456789012345678901}",
    "{\"s\":\"\\ud83d\"}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn strict_rules_refuse_exactly_what_lenient_rules_note(
        id in prop::sample::select(IDS),
        operator in prop::sample::select(&KEYS[5..15]),
        operand in prop::sample::select(VALUES),
        others in prop::collection::vec((prop::sample::select(KEYS), prop::sample::select(VALUES)), 0..3),
    ) {
        let others = others.into_iter().chain([(operator, operand)]);
        let others: String = others.map(|(key, value)| format!(",\"{key}\":{value}")).collect();
        let text = format!("{{{id}{others}}}").replace("LONG", &"x".repeat(255));
        prop_assert_eq!(check_update_wire(text.as_bytes()), Ok(()));
    }
}
