//! Queries over events and the profiles of their users and groups.

use std::io::{self, Write};
use std::path::Path;

#[cfg(feature = "arrow")]
use profiledb::arrow::{BatchWriter, FileFormat};
use profiledb::join::{Answer, Breakdown, Field, GroupBy, Join as Query, Measure, Plan, Strategy};
use profiledb::{Db, Error, Number, Value};

use crate::args::{JoinArgs, RowOutput, Way};
use crate::bar::Spinner;
use crate::columns::OutputColumn;
use crate::destination::Destination;
use crate::escape::harmless;
use crate::failure::Failure;
use crate::known;
use crate::list::TABLE_ROWS;
use crate::names;
use crate::open;
#[cfg(feature = "arrow")]
use crate::output::OutputPath;
use crate::print::{self, Format, Named, RowPrinter};

/// The memory that the library gives to buckets by default, in bytes.
const BUCKETS_MEMORY: usize = 512 << 20;

/// The shape of the result.
enum Output {
    /// Events, with fields.
    Rows(Vec<Field>),
    /// Buckets by fields, with measures.
    Buckets(Vec<Breakdown>, Vec<Measure>),
}

impl Output {
    fn read(join: &JoinArgs) -> Result<Self, Failure> {
        if join.by.is_empty() && join.measures.is_empty() {
            return Ok(Self::Rows(fields("--select", &join.select)?));
        }
        Ok(Self::Buckets(
            breakdowns("--by", names::fields(&join.by), |text| Ok(text.parse()?))?,
            join.measures.read(|text| Ok(text.parse()?))?,
        ))
    }
}

/// Runs the query and prints its result.
pub(crate) fn run(dir: &Path, join: &JoinArgs) -> Result<(), Failure> {
    let (scope, output) = (join.scope.read()?, Output::read(join)?);
    let explained = explained(join.explain, &join.shape)?;
    let destination = join.shape.destination(dir)?;
    let db = open::to_read(dir)?;
    let snapshot = db.snapshot();
    let query = scope.of(joined(snapshot.join(), join));
    let refused = |error: Error| refusal(error, &db);
    match output {
        Output::Rows(fields) => {
            let query = query.select(&fields);
            if let Some(format) = explained {
                return explain(&query.explain().map_err(refused)?, format);
            }
            if rows(&query, &fields, join.limit, destination, refused)? > 0 {
                return Ok(());
            }
        }
        Output::Buckets(by, measures) => {
            let query = measures.into_iter().fold(query.group_by(by), GroupBy::measure);
            if let Some(format) = explained {
                return explain(&query.explain().map_err(refused)?, format);
            }
            let query = join.top.into_iter().fold(query, GroupBy::top);
            let query = join.buckets_max.into_iter().fold(query, GroupBy::buckets_max);
            let memory = join.memory.map(|memory| usize::from(memory) << 20).filter(|memory| *memory > BUCKETS_MEMORY);
            let query = memory.into_iter().fold(query, GroupBy::memory_bytes);
            let answer = Spinner::new("joining").during(|| query.answer()).map_err(refused)?;
            buckets(&answer, destination)?;
            let is_nothing = |value: &Value| value.is_null() || value.as_number().is_some_and(Number::is_zero);
            if answer.buckets().iter().any(|bucket| !bucket.measures.iter().all(is_nothing)) {
                return Ok(());
            }
        }
    }
    // Nothing was found, which may be because of a name.
    known::event_names(&snapshot, scope.names())
}

