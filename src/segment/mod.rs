//! Column segments: the events of a day as columns, from which the same rows can be rebuilt.
//!
//! A segment has blocks of at most 65,536 events. A block covers a range of keys of rows, and the blocks of a segment
//! ascend, so that rows are rebuilt in the order of the log with the memory of one block. Inside of a block events are
//! in the order of the ordinals of their users, then of time: the events of a user are a run, and what is known of
//! users is read in ascending order.
//!
//! **The law: rows, block, rows gives the same keys and the same bytes.** It is checked whenever a block is encoded.
//!
//! ```text
//! segments   day: 4 | number: 4                            ->  header: what blocks there are, and their columns
//! chunks     day: 4 | number: 4 | column | block: 4        ->  chunk: one column of one block
//!
//! key       keys of both                      pack      bit packing (frame of reference, 128 integers a pack)
//! header    headers                           runs      ordinals of users, run-length encoded
//! column    encodings of a column of values   number    decimals as packed integers
//! builder   rows to a block                   rows      a block to rows
//! columns   a block by its columns
//! ordinals  ordinals of users, and their ids  edit      typed writes of changes of segments
//! ordinal_index  the same in memory
//! ```
//!
//! This room speaks bytes: it does not see the engine, and commits nothing. Decoders do not trust their input: what a
//! chunk makes them allocate is bounded by the events of a block and by the bytes that are there.

mod builder;
mod column;
mod columns;
mod edit;
mod header;
mod key;
#[cfg(any(test, feature = "laws"))]
pub(crate) mod laws;
mod number;
mod ordinal_index;
mod ordinals;
mod pack;
mod rows;
mod runs;
#[cfg(test)]
mod tests;

pub(crate) use builder::{BLOCK_BYTES_MAX, BlockBuilder, EncodedBlock};
pub(crate) use columns::{BlockColumn, BlockTimes};
pub(crate) use edit::{KeyList, RowDeletion, SealedRows, SegmentEdit};
pub(crate) use header::{BlockSummary, SealedBlock, SegmentHeader};
pub(crate) use key::{BLOCK_EVENTS_MAX, ColumnId, SegmentKey, chunk_key};
pub(crate) use number::{Numbers, power};
pub(crate) use ordinal_index::{IndexedIds, KnownOrdinal, OrdinalIndex, OrdinalStamp};
pub(crate) use ordinals::{OrdinalIds, encode_ordinal, ordinal_of_id};
pub(crate) use rows::{BlockDamage, BlockRows, MISSING};
pub(crate) use runs::{RunPacks, UserRuns};
