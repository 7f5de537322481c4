//! The leader's part of group commit: a group of requests becomes one write batch.
//!
//! Operands of one key are composed first, which is cheaper than leaving them to the engine. A `$delete` becomes the
//! engine's own delete, which ends the chain of operands; what follows it in the group starts a new row.
//!
//! Two things here need to read. In a table over its name budget, an update that may create properties is counted
//! against the row. And a key that has taken many operands since its last fold gets its row written, because only a
//! row ends a chain. Both are safe nowhere else: there is one leader at a time, so no operand can be committed between
//! the read and the write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::changes::{ChangedRows, PutRows, WrittenRows};
use super::first_index::FirstEventWrites;
use super::names::{self, Names, Seen};
use super::request::{ProfileWrite, Refused, Request};
use super::shared::Shared;
use crate::codec::{self, CHUNKS, EVENTS, Erasure, GROUP_PREFIX, SEGMENTS, SeededHash};
use crate::error::{Error, Result};
use crate::limits::is_counted;
use crate::merge;
use crate::rocks::{Engine, WriteBatch};
use crate::segment::KeyList;

/// How many counters of operands there are. Keys share them by hash: a key that is folded too early costs one read.
const COUNTERS: usize = 1 << 16;

/// After this many operands all counters are reset, so that keys that are not hot are never folded.
const COUNTED_MAX: usize = COUNTERS * 64;

/// Most keys get one operand per group.
type Operands<'r> = SmallVec<[&'r [u8]; 2]>;

/// What a leader keeps between batches.
pub(super) struct Leader {
    /// Operands per key since its row was last written, by hash.
    pending: Vec<u16>,
    counted: usize,
    hash: SeededHash,
}

/// What a group does to one key.
struct KeyWrite<'r> {
    family: &'r Arc<str>,
    key: &'r [u8],
    hash: u64,
    /// Whether the profile was deleted before these operands.
    deleted: bool,
    operands: Operands<'r>,
}

impl KeyWrite<'_> {
    /// The row with the writes of this group so far.
    fn row(&self, engine: &Engine) -> Result<Vec<u8>> {
        if self.deleted {
            return Ok(merge::full(None, &self.operands));
        }
        engine.read(self.family, self.key, |base| merge::full(base, &self.operands))
    }

    /// The properties that are limited.
    fn properties(&self, engine: &Engine) -> Result<usize> {
        Ok(codec::inspect(&self.row(engine)?)?.counted)
    }
}

/// What joins are told of the profiles that a group writes to.
struct NotedProfiles<'r> {
    written: WrittenRows,
    /// The column families and keys of those of which no more is told.
    others: Vec<(&'r Arc<str>, &'r [u8])>,
}

impl<'r> NotedProfiles<'r> {
    fn new(family: &Arc<str>) -> Self {
        Self { written: WrittenRows::new(family), others: Vec::new() }
    }

    fn add(&mut self, write: &KeyWrite<'r>, written: Option<&[u8]>) {
        if !self.written.add(write.family, write.key, written) {
            self.others.push((write.family, write.key));
        }
    }
}

/// Requests that are committed in one batch, as what they do to each key.
struct CommitGroup<'r> {
    keys: Vec<KeyWrite<'r>>,
    /// Positions in `keys`.
    index: HashTable<usize>,
    hash: SeededHash,
    /// Property names that this group is the first to use.
    fresh: BTreeMap<&'r Arc<str>, BTreeSet<&'r str>>,
    /// Tables that exist, of those that are written to.
    tables: Vec<&'r Arc<str>>,
    /// Tables that this group creates. Only what can create a profile creates a table.
    created: Vec<&'r Arc<str>>,
    /// Writes that were left out of requests that allow it.
    refused: usize,
}

/// What a request has done to its group, to be undone from the end.
#[derive(Default)]
struct Undone<'r> {
    writes: Vec<Undo<'r>>,
    fresh: Vec<(&'r Arc<str>, &'r str)>,
}

/// The state of a key before a write, for a request that fails after some of its writes.
struct Undo<'r> {
    at: usize,
    deleted: bool,
    operands: usize,
    /// The operands that a delete made pointless.
    dropped: Option<Operands<'r>>,
}

impl Leader {
    pub(super) fn new() -> Self {
        Self { pending: vec![0; COUNTERS], counted: 0, hash: SeededHash::random() }
    }

