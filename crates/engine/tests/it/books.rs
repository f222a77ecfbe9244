//! The books: dead letters put back exactly once, audits that find what is wrong, sources that report.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use yeoul_batch::TreeId;
use yeoul_engine::{
    CommitId, DeadLetter, Delivery, Engine, LetterId, Position, Replayed, SourceState, StreamHandle,
};
use yeoul_store::{
    DiskMedia, LogRecord, Manifest, Publication, Rule, Store, StoreOptions, TreeSpec,
};

use super::path::copy_dir;
use super::support::{ok, open};

const STREAM: &str = "CREATE STREAM clicks (id BIGINT) WITH (unique_key = 'id')";
const BOOKS: &str = "SELECT source, received, stored, duplicates, dead_letters FROM yeoul.sources \
     ORDER BY source, partition";
const LETTERS: &str =
    "SELECT id, state, replayed_commit FROM yeoul.dead_letters ORDER BY commit, ordinal";

fn rows(stream: &StreamHandle, ids: &[i64]) -> RecordBatch {
    let ids = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_new(Arc::clone(stream.schema()), vec![ids]).expect("one column")
}

fn bad(engine: &Engine, ids: &[i64], count: usize) {
    let stream = engine.stream("clicks").expect("is there");
    let mut delivery = Delivery::new(stream.clone(), "http", rows(&stream, ids));
    delivery.dead_letters = (0..count)
        .map(|n| DeadLetter {
            raw: Bytes::from(format!("bad {n}")),
            reason: "not a number".into(),
            position: format!("line {n}"),
        })
        .collect();
    delivery.format = Some("{\"format\":\"json\"}".into());
    engine.submit(delivery).expect("is taken").wait().expect("is stored");
}

fn replay(engine: &Engine, letters: &[(&LetterId, i64)]) -> Replayed {
    let stream = engine.stream("clicks").expect("is there");
    let ids: Vec<LetterId> = letters.iter().map(|(id, _)| **id).collect();
    let values: Vec<i64> = letters.iter().map(|(_, value)| *value).collect();
    engine.replay_letters(&stream, &rows(&stream, &values), &ids).expect("is taken")
}

fn balanced(engine: &Engine) {
    assert_eq!(engine.audit().expect("is read").problems, Vec::<String>::new());
}

#[test]
fn a_letter_is_put_back_once_through_kills_and_restarts() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    bad(&engine, &[1, 2], 3);
    let letters = engine.unresolved_letters("clicks", None, 10).expect("is read");
    assert_eq!(letters.len(), 3);
    assert_eq!(letters[1].raw, "bad 1");
    assert_eq!(letters[1].format.as_deref(), Some("{\"format\":\"json\"}"));
    let ids: Vec<LetterId> = letters.iter().map(|letter| letter.id).collect();
    assert_eq!(
        engine.unresolved_letters("clicks", Some(ids[0]), 1).expect("is read")[0].id,
        ids[1]
    );
    assert_eq!(ids[0], ids[0].to_string().parse().expect("an id"));

    // One is new, one is a duplicate of a stored row; both letters are put back.
    let done = replay(&engine, &[(&ids[0], 7), (&ids[2], 2)]);
    assert_eq!((done.receipt.accepted, done.receipt.duplicates, done.before), (1, 1, 0));
    assert_eq!(ok(&engine, "SELECT id FROM clicks ORDER BY id"), ["1", "2", "7"]);
    let again = replay(&engine, &[(&ids[0], 8), (&ids[2], 9)]);
    assert_eq!((again.receipt.accepted, again.before), (0, 2));
    assert_eq!(ok(&engine, "SELECT count(*) FROM clicks"), ["3"]);
    balanced(&engine);

    // What a kill leaves, before and after a checkpoint.
    let stands = (ok(&engine, LETTERS), ok(&engine, BOOKS));
    assert_eq!(stands.1, ["dead_letters|2|1|1|0", "http|5|2|0|3"]);
    for checkpoint in [false, true] {
        if checkpoint {
            engine.checkpoint().expect("writes");
        }
        let copy = tempfile::tempdir().expect("a folder");
        copy_dir(dir.path(), copy.path());
        let killed = open(copy.path());
        assert_eq!((ok(&killed, LETTERS), ok(&killed, BOOKS)), stands);
        balanced(&killed);
        let again = replay(&killed, &[(&ids[0], 8), (&ids[1], 9)]);
        assert_eq!((again.receipt.accepted, again.before), (1, 1));
        assert_eq!(killed.unresolved_letters("clicks", None, 10).expect("is read").len(), 0);
        balanced(&killed);
        killed.shutdown().expect("stops");
    }
    engine.shutdown().expect("stops");
}

