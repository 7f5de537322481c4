//! The names of column families, and what each of them holds.
//!
//! The engine's own list of column families is the registry of kinds: a group key exists if its column family does.

use std::sync::Arc;

use crate::model::Kind;

/// The column family of metadata: everything except profiles, events and first-event times.
pub(crate) const META: &str = "meta";

/// The column family of the event log.
pub(crate) const EVENTS: &str = "events";

/// The column family of the headers of column segments.
pub(crate) const SEGMENTS: &str = "segments";

/// The column family of the chunks of column segments.
pub(crate) const CHUNKS: &str = "chunks";

/// The column family of the ordinals of users in column segments, by id.
pub(crate) const ORDINALS: &str = "ordinals";

/// The column family of the ids of users in column segments, by ordinal.
pub(crate) const ORDINAL_IDS: &str = "ordinal-ids";

/// The column families of column segments. That of headers is the last to be created.
pub(crate) const SEGMENT_FAMILIES: [&str; 4] = [CHUNKS, ORDINALS, ORDINAL_IDS, SEGMENTS];

/// The column family of what joins have read of the table of users, by ordinal.
pub(crate) const CODES: &str = "codes";

/// The column family of which users were changed since.
pub(crate) const CHANGES: &str = "changes";

const USERS: &str = "users";
/// The prefix of the names of the column families of groups.
pub(crate) const GROUP_PREFIX: &str = "group:";
const FIRST_PREFIX: &str = "first:";

/// The column family of a kind of profile.
pub(crate) fn family_of(kind: &Kind) -> Arc<str> {
    match kind {
        Kind::User => USERS.into(),
        Kind::Group(key) => format!("{GROUP_PREFIX}{key}").into(),
    }
}

/// The kind of profile in a column family, if it holds profiles.
pub(crate) fn kind_of(family: &str) -> Option<Kind> {
    if family == USERS {
        return Some(Kind::User);
    }
    // A column family of an invalid group key was not created by this crate, and holds no profiles.
    family.strip_prefix(GROUP_PREFIX).and_then(|key| Kind::group(key).ok())
}

/// The column family of the first-event times of a kind.
pub(crate) fn first_family_of(kind: &Kind) -> Arc<str> {
    format!("{FIRST_PREFIX}{}", family_of(kind)).into()
}

/// The kind whose first-event times a column family holds, if it holds any.
pub(crate) fn first_kind_of(family: &str) -> Option<Kind> {
    family.strip_prefix(FIRST_PREFIX).and_then(kind_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_families_are_unambiguous() {
        for kind in [Kind::User, Kind::group("users").unwrap(), Kind::group("first:users").unwrap()] {
            assert_eq!(kind_of(&family_of(&kind)), Some(kind.clone()));
            assert_eq!(first_kind_of(&first_family_of(&kind)), Some(kind.clone()));
            assert_eq!((kind_of(&first_family_of(&kind)), first_kind_of(&family_of(&kind))), (None, None));
        }
        let others = [META, EVENTS, SEGMENTS, CHUNKS, ORDINALS, ORDINAL_IDS, CODES, CHANGES];
        assert!(others.iter().all(|family| kind_of(family).is_none() && first_kind_of(family).is_none()));
    }
}
