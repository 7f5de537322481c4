//! The place of an address, among the properties of a user: where a lookup of addresses is plugged in.

use std::net::{IpAddr, SocketAddr};

use crate::ingest::{Origin, Record, Rules};
use crate::{Change, Db, Kind, Op, PLACE_PROPERTIES, Update, Value};

/// Finds the place of an address, in whatever database of places.
pub trait GeoLookup: Send + Sync {
    /// The properties of a profile from there, of `$city`, `$region`, `$country_code` and `$timezone` those that are
    /// known; none at all if the place is not known. It must not block for long: it is called for every update with
    /// `$set` or `$set_once`. Other names are ignored, and so are values that exceed a limit of the store.
    fn properties(&self, address: IpAddr) -> Vec<(&'static str, Value)>;

    /// The same for coordinates, in degrees, which are within their ranges. They come before the address of a record.
    /// Default: none, and the address decides.
    fn near(&self, latitude: f64, longitude: f64) -> Vec<(&'static str, Value)> {
        let _ = (latitude, longitude);
        Vec::new()
    }

    /// What happened to the database, for `/metrics`. Default: nothing.
    fn stats(&self) -> GeoStats {
        GeoStats::default()
    }
}

/// What happened to a database of places since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeoStats {
    /// How often the database was read, the first time included.
    pub loads: u64,
    /// How often it could not be read anew, or an address could not be looked up.
    pub failures: u64,
    /// When the database was built by its vendor, in seconds since 1970; 0 if that is not known.
    pub built_seconds: u64,
}

impl GeoStats {
    /// Of two databases.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            loads: self.loads.saturating_add(other.loads),
            failures: self.failures.saturating_add(other.failures),
            built_seconds: self.built_seconds.min(other.built_seconds),
        }
    }
}

/// Where the places of a project come from, and the store whose limits they keep.
#[derive(Clone, Copy)]
pub(super) struct PlaceSource<'p> {
    pub(super) lookup: &'p dyn GeoLookup,
    pub(super) db: &'p Db,
}

/// Reads an address, also with a port, as some proxies write it. One of IPv4 in IPv6 becomes one of IPv4.
pub(super) fn read_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    // What is no address is as good as none.
    text.parse().or_else(|_| with_port()).ok().map(|address: IpAddr| address.to_canonical())
}

/// The address whose place a record sets, if it sets any: that in the record, unless it is `0`, or that of the request.
pub(super) fn address(origin: &Origin, of_request: Option<IpAddr>) -> Option<IpAddr> {
    match origin.ip.as_deref().map(str::trim) {
        // A record decides for itself. One that is no address gives no place: the address of the request would be that
        // of a server of the sender.
        Some(ip) if !ip.is_empty() => read_address(ip),
        _ => of_request,
    }
}

/// The place of coordinates. `$geo_source` says that it is not that of an address.
fn place_near(lookup: &dyn GeoLookup, origin: &Origin) -> Vec<(&'static str, Value)> {
    let Some((latitude, longitude)) = &origin.coordinates else { return Vec::new() };
    let (latitude, longitude) = (latitude.as_f64(), longitude.as_f64());
    if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
        return Vec::new();
    }
    let mut place = lookup.near(latitude, longitude);
    if !place.is_empty() && !place.iter().any(|(name, _)| *name == "$geo_source") {
        place.push(("$geo_source", "reverse_geocoding".into()));
    }
    place
}

/// Adds the place of its coordinates, or of its address, to an update of a user that has `$set` or `$set_once`.
/// Properties that it sets itself win. What is not known of the new place is removed, so that no city is left in
/// another country. Returns whether it has coordinates that had no effect.
pub(super) fn add_place(record: &mut Record, source: Option<PlaceSource<'_>>, of_request: Option<IpAddr>) -> bool {
    let lookup = source.map(|source| source.lookup);
    let Change::Update(update) = &mut record.change else { return false };
    if !record.origin.sets || *record.key.kind() != Kind::User {
        return record.origin.coordinates.is_some();
    }
    let mut place = lookup.map_or_else(Vec::new, |lookup| place_near(lookup, &record.origin));
    let ignored = place.is_empty() && record.origin.coordinates.is_some();
    if place.is_empty()
        && let (Some(lookup), Some(address)) = (lookup, address(&record.origin, of_request))
    {
        place = lookup.properties(address);
    }
    if place.is_empty() {
        return ignored;
    }
    let rules = source.map_or_else(Rules::new, |source| source.db.rules());
    // A value that the store would refuse is as good as none: the update is not refused for it.
    let fits = |name: &str, op: &Op| Update::new().op(name, op.clone()).admit(rules.bounds()).is_ok();
    for name in PLACE_PROPERTIES {
        let known = place.iter().position(|(known, _)| *known == name).map(|at| place.swap_remove(at).1);
        let op = known.map(Op::Set).filter(|op| fits(name, op)).unwrap_or(Op::Unset);
        if !update.ops().iter().any(|(own, _)| own == name) {
            *update = std::mem::take(update).op(name, op);
        }
    }
    ignored
}