    /// Commits a group. One outcome per request: a request over a limit fails alone, a failing engine fails them all.
    pub(super) fn commit(&mut self, shared: &Shared, requests: &[&Request], sync: bool) -> Vec<Result<Refused>> {
        let writes = requests.iter().map(|request| request.profiles.len()).sum();
        let mut group = CommitGroup {
            keys: Vec::with_capacity(writes),
            index: HashTable::with_capacity(writes),
            hash: self.hash,
            fresh: BTreeMap::new(),
            tables: Vec::new(),
            created: Vec::new(),
            refused: 0,
        };
        let known = shared.names.read();
        let mut outcomes: Vec<_> = requests.iter().map(|request| group.add(shared, &known, request)).collect();
        drop(known);
        let accepted: Vec<&Request> = requests
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_ok())
            .map(|(request, _)| *request)
            .collect();
        let first_events = shared.first_events.begin(accepted.iter().copied(), |family| shared.counts_events(family));
        let committed = self.write(shared, &group, &accepted, &first_events, sync);
        shared.first_events.finish(&first_events, committed.is_ok());
        if let Err(error) = committed {
            outcomes.iter_mut().filter(|outcome| outcome.is_ok()).for_each(|outcome| *outcome = Err(error.clone()));
        }
        outcomes
    }

    fn write(
        &mut self,
        shared: &Shared,
        group: &CommitGroup<'_>,
        accepted: &[&Request],
        first_events: &FirstEventWrites<'_>,
        sync: bool,
    ) -> Result<()> {
        create_families(shared, group, accepted, first_events)?;
        let engine = &shared.engine();
        // Joins keep what they read of tables of a store with column segments.
        let mut noted = engine.has_family(SEGMENTS).then(|| NotedProfiles::new(&shared.users));
        let mut batch = engine.batch();
        self.write_profiles(shared.options.fold_after, engine, group, (&mut batch, noted.as_mut()))?;
        shared.committed_keys.note(accepted);
        let keys = write_log(engine, accepted, &mut batch)?;
        first_events.fill(engine, &mut batch)?;
        // The registry must have a name before the first update that relies on it, so it is in the same batch.
        let max = shared.options.names_max();
        for (family, fresh) in &group.fresh {
            let known = shared.names.read().get(family).map_or(0, Seen::len);
            if known + fresh.len() > max {
                names::remember(&mut batch, family, names::WIDE)?;
            } else {
                fresh.iter().try_for_each(|name| names::remember(&mut batch, family, name))?;
            }
        }
        let users = group.keys.iter().filter(|write| *write.family == shared.users);
        let recorded = shared.change_records.record(users.map(|write| write.key), &mut batch)?;
        let is_noted = noted.is_some();
        if let Some(NotedProfiles { written, others }) = noted {
            let sequence = engine.latest_sequence();
            let written = Some(ChangedRows::Written(written));
            shared.changes.begin_rows(sequence, written, others.into_iter().chain(first_events.ids()));
            note_log(shared, accepted, sequence);
        } else {
            // A snapshot of now can be joined once there are segments.
            let sequence = engine.latest_sequence();
            shared.changes.skip(sequence);
            shared.log_changes.skip(sequence);
        }
        let committed = batch.commit(sync);
        if is_noted {
            let sequence = engine.latest_sequence();
            shared.changes.end(sequence, committed.is_ok());
            shared.log_changes.end(sequence, committed.is_ok());
        }
        committed?;
        if shared.change_records.committed(recorded) {
            shared.unsealed.wake_now();
        }
        shared.unsealed.add(accepted.iter().map(|request| request.events.len()).sum());
        shared.counters.count(accepted, group.refused, group.keys.len() + keys + first_events.keys());
        for (family, fresh) in &group.fresh {
            let mut known = shared.names.write();
            let seen = known.entry(family);
            fresh.iter().for_each(|name| seen.add(name, max));
        }
        Ok(())
    }

    /// Adds what a group does to profiles, and takes note of it.
    fn write_profiles<'r>(
        &mut self,
        fold_after: u16,
        engine: &Engine,
        group: &CommitGroup<'r>,
        (batch, mut noted): (&mut WriteBatch<'_>, Option<&mut NotedProfiles<'r>>),
    ) -> Result<()> {
        let mut note = |write: &KeyWrite<'r>, written: Option<&[u8]>| {
            noted.iter_mut().for_each(|noted| noted.add(write, written));
        };
        for write in group.keys.iter().filter(|write| group.writes_to(write.family)) {
            let hot = self.counts_as_hot(write, fold_after);
            let composed;
            let operand = match write.operands.as_slice() {
                [] if write.deleted => None,
                [] => continue,
                _ if write.deleted || hot => {
                    let row = write.row(engine)?;
                    let info = codec::inspect(&row)?;
                    if info.exists || info.quarantined > 0 {
                        batch.put(write.family, write.key, &row)?;
                        note(write, Some(&row));
                        continue;
                    }
                    None
                }
                [operand] => Some(*operand),
                operands => {
                    composed = merge::partial(operands);
                    Some(composed.as_slice())
                }
            };
            match operand {
                Some(operand) => batch.merge(write.family, write.key, operand)?,
                None => batch.delete(write.family, write.key)?,
            }
            note(write, operand);
        }
        Ok(())
    }

    /// Counts the operands of a key, and says whether its row is to be written now.
    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash serve")]
    fn counts_as_hot(&mut self, write: &KeyWrite<'_>, fold_after: u16) -> bool {
        if fold_after == 0 {
            return false;
        }
        if self.counted >= COUNTED_MAX {
            self.pending.fill(0);
            self.counted = 0;
        }
        self.counted += 1;
        let Some(pending) = self.pending.get_mut(write.hash as usize % COUNTERS) else { return false };
        *pending = pending.saturating_add(1);
        let hot = *pending > fold_after;
        if hot || write.deleted {
            *pending = 0;
        }
        hot
    }
}

