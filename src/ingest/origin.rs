//! The part of a record that routes it: a server needs to know it, a store does not.

use super::scalar::id_text;
use crate::model::{Number, Value};

/// What a record says of its origin. It is read only under [`Rules::origin`](super::Rules::origin), and is empty
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// `$token` of an update, `token` of an event: the project. None if it is missing, null or no scalar.
    pub token: Option<String>,
    /// `$ip` of an update, also inside of `$set` and `$set_once`, or `ip` of an event: the address of the user, `"0"`
    /// for none, as for a value that is no scalar. None if it is missing or null.
    pub ip: Option<String>,
    /// `$latitude` and `$longitude` of an update, in degrees. None unless both are numbers.
    pub coordinates: Option<(Number, Number)>,
    /// Whether the update has `$set` or `$set_once`. Only these set the place of an address.
    pub sets: bool,
}

impl Origin {
    pub(super) fn new(token: Option<Value>, ip: Option<Value>) -> Self {
        // Neither is stored, so a token that is no scalar is as good as none. An address that is none still says that
        // the address of the request is not that of the user.
        let token = id_text("", token).ok().flatten();
        let ip = id_text("", ip).unwrap_or_else(|_| Some("0".to_owned()));
        Self { token, ip, coordinates: None, sets: false }
    }
}
