//! `JOIN t FOR SYSTEM_TIME AS OF PROCTIME()` → each row with what the table says of its key when it
//! comes.
//!
//! What must hold: the table stands on the right, its whole primary key is compared for equality, and
//! the rows on the left only come. What else is asked of the table's columns is a condition on its
//! rows (it works for LEFT JOIN too) or, of an inner join, a filter above.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::NullEquality;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan};
use yeoul_batch::ExprRef;

use super::{Lowered, Lowering, check};
use crate::error::SqlError;
use crate::planner::{as_of_now, is_as_of_now};
use crate::view::ViewNode;

/// Whether the right side of a join is a table as of the time rows come.
pub(super) fn is_lookup(join: &Join) -> bool {
    let mut side = &*join.right;
    loop {
        match side {
            LogicalPlan::SubqueryAlias(alias) => side = &alias.input,
            LogicalPlan::Filter(filter) => side = &filter.input,
            LogicalPlan::Projection(projection) => side = &projection.input,
            LogicalPlan::TableScan(scan) => return is_as_of_now(scan.table_name.table()),
            _ => return false,
        }
    }
}

/// The columns of both; those of the table may be null when rows without a table row stay.
fn joined(input: &SchemaRef, table: &SchemaRef, outer: bool) -> SchemaRef {
    let own = input.fields().iter().map(|field| field.as_ref().clone());
    let outer = |field: &Field| field.clone().with_nullable(field.is_nullable() || outer);
    let fields: Vec<Field> = own.chain(table.fields().iter().map(|f| outer(f))).collect();
    Arc::new(Schema::new(fields))
}

impl Lowering<'_> {
    /// Lowers a join that [`is_lookup`].
    pub(super) fn lookup(&self, join: &Join) -> Result<Lowered, SqlError> {
        let outer = match (join.join_type, join.null_equality) {
            (JoinType::Inner, NullEquality::NullEqualsNothing) => false,
            (JoinType::Left, NullEquality::NullEqualsNothing) => true,
            _ => return Err(self.refused("only JOIN and LEFT JOIN look a row up", "JOIN")),
        };
        let input = self.node(&join.left)?;
        if !input.node.append_only() {
            let e = self.refused("its rows can change after they were looked up", "FOR");
            return Err(e.hint("look up the events of a stream, and aggregate the result"));
        }
        let side = self.table_side(&join.right)?;
        let (source, condition) = match side.node {
            ViewNode::Filter { input, predicate } => (*input, Some(predicate)),
            source => (source, None),
        };
        let ViewNode::Source { relation, columns, schema: table, .. } = source else {
            return Err(check::refused(&LogicalPlan::Join(join.clone()), self.query));
        };
        let incomplete = self.without_key(&relation)?;
        let Some(primary_key) = side.key else { return Err(incomplete) };
        let mut keys: Vec<Option<ExprRef>> = vec![None; primary_key.len()];
        let mut rest: Vec<Expr> = join.filter.iter().cloned().collect();
        for (left, right) in &join.on {
            let column = side.scope.position(right).map(|p| side.scope.columns[p]);
            let place = column.and_then(|c| primary_key.iter().position(|&k| k == c));
            match place {
                Some(place) if keys[place].is_none() => {
                    let key = input.scope.expr(left, self.planner).map_err(|e| self.fail(e))?;
                    keys[place] = Some(key);
                }
                _ => rest.push(left.clone().eq(right.clone())),
            }
        }
        let Some(keys) = keys.into_iter().collect::<Option<Vec<ExprRef>>>() else {
            return Err(incomplete);
        };
        if outer && !rest.is_empty() {
            let e = self.refused("a LEFT JOIN compares the primary key and nothing else", "ON");
            return Err(e.hint("put the condition on the table's columns into CASE or WHERE"));
        }
        let width = input.node.schema().fields().len();
        let positions: Vec<usize> = side.scope.columns.iter().map(|c| width + c).collect();
        let scope = input.scope.extended(join.schema.as_ref().clone(), &positions);
        let schema = joined(input.node.schema(), &table, outer);
        let mut node = ViewNode::Lookup {
            input: Box::new(input.node),
            relation,
            columns,
            table,
            primary_key,
            keys,
            condition,
            outer,
            schema,
        };
        if let Some(predicate) = conjunction(rest) {
            let predicate = scope.expr(&predicate, self.planner).map_err(|e| self.fail(e))?;
            node = ViewNode::Filter { input: Box::new(node), predicate };
        }
        Ok(Lowered { node, scope, key: input.key, windows: input.windows })
    }

    /// The table of a lookup, perhaps filtered.
    fn table_side(&self, plan: &LogicalPlan) -> Result<Lowered, SqlError> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => {
                let side = self.table_side(&alias.input)?;
                let scope = side.scope.renamed(&alias.schema);
                Ok(Lowered { scope, ..side })
            }
            LogicalPlan::Filter(filter) => {
                let side = self.table_side(&filter.input)?;
                let predicate =
                    side.scope.expr(&filter.predicate, self.planner).map_err(|e| self.fail(e))?;
                let node = ViewNode::Filter { input: Box::new(side.node), predicate };
                Ok(Lowered { node, ..side })
            }
            LogicalPlan::Projection(chosen) => {
                let side = self.table_side(&chosen.input)?;
                let positions = chosen.expr.iter().map(|e| side.scope.position(e));
                let Some(positions) = positions.collect::<Option<Vec<usize>>>() else {
                    return Err(check::refused(plan, self.query));
                };
                let scope = side.scope.chosen(&positions, &chosen.schema);
                Ok(Lowered { scope, ..side })
            }
            LogicalPlan::TableScan(scan) => {
                let mut scan = scan.clone();
                let name = scan.table_name.table().to_owned();
                scan.table_name = as_of_now(&name).unwrap_or(&name).into();
                self.source(&scan)
            }
            other => Err(check::refused(other, self.query)),
        }
    }

    /// The error of a lookup that does not compare the whole primary key of `relation`; that it has none
    /// is an error at once.
    fn without_key(&self, relation: &str) -> Result<SqlError, SqlError> {
        let declared = self.catalog.relation(relation);
        let Some(declared) = declared.filter(|relation| !relation.primary_key.is_empty()) else {
            let e = self.refused(&format!("\"{relation}\" has no primary key to go by"), "FOR");
            return Err(
                e.hint("look up a table; a view is joined in the query that reads this one")
            );
        };
        let name = |k: &usize| declared.schema.field(*k).name().as_str();
        let names: Vec<&str> = declared.primary_key.iter().map(name).collect();
        let why = format!("the primary key of \"{relation}\" is {}", names.join(", "));
        let e = self.refused(&why, "ON");
        Ok(e.hint("compare each of its columns with = to a value of the same type"))
    }

    /// Why a lookup cannot be kept.
    fn refused(&self, why: &str, word: &str) -> SqlError {
        let place = self.query.text.find_keyword(word, self.query.span);
        SqlError::unsupported("this lookup join cannot be kept in a view")
            .detail(why.to_owned())
            .at(place.unwrap_or(self.query.span))
    }
}
