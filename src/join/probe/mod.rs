//! The build side and its probes: from the ids of a block of events to dictionary codes, by one strategy of three.
//!
//! | strategy | technique | good for |
//! |---|---|---|
//! | `lookup` | index nested-loop join in batches | few events, or few of many profiles |
//! | `merge` | sort-merge join, day by day | one or a few days, most profiles, any size |
//! | `hash` | hash join, partitioned by ranges of ids where the table is large | many days |
//!
//! ```text
//! prober           one strategy for one table       build_rows    projection of rows
//! dictionary       a dictionary per property        interner      codes for distinct strings
//! sorted           ids in order, galloping search   arena         byte strings back to back
//! ordinal          codes by the ordinals of columns stored           their stored form
//! codes_scan       the codes of a whole table      runtime_filter   semi-join reduction, skip scan
//! ```

mod arena;
mod build_rows;
mod codes_scan;
mod dictionary;
mod hash;
mod interner;
mod lookup;
mod merge;
mod ordinal;
mod prober;
mod runtime_filter;
mod sorted;
mod stored;

pub(super) use arena::Arena;
pub(super) use build_rows::{BuildRows, project};
pub(super) use codes_scan::{CodesContext, read_codes};
pub(super) use dictionary::{Dictionary, NO_ROW};
pub(super) use hash::{BuildSide, read_rows};
pub(super) use interner::{Interner, are_equal, hash, place};
pub(super) use lookup::LookupBatch;
pub(super) use merge::TableCursor;
pub(super) use ordinal::{Codes, CodesMemory, CodesPatch, OrdinalCodes};
pub(super) use prober::Prober;
pub(super) use runtime_filter::{FilterCursor, Probe, RuntimeFilter};
pub(super) use sorted::head;
pub(super) use stored::{decode_codes, encode_codes};