/// Fields, each once.
fn fields(flag: &str, texts: &[String]) -> Result<Vec<Field>, Failure> {
    let mut fields = Vec::new();
    for text in names::fields(texts) {
        let field: Field = text.trim().parse().map_err(|error| Failure::from(error).during(flag))?;
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    Ok(fields)
}

/// Fields to group by, each once. A function reads them.
pub(crate) fn breakdowns(
    flag: &str,
    texts: Vec<String>,
    read: impl Fn(&str) -> Result<Breakdown, Failure>,
) -> Result<Vec<Breakdown>, Failure> {
    let mut breakdowns: Vec<Breakdown> = Vec::new();
    for text in texts {
        let breakdown = read(text.trim()).map_err(|failure| failure.during(flag))?;
        // The text of one says all that a command line can say of it.
        if !breakdowns.iter().any(|known| known.to_string() == breakdown.to_string()) {
            breakdowns.push(breakdown);
        }
    }
    Ok(breakdowns)
}

/// Which tables are joined, and how.
fn joined(mut query: Query, join: &JoinArgs) -> Query {
    for table in &join.on {
        query = match table.split_once(':') {
            None if table == "users" => query.on_users(),
            Some(("user", key)) => query.on_user_groups(key),
            Some(("group", key)) => query.on_groups(key),
            _ => query.on_groups(table),
        };
    }
    query = query.threads(join.threads.map_or_else(open::cores, usize::from));
    if let Some(memory) = join.memory {
        query = query.memory_bytes(usize::from(memory) << 20);
    }
    if let Some(way) = join.strategy {
        query = query.strategy(match way {
            Way::Lookup => Strategy::Lookup,
            Way::Merge => Strategy::Merge,
            Way::Hash => Strategy::Hash,
        });
    }
    if join.inner {
        query = query.inner();
    }
    if join.ordered { query.ordered() } else { query }
}

/// The error of a query that was refused. For an unknown group key it lists the known ones.
fn refusal(error: Error, db: &Db) -> Failure {
    if !error.is_not_found() {
        return error.into();
    }
    Failure::new(format!("{}; {}", error.message(), known::groups(db)))
}

/// With `--explain`, the format in which a plan is printed, if one was requested.
pub(crate) fn explained(explain: bool, shape: &RowOutput) -> Result<Option<Option<Format>>, Failure> {
    if explain && shape.given().is_some_and(|format| format.has_header() && format != Format::Table) {
        return Err(Failure::new("--explain is no table: without --format it prints text, with json or ndjson JSON"));
    }
    if explain && shape.has_file() {
        return Err(Failure::new("--explain prints to the standard output only, without --output"));
    }
    Ok(explain.then(|| shape.given()))
}

/// Prints a plan.
pub(crate) fn explain(plan: &Plan, format: Option<Format>) -> Result<(), Failure> {
    let mut out = print::stdout();
    match format {
        Some(Format::Json) => writeln!(out, "{}", serde_json::to_string_pretty(plan)?)?,
        Some(Format::Ndjson) => writeln!(out, "{}", serde_json::to_string(plan)?)?,
        _ => plan.to_string().lines().try_for_each(|line| writeln!(out, "{}", harmless(line)))?,
    }
    Ok(out.flush()?)
}

/// Prints joined events, and returns how many.
fn rows(
    query: &Query,
    fields: &[Field],
    limit: Option<usize>,
    to: Destination,
    refused: impl Fn(Error) -> Failure,
) -> Result<u64, Failure> {
    let spinner = if to.output.is_stdout() { Spinner::beside_lines("joining") } else { Spinner::new("joining") };
    #[cfg(feature = "arrow")]
    if let Some(format) = to.format.file() {
        return batches(query, limit.unwrap_or(usize::MAX), format, to.output, &spinner, refused);
    }
    let mut count = 0;
    let at_most = match limit {
        None if to.format == Format::Table => TABLE_ROWS,
        None => usize::MAX,
        Some(limit) => limit,
    };
    let names: Vec<String> = fields.iter().map(ToString::to_string).collect();
    let mut rows = query.rows().map_err(refused)?;
    let columns = ["event", "time", "distinct_id"].into_iter().chain(names.iter().map(String::as_str));
    let out = RowPrinter::to(to, columns.map(OutputColumn::new).collect())?;
    let mut out = out.fit().in_words().hint("--select picks, --format json prints all");
    for row in rows.by_ref().take(at_most) {
        let row = row?;
        let mut cells: Vec<Named<'_>> = vec![
            ("event", row.name().into()),
            ("time", row.time().to_string().into()),
            ("distinct_id", row.distinct_id().into()),
        ];
        cells.extend(names.iter().enumerate().map(|(at, name)| (name.as_str(), row.get(at).unwrap_or_default())));
        out.row(&cells)?;
        count += 1;
        spinner.count(count, "events");
    }
    drop(spinner);
    out.end()?;
    if limit.is_none() && at_most < usize::MAX && rows.next().is_some() {
        let _ = writeln!(io::stderr(), "the first {at_most} events; --limit N prints more, --by FIELD groups them");
    }
    Ok(count)
}

/// Writes joined events as record batches, and returns how many.
#[cfg(feature = "arrow")]
fn batches(
    query: &Query,
    limit: usize,
    format: FileFormat,
    output: OutputPath,
    spinner: &Spinner,
    refused: impl Fn(Error) -> Failure,
) -> Result<u64, Failure> {
    let batches = query.record_batches().map_err(refused)?;
    let mut writer = BatchWriter::new(format, output.create()?, &batches.schema())?;
    let (mut count, mut left) = (0, limit);
    for batch in batches {
        if left == 0 {
            break;
        }
        let batch = batch?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        writer.write(&batch)?;
        count += batch.num_rows() as u64;
        spinner.show(count, "events");
    }
    writer.finish()?.finish()?;
    Ok(count)
}

/// Prints buckets.
pub(crate) fn buckets(answer: &Answer, to: Destination) -> Result<(), Failure> {
    if to.format == Format::Table && to.output.is_stdout() {
        return print::fitted(answer);
    }
    let names: Vec<&String> = answer.by().iter().chain(answer.measures()).collect();
    let mut columns: Vec<OutputColumn> = names.iter().copied().map(OutputColumn::new).collect();
    for bucket in answer {
        let values = bucket.by.iter().map(Option::as_ref).chain(bucket.measures.iter().map(Some));
        columns
            .iter_mut()
            .zip(values)
            .for_each(|(column, value)| value.into_iter().for_each(|value| column.see(value)));
    }
    let mut rows = RowPrinter::to(to, columns)?.in_words();
    for bucket in answer {
        // JSON and CSV have null for what is not set.
        let by = bucket.by.iter().map(|value| value.clone().unwrap_or_default());
        let values = by.chain(bucket.measures.iter().cloned());
        let cells: Vec<Named<'_>> = names.iter().map(|name| name.as_str()).zip(values).collect();
        rows.row(&cells)?;
    }
    rows.end()
}
