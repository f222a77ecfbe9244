//! The operator that makes one row of the rows that share a key: the reading side of the merge rules
//! `latest` and `combine`.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, not, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use hashbrown::HashTable;
use yeoul_batch::{KeyCodec, hash64};

/// Rows handed on at once.
const OUTPUT_ROWS: usize = 8192;

/// What becomes of the rows of one key.
pub(crate) trait MergeRule: fmt::Debug + Send + Sync {
    /// The rule's name in a plan.
    fn name(&self) -> &'static str;

    /// How many leading columns of the input are the key.
    fn key(&self) -> &[usize];

    /// The columns of the result.
    fn schema(&self) -> SchemaRef;

    /// What is enough of the input for the columns `projection` of the result; `None` when it is all.
    fn narrowed(&self, projection: &[usize]) -> Option<Narrowed> {
        let _ = projection;
        None
    }

    /// The result for the rows of a set of whole keys. `global` says that the input is everything,
    /// which matters to an aggregate without groups: it has a row even over nothing.
    fn merge(&self, batches: Vec<RecordBatch>, global: bool) -> Result<RecordBatch>;

    /// The result for rows of which no two have the same key.
    fn pass(&self, batch: RecordBatch) -> Result<RecordBatch> {
        self.merge(vec![batch], false)
    }
}

/// A rule over some of the columns of its input.
pub(crate) struct Narrowed {
    /// Those columns.
    pub input: Vec<usize>,
    /// The rule over them.
    pub rule: Arc<dyn MergeRule>,
    /// The wanted columns of its result.
    pub projection: Vec<usize>,
}

/// Keeps the row with the highest `_version` of each key, unless it is `_deleted`. The input's last
/// two columns are `_version` and `_deleted`; they are not passed on.
#[derive(Debug)]
pub(crate) struct NewestRow {
    key: Vec<usize>,
    /// The columns that are passed on.
    visible: Vec<usize>,
    input: SchemaRef,
    output: SchemaRef,
}

impl NewestRow {
    pub(crate) fn new(input: SchemaRef, output: SchemaRef, key: Vec<usize>) -> Self {
        let visible = (0..output.fields().len()).collect();
        Self { key, visible, input, output }
    }
}

