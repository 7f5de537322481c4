//! Power loss: what was acknowledged as synced is there, what was not may be gone, and a batch is whole or absent.
//!
//! A kill of the process shows none of this, because the page cache survives it. So a child process writes to a store
//! with a recorder of its system calls preloaded (`recorder.c`), and says what it began and what was acknowledged. A
//! replay of the record (`disk.rs`) then builds the files as power loss would have left them, at each of the points at
//! which the child synced something. Each of these stores is opened, and must equal a plain fold of the first `n` steps
//! of the child, for an `n` between the last step that was acknowledged as durable and the last that was begun.
//!
//! `PROFILEDB_POWER_CUTS=1000` tries more points than the default, `PROFILEDB_FAILING_CALLS=1000` lets more calls fail,
//! `PROFILEDB_POWER_STEPS=1000` writes more.

mod disk;
pub(super) mod syncs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use disk::{Loss, Trace};
use profiledb::{Batch, Change, Db, Durability, Event, Kind, Profile, ProfileKey, Timestamp, Update};
use serde_json::Value as Json;

use super::support::reboot;
use super::{builder, crash};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// The clock of every store here, later than all times.
const NOW: Timestamp = Timestamp::from_millis(10_000 * DAY);

/// Where the child says what it does.
const ACKNOWLEDGEMENTS: &str = "acknowledgements";

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// How many steps the child takes.
fn steps() -> usize {
    setting("PROFILEDB_POWER_STEPS", 240)
}

fn open(store: &Path, durability: Durability) -> Db {
    // Small memtables and rows: power loss meets flushes, compactions, and rows that are being folded.
    let builder = builder().clock(|| NOW).memtable_bytes(64 << 10).fold_after(3).durability(durability);
    builder.open(store).unwrap()
}

// ---------------------------------------------------------------------------------------------------------------------
// What the child writes

/// What one step writes, all of it together.
#[derive(Default)]
struct Step {
    changes: Vec<(ProfileKey, Change)>,
    events: Vec<Event>,
    erase_before: Option<Timestamp>,
}

/// The time of the events of a step: twenty steps to a day.
fn time(n: usize) -> Timestamp {
    Timestamp::from_millis(100 * DAY + n as i64 * DAY / 20)
}

fn user(id: impl Into<String>) -> ProfileKey {
    ProfileKey::user(id).unwrap()
}

fn group(key: &str, id: impl Into<String>) -> ProfileKey {
    ProfileKey::group(key, id).unwrap()
}

fn event(n: usize, id: &str) -> Event {
    let event = Event::new("step", id, time(n)).id(n.to_string());
    // Step 1 creates the table of companies, and an event counts for a group only if its table exists already.
    if n == 1 { event } else { event.set("company", format!("c{}", n % 3)) }
}

fn step(n: usize) -> Step {
    let update = |update: Update| Change::Update(update.at(Timestamp::from_seconds(n as i64)));
    let count = update(Update::new().add("count", 1).append("last", n as i64));
    let mut step = Step::default();
    match n % 10 {
        0 | 5 => step.changes.push((user(format!("u{}", n % 7)), count)),
        1 | 6 => {
            step.changes.push((user("counter"), count));
            step.changes.push((user("counter"), update(Update::new().remove("last", n as i64 - 40))));
            step.changes.push((group("number", n.to_string()), update(Update::new().set("n", n as i64))));
            step.changes
                .push((group("company", format!("c{}", n % 3)), update(Update::new().union("steps", [n as i64]))));
            step.events.push(event(n, "counter"));
        }
        2 => step.events.push(event(n, &format!("u{}", n % 7))),
        3 => step.changes.push((user(format!("u{}", (n / 3) % 7)), Change::Delete)),
        // More than a page in each of two tables.
        4 => {
            let text: String = (0..9_000).map(|at| char::from(b'a' + ((n * 31 + at * at) % 26) as u8)).collect();
            step.changes.push((user(format!("big{}", n % 4)), update(Update::new().set("text", text.as_str()))));
            step.changes.push((group("company", "big"), update(Update::new().set("text", text))));
        }
        7 if n % 40 == 37 => {
            let day = (100 + (n as i64 / 20) - 1) * DAY;
            step.erase_before = Some(Timestamp::from_millis(day));
        }
        7 => step.changes.push((group("company", format!("c{}", n % 3)), update(Update::new().add("seen", 0.1)))),
        8 => step.events.extend((0..3).map(|at| event(n, &format!("u{}", (n + at) % 7)))),
        _ => {
            step.changes.push((user(format!("u{}", n % 7)), count));
            step.changes.push((user(format!("u{}", (n + 1) % 7)), update(Update::new().unset("last"))));
            step.events.push(event(n, &format!("u{}", n % 7)));
        }
    }
    step
}

