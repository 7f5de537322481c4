//! Range scans of profiles: a sort-merge full outer join, by id, of rows and first-event times, with filter and
//! projection pushed down into the decoding of rows.
//!
//! A scan reads from both ends. Each end is a cursor of its own, and they stop where they meet.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::Bound;

use super::families::Families;
use crate::codec;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::{Expr, Reference, Scope};
use crate::join::CancelToken;
use crate::model::{FIRST_EVENT, LAST_SEEN, Profile, Timestamp, Value};
use crate::rocks::{EngineScan, EngineSnapshot, ReadHint};

/// How many rows are read between two looks at the token that cancels a scan.
const CANCEL_ROWS: u64 = 1_000;

/// What a scan reads.
pub(super) struct ScanPlan {
    pub(super) snapshot: EngineSnapshot,
    pub(super) families: Families,
    /// The least id.
    pub(super) from: Vec<u8>,
    /// The ids stop below this one.
    pub(super) to: Option<Vec<u8>>,
    pub(super) hint: ReadHint,
    pub(super) filter: Option<ProfileFilter>,
    /// The names of the properties that are decoded, ascending; all of them without.
    pub(super) select: Option<Vec<Box<str>>>,
    /// Whether ids without a profile are returned.
    pub(super) all_ids: bool,
    pub(super) reverse: bool,
    pub(super) limit: Option<usize>,
    pub(super) cancel: Option<CancelToken>,
    /// Why nothing can be read.
    pub(super) refused: Option<Error>,
}

/// A predicate on profiles, and the names of the properties that it refers to, ascending.
#[derive(Clone, Debug)]
pub(super) struct ProfileFilter {
    expr: Expr,
    names: Vec<Box<str>>,
}

impl ProfileFilter {
    pub(super) fn new(expr: Expr) -> Self {
        let names = sorted(expr.references().iter().map(|reference| reference.name.as_str()));
        Self { expr, names }
    }

    fn keeps(&self, scope: &ProfileScope<'_>) -> Result<bool> {
        self.expr.is_true(scope)
    }
}

/// Names in ascending order, each once.
pub(super) fn sorted<'n>(names: impl Iterator<Item = &'n str>) -> Vec<Box<str>> {
    let names: std::collections::BTreeSet<&str> = names.collect();
    names.into_iter().map(Into::into).collect()
}

fn has(names: &[Box<str>], name: &str) -> bool {
    names.binary_search_by(|known| (**known).cmp(name)).is_ok()
}

/// A profile as an expression sees it, or an id that has events only.
struct ProfileScope<'s> {
    families: &'s Families,
    id: &'s str,
    profile: Option<&'s Profile>,
    first_event: Option<Timestamp>,
}

impl Scope for ProfileScope<'_> {
    fn value(&self, _: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
        let time = |time: Option<Timestamp>| time.map(|time| Cow::Owned(time.to_string().into()));
        Ok(match reference.name.as_str() {
            LAST_SEEN => time(self.profile.and_then(Profile::last_seen)),
            FIRST_EVENT => time(self.first_event),
            "$distinct_id" => Some(Cow::Owned(self.id.into())),
            name if name == self.families.kind.id_field() => Some(Cow::Owned(self.id.into())),
            name => self.profile.and_then(|profile| profile.get(name)).map(Cow::Borrowed),
        })
    }
}

/// What is stored of one id.
struct StoredId<'s> {
    key: &'s [u8],
    row: Option<&'s [u8]>,
    first_event: Option<&'s [u8]>,
    /// Whether the first-event times cannot be read from here on.
    damaged: bool,
}

/// A cursor over the ids of a range that have a row or a first-event time, in one direction.
struct MergeCursor {
    rows: EngineScan,
    first_events: Option<EngineScan>,
    backwards: bool,
    /// Whether the scan goes on without the first-event times when they are damaged.
    tolerant: bool,
    /// Whether it did.
    damaged: bool,
    /// Whether the row and the first-event time under the cursors were used, so that their cursors move on.
    used: (bool, bool),
}

