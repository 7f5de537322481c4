//! A serde `Serializer` into values, which turns a program's own structs into properties.
//!
//! Types map to JSON as in `serde_json`, except that a float that is not finite is an error and not null.

use serde::ser::{self, Serialize, Serializer};

use super::{Number, Object, Value};
use crate::error::{Error, Result};

impl Object {
    /// The fields of a struct, or the entries of a map.
    ///
    /// ```
    /// use profiledb::Object;
    ///
    /// #[derive(serde::Serialize)]
    /// struct User { plan: &'static str, teams: Vec<&'static str> }
    ///
    /// let user = Object::from_serialize(&User { plan: "pro", teams: vec!["eng"] })?;
    /// assert_eq!(user.get("teams"), Some(&["eng"].into()));
    /// assert!(Object::from_serialize(&7).is_err());
    /// # Ok::<(), profiledb::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for anything except a struct or a map, and for what is not JSON: floats
    /// that are not finite, and keys that are not text, numbers or booleans.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        match value.serialize(ValueSerializer)? {
            Value::Object(object) => Ok(object),
            other => Err(Error::invalid(format!("not a struct or a map value={other}"))),
        }
    }
}

impl ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::invalid(message.to_string())
    }
}

struct ValueSerializer;

/// A list under construction, and the variant that it belongs to.
struct ListSerializer(Option<&'static str>, Vec<Value>);

/// An object under construction, the variant that it belongs to, and the pending key.
struct ObjectSerializer(Option<&'static str>, Object, String);

/// `{"variant": value}`, or the value alone.
fn tagged(variant: Option<&'static str>, value: impl Into<Value>) -> Value {
    match variant {
        Some(variant) => Object::from_iter([(variant, value)]).into(),
        None => value.into(),
    }
}

/// Methods that pass their argument to `Value::from`.
macro_rules! from {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Value> {
            Ok(value.into())
        })*
    };
}

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = ListSerializer;
    type SerializeTuple = ListSerializer;
    type SerializeTupleStruct = ListSerializer;
    type SerializeTupleVariant = ListSerializer;
    type SerializeMap = ObjectSerializer;
    type SerializeStruct = ObjectSerializer;
    type SerializeStructVariant = ObjectSerializer;

    from!(serialize_bool: bool, serialize_str: &str);
    from!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    from!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_i128(self, value: i128) -> Result<Value> {
        Ok(Number::from(value).into())
    }

    fn serialize_f32(self, value: f32) -> Result<Value> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Value> {
        value.try_into().map_err(ser::Error::custom)
    }

    fn serialize_char(self, value: char) -> Result<Value> {
        Ok(String::from(value).into())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value> {
        Ok(value.to_vec().into())
    }

    fn serialize_none(self) -> Result<Value> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Value> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value> {
        Ok(tagged(Some(variant), value.serialize(self)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<ListSerializer> {
        Ok(ListSerializer(None, Vec::new()))
    }

    fn serialize_tuple(self, _: usize) -> Result<ListSerializer> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<ListSerializer> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<ListSerializer> {
        Ok(ListSerializer(Some(variant), Vec::new()))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<ObjectSerializer> {
        Ok(ObjectSerializer(None, Object::new(), String::new()))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<ObjectSerializer> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<ObjectSerializer> {
        Ok(ObjectSerializer(Some(variant), Object::new(), String::new()))
    }
}

/// The four kinds of lists.
macro_rules! list {
    ($($of:ident: $method:ident),*) => {
        $(impl ser::$of for ListSerializer {
            type Ok = Value;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<()> {
                self.1.push(element.serialize(ValueSerializer)?);
                Ok(())
            }

            fn end(self) -> Result<Value> {
                Ok(tagged(self.0, self.1))
            }
        })*
    };
}

list!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

impl ser::SerializeMap for ObjectSerializer {
    type Ok = Value;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.2 = match key.serialize(ValueSerializer)? {
            Value::String(key) => key,
            key @ (Value::Bool(_) | Value::Number(_)) => key.to_string(),
            other => return Err(Error::invalid(format!("not the key of an object key={other}"))),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let name = std::mem::take(&mut self.2);
        let value = value.serialize(ValueSerializer).map_err(|error| match error.field() {
            None => error.at(name.as_str()),
            Some(_) => error,
        })?;
        self.1.insert(name, value);
        Ok(())
    }

    fn end(self) -> Result<Value> {
        Ok(tagged(self.0, self.1))
    }
}

/// Fields are entries.
macro_rules! fields {
    ($($of:ident),*) => {
        $(impl ser::$of for ObjectSerializer {
            type Ok = Value;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
                ser::SerializeMap::serialize_entry(self, name, value)
            }

            fn end(self) -> Result<Value> {
                ser::SerializeMap::end(self)
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::super::Object;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(u8),
        Two(u8, i64),
        Named { x: f64 },
    }

    #[derive(Serialize)]
    struct Everything<'a> {
        text: &'a str,
        letter: char,
        numbers: (i8, u64, i128, f32, f64),
        optional: [Option<bool>; 2],
        shapes: Vec<Shape>,
        by_number: BTreeMap<u16, ()>,
        nested: Wrapped<'a>,
    }

    #[derive(Serialize)]
    struct Wrapped<'a>(#[serde(serialize_with = "serialize_bytes")] &'a [u8]);

    fn serialize_bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    #[test]
    fn types_map_to_json_as_serde_json_maps_them() {
        let everything = Everything {
            text: "a",
            letter: '\u{e4}',
            numbers: (-1, u64::MAX, i128::from(i64::MIN), 0.5, 1e300),
            optional: [None, Some(true)],
            shapes: vec![Shape::Unit, Shape::One(1), Shape::Two(2, -3), Shape::Named { x: 0.25 }],
            by_number: BTreeMap::from([(7, ())]),
            nested: Wrapped(&[0, 255]),
        };
        let object = Object::from_serialize(&everything).unwrap();
        let expected: Object = serde_json::from_str(&serde_json::to_string(&everything).unwrap()).unwrap();
        assert_eq!(object, expected);
    }

    #[test]
    fn what_is_not_a_json_object_is_an_error() {
        assert!(Object::from_serialize("text").unwrap_err().is_invalid());
        assert!(Object::from_serialize(&[1]).unwrap_err().is_invalid());
        assert!(Object::from_serialize(&BTreeMap::from([(vec![1], 1)])).unwrap_err().is_invalid());
        let error = Object::from_serialize(&BTreeMap::from([("x", Some(f64::NAN))])).unwrap_err();
        assert_eq!(error.field(), Some("x"));
    }
}
