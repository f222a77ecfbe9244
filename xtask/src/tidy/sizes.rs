//! Files stay short and functions stay shorter. The exceptions are listed in `xtask/exceptions.txt`,
//! and that list may only shrink.
//!
//! ```text
//!   file crates/engine/src/commit.rs 612
//!   fn   crates/sql/src/lower.rs lower_select 84
//! ```

use super::files::SourceFile;
use super::source;

/// A file with more lines than this is two files.
const FILE_LINES_MAX: usize = 500;

/// A function with more lines of code than this is two functions.
const FUNCTION_LINES_MAX: usize = 70;

/// Where the exceptions are.
const EXCEPTIONS: &str = "xtask/exceptions.txt";

/// Something that has a size: a file (`name` empty) or a function in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sized {
    path: String,
    name: String,
    line: usize,
    lines: usize,
}

impl Sized {
    fn limit(&self) -> usize {
        if self.name.is_empty() { FILE_LINES_MAX } else { FUNCTION_LINES_MAX }
    }

    fn title(&self) -> String {
        if self.name.is_empty() { "the file".into() } else { format!("function \"{}\"", self.name) }
    }
}

/// What is too long and not listed, and what is listed and has become shorter.
pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    let text = files.iter().find(|file| file.path == EXCEPTIONS).map_or("", |file| &file.text);
    let mut exceptions = Vec::new();
    for (at, line) in text.lines().enumerate() {
        match exception(line, at + 1) {
            Ok(Some(exception)) => exceptions.push(exception),
            Ok(None) => {}
            Err(()) => findings.push(format!("{EXCEPTIONS}:{}: cannot read \"{line}\"", at + 1)),
        }
    }
    let long: Vec<Sized> =
        measure(files).into_iter().filter(|thing| thing.lines > thing.limit()).collect();
    let same = |a: &Sized, b: &Sized| a.path == b.path && a.name == b.name;
    for thing in &long {
        let allowed = exceptions.iter().find(|e| same(e, thing)).map_or(thing.limit(), |e| e.lines);
        if thing.lines > allowed {
            findings.push(format!(
                "{}:{}: {} has {} lines, {allowed} are allowed",
                thing.path,
                thing.line,
                thing.title(),
                thing.lines
            ));
        }
    }
    for exception in &exceptions {
        let line = exception.line;
        match long.iter().find(|thing| same(exception, thing)) {
            None => findings.push(format!(
                "{EXCEPTIONS}:{line}: {} of {} is no exception any more; remove the line",
                exception.title(),
                exception.path
            )),
            Some(thing) if thing.lines < exception.lines => findings.push(format!(
                "{EXCEPTIONS}:{line}: {} has only {} lines; lower the number {}",
                exception.path, thing.lines, exception.lines
            )),
            Some(_) => {}
        }
    }
    findings
}

fn measure(files: &[SourceFile]) -> Vec<Sized> {
    let mut things = Vec::new();
    for file in files.iter().filter(|file| file.is_code()) {
        let path = file.path.clone();
        things.push(Sized { path, name: String::new(), line: 1, lines: file.text.lines().count() });
        if file.ending() == "rs" {
            for function in source::functions(&source::blank(&file.text)) {
                things.push(Sized {
                    path: file.path.clone(),
                    name: function.name,
                    line: function.line,
                    lines: function.lines,
                });
            }
        }
    }
    things
}

/// One line of the list; `None` for blank lines and comments.
fn exception(line: &str, at: usize) -> Result<Option<Sized>, ()> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let (path, name, lines) = match words.as_slice() {
        [] => return Ok(None),
        ["file", path, lines] => (path, "", lines),
        ["fn", path, name, lines] => (path, *name, lines),
        _ => return Err(()),
    };
    let lines = lines.parse().map_err(|_| ())?;
    Ok(Some(Sized { path: (*path).into(), name: name.into(), line: at, lines }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(lines: usize, exceptions: &str) -> Vec<String> {
        let file = |path: &str, text: String| SourceFile { path: path.into(), text };
        check(&[file("a.rs", "//! A.\n".repeat(lines)), file(EXCEPTIONS, exceptions.into())])
    }

    #[test]
    fn the_list_of_exceptions_only_shrinks() {
        assert_eq!(findings(500, "").len(), 0);
        assert_eq!(findings(501, "").len(), 1);
        assert_eq!(findings(501, "file a.rs 501 # why\n").len(), 0);
        assert_eq!(findings(502, "file a.rs 501\n").len(), 1);
        assert!(findings(501, "file a.rs 502\n")[0].contains("lower the number"));
        assert!(findings(500, "file a.rs 501\n")[0].contains("remove the line"));
        assert!(findings(500, "file b.rs 501\n")[0].contains("remove the line"));
        assert_eq!(findings(500, "what\n").len(), 1);
    }

    #[test]
    fn long_functions_are_found() {
        let body = "    step();\n".repeat(71);
        let text = format!("//! A.\nfn long() {{\n{body}}}\n");
        let file = SourceFile { path: "a.rs".into(), text };
        let found = check(std::slice::from_ref(&file));
        assert_eq!(found, vec!["a.rs:2: function \"long\" has 71 lines, 70 are allowed"]);
        let list = SourceFile { path: EXCEPTIONS.into(), text: "fn a.rs long 71\n".into() };
        assert_eq!(check(&[file, list]).len(), 0);
    }
}
