//! How a view is kept, as text: a line per step, and what state it holds by what key.

use std::fmt::{self, Write};

use yeoul_batch::ExprRef;

use crate::interval::display;
use crate::view::{
    AggregateCall, AggregateFunction, ClockCondition, JoinKind, JoinTimes, Nearest, OrderBy,
    RankFunction, ViewNode, ViewPlan, WindowKind,
};

impl fmt::Display for ViewPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.root {
            root if is_grouped(root) => "groups",
            _ if self.append_only => "rows",
            _ => "rows with how often each occurs",
        };
        writeln!(f, "View of {} keeps {state}", self.sources.join(", "))?;
        if let Some(key) = self.key.as_ref().filter(|k| !k.is_empty()) {
            let names: Vec<&str> =
                key.iter().map(|k| self.schema.field(*k).name().as_str()).collect();
            writeln!(f, "  one row per {}", names.join(", "))?;
        }
        node(f, &self.root, 1)
    }
}

/// Whether the rows of a view are the groups of its last step, seen through what has no state.
fn is_grouped(node: &ViewNode) -> bool {
    match node {
        ViewNode::Aggregate { .. } => true,
        ViewNode::Filter { input, .. } | ViewNode::Project { input, .. } => is_grouped(input),
        _ => false,
    }
}

fn node(f: &mut fmt::Formatter<'_>, n: &ViewNode, depth: usize) -> fmt::Result {
    let indent = depth * 2;
    writeln!(f, "{:indent$}{}", "", step(n))?;
    if let Some(state) = state(n) {
        writeln!(f, "{:indent$}  state: {state}", "")?;
    }
    n.inputs().into_iter().try_for_each(|input| node(f, input, depth + 1))
}

/// What a node does.
pub(crate) fn step(n: &ViewNode) -> String {
    match n {
        ViewNode::Source { relation, schema, append_only, .. } => {
            let columns: Vec<&str> = schema.fields().iter().map(|c| c.name().as_str()).collect();
            let how = if *append_only { "append-only" } else { "changing" };
            format!("Source {relation} ({how}) [{}]", columns.join(", "))
        }
        ViewNode::Values { rows, .. } => format!("Values, {} rows", rows.num_rows()),
        ViewNode::Filter { input, predicate } => format!("Filter {}", expr(predicate, input)),
        ViewNode::Project { input, exprs, schema } => {
            let items: Vec<String> = exprs
                .iter()
                .zip(schema.fields())
                .map(|(e, field)| match expr(e, input) {
                    text if text == tidy(field.name()) => text,
                    text => format!("{text} AS {}", tidy(field.name())),
                })
                .collect();
            format!("Project [{}]", items.join(", "))
        }
        ViewNode::Window { input, time, kind, .. } => {
            format!("Window {} over {}", window(*kind), expr(time, input))
        }
        other => with_others(other),
    }
}

