//! Queries and changes planned for DataFusion, views lowered to [`crate::ViewPlan`].
//!
//! ```text
//!   text ─parse─▶ Query ─rewrite─▶ plain SQL ─SqlToRel─▶ LogicalPlan ─coerce─▶ typed ─▶ run in batch
//!                                                                              └─lower─▶ ViewPlan
//! ```
//!
//! What must hold: a view is lowered from the same typed plan that a batch query of the same
//! text runs, so both have the same names and types.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{
    DFSchema, DataFusionError, Result as DfResult, ScalarValue, TableReference,
};
use datafusion::datasource::provider_as_source;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF, lit,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast as sql;

use crate::ast::{CreateView, Query, Statement};
use crate::catalog::{Catalog, PUBLIC_SCHEMAS, Relation};
use crate::error::{ErrorKind, Span, SqlError};
use crate::function::SqlFunction;
use crate::nearest::{did_you_mean, list};
use crate::view::ViewPlan;
use crate::{assign, coerce, datatype, functions, lateral, lower, rewrite, sets, translate};

/// The name of a subquery that was given none.
pub(crate) const ANONYMOUS: &str = "";

/// Plans statements. Holds the functions; what there is to read comes as a [`Catalog`] with
/// every call, so that one planner serves all connections.
#[derive(Debug, Clone)]
pub struct Planner {
    pub(crate) state: SessionState,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    type_planner: Arc<dyn TypePlanner>,
    /// All names that can be called.
    pub(crate) function_names: Arc<HashSet<String>>,
}

/// A query ready to be optimised and run.
#[derive(Clone, Debug)]
pub struct QueryPlan {
    /// The plan, typed; its output has only the types of [`crate::datatype`].
    pub plan: LogicalPlan,
    /// Its columns.
    pub schema: SchemaRef,
    /// The types of `$1`, `$2`, …; a type that cannot be known is varchar.
    pub parameters: Vec<FieldRef>,
}

impl Planner {
    /// A planner with the functions of `state` and ours.
    pub fn new(mut state: SessionState) -> Result<Self, SqlError> {
        in_utc(&mut state).map_err(translate::execution)?;
        functions::register(&mut state).map_err(translate::execution)?;
        let mut expr_planners: Vec<Arc<dyn ExprPlanner>> =
            vec![Arc::new(functions::JsonOperators), Arc::new(functions::IntervalOperators)];
        expr_planners.extend(state.expr_planners().iter().cloned());
        let scalars = state.scalar_functions().keys();
        let function_names = scalars
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .chain(state.higher_order_functions().keys())
            .cloned()
            .collect();
        Ok(Self {
            expr_planners,
            type_planner: Arc::new(datatype::OurTypes),
            function_names: Arc::new(function_names),
            state,
        })
    }

    /// The functions and settings planning uses; plans run in any context that was made of it.
    #[must_use]
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// Plans a query. `parameters` are the types a client has declared for `$1`, `$2`, …; the
    /// others are inferred.
    pub fn query(
        &self,
        query: &Query,
        catalog: &dyn Catalog,
        parameters: &[Option<DataType>],
    ) -> Result<QueryPlan, SqlError> {
        self.planned(query, &Context { planner: self, catalog, kept: false }, parameters, None)
    }

    /// The same for a query whose rows, if they are `VALUES`, are written to the columns `of_values`.
    pub(crate) fn rows(
        &self,
        query: &Query,
        catalog: &dyn Catalog,
        parameters: &[Option<DataType>],
        of_values: Option<&[&FieldRef]>,
    ) -> Result<QueryPlan, SqlError> {
        let context = Context { planner: self, catalog, kept: false };
        self.planned(query, &context, parameters, of_values)
    }

    fn planned(
        &self,
        query: &Query,
        context: &Context<'_>,
        parameters: &[Option<DataType>],
        of_values: Option<&[&FieldRef]>,
    ) -> Result<QueryPlan, SqlError> {
        let fail = |e: DataFusionError| translate::planning(e, &query.text, query.span);
        let mut ast = query.ast.clone();
        rewrite::query(&mut ast, context, &query.text, query.span)?;
        let declared: Vec<Option<FieldRef>> =
            parameters.iter().map(|p| p.clone().map(parameter)).collect();
        let plan = context.plan(ast.as_ref().clone(), declared.clone()).map_err(|error| {
            rewrite::not_a_list(&error, &ast, context, &query.text).unwrap_or_else(|| fail(error))
        })?;
        let plan = coerce::event_order(plan, context).map_err(fail)?;
        let plan = coerce::prepare(plan).map_err(fail)?;
        let fields = parameter_types(&plan, declared).map_err(fail)?;
        let plan = if fields.is_empty() {
            plan
        } else {
            let all = fields.iter().cloned().map(Some).collect();
            let plan = context.plan(*ast, all).map_err(fail)?;
            let plan = coerce::event_order(plan, context).map_err(fail)?;
            coerce::prepare(plan).map_err(fail)?
        };
        let plan = match of_values {
            Some(columns) => assign::values(plan, columns).map_err(fail)?,
            None => plan,
        };
        let plan = coerce::typed(plan, self.state.config_options()).map_err(fail)?;
        let plan = coerce::output(plan).map_err(fail)?;
        let fields_of_plan = plan.schema().as_arrow().fields().iter();
        let named = fields_of_plan.map(|f| f.as_ref().clone().with_name(rewrite::shown(f.name())));
        let schema = Arc::new(Schema::new(named.collect::<Vec<_>>()));
        Ok(QueryPlan { plan, schema, parameters: fields })
    }

