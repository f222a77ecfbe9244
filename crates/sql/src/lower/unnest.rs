//! `unnest`: rows of the elements of lists.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::NullHandling;
use datafusion::logical_expr::{LogicalPlan, Unnest};

use super::{Lowered, Lowering, check};
use crate::error::SqlError;
use crate::view::ViewNode;

impl Lowering<'_> {
    pub(super) fn unnest(&self, unnest: &Unnest) -> Result<Lowered, SqlError> {
        if let Some(windows) = self.window_unnest(unnest)? {
            return Ok(windows);
        }
        let refuse = || check::refused(&LogicalPlan::Unnest(unnest.clone()), self.query);
        let once = unnest.list_type_columns.iter().all(|(at, list)| {
            let of_it = unnest.list_type_columns.iter().filter(|(other, _)| other == at);
            list.depth == 1 && of_it.count() == 1
        });
        let outer = match unnest.options.null_handling {
            NullHandling::Drop => false,
            NullHandling::PreserveAndExpandEmpty => true,
            NullHandling::Preserve => return Err(refuse()),
        };
        if !once || !unnest.struct_type_columns.is_empty() {
            return Err(refuse());
        }
        // A list that is seen beside its elements stays as it is: it is a column of its own then.
        let input = self.narrowed(&unnest.input)?;
        let lists: Vec<usize> = unnest.list_type_columns.iter().map(|(at, _)| *at).collect();
        let mut fields: Vec<Field> =
            input.node.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        for &at in &lists {
            let DataType::List(element) = fields[at].data_type() else { return Err(refuse()) };
            fields[at] = element.as_ref().clone().with_name(fields[at].name()).with_nullable(true);
        }
        let schema = Arc::new(Schema::new(fields));
        let scope = input.scope.chosen(&unnest.dependency_indices, &unnest.schema);
        let node = ViewNode::Unnest { input: Box::new(input.node), lists, outer, schema };
        Ok(Lowered { node, scope, key: None, windows: Vec::new() })
    }
}
