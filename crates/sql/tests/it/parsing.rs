//! Text to statements.

use yeoul_sql::{
    AlterAction, Connector, DecodeOptions, Format, ObjectKind, OnError, PartitionUnit, Show,
    Statement, Surroundings, TimestampUnit, Transaction, datatype,
};

use crate::files::{CONNECTORS, parse};

fn one(sql: &str) -> Statement {
    let mut all = parse(sql).unwrap_or_else(|e| panic!("{}", e.render("test", sql)));
    assert_eq!(all.len(), 1, "{sql}");
    all.remove(0).node
}

#[test]
fn a_stream_with_everything() {
    let sql = "CREATE STREAM events (
        event_id VARCHAR NOT NULL, ts TIMESTAMPTZ, \"User\" VARCHAR(20), product_id BIGINT,
        price DOUBLE PRECISION, amount NUMERIC(10,2), total NUMERIC, attrs JSONB, visit UUID,
        tags VARCHAR[], d DATE, t TIME, i INTERVAL, b BYTEA, s SMALLINT, n INT, ok BOOLEAN, r REAL,
        WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
    ) WITH (
        connector = 'file', path = '${DIR}/*.csv.gz', format = 'csv', columns = 'a, \"B\",c',
        speed = '60x', follow = 'true', mapping = 'price = cost',
        unique_key = 'event_id', unique_within = '1 hour', order_by = 'product_id, ts',
        partition_by = 'hour(ts)', retention = '90 days', lateness = '1 hour', on_error = 'fail'
    )";
    let statements = parse(sql).unwrap();
    let Statement::CreateStream(s) = &statements[0].node else { panic!("a stream") };
    assert_eq!(statements[0].sql(), sql);
    let kinds: Vec<String> = s.columns.iter().map(|c| datatype::sql_name(&c.field)).collect();
    assert_eq!(
        kinds.join(" "),
        "varchar timestamptz varchar(20) bigint double precision numeric(10,2) numeric(38,9) \
         jsonb uuid varchar[] date time interval bytea smallint integer boolean real"
    );
    assert_eq!(s.columns[2].name.value, "User");
    assert!(!s.columns[0].field.is_nullable() && s.columns[1].field.is_nullable());
    let watermark = s.watermark.as_ref().unwrap();
    assert_eq!((watermark.column, watermark.delay.0), (1, 5_000_000));
    let o = &s.options;
    assert_eq!((o.unique_key.as_slice(), o.order_by.as_slice()), (&[0][..], &[3, 1][..]));
    assert_eq!(o.unique_within.unwrap().0, 3_600_000_000);
    let partition = o.partition_by.unwrap();
    assert_eq!((partition.unit, partition.column), (PartitionUnit::Hour, 1));
    assert_eq!(o.on_error, OnError::Fail);
    let (name, given) = (o.connector.name.as_str(), &o.connector.options);
    assert_eq!((name, given.text("path")), ("file", Some("/data/*.csv.gz")));
    assert_eq!((given.text("speed"), given.bool("follow")), (Some("60x"), Some(true)));
    assert_eq!(
        (given.bool("path"), given.text("compression"), given.duration("follow")),
        (None, None, None)
    );
    assert!(o.connector.is_fetched());
    assert_eq!(o.decode.format, Some(Format::Csv));
    assert_eq!(o.decode.columns.as_deref().unwrap(), ["a", "B", "c"]);
    let mapping: Vec<_> = o.decode.mapping.iter().map(|(c, p)| (c.as_str(), p.name())).collect();
    assert_eq!(mapping, [("price", "cost")]);
    assert_eq!(o.future_skew.unwrap().0, 86_400_000_000);
}

