//! Which events are asked about.

use std::ops::{Bound, RangeBounds};

use clap::Args as Flags;
use profiledb::join::Join;
use profiledb::{Event, Expr, Timestamp};

use crate::failure::Failure;
use crate::span::Span;

/// Which events.
#[derive(Debug, Flags)]
pub(crate) struct Scope {
    #[command(flatten)]
    span: Span,
    /// Only events of this name. Given again, of that one as well.
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Only events of which this is true: properties["x"] is a property of the event, event["$time"] something about
    /// it, and user["x"] a property of its user's profile.
    #[arg(long = "where", value_name = "EXPR")]
    filter: Option<String>,
}

/// The same, understood.
pub(crate) struct Understood<'s> {
    bounds: (Bound<Timestamp>, Bound<Timestamp>),
    names: &'s [String],
    filter: Option<Expr>,
}

impl Scope {
    pub(crate) fn read(&self) -> Result<Understood<'_>, Failure> {
        let (bounds, filter) = (self.span.bounds()?, read_filter(self.filter.as_deref())?);
        Ok(Understood { bounds, names: &self.event, filter })
    }
}

impl Understood<'_> {
    pub(crate) fn bounds(&self) -> (Bound<Timestamp>, Bound<Timestamp>) {
        self.bounds
    }

    pub(crate) fn has_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether an event is of these times and names.
    pub(crate) fn has(&self, event: &Event) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|name| name == event.name());
        named && self.bounds.contains(&event.time())
    }

    /// A join of these events only.
    pub(crate) fn of(&self, join: Join) -> Join {
        let join = join.between(self.bounds);
        // The flag not given is every name. The library's empty list would be none.
        let join = if self.names.is_empty() { join } else { join.event_names(self.names) };
        self.filter.iter().fold(join, |join, expr| join.filter(expr.clone()))
    }
}

/// Parses the expression of `--where`, if there is one.
pub(crate) fn read_filter(text: Option<&str>) -> Result<Option<Expr>, Failure> {
    text.map(|text| Expr::parse(text).map_err(|error| Failure::from(error).during("--where"))).transpose()
}
