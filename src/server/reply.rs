//! Answers of the ingestion endpoints, byte for byte as their clients expect them.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::params::Params;
use super::refusal::{StatusAndError, json_response, status_text};
use super::tally::{Failed, Tally};

/// A transparent pixel, as a GIF.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x21\xf9\x04\x01\x00\x00\x00\x00\
    \x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";

const SOME_FAILED: &str = "some data points in the request failed validation";

/// The answer to updates, and to events that are tracked.
pub(super) fn of_tally(params: &Params, tally: &Tally) -> Response {
    let is_good = tally.good() > 0 || tally.total == 0;
    // A client that reads the text should learn of every record that is missing.
    let error = match &*tally.failed {
        [] => None,
        [first, ..] if tally.good() == 0 => Some(first.message.clone()),
        [first, ..] => Some(format!(
            "{} of {} records were rejected, the first of them: {} index={}",
            tally.failed.len(),
            tally.total,
            first.message,
            first.index
        )),
    };
    let json = if params.is_on("strict") { strict(tally) } else { verbose(is_good, error.as_deref()) };
    of_outcome(params, is_good, json)
}

/// The answer to a body of which nothing could be read.
pub(super) fn of_error(params: &Params, message: &str) -> Response {
    let json = if params.is_on("strict") {
        let error = Some(message);
        to_text(&StrictReply { code: 400, status: 0, error, failed_records: Some(&[]), num_good_events: 0 })
    } else {
        verbose(false, Some(message))
    };
    of_outcome(params, false, json)
}

/// The answer to strict updates.
#[derive(Serialize)]
struct StrictReply<'t> {
    code: u16,
    status: u8,
    error: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_records: Option<&'t [Failed]>,
    num_good_events: usize,
}

fn strict(tally: &Tally) -> String {
    let num_good_events = tally.good();
    to_text(&if tally.failed.is_empty() {
        StrictReply { code: 200, status: 1, error: None, failed_records: None, num_good_events }
    } else {
        let failed_records = Some(&*tally.failed);
        StrictReply { code: 400, status: 0, error: Some(SOME_FAILED), failed_records, num_good_events }
    })
}

fn verbose(is_good: bool, error: Option<&str>) -> String {
    to_text(&StatusAndError { status: u8::from(is_good), error })
}

fn to_text(body: &impl Serialize) -> String {
    // Of strings, numbers and maps with text keys, which cannot fail.
    serde_json::to_string(body).unwrap_or_default()
}

fn of_outcome(params: &Params, is_good: bool, json: String) -> Response {
    if let Some(response) = params.get("redirect").and_then(|to| redirect(&to)) {
        return response;
    }
    if params.get("img").is_some_and(|img| img != "0") {
        return text("image/gif", PIXEL.to_vec());
    }
    let plain = if is_good { "1" } else { "0" };
    let is_json = params.is_on("verbose") || params.is_on("strict");
    let body = if is_json { json } else { plain.to_owned() };
    if let Some(callback) = params.get("callback").filter(|name| is_callback(name)) {
        return text("text/javascript; charset=utf-8", format!("{callback}({body});").into_bytes());
    }
    text(if is_json { "application/json" } else { "text/plain; charset=utf-8" }, body.into_bytes())
}

/// A name of a function, and nothing that a page could be made to run.
fn is_callback(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte))
}

fn redirect(to: &str) -> Option<Response> {
    let is_web = to.starts_with("http://") || to.starts_with("https://");
    let to = HeaderValue::from_str(to).ok().filter(|_| is_web)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, to);
    Some(response)
}

pub(super) fn text(content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    response
}

/// The answer to a strict import.
pub(super) fn of_import(tally: &Tally) -> Response {
    let good = tally.good();
    if tally.failed.is_empty() {
        return json_response(StatusCode::OK, &json!({"code": 200, "num_records_imported": good, "status": "OK"}));
    }
    let status = StatusCode::BAD_REQUEST;
    let (code, failed, text) = (status.as_u16(), &tally.failed, status_text(status));
    let body = json!({
        "code": code, "error": SOME_FAILED, "failed_records": failed, "num_records_imported": good, "status": text
    });
    json_response(status, &body)
}
