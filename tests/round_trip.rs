//! Whatever an export writes, an import takes back, under the default limits, and a second export has the same bytes.
#![cfg(feature = "rocksdb")]

use std::io::Cursor;

use profiledb::ingest::Exported;
use profiledb::{
    Batch, Db, Durability, Event, Limits, Number, Object, Op, ProfileKey, Timestamp, Update, VALUE_DEPTH_MAX, Value,
};

/// The lines that an export writes: of users, then of all groups.
fn export(db: &Db) -> Vec<u8> {
    let mut lines = Vec::new();
    let snapshot = db.snapshot();
    for kind in db.kinds() {
        for row in snapshot.table(&kind).iter() {
            let (id, profile) = row.unwrap();
            let key = ProfileKey::new(kind.clone(), id).unwrap();
            serde_json::to_writer(&mut lines, &Exported::new(&key, &profile)).unwrap();
            lines.push(b'\n');
        }
    }
    lines
}

#[track_caller]
fn comes_back(db: &Db) {
    let exported = export(db);
    let dir = tempfile::tempdir().unwrap();
    let other = Db::open(dir.path().join("store")).unwrap();
    for strict in [false, true] {
        let importer = other.importer(other.rules().strict(strict)).durability(Durability::Buffered);
        for outcome in importer.updates(Cursor::new(exported.clone())) {
            let stored = outcome.unwrap().unwrap_or_else(|reject| panic!("{reject}"));
            assert!(stored.notes.is_empty(), "{stored:?}");
        }
        let again = export(&other);
        for (before, after) in exported.split(|byte| *byte == b'\n').zip(again.split(|byte| *byte == b'\n')) {
            let start = |line: &[u8]| String::from_utf8_lossy(line).chars().take(300).collect::<String>();
            assert!(before == after, "{} came back as {}", start(before), start(after));
        }
        assert_eq!(exported.len(), again.len());
    }
}

fn store(limits: Limits) -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::builder().limits(limits).durability(Durability::Buffered).open(dir.path().join("store")).unwrap();
    (dir, db)
}

/// A generator of everything that a store takes (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn text(&mut self, chars_max: usize) -> String {
        const CHARS: [char; 14] = [
            'a',
            'B',
            '$',
            '"',
            '\\',
            '\n',
            '\u{0}',
            '\u{7f}',
            ' ',
            '/',
            '\u{e9}',
            '\u{20ac}',
            '\u{1f600}',
            '\u{feff}',
        ];
        let chars = if self.below(8) == 0 { chars_max } else { self.below(12) };
        (0..chars).map(|_| CHARS[self.below(CHARS.len())]).collect()
    }

    fn name(&mut self) -> String {
        format!("{}{}", ["a", "b", "event", "$name", "1", "user.x"][self.below(6)], self.text(248))
    }

    fn number(&mut self) -> Number {
        const DOUBLES: [f64; 10] =
            [0.1, -0.0, 1e300, 5e-324, f64::MAX, f64::MIN_POSITIVE, 1.0, -2.5, 9_007_199_254_740_993.0, 1e16];
        match self.below(4) {
            0 => Number::from(self.below(10) as i64),
            1 => Number::from(i64::MIN + self.below(3) as i64),
            2 => Number::from(u64::MAX - self.below(3) as u64),
            _ => Number::try_from(DOUBLES[self.below(DOUBLES.len())]).unwrap(),
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 | 3 => Value::Number(self.number()),
            4 => self.text(255).into(),
            5 => (0..1 + self.below(VALUE_DEPTH_MAX)).fold(Value::Null, |inner, _| Value::List(vec![inner])),
            6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect::<Vec<_>>().into(),
            _ => self.object(depth - 1).into(),
        }
    }

    fn object(&mut self, depth: usize) -> Object {
        let keys = if self.below(6) == 0 { 200 } else { self.below(4) };
        let name = |random: &mut Self, n| if n > 4 { format!("k{}", random.below(100_000)) } else { random.text(20) };
        (0..keys).map(|n| (name(self, n), self.value(depth.min(1)))).collect()
    }

    fn update(&mut self) -> Update {
        let mut update = Update::new();
        for _ in 0..self.below(4) {
            let name = self.name();
            let op = match self.below(8) {
                0 => Op::Set(self.value(2)),
                1 => Op::SetOnce(self.value(2)),
                2 => Op::Add(self.number()),
                3 => Op::Append(self.value(2)),
                4 => Op::Union((0..self.below(4)).map(|_| self.value(1)).collect()),
                5 => Op::Merge(self.object(1)),
                6 => Op::Remove(self.value(1)),
                _ => Op::Unset,
            };
            update = update.op(name, op);
        }
        let time = Timestamp::from_millis(match self.below(4) {
            0 => self.below(2_000_000_000) as i64 * 1_000,
            1 => -(self.below(2_000_000_000) as i64) * 10_007,
            2 => 1_700_000_000_123,
            _ => -1,
        });
        match self.below(4) {
            0 => update.create().ignore_time(),
            1 => update.create().at(time),
            _ => update.at(time),
        }
    }
}

