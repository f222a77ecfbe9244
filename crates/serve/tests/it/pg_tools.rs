//! What DBeaver and Grafana ask, as it reaches the server.
//!
//! The queries are facts about those programs, from their public sources: DBeaver's
//! `plugins/org.jkiss.dbeaver.ext.postgresql` (`PostgreDataSource`, `PostgreDatabase`, `PostgreSchema`,
//! `PostgreDataTypeCache`, `PostgreExecutionContext`), and Grafana's `postgresMetaQuery.ts` and `macros.go`
//! of its PostgreSQL data source.

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::fixture::Fixture;

/// The rows of a query, as texts.
async fn rows(client: &Client, sql: &str) -> Vec<SimpleQueryRow> {
    let answer = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    answer.into_iter().filter_map(row).collect()
}

fn text<'a>(row: &'a SimpleQueryRow, column: &str) -> &'a str {
    row.get(column).unwrap_or("NULL")
}

/// All values of a column, in order.
async fn column(client: &Client, sql: &str, name: &str) -> Vec<String> {
    rows(client, sql).await.iter().map(|row| text(row, name).to_owned()).collect()
}

const SETUP: &str = "CREATE STREAM events (event_id VARCHAR, ts TIMESTAMPTZ NOT NULL, price DOUBLE PRECISION, \
         WATERMARK FOR ts AS ts - INTERVAL '5 seconds'); \
     CREATE TABLE pairs (a BIGINT, b VARCHAR(9), n NUMERIC(10,2), tags VARCHAR[], PRIMARY KEY (a, b)); \
     CREATE MATERIALIZED VIEW per_minute AS SELECT window_start, count(*) AS n \
         FROM TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY window_start; \
     CREATE TABLE \"Odd Name\" (\"Key\" BIGINT PRIMARY KEY)";

async fn ready(fixture: &Fixture) -> Client {
    let client = fixture.connect().await;
    client.batch_execute(SETUP).await.unwrap();
    client
}

#[test]
fn dbeaver_connects() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        let row = &rows(&client, "SELECT current_database(), current_schema(),session_user").await[0];
        assert_eq!((row.get(0), row.get(1), row.get(2)), (Some("yeoul"), Some("public"), Some("me")));
        let path = column(&client, "SHOW search_path", "search_path").await;
        assert_eq!(path, ["\"$user\", public"]);
        let databases = "SELECT db.oid,db.* FROM pg_catalog.pg_database db \
            WHERE datallowconn AND NOT datistemplate OR db.datname ='yeoul' ORDER BY db.datname";
        assert_eq!(column(&client, databases, "datname").await, ["yeoul"]);
        let schemas = "SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n\n\
            LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 \
            AND d.classoid='pg_namespace'::regclass\n ORDER BY nspname";
        let names = column(&client, schemas, "nspname").await;
        assert_eq!(names, ["information_schema", "pg_catalog", "public", "yeoul"]);
        for (sql, some) in [
            ("SELECT a.oid,a.* FROM pg_catalog.pg_roles a \nORDER BY a.oid", "me"),
            ("SELECT am.oid,am.* FROM pg_catalog.pg_am am \nORDER BY am.oid", "btree"),
            ("SELECT l.oid,l.* FROM pg_catalog.pg_language l \nORDER BY l.oid", "sql"),
            ("SELECT t.oid,t.* FROM pg_catalog.pg_tablespace t \nORDER BY t.oid", "pg_default"),
            (
                "SELECT c.contoencoding as encid,pg_catalog.pg_encoding_to_char(c.contoencoding) as encname\n\
                 FROM pg_catalog.pg_conversion c\nGROUP BY c.contoencoding\nORDER BY 2\n",
                "UTF8",
            ),
            ("SELECT * FROM pg_catalog.pg_settings WHERE name='standard_conforming_strings'", "on"),
            ("SELECT sa.* FROM pg_catalog.pg_stat_activity sa", "client backend"),
            ("select string_agg(word, ',') from pg_catalog.pg_get_keywords() where word = 'select'", "select"),
        ] {
            let found = rows(&client, sql).await;
            let has = |row: &SimpleQueryRow| (0..row.len()).any(|i| row.get(i) == Some(some));
            assert!(found.iter().any(has), "{sql}");
        }
        for empty in [
            "SELECT l.oid,l.*,p.pronamespace as handler_schema_id \nFROM pg_catalog.pg_foreign_data_wrapper l\
             \nLEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid=l.fdwhandler \nORDER BY l.fdwname",
            "SELECT l.oid,l.* FROM pg_catalog.pg_foreign_server l\nORDER BY l.srvname",
            "SELECT reltype FROM pg_catalog.pg_class WHERE 1<>1 LIMIT 1",
        ] {
            assert!(rows(&client, empty).await.is_empty(), "{empty}");
        }
    });
}

