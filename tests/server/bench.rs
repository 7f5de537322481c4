//! A server in this process on a port of its own, and a plain client over a socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use profiledb::server::{Project, Server, ServerBuilder};
use profiledb::{Db, Durability, Kind, Timestamp};
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::sync::oneshot::{Sender, channel};

/// What the clock of the store says: 2024-01-02T10:00:00.
pub(crate) const NOW: i64 = 1_704_189_600;

pub(crate) struct TestServer {
    pub(crate) db: Db,
    pub(crate) address: SocketAddr,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::with(|server| server)
    }

    /// With settings.
    pub(crate) fn with(settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        Self::of(|db| settings(Server::builder().project(Project::new(db).durability(Durability::Buffered))))
    }

    /// Of whatever projects.
    pub(crate) fn of(server: impl FnOnce(Db) -> ServerBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir.path().join("store"));
        let server = server(db.clone()).build().unwrap();
        let (stop, stopped) = channel();
        let (to, from) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                to.send(listener.local_addr().unwrap()).unwrap();
                server.serve(listener, async move { drop(stopped.await) }).await;
            });
        });
        Self { db, address: from.recv().unwrap(), stop: Some(stop), thread: Some(thread), dir }
    }

    pub(crate) fn store_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    /// Ends the server as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes as they are, and reads until the server ends the connection.
    pub(crate) fn raw(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Reply::parse(&answer)
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        self.raw([request.as_bytes(), body].concat())
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], "")
    }

    /// With the content type of a form.
    pub(crate) fn form(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.request("POST", path, &[("content-type", "application/x-www-form-urlencoded")], body)
    }

    pub(crate) fn json(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.request("POST", path, &[("content-type", "application/json")], body)
    }

    /// The properties of a user without `$last_seen`; null if there is no profile.
    pub(crate) fn user(&self, id: &str) -> Json {
        self.profile(&Kind::User, id)
    }

    pub(crate) fn group(&self, key: &str, id: &str) -> Json {
        self.profile(&Kind::group(key).unwrap(), id)
    }

    fn profile(&self, kind: &Kind, id: &str) -> Json {
        let mut profile = serde_json::to_value(self.db.table(kind).get(id).unwrap()).unwrap();
        if let Json::Object(object) = &mut profile {
            object.remove("$last_seen");
        }
        profile
    }

    /// A figure of /metrics; 0 if it is not there.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let text = self.get("/metrics").text();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')).unwrap_or("0");
        value.parse().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn open(dir: &std::path::Path) -> Db {
    let settings = Db::builder().durability(Durability::Buffered).block_cache_bytes(8 << 20);
    settings.clock(|| Timestamp::from_seconds(NOW)).open(dir).unwrap()
}

/// An answer, as it was sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn parse(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(answer)));
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        if head.starts_with("HTTP/1.1 100") {
            return Self::parse(&answer[end + 4..]);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Self { status, head, body: answer[end + 4..].to_vec() };
        if reply.header("transfer-encoding").as_deref() == Some("chunked") {
            reply.body = unchunked(&reply.body);
        }
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn value(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body, of an answer with this status.
    #[track_caller]
    pub(crate) fn with(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{} {}", self.head, self.text());
        self.text()
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..][..size]);
        body = &body[end + 2 + size + 2..];
    }
}

pub(crate) fn base64(text: impl AsRef<[u8]>) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(crate) fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
