//! Values as bytes, in bincode's standard configuration.
//!
//! | tag | then |
//! |---|---|
//! | 0 null, 1 false, 2 true | nothing |
//! | 3 integer | signed varint |
//! | 4 float | varint `-e`, signed varint `m`: the number is `m * 2^e`, see [`Number`] |
//! | 5 large number | one byte: 1 if a float; varint `-e`; length and two's complement bytes of `m`, little-endian |
//! | 6 string | length, UTF-8 |
//! | 7 list | count, values |
//! | 8 object | count, then length and UTF-8 of each name before its value, names ascending |
//!
//! bincode encodes values and decodes them (`read_value`). `check_value`, `read_number` and `small_integer` are a
//! second parser of the same bytes, which does not allocate and is stricter: a merge uses it to validate the bytes it
//! copies. The two are compared by the tests below and by the fuzzers.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::Decoder;
use bincode::de::read::Reader as _;
use bincode::enc::Encoder;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use num_bigint::BigInt;

use super::bytes::{Malformed, Read, Reader, check_text, put_slice, put_varint};
use crate::limits::VALUE_DEPTH_MAX;
use crate::model::{EXPONENT_MIN, Mantissa, Number, Object, Value, is_group_id};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INTEGER: u8 = 3;
const FLOAT: u8 = 4;
const LARGE: u8 = 5;
const STRING: u8 = 6;
const LIST: u8 = 7;
const OBJECT: u8 = 8;

/// bincode's limit for one value. It counts the widest form of each number, up to 16 times the actual size, so a lower
/// limit would reject lists that were written. Hostile lengths cannot exhaust memory because `slice` checks that the
/// bytes exist before it allocates.
const VALUE_BYTES_MAX: usize = usize::MAX >> 1;

type Config = Configuration<LittleEndian, Varint, Limit<VALUE_BYTES_MAX>>;

const CONFIG: Config = bincode::config::standard().with_limit::<VALUE_BYTES_MAX>();

/// Appends the bytes of a value.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &Value) {
    write(out, value);
}

/// Appends the bytes of a text as a value.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(STRING);
    put_slice(out, text.as_bytes());
}

/// Appends the bytes of a number as a value.
pub(crate) fn write_number(out: &mut Vec<u8>, number: &Number) {
    write(out, number);
}

/// Appends the bytes of an object as a value.
pub(crate) fn write_object(out: &mut Vec<u8>, object: &Object) {
    write(out, object);
}

fn write(out: &mut Vec<u8>, thing: impl Encode) {
    struct Append<'a>(&'a mut Vec<u8>);

    impl Writer for Append<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }

    let written = bincode::encode_into_writer(thing, Append(out), CONFIG);
    debug_assert!(written.is_ok(), "appending to memory cannot fail");
}

/// Reads one value.
pub(crate) fn read_value(reader: &mut Reader<'_>) -> Read<Value> {
    read_nested(reader, 0)
}

/// Reads the bytes of exactly one value.
pub(super) fn read_whole(bytes: &[u8]) -> Read<Value> {
    let mut reader = Reader::new(bytes);
    let value = read_value(&mut reader)?;
    if reader.is_empty() { Ok(value) } else { Err(Malformed("trailing bytes after a value")) }
}

/// Reads a value that is an element of a list, or will be.
pub(crate) fn read_element(reader: &mut Reader<'_>) -> Read<Value> {
    read_nested(reader, 1)
}

fn read_nested(reader: &mut Reader<'_>, depth: usize) -> Read<Value> {
    let bytes = reader.rest();
    let (value, len) = bincode::decode_from_slice_with_context::<Depth, Value, _>(bytes, CONFIG, Depth(depth))
        .map_err(|_| Malformed("a value that cannot be decoded"))?;
    reader.take(len)?;
    Ok(value)
}

/// Reads one number. Counters are the most frequent case of a fold, so this bypasses bincode and allocates only for
/// large numbers.
pub(crate) fn read_number(reader: &mut Reader<'_>) -> Read<Number> {
    let tag = reader.u8()?;
    read_tagged_number(tag, reader)
}

