//! Queries about the catalogs of PostgreSQL: what drivers ask, and what the dialect of such queries means.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::fixture::Fixture;

/// The rows of a query: values between bars, nulls as `NULL`, rows between commas.
async fn answer(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned());
            Some(values.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect::<Vec<_>>().join(", ")
}

async fn ready(fixture: &Fixture) -> Client {
    let client = fixture.connect().await;
    let setup = "CREATE STREAM events (id VARCHAR, ts TIMESTAMPTZ); \
        CREATE TABLE pairs (c DOUBLE PRECISION, b VARCHAR, a BIGINT, PRIMARY KEY (a, b))";
    client.batch_execute(setup).await.unwrap();
    client
}

#[test]
fn what_queries_of_catalogs_mean() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        for (sql, expected) in [
            ("SELECT version() LIKE 'PostgreSQL 16.%', current_user, current_database()", "t|me|yeoul"),
            ("SELECT 'pairs'::regclass, 'public.pairs'::regclass::oid = 'pairs'::regclass", "pairs|t"),
            ("SELECT 1043::regtype, to_regtype('nothing'), 'int8'::regtype::oid", "character varying|NULL|20"),
            ("SELECT format_type(1043, 14), format_type(1700, 655366), format_type(1016, NULL)",
             "character varying(10)|numeric(10,2)|bigint[]"),
            // A query in the select list that asks for a column around it.
            ("SELECT relname, (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid) FROM pg_class c \
              WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1", "events|2, pairs|3"),
            ("SELECT ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = 'pairs'::regclass ORDER BY attnum)",
             "{c,b,a}"),
            ("SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
              AND a.attnum = ANY(i.indkey) WHERE i.indrelid = 'pairs'::regclass ORDER BY 1", "a, b"),
            ("SELECT indkey, indkey[0], (indkey::int2[])[1] FROM pg_index", "3 2|3|2"),
            ("SELECT k.n, a.attname FROM pg_constraint c CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k(at, n) \
              JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.at ORDER BY 1", "1|a, 2|b"),
            ("SELECT unnest(conkey), generate_subscripts(conkey, 1) FROM pg_constraint", "3|1, 2|2"),
            ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 4) \
              SELECT string_agg(n::text, ',' ORDER BY n DESC), pg_backend_pid() > 0 FROM t", "4,3,2,1|t"),
            ("SELECT c.relname, n.nspname FROM pg_class c RIGHT JOIN pg_namespace n ON c.relnamespace = n.oid \
              AND c.relname = 'pairs' WHERE n.nspname IN ('public', 'yeoul') ORDER BY 2", "pairs|public, NULL|yeoul"),
            ("SELECT DISTINCT ON (relkind) relkind, relname FROM pg_class WHERE relnamespace = 2200 \
              ORDER BY relkind, relname DESC", "i|pairs_pkey, r|pairs"),
            ("SELECT attname, row_number() OVER (ORDER BY attname) FROM pg_attribute \
              WHERE attrelid = 'pairs'::regclass ORDER BY attnum", "c|3, b|2, a|1"),
            ("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname LIKE 'p%' \
              UNION ALL SELECT 'x' ORDER BY 1", "public, x"),
            ("SELECT relkind, count(*) FROM pg_class WHERE relnamespace = 2200 GROUP BY 1 HAVING count(*) > 1", "r|2"),
            ("SELECT CASE WHEN relkind = ANY(ARRAY['r','v']) THEN 'yes' END FROM pg_class WHERE relname = 'events'", "yes"),
            ("SELECT CASE WHEN 'd' = ANY('{a,d}') THEN 1 END, quote_ident('A'), pg_size_pretty(20480::int8)", "1|\"A\"|20 kB"),
            ("SELECT obj_description('events'::regclass), has_table_privilege('pairs', 'SELECT')", "stream|t"),
            ("SELECT tableoid = 'pg_namespace'::regclass FROM pg_namespace LIMIT 1", "t"),
            ("VALUES (current_schema, 1), ('x', NULL)", "public|1, x|NULL"),
            ("/* who */ SELECT current_user -- it's me", "me"),
        ] {
            assert_eq!(answer(&client, sql).await, expected, "{sql}");
        }
        for (sql, state) in [
            ("SELECT 'nothing'::regclass", SqlState::UNDEFINED_TABLE),
            ("SELECT nothing FROM pg_class", SqlState::UNDEFINED_COLUMN),
            ("SELECT * FROM pg_nothing", SqlState::UNDEFINED_TABLE),
            ("SELECT oid FROM pg_class a, pg_class b", SqlState::AMBIGUOUS_COLUMN),
            ("SELECT (SELECT oid FROM pg_class)", SqlState::CARDINALITY_VIOLATION),
            ("SELECT current_setting('no.such')", SqlState::UNDEFINED_OBJECT),
        ] {
            let error = client.simple_query(sql).await.unwrap_err();
            assert_eq!(error.code(), Some(&state), "{sql}: {error:?}");
        }
    });
}

