//! The metrics of an executed plan as one Arrow table, in the columns of `schema`.

mod walk;

pub use walk::metrics_batch;
