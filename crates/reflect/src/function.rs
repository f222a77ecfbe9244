//! The functions of single values, by name. Those about objects of the catalog are in `object`.

use super::Failure;
use super::kind::Kind;
use super::node::Eval;
use super::run::Run;
use super::value::Value;
use super::{cast, fixed, object};

/// A function.
pub(super) struct Known {
    pub(super) eval: Eval,
    /// What it takes; the last holds for further values. `UNKNOWN` takes anything.
    pub(super) takes: &'static [Kind],
    /// What it gives; `UNKNOWN` is what its first value is.
    pub(super) gives: Kind,
    /// Whether a null among its values makes the answer null.
    pub(super) strict: bool,
}

impl Known {
    pub(super) fn new(takes: &'static [Kind], gives: Kind, eval: Eval) -> Self {
        Self { eval, takes, gives, strict: true }
    }

    /// One that looks at nulls itself.
    pub(super) fn lenient(takes: &'static [Kind], gives: Kind, eval: Eval) -> Self {
        Self { eval, takes, gives, strict: false }
    }
}

const ANY: &[Kind] = &[Kind::UNKNOWN];
const TEXT: &[Kind] = &[Kind::TEXT];
const TEXT_INT: &[Kind] = &[Kind::TEXT, Kind::INT4];
const ARRAY_INT: &[Kind] = &[Kind::TEXT_ARRAY, Kind::INT4];
const FLOAT: &[Kind] = &[Kind::FLOAT8];

/// The function of this name.
pub(super) fn known(name: &str) -> Option<Known> {
    texts(name)
        .or_else(|| more_texts(name))
        .or_else(|| arrays(name))
        .or_else(|| object::times(name))
        .or_else(|| object::session(name))
        .or_else(|| object::definitions(name))
        .or_else(|| object::sizes(name))
        .or_else(|| object::rights(name))
}

/// The text of a value; its place must be there, which the number of arguments says.
fn text(values: &[Value], at: usize) -> String {
    values.get(at).map(Value::shown).unwrap_or_default()
}

fn int(values: &[Value], at: usize) -> Option<i64> {
    values.get(at).and_then(Value::int)
}

fn texts(name: &str) -> Option<Known> {
    Some(match name {
        "quote_ident" => {
            Known::new(TEXT, Kind::TEXT, |_, v| Ok(Value::text(cast::quoted(&text(v, 0)))))
        }
        "quote_literal" => Known::new(TEXT, Kind::TEXT, |_, v| {
            Ok(Value::text(format!("'{}'", text(v, 0).replace('\'', "''"))))
        }),
        "lower" => Known::new(TEXT, Kind::TEXT, |_, v| Ok(Value::text(text(v, 0).to_lowercase()))),
        "upper" => Known::new(TEXT, Kind::TEXT, |_, v| Ok(Value::text(text(v, 0).to_uppercase()))),
        "length" | "char_length" | "character_length" => {
            Known::new(TEXT, Kind::INT4, |_, v| Ok(count(text(v, 0).chars().count())))
        }
        "octet_length" => Known::new(TEXT, Kind::INT4, |_, v| Ok(count(text(v, 0).len()))),
        "substring" | "substr" => {
            Known::new(&[Kind::TEXT, Kind::INT4, Kind::INT4], Kind::TEXT, |_, v| {
                let from = int(v, 1).unwrap_or(1);
                let end = int(v, 2).map(|length| from.saturating_add(length));
                let inside = |at: i64| at >= from && end.is_none_or(|end| at < end);
                let kept = text(v, 0);
                let kept = kept.chars().zip(1_i64..).filter(|(_, at)| inside(*at));
                Ok(Value::text(kept.map(|(c, _)| c).collect::<String>()))
            })
        }
        "left" => Known::new(TEXT_INT, Kind::TEXT, |_, v| {
            let count = usize::try_from(int(v, 1).unwrap_or(0)).unwrap_or(0);
            Ok(Value::text(text(v, 0).chars().take(count).collect::<String>()))
        }),
        "right" => Known::new(TEXT_INT, Kind::TEXT, |_, v| {
            let count = usize::try_from(int(v, 1).unwrap_or(0)).unwrap_or(0);
            let text = text(v, 0);
            let passed = text.chars().count().saturating_sub(count);
            Ok(Value::text(text.chars().skip(passed).collect::<String>()))
        }),
        "strpos" => Known::new(TEXT, Kind::INT4, |_, v| {
            let (text, part) = (text(v, 0), text(v, 1));
            Ok(text.find(&part).map_or(Value::Int(0), |at| count(text[..at].chars().count() + 1)))
        }),
        "replace" => Known::new(TEXT, Kind::TEXT, |_, v| {
            Ok(Value::text(text(v, 0).replace(&text(v, 1), &text(v, 2))))
        }),
        "starts_with" => Known::new(TEXT, Kind::BOOL, |_, v| {
            Ok(Value::Bool(text(v, 0).starts_with(&text(v, 1))))
        }),
        "split_part" => Known::new(&[Kind::TEXT, Kind::TEXT, Kind::INT4], Kind::TEXT, |_, v| {
            let (text, between) = (text(v, 0), text(v, 1));
            let at = int(v, 2).and_then(|at| usize::try_from(at - 1).ok());
            let part = at.and_then(|at| text.split(&between).nth(at).map(str::to_owned));
            Ok(Value::text(part.unwrap_or_default()))
        }),
        _ => return None,
    })
}

