//! Queries whose pages are requested one by one: each holds a snapshot, for a while.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::filters::Filters;
use super::refusal::Refusal;
use crate::Snapshot;

/// A query that has more than one page is not dropped for others before this long after its last page.
const SPARED: Duration = Duration::from_secs(60);

/// Where the pages of an answer begin.
#[derive(Debug)]
pub(super) enum Pages {
    /// The first id of each, or where pages are small, of every tenth or thousandth.
    Starts {
        /// The ids.
        ids: Vec<String>,
        /// How many pages begin between one of these ids and the next.
        pages: usize,
    },
    /// All ids.
    Ids(Vec<String>),
}

/// A query that was begun.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) project: usize,
    pub(super) filters: Filters,
    pub(super) output: Option<Vec<String>>,
    pub(super) snapshot: Snapshot,
    pub(super) pages: Pages,
    pub(super) total: usize,
    pub(super) page_size: usize,
}

/// A session id, by what it refers to.
pub(super) enum SessionRef {
    Held(Arc<Session>),
    /// A query whose answer was one page.
    Complete {
        total: usize,
        page_size: usize,
    },
}

/// The sessions that are held.
#[derive(Default)]
pub(super) struct Sessions {
    held: Mutex<BTreeMap<String, (Arc<Session>, Instant)>>,
    next: AtomicU64,
    hasher: RandomState,
}

impl Sessions {
    /// Holds a session, and returns its id. One that has no further page is not held.
    pub(super) fn hold(
        &self,
        session: &Arc<Session>,
        sessions_max: usize,
        lifetime: Duration,
    ) -> Result<String, Refusal> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Not to be guessed, and no secret either: to use it takes access to the project.
        let random = self.hasher.hash_one(number);
        if session.total <= session.page_size {
            return Ok(format!("{}-{}-{number:x}{random:016x}", session.total, session.page_size));
        }
        self.sweep(lifetime);
        let mut held = self.held.lock();
        if held.len() >= sessions_max {
            let oldest =
                held.iter().min_by_key(|(_, (_, used))| *used).filter(|(_, (_, used))| used.elapsed() > SPARED);
            match oldest.map(|(id, _)| id.clone()) {
                Some(id) => drop(held.remove(&id)),
                None => {
                    let message = format!("{sessions_max} queries are held for their further pages; try again later");
                    return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "sessions_max", message).retry_after(60));
                }
            }
        }
        let id = format!("{number:x}{random:016x}");
        held.insert(id.clone(), (Arc::clone(session), Instant::now()));
        Ok(id)
    }

    /// The session with an id, which is used now.
    pub(super) fn find(&self, id: &str, lifetime: Duration) -> Result<SessionRef, Refusal> {
        self.sweep(lifetime);
        if let Some((session, used)) = self.held.lock().get_mut(id) {
            *used = Instant::now();
            return Ok(SessionRef::Held(Arc::clone(session)));
        }
        let mut parts = id.split('-').map(|part| part.parse().ok());
        match (parts.next().flatten(), parts.next().flatten(), parts.next()) {
            (Some(total), Some(page_size), Some(_)) if total <= page_size => {
                Ok(SessionRef::Complete { total, page_size })
            }
            _ => Err(Refusal::bad_request(
                "the session_id is not known, or was not used for too long; begin with page 0",
            )),
        }
    }

    /// Drops sessions that were not used for too long.
    pub(super) fn sweep(&self, lifetime: Duration) {
        let mut dropped = Vec::new();
        let mut held = self.held.lock();
        held.retain(|_, (session, used)| {
            let is_kept = used.elapsed() <= lifetime;
            if !is_kept {
                dropped.push(Arc::clone(session));
            }
            is_kept
        });
        // Snapshots are released without the lock, because that may be slow.
        drop(held);
    }

    pub(super) fn len(&self) -> usize {
        self.held.lock().len()
    }
}
