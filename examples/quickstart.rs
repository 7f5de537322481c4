//! The first example of README.md as a program that prints what it reads: your own struct in and out, a filtered scan,
//! a batch with an event, and one query as buckets and as rows.
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
    users.update("alice", Update::new().set_all(&User { plan: "free".into(), logins: 1 }))?;
    users.update("alice", Update::new().set("plan", "pro").add("logins", 1))?;
    let alice = users.get("alice")?.ok_or("just written")?.deserialize::<User>()?;
    println!("alice: {alice:?}");

    for row in users.scan().filter(r#"properties["logins"] > 1"#).select(["plan"]).limit(10) {
        let (id, profile) = row?;
        println!("more than one login: {id}, plan {:?}", profile.get("plan"));
    }

    let mut batch = Batch::new();
    batch.update(&users, "bob", Update::new().set("plan", "free").union("company", ["acme"]))?;
    batch.update(&db.groups("company")?, "acme", Update::new().set("tier", "gold"))?;
    batch.append(
        Event::new("purchase", "alice", Timestamp::parse("2024-01-02T10:00:00")?).id("a-1").set("amount", 12.5),
    );
    db.write(batch)?;

    let purchases = db.snapshot().join().event_names(["purchase"]);
    let revenue = purchases.clone().group_by(["user.plan"]).measure(Measure::Sum("event.amount".parse()?));
    println!("revenue by plan: {}", serde_json::to_string(&revenue.answer()?)?);
    for row in purchases.filter(r#"user["plan"] == "pro""#).select(["event.amount"]).rows()? {
        println!("purchase by a user of the pro plan: {:?}", row?.get(0));
    }
    Ok(())
}
