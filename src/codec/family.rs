//! Which column family holds what.
//!
//! The engine's own list of families is the register of kinds: a group key is remembered because its family exists.

use std::sync::Arc;

use crate::model::Kind;

/// The family of what is neither a profile nor an event nor a time of one.
pub(crate) const META: &str = "meta";

/// The family of the event log.
pub(crate) const EVENTS: &str = "events";

const USERS: &str = "users";
/// What the names of families of groups begin with.
pub(crate) const GROUP_PREFIX: &str = "group:";
const FIRST_PREFIX: &str = "first:";

/// The family of a kind of profile.
pub(crate) fn family_of(kind: &Kind) -> Arc<str> {
    match kind {
        Kind::User => USERS.into(),
        Kind::Group(key) => format!("{GROUP_PREFIX}{key}").into(),
    }
}

/// The kind of profile in a family, if it holds profiles.
pub(crate) fn kind_of(family: &str) -> Option<Kind> {
    if family == USERS {
        return Some(Kind::User);
    }
    family.strip_prefix(GROUP_PREFIX).and_then(|key| Kind::group(key).ok())
}

/// The family of the times at which the ids of a kind had their first events.
pub(crate) fn first_family_of(kind: &Kind) -> Arc<str> {
    format!("{FIRST_PREFIX}{}", family_of(kind)).into()
}

/// The kind whose first events a family holds, if it holds such times.
pub(crate) fn first_kind_of(family: &str) -> Option<Kind> {
    family.strip_prefix(FIRST_PREFIX).and_then(kind_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_family_is_taken_for_another() {
        for kind in [Kind::User, Kind::group("users").unwrap(), Kind::group("first:users").unwrap()] {
            assert_eq!(kind_of(&family_of(&kind)), Some(kind.clone()));
            assert_eq!(first_kind_of(&first_family_of(&kind)), Some(kind.clone()));
            assert_eq!((kind_of(&first_family_of(&kind)), first_kind_of(&family_of(&kind))), (None, None));
        }
        assert!([META, EVENTS].iter().all(|family| kind_of(family).is_none() && first_kind_of(family).is_none()));
    }
}
