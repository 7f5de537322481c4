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
use super::tasks::Deletion;

/// Ids in one request.
const IDS_MAX: usize = 2_000;

/// Erases users. It is answered once they are gone, so that nothing has to be remembered for later.
pub(super) async fn begin(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    let answer = async {
        let (project, named) = authorized(&serving, request).await?;
        let distinct_ids = ids_of(&serving, project, named)?;
        let turn = serving.turn_to_query().await?;
        let task = Arc::clone(&serving);
        let work = move || {
            let erased = erase(&task, project, distinct_ids);
            drop(turn);
            erased
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

fn erase(serving: &Serving, project: usize, distinct_ids: Vec<String>) -> Result<u64, Refusal> {
    let Some(db) = serving.projects.get(project).map(|project| &project.db) else {
        return Err(Refusal::unauthorized());
    };
    for id in &distinct_ids {
        db.delete_user(id).map_err(|error| Refusal::of_store(&error))?;
    }
    Ok(serving.deletions.add(Deletion { distinct_ids, project, status: "SUCCESS" }))
}

/// What became of an erasure.
pub(super) async fn status(State(serving): State<Arc<Serving>>, Path(id): Path<String>, request: Request) -> Response {
    match found(&serving, &id, request).await {
        Ok(Some(deletion)) => json_response(StatusCode::OK, &json!({"results": deletion, "status": "ok"})),
        Ok(None) => json_response(StatusCode::NOT_FOUND, &json!({"error": "NOT_FOUND", "status": "error"})),
        Err(refusal) => serving.refuse(refusal, AnswerShape::Word),
    }
}

/// An erasure cannot be cancelled: it is done before it is answered.
pub(super) async fn cancel(State(serving): State<Arc<Serving>>, Path(id): Path<String>, request: Request) -> Response {
    let refusal = match found(&serving, &id, request).await {
        Ok(Some(_)) => Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "the erasure is done already"),
        Ok(None) => Refusal::new(StatusCode::NOT_FOUND, "not_found", "NOT_FOUND"),
        Err(refusal) => refusal,
    };
    serving.refuse(refusal, AnswerShape::Word)
}

async fn found(serving: &Arc<Serving>, id: &str, request: Request) -> Result<Option<Deletion>, Refusal> {
    let (project, _) = authorized(serving, request).await?;
    let task = id.parse().ok().and_then(|id| serving.deletions.get(id));
    Ok(task.filter(|task| task.project == project))
}
