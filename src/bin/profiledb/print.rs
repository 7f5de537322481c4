//! Rows on the standard output or in a file: JSON, lines of JSON, CSV, a table for people, or record batches.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use clap::Command;
use clap_complete::Shell;
use comfy_table::{Cell, CellAlignment, Table};
use profiledb::join::{Answer, Bucket};
use profiledb::{Timestamp, Value};
use serde::{Serialize, Serializer};

#[cfg(feature = "arrow")]
use crate::columns::BatchPrinter;
use crate::columns::OutputColumn;
use crate::destination::Destination;
use crate::escape::harmless;
use crate::failure::Failure;
use crate::output::OutputFile;
pub(crate) use crate::row_format::Format;

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

/// What a table shows for null or no value, and for an empty string.
#[derive(Clone, Copy, Default)]
struct Words {
    unset: &'static str,
    empty: &'static str,
}

const IN_WORDS: Words = Words { unset: "(not set)", empty: "(empty string)" };

/// Prints rows as they come, but for a table, which waits for the end to know its widths.
pub(crate) struct RowPrinter {
    format: Format,
    columns: Vec<String>,
    /// How wide a table may be.
    width: Option<usize>,
    is_stdout: bool,
    /// What to do when it is wider.
    hint: &'static str,
    /// What a table shows where there is no value, and for an empty text.
    words: Words,
    rows: u64,
    out: RowSink,
    table: Vec<Vec<Option<Value>>>,
}

/// Where rows go.
enum RowSink {
    Text(OutputFile),
    #[cfg(feature = "arrow")]
    Batches(Box<BatchPrinter>),
}

impl RowSink {
    /// Writes text. Record batches have none.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Text(out) => out.write_all(text),
            #[cfg(feature = "arrow")]
            Self::Batches(_) => Ok(()),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Text(out) => out.finish(),
            #[cfg(feature = "arrow")]
            Self::Batches(batches) => batches.finish(),
        }
    }
}

