//! What of a view's state is never released, for people: which step keeps it, and with what it grows.
//!
//! State grows without end only by rows that come without end: those of streams, and of views whose rows do. What a
//! clock takes away (`WHERE ts > now() - …`) does not, nor do tables, which are as large as somebody makes them.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use yeoul_batch::ExprRef;

use crate::explain::{expr, step};
use crate::view::{AggregateFunction, ViewNode, ViewPlan};

/// A step of a view whose state is never released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreleased {
    /// The step, as `EXPLAIN` says it.
    pub step: String,
    /// With what its state grows.
    pub grows_with: String,
    /// What would end it.
    pub ended_by: String,
}

/// Whether the rows of a relation become ever more.
pub type Grows<'a> = &'a dyn Fn(&str) -> bool;

impl ViewPlan {
    /// Whether the rows of the view become ever more.
    #[must_use]
    pub fn grows(&self, grows: Grows<'_>) -> bool {
        !sources(&self.root, grows).is_empty()
    }

    /// The steps whose state is never released and grows, the last one first.
    #[must_use]
    pub fn unreleased(&self, grows: Grows<'_>) -> Vec<Unreleased> {
        let mut found = Vec::new();
        collect(&self.root, grows, &mut found);
        let of = sources(&self.root, grows);
        if found.is_empty() && self.append_only && !of.is_empty() && !closes(&self.root) {
            found.push(Unreleased {
                step: format!("View of {}", self.sources.join(", ")),
                grows_with: format!("the rows of {}, each of which stays in it", of.join(", ")),
                ended_by: CLOCK.to_owned(),
            });
        }
        found
    }
}

const CLOCK: &str = "a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'";
const WINDOW: &str = "EMIT ON WINDOW CLOSE";
const GROUP_BY_WINDOW: &str = "a window among the keys with EMIT ON WINDOW CLOSE";

/// The relations whose growing makes the rows of a node ever more.
fn sources<'a>(node: &'a ViewNode, grows: Grows<'_>) -> Vec<&'a str> {
    match node {
        ViewNode::Source { relation, .. } if grows(relation) => vec![relation],
        ViewNode::Source { .. } | ViewNode::Values { .. } => Vec::new(),
        ViewNode::Expiring { conditions, .. } if conditions.iter().any(|c| !c.comes) => Vec::new(),
        ViewNode::Aggregate { input, keys, .. } if named(keys, input).is_empty() => Vec::new(),
        ViewNode::Ranked { input, partition, last, .. }
            if named(partition, input).is_empty() && *last != u64::MAX =>
        {
            Vec::new()
        }
        _ => of_all(node.inputs().into_iter(), grows),
    }
}

/// The same of several nodes, each once.
fn of_all<'a>(nodes: impl Iterator<Item = &'a ViewNode>, grows: Grows<'_>) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for name in nodes.flat_map(|node| sources(node, grows)) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// The keys that can have ever more values, as they are called.
fn named(keys: &[ExprRef], input: &ViewNode) -> Vec<String> {
    let endless = |key: &&ExprRef| {
        let constant = key.columns().is_some_and(|columns| columns.is_empty());
        !constant && *key.data_type() != DataType::Boolean
    };
    keys.iter().filter(endless).map(|key| expr(key, input)).collect()
}

/// Whether what the last step tells was released with it.
fn closes(node: &ViewNode) -> bool {
    match node {
        ViewNode::Closing { .. } | ViewNode::Sessions { lag_us: Some(_), .. } => true,
        ViewNode::Filter { input, .. }
        | ViewNode::Project { input, .. }
        | ViewNode::Window { input, .. }
        | ViewNode::Expand { input, .. }
        | ViewNode::Unnest { input, .. }
        | ViewNode::Lookup { input, .. }
        | ViewNode::Over { input, .. } => closes(input),
        ViewNode::Join { left, right, .. } => closes(left) && closes(right),
        ViewNode::Union { inputs, .. } => inputs.iter().all(closes),
        _ => false,
    }
}

