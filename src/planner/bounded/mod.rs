//! What can give far more than it is given, within the memory of the query.

use datafusion::arrow::datatypes::DataType;

mod functions;
mod held;
mod literals;
mod steps;
mod windows;

pub use functions::bound;
pub use held::{Held, HeldSides};
pub use literals::{BoundedLiterals, bare};
pub use steps::InSteps;
pub use windows::{Frame, Results};

/// Whether values of a type have a few bytes each.
fn is_small(kind: &DataType) -> bool {
    kind.is_primitive() || matches!(kind, DataType::Boolean | DataType::Null)
}

/// No array of text is larger, in bytes, and no array of lists, in items.
const LARGEST: u64 = i32::MAX as u64;
