//! Names that do not exist: one answer in every command, an error that lists those that do.

use std::collections::BTreeSet;

use profiledb::{Db, Kind, Snapshot, View};

use crate::failure::Failure;

/// At most this many names are listed.
const LISTED_MAX: usize = 20;

/// Fails if there is no table of this kind. The table of users always counts as there.
pub(crate) fn table(db: &Db, kind: &Kind) -> Result<(), Failure> {
    match kind.group_key() {
        Some(key) if !db.kinds().contains(kind) => {
            Err(Failure::new(format!("no groups have this key key={key:?}; {}", groups(db))))
        }
        _ => Ok(()),
    }
}

/// The group keys of a store, for an error about another one.
pub(crate) fn groups(db: &Db) -> String {
    let kinds = db.kinds();
    let keys: Vec<&str> = kinds.iter().filter_map(Kind::group_key).collect();
    if keys.is_empty() {
        "the store has no groups at all".into()
    } else {
        format!("the store has groups of {}", list(keys))
    }
}

/// Fails if a name is not that of any event. The whole log is read, so this is for names that an output did not have.
pub(crate) fn event_names(snapshot: &Snapshot, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let answer = snapshot.join().threads(crate::open::cores()).group_by(["event.$event_name"]).answer()?;
    let exist: BTreeSet<&str> =
        answer.buckets().iter().filter_map(|bucket| bucket.by.first()?.as_ref()?.as_str()).collect();
    match names.iter().find(|name| !exist.contains(name.as_str())) {
        None => Ok(()),
        Some(name) if exist.is_empty() => {
            Err(Failure::new(format!("no events at all, and none of this name name={name:?}")))
        }
        Some(name) => {
            let exist = list(exist.into_iter().collect());
            Err(Failure::new(format!("no events have this name name={name:?}; the log has {exist}")))
        }
    }
}

/// Fails if a property is not that of any profile, given the properties that the output did not have. The table is only
/// read if there are any.
pub(crate) fn columns(view: &View, unseen: &BTreeSet<&str>) -> Result<(), Failure> {
    let mut missing = unseen.clone();
    let mut exist = BTreeSet::new();
    for row in view.iter() {
        if missing.is_empty() {
            return Ok(());
        }
        let (_, profile) = row?;
        for (name, _) in profile.properties() {
            missing.remove(name);
            if !exist.contains(name) {
                exist.insert(name.to_owned());
            }
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(name) => {
            let exist = list(exist.iter().map(String::as_str).collect());
            Err(Failure::new(format!("no profile has this property name={name:?}; {} has {exist}", view.kind())))
        }
    }
}

fn list(names: Vec<&str>) -> String {
    let mut text: Vec<String> = names.iter().take(LISTED_MAX).map(|name| format!("{name:?}")).collect();
    if names.len() > LISTED_MAX {
        text.push(format!("and {} more", names.len() - LISTED_MAX));
    }
    text.join(", ")
}
