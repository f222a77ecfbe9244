//! Compiled expressions and queries.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Failure;
use super::kind::Kind;
use super::run::Run;
use super::table::{Column, Table};
use super::value::Value;

/// What a function does with its values.
pub(super) type Eval = fn(&Run<'_>, &[Value]) -> Result<Value, Failure>;

/// An expression with the type of its values.
#[derive(Clone)]
pub(super) struct Typed {
    pub(super) kind: Kind,
    pub(super) node: Node,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Different,
    Less,
    LessEqual,
    More,
    MoreEqual,
    /// `IS NOT DISTINCT FROM`.
    Same,
    /// Regular expression, by case and whether it must match.
    Regex {
        fold: bool,
        negated: bool,
    },
    /// `LIKE`.
    Like {
        fold: bool,
        negated: bool,
    },
}

/// `+`, `-`, `*`, `/`, `%`, `||`, `&`, `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
    Concat,
    BitAnd,
    BitOr,
}

/// An expression.
#[derive(Clone)]
pub(super) enum Node {
    Const(Value),
    /// A column of the query `up` levels outwards.
    Column {
        up: usize,
        at: usize,
    },
    /// A parameter, by its place from 0.
    Parameter(usize),
    /// The value of an aggregate of this query.
    Slot(usize),
    /// The value of a window function of this query.
    Window(usize),
    /// The present value of a function of the select list that gives several.
    Several(usize),
    And(Box<[Typed; 2]>),
    Or(Box<[Typed; 2]>),
    Not(Box<Typed>),
    IsNull(Box<Typed>),
    /// `IS TRUE`, `IS FALSE`.
    Is(Box<Typed>, bool),
    Compare(Comparison, Box<[Typed; 2]>),
    Arithmetic(Arithmetic, Box<[Typed; 2]>),
    /// `x op ANY (array)`, or `ALL` when the flag is set.
    Any(Comparison, Box<[Typed; 2]>, bool),
    Case(Vec<(Typed, Typed)>, Option<Box<Typed>>),
    Coalesce(Vec<Typed>),
    Cast(Box<Typed>, Kind),
    /// A function; the flag says that a null among its values makes the answer null.
    Call(Eval, Vec<Typed>, bool),
    Array(Vec<Typed>),
    /// An item of an array from 1 on, or a field of a row.
    Item(Box<[Typed; 2]>),
    Exists(Rc<Plan>),
    Scalar(Rc<Plan>),
    /// `ARRAY(query)`.
    Gather(Rc<Plan>),
}

/// A function that gives several rows.
#[derive(Clone)]
pub(super) struct SeveralCall {
    pub(super) eval: Eval,
    pub(super) arguments: Vec<Typed>,
    pub(super) columns: Vec<Column>,
}

/// Where the rows of one item of `FROM` come from.
#[derive(Clone)]
pub(super) enum Source {
    Table(Arc<Table>),
    /// A query; the flag says that it sees the columns before it.
    Query(Rc<Plan>, bool),
    Function {
        calls: Vec<SeveralCall>,
        ordinality: bool,
    },
    /// The rows that the recursive query found last.
    Working(usize),
    /// Joins in parentheses.
    Nested(Vec<Step>),
}

/// One item of `FROM`: it adds its columns to the row.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) source: Source,
    /// Where its columns begin, and how many there are.
    pub(super) offset: usize,
    pub(super) width: usize,
    /// Whether a row of nulls stands in where nothing matches.
    pub(super) outer: bool,
    /// The column that must equal a value which is known before.
    pub(super) lookup: Option<(usize, Typed)>,
    /// What must hold of a match.
    pub(super) on: Vec<Typed>,
    /// What must hold of the row after it.
    pub(super) filter: Vec<Typed>,
}

/// A key to sort by.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) value: Typed,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// An aggregate.
#[derive(Clone)]
pub(super) struct Aggregate {
    pub(super) name: &'static str,
    pub(super) arguments: Vec<Typed>,
    pub(super) distinct: bool,
    pub(super) filter: Option<Typed>,
    pub(super) order: Vec<Key>,
}

/// A window function over whole partitions, or the number of a row in its order.
#[derive(Clone)]
pub(super) struct Window {
    pub(super) call: Aggregate,
    pub(super) partition: Vec<Typed>,
}

/// A `SELECT`.
pub(super) struct Select {
    pub(super) from: Vec<Step>,
    pub(super) width: usize,
    /// What must hold and needs no row.
    pub(super) before: Vec<Typed>,
    /// `GROUP BY`, or an aggregate without it.
    pub(super) group: Option<Vec<Typed>>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) having: Option<Typed>,
    pub(super) windows: Vec<Window>,
    pub(super) several: Vec<SeveralCall>,
    /// The columns, then the keys of `ORDER BY` and `DISTINCT ON` that are not among them.
    pub(super) outputs: Vec<Typed>,
    /// `DISTINCT`: over the columns, or over these outputs.
    pub(super) distinct: Option<Vec<usize>>,
}

/// What gives rows.
pub(super) enum Body {
    Select(Box<Select>),
    Values(Vec<Vec<Typed>>),
    Union {
        left: Rc<Plan>,
        right: Rc<Plan>,
        operator: SetOperator,
        all: bool,
    },
    /// `WITH RECURSIVE`: the first rows, then those found from the last ones.
    Recursive {
        first: Rc<Plan>,
        step: Rc<Plan>,
        working: usize,
        all: bool,
    },
    /// The rows of a query that has a name.
    Named(Rc<Plan>),
}

/// How two queries are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetOperator {
    Union,
    Intersect,
    Except,
}

/// A sort key of a query: an output, descending, nulls first.
pub(super) type Sort = (usize, bool, bool);

/// A query.
pub(super) struct Plan {
    pub(super) columns: Arc<[Column]>,
    pub(super) body: Body,
    pub(super) order: Vec<Sort>,
    pub(super) limit: Option<Typed>,
    pub(super) offset: Option<Typed>,
    /// Whether it asks for columns of the queries around it.
    pub(super) correlated: bool,
    /// Its rows, once they are known, when nothing around it can change them.
    pub(super) known: OnceCell<Arc<Table>>,
}

impl Typed {
    pub(super) fn new(kind: Kind, node: Node) -> Self {
        Self { kind, node }
    }

    pub(super) fn constant(kind: Kind, value: Value) -> Self {
        Self { kind, node: Node::Const(value) }
    }
}
