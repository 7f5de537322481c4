//! The encoding of events: order-preserving keys in join order, and values whose properties are decoded selectively.
//!
//! ```text
//! key    | day: 4 | distinct_id, escaped | 0x00 | milliseconds of the day: 4 | hash of event and $insert_id: 8 |
//! value  | 0xE1 | name | $insert_id | property: name, length and bytes of the value | ...
//! ```
//!
//! Integers in keys are big-endian; the day is counted from 1970-01-01 in UTC with its sign bit flipped. In an id the
//! bytes 0x00 and 0x01 become 0x01 0x01 and 0x01 0x02, so that 0x00 ends it and keys sort as ids do. The hash is
//! XXH3-64 with seed 0 over the length of the name (8 bytes, little-endian), the name and the `$insert_id`: an event
//! that is sent again has the same key. Name, `$insert_id` and property names are length-prefixed texts; properties
//! ascend by name and fill the rest.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use super::bytes::{Malformed, Read, Reader, check_text, put_slice, str};
use super::entries::{Entries, pick, put_entry};
use super::value::{ValueBytes, read_whole, write_value};
use crate::error::{Error, Result};
use crate::model::{Event, Object, Timestamp};

/// Tag and version of events.
const VERSION_1: u8 = 0xE1;

const DAY: usize = 4;

/// The bytes after the id: its end, the milliseconds, the hash.
const TAIL: usize = 1 + 4 + 8;

/// A parsed event key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventKey<'a> {
    /// The day, as encoded in the key.
    pub(crate) day: [u8; DAY],
    /// The id, as encoded in the key. These bytes compare as ids do.
    pub(crate) escaped: &'a [u8],
    /// Milliseconds since the day began.
    pub(crate) millis: u32,
}

impl<'a> EventKey<'a> {
    #[inline]
    pub(crate) fn read(key: &'a [u8]) -> Read<Self> {
        const SHORT: Malformed = Malformed("the key of an event is too short");
        let (day, rest) = key.split_first_chunk().ok_or(SHORT)?;
        let (escaped, tail) = rest.split_at_checked(rest.len().wrapping_sub(TAIL)).ok_or(SHORT)?;
        let [0, a, b, c, d, ..] = tail else {
            return Err(Malformed("the key of an event with an unterminated id"));
        };
        Ok(Self { day: *day, escaped, millis: u32::from_be_bytes([*a, *b, *c, *d]) })
    }

    pub(crate) fn time(&self) -> Timestamp {
        let day = Timestamp::of_day(day_of(self.day));
        Timestamp::from_millis(day.millis().saturating_add(i64::from(self.millis)))
    }

    /// The id.
    pub(crate) fn id(&self) -> Read<Cow<'a, str>> {
        unescape(self.escaped)
    }
}

/// Decodes the id in a key.
fn unescape(escaped: &[u8]) -> Read<Cow<'_, str>> {
    const NO_TEXT: Malformed = Malformed("an id that is not UTF-8");
    match unescape_bytes(escaped)? {
        Cow::Borrowed(id) => std::str::from_utf8(id).map(Cow::Borrowed).map_err(|_| NO_TEXT),
        Cow::Owned(id) => String::from_utf8(id).map(Cow::Owned).map_err(|_| NO_TEXT),
    }
}

/// The decoded id in a key, as bytes that may not be UTF-8.
#[inline]
pub(crate) fn unescape_bytes(escaped: &[u8]) -> Read<Cow<'_, [u8]>> {
    // Escapes are rare. All bytes are compared without an early exit, because that is vectorized.
    if !escaped.iter().fold(false, |any, byte| any | (*byte == 1)) {
        return Ok(Cow::Borrowed(escaped));
    }
    replace_escapes(escaped).map(Cow::Owned)
}

#[cold]
fn replace_escapes(escaped: &[u8]) -> Read<Vec<u8>> {
    let mut id = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        id.push(match byte {
            1 => match bytes.next() {
                Some(code @ 1..=2) => code - 1,
                _ => return Err(Malformed("an id with an unknown escape")),
            },
            byte => *byte,
        });
    }
    Ok(id)
}

