//! What of a block is kept: the filter, split by what its parts look at, and inner joins.

use std::borrow::Cow;
use std::sync::Arc;

use super::block::{Block, NO_ROW};
use super::field::Field;
use super::interner::Interner;
use super::layout::{Column, Layout};
use super::source::Table;
use crate::codec::{self, ValueBytes};
use crate::error::{Error, Result};
use crate::expr::{Expr, Place, Reference, Scope};
use crate::model::Value;

/// The field that a reference of an expression means in a join: `properties` and `event` are the event's.
pub(super) fn field_of(reference: &Reference) -> Field {
    match reference.place {
        Place::User => Field::user(reference.name.as_str()),
        Place::Properties | Place::Event => Field::event(reference.name.as_str()),
    }
}

/// One of several expressions that must all be true.
#[derive(Debug)]
struct Part {
    expr: Expr,
    columns: Vec<Column>,
    looks_at: LooksAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LooksAt {
    /// The event alone, so it is asked before anything is joined. Unless that could be an error which the parts before
    /// this one would have spared the event, or would hide one of theirs.
    Event,
    /// One projection of the user's rows alone, so it is asked once for each.
    User(usize),
    Everything,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Filter {
    parts: Vec<Part>,
}

/// What is known of the projections of a pool: nothing (0), kept (1), not (2).
#[derive(Debug, Default)]
pub(super) struct Verdicts(Vec<(Arc<Interner>, Vec<u8>)>);

/// The values of one event to an expression.
struct Row<'b> {
    block: &'b Block,
    slot: usize,
    columns: &'b [Column],
}

impl Row<'_> {
    fn passes(&self, expr: &Expr) -> Result<bool> {
        expr.is_true(self).map_err(|error| match self.block.slots.get(self.slot) {
            Some(slot) if !error.is_corrupt() => {
                let place = codec::event_place(self.block.key(slot));
                Error::new(error.kind(), format!("{} {place}", error.message()))
            }
            _ => error,
        })
    }
}

impl Scope for Row<'_> {
    fn value(&self, index: usize, _: &Reference) -> Result<Option<Cow<'_, Value>>> {
        let column = self.columns.get(index).copied().unwrap_or(Column::Nowhere);
        Ok(self.block.value(self.slot, column)?.map(Cow::Owned))
    }
}

/// The values of one projection to an expression that looks at nothing else.
struct Projection<'b> {
    tuple: Option<&'b [u8]>,
    columns: &'b [Column],
}

impl Scope for Projection<'_> {
    fn value(&self, index: usize, _: &Reference) -> Result<Option<Cow<'_, Value>>> {
        let (Some(Column::Dim { at, .. }), Some(tuple)) = (self.columns.get(index), self.tuple) else {
            return Ok(None);
        };
        let value = codec::tuple_value(tuple, *at).map(ValueBytes::decode).transpose();
        let corrupt = |_| Error::corrupt("a value that was checked cannot be read");
        Ok(value.map_err(corrupt)?.map(Cow::Owned))
    }
}

impl Filter {
    /// Splits expressions. The layout must have been made for its fields. An inner join drops events before that.
    pub(super) fn new(exprs: &[Expr], layout: &Layout, inner: bool) -> Self {
        // Of the parts so far: whether all are asked before anything is joined, and whether the others cannot fail.
        let (mut all_early, mut safe) = (!inner, true);
        let part = |expr: Expr| {
            let columns: Vec<Column> =
                expr.references().iter().map(|reference| layout.column(&field_of(reference))).collect();
            let dims: Vec<Option<usize>> = columns
                .iter()
                .map(|column| if let Column::Dim { dim, .. } = column { Some(*dim) } else { None })
                .collect();
            let may_fail = expr.may_fail();
            let is_early = dims.iter().all(Option::is_none) && safe && (all_early || !may_fail);
            (all_early, safe) = (all_early && is_early, safe && (is_early || !may_fail));
            let looks_at = match dims.first() {
                _ if is_early => LooksAt::Event,
                Some(Some(dim)) if dims.iter().all(|other| *other == Some(*dim)) => LooksAt::User(*dim),
                _ => LooksAt::Everything,
            };
            Part { expr, columns, looks_at }
        };
        Self { parts: exprs.iter().flat_map(Expr::conjuncts).map(part).collect() }
    }

