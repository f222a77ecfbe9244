//! The `\commands`, those of psql that one misses first.

use super::{Next, Printer, Shell};
use crate::failure::Failure;
use crate::say::say;

const HELP: &str = "\
  \\d          the streams, tables and views there are
  \\d NAME     the columns of one; what the engine says of itself is in yeoul.sources, yeoul.views, …
  \\timing     how long each statement took, on or off
  \\q          leave (so does Ctrl-D)
  \\?          this list
A statement ends with a semicolon. Ctrl-C cancels the running one. Tab completes.";

const RELATIONS: &str = "SELECT name, 'stream' AS kind FROM yeoul.streams \
    UNION ALL SELECT name, 'table' FROM yeoul.tables \
    UNION ALL SELECT name, 'view' FROM yeoul.views ORDER BY name";

impl Shell {
    pub(super) async fn run_meta(&mut self, line: &str) -> Result<Next, Failure> {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let argument = words.next();
        match (command, argument) {
            ("q" | "quit", _) => return Ok(Next::Quit),
            ("?" | "h" | "help", _) => say!("{HELP}"),
            ("timing", wish) => {
                self.timing = wish.map_or(!self.timing, |wish| wish == "on");
                say!("timing is {}", if self.timing { "on" } else { "off" });
            }
            ("d", None) => self.print(RELATIONS).await?,
            ("d", Some(name)) => self.print(&columns_of(name)).await?,
            _ => {
                return Err(Failure::new(format!(
                    "there is no command \"\\{command}\"\nhint: \\? lists them"
                )));
            }
        }
        Ok(Next::Continue)
    }

    async fn print(&mut self, sql: &str) -> Result<(), Failure> {
        let mut printer = Printer::to_stdout(self.format);
        let outcome = self.backend.run(sql, &mut printer).await;
        printer.flush()?;
        outcome
    }

    /// Relations, with their schema where it is not `public`, and the columns of all of them.
    pub(super) async fn names(&mut self) -> Vec<String> {
        let sql = "SELECT table_schema, table_name, column_name FROM information_schema.columns";
        let Ok(rows) = self.backend.ask(sql).await else { return Vec::new() };
        let mut names: Vec<String> = rows
            .into_iter()
            .filter_map(|row| <[String; 3]>::try_from(row).ok())
            .filter(|[schema, ..]| schema != "information_schema" && schema != "pg_catalog")
            .flat_map(|[schema, table, column]| match schema.as_str() {
                "public" => vec![table, column],
                _ => vec![format!("{schema}.{table}"), column],
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn columns_of(name: &str) -> String {
    let (schema, table) = name.split_once('.').unwrap_or(("public", name));
    let quote = |text: &str| text.replace('\'', "''");
    format!(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns \
         WHERE table_schema = '{}' AND table_name = '{}' ORDER BY ordinal_position",
        quote(schema),
        quote(table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert!(columns_of("it's").contains("table_name = 'it''s'"));
        assert!(columns_of("yeoul.streams").contains("table_schema = 'yeoul'"));
    }
}