impl MergeRule for NewestRow {
    fn name(&self) -> &'static str {
        "newest"
    }

    fn key(&self) -> &[usize] {
        &self.key
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.output)
    }

    fn narrowed(&self, projection: &[usize]) -> Option<Narrowed> {
        let width = self.output.fields().len();
        let visible: Vec<usize> = (0..width)
            .filter(|column| projection.contains(column) || self.key.contains(column))
            .collect();
        if visible.len() == width {
            return None;
        }
        let place = |column: &usize| visible.binary_search(column).ok();
        let key: Option<Vec<usize>> = self.key.iter().map(place).collect();
        let projection: Option<Vec<usize>> = projection.iter().map(place).collect();
        let output = self.output.project(&visible).ok()?;
        // The columns of the result are the first of the input; the two hidden ones follow.
        let input: Vec<usize> = visible.into_iter().chain([width, width + 1]).collect();
        let schema = self.input.project(&input).ok()?;
        let rule = Arc::new(Self::new(Arc::new(schema), Arc::new(output), key?));
        Some(Narrowed { input, rule, projection: projection? })
    }

    fn merge(&self, batches: Vec<RecordBatch>, _global: bool) -> Result<RecordBatch> {
        let all = arrow::compute::concat_batches(&self.input, &batches)?;
        drop(batches);
        let rows = all.num_rows();
        let keys: Vec<_> = self.key.iter().map(|&c| Arc::clone(all.column(c))).collect();
        let hashes = hash64(&keys, rows)?;
        let codec = KeyCodec::new(&self.input, &self.key)?;
        let encoded = codec.encode_columns(&keys)?;
        let width = self.input.fields().len();
        let versions = all.column(width - 2).as_primitive::<UInt64Type>().values();
        let deleted = all.column(width - 1).as_boolean();
        let mut newest: HashTable<u32> = HashTable::with_capacity(rows);
        for row in 0..rows {
            let index = u32::try_from(row)
                .map_err(|_| DataFusionError::ResourcesExhausted("table too large".into()))?;
            let entry = newest.entry(
                hashes[row],
                |&other| encoded.row(other as usize) == encoded.row(row),
                |&other| hashes[other as usize],
            );
            match entry {
                hashbrown::hash_table::Entry::Vacant(slot) => {
                    slot.insert(index);
                }
                hashbrown::hash_table::Entry::Occupied(mut slot) => {
                    if versions[*slot.get() as usize] <= versions[row] {
                        *slot.get_mut() = index;
                    }
                }
            }
        }
        let mut chosen: Vec<u32> =
            newest.into_iter().filter(|&row| !deleted.value(row as usize)).collect();
        chosen.sort_unstable();
        Ok(take_record_batch(&all.project(&self.visible)?, &UInt32Array::from(chosen))?)
    }

    fn pass(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let deleted = batch.column(batch.num_columns() - 1).as_boolean();
        let shown = batch.project(&self.visible)?;
        if deleted.true_count() > 0 {
            return Ok(filter_record_batch(&shown, &not(deleted)?)?);
        }
        Ok(shown)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct MergeExec {
    input: Arc<dyn ExecutionPlan>,
    rule: Arc<dyn MergeRule>,
    projection: Option<Vec<usize>>,
    unique: bool,
    properties: Arc<PlanProperties>,
}

impl MergeExec {
    /// Merges the rows of `input` under `rule` and passes on the columns of `projection`. `unique`
    /// says that no two rows of the input have the same key.
    pub(crate) fn new(
        input: Arc<dyn ExecutionPlan>,
        rule: Arc<dyn MergeRule>,
        projection: Option<Vec<usize>>,
        unique: bool,
    ) -> Result<Self> {
        let unique = unique && !rule.key().is_empty();
        let schema = match &projection {
            Some(columns) => Arc::new(rule.schema().project(columns)?),
            None => rule.schema(),
        };
        let partitions =
            if rule.key().is_empty() { 1 } else { input.output_partitioning().partition_count() };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            if unique { EmissionType::Incremental } else { EmissionType::Final },
            Boundedness::Bounded,
        ));
        Ok(Self { input, rule, projection, unique, properties })
    }
}

impl DisplayAs for MergeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeExec: rule={}", self.rule.name())?;
        if self.unique {
            write!(f, ", keys come once")?;
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

    fn required_input_distribution(&self) -> Vec<Distribution> {
        if self.rule.key().is_empty() {
            return vec![Distribution::SinglePartition];
        }
        if self.unique {
            return vec![Distribution::UnspecifiedDistribution];
        }
        let schema = self.input.schema();
        let keys = self
            .rule
            .key()
            .iter()
            .map(|&c| Arc::new(Column::new(schema.field(c).name(), c)) as Arc<dyn PhysicalExpr>)
            .collect();
        vec![Distribution::KeyPartitioned(keys)]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        let (rule, projection) = (Arc::clone(&self.rule), self.projection.clone());
        Ok(Arc::new(Self::new(input, rule, projection, self.unique)?))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    /// At most as many rows as are stored: by it the smaller side of a join is known.
    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let Some(input) = inputs.first() {
            statistics.num_rows = input.num_rows.to_inexact();
        }
        Ok(Arc::new(statistics))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let rule = Arc::clone(&self.rule);
        let projection = self.projection.clone();
        if self.unique {
            let passed = input.map(move |batch| {
                let batch = rule.pass(batch?)?;
                match &projection {
                    Some(columns) => Ok(batch.project(columns)?),
                    None => Ok(batch),
                }
            });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), passed)));
        }
        let global = rule.key().is_empty();
        let memory = MemoryConsumer::new("merging states of a view or table")
            .register(context.memory_pool());
        let result = async move {
            let mut batches = Vec::new();
            while let Some(batch) = input.next().await.transpose()? {
                memory.try_grow(bytes_of(&batch))?;
                batches.push(batch);
            }
            let merged = rule.merge(batches, global)?;
            memory.try_resize(bytes_of(&merged))?;
            let merged = match &projection {
                Some(columns) => merged.project(columns)?,
                None => merged,
            };
            let slices = slices(&merged);
            Ok::<_, DataFusionError>(futures::stream::iter(slices.into_iter().map(move |slice| {
                let _held = &memory;
                Ok(slice)
            })))
        };
        let stream = futures::stream::once(result).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
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
