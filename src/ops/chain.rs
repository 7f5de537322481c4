//! Chains: composed operators on one property, in normal form.

use super::list::ListEdit;
use super::op::Op;
use crate::model::{Number, Object, Value};

/// The composition of a sequence of operators on one property.
#[derive(Clone, Debug)]
pub(crate) enum Chain {
    /// After a `$set` or `$unset` the state is known, whatever it was before.
    Known(Option<Value>),
    /// The result depends on the state before.
    Open {
        /// The result for an absent property.
        absent: Option<Value>,
        /// The effect on a present one. Values of other types are unchanged.
        lanes: Lanes,
    },
}

/// The effect on a present value: one lane per type that operators act on.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    /// Added to a number. The integer zero is the identity; a float zero is not, it makes an integer a float.
    pub(crate) add: Number,
    /// Applied to a list.
    pub(crate) list: ListEdit,
    /// Merged into an object.
    pub(crate) merge: Object,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { add: Number::from(0), list: ListEdit::default(), merge: Object::new() }
    }
}

impl Lanes {
    /// Whether every present value is unchanged.
    pub(crate) fn is_identity(&self) -> bool {
        self.add.is_nothing() && self.list.is_identity() && self.merge.is_empty()
    }

    fn apply(self, value: Value) -> Value {
        match value {
            Value::Number(number) => Value::Number(&number + &self.add),
            Value::List(elements) => Value::List(self.list.apply(elements)),
            Value::Object(mut object) => {
                object.merge(self.merge);
                Value::Object(object)
            }
            other => other,
        }
    }

    fn then(mut self, next: Self) -> Self {
        self.merge.merge(next.merge);
        Self { add: &self.add + &next.add, list: self.list.then(next.list), merge: self.merge }
    }
}

impl Chain {
    /// The identity chain.
    pub(crate) fn identity() -> Self {
        Self::Open { absent: None, lanes: Lanes::default() }
    }

    /// Whether this is the identity. Identity chains are never stored.
    pub(crate) fn is_identity(&self) -> bool {
        matches!(self, Self::Open { absent: None, lanes } if lanes.is_identity())
    }

    /// The chain of one operator.
    pub(crate) fn of(op: Op) -> Self {
        let absent = super::apply::apply(None, &op);
        let mut lanes = Lanes::default();
        match op {
            Op::Set(_) | Op::Unset => return Self::Known(absent),
            Op::SetOnce(_) => {}
            Op::Add(amount) => lanes.add = amount,
            Op::Append(element) => lanes.list.tail.push(element),
            Op::Union(elements) if elements.is_empty() => {}
            Op::Union(elements) => {
                lanes.list.dedupe = true;
                lanes.list.head = super::list::dedupe(elements);
            }
            Op::Remove(element) => lanes.list.removed.push(element),
            Op::Merge(entries) => lanes.merge = entries,
        }
        Self::Open { absent, lanes }
    }

    /// The state after this chain.
    pub(crate) fn apply(self, state: Option<Value>) -> Option<Value> {
        match (self, state) {
            (Self::Known(state), _) => state,
            (Self::Open { absent, .. }, None) => absent,
            (Self::Open { lanes, .. }, Some(value)) => Some(lanes.apply(value)),
        }
    }

    /// Composition: this chain and then the next one. It is correct for every state because each branch is.
    pub(crate) fn then(self, next: Self) -> Self {
        match (self, next) {
            (_, next @ Self::Known(_)) => next,
            (Self::Known(state), next) => Self::Known(next.apply(state)),
            (Self::Open { absent: first, lanes: done }, Self::Open { absent, lanes }) => {
                let absent = match first {
                    None => absent,
                    Some(value) => Some(lanes.clone().apply(value)),
                };
                Self::Open { absent, lanes: done.then(lanes) }
            }
        }
    }

    /// The same with an unspecified effect on absence. Composing such chains costs less.
    pub(crate) fn of_present(self) -> Self {
        match self {
            Self::Open { lanes, .. } => Self::Open { absent: None, lanes },
            known @ Self::Known(_) => known,
        }
    }

    /// Composes a sequence pairwise, as a balanced tree. By the law the grouping does not matter, so this one is chosen
    /// for its cost: long sequences of unions and removes take `n log n` steps instead of `n^2`.
    pub(crate) fn compose(mut run: Vec<Self>) -> Self {
        if let Some(last) = run.iter().rposition(|chain| matches!(chain, Self::Known(_))) {
            run.drain(..last);
        }
        while run.len() > 1 {
            let mut pairs = run.into_iter();
            let mut shorter = Vec::with_capacity(pairs.len().div_ceil(2));
            while let Some(first) = pairs.next() {
                shorter.push(match pairs.next() {
                    Some(second) => first.then(second),
                    None => first,
                });
            }
            run = shorter;
        }
        run.pop().unwrap_or_else(Self::identity)
    }
}
