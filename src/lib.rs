//! placeholder
#![forbid(unsafe_code)]
mod codec;
#[cfg(feature = "rocksdb")]
mod db;
mod error;
mod limits;
pub mod merge;
mod model;
mod ops;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "rocksdb")]
mod store;

#[cfg(feature = "rocksdb")]
pub use db::{Backup, Batch, Builder, Db, Snapshot, Stats, Table};
#[cfg(feature = "rocksdb")]
pub use store::{CheckReport, Commit, Durability, Finding, Profiles, TableReport, TableStats, View, WriteStats};

pub use error::{Error, ErrorKind, Result};
pub use limits::{ID_BYTES_MAX, Limits, VALUE_DEPTH_MAX};
pub use model::{Kind, NotFinite, Number, Object, Profile, ProfileKey, Timestamp, Value};
pub use ops::{Change, Op, Update};

/// The law of the algebra as callable code, for tests and fuzzers.
#[cfg(feature = "laws")]
pub mod laws {
    pub use crate::merge::laws::{Step, check_grouping, check_total};
    pub use crate::ops::laws::{check_compose, edge_ops, edge_values};
}
