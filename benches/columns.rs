//! Joins over sealed events, one command at a time: the part of `benches/columns.py` that is profiledb.
//!
//! ```sh
//! columns make DIR USERS EVENTS DAYS   # DIR/rows, a copy with sealed events in DIR/sealed, and the data as CSV
//! columns serve STORE USERS DAYS [background]   # reads commands from standard input; the store seals itself or not
//! ```
//!
//! A command is a line of words, and its answer a line of JSON with the nanoseconds that it took, from building the
//! query to having the answer:
//!
//! | command | answer |
//! |---|---|
//! | `QUERY THREADS` | buckets: values and measures in a row. `QUERY` is a name in [`QUERIES`] |
//! | `days DAYS THREADS` | count by plan over the last days of the data |
//! | `fold THREADS` | rows with the plan of the user, looked at on the thread that made them |
//! | `change USERS EVENTS` | sets the plan of some users and appends events of the day after the last |
//! | `held THREADS` | a snapshot, queried before and after the plan of every user is changed |
//! | `write THREADS SECONDS MILLIS` | count by plan without and with a writer; seals that often, or never (0) |
//! | `seal`, `compact`, `tables` | |
//!
//! Run without a command, as `cargo bench` does, it does nothing.

#[path = "support/history.rs"]
mod history;

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use history::{Seeded, Sizes, build, copy, day, event, happened, id};
use profiledb::join::{Answer, Bucket, Field, GroupBy, Join, Measure, Row};
use profiledb::{Batch, Db, Durability, Kind, Limits, Update};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

/// A query over a join.
type Query = fn(Join, &Data) -> GroupBy;

