//! Lists of texts as bytes. Texts are equal exactly if their bytes are, so they need not be decoded to be compared.

use xxhash_rust::xxh3::xxh3_64;

use super::value::ValueBytes;

/// Lists of at most this length are searched linearly, longer ones are sorted first.
const LINEAR_MAX: usize = 8;

/// Keeps the first of equal texts, and the order.
pub(crate) fn unique_texts(texts: &mut Vec<ValueBytes<'_>>) {
    let mut repeats = repeats(texts).into_iter();
    texts.retain(|_| !repeats.next().unwrap_or(false));
}

/// Whether no two of these texts are equal.
pub(super) fn are_unique(texts: &[ValueBytes<'_>]) -> bool {
    !repeats(texts).contains(&true)
}

/// For each text, whether an equal one precedes it.
fn repeats(texts: &[ValueBytes<'_>]) -> Vec<bool> {
    if texts.len() <= LINEAR_MAX { repeats_linear(texts) } else { repeats_sorted(texts) }
}

fn repeats_linear(texts: &[ValueBytes<'_>]) -> Vec<bool> {
    let is_repeat = |(at, text): (usize, &ValueBytes<'_>)| {
        texts.iter().take(at).any(|earlier| earlier.as_bytes() == text.as_bytes())
    };
    texts.iter().enumerate().map(is_repeat).collect()
}

/// Sorts by hash, so that texts are compared only where hashes collide. The worst case stays `n log n`.
fn repeats_sorted(texts: &[ValueBytes<'_>]) -> Vec<bool> {
    let keyed = |(text, at): (&ValueBytes<'_>, usize)| (xxh3_64(text.as_bytes()), at);
    let mut order: Vec<(u64, usize)> = texts.iter().zip(0..).map(keyed).collect();
    let bytes = |at: usize| texts.get(at).map(|text| text.as_bytes());
    order.sort_unstable_by(|(a, at), (b, bt)| a.cmp(b).then_with(|| bytes(*at).cmp(&bytes(*bt))).then(at.cmp(bt)));
    let mut repeats = vec![false; texts.len()];
    for ((earlier, before), (later, at)) in order.iter().zip(order.iter().skip(1)) {
        if earlier == later
            && bytes(*before) == bytes(*at)
            && let Some(repeat) = repeats.get_mut(*at)
        {
            *repeat = true;
        }
    }
    repeats
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
            prop_assert_eq!(repeats_linear(&values), repeats_sorted(&values));
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
