//! What became of the records of a request: its batches, one for each project, their commits, and what was rejected.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;
use tokio::time::timeout;

use super::refusal::Refusal;
use super::serving::Serving;
use crate::ingest::Reject;
use crate::{Batch, Error, ErrorKind};

/// A record that was rejected.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failed {
    pub(super) index: usize,
    /// Under both names that clients read.
    #[serde(rename = "$insert_id", skip_serializing_if = "Option::is_none")]
    pub(super) dollar_insert_id: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) insert_id: Option<Box<str>>,
    pub(super) field: Box<str>,
    pub(super) message: String,
}

/// The label of rejects in the metrics.
pub(super) fn reason_of(kind: ErrorKind) -> &'static str {
    if kind == ErrorKind::LimitExceeded { "limit_exceeded" } else { "invalid" }
}

/// The records of a request that are for one project.
#[derive(Default)]
struct Part {
    batch: Batch,
    /// Of each of its changes, the position in the request.
    positions: Vec<usize>,
}

/// The records of a request.
#[derive(Default)]
pub(super) struct Tally {
    parts: BTreeMap<usize, Part>,
    pub(super) total: usize,
    pub(super) failed: Vec<Failed>,
}

impl Tally {
    /// The part of a request for a project. What is added to it is the next record.
    pub(super) fn batch(&mut self, project: usize) -> &mut Batch {
        let part = self.parts.entry(project).or_default();
        part.positions.push(self.total);
        self.total += 1;
        &mut part.batch
    }

    /// The next record is rejected.
    pub(super) fn reject(&mut self, serving: &Serving, reject: Reject) {
        serving.metrics.rejected(reason_of(reject.kind));
        let Reject { insert_id, field, reason, .. } = reject;
        let (dollar_insert_id, field) = (insert_id.clone(), field.unwrap_or_default());
        self.failed.push(Failed { index: self.total, dollar_insert_id, insert_id, field, message: reason });
        self.total += 1;
    }

    /// The next record names no project.
    pub(super) fn reject_token(&mut self, serving: &Serving, field: &str, reason: &str) {
        serving.metrics.rejected("token");
        let (field, message) = (field.into(), reason.to_owned());
        self.failed.push(Failed { index: self.total, dollar_insert_id: None, insert_id: None, field, message });
        self.total += 1;
    }

    /// How many records were not rejected.
    pub(super) fn good(&self) -> usize {
        self.total.saturating_sub(self.failed.len())
    }

    /// Commits the batches, each of them atomically, and waits until they are durable.
    pub(super) async fn commit(&mut self, serving: &Serving) -> Result<(), Refusal> {
        let mut commits = Vec::new();
        let mut failure = None;
        for (index, Part { batch, positions }) in std::mem::take(&mut self.parts) {
            let Some(project) = serving.projects.get(index) else { continue };
            let counts = batch.counts();
            match project.db.try_submit_with(batch.skip_refused(true), project.durability) {
                Ok(commit) => commits.push((commit, counts, positions)),
                Err(error) => failure = Some(error),
            }
        }
        for (mut commit, (updates, events), positions) in commits {
            match timeout(serving.limits.work_deadline, &mut commit).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    failure = Some(error);
                    continue;
                }
                Err(_) => {
                    let message = "the commit takes too long; the records may or may not be stored";
                    failure = Some(Error::new(ErrorKind::OutcomeUnknown, message));
                    continue;
                }
            }
            let refused = commit.refused();
            let metrics = &serving.metrics;
            metrics.updates.fetch_add(updates.saturating_sub(refused.len()) as u64, Ordering::Relaxed);
            metrics.events.fetch_add(events as u64, Ordering::Relaxed);
            for (at, error) in refused {
                metrics.rejected("limit_exceeded");
                let (index, field) = (positions.get(at).copied().unwrap_or(at), error.field().unwrap_or("").into());
                let message = error.message().to_owned();
                self.failed.push(Failed { index, dollar_insert_id: None, insert_id: None, field, message });
            }
        }
        self.failed.sort_by_key(|failed| failed.index);
        failure.map_or(Ok(()), |error| Err(Refusal::of_store(&error)))
    }
}
