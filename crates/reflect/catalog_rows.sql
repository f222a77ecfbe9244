-- Writes src/catalog_rows.txt, the rows of the catalogs that are the same in every database:
--
--     initdb --locale=C --encoding=UTF8 …    of PostgreSQL 16
--     psql --no-psqlrc --quiet --tuples-only --no-align --file catalog_rows.sql > src/catalog_rows.txt
--
-- Functions are written as their numbers. Parsed expressions and rights are left out, and so are the types of rows
-- and whatever initdb takes from the machine.
SELECT format('SELECT %L', '# ' || c.relname),
       format('COPY (SELECT %s FROM pg_catalog.%I AS t %s ORDER BY 1, 2, 3) TO STDOUT',
              string_agg(CASE WHEN a.atttypid = 'regproc'::regtype THEN format('%I::oid', a.attname)
                              WHEN a.atttypid IN ('pg_node_tree'::regtype, 'aclitem[]'::regtype) THEN 'NULL'
                              ELSE quote_ident(a.attname) END, ', ' ORDER BY a.attnum),
              c.relname,
              CASE c.relname
                  WHEN 'pg_collation' THEN 'WHERE oid < 12000'
                  WHEN 'pg_type' THEN 'WHERE typrelid = 0 AND NOT EXISTS (SELECT FROM pg_type AS i WHERE i.oid = t.typelem AND i.typrelid <> 0)'
              END)
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'pg_catalog'::regnamespace
  AND c.relname IN ('pg_aggregate', 'pg_am', 'pg_amop', 'pg_amproc', 'pg_cast', 'pg_collation', 'pg_conversion',
                    'pg_language', 'pg_opclass', 'pg_operator', 'pg_opfamily', 'pg_proc', 'pg_range', 'pg_tablespace',
                    'pg_ts_config', 'pg_ts_config_map', 'pg_ts_dict', 'pg_ts_parser', 'pg_ts_template', 'pg_type')
GROUP BY c.relname
ORDER BY c.relname
\gexec
SELECT '# pg_get_keywords';
COPY (SELECT * FROM pg_get_keywords() ORDER BY word) TO STDOUT;