#[test]
fn how_events_are_written() {
    let decode = |columns: &str, options: &str| match one(&format!(
        "CREATE STREAM s ({columns}) WITH ({options})"
    )) {
        Statement::CreateStream(s) => s.options.decode,
        _ => panic!("a stream"),
    };
    let d = decode(
        "product_id BIGINT, ts TIMESTAMPTZ, \"X\" INT",
        "mapping = 'product_id: item.id, ts = timestamp, \"X\": \"a,b.c\".d', timestamp_unit = 'ms', \
         null = 'NA, ', quote = 'none', delimiter = '\\t', header = false, row_bytes_max = '4 KiB'",
    );
    let mapping: Vec<_> =
        d.mapping.iter().map(|(c, p)| format!("{c} {}", p.keys().join("|"))).collect();
    assert_eq!(mapping, ["product_id item|id", "ts timestamp", "X a,b.c|d"]);
    assert_eq!((d.format, d.timestamp_unit), (None, TimestampUnit::Millis));
    assert_eq!(d.nulls.as_deref().unwrap(), ["NA", ""]);
    assert_eq!((d.quote, d.delimiter, d.header), (Some(None), Some(b'\t'), Some(false)));
    assert_eq!(d.row_bytes_max, 4096);
    assert_eq!(decode("a INT", "on_error = fail"), DecodeOptions::default());
    for (path, format) in [
        ("x/*.csv.gz", Some(Format::Csv)),
        ("x/*.tsv", Some(Format::Tsv)),
        ("x/*.parquet", Some(Format::Parquet)),
        ("x/*", None),
    ] {
        let options = format!("connector = 'file', path = '{path}'");
        assert_eq!(decode("a INT", &options).format, format, "{path}");
    }
    let Statement::CreateTable(t) = one("CREATE TABLE t (a INT PRIMARY KEY) WITH (format = csv)")
    else {
        panic!("a table")
    };
    assert_eq!(t.decode.format, Some(Format::Csv));
}

#[test]
fn a_request_says_how_its_own_events_are_written() {
    let stream = DecodeOptions {
        delimiter: Some(b';'),
        nulls: Some(vec!["NA".to_owned()]),
        ..DecodeOptions::new(Format::Csv)
    };
    let given = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        yeoul_sql::options::with_request(&stream, &pairs)
    };
    let tsv = given(&[("format", "tsv"), ("header", "false")]).unwrap();
    assert_eq!((tsv.format, tsv.delimiter, tsv.header), (Some(Format::Tsv), None, Some(false)));
    assert_eq!(tsv.nulls, stream.nulls);
    let error = given(&[("heade", "false")]).unwrap_err();
    assert_eq!(error.message, "parameter \"heade\" does not exist");
    assert_eq!(error.hint.unwrap(), "did you mean \"header\"?");
    assert!(given(&[("mapping", "a: b")]).unwrap_err().hint.unwrap().contains("of the stream"));
    assert!(given(&[("delimiter", "\"")]).unwrap_err().message.contains("both"));
    assert!(given(&[("format", "parquet")]).is_err() && given(&[("header", "maybe")]).is_err());
}

#[test]
fn defaults_of_a_stream() {
    let Statement::CreateStream(s) = one(
        "create table if not exists public.e (ts timestamp, watermark for ts as ts) append only",
    ) else {
        panic!("a stream")
    };
    assert!(s.if_not_exists && s.name.value == "e");
    assert_eq!(s.options.partition_by.unwrap().unit, PartitionUnit::Day);
    assert_eq!(s.options.order_by, [0]);
    assert_eq!(s.options.connector, Connector::http());
    let Statement::CreateStream(s) = one("CREATE STREAM plain (a INT)") else { panic!("a stream") };
    assert!(s.watermark.is_none() && s.options.partition_by.is_none());
}

#[test]
fn tables_and_their_keys() {
    for sql in [
        "CREATE TABLE t (a INT PRIMARY KEY, b TEXT)",
        "CREATE TABLE t (b TEXT, a INT, PRIMARY KEY (a))",
        "CREATE TABLE t (b TEXT, a INT, CONSTRAINT pk PRIMARY KEY (a, b))",
    ] {
        let Statement::CreateTable(t) = one(sql) else { panic!("a table") };
        let names: Vec<&str> =
            t.primary_key.iter().map(|i| t.columns[*i].name.value.as_str()).collect();
        assert_eq!(names[0], "a", "{sql}");
        assert!(t.primary_key.iter().all(|i| !t.columns[*i].field.is_nullable()), "{sql}");
    }
}

#[test]
fn several_statements_and_their_text() {
    let sql = "-- first\nSELECT ';' AS a; ; CREATE MATERIALIZED VIEW IF NOT EXISTS \"V\" (x) AS\n SELECT a FROM t -- end\n;";
    let all = parse(sql).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].sql(), "SELECT ';' AS a");
    let Statement::CreateView(v) = &all[1].node else { panic!("a view") };
    assert_eq!((v.name.value.as_str(), v.query.sql()), ("V", "SELECT a FROM t"));
    assert_eq!(v.columns[0].value, "x");
    assert!(parse("  -- nothing\n").unwrap().is_empty());
}

fn check(sql: &str, ok: &dyn Fn(&Statement) -> bool) {
    let statement = one(sql);
    assert!(ok(&statement), "{sql}: {statement:?}");
}

