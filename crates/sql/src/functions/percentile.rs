//! `percentile_cont` and `approx_percentile_cont`: DataFusion's functions with accumulators of ours.
//!
//! Both collect the values of a group and select the one asked for. `approx_percentile_cont` goes over
//! to digests when there are more than [`VALUES_MAX`] of them, and leaves out NaN and infinities as
//! it does in a view. Other types than `double precision`, `DISTINCT` and a number of centroids are DataFusion's alone.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array, ListArray, RecordBatch,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_datafusion_err};
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, EmitTo,
    GroupsAccumulator, Signature,
};
use yeoul_functions::percentile::{Collected, Collector};

/// How many values one thread keeps for an approximate percentile: 64 MiB.
const VALUES_MAX: usize = 8 << 20;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    whole: Arc<AggregateUDF>,
    exact: bool,
}

pub(super) fn all() -> [AggregateUDF; 2] {
    [(percentile_cont_udaf(), true), (approx_percentile_cont_udaf(), false)]
        .map(|(whole, exact)| AggregateUDF::new_from_impl(Percentile { whole, exact }))
}

/// Whether the accumulators of ours do it.
fn ours(input: &[FieldRef], distinct: bool) -> bool {
    input.len() == 2 && !distinct && *input[0].data_type() == DataType::Float64
}

