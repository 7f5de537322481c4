//! Record batches against the values that they were made of: read back from memory, from Parquet files and from streams
//! of Arrow IPC, by the readers of those crates.

mod files;
#[cfg(feature = "rocksdb")]
mod joins;
#[cfg(feature = "rocksdb")]
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::io::{Cursor, Write};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMillisecondType, UInt32Type};
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use profiledb::Value;
use profiledb::arrow::{BatchWriter, ColumnType, FileFormat, arrow_array, arrow_schema};

/// The value of a cell. A time is its milliseconds.
fn value_at(array: &dyn Array, at: usize, column_type: &ColumnType) -> Value {
    if array.is_null(at) {
        return Value::Null;
    }
    let text = || {
        let column = array.as_dictionary::<UInt32Type>();
        let texts: &StringArray = column.values().as_string();
        texts.value(column.keys().value(at) as usize).to_owned()
    };
    match column_type {
        ColumnType::Text => text().into(),
        ColumnType::Json => serde_json::from_str(&text()).unwrap(),
        ColumnType::Boolean => array.as_boolean().value(at).into(),
        ColumnType::Int64 => array.as_primitive::<Int64Type>().value(at).into(),
        ColumnType::Float64 => array.as_primitive::<Float64Type>().value(at).try_into().unwrap(),
        ColumnType::Timestamp => array.as_primitive::<TimestampMillisecondType>().value(at).into(),
        ColumnType::List(element) => {
            let elements = array.as_list::<i32>().value(at);
            (0..elements.len()).map(|at| value_at(&*elements, at, element)).collect::<Vec<_>>().into()
        }
        other => panic!("a type without a reader: {other}"),
    }
}

/// Batches through a file of each format, without the metadata of the schema.
fn through_files(batches: &[RecordBatch], schema: &SchemaRef) -> [Vec<RecordBatch>; 2] {
    let write = |format| {
        let mut writer = BatchWriter::new(format, Vec::new(), schema).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap()
    };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&write(FileFormat::Parquet)).unwrap();
    let parquet = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let stream = StreamReader::try_new(Cursor::new(write(FileFormat::ArrowStream)), None).unwrap();
    assert_eq!(Schema::clone(&stream.schema()).fields, schema.fields);
    assert_eq!(parquet.schema().fields, schema.fields);
    [parquet.build().unwrap().map(Result::unwrap).collect(), stream.map(Result::unwrap).collect()]
}

/// All cells of a column.
fn column(batches: &[RecordBatch], at: usize, read: impl Fn(&dyn Array, usize) -> Value) -> Vec<Value> {
    let cells = |batch: &RecordBatch| {
        let array = Arc::clone(batch.column(at));
        (0..batch.num_rows()).map(|row| read(&*array, row)).collect::<Vec<_>>()
    };
    batches.iter().flat_map(cells).collect()
}
