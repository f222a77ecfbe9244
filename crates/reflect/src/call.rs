//! Calls: which function a name is, aggregates, windows, functions that give several rows.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, OrderByExpr, WindowType,
};

use super::Failure;
use super::compile::{Compiler, unsupported};
use super::function::{self, Known};
use super::kind::{Family, Kind};
use super::node::{Aggregate, Comparison, Eval, Key, Node, SeveralCall, Typed, Window};
use super::scope::Scope;
use super::table::Column;
use super::value::Value;

/// The aggregates.
const AGGREGATES: [&str; 12] = [
    "count",
    "array_agg",
    "json_agg",
    "jsonb_agg",
    "string_agg",
    "min",
    "max",
    "sum",
    "avg",
    "bool_and",
    "bool_or",
    "every",
];

/// Functions that are only windows.
const WINDOWS: [&str; 2] = ["row_number", "rank"];

impl Compiler<'_> {
    /// A call as it is written.
    pub(super) fn called(
        &self,
        name: &str,
        function: &Function,
        list: &FunctionArgumentList,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        let known = AGGREGATES.iter().chain(&WINDOWS).find(|known| **known == name);
        if let Some(known) = known {
            return self.aggregate(known, function, list, scope);
        }
        let arguments = self.arguments(&list.args, scope)?;
        if let Some((eval, kind)) = self.gives_several(name, &arguments) {
            if !scope.selects.get() {
                return Err(unsupported(format!("{name} here")));
            }
            let mut several = scope.several.borrow_mut();
            several.push(SeveralCall { eval, arguments, columns: Vec::new() });
            return Ok(Typed::new(kind, Node::Several(several.len() - 1)));
        }
        self.call(name, arguments)
    }

    fn arguments(&self, args: &[FunctionArg], scope: &Scope<'_>) -> Result<Vec<Typed>, Failure> {
        let one = |arg: &FunctionArg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
            | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. }
            | FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(expr), .. } => {
                self.expr(expr, scope)
            }
            other => Err(unsupported(format!("the argument {other}"))),
        };
        args.iter().map(one).collect()
    }

    /// The function of `FROM` and of select lists that gives several values, and their type.
    fn gives_several(&self, name: &str, arguments: &[Typed]) -> Option<(Eval, Kind)> {
        let eval = function::several(name)?;
        let kind = match name {
            "unnest" => arguments.first()?.kind.item().unwrap_or(Kind::TEXT),
            "generate_series" | "generate_subscripts" => Kind::INT4,
            "regexp_split_to_table" | "string_to_table" => Kind::TEXT,
            "pg_partition_ancestors" => Kind::REGCLASS,
            name => Kind::record(name),
        };
        Some((eval, kind))
    }

    /// A call in `FROM`: its values and the names of its columns.
    pub(super) fn table_call(
        &self,
        name: &str,
        args: &[FunctionArg],
        scope: &Scope<'_>,
    ) -> Result<SeveralCall, Failure> {
        let arguments = self.arguments(args, scope)?;
        let Some((eval, kind)) = self.gives_several(name, &arguments) else {
            // A function that gives one value gives one row.
            let one = self.call(name, arguments)?;
            let columns = vec![Column { name: name.into(), kind: one.kind }];
            let wrapped = Typed::new(one.kind, Node::Array(vec![one]));
            return Ok(SeveralCall { eval: function::only, arguments: vec![wrapped], columns });
        };
        let arguments = match name {
            "unnest" => self.wanted(arguments, Kind::TEXT_ARRAY)?,
            "generate_series" => self.wanted(arguments, Kind::INT4)?,
            _ => arguments,
        };
        let columns = match kind.fields() {
            Some(fields) => fields.to_vec(),
            None => vec![Column { name: name.into(), kind }],
        };
        Ok(SeveralCall { eval, arguments, columns })
    }

    fn wanted(&self, arguments: Vec<Typed>, kind: Kind) -> Result<Vec<Typed>, Failure> {
        arguments.into_iter().map(|argument| self.want(argument, kind)).collect()
    }

    pub(super) fn keys(
        &self,
        order: &[OrderByExpr],
        scope: &Scope<'_>,
    ) -> Result<Vec<Key>, Failure> {
        let key = |order: &OrderByExpr| {
            let value = self.want(self.expr(&order.expr, scope)?, Kind::TEXT)?;
            let descending = order.options.asc == Some(false);
            let nulls_first = order.options.nulls_first.unwrap_or(descending);
            Ok(Key { value, descending, nulls_first })
        };
        order.iter().map(key).collect()
    }

    fn aggregate(
        &self,
        name: &'static str,
        function: &Function,
        list: &FunctionArgumentList,
        scope: &Scope<'_>,
    ) -> Result<Typed, Failure> {
        if !scope.selects.get() {
            let message = format!("{name} is not allowed here");
            return Err(Failure::new("42803", message));
        }
        // Aggregates do not stand in each other.
        scope.selects.set(false);
        let compiled = self.aggregate_parts(name, function, list, scope);
        scope.selects.set(true);
        let (call, kind) = compiled?;
        let Some(over) = &function.over else {
            let mut aggregates = scope.aggregates.borrow_mut();
            aggregates.push(call);
            return Ok(Typed::new(kind, Node::Slot(aggregates.len() - 1)));
        };
        let WindowType::WindowSpec(spec) = over else { return Err(unsupported("named windows")) };
        let partition = spec.partition_by.iter().map(|expr| self.expr(expr, scope));
        let partition = partition.collect::<Result<Vec<_>, _>>()?;
        let call = Aggregate { order: self.keys(&spec.order_by, scope)?, ..call };
        let mut windows = scope.windows.borrow_mut();
        windows.push(Window { call, partition });
        Ok(Typed::new(kind, Node::Window(windows.len() - 1)))
    }

    fn aggregate_parts(
        &self,
        name: &'static str,
        function: &Function,
        list: &FunctionArgumentList,
        scope: &Scope<'_>,
    ) -> Result<(Aggregate, Kind), Failure> {
        let star =
            matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        let arguments = if star { Vec::new() } else { self.arguments(&list.args, scope)? };
        let arguments = self.wanted(arguments, Kind::TEXT)?;
        let mut order = Vec::new();
        for clause in &list.clauses {
            if let FunctionArgumentClause::OrderBy(by) = clause {
                order = self.keys(by, scope)?;
            }
        }
        let filter = function.filter.as_deref();
        let filter = filter.map(|filter| self.expr(filter, scope)).transpose()?;
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let first = arguments.first().map_or(Kind::TEXT, |argument| argument.kind);
        let kind = match name {
            "count" | "row_number" | "rank" => Kind::INT8,
            "sum" if first.family() == Family::Int => Kind::INT8,
            "sum" | "avg" => Kind::FLOAT8,
            "bool_and" | "bool_or" | "every" => Kind::BOOL,
            "array_agg" => first.array().unwrap_or(Kind::TEXT_ARRAY),
            "min" | "max" => first,
            _ => Kind::TEXT,
        };
        Ok((Aggregate { name, arguments, distinct, filter, order }, kind))
    }

    /// A function of single values.
    pub(super) fn call(&self, name: &str, arguments: Vec<Typed>) -> Result<Typed, Failure> {
        match name {
            "coalesce" | "ifnull" => {
                let (kind, values) = self.of_one_kind(arguments)?;
                return Ok(Typed::new(kind, Node::Coalesce(values)));
            }
            "greatest" | "least" => {
                let (kind, values) = self.of_one_kind(arguments)?;
                let eval = if name == "least" { function::least } else { function::greatest };
                return Ok(Typed::new(kind, Node::Call(eval, values, false)));
            }
            "nullif" => return self.null_if(arguments),
            "pg_typeof" => {
                let kind = arguments.first().map_or(Kind::UNKNOWN, |argument| argument.kind);
                return Ok(Typed::constant(Kind::REGTYPE, Value::Int(i64::from(kind.0))));
            }
            "array_append" | "array_prepend" | "array_cat" | "array_remove" => {
                let arrays = arguments.iter().map(|argument| argument.kind);
                let kind = arrays.into_iter().find(|kind| kind.item().is_some());
                return self.known(name, kind.unwrap_or(Kind::TEXT_ARRAY), arguments);
            }
            // A type may be called like a function: `text(x)`.
            "text" | "int4" | "int8" | "oid" | "regclass" if arguments.len() == 1 => {
                let kind = Kind::by_name(name).unwrap_or(Kind::TEXT);
                return match arguments.into_iter().next() {
                    Some(argument) => self.cast(argument, kind),
                    None => Err(unsupported("no argument")),
                };
            }
            _ => {}
        }
        let kind = arguments.first().map_or(Kind::TEXT, |argument| argument.kind);
        self.known(name, kind, arguments)
    }

    fn known(&self, name: &str, own: Kind, arguments: Vec<Typed>) -> Result<Typed, Failure> {
        let Some(Known { eval, takes, gives, strict }) = function::known(name) else {
            return Err(Failure::unknown("42883", format!("function \"{name}\" does not exist")));
        };
        let mut prepared = Vec::with_capacity(arguments.len());
        for (at, argument) in arguments.into_iter().enumerate() {
            let wanted = takes.get(at).or(takes.last()).copied().unwrap_or(Kind::TEXT);
            prepared.push(self.argument(argument, wanted)?);
        }
        let kind = if gives == Kind::UNKNOWN { own } else { gives };
        Ok(Typed::new(kind, Node::Call(eval, prepared, strict)))
    }

    /// An argument as the function takes it. `UNKNOWN` takes anything, a record tells its type with it.
    fn argument(&self, argument: Typed, wanted: Kind) -> Result<Typed, Failure> {
        if wanted == Kind::UNKNOWN {
            return self.want(argument, Kind::TEXT);
        }
        if wanted == Kind::REGCLASS && argument.kind.family() == Family::Int {
            return Ok(argument);
        }
        // Where a relation or role is asked for by name or number, either may come.
        if argument.kind.family() == wanted.family() && argument.kind != Kind::UNKNOWN {
            return Ok(argument);
        }
        if wanted.family() == Family::Array && argument.kind.item().is_some() {
            return Ok(argument);
        }
        self.cast(argument, wanted)
    }

    fn null_if(&self, arguments: Vec<Typed>) -> Result<Typed, Failure> {
        let Ok([left, right]) = <[Typed; 2]>::try_from(arguments) else {
            return Err(Failure::new("42883", "nullif takes two values"));
        };
        let left = self.want(left, right.kind)?;
        let same = self.compared(Comparison::Equal, left.clone(), right)?;
        let kind = left.kind;
        let null = Typed::constant(kind, Value::Null);
        Ok(Typed::new(kind, Node::Case(vec![(same, null)], Some(Box::new(left)))))
    }
}
