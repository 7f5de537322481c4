//! One batch for a group of requests.
//!
//! Operands of one key are composed on the way, which is cheaper than to let the engine keep them apart. A `$delete`
//! becomes the engine's own delete, which ends the chain of operands; what follows it in the group is a new row.
//!
//! Two things here need to read. A table that has seen more names than a profile may have properties counts an update
//! that may create one against the row. And a key that has taken many operands since it was last folded gets its row
//! written, because only a row ends a chain. Both are safe in this place only: a leader is alone, so no operand can
//! slip in between the read and the write.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use smallvec::SmallVec;

use super::admission::{Durability, Write};
use super::beside::{Plan, Stamps};
use super::commit::Request;
use super::names::{self, Names, Seen};
use super::open::Store;
use crate::codec;
use crate::error::{Error, Result};
use crate::merge;
use crate::rocks::Engine;

/// How many counters of operands there are. Keys share them by hash: one that is folded too early costs a read.
const COUNTERS: usize = 1 << 16;

/// After so many operands all counters start again, so that keys that are not hot never come to be folded.
const COUNTED_MAX: usize = COUNTERS * 64;

/// Slots by the hash of their key. Two keys of one hash stand at that hash and the next free number after it.
#[expect(clippy::disallowed_types, reason = "looked up by key only, never iterated")]
type Index = std::collections::HashMap<u64, usize, BuildHasherDefault<Hashed>>;

/// Takes a number that is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// One operand per key and group is the rule.
type Operands<'r> = SmallVec<[&'r [u8]; 2]>;

/// What a leader keeps between batches.
pub(super) struct Leader {
    /// Operands per key since its row was last written, by hash.
    pending: Vec<u16>,
    counted: usize,
    hasher: RandomState,
    stamps: Stamps,
}

/// What a group does to one key.
struct Slot<'r> {
    family: &'r Arc<str>,
    key: &'r [u8],
    hash: u64,
    /// Whether the profile was deleted before these operands.
    deleted: bool,
    operands: Operands<'r>,
}

impl Slot<'_> {
    /// The row as it stands with this group so far.
    fn row(&self, engine: &Engine) -> Result<Vec<u8>> {
        if self.deleted {
            return Ok(merge::full(None, &self.operands));
        }
        engine.read(self.family, self.key, |base| merge::full(base, &self.operands))
    }

    fn properties(&self, engine: &Engine) -> Result<usize> {
        Ok(codec::inspect(&self.row(engine)?)?.properties)
    }
}

struct Group<'r> {
    slots: Vec<Slot<'r>>,
    index: Index,
    hasher: RandomState,
    /// Names that this group is the first to use.
    fresh: BTreeMap<&'r Arc<str>, BTreeSet<&'r str>>,
}

/// How a slot was before a write, for a request that fails after some of its writes.
struct Undo<'r> {
    at: usize,
    deleted: bool,
    operands: usize,
    /// The operands that a delete made pointless.
    dropped: Option<Operands<'r>>,
}

impl Leader {
    pub(super) fn new() -> Self {
        let hasher = RandomState::new();
        Self { pending: vec![0; COUNTERS], counted: 0, stamps: Stamps::new(hasher.clone()), hasher }
    }

    /// Commits a group. One outcome per request: a request over a limit fails alone, a failing engine fails them all.
    pub(super) fn commit(&mut self, store: &Store, requests: &[Request]) -> Vec<Result<()>> {
        let writes = requests.iter().map(|request| request.work.writes.len()).sum();
        let mut group = Group {
            slots: Vec::with_capacity(writes),
            index: Index::with_capacity_and_hasher(writes, BuildHasherDefault::new()),
            hasher: self.hasher.clone(),
            fresh: BTreeMap::new(),
        };
        let known = store.names.read();
        let mut outcomes: Vec<_> = requests.iter().map(|request| group.add(store, &known, request)).collect();
        drop(known);
        let accepted = requests.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let plan = self.stamps.plan(accepted.flat_map(|(request, _)| &request.work.beside));
        let sync = requests.iter().any(|request| request.durability == Durability::Synced);
        store.counters.count(requests, group.slots.len() + plan.keys());
        if let Err(error) = self.write(store, &group, &plan, sync) {
            outcomes.iter_mut().filter(|outcome| outcome.is_ok()).for_each(|outcome| *outcome = Err(error.clone()));
        } else {
            self.stamps.committed(&plan);
        }
        outcomes
    }

