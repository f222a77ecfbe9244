//! CSV and TSV by cases, and against a plain writer on random records.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use yeoul_format::{DecodeOptions, FieldPath, Format, FormatError};

use crate::sample::{columns, decode, decoder, every_type, shown};

#[test]
fn every_type_from_its_text() {
    let schema = every_type();
    let text = concat!(
        "b,i2,i4,i8,f4,f8,n,s,s3,d,t,ts,tz,iv,j,u,y,l,ls\n",
        "T,1,2,3,1.5,2.5,12.345,text,abc,2019-11-24,02:03:04,2010-12-01 08:26,",
        "2019-11-24 00:00:34.762830+00:00,1 day,\"{\"\"a\"\": 1}\",550e8400-e29b-41d4-a716-446655440000,",
        "\\x00ff,\"{1,NULL,3}\",\"{a,\"\"b c\"\"}\"\r\n",
        ",,,,,,,,,,,,,,,,,,\n",
        "0,+1, 2 ,1e3,-inf,NaN,.5,\"\",,,,1569888000,2019-10-01 00:00:00 UTC,,[],,,[],{}\n",
    );
    let decoded = decode(&schema, Format::Csv, text);
    assert_eq!(decoded.bad, []);
    let expected = concat!(
        r#"{"b":true,"i2":1,"i4":2,"i8":3,"f4":1.5,"f8":2.5,"n":12.35,"s":"text","s3":"abc","#,
        r#""d":"2019-11-24","t":"02:03:04","ts":"2010-12-01T08:26:00","tz":"2019-11-24T00:00:34.762830Z","#,
        r#""iv":"1 day","j":{"a":1},"u":"550e8400-e29b-41d4-a716-446655440000","y":"\\x00ff","#,
        r#""l":[1,null,3],"ls":["a","b c"]}"#,
        "\n",
        r#"{"b":null,"i2":null,"i4":null,"i8":null,"f4":null,"f8":null,"n":null,"s":null,"s3":null,"#,
        r#""d":null,"t":null,"ts":null,"tz":null,"iv":null,"j":null,"u":null,"y":null,"l":null,"ls":null}"#,
        "\n",
        r#"{"b":false,"i2":1,"i4":2,"i8":1000,"f4":null,"f8":null,"n":0.50,"s":"","s3":null,"#,
        r#""d":null,"t":null,"ts":"2019-10-01T00:00:00","tz":"2019-10-01T00:00:00Z","iv":null,"j":[],"#,
        r#""u":null,"y":null,"l":[],"ls":[]}"#,
        "\n",
    );
    assert_eq!(shown(&decoded.rows), expected);
}

#[test]
fn one_record_says_how_it_is_written() {
    let schema = columns(&[("id", DataType::Int64), ("name", DataType::Utf8View)]);
    let mut csv = decoder(&schema, &DecodeOptions::new(Format::Csv));
    csv.begin(b"name,\"a,b\",ID\nx,1,2\n", true).expect("reads the header");
    assert_eq!(
        csv.record_format(),
        r#"{"format":"csv","columns":["name","a,b","ID"],"delimiter":",","quote":"\""}"#
    );
    let mut options = DecodeOptions::new(Format::Tsv);
    options.header = Some(false);
    options.mapping = vec![("id".into(), FieldPath::parse("key").expect("a path"))];
    assert_eq!(
        decoder(&schema, &options).record_format(),
        r#"{"format":"csv","columns":["id","name"],"delimiter":"\t","quote":""}"#
    );
    options.columns = Some(vec!["key".into()]);
    assert!(decoder(&schema, &options).record_format().ends_with(r#","mapping":{"id":"key"}}"#));
    options.format = Some(Format::Json);
    assert_eq!(
        decoder(&schema, &options).record_format(),
        r#"{"format":"json","mapping":{"id":"key"}}"#
    );
}

#[test]
fn headers_are_matched() {
    let schema = columns(&[("invoice_no", DataType::Utf8View), ("qty", DataType::Int64)]);
    let decoded = decode(&schema, Format::Csv, "\u{feff}Qty,\"ignored, too\",INVOICE_NO\n5,x,C1\n");
    assert_eq!(shown(&decoded.rows), "{\"invoice_no\":\"C1\",\"qty\":5}\n");
    assert_eq!(decoded.lines, 2);

    let mut options = DecodeOptions::new(Format::Csv);
    options.mapping = vec![("qty".into(), FieldPath::parse("Quantity").expect("a path"))];
    let text = "InvoiceNo,Quantity\nC1,5\n";
    let decoded = decoder(&schema, &options).decode(text.as_bytes()).expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"invoice_no\":null,\"qty\":5}\n");

    let mut options = DecodeOptions::new(Format::Csv);
    options.columns = Some(vec!["qty".into(), "_".into(), "invoice_no".into()]);
    let decoded = decoder(&schema, &options).decode(b"5,x,C1\n").expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"invoice_no\":\"C1\",\"qty\":5}\n");

    options.columns = None;
    options.header = Some(false);
    let decoded = decoder(&schema, &options).decode(b"C1,5\n").expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"invoice_no\":\"C1\",\"qty\":5}\n");

    let error = decoder(&schema, &DecodeOptions::new(Format::Csv)).decode(b"a,b\n1,2\n");
    assert!(matches!(error, Err(FormatError::Header { .. })), "{error:?}");
}

