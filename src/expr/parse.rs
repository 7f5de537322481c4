//! The parser, by precedence climbing: from text to tree.

use std::collections::BTreeMap;

use super::arithmetic::negate;
use super::datum::Datum;
use super::level;
use super::node::{Binary, Cast, DEPTH_MAX, Each, MemberSet, Node, Place, Reference, Whole};
use super::token::{NoNumber, Span, Spot, Token, Tokens, literal};
use crate::error::{Error, Result};
use crate::model::{Number, Value};

/// The maximum recursion of the parser. The printer puts at most one pair of parentheses around each level of a tree,
/// so any printed tree can be parsed.
const NESTING_MAX: usize = 2 * DEPTH_MAX + 2;

/// A tree, and its height.
struct Tree {
    node: Node,
    height: usize,
}

impl Tree {
    fn leaf(node: Node) -> Self {
        Self { node, height: 1 }
    }
}

pub(super) struct Parser<'t> {
    tokens: Tokens<'t>,
    now: Spot<'t>,
    references: Vec<Reference>,
    positions: BTreeMap<Reference, usize>,
    /// The variables in scope, the innermost last.
    variables: Vec<&'t str>,
    nesting: usize,
}

/// The operators that can follow an operand.
enum Infix {
    And,
    Or,
    Binary(Binary),
}

impl Infix {
    fn level(&self) -> u8 {
        match self {
            Self::And => level::AND,
            Self::Or => level::OR,
            Self::Binary(binary) => binary.level(),
        }
    }
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self> {
        let mut tokens = Tokens::new(text);
        let now = tokens.next()?;
        let (references, positions, variables) = (Vec::new(), BTreeMap::new(), Vec::new());
        Ok(Self { tokens, now, references, positions, variables, nesting: 0 })
    }

