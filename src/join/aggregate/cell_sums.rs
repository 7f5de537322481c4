//! Sums of a field of the event, by cell: numbers are added up as they are stored.

use std::rc::Rc;

use super::block_columns::LoadedColumn;
use super::selection::SelectedEvent;
use crate::codec::{ValueBytes, ValueKind};
use crate::model::Number;
use crate::segment::{Numbers, power};

/// Bits that the sum of a block may have more than its values.
const SUM_BITS: u32 = 17;

/// The sum of numbers: an integer times two to the power of an exponent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CellSum {
    pub(super) sum: i128,
    pub(super) exponent: i16,
    pub(super) has_floats: bool,
    pub(super) count: u64,
}

/// A field of the event that is summed up.
pub(super) enum CellNumbers {
    /// Decimals, as integers times two to the power of an exponent.
    Decimals(Rc<LoadedColumn>, i16),
    /// By the code of each event in a dictionary.
    Entries(Rc<LoadedColumn>, Vec<Option<(i128, bool)>>, i16),
}

impl CellNumbers {
    /// Those of a column, if sums of them fit into 128 bits.
    pub(super) fn new(stored: Rc<LoadedColumn>) -> Option<Self> {
        if stored.values.numbers().is_some() { decimals(stored) } else { entry_numbers(stored) }
    }

    pub(super) fn exponent(&self) -> i16 {
        match self {
            Self::Decimals(_, exponent) | Self::Entries(_, _, exponent) => *exponent,
        }
    }

    /// Adds the numbers of events to the sums of their cells, which have these many events.
    pub(super) fn add(&self, events: &[SelectedEvent], cells: &[u32], counts: &[u64], sums: &mut [CellSum]) {
        match self {
            Self::Decimals(column, exponent) => {
                let Some(numbers) = column.values.numbers() else { return };
                let decimals = Decimals { numbers, exponent: *exponent };
                match numbers.dense() {
                    Some(dense) if numbers.has_integers() != numbers.has_floats() => {
                        if numbers.has_floats() {
                            decimals.add_floats(dense, events, cells, sums);
                        } else {
                            decimals.add_integers(dense, events, cells, sums);
                        }
                        for (sum, count) in sums.iter_mut().zip(counts) {
                            sum.count = *count;
                            sum.has_floats = numbers.has_floats() && *count > 0;
                        }
                    }
                    _ => add_each(events, cells, sums, |event| {
                        let (integer, is_float) = numbers.get(event)?;
                        Some((decimals.scaled(integer, is_float), is_float))
                    }),
                }
            }
            Self::Entries(column, entries, _) => {
                let Some((_, codes)) = column.values.dictionary() else { return };
                add_each(events, cells, sums, |event| *entries.get(*codes.get(event)? as usize)?);
            }
        }
    }
}

/// Adds a number of each event, if it has one, to the sum of its cell.
#[inline]
fn add_each(
    events: &[SelectedEvent],
    cells: &[u32],
    sums: &mut [CellSum],
    number: impl Fn(usize) -> Option<(i128, bool)>,
) {
    for (selected, cell) in events.iter().zip(cells) {
        if let Some((number, is_float)) = number(selected.event as usize)
            && let Some(sum) = sums.get_mut(*cell as usize)
        {
            sum.sum += number;
            sum.count += 1;
            sum.has_floats |= is_float;
        }
    }
}

/// A column of decimals that are summed up in units of two to the power of an exponent.
#[derive(Clone, Copy)]
struct Decimals<'c> {
    numbers: &'c Numbers<'c>,
    exponent: i16,
}

