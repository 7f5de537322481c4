//! `profiledb serve` as a process: what it prints, and what is left after signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use profiledb::{Db, Durability, Event, Timestamp, Update};
use serde_json::{Value as Json, json};

/// Kills of each kind. More by `PROFILEDB_KILLS`.
const KILLS: u64 = 5;

struct Process {
    child: Child,
    address: String,
}

fn serve(dir: &Path, flags: &[&str]) -> Process {
    let child = Command::new(env!("CARGO_BIN_EXE_profiledb"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--db"])
        .arg(dir)
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process { child, address: String::new() };
    let mut line = String::new();
    BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    process.address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    process
}

/// A test that fails leaves no server behind.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Waits for its end. One that does not end is killed, so that its clients end too.
    fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().unwrap();
        panic!("the server does not end: {}", self.child.wait().unwrap());
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

fn kills() -> u64 {
    std::env::var("PROFILEDB_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

/// Sends updates on a connection until it ends, and counts those that were answered.
fn send(address: &str, id: usize, answered: &AtomicU64, is_over: &AtomicBool) {
    let update = format!("{{\"$distinct_id\":\"u{id}\",\"$add\":{{\"n\":1}}}}");
    let body = format!("[{}]", [update.as_str(); 20].join(","));
    let request = format!("POST /engage HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    while !is_over.load(Ordering::Relaxed) && stream.write_all(request.as_bytes()).is_ok() {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n1") {
            let mut bytes = [0; 1_024];
            match stream.read(&mut bytes) {
                Ok(count @ 1..) => answer.extend_from_slice(&bytes[..count]),
                _ => return,
            }
        }
        answered.fetch_add(20, Ordering::Relaxed);
    }
}

/// Loads a process until a signal ends it. Returns how many updates of each user were answered.
fn load_until(process: &mut Process, signal: &str, delay: Duration) -> [u64; 4] {
    let address = process.address.clone();
    let (answered, is_over) = ([(); 4].map(|()| AtomicU64::new(0)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (id, answered) in answered.iter().enumerate() {
            let (address, is_over) = (&address, &is_over);
            scope.spawn(move || send(address, id, answered, is_over));
        }
        std::thread::sleep(delay);
        process.signal(signal);
        let started = Instant::now();
        let status = process.ended();
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert_eq!(status.code(), if signal == "TERM" { Some(0) } else { None });
        is_over.store(true, Ordering::Relaxed);
    });
    answered.map(AtomicU64::into_inner)
}

/// Every update that was answered is there, and a request is there as a whole or not at all.
fn updates_survive(signal: &str, flags: &[&str], is_exact: bool) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut sums = [0; 4];
    for kill in 0..kills() {
        let mut process = serve(&store, flags);
        let answered = load_until(&mut process, signal, Duration::from_millis(100 + 37 * (kill % 10)));
        assert!(answered.iter().sum::<u64>() > 0);
        let db = Db::open(&store).unwrap();
        for (id, (sum, answered)) in sums.iter_mut().zip(answered).enumerate() {
            let found = db.users().get_property(&format!("u{id}"), "n").unwrap();
            let found = found.map_or(0, |value| value.as_i64().unwrap()).unsigned_abs();
            let (least, most) = (*sum + answered, *sum + answered + 20);
            assert!(
                (least..=most).contains(&found) && found.is_multiple_of(20),
                "u{id}: {found}, answered {answered} after {sum}"
            );
            assert!(!is_exact || found == least, "u{id}: {found}, answered {answered} after {sum}");
            *sum = found;
        }
        db.close().unwrap();
    }
}

#[test]
fn what_was_answered_survives_a_kill() {
    updates_survive("KILL", &["--durability", "buffered"], false);
}

#[test]
fn what_was_answered_survives_a_kill_when_synced() {
    updates_survive("KILL", &[], false);
}

/// Whatever is committed is also answered.
#[test]
fn sigterm_ends_in_time_and_leaves_nothing_unanswered() {
    updates_survive("TERM", &["--durability", "buffered"], true);
}

/// The body of an answer, or nothing if the process is killed meanwhile.
fn exchange(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let head = format!("{method} {path} HTTP/1.0\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice());
        let _ = stream.read_to_string(&mut answer);
    }
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// A process that is killed between the request of an erasure and its end: the next one completes it, under the same
/// number, and says so after further restarts.
#[test]
fn an_erasure_that_is_killed_is_completed_by_the_next_process() {
    const PATH: &str = "/api/app/data-deletions/v3.0/";
    const USERS: usize = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let ids: Vec<String> = (0..USERS).map(|n| format!("u{n:04}")).collect();
    {
        let db = Db::builder().durability(Durability::Buffered).open(&store).unwrap();
        for id in ids.iter().map(String::as_str).chain(["kept"]) {
            db.users().update(id, Update::new().set("x", 1)).unwrap();
            db.events().append(Event::new("e", id, Timestamp::from_seconds(1_700_000_000))).unwrap();
        }
        assert_eq!(db.events().seal().unwrap().events, USERS as u64 + 1);
        for id in ids.iter().map(String::as_str).chain(["kept"]) {
            db.events().append(Event::new("later", id, Timestamp::from_seconds(1_700_000_000))).unwrap();
        }
    }
    let mut process = serve(&store, &[]);
    let status = |process: &Process| -> Json {
        let text = exchange(&process.address, "GET", &format!("{PATH}1"), "");
        serde_json::from_str::<Json>(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    };
    let body = json!({"distinct_ids": ids, "compliance_type": "GDPR"}).to_string();
    std::thread::scope(|scope| {
        let address = &process.address;
        let request = scope.spawn(|| exchange(address, "POST", PATH, &body));
        while status(&process)["results"]["status"] != "PENDING" {
            std::thread::sleep(Duration::from_millis(1));
        }
        process.signal("KILL");
        assert_eq!(request.join().unwrap(), "", "it was killed before its answer");
    });
    process.ended();
    {
        let db = Db::builder().open_read_only(&store).unwrap();
        let deletion = db.deletion(1).unwrap().unwrap();
        assert_eq!((deletion.is_done, &deletion.distinct_ids), (false, &ids));
        assert!(db.users().contains("u1999").unwrap(), "it was killed before its end");
    }
    let mut process = serve(&store, &[]);
    let started = Instant::now();
    while status(&process)["results"]["status"] != "SUCCESS" {
        assert!(started.elapsed() < Duration::from_secs(60), "{}", status(&process));
        std::thread::sleep(Duration::from_millis(10));
    }
    let other: Json =
        serde_json::from_str(&exchange(&process.address, "POST", PATH, r#"{"distinct_ids":["none"]}"#)).unwrap();
    assert_eq!(other["results"]["task_id"], "2");
    for _ in 0..2 {
        process.signal("TERM");
        assert!(process.ended().success());
        {
            let db = Db::open(&store).unwrap();
            assert_eq!(db.users().iter().map(|row| row.unwrap().0).collect::<Vec<_>>(), ["kept"]);
            assert_eq!(
                db.events().iter().map(|event| event.unwrap().distinct_id().to_owned()).collect::<Vec<_>>(),
                ["kept", "kept"]
            );
        }
        process = serve(&store, &[]);
        assert_eq!(status(&process)["results"], json!({"status": "SUCCESS", "distinct_ids": ids}));
    }
    process.signal("TERM");
    assert!(process.ended().success());
}

#[test]
fn projects_of_a_file_and_of_flags() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("projects.toml");
    let text = "[[project]]\ntoken = \"one\"\nsecrets = [\"s3cret\"]\ndir = \"first\"\n";
    std::fs::write(&file, text).unwrap();
    let other = format!("token=two,dir={}", dir.path().join("second").display());
    let unused = dir.path().join("unused");
    let mut process = serve(&unused, &["--projects", file.to_str().unwrap(), "--project", &other]);
    let body =
        r#"[{"$token":"one","$distinct_id":"a","$set":{"x":1}},{"$token":"two","$distinct_id":"a","$set":{"x":2}}]"#;
    let mut stream = TcpStream::connect(&process.address).unwrap();
    write!(stream, "POST /engage HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n1"), "{answer}");
    process.signal("INT");
    assert!(process.ended().success());
    assert!(!unused.exists());
    for (name, expected) in [("first", 1), ("second", 2)] {
        let db = Db::open(dir.path().join(name)).unwrap();
        assert_eq!(db.users().get_property("a", "x").unwrap(), Some(expected.into()));
    }
}

/// The file is read anew while the server runs, and each project may have one of its own.
#[cfg(feature = "geoip")]
#[test]
fn places_of_files_that_change() {
    const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/GeoLite2-City-Test.mmdb");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("places.mmdb");
    std::fs::copy(DATA, &file).unwrap();
    let renamed = |name: &[u8; 6]| {
        let mut data = std::fs::read(DATA).unwrap();
        let found: Vec<usize> = (0..data.len()).filter(|at| data[*at..].starts_with(b"London")).collect();
        found.into_iter().for_each(|at| data[at..at + 6].copy_from_slice(name));
        data
    };
    std::fs::write(dir.path().join("own.mmdb"), renamed(b"Nodnol")).unwrap();
    let projects = dir.path().join("projects.toml");
    let text = "[[project]]\ntoken = \"one\"\ndir = \"first\"\n\
        [[project]]\ntoken = \"two\"\ndir = \"second\"\ngeoip = \"own.mmdb\"\n";
    std::fs::write(&projects, text).unwrap();
    let flags = ["--projects", projects.to_str().unwrap(), "--geoip", file.to_str().unwrap()];
    let mut process = serve(&dir.path().join("unused"), &[&flags[..], &["--trusted-proxy", "127.0.0.1"]].concat());
    let ask = |method: &str, path: &str, body: &str| {
        let mut stream = TcpStream::connect(&process.address).unwrap();
        let head =
            format!("{method} {path} HTTP/1.0\r\nx-forwarded-for: 81.2.69.160\r\ncontent-length: {}", body.len());
        write!(stream, "{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let set = |id: &str| {
        let update = |token| format!(r#"{{"$token":"{token}","$distinct_id":"{id}","$set":{{}}}}"#);
        let answer = ask("POST", "/engage", &format!("[{},{}]", update("one"), update("two")));
        assert!(answer.ends_with("\r\n\r\n1"), "{answer}");
    };
    let loads = |count: u64| {
        let started = Instant::now();
        while !ask("GET", "/metrics", "").contains(&format!("\nprofiledb_geo_loads {count}\n")) {
            assert!(started.elapsed() < Duration::from_secs(30), "the file is not read anew");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    loads(2);
    set("before");
    let next = dir.path().join("next");
    std::fs::write(&next, renamed(b"Paris!")).unwrap();
    std::fs::rename(&next, &file).unwrap();
    loads(3);
    set("after");
    process.signal("TERM");
    assert!(process.ended().success());
    for (name, before, after) in [("first", "London", "Paris!"), ("second", "Nodnol", "Nodnol")] {
        let db = Db::open(dir.path().join(name)).unwrap();
        for (id, city) in [("before", before), ("after", after)] {
            assert_eq!(db.users().get_property(id, "$city").unwrap(), Some(city.into()), "{name} {id}");
        }
    }
}

/// A wrong setting is one line, without the secret in it.
#[test]
fn wrong_settings_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("projects.toml");
    std::fs::write(&file, "[[project]]\ntoken = \"one\"\nsecret = \"hunter2\"\ndir = \"first\"\n").unwrap();
    let store = dir.path().join("store");
    for (flags, part) in [
        (&["--projects", file.to_str().unwrap()][..], "line="),
        (&["--project", "token=a"], "has a dir"),
        (&["--project", "token=a,hunter2,dir=x"], "a project is"),
        (&["--project", "token=a,password=hunter2,dir=x"], "password"),
        (&["--trusted-proxy", "10.0.0.0/99"], "10.0.0.0/99"),
        (&["--tls-cert", "no-file", "--tls-key", "no-file"], "no-file"),
        (&["--listen", "192.0.2.1:1"], "192.0.2.1:1"),
        #[cfg(feature = "geoip")]
        (&["--geoip", "no-file"], "no-file"),
        #[cfg(feature = "geoip")]
        (&["--geoip", file.to_str().unwrap()], "projects.toml"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_profiledb"))
            .args(["serve", "--db", store.to_str().unwrap()])
            .args(flags)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
