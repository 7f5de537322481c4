//! The join beside a bare iterator of RocksDB over the same files.
//!
//! A million profiles of twelve properties, five million events in ninety days, ids skewed so that a tenth of the users
//! has half of the events. Rivals take turns in one process on the same files, and what counts is the median of
//! their ratios, round by round:
//!
//! * `bare iterator`: RocksDB's own iterator over keys and values of all events, on as many threads, which does nothing
//!   but add up lengths.
//! * `joined scan`: every event as a row with one property of its user, which is looked at, on the thread that made it.
//! * `iterated`: the same, all rows out of one iterator.
//! * `planning`: a query for one day that is only planned, which is what every query costs before it reads.
//!
//! * `sealed`: a copy of the store whose events were sealed: how fast that was, what space the events take, and the
//!   same reads again.
//!
//! `join/scan` as an argument runs those whose name has `scan` in it. Making the data takes a minute or two.
//! `PROFILEDB_BENCH_DIR` names a directory to keep it in. `benches/columns.py` compares with other databases.

#[path = "support/history.rs"]
mod history;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use history::{FIRST_DAY, Sizes, build, copy, day};
use profiledb::join::{Field, Join, Measure, Row, Strategy};
use profiledb::{Db, Durability};
use rocksdb::{ColumnFamilyDescriptor, DB, Options, ReadOptions};

const SIZES: Sizes = Sizes { users: PROFILES, events: EVENTS, days: DAYS };
const PROFILES: u64 = 1_000_000;
const EVENTS: u64 = 5_000_000;
const DAYS: u64 = 90;
const ROUNDS: usize = 7;

/// RocksDB alone, on the files of the store.
struct Bare(DB);

impl Bare {
    fn open(dir: &Path) -> Self {
        let options = Options::default();
        let families = DB::list_cf(&options, dir).unwrap();
        let families = families.iter().map(|name| ColumnFamilyDescriptor::new(name, Options::default()));
        Self(DB::open_cf_descriptors_read_only(&options, dir, families, false).unwrap())
    }

