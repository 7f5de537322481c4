//! Predicates on one column of the event, and perhaps on the user as well, evaluated for the events of a block.
//!
//! What a predicate says is worked out once for each value that is met, together with each *class* of users: those with
//! the same values of the properties that it is on. Of numbers it is worked out for all at once where the predicate
//! compares them with something: they are compared as they are stored then.

use super::block_columns::QueryColumns;
use super::decimals::{DecimalKind, DecimalSet};
use super::selection::{SelectedEvent, Selection};
use super::totals::code_of;
use crate::codec::ValueBytes;
use crate::error::Result;
use crate::join::block::decoded;
use crate::join::filter::{ColumnConjunct, Filter};
use crate::join::layout::Column;
use crate::join::probe::{Dictionary, Interner, NO_ROW, place};
use crate::model::Value;
use crate::segment::Numbers;

/// The most numbers whose verdicts are remembered, of one predicate on one thread.
const VERDICTS_MAX: usize = 1 << 20;

/// The most verdicts on entries of dictionaries that are remembered, of one predicate on one thread.
const ENTRY_VERDICTS_MAX: usize = 1 << 20;

/// The most classes of users for which sets of decimals, and verdicts on entries, are remembered.
const CLASSES_MAX: usize = 1 << 14;

/// A conjunct of the filter of a query.
pub(super) struct ColumnPredicate {
    conjunct: ColumnConjunct,
    /// The class of users, by their code plus one; without, all are of one.
    classes: Vec<u32>,
    class_count: usize,
    /// Whether the numbers are known at which its truth can change.
    has_steps: bool,
}

impl ColumnPredicate {
    pub(super) fn new(conjunct: ColumnConjunct, filter: &Filter, dictionary: &Dictionary) -> Self {
        let (classes, class_count) = match *conjunct.users.as_slice() {
            [] => (Vec::new(), 1),
            [at] => {
                let class = |code: u32| dictionary.property_code(code, at).map_or(0, |code| code.saturating_add(1));
                let classes: Vec<u32> = std::iter::once(NO_ROW).chain(dictionary.codes()).map(class).collect();
                let last = classes.iter().max().map_or(0, |last| *last as usize);
                (classes, last + 1)
            }
            _ => ((0..).take(dictionary.len() + 1).collect(), dictionary.len() + 1),
        };
        let has_steps = !matches!(filter.steps(conjunct.number, (dictionary, NO_ROW)), Ok(None));
        Self { conjunct, classes, class_count, has_steps }
    }

    pub(super) fn column(&self) -> Column {
        self.conjunct.event
    }

    pub(super) fn may_fail(&self) -> bool {
        self.conjunct.may_fail
    }

    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.classes.capacity() * size_of::<u32>()
    }

    /// The class of a code plus one.
    #[inline]
    fn class(&self, code: u32) -> usize {
        self.classes.get(code as usize).map_or(0, |class| *class as usize)
    }
}

/// What is known of the verdicts of a predicate on one thread.
#[derive(Default)]
pub(super) struct KnownTruths {
    /// For each kind of decimals, by class.
    decimals: Vec<(DecimalKind, Vec<Option<DecimalSet>>)>,
    /// What is held by them, in bytes.
    held: usize,
    /// Of events without a value, by class.
    absent: Vec<Option<bool>>,
    entries: EntryVerdicts,
    numbers: NumberVerdicts,
    recent: RecentVerdicts,
}

/// A predicate, with what it is asked about.
struct Question<'q> {
    predicate: &'q ColumnPredicate,
    filter: &'q Filter,
    dictionary: &'q Dictionary,
}

impl Question<'_> {
    /// Whether it is true of a value, and of the users of this code plus one; none if that fails.
    fn keeps(&self, code: u32, value: Option<&Value>) -> Option<bool> {
        self.filter.keeps_value(self.predicate.conjunct.number, (self.dictionary, code_of(code)), value).ok()
    }

    /// For which decimals of a kind it is true; none if its evaluation fails for one of them.
    fn decimals(&self, kind: DecimalKind, code: u32) -> Option<DecimalSet> {
        let user = (self.dictionary, code_of(code));
        let number = self.predicate.conjunct.number;
        let steps = self.filter.steps(number, user).ok()??;
        DecimalSet::new(kind, &steps, |value| self.filter.keeps_value(number, user, Some(value))).ok()
    }

    /// Whether it is true of an entry of a dictionary.
    fn keeps_entry(&self, code: u32, entry: &[u8]) -> Option<bool> {
        match self.predicate.conjunct.event {
            Column::Name => self.keeps(code, Some(&Value::from(String::from_utf8_lossy(entry).as_ref()))),
            _ if entry.is_empty() => self.keeps(code, None),
            _ => self.keeps(code, Some(&decoded(ValueBytes::new(entry)))),
        }
    }

    fn keeps_number(&self, code: u32, numbers: &Numbers<'_>, number: Option<(i64, bool)>) -> Option<bool> {
        let mut bytes = Vec::new();
        number.into_iter().for_each(|(integer, is_float)| numbers.put(integer, is_float, &mut bytes));
        self.keeps_entry(code, &bytes)
    }
}

