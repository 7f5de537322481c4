//! Stored codes: what joins have read of the table of users, by ordinal, and which profiles were changed since.
//!
//! ```text
//! codes     key    | properties | length and bytes of each name | chunk: 4 |
//!           value  of chunk 0   | 0x61 | epoch: 8 | changed: 8 | chunks: 4 | ordinals: 4 |
//!           value  of others    what joins have encoded
//! changes   key    | epoch: 8 |    value  | 0x31 | changed: 8 | length and bytes of each id |
//! ```
//!
//! Integers with a width are big-endian, others are varints. Every commit that changes profiles of users adds a record
//! under the next epoch to the same batch. Codes say as of which epoch they are; in any snapshot, the records after it
//! name all profiles that may differ. `changed` counts the ids of all records up to an epoch.
//!
//! Nothing is recorded before codes are stored for the first time, nor once so much has changed that joins read the
//! whole table anyway: the codes are deleted then. Records are deleted once no codes are as of an earlier epoch.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::codec::{CHANGES, CODES, Malformed, Read, Reader, put_slice, put_varint};
use crate::error::{Error, Result};
use crate::join::{CODES_REMEDY, ChangedIds, StoredCodes, check_codes};
use crate::rocks::{Engine, EngineSnapshot, ReadHint, WriteBatch};

/// Tag and version of what is known of codes, and of a record of changes.
const STAMP_VERSION: u8 = 0x61;
const CHANGES_VERSION: u8 = 0x31;

/// Codes are deleted once more than one in this many users changed since.
const CHANGED_SHARE: u64 = 8;

/// Codes are stored again after this many changes.
const CHANGED_DUE: u64 = 2_048;

/// At least this many changes are recorded.
const CHANGED_MIN: u64 = 4_096;

/// This many changes are recorded while codes are being stored for the first time.
pub(super) const UNUSED_MAX: u64 = 1 << 20;

/// Codes of more combinations of properties than this are not kept.
pub(super) const PROJECTIONS_MAX: usize = 64;

/// After all keys of both families: names are not that many, and epochs do not come that far.
pub(super) const END: &[u8] = &[0xff; 9];

/// What is recorded of changes. It changes only while nothing is being committed, but for the count of reads.
#[derive(Debug, Default)]
pub(super) struct ChangeRecords(pub(super) Mutex<Recording>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recording {
    pub(super) is_on: bool,
    /// The last one.
    pub(super) epoch: u64,
    /// The ids of all records.
    pub(super) changed: u64,
    /// With more of them recording ends, and codes are deleted.
    pub(super) changed_max: u64,
    /// How many were there when codes were stored last.
    pub(super) stored: u64,
    /// How often codes were deleted, but for those that newer ones replaced.
    pub(super) deletions: u64,
    /// How often a join has read what was not stored, or codes were deleted; and how often when codes were stored last.
    pub(super) reads: u64,
    pub(super) stored_reads: u64,
}

/// What a commit adds, which counts once it is committed.
#[must_use]
pub(super) struct RecordedChanges(Option<Recording>);

impl ChangeRecords {
    /// What a store has of before. Codes of which that cannot be read are deleted: changes after those could not be
    /// told from changes before.
    pub(super) fn load(engine: &Arc<Engine>) -> Result<Self> {
        match Self::read(&engine.snapshot()) {
            Err(error) if error.is_corrupt() => {
                let mut batch = engine.batch();
                batch.delete_range(CODES, &[], END)?;
                batch.delete_range(CHANGES, &[], END)?;
                batch.commit(true)?;
                Ok(Self::default())
            }
            read => read,
        }
    }

    fn read(snapshot: &EngineSnapshot) -> Result<Self> {
        let mut recording = Recording::default();
        if let Some(record) = last_record(snapshot)? {
            (recording.epoch, recording.changed) = (record.epoch, record.changed);
        }
        for (names, stamp) in stamps(snapshot)? {
            stamp.check(&names, recording.epoch, recording.changed)?;
            recording.is_on = true;
            recording.changed_max = recording.changed_max.max(stamp.changed_max());
            recording.stored = recording.stored.max(stamp.changed);
        }
        Ok(Self(Mutex::new(recording)))
    }

    /// Adds the users that a batch changes to it.
    pub(super) fn record<'k>(
        &self,
        ids: impl Iterator<Item = &'k [u8]>,
        batch: &mut WriteBatch<'_>,
    ) -> Result<RecordedChanges> {
        let mut recording = *self.0.lock();
        if !recording.is_on {
            return Ok(RecordedChanges(None));
        }
        let ids: Vec<&[u8]> = ids.collect();
        if ids.is_empty() {
            return Ok(RecordedChanges(None));
        }
        let changed = recording.changed.saturating_add(ids.len() as u64);
        if changed > recording.changed_max {
            recording.is_on = false;
            recording.deletions += 1;
            batch.delete_range(CODES, &[], END)?;
        } else {
            recording.epoch += 1;
            recording.changed = changed;
            let mut record = vec![CHANGES_VERSION];
            record.extend(recording.changed.to_be_bytes());
            ids.iter().for_each(|id| put_slice(&mut record, id));
            batch.put(CHANGES, &recording.epoch.to_be_bytes(), &record)?;
        }
        Ok(RecordedChanges(Some(recording)))
    }

    /// Takes note that the batch was committed, and says whether codes are due now and were not before.
    pub(super) fn committed(&self, RecordedChanges(recorded): RecordedChanges) -> bool {
        let Some(recorded) = recorded else { return false };
        let mut recording = self.0.lock();
        let was_due = recording.is_due();
        let reads = recording.reads + recorded.deletions.saturating_sub(recording.deletions);
        *recording = Recording { reads, ..recorded };
        recording.is_due() && !was_due
    }

    pub(crate) fn note_full_read(&self) {
        self.0.lock().reads += 1;
    }
}

