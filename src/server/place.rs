//! The place of an address, among the properties of a user: where a lookup of addresses is plugged in.

use std::net::IpAddr;

use crate::ingest::{Origin, Record};
use crate::{Change, Kind, Op, Value};

/// Finds the place of an address, in whatever database of places.
pub trait GeoLookup: Send + Sync {
    /// The properties of a profile from there, of `$city`, `$region`, `$country_code` and `$timezone` those that are
    /// known. It must not block for long: it is called for every update with `$set` or `$set_once`.
    fn properties(&self, address: IpAddr) -> Vec<(&'static str, Value)>;
}

/// The address whose place a record sets, if it sets any: that in the record, unless it is `0`, or that of the request.
pub(super) fn address(origin: &Origin, of_request: Option<IpAddr>) -> Option<IpAddr> {
    match origin.ip.as_deref().map(str::trim) {
        // A record decides for itself. One that is no address is as good as none.
        Some(ip) if !ip.is_empty() => ip.parse().ok(),
        _ => of_request,
    }
}

/// Adds the place of its address to an update of a user that has `$set` or `$set_once`. Properties that it sets itself
/// win.
pub(super) fn add_place(record: &mut Record, lookup: &dyn GeoLookup, of_request: Option<IpAddr>) {
    let Change::Update(update) = &mut record.change else { return };
    if !record.origin.sets || *record.key.kind() != Kind::User {
        return;
    }
    let Some(address) = address(&record.origin, of_request) else { return };
    for (name, value) in lookup.properties(address) {
        if !update.ops().iter().any(|(known, _)| known == name) {
            *update = std::mem::take(update).op(name, Op::Set(value));
        }
    }
}
