//! Evaluation of an expression: a tree-walking interpreter over one row.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::arithmetic;
use super::datum::Datum;
use super::node::{Binary, Each, Node, Reference, Whole};
use crate::error::{Error, Result};
use crate::model::{Number, Value};

/// The values of the references of an expression on one row.
///
/// ```
/// use std::borrow::Cow;
/// use profiledb::expr::{Expr, Place, Reference, Scope};
/// use profiledb::{Object, Result, Value};
///
/// struct Row<'a> {
///     event: &'a Object,
///     profile: Option<&'a Object>,
/// }
///
/// impl Scope for Row<'_> {
///     fn value(&self, _index: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
///         let found = match reference.place {
///             Place::Properties => self.event.get(&reference.name),
///             Place::User => self.profile.and_then(|profile| profile.get(&reference.name)),
///             Place::Event => None,
///         };
///         Ok(found.map(Cow::Borrowed))
///     }
/// }
///
/// let expr: Expr = r#"properties["amount"] * 2 > user["limit"] or not defined(user["limit"])"#.parse()?;
/// let event = Object::from_iter([("amount", 30)]);
/// let profile = Object::from_iter([("limit", 50)]);
/// assert!(expr.is_true(&Row { event: &event, profile: Some(&profile) })?);
/// assert!(expr.is_true(&Row { event: &event, profile: None })?);
/// # Ok::<(), profiledb::Error>(())
/// ```
pub trait Scope {
    /// The value of a reference, or `None` if there is no such property. `index` is the position of the reference in
    /// [`Expr::references`](super::Expr::references), for implementations that resolve names before the first row.
    ///
    /// Called once for each evaluated occurrence of a reference.
    ///
    /// # Errors
    ///
    /// Any error of reading the value. It ends the evaluation and is returned.
    fn value(&self, index: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>>;
}

/// The element to which a variable of `any` or `all` is bound.
struct Bound<'a> {
    value: &'a Value,
    outer: Option<&'a Bound<'a>>,
}

/// Evaluates nodes on one row, with the variables that are bound at a node of the tree.
pub(super) struct Evaluator<'a, S: ?Sized> {
    scope: &'a S,
    references: &'a [Reference],
    bound: Option<&'a Bound<'a>>,
}

impl<'a, S: Scope + ?Sized> Evaluator<'a, S> {
    pub(super) fn new(scope: &'a S, references: &'a [Reference]) -> Self {
        Self { scope, references, bound: None }
    }

