//! Limits: every bound in one place, with its unit and its source.
//!
//! Limits are checked once, when an update is validated, and never inside a fold: *truncate, then remove* is not
//! *remove, then truncate*, and the result of a fold must not depend on how updates were grouped.

use std::num::NonZeroU64;

/// The deepest nesting of lists and objects that can be stored, whatever the [`Limits`] are. It bounds the stack of
/// every recursive function over values.
pub const VALUE_DEPTH_MAX: usize = 64;

/// The longest id of a profile, in bytes. Ids are bounded because the keys of the engine are.
pub const ID_BYTES_MAX: usize = 65_535;

/// The maximum number of groups of one kind that an event or a user belongs to; further ones are ignored by joins.
/// Source: Mixpanel, Group Analytics (300).
pub const GROUP_IDS_MAX: usize = 300;

/// The properties of a place, which a server adds to updates. They do not count as
/// [`properties_max`](Limits::properties_max), also where a client sets them, so that a place is never why an update is
/// refused.
pub const PLACE_PROPERTIES: [&str; 5] = ["$city", "$region", "$country_code", "$timezone", "$geo_source"];

/// Whether a property counts as [`properties_max`](Limits::properties_max).
pub(crate) fn is_counted(name: &[u8]) -> bool {
    !(name.starts_with(b"$") && PLACE_PROPERTIES.iter().any(|place| place.as_bytes() == name))
}

/// What an update or an event may contain. [`Limits::mixpanel`] is the default everywhere.
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
    /// Properties per profile, not counting `$last_seen` and those of a [place](PLACE_PROPERTIES). An update that would
    /// exceed it is rejected as a whole.
    /// Source: Mixpanel, User Profiles, FAQ (2,000).
    pub properties_max: usize,
    /// Length of a property name, in Unicode scalar values; longer names are rejected, or truncated with a note under
    /// lenient rules. Source: same FAQ (255).
    pub name_chars_max: usize,
    /// Length of a string value at any depth, in Unicode scalar values; longer ones are rejected, or truncated between
    /// two characters, with a note, under lenient rules. Source: Mixpanel, Supported Data Types
    /// (255; it says bytes in one place, characters in another).
    pub string_chars_max: usize,
    /// Size of one list or object value as compact JSON, in bytes; larger ones are rejected. Source: Supported
    /// Data Types (256 KB).
    pub nested_bytes_max: usize,
    /// Keys in one nested object; more are rejected. Source: Supported Data Types (255).
    pub object_keys_max: usize,
    /// Nesting depth of objects in objects; deeper ones are rejected. Source: Supported Data Types (3).
    pub object_depth_max: usize,
    /// Size of one update object on the wire, in bytes; larger ones are rejected. Source: Mixpanel, User
    /// Profile Limits (1 MB).
    pub update_bytes_max: usize,
    /// Update objects, or events, in one request body; a larger body is rejected as a whole. Source: User Profile
    /// Limits, Import Events (2,000).
    pub updates_per_request_max: usize,
    /// Properties of one event; more are rejected. Source: Mixpanel, Import Events (255).
    pub event_properties_max: usize,
    /// Elements of a list in an event; more are rejected. Source: Import Events (fewer than 255).
    pub event_list_max: usize,
    /// Size of one list or object in an event as compact JSON, in bytes; larger ones are rejected. Source: Supported
    /// Data Types (8 KB).
    pub event_nested_bytes_max: usize,
    /// Size of one event on the wire, in bytes; larger ones are rejected. Source: Import Events (1 MB).
    pub event_bytes_max: usize,
    /// The earliest time of an event, in seconds since the epoch; earlier ones are rejected. Source: Import Events
    /// (1971-01-01).
    pub event_seconds_min: i64,
    /// How far the time of an event may be ahead of the clock, in seconds; later events are rejected, or their time is
    /// set to now under lenient rules. Source: Import Events (one hour).
    pub event_ahead_seconds_max: i64,
    /// Group keys with a table in one store; an update that would create another table is rejected. Tables that exist
    /// are not affected. Every table is a column family: it costs time at every open, memory and file descriptors, and
    /// creating one takes longer the more there are. Not from Mixpanel; it catches a key and an id that were swapped.
    pub group_keys_max: usize,
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
            event_properties_max: 255,
            event_list_max: 254,
            event_nested_bytes_max: 8 * 1024,
            event_bytes_max: 1024 * 1024,
            event_seconds_min: 31_536_000,
            event_ahead_seconds_max: 3_600,
            group_keys_max: 64,
        }
    }

    /// No limits except memory and [`VALUE_DEPTH_MAX`].
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
            event_properties_max: usize::MAX,
            event_list_max: usize::MAX,
            event_nested_bytes_max: usize::MAX,
            event_bytes_max: usize::MAX,
            event_seconds_min: i64::MIN,
            event_ahead_seconds_max: i64::MAX,
            group_keys_max: usize::MAX,
        }
    }
}

/// Identifies the values of a [`Limits`], to record the limits under which something was validated.
///
/// It is a hash of 64 bits. A collision between two different limits of one process is as unlikely as one between the
/// keys of two events, which the log accepts already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitsId(NonZeroU64);

impl Limits {
    pub(crate) fn id(&self) -> LimitsId {
        let Self {
            properties_max,
            name_chars_max,
            string_chars_max,
            nested_bytes_max,
            object_keys_max,
            object_depth_max,
            update_bytes_max,
            updates_per_request_max,
            event_properties_max,
            event_list_max,
            event_nested_bytes_max,
            event_bytes_max,
            event_seconds_min,
            event_ahead_seconds_max,
            group_keys_max,
        } = self;
        let sizes = [
            properties_max,
            name_chars_max,
            string_chars_max,
            nested_bytes_max,
            object_keys_max,
            object_depth_max,
            update_bytes_max,
            updates_per_request_max,
            event_properties_max,
            event_list_max,
            event_nested_bytes_max,
            event_bytes_max,
            group_keys_max,
        ];
        let times = [event_seconds_min, event_ahead_seconds_max];
        let sizes = sizes.into_iter().map(|size| *size as u64);
        let words = sizes.chain(times.into_iter().map(|time| time.cast_unsigned()));
        let mut bytes = [0; 15 * 8];
        bytes.chunks_exact_mut(8).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
        LimitsId(NonZeroU64::new(xxhash_rust::xxh3::xxh3_64(&bytes)).unwrap_or(NonZeroU64::MIN))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::mixpanel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_differ_in_one_value_have_different_ids() {
        let changes: [fn(&mut Limits); 15] = [
            |limits| limits.properties_max += 1,
            |limits| limits.name_chars_max += 1,
            |limits| limits.string_chars_max += 1,
            |limits| limits.nested_bytes_max += 1,
            |limits| limits.object_keys_max += 1,
            |limits| limits.object_depth_max += 1,
            |limits| limits.update_bytes_max += 1,
            |limits| limits.updates_per_request_max += 1,
            |limits| limits.event_properties_max += 1,
            |limits| limits.event_list_max += 1,
            |limits| limits.event_nested_bytes_max += 1,
            |limits| limits.event_bytes_max += 1,
            |limits| limits.event_seconds_min += 1,
            |limits| limits.event_ahead_seconds_max += 1,
            |limits| limits.group_keys_max += 1,
        ];
        assert_eq!(Limits::mixpanel().id(), Limits::mixpanel().id());
        for change in changes {
            let mut limits = Limits::mixpanel();
            change(&mut limits);
            assert_ne!(limits.id(), Limits::mixpanel().id(), "{limits:?}");
        }
    }
}
