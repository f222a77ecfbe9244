//! The rules of `STYLE.md` and `ARCHITECTURE.md` that a program can check: a rule without a check is a wish.
//!
//! Each rule is a function from the files of the project to findings, one line each, beginning with
//! the place (`path:line:`). No findings: clean.

mod arrows;
mod files;
mod links;
mod names;
mod sizes;
mod source;
mod words;

use std::path::Path;

use files::SourceFile;

/// All findings in the project at `root`, in order of path.
pub(crate) fn check(root: &Path) -> Vec<String> {
    let files = match files::read(root) {
        Ok(files) => files,
        Err(e) => return vec![format!("cannot read the project: {e}")],
    };
    let mut findings = Vec::new();
    findings.extend(arrows::check(&files));
    findings.extend(names::check(&files));
    findings.extend(sizes::check(&files));
    findings.extend(words::check(&files));
    findings.extend(headers(&files));
    findings.extend(links::check(&files, root));
    findings.sort();
    findings
}

/// Every module says in its first line what it is (what the compiler has to know may come before).
fn headers(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .filter(|file| {
            let mut lines =
                file.text.lines().filter(|line| !line.starts_with("#![") && !line.is_empty());
            let first = lines.next().unwrap_or_default();
            first.strip_prefix("//!").is_none_or(|words| words.trim().is_empty())
        })
        .map(|file| {
            format!("{}:1: the file must open with `//!` and what the module is", file.path)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_tidy() {
        let findings = check(&crate::root());
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[test]
    fn a_file_without_header_is_found() {
        let file = |text: &str| SourceFile { path: "a.rs".into(), text: text.into() };
        assert_eq!(headers(&[file("//! A thing.\n")]).len(), 0);
        assert_eq!(headers(&[file("#![no_main]\n\n//! A thing.\n")]).len(), 0);
        assert_eq!(headers(&[file("//!\n")]).len(), 1);
        assert_eq!(headers(&[file("use std::fmt;\n")]).len(), 1);
    }
}
