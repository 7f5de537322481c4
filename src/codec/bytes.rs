//! A bounds-checked reader of bytes, and varints.
//!
//! Integers are varints in bincode's standard form, and only the shortest form is valid: up to 250 in one byte, else a
//! marker and the little-endian integer.
//!
//! ```text
//! 0..=250 | 251 u16 | 252 u32 | 253 u64 | 254 u128
//! ```

/// The error for bytes that are not a canonical encoding, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) type Read<T> = Result<T, Malformed>;

/// A position in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The unread bytes.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed("unexpected end of the bytes"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("unexpected end of the bytes"))?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Read<u8> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("unexpected end of the bytes"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// Reads the tag and version that every stored value begins with: the tag in the upper half of the byte, the
    /// version in the lower one.
    #[inline]
    pub(crate) fn version(&mut self, known: u8, otherwise: &'static str) -> Read<()> {
        match self.u8()? {
            version if version == known => Ok(()),
            version if version >> 4 == known >> 4 => Err(Malformed("written in an unknown version of the format")),
            _ => Err(Malformed(otherwise)),
        }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Read<u128> {
        match self.u8()? {
            small @ 0..=250 => Ok(u128::from(small)),
            marker => self.long_varint(marker),
        }
    }

    /// Not inlined, so that readers of lengths and counters inline to a few instructions.
    #[cold]
    fn long_varint(&mut self, marker: u8) -> Read<u128> {
        let (value, least) = match marker {
            251 => (u16::from_le_bytes(self.array()?).into(), 251),
            252 => (u32::from_le_bytes(self.array()?).into(), 1 << 16),
            253 => (u64::from_le_bytes(self.array()?).into(), 1 << 32),
            254 => (u128::from_le_bytes(self.array()?), 1 << 64),
            _ => return Err(Malformed("a varint with an unknown marker")),
        };
        if value < least { Err(Malformed("a varint not in its shortest form")) } else { Ok(value) }
    }

    #[inline]
    pub(crate) fn len(&mut self) -> Read<usize> {
        match self.u8()? {
            small @ 0..=250 => Ok(usize::from(small)),
            marker => usize::try_from(self.long_varint(marker)?).map_err(|_| Malformed("a length out of range")),
        }
    }

    /// A signed integer, as zigzag: 0, -1, 1, -2 are 0, 1, 2, 3.
    #[inline]
    pub(crate) fn signed(&mut self) -> Read<i128> {
        let zigzag = self.varint()?;
        // After the shift the value fits an i128.
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// Length-prefixed bytes.
    #[inline]
    pub(crate) fn slice(&mut self) -> Read<&'a [u8]> {
        let len = self.len()?;
        self.take(len)
    }

    /// Length-prefixed text.
    #[inline]
    pub(crate) fn str(&mut self) -> Read<&'a str> {
        str(self.slice()?)
    }
}

/// Bytes as text.
#[inline]
pub(crate) fn str(bytes: &[u8]) -> Read<&str> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("text that is not UTF-8"))
}

/// Checks that bytes are UTF-8. Most text is ASCII, for which the check is faster.
#[inline]
pub(crate) fn check_text(bytes: &[u8]) -> Read<()> {
    if bytes.is_ascii() { Ok(()) } else { str(bytes).map(|_| ()) }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, value: u64) {
    if let Ok(small) = u8::try_from(value)
        && small <= 250
    {
        out.push(small);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(251);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(252);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        out.push(253);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    // Zigzag: the cast reinterprets the bits.
    put_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

pub(crate) fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip_and_equal_those_of_bincode(value in any::<u64>(), shift in 0..64_u32) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(&out, &bincode::encode_to_vec(value, bincode::config::standard()).unwrap());
            prop_assert_eq!(Reader::new(&out).varint(), Ok(u128::from(value)));
            let mut out = Vec::new();
            put_signed(&mut out, value as i64);
            prop_assert_eq!(&out, &bincode::encode_to_vec(value as i64, bincode::config::standard()).unwrap());
            prop_assert_eq!(Reader::new(&out).signed(), Ok(i128::from(value as i64)));
        }
    }

    #[test]
    fn only_the_shortest_form_is_accepted() {
        for long in [&[251, 250, 0][..], &[252, 255, 255, 0, 0], &[253, 255, 255, 255, 255, 0, 0, 0, 0]] {
            assert_eq!(Reader::new(long).varint(), Err(Malformed("a varint not in its shortest form")));
        }
        assert!(Reader::new(&[251, 0]).varint().is_err());
        assert!(Reader::new(&[255]).varint().is_err());
    }
}
