//! `INSERT`, `UPDATE`, `DELETE` and `COPY … FROM`.
//!
//! The rows are computed by a query over one world and then given to the commit thread. When the table
//! has changed in between, the commit thread says so and they are computed again: a change is applied
//! to what it was computed from, or not at all.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use yeoul_batch::CommitId;
use yeoul_sql::{
    Catalog, ChangePlan, CopyFrom, Delete, Insert, Name, Planner, SqlError, Text, Update,
};
use yeoul_store::encode_batch;

use super::{Answer, CopyIn, Session};
use crate::catalog::{Body, Relation, TableBody};
use crate::commit::{Job, WriteOutcome, prepare, with_deleted};
use crate::convert;
use crate::delivery::{Delivery, Receipt, SQL};
use crate::engine::StreamHandle;
use crate::error::{EngineError, ErrorKind};
use crate::planning::Readable;
use crate::world::World;

/// How often a change is computed again because its table has changed.
const TRIES: usize = 100;

impl Session {
    pub(super) async fn insert(
        &self,
        insert: &Insert,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        let world = self.shared.world.load_full();
        world.catalog.writable(&insert.table.value)?;
        let plan = self.planned(&world, &insert.source.text, None, |planner, catalog| {
            planner.insert(insert, catalog, &types_of(&parameters))
        })?;
        let batches = self.collect_plan(plan.rows, parameters).await?;
        let (count, commit) =
            self.insert_rows(&insert.table.value, &[], batches, insert.keep_existing).await?;
        Ok(Answer::Done { tag: format!("INSERT 0 {count}"), commit: Some(commit) })
    }

    /// Inserts rows whose columns are `columns` (all of the relation's when empty).
    pub(super) async fn insert_rows(
        &self,
        name: &str,
        columns: &[Name],
        batches: Vec<RecordBatch>,
        keep_existing: bool,
    ) -> Result<(u64, CommitId), EngineError> {
        self.shared.check_writable()?;
        let world = self.shared.world.load_full();
        let relation = Arc::clone(world.catalog.writable(name)?);
        let targets = targets(&relation, columns)?;
        let fitted: Vec<RecordBatch> = batches
            .iter()
            .map(|batch| fit(batch, &relation, &targets))
            .collect::<Result<_, _>>()?;
        let rows = arrow::compute::concat_batches(&relation.schema, &fitted)?;
        match &relation.body {
            Body::Table(body) if keep_existing && body.with_row_id.is_none() => {
                self.insert_missing(&relation, body, rows).await
            }
            _ => {
                let receipt = self.deliver(relation, rows).await?;
                Ok((receipt.accepted, receipt.commit))
            }
        }
    }

    async fn deliver(
        &self,
        relation: Arc<Relation>,
        rows: RecordBatch,
    ) -> Result<Receipt, EngineError> {
        let delivery = Delivery::new(StreamHandle(Arc::clone(&relation)), SQL, rows);
        let prepared = prepare(delivery, relation, self.shared.clock.now_us())?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let reply = Box::new(move |outcome| {
            let _ = sender.send(outcome);
        });
        self.shared.queue.deliver(prepared, reply, None).await?;
        receiver.await.unwrap_or_else(|_| Err(EngineError::stopped()))
    }

    /// `INSERT … ON CONFLICT DO NOTHING`.
    async fn insert_missing(
        &self,
        relation: &Arc<Relation>,
        body: &TableBody,
        rows: RecordBatch,
    ) -> Result<(u64, CommitId), EngineError> {
        for _ in 0..TRIES {
            let world = self.shared.world.load_full();
            let rows = missing(relation, body, &rows, &world)?;
            let count = rows.num_rows() as u64;
            let deleted = BooleanArray::from(vec![false; rows.num_rows()]);
            let written = with_deleted(&rows, deleted, relation)?;
            if let Some(commit) = self.write(relation, written, world.commit()).await? {
                return Ok((count, commit));
            }
        }
        Err(contended(relation))
    }

