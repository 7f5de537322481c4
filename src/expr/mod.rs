//! Mixpanel's segmentation expressions: a recursive-descent parser and a tree-walking interpreter.
//!
//! An [`Expr`] is parsed once and evaluated on many rows. It reads the properties that it
//! [references](Expr::references) from a [`Scope`] and evaluates to a value, or to `None` for undefined. A filter keeps
//! a row only if the result is `true`.
//!
//! ```text
//! expression  =  operand
//!             |  expression (and | or) expression                              from the loosest ..
//!             |  not expression
//!             |  expression (== | != | < | <= | > | >= | in) expression        these do not chain
//!             |  expression (+ | -) expression
//!             |  expression (* | / | %) expression
//!             |  - expression                                                  .. to the tightest; or before and
//! operand     =  (properties | user | event) [ text ] { [ text ] }
//!             |  variable { [ text ] }  |  literal  |  ( expression )
//!             |  (floor | round | ceil | defined) ( expression )
//!             |  (string | number | boolean | datetime) ( expression [, expression] )
//!             |  (any | all) ( variable , expression , expression )
//! literal     =  text  |  number  |  true  |  false  |  null  |  [ literal , .. ]
//! ```
//!
//! Texts are in single or double quotes, with the escapes of JSON and `\'`. Keywords are case-insensitive, and `=`
//! means `==`. An absent property is undefined, which is not a value and has no literal. A number that is written as an
//! integer is that integer; one of more than 128 bits is an error. Any other number is the nearest double.
//!
//! | | is | undefined for |
//! |---|---|---|
//! | `a == b` | whether both are equal as JSON: `1 == 1.0`, `"1" != 1`, null is null; undefined equals nothing | |
//! | `a != b` | the opposite, so true if one is undefined | |
//! | `a < b` etc. | the order of two numbers, or of a datetime and a datetime or date | all else, even two texts |
//! | `a in b` | whether text `a` is a substring of text `b`, or `a` equals an element of list `b` | all else |
//! | `a + b` | the exact sum of two numbers, or the concatenation of two texts | all else |
//! | `a - b`, `-a` | the exact difference | not numbers |
//! | `a * b` | the product, exact within 127 bits, else that of the nearest doubles | not numbers; not finite |
//! | `a / b` | an integer if all three are, else that of the nearest doubles | not numbers; by 0; not finite |
//! | `a % b` | the remainder, with the sign of `a`; exact for whole numbers | not numbers; by 0 |
//! | `floor round ceil` | a whole number; halves round away from zero | not numbers |
//! | `a and b`, `a or b` | undefined counts as false; evaluation short-circuits | |
//! | `not a` | true for undefined | |
//! | `defined(a)` | whether there is a value and it is not null; `""` is one | |
//! | `any(x, list, test)`, `all` | whether the test is true for one element, for all; undefined is not | not lists |
//!
//! `user["address"]["city"]` is the member `city` of the object `address`, and undefined if `address` has none or is no
//! object. The elements of a list of objects have members too: `any(x, properties["items"], x["brand"] == "acme")`. A
//! name is not split: `user["address.city"]` is a property of that name.
//!
//! `and`, `or`, `not` and the tests of `any` and `all` take booleans only: another value, even null, is an error that
//! names the operator and the type. Nothing else fails on a row, except the [`Scope`].
//!
//! | cast of | `string` | `number` | `boolean` | `datetime` |
//! |---|---|---|---|---|
//! | a text | itself | parsed as a literal, or undefined | neither `""` nor `"false"` | parsed, or undefined |
//! | a number | `"2"`, also of `2.0` | itself | not 0 | of seconds; of milliseconds above 1e11 |
//! | a boolean | `"true"`, `"false"` | `1.0`, `0.0` | itself | undefined |
//! | null | null | undefined | false | undefined |
//! | a datetime | its text | its milliseconds | true | itself |
//! | a list, an object | its JSON | undefined | true | undefined |
//! | undefined | undefined | undefined | false | undefined |
//!
//! A second operand of a cast is the default if the result is undefined: `string(properties["plan"], "none")`.
//!
//! A datetime is a point in time with milliseconds. JSON has no such type, and dates are stored as texts of the form
//! `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SS`. So in a comparison with a datetime, by `==`, `<` or `in`, such a text is
//! converted, and `user["$last_seen"] >= datetime("2024-01-01")` compares times. A number is a time only in
//! `datetime(..)`, and two texts have no order. [`Expr::eval`] returns a datetime as text, in whole seconds.

