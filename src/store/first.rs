//! The times of first events, beside profiles that are read in the order of their ids.

use std::cmp::Ordering;
use std::ops::Bound;

use crate::codec::decode_stamp;
use crate::error::Result;
use crate::model::Timestamp;
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};

/// A cursor over the times of a kind.
pub(super) struct FirstTimes {
    scan: EngineScan,
    at: At,
}

enum At {
    Start,
    Id(Vec<u8>, Result<Timestamp>),
    End,
}

impl FirstTimes {
    /// None when no event of this kind was ever written: then there is nothing to look for.
    pub(super) fn scan(
        snapshot: &EngineSnapshot,
        family: &str,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        hint: ReadHint,
    ) -> Option<Self> {
        let exists = snapshot.engine().has_family(family);
        exists.then(|| Self { scan: snapshot.scan(family, from, to, hint), at: At::Start })
    }

    /// The id that the cursor stands on, if it is not at the end.
    pub(super) fn id(&mut self) -> Result<Option<&[u8]>> {
        if matches!(self.at, At::Start) {
            self.step()?;
        }
        Ok(if let At::Id(id, _) = &self.at { Some(id) } else { None })
    }

    /// The time of an id, which must not be less than any that was asked for before.
    pub(super) fn of(&mut self, wanted: &[u8]) -> Result<Option<Result<Timestamp>>> {
        while let Some(id) = self.id()? {
            match id.cmp(wanted) {
                Ordering::Less => self.step()?,
                Ordering::Equal => break,
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(if let At::Id(_, time) = &self.at { Some(time.clone()) } else { None })
    }

    /// The time of the id that the cursor stands on, and on to the next.
    pub(super) fn take(&mut self) -> Result<Option<Result<Timestamp>>> {
        let time = if let At::Id(_, time) = &self.at { Some(time.clone()) } else { None };
        self.step()?;
        Ok(time)
    }

    fn step(&mut self) -> Result<()> {
        let next = self.scan.next()?;
        // The memory of the last id serves for the next.
        let mut id = if let At::Id(id, _) = std::mem::replace(&mut self.at, At::End) { id } else { Vec::new() };
        if let Some((key, stamp)) = next {
            id.clear();
            id.extend_from_slice(key);
            self.at = At::Id(id, decode_stamp(stamp));
        }
        Ok(())
    }
}
