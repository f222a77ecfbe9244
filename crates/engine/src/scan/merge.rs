//! The operator that makes one row of the stored rows that share a key.
//!
//! ```text
//!   memory ── filtered, divided by range of keys ─┐
//!                                                 ├─ per range: all its rows ─▶ rule ─▶ on
//!   parts ─── the rows of the range, filtered ────┘
//! ```
//!
//! A range of which only one part has rows is passed through in batches, unless rows of several keys are
//! needed together: a part has a key once.
//!
//! What must hold: all rows of a key are merged together, however they are spread over memory and parts.
//!
//! Limits: what is held is a range per thread; ranges are chosen by the number of stored rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use yeoul_batch::KeyCodec;
use yeoul_store::Slices;

use super::rule::MergeRule;

/// Rows handed on at once.
const OUTPUT_ROWS: usize = 8192;

/// What is read, and how it is cut.
#[derive(Debug)]
pub(super) struct Stored {
    /// The columns of the rows, before the rule.
    pub schema: SchemaRef,
    /// The tree's key, in its order, which need not be the rule's.
    pub key: Vec<usize>,
    /// The ranges of keys.
    pub slices: Slices,
    /// The rows in memory.
    pub memory: Vec<RecordBatch>,
    /// How rows in parts are read.
    pub files: FileScanConfig,
    /// In which parts each range has rows, with which rows.
    pub parts: Vec<Vec<PartitionedFile>>,
    /// Which rows matter; looks at key columns only.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// How many rows there are.
    pub rows: usize,
}

/// See the module.
pub(crate) struct MergeExec {
    stored: Arc<Stored>,
    rule: Arc<dyn MergeRule>,
    projection: Option<Vec<usize>>,
    divided: Arc<Mutex<Option<Arc<Divided>>>>,
    properties: Arc<PlanProperties>,
}

/// The rows in memory that matter, and which of them are of each range: rows of which batch, or all.
struct Divided {
    batches: Vec<RecordBatch>,
    ranges: Vec<Vec<(usize, Option<UInt32Array>)>>,
    /// Counts them as long as they are held.
    _held: MemoryReservation,
}

impl MergeExec {
    /// Merges the rows of `stored` under `rule` on up to `threads` threads and passes on the columns
    /// of `projection`.
    pub(super) fn new(
        stored: Stored,
        rule: Arc<dyn MergeRule>,
        projection: Option<Vec<usize>>,
        threads: usize,
    ) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(rule.schema().project(columns)?),
            None => rule.schema(),
        };
        let partitions = threads.clamp(1, stored.slices.count());
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        let divided = Arc::new(Mutex::new(None));
        Ok(Self { stored: Arc::new(stored), rule, projection, divided, properties })
    }
}

impl fmt::Debug for MergeExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergeExec").field("rule", &self.rule).finish_non_exhaustive()
    }
}

impl DisplayAs for MergeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stored { slices, memory, predicate, .. } = self.stored.as_ref();
        let in_memory: usize = memory.iter().map(RecordBatch::num_rows).sum();
        let in_parts = self.stored.rows.saturating_sub(in_memory);
        write!(f, "MergeExec: rule={}, ranges={}", self.rule.name(), slices.count())?;
        write!(f, ", rows in memory={in_memory}, rows in parts={in_parts}")?;
        if let Some(predicate) = predicate {
            write!(f, ", predicate={predicate}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for MergeExec {
    fn name(&self) -> &'static str {
        "MergeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// None: what is read is cut to ranges, and must not be cut in another way by the planner.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    /// At most as many rows as are stored: by it the smaller side of a join is known.
    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        statistics.num_rows = Precision::Inexact(self.stored.rows);
        Ok(Arc::new(statistics))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let step = self.properties.partitioning.partition_count();
        let numbers = (partition..self.stored.slices.count()).step_by(step);
        let reader = Arc::new(Reader {
            stored: Arc::clone(&self.stored),
            rule: Arc::clone(&self.rule),
            projection: self.projection.clone(),
            divided: Arc::clone(&self.divided),
            codec: KeyCodec::new(&self.stored.schema, &self.stored.key)?,
            context,
        });
        let ranges = stream::iter(numbers).then(move |number| Arc::clone(&reader).range(number));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), ranges.try_flatten())))
    }
}

/// One execution of a partition.
struct Reader {
    stored: Arc<Stored>,
    rule: Arc<dyn MergeRule>,
    projection: Option<Vec<usize>>,
    divided: Arc<Mutex<Option<Arc<Divided>>>>,
    codec: KeyCodec,
    context: Arc<TaskContext>,
}

type Rows = BoxStream<'static, Result<RecordBatch>>;

impl Reader {
    /// The merged rows of a range.
    async fn range(self: Arc<Self>, number: usize) -> Result<Rows> {
        let memory = self.in_memory(number)?;
        let global = self.rule.key().is_empty();
        let mut parts = self.in_parts(number)?;
        let alone = self.rule.together().is_none() && !global;
        if memory.is_empty() && alone && self.stored.parts[number].len() <= 1 {
            let passed = parts.try_filter_map(move |batch| {
                let passed = self.rule.pass(batch).and_then(|batch| self.projected(batch));
                std::future::ready(passed.map(|batch| (batch.num_rows() > 0).then_some(batch)))
            });
            return Ok(passed.boxed());
        }
        let held = self.account("merging states of a view or table");
        let mut batches = memory;
        held.try_grow(batches.iter().map(bytes_of).sum())?;
        while let Some(batch) = parts.try_next().await? {
            held.try_grow(bytes_of(&batch))?;
            batches.push(batch);
        }
        if batches.is_empty() && !global {
            return Ok(stream::empty().boxed());
        }
        let merged = self.rule.merge(batches, global)?;
        held.try_resize(bytes_of(&merged))?;
        let slices = slices(&self.projected(merged)?);
        let rows = stream::iter(slices).map(move |slice| {
            let _held = &held;
            Ok(slice)
        });
        Ok(rows.boxed())
    }

