//! The names of the events of a block, dictionary-encoded.

use super::probe::{Interner, are_equal};
use crate::error::Result;

/// With more distinct names or bytes than this, a block that is filled again forgets them.
const NAMES_MAX: usize = 1_024;
const BYTES_MAX: usize = 256 << 10;

/// Names that are found without hashing them.
const RECENT: usize = 32;

/// Codes of distinct names.
#[derive(Debug, Default)]
pub(super) struct NameCodes {
    dictionary: Interner,
    /// The codes of the last names, by their length and their first and last bytes.
    recent: [Option<u32>; RECENT],
}

impl NameCodes {
    /// Bytes of all names together.
    #[inline]
    pub(super) fn size_bytes(&self) -> usize {
        self.dictionary.size_bytes()
    }

    /// Gives out the codes anew, if there are many names.
    pub(super) fn clear_if_many(&mut self) {
        if self.dictionary.len() > NAMES_MAX || self.size_bytes() > BYTES_MAX {
            self.dictionary.clear();
            self.recent = [None; RECENT];
        }
    }

    /// The name of a code.
    #[inline]
    pub(super) fn get(&self, code: u32) -> &[u8] {
        self.dictionary.get(code)
    }

    /// The code of a name, or none if the name is not text.
    ///
    /// # Errors
    ///
    /// As [`Interner::intern`].
    #[inline]
    pub(super) fn code_of(&mut self, name: &[u8]) -> Result<Option<u32>> {
        let byte = |byte: Option<&u8>| byte.copied().map_or(0, usize::from);
        let place = (name.len() ^ byte(name.first()) ^ (byte(name.last()) << 1)) % RECENT;
        match self.recent.get(place).copied().flatten() {
            Some(code) if are_equal(self.get(code), name) => Ok(Some(code)),
            _ => self.find_or_add(name, place),
        }
    }

    /// The code of a name that is known to be text.
    ///
    /// # Errors
    ///
    /// As [`Interner::intern`].
    pub(super) fn of_text(&mut self, name: &[u8]) -> Result<u32> {
        self.dictionary.intern(name)
    }

    fn find_or_add(&mut self, name: &[u8], place: usize) -> Result<Option<u32>> {
        let code = match self.dictionary.find(name) {
            Some(code) => code,
            None if std::str::from_utf8(name).is_err() => return Ok(None),
            None => self.dictionary.intern(name)?,
        };
        self.recent.get_mut(place).into_iter().for_each(|recent| *recent = Some(code));
        Ok(Some(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_their_names_until_they_are_many() {
        let mut codes = NameCodes::default();
        // Some share a place.
        let names: Vec<String> = (0..2_000).map(|number| format!("n{number}")).chain([String::new()]).collect();
        for round in 0..3 {
            for (number, name) in (0..).zip(&names) {
                let code = codes.code_of(name.as_bytes()).unwrap();
                assert_eq!((code, codes.get(number)), (Some(number), name.as_bytes()), "{round}");
                assert_eq!(codes.code_of(name.as_bytes()).unwrap(), code);
            }
        }
        // It is no name the second time either.
        assert_eq!([codes.code_of(&[0xff]).unwrap(), codes.code_of(&[0xff]).unwrap()], [None, None]);
        codes.clear_if_many();
        assert_eq!(codes.size_bytes(), 0);
        assert_eq!([b"", &b"n7"[..]].map(|name| codes.code_of(name).unwrap()), [Some(0), Some(1)]);
        codes.clear_if_many();
        assert_eq!(codes.code_of(b"n7").unwrap(), Some(1));
    }
}
