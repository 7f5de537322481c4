//! A recursive-descent JSON parser that reads what `serde_json` rejects or would change without a word, and says so.
//!
//! It runs only on a record that `serde_json` does not accept, or in which a name occurs twice in an object or an
//! integer may have more than 64 bits. It accepts, in addition to JSON:
//!
//! | in the text                                        | becomes                                    |
//! |----------------------------------------------------|--------------------------------------------|
//! | `NaN`, `Infinity`, `-Infinity`                     | null                                       |
//! | an escape of half a character, as in `"\ud83d"`    | U+FFFD, the replacement character          |
//! | a name twice in one object                         | the last value of the name                 |
//! | an integer of at most 128 bits                     | that integer                               |
//!
//! All but the last are a [`Repair`], which strict rules reject. It is no validator: what it does not understand is
//! reported by `serde_json`.

use super::reject::Reject;
use crate::error::Error;
use crate::limits::VALUE_DEPTH_MAX;
use crate::model::{Number, Object, Value};
use crate::ops::{Path, excerpt};

/// The nesting of a text that is read: a value of a property, in an operand, in a record.
const DEPTH_MAX: usize = VALUE_DEPTH_MAX + 3;

/// What was changed to read a record.
#[derive(Debug)]
pub(super) struct Repair {
    pub(super) reject: Reject,
    pub(super) consequence: &'static str,
    pub(super) before: Value,
}

/// A record and its repairs. None if it is not JSON even so.
///
/// # Errors
///
/// A number that cannot be represented, with its field.
pub(super) fn read(text: &str) -> Option<Result<(Value, Vec<Repair>), Reject>> {
    let mut parser = RepairParser { rest: text, repairs: Vec::new() };
    match parser.value(&Path::Root(""), 0) {
        Ok(value) => {
            parser.blank();
            parser.rest.is_empty().then_some(Ok((value, parser.repairs)))
        }
        Err(Trouble::NotJson) => None,
        Err(Trouble::Invalid(reject)) => Some(Err(reject)),
    }
}

enum Trouble {
    NotJson,
    Invalid(Reject),
}

struct RepairParser<'t> {
    rest: &'t str,
    repairs: Vec<Repair>,
}

impl<'t> RepairParser<'t> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    /// Skips blanks and then this token, if it is there.
    fn take(&mut self, token: &str) -> bool {
        self.blank();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), Trouble> {
        if self.take(token) { Ok(()) } else { Err(Trouble::NotJson) }
    }

    /// Takes the first `end` bytes.
    fn cut(&mut self, end: usize) -> &'t str {
        let (token, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        token
    }

    fn repaired(&mut self, path: &Path<'_>, reason: &str, consequence: &'static str, before: Value) {
        let reject = Reject::at(path.to_string(), format!("{reason} value={:?}", excerpt(&before.to_string())));
        self.repairs.push(Repair { reject, consequence, before });
    }

    fn value(&mut self, path: &Path<'_>, depth: usize) -> Result<Value, Trouble> {
        if depth > DEPTH_MAX {
            let reject = Reject::from(Error::limit(format!("a value nests at most {VALUE_DEPTH_MAX} levels deep")));
            return Err(Trouble::Invalid(reject));
        }
        self.blank();
        for (token, value) in [("null", Value::Null), ("true", true.into()), ("false", false.into())] {
            if self.take(token) {
                return Ok(value);
            }
        }
        for token in ["NaN", "Infinity", "-Infinity"] {
            if self.take(token) {
                self.repaired(path, "not a number in JSON", "replaced by null", token.into());
                return Ok(Value::Null);
            }
        }
        match self.rest.as_bytes().first() {
            Some(b'{') => self.object(path, depth),
            Some(b'[') => self.list(path, depth),
            Some(b'"') => self.string(path).map(Value::String),
            _ => self.number(path).map(Value::Number),
        }
    }

    fn list(&mut self, path: &Path<'_>, depth: usize) -> Result<Value, Trouble> {
        self.expect("[")?;
        let mut elements = Vec::new();
        if self.take("]") {
            return Ok(Value::List(elements));
        }
        loop {
            elements.push(self.value(&Path::Index(path, elements.len()), depth + 1)?);
            if !self.take(",") {
                self.expect("]")?;
                return Ok(Value::List(elements));
            }
        }
    }

    fn object(&mut self, path: &Path<'_>, depth: usize) -> Result<Value, Trouble> {
        self.expect("{")?;
        let mut entries: Vec<(String, Value)> = Vec::new();
        if self.take("}") {
            return Ok(Object::new().into());
        }
        loop {
            self.blank();
            let name = self.string(path)?;
            self.expect(":")?;
            let value = self.value(&Path::Name(path, &name), depth + 1)?;
            entries.push((name, value));
            if !self.take(",") {
                self.expect("}")?;
                return Ok(self.last_of_each(entries, path).into());
            }
        }
    }

    /// The object of these entries.
    fn last_of_each(&mut self, mut entries: Vec<(String, Value)>, path: &Path<'_>) -> Object {
        // The sort is stable.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut kept: Vec<(String, Value)> = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            if let Some((_, before)) = kept.pop_if(|(last, _)| *last == name) {
                let place = Path::Name(path, &name);
                self.repaired(&place, "the object has the name twice", "replaced by the last one", before);
            }
            kept.push((name, value));
        }
        Object::from_sorted(kept)
    }

    fn string(&mut self, path: &Path<'_>) -> Result<String, Trouble> {
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let token = self.cut(end.ok_or(Trouble::NotJson)? + 2);
        if let Ok(text) = serde_json::from_str(token) {
            return Ok(text);
        }
        let text = serde_json::from_str(&without_lone_surrogates(token)).map_err(|_| Trouble::NotJson)?;
        let bare = token.trim_matches('"');
        self.repaired(path, "an escape of half a character", "replaced by U+FFFD", bare.into());
        Ok(text)
    }

    fn number(&mut self, path: &Path<'_>) -> Result<Number, Trouble> {
        let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let end = self.rest.bytes().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
        let token = self.cut(end);
        // Its form is checked without its size.
        serde_json::from_str::<serde::de::IgnoredAny>(token).map_err(|_| Trouble::NotJson)?;
        let refused = |what: &str| {
            let reason = format!("{what} value={:?}", excerpt(token));
            Trouble::Invalid(Reject::from(Error::limit(reason).at(path.to_string())))
        };
        if token.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) || token == "-0" {
            return serde_json::from_str(token).map_err(|_| refused("a number beyond the range of a double"));
        }
        token.parse::<i128>().map(Number::from).map_err(|_| refused("an integer has at most 128 bits"))
    }
}

