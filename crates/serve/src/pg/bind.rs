//! The values that a client binds to a prepared statement.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use yeoul_engine::{EngineError, ErrorKind};

use super::binary::{EPOCH_DAYS, EPOCH_US};
use super::column::type_of;
use crate::parameter::{from_text, list, null};

/// The Arrow type of a parameter that a client claims by oid; `None` leaves it to the planner.
pub(crate) fn claimed(oid: u32) -> Option<DataType> {
    Some(match oid {
        16 => DataType::Boolean,
        21 => DataType::Int16,
        23 => DataType::Int32,
        20 | 24 | 26 | 2202..=2206 | 4089 | 4096 => DataType::Int64,
        700 => DataType::Float32,
        701 => DataType::Float64,
        17 => DataType::Binary,
        18 | 19 | 25 | 114 | 1042 | 1043 | 3802 => DataType::Utf8View,
        1082 => DataType::Date32,
        1083 => DataType::Time64(TimeUnit::Microsecond),
        1114 => DataType::Timestamp(TimeUnit::Microsecond, None),
        1184 => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        1186 => DataType::Interval(IntervalUnit::MonthDayNano),
        2950 => DataType::FixedSizeBinary(16),
        _ => {
            let item = claimed(item_of(oid)?)?;
            DataType::List(Arc::new(Field::new_list_field(item, true)))
        }
    })
}

/// The oid of the items of an array type.
fn item_of(oid: u32) -> Option<u32> {
    Some(match oid {
        1000 => 16,
        1002 => 18,
        1003 => 19,
        1028 => 26,
        1001 => 17,
        1005 => 21,
        1007 => 23,
        1016 => 20,
        1009 => 25,
        1015 => 1043,
        1021 => 700,
        1022 => 701,
        1115 => 1114,
        1182 => 1082,
        1183 => 1083,
        1185 => 1184,
        1187 => 1186,
        1231 => 1700,
        2951 => 2950,
        199 => 114,
        3807 => 3802,
        _ => return None,
    })
}

/// The oid that a parameter of this type is told as.
pub(crate) fn oid_of(data_type: &DataType) -> u32 {
    type_of(&Field::new("", data_type.clone(), true)).oid()
}

fn malformed(number: usize, oid: u32) -> EngineError {
    EngineError::new(
        ErrorKind::Input,
        format!("parameter ${number} is not a binary value of the type with oid {oid}"),
    )
    .with_sqlstate("22P03")
}

/// Parameter `$number`: its bytes as the type `oid`, made into `wanted`.
pub(crate) fn decode(
    number: usize,
    bytes: Option<&[u8]>,
    binary: bool,
    oid: u32,
    wanted: &DataType,
) -> Result<ScalarValue, EngineError> {
    let Some(bytes) = bytes else { return null(wanted) };
    let value = if binary {
        from_binary(bytes, oid, wanted)?.ok_or_else(|| malformed(number, oid))?
    } else {
        from_text(without_zone(text(bytes)?, wanted), wanted).map_err(|mut error| {
            error.message = format!("parameter ${number}: {}", error.message);
            error
        })?
    };
    if &value.data_type() == wanted || wanted == &DataType::Null {
        return Ok(value);
    }
    value.cast_to(wanted).map_err(|e| {
        EngineError::new(ErrorKind::Input, format!("parameter ${number}: {e}"))
            .with_sqlstate("22P02")
    })
}

/// Dates and times without a zone are written with one by drivers that do not know the type (JDBC); PostgreSQL
/// passes over it, and so is it here.
fn without_zone<'a>(text: &'a str, wanted: &DataType) -> &'a str {
    let plain = matches!(
        wanted,
        DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(TimeUnit::Microsecond, None)
    );
    // The sign of a zone stands behind the day or the seconds: not among the first ten characters of a date.
    let from = if matches!(wanted, DataType::Time64(_)) { 5 } else { 10 };
    let zone = |(at, c): (usize, char)| (at >= from && matches!(c, '+' | '-')).then_some(at);
    match text.char_indices().find_map(zone) {
        Some(at) if plain => text[..at].trim_end(),
        _ => text,
    }
}

fn text(bytes: &[u8]) -> Result<&str, EngineError> {
    std::str::from_utf8(bytes).map_err(|_| {
        EngineError::new(ErrorKind::Input, "a text parameter is not UTF-8").with_sqlstate("22021")
    })
}

