//! Sealed events: whatever is appended, sent again, deleted, sealed and reopened in any order, every reader sees what a
//! model map has, and what a store sees that never seals.

#![cfg(all(feature = "rocksdb", feature = "laws"))]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use profiledb::join::{Field, Join, Measure, Strategy as JoinStrategy};
use profiledb::{
    Batch, Builder, Db, Durability, Event, Kind, Salvaged, SealingStats, Snapshot, Timestamp, Update, Value,
};
use proptest::prelude::*;
use support::{Random, TempStore};

const DAY: i64 = 86_400_000;

/// A store that seals when it is told to.
fn builder() -> Builder {
    Db::builder().durability(Durability::Buffered).clock(now).block_cache_bytes(8 << 20).seal_after(0)
}

/// A store that seals all the time in the background, in tiny blocks.
fn sealing_builder() -> Builder {
    builder().seal_after(3).seal_when_idle(Duration::from_millis(1)).seal_in_blocks_of(2).fold_after(2)
}

fn now() -> Timestamp {
    Timestamp::parse("2025-01-01T00:00:00").unwrap()
}

/// What makes an event the same event: day, id, time, name and `$insert_id`.
type Identity = (i64, String, i64, String, String);

fn identity(event: &Event) -> Identity {
    let (millis, text) = (event.time().millis(), str::to_owned);
    let insert_id = event.insert_id().unwrap_or_default();
    (millis.div_euclid(DAY), text(event.distinct_id()), millis, text(event.name()), text(insert_id))
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Event>),
    /// In blocks of this many events.
    Seal(usize),
    DeleteUser(String),
    DeleteBefore(Timestamp),
    /// Writes to the profile of a user, in one batch.
    Profile(String, Vec<ProfileWrite>),
    Reopen,
    Compact,
    Snapshot,
    StoreCodes,
    /// Seals, and fails before this many more changes are committed. Then reopens.
    Fail(u64),
}

fn ids() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b", "\u{0}", "a\u{1}", "zo\u{eb}"]).prop_map(str::to_owned)
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..5_i64).prop_map(Value::from),
        prop::sample::select(vec![0.0, -0.0, 1.0, 12.5, 1e300]).prop_map(|float| Value::try_from(float).unwrap()),
        any::<i64>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        prop::collection::vec("[a-c]{0,2}", 0..3)
            .prop_map(|list| Value::List(list.into_iter().map(Value::from).collect())),
    ]
}

prop_compose! {
    fn events()(
        id in ids(),
        time in (0..3_i64, 0..4_i64),
        name in prop::sample::select(vec!["visit", "purchase"]),
        insert_id in prop::sample::select(vec!["i", "j", "0b54f3f1-9d3a-4c59-a1c4-6f3bd2b8a1f0"]),
        properties in prop::collection::btree_map("[p-s]", values(), 0..4),
    ) -> Event {
        let time = Timestamp::from_millis(now().millis() - 5 * DAY + time.0 * DAY + time.1 * 7_000_000);
        let event = Event::new(name, id, time).id(insert_id);
        properties.into_iter().fold(event, |event, (name, value)| event.set(name, value))
    }
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(events(), 1..12).prop_map(Step::Append),
        6 => prop::sample::select(vec![1, 2, 5, 100_000]).prop_map(Step::Seal),
        2 => ids().prop_filter("an id", |id| !id.is_empty()).prop_map(Step::DeleteUser),
        1 => events().prop_map(|event| Step::DeleteBefore(event.time())),
        4 => (ids().prop_filter("an id", |id| !id.is_empty()), prop::collection::vec(profile_writes(), 1..4))
            .prop_map(|(id, writes)| Step::Profile(id, writes)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Compact),
        2 => Just(Step::Snapshot),
        3 => Just(Step::StoreCodes),
        2 => (0..6_u64).prop_map(Step::Fail),
    ]
}

#[derive(Clone, Debug)]
enum ProfileWrite {
    Delete,
    Update(Update),
}

fn profile_writes() -> impl Strategy<Value = ProfileWrite> {
    let plan = || "[a-c]{1,2}";
    prop_oneof![
        2 => Just(ProfileWrite::Delete),
        4 => plan().prop_map(|plan| ProfileWrite::Update(Update::new().set("plan", plan).add("n", 1))),
        2 => plan().prop_map(|plan| ProfileWrite::Update(Update::new().set("plan", plan))),
        2 => plan().prop_map(|plan| ProfileWrite::Update(Update::new().set_once("plan", plan).set("n", 1))),
        1 => Just(ProfileWrite::Update(Update::new().unset("plan"))),
        1 => Just(ProfileWrite::Update(Update::new().unset("n").set("other", 1))),
        1 => Just(ProfileWrite::Update(Update::new().remove("n", 1))),
    ]
}