impl KnownTruths {
    /// Memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        let sets = self.decimals.iter().map(|(_, sets)| sets.capacity() * size_of::<Option<DecimalSet>>());
        let absent = self.absent.capacity() * size_of::<Option<bool>>();
        sets.sum::<usize>() + self.held + absent + self.entries.memory() + self.numbers.memory() + self.recent.memory()
    }

    /// Removes the events of a selection of which a predicate is not true. Returns whether the column could be read so,
    /// and its evaluation did not fail.
    pub(super) fn filter(
        &mut self,
        predicate: &ColumnPredicate,
        columns: &QueryColumns<'_>,
        selection: &mut Selection,
    ) -> Result<bool> {
        let question =
            Question { predicate, filter: &columns.execution.predicate.filter, dictionary: columns.dictionary };
        let Some(stored) = columns.values(predicate.column())? else {
            return Ok(self.filter_absent(&question, selection));
        };
        if let Some((entries, codes)) = stored.values.dictionary() {
            return Ok(self.filter_entries(&question, entries, codes, selection));
        }
        let Some(numbers) = stored.values.numbers() else { return Ok(false) };
        let kind = |is_float| DecimalKind { exponent: numbers.exponent(), is_float };
        let are_covered = kind(numbers.has_floats()).covers(numbers.bounds());
        if predicate.has_steps && predicate.class_count <= CLASSES_MAX && are_covered {
            return Ok(self.filter_decimals(&question, numbers, selection));
        }
        Ok(if predicate.classes.is_empty() {
            self.numbers.filter(&question, numbers, selection)
        } else {
            self.recent.filter(&question, numbers, selection)
        })
    }

    /// Where no event of the block has the property.
    fn filter_absent(&mut self, question: &Question<'_>, selection: &mut Selection) -> bool {
        if !self.know_absent(question, selection) {
            return false;
        }
        let predicate = question.predicate;
        selection.retain(|selected| is_known_true(&self.absent, predicate.class(selected.code)));
        true
    }

    /// Finds out what the predicate says without a value, for the users of a selection.
    fn know_absent(&mut self, question: &Question<'_>, selection: &Selection) -> bool {
        if self.absent.is_empty() {
            self.absent.resize(question.predicate.class_count, None);
        }
        for SelectedEvent { code, .. } in selection.as_slice() {
            let Some(known) = self.absent.get_mut(question.predicate.class(*code)) else { return false };
            if known.is_none() {
                *known = question.keeps(*code, None);
                if known.is_none() {
                    return false;
                }
            }
        }
        true
    }

    fn filter_decimals(&mut self, question: &Question<'_>, numbers: &Numbers<'_>, selection: &mut Selection) -> bool {
        let kinds = [(false, numbers.has_integers()), (true, numbers.has_floats())];
        for (is_float, _) in kinds.into_iter().filter(|(_, has)| *has) {
            let kind = DecimalKind { exponent: numbers.exponent(), is_float };
            if !self.know_decimals(kind, question, selection) {
                return false;
            }
        }
        if numbers.dense().is_none() && !self.know_absent(question, selection) {
            return false;
        }
        let sets = |is_float: bool| -> &[Option<DecimalSet>] {
            let kind = DecimalKind { exponent: numbers.exponent(), is_float };
            self.decimals.iter().find(|(known, _)| *known == kind).map(|(_, sets)| sets.as_slice()).unwrap_or_default()
        };
        let (integers, floats) = (sets(false), sets(true));
        let contains = |sets: &[Option<DecimalSet>], class: usize, integer: i64| {
            sets.get(class).and_then(Option::as_ref).is_some_and(|set| set.contains(integer))
        };
        let predicate = question.predicate;
        let least = numbers.bounds().0;
        match numbers.dense().filter(|_| numbers.has_integers() != numbers.has_floats()) {
            Some(dense) => {
                let sets = if numbers.has_floats() { floats } else { integers };
                let integer =
                    |event: u32| least.wrapping_add(i64::from(dense.get(event as usize).copied().unwrap_or_default()));
                match sets {
                    [Some(DecimalSet::Span { first, last, inside })] if predicate.classes.is_empty() => {
                        selection.retain(|selected| {
                            let integer = integer(selected.event);
                            ((integer >= *first) & (integer <= *last)) == *inside
                        });
                    }
                    _ => selection
                        .retain(|selected| contains(sets, predicate.class(selected.code), integer(selected.event))),
                }
            }
            None => selection.retain(|SelectedEvent { event, code }| match numbers.get(event as usize) {
                Some((integer, true)) => contains(floats, predicate.class(code), integer),
                Some((integer, false)) => contains(integers, predicate.class(code), integer),
                None => is_known_true(&self.absent, predicate.class(code)),
            }),
        }
        true
    }

    /// Finds out of which decimals of a kind the predicate is true, for the users of a selection.
    fn know_decimals(&mut self, kind: DecimalKind, question: &Question<'_>, selection: &Selection) -> bool {
        let at = self.decimals.iter().position(|(known, _)| *known == kind).unwrap_or(self.decimals.len());
        if at == self.decimals.len() {
            self.decimals.push((kind, vec![None; question.predicate.class_count]));
        }
        let Some((_, sets)) = self.decimals.get_mut(at) else { return false };
        for SelectedEvent { code, .. } in selection.as_slice() {
            let Some(known) = sets.get_mut(question.predicate.class(*code)) else { return false };
            if known.is_some() {
                continue;
            }
            let Some(set) = question.decimals(kind, *code) else { return false };
            self.held += set.held_bytes();
            *known = Some(set);
        }
        true
    }

    fn filter_entries(
        &mut self,
        question: &Question<'_>,
        entries: &[&[u8]],
        codes: &[u32],
        selection: &mut Selection,
    ) -> bool {
        let Self { entries: known, .. } = self;
        let mut rows = vec![None; entries.len()];
        retain_each(selection, |SelectedEvent { event, code }| {
            let at = codes.get(event as usize).map_or(0, |at| *at as usize);
            let class = question.predicate.class(code);
            known.keeps(question, (class, code), entries.get(at).copied()?, rows.get_mut(at)?)
        })
    }
}