#[test]
fn dbeaver_opens_the_tree() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        let public = 2200_i64;
        let tables = "SELECT c.oid,c.*,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr,  \
            pg_catalog.pg_get_partkeydef(c.oid) as partition_key \nFROM pg_catalog.pg_class c\n\
            LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass\n\
            WHERE c.relnamespace=$1 AND c.relkind not in ('i','I','c')";
        let found = client.query(tables, &[&public]).await.unwrap();
        let mut kinds: Vec<(String, i8)> =
            found.iter().map(|row| (row.get("relname"), row.get("relkind"))).collect();
        kinds.sort();
        let kind = |c: char| i8::try_from(u32::from(c)).unwrap();
        let expected = [("Odd Name", 'r'), ("events", 'r'), ("pairs", 'r'), ("per_minute", 'm')];
        assert_eq!(kinds, expected.map(|(name, c)| (name.to_owned(), kind(c))));
        let events = found.iter().find(|row| row.get::<_, &str>("relname") == "events").unwrap();
        assert_eq!(events.get::<_, &str>("description"), "stream, event time ts");
        let pairs = found.iter().find(|row| row.get::<_, &str>("relname") == "pairs").unwrap();
        let oid = i64::from(pairs.get::<_, u32>("oid"));

        let columns = "SELECT c.relname,a.*,pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value,dsc.description,dep.objid\n\
            FROM pg_catalog.pg_attribute a\nINNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid)\n\
            LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid=ad.adrelid AND a.attnum = ad.adnum)\n\
            LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid)\n\
            LEFT OUTER JOIN pg_depend dep on dep.refobjid = a.attrelid AND dep.deptype = 'i' and \
            dep.refobjsubid = a.attnum and dep.classid = dep.refclassid\n\
            WHERE NOT a.attisdropped AND c.relkind not in ('i','I','c') AND c.oid=$1 ORDER BY a.attnum";
        let found = client.query(columns, &[&oid]).await.unwrap();
        let told: Vec<(String, u32, i32, bool)> = found
            .iter()
            .map(|row| (row.get("attname"), row.get("atttypid"), row.get("atttypmod"), row.get("attnotnull")))
            .collect();
        let numeric = ((10 << 16) | 2) + 4;
        let expected = [("a", 20, -1, true), ("b", 1043, 13, true), ("n", 1700, numeric, false), ("tags", 1009, -1, false)];
        assert_eq!(told, expected.map(|(name, kind, modifier, set)| (name.to_owned(), kind, modifier, set)));

        let constraints = "SELECT c.oid,c.*,t.relname as tabrelname,rt.relnamespace as refnamespace,d.description, \
            case when c.contype='c' then \"substring\"(pg_get_constraintdef(c.oid), 7) else null end consrc_copy\n\
            FROM pg_catalog.pg_constraint c\nINNER JOIN pg_catalog.pg_class t ON t.oid=c.conrelid\n\
            LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid=c.confrelid\n\
            LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_constraint'::regclass\n\
            WHERE c.conrelid=$1\nORDER BY c.oid";
        let found = client.query(constraints, &[&oid]).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].get::<_, Vec<i16>>("conkey"), [1, 2]);

        let indexes = "SELECT i.*,i.indkey as keys,c.relname,c.relnamespace,c.relam,tc.relname as tabrelname,dsc.description,\
            pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) as expr\nFROM pg_catalog.pg_index i\n\
            INNER JOIN pg_catalog.pg_class c ON c.oid=i.indexrelid\nINNER JOIN pg_catalog.pg_class tc ON tc.oid=i.indrelid\n\
            LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid=dsc.objoid\nWHERE  i.indrelid=$1 ORDER BY c.relname";
        let found = client.query(indexes, &[&oid]).await.unwrap();
        assert_eq!((found.len(), found[0].get::<_, &str>("keys")), (1, "1 2"));
        assert_eq!(found[0].get::<_, &str>("relname"), "pairs_pkey");
    });
}

