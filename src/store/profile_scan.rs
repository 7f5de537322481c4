//! The builder of a scan: range, predicate pushdown, projection pushdown, limit, direction.

use std::fmt;
use std::ops::{Bound, RangeBounds};

use super::families::Families;
use super::scan::{KnownIds, ProfileFilter, Profiles, ScanPlan, sorted};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::join::CancelToken;
use crate::rocks::{EngineSnapshot, ReadHint};

/// With a limit of at most this, a scan is expected to be short.
const SHORT: usize = 1000;

/// A scan of profiles, not started yet: which ids, which of their profiles, and what of them.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use profiledb::{Db, Update};
///
/// let users = db_with_users(dir.path())?;
/// let scan = users.scan().prefix("u-").filter(r#"properties["logins"] > 7"#).select(["plan"]).reverse().limit(2);
/// let rows = scan.iter().collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(rows[0].0, "u-9");
/// assert_eq!(rows[0].1.get("plan"), Some(&"pro".into()));
/// assert_eq!(rows[0].1.get("logins"), None, "it was not selected");
///
/// fn db_with_users(path: &std::path::Path) -> profiledb::Result<profiledb::Table> {
///     let users = Db::open(path.join("store"))?.users();
///     for n in 0..10 {
///         users.update(&format!("u-{n}"), Update::new().set("plan", "pro").add("logins", n))?;
///     }
///     Ok(users)
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a scan reads nothing until it is iterated"]
pub struct ProfileScan {
    snapshot: EngineSnapshot,
    families: Families,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    filter: Option<ProfileFilter>,
    select: Option<Vec<String>>,
    reverse: bool,
    limit: Option<usize>,
    cancel: Option<CancelToken>,
    /// The first setting that is not valid, which the scan fails with.
    refused: Option<Error>,
}

impl ProfileScan {
    pub(super) fn new(snapshot: EngineSnapshot, families: Families) -> Self {
        let (from, to, filter, select, limit) = (Vec::new(), None, None, None, None);
        let (cancel, refused) = (None, None);
        Self { snapshot, families, from, to, filter, select, reverse: false, limit, cancel, refused }
    }

    /// Only ids that begin with this text. With a [`range`](Self::range), ids have to be in both.
    pub fn prefix(self, prefix: &str) -> Self {
        let end = after_prefix(prefix.as_bytes());
        self.within(prefix.as_bytes().to_vec(), end)
    }

