//! The command `list`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use profiledb::{Expr, Profile, ProfileKey, Timestamp, Value, View};

use crate::args::ListArgs;
use crate::columns::OutputColumn;
use crate::failure::Failure;
use crate::get;
use crate::known;
use crate::open;
use crate::print::{Format, Named, RowPrinter};
use crate::scope;

/// The default limit of a table, which is buffered to determine its column widths.
pub(crate) const TABLE_ROWS: usize = 100;

/// Prints profiles in the order of their ids.
pub(crate) fn run(dir: &Path, list: &ListArgs) -> Result<(), Failure> {
    let kind = list.of.kind()?;
    let filter = scope::read_filter(list.filter.as_deref())?;
    let destination = list.shape.destination(dir)?;
    let format = destination.format;
    let limit = match list.limit {
        None if format == Format::Table => TABLE_ROWS,
        None => usize::MAX,
        Some(limit) => limit,
    };
    let db = open::to_read(dir)?;
    known::table(&db, &kind)?;
    let view = db.snapshot().table(&kind);
    let scan = || Listed::new(&view, list, filter.as_ref());
    let id_field = kind.id_field();
    // Each column once, and the id is always the first.
    let requested = list.columns.as_ref().map(|columns| {
        let mut once: Vec<String> = Vec::new();
        for name in columns.iter().filter(|name| *name != id_field) {
            if !once.contains(name) {
                once.push(name.clone());
            }
        }
        once
    });
    let header = if format.has_header() && (requested.is_none() || !format.is_text()) {
        // The header needs the names of all columns, and their types, which takes another scan of the same snapshot.
        header(scan().take(limit), requested.as_deref())?
    } else {
        requested.iter().flatten().map(|name| column(name)).collect()
    };
    let columns = std::iter::once(OutputColumn::new(id_field)).chain(header).collect();
    let mut rows = RowPrinter::to(destination, columns)?.fit().hint("--columns picks, --format json prints all");
    // Those that every id has, or may have.
    let always = [id_field, get::LAST_SEEN, get::FIRST_EVENT];
    let mut unseen: BTreeSet<&str> = requested.iter().flatten().map(String::as_str).collect();
    unseen.retain(|name| !always.contains(name));
    let mut entries = scan();
    for entry in entries.by_ref().take(limit) {
        let entry = entry?;
        let mut cells: Vec<Named<'_>> = vec![(id_field, Value::from(entry.id.as_str()))];
        match &requested {
            None => cells.extend(entry.properties()),
            Some(columns) => {
                for name in columns {
                    if let Some(cell) = entry.properties().find(|(found, _)| found == name) {
                        unseen.remove(name.as_str());
                        cells.push(cell);
                    }
                }
            }
        }
        rows.row(&cells)?;
    }
    rows.end()?;
    let empty = entries.empty;
    if list.limit.is_none() && limit < usize::MAX && entries.next().is_some() {
        let _ =
            writeln!(io::stderr(), "the first {limit} profiles; --limit N prints more, --prefix TEXT selects others");
    }
    if empty > 0 {
        let _ = writeln!(io::stderr(), "skipped profiles without properties; --all prints them count={empty}");
    }
    if unseen.is_empty() { Ok(()) } else { known::columns(&view, &unseen) }
}

fn column(name: &str) -> OutputColumn {
    match name {
        get::LAST_SEEN | get::FIRST_EVENT => OutputColumn::of_times(name),
        _ => OutputColumn::new(name),
    }
}

/// The columns of profiles, with their types: those that are requested, or all.
fn header(
    profiles: impl Iterator<Item = Result<ListedProfile, Failure>>,
    requested: Option<&[String]>,
) -> Result<Vec<OutputColumn>, Failure> {
    let mut found: BTreeMap<String, OutputColumn> = BTreeMap::new();
    for entry in profiles {
        for (name, value) in entry?.properties() {
            found.entry(name.to_owned()).or_insert_with_key(|name| column(name)).see(&value);
        }
    }
    Ok(match requested {
        Some(names) => names.iter().map(|name| found.remove(name).unwrap_or_else(|| column(name))).collect(),
        None => found.into_values().collect(),
    })
}

/// An id with its profile, or one that has events only.
struct ListedProfile {
    id: String,
    profile: Option<Profile>,
    first_event: Option<Timestamp>,
}

impl ListedProfile {
    fn properties(&self) -> impl Iterator<Item = Named<'_>> {
        let of_profile = self.profile.iter().flat_map(get::properties);
        let first_event = self.first_event.filter(|_| self.profile.is_none());
        first_event.map(|time| (get::FIRST_EVENT, time.to_string().into())).into_iter().chain(of_profile)
    }
}

/// The profiles to list.
struct Listed<'l> {
    view: &'l View,
    ids: Box<dyn Iterator<Item = profiledb::Result<(String, Option<Profile>)>>>,
    all: bool,
    /// The number of profiles without properties that were skipped so far.
    empty: u64,
}

impl<'l> Listed<'l> {
    fn new(view: &'l View, list: &'l ListArgs, filter: Option<&Expr>) -> Self {
        let mut scan = view.scan().prefix(&list.prefix);
        if let Some(expr) = filter {
            scan = scan.filter(expr.clone());
        }
        let ids: Box<dyn Iterator<Item = _>> = if list.all {
            Box::new(scan.known())
        } else {
            Box::new(scan.iter().map(|row| row.map(|(id, profile)| (id, Some(profile)))))
        };
        Self { view, ids, all: list.all, empty: 0 }
    }

    fn step(&mut self) -> Result<Option<ListedProfile>, Failure> {
        while let Some((id, profile)) = self.ids.next().transpose()? {
            if let Some(profile) = &profile {
                get::warn_of_damage(profile, &ProfileKey::new(self.view.kind().clone(), id.as_str())?);
            }
            let first_event = match &profile {
                Some(profile) => profile.first_event_time(),
                None => self.view.first_event_time(&id)?,
            };
            let entry = ListedProfile { id, profile, first_event };
            if !self.all && entry.profile.as_ref().is_some_and(|profile| profile.properties().is_empty()) {
                self.empty += 1;
                continue;
            }
            return Ok(Some(entry));
        }
        Ok(None)
    }
}

impl Iterator for Listed<'_> {
    type Item = Result<ListedProfile, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
