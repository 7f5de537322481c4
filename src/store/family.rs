//! Which column family holds which kind of profile.
//!
//! The engine's own list of families is the register of kinds: a group key is remembered because its family exists.

use std::sync::Arc;

use crate::model::Kind;

/// The family of everything that is not a profile.
pub(super) const META: &str = "meta";

const USERS: &str = "users";
const GROUP_PREFIX: &str = "group:";

/// The family of a kind of profile.
pub(crate) fn family_of(kind: &Kind) -> Arc<str> {
    match kind {
        Kind::User => USERS.into(),
        Kind::Group(key) => format!("{GROUP_PREFIX}{key}").into(),
    }
}

/// The kind of profile in a family, if it holds profiles.
pub(super) fn kind_of(family: &str) -> Option<Kind> {
    if family == USERS {
        return Some(Kind::User);
    }
    family.strip_prefix(GROUP_PREFIX).and_then(|key| Kind::group(key).ok())
}
