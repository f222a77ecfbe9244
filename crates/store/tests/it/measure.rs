//! How fast, by hand:
//! `cargo test --release -p yeoul-store --test it -- --ignored --nocapture --test-threads 1 measure`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use yeoul_batch::{Combine, CommitId, KeyRange, TreeId};
use yeoul_store::{
    DiskMedia, LogRecord, PartitionBy, Publication, Rule, ScanOptions, Store, StoreOptions,
    TreeSpec, get_many, key_bytes, read_ranges, scan,
};

use crate::world::{DAY_US, Kinds, Rng, Sum};

fn events_schema() -> SchemaRef {
    let ts = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("event_id", DataType::FixedSizeBinary(16), true),
        Field::new("ts", ts, true),
        Field::new("user_id", DataType::Utf8View, true),
        Field::new("product_id", DataType::Int64, true),
        Field::new("category", DataType::Utf8View, true),
        Field::new("type", DataType::Utf8View, true),
        Field::new("price", DataType::Float64, true),
        Field::new("campaign_id", DataType::Int64, true),
    ]))
}

/// Shop events: products and users skewed, prices by product, times rising.
fn events(rng: &mut Rng, rows: usize, from: i64) -> RecordBatch {
    let skewed = |rng: &mut Rng, n: u64| {
        let bound = 1 + rng.below(n);
        rng.int(bound)
    };
    let products: Vec<i64> = (0..rows).map(|_| skewed(rng, 100_000)).collect();
    let mut ids = FixedSizeBinaryBuilder::with_capacity(rows, 16);
    for _ in 0..rows {
        let id =
            u128::from(rng.next()) << 75 ^ u128::from(rng.next()) << 40 ^ u128::from(rng.next());
        ids.append_value(id.to_be_bytes()).expect("16 bytes");
    }
    let first = 20_000 * DAY_US + from * 300;
    let times = (0..rows).map(|i| {
        let at = i64::try_from(i).expect("small") * 300;
        first + at / 1_000 * 1_000 - rng.int(2_000) * 1_000
    });
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let users = (0..rows).map(|_| format!("u{}", skewed(rng, 1_000_000)));
    let users = StringViewArray::from_iter_values(users.collect::<Vec<_>>());
    let kinds = ["impression", "impression", "impression", "click", "cart", "purchase"];
    let types = StringViewArray::from_iter_values((0..rows).map(|_| kinds[rng.index(6)]));
    let categories = products.iter().map(|p| format!("category-{}", p % 40));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(times),
        Arc::new(users),
        Arc::new(Int64Array::from(products.clone())),
        Arc::new(StringViewArray::from_iter_values(categories)),
        Arc::new(types),
        Arc::new(Float64Array::from_iter_values(
            products
                .iter()
                .map(|p| f64::from(i32::try_from(p * 37 % 99_991).expect("fits")) / 100.0),
        )),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|_| skewed(rng, 1_000)))),
    ];
    RecordBatch::try_new(events_schema(), columns).expect("columns")
}

pub(crate) struct Folder(std::path::PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("yeoul-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(folder: &Folder, spec: TreeSpec) -> Store {
    let media = Arc::new(DiskMedia::open(&folder.0).expect("a folder"));
    let options = StoreOptions { memory_bytes_max: 2 << 30, ..StoreOptions::default() };
    let (store, _) = Store::open(media, options).expect("opens");
    store.create_tree(spec).expect("creates");
    store
}

fn publish(store: &Store, rows: RecordBatch) {
    let commit = store.snapshot().commit().next();
    store.append_log(&LogRecord { commit, at_us: 0, sections: Vec::new() }).expect("logs");
    let meta = Arc::new(Kinds([(1, 0)].into()));
    store
        .publish(Publication { commit, batches: vec![(TreeId(1), rows)], meta })
        .expect("publishes");
}

#[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement for people")]
fn tell(what: &str, rows: usize, time: Duration, note: &str) {
    let millions = rows as f64 / 1e6 / time.as_secs_f64();
    println!("{what}: {rows} rows in {time:.2?}, {millions:.2} M rows/s {note}");
}

#[test]
#[ignore = "a measurement"]
fn measure_events() {
    let folder = Folder::new("events");
    let spec = TreeSpec {
        id: TreeId(1),
        name: "events".to_owned(),
        schema: events_schema(),
        key: vec![3, 1],
        rule: Rule::Keep,
        partition: Some(PartitionBy { column: 1, width_us: DAY_US }),
        retention_us: None,
    };
    let store = open(&folder, spec);
    let mut rng = Rng::new(1);
    let (batches, each) = (128, 16_384);
    let mut published = Duration::ZERO;
    for round in 0..4 {
        for n in 0..batches {
            let from = i64::try_from((round * batches + n) * each).expect("fits");
            let rows = events(&mut rng, each, from);
            let since = Instant::now();
            publish(&store, rows);
            published += since.elapsed();
        }
        let since = Instant::now();
        store.checkpoint().expect("checkpoints");
        let snapshot = store.snapshot();
        let part = &snapshot.trees()[0].parts()[0];
        let bytes = part.meta().bytes / part.meta().rows;
        tell("sort and write", batches * each, since.elapsed(), &format!("{bytes} bytes/row"));
    }
    tell("log and publish", 4 * batches * each, published, "");
    let since = Instant::now();
    let merges = store.merge_parts().expect("merges");
    let tree = Arc::clone(&store.snapshot().trees()[0]);
    let bytes = tree.part_bytes() / tree.rows();
    let note = format!("{merges} merges, {bytes} bytes/row");
    tell("merge", 4 * batches * each, since.elapsed(), &note);
    let since = Instant::now();
    let options = ScanOptions { projection: Some(vec![1, 3]), ..ScanOptions::default() };
    let rows = scan(&tree, options).expect("scans").map(|b| b.expect("reads").num_rows()).sum();
    tell("scan two columns", rows, since.elapsed(), "");
}

fn sums(rows: usize, rng: &mut Rng, keys: u64) -> RecordBatch {
    let ts = (0..rows).map(|_| 20_000 * DAY_US + rng.int(60) * 60_000_000);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(ts).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|_| rng.int(keys)))),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|_| 1))),
    ];
    RecordBatch::try_new(crate::world::spec(4, TreeId(1)).schema, columns).expect("columns")
}

