//! A query that is answered by columns: what is the same for all blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cell_fields::FieldMeasure;
use super::predicates::ColumnPredicate;
use super::selection::Selection;
use super::totals::code_of;
use crate::codec::Read;
use crate::error::Result;
use crate::join::block::position;
use crate::join::exec::Execution;
use crate::join::filter::ColumnConjunct;
use crate::join::layout::{Column, Dim, Driver};
use crate::join::measure::Measure;
use crate::join::probe::{Codes, Dictionary, NO_ROW, OrdinalCodes};
use crate::join::tables::JoinTable;
use crate::segment::RunPacks;

/// The most cells of a block.
pub(super) const CELLS_MAX: usize = 1 << 16;

/// A query that can be answered by columns, and what is the same for all its blocks.
pub(super) struct ColumnQuery {
    /// The codes of the table of users, if one is joined.
    pub(super) codes: Option<Arc<OrdinalCodes>>,
    /// Whether users pass: by code plus one, first those without a row.
    pub(super) keeps: Vec<bool>,
    pub(super) keeps_all: bool,
    /// The users who pass, where they are few.
    pub(super) kept_users: Option<KeptUsers>,
    /// Whether events are counted, and not users alone.
    pub(super) counts_events: bool,
    /// Codes with the same values of the fields that are grouped by are one group: by code plus one, the number of its
    /// group, and for each group one code plus one.
    pub(super) groups: Vec<u32>,
    pub(super) group_codes: Vec<u32>,
    /// The fields of the event that are grouped by, in their order.
    pub(super) keys: Vec<Column>,
    /// Conjuncts of the filter that are not on users alone.
    pub(super) predicates: Vec<ColumnPredicate>,
    /// What is found out of fields of the event.
    pub(super) fields: Vec<FieldMeasure>,
    /// For each measure, which of those it is of, if it is of one.
    pub(super) field_places: Vec<usize>,
    /// Whether users are counted at the end, by their codes: all events of a user are of the same buckets.
    pub(super) uniques: bool,
    /// Whether users are counted by cell.
    pub(super) cell_uniques: bool,
    /// The ordinal of events without a user.
    pub(super) anonymous: Option<u32>,
    /// How many ordinals there are, where users are counted at the end.
    pub(super) ordinals: u32,
}

/// What is known of a query that columns can answer before anything is read.
struct QueryShape {
    conjuncts: Vec<ColumnConjunct>,
    keys: Vec<Column>,
    fields: Vec<FieldMeasure>,
    field_places: Vec<usize>,
    counts_users: bool,
}

impl QueryShape {
    /// The error says why events are joined row by row.
    fn new(
        execution: &Execution,
        by: impl Iterator<Item = Column>,
        measures: &[(Measure, Column)],
    ) -> std::result::Result<Self, &'static str> {
        let dims = execution.layout.dims.as_slice();
        if dims.len() > 1 || dims.iter().any(|dim| dim.ids.is_some()) {
            return Err("it joins more than the profiles of users");
        }
        if execution.has_requested_users() {
            return Err("users are requested by id");
        }
        let Some(conjuncts) = execution.predicate.filter.by_columns() else {
            return Err("a predicate is on two fields of the event, or can fail on a user and an event");
        };
        let keys: Vec<Column> = by.filter(|column| !matches!(column, Column::Dim { .. })).collect();
        if !keys.iter().all(|key| matches!(key, Column::Name | Column::Event(_) | Column::Period(_))) {
            return Err("it is grouped by a field of the event that is neither a property nor the name");
        }
        let is_stored = |conjunct: &ColumnConjunct| matches!(conjunct.event, Column::Name | Column::Event(_));
        if !conjuncts.iter().all(is_stored) {
            return Err("a predicate is on a field of the event that is neither a property nor the name");
        }
        let Some((fields, field_places)) = fields_of(measures) else {
            return Err("a measure cannot be computed from the columns of events");
        };
        let counts_users = measures.iter().any(|(measure, _)| *measure == Measure::Uniques);
        // Users of rows are known by id, those of columns by ordinal.
        if counts_users && execution.sealed.has_rows {
            return Err("it counts users, and the events that are not sealed are not in memory");
        }
        Ok(Self { conjuncts, keys, fields, field_places, counts_users })
    }
}