/// Takes a step with the verb that fits, and returns when it is acknowledged.
fn take(db: &Db, n: usize) -> profiledb::Result<()> {
    let Step { mut changes, mut events, erase_before } = step(n);
    match (changes.len(), events.len(), erase_before) {
        (_, _, Some(time)) => db.events().delete_before(time),
        (1, 0, _) => match changes.remove(0) {
            (key, Change::Delete) => db.table(key.kind()).delete(key.id()),
            (key, Change::Update(update)) if n.is_multiple_of(2) => db.table(key.kind()).update(key.id(), update),
            (key, Change::Update(update)) => db.table(key.kind()).submit(key.id(), update)?.wait(),
        },
        (0, 1, _) if n % 20 == 2 => db.events().append(events.remove(0)),
        (0, 1, _) => db.events().submit(events.remove(0))?.wait(),
        _ => {
            let mut batch: Batch = changes.into_iter().collect();
            batch.extend(events);
            match n % 20 {
                // Buffered, and then synced: as durable as if it had been synced at once.
                9 => db.write_with(batch, Durability::Buffered).and_then(|()| db.sync()),
                19 => {
                    db.write_with(batch, Durability::Buffered)?;
                    db.users().update_with("synced", Update::new().remove("nothing", 1), Durability::Synced)
                }
                _ => db.write(batch),
            }
        }
    }
}

/// Ends a thread, also when the test panics.
struct Stop<'d>(&'d AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs in the child, with the recorder preloaded. A step is acknowledged as durable when it was synced; in the
/// buffered mode that is when a later sync or the end of the store says so.
pub(super) fn write_steps(store: &Path, durability: Durability) {
    let mut file = File::create(store.with_file_name(ACKNOWLEDGEMENTS)).unwrap();
    // One write, and so one record.
    let mut say = move |word: &str, n: usize| file.write_all(format!("{word} {n}\n").as_bytes()).unwrap();
    let steps = steps();
    let mut first = 1;
    for last in [steps * 2 / 3, steps] {
        let db = open(store, durability);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = Stop(&stop);
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    db.flush().unwrap();
                    db.compact().unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            for n in first..=last {
                say("begun", n);
                take(&db, n).unwrap();
                if durability == Durability::Synced {
                    say("durable", n);
                } else if n % 15 == 0 {
                    db.sync().unwrap();
                    say("durable", n);
                }
            }
        });
        db.close().unwrap();
        say("durable", last);
        first = last + 1;
    }
}

/// Where the child on a failing disk says what it was told. Outside of the disk.
const CLAIMS: &str = "claims";

/// Runs in the child, on a disk that fails for a while or from some point on. It says of each step what it was told:
/// that it is durable, that nothing of it is stored, or that its outcome is unknown. It ends with the first failure,
/// since the steps after one that is missing lead to no state that the model has.
pub(super) fn write_on_a_failing_disk(store: &Path) {
    let mut file = File::create(store.ancestors().nth(2).unwrap().join(CLAIMS)).unwrap();
    let mut say = move |word: &str, n: usize| file.write_all(format!("{word} {n}\n").as_bytes()).unwrap();
    let builder = builder().clock(|| NOW).memtable_bytes(64 << 10).fold_after(3);
    let Ok(db) = builder.durability(Durability::Synced).open(store) else { return };
    let mut failures = 0;
    let mut unknown = false;
    for n in 1..=60 {
        say("begun", n);
        match take(&db, n) {
            Ok(()) => say("durable", n),
            Err(error) => {
                unknown = error.is_outcome_unknown();
                // Such a step takes two verbs, or the later of two events says nothing about the first.
                let is_one_verb = !matches!(n % 20, 9 | 19) && step(n).erase_before.is_none();
                say(if error.is_outcome_unknown() || !is_one_verb { "unknown" } else { "refused" }, n);
                failures += 1;
                let late = || db.users().update("late", Update::new().add("n", 1));
                assert!(!unknown || (0..3).all(|_| late().unwrap_err().is_read_only()), "it takes no more writes");
                break;
            }
        }
        // What comes of it shows in the next step.
        if n % 7 == 0 {
            let _ = db.flush().and_then(|()| db.compact());
        }
    }
    assert!(db.close().is_err() || !unknown, "a store that has stopped does not close as if all were well");
    say("ended", failures);
}

