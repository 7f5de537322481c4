//! A history of twelve years, joined: as a loop over its texts counts it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader};

use flate2::read::GzDecoder;
use profiledb::ingest::{EventRecords, Records, Rules};
use profiledb::join::{Measure, Strategy};
use profiledb::{Batch, Db, Value};
use serde_json::Value as Json;

use super::temp_store;

const UPDATES: &[u8] = include_bytes!("../../examples/data/history/updates.ndjson.gz");
const EVENTS: &[u8] = include_bytes!("../../examples/data/history/events.ndjson.gz");
const EXPECTED: &[u8] = include_bytes!("../../examples/data/history/expected-profiles.ndjson.gz");

fn lines(gz: &[u8]) -> impl Iterator<Item = Json> {
    BufReader::new(GzDecoder::new(gz)).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

/// By the area that somebody, or their domain, began with: commits, committers and files.
type Counted = BTreeMap<String, (u64, usize, u64)>;

fn counted_by_hand(of_users: bool) -> Counted {
    let id_name = if of_users { "$distinct_id" } else { "$group_id" };
    let areas: HashMap<String, Json> = lines(EXPECTED)
        .filter_map(|row| Some((row[id_name].as_str()?.to_owned(), row["$properties"]["first_area"].clone())))
        .collect();
    let mut counted: BTreeMap<String, (u64, BTreeSet<String>, u64)> = BTreeMap::new();
    for event in lines(EVENTS).filter(|event| event["event"] == "commit") {
        let properties = &event["properties"];
        let user = properties["distinct_id"].as_str().unwrap();
        let id = if of_users { user } else { properties["domain"].as_str().unwrap_or_default() };
        let segment = areas.get(id).filter(|area| !area.is_null()).map_or("null".into(), Json::to_string);
        let (commits, committers, files) = counted.entry(segment).or_default();
        *commits += 1;
        committers.insert(user.to_owned());
        *files += properties["files"].as_u64().unwrap();
    }
    counted.into_iter().map(|(area, (commits, committers, files))| (area, (commits, committers.len(), files))).collect()
}

fn joined(db: &Db, by: &str, strategy: Option<Strategy>, threads: usize) -> Counted {
    let join = db.snapshot().join().event_names(["commit"]).threads(threads);
    let join = match strategy {
        Some(strategy) => join.strategy(strategy),
        None => join,
    };
    let files = Measure::Sum("event.files".parse().unwrap());
    let by = join.group_by([by]).measure(Measure::Count).measure(Measure::Uniques).measure(files);
    let answer = by.answer().unwrap();
    let number = |value: &Value| value.as_number().unwrap().as_u64().unwrap();
    let segment = |row: &profiledb::join::Bucket| {
        let by = serde_json::to_string(&row.by[0]).unwrap();
        let [commits, committers, files] = &row.measures[..] else { panic!("three measures") };
        (by, (number(commits), number(committers) as usize, number(files)))
    };
    answer.buckets().iter().map(segment).collect()
}

#[test]
fn commits_by_first_area_are_those_of_a_loop_over_the_texts() {
    let temp = temp_store();
    let db = temp.open();
    let updates: Vec<_> = Records::new(UPDATES, Rules::new()).map(|outcome| outcome.unwrap().unwrap()).collect();
    for piece in updates.chunks(1_000) {
        db.write(piece.iter().map(|record| (record.key.clone(), record.change.clone())).collect()).unwrap();
    }
    let events: Vec<_> = EventRecords::of(EVENTS, Rules::new()).map(|outcome| outcome.unwrap().unwrap()).collect();
    assert_eq!(events.len(), 13_491);
    for piece in events.chunks(1_000) {
        let mut batch = Batch::new();
        piece.iter().for_each(|record| batch.append(record.event.clone()));
        db.write(batch).unwrap();
    }
    let expected = [("user.first_area", counted_by_hand(true)), ("group:domain.first_area", counted_by_hand(false))];
    assert!(expected.iter().all(|(_, counted)| counted.len() > 10), "{expected:?}");
    for when in ["in memory", "flushed", "compacted"] {
        match when {
            "flushed" => db.flush().unwrap(),
            "compacted" => db.compact().unwrap(),
            _ => {}
        }
        for (by, expected) in &expected {
            for strategy in [None, Some(Strategy::Lookup), Some(Strategy::Merge), Some(Strategy::Hash)] {
                for threads in [1, 2] {
                    assert_eq!(&joined(&db, by, strategy, threads), expected, "{by} {strategy:?} {threads} {when}");
                }
            }
        }
    }
}
