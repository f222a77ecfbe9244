//! Which crate may use which: the picture of `ARCHITECTURE.md` as a table, checked against every
//! `Cargo.toml`.
//!
//! A crate's tests (`[dev-dependencies]`) may look further; what is shipped may not.

use super::files::SourceFile;

/// Holds the features of shared libraries and no code. Everybody may name it.
const FEATURES: &str = "features";

/// A crate and those it may use. A new arrow is a design change, made in `ARCHITECTURE.md` first.
const ARROWS: [(&str, &[&str]); 14] = [
    // Not a part of the house: see its manifest.
    (FEATURES, &[]),
    // The floor: pure.
    ("batch", &[]),
    ("functions", &["batch"]),
    ("format", &["batch"]),
    // The middle: they do not see each other.
    ("store", &["batch"]),
    ("flow", &["batch", "functions"]),
    ("sql", &["batch", "functions"]),
    // Above sql alone: what PostgreSQL's catalogs say of relations.
    ("reflect", &["sql"]),
    // The facade.
    ("engine", &["batch", "functions", "store", "flow", "sql", "reflect"]),
    // The edge.
    ("connect", &["batch", "format", "engine"]),
    ("serve", &["batch", "format", "engine"]),
    // The program.
    ("yeoul", &["batch", "format", "store", "engine", "connect", "serve"]),
    // What tests talk to: never shipped.
    ("trials", &[]),
    // The checks.
    ("xtask", &[]),
];

/// Crates without a row in the table, and arrows that the table does not have.
pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let Some(name) = crate_of(&file.path) else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            findings.push(format!(
                "{}:1: crate \"{name}\" has no row in xtask/src/tidy/arrows.rs",
                file.path
            ));
            continue;
        };
        for (line, used) in used_crates(&file.text) {
            if used != FEATURES && !allowed.contains(&used) {
                findings.push(format!(
                    "{}:{line}: crate \"{name}\" must not use \"{used}\"; it may use: {}",
                    file.path,
                    if allowed.is_empty() { "none of ours".into() } else { allowed.join(", ") }
                ));
            }
        }
    }
    findings
}

/// The crate whose manifest this is.
fn crate_of(path: &str) -> Option<&str> {
    if path == "xtask/Cargo.toml" {
        return Some("xtask");
    }
    let name = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
    (!name.contains('/')).then_some(name)
}

/// Our crates in the sections that are shipped, with their lines.
fn used_crates(manifest: &str) -> Vec<(usize, &str)> {
    let mut shipped = false;
    let mut used = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let (head, tail) = section.split_once("dependencies").unwrap_or((section, "."));
            shipped = section.contains("dependencies") && !head.ends_with("dev-");
            if let Some(name) = tail.strip_prefix(".yeoul-").filter(|_| shipped) {
                used.push((at + 1, name));
            }
        } else if let Some(rest) = line.strip_prefix("yeoul-").filter(|_| shipped) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '-').unwrap_or(rest.len());
            used.push((at + 1, &rest[..end]));
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, text: &str) -> Vec<String> {
        let path = format!("crates/{name}/Cargo.toml");
        check(&[SourceFile { path, text: text.into() }])
    }

    #[test]
    fn arrows_go_down() {
        let down = "[dependencies]\nyeoul-batch.workspace = true\n";
        assert_eq!(manifest("store", down).len(), 0);
        let up = "[dependencies]\nyeoul-engine = { workspace = true }\n";
        assert_eq!(manifest("store", up).len(), 1);
        let table = "[dependencies.yeoul-sql]\nworkspace = true\n";
        assert_eq!(manifest("flow", table).len(), 1);
        let target = "[target.'cfg(unix)'.dependencies]\nyeoul-flow.workspace = true\n";
        assert_eq!(manifest("sql", target).len(), 1);
        let tests = "[dev-dependencies]\nyeoul-engine.workspace = true\n";
        assert_eq!(manifest("store", tests).len(), 0);
        assert_eq!(manifest("misfit", down).len(), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (at, (name, allowed)) in ARROWS.iter().enumerate() {
            for used in *allowed {
                let place = ARROWS.iter().position(|(known, _)| known == used);
                assert!(place.is_some_and(|p| p < at), "{name} -> {used} does not go down");
            }
        }
    }
}
