//! Partition values as the log holds them (protocol section "Partition Value Serialization").

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;

use crate::error::{ErrorKind, NativeError, Result};

/// The text of a value, or nothing for NULL. The protocol takes an empty text for NULL too.
///
/// # Errors
/// Why the value would come back as another.
pub fn text(value: &ScalarValue) -> std::result::Result<Option<String>, String> {
    use ScalarValue as V;
    if value.is_null() {
        return Ok(None);
    }
    let text = match value {
        V::Boolean(Some(v)) => v.to_string(),
        V::Int8(Some(v)) => v.to_string(),
        V::Int16(Some(v)) => v.to_string(),
        V::Int32(Some(v)) => v.to_string(),
        V::Int64(Some(v)) => v.to_string(),
        V::Float32(Some(v)) => float(f64::from(*v), format!("{v:?}")),
        V::Float64(Some(v)) => float(*v, format!("{v:?}")),
        V::Utf8(Some(v)) => v.clone(),
        V::Binary(Some(v)) => String::from_utf8(v.clone()).map_err(|_| {
            "binary that is no UTF-8 text cannot be a partition value: the log keeps text"
                .to_owned()
        })?,
        V::Date32(Some(days)) => date(*days)?.format("%Y-%m-%d").to_string(),
        V::TimestampMicrosecond(Some(v), zone) => {
            let at = DateTime::from_timestamp_micros(*v)
                .filter(|at| in_range(at.date_naive()))
                .ok_or("a timestamp beyond the years 1 to 9999 cannot be a partition value")?;
            let form = match zone {
                Some(_) => "%Y-%m-%dT%H:%M:%S%.6fZ",
                None => "%Y-%m-%d %H:%M:%S%.6f",
            };
            at.naive_utc().format(form).to_string()
        }
        V::Decimal128(Some(v), _, scale) => decimal(*v, *scale),
        other => {
            return Err(format!(
                "{} cannot be the type of a partition column",
                other.data_type()
            ));
        }
    };
    Ok((!text.is_empty()).then_some(text))
}

fn float(value: f64, finite: String) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        finite
    }
}

fn in_range(date: NaiveDate) -> bool {
    use chrono::Datelike;
    (1..=9999).contains(&date.year())
}

pub fn date(days: i32) -> std::result::Result<NaiveDate, String> {
    NaiveDate::from_ymd_opt(1970, 1, 1)
        .and_then(|epoch| epoch.checked_add_signed(TimeDelta::days(i64::from(days))))
        .filter(|date| in_range(*date))
        .ok_or_else(|| "a date beyond the years 1 to 9999 cannot be a partition value".to_owned())
}

/// A number of units of a decimal, written out.
pub fn decimal(value: i128, scale: i8) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs().to_string();
    match usize::try_from(scale) {
        Ok(0) | Err(_) => format!("{sign}{digits}"),
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

/// A decimal text as units of a scale, if it has no more digits than that.
pub fn parse_decimal(text: &str, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let all: String = whole.chars().chain(fraction.chars()).collect();
    let mut value: i128 = all
        .trim_start_matches('0')
        .parse()
        .or_else(|e| {
            if all.chars().all(|c| c == '0') {
                Ok(0)
            } else {
                Err(e)
            }
        })
        .ok()?;
    let places = i32::try_from(scale).ok()? + exponent - i32::try_from(fraction.len()).ok()?;
    for _ in 0..places.max(0) {
        value = value.checked_mul(10)?;
    }
    for _ in 0..(-places).max(0) {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
    }
    Some(if negative { -value } else { value })
}

/// The value of a column's type that a text of the log stands for.
///
/// # Errors
/// `source`, naming the column and the text.
pub fn parse(text: Option<&str>, kind: &DataType, column: &str) -> Result<ScalarValue> {
    use DataType as T;
    let null = || {
        ScalarValue::try_from(kind).map_err(|e| NativeError::new(ErrorKind::Source, e.to_string()))
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return null();
    };
    let parsed = match kind {
        T::Boolean => match text {
            _ if text.eq_ignore_ascii_case("true") => Some(ScalarValue::Boolean(Some(true))),
            _ if text.eq_ignore_ascii_case("false") => Some(ScalarValue::Boolean(Some(false))),
            _ => None,
        },
        T::Int8 => text.parse().ok().map(|v| ScalarValue::Int8(Some(v))),
        T::Int16 => text.parse().ok().map(|v| ScalarValue::Int16(Some(v))),
        T::Int32 => text.parse().ok().map(|v| ScalarValue::Int32(Some(v))),
        T::Int64 => text.parse().ok().map(|v| ScalarValue::Int64(Some(v))),
        T::Float32 => text.parse().ok().map(|v| ScalarValue::Float32(Some(v))),
        T::Float64 => text.parse().ok().map(|v| ScalarValue::Float64(Some(v))),
        T::Utf8 => Some(ScalarValue::Utf8(Some(text.to_owned()))),
        T::Binary => Some(ScalarValue::Binary(Some(text.as_bytes().to_vec()))),
        T::Date32 => text.parse::<NaiveDate>().ok().and_then(|date| {
            let days = date
                .signed_duration_since(NaiveDate::from_ymd_opt(1970, 1, 1)?)
                .num_days();
            Some(ScalarValue::Date32(Some(i32::try_from(days).ok()?)))
        }),
        T::Timestamp(TimeUnit::Microsecond, zone) => {
            timestamp(text).map(|v| ScalarValue::TimestampMicrosecond(Some(v), zone.clone()))
        }
        T::Decimal128(precision, scale) => parse_decimal(text, *scale)
            .map(|v| ScalarValue::Decimal128(Some(v), *precision, *scale)),
        _ => None,
    };
    parsed.ok_or_else(|| {
        NativeError::new(
            ErrorKind::Source,
            format!("the partition value {text:?} of column {column:?} is no {kind}"),
        )
    })
}

/// Microseconds since the epoch, of `2020-01-01 00:00:00.000000` or an instant of ISO 8601.
pub fn timestamp(text: &str) -> Option<i64> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_micros());
    }
    if let Ok(at) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z") {
        return Some(at.timestamp_micros());
    }
    for form in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, form) {
            return Some(at.and_utc().timestamp_micros());
        }
    }
    let date = text.parse::<NaiveDate>().ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
}

