//! placeholder
#![forbid(unsafe_code)]
mod error;
mod limits;
mod merge;
mod model;
mod ops;
#[cfg(feature = "rocksdb")]
mod rocks;
pub use error::{Error, ErrorKind, Result};
pub use limits::{ID_BYTES_MAX, Limits, VALUE_DEPTH_MAX};
pub use model::{Kind, NotFinite, Number, Object, Profile, ProfileKey, Timestamp, Value};
pub use ops::{Op, Update};
