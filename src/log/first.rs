//! The times of first events, from the events that are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::append::stamp;
use super::scan::scan_all;
use crate::codec::{self, EventBytes, EventKey};
use crate::error::Result;
use crate::model::{Kind, Timestamp};
use crate::rocks::{EngineScan, EngineSnapshot, Operation, ReadHint};

/// How many ids are held before their times are handed out.
const IDS_MAX: usize = 1 << 14;

/// Walks over the log and says when each id of a kind had its first event. An event that cannot be read is passed over.
pub(crate) struct FirstTimes {
    scan: EngineScan,
    family: Arc<str>,
    /// Where an event names its groups; users are named by its key.
    property: Option<Box<str>>,
    events: u64,
}

impl FirstTimes {
    pub(crate) fn new(snapshot: &EngineSnapshot, kind: &Kind) -> Self {
        Self {
            scan: scan_all(snapshot, ReadHint::FullScan),
            family: codec::first_family_of(kind),
            property: kind.group_key().map(Into::into),
            events: 0,
        }
    }

    /// How many events named an id, so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The next piece; none is empty. An id may come again in a later one.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Operation>>> {
        let mut times: BTreeMap<String, Timestamp> = BTreeMap::new();
        while times.len() < IDS_MAX
            && let Some((key, value)) = self.scan.next()?
        {
            let Ok(key) = EventKey::read(key) else { continue };
            let time = key.time();
            let mut named = false;
            let mut note = |id: &str| {
                named = true;
                match times.get_mut(id) {
                    Some(first) => *first = time.min(*first),
                    None => {
                        times.insert(id.to_owned(), time);
                    }
                }
            };
            match &self.property {
                None => key.id().into_iter().filter(|id| !id.is_empty()).for_each(|id| note(&id)),
                Some(property) => {
                    let wanted = std::slice::from_ref(property);
                    let Ok(event) = EventBytes::read(value) else { continue };
                    // What was found before the damage counts.
                    let _ = event.pick(wanted, |_, value| {
                        value.group_ids(&mut note);
                    });
                }
            }
            self.events += u64::from(named);
        }
        let piece: Vec<Operation> = times.iter().map(|(id, time)| stamp(&self.family, id, *time)).collect();
        Ok((!piece.is_empty()).then_some(piece))
    }
}
