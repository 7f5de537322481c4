//! The arguments of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as Flags, ValueEnum};

/// Serve HTTP for the official clients of Mixpanel: ingestion, queries and exports. docs/SERVER.md has all paths.
///
/// Without --project and --projects, the store of --db is the only project: any token names it, and anyone who can
/// connect may read it. SIGTERM and Ctrl-C end it once what was received is committed and answered.
#[derive(Debug, Flags)]
pub(crate) struct ServeArgs {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// A project: token=..,id=..,secret=..,account=USER:SECRET,dir=..,geoip=FILE [can be repeated]. Others can see the
    /// arguments of a process: secrets are better kept in a file of --projects.
    #[arg(long, value_name = "PARTS")]
    pub(crate) project: Vec<String>,
    /// A TOML file of projects. Their directories are relative to its own.
    #[arg(long, value_name = "FILE")]
    pub(crate) projects: Option<PathBuf>,
    /// What an answer promises: that the records survive power loss, or only a crash of the process.
    #[arg(long, value_enum, default_value = "synced")]
    pub(crate) durability: DurabilityName,
    /// With how many events that are rows a store seals them in the background, so that joins are fast. 0: never.
    /// Default: 65536, and fewer when none came for a minute.
    #[arg(long, value_name = "EVENTS")]
    pub(crate) seal_after: Option<u64>,
    /// The certificate in PEM, with its chain. Serves TLS only.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// An address or a network of proxies whose X-Forwarded-For is believed [can be repeated].
    #[arg(long, value_name = "NETWORK")]
    pub(crate) trusted_proxy: Vec<String>,
    /// A database of places in the MaxMind DB format, as GeoLite2-City.mmdb, for the projects that name none of their
    /// own. It is read anew when it changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) geoip: Option<PathBuf>,
    /// What is logged on the standard error. "debug" is a line for each request, without its payload.
    #[arg(long, value_enum, default_value = "info")]
    pub(crate) log: LogLevel,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DurabilityName {
    Synced,
    Buffered,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The limits and deadlines, whose defaults are in docs/SERVER.md.
#[derive(Debug, Flags)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Bytes of a body as it is sent.
    #[arg(long, value_name = "BYTES")]
    pub(crate) body_bytes_max: Option<usize>,
    /// Bytes of a body after decompression.
    #[arg(long, value_name = "BYTES")]
    pub(crate) inflated_bytes_max: Option<usize>,
    /// Bytes of a CSV upload, as it is sent and after decompression.
    #[arg(long, value_name = "BYTES")]
    pub(crate) csv_bytes_max: Option<usize>,
    /// The longest that a CSV upload takes.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) csv_deadline: Option<u64>,
    /// CSV uploads at once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) csv_uploads_max: Option<usize>,
    /// Bytes of all bodies that are being received, decompressed or parsed.
    #[arg(long, value_name = "BYTES")]
    pub(crate) buffered_bytes_max: Option<usize>,
    /// Bytes of all bodies that are being parsed and committed.
    #[arg(long, value_name = "BYTES")]
    pub(crate) uncommitted_bytes_max: Option<usize>,
    /// Bytes of a head, with the URL.
    #[arg(long, value_name = "BYTES")]
    pub(crate) head_bytes_max: Option<usize>,
    /// Connections at once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) connections_max: Option<usize>,
    /// The longest that a connection is silent, and that a head takes.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) head_deadline: Option<u64>,
    /// The longest that a body takes, and that a CSV upload is silent.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) body_deadline: Option<u64>,
    /// The longest that a client takes nothing of its answer.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) write_deadline: Option<u64>,
    /// The longest that a request waits for its turn, or for its commit.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) work_deadline: Option<u64>,
    /// The longest that connections go on after a signal.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) shutdown_deadline: Option<u64>,
    /// Queries at once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) queries_max: Option<usize>,
    /// Queries that are held for their further pages.
    #[arg(long, value_name = "COUNT")]
    pub(crate) sessions_max: Option<usize>,
    /// How long a query is held for its next page.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) session_lifetime: Option<u64>,
}
