//! Where rows go: the options `--format` and `--output`.

use std::io::{self, IsTerminal};
use std::path::Path;

use crate::failure::Failure;
use crate::output::{self, OutputPath};
use crate::row_format::Format;

/// Where rows are written, and how.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) format: Format,
    pub(crate) output: OutputPath,
}

impl Destination {
    /// The standard output, in a format of text.
    pub(crate) fn stdout(format: Format) -> Self {
        Self { format, output: OutputPath::stdout() }
    }

    /// What `--format` and `--output` say. Nothing is opened.
    pub(crate) fn read(store: &Path, format: Option<Format>, path: Option<&Path>) -> Result<Self, Failure> {
        let output = OutputPath::named("--output", path.unwrap_or_else(|| Path::new("-")))?;
        output::check(store, &[], std::slice::from_ref(&output))?;
        let fitting = || if output.is_stdout() { Format::fitting() } else { Format::Ndjson };
        let format = format.unwrap_or_else(fitting);
        if !format.is_text() && output.is_stdout() && io::stdout().is_terminal() {
            return Err(Failure::new("record batches are not for a terminal: --output FILE writes them to a file"));
        }
        Ok(Self { format, output })
    }
}
