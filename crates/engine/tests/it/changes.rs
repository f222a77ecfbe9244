//! Deliveries that tell of changes: rows that are there, keys that are gone, values that stay as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use yeoul_engine::{DeadLetter, Delivery, Engine, KeptValues, Pace, Position, Ticket};

use super::path::copy_dir;
use super::support::{ok, open};

/// A change: the key, and unless it is gone the name and the story (`None`: it stays as it is).
type Change = (i64, Option<(String, Option<Option<String>>)>);

/// The rows by key: name and story.
type Model = BTreeMap<i64, (String, Option<String>)>;

fn change(rng: &mut StdRng, keys: i64) -> Change {
    let key = rng.random_range(0..keys);
    let row = (rng.random_range(0..4) > 0).then(|| {
        let name = format!("n{}", rng.random_range(0..5));
        let story = match rng.random_range(0..4) {
            0 | 1 => None,
            2 => Some(None),
            _ => Some(Some(format!("a story of {} characters", rng.random_range(0..1_000)))),
        };
        (name, story)
    });
    (key, row)
}

/// Whether it has a row to keep what it does not say.
fn apply(model: &mut Model, (key, row): &Change) -> bool {
    match row {
        None => drop(model.remove(key)),
        Some((name, Some(story))) => drop(model.insert(*key, (name.clone(), story.clone()))),
        Some((name, None)) => match model.get_mut(key) {
            Some(there) => there.0.clone_from(name),
            None => return false,
        },
    }
    true
}

fn delivery(engine: &Engine, changes: &[Change], from: u64) -> Delivery {
    let table = engine.stream("t").expect("it is there");
    let name = |(_, row): &Change| row.as_ref().map_or("", |row| row.0.as_str()).to_owned();
    let story = |(_, row): &Change| match row {
        Some((_, Some(story))) => story.clone(),
        Some((_, None)) => Some("nobody looks at it".to_owned()),
        None => None,
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.0))),
        Arc::new(StringViewArray::from_iter_values(changes.iter().map(name))),
        Arc::new(changes.iter().map(story).collect::<StringViewArray>()),
    ];
    let rows = RecordBatch::try_new(Arc::clone(table.schema()), columns).expect("fits");
    let deleted: Vec<bool> = changes.iter().map(|change| change.1.is_none()).collect();
    let rows = table.encode_changes(rows, deleted).expect("fits");
    let stays = changes.iter().enumerate().filter(|(_, (_, row))| matches!(row, Some((_, None))));
    let kept = stays.map(|(row, _)| {
        let position = format!("p@{}", from + row as u64);
        let letter = DeadLetter { raw: "{}".into(), reason: String::new(), position };
        KeptValues { row, columns: vec![2], letter }
    });
    let kept = kept.collect();
    let to = from + changes.len() as u64;
    Delivery {
        partition: "p".into(),
        position: Some(Position { from, to }),
        pace: Pace::Partition,
        kept,
        ..Delivery::new(table, "test", rows)
    }
}

fn check(engine: &Engine, model: &Model, letters: usize, seed: u64) {
    let story = |story: &Option<String>| story.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> =
        model.iter().map(|(key, (name, text))| format!("{key}|{name}|{}", story(text))).collect();
    let shown = ok(engine, "SELECT id, name, coalesce(story, '-') FROM t ORDER BY id");
    assert_eq!(shown, rows, "seed {seed}");
    let mut groups: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (name, story) in model.values() {
        let group = groups.entry(name).or_default();
        group.0 += 1;
        group.1 += i64::from(story.is_some());
    }
    let groups: Vec<_> =
        groups.iter().map(|(name, (rows, told))| format!("{name}|{rows}|{told}")).collect();
    assert_eq!(ok(engine, "SELECT name, n, told FROM v ORDER BY name"), groups, "seed {seed}");
    let count = ok(engine, "SELECT count(*) FROM yeoul.dead_letters");
    assert_eq!(count, [letters.to_string()], "seed {seed}");
}

