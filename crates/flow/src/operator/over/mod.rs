//! Window functions over partitions that change.
//!
//! ```text
//!   updates ─▶ their partitions as they were ─┬─ before ─▶ f(…) OVER ─ − ─┐
//!                       └───── + updates ─────┴─ after ──▶ f(…) OVER ─ + ─┴─▶ what differs
//! ```
//!
//! Of a partition only the part is evaluated that a changed row can reach ([`reach`]); where that is not
//! known, all of it.
//!
//! What must hold: the function gives the same answers for the same rows, down to the last bit, else rows
//! would be taken back that were never given.
//!
//! Limits: `rows_max` rows in a partition; a step holds all rows of the partitions that it touches.

mod reach;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use yeoul_batch::{ExprRef, PartitionFunction, Updates};

use super::arranged::{Arrangement, Stored, keys_of};
use super::{Operator, Step, keyless};
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::graph::{TreeShape, difference};
use crate::group::{ByGroup, Groups};
use reach::Stretches;

/// About how many rows a worker evaluates at once.
const TASK_ROWS: usize = 8192;

/// Window functions with one PARTITION BY.
#[derive(Debug, Clone)]
pub struct OverSpec {
    /// What rows are divided by; none: all rows are one partition.
    pub partition: Vec<ExprRef>,
    /// What is computed.
    pub function: Arc<dyn PartitionFunction>,
    /// Whether rows only come, and those of a partition all in one step: then nothing is kept.
    pub whole: bool,
    /// How many rows a partition may have.
    pub rows_max: usize,
}

impl OverSpec {
    /// How many rows a partition may have unless told otherwise. A step holds them as they are stored, in order,
    /// evaluated before and after, and both together: at 100 bytes a row half a gigabyte for a while.
    pub const ROWS_MAX: usize = 1_000_000;
}

/// Window functions as an operator.
#[derive(Debug)]
pub(crate) struct Over {
    rows: Arrangement,
    key_len: usize,
    /// Of each value that rows are divided by, whether it is a column, which has a name.
    named: Vec<bool>,
    function: Arc<dyn PartitionFunction>,
    whole: bool,
    rows_max: usize,
    input: SchemaRef,
    schema: SchemaRef,
}

/// The rows of the touched partitions, partition by partition, in the columns of the input.
struct Touched {
    rows: RecordBatch,
    partitions: Vec<Range<usize>>,
    /// How often each row was there.
    before: Vec<usize>,
    /// How often it is there from now on.
    after: Vec<usize>,
}

/// Rows that are evaluated together.
#[derive(Default)]
struct Task {
    rows: Vec<u32>,
    partitions: Vec<Range<usize>>,
    /// Of which rows the answer is wanted.
    wanted: Vec<bool>,
}

impl Over {
    /// Compiles `spec` over rows of this schema.
    pub(crate) fn new(
        spec: OverSpec,
        input: &SchemaRef,
        append_only: bool,
        caches: &CacheBudget,
    ) -> Result<Self, FlowError> {
        let OverSpec { mut partition, function, whole, rows_max } = spec;
        let width = input.fields().len();
        if partition.iter().filter_map(|expr| expr.as_column()).any(|column| column >= width) {
            let message = "rows are partitioned by a column that is not there";
            return Err(FlowError::Unsupported(message.into()));
        }
        let named = partition.iter().map(|expr| expr.as_column().is_some()).collect();
        if partition.is_empty() {
            partition.push(keyless());
        }
        let rows = Arrangement::new(0, &partition, input, Stored::Rows, append_only, caches)?;
        let fields = input.fields().iter().chain(function.fields()).cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let (key_len, input) = (partition.len(), Arc::clone(input));
        if whole && !append_only {
            let message = "rows that go are in partitions that come more than once";
            return Err(FlowError::Unsupported(message.into()));
        }
        Ok(Self { rows, key_len, named, function, whole, rows_max, input, schema })
    }

    /// The partitions that `new` touches, of which `old` is what was there.
    fn touched(&self, old: &Updates, new: &Updates) -> Result<Touched, FlowError> {
        let rows = concat_batches(self.rows.schema(), [old.rows(), new.rows()])?;
        let diff = |updates: &Updates, row: usize| updates.diffs().map_or(1, |d| d.value(row));
        let of_old = (0..old.len()).map(|row| (diff(old, row), diff(old, row)));
        let of_new = (0..new.len()).map(|row| (0, diff(new, row)));
        let counts: Vec<(i64, i64)> = of_old.chain(of_new).collect();
        let (rows, counts) = if counts.iter().any(|(before, after)| before.min(after) < &0) {
            summed(&rows, &counts)?
        } else {
            (rows, counts)
        };
        let groups = Groups::of(&rows.columns()[..self.key_len], rows.num_rows())?;
        let by_partition = ByGroup::new(groups.ids(), groups.count());
        // A row that is to go before it comes counts when it has come.
        let times = |count: i64| usize::try_from(count).unwrap_or(0);
        let mut touched = Vec::with_capacity(counts.len());
        let (mut before, mut after, mut partitions) = (Vec::new(), Vec::new(), Vec::new());
        for of_partition in by_partition.iter() {
            let start = touched.len();
            for &row in of_partition {
                let counts = counts[row as usize];
                let (was, is) = (times(counts.0), times(counts.1));
                if was > 0 || is > 0 {
                    touched.push(row);
                    before.push(was);
                    after.push(is);
                }
            }
            let many = after[start..].iter().fold(0usize, |sum, &count| sum.saturating_add(count));
            if many > self.rows_max {
                return Err(self.too_many(&rows, of_partition[0] as usize, many));
            }
            if touched.len() > start {
                partitions.push(start..touched.len());
            }
        }
        let stored = take_record_batch(&rows, &UInt32Array::from(touched))?;
        Ok(Touched { rows: self.laid_out(&stored)?, partitions, before, after })
    }

