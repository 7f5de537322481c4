//! Binding of a mapping to the columns of a file, and of the cells of a row to an update.

use super::cell::CellType;
use super::options::Csv;
use super::rows::CsvFields;
use crate::error::{Error, Result};
use crate::ingest::reject::{Outcome, Reject};
use crate::model::{Kind, ProfileKey};
use crate::ops::{Op, Update, is_reserved};

/// The columns of a file.
#[derive(Debug)]
pub(super) struct Columns {
    count: usize,
    kind: Kind,
    /// The number of the id column, counted from 0, or none if ids are random.
    id: Option<usize>,
    stored: Vec<StoredColumn>,
}

#[derive(Debug)]
struct StoredColumn {
    /// Counted from 0.
    index: usize,
    property: String,
    cells: CellType,
}

impl Columns {
    /// Binds a mapping to a file with these columns.
    ///
    /// # Errors
    ///
    /// If a column does not exist, has no name or two uses, or cannot be stored.
    pub(super) fn bind(csv: &Csv, header: Option<&[String]>, count: usize) -> Result<Self> {
        let names = ColumnNames { header, count };
        let mut properties: Vec<Option<&str>> = vec![None; count];
        for (column, name) in properties.iter_mut().zip(header.into_iter().flatten()) {
            *column = Some(name.as_str()).filter(|name| !name.is_empty());
        }
        let explicit = csv.id.as_deref().map(|column| names.find(column, "id")).transpose()?;
        if let Some(column) = explicit.and_then(|index| properties.get_mut(index)) {
            // It is stored as well only if it is mapped.
            *column = None;
        }
        let mut mapped = Vec::new();
        for (column, property) in &csv.map {
            let index = names.find(column, "map")?;
            if mapped.contains(&index) {
                return Err(invalid("map", "the column is mapped twice", index));
            }
            mapped.push(index);
            properties.get_mut(index).into_iter().for_each(|name| *name = Some(property));
        }
        let skipped: Vec<usize> = csv.skip.iter().map(|column| names.find(column, "skip")).collect::<Result<_>>()?;
        for index in &skipped {
            if mapped.contains(index) {
                return Err(invalid("skip", "the column is mapped and skipped", *index));
            }
            properties.get_mut(*index).into_iter().for_each(|name| *name = None);
        }
        let named = |name: &str| properties.iter().position(|property| *property == Some(name));
        let by_name = if explicit.is_none() { named(csv.id_field()) } else { None };
        let id = explicit.or(by_name).or_else(|| named("$email"));
        if let Some(column) = by_name.and_then(|index| properties.get_mut(index)) {
            *column = None;
        }
        let mut columns = Self { count, kind: csv.kind.clone(), id, stored: Vec::new() };
        for (index, property) in properties.into_iter().enumerate() {
            match property {
                Some(property) => columns.store(index, property)?,
                None if skipped.contains(&index) || explicit == Some(index) || by_name == Some(index) => {}
                None => return Err(invalid("map", "a column without a name is mapped or skipped", index)),
            }
        }
        for (column, cells) in &csv.types {
            let index = names.find(column, "types")?;
            let Some(stored) = columns.stored.iter_mut().find(|stored| stored.index == index) else {
                return Err(invalid("types", "the column has a type, and is not stored", index));
            };
            stored.cells = *cells;
        }
        Ok(columns)
    }

    fn store(&mut self, index: usize, property: &str) -> Result<()> {
        if is_reserved(property) {
            let reason = "a property of this name cannot be stored; map the column to another, or skip it";
            return Err(invalid("map", &format!("{reason} property={property:?}"), index));
        }
        if let Some(other) = self.stored.iter().find(|stored| stored.property == property) {
            let reason = format!("two columns are one property property={property:?} column={}", other.index + 1);
            return Err(invalid("map", &reason, index));
        }
        self.stored.push(StoredColumn { index, property: property.into(), cells: CellType::Auto });
        Ok(())
    }

    /// The profile of a row, and its update. `random_id` is for rows without an id column.
    pub(super) fn update(
        &self,
        row: &CsvFields<'_>,
        random_id: impl FnOnce() -> String,
    ) -> Outcome<(ProfileKey, Update)> {
        if row.len() != self.count {
            let reason =
                format!("the number of fields is not that of the first row fields={} first={}", row.len(), self.count);
            return Err(Reject::invalid(reason));
        }
        let id_field = self.kind.id_field();
        let id = match self.id {
            None => random_id(),
            Some(index) => match row.get(index).filter(|id| !id.is_empty()) {
                Some(id) => id.into_owned(),
                None => return Err(Reject::at(id_field, format!("{id_field}, missing or empty column={}", index + 1))),
            },
        };
        let key = ProfileKey::new(self.kind.clone(), id)?;
        // The times of imports are not those of updates.
        let mut update = Update::new().ignore_time();
        // A user can exist without properties. A group exists only with properties.
        if self.kind == Kind::User {
            update = update.create();
        }
        for StoredColumn { index, property, cells } in &self.stored {
            let Some(text) = row.get(*index).filter(|text| !text.is_empty()) else { continue };
            let value = cells.value(&text).map_err(|error| {
                let reject = Reject::from(error).with_id(key.id());
                let reason = format!("{} column={}", reject.reason, index + 1);
                Reject { field: Some(format!("$set.{property}").into()), reason, ..reject }
            })?;
            update.push(property.clone(), Op::Set(value));
        }
        Ok((key, update))
    }
}

/// How columns are named.
struct ColumnNames<'h> {
    header: Option<&'h [String]>,
    count: usize,
}

impl ColumnNames<'_> {
    /// The number of a column, counted from 0.
    fn find(&self, column: &str, option: &str) -> Result<usize> {
        let mut named = self.header.into_iter().flatten().enumerate().filter(|(_, name)| *name == column);
        let number = column.parse().ok().filter(|number: &usize| (1..=self.count).contains(number));
        if let Some((index, _)) = named.next() {
            if let Some(other) = number.filter(|number| number - 1 != index) {
                let reason =
                    format!("the name of this column is the number of another name={column:?} column={}", index + 1);
                return Err(invalid(option, &reason, other - 1));
            }
            return match named.next() {
                Some((other, _)) => {
                    let reason = format!(
                        "two columns have this name, so it takes a number name={column:?} column={}",
                        index + 1
                    );
                    Err(invalid(option, &reason, other))
                }
                None => Ok(index),
            };
        }
        number.map(|number| number - 1).ok_or_else(|| {
            let (names, count) = (if self.header.is_some() { " or a name in the header" } else { "" }, self.count);
            Error::invalid(format!("a column is a number from 1 to {count}{names} column={column:?}")).at(option)
        })
    }
}

fn invalid(option: &str, reason: &str, index: usize) -> Error {
    Error::invalid(format!("{reason} column={}", index + 1)).at(option)
}