    fn projected(&self, batch: RecordBatch) -> Result<RecordBatch> {
        match &self.projection {
            Some(columns) => Ok(batch.project(columns)?),
            None => Ok(batch),
        }
    }

    fn account(&self, what: &str) -> MemoryReservation {
        MemoryConsumer::new(what).register(self.context.memory_pool())
    }

    /// The rows of a range in parts.
    fn in_parts(self: &Arc<Self>, number: usize) -> Result<Rows> {
        let files = &self.stored.parts[number];
        if files.is_empty() {
            return Ok(stream::empty().boxed());
        }
        // A source of its own for every range: one for all would let its partitions take files of
        // each other.
        let config = FileScanConfigBuilder::from(self.stored.files.clone())
            .with_file_groups(vec![FileGroup::new(files.clone())])
            .build();
        let rows =
            DataSourceExec::from_data_source(config).execute(0, Arc::clone(&self.context))?;
        let reader = Arc::clone(self);
        let rows = rows.try_filter_map(move |batch| {
            let kept = reader.trimmed(batch, number).and_then(|batch| reader.filtered(batch));
            std::future::ready(kept.map(|batch| (batch.num_rows() > 0).then_some(batch)))
        });
        Ok(rows.boxed())
    }

    /// The rows of `batch`, which are in order, that are of the range.
    fn trimmed(&self, batch: RecordBatch, number: usize) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let slices = &self.stored.slices;
        if slices.count() == 1 || rows == 0 {
            return Ok(batch);
        }
        let of = |row: usize| -> Result<usize> {
            let key = self.codec.encode(&batch.slice(row, 1))?;
            Ok(slices.number(key.row(0).data()))
        };
        if of(0)? == number && of(rows - 1)? == number {
            return Ok(batch);
        }
        let first_from = |number: usize| -> Result<usize> {
            let (mut low, mut high) = (0, rows);
            while low < high {
                let middle = low.midpoint(high);
                if of(middle)? < number {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            Ok(low)
        };
        let from = first_from(number)?;
        Ok(batch.slice(from, first_from(number + 1)? - from))
    }

    /// The rows of `batch` that matter.
    fn filtered(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let Some(predicate) = &self.stored.predicate else { return Ok(batch) };
        let mask = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
        let mask = mask.as_boolean();
        Ok(filter_record_batch(&batch, mask)?)
    }

    /// The rows of a range in memory.
    fn in_memory(&self, number: usize) -> Result<Vec<RecordBatch>> {
        if self.stored.memory.is_empty() {
            return Ok(Vec::new());
        }
        let divided = self.divided()?;
        let rows = divided.ranges[number].iter();
        rows.map(|(batch, rows)| {
            let batch = &divided.batches[*batch];
            match rows {
                None => Ok(batch.clone()),
                Some(rows) => Ok(take_record_batch(batch, rows)?),
            }
        })
        .collect()
    }

    /// Whichever partition comes first divides the rows in memory for all.
    fn divided(&self) -> Result<Arc<Divided>> {
        let mut slot = self.divided.lock();
        if let Some(divided) = slot.as_ref() {
            return Ok(Arc::clone(divided));
        }
        let divided = Arc::new(self.divide()?);
        *slot = Some(Arc::clone(&divided));
        Ok(divided)
    }

    fn divide(&self) -> Result<Divided> {
        let held = self.account("dividing the memory of a view or table");
        let count = self.stored.slices.count();
        let mut batches: Vec<RecordBatch> = Vec::with_capacity(self.stored.memory.len());
        let mut ranges = vec![Vec::new(); count];
        for whole in &self.stored.memory {
            let batch = self.filtered(whole.clone())?;
            if batch.num_rows() == 0 {
                continue;
            }
            if self.stored.predicate.is_some() {
                held.try_grow(bytes_of(&batch))?;
            }
            let place = batches.len();
            if count == 1 {
                ranges[0].push((place, None));
            } else {
                held.try_grow(batch.num_rows() * size_of::<u32>())?;
                let keys = self.codec.encode(&batch)?;
                let mut rows: Vec<Vec<u32>> = vec![Vec::new(); count];
                for (row, key) in (0..).zip(keys.iter()) {
                    rows[self.stored.slices.number(key.data())].push(row);
                }
                for (range, rows) in ranges.iter_mut().zip(rows) {
                    if !rows.is_empty() {
                        range.push((place, Some(UInt32Array::from(rows))));
                    }
                }
            }
            batches.push(batch);
        }
        Ok(Divided { batches, ranges, _held: held })
    }
}

/// How much memory the rows of a batch take. What comes in is often a slice of a larger batch, whose
/// buffers are not counted again for every slice.
fn bytes_of(batch: &RecordBatch) -> usize {
    let column = |column: &ArrayRef| {
        let slice = column.to_data().get_slice_memory_size();
        slice.unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(column).sum()
}

fn slices(batch: &RecordBatch) -> Vec<RecordBatch> {
    (0..batch.num_rows())
        .step_by(OUTPUT_ROWS)
        .map(|at| batch.slice(at, OUTPUT_ROWS.min(batch.num_rows() - at)))
        .collect()
}
