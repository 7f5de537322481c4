//! What the handlers of a server share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::limits::ServerLimits;
use super::metrics::Metrics;
use super::network::Network;
use super::place::read_address;
use super::projects::Projects;
use super::refusal::{AnswerShape, Refusal};
use super::sessions::Sessions;

/// The state of a server.
pub(super) struct Serving {
    pub(super) projects: Projects,
    pub(super) limits: ServerLimits,
    pub(super) metrics: Metrics,
    pub(super) proxies: Vec<Network>,
    pub(super) sessions: Sessions,
    /// In bytes.
    uncommitted: Semaphore,
    queries: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

/// The address of the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

impl Serving {
    pub(super) fn new(projects: Projects, limits: ServerLimits, proxies: Vec<Network>) -> Self {
        let uncommitted = Semaphore::new(permits(limits.uncommitted_bytes_max) as usize);
        let turns = |most: usize| Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        let (queries, uploads) = (turns(limits.queries_max), turns(limits.csv_uploads_max));
        Self {
            projects,
            metrics: Metrics::default(),
            proxies,
            sessions: Sessions::default(),
            uncommitted,
            queries,
            uploads,
            limits,
        }
    }

    /// Waits until this much of a body may be parsed and committed.
    pub(super) async fn turn_to_commit(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let weight = permits(bytes.min(self.limits.uncommitted_bytes_max));
        acquire(&self.uncommitted, weight, self.limits.work_deadline).await
    }

    /// Waits until a query may run. It may outlive the request.
    pub(super) async fn turn_to_query(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.turn(&self.queries).await
    }

    /// Waits until a CSV file may be received.
    pub(super) async fn turn_to_upload(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.turn(&self.uploads).await
    }

    async fn turn(&self, turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
        let deadline = self.limits.work_deadline;
        let acquired = timeout(deadline, Arc::clone(turns).acquire_owned()).await;
        // It is never closed.
        acquired.ok().and_then(Result::ok).ok_or_else(|| busy(deadline))
    }

    /// The CSV files that are being received or committed.
    pub(super) fn uploads_open(&self) -> u64 {
        let all = self.limits.csv_uploads_max.clamp(1, Semaphore::MAX_PERMITS);
        all.saturating_sub(self.uploads.available_permits()) as u64
    }

    /// The bytes that are being parsed and committed.
    pub(super) fn uncommitted_bytes(&self) -> u64 {
        let all = permits(self.limits.uncommitted_bytes_max) as usize;
        all.saturating_sub(self.uncommitted.available_permits()) as u64
    }

    /// Reads a body, as it is sent.
    pub(super) async fn read_body(
        self: &Arc<Self>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, Buffered), Refusal> {
        let bytes_max = self.limits.body_bytes_max;
        let too_large = || Refusal::too_large(format!("request exceeds max limit of {bytes_max} bytes"));
        let is_long = body.size_hint().lower() > bytes_max as u64;
        if is_long && headers.contains_key(header::EXPECT) {
            return Err(too_large().cut());
        }
        let deadline = self.limits.body_deadline;
        let mut buffered = Buffered { serving: Arc::clone(self), bytes: 0 };
        match timeout(deadline, self.collect(body, is_long, &mut buffered)).await {
            Ok(Ok(Some(bytes))) => Ok((bytes, buffered)),
            Ok(Ok(None)) => Err(too_large()),
            Ok(Err(refusal)) => Err(refusal.cut()),
            Err(_) => {
                self.metrics.cut("body_deadline");
                let message = format!("the body took longer than {} s", deadline.as_secs());
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_deadline", message).cut())
            }
        }
    }

    /// The body; None if it is too long and was read to its end all the same.
    async fn collect(
        &self,
        mut body: Body,
        mut is_long: bool,
        buffered: &mut Buffered,
    ) -> Result<Option<Bytes>, Refusal> {
        let bytes_max = self.limits.body_bytes_max;
        let (mut first, mut rest, mut length) = (Bytes::new(), Vec::new(), 0_usize);
        while let Some(frame) = body.frame().await {
            // What is wrong is the framing of HTTP, or that the client left.
            let frame = frame.map_err(|error| Refusal::bad_request(format!("the body cannot be read: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            length = length.saturating_add(data.len());
            if length > bytes_max {
                (is_long, first, rest) = (true, Bytes::new(), Vec::new());
                buffered.release();
            }
            if is_long {
                if length > self.limits.drained_bytes_max() {
                    return Err(Refusal::too_large(format!("request exceeds max limit of {bytes_max} bytes")));
                }
                continue;
            }
            buffered.grow(data.len())?;
            if first.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&data);
            }
        }
        let whole = if rest.is_empty() { first } else { rest.into() };
        Ok(Some(whole).filter(|_| !is_long))
    }

    /// Counts a refusal, and answers with it.
    pub(super) fn refuse(&self, refusal: Refusal, shape: AnswerShape) -> Response {
        self.metrics.refused(refusal.reason);
        refusal.into_response(shape)
    }

    /// The address of the client: the last one in `X-Forwarded-For` that is no trusted proxy, if the peer is one.
    pub(super) fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let is_trusted = |address: &IpAddr| self.proxies.iter().any(|network| network.contains(*address));
        let mut client = peer?;
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in hops.iter().rev() {
            if !is_trusted(&client) {
                break;
            }
            // What is no address is not made up.
            client = read_address(hop)?;
        }
        Some(client)
    }
}

/// Bytes as permits of a semaphore.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, 1 << 30)
}

async fn acquire(semaphore: &Semaphore, weight: u32, deadline: Duration) -> Result<SemaphorePermit<'_>, Refusal> {
    let acquired = timeout(deadline, semaphore.acquire_many(weight)).await;
    // It is never closed.
    acquired.ok().and_then(Result::ok).ok_or_else(|| busy(deadline))
}

fn busy(deadline: Duration) -> Refusal {
    Refusal::busy(format!("the server was busy for {} s", deadline.as_secs()))
}

/// The part of the bytes of all bodies that one of them has.
pub(super) struct Buffered {
    serving: Arc<Serving>,
    bytes: usize,
}

impl Buffered {
    /// Takes more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let (metrics, bytes_max) = (&self.serving.metrics, self.serving.limits.buffered_bytes_max);
        let more = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = metrics.buffered_bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(more) > i64::try_from(bytes_max).unwrap_or(i64::MAX) {
            let message = format!("the bodies of all requests have more than {bytes_max} bytes");
            return Err(Refusal::busy(message).because("buffered_bytes"));
        }
        Ok(())
    }

    fn release(&mut self) {
        let bytes = i64::try_from(std::mem::take(&mut self.bytes)).unwrap_or(i64::MAX);
        self.serving.metrics.buffered_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.release();
    }
}