/// What is there, as every way of reading says it.
fn read(db: &Snapshot) -> (Vec<Event>, Vec<(Timestamp, u64)>, Vec<String>) {
    let log = db.events();
    let all: Vec<Event> = log.iter().collect::<Result<_, _>>().unwrap();
    let days = log.days().unwrap();
    let mut answers = Vec::new();
    for group in [vec!["event.event"], vec!["user.plan"], vec!["event.p", "event.$day"], vec!["user.plan", "user.n"]] {
        for filter in [None, Some(r#"user["plan"] == "a" or user["n"] == 1"#), Some(r#"properties["p"] == 1"#)] {
            for join in [db.join(), db.join().inner()] {
                let join = filter.into_iter().fold(join, Join::filter).group_by(group.clone());
                let join = join.measure(Measure::Count).measure(Measure::Uniques);
                let join = join.measure(Measure::Sum(Field::event("q"))).measure(Measure::Min(Field::user("plan")));
                answers.push(format!("{:?}", join.answer().unwrap().buckets()));
            }
        }
    }
    let mut rows: Vec<String> = Vec::new();
    let join = db.join().select(["event.p", "user.plan", "user.$mp_first_event_time"]);
    join.rows()
        .unwrap()
        .visit(|row| {
            rows.push(format!("{row:?}"));
            Ok(())
        })
        .unwrap();
    rows.sort();
    answers.extend(rows);
    (all, days, answers)
}

fn assert_reads(snapshot: &Snapshot, twin: &Snapshot, model: &BTreeMap<Identity, Event>) {
    let (all, days, answers) = read(snapshot);
    let read_twin = read(twin);
    assert_eq!((&all, &days, &answers), (&read_twin.0, &read_twin.1, &read_twin.2));
    let mut found: Vec<(Identity, &Event)> = all.iter().map(|event| (identity(event), event)).collect();
    // The log has a day's events of a user in the order of time; of the same time in any fixed order.
    assert!(
        found
            .windows(2)
            .all(|pair| (&pair[0].0.0, &pair[0].0.1, pair[0].0.2) <= (&pair[1].0.0, &pair[1].0.1, pair[1].0.2))
    );
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, model.iter().map(|(identity, event)| (identity.clone(), event)).collect::<Vec<_>>());
    let log = snapshot.events();
    for id in ["", "a", "b", "\u{0}", "a\u{1}", "zo\u{eb}", "absent"] {
        let of_user: Vec<Event> = log.of_user(id).collect::<Result<_, _>>().unwrap();
        assert_eq!(of_user, all.iter().filter(|event| event.distinct_id() == id).cloned().collect::<Vec<_>>());
    }
    for day in 0..4 {
        let from = Timestamp::from_millis(now().millis() - 5 * DAY + day * DAY + 1);
        let range: Vec<Event> = log.range(from..).collect::<Result<_, _>>().unwrap();
        assert_eq!(range, all.iter().filter(|event| event.time() >= from).cloned().collect::<Vec<_>>());
    }
    let mut salvaged = Vec::new();
    log.salvage(|item| match item {
        Salvaged::Item(event) => {
            salvaged.push(identity(&event));
            Ok(())
        }
        Salvaged::Damage(damage) => Err(format!("{damage:?}")),
    })
    .unwrap();
    salvaged.sort();
    assert_eq!(salvaged, model.keys().cloned().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROFILEDB_SEGMENT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
    ))]

    #[test]
    fn every_reader_sees_what_the_model_has(steps in prop::collection::vec(steps(), 1..24)) {
        run(builder, steps)?;
    }

    #[test]
    fn every_reader_sees_what_the_model_has_while_the_store_seals_by_itself(
        steps in prop::collection::vec(steps(), 1..24),
    ) {
        run(sealing_builder, steps)?;
    }
}

/// Takes the steps, with a map and a store that never seals.
fn run(builder: fn() -> Builder, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (store, twin) = (TempStore::new(builder), TempStore::new(self::builder));
    let (mut db, unsealed) = (store.open(), twin.open());
    for users in [db.users(), unsealed.users()] {
        users.update("a", Update::new().set("plan", "pro")).unwrap();
    }
    let mut model: BTreeMap<Identity, Event> = BTreeMap::new();
    let mut held: Vec<(Snapshot, Snapshot, BTreeMap<Identity, Event>)> = Vec::new();
    for step in steps {
        match step {
            Step::Append(events) => {
                for log in [db.events(), unsealed.events()] {
                    log.append_all(events.iter().cloned()).unwrap();
                }
                model.extend(events.into_iter().map(|event| (identity(&event), event)));
            }
            Step::Seal(block) => {
                let sealed = db.events().seal_in_blocks_of(block).unwrap();
                prop_assert_eq!(sealed.left, 0);
            }
            Step::DeleteUser(id) => {
                let before = model.len();
                model.retain(|_, event| event.distinct_id() != id);
                let count = (before - model.len()) as u64;
                let deleted = [&db, &unsealed].map(|db| db.delete_user(&id).unwrap());
                prop_assert_eq!(deleted, [count; 2]);
                for users in [db.users(), unsealed.users()] {
                    users.update("a", Update::new().set("plan", "pro")).unwrap();
                }
            }
            Step::DeleteBefore(time) => {
                model.retain(|_, event| event.time() >= time);
                db.events().delete_before(time).unwrap();
                unsealed.events().delete_before(time).unwrap();
            }
            Step::Profile(id, writes) => [&db, &unsealed].into_iter().for_each(|db| write_profile(db, &id, &writes)),
            Step::Reopen => {
                held.clear();
                db.close().unwrap();
                db = store.open();
            }
            Step::Fail(commits) => {
                held.clear();
                db.fail_segment_commits_after(Some(commits));
                let failed = db.events().seal_in_blocks_of(2).is_err();
                prop_assert!(!failed || db.fail_segment_commits_after(None) > 0);
                db.close().unwrap();
                db = store.open();
            }
            Step::Compact => db.compact().unwrap(),
            Step::StoreCodes => db.store_codes().unwrap(),
            Step::Snapshot => held.push((db.snapshot(), unsealed.snapshot(), model.clone())),
        }
        assert_reads(&db.snapshot(), &unsealed.snapshot(), &model);
        // Also one of before, in between.
        if let Some((snapshot, twin, model)) = held.first() {
            assert_reads(snapshot, twin, model);
        }
        let report = db.check().unwrap();
        prop_assert!(report.is_sound(), "{:?}", report);
    }
    for (snapshot, twin, model) in &held {
        assert_reads(snapshot, twin, model);
    }
    same_first_events(&db, &unsealed)
}

