//! The numbered cases of the contract that are about joins.

use profiledb::ingest::{EventRecord, Rules};
use profiledb::join::{Measure, Strategy};
use profiledb::{Db, GROUP_IDS_MAX, Limits, Timestamp, Update, Value};

use super::{builder, day, event, temp_store};

/// Segments and how many events they have. It says the same whatever the strategy and however many threads.
fn counts(db: &Db, by: &str) -> Vec<(Option<Value>, i64)> {
    let ask = |strategy: Option<Strategy>, threads: usize| {
        let join = db.snapshot().join().threads(threads);
        let join = match strategy {
            Some(strategy) => join.strategy(strategy),
            None => join,
        };
        let answer = join.group_by([by]).measure(Measure::Count).answer().unwrap();
        answer.buckets().iter().map(|row| (row.by[0].clone(), row.measures[0].as_i64().unwrap())).collect::<Vec<_>>()
    };
    let counts = ask(None, 1);
    for strategy in [Strategy::Lookup, Strategy::Merge, Strategy::Hash] {
        assert_eq!(ask(Some(strategy), 1), counts, "{strategy}");
        assert_eq!(ask(Some(strategy), 3), counts, "{strategy}");
    }
    counts
}

fn set(text: &str) -> Option<Value> {
    Some(text.into())
}

fn gold() -> Option<Value> {
    set("gold")
}

/// Cases 98, 99 and 100.
#[test]
fn an_event_has_the_profile_as_it_is_now() {
    let temp = temp_store();
    let db = temp.open();
    db.events().append(event("d", 0, 0)).unwrap();
    assert_eq!(counts(&db, "user.plan"), [(None, 1)]);
    db.users().update("d", Update::new().set("plan", "A")).unwrap();
    assert_eq!(counts(&db, "user.plan"), [(set("A"), 1)], "98");
    db.users().update("d", Update::new().set("plan", "B")).unwrap();
    assert_eq!(counts(&db, "user.plan"), [(set("B"), 1)], "99");
    db.users().delete("d").unwrap();
    assert_eq!(counts(&db, "user.plan"), [(None, 1)], "100");
    db.compact().unwrap();
    assert_eq!(counts(&db, "user.plan"), [(None, 1)], "100, compacted");
    let row = db.snapshot().join().on_users().rows().unwrap().next().unwrap().unwrap();
    assert_eq!(row.has_user(), Some(false));
}

/// Cases 101, 102 and 103.
#[test]
fn groups_are_those_of_the_event_and_of_users_those_of_the_profile() {
    let temp = temp_store();
    let db = temp.open();
    let company = db.groups("company").unwrap();
    company.update("a", Update::new().set("tier", "gold")).unwrap();
    company.update("b", Update::new().set("tier", "silver")).unwrap();
    db.events().append(event("d", 0, 0).set("company", ["a", "b"])).unwrap();
    assert_eq!(counts(&db, "group:company.tier"), [(gold(), 1), (set("silver"), 1)], "101");

    db.users().update("e", Update::new().set("company", ["a"])).unwrap();
    db.events().append(event("e", 0, 1)).unwrap();
    assert_eq!(counts(&db, "group:company.tier"), [(gold(), 1), (set("silver"), 1), (None, 1)], "102");
    // d has no profile, so its event leads nowhere by way of the user.
    assert_eq!(counts(&db, "user:company.tier"), [(gold(), 1), (None, 1)], "103");
}

