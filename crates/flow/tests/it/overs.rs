//! Window functions stepped commit by commit equal the same functions over all rows, whether or not it is
//! known how far a row sees, and of a large partition only the part is read and evaluated that a change reaches.

use std::cell::Cell as Counter;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, UInt32Array,
};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use arrow::row::{RowConverter, SortField};
use yeoul_batch::{Behind, ExprError, Known, PartitionFunction, Reach, Updates};
use yeoul_flow::{Graph, GraphBuilder, OverSpec, SourceIndex, Workers};

use crate::cells::{self, Cell, Row};
use crate::laws::assert_same;
use crate::random::{self, Random};
use crate::sessions::Counting;
use crate::trees::{Trees, apply};
use crate::trial::Trial;
use crate::twin;

/// What is said of a row.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// Its place.
    Number,
    /// The number of the row `n` before it.
    Lag(usize),
    /// The number of the row `n` behind it.
    Lead(usize),
    /// The sum of the rows from `p` before it to `f` behind it.
    Around(usize, usize),
    /// The sum of all up to its peers.
    Running,
    /// The sum of all from its peers on.
    Rest,
    /// How many rows there are.
    Size,
}

impl Call {
    fn random(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Number,
            1 => Self::Lag(random.below(4)),
            2 => Self::Lead(random.below(4)),
            3 | 4 => Self::Around(random.below(4), random.below(4)),
            5 => Self::Running,
            6 => Self::Rest,
            _ => Self::Size,
        }
    }

    fn reach(self) -> Option<Reach> {
        let reach = |preceding, following, peers| Some(Reach { preceding, following, peers });
        match self {
            Self::Number => reach(None, Some(0), false),
            Self::Lag(n) => reach(Some(n), Some(0), false),
            Self::Lead(n) => reach(Some(0), Some(n), false),
            Self::Around(p, f) => reach(Some(p), Some(f), false),
            Self::Running => reach(None, Some(0), true),
            Self::Rest => reach(Some(0), None, true),
            Self::Size => None,
        }
    }

    /// Whether it can go on behind rows of which the number and the sum are known, and how many of them it has
    /// to see nonetheless.
    fn known(self) -> Option<usize> {
        match self {
            Self::Number | Self::Running | Self::Lead(_) => Some(0),
            Self::Lag(n) | Self::Around(n, _) => Some(n),
            Self::Rest | Self::Size => None,
        }
    }

    /// The answer for the row `at` of a partition in order; `peer` tells rows that tie.
    fn answer(self, rows: &[&Row], at: usize, peer: impl Fn(&Row, &Row) -> bool) -> Option<i64> {
        let value = |row: &Row| match row[random::SMALL] {
            Cell::Int(value) => i64::try_from(value).unwrap(),
            _ => 0,
        };
        let sum = |range: Range<usize>| Some(rows[range].iter().map(|row| value(row)).sum());
        let peers = || (0..rows.len()).filter(|&other| peer(rows[other], rows[at]));
        match self {
            Self::Number => i64::try_from(at).ok(),
            Self::Lag(n) => at.checked_sub(n).map(|at| value(rows[at])),
            Self::Lead(n) => rows.get(at + n).map(|row| value(row)),
            Self::Around(p, f) => sum(at.saturating_sub(p)..(at + f + 1).min(rows.len())),
            Self::Running => sum(0..peers().max().unwrap() + 1),
            Self::Rest => sum(peers().min().unwrap()..rows.len()),
            Self::Size => i64::try_from(rows.len()).ok(),
        }
    }
}

/// Calls in one order.
#[derive(Debug)]
struct Calls {
    calls: Vec<Call>,
    by: usize,
    descending: bool,
    reach: Option<Reach>,
    known: Option<Known>,
    fields: Fields,
    /// How many rows were evaluated.
    evaluated: AtomicUsize,
}