#[test]
fn dbeaver_reads_types_sizes_and_definitions() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        let types = "SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description\n\
            FROM pg_catalog.pg_type t\nLEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem \n\
            LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid=t.typrelid\n\
            LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid\nWHERE t.typname IS NOT NULL\n\
            AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')\n\
            AND t.typnamespace=$1 ";
        let found = client.query(types, &[&11_i64]).await.unwrap();
        let names: Vec<&str> = found.iter().map(|row| row.get("typname")).collect();
        for name in ["bool", "int8", "numeric", "varchar", "timestamptz", "jsonb", "uuid", "_text"] {
            assert!(names.contains(&name), "{name}");
        }
        let sizes = "select c.oid,pg_catalog.pg_total_relation_size(c.oid) as total_rel_size,pg_catalog.pg_relation_size(c.oid) as rel_size\n\
            FROM pg_class c\nWHERE c.relnamespace=$1";
        assert_eq!(client.query(sizes, &[&2200_i64]).await.unwrap().len(), 6);
        let procedures = "SELECT p.oid,p.*,d.description\nFROM pg_catalog.pg_proc p\n\
            LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=p.oid\nWHERE p.pronamespace=$1\nORDER BY p.proname";
        assert!(client.query(procedures, &[&11_i64]).await.unwrap().len() > 1_000);
        let definition = "SELECT pg_catalog.pg_get_viewdef('per_minute'::regclass, true) AS definition";
        let definition = column(&client, definition, "definition").await;
        assert!(definition[0].starts_with("SELECT window_start, count(*) AS n"), "{definition:?}");
        let key = "SELECT pg_get_constraintdef(oid) AS def FROM pg_constraint WHERE conrelid = '\"Odd Name\"'::regclass";
        assert_eq!(column(&client, key, "def").await, ["PRIMARY KEY (\"Key\")"]);
        // The grid: a count, and pages.
        client.batch_execute("INSERT INTO pairs VALUES (1, 'x', 1.5, NULL)").await.unwrap();
        assert_eq!(column(&client, "SELECT count(*) FROM public.pairs", "count").await, ["1"]);
        assert_eq!(rows(&client, "SELECT a,b,n,tags FROM public.pairs LIMIT 200 OFFSET 0").await.len(), 1);
    });
}

/// Grafana's own condition for what is found without a schema.
const SEARCHED: &str = "quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END \
    FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), \
    array_upper(string_to_array(current_setting('search_path'),','),1)) as i, \
    string_to_array(current_setting('search_path'),',') s)";

