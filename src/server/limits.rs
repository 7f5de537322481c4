//! Limits and deadlines of the server: every bound in one place, with its unit.

use std::time::Duration;

/// What a client may cost. Every one has a flag of `profiledb serve`, and shows in `/metrics` when it is reached;
/// `docs/SERVER.md` says what is answered then.
///
/// ```
/// use profiledb::server::ServerLimits;
///
/// let mut limits = ServerLimits::default();
/// assert_eq!(limits.body_bytes_max, 16 << 20);
/// limits.connections_max = 100;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Bytes of a body as it is sent. Default: 16 MiB.
    pub body_bytes_max: usize,
    /// Bytes of a body after decompression. Default: 32 MiB.
    pub inflated_bytes_max: usize,
    /// Bytes of a CSV upload, as it is sent and after decompression. Default: 1 GiB.
    pub csv_bytes_max: usize,
    /// From the head of a CSV upload to the end of its body. Default: 10 minutes.
    pub csv_deadline: Duration,
    /// CSV uploads at once. Each holds at most some 4 MiB, and a row. Default: 4.
    pub csv_uploads_max: usize,
    /// Bytes of all bodies together that are being received, decompressed or parsed. Default: 256 MiB.
    pub buffered_bytes_max: usize,
    /// Bytes of all bodies together that are being parsed and committed, decompressed. More wait. One body is never
    /// more than all of it. Default: 16 MiB, as much as the queue of the store.
    pub uncommitted_bytes_max: usize,
    /// Bytes of a head, the URL included. At least 8 KiB. Default: 64 KiB.
    pub head_bytes_max: usize,
    /// Connections at once. Default: 16,384.
    pub connections_max: usize,
    /// From the first byte that is expected to the end of a head, and of a TLS handshake: the longest that a connection
    /// is silent. Default: 30 s.
    pub head_deadline: Duration,
    /// From the head to the end of a body; of a CSV upload, the longest that nothing of it arrives. Default: 60 s.
    pub body_deadline: Duration,
    /// The longest that a client does not take any byte of its answer. Default: 30 s.
    pub write_deadline: Duration,
    /// The longest that a request waits to be parsed and committed, or for its turn to query. Default: 30 s.
    pub work_deadline: Duration,
    /// From the signal to the end of all connections. Default: 8 s.
    pub shutdown_deadline: Duration,
    /// Queries, exports and deletions that run at once. Default: 4.
    pub queries_max: usize,
    /// Queries whose further pages can be requested, each of which holds a snapshot. Default: 64.
    pub sessions_max: usize,
    /// The longest between two pages of a query. Default: 10 minutes.
    pub session_lifetime: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 << 20,
            inflated_bytes_max: 32 << 20,
            csv_bytes_max: 1 << 30,
            csv_deadline: Duration::from_secs(600),
            csv_uploads_max: 4,
            buffered_bytes_max: 256 << 20,
            uncommitted_bytes_max: 16 << 20,
            head_bytes_max: 64 << 10,
            connections_max: 16_384,
            head_deadline: Duration::from_secs(30),
            body_deadline: Duration::from_secs(60),
            write_deadline: Duration::from_secs(30),
            work_deadline: Duration::from_secs(30),
            shutdown_deadline: Duration::from_secs(8),
            queries_max: 4,
            sessions_max: 64,
            session_lifetime: Duration::from_secs(600),
        }
    }
}

impl ServerLimits {
    /// How much of a body that is too long is read on, so that the client gets to read the answer, in bytes.
    pub(super) fn drained_bytes_max(&self) -> usize {
        self.body_bytes_max.saturating_mul(4)
    }
}
