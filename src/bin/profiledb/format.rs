//! The formats of input files, each with its reader: what `import`, `track` and `import-csv` do not share.

use std::io::Read;
use std::marker::PhantomData;

use profiledb::ingest::{Csv, CsvRecords, Outcome, Records, Reject, Rules, WireRecord};
use profiledb::{Import, Importer};

use crate::failure::Failure;
use crate::input::Input;

/// Why each record is rejected, if it is.
pub(crate) type RejectIter = Box<dyn Iterator<Item = profiledb::Result<Option<Reject>>>>;

/// A format of input files.
pub(crate) trait InputFormat {
    /// What its records are called, in the plural.
    const PLURAL: &str;

    /// Starts an import.
    fn import(&self, importer: &Importer, reader: impl Read + Send + 'static) -> Import<'static>;

    /// Reads an input without a store.
    fn verdicts(&self, reader: Box<dyn Read>, rules: &Rules) -> RejectIter;

    /// Refuses inputs of which nothing must be stored.
    fn check(&self, _inputs: &[Input], _rules: &Rules) -> Result<(), Failure> {
        Ok(())
    }
}

/// Objects of JSON, in any layout.
pub(crate) struct Json<T>(PhantomData<T>);

impl<T> Json<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

fn verdict<T>(outcome: profiledb::Result<Outcome<T>>) -> profiledb::Result<Option<Reject>> {
    outcome.map(Result::err)
}

impl<T: WireRecord + 'static> InputFormat for Json<T> {
    const PLURAL: &str = T::PLURAL;

    fn import(&self, importer: &Importer, reader: impl Read + Send + 'static) -> Import<'static> {
        importer.read::<T, _>(reader)
    }

    fn verdicts(&self, reader: Box<dyn Read>, rules: &Rules) -> RejectIter {
        Box::new(Records::<_, T>::of(reader, rules.clone()).map(verdict))
    }
}

/// A file of fewer bytes has fewer rows than are allowed, since a row has one byte and a line break.
const UNCHECKED_BYTES: u64 = 2_000_000;

impl InputFormat for Csv {
    const PLURAL: &str = "rows";

    fn import(&self, importer: &Importer, reader: impl Read + Send + 'static) -> Import<'static> {
        importer.csv(reader, self)
    }

    fn verdicts(&self, reader: Box<dyn Read>, rules: &Rules) -> RejectIter {
        Box::new(CsvRecords::new(reader, self, rules.clone()).map(verdict))
    }

    /// A file with too many rows is refused as a whole. What can be read only once is imported as far as allowed.
    fn check(&self, inputs: &[Input], rules: &Rules) -> Result<(), Failure> {
        for input in inputs {
            let is_short = input.bytes().is_some_and(|bytes| bytes <= UNCHECKED_BYTES);
            let Some(file) = input.regular()? else { continue };
            let is_gzip = input.name().ends_with(".gz");
            if is_short && !is_gzip {
                continue;
            }
            let failure = self.verdicts(file, rules).find_map(Result::err);
            // Any other is reported in its place, after what precedes it is stored.
            if let Some(error) = failure.filter(profiledb::Error::is_limit_exceeded) {
                return Err(Failure::from(error).during(format!("cannot import {}", input.name())));
            }
        }
        Ok(())
    }
}
