//! Rows in files: of text, and of record batches, which have what the same command prints as lines of JSON.

use std::fs;

use crate::store::CliStore;

const EVENTS: &str = r#"
{"event":"visit","properties":{"time":1704103200,"distinct_id":"ann","$insert_id":"e1"}}
{"event":"buy","properties":{"time":1704106800123,"distinct_id":"ann","$insert_id":"e2",
"company":["acme","bolt"],"amount":5}}
{"event":"buy","properties":{"time":1704103200,"distinct_id":"bob","$insert_id":"e3","company":"acme","amount":0.5}}
{"event":"visit","properties":{"time":1704186000,"distinct_id":"ann","$insert_id":"e4","company":"ghost"}}
"#;
const PROFILES: &str = r#"
{"$distinct_id":"ann","$time":1704186000,"$set":{"plan":"A","company":["acme","bolt"],"age":30,"meta":{"x":null}}}
{"$distinct_id":"bob","$time":1704186000,"$set":{"name":"","age":31.5}}
{"$group_key":"company","$group_id":"acme","$time":1704186000,"$set":{"tier":"gold"}}
{"$group_key":"company","$group_id":"bolt","$time":1704186000,"$set":{"tier":"silver"}}
"#;

fn filled() -> CliStore {
    let bench = CliStore::new();
    assert_eq!(bench.feed(&["track", "-"], EVENTS.as_bytes()).code, 0);
    assert_eq!(bench.feed(&["import", "-"], PROFILES.as_bytes()).code, 0);
    bench
}

fn listing(bench: &CliStore) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_output_has_what_is_printed_without_it() {
    let bench = filled();
    let commands = [
        &["join", "--ordered", "--select", "user.plan,event.amount"][..],
        &["join", "--by", "user.plan", "--count"],
        &["count", "--by", "plan"],
        &["events"],
        &["events", "--days"],
        &["list"],
    ];
    for command in commands {
        for format in ["json", "ndjson", "csv", "table"] {
            let command = [command, &["--format", format]].concat();
            let printed = bench.run(&command).ok();
            assert_eq!(bench.run(&[&command[..], &["--output", "-"]].concat()).ok(), printed);
            assert_eq!(bench.run(&[&command[..], &["--output", "out"]].concat()).ok(), "");
            assert_eq!(fs::read_to_string(bench.path("out")).unwrap(), printed, "{command:?}");
        }
        assert_eq!(bench.run(&[command, &["--output", "out"]].concat()).ok(), "");
        assert_eq!(fs::read_to_string(bench.path("out")).unwrap(), bench.run(command).ok());
    }
    let salvaged = bench.run(&["events", "--salvage"]).ok();
    assert_eq!(bench.run(&["events", "--salvage", "--output", "out"]).ok(), "");
    assert_eq!(fs::read_to_string(bench.path("out")).unwrap(), salvaged);
}

#[test]
fn an_output_that_fails_stays_as_it_was() {
    let bench = filled();
    bench.file("out", "kept");
    bench.run(&["join", "--select", "group:ghost.x", "--output", "out"]).failed(&["ghost"]);
    bench.run(&["join", "--output", "store/out"]).failed(&["--output lies inside the store"]);
    bench.run(&["join", "--explain", "--output", "out"]).failed(&["--explain"]);
    // It fails at an event, after the header was written.
    let fails = ["events", "--where", "user[\"age\"] and true", "--output", "out", "--format", "csv"];
    bench.run(&fails).failed(&["takes booleans"]);
    assert_eq!(fs::read_to_string(bench.path("out")).unwrap(), "kept");
    assert_eq!(listing(&bench), ["out", "store"]);
}

#[cfg(not(feature = "arrow"))]
#[test]
fn formats_of_record_batches_need_their_feature() {
    assert_eq!(CliStore::new().run(&["join", "--format", "parquet"]).code, 1);
}

