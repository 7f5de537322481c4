//! The second half: events, and profiles joined onto them.

use std::time::Instant;

use profiledb::ingest::{EventRecord, Rules, parse_request};
use profiledb::join::{Answer, Field, Join, Measure};
use profiledb::{Db, Value};

use super::guide::{Told, count, found, load_all, say, show};
use crate::failure::Failure;
use crate::{open, print};

/// The same history, as events.
const HISTORY: &[u8] = include_bytes!("../../../../examples/data/history/events.ndjson.gz");

/// Where a user began: a property of profiles, not of events.
const FIRST_AREA: &str = "user.first_area";

/// The second half of the tour.
pub(super) fn tour(db: &Db) -> Told {
    load(db)?;
    join(db)?;
    retroactive(db)?;
    groups(db)?;
    plan(db)
}

fn load(db: &Db) -> Told {
    say("7. Events go in\n")?;
    say("   The same history, as events: one for each commit, with the user, the time, and the number of files, but")?;
    say("   without the properties of the user.\n")?;
    let sum = load_all::<EventRecord>(db, "events", HISTORY)?;
    for event in db.events().iter().take(1) {
        let event = event?;
        let properties = event.properties().iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>();
        say(format!("     {:?} by {} at {}", event.name(), event.distinct_id(), event.time()))?;
        say(format!("     {}\n", properties.join(", ")))?;
    }
    say(format!(
        "   {} events in {:.2} s, {} a second, on {} days.\n",
        count(sum.applied),
        sum.seconds,
        count(sum.per_second),
        count(db.events().days()?.len() as u64)
    ))
}

/// A join of all events.
fn ask(db: &Db) -> Join {
    db.snapshot().join().threads(open::cores())
}

/// Prints an answer, indented as the text.
fn print(answer: &Answer) -> Told {
    say(print::table(answer).lines().map(|line| format!("     {line}\n")).collect::<String>())
}

fn join(db: &Db) -> Told {
    say("8. Joined at query time\n")?;
    say("   In which part of the code did the authors of the commits begin? That is a property of their profiles:\n")?;
    say(format!("     profiledb join --by {FIRST_AREA} --count --sum event.files --top 5\n"))?;
    let started = Instant::now();
    let files = Measure::Sum(Field::event("files"));
    let by_area = |join: Join| join.group_by([FIRST_AREA]).measure(Measure::Count).measure(files.clone());
    let answer = by_area(ask(db)).top(5).answer()?;
    let millis = started.elapsed().as_secs_f64() * 1e3;
    print(&answer)?;
    say(format!(
        "   That took {millis:.0} ms: all events were joined with the profiles of their users. Of big commits"
    ))?;
    say("   alone, with --event \"big commit\":\n")?;
    print(&by_area(ask(db).event_names(["big commit"])).top(3).answer()?)
}

/// The user with the most events, and how many those are.
fn busiest(db: &Db) -> Result<(String, u64), Failure> {
    let answer = ask(db).group_by(["event.$distinct_id"]).top(1).answer()?;
    let busiest = answer.buckets().first().and_then(|row| {
        let events = row.measures.first().and_then(Value::as_number).and_then(|number| number.as_u64())?;
        Some((row.by.first()?.as_ref()?.as_str()?.to_owned(), events))
    });
    busiest.ok_or_else(|| Failure::new("the bundled history lacks events"))
}

fn retroactive(db: &Db) -> Told {
    say("9. Later updates apply to earlier events\n")?;
    let (id, events) = busiest(db)?;
    let profile = found(db.users().get(&id)?)?;
    let since = profile.first_event_time().map(|time| time.to_string()).unwrap_or_default();
    let began = profile.get("first_area").cloned();
    say(format!("   User {id} made {} of the commits, the first at {since}.", count(events)))?;
    say(format!("   Their profile has {} as the first area. That is corrected now:\n", show(&profile, "first_area")))?;
    let update = format!(r#"{{"$distinct_id":"{id}","$set":{{"first_area":"docs"}}}}"#);
    say(format!("     {update}\n"))?;
    let before = ask(db).group_by([FIRST_AREA]).answer()?;
    for outcome in parse_request(update.as_bytes(), &Rules::new())? {
        let record = outcome.map_err(profiledb::Error::from)?;
        db.write([(record.key, record.change)].into_iter().collect())?;
    }
    let after = ask(db).group_by([FIRST_AREA]).answer()?;
    say("   The same question, before and after:\n")?;
    for area in [began, Some("docs".into())] {
        let of = |answer: &Answer| {
            let measures = answer.get(std::slice::from_ref(&area)).and_then(<[Value]>::first);
            measures.map_or_else(|| "0".to_owned(), Value::to_string)
        };
        let name = area.as_ref().and_then(Value::as_str).unwrap_or("(not set)");
        say(format!("     {name:<12} {:>5}  ->  {:>5}", of(&before), of(&after)))?;
    }
    say("\n   No event was changed: every query joins the latest state of the profiles.\n")
}

fn groups(db: &Db) -> Told {
    say("10. By group, too\n")?;
    say("   Each event names the mail domain of its author, and domains have profiles. So, of the same events, where")?;
    say("   did the whole domain begin?\n")?;
    say("     profiledb join --by group:domain.first_area --count --uniques --top 4\n")?;
    let by_domain = ask(db).group_by(["group:domain.first_area"]).measure(Measure::Count).measure(Measure::Uniques);
    print(&by_domain.top(4).answer()?)?;
    say("   An expression filters events by their own properties and by those of their users:\n")?;
    let expr = r#"properties["files"] >= 10 and "java" in user["areas"]"#;
    let answer = ask(db).filter(expr).measure(Measure::Count).measure(Measure::Uniques).answer()?;
    say(format!("     profiledb join --count --uniques --where '{expr}'\n"))?;
    print(&answer)
}

fn plan(db: &Db) -> Told {
    say("11. Query plans\n")?;
    say("   There are three join strategies, and the planner estimates which is the cheapest. --explain prints the")?;
    say("   plan:\n")?;

    let plan = ask(db).select([FIRST_AREA, "group:domain.first_area"]).explain()?;
    say(plan.to_string().lines().map(|line| format!("     {line}\n")).collect::<String>())
}