/// Replaces every escape of a lone surrogate. The text is a token of a string.
fn without_lone_surrogates(token: &str) -> String {
    let unit = |text: &str| text.strip_prefix("\\u").and_then(|rest| u16::from_str_radix(rest.get(..4)?, 16).ok());
    let mut out = String::with_capacity(token.len());
    let mut rest = token;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let (taken, is_lone) = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, false),
            (Some(0xd800..=0xdfff), _) => (6, true),
            (Some(_), _) => (6, false),
            // Any other escape, of one character of ASCII, or a wrong one, which stays wrong.
            (None, _) => (2, false),
        };
        let (escape, after) = escape.split_at_checked(taken).unwrap_or((escape, ""));
        out.push_str(if is_lone { "\\ufffd" } else { escape });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::laws::any_value;

    fn repaired(text: &str) -> (String, Vec<String>) {
        let Some(Ok((value, repairs))) = read(text) else { panic!("{text}") };
        let line = |repair: Repair| {
            format!("{} {} {}", repair.reject.field.unwrap_or_default(), repair.consequence, repair.before)
        };
        (value.to_string(), repairs.into_iter().map(line).collect())
    }

    #[test]
    fn what_is_changed_is_said() {
        for (text, value, repairs) in [
            ("{}", "{}", &[][..]),
            (r#"{"a":{"b":[1,NaN]}}"#, r#"{"a":{"b":[1,null]}}"#, &[r#"a.b[1] replaced by null "NaN""#]),
            (
                "[Infinity ,-Infinity]",
                "[null,null]",
                &[r#"[0] replaced by null "Infinity""#, r#"[1] replaced by null "-Infinity""#],
            ),
            (r#"{"a":"x\ud83d"}"#, "{\"a\":\"x\u{fffd}\"}", &[r#"a replaced by U+FFFD "x\\ud83d""#]),
            (
                r#"["\ude00\ud83d\ude00\\ud83d\u0041"]"#,
                "[\"\u{fffd}\u{1f600}\\\\ud83dA\"]",
                &[r#"[0] replaced by U+FFFD "\\ude00\\ud83d\\ude00\\\\ud83d\\u0041""#],
            ),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#, &["a replaced by the last one 1"]),
            ("-170141183460469231731687303715884105728", "-170141183460469231731687303715884105728", &[]),
            (" [ 1180591620717411303424 , 1e2 ] ", "[1180591620717411303424,100.0]", &[]),
        ] {
            let repairs: Vec<String> = repairs.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(repaired(text), (value.to_owned(), repairs), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in
            ["", "{", "[1,]", "{\"a\" 1}", "nan", "-NaN", "01", "1.", "\"a", "\"\\x\"", "\"\\ud8zz\"", "1 2", "-"]
        {
            assert!(read(text).is_none(), "{text}");
        }
        let deep = "[".repeat(1_000);
        for text in ["{\"n\":170141183460469231731687303715884105728}", "{\"n\":1e400}", &deep] {
            let Some(Err(reject)) = read(text) else { panic!("{text}") };
            assert_eq!(reject.kind, crate::ErrorKind::LimitExceeded, "{text}");
            assert_eq!(reject.field.as_deref(), text.starts_with('{').then_some("n"));
        }
    }

    proptest::proptest! {
        #[test]
        fn json_is_read_as_serde_reads_it(value in any_value()) {
            let text = value.to_string();
            let Some(Ok((read, repairs))) = read(&text) else { panic!("{text}") };
            proptest::prop_assert!(repairs.is_empty());
            // Of the two, only this one keeps integers beyond 64 bits.
            proptest::prop_assert!(value.to_string() == read.to_string(), "{} {}", read, text);
        }
    }
}