    pub(super) fn verdicts(&self) -> Verdicts {
        Verdicts(self.parts.iter().map(|_| (Arc::default(), Vec::new())).collect())
    }

    /// Whether events may be kept of which this is the projection of the user's row in a table, or which have none. A
    /// part that is not reached without a failure before it, or that fails here, does not say.
    pub(super) fn may_keep(&self, dim: usize, tuple: Option<&[u8]>) -> bool {
        for part in &self.parts {
            if part.looks_at == LooksAt::User(dim) {
                match part.expr.is_true(&Projection { tuple, columns: &part.columns }) {
                    Ok(true) => {}
                    Ok(false) => return false,
                    Err(_) => return true,
                }
            } else if part.expr.may_fail() {
                return true;
            }
        }
        true
    }

    /// Whether the last event of a block passes what looks at events alone.
    #[inline]
    pub(super) fn keeps_event(&self, block: &Block) -> Result<bool> {
        for part in self.parts.iter().filter(|part| part.looks_at == LooksAt::Event) {
            let slot = block.slots.len().saturating_sub(1);
            if !(Row { block, slot, columns: &part.columns }.passes(&part.expr)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lists the events of a block that pass everything else.
    pub(super) fn keep(&self, block: &mut Block, inner: bool, verdicts: &mut Verdicts) -> Result<()> {
        let mut kept = std::mem::take(&mut block.kept);
        if !inner && self.parts.iter().all(|part| part.looks_at == LooksAt::Event) {
            kept.extend(0..block.slots.len() as u32);
            block.kept = kept;
            return Ok(());
        }
        for slot in 0..block.slots.len() {
            if (!inner || has_rows(block, slot)) && self.keeps(block, slot, verdicts)? {
                kept.push(slot as u32);
            }
        }
        block.kept = kept;
        Ok(())
    }

    fn keeps(&self, block: &Block, slot: usize, verdicts: &mut Verdicts) -> Result<bool> {
        for (part, (pool, known)) in self.parts.iter().zip(&mut verdicts.0) {
            let ask = || Row { block, slot, columns: &part.columns }.passes(&part.expr);
            let keeps = match part.looks_at {
                LooksAt::Event => true,
                LooksAt::Everything => ask()?,
                LooksAt::User(dim) => {
                    let Some(joined) = block.joined.get(dim) else { return Ok(false) };
                    let code = joined.codes.get(block.codes(slot, dim)).and_then(|codes| codes.first());
                    let code = code.copied().unwrap_or(NO_ROW);
                    if !Arc::ptr_eq(pool, &joined.pool) {
                        *pool = Arc::clone(&joined.pool);
                        known.clear();
                        known.resize(pool.len() + 1, 0);
                    }
                    // Behind all others: no row.
                    let at = (code as usize).min(pool.len());
                    match known.get(at) {
                        Some(1) => true,
                        Some(2) => false,
                        _ => {
                            let keeps = ask()?;
                            known.get_mut(at).into_iter().for_each(|known| *known = if keeps { 1 } else { 2 });
                            keeps
                        }
                    }
                }
            };
            if !keeps {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether every table that is joined has a row for this event.
fn has_rows(block: &Block, slot: usize) -> bool {
    block.layout.dims.iter().enumerate().all(|(at, dim)| {
        let codes = block.joined.get(at).and_then(|joined| joined.codes.get(block.codes(slot, at)));
        // That a user was ever seen says nothing about the profile.
        matches!(dim.table, Table::FirstEvents(_))
            || codes.is_some_and(|codes| codes.iter().any(|code| *code != NO_ROW))
    })
}