#[inline]
fn is_known_true(known: &[Option<bool>], class: usize) -> bool {
    known.get(class).copied().flatten().unwrap_or(false)
}

/// What a predicate says of entries of dictionaries, of all blocks, for each class of users.
#[derive(Default)]
struct EntryVerdicts {
    /// The row of each entry.
    rows: Interner,
    /// Rows of one verdict for each class.
    verdicts: Vec<Option<bool>>,
    /// How often everything was forgotten.
    forgotten: u32,
}

/// Where the verdicts on an entry are, and how often everything had been forgotten then.
type EntryRow = Option<(u32, u32)>;

impl EntryVerdicts {
    /// Memory in use, in bytes.
    fn memory(&self) -> usize {
        self.rows.memory_with(0) + self.verdicts.capacity() * size_of::<Option<bool>>()
    }

    /// What the predicate says of an entry, for users of a class and code plus one; none if that fails.
    #[inline]
    fn keeps(
        &mut self,
        question: &Question<'_>,
        (class, code): (usize, u32),
        entry: &[u8],
        row: &mut EntryRow,
    ) -> Option<bool> {
        let width = question.predicate.class_count;
        if width > CLASSES_MAX {
            return question.keeps_entry(code, entry);
        }
        let known = match *row {
            Some((known, forgotten)) if forgotten == self.forgotten => known,
            _ => {
                let known = self.row(entry, width)?;
                *row = Some((known, self.forgotten));
                known
            }
        };
        match self.verdicts.get_mut(known as usize * width + class)? {
            Some(verdict) => Some(*verdict),
            unknown => {
                *unknown = question.keeps_entry(code, entry);
                *unknown
            }
        }
    }

    /// The row of an entry, where there may be verdicts already.
    fn row(&mut self, entry: &[u8], width: usize) -> Option<u32> {
        if self.rows.size_bytes().saturating_add(self.verdicts.len()) > ENTRY_VERDICTS_MAX {
            *self = Self { forgotten: self.forgotten.wrapping_add(1), ..Self::default() };
        }
        let row = self.rows.intern(entry).ok()?;
        self.verdicts.resize(self.rows.len() * width, None);
        Some(row)
    }
}