#[test]
fn a_field_that_is_named_twice_is_refused() {
    let schema = columns(&[("invoice_no", DataType::Utf8View), ("qty", DataType::Int64)]);
    let csv = DecodeOptions::new(Format::Csv);
    for header in ["qty,invoice_no,qty", "QTY,Qty,invoice_no"] {
        let error = decoder(&schema, &csv).decode(format!("{header}\n1,2,3\n").as_bytes());
        assert!(matches!(error, Err(FormatError::NamedTwice { .. })), "{header}: {error:?}");
    }
    let error = decoder(&schema, &csv).decode(b"qty,invoice_no\r1,2\r3,4\r");
    assert!(matches!(error, Err(FormatError::CarriageReturn)), "{error:?}");
    // Names that are no columns may repeat, and the exact name is the one that is meant.
    let decoded = decoder(&schema, &csv).decode(b"_,_,QTY,qty\n1,2,3,4\n").expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"invoice_no\":null,\"qty\":4}\n");
}

#[test]
fn bad_records_stand_alone() {
    let schema = columns(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
    let text = concat!(
        "a,b\n",
        "1,one\n",
        "2\n",
        "3,x,y\n",
        "four,x\n",
        "5,\"broken\"x\n",
        "6,\"two\nlines\"\n",
        "\r\n",
        "7,mid\"quote\n",
        "8,\"never closed\n",
        "9,last",
    );
    let decoded = decode(&schema, Format::Csv, text);
    let expected = concat!(
        "{\"a\":1,\"b\":\"one\"}\n",
        "{\"a\":6,\"b\":\"two\\nlines\"}\n",
        "{\"a\":7,\"b\":\"mid\\\"quote\"}\n",
        "{\"a\":9,\"b\":\"last\"}\n",
    );
    assert_eq!(shown(&decoded.rows), expected);
    let bad: Vec<_> = decoded.bad.iter().map(|b| (b.line, b.reason.as_str())).collect();
    assert_eq!(
        bad,
        [
            (2, "the record has 1 fields instead of 2"),
            (3, "the record has 3 fields instead of 2"),
            (4, "column \"a\": four is not a valid bigint"),
            (5, "a quoted field does not end with its closing quote"),
            (10, "a quoted field does not end with its closing quote"),
        ]
    );
    assert_eq!(&decoded.bad[3].raw[..], b"5,\"broken\"x");
    assert_eq!(decoded.lines, 11);
}

#[test]
fn broken_characters_cost_one_record() {
    let schema = columns(&[("a", DataType::Utf8View)]);
    let mut options = DecodeOptions::new(Format::Csv);
    options.header = Some(false);
    let decoded = decoder(&schema, &options).decode(b"x\n\"q\n\"\nb\xff\ny\n").expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"a\":\"x\"}\n{\"a\":\"q\\n\"}\n{\"a\":\"y\"}\n");
    assert_eq!((decoded.bad[0].line, &decoded.bad[0].raw[..]), (3, &b"b\xff"[..]));
}

#[test]
fn nulls_and_tabs() {
    let schema = columns(&[("a", DataType::Utf8View), ("n", DataType::Int64)]);
    let mut options = DecodeOptions::new(Format::Tsv);
    options.nulls = Some(vec!["NA".into()]);
    let text = "a\tn\n\"x\"\t1\nNA\tNA\n\t\n";
    let decoded = decoder(&schema, &options).decode(text.as_bytes()).expect("decodes");
    let expected = concat!(
        "{\"a\":\"\\\"x\\\"\",\"n\":1}\n",
        "{\"a\":null,\"n\":null}\n",
        "{\"a\":\"\",\"n\":null}\n",
    );
    assert_eq!(shown(&decoded.rows), expected);
}

#[test]
fn random_records_come_back() {
    const PIECES: [&str; 9] = ["a", "\"", ",", "\n", "\r\n", "여울", " ", "long enough text", "'"];
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let width = rng.random_range(1..5);
        let names: Vec<String> = (0..width).map(|i| format!("c{i}")).collect();
        let named: Vec<_> = names.iter().map(|n| (n.as_str(), DataType::Utf8View)).collect();
        let schema = columns(&named);
        let records: Vec<Vec<Option<String>>> = (0..rng.random_range(0..6))
            .map(|_| {
                let field = |rng: &mut StdRng| {
                    let count = rng.random_range(0..4);
                    let pieces = (0..count).map(|_| PIECES[rng.random_range(0..PIECES.len())]);
                    let text: String = pieces.collect();
                    (width == 1 || rng.random_range(0..5) > 0).then_some(text)
                };
                (0..width).map(|_| field(&mut rng)).collect()
            })
            .collect();
        let end = ["\n", "\r\n"][rng.random_range(0..2)];
        let mut text = names.join(",") + end;
        for record in &records {
            let field = |f: &Option<String>| match f {
                None => String::new(),
                Some(plain) if plain.starts_with('a') && !plain.contains([',', '\n', '\r']) => {
                    plain.clone()
                }
                Some(text) => format!("\"{}\"", text.replace('"', "\"\"")),
            };
            text += &record.iter().map(field).collect::<Vec<_>>().join(",");
            text += end;
        }
        let decoded = decode(&schema, Format::Csv, &text);
        assert_eq!(decoded.bad, [], "seed {seed}: {text:?}");
        let found: Vec<Vec<Option<String>>> = (0..decoded.rows.num_rows())
            .map(|row| {
                let columns = decoded.rows.columns().iter();
                let value = |c: &Arc<dyn Array>| {
                    c.is_valid(row).then(|| c.as_string_view().value(row).to_owned())
                };
                columns.map(value).collect()
            })
            .collect();
        assert_eq!(found, records, "seed {seed}: {text:?}");
        assert_eq!(decoded.lines, text.matches('\n').count() as u64, "seed {seed}: {text:?}");
    }
}
