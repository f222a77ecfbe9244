//! Patterns of `to_char`, as PostgreSQL writes them, made those of `strftime`, which DataFusion takes.
//! A pattern with a `%` is one of `strftime` already.

use datafusion::sql::sqlparser::ast as sql;

use crate::error::{ErrorKind, SqlError};

/// A field of a pattern, whether its case counts, and what it is to `strftime`; of two that begin alike,
/// the longer first.
const FIELDS: [(&str, bool, &str); 20] = [
    ("FMMonth", true, "%B"),
    ("FMDay", true, "%A"),
    ("YYYY", false, "%Y"),
    ("HH24", false, "%H"),
    ("HH12", false, "%I"),
    ("DDD", false, "%j"),
    ("Mon", true, "%b"),
    ("YY", false, "%y"),
    ("MM", false, "%m"),
    ("MI", false, "%M"),
    ("MS", false, "%3f"),
    ("DD", false, "%d"),
    ("Dy", true, "%a"),
    ("HH", false, "%I"),
    ("SS", false, "%S"),
    ("US", false, "%6f"),
    ("AM", true, "%p"),
    ("PM", true, "%p"),
    ("am", true, "%P"),
    ("pm", true, "%P"),
];

/// What PostgreSQL knows besides, in either case. Looked for first, since `Month` begins as `Mon`.
const UNTRANSLATED: [&str; 14] =
    ["MONTH", "DAY", "SSSS", "A.D", "A.M", "B.C", "P.M", "FX", "FF", "TM", "TZ", "OF", "RM", "SP"];
/// The same, where no field of [`FIELDS`] stands.
const UNTRANSLATED_ELSE: [&str; 15] =
    ["MON", "AM", "PM", "AD", "BC", "CC", "DY", "FM", "TH", "D", "I", "J", "Q", "W", "Y"];

/// Translates the pattern of a call of `to_char`, where it is a text in the statement.
pub(super) fn to_char(function: &mut sql::Function) -> Result<(), SqlError> {
    let sql::FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let [_, sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(sql::Expr::Value(value)))] =
        list.args.as_mut_slice()
    else {
        return Ok(());
    };
    let sql::Value::SingleQuotedString(pattern) = &mut value.value else { return Ok(()) };
    if !pattern.contains('%') {
        *pattern = translated(pattern)?;
    }
    Ok(())
}

fn translated(pattern: &str) -> Result<String, SqlError> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let found = FIELDS.iter().find(|(text, exact, _)| begins(rest, text, *exact));
        let refused = UNTRANSLATED.iter().find(|text| begins(rest, text, false));
        let refused_else = UNTRANSLATED_ELSE.iter().find(|text| begins(rest, text, false));
        if let Some(text) = refused.or(refused_else.filter(|_| found.is_none())) {
            return Err(unknown(&rest[..text.len()]));
        } else if let Some((text, _, to)) = found {
            out.push_str(to);
            rest = &rest[text.len()..];
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            out.push_str(&quoted[..end]);
            rest = quoted[end..].strip_prefix('"').unwrap_or_default();
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(out)
}

fn begins(text: &str, field: &str, exact: bool) -> bool {
    let head = text.get(..field.len());
    head.is_some_and(|head| head == field || !exact && head.eq_ignore_ascii_case(field))
}

fn unknown(field: &str) -> SqlError {
    let known = FIELDS.iter().map(|(text, _, _)| *text);
    SqlError::new(ErrorKind::NotSupported, format!("to_char does not know \"{field}\""))
        .detail(format!("it knows {}", known.collect::<Vec<_>>().join(", ")))
        .hint("the patterns of strftime are taken as well: '%Y-%m-%d %H:%M:%S'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_translated_and_the_rest_stays() {
        for (pattern, expected) in [
            ("YYYY-MM-DD HH24:MI:SS", "%Y-%m-%d %H:%M:%S"),
            ("yyyymmdd", "%Y%m%d"),
            ("HH12:MI am", "%I:%M %P"),
            ("\"at\" HH24 \"YYYY", "at %H YYYY"),
            ("Mon FMMonth Dy DDD MS US", "%b %B %a %j %3f %6f"),
            ("–/:", "–/:"),
            ("HH24h MIm", "%Hh %Mm"),
            ("", ""),
        ] {
            assert_eq!(translated(pattern).expect(pattern), expected);
        }
        for pattern in
            ["Month", "Q", "YYYY Day", "mon", "SSSSS", "DDth", "DDTHH24", "D", "Y,YYY", "A.M."]
        {
            assert!(translated(pattern).is_err(), "{pattern}");
        }
    }
}
