//! Questions in SQL, against the same questions by joins.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use profiledb::arrow::ColumnType;
use profiledb::join::Measure;
use profiledb::{Db, Event, Timestamp, Update, Value};
use profiledb_datafusion::EventTable;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const FIELDS: [&str; 5] = ["event.amount", "user.plan", "user.tags", "group:company.tier", "event.$day"];

fn store(dir: &tempfile::TempDir) -> Outcome<Db> {
    let db = Db::open(dir.path().join("store"))?;
    let companies = db.groups("company")?;
    for at in 0..30_i64 {
        let mut update = Update::new().set("plan", ["free", "pro", "team"][at as usize % 3]);
        if at % 4 == 0 {
            update = Update::new().union("tags", ["x", "y"]);
        }
        db.users().update(&format!("u{at}"), update)?;
    }
    companies.update("acme", Update::new().set("tier", "gold"))?;
    let start = Timestamp::parse("2024-01-01")?.millis();
    for at in 0..2_000_i64 {
        let (name, user) = (["visit", "buy"][(at % 7 == 0) as usize], format!("u{}", at * 31 % 40));
        let event = Event::new(name, user, Timestamp::from_millis(start + at * 1_234_567)).id(format!("i{at}"));
        let event = if at % 7 == 0 { event.set("amount", (at % 100) as f64 / 4.0) } else { event };
        db.events().append(if at % 3 == 0 { event.set("company", "acme") } else { event })?;
    }
    Ok(db)
}

async fn ask(db: &Db, query: &str) -> Outcome<Vec<RecordBatch>> {
    let sql = SessionContext::new();
    sql.register_table("events", Arc::new(EventTable::new(&db.snapshot(), FIELDS)?.threads(2)))?;
    Ok(sql.sql(query).await?.collect().await?)
}

/// All cells as text, row by row.
fn texts(batches: &[RecordBatch]) -> Outcome<Vec<Vec<String>>> {
    let (mut rows, options) = (Vec::new(), FormatOptions::default().with_null("NULL"));
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        rows.extend(
            (0..batch.num_rows()).map(|at| columns.iter().map(|column| column.value(at).to_string()).collect()),
        );
    }
    Ok(rows)
}

#[tokio::test]
async fn sums_by_a_property_of_users_are_those_of_a_join() -> Outcome {
    let dir = tempfile::tempdir()?;
    let db = store(&dir)?;
    let query = r#"
        SELECT "user.plan", count(*), sum("event.amount"), count(DISTINCT distinct_id) FROM events
        WHERE event = 'buy' AND time >= '2024-01-05' AND time < '2024-01-20T12:00:00' GROUP BY 1"#;
    let (from, to) = (Timestamp::parse("2024-01-05")?, Timestamp::parse("2024-01-20T12:00:00")?);
    let join = db.snapshot().join().event_names(["buy"]).between(from..to).group_by(["user.plan"]);
    let join = join.measure(Measure::Count).measure(Measure::Sum("event.amount".parse()?)).measure(Measure::Uniques);
    let answer = join.answer()?;
    let batches = ask(&db, query).await?;
    let mut buckets = 0;
    for batch in &batches {
        let plans = datafusion::arrow::compute::cast(batch.column(0), &datafusion::arrow::datatypes::DataType::Utf8)?;
        for at in 0..batch.num_rows() {
            let plan = plans.is_valid(at).then(|| Value::from(plans.as_string::<i32>().value(at)));
            let measures: [Value; 3] = [
                batch.column(1).as_primitive::<Int64Type>().value(at).into(),
                batch.column(2).as_primitive::<Float64Type>().value(at).try_into()?,
                batch.column(3).as_primitive::<Int64Type>().value(at).into(),
            ];
            assert_eq!(answer.get(&[plan]), Some(&measures[..]));
            buckets += 1;
        }
    }
    assert_eq!((buckets, buckets), (answer.total(), 4));
    Ok(())
}

