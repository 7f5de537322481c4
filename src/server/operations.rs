//! `/healthz`, `/metrics` and `/openapi.json`, for those who operate the server.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::refusal::json_response;
use super::reply;
use super::serving::Serving;

/// Whether the stores take writes.
pub(super) async fn healthz(State(serving): State<Arc<Serving>>) -> Response {
    let stopped = serving.projects.iter().any(|project| project.db.stats().writes_stopped);
    let (status, text) =
        if stopped { (StatusCode::SERVICE_UNAVAILABLE, "writes stopped") } else { (StatusCode::OK, "ok") };
    json_response(status, &json!({"status": text}))
}

/// The description of all paths.
pub(super) async fn openapi() -> Response {
    reply::text("application/json", include_bytes!("openapi.json").to_vec())
}

/// The counters of the server and of its stores.
pub(super) async fn metrics(State(serving): State<Arc<Serving>>) -> Response {
    let stats: Vec<_> = serving.projects.iter().map(|project| project.db.stats()).collect();
    let sum = |count: fn(&crate::Stats) -> u64| stats.iter().map(count).sum::<u64>();
    let places = serving.projects.places();
    let gauges = [
        ("uncommitted_bytes", "Bytes of bodies that are being parsed and committed.", serving.uncommitted_bytes()),
        ("uploads_open", "CSV files that are being received or committed.", serving.uploads_open()),
        ("sessions_held", "Queries that are held for their further pages.", serving.sessions.len() as u64),
        ("store_commits", "Batches that the stores have committed since they were opened.", sum(|s| s.writes.commits)),
        ("store_background_errors", "Failed flushes and compactions.", sum(|s| s.background_errors)),
        ("store_writes_stopped", "Stores that take no writes.", sum(|s| u64::from(s.writes_stopped))),
        ("store_unsealed_events", "Events that are rows, of this process.", sum(|s| s.sealing.unsealed_events)),
        ("store_sealing_failures", "How often background sealing failed.", sum(|s| s.sealing.failures)),
        ("geo_loads", "How often databases of places were read.", places.loads),
        ("geo_failures", "Databases of places that could not be read anew, and failed lookups.", places.failures),
        ("geo_built_seconds", "When the oldest database of places was built, since 1970.", places.built_seconds),
    ];
    reply::text("text/plain; version=0.0.4; charset=utf-8", serving.metrics.text(&gauges).into_bytes())
}
