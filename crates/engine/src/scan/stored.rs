//! Reads columns that parts hold as another type than memory does: `yeoul_store::stored_type` says which.
//!
//! DataFusion's Parquet source rewrites the predicate and the columns of a scan for the columns that a file
//! has. Here such a column becomes its conversion, `from_stored(i)`. The source knows nothing of that
//! expression, so it passes over no rows by a predicate on one.
//!
//! Of a tree that was altered, a file may be older: a column is found under the name it had, is widened, or
//! has the value that older rows have in it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, lit};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use yeoul_store::{added_value, may_differ, place_of, stored_schema, stored_type, widened};

/// The adapter for files of a tree with the columns `schema`, when it needs one.
pub(super) fn adapter(schema: &SchemaRef) -> Option<Arc<dyn PhysicalExprAdapterFactory>> {
    if may_differ(schema) {
        return Some(Arc::new(Older));
    }
    stored_schema(schema)?;
    Some(Arc::new(Stored))
}

/// Makes adapters for files that may be older than the definition of their tree.
#[derive(Debug)]
struct Older;

impl PhysicalExprAdapterFactory for Older {
    fn create(
        &self,
        logical: SchemaRef,
        physical: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(OlderFile { logical, physical }))
    }
}

/// A file of a tree that was altered.
#[derive(Debug)]
struct OlderFile {
    logical: SchemaRef,
    physical: SchemaRef,
}

impl PhysicalExprAdapter for OlderFile {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let rewritten = expr.transform_up(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            let field = self.logical.field_with_name(column.name())?;
            let Some(at) = place_of(&self.physical, field) else {
                let value = ScalarValue::try_from_array(&added_value(field)?, 0)?;
                return Ok(Transformed::yes(lit(value)));
            };
            let found = self.physical.field(at);
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(found.name(), at));
            if found.data_type() == field.data_type() {
                return Ok(Transformed::yes(column));
            }
            let data_type = field.data_type().clone();
            Ok(Transformed::yes(Arc::new(Converted { column, data_type })))
        });
        rewritten.data()
    }
}

/// See the module.
#[derive(Debug)]
struct Stored;

impl PhysicalExprAdapterFactory for Stored {
    fn create(
        &self,
        logical: SchemaRef,
        physical: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        // What is converted is the column as stored; the rest is as for any file.
        let stored = stored_schema(&logical).unwrap_or_else(|| Arc::clone(&logical));
        let rest = DefaultPhysicalExprAdapterFactory.create(stored, physical)?;
        Ok(Arc::new(Adapter { logical, rest }))
    }
}

#[derive(Debug)]
struct Adapter {
    logical: SchemaRef,
    rest: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let converted = expr.transform_up(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            match self.logical.field_with_name(column.name()) {
                Ok(field) if stored_type(field.data_type()).is_some() => {
                    let data_type = field.data_type().clone();
                    Ok(Transformed::yes(Arc::new(Converted { column: expr, data_type })))
                }
                _ => Ok(Transformed::no(expr)),
            }
        });
        self.rest.rewrite(converted.data()?)
    }
}

/// A stored column as it is in memory.
#[derive(Debug, Eq)]
struct Converted {
    column: Arc<dyn PhysicalExpr>,
    data_type: DataType,
}

// By hand: what is derived would move the expression out of the pointer.
impl PartialEq for Converted {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column) && self.data_type == other.data_type
    }
}

impl Hash for Converted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.data_type.hash(state);
    }
}

impl fmt::Display for Converted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from_stored({})", self.column)
    }
}

impl PhysicalExpr for Converted {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.column.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let stored = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(widened(&stored, &self.data_type)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let column = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.column));
        Ok(Arc::new(Self { column, data_type: self.data_type.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(f)
    }
}
