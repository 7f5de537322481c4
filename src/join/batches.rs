//! The rows of a join as Arrow record batches.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::field::Field;
use super::fold::fold;
use super::plan::Plan;
use super::query::Join;
use super::rows::{Row, Rows};
use super::stats::JoinStats;
use crate::arrow::{BatchBuilder, Cell, ColumnType, TypeInference};
use crate::error::{Error, Result};
use crate::model::{FIRST_EVENT, LAST_SEEN, Value};

/// The columns of every row, before the selected fields.
const HEAD: [(&str, ColumnType); 3] =
    [("event", ColumnType::Text), ("time", ColumnType::Timestamp), ("distinct_id", ColumnType::Text)];

impl Join {
    /// The type of the column of a selected field, for [`record_batches`](Self::record_batches). By default it is
    /// inferred. A value that does not fit is an error.
    pub fn column_type<F: TryInto<Field, Error: Into<Error>>>(mut self, field: F, column_type: ColumnType) -> Self {
        match field.try_into() {
            Ok(field) => {
                self.column_types.retain(|(known, _)| *known != field);
                self.column_types.push((field, column_type));
            }
            Err(error) => self.refuse(error.into()),
        }
        self
    }

    /// The types of the columns of the selected fields, in their order: those that were set by
    /// [`column_type`](Self::column_type), and for the others the narrowest that all values of this query fit, which is
    /// found by running it once more, on its threads. Nothing is run if all are set.
    ///
    /// | field | type |
    /// |---|---|
    /// | `event.$time` | `Timestamp`, with milliseconds |
    /// | name, ids, `$hour`, `$day`, `$week`, `$month` of events | `Text` |
    /// | `$last_seen`, `$mp_first_event_time` | `Timestamp` |
    /// | of groups | lists of the type of their values |
    /// | any other | as [`TypeInference`] finds |
    ///
    /// Events of [`events_from`](Self::events_from) can be read only once: columns whose types are neither set nor in
    /// this table as one type are `Json`.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows), what ends the run before its end, and [`Invalid`](crate::ErrorKind::Invalid) for a type
    /// of a field that is not selected.
    pub fn column_types(&self) -> Result<Vec<ColumnType>> {
        if let Some((field, _)) = self.column_types.iter().find(|(field, _)| !self.select.contains(field)) {
            return Err(Error::invalid("a type of a column that is not selected").at(field.to_string()));
        }
        let known = |field: &Field| {
            let set = self.column_types.iter().find(|(of, _)| of == field).map(|(_, column_type)| column_type.clone());
            set.or_else(|| computed_type(field))
        };
        let mut types: Vec<Option<ColumnType>> = self.select.iter().map(known).collect();
        if types.iter().any(Option::is_none) && self.own_events.is_none() {
            let mut query = self.clone();
            query.hints.ordered = false;
            let new = || -> Vec<TypeInference> { query.select.iter().map(inference).collect() };
            let states = fold(&Arc::new(query.prepare(&[], true)?), new, |seen: &mut Vec<TypeInference>, row| {
                for (at, seen) in seen.iter_mut().enumerate().filter(|(at, _)| matches!(types.get(*at), Some(None))) {
                    match row.text(at) {
                        Some(text) => seen.see_text(text),
                        None => row.get(at).iter().for_each(|value| seen.see(value)),
                    }
                }
                Ok(())
            })?;
            let mut all = new();
            for state in &states {
                all.iter_mut().zip(state).for_each(|(all, seen)| all.merge(seen));
            }
            for (column_type, seen) in types.iter_mut().zip(&all) {
                column_type.get_or_insert_with(|| seen.column_type());
            }
        }
        Ok(types.into_iter().map(|column_type| column_type.unwrap_or(ColumnType::Json)).collect())
    }