/// The integer, if the value is one whose varint has one byte.
pub(crate) fn small_integer(bytes: &[u8]) -> Option<i8> {
    match bytes {
        // At most 250 >> 1, which fits.
        [INTEGER, zigzag @ 0..=250] => Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()),
        _ => None,
    }
}

fn read_tagged_number(tag: u8, reader: &mut Reader<'_>) -> Read<Number> {
    let number = match tag {
        INTEGER => Number::from_small_parts(reader.signed()?, 0, false),
        FLOAT => {
            let exponent = read_exponent(reader.varint()?).ok_or(Malformed("an exponent out of range"))?;
            Number::from_small_parts(reader.signed()?, exponent, true)
        }
        LARGE => {
            let float = reader.u8()?;
            let exponent = reader.varint()?;
            large(float, exponent, reader.slice()?)
        }
        _ => return Err(Malformed("a value that is not a number")),
    };
    number.ok_or(Malformed("a number that is not canonical"))
}

/// Reads one object.
pub(crate) fn read_object(reader: &mut Reader<'_>) -> Read<Object> {
    match read_value(reader)? {
        Value::Object(object) => Ok(object),
        _ => Err(Malformed("a value that is not an object")),
    }
}

/// Checks that one value is canonical, and skips it, without allocating.
pub(crate) fn check_value(reader: &mut Reader<'_>) -> Read<()> {
    check_nested(reader, 0)
}

/// Checks and skips counted values that are elements of a list, or will be, and returns their number.
pub(crate) fn check_sequence(reader: &mut Reader<'_>) -> Read<u128> {
    let count = reader.varint()?;
    (0..count).try_for_each(|_| check_nested(reader, 1))?;
    Ok(count)
}

/// Checks and skips an object that is not empty.
pub(crate) fn check_entries(reader: &mut Reader<'_>) -> Read<()> {
    match reader.rest() {
        [OBJECT, count, ..] if *count > 0 => check_value(reader),
        _ => Err(Malformed("a value that is not an object with entries")),
    }
}

fn check_nested(reader: &mut Reader<'_>, depth: usize) -> Read<()> {
    match reader.u8()? {
        NULL | FALSE | TRUE => Ok(()),
        tag @ (INTEGER | FLOAT | LARGE) => read_tagged_number(tag, reader).map(|_| ()),
        STRING => check_text(reader.slice()?),
        LIST => {
            let depth = deeper(depth).ok_or(Malformed("a value nested too deeply"))?;
            let count = reader.varint()?;
            (0..count).try_for_each(|_| check_nested(reader, depth))
        }
        OBJECT => {
            let depth = deeper(depth).ok_or(Malformed("a value nested too deeply"))?;
            let count = reader.varint()?;
            let mut last: Option<&[u8]> = None;
            for _ in 0..count {
                let name = reader.slice()?;
                check_text(name)?;
                if last.is_some_and(|last| last >= name) {
                    return Err(Malformed("names out of order"));
                }
                last = Some(name);
                check_nested(reader, depth)?;
            }
            Ok(())
        }
        _ => Err(Malformed("a value with an unknown tag")),
    }
}

/// The bytes of one value, known to be canonical.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueBytes<'a>(&'a [u8]);

/// The types of values that operators distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Number,
    List,
    Object,
    Other,
}

impl<'a> ValueBytes<'a> {
    /// Wraps bytes that were checked before.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Checks the bytes of exactly one value.
    #[inline]
    pub(crate) fn checked(bytes: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(bytes);
        check_value(&mut reader)?;
        if reader.is_empty() { Ok(Self(bytes)) } else { Err(Malformed("trailing bytes after a value")) }
    }

