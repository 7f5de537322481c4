//! CSV, as Mixpanel's import of profiles takes it: rows that set the properties of profiles (upserts).
//!
//! ```text
//! bytes --gunzip--> encoding.rs --UTF-8--> rows.rs --fields--> columns.rs, cell.rs --update--> Record
//! ```
//!
//! What RFC 4180 and the documentation of the import leave open is a table in `docs/CSV.md`.

mod cell;
mod columns;
mod encoding;
mod options;
mod reader;
mod rows;
#[cfg(test)]
mod tests;

pub use cell::CellType;
pub use encoding::Encoding;
pub use options::Csv;
pub use reader::CsvRecords;
