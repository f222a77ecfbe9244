//! Grouping obeys its laws and equals the twin, whatever the keys, the calls and the division.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use std::sync::Arc;
use yeoul_batch::{Combine, Updates};
use yeoul_flow::{Aggregate, AggregateCall, AggregateSpec, Function, NamedExpr};

use crate::cells::{self, Row, sorted};
use crate::random::{self, Random, column};
use crate::twin;

pub(crate) fn random_call(random: &mut Random, number: usize) -> AggregateCall {
    use random::{DECIMAL, FLAG, FLOAT, SMALL, TEXT, TIME, WIDE};
    let numbers = [WIDE, SMALL, FLOAT, DECIMAL];
    let plain = [
        Function::Count,
        Function::Sum,
        Function::Avg,
        Function::Min,
        Function::Max,
        Function::ApproxCountDistinct,
        Function::FirstValue,
        Function::LastValue,
        Function::ArrayAgg,
        Function::BoolAnd,
        Function::BoolOr,
        Function::Stddev,
        Function::StddevPop,
        Function::Variance,
        Function::VariancePop,
    ];
    let function = *random.pick(&plain);
    let argument = match function {
        Function::Sum | Function::Avg => *random.pick(&numbers),
        Function::Stddev | Function::StddevPop | Function::Variance | Function::VariancePop => {
            *random.pick(&[SMALL, FLOAT, DECIMAL])
        }
        Function::BoolAnd | Function::BoolOr => FLAG,
        _ => *random.pick(&random::ALL),
    };
    let name = format!("a{number}");
    if function == Function::Count && random.one_in(2) {
        let call = AggregateCall::new(name, function, vec![]);
        return if random.one_in(2) { call.filter(column(FLAG)) } else { call };
    }
    let mut call = AggregateCall::new(name, function, vec![column(argument)]);
    if random.one_in(3) {
        call = call.filter(column(FLAG));
    }
    match function {
        Function::Count | Function::Sum | Function::Avg if random.one_in(2) => {
            call = call.distinct()
        }
        Function::FirstValue | Function::LastValue | Function::ArrayAgg => {
            let by = *random.pick(&[TIME, TEXT, SMALL, argument]);
            call = call.order_by(column(by), random.one_in(2));
            if random.one_in(3) {
                call = call.order_by(column(FLOAT), random.one_in(2));
            }
            if function == Function::ArrayAgg && random.one_in(3) {
                let descending = call.order_by[0].descending;
                call.order_by.clear();
                call = call.distinct();
                if random.one_in(2) {
                    call = call.order_by(column(argument), descending);
                }
            }
        }
        _ => {}
    }
    call
}

pub(crate) fn random_spec(random: &mut Random, append_only: bool) -> (Vec<usize>, AggregateSpec) {
    let mut keys: Vec<usize> = random::ALL.to_vec();
    keys.retain(|_| random.one_in(3));
    let named =
        |k: &usize| NamedExpr::with_field(Arc::new(random::schema().field(*k).clone()), column(*k));
    let spec = AggregateSpec {
        keys: keys.iter().map(named).collect(),
        calls: (0..1 + random.below(4)).map(|number| random_call(random, number)).collect(),
        append_only,
    };
    (keys, spec)
}

/// Random rows, and where they may be taken back, random rows taken back.
pub(crate) fn random_history(
    random: &mut Random,
    count: usize,
    append_only: bool,
) -> (Updates, twin::Bag) {
    let nulls = random.one_in(2);
    let added = random::rows(random, count, nulls);
    let cells = cells::rows(&added);
    let mut bag = twin::Bag::default();
    if append_only {
        cells.iter().for_each(|row| bag.add(row, 1));
        return (Updates::inserts(added), bag);
    }
    let mut counts = vec![0i64; count];
    let mut picked = Vec::new();
    let mut diffs = Vec::new();
    for _ in 0..count * 2 {
        let at = random.below(count);
        let diff = if counts[at] > 0 && random.one_in(2) { -counts[at] } else { 1 + random.int(2) };
        counts[at] += diff;
        bag.add(&cells[at], diff);
        picked.push(u32::try_from(at).unwrap());
        diffs.push(diff);
    }
    // States are merged in any order, so the order of a history must not matter: take a row back
    // before it comes.
    for at in (1..picked.len()).rev() {
        let other = random.below(at + 1);
        picked.swap(at, other);
        diffs.swap(at, other);
    }
    let rows = take_record_batch(&added, &UInt32Array::from(picked)).unwrap();
    (Updates::new(rows, Int64Array::from(diffs)), bag)
}

pub(crate) fn cut(random: &mut Random, updates: &Updates) -> Vec<Updates> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < updates.len() {
        let length = (1 + random.below(updates.len())).min(updates.len() - at);
        parts.push(updates.slice(at, length));
        at += length;
    }
    parts
}

