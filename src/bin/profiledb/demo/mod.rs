//! A guided tour on real data, in a store that goes away.

mod events;
mod profiles;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use indicatif::HumanCount;
use profiledb::ingest::WireRecord;
use profiledb::{Db, Durability, Profile, Value};

use crate::bar;
use crate::failure::Failure;
use crate::import::{self, RejectWriter, Summary};
use crate::input::Input;

const WELCOME: &str = "\
profiledb keeps one profile per user, and per company, team or anything else you group users by. Updates are
small: set this, add that, append to a list. Each is stored as it is, without reading the profile, and updates
are folded when a profile is read. It also stores events, and joins them with profiles at query time. This is a
tour on real data.
";

type Told = Result<(), Failure>;

/// Runs the tour.
pub(crate) fn run(keep: bool) -> Told {
    let dir_guard = tempfile::Builder::new().prefix("profiledb-demo-").tempdir()?;
    let dir = dir_guard.path().join("store");
    let db = Db::builder().durability(Durability::Buffered).open(&dir)?;
    say(WELCOME)?;
    profiles::tour(&db)?;
    events::tour(&db)?;
    db.close()?;
    if keep {
        // The path, which is printed below.
        let _ = dir_guard.keep();
        return farewell(Some(&dir));
    }
    dir_guard.close()?;
    farewell(None)
}

fn say(text: impl Display) -> Told {
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn count(number: u64) -> HumanCount {
    HumanCount(number)
}

/// Imports a file.
fn load_all<T: WireRecord + 'static>(db: &Db, name: &'static str, file: &'static [u8]) -> Result<Summary, Failure> {
    let bar = bar::of(Some(file.len() as u64), T::PLURAL);
    let input = Input::Bytes(name, file.into());
    let mut rejected = RejectWriter::stderr(&bar);
    let (sum, failure) = import::import::<T>(&db.importer(db.rules()), vec![input], &mut rejected, &bar);
    bar.finish_and_clear();
    failure.map_or(Ok(sum), Err)
}

fn found(profile: Option<Profile>) -> Result<Profile, Failure> {
    profile.ok_or_else(|| Failure::new("a profile of the tour is gone"))
}

fn show(profile: &Profile, name: &str) -> String {
    profile.get(name).map_or_else(|| "-".to_owned(), Value::to_string)
}

fn farewell(kept: Option<&Path>) -> Told {
    let db = match kept {
        Some(dir) => {
            say(format!("The store is kept at {}\n", dir.display()))?;
            format!(" --db {}", dir.display())
        }
        None => {
            say("The temporary store is removed. Try this next; --db DIR says where the store is:\n")?;
            String::new()
        }
    };
    say(format!("  profiledb update '{{\"$distinct_id\":\"you\",\"$add\":{{\"logins\":1}}}}'{db}"))?;
    say(format!("  profiledb get you{db}"))?;
    match kept {
        Some(_) => {
            say(format!("  profiledb list --columns commits,effort,areas --limit 10{db}"))?;
            say(format!("  profiledb events --days{db}"))?;
            say(format!("  profiledb join --by user.first_area,event.area --top 10{db}"))
        }
        None => say("  profiledb demo --keep     leaves you a store with all of the above to look around in"),
    }
}
