//! A tree of a pinned snapshot as a DataFusion table.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use yeoul_store::{Part, Slices, Snapshot, TreeSnapshot};

use super::merge::{MergeExec, Stored};
use super::part::PartReaderFactory;
use super::rule::{MergeRule, Narrowed};

/// About how much a batch takes that is read from a part.
const BATCH_BYTES: u64 = 16 << 20;

/// The setting `merge_rows` of the engine, as queries carry it. By default it is large enough that the
/// start of a range costs little, and small enough that its keys fit in a processor's cache.
pub(crate) struct MergeRows(pub usize);

impl MergeRows {
    /// How many stored rows a range has, of `rows` that `threads` share.
    fn of_a_range(&self, rows: usize, threads: usize, filtered: bool) -> usize {
        if filtered {
            // What a predicate leaves is little as a rule, and every range costs opening the parts.
            return self.0.saturating_mul(16);
        }
        (rows / threads).clamp(self.0 / 8, self.0)
    }
}

/// How the rows of a tree become the rows of its relation.
#[derive(Clone, Debug)]
pub(crate) enum TreeView {
    /// As they are.
    Keep,
    /// Under a merge rule.
    Merged {
        /// The rule.
        rule: Arc<dyn MergeRule>,
        /// Visible column name → name of the key column of the tree that it equals.
        keys: HashMap<String, String>,
    },
}

/// See the module. Holds the snapshot it reads.
#[derive(Clone)]
pub(crate) struct TreeProvider {
    schema: SchemaRef,
    tree: Arc<TreeSnapshot>,
    view: TreeView,
    snapshot: Arc<Snapshot>,
}

impl fmt::Debug for TreeProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tree \"{}\" at commit {}", self.tree.spec().name, self.snapshot.commit())
    }
}

impl TreeProvider {
    /// The relation with the columns `schema` that `view` makes of `tree`.
    pub(crate) fn new(
        schema: SchemaRef,
        tree: Arc<TreeSnapshot>,
        view: TreeView,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        Self { schema, tree, view, snapshot }
    }

    /// The rows of a tree without a rule as a plan: memory batches and parts, side by side.
    fn kept(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = state.config().target_partitions().max(1);
        let schema = &self.tree.spec().schema;
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        let memory = spread(
            self.tree.memory().iter().map(|m| (m.rows().clone(), m.rows().num_rows())),
            partitions,
        );
        if !memory.is_empty() {
            inputs.push(MemorySourceConfig::try_new_exec(
                &memory,
                Arc::clone(schema),
                projection.cloned(),
            )?);
        }
        let files = spread(
            self.tree
                .parts()
                .iter()
                // Newest first: after it `ORDER BY time DESC LIMIT n` passes over older ones.
                .rev()
                .map(|p| (file(p, schema), usize::try_from(p.meta().bytes).unwrap_or(usize::MAX))),
            partitions,
        );
        if !files.is_empty() {
            let config = self
                .files(state, projection, predicate)?
                .with_file_groups(files.into_iter().map(FileGroup::new).collect())
                .with_limit(limit)
                .build();
            inputs.push(DataSourceExec::from_data_source(config));
        }
        Ok(match inputs.len() {
            0 => {
                let schema = match projection {
                    Some(columns) => Arc::new(schema.project(columns)?),
                    None => Arc::clone(schema),
                };
                Arc::new(EmptyExec::new(schema))
            }
            1 => inputs.swap_remove(0),
            _ => UnionExec::try_new(inputs)?,
        })
    }

    /// How parts are read, without saying which.
    fn files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<FileScanConfigBuilder> {
        let schema = &self.tree.spec().schema;
        let mut source = ParquetSource::new(Arc::clone(schema))
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_parquet_file_reader_factory(Arc::new(PartReaderFactory))
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(true);
        if let Some(predicate) = predicate {
            source = source.with_predicate(Arc::clone(predicate));
        }
        // Narrow rows are read as many at once as the engine likes, wide ones fewer.
        let batch = state.config().batch_size();
        let columns = projection.map(Vec::as_slice);
        let of_part = |part: &Arc<Part>| part.rows_at_once(columns, batch, BATCH_BYTES);
        let batches = self.tree.parts().iter().map(of_part).collect::<Result<Vec<_>, _>>();
        let batches = batches.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let rows: u64 = self.tree.parts().iter().map(|p| p.meta().rows).sum();
        let mut statistics = Statistics::new_unknown(schema);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_batch_size(batches.into_iter().min().filter(|&rows| rows < batch))
            .with_statistics(statistics)
            .with_expr_adapter(super::stored::adapter(schema))
            .with_projection_indices(projection.cloned())
    }

