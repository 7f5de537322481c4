//! A query holds its moment.

use profiledb::join::{Join, Rows, Strategy};
use profiledb::{Batch, Db, Kind, ProfileKey, Update};

use super::{day, event, temp_store};

const USERS: i64 = 400;
const DAYS: i64 = 5;

fn id(number: i64) -> String {
    format!("u{number:03}")
}

fn fill(db: &Db) {
    let mut batch = Batch::new();
    for n in 0..USERS {
        let update = Update::new().set("plan", ["free", "pro"][(n % 2) as usize]).set("company", [n % 7]);
        batch.update(&Kind::User, id(n), update).unwrap();
        for at in 0..DAYS {
            batch.append(event(&id(n), at, n).id("1").set("company", [(n + at) % 7, n % 3]).set("n", n));
        }
    }
    for n in 0..7 {
        batch.change(ProfileKey::group("company", n.to_string()).unwrap(), Update::new().set("tier", n));
    }
    db.write(batch).unwrap();
}

/// Every profile becomes another one or goes, and so does every event; many come.
fn turn_over(db: &Db) {
    for n in 0..USERS {
        match n % 3 {
            0 => db.users().delete(&id(n)).unwrap(),
            _ => db.users().update(&id(n), Update::new().set("plan", "later").set("company", "later")).unwrap(),
        }
    }
    for n in 0..7 {
        db.groups("company").unwrap().update(&n.to_string(), Update::new().set("tier", "later")).unwrap();
    }
    for n in 0..USERS * 2 {
        // Some replace one that is there.
        let event = event(&id(n), DAYS - 1, n).id("1").set("n", "later").set("company", "later");
        db.events().append(event).unwrap();
    }
    db.events().delete_before(day(2)).unwrap();
    db.delete_user(&id(1)).unwrap();
    db.flush().unwrap();
    db.compact().unwrap();
}

fn drain(rows: Rows) -> Vec<String> {
    let mut texts: Vec<String> = rows.map(|row| serde_json::to_string(&row.unwrap()).unwrap()).collect();
    texts.sort_unstable();
    texts
}

fn select(join: Join) -> Join {
    join.select(["event.n", "user.plan", "group:company.tier", "user:company.tier", "user.$mp_first_event_time"])
}

#[test]
fn what_is_written_while_rows_are_read_is_not_among_them() {
    for strategy in [Strategy::Lookup, Strategy::Merge, Strategy::Hash] {
        for threads in [1, 2] {
            let temp = temp_store();
            let db = temp.open();
            fill(&db);
            let ask = || select(db.snapshot().join()).strategy(strategy).threads(threads).memory_bytes(16 << 10);
            let expected = drain(ask().rows().unwrap());
            assert_eq!(expected.len() as i64, USERS * DAYS);
            let mut running = ask().rows().unwrap();
            let untouched = ask();
            let mut seen: Vec<String> =
                running.by_ref().take(3).map(|row| serde_json::to_string(&row.unwrap()).unwrap()).collect();
            assert!(running.stats().rows < expected.len() as u64 || threads > 1, "too few events to show anything");
            turn_over(&db);
            seen.extend(drain(running));
            seen.sort_unstable();
            assert!(seen == expected, "{strategy} on {threads} threads saw what came later");
            // Not begun, and of the same moment all the same.
            assert!(drain(untouched.rows().unwrap()) == expected, "{strategy} on {threads} threads");
            let now = drain(ask().rows().unwrap());
            assert!(now.iter().all(|row| !row.contains("pro") && !row.contains("free")), "everything changed");
            assert!(now.iter().any(|row| row.contains("later")));
        }
    }
}
