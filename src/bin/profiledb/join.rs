//! Questions about events and what is known of their users and groups.

use std::io::{self, Write};
use std::path::Path;

use profiledb::join::{Aggregate, Answer, Field, Join as Asked, Measure, Plan, Strategy};
use profiledb::{Db, Error};

use crate::args::{Join, Way};
use crate::failure::Failure;
use crate::list::TABLE_ROWS;
use crate::open;
use crate::print::{self, Format, Named, Rows};

/// What comes out.
enum Wanted {
    /// Events, with fields.
    Rows(Vec<Field>),
    /// Segments by fields, with measures.
    Segments(Vec<Field>, Vec<Measure>),
}

impl Wanted {
    fn read(join: &Join) -> Result<Self, Failure> {
        if join.by.is_empty() && join.measures.is_empty() {
            return Ok(Self::Rows(fields("--select", &join.select)?));
        }
        Ok(Self::Segments(fields("--by", &join.by)?, join.measures.read()?))
    }
}

/// Asks, and prints the answer.
pub(crate) fn run(dir: &Path, join: &Join) -> Result<(), Failure> {
    let (scope, wanted) = (join.scope.read()?, Wanted::read(join)?);
    if join.explain && join.shape.given() == Some(Format::Csv) {
        return Err(Failure::new("--explain is no table: without --format it prints text, with json or ndjson JSON"));
    }
    let db = open::to_read(dir)?;
    let asked = scope.of(joined(db.snapshot().join(), join));
    let refused = |error: Error| refusal(error, &db);
    match wanted {
        wanted if join.explain => explain(asked, wanted, join.shape.given(), refused),
        Wanted::Rows(fields) => rows(asked.select(&fields), &fields, join, refused),
        Wanted::Segments(by, measures) => {
            let aggregate = measures.into_iter().fold(Aggregate::by(by), Aggregate::measure);
            let aggregate = join.top.into_iter().fold(aggregate, Aggregate::top);
            segments(&asked.aggregate(aggregate).map_err(refused)?, join.shape.format())
        }
    }
}

/// Fields, each once.
fn fields(flag: &str, texts: &[String]) -> Result<Vec<Field>, Failure> {
    let mut fields = Vec::new();
    for text in texts {
        let field: Field = text.trim().parse().map_err(|error| Failure::from(error).during(flag))?;
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    Ok(fields)
}

/// What is joined, and how.
fn joined(mut asked: Asked, join: &Join) -> Asked {
    for table in &join.on {
        asked = match table.split_once(':') {
            None if table == "users" => asked.on_users(),
            Some(("user", key)) => asked.on_user_groups(key),
            Some(("group", key)) => asked.on_groups(key),
            _ => asked.on_groups(table),
        };
    }
    asked = asked.threads(join.threads.map_or_else(open::cores, usize::from));
    if let Some(memory) = join.memory {
        asked = asked.memory_bytes(usize::from(memory) << 20);
    }
    if let Some(way) = join.strategy {
        asked = asked.strategy(match way {
            Way::Lookup => Strategy::Lookup,
            Way::Merge => Strategy::Merge,
            Way::Hash => Strategy::Hash,
        });
    }
    if join.inner {
        asked = asked.inner();
    }
    if join.ordered { asked.ordered() } else { asked }
}

/// Why it cannot be asked. Who names a group key that is not there wants to know those that are.
fn refusal(error: Error, db: &Db) -> Failure {
    if !error.is_not_found() {
        return error.into();
    }
    let known: Vec<String> =
        db.kinds().iter().filter_map(|kind| kind.group_key()).map(|key| format!("{key:?}")).collect();
    let known = if known.is_empty() { "no groups at all".into() } else { format!("groups of {}", known.join(", ")) };
    Failure::new(format!("{}; the store has {known}", error.message()))
}

fn explain(
    asked: Asked,
    wanted: Wanted,
    format: Option<Format>,
    refused: impl Fn(Error) -> Failure,
) -> Result<(), Failure> {
    let plan: Plan = match wanted {
        Wanted::Rows(fields) => asked.select(fields).explain(),
        Wanted::Segments(by, measures) => {
            asked.explain_aggregate(measures.into_iter().fold(Aggregate::by(by), Aggregate::measure))
        }
    }
    .map_err(refused)?;
    let mut out = print::stdout();
    match format {
        Some(Format::Json) => writeln!(out, "{}", serde_json::to_string_pretty(&plan)?)?,
        Some(Format::Ndjson) => writeln!(out, "{}", serde_json::to_string(&plan)?)?,
        _ => writeln!(out, "{plan}")?,
    }
    Ok(out.flush()?)
}

fn rows(asked: Asked, fields: &[Field], join: &Join, refused: impl Fn(Error) -> Failure) -> Result<(), Failure> {
    let format = join.shape.format();
    let limit = match join.limit {
        None if format == Format::Table => TABLE_ROWS,
        None => usize::MAX,
        Some(limit) => limit,
    };
    let names: Vec<String> = fields.iter().map(ToString::to_string).collect();
    let mut rows = asked.rows().map_err(refused)?;
    let columns = ["event", "time", "distinct_id"].into_iter().chain(names.iter().map(String::as_str));
    let mut out = Rows::new(format, columns)?.fit().in_words().hint("--select picks, --format json prints all");
    for row in rows.by_ref().take(limit) {
        let row = row?;
        let mut cells: Vec<Named<'_>> = vec![
            ("event", row.name().into()),
            ("time", row.time().to_string().into()),
            ("distinct_id", row.distinct_id().as_ref().into()),
        ];
        cells.extend(names.iter().enumerate().map(|(at, name)| (name.as_str(), row.get(at).unwrap_or_default())));
        out.row(&cells)?;
    }
    out.end()?;
    if join.limit.is_none() && limit < usize::MAX && rows.next().is_some() {
        let _ = writeln!(io::stderr(), "the first {limit} events; --limit N prints more, --by FIELD groups them");
    }
    Ok(())
}

fn segments(answer: &Answer, format: Format) -> Result<(), Failure> {
    if format == Format::Table {
        let mut out = print::stdout();
        write!(out, "{answer}")?;
        return Ok(out.flush()?);
    }
    let names: Vec<&String> = answer.by().iter().chain(answer.measures()).collect();
    let mut rows = Rows::new(format, names.iter().copied())?;
    for row in answer.buckets() {
        let by = row.by.iter().map(|value| value.clone().unwrap_or_default());
        let values = by.chain(row.measures.iter().cloned());
        let cells: Vec<Named<'_>> = names.iter().map(|name| name.as_str()).zip(values).collect();
        rows.row(&cells)?;
    }
    rows.end()
}
