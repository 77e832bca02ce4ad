//! Statistics of data files (protocol section "Per-file Statistics"), from what the Parquet writer has
//! gathered, exact for every type: no number goes through a double that is none.

use std::collections::HashMap;

use chrono::DateTime;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, SchemaRef, TimeUnit,
};
use deltalake::parquet::file::metadata::ParquetMetaData;
use deltalake::parquet::file::statistics::Statistics;
use deltalake::parquet::schema::types::ColumnPath;

use super::values;

/// Which columns of a file have statistics.
#[derive(Clone, Debug)]
pub enum Indexed {
    /// The first leaves of the schema, so many (`delta.dataSkippingNumIndexedCols`).
    First(usize),
    /// Columns named by their logical paths (`delta.dataSkippingStatsColumns`).
    Named(Vec<String>),
}

impl Indexed {
    pub fn of(properties: &HashMap<String, String>) -> Self {
        const DEFAULT: usize = 32;
        if let Some(names) = properties.get("delta.dataSkippingStatsColumns") {
            let names = names.split(',').map(|name| name.trim().replace('`', ""));
            return Self::Named(names.filter(|name| !name.is_empty()).collect());
        }
        match properties
            .get("delta.dataSkippingNumIndexedCols")
            .map(|n| n.trim().parse::<i64>())
        {
            Some(Ok(-1)) => Self::First(usize::MAX),
            Some(Ok(n)) => Self::First(usize::try_from(n).unwrap_or(DEFAULT)),
            _ => Self::First(DEFAULT),
        }
    }

    fn has(&self, leaf: usize, path: &str) -> bool {
        match self {
            Self::First(count) => leaf < *count,
            Self::Named(names) => names.iter().any(|name| {
                path == name
                    || path
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with('.'))
            }),
        }
    }
}

/// What the Parquet writer does not see of the rows of one file, or is not asked for.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of leaves with floats, by their places in the schema.
    floats: HashMap<usize, Floats>,
    /// NULLs of each column as a whole.
    nulls: Vec<u64>,
}

/// Of one leaf. A NaN is larger than every other number.
#[derive(Clone, Copy, Debug, Default)]
struct Floats {
    min: Option<f64>,
    max: Option<f64>,
    has_nan: bool,
    nulls: u64,
}

impl Floats {
    fn add(&mut self, value: f64) {
        if value.is_nan() {
            self.has_nan = true;
            return;
        }
        if self.min.is_none_or(|min| value.total_cmp(&min).is_lt()) {
            self.min = Some(value);
        }
        if self.max.is_none_or(|max| value.total_cmp(&max).is_gt()) {
            self.max = Some(value);
        }
    }
}

impl Seen {
    pub fn add(&mut self, batch: &RecordBatch) {
        self.nulls.resize(batch.num_columns(), 0);
        let mut leaf = 0;
        for (i, column) in batch.columns().iter().enumerate() {
            self.nulls[i] += u64::try_from(column.null_count()).unwrap_or_default();
            self.look(column, None, &mut leaf);
        }
    }

    /// `above` has the NULLs of what the values are within.
    fn look(&mut self, values: &ArrayRef, above: Option<&NullBuffer>, leaf: &mut usize) {
        match values.data_type() {
            DataType::Struct(_) => {
                let nulls = NullBuffer::union(above, values.nulls());
                for column in values.as_struct().columns() {
                    self.look(column, nulls.as_ref(), leaf);
                }
            }
            DataType::List(item) => *leaf += leaves(item),
            DataType::Map(entries, _) => *leaf += leaves(entries),
            kind => {
                let nulls = NullBuffer::union(above, values.nulls());
                let count = nulls.as_ref().map_or(0, NullBuffer::null_count);
                let is_there = |i: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(i));
                if matches!(kind, DataType::Float32 | DataType::Float64) {
                    let seen = self.floats.entry(*leaf).or_default();
                    seen.nulls += u64::try_from(count).unwrap_or_default();
                    if *kind == DataType::Float32 {
                        let all = values.as_primitive::<Float32Type>().values().iter();
                        let all = all.enumerate().filter(|(i, _)| is_there(*i));
                        all.for_each(|(_, value)| seen.add(f64::from(*value)));
                    } else {
                        let all = values.as_primitive::<Float64Type>().values().iter();
                        let all = all.enumerate().filter(|(i, _)| is_there(*i));
                        all.for_each(|(_, value)| seen.add(*value));
                    }
                }
                *leaf += 1;
            }
        }
    }
}

/// Paths of the leaves of a file that hold floats. The Parquet writer leaves NaN out of their statistics,
/// and readers (Spark, for one) would skip row groups that have some: such leaves get none.
pub fn float_leaves(schema: &SchemaRef) -> Vec<ColumnPath> {
    let mut found = Vec::new();
    for field in schema.fields() {
        floats_within(field, Vec::new(), &mut found);
    }
    found
}

