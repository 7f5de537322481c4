//! Places of addresses from a file in the MaxMind DB format, a binary trie of address prefixes, which is read anew when
//! it changes.
//!
//! The file is read into memory, not mapped: a mapped file that is truncated ends the process. A new file is validated
//! whole before it replaces the one in use, and one that is not valid does not.

use std::fmt;
use std::fs::{self, Metadata};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;

use super::place::{GeoLookup, GeoStats};
use crate::{Error, ErrorKind, Result, Value};

/// How often the file is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A [`GeoLookup`] in a file in the MaxMind DB format, as GeoLite2-City.
///
/// The names are English. `$region` is the largest subdivision of the country. Private addresses, and others that are
/// not of the internet, have no place, whatever the file says. The file is in memory, and is read anew within about a
/// second when it is replaced or changed; one that cannot be read is reported, and the one before stays in use.
///
/// ```
/// use profiledb::server::{GeoIp, GeoLookup};
///
/// let places = GeoIp::open("tests/data/GeoLite2-City-Test.mmdb")?;
/// let place = places.properties("81.2.69.160".parse()?);
/// assert_eq!(place[0], ("$city", "London".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GeoIp {
    file: Arc<WatchedFile>,
    /// Ends the thread that looks at the file.
    _stop: Sender<()>,
}

impl GeoIp {
    /// Opens a file, and starts a thread that looks whether it changes.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) when the file cannot be read, [`Invalid`](ErrorKind::Invalid) when it is not a database of
    /// places or is damaged.
    pub fn open(file: impl AsRef<Path>) -> Result<Self> {
        let file = Arc::new(WatchedFile::open(file.as_ref())?);
        let (stop, stopped) = channel::bounded(0);
        let watched = Arc::downgrade(&file);
        let thread = thread::Builder::new().name("geoip".to_owned());
        let failed = |error| Error::new(ErrorKind::Io, "cannot start a thread").because(error);
        thread.spawn(move || watch(&watched, &stopped)).map_err(failed)?;
        Ok(Self { file, _stop: stop })
    }
}

impl fmt::Debug for GeoIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeoIp").field("file", &self.file.path).finish_non_exhaustive()
    }
}

impl GeoLookup for GeoIp {
    fn properties(&self, address: IpAddr) -> Vec<(&'static str, Value)> {
        let address = address.to_canonical();
        if !is_public(address) {
            return Vec::new();
        }
        let database = Arc::clone(&self.file.database.read());
        database.place(address).unwrap_or_else(|error| {
            self.file.failures.fetch_add(1, Ordering::Relaxed);
            // Once for each database, and without the address, which is that of a person.
            if !database.has_failed.swap(true, Ordering::Relaxed) {
                tracing::warn!(file = %self.file.path.display(), %error, "an address cannot be looked up");
            }
            Vec::new()
        })
    }

    fn stats(&self) -> GeoStats {
        let built = self.file.database.read().reader.metadata().build_epoch;
        GeoStats {
            loads: self.file.loads.load(Ordering::Relaxed),
            failures: self.file.failures.load(Ordering::Relaxed),
            built_seconds: built,
        }
    }
}

fn watch(file: &Weak<WatchedFile>, stopped: &Receiver<()>) {
    while stopped.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let Some(file) = file.upgrade() else { break };
        file.reload_if_changed();
    }
}

/// A file, and the database that was last read from it.
struct WatchedFile {
    path: PathBuf,
    database: RwLock<Arc<PlaceDatabase>>,
    /// The version that was read last, or could not be.
    seen: Mutex<Option<FileVersion>>,
    loads: AtomicU64,
    failures: AtomicU64,
}

impl WatchedFile {
    fn open(path: &Path) -> Result<Self> {
        let seen = FileVersion::of(path).map_err(|error| unreadable(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            database: RwLock::new(Arc::new(PlaceDatabase::open(path)?)),
            seen: Mutex::new(Some(seen)),
            loads: AtomicU64::new(1),
            failures: AtomicU64::new(0),
        })
    }