/// What is compared with other databases, by name.
const QUERIES: [(&str, Query); 7] = [
    ("count_by_plan", |join, _| join.group_by(["user.plan"])),
    ("sum_by_country", |join, data| {
        let join = join.between(day(data.days - 30)..).event_names(["purchase"]).filter(r#"user["plan"] == "pro""#);
        join.group_by(["user.country"]).measure(Measure::Sum(Field::event("amount"))).measure(Measure::Count)
    }),
    ("uniques_by_plan", |join, _| join.group_by(["user.plan"]).measure(Measure::Uniques)),
    // One in two thousand.
    ("few_users", |join, _| {
        let filter = r#"user["plan"] == "pro" and user["country"] == "DE" and user["age"] == 30"#;
        join.filter(filter).measure(Measure::Count)
    }),
    ("three_fields", |join, _| {
        let join = join.filter(r#"user["age"] > 40 and properties["amount"] > 50"#);
        let by = join.group_by(["user.plan", "user.country", "event.items"]);
        by.measure(Measure::Count).measure(Measure::Sum(Field::event("amount")))
    }),
    // One condition that needs both sides.
    ("both_sides", |join, _| {
        join.filter(r#"properties["amount"] > user["age"] * 10"#).group_by(["user.plan"]).measure(Measure::Count)
    }),
    ("count_everything", |join, _| join.measure(Measure::Count)),
];

/// What is known of the data in a store.
struct Data {
    users: u64,
    days: u64,
}

/// How long something took, in nanoseconds, and what came of it.
fn timed<T>(run: impl FnOnce() -> T) -> (u64, T) {
    let started = Instant::now();
    let answer = run();
    (started.elapsed().as_nanos() as u64, answer)
}

/// Values and measures of each bucket.
fn rows(answer: &Answer) -> Value {
    let row = |bucket: &Bucket| -> Value {
        let by = bucket.by.iter().map(|value| json!(value));
        by.chain(bucket.measures.iter().map(|value| json!(value))).collect()
    };
    answer.buckets().iter().map(row).collect()
}

fn counted(answer: &Answer) -> u64 {
    answer.buckets().iter().map(|bucket| bucket.measures[0].as_number().unwrap().as_u64().unwrap()).sum()
}

fn by_plan(join: Join, threads: usize) -> profiledb::Result<Answer> {
    join.threads(threads).group_by(["user.plan"]).answer()
}

fn fold(db: &Db, threads: usize) -> profiledb::Result<u64> {
    let look = |(count, letters): &mut (u64, usize), row: &Row| {
        *letters += row.text(0).map_or(0, str::len);
        *count += 1;
        Ok(())
    };
    let states = db.snapshot().join().select(["user.plan"]).threads(threads).fold(|| (0, 0), look)?;
    black_box(states.iter().map(|(_, letters)| letters).sum::<usize>());
    Ok(states.iter().map(|(count, _)| count).sum())
}

/// Events of the day after the last one, and updates of plans: what a writer adds to the data.
struct Writer<'d> {
    db: &'d Db,
    data: &'d Data,
    seeded: Seeded,
}

impl<'d> Writer<'d> {
    fn new(db: &'d Db, data: &'d Data) -> Self {
        // Numbers of events begin where no earlier process has begun.
        let sequence = db.snapshot().sequence();
        Self { db, data, seeded: Seeded::new(sequence) }
    }

    fn write(&mut self, users: u64, events: u64) -> profiledb::Result<()> {
        let mut batch = Batch::new();
        let sizes = Sizes { users: self.data.users, events, days: 1 };
        let first = self.db.snapshot().sequence() << 24;
        for number in first..first + users.max(events) {
            let mut happened = happened(&mut self.seeded, sizes);
            happened.millis += self.data.days as i64 * 86_400_000;
            if number - first < users {
                let plan = if number.is_multiple_of(2) { "pro" } else { "free" };
                batch.update(&Kind::User, id(happened.user), Update::new().set("plan", plan).set("score", 0.5))?;
            }
            if number - first < events {
                batch.append(event(number, &happened));
            }
        }
        self.db.write(batch)
    }
}

fn set_every_plan(db: &Db, data: &Data) -> profiledb::Result<()> {
    let mut users = 0..data.users;
    while !users.is_empty() {
        let mut batch = Batch::new();
        for number in users.by_ref().take(1_000) {
            let plan = if number.is_multiple_of(2) { "even" } else { "odd" };
            batch.update(&Kind::User, id(number), Update::new().set("plan", plan))?;
        }
        db.write(batch)?;
    }
    Ok(())
}

/// A snapshot that is held while the plan of every user is set anew.
fn held(db: &Db, data: &Data, threads: usize) -> profiledb::Result<Value> {
    let ask = |snapshot: &profiledb::Snapshot| -> profiledb::Result<(u64, Answer)> {
        let (ns, answer) = timed(|| by_plan(snapshot.join(), threads));
        Ok((ns, answer?))
    };
    let snapshot = db.snapshot();
    let before = [ask(&snapshot)?, ask(&snapshot)?];
    let (updating, updated) = timed(|| set_every_plan(db, data));
    updated?;
    let after = [ask(&snapshot)?, ask(&snapshot)?];
    let now = db.snapshot();
    let now = [ask(&now)?, ask(&now)?];
    let ns = |asked: &[(u64, Answer)]| asked.iter().map(|(ns, _)| *ns).collect::<Value>();
    Ok(json!({
        "ns": updating,
        "before": ns(&before),
        "after": ns(&after),
        "now": ns(&now),
        "is_same": before.iter().chain(&after).all(|(_, answer)| *answer == before[0].1),
        "rows": rows(&now[0].1),
    }))
}

/// What a writer has done so far, and whether it shall stop.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
}

const BATCHES_PER_SECOND: u32 = 100;
const BATCH_EVENTS: u64 = 200;
const BATCH_USERS: u64 = 50;

/// Appends 20,000 events and updates 5,000 profiles a second. Returns the batches that it managed in a second.
fn keep_writing(db: &Db, data: &Data, progress: &Progress) -> profiledb::Result<f64> {
    let mut writer = Writer::new(db, data);
    let (started, mut batches) = (Instant::now(), 0);
    while !progress.stop.load(Ordering::Relaxed) {
        progress.begun.fetch_add(BATCH_EVENTS, Ordering::SeqCst);
        writer.write(BATCH_USERS, BATCH_EVENTS)?;
        progress.done.fetch_add(BATCH_EVENTS, Ordering::SeqCst);
        batches += 1;
        let next = Duration::from_secs(1) / BATCHES_PER_SECOND * batches;
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    Ok(f64::from(batches) / started.elapsed().as_secs_f64())
}

/// Seals every so often, if ever. Returns how often it did.
fn keep_sealing(db: &Db, every: Duration, progress: &Progress) -> profiledb::Result<u64> {
    let mut seals = 0;
    while !every.is_zero() && !progress.stop.load(Ordering::Relaxed) {
        std::thread::sleep(every);
        db.events().seal()?;
        seals += 1;
    }
    Ok(seals)
}

/// Counts by plan, one after the other, until it is over. Every event that was acknowledged before must be counted, and
/// none that was not handed over.
fn keep_asking(db: &Db, threads: usize, over: Duration, progress: &Progress) -> Result<Vec<u64>, Failure> {
    let (started, mut times) = (Instant::now(), Vec::new());
    while started.elapsed() < over || times.len() < 3 {
        let least = progress.done.load(Ordering::SeqCst);
        let (ns, answer) = timed(|| by_plan(db.snapshot().join(), threads));
        let (count, most) = (counted(&answer?), progress.begun.load(Ordering::SeqCst));
        if !(least..=most).contains(&count) {
            return Err(format!("{count} events are counted, not {least} to {most}").into());
        }
        times.push(ns);
    }
    Ok(times)
}

/// Counts by plan alone, then while a writer is at work, then over what it left, and at last when that is sealed.
fn write(db: &Db, data: &Data, threads: usize, over: Duration, seal_every: Duration) -> Result<Value, Failure> {
    let first = counted(&by_plan(db.snapshot().join(), threads)?);
    let progress = Progress { begun: first.into(), done: first.into(), ..Progress::default() };
    let alone = keep_asking(db, threads, over / 2, &progress)?;
    let (during, batches, seals) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| keep_writing(db, data, &progress));
        let sealing = scope.spawn(|| keep_sealing(db, seal_every, &progress));
        let during = keep_asking(db, threads, over, &progress);
        progress.stop.store(true, Ordering::Relaxed);
        (during, writing.join().unwrap(), sealing.join().unwrap())
    });
    let (during, batches, seals) = (during?, batches?, seals?);
    let after = keep_asking(db, threads, over / 4, &progress)?;
    let (sealing, sealed) = timed(|| db.events().seal());
    let tail = sealed?.events;
    let sealed = keep_asking(db, threads, over / 4, &progress)?;
    Ok(json!({
        "ns": sealing,
        "alone": alone,
        "during": during,
        "after": after,
        "sealed": sealed,
        "seals": seals,
        "tail": tail,
        "events": progress.done.into_inner() - first,
        "events_per_second": batches * BATCH_EVENTS as f64,
        "updates_per_second": batches * BATCH_USERS as f64,
    }))
}

