//! Sweeps of faults over the files of a store: whatever is done to one of them, the store has everything that was
//! acknowledged as synced, or it is refused.
//!
//! A child process writes a small store and is killed, or closes it (`image.rs`). Each fault makes an image of it that
//! is opened in four ways, read completely and compared with a plain fold of what was written (`contents.rs`). That is
//! done by another child, so that a hang or an abort is an outcome like any other (`opener.rs`).
//!
//! `PROFILEDB_FAULTS=full` tries every fault, and repairs hundreds of each kind; the default is a sample.
//! `PROFILEDB_FAULTS_STORE=Killed` attacks only the store that was left so. `PROFILEDB_FAULTS_FAILURES` names a file
//! for the failures, one line each.

#![cfg(feature = "rocksdb")]

mod contents;
mod image;
mod opener;
mod records;
mod repair;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{Fault, Left, Store};
use opener::{Opener, Outcome, Way};
use support::Random;

const ROLE: &str = "PROFILEDB_TEST_ROLE";
const DIRECTORY: &str = "PROFILEDB_TEST_DIRECTORY";
const ARGUMENT: &str = "PROFILEDB_TEST_ARGUMENT";

/// A command that runs this binary again, in a role.
fn command(role: &str, dir: &Path, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--nocapture", "--exact", "a_child"])
        .envs([(ROLE, role), (ARGUMENT, argument)])
        .env(DIRECTORY, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Not a test: the entry point of child processes.
#[test]
#[ignore = "runs in a child process"]
fn a_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match role.as_str() {
        "serve" => opener::serve(),
        "write" => image::write(Path::new(&std::env::var_os(DIRECTORY).unwrap()), &std::env::var(ARGUMENT).unwrap()),
        _ => panic!("unknown role {role}"),
    }
}

fn is_full() -> bool {
    std::env::var_os("PROFILEDB_FAULTS").is_some_and(|value| value == "full")
}

/// All faults in a full sweep, some otherwise.
fn sample(faults: Vec<Fault>, most: usize) -> Vec<Fault> {
    if is_full() { faults } else { some(faults, most) }
}

/// All faults, or of each of as many stretches one at random.
fn some(faults: Vec<Fault>, most: usize) -> Vec<Fault> {
    if faults.len() <= most {
        return faults;
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let stretch = |at: usize| at * faults.len() / most;
    (0..most).map(|at| faults[stretch(at) + random.below(stretch(at + 1) - stretch(at))].clone()).collect()
}

/// What became of all images of an attack.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<Way, BTreeMap<Outcome, usize>>,
    failures: Vec<String>,
}

/// Makes an image of each fault, opens it in every way, and prints what became of them.
fn attack(what: &str, store: &Store, faults: &[Fault]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut opener = Opener::new();
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    store.write(Some(fault), &opener.fresh_image());
                    for way in Way::ALL {
                        let (outcome, text) = opener.open(way, store, Some(fault));
                        let mut tally = tally.lock().unwrap();
                        *tally.outcomes.entry(way).or_default().entry(outcome).or_insert(0) += 1;
                        if !outcome.is_right() {
                            let left = store.left;
                            tally.failures.push(format!("{left:?}, {fault:?}, {way}: {} {text}", outcome.name()));
                        }
                    }
                }
            });
        }
    });
    let Tally { outcomes, failures } = tally.into_inner().unwrap();
    for (way, outcomes) in outcomes {
        let outcomes: Vec<String> = outcomes.iter().map(|(outcome, n)| format!("{} {n}", outcome.name())).collect();
        println!("{what}, {:?}, {} images, {way}: {}", store.left, faults.len(), outcomes.join(", "));
    }
    failures
}

/// Attacks the stores, however they were left, and asserts that nothing is silent, wrong, lost or stuck.
#[track_caller]
fn assert_holds(what: &str, faults: impl Fn(&Store) -> Vec<Fault>) {
    let mut failures = Vec::new();
    let only = std::env::var("PROFILEDB_FAULTS_STORE").ok();
    for left in Left::ALL.iter().filter(|left| only.as_ref().is_none_or(|only| format!("{left:?}") == *only)) {
        let store = Store::make(*left);
        failures.extend(attack(what, &store, &faults(&store)));
    }
    if let Some(file) = std::env::var_os("PROFILEDB_FAULTS_FAILURES") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        failures.iter().for_each(|failure| writeln!(file, "{failure}").unwrap());
    }
    let some: Vec<&String> = failures.iter().take(8).collect();
    assert!(some.is_empty(), "{} failures: {some:#?}", failures.len());
}