#[test]
#[ignore = "a measurement"]
fn measure_look_ups() {
    let folder = Folder::new("sums");
    let mut spec = crate::world::spec(4, TreeId(1));
    spec.rule = Rule::Combine(Arc::new(Sum { schema: Arc::clone(&spec.schema), key_len: 2 }));
    let store = open(&folder, spec);
    let mut rng = Rng::new(2);
    for _ in 0..3 {
        for _ in 0..16 {
            publish(&store, sums(16_384, &mut rng, 100_000));
        }
        store.checkpoint().expect("checkpoints");
    }
    for n in 0..40 {
        publish(&store, sums(if n % 10 == 0 { 16_384 } else { 500 }, &mut rng, 100_000));
    }
    let snapshot = store.snapshot();
    let tree = &snapshot.trees()[0];
    assert_eq!(snapshot.commit(), CommitId(3 * 16 + 40));
    for keys in [1, 1_000, 10_000] {
        for round in ["first", "again"] {
            let probe = sums(keys, &mut Rng::new(9), 100_000);
            let since = Instant::now();
            let found = get_many(tree, &probe.columns()[..2]).expect("looks up").num_rows();
            let note = format!("{found} found, {} parts, {round}", tree.parts().len());
            tell("get_many", keys, since.elapsed(), &note);
        }
    }
    let since = Instant::now();
    let rows = scan(tree, ScanOptions::default())
        .expect("scans")
        .map(|batch| batch.expect("reads").num_rows())
        .sum();
    tell("merged scan", rows, since.elapsed(), "");
}

/// For rows whose keys are all different, so that what is measured is the reading.
#[derive(Debug)]
struct AsIs(SchemaRef);

impl Combine for AsIs {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn key_len(&self) -> usize {
        self.0.fields().len() - 1
    }

    fn combine(&self, batches: &[RecordBatch], _: bool) -> Result<RecordBatch, ArrowError> {
        arrow::compute::concat_batches(&self.0, batches)
    }
}

/// Arranged rows of a join or a ranking: a product, a price, a user, and with how many.
fn arranged(rng: &mut Rng, rows: usize) -> RecordBatch {
    let int = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let users = (0..rows).map(|_| format!("user-{}", rng.int(1_000_000))).collect::<Vec<_>>();
    let columns: Vec<ArrayRef> = vec![
        int((0..rows).map(|_| rng.int(500_000)).collect()),
        int((0..rows).map(|_| rng.int(10_000)).collect()),
        Arc::new(StringViewArray::from_iter_values(users)),
        int(vec![1; rows]),
    ];
    let int = |name| Field::new(name, DataType::Int64, true);
    let user = Field::new("user", DataType::Utf8View, true);
    let schema = Schema::new(vec![int("product"), int("price"), user, int("count")]);
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns")
}

#[test]
#[ignore = "a measurement"]
fn measure_ranges() {
    let folder = Folder::new("ranges");
    let mut rng = Rng::new(3);
    let schema = arranged(&mut rng, 0).schema();
    let rule = Rule::Combine(Arc::new(AsIs(Arc::clone(&schema))));
    let key = vec![0, 1, 2];
    let name = "arranged".to_owned();
    let (partition, retention_us) = (None, None);
    let spec = TreeSpec { id: TreeId(1), name, schema, key, rule, partition, retention_us };
    let store = open(&folder, spec.clone());
    for _ in 0..5 {
        // One batch a part: putting batches of memory together is not what is measured.
        publish(&store, arranged(&mut rng, 1_000_000));
        store.checkpoint().expect("checkpoints");
    }
    for parts in ["small parts", "small parts, again", "merged"] {
        if parts == "merged" {
            store.merge_parts().expect("merges");
        }
        measure_ranges_of(&store, &spec, parts);
    }
    publish(&store, arranged(&mut rng, 100_000));
    measure_ranges_of(&store, &spec, "with memory");
    measure_ranges_of(&store, &spec, "with memory, again");
}

fn measure_ranges_of(store: &Store, spec: &TreeSpec, what: &str) {
    let tree = Arc::clone(&store.snapshot().trees()[0]);
    let note = format!("{}, {} parts", what, tree.parts().len());
    for count in [1, 1_000] {
        let probe = arranged(&mut Rng::new(4), count);
        let prefixes = key_bytes(spec, &probe.columns()[..1]).expect("encodes");
        let ranges: Vec<KeyRange> = prefixes.iter().map(|p| KeyRange::prefix(p.as_ref())).collect();
        for reverse in [false, true] {
            let since = Instant::now();
            let found = read_ranges(&tree, &ranges, 10, reverse).expect("reads").rows.num_rows();
            let what = format!("first 10 of {count} prefixes, reverse {reverse}");
            tell(&what, found, since.elapsed(), &note);
        }
    }
    let probe = arranged(&mut Rng::new(5), 10_000);
    let since = Instant::now();
    let found = get_many(&tree, &probe.columns()[..1]).expect("looks up").num_rows();
    tell("get_many of 10000 prefixes", found, since.elapsed(), &note);
}