    /// Writes rows that were computed at a commit; `None` when the table has changed since.
    async fn write(
        &self,
        relation: &Arc<Relation>,
        rows: RecordBatch,
        computed_at: CommitId,
    ) -> Result<Option<CommitId>, EngineError> {
        if rows.num_rows() == 0 {
            return Ok(Some(computed_at));
        }
        let encoded = encode_batch(&rows)?;
        let relation = relation.id;
        let computed_at = Some(computed_at);
        let job = |reply| Job::Write { relation, rows, encoded, computed_at, reply };
        match self.shared.ask_async(job).await? {
            WriteOutcome::Done(commit) => Ok(Some(commit)),
            WriteOutcome::Stale => Ok(None),
        }
    }

    pub(super) async fn update(
        &self,
        update: &Update,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        let types = types_of(&parameters);
        self.change("UPDATE", false, parameters, |world| {
            self.planned(world, &update.text, Some(&update.table), |planner, catalog| {
                planner.update(update, catalog, &types)
            })
        })
        .await
    }

    pub(super) async fn delete(
        &self,
        delete: &Delete,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        let types = types_of(&parameters);
        self.change("DELETE", true, parameters, |world| {
            self.planned(world, &delete.text, Some(&delete.table), |planner, catalog| {
                planner.delete(delete, catalog, &types)
            })
        })
        .await
    }

    async fn change(
        &self,
        tag: &str,
        deletes: bool,
        parameters: Vec<ScalarValue>,
        plan: impl Fn(&Arc<World>) -> Result<ChangePlan, EngineError>,
    ) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        for _ in 0..TRIES {
            let world = self.shared.world.load_full();
            let plan = plan(&world)?;
            let relation = Arc::clone(world.catalog.writable(&plan.table)?.whole());
            let batches = self.collect_plan(plan.rows, parameters.clone()).await?;
            let all: Vec<usize> = (0..relation.schema.fields().len()).collect();
            let fitted: Vec<RecordBatch> = batches
                .iter()
                .map(|batch| fit(batch, &relation, &all))
                .collect::<Result<_, _>>()?;
            let rows = arrow::compute::concat_batches(&relation.schema, &fitted)?;
            let count = rows.num_rows();
            let written = with_deleted(&rows, BooleanArray::from(vec![deletes; count]), &relation)?;
            if let Some(commit) = self.write(&relation, written, world.commit()).await? {
                return Ok(Answer::Done { tag: format!("{tag} {count}"), commit: Some(commit) });
            }
        }
        Err(EngineError::new(
            ErrorKind::Conflict,
            "the table kept changing while the change was computed",
        )
        .with_sqlstate("40001")
        .with_hint("try again"))
    }

    /// A change planned over `world`; of `changed`, with its row id.
    pub(super) fn planned(
        &self,
        world: &Arc<World>,
        text: &Text,
        changed: Option<&Name>,
        plan: impl FnOnce(&Planner, &dyn Catalog) -> Result<ChangePlan, SqlError>,
    ) -> Result<ChangePlan, EngineError> {
        let readable = Readable::new(world, &self.shared, self.asker());
        let readable = readable.changing(changed.map(|name| name.value.as_str()));
        let planned = plan(&self.shared.planning.planner, &readable);
        readable.refusal()?;
        planned.map_err(|e| EngineError::sql(&e, text.as_str()))
    }

    pub(super) fn copy_in(&self, copy: &CopyFrom) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        let world = self.shared.world.load();
        let relation = world.catalog.writable(&copy.table.value)?;
        let targets = targets(relation, &copy.columns)?;
        Ok(Answer::CopyIn(CopyIn {
            session: self.clone(),
            table: copy.table.clone(),
            columns: copy.columns.clone(),
            schema: Arc::new(relation.schema.project(&targets)?),
            relation: Arc::clone(relation),
            targets,
            format: copy.format.clone(),
        }))
    }
}

