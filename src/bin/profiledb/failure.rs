//! The error of a command, printed on one line.

use std::error::Error;
use std::fmt;
use std::io;

use crate::escape::harmless;

/// The exit status when records were rejected, or a check found something wrong.
pub(crate) const SOME_WRONG: u8 = 2;

/// A message, followed by its causes.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    /// Whether the reader of the output closed it, which is not reported.
    is_broken_pipe: bool,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), is_broken_pipe: false }
    }

    /// Adds a context in front of the message.
    pub(crate) fn during(self, doing: impl fmt::Display) -> Self {
        Self { message: format!("{doing}: {}", self.message), ..self }
    }

    /// Adds what to do about it.
    pub(crate) fn then(self, advice: &str) -> Self {
        Self { message: format!("{}; {advice}", self.message), ..self }
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.is_broken_pipe
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages quote what was read, from files and from stores.
        f.write_str(&harmless(&self.message.replace('\n', " ")))
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut failure = Self::new(error.to_string());
        let mut next: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(error) = next {
            let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
            failure.is_broken_pipe |= error.downcast_ref().is_some_and(broken);
            // Some errors repeat their cause.
            let said = error.to_string();
            if !failure.message.contains(&said) {
                failure.message.push_str(": ");
                failure.message.push_str(&said);
            }
            next = error.source();
        }
        failure
    }
}
