//! The operators, and updates as a user writes them.

use std::fmt::Display;

use serde::Serialize;

use super::operator::Operator;
use crate::error::{Error, Result};
use crate::limits::LimitsId;
use crate::model::{Number, Object, Timestamp, Value};

/// One operator on one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `$set`: the value, whatever the property was.
    Set(Value),
    /// `$set_once`: the value, if the property is absent. Null is a value and counts as present.
    SetOnce(Value),
    /// `$add`: adds to a number; an absent property counts as zero.
    Add(Number),
    /// `$union`: the list without duplicates, then the elements of this one that it lacks.
    Union(Vec<Value>),
    /// `$append`: one element at the end of a list.
    Append(Value),
    /// `$remove`: removes every equal element from a list.
    Remove(Value),
    /// `$merge`: the entries of an object replace those with the same names.
    Merge(Object),
    /// `$unset`: removes the property.
    Unset,
}

impl Op {
    /// Whether this operator creates a profile that does not exist.
    #[must_use]
    pub fn creates(&self) -> bool {
        !matches!(self, Self::Remove(_) | Self::Unset)
    }

    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let operator = match self {
            Self::Set(_) => Operator::Set,
            Self::SetOnce(_) => Operator::SetOnce,
            Self::Add(_) => Operator::Add,
            Self::Union(_) => Operator::Union,
            Self::Append(_) => Operator::Append,
            Self::Remove(_) => Operator::Remove,
            Self::Merge(_) => Operator::Merge,
            Self::Unset => Operator::Unset,
        };
        operator.name()
    }
}

/// A change to one profile: an update, or its deletion.
#[derive(Clone, Debug)]
pub enum Change {
    /// Operators on its properties.
    Update(Update),
    /// `$delete`: deletes the profile and all its properties. A later update creates a new one.
    Delete,
}

impl From<Update> for Change {
    fn from(update: Update) -> Self {
        Self::Update(update)
    }
}

/// What a user sends about one profile: operators on its properties, applied together, in the order given.
///
/// ```
/// use profiledb::Update;
///
/// let update = Update::new().set("plan", "pro").add("logins", 1).union("teams", ["eng"]);
/// assert_eq!(update.len(), 3);
/// ```
///
/// A value that JSON cannot represent (NaN, an infinity) is reported when the update is applied, so that building one
/// needs no `?`.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub(super) ops: Vec<(String, Op)>,
    pub(super) creates: bool,
    pub(super) time: Option<Timestamp>,
    pub(super) ignore_time: bool,
    pub(super) invalid: Option<Error>,
    /// The limits that the operators satisfy, if they were validated. A new operator makes it `None`.
    pub(super) admitted: Option<LimitsId>,
    /// Set if the update restores an exported profile.
    pub(super) restored: Option<Restored>,
}

/// What makes an update one that restores an exported profile. The profile was admitted once, and has grown since, so
/// no limits apply to it, and its time is kept even if it is ahead of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restored {
    /// `$mp_first_event_time`, if it was exported.
    pub(crate) first_event: Option<Timestamp>,
}

impl Update {
    /// An update without operators.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one operator on one property.
    #[must_use]
    pub fn op(mut self, name: impl Into<String>, op: Op) -> Self {
        self.push(name.into(), op);
        self
    }

    pub(crate) fn push(&mut self, name: String, op: Op) {
        // A union with no elements has no effect: it creates neither the list nor the profile.
        if matches!(&op, Op::Union(elements) if elements.is_empty()) {
            return;
        }
        self.creates |= op.creates();
        self.admitted = None;
        self.ops.push((name, op));
    }

    fn checked<V, E: Display>(
        mut self,
        name: impl Into<String>,
        value: Result<V, E>,
        op: impl FnOnce(V) -> Op,
    ) -> Self {
        let name = name.into();
        match value {
            Ok(value) => self.push(name, op(value)),
            Err(error) => {
                self.invalid.get_or_insert_with(|| Error::invalid(error.to_string()).at(name));
            }
        }
        self
    }

    /// `$set`: sets a property, whatever it was.
    #[must_use]
    pub fn set<V: TryInto<Value, Error: Display>>(self, name: impl Into<String>, value: V) -> Self {
        self.checked(name, value.try_into(), Op::Set)
    }

