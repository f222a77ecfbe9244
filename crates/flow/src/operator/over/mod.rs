//! Window functions over partitions that change.
//!
//! ```text
//!   updates ─▶ their partitions as they were ─┬─ before ─▶ f(…) OVER ─ − ─┐
//!                       └───── + updates ─────┴─ after ──▶ f(…) OVER ─ + ─┴─▶ what differs
//! ```
//!
//! Of a partition only the part is evaluated that a changed row can reach ([`reach`]), and where that is bounded only
//! that part is read ([`near`]); else all of it.
//!
//! What must hold: the function gives the same answers for the same rows, down to the last bit, else rows
//! would be taken back that were never given.
//!
//! Limits: `rows_max` rows of a partition are looked at; a step holds all rows that it looks at.

mod near;
mod reach;
mod touched;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use yeoul_batch::{Behind, ExprRef, PartitionFunction, Updates};

use super::arranged::{Arrangement, Stored, keys_of};
use super::{Operator, Step, keyless};
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::graph::{TreeShape, difference};
use crate::group::Groups;
use near::Near;
use reach::Stretches;
use touched::{Part, Touched};

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
    /// How many rows of a partition a step may look at.
    pub rows_max: usize,
}

impl OverSpec {
    /// How many rows of a partition a step may look at unless told otherwise. It holds them as they are stored, in
    /// order, evaluated before and after, and both together: at 100 bytes a row half a gigabyte for a while.
    pub const ROWS_MAX: usize = 1_000_000;
}

/// Window functions as an operator.
#[derive(Debug)]
pub(crate) struct Over {
    kept: Kept,
    key_len: usize,
    /// Of each value that rows are divided by, whether it is a column, which has a name.
    named: Vec<bool>,
    function: Arc<dyn PartitionFunction>,
    whole: bool,
    rows_max: usize,
    input: SchemaRef,
    schema: SchemaRef,
}

/// How the rows of partitions are kept.
#[derive(Debug)]
enum Kept {
    /// In no order: those of a partition are read together.
    Whole(Arrangement),
    /// In order.
    Near(Near),
}

/// The answers that may have changed, and what is known from now on.
struct Answers {
    before: RecordBatch,
    after: RecordBatch,
    /// States, and the rows that they are behind.
    marks: Vec<(UInt32Array, RecordBatch)>,
}

/// Rows that are evaluated together.
#[derive(Default)]
struct Task {
    rows: Vec<u32>,
    partitions: Vec<Range<usize>>,
    /// Of which rows the answer is wanted.
    wanted: Vec<bool>,
    /// The state that each partition begins behind.
    behind: Vec<Option<u32>>,
    /// Of which rows the state is wanted.
    marked: Vec<u32>,
}

