//! Repairs: whatever is damaged, a repair gives a store that opens and has exactly what it reported, or says why not.
//! What it reports is compared with the plain fold of what was written. The files as they were are kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use profiledb::{Damage, Db, RepairReport};

use super::contents::{COMMITS, ROUND, SETUP, State, builder, commit, read, states};
use super::image::{Fault, Left, Store, temporary_tables};
use super::{cuts, header_bits, is_full, some};

/// Some of the faults: a repair is planned, done, and opened twice, so that a full sweep has hundreds of each kind and
/// not every one.
fn sample(faults: Vec<Fault>, most: usize) -> Vec<Fault> {
    some(faults, if is_full() { 100 * most } else { most })
}

/// What of the last commits the logs have: after how many of the numbered commits each commit in them leaves the store.
fn logged(store: &Store) -> Vec<usize> {
    let rounds = SETUP + ROUND..=COMMITS;
    match store.left {
        Left::Closed => vec![COMMITS],
        // The events of two rounds are sealed after the second of them.
        Left::Sealed => {
            let sealing = commits_in_logs(store) - 2 * ROUND;
            assert!((1..10).contains(&sealing), "{sealing} commits seal");
            rounds.flat_map(|n| vec![n; if n == SETUP + 2 * ROUND { 1 + sealing } else { 1 }]).collect()
        }
        Left::Killed | Left::Rebooted => rounds.collect(),
        Left::Dropped => {
            let after = |n: usize| if n == SETUP + ROUND { 0 } else { 2 * temporary_tables(n) };
            rounds.flat_map(|n| vec![n; 1 + after(n)]).collect()
        }
        // The filler is written and deleted.
        Left::TwoLogs | Left::Unsynced => {
            let second = SETUP + 2 * ROUND;
            rounds.flat_map(|n| vec![n; if n == second { 3 } else { 1 }]).collect()
        }
    }
}

/// How many commits the logs of a store have, by a repair that loses none of them.
fn commits_in_logs(store: &Store) -> usize {
    let image = tempfile::tempdir().unwrap();
    store.write(Some(&Fault::Remove { file: "PROFILEDB.synced".to_owned() }), image.path());
    let report = Db::plan_repair(image.path().join("store")).unwrap();
    assert!(report.is_lossless(), "{report:#?}");
    report.commits_kept as usize
}

/// How many events a report says are dropped with blocks of columns. Any number if headers are lost: only they have it.
fn events_dropped(lost: &[Damage]) -> usize {
    let events = |damage: &Damage| damage.reason.rsplit_once("events=").map_or(usize::MAX, |(_, n)| n.parse().unwrap());
    lost.iter().filter(|damage| damage.table == "segments").map(events).fold(0, usize::saturating_add)
}

/// Every file below a directory, except for what only opening makes.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_name() != "LOCK" && entry.file_type().unwrap().is_file());
    files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// The table that a name in a state is of.
fn table(name: &str) -> &str {
    let word = name.split(' ').next().unwrap();
    if word == "event" { "events" } else { word }
}

/// Whether a report says that this is lost.
fn is_lost(name: &str, lost: &[Damage]) -> bool {
    lost.iter().filter(|damage| damage.table == table(name)).any(|damage| {
        let id = name.split(' ').nth(1).unwrap().to_owned();
        // All events are on one day, where they sort by user and time.
        let place = |text: &String| match damage.table.as_str() {
            "events" => text.split_once(' ').map(|(time, id)| (id.to_owned(), time.to_owned())).unwrap(),
            _ => (text.clone(), String::new()),
        };
        let json = name.splitn(3, ' ').nth(2).map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        let time = json.and_then(|event| {
            let seconds = event["properties"]["time"].as_i64().or(event["time"].as_i64())?;
            Some(profiledb::Timestamp::from_seconds(if seconds > 100_000 { seconds / 1_000 } else { seconds }))
        });
        let at = (id, time.map(|time| time.to_string()).unwrap_or_default());
        damage.after.as_ref().is_none_or(|after| place(after) < at)
            && damage.before.as_ref().is_none_or(|before| place(before) > at)
    })
}

/// A state without what is lost, and of some tables only. The times of first events are another table's.
fn part(state: &State, lost: &[Damage], has: impl Fn(&str) -> bool, times: bool) -> State {
    let kept = state.iter().filter(|(name, _)| has(table(name)) && !is_lost(name, lost));
    kept.map(|(name, json)| {
        let mut json = json.clone();
        if !times && let Some(json) = json.as_object_mut() {
            json.remove("$mp_first_event_time");
        }
        (name.clone(), json)
    })
    .collect()
}