    /// Reads a count and that number of values, if they are at most `max`. The bytes were checked before, so `None`
    /// means more than `max`; callers then decode the value, which would report damage.
    pub(super) fn sequence(reader: &mut Reader<'a>, max: usize) -> Option<Vec<Self>> {
        let count = reader.len().ok().filter(|count| *count <= max)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let bytes = reader.rest();
            check_value(reader).ok()?;
            values.push(Self(bytes.get(..bytes.len() - reader.rest().len())?));
        }
        Some(values)
    }

    pub(crate) fn kind(self) -> ValueKind {
        match self.0.first() {
            Some(&(INTEGER | FLOAT | LARGE)) => ValueKind::Number,
            Some(&LIST) => ValueKind::List,
            Some(&OBJECT) => ValueKind::Object,
            _ => ValueKind::Other,
        }
    }

    pub(crate) fn decode(self) -> Read<Value> {
        read_value(&mut Reader::new(self.0))
    }

    pub(crate) fn number(self) -> Read<Number> {
        read_number(&mut Reader::new(self.0))
    }

    /// Reads a count and that number of values, and appends them. `None` if one of them is not a text. The bytes were
    /// checked before.
    pub(super) fn texts(reader: &mut Reader<'a>, texts: &mut Vec<Self>) -> Option<()> {
        let count = reader.len().ok()?;
        // Each takes two bytes at least.
        texts.reserve(count.min(reader.rest().len() / 2));
        for _ in 0..count {
            let bytes = reader.rest();
            reader.u8().ok().filter(|tag| *tag == STRING)?;
            reader.slice().ok()?;
            texts.push(Self(bytes.get(..bytes.len() - reader.rest().len())?));
        }
        Some(())
    }

    /// Appends the elements, if this is a list of texts. Otherwise some of them may have been appended.
    pub(crate) fn text_elements(self, texts: &mut Vec<Self>) -> Option<()> {
        let mut reader = Reader::new(self.0);
        reader.u8().ok().filter(|tag| *tag == LIST)?;
        Self::texts(&mut reader, texts)
    }

    /// The elements, if this is a list of at most `max`. `None` as in [`sequence`](Self::sequence).
    pub(crate) fn elements(self, max: usize) -> Option<Vec<Self>> {
        let mut reader = Reader::new(self.0);
        reader.u8().ok().filter(|tag| *tag == LIST)?;
        Self::sequence(&mut reader, max)
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == [NULL]
    }

    /// The text, if this is a string. It was checked to be UTF-8 before.
    pub(crate) fn text(self) -> Option<&'a str> {
        let mut reader = Reader::new(self.0);
        reader.u8().ok().filter(|tag| *tag == STRING)?;
        reader.str().ok()
    }

    /// The ids of the groups that this value names, as in [`Value::group_ids`].
    pub(crate) fn group_ids(self, mut each: impl FnMut(&str)) {
        match self.text() {
            Some(text) => Some(text).filter(|text| is_group_id(text)).into_iter().for_each(&mut each),
            // Checked bytes decode.
            None => self.decode().iter().flat_map(Value::group_ids).for_each(|id| each(&id)),
        }
    }

    /// JSON equality. Texts, booleans and null are equal if their bytes are; values that may contain numbers are
    /// decoded, because `1` equals `1.0` and has different bytes.
    pub(crate) fn equals(self, other: Self) -> bool {
        if self.0 == other.0 {
            return true;
        }
        let numeric = |value: Self| value.kind() != ValueKind::Other;
        if !numeric(self) || !numeric(other) {
            return false;
        }
        matches!((self.decode(), other.decode()), (Ok(a), Ok(b)) if a == b)
    }

    /// Appends the list of these elements.
    pub(super) fn write_list(out: &mut Vec<u8>, elements: &[Self]) {
        out.push(LIST);
        put_varint(out, elements.len() as u64);
        elements.iter().for_each(|element| out.extend_from_slice(element.0));
    }

    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The next level of nesting, at most one deeper than validation admits: `$append` puts an admitted value into a list.
fn deeper(depth: usize) -> Option<usize> {
    (depth <= VALUE_DEPTH_MAX).then_some(depth + 1)
}

fn read_exponent(negated: u128) -> Option<i16> {
    i16::try_from(negated).ok().map(|negated| -negated).filter(|exponent| *exponent >= EXPONENT_MIN)
}

