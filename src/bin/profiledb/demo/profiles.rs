//! The first half: profiles.

use std::collections::BTreeMap;
use std::time::Instant;

use profiledb::ingest::{Record, Records, Rules};
use profiledb::{Change, Db, Op, Profile, Update, Value};

use super::{Told, count, found, load_all, say, show};
use crate::failure::Failure;

/// The history of a repository. It travels in the binary, so that the tour works anywhere.
const HISTORY: &[u8] = include_bytes!("../../../../examples/data/history/updates.ndjson.gz");

/// The first half of the tour.
pub(super) fn tour(db: &Db) -> Told {
    load(db)?;
    one_user(db)?;
    counters(db)?;
    laziness(db)?;
    moments(db)?;
    groups(db)
}

fn load(db: &Db) -> Told {
    say("1. Updates go in\n")?;
    say("   The commits of a large C++ project, as a web site would report them: who did what, and when.")?;
    let sum = load_all::<Record>(db, "history", HISTORY)?;
    let users = db.users().iter().count() as u64;
    say(format!(
        "   {} updates in {:.2} s, {} a second, onto {} users; {} refused.\n",
        count(sum.applied),
        sum.seconds,
        count(sum.per_second),
        count(users),
        sum.rejected
    ))
}

/// Somebody with a history that fits on a line.
fn somebody(db: &Db) -> Result<String, Failure> {
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
    let (users, id) = (db.users(), somebody(db)?);
    let before = found(users.get(&id)?)?;
    say("2. A profile comes out\n")?;
    say(format!("   User {id}, folded just now from everything that was ever said about them:\n"))?;
    for (name, value) in before.properties().iter() {
        say(format!("     {name:<12} {value}"))?;
    }
    let change = r#""$add":{"commits":1},"$union":{"areas":["docs"]},"$set":{"last_area":"docs"}"#;
    let update = format!(r#"{{"$distinct_id":"{id}",{change}}}"#);
    say(format!(
        "\n   They come back and write documentation. One update, as any client library sends it:\n\n     {update}\n"
    ))?;
    for outcome in Records::new(update.as_bytes(), Rules::new()) {
        let record = outcome?.map_err(profiledb::Error::from)?;
        db.write([(record.key, record.change)].into_iter().collect())?;
    }
    let after = found(users.get(&id)?)?;
    for name in ["commits", "areas", "last_area"] {
        say(format!("     {name:<12} {}  ->  {}", show(&before, name), show(&after, name)))?;
    }
    say("\n   Nobody read the profile to write that.\n")
}

/// What people get who add up doubles: the `effort` of each user, as the updates say it, one by one.
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
    say("3. Counters count\n")?;
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

/// Operands that wait, the most on one profile, and the mean time of a read in microseconds.
fn look(db: &Db) -> Result<(u64, u64, f64), Failure> {
    let report = db.check()?;
    let pending = report.tables.iter().map(|table| table.pending_operands).sum();
    let most = report.tables.iter().filter_map(|table| table.most_pending.as_ref()).map(|(most, _)| *most).max();
    let users = db.users();
    let ids: Vec<String> = users.iter().map(|row| row.map(|(id, _)| id)).collect::<Result<_, _>>()?;
    let mut seconds = 0.0;
    // The second time around everything is in memory that will be.
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
    say("4. Work that waits\n")?;
    let (pending, most, micros) = look(db)?;
    say("   Writes only leave notes, put together where they meet on the way in. Folding them into profiles is left")?;
    say("   to reads, and to the moment when files are rewritten anyway:\n")?;
    let line = |pending, most, micros: f64| {
        let pending = count(pending).to_string();
        format!("{pending:>6} updates wait, {most:>3} on the busiest profile; a read takes {micros:4.1} us")
    };
    say(format!("     now                {}", line(pending, most, micros)))?;
    db.compact()?;
    let (pending, most, micros) = look(db)?;
    say(format!("     after compaction   {}\n", line(pending, most, micros)))?;
    say("   RocksDB compacts in the background by itself. Profiles read the same before, between and after.\n")
}

fn moments(db: &Db) -> Told {
    say("5. A moment that stays\n")?;
    let users = db.users();
    users.update("you", Update::new().set("mood", "curious"))?;
    let moment = db.snapshot();
    users.update("you", Update::new().set("mood", "convinced").add("coffees", 1))?;
    for (when, profile) in [("in the snapshot", moment.users().get("you")?), ("by now", users.get("you")?)] {
        let profile = found(profile)?;
        say(format!("     {when:<16} mood {}, coffees {}", show(&profile, "mood"), show(&profile, "coffees")))?;
    }
    say("\n   A snapshot holds the whole store still, and writers do not wait for it.\n")
}

fn groups(db: &Db) -> Told {
    say("6. Groups have profiles too\n")?;
    let domains = db.groups("domain")?;
    let mut busiest: Vec<(usize, String, Profile)> = Vec::new();
    for row in domains.iter() {
        let (id, profile) = row?;
        let areas = profile.get("areas").and_then(Value::as_list).map_or(0, <[Value]>::len);
        busiest.push((areas, id, profile));
    }
    busiest.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    say(format!("   {} mail domains, kept beside the users. Those that touched most of the code:\n", busiest.len()))?;
    for (areas, id, profile) in busiest.iter().take(3) {
        let text = |name| profile.get(name).and_then(Value::as_str).unwrap_or_default();
        let (first, last) = (text("first_area"), text("last_commit"));
        say(format!("     {id:<12} {areas} areas, {first} first of all; last seen {last}"))?;
    }
    say("")
}
