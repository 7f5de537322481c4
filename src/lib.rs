//! placeholder
#![forbid(unsafe_code)]
mod codec;
mod error;
mod limits;
pub mod merge;
mod model;
mod ops;
#[cfg(feature = "rocksdb")]
mod rocks;
pub use error::{Error, ErrorKind, Result};
pub use limits::{ID_BYTES_MAX, Limits, VALUE_DEPTH_MAX};
pub use model::{Kind, NotFinite, Number, Object, Profile, ProfileKey, Timestamp, Value};
pub use ops::{Op, Update};

/// The law of the algebra as callable code, for tests and fuzzers.
#[cfg(feature = "laws")]
pub mod laws {
    pub use crate::merge::laws::{Step, check_grouping, check_total};
    pub use crate::ops::laws::{check_compose, edge_ops, edge_values};
}
