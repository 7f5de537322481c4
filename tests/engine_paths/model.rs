//! Model-based test: random updates, batches, deletes and submits against a plain fold, between flushes, compactions,
//! snapshots and reopens, which must not be observable.

use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use profiledb::{Batch, Change, Commit, Db, Kind, ProfileKey, Snapshot, Update, View};

use super::support::Random;
use super::{Folded, builder, temp_store};

const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn kinds() -> [Kind; 2] {
    [Kind::User, Kind::group("company").unwrap()]
}

/// Random operations, on top of random numbers.
impl Random {
    fn key(&mut self) -> ProfileKey {
        ProfileKey::new(kinds()[self.below(2)].clone(), IDS[self.below(5)]).unwrap()
    }

    fn update(&mut self) -> Update {
        if self.below(2) == 0 {
            return self.close_update();
        }
        let bytes: Vec<u8> = (0..40).flat_map(|_| self.next().to_le_bytes()).collect();
        Update::arbitrary(&mut Unstructured::new(&bytes)).unwrap()
    }

    /// Operators on few names with few values, so that they interact.
    fn close_update(&mut self) -> Update {
        (0..=self.below(3)).fold(Update::new(), |update, _| {
            let (list, number) = (["l", "m"][self.below(2)], ["n", "o"][self.below(2)]);
            let value = self.below(4) as i64;
            match self.below(12) {
                0..=2 => update.append(list, value),
                3 | 4 => update.remove(list, value),
                5 | 6 => update.union(list, [value, self.below(4) as i64]),
                7 => update.add(number, value),
                8 => update.add(number, 0.1),
                9 => update.set(number, value),
                10 => update.set_once(list, [value]),
                _ => update.unset([list, number][self.below(2)]),
            }
        })
    }

    fn change(&mut self) -> (ProfileKey, Change) {
        let change = if self.below(12) == 0 { Change::Delete } else { Change::Update(self.update()) };
        (self.key(), change)
    }
}

/// Coverage of a run. Each count must be positive, or the test proves less than it claims.
#[derive(Debug, Default)]
struct Coverage {
    full_merges: u64,
    partial_merges: u64,
    composed: u64,
    snapshots_checked: u64,
    reopened: u64,
}

/// A store and its expected content, and snapshots with theirs.
struct World<'p> {
    path: &'p Path,
    db: Option<Db>,
    folded: Folded,
    held: Vec<(Snapshot, Folded)>,
    commits: Vec<Commit>,
    coverage: Coverage,
}

impl<'p> World<'p> {
    fn new(path: &'p Path) -> Self {
        let (folded, held, commits, coverage) = Default::default();
        let mut world = Self { path, db: None, folded, held, commits, coverage };
        world.open();
        world
    }

    fn open(&mut self) {
        self.db = Some(builder().fold_after(3).memtable_bytes(64 << 10).open(self.path).unwrap());
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn step(&mut self, random: &mut Random) {
        match random.below(24) {
            0..=9 => {
                let (key, change) = random.change();
                self.folded.change(&key, &change);
                self.db().write(Batch::from_iter([(key, change)])).unwrap();
            }
            10..=13 => {
                let (key, update) = (random.key(), random.update());
                self.folded.change(&key, &Change::Update(update.clone()));
                let commit = self.db().table(key.kind()).submit(key.id(), update).unwrap();
                self.commits.push(commit);
            }
            14..=16 => {
                let changes: Vec<_> = (0..2 + random.below(6)).map(|_| random.change()).collect();
                changes.iter().for_each(|(key, change)| self.folded.change(key, change));
                self.db().write(changes.into_iter().collect()).unwrap();
            }
            17 | 18 => self.db().flush().unwrap(),
            19 => self.db().compact().unwrap(),
            20 | 21 => {
                self.settle();
                let held = (self.db().snapshot(), self.folded.clone());
                self.held.push(held);
                if self.held.len() > 4 {
                    self.held.swap_remove(random.below(4));
                }
            }
            22 => self.check(),
            _ if random.below(4) == 0 => self.reopen(),
            _ => {}
        }
    }

    /// Waits for all pending commits.
    fn settle(&mut self) {
        self.commits.drain(..).for_each(|commit| commit.wait().unwrap());
    }

    fn check(&mut self) {
        self.settle();
        self.folded.check(&kinds(), &IDS, |kind| View::clone(&self.db().table(kind)));
        for (snapshot, folded) in &self.held {
            folded.check(&kinds(), &IDS, |kind| snapshot.table(kind));
        }
        self.coverage.snapshots_checked += self.held.len() as u64;
    }

    fn reopen(&mut self) {
        self.check();
        self.close();
        self.open();
        self.check();
        self.coverage.reopened += 1;
    }

    fn close(&mut self) {
        self.held.clear();
        let stats = self.db().stats();
        assert_eq!(stats.merge_panics, 0);
        self.coverage.full_merges += stats.full_merges;
        self.coverage.partial_merges += stats.partial_merges;
        self.coverage.composed += stats.writes.changes - stats.writes.keys;
        self.db = None;
    }
}

fn run(seed: u64) -> Coverage {
    struct Say(u64, usize);
    impl Drop for Say {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("seed={} step={}", self.0, self.1);
            }
        }
    }

    let temp = temp_store();
    let store = temp.store();
    let mut world = World::new(&store);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut say = Say(seed, 0);
    for step in 0..500 {
        say.1 = step;
        world.step(&mut random);
    }
    world.reopen();
    world.db().compact().unwrap();
    world.check();
    let report = world.db().check().unwrap();
    assert!(report.is_sound() && report.tables.iter().all(|table| table.pending_operands == 0), "{report:?}");
    world.close();
    world.coverage
}

#[test]
fn random_histories_equal_plain_folds() {
    for seed in 1..=3 {
        let coverage = run(seed);
        let Coverage { full_merges, partial_merges, composed, snapshots_checked, reopened } = coverage;
        let all = [full_merges, partial_merges, composed, snapshots_checked, reopened];
        assert!(all.iter().all(|count| *count > 3), "seed={seed} did not cover everything: {coverage:?}");
    }
}
