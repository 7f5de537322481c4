//! Parser options: strictness, endpoint, limits, clock.

use std::fmt;
use std::sync::Arc;

use super::reject::Reject;
use super::repair::Repair;
use crate::limits::{Limits, LimitsId};
use crate::model::{Timestamp, Value};
use crate::ops::{Excess, Note};

/// The endpoint that an object was sent to. It determines whether the profile is a user or a group if the object does
/// not, and whether an event needs a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Users and groups: an object with `$group_key` or `$group_id` updates a group.
    #[default]
    Any,
    /// Users only. An object without `$distinct_id` is rejected, whatever else it has.
    Engage,
    /// Groups only. An object without `$group_key` is rejected, whatever else it has.
    Groups,
    /// As [`Any`](Self::Any), and an event without a time is rejected: the store of a history cannot make one up. Of
    /// other endpoints, such an event gets the time of its arrival, with a note.
    Import,
}

/// Parser options. The default is lenient, accepts users and groups, and has the limits of [`Limits::mixpanel`].
/// [`Db::rules`](crate::Db::rules) has the limits and the clock of a store.
///
/// ```
/// use profiledb::{Limits, ingest::{Endpoint, Rules}};
///
/// let rules = Rules::new().strict(true).endpoint(Endpoint::Engage).limits(Limits::unbounded());
/// assert!(rules.is_strict());
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    strict: bool,
    add_on_groups: bool,
    endpoint: Endpoint,
    origin: bool,
    limits: Limits,
    /// Of `limits`, computed once.
    limits_id: LimitsId,
    now: Now,
}

/// The source of the current time.
#[derive(Clone)]
enum Now {
    /// There is none: the future limit is not checked.
    Unknown,
    Fixed(Timestamp),
    Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("Unknown"),
            Self::Fixed(now) => f.debug_tuple("Fixed").field(now).finish(),
            Self::Clock(_) => f.write_str("Clock"),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        let limits = Limits::default();
        let (limits_id, endpoint) = (limits.id(), Endpoint::default());
        Self { strict: false, add_on_groups: false, endpoint, origin: false, limits, limits_id, now: Now::Unknown }
    }
}

impl Rules {
    /// The lenient rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether mistakes that lenient rules tolerate are errors. Default: no.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Whether `$add` on groups is allowed. Default: no. The documentation of the format contradicts itself.
    #[must_use]
    pub fn add_on_groups(mut self, allow: bool) -> Self {
        self.add_on_groups = allow;
        self
    }

    /// The endpoint that the input was sent to. Default: [`Endpoint::Any`].
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Whether the [`Origin`](super::Origin) of each record is read. Default: no.
    ///
    /// ```
    /// use profiledb::ingest::{Record, Rules};
    ///
    /// let text = br#"{"$token":"t","$distinct_id":"alice","$ip":"203.0.113.9","$add":{"logins":1}}"#;
    /// let origin = Record::from_slice(text, &Rules::new().origin(true))?.origin;
    /// assert_eq!((origin.token.as_deref(), origin.ip.as_deref()), (Some("t"), Some("203.0.113.9")));
    /// assert!(!origin.sets);
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    #[must_use]
    pub fn origin(mut self, read: bool) -> Self {
        self.origin = read;
        self
    }

    /// The limits of updates and events. Default: [`Limits::mixpanel`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits_id = limits.id();
        self.limits = limits;
        self
    }

    /// The current time, which events may be at most
    /// [`event_ahead_seconds_max`](Limits::event_ahead_seconds_max) ahead of. Default: none, and the future limit is
    /// not checked here; the store checks it against its own clock.
    #[must_use]
    pub fn now(mut self, now: Timestamp) -> Self {
        self.now = Now::Fixed(now);
        self
    }

    /// A clock in place of [`now`](Self::now), which is read for each event: for streams that take longer than events
    /// may be ahead.
    ///
    /// ```
    /// use profiledb::{Timestamp, ingest::{EventRecord, Rules}};
    ///
    /// let rules = Rules::new().clock(|| Timestamp::from_seconds(1_700_000_000));
    /// let text = br#"{"event":"visit","properties":{"time":4102444800,"distinct_id":"alice"}}"#;
    /// let record = EventRecord::from_slice(text, &rules)?;
    /// assert_eq!(record.event.time(), Timestamp::from_seconds(1_700_000_000));
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.now = Now::Clock(Arc::new(clock));
        self
    }

    /// Whether the rules are strict.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    pub(super) fn allows_add_on_groups(&self) -> bool {
        self.add_on_groups
    }

    pub(super) fn reads_origin(&self) -> bool {
        self.origin
    }

    pub(super) fn where_sent(&self) -> Endpoint {
        self.endpoint
    }

    /// The limits of updates and events: those of [`limits`](Self::limits), or the default.
    ///
    /// ```
    /// use profiledb::ingest::Rules;
    ///
    /// assert_eq!(Rules::new().bounds().updates_per_request_max, 2_000);
    /// ```
    #[must_use]
    pub fn bounds(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn limits_id(&self) -> LimitsId {
        self.limits_id
    }

    /// The current time, if the rules have one.
    pub(super) fn current_time(&self) -> Option<Timestamp> {
        match &self.now {
            Now::Unknown => None,
            Now::Fixed(now) => Some(*now),
            Now::Clock(clock) => Some(clock()),
        }
    }

    /// Adds a note for each repair of the text, or rejects the record under strict rules.
    pub(super) fn take_repairs(&self, repairs: Vec<Repair>, notes: &mut Vec<Note>) -> Result<(), Reject> {
        repairs.into_iter().try_for_each(|Repair { reject, consequence, before }| {
            self.warn_or_reject(notes, reject, consequence, Some(&before))
        })
    }

    /// What becomes of names and strings that are too long. `place` replaces the operator in the notes.
    pub(crate) fn excess<'n>(&self, notes: &'n mut Vec<Note>, place: Option<&'static str>) -> Excess<'n> {
        if self.strict { Excess::Refused } else { Excess::Noted { notes, place } }
    }

    /// Adds a note of what is done about a value, or rejects the record under strict rules.
    pub(super) fn warn_or_reject(
        &self,
        notes: &mut Vec<Note>,
        reject: Reject,
        consequence: &str,
        before: Option<&Value>,
    ) -> Result<(), Reject> {
        if self.strict {
            return Err(reject);
        }
        let Reject { field, reason, .. } = reject;
        // A note without a field is about the record.
        notes.push(Note::new(field.unwrap_or_default(), format!("{consequence}: {reason}"), before));
        Ok(())
    }
}
