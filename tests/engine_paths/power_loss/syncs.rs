//! When the write-ahead log is synced: by each verb in each durability, and how often under group commit.
//!
//! A child process runs the verbs one by one, with its system calls recorded. What counts is what the operating system
//! was told before the verb returned, not what the engine says about itself.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Barrier, Mutex};

use profiledb::{Batch, Commit, Db, Durability, Event, Kind, ProfileKey, Timestamp, Update};

use super::disk::{Seen, Trace};
use super::{ACKNOWLEDGEMENTS, DAY, NOW, Recorder};
use crate::builder;

/// Writers of the group commit, each with one write.
const WRITERS: usize = 24;

/// Says in the record which verb runs.
struct Verbs(Mutex<File>);

impl Verbs {
    fn say(&self, line: &str) {
        self.0.lock().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn run<R>(&self, name: &str, verb: impl FnOnce() -> profiledb::Result<R>) -> R {
        self.say(name);
        let result = verb().unwrap();
        self.say("returned");
        result
    }
}

fn update() -> Update {
    Update::new().add("n", 1)
}

fn event(id: &str) -> Event {
    let event = Event::new("e", "ann", Timestamp::from_millis(200 * DAY)).id(id).set("company", "acme");
    // Groups without a table, for backfills.
    event.set("late synced", "acme").set("late buffered", "acme")
}

fn batch(id: &str) -> Batch {
    let mut batch = Batch::new();
    batch.change(ProfileKey::user("ann").unwrap(), update());
    batch.change(ProfileKey::group("company", "acme").unwrap(), update());
    batch.append(event(id));
    batch
}

/// Runs in the child. The name of a verb begins with what it has to do.
pub(crate) fn run_verbs(store: &Path) {
    let verbs = Verbs(Mutex::new(File::create(store.with_file_name(ACKNOWLEDGEMENTS)).unwrap()));
    for durability in [Durability::Synced, Durability::Buffered] {
        let says = if durability == Durability::Synced { "synced" } else { "buffered" };
        let name = |verb: &str| format!("{says} {verb}");
        let db = builder().clock(|| NOW).durability(durability).open(store).unwrap();
        let users = db.users();
        let wait = |commit: profiledb::Result<Commit>| commit?.wait();
        verbs.run(&name("first update"), || users.update("ann", update()));
        verbs.run(&name("update"), || users.update("ann", update()));
        verbs.run(&name("update of a new table"), || db.groups(says)?.update("acme", update()));
        verbs.run(&name("submit"), || wait(users.submit("ann", update())));
        verbs.run(&name("batch"), || db.write(batch("1")));
        verbs.run(&name("submitted batch"), || wait(db.submit(batch("2"))));
        verbs.run(&name("try_submit of a batch"), || wait(db.try_submit(batch("2"))));
        verbs.run(&name("event"), || db.events().append(event("3")));
        verbs.run(&name("submitted event"), || wait(db.events().submit(event("4"))));
        verbs.run(&name("events"), || db.events().append_all([event("4"), event("4b")]));
        verbs.run(&name("delete"), || users.delete("ann"));
        verbs.run(&name("backfill"), || db.backfill_first_event_times(&Kind::group(format!("late {says}"))?));
        verbs.run(&name("delete of a user"), || db.delete_user("ann"));
        verbs.run(&name("event before the deletion"), || db.events().append(event("5")));
        verbs.run(&name("delete of a day"), || db.events().delete_before(Timestamp::from_millis(201 * DAY)));
        verbs.run(&name("delete of half a day"), || db.events().delete_before(Timestamp::from_millis(201 * DAY + 1)));
        // A durability of its own counts, whatever the default is.
        for (durability, says) in [(Durability::Synced, "synced"), (Durability::Buffered, "buffered")] {
            let name = |verb: &str| format!("{says} {verb}, not by default");
            verbs.run(&name("update"), || users.update_with("ann", update(), durability));
            verbs.run(&name("batch"), || db.write_with(batch("6"), durability));
            verbs.run(&name("submitted batch"), || wait(db.submit_with(batch("7"), durability)));
            verbs.run(&name("event"), || db.events().append_with(event("8"), durability));
            verbs.run(&name("events"), || db.events().append_all_with([event("8")], durability));
            verbs.run(&name("submitted event"), || wait(db.events().submit_with(event("8"), durability)));
            verbs.run(&name("submit"), || wait(users.submit_with("ann", update(), durability)));
            verbs.run(&name("delete"), || users.delete_with("ann", durability));
        }
        verbs.run("synced sync", || db.sync());
        verbs.run("buffered update before the close", || users.update_with("ann", update(), Durability::Buffered));
        drop(users);
        if durability == Durability::Synced {
            verbs.run("synced close", || db.close());
        } else {
            verbs.run("synced drop", || {
                drop(db);
                Ok(())
            });
        }
    }
    run_groups(&verbs, &builder().open(store).unwrap());
}

/// Many writers at once, whose commits share syncs.
fn run_groups(verbs: &Verbs, db: &Db) {
    let together = |name: &str, write: &(dyn Fn(&Db, usize) + Sync)| {
        verbs.run(name, || {
            let barrier = Barrier::new(WRITERS);
            std::thread::scope(|scope| {
                for writer in 0..WRITERS {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        write(db, writer);
                    });
                }
            });
            Ok(())
        });
    };
    together("group of synced updates", &|db, writer| {
        db.users().update_with(&format!("u{writer}"), update(), Durability::Synced).unwrap();
    });
    together("mixed group of synced and buffered updates", &|db, writer| {
        let durability = if writer % 2 == 0 { Durability::Synced } else { Durability::Buffered };
        db.users().update_with("ann", update(), durability).unwrap();
    });
    verbs.run("group of synced submits", || {
        let submit = |_| db.submit_with(batch("9"), Durability::Synced);
        let commits: Vec<Commit> = (0..WRITERS).map(submit).collect::<profiledb::Result<_>>()?;
        commits.into_iter().try_for_each(Commit::wait)
    });
}

