//! Every bound in one place, with its unit and where it comes from.
//!
//! Limits stand at the door: they are checked when an update is admitted and never inside a fold, because
//! *cut, then remove* is not *remove, then cut* and a fold must not depend on how updates were grouped.

/// The deepest nesting of lists and objects that can be stored at all, whatever the [`Limits`] say.
/// It bounds the stack of every walk over a value.
pub const VALUE_DEPTH_MAX: usize = 64;

/// The longest id of a profile, in bytes. The engine's keys are bounded, so ids are.
pub const ID_BYTES_MAX: usize = 65_535;

/// What an update may contain. [`Limits::mixpanel`] is the default everywhere.
///
/// ```
/// use profiledb::Limits;
///
/// let mut limits = Limits::mixpanel();
/// assert_eq!(limits.properties_max, 2_000);
/// limits.string_chars_max = 1_000;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Properties per profile, in names; `$last_seen` does not count. An update that would exceed it fails
    /// whole. Source: Mixpanel, User Profiles, FAQ (2,000).
    pub properties_max: usize,
    /// Length of a property name, in Unicode scalar values; longer names are cut. Source: same FAQ (255).
    pub name_chars_max: usize,
    /// Length of a string value at any depth, in Unicode scalar values; longer ones are cut between two
    /// characters. Source: Mixpanel, Supported Data Types (255; it says bytes in one place, characters in another).
    pub string_chars_max: usize,
    /// Size of one list or object value as compact JSON, in bytes; larger ones are refused. Source: Supported
    /// Data Types (256 KB).
    pub nested_bytes_max: usize,
    /// Keys in one nested object; more are refused. Source: Supported Data Types (255).
    pub object_keys_max: usize,
    /// How deep objects may stand inside objects; deeper ones are refused. Source: Supported Data Types (3).
    pub object_depth_max: usize,
    /// Size of one update object on the wire, in bytes; larger ones are refused. Source: Mixpanel, User
    /// Profile Limits (1 MB).
    pub update_bytes_max: usize,
    /// Update objects in one request body; a larger body is refused whole. Source: User Profile Limits (2,000).
    pub updates_per_request_max: usize,
}

impl Limits {
    /// The documented limits of Mixpanel.
    #[must_use]
    pub const fn mixpanel() -> Self {
        Self {
            properties_max: 2_000,
            name_chars_max: 255,
            string_chars_max: 255,
            nested_bytes_max: 256 * 1024,
            object_keys_max: 255,
            object_depth_max: 3,
            update_bytes_max: 1024 * 1024,
            updates_per_request_max: 2_000,
        }
    }

    /// No limits but those of memory and of [`VALUE_DEPTH_MAX`].
    #[must_use]
    pub const fn unbounded() -> Self {
        Self {
            properties_max: usize::MAX,
            name_chars_max: usize::MAX,
            string_chars_max: usize::MAX,
            nested_bytes_max: usize::MAX,
            object_keys_max: usize::MAX,
            object_depth_max: usize::MAX,
            update_bytes_max: usize::MAX,
            updates_per_request_max: usize::MAX,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::mixpanel()
    }
}
