//! Columns that grow value by value.

use std::sync::Arc;

use arrow_array::builder::TimestampMillisecondBuilder;
use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringDictionaryBuilder};
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, ListArray};
use arrow_buffer::{NullBufferBuilder, OffsetBufferBuilder};
use arrow_schema::FieldRef;

use super::types::ColumnType;
use crate::error::{Error, Result};
use crate::model::{Number, Timestamp, Value};

/// Texts and lists have offsets of 32 bits in a batch. It ends long before, unless one value is larger.
const VALUE_BYTES_MAX: usize = 1 << 30;

/// Characters of a value that are quoted in an error.
const QUOTED_CHARS: usize = 200;

/// One value of a row.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Cell<'v> {
    /// Null.
    NotSet,
    /// A string.
    Text(&'v str),
    /// A time, for a column of [`ColumnType::Timestamp`].
    Time(Timestamp),
    /// Any value.
    Value(&'v Value),
}

impl<'v> From<&'v Value> for Cell<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Null => Self::NotSet,
            Value::String(text) => Self::Text(text),
            other => Self::Value(other),
        }
    }
}

impl<'v> From<Option<&'v Value>> for Cell<'v> {
    fn from(value: Option<&'v Value>) -> Self {
        value.map_or(Self::NotSet, Self::from)
    }
}

impl<'v> From<&'v str> for Cell<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(text)
    }
}

impl From<Timestamp> for Cell<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

/// The double that a number equals. A number that is shown as a float is shown as one.
pub(super) fn as_double(number: &Number) -> Option<f64> {
    let double = number.as_f64();
    (number.is_float() || Number::try_from(double).is_ok_and(|read| read == *number)).then_some(double)
}

/// The time that a text is, if it has no fraction of a millisecond.
pub(super) fn as_time(text: &str) -> Option<Timestamp> {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit);
    if digits.skip(3).any(|digit| digit != b'0') {
        return None;
    }
    Timestamp::parse(text).ok()
}

/// A column.
pub(super) enum ColumnBuilder {
    Text(StringDictionaryBuilder<UInt32Type>),
    Json(StringDictionaryBuilder<UInt32Type>),
    Boolean(BooleanBuilder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Timestamp(TimestampMillisecondBuilder),
    List(Box<ListColumn>),
}

/// A column of lists.
pub(super) struct ListColumn {
    field: FieldRef,
    elements: ColumnBuilder,
    /// How many elements there are, and how many each list has.
    len: usize,
    lengths: Vec<usize>,
    set: NullBufferBuilder,
}

impl ColumnBuilder {
    pub(super) fn new(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::Text => Self::Text(StringDictionaryBuilder::new()),
            ColumnType::Json => Self::Json(StringDictionaryBuilder::new()),
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Int64 => Self::Int64(Int64Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
            ColumnType::Timestamp => Self::Timestamp(TimestampMillisecondBuilder::new().with_timezone("UTC")),
            ColumnType::List(element) => Self::List(Box::new(ListColumn {
                field: Arc::new(element.element_field()),
                elements: Self::new(element),
                len: 0,
                lengths: Vec::new(),
                set: NullBufferBuilder::new(0),
            })),
        }
    }