    /// Runs the query, and returns its rows as Arrow record batches of at most [8,192](crate::arrow::BATCH_ROWS)
    /// rows each.
    ///
    /// The columns are `event`, `time` (a timestamp in milliseconds, UTC), `distinct_id`, and the selected fields by
    /// their names, with null where a field is not set. Text is dictionary-encoded. All batches have one schema;
    /// [`column_types`](Self::column_types) says how it is found.
    ///
    #[cfg_attr(feature = "rocksdb", doc = "```")]
    #[cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
    /// # let dir = tempfile::tempdir()?;
    /// use profiledb::arrow::ColumnType;
    /// use profiledb::{Db, Event, Timestamp, Update};
    ///
    /// let db = Db::open(dir.path().join("store"))?;
    /// let time = Timestamp::from_seconds(1_700_000_000);
    /// db.events().append(Event::new("purchase", "alice", time).set("amount", 5))?;
    /// db.users().update("alice", Update::new().set("plan", "pro"))?;
    ///
    /// let purchases = db.snapshot().join().event_names(["purchase"]).select(["event.amount", "user.plan"]);
    /// assert_eq!(purchases.column_types()?, [ColumnType::Int64, ColumnType::Text]);
    ///
    /// let batches = purchases.column_type("event.amount", ColumnType::Float64).record_batches()?;
    /// println!("{}", batches.schema());
    /// for batch in batches {
    ///     assert_eq!(batch?.num_rows(), 1);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`column_types`](Self::column_types) and [`rows`](Self::rows).
    pub fn record_batches(&self) -> Result<RecordBatches> {
        let types = self.column_types()?;
        let is_time = |field: &Field| matches!(field, Field::Event(name) if matches!(name.as_str(), "$time" | "time"));
        let exact_times = self.select.iter().map(is_time).zip(&types);
        let exact_times = exact_times.map(|(is_time, kind)| is_time && *kind == ColumnType::Timestamp).collect();
        let names: Vec<String> = self.select.iter().map(ToString::to_string).collect();
        let head = HEAD.into_iter().map(|(name, column_type)| (name.to_owned(), column_type));
        let builder = BatchBuilder::with_required(HEAD.len(), head.chain(names.into_iter().zip(types)));
        Ok(RecordBatches { rows: self.rows()?, builder, exact_times, has_ended: false })
    }
}

/// The type of a computed property of events.
fn computed_type(field: &Field) -> Option<ColumnType> {
    let Field::Event(name) = field else { return None };
    match name.as_str() {
        "$time" | "time" => Some(ColumnType::Timestamp),
        "$event_name" | "event" | "$distinct_id" | "distinct_id" | "$insert_id" | "$hour" | "$day" | "$week"
        | "$month" => Some(ColumnType::Text),
        _ => None,
    }
}

/// What is known of a field before any value is seen.
fn inference(field: &Field) -> TypeInference {
    let is_time = !matches!(field, Field::Event(_)) && [LAST_SEEN, FIRST_EVENT].contains(&field.name());
    let inference = if is_time { TypeInference::of_times() } else { TypeInference::new() };
    match field {
        Field::Event(_) | Field::User(_) => inference,
        Field::Group { .. } | Field::UserGroup { .. } => inference.in_lists(),
    }
}

/// The rows of a join as Arrow record batches, see [`Join::record_batches`].
///
/// A failure is the last item. The rows that precede it in its batch are not returned.
pub struct RecordBatches {
    rows: Rows,
    builder: BatchBuilder,
    /// Which selected fields are the time of the event, which has more digits than its text.
    exact_times: Vec<bool>,
    has_ended: bool,
}

impl RecordBatches {
    /// The schema of all batches.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.builder.schema()
    }

    /// How the join is executed, and why.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.rows.plan()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> JoinStats {
        self.rows.stats()
    }

    fn push(&mut self, row: &Row) -> Result<()> {
        let values: Vec<Option<Value>> = (0..self.exact_times.len())
            .map(
                |at| if self.exact_times.get(at) == Some(&true) || row.text(at).is_some() { None } else { row.get(at) },
            )
            .collect();
        let head = [Cell::Text(row.name()), Cell::Time(row.time()), Cell::Text(row.distinct_id())];
        let selected = self.exact_times.iter().zip(&values).enumerate().map(|(at, (is_time, value))| match value {
            _ if *is_time => Cell::Time(row.time()),
            Some(value) => Cell::from(value),
            None => row.text(at).map_or(Cell::NotSet, Cell::Text),
        });
        self.builder.push_row(head.into_iter().chain(selected)).map_err(|error| {
            let (id, time) = (row.distinct_id(), row.time());
            let field = error.field().unwrap_or_default().to_owned();
            Error::new(error.kind(), format!("{} distinct_id={id:?} time={time}", error.message())).at(field)
        })
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while !self.builder.is_full() {
            match self.rows.next().transpose()? {
                Some(row) => self.push(&row)?,
                None => {
                    self.has_ended = true;
                    break;
                }
            }
        }
        if self.builder.rows() == 0 { Ok(None) } else { self.builder.finish().map(Some) }
    }
}

impl Iterator for RecordBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let batch = self.next_batch();
        self.has_ended |= batch.is_err();
        batch.transpose()
    }
}

impl FusedIterator for RecordBatches {}

impl fmt::Debug for RecordBatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatches").field("schema", &self.schema()).field("rows", &self.rows).finish()
    }
}
