//! A column of numbers, which in JSON are decimals: integers, and what is an integer divided by a power of ten.
//!
//! ```text
//! | exponent: 1 | presence: 1 | floats: 1 | base | spread | bits, if present | bits, if float | packed d - base |
//! value     d / 10^exponent; of an integer the exponent divides it
//! presence  0 every event has a value; 1 those of the bits have
//! floats    0 all values are integers; 1 all are floats; 2 those of the bits are
//! ```
//!
//! `base` is a signed varint and the least d, `spread` a varint and the greatest d less the least. Bits are one for
//! each event, from the least significant of the first byte on. A float is the quotient rounded once, which gives back
//! the float that was read from the same decimal; every value is verified when the column is encoded.

use super::pack::{put_packed, read_packed};
use crate::codec::{Malformed, Read, Reader, put_signed, put_varint};

/// The greatest exponent.
const EXPONENT_MAX: u8 = 6;

/// Integers up to this one are floats exactly.
const EXACT_MAX: i64 = 1 << 53;

/// Tags of numbers in values.
const INTEGER: u8 = 3;
const FLOAT: u8 = 4;

/// A number of an event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plain {
    Integer(i64),
    Float(f64),
}

impl Plain {
    /// A value that is a number of 64 bits.
    fn read(value: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        match reader.u8().ok()? {
            INTEGER => Some(Self::Integer(i64::try_from(reader.signed().ok()?).ok()?)),
            FLOAT => {
                let exponent = i32::try_from(reader.varint().ok()?).ok()?;
                let mantissa = i64::try_from(reader.signed().ok()?).ok()?;
                (mantissa.abs() <= EXACT_MAX).then(|| Self::Float(mantissa as f64 * negative_power_of_two(exponent)))
            }
            _ => None,
        }
    }

    /// The integer that is divided by 10^exponent, if there is one.
    fn scaled(self, exponent: u8) -> Option<i64> {
        match self {
            Self::Integer(integer) => integer.checked_mul(10_i64.pow(u32::from(exponent))),
            Self::Float(float) => {
                let scaled = (float * power(exponent)).round();
                if scaled.abs() > EXACT_MAX as f64 {
                    return None;
                }
                #[expect(clippy::cast_possible_truncation, reason = "an integer of at most 53 bits")]
                let d = scaled as i64;
                (d as f64 / power(exponent) == float).then_some(d)
            }
        }
    }
}

/// 10^exponent.
#[inline]
pub(crate) fn power(exponent: u8) -> f64 {
    // Looked up, because the loop of `powi` takes longer than all else that is done to a number.
    const POWERS: [f64; EXPONENT_MAX as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
    POWERS.get(usize::from(exponent)).copied().unwrap_or_else(|| 10_f64.powi(i32::from(exponent)))
}

/// 2^-exponent.
#[inline]
fn negative_power_of_two(exponent: i32) -> f64 {
    match 1_023_i32.checked_sub(exponent).and_then(|biased| u64::try_from(biased).ok()) {
        Some(biased @ 1..=1_023) => f64::from_bits(biased << 52),
        _ => 2_f64.powi(-exponent),
    }
}

/// Appends the bytes of a float as a value, if it is less than 2^53.
fn put_float(out: &mut Vec<u8>, float: f64) {
    let bits = float.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let (mut mantissa, mut exponent) = match (bits >> 52) & 0x7ff {
        0 => (fraction, 1_074_u64),
        biased => (fraction | (1 << 52), 1_075_u64.saturating_sub(biased)),
    };
    if mantissa == 0 {
        exponent = 0;
    }
    let shift = u64::from(mantissa.trailing_zeros()).min(exponent);
    mantissa >>= shift;
    exponent -= shift;
    let mantissa = i64::try_from(mantissa).unwrap_or(i64::MAX);
    out.push(FLOAT);
    put_varint(out, exponent);
    put_signed(out, if bits >> 63 == 0 { mantissa } else { -mantissa });
}

/// A decoded column.
#[derive(Debug)]
pub(crate) struct Numbers<'c> {
    exponent: u8,
    base: i64,
    spread: u32,
    present: Option<&'c [u8]>,
    floats: Floats<'c>,
    deltas: Vec<u32>,
}

#[derive(Debug)]
enum Floats<'c> {
    None,
    All,
    Some(&'c [u8]),
}