/// Without a fault, every way of opening shows what was written. This also shows that the oracle is right.
#[test]
fn undamaged_stores_are_whole() {
    for left in Left::ALL {
        let store = Store::make(left);
        let mut opener = Opener::new();
        store.write(None, &opener.fresh_image());
        for way in Way::ALL {
            assert_eq!(opener.open(way, &store, None), (Outcome::Same, String::new()), "{left:?}, {way}");
        }
        let logs: usize = store.named(".log").iter().filter(|(_, content)| !content.is_empty()).count();
        println!("{left:?}: {} files, {logs} logs with records", store.files.len());
        assert!(!matches!(left, Left::TwoLogs | Left::Unsynced) || logs == 2, "{:?}", store.files.keys());
    }
}

fn header_bits(store: &Store, part: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (file, content) in store.named(part) {
        let bits = records::header_bits(content).into_iter();
        faults.extend(bits.map(|(at, bit)| Fault::Flip { file: file.clone(), at, bit }));
    }
    faults
}

#[test]
fn no_bit_of_a_record_header_of_the_manifest_is_trusted() {
    assert_holds("header bits of the MANIFEST", |store| sample(header_bits(store, "MANIFEST-"), 30));
}

#[test]
fn no_bit_of_a_record_header_of_a_log_is_trusted() {
    assert_holds("header bits of logs", |store| sample(header_bits(store, ".log"), 30));
}

fn cuts(store: &Store, part: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (file, content) in store.named(part) {
        let mut lens: Vec<usize> = (0..content.len()).collect();
        // The log with the profile that fills a memtable: around each header, and some others.
        if content.len() > 32 << 10 {
            let headers = records::headers(content);
            lens.retain(|len| len % 499 == 0 || headers.iter().any(|at| (at.saturating_sub(2)..at + 9).contains(len)));
        }
        faults.extend(lens.into_iter().map(|len| Fault::Cut { file: file.clone(), len }));
    }
    faults
}

#[test]
fn no_cut_of_the_manifest_is_silent() {
    assert_holds("cuts of the MANIFEST", |store| sample(cuts(store, "MANIFEST-"), 30));
}

#[test]
fn no_cut_of_a_log_is_silent() {
    assert_holds("cuts of logs", |store| sample(cuts(store, ".log"), 30));
}

#[test]
fn no_file_is_removed_emptied_or_swapped_silently() {
    assert_holds("whole files", |store| sample(store.whole_files(), 30));
}

/// An emptied log has no sequence number that the next could continue.
#[test]
fn no_log_is_replayed_after_one_that_is_empty() {
    assert_holds("emptied logs", |store| {
        let mut faults = store.whole_files();
        faults.retain(|fault| matches!(fault, Fault::Cut { file, .. } if file.ends_with(".log")));
        faults
    });
}

#[test]
fn no_log_is_replayed_after_one_that_is_missing() {
    assert_holds("missing logs", |store| {
        let mut faults = store.whole_files();
        faults.retain(|fault| matches!(fault, Fault::Remove { file } if file.ends_with(".log")));
        faults
    });
}

/// Half of them in a file at random, so that small files are met, and half at a byte at random.
fn flips(store: &Store) -> Vec<Fault> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let files: Vec<(&String, &Vec<u8>)> = store.files.iter().filter(|(_, content)| !content.is_empty()).collect();
    let total: usize = files.iter().map(|(_, content)| content.len()).sum();
    let place = |n: usize| {
        let (file, at) = if n.is_multiple_of(2) {
            let (file, content) = files[random.below(files.len())];
            (file, random.below(content.len()))
        } else {
            let mut at = random.below(total);
            let found = files.iter().find(|(_, content)| {
                let is_here = at < content.len();
                at -= if is_here { 0 } else { content.len() };
                is_here
            });
            (found.unwrap().0, at)
        };
        Fault::Flip { file: file.clone(), at, bit: random.below(8) as u32 }
    };
    (0..if is_full() { 2_000 } else { 50 }).map(place).collect()
}

#[test]
fn no_flipped_bit_in_any_file_is_silent() {
    assert_holds("flips in all files", flips);
}