#[test]
fn letters_put_back_by_several_at_once_are_stored_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE STREAM clicks (id BIGINT)");
    for _ in 0..20 {
        bad(&engine, &[], 5);
    }
    let letters = engine.unresolved_letters("clicks", None, 1000).expect("is read");
    let ids: Vec<LetterId> = letters.iter().map(|letter| letter.id).collect();
    let stored: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|turn| {
                let (ids, engine) = (&ids, &engine);
                scope.spawn(move || {
                    let each = ids.chunks(7).skip(turn).chain(ids.chunks(7).take(turn));
                    each.map(|some| {
                        let some: Vec<_> = some.iter().map(|id| (id, 1)).collect();
                        replay(engine, &some).receipt.accepted
                    })
                    .sum::<u64>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("ends")).sum()
    });
    assert_eq!(stored, 100);
    assert_eq!(ok(&engine, "SELECT count(*) FROM clicks"), ["100"]);
    balanced(&engine);
    engine.shutdown().expect("stops");
}

#[test]
fn wrong_letters_are_refused_and_nothing_is_stored() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    ok(&engine, "CREATE STREAM other (id BIGINT)");
    bad(&engine, &[], 1);
    let id = engine.unresolved_letters("clicks", None, 1).expect("is read")[0].id;
    let refused = |stream: &str, ids: &[LetterId]| {
        let stream = engine.stream(stream).expect("is there");
        let values = vec![1; ids.len()];
        let error = engine.replay_letters(&stream, &rows(&stream, &values), ids);
        error.expect_err("is refused").to_string()
    };
    let absent: LetterId = "999-3".parse().expect("an id");
    assert!(refused("clicks", &[id, absent]).contains("\"clicks\" has no dead letter 999-3"));
    assert!(refused("other", &[id]).contains("\"other\" has no dead letter"));
    assert!(refused("clicks", &[id, id]).contains("is named twice"));
    for wrong in ["", "12", "-1-2", "1-", "1-x", "1-99999999999999999999"] {
        assert!(wrong.parse::<LetterId>().is_err(), "{wrong}");
    }
    assert_eq!(ok(&engine, "SELECT count(*) FROM clicks"), ["0"]);
    // Letters outlive their stream; made anew with another type it can take them.
    ok(&engine, "DROP STREAM clicks");
    ok(&engine, "CREATE STREAM clicks (id BIGINT)");
    let audit = engine.audit().expect("is read");
    assert_eq!(audit.problems, Vec::<String>::new());
    assert!(audit.notes[0].contains("1 dead letters are of streams that were dropped"));
    assert_eq!(replay(&engine, &[(&id, 4)]).receipt.accepted, 1);
    balanced(&engine);
    engine.shutdown().expect("stops");
}

/// Damages the books in the manifest of a stopped engine, and says what an audit finds.
fn found(books: &std::path::Path, damage: impl Fn(&str) -> String) -> Vec<String> {
    let copy = tempfile::tempdir().expect("a folder");
    copy_dir(books, copy.path());
    let media = DiskMedia::open(copy.path()).expect("opens");
    let mut manifest = Manifest::load(&media).expect("is read").expect("is there");
    let meta = std::str::from_utf8(&manifest.meta).expect("JSON").to_owned();
    let damaged = damage(&meta);
    assert_ne!(damaged, meta, "{meta}");
    manifest.meta = damaged.into_bytes().into();
    manifest.store(&media).expect("writes");
    drop(media);
    let clock = Arc::new(super::support::TestClock::default());
    let engine = Engine::open_read_only(copy.path(), clock, super::support::options());
    engine.expect("opens").audit().expect("is read").problems
}

/// Three sources with something of everything, stopped.
fn three_sources(dir: &std::path::Path) {
    let engine = open(dir);
    ok(&engine, STREAM);
    bad(&engine, &[1, 2], 3);
    bad(&engine, &[2, 3], 0);
    let id = engine.unresolved_letters("clicks", None, 1).expect("is read")[0].id;
    replay(&engine, &[(&id, 9)]);
    let stream = engine.stream("clicks").expect("is there");
    for (from, to) in [(0, 10), (10, 25)] {
        let mut delivery = Delivery::new(stream.clone(), "file", rows(&stream, &[100 + from]));
        delivery.partition = "a.csv".into();
        let (from, to) = (u64::try_from(from).expect("small"), to);
        delivery.position = Some(Position { from, to });
        engine.submit(delivery).expect("is taken").wait().expect("is stored");
    }
    balanced(&engine);
    engine.shutdown().expect("stops");
}