#[test]
fn random_stores_come_back_byte_for_byte() {
    let mut refused = 0;
    for seed in 1..=60 {
        let mut random = Random(seed * 0x9e37_79b9);
        let (_dir, db) = store(if seed % 3 == 0 { Limits::unbounded() } else { Limits::mixpanel() });
        let ids: Vec<String> = (0..8).map(|n| format!("u{n}{}", random.text(250))).collect();
        for _ in 0..200 {
            let id = &ids[random.below(ids.len())];
            let table = match random.below(4) {
                0 => db.groups(format!("k{}", random.below(3))).unwrap(),
                _ => db.users(),
            };
            // What the store refuses is not in it.
            refused += usize::from(table.update(id, random.update()).is_err());
            if random.below(5) == 0 {
                let time = Timestamp::from_seconds(40_000_000 + random.below(1_600_000_000) as i64);
                db.events().append(Event::new("visit", id, time).set("k1", ids[0].clone())).unwrap();
            }
        }
        if seed % 2 == 0 {
            db.compact().unwrap();
        }
        comes_back(&db);
    }
    assert!(refused < 60 * 100, "most of it is stored: refused={refused}");
}

#[test]
fn what_grew_beyond_the_limits_of_an_update_comes_back() {
    let (_dir, db) = store(Limits::mixpanel());
    let users = db.users();
    let deepest = (1..VALUE_DEPTH_MAX).fold(Value::List(Vec::new()), |inner, _| Value::List(vec![inner]));
    users.update("deep", Update::new().append("l", deepest.clone())).unwrap();
    let Value::List(elements) = deepest.clone() else { panic!() };
    users.update("deep", Update::new().set("s", deepest).union("u", elements)).unwrap();
    for from in [0, 200, 400] {
        let keys: Object = (from..from + 200).map(|n| (format!("k{n}"), n)).collect();
        users.update("wide", Update::new().merge("o", keys)).unwrap();
    }
    let mut batch = Batch::new();
    for n in 0..6_000 {
        // More than a megabyte of text, in both.
        let element = format!("{n}{}", "y".repeat(200));
        batch.update(&users, "long", Update::new().append("l", element.clone()).union("u", [element])).unwrap();
        batch.update(&users, "\"$properties\":", Update::new().append("l", n)).unwrap();
    }
    db.write(batch).unwrap();
    users.update("a".repeat(65_535).as_str(), Update::new().set("n".repeat(255), "v".repeat(255))).unwrap();
    assert!(export(&db).len() > 2_400_000);
    comes_back(&db);
}

#[test]
fn what_was_stored_without_limits_comes_back_under_them() {
    let (_dir, db) = store(Limits::unbounded());
    let many = (0..3_000).fold(Update::new(), |update, n| update.set(format!("p{n}"), n));
    db.users().update("many", many).unwrap();
    db.users().update("many", Update::new().set("n".repeat(1_000), "v".repeat(2_000_000))).unwrap();
    db.users().update("ahead", Update::new().set("x", 1).at(Timestamp::parse("9999-01-01").unwrap())).unwrap();
    for n in 0..80 {
        db.groups(format!("key{n}")).unwrap().update("g", Update::new().set("x", n)).unwrap();
    }
    comes_back(&db);
}

/// Only what an export wrote is exempt from the limits.
#[test]
fn other_records_are_still_bound_by_the_limits() {
    let (_dir, db) = store(Limits::mixpanel());
    let list = vec!["0123456789"; 120_000];
    let import = |line: String| db.importer(db.rules()).updates(Cursor::new(line)).next().unwrap().unwrap();
    let reject = import(serde_json::json!({"$distinct_id": "a", "$set": {"l": list}}).to_string()).unwrap_err();
    assert!(reject.reason.contains("at most 1048576 bytes"), "{reject}");
    let both = serde_json::json!({"$distinct_id": "a", "$set": {"l": list}, "$properties": {"x": 1}});
    let reject = import(both.to_string()).unwrap_err();
    assert_eq!((reject.id.as_deref(), db.users().contains("a").unwrap()), (Some("a"), false));
    let line = serde_json::json!({"$distinct_id": "a", "$properties": {"l": list}}).to_string();
    assert!(import(line.clone()).is_ok());
    // A client of an endpoint is not an export.
    let rules = db.rules().endpoint(profiledb::ingest::Endpoint::Engage);
    assert!(profiledb::ingest::Record::from_slice(line.as_bytes(), &rules).is_err());
}