#[cfg(feature = "arrow")]
mod files {
    use std::fs::File;
    use std::process::Stdio;
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type, TimestampMillisecondType, UInt32Type};
    use arrow_array::{Array, RecordBatch};
    use arrow_ipc::reader::StreamReader;
    use arrow_schema::DataType;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use profiledb::{Timestamp, Value};
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::store::{Ended, lines};

    fn cell(array: &dyn Array, at: usize) -> Json {
        match array.data_type() {
            _ if array.is_null(at) => Json::Null,
            DataType::Boolean => array.as_boolean().value(at).into(),
            DataType::Int64 => array.as_primitive::<Int64Type>().value(at).into(),
            DataType::Float64 => array.as_primitive::<Float64Type>().value(at).into(),
            DataType::Timestamp(..) => {
                Timestamp::from_millis(array.as_primitive::<TimestampMillisecondType>().value(at)).to_string().into()
            }
            DataType::List(_) => {
                let elements = array.as_list::<i32>().value(at);
                (0..elements.len()).map(|at| cell(&*elements, at)).collect()
            }
            _ => {
                let column = array.as_dictionary::<UInt32Type>();
                column.values().as_string::<i32>().value(column.keys().value(at) as usize).into()
            }
        }
    }

    /// The rows of batches, as objects of JSON. Of a column of JSON, its values.
    fn rows(batches: impl Iterator<Item = RecordBatch>) -> Vec<Json> {
        let mut rows = Vec::new();
        for batch in batches {
            for at in 0..batch.num_rows() {
                let fields = batch.schema_ref().fields().iter().zip(batch.columns());
                let value = |(field, array): (&Arc<arrow_schema::Field>, &arrow_array::ArrayRef)| {
                    let value = cell(array, at);
                    let is_json = field.metadata()["profiledb.type"] == "json" && !value.is_null();
                    let read = || serde_json::from_str(value.as_str().unwrap()).unwrap();
                    (field.name().clone(), if is_json { read() } else { value })
                };
                rows.push(fields.map(value).collect());
            }
        }
        rows
    }

    fn read(bench: &CliStore, command: &[&str]) -> Vec<Json> {
        let run = |more: &[&str]| bench.run(&[command, more].concat()).ok();
        assert_eq!(run(&["--format", "parquet", "--output", "out.parquet"]), "");
        let parquet = ParquetRecordBatchReaderBuilder::try_new(File::open(bench.path("out.parquet")).unwrap()).unwrap();
        let parquet = rows(parquet.build().unwrap().map(Result::unwrap));
        assert_eq!(run(&["--format", "arrow", "--output", "out.arrows"]), "");
        let stream = StreamReader::try_new(File::open(bench.path("out.arrows")).unwrap(), None).unwrap();
        assert_eq!(rows(stream.map(Result::unwrap)), parquet);
        // The same bytes on the standard output, which is no terminal.
        let mut piped = bench.command(&[command, &["--format", "arrow"]].concat());
        let piped = piped.stdin(Stdio::null()).output().unwrap();
        assert!(piped.status.success() && piped.stdout == fs::read(bench.path("out.arrows")).unwrap());
        parquet
    }

    /// What the command prints as lines of JSON, with null for columns that a line has not.
    fn printed(bench: &CliStore, command: &[&str], columns: &Json) -> Vec<Json> {
        let mut printed = lines(&bench.run(&[command, &["--format", "ndjson"]].concat()).ok());
        for line in &mut printed {
            let line = line.as_object_mut().unwrap();
            columns.as_object().unwrap().keys().for_each(|name| {
                line.entry(name).or_insert(Json::Null);
            });
        }
        printed
    }

    #[test]
    fn files_have_what_lines_have() {
        let bench = filled();
        let fields = "event.amount,event.company,user.plan,user.age,user.$last_seen,group:company.tier,user.meta";
        for (command, count) in [
            (&["join", "--ordered", "--select", fields][..], 4),
            (&["join", "--ordered", "--limit", "3"], 3),
            (&["join", "--where", "properties[\"amount\"] > 100"], 0),
            (&["join", "--by", "user.plan,event.$day", "--count", "--sum", "event.amount"], 3),
            (&["count", "--by", "plan", "--avg", "age"], 2),
            (&["events", "--days"], 2),
            (&["list"], 2),
            (&["list", "--group", "company"], 2),
            (&["list", "--columns", "age,$last_seen,plan"], 2),
        ] {
            let read = read(&bench, command);
            assert_eq!(read.len(), count, "{command:?}");
            let printed = read.first().map_or(Vec::new(), |first| printed(&bench, command, first));
            // Numbers as this crate compares them: 1 is 1.0.
            let values = |rows: Vec<Json>| serde_json::from_value::<Value>(rows.into()).unwrap();
            assert_eq!(values(read), values(printed), "{command:?}");
        }
    }

    #[test]
    fn events_have_a_column_for_each_property() {
        let bench = filled();
        let rows = read(&bench, &["events", "--user", "ann"]);
        let buy = json!({
            "event": "buy", "time": "2024-01-01T11:00:00", "distinct_id": "ann", "$insert_id": "e2",
            "amount": 5, "company": ["acme", "bolt"],
        });
        assert_eq!(rows.len(), 3);
        assert_eq!(serde_json::from_value::<Value>(rows[1].clone()).unwrap(), serde_json::from_value(buy).unwrap());
        assert_eq!(rows[2]["company"], "ghost");
        // To the millisecond, which the text of a time does not show.
        let file = File::open(bench.path("out.parquet")).unwrap();
        let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
        let times = batch.column_by_name("time").unwrap().as_primitive::<TimestampMillisecondType>();
        assert_eq!(times.value(1), 1_704_106_800_123);
    }

    /// Of the same size as those of the library; no rows are no batch.
    #[test]
    fn batches_have_8192_rows() {
        let bench = CliStore::new();
        let event = |at: usize| {
            let properties = json!({"time": 1_704_103_200, "distinct_id": "u", "$insert_id": format!("i{at}")});
            json!({"event": "e", "properties": properties}).to_string() + "\n"
        };
        let events: String = (0..8_193).map(event).collect();
        assert_eq!(bench.feed(&["track", "-"], events.as_bytes()).code, 0);
        let rows = |command: &[&str]| {
            let command = [command, &["--format", "arrow", "--output", "out"]].concat();
            assert_eq!(bench.run(&command).ok(), "");
            let stream = StreamReader::try_new(File::open(bench.path("out")).unwrap(), None).unwrap();
            stream.map(|batch| batch.unwrap().num_rows()).collect::<Vec<_>>()
        };
        for command in ["events", "join"] {
            assert_eq!(rows(&[command]), [8_192, 1], "{command}");
            assert_eq!(rows(&[command, "--where", "properties[\"n\"] > 1"]), [0; 0], "{command}");
        }
    }

    /// An error of the output is one of the command, also where it is met at the very end.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_fails_the_command() {
        let bench = filled();
        for format in ["parquet", "arrow"] {
            bench.run(&["join", "--format", format, "--output", "/dev/full"]).failed(&["No space left"]);
        }
    }

    #[test]
    fn a_query_that_fails_leaves_no_file() {
        let bench = filled();
        for command in ["join", "events"] {
            let fails = [command, "--where", "user[\"age\"] and true", "--output", "out", "--format", "parquet"];
            bench.run(&fails).failed(&["takes booleans"]);
        }
        assert_eq!(listing(&bench), ["store"]);
        let ended: Ended = bench.run(&["tables", "--format", "parquet"]);
        assert!(ended.code == 1 && ended.err.contains("[possible values: json, ndjson, table, csv]"), "{ended:?}");
        bench.run(&["join", "--explain", "--format", "parquet"]).failed(&["--explain"]);
    }
}
