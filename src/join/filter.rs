//! Predicate pushdown: a filter is split into conjuncts, and each is evaluated as early as its fields are known.

use std::borrow::Cow;

use super::block::{Block, decoded, position};
use super::cache::CodeCache;
use super::field::Field;
use super::layout::{Column, JoinLayout};
use super::probe::{Dictionary, NO_ROW};
use super::tables::JoinTable;
use crate::error::Result;
use crate::expr::{Expr, Place, Reference, Scope};
use crate::model::Value;

/// The field of a join that a reference of an expression means: `properties` and `event` are the event's.
pub(super) fn field_of(reference: &Reference) -> Field {
    match reference.place {
        Place::User => Field::user(reference.name.as_str()),
        Place::Properties | Place::Event => Field::event(reference.name.as_str()),
    }
}

/// One of several predicates that must all be true.
#[derive(Debug)]
struct Conjunct {
    expr: Expr,
    columns: Vec<Column>,
    stage: Stage,
}

/// When a conjunct is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before anything is joined: it is on the event alone. It is pushed below the join only if reordering cannot
    /// change which error is reported.
    Event,
    /// Once per dictionary code of this table: it is on one row of the user alone.
    User(usize),
    /// For each event, after the join.
    Joined,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Filter {
    conjuncts: Vec<Conjunct>,
}

/// For each conjunct, which dictionary codes it keeps.
pub(super) type Verdicts = Vec<CodeCache<bool>>;

/// The values of one event, as an expression sees them.
struct EventScope<'b> {
    block: &'b Block,
    event: usize,
    columns: &'b [Column],
}

impl EventScope<'_> {
    fn passes(&self, expr: &Expr) -> Result<bool> {
        expr.is_true(self).map_err(|error| self.block.with_context(self.event, &error))
    }
}

impl Scope for EventScope<'_> {
    fn value(&self, index: usize, _: &Reference) -> Result<Option<Cow<'_, Value>>> {
        let column = self.columns.get(index).copied().unwrap_or(Column::Nowhere);
        Ok(self.block.cell(self.event, column).value().map(Cow::Owned))
    }
}

/// The values of one dictionary code, as an expression sees them that is on nothing else.
struct CodeScope<'b> {
    dictionary: &'b Dictionary,
    code: u32,
    columns: &'b [Column],
}

impl Scope for CodeScope<'_> {
    fn value(&self, index: usize, _: &Reference) -> Result<Option<Cow<'_, Value>>> {
        let Some(Column::Dim { at, .. }) = self.columns.get(index) else { return Ok(None) };
        Ok(self.dictionary.value(self.code, *at).map(|value| Cow::Owned(decoded(value))))
    }
}

/// The one value that an expression refers to.
struct ValueScope<'v>(Option<&'v Value>);

impl Scope for ValueScope<'_> {
    fn value(&self, _: usize, _: &Reference) -> Result<Option<Cow<'_, Value>>> {
        Ok(self.0.map(Cow::Borrowed))
    }
}

impl Filter {
    /// Splits expressions. The layout must have been made for their fields. An inner join drops events before all but
    /// the predicates on events.
    pub(super) fn new(exprs: &[Expr], layout: &JoinLayout, inner: bool) -> Self {
        // Of the conjuncts so far: whether all are pushed below the join, and whether the others cannot fail.
        let (mut all_pushed, mut safe) = (!inner, true);
        let conjunct = |expr: Expr| {
            let columns: Vec<Column> =
                expr.references().iter().map(|reference| layout.column(&field_of(reference))).collect();
            let dims: Vec<Option<usize>> = columns
                .iter()
                .map(|column| if let Column::Dim { dim, .. } = column { Some(*dim) } else { None })
                .collect();
            let may_fail = expr.may_fail();
            let is_pushed = dims.iter().all(Option::is_none) && safe && (all_pushed || !may_fail);
            (all_pushed, safe) = (all_pushed && is_pushed, safe && (is_pushed || !may_fail));
            let stage = match dims.first() {
                _ if is_pushed => Stage::Event,
                Some(Some(dim)) if dims.iter().all(|other| *other == Some(*dim)) => Stage::User(*dim),
                _ => Stage::Joined,
            };
            Conjunct { expr, columns, stage }
        };
        Self { conjuncts: exprs.iter().flat_map(Expr::conjuncts).map(conjunct).collect() }
    }