/// What a predicate that is not on users says of decimals: those of one exponent, from the least one on, integers and
/// floats.
#[derive(Default)]
struct NumberVerdicts {
    exponent: u8,
    least: i64,
    known: Vec<[Option<bool>; 2]>,
}

impl NumberVerdicts {
    /// Makes room for the numbers of a column, if they are few enough, and forgets others that are too far away.
    fn cover(&mut self, numbers: &Numbers<'_>) {
        let (least, greatest) = numbers.bounds();
        let distinct =
            |least: i64| usize::try_from(greatest.abs_diff(least)).map_or(usize::MAX, |far| far.saturating_add(1));
        if distinct(least) > VERDICTS_MAX {
            *self = Self::default();
            return;
        }
        let is_other = self.known.is_empty() || self.exponent != numbers.exponent() || least < self.least;
        if is_other || distinct(self.least) > VERDICTS_MAX {
            // A little further down, because the next block may have a number that is less.
            *self = Self { exponent: numbers.exponent(), least: least.saturating_sub(1 << 8), known: Vec::new() };
        }
        if distinct(self.least) <= VERDICTS_MAX && self.known.len() < distinct(self.least) {
            self.known.resize(distinct(self.least), [None; 2]);
        }
    }

    /// Memory in use, in bytes.
    fn memory(&self) -> usize {
        self.known.capacity() * size_of::<[Option<bool>; 2]>()
    }

    /// What is known of a number, if it is remembered.
    #[inline]
    fn place(&mut self, integer: i64, is_float: bool) -> Option<&mut Option<bool>> {
        let at = usize::try_from(integer.checked_sub(self.least)?).ok()?;
        self.known.get_mut(at)?.get_mut(usize::from(is_float))
    }

    fn filter(&mut self, question: &Question<'_>, numbers: &Numbers<'_>, selection: &mut Selection) -> bool {
        self.cover(numbers);
        let mut of_absent = None;
        retain_each(selection, |SelectedEvent { event, code }| {
            let number = numbers.get(event as usize);
            let place = match number {
                None => Some(&mut of_absent),
                Some((integer, is_float)) => self.place(integer, is_float),
            };
            match place {
                Some(Some(verdict)) => Some(*verdict),
                Some(unknown) => {
                    *unknown = question.keeps_number(code, numbers, number);
                    *unknown
                }
                None => question.keeps_number(code, numbers, number),
            }
        })
    }
}

/// As [`retain`](Selection::retain), with a test that may fail. Returns whether it did not.
fn retain_each(selection: &mut Selection, mut test: impl FnMut(SelectedEvent) -> Option<bool>) -> bool {
    let mut failed = false;
    selection.retain(|selected| {
        let keeps = test(selected);
        failed |= keeps.is_none();
        keeps.unwrap_or(false)
    });
    !failed
}

/// What a predicate on users and numbers has said lately. A new verdict replaces the one in its place.
#[derive(Default)]
struct RecentVerdicts(Vec<Option<(NumberOfClass, bool)>>);

/// A number, if there is one, and the class of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NumberOfClass {
    exponent: u8,
    number: Option<(i64, bool)>,
    class: usize,
}

impl RecentVerdicts {
    const PLACES: usize = 1 << 14;

    /// Memory in use, in bytes.
    fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Option<(NumberOfClass, bool)>>()
    }

    fn filter(&mut self, question: &Question<'_>, numbers: &Numbers<'_>, selection: &mut Selection) -> bool {
        if self.0.is_empty() {
            self.0.resize(Self::PLACES, None);
        }
        retain_each(selection, |SelectedEvent { event, code }| {
            let number = numbers.get(event as usize);
            let class = question.predicate.class(code);
            let key = NumberOfClass { exponent: numbers.exponent(), number, class };
            let place = self.0.get_mut(key.place())?;
            if let Some((known, verdict)) = place
                && *known == key
            {
                return Some(*verdict);
            }
            let verdict = question.keeps_number(code, numbers, number)?;
            *place = Some((key, verdict));
            Some(verdict)
        })
    }
}

impl NumberOfClass {
    /// Its place among verdicts. Those that collide are evaluated again.
    #[inline]
    fn place(self) -> usize {
        let integer = self.number.map_or(-1, |(integer, is_float)| integer.wrapping_mul(2) + i64::from(is_float));
        let mixed = integer.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.class as u64);
        place(mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) % RecentVerdicts::PLACES
    }
}