/// What a node does that compares rows with others.
fn with_others(n: &ViewNode) -> String {
    match n {
        ViewNode::Lookup {
            input, relation, table, primary_key, keys, condition, outer, ..
        } => {
            let pairs: Vec<String> = primary_key
                .iter()
                .zip(keys)
                .map(|(&k, key)| format!("{} = {}", table.field(k).name(), expr(key, input)))
                .collect();
            let kind = if *outer { "Lookup, or nulls," } else { "Lookup" };
            let only = condition.as_ref().map_or_else(String::new, |condition| {
                format!(" where {}", crate::lower::describe(condition))
            });
            format!("{kind} in {relation} by {}{only}", pairs.join(", "))
        }
        ViewNode::Join { .. } => joined(n),
        ViewNode::AsOf { .. } => as_of(n),
        ViewNode::Ranked { .. } => ranked(n),
        ViewNode::Sessions { input, keys, time, gap_us, calls, lag_us, .. } => {
            let keys: Vec<String> = keys.iter().map(|k| expr(k, input)).collect();
            let calls: Vec<String> = calls.iter().map(|c| call(c, input)).collect();
            let of = if keys.is_empty() { "all rows".to_owned() } else { keys.join(", ") };
            let (time, gap) = (expr(time, input), display(*gap_us));
            let told = if lag_us.is_some() { ", told on window close" } else { "" };
            format!("Sessions of {of} over {time}, gap {gap}{told}: [{}]", calls.join(", "))
        }
        ViewNode::Over { input, partition, calls, .. } => {
            let keys: Vec<String> = partition.iter().map(|k| expr(k, input)).collect();
            let by = if keys.is_empty() { "one partition".to_owned() } else { keys.join(", ") };
            let calls: Vec<String> = calls.iter().map(|call| tidy(call)).collect();
            format!("Over by {by}: [{}]", calls.join(", "))
        }
        ViewNode::Expand { lists, .. } => format!("Each row {} times", lists.len()),
        ViewNode::Unnest { input, lists, outer, .. } => {
            let fields = input.schema().fields();
            let names: Vec<String> = lists.iter().map(|at| tidy(fields[*at].name())).collect();
            let kind = if *outer { "Unnest, or nulls," } else { "Unnest" };
            format!("{kind} {}", names.join(", "))
        }
        ViewNode::Expiring { input, conditions } => {
            let when: Vec<String> = conditions.iter().map(|c| by_the_clock(c, input)).collect();
            format!("Rows by the clock: {}", when.join(", "))
        }
        ViewNode::Union { .. } => "Union".to_owned(),
        ViewNode::Aggregate { input, keys, calls, .. } => {
            let keys: Vec<String> = keys.iter().map(|k| expr(k, input)).collect();
            let calls: Vec<String> = calls.iter().map(|c| call(c, input)).collect();
            let by = if keys.is_empty() { "one group".to_owned() } else { keys.join(", ") };
            format!("Aggregate by {by}: [{}]", calls.join(", "))
        }
        ViewNode::Closing { input, keys, calls, .. } => {
            let keys: Vec<String> = keys.iter().map(|k| expr(k, input)).collect();
            let calls: Vec<String> = calls.iter().map(|c| call(c, input)).collect();
            format!(
                "Aggregate by {}, told on window close: [{}]",
                keys.join(", "),
                calls.join(", ")
            )
        }
        ViewNode::Source { .. }
        | ViewNode::Values { .. }
        | ViewNode::Filter { .. }
        | ViewNode::Project { .. }
        | ViewNode::Window { .. } => String::new(),
    }
}

fn joined(n: &ViewNode) -> String {
    let ViewNode::Join { left, right, kind, on, residual, .. } = n else { return String::new() };
    let pairs: Vec<String> =
        on.iter().map(|(l, r)| format!("{} = {}", expr(l, left), expr(r, right))).collect();
    let by = if pairs.is_empty() { "any row".to_owned() } else { pairs.join(", ") };
    let also = residual
        .as_ref()
        .map_or_else(String::new, |residual| format!(" and {}", crate::lower::describe(residual)));
    format!("{} by {by}{also}", join(*kind))
}

fn as_of(n: &ViewNode) -> String {
    let ViewNode::AsOf { left, right, on, near, nearest, outer, .. } = n else {
        return String::new();
    };
    let pair = |(l, r): &(ExprRef, ExprRef), op: &str| {
        format!("{} {op} {}", expr(l, left), expr(r, right))
    };
    let (which, op) = match nearest {
        Nearest::NotAfter => ("last", ">="),
        Nearest::Before => ("last", ">"),
        Nearest::NotBefore => ("first", "<="),
        Nearest::After => ("first", "<"),
    };
    let mut by: Vec<String> = on.iter().map(|on| pair(on, "=")).collect();
    by.push(format!("the {which} with {}", pair(near, op)));
    format!("{} by {}", if *outer { "ASOF left join" } else { "ASOF join" }, by.join(", "))
}

/// What a node keeps.
fn state(n: &ViewNode) -> Option<String> {
    match n {
        ViewNode::Lookup { relation, .. } => Some(format!("rows of {relation}, up to a limit")),
        ViewNode::Join { kind, released, left, right, .. } => Some(match kind {
            JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => format!(
                "the rows of the first input, and what they are compared with; {}",
                let_go([left, right], released)
            ),
            _ => format!(
                "the rows of both inputs, by what they are compared by; {}",
                let_go([left, right], released)
            ),
        }),
        ViewNode::AsOf { left, released, .. } => Some(nearest_kept(left, released)),
        ViewNode::Ranked { input, .. } if input.append_only() => {
            Some("the wanted rows of each partition; never released".to_owned())
        }
        ViewNode::Ranked { .. } => Some("the rows of each partition; never released".to_owned()),
        ViewNode::Sessions { input, lag_us: Some(lag_us), .. } => {
            let what = if input.append_only() { "session" } else { "key and time" };
            // What is past a time is a microsecond further than the time itself.
            let lag_us = lag_us - i64::from(lag_us % 1_000 == 1);
            let until = until(what, "window_end", lag_us);
            Some(format!("{until}; rows behind it are in no session"))
        }
        ViewNode::Sessions { input, .. } if input.append_only() => {
            Some("one per session; never released".to_owned())
        }
        ViewNode::Sessions { .. } => {
            Some("one per key and time, undone when a row changes; never released".to_owned())
        }
        ViewNode::Over { whole: true, .. } => None,
        ViewNode::Over { .. } => Some("the rows of each partition; never released".into()),
        ViewNode::Expiring { conditions, .. } => Some(match conditions.iter().any(|c| !c.comes) {
            true => "the rows that will come or go, each released when it goes".to_owned(),
            false => "the rows that will come, each released when it comes".to_owned(),
        }),
        ViewNode::Closing { input, keys, window, lag_us, .. } => {
            Some(until("group", &expr(&keys[*window], input), *lag_us))
        }
        ViewNode::Aggregate { input, keys, released: Some(by), .. } => {
            Some(until("group", &expr(&keys[by.key], input), by.lag_us))
        }
        ViewNode::Aggregate { input, .. } => {
            let undo = if input.append_only() { "" } else { ", undone when a row changes" };
            Some(format!("one per group{undo}; never released"))
        }
        _ => None,
    }
}

