//! One thread, many synced updates in flight: submit first, wait later.
//!
//! ```text
//! cargo run --release --example in_flight
//! ```

use std::time::Instant;

use profiledb::{Db, Update};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("profiledb-example-{}", std::process::id()));
    let db = Db::open(&dir)?;
    let users = db.users();

    let start = Instant::now();
    for n in 0..500 {
        users.update(&format!("user-{n}"), Update::new().add("logins", 1))?;
    }
    println!("one at a time: {:.0} synced updates/s", 500.0 / start.elapsed().as_secs_f64());

    let start = Instant::now();
    let mut commits = Vec::new();
    for n in 0..50_000 {
        commits.push(users.submit(&format!("user-{}", n % 5_000), Update::new().add("logins", 1))?);
    }
    for commit in commits {
        commit.wait()?;
    }
    println!("in flight:     {:.0} synced updates/s", 50_000.0 / start.elapsed().as_secs_f64());

    let writes = db.stats().writes;
    println!("{} updates went into {} commits of {} keys", writes.changes, writes.commits, writes.keys);
    drop((users, db));
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