    fn too_many(&self, rows: &RecordBatch, row: usize, many: usize) -> FlowError {
        let schema = rows.schema();
        let key = |at: usize| {
            let value = array_value_to_string(rows.column(at), row).unwrap_or_default();
            let value = if rows.column(at).is_null(row) { "NULL".to_owned() } else { value };
            match self.named[at] {
                true => format!("{} = {value}", schema.field(at).name()),
                false => value,
            }
        };
        let keys: Vec<String> = (0..self.named.len()).map(key).collect();
        let which = match keys.as_slice() {
            [] => "the one partition of OVER".to_owned(),
            keys => format!("the partition of OVER with {}", keys.join(", ")),
        };
        FlowError::Limit(format!(
            "{which} would have {many} rows, more than {}; PARTITION BY more columns, or keep fewer \
             rows with WHERE",
            self.rows_max
        ))
    }

    /// Stored rows as rows of the input.
    fn laid_out(&self, stored: &RecordBatch) -> Result<RecordBatch, FlowError> {
        let columns = self.rows.places().into_iter().map(|at| Arc::clone(stored.column(at)));
        let options = RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
        let columns = columns.collect();
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.input), columns, &options)?)
    }

    /// The answers that may have changed, before and after.
    fn answers(
        &self,
        touched: &Touched,
        step: &Step<'_>,
    ) -> Result<(RecordBatch, RecordBatch), FlowError> {
        let stretches = Stretches::of(touched, &*self.function)?;
        let sides = [&touched.before, &touched.after].map(|counts| stretches.tasks(counts));
        let tasks_before = sides[0].len();
        let (function, rows) = (Arc::clone(&self.function), touched.rows.clone());
        let schema = Arc::clone(&self.schema);
        let work = move |task: Task| task.evaluate(&*function, &rows, &schema);
        let answers = step.pool().map(sides.into_iter().flatten().collect(), work);
        let answers = answers.into_iter().collect::<Result<Vec<RecordBatch>, FlowError>>()?;
        let (before, after) = answers.split_at(tasks_before);
        let all = |parts: &[RecordBatch]| concat_batches(&self.schema, parts);
        Ok((all(before)?, all(after)?))
    }
}

impl Task {
    /// The wanted rows with their answers.
    fn evaluate(
        self,
        function: &dyn PartitionFunction,
        rows: &RecordBatch,
        schema: &SchemaRef,
    ) -> Result<RecordBatch, FlowError> {
        let rows = take_record_batch(rows, &UInt32Array::from(self.rows))?;
        let answers = function.evaluate(&rows, &self.partitions)?;
        let columns = rows.columns().iter().cloned().chain(answers).collect();
        let answered = RecordBatch::try_new(Arc::clone(schema), columns)?;
        if self.wanted.iter().all(|wanted| *wanted) {
            return Ok(answered);
        }
        Ok(filter_record_batch(&answered, &BooleanArray::from(self.wanted))?)
    }
}

impl Operator for Over {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn append_only(&self) -> bool {
        self.whole
    }

    fn trees(&self) -> Vec<TreeShape> {
        if self.whole { Vec::new() } else { vec![self.rows.shape()] }
    }

    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError> {
        let updates = Updates::concat(&ports[0])?.filter(|updates| !updates.is_empty());
        let Some(updates) = updates else { return Ok(Vec::new()) };
        self.rows.begin();
        let new = self.rows.arrange(&updates)?;
        if self.whole {
            let none = Updates::inserts(new.rows().slice(0, 0));
            let answer = self.answers(&self.touched(&none, &new)?, step)?.1;
            return Ok(vec![Updates::inserts(answer)]);
        }
        let old = self.rows.read(&keys_of(&new, self.key_len)?, step)?;
        let touched = self.touched(&old, &new)?;
        let (before, after) = self.answers(&touched, step)?;
        self.rows.write(&new, step)?;
        Ok(difference(&before, &after)?.into_iter().collect())
    }
}

/// Every row once, with the sums of its counts.
fn summed(
    rows: &RecordBatch,
    counts: &[(i64, i64)],
) -> Result<(RecordBatch, Vec<(i64, i64)>), FlowError> {
    let groups = Groups::of(rows.columns(), rows.num_rows())?;
    let mut sums = vec![(0, 0); groups.count()];
    for (&group, (before, after)) in groups.ids().iter().zip(counts) {
        let sum = &mut sums[group as usize];
        *sum = (sum.0 + before, sum.1 + after);
    }
    let firsts = UInt32Array::from(groups.firsts().to_vec());
    Ok((take_record_batch(rows, &firsts)?, sums))
}
