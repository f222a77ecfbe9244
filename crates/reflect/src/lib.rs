//! Queries about the catalogs of PostgreSQL, as psql, drivers, DBeaver and Grafana ask them.
//!
//! ```text
//!   SQL ▶ sqlparser ▶ compile (names, types, order of joins) ▶ nested loops over tables in memory ▶ Arrow
//!                        │                                       │
//!                      scopes                    catalogs of this commit; those that never change
//! ```
//!
//! They are answered by an interpreter of their own and not by the batch engine, because what they are written
//! in is not what that engine has: queries inside of select lists that ask for columns around them,
//! `ARRAY(query)`, functions that give rows, object numbers that are names, literals that
//! become what they are compared with, arrays from 0. The tables are small (some thousand rows), so nothing
//! here is clever but the lookups by an equal column.
//!
//! What must hold: object numbers mean the same in every query of every session for as long as
//! the object is there; every column of a catalog that PostgreSQL 16 has is there with its type; a
//! query that cannot be answered is refused, never answered with less.
//!
//! Limits: the constants of `run` and `execute`.
//!
//! Not here: queries that read streams, tables or views of ours, also when they ask for `current_user` too. Those
//! are the batch engine's ([`Failure::elsewhere`]), which asks here for each function and catalog in them.

mod call;
mod cast;
mod catalog;
mod compare;
mod compile;
mod execute;
mod fixed;
mod from;
mod function;
mod group;
mod information;
mod kind;
mod node;
mod object;
mod output;
mod query;
mod rows;
mod run;
mod scope;
mod table;
mod value;
mod views;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::parser::Parser;

use catalog::Catalog;
pub use catalog::{Facts, Shown, ShownFunction};
use compile::Compiler;
pub use fixed::Fixed;
use kind::Kind;
use run::Run;
use value::Value;

/// Who asks, as far as catalogs tell of it.
pub trait Client: Send + Sync {
    /// The name of the user.
    fn user(&self) -> String;

    /// The number of the session.
    fn pid(&self) -> i32;

    /// The value of a setting.
    fn setting(&self, name: &str) -> Option<String>;

    /// Every setting with its value.
    fn settings(&self) -> Vec<(String, String)>;

    /// Changes a setting, as `set_config` does.
    ///
    /// # Errors
    /// When the setting cannot have the value.
    fn set(&self, name: &str, value: &str) -> Result<(), Refusal>;
}

/// Why a client refuses a setting; it is handed through.
pub type Refusal = Box<dyn Error + Send + Sync>;

/// Why a query was not answered.
#[derive(Debug)]
pub struct Failure {
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// What is wrong.
    pub message: String,
    /// Whether the batch engine may know what is not known here.
    pub elsewhere: bool,
    /// Where a client refused a setting: its error.
    pub refusal: Option<Refusal>,
}

impl Failure {
    fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), elsewhere: false, refusal: None }
    }

    /// What is not known here: a relation, a function, a type, syntax. The batch engine may know it.
    fn unknown(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { elsewhere: true, ..Self::new(sqlstate, message) }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        Self { refusal: Some(refusal), ..Self::new("22023", message) }
    }
}

/// What a query asks for and, when it was run, its rows.
#[derive(Debug)]
pub struct Reflection {
    /// The columns of the answer.
    pub schema: SchemaRef,
    /// The types of the parameters.
    pub parameters: Vec<DataType>,
    /// The rows, when there were values for the parameters.
    pub batch: Option<RecordBatch>,
}

/// What is asked, of what, by whom.
pub struct Question {
    /// What there is.
    pub facts: Facts,
    /// What never changes; keep it from one question to the next.
    pub fixed: Arc<Fixed>,
    /// Who asks.
    pub client: Arc<dyn Client>,
    /// The query.
    pub sql: String,
    /// The types that the client claims for its parameters.
    pub claims: Vec<Option<DataType>>,
    /// The values of the parameters; without them the query is only described.
    pub values: Option<Vec<ScalarValue>>,
    /// Set when nobody waits for the answer any more.
    pub stop: Arc<AtomicBool>,
}

/// Whether a function of this name asks about catalogs or the session.
#[must_use]
pub fn is_function(name: &str) -> bool {
    object::is_function(name)
}

/// Answers a question.
///
/// # Errors
/// When the query is wrong, or asks for what is not here ([`Failure::elsewhere`]).
pub fn reflect(question: &Question) -> Result<Reflection, Failure> {
    let catalog = Catalog::new(question);
    let statements = Parser::parse_sql(&yeoul_sql::OurDialect, &question.sql);
    let statements = statements.map_err(|error| Failure::unknown("42601", error.to_string()))?;
    let [Statement::Query(query)] = statements.as_slice() else {
        return Err(Failure::unknown("42601", "it is not one query"));
    };
    let values = question.values.as_deref().unwrap_or_default();
    let parameters: Vec<Value> = values.iter().map(output::parameter).collect();
    let run = Run::new(&catalog, question.client.as_ref(), &parameters, &question.stop);
    let typed = values.iter().map(|value| Some(value.data_type()));
    let claims: Vec<Option<DataType>> =
        if values.is_empty() { question.claims.clone() } else { typed.collect() };
    let known = claims.iter().map(|claim| claim.as_ref().map(output::kind)).collect();
    let compiler = Compiler {
        run: &run,
        parameters: RefCell::new(known),
        lowest: Cell::new(usize::MAX),
        workings: Cell::new(0),
    };
    let plan = compiler.query(query, None)?;
    let schema = output::schema(&plan.columns);
    let told = compiler.parameters.take().into_iter();
    let parameters = told.map(|kind| output::wanted(kind.unwrap_or(Kind::TEXT))).collect();
    let batch = match &question.values {
        None => None,
        Some(_) => Some(output::batch(&run, &*run.rows(&plan, None)?, &schema)?),
    };
    Ok(Reflection { schema, parameters, batch })
}
