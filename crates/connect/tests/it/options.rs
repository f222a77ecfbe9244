//! Files under the decoding options of their stream.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use crate::shop::Shop;

/// A file read into a stream of these columns; the rows, and the reasons of its dead letters.
fn check(name: &str, bytes: &[u8], columns: &str, options: &str, rows: &[&str], reasons: &[&str]) {
    let shop = Shop::new();
    shop.write(name, bytes);
    shop.run(&format!(
        "CREATE STREAM events ({columns}) WITH (connector = 'file', path = '{name}', {options})"
    ));
    shop.drain().expect(name);
    assert_eq!(shop.rows("SELECT * FROM events ORDER BY 1"), rows, "{options}");
    assert_eq!(shop.rows("SELECT reason FROM yeoul.dead_letters ORDER BY position"), reasons);
}

#[test]
fn a_file_is_read_as_its_stream_says() {
    let columns = "id BIGINT, name VARCHAR(3), ts TIMESTAMP";
    check(
        "a.csv",
        b"1;'x;y';1000\n2;NA;2000\n3;'NA';-\n4;long;0\n",
        columns,
        "columns = 'id, name, ts', delimiter = ';', quote = '''', null = 'NA, -', timestamp_unit = 'ms'",
        &["1|x;y|1970-01-01T00:00:01", "2|-|1970-01-01T00:00:02", "3|NA|-"],
        &["column \"name\": long is too long for varchar(3)"],
    );
    check(
        "b.txt",
        b"id\tname\n1\t\"x\n2\t\n",
        columns,
        "format = 'tsv', null = ''",
        &["1|\"x|-", "2|-|-"],
        &[],
    );
    check(
        "c.log",
        b"{\"item\":{\"id\":7,\"a.b\":\"n\"},\"t\":3}\n{\"item\":{\"id\":8},\"pad\":\"0123456789\"}\n",
        columns,
        "mapping = 'id: item.id, name: item.\"a.b\", ts: t', timestamp_unit = 's', row_bytes_max = 35",
        &["7|n|1970-01-01T00:00:03"],
        &["the record has 36 bytes, more than row_bytes_max = 35"],
    );
}

fn parquet(columns: Vec<(&str, arrow::array::ArrayRef)>) -> Vec<u8> {
    let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("writes");
    writer.into_inner().expect("writes")
}

#[test]
fn parquet_by_its_format_with_times_that_are_not_believed() {
    let times = ["2027-01-15 09:00:00", "2030-01-01 00:00:00", "1970-01-01 00:00:00"];
    let file = parquet(vec![
        ("key", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("ts", Arc::new(StringArray::from(times.to_vec()))),
    ]);
    let columns = "id BIGINT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts";
    // Now is 2027-01-15 08:00:00.
    check(
        "e.data",
        &file,
        columns,
        "format = 'parquet', mapping = 'id: key'",
        &["1|2027-01-15T09:00:00Z", "3|1970-01-01T00:00:00Z"],
        &["ts is 1081 days ahead of now, more than future_skew = 1 day"],
    );
    let skew = "format = 'parquet', mapping = 'id: key', future_skew = 'unlimited'";
    let all = ["1|2027-01-15T09:00:00Z", "2|2030-01-01T00:00:00Z", "3|1970-01-01T00:00:00Z"];
    check("e.data", &file, columns, skew, &all, &[]);
    let shop = Shop::new();
    shop.write("e.parquet", &file);
    shop.create("path = 'e.parquet', mapping = 'id = key', on_error = 'fail'");
    let error = shop.drain().expect_err("one row is ahead").to_string();
    assert!(error.contains("ts is 1081 days ahead of now"), "{error}");
}

#[test]
fn parquet_texts_are_held_to_their_types() {
    for (columns, reason) in
        [("s VARCHAR(2)", "is too long for varchar(2)"), ("s JSONB", "is not a valid jsonb")]
    {
        let shop = Shop::new();
        shop.write("e.parquet", parquet(vec![("s", Arc::new(StringArray::from(vec!["{ab"])))]));
        shop.run(&format!(
            "CREATE STREAM events ({columns}) WITH (connector = 'file', path = 'e.parquet')"
        ));
        let error = shop.drain().expect_err("the text does not fit").to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn events_ahead_of_now_keep_their_bytes_and_lines() {
    for speed in ["max", "1000000000x"] {
        let shop = Shop::new();
        let far = "{\"id\":2,\"ts\":\"2999-01-01\"}";
        shop.write("e.json", format!("{{\"id\":1,\"ts\":0}}\n{far}\n{{\"id\":3}}\n"));
        shop.create(&format!("path = 'e.json', speed = '{speed}', future_skew = '1 hour'"));
        shop.drain().expect("reads all");
        assert_eq!(shop.rows("SELECT id FROM events ORDER BY 1"), ["1", "3"], "{speed}");
        assert_eq!(
            shop.rows("SELECT position, CAST(raw AS VARCHAR), reason FROM yeoul.dead_letters"),
            [format!(
                "e.json:2|{far}|ts is 355001 days ahead of now, more than future_skew = 1 hour"
            )],
            "{speed}"
        );
    }
}

#[test]
fn the_guide_lists_every_option() {
    let guide = include_str!("../../../../docs/guide/sql.md");
    let table = yeoul_engine::options_markdown(yeoul_connect::CONNECTORS);
    assert!(guide.contains(&table), "put this into docs/guide/sql.md:\n{table}");
}

#[test]
fn options_by_the_names_that_others_have_for_them() {
    let shop = Shop::new();
    for (given, ours) in [
        ("properties.bootstrap.server = 'a:1'", "brokers"),
        ("kafka_broker_list = 'a:1'", "brokers"),
        ("\"bootstrap.servers\" = 'a:1'", "brokers"),
        ("group_id = 'g'", "group"),
        ("scan.startup.mode = 'earliest'", "start"),
        ("sasl_mechanisms = 'PLAIN'", "sasl_mechanism"),
        ("properties.sasl.mechanism = 'PLAIN'", "sasl_mechanism"),
        ("partition = '1'", "partitions"),
    ] {
        let error = shop
            .try_run(&format!(
                "CREATE STREAM s (id BIGINT) WITH (connector = 'kafka', {given}, topic = 't')"
            ))
            .err()
            .expect(given);
        let report = error.report.expect("a report");
        assert!(report.contains(&format!("did you mean \"{ours}\"?")), "{given}: {report}");
        let own = report.find("brokers, topic").expect("its own options are named first");
        assert!(report.find("unique_key").is_none_or(|common| own < common), "{report}");
    }
}
