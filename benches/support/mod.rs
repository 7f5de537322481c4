//! What the benches share: data that is the same in every run and on every machine.

use profiledb::{Object, Timestamp, Update, Value};

/// A generator of numbers that a seed determines (splitmix64).
pub(crate) struct Seeded(u64);

impl Seeded {
    /// A generator that always gives the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A lower-case word of so many letters.
    pub(crate) fn word(&mut self, letters: usize) -> String {
        (0..letters).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }

    /// A value like those that profiles hold: half of them strings, then numbers, then the rest.
    pub(crate) fn value(&mut self) -> Value {
        match self.below(12) {
            0..=4 => self.word(12).into(),
            5 => "2024-02-29T12:34:56".into(),
            6 | 7 => (self.below(100_000) as u64).into(),
            8 => Value::try_from(self.below(100_000) as f64 / 100.0).expect("finite"),
            9 => (self.below(2) == 0).into(),
            10 => (0..4).map(|_| self.word(6)).collect::<Vec<_>>().into(),
            _ => Object::from_iter([("city", self.word(8)), ("zip", self.word(5))]).into(),
        }
    }
}

/// The time of every update here.
pub(crate) fn time() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

/// The name of the property with this number; `property 0` is a counter and `property 1` a list, see [`profile`].
pub(crate) fn property(number: usize) -> String {
    format!("property {number:04}")
}

/// An update that makes a profile of so many properties: a counter, a list, and then what profiles hold.
pub(crate) fn profile(properties: usize) -> Update {
    let mut seeded = Seeded::new(properties as u64);
    let update = Update::new().at(time()).set(property(0), 1).set(property(1), vec!["first", "second"]);
    (2..properties).fold(update, |update, number| update.set(property(number), seeded.value()))
}

/// Borrows what a merge takes borrowed.
pub(crate) fn slices(owned: &[Vec<u8>]) -> Vec<&[u8]> {
    owned.iter().map(Vec::as_slice).collect()
}
