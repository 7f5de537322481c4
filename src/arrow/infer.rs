//! Type inference: the narrowest type that changes no value.

use super::column::{as_double, as_time};
use super::types::ColumnType;
use crate::model::{Number, Value};

/// Finds the type of a column from its values. It is a set: the order in which values are seen makes no difference.
///
/// | all values are | type |
/// |---|---|
/// | strings | [`Text`](ColumnType::Text) |
/// | booleans | [`Boolean`](ColumnType::Boolean) |
/// | integers of 64 bits | [`Int64`](ColumnType::Int64) |
/// | numbers, each equal to a double | [`Float64`](ColumnType::Float64) |
/// | lists | [`List`](ColumnType::List) of the type of all their elements; lists in lists are JSON |
/// | null, or there is none | [`Text`](ColumnType::Text) |
/// | anything else | [`Json`](ColumnType::Json) |
#[derive(Clone, Debug, Default)]
pub struct TypeInference {
    /// Whether texts are times if all of them are.
    of_times: bool,
    has_boolean: bool,
    /// An integer that is an `Int64`.
    has_integer: bool,
    /// A number that is a `Float64`, but no `Int64`.
    has_double: bool,
    /// An integer that is an `Int64`, but no `Float64`.
    has_long: bool,
    /// A number that is neither.
    has_big: bool,
    has_text: bool,
    /// A text that is no time.
    has_other_text: bool,
    has_object: bool,
    /// The elements of lists.
    elements: Option<Box<TypeInference>>,
}

impl TypeInference {
    /// Of a column without values so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a column of which the strings are times, as those of `$last_seen`: [`ColumnType::Timestamp`] if all are.
    #[must_use]
    pub fn of_times() -> Self {
        Self { of_times: true, ..Self::default() }
    }

    /// Of a column of lists, with elements such as this one has.
    pub(crate) fn in_lists(self) -> Self {
        Self { elements: Some(Box::new(self)), ..Self::default() }
    }

    /// Notes a value.
    pub fn see(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.has_boolean = true,
            Value::Number(number) => self.see_number(number),
            Value::String(text) => self.see_text(text),
            Value::Object(_) => self.has_object = true,
            Value::List(elements) => {
                let seen = self.elements.get_or_insert_default();
                for element in elements {
                    match element {
                        // As JSON: a column of lists of lists is hardly readable anywhere.
                        Value::List(_) => seen.has_object = true,
                        other => seen.see(other),
                    }
                }
            }
        }
    }

    /// Notes a string.
    pub fn see_text(&mut self, text: &str) {
        self.has_text = true;
        if self.of_times && !self.has_other_text {
            self.has_other_text = as_time(text).is_none();
        }
    }

    fn see_number(&mut self, number: &Number) {
        match (number.as_i64().is_some(), as_double(number).is_some()) {
            (true, true) => self.has_integer = true,
            (true, false) => self.has_long = true,
            (false, true) => self.has_double = true,
            (false, false) => self.has_big = true,
        }
    }

    /// Notes all values that another one has seen.
    pub fn merge(&mut self, other: &Self) {
        // The texts of one that is not of times were not looked at.
        self.of_times &= other.of_times;
        self.has_boolean |= other.has_boolean;
        self.has_integer |= other.has_integer;
        self.has_double |= other.has_double;
        self.has_long |= other.has_long;
        self.has_big |= other.has_big;
        self.has_text |= other.has_text;
        self.has_other_text |= other.has_other_text;
        self.has_object |= other.has_object;
        match (&mut self.elements, &other.elements) {
            (Some(elements), Some(others)) => elements.merge(others),
            (None, Some(others)) => self.elements = Some(others.clone()),
            (_, None) => {}
        }
    }

    /// The narrowest type that all values fit.
    #[must_use]
    pub fn column_type(&self) -> ColumnType {
        let has_number = self.has_integer || self.has_double || self.has_long || self.has_big;
        let kinds = [self.has_boolean, has_number, self.has_text, self.has_object, self.elements.is_some()];
        if kinds.iter().filter(|has| **has).count() > 1 {
            return ColumnType::Json;
        }
        match &self.elements {
            Some(elements) => ColumnType::List(Box::new(elements.column_type())),
            None if self.has_boolean => ColumnType::Boolean,
            None if self.has_object || self.has_big => ColumnType::Json,
            None if self.has_double && self.has_long => ColumnType::Json,
            None if self.has_double => ColumnType::Float64,
            None if has_number => ColumnType::Int64,
            None if self.of_times && !self.has_other_text => ColumnType::Timestamp,
            None => ColumnType::Text,
        }
    }
}
