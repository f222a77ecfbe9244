//! Aggregates whose answer does not depend on the order of reading.

use super::base::Kind;
use super::chance::Chance;
use super::exprs::Scope;
use super::tree::{Cuts, Tree, tree};

const DISTINCT_LIST: &str = "array_agg(DISTINCT ";

/// Leaves out aggregates with an order beside a list of different values: the batch engine takes an order of the one for
/// the other's, and then nulls are at the wrong end.
pub(super) fn unmixed(mut calls: Vec<(Tree, Kind)>) -> Vec<(Tree, Kind)> {
    let text = |call: &(Tree, Kind)| call.0.sql(&Cuts::new());
    if let Some(list) = calls.iter().position(|call| text(call).starts_with(DISTINCT_LIST)) {
        let list = calls.remove(list);
        calls.retain(|call| !text(call).contains(" ORDER BY ") && !text(call).contains("_value("));
        calls.push(list);
    }
    calls
}

impl Scope<'_> {
    /// An aggregate and the kind of its result.
    pub(super) fn aggregate(&self, chance: &mut Chance, event_time: bool) -> (Tree, Kind) {
        let (call, kind) = self.aggregate_call(chance, event_time);
        if !chance.once_in(4) {
            return (call, kind);
        }
        let filter = tree![" FILTER (WHERE ", self.condition(chance, 1), ")"];
        (tree![call, chance.maybe(filter)], kind)
    }

    fn aggregate_call(&self, chance: &mut Chance, event_time: bool) -> (Tree, Kind) {
        use Kind as K;
        let comparable = [
            K::Int,
            K::Big,
            K::Float,
            K::Wild,
            K::Nan,
            K::Decimal,
            K::Text,
            K::Time,
            K::Date,
            K::Bool,
            K::Length,
        ];
        let columns = self.of(&comparable);
        let any = if columns.is_empty() { None } else { Some(*chance.pick(&columns)) };
        match (chance.below(14), any) {
            (0, _) | (_, None) => ("count(*)".into(), K::Int),
            (1, Some(c)) => (tree!["count(", &c.name, ")"], K::Int),
            (2, Some(c)) => (tree!["count(DISTINCT ", &c.name, ")"], K::Int),
            (3, Some(_)) => {
                let of = self.value(chance, K::Int);
                // Elsewhere it is another estimate.
                let few = Tree::only_ours(tree!["approx_count_distinct((", of, ") % 5)"]);
                (few, K::Int)
            }
            (4, _) => {
                let name = *chance.pick(&["bool_and", "bool_or"]);
                (tree![name, "(", self.condition(chance, 1), ")"], K::Bool)
            }
            (5 | 6, _) => self.sum(chance),
            (7, _) => self.average(chance),
            (8 | 9, Some(c)) if c.kind != K::Bool => {
                (tree![*chance.pick(&["min", "max"]), "(", &c.name, ")"], c.kind)
            }
            (10 | 11, Some(c)) => self.at_an_end(chance, &c.name, c.kind, event_time),
            // DataFusion refuses its own plan of this over a union with constants (seed 13).
            (12, Some(c)) if !self.folded => {
                let order = self.order(chance, &c.name);
                (tree!["array_agg(", &c.name, order, ")"], K::List)
            }
            // Of a constant the planner drops the order, and CREATE refuses what is left.
            (13, Some(c)) if !self.folded => {
                (tree![format!("{DISTINCT_LIST}{0} ORDER BY {0})", c.name)], K::List)
            }
            (_, Some(_)) => ("count(*)".into(), K::Int),
        }
    }

    fn at_an_end(
        &self,
        chance: &mut Chance,
        column: &str,
        kind: Kind,
        event_time: bool,
    ) -> (Tree, Kind) {
        let (ours, duck) = *chance.pick(&[("first_value(", "first("), ("last_value(", "last(")]);
        if event_time && chance.once_in(3) {
            return (Tree::only_ours(tree![ours, column, ")"]), kind);
        }
        let order = self.order(chance, column);
        (tree![Tree::said(ours, duck), column, order, ")"], kind)
    }

    /// Ends with the value itself: which of several rows comes first is then no matter of chance.
    fn order(&self, chance: &mut Chance, value: &str) -> Tree {
        use Kind as K;
        let first = self.of(&[K::Time, K::Int, K::Text, K::Float, K::Date]);
        let direction =
            |chance: &mut Chance| *chance.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        let mut items = Vec::new();
        if !first.is_empty() && !chance.once_in(4) {
            let by = chance.pick(&first).name.clone();
            if by != value {
                let by = tree![by, direction(chance)];
                items.push(chance.maybe(by));
            }
        }
        items.push(tree![value, direction(chance)]);
        Tree::List { before: " ORDER BY ", between: ", ", items }
    }

    fn sum(&self, chance: &mut Chance) -> (Tree, Kind) {
        use Kind as K;
        let kind = *chance.pick(&[K::Int, K::Float, K::Decimal, K::Approx]);
        let Some(column) = self.one(chance, kind) else { return ("count(*)".into(), K::Int) };
        match kind {
            K::Int if chance.once_in(4) => (tree!["sum(DISTINCT ", column, ")"], K::Int),
            K::Int | K::Float => (tree!["sum(", self.value(chance, kind), ")"], kind),
            _ => (tree!["sum(", column, ")"], kind),
        }
    }

    fn average(&self, chance: &mut Chance) -> (Tree, Kind) {
        use Kind as K;
        let kind = *chance.pick(&[K::Int, K::Float, K::Decimal]);
        let Some(column) = self.one(chance, kind) else { return ("count(*)".into(), K::Int) };
        if kind == K::Decimal {
            // A float elsewhere, a decimal of so many digits here.
            return (Tree::only_ours(tree!["avg(", column, ")"]), K::Decimal);
        }
        let name = *chance.pick(&["avg", "avg", "stddev", "stddev_pop", "variance", "var_pop"]);
        (tree![name, "(", column, ")"], K::Approx)
    }
}
