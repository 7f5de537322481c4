//! The table.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use profiledb::Snapshot;
use profiledb::arrow::ColumnType;
use profiledb::join::{Field, Join};

use crate::pushdown::Selection;

/// Columns before those of the fields: `event`, `time`, `distinct_id`.
const HEAD: usize = 3;

/// Batches that a scan may be ahead.
const BATCHES_AHEAD: usize = 2;

/// The events of a snapshot, each with fields of itself, of its user and of its groups.
///
/// Only the columns that a query needs are read. Comparisons of `time`, `event` and `distinct_id` with constants narrow
/// what is scanned; DataFusion applies every other filter.
pub struct EventTable {
    join: Join,
    fields: Vec<(Field, ColumnType)>,
    schema: SchemaRef,
}

impl EventTable {
    /// The events of a snapshot, with these fields. The types of the columns are inferred, for which all events are
    /// read once.
    ///
    /// # Errors
    ///
    /// As [`Join::column_types`].
    pub fn new<F: TryInto<Field, Error: Into<profiledb::Error>>>(
        snapshot: &Snapshot,
        fields: impl IntoIterator<Item = F>,
    ) -> profiledb::Result<Self> {
        let fields = read(fields)?;
        let types = snapshot.join().select(&fields).column_types()?;
        Self::with_types(snapshot, fields.into_iter().zip(types))
    }

    /// The same with types that are known. A value that does not fit ends a query with an error.
    ///
    /// # Errors
    ///
    /// As [`Join::column_types`].
    pub fn with_types<F: TryInto<Field, Error: Into<profiledb::Error>>>(
        snapshot: &Snapshot,
        fields: impl IntoIterator<Item = (F, ColumnType)>,
    ) -> profiledb::Result<Self> {
        let (fields, types): (Vec<F>, Vec<ColumnType>) = fields.into_iter().unzip();
        let fields: Vec<(Field, ColumnType)> = read(fields)?.into_iter().zip(types).collect();
        // No event is read for the schema.
        let schema = selected(snapshot.join().event_names::<&str>([]), &fields).record_batches()?.schema();
        Ok(Self { join: snapshot.join(), fields, schema })
    }

    /// Threads of a scan. Default: 1.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { join: self.join.threads(threads), ..self }
    }
}

fn read<F: TryInto<Field, Error: Into<profiledb::Error>>>(
    fields: impl IntoIterator<Item = F>,
) -> profiledb::Result<Vec<Field>> {
    fields.into_iter().map(|field| field.try_into().map_err(Into::into)).collect()
}

fn selected<'f>(join: Join, fields: impl IntoIterator<Item = &'f (Field, ColumnType)>) -> Join {
    fields.into_iter().fold(join, |join, (field, of)| join.select([field]).column_type(field, of.clone()))
}

#[async_trait]
impl TableProvider for EventTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushdown = |filter: &&Expr| match Selection::default().narrow(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushdown).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut selection = Selection::default();
        for filter in filters {
            selection.narrow(filter);
        }
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let needed: Vec<usize> = columns.iter().filter_map(|column| column.checked_sub(HEAD)).collect();
        let fields = needed.iter().filter_map(|at| self.fields.get(*at));
        let mut place = HEAD..;
        // Where each column is in what is read.
        let places = columns.iter().map(|column| if *column < HEAD { *column } else { place.next().unwrap_or(HEAD) });
        let schema = Arc::new(self.schema.project(&columns)?);
        let scan = EventStream {
            places: places.collect(),
            join: selected(selection.of(self.join.clone()), fields),
            schema: Arc::clone(&schema),
        };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, None, false, limit)?))
    }
}

impl fmt::Debug for EventTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventTable").field("fields", &self.fields).finish_non_exhaustive()
    }
}

/// One scan.
#[derive(Debug)]
struct EventStream {
    join: Join,
    places: Vec<usize>,
    schema: SchemaRef,
}

impl PartitionStream for EventStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_AHEAD);
        let (batches, join, places) = (stream.tx(), self.join.clone(), self.places.clone());
        stream.spawn_blocking(move || {
            let failed = |error: profiledb::Error| DataFusionError::External(Box::new(error));
            for batch in join.record_batches().map_err(failed)? {
                let batch = batch.map_err(failed)?.project(&places)?;
                // The reader may be gone, as after a limit.
                if batches.blocking_send(Ok(batch)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}
