//! The command `events`.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use profiledb::join::Join;
use profiledb::{Event, Snapshot, Value};

use crate::args::EventsArgs;
use crate::failure::Failure;
use crate::list::TABLE_ROWS;
use crate::open;
use crate::print::{Format, Named, RowPrinter};
use crate::scope::EventSelection;

const INSERT_ID: &str = "$insert_id";

/// Prints events in the order of the log, or the number of events of each day.
pub(crate) fn run(dir: &Path, events: &EventsArgs) -> Result<(), Failure> {
    let scope = events.scope.read()?;
    let format = events.shape.format();
    let snapshot = open::to_read(dir)?.snapshot();
    let user = events.user.as_deref();
    if events.days {
        return days(scope.of(query(&snapshot, user)), format);
    }
    let limit = match events.limit {
        None if format == Format::Table => TABLE_ROWS,
        None => usize::MAX,
        Some(limit) => limit,
    };
    let mut columns = ["event", "time", "distinct_id"].map(str::to_owned).to_vec();
    if format.has_header() {
        // The header needs the names of all columns, which takes another scan of the same snapshot.
        let mut names = BTreeSet::new();
        for event in found(&snapshot, user, &scope)?.take(limit) {
            names.extend(event?.properties().iter().map(|(name, _)| column(name).to_owned()));
        }
        columns.extend(names);
        columns.push(INSERT_ID.to_owned());
    }
    let mut out = RowPrinter::new(format, columns)?.fit();
    let mut found = found(&snapshot, user, &scope)?;
    for event in found.by_ref().take(limit) {
        let event = event?;
        if format.has_header() { out.row(&cells(&event))? } else { out.object(&event)? }
    }
    out.end()?;
    if events.limit.is_none() && limit < usize::MAX && found.next().is_some() {
        let _ = writeln!(io::stderr(), "the first {limit} events; --limit N prints more, --from TIME selects others");
    }
    Ok(())
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

/// The name of the column of a property. Only one name is also that of another column.
fn column(name: &str) -> &str {
    if name == "event" { "properties.event" } else { name }
}

fn cells(event: &Event) -> Vec<Named<'_>> {
    let time = event.time().to_string();
    let mut cells: Vec<Named<'_>> =
        vec![("event", event.name().into()), ("time", time.into()), ("distinct_id", event.distinct_id().into())];
    cells.extend(event.properties().iter().map(|(name, value)| (column(name), value.clone())));
    cells.extend(event.insert_id().map(|id| (INSERT_ID, Value::from(id))));
    cells
}

fn days(join: Join, format: Format) -> Result<(), Failure> {
    let answer = join.threads(open::cores()).group_by(["event.$day"]).answer()?;
    let mut days: Vec<(&Value, &Value)> =
        answer.buckets().iter().filter_map(|row| Some((row.by.first()?.as_ref()?, row.measures.first()?))).collect();
    days.sort();
    let mut rows = RowPrinter::new(format, ["day", "events"])?;
    days.into_iter().try_for_each(|(day, events)| rows.row(&[("day", day.clone()), ("events", events.clone())]))?;
    rows.end()
}
