//! Joins as record batches, against the rows of the same query.

use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use profiledb::arrow::{BATCH_ROWS, ColumnType, arrow_array, arrow_schema};
use profiledb::join::{Join, Strategy};
use profiledb::{Builder, Db, Durability, Event, Result, Timestamp, Update, Value};

use super::support::{Random, TempStore};
use super::{column, through_files, value_at};

const FIELDS: [&str; 13] = [
    "event.n",
    "event.mixed",
    "event.$time",
    "event.$day",
    "event.$insert_id",
    "user.plan",
    "user.tags",
    "user.logins",
    "user.$last_seen",
    "user.$mp_first_event_time",
    "group:company.tier",
    "group:company.$mp_first_event_time",
    "user:company.tier",
];

fn builder() -> Builder {
    let now = Timestamp::parse("2030-01-01T00:00:00").unwrap();
    Db::builder().durability(Durability::Buffered).clock(move || now)
}

fn fill(db: &Db, random: &mut Random, events: usize) -> Result<()> {
    let companies = db.groups("company")?;
    for id in 0..40 {
        let mut update = Update::new().add("logins", random.below(5) as i64);
        if random.below(3) > 0 {
            update = update.set("plan", random.pick(&["free", "pro", ""]));
        }
        if random.below(3) == 0 {
            update = update.union("tags", [random.pick(&["x", "y"]), "z"]);
        }
        if random.below(2) == 0 {
            update = update.union("company", [random.pick(&["a", "ghost"]), "b"]);
        }
        if random.below(9) == 0 {
            update = update.add("logins", 0.5);
        }
        db.users().update(&format!("u{id}"), update)?;
    }
    companies.update("a", Update::new().set("tier", "gold"))?;
    companies.update("b", Update::new().set("tier", 3))?;
    for at in 0..events {
        let millis = 1_700_000_000_000 + random.below(1 << 28) as i64;
        let mixed: Value = match random.below(4) {
            0 => 1.into(),
            1 => "1".into(),
            2 => Value::Null,
            _ => vec![true].into(),
        };
        let event = Event::new(
            random.pick(&["visit", "buy"]),
            format!("u{}", random.below(50)),
            Timestamp::from_millis(millis),
        );
        let event = event.id(format!("i{at}")).set("n", random.below(1_000) as i64).set("mixed", mixed);
        db.events().append(event.set("company", random.pick(&[&["a"][..], &["a", "b"], &["ghost"], &[]]).to_vec()))?;
    }
    Ok(())
}

fn batches(join: &Join) -> (Vec<RecordBatch>, Vec<ColumnType>) {
    (join.record_batches().unwrap().map(Result::unwrap).collect(), join.column_types().unwrap())
}

/// The value of a cell, where a time is text of seconds.
fn shown_at(array: &dyn Array, at: usize, column_type: &ColumnType) -> Value {
    let time = |value: Value| match value.as_i64() {
        Some(millis) => Timestamp::from_millis(millis).to_string().into(),
        None => value,
    };
    match (column_type, value_at(array, at, column_type)) {
        (ColumnType::Timestamp, value) => time(value),
        (ColumnType::List(element), Value::List(elements)) if **element == ColumnType::Timestamp => {
            elements.into_iter().map(time).collect::<Vec<_>>().into()
        }
        (_, value) => value,
    }
}

/// What rows show, in their order.
fn shown_by_rows(join: &Join) -> Vec<Vec<Value>> {
    let row = |row: Result<profiledb::join::Row>| {
        let row = row.unwrap();
        let head: [Value; 3] = [row.name().into(), row.time().millis().into(), row.distinct_id().into()];
        head.into_iter().chain((0..FIELDS.len()).map(|at| row.get(at).unwrap_or_default())).collect()
    };
    join.rows().unwrap().map(row).collect()
}

