//! Grouping sets with constants among their keys.
//!
//! DataFusion takes a key that is a constant for one value in all rows, and gives a group away as soon as the next one
//! comes. Of grouping sets it is no constant: it is null in the sets that do not have it, and groups came out in pieces.
//!
//! ```text
//!   Aggregate (final)       gathers until the end
//!     Unsorted              knows nothing of the values of its rows
//!       Aggregate (partial) GROUPING SETS ((), (1))
//! ```
//!
//! What must hold: rows pass as they are, in the partitions they are in.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Aggregate;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputOrderMode,
    PlanProperties, StatisticsArgs, replace_children_if_necessary,
};

/// The rule, which comes after all others.
#[derive(Debug)]
pub(crate) struct GroupingSets;

impl PhysicalOptimizerRule for GroupingSets {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let careful = |plan: Arc<dyn ExecutionPlan>| {
            let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(plan));
            };
            let keys = aggregate.group_expr().expr();
            let of_sets = keys.iter().any(|(_, name)| name == Aggregate::INTERNAL_GROUPING_ID)
                || !aggregate.group_expr().is_single();
            if !of_sets || *aggregate.input_order_mode() == InputOrderMode::Linear {
                return Ok(Transformed::no(plan));
            }
            let input = Arc::new(Unsorted::new(Arc::clone(aggregate.input())));
            Ok(Transformed::yes(replace_children_if_necessary(plan, vec![input])?))
        };
        Ok(plan.transform_up(careful)?.data)
    }

    fn name(&self) -> &str {
        "GroupingSets"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes rows on, and says nothing of their order and of what is constant in them.
struct Unsorted {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl Unsorted {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        Self { input, properties }
    }
}

impl fmt::Debug for Unsorted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnsortedExec")
    }
}

impl DisplayAs for Unsorted {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnsortedExec")
    }
}

impl ExecutionPlan for Unsorted {
    fn name(&self) -> &'static str {
        "UnsortedExec"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match children.pop() {
            Some(input) => Arc::new(Self::new(input)),
            None => self,
        })
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.input.schema()));
        Ok(inputs.first().cloned().unwrap_or_else(unknown))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