/// States that are released when they are complete.
fn until(what: &str, time: &str, lag_us: i64) -> String {
    let behind = match lag_us {
        0 => String::new(),
        lag => format!(" + {}", display(lag)),
    };
    format!("one per {what}, released when the watermark, less the lateness, passes {time}{behind}")
}

/// What an ASOF join keeps.
fn nearest_kept(left: &ViewNode, released: &Result<JoinTimes, String>) -> String {
    let times = match released {
        Ok(times) => times,
        Err(why) => return format!("the rows of both inputs; never released: {why}"),
    };
    let time = tidy(left.schema().field(times.columns[0]).name());
    let past = past(times.kept_us[0].unwrap_or_default());
    format!(
        "the first input's rows, released when the watermark, less the lateness, passes {time}{past}; of the second \
         input the rows that are the nearest to such, the others released when the next one of their key comes; rows \
         behind the watermark are not joined"
    )
}

/// How far behind a time something is, after its name.
fn past(kept_us: i64) -> String {
    // What is past a time is a microsecond further than the time itself.
    match kept_us - i64::from(kept_us % 1_000 == 1) {
        0 => String::new(),
        us => format!(" + {}", display(us)),
    }
}

/// When the rows of a join are released.
fn let_go(sides: [&ViewNode; 2], released: &Result<JoinTimes, String>) -> String {
    let times = match released {
        Ok(times) => times,
        Err(why) => return format!("never released: {why}"),
    };
    let of = |at: usize, which: &str, other: &str| {
        let Some(kept_us) = times.kept_us[at] else {
            return format!(
                "the {which} input's never released: nothing bounds how much later rows of the {other} match"
            );
        };
        let time = tidy(sides[at].schema().field(times.columns[at]).name());
        format!("the {which} input's released when it passes {time}{}", past(kept_us))
    };
    format!(
        "by the watermark, less the lateness, {}, {}; rows behind it are not joined",
        of(0, "first", "second"),
        of(1, "second", "first")
    )
}

fn by_the_clock(condition: &ClockCondition, input: &ViewNode) -> String {
    let when = if condition.comes { "from" } else { "until" };
    let time = expr(&condition.time, input);
    match condition.shift_us {
        0 => format!("{when} {time}"),
        us if us < 0 => format!("{when} {time} - {}", display(us.saturating_neg())),
        us => format!("{when} {time} + {}", display(us)),
    }
}

fn ranked(n: &ViewNode) -> String {
    let ViewNode::Ranked { input, partition, order, function, first, last, .. } = n else {
        return String::new();
    };
    let function = match function {
        RankFunction::RowNumber => "Rows",
        RankFunction::Rank => "Ranks",
        RankFunction::DenseRank => "Dense ranks",
    };
    let numbers = match *last {
        u64::MAX => format!("from {first}"),
        last if *first == last => format!("{first}"),
        last => format!("{first} to {last}"),
    };
    let list = |items: Vec<String>, word: &str| match items.as_slice() {
        [] => String::new(),
        items => format!(" {word} {}", items.join(", ")),
    };
    let way = |o: &OrderBy| {
        let way = if o.descending { " DESC" } else { "" };
        format!("{}{way}", expr(&o.expr, input))
    };
    let by = list(order.iter().map(way).collect(), "by");
    let of = list(partition.iter().map(|p| expr(p, input)).collect(), "of each");
    format!("{function} {numbers}{by}{of}")
}

