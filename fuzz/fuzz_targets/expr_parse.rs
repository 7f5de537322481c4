//! No text upsets the parser of expressions; what it takes prints as a text that means the same, and evaluates.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use profiledb::expr::{Expr, Reference, Scope};
use profiledb::{Object, Result, Value};

/// Gives each reference a value by the length of its name alone, so that it is the same in each part of an expression.
struct Row;

impl Scope for Row {
    fn value(&self, _index: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
        Ok(match reference.name.len() % 9 {
            0 => Some(Value::Null),
            1 => Some(Value::from(reference.name.starts_with(char::is_lowercase))),
            2 => Some(Value::from(2)),
            3 => Value::try_from(-2.5).ok(),
            4 => Some(Value::from("2024-03-01")),
            5 => Some(Value::from(reference.name.as_str())),
            6 => Some(Value::List(vec![Value::from(1), Value::from("a"), Value::from(true), Value::Null])),
            7 => Some(Value::from(Object::from_iter([("a", 1)]))),
            _ => None,
        }
        .map(Cow::Owned))
    }
}

fn is_printed_faithfully(expr: &Expr) {
    let printed = expr.to_string();
    let again = Expr::parse(&printed).expect("what is printed can be parsed");
    assert_eq!(&again, expr);
    assert_eq!(again.to_string(), printed);
}

fuzz_target!(|text: &str| {
    let Ok(expr) = Expr::parse(text) else { return };
    is_printed_faithfully(&expr);
    let references = expr.references();
    assert!((1..references.len()).all(|index| !references[..index].contains(&references[index])));

    let kept = expr.is_true(&Row);
    match expr.eval(&Row) {
        Ok(value) => assert_eq!(kept.ok(), Some(value == Some(Value::from(true)))),
        Err(error) => assert!(error.is_invalid() && kept.is_err()),
    }
    let conditions = expr.conjuncts();
    conditions.iter().for_each(is_printed_faithfully);
    let verdict = conditions.iter().map(|part| part.is_true(&Row).ok()).find(|kept| *kept != Some(true));
    assert_eq!(verdict.unwrap_or(Some(true)), expr.is_true(&Row).ok());
});
