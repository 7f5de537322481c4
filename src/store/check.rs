//! The checker: a full scan that verifies every row, every pending operand and every first-event time.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::shared::Shared;
use crate::codec::{self, family_of, first_family_of, first_kind_of, kind_of};
use crate::error::Result;
use crate::limits::Limits;
use crate::model::{Damage, Kind, Value};
use crate::ops::json_bytes;
use crate::rocks::{DamagedKeys, EngineSnapshot, PendingOperands, SalvagedRow, probe_folds};

/// At most this many findings are listed per table; all are counted.
const FINDINGS_MAX: usize = 100;

/// What a check found in a store.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Table by table.
    pub tables: Vec<TableReport>,
    /// What the engine reported since the store was opened, if anything.
    pub engine_failure: Option<String>,
}

impl CheckReport {
    /// Whether nothing is wrong: every row can be read, and no operand is in quarantine. Profiles over a limit are not
    /// wrong; they were admitted under other limits or grew by appending.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let sound = |table: &TableReport| {
            table.unreadable_rows == 0 && table.quarantined_operands == 0 && table.damage.is_empty()
        };
        self.engine_failure.is_none() && self.tables.iter().all(sound)
    }
}

/// What a check found in a table.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct TableReport {
    /// `users`, or `group:` and the group key, or `events` and `segments`, which are the log: events that are rows, and
    /// those that are sealed.
    pub table: String,
    /// Profiles that exist. 0 in the log.
    pub profiles: u64,
    /// Rows of absent profiles, which have no properties. A compaction may keep them.
    pub absent_rows: u64,
    /// Events, in the log. In another table, ids with a first-event time, with or without a profile.
    pub events: u64,
    /// Properties of all profiles together.
    pub properties: u64,
    /// Bytes of all rows, or of the values of all events, together.
    pub row_bytes: u64,
    /// Rows per version of the format.
    pub format_versions: BTreeMap<u8, u64>,
    /// Operands that are not folded into a stored row yet.
    pub pending_operands: u64,
    /// The most operands pending on one profile, and which one it is.
    pub most_pending: Option<(u64, String)>,
    /// Operands in quarantine.
    pub quarantined_operands: u64,
    /// Rows, events and first-event times that cannot be read.
    pub unreadable_rows: u64,
    /// Profiles that are over a limit of the store as it was opened.
    pub over_limit: u64,
    /// The first hundred things that are wrong or over a limit.
    pub findings: Vec<Finding>,
    /// Ranges of rows, events or first-event times that cannot be read, because their blocks are damaged. What they
    /// contain is not counted.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong or over a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The id of the profile; of an event, its `distinct_id`.
    pub id: String,
    /// What is wrong with it.
    pub what: String,
}

impl TableReport {
    /// A report without any counts yet.
    pub(crate) fn named(table: &str) -> Self {
        Self { table: table.to_owned(), ..Self::default() }
    }

    /// Counts something that cannot be read.
    pub(crate) fn find_unreadable(&mut self, key: &[u8], what: &str) {
        self.unreadable_rows += 1;
        self.find(key, what.to_owned());
    }

    fn find(&mut self, key: &[u8], what: String) {
        if self.findings.len() < FINDINGS_MAX {
            // To be shown, whatever it is.
            self.findings.push(Finding { id: String::from_utf8_lossy(key).into_owned(), what });
        }
    }

    fn row(&mut self, key: &[u8], row: &[u8], pending: PendingOperands, limits: &Limits) {
        self.row_bytes += row.len() as u64;
        self.pending_operands += pending.operands;
        if pending.operands > self.most_pending.as_ref().map_or(0, |(most, _)| *most) {
            self.most_pending = Some((pending.operands, String::from_utf8_lossy(key).into_owned()));
        }
        if std::str::from_utf8(key).is_err() {
            return self.find_unreadable(key, "the id is not UTF-8");
        }
        let info = match codec::inspect(row) {
            Ok(info) => info,
            Err(error) => return self.find_unreadable(key, error.message()),
        };
        *self.format_versions.entry(info.version).or_default() += 1;
        self.properties += info.properties as u64;
        *(if info.exists { &mut self.profiles } else { &mut self.absent_rows }) += 1;
        if info.quarantined > 0 {
            self.quarantined_operands += info.quarantined as u64;
            self.find(key, format!("operands in quarantine count={}", info.quarantined));
        }
        let over = over_limit(row, info.counted, limits);
        self.over_limit += u64::from(!over.is_empty());
        over.into_iter().for_each(|what| self.find(key, what));
    }
}

fn over_limit(row: &[u8], properties: usize, limits: &Limits) -> Vec<String> {
    let mut over = Vec::new();
    if properties > limits.properties_max {
        over.push(format!("more properties than {} properties={properties}", limits.properties_max));
    }
    // A value as JSON is at most a few times larger than its encoding, so small rows need not be decoded.
    if row.len() >= limits.nested_bytes_max / 8
        && let Ok(Some(profile)) = codec::decode_profile(row)
    {
        for (name, value) in profile.properties() {
            let bytes = if matches!(value, Value::List(_) | Value::Object(_)) { json_bytes(value) } else { 0 };
            if bytes > limits.nested_bytes_max {
                let bytes_max = limits.nested_bytes_max;
                over.push(format!("larger than {bytes_max} bytes as JSON property={name:?} bytes={bytes}"));
            }
        }
    }
    over
}

fn check_first_events(snapshot: &EngineSnapshot, kind: &Kind, report: &mut TableReport) -> Result<()> {
    let family = first_family_of(kind);
    snapshot.salvage(&family, |item| {
        match item {
            SalvagedRow::Row(key, stamp) => {
                report.events += 1;
                if let Err(error) = codec::decode_stamp(stamp) {
                    report.find_unreadable(key, error.message());
                }
            }
            SalvagedRow::Damage(keys) => report.damage.push(damage(&family, keys)),
        }
        Ok(())
    })
}

/// A damaged range of ids.
pub(crate) fn damage(table: &str, DamagedKeys { after, before, error }: DamagedKeys) -> Damage {
    // To be shown, whatever they are.
    let text = |key: Option<Vec<u8>>| key.map(|key| String::from_utf8_lossy(&key).into_owned());
    Damage { table: table.to_owned(), after: text(after), before: text(before), reason: error.with_sources() }
}

impl Shared {
    /// Verifies all profiles and first-event times.
    pub(crate) fn check(&self, snapshot: &EngineSnapshot) -> Result<CheckReport> {
        let check = |kind: &Kind| {
            let mut report = TableReport::named(&kind.to_string());
            let family = &family_of(kind);
            probe_folds(|probe| {
                // Opening the scan folds the first row, so the probe has to be there before.
                snapshot.salvage(family, |item| {
                    let pending = probe.take();
                    match item {
                        SalvagedRow::Row(key, row) => report.row(key, row, pending, &self.options.limits),
                        SalvagedRow::Damage(keys) => {
                            let found = damage(&report.table, keys);
                            report.damage.push(found);
                        }
                    }
                    Ok(())
                })
            })
            .and_then(|()| check_first_events(snapshot, kind, &mut report))
            .map(|()| report)
        };
        // A kind can have first-event times and no profile.
        let kinds = self.engine().families().into_iter();
        let kinds: BTreeSet<Kind> = kinds.filter_map(|family| kind_of(&family).or(first_kind_of(&family))).collect();
        let tables: Result<_> = kinds.iter().map(check).collect();
        let engine_failure = self.engine().health().failure.map(|error| error.to_string());
        Ok(CheckReport { tables: tables?, engine_failure })
    }
}
