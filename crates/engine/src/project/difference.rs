//! How the definition of a stream, table, view or function in a project differs from the one in the catalog.

use yeoul_sql::datatype::sql_name;
use yeoul_sql::{Column, CreateFunction, CreateSink, Statement, Watermark, WrittenOption, quoted};

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// For people.
    pub text: String,
    /// What stands behind `ALTER STREAM name` to make it so; `Err` says why nothing does.
    pub action: Result<Action, String>,
}

/// A change that `ALTER` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    /// What stands behind the name.
    pub sql: String,
    /// Values are lost.
    pub loses: bool,
}

fn change(text: String, sql: String) -> Difference {
    Difference { text, action: Ok(Action { sql, loses: false }) }
}

fn impossible(text: String, why: &str) -> Difference {
    Difference { text, action: Err(why.to_owned()) }
}

/// A stream or table.
struct Input<'a> {
    columns: &'a [Column],
    written: &'a [WrittenOption],
    watermark: Option<&'a Watermark>,
    primary_key: &'a [usize],
}

fn input(statement: &Statement) -> Option<Input<'_>> {
    match statement {
        Statement::CreateStream(stream) => Some(Input {
            columns: &stream.columns,
            written: &stream.written,
            watermark: stream.watermark.as_ref(),
            primary_key: &[],
        }),
        Statement::CreateTable(table) => Some(Input {
            columns: &table.columns,
            written: &table.written,
            watermark: None,
            primary_key: &table.primary_key,
        }),
        _ => None,
    }
}

/// What a definition makes.
pub(crate) fn kind(statement: &Statement) -> &'static str {
    match statement {
        Statement::CreateStream(_) => "stream",
        Statement::CreateTable(_) => "table",
        Statement::CreateFunction(_) => "function",
        Statement::CreateSink(_) => "sink",
        _ => "view",
    }
}

/// How `new` differs from `old`, of which the name is the same; nothing when they mean the same.
pub(crate) fn differences(old: &Statement, new: &Statement) -> Vec<Difference> {
    if let (Statement::CreateView(old), Statement::CreateView(new)) = (old, new) {
        let named = |columns: &[yeoul_sql::Name]| {
            columns.iter().map(|column| column.value.clone()).collect::<Vec<_>>()
        };
        if old.query.ast == new.query.ast && named(&old.columns) == named(&new.columns) {
            return Vec::new();
        }
        let lines = line_differences(old.query.sql(), new.query.sql());
        return vec![change(lines, String::new())];
    }
    if let (Statement::CreateFunction(old), Statement::CreateFunction(new)) = (old, new) {
        if old.function.says_the_same(&new.function) {
            return Vec::new();
        }
        let lines = line_differences(definition(old), definition(new));
        return vec![change(lines, String::new())];
    }
    if let (Statement::CreateSink(old), Statement::CreateSink(new)) = (old, new) {
        return sink_differences(old, new);
    }
    let (Some(was), Some(is)) = (input(old), input(new)) else {
        return vec![other_kind(old, new)];
    };
    if kind(old) != kind(new) {
        return vec![other_kind(old, new)];
    }
    let mut all = columns(&was, &is);
    let time = |input: &Input<'_>| {
        let watermark = input.watermark?;
        Some((input.columns[watermark.column].name.value.clone(), watermark.delay))
    };
    if time(&was) != time(&is) {
        let text = "the watermark".to_owned();
        all.push(impossible(text, "the event time and the watermark of a stream do not change"));
    }
    let key = |input: &Input<'_>| -> Vec<String> {
        input.primary_key.iter().map(|at| input.columns[*at].name.value.clone()).collect()
    };
    if key(&was) != key(&is) {
        all.push(impossible("the primary key".to_owned(), "a table is stored by its primary key"));
    }
    all.extend(options(was.written, is.written));
    all
}

fn sink_differences(old: &CreateSink, new: &CreateSink) -> Vec<Difference> {
    let mut all = Vec::new();
    if old.query.ast != new.query.ast {
        let lines = line_differences(old.query.sql(), new.query.sql());
        all.push(impossible(lines, "DROP SINK and CREATE SINK send everything anew"));
    }
    // Whether it is paused is decided while it runs.
    let paused = |written: &[WrittenOption]| written.iter().any(|option| option.name == "paused");
    let mut was = old.written.clone();
    was.retain(|option| option.name != "paused" || paused(&new.written));
    all.extend(options(&was, &new.written));
    all
}

/// What stands behind `CREATE FUNCTION`.
fn definition(create: &CreateFunction) -> &str {
    create.name.span.to(create.span).of(create.text.as_str())
}

fn other_kind(old: &Statement, new: &Statement) -> Difference {
    let text = format!("it is a {}, and a {} is wanted", kind(old), kind(new));
    impossible(text, "drop it by hand, or give the new one another name")
}

