//! What `--where` says, and what it means of a profile.

use std::borrow::Cow;

use profiledb::expr::{Expr, Place, Reference, Scope};
use profiledb::{Kind, Profile, Timestamp, Value};

use crate::failure::Failure;
use crate::get::{FIRST_EVENT, LAST_SEEN};

/// Reads an expression, if there is one.
pub(crate) fn read(text: Option<&str>) -> Result<Option<Expr>, Failure> {
    let read = |text| Expr::parse(text).map_err(|error| Failure::from(error).during("--where"));
    text.map(read).transpose()
}

/// The same for an expression about profiles.
pub(crate) fn read_of_profiles(text: Option<&str>) -> Result<Option<Expr>, Failure> {
    let expr = read(text)?;
    let references = expr.iter().flat_map(Expr::references);
    match references.into_iter().find(|reference| reference.place == Place::Event) {
        Some(reference) => Err(Failure::new(format!("--where: there is no event beside a profile: {reference}"))),
        None => Ok(expr),
    }
}

/// A profile, or what is known of somebody without one, as an expression sees it.
pub(crate) struct Known<'k> {
    pub(crate) kind: &'k Kind,
    pub(crate) id: &'k str,
    pub(crate) profile: Option<&'k Profile>,
    pub(crate) first_event: Option<Timestamp>,
}

impl Scope for Known<'_> {
    fn value(&self, _: usize, reference: &Reference) -> profiledb::Result<Option<Cow<'_, Value>>> {
        let time = |time: Option<Timestamp>| time.map(|time| Cow::Owned(time.to_string().into()));
        Ok(match reference.name.as_str() {
            LAST_SEEN => time(self.profile.and_then(Profile::last_seen)),
            FIRST_EVENT => time(self.first_event),
            "$distinct_id" => Some(Cow::Owned(self.id.into())),
            name if name == self.kind.id_field() => Some(Cow::Owned(self.id.into())),
            name => self.profile.and_then(|profile| profile.get(name)).map(Cow::Borrowed),
        })
    }
}
