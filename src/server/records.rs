//! Parsing of the records of a request into batches, one for each project that they name.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use axum::body::Bytes;

use super::place::add_place;
use super::projects::Project;
use super::serving::Serving;
use super::tally::Tally;
use crate::ingest::{Endpoint, Rules, parse_events, parse_request};
use crate::{Db, Result};

/// How records are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireOptions {
    pub(super) endpoint: Endpoint,
    pub(super) strict: bool,
    /// The project of all records, whatever their tokens say: that of the credentials.
    pub(super) project: Option<usize>,
    /// The address whose place is set where a record has none.
    pub(super) address: Option<IpAddr>,
}

impl WireOptions {
    fn rules(&self, serving: &Serving) -> Rules {
        let project = self.project.and_then(|index| serving.projects.get(index)).or(serving.projects.first());
        let rules = project.map(|project| &project.db).map_or_else(Rules::new, Db::rules);
        rules.strict(self.strict).endpoint(self.endpoint).origin(true)
    }

    fn project(&self, serving: &Serving, token: Option<&str>) -> Result<usize, &'static str> {
        let token = token.filter(|token| !token.is_empty());
        match (self.project, token) {
            (Some(index), None) => Ok(index),
            // A record for another project than that of the credentials is not stored in either.
            (Some(index), token) if serving.projects.named(token)? != index => {
                Err("token, not that of the credentials")
            }
            (_, token) => serving.projects.named(token),
        }
    }
}

/// Updates of profiles.
///
/// # Errors
///
/// Those of [`parse_request`]: nothing of the body is applied.
pub(super) fn updates(serving: &Serving, options: WireOptions, data: &Bytes) -> Result<Tally> {
    let mut tally = Tally::default();
    for outcome in parse_request(data, &options.rules(serving))? {
        let mut record = match outcome {
            Ok(record) => record,
            Err(reject) => {
                tally.reject(serving, reject);
                continue;
            }
        };
        match options.project(serving, record.origin.token.as_deref()) {
            Ok(index) => {
                serving.metrics.noted(&record.notes);
                if add_place(&mut record, serving.projects.get(index).and_then(Project::places), options.address) {
                    serving.metrics.notes.fetch_add(1, Ordering::Relaxed);
                }
                tally.batch(index).change(record.key, record.change);
            }
            Err(reason) => tally.reject_token(serving, "$token", reason),
        }
    }
    Ok(tally)
}

/// Events.
///
/// # Errors
///
/// Those of [`parse_events`]: nothing of the body is stored.
pub(super) fn events(serving: &Serving, options: WireOptions, data: &Bytes) -> Result<Tally> {
    let mut tally = Tally::default();
    for outcome in parse_events(data, &options.rules(serving))? {
        let record = match outcome {
            Ok(record) => record,
            Err(reject) => {
                tally.reject(serving, reject);
                continue;
            }
        };
        match options.project(serving, record.origin.token.as_deref()) {
            Ok(index) => {
                serving.metrics.noted(&record.notes);
                tally.batch(index).append(record.event);
            }
            Err(reason) => tally.reject_token(serving, "properties.token", reason),
        }
    }
    Ok(tally)
}
