//! An HTTP server that speaks the ingestion and query protocol of Mixpanel, so that its official clients can send to a
//! store and read from it with nothing changed but the address. `docs/SERVER.md` has every path, limit and answer.
//!
//! ```text
//! connections --> routes --> ingestion --> decode, params --> records --> tally: one commit for each project
//!  deadlines,      CORS,      stubs         inflate, base64     projects,  reply: the answer after the commit
//!  tls             metrics    operations                        place
//!                         |  segment: other messages, as records
//!                         |  upload: a file of CSV, streamed
//!                         '> query, export, deletions: filters, sessions
//! ```
//!
//! A request is parsed and committed in a task of its own, which a client that leaves does not end. It is answered once
//! its commit is as durable as the project says. Nothing waits without a deadline, and nothing is kept without a limit:
//! [`ServerLimits`].
//!
//! This room is a client of the store like any other: it uses the public API only.

mod connections;
mod decode;
mod deletions;
mod export;
mod filters;
#[cfg(feature = "geoip")]
mod geoip;
mod ingestion;
mod limits;
mod metrics;
mod network;
mod operations;
mod params;
mod place;
mod projects;
mod query;
mod records;
mod refusal;
mod reply;
mod routes;
mod segment;
mod serving;
mod sessions;
mod socket;
mod stubs;
mod tally;
mod tls;
mod upload;

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "geoip")]
pub use geoip::GeoIp;
pub use limits::ServerLimits;
pub use network::Network;
pub use place::{GeoLookup, GeoStats};
pub use projects::{Project, ProjectConfig, ServiceAccount};

use axum::Router;
use projects::Projects;
use serving::Serving;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Result;

/// An HTTP server over one or more stores.
///
/// ```
/// use std::io::{Read, Write};
///
/// use profiledb::Db;
/// use profiledb::server::{Project, Server};
///
/// # let dir = tempfile::tempdir()?;
/// let db = Db::open(dir.path().join("store"))?;
/// let server = Server::builder().project(Project::new(db.clone())).build()?;
///
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
/// let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
/// let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let serving = runtime.spawn(server.serve(listener, async move { drop(stopped.await) }));
///
/// let body = r#"{"$token":"t","$distinct_id":"alice","$set":{"plan":"pro"}}"#;
/// write!(client, "POST /engage HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with("\r\n\r\n1"), "{answer}");
/// assert_eq!(db.users().get_property("alice", "plan")?, Some("pro".into()));
///
/// drop(stop);
/// runtime.block_on(serving)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    serving: Arc<Serving>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Settings for a server.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The routes alone, for a program with an HTTP server of its own. The deadlines and limits of connections are then
    /// those of that server, and the addresses of clients are not known.
    pub fn router(&self) -> Router {
        routes::router(&self.serving)
    }

    /// Serves until `shutdown` completes: then no connection is accepted any more, requests that were read are
    /// answered, and after [`shutdown_deadline`](ServerLimits::shutdown_deadline) the other connections are cut. What
    /// was submitted is committed in any case; [`Db::close`](crate::Db::close) waits for it.
    ///
    /// Deletions of users that an earlier process did not complete are completed meanwhile.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let router = self.router();
        deletions::resume(&self.serving);
        connections::serve(listener, self.tls, self.serving, router, shutdown).await;
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("limits", &self.serving.limits).finish_non_exhaustive()
    }
}

/// Settings of a [`Server`].
#[derive(Default)]
pub struct ServerBuilder {
    projects: Vec<Project>,
    limits: ServerLimits,
    proxies: Vec<Network>,
    tls: Option<TlsAcceptor>,
}

impl ServerBuilder {
    /// Adds a project. There has to be one, and several need tokens.
    #[must_use]
    pub fn project(mut self, project: Project) -> Self {
        self.projects.push(project);
        self
    }

    /// The limits. Default: those of [`ServerLimits::default`].
    #[must_use]
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a network of proxies whose `X-Forwarded-For` is believed. Default: none.
    #[must_use]
    pub fn trusted_proxy(mut self, network: Network) -> Self {
        self.proxies.push(network);
        self
    }

    /// Serves TLS only, with this chain of certificates and this key, both in PEM.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when they cannot be read or do not belong together.
    pub fn tls(mut self, certificates: &[u8], key: &[u8]) -> Result<Self> {
        self.tls = Some(tls::acceptor(certificates, key)?);
        Ok(self)
    }

    /// Makes the server.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when there is no project, or two that cannot be told apart.
    pub fn build(self) -> Result<Server> {
        let serving = Serving::new(Projects::new(self.projects)?, self.limits, self.proxies);
        Ok(Server { serving: Arc::new(serving), tls: self.tls })
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}