/// The number with these parts, if they are canonical and require this form.
fn large(float: u8, exponent: u128, mantissa: &[u8]) -> Option<Number> {
    let exponent = read_exponent(exponent)?;
    let bytes = mantissa;
    let mantissa = BigInt::from_signed_bytes_le(bytes);
    let canonical = float <= 1
        && (float == 1 || exponent == 0)
        && i128::try_from(&mantissa).is_err()
        && mantissa.to_signed_bytes_le() == bytes;
    if canonical { Number::from_parts(mantissa, exponent, float == 1) } else { None }
}

impl Encode for Number {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let (mantissa, exponent) = self.parts();
        let negated = exponent.unsigned_abs();
        match mantissa {
            Mantissa::Small(mantissa) if self.is_float() => {
                FLOAT.encode(encoder)?;
                negated.encode(encoder)?;
                mantissa.encode(encoder)
            }
            Mantissa::Small(mantissa) => {
                INTEGER.encode(encoder)?;
                mantissa.encode(encoder)
            }
            Mantissa::Big(mantissa) => {
                LARGE.encode(encoder)?;
                u8::from(self.is_float()).encode(encoder)?;
                negated.encode(encoder)?;
                mantissa.to_signed_bytes_le().encode(encoder)
            }
        }
    }
}

impl Encode for Object {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        OBJECT.encode(encoder)?;
        (self.len() as u64).encode(encoder)?;
        self.iter().try_for_each(|(name, value)| {
            name.encode(encoder)?;
            value.encode(encoder)
        })
    }
}

impl Encode for Value {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::Null => NULL.encode(encoder),
            Self::Bool(value) => (if *value { TRUE } else { FALSE }).encode(encoder),
            Self::Number(number) => number.encode(encoder),
            Self::String(text) => {
                STRING.encode(encoder)?;
                text.as_str().encode(encoder)
            }
            Self::List(elements) => {
                LIST.encode(encoder)?;
                (elements.len() as u64).encode(encoder)?;
                elements.iter().try_for_each(|element| element.encode(encoder))
            }
            Self::Object(object) => object.encode(encoder),
        }
    }
}

/// The nesting depth of the value that is being decoded.
pub(crate) struct Depth(usize);

impl Decode<Depth> for Value {
    fn decode<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(match u8::decode(decoder)? {
            NULL => Self::Null,
            FALSE => Self::Bool(false),
            TRUE => Self::Bool(true),
            INTEGER => i128::decode(decoder)?.into_number(0, false)?,
            FLOAT => {
                let exponent = exponent(decoder)?;
                i128::decode(decoder)?.into_number(exponent, true)?
            }
            LARGE => {
                let float = u8::decode(decoder)?;
                let exponent = u128::decode(decoder)?;
                slice(decoder, |mantissa| large(float, exponent, mantissa))?.into()
            }
            STRING => Self::String(string(decoder)?),
            LIST => {
                let count = enter(decoder)?;
                let mut elements = Vec::with_capacity(count.min(1024));
                for _ in 0..count {
                    elements.push(Self::decode(decoder)?);
                }
                decoder.context().0 -= 1;
                Self::List(elements)
            }
            OBJECT => {
                let count = enter(decoder)?;
                let mut entries: Vec<(String, Self)> = Vec::with_capacity(count.min(256));
                for _ in 0..count {
                    let name = string(decoder)?;
                    if entries.last().is_some_and(|(last, _)| *last >= name) {
                        return Err(REFUSED);
                    }
                    entries.push((name, Self::decode(decoder)?));
                }
                decoder.context().0 -= 1;
                Self::Object(Object::from_sorted(entries))
            }
            _ => return Err(REFUSED),
        })
    }
}

const REFUSED: DecodeError = DecodeError::Other("not a canonical value");

trait IntoNumber {
    fn into_number(self, exponent: i16, float: bool) -> Result<Value, DecodeError>;
}

