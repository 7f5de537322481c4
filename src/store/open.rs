//! An open store on top of its parts: what all share, the committer, and the committer's thread.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::commit::Committer;
use super::group::Leader;
use super::names::{self, Names, WIDE};
use super::request::{Commit, Durability, Request};
use super::shared::{Access, Options, Shared};
use crate::codec::{self, FirstEvent, META, family_of, first_family_of};
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
            let shared = Arc::new(Shared::new(engine, options, Names::default(), moves));
            return Ok(Self { shared, committer: None, thread: Mutex::default() });
        }
        engine.create_family(META)?;
        let names = Names::load(&engine, options.names_max())?;
        let shared = Arc::new(Shared::new(engine, options, names, false));
        let (committer, parker) = Committer::new(Leader::new());
        let committer = Arc::new(committer);
        let thread = std::thread::Builder::new().name("profiledb-commit".into()).spawn({
            let (shared, committer) = (Arc::clone(&shared), Arc::clone(&committer));
            move || committer.run(&shared, &parker)
        })?;
        Ok(Self { shared, committer: Some(committer), thread: Mutex::new(Some(thread)) })
    }

    fn committer(&self) -> Result<&Committer> {
        self.committer.as_deref().ok_or_else(|| self.shared.read_only())
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
        self.committer()?.exclusively(|| {
            if !self.shared.engine().has_family(&family) {
                self.shared.check_group_keys(&family, 0)?;
            }
            self.shared.create_family(&family)
        })
    }

    /// Drops the table of a kind, and says whether there was one. What was submitted before is committed before.
    pub(crate) fn drop_table(&self, kind: &Kind) -> Result<bool> {
        self.submit(Request::default(), Durability::Buffered)?.wait()?;
        self.committer()?.exclusively(|| self.shared.drop_table(kind))
    }

    /// Replaces the first-event times of a kind by those of them that can be read.
    pub(crate) fn renew_first_events(&self, kind: &Kind) -> Result<()> {
        self.submit(Request::default(), Durability::Buffered)?.wait()?;
        let family = first_family_of(kind);
        let mut kept = Vec::new();
        self.committer()?.exclusively(|| {
            let engine = self.shared.engine();
            engine.snapshot().salvage(&family, |item| {
                if let SalvagedRow::Row(key, stamp) = item
                    && let Ok((id, time)) = std::str::from_utf8(key).map(|id| (id, codec::decode_stamp(stamp)))
                    && let Ok(time) = time
                {
                    kept.push(FirstEvent::new(&family, id, time));
                }
                Ok::<_, Error>(())
            })?;
            engine.drop_family(&family)?;
            self.shared.first_events.forget(&family);
            engine.create_family(&family)
        })?;
        for chunk in kept.chunks(FIRST_EVENTS_MAX) {
            self.write(Request { first_events: chunk.to_vec(), ..Request::default() }, Durability::Buffered)?;
        }
        Ok(())
    }

    /// Makes every table wide: names that it has seen may be missing from the registry.
    pub(crate) fn widen_tables(&self) -> Result<()> {
        self.committer()?.exclusively(|| {
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