fn write_profile(db: &Db, id: &str, writes: &[ProfileWrite]) {
    let mut batch = Batch::new();
    for write in writes {
        match write {
            ProfileWrite::Update(update) => batch.update(&db.users(), id, update.clone()).unwrap(),
            ProfileWrite::Delete => batch.delete(&db.users(), id).unwrap(),
        }
    }
    db.write(batch).unwrap();
}

fn same_first_events(db: &Db, unsealed: &Db) -> Result<(), TestCaseError> {
    let kind = Kind::User;
    for db in [db, unsealed] {
        db.backfill_first_event_times(&kind).unwrap();
    }
    for id in ["a", "b"] {
        let times = [db, unsealed].map(|db| db.users().first_event_time(id).unwrap());
        prop_assert_eq!(times[0], times[1]);
    }
    Ok(())
}

struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Joins by columns and by rows have the same answers.
fn assert_joined_as_rows(snapshot: &Snapshot) {
    let answer = |join: Join| {
        let by_plan = join.group_by(["user.plan"]).measure(Measure::Count).measure(Measure::Uniques);
        let answer = by_plan.measure(Measure::Sum(Field::event("version"))).answer().unwrap();
        answer.buckets().iter().map(|bucket| format!("{bucket:?}")).collect::<BTreeSet<_>>()
    };
    assert_eq!(answer(snapshot.join()), answer(snapshot.join().strategy(JoinStrategy::Lookup)));
}

/// Appends, and appends of the same events again, race with sealing, and with joins.
#[test]
fn events_that_are_appended_while_others_are_sealed_are_there() {
    for builder in [builder, sealing_builder] {
        appends_race_with_sealing(builder);
    }
}