impl Percentile {
    /// The accumulator for these arguments; nothing when DataFusion is to say what is wrong.
    fn collect(&self, args: &AccumulatorArgs<'_>) -> Option<Percentiles> {
        let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let ColumnarValue::Scalar(ScalarValue::Float64(Some(rank))) =
            args.exprs.get(1)?.evaluate(&empty).ok()?
        else {
            return None;
        };
        if !(0.0..=1.0).contains(&rank) {
            return None;
        }
        let falling = args.order_bys.first().is_some_and(|sort| sort.options.descending);
        let values_max = if self.exact { usize::MAX } else { VALUES_MAX };
        Some(Percentiles {
            collector: Collector::new(values_max),
            rank: if falling { 1.0 - rank } else { rank },
            exact: self.exact,
        })
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn aliases(&self) -> &[String] {
        self.whole.aliases()
    }

    fn signature(&self) -> &Signature {
        self.whole.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.whole.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if ours(args.expr_fields, args.is_distinct)
            && let Some(all) = self.collect(&args)
        {
            return Ok(Box::new(OneGroup { all, asked: false }));
        }
        self.whole.accumulator(args)
    }

    /// DataFusion's can take values back; the state, of which a window has none, may differ.
    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        self.whole.create_sliding_accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if self.exact || !ours(args.input_fields, args.is_distinct) {
            return self.whole.state_fields(args);
        }
        let values = format_state_name(args.name, "values");
        let digest = format_state_name(args.name, "digest");
        let item = Field::new_list_field(DataType::Float64, true);
        Ok(vec![
            Arc::new(Field::new_list(values, item, true)),
            Arc::new(Field::new(digest, DataType::Binary, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        ours(args.expr_fields, args.is_distinct) || self.whole.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        if ours(args.expr_fields, args.is_distinct) {
            let all = self.collect(&args).ok_or_else(|| {
                exec_datafusion_err!(
                    "the percentile of \"{}\" must be a constant from 0 to 1",
                    self.name()
                )
            })?;
            return Ok(Box::new(all));
        }
        self.whole.create_groups_accumulator(args)
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.whole.simplify()
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.whole.documentation()
    }
}

#[derive(Debug)]
struct Percentiles {
    collector: Collector,
    rank: f64,
    exact: bool,
}

impl Percentiles {
    /// Whether a value that is neither null nor filtered out counts.
    fn counts(&self, value: f64) -> bool {
        self.exact || value.is_finite()
    }

    /// The lists and, for the approximate one, the digests of groups.
    fn states(&self, mut groups: Collected) -> Vec<ArrayRef> {
        let offsets = OffsetBuffer::from_lengths(groups.lengths());
        let digests = (!self.exact).then(|| {
            let mut digests = BinaryBuilder::new();
            groups.digests().for_each(|digest| digests.append_option(digest));
            Arc::new(digests.finish()) as ArrayRef
        });
        let mut states = vec![list(offsets, Float64Array::from(groups.into_values()), None)];
        states.extend(digests);
        states
    }

    fn first(&mut self, emit_to: EmitTo) -> Collected {
        let count = match emit_to {
            EmitTo::All => self.collector.groups(),
            EmitTo::First(count) => count,
        };
        self.collector.take(count)
    }
}

/// Groups are numbered with 32 bits, as rows of a batch are.
fn few_enough(groups: usize) -> Result<()> {
    u32::try_from(groups).map(|_| ()).map_err(|_| exec_datafusion_err!("more than 2^32 groups"))
}

#[expect(clippy::cast_possible_truncation, reason = "few_enough is asked first")]
fn short(group: usize) -> u32 {
    group as u32
}

fn list(offsets: OffsetBuffer<i32>, values: Float64Array, nulls: Option<NullBuffer>) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(DataType::Float64, true));
    Arc::new(ListArray::new(item, offsets, Arc::new(values), nulls))
}

/// The rows that count: neither null nor filtered out.
fn counted(values: &Float64Array, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let kept = filter.map(|filter| {
        let kept = filter.values();
        NullBuffer::new(filter.nulls().map_or_else(|| kept.clone(), |nulls| kept & nulls.inner()))
    });
    NullBuffer::union(values.nulls(), kept.as_ref())
}

impl GroupsAccumulator for Percentiles {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.collector.grow(total_num_groups);
        few_enough(total_num_groups)?;
        let values = values[0].as_primitive::<Float64Type>();
        let counted = counted(values, filter);
        // −0 and 0 are one value to the approximate one; which came first must not show.
        let plain = |v: f64| self.counts(v) && (self.exact || v.to_bits() != (-0.0_f64).to_bits());
        if counted.is_none() && values.values().iter().all(|&v| plain(v)) {
            let groups = group_indices.iter().map(|&g| short(g)).collect();
            self.collector.add_rows(values.clone(), groups);
        } else {
            let rows = 0..values.len();
            let rows = rows.filter(|&row| {
                counted.as_ref().is_none_or(|c| c.is_valid(row)) && self.counts(values.value(row))
            });
            let (own, groups): (Vec<f64>, Vec<u32>) = rows
                .map(|row| {
                    let value = values.value(row);
                    let value = if self.exact { value } else { value + 0.0 };
                    (value, short(group_indices[row]))
                })
                .unzip();
            self.collector.add_rows(own.into(), groups);
        }
        self.collector.bound();
        Ok(())
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.collector.grow(total_num_groups);
        few_enough(total_num_groups)?;
        let lists = states[0].as_list::<i32>();
        let values = lists.values().as_primitive::<Float64Type>();
        let digests = states.get(1).map(|digests| digests.as_binary::<i32>());
        for (row, &group) in group_indices.iter().enumerate() {
            let (from, len) = if lists.is_null(row) {
                (0, 0)
            } else {
                (lists.value_offsets()[row].unsigned_abs(), lists.value_length(row).unsigned_abs())
            };
            let own = values.slice(from as usize, len as usize);
            let digest = digests.filter(|d| d.is_valid(row)).map(|d| d.value(row));
            self.collector
                .add_group(short(group), own, digest)
                .map_err(|e| DataFusionError::External(Box::new(e)))?;
        }
        self.collector.bound();
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.first(emit_to);
        Ok(self.states(groups))
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let values: Float64Array = self.first(emit_to).percentiles(self.rank).collect();
        Ok(Arc::new(values))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Float64Type>();
        let rows = values.len();
        let mut counted = counted(values, filter);
        let mut states = Vec::with_capacity(2);
        let mut single = values.values().clone();
        if !self.exact {
            let finite = values.values().iter().map(|v| v.is_finite()).collect();
            counted = NullBuffer::union(counted.as_ref(), Some(&NullBuffer::new(finite)));
            single = single.iter().map(|v| v + 0.0).collect();
        }
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows));
        states.push(list(offsets, Float64Array::new(single, None), counted));
        if !self.exact {
            let mut digests = BinaryBuilder::new();
            digests.append_nulls(rows);
            states.push(Arc::new(digests.finish()));
        }
        Ok(states)
    }

    fn size(&self) -> usize {
        self.collector.bytes()
    }
}

/// For a query without groups, and for windows, which ask again and again.
#[derive(Debug)]
struct OneGroup {
    all: Percentiles,
    asked: bool,
}

