//! The paths of the server, and what surrounds every handler: CORS, metrics and the line in the log.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, get, on, post};
use tokio::time::Instant;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::deletions;
use super::export;
use super::ingestion;
use super::operations;
use super::query;
use super::refusal::{AnswerShape, Refusal};
use super::segment;
use super::serving::{Peer, Serving};
use super::stubs;
use super::upload;

/// All routes, with and without a slash at the end.
pub(super) fn router(serving: &Arc<Serving>) -> Router {
    let read_and_write = MethodFilter::GET.or(MethodFilter::POST);
    let routes: [(&str, MethodRouter<Arc<Serving>>); 21] = [
        ("/engage", on(read_and_write, ingestion::engage)),
        ("/groups", on(read_and_write, ingestion::groups)),
        ("/track", on(read_and_write, ingestion::track)),
        ("/import", on(read_and_write, ingestion::import)),
        ("/api/query/engage", on(read_and_write, query::engage)),
        ("/api/2.0/engage", on(read_and_write, query::engage)),
        ("/api/2.0/engage/properties", on(read_and_write, query::properties)),
        ("/api/app/projects/{id}/data-groups", on(read_and_write, query::data_groups)),
        ("/api/2.0/export", on(read_and_write, export::export)),
        ("/api/app/data-deletions/v3.0", post(deletions::begin)),
        ("/api/app/data-deletions/v3.0/{id}", get(deletions::status).delete(deletions::cancel)),
        ("/api/csv", post(upload::csv)),
        ("/v1/{message}", post(segment::message)),
        ("/v1/projects/{key}/settings", get(segment::settings)),
        ("/healthz", get(operations::healthz)),
        ("/metrics", get(operations::metrics)),
        ("/openapi.json", get(operations::openapi)),
        ("/flags", on(read_and_write, stubs::flags)),
        ("/flags/definitions", on(read_and_write, stubs::flag_definitions)),
        ("/settings", on(read_and_write, stubs::empty)),
        ("/record", on(read_and_write, stubs::record)),
    ];
    let mut router = Router::new();
    for (path, methods) in routes {
        let methods = methods.fallback(not_allowed);
        router = router.route(path, methods.clone()).route(&format!("{path}/"), methods);
    }
    router
        .fallback(stubs::not_found)
        .layer(from_fn_with_state(Arc::clone(serving), observe))
        .layer(cors())
        .with_state(Arc::clone(serving))
}

/// Pages of any origin may send, with credentials, and read the answers, errors too. `*` would not do: some clients
/// send with credentials.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([Method::GET, Method::POST, Method::DELETE, Method::OPTIONS])
        .allow_credentials(true)
        .expose_headers([header::RETRY_AFTER, HeaderName::from_static("x-request-id")])
        .max_age(Duration::from_secs(7_200))
}

async fn not_allowed(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let message = format!("the path does not take this method method={method} path={path:?}");
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", message);
    serving.refuse(refusal, AnswerShape::of(path))
}

/// Counts a request and logs a line, without anything that it carries.
async fn observe(State(serving): State<Arc<Serving>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), started.elapsed());
    let route = path.as_deref().unwrap_or("other");
    serving.metrics.answered(route, status, took);
    tracing::debug!(%method, route, status, micros = took.as_micros(), peer = ?peer, "request");
    response
}
