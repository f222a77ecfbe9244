//! Queries: planned over one world, run on the query threads, handed over batch by batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::temporal_conversions::timestamp_us_to_datetime;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use yeoul_sql::{
    Catalog, ChangePlan, Explain, ExplainTarget, Planner, Query, QueryPlan, Spanned, Statement,
};

use super::{Answer, RowStream, Session};
use crate::error::{EngineError, ErrorKind};
use crate::planning::{Definitions, Readable};
use crate::world::World;

/// Batches that may wait for a slow reader.
const READY_BATCHES: usize = 4;

impl Session {
    fn plan(
        &self,
        query: &Query,
        world: &Arc<World>,
        types: &[Option<DataType>],
    ) -> Result<QueryPlan, EngineError> {
        let readable = Readable::new(world, &self.shared, self.asker());
        let planned = self.shared.planning.planner.query(query, &readable, types);
        readable.refusal()?;
        planned.map_err(|e| EngineError::sql(&e, query.text.as_str()))
    }

    /// Parameter types and answer columns of a statement.
    pub(super) fn describe(
        &self,
        statement: &Spanned<Statement>,
        types: &[Option<DataType>],
    ) -> Result<(Vec<DataType>, Option<SchemaRef>), EngineError> {
        let world = self.shared.world.load_full();
        let change = |text: &yeoul_sql::Text,
                      changed: Option<&yeoul_sql::Name>,
                      plan: ChangeFn<'_>|
         -> Result<_, EngineError> {
            let planned = self.planned(&world, text, changed, plan)?;
            Ok((parameter_types(&planned.rows), None))
        };
        match &statement.node {
            Statement::Query(query) => {
                let plan = self.plan(query, &world, types)?;
                Ok((parameter_types(&plan), Some(plan.schema)))
            }
            Statement::Insert(insert) => {
                change(&insert.source.text, None, Box::new(|p, c| p.insert(insert, c, types)))
            }
            Statement::Update(update) => change(
                &update.text,
                Some(&update.table),
                Box::new(|p, c| p.update(update, c, types)),
            ),
            Statement::Delete(delete) => change(
                &delete.text,
                Some(&delete.table),
                Box::new(|p, c| p.delete(delete, c, types)),
            ),
            Statement::Show(_) | Statement::Describe(_) | Statement::Explain(_) => {
                Ok((Vec::new(), Some(self.fixed_schema(&statement.node)?)))
            }
            _ => Ok((Vec::new(), None)),
        }
    }

    /// Answers a query.
    pub(super) async fn query(
        &self,
        query: &Query,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        let world = self.shared.world.load_full();
        let (schema, rows) = self.rows(query, &world, parameters)?;
        Ok(Answer::Rows { schema, commit: world.commit(), rows })
    }

    /// The rows of a query over `world`.
    pub(super) fn rows(
        &self,
        query: &Query,
        world: &Arc<World>,
        parameters: Vec<ScalarValue>,
    ) -> Result<(SchemaRef, RowStream), EngineError> {
        let types: Vec<_> = parameters.iter().map(|p| Some(p.data_type())).collect();
        let planned = self.plan(query, world, &types)?;
        let schema = Arc::clone(&planned.schema);
        let in_plan = planned.plan.schema().as_arrow().fields().iter();
        let same = in_plan.zip(schema.fields()).all(|(a, b)| a.name() == b.name());
        let rows = self.run_plan(with_values(planned, parameters)?);
        if same {
            return Ok((schema, rows));
        }
        // In the plan columns of the same name are told apart.
        let shown = Arc::clone(&schema);
        let rows = rows.map(move |batch| renamed(&batch?, &shown));
        Ok((schema, Box::pin(rows)))
    }

    /// All rows of a planned query.
    pub(super) async fn collect_plan(
        &self,
        planned: QueryPlan,
        parameters: Vec<ScalarValue>,
    ) -> Result<Vec<RecordBatch>, EngineError> {
        self.run_plan(with_values(planned, parameters)?).try_collect().await
    }

    /// Runs a plan on the query threads.
    pub(super) fn run_plan(&self, plan: LogicalPlan) -> RowStream {
        let context = SessionContext::new_with_state(self.shared.session.clone());
        self.run_in(context, plan)
    }

