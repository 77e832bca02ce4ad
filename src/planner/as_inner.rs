//! Functions that stand in the place of DataFusion's and are these in all but what they compute.

/// What a function and an aggregate have in common, as of the one in `inner`.
macro_rules! as_inner {
    () => {
        fn name(&self) -> &str {
            self.inner.name()
        }

        fn aliases(&self) -> &[String] {
            self.inner.aliases()
        }

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            self.inner.signature()
        }

        fn return_type(
            &self,
            arguments: &[datafusion::arrow::datatypes::DataType],
        ) -> datafusion::common::Result<datafusion::arrow::datatypes::DataType> {
            self.inner.return_type(arguments)
        }

        fn coerce_types(
            &self,
            arguments: &[datafusion::arrow::datatypes::DataType],
        ) -> datafusion::common::Result<Vec<datafusion::arrow::datatypes::DataType>> {
            self.inner.coerce_types(arguments)
        }

        fn documentation(&self) -> Option<&datafusion::logical_expr::Documentation> {
            self.inner.documentation()
        }
    };
}

/// What an aggregate has besides, as of the one in `inner`.
macro_rules! as_inner_aggregate {
    () => {
        crate::planner::as_inner::as_inner!();

        fn groups_accumulator_supported(
            &self,
            arguments: datafusion::logical_expr::function::AccumulatorArgs,
        ) -> bool {
            self.inner.groups_accumulator_supported(arguments)
        }

        fn reverse_expr(&self) -> datafusion::logical_expr::ReversedUDAF {
            self.inner.reverse_expr()
        }

        fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
            self.inner.order_sensitivity()
        }

        fn set_monotonicity(
            &self,
            kind: &datafusion::arrow::datatypes::DataType,
        ) -> datafusion::logical_expr::SetMonotonicity {
            self.inner.set_monotonicity(kind)
        }
    };
}

pub(crate) use as_inner;
pub(crate) use as_inner_aggregate;
