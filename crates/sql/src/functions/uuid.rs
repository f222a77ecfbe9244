//! Between `uuid` and text.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, StringViewBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::datatype;
use crate::error::{ErrorKind, SqlError};

/// The 16 bytes of a `uuid`, as PostgreSQL reads it: 32 hexadecimal digits with or without
/// hyphens after groups of four, in braces or not.
pub(crate) fn parse(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let mut out = [0u8; 16];
    let mut digits = 0usize;
    let mut hyphen = false;
    for c in text.chars() {
        if c == '-' && digits > 0 && digits < 32 && digits.is_multiple_of(4) && !hyphen {
            hyphen = true;
            continue;
        }
        hyphen = false;
        let digit = u8::try_from(c.to_digit(16)?).ok()?;
        let byte = out.get_mut(digits / 2)?;
        *byte = *byte << 4 | digit;
        digits += 1;
    }
    (digits == 32 && !hyphen).then_some(out)
}

/// Why a text is not a `uuid`.
pub(crate) fn invalid(text: &str) -> SqlError {
    SqlError::new(ErrorKind::InvalidText, format!("'{text}' is not a uuid"))
        .detail("a uuid has 32 hexadecimal digits: 550e8400-e29b-41d4-a716-446655440000")
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FromText(Signature);

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToText(Signature);

/// `uuid_from_text(varchar)`
pub(crate) fn from_text() -> Arc<ScalarUDF> {
    let signature = Signature::exact(vec![DataType::Utf8View], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(FromText(signature)))
}

/// `uuid_to_text(uuid)`
pub(crate) fn to_text() -> Arc<ScalarUDF> {
    let signature = Signature::exact(vec![DataType::FixedSizeBinary(16)], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(ToText(signature)))
}

impl ScalarUDFImpl for FromText {
    fn name(&self) -> &str {
        "uuid_from_text"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(16))
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(datatype::uuid().with_name(self.name())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        each(&args, |array| {
            let texts = cast(array, &DataType::Utf8View)?;
            let mut out = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
            for text in texts.as_string_view() {
                match text {
                    None => out.append_null(),
                    Some(text) => match parse(text) {
                        Some(bytes) => out.append_value(bytes)?,
                        None => return Err(DataFusionError::External(Box::new(invalid(text)))),
                    },
                }
            }
            Ok(Arc::new(out.finish()))
        })
    }
}

impl ScalarUDFImpl for ToText {
    fn name(&self) -> &str {
        "uuid_to_text"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        each(&args, |array| {
            let Some(values) = array.as_fixed_size_binary_opt() else {
                return exec_err!("uuid_to_text takes a uuid");
            };
            let mut out = StringViewBuilder::with_capacity(values.len());
            for value in values {
                match value {
                    None => out.append_null(),
                    Some(bytes) => {
                        let text = hyphenated(bytes);
                        out.append_value(std::str::from_utf8(&text).unwrap_or_default());
                    }
                }
            }
            Ok(Arc::new(out.finish()))
        })
    }
}

/// 8-4-4-4-12 hexadecimal digits.
fn hyphenated(bytes: &[u8]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in bytes.iter().take(16).enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            at += 1;
        }
        out[at] = DIGITS[usize::from(byte >> 4)];
        out[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    out
}

/// A function of one argument, of an array or of a single value.
pub(crate) fn each(
    args: &ScalarFunctionArgs,
    f: impl Fn(&dyn Array) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    match &args.args[0] {
        ColumnarValue::Array(array) => f(array.as_ref()).map(ColumnarValue::Array),
        ColumnarValue::Scalar(scalar) => {
            let out = f(scalar.to_array()?.as_ref())?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_postgres_reads() {
        let bytes = parse("550e8400-e29b-41d4-a716-446655440000").expect("a uuid");
        assert_eq!(&hyphenated(&bytes), b"550e8400-e29b-41d4-a716-446655440000");
        assert_eq!(parse("{550E8400E29B41D4A716446655440000}"), Some(bytes));
        for wrong in ["", "550e8400", "550e8400-e29b-41d4-a716-44665544000g", "--", "-0"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