#[test]
fn catalogs_are_read_beside_relations() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        let rows = "INSERT INTO pairs VALUES (1, 'me', 1), (2, 'you', 20), (3, current_user, 1043)";
        client.batch_execute(rows).await.unwrap();
        for (sql, expected) in [
            ("SELECT count(*), current_user FROM pairs", "3|me"),
            ("SELECT a FROM pairs WHERE b = current_user ORDER BY a", "1, 1043"),
            ("SELECT a, format_type(a, NULL) FROM pairs WHERE a > 1 ORDER BY a", "20|bigint, 1043|character varying"),
            ("SELECT t.typname, p.c FROM pg_catalog.pg_type t JOIN pairs p ON p.a = t.oid ORDER BY 1", "int8|2, varchar|3"),
            ("SELECT p.b FROM pairs p WHERE EXISTS (SELECT 1 FROM pg_type WHERE oid = p.a AND typlen = 8)", "you"),
            ("SELECT count(*), (SELECT count(*) FROM information_schema.tables WHERE table_name = 'pairs') FROM pairs",
             "3|1"),
            ("SELECT max(a), current_setting('server_version_num')::int >= 160000, current_database() FROM pairs",
             "1043|t|yeoul"),
            ("SELECT DISTINCT pg_typeof(a), pg_typeof(b), pg_typeof(now()) FROM pairs",
             "bigint|text|timestamp with time zone"),
            ("SELECT pg_catalog.version() LIKE 'PostgreSQL%' FROM pairs LIMIT 1", "t"),
            ("SELECT current_user; SELECT b FROM pairs WHERE a = 20", "me, you"),
        ] {
            assert_eq!(answer(&client, sql).await, expected, "{sql}");
        }
        client.batch_execute("EXPLAIN SELECT a, set_config('jit', 'on', false) FROM pairs").await.unwrap();
        assert_eq!(answer(&client, "SHOW jit").await, "off");
        let sql = "SELECT c, current_schema() FROM pairs WHERE a = $1 AND b = current_user";
        let rows = client.query(sql, &[&1_i64]).await.unwrap();
        assert_eq!((rows[0].get::<_, f64>(0), rows[0].get::<_, &str>(1)), (1.0, "public"));
        for (sql, state, message) in [
            ("SELECT * FROM pairs, pg_nothing", SqlState::UNDEFINED_TABLE, "\"pg_nothing\" does not exist"),
            ("SELECT no_such_function(a), current_user FROM pairs", SqlState::UNDEFINED_FUNCTION, "no_such_function"),
            ("SELECT a, current_setting('no.such') FROM pairs", SqlState::UNDEFINED_OBJECT, "no.such"),
            ("SELECT a FROM pairs WHERE user = 'me'", SqlState::UNDEFINED_FUNCTION, "\"user\" does not exist"),
            ("SELECT current_user; SELECT nothing FROM pairs", SqlState::UNDEFINED_COLUMN, "nothing"),
            ("SELECT current_user; INSERT INTO pairs VALUES ('x', 'b', 9)", SqlState::INVALID_TEXT_REPRESENTATION, "x"),
            ("SELECT current_user FROM pairs WHERE a =", SqlState::SYNTAX_ERROR, "expected"),
            ("CREATE MATERIALIZED VIEW mine AS SELECT a FROM pairs WHERE b = current_user",
             SqlState::FEATURE_NOT_SUPPORTED, "a view cannot call \"current_user\""),
        ] {
            let error = client.simple_query(sql).await.unwrap_err();
            let told = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}"));
            assert_eq!(told.code(), &state, "{sql}: {error:?}");
            assert!(told.message().contains(message), "{sql}: {error:?}");
        }
    });
}

