//! Projection pushdown: what a query needs of events and tables, resolved once, and the column of each of its fields.

use std::collections::{BTreeMap, BTreeSet};

use super::field::Field;
use super::tables::JoinTable;
use crate::error::{Error, Result};
use crate::model::{FIRST_EVENT, Kind, TimeZone};

/// What the rows of a query are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Driver {
    /// One row for each event.
    #[default]
    Events,
    /// One row for each profile of a kind. It takes the place of the event: its properties are those of the row, and
    /// its id is the `distinct_id`.
    Profiles(Kind),
}

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

/// A period of time, in the time zone of the query.
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
    /// Whether the `distinct_id` is needed. A log of rows gives it in any case.
    pub(super) id: bool,
    pub(super) insert_id: bool,
    /// Whether events are needed as a whole.
    pub(super) whole: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct JoinLayout {
    pub(super) driver: Driver,
    /// Where days and other periods begin.
    pub(super) zone: TimeZone,
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

/// Where the value of a field comes from.
enum Placement<'f> {
    Computed(Column),
    /// A property of the row itself.
    Row(&'f str),
    /// A property of the rows of a table that is joined.
    Joined(Via, JoinTable, &'f str),
}

impl Driver {
    /// Whether the rows have a field.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it is that of something else than the profiles.
    pub(super) fn has(&self, field: &Field) -> Result<()> {
        let shape = match (self, field) {
            (Self::Events, _) | (Self::Profiles(Kind::User), Field::User(_)) => return Ok(()),
            (Self::Profiles(Kind::Group(own)), Field::Group { key, .. }) if own == key => return Ok(()),
            (Self::Profiles(Kind::User), _) => "user.NAME".to_owned(),
            (Self::Profiles(Kind::Group(key)), _) => Field::Group { key: key.clone(), name: "NAME".into() }.to_string(),
        };
        Err(Error::invalid(format!("a query of profiles alone has fields {shape} only field={field}")))
    }

    /// Whether a field has at most one value in a row, which can be measured.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it has not, or is no field of the rows.
    pub(super) fn can_measure(&self, field: &Field) -> Result<()> {
        if matches!((self, field), (Self::Events, Field::Group { .. } | Field::UserGroup { .. })) {
            let message = "only fields of events and users can be measured, not those of groups";
            return Err(Error::invalid(format!("{message} field={field}")));
        }
        self.has(field)
    }

    fn placement<'f>(&self, field: &'f Field) -> Placement<'f> {
        let joined = |via: Via, name: &'f str| Placement::Joined(via.clone(), table_of(&via, name), name);
        match (self, field) {
            // Times of first events are in a table of their own.
            (Self::Profiles(kind), field) => match field.name() {
                FIRST_EVENT => Placement::Joined(Via::User, JoinTable::FirstEvents(kind.clone()), FIRST_EVENT),
                name if name == USER_ID || name == kind.id_field() => Placement::Computed(Column::DistinctId),
                name => Placement::Row(name),
            },
            (Self::Events, Field::Event(name)) => computed(name).map_or(Placement::Row(name), Placement::Computed),
            // The id of the user is that of the event, profile or not.
            (Self::Events, Field::User(name)) if name == USER_ID => Placement::Computed(Column::DistinctId),
            (Self::Events, Field::User(name)) => joined(Via::User, name),
            (Self::Events, Field::Group { key, name }) => joined(Via::Group(key.clone()), name),
            (Self::Events, Field::UserGroup { key, name }) => joined(Via::UserGroup(key.clone()), name),
        }
    }
}

impl JoinLayout {
    /// What these fields need, besides tables that are joined and columns of events that are read in any case.
    pub(super) fn new<'f>(
        driver: Driver,
        zone: TimeZone,
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
            match driver.placement(field) {
                Placement::Row(name) => drop(events.insert(name.into())),
                Placement::Computed(column) => {
                    columns.name |= column == Column::Name;
                    columns.id |= column == Column::DistinctId;
                    columns.insert_id |= column == Column::InsertId;
                }
                Placement::Joined(via, table, name) => drop(dims.entry((via, table)).or_default().insert(name.into())),
            }
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
        let mut layout = Self { driver, zone, events: columns, ..Self::default() };
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
        match self.driver.placement(field) {
            Placement::Computed(column) => column,
            Placement::Row(name) => self.event_column(name),
            Placement::Joined(via, table, name) => self.dim_column(&via, &table, name),
        }
    }

    /// The column of a property of the rows of a table.
    fn dim_column(&self, via: &Via, table: &JoinTable, name: &str) -> Column {
        let Some(dim) = self.dim(via, table) else { return Column::Nowhere };
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
