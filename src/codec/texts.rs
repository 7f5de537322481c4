//! Lists of texts as bytes. Texts are equal exactly if their bytes are, so they need not be decoded to be compared.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::seeded::SeededHash;
use super::value::ValueBytes;

/// Lists of at most this length are searched linearly, longer ones by hash.
const LINEAR_MAX: usize = 8;

/// Keeps the first of equal texts, and the order.
pub(crate) fn unique_texts(texts: &mut Vec<ValueBytes<'_>>) {
    let mut seen = SeenTexts::of_at_most(texts.len());
    texts.retain(|text| seen.insert(text.as_bytes()));
}

/// Whether no two of these texts are equal.
pub(super) fn are_unique(texts: &[ValueBytes<'_>]) -> bool {
    let mut seen = SeenTexts::of_at_most(texts.len());
    texts.iter().all(|text| seen.insert(text.as_bytes()))
}

/// The distinct texts of a list so far.
enum SeenTexts<'t> {
    Few(Vec<&'t [u8]>),
    Many(HashTable<&'t [u8]>, SeededHash),
}

impl<'t> SeenTexts<'t> {
    fn of_at_most(texts: usize) -> Self {
        if texts <= LINEAR_MAX {
            return Self::Few(Vec::with_capacity(texts));
        }
        Self::Many(HashTable::with_capacity(texts), SeededHash::random())
    }

    /// Adds a text, and returns whether it is the first that is equal to it.
    fn insert(&mut self, text: &'t [u8]) -> bool {
        match self {
            Self::Few(seen) if seen.contains(&text) => false,
            Self::Few(seen) => {
                seen.push(text);
                true
            }
            Self::Many(seen, hash) => match seen.entry(hash.of(text), |known| *known == text, |known| hash.of(known)) {
                Entry::Occupied(_) => false,
                Entry::Vacant(place) => {
                    place.insert(text);
                    true
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::write_text;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_of_equal_texts_is_kept(texts in prop::collection::vec("[a-c]{0,3}", 0..60)) {
            let encode = |text: &String| {
                let mut bytes = Vec::new();
                write_text(&mut bytes, text);
                bytes
            };
            let encoded: Vec<Vec<u8>> = texts.iter().map(encode).collect();
            let mut values: Vec<ValueBytes<'_>> = encoded.iter().map(|bytes| ValueBytes::new(bytes)).collect();
            let mut expected: Vec<&str> = Vec::new();
            for text in &texts {
                if !expected.contains(&text.as_str()) {
                    expected.push(text);
                }
            }
            prop_assert_eq!(are_unique(&values), expected.len() == texts.len());
            unique_texts(&mut values);
            prop_assert_eq!(values.iter().filter_map(|value| value.text()).collect::<Vec<_>>(), expected);
        }
    }
}
