//! A tree of a pinned snapshot as a DataFusion table.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::union::UnionExec;
use yeoul_store::{Part, Snapshot, TreeSnapshot};

use super::merge::{MergeExec, MergeRule, Narrowed};
use super::part::PartReaderFactory;

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

    /// The stored rows as a plan: memory batches and parts, side by side.
    fn stored(
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
            let mut source = ParquetSource::new(Arc::clone(schema))
                .with_table_parquet_options(state.default_table_options().parquet)
                .with_parquet_file_reader_factory(Arc::new(PartReaderFactory))
                .with_enable_page_index(true)
                .with_bloom_filter_on_read(true);
            if let Some(predicate) = predicate {
                source = source.with_predicate(Arc::clone(predicate));
            }
            let rows: u64 = self.tree.parts().iter().map(|p| p.meta().rows).sum();
            let mut statistics = Statistics::new_unknown(schema);
            statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
            let config =
                FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
                    .with_file_groups(files.into_iter().map(FileGroup::new).collect())
                    .with_statistics(statistics)
                    .with_limit(limit)
                    .with_projection_indices(projection.cloned())?
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

    /// Whether all rows are in parts, and no two parts can hold the same key.
    fn keys_come_once(&self) -> bool {
        let mut parts: Vec<_> = self.tree.parts().iter().map(|p| p.meta()).collect();
        parts.sort_by(|a, b| a.first_key.cmp(&b.first_key));
        self.tree.memory().is_empty()
            && parts.windows(2).all(|pair| pair[0].last_key < pair[1].first_key)
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
        let predicate = self.predicate(state, filters, &self.tree.spec().schema)?;
        match &self.view {
            TreeView::Keep => self.stored(state, projection, predicate.as_ref(), limit),
            TreeView::Merged { rule, .. } => {
                let narrowed = projection.and_then(|projection| rule.narrowed(projection));
                let (input, rule, projection) = match narrowed {
                    Some(Narrowed { input, rule, projection }) => {
                        (Some(input), rule, Some(projection))
                    }
                    None => (None, Arc::clone(rule), projection.cloned()),
                };
                let mut stored = self.stored(state, input.as_ref(), predicate.as_ref(), None)?;
                if predicate.is_some()
                    && let Some(predicate) = self.predicate(state, filters, &stored.schema())?
                {
                    stored = Arc::new(FilterExec::try_new(predicate, stored)?);
                }
                Ok(Arc::new(MergeExec::new(stored, rule, projection, self.keys_come_once())?))
            }
        }
    }
}
