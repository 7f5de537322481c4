//! Operator precedence, from the loosest to the tightest.

pub(super) const OR: u8 = 1;
pub(super) const AND: u8 = 2;
pub(super) const NOT: u8 = 3;
pub(super) const COMPARE: u8 = 4;
pub(super) const ADD: u8 = 5;
pub(super) const MULTIPLY: u8 = 6;
pub(super) const NEGATE: u8 = 7;
pub(super) const OPERAND: u8 = 8;