fn appends_race_with_sealing(builder: fn() -> Builder) {
    let store = TempStore::new(builder);
    let db = store.open();
    let (log, stop) = (db.events(), AtomicBool::new(false));
    let event = |n: usize, version: i64| {
        let time = Timestamp::from_millis(now().millis() - DAY - (n % 50) as i64 * 1_000);
        Event::new("visit", format!("user-{}", n % 900), time).id(format!("n{n}")).set("version", version)
    };
    for user in 0..900 {
        db.users().update(&format!("user-{user}"), Update::new().set("plan", user % 3)).unwrap();
    }
    let mut model: BTreeMap<Identity, Event> = BTreeMap::new();
    std::thread::scope(|scope| {
        let sealer = scope.spawn(|| {
            let mut sealed = 0;
            while !stop.load(Ordering::Relaxed) {
                sealed += log.seal().unwrap().events;
            }
            sealed
        });
        // Each snapshot also when the next one was read.
        let reader = scope.spawn(|| {
            let mut before = db.snapshot();
            let mut read = 0;
            while !stop.load(Ordering::Relaxed) {
                let snapshot = db.snapshot();
                [&snapshot, &before].into_iter().for_each(assert_joined_as_rows);
                before = snapshot;
                read += 1;
            }
            read
        });
        // Also when an assertion fails.
        let _stop = StopOnDrop(&stop);
        let mut random = Random(7);
        for version in 0..200 {
            // Of more and more users.
            let events: Vec<Event> = (0..40).map(|_| event(random.below(20 * (version + 1)), version as i64)).collect();
            // Of the same event twice in a batch the later one is stored, as in the map.
            model.extend(events.iter().map(|event| (identity(event), event.clone())));
            db.events().append_all(events).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(sealer.join().unwrap() > 0);
        assert!(reader.join().unwrap() > 0);
    });
    let check = |db: &Db| {
        let found: BTreeMap<_, _> =
            db.events().iter().map(|event| event.unwrap()).map(|event| (identity(&event), event)).collect();
        assert_eq!(found, model);
        assert_eq!(db.events().iter().count(), model.len());
        // As columns and as rows.
        for join in [db.snapshot().join(), db.snapshot().join().strategy(JoinStrategy::Lookup)] {
            let sum = Measure::Sum(Field::event("version"));
            let answer = join.measure(Measure::Count).measure(Measure::Uniques).measure(sum).answer().unwrap();
            let versions = model.values().filter_map(|event| event.get("version")?.as_i64()).sum::<i64>();
            let users: BTreeSet<&str> = model.values().map(Event::distinct_id).collect();
            let expected = [(model.len() as u64).into(), (users.len() as u64).into(), versions.into()];
            assert_eq!(answer.buckets()[0].measures, expected);
        }
    };
    check(&db);
    db.events().seal().unwrap();
    check(&db);
    drop(log);
    db.close().unwrap();
    check(&store.open());
}

/// Rows of a large block are deleted as a range. What is committed within it meanwhile is put again in the same commit.
#[test]
fn few_rows_that_are_committed_while_a_large_block_is_sealed_stay() {
    let store = TempStore::new(builder);
    let db = store.open();
    let event = |n: usize, version: i64| {
        let time = Timestamp::from_millis(now().millis() - DAY + (n % 997) as i64);
        Event::new("visit", format!("user-{}", n % 3_000), time).id(format!("n{n}")).set("version", version)
    };
    for user in 0..3_000 {
        db.users().update(&format!("user-{user}"), Update::new().set("plan", user % 3)).unwrap();
    }
    let (mut model, mut random) = (BTreeMap::<Identity, Event>::new(), Random(11));
    let mut append = |range: &mut dyn Iterator<Item = usize>, version: i64| {
        let events: Vec<Event> = range.map(|n| event(n, version)).collect();
        model.extend(events.iter().map(|event| (identity(event), event.clone())));
        db.events().append_all(events).unwrap();
        model.len()
    };
    let (mut count, mut meanwhile) = (0, 0);
    for round in 0..8 {
        append(&mut (count..count + 12_000), round * 1_000);
        count += 12_000;
        std::thread::scope(|scope| {
            let sealer = scope.spawn(|| db.events().seal().unwrap().events);
            // Of those that are being sealed, of those that are, and new ones: few beside the block.
            for version in 1..150 {
                if sealer.is_finished() {
                    break;
                }
                append(&mut [random.below(count), count].into_iter(), round * 1_000 + version);
                count += 1;
                meanwhile += 2;
            }
            assert!(sealer.join().unwrap() >= 12_000);
        });
        assert_joined_as_rows(&db.snapshot());
    }
    assert!(meanwhile > 100, "{meanwhile}");
    let found: BTreeMap<_, _> =
        db.events().iter().map(|event| event.unwrap()).map(|event| (identity(&event), event)).collect();
    assert!(found == model, "{} events instead of {}", found.len(), model.len());
}

#[test]
fn a_store_that_has_sealed_is_refused_by_versions_that_do_not_know_segments() {
    let store = TempStore::new(builder);
    let db = store.open();
    db.events().append(Event::new("visit", "a", now()).id("i")).unwrap();
    let format = || std::fs::read_to_string(store.store().join("PROFILEDB")).unwrap();
    assert!(format().contains("format 2"), "{}", format());
    db.events().seal().unwrap();
    assert!(format().contains("format 3"), "{}", format());
    db.backup(store.path("backups")).unwrap();
    assert!(std::fs::read_to_string(store.path("backups").join("PROFILEDB")).unwrap().contains("format 3"));
    db.close().unwrap();
    Db::restore(store.path("backups"), store.path("restored")).unwrap();
    let restored = std::fs::read_to_string(store.path("restored").join("PROFILEDB")).unwrap();
    assert!(restored.contains("format 3"), "{restored}");
    let db = builder().open(store.path("restored")).unwrap();
    assert_eq!(db.events().iter().count(), 1);
    assert_eq!(db.events().seal().unwrap().events, 0);
}

/// Waits until the statistics of sealing are so.
fn wait_until(db: &Db, what: &str, is: impl Fn(&SealingStats) -> bool) -> SealingStats {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = db.stats().sealing;
        if is(&stats) {
            return stats;
        }
        assert!(Instant::now() < end, "not {what}: {stats:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn visits(ids: std::ops::Range<u32>) -> Vec<Event> {
    let time = |n: u32| Timestamp::from_millis(now().millis() - DAY + i64::from(n) * 100);
    ids.map(|n| Event::new("visit", format!("user-{n}"), time(n)).id("i")).collect()
}

#[test]
fn a_store_seals_by_itself_with_many_events_and_when_it_is_idle() {
    let store = TempStore::new(builder);
    let db = builder().seal_after(1_000).seal_when_idle(Duration::ZERO).open(store.store()).unwrap();
    db.events().append_all(visits(0..999)).unwrap();
    // One that is appended again is counted again.
    assert_eq!(db.stats().sealing.unsealed_events, 999);
    db.events().append_all(visits(998..999)).unwrap();
    let stats = wait_until(&db, "sealed", |stats| stats.passes == 1);
    assert_eq!((stats.unsealed_events, stats.sealed_events, stats.failures), (0, 999, 0));
    db.events().append_all(visits(0..10)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let stats = db.stats().sealing;
    assert_eq!((stats.unsealed_events, stats.passes), (10, 1));
    db.close().unwrap();

    // A process that does not append does not seal what it finds.
    let idle = || builder().seal_after(1_000).seal_when_idle(Duration::from_millis(20));
    let db = idle().open(store.store()).unwrap();
    db.users().update("a", Update::new().set("plan", "pro")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let stats = db.stats().sealing;
    assert_eq!((stats.passes, stats.sealed_events), (0, 999));
    // One that does seals that as well. The ten that were sent again are sealed anew.
    db.events().append_all(visits(2_000..2_001)).unwrap();
    let stats = wait_until(&db, "sealed", |stats| stats.passes == 1);
    assert_eq!((stats.unsealed_events, stats.sealed_events, db.events().seal().unwrap().events), (0, 1_000, 0));
    db.close().unwrap();

    // As many as it takes are there already, and none of the process alone would be.
    builder().open(store.store()).unwrap().events().append_all(visits(3_000..3_999)).unwrap();
    let db = builder().seal_after(1_000).seal_when_idle(Duration::ZERO).open(store.store()).unwrap();
    db.events().append_all(visits(4_000..4_001)).unwrap();
    wait_until(&db, "sealed", |stats| stats.sealed_events == 2_000);
}

#[test]
fn what_background_sealing_fails_with_is_kept_and_it_is_tried_again() {
    let store = TempStore::new(sealing_builder);
    let db = store.open();
    db.fail_segment_commits_after(Some(2));
    db.events().append_all(visits(0..20)).unwrap();
    let stats = wait_until(&db, "failed", |stats| stats.failures > 0);
    assert_eq!(stats.last_error.as_deref(), Some("i/o: a commit that a test made fail"));
    // What was sealed before stays sealed, and writes go on.
    assert!(stats.sealed_events > 0 && stats.unsealed_events == 20, "{stats:?}");
    db.events().append_all(visits(20..30)).unwrap();
    assert_eq!(db.events().iter().count(), 30);
    db.fail_segment_commits_after(None);
    let stats = wait_until(&db, "sealed", |stats| stats.passes > 0 && stats.unsealed_events == 0);
    assert_eq!((stats.sealed_events, stats.last_error), (30, None));
}

/// It gives way to those who erase and seal, and to the end of the store.
#[test]
fn background_sealing_holds_up_neither_erasures_nor_the_end_of_the_store() {
    let store = TempStore::new(builder);
    let db = builder().seal_after(1).open(store.store()).unwrap();
    db.events().append_all(visits(0..100_000)).unwrap();
    for n in 0..20 {
        assert_eq!(db.delete_user(&format!("user-{n}")).unwrap(), 1);
    }
    db.events().append_all(visits(0..100_000)).unwrap();
    let started = Instant::now();
    db.close().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let db = store.open();
    assert_eq!(db.events().iter().count(), 100_000);
    // It holds no store open either when the last clone is dropped.
    drop(db);
    let db = builder().seal_after(1).open(store.store()).unwrap();
    db.events().append_all(visits(0..1_000)).unwrap();
    drop(db);
    assert_eq!(store.open().events().iter().count(), 100_000);
}

/// Some of the `visits` are before it.
fn early() -> Timestamp {
    Timestamp::from_millis(now().millis() - DAY + 1_000)
}

/// Every failure between two changes of a segment leaves what every reader saw before, and the work can be repeated.
#[test]
fn a_failure_before_any_commit_leaves_the_log_as_it_was() {
    type Work = fn(&Db) -> Result<(), profiledb::Error>;
    type Case = (&'static str, Work, fn(&Event) -> bool);
    let seal: Work = |db| db.events().seal_in_blocks_of(2).map(|_| ());
    let works: [Case; 3] = [
        ("seal", seal, |_| true),
        ("delete_user", |db| db.delete_user("user-1").map(|_| ()), |event| event.distinct_id() != "user-1"),
        ("delete_before", |db| db.events().delete_before(early()), |event| event.time() >= early()),
    ];
    for (name, work, remains) in works {
        let mut commits = 0;
        loop {
            let (store, twin) = (TempStore::new(builder), TempStore::new(builder));
            let (db, unsealed) = (store.open(), twin.open());
            let mut model: BTreeMap<Identity, Event> = BTreeMap::new();
            let mut append = |events: Vec<Event>| {
                for log in [db.events(), unsealed.events()] {
                    log.append_all(events.iter().cloned()).unwrap();
                }
                model.extend(events.into_iter().map(|event| (identity(&event), event)));
            };
            // Segments of several sizes, of which the next seal merges some, in more than one change.
            for round in 0..7_u32 {
                append(visits(round..round + 12));
                append(visits(round * 20..round * 20 + 3).into_iter().map(|event| event.set("round", round)).collect());
                if round < 6 {
                    seal(&db).unwrap();
                }
            }
            // Of users whose first day is sealed before the second one.
            let day_after = |n: u32| {
                let time = Timestamp::from_millis(now().millis() + i64::from(n));
                Event::new("visit", format!("user-{n}"), time).id("i")
            };
            append(visits(500..506));
            append((502..509).map(day_after).collect());
            // What joins keep in memory is as of before.
            assert_reads(&db.snapshot(), &unsealed.snapshot(), &model);
            let before = db.snapshot();
            db.fail_segment_commits_after(Some(commits));
            let outcome = work(&db);
            let db = if outcome.is_ok() {
                db
            } else {
                assert!(db.fail_segment_commits_after(None) > 0, "{name}");
                if name == "seal" {
                    assert_reads(&db.snapshot(), &unsealed.snapshot(), &model);
                    assert_reads(&before, &unsealed.snapshot(), &model);
                }
                drop(before);
                db.close().unwrap();
                let db = store.open();
                if name == "seal" {
                    assert_reads(&db.snapshot(), &unsealed.snapshot(), &model);
                }
                work(&db).unwrap();
                db
            };
            model.retain(|_, event| remains(event));
            work(&unsealed).unwrap();
            assert_reads(&db.snapshot(), &unsealed.snapshot(), &model);
            assert!(db.check().unwrap().is_sound());
            if outcome.is_ok() {
                break;
            }
            commits += 1;
        }
        let least = if name == "seal" { 10 } else { 2 };
        assert!(commits >= least, "{name} {commits}");
    }
}

/// A snapshot of before there were segments is joined first, and then one of after.
#[test]
fn what_joins_keep_of_a_snapshot_of_before_the_first_segment_is_not_taken_for_later_ones() {
    let store = TempStore::new(builder);
    let db = store.open();
    let count = |snapshot: &Snapshot| {
        let answer = snapshot.join().group_by(["user.plan"]).measure(Measure::Count).answer().unwrap();
        answer.buckets().iter().map(|bucket| format!("{bucket:?}")).collect::<BTreeSet<_>>()
    };
    let before = db.snapshot();
    db.users().update("user-1", Update::new().set("plan", "pro")).unwrap();
    db.events().append_all(visits(0..3)).unwrap();
    // The last of the rows stay rows.
    db.fail_segment_commits_after(Some(1));
    db.events().seal_in_blocks_of(1).unwrap_err();
    assert_eq!(count(&before).len(), 0);
    let twin = TempStore::new(builder);
    let unsealed = twin.open();
    unsealed.users().update("user-1", Update::new().set("plan", "pro")).unwrap();
    unsealed.events().append_all(visits(0..3)).unwrap();
    assert_eq!(count(&db.snapshot()), count(&unsealed.snapshot()));
}

/// More rows than joins keep in memory, and fewer again.
#[test]
fn a_log_with_many_rows_besides_its_segments_is_joined_like_one_with_few() {
    let store = TempStore::new(builder);
    let db = store.open();
    db.users().update("u1", Update::new().set("plan", "pro")).unwrap();
    let event = |at: i64| {
        let time = Timestamp::from_millis(1_700_000_000_000 + at);
        Event::new("visit", format!("u{}", at % 7), time).id(format!("e{at}"))
    };
    let counts = |events: i64| {
        let pro = (0..events).filter(|at| at % 7 == 1).count() as u64;
        let by_plan = db.snapshot().join().group_by(["user.plan"]).measure(Measure::Count).measure(Measure::Uniques);
        let answer = by_plan.answer().unwrap();
        assert_eq!(answer.get(&[Some("pro".into())]), Some(&[Value::from(pro), 1.into()][..]), "{events}");
        let others = [Value::from(events as u64 - pro), 6.into()];
        assert_eq!(answer.get(&[None]), Some(&others[..]), "{events}");
        db.snapshot().join().select(["user.plan"]).explain().unwrap().sealed.unwrap().in_memory
    };
    db.events().append_all((0..20).map(event)).unwrap();
    db.events().seal().unwrap();
    // Some are sent again.
    db.events().append_all((10..100).map(event)).unwrap();
    assert_eq!(counts(100), Some(90));
    db.events().append_all((100..150_000).map(event)).unwrap();
    assert_eq!((counts(150_000), counts(150_000)), (None, None));
    db.events().append_all((150_000..150_010).map(event)).unwrap();
    assert_eq!(counts(150_010), None);
    db.events().seal().unwrap();
    assert_eq!(counts(150_010), Some(0));
    db.events().append_all((150_000..150_020).map(event)).unwrap();
    assert_eq!(counts(150_020), Some(20));
}

/// What a tail without columns for it gave another user, the empty id gets once it is sealed.
#[test]
fn the_empty_id_has_no_profile_of_another_user() {
    let store = TempStore::new(builder);
    let db = store.open();
    let visit = |id: &str, day: i64| {
        Event::new("visit", id, Timestamp::from_millis(now().millis() - 5 * DAY + day * DAY)).id("i")
    };
    let counts = || {
        let answer = db.snapshot().join().group_by(["user.plan"]).measure(Measure::Count).answer().unwrap();
        answer.buckets().iter().map(|bucket| format!("{bucket:?}")).collect::<BTreeSet<_>>()
    };
    db.users().update("b", Update::new().set("plan", "pro")).unwrap();
    db.events().append(visit("a", 0)).unwrap();
    db.events().seal().unwrap();
    // Their ordinals are those of the tail: first that of the empty id, then that of b.
    db.events().append(visit("", 1)).unwrap();
    let _ = counts();
    db.events().append(visit("b", 0)).unwrap();
    let expected = counts();
    // The day before is sealed first.
    db.events().seal().unwrap();
    assert_eq!(counts(), expected);
}

/// The codes of users grow with the users, and joins share them: the memory of one join bounds the values alone.
#[test]
fn codes_of_more_users_than_the_memory_of_a_join_has_bytes_are_used() {
    const USERS: usize = 20_000;
    let visit = |n: usize| Event::new("visit", format!("u{n}"), now()).id("i").set("n", n as u64);
    let is_by_columns = |builder: fn() -> Builder, memory: usize| {
        let store = TempStore::new(builder);
        let db = store.open();
        let mut batch = Batch::new();
        for n in 0..USERS {
            let plan = if n.is_multiple_of(3) { "pro" } else { "free" };
            batch.update(&Kind::User, format!("u{n}"), Update::new().set("plan", plan)).unwrap();
            batch.append(visit(n));
        }
        db.write(batch).unwrap();
        db.events().seal().unwrap();
        let mut rows = db.snapshot().join().select(["user.plan"]).memory_bytes(memory).rows().unwrap();
        let pro = rows.by_ref().filter(|row| row.as_ref().unwrap().text(0) == Some("pro")).count();
        assert_eq!(pro, USERS.div_ceil(3));
        rows.plan().sealed.is_some()
    };
    assert!(is_by_columns(builder, 8 << 10));
    assert!(!is_by_columns(|| builder().ordinal_cache_bytes(USERS / 2), 8 << 10));
    assert!(is_by_columns(|| builder().ordinal_cache_bytes(0), 1 << 20));
}

/// An id that was erased has no ordinal any more, and gets another one when its events are sealed again.
#[test]
fn a_user_that_was_erased_gets_another_ordinal() {
    let store = TempStore::new(builder);
    let db = store.open();
    let visit = |id: &str, at: i64| Event::new("visit", id, Timestamp::from_millis(now().millis() + at)).id("i");
    let count = |db: &Db| {
        let answer = db.snapshot().join().group_by(["event.distinct_id"]).measure(Measure::Count).answer().unwrap();
        answer.buckets().iter().map(|bucket| format!("{bucket:?}")).collect::<Vec<_>>()
    };
    for at in 0..2 {
        // The second time the ordinals are looked up.
        db.events().append_all([visit("ann", at), visit("bob", at)]).unwrap();
        db.events().seal().unwrap();
        assert_eq!(count(&db).len(), 2);
    }
    db.delete_user("ann").unwrap();
    db.events().append_all([visit("ann", 5), visit("eve", 5)]).unwrap();
    let unsealed = count(&db);
    db.events().seal().unwrap();
    assert_eq!(count(&db), unsealed);
    let ids = |db: &Db| db.events().iter().map(|event| event.unwrap().distinct_id().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&db), ["ann", "bob", "bob", "eve"]);
    assert!(db.check().unwrap().is_sound());
    drop(db);
    assert_eq!(ids(&store.open()), ["ann", "bob", "bob", "eve"]);
}

/// Ordinals that were given away after a snapshot are those of others there: its own unsealed users have them.
#[test]
fn a_snapshot_has_no_ordinals_that_were_given_away_after_it() {
    let store = TempStore::new(builder);
    let db = store.open();
    let visit = |id: &str, day: i64, at: i64| {
        Event::new("visit", id, Timestamp::from_millis(now().millis() - 9 * DAY + day * DAY + at)).id("i")
    };
    let of = |snapshot: &Snapshot, id: &str| {
        let answer = snapshot.join().users([id]).filter(r#"user["plan"] != "x""#).measure(Measure::Count).answer();
        answer.unwrap().buckets()[0].measures[0].clone()
    };
    for id in ["ann", "bob", "eve"] {
        db.users().update(id, Update::new().set("plan", id)).unwrap();
    }
    db.events().append(visit("ann", 0, 0)).unwrap();
    db.events().seal().unwrap();
    db.events().append_all([visit("eve", 2, 0), visit("eve", 2, 1), visit("bob", 1, 0)]).unwrap();
    let before = db.snapshot();
    let counts = |snapshot: &Snapshot| ["ann", "bob", "eve"].map(|id| of(snapshot, id));
    assert_eq!(counts(&before), [1, 1, 2].map(Value::from));
    // Sealing goes by day, so that zed gets the ordinal that the tail of the snapshot has for bob.
    db.events().append(visit("zed", 0, 0)).unwrap();
    db.events().seal().unwrap();
    assert_eq!(counts(&db.snapshot()), [1, 1, 2].map(Value::from));
    assert_eq!(counts(&before), [1, 1, 2].map(Value::from));
}

/// The answer, and how many rows of profiles were read for it, and looked up.
fn counted(db: &Db) -> (BTreeSet<String>, (u64, u64)) {
    let mut rows = db.snapshot().join().select(["user.plan"]).rows().unwrap();
    let read = rows.by_ref().map(|row| format!("{:?}", row.unwrap())).collect();
    let stats = rows.stats();
    (read, (stats.rows_read, stats.lookups))
}

/// Asserts an answer, and what was read for it.
fn assert_counted(db: &Db, expected: &BTreeSet<String>, expected_reads: (u64, u64)) {
    let (rows, reads) = counted(db);
    assert!(rows == *expected, "the rows differ");
    // Fewer are looked up where the thread in the background has stored the codes once more.
    assert!(reads.0 == expected_reads.0 && reads.1 <= expected_reads.1, "{reads:?} {expected_reads:?}");
}

#[test]
fn the_first_join_of_a_process_reads_only_what_was_changed_since_codes_were_stored() {
    let store = TempStore::new(builder);
    let mut db = store.open();
    let plan = |plan: &str| Update::new().set("plan", plan);
    let ids = 0..500_u32;
    let mut batch = Batch::new();
    for n in ids.clone() {
        batch.update(&db.users(), format!("user-{n}"), plan(if n % 2 == 0 { "free" } else { "pro" })).unwrap();
    }
    db.write(batch).unwrap();
    db.events().append_all(visits(ids)).unwrap();
    db.events().seal().unwrap();
    let (_, read) = counted(&db);
    assert_eq!(read, (500, 0), "the whole table");
    db.store_codes().unwrap();
    assert_eq!(counted(&db).1, (0, 0), "what is stored");
    // One that is new, one that is changed, one that is deleted, one of another kind.
    db.users().update("user-1000", Update::new().set("plan", "new")).unwrap();
    db.users().update("user-1", Update::new().set("plan", "new")).unwrap();
    db.users().delete("user-2").unwrap();
    db.groups("company").unwrap().update("user-3", Update::new().set("plan", "new")).unwrap();
    let (expected, _) = counted(&db);
    assert!(expected.iter().any(|bucket| bucket.contains("new")));
    db.close().unwrap();
    db = store.open();
    // The one that is new has no events.
    assert_counted(&db, &expected, (0, 2));
    db.close().unwrap();
    // Read-only stores find them as well.
    let reader = builder().open_read_only(store.store()).unwrap();
    assert_counted(&reader, &expected, (0, 2));
    drop(reader);
    // So much is changed that the whole table is read.
    db = store.open();
    let mut batch = Batch::new();
    for n in 0..4_200_u32 {
        batch.update(&db.users(), format!("other-{n}"), plan("free")).unwrap();
    }
    db.write(batch).unwrap();
    assert_counted(&db, &expected, (499, 0));
    assert!(db.check().unwrap().is_sound());
    db.store_codes().unwrap();
    assert_counted(&db, &expected, (0, 0));
    // A table that is dropped takes them with it.
    assert!(db.drop_table(&Kind::User).unwrap());
    assert!(!counted(&db).0.iter().any(|row| row.contains("pro")));
    db.users().update("user-7", Update::new().set("plan", "last")).unwrap();
    db.close().unwrap();
    assert!(counted(&store.open()).0.iter().any(|bucket| bucket.contains("last")));
}

/// What an update sets is known without the row; what it adds to is not.
#[test]
fn profiles_are_not_read_again_where_what_was_written_to_them_suffices() {
    let store = TempStore::new(builder);
    let db = store.open();
    let users = db.users();
    for (id, plan) in [("user-1", "free"), ("user-2", "pro")] {
        users.update(id, Update::new().set("plan", plan).set("n", 1)).unwrap();
    }
    db.events().append_all(visits(1..4)).unwrap();
    db.events().seal().unwrap();
    assert_eq!(counted(&db).1, (2, 0), "the whole table");
    let is_known = |update: Update, plan: Option<&str>| {
        users.update("user-1", update).unwrap();
        let (rows, (_, lookups)) = counted(&db);
        let mut of_user = rows.iter().filter(|row| row.contains("user-1")).peekable();
        assert!(of_user.peek().is_some(), "{rows:?}");
        assert!(of_user.all(|row| plan.map_or(row.contains("None"), |plan| row.contains(plan))), "{rows:?}");
        assert_joined_as_rows(&db.snapshot());
        lookups == 0
    };
    // A thread in the background may have read what is not known.
    assert!(is_known(Update::new().set("plan", "gold").add("n", 1), Some("gold")));
    assert!(is_known(Update::new().set_once("plan", "free").set("n", "x"), Some("gold")));
    assert!(is_known(Update::new().unset("plan"), None));
    assert!(is_known(Update::new().set_once("plan", "silver"), Some("silver")));
    users.delete("user-1").unwrap();
    assert!(is_known(Update::new().set("n", 2), None));
    is_known(Update::new().append("plan", "x"), Some("x"));
    users.update("user-3", Update::new().set("plan", "first")).unwrap();
    let (rows, (_, lookups)) = counted(&db);
    assert!(rows.iter().any(|row| row.contains("first")) && lookups == 0, "{rows:?} {lookups}");
}

#[test]
fn what_joins_read_of_a_whole_table_is_stored_in_the_background() {
    let store = TempStore::new(sealing_builder);
    let db = store.open();
    db.users().update("user-1", Update::new().set("plan", "pro")).unwrap();
    db.events().append_all(visits(0..3)).unwrap();
    db.events().seal().unwrap();
    let (expected, read) = counted(&db);
    assert_eq!(read, (1, 0));
    wait_until(&db, "the codes are stored", |_| db.stored_codes().unwrap() == 1);
    db.close().unwrap();
    assert_counted(&store.open(), &expected, (0, 0));
}
