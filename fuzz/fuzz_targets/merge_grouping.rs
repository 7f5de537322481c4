//! However an engine groups operands, the row comes out the same, byte for byte, and is the one of the plain fold.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use profiledb::laws::{Step, check_compose, check_grouping};
use profiledb::{Op, Update, Value};

#[derive(Arbitrary, Debug)]
enum Input {
    /// A history on bytes: updates in the row already, updates after them, and what the engine does with those.
    History { before: Vec<Update>, after: Vec<Update>, steps: Vec<Step> },
    /// A run of operators on one property, without bytes, composed in two halves.
    Property { state: Option<Value>, cut: u8, ops: Vec<Op> },
}

fuzz_target!(|input: Input| {
    let held = match &input {
        Input::History { before, after, steps } => check_grouping(before, after, steps),
        Input::Property { state, cut, ops } => check_compose(state.as_ref(), ops, usize::from(*cut) % (ops.len() + 1)),
    };
    if let Err(difference) = held {
        panic!("{difference}");
    }
});