mod arithmetic;
mod datum;
mod eval;
mod level;
mod node;
mod parse;
mod print;
mod steps;
#[cfg(test)]
mod tests;
mod token;

pub use eval::Scope;
pub use node::{Place, Reference};

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::str::FromStr;

use datum::Datum;
use eval::Evaluator;
use node::Node;
use parse::Parser;
use print::Printed;
use token::{Spot, Token, Tokens};

use crate::error::{Error, Result};
use crate::model::Value;

/// A parsed expression. The language is described in [the module](self).
///
/// Two expressions are equal if their syntax trees are, whatever their spaces and redundant parentheses. The output of
/// [`Display`](fmt::Display) parses to an equal expression.
///
/// ```
/// use profiledb::Expr;
///
/// let expr: Expr = "(properties['plan'] = 'pro') AND not user[\"age\"] < 18".parse()?;
/// assert_eq!(expr.to_string(), r#"properties["plan"] == "pro" and not user["age"] < 18"#);
/// assert_eq!(expr, expr.to_string().parse()?);
/// # Ok::<(), profiledb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    root: Node,
    references: Vec<Reference>,
}

impl Expr {
    /// The longest text of an expression, in bytes, both as given and as printed.
    pub const BYTES_MAX: usize = 1024 * 1024;

    /// The maximum nesting depth of operators, functions and lists. A sequence of `and` or of `or` is one level,
    /// whatever its length. Parentheses alone may be nested twice as deep.
    pub const DEPTH_MAX: usize = node::DEPTH_MAX;

    /// Parses an expression.
    ///
    /// ```
    /// use profiledb::Expr;
    ///
    /// let error = Expr::parse(r#"properties["plan"] == or"#).unwrap_err();
    /// assert_eq!(
    ///     error.message(),
    ///     r#"found `or`, expected a value column=23 near="ties[\"plan\"] == or""#
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the text is not an expression, or exceeds
    /// [`BYTES_MAX`](Self::BYTES_MAX) or [`DEPTH_MAX`](Self::DEPTH_MAX). The message contains what was found, what was
    /// expected, and the position: `column` counts characters from 1.
    pub fn parse(text: &str) -> Result<Self> {
        let bound = |bytes: usize| if bytes > Self::BYTES_MAX { Err(Self::too_long(bytes)) } else { Ok(()) };
        bound(text.len())?;
        let (root, references) = Parser::new(text)?.parse()?;
        let expr = Self { root, references };
        let mut printed = Length(0);
        write!(printed, "{expr}").map_err(|_| Self::too_long(printed.0))?;
        bound(printed.0)?;
        Ok(expr)
    }

    fn too_long(bytes: usize) -> Error {
        Error::invalid(format!("an expression has at most {} bytes bytes={bytes}", Self::BYTES_MAX))
    }

    /// The properties that the expression reads from its [`Scope`]: each once, in the order of first use.
    ///
    /// ```
    /// use profiledb::Expr;
    ///
    /// let expr = Expr::parse(r#"user["b"] > properties["a"] and defined(user["b"])"#)?;
    /// let names: Vec<String> = expr.references().iter().map(ToString::to_string).collect();
    /// assert_eq!(names, [r#"user["b"]"#, r#"properties["a"]"#]);
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// The value on one row; `None` is undefined.
    ///
    /// ```
    /// use std::borrow::Cow;
    /// use profiledb::expr::{Expr, Reference, Scope};
    /// use profiledb::{Object, Result, Value};
    ///
    /// struct Row(Object);
    ///
    /// impl Scope for Row {
    ///     fn value(&self, _index: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
    ///         Ok(self.0.get(&reference.name).map(Cow::Borrowed))
    ///     }
    /// }
    ///
    /// let row = Row(Object::from_iter([("price", 3)]));
    /// assert_eq!(Expr::parse(r#"properties["price"] * 2"#)?.eval(&row)?, Some(6.into()));
    /// assert_eq!(Expr::parse(r#"properties["price"] * properties["count"]"#)?.eval(&row)?, None);
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when an operand that must be a boolean is another value; and any error of
    /// the scope.
    pub fn eval(&self, scope: &(impl Scope + ?Sized)) -> Result<Option<Value>> {
        Ok(Evaluator::new(scope, &self.references).eval(&self.root)?.map(Datum::into_value))
    }

