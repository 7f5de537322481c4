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
    /// `$set`: the value, whatever was there.
    Set(Value),
    /// `$set_once`: the value, if the property is absent. Null is a value and counts as present.
    SetOnce(Value),
    /// `$add`: adds to a number; an absent property counts as zero.
    Add(Number),
    /// `$union`: the list without repeats, then those of these elements that it lacks.
    Union(Vec<Value>),
    /// `$append`: one element at the end of a list.
    Append(Value),
    /// `$remove`: takes every equal element out of a list.
    Remove(Value),
    /// `$merge`: the entries of an object replace those with the same names.
    Merge(Object),
    /// `$unset`: takes the property away.
    Unset,
}

impl Op {
    /// Whether a profile that does not exist comes into being by this operator.
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

/// What happens to one profile: an update, or its end.
#[derive(Clone, Debug)]
pub enum Change {
    /// Operators on its properties.
    Update(Update),
    /// `$delete`: the profile and all its properties go. A later update makes a fresh one.
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
/// A value that no JSON can carry (NaN, an infinity) is reported when the update is applied, so that building one
/// stays free of `?`.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub(super) ops: Vec<(String, Op)>,
    pub(super) creates: bool,
    pub(super) time: Option<Timestamp>,
    pub(super) ignore_time: bool,
    pub(super) invalid: Option<Error>,
    /// The limits that the operators satisfy, if they were validated. A new operator makes it `None`.
    pub(super) admitted: Option<LimitsId>,
}

impl Update {
    /// An update that does nothing yet.
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
        // A union with nothing is no update at all: it creates neither the list nor the profile.
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

    /// `$set`: sets a property, whatever was there.
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

    /// `$add`: adds to a number, exactly. An absent property counts as zero; anything but a number is left alone.
    #[must_use]
    pub fn add<N: TryInto<Number, Error: Display>>(self, name: impl Into<String>, amount: N) -> Self {
        self.checked(name, amount.try_into(), Op::Add)
    }

    /// `$union`: adds the elements that a list lacks, and leaves the whole list without repeats.
    #[must_use]
    pub fn union<V: TryInto<Value, Error: Display>>(
        self,
        name: impl Into<String>,
        elements: impl IntoIterator<Item = V>,
    ) -> Self {
        let elements = elements.into_iter().map(TryInto::try_into).collect();
        self.checked(name, elements, Op::Union)
    }

    /// `$append`: puts one element at the end of a list. A list is appended as one element.
    #[must_use]
    pub fn append<V: TryInto<Value, Error: Display>>(self, name: impl Into<String>, element: V) -> Self {
        self.checked(name, element.try_into(), Op::Append)
    }

    /// `$remove`: takes every element equal to this one out of a list. Creates nothing.
    #[must_use]
    pub fn remove<V: TryInto<Value, Error: Display>>(self, name: impl Into<String>, element: V) -> Self {
        self.checked(name, element.try_into(), Op::Remove)
    }

    /// `$merge`: the entries of `object` replace those of an object property, one level deep.
    #[must_use]
    pub fn merge(self, name: impl Into<String>, object: impl Into<Object>) -> Self {
        self.op(name, Op::Merge(object.into()))
    }

    /// `$unset`: takes a property away. Creates nothing.
    #[must_use]
    pub fn unset(self, name: impl Into<String>) -> Self {
        self.op(name, Op::Unset)
    }

    /// Creates the profile if there is none, even without any property.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.creates = true;
        self
    }

    /// When the update happened. Without it, the store takes its own clock. `$last_seen` never moves backwards.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Leaves `$last_seen` alone, as `$ignore_time` does.
    #[must_use]
    pub fn ignore_time(mut self) -> Self {
        self.ignore_time = true;
        self
    }

    /// The operators in the order given.
    #[must_use]
    pub fn ops(&self) -> &[(String, Op)] {
        &self.ops
    }

    /// How many operators there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether the update does nothing to any profile.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && !self.creates
    }

    /// Whether a profile that does not exist comes into being by this update.
    #[must_use]
    pub fn creates(&self) -> bool {
        self.creates
    }

    /// The time that was given, if any.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// The time that reaches `$last_seen`: none when it is to be ignored or was not given, or nothing is updated.
    #[must_use]
    pub fn stamp(&self) -> Option<Timestamp> {
        if self.ignore_time || self.is_empty() { None } else { self.time }
    }

    /// Gives the update this time if it has none, and this time at most.
    pub(crate) fn clamp_time(&mut self, now: Timestamp) {
        self.time = Some(self.time.map_or(now, |time| time.min(now)));
    }
}
