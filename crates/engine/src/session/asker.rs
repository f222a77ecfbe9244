//! Who asks: what catalogs tell of a session, and what of them a query reads beside relations of ours.
//!
//! `SELECT * FROM orders WHERE buyer = current_user` is a query of the batch engine. The functions and
//! catalogs of PostgreSQL in it are asked of [`yeoul_reflect`] one by one.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::{
    DataFusionError, Result as DfResult, ScalarValue, TableReference, exec_err,
};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use yeoul_reflect::{Client, Failure, Question, Reflection, Refusal, reflect};
use yeoul_sql::{ErrorKind, SqlError};

use super::facts;
use super::show::Settings;
use crate::shared::Shared;

/// Functions that are called by their names alone.
const WORDS: [&str; 4] = ["current_user", "session_user", "current_role", "current_catalog"];

const TYPE_OF: &str = "pg_typeof";

/// The client of the wire, if there is one, and the settings that the engine keeps of it.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Option<Arc<dyn Client>>,
    pub(super) settings: Arc<Settings>,
}

impl Client for Asker {
    fn user(&self) -> String {
        self.client.as_ref().map_or_else(|| "yeoul".to_owned(), |client| client.user())
    }

    fn pid(&self) -> i32 {
        self.client.as_ref().map_or(0, |client| client.pid())
    }

    fn setting(&self, name: &str) -> Option<String> {
        let told = self.client.as_ref().and_then(|client| client.setting(name));
        told.or_else(|| self.settings.get(name))
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut all: BTreeMap<_, _> = self.settings.all().into_iter().collect();
        if let Some(client) = &self.client {
            for (name, value) in client.settings() {
                all.retain(|known, _| !known.eq_ignore_ascii_case(&name));
                all.insert(name, value);
            }
        }
        all.into_iter().collect()
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Refusal> {
        match &self.client {
            Some(client) if client.setting(name).is_some() => client.set(name, value),
            _ => Ok(self.settings.put(name, value)?),
        }
    }
}

impl Asker {
    /// A question that is only described: give it values to have it answered.
    pub(super) fn question(&self, sql: String, claims: Vec<Option<DataType>>) -> Question {
        Question {
            facts: facts::of(&self.shared),
            fixed: Arc::clone(self.shared.fixed_catalogs.get_or_init(Arc::default)),
            client: Arc::new(self.clone()),
            sql,
            claims,
            values: None,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// A catalog of PostgreSQL as it is now.
    pub(crate) fn table(&self, name: &TableReference) -> Option<Arc<dyn TableProvider>> {
        let schema = match name.schema() {
            None => "pg_catalog",
            Some(schema @ ("pg_catalog" | "information_schema")) => schema,
            Some(_) => return None,
        };
        let name = name.table().replace('"', "\"\"");
        let mut question = self.question(format!("SELECT * FROM {schema}.\"{name}\""), Vec::new());
        question.values = Some(Vec::new());
        let Reflection { schema, batch, .. } = reflect(&question).ok()?;
        Some(Arc::new(MemTable::try_new(schema, vec![batch.into_iter().collect()]).ok()?))
    }

    /// A function about catalogs or the session.
    pub(crate) fn function(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        // `user` may be a column, which must not be taken for who asks.
        let known = name == TYPE_OF || (name != "user" && yeoul_reflect::is_function(name));
        known.then(|| {
            let takes = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
            // A setting is changed when the query runs, not when it is explained.
            let volatility = match name {
                "set_config" => Volatility::Volatile,
                _ => Volatility::Stable,
            };
            let signature = Signature::one_of(takes, volatility);
            Arc::new(ScalarUDF::from(Asked {
                name: name.to_owned(),
                signature,
                asker: self.clone(),
            }))
        })
    }
}

/// A function that is asked of [`yeoul_reflect`].
struct Asked {
    name: String,
    signature: Signature,
    asker: Asker,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Asked {}

impl Hash for Asked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Asked {
    fn question(&self, types: Vec<DataType>) -> Question {
        let places: Vec<String> = (1..=types.len()).map(|number| format!("${number}")).collect();
        let sql = match places.as_slice() {
            [] if WORDS.contains(&self.name.as_str()) => format!("SELECT {}", self.name),
            places => format!("SELECT {}({})", self.name, places.join(", ")),
        };
        self.asker.question(sql, types.into_iter().map(Some).collect())
    }

    fn value(&self, values: &[ScalarValue]) -> DfResult<ScalarValue> {
        let mut question = self.question(values.iter().map(ScalarValue::data_type).collect());
        question.values = Some(values.to_vec());
        match reflect(&question).map_err(failed)?.batch {
            Some(batch) if batch.num_rows() == 1 => ScalarValue::try_from_array(batch.column(0), 0),
            _ => exec_err!("{} gave no value", self.name),
        }
    }
}

impl ScalarUDFImpl for Asked {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let described = reflect(&self.question(types.to_vec())).map_err(failed)?;
        Ok(described.schema.field(0).data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constants = args.args.iter().map(|arg| match arg {
            ColumnarValue::Scalar(value) => Some(value.clone()),
            // Of all values of a column it says the same.
            ColumnarValue::Array(array) if self.name == TYPE_OF => {
                ScalarValue::try_from(array.data_type()).ok()
            }
            ColumnarValue::Array(_) => None,
        });
        if let Some(values) = constants.collect::<Option<Vec<_>>>() {
            return Ok(ColumnarValue::Scalar(self.value(&values)?));
        }
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        // A question takes far longer than a look: each is asked once.
        let mut known: HashMap<Vec<ScalarValue>, ScalarValue> = HashMap::new();
        let mut answers = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let values = arrays.iter().map(|array| ScalarValue::try_from_array(array, row));
            let values = values.collect::<DfResult<Vec<_>>>()?;
            let answer = match known.get(&values) {
                Some(answer) => answer.clone(),
                None => {
                    let answer = self.value(&values)?;
                    known.insert(values, answer.clone());
                    answer
                }
            };
            answers.push(answer);
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(answers)?))
    }
}

fn failed(failure: Failure) -> DataFusionError {
    let kind = match failure.sqlstate {
        "42704" => ErrorKind::UndefinedObject,
        "42883" => ErrorKind::UndefinedFunction,
        "22P02" => ErrorKind::InvalidText,
        _ => ErrorKind::Execution,
    };
    DataFusionError::External(Box::new(SqlError::new(kind, failure.message)))
}