    /// Lowers the query of `CREATE MATERIALIZED VIEW`.
    pub fn create_view(
        &self,
        create: &CreateView,
        catalog: &dyn Catalog,
    ) -> Result<ViewPlan, SqlError> {
        let CreateView { query, columns, on_close, .. } = create;
        let planned = self.listed(query, catalog)?;
        lower::view(self, planned, columns, query, catalog, *on_close)
    }

    /// Lowers the query of a view. `columns` are the names given after the view's name, or none.
    pub fn view(
        &self,
        query: &Query,
        columns: &[crate::ast::Name],
        catalog: &dyn Catalog,
    ) -> Result<ViewPlan, SqlError> {
        let planned = self.listed(query, catalog)?;
        lower::view(self, planned, columns, query, catalog, None)
    }

    /// Plans the query of a view, in which series are lists.
    fn listed(&self, query: &Query, catalog: &dyn Catalog) -> Result<QueryPlan, SqlError> {
        let mut listed = query.clone();
        rewrite::series_as_lists(&mut listed.ast);
        let catalog = &Bare(catalog);
        self.planned(&listed, &Context { planner: self, catalog, kept: true }, &[], None)
    }

    /// The columns and types of the answers to a statement, without running it: `None` where it
    /// has none.
    pub fn describe(
        &self,
        statement: &Statement,
        catalog: &dyn Catalog,
        parameters: &[Option<DataType>],
    ) -> Result<Option<QueryPlan>, SqlError> {
        match statement {
            Statement::Query(q) => self.query(q, catalog, parameters).map(Some),
            Statement::CopyTo(c) => self.query(&c.query, catalog, parameters).map(Some),
            _ => Ok(None),
        }
    }
}

/// Sets the time zone to UTC, so that `now()` is a `timestamptz`; functions that hold settings are
/// told.
fn in_utc(state: &mut SessionState) -> DfResult<()> {
    state.config_mut().options_mut().execution.time_zone = Some("UTC".to_owned());
    let options = Arc::clone(state.config_options());
    let told: Vec<ScalarUDF> = state
        .scalar_functions()
        .values()
        .filter_map(|f| f.inner().with_updated_config(&options))
        .collect();
    for function in told {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

fn parameter(data_type: DataType) -> FieldRef {
    let data_type = datatype::stored(&data_type).unwrap_or(DataType::Utf8View);
    Arc::new(Field::new("", data_type, true))
}

/// The types of all parameters in order: as declared, else as inferred, else varchar.
fn parameter_types(plan: &LogicalPlan, declared: Vec<Option<FieldRef>>) -> DfResult<Vec<FieldRef>> {
    let mut all = declared;
    for (id, inferred) in plan.get_parameter_fields()? {
        let number = id.trim_start_matches('$').parse::<usize>().ok().filter(|n| *n > 0);
        let Some(number) = number.filter(|n| *n <= usize::from(u16::MAX)) else {
            return Err(DataFusionError::External(Box::new(SqlError::new(
                ErrorKind::UndefinedParameter,
                format!("\"{id}\" is not a parameter"),
            ))));
        };
        if all.len() < number {
            all.resize(number, None);
        }
        let slot = &mut all[number - 1];
        if slot.is_none() {
            *slot = inferred.map(|f| match datatype::stored(f.data_type()) {
                Some(t) => Arc::new(f.as_ref().clone().with_data_type(t)),
                None => f,
            });
        }
    }
    Ok(all.into_iter().map(|p| p.unwrap_or_else(|| parameter(DataType::Utf8View))).collect())
}

/// A catalog without its sources: a view is planned over bare schemas, so that no filter can
/// disappear into a scan.
struct Bare<'a>(&'a dyn Catalog);

impl Catalog for Bare<'_> {
    fn relation(&self, name: &str) -> Option<Relation> {
        self.0.relation(name)
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn source(&self, _name: &TableReference) -> Option<Arc<dyn TableSource>> {
        None
    }

    fn sql_functions(&self, name: &str) -> Vec<Arc<SqlFunction>> {
        self.0.sql_functions(name)
    }
}

/// Columns without rows. It takes no filter, unlike DataFusion's own source without rows.
struct BareSource(SchemaRef);

impl TableSource for BareSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }
}

/// Behind the name of a table that is read as of the time rows come to it.
pub(crate) const AS_OF_NOW: &str = " for system_time as of proctime()";

/// The table whose name is marked by [`AS_OF_NOW`].
pub(crate) fn as_of_now(name: &str) -> Option<&str> {
    name.strip_suffix(AS_OF_NOW)
}

