//! `/engage`, `/groups`, `/track` and `/import`: a request becomes one commit, whether or not its client stays.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::decode::{Decoded, decode, inflate, is_compressed};
use super::params::Params;
use super::records::{self, WireOptions};
use super::refusal::{AnswerShape, Refusal};
use super::reply;
use super::serving::{Buffered, Peer, Serving};
use super::tally::Tally;
use crate::ingest::Endpoint;
use crate::{Error, Result};

/// Bodies up to this size are parsed on the thread that serves connections: it takes less than a millisecond.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// What a path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    Users,
    Groups,
    Tracked,
    Imported,
}

pub(super) async fn engage(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    ingest(serving, Intake::Users, request).await
}

pub(super) async fn groups(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    ingest(serving, Intake::Groups, request).await
}

pub(super) async fn track(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    ingest(serving, Intake::Tracked, request).await
}

pub(super) async fn import(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    ingest(serving, Intake::Imported, request).await
}

async fn ingest(serving: Arc<Serving>, intake: Intake, request: Request) -> Response {
    let shape = if intake == Intake::Imported { AnswerShape::Code } else { AnswerShape::Number };
    let (parts, body) = request.into_parts();
    let answer = match serving.read_body(&parts.headers, body).await {
        Ok((body, buffered)) => {
            let task = Arc::clone(&serving);
            committed(&serving, async move { answer(&task, intake, &parts, body, buffered).await }).await
        }
        Err(refusal) => Err(refusal),
    };
    answer.unwrap_or_else(|refusal| serving.refuse(refusal, shape))
}

/// A request that is counted as abandoned if it is dropped before its end.
pub(super) struct Unanswered(Option<Arc<Serving>>);

impl Unanswered {
    pub(super) fn new(serving: &Arc<Serving>) -> Self {
        Self(Some(Arc::clone(serving)))
    }

    pub(super) fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(serving) = self.0.take() {
            serving.metrics.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Runs to its end in a task of its own, even if the client leaves and this future is dropped.
pub(super) async fn committed<T: Send + 'static>(
    serving: &Arc<Serving>,
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let unanswered = Unanswered::new(serving);
    let done = tokio::spawn(work).await;
    unanswered.end();
    done.unwrap_or_else(|_| Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "panic", "the request failed")))
}

/// A request after its body.
async fn answer(
    serving: &Arc<Serving>,
    intake: Intake,
    parts: &Parts,
    body: Bytes,
    buffered: Buffered,
) -> Result<Response, Refusal> {
    let (body, buffered) = inflated(serving, &parts.headers, body, buffered).await?;
    let decoded = decode(parts.uri.query().unwrap_or_default(), &parts.headers, body);
    let Decoded { params, data, replaced } = decoded;
    serving.metrics.notes.fetch_add(replaced as u64, Ordering::Relaxed);
    let peer = parts.extensions.get::<Peer>().map(|Peer(address)| *address);
    let (endpoint, project) = match intake {
        Intake::Users => (Endpoint::Engage, None),
        Intake::Groups => (Endpoint::Groups, None),
        Intake::Tracked => (Endpoint::Any, None),
        Intake::Imported => (Endpoint::Import, Some(serving.projects.authorized(&parts.headers, &params, true)?)),
    };
    // Of /track, the parameter has no meaning.
    let strict = intake != Intake::Tracked && params.is_on("strict");
    let address = serving.client(peer, &parts.headers).filter(|_| params.get("ip").is_none() || params.is_on("ip"));
    let options = WireOptions { endpoint, strict, project, address };
    let data = match data {
        Ok(data) => data,
        Err(message) => return Ok(unreadable(serving, intake, &params, &message)),
    };
    let _turn = serving.turn_to_commit(data.len()).await?;
    let parsed = parsed(serving, intake, options, data).await;
    drop(buffered);
    let mut tally = match parsed {
        Ok(tally) => tally,
        Err(error) if error.is_limit_exceeded() => return Err(Refusal::too_large(error.message())),
        Err(error) => return Ok(unreadable(serving, intake, &params, error.message())),
    };
    tally.commit(serving).await?;
    let is_strict_import = strict && intake == Intake::Imported;
    Ok(if is_strict_import { reply::of_import(&tally) } else { reply::of_tally(&params, &tally) })
}

/// Decompresses a body, on another thread: a small one may become a large one.
pub(super) async fn inflated(
    serving: &Serving,
    headers: &HeaderMap,
    body: Bytes,
    mut buffered: Buffered,
) -> Result<(Bytes, Buffered), Refusal> {
    let bytes_max = serving.limits.inflated_bytes_max;
    if !is_compressed(headers, &body) {
        return inflate(headers, body, bytes_max, |_| Ok(())).map(|body| (body, buffered));
    }
    let headers = headers.clone();
    blocking(move || {
        let body = inflate(&headers, body, bytes_max, |bytes| buffered.grow(bytes))?;
        Ok((body, buffered))
    })
    .await?
}

async fn parsed(serving: &Arc<Serving>, intake: Intake, options: WireOptions, data: Bytes) -> Result<Tally> {
    let parse = match intake {
        Intake::Users | Intake::Groups => records::updates,
        Intake::Tracked | Intake::Imported => records::events,
    };
    if data.len() <= INLINE_BYTES_MAX {
        return parse(serving, options, &data);
    }
    let serving = Arc::clone(serving);
    let done = blocking(move || parse(&serving, options, &data)).await;
    done.unwrap_or_else(|refusal| Err(Error::invalid(refusal.message)))
}

/// Runs what takes long, or blocks, on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "panic", "the request failed");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// The answer to a body of which nothing can be read. It is no error of HTTP, so that clients read the answer.
fn unreadable(serving: &Serving, intake: Intake, params: &Params, message: &str) -> Response {
    serving.metrics.refused("unreadable");
    if intake == Intake::Imported && params.is_on("strict") {
        return Refusal::bad_request(message).into_response(AnswerShape::Code);
    }
    reply::of_error(params, message)
}
