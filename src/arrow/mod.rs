//! Rows as Apache Arrow record batches, and files of them.
//!
//! A property is any JSON; a column of Arrow has one type. [`ColumnType`] says which, [`TypeInference`] finds the
//! narrowest one that changes no value, and a [`BatchBuilder`] makes [record batches](arrow_array::RecordBatch) of
//! rows. A value that its column cannot hold is an error, never a null. [`BatchWriter`] writes batches as a Parquet
//! file or as a stream of Arrow IPC. `docs/ARROW.md` has the rules.
//!
//! Most programs need none of that, but [`Join::record_batches`](crate::join::Join::record_batches).
//!
//! ```
//! use profiledb::Value;
//! use profiledb::arrow::{BatchBuilder, ColumnType, TypeInference};
//!
//! let values: [Value; 3] = [5.into(), Value::Null, 7.into()];
//! let mut inference = TypeInference::new();
//! values.iter().for_each(|value| inference.see(value));
//! assert_eq!(inference.column_type(), ColumnType::Int64);
//!
//! let mut batches = BatchBuilder::new([("amount", inference.column_type())]);
//! for value in &values {
//!     batches.push_row([value.into()])?;
//! }
//! let batch = batches.finish()?;
//! assert_eq!((batch.num_rows(), batch.column(0).null_count()), (3, 1));
//! # Ok::<(), profiledb::Error>(())
//! ```

mod batch;
mod column;
mod infer;
mod types;
mod writer;

pub use batch::{BATCH_BYTES, BATCH_ROWS, BatchBuilder};
pub use column::Cell;
pub use infer::TypeInference;
pub use types::ColumnType;
pub use writer::{BatchWriter, FileFormat};

/// The crates whose types are in this API, of the version that it was built with.
pub use {arrow_array, arrow_schema};