fn join(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "Join",
        JoinKind::Left => "Left join",
        JoinKind::Right => "Right join",
        JoinKind::Full => "Full join",
        JoinKind::Semi => "Rows with a match (semi join)",
        JoinKind::Anti => "Rows without a match (anti join)",
        JoinKind::Mark => "Rows marked by whether they have a match (mark join)",
    }
}

fn window(kind: WindowKind) -> String {
    let (text, offset_us) = match kind {
        WindowKind::Tumble { size_us, offset_us } => {
            (format!("TUMBLE {}", display(size_us)), offset_us)
        }
        WindowKind::Hop { slide_us, size_us, offset_us } => {
            (format!("HOP {} every {}", display(size_us), display(slide_us)), offset_us)
        }
        WindowKind::Cumulate { step_us, size_us, offset_us } => {
            (format!("CUMULATE {} by {}", display(size_us), display(step_us)), offset_us)
        }
    };
    if offset_us == 0 { text } else { format!("{text} shifted by {}", display(offset_us)) }
}

/// A column's name for people: DataFusion names unnamed columns after their expression and writes
/// the type around every constant, as in `count(Int64(1))`.
pub(crate) fn tidy(name: &str) -> String {
    const TYPES: [&str; 8] = [
        "Utf8View(",
        "Utf8(",
        "Int64(",
        "Int32(",
        "Float64(",
        "Float32(",
        "Boolean(",
        "Decimal128(",
    ];
    let mut out = String::new();
    let mut rest = name;
    while let Some(at) = (0..rest.len())
        .filter(|i| rest.is_char_boundary(*i))
        .find(|i| TYPES.iter().any(|t| rest[*i..].starts_with(t)))
    {
        let Some(open) = rest[at..].find('(').map(|i| at + i + 1) else { break };
        let quoted = rest[open..].starts_with('"');
        let end = if quoted { "\")" } else { ")" };
        let Some(length) = rest[open..].find(end) else { break };
        out.push_str(&rest[..at]);
        if quoted {
            out.push_str(&format!("'{}'", &rest[open + 1..open + length]));
        } else {
            out.push_str(&rest[open..open + length]);
        }
        rest = &rest[open + length + end.len()..];
    }
    out.push_str(rest);
    out.replace("count(1)", "count(*)")
}

/// The name of the column, else what the expression calls itself.
pub(crate) fn expr(e: &ExprRef, input: &ViewNode) -> String {
    match e.as_column() {
        Some(i) => input.schema().fields().get(i).map_or_else(String::new, |f| tidy(f.name())),
        None => crate::lower::describe(e),
    }
}

fn call(c: &AggregateCall, input: &ViewNode) -> String {
    let name = match c.function {
        AggregateFunction::Count => "count".to_owned(),
        AggregateFunction::Sum => "sum".to_owned(),
        AggregateFunction::Avg => "avg".to_owned(),
        AggregateFunction::Min => "min".to_owned(),
        AggregateFunction::Max => "max".to_owned(),
        AggregateFunction::ApproxDistinct => "approx_count_distinct".to_owned(),
        AggregateFunction::ApproxPercentile(p) => format!("approx_percentile {p}"),
        AggregateFunction::FirstValue => "first_value".to_owned(),
        AggregateFunction::LastValue => "last_value".to_owned(),
        AggregateFunction::ArrayAgg => "array_agg".to_owned(),
        AggregateFunction::BoolAnd => "bool_and".to_owned(),
        AggregateFunction::BoolOr => "bool_or".to_owned(),
        AggregateFunction::StddevSamp => "stddev_samp".to_owned(),
        AggregateFunction::StddevPop => "stddev_pop".to_owned(),
        AggregateFunction::VarSamp => "var_samp".to_owned(),
        AggregateFunction::VarPop => "var_pop".to_owned(),
    };
    let args: Vec<String> = c.args.iter().map(|a| expr(a, input)).collect();
    let args = if args.is_empty() { "*".to_owned() } else { args.join(", ") };
    let distinct = if c.distinct { "DISTINCT " } else { "" };
    let mut text = format!("{name}({distinct}{args}");
    for (i, o) in c.order_by.iter().enumerate() {
        let lead = if i == 0 { " ORDER BY " } else { ", " };
        let way = if o.descending { " DESC" } else { "" };
        let _ = write!(text, "{lead}{}{way}", expr(&o.expr, input));
    }
    text.push(')');
    if let Some(filter) = &c.filter {
        let _ = write!(text, " WHERE {}", expr(filter, input));
    }
    text
}
