//! Whether a profile exists and its `$last_seen` time, composed like the chains of properties.
//!
//! Operators that create a profile differ from `$remove` and `$unset` only when there is none. `$last_seen` is the
//! latest time of the updates without `$ignore_time` that found or created a profile. A maximum over all updates would
//! let an `$unset` of an absent profile set the time of a profile that is created later, so both branches are kept.

use crate::model::Timestamp;

/// The state of an existing profile apart from its properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// The `$last_seen` time, in whole seconds since the epoch.
    pub(crate) last_seen: Option<i64>,
}

impl Life {
    fn seen(self, stamp: Option<i64>) -> Self {
        // `None` is less than any time.
        Self { last_seen: self.last_seen.max(stamp) }
    }
}

/// The effect of a sequence of updates on the existence of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The state is known, whatever it was before: the head of a row.
    Known(Option<Life>),
    /// The result depends on the state before.
    Open {
        /// The result if there is no profile.
        absent: Option<Life>,
        /// The latest `$last_seen` time for a profile that exists.
        stamp: Option<i64>,
    },
}

impl Presence {
    /// The presence of one update.
    pub(crate) fn of(creates: bool, stamp: Option<Timestamp>) -> Self {
        let stamp = stamp.map(Timestamp::seconds);
        Self::Open { absent: creates.then_some(Life { last_seen: stamp }), stamp }
    }

    /// The state after these updates.
    pub(crate) fn apply(self, state: Option<Life>) -> Option<Life> {
        match (self, state) {
            (Self::Known(state), _) => state,
            (Self::Open { absent, .. }, None) => absent,
            (Self::Open { stamp, .. }, Some(life)) => Some(life.seen(stamp)),
        }
    }

    /// Composition: these updates and then the next ones.
    pub(crate) fn then(self, next: Self) -> Self {
        match (self, next) {
            (_, Self::Known(_)) => next,
            (Self::Known(state), _) => Self::Known(next.apply(state)),
            (Self::Open { absent, stamp: first }, Self::Open { stamp, .. }) => {
                Self::Open { absent: next.apply(absent), stamp: first.max(stamp) }
            }
        }
    }
}