impl Recording {
    /// Whether codes were read that are not stored, or many profiles were changed since those that are.
    pub(super) fn is_due(&self) -> bool {
        self.reads > self.stored_reads || (self.is_on && self.changed.saturating_sub(self.stored) >= CHANGED_DUE)
    }
}

/// What is known of stored codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodesStamp {
    pub(super) epoch: u64,
    pub(super) changed: u64,
    pub(super) chunks: u32,
    pub(super) ordinals: u32,
}

impl CodesStamp {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = vec![STAMP_VERSION];
        [self.epoch, self.changed].iter().for_each(|number| out.extend(number.to_be_bytes()));
        [self.chunks, self.ordinals].iter().for_each(|number| out.extend(number.to_be_bytes()));
        out
    }

    fn decode(value: &[u8]) -> Read<Self> {
        let mut reader = Reader::new(value);
        reader.version(STAMP_VERSION, "not what is known of codes")?;
        let wrong = Malformed("what is known of codes has another length");
        let (long, short) = reader.rest().split_at_checked(16).ok_or(wrong)?;
        let ([epoch, changed], []) = long.as_chunks::<8>() else { return Err(wrong) };
        let ([chunks, ordinals], []) = short.as_chunks::<4>() else { return Err(wrong) };
        let (epoch, changed) = (u64::from_be_bytes(*epoch), u64::from_be_bytes(*changed));
        Ok(Self { epoch, changed, chunks: u32::from_be_bytes(*chunks), ordinals: u32::from_be_bytes(*ordinals) })
    }

    /// Fails if they are as of a later epoch than the last one.
    fn check(&self, names: &[Box<str>], epoch: u64, changed: u64) -> Result<()> {
        if self.epoch <= epoch && self.changed <= changed {
            return Ok(());
        }
        Err(corrupt_codes(
            names,
            &format!("they are as of a later change than the last one epoch={} last={epoch}", self.epoch),
        ))
    }

    /// With more changed ids than this they are of no use.
    pub(super) fn changed_max(&self) -> u64 {
        self.changed.saturating_add((u64::from(self.ordinals) / CHANGED_SHARE).max(CHANGED_MIN))
    }
}

/// A record of changes.
struct ChangeRecord {
    epoch: u64,
    changed: u64,
    ids: Vec<Box<[u8]>>,
}

impl ChangeRecord {
    fn decode(key: &[u8], value: &[u8]) -> Result<Self> {
        let read = || {
            let key = key.try_into().map_err(|_| Malformed("the key of a record of changes has another length"))?;
            let mut reader = Reader::new(value);
            reader.version(CHANGES_VERSION, "not a record of changes")?;
            let changed = reader.take(8)?.try_into().map_err(|_| Malformed("unexpected end of the bytes"))?;
            let mut record =
                Self { epoch: u64::from_be_bytes(key), changed: u64::from_be_bytes(changed), ids: Vec::new() };
            while !reader.is_empty() {
                record.ids.push(reader.slice()?.into());
            }
            Ok(record)
        };
        read().map_err(|Malformed(what)| {
            Error::corrupt(format!("a record of changed profiles cannot be read: {what} {CODES_REMEDY} key={key:02x?}"))
        })
    }
}

/// The key of a chunk of the codes of properties.
pub(super) fn chunk_key(names: &[Box<str>], chunk: u32) -> Vec<u8> {
    let mut key = Vec::new();
    put_varint(&mut key, names.len() as u64);
    names.iter().for_each(|name| put_slice(&mut key, name.as_bytes()));
    key.extend(chunk.to_be_bytes());
    key
}

/// The properties and the chunk of a key.
fn read_chunk_key(key: &[u8]) -> Read<(Vec<Box<str>>, u32)> {
    let mut reader = Reader::new(key);
    let count = reader.len()?;
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(reader.str()?.into());
    }
    let chunk = reader.rest().try_into().map_err(|_| Malformed("the key of codes has another length"))?;
    Ok((names, u32::from_be_bytes(chunk)))
}

fn corrupt_key(key: &[u8]) -> impl Fn(Malformed) -> Error {
    move |Malformed(what)| {
        Error::corrupt(format!("the stored codes of users cannot be read: {what} {CODES_REMEDY} key={key:02x?}"))
    }
}

