//! `GROUPING SETS`, `ROLLUP` and `CUBE`: one aggregation over rows that are there once per set.
//!
//! ```text
//!   GROUP BY ROLLUP (a, b)      1, 2 ─▶ 1, 2, set 00
//!                                       1, -, set 01
//!                                       -, -, set 11
//! ```
//!
//! What must hold: the number of a set is DataFusion's (a bit for each key that is not in the set, above
//! them how often the set was there before), because `grouping()` is computed from it above.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, powerset};
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet};
use yeoul_batch::ExprRef;

use super::{Lowered, Lowering};
use crate::error::SqlError;
use crate::view::ViewNode;

/// The most sets of one aggregation: what one step multiplies its rows by is bounded.
const SETS_MAX: usize = 256;

/// Whether a row is one of the input, and not there so that a set without keys has a group.
const PRESENT: &str = "__present";

/// The keys of an aggregation, and the sets that it groups by.
pub(super) struct Grouping {
    pub(super) keys: Vec<Expr>,
    sets: Option<Sets>,
}

struct Sets {
    /// Which keys each set has.
    keys: Vec<Vec<usize>>,
    /// The type of the number of a set.
    number: DataType,
}

impl Sets {
    fn has_one_without_keys(&self) -> bool {
        self.keys.iter().any(Vec::is_empty)
    }

    /// The number of each set.
    fn numbers(&self, keys: usize) -> Vec<u64> {
        let mask = |set: &[usize]| -> u64 {
            (0..keys).filter(|k| !set.contains(k)).map(|k| 1 << (keys - 1 - k)).sum()
        };
        let before = |at: usize| self.keys[..at].iter().filter(|s| **s == self.keys[at]).count();
        let number = |at: usize| mask(&self.keys[at]) | ((before(at) as u64) << keys);
        (0..self.keys.len()).map(number).collect()
    }
}

