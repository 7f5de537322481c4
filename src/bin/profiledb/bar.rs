//! Progress bars.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A hidden bar, for short commands.
pub(crate) fn none() -> ProgressBar {
    ProgressBar::hidden()
}

/// A bar on the standard error if that is a terminal. With an unknown size it is a spinner with a rate.
pub(crate) fn of(bytes: Option<u64>, what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return none();
    }
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(10));
    let template =
        if bytes.is_some() { "  [{bar:32}] {percent:>3}%  {msg}, {eta} left" } else { "  {spinner} {elapsed}  {msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(format!("0 {what}"));
    if bytes.is_none() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}
