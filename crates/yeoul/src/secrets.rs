//! What nobody is to see, and `${NAME}` in settings and in the strings of a project's SQL, taken from the environment.

/// A text that no log and no message shows.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The environment, as [`expand`] wants it.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `text` with every `${NAME}` replaced. `$${` stands for `${`.
pub(crate) fn expand(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        if let Some(kept) = before.strip_suffix('$') {
            out.push_str(kept);
            out.push_str("${");
            rest = &after[2..];
            continue;
        }
        out.push_str(before);
        let Some(end) = after.find('}') else {
            return Err("has a \"${\" without \"}\"".to_owned());
        };
        let name = &after[2..end];
        let Some(value) = lookup(name) else {
            return Err(format!(
                "needs the environment variable \"{name}\", which is not set\nhint: export {name}=… before starting"
            ));
        };
        out.push_str(&value);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced() {
        let lookup = |name: &str| (name == "A").then(|| "x".to_owned());
        assert_eq!(expand("a ${A}${A} b", &lookup).expect("known"), "a xx b");
        assert_eq!(expand("plain $1 $", &lookup).expect("nothing to do"), "plain $1 $");
        assert_eq!(expand("$${A}", &lookup).expect("escaped"), "${A}");
        assert!(expand("${B}", &lookup).expect_err("unknown").contains("\"B\""));
        assert!(expand("${A", &lookup).is_err());
    }
}
