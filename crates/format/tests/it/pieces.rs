//! Text that comes in pieces gives the rows of the whole.

use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use yeoul_format::{BadRow, DecodeOptions, Format};

use crate::sample::{columns, decoder};

const PIECES: [(Format, &[&str]); 4] = [
    (
        Format::Json,
        &[
            "{\"a\":1,\"b\":\"x\"}",
            "{\"a\":2}",
            "{\"a\":\"}",
            "\n",
            "{\"b\":\"\\\"\"}",
            "{",
            "\u{feff}",
            "여",
            "\r\n",
        ],
    ),
    (
        Format::Csv,
        &["1,x", "\u{feff}", "\"", ",", "\n", "2,\"y\nz\"", "\r\n", "3,\"a\"\"b\"\n", "x,"],
    ),
    (Format::Tsv, &["1\tx", "\t", "\n", "\"", "2\t\n", "\r\n"]),
    (Format::CopyText, &["1\tx", "\\", "\\N", "\t", "\n", "n", "\n"]),
];

#[test]
fn pieces_give_the_whole() {
    let schema = columns(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
    for seed in 0..3_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (format, pieces) = PIECES[rng.random_range(0..PIECES.len())];
        let array = format == Format::Json && rng.random_range(0..3) == 0;
        let mut text = match format {
            Format::Csv => "a,b\n".to_owned(),
            Format::Tsv => "b\ta\n".to_owned(),
            _ if array => "[".to_owned(),
            _ => String::new(),
        };
        for _ in 0..rng.random_range(0..30) {
            text += pieces[rng.random_range(0..pieces.len())];
            if format == Format::Json && rng.random_range(0..2) == 0 {
                text += if array { "," } else { "\n" };
            }
        }
        let text = text.as_bytes();

        let mut whole = decoder(&schema, &DecodeOptions::new(format));
        let skip = whole.begin(text, true).expect("a good header").expect("all is there");
        let expected = whole.decode(&text[skip..]).expect("decodes");
        let ends = whole.record_ends(&text[skip..]);
        assert_eq!(
            ends.len() as u64,
            expected.records,
            "seed {seed}: {:?}",
            String::from_utf8_lossy(text)
        );
        if let Some(at) = ends.get(rng.random_range(0..ends.len().max(1))) {
            let some = whole.decode(&text[skip..skip + at]).expect("decodes");
            let count = ends.iter().filter(|end| *end <= at).count();
            assert_eq!(
                some.records,
                count as u64,
                "seed {seed}: {:?}",
                String::from_utf8_lossy(text)
            );
        }

        let mut first = decoder(&schema, &DecodeOptions::new(format));
        let mut at = first.begin(text, true).expect("a good header").expect("all is there");
        let (mut rows, mut bad) = (vec![expected.rows.slice(0, 0)], Vec::<BadRow>::new());
        let (mut records, mut lines) = (0, 0);
        let mut end = at;
        while at < text.len() {
            end = (end + rng.random_range(1..20)).min(text.len());
            let at_end = end == text.len();
            let cut = if at_end { end - at } else { first.split(&text[at..end]) };
            // A clone, as another thread would have.
            let decoded = first.clone().decode(&text[at..at + cut]).expect("decodes");
            rows.push(decoded.rows);
            bad.extend(decoded.bad.into_iter().map(|mut b| {
                (b.row, b.line) = (b.row + records, b.line + lines);
                b
            }));
            records += decoded.records;
            lines += decoded.lines;
            at += cut;
        }
        let shown = String::from_utf8_lossy(text);
        assert_eq!(
            concat_batches(&schema, &rows).expect("one schema"),
            expected.rows,
            "seed {seed}: {shown:?}"
        );
        assert_eq!(bad, expected.bad, "seed {seed}: {shown:?}");
        assert_eq!((records, lines), (expected.records, expected.lines), "seed {seed}: {shown:?}");
    }
}