impl ColumnQuery {
    /// How the blocks of an execution are aggregated, for people; none without blocks.
    pub(super) fn explain(
        execution: &Execution,
        by: impl Iterator<Item = Column>,
        measures: &[(Measure, Column)],
    ) -> Option<String> {
        let is_possible = !execution.sealed.blocks.is_empty() && execution.layout.driver == Driver::Events;
        is_possible.then(|| match QueryShape::new(execution, by, measures) {
            Ok(_) => "by column".into(),
            Err(reason) => format!("row by row: {reason}"),
        })
    }

    /// The query of an execution, if it can be answered by columns.
    pub(super) fn new(
        execution: &Execution,
        by: impl Iterator<Item = Column>,
        measures: &[(Measure, Column)],
    ) -> Result<Option<Self>> {
        let sealed = &execution.sealed;
        if sealed.blocks.is_empty() || execution.layout.driver != Driver::Events {
            return Ok(None);
        }
        let Ok(shape) = QueryShape::new(execution, by, measures) else { return Ok(None) };
        let QueryShape { conjuncts, keys, fields, field_places, counts_users } = shape;
        let filter = &execution.predicate.filter;
        let uniques = counts_users && keys.is_empty();
        let cell_uniques = counts_users && !uniques;
        let codes = sealed.codes(0).cloned();
        let Some(keeps) = kept_codes(execution, codes.as_deref()) else { return Ok(None) };
        let (anonymous, ordinals) = match execution.tables.columns().filter(|_| counts_users) {
            Some(columns) => {
                let anonymous = columns.ordinals_of(&[b""])?.into_iter().next().flatten();
                (anonymous, if uniques { columns.ordinal_count()? } else { 0 })
            }
            None => (None, 0),
        };
        let keeps_all = keeps.iter().all(|keeps| *keeps);
        let dictionary = codes.as_ref().map(|codes| Arc::clone(&codes.dictionary)).unwrap_or_default();
        let predicate = |conjunct| ColumnPredicate::new(conjunct, filter, &dictionary);
        let predicates = conjuncts.into_iter().map(predicate).collect();
        // Every code a group of its own, until they are known to be fewer.
        let groups: Vec<u32> = (0..).take(keeps.len()).collect();
        let group_codes = groups.clone();
        let users = codes.as_ref().filter(|_| !keeps_all && !keeps.first().copied().unwrap_or(true));
        let runs = sealed.blocks.iter().map(|block| u64::from(block.summary.runs)).sum();
        let kept_users = users.and_then(|codes| KeptUsers::new(codes, &keeps, runs));
        let counts_events = !uniques || measures.iter().any(|(measure, _)| *measure == Measure::Count);
        Ok(Some(Self {
            kept_users,
            counts_events,
            codes,
            keeps,
            keeps_all,
            keys,
            predicates,
            fields,
            field_places,
            uniques,
            cell_uniques,
            anonymous,
            ordinals,
            groups,
            group_codes,
        }))
    }

    /// The dictionary of the users that are joined, if they are.
    pub(super) fn dictionary(&self) -> Option<&Arc<Dictionary>> {
        self.codes.as_ref().map(|codes| &codes.dictionary)
    }

    /// Memory in use, in bytes, besides the codes.
    pub(super) fn memory(&self) -> usize {
        let predicates = self.predicates.iter().map(ColumnPredicate::memory).sum::<usize>();
        self.keeps.capacity()
            + (self.groups.capacity() + self.group_codes.capacity()) * size_of::<u32>()
            + predicates
            + self.kept_users.as_ref().map_or(0, |kept| kept.0.capacity() * size_of::<u32>())
    }

