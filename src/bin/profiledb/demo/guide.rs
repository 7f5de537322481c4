//! What both halves of the tour use: how it talks, and how it loads a file.

use std::fmt::Display;
use std::io::{self, Write};

use indicatif::HumanCount;
use profiledb::ingest::WireRecord;
use profiledb::{Db, Profile, Value};

use crate::bar;
use crate::failure::Failure;
use crate::format::Json;
use crate::import::{self, InputQueue, RecordReport, Summary};
use crate::input::Input;

/// The result of telling something.
pub(super) type Told = Result<(), Failure>;

pub(super) fn say(text: impl Display) -> Told {
    Ok(writeln!(io::stdout(), "{text}")?)
}

pub(super) fn count(number: u64) -> HumanCount {
    HumanCount(number)
}

/// Imports a file.
pub(super) fn load_all<T: WireRecord + 'static>(
    db: &Db,
    name: &'static str,
    file: &'static [u8],
) -> Result<Summary, Failure> {
    let bar = bar::of(Some(file.len() as u64), T::PLURAL);
    let input = Input::Bytes(name, file.into());
    let mut rejected = RecordReport::stderr(&bar);
    let (sum, failure) =
        import::import(&db.importer(db.rules()), &Json::<T>::new(), InputQueue::one(input), &mut rejected);
    bar.finish_and_clear();
    failure.map_or(Ok(sum), Err)
}

pub(super) fn found(profile: Option<Profile>) -> Result<Profile, Failure> {
    profile.ok_or_else(|| Failure::new("a profile of the tour is gone"))
}

pub(super) fn show(profile: &Profile, name: &str) -> String {
    profile.get(name).map_or_else(|| "-".to_owned(), Value::to_string)
}