/// Case 104. The usual limits let no event have a list of that length, so the limits are lifted.
#[test]
fn the_first_three_hundred_groups_join() {
    let temp = temp_store();
    let db = builder().limits(Limits::unbounded()).open(temp.store()).unwrap();
    let company = db.groups("company").unwrap();
    // Not in the order of the ids: the list says which are first.
    let ids: Vec<String> = (0..=GROUP_IDS_MAX).map(|n| format!("{}", (n * 7) % 1_000)).collect();
    ids.iter().for_each(|id| company.update(id, Update::new().set("name", id.as_str())).unwrap());
    db.events().append(event("d", 0, 0).set("company", ids.clone())).unwrap();
    let row = db.snapshot().join().select(["group:company.name"]).rows().unwrap().next().unwrap().unwrap();
    let joined: Vec<&str> = row.groups("company").iter().map(|group| group.id()).collect();
    assert_eq!((joined.len(), GROUP_IDS_MAX), (300, 300));
    assert_eq!(joined, ids[..300].iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(row.get(0), Some(ids[..300].to_vec().into()));
    let names = counts(&db, "group:company.name");
    assert_eq!(names.len(), 300);
    assert!(names.iter().all(|(name, count)| *count == 1 && *name != set(&ids[300])));
    // By way of the user it is the same.
    db.users().update("d", Update::new().set("company", ids.clone())).unwrap();
    assert_eq!(counts(&db, "user:company.name"), names);
    // The 301st is none of the event's groups in the log either.
    assert_eq!(company.first_event_time(&ids[299]).unwrap(), Some(day(0)));
    assert_eq!(company.first_event_time(&ids[300]).unwrap(), None);
}

/// Case 88, as a query has it: one row, and the latest wins.
#[test]
fn an_event_that_was_sent_twice_is_one_row() {
    let temp = temp_store();
    let db = temp.open();
    let sent = |amount: i64| event("d", 0, 0).id("same").set("amount", amount);
    for (round, amount) in (1..).zip([5, 7, 6]) {
        db.events().append(sent(amount)).unwrap();
        let rows = db.snapshot().join().select(["event.amount"]).rows().unwrap();
        let amounts: Vec<_> = rows.map(|row| row.unwrap().get(0).unwrap().as_i64().unwrap()).collect();
        assert_eq!(amounts, [amount], "sent {round} times");
        let sum = Measure::Sum("event.amount".parse().unwrap());
        let answer = db.snapshot().join().measure(Measure::Count).measure(sum).answer().unwrap();
        assert_eq!(answer.buckets()[0].measures, [1.into(), amount.into()]);
        if round == 1 {
            db.flush().unwrap()
        }
    }
}

/// Case 89, at the log and on the wire: there is nothing of it to join.
#[test]
fn events_of_a_name_for_everybody_are_refused() {
    let temp = temp_store();
    let db = temp.open();
    for id in ["anon", "Anonymous", "null", "0"] {
        let error = db.events().append(event(id, 0, 0)).unwrap_err();
        assert!(error.is_invalid(), "{error}");
        let json = format!(
            r#"{{"event":"visit","properties":{{"time":1700000000,"distinct_id":"{id}","$insert_id":"a-1"}}}}"#
        );
        for rules in [Rules::new(), Rules::new().strict(true)] {
            let reject = EventRecord::from_slice(json.as_bytes(), &rules).unwrap_err();
            assert_eq!(reject.field.as_deref(), Some("properties.distinct_id"), "{id}");
        }
    }
    assert_eq!(db.snapshot().join().rows().unwrap().count(), 0);
    assert_eq!(counts(&db, "user.plan"), []);
}

/// Case 70: the time of the first event, of users and of groups, in rows.
#[test]
fn rows_know_the_time_of_the_first_event() {
    let temp = temp_store();
    let db = temp.open();
    let company = db.groups("company").unwrap();
    company.update("a", Update::new().set("tier", "gold")).unwrap();
    db.users().update("d", Update::new().set("plan", "A")).unwrap();
    let firsts = |when: &str| -> Vec<(String, Option<Value>, Option<Value>)> {
        let fields = ["user.$mp_first_event_time", "group:company.$mp_first_event_time"];
        let all = |strategy| {
            let join = db.snapshot().join().select(fields).ordered().strategy(strategy);
            join.rows().unwrap().map(Result::unwrap).map(|row| (row.distinct_id().into(), row.get(0), row.get(1)))
        };
        let rows: Vec<_> = all(Strategy::Lookup).collect();
        assert_eq!(all(Strategy::Merge).collect::<Vec<_>>(), rows, "{when}");
        assert_eq!(all(Strategy::Hash).collect::<Vec<_>>(), rows, "{when}");
        rows
    };
    let time = |time: Timestamp| -> Option<Value> { Some(time.to_string().into()) };
    let list = |times: &[Timestamp]| Some(times.iter().map(Timestamp::to_string).collect::<Vec<_>>().into());
    assert_eq!(firsts("no event"), []);
    db.events().append(event("d", 3, 0).set("company", "a")).unwrap();
    assert_eq!(firsts("one event"), [("d".into(), time(day(3)), list(&[day(3)]))]);
    db.events().append(event("d", 5, 0).set("company", ["a"])).unwrap();
    let both = ("d".to_owned(), time(day(3)), list(&[day(3)]));
    assert_eq!(firsts("a later one"), [both.clone(), both]);
    db.events().append(event("d", 1, 0)).unwrap();
    let all = firsts("an earlier one, of no group");
    let one = |groups: &[Timestamp]| ("d".to_owned(), time(day(1)), list(groups));
    assert_eq!(all, [one(&[]), one(&[day(3)]), one(&[day(3)])]);
    // It is set by events only.
    db.users().update("d", Update::new().set("$mp_first_event_time", "2001-01-01T00:00:00")).unwrap_or_default();
    db.flush().unwrap();
    assert_eq!(firsts("flushed"), all);
    let before = counts(&db, "user.$mp_first_event_time");
    assert_eq!(before, [(time(day(1)), 3)]);
}