    /// The rows of a tree with a rule, cut to ranges of keys.
    fn cut(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        rule: &dyn MergeRule,
    ) -> Result<Stored> {
        let spec = self.tree.spec();
        let schema = match projection {
            Some(columns) => Arc::new(spec.schema.project(columns)?),
            None => Arc::clone(&spec.schema),
        };
        let place = |column: &usize| match projection {
            Some(columns) => columns.iter().position(|c| c == column),
            None => Some(*column),
        };
        let key = spec.key.iter().map(place).collect::<Option<Vec<_>>>().ok_or_else(|| {
            DataFusionError::Internal("a column of the key is not read".to_owned())
        })?;
        let before = self.predicate(state, filters, &spec.schema)?;
        let predicate = self.predicate(state, filters, &schema)?;
        let rows = usize::try_from(self.tree.rows()).unwrap_or(usize::MAX);
        let threads = state.config().target_partitions().max(1);
        let rows_each = match state.config().get_extension::<MergeRows>() {
            Some(setting) if !rule.key().is_empty() => {
                setting.of_a_range(rows, threads, predicate.is_some())
            }
            _ => usize::MAX,
        };
        let external = |error| DataFusionError::External(Box::new(error));
        let slices = Slices::new(&self.tree, rows_each, rule.together()).map_err(external)?;
        let mut parts = vec![Vec::new(); slices.count()];
        for (number, files) in parts.iter_mut().enumerate() {
            for part in self.tree.parts() {
                let wanted = slices.rows_of(part, number).map_err(external)?;
                if !wanted.is_empty() {
                    files.push(rows_of_file(part, &spec.schema, wanted));
                }
            }
        }
        let memory = self.tree.memory().iter().map(|m| match projection {
            Some(columns) => Ok(m.rows().project(columns)?),
            None => Ok(m.rows().clone()),
        });
        let memory = memory.collect::<Result<Vec<_>>>()?;
        let files = self.files(state, projection, before.as_ref())?.build();
        Ok(Stored { schema, key, slices, memory, files, parts, predicate, rows })
    }

    /// `filters` as a predicate over those of the tree's columns that are in `schema`; those that look at
    /// other columns than keys of a merged tree are left out.
    fn predicate(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        schema: &SchemaRef,
    ) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let usable = filters.iter().filter_map(|filter| self.below(filter));
        let Some(expr) = conjunction(usable) else { return Ok(None) };
        let schema = DFSchema::try_from(Arc::clone(schema))?;
        Ok(Some(state.create_physical_expr(expr, &schema)?))
    }

    /// `filter` in terms of the tree's columns, when it may be applied to stored rows.
    fn below(&self, filter: &Expr) -> Option<Expr> {
        let keys = match &self.view {
            TreeView::Keep => None,
            TreeView::Merged { keys, .. } => Some(keys),
        };
        let mut known = true;
        let renamed = filter
            .clone()
            .transform(|expr| {
                if let Expr::Column(column) = &expr {
                    let name = match keys {
                        None => Some(&column.name),
                        Some(keys) => keys.get(&column.name),
                    };
                    match name {
                        Some(name) => {
                            return Ok(Transformed::yes(Expr::Column(Column::new_unqualified(
                                name,
                            ))));
                        }
                        None => known = false,
                    }
                }
                Ok(Transformed::no(expr))
            })
            .ok()?;
        known.then_some(renamed.data)
    }
}

/// Divides things with sizes into at most `parts` lists of about equal size.
fn spread<T>(things: impl Iterator<Item = (T, usize)>, parts: usize) -> Vec<Vec<T>> {
    let mut lists: Vec<(usize, Vec<T>)> = Vec::new();
    for (thing, size) in things {
        if lists.len() < parts {
            lists.push((size, vec![thing]));
        } else if let Some(least) = lists.iter_mut().min_by_key(|(total, _)| *total) {
            least.0 = least.0.saturating_add(size);
            least.1.push(thing);
        }
    }
    lists.into_iter().map(|(_, list)| list).collect()
}

fn file(part: &Arc<Part>, schema: &SchemaRef) -> PartitionedFile {
    let meta = part.meta();
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Exact(usize::try_from(meta.rows).unwrap_or(usize::MAX));
    PartitionedFile::new(part.path(), meta.bytes)
        .with_statistics(Arc::new(statistics))
        .with_extension(Arc::clone(part))
}

/// `part`, of which only `rows` are read.
fn rows_of_file(part: &Arc<Part>, schema: &SchemaRef, rows: Range<usize>) -> PartitionedFile {
    let total = usize::try_from(part.meta().rows).unwrap_or(usize::MAX);
    if rows.len() == total {
        return file(part, schema);
    }
    let selection = RowSelection::from_consecutive_ranges(std::iter::once(rows), total);
    file(part, schema).with_extension(ParquetRowSelection::new(selection))
}

#[async_trait]
impl TableProvider for TreeProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match self.below(filter) {
                Some(_) => TableProviderFilterPushDown::Inexact,
                None => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.view {
            TreeView::Keep => {
                let predicate = self.predicate(state, filters, &self.tree.spec().schema)?;
                self.kept(state, projection, predicate.as_ref(), limit)
            }
            TreeView::Merged { rule, .. } => {
                let narrowed = projection.and_then(|projection| rule.narrowed(projection));
                let (input, rule, projection) = match narrowed {
                    Some(Narrowed { input, rule, projection }) => {
                        (Some(input), rule, Some(projection))
                    }
                    None => (None, Arc::clone(rule), projection.cloned()),
                };
                let stored = self.cut(state, input.as_ref(), filters, &*rule)?;
                let threads = state.config().target_partitions();
                Ok(Arc::new(MergeExec::new(stored, rule, projection, threads)?))
            }
        }
    }
}
