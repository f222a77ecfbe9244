//! Expressions, conditions and aggregates over the columns of a relation.

use super::base::{Column, Kind, TimeType};
use super::chance::Chance;

/// What expressions are made of.
pub(super) struct Scope<'a> {
    pub columns: &'a [Column],
    pub time: TimeType,
    /// Whether a column may be a constant, which the planner puts in its place.
    pub folded: bool,
}

const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

impl Scope<'_> {
    fn of(&self, kinds: &[Kind]) -> Vec<&Column> {
        self.columns.iter().filter(|c| kinds.contains(&c.kind)).collect()
    }

    fn one(&self, chance: &mut Chance, kind: Kind) -> Option<String> {
        let columns = self.of(&[kind]);
        (!columns.is_empty()).then(|| chance.pick(&columns).name.clone())
    }

    /// A kind that some column has and that rows can be grouped by.
    pub(super) fn key_kind(&self, chance: &mut Chance) -> Kind {
        use Kind as K;
        let usual = [K::Int, K::Text, K::Time, K::Bool, K::Date];
        let all = [
            usual.as_slice(),
            &[K::Big, K::Float, K::Wild, K::Nan, K::Decimal, K::Opaque, K::Length],
        ]
        .concat();
        let wanted: &[Kind] = if chance.once_in(4) { &all } else { &usual };
        let there = self.of(wanted);
        if there.is_empty() { K::Int } else { chance.pick(&there).kind }
    }

    /// A value of this kind.
    pub(super) fn value(&self, chance: &mut Chance, kind: Kind) -> String {
        let Some(c) = self.one(chance, kind) else { return self.constant(kind) };
        if chance.once_in(2) {
            return c;
        }
        let other = self.one(chance, kind).unwrap_or_else(|| c.clone());
        match kind {
            Kind::Int => self.int(chance, &c, &other),
            Kind::Float => match chance.below(5) {
                0 => format!("{c} * 0.5"),
                1 => format!("{c} + {other}"),
                2 => format!("abs({c})"),
                // Of 0 it is -0.
                3 => format!("-{c}"),
                _ => format!("CASE WHEN {} THEN {c} ELSE 0.25 END", self.condition(chance, 0)),
            },
            Kind::Text => match chance.below(6) {
                0 => format!("upper({c})"),
                1 => format!("coalesce({c}, '-')"),
                2 => format!("{c} || '/' || {other}"),
                3 => format!("left({c}, 2)"),
                4 => format!("CAST({} AS VARCHAR)", self.value(chance, Kind::Int)),
                _ => format!("CASE WHEN {} THEN {c} END", self.condition(chance, 0)),
            },
            Kind::Bool => self.condition(chance, 1),
            Kind::Time => {
                let unit = chance.pick(&["second", "minute", "hour", "day", "month"]);
                match chance.below(3) {
                    0 => format!("{c} + INTERVAL '90 seconds'"),
                    _ => format!("date_trunc('{unit}', {c})"),
                }
            }
            Kind::Decimal => format!("{c} + 1.5"),
            Kind::Length => format!("{c} + INTERVAL '1 hour'"),
            _ => c,
        }
    }

    fn int(&self, chance: &mut Chance, c: &str, other: &str) -> String {
        match chance.below(10) {
            0 => format!("{c} % 7"),
            1 => format!("{c} + {other}"),
            2 => format!("abs({c})"),
            3 => format!("coalesce({c}, -1)"),
            4 => format!("CASE WHEN {} THEN {c} ELSE -3 END", self.condition(chance, 0)),
            5 => format!("char_length({})", self.value(chance, Kind::Text)),
            6 => format!("{c} / 10"),
            // Rounded: half of the values of `f` and `r` have a fraction, half of those are a half.
            7 => format!("CAST({} AS BIGINT)", self.value(chance, Kind::Float)),
            8 => format!("CAST({} AS BIGINT)", self.value(chance, Kind::Decimal)),
            _ => format!("nullif({c}, 1)"),
        }
    }

    fn constant(&self, kind: Kind) -> String {
        let null = |sql: &str| format!("CAST(NULL AS {sql})");
        match kind {
            Kind::Int | Kind::Big => "CAST(7 AS BIGINT)".to_owned(),
            Kind::Float | Kind::Wild | Kind::Nan | Kind::Approx => {
                "CAST(0.5 AS DOUBLE PRECISION)".to_owned()
            }
            Kind::Decimal => "CAST(1.25 AS NUMERIC(12, 2))".to_owned(),
            Kind::Text | Kind::Opaque | Kind::List => "'x'".to_owned(),
            Kind::Bool => "true".to_owned(),
            Kind::Time => null(self.time.0),
            Kind::Date => null("DATE"),
            Kind::Length => null("INTERVAL"),
        }
    }

    /// Something that is true, false or null.
    pub(super) fn condition(&self, chance: &mut Chance, depth: usize) -> String {
        if depth > 0 && chance.once_in(3) {
            let (a, b) = (self.condition(chance, depth - 1), self.condition(chance, depth - 1));
            return match chance.below(3) {
                0 => format!("({a} AND {b})"),
                1 => format!("({a} OR {b})"),
                _ => format!("(NOT ({a}) OR {b})"),
            };
        }
        let column = chance.pick(self.columns);
        let c = &column.name;
        let is = chance.pick(&COMPARISONS);
        if chance.once_in(6) {
            return format!("{c} IS {}", chance.pick(&["NULL", "NOT NULL"]));
        }
        match column.kind {
            Kind::Int => match chance.below(3) {
                0 => format!("{c} {is} {}", chance.between(-20, 300)),
                1 => format!("{c} IN (1, 2, 3, 5, 8, 13)"),
                _ => format!("{c} % 3 = {}", chance.below(3)),
            },
            Kind::Big => format!("{c} {is} 9223372036854775806"),
            Kind::Float | Kind::Wild | Kind::Nan => {
                format!("{c} {is} {}.5", chance.between(-300, 300))
            }
            Kind::Decimal => format!("{c} {is} {}.25", chance.between(-100, 300)),
            Kind::Text => match chance.below(4) {
                0 => format!("{c} LIKE '%a%'"),
                1 => format!("{c} IN ('k0', 'k2', 'ä', '')"),
                2 => format!("{c} {is} 'k3'"),
                _ => format!("char_length({c}) > 1"),
            },
            Kind::Bool => (*chance.pick(&["{c}", "NOT {c}", "{c} IS NOT TRUE"])).replace("{c}", c),
            Kind::Time => format!(
                "{c} {is} CAST('2026-01-01 00:{:02}:00' AS {})",
                chance.below(30),
                self.time.0
            ),
            Kind::Date => format!("{c} {is} CAST('2025-11-09' AS DATE)"),
            Kind::Length => format!("{c} {is} INTERVAL '1 day'"),
            Kind::Opaque | Kind::Approx | Kind::List => format!("{c} IS NOT NULL"),
        }
    }

    /// An aggregate and the kind of its result.
    pub(super) fn aggregate(&self, chance: &mut Chance, event_time: bool) -> (String, Kind) {
        let (mut call, kind) = self.call(chance, event_time);
        if chance.once_in(4) {
            call = format!("{call} FILTER (WHERE {})", self.condition(chance, 1));
        }
        (call, kind)
    }

    fn call(&self, chance: &mut Chance, event_time: bool) -> (String, Kind) {
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
            (0, _) | (_, None) => ("count(*)".to_owned(), K::Int),
            (1, Some(c)) => (format!("count({})", c.name), K::Int),
            (2, Some(c)) => (format!("count(DISTINCT {})", c.name), K::Int),
            (3, Some(_)) => {
                let few = format!("approx_count_distinct({} % 5)", self.value(chance, K::Int));
                (few, K::Int)
            }
            (4, _) => {
                let name = chance.pick(&["bool_and", "bool_or"]);
                (format!("{name}({})", self.condition(chance, 1)), K::Bool)
            }
            (5 | 6, _) => self.sum(chance),
            (7, _) => self.average(chance),
            (8 | 9, Some(c)) if c.kind != K::Bool => {
                (format!("{}({})", chance.pick(&["min", "max"]), c.name), c.kind)
            }
            (10 | 11, Some(c)) => {
                let name = chance.pick(&["first_value", "last_value"]);
                let plain = event_time && chance.once_in(3);
                let order = if plain { String::new() } else { self.order(chance, &c.name) };
                (format!("{name}({}{order})", c.name), c.kind)
            }
            // DataFusion refuses its own plan of this over a union with constants (seed 13).
            (12, Some(c)) if !self.folded => {
                (format!("array_agg({}{})", c.name, self.order(chance, &c.name)), K::List)
            }
            // Of a constant the planner drops the order, and CREATE refuses what is left.
            (13, Some(c)) if !self.folded => {
                (format!("array_agg(DISTINCT {0} ORDER BY {0})", c.name), K::List)
            }
            (_, Some(_)) => ("count(*)".to_owned(), K::Int),
        }
    }

    /// Ends with the value itself: which of several rows comes first is then no matter of chance.
    fn order(&self, chance: &mut Chance, value: &str) -> String {
        use Kind as K;
        let first = self.of(&[K::Time, K::Int, K::Text, K::Float, K::Date]);
        let direction =
            |chance: &mut Chance| *chance.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        let mut items = Vec::new();
        if !first.is_empty() && !chance.once_in(4) {
            let by = chance.pick(&first).name.clone();
            if by != value {
                items.push(format!("{by}{}", direction(chance)));
            }
        }
        items.push(format!("{value}{}", direction(chance)));
        format!(" ORDER BY {}", items.join(", "))
    }

    fn sum(&self, chance: &mut Chance) -> (String, Kind) {
        use Kind as K;
        let kind = *chance.pick(&[K::Int, K::Float, K::Decimal, K::Approx]);
        let Some(column) = self.one(chance, kind) else { return ("count(*)".to_owned(), K::Int) };
        match kind {
            K::Int if chance.once_in(4) => (format!("sum(DISTINCT {column})"), K::Int),
            K::Int | K::Float => (format!("sum({})", self.value(chance, kind)), kind),
            _ => (format!("sum({column})"), kind),
        }
    }

    fn average(&self, chance: &mut Chance) -> (String, Kind) {
        use Kind as K;
        let kind = *chance.pick(&[K::Int, K::Float, K::Decimal]);
        let Some(column) = self.one(chance, kind) else { return ("count(*)".to_owned(), K::Int) };
        if kind == K::Decimal {
            return (format!("avg({column})"), K::Decimal);
        }
        let name = chance.pick(&["avg", "avg", "stddev", "stddev_pop", "variance", "var_pop"]);
        (format!("{name}({column})"), K::Approx)
    }
}
