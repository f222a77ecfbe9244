//! Files read once.

use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;

use crate::shop::{Shop, line};

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).expect("packs");
    packed.finish().expect("packs")
}

const CSV: &str =
    "ID,Name,TS,more\n1,a,2026-02-01 00:00:00 UTC,x\n2,\"b\nc\",2026-02-01T00:00:01Z,\n";

#[test]
fn every_format_and_packing() {
    let json: String = (1..=2).map(line).collect();
    let array = format!("[{}]", json.trim().replace('\n', ","));
    for (name, bytes, options) in [
        ("e.json", json.clone().into_bytes(), ""),
        ("e.jsonl.gz", gzip(&json), ""),
        ("e.json.zst", zstd::encode_all(json.as_bytes(), 1).expect("packs"), ""),
        ("array.json", array.into_bytes(), ""),
        ("e.csv", CSV.as_bytes().to_vec(), ""),
        ("e.csv.gz", gzip(CSV), ""),
        ("e.tsv", CSV.replace('"', "").replace("b\nc", "b").replace(',', "\t").into_bytes(), ""),
        ("plain", b"2;z\n1;\n".to_vec(), ", format = 'csv', columns = 'id,name', delimiter = ';'"),
        ("m.csv", b"key\n1\n2\n".to_vec(), ", mapping = 'id = key'"),
    ] {
        let shop = Shop::new();
        shop.write(name, bytes);
        shop.create(&format!("path = '{name}'{options}"));
        shop.drain().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(shop.rows("SELECT id FROM events ORDER BY id"), ["1", "2"], "{name}");
    }
}

#[test]
fn parquet_is_matched_and_cast() {
    let shop = Shop::new();
    let rows = RecordBatch::try_from_iter([
        ("ID", Arc::new(Int32Array::from_iter_values(0..20_000)) as _),
        ("unused", Arc::new(Int64Array::from_iter_values(0..20_000)) as _),
        (
            "ts",
            Arc::new(StringArray::from_iter_values((0..20_000).map(|_| "2026-02-01 00:00:00")))
                as _,
        ),
    ]);
    let rows = rows.expect("three columns");
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("writes");
    shop.write("e.parquet", writer.into_inner().expect("writes"));
    shop.create("path = '*.parquet'");
    shop.drain().expect("reads");
    assert_eq!(
        shop.rows("SELECT count(*), sum(id), min(ts), count(name) FROM events"),
        ["20000|199990000|2026-02-01T00:00:00Z|0"]
    );
    shop.drain().expect("reads nothing more");
    assert_eq!(shop.count(), 20_000);
}

#[test]
fn many_files_are_stored_once_whatever_happens() {
    let mut shop = Shop::new();
    for file in 0..4 {
        let text: String = (file * 30_000..(file + 1) * 30_000).map(line).collect();
        let name = format!("part-{file}.json{}", if file % 2 == 0 { "" } else { ".gz" });
        shop.write(&name, if file % 2 == 0 { text.into_bytes() } else { gzip(&text) });
    }
    shop.create("path = 'part-*'");
    // Stopped in the middle, again and again.
    for _ in 0..5 {
        let sources = shop.start().expect("starts");
        std::thread::sleep(std::time::Duration::from_millis(15));
        sources.stop();
        shop.restart();
    }
    shop.drain().expect("reads");
    let all = "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM events";
    assert_eq!(shop.rows(all), ["120000|120000|0|119999"]);
    // What was appended meanwhile is all that is read.
    shop.append("part-0.json", line(120_000));
    shop.drain().expect("reads");
    assert_eq!(shop.rows(all), ["120001|120001|0|120000"]);
}

#[test]
fn bad_rows_are_kept_with_their_lines() {
    let shop = Shop::new();
    let good: String = (0..40_000).map(line).collect();
    let long = "x".repeat(3 << 20);
    shop.write(
        "e.json",
        format!("{good}broken\n\n{long}\n{}{{\"id\":\"x\"}}\n{{\"id\":7", line(1)),
    );
    shop.create("path = 'e.json'");
    let sources = shop.start().expect("starts");
    sources.run_until_drained().expect("reads");
    let status = &sources.statuses()[0];
    assert_eq!((status.rows, status.dead_letters, status.done), (40_001, 4, true));
    assert_eq!(
        status.position,
        format!("e.json@{}", std::fs::metadata(shop.path("e.json")).expect("is there").len())
    );
    sources.stop();
    let length = std::fs::metadata(shop.path("e.json")).expect("is there").len();
    assert_eq!(
        shop.rows(
            "SELECT stream, source, partition, dead_letters, bytes, state, error FROM yeoul.sources"
        ),
        [format!("events|file|e.json|4|{length}|finished|-")]
    );
    assert_eq!(
        shop.rows("SELECT DISTINCT format FROM yeoul.dead_letters"),
        ["{\"format\":\"json\"}"]
    );
    assert_eq!(
        shop.rows("SELECT position, reason FROM yeoul.dead_letters ORDER BY position"),
        [
            "e.json:40001|not JSON at byte 0: expected an object",
            "e.json:40003|the record is longer than 1048576 bytes",
            "e.json:40005|column \"id\": \"x\" is not a valid bigint",
            "e.json:40006|not JSON at byte 7: expected a comma or the end of an object",
        ]
    );
}