impl RowPrinter {
    /// The columns are those of a table or CSV. JSON prints each row as it is given.
    pub(crate) fn new(format: Format, columns: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, Failure> {
        Self::to(Destination::stdout(format), columns.into_iter().map(OutputColumn::new).collect())
    }

    /// Prints to a file, or wherever the arguments say.
    pub(crate) fn to(destination: Destination, columns: Vec<OutputColumn>) -> Result<Self, Failure> {
        let Destination { format, output } = destination;
        let is_stdout = output.is_stdout();
        let names: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
        let out = output.create()?;
        #[cfg(feature = "arrow")]
        let out = match format.file() {
            Some(format) => RowSink::Batches(Box::new(BatchPrinter::new(format, out, columns)?)),
            None => RowSink::Text(out),
        };
        #[cfg(not(feature = "arrow"))]
        let out = RowSink::Text(out);
        let (hint, words) = ("--format json prints all", Words::default());
        let (columns, table) = (names, Vec::new());
        let mut rows = Self { format, columns, width: None, is_stdout, hint, words, rows: 0, out, table };
        if format == Format::Csv {
            let header: Vec<Cow<'_, str>> = rows.columns.iter().map(|name| name.as_str().into()).collect();
            let header = record(&header)?;
            rows.out.write(&header)?;
        }
        Ok(rows)
    }

    /// Cuts a table to the width of the terminal, if it goes to one.
    pub(crate) fn fit(mut self) -> Self {
        self.width = if self.is_stdout { terminal_width() } else { None };
        self
    }

    /// Says what else to do about columns that a table has no room for.
    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    /// Tells null from an empty text in a table.
    pub(crate) fn in_words(mut self) -> Self {
        self.words = IN_WORDS;
        self
    }

    /// Prints an object, where the format is one of JSON.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let (before, after) = match self.format {
            Format::Json if self.rows == 0 => ("[\n  ", ""),
            Format::Json => (",\n  ", ""),
            _ => ("", "\n"),
        };
        self.rows += 1;
        self.out.write(before.as_bytes())?;
        self.out.write(&serde_json::to_vec(object)?)?;
        Ok(self.out.write(after.as_bytes())?)
    }

    pub(crate) fn row(&mut self, cells: &[Named<'_>]) -> Result<(), Failure> {
        self.row_at(None, cells)
    }

    /// Prints a row of an event, whose time may have milliseconds that its cell has not.
    #[cfg_attr(not(feature = "arrow"), expect(unused_variables, reason = "text has whole seconds"))]
    pub(crate) fn row_at(&mut self, time: Option<Timestamp>, cells: &[Named<'_>]) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Ndjson => return self.object(&AsObject(cells)),
            Format::Csv => {
                let texts: Vec<_> = arranged(&self.columns, cells).map(|value| value.map_or("".into(), text)).collect();
                let bytes = record(&texts)?;
                self.out.write(&bytes)?;
            }
            Format::Table => self.table.push(arranged(&self.columns, cells).map(|value| value.cloned()).collect()),
            #[cfg(feature = "arrow")]
            Format::Parquet | Format::Arrow => {
                if let RowSink::Batches(batches) = &mut self.out {
                    batches.row(time, arranged(&self.columns, cells))?;
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.out.write(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?,
            Format::Table if self.rows == 0 => self.out.write(b"no rows\n")?,
            Format::Table => {
                let room = self.width.map(|width| Room { width, cells: &CELL_WIDTHS });
                let (table, left_out) = draw(&self.columns, &self.table, room, self.words);
                self.out.write(table.as_bytes())?;
                self.out.finish()?;
                report_left_out(&left_out, self.hint);
                return Ok(());
            }
            _ => {}
        }
        self.out.finish()
    }
}

/// The cells in the order of the columns.
fn arranged<'c>(columns: &[String], cells: &'c [Named<'_>]) -> impl Iterator<Item = Option<&'c Value>> {
    let find = |name: &String| cells.iter().find(|(given, _)| given == name).map(|(_, value)| value);
    columns.iter().map(find)
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

/// The same for an answer, whose last columns are its measures.
const ANSWER_WIDTHS: [usize; 5] = [48, 32, 20, 12, 8];

const GAP: u16 = 2;

/// An answer as a table, as wide as it is.
pub(crate) fn table(answer: &Answer) -> String {
    // Without a width every column fits.
    drawn(answer, None).0
}

/// Prints an answer as a table, cut to the width of the terminal, if there is one.
pub(crate) fn fitted(answer: &Answer) -> Result<(), Failure> {
    let (table, left_out) = drawn(answer, terminal_width());
    let mut out = stdout();
    out.write_all(table.as_bytes())?;
    out.flush()?;
    report_left_out(&left_out, "--format json prints all");
    Ok(())
}

fn drawn(answer: &Answer, width: Option<usize>) -> (String, Vec<String>) {
    let columns: Vec<String> = answer.by().iter().chain(answer.measures()).cloned().collect();
    let row = |bucket: &Bucket| bucket.by.iter().cloned().chain(bucket.measures.iter().cloned().map(Some)).collect();
    let rows: Vec<Vec<Option<Value>>> = answer.buckets().iter().map(row).collect();
    let room = width.map(|width| Room { width, cells: &ANSWER_WIDTHS });
    let (mut table, left_out) = draw(&columns, &rows, room, IN_WORDS);
    if answer.total() > rows.len() {
        table.push_str(&format!("and {} more\n", answer.total() - rows.len()));
    }
    (table, left_out.into_iter().map(str::to_owned).collect())
}

/// The width of the terminal that the standard output is, if it is one.
fn terminal_width() -> Option<usize> {
    io::stdout().is_terminal().then(|| usize::from(console::Term::stdout().size().1))
}

/// Names the columns that a table had no room for.
fn report_left_out(columns: &[impl AsRef<str>], hint: &str) {
    if !columns.is_empty() {
        let names: Vec<&str> = columns.iter().map(AsRef::as_ref).collect();
        // A hint. Without a standard error there is nowhere to say it.
        let _ = writeln!(io::stderr(), "too wide for {}; {hint}", harmless(&names.join(", ")));
    }
}

/// The room for a table.
#[derive(Clone, Copy)]
struct Room {
    width: usize,
    /// What cells are cut to, the widest first.
    cells: &'static [usize],
}

/// Draws a table, and returns the columns that did not fit.
fn draw<'c>(
    columns: &'c [String],
    rows: &[Vec<Option<Value>>],
    room: Option<Room>,
    words: Words,
) -> (String, Vec<&'c str>) {
    let row = |row: &Vec<Option<Value>>| row.iter().map(|value| shown(value.as_ref(), words)).collect();
    let cells: Vec<Vec<(String, bool)>> = rows.iter().map(row).collect();
    let heads: Vec<String> = columns.iter().map(|name| harmless(name)).collect();
    let natural = |(at, head): (usize, &String)| {
        let widths = cells.iter().filter_map(|row| row.get(at)).map(|(text, _)| console::measure_text_width(text));
        widths.fold(console::measure_text_width(head), usize::max)
    };
    let natural: Vec<usize> = heads.iter().enumerate().map(natural).collect();
    let total = |cap: usize| natural.iter().map(|width| width.min(&cap) + usize::from(GAP)).sum::<usize>();
    let (cap, room) = match room {
        None => (usize::MAX, usize::MAX),
        Some(Room { width, cells }) => {
            // The gap after the last column is not printed.
            let fits = |cap: &&usize| total(**cap) <= width + usize::from(GAP);
            (cells.iter().find(fits).or(cells.last()).copied().unwrap_or(usize::MAX), width)
        }
    };
    let mut used = 0;
    let fits = |width: &&usize| {
        used += **width.min(&&cap) + usize::from(GAP);
        used <= room.saturating_add(usize::from(GAP))
    };
    let kept = natural.iter().take_while(fits).count().max(1);
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let cut = |text: &str| console::truncate_str(text, cap, "...").into_owned();
    let cell = |text: &str, right: bool| {
        Cell::new(cut(text)).set_alignment(if right { CellAlignment::Right } else { CellAlignment::Left })
    };
    // The head of a column is aligned as the numbers in it.
    let right = |at: usize| cells.iter().any(|row| row.get(at).is_some_and(|(_, right)| *right));
    table.set_header(heads.iter().take(kept).enumerate().map(|(at, name)| cell(name, right(at))));
    for row in &cells {
        table.add_row(row.iter().take(kept).map(|(text, right)| cell(text, *right)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let lines: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    (lines, columns.iter().skip(kept).map(String::as_str).collect())
}

/// A line of JSON for a terminal: the control characters that JSON leaves as they are, escaped. It reads as the same.
pub(crate) fn json_line(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let mut line = String::new();
    for c in serde_json::to_string(value)?.chars() {
        if c.is_control() { line.push_str(&format!("\\u{:04x}", u32::from(c))) } else { line.push(c) }
    }
    line.push('\n');
    Ok(line.into_bytes())
}

/// Prints the completions of a command for a shell.
pub(crate) fn completions(mut command: Command, shell: Shell) -> Result<(), Failure> {
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut command, name, &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

/// The text of a cell, and whether it is aligned to the right.
fn shown(value: Option<&Value>, words: Words) -> (String, bool) {
    let value = match value {
        None | Some(Value::Null) => return (words.unset.into(), false),
        Some(Value::String(text)) if text.is_empty() => return (words.empty.into(), false),
        Some(value) => value,
    };
    (harmless(&text(value)), value.as_number().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_are_aligned_and_control_characters_are_escaped() {
        let columns = ["event.\u{5730}\u{57df}\u{1b}[2J", "count"].map(str::to_owned);
        let row = |by: Option<Value>, count: i64| vec![by, Some(count.into())];
        let rows = [row(Some("\u{6771}\u{4eac}".into()), 5), row(Some("a\nb".into()), 12), row(None, 1)];
        let (table, left_out) = draw(&columns, &rows, None, IN_WORDS);
        assert!(left_out.is_empty());
        let columns_wide: Vec<usize> = table.lines().map(console::measure_text_width).collect();
        assert!(columns_wide.iter().all(|width| *width == columns_wide[0]), "{table}");
        let expected = ["event.\u{5730}\u{57df}\\u{1b}[2J  count", "\u{6771}\u{4eac}", "a\\nb", "(not set)"];
        assert!(table.lines().zip(expected).all(|(line, head)| line.starts_with(head)), "{table}");
    }

    #[test]
    fn a_table_is_cut_to_its_room_and_an_answer_keeps_its_measures() {
        let columns = ["user.\u{5730}\u{57df}", "event.path", "count"].map(str::to_owned);
        let row =
            vec![Some("\u{6771}\u{4eac}".repeat(20).into()), Some("/a/long/path".repeat(9).into()), Some(7.into())];
        for (width, cells, left_out) in [
            (200, &ANSWER_WIDTHS[..], 0),
            (80, &ANSWER_WIDTHS, 0),
            (40, &ANSWER_WIDTHS, 0),
            (26, &ANSWER_WIDTHS, 0),
            (12, &ANSWER_WIDTHS, 2),
            (40, &CELL_WIDTHS, 2),
        ] {
            let cells: &'static [usize] = if cells.len() == 3 { &CELL_WIDTHS } else { &ANSWER_WIDTHS };
            let (table, left) = draw(&columns, std::slice::from_ref(&row), Some(Room { width, cells }), IN_WORDS);
            let widest = table.lines().map(console::measure_text_width).max();
            assert!(widest <= Some(width), "{width}: {table}");
            assert_eq!(left.len(), left_out, "{width}: {table}");
            assert!(left_out > 0 || table.ends_with("7\n"), "{table}");
        }
    }
}