    /// Only ids in this range, in byte order.
    pub fn range<'a>(self, range: impl RangeBounds<&'a str>) -> Self {
        let after = |id: &str| [id.as_bytes(), &[0]].concat();
        let from = match range.start_bound() {
            Bound::Unbounded => Vec::new(),
            Bound::Included(id) => id.as_bytes().to_vec(),
            Bound::Excluded(id) => after(id),
        };
        let to = match range.end_bound() {
            Bound::Unbounded => None,
            Bound::Included(id) => Some(after(id)),
            Bound::Excluded(id) => Some(id.as_bytes().to_vec()),
        };
        self.within(from, to)
    }

    fn within(mut self, from: Vec<u8>, to: Option<Vec<u8>>) -> Self {
        self.from = self.from.max(from);
        self.to = [self.to, to].into_iter().flatten().min();
        self
    }

    /// Only profiles for which this expression, or its text, is true. `properties["x"]` and `user["x"]` are the
    /// profile's; `$distinct_id` or `$group_id`, `$last_seen` and `$mp_first_event_time` are among them. Called again,
    /// it replaces the filter.
    ///
    /// Undefined and every other result that is not `true` exclude a profile, as in a filter of a join. An operator
    /// that fails on a profile is an error item, of kind [`Invalid`](ErrorKind::Invalid), and the scan continues after
    /// it. When the text is no expression, or refers to `event["x"]`, the scan is a single item, an error of that kind.
    pub fn filter<E: TryInto<Expr, Error: Into<Error>>>(mut self, expr: E) -> Self {
        match expr.try_into().map_err(Into::into).and_then(Expr::about_profiles) {
            Ok(expr) => self.filter = Some(ProfileFilter::new(expr)),
            Err(error) => self.refused = Some(self.refused.unwrap_or(error)),
        }
        self
    }

    /// Decodes these properties only. The profiles have no others, `$last_seen` and `$mp_first_event_time` included,
    /// and without the latter the first-event index is not read. Called again, it adds properties.
    pub fn select<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.select.get_or_insert_default().extend(names.into_iter().map(Into::into));
        self
    }

    /// At most this many profiles, errors included, from both ends together.
    pub fn limit(mut self, profiles: usize) -> Self {
        self.limit = Some(profiles);
        self
    }

    /// In descending order of ids, as [`Iterator::rev`] but before [`limit`](Self::limit).
    pub fn reverse(mut self) -> Self {
        self.reverse = !self.reverse;
        self
    }

    /// Ends with an error of kind [`Cancelled`](ErrorKind::Cancelled) soon after this token was
    /// [cancelled](CancelToken::cancel), also if the filter drops every profile. It is looked at every thousand
    /// profiles that are read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::join::CancelToken;
    /// use profiledb::{Db, Update};
    ///
    /// let users = Db::open(dir.path().join("store"))?.users();
    /// users.update("alice", Update::new().set("plan", "pro"))?;
    /// let token = CancelToken::new();
    /// let scan = users.scan().filter(r#"properties["plan"] == "free""#).cancel(&token);
    /// assert_eq!(scan.iter().count(), 0);
    ///
    /// token.cancel(); // usually while it runs, from another thread
    /// assert!(scan.iter().next().expect("an error").unwrap_err().is_cancelled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.cancel = Some(token.clone());
        self
    }

    /// Starts the scan. It can be started again, and sees the same snapshot each time.
    #[must_use]
    pub fn iter(&self) -> Profiles {
        Profiles::new(self.plan())
    }

    /// Starts the scan over all ids that have a profile or an event, see [`View::known`](super::View::known). To a
    /// filter, an id without a profile has no properties.
    #[must_use]
    pub fn known(&self) -> KnownIds {
        KnownIds::new(self.plan())
    }

    fn plan(&self) -> ScanPlan {
        let bounded = !self.from.is_empty() || self.to.is_some();
        let short = bounded || self.limit.is_some_and(|limit| limit <= SHORT && self.filter.is_none());
        ScanPlan {
            snapshot: self.snapshot.clone(),
            families: self.families.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            hint: if short { ReadHint::ShortRange } else { ReadHint::FullScan },
            filter: self.filter.clone(),
            select: self.select.as_ref().map(|names| sorted(names.iter().map(String::as_str))),
            all_ids: false,
            reverse: self.reverse,
            limit: self.limit,
            cancel: self.cancel.clone(),
            refused: self.refused.clone(),
        }
    }
}

impl IntoIterator for &ProfileScan {
    type Item = Result<(String, crate::model::Profile)>;
    type IntoIter = Profiles;

    fn into_iter(self) -> Profiles {
        self.iter()
    }
}

impl IntoIterator for ProfileScan {
    type Item = Result<(String, crate::model::Profile)>;
    type IntoIter = Profiles;

    fn into_iter(self) -> Profiles {
        self.iter()
    }
}

impl fmt::Debug for ProfileScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProfileScan")
            .field("kind", &self.families.kind)
            .field("filter", &self.filter)
            .field("select", &self.select)
            .field("reverse", &self.reverse)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// The least bytes that are greater than everything with this prefix, if there are any.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix.get(..=kept)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(after_prefix(&[b'a', 0xff, 0xff]).as_deref(), Some(&b"b"[..]));
        assert_eq!(after_prefix(&[0xff]), None);
        assert_eq!(after_prefix(b""), None);
    }
}