    /// Reads the file if it is another one than last time, or was changed. A version that cannot be read is reported
    /// once, and leaves the database as it is.
    fn reload_if_changed(&self) {
        let mut seen = self.seen.lock();
        // Before the file is read: what is written meanwhile is another version.
        let version = FileVersion::of(&self.path);
        if version.as_ref().ok() == seen.as_ref() {
            return;
        }
        *seen = version.as_ref().ok().cloned();
        let path = self.path.display();
        let read = version.map_err(|error| unreadable(&self.path, error));
        match read.and_then(|_| PlaceDatabase::open(&self.path)) {
            Ok(database) => {
                tracing::info!(file = %path, built = database.reader.metadata().build_epoch, "places were read anew");
                *self.database.write() = Arc::new(database);
                self.loads.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let error = error.with_sources();
                tracing::warn!(file = %path, %error, "places cannot be read anew; those read before stay in use");
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What tells one version of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileVersion {
    modified: SystemTime,
    bytes: u64,
    /// Device, inode, and the time of the last change of either content or permissions.
    identity: (u64, u64, i64, i64),
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

impl FileVersion {
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { modified: metadata.modified()?, bytes: metadata.len(), identity: identity(&metadata) })
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read a database of places file={path:?}")).because(error)
}

/// A database in memory.
struct PlaceDatabase {
    reader: Reader<Vec<u8>>,
    /// Whether a lookup has failed, which is logged once.
    has_failed: AtomicBool,
}

impl PlaceDatabase {
    fn open(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
        let invalid = |error: MaxMindDbError| {
            Error::invalid(format!("not a valid database of places file={path:?}")).because(error)
        };
        let reader = Reader::from_source(bytes).map_err(invalid)?;
        let database = Self { reader, has_failed: AtomicBool::new(false) };
        if !database.has_places().map_err(invalid)? {
            let kind = &database.reader.metadata().database_type;
            return Err(Error::invalid(format!("the database has no places file={path:?} type={kind:?}")));
        }
        Ok(database)
    }

    /// Reads every record, so that a damaged file is found before it is used, and says whether any has a place.
    /// Databases of something else, as of networks or of anonymous proxies, can be looked up and never have one.
    fn has_places(&self) -> Result<bool, MaxMindDbError> {
        let (mut has_places, mut last) = (false, None);
        for found in self.reader.networks(WithinOptions::default())? {
            let found = found?;
            // Networks next to each other often share a record.
            if found.offset() != last {
                last = found.offset();
                has_places |= found.decode::<Located<'_>>()?.is_some_and(|located| !located.properties().is_empty());
            }
        }
        Ok(has_places)
    }

    /// The place of an address; empty if it is not known.
    fn place(&self, address: IpAddr) -> Result<Vec<(&'static str, Value)>, MaxMindDbError> {
        // A database of version 4 has no other addresses.
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(Vec::new());
        }
        let located = self.reader.lookup(address)?.decode::<Located<'_>>()?;
        Ok(located.map(|located| located.properties()).unwrap_or_default())
    }
}

/// The part of a record that is needed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Located<'a> {
    #[serde(borrow)]
    city: PlaceName<'a>,
    country: Country<'a>,
    /// The largest first.
    subdivisions: Vec<PlaceName<'a>>,
    location: Location<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PlaceName<'a> {
    #[serde(borrow)]
    names: LocalNames<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LocalNames<'a> {
    en: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Location<'a> {
    time_zone: Option<&'a str>,
}

impl Located<'_> {
    fn properties(&self) -> Vec<(&'static str, Value)> {
        let found = [
            ("$city", self.city.names.en),
            ("$region", self.subdivisions.first().and_then(|largest| largest.names.en)),
            ("$country_code", self.country.iso_code),
            ("$timezone", self.location.time_zone),
        ];
        found.into_iter().filter_map(|(name, text)| Some((name, text?.into()))).collect()
    }
}

/// Whether an address is one of the internet: not private, shared, local, or of this machine.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [first, second, ..] = v4.octets();
    // 100.64.0.0/10 is between a carrier and its customers.
    let is_shared = first == 100 && second & 0b1100_0000 == 64;
    let is_local = v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_shared;
    !(is_local || first == 0 || v4.is_multicast() || v4.is_broadcast())
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let is_local = v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
    !(is_local || v6.is_unspecified() || v6.is_multicast())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const DATA: &str = "tests/data/GeoLite2-City-Test.mmdb";