#[test]
fn settings_are_those_of_the_connection() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        // asyncpg, before and after it asks for types.
        let sql = "SELECT current_setting('jit') AS cur, set_config('jit', 'on', false) AS new";
        assert_eq!(answer(&client, sql).await, "off|on");
        assert_eq!(answer(&client, "SHOW jit").await, "on");
        client.batch_execute("SET application_name = 'mine'").await.unwrap();
        let sql = "SELECT setting FROM pg_settings WHERE name = 'application_name'";
        assert_eq!(answer(&client, sql).await, "mine");
        let sql = "SELECT usename, application_name, state FROM pg_stat_activity";
        assert_eq!(answer(&client, sql).await, "me|mine|active");
        client
            .batch_execute("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;")
            .await
            .unwrap();
        let other = fixture.connect().await;
        assert_eq!(answer(&other, "SELECT current_setting('application_name')").await, "");
        // One object has one number, in every session.
        let number = "SELECT 'pairs'::regclass::oid";
        assert_eq!(answer(&other, number).await, answer(&client, number).await);
    });
}

#[test]
fn a_query_of_catalogs_has_an_end() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        let long = "SELECT count(*) FROM pg_attribute a, pg_attribute b, pg_attribute c WHERE a.attname || b.attname LIKE 'q%'";
        client.batch_execute("SET statement_timeout = '200ms'").await.unwrap();
        let begin = std::time::Instant::now();
        let error = client.batch_execute(long).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
        assert!(begin.elapsed().as_secs() < 5);
        assert_eq!(answer(&client, "SELECT current_user").await, "me");
    });
}

#[test]
fn drivers_ask_for_keys_and_types() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        // pgjdbc 42.5, DatabaseMetaData.getPrimaryKeys.
        let keys = "SELECT result.TABLE_CAT, result.TABLE_SCHEM, result.TABLE_NAME, result.COLUMN_NAME, result.KEY_SEQ, \
            result.PK_NAME FROM (SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, ct.relname AS TABLE_NAME, \
            a.attname AS COLUMN_NAME, (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, ci.relname AS PK_NAME, \
            information_schema._pg_expandarray(i.indkey) AS KEYS, a.attnum AS A_ATTNUM FROM pg_catalog.pg_class ct \
            JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid) \
            JOIN pg_catalog.pg_index i ON ( a.attrelid = i.indrelid) JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid) \
            WHERE true AND ct.relname = 'pairs' AND i.indisprimary ) result where result.A_ATTNUM = (result.KEYS).x \
            ORDER BY result.table_name, result.pk_name, result.key_seq";
        let expected = "NULL|public|pairs|a|1|pairs_pkey, NULL|public|pairs|b|2|pairs_pkey";
        assert_eq!(answer(&client, keys).await, expected);
        // psycopg 3, TypeInfo.fetch.
        let types = "SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter \
            FROM pg_type t WHERE t.oid = to_regtype($1) ORDER BY t.oid";
        let row = client.query_one(types, &[&"jsonb"]).await.unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, u32>(1), row.get::<_, u32>(2)), ("jsonb", 3802, 3807));
        // An array of object numbers as a parameter, as asyncpg gives it.
        let sql = "SELECT typname FROM pg_type WHERE oid = ANY($1::oid[]) ORDER BY oid";
        let rows = client.query(sql, &[&vec![20_u32, 25]]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>(), ["int8", "text"]);
    });
}

/// What `\df` asks of psql.
const LIST_FUNCTIONS: &str = "SELECT n.nspname as \"Schema\", p.proname as \"Name\", \
    pg_catalog.pg_get_function_result(p.oid) as \"Result data type\", \
    pg_catalog.pg_get_function_arguments(p.oid) as \"Argument data types\", \
    CASE p.prokind WHEN 'a' THEN 'agg' WHEN 'w' THEN 'window' WHEN 'p' THEN 'proc' ELSE 'func' END as \"Type\" \
    FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE pg_catalog.pg_function_is_visible(p.oid) AND n.nspname <> 'pg_catalog' \
    AND n.nspname <> 'information_schema' ORDER BY 1, 2, 4";

#[test]
fn functions_are_listed() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        assert_eq!(answer(&client, LIST_FUNCTIONS).await, "");
        let create = "CREATE FUNCTION both(a INT, b DOUBLE PRECISION) RETURNS NUMERIC(10,2) RETURN a + b; \
            CREATE FUNCTION one(VARCHAR[]) RETURNS VARCHAR RETURN $1[1]";
        client.batch_execute(create).await.unwrap();
        let expected = "public|both|numeric|a integer, b double precision|func, \
            public|one|character varying|character varying[]|func";
        assert_eq!(answer(&client, LIST_FUNCTIONS).await, expected);
        let source = "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'one'";
        let written = "CREATE FUNCTION one(VARCHAR[]) RETURNS VARCHAR RETURN $1[1]";
        assert_eq!(answer(&client, source).await, written);
    });
    fixture.stop();
}
