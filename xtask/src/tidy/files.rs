//! The project's own text files, read once.

use std::fs;
use std::io;
use std::path::Path;

/// A text file of the project.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

impl SourceFile {
    /// The ending of the name, empty when there is none.
    pub(crate) fn ending(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, ending)| ending)
    }

    /// Whether it is program text, in any of the project's languages.
    pub(crate) fn is_code(&self) -> bool {
        matches!(self.ending(), "rs" | "py" | "sh" | "ts" | "js" | "svelte" | "css" | "html")
    }
}

/// Folders that hold nothing of ours, wherever they are.
const NOT_OURS: [&str; 7] =
    [".git", "node_modules", "__pycache__", ".venv", "venv", "target", "yeoul-data"];

/// Paths from the root that hold nothing of ours.
const NOT_OURS_HERE: [&str; 4] = ["data", "fuzz/artifacts", "fuzz/corpus", "console/dist"];

/// Files made by tools, not written. `.git` is one in a second working tree.
const MADE: [&str; 4] = [".git", "Cargo.lock", "package-lock.json", "LICENSE"];

/// All text files below `root`, in order of path.
pub(crate) fn read(root: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(root: &Path, dir: &str, files: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !NOT_OURS.contains(&name.as_str()) && !NOT_OURS_HERE.contains(&path.as_str()) {
                walk(root, &path, files)?;
            }
        } else if kind.is_file() && !MADE.contains(&name.as_str()) {
            // What is not UTF-8 is data, and data has no rules here.
            if let Ok(text) = String::from_utf8(fs::read(entry.path())?) {
                files.push(SourceFile { path, text });
            }
        }
    }
    Ok(())
}