// ---------------------------------------------------------------------------------------------------------------------
// What a store must hold after a number of steps

/// Profiles, events and the times of first events, as text.
type State = BTreeMap<String, Json>;

/// A plain fold of steps.
#[derive(Default)]
struct Model {
    profiles: BTreeMap<ProfileKey, Profile>,
    events: BTreeMap<String, Timestamp>,
    first_events: BTreeMap<ProfileKey, Timestamp>,
}

impl Model {
    fn take(&mut self, n: usize) {
        let Step { changes, events, erase_before } = step(n);
        for (key, change) in changes {
            let before = self.profiles.remove(&key);
            let after = match &change {
                Change::Delete => None,
                Change::Update(update) => Profile::update(before, update),
            };
            self.profiles.extend(after.map(|profile| (key, profile)));
        }
        for event in events {
            self.events.insert(shown(&event), event.time());
            let company = event.get("company").and_then(|id| id.as_str()).map(|id| group("company", id));
            for key in [user(event.distinct_id())].into_iter().chain(company) {
                let first = self.first_events.entry(key).or_insert(event.time());
                *first = (*first).min(event.time());
            }
        }
        if let Some(time) = erase_before {
            self.events.retain(|_, at| *at >= time);
        }
    }

    fn state(&self) -> State {
        let profiles = self.profiles.iter().map(|(key, profile)| {
            let mut json = serde_json::to_value(profile).unwrap();
            if let Some(time) = self.first_events.get(key) {
                json["$mp_first_event_time"] = time.to_string().into();
            }
            (format!("{} {}", key.kind(), key.id()), json)
        });
        profiles.chain(self.events.keys().map(|event| (event.clone(), Json::Null))).collect()
    }
}

fn shown(event: &Event) -> String {
    format!("event {} {}", event.distinct_id(), serde_json::to_string(event).unwrap())
}

/// The content of the store.
fn state(db: &Db) -> Result<State, String> {
    let mut state = State::new();
    for kind in [Kind::User, Kind::group("company").unwrap(), Kind::group("number").unwrap()] {
        for row in db.table(&kind).iter() {
            let (id, profile) = row.map_err(|error| error.to_string())?;
            state.insert(format!("{kind} {id}"), serde_json::to_value(profile).unwrap());
        }
    }
    for event in db.events().iter() {
        state.insert(shown(&event.map_err(|error| error.to_string())?), Json::Null);
    }
    Ok(state)
}

/// The first entry in which two states differ.
fn difference(expected: &State, found: &State) -> String {
    let names = expected.keys().chain(found.keys());
    let name = names.filter(|name| expected.get(*name) != found.get(*name)).min().expect("they differ");
    format!("{name}\nexpected {:?}\n   found {:?}", expected.get(name), found.get(name))
}

// ---------------------------------------------------------------------------------------------------------------------
// Power loss

/// The compiled recorder.
struct Recorder(tempfile::TempDir);

impl Recorder {
    /// A machine that builds RocksDB has a C compiler.
    fn compile() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine_paths/power_loss/recorder.c");
        let named = std::env::var("CC").ok();
        for compiler in named.as_deref().into_iter().chain(["cc", "clang", "gcc"]) {
            let mut command = Command::new(compiler);
            command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(dir.path().join("recorder.so"));
            match command.args([source, "-ldl", "-lpthread"]).output() {
                Ok(ended) if ended.status.success() => return Self(dir),
                Ok(ended) => panic!("{compiler} cannot compile {source}:\n{}", String::from_utf8_lossy(&ended.stderr)),
                Err(_) => {}
            }
        }
        panic!("no C compiler: the tests of power loss need one, as `cc`, `clang`, `gcc` or $CC");
    }

    /// Runs a child that writes below the root of the directory.
    fn run(&self, role: &str, fail: Option<Failing>) -> Recorded {
        let dir = tempfile::tempdir().unwrap();
        let (root, trace) = (dir.path().join("root"), dir.path().join("trace"));
        fs::create_dir(&root).unwrap();
        let ended = self.preload(crash::command(role, &root.join("store"), ""), &root, &trace, fail).status().unwrap();
        assert!(ended.success(), "the child failed: {ended}");
        Recorded { trace: Trace::read(&trace, &root), root, _dir: dir }
    }

    fn preload(&self, mut command: Command, root: &Path, trace: &Path, fail: Option<Failing>) -> Command {
        command.env("LD_PRELOAD", self.0.path().join("recorder.so"));
        command.env("RECORDER_ROOT", root).env("RECORDER_TRACE", trace);
        if let Some(Failing { from, error, count, log_syncs }) = fail {
            command.env("RECORDER_FAIL", format!("{from} {error} {count} {}", u8::from(log_syncs)));
        }
        command.stderr(std::process::Stdio::inherit());
        command
    }
}