    /// What a thread allocates before it counts, in bytes.
    pub(super) fn counter_memory(&self) -> usize {
        (self.keeps.len() + self.ordinals.div_ceil(64) as usize).saturating_mul(size_of::<u64>())
    }

    /// Makes one group of the codes for which `key` gives the same, unless there are too many.
    pub(super) fn group(&mut self, mut key: impl FnMut(u32) -> Option<Vec<u32>>) {
        if self.groups.len() > CELLS_MAX {
            return;
        }
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        let (mut groups, mut group_codes) = (Vec::with_capacity(self.groups.len()), Vec::new());
        for place in 0..position(self.groups.len()) {
            let Some(key) = key(code_of(place)) else { return };
            let group = *known.entry(key).or_insert_with(|| {
                group_codes.push(place);
                position(group_codes.len()).saturating_sub(1)
            });
            groups.push(group);
        }
        (self.groups, self.group_codes) = (groups, group_codes);
    }

    /// The code plus one of an ordinal.
    #[inline]
    pub(super) fn code(&self, ordinal: u32) -> usize {
        self.codes.as_ref().map_or(0, |codes| codes.get(ordinal).wrapping_add(1) as usize)
    }
}

/// What measures need of fields, each once, and for each measure which of those; none if columns do not suffice.
fn fields_of(measures: &[(Measure, Column)]) -> Option<(Vec<FieldMeasure>, Vec<usize>)> {
    let (mut fields, mut places) = (Vec::new(), Vec::with_capacity(measures.len()));
    for (measure, column) in measures {
        if matches!(measure, Measure::Count | Measure::Uniques) {
            places.push(usize::MAX);
            continue;
        }
        let field = FieldMeasure::new(measure, *column)?;
        let known = fields.iter().position(|known| *known == field);
        places.push(known.unwrap_or(fields.len()));
        if known.is_none() {
            fields.push(field);
        }
    }
    Some((fields, places))
}

/// Which users pass the predicates on users, by code plus one; none if that fails for one of them.
fn kept_codes(execution: &Execution, codes: Option<&OrdinalCodes>) -> Option<Vec<bool>> {
    let filter = &execution.predicate.filter;
    let Some(codes) = codes else { return Some(vec![true]) };
    let is_profile = |dim: &Dim| matches!(dim.table, JoinTable::Profiles(_));
    let drops_absent = execution.inner && execution.layout.dims.iter().any(is_profile);
    let mut keeps = Vec::with_capacity(codes.dictionary.len() + 1);
    keeps.push(!drops_absent && filter.keeps_code(&codes.dictionary, NO_ROW).ok()?);
    for code in codes.dictionary.codes() {
        keeps.push(filter.keeps_code(&codes.dictionary, code).ok()?);
    }
    Some(keeps)
}

/// The code plus one of an ordinal.
#[inline]
pub(super) fn code_at<T: Copy>(codes: &[T], ordinal: u32) -> usize
where
    usize: TryFrom<T>,
{
    codes.get(ordinal as usize).map_or(0, |code| usize::try_from(*code).unwrap_or_default())
}

impl ColumnQuery {
    /// Adds the events of a block to a selection whose users pass.
    pub(super) fn select(&self, packs: &mut RunPacks<'_>, selection: &mut Selection) -> Read<()> {
        match self.codes.as_ref().map(|codes| codes.codes()) {
            Some(Codes::U8(codes)) => self.select_of(codes, packs, selection),
            Some(Codes::U16(codes)) => self.select_of(codes, packs, selection),
            Some(Codes::U32(codes)) => self.select_of(codes, packs, selection),
            None => self.select_of::<u8>(&[], packs, selection),
        }
    }

