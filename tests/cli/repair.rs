//! Damaged stores: an error names the command that repairs, and the command says what is kept.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::store::{CliStore, lines};

fn files(store: &CliStore, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(store.path("store")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.to_str().unwrap().ends_with(end)).collect()
}

#[test]
fn a_store_that_is_refused_names_the_command_that_repairs_it() {
    let store = CliStore::new();
    store.run(&["update", r#"{"$distinct_id":"alice","$set":{"plan":"pro"}}"#]).ok();
    fs::remove_file(store.path("store/PROFILEDB.synced")).unwrap();
    let command = format!("profiledb repair --db {}", store.path("store").display());
    store.run(&["get", "alice"]).failed(&["PROFILEDB.synced", "is missing", &command]);
    store.run(&["repair", "--dry-run", "--format", "table"]).ok();
    store.run(&["get", "alice"]).failed(&["PROFILEDB.synced"]);
    let report = lines(&store.run(&["repair"]).ok());
    assert_eq!(report[0]["files"][0]["file"], "PROFILEDB.synced");
    assert!(store.path("store/damaged-1/CURRENT").exists());
    assert!(store.run(&["get", "alice"]).ok().contains("pro"));
    assert_eq!(store.run(&["repair", "--format", "table"]).ok().lines().last(), Some("nothing is damaged"));
}

#[test]
fn a_repair_that_drops_something_lists_it_and_ends_with_2() {
    let store = CliStore::new();
    store.run(&["update", r#"{"$distinct_id":"alice","$set":{"plan":"pro"}}"#]).ok();
    for path in files(&store, ".sst") {
        fs::write(path, b"").unwrap();
    }
    let ended = store.run(&["repair", "--format", "table"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.out.contains("users cannot be read between the beginning and the end"), "{ended:?}");
    assert!(ended.out.contains("damaged-1"), "{ended:?}");
    store.run(&["check"]).ok();
}

#[test]
fn what_opening_cuts_off_is_a_warning() {
    let store = CliStore::new();
    store.run(&["update", r#"{"$distinct_id":"alice","$set":{"plan":"pro"}}"#]).ok();
    let log = files(&store, ".log").pop().unwrap();
    // The header of a record of 100 bytes, and its first two.
    fs::File::options().append(true).open(&log).unwrap().write_all(&[1, 2, 3, 4, 100, 0, 1, 0, 0]).unwrap();
    let ended = store.run(&["update", r#"{"$distinct_id":"bob","$set":{"plan":"pro"}}"#]);
    let name = log.file_name().unwrap().to_str().unwrap();
    assert!(ended.code == 0 && ended.err.contains("warning") && ended.err.contains(name), "{ended:?}");
    store.run(&["get", "alice"]).ok();
}
