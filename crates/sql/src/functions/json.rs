//! `->` and `->>` on `jsonb`, which is kept as compact text.
//!
//! The text is scanned up to the value asked for; nothing is built on the way. Text that is not
//! JSON has no members, so the answer is null, as it is for a missing key.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::datatype;

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonGet {
    text: bool,
    signature: Signature,
}

fn function(text: bool) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(JsonGet { text, signature }))
}

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![function(false), function(true)]
}

/// Plans `->` and `->>`.
#[derive(Debug, Default)]
pub(crate) struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let text = match expr.op {
            BinaryOperator::Arrow => false,
            BinaryOperator::LongArrow => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(function(text).call(vec![expr.left, expr.right])))
    }
}

impl ScalarUDFImpl for JsonGet {
    fn name(&self) -> &str {
        if self.text { "json_get_text" } else { "json_get" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        let field =
            if self.text { Field::new("", DataType::Utf8View, true) } else { datatype::jsonb() };
        Ok(Arc::new(field.with_name(self.name())))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [json, key] = arg_types else {
            return plan_err!("function \"{}\" takes a jsonb and a key", self.name());
        };
        if !(datatype::is_string(json) || *json == DataType::Null) {
            return plan_err!("-> and ->> work on jsonb, not on {}", datatype::sql_type_name(json));
        }
        let key = match key {
            k if datatype::is_string(k) || *k == DataType::Null => DataType::Utf8View,
            k if k.is_integer() => DataType::Int64,
            k => {
                return plan_err!(
                    "the key of -> and ->> is a text or a whole number, not {}",
                    datatype::sql_type_name(k)
                );
            }
        };
        Ok(vec![DataType::Utf8View, key])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let json = cast(&args.args[0].to_array(rows)?, &DataType::Utf8View)?;
        let key = match &args.args[1] {
            // One key for all rows is the usual case: it is kept as one value.
            ColumnarValue::Scalar(key) => Keys::One(Key::of(key)),
            ColumnarValue::Array(keys) => Keys::Many(Arc::clone(keys)),
        };
        let out = self.get(&json, &key)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?));
        }
        Ok(ColumnarValue::Array(out))
    }
}

enum Keys {
    One(Option<Key<'static>>),
    Many(ArrayRef),
}

#[derive(Clone, Debug, PartialEq)]
enum Key<'a> {
    Member(Cow<'a, str>),
    Index(i64),
}

impl Key<'static> {
    fn of(scalar: &ScalarValue) -> Option<Self> {
        match scalar {
            ScalarValue::Int64(i) => i.map(Key::Index),
            other => other.try_as_str().flatten().map(|s| Key::Member(Cow::Owned(s.to_owned()))),
        }
    }
}

fn key_at(keys: &ArrayRef, row: usize) -> Option<Key<'_>> {
    if keys.is_null(row) {
        return None;
    }
    match keys.data_type() {
        DataType::Int64 => Some(Key::Index(keys.as_primitive::<Int64Type>().value(row))),
        DataType::Utf8View => Some(Key::Member(Cow::Borrowed(keys.as_string_view().value(row)))),
        _ => None,
    }
}

impl JsonGet {
    fn get(&self, json: &ArrayRef, keys: &Keys) -> Result<ArrayRef> {
        let json = json.as_string_view();
        let mut out = StringViewBuilder::with_capacity(json.len());
        let mut scratch = String::new();
        for (row, text) in json.iter().enumerate() {
            let several;
            let key = match keys {
                Keys::One(key) => key.as_ref(),
                Keys::Many(keys) => {
                    several = key_at(keys, row);
                    several.as_ref()
                }
            };
            let found = text.zip(key).and_then(|(text, key)| find(text, key));
            match found {
                None => out.append_null(),
                Some("null") if self.text => out.append_null(),
                Some(raw) if self.text && raw.starts_with('"') => {
                    match unescaped(raw, &mut scratch) {
                        Some(value) => out.append_value(value),
                        None => out.append_null(),
                    }
                }
                Some(raw) => out.append_value(raw),
            }
        }
        Ok(Arc::new(out.finish()))
    }
}

