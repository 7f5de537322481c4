//! An open store on top of its parts: what all share, the committer, and the committer's thread.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::codes::{ChangeRecords, check_stored_codes};
use super::commit::Committer;
use super::group::Leader;
use super::names::{self, Names, WIDE};
use super::request::{Commit, Durability, Request};
use super::shared::{Access, Options, REBUILD_PREFIX, Shared, not_rebuilding};
use super::turns::SegmentTurns;
use crate::codec::{self, META, family_of, first_family_of, first_kind_of};
use crate::error::{Error, Result};
use crate::model::Kind;
use crate::rocks::{Engine, Mode, SalvagedRow};

/// How many first-event times are written in one batch when their table is built anew.
const FIRST_EVENTS_MAX: usize = 1 << 14;

/// An open store. Its committer thread ends with it.
pub(crate) struct Store {
    pub(crate) shared: Arc<Shared>,
    /// None in a store that is open for reading.
    committer: Option<Arc<Committer>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) segments: SegmentTurns,
    /// Held by who records a new deletion of users.
    pub(super) deletions: Mutex<()>,
    /// Held by who stores codes.
    pub(super) codes: Mutex<()>,
}

impl Store {
    pub(crate) fn open(path: &Path, access: Access, options: Options) -> Result<Self> {
        let writes = matches!(access, Access::ReadWrite);
        let moves = matches!(access, Access::Secondary { .. });
        let mode = match access {
            Access::ReadWrite => Mode::ReadWrite { create: options.create },
            Access::ReadOnly => Mode::ReadOnly,
            Access::Secondary { scratch } => Mode::Secondary { scratch },
        };
        let engine = Arc::new(Engine::open(path, mode, &options.engine)?);
        if !writes {
            not_rebuilding(&engine)?;
            let shared = Arc::new(Shared::new(engine, options, Names::default(), ChangeRecords::default(), moves));
            return Ok(Self {
                shared,
                committer: None,
                thread: Mutex::default(),
                segments: SegmentTurns::default(),
                deletions: Mutex::default(),
                codes: Mutex::default(),
            });
        }
        engine.create_family(META)?;
        let names = Names::load(&engine, options.names_max())?;
        let changes = ChangeRecords::load(&engine)?;
        let shared = Arc::new(Shared::new(engine, options, names, changes, false));
        let (committer, parker) = Committer::new(Leader::new());
        let committer = Arc::new(committer);
        let thread = std::thread::Builder::new().name("profiledb-commit".into()).spawn({
            let (shared, committer) = (Arc::clone(&shared), Arc::clone(&committer));
            move || committer.run(&shared, &parker)
        })?;
        Ok(Self {
            shared,
            committer: Some(committer),
            thread: Mutex::new(Some(thread)),
            segments: SegmentTurns::default(),
            deletions: Mutex::default(),
            codes: Mutex::default(),
        })
    }

    fn committer(&self) -> Result<&Committer> {
        self.committer.as_deref().ok_or_else(|| self.shared.read_only())
    }

    /// Runs while nothing is being committed.
    pub(super) fn exclusively<R>(&self, run: impl FnOnce() -> Result<R>) -> Result<R> {
        self.committer()?.exclusively(run)
    }

    /// Fails in a store that is open for reading.
    pub(crate) fn writable(&self) -> Result<()> {
        self.committer().map(|_| ())
    }

    /// Commits a request and waits for it.
    pub(crate) fn write(&self, request: Request, durability: Durability) -> Result<()> {
        self.committer()?.write(&self.shared, request, durability)
    }

    /// Queues a request. When the queue is full it blocks until there is room.
    pub(crate) fn submit(&self, request: Request, durability: Durability) -> Result<Commit> {
        self.committer()?.submit(request, durability)
    }

