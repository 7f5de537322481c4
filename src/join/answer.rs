//! The result of a group-by: buckets and their measures, as JSON and as a table.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::Value;

/// Buckets with their measures, ordered by the first measure, descending, and then by their values.
///
/// [`Display`](fmt::Display) draws a table for people. As JSON it is
/// `{"total":2,"buckets":[{"user.plan":"pro","count":3},...]}`, with null for what is not set.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub(super) by: Vec<String>,
    pub(super) measures: Vec<String>,
    pub(super) buckets: Vec<Bucket>,
    pub(super) total: usize,
}

/// One combination of values of the fields grouped by, and its measures.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Bucket {
    /// The values of the fields grouped by. `None` is *(not set)*, which differs from `""`.
    pub by: Vec<Option<Value>>,
    /// The measures, in the order requested. Null where there was nothing to measure.
    pub measures: Vec<Value>,
}

impl Answer {
    /// The buckets: all of them, or the top ones if that was requested.
    #[must_use]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The number of buckets, including those cut off by the top.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// The names of the fields grouped by.
    #[must_use]
    pub fn by(&self) -> &[String] {
        &self.by
    }

    /// The names of the measures.
    #[must_use]
    pub fn measures(&self) -> &[String] {
        &self.measures
    }

    /// The measures of the bucket with these values.
    #[must_use]
    pub fn get(&self, by: &[Option<Value>]) -> Option<&[Value]> {
        self.buckets.iter().find(|bucket| bucket.by == by).map(|bucket| bucket.measures.as_slice())
    }
}

/// What a person sees of a value in a table.
fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "(not set)".into(),
        Some(Value::String(text)) if text.is_empty() => "(empty string)".into(),
        Some(Value::String(text)) => text.chars().flat_map(safe).collect(),
        Some(other) => other.to_string(),
    }
}

/// A character as it does no harm to a terminal.
fn safe(c: char) -> impl Iterator<Item = char> {
    let (escaped, plain) = if c.is_control() { (Some(c.escape_default()), None) } else { (None, Some(c)) };
    escaped.into_iter().flatten().chain(plain)
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<String> = self.by.iter().chain(&self.measures).cloned().collect();
        let cells = |row: &Bucket| -> Vec<String> {
            let measured =
                row.measures.iter().map(|value| if value.is_null() { "-".into() } else { value.to_string() });
            row.by.iter().map(|value| shown(value.as_ref())).chain(measured).collect()
        };
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(self.buckets.iter().map(cells)).collect();
        let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.by.len() + self.measures.len()).map(|at| width(at).unwrap_or(0)).collect();
        for line in &lines {
            let mut text = String::new();
            for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let gap = if at == 0 { "" } else { "  " };
                let padding = " ".repeat(width - cell.chars().count().min(*width));
                let (left, right) = if at < self.by.len() { ("", padding.as_str()) } else { (padding.as_str(), "") };
                text.push_str(&format!("{gap}{left}{cell}{right}"));
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        match self.total.saturating_sub(self.buckets.len()) {
            0 => Ok(()),
            more => writeln!(f, "and {more} more"),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Line<'a>(&'a Answer, &'a Bucket);

        impl Serialize for Line<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self(answer, row) = self;
                let mut map = serializer.serialize_map(None)?;
                answer.by.iter().zip(&row.by).try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                let measures = answer.measures.iter().zip(&row.measures);
                measures.into_iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }

        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("total", &self.total)?;
        map.serialize_entry("buckets", &self.buckets.iter().map(|row| Line(self, row)).collect::<Vec<_>>())?;
        map.end()
    }
}
