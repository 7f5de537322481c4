//! Queries of profiles: `/api/query/engage` and `/api/2.0/engage`, page by page, `/api/2.0/engage/properties`, and the
//! group keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinHandle;

use super::decode::decode;
use super::filters::{Filters, PAGE_SIZE_MAX, ProfileQuery, group_number, named_params};
use super::ingestion::{blocking, inflated};
use super::params::Params;
use super::refusal::{AnswerShape, Refusal, json_response};
use super::serving::Serving;
use super::sessions::{Pages, Session, SessionRef};
use super::socket::ClientSocket;
use crate::join::CancelToken;
use crate::{Profile, Snapshot, Timestamp, Value};

/// A page of an answer, with its keys in the order of the documentation.
#[derive(Serialize)]
struct Page {
    page: usize,
    page_size: usize,
    results: Vec<ProfileRow>,
    session_id: String,
    status: &'static str,
    total: usize,
}

/// A profile in an answer. That of a group has its id under the same name.
#[derive(Serialize)]
struct ProfileRow {
    #[serde(rename = "$distinct_id")]
    id: String,
    #[serde(rename = "$properties")]
    profile: Profile,
}

pub(super) async fn engage(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    answer(serving, request, page).await
}

pub(super) async fn properties(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    answer(serving, request, names).await
}

pub(super) async fn data_groups(
    State(serving): State<Arc<Serving>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    answer(serving, request, move |serving, project, _, _| {
        let Some(project) = serving.projects.get(project) else { return Err(Refusal::unauthorized()) };
        // A project without a number of its own goes by any.
        if project.number().is_some_and(|own| own.to_string() != id) {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("no such project id={id:?}")));
        }
        let kinds = project.db.kinds();
        let group = |key: &str| json!({"data_group_id": group_number(key), "display_name": key, "property_name": key});
        let results: Vec<_> = kinds.iter().filter_map(|kind| kind.group_key().map(group)).collect();
        Ok(json_response(StatusCode::OK, &json!({"results": results, "status": "ok"})))
    })
    .await
}

/// Cancels a query whose client leaves, and one that nothing waits for any more, because the watch was dropped.
pub(super) struct Watch {
    token: CancelToken,
    task: JoinHandle<()>,
}

impl Watch {
    /// Without a socket, as in a server of another program, only the drop is seen.
    pub(super) fn new(serving: &Arc<Serving>, socket: Option<ClientSocket>, token: CancelToken) -> Self {
        let (serving, cancelled) = (Arc::clone(serving), token.clone());
        let task = tokio::spawn(async move {
            let Some(socket) = socket else { return };
            socket.left().await;
            cancelled.cancel();
            serving.metrics.refused("client");
            serving.metrics.abandoned.fetch_add(1, Ordering::Relaxed);
        });
        Self { token, task }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
        self.token.cancel();
    }
}

/// The parameters of a request, by name.
type QueryParams = Vec<(String, String)>;

/// Runs a query of a project that the credentials give access to, on a thread for that, until its client leaves.
async fn answer(
    serving: Arc<Serving>,
    request: Request,
    work: impl FnOnce(&Arc<Serving>, usize, QueryParams, &CancelToken) -> Result<Response, Refusal> + Send + 'static,
) -> Response {
    let answer = async {
        let socket = request.extensions().get::<ClientSocket>().cloned();
        let (project, named) = authorized(&serving, request).await?;
        let turn = serving.turn_to_query().await?;
        let task = Arc::clone(&serving);
        let token = CancelToken::new();
        let _watch = Watch::new(&serving, socket, token.clone());
        // The turn is held to the end of the work, also if the client leaves before.
        let work = move || {
            let answer = work(&task, project, named, &token);
            drop(turn);
            answer
        };
        blocking(work).await?
    };
    answer.await.unwrap_or_else(|refusal| serving.refuse(refusal, AnswerShape::Word))
}