/// What one verb did to the write-ahead log before it returned.
#[derive(Debug, Default)]
struct Done {
    verb: String,
    syncs: usize,
    bytes: usize,
    /// Bytes of the log that were not synced when it returned.
    unsynced: usize,
}

fn done(trace: &Trace) -> Vec<Done> {
    let (mut all, mut current) = (Vec::new(), None);
    let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
    trace.watch(|seen, disk| match seen {
        Seen::Synced(path) if is_log(&path) => {
            let Done { syncs, .. } = current.get_or_insert_default();
            *syncs += 1;
        }
        Seen::Wrote(path, bytes) if is_log(&path) => {
            let done: &mut Done = current.get_or_insert_default();
            done.bytes += bytes.len();
        }
        Seen::Wrote(path, bytes) if path.ends_with(ACKNOWLEDGEMENTS) => {
            let verb = std::str::from_utf8(bytes).unwrap().trim().to_owned();
            if verb == "returned" {
                let mut done = current.take().unwrap();
                done.unsynced = disk.unsynced(is_log);
                all.push(done);
            } else {
                current = Some(Done { verb, ..Done::default() });
            }
        }
        _ => {}
    });
    all
}

#[test]
fn every_verb_syncs_the_log_before_it_returns_or_not_as_its_durability_says() {
    let recorded = Recorder::compile().run("syncs", None);
    let mut counts = [0; 4];
    for done in done(&recorded.trace) {
        let (is_right, kind) = match done.verb.split(' ').next().unwrap() {
            "synced" => (done.syncs >= 1 && done.unsynced == 0, 0),
            // Handed to the operating system, so that a crash of the process loses nothing.
            "buffered" => (done.syncs == 0 && done.bytes > 0 && done.unsynced >= done.bytes, 1),
            "group" => ((1..=WRITERS).contains(&done.syncs) && done.bytes > 0 && done.unsynced == 0, 2),
            // A buffered update may be committed after the last sync.
            "mixed" => ((1..=WRITERS).contains(&done.syncs) && done.unsynced < done.bytes, 3),
            _ => panic!("{done:?}"),
        };
        assert!(is_right, "{done:?}");
        counts[kind] += 1;
    }
    assert_eq!(counts, [16 + 2 * 8 + 4, 16 + 2 * 8 + 2, 2, 1], "every verb ran");
}