/// The text of the member or element `key` of the JSON `text`.
fn find<'a>(text: &'a str, key: &Key<'_>) -> Option<&'a str> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.space();
    match (scanner.peek()?, key) {
        (b'{', Key::Member(name)) => scanner.member(name),
        (b'[', Key::Index(i)) if *i >= 0 => scanner.element(usize::try_from(*i).ok()?),
        (b'[', Key::Index(i)) => {
            let count = Scanner { text, at: scanner.at }.count()?;
            scanner.element(count.checked_sub(usize::try_from(i.unsigned_abs()).ok()?)?)
        }
        _ => None,
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Steps over a string and gives it with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.eat(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at)
    }

    /// Steps over a value and gives its text.
    fn value(&mut self) -> Option<&'a str> {
        self.space();
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth > 0 => self.at += 1,
                _ => {
                    let inside = |b: &u8| {
                        !matches!(
                            b,
                            b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b'"'
                        )
                    };
                    let rest = &self.text.as_bytes()[self.at..];
                    let length = rest.iter().take_while(|b| inside(b)).count();
                    if length == 0 {
                        return None;
                    }
                    self.at += length;
                }
            }
            if depth == 0 {
                return self.text.get(start..self.at);
            }
        }
    }

    fn member(&mut self, name: &str) -> Option<&'a str> {
        self.eat(b'{')?;
        let mut scratch = String::new();
        loop {
            self.space();
            let key = self.string()?;
            self.eat(b':')?;
            let same = if key.contains('\\') {
                unescaped(key, &mut scratch)? == name
            } else {
                key.get(1..key.len() - 1)? == name
            };
            let value = self.value()?;
            if same {
                return Some(value);
            }
            self.eat(b',')?;
        }
    }

    fn element(&mut self, index: usize) -> Option<&'a str> {
        self.eat(b'[')?;
        for _ in 0..index {
            self.value()?;
            self.eat(b',')?;
        }
        self.space();
        if self.peek()? == b']' {
            return None;
        }
        self.value()
    }

    fn count(mut self) -> Option<usize> {
        self.eat(b'[')?;
        self.space();
        if self.peek()? == b']' {
            return Some(0);
        }
        let mut count = 0;
        loop {
            self.value()?;
            count += 1;
            self.space();
            if self.peek()? != b',' {
                return Some(count);
            }
            self.at += 1;
        }
    }
}

/// What the string literal `raw` (with its quotes) says.
fn unescaped<'a>(raw: &'a str, scratch: &'a mut String) -> Option<&'a str> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if !inner.contains('\\') {
        return Some(inner);
    }
    scratch.clear();
    let mut rest = inner;
    while let Some(i) = rest.find('\\') {
        scratch.push_str(&rest[..i]);
        let escape = *rest.as_bytes().get(i + 1)?;
        rest = rest.get(i + 2..)?;
        scratch.push(match escape {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'"' | b'\\' | b'/' => char::from(escape),
            b'u' => {
                let (c, tail) = unicode(rest)?;
                rest = tail;
                c
            }
            _ => return None,
        });
    }
    scratch.push_str(rest);
    Some(scratch)
}

/// The character of `XXXX`, or of a surrogate pair `XXXX\uXXXX`, and what follows.
fn unicode(text: &str) -> Option<(char, &str)> {
    let four = |t: &str| u32::from_str_radix(t.get(..4)?, 16).ok();
    let high = four(text)?;
    let rest = text.get(4..)?;
    if !(0xd800..0xdc00).contains(&high) {
        return Some((char::from_u32(high)?, rest));
    }
    let low = four(rest.strip_prefix("\\u")?)?;
    let code = 0x10000 + ((high - 0xd800) << 10) + low.checked_sub(0xdc00)?;
    Some((char::from_u32(code)?, rest.get(6..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_members_and_elements() {
        let check = |text: &str, key: Key<'_>, expected: Option<&str>| {
            assert_eq!(find(text, &key), expected, "{text} {key:?}");
        };
        let member = |name: &'static str| Key::Member(Cow::Borrowed(name));
        let text = r#"{"a":1,"b":{"c":[1,"x,}"],"d":null},"e\"":"q","s":"t\n\u00e9"}"#;
        check(text, member("a"), Some("1"));
        check(text, member("b"), Some(r#"{"c":[1,"x,}"],"d":null}"#));
        check(text, member("e\""), Some("\"q\""));
        check(text, member("s"), Some(r#""t\n\u00e9""#));
        check(text, member("x"), None);
        check(text, Key::Index(0), None);
        check("[1, [2,3] ,\"z\"]", Key::Index(1), Some("[2,3]"));
        check("[1,2,3]", Key::Index(-1), Some("3"));
        check("[1,2,3]", Key::Index(3), None);
        check("[1,2,3]", Key::Index(-4), None);
        check("[]", Key::Index(0), None);
        check("{}", member("a"), None);
        for broken in ["", "{", "{\"a\"", "{\"a\":", "[1", "nonsense", "{\"a\":1", "\"\\"] {
            check(broken, member("b"), None);
            check(broken, Key::Index(5), None);
        }
        let mut scratch = String::new();
        assert_eq!(unescaped(r#""t\n\u00e9\ud83d\ude00""#, &mut scratch), Some("t\né😀"));
    }
}