fn more_texts(name: &str) -> Option<Known> {
    let trim = |eval: Eval| Known::new(TEXT, Kind::TEXT, eval);
    Some(match name {
        "btrim" | "trim" => trim(|_, v| {
            let what = trimmed(v);
            Ok(Value::text(text(v, 0).trim_matches(what.as_slice())))
        }),
        "ltrim" => trim(|_, v| {
            let what = trimmed(v);
            Ok(Value::text(text(v, 0).trim_start_matches(what.as_slice())))
        }),
        "rtrim" => trim(|_, v| {
            let what = trimmed(v);
            Ok(Value::text(text(v, 0).trim_end_matches(what.as_slice())))
        }),
        "concat" => Known::lenient(ANY, Kind::TEXT, |_, v| {
            Ok(Value::text(v.iter().map(Value::shown).collect::<String>()))
        }),
        "concat_ws" => Known::lenient(ANY, Kind::TEXT, |_, v| {
            let present = v.iter().skip(1).filter(|value| !value.is_null());
            Ok(Value::text(present.map(Value::shown).collect::<Vec<_>>().join(&text(v, 0))))
        }),
        "format" => Known::lenient(ANY, Kind::TEXT, |_, v| Ok(Value::text(formatted(v)))),
        "regexp_replace" => Known::new(TEXT, Kind::TEXT, |_, v| {
            let flags = text(v, 3);
            let pattern = regex::RegexBuilder::new(&text(v, 1))
                .case_insensitive(flags.contains('i'))
                .build()
                .map_err(|_| Failure::new("2201B", "invalid regular expression"))?;
            let limit = usize::from(!flags.contains('g'));
            let with = text(v, 2).replace('$', "$$").replace("\\1", "${1}").replace("\\2", "${2}");
            Ok(Value::text(pattern.replacen(&text(v, 0), limit, with.as_str())))
        }),
        "json_build_object" | "jsonb_build_object" => {
            Known::lenient(ANY, Kind(114), |_, v| Ok(Value::text(object_of(v))))
        }
        "abs" => Known::new(ANY, Kind::UNKNOWN, |_, v| {
            Ok(match &v[0] {
                Value::Int(value) => Value::Int(value.saturating_abs()),
                other => other.float().map_or(Value::Null, |value| Value::Float(value.abs())),
            })
        }),
        "floor" => Known::new(FLOAT, Kind::FLOAT8, |_, v| Ok(rounded(v, f64::floor))),
        "ceil" | "ceiling" => Known::new(FLOAT, Kind::FLOAT8, |_, v| Ok(rounded(v, f64::ceil))),
        "round" => Known::new(FLOAT, Kind::FLOAT8, |_, v| Ok(rounded(v, f64::round))),
        _ => return None,
    })
}