    /// Data in which a text is another one of the same length everywhere.
    fn with(from: &str, to: &str) -> Vec<u8> {
        let data = fs::read(DATA).unwrap();
        assert_eq!(from.len(), to.len());
        let mut changed = data.clone();
        for at in memchr::memmem::find_iter(&data, from) {
            changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        assert_ne!(changed, data, "{from}");
        changed
    }

    fn city(file: &WatchedFile) -> String {
        let place = file.database.read().place("81.2.69.160".parse().unwrap()).unwrap();
        assert_eq!(place[0].0, "$city");
        place[0].1.as_str().unwrap().to_owned()
    }

    fn counts(file: &WatchedFile) -> (u64, u64) {
        (file.loads.load(Ordering::Relaxed), file.failures.load(Ordering::Relaxed))
    }

    /// Expected values were read with MaxMind's reader for Python.
    #[test]
    fn addresses_have_places() {
        let places = GeoIp::open(DATA).unwrap();
        const NAMES: [&str; 4] = ["$city", "$region", "$country_code", "$timezone"];
        for (address, expected) in [
            ("81.2.69.160", ["London", "England", "GB", "Europe/London"]),
            ("::ffff:81.2.69.160", ["London", "England", "GB", "Europe/London"]),
            ("2.125.160.216", ["Boxford", "England", "GB", "Europe/London"]),
            ("89.160.20.112", ["Link\u{f6}ping", "\u{d6}sterg\u{f6}tland County", "SE", "Europe/Stockholm"]),
            ("216.160.83.56", ["Milton", "Washington", "US", "America/Los_Angeles"]),
            ("2001:480::1", ["San Diego", "California", "US", "America/Los_Angeles"]),
            ("67.43.156.1", ["", "", "BT", "Asia/Thimphu"]),
            ("202.196.224.1", ["", "", "PH", "Asia/Manila"]),
            ("2001:250::1", ["", "", "CN", ""]),
            ("2a02:d500::1", ["", "", "", "Europe/Vaduz"]),
            ("203.0.113.9", [""; 4]),
            ("2001:db8::1", [""; 4]),
            ("192.168.1.1", [""; 4]),
        ] {
            let expected = NAMES.into_iter().zip(expected).filter(|(_, text)| !text.is_empty());
            let expected: Vec<_> = expected.map(|(name, text)| (name, text.into())).collect();
            assert_eq!(places.properties(address.parse().unwrap()), expected, "{address}");
        }
        assert_eq!(places.stats(), GeoStats { loads: 1, failures: 0, built_seconds: 1_770_245_369 });
    }

    #[test]
    fn only_addresses_of_the_internet_are_looked_up() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.168.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "81.2.69.160", "2001:218::1", "2a02::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    /// A database of version 4 with one place for all addresses.
    fn one_place() -> Vec<u8> {
        // The root has two records of 24 bits. Both lead to the start of the data: 1 node + 16 bytes of zeros + 0.
        let mut bytes = vec![0, 0, 17, 0, 0, 17];
        bytes.extend([0; 16]);
        // {"country": {"iso_code": "XX"}}. High bits of a byte are a type, low ones a size.
        bytes.extend(b"\xe1\x47country\xe1\x48iso_code\x42XX");
        bytes.extend(b"\xab\xcd\xefMaxMind.com\xe9");
        let fields: [(&str, &[u8]); 9] = [
            ("binary_format_major_version", b"\xa1\x02"),
            ("binary_format_minor_version", b"\xa0"),
            ("build_epoch", b"\x01\x02\x07"),
            ("database_type", b"\x41x"),
            ("description", b"\xe0"),
            ("ip_version", b"\xa1\x04"),
            ("languages", b"\x00\x04"),
            ("node_count", b"\xc1\x01"),
            ("record_size", b"\xa1\x18"),
        ];
        for (name, value) in fields {
            let length = u8::try_from(name.len()).unwrap();
            // From 29 on, the rest of a size is in the next byte.
            match length {
                0..29 => bytes.push(0x40 | length),
                _ => bytes.extend([0x5d, length - 29]),
            }
            bytes.extend(name.as_bytes());
            bytes.extend(value);
        }
        bytes
    }

    #[test]
    fn private_addresses_have_no_place_whatever_the_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("places.mmdb");
        fs::write(&path, one_place()).unwrap();
        let places = GeoIp::open(&path).unwrap();
        let place = |address: &str| places.properties(address.parse().unwrap());
        for public in ["1.1.1.1", "::ffff:1.1.1.1"] {
            assert_eq!(place(public), [("$country_code", "XX".into())], "{public}");
        }
        for private in ["10.0.0.1", "::ffff:10.0.0.1", "127.0.0.1", "100.64.0.1"] {
            assert_eq!(place(private), [], "{private}");
        }
        // The file has addresses of version 4 only. To look up another one is no failure.
        assert_eq!(place("2001:218::1"), []);
        assert_eq!(places.stats(), GeoStats { loads: 1, failures: 0, built_seconds: 7 });
    }

