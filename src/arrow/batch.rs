//! Record batches of rows.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::RecordBatchOptions;
use arrow_schema::{Field, Schema, SchemaRef};

use super::column::{Cell, ColumnBuilder, malformed};
use super::types::ColumnType;
use crate::error::{Error, Result};

/// Rows of a batch at most, by default.
pub const BATCH_ROWS: usize = 8_192;

/// Memory of the values of a batch, in bytes, roughly: a row that exceeds it is its last.
pub const BATCH_BYTES: usize = 16 << 20;

/// Makes [`RecordBatch`]es of rows.
///
/// Text is dictionary-encoded, with a dictionary of its own in each batch.
///
/// ```
/// use profiledb::arrow::{BatchBuilder, Cell, ColumnType};
///
/// let mut batches = BatchBuilder::new([("id", ColumnType::Text), ("age", ColumnType::Int64)]);
/// batches.push_row(["alice".into(), Cell::Value(&42.into())])?;
/// let refused = batches.push_row(["bob".into(), "old".into()]).unwrap_err();
/// assert_eq!(refused.field(), Some("age"));
/// # Ok::<(), profiledb::Error>(())
/// ```
pub struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<(ColumnType, ColumnBuilder)>,
    rows: usize,
    bytes: usize,
    /// A row that was refused may be there in part.
    failed: Option<Error>,
}

impl BatchBuilder {
    /// Of these columns, by their names and types.
    pub fn new<N: AsRef<str>>(columns: impl IntoIterator<Item = (N, ColumnType)>) -> Self {
        Self::with_required(0, columns)
    }

    /// The first columns cannot be null.
    pub(crate) fn with_required<N: AsRef<str>>(
        required: usize,
        columns: impl IntoIterator<Item = (N, ColumnType)>,
    ) -> Self {
        let (mut fields, mut builders): (Vec<Field>, Vec<_>) = (Vec::new(), Vec::new());
        for (name, column_type) in columns {
            fields.push(column_type.field(name.as_ref()).with_nullable(fields.len() >= required));
            let builder = ColumnBuilder::new(&column_type);
            builders.push((column_type, builder));
        }
        Self { schema: Arc::new(Schema::new(fields)), columns: builders, rows: 0, bytes: 0, failed: None }
    }

    /// The schema of all batches.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// How many rows the next batch has so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the next batch has [`BATCH_ROWS`] rows, or values of [`BATCH_BYTES`], and should be finished.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Adds a row, with a value for each column.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when a value does not fit its column, which the error names, or there are
    /// more or fewer values than columns; [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for a value of more than 1
    /// GB. Then there will be no more batches: every further call returns the same error.
    pub fn push_row<'v>(&mut self, cells: impl IntoIterator<Item = Cell<'v>>) -> Result<()> {
        self.check()?;
        self.push_cells(cells.into_iter()).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn push_cells<'v>(&mut self, mut cells: impl Iterator<Item = Cell<'v>>) -> Result<()> {
        for (at, (column_type, column)) in self.columns.iter_mut().enumerate() {
            let cell = cells.next().ok_or_else(|| Error::invalid(format!("a row has too few values count={at}")))?;
            self.bytes += column.append(cell).map_err(|error| {
                let name = self.schema.fields().get(at).map_or("", |field| field.name());
                Error::new(error.kind(), format!("{} type={column_type}", error.message())).at(name)
            })?;
        }
        if cells.next().is_some() {
            return Err(Error::invalid(format!("a row has too many values columns={}", self.columns.len())));
        }
        self.rows += 1;
        Ok(())
    }

    /// The batch of the rows that were added since the last one. It may have none.
    ///
    /// # Errors
    ///
    /// The error of [`push_row`](Self::push_row), if a row was refused.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.check()?;
        let arrays = self.columns.iter_mut().map(|(_, column)| column.finish()).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(self.schema(), arrays, &options).map_err(malformed)?;
        (self.rows, self.bytes) = (0, 0);
        Ok(batch)
    }

    fn check(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }
}

impl fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder").field("schema", &self.schema).field("rows", &self.rows).finish_non_exhaustive()
    }
}