fn corrupt_codes(names: &[Box<str>], what: &str) -> Error {
    Error::corrupt(format!("the stored codes of users cannot be read: {what} {CODES_REMEDY} properties={names:?}"))
}

/// The properties that have stored codes.
pub(super) fn stamps(snapshot: &EngineSnapshot) -> Result<Vec<(Vec<Box<str>>, CodesStamp)>> {
    use std::ops::Bound::Unbounded;

    let mut found = Vec::new();
    if !snapshot.engine().has_family(CODES) {
        return Ok(found);
    }
    let mut rows = snapshot.scan(CODES, Unbounded, Unbounded, ReadHint::ShortRange);
    while let Some((key, value)) = rows.next()? {
        let (names, chunk) = read_chunk_key(key).map_err(corrupt_key(key))?;
        if chunk != 0 {
            return Err(corrupt_codes(&names, "chunks without a stamp"));
        }
        let stamp = CodesStamp::decode(value).map_err(|Malformed(what)| corrupt_codes(&names, what))?;
        rows.seek(&chunk_key(&names, stamp.chunks.saturating_add(1)));
        found.push((names, stamp));
    }
    Ok(found)
}

fn last_record(snapshot: &EngineSnapshot) -> Result<Option<ChangeRecord>> {
    use std::ops::Bound::Unbounded;

    if !snapshot.engine().has_family(CHANGES) {
        return Ok(None);
    }
    let mut rows = snapshot.scan(CHANGES, Unbounded, Unbounded, ReadHint::ShortRange);
    rows.next_back()?.map(|(key, value)| ChangeRecord::decode(key, value)).transpose()
}

fn read_chunks(snapshot: &EngineSnapshot, names: &[Box<str>], stamp: &CodesStamp) -> Result<Vec<Vec<u8>>> {
    let keys: Vec<Vec<u8>> = (1..=stamp.chunks).map(|chunk| chunk_key(names, chunk)).collect();
    let chunks = snapshot.read_many(CODES, &keys, |_, value| value.map(<[u8]>::to_vec))?;
    let chunks: Option<Vec<Vec<u8>>> = chunks.into_iter().collect();
    chunks.ok_or_else(|| corrupt_codes(names, "a chunk is missing"))
}

/// The codes of properties that are stored, as a snapshot sees them, and what changed since; none if there are none, or
/// they are of no use.
pub(crate) fn stored_codes(snapshot: &EngineSnapshot, names: &[Box<str>]) -> Result<Option<StoredCodes>> {
    use std::ops::Bound::{Excluded, Unbounded};

    if !snapshot.engine().has_family(CODES) {
        return Ok(None);
    }
    let stamp = snapshot.read(CODES, &chunk_key(names, 0), |value| value.map(CodesStamp::decode).transpose())?;
    let Some(stamp) = stamp.map_err(|Malformed(what)| corrupt_codes(names, what))? else { return Ok(None) };
    let last = last_record(snapshot)?;
    let (epoch, changed) = last.map_or((0, 0), |last| (last.epoch, last.changed));
    stamp.check(names, epoch, changed)?;
    if changed > stamp.changed_max() {
        return Ok(None);
    }
    let mut ids = Vec::new();
    let mut records = snapshot.scan(CHANGES, Excluded(&stamp.epoch.to_be_bytes()), Unbounded, ReadHint::LongRange);
    let mut next = stamp.epoch;
    while let Some((key, value)) = records.next()? {
        let record = ChangeRecord::decode(key, value)?;
        next = next.saturating_add(1);
        if record.epoch != next {
            return Err(corrupt_codes(names, &format!("a record of changes is missing epoch={next}")));
        }
        ids.extend(record.ids);
    }
    drop(records);
    ids.sort_unstable();
    ids.dedup();
    let mut changed = ChangedIds::default();
    ids.iter().for_each(|id| changed.push(id));
    Ok(Some(StoredCodes { chunks: read_chunks(snapshot, names, &stamp)?, changed }))
}

/// Checks that all stored codes, and the records of changes since, can be read. Calls `each` with what cannot.
pub(crate) fn check_stored_codes(snapshot: &EngineSnapshot, mut each: impl FnMut(&Error)) -> Result<()> {
    let check = |names: &[Box<str>], stamp: &CodesStamp| {
        let Some(codes) = stored_codes(snapshot, names)? else { return Ok(()) };
        match check_codes(&codes.chunks, names)? {
            ordinals if ordinals == stamp.ordinals => Ok(()),
            _ => Err(corrupt_codes(names, "their stamp is of other ones")),
        }
    };
    let mut report = |checked: Result<()>| match checked {
        Err(error) if error.is_corrupt() => {
            each(&error);
            Ok(())
        }
        checked => checked,
    };
    match stamps(snapshot) {
        Ok(stamps) => stamps.iter().try_for_each(|(names, stamp)| report(check(names, stamp))),
        Err(error) => report(Err(error)),
    }
}

/// Of how many combinations of properties codes are stored.
#[cfg(any(test, feature = "laws"))]
pub(crate) fn count_stored_codes(snapshot: &EngineSnapshot) -> Result<usize> {
    Ok(stamps(snapshot)?.len())
}