    /// Runs a plan of a context on the query threads.
    pub(super) fn run_in(&self, context: SessionContext, plan: LogicalPlan) -> RowStream {
        let (sender, receiver) = mpsc::channel(READY_BATCHES);
        let mut cancelled = self.cancel.subscribe();
        let timeout = self.settings.timeout(self.shared.options.query_timeout);
        let shared = Arc::clone(&self.shared);
        let now_us = shared.clock.now_us();
        shared.metrics.queries.fetch_add(1, Ordering::Relaxed);
        let metrics = Arc::clone(&self.shared);
        let work = self.shared.handle.spawn(drive(context, plan, now_us, sender.clone()));
        let stop = work.abort_handle();
        self.shared.handle.spawn(async move {
            // The work is a task of its own: an operator that computes for long without a pause must
            // not keep the answer to a cancel from the client.
            let abort = work.abort_handle();
            let error = tokio::select! {
                outcome = work => match outcome {
                    Ok(outcome) => outcome.err(),
                    Err(gone) => Some(EngineError::new(
                        ErrorKind::Internal,
                        format!("the query ended unexpectedly: {gone}"),
                    )),
                },
                _ = cancelled.changed() => Some(
                    EngineError::new(ErrorKind::Cancelled, "the query was cancelled"),
                ),
                () = tokio::time::sleep(timeout) => Some(
                    EngineError::new(
                        ErrorKind::Cancelled,
                        format!("the query ran longer than {timeout:?}"),
                    )
                    .with_hint("ask for less, or SET statement_timeout to more"),
                ),
            };
            abort.abort();
            if let Some(error) = error {
                metrics.metrics.query_errors.fetch_add(1, Ordering::Relaxed);
                let _ = sender.send(Err(error)).await;
            }
        });
        // Whoever takes the rows hears of a cancel too: operators that compute for long without a pause may keep
        // all query threads, and then the task above does not run either.
        let state = (receiver, self.cancel.subscribe(), Some(stop));
        let rows = futures::stream::unfold(
            state,
            |(mut receiver, mut cancelled, stop)| async move {
                let stop = stop?;
                tokio::select! {
                    biased;
                    batch = receiver.recv() => batch.map(|batch| (batch, (receiver, cancelled, Some(stop)))),
                    _ = cancelled.changed() => {
                        stop.abort();
                        let error = EngineError::new(ErrorKind::Cancelled, "the query was cancelled");
                        Some((Err(error), (receiver, cancelled, None)))
                    }
                }
            },
        );
        Box::pin(rows.fuse())
    }

    /// How a query is answered, or how a view would be kept.
    pub(super) async fn explain(&self, explain: &Explain) -> Result<Answer, EngineError> {
        let world = self.shared.world.load_full();
        let text = match &explain.target {
            ExplainTarget::View(create) => {
                let planner = &self.shared.planning.planner;
                let catalog = Definitions(&world.catalog);
                let plan = planner
                    .create_view(create, &catalog)
                    .map_err(|e| EngineError::sql(&e, create.query.text.as_str()))?;
                plan.to_string()
            }
            ExplainTarget::Query(query) => {
                let plan = self.plan(query, &world, &[])?.plan;
                self.explain_plan(plan, explain).await?
            }
        };
        Ok(self.lines("plan", &text, world.commit()))
    }

    async fn explain_plan(
        &self,
        plan: LogicalPlan,
        explain: &Explain,
    ) -> Result<String, EngineError> {
        let plan = datafusion::logical_expr::LogicalPlanBuilder::from(plan)
            .explain(explain.verbose, explain.analyze)?
            .build()?;
        let batches: Vec<RecordBatch> = self.run_plan(plan).try_collect().await?;
        let mut text = String::new();
        for batch in &batches {
            let last = batch.column(batch.num_columns() - 1);
            let lines = arrow::compute::cast(last, &DataType::Utf8)?;
            let lines = arrow::array::AsArray::as_string::<i32>(&lines);
            for line in lines.iter().flatten() {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        Ok(text)
    }
}

type ChangeFn<'a> =
    Box<dyn FnOnce(&Planner, &dyn Catalog) -> Result<ChangePlan, yeoul_sql::SqlError> + 'a>;

fn parameter_types(plan: &QueryPlan) -> Vec<DataType> {
    plan.parameters.iter().map(|field| field.data_type().clone()).collect()
}

/// The plan with the values of its parameters.
fn with_values(
    planned: QueryPlan,
    parameters: Vec<ScalarValue>,
) -> Result<LogicalPlan, EngineError> {
    if parameters.is_empty() {
        return Ok(planned.plan);
    }
    Ok(planned.plan.with_param_values(ParamValues::from(parameters))?)
}

/// Runs the plan and sends its batches; stops when nobody takes them any more. Its `now()` is the clock of the engine,
/// by which views go too.
async fn drive(
    context: SessionContext,
    plan: LogicalPlan,
    now_us: i64,
    sender: mpsc::Sender<Result<RecordBatch, EngineError>>,
) -> Result<(), EngineError> {
    let mut state = context.state();
    state.execution_props_mut().query_execution_start_time =
        timestamp_us_to_datetime(now_us).map(|time| time.and_utc());
    let mut stream = DataFrame::new(state, plan).execute_stream().await?;
    while let Some(batch) = stream.next().await {
        if sender.send(Ok(batch?)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// `batch` with its columns called as in `schema`. Their types stay: those of a plan may be others than
/// those of its rows (of a numeric, the digits).
pub fn renamed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, EngineError> {
    let own = batch.schema();
    let fields = own.fields().iter().zip(schema.fields());
    let fields = fields.map(|(own, named)| own.as_ref().clone().with_name(named.name()));
    let named = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new(named, batch.columns().to_vec())?)
}
