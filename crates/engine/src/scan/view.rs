//! The reading side of a view: states of equal keys are merged, then finished into rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use yeoul_batch::Combine;
use yeoul_flow::{Aggregate, Graph};

use super::rule::MergeRule;

/// The rows of a view from the states in its tree.
#[derive(Debug)]
pub(crate) struct ViewRows {
    graph: Arc<Graph>,
    states: Arc<Aggregate>,
    key: Vec<usize>,
    together: Option<usize>,
}

impl ViewRows {
    pub(crate) fn new(graph: Arc<Graph>, states: Arc<Aggregate>) -> Self {
        // The tree of a global aggregate has a key column that is always the same: of states there
        // is one row at most, of answers there is always one.
        let key = if states.is_global() { 0 } else { states.key_len() };
        let key = (0..key).collect();
        Self { graph, states, key, together: None }
    }

    /// The same, where rows that share so many leading columns of the key are needed together.
    pub(crate) fn together(self, together: Option<usize>) -> Self {
        Self { together, ..self }
    }
}

impl MergeRule for ViewRows {
    fn name(&self) -> &'static str {
        "combine"
    }

    fn key(&self) -> &[usize] {
        &self.key
    }

    fn together(&self) -> Option<usize> {
        self.together
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.graph.schema())
    }

    fn merge(&self, batches: Vec<RecordBatch>, global: bool) -> Result<RecordBatch> {
        if batches.is_empty() && !global {
            return Ok(RecordBatch::new_empty(self.schema()));
        }
        let states = self.states.combine(&batches, true)?;
        drop(batches);
        self.graph.finish(&states).map_err(|e| DataFusionError::External(Box::new(e)))
    }
}