/// Creates the column families that a group writes to.
fn create_families(
    shared: &Shared,
    group: &CommitGroup<'_>,
    accepted: &[&Request],
    first_events: &FirstEventWrites<'_>,
) -> Result<()> {
    group.created.iter().try_for_each(|family| shared.create_family(family))?;
    let mut families: Vec<&Arc<str>> = Vec::new();
    for family in first_events.families() {
        if !families.contains(&family) {
            shared.create_family(family)?;
            families.push(family);
        }
    }
    let any = accepted.iter().any(|request| !request.events.is_empty());
    if any { shared.create_family(EVENTS) } else { Ok(()) }
}

/// Adds what requests do to the event log, in their order, and says how many keys that is.
fn write_log(engine: &Engine, requests: &[&Request], batch: &mut WriteBatch<'_>) -> Result<usize> {
    let mut keys = 0;
    // Without the log there is nothing to remove.
    let exists = engine.has_family(EVENTS);
    for request in requests {
        for erasure in request.erasures.iter().filter(|_| exists) {
            match erasure {
                Erasure::Event(key) => batch.delete(EVENTS, key)?,
                Erasure::EventsBelow(end) => {
                    let families = [EVENTS, SEGMENTS, CHUNKS].into_iter().filter(|family| engine.has_family(family));
                    // The keys of all three begin with the day.
                    families.into_iter().try_for_each(|family| batch.delete_range(family, &[], end))?;
                }
                Erasure::FirstEvent { .. } => continue,
            }
            keys += 1;
        }
        request.events.iter().try_for_each(|event| batch.put(EVENTS, &event.key, &event.value))?;
        keys += request.events.len();
    }
    Ok(keys)
}

/// Takes note of what is about to be committed to the event log. `before` is the sequence number of the last commit.
fn note_log(shared: &Shared, requests: &[&Request], before: u64) {
    let erasures = requests.iter().flat_map(|request| &request.erasures);
    if erasures.clone().any(|erasure| matches!(erasure, Erasure::EventsBelow(_))) {
        return shared.log_changes.begin_unknown(before);
    }
    let erased = erasures.filter_map(|erasure| match erasure {
        Erasure::Event(key) => Some(key),
        Erasure::EventsBelow(_) | Erasure::FirstEvent { .. } => None,
    });
    let mut erased = erased.peekable();
    let appended = requests.iter().flat_map(|request| &request.events);
    let family = &shared.log_families.events;
    if erased.peek().is_some() {
        // What is both erased and appended is left by the last of these.
        let keys = erased.chain(appended.map(|event| &event.key)).map(|key| (family, key.as_slice()));
        return shared.log_changes.begin(before, keys);
    }
    let mut rows = PutRows { family: Arc::clone(family), keys: KeyList::default(), values: KeyList::default() };
    for event in appended {
        rows.keys.push(&event.key);
        rows.values.push(&event.value);
    }
    shared.log_changes.begin_rows(before, Some(ChangedRows::Put(rows)), std::iter::empty());
}

impl<'r> CommitGroup<'r> {
    /// Adds a request, or leaves the group as it was. Returns the writes that were left out.
    fn add(&mut self, shared: &Shared, known: &Names, request: &'r Request) -> Result<Refused> {
        let mut done = Undone::default();
        let (mut refused, admitted) = (request.refused.clone(), request.refused.len());
        let start = self.created.len();
        for (index, write) in request.profiles.iter().enumerate() {
            let (created, writes, fresh) = (self.created.len(), done.writes.len(), done.fresh.len());
            let Err(error) = self.add_write(shared, known, write, &mut done) else { continue };
            let position = request.positions.as_ref().and_then(|positions| positions.get(index));
            let Some(position) = position.filter(|_| error.is_limit_exceeded()) else {
                self.undo(&mut done, start, 0, 0);
                return Err(error);
            };
            self.undo(&mut done, created, writes, fresh);
            refused.push((*position, error));
        }
        self.refused += refused.len() - admitted;
        refused.sort_unstable_by_key(|(position, _)| *position);
        Ok(refused)
    }