/// How many values a window keeps as such.
const WINDOW_VALUES_MAX: usize = 4096;

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.all.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.all.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.all.collector.grow(1);
        let states = self.all.state(EmitTo::All)?;
        states.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if std::mem::replace(&mut self.asked, true) && !self.all.exact {
            self.all.collector.limit(WINDOW_VALUES_MAX);
        }
        let rank = self.all.rank;
        Ok(ScalarValue::Float64(self.all.collector.percentile(rank)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + GroupsAccumulator::size(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, RecordBatch};
    use datafusion::arrow::datatypes::Schema;
    use datafusion::datasource::MemTable;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    fn next(state: &mut u64) -> u64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    fn batch(state: &mut u64, rows: usize) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("g", DataType::Int32, true),
            Field::new("x", DataType::Float64, true),
        ]);
        let groups: Int32Array =
            (0..rows).map(|_| i32::try_from(next(state) % 7).ok().filter(|g| *g > 0)).collect();
        let values: Float64Array = (0..rows)
            .map(|_| match next(state) % 12 {
                0 => None,
                1 => Some(-0.0),
                2 => Some(f64::NAN),
                3 => Some(f64::INFINITY),
                _ => Some(f64::from(u32::try_from(next(state) % 1000).unwrap()) / 8.0),
            })
            .collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(groups), Arc::new(values)];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    /// The rows of `sql`, by the functions of ours or by DataFusion's.
    fn rows(ours: bool, sql: &str, data: &[Vec<RecordBatch>]) -> Vec<String> {
        let config = SessionConfig::new().with_target_partitions(2).with_batch_size(50);
        let context = SessionContext::new_with_config(config);
        if ours {
            all().into_iter().for_each(|function| context.register_udaf(function));
        }
        let table = MemTable::try_new(data[0][0].schema(), data.to_vec()).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batches =
            runtime.block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
        let text = datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap();
        let text = text.to_string();
        let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
        rows.map(|line| line.replace(' ', "")).collect()
    }

    /// DataFusion's weight between two values has six digits, ours has all.
    fn same(ours: &[String], theirs: &[String], what: &str) {
        let close = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.to_bits() == b.to_bits() || (a - b).abs() < 1e-3,
            _ => a == b,
        };
        let equal = ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(a, b)| {
                a.split('|').count() == b.split('|').count()
                    && a.split('|').zip(b.split('|')).all(|(a, b)| close(a, b))
            });
        assert!(equal, "{what}\n{ours:?}\n{theirs:?}");
    }

    #[test]
    fn agree_with_datafusion_and_with_each_other() {
        for seed in 0..2 {
            let mut state = seed;
            let data: Vec<Vec<RecordBatch>> =
                (0..3).map(|_| (0..4).map(|_| batch(&mut state, 60)).collect()).collect();
            for p in ["0.0", "0.25", "0.5", "0.95", "1.0"] {
                for call in [
                    "f(x, @)",
                    "f(@) WITHIN GROUP (ORDER BY x DESC)",
                    "f(x, @) FILTER (WHERE x < 50)",
                ] {
                    let call = call.replace('@', p);
                    for tail in ["FROM t GROUP BY g ORDER BY g", "FROM t", "FROM t WHERE g > 99"] {
                        let key = if tail.contains("GROUP") { "g" } else { "1" };
                        let query = |call: &str, tail: &str| format!("SELECT {key}, {call} {tail}");
                        let exact = query(&call.replace("f(", "percentile_cont("), tail);
                        same(&rows(true, &exact, &data), &rows(false, &exact, &data), &exact);
                        // Of finite values, and of few of them, the approximate one is exact.
                        let finite = tail.replace(
                            "FROM t",
                            "FROM (SELECT g, x + 0.0 AS x FROM t WHERE abs(x) < 1e9) t",
                        );
                        let exact = query(&call.replace("f(", "percentile_cont("), &finite);
                        let approximate =
                            query(&call.replace("f(", "approx_percentile_cont("), &finite);
                        same(
                            &rows(true, &approximate, &data),
                            &rows(false, &exact, &data),
                            &approximate,
                        );
                    }
                }
            }
            let all = rows(true, "SELECT approx_percentile_cont(x, 0.9) FROM t", &data);
            let finite = "SELECT percentile_cont(x, 0.9) FROM t WHERE abs(x) < 1e9";
            assert_eq!(all, rows(true, finite, &data), "NaN and infinities are left out");
        }
    }

    #[test]
    fn a_window_asks_again_and_again() {
        let mut state = 9;
        let data = vec![vec![batch(&mut state, 200)]];
        let over = "OVER (ORDER BY g, x ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)";
        let from =
            "FROM (SELECT g, x + 0.0 AS x FROM t WHERE abs(x) < 1e9 AND g > 0) y ORDER BY g, x";
        let approximate = format!("SELECT approx_percentile_cont(x, 0.5) {over} {from}");
        let exact = format!("SELECT percentile_cont(x, 0.5) {over} {from}");
        same(&rows(true, &approximate, &data), &rows(false, &exact, &data), &approximate);
    }
}
