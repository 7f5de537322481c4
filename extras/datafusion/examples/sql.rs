//! Asks a store in SQL: `cargo run --release --example sql -- STORE 'event.amount,user.plan' 'SELECT .. FROM events'`.

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use profiledb::Db;
use profiledb_datafusion::EventTable;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [store, fields, query] = &args[..] else { return Err("usage: sql STORE FIELD,... QUERY".into()) };
    let db = Db::builder().open_read_only(store)?;
    let table = EventTable::new(&db.snapshot(), fields.split(',').filter(|field| !field.is_empty()))?;
    let sql = SessionContext::new();
    sql.register_table("events", Arc::new(table))?;
    sql.sql(query).await?.show().await?;
    Ok(())
}
