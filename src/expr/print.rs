//! The printer: from tree to text, with only the necessary parentheses.

use std::fmt;

use super::level;
use super::node::{Node, Reference};
use crate::model::{Number, Value};

/// A tree in a context that requires at least this precedence.
pub(super) struct Printed<'a> {
    pub(super) node: &'a Node,
    pub(super) references: &'a [Reference],
    pub(super) loosest: u8,
}

impl Printed<'_> {
    fn at<'a>(&'a self, node: &'a Node, loosest: u8) -> Printed<'a> {
        Printed { node, references: self.references, loosest }
    }

    fn joined(&self, nodes: &[Node], word: &str, level: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in nodes.iter().enumerate() {
            if index > 0 {
                write!(f, " {word} ")?;
            }
            write!(f, "{}", self.at(node, level + 1))?;
        }
        Ok(())
    }

    fn bare(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = |node| self.at(node, level::OR);
        match self.node {
            Node::Literal(value) => write!(f, "{value}"),
            Node::Reference(index) => match self.references.get(*index) {
                Some(reference) => write!(f, "{reference}"),
                None => Err(fmt::Error),
            },
            Node::Variable { name, .. } => f.write_str(name),
            Node::Member(node, name) => write!(f, "{}[{}]", inner(node), Value::from(name.as_str())),
            Node::Not(node) => write!(f, "not {}", self.at(node, level::NOT)),
            Node::Negate(node) => match &**node {
                // Without parentheses the number literal would absorb the minus.
                Node::Literal(Value::Number(number)) if *number >= Number::from(0) => write!(f, "-({number})"),
                node => write!(f, "-{}", self.at(node, level::NEGATE)),
            },
            Node::And(nodes) => self.joined(nodes, "and", level::AND, f),
            Node::Or(nodes) => self.joined(nodes, "or", level::OR, f),
            Node::Binary(binary, a, b) => {
                let level = binary.level();
                // Operators of one level are left-associative, and comparisons do not chain.
                let left = if level == level::COMPARE { level + 1 } else { level };
                write!(f, "{} {} {}", self.at(a, left), binary.word(), self.at(b, level + 1))
            }
            Node::Among(node, members) => {
                write!(f, "{} in [", self.at(node, level::COMPARE + 1))?;
                for (index, value) in members.listed().iter().enumerate() {
                    write!(f, "{}{value}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Node::Whole(whole, node) => write!(f, "{}({})", whole.word(), inner(node)),
            Node::Cast(cast, node, None) => write!(f, "{}({})", cast.word(), inner(node)),
            Node::Cast(cast, node, Some(default)) => {
                write!(f, "{}({}, {})", cast.word(), inner(node), inner(default))
            }
            Node::Datetime(_, value) => write!(f, "datetime({value})"),
            Node::Defined(node) => write!(f, "defined({})", inner(node)),
            Node::Each(each, name, list, test) => {
                write!(f, "{}({name}, {}, {})", each.word(), inner(list), inner(test))
            }
        }
    }
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.node {
            Node::Or(_) => level::OR,
            Node::And(_) => level::AND,
            Node::Not(_) => level::NOT,
            Node::Among(..) => level::COMPARE,
            Node::Binary(binary, ..) => binary.level(),
            Node::Negate(_) => level::NEGATE,
            _ => level::OPERAND,
        };
        if level >= self.loosest {
            return self.bare(f);
        }
        f.write_str("(")?;
        self.bare(f)?;
        f.write_str(")")
    }
}