#[test]
fn showing_dropping_and_explaining() {
    check("SHOW STREAMS", &|s| matches!(s, Statement::Show(Show::Streams)));
    check("show materialized views", &|s| matches!(s, Statement::Show(Show::Views)));
    check("SHOW ALL", &|s| matches!(s, Statement::Show(Show::AllSettings)));
    check(
        "SHOW server_version",
        &|s| matches!(s, Statement::Show(Show::Setting(n)) if n.value == "server_version"),
    );
    check(
        "SHOW TIME ZONE",
        &|s| matches!(s, Statement::Show(Show::Setting(n)) if n.value == "timezone"),
    );
    check(
        "SHOW TRANSACTION ISOLATION LEVEL",
        &|s| matches!(s, Statement::Show(Show::Setting(n)) if n.value == "transaction_isolation"),
    );
    check(
        "SHOW CREATE MATERIALIZED VIEW v",
        &|s| matches!(s, Statement::Show(Show::Create(n)) if n.value == "v"),
    );
    check("DESCRIBE Orders", &|s| matches!(s, Statement::Describe(n) if n.value == "orders"));
    check(
        "DROP MATERIALIZED VIEW IF EXISTS a, b CASCADE",
        &|s| matches!(s, Statement::Drop(d) if d.kind == ObjectKind::View && d.cascade && d.if_exists && d.names.len() == 2),
    );
    check(
        "EXPLAIN (ANALYZE, FORMAT TEXT) SELECT 1",
        &|s| matches!(s, Statement::Explain(e) if e.analyze && !e.verbose),
    );
    check(
        "EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT 1",
        &|s| matches!(s, Statement::Explain(e) if matches!(e.target, yeoul_sql::ExplainTarget::View(_))),
    );
}

#[test]
fn changing_copying_and_setting() {
    check(
        "INSERT INTO t (a, b) VALUES (1, 2), (3, 4)",
        &|s| matches!(s, Statement::Insert(i) if i.columns.len() == 2 && !i.keep_existing),
    );
    check(
        "INSERT INTO t SELECT * FROM u ON CONFLICT DO NOTHING",
        &|s| matches!(s, Statement::Insert(i) if i.keep_existing),
    );
    check(
        "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = EXCLUDED.a",
        &|s| matches!(s, Statement::Insert(i) if !i.keep_existing),
    );
    check(
        "UPDATE t AS x SET a = 1, b = b + 1 WHERE x.c = 2",
        &|s| matches!(s, Statement::Update(u) if u.assignments.len() == 2 && u.alias.is_some()),
    );
    check("DELETE FROM t", &|s| matches!(s, Statement::Delete(d) if d.selection.is_none()));
    check(
        "COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER true, DELIMITER ';')",
        &|s| matches!(s, Statement::CopyFrom(c) if c.format.csv && c.format.header && c.format.delimiter == b';'),
    );
    check(
        "COPY t FROM STDIN CSV HEADER",
        &|s| matches!(s, Statement::CopyFrom(c) if c.format.csv && c.format.header),
    );
    check(
        "COPY t FROM STDIN",
        &|s| matches!(s, Statement::CopyFrom(c) if !c.format.csv && c.format.null == "\\N"),
    );
    check(
        "COPY (SELECT 1) TO STDOUT (FORMAT csv)",
        &|s| matches!(s, Statement::CopyTo(c) if c.format.csv),
    );
    check(
        "SET extra_float_digits = 3",
        &|s| matches!(s, Statement::Set(v) if v.value.as_deref() == Some("3")),
    );
    check(
        "SET SESSION search_path TO a, 'b'",
        &|s| matches!(s, Statement::Set(v) if v.value.as_deref() == Some("a, b")),
    );
    check(
        "SET TIME ZONE 'UTC'",
        &|s| matches!(s, Statement::Set(v) if v.name.as_ref().unwrap().value == "timezone"),
    );
    check("RESET ALL", &|s| matches!(s, Statement::Set(v) if v.name.is_none()));
    check("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &|s| {
        matches!(s, Statement::Transaction(Transaction::Begin))
    });
    check("ABORT", &|s| matches!(s, Statement::Transaction(Transaction::Rollback)));
    check("DEALLOCATE PREPARE ALL", &|s| matches!(s, Statement::Deallocate(None)));
    check("DISCARD ALL", &|s| matches!(s, Statement::Discard(_)));
    for query in
        ["TABLE t", "VALUES (1, 'a')", "WITH a AS (SELECT 1) SELECT * FROM a", "(SELECT 1)"]
    {
        check(query, &|s| matches!(s, Statement::Query(_)));
    }
}