    /// The tree, and its references in the order of first use.
    pub(super) fn parse(mut self) -> Result<(Node, Vec<Reference>)> {
        let tree = self.expression(level::OR)?;
        match self.now.token {
            Token::End => Ok((tree.node, self.references)),
            _ => Err(self.unexpected("an operator or the end")),
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Tokens

    fn advance(&mut self) -> Result<Spot<'t>> {
        let next = self.tokens.next()?;
        Ok(std::mem::replace(&mut self.now, next))
    }

    fn eat(&mut self, symbol: &str) -> Result<bool> {
        let is_next = matches!(self.now.token, Token::Symbol(next) if next == symbol);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn expect(&mut self, symbol: &str, expected: &str) -> Result<()> {
        if self.eat(symbol)? { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn unexpected(&self, expected: &str) -> Error {
        self.unexpected_at(self.now.span, expected)
    }

    fn unexpected_at(&self, span: Span, expected: &str) -> Error {
        let found = self.tokens.written(span);
        self.tokens.error_at(span.start, &format!("found {found}, expected {expected}"))
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Bounds

    fn descend(&mut self) -> Result<()> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX { Err(self.too_deep()) } else { Ok(()) }
    }

    /// A tree whose highest subtree has this height.
    fn above(&self, height: usize, node: Node) -> Result<Tree> {
        if height < DEPTH_MAX { Ok(Tree { node, height: height + 1 }) } else { Err(self.too_deep()) }
    }

    fn too_deep(&self) -> Error {
        let what = format!("nested deeper than {DEPTH_MAX} levels");
        self.tokens.error_at(self.now.span.start, &what)
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Operators

    /// An expression whose operators have at least this precedence.
    fn expression(&mut self, loosest: u8) -> Result<Tree> {
        self.descend()?;
        let mut left = self.operand()?;
        while let Some(infix) = self.infix() {
            if infix.level() < loosest {
                break;
            }
            left = match infix {
                Infix::And => self.row(left, "and", level::AND, Node::And)?,
                Infix::Or => self.row(left, "or", level::OR, Node::Or)?,
                Infix::Binary(binary) => self.binary(left, binary)?,
            };
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn infix(&self) -> Option<Infix> {
        match self.now.token {
            Token::Word("and") => Some(Infix::And),
            Token::Word("or") => Some(Infix::Or),
            Token::Word(word) | Token::Symbol(word) => Binary::of(word).map(Infix::Binary),
            _ => None,
        }
    }

    /// The rest of `left and .. and ..`.
    fn row(&mut self, left: Tree, word: &str, level: u8, build: fn(Vec<Node>) -> Node) -> Result<Tree> {
        let mut height = left.height;
        let mut nodes = vec![left.node];
        while matches!(self.now.token, Token::Word(next) if next == word) {
            self.advance()?;
            let next = self.expression(level + 1)?;
            height = height.max(next.height);
            nodes.push(next.node);
        }
        self.above(height, build(nodes))
    }

    fn binary(&mut self, left: Tree, binary: Binary) -> Result<Tree> {
        self.advance()?;
        let right = self.expression(binary.level() + 1)?;
        let chains = binary.level() != level::COMPARE;
        if !chains && matches!(self.infix(), Some(next) if next.level() == level::COMPARE) {
            return Err(self.unexpected("`and`, `or` or the end: comparisons do not chain"));
        }
        let height = left.height.max(right.height);
        let left = Box::new(left.node);
        let node = match (binary, right.node) {
            (Binary::In, Node::Literal(Value::List(listed))) => Node::Among(left, MemberSet::new(listed)),
            (_, right) => Node::Binary(binary, left, Box::new(right)),
        };
        self.above(height, node)
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Operands

    fn operand(&mut self) -> Result<Tree> {
        let spot = self.advance()?;
        match spot.token {
            Token::Number(number) => Ok(Tree::leaf(Node::Literal(self.number(spot.span, number)?))),
            Token::Text(text) => Ok(Tree::leaf(Node::Literal(text.into()))),
            Token::Symbol("-") => self.minus(),
            Token::Symbol("(") => {
                let inner = self.expression(level::OR)?;
                self.expect(")", "an operator or `)`")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                let (list, height) = self.list()?;
                Ok(Tree { node: Node::Literal(list), height })
            }
            Token::Word(word) => self.word(spot.span, word),
            Token::Name(name) => match self.variables.iter().rev().position(|bound| *bound == name) {
                Some(up) => self.members(Tree::leaf(Node::Variable { name: name.to_owned(), up })),
                None => {
                    Err(self.unexpected_at(spot.span, &format!("a value, such as properties[{name:?}] or {name:?}")))
                }
            },
            Token::Symbol(_) | Token::End => Err(self.unexpected_at(spot.span, "a value")),
        }
    }

    /// The operand of a unary minus. A number literal absorbs the minus.
    fn minus(&mut self) -> Result<Tree> {
        if let Token::Number(number) = &self.now.token {
            let value = self.negative(number)?;
            self.advance()?;
            return Ok(Tree::leaf(Node::Literal(value)));
        }
        let inner = self.expression(level::NEGATE)?;
        self.above(inner.height, Node::Negate(Box::new(inner.node)))
    }

    fn number(&self, span: Span, number: Number) -> Result<Value> {
        literal(number).map_err(|why| self.tokens.no_number(span, why))
    }

    fn negative(&self, number: &Number) -> Result<Value> {
        let value = negate(number).ok_or(NoNumber::Malformed).and_then(literal);
        value.map_err(|why| self.tokens.no_number(self.now.span, why))
    }

    fn word(&mut self, span: Span, word: &'static str) -> Result<Tree> {
        if let Some(value) = constant(word) {
            return Ok(Tree::leaf(Node::Literal(value)));
        }
        if let Some(whole) = Whole::of(word) {
            let inner = self.argument()?;
            self.expect(")", "an operator or `)`")?;
            return self.above(inner.height, Node::Whole(whole, Box::new(inner.node)));
        }
        if let Some(cast) = Cast::of(word) {
            return self.cast(cast);
        }
        if let Some(each) = Each::of(word) {
            return self.each(each);
        }
        match word {
            "not" => {
                let inner = self.expression(level::NOT)?;
                self.above(inner.height, Node::Not(Box::new(inner.node)))
            }
            "defined" => {
                let inner = self.argument()?;
                self.expect(")", "an operator or `)`")?;
                self.above(inner.height, Node::Defined(Box::new(inner.node)))
            }
            "properties" => self.reference(Place::Properties),
            "user" => self.reference(Place::User),
            "event" => self.reference(Place::Event),
            _ => Err(self.unexpected_at(span, "a value")),
        }
    }

    fn reference(&mut self, place: Place) -> Result<Tree> {
        self.expect("[", "`[` and the name of a property")?;
        let name = self.name()?;
        let reference = Reference { place, name };
        let next = self.references.len();
        let index = *self.positions.entry(reference.clone()).or_insert(next);
        if index == next {
            self.references.push(reference);
        }
        self.members(Tree::leaf(Node::Reference(index)))
    }

    /// The rest of a property in brackets.
    fn name(&mut self) -> Result<String> {
        let spot = self.advance()?;
        let Token::Text(name) = spot.token else {
            return Err(self.unexpected_at(spot.span, "the name of a property in quotes"));
        };
        self.expect("]", "`]`")?;
        Ok(name)
    }

    /// The members of objects that follow an operand in brackets.
    fn members(&mut self, mut tree: Tree) -> Result<Tree> {
        while self.eat("[")? {
            let name = self.name()?;
            tree = self.above(tree.height, Node::Member(Box::new(tree.node), name))?;
        }
        Ok(tree)
    }

    /// An opening parenthesis and the first argument.
    fn argument(&mut self) -> Result<Tree> {
        self.expect("(", "`(`")?;
        self.expression(level::OR)
    }

    fn cast(&mut self, cast: Cast) -> Result<Tree> {
        let inner = self.argument()?;
        let default = if self.eat(",")? { Some(self.expression(level::OR)?) } else { None };
        self.expect(")", if default.is_some() { "an operator or `)`" } else { "an operator, `,` or `)`" })?;
        if let (Cast::Datetime, Node::Literal(value), None) = (cast, &inner.node, &default)
            && let Some(Datum::Time(time)) = Datum::borrowed(value).cast(cast)
        {
            return self.above(inner.height, Node::Datetime(time, value.clone()));
        }
        let height = default.as_ref().map_or(0, |default| default.height).max(inner.height);
        let default = default.map(|default| Box::new(default.node));
        self.above(height, Node::Cast(cast, Box::new(inner.node), default))
    }

    fn each(&mut self, each: Each) -> Result<Tree> {
        self.expect("(", "`(`")?;
        let spot = self.advance()?;
        let Token::Name(name) = spot.token else {
            return Err(self.unexpected_at(spot.span, "a name for the elements"));
        };
        self.expect(",", "`,`")?;
        let list = self.expression(level::OR)?;
        self.expect(",", "an operator or `,`")?;
        self.variables.push(name);
        let test = self.expression(level::OR)?;
        self.variables.pop();
        self.expect(")", "an operator or `)`")?;
        let height = list.height.max(test.height);
        self.above(height, Node::Each(each, name.to_owned(), Box::new(list.node), Box::new(test.node)))
    }

    /// The rest of a list of literals, and its depth.
    fn list(&mut self) -> Result<(Value, usize)> {
        self.descend()?;
        let mut elements = Vec::new();
        let mut height = 1;
        if !self.eat("]")? {
            loop {
                let (element, below) = self.element()?;
                elements.push(element);
                height = height.max(below + 1);
                if !self.eat(",")? {
                    break;
                }
            }
            self.expect("]", "`,` or `]`")?;
        }
        self.nesting -= 1;
        if height > DEPTH_MAX { Err(self.too_deep()) } else { Ok((Value::List(elements), height)) }
    }

    fn element(&mut self) -> Result<(Value, usize)> {
        let spot = self.advance()?;
        let value = match spot.token {
            Token::Symbol("[") => return self.list(),
            Token::Number(number) => Some(self.number(spot.span, number)?),
            Token::Text(text) => Some(text.into()),
            Token::Word(word) => constant(word),
            Token::Symbol("-") => match &self.now.token {
                Token::Number(number) => {
                    let value = self.negative(number)?;
                    self.advance()?;
                    Some(value)
                }
                _ => None,
            },
            _ => None,
        };
        match value {
            Some(value) => Ok((value, 1)),
            None => Err(self.unexpected_at(spot.span, "a literal: lists contain only literals")),
        }
    }
}

fn constant(word: &str) -> Option<Value> {
    match word {
        "true" => Some(true.into()),
        "false" => Some(false.into()),
        "null" => Some(Value::Null),
        _ => None,
    }
}