/// What a repaired store has must be what the report says.
#[track_caller]
fn assert_reported(
    (left, logged): (Left, &[usize]),
    states: &[State],
    report: &RepairReport,
    found: &State,
    what: &str,
) -> usize {
    let commits = logged[report.commits_kept as usize];
    let ahead: Vec<&str> =
        report.tables.iter().filter(|table| table.is_ahead).map(|table| table.table.as_str()).collect();
    let has = |table: &str| !ahead.contains(&table);
    let times = ahead.is_empty();
    let mut found = found.clone();
    // Without the last edits, nothing says that a table was dropped.
    if report.files.iter().any(|file| file.remedy.contains("a table that was dropped since may be back")) {
        found.retain(|name, _| !name.starts_with("group:temporary"));
    }
    let found = &found;
    let mut expected = part(&states[commits], &report.lost, has, times);
    let mut kept = part(found, &[], has, times);
    if left == Left::Sealed {
        // Of a range of rows that is lost, events that are sealed are kept, and no others are there.
        assert!(kept.keys().all(|name| states[commits].contains_key(name)), "{what}: {report:#?}");
        kept = part(found, &report.lost, has, times);
        let before = expected.len();
        expected.retain(|name, _| table(name) != "events" || kept.contains_key(name));
        assert!(before - expected.len() <= events_dropped(&report.lost), "{what}: {report:#?}");
    }
    assert_eq!(kept, expected, "{what}: {report:#?}");
    for table in &ahead {
        let of = |state: &State| part(state, &report.lost, |name| name == *table, false);
        let is_later = states[commits..].iter().any(|later| of(later) == of(found));
        assert!(is_later, "{what}: {table} is of no later state: {report:#?}");
    }
    if report.is_lossless() {
        assert_eq!((commits, ahead.len()), (COMMITS, 0), "{what}: nothing is lost: {report:#?}");
    }
    let dropped: u64 = report.files.iter().map(|file| file.commits_dropped).sum();
    assert_eq!(report.commits_dropped, dropped, "{what}: {report:#?}");
    assert!(report.commits_dropped as usize <= logged.len() - 1 - report.commits_kept as usize, "{what}: {report:#?}");
    commits
}

/// Repairs a store with a fault. How many commits it has then, or why it cannot be repaired.
#[track_caller]
fn repair(store: &Store, logged: &[usize], states: &[State], fault: &Fault) -> Result<(usize, RepairReport), String> {
    let what = format!("{:?}, {fault:?}", store.left);
    let image = tempfile::tempdir().unwrap();
    store.write(Some(fault), image.path());
    let path = image.path().join("store");
    let before = contents(&path);
    let planned = Db::plan_repair(&path);
    assert_eq!(contents(&path), before, "{what}: a plan changes nothing");
    let report = match Db::repair(&path) {
        Ok(report) => report,
        Err(error) => {
            assert_eq!(contents(&path), before, "{what}: nothing is changed by a repair that fails");
            assert_eq!(planned.unwrap_err().to_string(), error.to_string(), "{what}");
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            return Err(format!("{error}{}", cause.unwrap_or_default()));
        }
    };
    let planned = planned.unwrap();
    assert_eq!(format!("{:?}", planned.files), format!("{:?}", report.files), "{what}: as planned");
    assert_eq!(planned.lost.len(), report.lost.len(), "{what}: as planned");
    if !report.damaged {
        assert_eq!(contents(&path), before, "{what}: nothing was damaged");
    } else {
        let mut originals = contents(report.originals.as_ref().unwrap());
        originals.remove("PROFILEDB");
        let expected = before.into_iter().filter(|(name, _)| name != "PROFILEDB");
        assert_eq!(originals, expected.collect(), "{what}: the originals are kept");
    }
    let db = builder().open(&path).unwrap_or_else(|error| panic!("{what}: {error}: {report:#?}"));
    let found = read(&db).unwrap_or_else(|error| panic!("{what}: {error}: {report:#?}"));
    let commits = if report.damaged {
        assert_reported((store.left, logged), states, &report, &found, &what)
    } else {
        states.iter().rposition(|state| *state == found).expect("a state")
    };
    assert!(db.check().unwrap().is_sound(), "{what}");
    db.write(commit(COMMITS + 1)).unwrap();
    db.close().unwrap();
    read(&builder().open_read_only(&path).unwrap()).unwrap();
    assert!(!Db::plan_repair(&path).unwrap().damaged, "{what}: it is repaired");
    Ok((commits, report))
}

