//! A project on disk: a folder with `yeoul.toml` and `*.sql` files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{self, Settings};
use crate::failure::Failure;
use crate::secrets;
use crate::shell::map_strings;

/// The folder, read.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// The folder. Paths in it are relative to here.
    pub(crate) dir: PathBuf,
    /// What `yeoul.toml` says; the defaults without one.
    pub(crate) settings: Settings,
    /// Name and text of the SQL files, in order of name.
    pub(crate) files: Vec<(String, String)>,
}

impl Project {
    /// Reads the folder `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, Failure> {
        if !dir.is_dir() {
            return Err(Failure::usage(format!(
                "project \"{}\" is not a folder\nhint: a project is a folder with *.sql files and, if needed, a yeoul.toml",
                dir.display()
            )));
        }
        let path = dir.join("yeoul.toml");
        let settings = match fs::read_to_string(&path) {
            Ok(text) => config::parse(without_mark(&text)).map_err(Failure::usage)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Settings::default(),
            Err(e) => return Err(Failure::file("read", &path, &e)),
        };
        let files = sql_files(dir)?;
        if files.is_empty() {
            return Err(Failure::usage(format!(
                "project \"{}\" has no *.sql files",
                dir.display()
            )));
        }
        Ok(Self { dir: dir.to_path_buf(), settings, files })
    }

    /// Where the project's data is: what the flag says, else what the settings say, seen from the folder.
    pub(crate) fn data(&self, flag: Option<&Path>) -> PathBuf {
        flag.map_or_else(|| self.dir.join(&self.settings.data), Path::to_path_buf)
    }
}

fn sql_files(dir: &Path) -> Result<Vec<(String, String)>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Failure::file("read", dir, &e))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "sql") && path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).map_err(|e| Failure::file("read", &path, &e))?;
            let text = filled_in(without_mark(&text))
                .map_err(|e| Failure::usage(format!("{}: a text {e}", path.display())))?;
            files.push((name, text));
        }
    }
    files.sort();
    Ok(files)
}

/// The text without the byte order mark that editors of Windows put in front.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The SQL with `${NAME}` in its strings taken from the environment. In passwords it stays as it is written: what is
/// stored is the name, and the engine looks the value up each time.
fn filled_in(sql: &str) -> Result<String, String> {
    if !sql.contains("${") {
        return Ok(sql.to_owned());
    }
    map_strings(sql, &mut |text, before| {
        let option = before.trim_end().strip_suffix('=').map(str::trim_end);
        if option.is_some_and(|option| option.to_ascii_lowercase().ends_with("password")) {
            return Ok(text.to_owned());
        }
        // A quote in a value must not end the string it comes into.
        let lookup = |name: &str| secrets::environment(name).map(|v| v.replace('\'', "''"));
        secrets::expand(text, &lookup)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_order_of_name() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["20_b.sql", "10_a.sql", "notes.md"] {
            fs::write(dir.path().join(name), name).expect("writes");
        }
        let project = Project::read(dir.path()).expect("a project");
        let names: Vec<&str> = project.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["10_a.sql", "20_b.sql"]);
        assert_eq!(project.data(None), dir.path().join("yeoul-data"));
        assert_eq!(project.data(Some(Path::new("x"))), PathBuf::from("x"));
        let empty = tempfile::tempdir().expect("a folder");
        assert!(Project::read(empty.path()).is_err());
    }
}
