//! The store in twenty lines: your own struct in and out, a filtered scan, a batch with an event, a query run twice.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```

use profiledb::{Batch, Db, Event, Timestamp, Update, join::Measure};

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct User {
    plan: String,
    logins: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let db = Db::open(dir.path().join("store"))?;
    let users = db.users();
    for (id, plan, logins) in [("alice", "pro", 7), ("bob", "free", 1)] {
        users.update(id, Update::new().set_all(&User { plan: plan.into(), logins }))?;
    }
    println!("{:?}", users.get("alice")?.map(|profile| profile.deserialize::<User>()).transpose()?);

    for row in users.scan().filter(r#"properties["logins"] > 5"#).select(["plan"]) {
        println!("{:?}", row?);
    }

    let mut batch = Batch::new();
    batch.update(&users, "bob", Update::new().set("plan", "pro").add("logins", 1))?;
    batch.append(Event::new("purchase", "bob", Timestamp::parse("2024-01-02T10:00:00")?).set("amount", 12.5));
    db.write(batch)?;

    let purchases = db.snapshot().join().event_names(["purchase"]).group_by(["user.plan"]);
    let revenue = purchases.measure(Measure::Sum("event.amount".parse()?));
    println!("{}", serde_json::to_string(&revenue.answer()?)?);
    println!("{}", serde_json::to_string(&revenue.answer()?)?);
    Ok(())
}
