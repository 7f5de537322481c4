//! A guided tour on real data, in a store that goes away.

mod events;
mod guide;
mod profiles;

use std::path::Path;

use profiledb::{Db, Durability};

use self::guide::{Told, say};

const WELCOME: &str = "\
profiledb keeps one profile per user, and per company, team or anything else you group users by. Updates are
small: set this, add that, append to a list. Each is stored as it is, without reading the profile, and updates
are folded when a profile is read. It also stores events, and joins them with profiles at query time. This is a
tour on real data.
";

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
