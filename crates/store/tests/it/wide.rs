//! Rows of many kilobytes among narrow ones: how much is read and written at once depends on bytes, not on rows only.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use yeoul_batch::{KeyRange, TreeId};
use yeoul_store::{
    Part, Publication, Rule, ScanOptions, Store, StoreOptions, TreeSnapshot, TreeSpec, TrialMedia,
    read_some, scan,
};

use crate::world::{Kinds, Rng, small};

const MIB: usize = 1 << 20;
/// The longest text.
const WIDE: usize = 128 << 10;
/// What a reader may have at once, and what a page has; about, so that twice as much is still right.
const READ_BYTES: usize = 2 * 32 * MIB;
const PAGE_BYTES: usize = 2 * MIB;

/// Rows `from..to`: narrow ones, but wide ones from 4000 to 5000.
fn texts(from: i64, to: i64, noise: &str) -> StringViewArray {
    let text = |id: i64| {
        let len = if (4_000..5_000).contains(&id) { WIDE } else { 20 };
        let at = usize::try_from(id * 7919).expect("small") % (noise.len() - WIDE);
        Some(&noise[at..at + len])
    };
    (from..to).map(text).collect()
}

fn batch(spec: &TreeSpec, from: i64, to: i64, noise: &str) -> RecordBatch {
    let len = usize::try_from(to - from).expect("small");
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(from..to)), Arc::new(texts(from, to, noise))];
    if spec.schema.fields().len() > 2 {
        columns.push(Arc::new(UInt64Array::from(vec![1; len])));
        columns.push(Arc::new(BooleanArray::from(vec![false; len])));
    }
    RecordBatch::try_new(Arc::clone(&spec.schema), columns).expect("columns")
}

fn specs() -> [TreeSpec; 2] {
    let plain = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("text", DataType::Utf8View, true),
    ];
    let mut latest = plain.clone();
    latest.push(Field::new("_version", DataType::UInt64, false));
    latest.push(Field::new("_deleted", DataType::Boolean, false));
    let spec = |id: u32, fields: Vec<Field>, rule| TreeSpec {
        id: TreeId(id),
        name: format!("wide {id}"),
        key: vec![0],
        schema: Arc::new(Schema::new(fields)),
        rule,
        partition: None,
        retention_us: None,
    };
    [spec(1, plain, Rule::Keep), spec(2, latest, Rule::Latest)]
}

fn publish(store: &Store, specs: &[TreeSpec], (from, to): (i64, i64), noise: &str) {
    let commit = store.snapshot().commit().next();
    let record = yeoul_store::LogRecord { commit, at_us: 0, sections: Vec::new() };
    store.append_log(&record).expect("logs");
    let batches = specs.iter().map(|spec| (spec.id, batch(spec, from, to, noise))).collect();
    let meta = Arc::new(Kinds([(1, 0), (2, 0)].into()));
    store.publish(Publication { commit, batches, meta }).expect("publishes");
}

/// The bytes of the texts of a batch.
fn bytes_of(batch: &RecordBatch) -> usize {
    let texts = batch.column(1).as_string_view();
    texts.iter().flatten().map(str::len).sum()
}

fn check_pages(part: &Part) {
    let metadata = part.metadata().expect("reads");
    let index = metadata.offset_index().expect("it has one");
    for group in index {
        let bytes = group[1].unencoded_byte_array_data_bytes().expect("texts are counted");
        let most = bytes.iter().max().copied().and_then(|most| usize::try_from(most).ok());
        assert!(most.expect("pages") <= PAGE_BYTES, "{most:?}");
    }
    for group in metadata.row_groups() {
        assert!(group.column(1).compressed_size() <= 80 << 20, "{group:?}");
    }
}

fn check_scan(tree: &TreeSnapshot) {
    let mut ids = 0;
    let mut narrow = 0;
    for batch in scan(tree, ScanOptions::default()).expect("scans") {
        let batch = batch.expect("reads");
        assert!(bytes_of(&batch) <= READ_BYTES, "{} bytes", bytes_of(&batch));
        narrow = narrow.max(batch.num_rows());
        for (id, text) in
            batch.column(0).as_primitive::<Int64Type>().iter().zip(batch.column(1).as_string_view())
        {
            let is_wide = id.is_some_and(|id| (4_000..5_000).contains(&id));
            assert_eq!(text.map(str::len), Some(if is_wide { WIDE } else { 20 }));
            ids += id.expect("no nulls");
        }
    }
    assert_eq!(ids, (0..9_000).sum::<i64>());
    assert!(narrow > 100, "narrow rows are read many at once: {narrow}");
}

fn check_some(tree: &TreeSnapshot) {
    let mut next = 0;
    let mut counts = Vec::new();
    while next < 9_000 {
        let from = Arc::new(Int64Array::from(vec![next])) as ArrayRef;
        let from = yeoul_store::key_bytes(tree.spec(), &[from]).expect("encodes");
        let from = Bound::Included(from.row(0).data().to_vec());
        let range = KeyRange { from, to: Bound::Unbounded };
        let found = read_some(tree, range, 3_000, 8 << 20).expect("reads");
        assert!(bytes_of(&found.rows) <= 9 << 20, "{}", bytes_of(&found.rows));
        let ids = found.rows.column(0).as_primitive::<Int64Type>();
        assert_eq!(ids.value(0), next);
        next += i64::try_from(ids.len()).expect("small");
        counts.push(ids.len());
        assert_eq!(found.more, [next < 9_000]);
    }
    assert!(counts[0] == 3_000 && counts.iter().filter(|&&n| n < 100).count() >= 10, "{counts:?}");
}

#[test]
fn wide_rows_are_read_and_written_few_at_a_time() {
    let mut rng = Rng::new(1);
    let letter = |_| char::from(b'a' + u8::try_from(rng.below(26)).expect("small"));
    let noise: String = (0..4 * MIB).map(letter).collect();
    let specs = specs();
    let options = StoreOptions { memory_bytes_max: 1 << 30, part_bytes_max: 1 << 30, ..small() };
    let (store, _) = Store::open(Arc::new(TrialMedia::new(1)), options).expect("opens");
    for spec in &specs {
        store.create_tree(spec.clone()).expect("creates");
    }
    // In memory, then in parts of all sorts of rows, then in one part.
    for (number, ends) in [0, 3_000, 4_200, 4_400, 4_600, 4_800, 9_000].windows(2).enumerate() {
        publish(&store, &specs, (ends[0], ends[1]), &noise);
        if number > 0 {
            store.checkpoint().expect("checkpoints");
        }
    }
    let check = |what: &str| {
        let snapshot = store.snapshot();
        println!(
            "{what}: {:?} parts",
            snapshot.trees().iter().map(|t| t.parts().len()).collect::<Vec<_>>()
        );
        for tree in snapshot.trees() {
            tree.parts().iter().for_each(|part| check_pages(part));
            check_scan(tree);
        }
        check_some(snapshot.tree(TreeId(1)).expect("is there"));
    };
    check("before merges");
    store.merge_parts().expect("merges");
    assert!(store.snapshot().trees().iter().all(|tree| tree.parts().len() < 4));
    check("after merges");
}