/// Repairs each kind of damage of each store. `expected` says whether the outcome is right.
#[track_caller]
fn assert_repaired(
    faults: impl Fn(&Store) -> Vec<Fault>,
    expected: impl Fn(&Store, &Fault, &Result<(usize, RepairReport), String>) -> bool,
) {
    let states = states();
    for left in Left::ALL {
        let store = Store::make(left);
        let logged = logged(&store);
        let mut kept: BTreeMap<String, usize> = BTreeMap::new();
        for fault in faults(&store) {
            let outcome = repair(&store, &logged, &states, &fault);
            let shown = match &outcome {
                Ok((commits, report)) => format!("{commits} of {COMMITS} commits, {} ranges lost", report.lost.len()),
                Err(error) => error.split("path=").next().unwrap().to_owned(),
            };
            assert!(expected(&store, &fault, &outcome), "{left:?}, {fault:?}: {outcome:#?}");
            *kept.entry(shown).or_default() += 1;
        }
        println!("{left:?}: {kept:#?}");
    }
}

fn is_lossless(outcome: &Result<(usize, RepairReport), String>) -> bool {
    outcome.as_ref().is_ok_and(|(commits, report)| *commits == COMMITS && report.is_lossless())
}

fn files(store: &Store, part: &str) -> Vec<(String, usize)> {
    store.named(part).into_iter().map(|(name, content)| (name.clone(), content.len())).collect()
}

#[test]
fn a_flipped_bit_of_a_log_or_a_manifest_is_corrected() {
    assert_repaired(
        |store| {
            [header_bits(store, ".log"), header_bits(store, "MANIFEST-")]
                .into_iter()
                .flat_map(|all| sample(all, 3))
                .collect()
        },
        |_, _, outcome| is_lossless(outcome),
    );
}

#[test]
fn a_damaged_log_is_kept_up_to_the_damage() {
    let faults = |store: &Store| {
        let mut faults = sample(cuts(store, ".log"), 4);
        for (file, len) in files(store, ".log") {
            let places = [0, len / 3, len / 2, len - len.min(9)].into_iter().filter(|at| at + 9 <= len);
            faults.extend(places.map(|at| Fault::Zero { file: file.clone(), at, len: 9 }));
            faults.extend([Fault::Remove { file: file.clone() }, Fault::Cut { file, len: 0 }]);
        }
        faults
    };
    assert_repaired(faults, |store, fault, outcome| {
        let Ok((commits, report)) = outcome else { return false };
        let least = match fault {
            // All before the damage is there.
            Fault::Zero { at, len, .. } if at + len > 9 && *at > 0 => SETUP + ROUND + 1,
            _ => SETUP + ROUND,
        };
        *commits >= least && (*commits >= store.left.synced() || report.files.iter().any(|file| file.loses))
    });
}

#[test]
fn a_record_of_what_was_synced_that_is_gone_or_damaged_is_made_anew() {
    let faults = |_: &Store| {
        let file = "PROFILEDB.synced".to_owned();
        vec![
            Fault::Remove { file: file.clone() },
            Fault::Cut { file: file.clone(), len: 0 },
            Fault::Zero { file: file.clone(), at: 20, len: 1_900 },
        ]
    };
    assert_repaired(faults, |_, _, outcome| is_lossless(outcome));
}

#[test]
fn a_damaged_manifest_is_repaired_where_the_logs_have_the_rest_and_refused_otherwise() {
    let faults = |store: &Store| {
        let mut faults = sample(cuts(store, "MANIFEST-"), 4);
        for (file, len) in files(store, "MANIFEST-") {
            let places = [0, len / 3, len / 2, len - 9].into_iter();
            faults.extend(places.map(|at| Fault::Zero { file: file.clone(), at, len: 9 }));
            faults.push(Fault::Remove { file });
        }
        faults.extend([0, 3].map(|len| Fault::Cut { file: "CURRENT".to_owned(), len }));
        faults.push(Fault::Remove { file: "CURRENT".to_owned() });
        faults
    };
    assert_repaired(faults, |_, fault, outcome| match (fault, outcome) {
        (Fault::Cut { file, .. } | Fault::Remove { file }, _) if file == "CURRENT" => is_lossless(outcome),
        (_, Ok((commits, _))) => *commits == COMMITS,
        (_, Err(error)) => error.contains("the store cannot be repaired") && error.contains("restore a backup"),
    });
}

