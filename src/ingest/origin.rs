//! The part of a record that routes it: a server needs to know it, a store does not.

use super::scalar::id_text;
use crate::model::Value;

/// What a record says of its origin. It is read only under [`Rules::origin`](super::Rules::origin), and is empty
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// `$token` of an update, `token` of an event: the project. None if it is missing, null or no scalar.
    pub token: Option<String>,
    /// `$ip` of an update, also inside of `$set` and `$set_once`, or `ip` of an event: the address of the user, `"0"`
    /// for none. None if it is missing, null or no scalar.
    pub ip: Option<String>,
    /// Whether the update has `$set` or `$set_once`. Only these set the place of an address.
    pub sets: bool,
}

impl Origin {
    pub(super) fn new(token: Option<Value>, ip: Option<Value>) -> Self {
        // Neither is stored, so a value that is none of these is as good as none.
        let text = |value| id_text("", value).ok().flatten();
        Self { token: text(token), ip: text(ip), sets: false }
    }
}
