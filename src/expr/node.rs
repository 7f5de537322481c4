//! The abstract syntax tree. The parser bounds its height, so recursion over it is safe.

use std::fmt;

use super::level;
use crate::model::{Timestamp, Value};

/// The maximum height of a tree.
pub(super) const DEPTH_MAX: usize = 100;

/// Whose property a [`Reference`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `properties["x"]`: a property of the row itself, which is an event in a join and a profile in a scan.
    Properties,
    /// `user["x"]`: a property of the profile that is joined to it.
    User,
    /// `event["x"]`: a field of the event that is not a property, such as `$time`.
    Event,
}

impl Place {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Properties => "properties",
            Self::User => "user",
            Self::Event => "event",
        }
    }
}

/// A property that an expression refers to.
///
/// ```
/// use profiledb::expr::{Expr, Place, Reference};
///
/// let expr: Expr = "user['plan'] == \"pro\"".parse()?;
/// assert_eq!(expr.references(), [Reference { place: Place::User, name: "plan".into() }]);
/// assert_eq!(expr.references()[0].to_string(), r#"user["plan"]"#);
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Whose property.
    pub place: Place,
    /// The name of the property.
    pub name: String,
}

/// As written in an expression.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.place.word(), Value::from(self.name.as_str()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Literal(Value),
    /// The index of a reference in those of the expression.
    Reference(usize),
    /// The variable of the `up`-th enclosing `any` or `all`; the innermost is 0 (a de Bruijn index).
    Variable {
        name: String,
        up: usize,
    },
    /// The member of an object by its name.
    Member(Box<Node>, String),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Two or more operands, so that a long conjunction is not a deep tree.
    And(Vec<Node>),
    Or(Vec<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    /// `in` a list of literals.
    Among(Box<Node>, MemberSet),
    Whole(Whole, Box<Node>),
    /// A cast, and the default if it is undefined.
    Cast(Cast, Box<Node>, Option<Box<Node>>),
    /// `datetime` of a literal, evaluated once.
    Datetime(Timestamp, Value),
    Defined(Box<Node>),
    /// The list, and the predicate on its elements.
    Each(Each, String, Box<Node>, Box<Node>),
}

/// A list of literals, with an index for searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemberSet {
    listed: Vec<Value>,
    sorted: Vec<Value>,
}

impl MemberSet {
    pub(super) fn new(listed: Vec<Value>) -> Self {
        let mut sorted = listed.clone();
        sorted.sort_unstable();
        Self { listed, sorted }
    }

    /// In the order of the text.
    pub(super) fn listed(&self) -> &[Value] {
        &self.listed
    }

    pub(super) fn contains(&self, value: &Value) -> bool {
        self.sorted.binary_search(value).is_ok()
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($variant),* }

        impl $name {
            pub(super) const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            pub(super) fn of(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// The binary operators except `and` and `or`.
    Binary {
        Equal = "==", Unequal = "!=", Less = "<", AtMost = "<=", Greater = ">", AtLeast = ">=", In = "in",
        Add = "+", Subtract = "-", Multiply = "*", Divide = "/", Remainder = "%",
    }
}

words! {
    /// Functions that round to a whole number.
    Whole { Floor = "floor", Round = "round", Ceil = "ceil" }
}

words! {
    Cast { String = "string", Number = "number", Boolean = "boolean", Datetime = "datetime" }
}

words! {
    Each { Any = "any", All = "all" }
}

impl Binary {
    /// Whether two numbers are compared as numbers.
    pub(super) const fn is_comparison(self) -> bool {
        matches!(self, Self::Equal | Self::Unequal | Self::Less | Self::AtMost | Self::Greater | Self::AtLeast)
    }

    pub(super) const fn level(self) -> u8 {
        match self {
            Self::Add | Self::Subtract => level::ADD,
            Self::Multiply | Self::Divide | Self::Remainder => level::MULTIPLY,
            _ => level::COMPARE,
        }
    }
}

impl Node {
    /// Whether this is always a boolean or undefined, which `and` accepts.
    pub(super) fn is_boolean(&self) -> bool {
        match self {
            Self::Literal(value) => value.as_bool().is_some(),
            Self::Not(_) | Self::And(_) | Self::Or(_) | Self::Among(..) | Self::Defined(_) | Self::Each(..) => true,
            Self::Binary(binary, ..) => binary.level() == level::COMPARE,
            Self::Cast(cast, ..) => *cast == Cast::Boolean,
            Self::Reference(_)
            | Self::Variable { .. }
            | Self::Member(..)
            | Self::Negate(_)
            | Self::Whole(..)
            | Self::Datetime(..) => false,
        }
    }

    /// Whether its evaluation can fail for some values of its references.
    pub(super) fn may_fail(&self) -> bool {
        let takes_any = |node: &Self| !node.is_boolean() || node.may_fail();
        match self {
            Self::Literal(_) | Self::Reference(_) | Self::Variable { .. } | Self::Datetime(..) => false,
            Self::Not(a) => takes_any(a),
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().any(takes_any),
            Self::Each(_, _, list, test) => list.may_fail() || takes_any(test),
            Self::Member(a, _) | Self::Negate(a) | Self::Among(a, _) | Self::Whole(_, a) | Self::Defined(a) => {
                a.may_fail()
            }
            Self::Binary(_, a, b) => a.may_fail() || b.may_fail(),
            Self::Cast(_, a, b) => a.may_fail() || b.as_deref().is_some_and(Self::may_fail),
        }
    }

    /// Visits the positions of all references, in the order of the text.
    pub(super) fn each_reference(&mut self, visit: &mut dyn FnMut(&mut usize)) {
        match self {
            Self::Reference(index) => visit(index),
            Self::Literal(_) | Self::Variable { .. } | Self::Datetime(..) => {}
            Self::Member(a, _)
            | Self::Not(a)
            | Self::Negate(a)
            | Self::Among(a, _)
            | Self::Whole(_, a)
            | Self::Defined(a) => {
                a.each_reference(visit);
            }
            Self::And(nodes) | Self::Or(nodes) => nodes.iter_mut().for_each(|node| node.each_reference(visit)),
            Self::Binary(_, a, b) | Self::Each(_, _, a, b) => {
                a.each_reference(visit);
                b.each_reference(visit);
            }
            Self::Cast(_, a, b) => {
                a.each_reference(visit);
                b.iter_mut().for_each(|node| node.each_reference(visit));
            }
        }
    }

    /// Whether there is a reference of which this is true, by its position.
    pub(super) fn refers(&self, is: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Self::Reference(index) => is(*index),
            Self::Literal(_) | Self::Variable { .. } | Self::Datetime(..) => false,
            Self::Member(a, _)
            | Self::Not(a)
            | Self::Negate(a)
            | Self::Among(a, _)
            | Self::Whole(_, a)
            | Self::Defined(a) => a.refers(is),
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().any(|node| node.refers(is)),
            Self::Binary(_, a, b) | Self::Each(_, _, a, b) => a.refers(is) || b.refers(is),
            Self::Cast(_, a, b) => a.refers(is) || b.as_deref().is_some_and(|b| b.refers(is)),
        }
    }

    /// Flattens an `and`, and those nested in it.
    pub(super) fn split<'a>(&'a self, into: &mut Vec<&'a Self>) {
        match self {
            Self::And(nodes) => nodes.iter().for_each(|node| node.split(into)),
            node => into.push(node),
        }
    }
}