/// Combines in a random order and grouping.
fn combined(
    random: &mut Random,
    aggregate: &Aggregate,
    mut parts: Vec<RecordBatch>,
) -> RecordBatch {
    while parts.len() > 1 {
        let mut several = Vec::new();
        for _ in 0..2 + random.below(3) {
            if !parts.is_empty() {
                several.push(parts.swap_remove(random.below(parts.len())));
            }
        }
        parts.push(aggregate.combine(&several, false).unwrap());
    }
    aggregate.combine(&parts, true).unwrap()
}

pub(crate) fn assert_same(got: Vec<Row>, expected: Vec<Row>, what: &str) {
    let (got, expected) = (sorted(got), sorted(expected));
    for (got, expected) in got.iter().zip(&expected) {
        let same = got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| a.near(b));
        assert!(same, "{what}:\n{got:?}\n{expected:?}");
    }
    let (g, e) = (got.len(), expected.len());
    assert_eq!(g, e, "{what}: {:?}", got.get(e).or(expected.get(g)));
}

#[test]
fn grouping_in_any_division_equals_the_twin() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let append_only = random.one_in(2);
        let (keys, spec) = random_spec(&mut random, append_only);
        let calls = spec.calls.clone();
        let aggregate = Aggregate::new(spec).unwrap();
        let count = *random.pick(&[1, 10, 300]);
        let (updates, bag) = random_history(&mut random, count, append_only);
        let parts: Vec<RecordBatch> = cut(&mut random, &updates)
            .iter()
            .map(|part| aggregate.partial(part).unwrap())
            .collect();
        let states = combined(&mut random, &aggregate, parts);
        assert_eq!(states.schema(), *aggregate.schema());
        let answers = aggregate.finish(&states).unwrap();
        assert_eq!(answers.schema(), *aggregate.output());
        let expected = twin::aggregate(&bag.rows(), &keys, &calls);
        assert_same(cells::rows(&answers), expected, &format!("seed {seed}, {calls:?}"));
    }
}

#[test]
fn what_is_taken_back_leaves_nothing() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let (_, spec) = random_spec(&mut random, false);
        let calls = spec.calls.clone();
        let aggregate = Aggregate::new(spec).unwrap();
        let (updates, _) = random_history(&mut random, 100, false);
        let (rows, diffs) = updates.clone().into_parts();
        let undone: Int64Array = diffs.unwrap().unary(|diff| -diff);
        let parts = [
            aggregate.partial(&updates).unwrap(),
            aggregate.partial(&Updates::new(rows, undone)).unwrap(),
        ];
        let states = aggregate.combine(&parts, true).unwrap();
        assert_eq!(states.num_rows(), 0, "seed {seed}");
        let answers = aggregate.finish(&states).unwrap();
        let keys: &[usize] = if aggregate.is_global() { &[] } else { &[0] };
        let expected = twin::aggregate(&[], keys, &calls);
        assert_same(cells::rows(&answers), expected, &format!("seed {seed}"));
    }
}

/// The states themselves, not only the answers, are equal: bytes in trees do not depend on the order.
#[test]
fn combine_is_associative_and_commutative() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let append_only = random.one_in(2);
        let (_, spec) = random_spec(&mut random, append_only);
        let aggregate = Aggregate::new(spec).unwrap();
        let (updates, _) = random_history(&mut random, 200, append_only);
        let whole = aggregate.partial(&updates).unwrap();
        let parts: Vec<RecordBatch> = cut(&mut random, &updates)
            .iter()
            .map(|part| aggregate.partial(part).unwrap())
            .collect();
        let complete = |batches: &[RecordBatch]| aggregate.combine(batches, true).unwrap();
        let expected = states(&aggregate, &complete(&[whole]));
        let one = complete(&parts);
        let mut reversed = parts.clone();
        reversed.reverse();
        assert_eq!(states(&aggregate, &one), expected, "seed {seed}");
        assert_eq!(states(&aggregate, &complete(&reversed)), expected, "seed {seed}");
        let empty = RecordBatch::new_empty(Arc::clone(aggregate.schema()));
        assert_eq!(states(&aggregate, &complete(&[empty, one])), expected, "seed {seed}");
    }
}

/// Rows as text, sorted; the columns of pairs of doubles are compared by their sum.
fn states(aggregate: &Aggregate, states: &RecordBatch) -> Vec<String> {
    let mut rows: Vec<String> = vec![String::new(); states.num_rows()];
    for (field, column) in aggregate.schema().fields().iter().zip(states.columns()) {
        let float_state = field.name().ends_with("_low") || field.name().ends_with("_high");
        for (row, text) in rows.iter_mut().enumerate() {
            if float_state {
                continue;
            }
            let column: &ArrayRef = column;
            *text += &match column.as_binary_opt::<i32>() {
                Some(binary) if binary.is_valid(row) => format!("{:?}", binary.value(row)),
                Some(_) => "none".to_owned(),
                None => format!("{:?}", cells::cell(column, row)),
            };
        }
    }
    rows.sort();
    rows
}

