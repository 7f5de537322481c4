//! Profiles as rows.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use profiledb::Value;

use crate::args::List;
use crate::failure::Failure;
use crate::get;
use crate::open;
use crate::print::{Format, Named, Rows};

/// A table is for looking at, and must be held whole to know its widths.
const TABLE_ROWS: usize = 100;

/// Prints profiles in the order of their ids.
pub(crate) fn run(dir: &Path, list: &List) -> Result<(), Failure> {
    let kind = list.of.kind()?;
    let format = list.shape.format();
    let limit = match list.limit {
        None if format == Format::Table => TABLE_ROWS,
        None => usize::MAX,
        Some(limit) => limit,
    };
    let db = open::to_read(dir)?;
    let view = db.snapshot().table(&kind);
    let scan = || view.prefix(&list.prefix);
    let header = match &list.columns {
        Some(columns) => columns.clone(),
        None if format.has_header() => {
            // Who wants all columns wants to know them first: one more scan, of the same moment.
            let mut names = BTreeSet::new();
            for row in scan().take(limit) {
                let (_, profile) = row?;
                names.extend(get::properties(&profile).map(|(name, _)| name.to_owned()));
            }
            names.into_iter().collect()
        }
        None => Vec::new(),
    };
    let id_field = kind.id_field();
    let mut rows = Rows::new(format, std::iter::once(id_field.to_owned()).chain(header))?.fit();
    let mut profiles = scan();
    for row in profiles.by_ref().take(limit) {
        let (id, profile) = row?;
        let mut cells: Vec<Named<'_>> = vec![(id_field, Value::from(id))];
        match &list.columns {
            None => cells.extend(get::properties(&profile)),
            Some(columns) => {
                for name in columns {
                    cells.extend(get::properties(&profile).find(|(found, _)| found == name));
                }
            }
        }
        rows.row(&cells)?;
    }
    rows.end()?;
    if list.limit.is_none() && limit < usize::MAX && profiles.next().is_some() {
        let _ =
            writeln!(io::stderr(), "the first {limit} profiles; --limit N prints more, --prefix TEXT looks elsewhere");
    }
    Ok(())
}