/// Whether a key of an aggregate is a bound of a window.
fn has_window(keys: &[ExprRef], input: &ViewNode) -> bool {
    let schema = input.schema();
    let mut names = keys.iter().filter_map(|key| Some(schema.field(key.as_column()?).name()));
    names.any(|name| name.starts_with("window_start") || name.starts_with("window_end"))
}

fn collect(node: &ViewNode, grows: Grows<'_>, found: &mut Vec<Unreleased>) {
    let mut note = |grows_with: String, ended_by: String| {
        found.push(Unreleased { step: step(node), grows_with, ended_by });
    };
    let rows_of = |names: &[&str]| format!("the rows of {}", names.join(", "));
    match node {
        ViewNode::Aggregate { input, keys, calls, released: None, .. }
            if !sources(input, grows).is_empty() =>
        {
            let keys_named = named(keys, input);
            let kept = calls.iter().filter(|call| call.distinct);
            let values: Vec<String> = kept.flat_map(|call| named(&call.args, input)).collect();
            let every = calls.iter().any(|call| call.function == AggregateFunction::ArrayAgg);
            if !keys_named.is_empty() {
                let window = if has_window(keys, input) { WINDOW } else { GROUP_BY_WINDOW };
                let distinct = format!("the number of distinct {}", keys_named.join(", "));
                note(distinct, format!("{window}, or {CLOCK}"));
            } else if every {
                note(rows_of(&sources(input, grows)), CLOCK.to_owned());
            } else if !values.is_empty() {
                note(format!("the number of distinct {}", values.join(", ")), CLOCK.to_owned());
            }
        }
        ViewNode::Join { left, right, released, .. } => {
            let goes =
                released.as_ref().map_or([false; 2], |times| times.kept_us.map(|k| k.is_some()));
            let sides = [left.as_ref(), right].into_iter().zip(goes);
            let names = of_all(sides.filter(|(_, goes)| !goes).map(|(side, _)| side), grows);
            if !names.is_empty() {
                let bounds = "bounds of the time of each input by that of the other";
                note(rows_of(&names), format!("{bounds}, or {CLOCK}, in what is joined"));
            }
        }
        ViewNode::AsOf { right, on, released: Ok(_), .. } => {
            let keys: Vec<ExprRef> = on.iter().map(|(_, key)| Arc::clone(key)).collect();
            let keys = named(&keys, right);
            if !sources(right, grows).is_empty() && !keys.is_empty() {
                note(format!("the number of distinct {}", keys.join(", ")), CLOCK.to_owned());
            }
        }
        ViewNode::AsOf { left, right, .. } => {
            let names = of_all([left.as_ref(), right].into_iter(), grows);
            if !names.is_empty() {
                let watermarks = "watermarks of streams on both sides of >= or >";
                note(rows_of(&names), format!("{watermarks}, or {CLOCK}, in what is joined"));
            }
        }
        ViewNode::Ranked { input, partition, last, .. } if !sources(input, grows).is_empty() => {
            let partition = named(partition, input);
            if !input.append_only() || *last == u64::MAX {
                note(rows_of(&sources(input, grows)), CLOCK.to_owned());
            } else if !partition.is_empty() {
                let distinct = format!("the number of distinct {}", partition.join(", "));
                note(distinct, CLOCK.to_owned());
            }
        }
        ViewNode::Over { input, whole: false, .. } if !sources(input, grows).is_empty() => {
            note(rows_of(&sources(input, grows)), CLOCK.to_owned());
        }
        ViewNode::Sessions { input, lag_us: None, .. } if !sources(input, grows).is_empty() => {
            let grows_with = match input.append_only() {
                true => "the number of sessions".to_owned(),
                false => rows_of(&sources(input, grows)),
            };
            note(grows_with, format!("{WINDOW}, or {CLOCK}"));
        }
        _ => {}
    }
    node.inputs().into_iter().for_each(|input| collect(input, grows, found));
}