/// Appends an id as encoded in keys, without its end.
pub(crate) fn escape(out: &mut Vec<u8>, id: &[u8]) {
    // Such bytes are rare. All bytes are compared without an early exit, because that is vectorized.
    if !id.iter().fold(false, |any, byte| any | (*byte <= 1)) {
        return out.extend_from_slice(id);
    }
    for byte in id {
        match byte {
            0 | 1 => out.extend([1, byte + 1]),
            _ => out.push(*byte),
        }
    }
}

/// The key prefix of a day.
pub(crate) fn day_prefix(day: i32) -> [u8; DAY] {
    // The cast reinterprets the bits; the flipped sign bit makes days sort as unsigned integers.
    (day.cast_unsigned() ^ (1 << 31)).to_be_bytes()
}

/// The day of a key prefix, the inverse of [`day_prefix`].
pub(crate) fn day_of(prefix: [u8; DAY]) -> i32 {
    (u32::from_be_bytes(prefix) ^ (1 << 31)).cast_signed()
}

/// The key prefix of a user on a day.
pub(crate) fn user_prefix(day: [u8; DAY], id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(DAY + id.len() + TAIL);
    key.extend(day);
    escape(&mut key, id.as_bytes());
    key.push(0);
    key
}

/// The key of an event.
pub(crate) fn event_key(event: &Event) -> Vec<u8> {
    let (day, millis) = event.time().day_and_millis();
    let mut key = Vec::with_capacity(DAY + event.distinct_id().len() + TAIL);
    // An event that is appended has an `$insert_id`, which the log generates if it was not set.
    let names = (event.name().as_bytes(), event.insert_id().unwrap_or_default().as_bytes());
    put_event_key(&mut key, day_prefix(day), event.distinct_id().as_bytes(), millis, names);
    key
}

/// Appends the key of an event with this name and `$insert_id`.
pub(crate) fn put_event_key(out: &mut Vec<u8>, day: [u8; DAY], id: &[u8], millis: u32, names: (&[u8], &[u8])) {
    out.extend(day);
    escape(out, id);
    out.push(0);
    out.extend(millis.to_be_bytes());
    let (name, insert_id) = names;
    let end = out.len();
    // What is hashed is put together where the hash goes.
    out.extend((name.len() as u64).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(insert_id);
    let hash = xxh3_64(out.get(end..).unwrap_or_default());
    out.truncate(end);
    out.extend(hash.to_be_bytes());
}

/// The value of an event.
pub(crate) fn encode_event(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    // Set, as in `event_key`.
    put_event_head(&mut out, event.name().as_bytes(), event.insert_id().unwrap_or_default().as_bytes());
    for (name, value) in event.properties() {
        put_entry(&mut out, name.as_bytes(), |out| write_value(out, value));
    }
    out
}

/// Appends the head of the value of an event: what is before its properties.
pub(crate) fn put_event_head(out: &mut Vec<u8>, name: &[u8], insert_id: &[u8]) {
    out.push(VERSION_1);
    put_slice(out, name);
    put_slice(out, insert_id);
}

/// The value of an event, of which only the head is parsed.
#[derive(Clone, Debug)]
pub(crate) struct EventBytes<'a> {
    pub(crate) name: &'a [u8],
    insert_id: &'a [u8],
    entries: Entries<'a>,
}

impl<'a> EventBytes<'a> {
    /// Reads the head. Texts are checked to be UTF-8 only when they are read.
    #[inline]
    pub(crate) fn read(value: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(value);
        reader.version(VERSION_1, "not an event")?;
        Ok(Self { name: reader.slice()?, insert_id: reader.slice()?, entries: Entries::new(reader) })
    }

