//! Rows on the standard output: JSON, lines of JSON, CSV, or a table for people.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Table};
use profiledb::Value;
use serde::{Serialize, Serializer};

use crate::failure::Failure;

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
}

impl Format {
    /// What suits the reader: a table for a person, lines for a program.
    pub(crate) fn fitting() -> Self {
        if io::stdout().is_terminal() { Self::Table } else { Self::Ndjson }
    }

    /// Whether the columns must be known before the first row.
    pub(crate) fn has_header(self) -> bool {
        matches!(self, Self::Table | Self::Csv)
    }
}

/// The standard output, in large pieces.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Prints one line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// One named cell.
pub(crate) type Named<'a> = (&'a str, Value);

struct AsObject<'r, 'a>(&'r [Named<'a>]);

impl Serialize for AsObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Prints rows as they come, but for a table, which waits for the end to know its widths.
pub(crate) struct Rows {
    format: Format,
    columns: Vec<String>,
    /// How wide a table may be.
    width: Option<usize>,
    rows: u64,
    out: BufWriter<StdoutLock<'static>>,
    table: Vec<Vec<Option<Value>>>,
}

impl Rows {
    /// The columns are those of a table or CSV. JSON prints each row as it is given.
    pub(crate) fn new(format: Format, columns: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, Failure> {
        let columns: Vec<String> = columns.into_iter().map(Into::into).collect();
        let mut rows = Self { format, columns, width: None, rows: 0, out: stdout(), table: Vec::new() };
        if format == Format::Csv {
            let header: Vec<Cow<'_, str>> = rows.columns.iter().map(|name| name.as_str().into()).collect();
            let header = record(&header)?;
            rows.out.write_all(&header)?;
        }
        Ok(rows)
    }

    /// Cuts a table to the width of the terminal, if there is one.
    pub(crate) fn fit(mut self) -> Self {
        self.width = io::stdout().is_terminal().then(|| usize::from(console::Term::stdout().size().1));
        self
    }

    pub(crate) fn row(&mut self, cells: &[Named<'_>]) -> Result<(), Failure> {
        let first = self.rows == 0;
        self.rows += 1;
        match self.format {
            Format::Json => {
                self.out.write_all(if first { b"[\n  " } else { b",\n  " })?;
                self.out.write_all(&serde_json::to_vec(&AsObject(cells))?)?;
            }
            Format::Ndjson => {
                self.out.write_all(&serde_json::to_vec(&AsObject(cells))?)?;
                self.out.write_all(b"\n")?;
            }
            Format::Csv => {
                let texts: Vec<_> = self.arranged(cells).map(|value| value.map_or("".into(), text)).collect();
                let bytes = record(&texts)?;
                self.out.write_all(&bytes)?;
            }
            Format::Table => {
                let row = self.arranged(cells).map(|value| value.cloned()).collect();
                self.table.push(row);
            }
        }
        Ok(())
    }

    /// The cells in the order of the columns.
    fn arranged<'c>(&self, cells: &'c [Named<'_>]) -> impl Iterator<Item = Option<&'c Value>> {
        let find = |name: &String| cells.iter().find(|(given, _)| given == name).map(|(_, value)| value);
        self.columns.iter().map(find)
    }

    pub(crate) fn end(mut self) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.out.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?,
            Format::Table if self.rows == 0 => self.out.write_all(b"no rows\n")?,
            Format::Table => {
                let left_out = draw(&mut self.out, &self.columns, &self.table, self.width)?;
                self.out.flush()?;
                if !left_out.is_empty() {
                    let _ = writeln!(
                        io::stderr(),
                        "too wide for {}; --columns picks, --format json prints all",
                        left_out.join(", ")
                    );
                }
            }
            Format::Ndjson | Format::Csv => {}
        }
        Ok(self.out.flush()?)
    }
}

/// Text as it is, everything else as JSON. Null is a value in JSON, but nothing to look at.
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        Value::Null => "".into(),
        other => other.to_string().into(),
    }
}

fn record(cells: &[Cow<'_, str>]) -> Result<Vec<u8>, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells.iter().map(|cell| cell.as_bytes()))?;
    writer.into_inner().map_err(|error| Failure::new(error.to_string()))
}

/// A wide cell is cut to this on a terminal, and to less when there are many.
const CELL_WIDTHS: [usize; 3] = [48, 32, 20];

const GAP: usize = 2;

/// Draws a table, and returns the columns that did not fit.
fn draw<'c>(
    out: &mut impl Write,
    columns: &'c [String],
    rows: &[Vec<Option<Value>>],
    width: Option<usize>,
) -> io::Result<Vec<&'c str>> {
    let cells: Vec<Vec<(String, bool)>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let natural = |at: usize| {
        let widths = cells.iter().filter_map(|row| row.get(at)).map(|(text, _)| console::measure_text_width(text));
        widths.chain(columns.get(at).map(|name| name.len())).max().unwrap_or_default()
    };
    let natural: Vec<usize> = (0..columns.len()).map(natural).collect();
    let total = |cap: usize| natural.iter().map(|width| width.min(&cap) + GAP).sum::<usize>();
    let (cap, room) = match width {
        None => (usize::MAX, usize::MAX),
        Some(room) => {
            let narrowest = CELL_WIDTHS[CELL_WIDTHS.len() - 1];
            (CELL_WIDTHS.into_iter().find(|cap| total(*cap) <= room).unwrap_or(narrowest), room)
        }
    };
    let mut used = 0;
    let fits = |width: &&usize| {
        used += **width.min(&&cap) + GAP;
        used <= room.saturating_add(GAP)
    };
    let kept = natural.iter().take_while(fits).count().max(1);
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let cut = |text: &str| console::truncate_str(text, cap, "...").into_owned();
    let cell = |text: &str, right: bool| {
        Cell::new(cut(text)).set_alignment(if right { CellAlignment::Right } else { CellAlignment::Left })
    };
    // A name stands where the numbers below it stand.
    let right = |at: usize| cells.iter().any(|row| row.get(at).is_some_and(|(_, right)| *right));
    table.set_header(columns.iter().take(kept).enumerate().map(|(at, name)| cell(name, right(at))));
    for row in &cells {
        table.add_row(row.iter().take(kept).map(|(text, right)| cell(text, *right)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP as u16));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(columns.iter().skip(kept).map(String::as_str).collect())
}

/// The text of a cell, harmless to a terminal, and whether it stands to the right.
fn shown(value: &Option<Value>) -> (String, bool) {
    let Some(value) = value else { return (String::new(), false) };
    let mut safe = String::new();
    for c in text(value).chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    (safe, value.as_number().is_some())
}