impl Lowering<'_> {
    /// What an aggregation groups by.
    pub(super) fn grouping(&self, a: &Aggregate) -> Result<Grouping, SqlError> {
        let [Expr::GroupingSet(set)] = a.group_expr.as_slice() else {
            return Ok(Grouping { keys: a.group_expr.clone(), sets: None });
        };
        let keys: Vec<Expr> = grouping_set_to_exprlist(&a.group_expr)
            .map_err(|e| self.fail(e))?
            .into_iter()
            .cloned()
            .collect();
        let sets: Vec<Vec<&Expr>> = match set {
            GroupingSet::GroupingSets(sets) => sets.iter().map(|s| s.iter().collect()).collect(),
            GroupingSet::Rollup(exprs) => {
                (0..=exprs.len()).map(|n| exprs[..n].iter().collect()).collect()
            }
            GroupingSet::Cube(exprs) if exprs.len() < usize::BITS as usize => {
                powerset(exprs).map_err(|e| self.fail(e))?
            }
            GroupingSet::Cube(_) => Vec::new(),
        };
        if sets.is_empty() || sets.len() > SETS_MAX {
            let words = ["ROLLUP", "CUBE", "GROUPING"];
            let mut places = words.iter();
            let place = places.find_map(|w| self.query.text.find_keyword(w, self.query.span));
            return Err(SqlError::unsupported("a view has too many grouping sets")
                .detail(format!("each row is counted once per set; at most {SETS_MAX} are kept"))
                .at(place.unwrap_or(self.query.span)));
        }
        let at = |set: Vec<&Expr>| {
            let mut set: Vec<usize> =
                set.iter().filter_map(|e| keys.iter().position(|k| k == *e)).collect();
            set.sort_unstable();
            set.dedup();
            set
        };
        let sets = sets.into_iter().map(at).collect();
        let number = a.schema.field(keys.len()).data_type().clone();
        Ok(Grouping { sets: Some(Sets { keys: sets, number }), keys })
    }

    /// The input once per set, with its keys and the number of the set behind its columns; gives where
    /// those are. Nothing happens where there are no sets.
    pub(super) fn expanded(
        &self,
        input: Lowered,
        grouping: &Grouping,
        keys: Vec<ExprRef>,
        calls: &mut [Expr],
    ) -> Result<(Lowered, Vec<ExprRef>), SqlError> {
        let Some(sets) = &grouping.sets else { return Ok((input, keys)) };
        let with_empty = sets.has_one_without_keys();
        let lower = |value: ScalarValue| self.stored(&Expr::Literal(value, None), &input.scope);
        let mut fields: Vec<Field> =
            input.node.schema().fields().iter().map(|f| nullable(f)).collect();
        let width = fields.len();
        for (at, key) in keys.iter().enumerate() {
            fields.push(Field::new(format!("__key_{at}"), key.data_type().clone(), true));
        }
        let numbers = sets.numbers(keys.len()).into_iter().map(|number| {
            let number = ScalarValue::UInt64(Some(number)).cast_to(&sets.number);
            number.map_err(|e| self.fail(e))
        });
        let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
        let of_number = lower(numbers[0].clone())?.data_type().clone();
        fields.push(Field::new("__set", of_number, true));
        if with_empty {
            fields.push(Field::new(PRESENT, DataType::Boolean, true));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let mut lists = Vec::with_capacity(sets.keys.len());
        for (set, number) in sets.keys.iter().zip(&numbers) {
            let mut list: Vec<ExprRef> =
                (0..width).map(|at| super::column(at, schema.field(at))).collect();
            for (at, key) in keys.iter().enumerate() {
                list.push(if set.contains(&at) {
                    Arc::clone(key)
                } else {
                    let null = ScalarValue::try_from(key.data_type()).map_err(|e| self.fail(e))?;
                    lower(null)?
                });
            }
            list.push(lower(number.clone())?);
            if with_empty {
                list.push(lower(ScalarValue::Boolean(Some(true)))?);
            }
            lists.push(list);
        }
        let at = (width..=width + keys.len()).map(|at| super::column(at, schema.field(at)));
        let at: Vec<ExprRef> = at.collect();
        let below = Box::new(input.node);
        let mut node = ViewNode::Expand { input: below, lists, schema: Arc::clone(&schema) };
        let mut scope = input.scope;
        if with_empty {
            let empty = (sets.keys.iter().zip(&numbers)).filter(|(set, _)| set.is_empty());
            let rows = self.absent(&schema, empty.map(|(_, number)| number), width + keys.len())?;
            let values = ViewNode::Values { rows, schema: Arc::clone(&schema) };
            node = ViewNode::Union { inputs: vec![node, values], schema };
            scope = self.only_present(scope, width + keys.len() + 1, calls)?;
        }
        Ok((Lowered { node, scope, key: None, windows: Vec::new() }, at))
    }

    /// A row for each set without keys: its group is there without a row, too.
    fn absent<'v>(
        &self,
        schema: &SchemaRef,
        numbers: impl Iterator<Item = &'v ScalarValue>,
        at: usize,
    ) -> Result<RecordBatch, SqlError> {
        let of_number = schema.field(at).data_type();
        let numbers = ScalarValue::iter_to_array(
            numbers
                .map(|n| n.cast_to(of_number))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| self.fail(e))?,
        );
        let numbers = numbers.map_err(|e| self.fail(e))?;
        let count = numbers.len();
        let mut columns: Vec<ArrayRef> =
            schema.fields().iter().map(|f| new_null_array(f.data_type(), count)).collect();
        columns[at] = numbers;
        let present = ScalarValue::Boolean(Some(false)).to_array_of_size(count);
        columns[at + 1] = present.map_err(|e| self.fail(e))?;
        RecordBatch::try_new(Arc::clone(schema), columns).map_err(|e| self.fail(e.into()))
    }

    /// Makes `calls` pass over rows that are not of the input.
    fn only_present(
        &self,
        scope: super::Scope,
        at: usize,
        calls: &mut [Expr],
    ) -> Result<super::Scope, SqlError> {
        let mut fields: Vec<_> =
            scope.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.push((None, Arc::new(Field::new(PRESENT, DataType::Boolean, true))));
        let schema = DFSchema::new_with_metadata(fields, std::collections::HashMap::new());
        let seen = scope.columns.len();
        let scope = scope.extended(schema.map_err(|e| self.fail(e))?, &[at]);
        for call in calls {
            let Expr::AggregateFunction(call) = call else { continue };
            let present = scope.named(seen);
            let filter = call.params.filter.take();
            let filter = filter.map_or_else(|| present.clone(), |f| present.clone().and(*f));
            call.params.filter = Some(Box::new(filter));
        }
        Ok(scope)
    }
}

fn nullable(field: &Field) -> Field {
    field.clone().with_nullable(true)
}
