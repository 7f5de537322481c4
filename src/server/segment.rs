//! Segment's protocol: `/v1/identify` and its kin, in single messages and in batches, and the short paths of its
//! browser library. A message is mapped to the updates and events that Segment itself would send to Mixpanel.
//!
//! | message | becomes |
//! |---|---|
//! | identify | `$set` of the traits on the user; with both ids, the event `$identify` |
//! | group | `$set` of the traits on the group, under the group key `$group_id` |
//! | track | the event |
//! | page, screen | the event `Loaded a Page`, `Loaded a Screen` |
//! | alias | the event `$create_alias` |
//! | any other, and one without anything to store | nothing: it is counted as ignored |

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::decode::{Decoded, decode};
use super::ingestion::{blocking, committed, inflated};
use super::place::add_place;
use super::projects::{Project, user_of};
use super::refusal::{AnswerShape, Refusal, json_response};
use super::serving::{Buffered, Peer, Serving};
use super::tally::Tally;
use crate::ingest::{EventRecord, Record, Reject, Rules};
use crate::{Error, Object, Value};

/// The group key of group messages, as Segment has it by default.
const GROUP_KEY: &str = "$group_id";

/// Traits that have a name of their own in profiles.
const TRAITS: [(&str, &str); 9] = [
    ("created", "$created"),
    ("createdAt", "$created"),
    ("created_at", "$created"),
    ("email", "$email"),
    ("firstName", "$first_name"),
    ("lastName", "$last_name"),
    ("name", "$name"),
    ("username", "$username"),
    ("phone", "$phone"),
];

/// The settings that the browser library loads before anything else.
pub(super) async fn settings(Path(key): Path<String>) -> Response {
    json_response(StatusCode::OK, &json!({"integrations": {"Segment.io": {"apiKey": key}}}))
}

/// A message, or a batch of them.
pub(super) async fn message(State(serving): State<Arc<Serving>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match serving.read_body(&parts.headers, body).await {
        Ok((body, buffered)) => {
            let task = Arc::clone(&serving);
            committed(&serving, async move { answer(&task, parts, body, buffered).await }).await
        }
        Err(refusal) => Err(refusal),
    };
    answer.unwrap_or_else(|refusal| serving.refuse(refusal, AnswerShape::Segment))
}

async fn answer(
    serving: &Arc<Serving>,
    parts: Parts,
    body: axum::body::Bytes,
    buffered: Buffered,
) -> Result<Response, Refusal> {
    let (body, buffered) = inflated(serving, &parts.headers, body, buffered).await?;
    let Decoded { params, data, .. } = decode(parts.uri.query().unwrap_or_default(), &parts.headers, body);
    let data = data.map_err(Refusal::bad_request)?;
    let _turn = serving.turn_to_commit(data.len()).await?;
    let task = Arc::clone(serving);
    let (mut tally, ignored) = blocking(move || {
        let _buffered = buffered;
        let value: Value = serde_json::from_slice(&data)
            .map_err(|error| Refusal::bad_request(format!("the body is no json object: {error}")))?;
        let Value::Object(mut body) = value else {
            return Err(Refusal::bad_request("a message is a json object"));
        };
        let key = text(body.remove("writeKey")).or_else(|| user_of(&parts.headers, &params));
        let project = task.projects.named(key.as_deref()).map_err(|_| Refusal::unauthorized())?;
        // A library of a server sends from its own address, which is not that of the user.
        let peer = parts.extensions.get::<Peer>().map(|Peer(address)| *address);
        let is_page = parts.headers.contains_key(header::ORIGIN);
        let address = task.client(peer, &parts.headers).filter(|_| is_page);
        let mut messages = Messages { serving: &task, project, address, tally: Tally::default(), ignored: 0 };
        messages.add_all(kind_of(parts.uri.path()), body)?;
        Ok((messages.tally, messages.ignored))
    })
    .await??;
    tally.commit(serving).await?;
    match tally.failed.first() {
        Some(first) if tally.good() == 0 => Err(Refusal::bad_request(first.message.clone())),
        first => {
            // Only what is not as expected is said: some libraries show whatever an answer has.
            let rejected = tally.failed.len();
            let message = first.map(|first| &*first.message);
            Ok(json_response(StatusCode::OK, &MessagesTaken { success: true, rejected, ignored, message }))
        }
    }
}

