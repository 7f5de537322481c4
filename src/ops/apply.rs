//! The semantics of one operator on one property.

use super::list;
use super::op::Op;
use crate::model::Value;

/// The state after one operator. Total: an operator on a value of another type leaves it unchanged.
pub(crate) fn apply(state: Option<Value>, op: &Op) -> Option<Value> {
    match (op, state) {
        (Op::Set(value), _) | (Op::SetOnce(value), None) => Some(value.clone()),
        (Op::Unset, _) => None,

        (Op::Add(amount), None) => Some(amount.clone().into()),
        (Op::Add(amount), Some(Value::Number(number))) => Some((&number + amount).into()),

        (Op::Append(element), None) => Some(Value::List(vec![element.clone()])),
        (Op::Append(element), Some(Value::List(mut elements))) => {
            elements.push(element.clone());
            Some(Value::List(elements))
        }

        (Op::Union(added), None) if !added.is_empty() => Some(Value::List(list::dedupe(added.clone()))),
        (Op::Union(added), Some(Value::List(mut elements))) if !added.is_empty() => {
            elements.extend_from_slice(added);
            Some(Value::List(list::dedupe(elements)))
        }

        (Op::Remove(element), Some(Value::List(mut elements))) => {
            elements.retain(|candidate| candidate != element);
            Some(Value::List(elements))
        }

        (Op::Merge(entries), None) => Some(Value::Object(entries.clone())),
        (Op::Merge(entries), Some(Value::Object(mut object))) => {
            object.merge(entries.clone());
            Some(Value::Object(object))
        }

        (_, state) => state,
    }
}
