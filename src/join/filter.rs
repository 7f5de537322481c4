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
use crate::model::{Number, Value};

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

/// The values of one dictionary code of the users, and the one value of the event that an expression refers to.
struct PairScope<'v> {
    user: CodeScope<'v>,
    value: Option<&'v Value>,
}

impl Scope for PairScope<'_> {
    fn value(&self, index: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
        match self.user.columns.get(index) {
            Some(Column::Dim { .. }) => self.user.value(index, reference),
            _ => Ok(self.value.map(Cow::Borrowed)),
        }
    }
}

/// A conjunct that is on one column of the event, and perhaps on the user as well.
#[derive(Clone, Debug)]
pub(super) struct ColumnConjunct {
    /// Its number.
    pub(super) number: usize,
    /// The column of the event.
    pub(super) event: Column,
    /// The positions of the properties of the user, each once.
    pub(super) users: Vec<usize>,
    /// Whether its evaluation may fail.
    pub(super) may_fail: bool,
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

    /// The conjuncts that are not on users alone, if each is on one column of the event. Those that are evaluated after
    /// the join must not fail: a conjunct before them may be false.
    pub(super) fn by_columns(&self) -> Option<Vec<ColumnConjunct>> {
        let mut conjuncts = Vec::new();
        for (number, conjunct) in self.conjuncts.iter().enumerate() {
            let may_fail = conjunct.expr.may_fail();
            match conjunct.stage {
                Stage::User(_) => continue,
                Stage::Joined if may_fail => return None,
                Stage::Joined | Stage::Event => {}
            }
            let is_user = |column: &&Column| matches!(column, Column::Dim { .. });
            let mut events = conjunct.columns.iter().filter(|column| !is_user(column));
            let event = *events.next()?;
            if events.any(|other| *other != event) {
                return None;
            }
            let at = |column: &Column| if let Column::Dim { at, .. } = column { Some(*at) } else { None };
            let mut users: Vec<usize> = conjunct.columns.iter().filter_map(at).collect();
            users.sort_unstable();
            users.dedup();
            conjuncts.push(ColumnConjunct { number, event, users, may_fail });
        }
        Some(conjuncts)
    }

    /// Whether a conjunct that is on one column of the event is true of a value of it, and of a dictionary code of the
    /// users.
    pub(super) fn keeps_value(
        &self,
        conjunct: usize,
        (dictionary, code): (&Dictionary, u32),
        value: Option<&Value>,
    ) -> Result<bool> {
        let Some(conjunct) = self.conjuncts.get(conjunct) else { return Ok(true) };
        let user = CodeScope { dictionary, code, columns: &conjunct.columns };
        conjunct.expr.is_true(&PairScope { user, value })
    }

    /// The numbers at which the truth of such a conjunct can change while that value goes over all numbers, if they are
    /// known.
    pub(super) fn steps(&self, conjunct: usize, (dictionary, code): (&Dictionary, u32)) -> Result<Option<Vec<Number>>> {
        let Some(conjunct) = self.conjuncts.get(conjunct) else { return Ok(None) };
        let columns = &conjunct.columns;
        let varies = |index: usize| !matches!(columns.get(index), Some(Column::Dim { .. }));
        conjunct.expr.steps(&varies, &CodeScope { dictionary, code, columns })
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
