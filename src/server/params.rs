//! Parameters of a request: `application/x-www-form-urlencoded` pairs, of the query and of the body.
//!
//! Values are bytes. What is not UTF-8 must reach the parser of records as it is, to be refused.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Parameters in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, Vec<u8>)>);

impl Params {
    /// Those of a query or of a form.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut params = Self::default();
        params.extend(text);
        params
    }

    /// Adds those of a form.
    pub(super) fn extend(&mut self, text: &[u8]) {
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let name = decoded(parts.next().unwrap_or_default());
            let value = decoded(parts.next().unwrap_or_default());
            self.0.push((String::from_utf8_lossy(&name).into_owned(), value));
        }
    }

    /// The first of this name.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.values(name).next().map(String::from_utf8_lossy)
    }

    /// Removes those of this name, and returns the bytes of the first.
    pub(super) fn take(&mut self, name: &str) -> Option<Vec<u8>> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        let (_, value) = self.0.remove(at);
        self.0.retain(|(known, _)| known != name);
        Some(value)
    }

    /// Whether a flag is set: `1`, `2` or `true`, as clients send them.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(&*value, "1" | "2" | "true"))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// All, with values that are UTF-8, or the name of the first that is not.
    pub(super) fn texts(&self) -> impl Iterator<Item = Result<(&str, &str), &str>> {
        self.0.iter().map(|(name, value)| std::str::from_utf8(value).map(|text| (&**name, text)).map_err(|_| &**name))
    }
}

fn decoded(text: &[u8]) -> Vec<u8> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return text.to_vec();
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_bytes() {
        let mut params = Params::parse(b"data=eyJ%2b+x==&&verbose=1&bare&a%3Db=%ff&data=2&verbose=0");
        assert_eq!(params.take("data").unwrap(), b"eyJ+ x==");
        assert_eq!(params.take("data"), None);
        assert_eq!(params.get("verbose").unwrap(), "1");
        assert_eq!(params.get("bare").unwrap(), "");
        assert!(params.is_on("verbose") && !params.is_on("bare") && !params.is_on("strict"));
        let texts: Vec<_> = params.texts().collect();
        assert_eq!(texts, [Ok(("verbose", "1")), Ok(("bare", "")), Err("a=b"), Ok(("verbose", "0"))]);
    }
}