/// The folder of a partition, as Hive calls it: what is more than a letter, a digit or one of `-_.` is escaped.
/// Readers take values from the log, but for some that take them from here.
pub fn folder(column: &str, value: Option<&str>) -> String {
    let mut out = escaped(column);
    out.push('=');
    match value {
        Some(value) => out.push_str(&escaped(value)),
        None => out.push_str("__HIVE_DEFAULT_PARTITION__"),
    }
    out
}

fn escaped(text: &str) -> String {
    // Object stores limit keys to 1,024 bytes.
    const LONGEST: usize = 100;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if out.len() >= LONGEST {
            break;
        }
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Row `row` of partition columns as values.
pub fn row(columns: &[ArrayRef], row: usize) -> Result<Vec<ScalarValue>> {
    columns
        .iter()
        .map(|column| Ok(ScalarValue::try_from_array(&Arc::clone(column), row)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let values = [
            ScalarValue::Boolean(Some(false)),
            ScalarValue::Int8(Some(i8::MIN)),
            ScalarValue::Int64(Some(i64::MIN)),
            ScalarValue::Float32(Some(f32::NEG_INFINITY)),
            ScalarValue::Float64(Some(5e-324)),
            ScalarValue::Float64(Some(-0.0)),
            ScalarValue::Utf8(Some(" a:b~%/='\" ü".to_owned())),
            ScalarValue::Binary(Some(b"abc\0".to_vec())),
            ScalarValue::Date32(Some(-719_162)),
            ScalarValue::TimestampMicrosecond(Some(-1), None),
            ScalarValue::TimestampMicrosecond(Some(1), Some("UTC".into())),
            ScalarValue::Decimal128(Some(-5), 3, 2),
            ScalarValue::Decimal128(Some(10_i128.pow(37) + 1), 38, 0),
        ];
        for value in values {
            let kind = value.data_type();
            let found = parse(text(&value).unwrap().as_deref(), &kind, "c").unwrap();
            assert_eq!(found, value);
        }
        assert_eq!(text(&ScalarValue::Utf8(Some(String::new()))), Ok(None));
        assert!(text(&ScalarValue::Binary(Some(vec![0xff]))).is_err());
    }

    #[test]
    fn decimals_keep_their_digits() {
        assert_eq!(parse_decimal("1.50", 2), Some(150));
        assert_eq!(parse_decimal("1.505", 2), None);
        assert_eq!(parse_decimal("-1e3", 0), Some(-1000));
        assert_eq!(parse_decimal("0.00", 1), Some(0));
        assert_eq!(parse_decimal("", 1), None);
        assert_eq!(decimal(-5, 2), "-0.05");
    }
}
