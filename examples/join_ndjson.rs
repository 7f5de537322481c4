//! A caller's own events, in a file of lines, joined onto the profiles of a store.
//!
//! ```text
//! cargo run --release --example join_ndjson
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use profiledb::ingest::{EventRecord, Rules};
use profiledb::join::{self, Measure, Source};
use profiledb::{Db, Event, Timestamp, Update};

/// Events in a file, one a line in the form of Mixpanel's `/import`, and in the order of a log: by day in UTC, within a
/// day by `distinct_id`, within a user by time. The join says so when they are not.
struct Lines {
    reader: BufReader<File>,
    line: String,
    /// Where the line stands, for whoever has to mend it.
    number: u64,
    rules: Rules,
    /// The key and the value of the event that was read last.
    row: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether a seek has read it and nobody has had it yet.
    ahead: bool,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let (reader, line) = (BufReader::new(File::open(path)?), String::new());
        Ok(Self { reader, line, number: 0, rules: Rules::new(), row: None, ahead: false })
    }

    fn read(&mut self) -> profiledb::Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.line.clear();
        if self.reader.read_line(&mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let record = EventRecord::from_slice(self.line.as_bytes(), &self.rules).map_err(|mut reject| {
            reject.line = Some(self.number);
            reject
        })?;
        Ok(Some(join::encode(&record.event)))
    }
}

impl Source for Lines {
    fn next(&mut self) -> profiledb::Result<Option<(&[u8], &[u8])>> {
        if !std::mem::take(&mut self.ahead) {
            self.row = self.read()?;
        }
        Ok(self.row.as_ref().map(|(key, value)| (key.as_slice(), value.as_slice())))
    }

    /// A file of lines has no index, so what lies before the key is read and passed over.
    fn seek(&mut self, key: &[u8]) -> profiledb::Result<()> {
        while self.next()?.is_some_and(|(next, _)| next < key) {}
        self.ahead = true;
        Ok(())
    }
}

/// Purchases of four users over three days. What tells events with one user, name and time apart is their id.
fn write_sample(path: &Path) -> Result<(), Box<dyn Error>> {
    let start = Timestamp::parse("2024-01-01T08:00:00")?;
    let purchase = |n: i64| {
        let user = ["alice", "bob", "carol", "dave"][n as usize % 4];
        let time = Timestamp::from_seconds(start.seconds() + n * 3_000);
        Event::new("purchase", user, time).set("amount", n % 7 + 1).id(format!("p-{n}"))
    };
    let mut events: Vec<Event> = (0..80).map(purchase).collect();
    events.sort_by_cached_key(|event| join::encode(event).0);
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
    let by_plan = db.snapshot().join().events_from(Lines::open(&path)?).between(from..).group_by(["user.plan"]);
    let by_plan = by_plan.measure(Measure::Count).measure(Measure::Sum("event.amount".parse()?));
    println!("{}", serde_json::to_string_pretty(&by_plan.answer()?)?);

    let rows = db.snapshot().join().events_from(Lines::open(&path)?).select(["event.amount", "user.plan"]).rows()?;
    for row in rows.take(3) {
        println!("{}", serde_json::to_string(&row?)?);
    }
    drop(db);
    fs::remove_dir_all(dir)?;
    Ok(())
}
