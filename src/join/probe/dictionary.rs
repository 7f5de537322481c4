//! Dictionary encoding of the build side: a dictionary per property, and codes for the combinations of their values.
//!
//! What is joined onto an event is one dictionary code, that of a combination. A value is read only when somebody looks
//! at it (late materialization), and what a predicate or a group key makes of a combination is worked out once per
//! combination.
//!
//! ```text
//! code of a row      -> one code per property        -> bytes of a value
//! combinations[code]    properties[at].get(code)        none: not set
//! ```

use std::sync::Arc;

use super::interner::Interner;
use crate::codec::{self, ValueBytes};
use crate::error::Result;

/// The dictionary code of an id without a row.
pub(in crate::join) const NO_ROW: u32 = u32::MAX;

/// The dictionaries of the requested properties of one table.
#[derive(Debug, Default)]
pub(in crate::join) struct Dictionary {
    /// The distinct values of each property. The empty string means that it is not set.
    properties: Vec<Arc<Interner>>,
    /// For each combination, the code of each property; empty when there is only one property, whose codes serve.
    combinations: Vec<u32>,
    len: usize,
}

impl Dictionary {
    /// How many combinations there are. Their codes are less than that.
    pub(in crate::join) fn len(&self) -> usize {
        self.len
    }

    /// The code of a tuple, if it has one. `tuples` are those that the dictionary was made with.
    pub(in crate::join) fn find(&self, tuple: &[u8], tuples: &Interner) -> Option<u32> {
        match self.properties.as_slice() {
            [] => (self.len > 0).then_some(0),
            [only] => only.find(codec::tuple_values(tuple).next().unwrap_or_default()),
            _ => tuples.find(tuple),
        }
    }

    /// Memory in use, in bytes.
    pub(in crate::join) fn memory(&self) -> usize {
        let properties = self.properties.iter().map(|property| property.memory_with(0)).sum::<usize>();
        properties + self.combinations.capacity() * size_of::<u32>()
    }

    /// The codes of all combinations.
    pub(in crate::join) fn codes(&self) -> std::ops::Range<u32> {
        // They are codes of an interner, or one.
        0..u32::try_from(self.len).unwrap_or(u32::MAX)
    }

    /// A value of a combination, if it is set.
    #[inline]
    pub(in crate::join) fn value(&self, code: u32, at: usize) -> Option<ValueBytes<'_>> {
        let bytes = self.properties.get(at)?.get(self.property_code(code, at)?);
        if bytes.is_empty() { None } else { Some(ValueBytes::new(bytes)) }
    }

    /// The code that the value of a property has among those of this property.
    #[inline]
    pub(in crate::join) fn property_code(&self, code: u32, at: usize) -> Option<u32> {
        match self.properties.len() {
            _ if code == NO_ROW => None,
            1 => Some(code),
            width => self.combinations.get(code as usize * width + at).copied(),
        }
    }
}

/// Gives codes to tuples of values, and splits each distinct one into the dictionaries of its properties.
#[derive(Debug)]
pub(in crate::join) struct DictionaryBuilder {
    /// Tuples of more than one property, which are told apart by one look at all of them.
    tuples: Interner,
    properties: Vec<Interner>,
    combinations: Vec<u32>,
    any: bool,
}

impl DictionaryBuilder {
    /// For tuples of this many properties.
    pub(in crate::join) fn new(properties: usize) -> Self {
        let properties = (0..properties).map(|_| Interner::default()).collect();
        Self { tuples: Interner::default(), properties, combinations: Vec::new(), any: false }
    }

    /// The code of a tuple.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) when there are more than 4 GB of distinct values.
    #[inline]
    pub(in crate::join) fn code(&mut self, tuple: &[u8]) -> Result<u32> {
        self.any = true;
        match self.properties.as_mut_slice() {
            [] => Ok(0),
            [only] => only.intern(codec::tuple_values(tuple).next().unwrap_or_default()),
            properties => {
                let known = self.tuples.len();
                let code = self.tuples.intern(tuple)?;
                if self.tuples.len() > known {
                    // A projection has a value, or none, for each property.
                    for (property, value) in properties.iter_mut().zip(codec::tuple_values(tuple)) {
                        self.combinations.push(property.intern(value)?);
                    }
                }
                Ok(code)
            }
        }
    }

    /// Memory in use, in bytes, also while a value of this length is added.
    pub(in crate::join) fn memory_with(&self, len: usize) -> usize {
        self.tuples.memory_with(len)
            + self.properties.iter().map(|property| property.memory_with(len)).sum::<usize>()
            + self.combinations.capacity() * size_of::<u32>()
    }

    /// Bytes of all values together.
    pub(in crate::join) fn size_bytes(&self) -> usize {
        self.tuples.size_bytes() + self.properties.iter().map(Interner::size_bytes).sum::<usize>()
    }

    /// One that goes on with the codes of a dictionary. `tuples` are those that it was made with.
    pub(in crate::join) fn of(dictionary: &Dictionary, tuples: &Interner) -> Self {
        Self {
            tuples: tuples.copy(),
            properties: dictionary.properties.iter().map(|property| property.copy()).collect(),
            combinations: dictionary.combinations.clone(),
            any: dictionary.len > 0,
        }
    }

    /// As [`finish`](Self::finish), with the tuples, by code, where there is more than one property.
    pub(in crate::join) fn finish_with_tuples(mut self) -> (Arc<Dictionary>, Arc<Interner>) {
        let len = self.tuples.len();
        let tuples = Arc::new(std::mem::take(&mut self.tuples));
        (self.finish_of(len), tuples)
    }

    pub(in crate::join) fn finish(self) -> Arc<Dictionary> {
        let len = self.tuples.len();
        self.finish_of(len)
    }

    fn finish_of(self, tuples: usize) -> Arc<Dictionary> {
        let len = match self.properties.as_slice() {
            [] => usize::from(self.any),
            [only] => only.len(),
            _ => tuples,
        };
        let properties = self.properties.into_iter().map(Arc::new).collect();
        Arc::new(Dictionary { properties, combinations: self.combinations, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;
    use proptest::prelude::*;

    proptest! {
        /// Equal tuples have equal codes, others have others, and every value comes back.
        #[test]
        fn codes_stand_for_tuples(
            rows in prop::collection::vec(prop::collection::vec(prop::option::of(0..3_i32), 3), 0..40),
            width in 0..4_usize,
        ) {
            let rows: Vec<&[Option<i32>]> = rows.iter().map(|row| &row[..width]).collect();
            let mut builder = DictionaryBuilder::new(width);
            let mut codes = Vec::new();
            for row in &rows {
                let mut tuple = Vec::new();
                for value in *row {
                    match value {
                        Some(value) => codec::project_value(&Value::from(*value), &mut tuple),
                        None => tuple.push(0),
                    }
                }
                codes.push(builder.code(&tuple).unwrap());
            }
            let dictionary = builder.finish();
            for (row, code) in rows.iter().zip(&codes) {
                prop_assert!((*code as usize) < dictionary.len());
                for (at, value) in row.iter().enumerate() {
                    let found = dictionary.value(*code, at).map(|value| value.decode().unwrap());
                    prop_assert_eq!(found, value.map(Value::from));
                    prop_assert!(dictionary.value(NO_ROW, at).is_none());
                }
                for (other, of_other) in rows.iter().zip(&codes) {
                    prop_assert_eq!(row == other, code == of_other);
                }
            }
        }
    }
}
