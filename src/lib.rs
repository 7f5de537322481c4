//! placeholder
#![forbid(unsafe_code)]
mod error;
pub mod ingest;
mod limits;
mod merge;
mod model;
mod ops;
pub use error::{Error, ErrorKind, Result};
pub use limits::{ID_BYTES_MAX, Limits, VALUE_DEPTH_MAX};
pub use model::{Kind, NotFinite, Number, Object, Profile, ProfileKey, Timestamp, Value};
pub use ops::{Op, Update};
