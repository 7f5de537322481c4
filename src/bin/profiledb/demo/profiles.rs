//! The first half: profiles.

use std::collections::BTreeMap;
use std::time::Instant;

use profiledb::ingest::{Record, Records, Rules};
use profiledb::{Change, Db, Op, Profile, Update, Value};

use super::guide::{Told, count, found, load_all, say, show};
use crate::failure::Failure;

/// The history of a repository. It travels in the binary, so that the tour works anywhere.
const HISTORY: &[u8] = include_bytes!("../../../../examples/data/history/updates.ndjson.gz");

/// The first half of the tour.
pub(super) fn tour(db: &Db) -> Told {
    load(db)?;
    one_user(db)?;
    counters(db)?;
    laziness(db)?;
    snapshots(db)?;
    groups(db)
}

fn load(db: &Db) -> Told {
    say("1. Updates go in\n")?;
    say("   The commits of a large C++ project, as a web site would report them: who did what, and when.")?;
    let sum = load_all::<Record>(db, "history", HISTORY)?;
    let users = db.users().iter().count() as u64;
    say(format!(
        "   {} updates in {:.2} s, {} a second, onto {} users; {} rejected.\n",
        count(sum.applied),
        sum.seconds,
        count(sum.per_second),
        count(users),
        sum.rejected
    ))
}

/// A user whose history fits on a line.
fn example_user(db: &Db) -> Result<String, Failure> {
    for row in db.users().iter() {
        let (id, profile) = row?;
        let elements = |name| profile.get(name).and_then(Value::as_list).map_or(0, <[Value]>::len);
        if elements("areas") == 3 && elements("hours") == 4 {
            return Ok(id);
        }
    }
    Err(Failure::new("the bundled history lacks the user that the tour is about"))
}

