//! The query builder for profiles alone: a filtered, projected and grouped table scan, without events.

use std::fmt;
use std::sync::Arc;

use super::breakdown::Breakdown;
use super::cancel::{CancelToken, Deadline};
use super::field::Field;
use super::group_by::GroupBy;
use super::measure::Measure;
use super::query::Join;
use super::scan::Tables;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::expr::Expr;
use crate::model::Kind;

/// A query of the profiles of one kind, without events: how many there are, grouped and measured by their properties.
///
/// It answers as a [`GroupBy`] of a join does, by the same code: each profile counts where an event would. A profile
/// without properties is one; a deleted one is not. Fields are `user.NAME` for users, and `group:KEY.NAME` for the
/// groups under `KEY`; `$last_seen`, `$mp_first_event_time` and the id, `$distinct_id` or `$group_id`, are among them.
///
/// The table is read once, by the calling thread, whatever [`GroupBy::memory_bytes`] allows to keep of it.
///
#[cfg_attr(feature = "rocksdb", doc = "```")]
#[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
/// # let dir = tempfile::tempdir()?;
/// use profiledb::join::{Field, Measure};
/// use profiledb::{Db, Kind, Update};
///
/// let db = Db::open(dir.path().join("store"))?;
/// for (id, plan, age) in [("alice", "pro", 31), ("bob", "free", 27), ("carol", "pro", 40)] {
///     db.users().update(id, Update::new().set("plan", plan).set("age", age))?;
/// }
///
/// let adults = db.snapshot().profiles(&Kind::User).filter(r#"user["age"] > 30"#);
/// let by_plan = adults.group_by(["user.plan"]).measure(Measure::Count).measure(Measure::Avg(Field::user("age")));
/// let answer = by_plan.answer()?;
/// assert_eq!(answer.get(&[Some("pro".into())]), Some(&[2.into(), 35.5.try_into()?][..]));
/// assert_eq!(answer.total(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ProfileAggregate(Join);

impl ProfileAggregate {
    pub(crate) fn new(tables: Arc<dyn Tables>, kind: Kind) -> Self {
        Self(Join::of_profiles(tables, kind))
    }

    /// Keeps profiles for which this expression is true. `properties["x"]` and `user["x"]` are the profile's, as in
    /// `ProfileScan::filter`; `event["x"]` is refused. Called again, both must be true.
    pub fn filter<E: TryInto<Expr, Error: Into<Error>>>(mut self, expr: E) -> Self {
        match expr.try_into().map_err(Into::into).and_then(Expr::about_profiles) {
            Ok(expr) => Self(self.0.filter(expr)),
            Err(error) => {
                self.0.refuse(error);
                self
            }
        }
    }

    /// As [`Join::cancel`].
    pub fn cancel(self, token: &CancelToken) -> Self {
        Self(self.0.cancel(token))
    }

    /// As [`Join::deadline`].
    pub fn deadline(self, deadline: impl Into<Deadline>) -> Self {
        Self(self.0.deadline(deadline))
    }

    /// Groups the profiles by the values of these fields. Without a [measure](GroupBy::measure), profiles are counted.
    ///
    /// Running it is an error of kind [`NotFound`](ErrorKind::NotFound) for a group key that no profile was ever stored
    /// under, and otherwise as [`GroupBy::answer`] says.
    pub fn group_by<B: TryInto<Breakdown, Error: Into<Error>>>(self, fields: impl IntoIterator<Item = B>) -> GroupBy {
        self.0.group_by(fields)
    }

    /// Measures all profiles together: a [`group_by`](Self::group_by) without fields, which has exactly one bucket.
    pub fn measure(self, measure: Measure) -> GroupBy {
        self.0.group_by([] as [Field; 0]).measure(measure)
    }
}

impl fmt::Debug for ProfileAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProfileAggregate").field(&self.0).finish()
    }
}
