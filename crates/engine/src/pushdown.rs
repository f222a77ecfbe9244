//! Filters pushed down in plans whose columns share names.
//!
//! DataFusion hands a filter to the input of an operator by the names of its columns. Of `SELECT l.f, r.f …` both are
//! called `f`, and a filter of the one became a filter of the other, for which rows were left out or kept wrongly.
//!
//! ```text
//!   Filter f@0 < 1 OR w@2 < 2           stays here
//!     Join            f, f, w           what it asks of its inputs goes down
//!       Scan          f      Scan f, w
//! ```
//!
//! What must hold: no filter passes into an operator that gives two columns of one name.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use crate::grouping::GroupingSets;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's rules, of which those that push filters down stop where names are not enough, and ours.
pub(crate) fn rules() -> Vec<Rule> {
    let careful = |rule: Rule| match rule.name().starts_with("FilterPushdown") {
        true => Arc::new(Pushdown(rule)) as Rule,
        false => rule,
    };
    let all = PhysicalOptimizer::new().rules.into_iter().map(careful);
    all.chain([Arc::new(GroupingSets) as Rule]).collect()
}

#[derive(Debug)]
struct Pushdown(Rule);

impl PhysicalOptimizerRule for Pushdown {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !plan.children().into_iter().any(shares_names) {
            return self.0.optimize(plan, config);
        }
        let inputs = plan.children().into_iter().cloned();
        let inputs = inputs.map(|input| self.optimize(input, config)).collect::<Result<_>>()?;
        replace_children_if_necessary(plan, inputs)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Whether the plan, or one beneath it, gives two columns of one name.
fn shares_names(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut names = HashSet::new();
    !plan.schema().fields().iter().all(|field| names.insert(field.name().clone()))
        || plan.children().into_iter().any(shares_names)
}