    #[test]
    fn a_file_is_read_anew_when_it_is_replaced_or_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, next) = (dir.path().join("places.mmdb"), dir.path().join("next"));
        fs::copy(DATA, &path).unwrap();
        let file = WatchedFile::open(&path).unwrap();
        file.reload_if_changed();
        assert_eq!((city(&file), counts(&file)), ("London".to_owned(), (1, 0)));
        // Replaced, by a file of the same size and time.
        fs::write(&next, with("London", "Nodnol")).unwrap();
        File::options()
            .append(true)
            .open(&next)
            .unwrap()
            .set_modified(fs::metadata(&path).unwrap().modified().unwrap())
            .unwrap();
        fs::rename(&next, &path).unwrap();
        file.reload_if_changed();
        assert_eq!((city(&file), counts(&file)), ("Nodnol".to_owned(), (2, 0)));
        file.reload_if_changed();
        assert_eq!(counts(&file), (2, 0));
        // Written in place.
        fs::write(&path, with("London", "Lonely")).unwrap();
        File::options().append(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        file.reload_if_changed();
        assert_eq!((city(&file), counts(&file)), ("Lonely".to_owned(), (3, 0)));
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_the_database_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("places.mmdb");
        let data = fs::read(DATA).unwrap();
        fs::write(&path, &data).unwrap();
        let file = WatchedFile::open(&path).unwrap();
        let bad: [&[u8]; 4] = [b"", b"not a database", &data[..data.len() / 2], &data[data.len() / 2..]];
        for (count, bad) in (1..).zip(bad) {
            fs::write(&path, bad).unwrap();
            // Each version is reported once.
            file.reload_if_changed();
            file.reload_if_changed();
            assert_eq!((city(&file), counts(&file)), ("London".to_owned(), (1, count)));
        }
        fs::remove_file(&path).unwrap();
        file.reload_if_changed();
        file.reload_if_changed();
        assert_eq!((city(&file), counts(&file)), ("London".to_owned(), (1, 5)));
        fs::write(&path, with("London", "Nodnol")).unwrap();
        file.reload_if_changed();
        assert_eq!((city(&file), counts(&file)), ("Nodnol".to_owned(), (2, 5)));
    }

    #[test]
    fn other_databases_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("places.mmdb");
        assert_eq!(GeoIp::open(&path).unwrap_err().kind(), ErrorKind::Io);
        fs::write(&path, with("longitude", "time_zone")).unwrap();
        let error = GeoIp::open(&path).unwrap_err();
        assert!(error.is_invalid() && error.message().contains("not a valid database of places file="), "{error}");
        // A database of something else, which can be looked up and has no place.
        let mut data = fs::read(DATA).unwrap();
        for name in ["city", "country", "location", "subdivisions"] {
            let all: Vec<usize> = memchr::memmem::find_iter(&data, name).collect();
            all.into_iter().for_each(|at| data[at] = b'x');
        }
        fs::write(&path, data).unwrap();
        let error = GeoIp::open(&path).unwrap_err();
        assert!(error.message().starts_with("the database has no places file="), "{error}");
        assert!(error.message().ends_with("type=\"GeoLite2-City\""), "{error}");
    }

    #[test]
    fn failed_lookups_are_counted() {
        let places = GeoIp::open(DATA).unwrap();
        let reader = Reader::from_source(with("longitude", "time_zone")).unwrap();
        *places.file.database.write() = Arc::new(PlaceDatabase { reader, has_failed: AtomicBool::new(false) });
        for count in 1..3 {
            assert!(places.properties("81.2.69.160".parse().unwrap()).is_empty());
            assert_eq!(places.stats().failures, count);
        }
    }
}
