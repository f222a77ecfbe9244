//! Names that say nothing are refused: find what the thing *is*.

use super::files::SourceFile;

/// Names of crates, folders, files and modules that hide what is in them.
const FORBIDDEN: [&str; 10] =
    ["common", "util", "utils", "helper", "helpers", "misc", "types", "core", "manager", "v2"];

/// Crates, folders, files and inline modules with such a name.
pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_code()) {
        for part in file.path.split('/') {
            let stem = part.split('.').next().unwrap_or(part);
            if let Some(name) = forbidden(stem) {
                findings.push(format!("{}:1: \"{name}\" names nothing; say what it is", file.path));
            }
        }
        if file.ending() != "rs" {
            continue;
        }
        for (at, line) in file.text.lines().enumerate() {
            let line = line.trim_start();
            let line =
                line.split_once(") ").filter(|(v, _)| v.starts_with("pub(")).map_or(line, |x| x.1);
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let Some(name) = line.strip_prefix("mod ") else { continue };
            let name = name.trim_end_matches([' ', '{', ';']);
            if let Some(name) = forbidden(name) {
                let at = at + 1;
                findings.push(format!("{}:{at}: module \"{name}\" names nothing", file.path));
            }
        }
    }
    findings
}

/// The forbidden name that `stem` is or ends with (`string_utils`).
fn forbidden(stem: &str) -> Option<&'static str> {
    let words: Vec<&str> = stem.split(['_', '-']).collect();
    FORBIDDEN.into_iter().find(|bad| words.first() == Some(bad) || words.last() == Some(bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&[SourceFile { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(findings("crates/store/src/log/record.rs", "mod tests {\n"), 0);
        assert_eq!(findings("crates/store/src/utils.rs", ""), 1);
        assert_eq!(findings("crates/store/src/string_utils.rs", ""), 1);
        assert_eq!(findings("crates/core/src/lib.rs", ""), 1);
        assert_eq!(findings("bench/common.py", ""), 1);
        assert_eq!(findings("crates/store/src/lib.rs", "pub(crate) mod misc;\n"), 1);
        assert_eq!(findings("docs/misc.md", ""), 0);
    }
}
