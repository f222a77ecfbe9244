//! What a graph is tried against: its trees as plain lists, and sources of random updates.

use std::collections::BTreeMap;
use std::ops::Bound;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use yeoul_batch::{Combine, KeyCodec, KeyRange, RangeRows, Updates};
use yeoul_flow::{Graph, StateReader, StateTree, StepOutput, TreeShape};

use crate::cells::{self, Row};
use crate::random::{self, Random};
use crate::twin::Bag;

/// The trees of one graph, as plain lists of batches.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    shapes: BTreeMap<StateTree, TreeShape>,
    batches: BTreeMap<StateTree, Vec<RecordBatch>>,
}

impl Trees {
    pub(crate) fn new(graph: &Graph) -> Self {
        let mut trees = Self::default();
        trees.shapes.extend(graph.state_trees().iter().cloned());
        trees.shapes.insert(StateTree::VIEW, graph.tree().clone());
        trees
    }

    pub(crate) fn publish(&mut self, output: &StepOutput) {
        let own = output.deltas.iter().map(|delta| (StateTree::VIEW, delta));
        for (tree, delta) in own.chain(output.inner.iter().map(|(tree, delta)| (*tree, delta))) {
            assert_eq!(delta.schema(), *self.shapes[&tree].schema());
            self.batches.entry(tree).or_default().push(delta.clone());
        }
    }

    /// Lets go of all rows that are released when windows are closed up to `closed_us`.
    pub(crate) fn release(&mut self, graph: &Graph, closed_us: i64) {
        for (tree, release) in graph.releases() {
            for batch in self.batches.entry(*tree).or_default() {
                let times = batch.column(release.column).as_primitive::<TimestampMicrosecondType>();
                let needed =
                    |time: Option<i64>| time.is_none_or(|t| t >= release.before_us(closed_us));
                let needed: BooleanArray = times.iter().map(|time| Some(needed(time))).collect();
                *batch = filter_record_batch(batch, &needed).unwrap();
            }
        }
    }

    pub(crate) fn states(&self, tree: StateTree) -> RecordBatch {
        let batches = self.batches.get(&tree).map_or(&[][..], Vec::as_slice);
        match &self.shapes[&tree] {
            TreeShape::Keep { schema, .. } => concat_batches(schema, batches).unwrap(),
            TreeShape::Bag(states) | TreeShape::Combine(states) => {
                states.combine(batches, true).unwrap()
            }
            TreeShape::Ranked(ranking) => ranking.kept().combine(batches, true).unwrap(),
        }
    }

    pub(crate) fn rows(&self, graph: &Graph) -> Vec<Row> {
        let rows = graph.finish(&self.states(StateTree::VIEW)).unwrap();
        assert_eq!(rows.schema(), *graph.schema());
        cells::rows(&rows)
    }
}

impl StateReader for Trees {
    /// Goes through everything; what a key became commit by commit comes in pieces.
    fn get_many(
        &self,
        tree: StateTree,
        keys: &[ArrayRef],
    ) -> Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>> {
        let name = |columns: &[ArrayRef], row: usize| {
            format!("{:?}", columns.iter().map(|c| cells::cell(c, row)).collect::<Vec<_>>())
        };
        let wanted: Vec<String> = (0..keys[0].len()).map(|row| name(keys, row)).collect();
        let batches = self.batches.get(&tree).map_or(&[][..], Vec::as_slice);
        let states = concat_batches(self.shapes[&tree].schema(), batches)?;
        let key_columns = &states.columns()[..keys.len()];
        let mask: BooleanArray = (0..states.num_rows())
            .map(|row| Some(wanted.contains(&name(key_columns, row))))
            .collect();
        Ok(filter_record_batch(&states, &mask)?)
    }

    /// Sorts everything and cuts.
    fn read_ranges(
        &self,
        tree: StateTree,
        ranges: &[KeyRange],
        rows_max: usize,
        reverse: bool,
    ) -> Result<RangeRows, Box<dyn std::error::Error + Send + Sync>> {
        let (TreeShape::Bag(rule) | TreeShape::Combine(rule)) = &self.shapes[&tree] else {
            panic!("a tree of states is read")
        };
        let states = self.states(tree);
        let key: Vec<usize> = (0..rule.key_len()).collect();
        let encoded = KeyCodec::new(&states.schema(), &key)?.encode(&states)?;
        let mut order: Vec<u32> = (0..u32::try_from(states.num_rows())?).collect();
        order.sort_by_key(|&row| encoded.row(row as usize));
        if reverse {
            order.reverse();
        }
        let (mut rows, mut numbers, mut more) = (Vec::<u32>::new(), Vec::new(), Vec::new());
        for (number, range) in (0u32..).zip(ranges) {
            let begins = |key: &[u8], with: &[u8]| key.starts_with(with);
            let within = |key: &[u8]| {
                (match &range.from {
                    Bound::Unbounded => true,
                    Bound::Included(from) => key >= from.as_slice(),
                    Bound::Excluded(from) => key > from.as_slice() && !begins(key, from),
                }) && (match &range.to {
                    Bound::Unbounded => true,
                    Bound::Included(to) => key <= to.as_slice() || begins(key, to),
                    Bound::Excluded(to) => key < to.as_slice(),
                })
            };
            let found = order.iter().filter(|&&row| within(encoded.row(row as usize).data()));
            let found: Vec<u32> = found.copied().collect();
            more.push(found.len() > rows_max);
            rows.extend(found.iter().take(rows_max));
            numbers.extend(found.iter().take(rows_max).map(|_| number));
        }
        let rows = take_record_batch(&states, &UInt32Array::from(rows))?;
        Ok(RangeRows { rows, ranges: numbers, more })
    }
}

/// A source of rows that come and, unless it is append-only, go.
pub(crate) struct Source {
    pool: RecordBatch,
    counts: Vec<i64>,
    pub(crate) bag: Bag,
    pub(crate) append_only: bool,
}

impl Source {
    pub(crate) fn new(random: &mut Random, append_only: bool) -> Self {
        let pool = random::rows(random, 300, true);
        Self { counts: vec![0; pool.num_rows()], pool, bag: Bag::default(), append_only }
    }

    pub(crate) fn step(&mut self, random: &mut Random, count: usize) -> Updates {
        let cells = cells::rows(&self.pool);
        let mut picked = Vec::new();
        let mut diffs = Vec::new();
        for _ in 0..count {
            let at = random.below(self.counts.len());
            let gone = !self.append_only && self.counts[at] > 0 && random.one_in(2);
            let diff = if gone { -self.counts[at] } else { 1 };
            self.counts[at] += diff;
            self.bag.add(&cells[at], diff);
            picked.push(u32::try_from(at).unwrap());
            diffs.push(diff);
        }
        let rows = take_record_batch(&self.pool, &UInt32Array::from(picked)).unwrap();
        if self.append_only {
            Updates::inserts(rows)
        } else {
            Updates::new(rows, Int64Array::from(diffs))
        }
    }
}

/// Takes a change into a bag.
pub(crate) fn apply(bag: &mut Bag, change: Option<&Updates>) {
    let Some(change) = change else { return };
    for (at, row) in cells::rows(change.rows()).iter().enumerate() {
        bag.add(row, change.diffs().map_or(1, |d| d.value(at)));
    }
}
