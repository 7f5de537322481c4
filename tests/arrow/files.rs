//! Files of record batches: what they hold in memory, and what becomes of a disk that fails.

use std::io::{self, ErrorKind as IoErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use profiledb::arrow::{BatchBuilder, BatchWriter, Cell, ColumnType, FileFormat, arrow_array};
use profiledb::{ErrorKind, Value};

/// Takes this many bytes, and counts them.
#[derive(Clone)]
struct Disk {
    room: usize,
    written: Arc<AtomicUsize>,
}

impl Disk {
    fn new(room: usize) -> Self {
        Self { room, written: Arc::default() }
    }

    fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written() + bytes.len() > self.room {
            return Err(io::Error::new(IoErrorKind::StorageFull, "the disk is full"));
        }
        self.written.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const COLUMNS: usize = 16;

/// A batch of numbers that cannot be compressed much, 128 bytes a row.
fn numbers(builder: &mut BatchBuilder, rows: usize, seed: &mut u64) -> arrow_array::RecordBatch {
    for _ in 0..rows {
        let row = [(); COLUMNS].map(|()| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Value::from((*seed >> 1) as i64)
        });
        builder.push_row(row.each_ref().map(Cell::from)).unwrap();
    }
    builder.finish().unwrap()
}

fn builder() -> BatchBuilder {
    BatchBuilder::new((0..COLUMNS).map(|at| (format!("n{at}"), ColumnType::Int64)))
}

#[test]
fn a_disk_that_is_full_is_an_error_wherever_it_is_met() {
    for format in [FileFormat::Parquet, FileFormat::ArrowStream] {
        let write = |disk: Disk| {
            let (mut builder, mut seed) = (builder(), 1);
            let mut writer = BatchWriter::new(format, disk, &builder.schema())?;
            for _ in 0..3 {
                writer.write(&numbers(&mut builder, 1_000, &mut seed))?;
            }
            writer.finish()
        };
        let whole = write(Disk::new(usize::MAX)).unwrap().written();
        assert!(whole > 300_000, "{whole}");
        assert_eq!(write(Disk::new(whole)).unwrap().written(), whole);
        for room in [0, 3, 200, whole / 3, whole / 2, whole - 20, whole - 1] {
            let error = write(Disk::new(room)).map(|disk| disk.written()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{format:?} {room}: {error}");
            let text = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
            assert!(text.contains("the disk is full"), "{format:?} {room}: {text}");
        }
    }
}

/// It is an error of the batch that does not fit, not of the end.
#[test]
fn row_groups_are_written_before_they_are_large() {
    let (mut builder, mut seed) = (builder(), 1);
    let disk = Disk::new(usize::MAX);
    let mut writer = BatchWriter::new(FileFormat::Parquet, disk.clone(), &builder.schema()).unwrap();
    let full = Disk::new(1 << 20);
    let mut failing = BatchWriter::new(FileFormat::Parquet, full, &builder.schema()).unwrap();
    let (mut failed_at, rows) = (None, 1 << 16);
    for at in 0..10 {
        let batch = numbers(&mut builder, rows, &mut seed);
        writer.write(&batch).unwrap();
        if failed_at.is_none() && failing.write(&batch).is_err() {
            failed_at = Some(at);
        }
        // 8 MB each.
        if at < 5 {
            assert!(disk.written() < 1_000, "{at}");
        }
    }
    assert!(disk.written() > 56 << 20, "{}", disk.written());
    assert!(failed_at.is_some());

    let (mut builder, mut seed) = (self::builder(), 1);
    let mut writer = BatchWriter::new(FileFormat::Parquet, Vec::new(), &builder.schema()).unwrap();
    (0..10).for_each(|_| writer.write(&numbers(&mut builder, rows, &mut seed)).unwrap());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&writer.finish().unwrap()).unwrap();
    let groups = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let groups = groups.metadata().row_groups();
    assert_eq!((groups.len(), groups.iter().map(|group| group.num_rows()).sum::<i64>()), (2, 10 << 16));
}

/// A stream can be read while it is written.
#[test]
fn batches_of_a_stream_are_written_at_once() {
    let (mut builder, mut seed) = (builder(), 1);
    let disk = Disk::new(usize::MAX);
    let mut writer = BatchWriter::new(FileFormat::ArrowStream, disk.clone(), &builder.schema()).unwrap();
    for at in 1..4 {
        writer.write(&numbers(&mut builder, 1_000, &mut seed)).unwrap();
        assert!(disk.written() > at * 128_000, "{at}");
    }
}

#[test]
fn a_batch_of_another_schema_is_refused() {
    for format in [FileFormat::Parquet, FileFormat::ArrowStream] {
        let mut other = BatchBuilder::new([("n", ColumnType::Text)]);
        other.push_row(["x".into()]).unwrap();
        let mut writer = BatchWriter::new(format, Vec::new(), &builder().schema()).unwrap();
        assert!(writer.write(&other.finish().unwrap()).is_err(), "{format:?}");
    }
}
