//! Whether a profile exists and when it was last seen, composed like everything else.
//!
//! Operators that create differ from `$remove` and `$unset` only when there is no profile. `$last_seen` is the latest
//! time of the updates that met or made a profile and did not ask to be ignored. A plain maximum over all updates
//! would let an `$unset` of an absent profile stamp a profile that is created later, so both branches are kept.

use crate::model::Timestamp;

/// What is known of a profile that exists, besides its properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// The latest stamp, in whole seconds since the epoch.
    pub(crate) last_seen: Option<i64>,
}

impl Life {
    fn seen(self, stamp: Option<i64>) -> Self {
        // None is less than any time.
        Self { last_seen: self.last_seen.max(stamp) }
    }
}

/// What a run of updates makes of the existence of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// This is the state, whatever it was before: the beginning of a row.
    Known(Option<Life>),
    /// The state before still matters.
    Open {
        /// What becomes of no profile.
        absent: Option<Life>,
        /// The latest stamp that an existing profile takes.
        stamp: Option<i64>,
    },
}

impl Presence {
    /// The presence of one update.
    pub(crate) fn of(creates: bool, stamp: Option<Timestamp>) -> Self {
        let stamp = stamp.map(Timestamp::seconds);
        Self::Open { absent: creates.then_some(Life { last_seen: stamp }), stamp }
    }

    /// The state after this run.
    pub(crate) fn apply(self, state: Option<Life>) -> Option<Life> {
        match (self, state) {
            (Self::Known(state), _) => state,
            (Self::Open { absent, .. }, None) => absent,
            (Self::Open { stamp, .. }, Some(life)) => Some(life.seen(stamp)),
        }
    }

    /// This run and then the next one.
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