/// Which changes of files fail, and the error number.
#[derive(Clone, Copy, Debug)]
struct Failing {
    from: usize,
    count: usize,
    error: i32,
    /// Only syncs of the write-ahead log.
    log_syncs: bool,
}

/// What a child did, and the files that it left.
struct Recorded {
    trace: Trace,
    root: PathBuf,
    _dir: tempfile::TempDir,
}

/// The last step of which a child said this.
fn acknowledged_as(said: &str, word: &str) -> usize {
    said.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).next_back().unwrap_or(0)
}

/// The last step that was acknowledged as durable, and the last that was begun.
fn acknowledged(said: &[u8]) -> (usize, usize) {
    let said = std::str::from_utf8(said).unwrap();
    (acknowledged_as(said, "durable"), acknowledged_as(said, "begun"))
}

/// Opens what power loss left, and says how many steps are in it.
fn check(image: &Path, (durable, begun): (usize, usize), states: &[State]) -> Result<usize, String> {
    let store = image.join("store");
    let synced = store.join("PROFILEDB.synced");
    if let Ok(mut record) = fs::read(&synced) {
        reboot(&mut record);
        fs::write(&synced, record).unwrap();
    }
    let open = || builder().clock(|| NOW).open(&store).map_err(|error| format!("it does not open: {error:?}"));
    let db = open()?;
    let found = state(&db)?;
    let Some(n) = (durable..=begun).find(|n| states[*n] == found) else {
        let n = (0..states.len()).rev().find(|n| states[*n] == found);
        let near = difference(&states[durable], &found);
        return Err(format!("{durable} steps are durable of {begun}, found {n:?}\nbeside the durable: {near}"));
    };
    // It goes on from there.
    if n + 1 < states.len() {
        take(&db, n + 1).and_then(|()| db.close()).map_err(|error| error.to_string())?;
        let found = state(&open()?)?;
        if found != states[n + 1] {
            return Err(format!("step {} went wrong afterwards: {}", n + 1, difference(&states[n + 1], &found)));
        }
    }
    Ok(n)
}

/// What came out of all cuts of one run.
#[derive(Debug, Default)]
struct Outcome {
    cuts: usize,
    /// Cuts at which a step is gone that had been taken, but not synced.
    lossy: usize,
    failures: Vec<String>,
}

fn cut(trace: &Trace, loss: Loss, states: &[State]) -> Outcome {
    let points = trace.syncs() + 1;
    let cuts = setting("PROFILEDB_POWER_CUTS", 60).min(points);
    // Spread evenly, and the last.
    let is_cut = |at: usize| (at + 1) * cuts / points != at * cuts / points;
    let outcome = Mutex::new(Outcome::default());
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let outcome = &outcome;
            scope.spawn(move || {
                let mut mine = 0;
                trace.replay(|at, disk| {
                    mine += usize::from(is_cut(at));
                    if !is_cut(at) || mine % workers != worker {
                        return;
                    }
                    let image = tempfile::tempdir().unwrap();
                    disk.write_image(image.path(), loss);
                    let said = acknowledged(&disk.written(&disk.path(ACKNOWLEDGEMENTS)));
                    let result = check(image.path(), said, states);
                    let mut outcome = outcome.lock().unwrap();
                    outcome.cuts += 1;
                    match result {
                        Ok(found) => outcome.lossy += usize::from(found + 1 < said.1),
                        Err(what) => {
                            if let Some(keep) = std::env::var_os("PROFILEDB_POWER_KEEP") {
                                let to = Path::new(&keep).join(format!("{at}-{loss:?}"));
                                fs::create_dir_all(&to).unwrap();
                                disk.write_image(&to, loss);
                                fs::write(to.join("said"), format!("{said:?} {what}")).unwrap();
                            }
                            outcome.failures.push(format!("sync {at} of {points}, {loss:?}: {what}"))
                        }
                    }
                });
            });
        }
    });
    let outcome = outcome.into_inner().unwrap();
    assert_eq!(outcome.cuts, cuts);
    outcome
}

