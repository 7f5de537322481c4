//! Columns of arbitrary values.

use arrow_schema::{DataType, TimeUnit};
use profiledb::arrow::{BatchBuilder, Cell, ColumnType, TypeInference, arrow_schema};
use profiledb::{Number, Timestamp, Value};
use proptest::prelude::*;

use super::{column, through_files, value_at};

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3..4_i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3..4_i32).prop_map(|n| Value::try_from(f64::from(n)).unwrap()),
        any::<f64>().prop_filter_map("not finite", |double| Value::try_from(double).ok()),
    ]
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof!["[ab\"\u{e9}]{0,2}", Just("2024-01-01T00:00:00".to_owned())].prop_map(Value::from)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text()]
}

/// Values of one kind, or of any.
fn column_of_values() -> impl Strategy<Value = Vec<Value>> {
    let any_value = scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    });
    let many =
        |values: BoxedStrategy<Value>| prop::collection::vec(prop_oneof![1 => Just(Value::Null), 4 => values], 0..12);
    prop_oneof![
        many(any::<bool>().prop_map(Value::from).boxed()),
        many((-9..9_i64).prop_map(Value::from).boxed()),
        many(number().boxed()),
        many(text().boxed()),
        many(prop::collection::vec(prop_oneof![Just(Value::Null), number()], 0..4).prop_map(Value::from).boxed()),
        many(prop::collection::vec(text(), 0..4).prop_map(Value::from).boxed()),
        many(scalar().boxed()),
        many(any_value.boxed()),
    ]
}

fn inferred(values: &[Value]) -> ColumnType {
    // In two parts, as two threads do it.
    let (mut first, mut second) = (TypeInference::new(), TypeInference::new());
    for (at, value) in values.iter().enumerate() {
        if at % 2 == 0 { first.see(value) } else { second.see(value) }
    }
    second.merge(&first);
    second.column_type()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What is inferred holds every value: it comes back equal, from memory and from files, and a number that is shown
    /// as a float is still one.
    #[test]
    fn inferred_columns_change_no_value(
        columns in prop::collection::vec(column_of_values(), 1..4), cut in 0..12_usize,
    ) {
        let rows = columns.iter().map(Vec::len).max().unwrap();
        let value = |at: usize, row: usize| columns[at].get(row).unwrap_or(&Value::Null);
        let types: Vec<ColumnType> = columns.iter().map(|values| inferred(values)).collect();
        let mut builder = BatchBuilder::new(types.iter().cloned().enumerate().map(|(at, of)| (at.to_string(), of)));
        let mut batches = Vec::new();
        for row in 0..rows {
            builder.push_row((0..columns.len()).map(|at| Cell::from(value(at, row)))).unwrap();
            if row == cut {
                batches.push(builder.finish().unwrap());
            }
        }
        batches.push(builder.finish().unwrap());
        let [parquet, stream] = through_files(&batches, &builder.schema());
        for (at, column_type) in types.iter().enumerate() {
            for batches in [&batches, &parquet, &stream] {
                let read = column(batches, at, |array, row| value_at(array, row, column_type));
                prop_assert_eq!(read.len(), rows);
                for (row, read) in read.iter().enumerate() {
                    prop_assert_eq!(read, value(at, row));
                    let is_float = |value: &Value| value.as_number().is_some_and(Number::is_float);
                    prop_assert!(is_float(read) || !is_float(value(at, row)), "{} is no float", read);
                }
            }
        }
    }
}

