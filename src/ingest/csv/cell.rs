//! Type inference: from the text of a cell to a value.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::ingest::envelope::value_of;
use crate::ingest::scalar::{numeric, read_time};
use crate::model::Value;
use crate::ops::excerpt;

/// What the cells of a column are converted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CellType {
    /// What it is in JSON, and otherwise its text: `5` is a number, `true` a boolean, `null` null, `["a"]` a list,
    /// and `007`, `+1` and `NaN` are texts. An integer of more than 128 bits and an object in which a name occurs
    /// twice are texts as well.
    #[default]
    Auto,
    /// The text as it is.
    Text,
    /// A number in the syntax of JSON.
    Number,
    /// `true`, `false`, `1` or `0`, in any case.
    Boolean,
    /// A time: seconds or milliseconds since 1970, or ISO 8601. It becomes the text YYYY-MM-DDTHH:MM:SS, in UTC.
    Date,
    /// Any JSON.
    Json,
}

impl CellType {
    /// The value of a cell that is not empty.
    pub(super) fn value(self, text: &str) -> Result<Value> {
        let fail = |what: &str| Err(Error::invalid(format!("{what} value={:?}", excerpt(text))));
        match self {
            Self::Auto => Ok(json(text).unwrap_or_else(|| text.into())),
            Self::Text => Ok(text.into()),
            Self::Number => numeric(text).map_or_else(|| fail("not a number"), |number| Ok(number.into())),
            Self::Boolean if text.eq_ignore_ascii_case("true") || text == "1" => Ok(true.into()),
            Self::Boolean if text.eq_ignore_ascii_case("false") || text == "0" => Ok(false.into()),
            Self::Boolean => fail("not a boolean, which is true, false, 1 or 0"),
            Self::Date => match read_time("", &text.into()) {
                Ok(time) => Ok(time.to_string().into()),
                Err(reject) => Err(Error::invalid(reject.reason)),
            },
            Self::Json => json(text).map_or_else(|| fail("not valid json"), Ok),
        }
    }
}

/// The value of a text that is JSON and is read without any change.
fn json(text: &str) -> Option<Value> {
    let is_possible = text
        .trim_ascii_start()
        .starts_with(['{', '[', '"', '-', 't', 'f', 'n', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    let (value, repairs) = if is_possible { value_of(text.as_bytes()).ok()? } else { return None };
    repairs.is_empty().then_some(value)
}

impl FromStr for CellType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "number" => Ok(Self::Number),
            "boolean" => Ok(Self::Boolean),
            "date" => Ok(Self::Date),
            "json" => Ok(Self::Json),
            _ => {
                let names = "a type is auto, text, number, boolean, date or json";
                Err(Error::invalid(format!("{names} value={text:?}")))
            }
        }
    }
}

impl fmt::Display for CellType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Json => "json",
        })
    }
}
