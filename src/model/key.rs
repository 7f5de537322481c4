//! Profile keys: the kind of a profile and its id.

use std::fmt;

use crate::error::{Error, Result};
use crate::limits::ID_BYTES_MAX;

/// A kind of profile: users, or the groups under one group key. Each kind is a table of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Profiles of users, keyed by `distinct_id`.
    User,
    /// Profiles of groups under this group key (such as `company`), keyed by `group_id`.
    Group(String),
}

impl Kind {
    /// The groups under a group key.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the key is empty, longer than 255 bytes or contains a NUL.
    pub fn group(key: impl Into<String>) -> Result<Self> {
        let key = key.into();
        if key.is_empty() {
            return Err(Error::invalid("$group_key, missing or empty").at("$group_key"));
        }
        // The key becomes the name of a column family, which the engine takes as a C string.
        if key.len() > 255 || key.contains('\0') {
            let message = format!("a group key has at most 255 bytes and no NUL group_key={key:?}");
            return Err(Error::invalid(message).at("$group_key"));
        }
        Ok(Self::Group(key))
    }

    /// The group key, if this is a kind of group.
    #[must_use]
    pub fn group_key(&self) -> Option<&str> {
        match self {
            Self::User => None,
            Self::Group(key) => Some(key),
        }
    }

    /// The envelope key that carries the id of such a profile on the wire.
    #[must_use]
    pub fn id_field(&self) -> &'static str {
        match self {
            Self::User => "$distinct_id",
            Self::Group(_) => "$group_id",
        }
    }
}

/// Lets a function that takes `Into<Kind>` accept a borrowed kind.
impl AsRef<Kind> for Kind {
    fn as_ref(&self) -> &Kind {
        self
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("users"),
            Self::Group(key) => write!(f, "group:{key}"),
        }
    }
}

/// The key of one profile: its kind and its id. Ids are compared as bytes; they are not trimmed.
///
/// ```
/// use profiledb::ProfileKey;
///
/// let user = ProfileKey::user("alice")?;
/// let group = ProfileKey::group("company", "acme")?;
/// assert_eq!(group.kind().group_key(), Some("company"));
/// assert!(ProfileKey::user("").is_err());
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileKey {
    kind: Kind,
    id: String,
}

impl ProfileKey {
    /// The key of a user.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the id is empty or longer than [`ID_BYTES_MAX`].
    pub fn user(distinct_id: impl Into<String>) -> Result<Self> {
        Self::new(Kind::User, distinct_id)
    }

    /// The key of a group.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the group key or the id is empty or too long.
    pub fn group(group_key: impl Into<String>, group_id: impl Into<String>) -> Result<Self> {
        Self::new(Kind::group(group_key)?, group_id)
    }

    /// The key of a profile of this kind.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the id is empty or longer than [`ID_BYTES_MAX`].
    pub fn new(kind: Kind, id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        check_id(&kind, &id)?;
        Ok(Self { kind, id })
    }

    /// The kind of profile.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The id within its kind.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id by value.
    #[must_use]
    pub fn into_id(self) -> String {
        self.id
    }
}

/// Validates a borrowed id.
pub(crate) fn check_id(kind: &Kind, id: &str) -> Result<()> {
    if id.is_empty() {
        let field = kind.id_field();
        return Err(Error::invalid(format!("{field}, missing or empty")).at(field));
    }
    if id.len() > ID_BYTES_MAX {
        let message = format!("an id has at most {ID_BYTES_MAX} bytes len={}", id.len());
        return Err(Error::invalid(message).at(kind.id_field()));
    }
    Ok(())
}