/// The types of parameters that have values.
fn types_of(parameters: &[ScalarValue]) -> Vec<Option<DataType>> {
    parameters.iter().map(|p| Some(p.data_type())).collect()
}

fn contended(relation: &Relation) -> EngineError {
    EngineError::new(
        ErrorKind::Conflict,
        format!("table \"{}\" kept changing while the change was computed", relation.name),
    )
    .with_sqlstate("40001")
    .with_hint("try again")
}

fn column_of(relation: &Relation, column: &Name) -> Result<usize, EngineError> {
    relation.schema.index_of(&column.value).map_err(|_| {
        let names: Vec<&str> =
            relation.schema.fields().iter().map(|field| field.name().as_str()).collect();
        EngineError::new(
            ErrorKind::Input,
            format!(
                "column \"{}\" does not exist in {} \"{}\"",
                column.value, relation.kind, relation.name
            ),
        )
        .with_sqlstate("42703")
        .with_detail(format!("\"{}\" has the columns {}", relation.name, names.join(", ")))
    })
}

/// The relation's columns that given rows bring, in the order they bring them.
fn targets(relation: &Relation, columns: &[Name]) -> Result<Vec<usize>, EngineError> {
    if columns.is_empty() {
        return Ok((0..relation.schema.fields().len()).collect());
    }
    columns.iter().map(|column| column_of(relation, column)).collect()
}

/// `batch`, whose columns are `targets` of the relation, with all the relation's columns: types are
/// converted as an assignment does, columns that are not brought are null.
fn fit(
    batch: &RecordBatch,
    relation: &Relation,
    targets: &[usize],
) -> Result<RecordBatch, EngineError> {
    if batch.num_columns() > targets.len() {
        return Err(EngineError::new(
            ErrorKind::Input,
            format!("INSERT has {} values for {} columns", batch.num_columns(), targets.len()),
        )
        .with_sqlstate("42601"));
    }
    let mut columns: Vec<ArrayRef> = relation
        .schema
        .fields()
        .iter()
        .map(|field| new_null_array(field.data_type(), batch.num_rows()))
        .collect();
    for (column, &target) in batch.columns().iter().zip(targets) {
        columns[target] = convert::assign(column, relation.schema.field(target))?;
    }
    let nullable: Vec<_> =
        relation.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let loose: SchemaRef = Arc::new(Schema::new(nullable));
    let rows = RecordBatch::try_new(loose, columns)?;
    for (column, field) in rows.columns().iter().zip(relation.schema.fields()) {
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(EngineError::new(
                ErrorKind::Input,
                format!("column \"{}\" of \"{}\" must not be null", field.name(), relation.name),
            )
            .with_sqlstate("23502")
            .with_hint("give it a value in every row"));
        }
    }
    Ok(RecordBatch::try_new(Arc::clone(&relation.schema), rows.columns().to_vec())?)
}

/// The rows whose key is not in the table yet; of several with one key, the first.
fn missing(
    relation: &Relation,
    body: &TableBody,
    rows: &RecordBatch,
    world: &World,
) -> Result<RecordBatch, EngineError> {
    let Some(tree) = world.snapshot.tree(relation.tree()) else { return Ok(rows.clone()) };
    let keys: Vec<ArrayRef> = body.key.iter().map(|&c| Arc::clone(rows.column(c))).collect();
    let there = yeoul_store::get_many(tree, &keys)?;
    let codec = yeoul_batch::KeyCodec::new(&relation.schema, &body.key)?;
    let there_keys: Vec<ArrayRef> = body.key.iter().map(|&c| Arc::clone(there.column(c))).collect();
    let there = codec.encode_columns(&there_keys)?;
    let mut held: hashbrown::HashSet<Vec<u8>> =
        there.iter().map(|row| row.data().to_vec()).collect();
    let new = codec.encode_columns(&keys)?;
    let mask: BooleanArray = new.iter().map(|row| Some(held.insert(row.data().to_vec()))).collect();
    Ok(arrow::compute::filter_record_batch(rows, &mask)?)
}
