//! The lexer of expressions.

use crate::error::{Error, Result};
use crate::model::{Number, Value};

/// The keywords. They are case-insensitive, and none can be the name of a variable.
const WORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "in",
    "true",
    "false",
    "null",
    "properties",
    "user",
    "event",
    "floor",
    "round",
    "ceil",
    "string",
    "number",
    "boolean",
    "datetime",
    "defined",
    "any",
    "all",
];

/// The symbols as written, and as tokens. A longer symbol precedes its own prefix.
const SYMBOLS: &[(&str, &str)] = &[
    ("==", "=="),
    ("!=", "!="),
    ("<=", "<="),
    (">=", ">="),
    ("=", "=="),
    ("<", "<"),
    (">", ">"),
    ("+", "+"),
    ("-", "-"),
    ("*", "*"),
    ("/", "/"),
    ("%", "%"),
    ("(", "("),
    (")", ")"),
    ("[", "["),
    ("]", "]"),
    (",", ","),
];

/// How much of the text around an error is shown, in characters.
const NEAR_BEFORE: usize = 16;
const NEAR_AFTER: usize = 24;

#[derive(Debug, PartialEq)]
pub(super) enum Token<'t> {
    Number(Number),
    Text(String),
    Word(&'static str),
    Name(&'t str),
    Symbol(&'static str),
    End,
}

/// The position of a token in the text, in bytes. That of the end of the text is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) struct Spot<'t> {
    pub(super) token: Token<'t>,
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Tokens<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        // `at` is the end of a token, so it is a character boundary within the text, as are all spans.
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Consumes characters while `takes` accepts them.
    fn run(&mut self, mut takes: impl FnMut(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !takes(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// The next token; at the end of the text always `End`.
    pub(super) fn next(&mut self) -> Result<Spot<'t>> {
        self.run(char::is_whitespace);
        let start = self.at;
        let token = match self.rest().chars().next() {
            None => Token::End,
            Some(quote @ ('"' | '\'')) => Token::Text(self.quoted(quote)?),
            Some(c) if c.is_ascii_digit() => Token::Number(self.number()?),
            Some(c) if is_name(c) => {
                let name = self.run(|c| is_name(c) || c.is_ascii_digit());
                let word = WORDS.iter().find(|word| word.eq_ignore_ascii_case(name));
                word.map_or(Token::Name(name), |word| Token::Word(word))
            }
            Some(c) => {
                let Some((written, symbol)) = SYMBOLS.iter().find(|(written, _)| self.rest().starts_with(written))
                else {
                    return Err(self.error_at(start, &format!("found {c:?}, which has no meaning here")));
                };
                self.at += written.len();
                Token::Symbol(symbol)
            }
        };
        Ok(Spot { token, span: Span { start, end: self.at } })
    }

    fn number(&mut self) -> Result<Number> {
        let start = self.at;
        let mut last = '0';
        // The sign of an exponent is part of the number; other letters are an error.
        let written = self.run(|c| {
            let takes =
                c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || matches!((last, c), ('e' | 'E', '+' | '-'));
            last = c;
            takes
        });
        read_number(written).map_err(|why| self.no_number(Span { start, end: self.at }, why))
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let start = self.at;
        self.at += quote.len_utf8();
        let mut text = String::new();
        loop {
            text.push_str(self.run(|c| c != quote && c != '\\'));
            let end = self.at;
            let mut rest = self.rest().chars();
            match rest.next() {
                None => return Err(self.error_at(start, "found an unterminated string")),
                Some('\\') => {
                    let escape = self.escape(rest.as_str());
                    let (c, length) = escape.ok_or_else(|| {
                        self.error_at(end, r#"found `\`, expected one of \\ \" \' \/ \b \f \n \r \t \uXXXX"#)
                    })?;
                    text.push(c);
                    self.at += 1 + length;
                }
                Some(quote) => {
                    self.at += quote.len_utf8();
                    return Ok(text);
                }
            }
        }
    }

    /// The character that an escape denotes, and the length of the escape without its backslash.
    fn escape(&self, rest: &str) -> Option<(char, usize)> {
        let c = match rest.chars().next()? {
            c @ ('\\' | '"' | '\'' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = |at: usize| {
                    let digits = rest.get(at..at + 4)?;
                    let are_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                    are_hex.then(|| u16::from_str_radix(digits, 16).ok())?
                };
                let high = unit(1)?;
                if let Ok(c) = char::try_from(u32::from(high)) {
                    return Some((c, 5));
                }
                let low = rest.get(5..7).filter(|next| *next == "\\u").and_then(|_| unit(7))?;
                let c = char::decode_utf16([high, low]).next()?.ok()?;
                return Some((c, 11));
            }
            _ => return None,
        };
        Some((c, 1))
    }

    /// The text of a token, for error messages.
    pub(super) fn written(&self, span: Span) -> String {
        match self.text.get(span.start..span.end).unwrap_or_default() {
            "" => "the end".to_owned(),
            written => format!("`{}`", brief(written)),
        }
    }

    /// The error for this part of the text, which is no number.
    pub(super) fn no_number(&self, span: Span, why: NoNumber) -> Error {
        self.error_at(span.start, &format!("found {}, {}", self.written(span), why.what()))
    }

    /// An error at this position in the text.
    pub(super) fn error_at(&self, at: usize, what: &str) -> Error {
        let (before, after) = self.text.split_at_checked(at).unwrap_or((self.text, ""));
        let column = before.chars().count() + 1;
        let skipped = (column - 1).saturating_sub(NEAR_BEFORE);
        let near: String = before.chars().skip(skipped).chain(after.chars().take(NEAR_AFTER)).collect();
        Error::invalid(format!("{what} column={column} near={near:?}"))
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '$')
}

fn brief(text: &str) -> String {
    match text.char_indices().nth(NEAR_AFTER) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Why a text that looks like a number is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoNumber {
    /// Not a number, or not a finite one.
    Malformed,
    /// An integer of more than 128 bits, which a double would round.
    TooLarge,
}

impl NoNumber {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Malformed => "which is not a finite number",
            Self::TooLarge => "an integer of more than 128 bits",
        }
    }
}

/// Parses a number: one that is written as an integer is that integer, and has at most 128 bits; another one is the
/// nearest double. A leading `+`, and a dot without digits on one side, are accepted beyond JSON. The magnitude of the
/// smallest integer is read as well, so that a minus can precede it; see [`literal`].
pub(super) fn read_number(text: &str) -> Result<Number, NoNumber> {
    let is_decimal = text.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.' | b'e' | b'E'));
    if !is_decimal {
        return Err(NoNumber::Malformed);
    }
    if let Ok(integer) = text.parse::<i128>() {
        return Ok(integer.into());
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()) {
        let magnitude = text.parse().ok().filter(|magnitude| *magnitude == i128::MIN.unsigned_abs());
        return magnitude.map(Number::from_unsigned).ok_or(NoNumber::TooLarge);
    }
    let double = text.parse::<f64>().map_err(|_| NoNumber::Malformed)?;
    Number::try_from(double).map_err(|_| NoNumber::Malformed)
}

/// The number as a value that prints as a text that reads as it: an integer has at most 128 bits.
pub(super) fn literal(number: Number) -> Result<Value, NoNumber> {
    let fits = number.is_float() || number.as_i128().is_some();
    if fits { Ok(Value::Number(number)) } else { Err(NoNumber::TooLarge) }
}
