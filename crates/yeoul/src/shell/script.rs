//! Cutting a text into statements and `\commands`.
//!
//! What must hold: a semicolon inside a string, a quoted name, a comment or a dollar-quoted text ends
//! nothing; the pieces, in order, are slices of the text.

/// A part of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A statement, without its semicolon.
    Statement(&'a str),
    /// A line that begins with a backslash, without it.
    Meta(&'a str),
}

/// The pieces of `text`. What follows the last semicolon is a statement as well.
pub(crate) fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let begin = rest.len() - rest.trim_start().len();
        rest = &rest[begin..];
        if rest.is_empty() {
            return pieces;
        }
        if let Some(line) = rest.strip_prefix('\\') {
            let end = line.find('\n').unwrap_or(line.len());
            pieces.push(Piece::Meta(line[..end].trim().trim_end_matches(';')));
            rest = &line[end..];
            continue;
        }
        let end = statement_end(rest);
        let statement = rest[..end.unwrap_or(rest.len())].trim();
        if !only_comments(statement) {
            pieces.push(Piece::Statement(statement));
        }
        rest = end.map_or("", |end| &rest[end + 1..]);
    }
}

/// Whether a person who typed this is done: a `\command`, nothing, or a statement with its semicolon.
pub(crate) fn is_complete(text: &str) -> bool {
    let mut rest = text.trim();
    if rest.is_empty() || rest.starts_with('\\') {
        return true;
    }
    while let Some(end) = statement_end(rest) {
        rest = rest[end + 1..].trim();
        if rest.is_empty() || rest.starts_with('\\') {
            return true;
        }
    }
    false
}

/// `text` with every string literal (`'…'`, quotes included) replaced by what `change` makes of it and of what stands before.
pub(crate) fn map_strings<E>(
    text: &str,
    change: &mut dyn FnMut(&str, &str) -> Result<String, E>,
) -> Result<String, E> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(skip(rest));
        if piece.starts_with('\'') {
            let changed = change(piece, &out)?;
            out.push_str(&changed);
        } else {
            out.push_str(piece);
        }
        rest = after;
    }
    Ok(out)
}

/// The word that a statement begins with, in capitals: behind comments and parentheses.
pub(crate) fn first_word(statement: &str) -> String {
    let mut rest = statement;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        if !rest.starts_with("--") && !rest.starts_with("/*") {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            return rest[..end].to_ascii_uppercase();
        }
        rest = &rest[skip(rest)..];
    }
}

fn only_comments(text: &str) -> bool {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("--") || rest.starts_with("/*") {
            at += skip(rest);
        } else if rest.starts_with(char::is_whitespace) {
            at += rest.chars().next().map_or(1, char::len_utf8);
        } else {
            return false;
        }
    }
    true
}

/// Where the first semicolon is that ends a statement.
fn statement_end(text: &str) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        if text.as_bytes()[at] == b';' {
            return Some(at);
        }
        at += skip(&text[at..]);
    }
    None
}

/// The length of the string, name, comment, or else single character that `text` begins with.
fn skip(text: &str) -> usize {
    let after = |open: usize, close: &str| {
        text.get(open..).and_then(|t| t.find(close)).map_or(text.len(), |n| open + n + close.len())
    };
    let first = text.chars().next().unwrap_or(' ');
    match first {
        '\'' => after(1, "'"),
        '"' => after(1, "\""),
        '-' if text.starts_with("--") => text.find('\n').unwrap_or(text.len()),
        '/' if text.starts_with("/*") => nested_comment(text),
        '$' => {
            let tag_end = text[1..].find('$').map(|n| n + 2);
            match tag_end.map(|end| &text[..end]) {
                Some(tag)
                    if tag[1..tag.len() - 1].chars().all(|c| c.is_alphanumeric() || c == '_') =>
                {
                    after(tag.len(), tag)
                }
                _ => 1,
            }
        }
        _ => first.len_utf8(),
    }
}

fn nested_comment(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Piece::{Meta, Statement};

    #[test]
    fn scripts_are_cut_at_semicolons_that_end_something() {
        let cases: [(&str, &[Piece<'_>]); 8] = [
            ("SELECT 1; SELECT 2", &[Statement("SELECT 1"), Statement("SELECT 2")]),
            ("SELECT ';', \";\";", &[Statement("SELECT ';', \";\"")]),
            ("SELECT 'it''s; é';\n", &[Statement("SELECT 'it''s; é'")]),
            ("-- a; b\nSELECT 1;", &[Statement("-- a; b\nSELECT 1")]),
            (
                "/* a; /* b; */ c; */ SELECT 1; -- end\n",
                &[Statement("/* a; /* b; */ c; */ SELECT 1")],
            ),
            (
                "SELECT $$a;b$$, $x$;$$;$x$; SELECT $1",
                &[Statement("SELECT $$a;b$$, $x$;$$;$x$"), Statement("SELECT $1")],
            ),
            (
                "\\timing\nSELECT 1;\\d ads;\n",
                &[Meta("timing"), Statement("SELECT 1"), Meta("d ads")],
            ),
            (" ;; ", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn a_statement_begins_with_a_word() {
        for statement in ["select 1", " -- a\n/* b /* c */ */((SELECT 1))", "Select\n1", "select*"]
        {
            assert_eq!(first_word(statement), "SELECT", "{statement}");
        }
        assert_eq!(first_word("-- nothing"), "");
        assert_eq!(first_word("'text'"), "");
    }

    #[test]
    fn strings_alone_are_changed() {
        let text = "SELECT 'a', \"a\", $$a$$ -- 'a'\n/* 'a' */ 'é'";
        let changed = map_strings(text, &mut |s, _| Ok::<_, ()>(s.replace(['a', 'é'], "x")));
        let expected = "SELECT 'x', \"a\", $$a$$ -- 'a'\n/* 'a' */ 'x'";
        assert_eq!(changed.as_deref(), Ok(expected));
    }

    #[test]
    fn a_statement_is_complete_with_its_semicolon() {
        assert!(is_complete("SELECT 1;"));
        assert!(is_complete("\\d"));
        assert!(is_complete(""));
        assert!(!is_complete("SELECT 1"));
        assert!(!is_complete("SELECT ';"));
        assert!(!is_complete("SELECT 1; SELECT"));
    }
}
