//! The result of a group-by: buckets and their measures, and their form in JSON.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::Value;

/// Buckets with their measures, ordered by the first measure, descending, and then by their values.
///
/// As JSON it is
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

impl<'a> IntoIterator for &'a Answer {
    type Item = &'a Bucket;
    type IntoIter = std::slice::Iter<'a, Bucket>;

    fn into_iter(self) -> Self::IntoIter {
        self.buckets.iter()
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Entry<'a>(&'a Answer, &'a Bucket);

        impl Serialize for Entry<'_> {
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
        map.serialize_entry("buckets", &self.buckets.iter().map(|row| Entry(self, row)).collect::<Vec<_>>())?;
        map.end()
    }
}