/// Appends the column of these values, the empty string for none, unless they are not such numbers.
pub(super) fn put_numbers(out: &mut Vec<u8>, values: &[&[u8]]) -> Option<()> {
    let plain: Vec<Option<Plain>> = values
        .iter()
        .map(|value| if value.is_empty() { Some(None) } else { Plain::read(value).map(Some) })
        .collect::<Option<_>>()?;
    let scaled = (0..=EXPONENT_MAX).find_map(|exponent| {
        let scaled = plain.iter().flatten().map(|plain| plain.scaled(exponent)).collect::<Option<Vec<i64>>>()?;
        Some((exponent, scaled))
    });
    let (exponent, scaled) = scaled?;
    let (base, last) = (scaled.iter().min().copied()?, scaled.iter().max().copied()?);
    let spread = u32::try_from(last.checked_sub(base)?).ok()?;
    let all_present = scaled.len() == values.len();
    let is_float = |plain: &Option<Plain>| matches!(plain, Some(Plain::Float(_)));
    let floats = plain.iter().filter(|plain| is_float(plain)).count();
    let start = out.len();
    out.extend([
        exponent,
        u8::from(!all_present),
        if floats == 0 {
            0
        } else if floats == scaled.len() {
            1
        } else {
            2
        },
    ]);
    put_signed(out, base);
    put_varint(out, u64::from(spread));
    if !all_present {
        put_bits(out, plain.iter().map(Option::is_some));
    }
    if floats > 0 && floats < scaled.len() {
        put_bits(out, plain.iter().map(is_float));
    }
    let mut scaled = scaled.into_iter();
    let delta = |plain: &Option<Plain>| match plain {
        // It fits, for the greatest does.
        Some(_) => scaled.next().map_or(0, |d| u32::try_from(d.wrapping_sub(base)).unwrap_or(u32::MAX)),
        None => 0,
    };
    put_packed(out, &plain.iter().map(delta).collect::<Vec<u32>>());
    // What is stored is verified, not what was computed.
    let mut reader = Reader::new(out.get(start..).unwrap_or_default());
    let numbers = Numbers::read(&mut reader, values.len()).ok()?;
    let mut rendered = Vec::new();
    for (at, value) in values.iter().enumerate() {
        rendered.clear();
        numbers.write(at, &mut rendered);
        if rendered != *value {
            return None;
        }
    }
    Some(())
}

fn put_bits(out: &mut Vec<u8>, bits: impl Iterator<Item = bool>) {
    let (mut byte, mut count) = (0_u8, 0);
    for bit in bits {
        byte |= u8::from(bit) << count;
        count += 1;
        if count == 8 {
            out.push(byte);
            (byte, count) = (0, 0);
        }
    }
    if count > 0 {
        out.push(byte);
    }
}

#[inline]
fn bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

impl<'c> Numbers<'c> {
    pub(super) fn read(reader: &mut Reader<'c>, events: usize) -> Read<Self> {
        let exponent = reader.u8()?;
        let (presence, floats) = (reader.u8()?, reader.u8()?);
        if exponent > EXPONENT_MAX || presence > 1 || floats > 2 {
            return Err(Malformed("a column of numbers of an unknown form"));
        }
        let base = i64::try_from(reader.signed()?).map_err(|_| Malformed("a number out of range"))?;
        let spread = u32::try_from(reader.varint()?).map_err(|_| Malformed("a number out of range"))?;
        let bytes = events.div_ceil(8);
        let present = if presence == 1 { Some(reader.take(bytes)?) } else { None };
        let floats = match floats {
            0 => Floats::None,
            1 => Floats::All,
            _ => Floats::Some(reader.take(bytes)?),
        };
        let deltas = read_packed(reader, events)?;
        if deltas.iter().any(|delta| *delta > spread) || base.checked_add(i64::from(spread)).is_none() {
            return Err(Malformed("a number out of range"));
        }
        Ok(Self { exponent, base, spread, present, floats, deltas })
    }

    /// The power of ten that integers of this column are divided by.
    pub(crate) fn exponent(&self) -> u8 {
        self.exponent
    }

    /// The least and the greatest integer.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        (self.base, self.base.wrapping_add(i64::from(self.spread)))
    }

    /// Whether there are floats.
    pub(crate) fn has_floats(&self) -> bool {
        !matches!(self.floats, Floats::None)
    }

    /// Whether there are integers, or may be.
    pub(crate) fn has_integers(&self) -> bool {
        !matches!(self.floats, Floats::All)
    }

    /// What the integer of each event is more than the least one, if every event has a value.
    pub(crate) fn dense(&self) -> Option<&[u32]> {
        self.present.is_none().then_some(&self.deltas)
    }

    /// The integer of an event, which is to be divided, and whether the value is a float; none where it has no value.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<(i64, bool)> {
        if self.present.is_some_and(|present| !bit(present, at)) {
            return None;
        }
        let d = self.base.wrapping_add(i64::from(self.deltas.get(at).copied().unwrap_or_default()));
        let is_float = match self.floats {
            Floats::None => false,
            Floats::All => true,
            Floats::Some(bits) => bit(bits, at),
        };
        Some((d, is_float))
    }

    /// Appends the value of an event, or nothing.
    #[inline]
    pub(super) fn write(&self, at: usize, out: &mut Vec<u8>) {
        if let Some((d, is_float)) = self.get(at) {
            self.put(d, is_float, out);
        }
    }

    /// Appends the value of an integer that is to be divided.
    #[inline]
    pub(crate) fn put(&self, d: i64, is_float: bool, out: &mut Vec<u8>) {
        if is_float {
            put_float(out, d as f64 / power(self.exponent));
        } else {
            out.push(INTEGER);
            put_signed(out, d / 10_i64.pow(u32::from(self.exponent)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_exact() {
        assert!((0..=EXPONENT_MAX).all(|exponent| power(exponent) == 10_f64.powi(i32::from(exponent))));
        assert!((0..=1_100).all(|exponent| negative_power_of_two(exponent) == 2_f64.powi(-exponent)));
        assert_eq!(negative_power_of_two(1_022), f64::MIN_POSITIVE);
    }
}
