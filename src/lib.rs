//! An embedded profile store for product analytics: user and group profiles as lazily folded rows on RocksDB, and a log
//! of events that they are joined onto when a question is asked.
//!
//! A **profile** is one row of properties about a user (keyed by `distinct_id`) or a group (keyed by `group_id` under a
//! group key). An **update** is a blind write: it never reads, it becomes an operand behind the row, and the row is
//! folded when someone reads it, or when the engine flushes or compacts. All eight operators of Mixpanel's profiles
//! work that way, and `$merge` besides. However the engine groups its folds, the bytes come out the same.
//!
#![cfg_attr(feature = "rocksdb", doc = "```")]
#![cfg_attr(not(feature = "rocksdb"), doc = "```ignore")]
//! use profiledb::{Db, Update};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("store");
//! let db = Db::open(path)?;
//! let users = db.users();
//! users.update("alice", Update::new().set("plan", "pro").add("logins", 1).union("teams", ["eng"]))?;
//! users.update("alice", Update::new().add("logins", 1).append("visited", "/pricing"))?;
//!
//! let alice = users.get("alice")?.expect("she was just written");
//! assert_eq!(alice.get("logins"), Some(&2.into()));
//! for row in db.groups("company")?.iter() {
//!     let (id, profile) = row?;
//!     println!("{id} {profile:?}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types to know
//!
//! * [`Db`] is a store in a directory. It is cheap to clone and shared by threads.
//! * [`Table`] is one kind of profile in it, [`Db::users`] or [`Db::groups`]: the verbs to write and to read.
//! * [`Update`] is what happens to one profile, built operator by operator; [`Batch`] is many of them, all or nothing.
//! * [`Profile`] is what comes out, with [`Value`]s as properties.
//! * [`EventLog`] is what users did, [`Db::events`]: [`Event`]s are appended, read in their order, and erased.
//! * [`Snapshot`] is one moment of the whole store.
//! * [`Join`](join::Join) is a question about events and the latest state of their users and groups,
//!   [`Snapshot::join`]. Rows come out, or segments with measures. `docs/JOIN.md` works an example by hand.
//! * [`Expr`] is a filter in Mixpanel's language, for joins and for rows of anything.
//!
//! # What a profile is
//!
//! * A property holds any JSON. Null is a value; absence is another thing. The order of keys in objects has no meaning.
//! * Numbers are exact: a [`Number`] is the true sum of all that was added, rounded once when it is read. `0.1` added
//!   ten times is `1.0`. Integers stay integers; what ever met a float reads as a float.
//! * An operator that does not fit what is there (`$add` on text, `$append` on a number) leaves it alone.
//! * Lists compare elements as JSON does: `1 == 1.0`, `"1" != 1`. `$remove` takes all equal elements, `$union` leaves
//!   the whole list without repeats, first occurrences first.
//! * `$last_seen` is the latest time of an update that met or made the profile, in whole seconds. It never moves
//!   backwards and is shown among the properties.
//! * Two updates of one profile apply in the order in which they were acknowledged. Later values win.
//!
//! What each operator does to each type of value stands in one table at the top of `src/ops/mod.rs`, and
//! `docs/CONTRACT.md` has the cases.
//!
//! # Cookbook
//!
//! * Many synced updates from few threads: [`Table::submit`] returns a [`Commit`] to wait on later.
//! * Fastest loading: [`Durability::Buffered`], and [`Db::sync`] at the end.
//! * Update objects and events as Mixpanel's clients send them: [`ingest`].
//! * Events that are kept elsewhere: [`Join::events_from`](join::Join::events_from) an iterator of them.
//! * What data protection laws ask for: [`Db::delete_user`].
//! * The same folds without RocksDB, for harnesses and other engines: [`merge`].
//! * Is everything well? [`Db::check`] walks every row and operand; [`Db::backup`] copies what is there.
//!
//! # Features
//!
//! * `rocksdb` (default): the store. Without it the crate is the pure core, which needs no C++ compiler.
//! * `cli`: the `profiledb` binary.
//! * `laws`: the law of the algebra as callable code, with generators of updates.

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
    allow(
        dead_code,
        unused_imports,
        rustdoc::broken_intra_doc_links,
        reason = "the pure core alone has no store above it to use it or to be linked to"
    )
)]

mod codec;
#[cfg(feature = "rocksdb")]
mod db;
mod error;
pub mod expr;
pub mod ingest;
pub mod join;
mod limits;
#[cfg(feature = "rocksdb")]
mod log;
pub mod merge;
mod model;
mod ops;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "rocksdb")]
mod store;

#[cfg(feature = "rocksdb")]
pub use db::{Backup, Batch, Builder, Db, EventLog, Snapshot, Stats, Table};
#[cfg(feature = "rocksdb")]
pub use log::{EventView, Events};
#[cfg(feature = "rocksdb")]
pub use store::{
    CheckReport, Commit, Durability, Finding, KnownIds, ProfileScan, Profiles, TableReport, TableStats, View,
    WriteStats,
};

pub use error::{Error, ErrorKind, Result};
pub use expr::Expr;
pub use limits::{GROUP_IDS_MAX, ID_BYTES_MAX, Limits, VALUE_DEPTH_MAX};
pub use model::{Event, Kind, NotFinite, Number, Object, Profile, ProfileKey, Timestamp, Value};
pub use ops::{Change, Op, Update};

/// The law of the algebra as callable code, for tests and fuzzers.
#[cfg(any(test, feature = "laws"))]
pub mod laws {
    pub use crate::ingest::laws::check_event_wire;
    pub use crate::merge::laws::{Step, check_grouping, check_total};
    pub use crate::ops::laws::{check_compose, edge_ops, edge_values};
}

/// The README is code, too.
#[cfg(all(doctest, feature = "rocksdb"))]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The example that was worked by hand, as well.
#[cfg(all(doctest, feature = "rocksdb"))]
#[doc = include_str!("../docs/JOIN.md")]
pub struct JoinByHand;
