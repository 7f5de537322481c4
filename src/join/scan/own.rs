//! Iterator scan: the caller's own events, which are put into blocks without a detour through bytes of rows.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{EventScan, ScanSpec};
use crate::error::{Error, Result};
use crate::join::block::Block;
use crate::join::probe::{FilterCursor, Probe};
use crate::model::{Event, Timestamp};

/// The caller's events, before they are read.
type EventIterator = Box<dyn Iterator<Item = Result<Event>> + Send>;

/// The caller's events. Clones share them, and they are read once.
#[derive(Clone)]
pub(in crate::join) struct OwnEvents(Arc<Mutex<Option<EventIterator>>>);

impl OwnEvents {
    pub(in crate::join) fn new(events: impl Iterator<Item = Result<Event>> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(events)))))
    }

    /// The events, for the one execution that reads them.
    pub(in crate::join) fn take(&self) -> Result<Self> {
        let events = self.0.lock().take();
        let events = events.ok_or_else(|| Error::invalid("the caller's events were read already"))?;
        Ok(Self(Arc::new(Mutex::new(Some(events)))))
    }

    /// Begins to read them.
    pub(in crate::join) fn scan(&self, spec: ScanSpec) -> Result<Box<dyn EventScan>> {
        let events = self.0.lock().take();
        let events = events.ok_or_else(|| Error::invalid("the caller's events were read already"))?;
        let filter = FilterCursor::new(spec.users.filter.clone());
        Ok(Box::new(IteratorScan { events, spec, filter, last: None }))
    }
}

struct IteratorScan {
    events: EventIterator,
    spec: ScanSpec,
    filter: FilterCursor,
    /// The last event that was read.
    last: Option<(Timestamp, String)>,
}

impl IteratorScan {
    /// Checks that events come in the order of day, id and time: a merge join of others would be slow, and their rows
    /// would not be ordered.
    fn check_order(&mut self, event: &Event) -> Result<()> {
        let (time, id) = (event.time(), event.distinct_id());
        if let Some((last_time, last_id)) = &mut self.last {
            let day = |time: Timestamp| time.day_and_millis().0;
            let last = (day(*last_time), last_id.as_str(), *last_time);
            if (day(time), id, time) < last {
                let (event, after) = (format!("{time} {id:?}"), format!("{last_time} {last_id:?}"));
                return Err(Error::invalid(format!("the events do not ascend event=({event}) after=({after})")));
            }
            *last_time = time;
            if last_id != id {
                id.clone_into(last_id);
            }
        } else {
            self.last = Some((time, id.to_owned()));
        }
        Ok(())
    }
}

impl EventScan for IteratorScan {
    fn fill(&mut self, block: &mut Block, max: usize) -> Result<bool> {
        // A source that may wait for its events is left after each of them that did not pass.
        while !block.is_full(max) {
            let Some(event) = self.events.next() else { return Ok(false) };
            let event = event?;
            block.scanned.events += 1;
            self.check_order(&event)?;
            let predicate = &self.spec.predicate;
            if predicate.has_time(event.time())
                && predicate.has_name(event.name().as_bytes())
                && matches!(self.filter.probe(event.distinct_id().as_bytes()), Probe::Hit)
            {
                let before = block.len();
                block.push_event(&event)?;
                predicate.filter_last(block)?;
                if block.len() > before {
                    continue;
                }
            }
            return Ok(true);
        }
        Ok(true)
    }
}