fn columns(was: &Input<'_>, is: &Input<'_>) -> Vec<Difference> {
    let mut all = Vec::new();
    let find = |columns: &[Column], name: &str| {
        columns.iter().find(|column| column.name.value == name).cloned()
    };
    for column in is.columns {
        let (name, wanted) = (quoted(&column.name.value), sql_name(&column.field));
        let Some(old) = find(was.columns, &column.name.value) else {
            let text = format!("+ {name} {wanted}");
            all.push(match column.field.is_nullable() {
                true => change(text, format!("ADD COLUMN {name} {wanted}")),
                false => impossible(
                    format!("{text} NOT NULL"),
                    "say what stored rows have in it: ALTER … ADD COLUMN … NOT NULL DEFAULT …",
                ),
            });
            continue;
        };
        let had = sql_name(&old.field);
        if had != wanted {
            let text = format!("{name} {had} → {wanted}");
            all.push(change(text, format!("ALTER COLUMN {name} TYPE {wanted}")));
        }
        if old.field.is_nullable() != column.field.is_nullable() {
            let text = format!("{name}: whether it may be NULL");
            all.push(impossible(text, "stored rows are not looked through"));
        }
    }
    for old in was.columns.iter().filter(|old| find(is.columns, &old.name.value).is_none()) {
        let name = quoted(&old.name.value);
        let action = Action { sql: format!("DROP COLUMN {name}"), loses: true };
        let text = format!("- {name} {}", sql_name(&old.field));
        all.push(Difference { text, action: Ok(action) });
    }
    all
}

fn options(was: &[WrittenOption], is: &[WrittenOption]) -> Vec<Difference> {
    let value = |options: &[WrittenOption], name: &str| {
        let option = options.iter().find(|option| option.name == name)?;
        Some(option.value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut all = Vec::new();
    for option in is {
        let (name, wanted) = (&option.name, &option.value);
        let had = value(was, name);
        if had != value(is, name) {
            let had = had.map(|had| format!("{had} → ")).unwrap_or_default();
            let text = format!("{name} = {had}{wanted}");
            all.push(change(text, format!("SET ({name} = {wanted})")));
        }
    }
    for option in was.iter().filter(|option| value(is, &option.name).is_none()) {
        let text = format!("{} = {} is not in the project", option.name, option.value);
        all.push(impossible(text, "write the value it shall have"));
    }
    all
}

/// The lines that went and came, each with a sign, in order.
fn line_differences(old: &str, new: &str) -> String {
    let trimmed = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
    let (old, new) = (trimmed(old), trimmed(new));
    // The longest common subsequence from every place on; queries are short.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i].trim() == new[j].trim() {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i].trim() == new[j].trim() {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("- {}", old[i].trim()));
            i += 1;
        } else {
            out.push(format!("+ {}", new[j].trim()));
            j += 1;
        }
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: &str, new: &str) -> Vec<String> {
        let one = |sql: &str| yeoul_sql::parse(sql).expect(sql).remove(0).node;
        let say = |difference: Difference| match difference.action {
            Ok(action) => format!("{} | {} {}", difference.text, action.sql, action.loses),
            Err(why) => format!("{} ! {why}", difference.text),
        };
        differences(&one(old), &one(new)).into_iter().map(say).collect()
    }

    #[test]
    fn what_differs_is_said_with_what_mends_it() {
        let old = "CREATE STREAM s (a INT, b VARCHAR, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) \
                   WITH (retention = '30 days', unique_key = 'a')";
        let same = "create stream S (\"a\" integer, b varchar, ts timestamptz, watermark for ts as ts) -- x\n\
                    with (unique_key = 'a', retention  =  '30 days')";
        assert_eq!(told(old, same), [] as [&str; 0]);
        let new = "CREATE STREAM s (a BIGINT, c UUID, d INT NOT NULL, ts TIMESTAMPTZ, \
                   WATERMARK FOR ts AS ts - INTERVAL '1 second') WITH (retention = '90 days')";
        assert_eq!(
            told(old, new),
            [
                "a integer → bigint | ALTER COLUMN a TYPE bigint false",
                "+ c uuid | ADD COLUMN c uuid false",
                "+ d integer NOT NULL ! say what stored rows have in it: ALTER … ADD COLUMN … NOT NULL DEFAULT …",
                "- b varchar | DROP COLUMN b true",
                "the watermark ! the event time and the watermark of a stream do not change",
                "retention = '30 days' → '90 days' | SET (retention = '90 days') false",
                "unique_key = 'a' is not in the project ! write the value it shall have",
            ]
        );
        assert_eq!(
            told(old, "CREATE TABLE s (a INT PRIMARY KEY)"),
            [
                "it is a stream, and a table is wanted ! drop it by hand, or give the new one another name"
            ]
        );
        let view = "CREATE MATERIALIZED VIEW v AS SELECT a,\n  count(*) AS n\nFROM s\nGROUP BY a";
        assert_eq!(told(view, &view.to_lowercase().replace('\n', " ")), [] as [&str; 0]);
        let function = "CREATE FUNCTION f(a INT) RETURNS INT LANGUAGE SQL AS 'SELECT a + 1'";
        let same =
            "CREATE OR REPLACE FUNCTION F(a integer)\n returns int\nimmutable RETURN a+1 -- x";
        assert_eq!(told(function, same), [] as [&str; 0]);
        assert_eq!(
            told(function, "CREATE FUNCTION f(a INT) RETURNS INT STRICT RETURN a + 2"),
            ["- f(a INT) RETURNS INT LANGUAGE SQL AS 'SELECT a + 1'\n\
                 + f(a INT) RETURNS INT STRICT RETURN a + 2 |  false"]
        );
        let other = view.replace("\nGROUP", "\n  WHERE a > 1\nGROUP").replace("AS n", "AS m");
        assert_eq!(
            told(view, &other),
            ["- count(*) AS n\n+ count(*) AS m\n+ WHERE a > 1 |  false"]
        );
    }
}