    /// Appends a value. Returns the memory that it takes, in bytes, roughly.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it does not fit, [`LimitExceeded`](crate::ErrorKind::LimitExceeded)
    /// when it has more than 1 GB or elements.
    pub(super) fn append(&mut self, cell: Cell<'_>) -> Result<usize> {
        // Strings and nulls have one form only.
        let cell = if let Cell::Value(value) = cell { Cell::from(value) } else { cell };
        if let Cell::NotSet = cell {
            self.append_null();
            return Ok(1);
        }
        match self {
            Self::Text(column) => match cell {
                Cell::Text(text) if !is_short(text.len()) => Err(too_large(text.len())),
                Cell::Text(text) => append_text(column, text),
                _ => Err(does_not_fit(cell)),
            },
            Self::Json(column) => {
                let json = json(cell);
                if is_short(json.len()) { append_text(column, &json) } else { Err(too_large(json.len())) }
            }
            Self::Boolean(column) => {
                let Cell::Value(Value::Bool(value)) = cell else { return Err(does_not_fit(cell)) };
                column.append_value(*value);
                Ok(1)
            }
            Self::Int64(column) => {
                let Cell::Value(value) = cell else { return Err(does_not_fit(cell)) };
                column.append_value(value.as_i64().ok_or_else(|| does_not_fit(cell))?);
                Ok(size_of::<i64>())
            }
            Self::Float64(column) => {
                let Cell::Value(value) = cell else { return Err(does_not_fit(cell)) };
                column.append_value(value.as_number().and_then(as_double).ok_or_else(|| does_not_fit(cell))?);
                Ok(size_of::<f64>())
            }
            Self::Timestamp(column) => {
                let time = match cell {
                    Cell::Time(time) => Some(time),
                    Cell::Text(text) => as_time(text),
                    _ => None,
                };
                column.append_value(time.ok_or_else(|| does_not_fit(cell))?.millis());
                Ok(size_of::<i64>())
            }
            Self::List(column) => {
                let Cell::Value(Value::List(elements)) = cell else { return Err(does_not_fit(cell)) };
                column.append(elements)
            }
        }
    }

    fn append_null(&mut self) {
        match self {
            Self::Text(column) | Self::Json(column) => column.append_null(),
            Self::Boolean(column) => column.append_null(),
            Self::Int64(column) => column.append_null(),
            Self::Float64(column) => column.append_null(),
            Self::Timestamp(column) => column.append_null(),
            Self::List(column) => {
                column.lengths.push(0);
                column.set.append_null();
            }
        }
    }

    /// The array of what was appended. The column is empty afterwards.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Text(column) | Self::Json(column) => Arc::new(column.finish()),
            Self::Boolean(column) => Arc::new(column.finish()),
            Self::Int64(column) => Arc::new(column.finish()),
            Self::Float64(column) => Arc::new(column.finish()),
            Self::Timestamp(column) => Arc::new(column.finish()),
            Self::List(column) => Arc::new(column.finish()?),
        })
    }
}

impl ListColumn {
    fn append(&mut self, elements: &[Value]) -> Result<usize> {
        if !is_short(self.len.saturating_add(elements.len())) {
            return Err(too_large(elements.len()));
        }
        let mut bytes = size_of::<i32>();
        for element in elements {
            bytes += self.elements.append(element.into())?;
            if !is_short(bytes) {
                return Err(too_large(bytes));
            }
        }
        self.len += elements.len();
        self.lengths.push(elements.len());
        self.set.append_non_null();
        Ok(bytes)
    }

    fn finish(&mut self) -> Result<ListArray> {
        let mut offsets = OffsetBufferBuilder::new(self.lengths.len());
        self.len = 0;
        self.lengths.drain(..).for_each(|length| offsets.push_length(length));
        let (field, elements, set) = (Arc::clone(&self.field), self.elements.finish()?, self.set.finish());
        ListArray::try_new(field, offsets.finish(), elements, set).map_err(malformed)
    }
}

fn append_text(column: &mut StringDictionaryBuilder<UInt32Type>, text: &str) -> Result<usize> {
    column.append(text).map_err(malformed)?;
    Ok(text.len() + size_of::<u32>())
}

fn is_short(bytes: usize) -> bool {
    bytes <= VALUE_BYTES_MAX
}

fn too_large(size: usize) -> Error {
    Error::limit(format!("a value has more than {VALUE_BYTES_MAX} bytes or elements size={size}"))
}

/// What Arrow refuses to build.
pub(super) fn malformed(error: arrow_schema::ArrowError) -> Error {
    Error::invalid(format!("no record batch: {error}")).because(error)
}

fn json(cell: Cell<'_>) -> String {
    match cell {
        Cell::Value(value) => value.to_string(),
        Cell::Text(text) => Value::from(text).to_string(),
        Cell::Time(time) => time.to_exact_value().to_string(),
        Cell::NotSet => Value::Null.to_string(),
    }
}

fn does_not_fit(cell: Cell<'_>) -> Error {
    let json = json(cell);
    let mut quoted: String = json.chars().take(QUOTED_CHARS).collect();
    if quoted.len() < json.len() {
        quoted.push_str("...");
    }
    Error::invalid(format!("a value does not fit the type of its column value={quoted}"))
}
