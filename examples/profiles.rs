//! Profiles of users and groups in a store: write, batch, read, scan, snapshot.
//!
//! ```text
//! cargo run --release --example profiles
//! ```

use profiledb::{Batch, Db, Update};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("profiledb-example-{}", std::process::id()));
    let db = Db::open(&dir)?;
    let (users, companies) = (db.users(), db.groups("company")?);

    // Updates are blind writes: nothing is read, and each call returns when the update is on disk.
    users.update("alice", Update::new().set("plan", "free").set_once("source", "ad"))?;
    users.update("alice", Update::new().set("plan", "pro").set_once("source", "friend").add("logins", 1))?;
    users.update("bob", Update::new().union("teams", ["eng", "ops"]).add("spent", 0.1))?;

    // A batch is all or nothing, over any profiles of any kinds.
    let mut batch = Batch::new();
    batch.update(&users, "alice", Update::new().union("company", ["acme"]))?;
    batch.update(&companies, "acme", Update::new().set("tier", "gold"))?;
    db.write(batch)?;

    // A snapshot stays as it was.
    let before = db.snapshot();
    users.delete("bob")?;
    println!("bob before: {:?}", before.users().get("bob")?.map(|profile| profile.into_properties()));
    println!("bob now:    {:?}", users.get("bob")?);

    for kind in db.kinds() {
        for row in db.table(&kind).iter() {
            let (id, profile) = row?;
            println!("{kind} {id}: {}", serde_json::to_string(&profile)?);
        }
    }
    drop((before, users, companies, db));
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