    /// Undoes what a request did after it had made this number of tables, of writes and of fresh names.
    fn undo(&mut self, done: &mut Undone<'r>, created: usize, writes: usize, fresh: usize) {
        self.created.truncate(created);
        for (family, name) in done.fresh.drain(fresh..) {
            self.fresh.entry(family).or_default().remove(name);
        }
        for Undo { at, deleted, operands, dropped } in done.writes.drain(writes..).rev() {
            if let Some(key) = self.keys.get_mut(at) {
                key.deleted = deleted;
                match dropped {
                    Some(dropped) => key.operands = dropped,
                    None => key.operands.truncate(operands),
                }
            }
        }
    }

    fn add_write(
        &mut self,
        shared: &Shared,
        known: &Names,
        write: &'r ProfileWrite,
        done: &mut Undone<'r>,
    ) -> Result<()> {
        self.find_or_create_table(shared, write)?;
        let counted = self.must_be_counted(shared, known, write, &mut done.fresh);
        let at = self.find_or_add(write);
        let Some(key) = self.keys.get_mut(at) else { return Ok(()) };
        let before = if counted { key.properties(&shared.engine())? } else { 0 };
        let (deleted, operands) = (key.deleted, key.operands.len());
        let dropped = match &write.operand {
            Some(operand) => {
                key.operands.push(operand);
                None
            }
            None => {
                key.deleted = true;
                Some(std::mem::take(&mut key.operands))
            }
        };
        done.writes.push(Undo { at, deleted, operands, dropped });
        let max = shared.options.limits.properties_max;
        let after = if counted { key.properties(&shared.engine())? } else { 0 };
        if after > max && after > before {
            let id = String::from_utf8_lossy(&write.key);
            return Err(Error::limit(format!("a profile has at most {max} properties id={id:?} properties={after}")));
        }
        Ok(())
    }

    /// Whether a table exists, or is created with this group. To write to another one changes nothing.
    fn writes_to(&self, family: &Arc<str>) -> bool {
        self.tables.contains(&family) || self.created.contains(&family)
    }

    fn find_or_create_table(&mut self, shared: &Shared, write: &'r ProfileWrite) -> Result<()> {
        if self.writes_to(&write.family) {
            return Ok(());
        }
        if shared.engine().has_family(&write.family) {
            self.tables.push(&write.family);
        } else if write.creates {
            let groups = self.created.iter().filter(|family| family.starts_with(GROUP_PREFIX)).count();
            if !write.restores {
                shared.check_group_keys(&write.family, groups)?;
            }
            self.created.push(&write.family);
        }
        Ok(())
    }

    /// The position of the key of a write.
    fn find_or_add(&mut self, write: &'r ProfileWrite) -> usize {
        let ProfileWrite { family, key, .. } = write;
        let hash = self.hash.of(key);
        let keys = &mut self.keys;
        let is = |known: &KeyWrite<'_>| known.key == key && known.family == family;
        let found = self.index.find(hash, |&at| keys.get(at).is_some_and(is)).copied();
        found.unwrap_or_else(|| {
            let at = keys.len();
            keys.push(KeyWrite { family, key, hash, deleted: false, operands: Operands::new() });
            self.index.insert_unique(hash, at, |&at| keys.get(at).map_or(0, |known| known.hash));
            at
        })
    }

    /// Takes note of the names of a write, also in `added`, and says whether it must be counted against its row.
    fn must_be_counted(
        &mut self,
        shared: &Shared,
        known: &Names,
        write: &'r ProfileWrite,
        added: &mut Vec<(&'r Arc<str>, &'r str)>,
    ) -> bool {
        if !write.creates {
            return false;
        }
        let bounded = shared.options.limits.properties_max < usize::MAX;
        let seen = known.get(&write.family);
        if seen.is_some_and(Seen::is_wide) {
            return bounded && !write.restores;
        }
        let known = seen.map_or(0, Seen::len);
        let max = shared.options.names_max();
        // What the table had seen when the update was admitted may have been forgotten since, with a drop.
        let dropped = write.drops != shared.drops.load(Ordering::Acquire);
        let all = write.operand.as_deref().filter(|_| dropped).map(codec::operand_names);
        if dropped || !write.names.is_empty() {
            let fresh = self.fresh.entry(&write.family).or_default();
            // One name over the budget is enough to know.
            let names = write.names.iter().map(|name| &**name).chain(all.into_iter().flatten());
            let names = names.filter(|name| is_counted(name.as_bytes()));
            names.filter(|name| !seen.is_some_and(|seen| seen.contains(name))).for_each(|name| {
                if known + fresh.len() <= max && fresh.insert(name) {
                    added.push((&write.family, name));
                }
            });
        }
        bounded && !write.restores && known + self.fresh.get(&write.family).map_or(0, BTreeSet::len) > max
    }
}