#[test]
fn approximate_answers_are_near() {
    let mut random = Random::new(11);
    let calls = vec![
        AggregateCall::new("p", Function::ApproxPercentile(0.9), vec![column(random::FLOAT)]),
        AggregateCall::new("d", Function::ApproxCountDistinct, vec![column(random::WIDE)]),
    ];
    for append_only in [true, false] {
        let spec = AggregateSpec { keys: vec![], calls: calls.clone(), append_only };
        let aggregate = Aggregate::new(spec).unwrap();
        let parts: Vec<RecordBatch> =
            (0..20).map(|_| random::rows(&mut random, 500, true)).collect();
        let all = concat_batches(&random::schema(), &parts).unwrap();
        let states: Vec<RecordBatch> = parts
            .into_iter()
            .map(|part| aggregate.partial(&Updates::inserts(part)).unwrap())
            .collect();
        let answers = aggregate.finish(&aggregate.combine(&states, true).unwrap()).unwrap();
        let answers = cells::rows(&answers).swap_remove(0);
        let mut floats: Vec<f64> = cells::rows(&all)
            .iter()
            .filter(|row| !row[random::FLOAT].is_null())
            .map(|row| row[random::FLOAT].float())
            .collect();
        floats.sort_by(f64::total_cmp);
        let place = floats.len() * 9 / 10;
        let margin = floats.len() / 50;
        let value = answers[0].float();
        assert!(floats[place - margin] <= value && value <= floats[place + margin]);
        let distinct = twin::answer(
            &AggregateCall::new("d", Function::Count, vec![column(random::WIDE)]).distinct(),
            &cells::rows(&all),
        );
        assert!(distinct.near(&answers[1]));
    }
}

#[test]
fn sums_beyond_bigint_are_refused_when_read_not_when_kept() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, 5]));
    let rows = RecordBatch::try_from_iter([("v", values)]).unwrap();
    let expr = Arc::new(yeoul_batch::ColumnExpr::new(0, arrow::datatypes::DataType::Int64));
    let call = AggregateCall::new("s", Function::Sum, vec![expr]);
    let spec = AggregateSpec { keys: vec![], calls: vec![call], append_only: false };
    let aggregate = Aggregate::new(spec).unwrap();
    let too_much = aggregate.partial(&Updates::inserts(rows.clone())).unwrap();
    let error = aggregate.finish(&too_much).unwrap_err();
    assert_eq!(error.to_string(), "sum() is out of range for bigint");
    let back = Updates::new(rows.slice(0, 1), Int64Array::from(vec![-1]));
    let less = aggregate.partial(&back).unwrap();
    let states = aggregate.combine(&[too_much, less], true).unwrap();
    let answer = aggregate.finish(&states);
    assert!(answer.is_err(), "MAX + 5 does not fit either");
    let back = Updates::new(rows.slice(2, 1), Int64Array::from(vec![-1]));
    let states = aggregate.combine(&[states, aggregate.partial(&back).unwrap()], true).unwrap();
    let answer = aggregate.finish(&states).unwrap();
    assert!(cells::cell(answer.column(0), 0).near(&cells::Cell::Int(i64::MAX.into())));
}

#[test]
#[should_panic(expected = "append-only")]
fn taking_back_from_append_only_is_a_bug() {
    let spec = AggregateSpec { keys: vec![], calls: vec![], append_only: true };
    let aggregate = Aggregate::new(spec).unwrap();
    let rows = random::rows(&mut Random::new(1), 1, false);
    let _ = aggregate.partial(&Updates::new(rows, Int64Array::from(vec![-1])));
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let refused = |call: AggregateCall| {
        let spec = AggregateSpec { keys: vec![], calls: vec![call], append_only: true };
        Aggregate::new(spec).unwrap_err().to_string()
    };
    let call = |function, argument| AggregateCall::new("x", function, vec![column(argument)]);
    assert_eq!(refused(call(Function::Sum, random::TEXT)), "sum() does not take Utf8View");
    assert_eq!(
        refused(call(Function::FirstValue, random::TEXT)),
        "first_value() needs ORDER BY in its parentheses"
    );
    assert_eq!(
        refused(AggregateCall::new("x", Function::Min, vec![])),
        "min() takes exactly one argument"
    );
    assert_eq!(
        refused(call(Function::ApproxPercentile(1.5), random::FLOAT)),
        "approx_percentile() takes a fraction from 0 to 1"
    );
    assert_eq!(
        refused(call(Function::Count, random::TEXT).filter(column(random::TEXT))),
        "FILTER is a boolean, not Utf8View"
    );
}
