//! A serde `Deserializer` over values, which turns properties into the types of a program.
//!
//! It is self-describing and follows the JSON data model of `serde_json`: an `Option` is null or a value, an enum is
//! externally tagged. Text can be borrowed from the value.
//!
//! A number that a type cannot represent exactly is an error. A whole float deserializes into an integer (`1 == 1.0`),
//! another float does not. An integer deserializes into an `f64` only if that is exact. A float, or an exact sum of
//! floats, deserializes into the nearest `f64`, as in [`Number::as_f64`] and in JSON.

use std::borrow::Cow;
use std::fmt::Display;

use serde::de::value::{BorrowedStrDeserializer, CowStrDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Event, FIRST_EVENT, LAST_SEEN, Number, Object, Profile, Value};
use crate::error::{Error, Result};

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::invalid(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::invalid("the field is missing").at(field)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::invalid(format!("the field is unknown expected={expected:?}")).at(field)
    }
}

impl Value {
    /// Deserializes the value into any type that implements [`Deserialize`], which may borrow text from it.
    ///
    /// ```
    /// use profiledb::{Object, Value};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Address<'a> {
    ///     city: &'a str,
    ///     floor: Option<u8>,
    /// }
    ///
    /// let value = Value::from(Object::from_iter([("city", "Berlin")]));
    /// let address: Address = value.deserialize_into()?;
    /// assert_eq!((address.city, address.floor), ("Berlin", None));
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when the value does not fit the type. The error names the path to the
    /// field, such as `address.city` or `tags[2]`.
    pub fn deserialize_into<'de, T: Deserialize<'de>>(&'de self) -> Result<T> {
        T::deserialize(self)
    }
}

