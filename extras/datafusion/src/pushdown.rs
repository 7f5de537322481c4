//! Filters of SQL that a scan of events can take: ranges of time, names of events, ids of users.
//!
//! What is pushed down is never narrower than the filter, which DataFusion applies all the same.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use profiledb::Timestamp;
use profiledb::join::Join;

/// Which events a scan needs.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Selection {
    from: Option<i64>,
    /// Inclusive.
    to: Option<i64>,
    names: Option<BTreeSet<String>>,
    users: Option<BTreeSet<String>>,
}

impl Selection {
    /// Narrows it by a filter. Returns whether the filter is one of which it knows.
    pub(crate) fn narrow(&mut self, filter: &Expr) -> bool {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                // Both, also if the first is not known.
                let known = self.narrow(left);
                self.narrow(right) || known
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
                (Expr::Column(column), Expr::Literal(value, _)) => self.compare(&column.name, *op, value),
                (Expr::Literal(value, _), Expr::Column(column)) => {
                    op.swap().is_some_and(|op| self.compare(&column.name, op, value))
                }
                _ => false,
            },
            Expr::Between(Between { expr, negated: false, low, high }) => match (&**expr, &**low, &**high) {
                (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) => {
                    let known = self.compare(&column.name, Operator::GtEq, low);
                    self.compare(&column.name, Operator::LtEq, high) || known
                }
                _ => false,
            },
            Expr::InList(list) if !list.negated => {
                let Expr::Column(column) = &*list.expr else { return false };
                let texts = list.list.iter().map(|value| match value {
                    Expr::Literal(value, _) => text(value),
                    _ => None,
                });
                texts.collect::<Option<BTreeSet<String>>>().is_some_and(|texts| self.keep(&column.name, texts))
            }
            _ => false,
        }
    }

    fn compare(&mut self, column: &str, op: Operator, value: &ScalarValue) -> bool {
        if let ("time", ScalarValue::TimestampMillisecond(Some(millis), _)) = (column, value) {
            let (is_lower, is_upper) = match op {
                Operator::Eq => (true, true),
                Operator::Gt | Operator::GtEq => (true, false),
                Operator::Lt | Operator::LtEq => (false, true),
                _ => (false, false),
            };
            if is_lower {
                self.from = Some(self.from.map_or(*millis, |from| from.max(*millis)));
            }
            if is_upper {
                self.to = Some(self.to.map_or(*millis, |to| to.min(*millis)));
            }
            return is_lower || is_upper;
        }
        match text(value) {
            Some(text) if op == Operator::Eq => self.keep(column, BTreeSet::from([text])),
            _ => false,
        }
    }

    fn keep(&mut self, column: &str, texts: BTreeSet<String>) -> bool {
        let kept = match column {
            "event" => &mut self.names,
            "distinct_id" => &mut self.users,
            _ => return false,
        };
        *kept = Some(match kept.take() {
            Some(known) => known.intersection(&texts).cloned().collect(),
            None => texts,
        });
        true
    }

    /// The query for these events only.
    pub(crate) fn of(&self, join: Join) -> Join {
        let join = match (self.from, self.to) {
            (None, None) => join,
            // A range that is empty selects nothing.
            (Some(from), Some(to)) if from > to => join.event_names::<&str>([]),
            (from, to) => {
                let millis = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
                join.between(Timestamp::from_millis(millis.0)..=Timestamp::from_millis(millis.1))
            }
        };
        let join = match &self.names {
            Some(names) if self.from.zip(self.to).is_none_or(|(from, to)| from <= to) => join.event_names(names),
            _ => join,
        };
        match &self.users {
            Some(users) => join.users(users),
            None => join,
        }
    }
}

/// The text of a literal.
fn text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => text.clone(),
        ScalarValue::Dictionary(_, value) => text(value),
        _ => None,
    }
}