fn floats_within(field: &Field, mut path: Vec<String>, found: &mut Vec<ColumnPath>) {
    path.push(field.name().clone());
    match field.data_type() {
        DataType::Float32 | DataType::Float64 => found.push(ColumnPath::new(path)),
        DataType::Struct(fields) => {
            for field in fields {
                floats_within(field, path.clone(), found);
            }
        }
        DataType::List(item) => {
            path.push("list".to_owned());
            floats_within(item, path, found);
        }
        DataType::Map(entries, _) => floats_within(entries, path, found),
        _ => {}
    }
}

fn leaves(field: &Field) -> usize {
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().map(|f| leaves(f)).sum(),
        DataType::List(item) => leaves(item),
        DataType::Map(entries, _) => leaves(entries),
        _ => 1,
    }
}

/// A value that is compared before it is written out.
#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Whole(i128),
    Real(f64),
    Text(Vec<u8>),
}

impl Bound {
    fn is_less(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a < b,
            (Self::Real(a), Self::Real(b)) => a.total_cmp(b).is_lt(),
            (Self::Text(a), Self::Text(b)) => a < b,
            _ => false,
        }
    }
}

/// JSON that is put together as text: numbers are written with all of their digits.
enum Json {
    Value(String),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn write(&self, out: &mut String) {
        match self {
            Self::Value(text) => out.push_str(text),
            Self::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(&quoted(name));
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Statistics of one file as the log has them.
///
/// `schema` is the file's, `logical` names its columns for `indexed`; a NaN leaves the largest value
/// unknown, as it is larger than all others.
pub fn json(
    metadata: &ParquetMetaData,
    schema: &SchemaRef,
    logical: &[String],
    indexed: &Indexed,
    seen: &Seen,
) -> String {
    let rows: i64 = metadata
        .row_groups()
        .iter()
        .map(|group| group.num_rows())
        .sum();
    let mut walk = Walk {
        metadata,
        indexed,
        seen,
        parquet_leaf: 0,
        counted: 0,
    };
    let (mut min, mut max, mut nulls) = (Vec::new(), Vec::new(), Vec::new());
    for (i, field) in schema.fields().iter().enumerate() {
        let found = walk.field(field, &logical[i], Some(i));
        let name = || field.name().clone();
        min.extend(found.min.map(|json| (name(), json)));
        max.extend(found.max.map(|json| (name(), json)));
        nulls.extend(found.nulls.map(|json| (name(), json)));
    }
    let mut out = String::new();
    Json::Object(vec![
        ("numRecords".to_owned(), Json::Value(rows.to_string())),
        ("minValues".to_owned(), Json::Object(min)),
        ("maxValues".to_owned(), Json::Object(max)),
        ("nullCount".to_owned(), Json::Object(nulls)),
        ("tightBounds".to_owned(), Json::Value("true".to_owned())),
    ])
    .write(&mut out);
    out
}

#[derive(Default)]
struct Found {
    min: Option<Json>,
    max: Option<Json>,
    nulls: Option<Json>,
}

struct Walk<'a> {
    metadata: &'a ParquetMetaData,
    indexed: &'a Indexed,
    seen: &'a Seen,
    parquet_leaf: usize,
    /// Leaves that count towards `Indexed::First`.
    counted: usize,
}

impl Walk<'_> {
    fn field(&mut self, field: &Field, path: &str, top: Option<usize>) -> Found {
        match field.data_type() {
            DataType::Struct(fields) => {
                let (mut min, mut max, mut nulls) = (Vec::new(), Vec::new(), Vec::new());
                for field in fields {
                    let found = self.field(field, &format!("{path}.{}", field.name()), None);
                    let name = || field.name().clone();
                    min.extend(found.min.map(|json| (name(), json)));
                    max.extend(found.max.map(|json| (name(), json)));
                    nulls.extend(found.nulls.map(|json| (name(), json)));
                }
                let some = |members: Vec<(String, Json)>| {
                    (!members.is_empty()).then_some(Json::Object(members))
                };
                Found {
                    min: some(min),
                    max: some(max),
                    nulls: some(nulls),
                }
            }
            DataType::List(_) | DataType::Map(..) => {
                self.parquet_leaf += leaves(field);
                let leaf = self.counted;
                self.counted += 1;
                let count = top
                    .filter(|_| self.indexed.has(leaf, path))
                    .and_then(|i| self.seen.nulls.get(i));
                Found {
                    nulls: count.map(|n| Json::Value(n.to_string())),
                    ..Found::default()
                }
            }
            kind => {
                let leaf = self.parquet_leaf;
                self.parquet_leaf += 1;
                let counted = self.counted;
                self.counted += 1;
                if self.indexed.has(counted, path) {
                    self.leaf(leaf, kind)
                } else {
                    Found::default()
                }
            }
        }
    }

    fn leaf(&self, leaf: usize, kind: &DataType) -> Found {
        if let Some(floats) = self.seen.floats.get(&leaf) {
            let shown =
                |value: Option<f64>| Some(Json::Value(written(&Bound::Real(value?), kind)?));
            return Found {
                min: shown(floats.min),
                max: shown(floats.max.filter(|_| !floats.has_nan)),
                nulls: Some(Json::Value(floats.nulls.to_string())),
            };
        }
        let (mut min, mut max): (Option<Bound>, Option<Bound>) = (None, None);
        let mut nulls = Some(0);
        let mut is_known = true;
        for group in self.metadata.row_groups() {
            let column = group.column(leaf);
            let Some(found) = column.statistics() else {
                return Found::default();
            };
            let count = found.null_count_opt();
            nulls = nulls.zip(count).map(|(all, n)| all + n);
            let some_values = u64::try_from(group.num_rows()).ok() != count;
            match bounds(found) {
                Some((low, high)) => {
                    if min.as_ref().is_none_or(|min| low.is_less(min)) {
                        min = Some(low);
                    }
                    if max.as_ref().is_none_or(|max| max.is_less(&high)) {
                        max = Some(high);
                    }
                }
                // Nothing but NaN, or a type without an order.
                None => is_known &= !some_values,
            }
        }
        let shown = |bound: Option<Bound>| {
            let bound = bound.filter(|_| is_known)?;
            Some(Json::Value(written(&bound, kind)?))
        };
        Found {
            min: shown(min),
            max: shown(max),
            nulls: nulls.map(|n: u64| Json::Value(n.to_string())),
        }
    }
}

fn bounds(statistics: &Statistics) -> Option<(Bound, Bound)> {
    Some(match statistics {
        Statistics::Int32(s) => (
            Bound::Whole(i128::from(*s.min_opt()?)),
            Bound::Whole(i128::from(*s.max_opt()?)),
        ),
        Statistics::Int64(s) => (
            Bound::Whole(i128::from(*s.min_opt()?)),
            Bound::Whole(i128::from(*s.max_opt()?)),
        ),
        Statistics::Float(s) => (
            Bound::Real(f64::from(*s.min_opt()?)),
            Bound::Real(f64::from(*s.max_opt()?)),
        ),
        Statistics::Double(s) => (Bound::Real(*s.min_opt()?), Bound::Real(*s.max_opt()?)),
        Statistics::ByteArray(s) => (
            Bound::Text(s.min_opt()?.data().to_vec()),
            Bound::Text(s.max_opt()?.data().to_vec()),
        ),
        Statistics::FixedLenByteArray(s) => (
            Bound::Whole(big_endian(s.min_opt()?.data())?),
            Bound::Whole(big_endian(s.max_opt()?.data())?),
        ),
        Statistics::Boolean(_) | Statistics::Int96(_) => return None,
    })
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    if bytes.is_empty() || bytes.len() > 16 {
        return None;
    }
    let fill = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    let mut all = [fill; 16];
    all[16 - bytes.len()..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(all))
}

fn written(bound: &Bound, kind: &DataType) -> Option<String> {
    match (bound, kind) {
        (Bound::Whole(v), DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64) => {
            Some(v.to_string())
        }
        (Bound::Whole(v), DataType::Decimal128(_, scale)) => Some(values::decimal(*v, *scale)),
        (Bound::Whole(v), DataType::Date32) => {
            let date = values::date(i32::try_from(*v).ok()?).ok()?;
            Some(format!("\"{}\"", date.format("%Y-%m-%d")))
        }
        (Bound::Whole(v), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            use chrono::Datelike;
            let at = DateTime::from_timestamp_micros(i64::try_from(*v).ok()?)?;
            if !(1..=9999).contains(&at.year()) {
                return None;
            }
            let zone = if zone.is_some() { "Z" } else { "" };
            Some(format!("\"{}{zone}\"", at.format("%Y-%m-%dT%H:%M:%S%.6f")))
        }
        (Bound::Real(v), DataType::Float32) => v.is_finite().then(|| {
            #[allow(clippy::cast_possible_truncation)] // it was one
            let single = *v as f32;
            format!("{single:?}")
        }),
        (Bound::Real(v), _) => v.is_finite().then(|| format!("{v:?}")),
        (Bound::Text(bytes), DataType::Utf8) => Some(quoted(std::str::from_utf8(bytes).ok()?)),
        _ => None,
    }
}
