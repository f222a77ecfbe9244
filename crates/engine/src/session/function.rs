//! Functions that people write: `CREATE FUNCTION`, `DROP FUNCTION`, `SHOW FUNCTIONS`.

use yeoul_sql::{CreateFunction, DropFunction, Spanned, SqlFunction, Statement};

use super::{Answer, Session};
use crate::catalog::Catalog;
use crate::commit::Job;
use crate::error::EngineError;

/// The columns of `SHOW FUNCTIONS` and `yeoul.functions`.
pub(crate) const COLUMNS: [&str; 4] = ["name", "arguments", "returns", "definition"];

/// Their rows, column by column.
pub(crate) fn listed(catalog: &Catalog) -> Vec<Vec<String>> {
    let mut columns = vec![Vec::new(); COLUMNS.len()];
    for function in catalog.functions().all() {
        let meaning = &function.function;
        let row = [
            meaning.name.clone(),
            meaning.signature(),
            SqlFunction::type_name(&meaning.returns),
            function.sql.clone(),
        ];
        columns.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    columns
}

impl Session {
    pub(super) async fn create_function(
        &self,
        create: &CreateFunction,
        statement: &Spanned<Statement>,
    ) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        let job = |reply| Job::CreateFunction {
            create: Box::new(create.clone()),
            sql: statement.sql().to_owned(),
            reply,
        };
        let commit = self.shared.ask_async(job).await?;
        Ok(Answer::Done { tag: "CREATE FUNCTION".to_owned(), commit })
    }

    pub(super) async fn drop_function(&self, drop: &DropFunction) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        let commit =
            self.shared.ask_async(|reply| Job::DropFunction { drop: drop.clone(), reply }).await?;
        Ok(Answer::Done { tag: "DROP FUNCTION".to_owned(), commit })
    }
}
