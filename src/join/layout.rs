//! What a join has to read for what was asked, worked out once: which properties of events, which tables, which
//! properties of their rows, and where each field is found among them.

use std::collections::{BTreeMap, BTreeSet};

use super::field::Field;
use super::source::Table;
use crate::model::{FIRST_EVENT, Kind};

/// How events come to the rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Via {
    /// By their `distinct_id`.
    User,
    /// By the ids that the event lists under this group key.
    Group(String),
    /// By the ids that the user's profile lists under this group key.
    UserGroup(String),
}

impl Via {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::User => Kind::User,
            Self::Group(key) | Self::UserGroup(key) => Kind::Group(key.clone()),
        }
    }
}

/// One table to be joined.
#[derive(Debug)]
pub(super) struct Dim {
    pub(super) via: Via,
    pub(super) table: Table,
    /// Where the ids of groups stand; none for users.
    pub(super) ids: Option<Column>,
    /// The properties to project, ascending.
    pub(super) names: Vec<Box<str>>,
}

/// Where the value of a field is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    DistinctId,
    InsertId,
    Time,
    Day,
    /// In the projection of the event.
    Event(usize),
    /// In the projection of a row of a table.
    Dim {
        dim: usize,
        at: usize,
    },
    /// Nowhere. Only for a field that was not asked for when the layout was made.
    Nowhere,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The properties of events to project, ascending.
    pub(super) event_names: Vec<Box<str>>,
    /// Users before the groups that they lead to.
    pub(super) dims: Vec<Dim>,
    /// Whether the values of events are needed beyond their projection.
    pub(super) whole_events: bool,
    /// What was selected, in the order asked for.
    pub(super) select: Vec<(Field, Column)>,
}

/// A property of every user, which no profile has among its own.
const USER_ID: &str = "$distinct_id";

/// A property of an event that is computed.
fn computed(name: &str) -> Option<Column> {
    match name {
        "$event_name" | "event" => Some(Column::Name),
        "$distinct_id" | "distinct_id" => Some(Column::DistinctId),
        "$insert_id" => Some(Column::InsertId),
        "$time" | "time" => Some(Column::Time),
        "$day" => Some(Column::Day),
        _ => None,
    }
}

/// The table that a property of a profile is in.
fn table_of(via: &Via, name: &str) -> Table {
    if name == FIRST_EVENT { Table::FirstEvents(via.kind()) } else { Table::Profiles(via.kind()) }
}

impl Layout {
    /// Works out what these fields need, besides tables that are to be joined anyway.
    pub(super) fn new<'f>(fields: impl IntoIterator<Item = &'f Field>, on: &[Via], select: &'f [Field]) -> Self {
        let mut events: BTreeSet<Box<str>> = BTreeSet::new();
        let mut dims: BTreeMap<(Via, Table), BTreeSet<Box<str>>> = BTreeMap::new();
        for via in on {
            dims.entry((via.clone(), Table::Profiles(via.kind()))).or_default();
        }
        let mut whole_events = false;
        for field in fields.into_iter().chain(select) {
            let (via, name) = match field {
                Field::Event(name) => {
                    match computed(name) {
                        None => drop(events.insert(name.as_str().into())),
                        Some(column) => whole_events |= matches!(column, Column::Name | Column::InsertId),
                    }
                    continue;
                }
                // The id of the user is that of the event, profile or not.
                Field::User(name) if name == USER_ID => continue,
                Field::User(name) => (Via::User, name),
                Field::Group { key, name } => (Via::Group(key.clone()), name),
                Field::UserGroup { key, name } => (Via::UserGroup(key.clone()), name),
            };
            let table = table_of(&via, name);
            dims.entry((via, table)).or_default().insert(name.as_str().into());
        }
        let vias: BTreeSet<Via> = dims.keys().map(|(via, _)| via.clone()).collect();
        for via in vias {
            match via {
                Via::User => {}
                Via::Group(key) => drop(events.insert(key.into())),
                Via::UserGroup(key) => {
                    dims.entry((Via::User, Table::Profiles(Kind::User))).or_default().insert(key.into());
                }
            }
        }
        let mut layout = Self { event_names: events.into_iter().collect(), whole_events, ..Self::default() };
        // `Via::User` sorts first.
        for ((via, table), names) in dims {
            let ids = match &via {
                Via::User => None,
                // Whatever the key is called: it names a property, and nothing that is computed.
                Via::Group(key) => Some(layout.event_column(key)),
                Via::UserGroup(key) => Some(layout.column(&Field::user(key))),
            };
            layout.dims.push(Dim { via, table, ids, names: names.into_iter().collect() });
        }
        layout.select = select.iter().map(|field| (field.clone(), layout.column(field))).collect();
        layout
    }

    /// Where a property of events is found that is not computed.
    fn event_column(&self, name: &str) -> Column {
        let place = self.event_names.binary_search_by(|known| (**known).cmp(name));
        place.map_or(Column::Nowhere, Column::Event)
    }

    /// Where a field is found.
    pub(super) fn column(&self, field: &Field) -> Column {
        let (via, name) = match field {
            Field::Event(name) => return computed(name).unwrap_or_else(|| self.event_column(name)),
            Field::User(name) if name == USER_ID => return Column::DistinctId,
            Field::User(name) => (Via::User, name),
            Field::Group { key, name } => (Via::Group(key.clone()), name),
            Field::UserGroup { key, name } => (Via::UserGroup(key.clone()), name),
        };
        self.dim_column(&via, name)
    }

    /// Where a property of the rows of a table is found.
    pub(super) fn dim_column(&self, via: &Via, name: &str) -> Column {
        let Some(dim) = self.dim(via, &table_of(via, name)) else { return Column::Nowhere };
        let names = self.dims.get(dim).map(|dim| dim.names.as_slice()).unwrap_or_default();
        let at = names.binary_search_by(|known| (**known).cmp(name));
        at.map_or(Column::Nowhere, |at| Column::Dim { dim, at })
    }

    pub(super) fn dim(&self, via: &Via, table: &Table) -> Option<usize> {
        self.dims.iter().position(|dim| dim.via == *via && dim.table == *table)
    }

    /// Whether a table is joined by the ids of users.
    pub(super) fn is_user(&self, dim: usize) -> bool {
        self.dims.get(dim).is_some_and(|dim| dim.via == Via::User)
    }
}