fn rounded(values: &[Value], how: fn(f64) -> f64) -> Value {
    values.first().and_then(Value::float).map_or(Value::Null, |value| Value::Float(how(value)))
}

/// The characters that a trim takes away.
fn trimmed(values: &[Value]) -> Vec<char> {
    values.get(1).map_or_else(|| vec![' '], |value| value.shown().chars().collect())
}

/// Names and values in turn as a JSON object.
fn object_of(values: &[Value]) -> String {
    let quoted = |text: String| serde_json::Value::String(text).to_string();
    let pairs = values.chunks(2).map(|pair| {
        let value = match pair.get(1) {
            None | Some(Value::Null) => "null".to_owned(),
            Some(Value::Bool(value)) => value.to_string(),
            Some(Value::Int(value)) => value.to_string(),
            Some(value) => quoted(value.shown()),
        };
        format!("{} : {value}", quoted(text(pair, 0)))
    });
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

/// `format('%I.%s', …)`.
fn formatted(values: &[Value]) -> String {
    let mut rest = values.iter().skip(1);
    let mut out = String::new();
    let pattern = text(values, 0);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('I') => {
                out.push_str(&cast::quoted(&rest.next().map(Value::shown).unwrap_or_default()))
            }
            Some('L') => match rest.next() {
                Some(Value::Null) | None => out.push_str("NULL"),
                Some(value) => {
                    out.push_str(&format!("'{}'", value.shown().replace('\'', "''")));
                }
            },
            Some('s') => out.push_str(&rest.next().map(Value::shown).unwrap_or_default()),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

fn arrays(name: &str) -> Option<Known> {
    Some(match name {
        "array_to_string" => Known::lenient(&[Kind::TEXT_ARRAY, Kind::TEXT], Kind::TEXT, |_, v| {
            let Some(items) = v[0].items() else { return Ok(Value::Null) };
            let instead = v.get(2).filter(|value| !value.is_null()).map(Value::shown);
            let shown = |item: &Value| match item {
                Value::Null => instead.clone(),
                item => Some(item.shown()),
            };
            Ok(Value::text(items.iter().filter_map(shown).collect::<Vec<_>>().join(&text(v, 1))))
        }),
        "string_to_array" => Known::lenient(TEXT, Kind::TEXT_ARRAY, |_, v| {
            if v[0].is_null() {
                return Ok(Value::Null);
            }
            let (text, between) = (text(v, 0), text(v, 1));
            if text.is_empty() {
                return Ok(Value::list([]));
            }
            Ok(Value::list(text.split(&between).map(Value::text)))
        }),
        "array_length" | "array_upper" => Known::new(ARRAY_INT, Kind::INT4, |_, v| {
            let count_of = v[0].items().map_or(0, |items| items.len());
            Ok(if count_of == 0 { Value::Null } else { count(count_of) })
        }),
        "array_lower" => Known::new(ARRAY_INT, Kind::INT4, |_, v| {
            let empty = v[0].items().is_none_or(|items| items.is_empty());
            Ok(if empty { Value::Null } else { Value::Int(1) })
        }),
        "cardinality" => Known::new(ARRAY_INT, Kind::INT4, |_, v| {
            Ok(count(v[0].items().map_or(0, |items| items.len())))
        }),
        "array_position" => {
            Known::lenient(&[Kind::TEXT_ARRAY, Kind::UNKNOWN], Kind::INT4, |_, v| {
                let at = v[0].items().and_then(|items| items.iter().position(|item| *item == v[1]));
                Ok(at.map_or(Value::Null, |at| count(at + 1)))
            })
        }
        "array_append" => Known::lenient(ANY, Kind::UNKNOWN, |_, v| {
            let items = v[0].items().map(|items| items.to_vec()).unwrap_or_default();
            Ok(Value::list(items.into_iter().chain([v[1].clone()])))
        }),
        "array_remove" => Known::lenient(ANY, Kind::UNKNOWN, |_, v| {
            let Some(items) = v[0].items() else { return Ok(Value::Null) };
            Ok(Value::list(items.iter().filter(|item| **item != v[1]).cloned()))
        }),
        "array_contains_all" => Known::new(&[Kind::TEXT_ARRAY], Kind::BOOL, |_, v| {
            let (Some(all), Some(some)) = (v[0].items(), v[1].items()) else {
                return Ok(Value::Null);
            };
            Ok(Value::Bool(some.iter().all(|item| all.contains(item))))
        }),
        "array_overlaps" => Known::new(&[Kind::TEXT_ARRAY], Kind::BOOL, |_, v| {
            let (Some(a), Some(b)) = (v[0].items(), v[1].items()) else { return Ok(Value::Null) };
            Ok(Value::Bool(a.iter().any(|item| b.contains(item))))
        }),
        "parse_ident" => Known::new(TEXT, Kind::TEXT_ARRAY, |_, v| {
            Ok(Value::list(cast::parts(&text(v, 0)).into_iter().map(Value::text)))
        }),
        _ => return None,
    })
}

/// A number of things.
pub(super) fn count(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The largest of values that are not null.
pub(super) fn greatest(_: &Run<'_>, values: &[Value]) -> Result<Value, Failure> {
    let present = values.iter().filter(|value| !value.is_null());
    Ok(present.max_by(|a, b| a.order(b)).cloned().unwrap_or(Value::Null))
}

/// The smallest of values that are not null.
pub(super) fn least(_: &Run<'_>, values: &[Value]) -> Result<Value, Failure> {
    let present = values.iter().filter(|value| !value.is_null());
    Ok(present.min_by(|a, b| a.order(b)).cloned().unwrap_or(Value::Null))
}

/// The one value that `FROM f(x)` gives where `f` gives one.
pub(super) fn only(_: &Run<'_>, values: &[Value]) -> Result<Value, Failure> {
    Ok(values.first().cloned().unwrap_or(Value::Null))
}

/// The function of this name that gives several values, as an array.
pub(super) fn several(name: &str) -> Option<Eval> {
    Some(match name {
        "unnest" => only,
        "generate_series" => |_, v| {
            let (Some(from), Some(to)) = (int(v, 0), int(v, 1)) else { return Ok(Value::Null) };
            if to.saturating_sub(from) > 1_000_000 {
                return Err(Failure::new("53000", "the series is too long"));
            }
            let by = usize::try_from(int(v, 2).unwrap_or(1).max(1)).unwrap_or(1);
            Ok(Value::list((from..=to).step_by(by).map(Value::Int)))
        },
        "generate_subscripts" => |_, v| {
            let end = v[0].items().map_or(0, |items| items.len());
            Ok(Value::list((0..end).map(|at| count(at + 1))))
        },
        "_pg_expandarray" => |_, v| {
            let Some(items) = v[0].items() else { return Ok(Value::Null) };
            let pairs = items.iter().enumerate();
            Ok(Value::list(pairs.map(|(at, item)| Value::list([item.clone(), count(at + 1)]))))
        },
        "regexp_split_to_table" | "string_to_table" => {
            |_, v| Ok(Value::list(text(v, 0).split(&text(v, 1)).map(Value::text)))
        }
        "pg_partition_ancestors" => |_, v| Ok(Value::list(v.first().cloned())),
        "pg_get_keywords" => |_, _| Ok(Value::list(fixed::keywords())),
        "pg_options_to_table" => |_, v| {
            let options = v.first().and_then(Value::items).cloned();
            let pairs = options.iter().flat_map(|items| items.iter()).map(|item| {
                let text = item.shown();
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                Value::list([Value::text(name), Value::text(value)])
            });
            Ok(Value::list(pairs))
        },
        // Nobody is granted anything: rights are not kept.
        "aclexplode" | "pg_listening_channels" | "pg_partition_tree" => |_, _| Ok(Value::list([])),
        _ => return None,
    })
}