/// `None` when the bytes are not of that type's form.
fn from_binary(
    bytes: &[u8],
    oid: u32,
    wanted: &DataType,
) -> Result<Option<ScalarValue>, EngineError> {
    let value = match oid {
        16 => array(bytes).map(|[b]: [u8; 1]| ScalarValue::Boolean(Some(b != 0))),
        21 => array(bytes).map(|b| ScalarValue::Int16(Some(i16::from_be_bytes(b)))),
        23 => array(bytes).map(|b| ScalarValue::Int32(Some(i32::from_be_bytes(b)))),
        20 => array(bytes).map(|b| ScalarValue::Int64(Some(i64::from_be_bytes(b)))),
        24 | 26 | 2202..=2206 | 4089 | 4096 => {
            array(bytes).map(|b| ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(b)))))
        }
        700 => array(bytes).map(|b| ScalarValue::Float32(Some(f32::from_be_bytes(b)))),
        701 => array(bytes).map(|b| ScalarValue::Float64(Some(f64::from_be_bytes(b)))),
        17 => Some(ScalarValue::Binary(Some(bytes.to_vec()))),
        18 | 19 | 25 | 114 | 705 | 1042 | 1043 => Some(from_text(text(bytes)?, wanted)?),
        3802 => match bytes.split_first() {
            Some((1, json)) => Some(from_text(text(json)?, wanted)?),
            _ => None,
        },
        1082 => array(bytes)
            .map(|b| ScalarValue::Date32(Some(i32::from_be_bytes(b).saturating_add(EPOCH_DAYS)))),
        1083 => array(bytes).map(|b| ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(b)))),
        1114 => array(bytes).map(|b| ScalarValue::TimestampMicrosecond(Some(instant(b)), None)),
        1184 => array(bytes)
            .map(|b| ScalarValue::TimestampMicrosecond(Some(instant(b)), Some("UTC".into()))),
        1186 => interval(bytes),
        1700 => match numeric(bytes) {
            Some(text) => Some(from_text(&text, numeric_type(wanted))?),
            None => None,
        },
        2950 => array(bytes).map(|b: [u8; 16]| ScalarValue::FixedSizeBinary(16, Some(b.to_vec()))),
        _ => match item_of(oid) {
            Some(item) => items(bytes, item, wanted)?,
            None => None,
        },
    };
    Ok(value)
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    <[u8; N]>::try_from(bytes).ok()
}

fn instant(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes).saturating_add(EPOCH_US)
}

fn interval(bytes: &[u8]) -> Option<ScalarValue> {
    let us = i64::from_be_bytes(array(bytes.get(..8)?)?);
    let days = i32::from_be_bytes(array(bytes.get(8..12)?)?);
    let months = i32::from_be_bytes(array(bytes.get(12..)?)?);
    let value = IntervalMonthDayNano::new(months, days, us.checked_mul(1_000)?);
    Some(ScalarValue::IntervalMonthDayNano(Some(value)))
}

/// A numeric is read as what is wanted when that is a number, else as the widest numeric.
fn numeric_type(wanted: &DataType) -> &DataType {
    const WIDEST: DataType = DataType::Decimal128(38, 9);
    match wanted {
        DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Float64 => wanted,
        _ => &WIDEST,
    }
}

/// The decimal text of a binary numeric. Not a number and the infinities have none.
fn numeric(bytes: &[u8]) -> Option<String> {
    // 38 digits are 10 groups before the point; more is out of range anyway.
    const GROUPS_MAX: i16 = 20;
    let mut fields = bytes.chunks(2).map(|pair| array(pair).map(i16::from_be_bytes));
    let mut next = || fields.next().flatten();
    let (groups, weight, sign, _places) = (next()?, next()?, next()?, next()?);
    let count = usize::try_from(groups).ok()?;
    if bytes.len() != 8 + 2 * count || !(-GROUPS_MAX..=GROUPS_MAX).contains(&weight) {
        return None;
    }
    let digits: Vec<i16> = (0..count).map(|_| next()).collect::<Option<_>>()?;
    if digits.iter().any(|group| !(0..10_000).contains(group)) {
        return None;
    }
    let group = |place: i16| {
        let at = usize::try_from(weight - place).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    match sign {
        0 => {}
        0x4000 => text.push('-'),
        _ => return None,
    }
    for place in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(place)));
    }
    let last = i32::from(weight) - i32::try_from(count).ok()? + 1;
    if last < 0 {
        text.push('.');
        for place in (i16::try_from(last).ok()?..0).rev() {
            text.push_str(&format!("{:04}", group(place)));
        }
    }
    Some(text)
}