#[test]
fn broken_text_never_panics() {
    let sql = "CREATE STREAM s (a INT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts - INTERVAL '5 s') \
               WITH (unique_key = 'a', retention = '1 day'); SELECT é, 'ü' FROM TUMBLE(s, ts, \
               INTERVAL '1' MINUTE) WHERE a IN (1, 2); COPY s FROM STDIN (FORMAT csv)";
    for (i, _) in sql.char_indices() {
        for text in [&sql[..i], &sql[i..]] {
            if let Err(e) = parse(text) {
                let _ = e.render("test", text);
                let _ = e.position(text);
            }
        }
    }
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(parse(&deep).is_err());
}

#[test]
fn what_was_accepted_before_is_read_whatever_limits_came_since() {
    let deep = format!("CREATE MATERIALIZED VIEW v AS SELECT a{} AS n FROM t", " + 1".repeat(300));
    let long = format!("CREATE STREAM {} (a INT)", "x".repeat(300));
    for sql in ["CREATE STREAM \"\" (a INT)", &deep, &long] {
        assert!(parse(sql).is_err());
        let alone = Surroundings { secrets: &|_| None, connectors: &[] };
        yeoul_sql::parse_stored(sql, alone).expect("is read");
    }
}

#[test]
fn views_are_replaced_and_their_replacement_given_up() {
    let Statement::CreateView(view) = one("create or replace materialized view v as select 1 as a")
    else {
        panic!("a view")
    };
    assert!(view.or_replace && !view.if_not_exists);
    let Statement::CreateView(view) = one("CREATE MATERIALIZED VIEW v AS SELECT 1 AS a") else {
        panic!("a view")
    };
    assert!(!view.or_replace);
    let several = "CREATE OR REPLACE MATERIALIZED VIEWS $v$\n create or replace materialized view a as select '$$;' as x;\n\
                   CREATE OR REPLACE MATERIALIZED VIEW b AS SELECT 2 AS y;\n\
                   CREATE OR REPLACE FUNCTION f() RETURNS INT RETURN 1\n$v$";
    let Statement::ReplaceViews(views) = one(several) else { panic!("several views") };
    let texts: Vec<&str> = views.iter().map(|view| view.sql()).collect();
    assert_eq!(
        texts,
        [
            "create or replace materialized view a as select '$$;' as x",
            "CREATE OR REPLACE MATERIALIZED VIEW b AS SELECT 2 AS y",
            "CREATE OR REPLACE FUNCTION f() RETURNS INT RETURN 1"
        ]
    );
    for (sql, if_exists) in [
        ("ALTER MATERIALIZED VIEW IF EXISTS \"V\" CANCEL REPLACE", true),
        ("ALTER VIEW \"V\" CANCEL REPLACE", false),
    ] {
        let Statement::Alter(alter) = one(sql) else { panic!("an alter") };
        assert_eq!((alter.name.value.as_str(), alter.if_exists), ("V", if_exists));
        assert_eq!(alter.kind, ObjectKind::View);
        assert!(matches!(alter.action, AlterAction::CancelReplace));
    }
}

