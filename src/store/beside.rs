//! Operations that go into the batch beside those on profiles, and how few of them a stamp needs.
//!
//! Every event brings a stamp for its user, and nearly none of them says anything new: only the least counts. So stamps
//! of one key are folded within a group, and the leader remembers what it committed for the ids that it met last. A
//! stamp that is no earlier is left out. That is safe because a leader is alone, and because what it remembers is
//! certainly there: it learns of a stamp after the engine took it and forgets it before it is erased.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::codec::{encode_stamp, read_stamp};
use crate::error::Result;
use crate::model::Timestamp;
use crate::rocks::{Action, Engine, Operation, WriteBatch};

/// How many ids are remembered: some megabytes. Ids share places by hash; the latest has it.
const REMEMBERED: usize = 1 << 16;

/// The earliest times that are known to be committed.
pub(super) struct Stamps {
    hasher: RandomState,
    /// Empty until there is something to remember.
    places: Vec<Option<Remembered>>,
}

struct Remembered {
    family: Arc<str>,
    key: Box<[u8]>,
    time: Timestamp,
}

impl Remembered {
    fn is_of(&self, operation: &Operation) -> bool {
        *self.key == *operation.key && self.family == operation.family
    }
}

/// What the operations of a group come to.
#[derive(Default)]
pub(super) struct Plan<'r> {
    /// As they came.
    others: Vec<&'r Operation>,
    /// After the others: what erases a stamp stands there.
    stamps: BTreeMap<(&'r [u8], &'r str), (Timestamp, &'r Operation)>,
}

impl Stamps {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { hasher, places: Vec::new() }
    }

    /// Plans operations in their order.
    pub(super) fn plan<'r>(&mut self, operations: impl Iterator<Item = &'r Operation>) -> Plan<'r> {
        let mut plan = Plan::default();
        for operation in operations {
            let place = (operation.key.as_slice(), &*operation.family);
            let time = match &operation.action {
                Action::Merge(operand) => read_stamp(operand).ok(),
                _ => None,
            };
            match time {
                Some(time) if self.has_committed(operation, time) => {}
                Some(time) => {
                    let least = plan.stamps.entry(place).or_insert((time, operation));
                    least.0 = time.min(least.0);
                }
                None => {
                    if operation.removes() {
                        self.forget(operation);
                        plan.stamps.remove(&place);
                    }
                    plan.others.push(operation);
                }
            }
        }
        plan
    }

    /// Remembers what the engine took.
    pub(super) fn committed(&mut self, plan: &Plan<'_>) {
        if self.places.is_empty() && !plan.stamps.is_empty() {
            self.places.resize_with(REMEMBERED, || None);
        }
        for (time, operation) in plan.stamps.values() {
            let at = self.place(operation);
            let Some(place) = self.places.get_mut(at) else { continue };
            match place {
                // It was planned, so it is earlier.
                Some(known) if known.is_of(operation) => known.time = *time,
                _ => {
                    let (family, key) = (Arc::clone(&operation.family), operation.key.as_slice().into());
                    *place = Some(Remembered { family, key, time: *time });
                }
            }
        }
    }

    fn has_committed(&self, operation: &Operation, time: Timestamp) -> bool {
        let known = self.places.get(self.place(operation)).and_then(Option::as_ref);
        known.is_some_and(|known| known.time <= time && known.is_of(operation))
    }

    fn forget(&mut self, operation: &Operation) {
        let at = self.place(operation);
        if let Some(place) = self.places.get_mut(at)
            && place.as_ref().is_some_and(|known| known.is_of(operation))
        {
            *place = None;
        }
    }

    fn place(&self, operation: &Operation) -> usize {
        self.hasher.hash_one((&operation.key, &operation.family)) as usize % REMEMBERED
    }
}

impl<'r> Plan<'r> {
    /// How many keys it touches.
    pub(super) fn keys(&self) -> usize {
        self.others.len() + self.stamps.len()
    }

    /// The families that have to be there.
    pub(super) fn families(&self) -> impl Iterator<Item = &'r Arc<str>> {
        let others = self.others.iter().filter(|operation| !operation.removes());
        others.copied().chain(self.stamps.values().map(|(_, operation)| *operation)).map(|operation| &operation.family)
    }

    /// Adds it to a batch.
    pub(super) fn fill(&self, engine: &Engine, batch: &mut WriteBatch<'_>) -> Result<()> {
        for operation in &self.others {
            // Where there is no family there is nothing to remove.
            if !operation.removes() || engine.has_family(&operation.family) {
                batch.add(operation)?;
            }
        }
        self.stamps
            .values()
            .try_for_each(|(time, operation)| batch.merge(&operation.family, &operation.key, &encode_stamp(*time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(id: &str, seconds: i64) -> Operation {
        let action = Action::Merge(encode_stamp(Timestamp::from_seconds(seconds)));
        Operation { family: "first:users".into(), key: id.into(), action }
    }

    fn erase(id: &str) -> Operation {
        Operation { family: "first:users".into(), key: id.into(), action: Action::Delete }
    }

    /// What is left of operations: those that pass, and the stamps in seconds.
    fn left(plan: &Plan<'_>) -> (usize, Vec<(String, i64)>) {
        let stamps = plan.stamps.iter();
        let stamps = stamps.map(|((id, _), (time, _))| (String::from_utf8_lossy(id).into_owned(), time.seconds()));
        (plan.others.len(), stamps.collect())
    }

    #[test]
    fn only_stamps_that_say_something_new_are_left() {
        let mut stamps = Stamps::new(RandomState::new());
        let of = |id: &str, seconds| (id.to_owned(), seconds);
        let first = [stamp("a", 5), stamp("b", 7), stamp("a", 3), stamp("a", 4)];
        let plan = stamps.plan(first.iter());
        assert_eq!(left(&plan), (0, vec![of("a", 3), of("b", 7)]));
        // It was not committed, so it is planned again.
        let plan = stamps.plan(first.iter());
        assert_eq!(left(&plan), (0, vec![of("a", 3), of("b", 7)]));
        stamps.committed(&plan);
        let later = [stamp("a", 3), stamp("a", 9), stamp("b", 6), stamp("c", 1)];
        let plan = stamps.plan(later.iter());
        assert_eq!(left(&plan), (0, vec![of("b", 6), of("c", 1)]));
        stamps.committed(&plan);
        // What is erased counts for nothing, before or after, committed or not.
        let erased = [stamp("a", 1), erase("a"), stamp("a", 8), erase("b"), stamp("c", 1)];
        let plan = stamps.plan(erased.iter());
        assert_eq!(left(&plan), (2, vec![of("a", 8)]));
        let again = [stamp("b", 9)];
        assert_eq!(left(&stamps.plan(again.iter())), (0, vec![of("b", 9)]));
    }

    #[test]
    fn families_and_keys_are_told_apart() {
        let mut stamps = Stamps::new(RandomState::new());
        let mut other = stamp("a", 5);
        other.family = "first:group:company".into();
        let first = [stamp("a", 1)];
        let plan = stamps.plan(first.iter());
        stamps.committed(&plan);
        let both = [other, stamp("a", 5)];
        let plan = stamps.plan(both.iter());
        assert_eq!(plan.families().map(|family| &**family).collect::<Vec<_>>(), ["first:group:company"]);
    }
}
