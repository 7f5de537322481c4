//! The numbered cases of docs/CONTRACT.md, from the objects on the wire to the profile.
//!
//! Each case is a test of the pure core: a plain fold of its updates. With the store, one more test runs all of them on
//! one store along three more paths, which must agree with the fold down to the float flags of numbers: unflushed,
//! flushed and compacted after each update, and everything in one batch. Limits on profiles, and events, belong to the
//! store, so the cases about them have a store each.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(feature = "rocksdb")]
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use profiledb::ingest::{Endpoint, Rules, parse_request};
#[cfg(feature = "rocksdb")]
use profiledb::{Batch, Db, Durability, Event};
use profiledb::{Change, ErrorKind, Limits, Profile, ProfileKey, Timestamp, Update, Value};

/// Cases with a different result here, and the reason. Each is in the table of docs/CONTRACT.md as well.
const DECIDED_OTHERWISE: &[(u8, &str)] =
    &[(60, "no address is looked up: `$ip` is accepted, has no effect and is never stored")];

/// Cases that cannot be run yet, with the reason.
const NOT_YET: &[(u8, &str)] = &[];

/// The cases of this file: operators, groups, metadata. Later ones are about the server and about joins.
const CASES: std::ops::RangeInclusive<u8> = 1..=70;

// ---------------------------------------------------------------------------------------------------------------------
// How a case is run

/// Requests that are sent one after the other.
struct Sent {
    requests: Vec<Request>,
    rules: Rules,
    /// The profile that the case is about.
    subject: ProfileKey,
}

/// One body: an update object, or an array of them.
struct Request {
    body: String,
    /// When it arrives.
    now: Timestamp,
}

/// The result: the profiles, and the objects that were refused.
#[derive(Default)]
struct Outcome {
    profiles: BTreeMap<ProfileKey, Profile>,
    refused: Vec<Refused>,
}

/// One object that was refused, in which request, at which field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Refused {
    request: usize,
    field: Option<String>,
    reason: String,
}

/// Later than all times in the cases.
fn now() -> Timestamp {
    Timestamp::parse("2025-01-01T00:00:00").unwrap()
}

