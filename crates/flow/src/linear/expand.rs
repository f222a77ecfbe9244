//! Several rows of one: by lists of expressions, and by the elements of lists.
//!
//! ```text
//!   expand [(a, NULL), (NULL, b)]   (1, 2) ─▶ (1, NULL), (NULL, 2)
//!   unnest xs                       (1, [5, 6]), (2, []), (3, NULL) ─▶ (1, 5), (1, 6)
//! ```

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use yeoul_batch::{ExprRef, Updates};

use crate::error::FlowError;

/// Each row once per list of expressions, as a union of so many projections.
#[derive(Debug)]
pub(crate) struct Expand {
    lists: Vec<Vec<ExprRef>>,
    schema: SchemaRef,
}

impl Expand {
    pub(crate) fn new(lists: Vec<Vec<ExprRef>>, schema: SchemaRef) -> Result<Self, FlowError> {
        for list in &lists {
            let same = list.len() == schema.fields().len()
                && list.iter().zip(schema.fields()).all(|(e, f)| e.data_type() == f.data_type());
            if !same {
                let why = "every list of an expansion has the columns of the result, type by type";
                return Err(FlowError::Unsupported(why.into()));
            }
        }
        Ok(Self { lists, schema })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn apply(&self, updates: &Updates) -> Result<Updates, FlowError> {
        let rows = updates.rows();
        let copies = self.lists.len();
        let columns = (0..self.schema.fields().len()).map(|column| {
            let parts = self.lists.iter().map(|list| list[column].evaluate(rows));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            Ok(concat(&parts)?)
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, FlowError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows() * copies));
        let out = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(match updates.diffs() {
            None => Updates::inserts(out),
            Some(diffs) => {
                let diffs: Vec<i64> =
                    (0..copies).flat_map(|_| diffs.values().iter().copied()).collect();
                Updates::new(out, Int64Array::from(diffs))
            }
        })
    }
}

/// Each row once per element of its lists, which become columns of elements. Lists of one row stand side
/// by side, a shorter one with nulls behind its end.
#[derive(Debug)]
pub(crate) struct Unnest {
    /// Which columns are lists.
    lists: Vec<usize>,
    /// Whether a row whose lists are all null or empty stays, with nulls.
    outer: bool,
    schema: SchemaRef,
}

impl Unnest {
    pub(crate) fn new(input: &Schema, lists: Vec<usize>, outer: bool) -> Result<Self, FlowError> {
        let mut fields: Vec<Field> = input.fields().iter().map(|f| f.as_ref().clone()).collect();
        for &at in &lists {
            let DataType::List(element) = fields[at].data_type() else {
                let (name, found) = (fields[at].name(), fields[at].data_type());
                let why = format!("column \"{name}\" is a list to be unnested, not {found}");
                return Err(FlowError::Unsupported(why));
            };
            let data_type = element.data_type().clone();
            let metadata = element.metadata().clone();
            fields[at] = Field::new(fields[at].name(), data_type, true).with_metadata(metadata);
        }
        Ok(Self { lists, outer, schema: Arc::new(Schema::new(fields)) })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn apply(&self, updates: &Updates) -> Result<Updates, FlowError> {
        let rows = updates.rows();
        let lists: Vec<&ListArray> =
            self.lists.iter().map(|&at| rows.column(at).as_list::<i32>()).collect();
        let mut origin: Vec<u32> = Vec::new();
        let mut elements: Vec<Vec<Option<u32>>> = vec![Vec::new(); lists.len()];
        for (row, number) in (0..rows.num_rows()).zip(0u32..) {
            let ranges: Vec<_> = lists.iter().map(|list| range(list, row)).collect();
            let longest = ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
            let count = if self.outer { longest.max(1) } else { longest };
            origin.extend(std::iter::repeat_n(number, count));
            for (element, range) in elements.iter_mut().zip(ranges) {
                let missing = count - range.len();
                element.extend(range.map(Some).chain(std::iter::repeat_n(None, missing)));
            }
        }
        let origin = UInt32Array::from(origin);
        let mut columns = Vec::with_capacity(rows.num_columns());
        for (at, column) in rows.columns().iter().enumerate() {
            columns.push(match self.lists.iter().position(|&list| list == at) {
                Some(list) => {
                    let places = UInt32Array::from(std::mem::take(&mut elements[list]));
                    take(lists[list].values(), &places, None)?
                }
                None => take(column, &origin, None)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(origin.len()));
        let out = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(match updates.diffs() {
            None => Updates::inserts(out),
            Some(diffs) => Updates::new(out, take(diffs, &origin, None)?.as_primitive().clone()),
        })
    }
}

/// Where the elements of a row are among all; nowhere for null.
fn range(list: &ListArray, row: usize) -> std::ops::Range<u32> {
    if list.is_null(row) {
        return 0..0;
    }
    // Offsets of a list are not negative.
    list.value_offsets()[row].unsigned_abs()..list.value_offsets()[row + 1].unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::builder::{Int64Builder, ListBuilder};
    use arrow::datatypes::Int64Type;
    use yeoul_batch::ColumnExpr;

    type Lists = Vec<Option<Vec<Option<i64>>>>;

    fn list(rows: &Lists) -> ArrayRef {
        let mut builder = ListBuilder::new(Int64Builder::new());
        rows.iter().for_each(|row| builder.append_option(row.clone()));
        Arc::new(builder.finish())
    }

    fn draw(state: &mut u64, bound: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 33) % bound
    }

    fn lists(state: &mut u64, rows: usize) -> Lists {
        (0..rows)
            .map(|_| {
                let count = draw(state, 5);
                let value = |at| (draw(state, 4) > 0).then_some(i64::try_from(at).unwrap());
                (count < 4).then(|| (0..count).map(value).collect())
            })
            .collect()
    }

    fn cells(updates: &Updates) -> Vec<(Vec<Option<i64>>, i64)> {
        let rows = updates.rows();
        (0..rows.num_rows())
            .map(|row| {
                let cell = |column: &ArrayRef| {
                    let column = column.as_primitive::<Int64Type>();
                    column.is_valid(row).then(|| column.value(row))
                };
                let diff = updates.diffs().map_or(1, |diffs| diffs.value(row));
                (rows.columns().iter().map(cell).collect(), diff)
            })
            .collect()
    }

    #[test]
    fn unnest_is_a_loop_over_elements() {
        for seed in 0..50 {
            let mut state = seed;
            let (a, b) = (lists(&mut state, 9), lists(&mut state, 9));
            let ids: Int64Array = (0..9).collect();
            let columns = [("a", list(&a)), ("id", Arc::new(ids) as ArrayRef), ("b", list(&b))];
            // A slice: its offsets do not begin at 0.
            let rows = RecordBatch::try_from_iter(columns).unwrap().slice(2, 6);
            let diffs = Int64Array::from(vec![1, -1, 2, 1, -1, 1]);
            let updates = Updates::new(rows, diffs.clone());
            for outer in [false, true] {
                let unnest = Unnest::new(updates.rows().schema_ref(), vec![0, 2], outer).unwrap();
                let mut expected = Vec::new();
                for row in 2..8usize {
                    let [a, b] = [&a[row], &b[row]].map(|l| l.clone().unwrap_or_default());
                    let count = a.len().max(b.len()).max(usize::from(outer));
                    for at in 0..count {
                        let of = |list: &[Option<i64>]| list.get(at).copied().flatten();
                        let id = Some(i64::try_from(row).unwrap());
                        expected.push((vec![of(&a), id, of(&b)], diffs.value(row - 2)));
                    }
                }
                assert_eq!(cells(&unnest.apply(&updates).unwrap()), expected, "seed {seed}");
            }
        }
    }

    #[test]
    fn expand_is_a_union_of_projections() {
        let columns = ["a", "b"].map(|name| {
            let values: Int64Array = (0..4).map(|v| (v != 2).then_some(v)).collect();
            (name, Arc::new(values) as ArrayRef)
        });
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let updates = Updates::new(rows.clone(), Int64Array::from(vec![1, -1, 1, 3]));
        let column = |at| -> ExprRef { Arc::new(ColumnExpr::new(at, DataType::Int64)) };
        let lists = vec![vec![column(0), column(1)], vec![column(1), column(1)]];
        let expand = Expand::new(lists, rows.schema()).unwrap();
        let mut expected = cells(&updates);
        expected.extend(cells(&updates));
        assert_eq!(cells(&expand.apply(&updates).unwrap()), expected);
        assert!(Expand::new(vec![vec![column(0)]], rows.schema()).is_err());
    }
}
