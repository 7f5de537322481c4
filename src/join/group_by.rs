//! Group-by: the stage of a query that turns rows into buckets with measures, computed by
//! [hash aggregation](super::aggregate).

use std::sync::Arc;

use super::aggregate::{Aggregation, aggregate, explain};
use super::answer::Answer;
use super::breakdown::Breakdown;
use super::field::Field;
use super::measure::Measure;
use super::plan::Plan;
use super::query::Join;
use crate::error::{Error, Result};

/// The default of [`GroupBy::buckets_max`], and its upper bound.
const BUCKETS: usize = 2_000_000;
const BUCKETS_MAX: usize = 1_000_000_000;

/// The default of [`GroupBy::memory_bytes`], and its bounds.
const MEMORY: usize = 512 << 20;
const MEMORY_MIN: usize = 4 << 10;
const MEMORY_MAX: usize = u32::MAX as usize;

/// A query for buckets: rows grouped by the values of some fields, with measures of each group.
///
/// Values that are equal as JSON share a bucket: `1` and `1.0` do, `"1"` has its own. Null, an absent property and an
/// absent profile are all *(not set)*. An event with a list counts once for each distinct element.
///
#[cfg_attr(feature = "rocksdb", doc = "```")]
#[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
/// # let dir = tempfile::tempdir()?;
/// # use profiledb::{Db, Event, Timestamp};
/// # let db = Db::open(dir.path().join("store"))?;
/// # for (id, amount) in [("alice", 5), ("bob", 7)] {
/// #     let time = Timestamp::from_seconds(1_700_000_000);
/// #     db.events().append(Event::new("purchase", id, time).set("amount", amount))?;
/// # }
/// # let join = db.snapshot().join();
/// use profiledb::join::{Field, Measure};
///
/// let by_day = join.group_by(["event.$day"]).measure(Measure::Sum(Field::event("amount"))).measure(Measure::Uniques);
/// println!("{}", by_day.explain()?);
/// let answer = by_day.answer()?;
/// assert_eq!(answer.buckets()[0].by, [Some("2023-11-14".into())]);
/// assert_eq!(answer.buckets()[0].measures, [12.into(), 2.into()]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct GroupBy {
    join: Join,
    aggregation: Aggregation,
}

impl Join {
    /// Groups the rows by the values of these fields. Without a [measure](GroupBy::measure), events are counted.
    pub fn group_by<B: TryInto<Breakdown, Error: Into<Error>>>(
        mut self,
        fields: impl IntoIterator<Item = B>,
    ) -> GroupBy {
        let mut by = Vec::new();
        for field in fields {
            match field.try_into() {
                Ok(breakdown) => by.push(breakdown),
                Err(error) => self.refuse(error.into()),
            }
        }
        for breakdown in &by {
            if let Err(error) = self.driver().has(&breakdown.field) {
                self.refuse(error);
            }
        }
        let (buckets_max, memory_bytes) = (BUCKETS, MEMORY);
        GroupBy {
            join: self,
            aggregation: Aggregation { by, measures: Vec::new(), top: None, buckets_max, memory_bytes },
        }
    }

    /// Measures all rows together: a [`group_by`](Self::group_by) without fields, which has exactly one bucket.
    pub fn measure(self, measure: Measure) -> GroupBy {
        self.group_by([] as [Field; 0]).measure(measure)
    }
}

impl GroupBy {
    /// Adds a measure. Buckets are ordered by the first one.
    pub fn measure(mut self, measure: Measure) -> Self {
        if let Err(error) = measure.field().map_or(Ok(()), |field| self.join.driver().can_measure(field)) {
            self.join.refuse(error);
        }
        if let Measure::Percentile(_, percent @ 101..) = measure {
            self.join.refuse(Error::invalid(format!("not a percentage from 0 to 100 percent={percent}")));
        }
        self.aggregation.measures.push(measure);
        self
    }

    /// At most this many buckets, ordered by the first measure, descending.
    pub fn top(mut self, buckets: usize) -> Self {
        self.aggregation.top = Some(buckets);
        self
    }

    /// The most buckets that the query may have, those that [`top`](Self::top) cuts off included: with more it ends
    /// with [`LimitExceeded`](crate::ErrorKind::LimitExceeded). Default: 2,000,000; 1 to 1,000,000,000.
    pub fn buckets_max(mut self, buckets: usize) -> Self {
        if !(1..=BUCKETS_MAX).contains(&buckets) {
            self.join.refuse(Error::invalid(format!("not 1 to {BUCKETS_MAX} buckets buckets_max={buckets}")));
        }
        self.aggregation.buckets_max = buckets;
        self
    }

    /// The most memory that buckets, their distinct values and the distinct users of [`Measure::Uniques`] may take on
    /// all threads together, in bytes: with more the query ends with
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded). Default: 512 MB; 4 KB to 4 GB. What grows reserves its
    /// memory before it is allocated, the answer included. Build sides have [`Join::memory_bytes`].
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        if !(MEMORY_MIN..=MEMORY_MAX).contains(&bytes) {
            let message = format!("not {MEMORY_MIN} to {MEMORY_MAX} bytes of memory memory_bytes={bytes}");
            self.join.refuse(Error::invalid(message));
        }
        self.aggregation.memory_bytes = bytes;
        self
    }

    /// How the join would be executed, and why. Reads a sample of at most 512 events.
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer).
    pub fn explain(&self) -> Result<Plan> {
        let mut execution = self.join.plan_with(&self.fields())?;
        let aggregation = explain(&execution, &Arc::new(self.aggregation.clone()))?;
        if let Some(sealed) = &mut execution.plan.sealed {
            sealed.aggregation = aggregation;
        }
        Ok(execution.plan)
    }

    /// Runs the query.
    ///
    /// # Errors
    ///
    /// As [`Join::rows`], and what stops the join before its end;
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for too many [buckets](Self::buckets_max) or too much
    /// [memory](Self::memory_bytes).
    pub fn answer(&self) -> Result<Answer> {
        aggregate(&self.join.prepare(&self.fields(), false)?.into(), &Arc::new(self.aggregation.clone()))
    }

    /// The fields that have to be read.
    fn fields(&self) -> Vec<Field> {
        let Aggregation { by, measures, .. } = &self.aggregation;
        let measured = measures.iter().filter_map(Measure::field);
        let mut fields: Vec<Field> = by.iter().map(|breakdown| &breakdown.field).chain(measured).cloned().collect();
        if measures.contains(&Measure::Uniques) {
            fields.push(Field::user("$distinct_id"));
        }
        fields
    }
}