/// The project that a request has access to, and its parameters.
pub(super) async fn authorized(
    serving: &Arc<Serving>,
    request: Request,
) -> Result<(usize, Vec<(String, String)>), Refusal> {
    let (parts, body) = request.into_parts();
    let (body, buffered) = serving.read_body(&parts.headers, body).await?;
    let (body, _buffered) = inflated(serving, &parts.headers, body, buffered).await?;
    let decoded = decode(parts.uri.query().unwrap_or_default(), &parts.headers, body);
    let params: &Params = &decoded.params;
    let project = serving.projects.authorized(&parts.headers, params, false)?;
    let data = decoded.data.map_err(Refusal::bad_request)?;
    Ok((project, named_params(params, &data)?))
}

fn page(serving: &Arc<Serving>, project: usize, named: QueryParams, token: &CancelToken) -> Result<Response, Refusal> {
    let Some(db) = serving.projects.get(project).map(|project| &project.db) else {
        return Err(Refusal::unauthorized());
    };
    let query = ProfileQuery::of(db, named)?;
    let limits = &serving.limits;
    let found = query.session.as_deref().map(|id| serving.sessions.find(id, limits.session_lifetime)).transpose()?;
    let (session, session_id) = match (found, query.session) {
        (Some(SessionRef::Held(session)), Some(id)) if session.project == project => {
            if query.is_filtered && session.filters != query.filters {
                return Err(Refusal::bad_request("the filters are not those of the session"));
            }
            (session, id)
        }
        (Some(SessionRef::Held(_)), _) => return Err(Refusal::bad_request("the session is of another project")),
        (Some(SessionRef::Complete { total, page_size }), Some(session_id)) if query.page > 0 => {
            let (page, results) = (query.page, Vec::new());
            let page = Page { page, page_size, results, session_id, status: "ok", total };
            return Ok(json_response(StatusCode::OK, &page));
        }
        (None, _) if query.page > 0 => return Err(Refusal::bad_request("page > 0 needs the session_id of page 0")),
        _ => {
            let page_size = query.page_size.unwrap_or(PAGE_SIZE_MAX);
            let session = begin(project, query.filters, query.output.clone(), db.snapshot(), page_size, token)?;
            let session = Arc::new(session);
            let id = serving.sessions.hold(&session, limits.sessions_max, limits.session_lifetime)?;
            (session, id)
        }
    };
    if query.page_size.is_some_and(|page_size| page_size != session.page_size) {
        return Err(Refusal::bad_request(format!(
            "the page_size is that of the session page_size={}",
            session.page_size
        )));
    }
    let output = query.output.as_ref().or(session.output.as_ref());
    let results = rows(&session, query.page, output, token)?;
    let (page_size, total) = (session.page_size, session.total);
    let page = Page { page: query.page, page_size, results, session_id, status: "ok", total };
    Ok(json_response(StatusCode::OK, &page))
}

/// A scan of the profiles that pass a filter.
fn scan(snapshot: &Snapshot, filters: &Filters, token: &CancelToken) -> crate::ProfileScan {
    let scan = snapshot.table(&filters.kind).scan().cancel(token);
    match &filters.expr {
        Some(expr) => scan.filter(expr.clone()),
        None => scan,
    }
}

/// Finds where the pages of a query begin.
fn begin(
    project: usize,
    filters: Filters,
    output: Option<Vec<String>>,
    snapshot: Snapshot,
    page_size: usize,
    token: &CancelToken,
) -> Result<Session, Refusal> {
    let none: [&str; 0] = [];
    let ids = scan(&snapshot, &filters, token).select(none);
    let mut total = 0_usize;
    let pages = if let Some(requested) = &filters.ids {
        let mut found = Vec::new();
        for id in requested {
            for row in &ids.clone().range(id.as_str()..=id.as_str()) {
                found.push(row.map_err(|error| Refusal::of_store(&error))?.0);
            }
        }
        total = found.len();
        Pages::Ids(found)
    } else {
        let pages = PAGE_SIZE_MAX.div_ceil(page_size);
        let mut starts = Vec::new();
        for row in &ids {
            let (id, _) = row.map_err(|error| Refusal::of_store(&error))?;
            if total.is_multiple_of(page_size * pages) {
                starts.push(id);
            }
            total += 1;
        }
        Pages::Starts { ids: starts, pages }
    };
    Ok(Session { project, filters, output, snapshot, pages, total, page_size })
}

