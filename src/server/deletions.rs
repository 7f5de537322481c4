//! `/api/app/data-deletions/v3.0`: erasure of users, with their events, as data protection laws require.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::filters::texts_of;
use super::ingestion::{blocking, committed};
use super::query::authorized;
use super::refusal::{AnswerShape, Refusal, json_response};
use super::serving::Serving;
use crate::{Db, Deletion};

/// Ids in one request.
const IDS_MAX: usize = 2_000;

/// Erases users. It is answered once they are gone. What a crash interrupts is resumed by the next server.
pub(super) async fn begin(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    let answer = async {
        let (project, named) = authorized(&serving, request).await?;
        let distinct_ids = ids_of(&serving, project, named)?;
        let turn = serving.turn_to_query().await?;
        let db = db_of(&serving, project)?;
        let work = move || {
            let number = db.delete_users(distinct_ids).map_err(|error| Refusal::of_store(&error));
            drop(turn);
            number
        };
        committed(&serving, async move { blocking(work).await? }).await
    };
    match answer.await {
        Ok(id) => json_response(StatusCode::CREATED, &json!({"results": {"task_id": id.to_string()}, "status": "ok"})),
        Err(refusal) => serving.refuse(refusal, AnswerShape::Word),
    }
}

/// The ids of a request, in which everything has to be understood.
fn ids_of(serving: &Serving, project: usize, named: Vec<(String, String)>) -> Result<Vec<String>, Refusal> {
    let mut ids = None;
    for (name, value) in named {
        match &*name {
            "distinct_ids" => ids = Some(texts_of(&name, &value)?),
            "token" if serving.projects.named(Some(&value)) == Ok(project) => {}
            "token" => return Err(Refusal::unauthorized()),
            "compliance_type" if ["gdpr", "ccpa"].iter().any(|known| value.eq_ignore_ascii_case(known)) => {}
            "project_id" | "workspace_id" => {}
            _ => return Err(Refusal::bad_request(format!("not understood parameter={name:?} value={value:?}"))),
        }
    }
    let ids = ids.ok_or_else(|| Refusal::bad_request("distinct_ids, missing"))?;
    match ids.len() {
        0 => Err(Refusal::bad_request("distinct_ids, empty")),
        count if count > IDS_MAX => Err(Refusal::bad_request(format!("at most {IDS_MAX} ids at once ids={count}"))),
        _ if ids.iter().any(String::is_empty) => Err(Refusal::bad_request("an id is empty")),
        _ => Ok(ids),
    }
}

/// Completes what the process before did not, of every store that takes writes. It runs while requests are served.
pub(super) fn resume(serving: &Serving) {
    for project in serving.projects.iter() {
        let db = project.db.clone();
        tokio::task::spawn_blocking(move || match db.resume_deletions() {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "interrupted erasures were completed"),
            // It is another process that writes.
            Err(error) if error.is_read_only() => {}
            Err(error) => tracing::warn!(%error, "interrupted erasures are not completed"),
        });
    }
}

fn db_of(serving: &Serving, project: usize) -> Result<Db, Refusal> {
    serving.projects.get(project).map(|project| project.db.clone()).ok_or_else(Refusal::unauthorized)
}

/// What became of an erasure.
pub(super) async fn status(State(serving): State<Arc<Serving>>, Path(id): Path<String>, request: Request) -> Response {
    match found(&serving, &id, request).await {
        Ok(Some(Deletion { distinct_ids, is_done, .. })) => {
            let status = if is_done { "SUCCESS" } else { "PENDING" };
            let results = json!({"status": status, "distinct_ids": distinct_ids});
            json_response(StatusCode::OK, &json!({"results": results, "status": "ok"}))
        }
        Ok(None) => json_response(StatusCode::NOT_FOUND, &json!({"error": "NOT_FOUND", "status": "error"})),
        Err(refusal) => serving.refuse(refusal, AnswerShape::Word),
    }
}

/// An erasure cannot be cancelled: it has begun before its number is known.
pub(super) async fn cancel(State(serving): State<Arc<Serving>>, Path(id): Path<String>, request: Request) -> Response {
    let refusal = match found(&serving, &id, request).await {
        Ok(Some(_)) => Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "the erasure has begun"),
        Ok(None) => Refusal::new(StatusCode::NOT_FOUND, "not_found", "NOT_FOUND"),
        Err(refusal) => refusal,
    };
    serving.refuse(refusal, AnswerShape::Word)
}

async fn found(serving: &Arc<Serving>, id: &str, request: Request) -> Result<Option<Deletion>, Refusal> {
    let (project, _) = authorized(serving, request).await?;
    let db = db_of(serving, project)?;
    let Ok(number) = id.parse() else { return Ok(None) };
    blocking(move || db.deletion(number)).await?.map_err(|error| Refusal::of_store(&error))
}
