//! The semantics of the language, case by case.

mod oracle;

use std::borrow::Cow;
use std::cell::RefCell;

use super::{Expr, Place, Reference, Scope};
use crate::error::{Error, Result};
use crate::model::{Object, Value};

pub(super) struct Sample {
    pub(super) properties: Object,
    pub(super) user: Object,
    pub(super) event: Object,
}

impl Scope for Sample {
    fn value(&self, _: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
        let of = match reference.place {
            Place::Properties => &self.properties,
            Place::User => &self.user,
            Place::Event => &self.event,
        };
        if reference.name == "broken" {
            return Err(Error::corrupt("broken"));
        }
        Ok(of.get(&reference.name).map(Cow::Borrowed))
    }
}

fn float(value: f64) -> Value {
    Value::try_from(value).unwrap()
}

pub(super) fn row() -> Sample {
    let nested = Object::from_iter([("k", Value::from(Object::from_iter([("n", 5)]))), ("null", Value::Null)]);
    let properties: [(&str, Value); 18] = [
        ("account_id", 3.into()),
        ("a", "1".into()),
        ("n", 5.into()),
        ("half", float(2.5)),
        ("whole", float(2.0)),
        ("$city", "Chicago".into()),
        ("$referring_domain", "www.Facebook.com".into()),
        ("signed up", "true".into()),
        ("empty", "".into()),
        ("null", Value::Null),
        ("yes", true.into()),
        ("no", false.into()),
        ("tags", ["ab", "c"].into()),
        ("mixed", Value::List(vec![2.into(), Value::Null, "ab".into()])),
        ("object", Object::from_iter([("k", 1)]).into()),
        ("date", "2024-03-01".into()),
        ("nested", nested.clone().into()),
        ("objects", Value::List(vec![nested.clone().into(), Object::from_iter([("k", 1)]).into(), 3.into()])),
    ];
    let user: [(&str, Value); 7] = [
        ("$email", "ann@example.com".into()),
        ("$last_seen", "2024-03-01T12:00:00".into()),
        ("it's \"it\"", 1.into()),
        ("plan", "pro".into()),
        ("vip", true.into()),
        ("nested", nested.into()),
        ("nested.k", "one name".into()),
    ];
    Sample {
        properties: Object::from_iter(properties),
        user: Object::from_iter(user),
        event: Object::from_iter([("$time", 1_709_294_400)]),
    }
}

/// The result of an expression: JSON, `undefined` or `error`.
pub(super) fn worth(expr: &Expr, scope: &(impl Scope + ?Sized)) -> String {
    match expr.eval(scope) {
        Ok(Some(value)) => value.to_string(),
        Ok(None) => "undefined".into(),
        Err(_) => "error".into(),
    }
}

fn parsed(text: &str) -> Expr {
    Expr::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let expr = parsed(text);
        assert_eq!(worth(&expr, &row()), *expected, "{text}");
        let printed = expr.to_string();
        assert_eq!(format!("{:?}", parsed(&printed)), format!("{expr:?}"), "{text} as {printed}");
        assert_eq!(expr.is_true(&row()).ok(), (*expected != "error").then_some(*expected == "true"), "{text}");
    }
}