fn one_user(db: &Db) -> Told {
    let (users, id) = (db.users(), example_user(db)?);
    let before = found(users.get(&id)?)?;
    say("2. A profile comes out\n")?;
    say(format!("   User {id}, folded from all updates of the profile:\n"))?;
    for (name, value) in before.properties().iter() {
        say(format!("     {name:<12} {value}"))?;
    }
    let change = r#""$add":{"commits":1},"$union":{"areas":["docs"]},"$set":{"last_area":"docs"}"#;
    let update = format!(r#"{{"$distinct_id":"{id}",{change}}}"#);
    say(format!(
        "\n   They return and write documentation. One update, as client libraries send it:\n\n     {update}\n"
    ))?;
    for outcome in Records::new(update.as_bytes(), Rules::new()) {
        let record = outcome?.map_err(profiledb::Error::from)?;
        db.write([(record.key, record.change)].into_iter().collect())?;
    }
    let after = found(users.get(&id)?)?;
    for name in ["commits", "areas", "last_area"] {
        say(format!("     {name:<12} {}  ->  {}", show(&before, name), show(&after, name)))?;
    }
    say("\n   The profile was not read to write that.\n")
}

/// The sums of doubles: the `effort` of each user, added one update at a time.
fn sums_of_doubles() -> Result<BTreeMap<String, (u64, f64)>, Failure> {
    let mut sums: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for outcome in Records::new(HISTORY, Rules::new()) {
        let Ok(record) = outcome? else { continue };
        if record.key.kind().group_key().is_some() {
            continue;
        }
        let Change::Update(update) = record.change else {
            sums.remove(record.key.id());
            continue;
        };
        for (name, op) in update.ops() {
            if let ("effort", Op::Add(amount)) = (name.as_str(), op) {
                let (times, sum) = sums.entry(record.key.id().to_owned()).or_default();
                *times += 1;
                *sum += amount.as_f64();
            }
        }
    }
    Ok(sums)
}

fn counters(db: &Db) -> Told {
    say("3. Exact counters\n")?;
    let users = db.users();
    let mut double = 0.0_f64;
    for _ in 0..10 {
        users.update("you", Update::new().add("coffees", 0.1))?;
        double += 0.1;
    }
    let you = found(users.get("you")?)?;
    say("   A tenth, ten times over:\n")?;
    say(format!("     in doubles   {double}\n     in profiledb {}\n", show(&you, "coffees")))?;
    let mut worst: Option<(f64, String, u64, f64, Value)> = None;
    for (id, (times, sum)) in sums_of_doubles()? {
        let Some(exact) = users.get_property(&id, "effort")? else { continue };
        let off = (exact.as_f64().unwrap_or(sum) - sum).abs();
        if off > worst.as_ref().map_or(0.0, |(worst, ..)| *worst) {
            worst = Some((off, id, times, sum, exact));
        }
    }
    if let Some((_, id, times, sum, exact)) = worst {
        say(format!("   The \"effort\" of user {id}, {times} additions, from the data:\n"))?;
        say(format!("     in doubles   {sum}\n     in profiledb {exact}\n"))?;
    }
    say("   Sums are exact, so it does not matter how the updates were grouped on their way to disk.\n")
}

/// The number of pending operands, the most on one profile, and the mean time of a read in microseconds.
fn look(db: &Db) -> Result<(u64, u64, f64), Failure> {
    let report = db.check()?;
    let pending = report.tables.iter().map(|table| table.pending_operands).sum();
    let most = report.tables.iter().filter_map(|table| table.most_pending.as_ref()).map(|(most, _)| *most).max();
    let users = db.users();
    let ids: Vec<String> = users.iter().map(|row| row.map(|(id, _)| id)).collect::<Result<_, _>>()?;
    let mut seconds = 0.0;
    // The second round reads from warm caches.
    for _ in 0..2 {
        let started = Instant::now();
        for id in &ids {
            found(users.get(id)?)?;
        }
        seconds = started.elapsed().as_secs_f64();
    }
    Ok((pending, most.unwrap_or_default(), seconds * 1e6 / ids.len().max(1) as f64))
}

fn laziness(db: &Db) -> Told {
    say("4. Lazy folding\n")?;
    let (pending, most, micros) = look(db)?;
    say("   Writes add operands, which are composed within a commit. They are folded into profiles by reads and by")?;
    say("   compactions:\n")?;
    let line = |pending, most, micros: f64| {
        let pending = count(pending).to_string();
        format!("{pending:>6} operands pending, at most {most:>3} on one profile; a read takes {micros:4.1} us")
    };
    say(format!("     now                {}", line(pending, most, micros)))?;
    db.compact()?;
    let (pending, most, micros) = look(db)?;
    say(format!("     after compaction   {}\n", line(pending, most, micros)))?;
    say("   RocksDB compacts in the background. Profiles are the same before, meanwhile and after.\n")
}

fn snapshots(db: &Db) -> Told {
    say("5. Snapshots\n")?;
    let users = db.users();
    users.update("you", Update::new().set("mood", "curious"))?;
    let snapshot = db.snapshot();
    users.update("you", Update::new().set("mood", "convinced").add("coffees", 1))?;
    for (when, profile) in [("in the snapshot", snapshot.users().get("you")?), ("by now", users.get("you")?)] {
        let profile = found(profile)?;
        say(format!("     {when:<16} mood {}, coffees {}", show(&profile, "mood"), show(&profile, "coffees")))?;
    }
    say("\n   A snapshot is a consistent view of the whole store, and does not block writers.\n")
}

fn groups(db: &Db) -> Told {
    say("6. Groups have profiles, too\n")?;
    let domains = db.groups("domain")?;
    let mut busiest: Vec<(usize, String, Profile)> = Vec::new();
    for row in domains.iter() {
        let (id, profile) = row?;
        let areas = profile.get("areas").and_then(Value::as_list).map_or(0, <[Value]>::len);
        busiest.push((areas, id, profile));
    }
    busiest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    say(format!(
        "   {} mail domains have profiles, like users. Those that touched most of the code:\n",
        busiest.len()
    ))?;
    for (areas, id, profile) in busiest.iter().take(3) {
        let text = |name| profile.get(name).and_then(Value::as_str).unwrap_or_default();
        let (first, last) = (text("first_area"), text("last_commit"));
        say(format!("     {id:<12} {areas} areas, {first} first of all; last seen {last}"))?;
    }
    say("")
}