/// How long updates take with the records of changes that stored codes need, and without: one by one, and in batches of
/// 200; either of the two first.
fn record(db: &Db, data: &Data, threads: usize, updates: u64, with_first: bool) -> profiledb::Result<Value> {
    let mut seeded = Seeded::new(updates | 1);
    let sizes = Sizes { users: data.users, events: updates, days: 1 };
    let mut update = |batch: u64| -> profiledb::Result<u64> {
        let ids: Vec<String> = (0..updates).map(|_| id(happened(&mut seeded, sizes).user)).collect();
        let (ns, updated) = timed(|| {
            for (number, ids) in (0_u64..).zip(ids.chunks(batch as usize)) {
                let update = Update::new().set("score", number as f64);
                if let [id] = ids {
                    db.users().update(id, update)?;
                    continue;
                }
                let mut batch = Batch::new();
                ids.iter().try_for_each(|id| batch.update(&Kind::User, id, update.clone()))?;
                db.write(batch)?;
            }
            Ok(())
        });
        updated.map(|()| ns)
    };
    let (mut with, mut without, mut is_recorded) = ([0; 2], [0; 2], false);
    // What comes later meets larger memtables.
    for is_with in [with_first, !with_first] {
        if is_with {
            counted(&by_plan(db.snapshot().join(), threads)?);
            db.store_codes()?;
            with = [update(1)?, update(200)?];
            is_recorded = db.stored_codes()? > 0;
        } else {
            db.forget_codes()?;
            without = [update(1)?, update(200)?];
        }
    }
    Ok(json!({"ns": 0, "without": without, "with": with, "is_recorded": is_recorded}))
}

/// How many events a second are appended by a thread that does nothing else, and while a call seals them, if it is to.
fn appends(db: &Db, data: &Data, over: Duration, seals: bool) -> profiledb::Result<Value> {
    let rate = |stop: &dyn Fn(Duration) -> bool| -> profiledb::Result<f64> {
        let (mut writer, mut events, started) = (Writer::new(db, data), 0, Instant::now());
        while !stop(started.elapsed()) {
            writer.write(0, BATCH_EVENTS)?;
            events += BATCH_EVENTS;
        }
        Ok(events as f64 / started.elapsed().as_secs_f64())
    };
    let alone = rate(&|elapsed| elapsed >= over)?;
    if !seals {
        return Ok(json!({"ns": 0, "alone": alone}));
    }
    let sealing = AtomicBool::new(true);
    let (meanwhile, sealed) = std::thread::scope(|scope| {
        let sealed = scope.spawn(|| {
            let sealed = db.events().seal();
            sealing.store(false, Ordering::SeqCst);
            sealed
        });
        let meanwhile = rate(&|_| !sealing.load(Ordering::SeqCst));
        (meanwhile, sealed.join().unwrap())
    });
    Ok(json!({"ns": 0, "alone": alone, "meanwhile": meanwhile?, "sealed": sealed?.events}))
}

