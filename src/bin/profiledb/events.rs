//! Events, as they were tracked, and how many there are.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use profiledb::join::Join;
use profiledb::{Event, Snapshot, Value};

use crate::args::EventsArgs;
use crate::failure::Failure;
use crate::list::TABLE_ROWS;
use crate::open;
use crate::print::{Format, Named, Rows};
use crate::scope::Understood;

const INSERT_ID: &str = "$insert_id";

/// Prints events in the order of the log, or how many there are on each day.
pub(crate) fn run(dir: &Path, events: &EventsArgs) -> Result<(), Failure> {
    let scope = events.scope.read()?;
    let format = events.shape.format();
    let moment = open::to_read(dir)?.snapshot();
    let user = events.user.as_deref();
    if events.days {
        return days(scope.of(asked(&moment, user)), format);
    }
    let limit = match events.limit {
        None if format == Format::Table => TABLE_ROWS,
        None => usize::MAX,
        Some(limit) => limit,
    };
    let mut columns = ["event", "time", "distinct_id"].map(str::to_owned).to_vec();
    if format.has_header() {
        // One more walk over the same moment, to know the columns.
        let mut names = BTreeSet::new();
        for event in found(&moment, user, &scope)?.take(limit) {
            names.extend(event?.properties().iter().map(|(name, _)| column(name).to_owned()));
        }
        columns.extend(names);
        columns.push(INSERT_ID.to_owned());
    }
    let mut out = Rows::new(format, columns)?.fit();
    let mut found = found(&moment, user, &scope)?;
    for event in found.by_ref().take(limit) {
        let event = event?;
        if format.has_header() { out.row(&cells(&event))? } else { out.object(&event)? }
    }
    out.end()?;
    if events.limit.is_none() && limit < usize::MAX && found.next().is_some() {
        let _ = writeln!(io::stderr(), "the first {limit} events; --limit N prints more, --from TIME looks elsewhere");
    }
    Ok(())
}

type Found<'s> = Box<dyn Iterator<Item = profiledb::Result<Event>> + 's>;

/// The events in a scope. They come from the log itself, and from a join where an expression is asked for, which may be
/// about users.
fn found<'s>(moment: &Snapshot, user: Option<&str>, scope: &'s Understood<'_>) -> Result<Found<'s>, Failure> {
    if scope.has_filter() {
        let rows = scope.of(asked(moment, user)).ordered().with_events().rows()?;
        return Ok(Box::new(rows.map(|row| row?.event())));
    }
    let log = moment.events();
    let events = user.map_or_else(|| log.range(scope.bounds()), |id| log.of_user(id));
    // What cannot be read is never passed over.
    Ok(Box::new(events.filter(|event| event.as_ref().map_or(true, |event| scope.has(event)))))
}

/// A join of all events, or of those of one user.
fn asked(moment: &Snapshot, user: Option<&str>) -> Join {
    user.map_or_else(|| moment.join(), |id| moment.join().users([id]))
}

/// What the column of a property is called. Only one name means something beside the properties, too.
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
    let mut rows = Rows::new(format, ["day", "events"])?;
    days.into_iter().try_for_each(|(day, events)| rows.row(&[("day", day.clone()), ("events", events.clone())]))?;
    rows.end()
}