/// The object of a user: `$token` T, `$distinct_id` d.
fn user(body: &str) -> String {
    format!(r#"{{"$token":"T","$distinct_id":"d",{body}}}"#)
}

/// The object of a group: key `company`, id `mixpanel`.
fn group(body: &str) -> String {
    format!(r#"{{"$token":"T","$group_key":"company","$group_id":"mixpanel",{body}}}"#)
}

/// Objects of the user d, sent one by one to the endpoint of users.
fn users(bodies: &[&str]) -> Sent {
    let objects: Vec<String> = bodies.iter().map(|body| user(body)).collect();
    sent(Endpoint::Engage, ProfileKey::user("d").unwrap(), &objects)
}

/// Objects of the company mixpanel, sent one by one to the endpoint of groups.
fn groups(bodies: &[&str]) -> Sent {
    let objects: Vec<String> = bodies.iter().map(|body| group(body)).collect();
    sent(Endpoint::Groups, ProfileKey::group("company", "mixpanel").unwrap(), &objects)
}

fn sent(endpoint: Endpoint, subject: ProfileKey, bodies: &[String]) -> Sent {
    let requests = bodies.iter().map(|body| Request { body: body.clone(), now: now() }).collect();
    Sent { requests, rules: Rules::new().endpoint(endpoint), subject }
}

impl Sent {
    fn rules(mut self, change: impl FnOnce(Rules) -> Rules) -> Self {
        self.rules = change(self.rules);
        self
    }

    fn strict(self) -> Self {
        self.rules(|rules| rules.strict(true))
    }

    /// When the requests arrive.
    fn arriving(mut self, times: &[&str]) -> Self {
        assert_eq!(times.len(), self.requests.len());
        for (request, time) in self.requests.iter_mut().zip(times) {
            request.now = Timestamp::parse(time).unwrap();
        }
        self
    }

    /// Nothing is refused, and the profile has these properties.
    #[track_caller]
    fn is(&self, properties: &str) {
        self.come(Some(properties), &[]);
    }

    /// Nothing is refused, and there is no profile.
    #[track_caller]
    fn is_absent(&self) {
        self.come(None, &[]);
    }

    /// The last request is refused for this reason, and the profile has these properties.
    #[track_caller]
    fn refuses(&self, field: Option<&str>, reason: &str, properties: Option<&str>) {
        self.come(properties, &[(self.requests.len() - 1, field, reason)]);
    }

    /// The time of the last update is this, with any properties.
    #[track_caller]
    fn last_seen(&self, time: Option<&str>) {
        let outcome = self.run();
        let seen = outcome.profiles.get(&self.subject).and_then(Profile::last_seen).map(|time| time.to_string());
        assert_eq!(seen.as_deref(), time);
        assert_eq!(outcome.refused, []);
    }

    /// These objects are refused and no others, and the profile has these properties, or is none.
    #[track_caller]
    fn come(&self, properties: Option<&str>, refused: &[(usize, Option<&str>, &str)]) {
        let outcome = self.run();
        let text = outcome.profiles.get(&self.subject).map(properties_of);
        assert_eq!(text, properties.map(canonical));
        let expected: Vec<Refused> = refused
            .iter()
            .map(|(request, field, reason)| {
                let (field, reason) = (field.map(str::to_owned), (*reason).to_owned());
                Refused { request: *request, field, reason }
            })
            .collect();
        assert_eq!(outcome.refused, expected);
    }

    /// The plain fold, and on the store of this thread, if there is one, every other path, which must agree.
    #[track_caller]
    fn run(&self) -> Outcome {
        let plain = self.run_plain();
        #[cfg(feature = "rocksdb")]
        STORE.with_borrow(|store| {
            if let Some(store) = store {
                self.run_paths(store, &plain);
            }
        });
        plain
    }

    #[cfg(feature = "rocksdb")]
    #[track_caller]
    fn run_paths(&self, store: &Store, plain: &Outcome) {
        let arrive_together = self.requests.windows(2).all(|pair| pair[0].now == pair[1].now);
        for path in [Path::Memory, Path::Files, Path::OneBatch] {
            if matches!(path, Path::OneBatch) && !arrive_together {
                continue;
            }
            store.clear();
            let stored = self.run_store(store, path);
            assert_eq!(stored.refused, plain.refused, "{path:?} refuses other objects");
            assert_eq!(stored.profiles, plain.profiles, "{path:?} has other profiles");
            let identical = stored.profiles.iter().all(|(key, profile)| profile.is_identical(&plain.profiles[key]));
            assert!(identical, "{path:?} has other float flags");
        }
    }

    /// The changes of each request, and the objects that were refused.
    fn parse(&self) -> (Vec<Vec<(ProfileKey, Change)>>, Vec<Refused>) {
        let mut refused = Vec::new();
        let mut changes = Vec::new();
        for (at, request) in self.requests.iter().enumerate() {
            let mut taken = Vec::new();
            for outcome in parse_request(request.body.as_bytes(), &self.rules).unwrap() {
                match outcome {
                    Ok(record) => taken.push((record.key, record.change)),
                    Err(reject) => {
                        let field = reject.field.map(String::from);
                        refused.push(Refused { request: at, field, reason: reject.reason });
                    }
                }
            }
            changes.push(taken);
        }
        (changes, refused)
    }

    fn run_plain(&self) -> Outcome {
        let (requests, refused) = self.parse();
        let mut outcome = Outcome { refused, ..Outcome::default() };
        for (request, changes) in self.requests.iter().zip(requests) {
            for (key, change) in changes {
                let before = outcome.profiles.remove(&key);
                let after = match change {
                    Change::Delete => None,
                    Change::Update(update) if update.time().is_none() => {
                        Profile::update(before, &update.at(request.now))
                    }
                    Change::Update(update) => Profile::update(before, &update),
                };
                outcome.profiles.extend(after.map(|profile| (key, profile)));
            }
        }
        outcome
    }

    #[cfg(feature = "rocksdb")]
    fn run_store(&self, store: &Store, path: Path) -> Outcome {
        let (requests, refused) = self.parse();
        if matches!(path, Path::OneBatch) {
            store.arrive(self.requests[0].now);
            store.db.write(requests.into_iter().flatten().collect()).unwrap();
            return Outcome { profiles: store.profiles(), refused };
        }
        for (request, changes) in self.requests.iter().zip(requests) {
            store.arrive(request.now);
            for change in changes {
                store.db.write(Batch::from_iter([change])).unwrap();
                if matches!(path, Path::Files) {
                    store.db.flush().unwrap();
                    store.db.compact().unwrap();
                }
            }
        }
        Outcome { profiles: store.profiles(), refused }
    }
}

#[cfg(feature = "rocksdb")]
#[derive(Clone, Copy, Debug)]
enum Path {
    Memory,
    Files,
    OneBatch,
}

#[cfg(feature = "rocksdb")]
thread_local! {
    /// The store on which the cases of this thread run, besides the plain fold.
    static STORE: std::cell::RefCell<Option<Store>> = const { std::cell::RefCell::new(None) };
}

/// A store in a temporary directory, with a manual clock.
#[cfg(feature = "rocksdb")]
struct Store {
    db: Db,
    clock: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

#[cfg(feature = "rocksdb")]
impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(now().seconds()));
        let hand = Arc::clone(&clock);
        let db = Db::builder()
            .durability(Durability::Buffered)
            .block_cache_bytes(1 << 20)
            .clock(move || Timestamp::from_seconds(hand.load(Ordering::Relaxed)))
            .open(dir.path().join("store"))
            .unwrap();
        Self { db, clock, _dir: dir }
    }

    fn arrive(&self, at: Timestamp) {
        self.clock.store(at.seconds(), Ordering::Relaxed);
    }

    /// Deletes all profiles.
    fn clear(&self) {
        let deletes = self.profiles().into_keys().map(|key| (key, Change::Delete));
        self.db.write(deletes.collect()).unwrap();
    }

    /// The profiles that a scan finds and `get` confirms.
    fn profiles(&self) -> BTreeMap<ProfileKey, Profile> {
        let mut profiles = BTreeMap::new();
        for kind in self.db.kinds() {
            let table = self.db.table(&kind);
            for row in table.iter() {
                let (id, profile) = row.unwrap();
                assert_eq!(table.get(&id).unwrap().as_ref(), Some(&profile));
                profiles.insert(ProfileKey::new(kind.clone(), id).unwrap(), profile);
            }
        }
        profiles
    }

    /// Sends one object of the user d.
    fn send(&self, body: &str) -> profiledb::Result<()> {
        let mut outcomes = parse_request(user(body).as_bytes(), &Rules::new()).unwrap();
        let record = outcomes.remove(0).unwrap();
        self.db.write(Batch::from_iter([(record.key, record.change)]))
    }

    fn subject(&self) -> String {
        self.db.users().get("d").unwrap().map_or_else(String::new, |profile| properties_of(&profile))
    }
}