    /// Whether the value on one row is `true`. Undefined and all other values are not.
    ///
    /// ```
    /// # use std::borrow::Cow;
    /// # use profiledb::expr::{Expr, Reference, Scope};
    /// # use profiledb::{Object, Result, Value};
    /// # struct Row(Object);
    /// # impl Scope for Row {
    /// #     fn value(&self, _index: usize, reference: &Reference) -> Result<Option<Cow<'_, Value>>> {
    /// #         Ok(self.0.get(&reference.name).map(Cow::Borrowed))
    /// #     }
    /// # }
    /// let row = Row(Object::from_iter([("city", "Berlin")]));
    /// assert!(Expr::parse(r#""lin" in properties["city"]"#)?.is_true(&row)?);
    /// assert!(!Expr::parse(r#"properties["city"]"#)?.is_true(&row)?);
    /// assert!(!Expr::parse(r#"properties["age"] >= 18"#)?.is_true(&row)?);
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`eval`](Self::eval).
    pub fn is_true(&self, scope: &(impl Scope + ?Sized)) -> Result<bool> {
        Ok(Evaluator::new(scope, &self.references).eval(&self.root)?.is_some_and(|value| value.as_bool() == Some(true)))
    }

    /// The operands of the top-level `and`, or the expression itself. Each has its own references.
    ///
    /// The expression is true on a row if all of them are. Evaluated in this order, up to the first that is not true,
    /// they fail on the same rows as the expression: a conjunct that may not be a boolean has `and true` added.
    ///
    /// ```
    /// use profiledb::Expr;
    ///
    /// let expr = Expr::parse(r#"user["plan"] == "pro" and (properties["n"] > 1 or user["n"] > 1) and user["vip"]"#)?;
    /// let conditions: Vec<String> = expr.conjuncts().iter().map(ToString::to_string).collect();
    /// assert_eq!(
    ///     conditions,
    ///     [r#"user["plan"] == "pro""#, r#"properties["n"] > 1 or user["n"] > 1"#, r#"user["vip"] and true"#]
    /// );
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    #[must_use]
    pub fn conjuncts(&self) -> Vec<Self> {
        if !matches!(self.root, Node::And(_)) {
            return vec![self.clone()];
        }
        let mut nodes = Vec::new();
        self.root.split(&mut nodes);
        nodes.into_iter().map(|node| self.part(node)).collect()
    }

    /// Whether [`is_true`](Self::is_true) can fail on some row even if its scope does not.
    pub(crate) fn may_fail(&self) -> bool {
        self.root.may_fail()
    }

    /// This expression, unless it refers to an event.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when it does.
    pub(crate) fn about_profiles(self) -> Result<Self> {
        match self.references.iter().find(|reference| reference.place == Place::Event) {
            Some(reference) => Err(Error::invalid(format!("a profile has no event to refer to: {reference}"))),
            None => Ok(self),
        }
    }

    /// A part of this expression as a separate expression.
    fn part(&self, node: &Node) -> Self {
        let mut root = node.clone();
        // Maps the references of the whole expression to those of the part.
        let mut moved = BTreeMap::new();
        let mut references = Vec::new();
        root.each_reference(&mut |index| {
            let next = references.len();
            let position = *moved.entry(*index).or_insert(next);
            if position == next {
                references.extend(self.references.get(*index).cloned());
            }
            *index = position;
        });
        if !root.is_boolean() {
            root = Node::And(vec![root, Node::Literal(true.into())]);
        }
        Self { root, references }
    }
}

/// A text that parses to the same expression.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Printed { node: &self.root, references: &self.references, loosest: level::OR })
    }
}

impl FromStr for Expr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Parses the text.
impl TryFrom<&str> for Expr {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Parses the text.
impl TryFrom<&String> for Expr {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        Self::parse(text)
    }
}

/// A string in quotes at the beginning of a text, with the escapes of the language, and what follows it.
///
/// # Errors
///
/// [`Invalid`](crate::ErrorKind::Invalid) when there is none.
pub(crate) fn quoted(text: &str) -> Result<(String, &str)> {
    let mut tokens = Tokens::new(text);
    match tokens.next()? {
        Spot { token: Token::Text(value), span } => Ok((value, text.get(span.end..).unwrap_or_default())),
        Spot { span, .. } => Err(tokens.error_at(span.start, "expected a string in quotes")),
    }
}

/// Counts the bytes written.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}