#[test]
fn a_table_is_what_changes_told_whatever_stops() {
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().expect("a folder");
        let engine = open(dir.path());
        ok(&engine, "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT NOT NULL, story TEXT)");
        ok(
            &engine,
            "CREATE MATERIALIZED VIEW v AS SELECT name, count(*) AS n, count(story) AS told FROM t \
             GROUP BY name",
        );
        let keys = rng.random_range(1..40);
        let (mut model, mut letters, mut from) = (Model::new(), 0, 0);
        for _ in 0..rng.random_range(1..8) {
            let mut tickets: Vec<(Ticket, u64, u64)> = Vec::new();
            for _ in 0..rng.random_range(1..6) {
                let changes: Vec<Change> =
                    (0..rng.random_range(0..60)).map(|_| change(&mut rng, keys)).collect();
                let lost = changes.iter().filter(|change| !apply(&mut model, change)).count();
                letters += lost;
                let told = delivery(&engine, &changes, from);
                tickets.push((
                    engine.submit(told.clone()).expect("is taken"),
                    (changes.len() - lost) as u64,
                    lost as u64,
                ));
                if rng.random_range(0..4) == 0 && !changes.is_empty() {
                    // The same again changes nothing.
                    tickets.push((engine.submit(told).expect("is taken"), 0, 0));
                }
                from += changes.len() as u64;
            }
            for (ticket, accepted, dead) in tickets {
                let receipt = ticket.wait().expect("is stored");
                assert_eq!((receipt.accepted, receipt.dead_letters), (accepted, dead));
            }
            if rng.random_range(0..3) == 0 {
                ok(&engine, "UPDATE t SET story = name WHERE id % 3 = 0");
                for (key, (name, story)) in &mut model {
                    if key % 3 == 0 {
                        *story = Some(name.clone());
                    }
                }
            }
            check(&engine, &model, letters, seed);
            let copy = tempfile::tempdir().expect("a folder");
            copy_dir(dir.path(), copy.path());
            let again = open(copy.path());
            check(&again, &model, letters, seed);
            again.shutdown().expect("stops");
        }
        engine.shutdown().expect("stops");
    }
}

#[test]
fn what_has_nothing_to_keep_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT NOT NULL, story TEXT)");
    let stays = |key| (key, Some(("n".to_owned(), None)));
    let told = delivery(&engine, &[stays(1), (2, Some(("m".to_owned(), Some(None)))), stays(2)], 0);
    engine.submit(told).expect("is taken").wait().expect("is stored");
    assert_eq!(ok(&engine, "SELECT id, name FROM t"), ["2|n"]);
    assert_eq!(
        ok(&engine, "SELECT position, reason FROM yeoul.dead_letters"),
        ["p@0|column \"story\": its value stays as it is, and no row with this key is stored"]
    );
    // Who refuses bad rows takes nothing of it, and goes on where it was.
    ok(&engine, "DROP TABLE t");
    ok(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT NOT NULL, story TEXT) \
         WITH (on_error = 'fail')",
    );
    let told = delivery(&engine, &[(2, Some(("m".to_owned(), Some(None)))), stays(7)], 0);
    let error = engine.submit(told).expect("is taken").wait().expect_err("is refused");
    assert!(error.message.starts_with("p@1: column \"story\""), "{error:?}");
    assert_eq!(ok(&engine, "SELECT count(*) FROM t"), ["0"]);
    let told = delivery(&engine, &[(7, Some(("m".to_owned(), Some(None))))], 0);
    assert_eq!(engine.submit(told).expect("is taken").wait().expect("is stored").accepted, 1);
    engine.shutdown().expect("stops");
}

#[test]
fn what_is_sent_again_needs_no_row_to_keep() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT NOT NULL, story TEXT) \
         WITH (on_error = 'fail')",
    );
    let tell = |changes: &[Change], key: &str| {
        let mut told = delivery(&engine, changes, 0);
        told.position = None;
        told.idempotency_key = Some(key.to_owned());
        engine.submit(told).expect("is taken").wait()
    };
    let story = Some(Some("a story".to_owned()));
    tell(&[(1, Some(("n".to_owned(), story)))], "first").expect("is stored");
    let stays = [(1, Some(("m".to_owned(), None)))];
    assert_eq!(tell(&stays, "second").expect("is stored").accepted, 1);
    assert_eq!(ok(&engine, "SELECT id, name, story FROM t"), ["1|m|a story"]);
    tell(&[(1, None)], "third").expect("is stored");
    let again = tell(&stays, "second").expect("it was stored before");
    assert_eq!((again.accepted, again.duplicates), (0, 1));
    // What is refused is not remembered: it is taken when there is something to keep.
    assert!(tell(&stays, "fourth").is_err());
    let row = Some(("n".to_owned(), Some(None)));
    tell(&[(1, row)], "fifth").expect("is stored");
    assert_eq!(tell(&stays, "fourth").expect("is stored").accepted, 1);
    assert_eq!(ok(&engine, "SELECT id, name FROM t"), ["1|m"]);
    engine.shutdown().expect("stops");
}
