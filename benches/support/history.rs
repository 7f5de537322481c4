//! Profiles and events that are the same in every run: what the benches of joins are measured on.
//!
//! Profiles have twelve properties and events four; ids are skewed so that a tenth of the users has half of the events.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use profiledb::{Batch, Db, Durability, Event, Kind, Limits, Timestamp, Update};

/// The day of the first event, in days since the epoch.
pub(crate) const FIRST_DAY: i64 = 19_800;

const DAY_MILLIS: i64 = 86_400_000;
const NAMES: [&str; 5] = ["visit", "search", "purchase", "share", "sign in"];
const PLANS: [&str; 4] = ["free", "free", "pro", "enterprise"];
const COUNTRIES: [&str; 8] = ["DE", "FR", "US", "JP", "BR", "IN", "GB", "NG"];

/// How much there is.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) users: u64,
    pub(crate) events: u64,
    pub(crate) days: u64,
}

/// The beginning of a day, counted from the first one.
pub(crate) fn day(day: u64) -> Timestamp {
    Timestamp::from_millis((FIRST_DAY + day as i64) * DAY_MILLIS)
}

/// Splitmix64: the same data in every run.
pub(crate) struct Seeded(u64);

impl Seeded {
    /// A generator that always gives the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Busy users stand anywhere among the others.
pub(crate) fn id(user: u64) -> String {
    format!("{:016x}", mix(user))
}

struct User {
    plan: &'static str,
    country: &'static str,
    age: u64,
}

fn user(user: u64) -> User {
    let mut seeded = Seeded::new(user ^ 0x5eed);
    User {
        plan: PLANS[seeded.below(4) as usize],
        country: COUNTRIES[seeded.below(8) as usize],
        age: 18 + seeded.below(60),
    }
}

fn profile(number: u64) -> Update {
    let User { plan, country, age } = user(number);
    Update::new()
        .set("$name", format!("User Number {number}"))
        .set("$email", format!("user-{number}@example.com"))
        .set("plan", plan)
        .set("country", country)
        .set("age", age)
        .set("verified", number.is_multiple_of(3))
        .set("score", (number % 1_000) as f64 / 8.0)
        .set("$os", "Linux")
        .set("$browser", "Firefox")
        .set("$browser_version", 128)
        .set("teams", ["eng", "ops"])
        .set("created", "2024-01-02T03:04:05")
}

/// An event before it is one.
pub(crate) struct Happened {
    pub(crate) user: u64,
    name: &'static str,
    pub(crate) millis: i64,
    amount: f64,
}

/// The next event: of a user who is probably busy, on any of the days.
pub(crate) fn happened(seeded: &mut Seeded, sizes: Sizes) -> Happened {
    let user = (seeded.unit().powf(3.3) * sizes.users as f64) as u64;
    let day = FIRST_DAY + seeded.below(sizes.days) as i64;
    Happened {
        user,
        name: NAMES[seeded.below(5) as usize],
        millis: day * DAY_MILLIS + seeded.below(DAY_MILLIS as u64) as i64,
        amount: seeded.below(100_000) as f64 / 100.0,
    }
}

/// The event with this number.
pub(crate) fn event(number: u64, happened: &Happened) -> Event {
    Event::new(happened.name, id(happened.user), Timestamp::from_millis(happened.millis))
        .id(format!("e{number:x}"))
        .set("amount", happened.amount)
        .set("area", "checkout")
        .set("$browser", "Firefox")
        .set("items", 1 + number % 7)
}

/// Makes a store, and where `csv` is given, `users.csv` and `events.csv` there with the same data.
///
/// | file | columns |
/// |---|---|
/// | `users.csv` | number of the user, id, plan, country, age |
/// | `events.csv` | number of the user, id, name, milliseconds, insert id, amount, area, browser, items |
pub(crate) fn build(dir: &Path, sizes: Sizes, csv: Option<&Path>) {
    let create = |name: &str| csv.map(|dir| BufWriter::new(fs::File::create(dir.join(name)).unwrap()));
    let (mut users, mut events) = (create("users.csv"), create("events.csv"));
    let db =
        Db::builder().limits(Limits::unbounded()).durability(Durability::Buffered).seal_after(0).open(dir).unwrap();
    let mut batch = Batch::new();
    let commit = |batch: &mut Batch, min: usize| {
        if batch.len() >= min {
            db.write(std::mem::take(batch)).unwrap();
        }
    };
    for number in 0..sizes.users {
        batch.update(&Kind::User, id(number), profile(number)).unwrap();
        commit(&mut batch, 1_000);
        if let Some(users) = &mut users {
            let User { plan, country, age } = user(number);
            writeln!(users, "{number},{},{plan},{country},{age}", id(number)).unwrap();
        }
    }
    let mut seeded = Seeded::new(1);
    for number in 0..sizes.events {
        let happened = happened(&mut seeded, sizes);
        batch.append(event(number, &happened));
        commit(&mut batch, 1_000);
        if let Some(events) = &mut events {
            let Happened { user, name, millis, amount } = happened;
            let (id, items) = (id(user), 1 + number % 7);
            writeln!(events, "{user},{id},{name},{millis},e{number:x},{amount},checkout,Firefox,{items}").unwrap();
        }
    }
    commit(&mut batch, 1);
    db.compact().unwrap();
    db.close().unwrap();
}

/// Copies a store that is not open.
pub(crate) fn copy(from: &Path, to: &Path) {
    let source = Db::builder().flush_on_close(false).open(from).unwrap();
    let backups = to.with_extension("backups");
    source.backup(&backups).unwrap();
    source.close().unwrap();
    Db::restore(&backups, to).unwrap();
    fs::remove_dir_all(&backups).unwrap();
}