fn states() -> Vec<State> {
    let mut model = Model::default();
    let mut states = vec![model.state()];
    for n in 1..=steps() {
        model.take(n);
        states.push(model.state());
    }
    states
}

#[track_caller]
fn assert_survives(role: &str, losses: &[Loss]) -> usize {
    let Recorded { trace, .. } = Recorder::compile().run(role, None);
    let states = states();
    assert!(trace.syncs() > 30, "the child hardly synced: {}", trace.syncs());
    let mut lossy = 0;
    for loss in losses {
        let outcome = cut(&trace, *loss, &states);
        lossy += outcome.lossy;
        let some: Vec<&String> = outcome.failures.iter().take(5).collect();
        assert!(some.is_empty(), "{} of {} cuts failed: {some:#?}", outcome.failures.len(), outcome.cuts);
    }
    lossy
}

#[test]
fn what_was_acknowledged_as_synced_survives_power_loss() {
    let lossy = assert_survives("power-synced", &[Loss::Everything, Loss::Data, Loss::Torn(1)]);
    assert_eq!(lossy, 0, "each step is synced before the next begins");
}

#[test]
fn what_was_buffered_survives_power_loss_up_to_a_point_and_in_whole_batches() {
    let lossy = assert_survives("power-buffered", &[Loss::Everything, Loss::Data]);
    assert!(lossy > 10, "the disk loses nothing, so it shows nothing: {lossy}");
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What the child said last, how many steps were acknowledged as durable, and how many the store has on a good disk.
fn claimed(recorder: &Recorder, fail: Failing, states: &[State]) -> (&'static str, usize, usize) {
    let Recorded { root, _dir, .. } = recorder.run("failing", Some(fail));
    let claims = fs::read_to_string(root.with_file_name(CLAIMS)).unwrap();
    let [durable, unknown, refused] = ["durable", "unknown", "refused"].map(|word| acknowledged_as(&claims, word));
    let (word, most) = match (unknown, refused) {
        (0, 0) => ("durable", durable),
        (0, _) => ("refused", durable),
        _ => ("unknown", unknown),
    };
    let found = check(&root, (durable, most), states);
    (word, durable, found.unwrap_or_else(|what| panic!("{fail:?}: {word} after {durable}: {what}")))
}

/// Changes of files fail, one alone or all from some point on, at each of many points in turn. What the store said of
/// each step holds when it is opened on a good disk afterwards: durable is there, refused is not there, and only of a
/// step of which it said so may either be true.
#[test]
fn what_was_said_of_each_write_on_a_failing_disk_is_true() {
    let recorder = Recorder::compile();
    let states = states();
    let changes = recorder.run("failing", None).trace.changes();
    let points = setting("PROFILEDB_FAILING_CALLS", 20).min(changes);
    let mut stopped = BTreeSet::new();
    let mut said = BTreeMap::new();
    for point in 0..points {
        let error = if point % 2 == 0 { EIO } else { ENOSPC };
        let count = if point % 3 == 0 { usize::MAX >> 1 } else { 1 };
        let fail = Failing { from: 1 + point * changes / points, error, count, log_syncs: false };
        let (word, durable, found) = claimed(&recorder, fail, &states);
        stopped.insert(found);
        *said.entry((word, found - durable)).or_insert(0) += 1;
    }
    println!("{points} of {changes} calls failed; what was said, and how much more was there: {said:?}");
    assert!(stopped.len() > points.min(40) / 5, "the failures were not spread over the steps: {stopped:?}");
    assert!(["unknown", "refused"].iter().all(|word| said.keys().any(|(said, _)| said == word)), "{said:?}");
}

/// The write is in the log, and only its sync fails. The caller must not be told that nothing was stored.
#[test]
fn a_write_whose_sync_failed_is_of_unknown_outcome_and_the_store_stops() {
    let recorder = Recorder::compile();
    let states = states();
    for from in [1, 5, 12, 23] {
        let fail = Failing { from, error: EIO, count: 1, log_syncs: true };
        let (word, durable, found) = claimed(&recorder, fail, &states);
        assert_eq!((word, &states[found]), ("unknown", &states[durable + 1]), "sync {from}");
    }
}

/// When a full disk has room again, RocksDB recovers on its own and flushes one table after the other, without the
/// write whose sync failed. The process may end before it is done, as the child does. Then the write must not be there
/// in some tables.
#[test]
fn a_write_whose_sync_failed_on_a_full_disk_is_whole_or_absent() {
    let recorder = Recorder::compile();
    let states = states();
    let syncs = setting("PROFILEDB_FAILING_SYNCS", 8);
    for at in 0..syncs {
        let fail = Failing { from: 1 + at * 40 / syncs.min(40) % 40, error: ENOSPC, count: 1, log_syncs: true };
        assert_eq!(claimed(&recorder, fail, &states).0, "unknown", "{fail:?}");
    }
}

/// RocksDB begins a new log when it is about to flush a table, and syncs the old one only after that. Meanwhile writes
/// go to the new one, whose pages may reach the disk first. It then replays the new log after the torn old one, and
/// applies a batch without those before it. Cut at the end of a record, the old log does not even look torn.
#[test]
fn a_log_is_not_replayed_after_one_that_lost_its_end() {
    let Recorded { trace, .. } = Recorder::compile().run("power-buffered", None);
    let states = states();
    let (mut images, mut failures) = (0, Vec::new());
    trace.replay(|at, disk| {
        let logs = disk.unsynced_logs();
        if images >= setting("PROFILEDB_POWER_CUTS", 60) || logs.len() < 2 {
            return;
        }
        let ends = disk.unsynced_ends(logs[0]);
        let last = ends[ends.len() - 1];
        // Nothing, half a record, all records but the last, and that one torn.
        let whole = ends.len().checked_sub(2).map_or(0, |at| ends[at]);
        for kept in BTreeSet::from([0, ends[0] / 2, whole, (whole + last) / 2]) {
            let image = tempfile::tempdir().unwrap();
            disk.write_image(image.path(), Loss::OldestLog(kept));
            let said = acknowledged(&disk.written(&disk.path(ACKNOWLEDGEMENTS)));
            images += 1;
            failures.extend(
                check(image.path(), said, &states).err().map(|what| format!("sync {at}, {kept} of {last}: {what}")),
            );
        }
    });
    assert!(images > 10, "hardly a log was begun before the one before it was synced: {images}");
    let some: Vec<&String> = failures.iter().take(3).collect();
    assert!(some.is_empty(), "{} of {images} images: {some:#?}", failures.len());
}

/// The command line says how far an import came, and of which records it does not know.
#[test]
#[cfg(feature = "cli")]
fn an_import_on_a_failing_disk_says_what_is_known() {
    let recorder = Recorder::compile();
    let dir = tempfile::tempdir().unwrap();
    let (root, trace, input) = (dir.path().join("root"), dir.path().join("trace"), dir.path().join("input.ndjson"));
    fs::create_dir(&root).unwrap();
    let line = |n: usize| format!("{{\"$distinct_id\":\"u{n}\",\"$add\":{{\"n\":1}}}}\n");
    fs::write(&input, (0..2_000).map(line).collect::<String>()).unwrap();
    let mut import = Command::new(env!("CARGO_BIN_EXE_profiledb"));
    import.arg("--db").arg(root.join("store")).args(["import", "--sync"]).arg(&input);
    let fail = Failing { from: 2, error: EIO, count: 1, log_syncs: true };
    let ended =
        recorder.preload(import, &root, &trace, Some(fail)).stderr(std::process::Stdio::piped()).output().unwrap();
    let (summary, message) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(message.contains("outcome unknown: the record may or may not be stored line="), "{message}");
    assert!(message.contains("reopen it, and read before writing again"), "{message}");
    let summary: Json = serde_json::from_str(&summary).unwrap();
    let [applied, unknown] = ["applied", "unknown"].map(|name| summary[name].as_u64().unwrap() as usize);
    let stored = open(&root.join("store"), Durability::Synced).users().iter().count();
    assert!(applied > 0 && unknown > 0 && (applied..=applied + unknown).contains(&stored), "{summary} {stored}");
}

/// A page cache may write pages in any order, which leaves holes in the tail of a log. Opening truncates it there.
#[test]
fn what_was_acknowledged_as_synced_survives_pages_out_of_order() {
    assert_survives("power-synced", &[Loss::Pages(1), Loss::Pages(2)]);
    assert_survives("power-buffered", &[Loss::Torn(1), Loss::Torn(2), Loss::Pages(1), Loss::Pages(2)]);
}