    pub(crate) fn name(&self) -> Read<&'a str> {
        str(self.name)
    }

    pub(crate) fn insert_id(&self) -> Read<&'a str> {
        str(self.insert_id)
    }

    /// The `$insert_id`, as bytes.
    pub(crate) fn insert_id_bytes(&self) -> &'a [u8] {
        self.insert_id
    }

    /// The names of the properties, and the bytes of their values. Neither is checked.
    #[inline]
    pub(crate) fn entries(&self) -> impl Iterator<Item = Read<(&'a [u8], &'a [u8])>> {
        self.entries.clone()
    }

    /// Calls `found` with the position in `names` and the value of each property that has one of these names. `names`
    /// ascend.
    #[inline]
    pub(crate) fn pick(&self, names: &[Box<str>], found: impl FnMut(usize, ValueBytes<'a>)) -> Read<()> {
        pick(self.entries.clone(), names, found)
    }

    fn properties(self) -> Read<Object> {
        let mut properties: Vec<(String, _)> = Vec::new();
        for entry in self.entries.ascending() {
            let (name, value) = entry?;
            properties.push((str(name)?.to_owned(), read_whole(value)?));
        }
        Ok(Object::from_sorted(properties))
    }
}

/// Checks every byte of an event.
///
/// # Errors
///
/// As [`decode_event`].
pub(crate) fn check_event(key: &[u8], value: &[u8]) -> Result<()> {
    let check = || {
        EventKey::read(key)?.id()?;
        let event = EventBytes::read(value)?;
        event.name()?;
        event.insert_id()?;
        for entry in event.entries.ascending() {
            let (name, value) = entry?;
            check_text(name)?;
            ValueBytes::checked(value)?;
        }
        Ok(())
    };
    check().map_err(|malformed| corrupt_event(key, malformed))
}

/// Decodes an event.
///
/// # Errors
///
/// [`Corrupt`](crate::ErrorKind::Corrupt) when the bytes are not an event, or one of an unknown version.
pub(crate) fn decode_event(key: &[u8], value: &[u8]) -> Result<Event> {
    let decode = || {
        let key = EventKey::read(key)?;
        event_of(&key.id()?, key.time(), value)
    };
    decode().map_err(|malformed| corrupt_event(key, malformed))
}

/// Decodes the value of an event whose id and time are known.
pub(crate) fn event_of(distinct_id: &str, time: Timestamp, value: &[u8]) -> Read<Event> {
    let value = EventBytes::read(value)?;
    Ok(Event {
        name: value.name()?.to_owned(),
        distinct_id: distinct_id.to_owned(),
        time,
        insert_id: Some(value.insert_id()?.to_owned()),
        properties: value.properties()?,
        invalid: None,
        admitted: None,
    })
}

/// The error for an event that cannot be read.
pub(crate) fn corrupt_event(key: &[u8], malformed: Malformed) -> Error {
    match EventKey::read(key) {
        Ok(parts) => corrupt_event_of(parts.time(), parts.escaped, malformed),
        Err(_) => corrupt_at(malformed, &format!("key={key:02x?}")),
    }
}

/// The error for an event that cannot be read, with its time and its id.
pub(crate) fn corrupt_event_of(time: Timestamp, id: &[u8], malformed: Malformed) -> Error {
    corrupt_at(malformed, &event_place(time, id))
}

fn corrupt_at(Malformed(what): Malformed, place: &str) -> Error {
    Error::corrupt(format!("the event cannot be read: {what} {place}"))
}