impl Object {
    /// Deserializes the entries into any type that implements [`Deserialize`], which may borrow text from them.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use profiledb::Object;
    ///
    /// let object = Object::from_iter([("a", 1), ("b", 2)]);
    /// let map: BTreeMap<&str, u32> = object.deserialize_into()?;
    /// assert_eq!(map["b"], 2);
    /// let error = object.deserialize_into::<BTreeMap<&str, bool>>().unwrap_err();
    /// assert_eq!(error.field(), Some("a"));
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Value::deserialize_into`].
    pub fn deserialize_into<'de, T: Deserialize<'de>>(&'de self) -> Result<T> {
        T::deserialize(self)
    }
}

impl Profile {
    /// Deserializes the profile into any type that implements [`Deserialize`], which may borrow text from it.
    ///
    /// The fields are the properties, and `$last_seen` and `$mp_first_event_time` among them, as in the JSON of a
    /// profile. Both deserialize into a [`Timestamp`](crate::Timestamp) without loss, or into its text.
    ///
    /// ```
    /// use profiledb::{Profile, Timestamp, Update};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct User {
    ///     plan: String,
    ///     #[serde(default)]
    ///     logins: u64,
    ///     #[serde(rename = "$last_seen")]
    ///     last_seen: Option<Timestamp>,
    /// }
    ///
    /// let update = Update::new().set("plan", "pro").at(Timestamp::from_seconds(60));
    /// let profile = Profile::fold([&update]).expect("a `$set` creates");
    /// let user: User = profile.deserialize()?;
    /// assert_eq!((user.plan.as_str(), user.logins), ("pro", 0));
    /// assert_eq!(user.last_seen, Some(Timestamp::from_seconds(60)));
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Value::deserialize_into`].
    pub fn deserialize<'de, T: Deserialize<'de>>(&'de self) -> Result<T> {
        T::deserialize(self)
    }
}

impl Event {
    /// Deserializes the event into any type that implements [`Deserialize`], which may borrow text from it.
    ///
    /// The fields are those of `properties` in the JSON of an event: its properties, and `time`, `distinct_id` and
    /// `$insert_id` among them. `event` is its name, unless the event has a property of that name. `time` is a number
    /// as in JSON, and deserializes into a [`Timestamp`](crate::Timestamp) without loss.
    ///
    /// ```
    /// use profiledb::{Event, Timestamp};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Purchase<'a> {
    ///     distinct_id: &'a str,
    ///     time: Timestamp,
    ///     amount: f64,
    /// }
    ///
    /// let event = Event::new("purchase", "alice", Timestamp::from_seconds(1_700_000_000)).set("amount", 12.5);
    /// let purchase: Purchase = event.deserialize()?;
    /// assert_eq!((purchase.distinct_id, purchase.time, purchase.amount), ("alice", event.time(), 12.5));
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Value::deserialize_into`].
    pub fn deserialize<'de, T: Deserialize<'de>>(&'de self) -> Result<T> {
        T::deserialize(self)
    }
}

/// Deserializes fields, given as names and values, into a struct or a map.
pub(crate) fn deserialize_fields<'de, T, I>(fields: I) -> Result<T>
where
    T: Deserialize<'de>,
    I: IntoIterator<Item = NamedValue<'de>>,
{
    T::deserialize(Fields(fields.into_iter()))
}

/// A whole float is an integer where one is expected.
macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.value().and_then(Value::as_number) {
                Some(number) => visit_number(&number.clone().without_float(), visitor),
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

/// Implements `Deserializer` by delegating to another one every method that differs from `deserialize_any`.
macro_rules! deserialize_as {
    ($type:ty, |$this:ident| $inner:expr, $($method:ident)*) => {
        impl<'de> Deserializer<'de> for &'de $type {
            type Error = Error;

            $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
                let $this = self;
                $inner.$method(visitor)
            })*

            fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
                let $this = self;
                $inner.deserialize_newtype_struct(name, visitor)
            }

            fn deserialize_enum<V: Visitor<'de>>(
                self,
                name: &'static str,
                variants: &'static [&'static str],
                visitor: V,
            ) -> Result<V::Value> {
                let $this = self;
                $inner.deserialize_enum(name, variants, visitor)
            }

            forward_to_deserialize_any! {
                bool char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
                ignored_any
            }
        }
    };
    ($($type:ty, |$this:ident| $inner:expr;)*) => {$(
        deserialize_as! {
            $type, |$this| $inner,
            deserialize_any deserialize_option deserialize_f32 deserialize_f64
            deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        }
    )*};
}

deserialize_as! {
    Value, |value| FieldValue::Borrowed(value);
    Object, |object| Fields(borrowed(object));
    Profile, |profile| Fields(profile_fields(profile));
    Event, |event| Fields(event_fields(event));
}

fn profile_fields(profile: &Profile) -> impl Iterator<Item = NamedValue<'_>> {
    let times = [(LAST_SEEN, profile.last_seen), (FIRST_EVENT, profile.first_event)];
    let times =
        times.into_iter().filter_map(|(name, time)| Some((name.into(), FieldValue::Owned(time?.to_exact_value()))));
    times.chain(borrowed(&profile.properties))
}

fn event_fields(event: &Event) -> impl Iterator<Item = NamedValue<'_>> {
    let has_event = event.properties.contains_key("event");
    let fields = [
        ("event", Some(event.name.as_str()).filter(|_| !has_event).map(FieldValue::Text)),
        ("time", Some(FieldValue::Owned(event.time.to_wire_number().into()))),
        ("distinct_id", Some(FieldValue::Text(&event.distinct_id))),
        ("$insert_id", event.insert_id.as_deref().map(FieldValue::Text)),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
    fields.chain(borrowed(&event.properties))
}

/// A name and its value.
type NamedValue<'de> = (Cow<'de, str>, FieldValue<'de>);

/// A value that is borrowed or owned, as a deserializer.
pub(crate) enum FieldValue<'de> {
    Borrowed(&'de Value),
    Owned(Value),
    Text(&'de str),
}

impl FieldValue<'_> {
    fn value(&self) -> Option<&Value> {
        match self {
            Self::Borrowed(value) => Some(value),
            Self::Owned(value) => Some(value),
            Self::Text(_) => None,
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self.value() {
            None => Unexpected::Other("a string"),
            Some(value) => Unexpected::Other(value.type_name()),
        }
    }
}

impl<'de> Deserializer<'de> for FieldValue<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Text(text) => visitor.visit_borrowed_str(text),
            Self::Borrowed(Value::String(text)) => visitor.visit_borrowed_str(text),
            Self::Borrowed(Value::List(elements)) => visit_list(elements.iter().map(Self::Borrowed), visitor),
            Self::Borrowed(Value::Object(object)) => visitor.visit_map(ObjectEntries::new(borrowed(object))),
            Self::Owned(Value::String(text)) => visitor.visit_string(text),
            Self::Owned(Value::List(elements)) => visit_list(elements.into_iter().map(Self::Owned), visitor),
            Self::Owned(Value::Object(object)) => visitor.visit_map(ObjectEntries::new(owned(object))),
            Self::Borrowed(Value::Number(number)) => visit_number(number, visitor),
            Self::Owned(Value::Number(number)) => visit_number(&number, visitor),
            Self::Borrowed(&Value::Bool(value)) | Self::Owned(Value::Bool(value)) => visitor.visit_bool(value),
            Self::Borrowed(Value::Null) | Self::Owned(Value::Null) => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.value().is_some_and(Value::is_null) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value().and_then(Value::as_number) {
            Some(number) => visitor.visit_f64(exact_double(number)?),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let mut fields: Vec<_> = match self {
            Self::Text(name) => vec![(Cow::Borrowed(name), None)],
            Self::Borrowed(Value::String(name)) => vec![(Cow::Borrowed(name.as_str()), None)],
            Self::Owned(Value::String(name)) => vec![(Cow::Owned(name), None)],
            Self::Borrowed(Value::Object(object)) => {
                borrowed(object).map(|(name, value)| (name, Some(value))).collect()
            }
            Self::Owned(Value::Object(object)) => owned(object).map(|(name, value)| (name, Some(value))).collect(),
            Self::Borrowed(_) | Self::Owned(_) => {
                return Err(de::Error::invalid_type(self.unexpected(), &"a string or an object"));
            }
        };
        match (fields.pop(), fields.is_empty()) {
            (Some((name, content)), true) => visitor.visit_enum(Variant { name, content }),
            _ => Err(de::Error::invalid_value(Unexpected::Map, &"an object with one entry")),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    forward_to_deserialize_any! {
        bool char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn borrowed(object: &Object) -> impl Iterator<Item = NamedValue<'_>> {
    object.iter().map(|(name, value)| (Cow::Borrowed(name), FieldValue::Borrowed(value)))
}

fn owned<'de>(object: Object) -> impl Iterator<Item = NamedValue<'de>> {
    object.into_iter().map(|(name, value)| (Cow::Owned(name), FieldValue::Owned(value)))
}

fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value> {
    if let Some(integer) = number.as_i64() {
        visitor.visit_i64(integer)
    } else if let Some(integer) = number.as_u64() {
        visitor.visit_u64(integer)
    } else if let Some(integer) = number.as_i128() {
        visitor.visit_i128(integer)
    } else if number.is_float() {
        visitor.visit_f64(number.as_f64())
    } else {
        Err(Error::invalid("an integer out of the range of i128"))
    }
}

/// The double of a number; of an integer only if it is exact.
fn exact_double(number: &Number) -> Result<f64> {
    let double = number.as_f64();
    if number.is_float() || Number::try_from(double).as_ref() == Ok(number) {
        Ok(double)
    } else {
        Err(Error::invalid(format!("an integer without an exact f64, the nearest is {double:?}")))
    }
}

fn visit_list<'de, V: Visitor<'de>>(
    elements: impl ExactSizeIterator<Item = FieldValue<'de>>,
    visitor: V,
) -> Result<V::Value> {
    let len = elements.len();
    let mut elements = Elements { elements, next: 0 };
    let value = visitor.visit_seq(&mut elements)?;
    if elements.elements.len() == 0 { Ok(value) } else { Err(de::Error::invalid_length(len, &"fewer elements")) }
}

/// The elements of a list.
struct Elements<I> {
    elements: I,
    /// The position of the next element, for errors.
    next: usize,
}

impl<'de, I: ExactSizeIterator<Item = FieldValue<'de>>> SeqAccess<'de> for &mut Elements<I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(element) = self.elements.next() else { return Ok(None) };
        let at = self.next;
        self.next += 1;
        seed.deserialize(element).map(Some).map_err(|error| within(&format!("[{at}]"), error))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

/// The error, with this name or position prepended to its path.
fn within(outer: &str, error: Error) -> Error {
    let path = match error.field() {
        Some(inner) if inner.starts_with('[') => format!("{outer}{inner}"),
        Some(inner) => format!("{outer}.{inner}"),
        None => outer.to_owned(),
    };
    error.at(path)
}

/// The entries of an object, or the fields of a type that deserializes as one.
struct ObjectEntries<'de, I> {
    entries: I,
    /// The entry whose name was read last.
    current: Option<NamedValue<'de>>,
}

impl<I> ObjectEntries<'_, I> {
    fn new(entries: I) -> Self {
        Self { entries, current: None }
    }
}

impl<'de, I: Iterator<Item = NamedValue<'de>>> MapAccess<'de> for ObjectEntries<'de, I> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.current = self.entries.next();
        let Some((name, _)) = &self.current else { return Ok(None) };
        match name {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            Cow::Owned(name) => seed.deserialize(name.clone().into_deserializer()),
        }
        .map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        let Some((name, value)) = self.current.take() else {
            return Err(Error::invalid("a value was read before its name"));
        };
        seed.deserialize(value).map_err(|error| within(&name, error))
    }
}

/// A variant of an enum, and its content.
struct Variant<'de> {
    name: Cow<'de, str>,
    content: Option<FieldValue<'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Content<'de>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Content<'de>)> {
        let name: CowStrDeserializer<'de, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

/// The content of a variant of an enum.
struct Content<'de>(Option<FieldValue<'de>>);

impl<'de> Content<'de> {
    fn value(self) -> Result<FieldValue<'de>> {
        self.0.ok_or_else(|| Error::invalid("a variant without its content"))
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        self.0.map_or(Ok(()), Deserialize::deserialize)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.value()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.value()?.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, names: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.value()?.deserialize_struct("", names, visitor)
    }
}

/// Names and values that deserialize as a map.
struct Fields<I>(I);

impl<'de, I: Iterator<Item = NamedValue<'de>>> Deserializer<'de> for Fields<I> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_map(ObjectEntries::new(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;
    use crate::model::Timestamp;

    #[derive(Debug, PartialEq, serde::Deserialize, Serialize)]
    enum Shape {
        Empty,
        Circle(f64),
        Line(i8, i8),
        Square { side: u8 },
    }

    #[derive(Debug, PartialEq, serde::Deserialize, Serialize)]
    struct Wrapped(Option<Vec<u64>>);

    #[derive(Debug, PartialEq, serde::Deserialize, Serialize)]
    struct Everything {
        shapes: Vec<Shape>,
        wrapped: Wrapped,
        none: Option<bool>,
        pair: (char, String),
        unit: (),
        map: BTreeMap<String, i16>,
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn structs_survive_as_through_serde_json() {
        let everything = Everything {
            shapes: vec![Shape::Empty, Shape::Circle(0.5), Shape::Line(-1, 1), Shape::Square { side: 9 }],
            wrapped: Wrapped(Some(vec![0, u64::MAX])),
            none: None,
            pair: ('x', "y".into()),
            unit: (),
            map: BTreeMap::from([("a".into(), -1)]),
        };
        let value = json(&serde_json::to_string(&everything).unwrap());
        assert_eq!(value.deserialize_into::<Everything>().unwrap(), everything);
        assert_eq!(Everything::deserialize(FieldValue::Owned(value)).unwrap(), everything);
    }

    #[test]
    fn numbers_are_exact_or_an_error() {
        let beyond = |n: i128| Value::from(n);
        assert_eq!(json("2.0").deserialize_into::<u8>().unwrap(), 2);
        assert_eq!(json("9007199254740992").deserialize_into::<f64>().unwrap(), 2_f64.powi(53));
        assert_eq!(beyond(1 << 100).deserialize_into::<i128>().unwrap(), 1 << 100);
        assert_eq!(beyond(1 << 100).deserialize_into::<f64>().unwrap(), 2_f64.powi(100));
        assert_eq!(json("0.1").deserialize_into::<f64>().unwrap(), 0.1);
        for error in [
            json("2.5").deserialize_into::<u8>().unwrap_err(),
            json("256").deserialize_into::<u8>().unwrap_err(),
            json("9007199254740993").deserialize_into::<f64>().unwrap_err(),
            beyond(1 << 100).deserialize_into::<i64>().unwrap_err(),
            json("1e300").deserialize_into::<i128>().unwrap_err(),
        ] {
            assert!(error.is_invalid(), "{error}");
        }
    }

    #[test]
    fn errors_name_the_path_of_the_field() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Inner {
            #[expect(dead_code, reason = "only its type matters")]
            x: u8,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[expect(dead_code, reason = "only its type matters")]
            list: Vec<Inner>,
        }
        for (text, field) in [
            (r#"{"list":[{"x":1},{"x":"a"}]}"#, "list[1].x"),
            (r#"{"list":[{}]}"#, "list[0].x"),
            (r#"{"list":[{"x":1,"y":2}]}"#, "list[0].y"),
            (r#"{"list":3}"#, "list"),
            ("{}", "list"),
        ] {
            assert_eq!(json(text).deserialize_into::<Outer>().unwrap_err().field(), Some(field), "{text}");
        }
    }

    #[test]
    fn times_survive_in_profiles_and_events() {
        #[derive(serde::Deserialize)]
        struct Times {
            #[serde(rename = "$last_seen")]
            last_seen: Option<Timestamp>,
            #[serde(rename = "$mp_first_event_time")]
            first: Option<Timestamp>,
        }
        #[derive(serde::Deserialize)]
        struct Line<'a> {
            event: &'a str,
            time: Timestamp,
            #[serde(rename = "$insert_id")]
            insert_id: Option<&'a str>,
            n: i64,
        }
        for millis in [0, 1, -1, 86_400_000, 99_999_999_999, 1_700_000_000_123, -62_167_219_199_999] {
            let time = Timestamp::from_millis(millis);
            let seen = Some(Timestamp::from_seconds(time.seconds()));
            let profile = Profile { last_seen: seen, first_event: Some(time), ..Profile::default() };
            let times: Times = profile.deserialize().unwrap();
            assert_eq!((times.last_seen, times.first), (seen, Some(time)));
            let event = Event::new("e", "u", time).id("i").set("n", 3);
            let line: Line<'_> = event.deserialize().unwrap();
            assert_eq!((line.event, line.time, line.insert_id, line.n), ("e", time, Some("i"), 3));
        }
        let shadowed = Event::new("e", "u", Timestamp::from_seconds(0)).set("event", "property");
        assert_eq!(shadowed.deserialize::<BTreeMap<String, Value>>().unwrap()["event"], "property".into());
    }
}