/// What is evaluated, for all tasks.
#[derive(Clone)]
struct Work {
    function: Arc<dyn PartitionFunction>,
    rows: RecordBatch,
    /// States to begin behind.
    states: Option<RecordBatch>,
    schema: SchemaRef,
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
        let near = if whole { None } else { Near::new(&partition, input, &function)? };
        let kept = match near {
            Some(near) => Kept::Near(near),
            None => {
                let rows = Stored::Rows;
                Kept::Whole(Arrangement::new(0, &partition, input, rows, append_only, caches)?)
            }
        };
        let fields = input.fields().iter().chain(function.fields()).cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let (key_len, input) = (partition.len(), Arc::clone(input));
        if whole && !append_only {
            let message = "rows that go are in partitions that come more than once";
            return Err(FlowError::Unsupported(message.into()));
        }
        Ok(Self { kept, key_len, named, function, whole, rows_max, input, schema })
    }

    /// The partitions that `new` touches, of which `old` is what was there.
    fn touched(&self, old: &Updates, new: &Updates) -> Result<Touched, FlowError> {
        let rows = concat_batches(&new.rows().schema(), [old.rows(), new.rows()])?;
        let groups = Groups::of(&rows.columns()[..self.key_len], rows.num_rows())?;
        let diff = |updates: &Updates, row: usize| updates.diffs().map_or(1, |d| d.value(row));
        let of_old = (0..old.len()).map(|row| (diff(old, row), diff(old, row)));
        let of_new = (0..new.len()).map(|row| (0, diff(new, row)));
        let counts = of_old.chain(of_new).zip(groups.ids());
        let part = |((before, after), &number): ((i64, i64), &u32)| Part { number, before, after };
        Touched::new(rows, counts.map(part).collect(), |rows| {
            Ok(self.function.order(&self.laid_out(rows)?)?)
        })
    }

    /// Sees that no more rows are looked at than may be.
    fn check(&self, touched: &Touched) -> Result<(), FlowError> {
        for part in &touched.parts {
            let counts = touched.after[part.clone()].iter();
            let many = counts.fold(0usize, |sum, &count| sum.saturating_add(count));
            if many > self.rows_max {
                return Err(self.too_many(&touched.stored, part.start, many));
            }
        }
        Ok(())
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
        let most = self.rows_max;
        let has = match self.kept {
            Kept::Whole(_) => format!("{which} would have {many} rows, more than {most}"),
            // No more of them are read.
            Kept::Near(_) => format!("a change of {which} reaches more than {most} rows"),
        };
        FlowError::Limit(format!("{has}; PARTITION BY more columns, or keep fewer rows with WHERE"))
    }

    /// Stored rows as rows of the input.
    fn laid_out(&self, stored: &RecordBatch) -> Result<RecordBatch, FlowError> {
        let places = match &self.kept {
            Kept::Whole(rows) => rows.places(),
            Kept::Near(near) => near.places(),
        };
        let columns = places.into_iter().map(|at| Arc::clone(stored.column(at)));
        let options = RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
        let columns = columns.collect();
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.input), columns, &options)?)
    }

    fn answers(&self, touched: &Touched, step: &Step<'_>) -> Result<Answers, FlowError> {
        let stretches = Stretches::of(touched, &*self.function);
        let marked = matches!(&self.kept, Kept::Near(near) if near.has_marks());
        let before = stretches.tasks(&touched.before, false);
        let after = stretches.tasks(&touched.after, marked);
        let tasks_before = before.len();
        let work = Work {
            function: Arc::clone(&self.function),
            rows: self.laid_out(&touched.stored)?,
            states: touched.states.as_ref().map(|(states, _)| states.clone()),
            schema: Arc::clone(&self.schema),
        };
        let tasks = before.into_iter().chain(after).collect();
        let done = step.pool().map(tasks, move |task: Task| task.evaluate(&work));
        let (mut answers, mut marks) = (Vec::new(), Vec::new());
        for done in done {
            let (answer, mark) = done?;
            answers.push(answer);
            marks.extend(mark);
        }
        let (before, after) = answers.split_at(tasks_before);
        let all = |parts: &[RecordBatch]| concat_batches(&self.schema, parts);
        Ok(Answers { before: all(before)?, after: all(after)?, marks })
    }

    /// Takes the step's updates; gives the rows that they reach.
    fn take(&mut self, updates: &Updates, step: &mut Step<'_>) -> Result<Touched, FlowError> {
        let (old, new) = match &mut self.kept {
            Kept::Near(near) => return near.take(updates, self.rows_max, step),
            Kept::Whole(rows) => {
                rows.begin();
                let new = rows.arrange(updates)?;
                if self.whole {
                    (Updates::inserts(new.rows().slice(0, 0)), new)
                } else {
                    let old = rows.read(&keys_of(&new, self.key_len)?, step)?;
                    rows.write(&new, step)?;
                    (old, new)
                }
            }
        };
        self.touched(&old, &new)
    }
}

impl Task {
    /// The wanted rows with their answers, and the wanted states with the rows they are behind.
    fn evaluate(
        self,
        work: &Work,
    ) -> Result<(RecordBatch, Option<(UInt32Array, RecordBatch)>), FlowError> {
        let at = UInt32Array::from(self.rows);
        let rows = take_record_batch(&work.rows, &at)?;
        let (answers, states): (Vec<ArrayRef>, _) = match &work.states {
            None => (work.function.evaluate(&rows, &self.partitions)?, None),
            Some(states) => {
                let behind = Behind { states, of: &self.behind, wanted: &self.marked };
                let (answers, states) =
                    work.function.evaluate_behind(&rows, &self.partitions, &behind)?;
                let marked = self.marked.iter().map(|&row| at.value(row as usize));
                (answers, Some((UInt32Array::from_iter_values(marked), states)))
            }
        };
        let columns = rows.columns().iter().cloned().chain(answers).collect();
        let answered = RecordBatch::try_new(Arc::clone(&work.schema), columns)?;
        if self.wanted.iter().all(|wanted| *wanted) {
            return Ok((answered, states));
        }
        Ok((filter_record_batch(&answered, &BooleanArray::from(self.wanted))?, states))
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
        match &self.kept {
            _ if self.whole => Vec::new(),
            Kept::Whole(rows) => vec![rows.shape()],
            Kept::Near(near) => near.trees(),
        }
    }

    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError> {
        let updates = Updates::concat(&ports[0])?.filter(|updates| !updates.is_empty());
        let Some(updates) = updates else { return Ok(Vec::new()) };
        let touched = self.take(&updates, step)?;
        self.check(&touched)?;
        let Answers { before, after, marks } = self.answers(&touched, step)?;
        if let Kept::Near(near) = &self.kept {
            for (rows, states) in marks {
                near.mark(&take_record_batch(&touched.stored, &rows)?, &states, step)?;
            }
        }
        if self.whole {
            return Ok(vec![Updates::inserts(after)]);
        }
        Ok(difference(&before, &after)?.into_iter().collect())
    }
}
