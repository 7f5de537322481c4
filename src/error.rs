//! The one error type of the crate.
//!
//! Kinds say what the caller should do, not where the error came from. Messages are lower case, carry the
//! offending id and value as `key=value` at the end, and never repeat their source.

use std::fmt;
use std::sync::Arc;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input or the call is wrong. Sending it again fails again.
    Invalid,
    /// A documented limit (see [`Limits`](crate::Limits)) would be exceeded. Nothing was changed.
    LimitExceeded,
    /// What was asked for does not exist.
    NotFound,
    /// Stored bytes are damaged, or of a format that this version does not know.
    Corrupt,
    /// The store was opened for reading, or its engine refuses writes after a failure.
    ReadOnly,
    /// Another process holds the store.
    InUse,
    /// The operating system refused: disk full, permission, a failing device.
    Io,
    /// The store was closed before the call could finish.
    Closed,
}

impl ErrorKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::LimitExceeded => "limit exceeded",
            Self::NotFound => "not found",
            Self::Corrupt => "corrupt",
            Self::ReadOnly => "read only",
            Self::InUse => "in use",
            Self::Io => "i/o",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error of this crate: a [kind](ErrorKind), a message, and sometimes the [field](Error::field) it is about.
///
/// Cloning is cheap, because one failed commit is reported to every caller that shared it.
///
/// ```
/// use profiledb::{Limits, Update};
///
/// let error = Update::new().add("logins", f64::NAN).admit(&Limits::mixpanel()).unwrap_err();
/// assert!(error.is_invalid());
/// assert_eq!(error.field(), Some("logins"));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    field: Option<String>,
    source: Option<Source>,
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), field: None, source: None }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LimitExceeded, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// The same error, about this field.
    pub(crate) fn at(self, field: impl Into<String>) -> Self {
        let (kind, message) = (self.0.kind, self.0.message.clone());
        let source = Arc::into_inner(self.0).and_then(|inner| inner.source);
        Self(Arc::new(Inner { kind, message, field: Some(field.into()), source }))
    }

    /// The same error, with what caused it.
    pub(crate) fn because(self, source: impl Into<Source>) -> Self {
        let (kind, message, field) = (self.0.kind, self.0.message.clone(), self.0.field.clone());
        Self(Arc::new(Inner { kind, message, field, source: Some(source.into()) }))
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, without kind, field or source.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The property or envelope key that the error is about, when there is one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// Whether the kind is [`ErrorKind::Invalid`].
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.kind() == ErrorKind::Invalid
    }

    /// Whether the kind is [`ErrorKind::LimitExceeded`].
    #[must_use]
    pub fn is_limit_exceeded(&self) -> bool {
        self.kind() == ErrorKind::LimitExceeded
    }

    /// Whether the kind is [`ErrorKind::NotFound`].
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Whether the kind is [`ErrorKind::Corrupt`].
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.kind() == ErrorKind::Corrupt
    }

    /// Whether the kind is [`ErrorKind::ReadOnly`].
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.kind() == ErrorKind::ReadOnly
    }

    /// Whether the kind is [`ErrorKind::InUse`].
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.kind() == ErrorKind::InUse
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        match &self.0.field {
            Some(field) => write!(f, " field={field:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("field", &self.0.field)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, error.to_string()).because(error)
    }
}
