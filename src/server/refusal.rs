//! Requests that are refused as a whole: the status, and the body in the shape that clients of the path read.
//!
//! Every refusal is JSON with `status` and `error`: several clients index both keys of whatever comes back.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use crate::{Error, ErrorKind};

/// The shape of answers, by path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerShape {
    /// `{"status":0,"error":".."}`: of /engage, /groups and /track.
    Number,
    /// `{"code":413,"error":"..","status":"Request Entity Too Large"}`: of /import.
    Code,
    /// `{"status":"error","error":".."}`: of queries.
    Word,
    /// `{"success":false,"code":"..","message":".."}`: of Segment's paths.
    Segment,
}

impl AnswerShape {
    /// That of a path.
    pub(super) fn of(path: &str) -> Self {
        match path.split('/').find(|part| !part.is_empty()) {
            Some("import") => Self::Code,
            Some("api") => Self::Word,
            Some("v1") => Self::Segment,
            _ => Self::Number,
        }
    }
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// The label in the metrics.
    pub(super) reason: &'static str,
    /// Whether the client should try again, and after how many seconds.
    retry_after: Option<u32>,
    /// Whether the rest of the body may still be on its way.
    pub(super) is_cut: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), reason, retry_after: None, is_cut: false }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Invalid credentials")
    }

    /// The server has too much to do.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1)
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Under another label.
    pub(super) fn because(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    /// The connection ends with the answer, because the body was not read to its end.
    pub(super) fn cut(mut self) -> Self {
        self.is_cut = true;
        self
    }

    /// A failure of the store.
    pub(super) fn of_store(error: &Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            ErrorKind::Busy => Self::busy(message),
            // The client sends it again, and should know that it may have been stored.
            ErrorKind::OutcomeUnknown => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "outcome_unknown", message),
            ErrorKind::Invalid | ErrorKind::LimitExceeded => Self::bad_request(message),
            ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            _ => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", message).retry_after(10),
        }
    }

    /// The answer.
    pub(super) fn into_response(self, shape: AnswerShape) -> Response {
        let Self { status, message, retry_after, is_cut, reason } = self;
        let mut response = match shape {
            AnswerShape::Number => json_response(status, &StatusAndError { status: 0, error: Some(&message) }),
            AnswerShape::Word => json_response(status, &StatusAndError { status: "error", error: Some(&message) }),
            AnswerShape::Segment => {
                json_response(status, &json!({"success": false, "code": reason, "message": message}))
            }
            AnswerShape::Code => {
                let (code, text) = (status.as_u16(), status_text(status));
                json_response(status, &json!({"code": code, "error": message, "status": text}))
            }
        };
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if is_cut {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"profiledb\""));
        }
        response
    }
}

/// The two keys that clients read, in the order that some compare with.
#[derive(Serialize)]
pub(super) struct StatusAndError<'m, S> {
    pub(super) status: S,
    pub(super) error: Option<&'m str>,
}

/// The reason phrase. That of 413 has been renamed since clients learned it.
pub(super) fn status_text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        other => other.canonical_reason().unwrap_or("Error"),
    }
}

/// An answer of JSON.
pub(super) fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    // Of strings, numbers and maps with text keys, which cannot fail.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