/// Identifies the event at the end of a message.
pub(crate) fn event_place(time: Timestamp, id: &[u8]) -> String {
    format!("time={time} distinct_id={:?}", String::from_utf8_lossy(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::format_page::{hex, shown};
    use proptest::prelude::*;

    fn ids() -> impl Strategy<Value = String> {
        // A small alphabet of special bytes, so that prefixes and escapes collide often.
        proptest::collection::vec(prop::sample::select(vec!['\0', '\u{1}', '\u{2}', 'a', 'b', 'é']), 0..5)
            .prop_map(|letters| letters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn keys_sort_by_day_id_and_time(
            a in (ids(), any::<i32>(), 0..1_000_u32),
            b in (ids(), any::<i32>(), 0..1_000_u32),
        ) {
            let event = |(id, day, millis): &(String, i32, u32)| {
                let time = Timestamp::of_day(*day / 1_000_000).millis() + i64::from(*millis);
                Event::new("e", id, Timestamp::from_millis(time)).id("i")
            };
            let parts = |event: &Event| (event.time.day_and_millis().0, event.distinct_id.clone(), event.time);
            let (a, b) = (event(&a), event(&b));
            prop_assert_eq!(event_key(&a).cmp(&event_key(&b)), parts(&a).cmp(&parts(&b)));
            let key = event_key(&a);
            let read = EventKey::read(&key).unwrap();
            prop_assert_eq!(read.id().unwrap().into_owned(), a.distinct_id.clone());
            prop_assert_eq!(read.time(), a.time);
            prop_assert!(key.starts_with(&user_prefix(read.day, &a.distinct_id)));
            prop_assert_eq!(decode_event(&key, &encode_event(&a)).unwrap(), a);
        }

        #[test]
        fn no_input_makes_a_reader_panic(key: Vec<u8>, mut value: Vec<u8>, tagged: bool) {
            if tagged && let Some(first) = value.first_mut() {
                *first = VERSION_1;
            }
            let decoded = decode_event(&key, &value);
            prop_assert_eq!(decoded.is_ok(), check_event(&key, &value).is_ok());
            if let Ok(event) = EventBytes::read(&value) {
                let _ = event.pick(&["a".into(), "b".into()], |_, _| {});
            }
        }
    }

    /// Stored bytes must stay readable. The hash must not change with a version of its library either.
    #[test]
    fn the_format_equals_its_frozen_examples() {
        let time = Timestamp::from_seconds(1_700_000_000);
        let event = Event::new("purchase", "alice", time).set("amount", 12.5).set("company", ["acme"]).id("a-1");
        let (key, value) = (event_key(&event), encode_event(&event));
        assert_eq!((hex(&key), hex(&value)), (EXAMPLE_KEY.to_owned(), EXAMPLE_VALUE.to_owned()));
        assert_eq!((hex(&key), hex(&value)), (shown("example_event_key"), shown("example_event_value")));
        let odd = Event::new("", "\0\u{1}\u{2}", Timestamp::from_millis(-1)).id("");
        assert_eq!((hex(&event_key(&odd)), hex(&encode_event(&odd))), (ODD_KEY.to_owned(), "e10000".to_owned()));
        let many = (0..20).fold(odd, |event, n| event.set(format!("p{n}"), "x".repeat(n * 30)));
        let (key, value) = (event_key(&many), encode_event(&many));
        assert_eq!(decode_event(&key, &value).unwrap(), many);
        assert_eq!(xxh3_64(&value), MANY_DIGEST);
    }

    const EXAMPLE_KEY: &str = "80004cdb616c6963650004c4b400734c4634295096ea";
    const EXAMPLE_VALUE: &str = "e108707572636861736503612d3106616d6f756e740304013207636f6d70616e79080701060461636d65";
    const ODD_KEY: &str = "7fffffff01010102020005265bffc77b3abb6f87acd9";
    const MANY_DIGEST: u64 = 11_206_078_311_463_929_876;

    #[test]
    fn a_different_name_or_insert_id_gives_a_different_key() {
        let key = |name: &str, id: &str| event_key(&Event::new(name, "u", Timestamp::from_seconds(0)).id(id));
        let keys = [key("ab", "c"), key("a", "bc"), key("abc", "d"), key("ab", "d")];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key));
        }
        assert_eq!(key("a", "b"), key("a", "b"));
    }

    #[test]
    fn properties_are_picked_by_name() {
        let event = Event::new("e", "u", Timestamp::from_seconds(0)).set("b", 1).set("d", "x").set("f", true);
        let value = encode_event(&event);
        let requested: Vec<Box<str>> = ["a", "b", "c", "f", "g"].map(Into::into).into();
        let mut found = Vec::new();
        let event = EventBytes::read(&value).unwrap();
        event.pick(&requested, |at, value| found.push((at, value.decode().unwrap()))).unwrap();
        assert_eq!(found, [(1, 1.into()), (3, true.into())]);
        // Damage is detected in picked properties, and not in skipped ones.
        let mut damaged = value.clone();
        *damaged.last_mut().unwrap() = 99;
        let event = EventBytes::read(&damaged).unwrap();
        assert!(event.pick(&["b".into()], |_, _| {}).is_ok());
        assert!(event.pick(&["f".into()], |_, _| {}).is_err());
    }
}
