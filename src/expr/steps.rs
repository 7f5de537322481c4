//! Where the truth of an expression can change while one of its references goes over all numbers.

use super::Expr;
use super::eval::{Evaluator, Scope};
use super::node::Node;
use crate::error::Result;
use crate::model::{Number, Value};

impl Expr {
    /// The numbers at which the truth of this expression can change while the references for which `varies`, by their
    /// index, are one number that goes over all numbers, and the others are those of a scope. For all numbers between
    /// two of them it is the same, or its evaluation fails for all. None where this is not known.
    ///
    /// # Errors
    ///
    /// Those of evaluating what numbers are compared with.
    pub(crate) fn steps(
        &self,
        varies: &dyn Fn(usize) -> bool,
        scope: &(impl Scope + ?Sized),
    ) -> Result<Option<Vec<Number>>> {
        let mut steps = Steps { varies, evaluator: Evaluator::new(scope, self.references()), found: Vec::new() };
        let is_known = steps.collect(&self.root)?;
        Ok(is_known.then_some(steps.found))
    }
}

struct Steps<'a, S: ?Sized> {
    varies: &'a dyn Fn(usize) -> bool,
    evaluator: Evaluator<'a, S>,
    found: Vec<Number>,
}

impl<'a, S: Scope + ?Sized> Steps<'a, S> {
    /// Collects those of a node whose truth matters, and returns whether they are known.
    fn collect(&mut self, node: &'a Node) -> Result<bool> {
        if !self.depends(node) {
            return Ok(true);
        }
        match node {
            // A number is neither true nor false.
            Node::Reference(_) => Ok(true),
            Node::Defined(inner) => Ok(matches!(**inner, Node::Reference(_))),
            Node::Not(inner) => self.collect(inner),
            Node::And(nodes) | Node::Or(nodes) => {
                for node in nodes {
                    if !self.collect(node)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Among(inner, members) if matches!(**inner, Node::Reference(_)) => {
                self.found.extend(members.listed().iter().filter_map(Value::as_number).cloned());
                Ok(true)
            }
            Node::Binary(binary, a, b) if binary.is_comparison() => match (&**a, &**b) {
                (Node::Reference(_), other) | (other, Node::Reference(_)) if !self.depends(other) => {
                    let limit = self.evaluator.eval(other)?;
                    self.found.extend(limit.as_ref().and_then(|limit| limit.as_number()).cloned());
                    Ok(true)
                }
                _ => Ok(false),
            },
            _ => Ok(false),
        }
    }

    fn depends(&self, node: &Node) -> bool {
        node.refers(self.varies)
    }
}
