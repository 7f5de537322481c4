//! SQL over the events of a profiledb store, each with the latest state of its user and its groups, by [DataFusion].
//!
//! [`EventTable`] is a table of DataFusion. Its columns are those of [`Join::record_batches`]: `event`, `time`,
//! `distinct_id`, and the fields that it is made with, by their names. Names with dots are quoted in SQL.
//!
//! ```
//! use std::sync::Arc;
//!
//! use datafusion::prelude::SessionContext;
//! use profiledb::{Db, Event, Timestamp, Update};
//! use profiledb_datafusion::EventTable;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let db = Db::open(dir.path().join("store"))?;
//! db.users().update("alice", Update::new().set("plan", "pro"))?;
//! db.events().append(Event::new("buy", "alice", Timestamp::parse("2024-01-02")?).set("amount", 5))?;
//!
//! let table = EventTable::new(&db.snapshot(), ["event.amount", "user.plan"])?;
//! let sql = SessionContext::new();
//! sql.register_table("events", Arc::new(table))?;
//! let answer = sql.sql(r#"SELECT "user.plan", sum("event.amount") FROM events WHERE event = 'buy' GROUP BY 1"#);
//! assert_eq!(answer.await?.count().await?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! [DataFusion]: https://datafusion.apache.org

mod pushdown;
mod table;

pub use table::EventTable;

#[cfg(doc)]
use profiledb::join::Join;