fn tables(db: &Db) -> Value {
    db.stats().tables.into_iter().map(|table| json!([table.table, table.sst_bytes, table.profiles_estimate])).collect()
}

/// What a command answers.
fn answer(db: &Db, data: &Data, words: &[&str]) -> Result<Value, Failure> {
    Ok(match *words {
        ["days", days, threads] => {
            let (from, threads) = (data.days - days.parse::<u64>()?, threads.parse()?);
            let (ns, answer) = timed(|| by_plan(db.snapshot().join().between(day(from)..), threads));
            json!({"ns": ns, "rows": rows(&answer?)})
        }
        ["fold", threads] => {
            let threads = threads.parse()?;
            let (ns, count) = timed(|| fold(db, threads));
            json!({"ns": ns, "rows": [[count?]]})
        }
        ["change", users, events] => {
            let (users, events) = (users.parse()?, events.parse()?);
            let (ns, written) = timed(|| Writer::new(db, data).write(users, events));
            written?;
            json!({"ns": ns})
        }
        ["held", threads] => held(db, data, threads.parse()?)?,
        ["write", threads, seconds, seal_every] => {
            let (seconds, seal_every) = (Duration::from_secs_f64(seconds.parse()?), seal_every.parse()?);
            write(db, data, threads.parse()?, seconds, Duration::from_millis(seal_every))?
        }
        ["record", threads, updates, with_first] => {
            record(db, data, threads.parse()?, updates.parse()?, with_first == "1")?
        }
        ["append", seconds] => appends(db, data, Duration::from_secs_f64(seconds.parse()?), false)?,
        ["appends", seconds] => appends(db, data, Duration::from_secs_f64(seconds.parse()?), true)?,
        ["seal"] => {
            let (ns, sealed) = timed(|| db.events().seal());
            json!({"ns": ns, "rows": [[sealed?.events]]})
        }
        ["compact"] => {
            let (ns, compacted) = timed(|| db.compact());
            compacted?;
            json!({"ns": ns})
        }
        // What joins have read of the table of users is stored in the background.
        ["stored"] => {
            let (ns, ()) = timed(|| {
                while db.stored_codes().is_ok_and(|stored| stored == 0) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            json!({"ns": ns, "rows": [[db.stored_codes()?]]})
        }
        ["tables"] => json!({"ns": 0, "rows": tables(db)}),
        [name, threads] => {
            let (_, query) = QUERIES.iter().find(|(known, _)| *known == name).ok_or("there is no such query")?;
            let threads = threads.parse()?;
            let (ns, answer) = timed(|| query(db.snapshot().join().threads(threads), data).answer());
            json!({"ns": ns, "rows": rows(&answer?)})
        }
        _ => return Err("there is no such command".into()),
    })
}

fn say(line: &Value) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// `in_background`: whether it seals by itself, as it does by default.
fn open(dir: &Path, in_background: bool) -> Db {
    let builder = Db::builder().limits(Limits::unbounded()).durability(Durability::Buffered);
    (if in_background { builder } else { builder.seal_after(0) }).open(dir).unwrap()
}

fn make(dir: &Path, sizes: Sizes) {
    let (rows, sealed) = (dir.join("rows"), dir.join("sealed"));
    build(&rows, sizes, Some(dir));
    copy(&rows, &sealed);
    let db = open(&sealed, false);
    let before = tables(&db);
    let (sealing, sealed) = timed(|| db.events().seal().unwrap());
    assert_eq!((sealed.events, sealed.left), (sizes.events, 0));
    let (compacting, ()) = timed(|| db.compact().unwrap());
    say(&json!({"sealing": sealing, "compacting": compacting, "rows": before, "sealed": tables(&db)}));
    db.close().unwrap();
}

fn serve(dir: &Path, data: &Data, in_background: bool) {
    let (ns, db) = timed(|| open(dir, in_background));
    say(&json!({"ns": ns}));
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = answer(&db, data, &words);
        say(&answer.unwrap_or_else(|error| json!({"error": format!("{line}: {error}")})));
    }
    db.close().unwrap();
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let number = |text: &str| text.parse::<u64>().unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", dir, users, events, days] => {
            make(Path::new(dir), Sizes { users: number(users), events: number(events), days: number(days) });
        }
        ["serve", dir, users, days, ref mode @ ..] => {
            let data = Data { users: number(users), days: number(days) };
            serve(Path::new(dir), &data, mode.contains(&"background"));
        }
        _ => {}
    }
}