impl Decimals<'_> {
    #[inline]
    fn scaled(self, integer: i64, is_float: bool) -> i128 {
        if is_float {
            return self.scaled_float(integer, power(self.numbers.exponent()));
        }
        let value = integer / 10_i64.pow(u32::from(self.numbers.exponent()));
        i128::from(value) << self.exponent.unsigned_abs()
    }

    #[inline]
    fn scaled_float(self, integer: i64, divisor: f64) -> i128 {
        let (mantissa, power) = parts(integer as f64 / divisor);
        i128::from(mantissa) << (power - i32::from(self.exponent)).max(0)
    }

    fn add_floats(self, dense: &[u32], events: &[SelectedEvent], cells: &[u32], sums: &mut [CellSum]) {
        let divisor = power(self.numbers.exponent());
        self.add_dense(dense, events, cells, sums, |integer| self.scaled_float(integer, divisor));
    }

    fn add_integers(self, dense: &[u32], events: &[SelectedEvent], cells: &[u32], sums: &mut [CellSum]) {
        let divisor = 10_i64.pow(u32::from(self.numbers.exponent()));
        let value = |integer: i64| if divisor == 1 { integer } else { integer / divisor };
        self.add_dense(dense, events, cells, sums, |integer| i128::from(value(integer)));
    }

    /// Adds the numbers of events, of which every one has one.
    #[inline]
    fn add_dense(
        self,
        dense: &[u32],
        events: &[SelectedEvent],
        cells: &[u32],
        sums: &mut [CellSum],
        number: impl Fn(i64) -> i128,
    ) {
        let least = self.numbers.bounds().0;
        for (selected, cell) in events.iter().zip(cells) {
            let above = dense.get(selected.event as usize).copied().unwrap_or_default();
            if let Some(sum) = sums.get_mut(*cell as usize) {
                sum.sum += number(least.wrapping_add(i64::from(above)));
            }
        }
    }
}

/// A float as an integer times two to the power of an exponent.
#[inline]
fn parts(float: f64) -> (i64, i32) {
    let bits = float.to_bits();
    let fraction = (bits & ((1 << 52) - 1)).cast_signed();
    let biased = i32::try_from((bits >> 52) & 0x7ff).unwrap_or_default();
    let (mantissa, exponent) = if biased == 0 { (fraction, -1_074) } else { (fraction | 1 << 52, biased - 1_075) };
    (if float.is_sign_negative() { -mantissa } else { mantissa }, exponent)
}

fn decimals(stored: Rc<LoadedColumn>) -> Option<CellNumbers> {
    let numbers = stored.values.numbers()?;
    let (least, greatest) = numbers.bounds();
    let bits = 64 - least.unsigned_abs().max(greatest.unsigned_abs()).leading_zeros();
    // The least float that is not 0 is one over the power of ten, and has 53 bits at most.
    let exponent = if numbers.has_floats() { parts(1.0 / power(numbers.exponent())).1 } else { 0 };
    let fits = if numbers.has_floats() { bits + 54 + SUM_BITS < 127 } else { bits + SUM_BITS < 127 };
    let exponent = i16::try_from(exponent).ok()?;
    fits.then_some(CellNumbers::Decimals(stored, exponent))
}

fn entry_numbers(stored: Rc<LoadedColumn>) -> Option<CellNumbers> {
    let (entries, _) = stored.values.dictionary()?;
    let number = |entry: &&[u8]| -> Option<Option<Number>> {
        let value = ValueBytes::new(entry);
        if entry.is_empty() || value.kind() != ValueKind::Number {
            return Some(None);
        }
        value.number().ok().map(Some)
    };
    let numbers: Vec<Option<Number>> = entries.iter().map(number).collect::<Option<_>>()?;
    let exponent = numbers.iter().flatten().map(|number| number.parts().1).min().unwrap_or_default().min(0);
    let scaled = |number: &Number| -> Option<(i128, bool)> {
        let (mantissa, own) = number.small_parts()?;
        let shift = u32::from(own.abs_diff(exponent));
        let bits = 128 - mantissa.unsigned_abs().leading_zeros();
        (bits + shift + SUM_BITS < 127).then(|| (mantissa << shift, number.is_float()))
    };
    let entries = numbers.iter().map(|number| number.as_ref().map(scaled));
    // One that does not fit, and not one that is no number.
    let entries: Vec<Option<(i128, bool)>> =
        entries.map(|entry| entry.map_or(Some(None), |scaled| scaled.map(Some))).collect::<Option<_>>()?;
    Some(CellNumbers::Entries(stored, entries, exponent))
}
