//! Tables read back in every state of their tree, against a map.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use yeoul_engine::Engine;

use super::support::{ok, open};

type Model = BTreeMap<i64, (i64, String)>;

fn change(engine: &Engine, random: &mut StdRng, model: &mut Model) {
    for _ in 0..random.random_range(0..4) {
        let mut rows = BTreeMap::new();
        for _ in 0..random.random_range(1..30) {
            let name = format!("name {}", random.random_range(0..9));
            rows.insert(random.random_range(0..60), (random.random_range(0..9), name));
        }
        let texts: Vec<String> =
            rows.iter().map(|(k, (a, b))| format!("({k}, {a}, '{b}')")).collect();
        ok(engine, &format!("INSERT INTO t VALUES {}", texts.join(", ")));
        model.extend(rows);
        let gone = random.random_range(0..60);
        ok(engine, &format!("DELETE FROM t WHERE k BETWEEN {gone} AND {}", gone + 5));
        model.retain(|k, _| !(gone..=gone + 5).contains(k));
    }
}

fn check(engine: &Engine, model: &Model, place: &str) {
    let rows = |f: &dyn Fn(i64, i64, &str) -> Option<String>| -> Vec<String> {
        model.iter().filter_map(|(k, (a, b))| f(*k, *a, b)).collect()
    };
    let same =
        |sql: &str, expected: Vec<String>| assert_eq!(ok(engine, sql), expected, "{place}: {sql}");
    same("SELECT * FROM t ORDER BY k", rows(&|k, a, b| Some(format!("{k}|{a}|{b}"))));
    same("SELECT b, k FROM t ORDER BY k", rows(&|k, _, b| Some(format!("{b}|{k}"))));
    same(
        "SELECT k FROM t WHERE k > 30 ORDER BY k",
        rows(&|k, _, _| (k > 30).then(|| k.to_string())),
    );
    same("SELECT b FROM t WHERE a = 3 ORDER BY k", rows(&|_, a, b| (a == 3).then(|| b.to_owned())));
    same("SELECT count(*) FROM t", vec![model.len().to_string()]);
    let total: i64 = model.values().map(|(a, _)| *a).sum();
    same("SELECT coalesce(sum(a), 0) FROM t", vec![total.to_string()]);
    same(
        "SELECT s.k, t.b FROM s JOIN t ON s.k = t.k ORDER BY s.k",
        rows(&|k, _, b| (k % 2 == 0).then(|| format!("{k}|{b}"))),
    );
}

#[test]
fn a_table_equals_a_map_in_memory_in_parts_and_after_a_restart() {
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().expect("a folder");
        let mut engine = open(dir.path());
        ok(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY, a BIGINT, b VARCHAR)");
        ok(&engine, "CREATE STREAM s (k BIGINT)");
        let even: Vec<String> = (0..30).map(|k| format!("({})", k * 2)).collect();
        ok(&engine, &format!("INSERT INTO s VALUES {}", even.join(", ")));
        let mut model = Model::new();
        for round in 0..8 {
            let place = format!("seed {seed}, round {round}");
            change(&engine, &mut random, &mut model);
            check(&engine, &model, &place);
            match random.random_range(0..3) {
                0 => engine.checkpoint().expect("writes"),
                1 => {
                    engine.shutdown().expect("stops");
                    drop(engine);
                    engine = open(dir.path());
                }
                _ => {}
            }
            check(&engine, &model, &place);
        }
        engine.shutdown().expect("stops");
    }
}

/// The rows of a table without a key: how often each is there.
type Bag = BTreeMap<(i64, i64), i64>;

fn change_bag(engine: &Engine, random: &mut StdRng, bag: &mut Bag) {
    for _ in 0..random.random_range(0..4) {
        let rows: Vec<(i64, i64)> = (0..random.random_range(1..20))
            .map(|_| (random.random_range(0..6), random.random_range(0..3)))
            .collect();
        let texts: Vec<String> = rows.iter().map(|(a, b)| format!("({a}, {b})")).collect();
        ok(engine, &format!("INSERT INTO t VALUES {}", texts.join(", ")));
        for row in rows {
            *bag.entry(row).or_default() += 1;
        }
        let (from, to) = (random.random_range(0..6), random.random_range(0..6));
        ok(engine, &format!("UPDATE t SET a = {to} WHERE a = {from}"));
        for (row, count) in bag.clone() {
            if row.0 == from {
                bag.remove(&row);
                *bag.entry((to, row.1)).or_default() += count;
            }
        }
        let gone = random.random_range(0..6);
        ok(engine, &format!("DELETE FROM t WHERE a = {gone} AND b = 1"));
        bag.remove(&(gone, 1));
    }
}

fn check_bag(engine: &Engine, bag: &Bag, place: &str) {
    let rows = |f: &dyn Fn(i64, i64, i64) -> Vec<String>| -> Vec<String> {
        bag.iter().flat_map(|((a, b), n)| f(*a, *b, *n)).collect()
    };
    let each = |a: i64, b: i64, n: i64| (0..n).map(|_| format!("{a}|{b}")).collect();
    let same =
        |sql: &str, expected: Vec<String>| assert_eq!(ok(engine, sql), expected, "{place}: {sql}");
    same("SELECT * FROM t ORDER BY a, b", rows(&each));
    same("SELECT * FROM copied ORDER BY a, b", rows(&each));
    same("SELECT * FROM counted ORDER BY a, b", rows(&|a, b, n| vec![format!("{a}|{b}|{n}")]));
    same("SELECT count(*) FROM t", vec![bag.values().sum::<i64>().to_string()]);
    same(
        "SELECT b FROM t WHERE a = 3 ORDER BY b",
        rows(&|a, b, n| (0..n).filter(|_| a == 3).map(|_| b.to_string()).collect()),
    );
}

#[test]
fn a_table_without_a_key_equals_a_bag_and_so_do_the_views_on_it() {
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().expect("a folder");
        let mut engine = open(dir.path());
        ok(&engine, "CREATE TABLE t (a BIGINT, b BIGINT)");
        ok(&engine, "CREATE MATERIALIZED VIEW copied AS SELECT a, b FROM t");
        let mut bag = Bag::new();
        for round in 0..8 {
            let place = format!("seed {seed}, round {round}");
            change_bag(&engine, &mut random, &mut bag);
            if round == 2 {
                // Built of what is stored, the other of what came.
                let view = "SELECT a, b, count(*) AS n FROM t GROUP BY a, b";
                ok(&engine, &format!("CREATE MATERIALIZED VIEW counted AS {view}"));
            }
            if round >= 2 {
                check_bag(&engine, &bag, &place);
            }
            match random.random_range(0..3) {
                0 => engine.checkpoint().expect("writes"),
                1 => {
                    engine.shutdown().expect("stops");
                    drop(engine);
                    engine = open(dir.path());
                }
                _ => {}
            }
            if round >= 2 {
                check_bag(&engine, &bag, &place);
            }
        }
        engine.shutdown().expect("stops");
    }
}
