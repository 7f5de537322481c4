//! The error type of the crate: one opaque type with a kind.
//!
//! # Why one opaque type
//!
//! A public enum with a variant per failure makes every failure part of the API: a variant cannot be split, merged or
//! given a field without breaking callers. Callers rarely distinguish more than what they can *do*: fix the input, try
//! again later, reopen the store, alert an operator. [`ErrorKind`] has exactly those cases, is `#[non_exhaustive]` and
//! `Copy`, and each case has a predicate, so new kinds break no caller. Everything else is a message for people and an
//! error [source](std::error::Error::source) for logs. The type is one pointer wide, which keeps every `Result` small,
//! and cheap to clone, so one failed commit can be reported to every caller that took part in it. `jiff` and
//! `std::io::Error` are designed the same way, for the same reasons.
//!
//! # Conventions
//!
//! Kinds describe what the caller can do, not where the error came from. Messages are lower case, end with the
//! offending id and value as `key=value`, and do not repeat their source.

use std::fmt;
use std::sync::Arc;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input or the call is invalid. Retrying it fails again.
    Invalid,
    /// A documented limit (see [`Limits`](crate::Limits)) would be exceeded. Nothing was changed.
    LimitExceeded,
    /// The requested item does not exist.
    NotFound,
    /// Stored bytes are damaged, or of a format that this version does not know.
    Corrupt,
    /// The store was opened read-only, or it rejects writes after a failure. Nothing was changed.
    ReadOnly,
    /// The store is open for writing already, in another process or in this one.
    InUse,
    /// The operating system reported a failure: disk full, permission denied, a failing device.
    Io,
    /// The store was closed before the call could finish.
    Closed,
    /// The disk failed while a write was being committed, so the write may or may not be stored. The store rejects all
    /// later writes: open it again, and read before writing again, so that nothing is added twice. A write that fails
    /// with any other kind is not stored, nor is any part of it.
    OutcomeUnknown,
    /// The commit queue of the store is full. Nothing was changed: try again later.
    Busy,
    /// A query was cancelled or exceeded its deadline. The results that it returned are incomplete.
    Cancelled,
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
            Self::OutcomeUnknown => "outcome unknown",
            Self::Busy => "busy",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type ErrorSource = Arc<dyn std::error::Error + Send + Sync + 'static>;

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

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    field: Option<String>,
    source: Option<ErrorSource>,
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

    /// The same error, with the field that it is about.
    pub(crate) fn at(self, field: impl Into<String>) -> Self {
        let inner = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Inner { field: Some(field.into()), ..inner }))
    }

    /// The same error, with its source.
    pub(crate) fn because(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let inner = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Inner { source: Some(Arc::new(source)), ..inner }))
    }

    /// What the caller can do about the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, without kind, field or source.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The message, followed by those of its sources, on one line.
    pub(crate) fn with_sources(&self) -> String {
        let mut text = self.0.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string().replace('\n', " "));
            next = source.source();
        }
        text
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

    /// Whether the kind is [`ErrorKind::Io`].
    #[must_use]
    pub fn is_io(&self) -> bool {
        self.kind() == ErrorKind::Io
    }

    /// Whether the kind is [`ErrorKind::Closed`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }

    /// Whether the kind is [`ErrorKind::OutcomeUnknown`]: the write that failed may be stored all the same.
    ///
    #[cfg_attr(feature = "rocksdb", doc = "```")]
    #[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
    /// use profiledb::{Db, Update};
    ///
    /// # fn run(db: &Db) -> profiledb::Result<()> {
    /// match db.users().update("alice", Update::new().add("logins", 1)) {
    ///     Err(error) if error.is_outcome_unknown() => println!("reopen the store and read alice before adding again"),
    ///     Err(error) => println!("nothing was stored: {error}"),
    ///     Ok(()) => println!("stored"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        self.kind() == ErrorKind::OutcomeUnknown
    }

    /// Whether the kind is [`ErrorKind::Busy`]: the same call may succeed later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.kind() == ErrorKind::Busy
    }

    /// Whether the kind is [`ErrorKind::Cancelled`].
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.kind() == ErrorKind::Cancelled
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
        let Inner { kind, message, field, source } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("field", field)
            .field("source", source)
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
