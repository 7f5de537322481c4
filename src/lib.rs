//! An embedded profile store for product analytics: user and group profiles as lazily folded rows on RocksDB, and an
//! event log that is joined with them at query time.
//!
//! * **Blind writes.** An update never reads: it becomes a merge operand, and the row is folded on read, flush or
//!   compaction.
//! * **One law.** However the engine groups its merges, the row comes out the same, byte for byte.
//! * **Durable.** Group commit, with durability chosen per write; a batch is all or nothing over profiles and events.
//! * **Retroactive joins.** Every event meets the latest state of its user and groups, under one snapshot.
//! * **No silent answers.** Bad input is refused with the field and the reason; what cannot be read is an error.
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
//! # Main types
//!
//! * [`Db`] is a store in a directory. It is cheap to clone and shared by threads.
//! * [`Table`] has the profiles of one kind, [`Db::users`] or [`Db::groups`]: the verbs to write them, and through its
//!   [`View`] those to read and [scan](View::scan).
//! * [`Update`] is a change of one profile, built operator by operator; [`Batch`] is many of them, and events, all or
//!   nothing.
//! * [`Profile`] is what is read, with [`Value`]s as properties.
//! * [`EventLog`] has the [`Event`]s, [`Db::events`]: they are appended, scanned in order, and erased.
//! * [`Snapshot`] is a consistent point-in-time view of all of it.
//! * [`Join`](join::Join) is a query over events and the latest state of their users and groups, [`Snapshot::join`]. It
//!   returns rows, or [buckets](join::Bucket) with measures. `docs/JOIN.md` works an example by hand.
//! * [`ProfileAggregate`](join::ProfileAggregate) counts and measures profiles alone, [`Snapshot::profiles`].
//! * [`Expr`] is a predicate in Mixpanel's expression language, for scans, joins and rows of anything.
//!
//! # What a profile is
//!
//! * A property holds any JSON. Null is a value, which is not the same as absence. The order of keys in objects has no
//!   meaning.
//! * Numbers are exact: a [`Number`] is the true sum of all that was added, rounded once when it is read. `0.1` added
//!   ten times is `1.0`. Integers stay integers; a sum that contains a float reads as a float.
//! * An operator that does not fit the value (`$add` on text, `$append` on a number) leaves it unchanged.
//! * Lists compare elements as JSON does: `1 == 1.0`, `"1" != 1`. `$remove` removes all equal elements, `$union` leaves
//!   the whole list without duplicates, first occurrences first.
//! * `$last_seen` is the latest time of an update that found or created the profile, in whole seconds. It never moves
//!   backwards and is shown among the properties.
//! * Two updates of one profile apply in the order in which they were acknowledged. Later values win.
//!
//! What each operator does to each type of value is one table at the top of `src/ops/mod.rs`, and `docs/CONTRACT.md`
//! has the cases.
//!
//! # Cookbook
//!
//! * Many synced updates from few threads: [`Table::submit`] returns a [`Commit`] to wait on later, or to await.
//! * Never block, as in a server: [`Table::try_submit`] fails with [`Busy`](ErrorKind::Busy) when the queue is full.
//! * Fastest loading: [`Durability::Buffered`], and [`Db::sync`] at the end.
//! * Update objects and events as Mixpanel's clients send them: [`ingest`], with [`Db::rules`].
//! * Bulk import of files, streams and request bodies, with an outcome for each record: [`Db::importer`].
//! * Over HTTP, for the official clients of Mixpanel: `server`, behind a feature.
//! * Into the data ecosystem, as Arrow record batches or Parquet files: `join::Join::record_batches`, behind a feature.
//! * Events that are kept elsewhere: [`Join::events_from`](join::Join::events_from) an iterator.
//! * Erasure of a user, as data protection laws require: [`Db::delete_user`].
//! * The same folds without RocksDB, for harnesses and other engines: [`merge`].
//! * Integrity: [`Db::check`] reads every row, operand and event; [`Db::backup`] copies the store.
//!
//! # Features
//!
//! * `rocksdb` (default): the store. Without it the crate is the pure core, which needs no C++ compiler.
//! * `cli`: the `profiledb` binary.
//! * `server`: the HTTP server as a library, and with `cli` the command `profiledb serve`.
//! * `geoip`: the places of addresses, for the server.
//! * `arrow`: rows of joins as Arrow record batches, `join::Join::record_batches`, and files of them.
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
// A cast that may change a number does so silently: `try_from` where it can happen, `expect` with the proof where not.
#![cfg_attr(not(test), deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]
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

#[cfg(feature = "arrow")]
pub mod arrow;
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
mod segment;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "rocksdb")]
mod store;

#[cfg(feature = "rocksdb")]
pub use db::{
    Backup, Batch, Builder, Db, EventLog, FileRepair, Import, Imported, Importer, NoteLine, RepairReport, Sealed,
    SealingStats, Snapshot, Stats, Table, TableRepair,
};
#[cfg(feature = "rocksdb")]
pub use log::{EventView, Events};
#[cfg(feature = "rocksdb")]
pub use store::{
    CheckReport, Commit, Deletion, Durability, Finding, KnownIds, ProfileScan, Profiles, TableReport, TableStats, View,
    WriteStats,
};

pub use error::{Error, ErrorKind, Result};
pub use expr::Expr;
pub use limits::{GROUP_IDS_MAX, ID_BYTES_MAX, Limits, PLACE_PROPERTIES, VALUE_DEPTH_MAX};
pub use model::{
    Damage, Event, Kind, NotFinite, Number, Object, ObjectIter, Profile, ProfileKey, Salvaged, TimeZone, Timestamp,
    Value,
};
pub use ops::{Change, Op, Update};

/// The law of the algebra as callable code, for tests and fuzzers.
#[cfg(any(test, feature = "laws"))]
pub mod laws {
    pub use crate::ingest::laws::{check_event_wire, check_update_wire};
    pub use crate::merge::laws::{Step, check_grouping, check_total};
    pub use crate::ops::laws::{check_compose, edge_ops, edge_values};
    pub use crate::segment::laws::check_segment;
}

/// The code of README.md.
#[cfg(all(doctest, feature = "rocksdb"))]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The example that docs/JOIN.md works by hand.
#[cfg(all(doctest, feature = "rocksdb"))]
#[doc = include_str!("../docs/JOIN.md")]
pub struct JoinByHand;
