//! Progress bars.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{HumanCount, HumanFloatCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The number of steps between two updates of a spinner.
const COUNTS: u64 = 1_024;

/// A hidden bar, for short commands.
pub(crate) fn none() -> ProgressBar {
    ProgressBar::hidden()
}

/// A bar on the standard error if that is a terminal. With an unknown size it is a spinner with a rate.
pub(crate) fn of(bytes: Option<u64>, what: &str) -> ProgressBar {
    beginning(bytes, format!("0 {what}"))
}

fn beginning(bytes: Option<u64>, message: String) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return none();
    }
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(10));
    let template =
        if bytes.is_some() { "  [{bar:32}] {percent:>3}%  {msg}, {eta} left" } else { "  {spinner} {elapsed}  {msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(message);
    if bytes.is_none() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

/// A spinner for a command whose work is one call. It is cleared when it is dropped.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// A spinner on the standard error if that is a terminal.
    pub(crate) fn new(doing: &str) -> Self {
        Self(beginning(None, doing.to_owned()))
    }

    /// One for a command that prints lines as they come. There is none if those go to a terminal, which is usually the
    /// same one.
    pub(crate) fn beside_lines(doing: &str) -> Self {
        if io::stdout().is_terminal() { Self(none()) } else { Self::new(doing) }
    }

    /// Says how much was done. Called for each of many.
    pub(crate) fn count(&self, done: u64, what: &str) {
        if done.is_multiple_of(COUNTS) {
            self.show(done, what);
        }
    }

    /// The same, for one of few.
    pub(crate) fn show(&self, done: u64, what: &str) {
        if !self.0.is_hidden() {
            let rate = (done as f64 / self.0.elapsed().as_secs_f64().max(1e-6)).round();
            self.0.set_message(format!("{} {what}, {}/s", HumanCount(done), HumanFloatCount(rate)));
        }
    }

    /// Spins while this runs.
    pub(crate) fn during<T>(self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Makes room for a line on the standard error.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
