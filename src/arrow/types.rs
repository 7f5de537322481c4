//! The types of columns.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};

/// The key of a field's metadata under which its [`ColumnType`] is.
const METADATA_KEY: &str = "profiledb.type";

/// The type of a column of a record batch: which values it can hold, and how.
///
/// A value that is not set, or null, is null in a column of any type. Any other value that does not fit is an error.
///
/// ```
/// use profiledb::arrow::ColumnType;
///
/// assert_eq!(ColumnType::List(Box::new(ColumnType::Int64)).to_string(), "list<int64>");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnType {
    /// Strings, as they are: `Dictionary(UInt32, Utf8)`.
    Text,
    /// Any value, as its JSON: `Dictionary(UInt32, Utf8)`. The string `a` is `"a"`, in quotes.
    Json,
    /// `true` and `false`: `Boolean`.
    Boolean,
    /// Integers of 64 bits: `Int64`. A number that is shown as a float does not fit, even if it is whole.
    Int64,
    /// Numbers that are equal to a double: `Float64`. Every number that is shown as a float is; an integer is if it
    /// loses no digit.
    Float64,
    /// Times: `Timestamp(Millisecond, "UTC")`. Text fits if [`Timestamp::parse`](crate::Timestamp::parse) reads it
    /// and it has no fraction of a millisecond.
    Timestamp,
    /// Lists of values of a type: `List`. A null in a list is a null element.
    List(Box<ColumnType>),
}

impl ColumnType {
    /// The type of Arrow.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8)),
            Self::Boolean => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::List(element) => DataType::List(Arc::new(element.element_field())),
        }
    }

    /// The field of a column, with `profiledb.type` in its metadata.
    #[must_use]
    pub fn field(&self, name: &str) -> Field {
        // A map of one entry, which has no order.
        let metadata = [(METADATA_KEY.to_owned(), self.to_string())].into();
        Field::new(name, self.data_type(), true).with_metadata(metadata)
    }

    /// The field of the elements of a list.
    pub(super) fn element_field(&self) -> Field {
        Field::new(Field::LIST_FIELD_DEFAULT_NAME, self.data_type(), true)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Boolean => "boolean",
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Timestamp => "timestamp",
            Self::List(element) => return write!(f, "list<{element}>"),
        })
    }
}