    /// As [`submit`](Self::submit) for each of these.
    pub(crate) fn submit_all(&self, requests: Vec<Request>, durability: Durability) -> Vec<Result<Commit>> {
        match self.committer() {
            Ok(committer) => committer.submit_all(requests, durability),
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Queues a request, or fails when the queue is full.
    pub(crate) fn try_submit(&self, request: Request, durability: Durability) -> Result<Commit> {
        self.committer()?.try_submit(request, durability)
    }

    /// Creates the table of a kind unless it exists.
    pub(crate) fn create_table(&self, kind: &Kind) -> Result<()> {
        let family = family_of(kind);
        self.exclusively(|| {
            if !self.shared.engine().has_family(&family) {
                self.shared.check_group_keys(&family, 0)?;
            }
            self.shared.create_family(&family)
        })
    }

    /// Drops the table of a kind, and says whether there was one. What was submitted before is committed before.
    pub(crate) fn drop_table(&self, kind: &Kind) -> Result<bool> {
        self.submit(Request::default(), Durability::Buffered)?.wait()?;
        self.exclusively(|| self.shared.drop_table(kind))
    }

    /// Copies the first-event times of a kind that can be read to a family of their own, which says that they are being
    /// built anew. Durable on return.
    pub(crate) fn keep_first_events(&self, kind: &Kind) -> Result<()> {
        self.submit(Request::default(), Durability::Buffered)?.wait()?;
        let family = first_family_of(kind);
        let kept = format!("{REBUILD_PREFIX}{family}");
        self.exclusively(|| {
            self.shared.engine().create_family(&kept)?;
            self.copy_stamps(&family, &kept)
        })
    }

    /// Replaces the first-event times of a kind by those that were kept.
    pub(crate) fn renew_first_events(&self, kind: &Kind) -> Result<()> {
        let family = first_family_of(kind);
        self.exclusively(|| {
            let engine = self.shared.engine();
            engine.drop_family(&family)?;
            self.shared.first_events.forget(&family);
            engine.create_family(&family)?;
            self.copy_stamps(&format!("{REBUILD_PREFIX}{family}"), &family)
        })
    }

    /// Ends the rebuild of the first-event times of a kind, which are durable.
    pub(crate) fn forget_kept_first_events(&self, kind: &Kind) -> Result<()> {
        let kept = format!("{REBUILD_PREFIX}{}", first_family_of(kind));
        self.exclusively(|| self.shared.engine().drop_family(&kept))
    }

    /// The kinds whose first-event times were being built anew when the process ended.
    pub(crate) fn interrupted_rebuilds(&self) -> Vec<Kind> {
        let families = self.shared.engine().families_with(REBUILD_PREFIX);
        families.iter().filter_map(|family| first_kind_of(family.strip_prefix(REBUILD_PREFIX)?)).collect()
    }

    /// Merges the first-event times of a column family that can be read into another one.
    fn copy_stamps(&self, from: &str, to: &str) -> Result<()> {
        let engine = self.shared.engine();
        let mut batch = engine.batch();
        let mut count = 0;
        engine.snapshot().salvage(from, |item| {
            let SalvagedRow::Row(key, stamp) = item else { return Ok(()) };
            // What cannot be read is not kept: the rebuild is for that.
            if std::str::from_utf8(key).is_err() || codec::decode_stamp(stamp).is_err() {
                return Ok(());
            }
            batch.merge(to, key, stamp)?;
            count += 1;
            if count % FIRST_EVENTS_MAX == 0 {
                std::mem::replace(&mut batch, engine.batch()).commit(false)?;
            }
            Ok::<_, Error>(())
        })?;
        batch.commit(true)
    }

    /// Makes every table wide: names that it has seen may be missing from the registry.
    pub(crate) fn widen_tables(&self) -> Result<()> {
        self.exclusively(|| {
            let engine = self.shared.engine();
            let mut batch = engine.batch();
            for kind in self.shared.kinds() {
                let family = family_of(&kind);
                names::remember(&mut batch, &family, WIDE)?;
                self.shared.names.write().widen(&family);
            }
            batch.commit(true)
        })
    }

    /// Folds and rewrites every table, the log and the first-event index, so that no operand is pending afterwards.
    pub(crate) fn compact(&self) -> Result<()> {
        self.writable()?;
        let engine = self.shared.engine();
        let mut are_damaged = false;
        check_stored_codes(&engine.snapshot(), |_| are_damaged = true)?;
        if are_damaged {
            self.forget_codes()?;
        }
        engine.families().iter().try_for_each(|family| engine.compact(family))
    }

    /// Commits what was submitted and ends the thread. Later writes fail.
    fn stop(&self) {
        if let Some(committer) = &self.committer {
            committer.close();
        }
        if let Some(thread) = self.thread.lock().take() {
            // It cannot panic: it runs no code of callers.
            let _ = thread.join();
        }
    }

    /// Commits what was submitted, makes it durable, and ends background work.
    pub(crate) fn close(&self) -> Result<()> {
        self.stop();
        self.shared.engine().close()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A failure cannot be reported from here, and `close` is there for those who need to know.
        let _ = self.close();
    }
}
