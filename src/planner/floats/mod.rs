//! Floats by one law, in every operator: NaN is larger than every other number and equal to itself, and both
//! zeros are one.

pub mod canonical;
mod extremes;
mod sliding;
pub mod zeros;

use datafusion::logical_expr::AggregateUDF;

pub use sliding::Sliding;

/// Aggregates under the names of DataFusion's, for what these get wrong of floats.
pub fn aggregates() -> [AggregateUDF; 3] {
    [extremes::min(), extremes::max(), sliding::avg()]
}
