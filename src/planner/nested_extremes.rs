//! The least and the greatest of lists, structs and maps, in the order of sorts.

use std::collections::VecDeque;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{OwnedRow, Row, RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Accumulator;

/// Of all values, or of those in a frame that slides.
#[derive(Debug)]
pub struct NestedExtreme {
    rows: RowConverter,
    /// What is given of no values.
    none: ScalarValue,
    is_max: bool,
    is_sliding: bool,
    /// Values by their numbers that may be asked for: the first one, and each that is better than all after it.
    kept: VecDeque<(u64, OwnedRow, ScalarValue)>,
    entered: u64,
    left: u64,
}

impl NestedExtreme {
    pub fn new(kind: &DataType, is_max: bool) -> Result<Self> {
        let order = SortOptions {
            descending: false,
            nulls_first: false,
        };
        let field = SortField::new_with_options(kind.clone(), order);
        Ok(Self {
            rows: RowConverter::new(vec![field])?,
            none: ScalarValue::try_from(kind)?,
            is_max,
            is_sliding: false,
            kept: VecDeque::new(),
            entered: 0,
            left: 0,
        })
    }

    fn keep(&mut self, values: &ArrayRef, place: usize, row: Row) -> Result<()> {
        let value = ScalarValue::try_from_array(values, place)?.compacted();
        self.kept.push_back((self.entered, row.owned(), value));
        self.entered += 1;
        Ok(())
    }

    pub fn sliding(kind: &DataType, is_max: bool) -> Result<Self> {
        Ok(Self {
            is_sliding: true,
            ..Self::new(kind, is_max)?
        })
    }
}

impl Accumulator for NestedExtreme {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values] = values else {
            return internal_err!("min and max have one argument");
        };
        let rows = self.rows.convert_columns(std::slice::from_ref(values))?;
        let known = rows.iter().enumerate();
        let mut known = known.filter(|(place, _)| values.is_valid(*place));
        let is_max = self.is_max;
        if self.is_sliding {
            for (place, row) in known {
                let is_worse = |other: &mut (u64, OwnedRow, ScalarValue)| match is_max {
                    true => other.1.row() <= row,
                    false => other.1.row() >= row,
                };
                while self.kept.pop_back_if(is_worse).is_some() {}
                self.keep(values, place, row)?;
            }
            return Ok(());
        }
        let Some(first) = known.next() else {
            return Ok(());
        };
        let (place, row) = known.fold(first, |best, other| match is_max {
            true if other.1 > best.1 => other,
            false if other.1 < best.1 => other,
            _ => best,
        });
        let is_best = self.kept.front().is_none_or(|(_, best, _)| match is_max {
            true => row > best.row(),
            false => row < best.row(),
        });
        if is_best {
            self.kept.clear();
            self.keep(values, place, row)?;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values] = values else {
            return internal_err!("min and max have one argument");
        };
        self.left += (values.len() - values.null_count()) as u64;
        while self
            .kept
            .front()
            .is_some_and(|(number, ..)| *number < self.left)
        {
            self.kept.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.is_sliding
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let best = self.kept.front();
        Ok(best.map_or_else(|| self.none.clone(), |(.., value)| value.clone()))
    }

    fn size(&self) -> usize {
        let kept = self.kept.iter();
        let kept = kept.map(|(_, row, value)| row.as_ref().len() + value.size());
        size_of_val(self) + self.rows.size() + kept.sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