impl Calls {
    fn new(calls: Vec<Call>, by: usize, descending: bool, knows_reach: bool) -> Self {
        let farther = |a: Option<usize>, b: Option<usize>| a.zip(b).map(|(a, b)| a.max(b));
        let none = Reach { preceding: Some(0), following: Some(0), peers: false };
        let reach = calls.iter().try_fold(none, |all, call| {
            let one = call.reach()?;
            Some(Reach {
                preceding: farther(all.preceding, one.preceding),
                following: farther(all.following, one.following),
                peers: all.peers || one.peers,
            })
        });
        let field = |at| Field::new(format!("o{at}"), DataType::Int64, true);
        let fields = (0..calls.len()).map(field).collect();
        let (reach, evaluated) = (reach.filter(|_| knows_reach), AtomicUsize::new(0));
        let preceding = calls.iter().map(|call| call.known()).try_fold(0, |a, b| Some(a.max(b?)));
        let state = ["rows", "sum"].map(|name| Field::new(name, DataType::Int64, false));
        let schema = Arc::new(Schema::new(state.to_vec()));
        let known = preceding.map(|preceding| Known { schema, preceding });
        Self { calls, by, descending, reach, known, fields, evaluated }
    }

    fn random(random: &mut Random) -> Self {
        let calls = (0..1 + random.below(2)).map(|_| Call::random(random)).collect();
        let by = *random.pick(&[random::TIME, random::WIDE, random::TEXT, random::FLAG]);
        Self::new(calls, by, random.one_in(2), !random.one_in(4))
    }

    /// The positions of rows in order; those that tie stay as they are.
    fn sorted(&self, rows: &[Row]) -> Vec<usize> {
        let mut sorted: Vec<usize> = (0..rows.len()).collect();
        sorted.sort_by(|&a, &b| {
            let order = rows[a][self.by].order(&rows[b][self.by]);
            if self.descending { order.reverse() } else { order }
        });
        sorted
    }

    /// What is said of the rows of one partition, row by row.
    fn answers(&self, rows: &[Row]) -> Vec<Vec<Option<i64>>> {
        let sorted = self.sorted(rows);
        let ordered: Vec<&Row> = sorted.iter().map(|&row| &rows[row]).collect();
        let mut answers = vec![Vec::new(); rows.len()];
        for (at, &row) in sorted.iter().enumerate() {
            let peer = |a: &Row, b: &Row| a[self.by].order(&b[self.by]).is_eq();
            answers[row] = self.calls.iter().map(|c| c.answer(&ordered, at, peer)).collect();
        }
        answers
    }

    fn twin(&self, rows: &[Row], keys: &[usize]) -> Vec<Row> {
        let mut partitions: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows {
            let key: Vec<&Cell> = keys.iter().map(|&key| &row[key]).collect();
            partitions.entry(format!("{key:?}")).or_default().push(row.clone());
        }
        let cell = |answer: &Option<i64>| answer.map_or(Cell::Null, |v| Cell::Int(v.into()));
        let mut out = Vec::new();
        for rows in partitions.values_mut() {
            // Rows that tie are in the order of their columns.
            rows.sort_by(|a, b| {
                let orders = a.iter().zip(b).map(|(a, b)| a.order(b));
                orders.into_iter().find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
            });
            for (row, answers) in rows.iter().zip(self.answers(rows)) {
                out.push(row.iter().cloned().chain(answers.iter().map(cell)).collect());
            }
        }
        out
    }
}

impl PartitionFunction for Calls {
    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn evaluate(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
    ) -> Result<Vec<ArrayRef>, ExprError> {
        self.evaluated.fetch_add(rows.num_rows(), Ordering::Relaxed);
        assert!(partitions.iter().all(|partition| !partition.is_empty()));
        assert!(partitions.iter().cloned().flatten().eq(0..rows.num_rows()));
        let rows = cells::rows(rows);
        let answers = partitions.iter().flat_map(|p| self.answers(&rows[p.clone()]));
        let answers: Vec<Vec<Option<i64>>> = answers.collect();
        let column = |call: usize| -> ArrayRef {
            Arc::new(answers.iter().map(|answer| answer[call]).collect::<Int64Array>())
        };
        Ok((0..self.calls.len()).map(column).collect())
    }

    fn reach(&self) -> Option<Reach> {
        self.reach
    }

    fn order(&self, rows: &RecordBatch) -> Result<Option<BinaryArray>, ExprError> {
        let values = rows.column(self.by);
        let options = SortOptions { descending: self.descending, nulls_first: self.descending };
        let field = SortField::new_with_options(values.data_type().clone(), options);
        let converter = RowConverter::new(vec![field]).unwrap();
        let order = converter.convert_columns(&[Arc::clone(values)]).unwrap();
        Ok(Some(order.try_into_binary().unwrap()))
    }

    fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    fn evaluate_behind(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
        behind: &Behind<'_>,
    ) -> Result<(Vec<ArrayRef>, RecordBatch), ExprError> {
        let order = self.order(rows)?.unwrap();
        for partition in partitions {
            let ties: Vec<&[u8]> = partition.clone().map(|row| order.value(row)).collect();
            assert!(ties.is_sorted(), "rows come in order");
        }
        let answers = self.evaluate(rows, partitions)?;
        let state = |column: usize, of: &Option<u32>| {
            let column = behind.states.column(column).as_primitive::<Int64Type>();
            of.map_or(0, |row| column.value(row as usize))
        };
        let (mut counts, mut sums) = (Vec::new(), Vec::new());
        for (partition, of) in partitions.iter().zip(behind.of) {
            let (mut count, mut sum) = (state(0, of), state(1, of));
            for row in cells::rows(&rows.slice(partition.start, partition.len())) {
                count += 1;
                sum += match row[random::SMALL] {
                    Cell::Int(value) => i64::try_from(value).unwrap(),
                    _ => 0,
                };
                counts.push(count);
                sums.push(sum);
            }
        }
        let from = |column: usize| -> Int64Array {
            let each = partitions.iter().zip(behind.of);
            each.flat_map(|(rows, of)| std::iter::repeat_n(state(column, of), rows.len())).collect()
        };
        let add = |answer: ArrayRef, number: Int64Array| {
            arrow::compute::kernels::numeric::add(&answer, &number).unwrap()
        };
        let answers = self.calls.iter().zip(answers).map(|(call, answer)| match call {
            Call::Number => add(answer, from(0)),
            Call::Running => add(answer, from(1)),
            _ => answer,
        });
        let wanted = UInt32Array::from(behind.wanted.to_vec());
        let states = [counts, sums].map(|s| take(&Int64Array::from(s), &wanted, None).unwrap());
        let schema = Arc::clone(&self.known.as_ref().unwrap().schema);
        Ok((answers.collect(), RecordBatch::try_new(schema, states.to_vec()).unwrap()))
    }
}

/// What rows are divided by.
const KEYS: [&[usize]; 4] =
    [&[], &[random::SMALL], &[random::TEXT], &[random::FLAG, random::SMALL]];

fn spec(keys: &[usize], function: &Arc<Calls>) -> OverSpec {
    let partition = keys.iter().map(|&key| random::column(key)).collect();
    let function = Arc::clone(function) as Arc<dyn PartitionFunction>;
    OverSpec { partition, function, whole: false, rows_max: OverSpec::ROWS_MAX }
}

#[test]
fn window_functions_are_those_of_all_rows() {
    for seed in 0..300 {
        let mut trial = Trial::new(seed, 1, if seed % 4 == 0 { 150 } else { 25 });
        let keys = *trial.random.pick(&KEYS);
        let calls = Arc::new(Calls::random(&mut trial.random));
        let node = trial.builder.over(trial.nodes[0], spec(keys, &calls)).unwrap();
        trial.check(node, &format!("{keys:?} {calls:?}"), |rows| calls.twin(&rows[0], keys));
    }
}

/// Rows of answers, which come and go, are partitioned again.
#[test]
fn window_functions_stand_on_each_other() {
    for seed in 0..60 {
        let mut trial = Trial::new(seed, 1, 25);
        let below = Arc::new(Calls::random(&mut trial.random));
        let above = Arc::new(Calls::random(&mut trial.random));
        let node = trial.builder.over(trial.nodes[0], spec(&[random::SMALL], &below)).unwrap();
        let node = trial.builder.over(node, spec(&[random::TEXT], &above)).unwrap();
        trial.check(node, &format!("{below:?} {above:?}"), |rows| {
            above.twin(&below.twin(&rows[0], &[random::SMALL]), &[random::TEXT])
        });
    }
}