/// The answer to messages.
#[derive(Serialize)]
struct MessagesTaken<'m> {
    success: bool,
    #[serde(skip_serializing_if = "is_zero")]
    rejected: usize,
    #[serde(skip_serializing_if = "is_zero")]
    ignored: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'m str>,
}

/// The signature that serde calls.
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The type of a message, by the path that it was sent to.
fn kind_of(path: &str) -> &'static str {
    match path.trim_end_matches('/').rsplit('/').next() {
        Some("i" | "identify") => "identify",
        Some("g" | "group") => "group",
        Some("t" | "track") => "track",
        Some("p" | "page") => "page",
        Some("s" | "screen") => "screen",
        Some("a" | "alias") => "alias",
        _ => "",
    }
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}

fn object(value: Option<Value>) -> Object {
    match value {
        Some(Value::Object(object)) => object,
        _ => Object::new(),
    }
}

/// The messages of a request, as they become records.
struct Messages<'s> {
    serving: &'s Serving,
    project: usize,
    address: Option<IpAddr>,
    tally: Tally,
    /// Messages that are nothing to store.
    ignored: usize,
}

impl Messages<'_> {
    fn rules(&self) -> Rules {
        self.serving.projects.get(self.project).map_or_else(Rules::new, |project| project.db.rules()).origin(true)
    }

    fn add_all(&mut self, kind: &str, mut body: Object) -> Result<(), Refusal> {
        let rules = self.rules();
        let Some(batch) = body.remove("batch") else {
            self.add(kind, body, &rules);
            return Ok(());
        };
        let Value::List(batch) = batch else { return Err(Refusal::bad_request("batch is a list of messages")) };
        let messages_max = rules.bounds().updates_per_request_max;
        if batch.len() > messages_max {
            let message = format!("a request has at most {messages_max} messages messages={}", batch.len());
            return Err(Refusal::too_large(message));
        }
        for message in batch {
            match message {
                Value::Object(message) => self.add("", message, &rules),
                other => {
                    let reason = format!("a message is a json object type={:?}", other.type_name());
                    self.reject(Error::invalid(reason).into());
                }
            }
        }
        Ok(())
    }

    /// Adds a message, or counts it as ignored, with the reason as the label of the metric.
    fn add(&mut self, kind: &str, mut message: Object, rules: &Rules) {
        let own = text(message.remove("type"));
        let kind = own.as_deref().unwrap_or(kind);
        let before = self.tally.total;
        let is_known = self.add_as(kind, message, rules);
        if self.tally.total == before {
            self.ignored += 1;
            self.serving.metrics.ignored(if is_known { "empty" } else { "type" });
            tracing::debug!(kind, "a message is nothing to store");
        }
    }

    /// Whether there are messages of this type.
    fn add_as(&mut self, kind: &str, mut message: Object, rules: &Rules) -> bool {
        match kind {
            "identify" => self.identify(message, rules),
            "group" => self.group(message, rules),
            "track" => {
                let name = text(message.remove("event")).unwrap_or_default();
                self.track(&name, message, Object::new(), rules);
            }
            "page" | "screen" => {
                let name = if kind == "page" { "Loaded a Page" } else { "Loaded a Screen" };
                let named = message.remove("name").filter(|name| !name.is_null());
                let more = named.map(|title| ("name", title)).into_iter().collect();
                self.track(name, message, more, rules);
            }
            "alias" => {
                let (alias, user) = (message.remove("userId"), message.remove("previousId"));
                let more = [("alias", alias), ("distinct_id", user)];
                let more = more.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                self.track("$create_alias", message, more, rules);
            }
            _ => return false,
        }
        true
    }

    fn identify(&mut self, mut message: Object, rules: &Rules) {
        let (user, device) = (text(message.remove("userId")), text(message.remove("anonymousId")));
        if let (Some(user), Some(device)) = (&user, &device) {
            let ids = Object::from_iter([("$identified_id", user.as_str()), ("$anon_id", device)]);
            self.track("$identify", message.clone(), ids, rules);
        }
        let traits = mapped(object(message.remove("traits")), true);
        if traits.is_empty() {
            return;
        }
        let mut update = Object::from_iter([("$set", Value::from(traits))]);
        let id = user.or(device);
        id.into_iter().for_each(|id| drop(update.insert("$distinct_id", id)));
        self.update(update, message, rules);
    }

    fn group(&mut self, mut message: Object, rules: &Rules) {
        let traits = mapped(object(message.remove("traits")), false);
        if traits.is_empty() {
            return;
        }
        let id = traits.get(GROUP_KEY).cloned().or_else(|| message.remove("groupId"));
        let mut update = Object::from_iter([("$set", Value::from(traits)), ("$group_key", GROUP_KEY.into())]);
        id.into_iter().for_each(|id| drop(update.insert("$group_id", id)));
        self.update(update, message, rules);
    }

    /// An update, with the time and the address of its message.
    fn update(&mut self, mut update: Object, mut message: Object, rules: &Rules) {
        message.remove("timestamp").into_iter().for_each(|time| drop(update.insert("$time", time)));
        let mut context = object(message.remove("context"));
        context.remove("ip").into_iter().for_each(|ip| drop(update.insert("$ip", ip)));
        match Record::from_value(update.into(), rules) {
            Ok(mut record) => {
                self.serving.metrics.noted(&record.notes);
                // Messages have no coordinates.
                add_place(&mut record, self.serving.projects.get(self.project).and_then(Project::places), self.address);
                self.tally.batch(self.project).change(record.key, record.change);
            }
            Err(reject) => self.reject(reject),
        }
    }

    /// An event, with the ids and the time of its message, and more properties.
    fn track(&mut self, name: &str, mut message: Object, more: Object, rules: &Rules) {
        let mut properties = object(message.remove("properties"));
        let (user, device) = (message.remove("userId"), message.remove("anonymousId"));
        let id = user.clone().filter(|id| !id.is_null()).or_else(|| device.clone());
        let own = [
            ("$user_id", user),
            ("$device_id", device),
            ("distinct_id", id),
            ("time", message.remove("timestamp")),
            ("$insert_id", message.remove("messageId")),
        ];
        for (name, value) in own {
            value.filter(|value| !value.is_null()).into_iter().for_each(|value| drop(properties.insert(name, value)));
        }
        more.into_iter().for_each(|(name, value)| drop(properties.insert(name, value)));
        let event = Object::from_iter([("event", Value::from(name)), ("properties", properties.into())]);
        match EventRecord::from_value(event.into(), rules) {
            Ok(record) => {
                self.serving.metrics.noted(&record.notes);
                self.tally.batch(self.project).append(record.event);
            }
            Err(reject) => self.reject(reject),
        }
    }

    fn reject(&mut self, reject: Reject) {
        self.tally.reject(self.serving, reject);
    }
}

/// Traits as properties of a profile.
fn mapped(traits: Object, is_user: bool) -> Object {
    let mut properties = Object::new();
    let full_name = match (traits.get("firstName"), traits.get("lastName")) {
        (Some(Value::String(first)), Some(Value::String(last))) if is_user => Some(format!("{first} {last}")),
        _ => None,
    };
    if let Some(name) = full_name.filter(|_| traits.get("name").is_none()) {
        properties.insert("$name", name);
    }
    for (name, value) in traits {
        let special = TRAITS.iter().find(|(known, _)| *known == name).map(|(_, property)| *property);
        let special = special.filter(|property| is_user || matches!(*property, "$name" | "$created"));
        properties.insert(special.unwrap_or(&name), value);
    }
    properties
}
