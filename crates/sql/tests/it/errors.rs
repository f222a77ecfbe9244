//! Every error as people see it: one golden file.

use std::fmt::Write;

use crate::files::parse;
use crate::shop::{Shop, plan_error};

#[test]
fn every_error_says_what_where_and_what_instead() {
    let shop = Shop::new();
    let mut out = String::new();
    for sql in include_str!("errors.sql").lines() {
        let error = match parse(sql) {
            Err(e) => Some(e),
            Ok(statements) => statements.iter().find_map(|s| plan_error(&shop, &s.node)),
        };
        match error {
            None => writeln!(out, "NO ERROR: {sql}\n").unwrap(),
            Some(e) => {
                let position = e.position(sql).unwrap_or(0);
                writeln!(out, "{}  {} at {position}\n", e.render("t.sql", sql), e.sqlstate())
                    .unwrap();
            }
        }
    }
    assert!(!out.contains("NO ERROR"), "{out}");
    insta::assert_snapshot!("errors", out);
}