    /// Adds up the lengths of everything, each thread some of the days.
    fn scan(&self, threads: u64) -> u64 {
        let prefix = |day: u64| ((FIRST_DAY as u64 + day) as u32 ^ (1 << 31)).to_be_bytes();
        let part = |thread: u64| {
            let mut reads = ReadOptions::default();
            reads.fill_cache(false);
            reads.set_iterate_upper_bound(prefix(DAYS * (thread + 1) / threads));
            let mut rows = self.0.raw_iterator_cf_opt(self.0.cf_handle("events").unwrap(), reads);
            rows.seek(prefix(DAYS * thread / threads));
            let (mut count, mut bytes) = (0_u64, 0);
            while let Some((key, value)) = rows.item() {
                count += 1;
                bytes += key.len() + value.len();
                rows.next();
            }
            rows.status().unwrap();
            black_box(bytes);
            count
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    }
}

fn joined_scan(db: &Db, threads: usize) -> u64 {
    let look = |(count, letters): &mut (u64, usize), row: &Row| {
        *letters += row.text(0).map_or(0, str::len);
        *count += 1;
        Ok(())
    };
    let states = db.snapshot().join().select(["user.plan"]).threads(threads).fold(|| (0, 0), look).unwrap();
    black_box(states.iter().map(|(_, letters)| letters).sum::<usize>());
    states.iter().map(|(count, _)| count).sum()
}

fn iterated(db: &Db, threads: usize) -> u64 {
    let rows = db.snapshot().join().select(["user.plan"]).threads(threads).rows().unwrap();
    rows.map(|row| u64::from(row.unwrap().text(0).is_none_or(|plan| !plan.is_empty()))).sum()
}

fn selective(join: Join) -> u64 {
    join.between(day(45)..day(46))
        .event_names(["purchase"])
        .select(["user.plan"])
        .rows()
        .unwrap()
        .inspect(|row| assert!(row.is_ok()))
        .count() as u64
}

/// Plans only: statistics and a sample of one day, ten times.
fn planning(db: &Db) -> u64 {
    let join = db.snapshot().join().between(day(45)..day(46)).select(["user.plan"]);
    (0..10).map(|_| join.explain().unwrap().estimates.sample).sum()
}

fn count(db: &Db) -> u64 {
    counted(db.snapshot().join())
}

fn by_plan(db: &Db, threads: usize) -> u64 {
    let answer = db.snapshot().join().threads(threads).group_by(["user.plan"]).answer().unwrap();
    answer.buckets().iter().map(|row| row.measures[0].as_number().unwrap().as_u64().unwrap()).sum()
}

fn amount_by_country(db: &Db, threads: usize) -> u64 {
    let join = db.snapshot().join().between(day(60)..).event_names(["purchase"]).filter(r#"user["plan"] == "pro""#);
    let by_country = join.threads(threads).group_by(["user.country"]);
    let answer = by_country.measure(Measure::Sum(Field::event("amount"))).measure(Measure::Count).answer().unwrap();
    answer.buckets().iter().map(|row| row.measures[1].as_number().unwrap().as_u64().unwrap()).sum()
}

/// Events of one user in two thousand.
fn few_users(db: &Db, threads: usize) -> u64 {
    let filter = r#"user["plan"] == "pro" and user["country"] == "DE" and user["age"] == 30"#;
    counted(db.snapshot().join().filter(filter).threads(threads))
}

fn counted(join: Join) -> u64 {
    let answer = join.measure(Measure::Count).answer().unwrap();
    answer.buckets()[0].measures[0].as_number().unwrap().as_u64().unwrap()
}

/// Bytes of the tables with these names.
fn bytes_of(db: &Db, names: &[&str]) -> u64 {
    let tables = db.stats().tables.into_iter().filter(|table| names.contains(&table.table.as_str()));
    tables.map(|table| table.sst_bytes).sum()
}

/// Seals the events of a copy of the store.
fn seal(from: &Path, to: &Path) -> Db {
    copy(from, to);
    let db = Db::builder().durability(Durability::Buffered).seal_after(0).open(to).unwrap();
    let rows = bytes_of(&db, &["events"]);
    let started = Instant::now();
    let sealed = db.events().seal().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!((sealed.events, sealed.left), (EVENTS, 0));
    println!("join: {EVENTS} events sealed in {seconds:.2} s, {:.2} M/s", EVENTS as f64 / seconds / 1e6);
    let started = Instant::now();
    db.compact().unwrap();
    let bytes = bytes_of(&db, &["events", "segments"]);
    println!("join: compacted in {:.2} s, {bytes} bytes, {rows} as rows", started.elapsed().as_secs_f64());
    db
}

fn iterate_events(db: &Db) -> u64 {
    db.events().iter().map(|event| u64::from(!event.unwrap().name().is_empty())).sum()
}

type Run<'r> = Box<dyn Fn() -> u64 + 'r>;

/// What is run, by name.
fn runs<'r>(bare: &'r Bare, db: &'r Db, sealed: Option<&'r Db>) -> Vec<(&'static str, Run<'r>)> {
    let mut runs: Vec<(&'static str, Run<'r>)> = vec![
        ("bare iterator, 1 thread", Box::new(move || bare.scan(1))),
        ("joined scan, 1 thread", Box::new(move || joined_scan(db, 1))),
        ("bare iterator, 2 threads", Box::new(move || bare.scan(2))),
        ("joined scan, 2 threads", Box::new(move || joined_scan(db, 2))),
        ("iterated, 1 thread", Box::new(move || iterated(db, 1))),
        ("iterated, 2 threads", Box::new(move || iterated(db, 2))),
        ("one day, one name", Box::new(move || selective(db.snapshot().join()))),
        ("one day, one name, hash", Box::new(move || selective(db.snapshot().join().strategy(Strategy::Hash)))),
        ("one day, one name, merge", Box::new(move || selective(db.snapshot().join().strategy(Strategy::Merge)))),
        ("planning of one day, 10 times", Box::new(move || planning(db))),
        ("count of everything, 1 thread", Box::new(move || count(db))),
        ("count by plan, 1 thread", Box::new(move || by_plan(db, 1))),
        ("count by plan, 2 threads", Box::new(move || by_plan(db, 2))),
        ("amount by country, 2 threads", Box::new(move || amount_by_country(db, 2))),
        ("count of few users', 1 thread", Box::new(move || few_users(db, 1))),
        ("count of few users', 2 threads", Box::new(move || few_users(db, 2))),
    ];
    if let Some(sealed) = sealed {
        runs.push(("events iterated", Box::new(move || iterate_events(db))));
        runs.push(("events iterated, sealed", Box::new(move || iterate_events(sealed))));
        runs.push(("joined scan, 2 threads, sealed", Box::new(move || joined_scan(sealed, 2))));
        runs.push(("one day, one name, sealed", Box::new(move || selective(sealed.snapshot().join()))));
        runs.push(("count by plan, 2 threads, sealed", Box::new(move || by_plan(sealed, 2))));
        runs.push(("planning of one day, sealed", Box::new(move || planning(sealed))));
    }
    runs
}

fn main() {
    // Cargo hands its own flags and everybody's filters to every benchmark.
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let (bench, only) = wanted.split_once('/').unwrap_or((&wanted, ""));
    if !"join".contains(bench) {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("PROFILEDB_BENCH_DIR").map(PathBuf::from);
    let dir = kept.unwrap_or_else(|| temporary.path().join("store"));
    if !dir.exists() {
        let started = Instant::now();
        build(&dir, SIZES, None);
        println!("join: {PROFILES} profiles, {EVENTS} events, made in {:.0} s", started.elapsed().as_secs_f64());
    }
    // The bare reader must not see a log of the store, which it would have to fold.
    let bare = Bare::open(&dir);
    let sealed = only.contains("sealed").then(|| seal(&dir, &temporary.path().join("sealed")));
    let db = Db::builder().open_read_only(&dir).unwrap();
    println!("join: {}", db.snapshot().join().select(["user.plan"]).threads(2).explain().unwrap());

    let mut runs = runs(&bare, &db, sealed.as_ref());
    runs.retain(|(name, _)| name.contains(only));
    let mut times: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut counts = vec![0; runs.len()];
    for round in 0..=ROUNDS {
        for (at, (_, run)) in runs.iter().enumerate() {
            let started = Instant::now();
            counts[at] = run();
            // The first round fills the page cache.
            if round > 0 {
                times.entry(at).or_default().push(started.elapsed().as_secs_f64());
            }
        }
    }
    let median = |at: usize| {
        let mut sorted = times[&at].clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    for (at, (name, _)) in runs.iter().enumerate() {
        let (seconds, rows) = (median(at), counts[at]);
        println!("join: {name:<30} {seconds:8.3} s  {rows:>8} rows  {:7.2} M rows/s", rows as f64 / seconds / 1e6);
    }
    // Round by round, so that a machine that gets slower or faster meanwhile does so for both.
    let ratio = |a: &str, b: &str| {
        let at = |wanted: &str| runs.iter().position(|(name, _)| *name == wanted);
        if let (Some(a), Some(b)) = (at(a), at(b)) {
            let mut ratios: Vec<f64> = times[&a].iter().zip(&times[&b]).map(|(a, b)| a / b).collect();
            ratios.sort_by(f64::total_cmp);
            let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
            let middle = ratios[ratios.len() / 2];
            println!("join: {middle:.2} ({least:.2} to {most:.2}) is {} by {}", runs[a].0, runs[b].0);
        }
    };
    ratio("bare iterator, 1 thread", "joined scan, 1 thread");
    ratio("bare iterator, 2 threads", "joined scan, 2 threads");
    ratio("joined scan, 1 thread", "one day, one name");
    ratio("events iterated", "events iterated, sealed");
    ratio("joined scan, 2 threads", "joined scan, 2 threads, sealed");
    ratio("count by plan, 2 threads", "count by plan, 2 threads, sealed");
}
