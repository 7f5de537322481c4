//! Backfill of the first-event index: a full scan of the log, aggregated to the minimum time per id.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::scan::{LogScan, scan_all};
use crate::codec::{self, EventBytes, EventKey, FirstEvent};
use crate::error::Result;
use crate::model::{Kind, Timestamp};
use crate::rocks::{EngineSnapshot, ReadHint};

/// How many ids are aggregated before a chunk is returned.
const IDS_MAX: usize = 1 << 14;

/// Computes the first-event times of a kind. An event that cannot be read is skipped; the checker reports it.
pub(crate) struct FirstEventBackfill {
    scan: LogScan,
    family: Arc<str>,
    /// The property with the ids of groups; those of users are in the keys of events.
    property: Option<Box<str>>,
    events: u64,
}

impl FirstEventBackfill {
    pub(crate) fn new(snapshot: &EngineSnapshot, kind: &Kind) -> Self {
        Self {
            scan: scan_all(snapshot, ReadHint::FullScan),
            family: codec::first_family_of(kind),
            property: kind.group_key().map(Into::into),
            events: 0,
        }
    }

    /// How many events had an id of the kind, so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The next chunk; none is empty. An id can be in several.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<FirstEvent>>> {
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
                    let names = std::slice::from_ref(property);
                    let Ok(event) = EventBytes::read(value) else { continue };
                    // A value that is damaged further on still counts with the ids before the damage.
                    let _ = event.pick(names, |_, value| {
                        value.group_ids(&mut note);
                    });
                }
            }
            self.events += u64::from(named);
        }
        let chunk: Vec<FirstEvent> = times.iter().map(|(id, time)| FirstEvent::new(&self.family, id, *time)).collect();
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}
