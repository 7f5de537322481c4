//! The tour.

use std::fs;
use std::path::Path;

use crate::store::{CliStore, Ended};

#[test]
fn the_tour_runs_anywhere_and_tidies_up() {
    let bench = CliStore::new();
    let temporary = bench.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let tour = |args: &[&str]| Ended::from(bench.command(args).env("TMPDIR", &temporary).output().unwrap()).ok();
    let told = tour(&["demo"]);
    for part in [
        "109,466 updates",
        "0.9999999999999999",
        "profiledb 1.0\n",
        "after compaction",
        "13,491 events",
        "db                5312             25586\n",
        "include       1531  ->    396\n",
        "docs            66  ->   1201\n",
        "group:domain.first_area  count  uniques\n",
        "join      users (about ",
        "temporary store is removed",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(tour(&["demo", "--keep"]).contains(&temporary.display().to_string()));
    let kept = fs::read_dir(&temporary).unwrap().next().unwrap().unwrap().path().join("store");
    assert_eq!(tables(&bench, &kept), 3);
}

fn tables(bench: &CliStore, store: &Path) -> usize {
    bench.run(&["tables", "--db", &store.display().to_string()]).ok().lines().count()
}
