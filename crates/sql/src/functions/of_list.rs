//! What an aggregate says of the elements of a list.
//!
//! A view that keeps the values of a group as a list has so every aggregate of one value: the list is kept, and this is evaluated of it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{SortOptions, cast};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

/// `aggregate_of_list(list, constants…)`
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct OfList {
    name: String,
    signature: Signature,
    aggregate: Arc<AggregateUDF>,
    /// The type of the values that the aggregate was planned for, and of its answer.
    input: DataType,
    output: DataType,
    /// How the values are sorted, where that is an argument: `WITHIN GROUP (ORDER BY x DESC)`.
    within_group: Option<SortOptions>,
    ignore_nulls: bool,
}

impl OfList {
    pub(crate) fn function(
        aggregate: &Arc<AggregateUDF>,
        (input, output): (DataType, DataType),
        constants: usize,
        within_group: Option<SortOptions>,
        ignore_nulls: bool,
    ) -> Arc<ScalarUDF> {
        let falls = within_group.is_some_and(|order| order.descending);
        let mark = |is: bool, mark: &'static str| if is { mark } else { "" };
        // What differs has another name, which is what `EXPLAIN` and those who compare plans see.
        let name = format!(
            "{}_of_list{}{}",
            aggregate.name(),
            mark(falls, "_desc"),
            mark(ignore_nulls, "_ignoring_nulls")
        );
        Arc::new(ScalarUDF::new_from_impl(Self {
            name,
            signature: Signature::any(1 + constants, Volatility::Immutable),
            aggregate: Arc::clone(aggregate),
            input,
            output,
            within_group,
            ignore_nulls,
        }))
    }

    fn aggregate(&self, constants: &[ScalarValue]) -> Result<AggregateFunctionExpr> {
        let value: Arc<dyn PhysicalExpr> = Arc::new(Column::new("value", 0));
        let mut args = vec![Arc::clone(&value)];
        args.extend(constants.iter().map(|c| Arc::new(Literal::new(c.clone())) as _));
        let schema = Schema::new(vec![Field::new("value", self.input.clone(), true)]);
        let order = self.within_group.map(|options| PhysicalSortExpr { expr: value, options });
        AggregateExprBuilder::new(Arc::clone(&self.aggregate), args)
            .schema(Arc::new(schema))
            .alias(&self.name)
            .order_by(order.into_iter().collect())
            .with_ignore_nulls(self.ignore_nulls)
            .build()
    }
}

impl ScalarUDFImpl for OfList {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.output.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((lists, constants)) = args.args.split_first() else {
            return exec_err!("{} takes a list", self.name);
        };
        let lists = lists.to_array(args.number_rows)?;
        let constant = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(scalar) => Ok(scalar.clone()),
            ColumnarValue::Array(array) => ScalarValue::try_from_array(array, 0),
        };
        if lists.is_empty() {
            return Ok(ColumnarValue::Array(datafusion::arrow::array::new_empty_array(
                &self.output,
            )));
        }
        let constants = constants.iter().map(constant).collect::<Result<Vec<_>>>()?;
        let aggregate = self.aggregate(&constants)?;
        let lists = lists.as_list::<i32>();
        let answers = (0..lists.len()).map(|row| {
            let mut accumulator = aggregate.create_accumulator()?;
            if lists.is_valid(row) {
                let values = cast(&lists.value(row), &self.input)?;
                let rows = values.len();
                let mut columns: Vec<ArrayRef> = vec![values];
                for constant in &constants {
                    columns.push(constant.to_array_of_size(rows)?);
                }
                accumulator.update_batch(&columns)?;
            }
            accumulator.evaluate()
        });
        let answers = ScalarValue::iter_to_array(answers.collect::<Result<Vec<_>>>()?)?;
        Ok(ColumnarValue::Array(cast(&answers, &self.output)?))
    }
}
