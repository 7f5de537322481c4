//! Files of record batches.

use std::fmt;
use std::io::Write;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::{Error, ErrorKind, Result};

/// Memory of a row group of a Parquet file before it is written, in bytes, roughly.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A format of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
    /// Parquet, compressed with Snappy. The schema of Arrow is in it as well, for readers that know it.
    Parquet,
    /// The streaming format of Arrow IPC, not compressed: a reader can begin before the end is written.
    ArrowStream,
}

/// Writes [`RecordBatch`]es.
///
/// ```
/// use profiledb::arrow::{BatchBuilder, BatchWriter, ColumnType, FileFormat};
///
/// let mut batches = BatchBuilder::new([("id", ColumnType::Text)]);
/// batches.push_row(["alice".into()])?;
/// let mut writer = BatchWriter::new(FileFormat::Parquet, Vec::new(), &batches.schema())?;
/// writer.write(&batches.finish()?)?;
/// assert!(writer.finish()?.starts_with(b"PAR1"));
/// # Ok::<(), profiledb::Error>(())
/// ```
pub struct BatchWriter<W: Write + Send>(BatchSink<W>);

enum BatchSink<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    Stream(Box<StreamWriter<W>>),
}

impl<W: Write + Send> BatchWriter<W> {
    /// Begins a file of batches of this schema.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when it cannot be written.
    pub fn new(format: FileFormat, out: W, schema: &SchemaRef) -> Result<Self> {
        Ok(Self(match format {
            FileFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_created_by(concat!("profiledb version ", env!("CARGO_PKG_VERSION")).to_owned())
                    .build();
                let writer = ArrowWriter::try_new(out, SchemaRef::clone(schema), Some(properties));
                BatchSink::Parquet(Box::new(writer.map_err(of_parquet)?))
            }
            FileFormat::ArrowStream => {
                BatchSink::Stream(Box::new(StreamWriter::try_new(out, schema).map_err(of_arrow)?))
            }
        }))
    }

    /// Writes a batch. Of a Parquet file up to 64 MB are held in memory, and written as a row group.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when it cannot be written, or has another schema.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.0 {
            BatchSink::Parquet(writer) => {
                writer.write(batch).map_err(of_parquet)?;
                if writer.memory_size().max(writer.in_progress_size()) >= ROW_GROUP_BYTES {
                    writer.flush().map_err(of_parquet)?;
                }
                Ok(())
            }
            BatchSink::Stream(writer) => writer.write(batch).map_err(of_arrow),
        }
    }

    /// Writes the end, without which a file is not complete, and returns what was written to.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when it cannot be written.
    pub fn finish(self) -> Result<W> {
        match self.0 {
            BatchSink::Parquet(writer) => writer.into_inner().map_err(of_parquet),
            BatchSink::Stream(writer) => writer.into_inner().map_err(of_arrow),
        }
    }
}

impl<W: Write + Send> fmt::Debug for BatchWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match &self.0 {
            BatchSink::Parquet(_) => FileFormat::Parquet,
            BatchSink::Stream(_) => FileFormat::ArrowStream,
        };
        f.debug_struct("BatchWriter").field("format", &format).finish_non_exhaustive()
    }
}

fn of_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => error.into(),
        other => Error::new(ErrorKind::Io, format!("cannot write record batches: {other}")).because(other),
    }
}

fn of_parquet(error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => (*error).into(),
            Err(other) => Error::new(ErrorKind::Io, format!("cannot write a Parquet file: {other}")),
        },
        other => Error::new(ErrorKind::Io, format!("cannot write a Parquet file: {other}")).because(other),
    }
}
