//! Conversion of operators with their operands to ops.
//!
//! Each operator has its own type of operand, and its own list of mistakes that are tolerated.

use super::envelope::bare;
use super::reject::Reject;
use super::rules::Rules;
use super::scalar::numeric;
use crate::model::{LAST_SEEN, Object, Value};
use crate::ops::{Note, Op, Operator, Update, excerpt, is_reserved};

/// Builds the update of one object.
pub(super) struct UpdateBuilder<'a> {
    pub(super) rules: &'a Rules,
    pub(super) group: bool,
    /// Whether the object has `$ignore_time`, so that a `$last_seen` in `$set` counts.
    pub(super) ignore_time: bool,
    pub(super) update: Update,
    pub(super) notes: Vec<Note>,
}

impl UpdateBuilder<'_> {
    /// Adds an operator with its operand.
    pub(super) fn operator(&mut self, operator: Operator, operand: Value) -> Result<(), Reject> {
        if self.group && !self.groups_take(operator) {
            return Err(Reject::at(operator.name(), "the operator is not supported on groups"));
        }
        match operator {
            Operator::Set | Operator::SetOnce => self.set(operator, operand),
            Operator::Merge => self.merge(operand),
            Operator::Add => self.add(operand),
            Operator::Append => self.elements(operator, operand, Op::Append),
            Operator::Remove => self.elements(operator, operand, Op::Remove),
            Operator::Union => self.union(operand),
            Operator::Unset => self.unset(operand),
            // It has no ops, and the caller handles it before it builds an update.
            Operator::Delete => Ok(()),
        }
    }

    fn groups_take(&self, operator: Operator) -> bool {
        match operator {
            Operator::Append | Operator::Merge => false,
            Operator::Add => self.rules.allows_add_on_groups(),
            _ => true,
        }
    }

    fn push(&mut self, name: String, op: Op) {
        self.update.push(name, op);
    }

    /// Adds a note, or rejects the record under strict rules.
    fn warn_or_reject(&mut self, field: &str, reason: String, consequence: &str, before: &Value) -> Result<(), Reject> {
        self.rules.warn_or_reject(&mut self.notes, Reject::at(field, reason), consequence, Some(before))
    }

    fn set(&mut self, operator: Operator, operand: Value) -> Result<(), Reject> {
        for (name, value) in self.entries(operator, operand)? {
            let op = if operator == Operator::Set { Op::Set(value) } else { Op::SetOnce(value) };
            self.push(name, op);
        }
        // A user can exist without properties. A group exists only with properties.
        if !self.group {
            self.update = std::mem::take(&mut self.update).create();
        }
        Ok(())
    }

    fn merge(&mut self, operand: Value) -> Result<(), Reject> {
        for (name, value) in self.entries(Operator::Merge, operand)? {
            let Value::Object(object) = value else {
                let reason = format!("$merge takes an object type={}", bare(&value));
                return Err(Reject::at(field(Operator::Merge, &name), reason));
            };
            self.push(name, Op::Merge(object));
        }
        Ok(())
    }

    fn add(&mut self, operand: Value) -> Result<(), Reject> {
        for (name, value) in self.entries(Operator::Add, operand)? {
            let place = || field(Operator::Add, &name);
            let number = match value {
                Value::Number(number) => Some(number),
                Value::String(ref text) => {
                    let number = numeric(text);
                    let consequence = if number.is_some() { "converted" } else { "skipped" };
                    let reason = format!("$add takes a number value={:?}", excerpt(text));
                    self.warn_or_reject(&place(), reason, consequence, &value)?;
                    number
                }
                ref other => {
                    let reason = format!("$add takes a number type={}", bare(other));
                    self.warn_or_reject(&place(), reason, "skipped", other)?;
                    None
                }
            };
            if let Some(number) = number {
                self.push(name, Op::Add(number));
            }
        }
        Ok(())
    }

    fn elements(&mut self, operator: Operator, operand: Value, op: fn(Value) -> Op) -> Result<(), Reject> {
        for (name, value) in self.entries(operator, operand)? {
            self.push(name, op(value));
        }
        Ok(())
    }

    fn union(&mut self, operand: Value) -> Result<(), Reject> {
        for (name, value) in self.entries(Operator::Union, operand)? {
            let elements = match value {
                Value::List(elements) => elements,
                scalar => vec![scalar],
            };
            if elements.is_empty() {
                let reason = "$union takes at least one element".to_owned();
                self.warn_or_reject(&field(Operator::Union, &name), reason, "no effect", &Value::List(Vec::new()))?;
            }
            self.push(name, Op::Union(elements));
        }
        Ok(())
    }

    fn unset(&mut self, operand: Value) -> Result<(), Reject> {
        if matches!(&operand, Value::List(names) if names.is_empty())
            || matches!(&operand, Value::Object(names) if names.is_empty())
        {
            let reason = "$unset takes at least one name".to_owned();
            return self.warn_or_reject(Operator::Unset.name(), reason, "no effect", &operand);
        }
        let names = match operand {
            Value::String(name) => vec![name],
            Value::Object(object) => object.into_iter().map(|(name, _)| name).collect(),
            Value::List(names) => names.into_iter().map(unset_name).collect::<Result<_, _>>()?,
            other => {
                let reason = format!("$unset takes a list of names type={}", bare(&other));
                return Err(Reject::at(Operator::Unset.name(), reason));
            }
        };
        for name in names {
            if is_reserved(&name) {
                leave_out(Operator::Unset.name(), &name, None, self.rules, &mut self.notes)?;
            } else {
                self.push(name, Op::Unset);
            }
        }
        Ok(())
    }

    /// The entries of an operand, which must be an object, without reserved names.
    fn entries(&mut self, operator: Operator, operand: Value) -> Result<Vec<(String, Value)>, Reject> {
        let object = match operand {
            Value::Object(object) => object,
            // PHP writes an empty object so.
            Value::List(list) if list.is_empty() => Object::new(),
            other => {
                let reason = format!("the operand is an object type={}", bare(&other));
                return Err(Reject::at(operator.name(), reason));
            }
        };
        let mut entries: Vec<_> = object.into_iter().collect();
        for (name, value) in entries.iter().filter(|(name, _)| is_reserved(name)) {
            // It was read before, as the time of the update.
            if !(operator == Operator::Set && self.ignore_time && name == LAST_SEEN) {
                leave_out(operator.name(), name, Some(value), self.rules, &mut self.notes)?;
            }
        }
        entries.retain(|(name, _)| !is_reserved(name));
        Ok(entries)
    }
}

fn unset_name(value: Value) -> Result<String, Reject> {
    match value {
        Value::String(name) => Ok(name),
        other => Err(Reject::at(
            Operator::Unset.name(),
            format!("$unset takes names that are strings type={}", bare(&other)),
        )),
    }
}

/// Notes a name that is reserved for the envelope or the store.
pub(super) fn leave_out(
    place: &str,
    name: &str,
    value: Option<&Value>,
    rules: &Rules,
    notes: &mut Vec<Note>,
) -> Result<(), Reject> {
    let reject = Reject::at(format!("{place}.{name}"), "the name is reserved and cannot be stored as a property");
    rules.warn_or_reject(notes, reject, "left out", value)
}

/// The path of a property: the operator and the name.
fn field(operator: Operator, name: &str) -> String {
    format!("{}.{name}", operator.name())
}
