//! Rust text with everything that is not code blanked out, and the functions in it.
//!
//! What must hold: the blanked text has the same length and the same lines as the text. It is not a
//! parser: it knows comments, strings, characters and braces, and that is enough to count.

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`, from 1.
    pub(crate) line: usize,
    /// Lines of its body that hold code, without blank lines and comments.
    pub(crate) lines: usize,
}

/// `text` with comments and the insides of strings and characters as spaces.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !is_word_before(bytes, at) => raw_end(bytes, at).unwrap_or(at + 1),
            b'b' if !is_word_before(bytes, at) && bytes.get(at + 1) == Some(&b'r') => {
                raw_end(bytes, at + 1).unwrap_or(at + 1)
            }
            b'\'' => character_end(bytes, at).unwrap_or(at + 1),
            _ => at + 1,
        };
        if end > at + 1 {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            // A string is code, whatever it says: its line counts.
            if bytes[at] != b'/' {
                out[at] = b'"';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n)
}

/// Block comments nest.
fn comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0usize;
    let mut i = at;
    while i + 1 < bytes.len() {
        match &bytes[i..i + 2] {
            b"/*" => {
                depth += 1;
                i += 2;
            }
            b"*/" => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut i = at + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"` or `r#"…"#` that begins at `at`, if one does.
fn raw_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|&&b| b == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut i = open + 1;
    while i < bytes.len() {
        if bytes[i] == b'"'
            && bytes[i + 1..].iter().take(hashes).filter(|&&b| b == b'#').count() == hashes
        {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(bytes.len())
}

/// The end of `'x'`, `'\n'` or `'é'`; `None` for a lifetime.
fn character_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[at + 3..].iter().position(|&b| b == b'\'')?;
        return Some(at + 4 + close);
    }
    let width = match bytes.get(at + 1)? {
        0..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + 2 + width)
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_word(bytes[at - 1])
}

/// The functions with a body in blanked text, nested ones too.
pub(crate) fn functions(blanked: &str) -> Vec<Function> {
    let bytes = blanked.as_bytes();
    let mut found = Vec::new();
    for (at, _) in blanked.match_indices("fn ") {
        if is_word_before(bytes, at) {
            continue;
        }
        let name: String = blanked[at + 3..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        // `fn (` is a pointer type.
        if name.is_empty() {
            continue;
        }
        if let Some((open, close)) = body(bytes, at) {
            found.push(Function {
                name,
                line: 1 + bytes[..at].iter().filter(|&&b| b == b'\n').count(),
                lines: blanked[open + 1..close].lines().filter(|l| !l.trim().is_empty()).count(),
            });
        }
    }
    found
}

/// Where the braces of the body are; `None` when the signature ends with `;`.
fn body(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut nested = 0i32;
    let mut i = at;
    let open = loop {
        match bytes.get(i)? {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b'{' if nested == 0 => break i,
            b';' if nested == 0 => return None,
            _ => {}
        }
        i += 1;
    };
    let mut depth = 0i32;
    for (i, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some((open, i));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Vec<(String, usize)> {
        functions(&blank(text)).into_iter().map(|f| (f.name, f.lines)).collect()
    }

    #[test]
    fn bodies_are_counted_without_comments_and_blanks() {
        let text = "fn a() {\n    // one\n\n    let x = 1;\n    /* two\n    three */\n    x;\n}\n";
        assert_eq!(sizes(text), vec![("a".into(), 2)]);
    }

    #[test]
    fn braces_in_strings_and_characters_are_not_braces() {
        let text = "fn a<'a>(x: &'a str) {\n  \"}\";\n  '}';\n  '\\'';\n  r#\"}\"}\"#;\n  b'{';\n}\nfn b() {}\n";
        assert_eq!(sizes(text), vec![("a".into(), 5), ("b".into(), 0)]);
    }

    #[test]
    fn signatures_without_body_are_passed_over() {
        let text =
            "trait T {\n  fn a(&self, x: [u8; 4]);\n  fn b(&self) -> fn (u8) -> u8 {\n 1;\n }\n}\n";
        assert_eq!(sizes(text), vec![("b".into(), 1)]);
    }

    #[test]
    fn blanking_keeps_length_and_lines() {
        let text = "let a = \"é\n}\"; // é {\n/* /* } */ { */ let b = 'é';\n";
        let blanked = blank(text);
        assert_eq!(blanked.len(), text.len());
        assert_eq!(blanked.lines().count(), text.lines().count());
        assert!(!blanked.contains(['{', '}']));
    }
}
