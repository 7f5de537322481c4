//! What the attacked store contains: the commits that are written to it, and a plain fold of them, which is the oracle.

use std::collections::BTreeMap;

use profiledb::join::Measure;
use profiledb::{Batch, Builder, Change, Db, Durability, Event, Kind, Limits, Profile, ProfileKey, Timestamp, Update};
use serde_json::Value as Json;

/// The clock of every store here, later than all times.
const NOW: Timestamp = Timestamp::from_seconds(1_000_000_000);

/// How many commits make the compacted state: one for each of forty profiles.
pub(crate) const SETUP: usize = 40;

/// How many commits a round has. There are three rounds.
pub(crate) const ROUND: usize = 15;

/// How many commits a store was acknowledged.
pub(crate) const COMMITS: usize = SETUP + 3 * ROUND;

/// A user that is written and deleted between commits, to fill a memtable. It is not part of any state.
pub(crate) const FILLER: &str = "filler";

pub(crate) fn builder() -> Builder {
    Db::builder()
        .durability(Durability::Synced)
        .limits(Limits::unbounded())
        .block_cache_bytes(1 << 20)
        .memtable_bytes(64 << 10)
        .background_jobs(2)
        .clock(|| NOW)
}

/// Everything in a store, by name.
pub(crate) type State = BTreeMap<String, Json>;

/// A text that is different for each seed, and does not compress to nothing.
pub(crate) fn text(seed: usize, len: usize) -> String {
    let letter = |at: usize| char::from(b'a' + ((seed * 31 + at * at + at / 7) % 26) as u8);
    (0..len).map(letter).collect()
}

fn user(n: usize) -> ProfileKey {
    ProfileKey::user(format!("u{n:02}")).unwrap()
}

fn group(key: &str, n: usize) -> ProfileKey {
    ProfileKey::group(key, n.to_string()).unwrap()
}

/// The parts of one commit, from 1.
fn parts(n: usize) -> (Vec<(ProfileKey, Change)>, Vec<Event>) {
    let time = Timestamp::from_seconds(1_000 + n as i64);
    let id = n % SETUP;
    let mut changes = Vec::new();
    let mut change = |key, update: Update| changes.push((key, Change::Update(update.at(time))));
    let mut events = Vec::new();
    if n <= SETUP {
        let update = Update::new().set("name", text(n, 120)).add("visits", n as i64).append("tags", n as i64);
        change(user(id), update);
        change(group("company", n % 5), Update::new().add("size", 1));
    } else {
        change(user(id), Update::new().add("visits", 1).union("tags", [n as i64, 7]).set("last", text(n, 30)));
        if n.is_multiple_of(3) {
            change(group("company", n % 5), Update::new().append("seen", n as i64));
        }
        // A table that is made while the store is written to.
        if n > SETUP + ROUND + 3 {
            change(group("team", n % 4), Update::new().union("members", [n as i64]));
        }
    }
    if n.is_multiple_of(2) {
        let id = format!("u{:02}", id);
        events.push(Event::new("visit", id, time).id(n.to_string()).set("n", n as i64));
    }
    if n % ROUND == 7 {
        changes.push((user((n + 3) % SETUP), Change::Delete));
    }
    (changes, events)
}

/// One commit.
pub(crate) fn commit(n: usize) -> Batch {
    let (changes, events) = parts(n);
    let mut batch: Batch = changes.into_iter().collect();
    batch.extend(events);
    batch
}

/// The states after each number of commits, one more than are acknowledged.
pub(crate) fn states() -> Vec<State> {
    let mut profiles: BTreeMap<ProfileKey, Profile> = BTreeMap::new();
    let mut events = State::new();
    let mut first: BTreeMap<ProfileKey, Timestamp> = BTreeMap::new();
    let mut states = vec![State::new()];
    for n in 1..=COMMITS + 1 {
        let (changes, happened) = parts(n);
        for (key, change) in changes {
            let before = profiles.remove(&key);
            let after = match &change {
                Change::Delete => None,
                Change::Update(update) => Profile::update(before, update),
            };
            profiles.extend(after.map(|profile| (key, profile)));
        }
        for event in happened {
            first.entry(ProfileKey::user(event.distinct_id()).unwrap()).or_insert(event.time());
            events.insert(shown(&event), Json::Null);
        }
        let folded = profiles.iter().map(|(key, profile)| {
            let mut json = serde_json::to_value(profile).unwrap();
            if let Some(time) = first.get(key) {
                json["$mp_first_event_time"] = time.to_string().into();
            }
            (format!("{} {}", key.kind(), key.id()), json)
        });
        states.push(folded.chain(events.clone()).collect());
    }
    states
}

fn shown(event: &Event) -> String {
    format!("event {} {}", event.distinct_id(), serde_json::to_string(event).unwrap())
}

/// Everything that the store says it contains. Scans and point reads must agree.
pub(crate) fn read(db: &Db) -> profiledb::Result<State> {
    let mut state = State::new();
    for kind in [Kind::User].into_iter().chain(db.kinds()) {
        let view = db.table(&kind);
        for row in view.iter() {
            let (id, profile) = row?;
            if id == FILLER {
                continue;
            }
            // A derived time that cannot be read does not stop the read of its profile, which shows the damage. Reading
            // the time itself is the error.
            if profile.first_event_is_damaged() {
                let time = view.first_event_time(&id)?;
                state.insert(format!("{kind} {id} has a damaged time {time:?}"), Json::Null);
            }
            let again = view.get(&id)?;
            let is_same = again.is_some_and(|again| again.is_identical(&profile));
            state.insert(format!("{kind} {id}"), serde_json::to_value(profile).unwrap());
            if !is_same {
                state.insert(format!("{kind} {id} differs when read alone"), Json::Null);
            }
        }
    }
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for event in db.events().iter() {
        let event = event?;
        *counts.entry(event.distinct_id().to_owned()).or_default() += 1;
        state.insert(shown(&event), Json::Null);
    }
    // Joins read the columns of sealed events, and the ordinals of their users.
    let join = db.snapshot().join().group_by(["event.distinct_id"]).measure(Measure::Count);
    let joined = join.measure(Measure::Sum("event.n".parse()?)).answer()?;
    for (id, count) in counts {
        let found = joined.get(&[Some(id.as_str().into())]).map(|measures| measures[0].clone());
        if found != Some(count.into()) {
            state.insert(format!("events of {id} differ when joined: {found:?} of {count}"), Json::Null);
        }
    }
    Ok(state)
}