/// The rows of a page. Past the end there are none.
fn rows(
    session: &Session,
    page: usize,
    output: Option<&Vec<String>>,
    token: &CancelToken,
) -> Result<Vec<ProfileRow>, Refusal> {
    let mut scan = scan(&session.snapshot, &session.filters, token);
    if let Some(names) = output {
        scan = scan.select(names);
    }
    let of_page: Vec<_> = match &session.pages {
        Pages::Starts { ids, pages } => {
            let Some(start) = ids.get(page / pages) else { return Ok(Vec::new()) };
            let skipped = (page % pages).saturating_mul(session.page_size);
            scan.range(start.as_str()..).iter().skip(skipped).take(session.page_size).collect()
        }
        Pages::Ids(ids) => {
            let of_page = ids.iter().skip(page.saturating_mul(session.page_size)).take(session.page_size);
            of_page.flat_map(|id| scan.clone().range(id.as_str()..=id.as_str()).iter()).collect()
        }
    };
    let rows = of_page.into_iter().map(|row| match row {
        Ok((id, profile)) => Ok(ProfileRow { id, profile }),
        Err(error) => Err(Refusal::of_store(&error)),
    });
    rows.collect()
}

/// How often a property occurs, and as what.
#[derive(Default)]
struct Occurrences(BTreeMap<&'static str, u64>);

impl Occurrences {
    fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The most frequent type.
    fn type_name(&self) -> &'static str {
        self.0.iter().max_by_key(|(_, count)| **count).map_or("string", |(name, _)| name)
    }
}

/// The properties of all profiles, with their types.
fn names(serving: &Arc<Serving>, project: usize, named: QueryParams, token: &CancelToken) -> Result<Response, Refusal> {
    let Some(db) = serving.projects.get(project).map(|project| &project.db) else {
        return Err(Refusal::unauthorized());
    };
    let query = ProfileQuery::of(db, named)?;
    if query.filters.ids.is_some() || query.output.is_some() || query.session.is_some() {
        return Err(Refusal::bad_request("the names are those of all profiles, or of those of a filter"));
    }
    let mut known: BTreeMap<String, Occurrences> = BTreeMap::new();
    let mut count = |name: &str, type_name| {
        if !known.contains_key(name) {
            known.insert(name.to_owned(), Occurrences::default());
        }
        if let Some(occurrences) = known.get_mut(name) {
            *occurrences.0.entry(type_name).or_default() += 1;
        }
    };
    for row in &scan(&db.snapshot(), &query.filters, token) {
        let (_, profile) = row.map_err(|error| Refusal::of_store(&error))?;
        profile.last_seen().iter().for_each(|_| count("$last_seen", "datetime"));
        for (name, value) in profile.properties() {
            type_of(value).into_iter().for_each(|type_name| count(name, type_name));
        }
    }
    let mut found: Vec<_> = known.into_iter().collect();
    // The most frequent ones. The sort is stable.
    found.sort_by_key(|(_, occurrences)| std::cmp::Reverse(occurrences.count()));
    found.truncate(query.limit.unwrap_or(usize::MAX));
    let of = |occurrences: &Occurrences| json!({"count": occurrences.count(), "type": occurrences.type_name()});
    let results: BTreeMap<_, _> = found.iter().map(|(name, occurrences)| (name, of(occurrences))).collect();
    Ok(json_response(StatusCode::OK, &json!({"results": results, "status": "ok"})))
}

/// The type of a value in reports. Null is none.
fn type_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("boolean"),
        Value::Number(_) => Some("number"),
        Value::String(text) if text.starts_with(|c: char| c.is_ascii_digit()) && Timestamp::parse(text).is_ok() => {
            Some("datetime")
        }
        Value::String(_) => Some("string"),
        Value::List(_) => Some("list"),
        Value::Object(_) => Some("object"),
    }
}
