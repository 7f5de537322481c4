//! placeholder

// Nothing here panics on input or on data: RocksDB calls the merge from its own threads, where a panic would end the
// process. Unit tests are exempt through clippy.toml; any other exception is an `#[expect(.., reason = "..")]`.
#![deny(
    clippy::dbg_macro,
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used
)]
// The same updates give the same bytes, everywhere and always. clippy.toml has the list and the reasons.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::host_endian_bytes)]
// A library speaks through its results.
#![deny(clippy::print_stderr, clippy::print_stdout)]
// Exceptions explain themselves.
#![deny(clippy::allow_attributes_without_reason)]
// From the pedantic set, what a reader of the API notices.
#![warn(
    clippy::cloned_instead_of_copied,
    clippy::explicit_iter_loop,
    clippy::implicit_clone,
    clippy::inefficient_to_string,
    clippy::manual_let_else,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::redundant_closure_for_method_calls,
    clippy::return_self_not_must_use,
    clippy::semicolon_if_nothing_returned,
    clippy::uninlined_format_args
)]
#![cfg_attr(
    not(feature = "rocksdb"),
    allow(dead_code, unused_imports, reason = "the pure core alone has no store above it to use it")
)]

mod codec;
#[cfg(feature = "rocksdb")]
mod db;
mod error;
pub mod ingest;
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
#[cfg(any(test, feature = "laws"))]
pub mod laws {
    pub use crate::merge::laws::{Step, check_grouping, check_total};
    pub use crate::ops::laws::{check_compose, edge_ops, edge_values};
}