    fn select_of<T: Copy>(&self, codes: &[T], packs: &mut RunPacks<'_>, selection: &mut Selection) -> Read<()>
    where
        usize: TryFrom<T>,
    {
        let mut of_pack = Vec::new();
        while packs.advance()? {
            let (ordinals, counts) = packs.runs()?;
            if self.kept_users.as_ref().is_some_and(|kept| kept.find(ordinals).next().is_none()) {
                selection.push_run(counts.iter().sum(), 0, false);
                continue;
            }
            // Looked up one after the other before anything is decided, so that they do not wait for each other.
            of_pack.clear();
            of_pack.extend(ordinals.iter().map(|ordinal| code_at(codes, *ordinal)));
            for (code, count) in of_pack.iter().zip(counts) {
                let is_kept = self.keeps.get(*code).copied().unwrap_or(false);
                selection.push_run(*count, position(*code), is_kept);
            }
        }
        Ok(())
    }
}

/// The users who pass, where they are few: their ordinals, ascending.
pub(super) struct KeptUsers(Vec<u32>);

impl KeptUsers {
    /// Where they are more than one in this many users, it is as fast to look at each code.
    const SHARE: usize = 64;

    /// Users who are looked at to find out how many there are.
    const SAMPLE: usize = 4_096;

    /// Those of kept codes plus one, if they are few, and users are met more than once.
    fn new(codes: &OrdinalCodes, keeps: &[bool], runs: u64) -> Option<Self> {
        match codes.codes() {
            Codes::U8(codes) => Self::of(codes, keeps, runs),
            Codes::U16(codes) => Self::of(codes, keeps, runs),
            Codes::U32(codes) => Self::of(codes, keeps, runs),
        }
    }

    fn of<T: Copy>(codes: &[T], keeps: &[bool], runs: u64) -> Option<Self>
    where
        usize: TryFrom<T>,
    {
        let keeps = |code: &T| usize::try_from(*code).is_ok_and(|code| keeps.get(code).copied().unwrap_or(false));
        let most = codes.len() / Self::SHARE;
        let step = (codes.len() / Self::SAMPLE).max(1);
        let kept = codes.iter().step_by(step).filter(|code| keeps(code)).count();
        if kept * step > most || runs < codes.len() as u64 {
            return None;
        }
        let mut ordinals = Vec::new();
        for (first, codes) in (0_u32..).step_by(64).zip(codes.chunks(64)) {
            // Without a branch for each: hardly any is kept.
            if codes.iter().fold(false, |any, code| any | keeps(code)) {
                ordinals.extend((first..).zip(codes).filter(|(_, code)| keeps(code)).map(|(ordinal, _)| ordinal));
            }
        }
        (ordinals.len() <= most).then_some(Self(ordinals))
    }

    /// Which of some ascending ordinals are theirs, by their positions.
    #[inline]
    pub(super) fn find<'a>(&'a self, ordinals: &'a [u32]) -> impl Iterator<Item = usize> + 'a {
        let (first, last) = (ordinals.first().copied().unwrap_or(u32::MAX), ordinals.last().copied().unwrap_or(0));
        let start = self.0.partition_point(|kept| *kept < first);
        let kept = self.0.get(start..).unwrap_or_default().iter().take_while(move |kept| **kept <= last);
        kept.filter_map(|kept| ordinals.binary_search(kept).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_users_are_found_and_many_are_not_listed() {
        let codes: Vec<u16> = (0..100_000).map(|ordinal| u16::from(ordinal % 977 == 5 || ordinal == 99_999)).collect();
        let few = KeptUsers::of(&codes, &[false, true], 1 << 20).unwrap();
        for ordinals in [vec![0, 4, 5, 6, 982, 983, 1_959], vec![5], vec![99_999, 100_000], vec![6, 981], vec![]] {
            let expected: Vec<usize> = (0..ordinals.len())
                .filter(|at| codes.get(ordinals[*at] as usize).is_some_and(|code| *code == 1))
                .collect();
            assert_eq!(few.find(&ordinals).collect::<Vec<_>>(), expected, "{ordinals:?}");
        }
        assert!(KeptUsers::of(&codes, &[true, true], 1 << 20).is_none());
        assert!(KeptUsers::of(&codes, &[false, true], 10).is_none());
    }
}