#[test]
fn streams_and_tables_are_altered() {
    let action = |sql: &str| {
        let Statement::Alter(alter) = one(sql) else { panic!("an alter") };
        format!("{:?} {} {}", alter.kind, alter.name.value, shown(&alter.action))
    };
    fn shown(action: &AlterAction) -> String {
        match action {
            AlterAction::AddColumn { column, default, if_not_exists } => format!(
                "add {} {} {} {default:?} {if_not_exists}",
                column.name.value,
                datatype::sql_name(&column.field),
                column.field.is_nullable()
            ),
            AlterAction::DropColumn { name, if_exists } => {
                format!("drop {} {if_exists}", name.value)
            }
            AlterAction::RenameColumn { from, to } => format!("{} to {}", from.value, to.value),
            AlterAction::ColumnType { name, field } => {
                format!("{} is {}", name.value, datatype::sql_name(field))
            }
            AlterAction::Set(given) => {
                let all = given.iter().map(|o| format!("{}={}", o.name, o.value));
                all.collect::<Vec<_>>().join(" ")
            }
            AlterAction::Rename(to) => format!("now {}", to.value),
            AlterAction::Rewind(after) => format!("rewind {after}"),
            AlterAction::CancelReplace => "cancel".to_owned(),
        }
    }
    for (sql, meant) in [
        ("ALTER STREAM s ADD COLUMN a INT", "Stream s add a integer true None false"),
        (
            "ALTER TABLE t ADD IF NOT EXISTS \"A b\" NUMERIC(5,2) NOT NULL DEFAULT -1.5",
            "Table t add A b numeric(5,2) false Some(\"-1.5\") true",
        ),
        (
            "ALTER TABLE t ADD a DATE DEFAULT DATE '2026-01-01'",
            "Table t add a date true Some(\"2026-01-01\") false",
        ),
        ("ALTER TABLE t ADD a VARCHAR DEFAULT NULL", "Table t add a varchar true None false"),
        ("ALTER STREAM s DROP COLUMN IF EXISTS a", "Stream s drop a true"),
        ("ALTER STREAM s DROP a RESTRICT", "Stream s drop a false"),
        ("ALTER STREAM s RENAME COLUMN a TO B", "Stream s a to b"),
        ("ALTER STREAM s RENAME TO r", "Stream s now r"),
        ("ALTER VIEW v RENAME TO w", "View v now w"),
        ("ALTER STREAM s ALTER COLUMN a SET DATA TYPE BIGINT", "Stream s a is bigint"),
        (
            "ALTER STREAM s SET (retention = '90 days', path = '${DIR}/x', header = true)",
            "Stream s retention='90 days' path='${DIR}/x' header=true",
        ),
    ] {
        let statements = parse(sql).expect(sql);
        assert_eq!(statements.len(), 1);
        let found = match &statements[0].node {
            Statement::Alter(_) if sql.contains('$') => {
                let Statement::Alter(alter) = &statements[0].node else { panic!("an alter") };
                format!("{:?} {} {}", alter.kind, alter.name.value, shown(&alter.action))
            }
            _ => action(sql),
        };
        assert_eq!(found, meant, "{sql}");
    }
}

/// What an altered definition says means what the definition and the change said.
#[test]
fn definitions_are_written_as_they_are_after_a_change() {
    let create = "CREATE STREAM s (\"Id\" BIGINT NOT NULL, ts TIMESTAMPTZ, a VARCHAR(9), j JSONB, \
                  WATERMARK FOR ts AS ts - INTERVAL '1500 milliseconds') WITH (connector = 'file', \
                  path = '${DIR}/*.csv', unique_key = '\"Id\"', order_by = 'a, ts', partition_by = 'hour(ts)', \
                  mapping = 'a: x, ts: \"T s\"')";
    let mut sql = create.to_owned();
    let mut history = yeoul_sql::ColumnHistory::default();
    for alter in [
        "ALTER STREAM s RENAME COLUMN ts TO \"When\"",
        "ALTER STREAM s RENAME COLUMN \"Id\" TO id",
        "ALTER STREAM s RENAME COLUMN a TO b",
        "ALTER STREAM s ADD COLUMN tags VARCHAR[]",
        "ALTER STREAM s DROP COLUMN j",
        "ALTER STREAM s SET (future_skew = 'unlimited')",
        "ALTER STREAM s RENAME TO \"S\"",
    ] {
        let before = parse(&sql).expect("parses").remove(0).node;
        let Statement::Alter(change) = one(alter) else { panic!("an alter") };
        let altered = yeoul_sql::altered(&before, &history, &change.action, CONNECTORS);
        let altered = altered.expect(alter).expect("changes something");
        (sql, history) = (altered.sql, altered.history);
    }
    assert_eq!(
        sql,
        "CREATE STREAM \"S\" (\n  id bigint NOT NULL,\n  \"When\" timestamptz,\n  b varchar(9),\n  tags varchar[],\n  \
         WATERMARK FOR \"When\" AS \"When\" - INTERVAL '1500 milliseconds'\n) WITH (\n  connector = 'file',\n  \
         path = '${DIR}/*.csv',\n  unique_key = 'id',\n  order_by = 'b, \"When\"',\n  partition_by = 'hour(\"When\")',\n  \
         mapping = 'b: x, \"When\": \"T s\"',\n  future_skew = 'unlimited'\n)"
    );
    let Statement::CreateStream(stream) = parse(&sql).expect("parses").remove(0).node else {
        panic!("a stream")
    };
    let watermark = stream.watermark.expect("has one");
    assert_eq!((watermark.column, watermark.delay.0), (1, 1_500_000));
    assert_eq!(stream.options.order_by, [2, 1]);
    assert_eq!(history.retired, ["ts", "Id", "a", "j"]);
    assert_eq!(history.was["When"], ["ts"]);
    assert_eq!(history.added["tags"], None);
}
