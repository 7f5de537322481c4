//! Projection pushdown: what a query needs of events and tables, resolved once, and the column of each of its fields.

use std::collections::{BTreeMap, BTreeSet};

use super::field::Field;
use super::tables::JoinTable;
use crate::model::{FIRST_EVENT, Kind};

/// The key by which a table is joined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Via {
    /// The `distinct_id` of the event.
    User,
    /// The ids that the event lists under this group key.
    Group(String),
    /// The ids that the user's profile lists under this group key.
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
    pub(super) table: JoinTable,
    /// The column with the ids of groups; none for users.
    pub(super) ids: Option<Column>,
    /// The properties to project, ascending.
    pub(super) names: Vec<Box<str>>,
}

/// The column of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    DistinctId,
    InsertId,
    Time,
    /// What the time of the event is cut to.
    Period(Period),
    /// A property of the event, by its position in the projection.
    Event(usize),
    /// A property of the rows of a table, by its position in their projection.
    Dim {
        dim: usize,
        at: usize,
    },
    /// None: a field that was not among those of the layout.
    Nowhere,
}

/// A period of time, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Period {
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
}

/// The columns of events that are needed, besides id and time.
#[derive(Debug, Default)]
pub(super) struct EventColumns {
    /// The properties to project, ascending.
    pub(super) properties: Vec<Box<str>>,
    pub(super) name: bool,
    pub(super) insert_id: bool,
    /// Whether events are needed as a whole.
    pub(super) whole: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct JoinLayout {
    pub(super) events: EventColumns,
    /// Users before the groups that they lead to.
    pub(super) dims: Vec<Dim>,
    /// The selected fields, in their order.
    pub(super) select: Vec<(Field, Column)>,
}

/// A property of every user that is not stored in profiles.
const USER_ID: &str = "$distinct_id";

/// A property of an event that is computed.
fn computed(name: &str) -> Option<Column> {
    match name {
        "$event_name" | "event" => Some(Column::Name),
        "$distinct_id" | "distinct_id" => Some(Column::DistinctId),
        "$insert_id" => Some(Column::InsertId),
        "$time" | "time" => Some(Column::Time),
        "$hour" => Some(Column::Period(Period::Hour)),
        "$day" => Some(Column::Period(Period::Day)),
        "$week" => Some(Column::Period(Period::Week)),
        "$month" => Some(Column::Period(Period::Month)),
        _ => None,
    }
}

/// The table that a property of a profile is in.
fn table_of(via: &Via, name: &str) -> JoinTable {
    if name == FIRST_EVENT { JoinTable::FirstEvents(via.kind()) } else { JoinTable::Profiles(via.kind()) }
}

impl JoinLayout {
    /// What these fields need, besides tables that are joined and columns of events that are read in any case.
    pub(super) fn new<'f>(
        fields: impl IntoIterator<Item = &'f Field>,
        on: &[Via],
        select: &'f [Field],
        mut columns: EventColumns,
    ) -> Self {
        let mut events: BTreeSet<Box<str>> = BTreeSet::new();
        let mut dims: BTreeMap<(Via, JoinTable), BTreeSet<Box<str>>> = BTreeMap::new();
        for via in on {
            dims.entry((via.clone(), JoinTable::Profiles(via.kind()))).or_default();
        }
        for field in fields.into_iter().chain(select) {
            let (via, name) = match field {
                Field::Event(name) => {
                    match computed(name) {
                        None => drop(events.insert(name.as_str().into())),
                        Some(column) => {
                            columns.name |= column == Column::Name;
                            columns.insert_id |= column == Column::InsertId;
                        }
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
                    dims.entry((Via::User, JoinTable::Profiles(Kind::User))).or_default().insert(key.into());
                }
            }
        }
        columns.properties = events.into_iter().collect();
        let mut layout = Self { events: columns, ..Self::default() };
        // `Via::User` sorts first.
        for ((via, table), names) in dims {
            let ids = match &via {
                Via::User => None,
                // The key names a stored property, even if it has the name of a computed one.
                Via::Group(key) => Some(layout.event_column(key)),
                Via::UserGroup(key) => Some(layout.column(&Field::user(key))),
            };
            layout.dims.push(Dim { via, table, ids, names: names.into_iter().collect() });
        }
        layout.select = select.iter().map(|field| (field.clone(), layout.column(field))).collect();
        layout
    }

    /// The column of a property of events that is not computed.
    fn event_column(&self, name: &str) -> Column {
        let place = self.events.properties.binary_search_by(|known| (**known).cmp(name));
        place.map_or(Column::Nowhere, Column::Event)
    }

    /// The column of a field.
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

    /// The column of a property of the rows of a table.
    pub(super) fn dim_column(&self, via: &Via, name: &str) -> Column {
        let Some(dim) = self.dim(via, &table_of(via, name)) else { return Column::Nowhere };
        let names = self.dims.get(dim).map(|dim| dim.names.as_slice()).unwrap_or_default();
        let at = names.binary_search_by(|known| (**known).cmp(name));
        at.map_or(Column::Nowhere, |at| Column::Dim { dim, at })
    }

    pub(super) fn dim(&self, via: &Via, table: &JoinTable) -> Option<usize> {
        self.dims.iter().position(|dim| dim.via == *via && dim.table == *table)
    }

    /// Whether a table is joined by the ids of users.
    pub(super) fn is_user(&self, dim: usize) -> bool {
        self.dims.get(dim).is_some_and(|dim| dim.via == Via::User)
    }
}
