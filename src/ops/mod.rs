//! **Start here.** The semantics of updates: a small algebra of operators with an associative composition.
//!
//! An [`Update`] is what a user sends: operators on properties of one profile. An [`Op`] is one operator on one
//! property. The state of a property is an `Option<Value>`, absent or present, and there are two functions:
//!
//! ```text
//! apply   : (Option<Value>, &Op) -> Option<Value>      what an operator means              apply.rs
//! compose : (Chain, Chain)       -> Chain              two runs of operators as one        chain.rs
//!
//! law     : applying f and then g  ==  applying compose(f, g)      for all states, f and g, byte for byte
//! ```
//!
//! During any flush or compaction, RocksDB may fold a prefix of a profile's history onto a row, or any run of it into
//! one operand. The law makes the profile independent of that grouping. It is callable code in `laws`, with the
//! feature of that name, and everything else in this crate relies on it.
//!
//! A [`Chain`] is a composed sequence of operators on one property in a small normal form. Three facts make it small.
//! Absence is a single state, so the result for it is one known state. `$set` and `$unset` make the state known
//! whatever it was. And no other operator changes the type of a present value: `$add` acts on numbers only, the list
//! operators on lists only, `$merge` on objects only, so each type has a lane of its own and lanes are independent.
//!
//! ```text
//! Chain  =  Known(state)                                 after a $set or $unset
//!        |  Open { absent: state,                        the result for an absent property
//!                  add, list, merge }                    the effect on a number, a list, an object
//! ```
//!
//! | then         | on nothing   | on `3`  | on `["a"]`          | on `{"x":1}`    | on `"text"`, null, bool |
//! |--------------|--------------|---------|---------------------|-----------------|-------------------------|
//! | `$set 5`     | `5`          | `5`     | `5`                 | `5`             | `5`                     |
//! | `$set_once 5`| `5`          | same    | same                | same            | same                    |
//! | `$add 5`     | `5`          | `8`     | same                | same            | same                    |
//! | `$append "a"`| `["a"]`      | same    | `["a","a"]`         | same            | same                    |
//! | `$union ["a","b"]`| `["a","b"]` | same | `["a","b"]`        | same            | same                    |
//! | `$remove "a"`| nothing      | same    | `[]`                | same            | same                    |
//! | `$merge {"y":2}`| `{"y":2}` | same    | same                | `{"x":1,"y":2}` | same                    |
//! | `$unset`     | nothing      | nothing | nothing             | nothing         | nothing                 |
//!
//! Whether the *profile* exists, and its `$last_seen` time, are composed in the same way: [`Presence`].
//!
//! Words: an *update* is what a user sends, an *op* one operator on one property, a *chain* composed ops on one
//! property, an *operand* the bytes of an update or of several composed, a *row* the bytes of a folded profile, and
//! a *profile* the decoded result.
//!
//! All functions here are pure: no encoding, no clock, no randomness. Limits are checked only by validation, `admit`
//! for updates and `event` for events (see [`Limits`](crate::Limits) for why).

mod admit;
mod apply;
mod chain;
mod event;
mod fold;
#[cfg(any(test, feature = "laws"))]
pub(crate) mod laws;
mod list;
mod note;
mod op;
mod operator;
mod presence;

pub use note::Note;
pub(crate) use op::Restored;
pub use op::{Change, Op, Update};

pub(crate) use admit::{is_reserved, json_bytes};
pub(crate) use chain::{Chain, Lanes};
pub(crate) use event::{admit_ahead, is_bad_id};
pub(crate) use list::{ListEdit, repeats};
pub(crate) use note::{Excess, Path, excerpt};
pub(crate) use operator::Operator;
pub(crate) use presence::{Life, Presence};
