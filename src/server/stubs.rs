//! Paths that clients call for features that are not here, answered so that they stay quiet; and paths that are not
//! known at all, answered so that they say so.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::refusal::{AnswerShape, Refusal, json_response};
use super::serving::Serving;

/// No flags, for clients that evaluate them remotely.
pub(super) async fn flags() -> Response {
    json_response(StatusCode::OK, &json!({"flags": {}}))
}

/// No flags, for clients that evaluate them themselves.
pub(super) async fn flag_definitions() -> Response {
    json_response(StatusCode::OK, &json!({"flags": []}))
}

/// No settings.
pub(super) async fn empty() -> Response {
    json_response(StatusCode::OK, &json!({}))
}

/// A recording of a session, which is dropped.
pub(super) async fn record(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match serving.read_body(&parts.headers, body).await {
        Ok(_) => empty().await,
        Err(refusal) => serving.refuse(refusal, AnswerShape::Number),
    }
}

/// Everything else.
pub(super) async fn not_found(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    let path = request.uri().path();
    let refusal = Refusal::new(StatusCode::NOT_FOUND, "path", format!("there is no such path path={path:?}"));
    serving.refuse(refusal, AnswerShape::of(path))
}