    fn write(&mut self, store: &Store, group: &Group<'_>, plan: &Plan<'_>, sync: bool) -> Result<()> {
        let engine = &store.engine();
        let mut families: Vec<&Arc<str>> = Vec::new();
        for family in group.slots.iter().map(|slot| slot.family).chain(plan.families()) {
            if !families.contains(&family) {
                engine.create_family(family)?;
                families.push(family);
            }
        }
        let mut batch = engine.batch();
        for slot in &group.slots {
            let hot = self.counts_as_hot(slot, store.options.fold_after);
            match slot.operands.as_slice() {
                [] if slot.deleted => batch.delete(slot.family, slot.key)?,
                [] => {}
                _ if slot.deleted || hot => {
                    let row = slot.row(engine)?;
                    let info = codec::inspect(&row)?;
                    if info.exists || info.quarantined > 0 {
                        batch.put(slot.family, slot.key, &row)?;
                    } else {
                        batch.delete(slot.family, slot.key)?;
                    }
                }
                [operand] => batch.merge(slot.family, slot.key, operand)?,
                operands => batch.merge(slot.family, slot.key, &merge::partial(operands))?,
            }
        }
        plan.fill(engine, &mut batch)?;
        // What the register says must be there before the first update that relies on it, so it is in the same batch.
        let max = store.options.names_max();
        for (family, fresh) in &group.fresh {
            let known = store.names.read().get(family).map_or(0, Seen::len);
            if known + fresh.len() > max {
                names::remember(&mut batch, family, names::WIDE)?;
            } else {
                fresh.iter().try_for_each(|name| names::remember(&mut batch, family, name))?;
            }
        }
        batch.commit(sync)?;
        for (family, fresh) in &group.fresh {
            let mut known = store.names.write();
            let seen = known.entry(family);
            fresh.iter().for_each(|name| seen.add(name, max));
        }
        Ok(())
    }

    /// Counts a slot's operands, and says whether its row is to be written now.
    fn counts_as_hot(&mut self, slot: &Slot<'_>, fold_after: u16) -> bool {
        if fold_after == 0 {
            return false;
        }
        if self.counted >= COUNTED_MAX {
            self.pending.fill(0);
            self.counted = 0;
        }
        self.counted += 1;
        let Some(pending) = self.pending.get_mut(slot.hash as usize % COUNTERS) else { return false };
        *pending = pending.saturating_add(1);
        let hot = *pending > fold_after;
        if hot || slot.deleted {
            *pending = 0;
        }
        hot
    }
}

impl<'r> Group<'r> {
    /// Adds a request, or leaves the group as it was.
    fn add(&mut self, store: &Store, known: &Names, request: &'r Request) -> Result<()> {
        let mut undo: Vec<Undo<'r>> = Vec::new();
        let added = request.work.writes.iter().try_for_each(|write| self.add_write(store, known, write, &mut undo));
        if added.is_err() {
            for Undo { at, deleted, operands, dropped } in undo.into_iter().rev() {
                if let Some(slot) = self.slots.get_mut(at) {
                    slot.deleted = deleted;
                    match dropped {
                        Some(dropped) => slot.operands = dropped,
                        None => slot.operands.truncate(operands),
                    }
                }
            }
        }
        added
    }

    fn add_write(&mut self, store: &Store, known: &Names, write: &'r Write, undo: &mut Vec<Undo<'r>>) -> Result<()> {
        let counted = self.must_be_counted(store, known, write);
        let at = self.find_or_add(write);
        let Some(slot) = self.slots.get_mut(at) else { return Ok(()) };
        let before = if counted { slot.properties(&store.engine())? } else { 0 };
        let (deleted, operands) = (slot.deleted, slot.operands.len());
        let dropped = match &write.operand {
            Some(operand) => {
                slot.operands.push(operand);
                None
            }
            None => {
                slot.deleted = true;
                Some(std::mem::take(&mut slot.operands))
            }
        };
        undo.push(Undo { at, deleted, operands, dropped });
        let max = store.options.limits.properties_max;
        let after = if counted { slot.properties(&store.engine())? } else { 0 };
        if after > max && after > before {
            let id = String::from_utf8_lossy(&write.key);
            return Err(Error::limit(format!("a profile has at most {max} properties id={id:?} properties={after}")));
        }
        Ok(())
    }

    fn find_or_add(&mut self, write: &'r Write) -> usize {
        let Write { family, key, .. } = write;
        let hash = self.hasher.hash_one(key);
        let next = self.slots.len();
        let mut place = hash;
        loop {
            let at = *self.index.entry(place).or_insert(next);
            match self.slots.get(at) {
                Some(slot) if slot.key == key && slot.family == family => return at,
                Some(_) => place = place.wrapping_add(1),
                None => {
                    self.slots.push(Slot { family, key, hash, deleted: false, operands: Operands::new() });
                    return at;
                }
            }
        }
    }

    /// Takes the names of a write into account, and says whether it must be counted against its row.
    fn must_be_counted(&mut self, store: &Store, known: &Names, write: &'r Write) -> bool {
        if !write.creates {
            return false;
        }
        let bounded = store.options.limits.properties_max < usize::MAX;
        let seen = known.get(&write.family);
        if seen.is_some_and(|seen| seen.wide) {
            return bounded;
        }
        let known = seen.map_or(0, Seen::len);
        let max = store.options.names_max();
        if !write.names.is_empty() {
            let fresh = self.fresh.entry(&write.family).or_default();
            // One name more than fits says all there is to say.
            let new = write.names.iter().filter(|name| !seen.is_some_and(|seen| seen.contains(name)));
            new.for_each(|name| {
                if known + fresh.len() <= max {
                    fresh.insert(name);
                }
            });
        }
        bounded && known + self.fresh.get(&write.family).map_or(0, BTreeSet::len) > max
    }
}
