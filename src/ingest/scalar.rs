//! Conversion of scalars: ids, times and numbers, which clients send as more than one type.

use super::envelope::{bare, is_on};
use super::reject::Reject;
use super::rules::Rules;
use crate::model::{Number, Timestamp, Value};
use crate::ops::{Note, admit_ahead, excerpt};

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
        // A whole number is one id however it is written.
        Some(Value::Number(number)) => match number.as_id() {
            Some(id) => Ok(Some(id)),
            None => {
                let reason = "an id of 2^53 or more has to be a string or an integer without a point and an exponent";
                Err(Reject::at(field, format!("{reason} value={number}")))
            }
        },
        Some(other @ (Value::List(_) | Value::Object(_))) => {
            Err(Reject::at(field, format!("an id is a string, a number or a boolean type={}", bare(&other))))
        }
    }
}

/// A flag of the envelope. Client libraries send `true`, `1`, `"1"` and `"true"` for it, and the like for its absence.
/// Anything else is taken as absent.
pub(super) fn flag(
    field: &'static str,
    value: Option<&Value>,
    rules: &Rules,
    notes: &mut Vec<Note>,
) -> Result<bool, Reject> {
    let Some(value) = value else { return Ok(false) };
    let is_off = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.is_zero(),
        Value::String(text) => text == "0" || text == "false",
        _ => false,
    };
    if !is_off && !is_on(value) {
        let reject = Reject::at(field, format!("a flag is true or false value={:?}", excerpt(&value.to_string())));
        rules.warn_or_reject(notes, reject, "taken as false", Some(value))?;
    }
    Ok(is_on(value))
}

/// The time that a client sent, of an update or of an event: seconds, or milliseconds above 1e11, or, under lenient
/// rules, a text with such a number or with a date and a time in ISO 8601.
pub(super) fn time_of(field: &str, value: &Value, rules: &Rules, notes: &mut Vec<Note>) -> Result<Timestamp, Reject> {
    let time = read_time(field, value)?;
    if let Value::String(text) = value {
        let reason = format!("a time is a number of seconds or milliseconds value={:?}", excerpt(text));
        rules.warn_or_reject(notes, Reject::at(field, reason), "converted", Some(value))?;
    }
    let ahead = rules.current_time().and_then(|now| Some((now, admit_ahead(time, rules.bounds(), now).err()?)));
    if let Some((now, error)) = ahead {
        let reject = Reject { field: Some(field.into()), ..error.into() };
        rules.warn_or_reject(notes, reject, "set to now", Some(value))?;
        return Ok(now);
    }
    Ok(time)
}

/// The one reader of times on the wire.
pub(super) fn read_time(field: &str, value: &Value) -> Result<Timestamp, Reject> {
    let time = match value {
        Value::Number(number) => Timestamp::from_number(number.as_f64()).ok(),
        Value::String(text) => match numeric(text) {
            Some(number) => Timestamp::from_number(number.as_f64()).ok(),
            None => Timestamp::parse(text).ok(),
        },
        _ => None,
    };
    time.ok_or_else(|| {
        let shown = match value {
            Value::Number(number) => format!("value={number}"),
            Value::String(text) => format!("value={:?}", excerpt(text)),
            other => format!("type={}", bare(other)),
        };
        let forms = "a time is a number of seconds or milliseconds, or YYYY-MM-DDTHH:MM:SS, of the years 0000 to 9999";
        Reject::at(field, format!("{forms} {shown}"))
    })
}

/// The number that a string contains in the syntax of JSON, with optional whitespace around it.
pub(super) fn numeric(text: &str) -> Option<Number> {
    serde_json::from_str(text).ok()
}
