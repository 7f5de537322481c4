//! Flags that select events.

use std::ops::{Bound, RangeBounds};

use clap::Args as Flags;
use profiledb::join::Join;
use profiledb::{Event, Expr, TimeZone, Timestamp};

use crate::failure::Failure;
use crate::span::SpanFlags;

/// Selects events.
#[derive(Debug, Flags)]
pub(crate) struct ScopeFlags {
    #[command(flatten)]
    span: SpanFlags,
    /// Only events of this name. Can be repeated.
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Only events for which this expression is true: properties["x"] is a property of the event, event["$time"] is its
    /// time, and user["x"] is a property of the profile of its user.
    #[arg(long = "where", value_name = "EXPR")]
    filter: Option<String>,
}

/// The parsed flags.
pub(crate) struct EventSelection<'s> {
    bounds: (Bound<Timestamp>, Bound<Timestamp>),
    zone: TimeZone,
    names: &'s [String],
    filter: Option<Expr>,
}

impl ScopeFlags {
    pub(crate) fn read(&self) -> Result<EventSelection<'_>, Failure> {
        let (bounds, filter) = (self.span.bounds()?, read_filter(self.filter.as_deref())?);
        Ok(EventSelection { bounds, zone: self.span.zone.read()?, names: &self.event, filter })
    }
}

impl EventSelection<'_> {
    pub(crate) fn bounds(&self) -> (Bound<Timestamp>, Bound<Timestamp>) {
        self.bounds
    }

    /// The selected names. None is all.
    pub(crate) fn names(&self) -> &[String] {
        self.names
    }

    pub(crate) fn has_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// Whether an event has one of these times and names.
    pub(crate) fn has(&self, event: &Event) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|name| name == event.name());
        named && self.bounds.contains(&event.time())
    }

    /// Restricts a join to these events.
    pub(crate) fn of(&self, join: Join) -> Join {
        let join = join.between(self.bounds).time_zone(self.zone.clone());
        // Without the flag, all names are selected. An empty list would select none.
        let join = if self.names.is_empty() { join } else { join.event_names(self.names) };
        self.filter.iter().fold(join, |join, expr| join.filter(expr.clone()))
    }
}

/// Parses the expression of `--where`, if there is one.
pub(crate) fn read_filter(text: Option<&str>) -> Result<Option<Expr>, Failure> {
    text.map(|text| Expr::parse(text).map_err(|error| Failure::from(error).during("--where"))).transpose()
}