#[test]
fn sources_show_their_state_and_their_last_error() {
    let state = "SELECT partition, received, bytes, state, error FROM yeoul.sources";
    let shop = Shop::new();
    shop.write("e.csv", "name;id\nx;1\ny;z\n");
    shop.create("path = 'e.csv', delimiter = ';', on_error = 'fail'");
    assert!(shop.drain().is_err());
    let found = shop.rows(state);
    assert!(
        found[0].starts_with("|0|-|failed|source of \"events\": e.csv:3: column \"id\""),
        "{found:?}"
    );
    shop.run("DROP STREAM events");
    shop.create("path = 'e.csv', delimiter = ';'");
    shop.drain().expect("reads");
    assert_eq!(shop.rows(state), ["e.csv|2|16|finished|-"]);
    assert_eq!(
        shop.rows("SELECT format FROM yeoul.dead_letters"),
        [r#"{"format":"csv","columns":["name","id"],"delimiter":";","quote":"\""}"#]
    );
    shop.run("DROP STREAM events");
    shop.create("path = 'none-*.csv', follow = 'true'");
    let sources = shop.start().expect("waits for files");
    assert_eq!(shop.rows(state), ["|0|-|running|-"]);
    sources.stop();
    assert_eq!(shop.rows(state), ["|0|-|stopped|-"]);
}

#[test]
fn an_empty_file_and_a_strange_name_are_files() {
    let shop = Shop::new();
    shop.write("a.csv", "");
    shop.write("b.csv", "\r\n");
    shop.write("c[1].csv", "id,name\n1,a\n");
    shop.create("path = '*.csv'");
    shop.drain().expect("reads");
    assert_eq!(shop.rows("SELECT name, id FROM events"), ["a|1"]);
    let shop = Shop::new();
    shop.write("c[1].csv", "id,name\n1,a\n");
    shop.create("path = 'c[1].csv'");
    shop.drain().expect("reads");
    assert_eq!(shop.rows("SELECT partition, position FROM yeoul.sources"), ["c[1].csv|12"]);
}

#[test]
fn lines_are_counted_behind_what_was_read_before() {
    let shop = Shop::new();
    shop.write("e.json", (0..10).map(line).collect::<String>());
    shop.create("path = 'e.json'");
    shop.drain().expect("reads");
    shop.append("e.json", "broken\n");
    shop.drain().expect("reads");
    assert_eq!(shop.rows("SELECT position FROM yeoul.dead_letters"), ["e.json:11"]);
}

#[test]
fn failures_say_what_to_do() {
    for (files, options, message) in [
        (&[][..], "path = 'no*.json'", "no file matches \"no*.json\""),
        (
            &[("e.csv", "a,b\n1,2\n")],
            "path = 'e.csv'",
            "the header names none of the columns id, name, ts: a,b",
        ),
        (&[("e.csv", "id\n1\n")], "path = 'e.csv', mapping = 'nme = id'", "column \"nme\""),
        (
            &[("e.json", "{}\nx\n")],
            "path = 'e.json', on_error = 'fail'",
            "e.json:2: not JSON at byte 0",
        ),
        (&[("e.json.gz", "no gzip")], "path = 'e.json.gz'", "e.json.gz: it is not readable gzip: "),
        (&[("e.parquet", "no parquet")], "path = 'e.parquet'", "e.parquet: "),
    ] {
        let shop = Shop::new();
        files.iter().for_each(|(name, text)| shop.write(name, text));
        let sql = format!(
            "CREATE STREAM events {} WITH (connector = 'file', {options})",
            crate::shop::COLUMNS
        );
        let created = futures::executor::block_on(shop.session().execute(&sql));
        let error = match created.into_iter().find_map(Result::err) {
            Some(error) => error.to_string(),
            None => shop.drain().expect_err("cannot work").to_string(),
        };
        assert!(error.contains(message), "{options}: {error}");
    }
}

#[test]
fn streams_that_come_later_are_read_and_dropped_ones_not() {
    let shop = Shop::new();
    shop.write("e.json", line(1));
    let sources = shop.start().expect("nothing to read");
    shop.create("path = 'e.json'");
    sources.run_until_drained().expect("reads");
    assert_eq!(shop.count(), 1);
    shop.run("DROP STREAM events");
    assert!(sources.is_drained());
    assert_eq!(sources.statuses(), []);
    sources.stop();
}