impl MergeCursor {
    fn next(&mut self) -> Result<Option<StoredId<'_>>> {
        if self.used.0 {
            step(&mut self.rows, self.backwards)?;
        }
        if let Some(first_events) = self.first_events.as_mut().filter(|_| self.used.1) {
            match step(first_events, self.backwards) {
                Err(error) if self.tolerant && error.is_corrupt() => {
                    self.first_events = None;
                    self.damaged = true;
                }
                stepped => stepped?,
            }
        }
        let (row, first) = (self.rows.current(), self.first_events.as_ref().and_then(EngineScan::current));
        let order = match (row, first) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((row, _)), Some((first, _))) if self.backwards => first.cmp(row),
            (Some((row, _)), Some((first, _))) => row.cmp(first),
        };
        let row = row.filter(|_| order.is_le());
        let first = first.filter(|_| order.is_ge());
        self.used = (row.is_some(), first.is_some());
        Ok(row.or(first).map(|(key, _)| StoredId {
            key,
            row: row.map(|(_, row)| row),
            first_event: first.map(|(_, stamp)| stamp),
            damaged: self.damaged,
        }))
    }
}

fn step(scan: &mut EngineScan, backwards: bool) -> Result<()> {
    if backwards { scan.next_back() } else { scan.next() }.map(|_| ())
}

impl ScanPlan {
    fn open(&self, backwards: bool) -> MergeCursor {
        let open = |family: &str| {
            let to = self.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            self.snapshot.scan(family, Bound::Included(&self.from), to, self.hint)
        };
        let refers = |names: &[Box<str>]| has(names, FIRST_EVENT);
        let needed = self.all_ids
            || self.select.as_deref().is_none_or(refers)
            || self.filter.as_ref().is_some_and(|filter| refers(&filter.names));
        let family = &self.families.first_events;
        let first_events = (needed && self.snapshot.engine().has_family(family)).then(|| open(family));
        // Of a whole profile, the rest is returned. A question about the time has no answer.
        let tolerant = !self.all_ids
            && !self.select.as_deref().is_some_and(refers)
            && !self.filter.as_ref().is_some_and(|filter| refers(&filter.names));
        let rows = open(&self.families.rows);
        MergeCursor { rows, first_events, backwards, tolerant, damaged: false, used: (true, true) }
    }

    /// Decodes an id with its profile, unless there is neither or the filter drops it.
    fn read(&self, stored: &StoredId<'_>, id: &str) -> Result<Option<Option<Profile>>> {
        let decode = |names: Option<&[Box<str>]>| match (stored.row, names) {
            (None, _) => Ok(None),
            (Some(row), None) => codec::decode_profile(row),
            (Some(row), Some(names)) => codec::decode_properties(row, names),
        };
        let first_event = || stored.first_event.map(codec::decode_stamp).transpose();
        let is_known = self.all_ids && stored.first_event.is_some();
        if let Some(filter) = &self.filter {
            let profile = decode(Some(&filter.names))?;
            if profile.is_none() && !is_known {
                return Ok(None);
            }
            let (profile, first_event) = (profile.as_ref(), first_event()?);
            if !filter.keeps(&ProfileScope { families: &self.families, id, profile, first_event })? {
                return Ok(None);
            }
        }
        let Some(mut profile) = decode(self.select.as_deref())? else {
            return Ok(is_known.then_some(None));
        };
        let selected = |name: &str| self.select.as_deref().is_none_or(|names| has(names, name));
        profile.last_seen = profile.last_seen.filter(|_| selected(LAST_SEEN));
        if selected(FIRST_EVENT) {
            match first_event() {
                Ok(time) => profile.first_event = time,
                Err(error) if self.select.is_none() && !self.all_ids && error.is_corrupt() => {
                    profile.first_event_damaged = true;
                }
                Err(error) => return Err(error),
            }
            profile.first_event_damaged |= stored.damaged;
        }
        Ok(Some(Some(profile)))
    }
}

/// An id, and its profile, if it has one.
type IdProfile = (String, Option<Profile>);

