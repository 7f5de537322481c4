//! Events in a file of JSON lines, joined with the profiles of a store: `Join::events_from`.
//!
//! ```text
//! cargo run --release --example join_ndjson
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use profiledb::ingest::{EventRecord, Rules};
use profiledb::join::Measure;
use profiledb::{Db, Event, Timestamp, Update};

/// Events in a file, one per line in the form of Mixpanel's `/import`, and in the order of a log: by day in UTC, within
/// a day by `distinct_id`, within a user by time. The join refuses them when they are not.
fn events(path: &Path) -> Result<impl Iterator<Item = profiledb::Result<Event>> + use<>, Box<dyn Error>> {
    let (lines, rules) = (BufReader::new(File::open(path)?).lines(), Rules::new());
    Ok(lines.zip(1..).map(move |(line, number)| {
        let record = EventRecord::from_slice(line?.as_bytes(), &rules).map_err(|mut reject| {
            reject.line = Some(number);
            reject
        })?;
        Ok(record.event)
    }))
}

/// Purchases of four users over three days.
fn write_sample(path: &Path) -> Result<(), Box<dyn Error>> {
    let start = Timestamp::parse("2024-01-01T08:00:00")?;
    let purchase = |n: i64| {
        let user = ["alice", "bob", "carol", "dave"][n as usize % 4];
        let time = Timestamp::from_seconds(start.seconds() + n * 3_000);
        Event::new("purchase", user, time).set("amount", n % 7 + 1).id(format!("p-{n}"))
    };
    let mut events: Vec<Event> = (0..80).map(purchase).collect();
    let day = |event: &Event| event.time().seconds().div_euclid(86_400);
    events.sort_by_cached_key(|event| (day(event), event.distinct_id().to_owned(), event.time()));
    let mut file = BufWriter::new(File::create(path)?);
    for event in events {
        writeln!(file, "{}", serde_json::to_string(&event)?)?;
    }
    Ok(file.flush()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("profiledb-example-{}", std::process::id()));
    let db = Db::open(dir.join("store"))?;
    for (id, plan) in [("alice", "pro"), ("bob", "free"), ("carol", "pro")] {
        db.users().update(id, Update::new().set("plan", plan))?;
    }
    let path = dir.join("purchases.ndjson");
    write_sample(&path)?;

    // The events stay in their file; only profiles are read from the store.
    let from = Timestamp::parse("2024-01-02")?;
    let by_plan = db.snapshot().join().events_from(events(&path)?).between(from..).group_by(["user.plan"]);
    let by_plan = by_plan.measure(Measure::Count).measure(Measure::Sum("event.amount".parse()?));
    println!("{}", serde_json::to_string_pretty(&by_plan.answer()?)?);

    let rows = db.snapshot().join().events_from(events(&path)?).select(["event.amount", "user.plan"]).rows()?;
    for row in rows.take(3) {
        println!("{}", serde_json::to_string(&row?)?);
    }
    drop(db);
    fs::remove_dir_all(dir)?;
    Ok(())
}