#[test]
fn all_of_a_damaged_table_file_is_kept_that_can_be_read() {
    let faults = |store: &Store| {
        let mut faults = Vec::new();
        for (file, len) in files(store, ".sst") {
            // In the first block; in the blocks of the index and the properties; in the footer.
            let places = [10, len / 2, len - 500.min(len), len - 60].into_iter();
            faults.extend(places.map(|at| Fault::Zero { file: file.clone(), at, len: 8 }));
            faults.extend([Fault::Remove { file: file.clone() }, Fault::Cut { file: file.clone(), len: 0 }]);
            faults.push(Fault::Cut { file, len: len - 1 });
        }
        sample(faults, 12)
    };
    assert_repaired(faults, |_, _, outcome| outcome.as_ref().is_ok_and(|(commits, _)| *commits == COMMITS));
}

/// Writes files into a directory that may be there already.
fn write<'f>(dir: &Path, files: impl Iterator<Item = (&'f String, &'f Vec<u8>)>) {
    fs::create_dir_all(dir).unwrap();
    files.for_each(|(name, content)| fs::write(dir.join(name), content).unwrap());
}

/// Files are replaced one by one. After any number of them, a repair that was interrupted is completed by the next, and
/// until then nothing opens the store.
#[test]
fn an_interrupted_repair_is_completed_by_the_next() {
    let states = states();
    let store = Store::make(Left::Killed);
    let file = "PROFILEDB.synced".to_owned();
    let image = tempfile::tempdir().unwrap();
    store.write(Some(&Fault::Remove { file }), image.path());
    let path = image.path().join("store");
    let mark = (String::from("PROFILEDB"), fs::read(path.join("PROFILEDB")).unwrap());
    let mut old = contents(&path);
    Db::repair(&path).unwrap();
    let mut new = contents(&path);
    old.remove("PROFILEDB");
    new.remove("PROFILEDB");
    let complete = |write_state: &dyn Fn(&Path), what: &str| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), [(&mark.0, &mark.1)].into_iter());
        write_state(dir.path());
        for opened in [builder().open(dir.path()), builder().open_read_only(dir.path())] {
            assert!(opened.unwrap_err().to_string().contains("a repair was interrupted"), "{what}");
        }
        assert!(Db::plan_repair(dir.path()).is_err(), "{what}");
        let report = Db::repair(dir.path()).unwrap();
        let mut originals = contents(&report.originals.unwrap());
        originals.remove("PROFILEDB");
        assert!(report.damaged && originals == old, "{what}: {:?}", originals.keys());
        assert_eq!(read(&builder().open(dir.path()).unwrap()).unwrap(), states[COMMITS], "{what}");
    };
    for moved in 0..=old.len() {
        let state = |dir: &Path| {
            write(&dir.join("REPAIRING/originals"), old.iter().take(moved));
            write(dir, old.iter().skip(moved));
            write(&dir.join("REPAIRING/new"), new.iter());
        };
        complete(&state, &format!("{moved} originals are moved"));
    }
    for moved in 0..=new.len() {
        let state = |dir: &Path| {
            write(&dir.join("REPAIRED/originals"), old.iter());
            write(dir, new.iter().take(moved));
            write(&dir.join("REPAIRED/new"), new.iter().skip(moved));
        };
        complete(&state, &format!("{moved} new files are moved"));
    }
}

/// What a repair that was killed had made so far does no harm.
#[test]
fn a_repair_that_was_killed_earlier_has_changed_nothing() {
    let states = states();
    let store = Store::make(Left::Killed);
    let image = tempfile::tempdir().unwrap();
    store.write(None, image.path());
    let path = image.path().join("store");
    write(&path.join("REPAIR.tmp/image"), [(&"000001.sst".to_owned(), &vec![1])].into_iter());
    assert_eq!(read(&builder().open_read_only(&path).unwrap()).unwrap(), states[COMMITS]);
    assert!(!Db::repair(&path).unwrap().damaged);
    assert!(!path.join("REPAIR.tmp").exists());
}