#[test]
fn an_audit_names_the_source_whose_books_are_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    three_sources(dir.path());
    let check = |from: &str, to: &str, problems: &[&str]| {
        let found = found(dir.path(), |meta| meta.replacen(from, to, 1));
        assert_eq!(found, problems, "{from} became {to}");
    };
    check(
        "\"received\":7,\"stored\":3",
        "\"received\":8,\"stored\":3",
        &[
            "source \"http\" of \"clicks\": received 8 is not stored 3 + duplicates 1 + dead letters 3",
        ],
    );
    check(
        "\"received\":7,\"stored\":3",
        "\"received\":8,\"stored\":4",
        &[
            "stream \"clicks\": its sources say that 7 rows are stored (\"dead_letters\" 1, \"file\" 2, \
           \"http\" 4), its tree has 6 and its retention dropped 0",
        ],
    );
    check(
        "\"duplicates\":1,\"dead_letters\":3",
        "\"duplicates\":0,\"dead_letters\":4",
        &[
            "source \"http\" of \"clicks\": its books count 4 dead letters, yeoul.dead_letters has 3 of it",
        ],
    );
    check(
        "\"covered\":25",
        "\"covered\":15",
        &[
            "source \"file\" of \"clicks\", partition \"a.csv\": it stands at 25, and what it delivered \
           from 0 on is 15 long",
        ],
    );
    check(
        "\"covered\":25",
        "\"covered\":25,\"gaps\":1",
        &[
            "source \"file\" of \"clicks\", partition \"a.csv\": 1 of its deliveries did not begin where \
           the one before ended",
        ],
    );
    check(
        "\"received\":1,\"stored\":1",
        "\"received\":2,\"stored\":1,\"extra\":1",
        &[
            "source \"dead_letters\" of \"clicks\": received 2 is not stored 1 + duplicates 0 + dead letters 0",
            "source \"dead_letters\" of \"clicks\": it received 2 rows, yeoul.dead_letters has 1 letters \
             marked as replayed",
        ],
    );
    check(
        "\"source\":\"http\"",
        "\"source\":\"hxxp\"",
        &[
            "source \"hxxp\" of \"clicks\": its books count 3 dead letters, yeoul.dead_letters has 0 of it",
            "source \"http\" of \"clicks\", partition \"\": it has no books, and yeoul.dead_letters has 3 of it",
        ],
    );
}

#[test]
fn what_retention_drops_is_accounted_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE STREAM visits (id BIGINT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) \
         WITH (retention = '2 days')",
    );
    for day in 1..10 {
        ok(
            &engine,
            &format!("INSERT INTO visits VALUES ({day}, TIMESTAMPTZ '2026-01-0{day} 12:00:00Z')"),
        );
        engine.checkpoint().expect("writes");
        balanced(&engine);
    }
    let stream = engine.audit().expect("is read").streams.remove(0);
    assert_eq!(stream.stored, 9);
    assert_eq!(stream.expired.map(|gone| gone + stream.rows), Some(9));
    assert!(stream.expired > Some(0), "{stream:?}");
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(dir.path());
    balanced(&engine);
    let again = engine.audit().expect("is read").streams.remove(0);
    assert_eq!(again.expired.map(|gone| gone + again.rows), Some(9));
    assert!(again.expired >= stream.expired, "{again:?}");
    engine.shutdown().expect("stops");
}

#[test]
fn sources_say_how_they_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    let stream = engine.stream("clicks").expect("is there");
    let shown = "SELECT source, partition, received, bytes, state, error FROM yeoul.sources";
    let report = engine.report_source(&stream, "file");
    assert_eq!(ok(&engine, shown), ["file||0||running|"]);
    let mut delivery = Delivery::new(stream.clone(), "file", rows(&stream, &[1]));
    delivery.partition = "a.csv".into();
    engine.submit(delivery).expect("is taken").wait().expect("is stored");
    report.read(&"a.csv".into(), 12);
    report.error(Some("a.csv: gone".into()));
    report.state(SourceState::Failed);
    assert_eq!(ok(&engine, shown), ["file|a.csv|1|12|failed|a.csv: gone"]);
    ok(&engine, "DROP STREAM clicks");
    ok(&engine, STREAM);
    assert_eq!(ok(&engine, shown), Vec::<String>::new());
    engine.shutdown().expect("stops");
}

