//! Conversion of scalars: ids, times and numbers, which clients send as more than one type.

use super::envelope::bare;
use super::reject::Reject;
use super::rules::Rules;
use crate::model::{Number, Timestamp, Value};
use crate::ops::excerpt;

/// A required field is missing. The reason has the last part of its path.
pub(super) fn missing(field: &str) -> Reject {
    let name = field.rsplit('.').next().unwrap_or(field);
    Reject::at(field, format!("{name}, missing or empty"))
}

/// The text of an id; none if it is missing or null. Clients send ids that look like numbers as numbers, which must
/// equal the string.
pub(super) fn id_text(field: &str, value: Option<Value>) -> Result<Option<String>, Reject> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(value)) => Ok(Some(value.to_string())),
        // The parser has rounded such a number, so two different ids could become the same.
        Some(Value::Number(number)) if number.is_beyond_64_bits() => {
            Err(Reject::at(field, format!("an id beyond 64 bits has to be a string value={number}")))
        }
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other @ (Value::List(_) | Value::Object(_))) => {
            Err(Reject::at(field, format!("an id is a string, a number or a boolean type={}", bare(&other))))
        }
    }
}

/// A time: a number, whose magnitude determines the unit, or, under lenient rules, a string that contains one.
pub(super) fn time_of(field: &str, value: &Value, rules: &Rules) -> Result<Timestamp, Reject> {
    let number = match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) if !rules.is_strict() => numeric(text),
        _ => None,
    };
    let Some(number) = number else {
        let shown = match value {
            Value::String(text) => format!("value={:?}", excerpt(text)),
            other => format!("type={}", bare(other)),
        };
        return Err(Reject::at(field, format!("a time is a number of seconds or milliseconds {shown}")));
    };
    Timestamp::from_number(number.as_f64()).map_err(|error| Reject { field: Some(field.into()), ..error.into() })
}

/// The number that a string contains in the syntax of JSON, with optional whitespace around it.
pub(super) fn numeric(text: &str) -> Option<Number> {
    serde_json::from_str(text).ok()
}