    /// `$set` of every field of a struct or entry of a map, see [`Object::from_serialize`].
    ///
    /// ```
    /// use profiledb::Update;
    ///
    /// #[derive(serde::Serialize)]
    /// struct User { plan: &'static str, logins: u32 }
    ///
    /// let update = Update::new().set_all(&User { plan: "pro", logins: 1 });
    /// assert_eq!(update.ops(), Update::new().set("logins", 1).set("plan", "pro").ops());
    /// ```
    #[must_use]
    pub fn set_all<T: Serialize + ?Sized>(mut self, fields: &T) -> Self {
        match Object::from_serialize(fields) {
            Ok(object) => object.into_iter().for_each(|(name, value)| self.push(name, Op::Set(value))),
            Err(error) => {
                self.invalid.get_or_insert(error);
            }
        }
        self
    }

    /// `$set_once`: sets a property if it is absent.
    #[must_use]
    pub fn set_once<V: TryInto<Value, Error: Display>>(self, name: impl Into<String>, value: V) -> Self {
        self.checked(name, value.try_into(), Op::SetOnce)
    }

    /// `$add`: adds to a number, exactly. An absent property counts as zero; any other value is left unchanged.
    #[must_use]
    pub fn add<N: TryInto<Number, Error: Display>>(self, name: impl Into<String>, amount: N) -> Self {
        self.checked(name, amount.try_into(), Op::Add)
    }

    /// `$union`: adds the elements that a list lacks, and leaves the whole list without duplicates.
    #[must_use]
    pub fn union<V: TryInto<Value, Error: Display>>(
        self,
        name: impl Into<String>,
        elements: impl IntoIterator<Item = V>,
    ) -> Self {
        let elements = elements.into_iter().map(TryInto::try_into).collect();
        self.checked(name, elements, Op::Union)
    }

    /// `$append`: appends one element to a list. A list is appended as one element.
    #[must_use]
    pub fn append<V: TryInto<Value, Error: Display>>(self, name: impl Into<String>, element: V) -> Self {
        self.checked(name, element.try_into(), Op::Append)
    }

    /// `$remove`: removes every element equal to this one from a list. Creates nothing.
    #[must_use]
    pub fn remove<V: TryInto<Value, Error: Display>>(self, name: impl Into<String>, element: V) -> Self {
        self.checked(name, element.try_into(), Op::Remove)
    }

    /// `$merge`: the entries of `object` replace those of an object property, one level deep.
    #[must_use]
    pub fn merge(self, name: impl Into<String>, object: impl Into<Object>) -> Self {
        self.op(name, Op::Merge(object.into()))
    }

    /// `$unset`: removes a property. Creates nothing.
    #[must_use]
    pub fn unset(self, name: impl Into<String>) -> Self {
        self.op(name, Op::Unset)
    }

    /// Creates the profile if there is none, even without properties.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.creates = true;
        self
    }

    /// The time of the update; by default, the store's clock. `$last_seen` never moves backwards.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Leaves `$last_seen` unchanged, as `$ignore_time` does.
    #[must_use]
    pub fn ignore_time(mut self) -> Self {
        self.ignore_time = true;
        self
    }

    /// Makes it an update that restores an exported profile.
    pub(crate) fn restoring(mut self, restored: Restored) -> Self {
        self.restored = Some(restored);
        self
    }

    /// Whether it restores an exported profile, and what of it is not an operator.
    pub(crate) fn restored(&self) -> Option<Restored> {
        self.restored
    }

    /// The operators in the order given.
    #[must_use]
    pub fn ops(&self) -> &[(String, Op)] {
        &self.ops
    }

    /// The number of operators.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether the update has no effect on any profile.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && !self.creates
    }

    /// Whether this update creates a profile that does not exist.
    #[must_use]
    pub fn creates(&self) -> bool {
        self.creates
    }

    /// The time of the update, if one was set.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// The time for `$last_seen`: none if it is ignored or was not set, or if the update has no effect.
    #[must_use]
    pub fn stamp(&self) -> Option<Timestamp> {
        if self.ignore_time || self.is_empty() { None } else { self.time }
    }

    /// Sets the time if there is none, and clamps it to at most this one.
    pub(crate) fn clamp_time(&mut self, now: Timestamp) {
        self.time = Some(self.time.map_or(now, |time| time.min(now)));
    }
}
