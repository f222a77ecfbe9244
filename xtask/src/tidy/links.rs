//! Links between the project's pages lead somewhere: the file is there, and so is the heading.

use std::path::Path;

use super::files::SourceFile;

/// Links that lead nowhere.
pub(crate) fn check(files: &[SourceFile], root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.ending() == "md") {
        for (line, target) in links(&file.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let place = if path.is_empty() { file.path.clone() } else { resolve(&file.path, path) };
            let page = files.iter().find(|other| other.path == place);
            if page.is_none() && !root.join(&place).exists() {
                findings.push(format!(
                    "{}:{line}: link to \"{target}\", which is not there",
                    file.path
                ));
            } else if let Some(page) = page.filter(|_| !anchor.is_empty() && place.ends_with(".md"))
                && !headings(&page.text).iter().any(|heading| heading == anchor)
            {
                findings
                    .push(format!("{}:{line}: \"{place}\" has no heading \"{anchor}\"", file.path));
            }
        }
    }
    findings
}

/// `path` as seen from the file `from`, without `.` and `..`.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The lines outside of fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fence && !fenced).then_some((at + 1, line))
    })
}

/// Targets of `[text](target)`, outside of code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, line) in prose(text) {
        for (open, _) in line.match_indices("](") {
            if line[..open].matches('`').count() % 2 == 1 {
                continue;
            }
            let rest = &line[open + 2..];
            if let Some(close) = rest.find(')') {
                let target = rest[..close].split_whitespace().next().unwrap_or_default();
                found.push((at, target));
            }
        }
    }
    found
}

/// The anchors of a page's headings, as code forges make them.
fn headings(text: &str) -> Vec<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim();
            let kept =
                title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        let page = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let files = [page("docs/a.md", text), page("docs/guide/b.md", "# The exit codes: all\n")];
        check(&files, Path::new("nowhere")).len()
    }

    #[test]
    fn links_lead_somewhere() {
        assert_eq!(findings("[b](guide/b.md) and [c](./guide/b.md#the-exit-codes-all)"), 0);
        assert_eq!(findings("[b](b.md)"), 1);
        assert_eq!(findings("[b](guide/b.md#nothing)"), 1);
        assert_eq!(findings("[web](https://example.com/x.md) `[x](y.md)`\n```\n[x](y.md)\n```"), 0);
        assert_eq!(findings("[up](../docs/guide/b.md)"), 0);
    }
}