#[test]
fn the_narrowest_type_is_inferred() {
    let json = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap();
    for (values, expected) in [
        ("[]", "text"),
        ("[null]", "text"),
        (r#"["a","1",null]"#, "text"),
        ("[true,null]", "boolean"),
        ("[1,-2]", "int64"),
        ("[1,2.0]", "float64"),
        ("[9007199254740993]", "int64"),
        ("[9007199254740993,0.5]", "json"),
        ("[9223372036854775807]", "int64"),
        ("[9223372036854775808]", "float64"),
        ("[9223372036854775809]", "json"),
        (r#"["a",1]"#, "json"),
        (r#"[{"a":1}]"#, "json"),
        ("[[]]", "list<text>"),
        ("[[1,null],[2]]", "list<int64>"),
        ("[[1],[0.5]]", "list<float64>"),
        (r#"[["a"],[1]]"#, "list<json>"),
        ("[[[1]]]", "list<json>"),
        ("[[1],1]", "json"),
        // Dates have no type of their own.
        (r#"["2024-01-01T00:00:00"]"#, "text"),
    ] {
        assert_eq!(inferred(&json(values)).to_string(), expected, "{values}");
    }
    for (values, expected) in [
        ("[]", "timestamp"),
        (r#"["2024-01-01T00:00:00",null]"#, "timestamp"),
        (r#"["2024-01-01T00:00:00","x"]"#, "text"),
        (r#"["2024-01-01T00:00:00",1]"#, "json"),
    ] {
        let mut inference = TypeInference::of_times();
        json(values).iter().for_each(|value| inference.see(value));
        assert_eq!(inference.column_type().to_string(), expected, "{values}");
    }
}

/// As threads that see parts of a column, one after another.
#[test]
fn times_of_parts_are_times_only_if_all_are() {
    let of = |inference: fn() -> TypeInference, texts: &[&str]| {
        let mut inference = inference();
        texts.iter().for_each(|text| inference.see_text(text));
        inference
    };
    let time = ["2024-01-01T00:00:00"];
    for (first, second, expected) in [
        (of(TypeInference::of_times, &time), of(TypeInference::of_times, &time), "timestamp"),
        (of(TypeInference::of_times, &time), of(TypeInference::of_times, &["x"]), "text"),
        (of(TypeInference::of_times, &time), of(TypeInference::new, &["x"]), "text"),
        (of(TypeInference::of_times, &time), of(TypeInference::new, &time), "text"),
    ] {
        for (one, other) in [(&first, &second), (&second, &first)] {
            let mut all = one.clone();
            all.merge(other);
            assert_eq!(all.column_type().to_string(), expected, "{first:?} {second:?}");
        }
    }
}

/// A sum of doubles can have more digits than a double. It is shown as one, and is in a column as it is shown.
#[test]
fn floats_are_the_doubles_that_are_shown() {
    let double = |double: f64| Number::try_from(double).unwrap();
    let sum = Value::from(&double(1e300) + &double(5e-324));
    assert_eq!(inferred(&[sum.clone(), 1.into()]).to_string(), "float64");
    let mut builder = BatchBuilder::new([("x", ColumnType::Float64)]);
    builder.push_row([Cell::from(&sum)]).unwrap();
    let read = column(&[builder.finish().unwrap()], 0, |array, at| value_at(array, at, &ColumnType::Float64));
    assert_eq!(read, [Value::try_from(1e300).unwrap()]);
}

#[test]
fn types_of_arrow_are_those_of_the_documentation() {
    let text = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    for (column_type, expected) in [
        (ColumnType::Text, text.clone()),
        (ColumnType::Json, text.clone()),
        (ColumnType::Boolean, DataType::Boolean),
        (ColumnType::Int64, DataType::Int64),
        (ColumnType::Float64, DataType::Float64),
        (ColumnType::Timestamp, time.clone()),
        (ColumnType::List(Box::new(ColumnType::Timestamp)), DataType::new_list(time, true)),
        (ColumnType::List(Box::new(ColumnType::Text)), DataType::new_list(text, true)),
    ] {
        let mut builder = BatchBuilder::new([("x", column_type.clone())]);
        let field = builder.schema().field(0).clone();
        assert_eq!((field.data_type(), field.is_nullable()), (&expected, true));
        assert_eq!(field.metadata()["profiledb.type"], column_type.to_string());
        builder.push_row([Cell::NotSet]).unwrap();
        assert_eq!(builder.finish().unwrap().column(0).data_type(), &expected);
    }
}

#[test]
fn a_value_that_does_not_fit_is_an_error_that_names_it() {
    let list = ColumnType::List(Box::new(ColumnType::Boolean));
    for (column_type, values) in [
        (ColumnType::Text, r#"[1, true, ["a"], {}]"#),
        (ColumnType::Boolean, r#"[0, "true"]"#),
        (ColumnType::Int64, r#"[1.0, 0.5, "1", 9223372036854775808, true]"#),
        (ColumnType::Float64, r#"[9007199254740993, "0.5", 9223372036854775809]"#),
        (ColumnType::Timestamp, r#"["x", 1700000000, "2024-01-01T00:00:00.0001", "2024-13-01"]"#),
        (list, r#"[true, [1], [null, "x"]]"#),
    ] {
        for value in serde_json::from_str::<Vec<Value>>(values).unwrap() {
            let mut builder = BatchBuilder::new([("id", ColumnType::Json), ("x", column_type.clone())]);
            builder.push_row([Cell::NotSet, Cell::NotSet]).unwrap();
            let error = builder.push_row(["a".into(), Cell::from(&value)]).unwrap_err();
            assert!(error.is_invalid() && error.field() == Some("x"), "{error}");
            assert!(error.message().contains(&format!("type={column_type}")), "{error}");
            // No batch has half of a row.
            assert_eq!(builder.finish().unwrap_err().message(), error.message());
            assert!(builder.push_row([Cell::NotSet, Cell::NotSet]).is_err());
        }
    }
    let long = "x".repeat(10_000);
    let error = BatchBuilder::new([("x", ColumnType::Int64)]).push_row([long.as_str().into()]).unwrap_err();
    assert!(error.message().len() < 400, "{error}");
}

#[test]
fn times_are_exact_and_texts_of_any_offset_are_read() {
    let times = [i64::MIN, -1, 0, 1_700_000_000_123, i64::MAX].map(Timestamp::from_millis);
    let texts = ["2024-01-01", "2024-01-01T01:00:00+01:00", "2024-01-01T00:00:00.1230Z"];
    let mut builder = BatchBuilder::new([("time", ColumnType::Timestamp)]);
    times.into_iter().for_each(|time| builder.push_row([time.into()]).unwrap());
    texts.into_iter().for_each(|text| builder.push_row([text.into()]).unwrap());
    let batch = builder.finish().unwrap();
    let read = column(&[batch], 0, |array, at| value_at(array, at, &ColumnType::Timestamp));
    let midnight = 1_704_067_200_000;
    let millis = times.into_iter().map(Timestamp::millis).chain([midnight, midnight, midnight + 123]);
    assert_eq!(read, millis.map(Value::from).collect::<Vec<_>>());
    // As JSON with all digits, as in exports.
    let mut builder = BatchBuilder::new([("time", ColumnType::Json)]);
    builder.push_row([Timestamp::from_millis(1_700_000_000_123).into()]).unwrap();
    let read = column(&[builder.finish().unwrap()], 0, |array, at| value_at(array, at, &ColumnType::Json));
    assert_eq!(read, ["2023-11-14T22:13:20.123".into()]);
}

#[test]
fn rows_have_a_value_for_each_column_and_batches_end_when_they_are_large() {
    let new = || BatchBuilder::new([("a", ColumnType::Text), ("b", ColumnType::Text)]);
    for count in [0, 1, 3] {
        assert!(new().push_row((0..count).map(|_| Cell::NotSet)).unwrap_err().is_invalid());
    }
    let mut builder = new();
    let long = "x".repeat(profiledb::arrow::BATCH_BYTES);
    builder.push_row([long.as_str().into(), Cell::NotSet]).unwrap();
    assert!(builder.is_full());
    assert_eq!(builder.finish().unwrap().num_rows(), 1);
    assert!(!builder.is_full());
    let none = BatchBuilder::new([("a", ColumnType::Text); 0]).finish().unwrap();
    assert_eq!((none.num_rows(), none.num_columns()), (0, 0));
}

#[test]
fn repeated_texts_are_in_a_dictionary_once() {
    use arrow_array::cast::AsArray;
    use arrow_array::types::UInt32Type;
    use profiledb::arrow::arrow_array;

    let mut builder = BatchBuilder::new([("plan", ColumnType::Text)]);
    for at in 0..100 {
        builder.push_row([if at % 2 == 0 { "pro" } else { "free" }.into()]).unwrap();
    }
    let batch = builder.finish().unwrap();
    assert_eq!(batch.column(0).as_dictionary::<UInt32Type>().values().len(), 2);
    // Each batch has a dictionary of its own.
    builder.push_row(["team".into()]).unwrap();
    assert_eq!(builder.finish().unwrap().column(0).as_dictionary::<UInt32Type>().values().len(), 1);
}