/// Whether the name of a table is marked by [`AS_OF_NOW`].
pub(crate) fn is_as_of_now(name: &str) -> bool {
    as_of_now(name).is_some()
}

/// The name without the mark: in a batch query a table is read as it is.
fn unmarked(name: &TableReference) -> TableReference {
    let Some(table) = as_of_now(name.table()) else { return name.clone() };
    match name.schema() {
        Some(schema) => TableReference::partial(schema, table),
        None => TableReference::bare(table),
    }
}

/// What DataFusion's planner asks about names.
pub(crate) struct Context<'a> {
    pub(crate) planner: &'a Planner,
    pub(crate) catalog: &'a dyn Catalog,
    /// Whether it is the query of a view.
    pub(crate) kept: bool,
}

impl Context<'_> {
    /// Plans a rewritten query.
    pub(crate) fn plan(
        &self,
        query: sql::Query,
        parameters: Vec<Option<FieldRef>>,
    ) -> DfResult<LogicalPlan> {
        let options = ParserOptions::from(&self.options().sql_parser)
            .with_map_string_types_to_utf8view(true)
            .with_collect_spans(true);
        let mut context = PlannerContext::new().with_prepare_param_data_types(parameters);
        let plan = SqlToRel::new_with_options(self, options).sql_statement_to_plan_with_context(
            sql::Statement::Query(Box::new(query)),
            &mut context,
        )?;
        lateral::joined(sets::counted(plan)?, self.kept)
    }

    /// The relation of this name, if there is one in the public schema.
    pub(crate) fn relation(&self, name: &TableReference) -> Option<Relation> {
        let public = name.schema().is_none_or(|s| PUBLIC_SCHEMAS.contains(&s));
        let table = as_of_now(name.table()).unwrap_or(name.table());
        public.then(|| self.catalog.relation(table)).flatten()
    }
}

/// The arguments of a table function computed as far as they are constant: `TIMESTAMP '…'` is a cast, to
/// microseconds, and `generate_series` takes nanoseconds.
fn constants(args: Vec<Expr>, state: &SessionState) -> DfResult<Vec<Expr>> {
    let context = SimplifyContext::builder()
        .with_config_options(Arc::clone(state.config_options()))
        .with_schema(Arc::new(DFSchema::empty()))
        .build();
    let simplifier = ExprSimplifier::new(context);
    let constant = |arg| match simplifier.simplify(arg)? {
        Expr::Literal(value @ ScalarValue::TimestampMicrosecond(..), _) => {
            let DataType::Timestamp(_, zone) = value.data_type() else { return Ok(lit(value)) };
            Ok(lit(value.cast_to(&DataType::Timestamp(TimeUnit::Nanosecond, zone))?))
        }
        other => Ok(other),
    };
    args.into_iter().map(constant).collect()
}

/// There is no such relation; the names that there are go with it.
#[must_use]
pub fn unknown_relation(name: &str, span: Option<Span>, catalog: &dyn Catalog) -> SqlError {
    let names = catalog.names();
    let names = || names.iter().map(String::as_str);
    let mut e =
        SqlError::new(ErrorKind::UndefinedRelation, format!("relation \"{name}\" does not exist"))
            .or_at(span);
    e.detail = match names().next() {
        None => Some("there are no streams, tables or views yet".to_owned()),
        Some(_) => Some(format!("there are {}", list(names()))),
    };
    e.hint = did_you_mean(name, names());
    e
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        let name = unmarked(&name);
        if let Some(source) = self.catalog.source(&name) {
            return Ok(source);
        }
        match self.relation(&name) {
            Some(relation) => Ok(Arc::new(BareSource(relation.schema))),
            None => {
                let e = unknown_relation(&name.to_string(), None, self.catalog);
                Err(DataFusionError::External(Box::new(e)))
            }
        }
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> DfResult<Arc<dyn TableSource>> {
        let functions = self.planner.state.table_functions();
        let Some(function) = functions.get(name) else {
            let mut e = SqlError::new(
                ErrorKind::UndefinedFunction,
                format!("table function \"{name}\" does not exist"),
            );
            let known = functions.keys().map(String::as_str);
            e.hint = did_you_mean(name, known.chain(["tumble", "hop", "cumulate", "session"]));
            return Err(DataFusionError::External(Box::new(e)));
        };
        let args = constants(args, &self.planner.state)?;
        let args = datafusion::catalog::TableFunctionArgs::new(&args, &self.planner.state);
        Ok(provider_as_source(function.create_table_provider_with_args(args)?))
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> DfResult<Arc<dyn TableSource>> {
        let table = datafusion::datasource::cte_worktable::CteWorkTable::new(name, schema);
        Ok(provider_as_source(Arc::new(table)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planner.expr_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.planner.type_planner))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
        let of_queries = self.catalog.function(name);
        of_queries.or_else(|| self.planner.state.scalar_functions().get(name).cloned())
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.planner.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.planner.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.planner.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.planner.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.planner.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.planner.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.planner.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.planner.state.window_functions().keys().cloned().collect()
    }
}
