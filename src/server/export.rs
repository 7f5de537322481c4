//! `/api/2.0/export`: the events of some days, as lines of JSON, streamed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::Frame;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::filters::texts_of;
use super::query::{Watch, authorized};
use super::refusal::{AnswerShape, Refusal};
use super::serving::Serving;
use super::socket::ClientSocket;
use crate::expr::{Place, Reference, Scope};
use crate::join::CancelToken;
use crate::{Event, EventView, Expr, Result, Timestamp, Value};

/// How much is sent at a time, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

const DAY_SECONDS: i64 = 86_400;

/// Which events are exported.
#[derive(Debug)]
struct ExportQuery {
    from: Timestamp,
    /// Excluded.
    end: Timestamp,
    names: Option<BTreeSet<String>>,
    filter: Option<Expr>,
    limit: usize,
}

impl ExportQuery {
    fn of(named: Vec<(String, String)>) -> Result<Self, Refusal> {
        let (mut from, mut to, mut names, mut filter, mut limit) = (None, None, None, None, usize::MAX);
        for (name, value) in named {
            match &*name {
                "from_date" => from = Some(day_of(&name, &value)?),
                "to_date" => to = Some(day_of(&name, &value)?),
                "event" => names = Some(texts_of(&name, &value)?.into_iter().collect()),
                "where" => filter = Some(filter_of(&value)?),
                "limit" => {
                    let invalid = |_| Refusal::bad_request(format!("limit is a number value={value:?}"));
                    limit = value.trim().parse().map_err(invalid)?;
                }
                "project_id" | "workspace_id" | "api_key" | "api_secret" | "expire" | "sig" | "format" | "verbose" => {}
                _ => return Err(Refusal::bad_request(format!("the parameter is not known parameter={name:?}"))),
            }
        }
        let (Some(from), Some(to)) = (from, to) else {
            return Err(Refusal::bad_request("an export has a from_date and a to_date"));
        };
        Ok(Self { from, end: Timestamp::from_seconds(to.seconds().saturating_add(DAY_SECONDS)), names, filter, limit })
    }

    fn keeps(&self, event: &Event) -> Result<bool> {
        let is_named = self.names.as_ref().is_none_or(|names| names.contains(event.name()));
        let passes = |filter: &Expr| filter.is_true(&ExportScope(event));
        Ok(is_named && self.filter.as_ref().map_or(Ok(true), passes)?)
    }
}

/// A day in UTC.
fn day_of(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    let day = Timestamp::parse(text).ok().filter(|_| text.len() == "2024-01-02".len());
    day.ok_or_else(|| Refusal::bad_request(format!("{name} has the form YYYY-MM-DD value={text:?}")))
}

fn filter_of(text: &str) -> Result<Expr, Refusal> {
    let expr = Expr::parse(text).map_err(|error| Refusal::bad_request(format!("where: {}", error.message())))?;
    match expr.references().iter().find(|reference| reference.place != Place::Properties) {
        Some(reference) => {
            Err(Refusal::bad_request(format!("where: an event has only properties reference={reference}")))
        }
        None => Ok(expr),
    }
}

/// An event as a row of an expression.
struct ExportScope<'e>(&'e Event);

impl Scope for ExportScope<'_> {
    fn value(&self, _: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
        let event = self.0;
        Ok(match &*reference.name {
            "distinct_id" => Some(Cow::Owned(event.distinct_id().into())),
            "$insert_id" => event.insert_id().map(|id| Cow::Owned(id.into())),
            "time" => Some(Cow::Owned(event.time().seconds().into())),
            name => event.get(name).map(Cow::Borrowed),
        })
    }
}

/// An event as a line, with its time in whole seconds.
struct ExportedEvent<'e>(&'e Event);

struct ExportedProperties<'e>(&'e Event);

impl Serialize for ExportedEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("event", self.0.name())?;
        map.serialize_entry("properties", &ExportedProperties(self.0))?;
        map.end()
    }
}

impl Serialize for ExportedProperties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &self.0.time().seconds())?;
        map.serialize_entry("distinct_id", self.0.distinct_id())?;
        self.0.insert_id().iter().try_for_each(|id| map.serialize_entry("$insert_id", id))?;
        self.0.properties().iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

pub(super) async fn export(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    match begin(&serving, request).await {
        Ok(response) => response,
        Err(refusal) => serving.refuse(refusal, AnswerShape::Word),
    }
}

async fn begin(serving: &Arc<Serving>, request: Request) -> Result<Response, Refusal> {
    let socket = request.extensions().get::<ClientSocket>().cloned();
    let (project, named) = authorized(serving, request).await?;
    let query = ExportQuery::of(named)?;
    let Some(project) = serving.projects.get(project) else { return Err(Refusal::unauthorized()) };
    let turn = serving.turn_to_query().await?;
    let view = project.db.events().view();
    let (to, from) = channel(2);
    let token = CancelToken::new();
    let chunks = Chunks { from, _watch: Watch::new(serving, socket, token.clone()) };
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write(&view, &query, &to, &token) {
            tracing::warn!(%error, "an export ended early");
            // The answer has begun: that it is cut is all that can be said.
            drop(to.blocking_send(Err(io::Error::other(error))));
        }
        drop(turn);
    });
    let mut response = Response::new(Body::new(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

type ExportChunk = io::Result<Bytes>;

/// Sends lines, until their end or until the client has left.
fn write(view: &EventView, query: &ExportQuery, to: &Sender<ExportChunk>, token: &CancelToken) -> Result<()> {
    let mut lines = Vec::with_capacity(CHUNK_BYTES * 2);
    let mut count = 0;
    for (read, event) in view.range(query.from..query.end).enumerate() {
        let event = event?;
        // A filter may drop all of them.
        if read.is_multiple_of(1_000) && token.is_cancelled() {
            return Ok(());
        }
        if count >= query.limit {
            break;
        }
        if !query.keeps(&event)? {
            continue;
        }
        count += 1;
        let invalid = |error| crate::Error::invalid(format!("an event cannot be written: {error}"));
        serde_json::to_writer(&mut lines, &ExportedEvent(&event)).map_err(invalid)?;
        lines.push(b'\n');
        if lines.len() >= CHUNK_BYTES && to.blocking_send(Ok(std::mem::take(&mut lines).into())).is_err() {
            return Ok(());
        }
    }
    if !lines.is_empty() {
        // The client may have left.
        drop(to.blocking_send(Ok(lines.into())));
    }
    Ok(())
}

/// A body that another thread writes.
struct Chunks {
    from: Receiver<ExportChunk>,
    _watch: Watch,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.from.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}
