//! Columns of rows, with types where they are written as record batches.

#[cfg(feature = "arrow")]
use profiledb::Timestamp;
use profiledb::Value;
#[cfg(feature = "arrow")]
use profiledb::arrow::{BatchBuilder, BatchWriter, Cell, ColumnType, FileFormat, TypeInference};

#[cfg(feature = "arrow")]
use crate::failure::Failure;
#[cfg(feature = "arrow")]
use crate::output::OutputFile;

/// A column, with what is known of its values.
#[derive(Clone, Debug)]
pub(crate) struct OutputColumn {
    name: String,
    #[cfg(feature = "arrow")]
    inference: TypeInference,
}

impl OutputColumn {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            #[cfg(feature = "arrow")]
            inference: TypeInference::new(),
        }
    }

    /// One of texts that are times.
    pub(crate) fn of_times(name: impl Into<String>) -> Self {
        Self {
            #[cfg(feature = "arrow")]
            inference: TypeInference::of_times(),
            ..Self::new(name)
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Notes one of its values.
    #[cfg_attr(not(feature = "arrow"), expect(clippy::unused_self, reason = "text has no types"))]
    pub(crate) fn see(&mut self, _value: &Value) {
        #[cfg(feature = "arrow")]
        self.inference.see(_value);
    }
}

/// Writes rows as record batches.
#[cfg(feature = "arrow")]
pub(crate) struct BatchPrinter {
    builder: BatchBuilder,
    /// The column that is the time of an event.
    time: Option<usize>,
    writer: BatchWriter<OutputFile>,
}

#[cfg(feature = "arrow")]
impl BatchPrinter {
    pub(crate) fn new(format: FileFormat, out: OutputFile, columns: Vec<OutputColumn>) -> Result<Self, Failure> {
        let columns = columns.into_iter().map(|column| (column.name, column.inference.column_type()));
        let columns: Vec<(String, ColumnType)> = columns.collect();
        let time = columns.iter().position(|(name, of)| name == "time" && *of == ColumnType::Timestamp);
        let builder = BatchBuilder::new(columns);
        let writer = BatchWriter::new(format, out, &builder.schema())?;
        Ok(Self { builder, time, writer })
    }

    /// Writes a row. Its values are those of the columns, in their order; of an event, the time is exact.
    pub(crate) fn row<'v>(
        &mut self,
        time: Option<Timestamp>,
        values: impl Iterator<Item = Option<&'v Value>>,
    ) -> Result<(), Failure> {
        let cells = values.enumerate().map(|(at, value)| match time {
            Some(time) if self.time == Some(at) => Cell::Time(time),
            _ => value.into(),
        });
        self.builder.push_row(cells)?;
        if self.builder.is_full() {
            self.writer.write(&self.builder.finish()?)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        if self.builder.rows() > 0 {
            self.writer.write(&self.builder.finish()?)?;
        }
        self.writer.finish()?.finish()
    }
}