/// The two ends of a scan.
struct ScanEnds {
    plan: ScanPlan,
    /// The cursors of the front and of the back, opened on demand, and the last key that each returned.
    ends: [Option<(MergeCursor, Vec<u8>)>; 2],
    ended: bool,
    /// Rows that were read.
    read: u64,
}

impl ScanEnds {
    fn new(plan: ScanPlan) -> Self {
        Self { plan, ends: [None, None], ended: false, read: 0 }
    }

    fn next(&mut self, from_back: bool) -> Option<Result<IdProfile>> {
        if let Some(error) = self.plan.refused.take() {
            self.ended = true;
            return Some(Err(error));
        }
        if self.ended || self.plan.limit == Some(0) {
            return None;
        }
        // What is wrong with one profile does not end the scan; what is wrong with the engine does.
        match self.advance(from_back != self.plan.reverse) {
            Ok(Some(item)) => {
                self.plan.limit = self.plan.limit.map(|limit| limit.saturating_sub(1));
                Some(item)
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }

    fn advance(&mut self, backwards: bool) -> Result<Option<Result<IdProfile>>> {
        let [front, back] = &mut self.ends;
        let (this, other) = if backwards { (back, front) } else { (front, back) };
        let (cursor, last) = this.get_or_insert_with(|| (self.plan.open(backwards), Vec::new()));
        // No id is empty.
        let other = other.as_ref().map(|(_, last)| last.as_slice()).filter(|last| !last.is_empty());
        while let Some(stored) = cursor.next()? {
            if self.read.is_multiple_of(CANCEL_ROWS) && self.plan.cancel.as_ref().is_some_and(CancelToken::is_cancelled)
            {
                return Err(Error::new(ErrorKind::Cancelled, "the scan was cancelled"));
            }
            self.read += 1;
            if other.is_some_and(|other| if backwards { stored.key <= other } else { stored.key >= other }) {
                break;
            }
            let families = &self.plan.families;
            let item = families.id(stored.key).and_then(|id| {
                let read = self.plan.read(&stored, id).map_err(|error| families.with_context(&error, stored.key))?;
                Ok(read.map(|profile| (id.to_owned(), profile)))
            });
            if let Some(item) = item.transpose() {
                last.clear();
                last.extend_from_slice(stored.key);
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name).field("kind", &self.plan.families.kind).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Profiles in the byte order of their ids, all of one snapshot, which the iterator owns. It can be read from both
/// ends.
///
/// A row that cannot be read is an error item, and the scan continues after it. When the engine cannot continue, the
/// last item is an error. An end without an error is the end of the range.
pub struct Profiles(ScanEnds);

impl Profiles {
    pub(super) fn new(plan: ScanPlan) -> Self {
        Self(ScanEnds::new(ScanPlan { all_ids: false, ..plan }))
    }

    fn profile(item: Result<IdProfile>) -> Option<Result<(String, Profile)>> {
        // Ids without a profile are not part of the plan.
        item.map(|(id, profile)| profile.map(|profile| (id, profile))).transpose()
    }
}

impl Iterator for Profiles {
    type Item = Result<(String, Profile)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(false).and_then(Self::profile)
    }
}

impl DoubleEndedIterator for Profiles {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next(true).and_then(Self::profile)
    }
}

impl FusedIterator for Profiles {}

impl fmt::Debug for Profiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt("Profiles", f)
    }
}

/// The ids that have a profile, an event, or both, in their byte order and all of one snapshot: each with its profile,
/// if it has one. Errors are as in [`Profiles`].
pub struct KnownIds(ScanEnds);

impl KnownIds {
    pub(super) fn new(plan: ScanPlan) -> Self {
        Self(ScanEnds::new(ScanPlan { all_ids: true, ..plan }))
    }
}

impl Iterator for KnownIds {
    type Item = Result<IdProfile>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(false)
    }
}

impl DoubleEndedIterator for KnownIds {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next(true)
    }
}

impl FusedIterator for KnownIds {}

impl fmt::Debug for KnownIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt("KnownIds", f)
    }
}