impl IntoNumber for i128 {
    fn into_number(self, exponent: i16, float: bool) -> Result<Value, DecodeError> {
        Number::from_small_parts(self, exponent, float).map(Value::Number).ok_or(REFUSED)
    }
}

fn exponent<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<i16, DecodeError> {
    read_exponent(u128::decode(decoder)?).ok_or(REFUSED)
}

fn string<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<String, DecodeError> {
    // `slice` turns `None` into an error.
    slice(decoder, |bytes| std::str::from_utf8(bytes).ok().map(str::to_owned))
}

/// Reads length-prefixed bytes with `read`. They must exist before any memory is allocated for them.
fn slice<D: Decoder<Context = Depth>, T>(
    decoder: &mut D,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, DecodeError> {
    let len = usize::try_from(u64::decode(decoder)?).map_err(|_| REFUSED)?;
    let thing = decoder.reader().peek_read(len).and_then(read).ok_or(REFUSED)?;
    decoder.claim_bytes_read(len)?;
    decoder.reader().consume(len);
    Ok(thing)
}

fn enter<D: Decoder<Context = Depth>>(decoder: &mut D) -> Result<usize, DecodeError> {
    let depth = deeper(decoder.context().0).ok_or(REFUSED)?;
    decoder.context().0 = depth;
    usize::try_from(u64::decode(decoder)?).map_err(|_| REFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::laws::any_value;
    use proptest::prelude::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        write_value(&mut out, value);
        out
    }

    proptest! {
        #[test]
        fn a_value_round_trips(value in any_value()) {
            let encoded = bytes(&value);
            let mut reader = Reader::new(&encoded);
            let decoded = read_value(&mut reader).unwrap();
            prop_assert!(decoded.is_identical(&value));
            prop_assert!(reader.is_empty());
            let mut ids = Vec::new();
            ValueBytes::new(&encoded).group_ids(|id| ids.push(id.to_owned()));
            prop_assert_eq!(ids, value.group_ids().collect::<Vec<_>>());
            if let Value::Number(number) = &value {
                prop_assert!(read_number(&mut Reader::new(&encoded)).unwrap().is_identical(number));
            }
            let mut walker = Reader::new(&encoded);
            prop_assert_eq!(check_value(&mut walker), Ok(()));
            prop_assert!(walker.is_empty());
        }

        #[test]
        fn the_checker_and_the_decoder_agree_and_accept_only_canonical_bytes(
            value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut encoded = bytes(&value);
            let index = at.index(encoded.len());
            encoded[index] = byte;
            let (mut walker, mut reader) = (Reader::new(&encoded), Reader::new(&encoded));
            let walked = check_value(&mut walker);
            if let Ok(decoded) = read_value(&mut reader) {
                // bincode accepts varints that are not in their shortest form; the checker does not.
                if walked.is_ok() {
                    prop_assert_eq!(walker.rest(), reader.rest());
                    let len = encoded.len() - reader.rest().len();
                    prop_assert_eq!(&bytes(&decoded)[..], &encoded[..len]);
                }
            } else {
                prop_assert!(walked.is_err());
            }
        }
    }

    #[test]
    fn small_integer_recognizes_the_integers_of_one_byte() {
        for integer in -200..200_i64 {
            let fits = i8::try_from(integer).ok().filter(|_| (-125..=125).contains(&integer));
            assert_eq!(small_integer(&bytes(&integer.into())), fits);
        }
    }

    #[test]
    fn hostile_lengths_and_depths_are_rejected() {
        let huge = [STRING, 253, 255, 255, 255, 255, 255, 255, 255, 127];
        let large = [LARGE, 0, 0, 252, 255, 255, 255, 63];
        let deep = [LIST, 1].repeat(100_000);
        let many = [LIST, 253, 255, 255, 255, 255, 255, 255, 255, 127];
        for hostile in [&huge[..], &large, &deep, &many] {
            assert!(read_value(&mut Reader::new(hostile)).is_err());
            assert!(check_value(&mut Reader::new(hostile)).is_err());
        }
    }
}