/// The properties as text, without `$last_seen`. Texts differ where equality does not look: `1` is not `1.0`.
fn properties_of(profile: &Profile) -> String {
    assert_eq!(profile.quarantine().len(), 0);
    Value::from(profile.properties().clone()).to_string()
}

fn canonical(json: &str) -> String {
    serde_json::from_str::<Value>(json).unwrap_or_else(|error| panic!("{error} in {json}")).to_string()
}

const ROLES: &str = r#""$set":{"roles":["sales","engineer"]}"#;
const LEGAL: &str = r#""$append":{"roles":"legal"}"#;
const TEXT: &str = r#""$set":{"s":"text"}"#;
const CHARGE: &str = r#""$append":{"$transactions":{"$amount":25}}"#;
const A_IS_1: &str = r#""$set":{"a":1}"#;
const MISSING: (Option<&str>, &str) = (Some("$distinct_id"), "$distinct_id, missing or empty");

// ---------------------------------------------------------------------------------------------------------------------
// Operators

#[test]
fn case_01_set_overwrites() {
    users(&[r#""$set":{"plan":"Premium"}"#, r#""$set":{"plan":"Enterprise","company":"mixpanel"}"#])
        .is(r#"{"plan":"Enterprise","company":"mixpanel"}"#);
}

#[test]
fn case_02_set_once_keeps_what_is_there() {
    users(&[r#""$set":{"name":"Sam"}"#, r#""$set_once":{"name":"Samantha","email":"sam@mail.com"}"#])
        .is(r#"{"name":"Sam","email":"sam@mail.com"}"#);
}

#[test]
fn case_03_append_goes_to_the_end() {
    users(&[ROLES, LEGAL]).is(r#"{"roles":["sales","engineer","legal"]}"#);
}

#[test]
fn case_04_append_keeps_repeats() {
    users(&[ROLES, LEGAL, LEGAL]).is(r#"{"roles":["sales","engineer","legal","legal"]}"#);
}

#[test]
fn case_05_union_with_what_is_there_changes_nothing() {
    users(&[ROLES, r#""$union":{"roles":["engineer"]}"#]).is(r#"{"roles":["sales","engineer"]}"#);
}

#[test]
fn case_06_union_adds_what_is_missing_at_the_end() {
    users(&[ROLES, r#""$union":{"roles":["engineer"]}"#, r#""$union":{"roles":["legal"]}"#])
        .is(r#"{"roles":["sales","engineer","legal"]}"#);
}

#[test]
fn case_07_union_takes_a_bare_scalar() {
    users(&[ROLES, r#""$union":{"roles":["engineer"]}"#, r#""$union":{"roles":"legal"}"#])
        .is(r#"{"roles":["sales","engineer","legal"]}"#);
}

#[test]
fn case_08_add_counts_up_and_down() {
    users(&[r#""$set":{"age":25}"#, r#""$add":{"age":2}"#, r#""$add":{"age":-5}"#]).is(r#"{"age":22}"#);
}

#[test]
fn case_09_add_begins_at_zero() {
    users(&[A_IS_1, r#""$add":{"n":-3}"#]).is(r#"{"a":1,"n":-3}"#);
}

#[test]
fn case_10_add_creates() {
    users(&[r#""$add":{"n":1}"#]).is(r#"{"n":1}"#);
}

#[test]
fn case_11_set_creates() {
    users(&[A_IS_1]).is(r#"{"a":1}"#);
}

#[test]
fn case_12_set_once_creates() {
    users(&[r#""$set_once":{"a":1}"#]).is(r#"{"a":1}"#);
}

#[test]
fn case_13_union_creates() {
    users(&[r#""$union":{"l":["a"]}"#]).is(r#"{"l":["a"]}"#);
}

#[test]
fn case_14_append_creates() {
    users(&[r#""$append":{"l":"a"}"#]).is(r#"{"l":["a"]}"#);
}

#[test]
fn case_15_remove_creates_nothing() {
    users(&[r#""$remove":{"l":"a"}"#]).is_absent();
}

#[test]
fn case_16_unset_creates_nothing() {
    users(&[r#""$unset":["x"]"#]).is_absent();
}

#[test]
fn case_17_append_leaves_what_is_no_list() {
    users(&[TEXT, r#""$append":{"s":"x"}"#]).is(r#"{"s":"text"}"#);
}

#[test]
fn case_18_union_leaves_what_is_no_list() {
    users(&[TEXT, r#""$union":{"s":["x"]}"#]).is(r#"{"s":"text"}"#);
}

#[test]
fn case_19_remove_leaves_what_is_no_list() {
    users(&[TEXT, r#""$remove":{"s":"text"}"#]).is(r#"{"s":"text"}"#);
}

#[test]
fn case_20_add_leaves_what_is_no_number() {
    users(&[r#""$set":{"s":"5"}"#, r#""$add":{"s":2}"#]).is(r#"{"s":"5"}"#);
}

#[test]
fn case_21_add_of_a_number_as_text() {
    let sent = || users(&[r#""$set":{"n":3}"#, r#""$add":{"n":"5"}"#]);
    sent().is(r#"{"n":8}"#);
    sent().strict().refuses(Some("$add.n"), r#"$add takes a number value="5""#, Some(r#"{"n":3}"#));
}

#[test]
fn case_22_add_of_other_text() {
    let sent = || users(&[r#""$set":{"n":3}"#, r#""$add":{"n":"bad"}"#]);
    sent().is(r#"{"n":3}"#);
    sent().strict().refuses(Some("$add.n"), r#"$add takes a number value="bad""#, Some(r#"{"n":3}"#));
}

#[test]
fn case_23_add_of_several_names_and_fractions() {
    users(&[r#""$set":{"n":1,"m":2}"#, r#""$add":{"n":0.5,"m":1}"#]).is(r#"{"n":1.5,"m":3}"#);
}

#[test]
fn case_24_remove_of_what_is_not_there() {
    users(&[r#""$set":{"l":["a","b"]}"#, r#""$remove":{"l":"c"}"#]).is(r#"{"l":["a","b"]}"#);
}

#[test]
fn case_25_remove_takes_all_equal_elements() {
    users(&[r#""$set":{"l":["a","b","a"]}"#, r#""$remove":{"l":"a"}"#]).is(r#"{"l":["b"]}"#);
}

#[test]
fn case_26_remove_leaves_an_empty_list() {
    users(&[r#""$set":{"l":["a"]}"#, r#""$remove":{"l":"a"}"#]).is(r#"{"l":[]}"#);
}

#[test]
fn case_27_union_leaves_no_repeats_and_knows_types_apart() {
    users(&[r#""$set":{"l":[1,"1",1.0]}"#, r#""$union":{"l":[1,"1"]}"#]).is(r#"{"l":[1,"1"]}"#);
}

#[test]
fn case_28_append_of_a_list_is_one_element() {
    users(&[r#""$set":{"l":["a"]}"#, r#""$append":{"l":["b","c"]}"#]).is(r#"{"l":["a",["b","c"]]}"#);
}

#[test]
fn case_29_unset_takes_names_away() {
    users(&[r#""$set":{"a":1,"b":2}"#, r#""$unset":["a","zz"]"#]).is(r#"{"b":2}"#);
}

#[test]
fn case_30_unset_takes_a_bare_name() {
    users(&[A_IS_1, r#""$unset":"a""#]).is("{}");
}

#[test]
fn case_31_set_replaces_objects_whole() {
    users(&[r#""$set":{"a":{"x":1,"y":2}}"#, r#""$set":{"a":{"x":9}}"#]).is(r#"{"a":{"x":9}}"#);
}

#[test]
fn case_32_null_counts_as_there() {
    users(&[r#""$set":{"a":null}"#, r#""$set_once":{"a":1}"#]).is(r#"{"a":null}"#);
}

#[test]
fn case_33_merge_goes_into_an_object() {
    users(&[r#""$set":{"o":{"x":1}}"#, r#""$merge":{"o":{"x":2,"y":3}}"#]).is(r#"{"o":{"x":2,"y":3}}"#);
}

#[test]
fn case_34_charges_are_cleared_by_set() {
    users(&[CHARGE, CHARGE]).is(r#"{"$transactions":[{"$amount":25},{"$amount":25}]}"#);
    users(&[CHARGE, CHARGE, r#""$set":{"$transactions":[]}"#]).is(r#"{"$transactions":[]}"#);
}

#[test]
fn case_35_charges_are_cleared_by_unset() {
    users(&[CHARGE, CHARGE, r#""$unset":["$transactions"]"#]).is("{}");
}

#[test]
fn case_36_increment_is_no_operator() {
    let reason = r#"unknown operator operator="$increment""#;
    for sent in [users(&[A_IS_1, r#""$increment":{"a":1}"#]), users(&[A_IS_1, r#""$increment":{"a":1}"#]).strict()] {
        sent.refuses(Some("$increment"), reason, Some(r#"{"a":1}"#));
    }
}

#[test]
fn case_37_delete() {
    users(&[A_IS_1, r#""$delete":"""#]).is_absent();
}

#[test]
fn case_38_delete_with_any_operand() {
    for operand in ["null", "\"null\"", "{}", "\"d\"", "false"] {
        users(&[A_IS_1, &format!("\"$delete\":{operand}")]).is_absent();
        users(&[A_IS_1, &format!("\"$delete\":{operand}")]).strict().is_absent();
    }
    users(&[r#""$delete":"""#]).is_absent();
}

#[test]
fn case_39_a_deleted_profile_starts_empty() {
    users(&[A_IS_1, r#""$delete":"""#, r#""$set":{"b":2}"#]).is(r#"{"b":2}"#);
    users(&[A_IS_1, r#""$delete":"""#, r#""$add":{"a":2}"#]).is(r#"{"a":2}"#);
    users(&[A_IS_1, r#""$delete":"""#, r#""$unset":["a"]"#]).is_absent();
}

#[test]
fn case_40_a_batch_applies_in_its_order() {
    let bodies = [A_IS_1, r#""$add":{"a":1}"#, r#""$append":{"l":"x"}"#, r#""$unset":["a"]"#];
    let body = format!("[{}]", bodies.map(user).join(","));
    sent(Endpoint::Engage, ProfileKey::user("d").unwrap(), &[body]).is(r#"{"l":["x"]}"#);
}

/// The response body `1` belongs to the server. Here: valid objects are applied, the invalid one is named.
#[test]
fn case_41_a_bad_object_costs_only_itself() {
    let body = format!(r#"[{},{{"$token":"T",{A_IS_1}}},{}]"#, user(A_IS_1), user(r#""$add":{"a":1}"#));
    let sent = sent(Endpoint::Engage, ProfileKey::user("d").unwrap(), &[body]);
    sent.come(Some(r#"{"a":2}"#), &[(0, MISSING.0, MISSING.1)]);
}

#[test]
fn case_42_several_operators_in_one_object() {
    let sent = || users(&[r#""$add":{"n":1},"$set":{"n":1}"#]);
    sent().is(r#"{"n":2}"#);
    sent().strict().refuses(None, "one operator at a time operators=$set,$add", None);
}

#[test]
fn case_43_no_operator() {
    users(&[r#""$ip":"0""#]).refuses(None, "the object has no operator", None);
    users(&[r#""$ip":"0""#]).strict().refuses(None, "the object has no operator", None);
}

// ---------------------------------------------------------------------------------------------------------------------
// Groups

const NAMED: [&str; 2] = [r#""$set":{"name":"Mixpanel"}"#, r#""$set_once":{"name":"mp","color":"purple"}"#];
const FEATURES: &str = r#""$set":{"features":["reports","alerts","cohorts"]}"#;

#[test]
fn case_44_set_once_on_a_group() {
    groups(&NAMED).is(r#"{"name":"Mixpanel","color":"purple"}"#);
}

#[test]
fn case_45_unset_on_a_group() {
    groups(&[NAMED[0], NAMED[1], r#""$unset":["color"]"#]).is(r#"{"name":"Mixpanel"}"#);
}

#[test]
fn case_46_union_on_a_group() {
    groups(&[FEATURES, r#""$union":{"features":["data pipeline","alerts"]}"#])
        .is(r#"{"features":["reports","alerts","cohorts","data pipeline"]}"#);
}

#[test]
fn case_47_remove_on_a_group() {
    groups(&[FEATURES, r#""$remove":{"features":"alerts"}"#]).is(r#"{"features":["reports","cohorts"]}"#);
    groups(&[FEATURES, r#""$remove":{"features":"alert"}"#]).is(r#"{"features":["reports","alerts","cohorts"]}"#);
}

#[test]
fn case_48_delete_of_a_group() {
    groups(&[FEATURES, r#""$delete":"""#]).is_absent();
}

#[test]
fn case_49_groups_take_no_append() {
    let reason = "the operator is not supported on groups";
    groups(&[r#""$append":{"l":"x"}"#]).refuses(Some("$append"), reason, None);
}

#[test]
fn case_50_groups_take_add_only_if_enabled() {
    let sent = || groups(&[r#""$add":{"n":1}"#]);
    sent().refuses(Some("$add"), "the operator is not supported on groups", None);
    sent().rules(|rules| rules.add_on_groups(true)).is(r#"{"n":1}"#);
}

#[test]
fn case_51_a_group_with_a_distinct_id() {
    let reason = "an object is about a user or about a group, not both";
    groups(&[r#""$distinct_id":"d","$set":{"a":1}"#]).refuses(Some("$distinct_id"), reason, None);
}

#[test]
fn case_52_ids_that_are_numbers_equal_their_text() {
    let object = |id: &str, name: &str| format!(r#"{{"$group_key":"company","$group_id":{id},"$set":{{"{name}":1}}}}"#);
    let bodies = [object("3", "a"), object("\"3\"", "b")];
    let sent = sent(Endpoint::Groups, ProfileKey::group("company", "3").unwrap(), &bodies);
    sent.is(r#"{"a":1,"b":1}"#);
    assert_eq!(sent.run().profiles.len(), 1);
}

#[test]
fn case_53_one_id_under_two_group_keys() {
    let object = |key: &str| format!(r#"{{"$group_key":"{key}","$group_id":"x","$set":{{"{key}":1}}}}"#);
    let bodies = [object("company"), object("team")];
    for (key, properties) in [("company", r#"{"company":1}"#), ("team", r#"{"team":1}"#)] {
        sent(Endpoint::Groups, ProfileKey::group(key, "x").unwrap(), &bodies).is(properties);
    }
}

#[test]
fn case_54_a_group_at_the_endpoint_of_users() {
    let sent = sent(Endpoint::Engage, ProfileKey::user("d").unwrap(), &[group(A_IS_1)]);
    sent.refuses(MISSING.0, MISSING.1, None);
    assert_eq!(sent.run().profiles.len(), 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Metadata and limits

const TEN: &str = "2024-01-02T10:00:00";
const ELEVEN: &str = "2024-01-02T11:00:00";

#[test]
fn case_55_last_seen_is_the_time_of_arrival() {
    users(&[A_IS_1]).arriving(&[TEN]).last_seen(Some(TEN));
    users(&[A_IS_1, r#""$unset":["b"]"#]).arriving(&[TEN, ELEVEN]).last_seen(Some(ELEVEN));
}

#[test]
fn case_56_ignore_time_leaves_last_seen() {
    let sent = users(&[A_IS_1, r#""$set":{"b":2},"$ignore_time":true"#]).arriving(&[TEN, ELEVEN]);
    sent.last_seen(Some(TEN));
    sent.is(r#"{"a":1,"b":2}"#);
    users(&[r#""$set":{"b":2},"$ignore_time":true"#]).arriving(&[TEN]).last_seen(None);
}

#[cfg(feature = "rocksdb")]
#[test]
fn case_57_an_event_leaves_last_seen() {
    let store = Store::new();
    store.arrive(Timestamp::parse(TEN).unwrap());
    store.send(A_IS_1).unwrap();
    store.arrive(Timestamp::parse(ELEVEN).unwrap());
    store.db.events().append(Event::new("e", "d", Timestamp::parse(ELEVEN).unwrap())).unwrap();
    for _ in 0..2 {
        assert_eq!(store.subject(), r#"{"a":1}"#);
        let profile = store.db.users().get("d").unwrap().unwrap();
        assert_eq!(profile.last_seen(), Some(Timestamp::parse(TEN).unwrap()));
        store.db.compact().unwrap();
    }
}

#[test]
fn case_58_time_in_seconds_and_in_milliseconds() {
    for time in ["1700000000", "1700000000000"] {
        let body = format!(r#""$set":{{"a":1}},"$time":{time}"#);
        users(&[&body]).arriving(&[TEN]).last_seen(Some("2023-11-14T22:13:20"));
    }
}

/// A row of a CSV file is a `$set` with `$ignore_time`, which is what an importer sends.
#[test]
fn case_59_a_row_of_csv_leaves_last_seen() {
    let row = r#""$set":{"plan":"pro","$email":"d@example.com"},"$ignore_time":true"#;
    let sent = users(&[A_IS_1, row]).arriving(&[TEN, ELEVEN]);
    sent.last_seen(Some(TEN));
    sent.is(r#"{"a":1,"plan":"pro","$email":"d@example.com"}"#);
}

#[test]
fn case_61_an_address_of_zero() {
    users(&[r#""$set":{"a":1},"$ip":"0""#, r#""$set":{"b":1},"$ip":0"#]).is(r#"{"a":1,"b":1}"#);
}

#[test]
fn case_62_an_address_among_the_properties_is_not_stored() {
    users(&[r#""$set":{"$ip":"1.2.3.4","a":1}"#]).is(r#"{"a":1}"#);
    users(&[r#""$ip":"1.2.3.4","$set":{"a":1}"#]).is(r#"{"a":1}"#);
}

#[test]
fn case_63_an_explicit_location_is_kept() {
    users(&[r#""$set":{"$city":"X"},"$ip":"203.0.113.9""#]).is(r#"{"$city":"X"}"#);
}

#[test]
fn case_64_add_sets_no_location() {
    users(&[r#""$set":{"$city":"X"}"#, r#""$add":{"n":1},"$ip":"203.0.113.9""#]).is(r#"{"$city":"X","n":1}"#);
}

#[test]
fn case_65_long_names_are_cut() {
    let (long, cut) = ("n".repeat(300), "n".repeat(255));
    let sent = users(&[&format!(r#""$set":{{"{long}":1}}"#), &format!(r#""$add":{{"{long}":1}}"#)]);
    sent.is(&format!(r#"{{"{cut}":2}}"#));
    users(&[&format!(r#""$set":{{"{cut}":1}}"#), &format!(r#""$unset":["{long}"]"#)]).is("{}");
}

/// A store with 2,000 properties on the user d, flushed and compacted or not.
#[cfg(feature = "rocksdb")]
fn full_profile(files: bool) -> Store {
    let store = Store::new();
    let entries: Vec<String> = (0..2_000).map(|n| format!(r#""p{n}":{n}"#)).collect();
    store.send(&format!(r#""$set":{{{}}}"#, entries.join(","))).unwrap();
    if files {
        store.db.flush().unwrap();
        store.db.compact().unwrap();
    }
    store
}

/// A plain fold has no limits, so this case and the next one run on stores alone.
#[cfg(feature = "rocksdb")]
#[test]
fn case_66_the_2001st_property_is_refused() {
    for files in [false, true] {
        let store = full_profile(files);
        let before = store.subject();
        for body in [
            r#""$set":{"new":1}"#,
            r#""$set":{"p0":"changed","new":1}"#,
            r#""$set_once":{"new":1}"#,
            r#""$add":{"new":1}"#,
            r#""$append":{"new":1}"#,
            r#""$union":{"new":[1]}"#,
            r#""$merge":{"new":{}}"#,
        ] {
            let error = store.send(body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            assert_eq!(error.message(), r#"a profile has at most 2000 properties id="d" properties=2001"#);
            assert_eq!(store.subject(), before);
        }
        store.send(r#""$unset":["p7"]"#).unwrap();
        store.send(r#""$set":{"new":1}"#).unwrap();
    }
}

#[cfg(feature = "rocksdb")]
#[test]
fn case_67_a_full_profile_takes_updates_of_its_names() {
    for files in [false, true] {
        let store = full_profile(files);
        store.send(r#""$set":{"p0":"changed"}"#).unwrap();
        store.send(r#""$add":{"p1":1}"#).unwrap();
        store.send(r#""$set_once":{"p2":"kept as it was"}"#).unwrap();
        store.send(r#""$unset":["nothing"]"#).unwrap();
        let profile = store.db.users().get("d").unwrap().unwrap();
        assert_eq!(profile.properties().len(), 2_000);
        assert_eq!(profile.get("p0"), Some(&"changed".into()));
        assert_eq!((profile.get("p1"), profile.get("p2")), (Some(&2.into()), Some(&2.into())));
    }
}

#[test]
fn case_68_a_request_of_2001_updates() {
    let body = |count: usize| format!("[{}]", vec![user(A_IS_1); count].join(","));
    assert_eq!(parse_request(body(2_000).as_bytes(), &Rules::new()).unwrap().len(), 2_000);
    let error = parse_request(body(2_001).as_bytes(), &Rules::new()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::LimitExceeded, "a request has at most 2000 updates"));
    let rules = Rules::new().limits(Limits::unbounded());
    assert_eq!(parse_request(body(2_001).as_bytes(), &rules).unwrap().len(), 2_001);
}

#[test]
fn case_69_dates_are_texts() {
    users(&[r#""$set":{"t":"2024-01-02T03:04:05"}"#]).is(r#"{"t":"2024-01-02T03:04:05"}"#);
    assert!(Timestamp::parse("2024-01-02T03:04:05").is_ok());
}

#[test]
fn case_70_first_seen_is_of_the_first_event() {
    let written = r#""$set":{"$mp_first_event_time":"2024-01-02T03:04:05","a":1}"#;
    let nothing = [r#""$set_once":{"$mp_first_event_time":1,"a":1}"#, r#""$unset":["$mp_first_event_time"]"#];
    users(&[written]).is(r#"{"a":1}"#);
    users(&nothing).is(r#"{"a":1}"#);
    #[cfg(feature = "rocksdb")]
    first_seen_in_a_store(written, nothing);
}

#[cfg(feature = "rocksdb")]
fn first_seen_in_a_store(written: &str, nothing: [&str; 2]) {
    let store = Store::new();
    let first_seen = || store.db.users().get_property("d", "$mp_first_event_time").unwrap();
    for body in [&[written], &nothing[..]].concat() {
        store.send(body).unwrap();
        assert_eq!((store.subject().as_str(), first_seen()), (r#"{"a":1}"#, None));
    }
    for (time, first) in [(ELEVEN, ELEVEN), (TEN, TEN), (ELEVEN, TEN)] {
        store.db.events().append(Event::new("e", "d", Timestamp::parse(time).unwrap())).unwrap();
        for body in [written, nothing[0], nothing[1]] {
            store.send(body).unwrap();
            assert_eq!((store.subject().as_str(), first_seen()), (r#"{"a":1}"#, Some(first.into())));
        }
        store.db.compact().unwrap();
    }
    store.send(r#""$delete":"""#).unwrap();
    assert_eq!(first_seen(), None);
    store.send(A_IS_1).unwrap();
    assert_eq!(first_seen(), Some(TEN.into()));
}

// ---------------------------------------------------------------------------------------------------------------------
// Beyond the cases

/// An update without effect does not change the time either, on any path.
#[test]
fn an_update_of_nothing_leaves_last_seen() {
    for nothing in [
        r#""$add":{}"#,
        r#""$append":{}"#,
        r#""$union":{"l":[]}"#,
        r#""$remove":{}"#,
        r#""$unset":[]"#,
        r#""$add":{"n":"bad"}"#,
        r#""$add":{"n":"bad"},"$time":1704196800"#,
    ] {
        let sent = users(&[A_IS_1, nothing]).arriving(&[TEN, ELEVEN]);
        sent.is(r#"{"a":1}"#);
        sent.last_seen(Some(TEN));
    }
    users(&[A_IS_1, r#""$set":{}"#]).arriving(&[TEN, ELEVEN]).last_seen(Some(ELEVEN));
    groups(&[A_IS_1, r#""$set":{}"#]).arriving(&[TEN, ELEVEN]).last_seen(Some(TEN));
    assert_eq!(Update::new().at(now()).stamp(), None);
}

/// The time of an `$unset` without a profile must not appear in a profile that is created later.
#[test]
fn an_update_without_a_profile_leaves_no_time() {
    let created = r#""$set":{"a":1},"$ignore_time":true"#;
    users(&[r#""$unset":["a"]"#, created]).last_seen(None);
    users(&[r#""$remove":{"l":1}"#, r#""$set":{"a":1},"$time":1700000000"#]).last_seen(Some("2023-11-14T22:13:20"));
    users(&[A_IS_1, r#""$delete":"""#, created]).last_seen(None);
}

/// The cases that are about profiles alone.
#[cfg(feature = "rocksdb")]
const ON_ONE_STORE: &[fn()] = &[
    case_01_set_overwrites,
    case_02_set_once_keeps_what_is_there,
    case_03_append_goes_to_the_end,
    case_04_append_keeps_repeats,
    case_05_union_with_what_is_there_changes_nothing,
    case_06_union_adds_what_is_missing_at_the_end,
    case_07_union_takes_a_bare_scalar,
    case_08_add_counts_up_and_down,
    case_09_add_begins_at_zero,
    case_10_add_creates,
    case_11_set_creates,
    case_12_set_once_creates,
    case_13_union_creates,
    case_14_append_creates,
    case_15_remove_creates_nothing,
    case_16_unset_creates_nothing,
    case_17_append_leaves_what_is_no_list,
    case_18_union_leaves_what_is_no_list,
    case_19_remove_leaves_what_is_no_list,
    case_20_add_leaves_what_is_no_number,
    case_21_add_of_a_number_as_text,
    case_22_add_of_other_text,
    case_23_add_of_several_names_and_fractions,
    case_24_remove_of_what_is_not_there,
    case_25_remove_takes_all_equal_elements,
    case_26_remove_leaves_an_empty_list,
    case_27_union_leaves_no_repeats_and_knows_types_apart,
    case_28_append_of_a_list_is_one_element,
    case_29_unset_takes_names_away,
    case_30_unset_takes_a_bare_name,
    case_31_set_replaces_objects_whole,
    case_32_null_counts_as_there,
    case_33_merge_goes_into_an_object,
    case_34_charges_are_cleared_by_set,
    case_35_charges_are_cleared_by_unset,
    case_36_increment_is_no_operator,
    case_37_delete,
    case_38_delete_with_any_operand,
    case_39_a_deleted_profile_starts_empty,
    case_40_a_batch_applies_in_its_order,
    case_41_a_bad_object_costs_only_itself,
    case_42_several_operators_in_one_object,
    case_43_no_operator,
    case_44_set_once_on_a_group,
    case_45_unset_on_a_group,
    case_46_union_on_a_group,
    case_47_remove_on_a_group,
    case_48_delete_of_a_group,
    case_49_groups_take_no_append,
    case_50_groups_take_add_only_if_enabled,
    case_51_a_group_with_a_distinct_id,
    case_52_ids_that_are_numbers_equal_their_text,
    case_53_one_id_under_two_group_keys,
    case_54_a_group_at_the_endpoint_of_users,
    case_55_last_seen_is_the_time_of_arrival,
    case_56_ignore_time_leaves_last_seen,
    case_58_time_in_seconds_and_in_milliseconds,
    case_59_a_row_of_csv_leaves_last_seen,
    case_61_an_address_of_zero,
    case_62_an_address_among_the_properties_is_not_stored,
    case_63_an_explicit_location_is_kept,
    case_64_add_sets_no_location,
    case_65_long_names_are_cut,
    case_69_dates_are_texts,
    case_70_first_seen_is_of_the_first_event,
    an_update_of_nothing_leaves_last_seen,
    an_update_without_a_profile_leaves_no_time,
];

#[cfg(feature = "rocksdb")]
#[test]
fn every_case_has_the_same_result_in_a_store() {
    let cases = include_str!("contract.rs").lines().filter(|line| line.starts_with("fn case_")).count();
    let with_their_own = ["57", "66", "67", "68"].len();
    assert_eq!(ON_ONE_STORE.len() - 2, cases - with_their_own, "a case is missing in the list");
    STORE.set(Some(Store::new()));
    ON_ONE_STORE.iter().for_each(|case| case());
    STORE.set(None);
}

#[test]
fn every_case_has_its_test_and_its_row() {
    let mut tested: Vec<u8> = Vec::new();
    let lines: Vec<&str> = include_str!("contract.rs").lines().collect();
    for pair in lines.windows(2) {
        if let Some(name) = pair[1].strip_prefix("fn case_") {
            assert_eq!(pair[0], "#[test]", "{name}");
            tested.push(name[..2].parse().unwrap());
        }
    }
    for list in [DECIDED_OTHERWISE, NOT_YET] {
        assert!(list.iter().all(|(_, reason)| !reason.is_empty()));
        tested.extend(list.iter().map(|(number, _)| number));
    }
    let once: BTreeSet<u8> = tested.iter().copied().collect();
    assert_eq!(once.len(), tested.len(), "a duplicate case: {tested:?}");
    assert!(once.iter().copied().eq(CASES), "{once:?}");

    let page = include_str!("../docs/CONTRACT.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(' ')?.0.parse::<u8>().ok());
    assert!(rows.eq(CASES), "the page lists each case once, in order");
}
