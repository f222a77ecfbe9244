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
