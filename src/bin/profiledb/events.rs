//! The command `events`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use profiledb::join::Join;
use profiledb::{Event, Salvaged, Snapshot, Value};

use crate::args::EventsArgs;
use crate::columns::OutputColumn;
use crate::destination::Destination;
use crate::export;
use crate::failure::{Failure, SOME_WRONG};
use crate::known;
use crate::list::TABLE_ROWS;
use crate::open;
use crate::print::{Format, Named, RowPrinter};
use crate::scope::EventSelection;

const INSERT_ID: &str = "$insert_id";

/// Prints events in the order of the log, or the number of events of each day.
pub(crate) fn run(dir: &Path, events: &EventsArgs) -> Result<ExitCode, Failure> {
    let destination = events.shape.destination(dir)?;
    let snapshot = open::to_read(dir)?.snapshot();
    if events.salvage {
        return salvage(&snapshot, destination);
    }
    print(&snapshot, events, destination).map(|()| ExitCode::SUCCESS)
}

/// Prints every event that can be read.
fn salvage(snapshot: &Snapshot, destination: Destination) -> Result<ExitCode, Failure> {
    let destination = Destination { format: Format::Ndjson, ..destination };
    let (mut out, mut code) = (RowPrinter::to(destination, Vec::new())?, ExitCode::SUCCESS);
    snapshot.events().salvage(|item| match item {
        Salvaged::Item(event) => out.object(&event),
        Salvaged::Damage(damage) => {
            code = ExitCode::from(SOME_WRONG);
            export::report_damage(&damage)
        }
    })?;
    out.end().map(|()| code)
}

fn print(snapshot: &Snapshot, events: &EventsArgs, destination: Destination) -> Result<(), Failure> {
    let scope = events.scope.read()?;
    let format = destination.format;
    let user = events.user.as_deref();
    if events.days {
        if days(scope.of(query(snapshot, user)), destination)? == 0 {
            known::event_names(snapshot, scope.names())?;
        }
        return Ok(());
    }
    let limit = match events.limit {
        None if format == Format::Table => TABLE_ROWS,
        None => usize::MAX,
        Some(limit) => limit,
    };
    let mut columns =
        vec![OutputColumn::new("event"), OutputColumn::of_times("time"), OutputColumn::new("distinct_id")];
    if format.has_header() {
        // The header needs the names of all columns, which takes another scan of the same snapshot.
        let mut found_columns = BTreeMap::new();
        for event in found(snapshot, user, &scope)?.take(limit) {
            for (name, value) in event?.properties() {
                let column = found_columns.entry(column(name).into_owned());
                column.or_insert_with_key(|name| OutputColumn::new(name.as_str())).see(value);
            }
        }
        columns.extend(found_columns.into_values());
        columns.push(OutputColumn::new(INSERT_ID));
    }
    let mut out = RowPrinter::to(destination, columns)?.fit();
    let mut found = found(snapshot, user, &scope)?;
    let mut unseen: Vec<String> = scope.names().to_vec();
    for event in found.by_ref().take(limit) {
        let event = event?;
        unseen.retain(|name| name != event.name());
        if format.has_header() { row(&mut out, &event)? } else { out.object(&event)? }
    }
    out.end()?;
    if events.limit.is_none() && limit < usize::MAX && found.next().is_some() {
        let _ = writeln!(io::stderr(), "the first {limit} events; --limit N prints more, --from TIME selects others");
    }
    known::event_names(snapshot, &unseen)
}

type EventIter<'s> = Box<dyn Iterator<Item = profiledb::Result<Event>> + 's>;

/// The selected events: from the log, or, with an expression, which may refer to users, from a join.
fn found<'s>(snapshot: &Snapshot, user: Option<&str>, scope: &'s EventSelection<'_>) -> Result<EventIter<'s>, Failure> {
    if scope.has_filter() {
        let rows = scope.of(query(snapshot, user)).ordered().with_events().rows()?;
        return Ok(Box::new(rows.map(|row| row?.event())));
    }
    let log = snapshot.events();
    let events = user.map_or_else(|| log.range(scope.bounds()), |id| log.of_user(id));
    // An event that cannot be read is an error, never skipped.
    Ok(Box::new(events.filter(|event| event.as_ref().map_or(true, |event| scope.has(event)))))
}

/// A join of all events, or of those of one user.
fn query(snapshot: &Snapshot, user: Option<&str>) -> Join {
    user.map_or_else(|| snapshot.join(), |id| snapshot.join().users([id]))
}

/// The name of the column of a property, which is not that of another column.
fn column(name: &str) -> Cow<'_, str> {
    if name == "event" || name.starts_with("properties.") { format!("properties.{name}").into() } else { name.into() }
}

fn row(out: &mut RowPrinter, event: &Event) -> Result<(), Failure> {
    let time = event.time().to_string();
    let properties: Vec<_> = event.properties().iter().map(|(name, value)| (column(name), value)).collect();
    let mut cells: Vec<Named<'_>> =
        vec![("event", event.name().into()), ("time", time.into()), ("distinct_id", event.distinct_id().into())];
    cells.extend(properties.iter().map(|(name, value)| (name.as_ref(), (*value).clone())));
    cells.extend(event.insert_id().map(|id| (INSERT_ID, Value::from(id))));
    out.row_at(Some(event.time()), &cells)
}

/// Prints the number of events of each day, and returns how many days there are.
fn days(join: Join, destination: Destination) -> Result<usize, Failure> {
    let answer = join.threads(open::cores()).group_by(["event.$day"]).answer()?;
    let mut days: Vec<(&Value, &Value)> =
        answer.buckets().iter().filter_map(|row| Some((row.by.first()?.as_ref()?, row.measures.first()?))).collect();
    days.sort();
    let count = days.len();
    let mut columns = ["day", "events"].map(OutputColumn::new).to_vec();
    let rows: Vec<[Named<'_>; 2]> =
        days.into_iter().map(|(day, events)| [("day", day.clone()), ("events", events.clone())]).collect();
    for row in &rows {
        columns.iter_mut().zip(row).for_each(|(column, (_, value))| column.see(value));
    }
    let mut out = RowPrinter::to(destination, columns)?;
    rows.iter().try_for_each(|row| out.row(row))?;
    out.end().map(|()| count)
}
