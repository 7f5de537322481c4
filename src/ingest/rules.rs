//! How input is read: what is forgiven, which endpoint it came to, which limits hold.

use super::reject::{Note, Reject};
use crate::limits::Limits;
use crate::model::Timestamp;

/// Where an object was sent, which decides whose update it is when the object does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Users and groups may be mixed: an object with `$group_key` or `$group_id` is about a group.
    #[default]
    Any,
    /// Users only. An object without `$distinct_id` is rejected, whatever else it has.
    Engage,
    /// Groups only. An object without `$group_key` is rejected, whatever else it has.
    Groups,
}

/// How input is read. The default is lenient, takes users and groups, and holds to [`Limits::mixpanel`].
///
/// ```
/// use profiledb::{Limits, ingest::{Endpoint, Rules}};
///
/// let rules = Rules::new().strict(true).endpoint(Endpoint::Engage).limits(Limits::unbounded());
/// assert!(rules.is_strict());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    strict: bool,
    add_on_groups: bool,
    endpoint: Endpoint,
    limits: Limits,
    now: Now,
}

/// What is known of the time.
#[derive(Clone, Copy, Debug, Default)]
enum Now {
    #[default]
    Unknown,
    Given(Timestamp),
    Asked(fn() -> Timestamp),
}

impl PartialEq for Now {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unknown, Self::Unknown) => true,
            (Self::Given(now), Self::Given(other)) => now == other,
            (Self::Asked(clock), Self::Asked(other)) => std::ptr::fn_addr_eq(*clock, *other),
            _ => false,
        }
    }
}

impl Eq for Now {}

impl Rules {
    /// The lenient rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether what is doubtful is an error instead of being forgiven. Default: no.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Whether groups take `$add`. Default: no; the documentation of the format says both.
    #[must_use]
    pub fn add_on_groups(mut self, allow: bool) -> Self {
        self.add_on_groups = allow;
        self
    }

    /// Where the input was sent. Default: [`Endpoint::Any`].
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// The limits that every update and every event has to keep. Default: [`Limits::mixpanel`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What time it is, which events may lie only so far ahead of. Default: nobody knows, and no event lies too far
    /// ahead; the store looks again, at a clock.
    #[must_use]
    pub fn now(mut self, now: Timestamp) -> Self {
        self.now = Now::Given(now);
        self
    }

    /// Where to look what time it is, in place of [`now`](Self::now): for a stream that goes on for longer than events
    /// may lie ahead. It is looked at for each event.
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
    pub fn clock(mut self, clock: fn() -> Timestamp) -> Self {
        self.now = Now::Asked(clock);
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

    pub(super) fn where_sent(&self) -> Endpoint {
        self.endpoint
    }

    pub(super) fn bounds(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn known_now(&self) -> Option<Timestamp> {
        match self.now {
            Now::Unknown => None,
            Now::Given(now) => Some(now),
            Now::Asked(clock) => Some(clock()),
        }
    }

    /// Notes what is forgiven and what becomes of it, or refuses it under strict rules.
    pub(super) fn warn_or_reject(
        &self,
        notes: &mut Vec<Note>,
        reject: Reject,
        consequence: &str,
    ) -> Result<(), Reject> {
        if self.strict {
            return Err(reject);
        }
        let Reject { field, reason, .. } = reject;
        notes.push(Note { field: field.unwrap_or_default(), reason: format!("{consequence}: {reason}") });
        Ok(())
    }
}