/// Few rows come and go in long partitions, mostly near the end.
#[test]
fn long_partitions_change_in_places() {
    for seed in 0..16 {
        let mut random = Random::new(seed);
        let calls = loop {
            let calls = Calls::random(&mut random);
            if calls.reach.is_some() && calls.known.is_some() {
                break Arc::new(Calls { by: random::WIDE, ..calls });
            }
        };
        let what = format!("seed {seed}: {calls:?}");
        let mut builder = GraphBuilder::new();
        let source = builder.source(random::schema(), false);
        let node = builder.over(source, spec(&[random::FLAG], &calls)).unwrap();
        let mut graph = builder.output(node, true).unwrap();
        let (pool, mut trees) = (Workers::new(2), Trees::new(&graph));
        let (mut bag, mut seen) = (twin::Bag::default(), twin::Bag::default());
        let pool_rows = random::rows(&mut random, 600, seed % 2 == 0);
        let mut columns = pool_rows.columns().to_vec();
        // Places of which each has a few rows, or none.
        let ties = 1 + random.int(4);
        let places = (0..600).map(|at| (at % 97 != 0).then_some(at / ties)).collect::<Int64Array>();
        columns[random::WIDE] = Arc::new(places);
        let rows = RecordBatch::try_new(random::schema(), columns).unwrap();
        let cells = cells::rows(&rows);
        let mut counts = vec![0i64; 600];
        let mut end = 200;
        for step in 0..20 {
            let mut changes: Vec<(usize, i64)> = Vec::new();
            if step == 0 {
                changes.extend((0..end).map(|at| (at, 1)));
            }
            for _ in 0..random.below(4) {
                end = (end + random.below(5)).min(600);
                let near = if random.one_in(4) { end } else { 12 };
                let at = end - 1 - random.below(near);
                let gone = counts[at] > 0 && random.one_in(2);
                changes.push((at, if gone { -1 } else { 1 }));
                counts[at] += if gone { -1 } else { 1 };
            }
            if step == 0 {
                counts[..200].iter_mut().for_each(|count| *count += 1);
            }
            let at = changes.iter().map(|(at, _)| u32::try_from(*at).unwrap());
            let at = UInt32Array::from_iter_values(at);
            let diffs = Int64Array::from_iter_values(changes.iter().map(|(_, diff)| *diff));
            changes.iter().for_each(|(at, diff)| bag.add(&cells[*at], *diff));
            let taken = arrow::compute::take_record_batch(&rows, &at).unwrap();
            let inputs = [(SourceIndex(0), Updates::new(taken, diffs))];
            let output = graph.step(&inputs, &pool, &trees).unwrap();
            trees.publish(&output);
            apply(&mut seen, output.change.as_ref());
            let expected = calls.twin(&bag.rows(), &[random::FLAG]);
            assert_same(trees.rows(&graph), expected.clone(), &format!("{what} step {step}"));
            assert_same(seen.rows(), expected, &format!("{what} step {step}, followed"));
        }
    }
}

/// Rows of one partition by `wide`.
fn numbered(range: Range<i64>) -> Updates {
    let mut rows = random::rows(&mut Random::new(1), 1, false).columns().to_vec();
    let count = usize::try_from(range.end - range.start).unwrap();
    let repeated = UInt32Array::from(vec![0; count]);
    rows = arrow::compute::take_arrays(&rows, &repeated, None).unwrap();
    rows[random::SMALL] = Arc::new(Int32Array::from(vec![7; count]));
    rows[random::WIDE] = Arc::new(range.collect::<Int64Array>());
    Updates::inserts(RecordBatch::try_new(random::schema(), rows).unwrap())
}

/// A graph that evaluates one call in an order, and what counts the rows it does so for.
fn counted(call: Call) -> (Arc<Calls>, Graph) {
    let calls = Arc::new(Calls::new(vec![call], random::WIDE, false, true));
    let mut builder = GraphBuilder::new();
    let source = builder.source(random::schema(), true);
    let node = builder.over(source, spec(&[random::SMALL], &calls)).unwrap();
    (calls, builder.output(node, false).unwrap())
}

#[test]
fn only_what_a_change_reaches_is_evaluated() {
    // In 0, 10, 20 … the row 55 comes between; then one at the end.
    let cases = [
        (Call::Lag(2), [5 + 4, 3]),
        (Call::Lead(1), [3 + 2, 2 + 1]),
        (Call::Around(1, 1), [5 + 4, 3 + 2]),
        // From the first row on; then from the last mark, which is behind 96 rows.
        (Call::Number, [101 + 100, 102 - 96]),
        (Call::Size, [101 + 100, 102 + 101]),
    ];
    for (call, expected) in cases {
        let (calls, mut graph) = counted(call);
        let (pool, mut trees) = (Workers::new(1), Trees::new(&graph));
        let mut step = |numbers: Range<i64>, by: i64| {
            let updates = numbered(numbers);
            let mut columns = updates.rows().columns().to_vec();
            let factor = Int64Array::new_scalar(by);
            columns[random::WIDE] =
                arrow::compute::kernels::numeric::mul(&columns[random::WIDE], &factor).unwrap();
            let rows = RecordBatch::try_new(random::schema(), columns).unwrap();
            calls.evaluated.store(0, Ordering::Relaxed);
            let inputs = [(SourceIndex(0), Updates::inserts(rows))];
            let output = graph.step(&inputs, &pool, &trees).unwrap();
            trees.publish(&output);
            calls.evaluated.load(Ordering::Relaxed)
        };
        assert_eq!(step(0..100, 10), 100, "{call:?}");
        assert_eq!([step(11..12, 5), step(200..201, 10)], expected, "{call:?}");
    }
}