    /// The conjuncts on events alone, each with the column that it is on, if every one of them is on one column and the
    /// others are on users alone.
    pub(super) fn by_columns(&self) -> Option<Vec<(usize, Column)>> {
        let mut events = Vec::new();
        for (at, conjunct) in self.conjuncts.iter().enumerate() {
            match (conjunct.stage, conjunct.columns.as_slice()) {
                (Stage::User(_), _) => {}
                (Stage::Event, [first, rest @ ..]) if rest.iter().all(|column| column == first) => {
                    events.push((at, *first));
                }
                _ => return None,
            }
        }
        Some(events)
    }

    /// Whether a conjunct may fail.
    pub(super) fn may_fail(&self, conjunct: usize) -> bool {
        self.conjuncts.get(conjunct).is_some_and(|conjunct| conjunct.expr.may_fail())
    }

    /// Whether a conjunct that is on one column of the event is true of a value of it.
    pub(super) fn keeps_value(&self, conjunct: usize, value: Option<&Value>) -> Result<bool> {
        self.conjuncts.get(conjunct).map_or(Ok(true), |conjunct| conjunct.expr.is_true(&ValueScope(value)))
    }

    /// Whether all conjuncts on users are true of a dictionary code.
    pub(super) fn keeps_code(&self, dictionary: &Dictionary, code: u32) -> Result<bool> {
        for conjunct in self.conjuncts.iter().filter(|conjunct| matches!(conjunct.stage, Stage::User(_))) {
            if !conjunct.expr.is_true(&CodeScope { dictionary, code, columns: &conjunct.columns })? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn verdicts(&self) -> Verdicts {
        self.conjuncts.iter().map(|_| CodeCache::default()).collect()
    }

    /// Whether events can pass whose user has this dictionary code in a table, or [`NO_ROW`]. A conjunct that fails
    /// here does not decide, nor does one that is evaluated after a conjunct that can fail.
    pub(super) fn may_keep(&self, dim: usize, dictionary: &Dictionary, code: u32) -> bool {
        for conjunct in &self.conjuncts {
            if conjunct.stage == Stage::User(dim) {
                match conjunct.expr.is_true(&CodeScope { dictionary, code, columns: &conjunct.columns }) {
                    Ok(true) => {}
                    Ok(false) => return false,
                    Err(_) => return true,
                }
            } else if conjunct.expr.may_fail() {
                return true;
            }
        }
        true
    }

    /// Whether the last event of a block passes the predicates on events.
    #[inline]
    pub(super) fn keeps_event(&self, block: &Block) -> Result<bool> {
        for conjunct in self.conjuncts.iter().filter(|conjunct| conjunct.stage == Stage::Event) {
            let event = block.len().saturating_sub(1);
            if !(EventScope { block, event, columns: &conjunct.columns }.passes(&conjunct.expr)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lists the events of a block that pass all other predicates.
    pub(super) fn keep(&self, block: &mut Block, inner: bool, verdicts: &mut Verdicts) -> Result<()> {
        let mut kept = std::mem::take(&mut block.kept);
        if !inner && self.conjuncts.iter().all(|conjunct| conjunct.stage == Stage::Event) {
            kept.extend(0..position(block.len()));
            block.kept = kept;
            return Ok(());
        }
        for event in 0..block.len() {
            if (!inner || has_rows(block, event)) && self.keeps(block, event, verdicts)? {
                kept.push(position(event));
            }
        }
        block.kept = kept;
        Ok(())
    }

    fn keeps(&self, block: &Block, event: usize, verdicts: &mut Verdicts) -> Result<bool> {
        for (conjunct, known) in self.conjuncts.iter().zip(verdicts) {
            let evaluate = || EventScope { block, event, columns: &conjunct.columns }.passes(&conjunct.expr);
            let keeps = match conjunct.stage {
                Stage::Event => true,
                Stage::Joined => evaluate()?,
                Stage::User(dim) => {
                    let Some(joined) = block.joined.get(dim) else { return Ok(false) };
                    known.enter(&joined.dictionary);
                    known.get_or_try_insert_with(block.user_code(event, dim), evaluate)?
                }
            };
            if !keeps {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether every joined table has a row for this event.
fn has_rows(block: &Block, event: usize) -> bool {
    block.layout.dims.iter().enumerate().all(|(at, dim)| {
        // That a user had events does not mean that there is a profile.
        matches!(dim.table, JoinTable::FirstEvents(_)) || block.codes(event, at).iter().any(|code| *code != NO_ROW)
    })
}