fn shown_by_batches(batches: &[RecordBatch], types: &[ColumnType]) -> Vec<Vec<Value>> {
    let mut columns = vec![
        column(batches, 0, |array, at| value_at(array, at, &ColumnType::Text)),
        column(batches, 1, |array, at| value_at(array, at, &ColumnType::Timestamp)),
        column(batches, 2, |array, at| value_at(array, at, &ColumnType::Text)),
    ];
    for (at, of) in types.iter().enumerate() {
        columns.push(column(batches, at + 3, |array, at| shown_at(array, at, of)));
    }
    (0..columns[0].len()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

#[test]
fn batches_have_what_rows_have_with_every_strategy() -> Result<()> {
    let (dir, mut random) = (TempStore::new(builder), Random(7));
    let db = dir.open();
    fill(&db, &mut random, 3 * BATCH_ROWS / 2)?;
    let join = db.snapshot().join().select(FIELDS).ordered();
    let expected = shown_by_rows(&join);
    let (first, types) = batches(&join);
    let names = types.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected_names = [
        "int64",
        "json",
        "timestamp",
        "text",
        "text",
        "text",
        "list<text>",
        "float64",
        "timestamp",
        "timestamp",
        "list<json>",
        "list<timestamp>",
        "list<json>",
    ];
    assert_eq!(names, expected_names);
    assert_eq!(first.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [BATCH_ROWS, BATCH_ROWS / 2]);
    let schema = first[0].schema();
    // Every event has a name, a time and a user.
    assert!(schema.fields().iter().enumerate().all(|(at, field)| field.is_nullable() == (at >= 3)), "{schema}");
    assert!(first.iter().all(|batch| batch.schema() == schema));
    let [parquet, stream] = through_files(&first, &schema);
    for batches in [&first, &parquet, &stream] {
        assert!(shown_by_batches(batches, &types) == expected);
    }
    let exact = column(&first, 5, |array, at| value_at(array, at, &ColumnType::Timestamp));
    assert!(exact == column(&first, 1, |array, at| value_at(array, at, &ColumnType::Timestamp)));
    for way in [Strategy::Lookup, Strategy::Merge, Strategy::Hash] {
        for threads in [1, 3] {
            let (read, types) = batches(&join.clone().strategy(way).threads(threads));
            assert!(shown_by_batches(&read, &types) == expected, "{way:?} {threads}");
        }
    }
    let mut sorted = expected;
    sorted.sort();
    let inner = db.snapshot().join().select(FIELDS).threads(2);
    let (read, types) = batches(&inner);
    let mut read = shown_by_batches(&read, &types);
    read.sort();
    assert!(read == sorted);
    Ok(())
}

#[test]
fn a_type_that_was_set_is_kept_and_what_does_not_fit_ends_the_batches() -> Result<()> {
    let dir = TempStore::new(builder);
    let db = dir.open();
    for (at, amount) in [1.into(), Value::try_from(0.5).unwrap(), "much".into()].into_iter().enumerate() {
        let event = Event::new("buy", format!("u{at}"), Timestamp::from_seconds(1_700_000_000));
        db.events().append(event.set("amount", amount))?;
    }
    let join = db.snapshot().join().select(["event.amount"]).ordered();
    assert_eq!(join.column_types()?, [ColumnType::Json]);
    let numbers = join.clone().filter(r#"properties["amount"] != "much""#);
    assert_eq!(numbers.column_types()?, [ColumnType::Float64]);
    let json =
        numbers.clone().column_type("event.amount", ColumnType::Int64).column_type("event.amount", ColumnType::Json);
    let batch = json.record_batches()?.next().unwrap()?;
    assert_eq!(
        column(&[batch], 3, |array, at| value_at(array, at, &ColumnType::Json)),
        [1.into(), 0.5.try_into().unwrap()]
    );

    let mut read = join.clone().column_type("event.amount", ColumnType::Float64).record_batches()?;
    assert_eq!(read.schema().field(3).data_type(), &DataType::Float64);
    let error = read.next().unwrap().unwrap_err();
    assert!(error.is_invalid() && error.field() == Some("event.amount"), "{error}");
    for part in [r#"value="much""#, "type=float64", r#"distinct_id="u2""#, "time=2023-11-14T22:13:20"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(read.next().is_none());

    let error = join.clone().column_type("user.plan", ColumnType::Text).record_batches().unwrap_err();
    assert!(error.is_invalid() && error.field() == Some("user.plan"), "{error}");
    assert!(join.clone().column_type("plan", ColumnType::Text).record_batches().unwrap_err().is_invalid());
    Ok(())
}

#[test]
fn no_rows_are_no_batches_and_still_a_schema() -> Result<()> {
    let dir = TempStore::new(builder);
    let db = dir.open();
    db.groups("company")?.create()?;
    let mut read = db.snapshot().join().select(FIELDS).record_batches()?;
    let types: Vec<_> = read.schema().fields().iter().map(|field| field.metadata()["profiledb.type"].clone()).collect();
    assert_eq!(types[..5], ["text", "timestamp", "text", "text", "text"]);
    assert_eq!(types[13..], ["list<text>", "list<timestamp>", "list<text>"]);
    assert!(read.next().is_none());
    Ok(())
}

#[test]
fn events_from_elsewhere_are_read_once() -> Result<()> {
    let dir = TempStore::new(builder);
    let db = dir.open();
    db.users().update("alice", Update::new().set("plan", "pro"))?;
    let visits = ["alice", "bob"].map(|id| Ok(Event::new("visit", id, Timestamp::from_seconds(1_700_000_000))));
    let join = db.snapshot().join().events_from(visits).select(["user.plan", "event.$day", "user.age"]);
    let join = join.column_type("user.age", ColumnType::Int64);
    let read = join.record_batches()?;
    let types: Vec<_> = read.schema().fields().iter().map(|field| field.metadata()["profiledb.type"].clone()).collect();
    assert_eq!(types[3..], ["json", "text", "int64"]);
    let read = read.collect::<Result<Vec<_>>>()?;
    assert_eq!(column(&read, 3, |array, at| value_at(array, at, &ColumnType::Json)), ["pro".into(), Value::Null]);
    Ok(())
}