/// The engine's state in a manifest that an earlier program wrote.
struct Earlier;

impl yeoul_store::Meta for Earlier {
    fn encode(&self) -> Vec<u8> {
        br#"{"version":1,"next_relation":2,"next_tree":2,"relations":[
        {"id":0,"name":"yeoul.dead_letters","sql":"","trees":[0],"created":0},
        {"id":1,"name":"clicks","sql":"CREATE STREAM clicks (id BIGINT)","trees":[1],"created":1}],
        "sources":[{"relation":1,"source":"file","partition":"a","position":9,
        "received":2,"stored":0,"duplicates":0,"dead_letters":2,"late":0}]}"#
            .to_vec()
    }
}

/// A folder as it was before dead letters had ids: two of them in a `keep` tree.
fn earlier(dir: &std::path::Path) {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let text = |name: &str| Field::new(name, DataType::Utf8View, false);
    let letters = Arc::new(Schema::new(vec![
        text("stream"),
        text("source"),
        text("partition"),
        text("position"),
        Field::new("received_at", time, false),
        text("reason"),
        Field::new("raw", DataType::Binary, false),
    ]));
    let clicks = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let tree = |id, name: &str, schema: &Arc<Schema>, key| TreeSpec {
        id: TreeId(id),
        name: name.to_owned(),
        schema: Arc::clone(schema),
        key,
        rule: Rule::Keep,
        partition: None,
        retention_us: None,
    };
    let media = Arc::new(DiskMedia::open(dir).expect("opens"));
    let (store, _) = Store::open(media, StoreOptions::default()).expect("opens");
    store.create_tree(tree(0, "yeoul.dead_letters", &letters, vec![0, 4])).expect("creates");
    store.create_tree(tree(1, "clicks", &clicks, Vec::new())).expect("creates");
    store.start().expect("starts");
    let same = |text: &str| Arc::new(StringViewArray::from(vec![text, text])) as ArrayRef;
    let columns = vec![
        same("clicks"),
        same("file"),
        same("a"),
        same("a:1"),
        Arc::new(TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("UTC")),
        same("bad"),
        Arc::new(BinaryArray::from(vec![&b"{\"id\":1}"[..], b"x"])),
    ];
    let rows = RecordBatch::try_new(letters, columns).expect("seven columns");
    let record = LogRecord { commit: CommitId(1), at_us: 0, sections: Vec::new() };
    store.append_log(&record).expect("logs");
    let (commit, meta) = (CommitId(1), Arc::new(Earlier));
    let batches = vec![(TreeId(0), rows)];
    store.publish(Publication { commit, batches, meta }).expect("publishes");
    store.checkpoint().expect("writes");
}

#[test]
fn letters_of_an_earlier_version_get_ids() {
    let dir = tempfile::tempdir().expect("a folder");
    earlier(dir.path());
    let clock = Arc::new(super::support::TestClock::default());
    let engine = Engine::open_read_only(dir.path(), clock, super::support::options());
    let engine = engine.expect("opens");
    assert_eq!(ok(&engine, "SELECT count(*) FROM yeoul.dead_letters"), ["2"]);
    let audit = engine.audit().expect("is read");
    assert_eq!(audit.problems, Vec::<String>::new());
    assert_eq!(audit.notes.len(), 2, "{:?}", audit.notes);
    let error = engine.unresolved_letters("clicks", None, 9).expect_err("have no ids");
    assert!(error.to_string().contains("yeoul run"), "{error}");
    drop(engine);
    for start in 0..2 {
        let engine = open(dir.path());
        let letters = engine.unresolved_letters("clicks", None, 9).expect("is read");
        let found: Vec<_> = letters.iter().map(|l| (l.id.to_string(), l.raw.clone())).collect();
        let wanted = [("2-0", "{\"id\":1}"), ("2-1", "x")];
        assert_eq!(found, wanted.map(|(id, raw)| (id.to_owned(), Bytes::from(raw))), "{start}");
        ok(&engine, &format!("CREATE TABLE t{start} (id BIGINT PRIMARY KEY)"));
        balanced(&engine);
        if start == 1 {
            assert_eq!(replay(&engine, &[(&letters[0].id, 1)]).receipt.accepted, 1);
            balanced(&engine);
        }
        engine.shutdown().expect("stops");
    }
}
