//! The formats of rows.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
#[cfg(feature = "arrow")]
use profiledb::arrow::FileFormat;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One array.
    Json,
    /// One object a line.
    Ndjson,
    /// Columns, cut to the width of the terminal.
    Table,
    /// Comma-separated values with a header; lists and objects as JSON.
    Csv,
    /// Parquet, each column with the type that all its values have, or else JSON.
    #[cfg(feature = "arrow")]
    Parquet,
    /// A stream of Arrow IPC, with the same columns.
    #[cfg(feature = "arrow")]
    Arrow,
}

impl Format {
    /// What suits the reader: a table for a person, lines for a program.
    pub(crate) fn fitting() -> Self {
        if io::stdout().is_terminal() { Self::Table } else { Self::Ndjson }
    }

    /// Whether the columns must be known before the first row.
    pub(crate) fn has_header(self) -> bool {
        !matches!(self, Self::Json | Self::Ndjson)
    }

    /// Whether it is one of text.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Json | Self::Ndjson | Self::Table | Self::Csv)
    }

    /// The format of a file of record batches.
    #[cfg(feature = "arrow")]
    pub(crate) fn file(self) -> Option<FileFormat> {
        match self {
            Self::Parquet => Some(FileFormat::Parquet),
            Self::Arrow => Some(FileFormat::ArrowStream),
            Self::Json | Self::Ndjson | Self::Table | Self::Csv => None,
        }
    }

    /// Parses the formats of text.
    pub(crate) fn text_parser() -> impl TypedValueParser<Value = Self> {
        let texts = Self::value_variants().iter().filter(|format| format.is_text());
        let texts = PossibleValuesParser::new(texts.filter_map(Self::to_possible_value));
        texts.try_map(|name| Self::from_str(&name, false))
    }
}
