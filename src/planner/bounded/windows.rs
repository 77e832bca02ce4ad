//! Values of windows: an aggregate such as `array_agg` has one of the size of its frame for each row.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::{LARGEST, is_small};
use crate::planner::around::{Around, Computation};

/// How many values there are at once.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// One, which is repeated for each row of the partition.
    Repeated,
    /// Those of a whole partition.
    Partition,
    /// Those of so many rows.
    Rows(usize),
}

/// Aggregates whose values grow with their frame.
const GROW: [&str; 3] = ["array_agg", "string_agg", "listagg"];

/// Reserves memory for the values of a window.
pub struct Results {
    name: String,
    kept: Kept,
    pool: Arc<dyn MemoryPool>,
}

/// What a window function is computed over.
pub struct Frame<'a> {
    pub frame: &'a WindowFrame,
    pub is_ordered: bool,
    /// Whether it is computed once where its frame is the whole partition.
    pub is_aggregate: bool,
    /// Rows of a batch.
    pub batch_size: usize,
}

impl Results {
    pub fn of(name: &str, over: &Frame, pool: &Arc<dyn MemoryPool>) -> Arc<dyn Around> {
        let frame = over.frame;
        let is_whole = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::CurrentRow => {
                frame.units == WindowFrameUnits::Range && !over.is_ordered
            }
            other => other.is_unbounded(),
        };
        let kept = match (is_whole(&frame.start_bound), is_whole(&frame.end_bound)) {
            (true, true) if over.is_aggregate => Kept::Repeated,
            // Beside some other functions a partition is computed as a whole.
            _ if GROW.contains(&name) => Kept::Partition,
            (_, true) => Kept::Partition,
            (_, false) => Kept::Rows(over.batch_size),
        };
        Arc::new(Self {
            name: format!("{name} OVER"),
            kept,
            pool: Arc::clone(pool),
        })
    }
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Results").field(&self.name).finish()
    }
}

impl Around for Results {
    fn begin(&self, gives: Option<&DataType>) -> Option<Box<dyn Computation>> {
        if gives.is_some_and(is_small) {
            return None;
        }
        Some(Box::new(Computed {
            name: self.name.clone(),
            kept: self.kept,
            pool: Arc::clone(&self.pool),
            reservation: None,
            rows: 0,
            values: 0,
            extent: 0,
        }))
    }
}

#[derive(Debug)]
struct Computed {
    name: String,
    kept: Kept,
    pool: Arc<dyn MemoryPool>,
    /// Made with the first value that is not small: a window may have many partitions.
    reservation: Option<MemoryReservation>,
    /// Rows that were taken in.
    rows: usize,
    /// Values that were given since the memory of earlier ones was.
    values: usize,
    /// Their bytes of text or items of lists.
    extent: u64,
}

impl Computation for Computed {
    fn taken(&mut self, rows: usize) {
        self.rows += rows;
    }

    fn value(&mut self, value: ScalarValue) -> Result<ScalarValue> {
        if is_small(&value.data_type()) {
            return Ok(value);
        }
        let reservation = self
            .reservation
            .get_or_insert_with(|| MemoryConsumer::new(&self.name).register(&self.pool));
        let times = match self.kept {
            Kept::Repeated => self.rows.max(1),
            Kept::Partition => 1,
            Kept::Rows(rows) => {
                if self.values == rows {
                    reservation.free();
                    (self.values, self.extent) = (0, 0);
                }
                1
            }
        };
        self.values += 1;
        let extent = extent(&value).saturating_mul(times as u64);
        self.extent = self.extent.saturating_add(extent);
        if self.extent > LARGEST {
            return exec_err!("{} gives more at once than an array holds", self.name);
        }
        reservation.try_grow(size(&value).saturating_mul(times))?;
        Ok(value)
    }
}

/// Bytes of a value, which may be a part of a larger array.
fn size(value: &ScalarValue) -> usize {
    let data = match value {
        ScalarValue::List(list) => list.to_data(),
        ScalarValue::LargeList(list) => list.to_data(),
        ScalarValue::FixedSizeList(list) => list.to_data(),
        ScalarValue::Struct(row) => row.to_data(),
        ScalarValue::Map(map) => map.to_data(),
        other => return other.size(),
    };
    data.get_slice_memory_size()
        .unwrap_or_else(|_| value.size())
}

/// Bytes of a text, items of a list.
fn extent(value: &ScalarValue) -> u64 {
    let extent = match value {
        ScalarValue::Utf8(Some(text)) => text.len(),
        ScalarValue::Binary(Some(bytes)) => bytes.len(),
        ScalarValue::List(list) => list.values().len(),
        ScalarValue::Map(map) => map.entries().len(),
        _ => 0,
    };
    extent as u64
}
