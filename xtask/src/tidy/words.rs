//! Words that must not be in the project: unfinished work, and the place where it was written.
//!
//! The words are spelled in pieces here, so that this file may be checked too.

use super::files::SourceFile;

/// How a word is looked for.
#[derive(Clone, Copy)]
enum Where {
    /// Anywhere in a line.
    Anywhere,
    /// As a whole word.
    Word,
}

/// A word, how it is looked for, and what is wrong with it.
type Rule = (&'static str, Where, &'static str);

const UNFINISHED: &str = "unfinished work; do it, or say in the documentation that it is absent";
const MACHINE: &str = "a path of one machine; say it relative to the project or to $HOME";
const HOST: &str = "the address of a package registry; name the package";
const PLACE: &str = "where and by whom this was written does not belong here";

const RULES: [Rule; 20] = [
    (concat!("TO", "DO"), Where::Word, UNFINISHED),
    (concat!("FIX", "ME"), Where::Word, UNFINISHED),
    (concat!("un", "implemented!"), Where::Anywhere, UNFINISHED),
    (concat!("to", "do!("), Where::Anywhere, UNFINISHED),
    (concat!("(being ", "filled in)"), Where::Anywhere, UNFINISHED),
    (concat!("/wo", "rk/"), Where::Anywhere, MACHINE),
    (concat!("/ro", "ot/"), Where::Anywhere, MACHINE),
    (concat!("/ho", "me/"), Where::Anywhere, MACHINE),
    (concat!("/Use", "rs/"), Where::Anywhere, MACHINE),
    (concat!("index.crates", ".io"), Where::Anywhere, HOST),
    (concat!("static.crates", ".io"), Where::Anywhere, HOST),
    (concat!("pypi", ".org"), Where::Anywhere, HOST),
    (concat!("pythonhosted", ".org"), Where::Anywhere, HOST),
    (concat!("npmjs", ".org"), Where::Anywhere, HOST),
    (concat!("deb.debian", ".org"), Where::Anywhere, HOST),
    (concat!("work", "place"), Where::Word, PLACE),
    (concat!("C", "EO"), Where::Word, PLACE),
    (concat!("sub", "agent"), Where::Word, PLACE),
    (concat!("shared/", "design"), Where::Anywhere, PLACE),
    (concat!("shared/", "bench"), Where::Anywhere, PLACE),
];

/// Lines with one of the words.
pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for (at, line) in file.text.lines().enumerate() {
            for (word, place, why) in RULES {
                if holds(line, word, place) {
                    findings.push(format!("{}:{}: \"{word}\": {why}", file.path, at + 1));
                }
            }
        }
    }
    findings
}

fn holds(line: &str, word: &str, place: Where) -> bool {
    match place {
        Where::Anywhere => line.contains(word),
        Where::Word => line.match_indices(word).any(|(at, _)| {
            let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !letter(line[..at].chars().next_back())
                && !letter(line[at + word.len()..].chars().next())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        check(&[SourceFile { path: "a.rs".into(), text: text.into() }]).len()
    }

    #[test]
    fn words_are_found_as_words() {
        assert_eq!(findings(concat!("// TO", "DO: later")), 1);
        assert_eq!(findings(concat!("let MASTO", "DON = 1;")), 0);
        assert_eq!(findings(concat!("    un", "implemented!()")), 1);
        assert_eq!(findings(concat!("cd /ro", "ot/project")), 1);
        assert_eq!(findings("the price is \u{20ac} 5\nplain"), 0);
    }
}