fn items(bytes: &[u8], oid: u32, wanted: &DataType) -> Result<Option<ScalarValue>, EngineError> {
    let DataType::List(item) = wanted else { return Ok(None) };
    let item = item.data_type();
    let mut rest = bytes;
    let mut field = || -> Option<i32> {
        let (field, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        Some(i32::from_be_bytes(*field))
    };
    let (Some(dimensions), Some(_), Some(_)) = (field(), field(), field()) else {
        return Ok(None);
    };
    if dimensions == 0 {
        return Ok(Some(list(&[], item)));
    }
    let (1, Some(count), Some(_)) = (dimensions, field(), field()) else { return Ok(None) };
    let mut values = Vec::new();
    for _ in 0..count {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        rest = after;
        let value = match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => null(item)?,
            Ok(length) => {
                let Some((value, after)) = rest.split_at_checked(length) else { return Ok(None) };
                rest = after;
                let Some(value) = from_binary(value, oid, item)? else { return Ok(None) };
                if &value.data_type() == item {
                    value
                } else {
                    let cast = value.cast_to(item);
                    cast.map_err(|e| EngineError::new(ErrorKind::Input, e.to_string()))?
                }
            }
        };
        values.push(value);
    }
    Ok(rest.is_empty().then(|| list(&values, item)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_numerics() {
        let bytes =
            |fields: &[i16]| -> Vec<u8> { fields.iter().flat_map(|f| f.to_be_bytes()).collect() };
        assert_eq!(numeric(&bytes(&[2, 0, 0, 2, 1234, 5600])).as_deref(), Some("1234.5600"));
        assert_eq!(numeric(&bytes(&[1, -1, 0x4000, 2, 500])).as_deref(), Some("-0000.0500"));
        assert_eq!(numeric(&bytes(&[1, 1, 0, 0, 1])).as_deref(), Some("00010000"));
        assert_eq!(numeric(&bytes(&[0, 0, 0, 0])).as_deref(), Some("0000"));
        assert_eq!(numeric(&bytes(&[0, 0, -16384, 0])), None);
        assert_eq!(numeric(&bytes(&[2, 0, 0, 0, 1])), None);
        let wanted = DataType::Decimal128(10, 2);
        let value = decode(1, Some(&bytes(&[2, 0, 0, 2, 1234, 5600])), true, 1700, &wanted);
        assert_eq!(value.unwrap(), ScalarValue::Decimal128(Some(123_456), 10, 2));
    }

    #[test]
    fn values_are_cast_to_what_the_plan_wants() {
        let value = decode(1, Some(&7_i32.to_be_bytes()), true, 23, &DataType::Int64).unwrap();
        assert_eq!(value, ScalarValue::Int64(Some(7)));
        let value = decode(1, None, true, 23, &DataType::Int64).unwrap();
        assert_eq!(value, ScalarValue::Int64(None));
        let error = decode(2, Some(b"x"), false, 20, &DataType::Int64).unwrap_err();
        assert_eq!(error.message, "parameter $2: 'x' is not a value of type bigint");
        let error = decode(1, Some(&[1, 2]), true, 20, &DataType::Int64).unwrap_err();
        assert_eq!(error.sqlstate, "22P03");
    }

    #[test]
    fn zones_of_times_without_one_are_passed_over() {
        let date = DataType::Date32;
        let time = DataType::Time64(TimeUnit::Microsecond);
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (text, wanted, plain) in [
            ("2020-01-02 +00", &date, "2020-01-02"),
            ("2020-01-02", &date, "2020-01-02"),
            ("01:02:03+05:30", &time, "01:02:03"),
            ("2020-01-02 03:04:05-08", &timestamp, "2020-01-02 03:04:05"),
        ] {
            let value = decode(1, Some(text.as_bytes()), false, 0, wanted).unwrap();
            assert_eq!(value, from_text(plain, wanted).unwrap(), "{text}");
        }
    }

    #[test]
    fn arrays_in_binary() {
        let wanted = claimed(1016).unwrap();
        let mut bytes = Vec::new();
        for field in [1_i32, 0, 20, 2, 1, 8] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(&5_i64.to_be_bytes());
        bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        let expected =
            list(&[ScalarValue::Int64(Some(5)), ScalarValue::Int64(None)], &DataType::Int64);
        assert_eq!(decode(1, Some(&bytes), true, 1016, &wanted).unwrap(), expected);
        // Every shorter form is refused and none panics.
        for cut in 0..bytes.len() {
            assert!(decode(1, Some(&bytes[..cut]), true, 1016, &wanted).is_err(), "{cut}");
        }
    }
}