#[test]
fn what_is_read_for_a_row_at_the_end_does_not_grow_with_the_partition() {
    let at_most = [(Call::Lag(2), 8), (Call::Lead(1), 6), (Call::Around(3, 1), 16)];
    let running = [(Call::Number, 70), (Call::Running, 70)];
    for (call, most) in at_most.into_iter().chain(running) {
        let (calls, mut graph) = counted(call);
        let (pool, mut trees) = (Workers::new(1), Trees::new(&graph));
        let mut step = |numbers: Range<i64>| {
            let reader = Counting { trees: &trees, rows: Counter::new(0) };
            calls.evaluated.store(0, Ordering::Relaxed);
            let output =
                graph.step(&[(SourceIndex(0), numbered(numbers))], &pool, &reader).unwrap();
            let read = reader.rows.get();
            trees.publish(&output);
            (read, calls.evaluated.load(Ordering::Relaxed))
        };
        for from in (0..3_000).step_by(1_000) {
            step(from..from + 1_000);
        }
        for at in 3_000..3_010 {
            let (read, evaluated) = step(at..at + 1);
            assert!(
                read <= most && evaluated <= most,
                "{call:?}: {read} read, {evaluated} evaluated"
            );
        }
    }
}

#[test]
fn a_partition_that_is_too_large_is_named() {
    for (keys, which) in [
        (&[][..], "the one partition of OVER"),
        (&[random::SMALL, random::FLAG][..], "the partition of OVER with small = 7, flag = false"),
    ] {
        let calls = Arc::new(Calls::new(vec![Call::Size], random::WIDE, false, true));
        let mut builder = GraphBuilder::new();
        let source = builder.source(random::schema(), true);
        let spec = OverSpec { rows_max: 5, ..spec(keys, &calls) };
        let node = builder.over(source, spec).unwrap();
        let mut graph = builder.output(node, false).unwrap();
        let pool = Workers::new(1);
        let mut trees = Trees::new(&graph);
        let output = graph.step(&[(SourceIndex(0), numbered(0..5))], &pool, &trees).unwrap();
        trees.publish(&output);
        let error = graph.step(&[(SourceIndex(0), numbered(5..7))], &pool, &trees).unwrap_err();
        let rest = "PARTITION BY more columns, or keep fewer rows with WHERE";
        assert_eq!(error.to_string(), format!("{which} would have 7 rows, more than 5; {rest}"));
    }
}

#[test]
fn no_more_than_the_limit_is_read_where_a_change_reaches_more() {
    let calls = Arc::new(Calls::new(vec![Call::Number], random::WIDE, false, true));
    let mut builder = GraphBuilder::new();
    let source = builder.source(random::schema(), true);
    let spec = OverSpec { rows_max: 100, ..spec(&[random::SMALL], &calls) };
    let node = builder.over(source, spec).unwrap();
    let mut graph = builder.output(node, false).unwrap();
    let pool = Workers::new(1);
    let mut trees = Trees::new(&graph);
    for from in (0..1_000).step_by(50) {
        let inputs = [(SourceIndex(0), numbered(from..from + 50))];
        let output = graph.step(&inputs, &pool, &trees).unwrap();
        trees.publish(&output);
    }
    let reader = Counting { trees: &trees, rows: Counter::new(0) };
    let error = graph.step(&[(SourceIndex(0), numbered(-1..0))], &pool, &reader).unwrap_err();
    let which = "a change of the partition of OVER with small = 7 reaches more than 100 rows";
    assert!(error.to_string().starts_with(which), "{error}");
    assert!(reader.rows.get() < 200, "{} read", reader.rows.get());
}