#[test]
fn grafana_lists_tables_and_columns() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        let version = "SELECT current_setting('server_version_num')::int/100 as version";
        assert_eq!(column(&client, version, "version").await, ["1600"]);
        let timescale = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";
        assert!(rows(&client, timescale).await.is_empty());
        let schemas = "SELECT schema_name AS \"name\" FROM information_schema.schemata WHERE schema_name NOT IN \
            ('information_schema','pg_catalog','pg_toast','_timescaledb_cache') ORDER BY schema_name";
        assert_eq!(column(&client, schemas, "name").await, ["public", "yeoul"]);
        let tables = format!(
            "SELECT CASE WHEN {SEARCHED} THEN quote_ident(table_name) \
             ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\" \
             FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema','pg_catalog') \
             ORDER BY CASE WHEN {SEARCHED} THEN 0 ELSE 1 END, 1"
        );
        let found = column(&client, &tables, "table").await;
        assert_eq!(found[..4], ["\"Odd Name\"", "events", "pairs", "per_minute"]);
        assert_eq!(found[4], "yeoul.commits");
        let of_schema = "SELECT quote_ident(table_name) AS \"table\" FROM information_schema.tables \
            WHERE quote_ident(table_schema) = 'public' ORDER BY 1";
        assert_eq!(column(&client, of_schema, "table").await.len(), 4);
        for (table, expected) in [
            ("events", vec![("event_id", "text"), ("ts", "timestamp with time zone"), ("price", "double precision")]),
            ("public.per_minute", vec![("window_start", "timestamp with time zone"), ("n", "bigint")]),
        ] {
            let columns = format!(
                "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns WHERE \
                 CASE WHEN array_length(parse_ident('{table}'),1) = 2 \
                 THEN quote_ident(table_schema) = (parse_ident('{table}'))[1] AND quote_ident(table_name) = (parse_ident('{table}'))[2] \
                 ELSE quote_ident(table_name) = '{table}' AND {SEARCHED} END"
            );
            let found = rows(&client, &columns).await;
            let found: Vec<_> = found.iter().map(|row| (text(row, "column"), text(row, "type"))).collect();
            assert_eq!(found, expected, "{table}");
        }
    });
}

#[test]
fn grafana_draws_series() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = ready(&fixture).await;
        client
            .batch_execute(
                "INSERT INTO events VALUES ('a', TIMESTAMPTZ '2026-01-01 00:00:10Z', 1.5), \
                 ('b', TIMESTAMPTZ '2026-01-01 00:00:50Z', 2.5), ('c', TIMESTAMPTZ '2026-01-01 00:01:10Z', 4.0)",
            )
            .await
            .unwrap();
        let filter = "ts BETWEEN '2026-01-01T00:00:00Z' AND '2026-01-01T00:05:00.5Z'";
        // $__timeGroupAlias(ts, '1m'), $__timeFilter(ts)
        let grouped = format!(
            "SELECT floor(extract(epoch from ts)/60)*60 AS \"time\", sum(price) AS \"price\" FROM events \
             WHERE {filter} GROUP BY 1 ORDER BY 1"
        );
        let found = rows(&client, &grouped).await;
        let found: Vec<_> = found.iter().map(|row| (text(row, "time"), text(row, "price"))).collect();
        assert_eq!(found, [("1767225600", "4"), ("1767225660", "4")]);
        for (sql, count) in [
            // $__time, $__timeEpoch, $__timeFrom, $__unixEpochFilter, $__unixEpochGroupAlias
            (format!("SELECT ts AS \"time\", price FROM events WHERE {filter} ORDER BY 1 LIMIT 50"), 3),
            (format!("SELECT extract(epoch from ts) as \"time\", price FROM events WHERE {filter}"), 3),
            ("SELECT ts AS \"time\" FROM events WHERE ts >= '2026-01-01T00:00:50Z'".to_owned(), 2),
            (
                "SELECT n FROM per_minute WHERE extract(epoch from window_start) >= 1767225600 \
                 AND extract(epoch from window_start) <= 1767225600"
                    .to_owned(),
                1,
            ),
            (
                "SELECT floor((extract(epoch from ts))/300)*300 AS \"time\", count(*) FROM events GROUP BY 1".to_owned(),
                1,
            ),
            ("SELECT 1".to_owned(), 1),
        ] {
            assert_eq!(rows(&client, &sql).await.len(), count, "{sql}");
        }
    });
}
