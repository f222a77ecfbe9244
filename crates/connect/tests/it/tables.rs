//! Tables from files are loaded before streams are read.

use crate::shop::{Shop, line};

#[test]
fn events_find_the_table_that_they_are_looked_up_in() {
    let shop = Shop::new();
    shop.write("e.json", (0..5_000).map(line).collect::<String>().into_bytes());
    let items: String = (0..50_000).map(|id| format!("{id},{}\n", id % 7)).collect();
    shop.write("items.csv", format!("id,kind\n{items}").into_bytes());
    shop.create("path = 'e.json'");
    shop.run(
        "CREATE TABLE items (id BIGINT PRIMARY KEY, kind INT) WITH (connector = 'file', path = 'items.csv');
         CREATE MATERIALIZED VIEW kinds AS SELECT i.kind, count(*) AS n FROM events e
           LEFT JOIN items FOR SYSTEM_TIME AS OF PROCTIME() i ON i.id = e.id GROUP BY i.kind",
    );
    shop.drain().expect("both are read");
    assert_eq!(shop.rows("SELECT count(*), sum(n), count(kind) FROM kinds"), ["7|5000|7"]);
}