#[test]
fn the_documented_expressions() {
    check(&[
        (r#"properties["account_id"] in [1,2,3,4]"#, "true"),
        (r#"properties["a"] in [1,2]"#, "false"),
        (r#"user["$email"] == "ann@example.com""#, "true"),
        (r#"defined(properties["n"])"#, "true"),
        (r#"not defined(properties["city"])"#, "true"),
        (r#"boolean(properties["signed up"])"#, "true"),
        (r#"(properties["$city"] == "Chicago")"#, "true"),
        (r#"(properties["$city"] != "Chicago")"#, "false"),
        (r#"("Facebook" in properties["$referring_domain"])"#, "true"),
        (r#"(not "Facebook" in properties["$referring_domain"])"#, "false"),
        (r#"(defined (properties["$device"]))"#, "false"),
        (r#"(not defined (properties["$device"]))"#, "true"),
        (r#"(properties["$city"] == "Chicago" and not "" in properties["$email"])"#, "true"),
        (r#"(defined (properties["old"]))"#, "false"),
        // Expressions that Mixpanel's reports send.
        (r#"(((properties["$city"]) == "Chicago") or ((properties["$city"]) == "Rome"))"#, "true"),
        (r#"(((properties["n"]) > 4) and ((properties["n"]) < 6))"#, "true"),
        (r#"((user["$last_seen"]) > datetime(1709251200000))"#, "true"),
        (
            r#"((user["$last_seen"]) >= datetime(1709251200000)) and (user["$last_seen"] <= datetime(1709294399999))"#,
            "false",
        ),
        (r#"(boolean((properties["yes"])) == true)"#, "true"),
        (r#"datetime(1709300000) > user["$last_seen"] or not defined (user["$last_seen"])"#, "true"),
        // From Mixpanel's page about hot shards.
        (
            "((defined (properties['tags'])) AND ((any(X, properties['tags'], X='c')) OR
                (string(properties['tags'], 'undefined') == 'c')))",
            "true",
        ),
        (r#"(number(properties["n"]) < 6)"#, "true"),
    ]);
}

#[test]
fn undefined_and_null() {
    check(&[
        (r#"defined(properties["none"])"#, "false"),
        (r#"defined(properties["null"])"#, "false"),
        (r#"defined(properties["empty"])"#, "true"),
        (r#"defined(1 / 0)"#, "false"),
        (r#"properties["null"] == null"#, "true"),
        (r#"properties["none"] == null"#, "false"),
        (r#"properties["none"] == properties["none"]"#, "false"),
        (r#"properties["none"] != properties["none"]"#, "true"),
        (r#"null in [null]"#, "true"),
        (r#"properties["none"]"#, "undefined"),
        (r#"properties["null"]"#, "null"),
    ]);
}

#[test]
fn members_of_objects() {
    check(&[
        (r#"properties["object"]["k"]"#, "1"),
        (r#"user["nested"]["k"]["n"] + 1"#, "6"),
        (r#"user["nested"]["k"]"#, r#"{"n":5}"#),
        (r#"user["nested"]["null"]"#, "null"),
        (r#"defined(user["nested"]["null"])"#, "false"),
        (r#"user["nested"]["null"]["n"]"#, "undefined"),
        (r#"user["nested"]["none"]"#, "undefined"),
        (r#"user["nested"]["none"]["n"]"#, "undefined"),
        (r#"user["none"]["k"]"#, "undefined"),
        // Only objects have members, and a name is not split.
        (r#"user["plan"]["0"]"#, "undefined"),
        (r#"properties["tags"]["0"]"#, "undefined"),
        (r#"properties["objects"]["k"]"#, "undefined"),
        (r#"event["$time"]["year"]"#, "undefined"),
        (r#"user["nested.k"]"#, r#""one name""#),
        (r#"any(x, properties["objects"], x["k"]["n"] == 5)"#, "true"),
        (r#"any(x, properties["objects"], x["k"] == 1)"#, "true"),
        (r#"all(x, properties["objects"], defined(x["k"]))"#, "false"),
        (r#"-user["nested"]["k"]["n"] in [-5]"#, "true"),
        (r#"string(user["nested"]["city"], "unknown")"#, r#""unknown""#),
        (r#"user["nested"]["none"] and true"#, "false"),
        (r#"user["nested"]["k"] and true"#, "error"),
    ]);
    assert_eq!(parsed(r#"user["nested"]["k"] == user["nested"]["n"]"#).references().len(), 1);
}

#[test]
fn numbers() {
    check(
        &[
            ("1 == 1.0", "true"),
            ("0.1 + 0.2 == 0.3", "false"),
            ("0.1 + 0.2", "0.30000000000000004"),
            ("9223372036854775807 + 1 - 1", "9223372036854775807"),
            ("9007199254740993 * 2 / 2", "9007199254740993"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-18446744073709551615", "-18446744073709551615"),
            ("18446744073709551617 - 18446744073709551616", "1"),
            ("18446744073709551617 == 18446744073709551616", "false"),
            ("18446744073709551617 in [18446744073709551616, 1.8446744073709552e19]", "false"),
            ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
            ("-170141183460469231731687303715884105728", "-170141183460469231731687303715884105728"),
            ("--170141183460469231731687303715884105728 - 1", "170141183460469231731687303715884105727"),
            ("- 000170141183460469231731687303715884105728 + 1", "-170141183460469231731687303715884105727"),
            ("-170141183460469231731687303715884105728 in [-170141183460469231731687303715884105728]", "true"),
            ("340282366920938463463374607431768211456.0", "3.402823669209385e+38"),
            ("number('18446744073709551617') == 18446744073709551617", "true"),
            ("number('-170141183460469231731687303715884105728')", "-170141183460469231731687303715884105728"),
            ("number('170141183460469231731687303715884105728')", "undefined"),
            ("number('-340282366920938463463374607431768211456')", "undefined"),
            ("7 / 2", "3.5"),
            ("6 / 2", "3"),
            ("6.0 / 2", "3.0"),
            ("1 / 0", "undefined"),
            ("1 % 0.0", "undefined"),
            ("1e300 * 1e300", "undefined"),
            ("-7 % 3", "-1"),
            ("7 % -3", "1"),
            ("7.5 % 2", "1.5"),
            ("2 - -3", "5"),
            ("2-3", "-1"),
            ("-(5)", "-5"),
            ("--5", "5"),
            ("-properties[\"n\"] + 1", "-4"),
            ("1 + 2 * 3 - 4 / 2", "5"),
            ("(1 + 2) * 3", "9"),
            ("10 - 3 - 2", "5"),
            ("10 - (3 - 2)", "9"),
            ("floor(-2.5)", "-3.0"),
            ("round(-2.5)", "-3.0"),
            ("round(2.5)", "3.0"),
            ("ceil(-2.5)", "-2.0"),
            ("round(7)", "7"),
            ("1. + 0.5e+1", "6.0"),
            ("1E3", "1000.0"),
        ][..31],
    );
}

#[test]
fn dates() {
    check(&[
        (r#"datetime("2024-03-01") == properties["date"]"#, "true"),
        (r#"datetime("2024-03-01T00:00:00") == properties["date"]"#, "true"),
        (r#""2024-03-01T00:00:00" == properties["date"]"#, "false"),
        (r#"properties["date"] != datetime(1709251200)"#, "false"),
        (r#"properties["date"] < datetime("2024-03-01T00:00:00.001Z")"#, "true"),
        (r#"datetime(properties["date"]) in ["2024-03-01"]"#, "true"),
        (r#"datetime(properties["date"]) in properties["tags"]"#, "false"),
        (r#"any(day, ["2024-03-01", "soon"], day < datetime("2024-04-01"))"#, "true"),
        (r#"all(day, ["2024-03-01", "soon"], day < datetime("2024-04-01"))"#, "false"),
        (r#"user["$last_seen"] > "2024-01-01""#, "undefined"),
        (r#"event["$time"] > datetime("2024-01-01")"#, "undefined"),
        (r#"datetime(event["$time"]) == datetime(user["$last_seen"])"#, "true"),
        (r#"datetime(event["$time"])"#, r#""2024-03-01T12:00:00""#),
        (r#"string(datetime("2024-03-01"))"#, r#""2024-03-01T00:00:00""#),
        (r#"number(datetime("2024-03-01"))"#, "1709251200000"),
        (r#"(number(datetime("2024-03-02")) - number(datetime("2024-03-01"))) / 3600000"#, "24"),
        (r#"datetime(number(datetime("2024-03-01"))) == datetime("2024-03-01")"#, "true"),
        (r#"datetime("2024-03-01T00:00:00+02:00")"#, "undefined"),
        (r#"datetime("2024-02-30")"#, "undefined"),
        (r#"datetime("yesterday", datetime(0))"#, r#""1970-01-01T00:00:00""#),
        (r#"datetime(1e300)"#, "undefined"),
    ]);
}

/// One of each type, and undefined, in the order of the tables below.
const TYPES: [&str; 8] = [
    r#"properties["none"]"#,
    "null",
    "true",
    "2",
    r#""ab""#,
    r#"datetime("2024-01-01")"#,
    r#"properties["mixed"]"#,
    r#"properties["object"]"#,
];

fn letter(expr: &Expr) -> char {
    match worth(expr, &row()).as_str() {
        "true" => 'T',
        "false" => 'F',
        "undefined" => '-',
        "error" => 'E',
        _ => 'v',
    }
}

#[test]
fn every_operator_on_every_two_types() {
    // One word for each left operand, and in it one letter for each right operand: undefined, null, boolean, number,
    // text, datetime, list, object.
    let none = "--------";
    let numbers = |both: &str| [none, none, none, &format!("---{both}----"), none, none, none, none].join(" ");
    let ordered = |both: &str| {
        let (number, time) = (format!("---{both}----"), format!("-----{both}--"));
        [none, none, none, &number, none, &time, none, none].join(" ")
    };
    let equal = "FFFFFFFF FTFFFFFF FFTFFFFF FFFTFFFF FFFFTFFF FFFFFTFF FFFFFFTF FFFFFFFT".to_owned();
    let unequal = equal
        .chars()
        .map(|c| {
            if c == 'T' {
                'F'
            } else if c == 'F' {
                'T'
            } else {
                c
            }
        })
        .collect();
    let within = "-------- ------T- ------F- ------T- ----T-T- ------F- ------F- ------F-";
    let plus = "-------- -------- -------- ---v---- ----v--- -------- -------- --------";
    let error = "EEEEEEEE";
    let table: [(&str, String); 14] = [
        ("==", equal),
        ("!=", unequal),
        ("<", ordered("F")),
        ("<=", ordered("T")),
        (">", ordered("F")),
        (">=", ordered("T")),
        ("in", within.into()),
        ("+", plus.into()),
        ("-", numbers("v")),
        ("*", numbers("v")),
        ("/", numbers("v")),
        ("%", numbers("v")),
        ("and", ["FFFFFFFF", error, "FETEEEEE", error, error, error, error, error].join(" ")),
        ("or", ["FETEEEEE", error, "TTTTTTTT", error, error, error, error, error].join(" ")),
    ];
    for (operator, expected) in table {
        let word = |a: &&str| TYPES.iter().map(|b| letter(&parsed(&format!("{a} {operator} {b}")))).collect::<String>();
        assert_eq!(TYPES.iter().map(word).collect::<Vec<_>>().join(" "), expected, "{operator}");
    }
    let among = |a: &&str| letter(&parsed(&format!("{a} in [2, null, \"ab\"]")));
    assert_eq!(TYPES.iter().map(among).collect::<String>(), "-TFTTFFF");
}

#[test]
fn every_function_on_every_type() {
    let (text, date) = (r#""ab""#, r#""2024-01-01T00:00:00""#);
    let mixed = r#""[2,null,\"ab\"]""#;
    let u = "undefined";
    let table: [(&str, [&str; 8]); 12] = [
        ("not", ["true", "error", "false", "error", "error", "error", "error", "error"]),
        ("-", [u, u, u, "-2", u, u, u, u]),
        ("floor", [u, u, u, "2", u, u, u, u]),
        ("round", [u, u, u, "2", u, u, u, u]),
        ("ceil", [u, u, u, "2", u, u, u, u]),
        ("defined", ["false", "false", "true", "true", "true", "true", "true", "true"]),
        ("string", [u, "null", r#""true""#, r#""2""#, text, date, mixed, r#""{\"k\":1}""#]),
        ("number", [u, u, "1.0", "2", u, "1704067200000", u, u]),
        ("boolean", ["false", "false", "true", "true", "true", "true", "true", "true"]),
        ("datetime", [u, u, u, r#""1970-01-01T00:00:02""#, u, date, u, u]),
        ("any(x, ", [u, u, u, u, u, u, "true", u]),
        ("all(x, ", [u, u, u, u, u, u, "false", u]),
    ];
    for (function, expected) in table {
        let call = |operand: &str| match function.strip_suffix(", ") {
            Some(_) => format!("{function}{operand}, x == 2)"),
            None => format!("{function}({operand})"),
        };
        let seen = TYPES.map(|operand| worth(&parsed(&call(operand)), &row()));
        assert_eq!(seen, expected, "{function}");
    }
}

#[test]
fn casts() {
    check(&[
        (r#"number("2.50")"#, "2.5"),
        (r#"number(" -7 ")"#, "-7"),
        (r#"number("1e2")"#, "100.0"),
        (r#"number("")"#, "undefined"),
        (r#"number("inf")"#, "undefined"),
        (r#"number("nan")"#, "undefined"),
        (r#"number("1e999")"#, "undefined"),
        (r#"number("0x10")"#, "undefined"),
        (r#"number("18446744073709551615")"#, "18446744073709551615"),
        ("number(false)", "0.0"),
        ("string(2.0)", "\"2\""),
        ("string(18446744073709551615 * 4 + 4)", "\"73786976294838206464\""),
        ("string(9223372036854775807 * -18)", "\"-166020696663385964526\""),
        ("string(1e20) == string(10000000000 * 10000000000)", "true"),
        (r#"string(properties["whole"]) == string(2)"#, "true"),
        ("string(-0.5)", "\"-0.5\""),
        (r#"boolean("false")"#, "false"),
        (r#"boolean("")"#, "false"),
        (r#"boolean("0")"#, "true"),
        ("boolean(0.0)", "false"),
        ("boolean(-1)", "true"),
        ("boolean([])", "true"),
        (r#"boolean(properties["none"], true)"#, "false"),
        (r#"string(properties["none"], "undefined")"#, "\"undefined\""),
        (r#"string(null, "other")"#, "null"),
        (r#"number("x", number("y", 3))"#, "3"),
        (r#"number("1", user["broken"])"#, "1"),
        (r#"number("x", user["broken"])"#, "error"),
    ]);
}

#[test]
fn logic() {
    check(&[
        (r#"properties["none"] > 1 or properties["n"] > 1"#, "true"),
        (r#"not properties["none"] > 1"#, "true"),
        ("not not true", "true"),
        ("true or 1 and false", "true"),
        ("false and 1", "false"),
        ("1 and false", "error"),
        ("not 1", "error"),
        ("not null", "error"),
        ("true and null", "error"),
        ("1 == 1 and 2 == 2 or 3 == 4", "true"),
        ("false or not false and true", "true"),
        ("true == not false", "true"),
        ("true or user['broken']", "true"),
        ("false and user['broken']", "false"),
        ("false or user['broken']", "error"),
        ("true and user['broken']", "error"),
        ("any(x, properties['mixed'], x == 2)", "true"),
        ("any(x, [], true)", "false"),
        ("all(x, [], false)", "true"),
        ("any(x, ['a', 1], x > 0)", "true"),
        ("all(x, ['a', 1], x > 0)", "false"),
        ("any(x, [1], x)", "error"),
        ("any(x, [true, 1], x)", "true"),
        ("all(x, [false, 1], x)", "false"),
        ("any(x, [[1, 2], [3]], any(y, x, y == 3 and 3 in x))", "true"),
        ("any(x, [[1], [2]], all(x, x, x == 2))", "true"),
        ("any(x, [1, 2], any(y, [2, 3], any(z, [4], x == y and z == 4)))", "true"),
        ("any(x, [1], true) and any(y, [1], y == 1)", "true"),
    ]);
    let error = parsed("true and null").eval(&row()).unwrap_err();
    assert!(error.is_invalid());
    assert_eq!(error.message(), "`and` takes booleans, not null");
    let error = parsed("any(x, ['a'], datetime(0))").eval(&row()).unwrap_err();
    assert_eq!(error.message(), "`any` takes booleans, not a datetime");
}

#[test]
fn expressions_are_printed_in_canonical_form() {
    for (text, printed) in [
        ("( ( 1 ) )", "1"),
        ("NOT Defined(Properties['a'])", r#"not defined(properties["a"])"#),
        ("(1 + 2) + 3 - (4 - 5)", "1 + 2 + 3 - (4 - 5)"),
        ("1 + (2 * 3)", "1 + 2 * 3"),
        ("(1 + 2) * -(3)", "(1 + 2) * -(3)"),
        ("-3 * --properties['a']", r#"-3 * --properties["a"]"#),
        ("(true and false) and true", "(true and false) and true"),
        ("(true or false) and true or false", "(true or false) and true or false"),
        ("not (true and false)", "not (true and false)"),
        ("not (1 = 2)", "not 1 == 2"),
        ("(not true) == false", "(not true) == false"),
        ("1 + not true", "1 + (not true)"),
        ("(1 < 2) == true", "(1 < 2) == true"),
        (r#"user['it\'s "it"']"#, r#"user["it's \"it\""]"#),
        (r#""\u00e9\ud83d\ude00\n\/\u0001""#, "\"\u{e9}\u{1f600}\\n/\\u0001\""),
        ("1 in [ 1 , -2.5,'a' , [ null ] ]", r#"1 in [1,-2.5,"a",[null]]"#),
        ("any(x,[1],x=1)", "any(x, [1], x == 1)"),
        ("User[ 'a' ] ['b'][\"c\"]", r#"user["a"]["b"]["c"]"#),
        ("any(x,[],x['a'][ 'b' ])", r#"any(x, [], x["a"]["b"])"#),
        ("string( 1,'a' )", r#"string(1, "a")"#),
        ("datetime( '2024-01-01' )", r#"datetime("2024-01-01")"#),
        ("100000000000000000000", "100000000000000000000"),
        ("1e20", "1e+20"),
        ("-(100000000000000000000)", "-(100000000000000000000)"),
    ] {
        let expr = parsed(text);
        assert_eq!(expr.to_string(), printed);
        assert_eq!(format!("{:?}", parsed(printed)), format!("{expr:?}"), "{text}");
    }
    assert_eq!(worth(&parsed(r#"user['it\'s "it"']"#), &row()), "1");
}

#[test]
fn errors_name_the_token_the_position_and_what_was_expected() {
    for (text, column, what) in [
        ("", 1, "found the end, expected a value"),
        ("  ", 3, "found the end, expected a value"),
        ("1 2", 3, "found `2`, expected an operator or the end"),
        ("(1", 3, "found the end, expected an operator or `)`"),
        ("1)", 2, "found `)`, expected an operator or the end"),
        ("1 <", 4, "found the end, expected a value"),
        ("1 < 2 < 3", 7, "found `<`, expected `and`, `or` or the end: comparisons do not chain"),
        ("1 == 2 in [3]", 8, "found `in`, expected `and`, `or` or the end: comparisons do not chain"),
        ("plan == 1", 1, r#"found `plan`, expected a value, such as properties["plan"] or "plan""#),
        ("properties.plan", 11, "found '.', which has no meaning here"),
        ("properties(1)", 11, "found `(`, expected `[` and the name of a property"),
        ("properties[plan]", 12, "found `plan`, expected the name of a property in quotes"),
        ("properties['plan' == 1", 19, "found `==`, expected `]`"),
        ("user['a'][0]", 11, "found `0`, expected the name of a property in quotes"),
        ("user['a']['b'", 14, "found the end, expected `]`"),
        ("(user['a'])['b']", 12, "found `[`, expected an operator or the end"),
        ("defined user['a']", 9, "found `user`, expected `(`"),
        ("number(1, 2, 3)", 12, "found `,`, expected an operator or `)`"),
        ("string(1 2)", 10, "found `2`, expected an operator, `,` or `)`"),
        ("floor(1, 2)", 8, "found `,`, expected an operator or `)`"),
        ("any(1, [], true)", 5, "found `1`, expected a name for the elements"),
        ("any(number, [], true)", 5, "found `number`, expected a name for the elements"),
        ("any(x, [1])", 11, "found `)`, expected an operator or `,`"),
        ("any(x, x, true)", 8, "found `x`, expected a value, such as"),
        ("any(x, [1], true) and x", 23, "found `x`, expected a value, such as"),
        ("[1, user['a']]", 5, "found `user`, expected a literal: lists contain only literals"),
        ("[1, -'a']", 5, "found `-`, expected a literal: lists contain only literals"),
        ("[1,]", 4, "found `]`, expected a literal"),
        ("[1 2]", 4, "found `2`, expected `,` or `]`"),
        ("1 and\n 'a", 8, "found an unterminated string"),
        (r"'a\x'", 3, r"found `\`, expected one of"),
        (r"'a\ud800'", 3, r"found `\`, expected one of"),
        (r"'a\u+123'", 3, r"found `\`, expected one of"),
        (".5", 1, "found '.', which has no meaning here"),
        ("1or 2", 1, "found `1or`, which is not a finite number"),
        ("2 + 1.2.3", 5, "found `1.2.3`, which is not a finite number"),
        ("1e999", 1, "found `1e999`, which is not a finite number"),
        ("1 < 170141183460469231731687303715884105728", 5, "found `170141183460469231731687...`, an integer of more"),
        ("-(170141183460469231731687303715884105728)", 3, "found `170141183460469231731687...`, an integer of more"),
        ("-170141183460469231731687303715884105729", 2, "found `170141183460469231731687...`, an integer of more"),
        ("1 in [1, 340282366920938463463374607431768211456]", 10, "found `340282366920938463463374...`, an integer"),
        ("[170141183460469231731687303715884105728]", 2, "found `170141183460469231731687...`, an integer of more"),
        ("'\u{e9}\u{1f600}' & 1", 6, "found '&', which has no meaning here"),
        ("1 ! 2", 3, "found '!', which has no meaning here"),
        ("and", 1, "found `and`, expected a value"),
        ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' 'b'", 36, "found `'b'`, expected an operator or the end"),
        ("1 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", 3, "found `'aaaaaaaaaaaaaaaaaaaaaaa...`, expected"),
    ] {
        let error = Expr::parse(text).unwrap_err();
        assert!(error.is_invalid());
        assert!(error.message().starts_with(what), "{text}: {error}");
        assert!(error.message().contains(&format!(" column={column} near=")), "{text}: {error}");
    }
    let error = Expr::parse("properties[\"plan\"] == \"pro\" or or 1").unwrap_err();
    assert_eq!(error.message(), r#"found `or`, expected a value column=32 near="n\"] == \"pro\" or or 1""#);
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = |open: &str, inner: &str, close: &str, times: usize| {
        let text = format!("{}{inner}{}", open.repeat(times), close.repeat(times));
        Expr::parse(&text).map(|expr| {
            assert_eq!(parsed(&expr.to_string()), expr);
            worth(&expr, &row());
        })
    };
    let most = Expr::DEPTH_MAX - 1;
    for (open, inner, close) in [
        ("not ", "true", ""),
        ("-", "user['a']", ""),
        ("floor(", "1", ")"),
        ("number(1, ", "1", ")"),
        ("any(x, [1], ", "true", ")"),
        ("[", "", "]"),
        ("", "1", " + 1"),
        ("", "user['a']", "['b']"),
        ("1 + (", "1", ")"),
        ("true == not ", "true", ""),
    ] {
        assert!(deep(open, inner, close, most / 2).is_ok(), "{open}");
        for times in [Expr::DEPTH_MAX + 1, 3 * Expr::DEPTH_MAX, 50_000] {
            let error = deep(open, inner, close, times).unwrap_err();
            assert!(error.message().starts_with("nested deeper than 100 levels column="), "{open} {error}");
        }
    }
    assert!(deep("not ", "true", "", most).is_ok());
    assert!(deep("", "1", " + 1", most).is_ok());
    assert!(deep("(", "1", ")", 2 * Expr::DEPTH_MAX).is_ok());
    assert!(deep("(", "1", ")", 50_000).is_err());
    assert!(deep("", "true", " and true", 50_000).is_ok(), "a conjunction is one level");
    assert!(deep("", "1 in [1", ",1", 0).is_err());

    let text = |bytes: usize| format!("'{}'", "a".repeat(bytes - 2));
    assert!(Expr::parse(&text(Expr::BYTES_MAX)).is_ok());
    let error = Expr::parse(&text(Expr::BYTES_MAX + 1)).unwrap_err();
    assert_eq!(error.message(), "an expression has at most 1048576 bytes bytes=1048577");
    // A text that is longer when printed than as given could not be parsed again.
    assert!(Expr::parse(&format!("'{}'", "\u{1}".repeat(Expr::BYTES_MAX / 2))).is_err());
}

#[test]
fn conjuncts_have_only_their_own_references() {
    let split = |text: &str| parsed(text).conjuncts().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(split("1 == 1"), ["1 == 1"]);
    assert_eq!(split("user['a'] or true and false"), [r#"user["a"] or true and false"#]);
    assert_eq!(split("(true and (false or true)) and 1"), ["true", "false or true", "1 and true"]);
    let expr = parsed("user['a'] < user['b'] and user['b'] == string(user['c'], user['a']) and any(x, user['c'], x)");
    let names: Vec<Vec<String>> = expr
        .conjuncts()
        .iter()
        .map(|part| part.references().iter().map(|reference| reference.name.clone()).collect())
        .collect();
    assert_eq!(names, [vec!["a", "b"], vec!["b", "c", "a"], vec!["c"]]);
    for part in expr.conjuncts() {
        assert_eq!(format!("{:?}", parsed(&part.to_string())), format!("{part:?}"));
    }
}

#[test]
fn the_index_is_the_position_among_the_references() {
    struct Asked(RefCell<Vec<(usize, String)>>);
    impl Scope for Asked {
        fn value(&self, index: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
            self.0.borrow_mut().push((index, reference.to_string()));
            Ok(Some(Cow::Owned(true.into())))
        }
    }
    let expr = parsed("user['b'] and user['a'] and (properties['b'] and user['b'] or event['a'])");
    let asked = Asked(RefCell::default());
    let scope: &dyn Scope = &asked;
    assert!(expr.is_true(scope).unwrap());
    let asked = asked.0.into_inner();
    assert_eq!(asked.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2, 0]);
    for (index, reference) in asked {
        assert_eq!(expr.references()[index].to_string(), reference);
    }
    assert_eq!(expr.references().len(), 4);
    assert_eq!(expr.references()[3], Reference { place: Place::Event, name: "a".into() });
}