#[tokio::test]
async fn what_is_pushed_down_changes_no_answer() -> Outcome {
    let dir = tempfile::tempdir()?;
    let db = store(&dir)?;
    let all = texts(&ask(&db, "SELECT event, time, distinct_id FROM events").await?)?;
    assert_eq!(all.len(), 2_000);
    // Each, and the same where nothing can be pushed down.
    for (filter, same) in [
        ("event = 'buy'", "event || '' = 'buy'"),
        ("event IN ('buy', 'visit') AND event = 'buy'", "event || '' = 'buy'"),
        ("event = 'buy' AND event = 'visit'", "1 = 2"),
        ("distinct_id IN ('u1', 'u7') OR event = 'buy'", "distinct_id || '' IN ('u1', 'u7') OR event || '' = 'buy'"),
        ("distinct_id = 'u1'", "distinct_id || '' = 'u1'"),
        ("distinct_id = 'nobody'", "1 = 2"),
        ("time > '2024-01-25' AND time < '2024-01-05'", "1 = 2"),
        (
            "time BETWEEN '2024-01-05' AND '2024-01-06' AND event = 'buy'",
            "date_trunc('day', time) = '2024-01-05' AND event || '' = 'buy'",
        ),
        ("time = '2024-01-01'", "time <= '2024-01-01' AND event || '' <> ''"),
        ("\"user.plan\" = 'pro' AND '2024-01-10' > time", "\"user.plan\" || '' = 'pro' AND NOT time >= '2024-01-10'"),
        ("event <> 'buy'", "NOT event || '' = 'buy'"),
    ] {
        let query = |filter: &str| format!("SELECT event, time, distinct_id, \"user.plan\" FROM events WHERE {filter}");
        let mut read = texts(&ask(&db, &query(filter)).await?)?;
        let mut expected = texts(&ask(&db, &query(same)).await?)?;
        read.sort();
        expected.sort();
        assert_eq!(read, expected, "{filter}");
        assert!(read.len() < all.len(), "{filter}");
        let count = texts(&ask(&db, &format!("SELECT count(*) FROM events WHERE {filter}")).await?)?;
        assert_eq!(count, [[expected.len().to_string()]], "{filter}");
    }
    Ok(())
}

#[tokio::test]
async fn columns_come_in_any_order_with_their_types() -> Outcome {
    let dir = tempfile::tempdir()?;
    let db = store(&dir)?;
    let query = r#"
        SELECT "event.$day", "group:company.tier", distinct_id, "user.tags", time
        FROM events WHERE distinct_id = 'u0' ORDER BY time LIMIT 2"#;
    let expected = [
        ["2024-01-01", "[gold]", "u0", "[x, y]", "2024-01-01T00:00:00Z"],
        ["2024-01-01", "[]", "u0", "[x, y]", "2024-01-01T13:43:02.680Z"],
    ];
    assert_eq!(texts(&ask(&db, query).await?)?, expected);
    let rows = texts(&ask(&db, "SELECT * FROM events LIMIT 3").await?)?;
    assert!(rows.len() == 3 && rows.iter().all(|row| row.len() == 8), "{rows:?}");
    Ok(())
}

#[tokio::test]
async fn a_value_that_does_not_fit_fails_the_query() -> Outcome {
    let dir = tempfile::tempdir()?;
    let db = store(&dir)?;
    let table = EventTable::with_types(&db.snapshot(), [("user.plan", ColumnType::Int64)])?;
    let sql = SessionContext::new();
    sql.register_table("events", Arc::new(table))?;
    let error = sql.sql(r#"SELECT "user.plan" FROM events"#).await?.collect().await.unwrap_err().to_string();
    assert!(error.contains("type=int64") && error.contains("user.plan"), "{error}");
    // A column that is not read is not looked at.
    assert_eq!(sql.sql("SELECT event FROM events").await?.count().await?, 2_000);
    assert!(EventTable::new(&db.snapshot(), ["plan"]).is_err());
    Ok(())
}
