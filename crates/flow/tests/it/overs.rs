//! Window functions stepped commit by commit equal the same functions over all rows, whether or not it is
//! known how far a row sees, and of a large partition only the part is evaluated that a change reaches.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields};
use yeoul_batch::{ExprError, PartitionFunction, PartitionOrder, Reach, Updates};
use yeoul_flow::{GraphBuilder, OverSpec, SourceIndex, Workers};

use crate::cells::{self, Cell, Row};
use crate::random::{self, Random};
use crate::trees::Trees;
use crate::trial::Trial;

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
        Self { calls, by, descending, reach, fields, evaluated }
    }

    fn random(random: &mut Random) -> Self {
        let calls = (0..1 + random.below(2)).map(|_| Call::random(random)).collect();
        let by = *random.pick(&[random::TIME, random::WIDE, random::TEXT, random::FLAG]);
        Self::new(calls, by, random.one_in(2), !random.one_in(3))
    }

    /// The positions of rows in order.
    fn sorted(&self, rows: &[Row]) -> Vec<usize> {
        let mut sorted: Vec<usize> = (0..rows.len()).collect();
        sorted.sort_by(|&a, &b| {
            let order = rows[a][self.by].order(&rows[b][self.by]);
            let order = if self.descending { order.reverse() } else { order };
            order.then_with(|| format!("{:?}", rows[a]).cmp(&format!("{:?}", rows[b])))
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
        for rows in partitions.values() {
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

    fn order(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
    ) -> Result<PartitionOrder, ExprError> {
        let rows = cells::rows(rows);
        let mut order = PartitionOrder { rows: Vec::new(), ties: Vec::new() };
        for partition in partitions {
            let sorted = self.sorted(&rows[partition.clone()]);
            for (at, &row) in sorted.iter().enumerate() {
                let of = |at: usize| &rows[partition.start + sorted[at]][self.by];
                order.ties.push(at > 0 && of(at - 1).order(of(at)).is_eq());
                order.rows.push(u32::try_from(partition.start + row).unwrap());
            }
        }
        Ok(order)
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
        let mut trial = Trial::new(seed, 1, if seed % 10 == 0 { 200 } else { 25 });
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

/// Rows of one partition by `wide`.
fn numbered(range: Range<i64>) -> Updates {
    let mut rows = random::rows(&mut Random::new(1), 1, false).columns().to_vec();
    let count = usize::try_from(range.end - range.start).unwrap();
    let repeated = arrow::array::UInt32Array::from(vec![0; count]);
    rows = arrow::compute::take_arrays(&rows, &repeated, None).unwrap();
    rows[random::SMALL] = Arc::new(Int32Array::from(vec![7; count]));
    rows[random::WIDE] = Arc::new(range.collect::<Int64Array>());
    Updates::inserts(RecordBatch::try_new(random::schema(), rows).unwrap())
}

#[test]
fn only_what_a_change_reaches_is_evaluated() {
    // In 0, 10, 20 … the row 55 comes between; then one at the end.
    let cases = [
        (Call::Lag(2), [5 + 4, 3]),
        (Call::Lead(1), [3 + 2, 2 + 1]),
        (Call::Around(1, 1), [5 + 4, 3 + 2]),
        // From the first row on: what comes before is counted.
        (Call::Number, [101 + 100, 102]),
        (Call::Size, [101 + 100, 102 + 101]),
    ];
    for (call, expected) in cases {
        let calls = Arc::new(Calls::new(vec![call], random::WIDE, false, true));
        let mut builder = GraphBuilder::new();
        let source = builder.source(random::schema(), true);
        let node = builder.over(source, spec(&[random::SMALL], &calls)).unwrap();
        let mut graph = builder.output(node, false).unwrap();
        let pool = Workers::new(1);
        let mut trees = Trees::new(&graph);
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
