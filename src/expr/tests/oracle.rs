//! An independent reference implementation of the language, as simple as possible: the oracle of the tests.
//!
//! A [`Sketch`] prints itself with all parentheses and evaluates itself over owned values and doubles. It shares
//! nothing with the parser, the tree or the operators. Where doubles would have to round, it gives no result.

use proptest::prelude::*;

use super::{Expr, Sample, row, worth};
use crate::model::{Timestamp, Value};

#[derive(Clone, Debug)]
enum Sketch {
    /// A text with this meaning.
    Leaf(&'static str, Plain),
    Property(&'static str, &'static str),
    /// The variable of that name, if it is bound.
    Variable(&'static str),
    /// A member of a property or a variable.
    Member(Box<Sketch>, &'static str),
    Unary(&'static str, Box<Sketch>),
    Binary(&'static str, Box<Sketch>, Box<Sketch>),
    Default(&'static str, Box<Sketch>, Box<Sketch>),
    Each(&'static str, &'static str, Box<Sketch>, Box<Sketch>),
}

#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Time(i64),
    List(Vec<Plain>),
    Object(Vec<(String, Plain)>),
}

#[derive(Debug, PartialEq)]
enum Stop {
    /// The expression fails.
    Error,
    /// Doubles are not exact enough for a result.
    Inexact,
}

type Env = Vec<(&'static str, Plain)>;

fn plain(value: &Value) -> Plain {
    match value {
        Value::Null => Plain::Null,
        Value::Bool(value) => Plain::Bool(*value),
        Value::Number(number) => Plain::Number(number.as_f64()),
        Value::String(text) => Plain::Text(text.clone()),
        Value::List(elements) => Plain::List(elements.iter().map(plain).collect()),
        Value::Object(object) => {
            Plain::Object(object.iter().map(|(name, value)| (name.into(), plain(value))).collect())
        }
    }
}

/// `YYYY-MM-DD` and `YYYY-MM-DDTHH:MM:SS`, as milliseconds.
fn date(text: &str) -> Option<i64> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { 'd' } else { c }).collect();
    if shape != "dddd-dd-dd" && shape != "dddd-dd-ddTdd:dd:dd" {
        return None;
    }
    let field = |at: usize, length: usize| text.get(at..at + length).map_or(0, |digits| digits.parse::<i64>().unwrap());
    let (year, month, day) = (field(0, 4), field(5, 2), field(8, 2));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !(1..=12).contains(&month) || day < 1 || day > days[month as usize - 1] {
        return None;
    }
    // 365 days for each year before, and the leap days of 1 to year - 1 and of 0.
    let past = year - 1;
    let leaps = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    let since_epoch = 365 * past + leaps + days[..month as usize - 1].iter().sum::<i64>() + day - 1 - 719_162;
    let (hour, minute, second) = (field(11, 2), field(14, 2), field(17, 2));
    let fits = hour < 24 && minute < 60 && second < 60;
    fits.then_some((since_epoch * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000)
}

fn equal(a: &Plain, b: &Plain) -> bool {
    match (a, b) {
        (Plain::Undefined, _) | (_, Plain::Undefined) => false,
        (Plain::Time(time), Plain::Text(text)) | (Plain::Text(text), Plain::Time(time)) => date(text) == Some(*time),
        (a, b) => a == b,
    }
}

fn compare(operator: &str, a: &Plain, b: &Plain) -> Plain {
    let moment = |value: &Plain| match value {
        Plain::Time(time) => Some(*time as f64),
        Plain::Text(text) => date(text).map(|time| time as f64),
        _ => None,
    };
    let sides = match (a, b) {
        (Plain::Number(a), Plain::Number(b)) => Some((*a, *b)),
        (Plain::Time(_), _) | (_, Plain::Time(_)) => moment(a).zip(moment(b)),
        _ => None,
    };
    let Some((a, b)) = sides else { return Plain::Undefined };
    Plain::Bool(match operator {
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        _ => a >= b,
    })
}

fn cast(cast: &str, value: Plain) -> Plain {
    match (cast, value) {
        ("boolean", Plain::Undefined | Plain::Null) => Plain::Bool(false),
        ("boolean", Plain::Bool(value)) => Plain::Bool(value),
        ("boolean", Plain::Number(value)) => Plain::Bool(value != 0.0),
        ("boolean", Plain::Text(text)) => Plain::Bool(!text.is_empty() && text != "false"),
        ("boolean", _) => Plain::Bool(true),
        ("string", Plain::Bool(value)) => Plain::Text(format!("{value}")),
        ("string", Plain::Number(value)) if value.fract() == 0.0 => Plain::Text(format!("{}", value as i64)),
        ("string", Plain::Number(value)) => Plain::Text(format!("{value:?}")),
        ("string", Plain::Time(time)) => Plain::Text(Timestamp::from_millis(time).to_string()),
        ("string", value @ (Plain::List(_) | Plain::Object(_))) => Plain::Text(shown(value)),
        ("string", value) => value,
        ("number", Plain::Bool(value)) => Plain::Number(if value { 1.0 } else { 0.0 }),
        ("number", Plain::Text(text)) => text.trim().parse().map_or(Plain::Undefined, Plain::Number),
        ("number", Plain::Time(time)) => Plain::Number(time as f64),
        ("number", Plain::Number(value)) => Plain::Number(value),
        ("datetime", Plain::Text(text)) => date(&text).map_or(Plain::Undefined, Plain::Time),
        ("datetime", Plain::Time(time)) => Plain::Time(time),
        ("datetime", Plain::Number(value)) => {
            let millis = if value.abs() > 1e11 { value } else { value * 1_000.0 };
            let fits = (-62_167_219_200_000.0..253_402_207_201_000.0).contains(&millis);
            if fits { Plain::Time(millis as i64) } else { Plain::Undefined }
        }
        _ => Plain::Undefined,
    }
}

/// As JSON, for the few values that the row below has.
fn shown(value: Plain) -> String {
    match value {
        Plain::List(elements) => format!("[{}]", elements.into_iter().map(shown).collect::<Vec<_>>().join(",")),
        Plain::Object(entries) => {
            let entries = entries.into_iter().map(|(name, value)| format!("{name:?}:{}", shown(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        Plain::Text(text) => format!("{text:?}"),
        Plain::Time(time) => format!("{:?}", Timestamp::from_millis(time).to_string()),
        Plain::Undefined => "undefined".into(),
        Plain::Null => "null".into(),
        Plain::Bool(value) => value.to_string(),
        Plain::Number(value) if value.fract() == 0.0 => format!("{}", value as i64),
        Plain::Number(value) => format!("{value:?}"),
    }
}

fn arithmetic(operator: &str, a: f64, b: f64) -> Result<Plain, Stop> {
    let result = match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        _ => a % b,
    };
    if result.is_nan() || result.is_infinite() {
        return Ok(Plain::Undefined);
    }
    let exact = result.abs() < 1e12 && (result * 4_096.0).fract() == 0.0;
    if exact { Ok(Plain::Number(result)) } else { Err(Stop::Inexact) }
}

fn truth(value: Plain) -> Result<bool, Stop> {
    match value {
        Plain::Undefined => Ok(false),
        Plain::Bool(value) => Ok(value),
        _ => Err(Stop::Error),
    }
}

impl Sketch {
    fn is_unbound(&self, env: &Env) -> bool {
        match self {
            Self::Variable(name) => env.iter().all(|(bound, _)| bound != name),
            Self::Member(of, _) => of.is_unbound(env),
            _ => false,
        }
    }

    fn text(&self, names: &mut Vec<&'static str>) -> String {
        match self {
            Self::Leaf(text, _) => (*text).into(),
            Self::Property(place, name) => format!("{place}['{name}']"),
            Self::Variable(name) => if names.contains(name) { name } else { "null" }.to_string(),
            Self::Member(of, name) => match of.text(names).as_str() {
                "null" => "null".into(),
                of => format!("{of}['{name}']"),
            },
            Self::Unary(operator @ ("not" | "-"), a) => format!("({operator} ({}))", a.text(names)),
            Self::Unary(function, a) => format!("{function}({})", a.text(names)),
            Self::Binary(operator, a, b) => format!("({} {operator} {})", a.text(names), b.text(names)),
            Self::Default(cast, a, b) => format!("{cast}({}, {})", a.text(names), b.text(names)),
            Self::Each(each, name, list, test) => {
                let list = list.text(names);
                names.push(name);
                let test = test.text(names);
                names.pop();
                format!("{each}({name}, {list}, {test})")
            }
        }
    }

    fn eval(&self, row: &Sample, env: &mut Env) -> Result<Plain, Stop> {
        Ok(match self {
            Self::Leaf(_, value) => value.clone(),
            Self::Property(place, name) => {
                let of = if *place == "user" { &row.user } else { &row.properties };
                of.get(name).map_or(Plain::Undefined, plain)
            }
            Self::Variable(name) => match env.iter().rev().find(|(bound, _)| bound == name) {
                Some((_, value)) => value.clone(),
                None => Plain::Null,
            },
            Self::Member(of, name) => match of.eval(row, env)? {
                Plain::Object(entries) => {
                    let found = entries.into_iter().find(|(other, _)| other == name);
                    found.map_or(Plain::Undefined, |(_, value)| value)
                }
                // That is how a variable that is not bound is written, and its members.
                Plain::Null if of.is_unbound(env) => Plain::Null,
                _ => Plain::Undefined,
            },
            Self::Unary(operator, a) => unary(operator, a.eval(row, env)?)?,
            Self::Binary("and", a, b) => Plain::Bool(truth(a.eval(row, env)?)? && truth(b.eval(row, env)?)?),
            Self::Binary("or", a, b) => Plain::Bool(truth(a.eval(row, env)?)? || truth(b.eval(row, env)?)?),
            Self::Binary(operator, a, b) => binary(operator, a.eval(row, env)?, b.eval(row, env)?)?,
            Self::Default(to, a, b) => match cast(to, a.eval(row, env)?) {
                Plain::Undefined => b.eval(row, env)?,
                value => value,
            },
            Self::Each(each, name, list, test) => {
                let Plain::List(elements) = list.eval(row, env)? else { return Ok(Plain::Undefined) };
                let mut holds = Vec::new();
                for element in elements {
                    env.push((name, element));
                    let seen = test.eval(row, env).and_then(truth);
                    env.pop();
                    holds.push(seen?);
                    // The rest is not evaluated, and so cannot fail.
                    if holds.last() == Some(&(*each == "any")) {
                        break;
                    }
                }
                Plain::Bool(if *each == "any" { holds.contains(&true) } else { !holds.contains(&false) })
            }
        })
    }
}

fn unary(operator: &str, value: Plain) -> Result<Plain, Stop> {
    Ok(match (operator, value) {
        ("not", Plain::Undefined) => Plain::Bool(true),
        ("not", value) => Plain::Bool(!truth(value)?),
        ("defined", value) => Plain::Bool(!matches!(value, Plain::Undefined | Plain::Null)),
        ("-", Plain::Number(value)) => Plain::Number(0.0 - value),
        ("floor", Plain::Number(value)) => Plain::Number(value.floor()),
        ("ceil", Plain::Number(value)) => Plain::Number(value.ceil()),
        ("round", Plain::Number(value)) => Plain::Number(value.round()),
        ("-" | "floor" | "ceil" | "round", _) => Plain::Undefined,
        (to, value) => cast(to, value),
    })
}

fn binary(operator: &str, a: Plain, b: Plain) -> Result<Plain, Stop> {
    Ok(match (operator, a, b) {
        ("==", a, b) => Plain::Bool(equal(&a, &b)),
        ("!=", a, b) => Plain::Bool(!equal(&a, &b)),
        ("<" | "<=" | ">" | ">=", a, b) => compare(operator, &a, &b),
        (_, Plain::Undefined, _) => Plain::Undefined,
        ("in", a, Plain::List(elements)) => Plain::Bool(elements.iter().any(|element| equal(&a, element))),
        ("in", Plain::Text(a), Plain::Text(b)) => Plain::Bool(b.contains(&a)),
        ("+", Plain::Text(a), Plain::Text(b)) => Plain::Text(a + &b),
        ("+" | "-" | "*" | "/" | "%", Plain::Number(a), Plain::Number(b)) => arithmetic(operator, a, b)?,
        _ => Plain::Undefined,
    })
}

const PROPERTIES: &[&str] = &["none", "null", "n", "half", "a", "tags", "mixed", "object", "date", "yes", "empty"];

/// Members of members of properties and variables.
fn member() -> impl Strategy<Value = Sketch> {
    let of = prop_oneof![
        prop::sample::select(&["x", "y"]).prop_map(Sketch::Variable),
        prop::sample::select(&["nested", "object", "objects", "tags", "none"])
            .prop_map(|name| Sketch::Property("properties", name)),
        Just(Sketch::Property("user", "nested")),
    ];
    (of, prop::collection::vec(prop::sample::select(&["k", "n", "null", "none"]), 1..4))
        .prop_map(|(of, names)| names.into_iter().fold(of, |of, name| Sketch::Member(Box::new(of), name)))
}

fn leaf() -> impl Strategy<Value = Sketch> {
    let number = |text, value| Just(Sketch::Leaf(text, Plain::Number(value)));
    let text = |written, text: &str| Just(Sketch::Leaf(written, Plain::Text(text.into())));
    let truth = |text, value| Just(Sketch::Leaf(text, Plain::Bool(value)));
    let list = Plain::List(vec![Plain::Number(2.0), Plain::Text("ab".into()), Plain::Null, Plain::Bool(true)]);
    let dates = Plain::List(vec![Plain::Text("2024-03-01".into()), Plain::Text("b".into())]);
    prop_oneof![
        2 => prop_oneof![number("0", 0.0), number("1", 1.0), number("2", 2.0), number("2.0", 2.0), number("-3", -3.0)],
        1 => prop_oneof![number("0.5", 0.5), number("2.5", 2.5), number("-0.5", -0.5), number("86400", 86400.0)],
        2 => prop_oneof![text("''", ""), text("'a'", "a"), text("\"ab\"", "ab"), text("'5'", "5")],
        1 => text("'false'", "false"),
        1 => prop_oneof![text("'2024-03-01'", "2024-03-01"), text("'2024-03-01T12:00:00'", "2024-03-01T12:00:00")],
        3 => prop_oneof![truth("true", true), truth("false", false)],
        1 => Just(Sketch::Leaf("null", Plain::Null)),
        1 => prop_oneof![
            Just(Sketch::Leaf("[2, 'ab', null, true]", list)),
            Just(Sketch::Leaf("['2024-03-01', 'b']", dates)),
            Just(Sketch::Leaf("[]", Plain::List(Vec::new()))),
        ],
        3 => prop::sample::select(vec!["x", "y"]).prop_map(Sketch::Variable),
        4 => prop::sample::select(PROPERTIES).prop_map(|name| Sketch::Property("properties", name)),
        2 => member(),
        1 => prop::sample::select(&["objects", "nested"]).prop_map(|name| Sketch::Property("properties", name)),
        1 => prop::sample::select(&["plan", "vip", "$last_seen"]).prop_map(|name| Sketch::Property("user", name)),
    ]
}

/// Booleans are generated more often than uniformly, because most random expressions would be errors.
fn sketch() -> impl Strategy<Value = Sketch> {
    const UNARY: &[&str] = &["-", "floor", "round", "ceil"];
    const CASTS: &[&str] = &["string", "number", "boolean", "datetime"];
    const COMPARE: &[&str] = &["==", "!=", "<", "<=", ">", ">=", "in"];
    leaf().prop_recursive(5, 40, 3, |inner| {
        let any = || inner.clone().prop_map(Box::new);
        let of = |words: &'static [&'static str]| prop::sample::select(words);
        let test = (of(COMPARE), any(), any()).prop_map(|(word, a, b)| Sketch::Binary(word, a, b));
        let test = prop_oneof![
            4 => test,
            1 => any().prop_map(|a| Sketch::Unary("defined", a)),
            1 => any().prop_map(|a| Sketch::Unary("boolean", a)),
            1 => any().prop_map(|a| *a),
        ]
        .prop_map(Box::new)
        .boxed();
        let divisor = prop_oneof![Just("0"), Just("1"), Just("2"), Just("-4"), Just("0.5")]
            .prop_map(|text| Box::new(Sketch::Leaf(text, Plain::Number(text.parse().unwrap()))));
        prop_oneof![
            2 => test.clone().prop_map(|test| *test),
            3 => (of(&["and", "or"]), test.clone(), test.clone()).prop_map(|(word, a, b)| Sketch::Binary(word, a, b)),
            1 => test.clone().prop_map(|a| Sketch::Unary("not", a)),
            2 => (of(&["any", "all"]), of(&["x", "y"]), any(), test).prop_map(|(e, x, a, b)| Sketch::Each(e, x, a, b)),
            1 => (of(UNARY), any()).prop_map(|(word, a)| Sketch::Unary(word, a)),
            2 => (of(CASTS), any()).prop_map(|(word, a)| Sketch::Unary(word, a)),
            1 => (of(CASTS), any(), any()).prop_map(|(word, a, b)| Sketch::Default(word, a, b)),
            2 => (of(&["+", "-", "*", "%"]), any(), any()).prop_map(|(word, a, b)| Sketch::Binary(word, a, b)),
            1 => (any(), divisor).prop_map(|(a, b)| Sketch::Binary("/", a, b)),
        ]
    })
}

fn checked(text: &str) -> Result<(), TestCaseError> {
    let Ok(expr) = Expr::parse(text) else { return Ok(()) };
    let printed = expr.to_string();
    let again = Expr::parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
    prop_assert_eq!(format!("{:?}", again), format!("{:?}", expr), "{}", printed);
    worth(&expr, &row());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn the_implementation_agrees_with_the_oracle(sketch in sketch()) {
        let (row, text) = (row(), sketch.text(&mut Vec::new()));
        let expr = Expr::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        checked(&text)?;
        let seen = expr.eval(&row);
        match sketch.eval(&row, &mut Vec::new()) {
            Ok(Plain::Time(time)) => {
                prop_assert_eq!(seen.unwrap(), Some(Timestamp::from_millis(time).to_string().into()), "{}", text);
            }
            Ok(expected) => {
                let seen = seen.unwrap();
                prop_assert_eq!(seen.as_ref().map_or(Plain::Undefined, plain), expected, "{}", text);
            }
            Err(Stop::Error) => prop_assert!(seen.is_err(), "{}", text),
            Err(Stop::Inexact) => {}
        }
        // Evaluated in order, the conjuncts keep the row and fail on it as the whole expression does.
        let conditions = expr.conjuncts();
        let verdicts = conditions.iter().map(|part| part.is_true(&row).ok());
        let kept = verdicts.into_iter().find(|kept| *kept != Some(true)).unwrap_or(Some(true));
        prop_assert_eq!(kept, expr.is_true(&row).ok(), "{}", text);
        for part in conditions {
            checked(&part.to_string())?;
        }
    }

    #[test]
    fn an_integer_reads_as_itself_or_is_refused(value in any::<i128>(), shift in 0..128_u32, digit in 0..10_u8) {
        let value = value >> shift;
        let negated = value.checked_abs().map_or(i128::MIN, |value| -value);
        for (text, expected) in [(value.to_string(), value), (format!("- {}", value.unsigned_abs()), negated)] {
            checked(&text)?;
            let cast = format!("number('{expected}')");
            prop_assert_eq!(worth(&Expr::parse(&text).unwrap(), &row()), expected.to_string());
            prop_assert_eq!(worth(&Expr::parse(&cast).unwrap(), &row()), expected.to_string());
        }
        let longer = format!("{value}{digit}");
        match longer.parse::<i128>() {
            Ok(expected) => prop_assert_eq!(worth(&Expr::parse(&longer).unwrap(), &row()), expected.to_string()),
            Err(_) => prop_assert!(Expr::parse(&longer).unwrap_err().message().contains("more than 128 bits")),
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        checked(&text)?;
    }

    #[test]
    fn no_sequence_of_words_makes_the_parser_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "and", "or", "not", "in", "==", "=", "!=", "<", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", "1",
                "2.5", "1e5", "'a'", "\"b\"", "true", "null", "properties['n']", "user", "['plan']", "['k']", "floor(",
                "string(", "datetime(", "'2024-03-01'", "defined(", "any(x,", "all(y,", "x", "y", "[1,2]", "\\",
                "\u{e9}", "18446744073709551616", "170141183460469231731687303715884105728",
            ]),
            0..16,
        ),
        glue in prop::sample::select(vec!["", " "]),
    ) {
        checked(&words.join(glue))?;
    }
}