    pub(super) fn eval(&self, node: &'a Node) -> Result<Option<Datum<'a>>> {
        Ok(match node {
            Node::Literal(value) => Some(Datum::borrowed(value)),
            Node::Reference(index) => match self.references.get(*index) {
                Some(reference) => self.scope.value(*index, reference)?.map(Datum::Plain),
                None => None,
            },
            Node::Variable { up, .. } => {
                let bound = (0..*up).fold(self.bound, |bound, _| bound.and_then(|bound| bound.outer));
                bound.map(|bound| Datum::borrowed(bound.value))
            }
            Node::Member(inner, name) => self.eval(inner)?.and_then(|value| value.member(name)),
            Node::Not(inner) => match self.eval(inner)? {
                Some(value) => Some(Datum::owned(!boolean(&value, "not")?)),
                None => Some(Datum::owned(true)),
            },
            Node::Negate(inner) => number(self.eval(inner)?, arithmetic::negate),
            Node::And(nodes) => Some(Datum::owned(self.any(nodes, "and", false)?.is_none())),
            Node::Or(nodes) => Some(Datum::owned(self.any(nodes, "or", true)?.is_some())),
            Node::Binary(binary, a, b) => self.binary(*binary, a, b)?,
            Node::Among(inner, members) => self.eval(inner)?.map(|value| Datum::owned(value.is_among(members))),
            Node::Whole(Whole::Floor, inner) => number(self.eval(inner)?, arithmetic::floor),
            Node::Whole(Whole::Round, inner) => number(self.eval(inner)?, arithmetic::round),
            Node::Whole(Whole::Ceil, inner) => number(self.eval(inner)?, arithmetic::ceil),
            Node::Cast(cast, inner, default) => {
                let value = match self.eval(inner)? {
                    Some(value) => value.cast(*cast),
                    None => Datum::cast_undefined(*cast),
                };
                match (value, default) {
                    (None, Some(default)) => self.eval(default)?,
                    (value, _) => value,
                }
            }
            Node::Datetime(time, _) => Some(Datum::Time(*time)),
            Node::Defined(inner) => {
                let value = self.eval(inner)?;
                Some(Datum::owned(value.is_some_and(|value| !matches!(value.value(), Some(Value::Null)))))
            }
            Node::Each(each, _, list, test) => self.each(*each, list, test)?,
        })
    }

    /// The truth of a node as an operand of that operator: undefined is false, and a value must be a boolean.
    fn holds(&self, node: &'a Node, operator: &str) -> Result<bool> {
        match self.eval(node)? {
            Some(value) => boolean(&value, operator),
            None => Ok(false),
        }
    }

    /// Whether the truth of one of these nodes is `decisive`. The nodes after the first of them are not evaluated.
    fn any(&self, nodes: &'a [Node], operator: &str, decisive: bool) -> Result<Option<&'a Node>> {
        for node in nodes {
            if self.holds(node, operator)? == decisive {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    fn each(&self, each: Each, list: &'a Node, test: &'a Node) -> Result<Option<Datum<'a>>> {
        let list = self.eval(list)?;
        let Some(Value::List(elements)) = list.as_ref().and_then(Datum::value) else { return Ok(None) };
        let decisive = each == Each::Any;
        for value in elements {
            let bound = Bound { value, outer: self.bound };
            let row = Evaluator { scope: self.scope, references: self.references, bound: Some(&bound) };
            if row.holds(test, each.word())? == decisive {
                return Ok(Some(Datum::owned(decisive)));
            }
        }
        Ok(Some(Datum::owned(!decisive)))
    }

    fn binary(&self, binary: Binary, a: &'a Node, b: &'a Node) -> Result<Option<Datum<'a>>> {
        let (a, b) = (self.eval(a)?, self.eval(b)?);
        // Undefined equals nothing, not even undefined; with all other operators the result is undefined.
        let (Some(a), Some(b)) = (a, b) else {
            return Ok(match binary {
                Binary::Equal => Some(Datum::owned(false)),
                Binary::Unequal => Some(Datum::owned(true)),
                _ => None,
            });
        };
        let ordered = |test: fn(Ordering) -> bool| a.order(&b).map(|order| Datum::owned(test(order)));
        let computed = |with: fn(&Number, &Number) -> Option<Number>| {
            a.as_number().zip(b.as_number()).and_then(|(a, b)| with(a, b)).map(Datum::owned)
        };
        Ok(match binary {
            Binary::Equal => Some(Datum::owned(a.equals(&b))),
            Binary::Unequal => Some(Datum::owned(!a.equals(&b))),
            Binary::Less => ordered(Ordering::is_lt),
            Binary::AtMost => ordered(Ordering::is_le),
            Binary::Greater => ordered(Ordering::is_gt),
            Binary::AtLeast => ordered(Ordering::is_ge),
            Binary::In => a.is_in(&b).map(Datum::owned),
            Binary::Add => a.plus(&b),
            Binary::Subtract => computed(arithmetic::difference),
            Binary::Multiply => computed(arithmetic::product),
            Binary::Divide => computed(arithmetic::quotient),
            Binary::Remainder => computed(arithmetic::remainder),
        })
    }
}

fn number<'a>(value: Option<Datum<'a>>, with: fn(&Number) -> Option<Number>) -> Option<Datum<'a>> {
    value?.as_number().and_then(with).map(Datum::owned)
}

fn boolean(value: &Datum<'_>, operator: &str) -> Result<bool> {
    let error = || Error::invalid(format!("`{operator}` takes booleans, not {}", value.type_name()));
    value.as_bool().ok_or_else(error)
}
