//! Expressions and conditions over the columns of a relation.

use super::base::{Column, Kind, TimeType};
use super::chance::Chance;
use super::tree::{Tree, tree};

/// What expressions are made of.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub columns: &'a [Column],
    pub time: TimeType,
    /// Whether a column may be a constant, which the planner puts in its place.
    pub folded: bool,
    /// Functions that the case has made; see [`super::functions`].
    pub functions: &'a [Function],
}

/// A function of SQL: its name, what it takes, what it gives.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub name: String,
    pub takes: Vec<Kind>,
    pub gives: Kind,
    pub sql: Tree,
}

pub(super) const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

impl Scope<'_> {
    pub(super) fn of(&self, kinds: &[Kind]) -> Vec<&Column> {
        self.columns.iter().filter(|c| kinds.contains(&c.kind)).collect()
    }

    pub(super) fn one(&self, chance: &mut Chance, kind: Kind) -> Option<String> {
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
    pub(super) fn value(&self, chance: &mut Chance, kind: Kind) -> Tree {
        let Some(c) = self.one(chance, kind) else { return self.constant(kind) };
        if chance.once_in(2) {
            return c.into();
        }
        if let Some(call) = self.call_of(chance, kind) {
            return chance.or(call, [Tree::from(&c)]);
        }
        let other = self.one(chance, kind).unwrap_or_else(|| c.clone());
        let full = match kind {
            Kind::Int => self.int(chance, &c, &other),
            Kind::Float => match chance.below(5) {
                0 => tree![&c, " * 0.5"],
                1 => tree![&c, " + ", other],
                2 => tree!["abs(", &c, ")"],
                // Of 0 it is -0.
                3 => tree!["-", &c],
                _ => self.case(chance, &c, " ELSE 0.25"),
            },
            Kind::Text => self.text(chance, &c, &other),
            Kind::Bool => self.condition(chance, 1),
            Kind::Time => {
                let unit = chance.pick(&["second", "minute", "hour", "day", "month"]);
                match chance.below(3) {
                    0 => tree![&c, " + INTERVAL '90 seconds'"],
                    _ => tree![format!("date_trunc('{unit}', {c})")],
                }
            }
            Kind::Decimal => match chance.below(3) {
                0 => tree![&c, " + CAST(1.5 AS NUMERIC(12, 2))"],
                1 => tree!["coalesce(", &c, ", CAST(0 AS NUMERIC(12, 2)))"],
                _ => self.case(chance, &c, ""),
            },
            Kind::Length => tree![&c, " + INTERVAL '1 hour'"],
            Kind::Ints => self.case(chance, &c, ""),
            _ => return c.into(),
        };
        chance.or(full, [Tree::from(c)])
    }

    fn case(&self, chance: &mut Chance, c: &str, rest: &str) -> Tree {
        tree!["CASE WHEN ", self.condition(chance, 0), " THEN ", c, rest, " END"]
    }

    /// A call of a function of the case.
    fn call_of(&self, chance: &mut Chance, kind: Kind) -> Option<Tree> {
        let functions: Vec<&Function> =
            self.functions.iter().filter(|function| function.gives == kind).collect();
        if functions.is_empty() || !chance.once_in(3) {
            return None;
        }
        let function = *chance.pick(&functions);
        let taken = function.takes.iter().map(|kind| self.value(chance, *kind)).collect();
        Some(Tree::only_ours(tree![&function.name, "(", Tree::list(taken), ")"]))
    }

    fn int(&self, chance: &mut Chance, c: &str, other: &str) -> Tree {
        match chance.below(12) {
            0 => tree![c, " % 7"],
            1 => tree![c, " + ", other],
            2 => tree!["abs(", c, ")"],
            3 => tree!["coalesce(", c, ", -1)"],
            4 => self.case(chance, c, " ELSE -3"),
            5 => {
                let text = self.value(chance, Kind::Text);
                tree![Tree::said("char_length(", "length("), text, ")"]
            }
            6 => tree![c, Tree::said(" / 10", " // 10")],
            // Rounded: half of the values of `f` and `r` have a fraction, half of those are a half.
            7 => tree!["CAST(", self.value(chance, Kind::Float), " AS BIGINT)"],
            8 => tree!["CAST(", self.value(chance, Kind::Decimal), " AS BIGINT)"],
            9 => tree!["greatest(", c, ", ", other, ")"],
            10 => match self.one(chance, Kind::Ints) {
                Some(list) => Tree::only_ours(tree!["CAST(cardinality(", list, ") AS BIGINT)"]),
                None => tree!["-", c],
            },
            _ => tree!["nullif(", c, ", 1)"],
        }
    }

    fn text(&self, chance: &mut Chance, c: &str, other: &str) -> Tree {
        match chance.below(7) {
            0 => tree!["upper(", c, ")"],
            1 => tree!["coalesce(", c, ", '-')"],
            2 => tree![c, " || '/' || ", other],
            3 => tree!["left(", c, ", 2)"],
            4 => tree!["CAST(", self.value(chance, Kind::Int), " AS VARCHAR)"],
            5 => tree!["replace(", c, ", 'k', '')"],
            _ => self.case(chance, c, ""),
        }
    }

    fn constant(&self, kind: Kind) -> Tree {
        let null = |sql: &str| format!("CAST(NULL AS {sql})");
        match kind {
            Kind::Int | Kind::Big => "CAST(7 AS BIGINT)".into(),
            Kind::Float | Kind::Wild | Kind::Nan | Kind::Approx => {
                "CAST(0.5 AS DOUBLE PRECISION)".into()
            }
            Kind::Decimal => "CAST(1.25 AS NUMERIC(12, 2))".into(),
            Kind::Text | Kind::Opaque | Kind::List => "'x'".into(),
            Kind::Bool => "true".into(),
            Kind::Time => null(self.time.0).into(),
            Kind::Date => null("DATE").into(),
            Kind::Length => null("INTERVAL").into(),
            Kind::Ints => Tree::only_ours("CAST(ARRAY[1, NULL, 1] AS BIGINT[])"),
        }
    }

    /// Something that is true, false or null.
    pub(super) fn condition(&self, chance: &mut Chance, depth: usize) -> Tree {
        if depth > 0 && chance.once_in(3) {
            let (a, b) = (self.condition(chance, depth - 1), self.condition(chance, depth - 1));
            let both = match chance.below(3) {
                0 => tree!["(", &a, " AND ", &b, ")"],
                1 => tree!["(", &a, " OR ", &b, ")"],
                _ => tree!["(NOT (", &a, ") OR ", &b, ")"],
            };
            return chance.or(both, [a, b]);
        }
        let column = chance.pick(self.columns);
        let c = &column.name;
        if chance.once_in(6) {
            return tree![format!("{c} IS {}", chance.pick(&["NULL", "NOT NULL"]))];
        }
        let is = chance.pick(&COMPARISONS);
        let text = match column.kind {
            Kind::Int => match chance.below(4) {
                0 => format!("{c} {is} {}", chance.between(-20, 300)),
                1 => format!("{c} IN (1, 2, 3, 5, 8, 13)"),
                2 => format!("{c} BETWEEN {} AND 40", chance.between(-30, 30)),
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
                _ => {
                    let letters = Tree::said("char_length(", "length(");
                    return tree![letters, c, ") > 1"];
                }
            },
            Kind::Bool => (*chance.pick(&["{c}", "NOT {c}", "{c} IS NOT TRUE"])).replace("{c}", c),
            Kind::Time => format!(
                "{c} {is} CAST('2026-01-01 00:{:02}:00' AS {})",
                chance.below(30),
                self.time.0
            ),
            Kind::Date => format!("{c} {is} CAST('2025-11-09' AS DATE)"),
            Kind::Length => format!("{c} {is} INTERVAL '1 day'"),
            Kind::Opaque | Kind::Approx | Kind::List | Kind::Ints => format!("{c} IS NOT NULL"),
        };
        text.into()
    }
}
